//! Runs programs.

use crate::buffer::Buffer;
use crate::program::Program;
use igneous_ir::error::{Error, Result};

/// What runs of one program have resolved and recycle.
#[derive(Default)]
pub struct Plans {}

/// How long a launch took.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LaunchTime {
    /// The kernel's name.
    pub name: String,
    /// Nanoseconds.
    pub ns: u64,
}

impl Program {
    /// Runs on `inputs` and returns the outputs. An input that the program updates in place
    /// ([`Place::InOut`](crate::program::Place::InOut)) must be the only handle of its block; its output is another
    /// handle of the same block, and no slice of it may be alive during the run.
    ///
    /// # Errors
    /// If the inputs do not fit the program's, a check fails, or memory is short. Then no input has changed.
    pub fn run(&self, inputs: &[Buffer]) -> Result<Vec<Buffer>> {
        let _ = inputs;
        Err(Error::new("programs cannot run yet"))
    }

    /// Like [`Program::run`], with the extents of every input: needed if the program has symbols.
    ///
    /// # Errors
    /// As `run`, and if the extents do not fit the inputs' types.
    pub fn run_with_shapes(&self, inputs: &[Buffer], shapes: &[&[usize]]) -> Result<Vec<Buffer>> {
        let _ = shapes;
        self.run(inputs)
    }
}
