//! Operators that do nothing, and simpler operators that do the same.

use crate::egraph::rule::{Operand, Rule};
use crate::rule;
use igneous_ir::{DType, Op};

pub(super) fn rules() -> Vec<Rule> {
    vec![
        rule!("identity/neg-neg" [Exact]: -(-x) => x; on "x: f32[3]"),
        rule!("identity/sub-neg" [Exact]: x - -y => x + y; on "x: f32[3], y: f32[3]"),
        rule!("identity/add-neg" [Exact]: x + -y => x - y; on "x: f32[3], y: f32[3]"),
        rule!("identity/mul-neg" [Exact]: x * -y => -(x * y); on "x: f32[3], y: f32[3]"),
        rule!("identity/div-neg" [Exact]: x / -y => -(x / y); when is_float(x); on "x: f32[3], y: f32[3]"),
        rule!("identity/neg-div" [Exact]: -x / y => -(x / y); when is_float(x); on "x: f32[3], y: f32[3]"),
        rule!("identity/neg-sub" [Reassociate]: -(x - y) => y - x; on "x: f32[3], y: f32[3]"),
        rule!("identity/mul-one" [Exact]: x * 1.0 => x; on "x: f32[2, 3]", "x: i64[3]"),
        rule!("identity/mul-minus-one" [Exact]: x * -1.0 => -x; on "x: f32[2, 3]"),
        rule!("identity/div-one" [Exact]: x / 1.0 => x; on "x: f32[2, 3]", "x: i32[3]"),
        rule!("identity/sub-zero" [Exact]: x - 0.0 => x; on "x: f32[3]", "x: i64[3]"),
        rule!("identity/add-minus-zero" [Exact]: x + -0.0 => x; when is_float(x); on "x: f32[3]"),
        rule!("identity/add-zero-integer" [Exact]: x + 0.0 => x; when is_integer(x); on "x: i64[3]"),
        rule!("identity/add-zero" [Reassociate]: x + 0.0 => x; on "x: f32[2, 3]"),
        rule!("identity/zero-sub" [Reassociate]: 0.0 - x => -x; on "x: f32[3]"),
        rule!("identity/mul-zero-integer" [Exact]: x * 0.0 => 0.0; when is_integer(x); on "x: i64[3]"),
        rule!("identity/mul-zero" [Approximate]: x * 0.0 => 0.0; on "x: f32[3]"),
        rule!("identity/zero-div" [Approximate]: 0.0 / x => 0.0; when is_float(x); on "x: f32[3]"),
        rule!("identity/sub-self-integer" [Exact]: x - x => 0.0; when is_integer(x); on "x: i64[3]"),
        rule!("identity/sub-self" [Approximate]: x - x => 0.0; on "x: f32[3]"),
        rule!("identity/div-self" [Approximate]: x / x => 1.0; when is_float(x); on "x: f32[3]"),
        rule!("identity/mul-self" [Exact]: x * x => square(x); on "x: f32[3]", "x: i64[3]"),
        rule!("identity/one-div" [Exact]: 1.0 / x => reciprocal(x); when is_float(x); on "x: f32[3]"),
        rule!("identity/pow-one" [Reassociate]: pow(x, 1.0) => x; when is_float(x); on "x: f32[3]"),
        rule!("identity/idempotent" [Exact]: unary[f](unary[f](x)) => unary[f](x); when is_idempotent(f);
            on "x: f32[5], f = relu", "x: f32[5], f = abs", "x: f32[5], f = floor"),
        rule!("identity/even-neg" [Exact]: unary[f](-x) => unary[f](x); when is_even(f);
            on "x: f32[5], f = abs", "x: f32[5], f = square"),
        rule!("identity/square-abs" [Exact]: square(abs(x)) => square(x); on "x: f32[5]"),
        rule!("identity/abs-square" [Exact]: abs(square(x)) => square(x); on "x: f32[5]"),
        rule!("identity/maximum-self" [Exact]: maximum(x, x) => x; on "x: f32[5]"),
        rule!("identity/minimum-self" [Exact]: minimum(x, x) => x; on "x: f32[5]"),
        rule!("identity/not-not" [Exact]: not(not(x)) => x; on "x: bool[5]"),
        rule!("identity/not-eq" [Exact]: not(eq(x, y)) => ne(x, y); on "x: i64[5] in 0..3, y: i64[5] in 0..3"),
        rule!("identity/not-ne" [Exact]: not(ne(x, y)) => eq(x, y); on "x: i64[5] in 0..3, y: i64[5] in 0..3"),
        rule!("identity/gt-is-lt" [Exact]: gt(x, y) => lt(y, x); on "x: f32[5], y: f32[5]"),
        rule!("identity/ge-is-le" [Exact]: ge(x, y) => le(y, x); on "x: f32[5], y: f32[5]"),
        rule!("identity/and-self" [Exact]: and(x, x) => x; on "x: bool[5]"),
        rule!("identity/or-self" [Exact]: or(x, x) => x; on "x: bool[5]"),
        rule!("identity/and-true" [Exact]: and(x, 1.0) => x; when is_bool(x); on "x: bool[5]"),
        rule!("identity/and-false" [Exact]: and(x, 0.0) => 0.0; when is_bool(x); on "x: bool[5]"),
        rule!("identity/or-true" [Exact]: or(x, 1.0) => 1.0; when is_bool(x); on "x: bool[5]"),
        rule!("identity/or-false" [Exact]: or(x, 0.0) => x; when is_bool(x); on "x: bool[5]"),
        rule!("select/same" [Exact]: select(c, x, x) => x; on "c: bool[4], x: f32[4]"),
        rule!("select/not" [Exact]: select(not(c), x, y) => select(c, y, x); on "c: bool[4], x: f32[4], y: f32[4]"),
        rule!("select/true" [Exact]: select(c, x, y) => x; when is_true(c); on "c: bool[4] = 1, x: f32[4], y: f32[4]"),
        rule!("select/false" [Exact]: select(c, x, y) => y; when is_false(c); on "c: bool[4] = 0, x: f32[4], y: f32[4]"),
        rule!("select/select-then" [Exact]: select(c, select(c, x, y), z) => select(c, x, z);
            on "c: bool[4], x: f32[4], y: f32[4], z: f32[4]"),
        rule!("select/select-else" [Exact]: select(c, x, select(c, y, z)) => select(c, x, z);
            on "c: bool[4], x: f32[4], y: f32[4], z: f32[4]"),
        rule!("select/itself" [Exact]: select(c, x, y) => c; when is_true(x); when is_false(y);
            on "c: bool[4], x: bool[4] = 1, y: bool[4] = 0"),
        rule!("select/its-complement" [Exact]: select(c, x, y) => not(c); when is_false(x); when is_true(y);
            on "c: bool[4], x: bool[4] = 0, y: bool[4] = 1"),
        rule!("select/of-numbers" [Exact]: binary[f](select(c, x, y), z) => select(c, binary[f](x, z), binary[f](y, z));
            when are_numbers(x, y, z);
            on "c: bool[4], x: f32[4] = 1.0, y: f32[4] = 0.0, z: f32[4] = 2.0, f = sub"),
        rule!("select/of-numbers-right" [Exact]: binary[f](z, select(c, x, y)) => select(c, binary[f](z, x), binary[f](z, y));
            when are_numbers(x, y, z);
            on "c: bool[4], x: f32[4] = 1.0, y: f32[4] = 0.0, z: f32[4] = 2.0, f = sub"),
        rule!("cast/same" [Exact]: cast[t](x) => x; when has_dtype(x, t); on "x: f32[3], t = f32"),
        rule!("cast/cast" [Exact]: cast[t](cast[u](x)) => cast[t](x); when is_lossless(x, u);
            on "x: f32[3], u = f64, t = f32", "x: bool[3], u = i64, t = f32", "x: f16[3], u = f32, t = f64"),
        rule!("cast/bitcast" [Exact]: bitcast[t](bitcast[u](x)) => bitcast[t](x); on "x: f32[3], u = i32, t = f32"),
    ]
}

fn are_numbers(x: Operand, y: Operand, z: Operand) -> bool {
    [x, y, z].iter().all(|x| x.uniform().is_some())
}

pub(super) fn is_float(x: Operand) -> bool {
    x.dtype().is_float()
}

pub(super) fn is_integer(x: Operand) -> bool {
    x.dtype().is_int()
}

fn is_bool(x: Operand) -> bool {
    x.dtype() == DType::Bool
}

fn is_true(c: Operand) -> bool {
    c.uniform().is_some_and(|c| c.as_i64() == 1)
}

fn is_false(c: Operand) -> bool {
    c.uniform().is_some_and(|c| c.as_i64() == 0)
}

fn has_dtype(x: Operand, t: DType) -> bool {
    x.dtype() == t
}

fn is_idempotent(f: &Op) -> bool {
    matches!(f.name(), "abs" | "sign" | "relu" | "floor" | "ceil" | "round" | "trunc")
}

fn is_even(f: &Op) -> bool {
    matches!(f.name(), "abs" | "square" | "cos" | "isnan" | "isfinite")
}

/// Whether every value of `x`'s type is one of `u`, so that a further cast sees the same number.
fn is_lossless(x: Operand, u: DType) -> bool {
    let significand = |d: DType| match d {
        DType::F64 => 53,
        DType::F32 => 24,
        DType::F16 => 11,
        DType::BF16 => 8,
        DType::I64 => 63,
        DType::I32 => 31,
        DType::U32 => 32,
        DType::U8 => 8,
        DType::I8 => 7,
        DType::Bool => 1,
    };
    let exponent = |d: DType| match d {
        DType::F64 => 11,
        DType::F32 | DType::BF16 => 8,
        DType::F16 => 5,
        _ => 0,
    };
    let from = x.dtype();
    let wide = significand(u) >= significand(from);
    match (from.is_float(), u.is_float()) {
        (true, true) => wide && exponent(u) >= exponent(from),
        (true, false) => false,
        (false, _) if u == from => true,
        (false, true) => wide,
        (false, false) => wide && u != DType::Bool && (u.is_signed_int() || !from.is_signed_int()),
    }
}
