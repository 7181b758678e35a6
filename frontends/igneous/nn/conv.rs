//! Convolution layers.

use super::visit::{Module, Visitor};
use super::{Forward, init};
use crate::location::here;
use crate::tensor::{Conv, Pair, Tensor};
use igneous_ir::{Error, Result};

/// Two-dimensional convolution (`torch.nn.Conv2d`): input `[N, in, H, W]`, output `[N, out, H', W']` with
/// `H' = ⌊(H + 2·padding − dilation·(kernel−1) − 1) / stride⌋ + 1`.
///
/// ```
/// use igneous::nn::{Conv, Conv2d, Forward};
/// use igneous::{Tensor, default};
///
/// let conv = Conv2d::with(3, 6, 5, Conv { stride: 2.into(), padding: 2.into(), ..default() });
/// let [_, channels, height, width] = conv.forward(&Tensor::zeros((1, 3, 32, 32))).dims();
/// assert_eq!((channels.get()?, height.get()?, width.get()?), (6, 16, 16));
/// # Ok::<(), igneous::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Conv2d {
    /// `[out, in / groups, kernel height, kernel width]`, uniform in `±1/√fan_in` at first.
    pub weight: Tensor,
    /// `[out]`, initialised likewise; none without bias.
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

    /// A convolution with options. Where they cannot be, for example channels that `groups` does not divide, weight and
    /// bias are invalid, and so is all that is computed from them.
    #[track_caller]
    pub fn with(in_channels: usize, out_channels: usize, kernel: impl Into<Pair>, options: Conv) -> Conv2d {
        let kernel = kernel.into();
        if let Err(error) = check(in_channels, out_channels, kernel, options) {
            let invalid = Tensor::from(error.at(here()));
            return Conv2d { weight: invalid.clone(), bias: Some(invalid), options };
        }
        let shape = [out_channels, in_channels / options.groups, kernel.0[0], kernel.0[1]];
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

fn check(in_channels: usize, out_channels: usize, kernel: Pair, options: Conv) -> Result<()> {
    options.check()?;
    if kernel.has_zero() {
        return Err(Error::new(format!("Conv2d needs a kernel of at least 1×1, not {kernel}")));
    }
    let groups = options.groups;
    if !in_channels.is_multiple_of(groups) || !out_channels.is_multiple_of(groups) {
        let message = format!("Conv2d needs channels that its {groups} groups divide");
        return Err(Error::new(message).note("input channels", in_channels).note("output channels", out_channels));
    }
    Ok(())
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
