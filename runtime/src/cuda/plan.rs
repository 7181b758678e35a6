//! A program with numbers for its dimensions: addresses relative to a frame, and the steps of a run.

use super::{Alternative, Call, Choice, CudaWork, ErrorTag, KernelText};
use crate::buffer::ALIGNMENT;
use crate::executor::scope::{Scope, Values, bind_symbols};
use crate::library::Layout;
use crate::program::{Launch, LibraryWork, Place, Program, Work};
use igneous_ir::dim::{Dim, Symbol};
use igneous_ir::error::{Error, Result};
use igneous_ir::types::TensorType;
use std::sync::Arc;

/// A program among those that are carried out together, and the programs inside of it.
pub(super) struct Loaded {
    pub program: Arc<Program>,
    /// For each launch the numbers of the programs it runs.
    pub inner: Vec<Vec<usize>>,
}

impl Loaded {
    /// A program and all inside of it, the outermost first.
    pub fn all(program: &Arc<Program>) -> Vec<Loaded> {
        let mut all = Vec::new();
        load(program, &mut all);
        all
    }
}

fn load(program: &Arc<Program>, all: &mut Vec<Loaded>) -> usize {
    let number = all.len();
    all.push(Loaded { program: program.clone(), inner: Vec::new() });
    for launch in &program.launches {
        let bodies: Vec<&Arc<Program>> = launch.work.iter().flat_map(Work::programs).collect();
        let inner = bodies.into_iter().map(|p| load(p, all)).collect();
        all[number].inner.push(inner);
    }
    number
}

/// See the module.
pub(super) struct Plan {
    /// The number of the program.
    pub program: usize,
    /// Bytes of each input.
    pub inputs: Vec<usize>,
    /// The buffer of each output, and its bytes.
    pub outputs: Vec<(usize, usize)>,
    pub places: Vec<At>,
    /// Bytes of each buffer.
    pub sizes: Vec<usize>,
    /// Bytes of a frame: the arena, then what one step at a time needs besides.
    pub memory: usize,
    pub steps: Vec<Step>,
    /// Whether a check of the program or of one inside of it can fail.
    pub checks: bool,
    /// Whether the host reads something during a run: a condition, or the operands of one of its functions.
    pub waits: bool,
    /// What overwriting an input has to do with checks.
    pub overwrites: Overwrites,
}

/// What a program overwrites.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Overwrites {
    /// No input.
    Nothing,
    /// Inputs, by kernels that do nothing once a check has failed.
    Guarded,
    /// Inputs, by something that knows nothing of checks.
    Unguarded,
}

/// [`Place`] in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum At {
    Input(usize),
    /// The memory of this output, which starts out with the contents of an input.
    InOut {
        input: usize,
        output: usize,
    },
    Output(usize),
    /// In the frame.
    Memory(usize),
    Constant(usize),
}

pub(super) struct Step {
    /// The buffers of the launch.
    pub params: Vec<usize>,
    pub commits: bool,
    pub action: Action,
}

pub(super) enum Action {
    Kernel(Kernel),
    Copy { bytes: usize },
    Library(Library),
    Call(Inner),
    Scan(Scan),
    Cond { then: Inner, otherwise: Inner },
    While(While),
}

/// A kernel, with numbers for everything.
pub(super) struct Kernel {
    pub kernel: Arc<KernelText>,
    pub grid: u32,
    pub shared: u32,
    /// The values of the symbols that it takes.
    pub symbols: Vec<i64>,
    /// Where its scratch memory lies in the frame, if it has some.
    pub scratch: Option<usize>,
    /// What may be done in its place.
    pub library: Option<Compute>,
}

impl Kernel {
    /// The arguments of a launch with parameters at these addresses.
    pub fn arguments(&self, params: Vec<u64>, error: u64, tag: ErrorTag, frame: u64) -> Vec<u64> {
        let mut arguments = params;
        arguments.extend(self.symbols.iter().map(|&v| v as u64));
        arguments.push(error);
        arguments.push(tag.argument());
        arguments.extend(self.scratch.map(|offset| frame + offset as u64));
        arguments
    }
}

/// What a library can do in place of a kernel.
pub(super) struct Compute {
    pub call: Call,
    /// The parameters of the launch that it takes, and at which byte they begin.
    pub operands: Vec<(usize, usize)>,
    /// Who does it.
    pub choice: Choice,
}

impl Compute {
    /// What it takes in a launch with parameters at these addresses.
    pub fn addresses(&self, params: &[u64]) -> Vec<u64> {
        self.operands.iter().map(|&(param, offset)| params[param] + offset as u64).collect()
    }
}

/// An operator that a function of the host computes.
pub(super) struct Library {
    pub work: LibraryWork,
    pub operands: Vec<Layout>,
    pub results: Vec<Layout>,
}

/// A program inside of another, and where its frame lies in the outer one.
pub(super) struct Inner {
    pub plan: Plan,
    pub frame: usize,
}

pub(super) struct Scan {
    pub body: Inner,
    pub steps: usize,
    pub constants: usize,
    /// For each carry the place where every second step puts it; none if it stays as it is.
    pub spare: Vec<Option<usize>>,
    pub reverse: bool,
}

pub(super) struct While {
    pub condition: Inner,
    pub body: Inner,
    pub constants: usize,
    pub spare: Vec<Option<usize>>,
    pub bound: Option<u32>,
    /// Where the condition says whether it holds.
    pub holds: usize,
}

impl Plan {
    /// Plans the program with this number for inputs of these shapes.
    pub fn new(all: &[Loaded], number: usize, shapes: &[&[usize]]) -> Result<Plan> {
        let program = &all[number].program;
        let dims = bind_symbols(program, shapes)?;
        Plan::resolve(all, number, dims).map_err(|e| e.context(format!("program `{}`", program.name)))
    }

    fn resolve(all: &[Loaded], number: usize, dims: Values) -> Result<Plan> {
        let program = &*all[number].program;
        let scope = Scope { symbols: &program.symbols, values: &dims };
        let inputs = program.inputs.iter().map(|ty| scope.bytes(ty)).collect::<Result<Vec<_>>>()?;
        let bytes = program.buffers.iter().map(|b| scope.bytes(&b.ty)).collect::<Result<Vec<_>>>()?;
        let outputs = program.outputs.iter().map(|o| (o.buffer, bytes[o.buffer])).collect();
        let mut memory = 0;
        let mut places = Vec::new();
        for (buffer, spec) in program.buffers.iter().enumerate() {
            let output = program.outputs.iter().position(|o| o.buffer == buffer);
            let output = output.ok_or_else(|| Error::new(format!("buffer {buffer} is returned, but is no output")));
            places.push(match spec.place {
                Place::Input(input) => At::Input(input),
                Place::InOut(input) => At::InOut { input, output: output? },
                Place::Result => At::Output(output?),
                Place::Constant(constant) => At::Constant(constant),
                Place::Arena(offset) => {
                    let offset = scope.size(offset)?;
                    memory = memory.max(offset + bytes[buffer]);
                    At::Memory(offset)
                }
            });
        }
        let arena = memory.next_multiple_of(ALIGNMENT);
        let mut planner = Planner { all, number, scope, bytes: &bytes, arena, memory: arena, steps: Vec::new() };
        for index in 0..program.launches.len() {
            planner.launch(index).map_err(|e| e.context(format!("launch {index} (`{}`)", program.launches[index].name)))?;
        }
        let Planner { memory, steps, .. } = planner;
        let checks = !program.checks.is_empty() || steps.iter().any(|s| s.action.inner().iter().any(|p| p.plan.checks));
        let reads = |action: &Action| matches!(action, Action::Library(_) | Action::Cond { .. } | Action::While(_));
        let waits = steps.iter().any(|s| reads(&s.action) || s.action.inner().iter().any(|p| p.plan.waits));
        let of_step = |step: &Step| match (&step.action, step.commits) {
            (_, false) => Overwrites::Nothing,
            (Action::Kernel(_), true) => Overwrites::Guarded,
            _ => Overwrites::Unguarded,
        };
        let overwrites = steps.iter().map(of_step).max().unwrap_or(Overwrites::Nothing);
        Ok(Plan { program: number, inputs, outputs, places, sizes: bytes, memory, steps, checks, waits, overwrites })
    }
}

impl Action {
    pub fn inner(&self) -> Vec<&Inner> {
        match self {
            Action::Call(inner) => vec![inner],
            Action::Scan(scan) => vec![&scan.body],
            Action::Cond { then, otherwise } => vec![then, otherwise],
            Action::While(repeated) => vec![&repeated.condition, &repeated.body],
            Action::Kernel(_) | Action::Copy { .. } | Action::Library(_) => Vec::new(),
        }
    }
}

struct Planner<'a> {
    all: &'a [Loaded],
    number: usize,
    scope: Scope<'a>,
    bytes: &'a [usize],
    arena: usize,
    memory: usize,
    steps: Vec<Step>,
}

/// Reserves memory behind the arena for one launch.
struct Reserve(usize);

impl Reserve {
    fn take(&mut self, bytes: usize) -> usize {
        let at = self.0;
        self.0 += bytes.next_multiple_of(ALIGNMENT);
        at
    }
}

impl Planner<'_> {
    fn launch(&mut self, index: usize) -> Result<()> {
        let program = &*self.all[self.number].program;
        let launch = &program.launches[index];
        if launch.params.iter().any(|&p| p >= program.buffers.len()) {
            return Err(Error::new("a parameter names a buffer that is not there"));
        }
        let sizes = |&p: &usize| Ok(self.scope.sizes(&program.buffers[p].ty)?.to_vec());
        let shapes = launch.params.iter().map(sizes).collect::<Result<Vec<Vec<usize>>>>()?;
        let mut reserve = Reserve(self.arena);
        let scratch = launch.work.iter().try_fold(0, |most: usize, work| match work {
            Work::Cuda(work) => Ok(most.max(self.scope.size(work.scratch)?)),
            _ => Ok::<usize, Error>(most),
        })?;
        let scratch = (scratch > 0).then(|| reserve.take(scratch));
        let mut inner = self.all[self.number].inner[index].iter().copied();
        let mut next = || inner.next().expect("each program inside of a launch is loaded");
        for work in &launch.work {
            let action = match work {
                Work::Cuda(work) => self.kernel(work, launch, scratch)?,
                Work::Copy => {
                    let &[from, to] = &launch.params[..] else { return Err(Error::new("a copy has two parameters")) };
                    if self.bytes[from] != self.bytes[to] {
                        return Err(Error::new("a copy has parameters of different sizes"));
                    }
                    Action::Copy { bytes: self.bytes[from] }
                }
                Work::Library(work) => {
                    let layout = |ty: &TensorType| Ok(Layout { dtype: ty.dtype, shape: self.scope.sizes(ty)?.to_vec() });
                    let operands = work.operands.iter().map(layout).collect::<Result<Vec<_>>>()?;
                    let results = work.results.iter().map(layout).collect::<Result<Vec<_>>>()?;
                    Action::Library(Library { work: (**work).clone(), operands, results })
                }
                Work::Call(body) => {
                    let inputs: Vec<&[usize]> = shapes[..body.inputs.len()].iter().map(|s| &s[..]).collect();
                    Action::Call(self.inner(next(), &inputs, &mut reserve)?)
                }
                Work::Scan(scan) => {
                    let steps = self.scope.size(scan.steps)?;
                    let repeated = scan.constants + scan.carries;
                    let element = |(i, s): (usize, &Vec<usize>)| if i < repeated { s.clone() } else { s[1..].to_vec() };
                    let given = shapes.get(..scan.body.inputs.len()).ok_or_else(|| Error::new("a scan lacks parameters"))?;
                    let elements: Vec<Vec<usize>> = given.iter().enumerate().map(element).collect();
                    let elements: Vec<&[usize]> = elements.iter().map(|s| &s[..]).collect();
                    let body = self.inner(next(), &elements, &mut reserve)?;
                    let spare = spares(&body.plan, scan.constants, scan.carries, &mut reserve);
                    Action::Scan(Scan { body, steps, constants: scan.constants, spare, reverse: scan.reverse })
                }
                Work::Cond(cond) => {
                    let inputs: Vec<&[usize]> = shapes[1..1 + cond.then.inputs.len()].iter().map(|s| &s[..]).collect();
                    let then = self.inner(next(), &inputs, &mut reserve)?;
                    Action::Cond { then, otherwise: self.inner(next(), &inputs, &mut reserve)? }
                }
                Work::While(repeated) => {
                    let inputs: Vec<&[usize]> = shapes[..repeated.body.inputs.len()].iter().map(|s| &s[..]).collect();
                    let condition = self.inner(next(), &inputs, &mut reserve)?;
                    let body = self.inner(next(), &inputs, &mut reserve)?;
                    let spare = spares(&body.plan, repeated.constants, body.plan.outputs.len(), &mut reserve);
                    let holds = reserve.take(1);
                    Action::While(While { condition, body, constants: repeated.constants, spare, bound: repeated.bound, holds })
                }
                Work::Loop(_) | Work::Dot(_) | Work::Attention(_) => {
                    return Err(Error::new("this program was compiled for a CPU"));
                }
            };
            self.steps.push(Step { params: launch.params.clone(), commits: launch.commits, action });
        }
        self.memory = self.memory.max(reserve.0);
        Ok(())
    }

    fn kernel(&self, work: &CudaWork, launch: &Launch, scratch: Option<usize>) -> Result<Action> {
        let narrow = |what: &str, d| {
            let value = self.scope.size(d)?;
            u32::try_from(value)
                .ok()
                .filter(|&v| v <= i32::MAX as u32)
                .ok_or_else(|| Error::new(format!("{value} {what} are too many")))
        };
        let value = |s: &Symbol| self.scope.eval(Dim::symbol(s.name, s.lo, s.hi));
        let symbols = work.symbols.iter().map(value).collect::<Result<Vec<_>>>()?;
        let needs = work.scratch != Dim::ZERO;
        Ok(Action::Kernel(Kernel {
            kernel: work.kernel.clone(),
            grid: narrow("blocks", work.grid)?.max(1),
            shared: narrow("bytes of shared memory", work.shared)?,
            symbols,
            // The kernel takes the address also where no byte is needed.
            scratch: needs.then_some(scratch.unwrap_or(self.arena)),
            // A library knows nothing of a check that has failed.
            library: work.library.as_deref().filter(|_| !launch.commits).and_then(|library| self.compute(library)),
        }))
    }

    fn compute(&self, Alternative { operation, choices }: &Alternative) -> Option<Compute> {
        let size = |d: Dim| self.scope.size(d).ok();
        let call = operation.call(&size)?;
        let choice = choices.of(&call.to_string(), call.multiplications());
        Some(Compute { operands: operation.operands(&size)?, call, choice })
    }

    /// A program whose frame is taken from the reserve.
    fn inner(&self, number: usize, shapes: &[&[usize]], reserve: &mut Reserve) -> Result<Inner> {
        let plan = Plan::new(self.all, number, shapes)?;
        let frame = reserve.take(plan.memory);
        Ok(Inner { plan, frame })
    }
}

/// A second place for each carry that steps replace.
fn spares(body: &Plan, constants: usize, carries: usize, reserve: &mut Reserve) -> Vec<Option<usize>> {
    let spare = |(c, &(buffer, bytes)): (usize, &(usize, usize))| {
        (body.places[buffer] != At::Input(constants + c)).then(|| reserve.take(bytes))
    };
    body.outputs[..carries].iter().enumerate().map(spare).collect()
}
