//! Gathers, counters and one-hot vectors.

use super::axes::split_units;
use crate::egraph::rule::{Axes, Operand, Rule};
use crate::rule;
use igneous_ir::types::Shape;
use igneous_ir::{Dim, Op};

pub(super) fn rules() -> Vec<Rule> {
    vec![
        rule!("index/gather-all" [Exact]: gather[g](x, iota[(t, s, a)]) => transpose[p](x); let p = gathers_all(x, g, s);
            on "x: f32[2, 3], g = [1], t = i64, s = [3], a = 0"),
        rule!("index/reshape-gather" [Exact]: reshape[s](gather[g](x, i)) => gather[g](x, reshape[s](i));
            when indexes_all(x, g);
            on "x: f32[5], g = [0], i: i64[4] in 0..5, s = [2, 2]"),
        rule!("index/reshape-gather-2" [Exact]: reshape[s](gather[g](x, i, j)) => gather[g](x, reshape[s](i), reshape[s](j));
            when indexes_all(x, g);
            on "x: f32[5, 3], g = [0, 1], i: i64[4, 1] in 0..5, j: i64[4, 1] in 0..3, s = [4]"),
        rule!("index/reshape-iota" [Exact]: reshape[s](iota[(t, u, a)]) => iota[(t, s, b)]; let b = reshaped_axis(s, u, a);
            on "t = i64, u = [4, 1], a = 0, s = [4]", "t = f32, u = [2, 4], a = 1, s = [2, 1, 4]"),
        rule!("index/broadcast-iota" [Exact]: broadcast[(s, p)](iota[(t, u, a)]) => iota[(t, s, b)]; let b = place(p, a);
            on "t = i64, u = [4], a = 0, s = [3, 4], p = [1]"),
        rule!("index/transpose-iota" [Exact]: transpose[p](iota[(t, u, a)]) => iota[(t, s, b)]; let (s, b) = transposed(u, p, a);
            on "t = i64, u = [3, 4], a = 0, p = [1, 0]"),
        rule!("index/unary-gather" [Exact]: unary[f](gather[g](x, i)) => gather[g](unary[f](x), i); when is_smaller(x, i, g);
            on "x: f32[5], g = [0], i: i64[9] in 0..5, f = exp"),
        rule!("index/sum-with-one-hot" [Reassociate]:
            sum[k](x * cast[t](eq(broadcast[(s, p)](l), iota[(u, v, a)]))) => gather[g](x, iota[(u, n, 0)], l);
            let (g, n) = row_gather(x, k, p, a);
            on "x: f32[3, 5], k = [1], t = f32, l: i64[3] in 0..5, s = [3, 5], p = [0], u = i64, v = [3, 5], a = 1"),
        rule!("index/sum-of-selected" [Reassociate]:
            sum[k](select(eq(broadcast[(s, p)](l), iota[(u, v, a)]), x, 0.0)) => gather[g](x, iota[(u, n, 0)], l);
            let (g, n) = row_gather(x, k, p, a);
            on "x: f32[3, 5], k = [1], l: i64[3] in 0..5, s = [3, 5], p = [0], u = i64, v = [3, 5], a = 1"),
        rule!("index/dot-with-one-hot" [Reassociate]:
            dot_general[d](cast[t](eq(broadcast[(s, p)](l), iota[(u, v, a)])), w) => gather[g](w, l);
            let g = row_lookup(d, s, p, a);
            on "l: i64[3] in 0..5, s = [3, 5], p = [0], u = i64, v = [3, 5], a = 1, t = f32, w: f32[5, 4],
                d = {lhs_contract=[1], rhs_contract=[0], lhs_batch=[], rhs_batch=[]}"),
    ]
}

/// The transposition that brings axis `g` to the front, if a gather along it takes all its elements in order.
fn gathers_all(x: Operand, g: Axes, s: &[Dim]) -> Option<Axes> {
    let ([axis], [n]) = (g.as_slice(), s) else { return None };
    let others = (0..x.rank()).filter(|a| a != axis);
    (x.shape()[*axis] == *n).then(|| std::iter::once(*axis).chain(others).collect())
}

fn indexes_all(x: Operand, g: Axes) -> bool {
    g.len() == x.rank()
}

/// The counting axis after a reshape that only adds or removes axes of extent one.
fn reshaped_axis(s: &[Dim], u: &[Dim], a: i64) -> Option<usize> {
    let (from, to) = (split_units(u), split_units(s));
    let same = from.iter().map(|&i| u[i]).eq(to.iter().map(|&i| s[i]));
    let position = from.iter().position(|&i| i == a as usize)?;
    same.then(|| to[position])
}

fn place(p: Axes, a: i64) -> Option<usize> {
    p.get(a as usize).copied()
}

fn transposed(u: &[Dim], p: Axes, a: i64) -> Option<(Shape, usize)> {
    Some((p.iter().map(|&i| u[i]).collect(), p.iter().position(|&i| i == a as usize)?))
}

/// Whether there are fewer elements to compute on before the gather than after it.
fn is_smaller(x: Operand, i: Operand, g: Axes) -> bool {
    let picked = g.iter().map(|&a| x.shape()[a]).product::<Dim>();
    i.ty().elements().at_least(picked + 1) == Some(true)
}

/// Axes and rows of a gather of one element for each row of a matrix. (Labels are in range: whoever makes a one-hot
/// vector checks them, and outside of it the sum would be zero where the gather is clamped.)
fn row_gather(x: Operand, k: Axes, p: Axes, a: i64) -> Option<(Axes, Shape)> {
    let rows = x.rank() == 2 && k.as_slice() == [1] && p.as_slice() == [0] && a == 1;
    rows.then(|| (Axes::from_slice(&[0, 1]), Shape::from_slice(&x.shape()[..1])))
}

/// The axis of a table that a product with one-hot rows looks up.
fn row_lookup(d: &Op, s: &[Dim], p: Axes, a: i64) -> Option<Axes> {
    let last = s.len() - 1;
    let one_hot = a as usize == last && p.iter().copied().eq(0..last);
    let contracts = d.ints("lhs_contract") == [last as i64] && d.ints("rhs_contract") == [0] && d.ints("lhs_batch").is_empty();
    (one_hot && contracts).then(|| Axes::from_slice(&[0]))
}
