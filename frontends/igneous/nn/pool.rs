//! Pooling layers.

use super::Forward;
use super::visit::{Module, Visitor};
use crate::tensor::{Pool, Tensor};

/// The maximum of each window (`torch.nn.MaxPool2d`): input `[N, C, H, W]`.
#[derive(Clone, Copy, Debug)]
pub struct MaxPool2d {
    /// The window and how it moves.
    pub pool: Pool,
}

impl MaxPool2d {
    /// Windows side by side for a number or pair; else as the [`Pool`] says.
    pub fn new(pool: impl Into<Pool>) -> MaxPool2d {
        MaxPool2d { pool: pool.into() }
    }
}

impl Module for MaxPool2d {
    fn visit(&self, _: &mut dyn Visitor) {}
}

impl Forward for MaxPool2d {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        x.max_pool2d(self.pool)
    }
}
