//! The fully connected layer.

use super::visit::{Module, Visitor};
use super::{Forward, init};
use crate::tensor::Tensor;

/// `y = x · weightᵀ + bias` (`torch.nn.Linear`). Input `[…, in_features]`, output `[…, out_features]`.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[out_features, in_features]`, uniform in `±1/√in_features` at first.
    pub weight: Tensor,
    /// `[out_features]`, initialised likewise; none without bias.
    pub bias: Option<Tensor>,
}

impl Linear {
    /// A layer with a bias.
    #[track_caller]
    pub fn new(in_features: usize, out_features: usize) -> Linear {
        let weight = Tensor::parameter(init::default_weight(&[out_features, in_features]));
        Linear { weight, bias: Some(Tensor::parameter(init::bounded(&[out_features], in_features))) }
    }

    /// The same without a bias.
    #[must_use]
    pub fn without_bias(self) -> Linear {
        Linear { bias: None, ..self }
    }
}

impl Module for Linear {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("weight", &self.weight);
        visitor.child("bias", &self.bias);
    }
}

impl Forward for Linear {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let y = x.matmul(&self.weight.t());
        match &self.bias {
            Some(bias) => y + bias,
            None => y,
        }
    }
}
