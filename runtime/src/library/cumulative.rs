//! Operations along an axis whose results depend on all elements before.

use super::{Arguments, Lines, no_type};
use crate::buffer::Element;
use igneous_ir::error::Result;
use igneous_ir::types::DType;

/// `cumulative`: sums, products, log-sum-exps, or places of extrema of the elements so far.
pub(super) fn cumulative(a: &mut Arguments) -> Result<()> {
    let dtype = a.layout(0).dtype;
    match (a.op.choice("kind"), dtype) {
        ("sum", DType::F64) => floats::<f64>(a, 0.0, |s, x| s + x),
        ("sum", dtype) if dtype.is_float() => wide(a, 0.0, |s, x| s + x),
        ("prod", DType::F64) => floats::<f64>(a, 1.0, |p, x| p * x),
        ("prod", dtype) if dtype.is_float() => wide(a, 1.0, |p, x| p * x),
        ("logsumexp", _) => wide(a, f64::NEG_INFINITY, log_add_exp),
        ("sum", DType::I64) => floats::<i64>(a, 0, i64::wrapping_add),
        ("sum", DType::I32) => floats::<i32>(a, 0, i32::wrapping_add),
        ("sum", DType::U8) => floats::<u8>(a, 0, u8::wrapping_add),
        ("prod", DType::I64) => floats::<i64>(a, 1, i64::wrapping_mul),
        ("prod", DType::I32) => floats::<i32>(a, 1, i32::wrapping_mul),
        ("prod", DType::U8) => floats::<u8>(a, 1, u8::wrapping_mul),
        (_, DType::F64) => places::<f64>(a),
        (_, DType::F32) => places::<f32>(a),
        (_, DType::F16) => places::<half::f16>(a),
        (_, DType::BF16) => places::<half::bf16>(a),
        (_, DType::I64) => places::<i64>(a),
        (_, DType::I32) => places::<i32>(a),
        (_, DType::U8) => places::<u8>(a),
        (_, other) => Err(no_type(a.op, other)),
    }
}

/// `log(e^a + e^b)` without overflow.
fn log_add_exp(a: f64, b: f64) -> f64 {
    let (small, large) = if a < b { (a, b) } else { (b, a) };
    if large.is_infinite() && large == a.max(b) && !small.is_nan() { large } else { large + (small - large).exp().ln_1p() }
}

/// Runs `step` over each line, from `start` on, in the direction that the operator says.
fn floats<T: Element>(a: &mut Arguments, start: T, step: impl Fn(T, T) -> T) -> Result<()> {
    let lines = Lines::new(&a.layout(0).shape, a.op.int("axis") as usize);
    let reverse = a.op.bool("reverse");
    let x = a.operand::<T>(0)?.to_vec();
    let y = a.result::<T>(0)?;
    for line in 0..lines.count {
        let mut so_far = start;
        let mut visit = |p: usize| {
            so_far = step(so_far, x[p]);
            y[p] = so_far;
        };
        if reverse { lines.places(line).rev().for_each(&mut visit) } else { lines.places(line).for_each(&mut visit) }
    }
    Ok(())
}

/// The same in double precision, rounded to the result's type.
fn wide(a: &mut Arguments, start: f64, step: impl Fn(f64, f64) -> f64) -> Result<()> {
    let lines = Lines::new(&a.layout(0).shape, a.op.int("axis") as usize);
    let reverse = a.op.bool("reverse");
    let mut x = a.floats(0)?;
    for line in 0..lines.count {
        let mut so_far = start;
        let mut visit = |p: usize| {
            so_far = step(so_far, x[p]);
            x[p] = so_far;
        };
        if reverse { lines.places(line).rev().for_each(&mut visit) } else { lines.places(line).for_each(&mut visit) }
    }
    a.set_floats(0, &x)
}

/// The place of the last extremum so far; the last NaN counts as one.
fn places<T: Element + PartialOrd>(a: &mut Arguments) -> Result<()> {
    let lines = Lines::new(&a.layout(0).shape, a.op.int("axis") as usize);
    let (reverse, largest) = (a.op.bool("reverse"), a.op.choice("kind") == "argmax");
    let x = a.operand::<T>(0)?.to_vec();
    let y = a.result::<i64>(0)?;
    #[allow(clippy::eq_op)]
    let is_nan = |x: T| x != x;
    for line in 0..lines.count {
        let mut best: Option<(T, i64)> = None;
        let mut visit = |(k, p): (i64, usize)| {
            let replaces = best.is_none_or(|(b, _)| is_nan(x[p]) || (!is_nan(b) && if largest { x[p] >= b } else { x[p] <= b }));
            if replaces {
                best = Some((x[p], k));
            }
            y[p] = best.map_or(0, |b| b.1);
        };
        let numbered: Vec<(i64, usize)> = (0..).zip(lines.places(line)).collect();
        if reverse { numbered.into_iter().rev().for_each(&mut visit) } else { numbered.into_iter().for_each(&mut visit) }
    }
    Ok(())
}

/// `recurrence`: `h = b + a · h` along each line, from 0 on.
pub(super) fn recurrence(a: &mut Arguments) -> Result<()> {
    let lines = Lines::new(&a.layout(0).shape, a.op.int("axis") as usize);
    let reverse = a.op.bool("reverse");
    let (factor, mut state) = (a.floats(0)?, a.floats(1)?);
    for line in 0..lines.count {
        let mut before = None;
        let mut visit = |p: usize| {
            state[p] += before.map_or(0.0, |h: f64| factor[p] * h);
            before = Some(state[p]);
        };
        if reverse { lines.places(line).rev().for_each(&mut visit) } else { lines.places(line).for_each(&mut visit) }
    }
    a.set_floats(0, &state)
}
