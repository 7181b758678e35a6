//! `iota`: each element's own index.

use crate::array::Array;
use crate::dim::Dim;
use crate::op::*;
use crate::ops::inputs::*;
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
    reference: |r| {
        let (axis, shape) = (r.op.int("axis") as usize, r.results[0].sizes()?);
        let inner: usize = shape[axis + 1..].iter().product();
        let (n, dtype) = (shape[axis], r.op.dtype("dtype"));
        let index = |i: usize| i / inner % n;
        Ok(vec![if dtype.is_float() {
            Array::from_fn_f64(dtype, shape, |i| index(i) as f64)
        } else {
            Array::from_fn_i64(dtype, shape, |i| index(i) as i64)
        }])
    },
    lowering: Lowering::Map(|at| at.index[at.op.int("axis") as usize].cast(at.op.dtype("dtype"))),
    vjp: Vjp::Zero,
    jvp: Jvp::Zero,
    batch: Batch::Elementwise,
    flops: no_flops,
    samples: |s| {
        s.add(iota(DType::I64, shape([5]), 0), []);
        s.add(iota(DType::F64, shape([2, 3, 4]), 1), []);
        s.add(iota(DType::F32, shape([2, 3]), 1), []);
        s.add(iota(DType::I32, shape([3, 1]), 0), []);
        s.add(iota(DType::U8, shape([300]), 0), []);
        s.add(iota(DType::I64, shape([0, 3]), 1), []);
    },
    error_samples: |s| {
        s.add(iota(DType::I64, shape([3]), 0), [normal(DType::F32, [3])]);
        s.add(iota(DType::Bool, shape([3]), 0), []);
        s.add(iota(DType::I64, shape([3]), 1), []);
        s.add(iota(DType::I64, Shape::from_iter([Dim::INVALID]), 0), []);
    },
};
