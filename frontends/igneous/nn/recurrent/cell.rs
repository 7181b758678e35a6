//! Single steps of the recurrent layers.

use super::{Kind, Nonlinearity, RecurrentWeights};
use crate::location::here;
use crate::nn::visit::{Module, Visitor};
use crate::tensor::{Tensor, promote};
use igneous_ir::{Dim, Error, Result};

/// A step: the next state from inputs `[batch, features]` or `[features]` and the state before, zeros if there is none.
#[track_caller]
fn step(kind: Kind, weights: &RecurrentWeights, x: &Tensor, state: Option<Vec<&Tensor>>) -> Vec<Tensor> {
    match states(kind, weights, x, state) {
        Ok(states) => kind.step(&kind.project(x, weights), &states, weights),
        Err(error) => vec![Tensor::from(error.at(here())); kind.states()],
    }
}

#[track_caller]
fn states(kind: Kind, weights: &RecurrentWeights, x: &Tensor, state: Option<Vec<&Tensor>>) -> Result<Vec<Tensor>> {
    let (input, hidden) = (x.ty()?, weights.weight_hh.ty()?);
    let features = weights.weight_ih.size(1);
    if !matches!(input.rank(), 1 | 2) || input.shape[input.rank() - 1] != features {
        let error = Error::new("a recurrent cell needs an input [batch, features] or [features]");
        return Err(error.note("features", features).note("input", x.describe()));
    }
    let dtype = promote(input.dtype, hidden.dtype);
    let mut shape: Vec<Dim> = input.shape.to_vec();
    shape[input.rank() - 1] = hidden.shape[1];
    let Some(given) = state else {
        return Ok(vec![Tensor::zeros(&shape[..]).to_dtype(dtype); kind.states()]);
    };
    let checked = given.into_iter().map(|state| {
        if state.ty()?.shape[..] != shape[..] {
            let error = Error::new("a recurrent cell needs a state with the batch of its input and its hidden size");
            return Err(error.note("hidden size", hidden.shape[1]).note("input", x.describe()).note("state", state.describe()));
        }
        Ok(state.to_dtype(dtype))
    });
    checked.collect()
}

#[track_caller]
fn weights(kind: Kind, input_size: usize, hidden_size: usize) -> RecurrentWeights {
    match hidden_size {
        0 => RecurrentWeights::invalid(Error::new("a recurrent cell needs a hidden size of at least 1").at(here())),
        _ => RecurrentWeights::new(kind, input_size, hidden_size, None),
    }
}

macro_rules! cell {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            /// The parameters `weight_ih`, `weight_hh`, `bias_ih` and `bias_hh`.
            pub weights: RecurrentWeights,
            kind: Kind,
        }

        impl $name {
            /// The same without biases.
            #[must_use]
            pub fn without_bias(self) -> $name {
                $name { weights: self.weights.without_bias(), ..self }
            }
        }

        impl Module for $name {
            fn visit(&self, visitor: &mut dyn Visitor) {
                self.weights.visit("", visitor);
            }
        }
    };
}

cell! {
    /// One step of an [`Rnn`](super::Rnn) (`torch.nn.RNNCell`).
    RnnCell
}

cell! {
    /// One step of an [`Lstm`](super::Lstm) (`torch.nn.LSTMCell`).
    LstmCell
}

cell! {
    /// One step of a [`Gru`](super::Gru) (`torch.nn.GRUCell`).
    GruCell
}

impl RnnCell {
    /// A cell with the hyperbolic tangent.
    #[track_caller]
    pub fn new(input_size: usize, hidden_size: usize) -> RnnCell {
        RnnCell::with(input_size, hidden_size, Nonlinearity::Tanh)
    }

    /// A cell with another function.
    #[track_caller]
    pub fn with(input_size: usize, hidden_size: usize, nonlinearity: Nonlinearity) -> RnnCell {
        let kind = Kind::Rnn(nonlinearity);
        RnnCell { weights: weights(kind, input_size, hidden_size), kind }
    }

    /// The next `h`, `[batch, hidden]`, from inputs `[batch, features]` and the `h` before, zeros if there is none; all without
    /// batch for inputs `[features]`.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, h: Option<&Tensor>) -> Tensor {
        step(self.kind, &self.weights, x, h.map(|h| vec![h])).remove(0)
    }
}

impl LstmCell {
    /// A cell.
    #[track_caller]
    pub fn new(input_size: usize, hidden_size: usize) -> LstmCell {
        LstmCell { weights: weights(Kind::Lstm, input_size, hidden_size), kind: Kind::Lstm }
    }

    /// The next `h` and `c`, `[batch, hidden]`, from inputs `[batch, features]` and those before, zeros if there are none; all
    /// without batch for inputs `[features]`.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, state: Option<&(Tensor, Tensor)>) -> (Tensor, Tensor) {
        let mut next = step(self.kind, &self.weights, x, state.map(|(h, c)| vec![h, c]));
        let h = next.remove(0);
        (h, next.remove(0))
    }
}

impl GruCell {
    /// A cell.
    #[track_caller]
    pub fn new(input_size: usize, hidden_size: usize) -> GruCell {
        GruCell { weights: weights(Kind::Gru, input_size, hidden_size), kind: Kind::Gru }
    }

    /// The next `h`, `[batch, hidden]`, from inputs `[batch, features]` and the `h` before, zeros if there is none; all without
    /// batch for inputs `[features]`.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, h: Option<&Tensor>) -> Tensor {
        step(self.kind, &self.weights, x, h.map(|h| vec![h])).remove(0)
    }
}
