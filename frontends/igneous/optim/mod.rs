//! Optimizers: PyTorch's `torch.optim`, with its defaults. Learning rate, step number and moments are variables, so that
//! a compiled step follows their changes without being compiled again; as modules, optimizers have a `state_dict`.
//!
//! ```
//! use igneous::nn::{Forward, Linear, ModuleExt};
//! use igneous::optim::{AdamW, Optimizer};
//! use igneous::{Tensor, compile};
//!
//! let net = Linear::new(3, 1);
//! let adam = AdamW::new(net.parameters(), 0.01)?;
//! let step = compile(|x: Tensor, y: Tensor| {
//!     let loss = net.forward(&x).mse_loss(&y);
//!     loss.backward()?;
//!     adam.step()?;
//!     Ok(loss)
//! });
//! let (x, y) = (Tensor::randn((8, 3)), Tensor::ones((8, 1)));
//! let first = step.run((x.clone(), y.clone()))?.item()?;
//! adam.set_lr(0.001)?;
//! assert!(step.run((x, y))?.item()? < first);
//! # Ok::<(), igneous::Error>(())
//! ```

mod adam;
mod condition;
mod lr;
mod scaler;
mod sgd;

pub use adam::{Adam, AdamOptions, AdamW, AdamWOptions};
pub use scaler::{GradScaler, GradScalerOptions};
pub use sgd::{Sgd, SgdOptions};

use crate::autocast::no_autocast;
use crate::grad_mode::no_grad;
use crate::location::called_from;
use crate::location::here;
use crate::tensor::Tensor;
use igneous_ir::{Error, Loc, Result};
use lr::LearningRate;

/// What every optimizer can do.
pub trait Optimizer: Send + Sync {
    /// Updates the parameters that have a gradient from it, and takes the gradients: the slots are empty afterwards.
    ///
    /// # Errors
    /// If a parameter or gradient is invalid. No parameter has changed then.
    #[track_caller]
    fn step(&self) -> Result<()>;

    /// The parameters of all groups.
    fn parameters(&self) -> Vec<Tensor>;

    /// Empties the gradient slots.
    fn zero_grad(&self);

    /// The learning rate.
    ///
    /// # Errors
    /// If called under a trace, where it has no value.
    fn lr(&self) -> Result<f64>;

    /// Changes the learning rate, for compiled steps too.
    ///
    /// # Errors
    /// If it is negative or NaN.
    #[track_caller]
    fn set_lr(&self, lr: f64) -> Result<()>;
}

/// The parameters as an optimizer keeps them: at least one, each a variable, each once.
#[track_caller]
fn checked(parameters: Vec<Tensor>) -> Result<Vec<Tensor>> {
    let loc = here();
    if parameters.is_empty() {
        return Err(Error::new("an optimizer needs at least one parameter").at(loc));
    }
    let mut kept: Vec<Tensor> = Vec::new();
    for parameter in parameters {
        let dtype = parameter.ty()?.dtype;
        let error = |message: &str| Err(Error::new(message).note("tensor", parameter.describe()).at(loc));
        if !parameter.is_variable() {
            return error("an optimizer takes parameters, and this tensor is no variable");
        }
        if !dtype.is_float() {
            return error("an optimizer takes parameters of a floating-point type");
        }
        if !kept.iter().any(|k| k.same(&parameter)) {
            kept.push(parameter);
        }
    }
    Ok(kept)
}

/// Fails if an option is negative or NaN.
#[track_caller]
fn not_negative(name: &str, value: f64) -> Result<()> {
    match value >= 0.0 {
        true => Ok(()),
        false => Err(Error::new(format!("an optimizer needs its {name} to be at least 0, not {value:?}")).at(here())),
    }
}

/// Computes an update: without recording gradients, and as if written in the line that called `step`.
fn as_user<R>(loc: Loc, update: impl FnOnce() -> R) -> R {
    called_from(loc, || no_autocast(|| no_grad(update)))
}

/// Computes all new values before assigning the first, so that an error changes nothing.
fn commit(updates: Vec<(Tensor, Tensor)>) -> Result<()> {
    let updates = condition::conditioned(updates);
    updates.iter().try_for_each(|(_, value)| value.check())?;
    updates.iter().try_for_each(|(variable, value)| variable.assign(value))
}
