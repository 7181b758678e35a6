//! `transpose`: axes in another order.

use crate::op::*;
use crate::ops::type_rule::*;

/// Axes in another order: axis `i` of the result is axis `permutation[i]` of the operand.
pub fn transpose(permutation: &[usize]) -> Op {
    Op::new(&TRANSPOSE, [axes_attr(permutation)])
}

/// See [`transpose`].
pub static TRANSPOSE: Record = Record {
    name: "transpose",
    attrs: &[("permutation", AttrKind::Ints)],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [x] = rule.operands()?;
        let permutation = rule.distinct_axes("permutation", x.rank(), "the operand")?;
        rule.ensure(permutation.len() == x.rank(), || {
            format!("needs each of the operand's {} axes in `permutation` and was given {}", x.rank(), permutation.len())
        })?;
        one(x.with_shape(permutation.iter().map(|&p| x.shape[p])))
    },
    ..PENDING
};
