//! Sums, products and extrema of all elements before.

use super::Tensor;
use crate::apply::apply;
use igneous_ir::{DType, Dim, Op, ops};

impl Tensor {
    #[track_caller]
    fn running(&self, kind: &'static str, axis: i64) -> Tensor {
        let op = |axis: usize| -> Op { ops::cumulative(kind, axis, false) };
        let [result] = self.along_axis(axis, |x, axis| apply(op(axis), &[x]));
        result
    }

    #[track_caller]
    fn widened(&self) -> Tensor {
        if self.dtype().is_float() { self.clone() } else { self.to_dtype(DType::I64) }
    }

    /// The sum of each element and those before it along an axis. Integers and bools are added as `i64`.
    ///
    /// ```
    /// let x = igneous::Tensor::new([1, 2, 3]);
    /// assert_eq!(x.cumsum(0).to_vec::<i64>()?, [1, 3, 6]);
    /// # Ok::<(), igneous::Error>(())
    /// ```
    #[track_caller]
    pub fn cumsum(&self, axis: i64) -> Tensor {
        self.widened().running("sum", axis)
    }

    /// The product of each element and those before it along an axis. Integers and bools are multiplied as `i64`.
    #[track_caller]
    pub fn cumprod(&self, axis: i64) -> Tensor {
        self.widened().running("prod", axis)
    }

    /// `log Σ e^x` of each element and those before it along an axis, without overflow.
    #[track_caller]
    pub fn logcumsumexp(&self, axis: i64) -> Tensor {
        self.as_float().running("logsumexp", axis)
    }

    #[track_caller]
    fn running_extremum(&self, kind: &'static str, axis: i64) -> (Tensor, Tensor) {
        let [values, places] = self.along_axis(axis, |x, axis| {
            let [places] = apply(ops::cumulative(kind, axis, false), &[x]);
            [x.gather(axis as i64, &places), places]
        });
        (values, places)
    }

    /// The maximum of each element and those before it along an axis, and the index of the last one (`torch.cummax`).
    #[track_caller]
    pub fn cummax(&self, axis: i64) -> (Tensor, Tensor) {
        self.running_extremum("argmax", axis)
    }

    /// The minimum of each element and those before it along an axis, and the index of the last one (`torch.cummin`).
    #[track_caller]
    pub fn cummin(&self, axis: i64) -> (Tensor, Tensor) {
        self.running_extremum("argmin", axis)
    }

    /// The differences of neighbours along an axis, `n` times over (`torch.diff`). Of bools, where they differ.
    #[track_caller]
    pub fn diff(&self, n: usize, axis: i64) -> Tensor {
        let mut x = self.clone();
        let at = match x.axis(axis) {
            Ok(at) => at,
            Err(error) => return error.into(),
        };
        for _ in 0..n {
            let extent = x.shape()[at];
            if extent == Dim::ZERO {
                break;
            }
            let count = (extent - 1).max(0);
            let (after, before) = (x.narrow(axis, extent - count, count), x.narrow(axis, 0, count));
            x = if x.dtype() == DType::Bool { after ^ before } else { after - before };
        }
        x
    }
}
