//! The one place where graphs become programs.

use igneous_ir::array::Array;
use igneous_ir::interp::{Bindings, interpret};
use igneous_ir::{Graph, Result, TensorType};
use igneous_runtime::Buffer;

pub use igneous_compiler::Precision;
pub(crate) use igneous_compiler::{Options, Variables};

/// A compiled graph.
pub(crate) struct Executable {
    graph: Graph,
}

impl Executable {
    /// Compiles `graph`.
    pub(crate) fn build(graph: &Graph, variables: &Variables, options: &Options) -> Result<Executable> {
        let _ = (variables, options);
        Ok(Executable { graph: graph.clone() })
    }

    /// Whether the program overwrites an input.
    pub(crate) fn in_place(&self, input: usize) -> bool {
        let _ = input;
        false
    }

    /// Runs on inputs of these types; the outputs with their types.
    pub(crate) fn run(&self, inputs: &[Buffer], types: &[&TensorType]) -> Result<Vec<(TensorType, Buffer)>> {
        let bound: Vec<TensorType> = types.iter().map(|&ty| ty.clone()).collect();
        Bindings::of(&self.graph, &bound)?;
        let arrays = inputs.iter().zip(types).map(|(b, ty)| Array::from_bytes(ty.dtype, ty.sizes()?, b.bytes()));
        let outputs = interpret(&self.graph, &arrays.collect::<Result<Vec<_>>>()?)?;
        outputs.iter().map(|a| Ok((a.ty(), Buffer::from_slice(&a.to_bytes())?))).collect()
    }
}
