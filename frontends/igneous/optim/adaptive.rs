//! Optimizers that give each weight a step of its own: Adagrad, Adadelta, RMSprop, Rprop, and averaged descent.

use super::group::{Rule, Step, no_steps, not_negative, number, optimizer, zeros};
use crate::tensor::{Tensor, where_};
use igneous_ir::{Error, Result};

optimizer! {
    /// Divides by the root of the sum of all squared gradients (`torch.optim.Adagrad`). Duchi et al. 2011.
    Adagrad(AdagradOptions), "0.01"
}

/// Options of [`Adagrad`], with PyTorch's defaults.
#[derive(Clone, Copy, Debug)]
pub struct AdagradOptions {
    /// The learning rate of step `t` is divided by `1 + (t − 1) · lr_decay`; 0.
    pub lr_decay: f64,
    /// L2 penalty, added to the gradient; 0.
    pub weight_decay: f64,
    /// What the sums begin with; 0.
    pub initial_accumulator_value: f64,
    /// Added to the denominator; 1e-10.
    pub eps: f64,
    /// Ascends instead of descending.
    pub maximize: bool,
}

impl Default for AdagradOptions {
    fn default() -> AdagradOptions {
        AdagradOptions { lr_decay: 0.0, weight_decay: 0.0, initial_accumulator_value: 0.0, eps: 1e-10, maximize: false }
    }
}

impl Rule for AdagradOptions {
    fn check(&self) -> Result<()> {
        not_negative("lr_decay", self.lr_decay)?;
        not_negative("weight_decay", self.weight_decay)?;
        not_negative("initial_accumulator_value", self.initial_accumulator_value)?;
        not_negative("eps", self.eps)
    }

    fn state(&self, parameter: &Tensor, _: f64) -> Vec<(&'static str, Tensor)> {
        vec![no_steps(), ("sum", zeros(parameter) + self.initial_accumulator_value)]
    }

    fn update(&self, step: &mut Step<'_>) -> Tensor {
        step.penalised(self.maximize, self.weight_decay);
        let t = step.count();
        let sum = step.kept("sum") + step.g.square();
        step.keep("sum", &sum);
        let lr = &step.lr / ((t - 1.0) * self.lr_decay + 1.0);
        &step.w - &step.g * lr / (sum.sqrt() + self.eps)
    }
}

optimizer! {
    /// Divides by the root of recent squared gradients and multiplies by that of recent squared updates
    /// (`torch.optim.Adadelta`). Zeiler 2012, arXiv:1212.5701.
    Adadelta(AdadeltaOptions), "1"
}

/// Options of [`Adadelta`], with PyTorch's defaults.
#[derive(Clone, Copy, Debug)]
pub struct AdadeltaOptions {
    /// The share of the past in the means of squares; 0.9.
    pub rho: f64,
    /// Added to the means; 1e-6.
    pub eps: f64,
    /// L2 penalty, added to the gradient; 0.
    pub weight_decay: f64,
    /// Ascends instead of descending.
    pub maximize: bool,
}

impl Default for AdadeltaOptions {
    fn default() -> AdadeltaOptions {
        AdadeltaOptions { rho: 0.9, eps: 1e-6, weight_decay: 0.0, maximize: false }
    }
}

impl Rule for AdadeltaOptions {
    fn check(&self) -> Result<()> {
        not_negative("eps", self.eps)?;
        not_negative("weight_decay", self.weight_decay)?;
        match (0.0..=1.0).contains(&self.rho) {
            true => Ok(()),
            false => Err(Error::new(format!("Adadelta needs a rho from 0 to 1, not {}", self.rho))),
        }
    }

    fn state(&self, parameter: &Tensor, _: f64) -> Vec<(&'static str, Tensor)> {
        vec![("square_avg", zeros(parameter)), ("acc_delta", zeros(parameter))]
    }

    fn update(&self, step: &mut Step<'_>) -> Tensor {
        step.penalised(self.maximize, self.weight_decay);
        let blend = |old: &Tensor, new: &Tensor| old * self.rho + new.square() * (1.0 - self.rho);
        let squares = blend(&step.kept("square_avg"), &step.g);
        let updates = step.kept("acc_delta");
        let delta = (&updates + self.eps).sqrt() / (&squares + self.eps).sqrt() * &step.g;
        step.keep("square_avg", &squares);
        step.keep("acc_delta", &blend(&updates, &delta));
        &step.w - delta * &step.lr
    }
}

optimizer! {
    /// Divides by the root of recent squared gradients (`torch.optim.RMSprop`). Tieleman and Hinton 2012; centred: Graves 2013,
    /// arXiv:1308.0850.
    RmsProp(RmsPropOptions), "0.01"
}

/// Options of [`RmsProp`], with PyTorch's defaults.
#[derive(Clone, Copy, Debug)]
pub struct RmsPropOptions {
    /// The share of the past in the mean of squares; 0.99.
    pub alpha: f64,
    /// Added to the denominator; 1e-8.
    pub eps: f64,
    /// L2 penalty, added to the gradient; 0.
    pub weight_decay: f64,
    /// How much of the last update is kept; 0.
    pub momentum: f64,
    /// Divides by the deviation of gradients from their mean. Not by default.
    pub centered: bool,
    /// Ascends instead of descending.
    pub maximize: bool,
}

impl Default for RmsPropOptions {
    fn default() -> RmsPropOptions {
        RmsPropOptions { alpha: 0.99, eps: 1e-8, weight_decay: 0.0, momentum: 0.0, centered: false, maximize: false }
    }
}

impl Rule for RmsPropOptions {
    fn check(&self) -> Result<()> {
        not_negative("alpha", self.alpha)?;
        not_negative("eps", self.eps)?;
        not_negative("weight_decay", self.weight_decay)?;
        not_negative("momentum", self.momentum)
    }

    fn momentum(&self) -> Option<f64> {
        (self.momentum != 0.0).then_some(self.momentum)
    }

    fn state(&self, parameter: &Tensor, _: f64) -> Vec<(&'static str, Tensor)> {
        let mut state = vec![("square_avg", zeros(parameter))];
        if self.centered {
            state.push(("grad_avg", zeros(parameter)));
        }
        if self.momentum != 0.0 {
            state.push(("momentum_buffer", zeros(parameter)));
        }
        state
    }

    fn update(&self, step: &mut Step<'_>) -> Tensor {
        step.penalised(self.maximize, self.weight_decay);
        let blend = |old: Tensor, new: &Tensor| old * self.alpha + new * (1.0 - self.alpha);
        let squares = blend(step.kept("square_avg"), &step.g.square());
        step.keep("square_avg", &squares);
        let mut variance = squares;
        if self.centered {
            let mean = blend(step.kept("grad_avg"), &step.g);
            step.keep("grad_avg", &mean);
            variance -= mean.square();
        }
        let mut update = &step.g / (variance.sqrt() + self.eps);
        if self.momentum != 0.0 {
            update = step.kept("momentum_buffer") * step.momentum().0 + update;
            step.keep("momentum_buffer", &update);
        }
        &step.w - update * &step.lr
    }
}

optimizer! {
    /// Steps that grow while the sign of the gradient stays and shrink when it changes (`torch.optim.Rprop`): for gradients of all
    /// data. Riedmiller and Braun 1993.
    Rprop(RpropOptions), "0.01"
}

/// Options of [`Rprop`], with PyTorch's defaults.
#[derive(Clone, Copy, Debug)]
pub struct RpropOptions {
    /// By what steps shrink and grow; (0.5, 1.2).
    pub etas: (f64, f64),
    /// The smallest and the largest step; (1e-6, 50).
    pub step_sizes: (f64, f64),
    /// Ascends instead of descending.
    pub maximize: bool,
}

impl Default for RpropOptions {
    fn default() -> RpropOptions {
        RpropOptions { etas: (0.5, 1.2), step_sizes: (1e-6, 50.0), maximize: false }
    }
}

impl Rule for RpropOptions {
    fn check(&self) -> Result<()> {
        let (shrink, grow) = self.etas;
        match 0.0 < shrink && shrink < 1.0 && 1.0 < grow {
            true => Ok(()),
            false => Err(Error::new(format!("Rprop needs etas below and above 1, not {shrink} and {grow}"))),
        }
    }

    fn state(&self, parameter: &Tensor, lr: f64) -> Vec<(&'static str, Tensor)> {
        vec![("prev", zeros(parameter)), ("step_size", zeros(parameter) + lr)]
    }

    fn update(&self, step: &mut Step<'_>) -> Tensor {
        step.penalised(self.maximize, 0.0);
        let agreement = &step.g * step.kept("prev");
        let turned = agreement.lt(0.0);
        let size = step.kept("step_size");
        let grown = where_(&agreement.gt(0.0), &size * self.etas.1, &size);
        let size = where_(&turned, size * self.etas.0, grown).clamp(self.step_sizes.0, self.step_sizes.1);
        let g = step.g.masked_fill(&turned, 0.0);
        step.keep("step_size", &size);
        step.keep("prev", &g);
        &step.w - g.sign() * size
    }
}

optimizer! {
    /// Descent whose steps shrink, and the mean of the weights on its way, `ax` in its state (`torch.optim.ASGD`). Polyak and
    /// Juditsky 1992.
    Asgd(AsgdOptions), "0.01"
}

/// Options of [`Asgd`], with PyTorch's defaults.
#[derive(Clone, Copy, Debug)]
pub struct AsgdOptions {
    /// How much a weight decays in each step, and how fast steps shrink; 1e-4.
    pub lambd: f64,
    /// The exponent with which steps shrink; 0.75.
    pub alpha: f64,
    /// The step at which averaging begins; 1e6.
    pub t0: f64,
    /// L2 penalty, added to the gradient; 0.
    pub weight_decay: f64,
    /// Ascends instead of descending.
    pub maximize: bool,
}

impl Default for AsgdOptions {
    fn default() -> AsgdOptions {
        AsgdOptions { lambd: 1e-4, alpha: 0.75, t0: 1e6, weight_decay: 0.0, maximize: false }
    }
}

impl Rule for AsgdOptions {
    fn check(&self) -> Result<()> {
        not_negative("lambd", self.lambd)?;
        not_negative("alpha", self.alpha)?;
        not_negative("weight_decay", self.weight_decay)
    }

    fn state(&self, parameter: &Tensor, lr: f64) -> Vec<(&'static str, Tensor)> {
        vec![no_steps(), ("eta", number(parameter, lr)), ("mu", number(parameter, 1.0)), ("ax", zeros(parameter))]
    }

    fn update(&self, step: &mut Step<'_>) -> Tensor {
        step.penalised(self.maximize, self.weight_decay);
        let t = step.count();
        let (eta, mu, mean) = (step.kept("eta"), step.kept("mu"), step.kept("ax"));
        let dtype = step.w.dtype();
        let w = &step.w - &step.w * (&eta * self.lambd).to_dtype(dtype) - &step.g * eta.to_dtype(dtype);
        step.keep("ax", &(&mean + (&w - &mean) * mu.to_dtype(dtype)));
        let shrunk = &step.lr / (&step.lr * &t * self.lambd + 1.0).pow(self.alpha);
        step.keep("eta", &shrunk.to_dtype(eta.dtype()));
        step.keep("mu", &(1.0 / (t - self.t0).maximum(1.0)).to_dtype(mu.dtype()));
        w
    }
}
