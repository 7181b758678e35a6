//! Schedules of learning rates, by PyTorch's names.

use super::schedule::Schedule;
use igneous_ir::{Error, Result};
use std::f64::consts::PI;
use std::sync::Arc;

fn at_least_one(what: &str, name: &str, value: u64) -> Result<()> {
    match value {
        0 => Err(Error::new(format!("{what} needs its {name} to be at least 1"))),
        _ => Ok(()),
    }
}

fn finite(what: &str, numbers: &[(&str, f64)]) -> Result<()> {
    match numbers.iter().find(|(_, value)| !value.is_finite()) {
        Some((name, value)) => Err(Error::new(format!("{what} needs its {name} to be a finite number, not {value}"))),
        None => Ok(()),
    }
}

macro_rules! schedules {
    ($(
        $(#[$doc:meta])*
        $name:ident { $($(#[$field_doc:meta])* $field:ident: $ty:ty,)* }
        check(|$checked:ident| $check:expr)
        lr(|$this:ident, $step:ident, $base:ident, $current:ident| $lr:expr)
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $ty,)*
        }

        impl Schedule for $name {
            fn check(&self) -> Result<()> {
                let $checked = self;
                $check
            }

            fn lr(&self, $step: u64, $base: f64, $current: f64) -> f64 {
                let $this = self;
                $lr
            }
        }
    )*};
}

schedules! {
    /// Times `gamma` after every `step_size` steps (`torch.optim.lr_scheduler.StepLR`).
    StepLr {
        /// How many steps a rate lasts.
        step_size: u64,
        /// What it is multiplied by then; 0.1 by default.
        gamma: f64,
    }
    check(|s| at_least_one("StepLr", "step_size", s.step_size).and_then(|()| finite("StepLr", &[("gamma", s.gamma)])))
    lr(|s, step, _base, current| if step > 0 && step.is_multiple_of(s.step_size) { current * s.gamma } else { current })

    /// Times `gamma` after each of some numbers of steps (`torch.optim.lr_scheduler.MultiStepLR`).
    MultiStepLr {
        /// The numbers of steps; one that stands there twice counts twice.
        milestones: Vec<u64>,
        /// What the rate is multiplied by then; 0.1 by default.
        gamma: f64,
    }
    check(|s| finite("MultiStepLr", &[("gamma", s.gamma)]))
    lr(|s, step, _base, current| {
        let met = s.milestones.iter().filter(|&&milestone| milestone == step).count();
        current * s.gamma.powi(met as i32)
    })

    /// Times `gamma` after each step (`torch.optim.lr_scheduler.ExponentialLR`).
    ExponentialLr {
        /// What the rate is multiplied by.
        gamma: f64,
    }
    check(|s| finite("ExponentialLr", &[("gamma", s.gamma)]))
    lr(|s, step, _base, current| if step == 0 { current } else { current * s.gamma })

    /// Times `factor` for the first steps (`torch.optim.lr_scheduler.ConstantLR`).
    ConstantLr {
        /// What the rate is multiplied by; PyTorch's default is 1/3.
        factor: f64,
        /// For how many steps; PyTorch's default is 5.
        total_iters: u64,
    }
    check(|s| match s.factor > 0.0 && s.factor <= 1.0 {
        true => Ok(()),
        false => Err(Error::new(format!("ConstantLr needs a factor above 0 and up to 1, not {}", s.factor))),
    })
    lr(|s, step, _base, current| match step {
        0 => current * s.factor,
        _ if step == s.total_iters => current / s.factor,
        _ => current,
    })

    /// Times a factor that goes in a line from `start_factor` to `end_factor` (`torch.optim.lr_scheduler.LinearLR`): a warm-up.
    LinearLr {
        /// The first factor; PyTorch's default is 1/3.
        start_factor: f64,
        /// The last factor; PyTorch's default is 1.
        end_factor: f64,
        /// In how many steps; PyTorch's default is 5.
        total_iters: u64,
    }
    check(|s| match s.start_factor > 0.0 && s.start_factor <= 1.0 && (0.0..=1.0).contains(&s.end_factor) {
        true => at_least_one("LinearLr", "total_iters", s.total_iters),
        false => {
            let error = Error::new("LinearLr needs a start_factor above 0 and up to 1, and an end_factor from 0 to 1");
            Err(error.note("start_factor", s.start_factor).note("end_factor", s.end_factor))
        }
    })
    lr(|s, step, _base, current| {
        let (rise, total) = (s.end_factor - s.start_factor, s.total_iters as f64);
        match step {
            0 => current * s.start_factor,
            _ if step > s.total_iters => current,
            _ => current * (1.0 + rise / (total * s.start_factor + (step - 1) as f64 * rise)),
        }
    })

    /// Times `(1 − step / total_iters)^power` (`torch.optim.lr_scheduler.PolynomialLR`).
    PolynomialLr {
        /// After how many steps the rate is 0; PyTorch's default is 5.
        total_iters: u64,
        /// The exponent; 1 by default.
        power: f64,
    }
    check(|s| {
        at_least_one("PolynomialLr", "total_iters", s.total_iters).and_then(|()| finite("PolynomialLr", &[("power", s.power)]))
    })
    lr(|s, step, _base, current| {
        let left = |step: u64| 1.0 - step as f64 / s.total_iters as f64;
        if step == 0 || step > s.total_iters { current } else { current * (left(step) / left(step - 1)).powf(s.power) }
    })

    /// Half a wave of the cosine from the first rate to `eta_min` in `t_max` steps, then up again
    /// (`torch.optim.lr_scheduler.CosineAnnealingLR`). Loshchilov and Hutter 2016, arXiv:1608.03983.
    CosineAnnealingLr {
        /// In how many steps (`T_max`).
        t_max: u64,
        /// The smallest rate; 0 by default.
        eta_min: f64,
    }
    check(|s| {
        at_least_one("CosineAnnealingLr", "t_max", s.t_max).and_then(|()| finite("CosineAnnealingLr", &[("eta_min", s.eta_min)]))
    })
    lr(|s, step, base, current| {
        let (t, period) = (s.t_max as f64, s.t_max.saturating_mul(2));
        let height = |step: u64| 1.0 + (PI * step as f64 / t).cos();
        match step {
            0 => current,
            // From the very bottom no factor leads up.
            _ if step % period == s.t_max.saturating_add(1) % period => current + (base - s.eta_min) * (1.0 - (PI / t).cos()) / 2.0,
            _ => height(step) / height(step - 1) * (current - s.eta_min) + s.eta_min,
        }
    })

    /// Half a wave of the cosine from the first rate to `eta_min`, again and again, each time `t_mult` times as long
    /// (`torch.optim.lr_scheduler.CosineAnnealingWarmRestarts`). Loshchilov and Hutter 2016, arXiv:1608.03983.
    CosineAnnealingWarmRestarts {
        /// The number of steps of the first half wave (`T_0`).
        t_0: u64,
        /// By what the next is longer (`T_mult`); 1 by default.
        t_mult: u64,
        /// The smallest rate; 0 by default.
        eta_min: f64,
    }
    check(|s| {
        at_least_one("CosineAnnealingWarmRestarts", "t_0", s.t_0)?;
        at_least_one("CosineAnnealingWarmRestarts", "t_mult", s.t_mult)?;
        finite("CosineAnnealingWarmRestarts", &[("eta_min", s.eta_min)])
    })
    lr(|s, step, base, _current| {
        let (mut within, mut length) = (step, s.t_0);
        if s.t_mult == 1 {
            within %= length;
        }
        while within >= length {
            within -= length;
            length = length.saturating_mul(s.t_mult);
        }
        s.eta_min + (base - s.eta_min) * (1.0 + (PI * within as f64 / length as f64).cos()) / 2.0
    })
}

impl StepLr {
    /// Times 0.1 after every so many steps.
    pub fn new(step_size: u64) -> StepLr {
        StepLr { step_size, gamma: 0.1 }
    }
}

impl MultiStepLr {
    /// Times 0.1 after each of these numbers of steps.
    pub fn new(milestones: impl Into<Vec<u64>>) -> MultiStepLr {
        MultiStepLr { milestones: milestones.into(), gamma: 0.1 }
    }
}

impl ExponentialLr {
    /// Times `gamma` after each step.
    pub fn new(gamma: f64) -> ExponentialLr {
        ExponentialLr { gamma }
    }
}

impl ConstantLr {
    /// Times `factor` for so many steps.
    pub fn new(factor: f64, total_iters: u64) -> ConstantLr {
        ConstantLr { factor, total_iters }
    }
}

impl LinearLr {
    /// From one factor to another in so many steps.
    pub fn new(start_factor: f64, end_factor: f64, total_iters: u64) -> LinearLr {
        LinearLr { start_factor, end_factor, total_iters }
    }
}

impl PolynomialLr {
    /// In a line to 0 in so many steps.
    pub fn new(total_iters: u64) -> PolynomialLr {
        PolynomialLr { total_iters, power: 1.0 }
    }
}

impl CosineAnnealingLr {
    /// To 0 in so many steps.
    pub fn new(t_max: u64) -> CosineAnnealingLr {
        CosineAnnealingLr { t_max, eta_min: 0.0 }
    }
}

impl CosineAnnealingWarmRestarts {
    /// To 0 in so many steps, again and again.
    pub fn new(t_0: u64) -> CosineAnnealingWarmRestarts {
        CosineAnnealingWarmRestarts { t_0, t_mult: 1, eta_min: 0.0 }
    }
}

/// The first rate times what a function makes of the number of steps (`torch.optim.lr_scheduler.LambdaLR`).
#[derive(Clone)]
pub struct LambdaLr(Arc<dyn Fn(u64) -> f64 + Send + Sync>);

impl LambdaLr {
    /// The factor of each step.
    pub fn new(factor: impl Fn(u64) -> f64 + Send + Sync + 'static) -> LambdaLr {
        LambdaLr(Arc::new(factor))
    }
}

impl Schedule for LambdaLr {
    fn lr(&self, step: u64, base: f64, _: f64) -> f64 {
        base * (self.0)(step)
    }
}

/// The rate before times what a function makes of the number of steps (`torch.optim.lr_scheduler.MultiplicativeLR`).
#[derive(Clone)]
pub struct MultiplicativeLr(Arc<dyn Fn(u64) -> f64 + Send + Sync>);

impl MultiplicativeLr {
    /// The factor of each step from the first on.
    pub fn new(factor: impl Fn(u64) -> f64 + Send + Sync + 'static) -> MultiplicativeLr {
        MultiplicativeLr(Arc::new(factor))
    }
}

impl Schedule for MultiplicativeLr {
    fn lr(&self, step: u64, _: f64, current: f64) -> f64 {
        if step == 0 { current } else { current * (self.0)(step) }
    }
}

/// One schedule after the other (`torch.optim.lr_scheduler.SequentialLR`): each begins anew from the first rate.
#[derive(Clone)]
pub struct SequentialLr {
    first: Arc<dyn Schedule>,
    rest: Vec<(u64, Arc<dyn Schedule>)>,
}

impl SequentialLr {
    /// Begins with this schedule.
    pub fn new(first: impl Schedule + 'static) -> SequentialLr {
        SequentialLr { first: Arc::new(first), rest: Vec::new() }
    }

    /// From step `milestone` on this one, whose own steps begin at 0 there.
    #[must_use]
    pub fn then(mut self, milestone: u64, schedule: impl Schedule + 'static) -> SequentialLr {
        self.rest.push((milestone, Arc::new(schedule)));
        self
    }

    /// The schedule of a step, and the step where it began.
    fn of(&self, step: u64) -> (u64, &dyn Schedule) {
        let later = self.rest.iter().rev().find(|(milestone, _)| *milestone <= step);
        later.map_or((0, &*self.first), |(milestone, schedule)| (*milestone, &**schedule))
    }
}

impl Schedule for SequentialLr {
    fn lr(&self, step: u64, base: f64, current: f64) -> f64 {
        let (start, schedule) = self.of(step);
        if step == start { schedule.lr(0, base, base) } else { schedule.lr(step - start, base, current) }
    }

    fn momentum(&self, step: u64) -> Option<f64> {
        let (start, schedule) = self.of(step);
        schedule.momentum(step - start)
    }

    fn check(&self) -> Result<()> {
        let milestones: Vec<u64> = self.rest.iter().map(|(milestone, _)| *milestone).collect();
        if milestones.first() == Some(&0) || milestones.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(Error::new(format!("SequentialLr needs milestones that increase from 1 on, not {milestones:?}")));
        }
        self.first.check()?;
        self.rest.iter().try_for_each(|(_, schedule)| schedule.check())
    }
}

/// Several schedules at once: each changes what the one before made (`torch.optim.lr_scheduler.ChainedScheduler`).
#[derive(Clone, Default)]
pub struct ChainedLr(Vec<Arc<dyn Schedule>>);

impl ChainedLr {
    /// No schedule: the rate stays.
    pub fn new() -> ChainedLr {
        ChainedLr::default()
    }

    /// With another schedule behind.
    #[must_use]
    pub fn and(mut self, schedule: impl Schedule + 'static) -> ChainedLr {
        self.0.push(Arc::new(schedule));
        self
    }
}

impl Schedule for ChainedLr {
    fn lr(&self, step: u64, base: f64, current: f64) -> f64 {
        self.0.iter().fold(current, |current, schedule| schedule.lr(step, base, current))
    }

    fn momentum(&self, step: u64) -> Option<f64> {
        self.0.iter().rev().find_map(|schedule| schedule.momentum(step))
    }

    fn check(&self) -> Result<()> {
        self.0.iter().try_for_each(Schedule::check)
    }
}
