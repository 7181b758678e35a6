//! Composite operators: visible as one node until fusion, then replaced by their decomposition.
//!
//! Each has a reference that is not its decomposition, and a derivative that reuses its results where that is
//! cheaper than differentiating the decomposition. Half types are computed in `f32` and rounded once.

mod attention;
mod cross_entropy;
mod dropout;
mod gelu;
mod layer_norm;
mod random;
mod softmax;
#[cfg(test)]
mod tests;

pub use attention::*;
pub use cross_entropy::*;
pub use dropout::*;
pub use gelu::*;
pub use layer_norm::*;
pub use random::*;
pub use softmax::*;

use crate::dim::Dim;
use crate::emit::{Emitter, X};
use crate::op::{Fill, Record};
use crate::types::{DType, Literal, TensorType};

/// The records of this family.
pub static COMPOSITE: &[&Record] = &[
    &ATTENTION,
    &ATTENTION_BACKWARD,
    &CROSS_ENTROPY,
    &DROPOUT,
    &FLEX_ATTENTION,
    &FLEX_ATTENTION_BACKWARD,
    &GELU,
    &LAYER_NORM,
    &LOG_SOFTMAX,
    &RANDOM_NORMAL,
    &RANDOM_UNIFORM,
    &SOFTMAX,
];

/// `x` in the type its arithmetic is done in.
fn wide<'b, 'e>(x: X<'b, 'e>) -> X<'b, 'e> {
    x.cast(x.dtype().compute())
}

/// A dimension as a number of type `dtype`, without axes.
fn extent_as<'b, 'e>(emitter: &'b Emitter<'e>, dim: Dim, dtype: DType) -> X<'b, 'e> {
    match dim.as_const() {
        Some(n) => emitter.scalar(Literal::int(dtype, n)),
        None => emitter.one(super::extent(dim), &[]).cast(dtype),
    }
}

fn normal<const N: usize>(dtype: DType, shape: [usize; N]) -> (TensorType, Fill) {
    (TensorType::new(dtype, shape), Fill::Normal)
}
