//! From a graph to an e-graph, and from a selection back to a graph.

use super::analysis::{TensorGraph, Tensors, add, add_get};
use super::extract::Selection;
use super::language::{Children, ENode, Kind, OpId};
use crate::precision::Licences;
use egg::Id;
use igneous_ir::graph::{Graph, Value, Values};
use igneous_ir::op::Attr;
use igneous_ir::{Op, Result, ops};
use smallvec::SmallVec;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

/// An e-graph that holds a graph.
pub struct Imported {
    /// The e-graph, not rebuilt yet.
    pub egraph: TensorGraph,
    /// The e-node under which everything that must be computed hangs.
    pub root: Id,
    /// The values of the graph that are e-nodes; a value that repeats an earlier one is not listed.
    pub values: HashMap<Id, Value>,
}

/// Adds the live nodes of a graph to a new e-graph. The nodes in `fixed` stay as they are and are merged with no other.
pub fn import(graph: &Graph, fixed: &HashSet<u32>, licences: Licences) -> Imported {
    let mut egraph = TensorGraph::new(Tensors::new(licences));
    let live = graph.live();
    let mut ids: Vec<SmallVec<[Id; 2]>> = vec![SmallVec::new(); graph.len()];
    let mut values = HashMap::new();
    let mut roots = Children::new();
    for (i, node) in graph.nodes().filter(|(i, _)| live[*i as usize]) {
        let children: Children = node.operands.iter().map(|v| ids[v.node as usize][v.result as usize]).collect();
        let opaque = fixed.contains(&i);
        let kind = if opaque { Kind::OPAQUE } else { Kind::of(&node.op) };
        let op = if opaque { egraph.analysis.intern_unique(&node.op) } else { egraph.analysis.intern(&node.op) };
        let types: Arc<[_]> = node.results.iter().cloned().collect();
        let id = add(&mut egraph, ENode::new(kind, op, children), types, i);
        ids[i as usize] = match node.results.len() {
            1 => SmallVec::from_slice(&[id]),
            n => (0..n as u32).map(|r| add_get(&mut egraph, id, r, i)).collect(),
        };
        if !node.op.removable() {
            roots.push(id);
        }
        for (result, &id) in ids[i as usize].iter().enumerate() {
            values.entry(id).or_insert(Value { node: i, result: result as u32 });
        }
    }
    let outputs = graph.outputs().iter().map(|(v, _)| ids[v.node as usize][v.result as usize]);
    let children = outputs.chain(roots).collect();
    let root = add(&mut egraph, ENode::new(Kind::ROOTS, OpId(0), children), Arc::from([]), graph.len() as u32);
    Imported { egraph, root, values }
}

/// The nodes with respect to which something is differentiated, other than inputs. Another node that is equal to such
/// a one is not the same variable, so they must not be merged.
pub fn differentiated(graph: &Graph) -> HashSet<u32> {
    let mut nodes = HashSet::new();
    for (_, node) in graph.nodes().filter(|(_, n)| n.op.name() == "grad") {
        let skip = if node.op.bool("seeded") { 2 } else { 1 };
        nodes.extend(node.operands.iter().skip(skip).map(|v| v.node));
    }
    nodes.retain(|&n| graph.node(n).op.name() != "input");
    nodes
}

/// The graph that a selection describes, with the names, inputs, lines and scopes of the original.
///
/// # Errors
/// If a node cannot be appended; that would be a bug here.
pub fn export(egraph: &TensorGraph, selection: &Selection, before: &Graph) -> Result<Graph> {
    let mut graph = Graph::new(before.name.clone());
    graph.set_scopes(before.scopes().to_vec());
    let mut inputs: HashMap<Op, Value> = HashMap::new();
    for (i, (v, name)) in before.inputs().iter().enumerate() {
        let node = before.node(v.node);
        (graph.loc, graph.scope) = (node.loc, node.scope);
        let new = graph.input(name.clone(), before.ty(*v).clone());
        inputs.insert(Op::new(&ops::structural::INPUT, [Attr::Int(i as i64)]), new);
    }
    let mut made: Vec<Values> = vec![Values::new(); selection.terms.len()];
    for t in order(selection) {
        let term = &selection.terms[t];
        let operands: SmallVec<[Value; 4]> = term.operands.iter().filter_map(|&o| made[o].first().copied()).collect();
        made[t] = match term.node.kind {
            Kind::ROOTS => {
                for ((_, name), &value) in before.outputs().iter().zip(&operands) {
                    graph.output(name.clone(), value);
                }
                Values::new()
            }
            Kind::GET => Values::from_slice(&[made[term.operands[0]][term.node.op.0 as usize]]),
            _ => {
                let op = egraph.analysis.op(term.node.op);
                if let Some(&input) = inputs.get(op) {
                    Values::from_slice(&[input])
                } else {
                    let origin = before.node(term.origin);
                    (graph.loc, graph.scope) = (origin.loc, origin.scope);
                    graph.push(op.clone(), &operands, term.types.iter().cloned().collect())
                }
            }
        };
    }
    (graph.loc, graph.scope) = (None, 0);
    Ok(graph)
}

/// Operands first, otherwise as near to the order of the original graph as possible.
fn order(selection: &Selection) -> Vec<usize> {
    let terms = &selection.terms;
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); terms.len()];
    let mut waiting: Vec<usize> = vec![0; terms.len()];
    for (i, term) in terms.iter().enumerate() {
        waiting[i] = term.operands.len();
        term.operands.iter().for_each(|&o| users[o].push(i));
    }
    let mut ready: BinaryHeap<Reverse<(u32, usize)>> =
        (0..terms.len()).filter(|&i| waiting[i] == 0).map(|i| Reverse((terms[i].origin, i))).collect();
    let mut order = Vec::with_capacity(terms.len());
    while let Some(Reverse((_, i))) = ready.pop() {
        order.push(i);
        for &user in &users[i] {
            waiting[user] -= 1;
            if waiting[user] == 0 {
                ready.push(Reverse((terms[user].origin, user)));
            }
        }
    }
    order
}
