//! `online_softmax`: the maximum and the sum of exponentials, in one pass.

use super::reduced_axes;
use crate::op::*;
use crate::ops::type_rule::*;

/// Two results over `axes` (increasing), which disappear: the maximum `m` and `Σ exp(x - m)`; over nothing, −∞ and 0.
/// Milakov and Gimelshein 2018, arXiv:1805.02867.
pub fn online_softmax(axes: &[usize]) -> Op {
    Op::new(&ONLINE_SOFTMAX, [axes_attr(axes)])
}

/// See [`online_softmax`].
pub static ONLINE_SOFTMAX: Record = Record {
    name: "online_softmax",
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
