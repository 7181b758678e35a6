//! Sorting and what follows from it.

use super::arguments::Axes;
use super::{Tensor, or_invalid};
use crate::apply::apply;
use crate::location::{entered, here};
use crate::trace;
use igneous_ir::{DType, Dim, Error, Result, Shape, ops};

impl Tensor {
    /// Runs `f` along an axis. A tensor without axes counts as one with one element, whose axis the results lose.
    #[track_caller]
    pub(super) fn along_axis<const N: usize>(&self, axis: i64, f: impl FnOnce(&Tensor, usize) -> [Tensor; N]) -> [Tensor; N] {
        let _user = entered();
        if self.error().is_none() && self.rank() == 0 && matches!(axis, 0 | -1) {
            return f(&self.reshape_to(Shape::from_iter([Dim::ONE])), 0).map(|t| t.reshape_to(Shape::new()));
        }
        match self.axis(axis) {
            Ok(axis) => f(self, axis),
            Err(error) => std::array::from_fn(|_| error.clone().into()),
        }
    }

    #[track_caller]
    fn sorted(&self, axis: i64, descending: bool) -> (Tensor, Tensor) {
        let [values, places] = self.along_axis(axis, |x, axis| apply(ops::sort(axis, descending), &[x]));
        (values, places)
    }

    /// The elements in increasing order along an axis, and for each its index before (`torch.sort`). Equal elements keep
    /// their order; NaN is larger than all numbers.
    ///
    /// ```
    /// let (values, places) = igneous::Tensor::new([3.0, 1.0, 2.0]).sort(0);
    /// assert_eq!(values.to_vec::<f32>()?, [1.0, 2.0, 3.0]);
    /// assert_eq!(places.to_vec::<i64>()?, [1, 2, 0]);
    /// # Ok::<(), igneous::Error>(())
    /// ```
    #[track_caller]
    pub fn sort(&self, axis: i64) -> (Tensor, Tensor) {
        self.sorted(axis, false)
    }

    /// The elements in decreasing order along an axis, and for each its index before (`descending=True`).
    #[track_caller]
    pub fn sort_descending(&self, axis: i64) -> (Tensor, Tensor) {
        self.sorted(axis, true)
    }

    /// The indices that sort the elements along an axis, in increasing order.
    #[track_caller]
    pub fn argsort(&self, axis: i64) -> Tensor {
        self.sorted(axis, false).1
    }

    /// The indices that sort the elements along an axis, in decreasing order.
    #[track_caller]
    pub fn argsort_descending(&self, axis: i64) -> Tensor {
        self.sorted(axis, true).1
    }

    #[track_caller]
    fn first_sorted(&self, k: usize, axis: i64, descending: bool) -> (Tensor, Tensor) {
        let user = entered();
        let loc = user.loc();
        let fits = self.axis(if self.rank() == 0 { 0 } else { axis }).map(|at| self.shape()[at]);
        let extent = if self.error().is_none() && self.rank() == 0 { Ok(Dim::ONE) } else { fits };
        let checked = extent.and_then(|extent| {
            let message = || format!("topk needs at least {k} elements along its axis, which has {extent}");
            if extent.at_least(k) == Some(true) { Ok(()) } else { Err(Error::new(message()).note("tensor", self.describe())) }
        });
        if let Err(error) = checked {
            let invalid = Tensor::from(error.at(loc));
            return (invalid.clone(), invalid);
        }
        let [values, places] = self.along_axis(axis, |x, axis| apply(ops::topk(k, axis, descending), &[x]));
        (values, places)
    }

    /// The `k` largest elements along an axis in decreasing order, and their indices (`torch.topk`).
    #[track_caller]
    pub fn topk(&self, k: usize, axis: i64) -> (Tensor, Tensor) {
        self.first_sorted(k, axis, true)
    }

    /// The `k` smallest elements along an axis in increasing order, and their indices (`torch.topk(largest=False)`).
    #[track_caller]
    pub fn topk_smallest(&self, k: usize, axis: i64) -> (Tensor, Tensor) {
        self.first_sorted(k, axis, false)
    }

    /// The `k`-th smallest element along an axis, counted from 1, and its index (`torch.kthvalue`); the axis stays with extent
    /// one.
    #[track_caller]
    pub fn kthvalue_keepdim(&self, k: usize, axis: i64) -> (Tensor, Tensor) {
        if k == 0 {
            let error = Error::new("kthvalue counts from 1").note("tensor", self.describe()).at(here());
            return (error.clone().into(), error.into());
        }
        let (values, places) = self.first_sorted(k, axis, false);
        if self.rank() == 0 {
            return (values, places);
        }
        (values.narrow(axis, k - 1, 1), places.narrow(axis, k - 1, 1))
    }

    /// The `k`-th smallest element along an axis, counted from 1, and its index (`torch.kthvalue`).
    #[track_caller]
    pub fn kthvalue(&self, k: usize, axis: i64) -> (Tensor, Tensor) {
        let (values, places) = self.kthvalue_keepdim(k, axis);
        if self.rank() == 0 { (values, places) } else { (values.squeeze(axis), places.squeeze(axis)) }
    }

    /// The lower median along an axis and its index (`torch.median`); the axis stays with extent one.
    #[track_caller]
    pub fn median_keepdim(&self, axis: i64) -> (Tensor, Tensor) {
        let user = entered();
        let loc = user.loc();
        let extent = if self.rank() == 0 { Ok(1) } else { self.axis(axis).and_then(|at| self.shape()[at].get()) };
        match extent {
            Ok(n) => self.kthvalue_keepdim(n.div_ceil(2).max(1), axis),
            Err(error) => (error.clone().at(loc).into(), error.at(loc).into()),
        }
    }

    /// The lower median along an axis and its index (`torch.median`).
    #[track_caller]
    pub fn median(&self, axis: i64) -> (Tensor, Tensor) {
        let (values, places) = self.median_keepdim(axis);
        if self.rank() == 0 { (values, places) } else { (values.squeeze(axis), places.squeeze(axis)) }
    }

    /// The lower median of all elements.
    #[track_caller]
    pub fn median_all(&self) -> Tensor {
        self.flatten_all().median(0).0
    }

    #[track_caller]
    fn extremum(&self, axis: i64, place: fn(&Tensor, i64) -> Tensor) -> (Tensor, Tensor) {
        let [values, places] = self.along_axis(axis, |x, axis| {
            let places = place(x, axis as i64);
            [x.gather(axis as i64, &places), places]
        });
        (values, places)
    }

    /// The maximum along an axis and the index of the first one (`torch.max(x, dim)`); the axis stays with extent one. The
    /// gradient goes to that one.
    #[track_caller]
    pub fn max_with_index_keepdim(&self, axis: i64) -> (Tensor, Tensor) {
        self.extremum(axis, Tensor::argmax_keepdim)
    }

    /// The maximum along an axis and the index of the first one (`torch.max(x, dim)`). The gradient goes to that one.
    #[track_caller]
    pub fn max_with_index(&self, axis: i64) -> (Tensor, Tensor) {
        self.without_axis(axis, self.max_with_index_keepdim(axis))
    }

    /// The minimum along an axis and the index of the first one (`torch.min(x, dim)`); the axis stays with extent one. The
    /// gradient goes to that one.
    #[track_caller]
    pub fn min_with_index_keepdim(&self, axis: i64) -> (Tensor, Tensor) {
        self.extremum(axis, Tensor::argmin_keepdim)
    }

    /// The minimum along an axis and the index of the first one (`torch.min(x, dim)`). The gradient goes to that one.
    #[track_caller]
    pub fn min_with_index(&self, axis: i64) -> (Tensor, Tensor) {
        self.without_axis(axis, self.min_with_index_keepdim(axis))
    }

    #[track_caller]
    fn without_axis(&self, axis: i64, (values, places): (Tensor, Tensor)) -> (Tensor, Tensor) {
        if self.rank() == 0 { (values, places) } else { (values.squeeze(axis), places.squeeze(axis)) }
    }

    /// For each element of `values`, how many of this sorted vector are less, or not greater on the [`Side::Right`]
    /// (`torch.searchsorted`). Vectors along the last axis may be a batch, which the values have, too. Every value is compared with
    /// every element.
    #[track_caller]
    pub fn searchsorted(&self, values: &Tensor, side: Side) -> Tensor {
        let (lead, of) = (self.shape(), values.shape());
        let batch = lead.len().saturating_sub(1);
        if self.error().is_none()
            && values.error().is_none()
            && batch > 0
            && (of.len() != lead.len() || of[..batch] != lead[..batch])
        {
            let error = Error::new("searchsorted needs a sorted vector, or a batch of them and values for each");
            return error.note("tensor", self.describe()).note("values", values.describe()).at(here()).into();
        }
        let sorted = if batch > 0 { self.unsqueeze(-2) } else { self.clone() };
        let values = values.unsqueeze(-1);
        let before = match side {
            Side::Left => sorted.lt(&values),
            Side::Right => sorted.le(&values),
        };
        before.to_dtype(DType::I64).sum(-1)
    }

    /// The different elements in increasing order, how often each occurs, and for each element of the tensor which of them it is
    /// (`torch.unique(return_inverse=True, return_counts=True)`). Needs eager mode.
    #[track_caller]
    pub fn unique(&self) -> (Tensor, Tensor, Tensor) {
        let user = entered();
        let loc = user.loc();
        match self.unique_values().map_err(|e| e.at(loc)) {
            Ok(all) => all,
            Err(error) => (error.clone().into(), error.clone().into(), error.into()),
        }
    }

    #[track_caller]
    fn unique_values(&self) -> Result<(Tensor, Tensor, Tensor)> {
        let shape = self.ty()?.shape;
        if trace::is_tracing() {
            self.eager_value("the number of its different elements")?;
        }
        let (sorted, places) = self.detach().flatten_all().sort(0);
        let (numbers, places) = (sorted.to_f64_vec()?, places.to_vec::<i64>()?);
        let exact = if self.dtype().is_float() { None } else { Some(sorted.to_i64_vec()?) };
        let differs = |k: usize| match &exact {
            Some(integers) => integers[k] != integers[k - 1],
            None => numbers[k] != numbers[k - 1],
        };
        let (mut first, mut counts, mut group) = (Vec::new(), Vec::<i64>::new(), vec![0i64; numbers.len()]);
        for (k, &place) in places.iter().enumerate() {
            if k == 0 || differs(k) {
                first.push(k as i64);
                counts.push(0);
            }
            *counts.last_mut().expect("the first element begins a group") += 1;
            group[place as usize] = counts.len() as i64 - 1;
        }
        let values = sorted.index_select(0, &Tensor::from_slice(&first, first.len()));
        Ok((values, Tensor::from_slice(&counts, counts.len()), Tensor::from_slice(&group, shape)))
    }
}

/// Which of equal elements a search stops at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// In front of the first.
    Left,
    /// Behind the last.
    Right,
}

impl Tensor {
    /// The maximum over some axes: [`max`](Tensor::max) by the name PyTorch has for it.
    #[track_caller]
    pub fn amax(&self, axes: impl Axes) -> Tensor {
        self.max(axes)
    }

    /// The minimum over some axes: [`min`](Tensor::min) by PyTorch's name.
    #[track_caller]
    pub fn amin(&self, axes: impl Axes) -> Tensor {
        self.min(axes)
    }

    /// How many elements equal each of `0..length` (`torch.bincount` with `minlength`); an element outside is an error.
    #[track_caller]
    pub fn bincount(&self, length: usize) -> Tensor {
        let counts = Tensor::filled(Shape::from_iter([Dim::from(length)]), 0.into(), DType::I64);
        let flat = self.flatten_all();
        let ones = or_invalid(flat.ty().map(|ty| Tensor::filled(ty.shape, 1.into(), DType::I64)));
        counts.scatter_add(0, &flat.to_dtype(DType::I64), &ones)
    }

    /// How many elements fall into each of `bins` parts of equal width of a range, the upper end included (`torch.histc`), as
    /// numbers of this tensor's type. Elements outside, and NaN, do not count. Without a range, it is that of the elements.
    ///
    /// ```
    /// # use igneous::Tensor;
    /// let counts = Tensor::new([1.0, 2.0, 1.0, 4.0, 9.0]).histc(4, Some((0.0, 4.0)));
    /// assert_eq!(counts.to_vec::<f32>()?, [0.0, 2.0, 1.0, 1.0]);
    /// # Ok::<(), igneous::Error>(())
    /// ```
    #[track_caller]
    pub fn histc(&self, bins: usize, range: Option<(f64, f64)>) -> Tensor {
        let user = entered();
        let refused = match range {
            _ if bins == 0 => Some("histc needs at least one bin".to_owned()),
            Some((low, high)) if !(low.is_finite() && high.is_finite() && low < high) => {
                Some(format!("histc needs a range from a smaller to a larger number, not {low} to {high}"))
            }
            None if self.elements() == Dim::ZERO => Some("histc without a range needs an element".to_owned()),
            _ => None,
        };
        if let (None, Some(message)) = (self.error(), refused) {
            return Error::new(message).note("tensor", self.describe()).at(user.loc()).into();
        }
        let x = self.detach().flatten_all().as_float();
        let (low, high) = match range {
            Some((low, high)) => (Tensor::number(low.into(), x.dtype()), Tensor::number(high.into(), x.dtype())),
            None => {
                // One value alone is in the middle.
                let (low, high) = (x.min_all(), x.max_all());
                let one = low.equal(&high).to_dtype(x.dtype());
                (&low - &one, high + one)
            }
        };
        let inside = x.ge(&low) & x.le(&high);
        let place = (x.where_(&inside, &low) - &low) / (high - &low) * bins as f64;
        let place = place.floor().to_dtype(DType::I64).minimum(bins as i64 - 1);
        let counts = Tensor::filled(Shape::from_iter([Dim::from(bins)]), 0.into(), x.dtype());
        counts.scatter_add(0, &place, &inside.to_dtype(x.dtype()))
    }
}
