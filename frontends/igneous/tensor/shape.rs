//! Views: the same elements under another shape, in another order, or several tensors as one.

use super::Tensor;
use super::arguments::{Axes, IntoShape, normalize_axes, valid_shape};
use super::pointwise::{apply_many, with_common_dtype};
use crate::location::here;
use igneous_ir::types::normalize_axis;
use igneous_ir::{Dim, Error, Result, Shape, ops};

/// The shape with its −1, if there is one, replaced by what makes it hold `elements` elements.
///
/// # Errors
/// If the shape is not valid, has several −1, or the elements do not divide evenly.
pub(super) fn infer_extent(shape: &[Dim], elements: Dim) -> Result<Shape> {
    let free = Dim::constant(-1);
    let mut result = Shape::from(shape);
    let mut open = (0..shape.len()).filter(|&i| shape[i] == free);
    if let Some(at) = open.next() {
        if open.next().is_some() {
            return Err(Error::new(format!("a shape can have one -1, not several: {shape:?}")));
        }
        let known: Dim = shape.iter().copied().filter(|&d| d != free).product();
        let divides = known != Dim::ZERO && !known.is_invalid() && elements.rem(known) == Dim::ZERO;
        if !divides && !known.is_invalid() {
            return Err(Error::new(format!("{elements} elements do not fit the shape {shape:?} with any extent for -1")));
        }
        result[at] = elements.div_floor(known);
    }
    valid_shape(&result)?;
    Ok(result)
}

impl Tensor {
    /// The same elements in row-major order with another shape; one extent may be −1, and stands for what is left.
    ///
    /// ```
    /// let x = igneous::Tensor::arange(0, 6).reshape((2, -1));
    /// assert_eq!(x.to_string(), "tensor([[0, 1, 2],\n        [3, 4, 5]])");
    /// ```
    #[track_caller]
    pub fn reshape(&self, shape: impl IntoShape) -> Tensor {
        let loc = here();
        let shape = self.ty().and_then(|ty| {
            infer_extent(&shape.into_shape(), ty.elements())
                .map_err(|e| Error::new(format!("reshape: {}", e.message())).note("tensor", self.describe()).at(loc))
        });
        match shape {
            Ok(shape) => self.reshape_to(shape),
            Err(error) => error.into(),
        }
    }

    /// PyTorch's `view`: the same as [`reshape`](Tensor::reshape).
    #[track_caller]
    pub fn view(&self, shape: impl IntoShape) -> Tensor {
        self.reshape(shape)
    }

    #[track_caller]
    pub(super) fn reshape_to(&self, shape: Shape) -> Tensor {
        if self.error().is_some() || self.shape() == shape {
            return self.clone();
        }
        self.apply(ops::reshape(shape))
    }

    /// An axis as an index; the error names the tensor.
    #[track_caller]
    pub(super) fn axis(&self, axis: i64) -> Result<usize> {
        let loc = here();
        let rank = self.ty()?.rank();
        normalize_axis(axis, rank).map_err(|e| e.note("tensor", self.describe()).at(loc))
    }

    /// Two axes exchanged; negative ones count from the end.
    #[track_caller]
    pub fn transpose(&self, a: i64, b: i64) -> Tensor {
        if self.rank() == 0 && matches!((a, b), (0 | -1, 0 | -1)) {
            return self.clone();
        }
        match (self.axis(a), self.axis(b)) {
            (Ok(a), Ok(b)) => {
                let mut order: Vec<usize> = (0..self.rank()).collect();
                order.swap(a, b);
                self.permuted(&order)
            }
            (Err(error), _) | (_, Err(error)) => error.into(),
        }
    }

    /// The last two axes exchanged; a tensor with fewer axes is returned as it is.
    #[track_caller]
    pub fn t(&self) -> Tensor {
        if self.rank() < 2 { self.clone() } else { self.transpose(-2, -1) }
    }

    /// The axes in another order: axis `i` of the result is axis `axes[i]` of this tensor.
    #[track_caller]
    pub fn permute(&self, axes: impl Axes) -> Tensor {
        let loc = here();
        let rank = self.rank();
        let order = self.check().and_then(|()| axes.axes().iter().map(|&a| normalize_axis(a, rank)).collect::<Result<Vec<_>>>());
        let order = order.and_then(|order| {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            let complete = sorted.iter().copied().eq(0..rank);
            complete
                .then_some(order)
                .ok_or_else(|| Error::new(format!("permute needs each of {rank} axes once, not {:?}", axes.axes())))
        });
        match order {
            Ok(order) => self.permuted(&order),
            Err(error) if self.error().is_some() => error.into(),
            Err(error) => error.note("tensor", self.describe()).at(loc).into(),
        }
    }

    #[track_caller]
    pub(super) fn permuted(&self, order: &[usize]) -> Tensor {
        if order.iter().enumerate().all(|(i, &a)| i == a) {
            return self.clone();
        }
        self.apply(ops::transpose(order))
    }

    /// The axes from `start` to `end`, both included, as one.
    #[track_caller]
    pub fn flatten(&self, start: i64, end: i64) -> Tensor {
        if self.error().is_none() && self.rank() == 0 {
            return self.reshape_to(Shape::from_iter([Dim::ONE]));
        }
        match (self.axis(start), self.axis(end)) {
            (Ok(start), Ok(end)) if start <= end => {
                let shape = self.shape();
                let joined: Dim = shape[start..=end].iter().copied().product();
                let flat = shape[..start].iter().copied().chain([joined]).chain(shape[end + 1..].iter().copied());
                self.reshape_to(flat.collect())
            }
            (Ok(_), Ok(_)) => {
                let error = Error::new("flatten: the first axis comes after the last").note("tensor", self.describe());
                error.at(here()).into()
            }
            (Err(error), _) | (_, Err(error)) => error.into(),
        }
    }

    /// All axes as one.
    #[track_caller]
    pub fn flatten_all(&self) -> Tensor {
        self.reshape(-1)
    }

    /// One axis split into several; one extent may be −1.
    #[track_caller]
    pub fn unflatten(&self, axis: i64, sizes: impl IntoShape) -> Tensor {
        let loc = here();
        let shape = self.axis(axis).and_then(|axis| {
            let shape = self.shape();
            let inner = infer_extent(&sizes.into_shape(), shape[axis]).map_err(|e| e.note("tensor", self.describe()).at(loc))?;
            Ok(shape[..axis].iter().copied().chain(inner).chain(shape[axis + 1..].iter().copied()).collect::<Shape>())
        });
        match shape {
            Ok(shape) => self.reshape_to(shape),
            Err(error) => error.into(),
        }
    }

    /// Without an axis of extent one; an axis of another extent stays.
    #[track_caller]
    pub fn squeeze(&self, axis: i64) -> Tensor {
        match self.axis(axis) {
            Ok(axis) => {
                let mut shape = self.shape();
                if shape[axis] == Dim::ONE {
                    shape.remove(axis);
                }
                self.reshape_to(shape)
            }
            Err(error) => error.into(),
        }
    }

    /// Without all axes of extent one.
    #[track_caller]
    pub fn squeeze_all(&self) -> Tensor {
        self.reshape_to(self.shape().into_iter().filter(|&d| d != Dim::ONE).collect())
    }

    /// With a new axis of extent one at `axis`, counted in the result: `[a, b]` with `unsqueeze(1)` is `[a, 1, b]`.
    #[track_caller]
    pub fn unsqueeze(&self, axis: i64) -> Tensor {
        let loc = here();
        let axis =
            self.ty().and_then(|ty| normalize_axis(axis, ty.rank() + 1).map_err(|e| e.note("tensor", self.describe()).at(loc)));
        match axis {
            Ok(axis) => {
                let mut shape = self.shape();
                shape.insert(axis, Dim::ONE);
                self.reshape_to(shape)
            }
            Err(error) => error.into(),
        }
    }

    /// Broadcast to `shape`, where −1 keeps an extent (PyTorch's `expand`).
    #[track_caller]
    pub fn expand(&self, shape: impl IntoShape) -> Tensor {
        let loc = here();
        let target = self.ty().and_then(|ty| {
            let mut shape = shape.into_shape();
            let offset = shape.len().checked_sub(ty.rank());
            for i in 0..shape.len() {
                if shape[i] == Dim::constant(-1)
                    && let Some(own) = offset.and_then(|o| i.checked_sub(o))
                {
                    shape[i] = ty.shape[own];
                }
            }
            let fits = valid_shape(&shape).and_then(|()| ops::broadcast_shapes(&ty.shape, &shape));
            match fits {
                Ok(common) if common == shape => Ok(shape),
                Ok(_) => Err(Error::new(format!("expand cannot make {shape:?} of this tensor"))),
                Err(error) => Err(Error::new(format!("expand: {}", error.message()))),
            }
            .map_err(|e| e.note("tensor", self.describe()).at(loc))
        });
        match target {
            Ok(shape) => self.broadcast_to(&shape),
            Err(error) => error.into(),
        }
    }

    /// Broadcast to the shape of `other`.
    #[track_caller]
    pub fn expand_as(&self, other: &Tensor) -> Tensor {
        match other.ty() {
            Ok(ty) => self.expand(ty.shape),
            Err(error) => error.into(),
        }
    }

    /// The tensor `counts[i]` times along each axis `i`.
    #[track_caller]
    pub fn repeat(&self, counts: impl IntoShape) -> Tensor {
        let counts = counts.into_shape();
        let own = self.shape();
        if self.error().is_none() && counts.len() < own.len() {
            let error = Error::new(format!("repeat needs a count for each of {} axes, not {}", own.len(), counts.len()));
            return error.note("tensor", self.describe()).at(here()).into();
        }
        let offset = counts.len().saturating_sub(own.len());
        let (mut wide, mut joined) = (Shape::new(), Shape::new());
        let mut narrow = Shape::new();
        for (i, &count) in counts.iter().enumerate() {
            let extent = i.checked_sub(offset).map_or(Dim::ONE, |i| own[i]);
            narrow.extend([Dim::ONE, extent]);
            wide.extend([count, extent]);
            joined.push(count * extent);
        }
        self.reshape(narrow).expand(wide).reshape(joined)
    }

    /// The elements in reverse order along some axes.
    #[track_caller]
    pub fn flip(&self, axes: impl Axes) -> Tensor {
        let loc = here();
        match self.ty().and_then(|ty| normalize_axes(axes, ty.rank()).map_err(|e| e.note("tensor", self.describe()).at(loc))) {
            Ok(axes) if axes.is_empty() => self.clone(),
            Ok(axes) => self.apply(ops::flip(&axes)),
            Err(error) => error.into(),
        }
    }

    /// The tensors one after the other along an existing axis (PyTorch's `torch.cat`). Their other extents agree.
    #[track_caller]
    pub fn cat(tensors: &[impl std::borrow::Borrow<Tensor>], axis: i64) -> Tensor {
        let mut tensors: Vec<&Tensor> = tensors.iter().map(|t| t.borrow()).collect();
        // As in PyTorch, a vector without elements goes with everything.
        let nothing = |t: &&Tensor| t.error().is_none() && t.shape()[..] == [Dim::ZERO];
        if tensors.iter().any(|t| !nothing(t)) {
            tensors.retain(|t| !nothing(t));
        }
        let Some(first) = tensors.first() else {
            return Tensor::from(Error::new("cat needs at least one tensor").at(here()));
        };
        match first.axis(axis) {
            Ok(axis) => apply_many(ops::concat(axis), &with_common_dtype(&tensors)),
            Err(error) => error.into(),
        }
    }

    /// The tensors, of equal shapes, along a new axis (PyTorch's `torch.stack`): two of `[a, b]` at axis 0 are `[2, a, b]`.
    #[track_caller]
    pub fn stack(tensors: &[impl std::borrow::Borrow<Tensor>], axis: i64) -> Tensor {
        let mut raised = Vec::new();
        for tensor in tensors {
            raised.push(tensor.borrow().unsqueeze(axis));
        }
        if raised.is_empty() {
            return Tensor::from(Error::new("stack needs at least one tensor").at(here()));
        }
        Tensor::cat(&raised, axis)
    }

    /// `length` elements from `start` on along an axis.
    #[track_caller]
    pub fn narrow(&self, axis: i64, start: impl Into<Dim>, length: impl Into<Dim>) -> Tensor {
        let (start, length) = (start.into(), length.into());
        match self.axis(axis) {
            Ok(axis) => self.sliced(axis, start, start + length, 1),
            Err(error) => error.into(),
        }
    }

    #[track_caller]
    pub(super) fn sliced(&self, axis: usize, start: Dim, limit: Dim, stride: i64) -> Tensor {
        let shape = self.shape();
        let mut starts: Shape = shape.iter().map(|_| Dim::ZERO).collect();
        let mut limits = shape.clone();
        let mut strides = vec![1; shape.len()];
        (starts[axis], limits[axis], strides[axis]) = (start, limit, stride);
        if starts[axis] == Dim::ZERO && limits == shape && stride == 1 {
            return self.clone();
        }
        self.apply(ops::slice(&starts, &limits, &strides))
    }

    /// Parts of `size` elements along an axis, the last one smaller where they do not divide evenly.
    ///
    /// # Errors
    /// If the tensor is invalid, the axis is not there or is symbolic, or `size` is 0.
    #[track_caller]
    pub fn split(&self, size: usize, axis: i64) -> Result<Vec<Tensor>> {
        let loc = here();
        let at = self.axis(axis)?;
        let extent = self.shape()[at].get().map_err(|e| e.at(loc))?;
        if size == 0 {
            return Err(Error::new("split needs parts of at least one element").note("tensor", self.describe()).at(loc));
        }
        let mut parts = Vec::new();
        for start in (0..extent.max(1)).step_by(size) {
            parts.push(self.sliced(at, Dim::from(start), Dim::from((start + size).min(extent)), 1));
        }
        Ok(parts)
    }

    /// At most `count` equal parts along an axis (the last may be smaller).
    ///
    /// # Errors
    /// If the tensor is invalid, the axis is not there or is symbolic, or `count` is 0.
    #[track_caller]
    pub fn chunk(&self, count: usize, axis: i64) -> Result<Vec<Tensor>> {
        let loc = here();
        let at = self.axis(axis)?;
        let extent = self.shape()[at].get().map_err(|e| e.at(loc))?;
        if count == 0 {
            return Err(Error::new("chunk needs at least one part").note("tensor", self.describe()).at(loc));
        }
        self.split(extent.div_ceil(count).max(1), axis)
    }
}
