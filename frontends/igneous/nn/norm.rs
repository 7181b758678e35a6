//! Normalisation layers.

use super::Forward;
use super::visit::{Module, Visitor};
use crate::tensor::{IntoShape, Tensor};

/// Normalises over the last axes, then scales and shifts (`torch.nn.LayerNorm`). Ba et al. 2016, arXiv:1607.06450.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    /// Scale, of the normalised shape; ones at first.
    pub weight: Tensor,
    /// Shift, of the normalised shape; zeros at first.
    pub bias: Tensor,
    /// Added to the variance.
    pub eps: f64,
}

/// Options of [`LayerNorm`].
#[derive(Clone, Copy, Debug)]
pub struct LayerNormOptions {
    /// Added to the variance; 1e-5 by default.
    pub eps: f64,
}

impl Default for LayerNormOptions {
    fn default() -> Self {
        LayerNormOptions { eps: 1e-5 }
    }
}

impl LayerNorm {
    /// Normalises over trailing axes of this shape.
    #[track_caller]
    pub fn new(shape: impl IntoShape) -> LayerNorm {
        LayerNorm::with(shape, LayerNormOptions::default())
    }

    /// With options.
    #[track_caller]
    pub fn with(shape: impl IntoShape, options: LayerNormOptions) -> LayerNorm {
        let shape = shape.into_shape();
        let weight = Tensor::parameter(Tensor::ones(shape.clone()));
        LayerNorm { weight, bias: Tensor::parameter(Tensor::zeros(shape)), eps: options.eps }
    }
}

impl Module for LayerNorm {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("weight", &self.weight);
        visitor.child("bias", &self.bias);
    }
}

impl Forward for LayerNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        x.layer_norm(&self.weight, &self.bias, self.eps)
    }
}
