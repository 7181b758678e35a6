//! Normalisation over the last axes.

use super::Forward;
use super::visit::{Module, Visitor};
use crate::tensor::{IntoShape, Tensor};
use igneous_ir::{DType, Shape};

/// Normalises over the last axes, then scales and shifts (`torch.nn.LayerNorm`): `(x − mean) / √(variance + eps)` with the
/// biased variance, times `weight`, plus `bias`. Ba et al. 2016, arXiv:1607.06450.
///
/// ```
/// use igneous::nn::{Forward, LayerNorm};
/// let x = igneous::Tensor::new([[1.0, 3.0], [5.0, 5.0]]);
/// igneous::testing::assert_values(&LayerNorm::new(2).forward(&x), &[-1.0, 1.0, 0.0, 0.0], 1e-4);
/// ```
#[derive(Clone, Debug)]
pub struct LayerNorm {
    /// Scale, of the normalised shape; ones at first. None without affine part.
    pub weight: Option<Tensor>,
    /// Shift, of the normalised shape; zeros at first. None without bias.
    pub bias: Option<Tensor>,
    /// Added to the variance.
    pub eps: f64,
    /// The extents of the axes normalised over (`normalized_shape`).
    pub shape: Shape,
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
        let weight = Some(Tensor::parameter(Tensor::ones(shape.clone())));
        let bias = Some(Tensor::parameter(Tensor::zeros(shape.clone())));
        LayerNorm { weight, bias, eps: options.eps, shape }
    }

    /// The same without a shift (`bias=False`).
    #[must_use]
    pub fn without_bias(self) -> LayerNorm {
        LayerNorm { bias: None, ..self }
    }

    /// The same without scale and shift (`elementwise_affine=False`).
    #[must_use]
    pub fn without_affine(self) -> LayerNorm {
        LayerNorm { weight: None, bias: None, ..self }
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
        let weight = self.weight.clone().unwrap_or_else(|| Tensor::ones(self.shape.clone()));
        let bias = self.bias.clone().unwrap_or_else(|| Tensor::zeros(self.shape.clone()));
        x.layer_norm(&weight, &bias, self.eps)
    }
}

/// Divides by the root of the mean square over the last axes, then scales (`torch.nn.RMSNorm`). Zhang and Sennrich 2019,
/// arXiv:1910.07467.
#[derive(Clone, Debug)]
pub struct RmsNorm {
    /// Scale, of the normalised shape; ones at first. None without affine part.
    pub weight: Option<Tensor>,
    /// Added to the mean square; by default the distance from 1 to the next number of the element type.
    pub eps: Option<f64>,
    /// The extents of the axes normalised over (`normalized_shape`).
    pub shape: Shape,
}

/// Options of [`RmsNorm`].
#[derive(Clone, Copy, Debug, Default)]
pub struct RmsNormOptions {
    /// Added to the mean square; by default the distance from 1 to the next number of the element type.
    pub eps: Option<f64>,
}

impl RmsNorm {
    /// Over trailing axes of this shape.
    #[track_caller]
    pub fn new(shape: impl IntoShape) -> RmsNorm {
        RmsNorm::with(shape, RmsNormOptions::default())
    }

    /// With options.
    #[track_caller]
    pub fn with(shape: impl IntoShape, options: RmsNormOptions) -> RmsNorm {
        let shape = shape.into_shape();
        RmsNorm { weight: Some(Tensor::parameter(Tensor::ones(shape.clone()))), eps: options.eps, shape }
    }

    /// The same without a scale (`elementwise_affine=False`).
    #[must_use]
    pub fn without_affine(self) -> RmsNorm {
        RmsNorm { weight: None, ..self }
    }
}

impl Module for RmsNorm {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("weight", &self.weight);
    }
}

impl Forward for RmsNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let smallest = match x.dtype() {
            DType::F64 => f64::EPSILON,
            DType::F16 => 2f64.powi(-10),
            DType::BF16 => 2f64.powi(-7),
            _ => f32::EPSILON.into(),
        };
        let weight = match &self.weight {
            Some(weight) => weight.clone(),
            None => Tensor::ones(self.shape.clone()).to_dtype(x.dtype()),
        };
        x.rms_norm(self.shape.len(), Some(&weight), self.eps.unwrap_or(smallest))
    }
}
