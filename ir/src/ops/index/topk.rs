//! `topk`: the first elements in order, and where they were.

use super::along::{add_along, take_along};
use super::sort::{SORT, sort};
use crate::array::{Array, unravel};
use crate::dim::Dim;
use crate::op::*;
use crate::ops::inputs::*;
use crate::ops::type_rule::*;
use crate::types::DType;
use smallvec::smallvec;

/// The `k` largest elements along `axis` in decreasing order (or the smallest in increasing order), and for each its index
/// (`i64`). Of equal elements the first is taken; NaN is larger than all numbers. The same as the beginning of [`sort`].
pub fn topk(k: usize, axis: usize, largest: bool) -> Op {
    Op::new(&TOPK, [Attr::Int(k as i64), Attr::Int(axis as i64), Attr::Bool(largest)])
}

/// See [`topk`].
pub static TOPK: Record = Record {
    name: "topk",
    attrs: &[("k", AttrKind::Int), ("axis", AttrKind::Int), ("largest", AttrKind::Bool)],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [x] = rule.operands()?;
        rule.axis("axis", x.rank())?;
        rule.ensure(x.dtype != DType::U32, || "does not order u32".into())?;
        let (k, axis) = (op.int("k"), op.int("axis") as usize);
        let extent = x.shape[axis];
        let fits = k >= 0 && usize::try_from(k).is_ok_and(|k| extent.at_least(k) == Some(true));
        rule.ensure(fits, || format!("needs at least {k} elements along axis {axis}, which has {extent}"))?;
        let mut first = x.clone();
        first.shape[axis] = Dim::constant(k);
        Ok(smallvec![first.clone(), first.with_dtype(DType::I64)])
    },
    reference: |r| {
        let (axis, k) = (r.op.int("axis") as usize, r.op.int("k") as usize);
        let all = sort(axis, r.op.bool("largest"));
        let types = [r.inputs[0].ty(), r.inputs[0].ty().with_dtype(DType::I64)];
        let sorted = (SORT.reference)(&Reference { op: &all, inputs: r.inputs, results: &types })?;
        let (from, to) = (r.inputs[0].shape().to_vec(), r.results[0].sizes()?.to_vec());
        debug_assert_eq!(to[axis], k);
        let place = |i: usize| {
            let at = unravel(i, &to);
            at.iter().zip(&from).fold(0, |sum, (i, n)| sum * n + i)
        };
        Ok(sorted.iter().map(|x: &Array| x.gathered(to.clone(), place)).collect())
    },
    lowering: Lowering::Library,
    vjp: Vjp::Rule(|v| vec![Some(add_along(v.x(0), v.y(1), v.op.int("axis") as usize, v.dy(0)))]),
    jvp: Jvp::Rule(|j| vec![j.tangents[0].map(|t| take_along(t, j.results[1], j.op.int("axis") as usize)), None]),
    batch: Batch::Rule(|b| {
        let axis = b.op.int("axis") + 1;
        b.emitter.apply(b.op.with_attr("axis", Attr::Int(axis)), &[b.batched(0)]).to_vec()
    }),
    flops: |_, operands, _| operands[0].elements() * Dim::constant(4),
    samples: |s| {
        for largest in [false, true] {
            s.add(topk(3, 0, largest), [distinct(DType::F64, [7])]);
            s.add(topk(2, 1, largest), [distinct(DType::F32, [2, 5, 3])]);
            s.add(topk(5, 0, largest), [range(DType::I64, [9], -2, 3)]);
            s.add(topk(4, 1, largest), [range(DType::F32, [3, 8], 0, 3)]);
            s.add(topk(20, 0, largest), [specials(DType::F32, [33])]);
            s.add(topk(6, 0, largest), [range(DType::U8, [6], 0, 9)]);
            s.add(topk(3, 0, largest), [range(DType::I8, [40], -128, 128)]);
        }
        s.add(topk(0, 0, true), [normal(DType::F32, [4])]);
        s.add(topk(2, 1, true), [normal(DType::F16, [0, 3])]);
    },
    error_samples: |s| {
        s.add(topk(4, 0, true), [normal(DType::F32, [3])]);
        s.add(topk(1, 1, true), [normal(DType::F32, [3])]);
        s.add(topk(1, 0, true), []);
    },
};
