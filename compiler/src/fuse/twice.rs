//! Single elements that are computed twice: once to be stored, once where they are read.

use super::units::without_reshapes;
use igneous_ir::dim::Dim;
use igneous_ir::graph::{Graph, Node, Value};
use igneous_ir::op::Lowering;

/// The graph with a copy of each operator whose only element is an output and is read too, if it is one step away from
/// inputs and constants: a counter that an optimizer advances and uses.
///
/// Readers then compute the element themselves instead of waiting for a launch of its own.
pub fn compute_twice(graph: &Graph) -> Graph {
    let mut new = graph.clone();
    for (i, (value, _)) in graph.outputs().iter().enumerate() {
        let node = graph.node(value.node);
        if graph.ty(*value).elements() == Dim::ONE && is_shallow(graph, node) && is_read(graph, *value) {
            (new.loc, new.scope) = (node.loc, node.scope);
            let copy = new.push(node.op.clone(), &node.operands, node.results.clone());
            new.set_output(i, copy[value.result as usize]);
        }
    }
    (new.loc, new.scope) = (None, 0);
    new
}

/// Whether a node computes element by element from inputs and constants.
fn is_shallow(graph: &Graph, node: &Node) -> bool {
    let stored = |v: &Value| matches!(graph.node(without_reshapes(graph, *v).node).op.name(), "input" | "constant");
    matches!(node.op.record().lowering, Lowering::Map(_)) && node.op.name() != "random_bits" && node.operands.iter().all(stored)
}

fn is_read(graph: &Graph, value: Value) -> bool {
    let live = graph.live();
    graph.nodes().any(|(i, node)| live[i as usize] && node.operands.contains(&value))
}
