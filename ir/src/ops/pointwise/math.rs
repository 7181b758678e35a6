//! Functions of real numbers.

use super::*;
use crate::math::trigonometric_limit;
use std::f64::consts::FRAC_2_SQRT_PI;

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

/// Where `0^b` stays 0 when `b` moves, although `log(0)` is not finite.
fn zero_base<'b, 'e>(a: X<'b, 'e>, b: X<'b, 'e>) -> X<'b, 'e> {
    let (zero, grows) = (a.compare("eq", a.lit(0.0)), b.compare("ge", b.lit(0.0)));
    zero.binary(super::and(), grows)
}
