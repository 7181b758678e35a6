//! `concat`: tensors one after the other along an axis.

use crate::dim::Dim;
use crate::op::*;
use crate::ops::type_rule::*;

/// The operands one after the other along `axis`.
pub fn concat(axis: usize) -> Op {
    Op::new(&CONCAT, [Attr::Int(axis as i64)])
}

/// See [`concat`].
pub static CONCAT: Record = Record {
    name: "concat",
    attrs: &[("axis", AttrKind::Int)],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [first, rest @ ..] = operands else {
            return Err(rule.error("needs at least one operand"));
        };
        let axis = rule.axis("axis", first.rank())?;
        let mut shape = first.shape.clone();
        for (i, x) in rest.iter().enumerate() {
            let k = i + 1;
            rule.same_dtype(0, k)?;
            rule.rank(k, first.rank())?;
            for a in (0..shape.len()).filter(|&a| a != axis) {
                let (left, right) = (format!("axis {a} of operand 0"), format!("of operand {k}"));
                rule.agree("extents of the other axes", (left, first.shape[a]), (right, x.shape[a]))?;
            }
            shape[axis] = shape[axis] + x.shape[axis];
        }
        let total: Dim = shape[axis];
        rule.not_negative(total, || "the joined extent".into())?;
        one(first.with_shape(shape))
    },
    ..PENDING
};
