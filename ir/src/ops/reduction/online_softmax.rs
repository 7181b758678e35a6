//! `online_softmax`: the maximum and the sum of exponentials, in one pass.

use super::{batch_over_axes, over_axes, reduced_axes, result_positions, share_of_extremum, spread};
use crate::array::Array;
use crate::op::*;
use crate::ops::fold::{Total, combine_f64};
use crate::ops::inputs::*;
use crate::ops::type_rule::*;
use crate::types::DType;

/// Two results over `axes` (increasing), which disappear: the maximum `m` and `Σ exp(x - m)`; over nothing, −∞ and 0.
/// Milakov and Gimelshein 2018, arXiv:1805.02867.
pub fn online_softmax(axes: &[usize]) -> Op {
    Op::new(&ONLINE_SOFTMAX, [axes_attr(axes)])
}

/// See [`online_softmax`].
pub static ONLINE_SOFTMAX: Record = Record {
    name: "online_softmax",
    attrs: &[("axes", AttrKind::Ints)],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [x] = rule.operands()?;
        rule.float(0)?;
        let result = x.with_shape(without(&x.shape, &reduced_axes(rule, x.rank())?));
        Ok(Types::from_iter([result.clone(), result]))
    },
    reference: |r| {
        let (x, shape) = (r.inputs[0], r.results[0].sizes()?);
        let places = result_positions(x, &r.op.axes("axes"));
        let n = shape.iter().product();
        let (mut max, mut sum) = (vec![f64::NEG_INFINITY; n], vec![Total::default(); n]);
        places.iter().enumerate().for_each(|(e, &p)| max[p] = combine_f64(ReduceKind::Max, max[p], x.f(e)));
        places.iter().enumerate().for_each(|(e, &p)| sum[p].add((x.f(e) - max[p]).exp()));
        let sum = sum.into_iter().map(Total::value).collect();
        Ok(vec![Array::floats(x.dtype(), shape.clone(), max), Array::floats(x.dtype(), shape, sum)])
    },
    lowering: Lowering::Reduction(|at| over_axes(at, ReduceKind::OnlineSoftmax)),
    vjp: Vjp::Rule(|v| {
        let (x, axes) = (v.x(0), v.op.axes("axes"));
        let (max, sum) = (v.y(0), v.y(1));
        let by_sum = v.cotangents[1].map(|ds| (x - spread(max, &axes, x)).exp() * spread(ds, &axes, x));
        // Moving the maximum scales the sum: ∂sum/∂max = -sum.
        let of_max = match v.cotangents[1] {
            Some(ds) => v.dy(0) - ds * sum,
            None => v.dy(0),
        };
        let by_max = share_of_extremum(x, max, &axes) * spread(of_max, &axes, x);
        vec![Some(by_sum.map_or(by_max, |d| d + by_max))]
    }),
    jvp: Jvp::Rule(|j| {
        let (x, axes) = (j.operands[0], j.op.axes("axes"));
        let Some(t) = j.tangents[0] else { return vec![None, None] };
        let (max, sum) = (j.results[0], j.results[1]);
        let dmax = (share_of_extremum(x, max, &axes) * t).sum(&axes);
        let dsum = ((x - spread(max, &axes, x)).exp() * t).sum(&axes) - sum * dmax;
        vec![Some(dmax), Some(dsum)]
    }),
    batch: Batch::Rule(batch_over_axes),
    flops: |_, operands, _| operands[0].elements() * 4usize,
    samples: |s| {
        s.add(online_softmax(&[0]), [distinct(DType::F64, [5])]);
        s.add(online_softmax(&[1]), [distinct(DType::F64, [3, 4])]);
        s.add(online_softmax(&[0, 2]), [distinct(DType::F64, [2, 3, 2])]);
        s.add(online_softmax(&[1]), [distinct(DType::F64, [3, 1])]);
        s.add(online_softmax(&[1]), [normal(DType::F32, [3, 70])]);
        s.add(online_softmax(&[0]), [uniform(DType::F32, [40, 2], -80.0, 80.0)]);
        s.add(online_softmax(&[1]), [normal(DType::F16, [2, 0])]);
        s.add(online_softmax(&[0]), [normal(DType::F32, [2, 0])]);
    },
    error_samples: |s| {
        s.add(online_softmax(&[0]), []);
        s.add(online_softmax(&[]), [normal(DType::F32, [3])]);
        s.add(online_softmax(&[1]), [normal(DType::F32, [3])]);
        s.add(online_softmax(&[0]), [range(DType::I64, [3], 0, 9)]);
    },
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{numbers, run};

    /// `exp(log 2 - log 4) + exp(log 4 - log 4) = 1.5`, and no overflow far from zero.
    #[test]
    fn exponentials_are_relative_to_the_maximum() {
        let x = numbers([2, 2], [2f64.ln(), 4f64.ln(), 1000.0, 1000.0]);
        let results = run(&online_softmax(&[1]), &[x]);
        assert_eq!(results[0].to_f64(), [4f64.ln(), 1000.0]);
        assert!((results[1].f(0) - 1.5).abs() < 1e-15 && results[1].f(1) == 2.0);
    }
}
