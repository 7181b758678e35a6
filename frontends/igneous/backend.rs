//! The one place where graphs become programs.

use igneous_compiler::compile;
use igneous_ir::{Dim, Graph, Result, TensorType};
use igneous_runtime::program::{Place, Program};
use igneous_runtime::{Buffer, LaunchTime};
use smallvec::SmallVec;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

pub use igneous_compiler::{Compiled as Stages, Precision};
pub(crate) use igneous_compiler::{Options, Variables};

/// Where compiled functions write their stages.
static DUMP: LazyLock<Option<PathBuf>> = LazyLock::new(|| std::env::var_os("IGNEOUS_DUMP").map(PathBuf::from));

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
    /// Compiles `graph`. With `IGNEOUS_DUMP` set, every stage is written into a folder of that directory.
    pub(crate) fn build_and_dump(graph: &Graph, variables: &Variables, options: &Options) -> Result<Executable> {
        let executable = Executable::build(graph, variables, options)?;
        if let Some(directory) = &*DUMP {
            static COUNT: AtomicUsize = AtomicUsize::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            executable.stages.dump(&directory.join(format!("{number:02}_{}", graph.name)))?;
        }
        Ok(executable)
    }

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
    /// the program prepares from inputs is made anew when one of their numbers has changed. `times` receives the time of
    /// each launch. The inputs come back as they were given.
    pub(crate) fn run(
        &self,
        inputs: &mut Vec<Buffer>,
        types: &[&TensorType],
        version: impl Fn(usize) -> u64,
        times: Option<&mut Vec<LaunchTime>>,
    ) -> Result<Vec<(TensorType, Buffer)>> {
        let given = inputs.len();
        // Moved behind the inputs, not copied with them: an input that is overwritten has one handle.
        inputs.extend(self.prepare(inputs, types, version)?);
        let types: SmallVec<[&TensorType; 8]> = types.iter().copied().chain(&self.stages.program.inputs[given..]).collect();
        let outputs = run_program(&self.stages.program, inputs, &types, times);
        inputs.truncate(given);
        outputs
    }

    /// Runs a kernel of eager mode on inputs with these extents.
    pub(crate) fn run_kernel(&self, inputs: &[Buffer], shapes: &[&[usize]]) -> Result<Vec<Buffer>> {
        let program = &self.stages.program;
        if program.symbols.is_empty() { program.run(inputs) } else { program.run_with_shapes(inputs, shapes) }
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
        let made = run_program(&prepare.program, &chosen, &chosen_types, None)?;
        let values: Vec<Buffer> = made.into_iter().map(|(_, buffer)| buffer).collect();
        *prepared = Some(Prepared { versions, values: values.clone() });
        Ok(values)
    }
}

type Sizes = SmallVec<[usize; 4]>;

fn sizes<'a>(types: impl Iterator<Item = &'a TensorType>) -> Result<SmallVec<[Sizes; 8]>> {
    types.map(|ty| ty.shape.iter().map(|d| d.get()).collect::<Result<Sizes>>()).collect()
}

fn run_program(
    program: &Program,
    inputs: &[Buffer],
    types: &[&TensorType],
    times: Option<&mut Vec<LaunchTime>>,
) -> Result<Vec<(TensorType, Buffer)>> {
    if program.symbols.is_empty() && times.is_none() {
        let outputs = program.run(inputs)?;
        return Ok(program.outputs.iter().map(|o| o.ty.clone()).zip(outputs).collect());
    }
    let sizes = sizes(types.iter().copied())?;
    let shapes: SmallVec<[&[usize]; 8]> = sizes.iter().map(|s| s.as_slice()).collect();
    let outputs = match times {
        None => program.run_with_shapes(inputs, &shapes)?,
        Some(times) => {
            let (outputs, measured) = program.run_profiled(inputs, &shapes)?;
            times.extend(measured);
            outputs
        }
    };
    let value = |symbol| {
        let (_, input, axis) = program.symbols.iter().find(|(s, _, _)| *s == symbol)?;
        Some(types[*input].shape[*axis])
    };
    let concrete = |ty: &TensorType| ty.with_shape(ty.shape.iter().map(|d: &Dim| d.substitute(&value)));
    Ok(program.outputs.iter().map(|o| concrete(&o.ty)).zip(outputs).collect())
}
