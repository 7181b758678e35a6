//! Inputs of samples in few words.

use crate::dim::Dim;
use crate::op::Fill;
use crate::types::{DType, Shape, TensorType};

/// One input of a sample.
pub(crate) type Input = (TensorType, Fill);

/// A constant shape.
pub(crate) fn shape(extents: impl IntoIterator<Item = usize>) -> Shape {
    extents.into_iter().map(Dim::from).collect()
}

/// Constant extents, as a list.
pub(crate) fn dims<const N: usize>(extents: [usize; N]) -> [Dim; N] {
    extents.map(Dim::from)
}

/// Standard normal numbers.
pub(crate) fn normal(dtype: DType, extents: impl IntoIterator<Item = usize>) -> Input {
    (TensorType::new(dtype, extents), Fill::Normal)
}

/// Numbers without ties.
pub(crate) fn distinct(dtype: DType, extents: impl IntoIterator<Item = usize>) -> Input {
    (TensorType::new(dtype, extents), Fill::Distinct)
}

/// Uniform numbers in a range.
pub(crate) fn uniform(dtype: DType, extents: impl IntoIterator<Item = usize>, lo: f64, hi: f64) -> Input {
    (TensorType::new(dtype, extents), Fill::Uniform(lo, hi))
}

/// Infinities, NaN and other numbers that need care.
pub(crate) fn specials(dtype: DType, extents: impl IntoIterator<Item = usize>) -> Input {
    (TensorType::new(dtype, extents), Fill::Specials)
}

/// Integers in `lo..hi`, of any element type.
pub(crate) fn range(dtype: DType, extents: impl IntoIterator<Item = usize>, lo: i64, hi: i64) -> Input {
    (TensorType::new(dtype, extents), Fill::Range(lo, hi))
}

/// A type with symbolic extents: for samples whose types alone matter.
pub(crate) fn symbolic(dtype: DType, extents: &[Dim]) -> Input {
    (TensorType::new(dtype, extents), Fill::Normal)
}
