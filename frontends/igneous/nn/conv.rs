//! Convolution layers.

use super::visit::{Module, Visitor};
use super::{Forward, init};
use crate::location::here;
use crate::tensor::{ConvOptions, ConvTransposeOptions, Extents, Tensor};
use igneous_ir::{Error, Result};

/// Weight and bias as PyTorch begins them: uniform in `±1/√fan_in`. Where the arguments cannot be, both are invalid.
#[track_caller]
fn parameters(checked: Result<()>, shape: &[usize], outputs: usize) -> (Tensor, Option<Tensor>) {
    if let Err(error) = checked {
        let invalid = Tensor::from(error.at(here()));
        return (invalid.clone(), Some(invalid));
    }
    let bias = Tensor::parameter(init::bounded(&[outputs], init::fans(shape).0));
    (Tensor::parameter(init::default_weight(shape)), Some(bias))
}

/// A kernel and channels that a convolution can have, whose options are valid.
fn check<const N: usize>(
    what: &str,
    in_channels: usize,
    out_channels: usize,
    kernel: Extents<N>,
    options: Result<usize>,
) -> Result<()> {
    let groups = options?;
    if kernel.has_zero() {
        return Err(Error::new(format!("{what} needs a kernel of at least {}, not {kernel}", Extents([1; N]))));
    }
    if !in_channels.is_multiple_of(groups) || !out_channels.is_multiple_of(groups) {
        let message = format!("{what} needs channels that its {groups} groups divide");
        return Err(Error::new(message).note("input channels", in_channels).note("output channels", out_channels));
    }
    Ok(())
}

/// The channels of a weight, in the order of its axes.
fn plain(in_channels: usize, out_channels: usize, groups: usize) -> [usize; 2] {
    [out_channels, in_channels / groups]
}

fn transposed(in_channels: usize, out_channels: usize, groups: usize) -> [usize; 2] {
    [in_channels, out_channels / groups]
}

/// The shape of a weight: two numbers of channels, then the kernel.
fn weight_shape<const N: usize>(channels: [usize; 2], kernel: Extents<N>) -> Vec<usize> {
    channels.into_iter().chain(kernel.0).collect()
}

macro_rules! convolutions {
    ($options:ident, $channels:ident, $range:literal, $new:literal, $with:literal;
        $($(#[$doc:meta])* $name:ident $n:literal $method:ident $weight:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            #[doc = concat!("`", $weight, "`, uniform in `±1/√", $range, "` at first.")]
            pub weight: Tensor,
            /// `[out]`, initialised likewise; none without bias.
            pub bias: Option<Tensor>,
            /// The options.
            pub options: $options<$n>,
        }

        impl $name {
            #[doc = $new]
            #[track_caller]
            pub fn new(in_channels: usize, out_channels: usize, kernel: impl Into<Extents<$n>>) -> $name {
                $name::with(in_channels, out_channels, kernel, $options::default())
            }

            #[doc = concat!("With options. Where they cannot be, for example ", $with, ", weight and bias are invalid, and so is all")]
            /// that is computed from them.
            #[track_caller]
            pub fn with(
                in_channels: usize,
                out_channels: usize,
                kernel: impl Into<Extents<$n>>,
                options: $options<$n>,
            ) -> $name {
                let kernel = kernel.into();
                let valid = options.check().map(|()| options.groups);
                let checked = check(stringify!($name), in_channels, out_channels, kernel, valid);
                let shape = weight_shape($channels(in_channels, out_channels, options.groups.max(1)), kernel);
                let (weight, bias) = parameters(checked, &shape, out_channels);
                $name { weight, bias, options }
            }

            /// The same without a bias.
            #[must_use]
            pub fn without_bias(self) -> $name {
                $name { bias: None, ..self }
            }
        }

        impl Module for $name {
            fn visit(&self, visitor: &mut dyn Visitor) {
                visitor.child("weight", &self.weight);
                visitor.child("bias", &self.bias);
            }
        }

        impl Forward for $name {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                x.$method(&self.weight, self.bias.as_ref(), self.options)
            }
        }
    )*};
}

convolutions! {
    ConvOptions, plain, "fan_in", "A convolution with stride 1, no padding and a bias.", "channels that `groups` does not divide";
    /// One-dimensional convolution (`torch.nn.Conv1d`): input `[N, in, L]`, output `[N, out, L']`.
    Conv1d 1 conv1d "[out, in / groups, kernel]";
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
    Conv2d 2 conv2d "[out, in / groups, kernel height, kernel width]";
    /// Three-dimensional convolution (`torch.nn.Conv3d`): input `[N, in, D, H, W]`, output `[N, out, D', H', W']`.
    Conv3d 3 conv3d "[out, in / groups, kernel depth, kernel height, kernel width]";
}

convolutions! {
    ConvTransposeOptions, transposed, "(out · kernel / groups)",
    "A transposed convolution with stride 1, nothing cut off and a bias.", "an `output_padding` that is not below the stride";
    /// The transpose of [`Conv1d`] (`torch.nn.ConvTranspose1d`): input `[N, in, L]`, output `[N, out, L']`.
    ConvTranspose1d 1 conv_transpose1d "[in, out / groups, kernel]";
    /// The transpose of [`Conv2d`] (`torch.nn.ConvTranspose2d`): input `[N, in, H, W]`, output `[N, out, H', W']` with
    /// `H' = (H − 1)·stride − 2·padding + dilation·(kernel − 1) + output_padding + 1`.
    ConvTranspose2d 2 conv_transpose2d "[in, out / groups, kernel height, kernel width]";
    /// The transpose of [`Conv3d`] (`torch.nn.ConvTranspose3d`): input `[N, in, D, H, W]`, output `[N, out, D', H', W']`.
    ConvTranspose3d 3 conv_transpose3d "[in, out / groups, kernel depth, kernel height, kernel width]";
}
