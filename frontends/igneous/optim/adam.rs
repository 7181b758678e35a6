//! Adam and AdamW.

use super::{LearningRate, Optimizer, as_user, checked, commit, not_negative};
use crate::location::here;
use crate::nn::{Module, Visitor};
use crate::tensor::Tensor;
use igneous_ir::{Error, Result};

/// Adam (`torch.optim.Adam`). Kingma and Ba 2014, arXiv:1412.6980.
///
/// `m ← β₁m + (1−β₁)g`, `v ← β₂v + (1−β₂)g²`, `w ← w − lr · (m / (1−β₁ᵗ)) / (√(v / (1−β₂ᵗ)) + ε)`.
#[derive(Clone, Debug)]
pub struct Adam {
    moments: Moments,
    options: AdamOptions,
}

/// Options of [`Adam`], with PyTorch's defaults.
#[derive(Clone, Copy, Debug)]
pub struct AdamOptions {
    /// Decay rates of the two moments; (0.9, 0.999).
    pub betas: (f64, f64),
    /// Added to the denominator; 1e-8.
    pub eps: f64,
    /// L2 penalty, added to the gradient; 0.
    pub weight_decay: f64,
    /// Divides by the largest second moment so far. Reddi et al. 2018, arXiv:1904.09237.
    pub amsgrad: bool,
    /// Ascends instead of descending.
    pub maximize: bool,
}

impl Default for AdamOptions {
    fn default() -> AdamOptions {
        AdamOptions { betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.0, amsgrad: false, maximize: false }
    }
}

/// Adam whose weight decay does not pass through the moments (`torch.optim.AdamW`): `w ← (1 − lr·weight_decay)·w`, then
/// Adam's step. Loshchilov and Hutter 2017, arXiv:1711.05101.
#[derive(Clone, Debug)]
pub struct AdamW {
    moments: Moments,
    options: AdamWOptions,
}

/// Options of [`AdamW`], with PyTorch's defaults.
#[derive(Clone, Copy, Debug)]
pub struct AdamWOptions {
    /// Decay rates of the two moments; (0.9, 0.999).
    pub betas: (f64, f64),
    /// Added to the denominator; 1e-8.
    pub eps: f64,
    /// How much of a weight decays, times the learning rate; 0.01.
    pub weight_decay: f64,
    /// Divides by the largest second moment so far. Reddi et al. 2018, arXiv:1904.09237.
    pub amsgrad: bool,
    /// Ascends instead of descending.
    pub maximize: bool,
}

impl Default for AdamWOptions {
    fn default() -> AdamWOptions {
        AdamWOptions { betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.01, amsgrad: false, maximize: false }
    }
}

/// What both keep and how they move.
#[derive(Clone, Debug)]
struct Moments {
    parameters: Vec<Tensor>,
    first: Vec<Tensor>,
    second: Vec<Tensor>,
    /// The largest second moments; empty without `amsgrad`.
    largest: Vec<Tensor>,
    steps: Vec<Tensor>,
    lr: LearningRate,
    betas: (f64, f64),
    eps: f64,
    maximize: bool,
}

/// What weight decay does.
#[derive(Clone, Copy)]
enum Decay {
    /// Adds to the gradient.
    Penalty(f64),
    /// Shrinks the weight.
    Decoupled(f64),
}

impl Adam {
    /// With PyTorch's defaults except for the learning rate (there 0.001).
    ///
    /// # Errors
    /// If there is no parameter, one is no floating-point variable, or the learning rate is negative or NaN.
    #[track_caller]
    pub fn new(parameters: Vec<Tensor>, lr: f64) -> Result<Adam> {
        Adam::with(parameters, lr, AdamOptions::default())
    }

    /// With options.
    ///
    /// # Errors
    /// As [`Adam::new`], and if an option is outside of its range.
    #[track_caller]
    pub fn with(parameters: Vec<Tensor>, lr: f64, options: AdamOptions) -> Result<Adam> {
        let AdamOptions { betas, eps, weight_decay, amsgrad, maximize } = options;
        not_negative("weight_decay", weight_decay)?;
        Ok(Adam { moments: Moments::new(parameters, lr, betas, eps, amsgrad, maximize)?, options })
    }
}

impl AdamW {
    /// With PyTorch's defaults except for the learning rate (there 0.001).
    ///
    /// # Errors
    /// If there is no parameter, one is no floating-point variable, or the learning rate is negative or NaN.
    #[track_caller]
    pub fn new(parameters: Vec<Tensor>, lr: f64) -> Result<AdamW> {
        AdamW::with(parameters, lr, AdamWOptions::default())
    }

    /// With options.
    ///
    /// # Errors
    /// As [`AdamW::new`], and if an option is outside of its range.
    #[track_caller]
    pub fn with(parameters: Vec<Tensor>, lr: f64, options: AdamWOptions) -> Result<AdamW> {
        let AdamWOptions { betas, eps, weight_decay, amsgrad, maximize } = options;
        not_negative("weight_decay", weight_decay)?;
        Ok(AdamW { moments: Moments::new(parameters, lr, betas, eps, amsgrad, maximize)?, options })
    }
}

impl Moments {
    #[track_caller]
    fn new(parameters: Vec<Tensor>, lr: f64, betas: (f64, f64), eps: f64, amsgrad: bool, maximize: bool) -> Result<Moments> {
        let lr = LearningRate::new(lr)?;
        not_negative("eps", eps)?;
        for beta in [betas.0, betas.1] {
            if !(0.0..1.0).contains(&beta) {
                let message = format!("Adam needs betas from 0 up to but without 1, not {beta}");
                return Err(Error::new(message).at(here()));
            }
        }
        let parameters = checked(parameters)?;
        let zeros = || parameters.iter().map(|p| Tensor::variable(p.detach().zeros_like())).collect();
        let (first, second) = (zeros(), zeros());
        let largest = if amsgrad { zeros() } else { Vec::new() };
        let steps = parameters.iter().map(|_| Tensor::variable(Tensor::scalar(0f32))).collect();
        Ok(Moments { parameters, first, second, largest, steps, lr, betas, eps, maximize })
    }

    #[track_caller]
    fn step(&self, decay: Decay) -> Result<()> {
        let (b1, b2) = self.betas;
        as_user(here(), || {
            let mut updates = Vec::new();
            for (i, parameter) in self.parameters.iter().enumerate() {
                let Some(mut g) = parameter.take_grad() else { continue };
                let (m, v, step) = (&self.first[i], &self.second[i], &self.steps[i]);
                let dtype = parameter.dtype();
                let mut w = parameter.clone();
                if self.maximize {
                    g = -g;
                }
                match decay {
                    Decay::Penalty(0.0) | Decay::Decoupled(0.0) => {}
                    Decay::Penalty(rate) => g += &w * rate,
                    Decay::Decoupled(rate) => w = &w - &w * (self.lr.of(dtype) * rate),
                }
                let t = step + 1.0;
                // 1 − βᵗ by the exponential, which keeps its digits for βᵗ near one.
                let correction = |beta: f64| (-(&t * beta.ln()).expm1()).to_dtype(dtype);
                let m_new = m * b1 + &g * (1.0 - b1);
                let v_new = v * b2 + &g * &g * (1.0 - b2);
                let most = match self.largest.get(i) {
                    Some(largest) => {
                        let most = largest.maximum(&v_new);
                        updates.push((largest.clone(), most.clone()));
                        most
                    }
                    None => v_new.clone(),
                };
                let rate = self.lr.of(dtype) / correction(b1);
                let denominator = (most / correction(b2)).sqrt() + self.eps;
                updates.push((parameter.clone(), w - &m_new * rate / denominator));
                updates.push((m.clone(), m_new));
                updates.push((v.clone(), v_new));
                updates.push((step.clone(), t));
            }
            commit(updates)
        })
    }
}

impl Module for Moments {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("lr", &self.lr);
        visitor.child("step", &self.steps);
        visitor.child("exp_avg", &self.first);
        visitor.child("exp_avg_sq", &self.second);
        visitor.child("max_exp_avg_sq", &self.largest);
    }
}

macro_rules! optimizer {
    ($name:ident, $decay:ident) => {
        impl Module for $name {
            fn visit(&self, visitor: &mut dyn Visitor) {
                self.moments.visit(visitor);
            }
        }

        impl Optimizer for $name {
            #[track_caller]
            fn step(&self) -> Result<()> {
                self.moments.step(Decay::$decay(self.options.weight_decay))
            }

            fn parameters(&self) -> Vec<Tensor> {
                self.moments.parameters.clone()
            }

            fn zero_grad(&self) {
                self.moments.parameters.iter().for_each(Tensor::zero_grad);
            }

            fn lr(&self) -> Result<f64> {
                self.moments.lr.get()
            }

            #[track_caller]
            fn set_lr(&self, lr: f64) -> Result<()> {
                self.moments.lr.set(lr)
            }
        }
    };
}

optimizer!(Adam, Penalty);
optimizer!(AdamW, Decoupled);
