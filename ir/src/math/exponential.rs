//! `exp` and what is made of it: `expm1`, `sigmoid`, `tanh`.

use super::format::*;
use crate::scalar::S;
use std::f64::consts::LOG2_E;

/// `ln 2` in two parts; the first has so few bits that its product with an exponent is exact.
pub(super) const LN_2_PARTS: [[f64; 2]; 2] =
    [[0.693_138_122_558_593_8, 9.058_000_614_458_23e-6], [0.693_147_180_369_123_8, 1.908_214_929_270_587_7e-10]];

/// `x = n · ln 2 + rest` with `|rest| ≤ ln 2 / 2`.
struct Reduced<'a> {
    /// `n` plus the magic number.
    shifted: S<'a>,
    n: S<'a>,
    rest: S<'a>,
    /// What the rounding of `rest` took.
    lost: S<'a>,
}

impl<'a> Reduced<'a> {
    fn exp_of_rest(&self) -> S<'a> {
        (self.rest * self.rest).fma(second_order(self.rest), self.rest) + 1.0
    }

    fn expm1_of_rest(&self) -> S<'a> {
        (self.rest * self.rest).fma(second_order(self.rest), self.lost) + self.rest
    }
}

fn reduce(x: S<'_>) -> Reduced<'_> {
    let f = Format::of(x);
    let [high, low] = f.pick(LN_2_PARTS[0], LN_2_PARTS[1]);
    let shifted = x.fma(x.lit(LOG2_E), x.lit(f.magic()));
    let n = shifted - f.magic();
    let exact = n.fma(x.lit(-high), x);
    let rest = n.fma(x.lit(-low), exact);
    Reduced { shifted, n, rest, lost: n.fma(x.lit(-low), exact - rest) }
}

/// `ln 2` for `f32` in two parts; the first has so few bits that its product with an exponent is exact.
pub const LN_2_SINGLE: [f64; 2] = LN_2_PARTS[0];

/// The coefficients, constant first, of the polynomial P for `f32` with `e^r = 1 + r + r² · P(r)` for `|r| ≤ ln 2 / 2`.
pub const EXP_SINGLE: [f64; 6] = [0.5, 0.166_666_66, 0.041_666_36, 0.008_333_39, 0.001_394_066_8, 0.000_198_458_82];

/// P with `e^r - 1 = r + r² · P(r)` for `|r| ≤ ln 2 / 2`: the minimax polynomial of `(e^r - 1 - r) / r²` with weight
/// `r² / (e^r - 1)`: relative errors 2^-32.0 and 2^-61.7.
fn second_order(r: S<'_>) -> S<'_> {
    let p = Format::of(r).pick(
        &EXP_SINGLE[..],
        &[
            0.5,
            0.166_666_666_666_666_77,
            0.041_666_666_666_666_505,
            0.008_333_333_333_321_653,
            0.001_388_888_888_896_260_4,
            0.000_198_412_698_860_735_1,
            2.480_158_717_223_239e-5,
            2.755_724_425_410_634_5e-6,
            2.755_740_277_289_940_6e-7,
            2.510_902_449_782_074e-8,
            2.087_532_988_327_077_3e-9,
        ],
    );
    polynomial(r, p)
}

/// `e^x` for `x` whose result is normal.
pub(super) fn exp_normal(x: S<'_>) -> S<'_> {
    let r = reduce(x);
    r.exp_of_rest() * power_of_two(r.shifted)
}

pub(super) fn exp(x: S<'_>) -> S<'_> {
    let f = Format::of(x);
    // Just outside these the result is 0 or infinite.
    let (lo, hi) = f.pick((-104.0, 89.0), (-746.0, 710.0));
    let r = reduce(x.max(x.lit(lo)).min(x.lit(hi)));
    // Two factors, so that neither overflows and only the last product rounds to a subnormal number.
    let half = r.n.fma(x.lit(0.5), x.lit(f.magic()));
    let other = r.n - (half - f.magic()) + f.magic();
    r.exp_of_rest() * power_of_two(half) * power_of_two(other)
}

/// `e^x - 1` where `|x|` is not tiny, from above -18 (single) or -38 (double).
fn expm1_normal(x: S<'_>) -> S<'_> {
    let r = reduce(x);
    let half_scale = power_of_two(r.shifted - 1.0);
    // 2^n (q + 1) - 1, halved throughout because 2^n may overflow where the result does not.
    let halved = half_scale.fma(r.expm1_of_rest(), half_scale - 0.5);
    halved + halved
}

pub(super) fn expm1(x: S<'_>) -> S<'_> {
    let f = Format::of(x);
    // Below, the result is -1 rounded; above, infinite; when tiny, x.
    let (lo, hi) = f.pick((-18.0, 89.0), (-38.0, 710.0));
    let y = expm1_normal(x.max(x.lit(lo)).min(x.lit(hi)));
    let tiny = x.abs().lt(x.lit(2f64.powi(-2 - f.fraction as i32)));
    tiny.select(x, y)
}

/// From `e^-|x|`, which cannot overflow: `1 / (1 + e^-x)`, or `e^x / (1 + e^x)` for negative `x`.
pub(super) fn sigmoid(x: S<'_>) -> S<'_> {
    let e = exp(-x.abs());
    x.lt(x.lit(0.0)).select(e, x.lit(1.0)) / (e + 1.0)
}

/// `t / (t + 2)` with `t = e^(2|x|) - 1`.
pub(super) fn tanh(x: S<'_>) -> S<'_> {
    let f = Format::of(x);
    let magnitude = x.abs().min(x.lit(f.pick(10.0, 20.0)));
    let t = expm1_normal(magnitude + magnitude);
    // When tiny: x - x³/3 rounds to x.
    let tiny = x.abs().lt(x.lit(2f64.powi(f.pick(-12, -27))));
    tiny.select(x, with_sign(t / (t + 2.0), x))
}
