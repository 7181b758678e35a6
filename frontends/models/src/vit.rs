//! The vision transformer.

use igneous::nn::{
    AttentionMask, Conv, Conv2d, Dropout, Forward, Gelu, LayerNorm, LayerNormOptions, Linear, Module, MultiheadAttention,
    MultiheadAttentionOptions, Sequential, init,
};
use igneous::{Tensor, default};

/// Patches of an image as tokens of an encoder, and a token whose vector tells the class, with torchvision's names.
/// Dosovitskiy et al. 2020, arXiv:2010.11929.
#[derive(Clone, Module)]
pub struct Vit {
    /// The vector that the class's token begins as, `[1, 1, features]`.
    pub class_token: Tensor,
    /// From a patch to its vector.
    pub conv_proj: Conv2d,
    /// Positions and blocks.
    pub encoder: VitEncoder,
    /// To the classes.
    pub heads: Sequential,
}

/// Positions, blocks and a normalisation.
#[derive(Clone, Module)]
pub struct VitEncoder {
    /// What is added to each token, `[1, 1 + patches, features]`.
    pub pos_embedding: Tensor,
    dropout: Dropout,
    /// The blocks.
    pub layers: Sequential,
    /// Behind the last.
    pub ln: LayerNorm,
}

/// Attention, then two linear layers, each behind a normalisation and with a shortcut.
#[derive(Clone, Module)]
pub struct VitBlock {
    /// In front of attention.
    pub ln_1: LayerNorm,
    /// Attention.
    pub self_attention: MultiheadAttention,
    dropout: Dropout,
    /// In front of the linear layers.
    pub ln_2: LayerNorm,
    /// The linear layers.
    pub mlp: Sequential,
}

/// The sizes of a [`Vit`].
#[derive(Clone, Copy, Debug)]
pub struct VitOptions {
    /// Height and width of an image.
    pub image: usize,
    /// Of a patch.
    pub patch: usize,
    /// Blocks.
    pub layers: usize,
    /// Heads of attention.
    pub heads: usize,
    /// Features of a token.
    pub features: usize,
    /// Features between the two linear layers of a block.
    pub hidden: usize,
    /// The probability of all dropouts.
    pub dropout: f64,
}

impl VitOptions {
    /// ViT-B/16, for images of 224×224.
    pub fn b_16() -> VitOptions {
        VitOptions { image: 224, patch: 16, layers: 12, heads: 12, features: 768, hidden: 3072, dropout: 0.0 }
    }
}

#[track_caller]
fn norm(features: usize) -> LayerNorm {
    LayerNorm::with(features, LayerNormOptions { eps: 1e-6 })
}

/// A linear layer as torchvision begins it in a block: Xavier's weights, biases near zero.
#[track_caller]
fn linear(inputs: usize, outputs: usize) -> Linear {
    let weight = Tensor::parameter(init::xavier_uniform(&[outputs, inputs]));
    Linear { weight, bias: Some(Tensor::parameter(init::normal(outputs, 0.0, 1e-6))) }
}

impl VitBlock {
    #[track_caller]
    fn new(options: VitOptions) -> VitBlock {
        let VitOptions { heads, features, hidden, dropout, .. } = options;
        let attention = MultiheadAttentionOptions { dropout, batch_first: true, ..default() };
        VitBlock {
            ln_1: norm(features),
            self_attention: MultiheadAttention::with(features, heads, attention),
            dropout: Dropout::new(dropout),
            ln_2: norm(features),
            mlp: Sequential::new()
                .push(linear(features, hidden))
                .push(Gelu)
                .push(Dropout::new(dropout))
                .push(linear(hidden, features))
                .push(Dropout::new(dropout)),
        }
    }
}

impl Forward for VitBlock {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let y = self.ln_1.forward(x);
        let x = x + self.dropout.forward(&self.self_attention.forward(&y, &y, &y, &AttentionMask::default()));
        &x + self.mlp.forward(&self.ln_2.forward(&x))
    }
}

impl Vit {
    /// Of these sizes. Where they do not fit together, what it returns is invalid.
    #[track_caller]
    pub fn new(classes: usize, options: VitOptions) -> Vit {
        let VitOptions { image, patch, layers, features, dropout, .. } = options;
        let side = image.checked_div(patch).unwrap_or(0);
        let deviation = (1.0 / (3 * patch * patch).max(1) as f64).sqrt();
        let weight = Tensor::parameter(init::trunc_normal((features, 3, patch, patch), 0.0, deviation, -2.0, 2.0));
        let bias = Some(Tensor::parameter(Tensor::zeros(features)));
        let blocks = |blocks: Sequential, i: usize| blocks.push_named(&format!("encoder_layer_{i}"), VitBlock::new(options));
        let head = Linear {
            weight: Tensor::parameter(Tensor::zeros((classes, features))),
            bias: Some(Tensor::parameter(Tensor::zeros(classes))),
        };
        Vit {
            class_token: Tensor::parameter(Tensor::zeros((1, 1, features))),
            conv_proj: Conv2d { weight, bias, options: Conv { stride: patch.into(), ..default() } },
            encoder: VitEncoder {
                pos_embedding: Tensor::parameter(init::normal((1, side * side + 1, features), 0.0, 0.02)),
                dropout: Dropout::new(dropout),
                layers: (0..layers).fold(Sequential::new(), blocks),
                ln: norm(features),
            },
            heads: Sequential::new().push_named("head", head),
        }
    }
}

impl Forward for Vit {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let patches = self.conv_proj.call("conv_proj", x).flatten(2, -1).transpose(1, 2);
        let class = self.class_token.expand((x.size(0), 1, self.class_token.size(-1)));
        let tokens = Tensor::cat(&[class, patches], 1) + &self.encoder.pos_embedding;
        let y = self.encoder.layers.call("layers", &self.encoder.dropout.forward(&tokens));
        self.heads.call("heads", &self.encoder.ln.forward(&y).i((.., 0)))
    }
}
