//! `welford`: mean and sum of squared differences from it, in one pass.

use super::reduced_axes;
use crate::op::*;
use crate::ops::type_rule::*;

/// Two results over `axes` (increasing), which disappear: the mean and the sum of squared differences from it;
/// over nothing, NaN and 0. Welford 1962, "Note on a method for calculating corrected sums of squares and products".
pub fn welford(axes: &[usize]) -> Op {
    Op::new(&WELFORD, [axes_attr(axes)])
}

/// See [`welford`].
pub static WELFORD: Record = Record {
    name: "welford",
    attrs: &[("axes", AttrKind::Ints)],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [x] = rule.operands()?;
        rule.float(0)?;
        let result = x.with_shape(without(&x.shape, &reduced_axes(rule, x.rank())?));
        Ok(Types::from_iter([result.clone(), result]))
    },
    ..PENDING
};
