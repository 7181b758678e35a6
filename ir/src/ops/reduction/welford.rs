//! `welford`: mean and sum of squared differences from it, in one pass.

use super::{batch_over_axes, count, over_axes, reduced_axes, result_positions, spread};
use crate::array::Array;
use crate::op::*;
use crate::ops::fold::Total;
use crate::ops::inputs::*;
use crate::ops::type_rule::*;
use crate::types::DType;

/// Two results over `axes` (increasing), which disappear: the mean and the sum of squared differences from it;
/// over nothing, NaN and 0. Welford 1962, "Note on a method for calculating corrected sums of squares and products".
pub fn welford(axes: &[usize]) -> Op {
    Op::new(&WELFORD, [axes_attr(axes)])
}

/// See [`welford`].
pub static WELFORD: Record = Record {
    name: "welford",
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
        let n: usize = shape.iter().product();
        let each = places.len() as f64 / n as f64;
        let (mut sum, mut squares) = (vec![Total::default(); n], vec![Total::default(); n]);
        places.iter().enumerate().for_each(|(e, &p)| sum[p].add(x.f(e)));
        let mean: Vec<f64> = sum.into_iter().map(|sum| sum.value() / each).collect();
        places.iter().enumerate().for_each(|(e, &p)| squares[p].add((x.f(e) - mean[p]).powi(2)));
        let squares = squares.into_iter().map(Total::value).collect();
        Ok(vec![Array::floats(x.dtype(), shape.clone(), mean), Array::floats(x.dtype(), shape, squares)])
    },
    lowering: Lowering::Reduction(|at| over_axes(at, ReduceKind::Welford)),
    vjp: Vjp::Rule(|v| {
        let (x, axes) = (v.x(0), v.op.axes("axes"));
        let by_mean = v.cotangents[0].map(|d| spread(d / count(x, &axes), &axes, x));
        let by_squares = v.cotangents[1].map(|d| (x - spread(v.y(0), &axes, x)) * spread(d * 2.0, &axes, x));
        vec![match (by_mean, by_squares) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        }]
    }),
    jvp: Jvp::Rule(|j| {
        let (x, axes) = (j.operands[0], j.op.axes("axes"));
        let Some(t) = j.tangents[0] else { return vec![None, None] };
        let mean = t.sum(&axes) / count(x, &axes);
        let squares = ((x - spread(j.results[0], &axes, x)) * t).sum(&axes) * 2.0;
        vec![Some(mean), Some(squares)]
    }),
    batch: Batch::Rule(batch_over_axes),
    flops: |_, operands, _| operands[0].elements() * 4usize,
    samples: |s| {
        s.add(welford(&[0]), [normal(DType::F64, [5])]);
        s.add(welford(&[1]), [normal(DType::F64, [3, 4])]);
        s.add(welford(&[0, 2]), [normal(DType::F64, [2, 3, 4])]);
        s.add(welford(&[1]), [normal(DType::F64, [3, 1])]);
        s.add(welford(&[1]), [uniform(DType::F32, [3, 70], 10.0, 12.0)]);
        s.add(welford(&[0]), [normal(DType::F32, [5000])]);
        s.add(welford(&[1]), [normal(DType::F32, [2, 0])]);
        s.add(welford(&[0]), [normal(DType::F32, [2, 0])]);
    },
    error_samples: |s| {
        s.add(welford(&[0]), []);
        s.add(welford(&[]), [normal(DType::F32, [3])]);
        s.add(welford(&[1]), [normal(DType::F32, [3])]);
        s.add(welford(&[0]), [range(DType::I64, [3], 0, 9)]);
    },
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{numbers, run};

    #[test]
    fn one_to_four_have_mean_two_and_a_half_and_five_squares() {
        let results = run(&welford(&[0]), &[numbers([4], [1.0, 2.0, 3.0, 4.0])]);
        assert_eq!((results[0].f(0), results[1].f(0)), (2.5, 5.0));
    }
}
