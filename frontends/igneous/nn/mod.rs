//! Layers, their parameters and their state: PyTorch's `torch.nn`, with its names, defaults and initialisation.

mod activation;
mod container;
mod conv;
mod dropout;
pub mod init;
mod linear;
mod loss;
mod mode;
mod norm;
mod pool;
mod state;
mod summary;
mod visit;

pub use crate::tensor::{Conv, Padding, Pair, Pool};
pub use activation::{Gelu, GeluTanh, Relu};
pub use container::{Flatten, Sequential};
pub use conv::Conv2d;
pub use dropout::Dropout;
pub use igneous_derive::Module;
pub use linear::Linear;
pub use loss::{CrossEntropyLoss, MseLoss, Reduction};
pub use mode::Mode;
pub use norm::{LayerNorm, LayerNormOptions};
pub use pool::MaxPool2d;
pub use state::StateDict;
pub use summary::Summary;
pub use visit::{Module, ModuleExt, Visitor};

use crate::location::called_from;
use crate::tensor::Tensor;
use crate::trace::scope;
use igneous_ir::Loc;

/// A layer from one tensor to one tensor: what [`Sequential`] is made of.
pub trait Forward: Module + Send + Sync {
    /// Applies the layer.
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor;

    /// Applies the layer inside a scope named after it, so that graphs show which layer made what, and equal layers
    /// are compiled once. The name is that of its parameters, or `name` if it has none.
    #[track_caller]
    fn call(&self, name: &str, x: &Tensor) -> Tensor
    where
        Self: Sized,
    {
        call_layer(self, name, x)
    }
}

/// [`Forward::call`] for a layer of unknown type.
#[track_caller]
pub(crate) fn call_layer(layer: &dyn Forward, name: &str, x: &Tensor) -> Tensor {
    called_from(Loc::caller(), || scope(name, || layer.forward(x)))
}
