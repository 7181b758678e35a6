//! `log` and `log1p`.

use super::exponential::LN_2_PARTS;
use super::format::*;
use crate::scalar::S;

/// `x = 2^exponent · mantissa` with the mantissa from √½ to √2.
pub(super) struct Split<'a> {
    pub exponent: S<'a>,
    pub mantissa: S<'a>,
}

/// Splits a positive number; a subnormal one only if `subnormal`.
pub(super) fn split(x: S<'_>, subnormal: bool) -> Split<'_> {
    let f = Format::of(x);
    let least = x.lit(2f64.powi(1 - f.bias as i32));
    let digits = (f.fraction + 1) as i32;
    let (normal, correction) = if subnormal {
        let small = x.lt(least);
        (small.select(x * 2f64.powi(digits), x), small.select(x.lit(-f64::from(digits)), x.lit(0.0)))
    } else {
        (x, x.lit(0.0))
    };
    let root_half = f.pick(0x3f35_04f3, 0x3fe6_a09e_667f_3bcd);
    // Counting from √½, the exponent field is the exponent; the bias keeps it positive, for the shift.
    let offset = normal.bitcast(f.int) + f.int(x, (f.bias << f.fraction) - root_half);
    let biased = offset >> f.int(x, f.fraction);
    let exponent = (biased + f.int(x, f.magic_bits())).bitcast(x.dtype()) - (f.magic() + f.bias as f64);
    let fraction = offset & f.int(x, (1 << f.fraction) - 1);
    let mantissa = (fraction + f.int(x, root_half)).bitcast(x.dtype());
    Split { exponent: if subnormal { exponent + correction } else { exponent }, mantissa }
}

/// `ln(2^exponent · mantissa) + correction`, the correction tiny. With `f = mantissa - 1` and `s = f / (2 + f)`,
/// `ln(1 + f) = 2s + s · z · R(z) = f - (f²/2 - s (f²/2 + z R(z)))` where `z = s²` (as in Sun's fdlibm). R is the minimax
/// polynomial of `(ln((1+s)/(1-s)) - 2s) / s³` for the relative error of the logarithm: 2^-37.3 and 2^-59.1.
fn log_of_split<'a>(x: Split<'a>, correction: Option<S<'a>>) -> S<'a> {
    let format = Format::of(x.mantissa);
    let r = format.pick(
        &[0.666_666_7, 0.400_002_63, 0.285_410_26, 0.235_215_78][..],
        &[
            0.666_666_666_666_668_3,
            0.399_999_999_996_872_6,
            0.285_714_286_908_734_5,
            0.222_222_032_362_240_53,
            0.181_833_454_307_261_44,
            0.153_191_919_741_886_73,
            0.147_481_611_733_374_57,
        ],
    );
    let [high, low] = format.pick(LN_2_PARTS[0], LN_2_PARTS[1]);
    let f = x.mantissa - 1.0;
    let s = f / (f + 2.0);
    let z = s * s;
    let half_square = f * f * 0.5;
    let bracket = half_square + z * polynomial(z, r);
    let low = x.exponent * low;
    let small = s.fma(bracket, correction.map_or(low, |c| low + c));
    x.exponent.fma(f.lit(high), f - (half_square - small))
}

/// `y`, the logarithm of `x`, or what it is where `x` is not positive and finite.
fn with_limits<'a>(y: S<'a>, x: S<'a>) -> S<'a> {
    let [zero, infinity] = [0.0, f64::INFINITY].map(|v| x.lit(v));
    let otherwise = x.lt(zero).select(x.lit(f64::NAN), x);
    let limit = x.equals(zero).select(-infinity, otherwise);
    (x.gt(zero) & x.lt(infinity)).select(y, limit)
}

pub(super) fn log(x: S<'_>) -> S<'_> {
    with_limits(log_of_split(split(x, true), None), x)
}

/// `ln u` for `u = 1 + x` rounded, and `(1 + x - u) / u` for what the rounding took.
pub(super) fn log1p(x: S<'_>) -> S<'_> {
    let f = Format::of(x);
    let u = x + 1.0;
    let lost = x.gt(x.lit(1.0)).select(1.0 - (u - x), x - (u - 1.0));
    let y = with_limits(log_of_split(split(u, false), Some(lost / u)), u);
    let tiny = x.abs().lt(x.lit(2f64.powi(-2 - f.fraction as i32)));
    tiny.select(x, y)
}
