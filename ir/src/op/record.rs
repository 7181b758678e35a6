//! The record of an operator: everything about it, declared once.

use super::{AttrKind, Lowering, Op, Samples, Types};
use crate::array::Array;
use crate::dim::Dim;
use crate::emit::{Emitter, X};
use crate::error::Result;
use crate::types::{Shape, TensorType};
use std::fmt;

/// Everything about one operator. See `ir/src/ops/` for the records.
pub struct Record {
    /// The name, unique among operators.
    pub name: &'static str,
    /// Names and types of the attributes.
    pub attrs: &'static [(&'static str, AttrKind)],
    /// The type rule.
    pub infer: fn(&Op, &[TensorType]) -> Result<Types>,
    /// What the operator computes, in the interpreter's own code, independent of `lowering`.
    pub reference: fn(&Reference) -> Result<Vec<Array>>,
    /// How a back end computes it.
    pub lowering: Lowering,
    /// The reverse-mode derivative.
    pub vjp: Vjp,
    /// The forward-mode derivative.
    pub jvp: Jvp,
    /// What the operator does with a leading batch axis on some operands.
    pub batch: Batch,
    /// Arithmetic operations for the given operand and result types (memory traffic follows from the types).
    pub flops: fn(&Op, &[TensorType], &[TensorType]) -> Dim,
    /// Well-typed instances with inputs: they drive conformance, gradient and round-trip tests, and fuzzing.
    pub samples: fn(&mut Samples),
    /// Ill-typed instances; their messages are snapshots.
    pub error_samples: fn(&mut Samples),
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({})", self.name)
    }
}

/// The arguments of an operator's reference implementation.
pub struct Reference<'a> {
    /// The operator.
    pub op: &'a Op,
    /// The operands. Floats are held as f64, in native mode already rounded to their type.
    pub inputs: &'a [&'a Array],
    /// The result types, all dimensions constant.
    pub results: &'a [TensorType],
}

/// The reverse-mode derivative of an operator.
#[derive(Clone, Copy)]
pub enum Vjp {
    /// No result depends differentiably on an operand.
    Zero,
    /// Cotangents of the operands from those of the results.
    Rule(for<'b, 'e> fn(&VjpArgs<'b, 'e>) -> Vec<Option<X<'b, 'e>>>),
    /// Differentiate the decomposition.
    Decomposition,
    /// Handled by the autodiff pass: `call`, `grad`, `scan`, `cond`, `while`.
    Structural,
}

/// The arguments of a vjp rule.
pub struct VjpArgs<'b, 'e> {
    /// Emits the operators of the rule.
    pub emitter: &'b Emitter<'e>,
    /// The operator.
    pub op: &'b Op,
    /// Its operands.
    pub operands: Vec<X<'b, 'e>>,
    /// Its results.
    pub results: Vec<X<'b, 'e>>,
    /// The cotangent of each result; none is zero. At least one is there.
    pub cotangents: Vec<Option<X<'b, 'e>>>,
    /// For each operand, whether its cotangent is needed; rules may ignore it where nothing is saved.
    pub wanted: Vec<bool>,
}

impl<'b, 'e> VjpArgs<'b, 'e> {
    /// Operand `k`.
    pub fn x(&self, k: usize) -> X<'b, 'e> {
        self.operands[k]
    }

    /// Result `k`.
    pub fn y(&self, k: usize) -> X<'b, 'e> {
        self.results[k]
    }

    /// The cotangent of result `k`, zeros if there is none.
    pub fn dy(&self, k: usize) -> X<'b, 'e> {
        self.cotangents[k].unwrap_or_else(|| self.results[k].zeros_like())
    }
}

/// The forward-mode derivative of an operator.
#[derive(Clone, Copy)]
pub enum Jvp {
    /// Tangents of the results are zero.
    Zero,
    /// Linear in all differentiable operands together: apply the operator to the tangents.
    Linear,
    /// Linear in each differentiable operand alone: a sum over operands of the operator with that one replaced by its tangent.
    Multilinear,
    /// From the vjp, transposed: differentiate `cotangent ↦ vjp(cotangent)` with respect to the cotangent.
    FromVjp,
    /// Tangents of the results from those of the operands.
    Rule(for<'b, 'e> fn(&JvpArgs<'b, 'e>) -> Vec<Option<X<'b, 'e>>>),
    /// Handled by [`crate::autodiff`]: `call`, `scan`, `cond`, `while`.
    Structural,
}

/// The arguments of a jvp rule.
pub struct JvpArgs<'b, 'e> {
    /// Emits the operators of the rule.
    pub emitter: &'b Emitter<'e>,
    /// The operator.
    pub op: &'b Op,
    /// Its operands.
    pub operands: Vec<X<'b, 'e>>,
    /// Its results.
    pub results: Vec<X<'b, 'e>>,
    /// The tangent of each operand; none is zero.
    pub tangents: Vec<Option<X<'b, 'e>>>,
}

/// What an operator does when some operands carry a leading batch axis of one common extent.
/// The results carry it too, in front.
#[derive(Clone, Copy)]
pub enum Batch {
    /// Operands without the axis are broadcast; the operator itself is unchanged.
    Elementwise,
    /// Builds the batched results.
    Rule(for<'b, 'e> fn(&BatchArgs<'b, 'e>) -> Vec<X<'b, 'e>>),
    /// Batch the decomposition.
    Decomposition,
    /// Has no operands, or is handled by [`crate::batch`]: `call`, `scan`, `cond`, `while`.
    Structural,
    /// Not defined; `vmap` over it is an error that names the operator.
    Unsupported,
}

/// The arguments of a batch rule.
pub struct BatchArgs<'b, 'e> {
    /// Emits the operators of the rule.
    pub emitter: &'b Emitter<'e>,
    /// The operator.
    pub op: &'b Op,
    /// The operands.
    pub operands: Vec<X<'b, 'e>>,
    /// Which operands carry the batch axis (axis 0).
    pub batched: Vec<bool>,
    /// The extent of the batch axis.
    pub extent: Dim,
}

impl<'b, 'e> BatchArgs<'b, 'e> {
    /// Operand `k` with the batch axis, broadcast if it had none.
    pub fn batched(&self, k: usize) -> X<'b, 'e> {
        let x = self.operands[k];
        if self.batched[k] {
            return x;
        }
        let mut shape: Shape = x.ty().shape;
        let axes: Vec<usize> = (1..=shape.len()).collect();
        shape.insert(0, self.extent);
        x.broadcast(shape, &axes)
    }
}
