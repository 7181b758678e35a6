//! Losses of probabilities.

use super::loss::{IGNORED, Reduction};
use super::regression_loss::difference;
use crate::location::{entered, here};
use crate::tensor::{Tensor, or_invalid, where_};
use igneous_ir::{DType, Dim, Error, Result};
use std::f64::consts::TAU;

/// The negative log-likelihood of log-probabilities `[N, C]`, `[N, C, d…]` or `[C]` and class numbers `[N]`, `[N, d…]` or one
/// (`torch.nn.NLLLoss`).
#[derive(Clone, Debug)]
pub struct NllLoss {
    /// Mean by default: weighted by the weights of the classes.
    pub reduction: Reduction,
    /// How much each class counts, `[C]`; all the same by default.
    pub weight: Option<Tensor>,
    /// Samples with this class do not count; −100 by default.
    pub ignore_index: Option<i64>,
}

impl Default for NllLoss {
    fn default() -> NllLoss {
        NllLoss { reduction: Reduction::Mean, weight: None, ignore_index: Some(IGNORED) }
    }
}

impl NllLoss {
    /// The mean over the samples.
    pub fn new() -> NllLoss {
        NllLoss::default()
    }

    /// The loss. A class outside of `0..C` that is not the ignored one fails the run.
    #[track_caller]
    pub fn forward(&self, logarithms: &Tensor, classes: &Tensor) -> Tensor {
        let user = entered();
        let loc = user.loc();
        let parts = self.parts(logarithms, classes).map_err(|e| e.at(loc));
        or_invalid(parts.map(|(each, counts)| self.reduction.apply_weighted(each, &counts)))
    }

    /// The losses times what they count, and what they count.
    #[track_caller]
    fn parts(&self, logarithms: &Tensor, classes: &Tensor) -> Result<(Tensor, Tensor)> {
        let (shape, given) = (logarithms.ty()?.shape, classes.ty()?);
        let error =
            |what: &str| Error::new(what).note("log-probabilities", logarithms.describe()).note("classes", classes.describe());
        let axis = usize::from(shape.len() > 1);
        let without: Vec<_> = shape.iter().enumerate().filter(|(a, _)| *a != axis).map(|(_, d)| *d).collect();
        if shape.is_empty() || without[..] != given.shape[..] || !given.dtype.is_int() || !logarithms.dtype().is_float() {
            return Err(error("nll_loss needs log-probabilities [N, C, …] and one class number for each sample: [N, …]"));
        }
        let labels = classes.to_dtype(DType::I64);
        let kept = self.ignore_index.map(|ignored| labels.ne(ignored));
        let safe = match &kept {
            Some(kept) => where_(kept, &labels, 0),
            None => labels,
        };
        let axis = axis as i64;
        let chosen = logarithms.gather(axis, &safe.unsqueeze(axis)).squeeze(axis);
        let mut counts = match &self.weight {
            Some(weight) if weight.ty()?.shape[..] != [shape[axis as usize]] => {
                return Err(error("nll_loss needs one weight for each class").note("weight", weight.describe()));
            }
            Some(weight) => weight.to_dtype(logarithms.dtype()).i(&safe),
            None => chosen.ones_like(),
        };
        let mut each = -chosen;
        if let Some(kept) = &kept {
            counts = where_(kept, &counts, 0.0);
            each = where_(kept, &each, 0.0);
        }
        Ok((each * &counts, counts))
    }
}

/// The binary cross-entropy of probabilities, `−y·log x − (1 − y)·log(1 − x)`, whose logarithms are at least −100
/// (`torch.nn.BCELoss`).
#[derive(Clone, Debug, Default)]
pub struct BceLoss {
    /// Mean by default.
    pub reduction: Reduction,
    /// How much each element counts; broadcasts. All the same by default.
    pub weight: Option<Tensor>,
}

impl BceLoss {
    /// The mean over all elements.
    pub fn new() -> BceLoss {
        BceLoss::default()
    }

    /// The loss of probabilities and targets of one shape.
    #[track_caller]
    pub fn forward(&self, probabilities: &Tensor, targets: &Tensor) -> Tensor {
        if let Err(error) = difference("binary_cross_entropy", probabilities, targets).check() {
            return error.into();
        }
        let yes = probabilities.log().clamp_min(-100.0);
        let no = (1.0 - probabilities).log().clamp_min(-100.0);
        let each = -(targets * yes + (1.0 - targets) * no);
        self.reduction.apply(weighted(each, self.weight.as_ref()))
    }
}

#[track_caller]
fn weighted(each: Tensor, weight: Option<&Tensor>) -> Tensor {
    match weight {
        Some(weight) => each * weight,
        None => each,
    }
}

/// The binary cross-entropy of logits, without overflow (`torch.nn.BCEWithLogitsLoss`).
#[derive(Clone, Debug, Default)]
pub struct BceWithLogitsLoss {
    /// Mean by default.
    pub reduction: Reduction,
    /// How much each element counts; broadcasts. All the same by default.
    pub weight: Option<Tensor>,
    /// How much a positive target counts; broadcasts. 1 by default.
    pub pos_weight: Option<Tensor>,
}

impl BceWithLogitsLoss {
    /// The mean over all elements.
    pub fn new() -> BceWithLogitsLoss {
        BceWithLogitsLoss::default()
    }

    /// The loss of logits and targets of one shape.
    #[track_caller]
    pub fn forward(&self, logits: &Tensor, targets: &Tensor) -> Tensor {
        if let Err(error) = difference("binary_cross_entropy_with_logits", logits, targets).check() {
            return error.into();
        }
        // log(1 + e^-x) is the loss of a positive target.
        let positive = (-logits).softplus();
        let positive = match &self.pos_weight {
            Some(weight) => positive * ((weight - 1.0) * targets + 1.0),
            None => positive,
        };
        let each = (1.0 - targets) * logits + positive;
        self.reduction.apply(weighted(each, self.weight.as_ref()))
    }
}

/// The Kullback-Leibler divergence of log-probabilities from targets (`torch.nn.KLDivLoss`): `y · (log y − x)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct KlDivLoss {
    /// Mean over all elements by default, as in PyTorch; [`Reduction::BatchMean`] is the divergence itself.
    pub reduction: Reduction,
    /// Whether targets are given as logarithms, too. Not by default.
    pub log_target: bool,
}

impl KlDivLoss {
    /// The mean over all elements.
    pub fn new() -> KlDivLoss {
        KlDivLoss::default()
    }

    /// The loss of two tensors of one shape.
    #[track_caller]
    pub fn forward(&self, logarithms: &Tensor, targets: &Tensor) -> Tensor {
        if let Err(error) = difference("kl_div", logarithms, targets).check() {
            return error.into();
        }
        let each =
            if self.log_target { targets.exp() * (targets - logarithms) } else { targets.xlogy(targets) - targets * logarithms };
        self.reduction.apply(each)
    }
}

/// The negative log-likelihood of counts under a Poisson distribution, `e^x − y·x` (`torch.nn.PoissonNLLLoss`).
#[derive(Clone, Copy, Debug)]
pub struct PoissonNllLoss {
    /// Mean by default.
    pub reduction: Reduction,
    /// Whether the input is the logarithm of the rate, as by default, and not the rate: then `x − y·log(x + eps)`.
    pub log_input: bool,
    /// Whether Stirling's approximation of `log y!` is added for targets above 1. Not by default.
    pub full: bool,
    /// Added to a rate before the logarithm; 1e-8 by default.
    pub eps: f64,
}

impl Default for PoissonNllLoss {
    fn default() -> PoissonNllLoss {
        PoissonNllLoss { reduction: Reduction::Mean, log_input: true, full: false, eps: 1e-8 }
    }
}

impl PoissonNllLoss {
    /// The mean over all elements, of logarithms of rates.
    pub fn new() -> PoissonNllLoss {
        PoissonNllLoss::default()
    }

    /// The loss of two tensors of one shape.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, targets: &Tensor) -> Tensor {
        if let Err(error) = difference("poisson_nll_loss", x, targets).check() {
            return error.into();
        }
        let mut each = if self.log_input { x.exp() - targets * x } else { x - targets * (x + self.eps).log() };
        if self.full {
            let large = targets.as_float().maximum(1.0);
            let stirling = &large * large.log() - &large + (&large * TAU).log() * 0.5;
            each += stirling.where_(&targets.gt(1), 0.0);
        }
        self.reduction.apply(each)
    }
}

/// The negative log-likelihood of targets under normal distributions, `(log v + (x − y)² / v) / 2` (`torch.nn.GaussianNLLLoss`).
/// Nix and Weigend 1994.
#[derive(Clone, Copy, Debug)]
pub struct GaussianNllLoss {
    /// Mean by default.
    pub reduction: Reduction,
    /// Whether `log(2π) / 2` is added. Not by default.
    pub full: bool,
    /// The least variance; 1e-6 by default.
    pub eps: f64,
}

impl Default for GaussianNllLoss {
    fn default() -> GaussianNllLoss {
        GaussianNllLoss { reduction: Reduction::Mean, full: false, eps: 1e-6 }
    }
}

impl GaussianNllLoss {
    /// The mean over all elements.
    pub fn new() -> GaussianNllLoss {
        GaussianNllLoss::default()
    }

    /// The loss of means and targets of one shape, and of variances of that shape, or with 1 as last extent, or without the
    /// last axis. The derivative does not see that variances are limited from below.
    #[track_caller]
    pub fn forward(&self, means: &Tensor, targets: &Tensor, variances: &Tensor) -> Tensor {
        let d = difference("gaussian_nll_loss", means, targets);
        if let Err(error) = d.check().and_then(|()| variances.check()) {
            return error.into();
        }
        let (shape, given) = (d.shape(), variances.shape());
        let lead = &shape[..shape.len().saturating_sub(1)];
        let variances = match given.len() {
            _ if given == shape => variances.clone(),
            n if n == lead.len() && given[..] == *lead => variances.unsqueeze(-1),
            n if n == shape.len() && given[..n - 1] == *lead && given[n - 1] == Dim::ONE => variances.clone(),
            _ => {
                let error = Error::new("gaussian_nll_loss needs a variance for each mean, or one for all along the last axis");
                return error.note("means", means.describe()).note("variances", variances.describe()).at(here()).into();
            }
        };
        let limited = variances.detach().clamp_min(self.eps) + (&variances - variances.detach());
        let mut each = (limited.log() + d.square() / limited) * 0.5;
        if self.full {
            each += 0.5 * TAU.ln();
        }
        self.reduction.apply(each)
    }
}
