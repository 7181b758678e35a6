//! `layer_norm`: normalisation over trailing axes.

use super::{extent_as, normal, wide};
use crate::array::Array;
use crate::dim::Dim;
use crate::emit::X;
use crate::op::*;
use crate::ops::fold::total;
use crate::ops::type_rule::*;
use crate::ops::welford;
use crate::types::{DType, Shape, TensorType};

/// `(x - mean) / √(variance + eps) · weight + bias`, with the statistics over the last `axes` axes.
/// Operands: `x`, then weight and bias of the normalised axes' shape. Results: `y`, and the mean and `1 / √(variance + eps)`
/// of the other axes' shape (in `f32` for half types). Ba et al. 2016, arXiv:1607.06450.
pub fn layer_norm(axes: usize, eps: f64) -> Op {
    Op::new(&LAYER_NORM, [Attr::Int(axes as i64), Attr::Float(Float::new(eps))])
}

/// See [`layer_norm()`].
pub static LAYER_NORM: Record = Record {
    name: "layer_norm",
    attrs: &[("axes", AttrKind::Int), ("eps", AttrKind::Float)],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [x, _, _] = rule.operands()?;
        let axes = op.int("axes");
        rule.float(0)?;
        rule.ensure((1..=x.rank() as i64).contains(&axes), || {
            format!("cannot normalise {axes} trailing axes of an operand with {}", x.rank())
        })?;
        let kept = x.rank() - axes as usize;
        for k in [1, 2] {
            rule.same_dtype(0, k)?;
            rule.rank(k, axes as usize)?;
            for (i, (&w, &n)) in operands[k].shape.iter().zip(&x.shape[kept..]).enumerate() {
                let axis = format_args!("axis {i} of operand {k}").to_string();
                rule.agree("normalised extents", (axis, w), (format_args!("axis {} of operand 0", kept + i), n))?;
            }
        }
        let statistic = TensorType::new(x.dtype.compute(), x.shape[..kept].iter().copied());
        Ok(Types::from_iter([x.clone(), statistic.clone(), statistic]))
    },
    reference: |r| {
        let [x, weight, bias] = [0, 1, 2].map(|k| r.inputs[k]);
        let n = weight.len();
        let rows = x.len().checked_div(n).unwrap_or_else(|| r.results[1].elements().get().unwrap_or(0));
        let row = |i: usize| (0..n).map(move |k| x.f(i * n + k));
        let mean: Vec<f64> = (0..rows).map(|i| total(row(i)) / n as f64).collect();
        let variance = |i: usize| total(row(i).map(|v| (v - mean[i]).powi(2))) / n as f64;
        let deviation: Vec<f64> = (0..rows).map(|i| (variance(i) + r.op.float("eps")).sqrt()).collect();
        let y = |i: usize| (x.f(i) - mean[i / n]) / deviation[i / n] * weight.f(i % n) + bias.f(i % n);
        let kept = &x.shape()[..x.shape().len() - weight.shape().len()];
        let statistic = |values: Vec<f64>| Array::floats(r.results[1].dtype, kept, values);
        let inverse = deviation.iter().map(|d| d.recip()).collect();
        Ok(vec![Array::from_fn_f64(x.dtype(), x.shape(), y), statistic(mean.clone()), statistic(inverse)])
    },
    lowering: Lowering::Composite(|emitter, op, operands| {
        let [x, weight, bias] = [0, 1, 2].map(|k| wide(operands[k]));
        let statistics = emitter.apply(welford(&axes(op, x.rank())), &[x]);
        let variance = statistics[1] / count(x, op);
        let (mean, rstd) = (statistics[0], (variance + op.float("eps")).rsqrt());
        let y = (x - rows(mean, x)) * rows(rstd, x) * weight + bias;
        vec![y.cast(operands[0].dtype()), mean, rstd]
    }),
    vjp: Vjp::Rule(|a| {
        let [x, weight] = [0, 1].map(|k| wide(a.x(k)));
        let (mean, rstd, dy) = (a.y(1), a.y(2), wide(a.dy(0)));
        let (axes, n) = (axes(a.op, x.rank()), count(x, a.op));
        let normalised = (x - rows(mean, x)) * rows(rstd, x);
        let weighted = dy * weight;
        // y depends on x directly, through the mean and through the deviation; so do the statistics, if they are used.
        let mut along_mean = weighted.sum(&axes) * rstd;
        let mut along_deviation = (weighted * normalised).sum(&axes) * rstd;
        if let Some(d) = a.cotangents[1] {
            along_mean = along_mean - d;
        }
        if let Some(d) = a.cotangents[2] {
            along_deviation = along_deviation + d * rstd * rstd;
        }
        let dx = weighted * rows(rstd, x) - rows(along_mean / n, x) - normalised * rows(along_deviation / n, x);
        let leading: Vec<usize> = (0..x.rank() - axes.len()).collect();
        let narrow = |k: usize, d: X<'_, '_>| d.cast(a.x(k).dtype()).value;
        let parts = [dx, (dy * normalised).sum(&leading), dy.sum(&leading)];
        parts.iter().enumerate().map(|(k, &d)| a.wanted[k].then(|| a.emitter.value(narrow(k, d)))).collect()
    }),
    jvp: Jvp::FromVjp,
    batch: Batch::Rule(|a| {
        let x = a.batched(0);
        if !a.batched[1] && !a.batched[2] {
            return a.emitter.apply(a.op.clone(), &[x, a.operands[1], a.operands[2]]).to_vec();
        }
        // A weight for each example is applied outside.
        let shape = Shape::from(&x.shape()[x.rank() - a.op.int("axes") as usize..]);
        let [ones, zeros] = [1.0, 0.0].map(|v| a.emitter.full(x.dtype(), v, shape.clone()));
        let mut results = a.emitter.apply(a.op.clone(), &[x, ones, zeros]).to_vec();
        let spread = |k: usize| match a.batched[k] {
            true => {
                let own = a.operands[k];
                let trailing = x.rank() + 1 - own.rank()..x.rank();
                own.broadcast(x.shape(), &std::iter::once(0).chain(trailing).collect::<Vec<_>>())
            }
            false => a.operands[k],
        };
        results[0] = results[0] * spread(1) + spread(2);
        results
    }),
    flops: |_, operands, _| operands[0].elements() * 9,
    samples: |s| {
        let operands = |dtype: DType, shape: &[usize], axes: usize| {
            let ty = |shape: &[usize]| (TensorType::new(dtype, shape.iter().copied()), Fill::Normal);
            let trailing = &shape[shape.len() - axes..];
            [ty(shape), ty(trailing), ty(trailing)]
        };
        s.add(layer_norm(1, 1e-5), operands(DType::F32, &[4, 10], 1));
        s.add(layer_norm(2, 1e-3), operands(DType::F32, &[2, 3, 5], 2));
        s.add(layer_norm(1, 1e-5), operands(DType::F32, &[6], 1));
        s.add(layer_norm(1, 1e-5), operands(DType::F64, &[3, 2, 7], 1));
        s.add(layer_norm(1, 1e-5), operands(DType::F16, &[3, 40], 1));
        s.add(layer_norm(1, 1e-5), operands(DType::BF16, &[3, 40], 1));
        s.add(layer_norm(1, 1e-5), operands(DType::F32, &[0, 4], 1));
    },
    error_samples: |s| {
        let [x, w, v] = [normal(DType::F32, [2, 3]), normal(DType::F32, [3]), normal(DType::F32, [2])];
        s.add(layer_norm(1, 1e-5), [x.clone(), w.clone()]);
        s.add(layer_norm(1, 1e-5), [x.clone(), v, w.clone()]);
        s.add(layer_norm(3, 1e-5), [x.clone(), w.clone(), w.clone()]);
        s.add(layer_norm(1, 1e-5), [x.clone(), x.clone(), w.clone()]);
        s.add(layer_norm(1, 1e-5), [x, w.clone(), normal(DType::F64, [3])]);
    },
};

/// The normalised axes.
fn axes(op: &Op, rank: usize) -> Vec<usize> {
    (rank - op.int("axes") as usize..rank).collect()
}

/// The number of elements normalised together.
fn count<'b, 'e>(x: X<'b, 'e>, op: &Op) -> X<'b, 'e> {
    let n: Dim = axes(op, x.rank()).iter().map(|&a| x.shape()[a]).product();
    extent_as(x.emitter, n, x.dtype())
}

/// A statistic, repeated along the normalised axes to the shape of `x`.
fn rows<'b, 'e>(statistic: X<'b, 'e>, x: X<'b, 'e>) -> X<'b, 'e> {
    statistic.broadcast(x.shape(), &(0..statistic.rank()).collect::<Vec<_>>())
}
