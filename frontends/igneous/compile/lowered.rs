//! What can be seen of a compiled program.

use super::entry::Entry;
use crate::backend::Stages;
use igneous_ir::Graph;
use std::ops::Deref;
use std::sync::Arc;

/// A compiled program with everything that can be seen of its compilation: see [`Stages`].
#[derive(Clone)]
pub struct Lowered(Arc<dyn AsStages>);

/// Something that keeps the stages of a compilation.
pub(super) trait AsStages: Send + Sync {
    fn stages(&self) -> &Stages;
}

impl<R: Send + Sync> AsStages for Entry<R> {
    fn stages(&self) -> &Stages {
        self.executable.stages()
    }
}

impl Lowered {
    pub(super) fn new(entry: Arc<dyn AsStages>) -> Lowered {
        Lowered(entry)
    }

    /// The graph as it was traced, before any pass.
    pub fn traced(&self) -> &Graph {
        &self.stages()[0].1
    }
}

impl Deref for Lowered {
    type Target = Stages;

    fn deref(&self) -> &Stages {
        self.0.stages()
    }
}
