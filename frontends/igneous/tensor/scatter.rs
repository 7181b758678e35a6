//! Gather and scatter: elements at computed places along an axis, and whole slices.

use super::arguments::{Operand, OperandRef, Scalar};
use super::index::{one, wrapped};
use super::{Tensor, or_invalid};
use crate::location::entered;
use igneous_ir::op::ReduceKind;
use igneous_ir::{DType, Dim, Error, Loc, Result, ops};

/// How elements that meet at one place are combined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScatterKind {
    /// Their sum.
    Sum,
    /// Their product.
    Prod,
    /// Their mean.
    Mean,
    /// The largest.
    Max,
    /// The smallest.
    Min,
}

impl ScatterKind {
    /// What changes nothing.
    fn neutral(self, dtype: DType) -> Scalar {
        let (smallest, largest) = dtype.int_limits();
        match self {
            ScatterKind::Sum | ScatterKind::Mean => Scalar::Int(0),
            ScatterKind::Prod => Scalar::Int(1),
            ScatterKind::Max if dtype.is_float() => Scalar::Float(f64::NEG_INFINITY),
            ScatterKind::Min if dtype.is_float() => Scalar::Float(f64::INFINITY),
            ScatterKind::Max => Scalar::Int(smallest),
            ScatterKind::Min => Scalar::Int(largest),
        }
    }
}

/// Whether elements that are updated take part (`include_self`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Initial {
    /// They do.
    Kept,
    /// They do not.
    Replaced,
}

impl Tensor {
    /// Along `axis`, the element that `index` names at each place of `index` (PyTorch's `gather` and `take_along_dim`):
    /// `result[i][j] = self[index[i][j]][j]` for axis 0. `index` has as many axes as the tensor, and no other extent of it
    /// is larger.
    #[track_caller]
    pub fn gather(&self, axis: i64, index: &Tensor) -> Tensor {
        let user = entered();
        let loc = user.loc();
        if self.error().is_none() && index.error().is_none() && index.elements() == Dim::ZERO {
            return Tensor::filled(index.shape(), 0.into(), self.dtype());
        }
        let gathered = self.along(axis, index, loc).and_then(|(indices, axes)| {
            let mut operands = vec![self];
            operands.extend(&indices);
            one(ops::gather(&axes), &operands, loc)
        });
        or_invalid(gathered.map_err(|e| e.at(loc)))
    }

    /// [`gather`](Tensor::gather) by another name (PyTorch's `take_along_dim`).
    #[track_caller]
    pub fn take_along(&self, index: &Tensor, axis: i64) -> Tensor {
        self.gather(axis, index)
    }

    /// Combines `source` with elements at the places that `index` names along `axis` (`torch.scatter_reduce`). Without `initial`
    /// elements, the first update at a place replaces what is there (`include_self=False`).
    #[track_caller]
    pub fn scatter_reduce(&self, axis: i64, index: &Tensor, source: &Tensor, kind: ScatterKind, initial: Initial) -> Tensor {
        let start = match (initial, kind) {
            (Initial::Kept, _) => self.clone(),
            (Initial::Replaced, kind) => {
                let neutral = kind.neutral(self.dtype());
                let touched = self.scatter(axis, index, &index.to_dtype(self.dtype()).full_like(neutral));
                // Only what is updated starts anew.
                let marks = self.zeros_like().to_dtype(DType::Bool);
                let marks = marks.scatter(axis, index, &index.to_dtype(DType::Bool).full_like(true));
                touched.where_(&marks, self)
            }
        };
        match kind {
            ScatterKind::Sum => start.scatter_with(axis, index, source, Some(ReduceKind::Sum)),
            ScatterKind::Prod => start.scatter_with(axis, index, source, Some(ReduceKind::Prod)),
            ScatterKind::Max => start.scatter_with(axis, index, source, Some(ReduceKind::Max)),
            ScatterKind::Min => start.scatter_with(axis, index, source, Some(ReduceKind::Min)),
            ScatterKind::Mean => {
                let sums = start.scatter_with(axis, index, source, Some(ReduceKind::Sum));
                let own = if initial == Initial::Kept { start.ones_like() } else { start.zeros_like() };
                let counts = own.scatter_with(axis, index, &source.ones_like(), Some(ReduceKind::Sum)).maximum(1);
                if sums.dtype().is_float() { sums / counts } else { sums.floor_divide(counts) }
            }
        }
    }

    /// Adds `source` at the places that `index` names along `axis`: the transpose of [`gather`](Tensor::gather).
    #[track_caller]
    pub fn scatter_add(&self, axis: i64, index: &Tensor, source: &Tensor) -> Tensor {
        self.scatter_with(axis, index, source, Some(ReduceKind::Sum))
    }

    /// Replaces elements at the places that `index` names along `axis`; where several meet, the last stays.
    #[track_caller]
    pub fn scatter(&self, axis: i64, index: &Tensor, source: &Tensor) -> Tensor {
        self.scatter_with(axis, index, source, None)
    }

    #[track_caller]
    fn scatter_with(&self, axis: i64, index: &Tensor, source: &Tensor, combine: Option<ReduceKind>) -> Tensor {
        let user = entered();
        let loc = user.loc();
        let scattered = self.along(axis, index, loc).and_then(|(indices, axes)| {
            source.check()?;
            let source = source.to_dtype(self.dtype());
            let mut operands = vec![self];
            operands.extend(&indices);
            operands.push(&source);
            one(ops::scatter(&axes, combine), &operands, loc)
        });
        or_invalid(scattered.map_err(|e| e.at(loc)))
    }

    /// Indices for every axis: `index` for one axis, the place itself for the others.
    #[track_caller]
    fn along(&self, axis: i64, index: &Tensor, loc: Loc) -> Result<(Vec<Tensor>, Vec<usize>)> {
        let at = self.axis(axis)?;
        let (shape, wanted) = (self.shape(), index.ty()?.shape);
        let fits = |i: usize| i == at || shape[i].at_least(wanted[i]) == Some(true);
        if wanted.len() != shape.len() || !(0..shape.len()).all(fits) {
            let error = Error::new("gather needs an index with the tensor's axes, no larger except along the gathered one");
            return Err(error.note("tensor", self.describe()).note("index", index.describe()));
        }
        let index = wrapped(index, shape[at], loc)?;
        let dtype = index.dtype();
        let mut indices = Vec::new();
        for i in 0..shape.len() {
            indices.push(if i == at { index.clone() } else { one(ops::iota(dtype, wanted.clone(), i), &[], loc)? });
        }
        Ok((indices, (0..shape.len()).collect()))
    }

    /// Whole slices along an axis combined at the places that `index`, a vector, names: `source` has the tensor's shape with as
    /// many slices as there are indices.
    #[track_caller]
    fn slices_with(&self, axis: i64, index: &Tensor, source: &Tensor, combine: Option<ReduceKind>) -> Tensor {
        let user = entered();
        let loc = user.loc();
        let single = self.error().is_none() && self.rank() == 0;
        if single {
            let vector = |t: &Tensor| t.reshape(1);
            return vector(self).slices_with(axis, &vector(index), &vector(source), combine).reshape(());
        }
        let made = self.axis(axis).and_then(|at| {
            let (shape, given) = (self.shape(), source.ty()?.shape);
            let index = if index.rank() == 0 { index.reshape(1) } else { index.clone() };
            let mut wanted = shape.clone();
            wanted[at] = index.ty()?.elements();
            if index.rank() != 1 || given != wanted {
                let error = Error::new("updates of slices need a vector of indices and as many slices of the tensor's shape");
                let error = error.note("tensor", self.describe()).note("index", index.describe());
                return Err(error.note("source", source.describe()));
            }
            let index = wrapped(&index, shape[at], loc)?;
            let order: Vec<usize> = std::iter::once(at).chain((0..shape.len()).filter(|&a| a != at)).collect();
            let source = source.to_dtype(self.dtype()).permuted(&order);
            one(ops::scatter(&[at], combine), &[self, &index, &source], loc)
        });
        or_invalid(made.map_err(|e| e.at(loc)))
    }

    /// Adds `alpha · source`, slice by slice, at the places along an axis that `index`, a vector, names (`torch.index_add`).
    #[track_caller]
    pub fn index_add(&self, axis: i64, index: &Tensor, source: &Tensor, alpha: impl Into<Scalar>) -> Tensor {
        let scaled = source * Tensor::number(alpha.into(), source.dtype());
        self.slices_with(axis, index, &scaled, Some(ReduceKind::Sum))
    }

    /// Replaces slices along an axis by those of `source` (`torch.index_copy`).
    #[track_caller]
    pub fn index_copy(&self, axis: i64, index: &Tensor, source: &Tensor) -> Tensor {
        self.slices_with(axis, index, source, None)
    }

    /// Fills slices along an axis with a value, a number or a tensor without axes (`torch.index_fill`).
    #[track_caller]
    pub fn index_fill(&self, axis: i64, index: &Tensor, value: impl Operand) -> Tensor {
        let value = match value.operand() {
            OperandRef::Tensor(value) => value.to_dtype(self.dtype()),
            OperandRef::Scalar(value) => Tensor::number(value, self.dtype()),
        };
        let shape = self.axis(if self.rank() == 0 { 0 } else { axis }).map(|at| {
            let mut shape = self.shape();
            shape[at] = index.elements();
            shape
        });
        match (self.check(), shape) {
            (Err(error), _) => error.into(),
            (_, Ok(shape)) => self.slices_with(axis, index, &value.expand(shape), None),
            (_, Err(_)) if self.rank() == 0 => self.slices_with(axis, index, &value.reshape(()), None),
            (_, Err(error)) => error.into(),
        }
    }

    /// The elements at row-major places (`torch.take`).
    #[track_caller]
    pub fn take(&self, index: &Tensor) -> Tensor {
        self.flatten_all().index_rows(index)
    }

    /// With `part` in the place of a slice along an axis (`torch.select_scatter`).
    #[track_caller]
    pub fn select_scatter(&self, part: &Tensor, axis: i64, index: i64) -> Tensor {
        self.index_copy(axis, &Tensor::from_slice(&[index], 1), &part.unsqueeze(axis))
    }

    /// Elements of `source`, row-major, in the places where `mask` is true (`torch.masked_scatter`). Tensor and mask broadcast;
    /// `source` has at least as many elements as are replaced.
    #[track_caller]
    pub fn masked_scatter(&self, mask: &Tensor, source: &Tensor) -> Tensor {
        let user = entered();
        let loc = user.loc();
        let made = super::promote::common_shape("masked_scatter", &[self, mask]).and_then(|shape| {
            source.check()?;
            let (x, mask) = (self.broadcast_to(&shape), mask.as_bool().broadcast_to(&shape));
            let source = source.to_dtype(self.dtype()).flatten_all();
            let order = mask.flatten_all().cumsum(0) - 1;
            let count = source.elements();
            if count == Dim::ZERO {
                return Ok(x);
            }
            let message = "masked_scatter: the mask chooses more elements than the source has";
            super::index::check_range(&mask.sum_all(), Dim::ZERO, count + 1, message, loc)?;
            let chosen = source.chosen(0, &order.maximum(0)).reshape_to(shape);
            Ok(chosen.where_(&mask, &x))
        });
        or_invalid(made.map_err(|e| e.at(loc)))
    }

    /// The elements where `mask` is true, as a vector (`torch.masked_select`). Tensor and mask broadcast. Needs eager mode.
    #[track_caller]
    pub fn masked_select(&self, mask: &Tensor) -> Tensor {
        let user = entered();
        let loc = user.loc();
        match super::promote::common_shape("masked_select", &[self, mask]) {
            Ok(shape) if shape.is_empty() => self.reshape(1).masked_select(&mask.reshape(1)),
            Ok(shape) => self.broadcast_to(&shape).i(mask.as_bool().broadcast_to(&shape)),
            Err(error) => Tensor::from(error.at(loc)),
        }
    }
}
