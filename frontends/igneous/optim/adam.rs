//! Adam and its relatives: AdamW, Adamax, NAdam and RAdam.

use super::group::{Rule, Step, correction, fractions, no_steps, not_negative, number, optimizer, zeros};
use crate::tensor::{Tensor, where_};
use igneous_ir::Result;

optimizer! {
    /// Adam (`torch.optim.Adam`). Kingma and Ba 2014, arXiv:1412.6980.
    ///
    /// `m ← β₁m + (1−β₁)g`, `v ← β₂v + (1−β₂)g²`, `w ← w − lr · (m / (1−β₁ᵗ)) / (√(v / (1−β₂ᵗ)) + ε)`.
    Adam(AdamOptions), "0.001"
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

optimizer! {
    /// Adam whose weight decay does not pass through the moments (`torch.optim.AdamW`): `w ← (1 − lr·weight_decay)·w`, then
    /// Adam's step. Loshchilov and Hutter 2017, arXiv:1711.05101.
    AdamW(AdamWOptions), "0.001"
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

/// What every rule here asks of its options.
fn check(what: &str, betas: (f64, f64), eps: f64, weight_decay: f64) -> Result<()> {
    not_negative("eps", eps)?;
    not_negative("weight_decay", weight_decay)?;
    fractions(what, &[betas.0, betas.1])
}

/// The new first moment, and `1 − β₁ᵗ`.
fn first_moment(step: &mut Step<'_>, t: &Tensor) -> (Tensor, Tensor) {
    let (share, rest) = step.momentum();
    let m = step.kept("exp_avg") * &share + &step.g * rest;
    step.keep("exp_avg", &m);
    (m, -(t * share.log()).expm1())
}

/// The new second moment.
fn second_moment(step: &mut Step<'_>, beta: f64) -> Tensor {
    let v = step.kept("exp_avg_sq") * beta + step.g.square() * (1.0 - beta);
    step.keep("exp_avg_sq", &v);
    v
}

macro_rules! adam {
    ($options:ident, $what:literal, $decay:expr) => {
        impl Rule for $options {
            fn check(&self) -> Result<()> {
                check($what, self.betas, self.eps, self.weight_decay)
            }

            fn momentum(&self) -> Option<f64> {
                Some(self.betas.0)
            }

            fn state(&self, parameter: &Tensor, _: f64) -> Vec<(&'static str, Tensor)> {
                let zeros = || zeros(parameter);
                let mut state = vec![no_steps(), ("exp_avg", zeros()), ("exp_avg_sq", zeros())];
                if self.amsgrad {
                    state.push(("max_exp_avg_sq", zeros()));
                }
                state
            }

            fn update(&self, step: &mut Step<'_>) -> Tensor {
                let decay: fn(&$options, &mut Step<'_>) = $decay;
                decay(self, step);
                let t = step.count();
                let (m, correction1) = first_moment(step, &t);
                let mut v = second_moment(step, self.betas.1);
                if self.amsgrad {
                    v = step.kept("max_exp_avg_sq").maximum(&v);
                    step.keep("max_exp_avg_sq", &v);
                }
                let denominator = (v / correction(&t, self.betas.1)).sqrt() + self.eps;
                &step.w - m * (&step.lr / correction1) / denominator
            }
        }
    };
}

adam!(AdamOptions, "Adam", |options, step| step.penalised(options.maximize, options.weight_decay));
adam!(AdamWOptions, "AdamW", |options, step| {
    step.penalised(options.maximize, 0.0);
    step.decayed(options.weight_decay);
});

optimizer! {
    /// Adam with the largest gradient in place of the second moment (`torch.optim.Adamax`). Kingma and Ba 2014, arXiv:1412.6980.
    ///
    /// `m ← β₁m + (1−β₁)g`, `u ← max(β₂u, |g| + ε)`, `w ← w − lr / (1−β₁ᵗ) · m / u`.
    Adamax(AdamaxOptions), "0.002"
}

/// Options of [`Adamax`], with PyTorch's defaults.
#[derive(Clone, Copy, Debug)]
pub struct AdamaxOptions {
    /// Decay rates of the moment and of the largest gradient; (0.9, 0.999).
    pub betas: (f64, f64),
    /// Added to the size of a gradient; 1e-8.
    pub eps: f64,
    /// L2 penalty, added to the gradient; 0.
    pub weight_decay: f64,
    /// Ascends instead of descending.
    pub maximize: bool,
}

impl Default for AdamaxOptions {
    fn default() -> AdamaxOptions {
        AdamaxOptions { betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.0, maximize: false }
    }
}

impl Rule for AdamaxOptions {
    fn check(&self) -> Result<()> {
        check("Adamax", self.betas, self.eps, self.weight_decay)
    }

    fn momentum(&self) -> Option<f64> {
        Some(self.betas.0)
    }

    fn state(&self, parameter: &Tensor, _: f64) -> Vec<(&'static str, Tensor)> {
        vec![no_steps(), ("exp_avg", zeros(parameter)), ("exp_inf", zeros(parameter))]
    }

    fn update(&self, step: &mut Step<'_>) -> Tensor {
        step.penalised(self.maximize, self.weight_decay);
        let t = step.count();
        let (m, correction) = first_moment(step, &t);
        let largest = (step.kept("exp_inf") * self.betas.1).maximum(step.g.abs() + self.eps);
        step.keep("exp_inf", &largest);
        &step.w - m * (&step.lr / correction) / largest
    }
}

optimizer! {
    /// Adam that looks ahead along its momentum (`torch.optim.NAdam`). Dozat 2016.
    NAdam(NAdamOptions), "0.002"
}

/// Options of [`NAdam`], with PyTorch's defaults.
#[derive(Clone, Copy, Debug)]
pub struct NAdamOptions {
    /// Decay rates of the two moments; (0.9, 0.999).
    pub betas: (f64, f64),
    /// Added to the denominator; 1e-8.
    pub eps: f64,
    /// L2 penalty, added to the gradient; 0.
    pub weight_decay: f64,
    /// How fast the momentum grows to its full share; 0.004.
    pub momentum_decay: f64,
    /// Whether weight decay shrinks the weight, as in AdamW. Not by default.
    pub decoupled_weight_decay: bool,
    /// Ascends instead of descending.
    pub maximize: bool,
}

impl Default for NAdamOptions {
    fn default() -> NAdamOptions {
        NAdamOptions {
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.0,
            momentum_decay: 4e-3,
            decoupled_weight_decay: false,
            maximize: false,
        }
    }
}

/// Weight decay by either way.
fn decay(step: &mut Step<'_>, maximize: bool, weight_decay: f64, decoupled: bool) {
    step.penalised(maximize, if decoupled { 0.0 } else { weight_decay });
    step.decayed(if decoupled { weight_decay } else { 0.0 });
}

impl Rule for NAdamOptions {
    fn check(&self) -> Result<()> {
        not_negative("momentum_decay", self.momentum_decay)?;
        check("NAdam", self.betas, self.eps, self.weight_decay)
    }

    fn momentum(&self) -> Option<f64> {
        Some(self.betas.0)
    }

    fn state(&self, parameter: &Tensor, _: f64) -> Vec<(&'static str, Tensor)> {
        let product = ("mu_product", number(parameter, 1.0));
        vec![no_steps(), product, ("exp_avg", zeros(parameter)), ("exp_avg_sq", zeros(parameter))]
    }

    fn update(&self, step: &mut Step<'_>) -> Tensor {
        decay(step, self.maximize, self.weight_decay, self.decoupled_weight_decay);
        let t = step.count();
        let (share, _) = step.momentum();
        // The momentum of step t: β₁ · (1 − 0.96^(t · decay) / 2).
        let share_at = |t: &Tensor| &share * (1.0 - (t * (self.momentum_decay * 0.96f64.ln())).exp() * 0.5);
        let (mu, next) = (share_at(&t), share_at(&(&t + 1.0)));
        let kept = step.kept("mu_product");
        let product = &kept * mu.to_dtype(kept.dtype());
        step.keep("mu_product", &product);
        let product = product.to_dtype(step.w.dtype());
        let (m, _) = first_moment(step, &t);
        let v = second_moment(step, self.betas.1);
        let denominator = (v / correction(&t, self.betas.1)).sqrt() + self.eps;
        let of_gradient = &step.g * ((1.0 - mu) / (1.0 - &product));
        let of_moment = m * (&next / (1.0 - product * &next));
        &step.w - (of_gradient + of_moment) * &step.lr / denominator
    }
}

optimizer! {
    /// Adam that begins as plain momentum while the second moment is uncertain (`torch.optim.RAdam`). Liu et al. 2019,
    /// arXiv:1908.03265.
    RAdam(RAdamOptions), "0.001"
}

/// Options of [`RAdam`], with PyTorch's defaults.
#[derive(Clone, Copy, Debug)]
pub struct RAdamOptions {
    /// Decay rates of the two moments; (0.9, 0.999).
    pub betas: (f64, f64),
    /// Added to the denominator; 1e-8.
    pub eps: f64,
    /// L2 penalty, added to the gradient; 0.
    pub weight_decay: f64,
    /// Whether weight decay shrinks the weight, as in AdamW. Not by default.
    pub decoupled_weight_decay: bool,
    /// Ascends instead of descending.
    pub maximize: bool,
}

impl Default for RAdamOptions {
    fn default() -> RAdamOptions {
        RAdamOptions { betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.0, decoupled_weight_decay: false, maximize: false }
    }
}

impl Rule for RAdamOptions {
    fn check(&self) -> Result<()> {
        check("RAdam", self.betas, self.eps, self.weight_decay)
    }

    fn momentum(&self) -> Option<f64> {
        Some(self.betas.0)
    }

    fn state(&self, parameter: &Tensor, _: f64) -> Vec<(&'static str, Tensor)> {
        vec![no_steps(), ("exp_avg", zeros(parameter)), ("exp_avg_sq", zeros(parameter))]
    }

    fn update(&self, step: &mut Step<'_>) -> Tensor {
        decay(step, self.maximize, self.weight_decay, self.decoupled_weight_decay);
        let beta = self.betas.1;
        let t = step.count();
        let (m, correction1) = first_moment(step, &t);
        let v = second_moment(step, beta);
        let correction2 = correction(&t, beta);
        // The length of the average that the second moment is, and what it tends to.
        let limit = 2.0 / (1.0 - beta) - 1.0;
        let length = limit - &t * 2.0 * (&t * beta.ln()).exp() / &correction2;
        let certain = length.gt(5.0);
        let length = length.maximum(5.0);
        let rectified = ((&length - 4.0) * (&length - 2.0) * limit / (length * ((limit - 4.0) * (limit - 2.0)))).sqrt();
        let adaptive = correction2.sqrt() * rectified / (v.sqrt() + self.eps);
        &step.w - m * (&step.lr / correction1) * where_(&certain, &adaptive, 1.0)
    }
}
