//! Reductions over fewer or smaller axes.

use super::axes::{complement, extent_of, is_unit, reshape_groups};
use crate::egraph::rule::{Axes, Constant, Operand, Rule};
use crate::rule;
use igneous_ir::types::Shape;
use igneous_ir::{Dim, Literal};

pub(super) fn rules() -> Vec<Rule> {
    vec![
        rule!("reduce/units" [Exact]: reduce[(f, k)](x) => reshape[s](x); when keeps_one(f); let s = without_unit_axes(x, k);
            on "x: f32[2, 1, 3], f = max, k = [1]"),
        rule!("reduce/sum-units" [Reassociate]: reduce[(f, k)](x) => reshape[s](x); let s = without_unit_axes(x, k);
            on "x: f32[2, 1, 3], f = sum, k = [1]"),
        rule!("reduce/reduce" [Exact]: reduce[(f, k)](reduce[(f, j)](x)) => reduce[(f, m)](x);
            when keeps_one(f); let m = both_axes(x, j, k);
            on "x: f32[2, 3, 4], f = max, j = [1], k = [1]", "x: bool[2, 3, 4], f = or, j = [0], k = [0]"),
        rule!("reduce/sum-sum" [Reassociate]: reduce[(f, k)](reduce[(f, j)](x)) => reduce[(f, m)](x);
            let m = both_axes(x, j, k);
            on "x: f32[2, 3, 4], f = sum, j = [1], k = [0, 1]", "x: f32[2, 3, 4], f = prod, j = [2], k = [1]"),
        rule!("reduce/broadcast" [Exact]: reduce[(f, k)](broadcast[(s, p)](x)) => broadcast[(t, q)](reduce[(f, j)](x));
            when keeps_one(f); let (j, t, q) = reduced_broadcast(s, p, k);
            on "x: f32[3], f = max, s = [2, 3, 4], p = [1], k = [0]", "x: f32[3], f = max, s = [2, 3, 4], p = [1], k = [1, 2]"),
        rule!("reduce/sum-broadcast" [Reassociate]: sum[k](broadcast[(s, p)](x)) => broadcast[(t, q)](sum[j](x) * n);
            let (j, t, q) = reduced_broadcast(s, p, k); let n = repetitions(x, s, p, k);
            on "x: f32[3], s = [2, 3, 4], p = [1], k = [0]", "x: f32[3], s = [2, 3, 4], p = [1], k = [0, 1]",
               "x: f32[], s = [5], p = [], k = [0]"),
        rule!("reduce/transpose" [Exact]: reduce[(f, k)](transpose[p](x)) => transpose[q](reduce[(f, j)](x));
            when keeps_order(f, p, k); let (j, q) = reduced_transpose(p, k);
            on "x: f32[2, 3, 4], f = sum, p = [2, 1, 0], k = [1]", "x: f32[2, 3], f = max, p = [1, 0], k = [0, 1]"),
        rule!("reduce/sum-transpose" [Reassociate]: reduce[(f, k)](transpose[p](x)) => transpose[q](reduce[(f, j)](x));
            let (j, q) = reduced_transpose(p, k);
            on "x: f32[2, 3, 4], f = sum, p = [2, 1, 0], k = [0, 1]"),
        rule!("reduce/reshape" [Exact]: reduce[(f, k)](reshape[s](x)) => reshape[t](reduce[(f, j)](x));
            let (j, t) = reduced_reshape(x, s, k);
            on "x: f32[6, 4], f = sum, s = [2, 3, 4], k = [0, 1]", "x: f32[2, 3, 4], f = max, s = [2, 12], k = [1]",
               "x: f32[6, 4], f = sum, s = [2, 3, 4], k = [2]"),
        rule!("reduce/sum-scaled" [Reassociate]: sum[k](x * c) => sum[k](x) * d; let d = reduced_number(c, k);
            on "x: f32[2, 3], c: f32[2, 3] = 0.5, k = [1]"),
        rule!("reduce/sum-neg" [Reassociate]: sum[k](-x) => -sum[k](x); on "x: f32[2, 3], k = [1]"),
        rule!("reduce/sum-factor" [Reassociate]: sum[k](x * broadcast[(s, p)](y)) => sum[k](x) * broadcast[(t, q)](y);
            let (t, q) = unreduced(s, p, k);
            on "x: f32[2, 3], y: f32[2], s = [2, 3], p = [0], k = [1]"),
        rule!("reduce/sum-divisor" [Reassociate]: sum[k](x / broadcast[(s, p)](y)) => sum[k](x) / broadcast[(t, q)](y);
            let (t, q) = unreduced(s, p, k);
            on "x: f32[2, 3], y: f32[2] in 1..2, s = [2, 3], p = [0], k = [1]"),
        rule!("reduce/sum-of-sums" [Reassociate]: sum[k](x) + sum[k](y) => sum[k](x + y); when have_one_type(x, y);
            on "x: f32[2, 3], y: f32[2, 3], k = [1]"),
    ]
}

/// Whether the reduction of equal elements is that element.
fn keeps_one(f: &str) -> bool {
    matches!(f, "max" | "min" | "and" | "or")
}

fn have_one_type(x: Operand, y: Operand) -> bool {
    x.ty() == y.ty() && x.dtype().is_float()
}

/// The shape without the axes `k`, if they all have extent one.
fn without_unit_axes(x: Operand, k: Axes) -> Option<Shape> {
    let units = !k.is_empty() && k.iter().all(|&a| is_unit(x.shape()[a]));
    units.then(|| complement(&k, x.rank()).iter().map(|&a| x.shape()[a]).collect())
}

/// The axes of `x` that are reduced if first `j` are, then `k` of those left.
fn both_axes(x: Operand, j: Axes, k: Axes) -> Option<Axes> {
    let left = complement(&j, x.rank());
    let mut axes: Axes = j.iter().copied().chain(k.iter().map(|&a| left[a])).collect();
    axes.sort_unstable();
    Some(axes)
}

/// Which axes of the operand are reduced, and shape and places of its broadcast to the result, for a reduction over `k`
/// of a broadcast to `s` at `p`; none if the reduction is not over a broadcast axis.
fn reduced_broadcast(s: &[Dim], p: Axes, k: Axes) -> Option<(Axes, Shape, Axes)> {
    if k.iter().all(|a| p.contains(a)) || k.iter().any(|&a| s[a].at_least(1) != Some(true)) {
        return None;
    }
    let inner = (0..p.len()).filter(|&i| k.contains(&p[i])).collect();
    let (shape, places) = unreduced_axes(s, &p, &k);
    Some((inner, shape, places))
}

fn unreduced_axes(s: &[Dim], p: &[usize], k: &[usize]) -> (Shape, Axes) {
    let left = complement(k, s.len());
    let places = p.iter().filter_map(|a| left.iter().position(|l| l == a)).collect();
    (left.iter().map(|&a| s[a]).collect(), places)
}

/// How often each element of `x` occurs in a sum, as a number of the type that its own sum has.
fn repetitions(x: Operand, s: &[Dim], p: Axes, k: Axes) -> Option<Constant> {
    let repeated: Axes = k.iter().copied().filter(|a| !p.contains(a)).collect();
    let count = extent_of(s, &repeated).as_const()?;
    let shape = (0..p.len()).filter(|&i| !k.contains(&p[i])).map(|i| x.shape()[i]);
    Some(Constant::filled(&x.ty().with_shape(shape), count as f64))
}

/// Whether the elements of each sum come in the same order without the transposition.
fn keeps_order(f: &str, p: Axes, k: Axes) -> bool {
    keeps_one(f) || k.iter().map(|&a| p[a]).is_sorted()
}

/// The axes to reduce before a transposition instead of `k` after it, and the transposition that remains.
fn reduced_transpose(p: Axes, k: Axes) -> Option<(Axes, Axes)> {
    let mut inner: Axes = k.iter().map(|&a| p[a]).collect();
    inner.sort_unstable();
    let left = complement(&inner, p.len());
    let order = complement(&k, p.len()).iter().filter_map(|&a| left.iter().position(|&l| l == p[a])).collect();
    Some((inner, order))
}

/// The axes of `x` to reduce instead of `k` of its reshape to `s`, and the shape of the result.
fn reduced_reshape(x: Operand, s: &[Dim], k: Axes) -> Option<(Axes, Shape)> {
    let mut inner = Axes::new();
    for (from, to) in reshape_groups(x.shape(), s)? {
        match to.iter().filter(|a| k.contains(a)).count() {
            0 => {}
            n if n == to.len() => inner.extend(from),
            _ => return None,
        }
    }
    (inner.len() != x.rank() || k.len() == s.len()).then_some(())?;
    (!inner.is_empty()).then(|| (inner, complement(&k, s.len()).iter().map(|&a| s[a]).collect()))
}

/// The number that fills `c`, for the result of reducing it over `k`.
fn reduced_number(c: Operand, k: Axes) -> Option<Constant> {
    let literal: Literal = c.uniform()?;
    let shape = complement(&k, c.rank()).into_iter().map(|a| c.shape()[a]);
    Some(Constant::Filled(c.ty().with_shape(shape), literal))
}

/// Shape and places of a broadcast without the axes `k`, none of which its operand has.
fn unreduced(s: &[Dim], p: Axes, k: Axes) -> Option<(Shape, Axes)> {
    let apart = !k.is_empty() && k.iter().all(|a| !p.contains(a));
    apart.then(|| unreduced_axes(s, &p, &k))
}
