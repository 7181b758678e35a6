//! Stochastic gradient descent.

use super::{Optimizer, checked, commit};
use crate::grad_mode::no_grad;
use crate::nn::{Module, Visitor};
use crate::tensor::Tensor;
use igneous_ir::Result;

/// Stochastic gradient descent with momentum and weight decay (`torch.optim.SGD`).
///
/// `v ← momentum·v + g + weight_decay·w`, `w ← w − lr·v`; the first step's `v` is `g + weight_decay·w`.
/// Sutskever et al. 2013.
#[derive(Clone, Debug)]
pub struct Sgd {
    parameters: Vec<Tensor>,
    velocities: Vec<Tensor>,
    lr: Tensor,
    options: SgdOptions,
}

/// Options of [`Sgd`], with PyTorch's defaults.
#[derive(Clone, Copy, Debug, Default)]
pub struct SgdOptions {
    /// How much of the last update is kept; 0.
    pub momentum: f64,
    /// L2 penalty; 0.
    pub weight_decay: f64,
}

impl Sgd {
    /// Without momentum and weight decay.
    ///
    /// # Errors
    /// If there is no parameter, or one is no floating-point variable.
    #[track_caller]
    pub fn new(parameters: Vec<Tensor>, lr: f64) -> Result<Sgd> {
        Sgd::with(parameters, lr, SgdOptions::default())
    }

    /// With options.
    ///
    /// # Errors
    /// As [`Sgd::new`].
    #[track_caller]
    pub fn with(parameters: Vec<Tensor>, lr: f64, options: SgdOptions) -> Result<Sgd> {
        let parameters = checked(parameters)?;
        let state = |p: &Tensor| Tensor::variable(p.detach().zeros_like());
        let velocities = if options.momentum == 0.0 { Vec::new() } else { parameters.iter().map(state).collect() };
        let lr = Tensor::variable(Tensor::scalar(lr as f32));
        lr.check()?;
        Ok(Sgd { parameters, velocities, lr, options })
    }
}

impl Module for Sgd {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("lr", &self.lr);
        visitor.child("velocities", &self.velocities);
    }
}

impl Optimizer for Sgd {
    #[track_caller]
    fn step(&self) -> Result<()> {
        no_grad(|| {
            let mut updates = Vec::new();
            for (i, w) in self.parameters.iter().enumerate() {
                let Some(mut g) = w.take_grad() else { continue };
                if self.options.weight_decay != 0.0 {
                    g += w * self.options.weight_decay;
                }
                if let Some(v) = self.velocities.get(i) {
                    g = v * self.options.momentum + g;
                    updates.push((v.clone(), g.clone()));
                }
                updates.push((w.clone(), w - g * self.lr.to_dtype(w.dtype())));
            }
            commit(updates)
        })
    }

    fn zero_grad(&self) {
        self.parameters.iter().for_each(Tensor::zero_grad);
    }

    fn lr(&self) -> Result<f64> {
        self.lr.item()
    }

    fn set_lr(&self, lr: f64) -> Result<()> {
        self.lr.assign(&Tensor::scalar(lr as f32))
    }
}
