//! Layers with weights of eight bits, for inference.

use super::visit::{Module, Visitor};
use super::{Forward, Linear, Sequential};
use crate::grad_mode::no_grad;
use crate::tensor::Tensor;
use igneous_ir::DType;
use std::sync::Arc;

/// What a layer with weights of eight bits does with its input.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Activations {
    /// It stays as it is: the weights are converted where they are multiplied.
    #[default]
    Float,
    /// Each row is rounded to eight bits with a scale of its own: products are of bytes, their sums exact.
    Dynamic,
}

/// A [`Linear`] layer whose weights are integers of eight bits, with a scale for each output: made by [`Linear::quantize`], for
/// inference. Sums are made in single precision, or in 32-bit integers, and rounded to the input's type at last.
///
/// ```
/// use igneous::nn::{Activations, Forward, Linear, ModuleExt};
/// use igneous::{DType, Tensor};
/// let layer = Linear::new(64, 8);
/// let small = layer.quantize(Activations::Dynamic);
/// assert_eq!(small.weight.dtype(), DType::I8);
/// let names: Vec<String> = small.named_variables().into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names, ["weight", "weight_scale", "bias"]);
/// let x = Tensor::randn((4, 64));
/// let difference = (small.forward(&x) - layer.forward(&x)).abs().max_all().item()?;
/// assert!(difference < 0.05);
/// # Ok::<(), igneous::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct QuantizedLinear {
    /// `i8[out_features, in_features]`, between −127 and 127.
    pub weight: Tensor,
    /// `[out_features]`: what the weights of each output are multiples of.
    pub weight_scale: Tensor,
    /// `[out_features]`; none without bias.
    pub bias: Option<Tensor>,
    /// What is done with the input.
    pub activations: Activations,
}

/// Rows rounded to eight bits, and the scale of each, `[…, 1]`. A row of zeros has the scale 0.
#[track_caller]
fn quantized_rows(x: &Tensor) -> (Tensor, Tensor) {
    let scale = x.abs().max_keepdim(-1) * (1.0 / 127.0);
    // A NaN, from 0 / 0, is converted to 0.
    ((x / &scale).round().to_dtype(DType::I8), scale)
}

impl Linear {
    /// The layer with its weights rounded to eight bits, for inference. Nothing of this layer is shared but the bias.
    #[track_caller]
    pub fn quantize(&self, activations: Activations) -> QuantizedLinear {
        let (weight, scale) = no_grad(|| quantized_rows(&wide(&self.weight.detach())));
        QuantizedLinear {
            weight: Tensor::buffer(weight),
            weight_scale: Tensor::buffer(scale.squeeze(-1)),
            bias: self.bias.clone(),
            activations,
        }
    }
}

/// Single precision for half types.
#[track_caller]
fn wide(x: &Tensor) -> Tensor {
    x.to_dtype(x.dtype().compute())
}

impl Module for QuantizedLinear {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("weight", &self.weight);
        visitor.child("weight_scale", &self.weight_scale);
        visitor.child("bias", &self.bias);
    }
}

impl Forward for QuantizedLinear {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let (wide, dtype) = (wide(x), x.dtype());
        let scale = self.weight_scale.to_dtype(wide.dtype());
        let product = match self.activations {
            Activations::Float => wide.matmul(&self.weight.to_dtype(wide.dtype()).t()) * scale,
            Activations::Dynamic => {
                let (rows, of_rows) = quantized_rows(&wide);
                rows.int_mm(&self.weight.t()).to_dtype(wide.dtype()) * of_rows * scale
            }
        };
        match &self.bias {
            Some(bias) => (product + bias.to_dtype(wide.dtype())).to_dtype(dtype),
            None => product.to_dtype(dtype),
        }
    }
}

impl Sequential {
    /// The layers in their order, those with weights of eight bits where they have such a form
    /// ([`Forward::quantized`]): `Linear` layers, and those inside of `Sequential`s.
    #[must_use]
    #[track_caller]
    pub fn quantize(&self, activations: Activations) -> Sequential {
        let layers = self.layers.iter().map(|(name, layer)| {
            let small = layer.quantized(activations).unwrap_or_else(|| Arc::clone(layer));
            (name.clone(), small)
        });
        Sequential { layers: layers.collect() }
    }
}
