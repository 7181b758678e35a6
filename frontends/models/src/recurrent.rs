//! Classes of sequences by recurrent layers.

use igneous::nn::{Forward, Gru, GruOptions, Linear, Lstm, LstmOptions, Module};
use igneous::{Tensor, default};

/// An LSTM over `[batch, steps, features]` and a linear layer on the output of the last step (`lstm`, `fc`).
#[derive(Clone, Debug, Module)]
pub struct LstmClassifier {
    /// The recurrent layer.
    pub lstm: Lstm,
    /// To the classes.
    pub fc: Linear,
}

impl LstmClassifier {
    /// One layer in one direction.
    #[track_caller]
    pub fn new(inputs: usize, hidden: usize, classes: usize) -> LstmClassifier {
        let options = LstmOptions { batch_first: true, ..default() };
        LstmClassifier { lstm: Lstm::with(inputs, hidden, options), fc: Linear::new(hidden, classes) }
    }
}

impl Forward for LstmClassifier {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.fc.forward(&self.lstm.forward(x, None).0.i((.., -1)))
    }
}

/// A GRU over `[batch, steps, features]` and a linear layer on the output of the last step (`gru`, `fc`).
#[derive(Clone, Debug, Module)]
pub struct GruClassifier {
    /// The recurrent layer.
    pub gru: Gru,
    /// To the classes.
    pub fc: Linear,
}

impl GruClassifier {
    /// One layer in one direction.
    #[track_caller]
    pub fn new(inputs: usize, hidden: usize, classes: usize) -> GruClassifier {
        let options = GruOptions { batch_first: true, ..default() };
        GruClassifier { gru: Gru::with(inputs, hidden, options), fc: Linear::new(hidden, classes) }
    }
}

impl Forward for GruClassifier {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.fc.forward(&self.gru.forward(x, None).0.i((.., -1)))
    }
}
