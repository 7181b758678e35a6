//! `reduce`: sum, product, maximum, minimum, and, or over axes.

use super::product::product_of_others;
use super::{batch_over_axes, not_empty, over_axes, reduced_axes, result_positions, share_of_extremum, spread};
use crate::array::{Array, Data};
use crate::emit::X;
use crate::op::*;
use crate::ops::fold::{Total, combine_f64, combine_i64};
use crate::ops::inputs::*;
use crate::ops::type_rule::*;
use crate::types::DType;

/// Combines the elements along `axes` (increasing), which disappear. `kind` is `Sum`, `Prod`, `Max`, `Min`, `And` or `Or`.
/// Over no elements, a sum is 0, a product 1, `And` true (all bits set) and `Or` false.
pub fn reduce(kind: ReduceKind, axes: &[usize]) -> Op {
    Op::new(&REDUCE, [Attr::Name(kind.name()), axes_attr(axes)])
}

/// See [`reduce`].
pub static REDUCE: Record = Record {
    name: "reduce",
    attrs: &[("kind", AttrKind::Name(&["sum", "prod", "max", "min", "and", "or"])), ("axes", AttrKind::Ints)],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [x] = rule.operands()?;
        let axes = reduced_axes(rule, x.rank())?;
        let (kind, dtype) = (kind(op), x.dtype);
        if matches!(kind, ReduceKind::And | ReduceKind::Or) {
            rule.ensure(!dtype.is_float(), || format!("needs bool or integers for `{}`, not {dtype}", kind.name()))?;
        } else {
            rule.ensure(dtype != DType::Bool, || format!("needs numbers, not bool, for `{}`", kind.name()))?;
        }
        if matches!(kind, ReduceKind::Max | ReduceKind::Min) {
            not_empty(rule, &axes, "extremum")?;
        }
        one(x.with_shape(without(&x.shape, &axes)))
    },
    reference: |r| {
        let (x, shape, kind) = (r.inputs[0], r.results[0].sizes()?, kind(r.op));
        let places = result_positions(x, &r.op.axes("axes"));
        let (n, first) = (shape.iter().product(), kind.identity(x.dtype()));
        Ok(vec![match x.data() {
            Data::Float(elements) if kind == ReduceKind::Sum => {
                let mut y = vec![Total::default(); n];
                elements.iter().zip(places).for_each(|(&e, p)| y[p].add(e));
                Array::floats(x.dtype(), shape, y.into_iter().map(Total::value).collect())
            }
            Data::Float(elements) => {
                let mut y = vec![first.as_f64(); n];
                elements.iter().zip(places).for_each(|(&e, p)| y[p] = combine_f64(kind, y[p], e));
                Array::floats(x.dtype(), shape, y)
            }
            Data::Int(elements) => {
                let mut y = vec![first.as_i64(); n];
                elements.iter().zip(places).for_each(|(&e, p)| y[p] = combine_i64(kind, y[p], e));
                Array::ints(x.dtype(), shape, y)
            }
        }])
    },
    lowering: Lowering::Reduction(|at| over_axes(at, kind(at.op))),
    vjp: Vjp::Rule(|v| {
        let (x, axes) = (v.x(0), v.op.axes("axes"));
        let dy = spread(v.dy(0), &axes, x);
        vec![match kind(v.op) {
            ReduceKind::Sum => Some(dy),
            kind => partial(kind, x, v.y(0), &axes).map(|p| p * dy),
        }]
    }),
    jvp: Jvp::Rule(|j| {
        let axes = j.op.axes("axes");
        let Some(tangent) = j.tangents[0] else { return vec![None] };
        vec![match kind(j.op) {
            ReduceKind::Sum => Some(tangent.sum(&axes)),
            kind => partial(kind, j.operands[0], j.results[0], &axes).map(|p| (p * tangent).sum(&axes)),
        }]
    }),
    batch: Batch::Rule(batch_over_axes),
    flops: |_, operands, _| operands[0].elements(),
    samples: |s| {
        for kind in [ReduceKind::Sum, ReduceKind::Prod] {
            let fill = |extents: &[usize]| uniform(DType::F64, extents.iter().copied(), -1.5, 1.5);
            s.add(reduce(kind, &[0]), [fill(&[5])]);
            s.add(reduce(kind, &[1]), [fill(&[3, 4])]);
            s.add(reduce(kind, &[0, 2]), [fill(&[2, 3, 4])]);
            s.add(reduce(kind, &[0, 1]), [fill(&[1, 1])]);
            s.add(reduce(kind, &[1]), [fill(&[2, 0])]);
            s.add(reduce(kind, &[0]), [fill(&[2, 0])]);
            s.add(reduce(kind, &[1]), [uniform(DType::F32, [3, 70], 0.5, 1.5)]);
            s.add(reduce(kind, &[1]), [range(DType::I64, [3, 4], -9, 9)]);
            s.add(reduce(kind, &[0]), [range(DType::U8, [40], 0, 256)]);
            s.add(reduce(kind, &[0]), [range(DType::I8, [40], -128, 128)]);
            s.add(reduce(kind, &[0]), [range(DType::F64, [4, 3], -1, 2)]);
        }
        s.add(reduce(ReduceKind::Sum, &[0]), [normal(DType::F32, [5000])]);
        for kind in [ReduceKind::Max, ReduceKind::Min] {
            s.add(reduce(kind, &[0]), [distinct(DType::F64, [5])]);
            s.add(reduce(kind, &[0, 2]), [distinct(DType::F64, [2, 3, 4])]);
            s.add(reduce(kind, &[1]), [distinct(DType::F64, [3, 1])]);
            s.add(reduce(kind, &[0]), [distinct(DType::F64, [2, 0])]);
            s.add(reduce(kind, &[1]), [distinct(DType::F32, [2, 70])]);
            s.add(reduce(kind, &[1]), [specials(DType::F32, [3, 7])]);
            s.add(reduce(kind, &[0]), [range(DType::I64, [7, 2], -9, 9)]);
        }
        for kind in [ReduceKind::And, ReduceKind::Or] {
            s.add(reduce(kind, &[0, 1]), [range(DType::Bool, [2, 3], 0, 2)]);
            s.add(reduce(kind, &[1]), [range(DType::Bool, [5, 2], 0, 2)]);
            s.add(reduce(kind, &[1]), [range(DType::Bool, [2, 0], 0, 2)]);
            s.add(reduce(kind, &[0]), [range(DType::I64, [3, 2], -9, 9)]);
        }
    },
    error_samples: |s| {
        s.add(reduce(ReduceKind::Sum, &[0]), []);
        s.add(reduce(ReduceKind::Sum, &[]), [normal(DType::F32, [3])]);
        s.add(reduce(ReduceKind::Sum, &[1]), [normal(DType::F32, [3])]);
        s.add(reduce(ReduceKind::Sum, &[1, 0]), [normal(DType::F32, [3, 2])]);
        s.add(reduce(ReduceKind::Sum, &[0, 0]), [normal(DType::F32, [3, 2])]);
        s.add(reduce(ReduceKind::Sum, &[0]), [range(DType::Bool, [3], 0, 2)]);
        s.add(reduce(ReduceKind::And, &[0]), [normal(DType::F32, [3])]);
        s.add(reduce(ReduceKind::Max, &[0]), [normal(DType::F32, [0, 2])]);
    },
};

fn kind(op: &Op) -> ReduceKind {
    ReduceKind::from_name(op.choice("kind")).expect("the choices are names of kinds")
}

/// The derivative of the result by each element of `x`. Ties share evenly, like PyTorch's `amax`.
fn partial<'b, 'e>(kind: ReduceKind, x: X<'b, 'e>, y: X<'b, 'e>, axes: &[usize]) -> Option<X<'b, 'e>> {
    match kind {
        ReduceKind::Max | ReduceKind::Min => Some(share_of_extremum(x, y, axes)),
        ReduceKind::Prod => Some(product_of_others(x, axes)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{gradient, numbers, run};

    /// Rows with one zero, two zeros and none; the gradient is PyTorch's.
    #[test]
    fn a_product_with_zeros_has_a_derivative() {
        let x = numbers([3, 3], [2.0, 0.0, 3.0, 0.0, 0.0, 4.0, 1.0, 5.0, -2.0]);
        let op = reduce(ReduceKind::Prod, &[1]);
        assert_eq!(run(&op, std::slice::from_ref(&x))[0].to_f64(), [0.0, 0.0, -10.0]);
        let dx = gradient(&op, &[x], numbers([3], [1.0; 3]));
        assert_eq!(dx.to_f64(), [0.0, 6.0, 0.0, 0.0, 0.0, 0.0, -10.0, -2.0, 5.0]);
    }

    /// As PyTorch's `amax`.
    #[test]
    fn ties_share_the_cotangent() {
        let x = numbers([2, 3], [2.0, 7.0, 7.0, 1.0, 0.0, -1.0]);
        let dx = gradient(&reduce(ReduceKind::Max, &[1]), &[x], numbers([2], [1.0, 3.0]));
        assert_eq!(dx.to_f64(), [0.0, 0.5, 0.5, 3.0, 0.0, 0.0]);
    }

    #[test]
    fn a_nan_is_the_extremum() {
        let x = numbers([3], [1.0, f64::NAN, 2.0]);
        assert!(run(&reduce(ReduceKind::Max, &[0]), std::slice::from_ref(&x))[0].f(0).is_nan());
        assert!(run(&reduce(ReduceKind::Min, &[0]), &[x])[0].f(0).is_nan());
    }

    #[test]
    fn sums_of_integers_wrap() {
        let x = Array::ints(DType::U8, [3], vec![200, 100, 3]);
        assert_eq!(run(&reduce(ReduceKind::Sum, &[0]), &[x])[0].i(0), 47);
    }
}
