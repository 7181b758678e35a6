//! Attention from its spellings: scores as products of queries and keys, scaled anywhere, masked in any way, a softmax, and a
//! product with values; any order of axes and operands.

use super::contraction::{with_left_transposed, with_right_transposed};
use super::normalisation::decimal;
use crate::egraph::analysis::Content;
use crate::egraph::rule::{Axes, Operand, Rule};
use crate::rule;
use igneous_ir::array::{Array, unravel};
use igneous_ir::ops::{self, Scores};
use igneous_ir::{DType, Op};

pub(super) fn rules() -> Vec<Rule> {
    vec![
        rule!("attention/values-first" [Reassociate]:
            dot_general[d](v, softmax[a](x)) => transpose[o](dot_general[e](softmax[a](x), v));
            let (e, o) = turned(d, v, x);
            on "v: f32[2, 5, 4], x: f32[2, 3, 5], a = 2, d = {lhs_contract=[1], rhs_contract=[2], lhs_batch=[0], rhs_batch=[0]}"),
        rule!("attention/probabilities-transposed" [Reassociate]:
            dot_general[d](transpose[p](softmax[a](x)), v) => transpose[q](dot_general[e](softmax[a](x), v));
            let (e, q) = with_left_transposed(d, p, x, v);
            on "x: f32[2, 5, 3], v: f32[2, 5, 4], a = 1, p = [0, 2, 1],
                d = {lhs_contract=[2], rhs_contract=[1], lhs_batch=[0], rhs_batch=[0]}"),
        rule!("attention/probabilities-transposed-behind" [Reassociate]:
            dot_general[d](v, transpose[p](softmax[a](x))) => transpose[q](dot_general[e](v, softmax[a](x)));
            let (e, q) = with_right_transposed(d, p, v, x);
            on "x: f32[2, 3, 5], v: f32[2, 4, 5], a = 2, p = [0, 2, 1],
                d = {lhs_contract=[2], rhs_contract=[1], lhs_batch=[0], rhs_batch=[0]}"),
        rule!("attention/scaled" [Reassociate]:
            dot_general[d](softmax[a](dot_general[e](l, r) * c), v)
                => transpose[o](attention[g](transpose[x](q), transpose[y](k), transpose[z](v)).0);
            let g = scaled(c);
            let (q, k) = roles(e, a, l, r);
            let (x, y) = orders(e, a, l, r);
            let (z, o) = with_values(d, a, v);
            on "l: f32[2, 3, 4], r: f32[2, 5, 4], c: f32[2, 3, 5] = 0.5, v: f32[2, 5, 6], a = 2,
                e = {lhs_contract=[2], rhs_contract=[2], lhs_batch=[0], rhs_batch=[0]},
                d = {lhs_contract=[2], rhs_contract=[1], lhs_batch=[0], rhs_batch=[0]}",
               "l: f32[5, 4], r: f32[4, 3], c: f32[5, 3] = 0.5, v: f32[6, 5], a = 0,
                e = {lhs_contract=[1], rhs_contract=[0], lhs_batch=[], rhs_batch=[]},
                d = {lhs_contract=[0], rhs_contract=[1], lhs_batch=[], rhs_batch=[]}",
               "l: f64[3, 2, 7, 4], r: f64[2, 4, 7, 5], c: f64[7, 2, 3, 5] = 0.5, v: f64[5, 2, 6, 7], a = 3,
                e = {lhs_contract=[3], rhs_contract=[1], lhs_batch=[2, 1], rhs_batch=[2, 0]},
                d = {lhs_contract=[3], rhs_contract=[0], lhs_batch=[1, 0], rhs_batch=[1, 3]}"),
        rule!("attention/plain" [Reassociate]:
            dot_general[d](softmax[a](dot_general[e](l, r)), v)
                => transpose[o](attention[g](transpose[x](q), transpose[y](k), transpose[z](v)).0);
            let g = unscaled(a);
            let (q, k) = roles(e, a, l, r);
            let (x, y) = orders(e, a, l, r);
            let (z, o) = with_values(d, a, v);
            on "l: f32[2, 3, 4], r: f32[2, 5, 4], v: f32[2, 5, 6], a = 2,
                e = {lhs_contract=[2], rhs_contract=[2], lhs_batch=[0], rhs_batch=[0]},
                d = {lhs_contract=[2], rhs_contract=[1], lhs_batch=[0], rhs_batch=[0]}"),
        rule!("attention/scaled-where" [Reassociate]:
            dot_general[d](softmax[a](select(m, dot_general[e](l, r) * c, f)), v)
                => transpose[o](attention[g](transpose[x](q), transpose[y](k), transpose[z](v), transpose[t](m)).0);
            let g = scaled_where(c, f);
            let (q, k) = roles(e, a, l, r);
            let (x, y) = orders(e, a, l, r);
            let (z, o) = with_values(d, a, v);
            let t = scores_order(a, m);
            on "l: f32[2, 3, 4], r: f32[2, 5, 4], c: f32[2, 3, 5] = 0.5, v: f32[2, 5, 6], a = 2,
                m: bool[2, 3, 5], f: f32[2, 3, 5] = -20000.0,
                e = {lhs_contract=[2], rhs_contract=[2], lhs_batch=[0], rhs_batch=[0]},
                d = {lhs_contract=[2], rhs_contract=[1], lhs_batch=[0], rhs_batch=[0]}",
               "l: f32[5, 4], r: f32[4, 3], c: f32[5, 3] = 0.5, v: f32[6, 5], a = 0, m: bool[5, 3], f: f32[5, 3] = -20000.0,
                e = {lhs_contract=[1], rhs_contract=[0], lhs_batch=[], rhs_batch=[]},
                d = {lhs_contract=[0], rhs_contract=[1], lhs_batch=[], rhs_batch=[]}"),
        rule!("attention/where" [Reassociate]:
            dot_general[d](softmax[a](select(m, dot_general[e](l, r), f)), v)
                => transpose[o](attention[g](transpose[x](q), transpose[y](k), transpose[z](v), transpose[t](m)).0);
            let g = unscaled_where(f);
            let (q, k) = roles(e, a, l, r);
            let (x, y) = orders(e, a, l, r);
            let (z, o) = with_values(d, a, v);
            let t = scores_order(a, m);
            on "l: f32[3, 4], r: f32[5, 4], v: f32[5, 6], a = 1, m: bool[3, 5], f: f32[3, 5] = -20000.0,
                e = {lhs_contract=[1], rhs_contract=[1], lhs_batch=[], rhs_batch=[]},
                d = {lhs_contract=[1], rhs_contract=[0], lhs_batch=[], rhs_batch=[]}"),
        rule!("attention/scaled-fill" [Reassociate]:
            dot_general[d](softmax[a](select(m, f, dot_general[e](l, r) * c)), v)
                => transpose[o](attention[g](transpose[x](q), transpose[y](k), transpose[z](v), transpose[t](not(m))).0);
            let g = scaled_where(c, f);
            let (q, k) = roles(e, a, l, r);
            let (x, y) = orders(e, a, l, r);
            let (z, o) = with_values(d, a, v);
            let t = scores_order(a, m);
            on "l: f32[3, 4], r: f32[5, 4], c: f32[3, 5] = 0.5, v: f32[5, 6], a = 1, m: bool[3, 5], f: f32[3, 5] = -20000.0,
                e = {lhs_contract=[1], rhs_contract=[1], lhs_batch=[], rhs_batch=[]},
                d = {lhs_contract=[1], rhs_contract=[0], lhs_batch=[], rhs_batch=[]}"),
        rule!("attention/fill" [Reassociate]:
            dot_general[d](softmax[a](select(m, f, dot_general[e](l, r))), v)
                => transpose[o](attention[g](transpose[x](q), transpose[y](k), transpose[z](v), transpose[t](not(m))).0);
            let g = unscaled_where(f);
            let (q, k) = roles(e, a, l, r);
            let (x, y) = orders(e, a, l, r);
            let (z, o) = with_values(d, a, v);
            let t = scores_order(a, m);
            on "l: f32[3, 4], r: f32[5, 4], v: f32[5, 6], a = 1, m: bool[3, 5], f: f32[3, 5] = -20000.0,
                e = {lhs_contract=[1], rhs_contract=[1], lhs_batch=[], rhs_batch=[]},
                d = {lhs_contract=[1], rhs_contract=[0], lhs_batch=[], rhs_batch=[]}"),
        rule!("attention/scaled-bias" [Reassociate]:
            dot_general[d](softmax[a](dot_general[e](l, r) * c + b), v)
                => transpose[o](attention[g](transpose[x](q), transpose[y](k), transpose[z](v), transpose[t](b)).0);
            let g = scaled(c);
            let (q, k) = roles(e, a, l, r);
            let (x, y) = orders(e, a, l, r);
            let (z, o) = with_values(d, a, v);
            let t = scores_order(a, b);
            on "l: f32[2, 3, 4], r: f32[2, 5, 4], c: f32[2, 3, 5] = 0.5, v: f32[2, 5, 6], a = 2, b: f32[2, 3, 5],
                e = {lhs_contract=[2], rhs_contract=[2], lhs_batch=[0], rhs_batch=[0]},
                d = {lhs_contract=[2], rhs_contract=[1], lhs_batch=[0], rhs_batch=[0]}"),
        rule!("attention/bias" [Reassociate]:
            dot_general[d](softmax[a](dot_general[e](l, r) + b), v)
                => transpose[o](attention[g](transpose[x](q), transpose[y](k), transpose[z](v), transpose[t](b)).0);
            let g = unscaled(a);
            let (q, k) = roles(e, a, l, r);
            let (x, y) = orders(e, a, l, r);
            let (z, o) = with_values(d, a, v);
            let t = scores_order(a, b);
            on "l: f32[3, 4], r: f32[5, 4], v: f32[5, 6], a = 1, b: f32[3, 5],
                e = {lhs_contract=[1], rhs_contract=[1], lhs_batch=[], rhs_batch=[]},
                d = {lhs_contract=[1], rhs_contract=[0], lhs_batch=[], rhs_batch=[]}"),
        rule!("attention/bias-is-mask" [Reassociate]:
            attention[g](q, k, v, select(m, n, f)).0 => attention[h](q, k, v, m).0;
            let h = hidden_by_bias(g, n, f);
            on "q: f32[2, 3, 4], k: f32[2, 5, 4], v: f32[2, 5, 6], m: bool[2, 3, 5], n: f32[2, 3, 5] = 0.0,
                f: f32[2, 3, 5] = -20000000000.0, g = {scale=0.5, causal=false, hidden=-inf}"),
        rule!("attention/broadcast-bias-is-mask" [Reassociate]:
            attention[g](q, k, v, broadcast[(s, p)](select(m, n, f))).0 => attention[h](q, k, v, broadcast[(s, p)](m)).0;
            let h = hidden_by_bias(g, n, f);
            on "q: f32[2, 3, 4], k: f32[2, 5, 4], v: f32[2, 5, 6], m: bool[3, 5], n: f32[3, 5] = 0.0, s = [2, 3, 5], p = [1, 2],
                f: f32[3, 5] = -20000000000.0, g = {scale=0.5, causal=false, hidden=-inf}"),
        rule!("attention/causal" [Reassociate]: attention[g](q, k, v, m).0 => attention[h](q, k, v).0; let h = causal(g, m);
            on "q: f32[2, 3, 4], k: f32[2, 5, 4], v: f32[2, 5, 6],
                m: bool[2, 3, 5] = le(iota[(i64, [2, 3, 5], 2)], iota[(i64, [2, 3, 5], 1)]),
                g = {scale=0.5, causal=false, hidden=-20000}"),
        rule!("attention/causal-and-mask" [Reassociate]:
            attention[g](q, k, v, and(m, n)).0 => attention[h](q, k, v, n).0; let h = causal_besides(g, m);
            on "q: f32[2, 3, 4], k: f32[2, 5, 4], v: f32[2, 5, 6], n: bool[2, 3, 5],
                m: bool[2, 3, 5] = le(iota[(i64, [2, 3, 5], 2)], iota[(i64, [2, 3, 5], 1)]),
                g = {scale=0.5, causal=false, hidden=-inf}"),
    ]
}

/// The axes of a side of a dot: batch, the one contracted, the one free. None if there are several.
fn matrix(d: &Op, side: &str, rank: usize) -> Option<(Axes, usize, usize)> {
    let (contract, batch) = match side {
        "left" => (d.axes("lhs_contract"), d.axes("lhs_batch")),
        _ => (d.axes("rhs_contract"), d.axes("rhs_batch")),
    };
    let &[contracted] = contract.as_slice() else { return None };
    let mut free = (0..rank).filter(|a| *a != contracted && !batch.contains(a));
    let axes = (batch.clone(), contracted, free.next()?);
    free.next().is_none().then_some(axes)
}

/// Whether the scores `[…, T, S]` have their rows first, given the axis of the softmax; none if it is neither.
fn queries_first(a: i64, rank: usize) -> Option<bool> {
    match rank.checked_sub(a as usize)? {
        1 => Some(true),
        2 => Some(false),
        _ => None,
    }
}

/// Queries and keys among the operands of the product that scores are.
fn roles<'m>(e: &Op, a: i64, l: Operand<'m>, r: Operand<'m>) -> Option<(Operand<'m>, Operand<'m>)> {
    matrix(e, "left", l.rank())?;
    matrix(e, "right", r.rank())?;
    Some(if queries_first(a, l.rank())? { (l, r) } else { (r, l) })
}

/// The transpositions that give queries and keys the axes batch, position, feature.
fn orders(e: &Op, a: i64, l: Operand, r: Operand) -> Option<(Axes, Axes)> {
    let order = |side, x: Operand| {
        let (mut axes, contracted, free) = matrix(e, side, x.rank())?;
        axes.extend([free, contracted]);
        Some(axes)
    };
    let (l, r) = (order("left", l)?, order("right", r)?);
    Some(if queries_first(a, l.len())? { (l, r) } else { (r, l) })
}

/// The transposition that gives values the axes batch, position, element, and that of the result of attention.
fn with_values(d: &Op, a: i64, v: Operand) -> Option<(Axes, Axes)> {
    let rank = v.rank();
    let (batch, contracted, _) = matrix(d, "left", rank)?;
    let (own, keys, element) = matrix(d, "right", rank)?;
    if contracted != a as usize {
        return None;
    }
    let mut order: Axes =
        (0..rank - 2).map(|axis| batch.iter().position(|&b| b == axis).map(|i| own[i])).collect::<Option<_>>()?;
    order.extend([keys, element]);
    let result = batch.into_iter().chain([rank - 2, rank - 1]).collect();
    Some((order, result))
}

/// The transposition of a mask like the scores to `[…, T, S]`.
fn scores_order(a: i64, m: Operand) -> Option<Axes> {
    let rank = m.rank();
    let mut order: Axes = (0..rank).collect();
    if !queries_first(a, rank)? {
        order.swap(rank - 2, rank - 1);
    }
    Some(order)
}

/// The product with its operands exchanged, and the transposition of its result.
fn turned(d: &Op, v: Operand, x: Operand) -> Option<(Op, Axes)> {
    let rank = v.rank();
    matrix(d, "left", rank)?;
    matrix(d, "right", x.rank())?;
    let sides = ["rhs_contract", "lhs_contract", "rhs_batch", "lhs_batch"].map(|name| d.axes(name));
    let mut order: Axes = (0..rank).collect();
    order.swap(rank - 2, rank - 1);
    Some((ops::dot_general(&sides[0], &sides[1], &sides[2], &sides[3]), order))
}

fn number(c: Operand) -> Option<f64> {
    c.uniform().map(decimal)
}

fn unscaled(_: i64) -> Option<Op> {
    Some(ops::attention(Scores { scale: 1.0, causal: false, hidden: f64::NEG_INFINITY }))
}

fn scaled(c: Operand) -> Option<Op> {
    let scale = number(c).filter(|c| c.is_finite())?;
    Some(ops::attention(Scores { scale, causal: false, hidden: f64::NEG_INFINITY }))
}

/// The score of hidden keys: so far down that they do not count.
fn hidden(f: Operand) -> Option<f64> {
    number(f).filter(|&f| f <= -1e4)
}

fn scaled_where(c: Operand, f: Operand) -> Option<Op> {
    let scale = number(c).filter(|c| c.is_finite())?;
    Some(ops::attention(Scores { scale, causal: false, hidden: hidden(f)? }))
}

fn unscaled_where(f: Operand) -> Option<Op> {
    Some(ops::attention(Scores { scale: 1.0, causal: false, hidden: hidden(f)? }))
}

/// Scores that a bias of `n` and `f` hides: so far down that the score they are added to is lost.
fn hidden_by_bias(g: &Op, n: Operand, f: Operand) -> Option<Op> {
    let hidden = hidden(f).filter(|&f| f <= -1e9 && n.uniform().is_some_and(|n| n.as_f64() == 0.0))?;
    Some(ops::attention(Scores { hidden, ..Scores::of(g) }))
}

fn causal(g: &Op, m: Operand) -> Option<Op> {
    let scores = Scores::of(g);
    let causal = Scores { causal: true, hidden: f64::NEG_INFINITY, ..scores };
    (!scores.causal && is_causal(m)).then(|| ops::attention(causal))
}

/// With another mask, hidden keys count for queries that see none; only where they never do, the masks are one.
fn causal_besides(g: &Op, m: Operand) -> Option<Op> {
    if Scores::of(g).hidden == f64::NEG_INFINITY { causal(g, m) } else { None }
}

/// Whether a mask `[…, T, S]` is that a key is not behind its query.
fn is_causal(m: Operand) -> bool {
    m.dtype() == DType::Bool
        && m.rank() >= 2
        && order(m, DEPTH) == Some(Order { lower: m.rank() - 1, upper: m.rank() - 2, slack: 0 })
}

/// How deep a mask is looked into.
const DEPTH: usize = 8;

/// `index[lower] ≤ index[upper] + slack`
#[derive(PartialEq)]
struct Order {
    lower: usize,
    upper: usize,
    slack: i64,
}

fn order(m: Operand, depth: usize) -> Option<Order> {
    let depth = depth.checked_sub(1)?;
    if let Some(array) = elements(m) {
        let rank = array.shape().len();
        let mut pairs = (0..rank).flat_map(|lower| (0..rank).map(move |upper| (lower, upper))).filter(|(l, u)| l != u);
        let ordered =
            |&(lower, upper): &(usize, usize)| holds(array, |index, seen| (index[lower] <= index[upper]) == (seen != 0));
        return pairs.find(ordered).map(|(lower, upper)| Order { lower, upper, slack: 0 });
    }
    m.forms().find_map(|(form, op)| {
        let op = op?;
        let compare = |lower: usize, upper: usize, slack: i64| {
            let [(lower, below), (upper, above)] =
                [position(m.operand(form, lower), depth)?, position(m.operand(form, upper), depth)?];
            Some(Order { lower, upper, slack: above - below + slack })
        };
        match op.name() {
            "le" => compare(0, 1, 0),
            "lt" => compare(0, 1, -1),
            "ge" => compare(1, 0, 0),
            "gt" => compare(1, 0, -1),
            "not" => {
                let Order { lower, upper, slack } = order(m.operand(form, 0), depth)?;
                Some(Order { lower: upper, upper: lower, slack: -slack - 1 })
            }
            "broadcast" => {
                let Order { lower, upper, slack } = order(m.operand(form, 0), depth)?;
                let places = op.axes("axes");
                Some(Order { lower: places[lower], upper: places[upper], slack })
            }
            _ => None,
        }
    })
}

/// The elements of a constant that is not one number everywhere.
fn elements(x: Operand<'_>) -> Option<&Array> {
    match &x.known()?.content {
        Content::Elements(array) if !array.dtype().is_float() => Some(array),
        _ => None,
    }
}

/// Whether something is true of every index and its element.
fn holds(array: &Array, test: impl Fn(&[usize], i64) -> bool) -> bool {
    (0..array.len()).all(|i| test(&unravel(i, array.shape()), array.i(i)))
}

/// The axis along which a value counts, and what it adds.
fn position(x: Operand, depth: usize) -> Option<(usize, i64)> {
    let depth = depth.checked_sub(1)?;
    if x.uniform().is_some() || !x.dtype().is_int() {
        return None;
    }
    if let Some(array) = elements(x) {
        let counts = |&axis: &usize| holds(array, |index, value| value == index[axis] as i64 + array.i(0));
        return (0..array.shape().len()).find(counts).map(|axis| (axis, array.i(0)));
    }
    x.forms().find_map(|(form, op)| {
        let op = op?;
        match op.name() {
            "iota" => Some((op.int("axis") as usize, 0)),
            "broadcast" => position(x.operand(form, 0), depth).map(|(axis, offset)| (op.axes("axes")[axis], offset)),
            "add" => [(0, 1), (1, 0)].into_iter().find_map(|(counts, constant)| {
                let offset = x.operand(form, constant).uniform()?.as_i64();
                position(x.operand(form, counts), depth).map(|(axis, own)| (axis, own + offset))
            }),
            _ => None,
        }
    })
}
