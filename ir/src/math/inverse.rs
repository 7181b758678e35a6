//! The inverse tangent.

use super::format::*;
use crate::scalar::S;

/// `x + x³ · A(x²)` for `|x| ≤ tan π/8`, after `atan x = π/4 + atan((x - 1) / (x + 1))` or, beyond `tan 3π/8`,
/// `atan x = π/2 - atan(1/x)`.
///
/// A is the minimax polynomial of `(atan(x)/x - 1)/x²` for the relative error of `atan`: 2^-30.5 and 2^-64.3.
pub(super) fn atan<'a>(x: S<'a>) -> S<'a> {
    let f = Format::of(x);
    let coefficients = f.pick(
        &[-0.333_333_155_1, 0.199_984_894_4, -0.142_438_487_6, 0.105_960_017_2, -0.060_834_537_93][..],
        &[
            -0.333_333_333_333_333_276,
            0.199_999_999_999_976_934,
            -0.142_857_142_853_910_649,
            0.111_111_110_883_686_851,
            -0.090_909_081_514_291_538_2,
            0.076_922_829_149_759_345_8,
            -0.066_662_290_696_713_445_5,
            0.058_770_444_789_201_214_3,
            -0.052_185_506_322_880_662,
            0.045_041_450_703_504_222_4,
            -0.033_488_347_347_807_546_2,
            0.015_209_284_686_964_865_1,
        ],
    );
    let magnitude = x.abs();
    let (large, medium) = (magnitude.gt(x.lit(2.414_213_562_373_095)), magnitude.gt(x.lit(0.414_213_562_373_095)));
    let choose =
        |if_large: S<'a>, if_medium: S<'a>, otherwise: S<'a>| large.select(if_large, medium.select(if_medium, otherwise));
    let numerator = choose(x.lit(-1.0), magnitude - 1.0, magnitude);
    let denominator = choose(magnitude, magnitude + 1.0, x.lit(1.0));
    let start = choose(x.lit(1.570_796_326_794_896_6), x.lit(0.785_398_163_397_448_3), x.lit(0.0));
    // What the constants lose by being rounded.
    let rest =
        f.pick([-4.371_139_000_186_241e-8, -2.185_569_500_093_120_6e-8], [6.123_233_995_736_766e-17, 3.061_616_997_868_383e-17]);
    let rest = choose(x.lit(rest[0]), x.lit(rest[1]), x.lit(0.0));
    let r = numerator / denominator;
    let square = r * r;
    let tail = (r * square).fma(polynomial(square, coefficients), rest);
    with_sign(start + (r + tail), x)
}
