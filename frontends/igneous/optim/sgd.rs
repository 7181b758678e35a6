//! Stochastic gradient descent.

use super::{LearningRate, Optimizer, as_user, checked, commit, not_negative};
use crate::location::here;
use crate::nn::{Module, Visitor};
use crate::tensor::{Tensor, where_};
use igneous_ir::{Error, Result};

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
#[derive(Clone, Debug)]
pub struct Sgd {
    parameters: Vec<Tensor>,
    velocities: Vec<Tensor>,
    /// Whether a parameter's velocity has begun; kept where the first step differs from the others.
    begun: Vec<Tensor>,
    lr: LearningRate,
    options: SgdOptions,
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

impl Sgd {
    /// Without momentum and weight decay.
    ///
    /// # Errors
    /// If there is no parameter, one is no floating-point variable, or the learning rate is negative or NaN.
    #[track_caller]
    pub fn new(parameters: Vec<Tensor>, lr: f64) -> Result<Sgd> {
        Sgd::with(parameters, lr, SgdOptions::default())
    }

    /// With options.
    ///
    /// # Errors
    /// As [`Sgd::new`], and if an option is outside of its range.
    #[track_caller]
    pub fn with(parameters: Vec<Tensor>, lr: f64, options: SgdOptions) -> Result<Sgd> {
        let lr = LearningRate::new(lr)?;
        not_negative("momentum", options.momentum)?;
        not_negative("weight_decay", options.weight_decay)?;
        if options.nesterov && (options.momentum == 0.0 || options.dampening != 0.0) {
            let error = Error::new("Nesterov's method needs a momentum and no dampening");
            let error = error.note("momentum", options.momentum).note("dampening", options.dampening);
            return Err(error.at(here()));
        }
        let parameters = checked(parameters)?;
        let moving = options.momentum != 0.0;
        let zeros = |p: &Tensor| Tensor::variable(p.detach().zeros_like());
        let velocities = parameters.iter().filter(|_| moving).map(zeros).collect();
        let unbegun = |_: &Tensor| Tensor::variable(Tensor::scalar(false));
        let begun = parameters.iter().filter(|_| moving && options.dampening != 0.0).map(unbegun).collect();
        Ok(Sgd { parameters, velocities, begun, lr, options })
    }

    /// The new velocity, from the gradient.
    fn velocity(&self, i: usize, g: &Tensor) -> Tensor {
        let kept = &self.velocities[i] * self.options.momentum;
        match self.begun.get(i) {
            Some(begun) => where_(begun, &(kept + g * (1.0 - self.options.dampening)), g),
            None => kept + g,
        }
    }
}

impl Module for Sgd {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("lr", &self.lr);
        visitor.child("momentum_buffer", &self.velocities);
        visitor.child("begun", &self.begun);
    }
}

impl Optimizer for Sgd {
    #[track_caller]
    fn step(&self) -> Result<()> {
        let SgdOptions { momentum, weight_decay, nesterov, maximize, .. } = self.options;
        as_user(here(), || {
            let mut updates = Vec::new();
            for (i, w) in self.parameters.iter().enumerate() {
                let Some(mut g) = w.take_grad() else { continue };
                if maximize {
                    g = -g;
                }
                if weight_decay != 0.0 {
                    g += w * weight_decay;
                }
                if momentum != 0.0 {
                    let v = self.velocity(i, &g);
                    g = if nesterov { g + &v * momentum } else { v.clone() };
                    updates.push((self.velocities[i].clone(), v));
                    updates.extend(self.begun.get(i).map(|begun| (begun.clone(), Tensor::scalar(true))));
                }
                updates.push((w.clone(), w - g * self.lr.of(w.dtype())));
            }
            commit(updates)
        })
    }

    fn parameters(&self) -> Vec<Tensor> {
        self.parameters.clone()
    }

    fn zero_grad(&self) {
        self.parameters.iter().for_each(Tensor::zero_grad);
    }

    fn lr(&self) -> Result<f64> {
        self.lr.get()
    }

    #[track_caller]
    fn set_lr(&self, lr: f64) -> Result<()> {
        self.lr.set(lr)
    }
}
