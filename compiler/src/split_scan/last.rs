//! Reading the last step of what a loop stacks: it is the carry that the loop ends with.

use super::SplitLog;
use igneous_ir::dim::Dim;
use igneous_ir::error::Result;
use igneous_ir::graph::{Graph, Value, Values};
use igneous_ir::op::Op;
use igneous_ir::ops;

/// Replaces slices of the last step of a stacked result, which may be transposed, by the loop's last carry where the two are one
/// value: then nothing has to be stacked for them, and their cotangent is no sequence of zeros with one element at its end.
/// Gradients may differ in the sign of a zero.
///
/// # Errors
/// If a node is ill typed.
pub fn last_steps(graph: &Graph, log: &mut SplitLog) -> Result<Graph> {
    if !graph.nodes().any(|(_, n)| n.op.name() == "scan") {
        return Ok(graph.clone());
    }
    graph.rewrite(|g, _, node, operands| {
        if node.op.name() == "slice"
            && let Some(last) = last_step(g, &node.op, operands[0])?
        {
            log.0.push(format!("the last step of a loop is its carry : {}", node.results[0]));
            return Ok(Values::from_iter([last]));
        }
        Ok(g.push(node.op.clone(), operands, node.results.clone()))
    })
}

fn last_step(graph: &mut Graph, slice: &Op, operand: Value) -> Result<Option<Value>> {
    let view = graph.node(operand.node);
    let (stack, permutation): (Value, Vec<usize>) = match view.op.name() {
        "transpose" => (view.operands[0], view.op.axes("permutation").to_vec()),
        _ => (operand, (0..graph.ty(operand).rank()).collect()),
    };
    let scan = graph.node(stack.node);
    if scan.op.name() != "scan" {
        return Ok(None);
    }
    let (body, length) = (scan.op.region("body").graph(), scan.op.dim("length"));
    let (carries, result) = (scan.op.int("carries") as usize, stack.result as usize);
    let carry = (0..carries).find(|&c| result >= carries && body.outputs()[c].0 == body.outputs()[result].0);
    let last = if scan.op.bool("reverse") { Dim::ZERO } else { length - Dim::ONE };
    let (Some(carry), Some(axis)) = (carry, permutation.iter().position(|&a| a == 0)) else { return Ok(None) };
    let (mut start, mut limit) = (slice.dims("start").to_vec(), slice.dims("limit").to_vec());
    if length.at_least(1) != Some(true) || start[axis] != last || limit[axis] != last + Dim::ONE {
        return Ok(None);
    }
    (start[axis], limit[axis]) = (Dim::ZERO, Dim::ONE);
    let carry = Value { node: stack.node, result: carry as u32 };
    let shape = std::iter::once(Dim::ONE).chain(graph.ty(carry).shape.iter().copied()).collect();
    let step = graph.add(ops::reshape(shape), &[carry])?[0];
    let seen = if permutation.is_sorted() { step } else { graph.add(ops::transpose(&permutation), &[step])?[0] };
    Ok(Some(graph.add(ops::slice(&start, &limit, slice.ints("stride")), &[seen])?[0]))
}
