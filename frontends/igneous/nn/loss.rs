//! Losses as objects; the same as methods of [`Tensor`].

use crate::tensor::Tensor;

/// What becomes of the losses of the samples.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reduction {
    /// Their mean.
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// Each by itself.
    None,
}

impl Reduction {
    #[track_caller]
    fn apply(self, losses: Tensor) -> Tensor {
        match self {
            Reduction::Mean => losses.mean_all(),
            Reduction::Sum => losses.sum_all(),
            Reduction::None => losses,
        }
    }
}

/// Cross-entropy of logits `[N, C]` and class numbers `[N]` (`torch.nn.CrossEntropyLoss`).
#[derive(Clone, Copy, Debug, Default)]
pub struct CrossEntropyLoss {
    /// Mean by default.
    pub reduction: Reduction,
}

impl CrossEntropyLoss {
    /// The mean over the samples.
    pub fn new() -> CrossEntropyLoss {
        CrossEntropyLoss::default()
    }

    /// The loss; a label outside `0..C` fails the run.
    #[track_caller]
    pub fn forward(&self, logits: &Tensor, labels: &Tensor) -> Tensor {
        self.reduction.apply(logits.cross_entropy_each(labels))
    }
}

/// The squared difference (`torch.nn.MSELoss`).
#[derive(Clone, Copy, Debug, Default)]
pub struct MseLoss {
    /// Mean by default.
    pub reduction: Reduction,
}

impl MseLoss {
    /// The mean over all elements.
    pub fn new() -> MseLoss {
        MseLoss::default()
    }

    /// The loss of two tensors of one shape.
    #[track_caller]
    pub fn forward(&self, prediction: &Tensor, target: &Tensor) -> Tensor {
        self.reduction.apply((prediction - target).square())
    }
}
