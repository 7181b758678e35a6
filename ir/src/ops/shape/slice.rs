//! `slice`: a box of elements, each axis with a stride.

use crate::dim::Dim;
use crate::emit::X;
use crate::op::*;
use crate::ops::inputs::*;
use crate::ops::type_rule::*;
use crate::ops::{pad, walk};
use crate::types::{DType, Shape};

/// The elements at `start[i]`, `start[i] + stride[i]`, … below `limit[i]` of each axis.
pub fn slice(start: &[Dim], limit: &[Dim], stride: &[i64]) -> Op {
    Op::new(&SLICE, [Attr::Dims(start.into()), Attr::Dims(limit.into()), ints_attr(stride)])
}

/// See [`slice()`].
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
            rule.at_least(format_args!("`limit` of axis {i}"), limit[i], "`start`", start[i])?;
            rule.at_least(format_args!("the extent of axis {i}"), x.shape[i], "`limit`", limit[i])?;
            shape.push((limit[i] - start[i]).div_ceil(Dim::constant(stride[i])));
        }
        one(x.with_shape(shape))
    },
    reference: |r| {
        let (x, shape) = (r.inputs[0], r.results[0].sizes()?);
        let (mut first, mut strides) = (0, walk::strides(x.shape()));
        for (i, stride) in strides.iter_mut().enumerate() {
            first += *stride * r.op.dims("start")[i].get()? as isize;
            *stride *= r.op.ints("stride")[i] as isize;
        }
        let source = walk::positions(&shape, first, &strides);
        Ok(vec![x.gathered(shape, |i| source[i])])
    },
    lowering: Lowering::Map(|at| {
        let (start, stride) = (at.op.dims("start"), at.op.ints("stride"));
        let along = |i: usize| at.extent(start[i]) + at.index[i] * at.int(stride[i]);
        at.load(0, &(0..at.index.len()).map(along).collect::<Vec<_>>())
    }),
    vjp: Vjp::Rule(|v| vec![Some(cotangent(v))]),
    jvp: Jvp::Linear,
    batch: Batch::Rule(|b| {
        let (start, limit) = (b.op.dims("start"), b.op.dims("limit"));
        let (start, limit) = ([&[Dim::ZERO], start].concat(), [&[b.extent], limit].concat());
        vec![b.operands[0].unary(slice(&start, &limit, &[&[1], b.op.ints("stride")].concat()))]
    }),
    flops: no_flops,
    samples: |s| {
        s.add(slice(&[], &[], &[]), [normal(DType::F64, [])]);
        s.add(slice(&dims([1]), &dims([4]), &[1]), [normal(DType::F64, [5])]);
        s.add(slice(&dims([0, 1]), &dims([3, 6]), &[2, 1]), [normal(DType::F64, [4, 6])]);
        s.add(slice(&dims([1, 2]), &dims([7, 10]), &[3, 4]), [normal(DType::F64, [8, 10])]);
        s.add(slice(&dims([2, 0]), &dims([2, 3]), &[1, 1]), [normal(DType::F64, [4, 3])]);
        s.add(slice(&dims([0]), &dims([0]), &[2]), [normal(DType::F32, [0])]);
        s.add(slice(&dims([0, 0]), &dims([2, 1]), &[1, 1]), [normal(DType::F32, [2, 1])]);
        s.add(slice(&dims([1]), &dims([6]), &[2]), [range(DType::I64, [6], -9, 9)]);
        s.add(slice(&dims([1]), &dims([6]), &[3]), [range(DType::Bool, [7], 0, 2)]);
    },
    error_samples: |s| {
        let b = Dim::symbol("B", 1, 8);
        s.add(slice(&[], &[], &[]), []);
        s.add(slice(&dims([0, 0]), &dims([1]), &[1]), [normal(DType::F32, [2])]);
        s.add(slice(&dims([0]), &dims([1, 1]), &[1]), [normal(DType::F32, [2])]);
        s.add(slice(&dims([0]), &dims([1]), &[1, 1]), [normal(DType::F32, [2])]);
        s.add(slice(&dims([0]), &dims([1]), &[0]), [normal(DType::F32, [2])]);
        s.add(slice(&[Dim::constant(-1)], &dims([1]), &[1]), [normal(DType::F32, [2])]);
        s.add(slice(&dims([2]), &dims([1]), &[1]), [normal(DType::F32, [2])]);
        s.add(slice(&dims([0]), &dims([3]), &[1]), [normal(DType::F32, [2])]);
        s.add(slice(&dims([0]), &dims([4]), &[1]), [symbolic(DType::F32, &[b])]);
        s.add(slice(&dims([0]), &[Dim::INVALID], &[1]), [symbolic(DType::F32, &[b])]);
    },
};

/// The cotangent of the operand: that of the result where its elements came from, zero elsewhere.
fn cotangent<'b, 'e>(v: &VjpArgs<'b, 'e>) -> X<'b, 'e> {
    let (x, start, limit) = (v.x(0), v.op.dims("start"), v.op.dims("limit"));
    if (0..start.len()).any(|i| start[i] == limit[i]) {
        return x.zeros_like();
    }
    let strides = v.op.ints("stride");
    let high: Vec<Dim> =
        (0..start.len()).map(|i| x.shape()[i] - limit[i] + (limit[i] - start[i] - 1).rem(Dim::constant(strides[i]))).collect();
    let interior: Vec<i64> = strides.iter().map(|s| s - 1).collect();
    v.emitter.one(pad(start, &high, &interior), &[v.dy(0), x.lit(0.0)])
}
