//! Views composed into one view, and views that do nothing.

use super::axes::{inverse, is_unit, split_units};
use crate::egraph::rule::{Axes, Operand, Rule};
use crate::rule;
use igneous_ir::types::Shape;
use igneous_ir::{Dim, Op, ops};

pub(super) fn rules() -> Vec<Rule> {
    vec![
        rule!("view/reshape-nothing" [Exact]: reshape[s](x) => x; when has_shape(x, s); on "x: f32[2, 3], s = [2, 3]"),
        rule!("view/broadcast-nothing" [Exact]: broadcast[(s, p)](x) => x; when broadcasts_nothing(x, s, p);
            on "x: f32[2, 3], s = [2, 3], p = [0, 1]"),
        rule!("view/transpose-nothing" [Exact]: transpose[p](x) => x; when is_identity(p); on "x: f32[2, 3], p = [0, 1]"),
        rule!("view/slice-nothing" [Exact]: slice[(a, b, t)](x) => x; when slices_nothing(x, a, b, t);
            on "x: f32[4, 3], a = [0, 0], b = [4, 3], t = [1, 1]"),
        rule!("view/pad-nothing" [Exact]: pad[(l, h, i)](x, v) => x; when pads_nothing(l, h, i);
            on "x: f32[4], v: f32[], l = [0], h = [0], i = [0]"),
        rule!("view/concat-one" [Exact]: concat[a](x) => x; on "x: f32[4], a = 0"),
        rule!("view/flip-flip" [Exact]: flip[a](flip[a](x)) => x; on "x: f32[4, 3], a = [0]"),
        rule!("view/reshape-reshape" [Exact]: reshape[s](reshape[t](x)) => reshape[s](x);
            on "x: f32[2, 6], t = [12], s = [3, 4]", "x: f32[2, 6], t = [2, 1, 6], s = [2, 6]"),
        rule!("view/transpose-transpose" [Exact]: transpose[p](transpose[q](x)) => transpose[r](x);
            let r = composed(q, p);
            on "x: f32[2, 3, 4], q = [1, 2, 0], p = [1, 0, 2]", "x: f32[2, 3], q = [1, 0], p = [1, 0]"),
        rule!("view/broadcast-broadcast" [Exact]: broadcast[(s, p)](broadcast[(t, q)](x)) => broadcast[(s, r)](x);
            let r = composed(p, q);
            on "x: f32[3], t = [2, 3], q = [1], s = [4, 2, 3], p = [1, 2]", "x: f32[], t = [3], q = [], s = [2, 3], p = [1]"),
        rule!("view/transpose-of-units" [Exact]: transpose[p](x) => reshape[s](x); let s = moved_units(x, p);
            on "x: f32[2, 1, 3], p = [1, 0, 2]", "x: f32[1, 5], p = [1, 0]"),
        rule!("view/broadcast-units" [Exact]: broadcast[(s, p)](x) => broadcast[(s, q)](reshape[t](x));
            let (t, q) = without_units(x, p);
            on "x: f32[3, 1], s = [2, 3, 1], p = [1, 2]"),
        rule!("view/reshape-broadcast" [Exact]: reshape[s](broadcast[(t, p)](x)) => broadcast[(s, q)](reshape[u](x));
            let (u, q) = reshaped_broadcast(x, s, t, p);
            on "x: f32[3], s = [2, 1, 3], t = [2, 3], p = [1]", "x: f32[], s = [6], t = [2, 3], p = []"),
        rule!("view/transpose-broadcast" [Exact]: transpose[r](broadcast[(s, p)](x)) => broadcast[(t, q)](transpose[u](x));
            let (t, q, u) = transposed_broadcast(s, p, r);
            on "x: f32[2, 3], s = [2, 4, 3], p = [0, 2], r = [2, 1, 0]", "x: f32[3], s = [2, 3], p = [1], r = [1, 0]"),
        rule!("view/reshape-units-transpose" [Exact]: reshape[s](transpose[p](reshape[t](x))) => transpose[q](x);
            let q = through_units(x, t, p, s);
            on "x: f32[2, 3], t = [2, 1, 3], p = [2, 1, 0], s = [3, 2]"),
        rule!("view/slice-slice" [Exact]: slice[s](slice[t](x)) => slice[u](x); let u = composed_slices(t, s);
            on "x: f32[12], t = {start=[1], limit=[11], stride=[2]}, s = {start=[1], limit=[5], stride=[2]}",
               "x: f32[6, 4], t = {start=[1, 0], limit=[6, 4], stride=[1, 1]}, s = {start=[1, 2], limit=[3, 4], stride=[1, 1]}"),
        rule!("view/slice-concat" [Exact]: slice[s](concat[a](xs..)) => slice[u](x); let (x, u) = slice_of_one(s, a, xs);
            on "xs: f32[2] f32[3] f32[4], a = 0, s = {start=[2], limit=[5], stride=[1]}",
               "xs: f32[2] f32[3] f32[4], a = 0, s = {start=[6], limit=[8], stride=[1]}"),
        rule!("view/slice-broadcast" [Exact]: slice[s](broadcast[(t, p)](x)) => broadcast[(r, p)](slice[u](x));
            let (r, u) = sliced_broadcast(x, s, p);
            on "x: f32[3], t = [4, 3], p = [1], s = {start=[1, 1], limit=[4, 3], stride=[1, 1]}"),
        rule!("view/slice-pad" [Exact]: slice[s](pad[t](x, v)) => slice[u](x); let u = slice_inside_pad(x, s, t);
            on "x: f32[4], v: f32[], t = {low=[2], high=[1], interior=[0]}, s = {start=[3], limit=[6], stride=[1]}"),
        rule!("view/concat-slices" [Exact]: concat[a](slice[s](x), slice[t](x)) => slice[u](x); let u = adjacent(a, s, t);
            on "x: f32[6], a = 0, s = {start=[1], limit=[3], stride=[1]}, t = {start=[3], limit=[6], stride=[1]}"),
    ]
}

fn has_shape(x: Operand, s: &[Dim]) -> bool {
    x.shape() == s
}

fn broadcasts_nothing(x: Operand, s: &[Dim], p: Axes) -> bool {
    x.shape() == s && is_identity(p)
}

fn is_identity(p: Axes) -> bool {
    p.iter().enumerate().all(|(i, &a)| i == a)
}

fn slices_nothing(x: Operand, a: &[Dim], b: &[Dim], t: Axes) -> bool {
    let dense = |(&t, &d): (&usize, &Dim)| t == 1 || Dim::ONE.at_least(d) == Some(true);
    a.iter().all(|&d| d == Dim::ZERO) && b == x.shape() && t.iter().zip(b).all(dense)
}

fn pads_nothing(l: &[Dim], h: &[Dim], i: Axes) -> bool {
    l.iter().chain(h).all(|&d| d == Dim::ZERO) && i.iter().all(|&i| i == 0)
}

/// `i ↦ outer[inner[i]]`
fn composed(outer: Axes, inner: Axes) -> Option<Axes> {
    inner.iter().map(|&i| outer.get(i).copied()).collect()
}

/// The transposed shape, if only axes of extent one change places among the others.
fn moved_units(x: Operand, p: Axes) -> Option<Shape> {
    let others: Axes = p.iter().copied().filter(|&a| !is_unit(x.shape()[a])).collect();
    let moved = !is_identity(p.clone()) && others.is_sorted();
    moved.then(|| p.iter().map(|&a| x.shape()[a]).collect())
}

/// `x`'s shape and places without the axes of extent one, if there are any.
fn without_units(x: Operand, p: Axes) -> Option<(Shape, Axes)> {
    let kept: Axes = (0..x.rank()).filter(|&i| !is_unit(x.shape()[i])).collect();
    (kept.len() < x.rank()).then(|| (kept.iter().map(|&i| x.shape()[i]).collect(), kept.iter().map(|&i| p[i]).collect()))
}

/// The reshape of the operand and the places of its axes, if a broadcast to `t` is only given or relieved of axes of
/// extent one, or if the operand has no axes.
fn reshaped_broadcast(x: Operand, s: &[Dim], t: &[Dim], p: Axes) -> Option<(Shape, Axes)> {
    if x.rank() == 0 {
        return Some((Shape::new(), Axes::new()));
    }
    let (from, to) = (split_units(t), split_units(s));
    if from.iter().map(|&i| t[i]).ne(to.iter().map(|&i| s[i])) {
        return None;
    }
    let (shape, places) = without_units(x, p.clone()).unwrap_or((x.shape().into(), p));
    let places = places.iter().map(|a| from.iter().position(|f| f == a).map(|k| to[k]));
    Some((shape, places.collect::<Option<_>>()?))
}

/// Shape, places and the operand's transposition, for a broadcast to `s` at `p` that is transposed by `r`.
fn transposed_broadcast(s: &[Dim], p: Axes, r: Axes) -> Option<(Shape, Axes, Axes)> {
    let back = inverse(&r);
    let mut order: Axes = (0..p.len()).collect();
    order.sort_by_key(|&i| back[p[i]]);
    Some((r.iter().map(|&a| s[a]).collect(), order.iter().map(|&i| back[p[i]]).collect(), order))
}

/// The transposition that remains if axes of extent one are added before and removed after another.
fn through_units(x: Operand, t: &[Dim], p: Axes, s: &[Dim]) -> Option<Axes> {
    let inner = split_units(t);
    let shape = x.shape();
    if inner.len() != x.rank() || inner.iter().map(|&i| t[i]).ne(shape.iter().copied()) || split_units(s).len() != s.len() {
        return None;
    }
    let q: Axes = p.iter().filter_map(|a| inner.iter().position(|i| i == a)).collect();
    (q.len() == s.len() && q.iter().map(|&a| shape[a]).eq(s.iter().copied())).then_some(q)
}

fn extent(start: Dim, limit: Dim, stride: i64) -> Dim {
    (limit - start).div_ceil(Dim::constant(stride))
}

fn composed_slices(inner: &Op, outer: &Op) -> Option<Op> {
    let (strides, steps) = (inner.ints("stride"), outer.ints("stride"));
    let (mut start, mut limit, mut stride) = (Shape::new(), Shape::new(), Vec::new());
    for (i, (&t, &u)) in strides.iter().zip(steps).enumerate() {
        let (first, last) = (outer.dims("start")[i], outer.dims("limit")[i]);
        let count = extent(first, last, u);
        let begin = inner.dims("start")[i] + first * Dim::constant(t);
        // Without a second element the stride does not matter.
        let step = if Dim::ONE.at_least(count) == Some(true) { 1 } else { t.checked_mul(u)? };
        if step != 1 && count.at_least(1) != Some(true) {
            return None;
        }
        start.push(begin);
        limit.push(begin + (count - 1) * Dim::constant(step) + 1);
        stride.push(step);
    }
    Some(ops::slice(&start, &limit, &stride))
}

/// The one operand that a slice of a concatenation takes from, and what it takes.
fn slice_of_one<'m>(s: &Op, a: i64, xs: Vec<Operand<'m>>) -> Option<(Operand<'m>, Op)> {
    let a = a as usize;
    let (first, last) = (s.dims("start")[a], s.dims("limit")[a]);
    let mut begin = Dim::ZERO;
    for x in xs {
        let end = begin + x.shape()[a];
        if first.at_least(begin) == Some(true) && end.at_least(last) == Some(true) {
            let (mut start, mut limit) = (Shape::from(s.dims("start")), Shape::from(s.dims("limit")));
            (start[a], limit[a]) = (first - begin, last - begin);
            return Some((x, ops::slice(&start, &limit, s.ints("stride"))));
        }
        begin = end;
    }
    None
}

fn sliced_broadcast(x: Operand, s: &Op, p: Axes) -> Option<(Shape, Op)> {
    let stride = s.ints("stride");
    let shape = s.dims("start").iter().zip(s.dims("limit")).zip(stride).map(|((&a, &b), &t)| extent(a, b, t)).collect();
    let take = |dims: &[Dim]| p.iter().map(|&a| dims[a]).collect::<Shape>();
    let steps: Vec<i64> = p.iter().map(|&a| stride[a]).collect();
    debug_assert_eq!(p.len(), x.rank(), "a broadcast places every axis");
    Some((shape, ops::slice(&take(s.dims("start")), &take(s.dims("limit")), &steps)))
}

/// The slice of the operand, if no padding is in it.
fn slice_inside_pad(x: Operand, s: &Op, t: &Op) -> Option<Op> {
    let (mut start, mut limit) = (Shape::new(), Shape::new());
    for i in 0..x.rank() {
        let (low, end) = (t.dims("low")[i], t.dims("low")[i] + x.shape()[i]);
        let (first, last) = (s.dims("start")[i], s.dims("limit")[i]);
        if t.ints("interior")[i] != 0 || first.at_least(low) != Some(true) || end.at_least(last) != Some(true) {
            return None;
        }
        start.push(first - low);
        limit.push(last - low);
    }
    Some(ops::slice(&start, &limit, s.ints("stride")))
}

/// One slice for two that are beside each other along axis `a` and equal along all others.
fn adjacent(a: i64, s: &Op, t: &Op) -> Option<Op> {
    let a = a as usize;
    let beside = |i: usize| match i == a {
        true => s.dims("limit")[i] == t.dims("start")[i],
        false => s.dims("start")[i] == t.dims("start")[i] && s.dims("limit")[i] == t.dims("limit")[i],
    };
    let dense = s.ints("stride")[a] == 1 && s.ints("stride") == t.ints("stride");
    let mut limit = Shape::from(s.dims("limit"));
    limit[a] = t.dims("limit")[a];
    (dense && (0..limit.len()).all(beside)).then(|| ops::slice(s.dims("start"), &limit, s.ints("stride")))
}
