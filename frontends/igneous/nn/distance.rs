//! Layers of two inputs: bilinear forms, similarities and distances.

use super::init;
use super::visit::{Module, Visitor};
use crate::tensor::Tensor;

/// `y[o] = x₁ᵀ · weight[o] · x₂ + bias[o]` (`torch.nn.Bilinear`): inputs `[…, in1]` and `[…, in2]`, output `[…, out]`.
#[derive(Clone, Debug)]
pub struct Bilinear {
    /// `[out, in1, in2]`, uniform in `±1/√in1` at first.
    pub weight: Tensor,
    /// `[out]`, initialised likewise; none without bias.
    pub bias: Option<Tensor>,
}

impl Bilinear {
    /// A layer with a bias.
    #[track_caller]
    pub fn new(in1_features: usize, in2_features: usize, out_features: usize) -> Bilinear {
        let weight = init::bounded(&[out_features, in1_features, in2_features], in1_features);
        let bias = Some(Tensor::parameter(init::bounded(&[out_features], in1_features)));
        Bilinear { weight: Tensor::parameter(weight), bias }
    }

    /// The same without a bias.
    #[must_use]
    pub fn without_bias(self) -> Bilinear {
        Bilinear { bias: None, ..self }
    }

    /// Applies the layer.
    #[track_caller]
    pub fn forward(&self, x1: &Tensor, x2: &Tensor) -> Tensor {
        x1.bilinear(x2, &self.weight, self.bias.as_ref())
    }
}

impl Module for Bilinear {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("weight", &self.weight);
        visitor.child("bias", &self.bias);
    }
}

/// The cosine of the angle between vectors (`torch.nn.CosineSimilarity`).
#[derive(Clone, Copy, Debug)]
pub struct CosineSimilarity {
    /// The axis of the vectors' elements; 1 by default.
    pub axis: i64,
    /// The least that a norm counts as; 1e-8 by default.
    pub eps: f64,
}

impl Default for CosineSimilarity {
    fn default() -> CosineSimilarity {
        CosineSimilarity { axis: 1, eps: 1e-8 }
    }
}

impl CosineSimilarity {
    /// Of vectors along axis 1.
    pub fn new() -> CosineSimilarity {
        CosineSimilarity::default()
    }

    /// The cosines; the tensors broadcast.
    #[track_caller]
    pub fn forward(&self, x1: &Tensor, x2: &Tensor) -> Tensor {
        x1.cosine_similarity(x2, self.axis, self.eps)
    }
}

impl Module for CosineSimilarity {
    fn visit(&self, _: &mut dyn Visitor) {}
}

/// The distance `‖x₁ − x₂ + eps‖` of vectors along the last axis (`torch.nn.PairwiseDistance`).
#[derive(Clone, Copy, Debug)]
pub struct PairwiseDistance {
    /// The exponent of the norm; 2 by default.
    pub p: f64,
    /// Added to each difference, so that the derivative at 0 is finite; 1e-6 by default.
    pub eps: f64,
}

impl Default for PairwiseDistance {
    fn default() -> PairwiseDistance {
        PairwiseDistance { p: 2.0, eps: 1e-6 }
    }
}

impl PairwiseDistance {
    /// The Euclidean distance.
    pub fn new() -> PairwiseDistance {
        PairwiseDistance::default()
    }

    /// The distances; the tensors broadcast.
    #[track_caller]
    pub fn forward(&self, x1: &Tensor, x2: &Tensor) -> Tensor {
        x1.pairwise_distance(x2, self.p, self.eps)
    }
}

impl Module for PairwiseDistance {
    fn visit(&self, _: &mut dyn Visitor) {}
}
