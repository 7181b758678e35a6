//! Functions of scores: pointwise graphs of numbers without axes, applied to every score.

use crate::autodiff::jvp_graph;
use crate::dim::Dim;
use crate::emit::{Emit, Emitter, X};
use crate::error::Result;
use crate::graph::{Graph, Node, Region, Value};
use crate::op::{Attr, Lowering, Op};
use crate::ops;
use crate::ops::structural::{CONSTANT, INPUT};
use crate::types::{DType, Literal, TensorType};

/// A function of the scores of attention: a graph of pointwise operators on numbers without axes, from a score and what the function is
/// given besides to the score that takes its place. In the derivative, its second result is the slope by the score.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScoreFunction(Region);

impl ScoreFunction {
    /// Of a graph; whether that is pointwise is checked where an operator is made with it.
    pub fn new(graph: Graph) -> ScoreFunction {
        ScoreFunction(Region::new(graph))
    }

    /// That of an attention or its derivative, if it has one.
    pub fn of(op: &Op) -> Option<ScoreFunction> {
        let flexible = matches!(op.name(), "flex_attention" | "flex_attention_backward");
        flexible.then(|| ScoreFunction(op.region("score").clone()))
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        self.0.graph()
    }

    pub(super) fn attr(self) -> Attr {
        Attr::Region(self.0)
    }

    /// With the derivative by input `k` as second result.
    ///
    /// # Errors
    /// If that cannot be derived.
    pub fn derivative(&self, k: usize) -> Result<ScoreFunction> {
        let own = self.graph();
        let value = own.outputs()[0].clone();
        let wanted: Vec<bool> = (0..own.inputs().len()).map(|i| i == k).collect();
        let both = jvp_graph(&own.with_outputs([value]), &wanted)?;
        let mut graph = Graph::new(own.name.clone());
        let mut inputs: Vec<Value> = own.inputs().iter().map(|(v, name)| graph.input(name.clone(), own.ty(*v).clone())).collect();
        let one = Literal::float(own.ty(own.inputs()[k].0).dtype, 1.0);
        inputs.push(graph.emit(ops::constant(crate::array::Array::scalar(one)), &[])?[0]);
        let results = graph.inline(&both, &inputs)?;
        for (name, value) in ["score", "slope"].into_iter().zip(results) {
            graph.output(name, value);
        }
        Ok(ScoreFunction::new(graph.without_dead_nodes()))
    }

    /// Whether it is a function of a score of type `dtype` and numbers of the types `given` with so many results; else what it lacks.
    pub(super) fn check(&self, dtype: DType, given: &[DType], results: usize) -> Result<(), String> {
        let graph = self.graph();
        let inputs: Vec<TensorType> = graph.inputs().iter().map(|(v, _)| graph.ty(*v).clone()).collect();
        let wanted = std::iter::once(dtype).chain(given.iter().copied()).map(TensorType::scalar);
        if !inputs.iter().cloned().eq(wanted) {
            let list = |types: &mut dyn Iterator<Item = DType>| types.map(|d| format!("{d}[]")).collect::<Vec<_>>().join(", ");
            let wanted = list(&mut std::iter::once(dtype).chain(given.iter().copied()));
            let found = inputs.iter().map(TensorType::to_string).collect::<Vec<_>>().join(", ");
            return Err(format!("needs a function of the scores with inputs ({wanted}), not ({found})"));
        }
        let outputs = graph.outputs();
        if outputs.len() != results || outputs.iter().any(|(v, _)| *graph.ty(*v) != TensorType::scalar(dtype)) {
            let what = if results == 1 { "one result" } else { "two results" };
            return Err(format!("needs a function of the scores with {what} of type {dtype}[]"));
        }
        let fits = |node: &Node| {
            let known = node.op.is(&INPUT) || node.op.is(&CONSTANT) || is_pointwise(&node.op);
            known && node.results.len() == 1 && node.results[0].rank() == 0
        };
        match graph.nodes().find(|(_, node)| !fits(node)) {
            Some((_, node)) => Err(format!("needs a pointwise function of the scores, and {} is not pointwise", node.op.name())),
            None => Ok(()),
        }
    }
}

/// Whether an operator computes each element from elements at the same place, whatever the shape.
pub fn is_pointwise(op: &Op) -> bool {
    let shaped = |attr: &Attr| matches!(attr, Attr::Ints(_) | Attr::Dim(_) | Attr::Dims(_) | Attr::Region(_) | Attr::Array(_));
    matches!(op.record().lowering, Lowering::Map(_)) && !op.attrs().iter().any(shaped)
}

/// Applies a pointwise graph of numbers to values that stretch to `shape`; the results have that shape.
pub fn elementwise<'b, 'e>(emitter: &'b Emitter<'e>, graph: &Graph, inputs: &[X<'b, 'e>], shape: &[Dim]) -> Vec<X<'b, 'e>> {
    let mut values: Vec<X<'b, 'e>> = Vec::with_capacity(graph.len());
    let mut given = inputs.iter();
    for (_, node) in graph.nodes() {
        let operands: Vec<X<'b, 'e>> = node.operands.iter().map(|v| values[v.node as usize]).collect();
        let value = match node.op.is(&INPUT) {
            true => given.next().copied().unwrap_or_else(|| emitter.scalar(Literal::float(DType::F32, 0.0))),
            // What is made of constants alone stays one number.
            false if operands.iter().all(|x| x.rank() == 0) => emitter.one(node.op.clone(), &operands),
            false => {
                let operands: Vec<X<'b, 'e>> = operands.iter().map(|x| x.broadcast_to(shape)).collect();
                emitter.one(node.op.clone(), &operands)
            }
        };
        values.push(value);
    }
    graph.outputs().iter().map(|(v, _)| values[v.node as usize].broadcast_to(shape)).collect()
}
