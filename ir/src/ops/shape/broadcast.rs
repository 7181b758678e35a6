//! `broadcast`: new axes along which elements repeat.

use crate::dim::Dim;
use crate::op::*;
use crate::ops::inputs::*;
use crate::ops::type_rule::*;
use crate::ops::walk;
use crate::types::{DType, Shape};

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
            format!("needs an entry of `axes` for each axis of the operand, {}, and was given {}", x.rank(), axes.len())
        })?;
        for (i, &a) in axes.iter().enumerate() {
            rule.agree("extents", (format_args!("operand axis {i}"), x.shape[i]), (format_args!("result axis {a}"), shape[a]))?;
        }
        one(x.with_shape(shape))
    },
    reference: |r| {
        let (x, shape) = (r.inputs[0], r.results[0].sizes()?);
        let mut strides = vec![0; shape.len()];
        for (&a, stride) in r.op.axes("axes").iter().zip(walk::strides(x.shape())) {
            strides[a] = stride;
        }
        let source = walk::positions(&shape, 0, &strides);
        Ok(vec![x.gathered(shape, |i| source[i])])
    },
    lowering: Lowering::Map(|at| {
        let index: Vec<_> = at.op.axes("axes").iter().map(|&a| at.index[a]).collect();
        at.load(0, &index)
    }),
    vjp: Vjp::Rule(|v| {
        let axes = v.op.axes("axes");
        let new: Vec<usize> = (0..v.op.dims("shape").len()).filter(|a| !axes.contains(a)).collect();
        vec![Some(v.dy(0).sum(&new))]
    }),
    jvp: Jvp::Linear,
    batch: Batch::Rule(|b| {
        let shape = [&[b.extent], b.op.dims("shape")].concat();
        let axes = [&[0], &behind_batch(&b.op.axes("axes"))[..]].concat();
        vec![b.operands[0].broadcast(shape.into(), &axes)]
    }),
    flops: no_flops,
    samples: |s| {
        s.add(broadcast(shape([2, 3]), &[]), [normal(DType::F64, [])]);
        s.add(broadcast(shape([3, 2, 4]), &[1]), [normal(DType::F32, [2])]);
        s.add(broadcast(shape([2, 3, 4, 5]), &[0, 2]), [normal(DType::F64, [2, 4])]);
        s.add(broadcast(shape([3, 0]), &[0]), [normal(DType::F64, [3])]);
        s.add(broadcast(shape([2, 0]), &[1]), [normal(DType::F32, [0])]);
        s.add(broadcast(shape([1, 3]), &[0]), [range(DType::I64, [1], -9, 9)]);
        s.add(broadcast(shape([2, 2]), &[1]), [range(DType::Bool, [2], 0, 2)]);
    },
    error_samples: |s| {
        let b = Dim::symbol("B", 1, 8);
        s.add(broadcast(shape([2, 3]), &[]), []);
        s.add(broadcast(shape([2, 3]), &[2]), [normal(DType::F32, [3])]);
        s.add(broadcast(shape([3, 3]), &[1, 1]), [normal(DType::F32, [3, 3])]);
        s.add(broadcast(shape([2, 3]), &[1, 0]), [normal(DType::F32, [3, 2])]);
        s.add(broadcast(shape([2, 3]), &[1]), [normal(DType::F32, [3, 1])]);
        s.add(broadcast(shape([2, 3]), &[1]), [normal(DType::F32, [2])]);
        s.add(broadcast(Shape::from_iter([b]), &[0]), [normal(DType::F32, [2])]);
        s.add(broadcast(Shape::from_iter([Dim::INVALID]), &[]), [normal(DType::F32, [])]);
        s.add(broadcast(Shape::from_iter([b - 4]), &[]), [normal(DType::F32, [])]);
        s.add(broadcast(Shape::from_iter([Dim::constant(-1)]), &[]), [normal(DType::F32, [])]);
    },
};
