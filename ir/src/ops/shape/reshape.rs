//! `reshape`: the same elements with other axes.

use crate::op::*;
use crate::ops::type_rule::*;
use crate::types::Shape;

/// The same elements in row-major order with another shape.
pub fn reshape(shape: Shape) -> Op {
    Op::new(&RESHAPE, [Attr::Dims(shape)])
}

/// See [`reshape`].
pub static RESHAPE: Record = Record {
    name: "reshape",
    attrs: &[("shape", AttrKind::Dims)],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [x] = rule.operands()?;
        let result = x.with_shape(rule.all_extents("shape")?);
        rule.agree("numbers of elements", ("the operand's", x.elements()), ("the result's", result.elements()))?;
        one(result)
    },
    ..PENDING
};
