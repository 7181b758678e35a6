//! Layers, their parameters and their state: PyTorch's `torch.nn`, with its names, defaults and initialisation.
//!
//! A model is a struct of layers, parameters and whatever else it needs. The derived [`Module`] finds the parameters in it;
//! [`ModuleExt`] names, counts, freezes, saves and loads them and switches between training and evaluation:
//!
//! ```
//! use igneous::nn::{Dropout, Forward, LayerNorm, Linear, Module, ModuleExt};
//! use igneous::Tensor;
//!
//! #[derive(Module)]
//! struct Block {
//!     norm: LayerNorm,
//!     up: Linear,
//!     down: Linear,
//!     gain: Tensor,
//!     dropout: Dropout,
//! }
//!
//! impl Forward for Block {
//!     fn forward(&self, x: &Tensor) -> Tensor {
//!         let hidden = self.up.forward(&self.norm.forward(x)).gelu();
//!         x + self.dropout.forward(&self.down.forward(&hidden)) * &self.gain
//!     }
//! }
//!
//! let block = Block {
//!     norm: LayerNorm::new(8),
//!     up: Linear::new(8, 32),
//!     down: Linear::new(32, 8),
//!     gain: Tensor::parameter(Tensor::ones(8)),
//!     dropout: Dropout::new(0.1),
//! };
//! assert_eq!(block.parameter_count(), 16 + 8 * 32 + 32 + 32 * 8 + 8 + 8);
//! assert_eq!(block.named_parameters()[2].0, "up.weight");
//! block.eval();
//! let x = Tensor::randn((4, 8));
//! assert_eq!(block.forward(&x).to_vec::<f32>()?, block.forward(&x).to_vec::<f32>()?);
//! # Ok::<(), igneous::Error>(())
//! ```
//!
//! Layers are made outside of compiled functions. Bad arguments make a layer whose parameters are invalid: the error, with
//! the line of the constructor, comes out where they are first used.

mod activation;
mod container;
mod conv;
mod dropout;
pub mod init;
mod likelihood_loss;
mod linear;
mod loss;
mod mode;
mod norm;
mod pool;
mod recurrent;
mod regression_loss;
mod state;
mod summary;
mod visit;

pub use crate::hooks::Hooked;
pub use crate::tensor::{Conv, Padding, Pair, Pool};
pub use activation::{Gelu, GeluTanh, Relu};
pub use container::{Flatten, Sequential};
pub use conv::Conv2d;
pub use dropout::Dropout;
pub use igneous_derive::Module;
pub use likelihood_loss::{BceLoss, BceWithLogitsLoss, KlDivLoss, NllLoss};
pub use linear::Linear;
pub use loss::{CrossEntropyLoss, MseLoss, Reduction};
pub use mode::Mode;
pub use norm::{LayerNorm, LayerNormOptions};
pub use pool::MaxPool2d;
pub use recurrent::{
    Gru, GruCell, GruOptions, Lstm, LstmCell, LstmOptions, Nonlinearity, RecurrentWeights, Rnn, RnnCell, RnnOptions,
};
pub use regression_loss::{HuberLoss, L1Loss, SmoothL1Loss};
pub use state::StateDict;
pub use summary::Summary;
pub use visit::{Module, ModuleExt, Visitor};

use crate::location::called_from;
use crate::location::here;
use crate::tensor::Tensor;
use crate::trace::scope;

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
    called_from(here(), || scope(name, || layer.forward(x)))
}
