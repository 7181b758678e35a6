//! Schedules that change learning rate and momentum against each other.

use super::schedule::Schedule;
use igneous_ir::{Error, Result};
use std::f64::consts::PI;

/// How a value goes from one to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Anneal {
    /// Along half a wave of the cosine.
    #[default]
    Cosine,
    /// In a line.
    Linear,
}

impl Anneal {
    /// The value at a fraction of the way.
    fn between(self, start: f64, end: f64, fraction: f64) -> f64 {
        match self {
            Anneal::Cosine => end + (start - end) / 2.0 * (1.0 + (PI * fraction).cos()),
            Anneal::Linear => (end - start) * fraction + start,
        }
    }
}

/// Up to the largest rate, then down to almost none, with the momentum the other way round
/// (`torch.optim.lr_scheduler.OneCycleLR`). After the last step the rate stays. Smith and Topin 2017, arXiv:1708.07120.
///
/// `OneCycleLr { pct_start: 0.2, ..OneCycleLr::new(0.1, 1000) }` has other options.
#[derive(Clone, Copy, Debug)]
pub struct OneCycleLr {
    /// The largest rate.
    pub max_lr: f64,
    /// How many steps there are.
    pub total_steps: u64,
    /// The share of them that goes up; 0.3 by default.
    pub pct_start: f64,
    /// How rate and momentum move; by the cosine by default.
    pub anneal: Anneal,
    /// Whether the momentum changes, too; by default it does.
    pub cycle_momentum: bool,
    /// The momentum at the largest rate; 0.85 by default.
    pub base_momentum: f64,
    /// The momentum at the smallest rates; 0.95 by default.
    pub max_momentum: f64,
    /// The first rate is `max_lr / div_factor`; 25 by default.
    pub div_factor: f64,
    /// The last rate is the first divided by this; 10000 by default.
    pub final_div_factor: f64,
    /// Whether the rate goes down as it went up, and then to the last rate. Not by default.
    pub three_phase: bool,
}

impl OneCycleLr {
    /// Up to this rate and down in so many steps.
    pub fn new(max_lr: f64, total_steps: u64) -> OneCycleLr {
        OneCycleLr {
            max_lr,
            total_steps,
            pct_start: 0.3,
            anneal: Anneal::Cosine,
            cycle_momentum: true,
            base_momentum: 0.85,
            max_momentum: 0.95,
            div_factor: 25.0,
            final_div_factor: 1e4,
            three_phase: false,
        }
    }

    /// Where a step is: the start and the end of its phase, of rate and momentum, and the fraction between.
    fn place(&self, step: u64) -> ([f64; 2], [f64; 2], f64) {
        let first = self.max_lr / self.div_factor;
        let last = first / self.final_div_factor;
        let (low, high) = (self.base_momentum, self.max_momentum);
        let total = self.total_steps as f64;
        let up = (self.pct_start * total - 1.0, [first, self.max_lr], [high, low]);
        let phases = if self.three_phase {
            let down = (2.0 * self.pct_start * total - 2.0, [self.max_lr, first], [low, high]);
            vec![up, down, (total - 1.0, [first, last], [high, high])]
        } else {
            vec![up, (total - 1.0, [self.max_lr, last], [low, high])]
        };
        let step = (step as f64).min(total - 1.0);
        let mut start = 0.0;
        for (i, &(end, lr, momentum)) in phases.iter().enumerate() {
            if step <= end || i == phases.len() - 1 {
                return (lr, momentum, (step - start) / (end - start));
            }
            start = end;
        }
        unreachable!("the last phase takes every step")
    }
}

impl Schedule for OneCycleLr {
    fn check(&self) -> Result<()> {
        let numbers = [self.max_lr, self.div_factor, self.final_div_factor];
        if self.total_steps == 0 || numbers.iter().any(|x| !(x.is_finite() && *x > 0.0)) {
            let error =
                Error::new("OneCycleLr needs a max_lr, a div_factor and a final_div_factor above 0, and at least one step");
            return Err(error.note("schedule", format_args!("{self:?}")));
        }
        match (0.0..=1.0).contains(&self.pct_start) {
            true => Ok(()),
            false => Err(Error::new(format!("OneCycleLr needs a pct_start from 0 to 1, not {}", self.pct_start))),
        }
    }

    fn lr(&self, step: u64, _: f64, _: f64) -> f64 {
        let ([start, end], _, fraction) = self.place(step);
        self.anneal.between(start, end, fraction)
    }

    fn momentum(&self, step: u64) -> Option<f64> {
        let (_, [start, end], fraction) = self.place(step);
        self.cycle_momentum.then(|| self.anneal.between(start, end, fraction))
    }
}

/// How the cycles of [`CyclicLr`] shrink.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub enum CycleMode {
    /// They do not.
    #[default]
    Triangular,
    /// Each is half as high as the one before (`triangular2`).
    Halved,
    /// Each step is `gamma` times as high as it would be (`exp_range`).
    Exponential {
        /// By what it shrinks.
        gamma: f64,
    },
}

/// Up and down between two rates, with the momentum the other way round (`torch.optim.lr_scheduler.CyclicLR`). Smith 2015,
/// arXiv:1506.01186.
///
/// `CyclicLr { step_size_up: 500, ..CyclicLr::new(0.001, 0.1) }` has other options.
#[derive(Clone, Copy, Debug)]
pub struct CyclicLr {
    /// The smallest rate.
    pub base_lr: f64,
    /// The largest rate.
    pub max_lr: f64,
    /// How many steps go up; 2000 by default.
    pub step_size_up: u64,
    /// How many steps go down; as many by default.
    pub step_size_down: Option<u64>,
    /// How cycles shrink; they do not by default.
    pub mode: CycleMode,
    /// Whether the momentum changes, too; by default it does.
    pub cycle_momentum: bool,
    /// The momentum at the largest rate; 0.8 by default.
    pub base_momentum: f64,
    /// The momentum at the smallest rate; 0.9 by default.
    pub max_momentum: f64,
}

impl CyclicLr {
    /// Between these rates.
    pub fn new(base_lr: f64, max_lr: f64) -> CyclicLr {
        CyclicLr {
            base_lr,
            max_lr,
            step_size_up: 2000,
            step_size_down: None,
            mode: CycleMode::Triangular,
            cycle_momentum: true,
            base_momentum: 0.8,
            max_momentum: 0.9,
        }
    }

    /// How far up a step is, from 0 to 1.
    fn height(&self, step: u64) -> f64 {
        let up = self.step_size_up as f64;
        let total = up + self.step_size_down.unwrap_or(self.step_size_up) as f64;
        let cycle = (step as f64 / total).floor();
        let place = step as f64 / total - cycle;
        let ratio = up / total;
        let height = if place <= ratio { place / ratio } else { (place - 1.0) / (ratio - 1.0) };
        height
            * match self.mode {
                CycleMode::Triangular => 1.0,
                CycleMode::Halved => 0.5f64.powf(cycle),
                CycleMode::Exponential { gamma } => gamma.powf(step as f64),
            }
    }
}

impl Schedule for CyclicLr {
    fn check(&self) -> Result<()> {
        if self.step_size_up == 0 || self.step_size_down == Some(0) {
            return Err(Error::new("CyclicLr needs at least one step up and one down"));
        }
        match self.base_lr.is_finite() && self.max_lr.is_finite() {
            true => Ok(()),
            false => Err(Error::new("CyclicLr needs rates that are finite numbers")),
        }
    }

    fn lr(&self, step: u64, _: f64, _: f64) -> f64 {
        self.base_lr + (self.max_lr - self.base_lr) * self.height(step)
    }

    fn momentum(&self, step: u64) -> Option<f64> {
        self.cycle_momentum.then(|| self.max_momentum - (self.max_momentum - self.base_momentum) * self.height(step))
    }
}
