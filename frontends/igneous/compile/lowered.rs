//! What can be seen of a compiled program.

use super::entry::Entry;
use crate::backend::Stages;
use crate::device::Device;
use crate::files;
use crate::location::here;
use igneous_ir::{Error, Graph, Result};
use igneous_runtime::cuda::{self, Timing};
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

/// A compiled program with everything that can be seen of its compilation: see [`Stages`].
#[derive(Clone)]
pub struct Lowered(Arc<dyn AsStages>);

/// Something that keeps the stages of a compilation.
pub(super) trait AsStages: Send + Sync {
    fn stages(&self) -> &Stages;
    fn device(&self) -> Device;
    /// The program as the bytes of a file.
    fn saved(&self) -> Result<Vec<u8>>;
}

impl<R: Send + Sync> AsStages for Entry<R> {
    fn stages(&self) -> &Stages {
        self.executable.stages()
    }

    fn device(&self) -> Device {
        self.executable.device()
    }

    fn saved(&self) -> Result<Vec<u8>> {
        self.traced.saved(&self.options)
    }
}

impl Lowered {
    pub(super) fn new(entry: Arc<dyn AsStages>) -> Lowered {
        Lowered(entry)
    }

    /// The graph as it was traced, before any pass.
    pub fn traced(&self) -> &Graph {
        &self.0.stages().stages()[0].1
    }

    /// Writes the program with the values of its variables into a file, from which [`SavedProgram`](crate::SavedProgram) runs it
    /// (`torch.export.save`). The file is safetensors, complete or as it was, and has the graph's text in its metadata.
    ///
    /// # Errors
    /// If the program adds to gradients that were there before, or the file cannot be written; the message names it.
    #[track_caller]
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let (loc, path) = (here(), path.as_ref());
        let named = |e: Error| e.context(format_args!("cannot write {}", path.display()));
        self.0.saved().map_err(named).and_then(|bytes| files::write(path, &bytes)).map_err(|e| e.at(loc))
    }

    /// Tries on the program's device who is faster at each of its products: a library of the device, or a kernel of the program. The
    /// [`Choices`](crate::Choices) made of that are what [`Compiled::choices`](crate::Compiled::choices) takes, and can be kept in a
    /// file.
    ///
    /// # Errors
    /// If the program is one for the CPU, has symbolic extents, the device is not available or has no library of products, or memory is
    /// short.
    pub fn tune(&self) -> Result<Vec<Timing>> {
        let Device::Cuda(number) = self.0.device() else {
            return Err(Error::new("a program for the cpu has nothing to choose from: tune one for a device, like `cuda`"));
        };
        let program = &self.program;
        let sizes = program.inputs.iter().map(|ty| ty.sizes()).collect::<Result<Vec<_>>>()?;
        let shapes: Vec<&[usize]> = sizes.iter().map(|s| s.as_slice()).collect();
        cuda::device(number).and_then(|device| cuda::tune(&device, program, &shapes)).map_err(|e| e.context(self.0.device()))
    }
}

impl Deref for Lowered {
    type Target = Stages;

    fn deref(&self) -> &Stages {
        self.0.stages()
    }
}
