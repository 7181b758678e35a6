//! The long short-term memory layer.

use super::stack::{Options, Stack};
use super::{Kind, RecurrentWeights};
use crate::nn::visit::{Module, Visitor};
use crate::tensor::Tensor;

/// Long short-term memory over sequences (`torch.nn.LSTM`). Hochreiter and Schmidhuber 1997. For each step, with `σ` the
/// sigmoid and `W`, `b` the rows of a gate,
///
/// ```text
/// i, f, o = σ(W_ih x + b_ih + W_hh h + b_hh)     g = tanh(W_ih x + b_ih + W_hh h + b_hh)
/// c' = f · c + i · g                              h' = o · tanh(c')      (W_hr h' with a projection)
/// ```
///
/// Parameters are named as in PyTorch: `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0`, `weight_hr_l0`, with
/// `_reverse` behind those of the other direction.
///
/// ```
/// use igneous::nn::{Lstm, LstmOptions};
/// use igneous::{Tensor, default};
///
/// let lstm = Lstm::with(8, 16, LstmOptions { num_layers: 2, batch_first: true, ..default() });
/// let x = Tensor::randn((4, 10, 8));
/// let (ys, state) = lstm.forward(&x, None);
/// let (last, (h, _c)) = lstm.forward(&x.i((.., 9..)), Some(&state));
/// assert_eq!(ys.shape()[..], [4, 10, 16].map(igneous::Dim::from));
/// assert_eq!(last.i((.., 0)).to_vec::<f32>()?, h.i(1).to_vec::<f32>()?);
/// # Ok::<(), igneous::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Lstm(Stack);

/// Options of [`Lstm`]; PyTorch's defaults.
#[derive(Clone, Copy, Debug)]
pub struct LstmOptions {
    /// How many layers lie over each other; 1 by default.
    pub num_layers: usize,
    /// Inputs and outputs are `[batch, steps, features]` instead of `[steps, batch, features]`.
    pub batch_first: bool,
    /// In training, the probability with which an output of a layer below the last is zeroed.
    pub dropout: f64,
    /// Also runs from the last step to the first; outputs of both directions lie side by side.
    pub bidirectional: bool,
    /// The width that `h` is projected to; none by default.
    pub proj_size: Option<usize>,
}

impl Default for LstmOptions {
    fn default() -> LstmOptions {
        LstmOptions { num_layers: 1, batch_first: false, dropout: 0.0, bidirectional: false, proj_size: None }
    }
}

impl Lstm {
    /// One layer in one direction.
    #[track_caller]
    pub fn new(input_size: usize, hidden_size: usize) -> Lstm {
        Lstm::with(input_size, hidden_size, LstmOptions::default())
    }

    /// With options. Where they cannot be, for example no layer, the weights are invalid, and so is all that is computed from
    /// them.
    #[track_caller]
    pub fn with(input_size: usize, hidden_size: usize, options: LstmOptions) -> Lstm {
        let LstmOptions { num_layers, batch_first, dropout, bidirectional, proj_size: projection } = options;
        let options = Options { num_layers, batch_first, dropout, bidirectional, projection };
        Lstm(Stack::new(Kind::Lstm, input_size, hidden_size, options))
    }

    /// The same without biases.
    #[must_use]
    pub fn without_bias(self) -> Lstm {
        Lstm(self.0.without_bias())
    }

    /// The weights, layer by layer, and in each the forward direction first.
    pub fn weights(&self) -> &[RecurrentWeights] {
        &self.0.weights
    }

    /// The outputs `[steps, batch, directions · width]` of the last layer, and the last `h` and `c`,
    /// `[layers · directions, batch, width]`. `state` is the first `h` and `c`, zeros if there is none. An input without batch,
    /// `[steps, features]`, gives results without it.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, state: Option<&(Tensor, Tensor)>) -> (Tensor, (Tensor, Tensor)) {
        pair(self.0.forward(x, state.map(|(h, c)| vec![h, c]), None))
    }

    /// The same for sequences of these lengths, integers `[batch]` of at least 1, in any order: what PyTorch computes between
    /// `pack_padded_sequence` and `pad_packed_sequence`. Outputs past a sequence's length are 0, last states are those at its
    /// end, and the reverse direction begins there.
    #[track_caller]
    pub fn forward_padded(&self, x: &Tensor, lengths: &Tensor, state: Option<&(Tensor, Tensor)>) -> (Tensor, (Tensor, Tensor)) {
        pair(self.0.forward(x, state.map(|(h, c)| vec![h, c]), Some(lengths)))
    }
}

fn pair((outputs, mut states): (Tensor, Vec<Tensor>)) -> (Tensor, (Tensor, Tensor)) {
    let (h, c) = (states.remove(0), states.remove(0));
    (outputs, (h, c))
}

impl Module for Lstm {
    fn visit(&self, visitor: &mut dyn Visitor) {
        self.0.visit(visitor);
    }
}
