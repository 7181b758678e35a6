//! Arithmetic and rounding.

use super::*;

pointwise! { ARITHMETIC;
    /// `-x`
    NEG neg(x) number {
        kernel: -x,
        float: -x,
        int: x.wrapping_neg(),
        vjp: y, dy => [-dy],
    }

    /// Absolute value; its derivative at 0 is 0.
    ABS abs(x) number {
        kernel: x.abs(),
        float: x.abs(),
        int: x.wrapping_abs(),
        vjp: y, dy => [dy * x.pointwise("sign")],
    }

    /// −1, 0 or 1; 0 for NaN, as in PyTorch.
    SIGN sign(x) number {
        kernel: x.gt(x.lit(0.0)).select(x.lit(1.0), x.lt(x.lit(0.0)).select(x.lit_int(-1), x.lit(0.0))),
        float: if x == 0.0 || x.is_nan() { 0.0 } else { x.signum() },
        int: x.signum(),
    }

    /// `x²`
    SQUARE square(x) number {
        kernel: x * x,
        float: x.powi(2),
        int: x.wrapping_mul(x),
        vjp: y, dy => [dy * (x * 2.0)],
    }

    /// `1 / x`
    RECIPROCAL reciprocal(x) float {
        kernel: 1.0 / x,
        float: x.recip(),
        vjp: y, dy => [-(dy * y * y)],
        domain: [Fill::Uniform(0.5, 2.0)],
    }

    /// Square root.
    SQRT sqrt(x) float {
        kernel: x.sqrt(),
        float: x.sqrt(),
        vjp: y, dy => [dy / (y * 2.0)],
        domain: [Fill::Uniform(0.1, 4.0)],
    }

    /// `1 / √x`
    RSQRT rsqrt(x) float {
        kernel: 1.0 / x.sqrt(),
        float: x.sqrt().recip(),
        vjp: y, dy => [dy * (y * y * y) * -0.5],
        domain: [Fill::Uniform(0.1, 4.0)],
        flops: 2,
    }

    /// Largest integer not above.
    FLOOR floor(x) float {
        kernel: x.floor(),
        float: x.floor(),
    }

    /// Smallest integer not below.
    CEIL ceil(x) float {
        kernel: x.ceil(),
        float: x.ceil(),
    }

    /// Nearest integer, ties to even.
    ROUND round(x) float {
        kernel: x.round(),
        float: x.round_ties_even(),
    }

    /// Integer part.
    TRUNC trunc(x) float {
        kernel: x.trunc(),
        float: x.trunc(),
    }

    /// Sum; integers wrap.
    ADD add(a, b) number {
        kernel: a + b,
        float: a + b,
        int: a.wrapping_add(b),
        vjp: y, dy => [dy, dy],
    }

    /// Difference; integers wrap.
    SUB sub(a, b) number {
        kernel: a - b,
        float: a - b,
        int: a.wrapping_sub(b),
        vjp: y, dy => [dy, -dy],
    }

    /// Product; integers wrap.
    MUL mul(a, b) number {
        kernel: a * b,
        float: a * b,
        int: a.wrapping_mul(b),
        vjp: y, dy => [dy * b, dy * a],
    }

    /// Quotient. Integers are rounded toward negative infinity, and division by zero gives 0.
    DIV div(a, b) number {
        kernel: a / b,
        float: a / b,
        int: floor_div(a, b),
        vjp: y, dy => [dy / b, -(dy * (y / b))],
        domain: [Fill::Normal, Fill::Uniform(0.5, 2.0)],
    }

    /// Remainder with the sign of the divisor (`torch.remainder`). Integers modulo 0 give 0.
    REM rem(a, b) number {
        kernel: a % b,
        float: {
            let r = a % b;
            if r != 0.0 && (r < 0.0) != (b < 0.0) { r + b } else { r }
        },
        int: a.wrapping_sub(floor_div(a, b).wrapping_mul(b)) * i64::from(b != 0),
        vjp: y, dy => [dy, -(dy * (a / b).pointwise("floor"))],
        domain: [Fill::Normal, Fill::Uniform(0.5, 2.0)],
    }

    /// The larger; NaN if either is. Equal operands share the cotangent.
    MAXIMUM maximum(a, b) number {
        kernel: a.max(b),
        float: if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) },
        int: a.max(b),
        vjp: y, dy => [share(a, b, dy, "lt"), share(b, a, dy, "lt")],
    }

    /// The smaller; NaN if either is. Equal operands share the cotangent.
    MINIMUM minimum(a, b) number {
        kernel: a.min(b),
        float: if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) },
        int: a.min(b),
        vjp: y, dy => [share(a, b, dy, "gt"), share(b, a, dy, "gt")],
    }
}

fn floor_div(a: i64, b: i64) -> i64 {
    let exact = b != 0 && a.wrapping_rem(b) == 0;
    let quotient = if b == 0 { 0 } else { a.wrapping_div(b) };
    quotient - i64::from(b != 0 && !exact && (a < 0) != (b < 0))
}

/// The part of `dy` that goes to `own`: none if it lost against `other`, half of it in a tie.
fn share<'b, 'e>(own: X<'b, 'e>, other: X<'b, 'e>, dy: X<'b, 'e>, lost: &'static str) -> X<'b, 'e> {
    let unless_tied = own.compare(lost, other).select(dy.lit(0.0), dy);
    own.compare("eq", other).select(dy * 0.5, unless_tied)
}
