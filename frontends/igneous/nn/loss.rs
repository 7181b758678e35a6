//! Losses as objects, with all their options; [`Tensor::cross_entropy`] and [`Tensor::mse_loss`] are those without.

use crate::location::here;
use crate::tensor::{Tensor, where_};
use igneous_ir::{DType, Dim, Error};

/// What becomes of the losses of the samples.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reduction {
    /// Their mean.
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// Their sum divided by the number of samples, the extent of the first axis.
    BatchMean,
    /// Each by itself.
    None,
}

impl Reduction {
    #[track_caller]
    pub(super) fn apply(self, losses: Tensor) -> Tensor {
        match self {
            Reduction::Mean => losses.mean_all(),
            Reduction::Sum => losses.sum_all(),
            Reduction::BatchMean => {
                let samples = if losses.rank() == 0 { Dim::ONE } else { losses.size(0) };
                losses.sum_all() / samples
            }
            Reduction::None => losses,
        }
    }

    /// The mean of losses that weigh differently: their sum over the sum of the weights.
    #[track_caller]
    pub(super) fn apply_weighted(self, losses: Tensor, weights: &Tensor) -> Tensor {
        match self {
            Reduction::Mean => losses.sum_all() / weights.sum_all(),
            _ => self.apply(losses),
        }
    }
}

/// Cross-entropy of logits `[N, C]` or `[N, C, d…]` and targets (`torch.nn.CrossEntropyLoss`): class numbers `[N]` or
/// `[N, d…]`, or probabilities of the shape of the logits.
///
/// ```
/// use igneous::nn::CrossEntropyLoss;
/// use igneous::{Tensor, default};
///
/// let loss = CrossEntropyLoss { label_smoothing: 0.1, ..default() };
/// let logits = Tensor::new([[2.0, -1.0], [0.0, 0.0], [0.5, 1.0]]);
/// let ignored = loss.forward(&logits, &Tensor::new([0, -100, 1]));
/// let without = loss.forward(&logits.i(Tensor::new([0, 2])), &Tensor::new([0, 1]));
/// igneous::testing::assert_close(&ignored, &without, 1e-6);
/// ```
#[derive(Clone, Debug)]
pub struct CrossEntropyLoss {
    /// Mean by default: over the samples that are not ignored, weighted by the weights of their classes.
    pub reduction: Reduction,
    /// How much each class counts, `[C]`; all the same by default.
    pub weight: Option<Tensor>,
    /// Samples with this label do not count; −100 by default.
    pub ignore_index: Option<i64>,
    /// How much of the target is spread evenly over all classes, from 0 (the default) to 1. Szegedy et al. 2015,
    /// arXiv:1512.00567.
    pub label_smoothing: f64,
}

/// The label that PyTorch's losses pass over unless told otherwise.
pub(crate) const IGNORED: i64 = -100;

impl Default for CrossEntropyLoss {
    fn default() -> CrossEntropyLoss {
        CrossEntropyLoss { reduction: Reduction::Mean, weight: None, ignore_index: Some(IGNORED), label_smoothing: 0.0 }
    }
}

impl CrossEntropyLoss {
    /// The mean over the samples.
    pub fn new() -> CrossEntropyLoss {
        CrossEntropyLoss::default()
    }

    /// The loss. A label outside of `0..C` that is not the ignored one fails the run.
    #[track_caller]
    pub fn forward(&self, logits: &Tensor, targets: &Tensor) -> Tensor {
        if let Err(error) = logits.check().and_then(|()| targets.check()) {
            return error.into();
        }
        if let Some(error) = self.wrong_options(logits) {
            return error.at(here()).into();
        }
        match targets.dtype().is_float() {
            true => self.of_probabilities(logits, targets),
            false => self.of_labels(logits, targets),
        }
    }

    fn wrong_options(&self, logits: &Tensor) -> Option<Error> {
        if !(0.0..=1.0).contains(&self.label_smoothing) {
            return Some(Error::new(format!("cross_entropy needs a label_smoothing from 0 to 1, not {}", self.label_smoothing)));
        }
        let weight = self.weight.as_ref()?;
        let fits = weight.rank() == 1 && weight.size(0) == logits.size(1) && weight.dtype().is_float();
        let error = || Error::new("cross_entropy needs one weight for each class").note("logits", logits.describe());
        (!fits).then(|| error().note("weight", weight.describe()))
    }

    #[track_caller]
    fn of_labels(&self, logits: &Tensor, labels: &Tensor) -> Tensor {
        let labels = &labels.to_dtype(DType::I64);
        let each = logits.cross_entropy_except(labels, self.ignore_index);
        let kept = self.ignore_index.map(|ignored| labels.ne(ignored));
        // How much each sample counts.
        let counts = match (&self.weight, &kept) {
            (None, None) => each.ones_like(),
            (None, Some(kept)) => kept.to_dtype(each.dtype()),
            (Some(weight), None) => weight.to_dtype(each.dtype()).i(labels),
            (Some(weight), Some(kept)) => where_(kept, weight.to_dtype(each.dtype()).i(where_(kept, labels, 0)), 0.0),
        };
        let weighted = |losses: Tensor| if self.weight.is_some() { losses * &counts } else { losses };
        let nll = self.reduction.apply_weighted(weighted(each), &counts);
        if self.label_smoothing == 0.0 {
            return nll;
        }
        let spread = self.over_classes(&logits.log_softmax(1));
        let spread = match &kept {
            Some(kept) => where_(kept, &spread, 0.0),
            None => spread,
        };
        let spread = self.reduction.apply_weighted(spread, &counts);
        nll * (1.0 - self.label_smoothing) + spread * self.share(logits)
    }

    #[track_caller]
    fn of_probabilities(&self, logits: &Tensor, targets: &Tensor) -> Tensor {
        if logits.rank() < 2 || logits.shape() != targets.shape() || !logits.dtype().is_float() {
            let error = Error::new("cross_entropy needs logits [N, C, …] and as many probabilities, or class numbers [N, …]");
            let error = error.note("logits", logits.describe()).note("targets", targets.describe());
            return error.at(here()).into();
        }
        let mut targets = targets.clone();
        if self.label_smoothing > 0.0 {
            targets = targets * (1.0 - self.label_smoothing) + self.share(logits);
        }
        self.reduction.apply(self.over_classes(&(targets * logits.log_softmax(1))))
    }

    /// What smoothing gives to each class: `label_smoothing / C`.
    #[track_caller]
    fn share(&self, logits: &Tensor) -> Tensor {
        Tensor::from_vec(vec![self.label_smoothing], ()).to_dtype(logits.dtype()) / logits.size(1)
    }

    /// `−Σ weight · x` over the classes.
    #[track_caller]
    fn over_classes(&self, x: &Tensor) -> Tensor {
        let weighted = match &self.weight {
            Some(weight) => {
                let shape: Vec<i64> = (0..x.rank()).map(|axis| if axis == 1 { -1 } else { 1 }).collect();
                x * weight.to_dtype(x.dtype()).reshape(&shape)
            }
            None => x.clone(),
        };
        -weighted.sum(1)
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
        self.reduction.apply(prediction.mse_loss_each(target))
    }
}
