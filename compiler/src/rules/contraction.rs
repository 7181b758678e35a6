//! Dot products: views and factors moved out of their operands, and sums that are dot products.

use super::axes::complement;
use crate::egraph::rule::{Axes, Constant, Operand, Rule};
use crate::rule;
use igneous_ir::{Dim, Op, TensorType, ops};

pub(super) fn rules() -> Vec<Rule> {
    vec![
        rule!("dot/transpose-left" [Reassociate]: dot_general[d](transpose[p](a), b) => transpose[q](dot_general[e](a, b));
            let (e, q) = with_left_transposed(d, p, a, b);
            on "a: f32[2, 3], b: f32[2, 4], p = [1, 0], d = {lhs_contract=[1], rhs_contract=[0], lhs_batch=[], rhs_batch=[]}",
               "a: f32[3, 2, 4], b: f32[4, 5], p = [1, 0, 2], d = {lhs_contract=[2], rhs_contract=[0], lhs_batch=[], rhs_batch=[]}",
               "a: f32[3, 2, 4], b: f32[2, 4, 5], p = [1, 0, 2], d = {lhs_contract=[2], rhs_contract=[1], lhs_batch=[0], rhs_batch=[0]}"),
        rule!("dot/transpose-right" [Reassociate]: dot_general[d](a, transpose[p](b)) => transpose[q](dot_general[e](a, b));
            let (e, q) = with_right_transposed(d, p, a, b);
            on "a: f32[2, 3], b: f32[4, 3], p = [1, 0], d = {lhs_contract=[1], rhs_contract=[0], lhs_batch=[], rhs_batch=[]}",
               "a: f32[2, 3], b: f32[4, 3, 5], p = [1, 2, 0], d = {lhs_contract=[1], rhs_contract=[0], lhs_batch=[], rhs_batch=[]}"),
        rule!("dot/transpose-result" [Reassociate]: transpose[p](dot_general[d](a, b)) => dot_general[e](b, a);
            let e = swapped(d, p, a, b);
            on "a: f32[2, 3], b: f32[3, 4], p = [1, 0], d = {lhs_contract=[1], rhs_contract=[0], lhs_batch=[], rhs_batch=[]}",
               "a: f32[5, 2, 3], b: f32[5, 3, 4], p = [0, 2, 1], d = {lhs_contract=[2], rhs_contract=[1], lhs_batch=[0], rhs_batch=[0]}"),
        rule!("dot/broadcast-left" [Reassociate]:
            dot_general[d](broadcast[(s, p)](a), b) => transpose[q](dot_general[e](a, b));
            let (e, q) = with_left_broadcast(d, s, p, b);
            on "a: f32[2, 3], b: f32[5, 3, 4], s = [5, 2, 3], p = [1, 2],
                d = {lhs_contract=[2], rhs_contract=[1], lhs_batch=[0], rhs_batch=[0]}"),
        rule!("dot/broadcast-right" [Reassociate]:
            dot_general[d](a, broadcast[(s, p)](b)) => transpose[q](dot_general[e](a, b));
            let (e, q) = with_right_broadcast(d, s, p, a);
            on "a: f32[5, 2, 3], b: f32[3, 4], s = [5, 3, 4], p = [1, 2],
                d = {lhs_contract=[2], rhs_contract=[1], lhs_batch=[0], rhs_batch=[0]}"),
        rule!("dot/neg-left" [Reassociate]: dot_general[d](-a, b) => -dot_general[d](a, b);
            on "a: f32[2, 3], b: f32[3, 4], d = {lhs_contract=[1], rhs_contract=[0], lhs_batch=[], rhs_batch=[]}"),
        rule!("dot/neg-right" [Reassociate]: dot_general[d](a, -b) => -dot_general[d](a, b);
            on "a: f32[2, 3], b: f32[3, 4], d = {lhs_contract=[1], rhs_contract=[0], lhs_batch=[], rhs_batch=[]}"),
        rule!("dot/common-left" [Reassociate]: dot_general[d](x, a) + dot_general[d](x, b) => dot_general[d](x, a + b);
            when have_one_type(a, b);
            on "x: f32[2, 3], a: f32[3, 4], b: f32[3, 4], d = {lhs_contract=[1], rhs_contract=[0], lhs_batch=[], rhs_batch=[]}"),
        rule!("dot/common-right" [Reassociate]: dot_general[d](a, x) + dot_general[d](b, x) => dot_general[d](a + b, x);
            when have_one_type(a, b);
            on "x: f32[3, 4], a: f32[2, 3], b: f32[2, 3], d = {lhs_contract=[1], rhs_contract=[0], lhs_batch=[], rhs_batch=[]}"),
        rule!("dot/sum-of-products" [Reassociate]:
            sum[k](broadcast[(s, p)](a) * broadcast[(s, q)](b)) => transpose[t](dot_general[d](a, b));
            let (d, t) = contraction_of(s, k, p, q);
            on "a: f32[2, 3], b: f32[3, 4], s = [2, 3, 4], p = [0, 1], q = [1, 2], k = [1]",
               "a: f32[2, 3], b: f32[4, 3], s = [4, 2, 3], p = [1, 2], q = [0, 2], k = [2]"),
    ]
}

/// Constant factors of operands, moved to the result.
pub(super) fn factors() -> Vec<Rule> {
    vec![
        rule!("dot/scale-left" [Reassociate]: dot_general[d](a * c, b) => dot_general[d](a, b) * e;
            let e = scale_of_result(d, a, b, c);
            on "a: f32[2, 3], c: f32[2, 3] = 0.5, b: f32[3, 4], d = {lhs_contract=[1], rhs_contract=[0], lhs_batch=[], rhs_batch=[]}"),
        rule!("dot/scale-left-transposed" [Reassociate]:
            dot_general[d](transpose[p](a * c), b) => dot_general[d](transpose[p](a), b) * e;
            let e = scale_of_transposed(d, p, a, b, c);
            on "a: f32[3, 2], c: f32[3, 2] = 0.5, b: f32[3, 4], p = [1, 0],
                d = {lhs_contract=[1], rhs_contract=[0], lhs_batch=[], rhs_batch=[]}"),
        rule!("dot/scale-right-transposed" [Reassociate]:
            dot_general[d](a, transpose[p](b * c)) => dot_general[d](a, transpose[p](b)) * e;
            let e = scale_of_right_transposed(d, p, a, b, c);
            on "a: f32[2, 3], b: f32[4, 3], c: f32[4, 3] = 0.5, p = [1, 0],
                d = {lhs_contract=[1], rhs_contract=[0], lhs_batch=[], rhs_batch=[]}"),
        rule!("dot/scale-right" [Reassociate]: dot_general[d](a, b * c) => dot_general[d](a, b) * e;
            let e = scale_of_result(d, a, b, c);
            on "a: f32[2, 3], c: f32[3, 4] = 0.5, b: f32[3, 4], d = {lhs_contract=[1], rhs_contract=[0], lhs_batch=[], rhs_batch=[]}"),
    ]
}

/// The axes of an operand of a dot product that are neither contracted nor batched.
fn free(op: &Op, side: Side, rank: usize) -> Axes {
    let (contract, batch) = side.axes(op);
    let used: Axes = contract.into_iter().chain(batch).collect();
    complement(&used, rank)
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Left,
    Right,
}

impl Side {
    fn axes(self, op: &Op) -> (Axes, Axes) {
        match self {
            Side::Left => (op.axes("lhs_contract"), op.axes("lhs_batch")),
            Side::Right => (op.axes("rhs_contract"), op.axes("rhs_batch")),
        }
    }

    fn with_axes(self, op: &Op, contract: &[usize], batch: &[usize]) -> Op {
        let (c, b) = match self {
            Side::Left => Side::Right.axes(op),
            Side::Right => Side::Left.axes(op),
        };
        match self {
            Side::Left => ops::dot_general(contract, &c, batch, &b),
            Side::Right => ops::dot_general(&c, contract, &b, batch),
        }
    }
}

pub(super) fn with_left_transposed(d: &Op, p: Axes, a: Operand, b: Operand) -> Option<(Op, Axes)> {
    with_transposed(d, Side::Left, &p, free(d, Side::Right, b.rank()).len(), a.rank())
}

pub(super) fn with_right_transposed(d: &Op, p: Axes, a: Operand, b: Operand) -> Option<(Op, Axes)> {
    with_transposed(d, Side::Right, &p, free(d, Side::Left, a.rank()).len(), b.rank())
}

/// The dot product of an operand before its transposition by `p`, and what remains of the transposition.
fn with_transposed(d: &Op, side: Side, p: &[usize], others: usize, rank: usize) -> Option<(Op, Axes)> {
    let through = |axes: Axes| axes.iter().map(|&a| p[a]).collect::<Axes>();
    let (contract, batch) = side.axes(d);
    let old = through(free(d, side, rank));
    let new = side.with_axes(d, &through(contract), &through(batch.clone()));
    let order = free(&new, side, rank);
    let start = batch.len() + if side == Side::Left { 0 } else { others };
    let mut q: Axes = (0..batch.len() + others + old.len()).collect();
    for (i, a) in old.iter().enumerate() {
        q[start + i] = start + order.iter().position(|o| o == a)?;
    }
    Some((new, q))
}

/// The dot product with its operands swapped, if that is what the transposition `p` of the result undoes.
fn swapped(d: &Op, p: Axes, a: Operand, b: Operand) -> Option<Op> {
    let [(lc, lb), (rc, rb)] = [Side::Left, Side::Right].map(|s| s.axes(d));
    let (batch, left) = (lb.len(), free(d, Side::Left, a.rank()).len());
    let right = free(d, Side::Right, b.rank()).len();
    let order = (0..batch).chain(batch + left..batch + left + right).chain(batch..batch + left);
    (left > 0 && right > 0 && order.eq(p)).then(|| ops::dot_general(&rc, &lc, &rb, &lb))
}

fn with_left_broadcast(d: &Op, s: &[Dim], p: Axes, b: Operand) -> Option<(Op, Axes)> {
    with_broadcast(d, Side::Left, s, &p, b.rank())
}

fn with_right_broadcast(d: &Op, s: &[Dim], p: Axes, a: Operand) -> Option<(Op, Axes)> {
    with_broadcast(d, Side::Right, s, &p, a.rank())
}

/// The dot product of an operand before its broadcast to `s` at `p`, if that only repeats it along batch axes: these are
/// then free axes of the other operand.
fn with_broadcast(d: &Op, side: Side, s: &[Dim], p: &[usize], other_rank: usize) -> Option<(Op, Axes)> {
    let other = if side == Side::Left { Side::Right } else { Side::Left };
    let ((contract, batch), (other_contract, other_batch)) = (side.axes(d), other.axes(d));
    let repeated: Vec<usize> = (0..batch.len()).filter(|&i| !p.contains(&batch[i])).collect();
    let own = complement(p, s.len());
    if repeated.is_empty() || own.iter().any(|a| !batch.contains(a)) {
        return None;
    }
    let keep = |axes: &Axes| (0..axes.len()).filter(|i| !repeated.contains(i)).map(|i| axes[i]).collect::<Axes>();
    let inner = |axes: &[usize]| axes.iter().map(|a| p.iter().position(|x| x == a)).collect::<Option<Axes>>();
    let (kept, other_kept) = (inner(&keep(&batch))?, keep(&other_batch));
    let contract = inner(&contract)?;
    let new = match side {
        Side::Left => ops::dot_general(&contract, &other_contract, &kept, &other_kept),
        Side::Right => ops::dot_general(&other_contract, &contract, &other_kept, &kept),
    };
    // Each axis of the old result by where it comes from: axes of the other operand, or of this one.
    let (own_free, other_free) = (free(d, side, s.len()), free(d, other, other_rank));
    let frees = |own: Axes, other: Axes| match side {
        Side::Left => tagged(own, false).chain(tagged(other, true)).collect::<Vec<_>>(),
        Side::Right => tagged(other, true).chain(tagged(own, false)).collect(),
    };
    let old: Vec<(bool, usize)> = tagged(other_batch, true).chain(frees(own_free.clone(), other_free)).collect();
    let new_frees = frees(own_free, free(&new, other, other_rank));
    let order: Vec<(bool, usize)> = tagged(other_kept, true).chain(new_frees).collect();
    let q = old.iter().map(|axis| order.iter().position(|o| o == axis)).collect::<Option<_>>()?;
    Some((new, q))
}

fn tagged(axes: Axes, tag: bool) -> impl Iterator<Item = (bool, usize)> {
    axes.into_iter().map(move |a| (tag, a))
}

/// The number that fills `c`, for the result of the dot product.
fn scale_of_result(d: &Op, a: Operand, b: Operand, c: Operand) -> Option<Constant> {
    scale_of(d, [a.ty().clone(), b.ty().clone()], c)
}

fn scale_of_transposed(d: &Op, p: Axes, a: Operand, b: Operand, c: Operand) -> Option<Constant> {
    scale_of(d, [transposed(a, &p), b.ty().clone()], c)
}

fn scale_of_right_transposed(d: &Op, p: Axes, a: Operand, b: Operand, c: Operand) -> Option<Constant> {
    scale_of(d, [a.ty().clone(), transposed(b, &p)], c)
}

fn transposed(x: Operand, p: &[usize]) -> TensorType {
    x.ty().with_shape(p.iter().map(|&axis| x.shape()[axis]))
}

fn scale_of(d: &Op, operands: [TensorType; 2], c: Operand) -> Option<Constant> {
    let literal = c.uniform().filter(|_| c.dtype().is_float())?;
    Some(Constant::Filled(d.infer(&operands).ok()?.into_iter().next()?, literal))
}

fn have_one_type(a: Operand, b: Operand) -> bool {
    a.ty() == b.ty()
}

/// The dot product and the order of its result for `Σ_k a · b`, where `a` and `b` lie at `p` and `q` in `s`, if each
/// has an axis of its own. (With a vector it stays a reduction, which fuses with what is around it.)
fn contraction_of(s: &[Dim], k: Axes, p: Axes, q: Axes) -> Option<(Op, Axes)> {
    let [mut contract, mut batch] = [(); 2].map(|()| (Axes::new(), Axes::new()));
    let (mut batched, mut left, mut right) = (Axes::new(), Axes::new(), Axes::new());
    for axis in 0..s.len() {
        let places = [&p, &q].map(|places| places.iter().position(|&a| a == axis));
        match (places, k.contains(&axis)) {
            ([Some(i), Some(j)], true) => {
                contract.0.push(i);
                contract.1.push(j);
            }
            ([Some(i), Some(j)], false) => {
                batch.0.push(i);
                batch.1.push(j);
                batched.push(axis);
            }
            ([Some(_), None], false) => left.push(axis),
            ([None, Some(_)], false) => right.push(axis),
            _ => return None,
        }
    }
    if contract.0.is_empty() || left.is_empty() || right.is_empty() {
        return None;
    }
    let order: Axes = batched.into_iter().chain(left).chain(right).collect();
    let transposition = complement(&k, s.len()).iter().map(|a| order.iter().position(|o| o == a)).collect::<Option<_>>()?;
    Some((ops::dot_general(&contract.0, &contract.1, &batch.0, &batch.1), transposition))
}
