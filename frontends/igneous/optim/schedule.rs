//! Changing learning rates while a model trains: what walks along a schedule.

use super::{Hyperparameters, Optimizer};
use crate::location::here;
use crate::nn::{Module, Visitor};
use crate::tensor::Tensor;
use igneous_ir::{Error, Result};
use std::fmt;
use std::sync::Arc;

/// How a learning rate goes on. The rules are PyTorch's, most of which make a rate from the one before: so rates that something
/// else changes stay changed, and schedules can be chained.
pub trait Schedule: Send + Sync {
    /// The rate after `step` steps, from the rate that the group began with and the present one. At step 0 it is asked for once
    /// when the schedule begins.
    fn lr(&self, step: u64, base: f64, current: f64) -> f64;

    /// The momentum after `step` steps, if the schedule changes it.
    fn momentum(&self, step: u64) -> Option<f64> {
        let _ = step;
        None
    }

    /// Fails if a number of the schedule cannot be.
    ///
    /// # Errors
    /// The message names it.
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

impl<S: Schedule + ?Sized> Schedule for Arc<S> {
    fn lr(&self, step: u64, base: f64, current: f64) -> f64 {
        (**self).lr(step, base, current)
    }

    fn momentum(&self, step: u64) -> Option<f64> {
        (**self).momentum(step)
    }

    fn check(&self) -> Result<()> {
        (**self).check()
    }
}

/// Walks along a schedule and sets the learning rates of an optimizer (`torch.optim.lr_scheduler`). Compiled steps follow without
/// being compiled again. As a module it has a `state_dict`, which together with the optimizer's goes on where it was.
///
/// ```
/// use igneous::Tensor;
/// use igneous::optim::{CosineAnnealingLr, LinearLr, Optimizer, Scheduler, SequentialLr, Sgd};
///
/// let sgd = Sgd::new(vec![Tensor::parameter(Tensor::zeros(3))], 0.1)?;
/// // Five steps of warm-up, then a quarter of a wave down to 0.
/// let schedule = SequentialLr::new(LinearLr::new(0.2, 1.0, 5)).then(5, CosineAnnealingLr::new(100));
/// let scheduler = Scheduler::new(&sgd, schedule)?;
/// let mut rates = vec![sgd.lr()?];
/// for _ in 0..5 {
///     // Here the optimizer would do a step.
///     scheduler.step()?;
///     rates.push(sgd.lr()?);
/// }
/// igneous::testing::assert_values(&Tensor::new(rates), &[0.02, 0.036, 0.052, 0.068, 0.084, 0.1], 1e-7);
/// # Ok::<(), igneous::Error>(())
/// ```
#[derive(Clone)]
pub struct Scheduler {
    groups: Vec<Hyperparameters>,
    schedule: Arc<dyn Schedule>,
    /// How many steps were done.
    steps: Tensor,
    /// The rates that the groups began with.
    base: Tensor,
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler").field("steps", &self.steps).field("base", &self.base).finish_non_exhaustive()
    }
}

impl Scheduler {
    /// Begins a schedule for all groups of an optimizer from their learning rates now.
    ///
    /// # Errors
    /// If a number of the schedule cannot be, the schedule changes a momentum and the optimizer has none, or a trace is active.
    #[track_caller]
    pub fn new(optimizer: &(impl Optimizer + ?Sized), schedule: impl Schedule + 'static) -> Result<Scheduler> {
        let loc = here();
        schedule.check().map_err(|e| e.at(loc))?;
        let groups = optimizer.hyperparameters();
        let base = groups.iter().map(Hyperparameters::lr).collect::<Result<Vec<f64>>>()?;
        let count = base.len();
        let scheduler = Scheduler {
            groups,
            schedule: Arc::new(schedule),
            steps: Tensor::variable(Tensor::scalar(0i64)),
            base: Tensor::variable(Tensor::from_vec(base, count)),
        };
        scheduler.steps.check()?;
        scheduler.set(0)?;
        Ok(scheduler)
    }

    /// Goes on by one step or epoch; called after the optimizer's.
    ///
    /// # Errors
    /// If a rate becomes negative or NaN, or a trace is active: a schedule runs beside a compiled step, not in it.
    #[track_caller]
    pub fn step(&self) -> Result<()> {
        let step = self.steps()? + 1;
        self.set(step)?;
        self.steps.assign(&Tensor::scalar(step as i64))
    }

    /// How many steps were done.
    ///
    /// # Errors
    /// If a trace is active.
    #[track_caller]
    pub fn steps(&self) -> Result<u64> {
        Ok(self.steps.item()? as u64)
    }

    #[track_caller]
    fn set(&self, step: u64) -> Result<()> {
        let base = self.base.to_f64_vec()?;
        let momentum = self.schedule.momentum(step);
        if momentum.is_some() && self.groups.iter().any(|group| group.momentum_value().is_none()) {
            let error = Error::new("this schedule changes the momentum, and the optimizer has none");
            return Err(error.note("remedy", "set `cycle_momentum` to false").at(here()));
        }
        for (group, &base) in self.groups.iter().zip(&base) {
            group.set_lr(self.schedule.lr(step, base, group.lr()?))?;
            if let Some(momentum) = momentum {
                group.set_momentum(momentum)?;
            }
        }
        Ok(())
    }
}

impl Module for Scheduler {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("last_epoch", &self.steps);
        visitor.child("base_lrs", &self.base);
    }
}
