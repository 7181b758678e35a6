//! Adam.

use super::{Optimizer, checked, commit};
use crate::grad_mode::no_grad;
use crate::nn::{Module, Visitor};
use crate::tensor::Tensor;
use igneous_ir::Result;

/// Adam (`torch.optim.Adam`). Kingma and Ba 2014, arXiv:1412.6980.
///
/// `m ← β₁m + (1−β₁)g`, `v ← β₂v + (1−β₂)g²`, `w ← w − lr · (m / (1−β₁ᵗ)) / (√(v / (1−β₂ᵗ)) + ε)`.
#[derive(Clone, Debug)]
pub struct Adam {
    parameters: Vec<Tensor>,
    first: Vec<Tensor>,
    second: Vec<Tensor>,
    steps: Vec<Tensor>,
    lr: Tensor,
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
}

impl Default for AdamOptions {
    fn default() -> AdamOptions {
        AdamOptions { betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.0 }
    }
}

impl Adam {
    /// With PyTorch's defaults except for the learning rate (there 0.001).
    ///
    /// # Errors
    /// If there is no parameter, or one is no floating-point variable.
    #[track_caller]
    pub fn new(parameters: Vec<Tensor>, lr: f64) -> Result<Adam> {
        Adam::with(parameters, lr, AdamOptions::default())
    }

    /// With options.
    ///
    /// # Errors
    /// As [`Adam::new`].
    #[track_caller]
    pub fn with(parameters: Vec<Tensor>, lr: f64, options: AdamOptions) -> Result<Adam> {
        let parameters = checked(parameters)?;
        let zeros = || parameters.iter().map(|p| Tensor::variable(p.detach().zeros_like())).collect();
        let (first, second) = (zeros(), zeros());
        let steps = parameters.iter().map(|_| Tensor::variable(Tensor::scalar(0f32))).collect();
        let lr = Tensor::variable(Tensor::scalar(lr as f32));
        lr.check()?;
        Ok(Adam { parameters, first, second, steps, lr, options })
    }
}

impl Module for Adam {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("lr", &self.lr);
        visitor.child("step", &self.steps);
        visitor.child("exp_avg", &self.first);
        visitor.child("exp_avg_sq", &self.second);
    }
}

impl Optimizer for Adam {
    #[track_caller]
    fn step(&self) -> Result<()> {
        let AdamOptions { betas: (b1, b2), eps, weight_decay } = self.options;
        no_grad(|| {
            let mut updates = Vec::new();
            for (i, w) in self.parameters.iter().enumerate() {
                let Some(mut g) = w.take_grad() else { continue };
                let (m, v, step) = (&self.first[i], &self.second[i], &self.steps[i]);
                let dtype = w.dtype();
                if weight_decay != 0.0 {
                    g += w * weight_decay;
                }
                let t = step + 1.0;
                // 1 − βᵗ by the exponential, which keeps its digits for βᵗ near one.
                let correction = |beta: f64| -(&t * beta.ln()).expm1();
                let m_new = m * b1 + &g * (1.0 - b1);
                let v_new = v * b2 + &g * &g * (1.0 - b2);
                let rate = (&self.lr / correction(b1)).to_dtype(dtype);
                let denominator = (&v_new / correction(b2).to_dtype(dtype)).sqrt() + eps;
                updates.push((w.clone(), w - &m_new * rate / denominator));
                updates.push((m.clone(), m_new));
                updates.push((v.clone(), v_new));
                updates.push((step.clone(), t));
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
