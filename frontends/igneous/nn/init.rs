//! Initialisers (`torch.nn.init`): new values for parameters.

use crate::tensor::{IntoShape, Tensor};

/// Uniform in `[low, high)`.
#[track_caller]
pub fn uniform(shape: impl IntoShape, low: f64, high: f64) -> Tensor {
    Tensor::rand(shape) * (high - low) + low
}

/// Normal with this mean and standard deviation.
#[track_caller]
pub fn normal(shape: impl IntoShape, mean: f64, std: f64) -> Tensor {
    Tensor::randn(shape) * std + mean
}

/// The number of inputs and outputs of a weight `[out, in, kernel…]`, counting the kernel.
///
/// A tensor with fewer than two axes has as many of both as elements.
pub fn fans(shape: &[usize]) -> (usize, usize) {
    match shape {
        [out, inputs, kernel @ ..] => {
            let field = kernel.iter().fold(1, |n: usize, &extent| n.saturating_mul(extent));
            (inputs.saturating_mul(field), out.saturating_mul(field))
        }
        _ => {
            let n = shape.iter().fold(1, |n: usize, &extent| n.saturating_mul(extent));
            (n, n)
        }
    }
}

/// `kaiming_uniform_` with `a = √5`: PyTorch's default for linear and convolution weights, which is uniform in
/// `±1/√fan_in`. He et al. 2015, arXiv:1502.01852.
#[track_caller]
pub fn default_weight(shape: &[usize]) -> Tensor {
    bounded(shape, fans(shape).0)
}

/// PyTorch's default for the bias of a layer whose weight has `fan_in` inputs: uniform in `±1/√fan_in`.
#[track_caller]
pub fn bounded(shape: &[usize], fan_in: usize) -> Tensor {
    let bound = if fan_in > 0 { 1.0 / (fan_in as f64).sqrt() } else { 0.0 };
    uniform(shape, -bound, bound)
}

/// Uniform in `±√(6 / (fan_in + fan_out))`. Glorot and Bengio 2010.
#[track_caller]
pub fn xavier_uniform(shape: &[usize]) -> Tensor {
    let (inputs, outputs) = fans(shape);
    let bound = (6.0 / (inputs + outputs).max(1) as f64).sqrt();
    uniform(shape, -bound, bound)
}

/// Uniform in `±√(6 / fan_in)`, for layers before a ReLU. He et al. 2015, arXiv:1502.01852.
#[track_caller]
pub fn kaiming_uniform(shape: &[usize]) -> Tensor {
    let bound = (6.0 / fans(shape).0.max(1) as f64).sqrt();
    uniform(shape, -bound, bound)
}

/// Normal with standard deviation `√(2 / fan_in)`, for layers before a ReLU. He et al. 2015, arXiv:1502.01852.
#[track_caller]
pub fn kaiming_normal(shape: &[usize]) -> Tensor {
    normal(shape, 0.0, (2.0 / fans(shape).0.max(1) as f64).sqrt())
}
