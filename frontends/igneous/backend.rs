//! The one place where graphs become programs.

use crate::device::{Device, Remote};
use igneous_compiler::{Backend, compile};
use igneous_ir::{Dim, Error, Graph, Result, TensorType};
use igneous_runtime::cuda::{DeviceBuffer, Given, Resident, device};
use igneous_runtime::program::{Place, Program};
use igneous_runtime::{Buffer, LaunchTime};
use smallvec::SmallVec;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};

pub use igneous_compiler::{Compiled as Stages, MatmulPrecision, Precision};
pub(crate) use igneous_compiler::{Options, Variables};

/// Where compiled functions write their stages.
static DUMP: LazyLock<Option<PathBuf>> = LazyLock::new(|| std::env::var_os("IGNEOUS_DUMP").map(PathBuf::from));

/// A compiled graph.
pub(crate) struct Executable {
    stages: Stages,
    in_place: Vec<bool>,
    device: Device,
    prepared: Mutex<Option<Prepared<Buffer>>>,
    /// The program on its device, once it has run there.
    on_device: OnceLock<OnDevice>,
}

/// Inputs of the program that were made from variables, and the versions those had.
struct Prepared<B> {
    versions: Vec<u64>,
    values: Vec<B>,
}

/// A program and what it prepares, on a device.
struct OnDevice {
    program: Resident,
    prepare: Option<Resident>,
    prepared: Mutex<Option<Prepared<DeviceBuffer>>>,
}

/// An input of a run on a device: the elements, and a number for the contents of those that may be sent once and used again.
pub(crate) struct Sent {
    pub(crate) elements: Elements,
    pub(crate) version: Option<u64>,
}

/// Where the elements of an input are.
pub(crate) enum Elements {
    Host(Buffer),
    Device(DeviceBuffer),
}

impl Sent {
    fn given(&self) -> Given<'_> {
        match &self.elements {
            Elements::Host(buffer) => Given::Host(buffer, self.version),
            Elements::Device(block) => Given::Device(block),
        }
    }
}

impl Executable {
    /// Compiles `graph`. With `IGNEOUS_DUMP` set, every stage is written into a folder of that directory.
    pub(crate) fn build_and_dump(graph: &Graph, variables: &Variables, options: &Options, device: Device) -> Result<Executable> {
        let executable = Executable::build(graph, variables, options, device)?;
        if let Some(directory) = &*DUMP {
            static COUNT: AtomicUsize = AtomicUsize::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            executable.stages.dump(&directory.join(format!("{number:02}_{}", graph.name)))?;
        }
        Ok(executable)
    }

    /// Compiles `graph` for a device, which need not be there.
    pub(crate) fn build(graph: &Graph, variables: &Variables, options: &Options, device: Device) -> Result<Executable> {
        let backend = if device == Device::Cpu { Backend::Cpu } else { Backend::Cuda };
        let stages = compile(graph, variables, &Options { backend, ..options.clone() })?;
        let places: Vec<&Place> = stages.program.buffers.iter().map(|b| &b.place).collect();
        let in_place = (0..graph.inputs().len()).map(|i| places.contains(&&Place::InOut(i))).collect();
        Ok(Executable { stages, in_place, device, prepared: Mutex::new(None), on_device: OnceLock::new() })
    }

    /// Everything that can be seen of the compilation.
    pub(crate) fn stages(&self) -> &Stages {
        &self.stages
    }

    /// Where it runs.
    pub(crate) fn device(&self) -> Device {
        self.device
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

    /// As [`run_kernel`](Executable::run_kernel), on the kernel's device, where the outputs stay.
    pub(crate) fn run_kernel_on_device(&self, inputs: &[Sent], types: &[&TensorType]) -> Result<Vec<Remote>> {
        Ok(self.run_on_device(inputs, types, |_| 0)?.into_iter().map(|(_, remote)| remote).collect())
    }

    fn prepare(&self, inputs: &[Buffer], types: &[&TensorType], version: impl Fn(usize) -> u64) -> Result<Vec<Buffer>> {
        let Some(prepare) = &self.stages.prepare else { return Ok(Vec::new()) };
        kept(&self.prepared, prepare.inputs.iter().map(|&i| version(i)).collect(), || {
            let chosen: Vec<Buffer> = prepare.inputs.iter().map(|&i| inputs[i].clone()).collect();
            let types: Vec<&TensorType> = prepare.inputs.iter().map(|&i| types[i]).collect();
            let made = run_program(&prepare.program, &chosen, &types, None)?;
            Ok(made.into_iter().map(|(_, buffer)| buffer).collect())
        })
    }

    /// As [`run`](Executable::run), on the program's device, where the outputs stay. An input that lies there and that the program
    /// overwrites is overwritten if this is its only handle.
    pub(crate) fn run_on_device(
        &self,
        inputs: &[Sent],
        types: &[&TensorType],
        version: impl Fn(usize) -> u64,
    ) -> Result<Vec<(TensorType, Remote)>> {
        let on_device = self.on_device()?;
        let prepared = match (&self.stages.prepare, &on_device.prepare) {
            (Some(prepare), Some(program)) => {
                kept(&on_device.prepared, prepare.inputs.iter().map(|&i| version(i)).collect(), || {
                    let given: Vec<Given<'_>> = prepare.inputs.iter().map(|&i| inputs[i].given()).collect();
                    let sizes = sizes(prepare.inputs.iter().map(|&i| types[i]))?;
                    program.run(&given, &slices(&sizes))
                })?
            }
            _ => Vec::new(),
        };
        let program = &self.stages.program;
        let given: Vec<Given<'_>> = inputs.iter().map(Sent::given).chain(prepared.iter().map(Given::Device)).collect();
        let types: SmallVec<[&TensorType; 8]> = types.iter().copied().chain(&program.inputs[inputs.len()..]).collect();
        let sizes = sizes(types.iter().copied())?;
        let outputs = on_device.program.run(&given, &slices(&sizes))?;
        let remote = outputs.into_iter().map(|block| Remote::new(self.device, block));
        Ok(concrete(program, &types).zip(remote).collect())
    }

    fn on_device(&self) -> Result<&OnDevice> {
        if let Some(known) = self.on_device.get() {
            return Ok(known);
        }
        let Device::Cuda(number) = self.device else { return Err(Error::new("the program was compiled for the host")) };
        let load = || {
            let device = device(number)?;
            let load = |program| Resident::new(&device, program);
            Ok(OnDevice {
                program: load(&self.stages.program)?,
                prepare: self.stages.prepare.as_ref().map(|p| load(&p.program)).transpose()?,
                prepared: Mutex::new(None),
            })
        };
        let loaded = load().map_err(|e: Error| e.context(format!("device {}", self.device)))?;
        // Another thread may have been faster: both have loaded the same.
        Ok(self.on_device.get_or_init(|| loaded))
    }
}

/// What was made of inputs with these versions; `make` makes it anew.
fn kept<B: Clone>(
    prepared: &Mutex<Option<Prepared<B>>>,
    versions: Vec<u64>,
    make: impl FnOnce() -> Result<Vec<B>>,
) -> Result<Vec<B>> {
    let mut prepared = prepared.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = &*prepared
        && known.versions == versions
    {
        return Ok(known.values.clone());
    }
    let values = make()?;
    *prepared = Some(Prepared { versions, values: values.clone() });
    Ok(values)
}

type Sizes = SmallVec<[usize; 4]>;

fn sizes<'a>(types: impl Iterator<Item = &'a TensorType>) -> Result<SmallVec<[Sizes; 8]>> {
    types.map(|ty| ty.shape.iter().map(|d| d.get()).collect::<Result<Sizes>>()).collect()
}

fn slices(sizes: &[Sizes]) -> SmallVec<[&[usize]; 8]> {
    sizes.iter().map(|s| s.as_slice()).collect()
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
    let shapes = slices(&sizes);
    let outputs = match times {
        None => program.run_with_shapes(inputs, &shapes)?,
        Some(times) => {
            let (outputs, measured) = program.run_profiled(inputs, &shapes)?;
            times.extend(measured);
            outputs
        }
    };
    Ok(concrete(program, types).zip(outputs).collect())
}

/// The types of a program's outputs for inputs of these types.
fn concrete<'a>(program: &'a Program, types: &'a [&TensorType]) -> impl Iterator<Item = TensorType> + 'a {
    let value = |symbol| {
        let (_, input, axis) = program.symbols.iter().find(|(s, _, _)| *s == symbol)?;
        Some(types[*input].shape[*axis])
    };
    program.outputs.iter().map(move |o| o.ty.with_shape(o.ty.shape.iter().map(|d: &Dim| d.substitute(&value))))
}
