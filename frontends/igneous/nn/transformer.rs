//! Encoders and decoders of attention.

use super::attention::{AttentionMask, MultiheadAttention, MultiheadAttentionOptions};
use super::dropout::Dropout;
use super::linear::Linear;
use super::norm::{LayerNorm, LayerNormOptions};
use super::visit::{Module, ModuleExt, Visitor};
use super::{Forward, init};
use crate::location::{called_from, here};
use crate::tensor::Tensor;
use crate::trace::scope;

/// Options of the layers of a transformer, with PyTorch's defaults.
#[derive(Clone, Copy, Debug)]
pub struct TransformerOptions {
    /// The features between the two linear layers (`dim_feedforward`); 2048.
    pub hidden: usize,
    /// The probability of all dropouts; 0.1.
    pub dropout: f64,
    /// What stands between the two linear layers: [`Tensor::relu`], or for example [`Tensor::gelu`].
    pub activation: fn(&Tensor) -> Tensor,
    /// Added to the variances; 1e-5 (`layer_norm_eps`).
    pub eps: f64,
    /// Whether inputs are `[N, L, E]`; by default they are `[L, N, E]`.
    pub batch_first: bool,
    /// Whether each part normalises what it takes, not what it gives. Not by default.
    pub norm_first: bool,
}

impl Default for TransformerOptions {
    fn default() -> TransformerOptions {
        TransformerOptions {
            hidden: 2048,
            dropout: 0.1,
            activation: Tensor::relu,
            eps: 1e-5,
            batch_first: false,
            norm_first: false,
        }
    }
}

impl TransformerOptions {
    #[track_caller]
    fn attention(&self, features: usize, heads: usize) -> MultiheadAttention {
        let TransformerOptions { dropout, batch_first, .. } = *self;
        MultiheadAttention::with(features, heads, MultiheadAttentionOptions { dropout, batch_first, ..Default::default() })
    }

    #[track_caller]
    fn norm(&self, features: usize) -> LayerNorm {
        LayerNorm::with(features, LayerNormOptions { eps: self.eps })
    }
}

/// One part of a layer with its shortcut: `norm(x + part(x))`, or `x + part(norm(x))`.
#[track_caller]
fn with_shortcut(x: &Tensor, norm: &LayerNorm, options: &TransformerOptions, part: impl FnOnce(&Tensor) -> Tensor) -> Tensor {
    match options.norm_first {
        true => x + part(&norm.forward(x)),
        false => norm.forward(&(x + part(x))),
    }
}

/// A layer of an encoder: attention to itself, then two linear layers, each with a shortcut and a normalisation
/// (`torch.nn.TransformerEncoderLayer`). Vaswani et al. 2017, arXiv:1706.03762.
#[derive(Clone, Debug)]
pub struct TransformerEncoderLayer {
    /// Attention of the sequence to itself.
    pub self_attn: MultiheadAttention,
    /// To the hidden features.
    pub linear1: Linear,
    /// Back from them.
    pub linear2: Linear,
    /// The normalisation of attention.
    pub norm1: LayerNorm,
    /// The normalisation of the linear layers.
    pub norm2: LayerNorm,
    /// Dropout of the hidden features.
    pub dropout: Dropout,
    /// Dropout of what attention gives.
    pub dropout1: Dropout,
    /// Dropout of what the linear layers give.
    pub dropout2: Dropout,
    /// The options.
    pub options: TransformerOptions,
}

impl TransformerEncoderLayer {
    /// So many features in so many heads.
    #[track_caller]
    pub fn new(features: usize, heads: usize) -> TransformerEncoderLayer {
        TransformerEncoderLayer::with(features, heads, TransformerOptions::default())
    }

    /// With options. If `heads` does not divide the features, the attention's parameters are invalid.
    #[track_caller]
    pub fn with(features: usize, heads: usize, options: TransformerOptions) -> TransformerEncoderLayer {
        TransformerEncoderLayer {
            self_attn: options.attention(features, heads),
            linear1: Linear::new(features, options.hidden),
            linear2: Linear::new(options.hidden, features),
            norm1: options.norm(features),
            norm2: options.norm(features),
            dropout: Dropout::new(options.dropout),
            dropout1: Dropout::new(options.dropout),
            dropout2: Dropout::new(options.dropout),
            options,
        }
    }

    /// The layer, where the mask hides some positions.
    #[track_caller]
    pub fn forward_masked(&self, x: &Tensor, mask: &AttentionMask) -> Tensor {
        let loc = here();
        called_from(loc, || {
            let x =
                with_shortcut(x, &self.norm1, &self.options, |x| self.dropout1.forward(&self.self_attn.forward(x, x, x, mask)));
            with_shortcut(&x, &self.norm2, &self.options, |x| {
                let hidden = (self.options.activation)(&self.linear1.forward(x));
                self.dropout2.forward(&self.linear2.forward(&self.dropout.forward(&hidden)))
            })
        })
    }
}

impl Module for TransformerEncoderLayer {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("self_attn", &self.self_attn);
        visitor.child("linear1", &self.linear1);
        visitor.child("dropout", &self.dropout);
        visitor.child("linear2", &self.linear2);
        visitor.child("norm1", &self.norm1);
        visitor.child("norm2", &self.norm2);
        visitor.child("dropout1", &self.dropout1);
        visitor.child("dropout2", &self.dropout2);
    }
}

impl Forward for TransformerEncoderLayer {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.forward_masked(x, &AttentionMask::default())
    }
}

/// A layer of a decoder: attention to itself, attention to what an encoder made, then two linear layers
/// (`torch.nn.TransformerDecoderLayer`). Vaswani et al. 2017, arXiv:1706.03762.
#[derive(Clone, Debug)]
pub struct TransformerDecoderLayer {
    /// Attention of the sequence to itself.
    pub self_attn: MultiheadAttention,
    /// Attention to what the encoder made.
    pub multihead_attn: MultiheadAttention,
    /// To the hidden features.
    pub linear1: Linear,
    /// Back from them.
    pub linear2: Linear,
    /// The normalisation of the first attention.
    pub norm1: LayerNorm,
    /// The normalisation of the second attention.
    pub norm2: LayerNorm,
    /// The normalisation of the linear layers.
    pub norm3: LayerNorm,
    /// Dropout of the hidden features.
    pub dropout: Dropout,
    /// Dropout of what the first attention gives.
    pub dropout1: Dropout,
    /// Dropout of what the second attention gives.
    pub dropout2: Dropout,
    /// Dropout of what the linear layers give.
    pub dropout3: Dropout,
    /// The options.
    pub options: TransformerOptions,
}

/// What a decoder does not see.
#[derive(Clone, Default, Debug)]
pub struct DecoderMask {
    /// Of its own sequence; mostly causal.
    pub target: AttentionMask,
    /// Of what the encoder made.
    pub memory: AttentionMask,
}

impl TransformerDecoderLayer {
    /// So many features in so many heads.
    #[track_caller]
    pub fn new(features: usize, heads: usize) -> TransformerDecoderLayer {
        TransformerDecoderLayer::with(features, heads, TransformerOptions::default())
    }

    /// With options. If `heads` does not divide the features, the attentions' parameters are invalid.
    #[track_caller]
    pub fn with(features: usize, heads: usize, options: TransformerOptions) -> TransformerDecoderLayer {
        TransformerDecoderLayer {
            self_attn: options.attention(features, heads),
            multihead_attn: options.attention(features, heads),
            linear1: Linear::new(features, options.hidden),
            linear2: Linear::new(options.hidden, features),
            norm1: options.norm(features),
            norm2: options.norm(features),
            norm3: options.norm(features),
            dropout: Dropout::new(options.dropout),
            dropout1: Dropout::new(options.dropout),
            dropout2: Dropout::new(options.dropout),
            dropout3: Dropout::new(options.dropout),
            options,
        }
    }

    /// The layer on a sequence and on what the encoder made.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, memory: &Tensor, mask: &DecoderMask) -> Tensor {
        let loc = here();
        called_from(loc, || {
            let x = with_shortcut(x, &self.norm1, &self.options, |x| {
                self.dropout1.forward(&self.self_attn.forward(x, x, x, &mask.target))
            });
            let x = with_shortcut(&x, &self.norm2, &self.options, |x| {
                self.dropout2.forward(&self.multihead_attn.forward(x, memory, memory, &mask.memory))
            });
            with_shortcut(&x, &self.norm3, &self.options, |x| {
                let hidden = (self.options.activation)(&self.linear1.forward(x));
                self.dropout3.forward(&self.linear2.forward(&self.dropout.forward(&hidden)))
            })
        })
    }
}

impl Module for TransformerDecoderLayer {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("self_attn", &self.self_attn);
        visitor.child("multihead_attn", &self.multihead_attn);
        visitor.child("linear1", &self.linear1);
        visitor.child("dropout", &self.dropout);
        visitor.child("linear2", &self.linear2);
        visitor.child("norm1", &self.norm1);
        visitor.child("norm2", &self.norm2);
        visitor.child("norm3", &self.norm3);
        visitor.child("dropout1", &self.dropout1);
        visitor.child("dropout2", &self.dropout2);
        visitor.child("dropout3", &self.dropout3);
    }
}

/// Encoder layers one after the other (`torch.nn.TransformerEncoder`).
///
/// ```
/// use igneous::nn::{Forward, TransformerEncoder, TransformerEncoderLayer};
/// let encoder = TransformerEncoder::new((0..2).map(|_| TransformerEncoderLayer::new(8, 2)));
/// let x = igneous::Tensor::randn((10, 3, 8));
/// assert_eq!(encoder.forward(&x).shape(), x.shape());
/// ```
#[derive(Clone, Debug)]
pub struct TransformerEncoder {
    /// The layers.
    pub layers: Vec<TransformerEncoderLayer>,
    /// What the last layer's result passes through. None by default.
    pub norm: Option<LayerNorm>,
}

impl TransformerEncoder {
    /// These layers.
    pub fn new(layers: impl IntoIterator<Item = TransformerEncoderLayer>) -> TransformerEncoder {
        TransformerEncoder { layers: layers.into_iter().collect(), norm: None }
    }

    /// The same with a normalisation at the end.
    #[must_use]
    pub fn with_norm(self, norm: LayerNorm) -> TransformerEncoder {
        TransformerEncoder { norm: Some(norm), ..self }
    }

    /// The layers, each with this mask.
    #[track_caller]
    pub fn forward_masked(&self, x: &Tensor, mask: &AttentionMask) -> Tensor {
        let loc = here();
        let mut x = x.clone();
        for (i, layer) in self.layers.iter().enumerate() {
            x = called_from(loc, || scope(&i.to_string(), || layer.forward_masked(&x, mask)));
        }
        self.norm.as_ref().map_or(x.clone(), |norm| norm.forward(&x))
    }
}

impl Module for TransformerEncoder {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("layers", &self.layers);
        visitor.child("norm", &self.norm);
    }
}

impl Forward for TransformerEncoder {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.forward_masked(x, &AttentionMask::default())
    }
}

/// Decoder layers one after the other (`torch.nn.TransformerDecoder`).
#[derive(Clone, Debug)]
pub struct TransformerDecoder {
    /// The layers.
    pub layers: Vec<TransformerDecoderLayer>,
    /// What the last layer's result passes through. None by default.
    pub norm: Option<LayerNorm>,
}

impl TransformerDecoder {
    /// These layers.
    pub fn new(layers: impl IntoIterator<Item = TransformerDecoderLayer>) -> TransformerDecoder {
        TransformerDecoder { layers: layers.into_iter().collect(), norm: None }
    }

    /// The same with a normalisation at the end.
    #[must_use]
    pub fn with_norm(self, norm: LayerNorm) -> TransformerDecoder {
        TransformerDecoder { norm: Some(norm), ..self }
    }

    /// The layers on a sequence and on what an encoder made.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, memory: &Tensor, mask: &DecoderMask) -> Tensor {
        let loc = here();
        let mut x = x.clone();
        for (i, layer) in self.layers.iter().enumerate() {
            x = called_from(loc, || scope(&i.to_string(), || layer.forward(&x, memory, mask)));
        }
        self.norm.as_ref().map_or(x.clone(), |norm| norm.forward(&x))
    }
}

impl Module for TransformerDecoder {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("layers", &self.layers);
        visitor.child("norm", &self.norm);
    }
}

/// An encoder and a decoder, each with a normalisation at the end (`torch.nn.Transformer`). Vaswani et al. 2017,
/// arXiv:1706.03762.
#[derive(Clone, Debug)]
pub struct Transformer {
    /// The encoder.
    pub encoder: TransformerEncoder,
    /// The decoder.
    pub decoder: TransformerDecoder,
}

impl Transformer {
    /// So many features in so many heads, with so many encoder and decoder layers; PyTorch's defaults are 512, 8, 6 and 6.
    #[track_caller]
    pub fn new(features: usize, heads: usize, encoder_layers: usize, decoder_layers: usize) -> Transformer {
        Transformer::with(features, heads, encoder_layers, decoder_layers, TransformerOptions::default())
    }

    /// With options. All matrices are uniform in `±√(6 / (in + out))` at first.
    #[track_caller]
    pub fn with(
        features: usize,
        heads: usize,
        encoder_layers: usize,
        decoder_layers: usize,
        options: TransformerOptions,
    ) -> Transformer {
        let loc = here();
        let made = called_from(loc, || {
            let encoders = (0..encoder_layers).map(|_| TransformerEncoderLayer::with(features, heads, options));
            let decoders = (0..decoder_layers).map(|_| TransformerDecoderLayer::with(features, heads, options));
            Transformer {
                encoder: TransformerEncoder::new(encoders).with_norm(options.norm(features)),
                decoder: TransformerDecoder::new(decoders).with_norm(options.norm(features)),
            }
        });
        for (_, parameter) in made.named_parameters() {
            if let (2, Ok(sizes)) = (parameter.rank(), parameter.ty().and_then(|ty| ty.sizes())) {
                // It fails only under a trace, where the parameters are invalid already.
                let _ = parameter.assign(&init::xavier_uniform(&sizes));
            }
        }
        made
    }

    /// What the decoder makes of `target` and of what the encoder makes of `source`.
    #[track_caller]
    pub fn forward(&self, source: &Tensor, target: &Tensor, source_mask: &AttentionMask, mask: &DecoderMask) -> Tensor {
        let loc = here();
        called_from(loc, || {
            let memory = scope("encoder", || self.encoder.forward_masked(source, source_mask));
            scope("decoder", || self.decoder.forward(target, &memory, mask))
        })
    }
}

impl Module for Transformer {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("encoder", &self.encoder);
        visitor.child("decoder", &self.decoder);
    }
}
