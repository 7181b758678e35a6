//! When a result counts as equal to what it should be.

use super::Oracle;
use crate::array::Array;
use crate::error::{Error, Result};
use crate::types::DType;

/// How much larger than the interpreter's own error that of a result may be: what is left of chance.
fn slack(dtype: DType) -> f64 {
    if matches!(dtype, DType::F16 | DType::BF16) { 3.0 } else { 2.0 }
}

/// The error relative to the root mean square of the result that is allowed even where the interpreter has none.
/// The interpreter computes in f64, so for that type it is no measure: what is left is some rounding errors.
fn floor(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 16.0 * f64::EPSILON,
        DType::F32 => 1e-7,
        half => half.epsilon(),
    }
}

impl Oracle {
    /// Whether `found` is as good as working precision allows: its root mean square error against the result in f64
    /// is at most twice (three times, for half types) that of the interpreter in working precision, plus a floor; NaN
    /// and infinity are in the same places; integers are equal.
    ///
    /// # Errors
    /// What differs, and by how much.
    pub fn agrees(&self, found: &Array) -> Result<()> {
        self.agrees_up_to(found, 0.0)
    }

    /// As [`Oracle::agrees`], with an additional root mean square error of `extra`.
    ///
    /// # Errors
    /// What differs, and by how much.
    pub fn agrees_up_to(&self, found: &Array, extra: f64) -> Result<()> {
        let (native, exact) = (&self.native, &self.exact);
        if found.ty() != native.ty() {
            return Err(Error::new(format!("the result is {} where {} is expected", found.ty(), native.ty())));
        }
        if !native.dtype().is_float() {
            return match (0..found.len()).find(|&i| found.i(i) != native.i(i)) {
                Some(i) => {
                    Err(Error::new(format!("element {i} is {} where {} is expected", found.literal(i), native.literal(i))))
                }
                None => Ok(()),
            };
        }
        for i in 0..found.len() {
            let (f, n) = (found.f(i), native.f(i));
            let same = if n.is_finite() { f.is_finite() } else { f == n || f.is_nan() && n.is_nan() };
            if !same {
                return Err(Error::new(format!("element {i} is {f:?} where {n:?} is expected")));
            }
        }
        let limit = slack(native.dtype()) * self.error_of(native) + floor(native.dtype()) * self.magnitude() + extra;
        let error = self.error_of(found);
        if error <= limit {
            return Ok(());
        }
        let worst = (0..found.len()).max_by(|&a, &b| {
            let distance = |i: usize| (found.f(i) - exact.f(i)).abs();
            distance(a).total_cmp(&distance(b))
        });
        let error = Error::new(format!("the root mean square error is {error:e}, more than {limit:e}"));
        Err(worst.map_or(error.clone(), |i| {
            error
                .note("worst at", i)
                .note("found", found.literal(i))
                .note("in f64", exact.f(i))
                .note("interpreted", native.literal(i))
        }))
    }

    /// The root mean square difference of `found` from the result in f64, over what is finite in both.
    pub fn error_of(&self, found: &Array) -> f64 {
        root_mean_square((0..found.len()).map(|i| found.f(i) - self.exact.f(i)))
    }

    /// The root mean square of the result in f64, over what is finite.
    pub fn magnitude(&self) -> f64 {
        root_mean_square((0..self.exact.len()).map(|i| self.exact.f(i)))
    }
}

fn root_mean_square(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let finite = values.filter(|x| x.is_finite());
    let largest = finite.clone().fold(0.0, |m: f64, x| m.max(x.abs()));
    if largest == 0.0 {
        return 0.0;
    }
    // Squares of the quotients cannot overflow.
    let (sum, count) = finite.fold((0.0, 0.0), |(s, n), x| (s + (x / largest).powi(2), n + 1.0));
    largest * (sum / count).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn f32s(values: &[f64]) -> Array {
        Array::floats(DType::F32, [values.len()], values.to_vec())
    }

    fn oracle(native: &[f64], exact: &[f64]) -> Oracle {
        Oracle { native: f32s(native), exact: f32s(exact) }
    }

    #[test]
    fn an_error_is_measured_against_that_of_the_interpreter() {
        let oracle = oracle(&[1.0, 2.001], &[1.0, 2.0]);
        assert!(oracle.agrees(&f32s(&[1.0, 1.999])).is_ok());
        assert!(oracle.agrees(&f32s(&[1.0, 1.9981])).is_ok());
        assert!(oracle.agrees(&f32s(&[1.0, 1.9979])).is_err());
        assert!(oracle.agrees_up_to(&f32s(&[1.0, 1.9979]), 1e-3).is_ok());
    }

    #[test]
    fn the_floor_is_relative_to_the_magnitude() {
        let oracle = oracle(&[1e30], &[1e30]);
        assert!(oracle.agrees(&f32s(&[1e30 * (1.0 + 0.9e-7)])).is_ok());
        assert!(oracle.agrees(&f32s(&[1e30 * (1.0 + 1.1e-7)])).is_err());
    }

    #[test]
    fn infinities_and_nan_stay_in_their_places() {
        let oracle = oracle(&[f64::NAN, f64::INFINITY, 1.0], &[f64::NAN, f64::INFINITY, 1.0]);
        assert!(oracle.agrees(&f32s(&[f64::NAN, f64::INFINITY, 1.0])).is_ok());
        assert!(oracle.agrees(&f32s(&[f64::NAN, f64::NEG_INFINITY, 1.0])).is_err());
        assert!(oracle.agrees(&f32s(&[0.0, f64::INFINITY, 1.0])).is_err());
        assert!(oracle.agrees(&f32s(&[f64::NAN, f64::INFINITY, f64::NAN])).is_err());
    }
}
