//! What can be seen of a compiled program.

use crate::backend::Executable;
use igneous_ir::Graph;

/// A compiled program with everything that can be seen of its compilation.
pub struct Lowered {
    graph: Graph,
}

impl Lowered {
    pub(super) fn new(graph: Graph, executable: &Executable) -> Lowered {
        let _ = executable;
        Lowered { graph }
    }

    /// The traced graph.
    pub fn traced(&self) -> &Graph {
        &self.graph
    }
}
