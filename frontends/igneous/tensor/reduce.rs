//! Reductions. Each comes over given axes, over given axes that stay with extent one (`_keepdim`), and over all axes
//! (`_all`).

use super::arguments::{Axes, Scalar, normalize_axes};
use super::{Tensor, or_invalid};
use crate::apply::apply;
use crate::location::here;
use igneous_ir::op::ReduceKind;
use igneous_ir::{DType, Dim, Error, Result, Shape, ops};

impl Tensor {
    /// The axes as indices and the shape with these axes of extent one.
    #[track_caller]
    fn reduced(&self, axes: impl Axes) -> Result<(Vec<usize>, Shape)> {
        let loc = here();
        let mut shape = self.ty()?.shape;
        // A tensor without axes counts as one with one element: its axis may be named.
        if shape.is_empty() && matches!(*axes.axes(), [0 | -1]) {
            return Ok((Vec::new(), shape));
        }
        let axes = normalize_axes(axes, shape.len()).map_err(|e| e.note("tensor", self.describe()).at(loc))?;
        axes.iter().for_each(|&a| shape[a] = Dim::ONE);
        Ok((axes, shape))
    }

    fn all_axes(&self) -> Vec<i64> {
        (0..self.rank() as i64).collect()
    }

    /// How many elements are reduced to one.
    fn reduced_elements(&self, axes: &[usize]) -> Scalar {
        let shape = self.shape();
        Scalar::Dim(axes.iter().map(|&a| shape[a]).product())
    }

    #[track_caller]
    fn reduce_axes(&self, kind: ReduceKind, axes: &[usize]) -> Tensor {
        if axes.is_empty() { self.clone() } else { self.apply(ops::reduce(kind, axes)) }
    }

    /// Bools and narrow integers are added and multiplied as `i64`.
    #[track_caller]
    fn accumulated(&self) -> Tensor {
        if self.dtype().is_float() { self.clone() } else { self.to_dtype(DType::I64) }
    }

    #[track_caller]
    fn sum_axes(&self, axes: &[usize]) -> Tensor {
        self.accumulated().reduce_axes(ReduceKind::Sum, axes)
    }

    #[track_caller]
    fn prod_axes(&self, axes: &[usize]) -> Tensor {
        self.accumulated().reduce_axes(ReduceKind::Prod, axes)
    }

    #[track_caller]
    fn max_axes(&self, axes: &[usize]) -> Tensor {
        self.reduce_axes(ReduceKind::Max, axes)
    }

    #[track_caller]
    fn min_axes(&self, axes: &[usize]) -> Tensor {
        self.reduce_axes(ReduceKind::Min, axes)
    }

    #[track_caller]
    fn all_of(&self, axes: &[usize]) -> Tensor {
        self.as_bool().reduce_axes(ReduceKind::And, axes)
    }

    #[track_caller]
    fn any_of(&self, axes: &[usize]) -> Tensor {
        self.as_bool().reduce_axes(ReduceKind::Or, axes)
    }

    #[track_caller]
    fn mean_axes(&self, axes: &[usize]) -> Tensor {
        if !self.dtype().is_float() && self.error().is_none() {
            let error = Error::new("mean needs a tensor of a floating-point type: convert it with to_dtype");
            return error.note("tensor", self.describe()).at(here()).into();
        }
        let x = self.as_wide();
        let count = Tensor::number(x.reduced_elements(axes), x.dtype());
        (x.sum_axes(axes) / count).rounded_as(self)
    }

    #[track_caller]
    fn var_axes(&self, axes: &[usize]) -> Tensor {
        self.var_axes_corrected(axes, 1.0)
    }

    #[track_caller]
    fn var_axes_corrected(&self, axes: &[usize], correction: f64) -> Tensor {
        self.wide_var_axes(axes, correction).rounded_as(self)
    }

    /// The variance before it is rounded to a half type.
    #[track_caller]
    fn wide_var_axes(&self, axes: &[usize], correction: f64) -> Tensor {
        let x = self.as_wide();
        // Never less than no degrees of freedom: the quotient is infinite or NaN then, as in PyTorch.
        let divisor = (Tensor::number(x.reduced_elements(axes), x.dtype()) - correction).maximum(0.0);
        if axes.is_empty() {
            return (&x - x.detach()) / divisor;
        }
        let [_, squares] = apply(ops::welford(axes), &[&x]);
        squares / divisor
    }

    #[track_caller]
    fn std_axes(&self, axes: &[usize]) -> Tensor {
        self.std_axes_corrected(axes, 1.0)
    }

    #[track_caller]
    fn std_axes_corrected(&self, axes: &[usize], correction: f64) -> Tensor {
        self.wide_var_axes(axes, correction).sqrt().rounded_as(self)
    }

    #[track_caller]
    fn logsumexp_axes(&self, axes: &[usize]) -> Tensor {
        if axes.is_empty() {
            return self.as_float();
        }
        let [max, sum] = apply(ops::online_softmax(axes), &[&self.as_wide()]);
        // An infinite maximum is the result: log(sum) is NaN then.
        (&max + sum.log()).where_(&max.isfinite(), &max).rounded_as(&self.in_autocast_single())
    }

    #[track_caller]
    fn norm_axes(&self, axes: &[usize]) -> Tensor {
        let sum = self.as_wide().square().sum_axes(axes);
        // The root of 0 has no slope; the norm's is 0 there.
        let zero = sum.equal(0.0);
        sum.masked_fill(&zero, 1.0).sqrt().masked_fill(&zero, 0.0).rounded_as(&self.in_autocast_single())
    }

    #[track_caller]
    fn norm_p_axes(&self, p: f64, axes: &[usize]) -> Tensor {
        let x = self.as_wide();
        let norm = match p {
            2.0 => x.norm_axes(axes),
            1.0 => x.abs().sum_axes(axes),
            0.0 => x.ne(0.0).to_dtype(x.dtype()).sum_axes(axes),
            f64::INFINITY => x.abs().max_axes(axes),
            f64::NEG_INFINITY => x.abs().min_axes(axes),
            _ => {
                let sum = x.abs().pow(p).sum_axes(axes);
                let zero = sum.equal(0.0);
                sum.masked_fill(&zero, 1.0).pow(1.0 / p).masked_fill(&zero, 0.0)
            }
        };
        norm.rounded_as(&self.in_autocast_single())
    }

    #[track_caller]
    fn nansum_axes(&self, axes: &[usize]) -> Tensor {
        if !self.dtype().is_float() {
            return self.sum_axes(axes);
        }
        self.masked_fill(&self.isnan(), 0.0).sum_axes(axes)
    }

    #[track_caller]
    fn nanmean_axes(&self, axes: &[usize]) -> Tensor {
        let x = self.as_wide();
        let known = x.isnan().logical_not().to_dtype(x.dtype());
        (x.nansum_axes(axes) / known.sum_axes(axes)).rounded_as(self)
    }

    #[track_caller]
    fn nonzero_axes_count(&self, axes: &[usize]) -> Tensor {
        self.as_bool().sum_axes(axes)
    }
}

macro_rules! reductions {
    ($($inner:ident: $(#[$doc:meta])* $name:ident $keepdim:ident $all:ident;)*) => {
        impl Tensor {
            $(
                $(#[$doc])*
                #[track_caller]
                pub fn $name(&self, axes: impl Axes) -> Tensor {
                    match self.reduced(axes) {
                        Ok((axes, _)) => self.$inner(&axes),
                        Err(error) => error.into(),
                    }
                }

                /// The same; the axes stay with extent one.
                #[track_caller]
                pub fn $keepdim(&self, axes: impl Axes) -> Tensor {
                    match self.reduced(axes) {
                        Ok((axes, shape)) => self.$inner(&axes).reshape_to(shape),
                        Err(error) => error.into(),
                    }
                }

                /// The same over all axes.
                #[track_caller]
                pub fn $all(&self) -> Tensor {
                    self.$name(&self.all_axes())
                }
            )*
        }
    };
}

reductions! {
    sum_axes: /// The sum over some axes: a number, a tuple or an array of them, negative ones counted from the end. Integers and
              /// bools are added as `i64`.
              ///
              /// ```
              /// let x = igneous::Tensor::ones((2, 3, 4));
              /// assert_eq!(x.sum((0, -1)).to_vec::<f32>()?, [8.0; 3]);
              /// assert_eq!(x.sum_keepdim(1).shape()[..], [2, 1, 4].map(igneous::Dim::from));
              /// # Ok::<(), igneous::Error>(())
              /// ```
        sum sum_keepdim sum_all;
    prod_axes: /// The product over some axes. Integers and bools are multiplied as `i64`.
        prod prod_keepdim prod_all;
    mean_axes: /// The mean over some axes, of floats.
        mean mean_keepdim mean_all;
    max_axes: /// The maximum over some axes (PyTorch's `amax`; see also [`argmax`](Tensor::argmax)); NaN if any element is.
        max max_keepdim max_all;
    min_axes: /// The minimum over some axes (PyTorch's `amin`; see also [`argmin`](Tensor::argmin)); NaN if any element is.
        min min_keepdim min_all;
    all_of: /// Whether all elements are true (not zero).
        all all_keepdim all_all;
    any_of: /// Whether any element is true (not zero).
        any any_keepdim any_all;
    var_axes: /// The variance over some axes, the sum of squares divided by the count less one.
        var var_keepdim var_all;
    std_axes: /// The standard deviation: the square root of [`var`](Tensor::var).
        std std_keepdim std_all;
    logsumexp_axes: /// `log Σ e^x` over some axes, without overflow.
        logsumexp logsumexp_keepdim logsumexp_all;
    norm_axes: /// The Euclidean norm over some axes.
        norm norm_keepdim norm_all;
    nansum_axes: /// The sum over some axes without the elements that are NaN.
        nansum nansum_keepdim nansum_all;
    nanmean_axes: /// The mean over some axes without the elements that are NaN.
        nanmean nanmean_keepdim nanmean_all;
    nonzero_axes_count: /// How many elements are not zero, `i64`.
        count_nonzero count_nonzero_keepdim count_nonzero_all;
}

impl Tensor {
    /// The variance over some axes, the sum of squares divided by the count less `correction` (0: of the population).
    #[track_caller]
    pub fn var_with(&self, axes: impl Axes, correction: impl Into<f64>) -> Tensor {
        match self.reduced(axes) {
            Ok((axes, _)) => self.var_axes_corrected(&axes, correction.into()),
            Err(error) => error.into(),
        }
    }

    /// The same; the axes stay with extent one.
    #[track_caller]
    pub fn var_with_keepdim(&self, axes: impl Axes, correction: impl Into<f64>) -> Tensor {
        match self.reduced(axes) {
            Ok((axes, shape)) => self.var_axes_corrected(&axes, correction.into()).reshape_to(shape),
            Err(error) => error.into(),
        }
    }

    /// The standard deviation: the square root of [`var_with`](Tensor::var_with).
    #[track_caller]
    pub fn std_with(&self, axes: impl Axes, correction: impl Into<f64>) -> Tensor {
        match self.reduced(axes) {
            Ok((axes, _)) => self.std_axes_corrected(&axes, correction.into()),
            Err(error) => error.into(),
        }
    }

    /// The same; the axes stay with extent one.
    #[track_caller]
    pub fn std_with_keepdim(&self, axes: impl Axes, correction: impl Into<f64>) -> Tensor {
        match self.reduced(axes) {
            Ok((axes, shape)) => self.std_axes_corrected(&axes, correction.into()).reshape_to(shape),
            Err(error) => error.into(),
        }
    }

    /// The `p`-norm over some axes, `(Σ |x|^p)^(1/p)`: for 0 the number of elements that are not zero, for infinities the
    /// largest or smallest magnitude (`torch.linalg.vector_norm`). Where all elements are zero its gradient is 0.
    #[track_caller]
    pub fn norm_p(&self, p: f64, axes: impl Axes) -> Tensor {
        match self.reduced(axes) {
            Ok((axes, _)) => self.norm_p_axes(p, &axes),
            Err(error) => error.into(),
        }
    }

    /// The same; the axes stay with extent one.
    #[track_caller]
    pub fn norm_p_keepdim(&self, p: f64, axes: impl Axes) -> Tensor {
        match self.reduced(axes) {
            Ok((axes, shape)) => self.norm_p_axes(p, &axes).reshape_to(shape),
            Err(error) => error.into(),
        }
    }

    #[track_caller]
    fn arg_reduce(&self, kind: ReduceKind, axes: impl Axes) -> Result<(Tensor, Shape)> {
        let (axes, shape) = self.reduced(axes)?;
        if axes.is_empty() {
            return Ok((Tensor::filled(shape.clone(), 0.into(), DType::I64), shape));
        }
        Ok((self.apply(ops::arg_reduce(kind, &axes)), shape))
    }

    /// The index of the first maximum along an axis, `i64`. The first NaN counts as the maximum.
    #[track_caller]
    pub fn argmax(&self, axis: i64) -> Tensor {
        or_invalid(self.arg_reduce(ReduceKind::ArgMax, axis).map(|(t, _)| t))
    }

    /// The same; the axis stays with extent one.
    #[track_caller]
    pub fn argmax_keepdim(&self, axis: i64) -> Tensor {
        match self.arg_reduce(ReduceKind::ArgMax, axis) {
            Ok((t, shape)) => t.reshape_to(shape),
            Err(error) => error.into(),
        }
    }

    /// The index of the first minimum along an axis, `i64`. The first NaN counts as the minimum.
    #[track_caller]
    pub fn argmin(&self, axis: i64) -> Tensor {
        or_invalid(self.arg_reduce(ReduceKind::ArgMin, axis).map(|(t, _)| t))
    }

    /// The same; the axis stays with extent one.
    #[track_caller]
    pub fn argmin_keepdim(&self, axis: i64) -> Tensor {
        match self.arg_reduce(ReduceKind::ArgMin, axis) {
            Ok((t, shape)) => t.reshape_to(shape),
            Err(error) => error.into(),
        }
    }

    /// The position of the first maximum in row-major order, `i64`.
    #[track_caller]
    pub fn argmax_all(&self) -> Tensor {
        self.flatten_all().argmax(0)
    }

    /// The position of the first minimum in row-major order, `i64`.
    #[track_caller]
    pub fn argmin_all(&self) -> Tensor {
        self.flatten_all().argmin(0)
    }
}
