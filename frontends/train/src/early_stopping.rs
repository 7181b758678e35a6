//! Ending a training that gets no better.

use igneous::nn::{Module, Visitor};
use igneous::optim::Goal;
use igneous::{Result, Tensor};

/// Tells when a measure has not improved for some time. As a module it has a `state_dict`, so that a training that goes on from a
/// [checkpoint](crate::Checkpoints) stops when it would have.
///
/// ```
/// use igneous::optim::Goal;
/// use igneous_train::EarlyStopping;
/// let stopping = EarlyStopping::new(Goal::Fall, 2)?;
/// let told: Vec<bool> = [1.0, 0.8, 0.9, 0.8].into_iter().map(|loss| stopping.step(loss)).collect::<Result<_, _>>()?;
/// assert_eq!(told, [false, false, false, true]);
/// # Ok::<(), igneous::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct EarlyStopping {
    goal: Goal,
    patience: u64,
    min_delta: f64,
    best: Tensor,
    waited: Tensor,
}

impl EarlyStopping {
    /// Stops after `patience` measures in a row that were no better than the best before them.
    ///
    /// # Errors
    /// If a trace is active.
    pub fn new(goal: Goal, patience: u64) -> Result<EarlyStopping> {
        let worst = match goal {
            Goal::Fall => f64::INFINITY,
            Goal::Rise => f64::NEG_INFINITY,
        };
        let best = Tensor::variable(Tensor::from_vec(vec![worst], ()));
        let waited = Tensor::variable(Tensor::scalar(0i64));
        best.check()?;
        waited.check()?;
        Ok(EarlyStopping { goal, patience, min_delta: 0.0, best, waited })
    }

    /// The same, where only what is better by more than this counts.
    #[must_use]
    pub fn min_delta(self, min_delta: f64) -> EarlyStopping {
        EarlyStopping { min_delta, ..self }
    }

    /// Takes a measure in, mostly the loss or accuracy on validation data after an epoch; true if it is time to stop. NaN is no
    /// better than anything.
    ///
    /// # Errors
    /// If a trace is active.
    #[track_caller]
    pub fn step(&self, measure: f64) -> Result<bool> {
        if self.improves(measure, self.best.item()?) {
            self.best.assign(&Tensor::from_vec(vec![measure], ()))?;
            self.waited.assign(&Tensor::scalar(0i64))?;
            return Ok(false);
        }
        let waited = (self.waited.item()? as u64).saturating_add(1);
        self.waited.assign(&Tensor::scalar(waited as i64))?;
        Ok(waited >= self.patience)
    }

    /// The best measure so far; infinite before the first.
    ///
    /// # Errors
    /// If a trace is active.
    #[track_caller]
    pub fn best(&self) -> Result<f64> {
        self.best.item()
    }

    fn improves(&self, measure: f64, best: f64) -> bool {
        match self.goal {
            Goal::Fall => measure < best - self.min_delta,
            Goal::Rise => measure > best + self.min_delta,
        }
    }
}

impl Module for EarlyStopping {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("best", &self.best);
        visitor.child("waited", &self.waited);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use igneous::nn::ModuleExt;

    fn told(stopping: &EarlyStopping, measures: &[f64]) -> Vec<bool> {
        measures.iter().map(|&m| stopping.step(m).unwrap()).collect()
    }

    #[test]
    fn it_waits_for_something_better() {
        let rising = EarlyStopping::new(Goal::Rise, 2).unwrap().min_delta(0.1);
        assert_eq!(told(&rising, &[0.5, 0.7, 0.75, f64::NAN]), [false, false, false, true]);
        assert_eq!(rising.best().unwrap(), 0.7);
        assert_eq!(told(&EarlyStopping::new(Goal::Fall, 0).unwrap(), &[1.0, 1.0]), [false, true]);
    }

    /// What it has seen goes with its state dict.
    #[test]
    fn it_goes_on() {
        let first = EarlyStopping::new(Goal::Fall, 2).unwrap();
        assert_eq!(told(&first, &[1.0, 2.0]), [false, false]);
        let second = EarlyStopping::new(Goal::Fall, 2).unwrap();
        second.load_state_dict(&first.state_dict()).unwrap();
        assert_eq!(told(&second, &[1.5]), [true]);
    }
}
