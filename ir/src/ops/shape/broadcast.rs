//! `broadcast`: new axes along which elements repeat.

use crate::op::*;
use crate::ops::type_rule::*;
use crate::types::Shape;

/// Repeats the operand along new axes: axis `i` of it becomes axis `axes[i]` of `shape`, of equal extent.
pub fn broadcast(shape: Shape, axes: &[usize]) -> Op {
    Op::new(&BROADCAST, [Attr::Dims(shape), axes_attr(axes)])
}

/// See [`broadcast`].
pub static BROADCAST: Record = Record {
    name: "broadcast",
    attrs: &[("shape", AttrKind::Dims), ("axes", AttrKind::Ints)],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [x] = rule.operands()?;
        let shape = rule.all_extents("shape")?;
        let axes = rule.sorted_axes("axes", shape.len(), "the result")?;
        rule.ensure(axes.len() == x.rank(), || {
            format!("needs an entry of `axes` for each of the operand's {} axes and was given {}", x.rank(), axes.len())
        })?;
        for (i, &a) in axes.iter().enumerate() {
            rule.agree("extents", (format_args!("operand axis {i}"), x.shape[i]), (format_args!("result axis {a}"), shape[a]))?;
        }
        one(x.with_shape(shape))
    },
    ..PENDING
};
