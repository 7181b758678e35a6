//! Comparisons and tests; the results are bool.

use super::*;

pointwise! { COMPARISONS;
    /// `a = b`
    EQ eq(a, b) any -> bool {
        kernel: a.equals(b),
        float: a == b,
        int: a == b,
    }

    /// `a ≠ b`
    NE ne(a, b) any -> bool {
        kernel: a.differs(b),
        float: a != b,
        int: a != b,
    }

    /// `a < b`
    LT lt(a, b) number -> bool {
        kernel: a.lt(b),
        float: a < b,
        int: a < b,
    }

    /// `a ≤ b`
    LE le(a, b) number -> bool {
        kernel: a.le(b),
        float: a <= b,
        int: a <= b,
    }

    /// `a > b`
    GT gt(a, b) number -> bool {
        kernel: a.gt(b),
        float: a > b,
        int: a > b,
    }

    /// `a ≥ b`
    GE ge(a, b) number -> bool {
        kernel: a.ge(b),
        float: a >= b,
        int: a >= b,
    }

    /// Whether this is NaN.
    ISNAN isnan(x) float -> bool {
        kernel: x.differs(x),
        float: x.is_nan(),
    }

    /// Whether this is neither infinite nor NaN.
    ISFINITE isfinite(x) float -> bool {
        kernel: x.abs().lt(x.lit(f64::INFINITY)),
        float: x.is_finite(),
    }
}
