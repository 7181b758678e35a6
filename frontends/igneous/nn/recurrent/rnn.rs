//! The simple recurrent layer.

use super::stack::{Options, Stack};
use super::{Kind, Nonlinearity, RecurrentWeights};
use crate::nn::visit::{Module, Visitor};
use crate::tensor::Tensor;

/// Simple recurrence over sequences (`torch.nn.RNN`): `h' = tanh(W_ih x + b_ih + W_hh h + b_hh)` for each step. Elman 1990.
///
/// Parameters are named as in PyTorch: `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0`, with `_reverse` behind those
/// of the other direction.
///
/// ```
/// use igneous::nn::{Nonlinearity, Rnn, RnnOptions};
/// let rnn = Rnn::with(8, 16, RnnOptions { nonlinearity: Nonlinearity::Relu, bidirectional: true, ..igneous::default() });
/// let (ys, h) = rnn.forward(&igneous::Tensor::randn((10, 4, 8)), None);
/// assert_eq!(ys.shape()[..], [10, 4, 32].map(igneous::Dim::from));
/// assert_eq!(ys.i((9, .., ..16)).to_vec::<f32>()?, h.i(0).to_vec::<f32>()?);
/// assert_eq!(ys.i((0, .., 16..)).to_vec::<f32>()?, h.i(1).to_vec::<f32>()?);
/// # Ok::<(), igneous::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Rnn(Stack);

/// Options of [`Rnn`]; PyTorch's defaults.
#[derive(Clone, Copy, Debug)]
pub struct RnnOptions {
    /// How many layers lie over each other; 1 by default.
    pub num_layers: usize,
    /// What is applied to the sum; the hyperbolic tangent by default.
    pub nonlinearity: Nonlinearity,
    /// Inputs and outputs are `[batch, steps, features]` instead of `[steps, batch, features]`.
    pub batch_first: bool,
    /// In training, the probability with which an output of a layer below the last is zeroed.
    pub dropout: f64,
    /// Also runs from the last step to the first; outputs of both directions lie side by side.
    pub bidirectional: bool,
}

impl Default for RnnOptions {
    fn default() -> RnnOptions {
        let nonlinearity = Nonlinearity::Tanh;
        RnnOptions { num_layers: 1, nonlinearity, batch_first: false, dropout: 0.0, bidirectional: false }
    }
}

impl Rnn {
    /// One layer in one direction.
    #[track_caller]
    pub fn new(input_size: usize, hidden_size: usize) -> Rnn {
        Rnn::with(input_size, hidden_size, RnnOptions::default())
    }

    /// With options. Where they cannot be, the weights are invalid, and so is all that is computed from them.
    #[track_caller]
    pub fn with(input_size: usize, hidden_size: usize, options: RnnOptions) -> Rnn {
        let RnnOptions { num_layers, nonlinearity, batch_first, dropout, bidirectional } = options;
        let options = Options { num_layers, batch_first, dropout, bidirectional, projection: None };
        Rnn(Stack::new(Kind::Rnn(nonlinearity), input_size, hidden_size, options))
    }
}

with_one_state!(Rnn);
