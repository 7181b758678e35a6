//! Finding the operation that makes the first NaN.

use crate::apply::operand_name;
use crate::tensor::{Eager, Tensor};
use igneous_ir::array::unravel;
use igneous_ir::{Error, Loc, Op, Result};
use std::cell::Cell;

/// What [`detect_anomaly`] looks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Anomaly {
    /// NaN.
    #[default]
    Nan,
    /// NaN and infinities. (A mask of −∞ is one, too.)
    NonFinite,
}

thread_local! {
    static WANTED: Cell<Option<Anomaly>> = const { Cell::new(None) };
}

/// Runs `f` so that the first operation with a NaN among its results fails, forward or in `backward`: the error names the
/// operator, its operands and the user's line (PyTorch's `torch.autograd.set_detect_anomaly`). In `backward`, the line is
/// that of the operation whose derivative it is.
///
/// ```
/// use igneous::{Tensor, detect_anomaly};
///
/// let x = Tensor::new([1.0, 0.0]).requires_grad_();
/// let told = detect_anomaly(|| (x.sqrt() * 0.0).sum_all().backward()).unwrap_err().to_string();
/// assert!(told.contains("the vjp of sqrt"), "{told}");
/// ```
///
/// Every result is read, and compiled functions called inside run as eager code, operator by operator: some ten times as
/// slow or more. As in eager code, what variables were assigned before the error stays. Only operations on this thread count.
pub fn detect_anomaly<R>(f: impl FnOnce() -> R) -> R {
    detect_anomaly_of(Anomaly::Nan, f)
}

/// [`detect_anomaly`] of a kind.
pub fn detect_anomaly_of<R>(kind: Anomaly, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<Anomaly>);
    impl Drop for Restore {
        fn drop(&mut self) {
            WANTED.set(self.0);
        }
    }
    let _restore = Restore(WANTED.replace(Some(kind)));
    f()
}

/// Whether operations on this thread are looked at.
pub(crate) fn is_active() -> bool {
    WANTED.get().is_some()
}

/// Fails if a result of `op` is what is looked for.
pub(crate) fn check(op: &Op, inputs: &[&Tensor], results: &[Eager], loc: Loc) -> Result<()> {
    let Some(kind) = WANTED.get() else { return Ok(()) };
    for (r, result) in results.iter().enumerate() {
        let Some((place, value)) = first(&Tensor::from(result.clone()), kind)? else { continue };
        let which = if results.len() > 1 { format!("result {r} of `{op}`") } else { format!("`{op}`") };
        let index = unravel(place, &result.sizes());
        let mut error = Error::new(format!("{which} is {value} at {index:?}"));
        for (k, input) in inputs.iter().enumerate() {
            let from = match first(input, kind)? {
                Some((_, value)) => format!("{}, has {value} already", input.describe()),
                None => input.describe(),
            };
            error = error.note(operand_name(op, inputs.len(), k), from);
        }
        return Err(error.at(loc));
    }
    Ok(())
}

/// The first element that is looked for, and its place.
fn first(tensor: &Tensor, kind: Anomaly) -> Result<Option<(usize, f64)>> {
    if !tensor.dtype().is_float() {
        return Ok(None);
    }
    let found = |x: &f64| x.is_nan() || kind == Anomaly::NonFinite && x.is_infinite();
    let elements = tensor.to_f64_vec()?;
    Ok(elements.iter().position(found).map(|at| (at, elements[at])))
}
