//! Stochastic gradient descent, and Lion and Muon, which move along a velocity, too.

use super::group::{Rule, Step, fractions, no_steps, not_negative, optimizer, zeros};
use crate::tensor::{Tensor, where_};
use igneous_ir::{Error, Result};

optimizer! {
    /// Stochastic gradient descent (`torch.optim.SGD`): `g ← ∂loss/∂w + weight_decay·w`, `v ← momentum·v + (1−dampening)·g`,
    /// `w ← w − lr·v`. The first step's `v` is `g`. Sutskever et al. 2013.
    ///
    /// ```
    /// use igneous::optim::{Optimizer, Sgd, SgdOptions};
    /// use igneous::{Tensor, default};
    ///
    /// let w = Tensor::parameter(Tensor::new([1.0, -2.0]));
    /// let sgd = Sgd::with(vec![w.clone()], 0.1, SgdOptions { momentum: 0.9, ..default() })?;
    /// w.square().sum_all().backward()?;
    /// sgd.step()?;
    /// igneous::testing::assert_values(&w, &[0.8, -1.6], 1e-6);
    /// # Ok::<(), igneous::Error>(())
    /// ```
    Sgd(SgdOptions), "0.001"
}

/// Options of [`Sgd`], with PyTorch's defaults.
#[derive(Clone, Copy, Debug, Default)]
pub struct SgdOptions {
    /// How much of the last update is kept; 0.
    pub momentum: f64,
    /// How much of the gradient is kept out of the velocity; 0.
    pub dampening: f64,
    /// L2 penalty; 0.
    pub weight_decay: f64,
    /// Looks ahead along the velocity: the update is `g + momentum·v`. Needs a momentum and no dampening.
    pub nesterov: bool,
    /// Ascends instead of descending.
    pub maximize: bool,
}

impl Rule for SgdOptions {
    fn check(&self) -> Result<()> {
        not_negative("momentum", self.momentum)?;
        not_negative("weight_decay", self.weight_decay)?;
        if self.nesterov && (self.momentum == 0.0 || self.dampening != 0.0) {
            let error = Error::new("Nesterov's method needs a momentum and no dampening");
            return Err(error.note("momentum", self.momentum).note("dampening", self.dampening));
        }
        Ok(())
    }

    fn momentum(&self) -> Option<f64> {
        (self.momentum != 0.0).then_some(self.momentum)
    }

    fn state(&self, parameter: &Tensor, _: f64) -> Vec<(&'static str, Tensor)> {
        let mut state = Vec::new();
        if self.momentum != 0.0 {
            state.push(("momentum_buffer", zeros(parameter)));
            if self.dampening != 0.0 {
                // The first step differs from the others.
                state.push(no_steps());
            }
        }
        state
    }

    fn update(&self, step: &mut Step<'_>) -> Tensor {
        step.penalised(self.maximize, self.weight_decay);
        let mut g = step.g.clone();
        if self.momentum != 0.0 {
            let (share, _) = step.momentum();
            let mut v = step.kept("momentum_buffer") * &share;
            v = if self.dampening != 0.0 {
                let first = step.count().le(1.0);
                where_(&first, &g, &(v + &g * (1.0 - self.dampening)))
            } else {
                v + &g
            };
            step.keep("momentum_buffer", &v);
            g = if self.nesterov { g + v * share } else { v };
        }
        &step.w - g * &step.lr
    }
}

optimizer! {
    /// Lion: moves by the sign of a blend of momentum and gradient. Chen et al. 2023, arXiv:2302.06675.
    ///
    /// `w ← (1 − lr·weight_decay)·w − lr · sign(β₁m + (1−β₁)g)`, `m ← β₂m + (1−β₂)g`.
    Lion(LionOptions), "none, in the paper 0.0001"
}

/// Options of [`Lion`], with the paper's defaults.
#[derive(Clone, Copy, Debug)]
pub struct LionOptions {
    /// The shares of the momentum in the update and in the next momentum; (0.9, 0.99).
    pub betas: (f64, f64),
    /// How much of a weight decays, times the learning rate; 0.
    pub weight_decay: f64,
    /// Ascends instead of descending.
    pub maximize: bool,
}

impl Default for LionOptions {
    fn default() -> LionOptions {
        LionOptions { betas: (0.9, 0.99), weight_decay: 0.0, maximize: false }
    }
}

impl Rule for LionOptions {
    fn check(&self) -> Result<()> {
        not_negative("weight_decay", self.weight_decay)?;
        fractions("Lion", &[self.betas.0, self.betas.1])
    }

    fn momentum(&self) -> Option<f64> {
        Some(self.betas.0)
    }

    fn state(&self, parameter: &Tensor, _: f64) -> Vec<(&'static str, Tensor)> {
        vec![("exp_avg", zeros(parameter))]
    }

    fn update(&self, step: &mut Step<'_>) -> Tensor {
        step.penalised(self.maximize, 0.0);
        step.decayed(self.weight_decay);
        let (m, g) = (step.kept("exp_avg"), step.g.clone());
        let (share, rest) = step.momentum();
        let direction = (&m * share + &g * rest).sign();
        step.keep("exp_avg", &(m * self.betas.1 + g * (1.0 - self.betas.1)));
        &step.w - direction * &step.lr
    }
}

optimizer! {
    /// Muon: moves matrices along their momentum, made nearly orthogonal by Newton and Schulz's iteration (`torch.optim.Muon`,
    /// which iterates in `bf16`; here in the parameter's type). Jordan et al. 2024.
    Muon(MuonOptions), "0.001"
}

/// Options of [`Muon`], with PyTorch's defaults.
#[derive(Clone, Copy, Debug)]
pub struct MuonOptions {
    /// How much of a weight decays, times the learning rate; 0.1.
    pub weight_decay: f64,
    /// The share of the past in the momentum; 0.95.
    pub momentum: f64,
    /// Looks ahead along the momentum. By default it does.
    pub nesterov: bool,
    /// The coefficients of the iteration's polynomial; (3.4445, −4.775, 2.0315).
    pub ns_coefficients: (f64, f64, f64),
    /// The least norm that is divided by; 1e-7.
    pub eps: f64,
    /// How often the iteration runs; 5.
    pub ns_steps: usize,
    /// How the learning rate depends on the shape of a matrix.
    pub adjust_lr: MuonAdjustment,
}

/// How [`Muon`]'s learning rate depends on the shape `[a, b]` of a matrix (`adjust_lr_fn`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MuonAdjustment {
    /// Times `√max(1, a / b)`.
    #[default]
    Original,
    /// Times `0.2 · √max(a, b)`, for the learning rates of AdamW.
    MatchRmsAdamW,
}

impl Default for MuonOptions {
    fn default() -> MuonOptions {
        MuonOptions {
            weight_decay: 0.1,
            momentum: 0.95,
            nesterov: true,
            ns_coefficients: (3.4445, -4.775, 2.0315),
            eps: 1e-7,
            ns_steps: 5,
            adjust_lr: MuonAdjustment::Original,
        }
    }
}

impl MuonOptions {
    /// The matrix with its singular values brought near one.
    fn orthogonal(&self, g: &Tensor) -> Tensor {
        let [rows, columns] = g.dims();
        let tall = rows.get().unwrap_or(0) > columns.get().unwrap_or(0);
        let (a, b, c) = self.ns_coefficients;
        let mut x = if tall { g.t() } else { g.clone() };
        x = &x / x.norm_all().clamp_min(self.eps);
        for _ in 0..self.ns_steps {
            let gram = x.matmul(&x.t());
            let update = &gram * b + gram.matmul(&gram) * c;
            x = &x * a + update.matmul(&x);
        }
        if tall { x.t() } else { x }
    }

    fn adjustment(&self, w: &Tensor) -> f64 {
        let [a, b] = w.dims().map(|d| d.get().unwrap_or(1) as f64);
        match self.adjust_lr {
            MuonAdjustment::Original => (a / b.max(1.0)).max(1.0).sqrt(),
            MuonAdjustment::MatchRmsAdamW => 0.2 * a.max(b).sqrt(),
        }
    }
}

impl Rule for MuonOptions {
    fn check(&self) -> Result<()> {
        not_negative("momentum", self.momentum)?;
        not_negative("eps", self.eps)?;
        not_negative("weight_decay", self.weight_decay)
    }

    fn check_parameter(&self, parameter: &Tensor) -> Result<()> {
        match parameter.rank() {
            2 => Ok(()),
            _ => Err(Error::new("Muon takes matrices only").note("parameter", parameter.describe())),
        }
    }

    fn momentum(&self) -> Option<f64> {
        Some(self.momentum)
    }

    fn state(&self, parameter: &Tensor, _: f64) -> Vec<(&'static str, Tensor)> {
        vec![("momentum_buffer", zeros(parameter))]
    }

    fn update(&self, step: &mut Step<'_>) -> Tensor {
        let (share, rest) = step.momentum();
        let v = step.kept("momentum_buffer") * &share + &step.g * &rest;
        step.keep("momentum_buffer", &v);
        let direction = if self.nesterov { &step.g * rest + v * share } else { v };
        let moved = self.orthogonal(&direction) * (&step.lr * self.adjustment(&step.w));
        step.decayed(self.weight_decay);
        &step.w - moved
    }
}
