//! Functions of real numbers.

use super::*;
use crate::math::trigonometric_limit;
use std::f64::consts::{FRAC_2_SQRT_PI, FRAC_PI_2, LN_2, LN_10, LOG2_E, LOG10_E, PI};

pointwise! { MATH;
    /// `e^x`
    EXP exp(x) float {
        kernel: x.exp(),
        float: x.exp(),
        vjp: y, dy => [dy * y],
        flops: 12,
    }

    /// Natural logarithm.
    LOG log(x) float {
        kernel: x.log(),
        float: x.ln(),
        vjp: y, dy => [dy / x],
        domain: [Fill::Uniform(0.1, 4.0)],
        flops: 16,
    }

    /// `log(1 + x)`
    LOG1P log1p(x) float {
        kernel: x.log1p(),
        float: libm::log1p(x),
        vjp: y, dy => [dy / (x + 1.0)],
        domain: [Fill::Uniform(-0.8, 4.0)],
        flops: 20,
    }

    /// `e^x - 1`
    EXPM1 expm1(x) float {
        kernel: x.expm1(),
        float: libm::expm1(x),
        vjp: y, dy => [dy * (y + 1.0)],
        flops: 16,
    }

    /// Sine of radians; NaN beyond [`trigonometric_limit`].
    SIN sin(x) float {
        kernel: x.sin(),
        float: libm::sin(x),
        limit: trigonometric_limit,
        vjp: y, dy => [dy * x.pointwise("cos")],
        flops: 20,
    }

    /// Cosine of radians; NaN beyond [`trigonometric_limit`].
    COS cos(x) float {
        kernel: x.cos(),
        float: libm::cos(x),
        limit: trigonometric_limit,
        vjp: y, dy => [-(dy * x.pointwise("sin"))],
        flops: 20,
    }

    /// Hyperbolic tangent.
    TANH tanh(x) float {
        kernel: x.tanh(),
        float: libm::tanh(x),
        vjp: y, dy => [dy * (1.0 - y * y)],
        flops: 20,
    }

    /// The error function.
    ERF erf(x) float {
        kernel: x.erf(),
        float: libm::erf(x),
        vjp: y, dy => [dy * ((-(x * x)).exp() * FRAC_2_SQRT_PI)],
        flops: 24,
    }

    /// `1 - erf(x)`, exact where that is small.
    ERFC erfc(x) float {
        kernel: crate::math::erfc(x),
        float: libm::erfc(x),
        vjp: y, dy => [-(dy * ((-(x * x)).exp() * FRAC_2_SQRT_PI))],
        flops: 40,
    }

    /// `2^x`
    EXP2 exp2(x) float {
        kernel: x.lit(2.0).pow(x),
        float: x.exp2(),
        vjp: y, dy => [dy * (y * LN_2)],
        flops: 40,
    }

    /// Logarithm to base 2.
    LOG2 log2(x) float {
        kernel: x.log() * LOG2_E,
        float: libm::log2(x),
        vjp: y, dy => [dy / (x * LN_2)],
        domain: [Fill::Uniform(0.1, 4.0)],
        flops: 17,
    }

    /// Logarithm to base 10.
    LOG10 log10(x) float {
        kernel: x.log() * LOG10_E,
        float: libm::log10(x),
        vjp: y, dy => [dy / (x * LN_10)],
        domain: [Fill::Uniform(0.1, 4.0)],
        flops: 17,
    }

    /// Tangent of radians; NaN beyond [`trigonometric_limit`].
    TAN tan(x) float {
        kernel: x.sin() / x.cos(),
        float: libm::tan(x),
        limit: trigonometric_limit,
        vjp: y, dy => [dy * (1.0 + y * y)],
        domain: [Fill::Uniform(-1.4, 1.4)],
        flops: 41,
    }

    /// Inverse sine, in radians; NaN beyond ±1.
    ASIN asin(x) float {
        kernel: (x / ((1.0 - x) * (1.0 + x)).sqrt()).atan(),
        float: libm::asin(x),
        vjp: y, dy => [dy * (1.0 - x * x).rsqrt()],
        domain: [Fill::Uniform(-0.9, 0.9)],
        flops: 30,
    }

    /// Inverse cosine, in radians; NaN beyond ±1.
    ACOS acos(x) float {
        kernel: ((1.0 - x).sqrt() / (1.0 + x).sqrt()).atan() * 2.0,
        float: libm::acos(x),
        vjp: y, dy => [-(dy * (1.0 - x * x).rsqrt())],
        domain: [Fill::Uniform(-0.9, 0.9)],
        flops: 30,
    }

    /// Inverse tangent, in radians.
    ATAN atan(x) float {
        kernel: x.atan(),
        float: libm::atan(x),
        vjp: y, dy => [dy / (x * x + 1.0)],
        flops: 24,
    }

    /// The angle of the point `(b, a)`, in radians, from -π to π.
    ATAN2 atan2(a, b) float {
        kernel: atan2_kernel(a, b),
        float: libm::atan2(a, b),
        vjp: y, dy => [dy * (b / (a * a + b * b)), -(dy * (a / (a * a + b * b)))],
        flops: 30,
    }

    /// `√(a² + b²)`, without overflow; infinite beside an infinity, also if the other is NaN. Its gradient at the origin is 0.
    HYPOT hypot(a, b) float {
        kernel: hypot_kernel(a, b),
        float: libm::hypot(a, b),
        vjp: y, dy => [
            y.compare("eq", y.lit(0.0)).select(dy.lit(0.0), dy * (a / y)),
            y.compare("eq", y.lit(0.0)).select(dy.lit(0.0), dy * (b / y))
        ],
        flops: 12,
    }

    /// Hyperbolic sine.
    SINH sinh(x) float {
        kernel: sinh_kernel(x),
        float: libm::sinh(x),
        vjp: y, dy => [dy * x.pointwise("cosh")],
        flops: 20,
    }

    /// Hyperbolic cosine.
    COSH cosh(x) float {
        kernel: {
            // Half the exponential, so that the largest results do not overflow on the way.
            let half = (x.abs() - LN_2).exp();
            half + 0.25 / half
        },
        float: libm::cosh(x),
        vjp: y, dy => [dy * x.pointwise("sinh")],
        flops: 20,
    }

    /// Inverse hyperbolic sine.
    ASINH asinh(x) float {
        kernel: asinh_kernel(x),
        float: libm::asinh(x),
        vjp: y, dy => [dy * (x * x + 1.0).rsqrt()],
        flops: 30,
    }

    /// Inverse hyperbolic cosine; NaN below 1.
    ACOSH acosh(x) float {
        kernel: {
            // Where `√(x² - 1)` is x in every precision, the sum could overflow.
            let large = x.gt(x.lit(f64::from(1 << 30)));
            let above = large.select(x.lit(1.0), x) - 1.0;
            large.select(x.log() + LN_2, (above + above.sqrt() * (x + 1.0).sqrt()).log1p())
        },
        float: if x < 1.0 { f64::NAN } else { libm::acosh(x) },
        vjp: y, dy => [dy * ((x - 1.0).rsqrt() * (x + 1.0).rsqrt())],
        domain: [Fill::Uniform(1.2, 5.0)],
        flops: 30,
    }

    /// Inverse hyperbolic tangent; NaN beyond ±1.
    ATANH atanh(x) float {
        kernel: (x.log1p() - (-x).log1p()) * 0.5,
        float: libm::atanh(x),
        vjp: y, dy => [dy / (1.0 - x * x)],
        domain: [Fill::Uniform(-0.9, 0.9)],
        flops: 44,
    }

    /// The logistic function, `1 / (1 + e^-x)`.
    SIGMOID sigmoid(x) float {
        kernel: x.sigmoid(),
        float: if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) },
        vjp: y, dy => [dy * (y * (1.0 - y))],
        flops: 14,
    }

    /// `max(x, 0)`; its derivative at 0 is 0.
    RELU relu(x) number {
        kernel: x.max(x.lit(0.0)),
        float: if x <= 0.0 { 0.0 } else { x },
        int: x.max(0),
        // By the result, so that the argument need not be kept: y ≤ 0 exactly where x ≤ 0.
        vjp: y, dy => [y.compare("le", y.lit(0.0)).select(dy.lit(0.0), dy)],
    }

    /// Sigmoid linear unit, `x · sigmoid(x)`. Elfwing et al. 2018, arXiv:1702.03118.
    SILU silu(x) float {
        kernel: x * x.sigmoid(),
        float: x / (1.0 + (-x).exp()),
        vjp: y, dy => [{
            let s = x.pointwise("sigmoid");
            dy * (s * (x * (1.0 - s) + 1.0))
        }],
        flops: 15,
    }

    /// `log(1 + e^x)`, without overflow.
    SOFTPLUS softplus(x) float {
        kernel: x.max(x.lit(0.0)) + (-x.abs()).exp().log1p(),
        float: if x > 0.0 { x + libm::log1p((-x).exp()) } else { libm::log1p(x.exp()) },
        vjp: y, dy => [dy * x.pointwise("sigmoid")],
        flops: 34,
    }

    /// `a^b`. A negative base needs an integer exponent; `x^0 = 1^y = 1`, also for NaN.
    POW pow(a, b) float {
        kernel: a.pow(b),
        float: a.powf(b),
        vjp: y, dy => [
            // 0^0 = 1 has no slope, and x^-1 must not turn that into 0 · ∞.
            b.compare("eq", b.lit(0.0)).select(dy.lit(0.0), dy * (b * a.pow(b - 1.0))),
            zero_base(a, b).select(dy.lit(0.0), dy * (y * a.log()))
        ],
        domain: [Fill::Uniform(0.1, 3.0), Fill::Normal],
        flops: 40,
    }
}

/// With the sign of `x`, which may be a signed zero.
fn signed<'a>(magnitude: S<'a>, x: S<'a>) -> S<'a> {
    x.lt(x.lit(0.0)).select(-magnitude, x.equals(x.lit(0.0)).select(x, magnitude))
}

/// By `e^|x| - 1`, which is exact near 0 and is large where `e^-|x|` is not.
fn sinh_kernel(x: S<'_>) -> S<'_> {
    let (m, large) = (x.abs(), x.abs().gt(x.lit(20.0)));
    let e = large.select(x.lit(0.0), m).expm1();
    signed(large.select((m - LN_2).exp(), (e + e / (e + 1.0)) * 0.5), x)
}

/// Beyond `2^30`, where `√(1 + x²)` is `|x|` in every precision, the square could overflow.
fn asinh_kernel(x: S<'_>) -> S<'_> {
    let (m, large) = (x.abs(), x.abs().gt(x.lit(f64::from(1 << 30))));
    let s = large.select(x.lit(1.0), m);
    let square = s * s;
    let near = (s + square / ((square + 1.0).sqrt() + 1.0)).log1p();
    signed(large.select(m.log() + LN_2, near), x)
}

/// By the larger operand, whose square might overflow.
fn hypot_kernel<'a>(a: S<'a>, b: S<'a>) -> S<'a> {
    let (a, b) = (a.abs(), b.abs());
    let (large, zero, infinity) = (a.max(b), a.lit(0.0), a.lit(f64::INFINITY));
    let ratio = a.min(b) / large.equals(zero).select(a.lit(1.0), large);
    let infinite = a.equals(infinity) | b.equals(infinity);
    infinite.select(infinity, large * (ratio * ratio + 1.0).sqrt())
}

/// The angle in the first octant, mirrored into the others.
fn atan2_kernel<'a>(a: S<'a>, b: S<'a>) -> S<'a> {
    let (height, width, zero) = (a.abs(), b.abs(), a.lit(0.0));
    // Of two infinities the angle is that of two equal numbers; of two zeros, 0.
    let equal = height.equals(width);
    let quotient = height.min(width) / height.max(width);
    let quotient = equal.select(width.equals(zero).select(zero, a.lit(1.0)), quotient);
    let angle = quotient.atan();
    let angle = height.gt(width).select(FRAC_PI_2 - angle, angle);
    // The sign of a zero decides too, and `1 / -0` is negative.
    let below = |x: S<'a>| x.lt(zero) | (1.0 / x).lt(zero);
    let angle = below(b).select(PI - angle, angle);
    below(a).select(-angle, angle)
}

/// Where `0^b` stays 0 when `b` moves, although `log(0)` is not finite.
fn zero_base<'b, 'e>(a: X<'b, 'e>, b: X<'b, 'e>) -> X<'b, 'e> {
    let (zero, grows) = (a.compare("eq", a.lit(0.0)), b.compare("ge", b.lit(0.0)));
    zero.binary(super::and(), grows)
}
