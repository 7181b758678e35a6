//! Convolution layers.

use super::visit::{Module, Visitor};
use super::{Forward, init};
use crate::tensor::{Conv, Pair, Tensor};

/// Two-dimensional convolution (`torch.nn.Conv2d`): input `[N, in, H, W]`, output `[N, out, H', W']` with
/// `H' = ⌊(H + 2·padding − dilation·(kernel−1) − 1) / stride⌋ + 1`.
#[derive(Clone, Debug)]
pub struct Conv2d {
    /// `[out, in / groups, kernel height, kernel width]`, uniform in `±1/√fan_in` at first.
    pub weight: Tensor,
    /// `[out]`, initialised likewise.
    pub bias: Option<Tensor>,
    /// The options.
    pub options: Conv,
}

impl Conv2d {
    /// A convolution with stride 1, no padding and a bias.
    #[track_caller]
    pub fn new(in_channels: usize, out_channels: usize, kernel: impl Into<Pair>) -> Conv2d {
        Conv2d::with(in_channels, out_channels, kernel, Conv::default())
    }

    /// A convolution with options. Channels that `groups` does not divide make invalid outputs.
    #[track_caller]
    pub fn with(in_channels: usize, out_channels: usize, kernel: impl Into<Pair>, options: Conv) -> Conv2d {
        let Pair(h, w) = kernel.into();
        let shape = [out_channels, in_channels / options.groups.max(1), h, w];
        let weight = Tensor::parameter(init::default_weight(&shape));
        let fan_in = init::fans(&shape).0;
        let bias = Some(Tensor::parameter(init::bounded(&[out_channels], fan_in)));
        Conv2d { weight, bias, options }
    }

    /// The same without a bias.
    #[must_use]
    pub fn without_bias(self) -> Conv2d {
        Conv2d { bias: None, ..self }
    }
}

impl Module for Conv2d {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("weight", &self.weight);
        visitor.child("bias", &self.bias);
    }
}

impl Forward for Conv2d {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        x.conv2d(&self.weight, self.bias.as_ref(), self.options)
    }
}
