//! The layout of floating-point numbers, and what is made from it: powers of two, signs, rounding.

use crate::scalar::S;
use crate::types::DType;

/// A number with the facts about its format.
#[derive(Clone, Copy)]
pub(super) struct Format {
    /// Whether this is `f64`; else it is `f32`.
    pub double: bool,
    /// The integer type of the same width.
    pub int: DType,
    /// Bits of the fraction.
    pub fraction: i64,
    /// The exponent field of 1.
    pub bias: i64,
}

impl Format {
    pub fn of(x: S<'_>) -> Format {
        match x.dtype() {
            DType::F64 => Format { double: true, int: DType::I64, fraction: 52, bias: 1023 },
            _ => Format { double: false, int: DType::I32, fraction: 23, bias: 127 },
        }
    }

    /// One of two constants.
    pub fn pick<T>(self, single: T, double: T) -> T {
        if self.double { double } else { single }
    }

    /// `1.5 · 2^fraction`: a number of about this size has units as its last bit, and its low bits are an integer.
    pub fn magic(self) -> f64 {
        1.5 * 2f64.powi(self.fraction as i32)
    }

    /// The bits of [`Format::magic`] as an integer.
    pub fn magic_bits(self) -> i64 {
        ((self.bias + self.fraction) << self.fraction) | (1 << (self.fraction - 1))
    }

    /// An integer constant of the format's width.
    pub fn int<'a>(self, like: S<'a>, value: i64) -> S<'a> {
        S::int(like.exprs, self.int, value)
    }
}

/// `Σ coefficients[k] · x^k`, by Horner's rule.
pub(super) fn polynomial<'a>(x: S<'a>, coefficients: &[f64]) -> S<'a> {
    let (last, rest) = coefficients.split_last().expect("a polynomial has a coefficient");
    rest.iter().rev().fold(x.lit(*last), |sum, &c| sum.fma(x, x.lit(c)))
}

/// `2^n` from `n + magic`, for `n` from the least normal exponent to the largest.
pub(super) fn power_of_two(shifted: S<'_>) -> S<'_> {
    let f = Format::of(shifted);
    // The magic number's own bits leave by the top.
    let exponent = shifted.bitcast(f.int) + f.int(shifted, f.bias);
    (exponent << f.int(shifted, f.fraction)).bitcast(shifted.dtype())
}

/// The sign bit alone, as an integer.
pub(super) fn sign_bit(x: S<'_>) -> S<'_> {
    let f = Format::of(x);
    let mask = -1i64 << (f.fraction + f.pick(8, 11));
    x.bitcast(f.int) & f.int(x, mask)
}

/// `magnitude`, which is not negative, with the sign of `x`.
pub(super) fn with_sign<'a>(magnitude: S<'a>, x: S<'a>) -> S<'a> {
    (magnitude.bitcast(Format::of(x).int) | sign_bit(x)).bitcast(x.dtype())
}
