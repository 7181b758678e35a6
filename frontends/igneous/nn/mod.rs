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
mod attention;
mod batch_norm;
mod channel_norm;
mod container;
mod conv;
mod ctc_loss;
mod distance;
mod dropout;
mod embedding;
mod functional;
mod image;
pub mod init;
mod likelihood_loss;
mod linear;
mod loss;
mod margin_loss;
mod mode;
mod norm;
mod pad;
mod pool;
mod position;
mod quantized;
mod recurrent;
mod regression_loss;
mod state;
mod stateless;
mod summary;
mod transformer;
mod visit;

pub use crate::hooks::Hooked;
pub use crate::tensor::{
    Border, Conv, ConvOptions, ConvTranspose, ConvTransposeOptions, Corners, Interpolation, Padding, PaddingOptions, Pair, Pool,
    PoolOptions,
};
pub use activation::{
    Celu, Elu, Gelu, GeluTanh, Glu, Hardshrink, Hardsigmoid, Hardswish, Hardtanh, LeakyRelu, LogSigmoid, LogSoftmax, Mish, Prelu,
    Relu, Relu6, Rrelu, Selu, Sigmoid, Silu, Softmax, Softmax2d, Softmin, Softplus, Softshrink, Softsign, Tanh, Tanhshrink,
    Threshold,
};
pub use attention::{AttentionMask, MultiheadAttention, MultiheadAttentionOptions, Projections};
pub use batch_norm::{
    BatchNorm1d, BatchNorm2d, BatchNorm3d, BatchNormOptions, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d, InstanceNormOptions,
    RunningStatistics,
};
pub use channel_norm::{GroupNorm, GroupNormOptions, LocalResponseNorm, LocalResponseNormOptions};
pub use container::{Flatten, Identity, ModuleDict, Sequential, Unflatten};
pub use conv::{Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d};
pub use ctc_loss::CtcLoss;
pub use distance::{Bilinear, CosineSimilarity, PairwiseDistance};
pub use dropout::{AlphaDropout, Dropout, Dropout1d, Dropout2d, Dropout3d};
pub use embedding::{BagMode, Embedding, EmbeddingBag, EmbeddingOptions};
pub use igneous_derive::Module;
pub use image::{ChannelShuffle, Fold, PatchOptions, PixelShuffle, PixelUnshuffle, Unfold, Upsample, UpsampleTarget};
pub use likelihood_loss::{BceLoss, BceWithLogitsLoss, GaussianNllLoss, KlDivLoss, NllLoss, PoissonNllLoss};
pub use linear::Linear;
pub(crate) use loss::IGNORED;
pub use loss::{CrossEntropyLoss, MseLoss, Reduction};
pub use margin_loss::{
    CosineEmbeddingLoss, HingeEmbeddingLoss, MarginRankingLoss, MultiLabelMarginLoss, MultiLabelSoftMarginLoss, MultiMarginLoss,
    SoftMarginLoss, TripletMarginLoss,
};
pub use mode::Mode;
pub use norm::{LayerNorm, LayerNormOptions, RmsNorm, RmsNormOptions};
pub use pad::{
    CircularPad1d, CircularPad2d, CircularPad3d, ConstantPad1d, ConstantPad2d, ConstantPad3d, PadWidths, ReflectionPad1d,
    ReflectionPad2d, ReflectionPad3d, ReplicationPad1d, ReplicationPad2d, ReplicationPad3d, ZeroPad1d, ZeroPad2d, ZeroPad3d,
};
pub use pool::{
    AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d, AdaptiveMaxPool1d, AdaptiveMaxPool2d, AdaptiveMaxPool3d, AvgPool1d,
    AvgPool2d, AvgPool3d, LpPool1d, LpPool2d, LpPool3d, MaxPool1d, MaxPool2d, MaxPool3d,
};
pub use position::{
    LearnedPositions, PositionalEncoding, PositionalEncodingOptions, RotaryEmbedding, RotaryOptions, RotaryPairs,
};
pub use quantized::{Activations, QuantizedLinear};
pub use recurrent::{
    Gru, GruCell, GruOptions, Lstm, LstmCell, LstmOptions, Nonlinearity, RecurrentWeights, Rnn, RnnCell, RnnOptions,
};
pub use regression_loss::{HuberLoss, L1Loss, SmoothL1Loss};
pub use state::StateDict;
pub use summary::{LayerSummary, Summary};
pub use transformer::{
    DecoderMask, Transformer, TransformerDecoder, TransformerDecoderLayer, TransformerEncoder, TransformerEncoderLayer,
    TransformerOptions,
};
pub use visit::{Module, ModuleExt, Visitor};

use crate::location::called_from;
use crate::location::here;
use crate::tensor::Tensor;
use crate::trace::scope;
use igneous_ir::Result;
use std::sync::Arc;
use summary::noted;

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

    /// The layer with weights of eight bits, for inference, if it has such a form.
    #[track_caller]
    fn quantized(&self, activations: Activations) -> Option<Arc<dyn Forward>> {
        let _ = activations;
        None
    }

    /// The name of the layer's type.
    fn kind(&self) -> &'static str {
        std::any::type_name::<Self>()
    }

    /// A table of the layers inside with the types of their results and the numbers of their parameters, from one run on `x`. It
    /// shows layers that a [`Sequential`] or [`call`](Forward::call) runs.
    ///
    /// # Errors
    /// If the run fails, or a trace is active.
    #[track_caller]
    fn layers(&self, x: &Tensor) -> Result<LayerSummary>
    where
        Self: Sized,
    {
        LayerSummary::of(self, x)
    }
}

/// [`Forward::call`] for a layer of unknown type.
#[track_caller]
pub(crate) fn call_layer(layer: &dyn Forward, name: &str, x: &Tensor) -> Tensor {
    called_from(here(), || scope(name, || noted(layer, name, || layer.forward(x))))
}
