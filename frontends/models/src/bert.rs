//! BERT.

use igneous::nn::{Dropout, Embedding, EmbeddingOptions, Forward, LayerNorm, LayerNormOptions, Linear, Module, init};
use igneous::{Attention, DType, Tensor, default};

/// An encoder of tokens to vectors. Devlin et al. 2018, arXiv:1810.04805. Parameters have the names of Hugging Face's
/// `BertModel`.
#[derive(Clone, Debug, Module)]
pub struct Bert {
    /// The vectors that tokens begin as.
    pub embeddings: BertEmbeddings,
    /// The layers.
    pub encoder: BertEncoder,
    /// On the first token, for the pooled result.
    pub pooler: BertPooler,
}

/// The sizes of a [`Bert`].
#[derive(Clone, Copy, Debug)]
pub struct BertOptions {
    /// How many tokens there are.
    pub vocabulary: usize,
    /// The length of the longest sequence.
    pub context: usize,
    /// Kinds of tokens: of the first and the second sentence.
    pub token_types: usize,
    /// Layers.
    pub layers: usize,
    /// Heads of attention.
    pub heads: usize,
    /// Features of a token.
    pub features: usize,
    /// Features between the two linear layers of a layer.
    pub hidden: usize,
    /// The probability of all dropouts.
    pub dropout: f64,
}

impl BertOptions {
    /// BERT-base, 109 million parameters.
    pub fn base() -> BertOptions {
        BertOptions {
            vocabulary: 30522,
            context: 512,
            token_types: 2,
            layers: 12,
            heads: 12,
            features: 768,
            hidden: 3072,
            dropout: 0.1,
        }
    }
}

/// What the vectors of a [`Bert`]'s tokens are made of.
#[derive(Clone, Debug, Module)]
pub struct BertEmbeddings {
    /// A vector for each token.
    pub word_embeddings: Embedding,
    /// A vector for each position.
    pub position_embeddings: Embedding,
    /// A vector for each kind of token.
    pub token_type_embeddings: Embedding,
    /// The normalisation of their sum.
    #[module(name = "LayerNorm")]
    pub layer_norm: LayerNorm,
    dropout: Dropout,
}

/// The layers of a [`Bert`].
#[derive(Clone, Debug, Module)]
pub struct BertEncoder {
    /// One after the other.
    pub layer: Vec<BertLayer>,
}

/// Attention, then two linear layers, each with a shortcut and a normalisation behind.
#[derive(Clone, Debug, Module)]
pub struct BertLayer {
    /// Attention.
    pub attention: BertAttention,
    /// To the hidden features.
    pub intermediate: BertDense,
    /// Back from them.
    pub output: BertNormed,
}

/// Attention and what follows it.
#[derive(Clone, Debug, Module)]
pub struct BertAttention {
    /// The heads.
    #[module(name = "self")]
    pub heads: BertSelfAttention,
    /// Behind them.
    pub output: BertNormed,
}

/// The heads of attention.
#[derive(Clone, Debug, Module)]
pub struct BertSelfAttention {
    /// To queries.
    pub query: Linear,
    /// To keys.
    pub key: Linear,
    /// To values.
    pub value: Linear,
    dropout: Dropout,
    heads: usize,
}

/// A linear layer called `dense`.
#[derive(Clone, Debug, Module)]
pub struct BertDense {
    /// The layer.
    pub dense: Linear,
}

/// A linear layer, dropout, a shortcut and a normalisation.
#[derive(Clone, Debug, Module)]
pub struct BertNormed {
    /// The layer.
    pub dense: Linear,
    /// The normalisation.
    #[module(name = "LayerNorm")]
    pub layer_norm: LayerNorm,
    dropout: Dropout,
}

/// The layer on the first token.
pub type BertPooler = BertDense;

/// A linear layer as BERT begins it.
#[track_caller]
fn linear(inputs: usize, outputs: usize) -> Linear {
    let weight = Tensor::parameter(init::normal((outputs, inputs), 0.0, 0.02));
    Linear { weight, bias: Some(Tensor::parameter(Tensor::zeros(outputs))) }
}

#[track_caller]
fn embedding(count: usize, features: usize) -> Embedding {
    let weight = Tensor::parameter(init::normal((count, features), 0.0, 0.02));
    Embedding { weight, options: EmbeddingOptions::default() }
}

#[track_caller]
fn norm(features: usize) -> LayerNorm {
    LayerNorm::with(features, LayerNormOptions { eps: 1e-12 })
}

impl Bert {
    /// An encoder of these sizes. Where they do not fit together, what it returns is invalid.
    #[track_caller]
    pub fn new(options: BertOptions) -> Bert {
        let BertOptions { vocabulary, context, token_types, layers, features, dropout, .. } = options;
        Bert {
            embeddings: BertEmbeddings {
                word_embeddings: embedding(vocabulary, features),
                position_embeddings: embedding(context, features),
                token_type_embeddings: embedding(token_types, features),
                layer_norm: norm(features),
                dropout: Dropout::new(dropout),
            },
            encoder: BertEncoder { layer: (0..layers).map(|_| BertLayer::new(options)).collect() },
            pooler: BertDense { dense: linear(features, features) },
        }
    }

    /// The vectors `[n, l, features]` of tokens `[n, l]`, and one for each sequence, `[n, features]`. `token_types` tells the
    /// sentence of each token, the first by default; `attention_mask` is 0 where there is padding.
    #[track_caller]
    pub fn forward(&self, tokens: &Tensor, token_types: Option<&Tensor>, attention_mask: Option<&Tensor>) -> (Tensor, Tensor) {
        let mut x = self.embeddings.forward(tokens, token_types);
        let seen = attention_mask.map(|mask| mask.to_dtype(DType::I64).ne(0).unsqueeze(1).unsqueeze(1));
        for (i, layer) in self.encoder.layer.iter().enumerate() {
            x = igneous::scope(&i.to_string(), || layer.forward(&x, seen.as_ref()));
        }
        let pooled = self.pooler.dense.forward(&x.i((.., 0))).tanh();
        (x, pooled)
    }
}

impl BertEmbeddings {
    #[track_caller]
    fn forward(&self, tokens: &Tensor, token_types: Option<&Tensor>) -> Tensor {
        let kinds = match token_types {
            Some(kinds) => self.token_type_embeddings.forward(kinds),
            None => self.token_type_embeddings.weight.i(0),
        };
        let places = self.position_embeddings.forward(&Tensor::arange(0, tokens.size(-1)));
        self.dropout.forward(&self.layer_norm.forward(&(self.word_embeddings.forward(tokens) + kinds + places)))
    }
}

impl BertLayer {
    #[track_caller]
    fn new(options: BertOptions) -> BertLayer {
        let BertOptions { features, hidden, heads, dropout, .. } = options;
        let normed = |inputs: usize| BertNormed {
            dense: linear(inputs, features),
            layer_norm: norm(features),
            dropout: Dropout::new(dropout),
        };
        BertLayer {
            attention: BertAttention {
                heads: BertSelfAttention {
                    query: linear(features, features),
                    key: linear(features, features),
                    value: linear(features, features),
                    dropout: Dropout::new(dropout),
                    heads,
                },
                output: normed(features),
            },
            intermediate: BertDense { dense: linear(features, hidden) },
            output: normed(hidden),
        }
    }

    #[track_caller]
    fn forward(&self, x: &Tensor, seen: Option<&Tensor>) -> Tensor {
        let x = self.attention.output.forward(&self.attention.heads.forward(x, seen), x);
        self.output.forward(&self.intermediate.dense.forward(&x).gelu(), &x)
    }
}

impl BertSelfAttention {
    #[track_caller]
    fn forward(&self, x: &Tensor, seen: Option<&Tensor>) -> Tensor {
        let split = |x: Tensor| x.unflatten(-1, (self.heads, -1)).transpose(1, 2);
        let (q, k, v) = (split(self.query.forward(x)), split(self.key.forward(x)), split(self.value.forward(x)));
        let dropout = if self.dropout.mode.is_training() { self.dropout.p } else { 0.0 };
        let options = Attention { mask: seen.cloned(), dropout, ..default() };
        q.scaled_dot_product_attention(&k, &v, &options).transpose(1, 2).flatten(-2, -1)
    }
}

impl BertNormed {
    #[track_caller]
    fn forward(&self, x: &Tensor, shortcut: &Tensor) -> Tensor {
        self.layer_norm.forward(&(self.dropout.forward(&self.dense.forward(x)) + shortcut))
    }
}
