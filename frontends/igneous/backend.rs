//! The one place where graphs become programs.

use igneous_compiler::compile;
use igneous_ir::{Dim, Graph, Result, TensorType};
use igneous_runtime::program::{Place, Program};
use igneous_runtime::{Buffer, LaunchTime};
use smallvec::SmallVec;
use std::sync::{Mutex, PoisonError};

pub use igneous_compiler::{Compiled as Stages, Precision};
pub(crate) use igneous_compiler::{Options, Variables};

/// A compiled graph.
pub(crate) struct Executable {
    stages: Stages,
    in_place: Vec<bool>,
    prepared: Mutex<Option<Prepared>>,
}

/// Inputs of the program that were made from variables, and the versions those had.
struct Prepared {
    versions: Vec<u64>,
    values: Vec<Buffer>,
}

impl Executable {
    /// Compiles `graph`.
    pub(crate) fn build(graph: &Graph, variables: &Variables, options: &Options) -> Result<Executable> {
        let stages = compile(graph, variables, options)?;
        let places: Vec<&Place> = stages.program.buffers.iter().map(|b| &b.place).collect();
        let in_place = (0..graph.inputs().len()).map(|i| places.contains(&&Place::InOut(i))).collect();
        Ok(Executable { stages, in_place, prepared: Mutex::new(None) })
    }

    /// Everything that can be seen of the compilation.
    pub(crate) fn stages(&self) -> &Stages {
        &self.stages
    }

    /// Whether the program overwrites an input.
    pub(crate) fn in_place(&self, input: usize) -> bool {
        self.in_place[input]
    }

    /// Runs on inputs of these types; the outputs with their types. `version` numbers the contents of each input: what
    /// the program prepares from inputs is made anew when one of their numbers has changed.
    pub(crate) fn run(
        &self,
        inputs: &[Buffer],
        types: &[&TensorType],
        version: impl Fn(usize) -> u64,
    ) -> Result<Vec<(TensorType, Buffer)>> {
        let prepared = self.prepare(inputs, types, version)?;
        if prepared.is_empty() {
            return run_program(&self.stages.program, inputs, types);
        }
        let extra: Vec<&TensorType> = self.stages.program.inputs[inputs.len()..].iter().collect();
        let inputs: Vec<Buffer> = inputs.iter().cloned().chain(prepared).collect();
        let types: Vec<&TensorType> = types.iter().copied().chain(extra).collect();
        run_program(&self.stages.program, &inputs, &types)
    }

    fn prepare(&self, inputs: &[Buffer], types: &[&TensorType], version: impl Fn(usize) -> u64) -> Result<Vec<Buffer>> {
        let Some(prepare) = &self.stages.prepare else { return Ok(Vec::new()) };
        let versions: Vec<u64> = prepare.inputs.iter().map(|&i| version(i)).collect();
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*prepared
            && known.versions == versions
        {
            return Ok(known.values.clone());
        }
        let chosen: Vec<Buffer> = prepare.inputs.iter().map(|&i| inputs[i].clone()).collect();
        let chosen_types: Vec<&TensorType> = prepare.inputs.iter().map(|&i| types[i]).collect();
        let made = run_program(&prepare.program, &chosen, &chosen_types)?;
        let values: Vec<Buffer> = made.into_iter().map(|(_, buffer)| buffer).collect();
        *prepared = Some(Prepared { versions, values: values.clone() });
        Ok(values)
    }

    /// Like `run`, and the time of each launch.
    pub(crate) fn profile(&self, inputs: &[Buffer], types: &[&TensorType]) -> Result<Vec<LaunchTime>> {
        let prepared = self.prepare(inputs, types, |_| u64::MAX)?;
        let extra = &self.stages.program.inputs[inputs.len()..];
        let inputs: Vec<Buffer> = inputs.iter().cloned().chain(prepared).collect();
        let sizes = sizes(types.iter().copied().chain(extra))?;
        let shapes: Vec<&[usize]> = sizes.iter().map(|s| s.as_slice()).collect();
        Ok(self.stages.program.run_profiled(&inputs, &shapes)?.1)
    }
}

type Sizes = SmallVec<[usize; 4]>;

fn sizes<'a>(types: impl Iterator<Item = &'a TensorType>) -> Result<SmallVec<[Sizes; 8]>> {
    types.map(|ty| ty.shape.iter().map(|d| d.get()).collect::<Result<Sizes>>()).collect()
}

fn run_program(program: &Program, inputs: &[Buffer], types: &[&TensorType]) -> Result<Vec<(TensorType, Buffer)>> {
    if program.symbols.is_empty() {
        let outputs = program.run(inputs)?;
        return Ok(program.outputs.iter().map(|o| o.ty.clone()).zip(outputs).collect());
    }
    let sizes = sizes(types.iter().copied())?;
    let shapes: SmallVec<[&[usize]; 8]> = sizes.iter().map(|s| s.as_slice()).collect();
    let outputs = program.run_with_shapes(inputs, &shapes)?;
    let value = |symbol| {
        let (_, input, axis) = program.symbols.iter().find(|(s, _, _)| *s == symbol)?;
        Some(types[*input].shape[*axis])
    };
    let concrete = |ty: &TensorType| ty.with_shape(ty.shape.iter().map(|d: &Dim| d.substitute(&value)));
    Ok(program.outputs.iter().map(|o| concrete(&o.ty)).zip(outputs).collect())
}
