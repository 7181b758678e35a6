//! LeNet-5.

use igneous::Tensor;
use igneous::nn::{Conv2d, Forward, Linear, Module};

/// LeNet-5 with ReLU and max-pooling, as PyTorch's tutorials have it (`conv1`, `conv2`, `fc1`, `fc2`, `fc3`). LeCun et al. 1998.
#[derive(Clone, Debug, Module)]
pub struct LeNet {
    /// 5×5, 6 channels.
    pub conv1: Conv2d,
    /// 5×5, 16 channels.
    pub conv2: Conv2d,
    /// To 120 features.
    pub fc1: Linear,
    /// To 84.
    pub fc2: Linear,
    /// To the classes.
    pub fc3: Linear,
}

impl LeNet {
    /// For square images `[n, channels, size, size]`, of 16 to each side at least.
    #[track_caller]
    pub fn new(channels: usize, size: usize, classes: usize) -> LeNet {
        let side = (size.saturating_sub(4) / 2).saturating_sub(4) / 2;
        LeNet {
            conv1: Conv2d::new(channels, 6, 5),
            conv2: Conv2d::new(6, 16, 5),
            fc1: Linear::new(16 * side * side, 120),
            fc2: Linear::new(120, 84),
            fc3: Linear::new(84, classes),
        }
    }
}

impl Forward for LeNet {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let x = self.conv1.call("conv1", x).relu().max_pool2d(2);
        let x = self.conv2.call("conv2", &x).relu().max_pool2d(2).flatten(1, -1);
        let x = self.fc1.call("fc1", &x).relu();
        self.fc3.call("fc3", &self.fc2.call("fc2", &x).relu())
    }
}
