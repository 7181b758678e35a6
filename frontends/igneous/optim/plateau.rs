//! Lower rates when a measure stops to improve.

use super::{Hyperparameters, Optimizer};
use crate::location::here;
use crate::nn::{Module, Visitor};
use crate::tensor::Tensor;
use igneous_ir::{Error, Result};

/// Whether a measure is to fall or to rise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Goal {
    /// As a loss does (`min`).
    #[default]
    Fall,
    /// As an accuracy does (`max`).
    Rise,
}

/// How much better is better.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Threshold {
    /// By a share of the best so far (`rel`).
    Relative(f64),
    /// By a number (`abs`).
    Absolute(f64),
}

/// Options of [`ReduceLrOnPlateau`], with PyTorch's defaults.
#[derive(Clone, Copy, Debug)]
pub struct PlateauOptions {
    /// Whether the measure is to fall or to rise; to fall.
    pub goal: Goal,
    /// What rates are multiplied by; 0.1.
    pub factor: f64,
    /// How many measures may be no better before rates fall; 10.
    pub patience: u64,
    /// How much better is better; by a share of 1e-4.
    pub threshold: Threshold,
    /// How many measures do not count after rates fell; 0.
    pub cooldown: u64,
    /// The smallest rate; 0.
    pub min_lr: f64,
    /// A change of a rate by less than this is left out; 1e-8.
    pub eps: f64,
}

impl Default for PlateauOptions {
    fn default() -> PlateauOptions {
        PlateauOptions {
            goal: Goal::Fall,
            factor: 0.1,
            patience: 10,
            threshold: Threshold::Relative(1e-4),
            cooldown: 0,
            min_lr: 0.0,
            eps: 1e-8,
        }
    }
}

/// Lowers learning rates when a measure has stopped to improve (`torch.optim.lr_scheduler.ReduceLROnPlateau`). As a module it has
/// a `state_dict`.
///
/// ```
/// use igneous::optim::{Optimizer, PlateauOptions, ReduceLrOnPlateau, Sgd};
/// use igneous::{Tensor, default};
///
/// let sgd = Sgd::new(vec![Tensor::parameter(Tensor::zeros(3))], 0.1)?;
/// let plateau = ReduceLrOnPlateau::with(&sgd, PlateauOptions { patience: 1, ..default() })?;
/// for loss in [1.0, 0.9, 0.9, 0.9] {
///     plateau.step(loss)?;
/// }
/// assert!((sgd.lr()? - 0.01).abs() < 1e-12);
/// # Ok::<(), igneous::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ReduceLrOnPlateau {
    groups: Vec<Hyperparameters>,
    options: PlateauOptions,
    best: Tensor,
    bad: Tensor,
    resting: Tensor,
}

impl ReduceLrOnPlateau {
    /// With PyTorch's defaults.
    ///
    /// # Errors
    /// If a trace is active.
    #[track_caller]
    pub fn new(optimizer: &(impl Optimizer + ?Sized)) -> Result<ReduceLrOnPlateau> {
        ReduceLrOnPlateau::with(optimizer, PlateauOptions::default())
    }

    /// With options.
    ///
    /// # Errors
    /// If the factor is not from 0 up to but without 1, or a trace is active.
    #[track_caller]
    pub fn with(optimizer: &(impl Optimizer + ?Sized), options: PlateauOptions) -> Result<ReduceLrOnPlateau> {
        if !(0.0..1.0).contains(&options.factor) {
            let message = format!("ReduceLrOnPlateau needs a factor from 0 up to but without 1, not {}", options.factor);
            return Err(Error::new(message).at(here()));
        }
        let worst = match options.goal {
            Goal::Fall => f64::INFINITY,
            Goal::Rise => f64::NEG_INFINITY,
        };
        let count = || Tensor::variable(Tensor::scalar(0i64));
        let best = Tensor::variable(Tensor::from_vec(vec![worst], ()));
        best.check()?;
        Ok(ReduceLrOnPlateau { groups: optimizer.hyperparameters(), options, best, bad: count(), resting: count() })
    }

    /// Takes a measure in, mostly the loss of the validation data after an epoch. NaN is no better than anything.
    ///
    /// # Errors
    /// If a trace is active.
    #[track_caller]
    pub fn step(&self, measure: f64) -> Result<()> {
        let mut bad = self.bad.item()? as u64;
        let mut resting = self.resting.item()? as u64;
        if self.improves(measure, self.best.item()?) {
            self.best.assign(&Tensor::from_vec(vec![measure], ()))?;
            bad = 0;
        } else {
            bad += 1;
        }
        if resting > 0 {
            resting -= 1;
            bad = 0;
        }
        if bad > self.options.patience {
            for group in &self.groups {
                let old = group.lr()?;
                let new = (old * self.options.factor).max(self.options.min_lr);
                if old - new > self.options.eps {
                    group.set_lr(new)?;
                }
            }
            resting = self.options.cooldown;
            bad = 0;
        }
        self.bad.assign(&Tensor::scalar(bad as i64))?;
        self.resting.assign(&Tensor::scalar(resting as i64))
    }

    fn improves(&self, measure: f64, best: f64) -> bool {
        match (self.options.goal, self.options.threshold) {
            (Goal::Fall, Threshold::Relative(share)) => measure < best * (1.0 - share),
            (Goal::Fall, Threshold::Absolute(by)) => measure < best - by,
            (Goal::Rise, Threshold::Relative(share)) => measure > best * (1.0 + share),
            (Goal::Rise, Threshold::Absolute(by)) => measure > best + by,
        }
    }
}

impl Module for ReduceLrOnPlateau {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("best", &self.best);
        visitor.child("num_bad_epochs", &self.bad);
        visitor.child("cooldown_counter", &self.resting);
    }
}
