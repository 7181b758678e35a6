//! Constant factors gathered outside, and powers and quotients in one form: what other rules rely on.

use super::identities::is_float;
use crate::egraph::rule::{Constant, Operand, Rule};
use crate::rule;
use igneous_ir::Literal;

pub(super) fn rules() -> Vec<Rule> {
    vec![
        rule!("factor/out" [Reassociate]: (x * c) * y => (x * y) * c; when is_only_constant(c, x, y);
            on "x: f32[3], y: f32[3], c: f32[3] = 0.5"),
        rule!("factor/out-of-quotient" [Reassociate]: (x * c) / y => (x / y) * c; when is_only_constant(c, x, y);
            on "x: f32[3], y: f32[3] in 1..2, c: f32[3] = 0.5"),
        rule!("factor/out-of-divisor" [Reassociate]: x / (y * c) => (x / y) * d; when is_only_constant(c, x, y); let d = reciprocal(c);
            on "x: f32[3], y: f32[3] in 1..2, c: f32[3] = 0.5"),
        rule!("factor/out-of-square" [Reassociate]: square(x * c) => square(x) * d; let d = squared(c, x);
            on "x: f32[3], c: f32[3] = 3.0"),
        rule!("factor/product" [Reassociate]: (x * c) * d => x * (c * d); when are_constants(c, d);
            on "x: f32[3], c: f32[3] = 0.5, d: f32[3] = 3.0"),
        rule!("factor/sum" [Reassociate]: (x + c) + d => x + (c + d); when are_constants(c, d);
            on "x: f32[3], c: f32[3] = 0.5, d: f32[3] = 3.0"),
        rule!("factor/neg" [Exact]: -(x * c) => x * d; let d = negated(c); on "x: f32[3], c: f32[3] = 0.5"),
        rule!("factor/by-power-of-two" [Exact]: x / c => x * d; let d = exact_reciprocal(c); on "x: f32[3], c: f32[3] = 4.0"),
        rule!("factor/by-constant" [Reassociate]: x / c => x * d; let d = reciprocal(c); on "x: f32[3], c: f32[3] = 3.0"),
        rule!("factor/by-reciprocal" [Reassociate]: x * reciprocal(y) => x / y; on "x: f32[3], y: f32[3] in 1..2"),
        rule!("factor/by-broadcast-reciprocal" [Reassociate]:
            x * broadcast[(s, p)](reciprocal(y)) => x / broadcast[(s, p)](y);
            on "x: f32[2, 3], y: f32[2] in 1..2, s = [2, 3], p = [0]"),
        rule!("factor/by-sqrt" [Reassociate]: x / sqrt(y) => x * rsqrt(y); on "x: f32[3], y: f32[3] in 1..2"),
        rule!("factor/by-broadcast-sqrt" [Reassociate]: x / broadcast[(s, p)](sqrt(y)) => x * broadcast[(s, p)](rsqrt(y));
            on "x: f32[2, 3], y: f32[2] in 1..2, s = [2, 3], p = [0]"),
        rule!("factor/reciprocal-sqrt" [Reassociate]: reciprocal(sqrt(x)) => rsqrt(x); on "x: f32[3] in 1..2"),
        rule!("factor/sqrt-reciprocal" [Reassociate]: sqrt(reciprocal(x)) => rsqrt(x); on "x: f32[3] in 1..2"),
        rule!("power/square" [Reassociate]: pow(x, 2.0) => square(x); when is_float(x); on "x: f32[3]"),
        rule!("power/cube" [Reassociate]: pow(x, 3.0) => square(x) * x; when is_float(x); on "x: f32[3]"),
        rule!("power/minus-one" [Reassociate]: pow(x, -1.0) => reciprocal(x); when is_float(x); on "x: f32[3] in 1..2"),
        rule!("power/log1p" [Reassociate]: log(x + 1.0) => log1p(x); on "x: f32[3] in 0..2"),
        rule!("power/expm1" [Reassociate]: exp(x) - 1.0 => expm1(x); on "x: f32[3]"),
    ]
}

fn is_constant(c: Operand) -> bool {
    c.uniform().is_some() && is_float(c)
}

fn is_only_constant(c: Operand, x: Operand, y: Operand) -> bool {
    is_constant(c) && x.known().is_none() && y.known().is_none()
}

fn are_constants(c: Operand, d: Operand) -> bool {
    is_constant(c) && is_constant(d)
}

fn changed(c: Operand, change: impl Fn(f64) -> f64) -> Option<Constant> {
    let old = c.uniform().filter(|_| is_float(c))?.as_f64();
    let new = Literal::float(c.dtype(), change(old));
    (old.is_finite() && new.as_f64().is_finite() && new.as_f64() != 0.0).then(|| Constant::Filled(c.ty().clone(), new))
}

fn squared(c: Operand, x: Operand) -> Option<Constant> {
    if x.known().is_none() { changed(c, |c| c * c) } else { None }
}

fn negated(c: Operand) -> Option<Constant> {
    changed(c, |c| -c)
}

fn reciprocal(c: Operand) -> Option<Constant> {
    changed(c, f64::recip)
}

fn exact_reciprocal(c: Operand) -> Option<Constant> {
    let value = c.uniform()?.as_f64();
    let inverse = Literal::float(c.dtype(), value.recip()).as_f64();
    if inverse.is_normal() && value.is_normal() && value.to_bits() << 12 == 0 { reciprocal(c) } else { None }
}
