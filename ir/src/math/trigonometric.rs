//! `sin` and `cos`.

use super::format::*;
use crate::scalar::S;
use crate::types::DType;
use std::f64::consts::FRAC_2_PI;

/// The largest magnitude that `sin` and `cos` take; beyond it they give NaN. Neighbouring `f32` are half a unit apart there.
pub fn trigonometric_limit(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 2f64.powi(50),
        _ => 2f64.powi(22),
    }
}

/// π/2 in four parts. The products of the first two with any quotient (single: up to 2^13 without fused `fma`) are
/// exact, and so are the differences from the argument. Cody and Waite 1980, "Software manual for the elementary functions".
const FRAC_PI_2: [[f64; 4]; 2] = [
    [1.570_312_5, 0.000_483_751_296_997_070_3, 7.549_789_415_861_596e-8, 5.390_302_529_957_765e-15],
    [1.570_796_326_734_125_6, 6.077_100_506_303_966e-11, 2.022_266_248_795_950_6e-21, 1.008_585_403_587_248_1e-37],
];

/// Sine and cosine of `|x|` less the nearest multiple of π/2, and the number of that multiple in the low bits.
struct Quadrant<'a> {
    sin: S<'a>,
    cos: S<'a>,
    number: S<'a>,
}

fn quadrant(x: S<'_>) -> Quadrant<'_> {
    let f = Format::of(x);
    let shifted = x.fma(x.lit(FRAC_2_PI), x.lit(f.magic()));
    let k = shifted - f.magic();
    let r = f.pick(FRAC_PI_2[0], FRAC_PI_2[1]).iter().fold(x, |rest, &part| k.fma(x.lit(-part), rest));
    // Minimax polynomials of (sin(r)/r - 1)/r² and (cos(r) - 1 + r²/2)/r⁴ in z = r², for r up to π/4:
    // relative errors 2^-37.4 and 2^-43.0, and 2^-57.8 and 2^-64.0.
    let sine = f.pick(
        &[-0.166_666_67, 0.008_333_329, -0.000_198_392_58, 2.717_568_1e-6][..],
        &[
            -0.166_666_666_666_666_66,
            0.008_333_333_333_333_321,
            -0.000_198_412_698_412_536_08,
            2.755_731_921_342_410_3e-6,
            -2.505_210_470_978_025e-8,
            1.605_834_066_629_801_6e-10,
            -7.577_399_744_986_812e-13,
        ],
    );
    let cosine = f.pick(
        &[0.041_666_668, -0.001_388_888_3, 2.479_943_8e-5, -2.720_334e-7][..],
        &[
            0.041_666_666_666_666_59,
            -0.001_388_888_888_887_260_7,
            2.480_158_728_849_675_3e-5,
            -2.755_731_405_796_392_4e-7,
            2.087_568_207_288_122e-9,
            -1.135_745_887_924_870_1e-11,
        ],
    );
    let z = r * r;
    let sin = (r * z).fma(polynomial(z, sine), r);
    let cos = (z * z).fma(polynomial(z, cosine), z.fma(z.lit(-0.5), z.lit(1.0)));
    Quadrant { sin, cos, number: shifted.bitcast(f.int) }
}

/// `even` or `odd` by the parity of the quadrant's number.
fn by_parity<'a>(number: S<'a>, even: S<'a>, odd: S<'a>) -> S<'a> {
    let f = Format::of(even);
    (number & f.int(even, 1)).differs(f.int(even, 0)).select(odd, even)
}

/// `value` negated where bit 1 of `number` is set.
fn negate_in_second_half<'a>(value: S<'a>, number: S<'a>) -> S<'a> {
    let f = Format::of(value);
    let width = f.fraction + f.pick(9, 12);
    let sign = (number << f.int(value, width - 2)) & f.int(value, -1i64 << (width - 1));
    (value.bitcast(f.int) ^ sign).bitcast(value.dtype())
}

fn within_limit<'a>(y: S<'a>, magnitude: S<'a>) -> S<'a> {
    let limit = magnitude.lit(trigonometric_limit(y.dtype()));
    magnitude.le(limit).select(y, y.lit(f64::NAN))
}

pub(super) fn sin(x: S<'_>) -> S<'_> {
    let (f, magnitude) = (Format::of(x), x.abs());
    let q = quadrant(magnitude);
    let y = negate_in_second_half(by_parity(q.number, q.sin, q.cos), q.number);
    let signed = (y.bitcast(f.int) ^ sign_bit(x)).bitcast(x.dtype());
    within_limit(signed, magnitude)
}

pub(super) fn cos(x: S<'_>) -> S<'_> {
    let (f, magnitude) = (Format::of(x), x.abs());
    let q = quadrant(magnitude);
    let y = negate_in_second_half(by_parity(q.number, q.cos, q.sin), q.number + f.int(x, 1));
    within_limit(y, magnitude)
}
