//! What schedules change while a model trains.

use super::group::not_negative;
use crate::location::here;
use crate::nn::{Module, Visitor};
use crate::tensor::Tensor;
use igneous_ir::{Error, Result};

/// The learning rate of a group of parameters, and its momentum if it has one: `momentum`, or the first of `betas`. They are
/// variables, so that compiled steps follow their changes; `clone` shares them.
#[derive(Clone, Debug)]
pub struct Hyperparameters {
    lr: Tensor,
    momentum: Option<Tensor>,
}

impl Hyperparameters {
    /// With a learning rate.
    ///
    /// # Errors
    /// If it is negative or NaN, or made under a trace.
    #[track_caller]
    pub fn new(lr: f64) -> Result<Hyperparameters> {
        Ok(Hyperparameters { lr: variable("learning rate", lr)?, momentum: None })
    }

    /// With a momentum, too.
    ///
    /// # Errors
    /// If one is negative or NaN, or made under a trace.
    #[track_caller]
    pub fn with_momentum(lr: f64, momentum: f64) -> Result<Hyperparameters> {
        Ok(Hyperparameters { momentum: Some(variable("momentum", momentum)?), ..Hyperparameters::new(lr)? })
    }

    /// The learning rate.
    ///
    /// # Errors
    /// If called under a trace, where it has no value.
    #[track_caller]
    pub fn lr(&self) -> Result<f64> {
        self.lr.item()
    }

    /// Changes the learning rate.
    ///
    /// # Errors
    /// If it is negative or NaN.
    #[track_caller]
    pub fn set_lr(&self, lr: f64) -> Result<()> {
        let loc = here();
        not_negative("learning rate", lr).map_err(|e| e.at(loc))?;
        self.lr.assign(&Tensor::from_vec(vec![lr], ()))
    }

    /// The momentum, if there is one.
    ///
    /// # Errors
    /// If called under a trace, where it has no value.
    #[track_caller]
    pub fn momentum(&self) -> Result<Option<f64>> {
        self.momentum.as_ref().map(Tensor::item).transpose()
    }

    /// Changes the momentum.
    ///
    /// # Errors
    /// If it is negative or NaN, or there is none.
    #[track_caller]
    pub fn set_momentum(&self, momentum: f64) -> Result<()> {
        let loc = here();
        not_negative("momentum", momentum).map_err(|e| e.at(loc))?;
        match &self.momentum {
            Some(variable) => variable.assign(&Tensor::from_vec(vec![momentum], ())),
            None => Err(Error::new("this optimizer has no momentum that can change").at(loc)),
        }
    }

    /// The learning rate as a tensor: what a step computes with.
    pub fn lr_value(&self) -> &Tensor {
        &self.lr
    }

    /// The momentum as a tensor.
    pub fn momentum_value(&self) -> Option<&Tensor> {
        self.momentum.as_ref()
    }
}

/// A number in a variable.
#[track_caller]
fn variable(name: &str, value: f64) -> Result<Tensor> {
    let loc = here();
    not_negative(name, value).map_err(|e| e.at(loc))?;
    let variable = Tensor::variable(Tensor::from_vec(vec![value], ()));
    variable.check()?;
    Ok(variable)
}

impl Module for Hyperparameters {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("lr", &self.lr);
        visitor.child("momentum", &self.momentum);
    }
}
