//! `scatter`: elements put, added or otherwise combined at computed places.

use super::scatter_derivative::{tangent, vjp};
use super::{indexed_axes, indexed_place, indexed_positions};
use crate::array::{Array, Data};
use crate::dim::Dim;
use crate::emit::X;
use crate::op::*;
use crate::ops::fold::{combine_f64, combine_i64};
use crate::ops::inputs::*;
use crate::ops::iota;
use crate::ops::type_rule::*;
use crate::types::{DType, Shape};

/// The first operand with elements combined at computed places: operands `x, i1…ik, updates`. The indices (`i64` or
/// `i32`, all of one shape `I`) select along `axes[0]…axes[k-1]` of `x`; `updates` has shape `I` followed by the other axes
/// of `x`. Updates are applied in row-major order of `I`; without `combine` (`Sum`, `Prod`, `Max`, `Min`) they replace,
/// so the last one stays. An index is clamped into range.
pub fn scatter(axes: &[usize], combine: Option<ReduceKind>) -> Op {
    Op::new(&SCATTER, [axes_attr(axes), Attr::Name(combine.map_or("none", ReduceKind::name))])
}

/// See [`scatter`].
pub static SCATTER: Record = Record {
    name: "scatter",
    attrs: &[("axes", AttrKind::Ints), ("combine", AttrKind::Name(&["none", "sum", "prod", "max", "min"]))],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [x, indices @ .., updates] = operands else {
            return Err(rule.error(format_args!("takes a tensor, indices and updates and was given {} operands", operands.len())));
        };
        let (axes, shape) = indexed_axes(rule, x, indices)?;
        let last = operands.len() - 1;
        rule.same_dtype(0, last)?;
        rule.ensure(combine(op).is_none() || x.dtype != DType::Bool, || "combines numbers, not bool".into())?;
        let want: Shape = shape.into_iter().chain(without(&x.shape, &axes)).collect();
        rule.rank(last, want.len())?;
        for (a, (&got, &want)) in updates.shape.iter().zip(&want).enumerate() {
            rule.agree("extents of the updates", (format_args!("axis {a}"), got), ("that of indices and other axes", want))?;
        }
        one(x.clone())
    },
    reference: |r| {
        let [x, indices @ .., updates] = r.inputs else { unreachable!("the type rule saw at least two operands") };
        let places = indexed_positions(x.shape(), &r.op.axes("axes"), indices);
        let how = combine(r.op);
        Ok(vec![match (x.data(), updates.data()) {
            (Data::Float(x_data), Data::Float(updates)) => {
                let mut y = x_data.clone();
                for (&u, p) in updates.iter().zip(places) {
                    y[p] = how.map_or(u, |kind| combine_f64(kind, y[p], u));
                }
                Array::floats(x.dtype(), x.shape(), y)
            }
            (Data::Int(x_data), Data::Int(updates)) => {
                let mut y = x_data.clone();
                for (&u, p) in updates.iter().zip(places) {
                    y[p] = how.map_or(u, |kind| x.dtype().wrap(combine_i64(kind, y[p], u)));
                }
                Array::ints(x.dtype(), x.shape(), y)
            }
            _ => unreachable!("the type rule requires equal element types"),
        }])
    },
    lowering: Lowering::Scatter(|at| {
        let at = *at;
        let (last, rank) = (at.operands.len() - 1, at.operands[1].rank());
        let axes = at.op.axes("axes");
        let others = (0..at.operands[0].rank()).filter(|a| !axes.contains(a));
        Scatter {
            initial: at.load(0, at.index),
            extents: at.operands[last].shape.to_vec(),
            parallel: (0..rank).map(|_| None).chain(others.map(Some)).collect(),
            place: Box::new(move |u| indexed_place(&at, &u[..rank], &u[rank..])),
            value: Box::new(move |u| at.load(last, u)),
            combine: combine(at.op),
        }
    }),
    vjp: Vjp::Rule(vjp),
    jvp: Jvp::Rule(tangent),
    batch: Batch::Rule(|b| {
        let (axes, last) = (behind_batch(&b.op.axes("axes")), b.operands.len() - 1);
        let how = combine(b.op);
        let (x, updates) = (b.batched(0), b.batched(last));
        if !b.batched[1..last].contains(&true) {
            // The batch axis is one of the other axes of `x`, so in the updates it comes after those of the indices.
            let rank = b.operands[1].rank();
            let permutation: Vec<usize> = (1..=rank).chain([0]).chain(rank + 1..updates.rank()).collect();
            let updates = updates.transpose(&permutation);
            return vec![b.emitter.one(scatter(&axes, how), &[&[x], &b.operands[1..last], &[updates]].concat())];
        }
        let indices: Vec<X> = (1..last).map(|k| b.batched(k)).collect();
        let own = b.emitter.one(iota(indices[0].dtype(), indices[0].shape(), 0), &[]);
        let op = scatter(&[&[0], &axes[..]].concat(), how);
        vec![b.emitter.one(op, &[&[x, own], &indices[..], &[updates]].concat())]
    }),
    flops: |op, operands, _| match (combine(op), operands.last()) {
        (Some(_), Some(updates)) => updates.elements(),
        _ => Dim::ZERO,
    },
    samples: |s| {
        let i = range(DType::I64, [4], 0, 3);
        for how in [None, Some(ReduceKind::Sum), Some(ReduceKind::Prod), Some(ReduceKind::Max), Some(ReduceKind::Min)] {
            let fill = |shape: &[usize]| match how {
                Some(ReduceKind::Prod) => uniform(DType::F64, shape.iter().copied(), 0.5, 2.0),
                _ => normal(DType::F64, shape.iter().copied()),
            };
            s.add(scatter(&[0], how), [fill(&[3]), range(DType::I64, [], 0, 3), fill(&[])]);
            s.add(scatter(&[0], how), [fill(&[3, 2]), i.clone(), fill(&[4, 2])]);
            s.add(scatter(&[1], how), [fill(&[2, 3, 2]), range(DType::I32, [2, 2], -5, 5), fill(&[2, 2, 2, 2])]);
            s.add(scatter(&[2, 0], how), [fill(&[2, 2, 3]), i.clone(), range(DType::I64, [4], 0, 2), fill(&[4, 2])]);
            s.add(scatter(&[0], how), [fill(&[3, 2]), range(DType::I64, [0], 0, 3), fill(&[0, 2])]);
            let integers = |shape: &[usize]| range(DType::I64, shape.iter().copied(), -9, 9);
            s.add(scatter(&[0], how), [integers(&[3]), i.clone(), integers(&[4])]);
        }
        let ties = |shape: &[usize]| range(DType::I64, shape.iter().copied(), 0, 2);
        s.add(scatter(&[0], Some(ReduceKind::Max)), [ties(&[2]), range(DType::I64, [9], 0, 2), ties(&[9])]);
        let f32s = |shape: &[usize]| normal(DType::F32, shape.iter().copied());
        s.add(scatter(&[0], Some(ReduceKind::Sum)), [f32s(&[3, 0]), i.clone(), f32s(&[4, 0])]);
        s.add(scatter(&[0], Some(ReduceKind::Sum)), [f32s(&[1, 2]), range(DType::I64, [5], 0, 1), f32s(&[5, 2])]);
        s.add(scatter(&[0], None), [range(DType::Bool, [3], 0, 2), i, range(DType::Bool, [4], 0, 2)]);
    },
    error_samples: |s| {
        let (x, i, u) = (normal(DType::F32, [3, 2]), range(DType::I64, [4], 0, 3), normal(DType::F32, [4, 2]));
        let bools = |shape: &[usize]| range(DType::Bool, shape.iter().copied(), 0, 2);
        s.add(scatter(&[0], None), [x.clone()]);
        s.add(scatter(&[0], None), [x.clone(), u.clone()]);
        s.add(scatter(&[0], None), [x.clone(), u.clone(), u.clone()]);
        s.add(scatter(&[0], None), [x.clone(), i.clone(), normal(DType::F64, [4, 2])]);
        s.add(scatter(&[0], None), [x.clone(), i.clone(), normal(DType::F32, [4])]);
        s.add(scatter(&[0], None), [x, i.clone(), normal(DType::F32, [4, 3])]);
        s.add(scatter(&[0], Some(ReduceKind::Sum)), [bools(&[3]), i.clone(), bools(&[4])]);
        s.add(scatter(&[0], None), [normal(DType::F32, [0, 2]), i, u]);
    },
};

/// How elements are combined; `None` replaces.
pub(super) fn combine(op: &Op) -> Option<ReduceKind> {
    ReduceKind::from_name(op.choice("combine"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{gradient, integers, numbers, run};

    /// Two updates each at places 0 and 2, none at 1. The products are PyTorch's `scatter_reduce`.
    #[test]
    fn updates_are_combined_in_order() {
        let operands = [numbers([3], [1.0, 2.0, 3.0]), integers([0, 2, 0, 2]), numbers([4], [5.0, -1.0, 2.0, 3.0])];
        let combined = |how| run(&scatter(&[0], how), &operands)[0].to_f64();
        assert_eq!(combined(None), [2.0, 2.0, 3.0]);
        assert_eq!(combined(Some(ReduceKind::Sum)), [8.0, 2.0, 5.0]);
        assert_eq!(combined(Some(ReduceKind::Prod)), [10.0, 2.0, -9.0]);
        assert_eq!(combined(Some(ReduceKind::Max)), [5.0, 2.0, 3.0]);
        assert_eq!(combined(Some(ReduceKind::Min)), [1.0, 2.0, -1.0]);
    }

    #[test]
    fn indices_are_clamped() {
        let operands = [numbers([3], [0.0; 3]), integers([-5, 1, 9]), numbers([3], [1.0, 2.0, 3.0])];
        assert_eq!(run(&scatter(&[0], None), &operands)[0].to_f64(), [1.0, 2.0, 3.0]);
    }

    /// The products of the other factors: 5·2, 1 (no update) and, with zeros, -1·0 and 0·3.
    #[test]
    fn a_product_with_a_zero_has_a_derivative() {
        let operands = [numbers([3], [0.0, 2.0, 3.0]), integers([0, 2, 0, 2]), numbers([4], [5.0, -1.0, 2.0, 0.0])];
        let dx = gradient(&scatter(&[0], Some(ReduceKind::Prod)), &operands, numbers([3], [1.0; 3]));
        assert_eq!(dx.to_f64(), [10.0, 1.0, 0.0]);
    }

    /// Place 0 holds 4 twice (the operand and one update), place 1 holds 7 in two updates and 1 in the operand.
    #[test]
    fn ties_share_the_cotangent() {
        let operands = [numbers([2], [4.0, 1.0]), integers([0, 1, 1]), numbers([3], [4.0, 7.0, 7.0])];
        let dx = gradient(&scatter(&[0], Some(ReduceKind::Max)), &operands, numbers([2], [1.0, 1.0]));
        assert_eq!(dx.to_f64(), [0.5, 0.0]);
    }
}
