//! Operators that a function computes.

use super::scope::Scope;
use super::steps::Context;
use crate::library::{Arguments, Layout, LibraryFn, find};
use crate::program::LibraryWork;
use igneous_ir::error::{Error, Loc, Result};
use igneous_ir::op::Op;
use igneous_ir::types::TensorType;

/// See [`LibraryWork`].
pub(super) struct PlannedLibrary {
    op: Op,
    function: LibraryFn,
    operands: Vec<Layout>,
    results: Vec<Layout>,
    loc: Option<Loc>,
}

impl PlannedLibrary {
    /// `bytes` are those of the launch's parameters.
    pub fn new(work: &LibraryWork, bytes: &[usize], scope: Scope) -> Result<PlannedLibrary> {
        let function = find(work.op.name()).ok_or_else(|| Error::new(format!("no function computes {}", work.op.name())))?;
        let layout = |ty: &TensorType| Ok(Layout { dtype: ty.dtype, shape: scope.sizes(ty)?.to_vec() });
        let operands = work.operands.iter().map(layout).collect::<Result<Vec<_>>>()?;
        let results = work.results.iter().map(layout).collect::<Result<Vec<_>>>()?;
        if operands.iter().chain(&results).map(Layout::bytes).ne(bytes.iter().copied()) {
            return Err(Error::new(format!(
                "the parameters of {} have other sizes than its operands and results",
                work.op.name()
            )));
        }
        Ok(PlannedLibrary { op: work.op.clone(), function, operands, results, loc: work.loc })
    }

    /// # Safety
    /// The context is that of the launch this was made for: its parameters have the sizes that were checked, and no result
    /// overlaps another parameter.
    pub unsafe fn run(&self, context: &Context) -> Result<()> {
        let address = |k: usize| {
            // SAFETY: by the caller the table has an entry for each parameter.
            unsafe { *context.params.add(k) }
        };
        let mut arguments = Arguments { op: &self.op, operands: Vec::new(), results: Vec::new() };
        for (k, layout) in self.operands.iter().enumerate() {
            // SAFETY: by the caller the parameter has that many bytes, which nobody writes during the launch.
            arguments.operands.push((layout, unsafe { std::slice::from_raw_parts(address(k).cast_const(), layout.bytes()) }));
        }
        for (k, layout) in self.results.iter().enumerate() {
            let address = address(self.operands.len() + k);
            // SAFETY: by the caller the parameter has that many bytes, which nobody else uses during the launch.
            arguments.results.push((layout, unsafe { std::slice::from_raw_parts_mut(address, layout.bytes()) }));
        }
        (self.function)(&mut arguments).map_err(|e| self.loc.map_or(e.clone(), |loc| e.at(loc)))
    }
}
