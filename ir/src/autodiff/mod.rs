//! Automatic differentiation: reverse and forward mode over a tape, and the expansion of `grad` nodes.
//!
//! The rules of single operators live in their records. What lives here puts them together: which operators lie
//! between a loss and the values to differentiate by, the accumulation of cotangents, and the derivatives of operators
//! with regions, which are split into a forward part that also returns what the backward part needs and that
//! backward part. Both are derived once per distinct region, so that equal layers stay outlined.
//!
//! Everything is emitted through [`Emit`], so the same code differentiates a graph and eager operations, and what it
//! emits can be differentiated again.

mod block;
mod checkpoint;
mod control;
mod custom;
mod expand;
mod forward;
mod function;
mod path;
mod reverse;
mod scan;

pub use checkpoint::checkpointed;
pub use function::{Pullback, SavedValue, jvp_graph, pullback};

use crate::emit::{Emit, Emitter};
use crate::error::{Error, Result};
use crate::graph::{Graph, Region, Value, Values};
use crate::op::Op;
use crate::ops;
use crate::types::{Literal, TensorType};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::rc::Rc;

/// An operator that was applied. Its values live in the namespace of the target that derivatives are emitted to.
#[derive(Clone, Copy, Debug)]
pub struct TapeEntry<'a> {
    /// The operator.
    pub op: &'a Op,
    /// What it was applied to.
    pub operands: &'a [Value],
    /// What came out.
    pub results: &'a [Value],
}

/// The gradients of `loss` with respect to `wrt`, by reverse mode over `tape`, whose entries are in the order they
/// were applied. `seed` is the cotangent of the loss; without one the loss must have no axes. A value that the loss
/// does not depend on has the gradient zero.
///
/// # Errors
/// If the loss or one of `wrt` is no floating-point value, or a derivative cannot be emitted.
pub fn backward(emit: &mut dyn Emit, tape: &[TapeEntry], loss: Value, seed: Option<Value>, wrt: &[Value]) -> Result<Vec<Value>> {
    Engine::default().gradients(emit, tape, &HashMap::new(), loss, seed, wrt)
}

/// The cotangents of `wrt`, by reverse mode over `tape`, from those of any other values: pairs (value, cotangent).
/// `None` is zero.
///
/// # Errors
/// If a derivative cannot be emitted.
pub fn vjp(emit: &mut dyn Emit, tape: &[TapeEntry], cotangents: &[(Value, Value)], wrt: &[Value]) -> Result<Vec<Option<Value>>> {
    Engine::default().pull_back(emit, tape, &HashMap::new(), cotangents, wrt)
}

/// The tangents of the values `of`, by forward mode over `tape`, from the tangents of others: pairs (value, tangent).
/// `None` is zero.
///
/// # Errors
/// If a derivative cannot be emitted.
pub fn jvp(emit: &mut dyn Emit, tape: &[TapeEntry], tangents: &[(Value, Value)], of: &[Value]) -> Result<Vec<Option<Value>>> {
    Engine::default().push_forward(emit, tape, tangents, of)
}

/// The graph with every `grad` node replaced by the operators that compute its gradients, inside regions too.
/// What is emitted for a node has that node's source line and scope.
///
/// # Errors
/// If a derivative cannot be emitted.
pub fn expand_gradients(graph: &Graph) -> Result<Graph> {
    Engine::default().expand(graph)
}

/// Derives and remembers what is derived from regions; lives as long as one call from outside.
#[derive(Default)]
struct Engine {
    blocks: HashMap<block::Request, Rc<block::Block>>,
    branches: HashMap<(Op, path::Usage), Rc<control::Branches>>,
    expanded: HashMap<Region, Region>,
    dependence: HashMap<Op, Rc<path::Dependence>>,
}

/// An owned [`TapeEntry`].
#[derive(Clone)]
struct Entry {
    op: Op,
    operands: SmallVec<[Value; 3]>,
    results: Values,
}

impl Entry {
    fn borrow(&self) -> TapeEntry<'_> {
        TapeEntry { op: &self.op, operands: &self.operands, results: &self.results }
    }
}

/// Passes operators on and writes them down.
struct Recorder<'a> {
    target: &'a mut dyn Emit,
    entries: Vec<Entry>,
}

impl<'a> Recorder<'a> {
    fn new(target: &'a mut dyn Emit) -> Recorder<'a> {
        Recorder { target, entries: Vec::new() }
    }
}

impl Emit for Recorder<'_> {
    fn emit(&mut self, op: Op, operands: &[Value]) -> Result<Values> {
        let results = self.target.emit(op.clone(), operands)?;
        self.entries.push(Entry { op, operands: operands.into(), results: results.clone() });
        Ok(results)
    }

    fn type_of(&self, value: Value) -> TensorType {
        self.target.type_of(value)
    }

    fn attribute_to(&mut self, value: Value) {
        self.target.attribute_to(value);
    }
}

/// Emits a tensor filled with `value`.
fn full(emit: &mut dyn Emit, ty: &TensorType, value: f64) -> Result<Value> {
    let scalar = emit.emit(ops::constant(crate::Array::scalar(Literal::float(ty.dtype, value))), &[])?[0];
    if ty.rank() == 0 {
        return Ok(scalar);
    }
    Ok(emit.emit(ops::broadcast(ty.shape.clone(), &[]), &[scalar])?[0])
}

/// Emits `a + b`, where either may be zero.
fn sum(emit: &mut dyn Emit, a: Option<Value>, b: Value) -> Result<Value> {
    match a {
        Some(a) => Ok(emit.emit(ops::pointwise("add"), &[a, b])?[0]),
        None => Ok(b),
    }
}

/// Applies the operators of a composite's decomposition and returns them with the values that stand for its results.
fn decompose(emit: &mut dyn Emit, op: &Op, operands: &[Value]) -> Result<(Vec<Entry>, Vec<Value>)> {
    let crate::op::Lowering::Composite(rule) = op.record().lowering else {
        return Err(Error::new(format!("{} has no decomposition", op.name())));
    };
    let mut recorder = Recorder::new(emit);
    let results = {
        let emitter = Emitter::new(&mut recorder);
        let operands: Vec<_> = operands.iter().map(|&v| emitter.value(v)).collect();
        let results: Vec<Value> = rule(&emitter, op, &operands).into_iter().map(|x| x.value).collect();
        emitter.finish()?;
        results
    };
    Ok((recorder.entries, results))
}

#[cfg(test)]
mod tests;
