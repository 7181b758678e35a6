//! U-Net.

use igneous::nn::{BatchNorm2d, Conv, Conv2d, ConvTranspose, ConvTranspose2d, Forward, Module, Relu, Sequential};
use igneous::{Tensor, default};

/// A class for each pixel: down by pooling, up again by transposed convolutions, with a shortcut on each level. Ronneberger et
/// al. 2015, arXiv:1505.04597, with padded convolutions and batch normalisation. Height and width of images are multiples of
/// 2 to the power of the depth.
///
/// Parameters: `encoder.0.0.weight` and so on for the two convolutions (0, 3) and normalisations (1, 4) of each level, the deepest
/// last; `up.0.weight` and `decoder.0.0.weight` from the deepest on; `head.weight`.
#[derive(Clone, Module)]
pub struct UNet {
    /// Two convolutions on each level, the deepest last.
    pub encoder: Vec<Sequential>,
    /// To the level above, the deepest first.
    pub up: Vec<ConvTranspose2d>,
    /// Two convolutions on each level, the deepest but one first.
    pub decoder: Vec<Sequential>,
    /// To the classes.
    pub head: Conv2d,
}

/// The sizes of a [`UNet`].
#[derive(Clone, Copy, Debug)]
pub struct UNetOptions {
    /// Channels of the images; 3.
    pub channels: usize,
    /// Channels of the first level; 64. Each level has twice as many as the one above.
    pub width: usize,
    /// How often sizes are halved; 4.
    pub depth: usize,
}

impl Default for UNetOptions {
    fn default() -> UNetOptions {
        UNetOptions { channels: 3, width: 64, depth: 4 }
    }
}

/// Two 3×3 convolutions, each with its normalisation and a ReLU.
#[track_caller]
fn twice(inputs: usize, outputs: usize) -> Sequential {
    let conv = |inputs: usize| Conv2d::with(inputs, outputs, 3, Conv { padding: 1.into(), ..default() }).without_bias();
    let first = Sequential::new().push(conv(inputs)).push(BatchNorm2d::new(outputs)).push(Relu);
    first.push(conv(outputs)).push(BatchNorm2d::new(outputs)).push(Relu)
}

impl UNet {
    /// The paper's sizes.
    #[track_caller]
    pub fn new(classes: usize) -> UNet {
        UNet::with(classes, UNetOptions::default())
    }

    /// Of these sizes.
    #[track_caller]
    pub fn with(classes: usize, options: UNetOptions) -> UNet {
        let UNetOptions { channels, width, depth } = options;
        let of = |level: usize| width << level;
        let doubling = ConvTranspose { stride: 2.into(), ..default() };
        UNet {
            encoder: (0..=depth).map(|k| twice(if k == 0 { channels } else { of(k - 1) }, of(k))).collect(),
            up: (0..depth).rev().map(|k| ConvTranspose2d::with(of(k + 1), of(k), 2, doubling)).collect(),
            decoder: (0..depth).rev().map(|k| twice(of(k + 1), of(k))).collect(),
            head: Conv2d::new(width, classes, 1),
        }
    }
}

impl Forward for UNet {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let mut levels: Vec<Tensor> = Vec::new();
        for (k, layers) in self.encoder.iter().enumerate() {
            let x = levels.last().map_or(x.clone(), |above| above.max_pool2d(2));
            levels.push(layers.call(&format!("encoder.{k}"), &x));
        }
        let mut levels = levels.into_iter().rev();
        let deepest = levels.next().unwrap_or_else(|| x.clone());
        let merged = self.up.iter().zip(&self.decoder).zip(levels).enumerate().fold(deepest, |x, (k, ((up, layers), beside))| {
            let joined = Tensor::cat(&[beside, up.call(&format!("up.{k}"), &x)], 1);
            layers.call(&format!("decoder.{k}"), &joined)
        });
        self.head.call("head", &merged)
    }
}
