//! `softmax` and `log_softmax` over one axis.

use super::{normal, wide};
use crate::array::{Array, unravel};
use crate::emit::{Emitter, X};
use crate::error::Result;
use crate::op::*;
use crate::ops::fold::total;
use crate::ops::type_rule::*;
use crate::ops::{exp, online_softmax};
use crate::types::{DType, TensorType};

/// `exp(x) / Σ exp(x)` over `axis`.
pub fn softmax(axis: usize) -> Op {
    Op::new(&SOFTMAX, [Attr::Int(axis as i64)])
}

/// See [`softmax()`].
pub static SOFTMAX: Record = Record {
    name: "softmax",
    attrs: &[("axis", AttrKind::Int)],
    infer,
    reference: |r| reference(r, |x, max, sum| (x - max).exp() / sum),
    lowering: Lowering::Composite(|_, op, operands| {
        let (shifted, sum) = parts(op, operands[0]);
        // The sum is at least 1, so its reciprocal loses nothing; it is one division for a row instead of one for each element.
        vec![(shifted.exp() * (sum.lit(1.0) / sum)).cast(operands[0].dtype())]
    }),
    vjp: Vjp::Rule(|a| {
        let (y, dy) = (wide(a.y(0)), wide(a.dy(0)));
        let mean = over_axis(a.op, (y * dy).sum(&[axis(a.op)]), y);
        vec![Some((y * (dy - mean)).cast(a.x(0).dtype()))]
    }),
    jvp: Jvp::FromVjp,
    batch: Batch::Rule(|a| vec![a.emitter.one(softmax(axis(a.op) + 1), &[a.batched(0)])]),
    flops: |_, _, results| results[0].elements() * 30,
    samples: |s| samples(s, softmax),
    error_samples: |s| error_samples(s, softmax),
};

/// `x - log Σ exp(x)` over `axis`.
pub fn log_softmax(axis: usize) -> Op {
    Op::new(&LOG_SOFTMAX, [Attr::Int(axis as i64)])
}

/// See [`log_softmax()`].
pub static LOG_SOFTMAX: Record = Record {
    name: "log_softmax",
    attrs: &[("axis", AttrKind::Int)],
    infer,
    reference: |r| reference(r, |x, max, sum| x - max - sum.ln()),
    lowering: Lowering::Composite(|_, op, operands| {
        let (shifted, sum) = parts(op, operands[0]);
        vec![(shifted - sum.log()).cast(operands[0].dtype())]
    }),
    vjp: Vjp::Rule(|a| {
        let (y, dy) = (wide(a.y(0)), wide(a.dy(0)));
        let sum = over_axis(a.op, dy.sum(&[axis(a.op)]), y);
        vec![Some((dy - y.unary(exp()) * sum).cast(a.x(0).dtype()))]
    }),
    jvp: Jvp::FromVjp,
    batch: Batch::Rule(|a| vec![a.emitter.one(log_softmax(axis(a.op) + 1), &[a.batched(0)])]),
    flops: |_, _, results| results[0].elements() * 20,
    samples: |s| samples(s, log_softmax),
    error_samples: |s| error_samples(s, log_softmax),
};

fn axis(op: &Op) -> usize {
    op.int("axis") as usize
}

fn infer(op: &Op, operands: &[TensorType]) -> Result<Types> {
    let rule = TypeRule::new(op, operands);
    let [x] = rule.operands()?;
    rule.float(0)?;
    rule.axis("axis", x.rank())?;
    one(x.clone())
}

/// `x - max x` and `Σ exp(x - max x)`, both of `x`'s shape, in the type that arithmetic is done in.
fn parts<'b, 'e>(op: &Op, x: X<'b, 'e>) -> (X<'b, 'e>, X<'b, 'e>) {
    let x = wide(x);
    let emitter: &'b Emitter<'e> = x.emitter;
    let reduced = emitter.apply(online_softmax(&[axis(op)]), &[x]);
    (x - over_axis(op, reduced[0], x), over_axis(op, reduced[1], x))
}

/// A value without the axis, repeated along it to the shape of `like`.
fn over_axis<'b, 'e>(op: &Op, reduced: X<'b, 'e>, like: X<'b, 'e>) -> X<'b, 'e> {
    let kept: Vec<usize> = (0..like.rank()).filter(|&a| a != axis(op)).collect();
    reduced.broadcast(like.shape(), &kept)
}

/// `f(x, max, Σ exp(x - max))` for each element, by direct sums over its row.
fn reference(r: &Reference, f: impl Fn(f64, f64, f64) -> f64) -> Result<Vec<Array>> {
    let (x, axis) = (r.inputs[0], axis(r.op));
    let (n, stride) = (x.shape()[axis], x.shape()[axis + 1..].iter().product::<usize>());
    let value = |i: usize| {
        let first = i - unravel(i, x.shape())[axis] * stride;
        let row = || (0..n).map(|k| x.f(first + k * stride));
        let max = if row().any(f64::is_nan) { f64::NAN } else { row().fold(f64::NEG_INFINITY, f64::max) };
        f(x.f(i), max, total(row().map(|v| (v - max).exp())))
    };
    Ok(vec![Array::from_fn_f64(x.dtype(), x.shape(), value)])
}

fn samples(s: &mut Samples, op: fn(usize) -> Op) {
    s.add(op(1), [normal(DType::F32, [3, 10])]);
    s.add(op(0), [normal(DType::F32, [7])]);
    s.add(op(1), [normal(DType::F64, [2, 5, 3])]);
    s.add(op(0), [normal(DType::F16, [6, 4])]);
    s.add(op(1), [normal(DType::BF16, [2, 33])]);
    s.add(op(1), [(TensorType::new(DType::F32, [2, 70]), Fill::Uniform(-90.0, 90.0))]);
    s.add(op(1), [normal(DType::F32, [0, 4])]);
    s.add(op(1), [normal(DType::F32, [3, 1])]);
}

fn error_samples(s: &mut Samples, op: fn(usize) -> Op) {
    s.add(op(2), [normal(DType::F32, [3, 10])]);
    s.add(op(0), [(TensorType::new(DType::I64, [3]), Fill::Range(0, 9))]);
    s.add(op(0), [normal(DType::F32, [3]), normal(DType::F32, [3])]);
    s.add(op(0), [(TensorType::new(DType::F32, [0usize; 0]), Fill::Normal)]);
}
