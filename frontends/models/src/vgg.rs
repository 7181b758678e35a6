//! The convolutions of VGG, and what style is measured by.

use igneous::nn::{Conv, Conv2d, Forward, MaxPool2d, Module, Relu, Sequential};
use igneous::{Tensor, default};

/// The convolutions of VGG with torchvision's names (`features.0.weight`). Simonyan and Zisserman 2014, arXiv:1409.1556.
#[derive(Clone, Module)]
pub struct VggFeatures {
    /// Convolutions, ReLUs and pooling.
    pub features: Sequential,
}

impl VggFeatures {
    /// Those of VGG-16.
    #[track_caller]
    pub fn vgg16() -> VggFeatures {
        VggFeatures::with(&[&[64, 64], &[128, 128], &[256; 3], &[512; 3], &[512; 3]])
    }

    /// Those of VGG-19.
    #[track_caller]
    pub fn vgg19() -> VggFeatures {
        VggFeatures::with(&[&[64, 64], &[128, 128], &[256; 4], &[512; 4], &[512; 4]])
    }

    /// Blocks of 3×3 convolutions with these channels; pooling ends each block.
    #[track_caller]
    pub fn with(blocks: &[&[usize]]) -> VggFeatures {
        let (mut features, mut inputs) = (Sequential::new(), 3);
        for block in blocks {
            for &outputs in *block {
                let conv = Conv2d::with(inputs, outputs, 3, Conv { padding: 1.into(), ..default() });
                features = features.push(conv).push(Relu);
                inputs = outputs;
            }
            features = features.push(MaxPool2d::new(2));
        }
        VggFeatures { features }
    }

    /// The results of the layers at these positions, for example of the ReLUs behind the first convolutions of the blocks
    /// (1, 6, 11 in VGG-16).
    #[track_caller]
    pub fn results(&self, x: &Tensor, positions: &[usize]) -> Vec<Tensor> {
        let mut found = Vec::new();
        let mut x = x.clone();
        for (k, (_, layer)) in self.features.iter().enumerate() {
            x = layer.forward(&x);
            if positions.contains(&k) {
                found.push(x.clone());
            }
        }
        found
    }
}

impl Forward for VggFeatures {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.features.call("features", x)
    }
}

/// How channels of `[n, c, h, w]` go together, `[n, c, c]`: the products of all pairs, as means over the pixels and channels. What
/// Gatys et al. 2015, arXiv:1508.06576, call style.
#[track_caller]
pub fn gram_matrix(x: &Tensor) -> Tensor {
    let flat = x.flatten(2, -1);
    let count = Tensor::full((), flat.size(1) * flat.size(2)).to_dtype(flat.dtype());
    flat.matmul(&flat.transpose(1, 2)) / count
}
