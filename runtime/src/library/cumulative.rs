//! Operations along an axis whose results depend on all elements before.

use super::lines::{GROUP, Lines, Written};
use super::{Arguments, no_type};
use crate::buffer::Element;
use half::{bf16, f16};
use igneous_ir::error::Result;
use igneous_ir::types::DType;

/// `cumulative`: sums, products, log-sum-exps, or places of extrema of the elements so far.
pub(super) fn cumulative(a: &mut Arguments) -> Result<()> {
    let dtype = a.layout(0).dtype;
    match (a.op.choice("kind"), dtype) {
        ("sum", dtype) if dtype.is_float() => floats(a, 0.0, |s, x| s + x),
        ("prod", dtype) if dtype.is_float() => floats(a, 1.0, |p, x| p * x),
        ("logsumexp", _) => floats(a, f64::NEG_INFINITY, log_add_exp),
        ("sum", DType::I64) => of::<i64, _>(a, 0, i64::wrapping_add, |x| x),
        ("sum", DType::I32) => of::<i32, _>(a, 0, i32::wrapping_add, |x| x),
        ("sum", DType::U8) => of::<u8, _>(a, 0, u8::wrapping_add, |x| x),
        ("sum", DType::I8) => of::<i8, _>(a, 0, i8::wrapping_add, |x| x),
        ("prod", DType::I64) => of::<i64, _>(a, 1, i64::wrapping_mul, |x| x),
        ("prod", DType::I32) => of::<i32, _>(a, 1, i32::wrapping_mul, |x| x),
        ("prod", DType::U8) => of::<u8, _>(a, 1, u8::wrapping_mul, |x| x),
        ("prod", DType::I8) => of::<i8, _>(a, 1, i8::wrapping_mul, |x| x),
        (_, DType::F64) => places::<f64>(a),
        (_, DType::F32) => places::<f32>(a),
        (_, DType::F16) => places::<f16>(a),
        (_, DType::BF16) => places::<bf16>(a),
        (_, DType::I64) => places::<i64>(a),
        (_, DType::I32) => places::<i32>(a),
        (_, DType::U8) => places::<u8>(a),
        (_, DType::I8) => places::<i8>(a),
        (_, other) => Err(no_type(a.op, other)),
    }
}

/// `log(e^a + e^b)` without overflow.
fn log_add_exp(a: f64, b: f64) -> f64 {
    let (small, large) = if a < b { (a, b) } else { (b, a) };
    if large.is_infinite() && large == a.max(b) && !small.is_nan() { large } else { large + (small - large).exp().ln_1p() }
}

/// Runs `step` over each line, from `start` on: it is given what was so far, the index in the line and the position. What
/// `rounded` makes of that is the element of `y`.
fn scan<T: Element, S: Copy + Sync>(
    (lines, reverse): (Lines, bool),
    y: &mut [T],
    start: S,
    step: impl Fn(S, usize, usize) -> S + Sync,
    rounded: impl Fn(S) -> T + Sync,
) {
    let y = Written::new(y);
    let run = |firsts: &[usize], states: &mut [S]| {
        for turn in 0..lines.length {
            let k = if reverse { lines.length - 1 - turn } else { turn };
            for (state, first) in states.iter_mut().zip(firsts) {
                let position = first + k * lines.stride;
                *state = step(*state, k, position);
                // SAFETY: the lines of a task are no other's.
                unsafe { y.set(position, rounded(*state)) };
            }
        }
    };
    lines.share(|range| {
        // The steps of one line wait for each other, those of several lines do not. Lines that lie side by side share what is
        // loaded; more than two others might displace each other from the cache.
        let mut line = range.start;
        while line < range.end {
            let group: [usize; GROUP] = std::array::from_fn(|i| lines.first((line + i).min(range.end - 1)));
            line += match (range.end - line, lines.stride) {
                (2.., 1) => {
                    run(&[group[0], group[1]], &mut [start; 2]);
                    2
                }
                (GROUP.., 2..) => {
                    run(&group, &mut [start; GROUP]);
                    GROUP
                }
                _ => {
                    run(&group[..1], &mut [start]);
                    1
                }
            };
        }
    });
}

/// The lines that the operator names, and whether it goes backwards.
fn lines(a: &Arguments) -> (Lines, bool) {
    (Lines::new(&a.layout(0).shape, a.op.int("axis") as usize), a.op.bool("reverse"))
}

/// Combines elements as numbers of type `S`.
fn of<T: Element + Into<S>, S: Copy + Send + Sync>(
    a: &mut Arguments,
    start: S,
    step: impl Fn(S, S) -> S + Sync,
    rounded: impl Fn(S) -> T + Sync,
) -> Result<()> {
    let lines = lines(a);
    let (x, y) = a.operand_and_result::<T, T>(0, 0)?;
    scan(lines, y, start, |so_far, _, p| step(so_far, x[p].into()), rounded);
    Ok(())
}

/// The same in double precision, rounded to the result's type.
fn floats(a: &mut Arguments, start: f64, step: impl Fn(f64, f64) -> f64 + Sync) -> Result<()> {
    match a.layout(0).dtype {
        DType::F64 => of::<f64, f64>(a, start, step, |s| s),
        DType::F32 => of::<f32, f64>(a, start, step, |s| s as f32),
        DType::F16 => of::<f16, f64>(a, start, step, f16_of),
        DType::BF16 => of::<bf16, f64>(a, start, step, bf16_of),
        other => Err(no_type(a.op, other)),
    }
}

// The conversions to half types round twice, so they are given what they have to keep.

fn f16_of(x: f64) -> f16 {
    f16::from_f64(DType::F16.round(x))
}

fn bf16_of(x: f64) -> bf16 {
    bf16::from_f64(DType::BF16.round(x))
}

/// The place of the last extremum so far; the last NaN counts as one.
fn places<T: Element + PartialOrd>(a: &mut Arguments) -> Result<()> {
    let (lines, largest) = (lines(a), a.op.choice("kind") == "argmax");
    let (x, y) = a.operand_and_result::<T, i64>(0, 0)?;
    #[allow(clippy::eq_op)]
    let is_nan = |x: T| x != x;
    let replaces = |best: T, x: T| is_nan(x) || !is_nan(best) && if largest { x >= best } else { x <= best };
    let step = |best: Option<(T, i64)>, k: usize, p: usize| match best {
        Some((b, _)) if !replaces(b, x[p]) => best,
        _ => Some((x[p], k as i64)),
    };
    scan(lines, y, None, step, |best| best.map_or(0, |(_, k)| k));
    Ok(())
}

/// `recurrence`: `h = b + a · h` along each line, from 0 on.
pub(super) fn recurrence(a: &mut Arguments) -> Result<()> {
    match a.layout(0).dtype {
        DType::F64 => recurrence_of::<f64>(a, |h| h),
        DType::F32 => recurrence_of::<f32>(a, |h| h as f32),
        DType::F16 => recurrence_of::<f16>(a, f16_of),
        DType::BF16 => recurrence_of::<bf16>(a, bf16_of),
        other => Err(no_type(a.op, other)),
    }
}

fn recurrence_of<T: Element + Into<f64>>(a: &mut Arguments, rounded: impl Fn(f64) -> T + Sync) -> Result<()> {
    let lines = lines(a);
    let b = a.operand::<T>(1)?.to_vec();
    let (factor, y) = a.operand_and_result::<T, T>(0, 0)?;
    // The factor of the first step is not used, be it NaN.
    let step = |before: Option<f64>, _: usize, p: usize| Some(b[p].into() + before.map_or(0.0, |h| factor[p].into() * h));
    scan(lines, y, None, step, |h| rounded(h.unwrap_or_default()));
    Ok(())
}
