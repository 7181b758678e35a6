//! ResNet-18 and its relatives of basic blocks.

use igneous::nn::init::{FanMode, Kaiming, kaiming_normal_with};
use igneous::nn::{BatchNorm2d, Conv, Conv2d, Forward, Linear, Module, Pool, Sequential};
use igneous::{Tensor, default};

/// Residual blocks of 3×3 convolutions in four groups, with torchvision's names. He et al. 2015, arXiv:1512.03385.
#[derive(Clone, Module)]
pub struct ResNet {
    /// 7×7, to the width.
    pub conv1: Conv2d,
    /// Behind it.
    pub bn1: BatchNorm2d,
    /// Blocks of the full size.
    pub layer1: Sequential,
    /// Of half the size and twice the channels.
    pub layer2: Sequential,
    /// Again.
    pub layer3: Sequential,
    /// Again.
    pub layer4: Sequential,
    /// To the classes.
    pub fc: Linear,
}

/// The sizes of a [`ResNet`].
#[derive(Clone, Copy, Debug)]
pub struct ResNetOptions {
    /// Channels of the images; 3.
    pub channels: usize,
    /// Channels of the first group; 64.
    pub width: usize,
    /// Blocks in each group; `[2, 2, 2, 2]`.
    pub blocks: [usize; 4],
}

impl Default for ResNetOptions {
    fn default() -> ResNetOptions {
        ResNetOptions { channels: 3, width: 64, blocks: [2; 4] }
    }
}

/// Two convolutions with a shortcut.
#[derive(Clone, Module)]
pub struct BasicBlock {
    /// 3×3, with the block's stride.
    pub conv1: Conv2d,
    /// Behind it.
    pub bn1: BatchNorm2d,
    /// 3×3.
    pub conv2: Conv2d,
    /// Behind it.
    pub bn2: BatchNorm2d,
    /// What the shortcut passes through where sizes differ.
    pub downsample: Option<Sequential>,
}

/// A convolution without bias, padded so that stride 1 keeps the size, that begins as torchvision's.
#[track_caller]
fn conv(inputs: usize, outputs: usize, kernel: usize, stride: usize) -> Conv2d {
    let options = Conv { stride: stride.into(), padding: (kernel / 2).into(), ..default() };
    let weight = kaiming_normal_with(&[outputs, inputs, kernel, kernel], Kaiming { mode: FanMode::Out, ..default() });
    Conv2d { weight: Tensor::parameter(weight), bias: None, options }
}

impl BasicBlock {
    #[track_caller]
    fn new(inputs: usize, outputs: usize, stride: usize) -> BasicBlock {
        let shortcut = || Sequential::new().push(conv(inputs, outputs, 1, stride)).push(BatchNorm2d::new(outputs));
        BasicBlock {
            conv1: conv(inputs, outputs, 3, stride),
            bn1: BatchNorm2d::new(outputs),
            conv2: conv(outputs, outputs, 3, 1),
            bn2: BatchNorm2d::new(outputs),
            downsample: (stride != 1 || inputs != outputs).then(shortcut),
        }
    }
}

impl Forward for BasicBlock {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let shortcut = self.downsample.as_ref().map_or(x.clone(), |layers| layers.call("downsample", x));
        let x = self.bn1.call("bn1", &self.conv1.call("conv1", x)).relu();
        (self.bn2.call("bn2", &self.conv2.call("conv2", &x)) + shortcut).relu()
    }
}

impl ResNet {
    /// ResNet-18 for images `[n, 3, h, w]`.
    #[track_caller]
    pub fn resnet18(classes: usize) -> ResNet {
        ResNet::with(classes, ResNetOptions::default())
    }

    /// ResNet-34.
    #[track_caller]
    pub fn resnet34(classes: usize) -> ResNet {
        ResNet::with(classes, ResNetOptions { blocks: [3, 4, 6, 3], ..default() })
    }

    /// Of these sizes.
    #[track_caller]
    pub fn with(classes: usize, options: ResNetOptions) -> ResNet {
        let ResNetOptions { channels, width, blocks } = options;
        let group = |k: usize| {
            let (outputs, stride) = (width << k, if k == 0 { 1 } else { 2 });
            let inputs = if k == 0 { width } else { outputs / 2 };
            (1..blocks[k]).fold(Sequential::new().push(BasicBlock::new(inputs, outputs, stride)), |group, _| {
                group.push(BasicBlock::new(outputs, outputs, 1))
            })
        };
        ResNet {
            conv1: conv(channels, width, 7, 2),
            bn1: BatchNorm2d::new(width),
            layer1: group(0),
            layer2: group(1),
            layer3: group(2),
            layer4: group(3),
            fc: Linear::new(width << 3, classes),
        }
    }
}

impl Forward for ResNet {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let x = self.bn1.call("bn1", &self.conv1.call("conv1", x)).relu();
        let x = x.max_pool2d(Pool::new(3).stride(2).padding(1));
        let x = self.layer2.call("layer2", &self.layer1.call("layer1", &x));
        let x = self.layer4.call("layer4", &self.layer3.call("layer3", &x));
        self.fc.call("fc", &x.mean((-2, -1)))
    }
}
