//! Applying a graph to tensors: as a `call` of the graph being traced, or operator by operator.

use crate::apply::try_apply;
use crate::autocast::no_autocast;
use crate::tensor::Tensor;
use crate::trace;
use igneous_ir::autodiff::expand_gradients;
use igneous_ir::graph::{Graph, Region, Value};
use igneous_ir::ops::structural::INPUT;
use igneous_ir::{Loc, Result, ops};
use smallvec::SmallVec;

/// The outputs of the graph for these inputs. They depend on them differentiably.
pub(crate) fn apply_graph(graph: Graph, inputs: &[Tensor], loc: Loc) -> Result<Vec<Tensor>> {
    if graph.outputs().is_empty() && graph.nodes().all(|(_, n)| n.op.removable()) {
        return Ok(Vec::new());
    }
    if trace::is_tracing() {
        let operands: Vec<&Tensor> = inputs.iter().collect();
        return Ok(try_apply(ops::call(Region::new(graph)), &operands, loc)?.into_vec());
    }
    // The types in the graph are what they are.
    no_autocast(|| step_by_step(&expand_gradients(&graph)?, inputs, loc))
}

fn step_by_step(graph: &Graph, inputs: &[Tensor], loc: Loc) -> Result<Vec<Tensor>> {
    let live = graph.live();
    let mut left = graph.use_counts();
    let mut values: Vec<SmallVec<[Option<Tensor>; 2]>> = vec![SmallVec::new(); graph.len()];
    let mut given = inputs.iter();
    for (i, node) in graph.nodes() {
        if node.op.is(&INPUT) {
            values[i as usize] = SmallVec::from_iter([given.next().cloned()]);
            continue;
        }
        if !live[i as usize] {
            continue;
        }
        let loc = node.loc.unwrap_or(loc);
        let results = {
            let place = |v: &Value| values[v.node as usize][v.result as usize].as_ref();
            let operands: SmallVec<[&Tensor; 4]> =
                node.operands.iter().map(|v| place(v).expect("a value is kept until its last use")).collect();
            match node.op.name() {
                "call" => {
                    let inputs: Vec<Tensor> = operands.into_iter().cloned().collect();
                    step_by_step(node.op.region("body").graph(), &inputs, loc)?.into()
                }
                _ => try_apply(node.op.clone(), &operands, loc)?,
            }
        };
        values[i as usize] = results.into_iter().map(Some).collect();
        for v in &node.operands {
            let count = &mut left[v.node as usize][v.result as usize];
            *count -= 1;
            if *count == 0 {
                values[v.node as usize][v.result as usize] = None;
            }
        }
    }
    let value = |v: &Value| values[v.node as usize][v.result as usize].clone();
    Ok(graph.outputs().iter().map(|(v, _)| value(v).expect("an output is used")).collect())
}
