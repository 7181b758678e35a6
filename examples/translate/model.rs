//! Two networks that translate.

use crate::data::PAD;
use igneous::nn::{
    AttentionMask, CrossEntropyLoss, DecoderMask, Dropout, Embedding, Forward, Gru, GruCell, GruOptions, Linear, Module,
    PositionalEncoding, PositionalEncodingOptions, Transformer, TransformerOptions,
};
use igneous::{DType, Result, Tensor, default, scan};

/// Reads a sentence and the beginning of its translation, and tells what may come next.
pub trait Translator: Module + Send + Sync {
    /// What is known `[B, T, …]` at each token of the translations `i64[B, T]` of sentences `i64[B, S]`.
    fn states(&self, source: &Tensor, target: &Tensor) -> Result<Tensor>;

    /// Scores `[…, words]` of what follows there.
    fn scores(&self, states: &Tensor) -> Tensor;

    /// The mean loss of the tokens that should follow.
    fn loss(&self, source: &Tensor, reads: &Tensor, says: &Tensor) -> Result<Tensor> {
        let scores = self.scores(&self.states(source, reads)?);
        let loss = CrossEntropyLoss { ignore_index: Some(PAD), label_smoothing: 0.1, ..default() };
        Ok(loss.forward(&scores.flatten(0, 1), &says.flatten(0, 1)))
    }
}

/// Recurrent units with attention to the sentence at each step. Bahdanau et al. 2015, arXiv:1409.0473.
#[derive(Module)]
pub struct Recurrent {
    source_words: Embedding,
    target_words: Embedding,
    encoder: Gru,
    query: Linear,
    key: Linear,
    score: Linear,
    decoder: GruCell,
    dropout: Dropout,
    head: Linear,
}

impl Recurrent {
    pub fn new(source_words: usize, target_words: usize) -> Recurrent {
        let (width, hidden) = (128, 192);
        Recurrent {
            source_words: Embedding::new(source_words, width),
            target_words: Embedding::new(target_words, width),
            encoder: Gru::with(width, hidden, GruOptions { batch_first: true, ..default() }),
            query: Linear::new(hidden, hidden),
            key: Linear::new(hidden, hidden),
            score: Linear::new(hidden, 1),
            decoder: GruCell::new(width + hidden, hidden),
            dropout: Dropout::new(0.3),
            head: Linear::new(2 * hidden, target_words),
        }
    }
}

impl Translator for Recurrent {
    fn states(&self, source: &Tensor, target: &Tensor) -> Result<Tensor> {
        let filled = source.equal(PAD);
        let lengths = source.ne(PAD).to_dtype(DType::I64).sum(1);
        let embedded = self.dropout.forward(&self.source_words.forward(source));
        let (memory, last) = self.encoder.forward_padded(&embedded, &lengths, None);
        let keys = self.key.forward(&memory);
        let steps = self.dropout.forward(&self.target_words.forward(target)).transpose(0, 1);
        // Traced once, whatever the length of a translation.
        let (_, states) = scan(last.i(0), steps, |h: Tensor, x: Tensor| {
            let scores = self.score.forward(&(self.query.forward(&h).unsqueeze(1) + &keys).tanh()).squeeze(-1);
            let weights = scores.masked_fill(&filled, f64::NEG_INFINITY).softmax(-1);
            let context = weights.unsqueeze(1).matmul(&memory).squeeze(1);
            let h = self.decoder.forward(&Tensor::cat(&[&x, &context], -1), Some(&h));
            (h.clone(), Tensor::cat(&[&h, &context], -1))
        })?;
        Ok(states.transpose(0, 1))
    }

    fn scores(&self, states: &Tensor) -> Tensor {
        self.head.forward(&self.dropout.forward(states))
    }
}

/// Attention only. Vaswani et al. 2017, arXiv:1706.03762.
#[derive(Module)]
pub struct Attentive {
    source_words: Embedding,
    target_words: Embedding,
    positions: PositionalEncoding,
    transformer: Transformer,
    head: Linear,
}

impl Attentive {
    pub fn new(source_words: usize, target_words: usize) -> Attentive {
        let width = 128;
        let options = TransformerOptions { hidden: 256, batch_first: true, dropout: 0.2, ..default() };
        Attentive {
            source_words: Embedding::new(source_words, width),
            target_words: Embedding::new(target_words, width),
            positions: PositionalEncoding::with(
                width,
                PositionalEncodingOptions { max_len: 64, batch_first: true, dropout: 0.2 },
            ),
            transformer: Transformer::with(width, 4, 2, 2, options),
            head: Linear::new(width, target_words),
        }
    }
}

impl Translator for Attentive {
    fn states(&self, source: &Tensor, target: &Tensor) -> Result<Tensor> {
        let filled = AttentionMask { padding: Some(source.equal(PAD)), ..default() };
        let mask = DecoderMask { target: AttentionMask { causal: true, ..default() }, memory: filled.clone() };
        let source = self.positions.forward(&self.source_words.forward(source));
        let target = self.positions.forward(&self.target_words.forward(target));
        Ok(self.transformer.forward(&source, &target, &filled, &mask))
    }

    fn scores(&self, states: &Tensor) -> Tensor {
        self.head.forward(states)
    }
}
