//! Optimizers: PyTorch's `torch.optim`, with its defaults. Learning rate, step number and moments are variables, so that
//! a compiled step follows their changes without being compiled again.

mod adam;
mod sgd;

pub use adam::{Adam, AdamOptions};
pub use sgd::{Sgd, SgdOptions};

use crate::tensor::Tensor;
use igneous_ir::{Error, Result};

/// What every optimizer can do.
pub trait Optimizer: Send + Sync {
    /// Updates the parameters that have a gradient from it, and takes the gradients: the slots are empty afterwards.
    ///
    /// # Errors
    /// If a parameter or gradient is invalid. No parameter has changed then.
    #[track_caller]
    fn step(&self) -> Result<()>;

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
    /// If called under a trace.
    fn set_lr(&self, lr: f64) -> Result<()>;
}

/// The parameters as an optimizer keeps them: at least one, each a variable, each once.
#[track_caller]
fn checked(parameters: Vec<Tensor>) -> Result<Vec<Tensor>> {
    if parameters.is_empty() {
        return Err(Error::new("an optimizer needs at least one parameter"));
    }
    let mut kept: Vec<Tensor> = Vec::new();
    for parameter in parameters {
        let ty = parameter.ty()?;
        if !parameter.is_variable() {
            return Err(Error::new("an optimizer takes parameters, and this tensor is no variable").note("tensor", ty));
        }
        if !ty.dtype.is_float() {
            return Err(Error::new("an optimizer takes floating-point parameters").note("parameter", ty));
        }
        if !kept.iter().any(|k| k.same(&parameter)) {
            kept.push(parameter);
        }
    }
    Ok(kept)
}

/// Computes all new values before assigning the first, so that an error changes nothing.
fn commit(updates: Vec<(Tensor, Tensor)>) -> Result<()> {
    updates.iter().try_for_each(|(_, value)| value.check())?;
    updates.iter().try_for_each(|(variable, value)| variable.assign(value))
}
