//! Losses of numbers against numbers.

use super::loss::Reduction;
use crate::location::here;
use crate::tensor::Tensor;
use igneous_ir::Error;

/// Prediction less target, of one shape. What PyTorch warns of, shapes that differ and broadcast, is an error.
#[track_caller]
pub(super) fn difference(what: &str, prediction: &Tensor, target: &Tensor) -> Tensor {
    if let Err(error) = prediction.check().and_then(|()| target.check()) {
        return error.into();
    }
    if prediction.shape() != target.shape() {
        let error = Error::new(format!("{what} needs a prediction and a target of one shape"));
        let error = error.note("prediction", prediction.describe()).note("target", target.describe());
        return error.at(here()).into();
    }
    prediction.in_autocast_single() - target.in_autocast_single()
}

/// The absolute difference (`torch.nn.L1Loss`).
#[derive(Clone, Copy, Debug, Default)]
pub struct L1Loss {
    /// Mean by default.
    pub reduction: Reduction,
}

impl L1Loss {
    /// The mean over all elements.
    pub fn new() -> L1Loss {
        L1Loss::default()
    }

    /// The loss of two tensors of one shape.
    #[track_caller]
    pub fn forward(&self, prediction: &Tensor, target: &Tensor) -> Tensor {
        self.reduction.apply(difference("l1_loss", prediction, target).abs())
    }
}

/// Half the squared difference `d²/beta` where `|d|` is below `beta`, elsewhere `|d| − beta/2` (`torch.nn.SmoothL1Loss`). Girshick
/// 2015, arXiv:1504.08083.
#[derive(Clone, Copy, Debug)]
pub struct SmoothL1Loss {
    /// Mean by default.
    pub reduction: Reduction,
    /// Where the parabola ends; 1 by default. With 0 this is [`L1Loss`].
    pub beta: f64,
}

impl Default for SmoothL1Loss {
    fn default() -> SmoothL1Loss {
        SmoothL1Loss { reduction: Reduction::Mean, beta: 1.0 }
    }
}

impl SmoothL1Loss {
    /// The mean over all elements.
    pub fn new() -> SmoothL1Loss {
        SmoothL1Loss::default()
    }

    /// The loss of two tensors of one shape.
    #[track_caller]
    pub fn forward(&self, prediction: &Tensor, target: &Tensor) -> Tensor {
        let d = difference("smooth_l1_loss", prediction, target);
        if self.beta <= 0.0 {
            return self.reduction.apply(d.abs());
        }
        let near = d.abs().lt(self.beta);
        let parabola = d.square() * (0.5 / self.beta);
        self.reduction.apply(parabola.where_(&near, d.abs() - 0.5 * self.beta))
    }
}

/// Half the squared difference where it is at most `delta`, elsewhere `delta · (|d| − delta/2)` (`torch.nn.HuberLoss`). Huber
/// 1964.
#[derive(Clone, Copy, Debug)]
pub struct HuberLoss {
    /// Mean by default.
    pub reduction: Reduction,
    /// Where the parabola ends; 1 by default.
    pub delta: f64,
}

impl Default for HuberLoss {
    fn default() -> HuberLoss {
        HuberLoss { reduction: Reduction::Mean, delta: 1.0 }
    }
}

impl HuberLoss {
    /// The mean over all elements.
    pub fn new() -> HuberLoss {
        HuberLoss::default()
    }

    /// The loss of two tensors of one shape.
    #[track_caller]
    pub fn forward(&self, prediction: &Tensor, target: &Tensor) -> Tensor {
        let d = difference("huber_loss", prediction, target);
        let near = d.abs().le(self.delta);
        let parabola = d.square() * 0.5;
        self.reduction.apply(parabola.where_(&near, (d.abs() - 0.5 * self.delta) * self.delta))
    }
}
