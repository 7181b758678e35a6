//! `slice`: a box of elements, each axis with a stride.

use crate::dim::Dim;
use crate::op::*;
use crate::ops::type_rule::*;
use crate::types::Shape;

/// The elements at `start[i]`, `start[i] + stride[i]`, … below `limit[i]` of each axis.
pub fn slice(start: &[Dim], limit: &[Dim], stride: &[i64]) -> Op {
    Op::new(&SLICE, [Attr::Dims(start.into()), Attr::Dims(limit.into()), ints_attr(stride)])
}

/// See [`slice`].
pub static SLICE: Record = Record {
    name: "slice",
    attrs: &[("start", AttrKind::Dims), ("limit", AttrKind::Dims), ("stride", AttrKind::Ints)],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [x] = rule.operands()?;
        let (start, limit) = (rule.extents("start", x.rank())?, rule.extents("limit", x.rank())?);
        let stride = rule.ints("stride", x.rank(), 1)?;
        let mut shape = Shape::new();
        for i in 0..x.rank() {
            rule.at_least(limit[i], start[i], || (format!("`limit` of axis {i}"), "`start`".into()))?;
            rule.at_least(x.shape[i], limit[i], || (format!("the extent of axis {i}"), "`limit`".into()))?;
            shape.push((limit[i] - start[i]).div_ceil(Dim::constant(stride[i])));
        }
        one(x.with_shape(shape))
    },
    ..PENDING
};
