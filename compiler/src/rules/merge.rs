//! Several products with one operand as one product. Whether that pays is for the price to say.

use super::axes::complement;
use crate::egraph::rule::{Operand, Rule};
use crate::rule;
use igneous_ir::types::Shape;
use igneous_ir::{Dim, Op, TensorType, ops};

pub(super) fn rules() -> Vec<Rule> {
    vec![
        rule!("merge/projections" [Reassociate]:
            (dot_general[d](x, a), dot_general[d](x, b)) =>
            (slice[u](dot_general[d](x, concat[n](a, b))), slice[v](dot_general[d](x, concat[n](a, b))));
            let (n, u, v) = merged_right(d, x, a, b);
            on "x: f32[2, 3], a: f32[3, 4], b: f32[3, 5], d = {lhs_contract=[1], rhs_contract=[0], lhs_batch=[], rhs_batch=[]}"),
        rule!("merge/weights" [Reassociate]:
            (dot_general[d](a, x), dot_general[d](b, x)) =>
            (slice[u](dot_general[d](concat[n](a, b), x)), slice[v](dot_general[d](concat[n](a, b), x)));
            let (n, u, v) = merged_left(d, x, a, b);
            on "a: f32[4, 3], b: f32[5, 3], x: f32[3, 2], d = {lhs_contract=[1], rhs_contract=[0], lhs_batch=[], rhs_batch=[]}"),
    ]
}

/// The axis along which `a` and `b` are joined, and the two parts of the product of `x` with both.
fn merged_right(d: &Op, x: Operand, a: Operand, b: Operand) -> Option<(usize, Op, Op)> {
    let used: Vec<usize> = d.axes("rhs_contract").into_iter().chain(d.axes("rhs_batch")).collect();
    let n = joined_axis(a, b, &used)?;
    let rows = x.rank() - d.ints("lhs_contract").len();
    let column = complement(&used, a.rank()).iter().position(|&i| i == n)?;
    parts(d, [x.ty().clone(), joined(a, b, n)], rows + column, a.shape()[n]).map(|(u, v)| (n, u, v))
}

fn merged_left(d: &Op, x: Operand, a: Operand, b: Operand) -> Option<(usize, Op, Op)> {
    let used: Vec<usize> = d.axes("lhs_contract").into_iter().chain(d.axes("lhs_batch")).collect();
    let n = joined_axis(a, b, &used)?;
    let row = d.ints("lhs_batch").len() + complement(&used, a.rank()).iter().position(|&i| i == n)?;
    parts(d, [joined(a, b, n), x.ty().clone()], row, a.shape()[n]).map(|(u, v)| (n, u, v))
}

/// The one free axis of two different operands, if they agree in all others.
fn joined_axis(a: Operand, b: Operand, used: &[usize]) -> Option<usize> {
    let [n] = complement(used, a.rank())[..] else { return None };
    let agree = a.rank() == b.rank() && (0..a.rank()).all(|i| i == n || a.shape()[i] == b.shape()[i]);
    let pair = a.value != b.value && a.dtype() == b.dtype() && !a.is("concat") && !b.is("concat");
    (agree && pair && are_small(a, b)).then_some(n)
}

/// Whether joining two operands can cost less than starting a kernel.
fn are_small(a: Operand, b: Operand) -> bool {
    Dim::constant(SMALL).at_least(a.ty().elements() + b.ty().elements()) == Some(true)
}

/// Elements.
const SMALL: i64 = 4096;

fn joined(a: Operand, b: Operand, n: usize) -> TensorType {
    let mut ty = a.ty().clone();
    ty.shape[n] = ty.shape[n] + b.shape()[n];
    ty
}

/// The slices of a product below and from `split` along `axis`.
fn parts(d: &Op, operands: [TensorType; 2], axis: usize, split: Dim) -> Option<(Op, Op)> {
    let shape: Shape = d.infer(&operands).ok()?.into_iter().next()?.shape;
    let stride = vec![1; shape.len()];
    let zero: Shape = shape.iter().map(|_| Dim::ZERO).collect();
    let (mut start, mut limit) = (zero.clone(), shape.clone());
    (start[axis], limit[axis]) = (split, split);
    Some((ops::slice(&zero, &limit, &stride), ops::slice(&start, &shape, &stride)))
}
