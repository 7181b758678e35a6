//! Normalisation over groups of channels of one sample.

use super::Forward;
use super::visit::{Module, Visitor};
use crate::location::here;
use crate::tensor::Tensor;
use igneous_ir::Error;

/// Normalises each image over each of some groups of channels, then scales and shifts each channel (`torch.nn.GroupNorm`):
/// input `[N, C, …]`. Wu and He 2018, arXiv:1803.08494.
#[derive(Clone, Debug)]
pub struct GroupNorm {
    /// Scale, `[C]`; ones at first. None without affine part.
    pub weight: Option<Tensor>,
    /// Shift, `[C]`; zeros at first. None without affine part.
    pub bias: Option<Tensor>,
    /// Added to the variance.
    pub eps: f64,
    /// Into how many groups the channels are divided.
    pub groups: usize,
}

/// Options of [`GroupNorm`].
#[derive(Clone, Copy, Debug)]
pub struct GroupNormOptions {
    /// Added to the variance; 1e-5 by default.
    pub eps: f64,
}

impl Default for GroupNormOptions {
    fn default() -> GroupNormOptions {
        GroupNormOptions { eps: 1e-5 }
    }
}

impl GroupNorm {
    /// So many groups of so many channels.
    #[track_caller]
    pub fn new(groups: usize, channels: usize) -> GroupNorm {
        GroupNorm::with(groups, channels, GroupNormOptions::default())
    }

    /// With options. If `groups` does not divide the channels, weight and bias are invalid.
    #[track_caller]
    pub fn with(groups: usize, channels: usize, options: GroupNormOptions) -> GroupNorm {
        let (weight, bias) = if groups == 0 || !channels.is_multiple_of(groups) {
            let error = Error::new(format!("GroupNorm needs channels that its groups divide, not {channels} in {groups} groups"));
            let invalid = Tensor::from(error.at(here()));
            (invalid.clone(), invalid)
        } else {
            (Tensor::parameter(Tensor::ones(channels)), Tensor::parameter(Tensor::zeros(channels)))
        };
        GroupNorm { weight: Some(weight), bias: Some(bias), eps: options.eps, groups }
    }

    /// The same without scale and shift (`affine=False`).
    #[must_use]
    pub fn without_affine(self) -> GroupNorm {
        GroupNorm { weight: None, bias: None, ..self }
    }
}

impl Module for GroupNorm {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("weight", &self.weight);
        visitor.child("bias", &self.bias);
    }
}

impl Forward for GroupNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        x.group_norm(self.groups, self.weight.as_ref(), self.bias.as_ref(), self.eps)
    }
}

/// Divides by the mean square of neighbouring channels, `(k + alpha · mean)^beta` (`torch.nn.LocalResponseNorm`): input
/// `[N, C, …]`. Krizhevsky et al. 2012.
#[derive(Clone, Copy, Debug)]
pub struct LocalResponseNorm {
    /// How many channels are neighbours.
    pub size: usize,
    /// The other numbers.
    pub options: LocalResponseNormOptions,
}

/// Options of [`LocalResponseNorm`].
#[derive(Clone, Copy, Debug)]
pub struct LocalResponseNormOptions {
    /// The factor of the mean square; 1e-4 by default.
    pub alpha: f64,
    /// The exponent; 0.75 by default.
    pub beta: f64,
    /// What is added; 1 by default.
    pub k: f64,
}

impl Default for LocalResponseNormOptions {
    fn default() -> LocalResponseNormOptions {
        LocalResponseNormOptions { alpha: 1e-4, beta: 0.75, k: 1.0 }
    }
}

impl LocalResponseNorm {
    /// Over so many channels.
    pub fn new(size: usize) -> LocalResponseNorm {
        LocalResponseNorm::with(size, LocalResponseNormOptions::default())
    }

    /// With options.
    pub fn with(size: usize, options: LocalResponseNormOptions) -> LocalResponseNorm {
        LocalResponseNorm { size, options }
    }
}

impl Module for LocalResponseNorm {
    fn visit(&self, _: &mut dyn Visitor) {}
}

impl Forward for LocalResponseNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let LocalResponseNormOptions { alpha, beta, k } = self.options;
        x.local_response_norm(self.size, alpha, beta, k)
    }
}
