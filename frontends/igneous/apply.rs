//! The narrow waist: every operation on tensors goes through [`try_apply`].

use crate::autocast;
use crate::bound;
use crate::eager;
use crate::location;
use crate::location::here;
use crate::tensor::{Repr, Tensor};
use crate::trace;
use igneous_ir::op::Types;
use igneous_ir::{Error, Loc, Op, Result, TensorType};
use smallvec::SmallVec;
use std::borrow::Cow;

/// The results of an operation.
pub(crate) type Tensors = SmallVec<[Tensor; 2]>;

/// Applies `op`: with a trace active on this thread appends a node to its graph, otherwise runs the operator's eager
/// kernel and records it if an input needs a gradient.
///
/// # Errors
/// The error of the first invalid input; else if the inputs do not fit the operator, or it fails.
pub(crate) fn try_apply(op: Op, inputs: &[&Tensor], loc: Loc) -> Result<Tensors> {
    for input in inputs {
        if let Repr::Invalid(error) = &input.0 {
            return Err(error.clone());
        }
    }
    if bound::is_active() {
        let resolved: SmallVec<[Cow<'_, Tensor>; 4]> = inputs.iter().map(|t| bound::resolve(t)).collect();
        let inputs: SmallVec<[&Tensor; 4]> = resolved.iter().map(|t| t.as_ref()).collect();
        return apply_to_values(op, &inputs, loc);
    }
    apply_to_values(op, inputs, loc)
}

fn apply_to_values(op: Op, inputs: &[&Tensor], loc: Loc) -> Result<Tensors> {
    let loc = location::of_user(loc);
    if let Some(converted) = autocast::operands(&op, inputs, loc).map_err(|e| e.at(loc))? {
        return run(op, &converted.iter().collect::<SmallVec<[&Tensor; 4]>>(), loc);
    }
    run(op, inputs, loc)
}

fn run(op: Op, inputs: &[&Tensor], loc: Loc) -> Result<Tensors> {
    let results = if trace::is_tracing() { trace::append(op, inputs, loc) } else { eager::run(op, inputs, loc) };
    results.map_err(|e| e.at(loc))
}

/// The result types of `op`; an error lists the inputs with where they come from.
pub(crate) fn infer(op: &Op, types: &[TensorType], inputs: &[&Tensor], loc: Loc) -> Result<Types> {
    op.infer(types).map_err(|error| {
        let mut told = Error::new(error.message());
        for (k, input) in inputs.iter().enumerate() {
            told = told.note(operand_name(op, inputs.len(), k), input.describe());
        }
        told.at(loc)
    })
}

/// What messages call operand `k` of `count`.
pub(crate) fn operand_name(op: &Op, count: usize, k: usize) -> String {
    match (op.name(), k) {
        ("convolution", 0) => "images".to_owned(),
        ("convolution", 1) => "kernels".to_owned(),
        _ if count == 1 => "tensor".to_owned(),
        _ => format!("operand {k}"),
    }
}

/// Applies an operator with `N` results; on failure all of them are invalid.
#[track_caller]
pub(crate) fn apply<const N: usize>(op: Op, inputs: &[&Tensor]) -> [Tensor; N] {
    let mut results = try_apply(op, inputs, here()).map(Tensors::into_iter);
    std::array::from_fn(|_| match &mut results {
        Ok(results) => results.next().expect("the operator has N results"),
        Err(error) => Tensor(Repr::Invalid(error.clone())),
    })
}

impl Tensor {
    /// Applies an operator with one result to this tensor.
    #[track_caller]
    pub(crate) fn apply(&self, op: Op) -> Tensor {
        let [result] = apply(op, &[self]);
        result
    }

    /// Applies an operator with one result to this tensor and another.
    #[track_caller]
    pub(crate) fn apply_with(&self, op: Op, other: &Tensor) -> Tensor {
        let [result] = apply(op, &[self, other]);
        result
    }
}
