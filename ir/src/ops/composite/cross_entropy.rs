//! `cross_entropy`: the negative log-likelihood of a label under a softmax.

use super::{extent_as, normal, wide};
use crate::array::Array;
use crate::emit::X;
use crate::op::*;
use crate::ops::fold::total;
use crate::ops::type_rule::*;
use crate::ops::{gather, iota, online_softmax};
use crate::types::{DType, Shape, TensorType};

/// Operands: logits `[N, C]` and labels `i64[N]`, clamped into range. Results, both `[N]`: the loss
/// `log Σ exp(logits) - logits[label]`, and `log Σ exp(logits)` (in `f32` for half types), which the derivative uses.
pub fn cross_entropy() -> Op {
    Op::new(&CROSS_ENTROPY, [])
}

/// See [`cross_entropy()`].
pub static CROSS_ENTROPY: Record = Record {
    name: "cross_entropy",
    attrs: &[],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [logits, labels] = rule.operands()?;
        rule.float(0)?;
        rule.rank(0, 2)?;
        rule.dtype(1, DType::I64)?;
        rule.rank(1, 1)?;
        rule.agree("the number of rows", ("logits", logits.shape[0]), ("labels", labels.shape[0]))?;
        let empty = logits.shape[1] == crate::Dim::ZERO;
        rule.ensure(!empty, || "needs at least one class".into())?;
        let loss = logits.with_shape([logits.shape[0]]);
        Ok(Types::from_iter([loss.clone(), loss.with_dtype(loss.dtype.compute())]))
    },
    reference: |r| {
        let [logits, labels] = [r.inputs[0], r.inputs[1]];
        let (n, c) = (logits.shape()[0], logits.shape()[1]);
        let row = |i: usize| (0..c).map(move |k| logits.f(i * c + k));
        let max = |i: usize| if row(i).any(f64::is_nan) { f64::NAN } else { row(i).fold(f64::NEG_INFINITY, f64::max) };
        let lse = |i: usize| max(i) + total(row(i).map(|x| (x - max(i)).exp())).ln();
        let label = |i: usize| labels.i(i).clamp(0, c as i64 - 1) as usize;
        let loss = |i: usize| lse(i) - logits.f(i * c + label(i));
        Ok(vec![Array::from_fn_f64(r.results[0].dtype, [n], loss), Array::from_fn_f64(r.results[1].dtype, [n], lse)])
    },
    lowering: Lowering::Composite(|emitter, _, operands| {
        let (logits, labels) = (wide(operands[0]), operands[1]);
        let reduced = emitter.apply(online_softmax(&[1]), &[logits]);
        let (max, log_sum) = (reduced[0], reduced[1].log());
        let row = emitter.one(iota(DType::I64, labels.shape(), 0), &[]);
        let picked = emitter.one(gather(&[0, 1]), &[logits, row, labels]);
        // The difference first: large logits of one sign cancel exactly.
        vec![(log_sum - (picked - max)).cast(operands[0].dtype()), max + log_sum]
    }),
    vjp: Vjp::Rule(|a| {
        let (logits, labels, lse) = (wide(a.x(0)), a.x(1), a.y(1));
        let column = |x: X<'_, '_>| a.emitter.value(x.broadcast(logits.shape(), &[0]).value);
        let last = extent_as(a.emitter, logits.shape()[1], DType::I64) - 1.0;
        let label = labels.max(labels.lit(0.0)).min(last);
        let class = a.emitter.one(iota(DType::I64, logits.shape(), 1), &[]);
        let hit = class.compare("eq", column(label));
        let dloss = wide(a.dy(0));
        let dlse = a.cotangents[1].map_or(dloss, |d| d + dloss);
        let probability = (logits - column(lse)).exp();
        let dlogits = probability * column(dlse) - hit.select(column(dloss), dloss.lit(0.0));
        vec![Some(dlogits.cast(a.x(0).dtype())), None]
    }),
    jvp: Jvp::FromVjp,
    batch: Batch::Rule(|a| {
        let (logits, labels) = (a.batched(0), a.batched(1));
        let [b, n, c] = [0, 1, 2].map(|i| logits.shape()[i]);
        let flat = [logits.reshape([b * n, c]), labels.reshape([b * n])];
        a.emitter.apply(cross_entropy(), &flat).iter().map(|y| y.reshape([b, n])).collect()
    }),
    flops: |_, operands, _| operands[0].elements() * 20,
    samples: |s| {
        let labels = |n: usize, c: i64| (TensorType::new(DType::I64, [n]), Fill::Range(0, c));
        for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
            s.add(cross_entropy(), [normal(dtype, [5, 10]), labels(5, 10)]);
        }
        s.add(cross_entropy(), [normal(DType::F32, [3, 1]), labels(3, 1)]);
        s.add(cross_entropy(), [normal(DType::F32, [0, 4]), labels(0, 4)]);
        s.add(cross_entropy(), [(TensorType::new(DType::F32, [9, 37]), Fill::Uniform(-90.0, 90.0)), labels(9, 37)]);
        // Outside the range: clamped.
        s.add(cross_entropy(), [normal(DType::F32, [20, 3]), (TensorType::new(DType::I64, [20]), Fill::Range(-3, 7))]);
    },
    error_samples: |s| {
        let labels = |dtype: DType, shape: Shape| (TensorType { dtype, shape }, Fill::Range(0, 3));
        let shape = |sizes: &[usize]| sizes.iter().map(|&n| n.into()).collect::<Shape>();
        s.add(cross_entropy(), [normal(DType::F32, [5, 3]), labels(DType::I64, shape(&[4]))]);
        s.add(cross_entropy(), [normal(DType::F32, [5, 3]), labels(DType::I32, shape(&[5]))]);
        s.add(cross_entropy(), [normal(DType::F32, [5, 3]), labels(DType::I64, shape(&[5, 3]))]);
        s.add(cross_entropy(), [normal(DType::F32, [5]), labels(DType::I64, shape(&[5]))]);
        s.add(cross_entropy(), [normal(DType::F32, [5, 0]), labels(DType::I64, shape(&[5]))]);
    },
};
