//! How reference implementations combine elements; the back ends have their own.

use crate::op::ReduceKind;

/// `a` combined with `b`, for `Sum`, `Prod`, `Max` and `Min`; a NaN stays.
pub(crate) fn combine_f64(kind: ReduceKind, a: f64, b: f64) -> f64 {
    match kind {
        ReduceKind::Sum => a + b,
        ReduceKind::Prod => a * b,
        _ if a.is_nan() || b.is_nan() => f64::NAN,
        ReduceKind::Max => a.max(b),
        ReduceKind::Min => a.min(b),
        other => unreachable!("{} does not combine numbers one by one", other.name()),
    }
}

/// `a` combined with `b`, wrapping.
pub(crate) fn combine_i64(kind: ReduceKind, a: i64, b: i64) -> i64 {
    match kind {
        ReduceKind::Sum => a.wrapping_add(b),
        ReduceKind::Prod => a.wrapping_mul(b),
        ReduceKind::Max => a.max(b),
        ReduceKind::Min => a.min(b),
        ReduceKind::And => a & b,
        ReduceKind::Or => a | b,
        other => unreachable!("{} does not combine integers one by one", other.name()),
    }
}

/// Whether the element `b` takes the place of the extremum so far, `a`: the first stays, and the first NaN does.
pub(crate) fn replaces(kind: ReduceKind, a: f64, b: f64) -> bool {
    let better = match kind {
        ReduceKind::ArgMax => b > a,
        ReduceKind::ArgMin => b < a,
        other => unreachable!("{} has no place", other.name()),
    };
    !a.is_nan() && (better || b.is_nan())
}
