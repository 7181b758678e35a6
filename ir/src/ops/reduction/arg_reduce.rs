//! `arg_reduce`: where the maximum or minimum is.

use super::{batch_over_axes, not_empty, over_axes, reduced_axes, result_positions};
use crate::array::Array;
use crate::op::*;
use crate::ops::fold::replaces;
use crate::ops::inputs::*;
use crate::ops::type_rule::*;
use crate::ops::walk;
use crate::types::DType;

/// The position (`i64`, row-major over `axes`, increasing) of the first extremum; a NaN counts as one.
/// `kind` is `ArgMax` or `ArgMin`.
pub fn arg_reduce(kind: ReduceKind, axes: &[usize]) -> Op {
    Op::new(&ARG_REDUCE, [Attr::Name(kind.name()), axes_attr(axes)])
}

/// See [`arg_reduce`].
pub static ARG_REDUCE: Record = Record {
    name: "arg_reduce",
    attrs: &[("kind", AttrKind::Name(&["argmax", "argmin"])), ("axes", AttrKind::Ints)],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [x] = rule.operands()?;
        rule.numbers(0)?;
        let axes = reduced_axes(rule, x.rank())?;
        not_empty(rule, &axes, "extremum")?;
        one(x.with_shape(without(&x.shape, &axes)).with_dtype(DType::I64))
    },
    reference: |r| {
        let (x, shape, kind) = (r.inputs[0], r.results[0].sizes()?, kind(r.op));
        let axes = r.op.axes("axes");
        // The position within the reduced axes: strides over these alone.
        let mut within = x.shape().to_vec();
        (0..within.len()).filter(|a| !axes.contains(a)).for_each(|a| within[a] = 1);
        let mut strides = walk::strides(&within);
        (0..within.len()).filter(|a| !axes.contains(a)).for_each(|a| strides[a] = 0);
        let within = walk::positions(x.shape(), 0, &strides);
        let mut best: Vec<Option<usize>> = vec![None; shape.iter().product()];
        let better = |a: usize, b: usize| match x.data() {
            crate::array::Data::Float(v) => replaces(kind, v[a], v[b]),
            crate::array::Data::Int(v) => {
                if kind == ReduceKind::ArgMax {
                    v[b] > v[a]
                } else {
                    v[b] < v[a]
                }
            }
        };
        for (e, p) in result_positions(x, &axes).into_iter().enumerate() {
            if best[p].is_none_or(|b| better(b, e)) {
                best[p] = Some(e);
            }
        }
        Ok(vec![Array::from_fn_i64(DType::I64, shape, |p| best[p].map_or(0, |e| within[e] as i64))])
    },
    lowering: Lowering::Reduction(|at| over_axes(at, kind(at.op))),
    vjp: Vjp::Zero,
    jvp: Jvp::Zero,
    batch: Batch::Rule(batch_over_axes),
    flops: |_, operands, _| operands[0].elements(),
    samples: |s| {
        for kind in [ReduceKind::ArgMax, ReduceKind::ArgMin] {
            s.add(arg_reduce(kind, &[0]), [distinct(DType::F64, [5])]);
            s.add(arg_reduce(kind, &[1]), [distinct(DType::F32, [3, 40])]);
            s.add(arg_reduce(kind, &[0, 2]), [distinct(DType::F64, [3, 2, 4])]);
            s.add(arg_reduce(kind, &[0, 1]), [distinct(DType::F32, [1, 1])]);
            s.add(arg_reduce(kind, &[0]), [distinct(DType::F32, [2, 0])]);
            s.add(arg_reduce(kind, &[1]), [range(DType::F64, [4, 9], 0, 3)]);
            s.add(arg_reduce(kind, &[1]), [specials(DType::F32, [3, 7])]);
            s.add(arg_reduce(kind, &[0]), [range(DType::I64, [9, 2], -3, 3)]);
        }
    },
    error_samples: |s| {
        let kind = ReduceKind::ArgMax;
        s.add(arg_reduce(kind, &[0]), []);
        s.add(arg_reduce(kind, &[]), [normal(DType::F32, [3])]);
        s.add(arg_reduce(kind, &[1]), [normal(DType::F32, [3])]);
        s.add(arg_reduce(kind, &[0]), [range(DType::Bool, [3], 0, 2)]);
        s.add(arg_reduce(kind, &[1]), [normal(DType::F32, [3, 0])]);
    },
};

fn kind(op: &Op) -> ReduceKind {
    ReduceKind::from_name(op.choice("kind")).expect("the choices are names of kinds")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{numbers, run};

    #[test]
    fn the_first_extremum_and_the_first_nan_win() {
        let argmax = |x: [f64; 4]| run(&arg_reduce(ReduceKind::ArgMax, &[0]), &[numbers([4], x)])[0].i(0);
        let argmin = |x: [f64; 4]| run(&arg_reduce(ReduceKind::ArgMin, &[0]), &[numbers([4], x)])[0].i(0);
        assert_eq!((argmax([1.0, 7.0, 7.0, 0.0]), argmin([1.0, 0.0, 7.0, -0.0])), (1, 1));
        assert_eq!((argmax([1.0, f64::NAN, 7.0, f64::NAN]), argmin([1.0, 0.0, f64::NAN, f64::NAN])), (1, 2));
    }

    /// Positions count over the reduced axes only: row-major over axes 0 and 2 of `[2, 2, 2]`.
    #[test]
    fn positions_are_row_major_over_the_reduced_axes() {
        let x = numbers([2, 2, 2], [0.0, 1.0, 5.0, 2.0, 9.0, 3.0, 4.0, 4.0]);
        assert_eq!(run(&arg_reduce(ReduceKind::ArgMax, &[0, 2]), &[x])[0].to_f64(), [2.0, 0.0]);
    }
}
