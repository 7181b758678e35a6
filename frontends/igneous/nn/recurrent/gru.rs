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
}

with_one_state!(Gru);
