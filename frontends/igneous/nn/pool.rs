//! Pooling layers.

use super::conv::Pair;
use super::visit::{Module, Visitor};
use super::Forward;
use crate::tensor::Tensor;

/// Options of a pooling layer, with PyTorch's defaults.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    /// Steps between windows; none means the window's size.
    pub stride: Option<Pair>,
    /// Padding on each side, never chosen as a maximum; 0, at most half the window.
    pub padding: Pair,
    /// Steps between elements of a window; 1.
    pub dilation: Pair,
}

impl Default for Pool {
    fn default() -> Pool {
        Pool { stride: None, padding: Pair(0, 0), dilation: Pair(1, 1) }
    }
}

/// The maximum of each window (`torch.nn.MaxPool2d`): input `[N, C, H, W]`.
#[derive(Clone, Copy, Debug)]
pub struct MaxPool2d {
    /// Height and width of a window.
    pub kernel: Pair,
    /// The options.
    pub options: Pool,
}

impl MaxPool2d {
    /// Windows side by side.
    pub fn new(kernel: impl Into<Pair>) -> MaxPool2d {
        MaxPool2d::with(kernel, Pool::default())
    }

    /// With options.
    pub fn with(kernel: impl Into<Pair>, options: Pool) -> MaxPool2d {
        MaxPool2d { kernel: kernel.into(), options }
    }
}

impl Module for MaxPool2d {
    fn visit(&self, _: &mut dyn Visitor) {}
}

impl Forward for MaxPool2d {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        x.max_pool2d(self.kernel, self.options)
    }
}
