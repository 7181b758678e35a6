//! Assignment through an index: the tensor with other elements at the chosen places.

use super::arguments::{Operand, OperandRef};
use super::index::{Index, IndexItem, one};
use super::{Tensor, or_invalid};
use crate::location::entered;
use crate::trace;
use igneous_ir::op::ReduceKind;
use igneous_ir::{DType, Dim, Error, Loc, Result, Shape, ops};

impl Tensor {
    /// With `values`, broadcast, at the places that an index chooses: what `x[index] = values` makes of `x`
    /// (`torch.index_put`). The index is that of [`i`](Tensor::i). Where places repeat, the last value stays.
    ///
    /// ```
    /// use igneous::Tensor;
    /// let x = Tensor::zeros((2, 3)).index_put((.., 1), 5.0);
    /// assert_eq!(x.to_vec::<f32>()?, [0.0, 5.0, 0.0, 0.0, 5.0, 0.0]);
    /// # Ok::<(), igneous::Error>(())
    /// ```
    ///
    /// Under a trace a mask takes values whose shape does not depend on how many places it chooses.
    #[track_caller]
    pub fn index_put(&self, index: impl Index, values: impl Operand) -> Tensor {
        self.put(index.items(), values.operand(), None)
    }

    /// With `values`, broadcast, added at the places that an index chooses (`torch.index_put(accumulate=True)`). Where places
    /// repeat, all are added.
    #[track_caller]
    pub fn index_put_add(&self, index: impl Index, values: impl Operand) -> Tensor {
        self.put(index.items(), values.operand(), Some(ReduceKind::Sum))
    }

    #[track_caller]
    fn put(&self, items: Vec<IndexItem>, values: OperandRef<'_>, combine: Option<ReduceKind>) -> Tensor {
        let user = entered();
        let loc = user.loc();
        let values = match values {
            OperandRef::Tensor(values) => values.to_dtype(self.dtype()),
            OperandRef::Scalar(value) => Tensor::number(value, self.dtype()),
        };
        let made = self.check().and_then(|()| values.check()).and_then(|()| self.put_checked(items, &values, combine, loc));
        or_invalid(made.map_err(|e| e.at(loc)))
    }

    fn put_checked(&self, items: Vec<IndexItem>, values: &Tensor, combine: Option<ReduceKind>, loc: Loc) -> Result<Tensor> {
        if let Some(put) = self.put_by_mask(&items, values, combine, loc)? {
            return Ok(put);
        }
        // The row-major place of every element, indexed like the tensor itself.
        let shape = self.shape();
        let count = self.elements();
        let places = one(ops::iota(DType::I64, Shape::from_iter([count]), 0), &[], loc)?.reshape_to(shape.clone());
        let places = places.i(items);
        places.check()?;
        let values = broadcast_values(values, &places.shape()).map_err(|e| e.note("tensor", self.describe()))?;
        let flat = self.reshape_to(Shape::from_iter([count]));
        let put = one(ops::scatter(&[0], combine), &[&flat, &places, &values], loc)?;
        Ok(put.reshape_to(shape))
    }

    /// Under a trace, an index that is one mask: a choice between old and new elements.
    fn put_by_mask(&self, items: &[IndexItem], values: &Tensor, combine: Option<ReduceKind>, loc: Loc) -> Result<Option<Tensor>> {
        let [IndexItem::Tensor(mask)] = items else { return Ok(None) };
        if mask.ty()?.dtype != DType::Bool || !trace::is_tracing() {
            return Ok(None);
        }
        let (shape, covered) = (self.shape(), mask.rank());
        if covered > shape.len() || mask.shape()[..] != shape[..covered] {
            let error = Error::new("a mask needs the extents of the axes it covers");
            return Err(error.note("tensor", self.describe()).note("mask", mask.describe()).at(loc));
        }
        // Of the values' axes, the one for the chosen places is in front of those that the mask does not cover.
        let rest = shape.len() - covered;
        let mut own = values.shape();
        if own.len() > rest {
            if own.len() > rest + 1 || own[0] != Dim::ONE {
                let error = Error::new("how many places a mask chooses is known only when its values are");
                let remedy = "give values without an axis for the chosen places, or use masked_scatter";
                return Err(error.note("mask", mask.describe()).note("values", values.describe()).note("remedy", remedy).at(loc));
            }
            own.remove(0);
        }
        let values = values.reshape_to(own).expand(shape.clone());
        let mut lifted = mask.shape();
        lifted.extend((0..rest).map(|_| Dim::ONE));
        let new = if combine.is_some() { self + &values } else { values };
        Ok(Some(new.where_(&mask.reshape_to(lifted), self)))
    }
}

/// The values in the shape of the chosen part; axes of extent one in front may be missing or be too many.
fn broadcast_values(values: &Tensor, shape: &Shape) -> Result<Tensor> {
    let mut own = values.shape();
    while own.len() > shape.len() && own[0] == Dim::ONE {
        own.remove(0);
    }
    let values = values.reshape_to(own);
    let fits = ops::broadcast_shapes(&values.shape(), shape).is_ok_and(|common| common == *shape);
    match fits {
        true => Ok(values.broadcast_to(shape)),
        false => Err(Error::new(format!("values do not broadcast to the chosen part, whose shape is {shape:?}"))
            .note("values", values.describe())),
    }
}
