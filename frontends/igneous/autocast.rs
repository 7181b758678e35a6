//! Mixed precision: a region in which products of matrices are computed in a half type, and what needs the range or the
//! digits of `f32` in that, whatever the types of the variables.
//!
//! The lists are PyTorch's for `torch.autocast`. They are applied where operators are, so they hold in eager mode and under a
//! trace; composites of several operators that are on a list as a whole say so themselves
//! ([`Tensor::in_autocast_single`]).

use crate::apply::try_apply;
use crate::bound;
use crate::grad_mode::is_grad_enabled;
use crate::tensor::{Repr, Tensor};
use crate::trace;
use crate::variable::Variable;
use igneous_ir::ops::AttentionOperands;
use igneous_ir::{DType, Error, Loc, Op, Result, ops};
use smallvec::SmallVec;
use std::cell::{Cell, RefCell};
use std::sync::Arc;

thread_local! {
    /// The half type of the region that runs on this thread.
    static ACTIVE: Cell<Option<DType>> = const { Cell::new(None) };
    /// Variables that were converted in the region, so that each is once.
    static CONVERTED: RefCell<Vec<Converted>> = const { RefCell::new(Vec::new()) };
}

struct Converted {
    variable: Arc<Variable>,
    version: u64,
    dtype: DType,
    recorded: bool,
    value: Tensor,
}

/// Runs `f` with matrix products, convolutions and attention in a half type, and softmax, losses, norms, sums,
/// exponentials, logarithms and powers in `f32` (`torch.autocast`). Other operators take their operands as they are, with the usual
/// promotion. Variables keep their type; gradients have it too.
///
/// Regions nest: the innermost counts. The region of the caller holds inside a compiled function too, which is traced once for
/// each type. Call `backward` and `step` outside of the region.
///
/// ```
/// use igneous::nn::{Forward, Linear};
/// use igneous::{DType, Tensor, autocast};
///
/// let (net, x) = (Linear::new(8, 2), Tensor::randn((4, 8)));
/// let (logits, loss) = autocast(DType::BF16, || {
///     let logits = net.forward(&x);
///     let loss = logits.cross_entropy(&Tensor::new([0, 1, 1, 0]));
///     (logits, loss)
/// });
/// assert_eq!((logits.dtype(), loss.dtype()), (DType::BF16, DType::F32));
/// loss.backward()?;
/// assert_eq!(net.weight.grad().unwrap().dtype(), DType::F32);
/// # Ok::<(), igneous::Error>(())
/// ```
///
/// With a type that is neither `f16` nor `bf16`, what `f` computes is an error.
pub fn autocast<R>(dtype: DType, f: impl FnOnce() -> R) -> R {
    within(Some(dtype), f)
}

/// Runs `f` as if no [`autocast`] region were around it.
pub fn no_autocast<R>(f: impl FnOnce() -> R) -> R {
    within(None, f)
}

/// The half type of the [`autocast`] region that this thread is in.
pub fn autocast_dtype() -> Option<DType> {
    ACTIVE.get()
}

fn within<R>(dtype: Option<DType>, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<DType>);
    impl Drop for Restore {
        fn drop(&mut self) {
            ACTIVE.set(self.0);
            if self.0.is_none() {
                CONVERTED.with_borrow_mut(Vec::clear);
            }
        }
    }
    let _restore = Restore(ACTIVE.replace(dtype));
    f()
}

/// What the operands of an operator become.
#[derive(Clone, Copy, PartialEq)]
enum Class {
    Half,
    Single,
}

fn class_of(op: &Op) -> Option<Class> {
    match op.name() {
        "dot_general" | "convolution" | "attention" | "flex_attention" => Some(Class::Half),
        "exp" | "expm1" | "log" | "log1p" | "log2" | "log10" | "pow" | "square" | "rsqrt" | "reciprocal" | "tan" | "sinh"
        | "cosh" | "asin" | "acos" | "erfinv" | "softplus" | "xlogy" | "softmax" | "log_softmax" | "cross_entropy" => {
            Some(Class::Single)
        }
        "reduce" if matches!(op.choice("kind"), "sum" | "prod") => Some(Class::Single),
        "cumulative" if matches!(op.choice("kind"), "sum" | "prod") => Some(Class::Single),
        _ => None,
    }
}

/// The operands that an operator gets in the region that runs; none if it gets them as they are.
///
/// # Errors
/// If the region's type is no half type, or a conversion fails.
pub(crate) fn operands(op: &Op, inputs: &[&Tensor], loc: Loc) -> Result<Option<SmallVec<[Tensor; 4]>>> {
    let Some(half) = ACTIVE.get() else { return Ok(None) };
    if !matches!(half, DType::F16 | DType::BF16) {
        return Err(Error::new(format!("autocast takes f16 or bf16, not {half}")));
    }
    let Some(class) = class_of(op) else { return Ok(None) };
    let target = if class == Class::Half { half } else { DType::F32 };
    let is_half = |dtype: DType| dtype != dtype.compute();
    let eligible = |dtype: DType| is_half(dtype) || class == Class::Half && dtype == DType::F32;
    let types: SmallVec<[DType; 4]> = inputs.iter().map(|t| t.dtype()).collect();
    if types.contains(&DType::F64) || !types.iter().any(|&d| eligible(d) && d != target) {
        return Ok(None);
    }
    // What a function of scores is given is of the types that it was made for.
    let given = AttentionOperands::of(op, inputs.len()).map_or(0..0, |own| own.given);
    let converts = |(k, dtype): (usize, DType)| eligible(dtype) && dtype != target && !given.contains(&k);
    let converted = inputs.iter().zip(types.iter().copied().enumerate()).map(|(&input, of)| match converts(of) {
        true => convert(input, target, loc),
        false => Ok(input.clone()),
    });
    converted.collect::<Result<_>>().map(Some)
}

fn convert(tensor: &Tensor, dtype: DType, loc: Loc) -> Result<Tensor> {
    let run = || Ok(try_apply(ops::cast(dtype), &[tensor], loc)?.remove(0));
    // A trace finds equal conversions by itself, and what stands for a variable for a while is not its value.
    let variable = match &tensor.0 {
        Repr::Variable(variable) if !trace::is_tracing() && !bound::is_active() => variable,
        _ => return run(),
    };
    let (version, recorded) = (variable.version(), is_grad_enabled());
    let known = CONVERTED.with_borrow_mut(|all| {
        all.retain(|c| !Arc::ptr_eq(&c.variable, variable) || c.version == version);
        let same = |c: &&Converted| Arc::ptr_eq(&c.variable, variable) && c.dtype == dtype && c.recorded == recorded;
        all.iter().find(same).map(|c| c.value.clone())
    });
    if let Some(value) = known {
        return Ok(value);
    }
    let value = run()?;
    let converted = Converted { variable: variable.clone(), version, dtype, recorded, value: value.clone() };
    CONVERTED.with_borrow_mut(|all| all.push(converted));
    Ok(value)
}

impl Tensor {
    /// A half tensor in a region as `f32`, others as they are: for operations that are on the list of those in `f32` as a whole.
    #[track_caller]
    pub(crate) fn in_autocast_single(&self) -> Tensor {
        let half = self.dtype() != self.dtype().compute();
        if ACTIVE.get().is_some() && half { self.to_dtype(DType::F32) } else { self.clone() }
    }

    /// Converted to the half type of the region if that runs, for operands of what is computed in it.
    #[track_caller]
    pub(crate) fn in_autocast_half(&self) -> Tensor {
        match ACTIVE.get() {
            Some(half @ (DType::F16 | DType::BF16)) if self.dtype() == DType::F32 && self.error().is_none() => {
                let converted = convert(self, half, crate::location::here());
                converted.unwrap_or_else(Tensor::from)
            }
            _ => self.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_nest_and_end_with_a_panic() {
        autocast(DType::BF16, || {
            autocast(DType::F16, || assert_eq!(autocast_dtype(), Some(DType::F16)));
            no_autocast(|| assert_eq!(autocast_dtype(), None));
            assert_eq!(autocast_dtype(), Some(DType::BF16));
        });
        let panicked = std::panic::catch_unwind(|| autocast(DType::BF16, || panic!("expected")));
        assert!(panicked.is_err() && autocast_dtype().is_none());
    }

    #[test]
    fn a_variable_is_converted_once_until_it_changes() {
        let variable = Tensor::parameter(Tensor::ones((2, 2)));
        autocast(DType::BF16, || {
            let converted = || CONVERTED.with_borrow(|all| all.len());
            let _ = (variable.matmul(&variable), variable.matmul(&variable));
            assert_eq!(converted(), 1);
            variable.assign(&Tensor::zeros((2, 2))).unwrap();
            assert_eq!(variable.matmul(&variable).sum_all().item().unwrap(), 0.0);
            assert_eq!(converted(), 1);
        });
        assert_eq!(CONVERTED.with_borrow(|all| all.len()), 0);
    }
}
