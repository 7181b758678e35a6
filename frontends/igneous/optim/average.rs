//! Means of weights over training.

use super::group::{commit, undisturbed};
use crate::location::{called_from, here};
use crate::nn::{Module, Visitor};
use crate::tensor::{Tensor, where_};
use igneous_ir::{Error, Result};

/// How weights are averaged.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Averaging {
    /// `mean ← decay · mean + (1 − decay) · w`: the exponential moving average.
    Exponential(f64),
    /// All updates count alike. Izmailov et al. 2018, arXiv:1803.05407.
    Equal,
}

/// Means of weights over training (`torch.optim.swa_utils.AveragedModel`); the first update takes the weights as they are.
///
/// ```
/// use igneous::{Tensor, optim::{AveragedModel, Averaging}};
/// let w = Tensor::parameter(Tensor::new([1.0]));
/// let mean = AveragedModel::new(vec![w.clone()], Averaging::Exponential(0.9))?;
/// mean.update()?;
/// w.assign(&Tensor::new([2.0]))?;
/// mean.update()?;
/// mean.copy_to(&[w.clone()])?;
/// igneous::testing::assert_values(&w, &[1.1], 1e-6);
/// # Ok::<(), igneous::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct AveragedModel {
    parameters: Vec<Tensor>,
    means: Vec<Tensor>,
    updates: Tensor,
    averaging: Averaging,
}

impl AveragedModel {
    /// Means of these variables, which are their values until the first update.
    ///
    /// # Errors
    /// If one is no variable, or the decay is not from 0 to 1.
    #[track_caller]
    pub fn new(parameters: Vec<Tensor>, averaging: Averaging) -> Result<AveragedModel> {
        let loc = here();
        if let Averaging::Exponential(decay) = averaging
            && !(0.0..=1.0).contains(&decay)
        {
            return Err(Error::new(format!("an average needs a decay from 0 to 1, not {decay}")).at(loc));
        }
        if let Some(other) = parameters.iter().find(|parameter| !parameter.is_variable()) {
            other.check()?;
            return Err(Error::new("an average is taken of variables").note("tensor", other.describe()).at(loc));
        }
        let means: Vec<Tensor> = parameters.iter().map(|parameter| Tensor::variable(parameter.detach())).collect();
        means.iter().try_for_each(Tensor::check)?;
        let updates = Tensor::variable(Tensor::scalar(0i64));
        updates.check()?;
        Ok(AveragedModel { parameters, means, updates, averaging })
    }

    /// Takes the weights in, as they are now.
    ///
    /// # Errors
    /// If a weight is invalid. No mean has changed then.
    #[track_caller]
    pub fn update(&self) -> Result<()> {
        called_from(here(), || {
            undisturbed(|| {
                let first = self.updates.equal(0);
                let count = self.updates.detach() + 1;
                let mut updates = vec![(self.updates.clone(), count.clone())];
                for (parameter, mean) in self.parameters.iter().zip(&self.means) {
                    let (w, old) = (parameter.detach(), mean.detach());
                    let new = match self.averaging {
                        Averaging::Exponential(decay) => &old * decay + &w * (1.0 - decay),
                        Averaging::Equal => &old + (&w - &old) / count.to_dtype(w.dtype()),
                    };
                    updates.push((mean.clone(), where_(&first, &w, new)));
                }
                commit(updates)
            })
        })
    }

    /// The means, in the order of the variables.
    pub fn means(&self) -> &[Tensor] {
        &self.means
    }

    /// Assigns the means to variables in the same order: those averaged, or those of another model.
    ///
    /// # Errors
    /// If there are more or fewer, or a type differs.
    #[track_caller]
    pub fn copy_to(&self, parameters: &[Tensor]) -> Result<()> {
        if parameters.len() != self.means.len() {
            let message = format!("there are {} means for {} variables", self.means.len(), parameters.len());
            return Err(Error::new(message).at(here()));
        }
        parameters.iter().zip(&self.means).try_for_each(|(parameter, mean)| parameter.assign(&mean.detach()))
    }
}

impl Module for AveragedModel {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("n_averaged", &self.updates);
        visitor.child("averages", &self.means);
    }
}
