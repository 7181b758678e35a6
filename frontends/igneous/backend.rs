//! The one place where graphs become programs.

use igneous_ir::{Error, Graph, Result};
use igneous_runtime::Buffer;

/// A compiled graph.
pub(crate) struct Executable {}

impl Executable {
    /// Compiles `graph`. `variables` are pairs (input, output): that output is the new value of the variable behind that
    /// input, which the program may overwrite if nobody else holds it.
    pub(crate) fn build(graph: &Graph, variables: &[(usize, usize)]) -> Result<Executable> {
        let _ = (graph, variables);
        Ok(Executable {})
    }

    /// Runs on `inputs` with these extents.
    pub(crate) fn run(&self, inputs: &[Buffer], shapes: &[&[usize]]) -> Result<Vec<Buffer>> {
        let _ = (inputs, shapes);
        Err(Error::new("no back end"))
    }
}
