//! Reductions: over whole axes (reduce, arg_reduce, online_softmax, welford) and over windows.

mod arg_reduce;
mod online_softmax;
mod reduce;
mod welford;
mod window;
mod window_grad;

use crate::op::Record;
use crate::ops::type_rule::*;
use smallvec::SmallVec;

pub use arg_reduce::*;
pub use online_softmax::*;
pub use reduce::*;
pub use welford::*;
pub use window::*;
pub use window_grad::*;

/// The records of this family.
pub static REDUCTION: &[&Record] = &[&ARG_REDUCE, &ONLINE_SOFTMAX, &REDUCE, &REDUCE_WINDOW, &REDUCE_WINDOW_GRAD, &WELFORD];

/// The reduced axes: at least one.
fn reduced_axes(rule: TypeRule, rank: usize) -> crate::Result<SmallVec<[usize; 4]>> {
    let axes = rule.sorted_axes("axes", rank, "the operand")?;
    rule.ensure(!axes.is_empty(), || "needs at least one axis".into())?;
    Ok(axes)
}

/// Checks that no reduced axis is certainly empty: for kinds that have no value then.
fn not_empty(rule: TypeRule, axes: &[usize], kind: &str) -> crate::Result<()> {
    for &a in axes {
        let empty = rule.operands[0].shape[a] == crate::Dim::ZERO;
        rule.ensure(!empty, || format!("has no {kind} over axis {a}, which is empty"))?;
    }
    Ok(())
}
