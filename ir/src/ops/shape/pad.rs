//! `pad`: a border, and holes between elements.

use crate::dim::Dim;
use crate::op::*;
use crate::ops::type_rule::*;
use crate::types::Shape;

/// Puts `low[i]` elements before, `high[i]` after and `interior[i]` between any two elements along axis `i`;
/// they have the value of the second operand, a scalar.
pub fn pad(low: &[Dim], high: &[Dim], interior: &[i64]) -> Op {
    Op::new(&PAD, [Attr::Dims(low.into()), Attr::Dims(high.into()), ints_attr(interior)])
}

/// See [`pad`].
pub static PAD: Record = Record {
    name: "pad",
    attrs: &[("low", AttrKind::Dims), ("high", AttrKind::Dims), ("interior", AttrKind::Ints)],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [x, _] = rule.operands()?;
        rule.same_dtype(0, 1)?;
        rule.rank(1, 0)?;
        let (low, high) = (rule.extents("low", x.rank())?, rule.extents("high", x.rank())?);
        let interior = rule.ints("interior", x.rank(), 0)?;
        let shape: Shape = (0..x.rank()).map(|i| low[i] + dilated(x.shape[i], interior[i] + 1) + high[i]).collect();
        one(x.with_shape(shape))
    },
    ..PENDING
};
