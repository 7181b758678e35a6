//! `sort`: elements in order, and where they were.

use super::along::{add_along, take_along};
use crate::array::{Array, unravel};
use crate::dim::Dim;
use crate::op::*;
use crate::ops::inputs::*;
use crate::ops::type_rule::*;
use crate::types::{DType, TensorType};
use smallvec::smallvec;
use std::cmp::Ordering;

/// The elements along `axis` in increasing (or decreasing) order, and for each its index before (`i64`). Equal elements keep
/// their order; NaN is larger than all numbers.
pub fn sort(axis: usize, descending: bool) -> Op {
    Op::new(&SORT, [Attr::Int(axis as i64), Attr::Bool(descending)])
}

/// See [`sort`].
pub static SORT: Record = Record {
    name: "sort",
    attrs: &[("axis", AttrKind::Int), ("descending", AttrKind::Bool)],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [x] = rule.operands()?;
        rule.axis("axis", x.rank())?;
        rule.ensure(x.dtype != DType::U32, || "does not order u32".into())?;
        Ok(smallvec![x.clone(), x.with_dtype(DType::I64)])
    },
    reference: |r| {
        // The place of each element is the number of those that go before it.
        let (x, axis) = (r.inputs[0], r.op.int("axis") as usize);
        let shape = r.results[0].sizes()?;
        let stride: usize = shape[axis + 1..].iter().product();
        let mut source = vec![0; x.len()];
        for i in 0..x.len() {
            let k = unravel(i, &shape)[axis];
            let first = i - k * stride;
            let before = |j: usize| {
                let order = compare(x, first + j * stride, i);
                let order = if r.op.bool("descending") { order.reverse() } else { order };
                order == Ordering::Less || (order == Ordering::Equal && j < k)
            };
            source[first + (0..shape[axis]).filter(|&j| before(j)).count() * stride] = i;
        }
        let places = Array::from_fn_i64(DType::I64, shape.clone(), |i| unravel(source[i], &shape)[axis] as i64);
        Ok(vec![x.gathered(shape, |i| source[i]), places])
    },
    lowering: Lowering::Library,
    vjp: Vjp::Rule(|v| vec![Some(add_along(v.x(0), v.y(1), v.op.int("axis") as usize, v.dy(0)))]),
    jvp: Jvp::Rule(|j| {
        let axis = j.op.int("axis") as usize;
        vec![j.tangents[0].map(|t| take_along(t, j.results[1], axis)), None]
    }),
    batch: Batch::Rule(|b| {
        let axis = b.op.int("axis") + 1;
        b.emitter.apply(b.op.with_attr("axis", Attr::Int(axis)), &[b.batched(0)]).to_vec()
    }),
    flops: |_, operands, _| operands[0].elements() * Dim::constant(16),
    samples: |s| {
        for descending in [false, true] {
            s.add(sort(0, descending), [distinct(DType::F64, [7])]);
            s.add(sort(1, descending), [distinct(DType::F32, [2, 5, 3])]);
            s.add(sort(0, descending), [range(DType::I64, [9], -2, 3)]);
            s.add(sort(1, descending), [range(DType::F32, [3, 8], 0, 3)]);
            s.add(sort(0, descending), [specials(DType::F32, [33])]);
            s.add(sort(0, descending), [specials(DType::BF16, [17])]);
        }
        s.add(sort(0, false), [range(DType::Bool, [6], 0, 2)]);
        s.add(sort(0, false), [range(DType::U8, [6], 0, 9)]);
        s.add(sort(0, true), [range(DType::I8, [40], -128, 128)]);
        s.add(sort(1, false), [normal(DType::F16, [2, 6])]);
        s.add(sort(1, false), [normal(DType::F32, [3, 0])]);
        s.add(sort(1, false), [normal(DType::F32, [0, 3])]);
        s.add(sort(0, false), [normal(DType::F32, [1])]);
    },
    error_samples: |s| {
        s.add(sort(1, false), [normal(DType::F32, [3])]);
        s.add(sort(0, false), [normal(DType::F32, [])]);
        s.add(sort(0, false), []);
        s.add(sort(0, false), [(TensorType::new(DType::U32, [3]), Fill::Range(0, 3))]);
    },
};

/// The order of two elements; NaN is the largest.
fn compare(x: &Array, i: usize, j: usize) -> Ordering {
    if !x.dtype().is_float() {
        return x.i(i).cmp(&x.i(j));
    }
    let (a, b) = (x.f(i), x.f(j));
    match (a.is_nan(), b.is_nan()) {
        (false, false) if a < b => Ordering::Less,
        (false, false) if a > b => Ordering::Greater,
        (false, false) => Ordering::Equal,
        (a, b) => a.cmp(&b),
    }
}
