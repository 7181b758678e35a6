//! MobileNetV2.

use igneous::nn::init::{FanMode, Kaiming, kaiming_normal_with, normal};
use igneous::nn::{BatchNorm2d, Conv, Conv2d, Dropout, Forward, Linear, Module, Relu6, Sequential};
use igneous::{Tensor, default};

/// Inverted residuals of depthwise convolutions, with torchvision's names. Sandler et al. 2018, arXiv:1801.04381.
#[derive(Clone, Module)]
pub struct MobileNetV2 {
    /// The convolutions.
    pub features: Sequential,
    /// Dropout, and to the classes.
    pub classifier: Sequential,
}

/// Equal blocks one after the other; the first has the stride.
#[derive(Clone, Copy, Debug)]
pub struct InvertedStage {
    /// How many times more channels there are inside of a block.
    pub expansion: usize,
    /// Channels between blocks.
    pub channels: usize,
    /// Blocks.
    pub repeats: usize,
    /// The stride of the first.
    pub stride: usize,
}

/// The sizes of a [`MobileNetV2`].
#[derive(Clone, Debug)]
pub struct MobileNetV2Options {
    /// What all channels are multiplied by; 1.
    pub width: f64,
    /// The stages; the paper's seven.
    pub stages: Vec<InvertedStage>,
    /// The probability of dropout in front of the classes; 0.2.
    pub dropout: f64,
}

impl Default for MobileNetV2Options {
    fn default() -> MobileNetV2Options {
        let stage = |(expansion, channels, repeats, stride)| InvertedStage { expansion, channels, repeats, stride };
        let stages = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];
        MobileNetV2Options { width: 1.0, stages: stages.map(stage).to_vec(), dropout: 0.2 }
    }
}

/// To more channels, a depthwise convolution, to fewer channels; with a shortcut where sizes are equal.
#[derive(Clone, Module)]
pub struct InvertedResidual {
    /// The three.
    pub conv: Sequential,
    shortcut: bool,
}

/// The nearest multiple of 8 that is no more than a tenth smaller.
fn multiple_of_8(channels: f64) -> usize {
    let nearest = ((channels + 4.0) as usize / 8 * 8).max(8);
    if (nearest as f64) < 0.9 * channels { nearest + 8 } else { nearest }
}

#[track_caller]
fn conv(inputs: usize, outputs: usize, kernel: usize, stride: usize, groups: usize) -> Conv2d {
    let options = Conv { stride: stride.into(), padding: (kernel / 2).into(), groups, ..default() };
    let shape = [outputs, inputs / groups.max(1), kernel, kernel];
    let weight = Tensor::parameter(kaiming_normal_with(&shape, Kaiming { mode: FanMode::Out, ..default() }));
    Conv2d { weight, bias: None, options }
}

/// A convolution, its normalisation and ReLU6.
#[track_caller]
fn normed(inputs: usize, outputs: usize, kernel: usize, stride: usize, groups: usize) -> Sequential {
    Sequential::new().push(conv(inputs, outputs, kernel, stride, groups)).push(BatchNorm2d::new(outputs)).push(Relu6)
}

impl InvertedResidual {
    #[track_caller]
    fn new(inputs: usize, outputs: usize, stride: usize, expansion: usize) -> InvertedResidual {
        let hidden = inputs * expansion;
        let mut layers = Sequential::new();
        if expansion != 1 {
            layers = layers.push(normed(inputs, hidden, 1, 1, 1));
        }
        let layers = layers.push(normed(hidden, hidden, 3, stride, hidden));
        let layers = layers.push(conv(hidden, outputs, 1, 1, 1)).push(BatchNorm2d::new(outputs));
        InvertedResidual { conv: layers, shortcut: stride == 1 && inputs == outputs }
    }
}

impl Forward for InvertedResidual {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let y = self.conv.call("conv", x);
        if self.shortcut { x + y } else { y }
    }
}

impl MobileNetV2 {
    /// The paper's, for images `[n, 3, h, w]`.
    #[track_caller]
    pub fn new(classes: usize) -> MobileNetV2 {
        MobileNetV2::with(classes, MobileNetV2Options::default())
    }

    /// Of these sizes.
    #[track_caller]
    pub fn with(classes: usize, options: MobileNetV2Options) -> MobileNetV2 {
        let mut inputs = multiple_of_8(32.0 * options.width);
        let mut features = Sequential::new().push(normed(3, inputs, 3, 2, 1));
        for stage in &options.stages {
            let outputs = multiple_of_8(stage.channels as f64 * options.width);
            for k in 0..stage.repeats {
                let stride = if k == 0 { stage.stride } else { 1 };
                features = features.push(InvertedResidual::new(inputs, outputs, stride, stage.expansion));
                inputs = outputs;
            }
        }
        let last = multiple_of_8(1280.0 * options.width.max(1.0));
        let weight = Tensor::parameter(normal((classes, last), 0.0, 0.01));
        let head = Linear { weight, bias: Some(Tensor::parameter(Tensor::zeros(classes))) };
        MobileNetV2 {
            features: features.push(normed(inputs, last, 1, 1, 1)),
            classifier: Sequential::new().push(Dropout::new(options.dropout)).push(head),
        }
    }
}

impl Forward for MobileNetV2 {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.classifier.call("classifier", &self.features.call("features", x).mean((-2, -1)))
    }
}
