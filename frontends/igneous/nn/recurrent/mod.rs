//! Recurrent layers. A layer is a [`scan`](crate::scan) over time, compiled once whatever the length; what does not depend on
//! the step before, the product of the whole sequence with `weight_ih`, is one product in front of it.

/// What the layers share whose state is one tensor.
macro_rules! with_one_state {
    ($name:ident) => {
        impl $name {
            /// The same without biases.
            #[must_use]
            pub fn without_bias(self) -> $name {
                $name(self.0.without_bias())
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

            /// The same for sequences of these lengths, as [`Lstm::forward_padded`](crate::nn::Lstm::forward_padded).
            #[track_caller]
            pub fn forward_padded(&self, x: &Tensor, lengths: &Tensor, state: Option<&Tensor>) -> (Tensor, Tensor) {
                let (outputs, mut states) = self.0.forward(x, state.map(|h| vec![h]), Some(lengths));
                (outputs, states.remove(0))
            }
        }

        impl Module for $name {
            fn visit(&self, visitor: &mut dyn Visitor) {
                self.0.visit(visitor);
            }
        }
    };
}

mod cell;
mod gru;
mod lstm;
mod rnn;
mod stack;
mod weights;

pub use cell::{GruCell, LstmCell, RnnCell};
pub use gru::{Gru, GruOptions};
pub use lstm::{Lstm, LstmOptions};
pub use rnn::{Rnn, RnnOptions};
pub use weights::RecurrentWeights;

use crate::tensor::Tensor;

/// What an [`Rnn`] applies to the sum of its projections.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Nonlinearity {
    /// The hyperbolic tangent.
    #[default]
    Tanh,
    /// The larger of the number and 0.
    Relu,
}

/// What is repeated along a sequence. A state is `[hidden]`, for an LSTM `[hidden, cell]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Rnn(Nonlinearity),
    Lstm,
    Gru,
}

impl Kind {
    /// How many blocks of `hidden_size` rows the weights have.
    fn gates(self) -> usize {
        match self {
            Kind::Rnn(_) => 1,
            Kind::Lstm => 4,
            Kind::Gru => 3,
        }
    }

    fn states(self) -> usize {
        match self {
            Kind::Lstm => 2,
            _ => 1,
        }
    }

    /// What the step needs of its inputs: their product with `weight_ih`, with as much of the biases as does not depend on the
    /// state.
    #[track_caller]
    fn project(self, x: &Tensor, weights: &RecurrentWeights) -> Tensor {
        let bias = match (&weights.bias_ih, &weights.bias_hh) {
            (Some(input), Some(hidden)) if self != Kind::Gru => Some(input + hidden),
            (input, _) => input.clone(),
        };
        x.linear(&weights.weight_ih, bias.as_ref())
    }

    /// The next state from the projected inputs and the state before.
    #[track_caller]
    fn step(self, projected: &Tensor, state: &[Tensor], weights: &RecurrentWeights) -> Vec<Tensor> {
        let h = &state[0];
        let hidden_bias = weights.bias_hh.as_ref().filter(|_| self == Kind::Gru);
        let from_state = h.linear(&weights.weight_hh, hidden_bias);
        let width = from_state.size(-1).div_floor(self.gates());
        let part = |x: &Tensor, k: usize| x.narrow(-1, width * k, width);
        match self {
            Kind::Rnn(Nonlinearity::Tanh) => vec![(projected + from_state).tanh()],
            Kind::Rnn(Nonlinearity::Relu) => vec![(projected + from_state).relu()],
            Kind::Lstm => {
                let gates = projected + from_state;
                let [input, forget, output] = [0, 1, 3].map(|k| part(&gates, k).sigmoid());
                let c = forget * &state[1] + input * part(&gates, 2).tanh();
                let h = output * c.tanh();
                vec![weights.weight_hr.as_ref().map_or(h.clone(), |projection| h.linear(projection, None)), c]
            }
            Kind::Gru => {
                let [reset, update] = [0, 1].map(|k| (part(projected, k) + part(&from_state, k)).sigmoid());
                let new = (part(projected, 2) + reset * part(&from_state, 2)).tanh();
                vec![&new + update * (h - &new)]
            }
        }
    }
}
