//! CREPE, which hears the pitch of a sound.

use igneous::nn::{BatchNorm2d, BatchNormOptions, Conv, Conv2d, Forward, Linear, Module};
use igneous::{Tensor, default};

/// Frames `[n, 1024]` of sound at 16 kHz, each with mean 0 and deviation 1, to the probabilities of 360 pitches, 20 cents apart.
/// Kim et al. 2018, arXiv:1802.06182. Parameters have the names of the package torchcrepe (`conv1`, `conv1_BN`, …, `classifier`).
#[derive(Clone, Debug)]
pub struct Crepe {
    /// The six convolutions.
    pub blocks: Vec<CrepeBlock>,
    /// To the pitches.
    pub classifier: Linear,
}

/// A convolution over time, ReLU, normalisation and pooling.
#[derive(Clone, Debug)]
pub struct CrepeBlock {
    /// The convolution.
    pub conv: Conv2d,
    /// The normalisation.
    pub norm: BatchNorm2d,
}

impl Crepe {
    /// The smallest model of the paper's authors.
    #[track_caller]
    pub fn tiny() -> Crepe {
        Crepe::with([128, 16, 16, 16, 32, 64])
    }

    /// The largest.
    #[track_caller]
    pub fn full() -> Crepe {
        Crepe::with([1024, 128, 128, 128, 256, 512])
    }

    /// With so many channels behind each convolution.
    #[track_caller]
    pub fn with(channels: [usize; 6]) -> Crepe {
        let mut inputs = 1;
        let block = |(k, outputs): (usize, usize)| {
            let (window, stride) = if k == 0 { (512, 4) } else { (64, 1) };
            let conv = Conv2d::with(inputs, outputs, (window, 1), Conv { stride: (stride, 1).into(), ..default() });
            inputs = outputs;
            // Keras's constant, as a 32-bit number.
            let norm = BatchNorm2d::with(outputs, BatchNormOptions { eps: 0.001_000_000_047_497_451_3, momentum: Some(0.0) });
            CrepeBlock { conv, norm }
        };
        let blocks = channels.into_iter().enumerate().map(block).collect();
        Crepe { blocks, classifier: Linear::new(4 * channels[5], 360) }
    }
}

impl Module for Crepe {
    fn visit(&self, visitor: &mut dyn igneous::nn::Visitor) {
        for (k, block) in self.blocks.iter().enumerate() {
            visitor.child(&format!("conv{}", k + 1), &block.conv);
            visitor.child(&format!("conv{}_BN", k + 1), &block.norm);
        }
        visitor.child("classifier", &self.classifier);
    }
}

impl Forward for Crepe {
    #[track_caller]
    fn forward(&self, frames: &Tensor) -> Tensor {
        let mut x = frames.unsqueeze(1).unsqueeze(-1);
        for (k, CrepeBlock { conv, norm }) in self.blocks.iter().enumerate() {
            let padding = if k == 0 { (254, 254) } else { (31, 32) };
            let heard = conv.call(&format!("conv{}", k + 1), &x.pad(&[(0, 0), padding], 0.0)).relu();
            x = norm.forward(&heard).max_pool2d((2, 1));
        }
        self.classifier.call("classifier", &x.transpose(1, 2).flatten(1, -1)).sigmoid()
    }
}
