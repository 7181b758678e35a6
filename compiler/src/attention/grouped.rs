//! Heads that share keys and values: copies of these for each head are not made where attention can read them from where they were
//! copied.

use igneous_ir::dim::Dim;
use igneous_ir::emit::{Emitter, X};
use igneous_ir::error::Result;
use igneous_ir::graph::{Graph, Node, Value, Values};
use igneous_ir::ops::composite::AttentionOperands;
use igneous_ir::types::Shape;

/// The graph with batch axes of attention, and of its derivative, split into those that its keys and values were repeated along, and the
/// others. For a graph whose views have been simplified.
///
/// # Errors
/// If the graph is ill typed.
pub(crate) fn split_groups(graph: &Graph) -> Result<Graph> {
    let rewritten = graph.rewrite(|g, _, node, operands| match Groups::of(g, node, operands) {
        Some(groups) => groups.emit(g, node, operands),
        None => Ok(g.push(node.op.clone(), operands, node.results.clone())),
    })?;
    Ok(rewritten.without_dead_nodes())
}

/// Batch axis `axis` of an attention, which is two: those of `split`, of which keys and values were repeated along the second.
#[derive(PartialEq)]
struct Groups {
    axis: usize,
    split: [Dim; 2],
}

impl Groups {
    fn of(g: &Graph, node: &Node, operands: &[Value]) -> Option<Groups> {
        AttentionOperands::of(&node.op, operands.len())?;
        let groups = [1, 2].map(|k| Groups::of_copies(g, operands[k]));
        let [Some(keys), Some(values)] = groups else { return None };
        (keys == values).then_some(keys)
    }

    /// The batch axis of a reshape of a broadcast that the repeated axis became a part of.
    fn of_copies(g: &Graph, value: Value) -> Option<Groups> {
        let reshape = g.node(value.node);
        if reshape.op.name() != "reshape" {
            return None;
        }
        let broadcast = g.node(reshape.operands[0].node);
        if broadcast.op.name() != "broadcast" {
            return None;
        }
        let (from, to, kept) = (&broadcast.results[0].shape, &reshape.results[0].shape, broadcast.op.axes("axes"));
        let repeated = (0..from.len()).find(|a| !kept.contains(a))?;
        if !kept.iter().copied().eq((0..from.len()).filter(|&a| a != repeated)) {
            return None;
        }
        let product = |dims: &[Dim]| dims.iter().copied().product::<Dim>();
        let [before, behind] = [product(&from[..repeated]), product(&from[repeated + 1..])];
        let axis = (0..to.len().checked_sub(2)?).find(|&axis| product(&to[axis + 1..]) == behind)?;
        let shared = to[axis].div_exact(from[repeated])?;
        (product(&to[..axis]) * shared == before).then_some(Groups { axis, split: [shared, from[repeated]] })
    }

    fn emit(&self, g: &mut Graph, node: &Node, operands: &[Value]) -> Result<Values> {
        let source = |g: &Graph, v: Value| g.node(g.node(v.node).operands[0].node).operands[0];
        let sources = [1, 2].map(|k| (source(g, operands[k]), g.ty(operands[k]).shape.clone()));
        let emitter = Emitter::new(g);
        let repeated = |(source, shape): &(Value, Shape)| {
            let around = |parts: &[Dim]| -> Shape {
                shape[..self.axis].iter().chain(parts).chain(&shape[self.axis + 1..]).copied().collect()
            };
            let axes: Vec<usize> = (0..=shape.len()).filter(|&a| a != self.axis + 1).collect();
            emitter.value(*source).reshape(around(&self.split[..1])).broadcast(around(&self.split), &axes)
        };
        let operands: Vec<X> = (0..operands.len())
            .map(|k| match k {
                1 | 2 => repeated(&sources[k - 1]),
                _ => self.split(emitter.value(operands[k])),
            })
            .collect();
        let results = emitter.apply(node.op.clone(), &operands);
        let results: Values = results.iter().zip(&node.results).map(|(x, ty)| x.reshape(ty.shape.clone()).value).collect();
        emitter.finish()?;
        Ok(results)
    }

    fn split<'b, 'e>(&self, x: X<'b, 'e>) -> X<'b, 'e> {
        let shape = x.shape();
        let parts = if shape[self.axis] == Dim::ONE { [Dim::ONE; 2] } else { self.split };
        x.reshape(
            shape[..self.axis].iter().copied().chain(parts).chain(shape[self.axis + 1..].iter().copied()).collect::<Shape>(),
        )
    }
}
