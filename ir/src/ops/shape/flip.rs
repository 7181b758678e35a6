//! `flip`: axes in reverse.

use crate::op::*;
use crate::ops::type_rule::*;

/// The operand with the order along each of `axes` (increasing) reversed.
pub fn flip(axes: &[usize]) -> Op {
    Op::new(&FLIP, [axes_attr(axes)])
}

/// See [`flip`].
pub static FLIP: Record = Record {
    name: "flip",
    attrs: &[("axes", AttrKind::Ints)],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [x] = rule.operands()?;
        rule.sorted_axes("axes", x.rank(), "the operand")?;
        one(x.clone())
    },
    ..PENDING
};
