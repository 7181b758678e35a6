//! Training or evaluation.

use crate::tracked::Tracked;

/// Whether a layer trains; read through a tracked cell, so that a compiled function follows a change.
#[derive(Clone, Debug)]
pub struct Mode(Tracked<bool>);

impl Default for Mode {
    /// Training, as in PyTorch.
    fn default() -> Mode {
        Mode(Tracked::new("training", true))
    }
}

impl Mode {
    /// Whether the layer trains.
    pub fn is_training(&self) -> bool {
        self.0.get()
    }

    /// From now on it trains.
    pub fn set_training(&self) {
        self.0.set(true);
    }

    /// From now on it is evaluated.
    pub fn set_evaluation(&self) {
        self.0.set(false);
    }
}
