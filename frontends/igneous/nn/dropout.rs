//! Dropout.

use super::Forward;
use super::mode::Mode;
use super::visit::{Module, Visitor};
use crate::tensor::Tensor;
use crate::tensor::loss::probability;

/// In training, zeroes each element with probability `p` and scales the others by `1/(1-p)`; in evaluation, passes its
/// input on (`torch.nn.Dropout`). Hinton et al. 2012, arXiv:1207.0580.
#[derive(Clone, Debug)]
pub struct Dropout {
    /// The probability of zeroing an element.
    pub p: f64,
    /// Training or evaluation.
    pub mode: Mode,
}

impl Default for Dropout {
    /// `p = 0.5`.
    fn default() -> Dropout {
        Dropout::new(0.5)
    }
}

impl Dropout {
    /// A layer that zeroes with probability `p`. Outside of `0..=1` it makes all its outputs invalid, in evaluation too.
    pub fn new(p: f64) -> Dropout {
        Dropout { p, mode: Mode::default() }
    }
}

impl Module for Dropout {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("mode", &self.mode);
    }
}

impl Forward for Dropout {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        match probability(self.p) {
            Ok(()) if !self.mode.is_training() => x.clone(),
            _ => x.dropout(self.p),
        }
    }
}
