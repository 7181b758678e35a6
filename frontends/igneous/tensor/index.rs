//! Indexing: [`Tensor::i`], gather and scatter.
//!
//! `..` means a whole axis (as in ndarray and candle, and as `:` in Python); [`Ellipsis`] means as many whole axes as
//! are left.

use super::Tensor;
use super::or_invalid;
use crate::apply::try_apply;
use crate::location::here;
use crate::trace;
use igneous_ir::{DType, Dim, Error, Loc, Result, Shape, ops};
use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

/// As many whole axes as the other items of an index leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ellipsis;

/// A new axis of extent one (Python's `None`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewAxis;

/// A range of an axis, with a step. Bounds count from the end where negative and are limited to the axis.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slice {
    start: Option<Dim>,
    end: Option<Dim>,
    step: i64,
}

/// Ranges with a step: `(1..9).step(2)`.
pub trait Stepped {
    /// Every `step`-th element of the range, from its first on. With a negative step, from its last on, backwards: `(..).step(-1)` is
    /// everything in reverse order, and `(3..8).step(-2)` the elements 7, 5 and 3.
    fn step(self, step: i64) -> Slice;
}

impl<T: Into<Slice>> Stepped for T {
    fn step(self, step: i64) -> Slice {
        Slice { step, ..self.into() }
    }
}

/// One item of an index.
#[derive(Clone)]
pub enum IndexItem {
    /// One element of an axis, which disappears.
    At(Dim),
    /// A range of an axis.
    Slice(Slice),
    /// See [`NewAxis`].
    NewAxis,
    /// See [`Ellipsis`].
    Ellipsis,
    /// The elements of an axis that these indices name, or of some axes where a mask of bools is true.
    Tensor(Tensor),
}

impl From<RangeFull> for Slice {
    fn from(_: RangeFull) -> Slice {
        Slice { start: None, end: None, step: 1 }
    }
}

macro_rules! ranges {
    ($($bound:ty),*) => {$(
        impl From<Range<$bound>> for Slice {
            fn from(r: Range<$bound>) -> Slice {
                Slice { start: Some(bound(r.start)), end: Some(bound(r.end)), step: 1 }
            }
        }

        impl From<RangeFrom<$bound>> for Slice {
            fn from(r: RangeFrom<$bound>) -> Slice {
                Slice { start: Some(bound(r.start)), end: None, step: 1 }
            }
        }

        impl From<RangeTo<$bound>> for Slice {
            fn from(r: RangeTo<$bound>) -> Slice {
                Slice { start: None, end: Some(bound(r.end)), step: 1 }
            }
        }

        impl From<RangeInclusive<$bound>> for Slice {
            fn from(r: RangeInclusive<$bound>) -> Slice {
                Slice { start: Some(bound(*r.start())), end: after(bound(*r.end())), step: 1 }
            }
        }

        impl From<RangeToInclusive<$bound>> for Slice {
            fn from(r: RangeToInclusive<$bound>) -> Slice {
                Slice { start: None, end: after(bound(r.end)), step: 1 }
            }
        }

        impl From<Range<$bound>> for IndexItem {
            fn from(r: Range<$bound>) -> IndexItem {
                IndexItem::Slice(r.into())
            }
        }

        impl From<RangeFrom<$bound>> for IndexItem {
            fn from(r: RangeFrom<$bound>) -> IndexItem {
                IndexItem::Slice(r.into())
            }
        }

        impl From<RangeTo<$bound>> for IndexItem {
            fn from(r: RangeTo<$bound>) -> IndexItem {
                IndexItem::Slice(r.into())
            }
        }

        impl From<RangeInclusive<$bound>> for IndexItem {
            fn from(r: RangeInclusive<$bound>) -> IndexItem {
                IndexItem::Slice(r.into())
            }
        }

        impl From<RangeToInclusive<$bound>> for IndexItem {
            fn from(r: RangeToInclusive<$bound>) -> IndexItem {
                IndexItem::Slice(r.into())
            }
        }

        impl From<$bound> for IndexItem {
            fn from(i: $bound) -> IndexItem {
                IndexItem::At(bound(i))
            }
        }
    )*};
}

ranges!(i64, i32, usize, Dim);

fn bound(b: impl super::Extent) -> Dim {
    b.extent()
}

/// One past an inclusive end; past −1 there is no bound.
fn after(end: Dim) -> Option<Dim> {
    (end != Dim::constant(-1)).then(|| end + 1)
}

impl From<RangeFull> for IndexItem {
    fn from(r: RangeFull) -> IndexItem {
        IndexItem::Slice(r.into())
    }
}

impl From<Slice> for IndexItem {
    fn from(s: Slice) -> IndexItem {
        IndexItem::Slice(s)
    }
}

impl From<NewAxis> for IndexItem {
    fn from(_: NewAxis) -> IndexItem {
        IndexItem::NewAxis
    }
}

impl From<Ellipsis> for IndexItem {
    fn from(_: Ellipsis) -> IndexItem {
        IndexItem::Ellipsis
    }
}

impl From<&Tensor> for IndexItem {
    fn from(t: &Tensor) -> IndexItem {
        IndexItem::Tensor(t.clone())
    }
}

impl From<Tensor> for IndexItem {
    fn from(t: Tensor) -> IndexItem {
        IndexItem::Tensor(t)
    }
}

/// What [`Tensor::i`] takes: one item or a tuple of items.
pub trait Index {
    /// The items, outermost axis first.
    fn items(self) -> Vec<IndexItem>;
}

impl<T: Into<IndexItem>> Index for T {
    fn items(self) -> Vec<IndexItem> {
        vec![self.into()]
    }
}

impl Index for Vec<IndexItem> {
    fn items(self) -> Vec<IndexItem> {
        self
    }
}

macro_rules! tuple_index {
    ($($name:ident)+) => {
        impl<$($name: Into<IndexItem>),+> Index for ($($name,)+) {
            #[allow(non_snake_case)]
            fn items(self) -> Vec<IndexItem> {
                let ($($name,)+) = self;
                vec![$($name.into()),+]
            }
        }
    };
}

tuple_index!(A);
tuple_index!(A B);
tuple_index!(A B C);
tuple_index!(A B C D);
tuple_index!(A B C D E);
tuple_index!(A B C D E F);

impl Tensor {
    /// The part of the tensor that an index chooses:
    /// `x.i(0)`, `x.i(-1)`, `x.i((.., 1..3))`, `x.i((Ellipsis, (0..8).step(2)))`, `x.i((NewAxis, ..))`, `x.i(&indices)`.
    ///
    /// ```
    /// use igneous::{Ellipsis, NewAxis, Tensor};
    /// let x = Tensor::arange(0, 12).reshape((3, 4));
    /// assert_eq!(x.i((-1, 1..3)).to_vec::<i64>()?, [9, 10]);
    /// assert_eq!(x.i((Ellipsis, 0)).to_vec::<i64>()?, [0, 4, 8]);
    /// assert_eq!(x.i((NewAxis, ..)).rank(), 3);
    /// assert_eq!(x.i(x.ge(10)).to_vec::<i64>()?, [10, 11]);
    /// # Ok::<(), igneous::Error>(())
    /// ```
    ///
    /// Several index tensors broadcast and choose together; their axes come where the first of them stood. A mask of bools
    /// needs eager mode: how much it chooses is known only when its values are.
    #[track_caller]
    pub fn i(&self, index: impl Index) -> Tensor {
        let loc = here();
        if let Err(error) = self.check() {
            return error.into();
        }
        or_invalid(self.indexed(index.items(), loc).map_err(|e| e.at(loc)))
    }

    fn indexed(&self, items: Vec<IndexItem>, loc: Loc) -> Result<Tensor> {
        let items = self.without_ellipsis(self.without_masks(items)?)?;
        let shape = self.shape();
        let (mut start, mut limit, mut stride) = (Shape::new(), Shape::new(), Vec::new());
        let mut kept = Shape::new();
        let mut tensors: Vec<(usize, Tensor)> = Vec::new();
        let mut reversed: Vec<usize> = Vec::new();
        let mut axis = 0;
        for item in items {
            if matches!(item, IndexItem::NewAxis) {
                kept.push(Dim::ONE);
                continue;
            }
            let extent = shape[axis];
            let (from, to, step) = match &item {
                IndexItem::At(at) => {
                    let at = self.place(*at, extent, axis)?;
                    (at, at + 1, 1)
                }
                IndexItem::Slice(slice) => {
                    let (from, to, step) = slice.bounds(extent)?;
                    if step < 0 {
                        reversed.push(axis);
                    }
                    (from, to, step.saturating_abs())
                }
                _ => (Dim::ZERO, extent, 1),
            };
            start.push(from);
            limit.push(to);
            stride.push(step);
            axis += 1;
            if !matches!(item, IndexItem::At(_)) {
                kept.push((to - from).div_ceil(Dim::constant(step)));
            }
            if let IndexItem::Tensor(index) = item {
                tensors.push((kept.len() - 1, wrapped(&index, extent, loc)?));
            }
        }
        let whole = start.iter().all(|&d| d == Dim::ZERO) && limit == shape && stride.iter().all(|&s| s == 1);
        let source = if reversed.is_empty() { self.clone() } else { one(ops::flip(&reversed), &[self], loc)? };
        let part = if whole { source } else { one(ops::slice(&start, &limit, &stride), &[&source], loc)? };
        let part = if part.shape() == kept { part } else { one(ops::reshape(kept), &[&part], loc)? };
        if tensors.is_empty() { Ok(part) } else { gather_together(&part, tensors, loc) }
    }

    /// The index with its ellipsis, given or at the end, as whole axes.
    fn without_ellipsis(&self, items: Vec<IndexItem>) -> Result<Vec<IndexItem>> {
        let used = items.iter().filter(|i| !matches!(i, IndexItem::NewAxis | IndexItem::Ellipsis)).count();
        let Some(left) = self.rank().checked_sub(used) else {
            return Err(Error::new(format!("an index of {used} axes does not fit this tensor")).note("tensor", self.describe()));
        };
        let whole = || IndexItem::Slice((..).into());
        let mut all = Vec::new();
        let mut seen = false;
        for item in items {
            match item {
                IndexItem::Ellipsis if seen => return Err(Error::new("an index can have one Ellipsis, not several")),
                IndexItem::Ellipsis => {
                    seen = true;
                    all.extend((0..left).map(|_| whole()));
                }
                other => all.push(other),
            }
        }
        if !seen {
            all.extend((0..left).map(|_| whole()));
        }
        Ok(all)
    }

    /// The index with each mask replaced by the indices where it is true, one tensor for each of its axes.
    pub(super) fn without_masks(&self, items: Vec<IndexItem>) -> Result<Vec<IndexItem>> {
        let mut all = Vec::new();
        for item in items {
            match item {
                IndexItem::Tensor(mask) if mask.dtype() == DType::Bool && mask.error().is_none() => {
                    all.extend(mask.nonzero_axes()?.into_iter().map(IndexItem::Tensor));
                }
                other => all.push(other),
            }
        }
        Ok(all)
    }

    /// The indices of the true elements, one tensor for each axis.
    fn nonzero_axes(&self) -> Result<Vec<Tensor>> {
        let value = self.eager_value("the number of true elements").map_err(|e| {
            if trace::is_tracing() {
                e.note("remedy", "use where_ or masked_fill, whose shapes do not depend on values")
            } else {
                e
            }
        })?;
        let sizes = value.sizes();
        let mut axes: Vec<Vec<i64>> = vec![Vec::new(); sizes.len()];
        for (position, _) in value.buffer.as_slice::<bool>()?.iter().enumerate().filter(|(_, is)| **is) {
            for (axis, i) in axes.iter_mut().zip(igneous_ir::array::unravel(position, &sizes)) {
                axis.push(i as i64);
            }
        }
        Ok(axes.into_iter().map(|axis| Tensor::from_slice(&axis, axis.len()).to(value.device())).collect())
    }

    /// The index of one element, counted from the end if negative.
    fn place(&self, at: Dim, extent: Dim, axis: usize) -> Result<Dim> {
        let place = if at.at_least(0) == Some(false) { at + extent } else { at };
        if place.at_least(0) == Some(true) && (extent - place).at_least(1) == Some(true) {
            return Ok(place);
        }
        let message = format!("index {at} is out of range for axis {axis} of extent {extent}");
        Err(Error::new(message).note("tensor", self.describe()))
    }

    /// Where elements are true or not zero: their indices, `i64[count, axes]`. Needs eager mode.
    #[track_caller]
    pub fn nonzero(&self) -> Tensor {
        let loc = here();
        let axes = self.check().and_then(|()| self.as_bool().nonzero_axes());
        match axes {
            // One place without indices, or none.
            Ok(axes) if axes.is_empty() => match self.as_bool().item() {
                Ok(count) => Tensor::zeros((count as usize, 0)).to_dtype(DType::I64),
                Err(error) => error.into(),
            },
            Ok(axes) => Tensor::stack(&axes, 1),
            Err(error) => Tensor::from(error.at(loc)),
        }
    }

    /// Slices along an axis, in the order of `index` (`i64` or `i32`, one axis).
    #[track_caller]
    pub fn index_select(&self, axis: i64, index: &Tensor) -> Tensor {
        let loc = here();
        let selected = self.axis(axis).and_then(|axis| {
            let index = wrapped(index, self.shape()[axis], loc)?;
            gather_together(self, vec![(axis, index)], loc)
        });
        or_invalid(selected.map_err(|e| e.at(loc)))
    }

    /// Rows chosen by indices of any shape: `[n, …]` and `[i…]` give `[i…, …]`.
    #[track_caller]
    pub(super) fn index_rows(&self, index: &Tensor) -> Tensor {
        let loc = here();
        let rows = self.axis(0).and_then(|_| gather_together(self, vec![(0, wrapped(index, self.shape()[0], loc)?)], loc));
        or_invalid(rows.map_err(|e| e.at(loc)))
    }
}

impl Slice {
    /// First element, end and step along an axis of this extent; with a negative step, along the reversed axis.
    fn bounds(&self, extent: Dim) -> Result<(Dim, Dim, i64)> {
        if self.step == 0 {
            return Err(Error::new("a slice needs a step that is not 0"));
        }
        let limited = |d: Dim| if d.at_least(0) == Some(false) { (d + extent).max(0) } else { d.min(extent) };
        let start = self.start.map_or(Dim::ZERO, limited);
        let end = self.end.map_or(extent, limited);
        let end = end.max(start);
        Ok(if self.step < 0 { (extent - end, extent - start, self.step) } else { (start, end, self.step) })
    }
}

pub(super) fn one(op: igneous_ir::Op, inputs: &[&Tensor], loc: Loc) -> Result<Tensor> {
    Ok(try_apply(op, inputs, loc)?.remove(0))
}

/// Gathers along several axes at once; the axes of the indices come in place of the first indexed axis.
pub(super) fn gather_together(tensor: &Tensor, indices: Vec<(usize, Tensor)>, loc: Loc) -> Result<Tensor> {
    let (axes, indices): (Vec<usize>, Vec<Tensor>) = indices.into_iter().unzip();
    let dtype = indices.iter().map(|t| t.dtype()).fold(DType::I32, super::promote::promote);
    let indices: Vec<Tensor> = indices.iter().map(|t| t.to_dtype(dtype)).collect();
    let indices = super::pointwise::broadcast_tensors(&indices.iter().collect::<Vec<_>>());
    let wide = indices[0].ty()?.rank();
    let mut operands = vec![tensor];
    operands.extend(&indices);
    let gathered = one(ops::gather(&axes), &operands, loc)?;
    let first = axes[0];
    let mut order: Vec<usize> = (wide..wide + first).collect();
    order.extend(0..wide);
    order.extend(wide + first..gathered.rank());
    if order.is_sorted() { Ok(gathered) } else { one(ops::transpose(&order), &[&gathered], loc) }
}

/// Indices into an axis, negative ones counted from its end, checked to be in range.
pub(super) fn wrapped(index: &Tensor, extent: Dim, loc: Loc) -> Result<Tensor> {
    let dtype = index.ty()?.dtype;
    if !dtype.is_int() {
        return Err(Error::new("an index needs integers").note("index", index.describe()));
    }
    let index = index.to_dtype(DType::I64);
    if !trace::is_tracing() {
        let value = index.eager_value("its elements")?;
        if value.buffer.as_slice::<i64>()?.iter().all(|&i| i >= 0) {
            check_range(&index, Dim::ZERO - extent, extent, "an index is out of range", loc)?;
            return Ok(index);
        }
    }
    check_range(&index, Dim::ZERO - extent, extent, "an index is out of range", loc)?;
    Ok(index.where_(&index.ge(0), &index + extent))
}

/// Fails, now or when the compiled program runs, unless `low ≤ x < high` for all elements of an `i64` tensor.
pub(crate) fn check_range(values: &Tensor, low: Dim, high: Dim, message: &str, loc: Loc) -> Result<()> {
    check_range_except(values, low, high, None, message, loc)
}

/// The same, where one number outside of the range is allowed.
pub(crate) fn check_range_except(
    values: &Tensor,
    low: Dim,
    high: Dim,
    except: Option<i64>,
    message: &str,
    loc: Loc,
) -> Result<()> {
    let message = format!("{message}: it must be at least {low} and less than {high}");
    if !trace::is_tracing() {
        let (low, high) = (low.as_const().unwrap_or(i64::MIN), high.as_const().unwrap_or(i64::MAX));
        let value = values.eager_value("its elements")?;
        return match value.buffer.as_slice::<i64>()?.iter().find(|&&i| (i < low || i >= high) && Some(i) != except) {
            Some(out) => Err(Error::new(message).note("value", out).note("tensor", values.describe()).at(loc)),
            None => Ok(()),
        };
    }
    let mut ok = values.ge(low) & values.lt(high);
    if let Some(except) = except {
        ok = ok | values.equal(except);
    }
    try_apply(ops::check(message), &[&ok, values], loc).map(|_| ())
}
