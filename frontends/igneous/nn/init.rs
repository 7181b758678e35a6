//! Initialisers (`torch.nn.init`): new values for parameters.
//!
//! ```
//! use igneous::nn::{Linear, ModuleExt, Sequential, init};
//!
//! let net = Sequential::new().push(Linear::new(20, 30)).push(Linear::new(30, 10));
//! for (name, parameter) in net.named_parameters() {
//!     let sizes = parameter.ty()?.sizes()?;
//!     parameter.assign(&if name.ends_with("weight") { init::kaiming_normal(&sizes) } else { init::normal(&sizes[..], 0.0, 0.1) })?;
//! }
//! # Ok::<(), igneous::Error>(())
//! ```

use crate::linalg;
use crate::location::here;
use crate::tensor::{IntoShape, Tensor};
use igneous_ir::{DType, Error};
use std::f64::consts::SQRT_2;

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

/// Normal with this mean and standard deviation, without what lies outside of `low..=high` (`trunc_normal_`, whose defaults are
/// 0, 1, −2 and 2).
#[track_caller]
pub fn trunc_normal(shape: impl IntoShape, mean: f64, std: f64, low: f64, high: f64) -> Tensor {
    if !(std > 0.0 && low < high) {
        let message = "trunc_normal needs a standard deviation above 0, and bounds of which the lower is below the upper";
        return Error::new(message).note("std", std).note("bounds", format_args!("{low} and {high}")).at(here()).into();
    }
    // Uniform between the values that the distribution function has at the bounds, then its inverse.
    let bound = |x: f64| Tensor::from_vec(vec![(x - mean) / (std * SQRT_2)], ()).erf();
    let (from, to) = (bound(low), bound(high));
    let even = Tensor::rand(shape).to_dtype(DType::F64) * (&to - &from) + from;
    (even.erfinv() * (std * SQRT_2) + mean).clamp(low, high).to_dtype(DType::F32)
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

/// What follows a layer.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Activation {
    /// Nothing.
    Linear,
    /// The logistic function.
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// `max(x, 0)`.
    Relu,
    /// `x` where positive, elsewhere this slope times `x`.
    LeakyRelu(f64),
    /// The self-normalising exponential unit.
    Selu,
}

/// By how much larger weights are to be for the values behind a function to keep their size (`calculate_gain`).
pub fn calculate_gain(activation: Activation) -> f64 {
    match activation {
        Activation::Linear | Activation::Sigmoid => 1.0,
        Activation::Tanh => 5.0 / 3.0,
        Activation::Relu => SQRT_2,
        Activation::LeakyRelu(slope) => (2.0 / (1.0 + slope * slope)).sqrt(),
        Activation::Selu => 0.75,
    }
}

/// The standard deviation of Glorot and Bengio's initialisation, without gain.
fn xavier_deviation(shape: &[usize]) -> f64 {
    let (inputs, outputs) = fans(shape);
    (2.0 / (inputs.saturating_add(outputs)).max(1) as f64).sqrt()
}

/// Uniform in `±√(6 / (fan_in + fan_out))`. Glorot and Bengio 2010.
#[track_caller]
pub fn xavier_uniform(shape: &[usize]) -> Tensor {
    xavier_uniform_with(shape, 1.0)
}

/// The same, `gain` times as large.
#[track_caller]
pub fn xavier_uniform_with(shape: &[usize], gain: f64) -> Tensor {
    let bound = 3f64.sqrt() * xavier_deviation(shape) * gain;
    uniform(shape, -bound, bound)
}

/// Normal with standard deviation `√(2 / (fan_in + fan_out))`. Glorot and Bengio 2010.
#[track_caller]
pub fn xavier_normal(shape: &[usize]) -> Tensor {
    xavier_normal_with(shape, 1.0)
}

/// The same, `gain` times as large.
#[track_caller]
pub fn xavier_normal_with(shape: &[usize], gain: f64) -> Tensor {
    normal(shape, 0.0, xavier_deviation(shape) * gain)
}

/// Which size Kaiming's initialisation keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FanMode {
    /// That of values on their way forward (`fan_in`).
    #[default]
    In,
    /// That of gradients on their way back (`fan_out`).
    Out,
}

/// Options of Kaiming's initialisation, with PyTorch's defaults.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Kaiming {
    /// Which size is kept; that of values on their way forward.
    pub mode: FanMode,
    /// What follows the layer; a leaky ReLU of slope 0, which is a ReLU.
    pub activation: Activation,
}

impl Default for Kaiming {
    fn default() -> Kaiming {
        Kaiming { mode: FanMode::In, activation: Activation::LeakyRelu(0.0) }
    }
}

impl Kaiming {
    fn deviation(self, shape: &[usize]) -> f64 {
        let (inputs, outputs) = fans(shape);
        let fan = match self.mode {
            FanMode::In => inputs,
            FanMode::Out => outputs,
        };
        calculate_gain(self.activation) / (fan.max(1) as f64).sqrt()
    }
}

/// Uniform in `±√(6 / fan_in)`, for layers before a ReLU. He et al. 2015, arXiv:1502.01852.
#[track_caller]
pub fn kaiming_uniform(shape: &[usize]) -> Tensor {
    kaiming_uniform_with(shape, Kaiming::default())
}

/// Uniform in `±gain · √(3 / fan)`.
#[track_caller]
pub fn kaiming_uniform_with(shape: &[usize], options: Kaiming) -> Tensor {
    let bound = 3f64.sqrt() * options.deviation(shape);
    uniform(shape, -bound, bound)
}

/// Normal with standard deviation `√(2 / fan_in)`, for layers before a ReLU. He et al. 2015, arXiv:1502.01852.
#[track_caller]
pub fn kaiming_normal(shape: &[usize]) -> Tensor {
    kaiming_normal_with(shape, Kaiming::default())
}

/// Normal with standard deviation `gain / √fan`.
#[track_caller]
pub fn kaiming_normal_with(shape: &[usize], options: Kaiming) -> Tensor {
    normal(shape, 0.0, options.deviation(shape))
}

/// A matrix (all axes but the first count as one) whose rows or columns, whichever are fewer, are orthogonal and of length
/// `gain`. Saxe et al. 2013, arXiv:1312.6120.
#[track_caller]
pub fn orthogonal(shape: &[usize], gain: f64) -> Tensor {
    let [rows, rest @ ..] = shape else { return too_few_axes("orthogonal", 2, shape) };
    if rest.is_empty() {
        return too_few_axes("orthogonal", 2, shape);
    }
    let columns = rest.iter().fold(1, |n: usize, &extent| n.saturating_mul(extent));
    if *rows == 0 || columns == 0 {
        return Tensor::zeros(shape);
    }
    let (tall, wide) = ((*rows).max(columns), (*rows).min(columns));
    let (q, r) = linalg::qr(&Tensor::randn((tall, wide)));
    // Unique signs make the distribution uniform.
    let q = q * r.diagonal(0, 0, 1).sign();
    let q = if *rows < columns { q.t() } else { q };
    (q * gain).reshape(shape)
}

#[track_caller]
fn too_few_axes(what: &str, least: usize, shape: &[usize]) -> Tensor {
    Error::new(format!("{what} needs a shape of at least {least} axes, not {shape:?}")).at(here()).into()
}

/// A matrix of normal numbers, of which a share `sparsity` in each column, rounded up, is zero (`sparse_`). Martens 2010.
#[track_caller]
pub fn sparse(rows: usize, columns: usize, sparsity: f64, std: f64) -> Tensor {
    if !(0.0..=1.0).contains(&sparsity) {
        return Error::new(format!("sparse needs a sparsity from 0 to 1, not {sparsity}")).at(here()).into();
    }
    let zeros = (sparsity * rows as f64).ceil() as i64;
    let rank = Tensor::rand((rows, columns)).argsort(0).argsort(0);
    normal((rows, columns), 0.0, std).masked_fill(&rank.lt(zeros), 0.0)
}

/// Ones on the diagonal, elsewhere zeros (`eye_`).
#[track_caller]
pub fn eye(rows: usize, columns: usize) -> Tensor {
    Tensor::arange(0, rows).unsqueeze(1).equal(Tensor::arange(0, columns)).to_dtype(DType::F32)
}

/// The weight `[out, in, kernel…]` of a convolution that passes on as many channels as it can, in each group the first ones
/// (`dirac_`). Zagoruyko and Komodakis 2017, arXiv:1706.00388.
#[track_caller]
pub fn dirac(shape: &[usize], groups: usize) -> Tensor {
    let [out, inputs, kernel @ ..] = shape else { return too_few_axes("dirac", 3, shape) };
    if kernel.is_empty() || kernel.len() > 3 {
        return Error::new(format!("dirac needs a shape of three to five axes, not {shape:?}")).at(here()).into();
    }
    if groups == 0 || !out.is_multiple_of(groups) {
        return Error::new(format!("dirac needs output channels that {groups} divides, not {out}")).at(here()).into();
    }
    let in_group = out / groups;
    // A channel of the output and the one of the input with its number in the group.
    let outputs = Tensor::arange(0, *out) % in_group.max(1) as i64;
    let mut weight = outputs.unsqueeze(1).equal(Tensor::arange(0, *inputs));
    for &extent in kernel {
        let middle = Tensor::arange(0, extent).equal(extent as i64 / 2);
        weight = weight.unsqueeze(-1) & middle;
    }
    weight.to_dtype(DType::F32)
}
