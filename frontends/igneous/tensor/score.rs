//! Functions of the scores of attention.

use super::Tensor;
use crate::apply::try_apply;
use crate::trace::{self, Input, Kind, Output, Outside, Parameter, Yielded};
use igneous_ir::graph::{Graph, Value};
use igneous_ir::ops::structural::INPUT;
use igneous_ir::ops::{ScoreFunction, SpelledScore};
use igneous_ir::{Dim, Error, Loc, Result, Shape, TensorType};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// A function of the scores of attention and of where they are (`score_mod` of `torch.nn.attention.flex_attention`), element by element.
/// It is given the scaled products of queries and keys, `[…, T, S]`, and returns the scores that take their place; masks are applied
/// behind it. Half types are computed in `f32`.
///
/// ```
/// use igneous::{Attention, ScoreMod, Tensor, default};
/// let (q, k, v) = (Tensor::ones((2, 3, 4, 8)), Tensor::ones((2, 3, 4, 8)), Tensor::ones((2, 3, 4, 8)));
/// // Scores are bounded, and fall with the distance, in each head with another slope.
/// let slopes = Tensor::new([0.5, 0.25, 0.125]).reshape((3, 1, 1));
/// let score_mod = ScoreMod::new(move |score, at| (score / 50.0).tanh() * 50.0 - &slopes * (&at.query - &at.key).abs());
/// let y = q.scaled_dot_product_attention(&k, &v, &Attention { score_mod: Some(score_mod), ..default() });
/// assert_eq!(y.i((0, 0, 0, 0)).item()?, 1.0);
/// # Ok::<(), igneous::Error>(())
/// ```
#[derive(Clone)]
pub struct ScoreMod(Arc<Closure>);

type Closure = dyn Fn(&Tensor, &ScorePlace) -> Tensor + Send + Sync;

/// Where scores are: `i64` tensors that broadcast to their shape.
pub struct ScorePlace {
    /// Along axis -4; 0 where there is none.
    pub batch: Tensor,
    /// Along axis -3; 0 where there is none.
    pub head: Tensor,
    /// Along axis -2.
    pub query: Tensor,
    /// Along axis -1.
    pub key: Tensor,
}

impl ScoreMod {
    /// The function that a closure computes.
    pub fn new(f: impl Fn(&Tensor, &ScorePlace) -> Tensor + Send + Sync + 'static) -> ScoreMod {
        ScoreMod(Arc::new(f))
    }

    /// Applies it to tensors.
    #[track_caller]
    pub(super) fn apply(&self, scores: &Tensor) -> Tensor {
        let shape = scores.shape();
        let axis = |from_end: usize| match shape.len().checked_sub(from_end) {
            Some(axis) => {
                let own = shape[axis..].iter().enumerate().map(|(i, &d)| if i == 0 { d } else { Dim::ONE });
                Tensor::arange(0, shape[axis]).reshape(&own.collect::<Shape>()[..])
            }
            None => Tensor::scalar(0),
        };
        (self.0)(scores, &ScorePlace { batch: axis(4), head: axis(3), query: axis(2), key: axis(1) })
    }

    /// The function on numbers, and what it is given: tensors that stretch to the scores.
    pub(super) fn traced(&self, ty: TensorType, loc: Loc) -> Result<(ScoreFunction, Vec<Tensor>)> {
        let what = "a function of scores";
        let parameter = Parameter { name: "score".to_owned(), ty: ty.clone(), tracked: true, slot: None };
        let finished = trace::trace_region(Kind::Region(what), "score", vec![parameter], |tensors| {
            let returned = self.apply(&tensors[0]);
            if returned.ty()? != ty {
                let error = Error::new(format!("{what} returns another type than it is given"));
                return Err(error.note("given", &ty).note("returned", returned.describe()));
            }
            Ok(vec![returned])
        })?;
        if finished.slots.iter().any(|slot| slot.changed) || !finished.assigned().is_empty() {
            return Err(Error::new(format!("{what} cannot assign variables or change gradients")));
        }
        let outside = Outside::of(&[&finished], &[]);
        let inputs: Vec<Input<'_>> =
            std::iter::once(Input::Argument(0)).chain(outside.constants.iter().map(Input::Outside)).collect();
        let results: Vec<Yielded> = finished
            .outputs
            .iter()
            .map(|output| match output {
                Output::Value { value, .. } => Ok(Yielded::Value(*value)),
                Output::Outside(_) => Err(Error::new(format!("{what} returned nothing"))),
            })
            .collect::<Result<_>>()?;
        let region = finished.close(&inputs, &results)?;
        let graph = region.graph();
        let SpelledScore { function, given, .. } = SpelledScore::new(graph, graph.inputs()[0].0, graph.outputs()[0].0)?;
        let mut outer = Outer { graph, captured: outside.tensors().0, made: HashMap::new(), loc };
        let given = given.into_iter().map(|v| outer.stretching(v)).collect::<Result<_>>()?;
        Ok((function, given))
    }
}

impl fmt::Debug for ScoreMod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScoreMod")
    }
}

/// Applies what does not depend on scores outside of the function.
struct Outer<'g> {
    graph: &'g Graph,
    /// What the inputs behind the scores stand for.
    captured: Vec<Tensor>,
    made: HashMap<u32, Vec<Tensor>>,
    loc: Loc,
}

impl Outer<'_> {
    /// A value with as many axes as the scores, of extent one where it is the same along an axis.
    fn stretching(&mut self, v: Value) -> Result<Tensor> {
        let node = self.graph.node(v.node);
        let axes = if node.op.name() == "broadcast" { node.op.axes("axes") } else { Default::default() };
        if axes.is_empty() && self.graph.ty(v).rank() > 0 && node.op.name() != "broadcast" || !axes.is_sorted() {
            return self.tensor(v);
        }
        let full = &self.graph.ty(v).shape;
        let shape: Shape = (0..full.len()).map(|a| if axes.contains(&a) { full[a] } else { Dim::ONE }).collect();
        Ok(self.tensor(node.operands[0])?.reshape(&shape[..]))
    }

    fn tensor(&mut self, v: Value) -> Result<Tensor> {
        if let Some(known) = self.made.get(&v.node) {
            return Ok(known[v.result as usize].clone());
        }
        let node = self.graph.node(v.node);
        let results = match node.op.is(&INPUT) {
            true => {
                let place = self.graph.inputs().iter().position(|(own, _)| *own == v).and_then(|k| k.checked_sub(1));
                let tensor = place.and_then(|k| self.captured.get(k));
                vec![tensor.cloned().ok_or_else(|| Error::new("a function of scores uses something that is not there"))?]
            }
            false => {
                let operands = node.operands.iter().map(|&o| self.tensor(o)).collect::<Result<Vec<Tensor>>>()?;
                try_apply(node.op.clone(), &operands.iter().collect::<Vec<_>>(), node.loc.unwrap_or(self.loc))?
                    .into_iter()
                    .collect()
            }
        };
        let own = results[v.result as usize].clone();
        self.made.insert(v.node, results);
        Ok(own)
    }
}
