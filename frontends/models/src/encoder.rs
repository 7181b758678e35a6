//! Classes of texts by a transformer's encoder.

use igneous::nn::{
    AttentionMask, Embedding, Forward, Linear, Module, PositionalEncoding, PositionalEncodingOptions, TransformerEncoder,
    TransformerEncoderLayer, TransformerOptions,
};
use igneous::{Tensor, default};

/// Vectors of tokens plus waves that tell positions, encoder layers, the mean over the tokens, a linear layer (`embedding`,
/// `positions`, `encoder`, `fc`).
#[derive(Clone, Debug, Module)]
pub struct EncoderClassifier {
    /// A vector for each token.
    pub embedding: Embedding,
    /// Sine waves.
    pub positions: PositionalEncoding,
    /// The layers.
    pub encoder: TransformerEncoder,
    /// To the classes.
    pub fc: Linear,
}

/// The sizes of an [`EncoderClassifier`].
#[derive(Clone, Copy, Debug)]
pub struct EncoderClassifierOptions {
    /// How many tokens there are.
    pub vocabulary: usize,
    /// How many classes there are.
    pub classes: usize,
    /// The length of the longest text; 512.
    pub longest: usize,
    /// The features of a token; 64.
    pub features: usize,
    /// Heads of attention; 4.
    pub heads: usize,
    /// Layers; 2.
    pub layers: usize,
    /// Features between the two linear layers of a layer; 128.
    pub hidden: usize,
    /// The probability of all dropouts; 0.1.
    pub dropout: f64,
}

impl EncoderClassifierOptions {
    /// The default sizes for so many tokens and classes.
    pub fn new(vocabulary: usize, classes: usize) -> EncoderClassifierOptions {
        EncoderClassifierOptions {
            vocabulary,
            classes,
            longest: 512,
            features: 64,
            heads: 4,
            layers: 2,
            hidden: 128,
            dropout: 0.1,
        }
    }
}

impl EncoderClassifier {
    /// A classifier of these sizes.
    #[track_caller]
    pub fn new(options: EncoderClassifierOptions) -> EncoderClassifier {
        let EncoderClassifierOptions { vocabulary, classes, longest, features, heads, layers, hidden, dropout } = options;
        let positions = PositionalEncodingOptions { dropout, max_len: longest, batch_first: true };
        let layer = TransformerOptions { hidden, dropout, batch_first: true, ..default() };
        EncoderClassifier {
            embedding: Embedding::new(vocabulary, features),
            positions: PositionalEncoding::with(features, positions),
            encoder: TransformerEncoder::new((0..layers).map(|_| TransformerEncoderLayer::with(features, heads, layer))),
            fc: Linear::new(features, classes),
        }
    }

    /// Scores of the classes of texts `[n, tokens]`; `padding`, of the same shape, is true behind the end of a text.
    #[track_caller]
    pub fn forward_padded(&self, tokens: &Tensor, padding: &Tensor) -> Tensor {
        let mask = AttentionMask { padding: Some(padding.clone()), ..default() };
        let x = self.encoded(tokens, &mask);
        let counts = padding.logical_not().to_dtype(x.dtype()).unsqueeze(-1);
        self.fc.forward(&((x * &counts).sum(1) / counts.sum(1).clamp_min(1.0)))
    }

    #[track_caller]
    fn encoded(&self, tokens: &Tensor, mask: &AttentionMask) -> Tensor {
        self.encoder.forward_masked(&self.positions.forward(&self.embedding.forward(tokens)), mask)
    }
}

impl Forward for EncoderClassifier {
    #[track_caller]
    fn forward(&self, tokens: &Tensor) -> Tensor {
        self.fc.forward(&self.encoded(tokens, &AttentionMask::default()).mean(1))
    }
}
