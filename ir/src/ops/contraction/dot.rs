//! `dot_general` and `dot_general_i32`: matrix products over any axes, with batch axes.

use crate::array::{Array, Data};
use crate::dim::Dim;
use crate::emit::X;
use crate::error::Result;
use crate::op::*;
use crate::ops::fold::total;
use crate::ops::inputs::*;
use crate::ops::type_rule::*;
use crate::ops::{inverse, walk};
use crate::types::{DType, Shape, TensorType};

/// `Σ a · b` over pairs of contracted axes, for each index of pairs of batch axes. The result's axes are the batch axes in
/// the order given, the left operand's other axes, the right operand's other axes.
pub fn dot_general(lhs_contract: &[usize], rhs_contract: &[usize], lhs_batch: &[usize], rhs_batch: &[usize]) -> Op {
    Op::new(&DOT_GENERAL, [lhs_contract, rhs_contract, lhs_batch, rhs_batch].map(axes_attr))
}

/// See [`dot_general`].
pub static DOT_GENERAL: Record = Record {
    name: "dot_general",
    attrs: &[
        ("lhs_contract", AttrKind::Ints),
        ("rhs_contract", AttrKind::Ints),
        ("lhs_batch", AttrKind::Ints),
        ("rhs_batch", AttrKind::Ints),
    ],
    infer,
    reference,
    lowering: Lowering::Contraction(contraction),
    vjp: Vjp::Rule(|v| {
        let (a, b, dy) = (v.x(0), v.x(1), v.dy(0));
        let (lhs, rhs) = Side::both(v.op, [a.rank(), b.rank()]);
        vec![
            v.wanted[0].then(|| cotangent(dy, [&lhs, &rhs], b, lhs.batch.len(), true)),
            v.wanted[1].then(|| cotangent(dy, [&rhs, &lhs], a, lhs.batch.len(), false)),
        ]
    }),
    jvp: Jvp::Multilinear,
    batch: Batch::Rule(batched),
    flops,
    samples: |s| {
        let pair = |s: &mut Samples, dtype: DType, op: Op, a: &[usize], b: &[usize]| {
            s.add(op, [normal(dtype, a.iter().copied()), normal(dtype, b.iter().copied())]);
        };
        pair(s, DType::F64, dot_general(&[], &[], &[], &[]), &[], &[]);
        pair(s, DType::F64, dot_general(&[0], &[0], &[], &[]), &[5], &[5]);
        pair(s, DType::F64, dot_general(&[1], &[0], &[], &[]), &[3, 4], &[4, 2]);
        pair(s, DType::F64, dot_general(&[1], &[1], &[], &[]), &[3, 4], &[2, 4]);
        pair(s, DType::F64, dot_general(&[0], &[1], &[], &[]), &[4, 3], &[2, 4]);
        pair(s, DType::F64, dot_general(&[], &[], &[], &[]), &[3], &[2]);
        pair(s, DType::F64, dot_general(&[2], &[1], &[0], &[0]), &[2, 3, 4], &[2, 4, 2]);
        pair(s, DType::F64, dot_general(&[3], &[3], &[0, 1], &[0, 1]), &[2, 2, 3, 2], &[2, 2, 4, 2]);
        pair(s, DType::F64, dot_general(&[0, 2], &[2, 0], &[3], &[1]), &[2, 3, 4, 2], &[4, 2, 2, 3]);
        pair(s, DType::F64, dot_general(&[2, 0], &[0, 1], &[], &[]), &[2, 3, 4], &[4, 2]);
        pair(s, DType::F64, dot_general(&[], &[], &[0], &[0]), &[3], &[3]);
        pair(s, DType::F64, dot_general(&[1], &[0], &[], &[]), &[3, 1], &[1, 2]);
        pair(s, DType::F32, dot_general(&[1], &[0], &[], &[]), &[7, 40], &[40, 9]);
        pair(s, DType::F32, dot_general(&[1], &[0], &[], &[]), &[3, 0], &[0, 2]);
        pair(s, DType::F32, dot_general(&[1], &[0], &[], &[]), &[0, 3], &[3, 2]);
        let op = dot_general(&[1], &[0], &[], &[]);
        s.add(op, [range(DType::I64, [3, 4], -9, 9), range(DType::I64, [4, 2], -9, 9)]);
    },
    error_samples: |s| {
        let pair = |s: &mut Samples, op: Op, a: &[usize], b: &[usize]| {
            s.add(op, [normal(DType::F32, a.iter().copied()), normal(DType::F32, b.iter().copied())]);
        };
        let matmul = dot_general(&[1], &[0], &[], &[]);
        s.add(matmul.clone(), [normal(DType::F32, [2, 2])]);
        s.add(matmul.clone(), [range(DType::Bool, [2, 2], 0, 2), range(DType::Bool, [2, 2], 0, 2)]);
        s.add(matmul.clone(), [normal(DType::F32, [2, 2]), normal(DType::F64, [2, 2])]);
        pair(s, matmul.clone(), &[64, 784], &[512, 10]);
        pair(s, matmul.clone(), &[3], &[3, 2]);
        pair(s, dot_general(&[0, 0], &[0, 1], &[], &[]), &[3], &[3, 3]);
        pair(s, dot_general(&[0], &[0], &[0], &[1]), &[3, 3], &[3, 3]);
        pair(s, dot_general(&[0, 1], &[0], &[], &[]), &[3, 3], &[3, 3]);
        pair(s, dot_general(&[], &[], &[0], &[]), &[3, 3], &[3, 3]);
        pair(s, dot_general(&[2], &[1], &[0], &[0]), &[2, 3, 4], &[3, 4, 2]);
        let t = Dim::symbol("T", 1, 8);
        s.add(matmul, [symbolic(DType::F32, &[Dim::from(3), t]), normal(DType::F32, [4, 2])]);
    },
};

/// `dot_general` of `i8` operands with sums in `i32`, which are exact up to 2¹⁷ products (`torch._int_mm`).
pub fn dot_general_i32(lhs_contract: &[usize], rhs_contract: &[usize], lhs_batch: &[usize], rhs_batch: &[usize]) -> Op {
    Op::new(&DOT_GENERAL_I32, [lhs_contract, rhs_contract, lhs_batch, rhs_batch].map(axes_attr))
}

/// See [`dot_general_i32`].
pub static DOT_GENERAL_I32: Record = Record {
    name: "dot_general_i32",
    attrs: DOT_GENERAL.attrs,
    infer,
    reference,
    lowering: Lowering::Contraction(contraction),
    vjp: Vjp::Zero,
    jvp: Jvp::Zero,
    batch: Batch::Rule(batched),
    flops,
    samples: |s| {
        let pair = |s: &mut Samples, op: Op, a: &[usize], b: &[usize]| {
            s.add(op, [a, b].map(|shape| range(DType::I8, shape.iter().copied(), -128, 128)));
        };
        pair(s, dot_general_i32(&[], &[], &[], &[]), &[], &[]);
        pair(s, dot_general_i32(&[1], &[0], &[], &[]), &[3, 4], &[4, 2]);
        pair(s, dot_general_i32(&[1], &[1], &[], &[]), &[33, 64], &[40, 64]);
        pair(s, dot_general_i32(&[0], &[1], &[], &[]), &[4, 3], &[2, 4]);
        pair(s, dot_general_i32(&[2], &[1], &[0], &[0]), &[2, 3, 70], &[2, 70, 5]);
        pair(s, dot_general_i32(&[0, 2], &[2, 0], &[3], &[1]), &[2, 3, 4, 2], &[4, 2, 2, 3]);
        pair(s, dot_general_i32(&[1], &[0], &[], &[]), &[37, 129], &[129, 67]);
        pair(s, dot_general_i32(&[1], &[0], &[], &[]), &[3, 0], &[0, 2]);
        pair(s, dot_general_i32(&[1], &[0], &[], &[]), &[0, 3], &[3, 2]);
    },
    error_samples: |s| {
        let matmul = dot_general_i32(&[1], &[0], &[], &[]);
        let bytes = |shape: [usize; 2]| range(DType::I8, shape, 0, 2);
        s.add(matmul.clone(), [bytes([2, 2])]);
        s.add(matmul.clone(), [normal(DType::F32, [2, 2]), normal(DType::F32, [2, 2])]);
        s.add(matmul.clone(), [bytes([2, 2]), range(DType::I32, [2, 2], 0, 2)]);
        s.add(matmul, [bytes([64, 784]), bytes([512, 10])]);
    },
};

fn infer(op: &Op, operands: &[TensorType]) -> Result<Types> {
    let rule = TypeRule::new(op, operands);
    let [a, b] = rule.operands()?;
    if op.is(&DOT_GENERAL_I32) {
        rule.dtype(0, DType::I8)?;
    }
    rule.numbers(0)?;
    rule.same_dtype(0, 1)?;
    let mut free = Vec::new();
    for (x, side, contract, batch) in [(a, "lhs", "lhs_contract", "lhs_batch"), (b, "rhs", "rhs_contract", "rhs_batch")] {
        let mut bound = rule.distinct_axes(contract, x.rank(), side)?;
        let batch = rule.distinct_axes(batch, x.rank(), side)?;
        if let Some(both) = batch.iter().find(|b| bound.contains(b)) {
            return Err(rule.error(format_args!("has {side} axis {both} both contracted and as a batch axis")));
        }
        bound.extend(batch);
        free.extend(without(&x.shape, &bound));
    }
    let mut shape = Shape::new();
    for (what, lhs, rhs) in [("contracted", "lhs_contract", "rhs_contract"), ("batch", "lhs_batch", "rhs_batch")] {
        let (lhs, rhs) = (op.axes(lhs), op.axes(rhs));
        rule.ensure(lhs.len() == rhs.len(), || {
            format!("needs as many {what} axes on both sides: lhs has {}, rhs has {}", lhs.len(), rhs.len())
        })?;
        for (&i, &j) in lhs.iter().zip(&rhs) {
            let (left, right) = (format_args!("lhs axis {i}"), format_args!("rhs axis {j}"));
            rule.agree(&format!("{what} extents"), (left, a.shape[i]), (right, b.shape[j]))?;
            if what == "batch" {
                shape.push(a.shape[i]);
            }
        }
    }
    shape.extend(free);
    let dtype = if op.is(&DOT_GENERAL_I32) { DType::I32 } else { a.dtype };
    one(a.with_shape(shape).with_dtype(dtype))
}

fn reference(r: &Reference) -> Result<Vec<Array>> {
    let [a, b] = r.inputs else { unreachable!("the type rule saw two operands") };
    let (lhs, rhs) = Side::both(r.op, [a.shape().len(), b.shape().len()]);
    let [rows, k] = [&lhs.free, &lhs.contract].map(|axes| axes.iter().map(|&i| a.shape()[i]).product::<usize>());
    let columns: usize = rhs.free.iter().map(|&i| b.shape()[i]).product();
    // Both as [batch, free, contracted].
    let (left, right) = (lhs.arranged(a), rhs.arranged(b));
    let shape = r.results[0].sizes()?;
    let pair = |e: usize| {
        let (row, column) = (e / columns.max(1), e % columns.max(1));
        (row * k, (row / rows.max(1) * columns + column) * k)
    };
    let dtype = r.results[0].dtype;
    Ok(vec![match (a.data(), b.data()) {
        (Data::Float(a), Data::Float(b)) => Array::from_fn_f64(dtype, shape, |e| {
            let (p, q) = pair(e);
            total(left[p..p + k].iter().zip(&right[q..q + k]).map(|(&i, &j)| a[i] * b[j]))
        }),
        (Data::Int(a), Data::Int(b)) => Array::from_fn_i64(dtype, shape, |e| {
            let (p, q) = pair(e);
            let products = left[p..p + k].iter().zip(&right[q..q + k]).map(|(&i, &j)| a[i].wrapping_mul(b[j]));
            products.fold(0, i64::wrapping_add)
        }),
        _ => unreachable!("the type rule requires equal element types"),
    }])
}

fn contraction<'a>(at: &Indexing<'a>) -> Contraction<'a> {
    let at = *at;
    let sums = at.results[0].dtype;
    let (lhs, rhs) = Side::both(at.op, [at.operands[0].rank(), at.operands[1].rank()]);
    let (a, b) = (&at.operands[0].shape, &at.operands[1].shape);
    let batch = lhs.batch.iter().map(|&i| (a[i], Role::Batch));
    let rows = lhs.free.iter().map(|&i| (a[i], Role::M));
    let columns = rhs.free.iter().map(|&i| (b[i], Role::N));
    let (batches, free) = (lhs.batch.len(), lhs.free.len());
    Contraction {
        axes: batch.chain(rows).chain(columns).collect(),
        extents: lhs.contract.iter().map(|&i| a[i]).collect(),
        place: Box::new(|point| point.to_vec()),
        lhs: Box::new(move |point, k| at.load(0, &lhs.index(&point[..batches], &point[batches..batches + free], k)).cast(sums)),
        rhs: Box::new(move |point, k| at.load(1, &rhs.index(&point[..batches], &point[batches + free..], k)).cast(sums)),
    }
}

fn batched<'b, 'e>(b: &BatchArgs<'b, 'e>) -> Vec<X<'b, 'e>> {
    let [lhs_contract, rhs_contract, lhs_batch, rhs_batch] =
        ["lhs_contract", "rhs_contract", "lhs_batch", "rhs_batch"].map(|name| b.op.axes(name).to_vec());
    let behind = |axes: &[usize], side: usize| if b.batched[side] { behind_batch(axes) } else { axes.to_vec() };
    let (lhs_contract, rhs_contract) = (behind(&lhs_contract, 0), behind(&rhs_contract, 1));
    let (lhs_batch, rhs_batch) = (behind(&lhs_batch, 0), behind(&rhs_batch, 1));
    if b.batched[0] && b.batched[1] {
        let (lhs_batch, rhs_batch) = ([&[0], &lhs_batch[..]].concat(), [&[0], &rhs_batch[..]].concat());
        let axes = [&lhs_contract[..], &rhs_contract, &lhs_batch, &rhs_batch];
        return vec![b.emitter.one(Op::new(b.op.record(), axes.map(axes_attr)), &b.operands)];
    }
    // The new axis is the first free one of its side.
    let axes = [&lhs_contract[..], &rhs_contract, &lhs_batch, &rhs_batch];
    let y = b.emitter.one(Op::new(b.op.record(), axes.map(axes_attr)), &b.operands);
    let left_free = b.operands[0].rank() - lhs_contract.len() - lhs_batch.len();
    let at = lhs_batch.len() + if b.batched[0] { 0 } else { left_free };
    let others = (0..y.rank()).filter(|&a| a != at);
    vec![y.transpose(&[at].into_iter().chain(others).collect::<Vec<_>>())]
}

fn flops(op: &Op, operands: &[TensorType], results: &[TensorType]) -> Dim {
    let contracted: Dim = op.axes("lhs_contract").iter().map(|&i| operands[0].shape[i]).product();
    results[0].elements() * contracted * 2usize
}

/// The axes of one operand.
struct Side {
    batch: Vec<usize>,
    free: Vec<usize>,
    contract: Vec<usize>,
}

impl Side {
    fn both(op: &Op, ranks: [usize; 2]) -> (Side, Side) {
        let side = |contract: &str, batch: &str, rank: usize| {
            let (contract, batch) = (op.axes(contract).to_vec(), op.axes(batch).to_vec());
            let free = (0..rank).filter(|a| !contract.contains(a) && !batch.contains(a)).collect();
            Side { batch, free, contract }
        };
        (side("lhs_contract", "lhs_batch", ranks[0]), side("rhs_contract", "rhs_batch", ranks[1]))
    }

    /// For each index of `[batch, free, contracted]`, the position of the element of `x`.
    fn arranged(&self, x: &Array) -> Vec<usize> {
        let strides = walk::strides(x.shape());
        let order = || self.batch.iter().chain(&self.free).chain(&self.contract);
        let shape: Vec<usize> = order().map(|&a| x.shape()[a]).collect();
        walk::positions(&shape, 0, &order().map(|&a| strides[a]).collect::<Vec<_>>())
    }

    /// The index of the element at these indices of batch, free and contracted axes.
    fn index<T: Copy>(&self, batch: &[T], free: &[T], contract: &[T]) -> Vec<T> {
        let rank = self.batch.len() + self.free.len() + self.contract.len();
        let along = |axis: usize| {
            let find = |axes: &[usize], index: &[T]| axes.iter().position(|&a| a == axis).map(|i| index[i]);
            let found = find(&self.batch, batch).or_else(|| find(&self.free, free));
            found.or_else(|| find(&self.contract, contract)).expect("each axis is batch, free or contracted")
        };
        (0..rank).map(along).collect()
    }
}

/// The cotangent of the operand on side `own` from `dy`, the result's, and `other`, the operand on the other side.
/// Of the two orders of `dy` and `other`, that is taken which needs no transpose, if there is one.
fn cotangent<'b, 'e>(dy: X<'b, 'e>, [own, opposite]: [&Side; 2], other: X<'b, 'e>, batches: usize, is_lhs: bool) -> X<'b, 'e> {
    let batch: Vec<usize> = (0..batches).collect();
    let other_start = if is_lhs { batches + own.free.len() } else { batches };
    let summed: Vec<usize> = (other_start..other_start + opposite.free.len()).collect();
    // The free axes of `other` in this product are those it was contracted over, in increasing order.
    let mut pairs: Vec<(usize, usize)> = opposite.contract.iter().copied().zip(own.contract.iter().copied()).collect();
    pairs.sort_unstable();
    let contracted: Vec<usize> = pairs.into_iter().map(|(_, own)| own).collect();
    let dy_first = [&own.batch, &own.free, &contracted].map(|v| &v[..]).concat();
    let other_first = [&own.batch, &contracted, &own.free].map(|v| &v[..]).concat();
    if other_first.is_sorted() && !dy_first.is_sorted() {
        return dy.emitter.one(dot_general(&opposite.free, &summed, &opposite.batch, &batch), &[other, dy]);
    }
    let product = dy.emitter.one(dot_general(&summed, &opposite.free, &batch, &opposite.batch), &[dy, other]);
    product.transpose(&inverse(&dy_first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::{ravel, unravel};

    fn numbers(shape: &[usize]) -> Array {
        Array::from_fn_f64(DType::F64, shape, |i| ((i * 7919 + 13) % 101) as f64 / 10.0 - 5.0)
    }

    /// `a[i, k, j, b] · b[j, b, i, n]` contracted over i and j, batched over b, from the definition.
    #[test]
    fn two_contracted_axes_and_a_batch_axis() {
        let op = dot_general(&[0, 2], &[2, 0], &[3], &[1]);
        let (a, b) = (numbers(&[2, 3, 4, 2]), numbers(&[4, 2, 2, 3]));
        let types = op.infer(&[a.ty(), b.ty()]).unwrap();
        assert_eq!(types[0].to_string(), "f64[2, 3, 3]");
        let y = (DOT_GENERAL.reference)(&Reference { op: &op, inputs: &[&a, &b], results: &types }).unwrap().remove(0);
        for p in 0..y.len() {
            let [batch, k, n] = unravel(p, y.shape())[..] else { unreachable!() };
            let mut sum = 0.0;
            for i in 0..2 {
                for j in 0..4 {
                    sum += a.f(ravel(&[i, k, j, batch], a.shape())) * b.f(ravel(&[j, batch, i, n], b.shape()));
                }
            }
            assert!((y.f(p) - sum).abs() < 1e-12);
        }
    }
}
