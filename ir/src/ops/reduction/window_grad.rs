//! `reduce_window_grad`: where the cotangent of a maximum over windows goes.

use super::window::{pooled, window_attrs};
use crate::op::*;
use crate::ops::type_rule::*;

/// The cotangent of `x` from that of `reduce_window(x)` with the same attributes, for `kind` `Max` or `Min`: each
/// element of the second operand is added at the first extremum of its window.
pub fn reduce_window_grad(kind: ReduceKind, window: &[i64], stride: &[i64], low: &[i64], high: &[i64], dilation: &[i64]) -> Op {
    Op::new(&REDUCE_WINDOW_GRAD, window_attrs(kind, window, stride, low, high, dilation))
}

/// See [`reduce_window_grad`].
pub static REDUCE_WINDOW_GRAD: Record = Record {
    name: "reduce_window_grad",
    attrs: &[
        ("kind", AttrKind::Name(&["max", "min"])),
        ("window", AttrKind::Ints),
        ("stride", AttrKind::Ints),
        ("low", AttrKind::Ints),
        ("high", AttrKind::Ints),
        ("dilation", AttrKind::Ints),
    ],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [x, dy] = rule.operands()?;
        rule.float(0)?;
        rule.same_dtype(0, 1)?;
        let want = pooled(rule, x)?;
        rule.rank(1, want.rank())?;
        for (a, (&got, &want)) in dy.shape.iter().zip(&want.shape).enumerate() {
            rule.agree("extents of operand 1", (format_args!("axis {a}"), got), ("the number of places", want))?;
        }
        one(x.clone())
    },
    ..PENDING
};
