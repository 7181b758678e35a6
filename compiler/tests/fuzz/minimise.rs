//! Making a failing case smaller: fewer outputs, nodes replaced by inputs with the values they had, by an operand, or by the
//! nodes of a region.

use super::generate::Case;
use super::programs::guarded;
use igneous_ir::array::Array;
use igneous_ir::graph::{Graph, Value, Values};
use igneous_ir::interp::interpret;
use igneous_ir::ops;
use std::collections::BTreeMap;

/// The smallest case found for which `fails` holds.
pub fn minimise(mut case: Case, fails: &dyn Fn(&Case) -> bool) -> Case {
    let mut tries = 400;
    loop {
        let smaller = smaller_cases(&case).into_iter().take(tries).find(|candidate| {
            tries -= 1;
            fails(candidate)
        });
        match smaller {
            Some(smaller) => case = smaller,
            None => return case,
        }
    }
}

/// What becomes of the results of a node.
enum Change {
    /// They are inputs with these values.
    Cut(u32, Vec<Array>),
    /// The only one is this operand.
    Bypass(u32, Value),
    /// They are those of this region.
    Inline(u32, &'static str),
    /// They stay.
    Nothing,
}

fn smaller_cases(case: &Case) -> Vec<Case> {
    let graph = &case.graph;
    let outputs: Vec<Value> = graph.outputs().iter().map(|(v, _)| *v).collect();
    let mut cases = Vec::new();
    if outputs.len() > 1 {
        cases.extend(outputs.iter().map(|&v| rebuilt(case, &Change::Nothing, &[v])));
        cases.extend((0..outputs.len()).map(|k| {
            let kept: Vec<Value> = outputs.iter().enumerate().filter(|(i, _)| *i != k).map(|(_, v)| *v).collect();
            rebuilt(case, &Change::Nothing, &kept)
        }));
    }
    let values = node_values(case);
    for (n, node) in graph.nodes().filter(|(_, n)| !n.op.is(&ops::structural::INPUT)) {
        if let Some(arrays) = values.get(&n)
            && !outputs.iter().any(|v| v.node == n)
        {
            cases.push(rebuilt(case, &Change::Cut(n, arrays.clone()), &outputs));
        }
        if let Some(&v) = node.operands.iter().find(|&&v| node.results.len() == 1 && *graph.ty(v) == node.results[0]) {
            cases.push(rebuilt(case, &Change::Bypass(n, v), &outputs));
        }
    }
    for (n, node) in graph.nodes().filter(|(_, n)| matches!(n.op.name(), "call" | "cond")) {
        cases.extend(node.op.regions().map(|(name, _)| rebuilt(case, &Change::Inline(n, name), &outputs)));
    }
    let size = |case: &Case| size(&case.graph);
    cases.retain(|c| size(c) < size(case) || c.graph.outputs().len() < outputs.len());
    cases.sort_by_key(|c| (size(c), c.graph.outputs().len()));
    cases
}

/// The number of nodes, those in regions included.
fn size(graph: &Graph) -> usize {
    let own = graph.nodes().filter(|(_, n)| !n.op.is(&ops::structural::INPUT));
    own.map(|(_, n)| 1 + n.op.regions().map(|(_, region)| size(region.graph())).sum::<usize>()).sum()
}

/// The values of the results of every node, where they can be had.
fn node_values(case: &Case) -> BTreeMap<u32, Vec<Array>> {
    let mut all = case.graph.clone();
    let nodes: Vec<u32> = case.graph.nodes().filter(|(_, n)| !n.results.is_empty()).map(|(n, _)| n).collect();
    let before = all.outputs().len();
    for &n in &nodes {
        case.graph.results(n).into_iter().for_each(|v| all.output("value", v));
    }
    let Ok(arrays) = guarded(|| interpret(&all, &case.inputs)) else { return BTreeMap::new() };
    let mut arrays = arrays.into_iter().skip(before);
    nodes.into_iter().map(|n| (n, arrays.by_ref().take(case.graph.node(n).results.len()).collect())).collect()
}

fn rebuilt(case: &Case, change: &Change, outputs: &[Value]) -> Case {
    let old = &case.graph;
    let source = |v: Value| match change {
        Change::Bypass(n, operand) if v.node == *n => *operand,
        _ => v,
    };
    let mut needed = vec![false; old.len()];
    outputs.iter().for_each(|&v| needed[source(v).node as usize] = true);
    for (n, node) in old.nodes().rev() {
        if needed[n as usize] && !matches!(change, Change::Cut(c, _) if *c == n) {
            node.operands.iter().for_each(|&v| needed[source(v).node as usize] = true);
        }
    }
    let mut graph = Graph::new(old.name.clone());
    let mut inputs: Vec<Array> = Vec::new();
    let mut map: BTreeMap<u32, Values> = BTreeMap::new();
    let mapped = |map: &BTreeMap<u32, Values>, v: Value| map[&v.node][v.result as usize];
    let mut given = case.inputs.iter();
    for (n, node) in old.nodes() {
        let own = if node.op.is(&ops::structural::INPUT) { given.next() } else { None };
        if !needed[n as usize] {
            continue;
        }
        let arrays = match (change, own) {
            (_, Some(array)) => Some(vec![array.clone()]),
            (Change::Cut(c, arrays), None) if *c == n => Some(arrays.clone()),
            _ => None,
        };
        let results = match arrays {
            Some(arrays) => arrays
                .into_iter()
                .map(|array| {
                    let v = graph.input(format!("x{}", inputs.len()), array.ty());
                    inputs.push(array);
                    v
                })
                .collect(),
            None => {
                let operands: Vec<Value> = node.operands.iter().map(|&v| mapped(&map, source(v))).collect();
                match change {
                    Change::Inline(i, region) if *i == n => {
                        let first = usize::from(node.op.name() == "cond");
                        let region = node.op.region(region).graph();
                        graph.inline(region, &operands[first..]).expect("the operands have the types of its inputs").into()
                    }
                    _ => graph.push(node.op.clone(), &operands, node.results.clone()),
                }
            }
        };
        map.insert(n, results);
    }
    for (k, &v) in outputs.iter().enumerate() {
        graph.output(format!("y{k}"), mapped(&map, source(v)));
    }
    Case { graph, inputs }
}
