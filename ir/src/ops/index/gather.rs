//! `gather`: elements at computed places.

use super::{indexed_axes, indexed_place, indexed_positions};
use crate::dim::Dim;
use crate::op::*;
use crate::ops::inputs::*;
use crate::ops::type_rule::*;
use crate::ops::{iota, scatter};
use crate::types::DType;

/// Elements at computed places: operands `x, i1…ik`, where the indices (`i64` or `i32`, all of one shape `I`) select
/// along `axes[0]…axes[k-1]` of `x`. The result has shape `I` followed by the other axes of `x`.
/// An index is clamped into range.
pub fn gather(axes: &[usize]) -> Op {
    Op::new(&GATHER, [axes_attr(axes)])
}

/// See [`gather`].
pub static GATHER: Record = Record {
    name: "gather",
    attrs: &[("axes", AttrKind::Ints)],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [x, indices @ ..] = operands else {
            return Err(rule.error("takes a tensor and indices and was given nothing"));
        };
        let (axes, shape) = indexed_axes(rule, x, indices)?;
        one(x.with_shape(shape.into_iter().chain(without(&x.shape, &axes))))
    },
    reference: |r| {
        let source = indexed_positions(r.inputs[0].shape(), &r.op.axes("axes"), &r.inputs[1..]);
        Ok(vec![r.inputs[0].gathered(r.results[0].sizes()?, |i| source[i])])
    },
    lowering: Lowering::Map(|at| {
        let (places, others) = at.index.split_at(at.operands[1].rank());
        at.load(0, &indexed_place(at, places, others))
    }),
    vjp: Vjp::Rule(|v| {
        let (zeros, indices) = (v.x(0).zeros_like(), &v.operands[1..]);
        let op = scatter(&v.op.axes("axes"), Some(ReduceKind::Sum));
        let dx = v.emitter.one(op, &[&[zeros], indices, &[v.dy(0)]].concat());
        [Some(dx)].into_iter().chain(indices.iter().map(|_| None)).collect()
    }),
    jvp: Jvp::Linear,
    batch: Batch::Rule(|b| {
        let axes = b.op.axes("axes");
        let rank = b.operands[1].rank() - b.batched[1] as usize;
        if !b.batched[1..].contains(&true) {
            // The batch axis of `x` is one of its other axes; in the result it comes after those of the indices.
            let y = b.emitter.one(gather(&behind_batch(&axes)), &b.operands);
            let others = (0..y.rank()).filter(|&a| a != rank);
            return vec![y.transpose(&[rank].into_iter().chain(others).collect::<Vec<_>>())];
        }
        let indices: Vec<_> = (1..b.operands.len()).map(|k| b.batched(k)).collect();
        if !b.batched[0] {
            return vec![b.emitter.one(b.op.clone(), &[&[b.operands[0]], &indices[..]].concat())];
        }
        let own = b.emitter.one(iota(indices[0].dtype(), indices[0].shape(), 0), &[]);
        let op = gather(&[&[0], &behind_batch(&axes)[..]].concat());
        vec![b.emitter.one(op, &[&[b.operands[0], own], &indices[..]].concat())]
    }),
    flops: no_flops,
    samples: |s| {
        let (i, j) = (range(DType::I64, [4], 0, 3), range(DType::I32, [4], 0, 2));
        s.add(gather(&[0]), [normal(DType::F64, [3]), range(DType::I64, [], 0, 3)]);
        s.add(gather(&[0]), [normal(DType::F64, [3, 2]), i.clone()]);
        s.add(gather(&[1]), [normal(DType::F64, [2, 3, 2]), range(DType::I64, [2, 2], 0, 3)]);
        s.add(gather(&[2, 0]), [normal(DType::F64, [2, 2, 3]), i.clone(), j]);
        s.add(gather(&[1]), [normal(DType::F32, [2, 3]), range(DType::I32, [5], -7, 7)]);
        s.add(gather(&[0]), [normal(DType::F32, [1, 2]), range(DType::I64, [3], 0, 1)]);
        s.add(gather(&[0]), [normal(DType::F32, [3, 0]), i.clone()]);
        s.add(gather(&[0]), [normal(DType::F32, [0, 2]), range(DType::I64, [0], 0, 1)]);
        s.add(gather(&[0]), [range(DType::I64, [3], -9, 9), i.clone()]);
        s.add(gather(&[0]), [range(DType::Bool, [3], 0, 2), i]);
    },
    error_samples: |s| {
        let (x, i) = (normal(DType::F32, [3, 2]), range(DType::I64, [4], 0, 3));
        let b = Dim::symbol("B", 1, 8);
        s.add(gather(&[0]), []);
        s.add(gather(&[]), [x.clone()]);
        s.add(gather(&[0]), [x.clone()]);
        s.add(gather(&[2]), [x.clone(), i.clone()]);
        s.add(gather(&[0, 0]), [x.clone(), i.clone(), i.clone()]);
        s.add(gather(&[0]), [x.clone(), normal(DType::F32, [4])]);
        s.add(gather(&[0, 1]), [x.clone(), i.clone(), range(DType::I64, [4, 1], 0, 3)]);
        s.add(gather(&[0, 1]), [x.clone(), i.clone(), range(DType::I64, [5], 0, 3)]);
        s.add(gather(&[0, 1]), [x, i.clone(), (crate::TensorType::new(DType::I64, [b]), Fill::Range(0, 3))]);
        s.add(gather(&[0]), [normal(DType::F32, [0, 2]), i]);
    },
};
