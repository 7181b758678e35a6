//! Activations as layers.

use super::Forward;
use super::mode::Mode;
use super::stateless::stateless_layers;
use super::visit::{Module, Visitor};
use crate::location::here;
use crate::tensor::Tensor;
use igneous_ir::Error;

macro_rules! activations {
    ($($(#[$doc:meta])* $name:ident($x:ident) $body:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $name;

        impl Module for $name {
            fn visit(&self, _: &mut dyn Visitor) {}
        }

        impl Forward for $name {
            #[track_caller]
            fn forward(&self, $x: &Tensor) -> Tensor {
                $body
            }
        }
    )*};
}

activations! {
    /// `max(x, 0)` (`torch.nn.ReLU`).
    Relu(x) x.relu();
    /// `min(max(x, 0), 6)` (`torch.nn.ReLU6`).
    Relu6(x) x.relu6();
    /// `x · Φ(x)` with the error function (`torch.nn.GELU`). Hendrycks and Gimpel 2016, arXiv:1606.08415.
    Gelu(x) x.gelu();
    /// The approximation of [`Gelu`] by the hyperbolic tangent (`torch.nn.GELU(approximate='tanh')`).
    GeluTanh(x) x.gelu_tanh();
    /// `1 / (1 + e^−x)` (`torch.nn.Sigmoid`).
    Sigmoid(x) x.sigmoid();
    /// The hyperbolic tangent (`torch.nn.Tanh`).
    Tanh(x) x.tanh();
    /// `x · sigmoid(x)`, also called swish (`torch.nn.SiLU`). Elfwing et al. 2018, arXiv:1702.03118.
    Silu(x) x.silu();
    /// `x · tanh(softplus(x))` (`torch.nn.Mish`). Misra 2019, arXiv:1908.08681.
    Mish(x) x.mish();
    /// The self-normalising exponential unit (`torch.nn.SELU`). Klambauer et al. 2017, arXiv:1706.02515.
    Selu(x) x.selu();
    /// `x / 6 + 1/2`, limited to 0..1 (`torch.nn.Hardsigmoid`).
    Hardsigmoid(x) x.hardsigmoid();
    /// `x · hardsigmoid(x)` (`torch.nn.Hardswish`). Howard et al. 2019, arXiv:1905.02244.
    Hardswish(x) x.hardswish();
    /// `log(sigmoid(x))`, without overflow (`torch.nn.LogSigmoid`).
    LogSigmoid(x) x.logsigmoid();
    /// `x / (1 + |x|)` (`torch.nn.Softsign`).
    Softsign(x) x.softsign();
    /// `x − tanh(x)` (`torch.nn.Tanhshrink`).
    Tanhshrink(x) x.tanhshrink();
    /// The softmax over the channels at each place of images `[N, C, H, W]` or of one image (`torch.nn.Softmax2d`).
    Softmax2d(x) x.softmax(-3);
}

stateless_layers! {
    /// `x` where positive, elsewhere `slope · x` (`torch.nn.LeakyReLU`).
    LeakyRelu {
        /// The slope below 0; 0.01 by default.
        slope: f64,
    } (x) x.leaky_relu(slope);
    /// `x` where positive, elsewhere `alpha · (e^x − 1)` (`torch.nn.ELU`). Clevert et al. 2015, arXiv:1511.07289.
    Elu {
        /// What it falls to; 1 by default.
        alpha: f64,
    } (x) x.elu(alpha);
    /// `x` where positive, elsewhere `alpha · (e^(x / alpha) − 1)` (`torch.nn.CELU`). Barron 2017, arXiv:1704.07483.
    Celu {
        /// What it falls to; 1 by default.
        alpha: f64,
    } (x) x.celu(alpha);
    /// Limited to a range (`torch.nn.Hardtanh`).
    Hardtanh {
        /// The lower bound; −1 by default.
        min: f64,
        /// The upper bound; 1 by default.
        max: f64,
    } (x) x.hardtanh(min, max);
    /// `log(1 + e^(beta · x)) / beta`, and `x` where `beta · x` is above `threshold` (`torch.nn.Softplus`).
    Softplus {
        /// How sharp the bend is; 1 by default.
        beta: f64,
        /// Where the function counts as linear; 20 by default.
        threshold: f64,
    } (x) x.softplus_with(beta, threshold);
    /// Moved toward 0 by `lambda`; what crosses it is 0 (`torch.nn.Softshrink`).
    Softshrink {
        /// How far; 0.5 by default.
        lambda: f64,
    } (x) x.softshrink(lambda);
    /// `x` beyond ±`lambda`, elsewhere 0 (`torch.nn.Hardshrink`).
    Hardshrink {
        /// The bound; 0.5 by default.
        lambda: f64,
    } (x) x.hardshrink(lambda);
    /// `x` above `threshold`, elsewhere `value` (`torch.nn.Threshold`).
    Threshold {
        /// The bound.
        threshold: f64,
        /// What stands at and below it.
        value: f64,
    } (x) x.threshold(threshold, value);
    /// The first half along an axis times the sigmoid of the second (`torch.nn.GLU`). Dauphin et al. 2016, arXiv:1612.08083.
    Glu {
        /// The axis that is halved; the last by default.
        axis: i64,
    } (x) x.glu(axis);
    /// `e^x / Σ e^x` along an axis (`torch.nn.Softmax`).
    Softmax {
        /// The axis whose elements add up to 1.
        axis: i64,
    } (x) x.softmax(axis);
    /// `x − log Σ e^x` along an axis (`torch.nn.LogSoftmax`).
    LogSoftmax {
        /// The axis.
        axis: i64,
    } (x) x.log_softmax(axis);
    /// The softmax of `−x` along an axis (`torch.nn.Softmin`).
    Softmin {
        /// The axis whose elements add up to 1.
        axis: i64,
    } (x) x.softmin(axis);
}

macro_rules! default_numbers {
    ($($name:ident($($value:expr),*);)*) => {$(
        impl Default for $name {
            fn default() -> $name {
                $name::new($($value),*)
            }
        }
    )*};
}

default_numbers! {
    LeakyRelu(0.01);
    Elu(1.0);
    Celu(1.0);
    Hardtanh(-1.0, 1.0);
    Softplus(1.0, 20.0);
    Softshrink(0.5);
    Hardshrink(0.5);
    Glu(-1);
}

/// `x` where positive, elsewhere `weight · x` with a weight that is learned (`torch.nn.PReLU`). He et al. 2015,
/// arXiv:1502.01852.
#[derive(Clone, Debug)]
pub struct Prelu {
    /// One slope for all, or one for each channel (axis 1); 0.25 at first.
    pub weight: Tensor,
}

impl Default for Prelu {
    /// One slope.
    #[track_caller]
    fn default() -> Prelu {
        Prelu::new(1)
    }
}

impl Prelu {
    /// So many slopes: one, or as many as there are channels.
    #[track_caller]
    pub fn new(count: usize) -> Prelu {
        Prelu { weight: Tensor::parameter(Tensor::full(count, 0.25)) }
    }
}

impl Module for Prelu {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("weight", &self.weight);
    }
}

impl Forward for Prelu {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        x.prelu(&self.weight)
    }
}

/// `x` where positive, elsewhere `slope · x`, with a slope drawn for each element in training and the middle of the range in
/// evaluation (`torch.nn.RReLU`). Xu et al. 2015, arXiv:1505.00853.
#[derive(Clone, Debug)]
pub struct Rrelu {
    /// The smallest slope; 1/8 by default.
    pub lower: f64,
    /// The largest slope; 1/3 by default.
    pub upper: f64,
    /// Training or evaluation.
    pub mode: Mode,
}

impl Default for Rrelu {
    fn default() -> Rrelu {
        Rrelu::new(1.0 / 8.0, 1.0 / 3.0)
    }
}

impl Rrelu {
    /// Slopes from this range. If it is empty, all outputs are invalid.
    pub fn new(lower: f64, upper: f64) -> Rrelu {
        Rrelu { lower, upper, mode: Mode::default() }
    }
}

impl Module for Rrelu {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("mode", &self.mode);
    }
}

impl Forward for Rrelu {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let Rrelu { lower, upper, .. } = *self;
        if lower.is_nan() || upper.is_nan() || lower > upper {
            let error = Error::new(format!("Rrelu needs a lower slope that is not above the upper one, not {lower} and {upper}"));
            return error.at(here()).into();
        }
        if !self.mode.is_training() {
            return x.leaky_relu((lower + upper) / 2.0);
        }
        let x = x.as_float();
        let slopes = x.rand_like() * (upper - lower) + lower;
        x.where_(&x.gt(0.0), &x * slopes)
    }
}
