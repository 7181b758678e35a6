//! Optimizers: PyTorch's `torch.optim`, with its defaults. Learning rate, momentum, step number and moments are variables, so
//! that a compiled step follows their changes without being compiled again; as modules, optimizers have a `state_dict`.
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
//!
//! Parameters in groups have learning rates and options of their own:
//!
//! ```
//! use igneous::default;
//! use igneous::nn::{Linear, ModuleExt, Sequential};
//! use igneous::optim::{Optimizer, ParameterGroup, Sgd, SgdOptions};
//!
//! let (features, head) = (Linear::new(4, 3), Linear::new(3, 2));
//! let sgd = Sgd::with_groups(vec![
//!     ParameterGroup::new(features.parameters(), 0.001, default()),
//!     ParameterGroup::new(head.parameters(), 0.1, SgdOptions { momentum: 0.9, ..default() }),
//! ])?;
//! assert_eq!(sgd.hyperparameters()[1].lr()?, 0.1);
//! # Ok::<(), igneous::Error>(())
//! ```
//!
//! Gradients add up until `step` takes them: several `backward` before one `step` accumulate. [`clip_grad_norm`] and
//! [`clip_grad_value`] come between the two. A [`Scheduler`] changes learning rates from step to step. With half types, a
//! [`GradScaler`] keeps small gradients.

mod adam;
mod adaptive;
mod average;
mod clip;
mod condition;
mod cycles;
mod group;
mod hyperparameters;
mod lbfgs;
mod line_search;
mod plateau;
mod scaler;
mod schedule;
mod schedules;
mod sgd;

pub use adam::{Adam, AdamOptions, AdamW, AdamWOptions, Adamax, AdamaxOptions, NAdam, NAdamOptions, RAdam, RAdamOptions};
pub use adaptive::{
    Adadelta, AdadeltaOptions, Adagrad, AdagradOptions, Asgd, AsgdOptions, RmsProp, RmsPropOptions, Rprop, RpropOptions,
};
pub use average::{AveragedModel, Averaging};
pub use clip::{clip_grad_norm, clip_grad_value};
pub use cycles::{Anneal, CycleMode, CyclicLr, OneCycleLr};
pub use group::ParameterGroup;
pub use hyperparameters::Hyperparameters;
pub use lbfgs::{Lbfgs, LbfgsOptions, LineSearch};
pub use plateau::{Goal, PlateauOptions, ReduceLrOnPlateau, Threshold};
pub use scaler::{GradScaler, GradScalerOptions};
pub use schedule::{Schedule, Scheduler};
pub use schedules::{
    ChainedLr, ConstantLr, CosineAnnealingLr, CosineAnnealingWarmRestarts, ExponentialLr, LambdaLr, LinearLr, MultiStepLr,
    MultiplicativeLr, PolynomialLr, SequentialLr, StepLr,
};
pub use sgd::{Lion, LionOptions, Muon, MuonAdjustment, MuonOptions, Sgd, SgdOptions};

use crate::location::here;
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

    /// The parameters of all groups.
    fn parameters(&self) -> Vec<Tensor>;

    /// What schedules change, for each group of parameters.
    fn hyperparameters(&self) -> Vec<Hyperparameters>;

    /// Empties the gradient slots.
    fn zero_grad(&self) {
        self.parameters().iter().for_each(Tensor::zero_grad);
    }

    /// The learning rate of the first group.
    ///
    /// # Errors
    /// If called under a trace, where it has no value.
    #[track_caller]
    fn lr(&self) -> Result<f64> {
        match self.hyperparameters().first() {
            Some(first) => first.lr(),
            None => Err(Error::new("an optimizer without groups has no learning rate").at(here())),
        }
    }

    /// Changes the learning rate of all groups, for compiled steps too.
    ///
    /// # Errors
    /// If it is negative or NaN.
    #[track_caller]
    fn set_lr(&self, lr: f64) -> Result<()> {
        for group in self.hyperparameters() {
            group.set_lr(lr)?;
        }
        Ok(())
    }
}
