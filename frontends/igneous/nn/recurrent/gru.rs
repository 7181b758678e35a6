//! The gated recurrent unit.

use super::stack::{Options, Stack};
use super::{Kind, RecurrentWeights};
use crate::nn::visit::{Module, Visitor};
use crate::tensor::Tensor;

/// Gated recurrent units over sequences (`torch.nn.GRU`). Cho et al. 2014, arXiv:1406.1078. For each step, with `σ` the sigmoid
/// and `W`, `b` the rows of a gate,
///
/// ```text
/// r, z = σ(W_ih x + b_ih + W_hh h + b_hh)     n = tanh(W_ih x + b_ih + r · (W_hh h + b_hh))
/// h' = (1 − z) · n + z · h
/// ```
///
/// Parameters are named as in PyTorch: `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0`, with `_reverse` behind those
/// of the other direction.
///
/// ```
/// use igneous::nn::Gru;
/// let (ys, h) = Gru::new(8, 16).forward(&igneous::Tensor::randn((10, 4, 8)), None);
/// assert_eq!(ys.i(9).to_vec::<f32>()?, h.i(0).to_vec::<f32>()?);
/// # Ok::<(), igneous::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Gru(Stack);

/// Options of [`Gru`]; PyTorch's defaults.
#[derive(Clone, Copy, Debug)]
pub struct GruOptions {
    /// How many layers lie over each other; 1 by default.
    pub num_layers: usize,
    /// Inputs and outputs are `[batch, steps, features]` instead of `[steps, batch, features]`.
    pub batch_first: bool,
    /// In training, the probability with which an output of a layer below the last is zeroed.
    pub dropout: f64,
    /// Also runs from the last step to the first; outputs of both directions lie side by side.
    pub bidirectional: bool,
}

impl Default for GruOptions {
    fn default() -> GruOptions {
        GruOptions { num_layers: 1, batch_first: false, dropout: 0.0, bidirectional: false }
    }
}

impl Gru {
    /// One layer in one direction.
    #[track_caller]
    pub fn new(input_size: usize, hidden_size: usize) -> Gru {
        Gru::with(input_size, hidden_size, GruOptions::default())
    }

    /// With options. Where they cannot be, the weights are invalid, and so is all that is computed from them.
    #[track_caller]
    pub fn with(input_size: usize, hidden_size: usize, options: GruOptions) -> Gru {
        let GruOptions { num_layers, batch_first, dropout, bidirectional } = options;
        let options = Options { num_layers, batch_first, dropout, bidirectional, projection: None };
        Gru(Stack::new(Kind::Gru, input_size, hidden_size, options))
    }

    /// The same without biases.
    #[must_use]
    pub fn without_bias(self) -> Gru {
        Gru(self.0.without_bias())
    }

    /// The weights, layer by layer, and in each the forward direction first.
    pub fn weights(&self) -> &[RecurrentWeights] {
        &self.0.weights
    }

    /// The outputs `[steps, batch, directions · hidden]` of the last layer, and the last `h`, `[layers · directions, batch,
    /// hidden]`. `state` is the first `h`, zeros if there is none. An input without batch, `[steps, features]`, gives results
    /// without it.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, state: Option<&Tensor>) -> (Tensor, Tensor) {
        let (outputs, mut states) = self.0.forward(x, state.map(|h| vec![h]), None);
        (outputs, states.remove(0))
    }

    /// The same for sequences of these lengths, as [`Lstm::forward_padded`](super::Lstm::forward_padded).
    #[track_caller]
    pub fn forward_padded(&self, x: &Tensor, lengths: &Tensor, state: Option<&Tensor>) -> (Tensor, Tensor) {
        let (outputs, mut states) = self.0.forward(x, state.map(|h| vec![h]), Some(lengths));
        (outputs, states.remove(0))
    }
}

impl Module for Gru {
    fn visit(&self, visitor: &mut dyn Visitor) {
        self.0.visit(visitor);
    }
}
