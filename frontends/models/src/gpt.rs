//! GPT-2 and its small relatives.

use igneous::nn::{
    Dropout, Embedding, EmbeddingOptions, Forward, LayerNorm, LearnedPositions, Linear, Module, ModuleExt, RotaryEmbedding,
};
use igneous::nn::{StateDict, init};
use igneous::{Attention, Result, Tensor, default};

/// A decoder of tokens `[n, l]` to scores of each next token `[n, l, vocabulary]`. Radford et al. 2019.
///
/// Parameters have nanoGPT's names (`transformer.h.0.attn.c_attn.weight`), which are Hugging Face's too, except that there the
/// weights of linear layers lie transposed: [`load_hugging_face`](Gpt::load_hugging_face) reads those. The matrix of the scores
/// is that of the embedding.
///
/// ```no_run
/// use igneous::nn::StateDict;
/// use igneous_models::{Gpt, GptOptions};
/// let gpt = Gpt::new(GptOptions::gpt2());
/// gpt.load_hugging_face(&StateDict::load("gpt2/model.safetensors")?)?;
/// # Ok::<(), igneous::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct Gpt {
    /// Everything.
    pub transformer: GptTransformer,
}

/// The parts of a [`Gpt`].
#[derive(Clone, Debug, Module)]
pub struct GptTransformer {
    /// A vector for each token.
    pub wte: Embedding,
    /// A vector for each position; none with rotary positions.
    pub wpe: Option<LearnedPositions>,
    /// Dropout of their sum.
    pub drop: Dropout,
    /// The blocks.
    pub h: Vec<GptBlock>,
    /// The normalisation in front of the scores.
    pub ln_f: LayerNorm,
}

/// How a [`Gpt`] knows positions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum GptPositions {
    /// A vector for each position is added, as in GPT-2.
    #[default]
    Learned,
    /// Queries and keys are turned (RoPE). Su et al. 2021, arXiv:2104.09864.
    Rotary,
}

/// The sizes of a [`Gpt`].
#[derive(Clone, Copy, Debug)]
pub struct GptOptions {
    /// How many tokens there are.
    pub vocabulary: usize,
    /// The length of the longest sequence.
    pub context: usize,
    /// Blocks.
    pub layers: usize,
    /// Heads of attention.
    pub heads: usize,
    /// Features of a token.
    pub features: usize,
    /// The probability of all dropouts.
    pub dropout: f64,
    /// Between the two linear layers of a block: [`Tensor::gelu`] in nanoGPT, [`Tensor::gelu_tanh`] in GPT-2.
    pub activation: fn(&Tensor) -> Tensor,
    /// Positions.
    pub positions: GptPositions,
}

impl GptOptions {
    /// A small one for characters: nanoGPT's sizes for training on a CPU (4 layers, 4 heads, 128 features, contexts of 64, no
    /// dropout).
    pub fn characters(vocabulary: usize) -> GptOptions {
        GptOptions {
            vocabulary,
            context: 64,
            layers: 4,
            heads: 4,
            features: 128,
            dropout: 0.0,
            activation: Tensor::gelu,
            positions: GptPositions::Learned,
        }
    }

    /// GPT-2 with 124 million parameters.
    pub fn gpt2() -> GptOptions {
        GptOptions {
            vocabulary: 50257,
            context: 1024,
            layers: 12,
            heads: 12,
            features: 768,
            dropout: 0.1,
            activation: Tensor::gelu_tanh,
            positions: GptPositions::Learned,
        }
    }
}

/// Attention, then two linear layers, each behind a normalisation and with a shortcut.
#[derive(Clone, Debug, Module)]
pub struct GptBlock {
    /// In front of attention.
    pub ln_1: LayerNorm,
    /// Attention.
    pub attn: GptAttention,
    /// In front of the linear layers.
    pub ln_2: LayerNorm,
    /// The linear layers.
    pub mlp: GptMlp,
}

/// Attention of each token to those up to itself.
#[derive(Clone, Debug, Module)]
pub struct GptAttention {
    /// To queries, keys and values.
    pub c_attn: Linear,
    /// Behind the heads.
    pub c_proj: Linear,
    resid_dropout: Dropout,
    #[module(skip)]
    options: GptOptions,
}

/// Two linear layers.
#[derive(Clone, Debug, Module)]
pub struct GptMlp {
    /// To four times the features.
    pub c_fc: Linear,
    /// Back.
    pub c_proj: Linear,
    dropout: Dropout,
    #[module(skip)]
    activation: fn(&Tensor) -> Tensor,
}

/// A linear layer as GPT-2 begins it: normal weights of this deviation, no bias at first.
#[track_caller]
fn linear(inputs: usize, outputs: usize, deviation: f64) -> Linear {
    let weight = Tensor::parameter(init::normal((outputs, inputs), 0.0, deviation));
    Linear { weight, bias: Some(Tensor::parameter(Tensor::zeros(outputs))) }
}

impl GptBlock {
    #[track_caller]
    fn new(options: GptOptions) -> GptBlock {
        let GptOptions { features, dropout, activation, layers, .. } = options;
        // Shortcuts add up over the layers.
        let residual = 0.02 / (2.0 * layers as f64).sqrt();
        GptBlock {
            ln_1: LayerNorm::new(features),
            attn: GptAttention {
                c_attn: linear(features, 3 * features, 0.02),
                c_proj: linear(features, features, residual),
                resid_dropout: Dropout::new(dropout),
                options,
            },
            ln_2: LayerNorm::new(features),
            mlp: GptMlp {
                c_fc: linear(features, 4 * features, 0.02),
                c_proj: linear(4 * features, features, residual),
                dropout: Dropout::new(dropout),
                activation,
            },
        }
    }
}

impl Forward for GptBlock {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let x = x + self.attn.forward(&self.ln_1.forward(x));
        &x + self.mlp.forward(&self.ln_2.forward(&x))
    }
}

impl Forward for GptAttention {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let GptOptions { features, heads, positions, dropout, .. } = self.options;
        let width = features.checked_div(heads).unwrap_or(0);
        let all = self.c_attn.forward(x);
        let part = |i: usize| all.narrow(-1, i * features, features).unflatten(-1, (heads, width)).transpose(-2, -3);
        let (mut q, mut k, v) = (part(0), part(1), part(2));
        if positions == GptPositions::Rotary {
            let rotary = RotaryEmbedding::new(width);
            (q, k) = (rotary.forward(&q), rotary.forward(&k));
        }
        let dropout = if self.resid_dropout.mode.is_training() { dropout } else { 0.0 };
        let y = q.scaled_dot_product_attention(&k, &v, &Attention { causal: true, dropout, ..default() });
        self.resid_dropout.forward(&self.c_proj.forward(&y.transpose(-2, -3).flatten(-2, -1)))
    }
}

impl Forward for GptMlp {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.dropout.forward(&self.c_proj.forward(&(self.activation)(&self.c_fc.forward(x))))
    }
}

impl Gpt {
    /// A decoder of these sizes. Where they do not fit together, what it returns is invalid.
    #[track_caller]
    pub fn new(options: GptOptions) -> Gpt {
        let GptOptions { vocabulary, context, layers, features, dropout, positions, .. } = options;
        let table = Tensor::parameter(init::normal((vocabulary, features), 0.0, 0.02));
        Gpt {
            transformer: GptTransformer {
                wte: Embedding { weight: table, options: EmbeddingOptions::default() },
                wpe: (positions == GptPositions::Learned).then(|| LearnedPositions::new(context, features).batch_first()),
                drop: Dropout::new(dropout),
                h: (0..layers).map(|_| GptBlock::new(options)).collect(),
                ln_f: LayerNorm::new(features),
            },
        }
    }

    /// Takes weights with Hugging Face's names: with or without `transformer.` in front, linear weights as `[in, out]`, whatever
    /// masks and scores' matrix the file has besides.
    ///
    /// # Errors
    /// If a weight is missing, unknown or of another type; nothing has changed then.
    #[track_caller]
    pub fn load_hugging_face(&self, state: &StateDict) -> Result<()> {
        let linear = ["c_attn.weight", "c_proj.weight", "c_fc.weight"];
        let known =
            |name: &str| !name.ends_with(".attn.bias") && !name.ends_with(".attn.masked_bias") && name != "lm_head.weight";
        let mut own = StateDict::new();
        for (name, value) in state.iter().filter(|(name, _)| known(name)) {
            let value = if linear.iter().any(|end| name.ends_with(end)) { value.t() } else { value.clone() };
            own.insert(format!("transformer.{}", name.strip_prefix("transformer.").unwrap_or(name)), value);
        }
        self.load_state_dict(&own)
    }

    /// The tokens' vectors behind the last block, `[n, l, features]`.
    #[track_caller]
    pub fn features(&self, tokens: &Tensor) -> Tensor {
        let GptTransformer { wte, wpe, drop, h, ln_f } = &self.transformer;
        let x = wte.forward(tokens);
        let x = wpe.as_ref().map_or(x.clone(), |wpe| wpe.forward(&x));
        let x = h.iter().enumerate().fold(drop.forward(&x), |x, (i, block)| block.call(&i.to_string(), &x));
        ln_f.forward(&x)
    }

    /// The scores `[n, vocabulary]` of what follows the token at the place `last`, one integer without axes, of sequences
    /// `[n, l]`. What lies behind that place, for example padding, has no effect.
    #[track_caller]
    pub fn next(&self, tokens: &Tensor, last: &Tensor) -> Tensor {
        self.scores(&self.features(tokens).narrow_at(1, last, 1).squeeze(1))
    }

    #[track_caller]
    fn scores(&self, x: &Tensor) -> Tensor {
        x.linear(&self.transformer.wte.weight, None)
    }
}

impl Forward for Gpt {
    #[track_caller]
    fn forward(&self, tokens: &Tensor) -> Tensor {
        self.scores(&self.features(tokens))
    }
}
