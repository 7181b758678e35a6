//! The learning rate.

use super::not_negative;
use crate::nn::{Module, Visitor};
use crate::tensor::Tensor;
use igneous_ir::{DType, Result};

/// A learning rate in a variable; `clone` shares it.
#[derive(Clone, Debug)]
pub(super) struct LearningRate(Tensor);

impl LearningRate {
    /// # Errors
    /// If it is negative or NaN, or made under a trace.
    #[track_caller]
    pub(super) fn new(lr: f64) -> Result<LearningRate> {
        not_negative("learning rate", lr)?;
        let variable = Tensor::variable(Tensor::scalar(lr as f32));
        variable.check()?;
        Ok(LearningRate(variable))
    }

    /// The rate as a tensor of an element type.
    pub(super) fn of(&self, dtype: DType) -> Tensor {
        self.0.to_dtype(dtype)
    }

    pub(super) fn get(&self) -> Result<f64> {
        self.0.item()
    }

    #[track_caller]
    pub(super) fn set(&self, lr: f64) -> Result<()> {
        not_negative("learning rate", lr)?;
        self.0.assign(&Tensor::scalar(lr as f32))
    }
}

impl Module for LearningRate {
    fn visit(&self, visitor: &mut dyn Visitor) {
        self.0.visit(visitor);
    }
}
