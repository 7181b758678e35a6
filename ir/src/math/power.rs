//! `pow`.

use super::format::*;
use super::logarithm::split;
use crate::scalar::S;
use std::f64::consts::{LN_2, LOG2_E};

/// An unevaluated sum: `high` is the sum rounded. Dekker 1971, "A floating-point technique for extending the available precision".
#[derive(Clone, Copy)]
struct Pair<'a> {
    high: S<'a>,
    low: S<'a>,
}

/// `a + b` for `|a| ≥ |b|` or `a = 0`.
fn sum_ordered<'a>(a: S<'a>, b: S<'a>) -> Pair<'a> {
    let high = a + b;
    Pair { high, low: b - (high - a) }
}

/// `a · b`; exact where `fma` is fused.
fn product<'a>(a: S<'a>, b: S<'a>) -> Pair<'a> {
    let high = a * b;
    Pair { high, low: a.fma(b, -high) }
}

impl<'a> Pair<'a> {
    fn times(self, other: Pair<'a>) -> Pair<'a> {
        let p = product(self.high, other.high);
        let cross = self.high.fma(other.low, self.low * other.high);
        sum_ordered(p.high, p.low + cross)
    }

    /// The sum with a pair that is smaller.
    fn plus(self, smaller: Pair<'a>) -> Pair<'a> {
        let s = sum_ordered(self.high, smaller.high);
        sum_ordered(s.high, s.low + (self.low + smaller.low))
    }
}

/// A constant as the sum of two numbers of the type.
fn constant<'a>(like: S<'a>, parts: [f64; 2]) -> Pair<'a> {
    Pair { high: like.lit(parts[0]), low: like.lit(parts[1]) }
}

/// `log2(x)` of a positive finite number with about twice the digits of the type.
///
/// With `s = (m - 1) / (m + 1)` for the mantissa m, `ln m = 2s + 2/3 s³ + s⁵ Q(s²)`; only the last term, at most 2^-12.5 of the first,
/// has ordinary precision. Q is the minimax polynomial of the rest of the series: errors 2^-43.5 and 2^-72.6 of the logarithm.
fn log2(x: S<'_>) -> Pair<'_> {
    let f = Format::of(x);
    let q = f.pick(
        &[0.4, 0.285_717_22, 0.221_921_85, 0.193_598_6][..],
        &[
            0.4,
            0.285_714_285_714_325_56,
            0.222_222_222_203_257_52,
            0.181_818_185_577_098_22,
            0.153_845_764_209_468_1,
            0.133_356_246_491_041_22,
            0.116_878_351_025_398_38,
            0.118_882_000_897_030_59,
        ],
    );
    let two_thirds =
        f.pick([0.666_666_686_534_881_6, -1.986_821_551_724_915_5e-8], [0.666_666_666_666_666_6, 3.700_743_415_417_188e-17]);
    let log2_e = f.pick([1.442_695_021_629_333_5, 1.925_963_033_500_011e-8], [LOG2_E, 2.035_527_374_093_103_3e-17]);
    let parts = split(x, true);
    // Both are exact: the mantissa is from √½ to √2, so the sum may need one bit more, which `rest` holds.
    let numerator = parts.mantissa - 1.0;
    let denominator = parts.mantissa + 1.0;
    let rest = parts.mantissa - (denominator - 1.0);
    let quotient = numerator / denominator;
    let remainder = quotient.fma(-denominator, numerator) - quotient * rest;
    let s = Pair { high: quotient, low: remainder / denominator };
    let z = s.times(s);
    let cube = s.times(z);
    let third = cube.times(constant(x, two_thirds));
    let tail = cube.high * z.high * polynomial(z.high, q);
    let twice = Pair { high: s.high + s.high, low: s.low + s.low };
    let natural = twice.plus(third).plus(Pair { high: tail, low: x.lit(0.0) });
    let binary = natural.times(constant(x, log2_e));
    Pair { high: parts.exponent, low: x.lit(0.0) }.plus(binary)
}

/// `2^(high + low)` with 0 and infinity beyond the range.
fn exp2(x: Pair<'_>) -> S<'_> {
    // (2^r - 1) / r for |r| ≤ 1/2; relative errors 2^-34.3 and 2^-64.3.
    let f = Format::of(x.high);
    let p = f.pick(
        &[LN_2, 0.240_226_5, 0.055_504_102, 0.009_618_037, 0.001_333_393_9, 0.000_154_670_08, 1.519_593_1e-5][..],
        &[
            LN_2,
            0.240_226_506_959_100_72,
            0.055_504_108_664_821_69,
            0.009_618_129_107_628_326,
            0.001_333_355_814_639_212,
            0.000_154_035_303_936_449_07,
            1.525_273_385_491_96e-5,
            1.321_548_659_254_581_4e-6,
            1.017_805_167_039_093_2e-7,
            7.054_974_987_543_871e-9,
            4.456_614_449_744_701e-10,
            2.562_520_140_314_561_5e-11,
        ],
    );
    let (lo, hi) = f.pick((-152.0, 130.0), (-1080.0, 1026.0));
    let high = x.high.max(x.high.lit(lo)).min(x.high.lit(hi));
    // Where the high part was cut, the low part may be anything but must not be large.
    let low = x.low.max(x.low.lit(-1.0)).min(x.low.lit(1.0));
    let n = (high + f.magic()) - f.magic();
    let r = (high - n) + low;
    let half = n.fma(n.lit(0.5), n.lit(f.magic()));
    let other = n - (half - f.magic()) + f.magic();
    r.fma(polynomial(r, p), r.lit(1.0)) * power_of_two(half) * power_of_two(other)
}

/// `2^(y · log2 |x|)`, then the cases of IEEE 754: zero, infinite and negative bases, infinite exponents, NaN.
pub(super) fn pow<'a>(x: S<'a>, y: S<'a>) -> S<'a> {
    let f = Format::of(x);
    let [zero, one, infinity, nan] = [0.0, 1.0, f64::INFINITY, f64::NAN].map(|v| x.lit(v));
    let magnitude = x.abs();
    let logarithm = log2(magnitude);
    // So large that the result is 0, 1 or infinite already, and small enough that the product is finite.
    let most = x.lit(f.pick(2f64.powi(100), 2f64.powi(1000)));
    let bounded = y.max(-most).min(most);
    let exponent = product(bounded, logarithm.high);
    let exponent = Pair { high: exponent.high, low: bounded.fma(logarithm.low, exponent.low) };
    let ordinary = exp2(exponent);

    let (at_zero, at_infinity) = (magnitude.equals(zero), magnitude.equals(infinity));
    let grows = at_zero.select(y.lt(zero), y.gt(zero));
    let extreme = (at_zero | at_infinity).select(grows.select(infinity, zero), ordinary);

    let half = y * 0.5;
    let (whole, even) = (y.equals(y.floor()), half.equals(half.floor()));
    let negative = sign_bit(x).differs(f.int(x, 0));
    let flips = negative & whole & !even;
    let signed = flips.select(-extreme, extreme);
    let real = (x.lt(zero) & !at_infinity & !whole).select(nan, signed);
    let number = (x.differs(x) | y.differs(y)).select(nan, real);
    (y.equals(zero) | x.equals(one)).select(one, number)
}
