//! Splitting off what depends only on variables that a program reads and does not assign: packed or folded weights,
//! casts. It becomes a program of its own whose results are kept until one of those variables changes.

use igneous_ir::Result;
use igneous_ir::graph::{Graph, Node, Value, Values};
use igneous_ir::ops;
use igneous_ir::types::DType;
use std::collections::{BTreeMap, BTreeSet};

/// A graph cut in two.
pub struct Split {
    /// Makes the prepared values from inputs `inputs` of the original graph.
    pub prepare: Graph,
    /// The inputs of the original graph that `prepare` takes, in order.
    pub inputs: Vec<usize>,
    /// The rest; its inputs are those of the original graph, then the prepared values.
    pub main: Graph,
}

/// Whether a node converts bytes, which are small and cheap to convert where they are read.
pub(crate) fn of_bytes(graph: &Graph, node: &Node) -> bool {
    node.op.name() == "cast" && graph.ty(node.operands[0]).dtype == DType::I8
}

/// Cuts `graph`, whose inputs at the positions `stable` do not change between most runs. None if there is nothing to prepare.
///
/// # Errors
/// If the graph is ill typed.
pub fn split(graph: &Graph, stable: &BTreeSet<usize>) -> Result<Option<Split>> {
    if stable.is_empty() {
        return Ok(None);
    }
    let mut fixed = vec![false; graph.len()];
    let mut varies = vec![false; graph.len()];
    let mut works = vec![false; graph.len()];
    let mut input = 0;
    for (i, node) in graph.nodes() {
        let n = i as usize;
        if node.op.is(&ops::structural::INPUT) {
            fixed[n] = stable.contains(&input);
            varies[n] = fixed[n];
            input += 1;
            continue;
        }
        let pure = node.op.removable() && node.op.regions().next().is_none() && node.op.name() != "random_bits";
        let constant = node.op.name() == "constant";
        fixed[n] = pure && (constant || !node.operands.is_empty() && node.operands.iter().all(|v| fixed[v.node as usize]));
        let view = constant
            || matches!(node.op.name(), "broadcast" | "reshape" | "transpose" | "slice" | "flip" | "stop_gradient")
            || of_bytes(graph, node);
        // What depends on constants alone is cheap: it is computed where it is read.
        varies[n] = node.operands.iter().any(|v| varies[v.node as usize]);
        works[n] = fixed[n] && varies[n] && (!view || node.operands.iter().any(|v| works[v.node as usize]));
    }
    let mut wanted: BTreeSet<Value> = BTreeSet::new();
    let mut want = |mut v: Value| {
        // A broadcast is cheaper to repeat than to store.
        while graph.node(v.node).op.name() == "broadcast" {
            v = graph.node(v.node).operands[0];
        }
        if works[v.node as usize] {
            wanted.insert(v);
        }
    };
    let live = graph.live();
    for (i, node) in graph.nodes().filter(|(i, _)| live[*i as usize] && !fixed[*i as usize]) {
        let _ = i;
        node.operands.iter().for_each(|&v| want(v));
    }
    graph.outputs().iter().for_each(|(v, _)| want(*v));
    if wanted.is_empty() {
        return Ok(None);
    }
    let mut prepare = Graph::new(format!("{}_prepare", graph.name));
    let mut inputs = Vec::new();
    let mut map: BTreeMap<Value, Value> = BTreeMap::new();
    for (i, (v, name)) in graph.inputs().iter().enumerate().filter(|(i, _)| stable.contains(i)) {
        map.insert(*v, prepare.input(name.clone(), graph.ty(*v).clone()));
        inputs.push(i);
    }
    for (i, node) in graph.nodes().filter(|(i, n)| fixed[*i as usize] && !n.op.is(&ops::structural::INPUT)) {
        let operands: Vec<Value> = node.operands.iter().map(|v| map[v]).collect();
        prepare.loc = node.loc;
        let results = prepare.push(node.op.clone(), &operands, node.results.clone());
        map.extend(graph.results(i).into_iter().zip(results));
    }
    prepare.loc = None;
    for (k, v) in wanted.iter().enumerate() {
        prepare.output(format!("prepared{k}"), map[v]);
    }
    let prepare = prepare.without_dead_nodes();
    let mut main = Graph::new(graph.name.clone());
    main.set_scopes(graph.scopes().to_vec());
    let mut map: BTreeMap<u32, Values> = BTreeMap::new();
    for (v, name) in graph.inputs() {
        map.insert(v.node, Values::from_iter([main.input(name.clone(), graph.ty(*v).clone())]));
    }
    let mut prepared: BTreeMap<Value, Value> = BTreeMap::new();
    for (k, v) in wanted.iter().enumerate() {
        prepared.insert(*v, main.input(format!("prepared{k}"), graph.ty(*v).clone()));
    }
    for (i, node) in graph.nodes().filter(|(i, n)| live[*i as usize] && !n.op.is(&ops::structural::INPUT)) {
        let operands: Vec<Value> =
            node.operands.iter().map(|v| prepared.get(v).copied().unwrap_or_else(|| map[&v.node][v.result as usize])).collect();
        (main.loc, main.scope) = (node.loc, node.scope);
        let results = main.push(node.op.clone(), &operands, node.results.clone());
        map.insert(i, results);
    }
    for (v, name) in graph.outputs() {
        let value = prepared.get(v).copied().unwrap_or_else(|| map[&v.node][v.result as usize]);
        main.output(name.clone(), value);
    }
    (main.loc, main.scope) = (None, 0);
    Ok(Some(Split { prepare, inputs, main: main.without_dead_nodes() }))
}
