//! Layer normalisation from its spellings: mean and variance become [`welford`](igneous_ir::ops::welford), what is built
//! from both becomes `layer_norm`, and the scale and shift that follow go into it.

use super::axes::{are_trailing, complement, extent_of};
use crate::egraph::rule::{Axes, Constant, Operand, Rule};
use crate::rule;
use igneous_ir::{DType, Literal};

pub(super) fn rules() -> Vec<Rule> {
    vec![
        rule!("layer-norm/mean" [Reassociate]: sum[k](x) * n => welford[k](x).0; when is_one_over_count(n, x, k);
            on "x: f32[4, 8], k = [1], n: f32[4] = 0.125"),
        rule!("layer-norm/sum-of-squared-differences" [Reassociate]:
            sum[k](square(x - broadcast[(s, p)](welford[k](x).0))) => welford[k](x).1; when are_the_others(x, k, p);
            on "x: f32[4, 8], k = [1], s = [4, 8], p = [0]"),
        rule!("layer-norm/mean-of-squares-minus-square-of-mean" [Reassociate]:
            welford[k](square(x)).0 - square(welford[k](x).0) => welford[k](x).1 * n; let n = one_over_count(x, k);
            on "x: f32[4, 8], k = [1]"),
        rule!("layer-norm/normalised" [Reassociate]:
            (x - broadcast[(s, p)](welford[k](x).0)) * broadcast[(s, p)](rsqrt(welford[k](x).1 * n + e)) => layer_norm[(t, f)](x, w, b).0;
            when is_one_over_count(n, x, k);
            when are_the_others(x, k, p);
            let (t, f) = trailing(x, k, e);
            let (w, b) = neutral(x, k);
            on "x: f32[4, 8], k = [1], s = [4, 8], p = [0], n: f32[4] = 0.125, e: f32[4] = 0.00001",
               "x: f64[4, 2, 4], k = [1, 2], s = [4, 2, 4], p = [0], n: f64[4] = 0.125, e: f64[4] = 0.001"),
        rule!("layer-norm/scale-last" [Reassociate]:
            ((x - m) * g) * broadcast[(s, p)](rsqrt(v)) => ((x - m) * broadcast[(s, p)](rsqrt(v))) * g;
            on "x: f32[4, 8], m: f32[4, 8], g: f32[4, 8], v: f32[4] in 1..2, s = [4, 8], p = [0]"),
        rule!("layer-norm/scale" [Reassociate]:
            layer_norm[(t, f)](x, w, b).0 * broadcast[(s, p)](g) => layer_norm[(t, f)](x, w * g, b).0;
            when is_zero(b);
            when are_features(x, t, p);
            on "x: f32[4, 8], w: f32[8] = 1.0, b: f32[8] = 0.0, g: f32[8], t = 1, f = 0.00001, s = [4, 8], p = [1]"),
        rule!("layer-norm/shift" [Reassociate]:
            layer_norm[(t, f)](x, w, b).0 + broadcast[(s, p)](c) => layer_norm[(t, f)](x, w, b + c).0; when are_features(x, t, p);
            on "x: f32[4, 8], w: f32[8], b: f32[8] = 0.0, c: f32[8], t = 1, f = 0.00001, s = [4, 8], p = [1]"),
    ]
}

/// Whether `n` is filled with one over the number of elements along `k`.
fn is_one_over_count(n: Operand, x: Operand, k: Axes) -> bool {
    let Some(count) = extent_of(x.shape(), &k).as_const().filter(|&n| n > 0) else { return false };
    let wanted = Literal::float(n.dtype(), 1.0 / count as f64).as_f64();
    n.dtype().is_float() && n.uniform().is_some_and(|n| (n.as_f64() - wanted).abs() <= 2.0 * x.dtype().epsilon() * wanted)
}

fn one_over_count(x: Operand, k: Axes) -> Option<Constant> {
    let count = extent_of(x.shape(), &k).as_const().filter(|&n| n > 0)?;
    let shape = complement(&k, x.rank()).into_iter().map(|a| x.shape()[a]);
    Some(Constant::filled(&x.ty().with_shape(shape), 1.0 / count as f64))
}

/// Whether `p` are the axes of `x` that are not in `k`.
fn are_the_others(x: Operand, k: Axes, p: Axes) -> bool {
    p == complement(&k, x.rank())
}

/// The number of trailing axes in `k` and the number that fills `e`.
fn trailing(x: Operand, k: Axes, e: Operand) -> Option<(usize, f64)> {
    let eps = e.uniform()?;
    are_trailing(&k, x.rank()).then(|| (k.len(), decimal(eps)))
}

/// The number a user wrote, from its nearest neighbour in a narrow type: the shortest decimal that rounds to it.
pub(super) fn decimal(literal: Literal) -> f64 {
    match literal.dtype() {
        DType::F64 => literal.as_f64(),
        _ => format!("{:?}", literal.as_f64() as f32).parse().unwrap_or(literal.as_f64()),
    }
}

/// A scale of ones and a shift of zeros over the axes `k`.
fn neutral(x: Operand, k: Axes) -> Option<(Constant, Constant)> {
    let ty = x.ty().with_shape(k.iter().map(|&a| x.shape()[a]));
    Some((Constant::filled(&ty, 1.0), Constant::filled(&ty, 0.0)))
}

fn is_zero(b: Operand) -> bool {
    b.uniform().is_some_and(|b| b.as_f64() == 0.0)
}

/// Whether `p` are the last `t` axes.
fn are_features(x: Operand, t: i64, p: Axes) -> bool {
    p.len() == t as usize && are_trailing(&p, x.rank())
}
