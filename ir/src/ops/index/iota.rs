//! `iota`: each element's own index.

use crate::op::*;
use crate::ops::type_rule::*;
use crate::types::{DType, Shape, TensorType};

/// The index along `axis` of each element of a tensor of this type.
pub fn iota(dtype: DType, shape: Shape, axis: usize) -> Op {
    Op::new(&IOTA, [Attr::DType(dtype), Attr::Dims(shape), Attr::Int(axis as i64)])
}

/// See [`iota`].
pub static IOTA: Record = Record {
    name: "iota",
    attrs: &[("dtype", AttrKind::DType), ("shape", AttrKind::Dims), ("axis", AttrKind::Int)],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [] = rule.operands()?;
        let dtype = op.dtype("dtype");
        rule.ensure(dtype != DType::Bool, || "makes numbers, not bool".into())?;
        let shape = rule.all_extents("shape")?;
        rule.axis("axis", shape.len())?;
        one(TensorType::new(dtype, shape))
    },
    ..PENDING
};
