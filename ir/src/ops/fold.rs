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

/// A sum that loses next to nothing to rounding: the compensated summation of Neumaier (1974). Results in f64 are an oracle for
/// others in f64.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Total {
    sum: f64,
    lost: f64,
}

impl Total {
    /// Adds a number.
    pub fn add(&mut self, x: f64) {
        let sum = self.sum + x;
        self.lost += if self.sum.abs() >= x.abs() { (self.sum - sum) + x } else { (x - sum) + self.sum };
        self.sum = sum;
    }

    /// The sum of all.
    pub fn value(self) -> f64 {
        if self.sum.is_finite() { self.sum + self.lost } else { self.sum }
    }
}

/// The [`Total`] of all numbers.
pub(crate) fn total(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut total = Total::default();
    numbers.for_each(|x| total.add(x));
    total.value()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_keep_what_rounding_loses() {
        assert_eq!(total([1.0, 1e100, 1.0, -1e100].into_iter()), 2.0);
        assert_eq!(total((0..1000).map(|_| 0.1)), 100.0);
        assert_eq!(total([].into_iter()), 0.0);
    }

    #[test]
    fn totals_of_infinities_and_nan() {
        assert_eq!(total([1.0, f64::INFINITY, 2.0].into_iter()), f64::INFINITY);
        assert_eq!(total([f64::MAX, f64::MAX].into_iter()), f64::INFINITY);
        assert!(total([f64::INFINITY, -f64::INFINITY].into_iter()).is_nan());
        assert!(total([f64::NAN, 1.0].into_iter()).is_nan());
    }
}
