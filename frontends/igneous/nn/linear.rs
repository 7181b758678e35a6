//! The fully connected layer.

use super::visit::{Module, Visitor};
use super::{Activations, Forward, init};
use crate::tensor::Tensor;
use std::sync::Arc;

/// `y = x · weightᵀ + bias` (`torch.nn.Linear`). Input `[…, in_features]`, output `[…, out_features]`.
///
/// ```
/// use igneous::nn::{Forward, Linear};
/// let y = Linear::new(20, 30).forward(&igneous::Tensor::zeros((128, 20)));
/// let [rows, features] = y.dims();
/// assert_eq!((rows.get()?, features.get()?), (128, 30));
/// # Ok::<(), igneous::Error>(())
/// ```
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
    fn quantized(&self, activations: Activations) -> Option<Arc<dyn Forward>> {
        Some(Arc::new(self.quantize(activations)))
    }

    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, self.bias.as_ref())
    }
}
