//! In-place look-alikes on variables: each computes a new value and assigns it.
//!
//! No gradient is recorded, and none flows: a variable is a leaf. They return `Result`, because an assignment is a place
//! where errors surface.

use super::Tensor;
use super::arguments::{Operand, Scalar};
use super::index::Index;
use igneous_ir::Result;

macro_rules! assigning {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $ty:ty),*) $x:ident => $value:expr;)*) => {
        impl Tensor {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// If this is no variable, or the new value is invalid or has another type.
                #[track_caller]
                pub fn $name(&self, $($argument: $ty),*) -> Result<()> {
                    self.update(|$x| $value)
                }
            )*
        }
    };
}

assigning! {
    /// Adds `other` to a variable.
    add_(other: impl Operand) x => {
        let mut y = x.clone();
        y += other;
        y.to_dtype(x.dtype())
    };
    /// Subtracts `other` from a variable.
    sub_(other: impl Operand) x => {
        let mut y = x.clone();
        y -= other;
        y.to_dtype(x.dtype())
    };
    /// Multiplies a variable by `other`.
    mul_(other: impl Operand) x => {
        let mut y = x.clone();
        y *= other;
        y.to_dtype(x.dtype())
    };
    /// Divides a variable by `other`.
    div_(other: impl Operand) x => {
        let mut y = x.clone();
        y /= other;
        y.to_dtype(x.dtype())
    };
    /// Limits a variable's elements to a range.
    clamp_(min: impl Operand, max: impl Operand) x => x.clamp(min, max);
    /// Fills a variable with a value.
    fill_(value: impl Into<Scalar>) x => x.full_like(value);
    /// Fills a variable with zeros.
    zero_() x => x.zeros_like();
    /// Puts the elements of another tensor, broadcast and converted, into a variable.
    copy_(other: &Tensor) x => other.to_dtype(x.dtype()).expand(x.shape());
    /// Puts a value where `mask` is true.
    masked_fill_(mask: &Tensor, value: impl Into<Scalar>) x => x.masked_fill(mask, value);
    /// Puts elements of `source` where `mask` is true: see [`masked_scatter`](Tensor::masked_scatter).
    masked_scatter_(mask: &Tensor, source: &Tensor) x => x.masked_scatter(mask, source);
    /// What `x[index] = values` does: see [`index_put`](Tensor::index_put).
    index_put_(index: impl Index, values: impl Operand) x => x.index_put(index, values);
    /// Adds at the places that an index chooses: see [`index_put_add`](Tensor::index_put_add).
    index_put_add_(index: impl Index, values: impl Operand) x => x.index_put_add(index, values);
    /// Adds slices: see [`index_add`](Tensor::index_add).
    index_add_(axis: i64, index: &Tensor, source: &Tensor) x => x.index_add(axis, index, source, 1);
    /// Replaces slices: see [`index_copy`](Tensor::index_copy).
    index_copy_(axis: i64, index: &Tensor, source: &Tensor) x => x.index_copy(axis, index, source);
    /// Fills slices: see [`index_fill`](Tensor::index_fill).
    index_fill_(axis: i64, index: &Tensor, value: impl Operand) x => x.index_fill(axis, index, value);
    /// Replaces elements along an axis: see [`scatter`](Tensor::scatter).
    scatter_(axis: i64, index: &Tensor, source: &Tensor) x => x.scatter(axis, index, source);
    /// Adds elements along an axis: see [`scatter_add`](Tensor::scatter_add).
    scatter_add_(axis: i64, index: &Tensor, source: &Tensor) x => x.scatter_add(axis, index, source);
    /// `self + value · a · b`, assigned.
    addcmul_(a: &Tensor, b: &Tensor, value: f64) x => x.addcmul(a, b, value);
    /// `self + value · a / b`, assigned.
    addcdiv_(a: &Tensor, b: &Tensor, value: f64) x => x.addcdiv(a, b, value);
    /// `self + weight · (end − self)`, assigned.
    lerp_(end: &Tensor, weight: impl Operand) x => x.lerp(end, weight);
    /// Normal random numbers with this mean and standard deviation.
    normal_(mean: f64, std: f64) x => x.randn_like() * std + mean;
    /// Uniform random numbers in a range.
    uniform_(low: f64, high: f64) x => x.rand_like() * (high - low) + low;
}
