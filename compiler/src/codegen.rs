//! From lowered steps to a program: machine code, memory plan, launches.

use crate::cpu::{self, CpuCode, Listing};
use crate::cuda;
use crate::driver::{Backend, Options};
use crate::fuse::{FusionLog, Sideways};
use crate::lower::{Flat, FlatStep, Lowered, StepKind, lower};
use crate::plan::{Plan, plan};
use crate::schedule::license;
use igneous_ir::dim::{Dim, Symbol};
use igneous_ir::error::{Error, Result};
use igneous_ir::graph::Region;
use igneous_ir::kernel::Kernel;
use igneous_ir::types::TensorType;
use igneous_runtime::program::{BufferSpec, CondWork, Launch, Output, Place, Program, ScanWork, WhileWork, Work};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

/// A program and what it was made of.
pub struct Built {
    /// The program.
    pub program: Program,
    /// Its kernels, those of nested programs included.
    pub kernels: Vec<Kernel>,
    /// The code of each function.
    pub listings: Vec<Listing>,
    /// What fusion did.
    pub log: FusionLog,
    /// The memory map as text.
    pub memory: String,
    /// The bytes of the arena.
    pub arena: Dim,
}

/// The bytes of the arena that these steps would have; symbolic extents count with the ends of their ranges.
///
/// # Errors
/// If a range has no end that can be counted with.
pub fn arena(lowered: Lowered, variables: &[(usize, usize)], options: &Options) -> Result<i64> {
    let Lowered { flat, mut kernels, .. } = lowered;
    kernels.iter_mut().for_each(|kernel| license(kernel, options.precision.licences()));
    let arena = plan(&flat, &kernels, variables).arena;
    let largest = arena.eval(&|s| (s.hi < i64::from(i32::MAX)).then_some(s.hi));
    largest.ok_or_else(|| Error::new(format!("a memory budget needs ranges for the extents that the arena depends on: {arena}")))
}

/// Generates code and plans memory.
///
/// # Errors
/// If a kernel uses what the back end does not support, or a symbol cannot be read off an input.
pub fn build(name: &str, lowered: Lowered, variables: &[(usize, usize)], options: &Options) -> Result<Built> {
    let Lowered { flat, mut kernels, checks, log, .. } = lowered;
    kernels.iter_mut().for_each(|kernel| license(kernel, options.precision.licences()));
    if cfg!(debug_assertions) {
        for kernel in &kernels {
            kernel.verify().map_err(|e| e.context(format_args!("kernel `{}` is wrong", kernel.name)))?;
        }
    }
    let plan = plan(&flat, &kernels, variables);
    let symbols = symbols(&flat)?;
    let order: Vec<Symbol> = symbols.iter().map(|(s, _, _)| *s).collect();
    let code = match options.backend {
        Backend::Cpu => cpu::compile_kernels(&kernels, &order, &options.target)?,
        Backend::Cuda => CpuCode { work: cuda::compile_kernels(&kernels, options)?, listings: Vec::new(), memory: Arc::new(()) },
    };
    let memory = memory_map(&flat, &plan);
    let mut built =
        Built { program: empty(name), kernels: kernels.clone(), listings: code.listings, log, memory, arena: plan.arena };
    let program = &mut built.program;
    program.symbols = symbols;
    program.checks = checks;
    program.code = code.memory;
    program.inputs = flat.inputs.iter().map(|&s| flat.slots[s].ty.clone()).collect();
    // Only slots that are used become buffers.
    let mut buffer_of: Vec<usize> = vec![usize::MAX; flat.slots.len()];
    for (slot, place) in plan.places.iter().enumerate() {
        let place = match place {
            None => continue,
            Some(Place::Constant(_)) => {
                let data = flat.slots[slot].constant.clone().expect("only constants are placed so");
                program.constants.push(data);
                Place::Constant(program.constants.len() - 1)
            }
            Some(place) => place.clone(),
        };
        buffer_of[slot] = program.buffers.len();
        program.buffers.push(BufferSpec { ty: flat.slots[slot].ty.clone(), place });
    }
    let replaces = |output: usize| variables.iter().find(|(_, replaced)| *replaced == output).map(|&(input, _)| input);
    let output = |(k, (slot, ty)): (usize, &(usize, TensorType))| Output {
        ty: ty.clone(),
        buffer: buffer_of[*slot],
        replaces: replaces(k),
    };
    program.outputs = flat.outputs.iter().enumerate().map(output).collect();
    for &s in &plan.order {
        let step = &flat.steps[s];
        let (name, work) = match &step.kind {
            StepKind::Kernel(k) => (kernels[*k].name.clone(), code.work[*k].clone()),
            StepKind::Copy => ("copy".to_string(), vec![Work::Copy]),
            StepKind::Library(library) => {
                let kernel = Some(library).filter(|_| options.backend == Backend::Cuda).and_then(|l| cuda::library_work(l));
                let work = kernel.map_or_else(|| Work::Library(library.clone()), |work| Work::Cuda(Box::new(work)));
                (library.op.name().to_string(), vec![work])
            }
            StepKind::Scan(scan) => {
                let sequences = scan.body.graph().inputs().len() - scan.constants - scan.carries;
                let work = ScanWork {
                    body: built.nested("scan", &scan.body, options)?,
                    steps: scan.length,
                    constants: scan.constants,
                    carries: scan.carries,
                    sequences,
                    reverse: scan.reverse,
                };
                ("scan".to_string(), vec![Work::Scan(Box::new(work))])
            }
            StepKind::Cond(branches) => {
                let [then, otherwise] = &**branches;
                let (then, otherwise) = (built.nested("cond", then, options)?, built.nested("cond", otherwise, options)?);
                ("cond".to_string(), vec![Work::Cond(Box::new(CondWork { then, otherwise }))])
            }
            StepKind::While(repeated) => {
                let work = WhileWork {
                    condition: built.nested("while", &repeated.condition, options)?,
                    body: built.nested("while", &repeated.body, options)?,
                    constants: repeated.constants,
                    bound: repeated.bound,
                };
                ("while".to_string(), vec![Work::While(Box::new(work))])
            }
        };
        let written = step.params.iter().zip(&step.writes).filter(|(_, w)| **w).map(|(&slot, _)| slot);
        let commits = written.into_iter().any(|slot| matches!(plan.places[slot], Some(Place::InOut(_))));
        built.program.launches.push(Launch {
            name,
            params: step.params.iter().map(|&slot| buffer_of[slot]).collect(),
            work,
            flops: step.flops,
            bytes: bytes(&flat, step),
            commits,
        });
    }
    Ok(built)
}

impl Built {
    /// The program of a region.
    fn nested(&mut self, operator: &'static str, region: &Region, options: &Options) -> Result<Arc<Program>> {
        let lowered = lower(region.graph(), &BTreeSet::new(), Sideways::Freely, options)?;
        let inner = build(&region.graph().name, lowered, &[], options)?;
        self.kernels.extend(inner.kernels);
        self.listings.extend(inner.listings);
        self.log.extend(operator, inner.log);
        Ok(Arc::new(inner.program))
    }
}

fn empty(name: &str) -> Program {
    Program {
        name: name.to_string(),
        symbols: Vec::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        buffers: Vec::new(),
        constants: Vec::new(),
        launches: Vec::new(),
        checks: Vec::new(),
        code: Arc::new(()),
        plans: Default::default(),
    }
}

fn bytes(flat: &Flat, step: &FlatStep) -> Dim {
    let slots: BTreeSet<usize> = step.params.iter().copied().collect();
    slots.into_iter().fold(Dim::ZERO, |sum, slot| sum + flat.slots[slot].ty.bytes())
}

/// Every symbol with an input and an axis it can be read from: as that axis' extent if there is one, else from a multiple of it
/// and a constant.
fn symbols(flat: &Flat) -> Result<Vec<(Symbol, usize, usize)>> {
    let mut found: Vec<(Symbol, usize, usize)> = Vec::new();
    let mut needed: Vec<Symbol> = Vec::new();
    for slot in &flat.slots {
        slot.ty.shape.iter().for_each(|d| d.collect_symbols(&mut needed));
    }
    for plain in [true, false] {
        for (i, &slot) in flat.inputs.iter().enumerate() {
            for (axis, dim) in flat.slots[slot].ty.shape.iter().enumerate() {
                let known = |s: Symbol| found.iter().any(|(f, _, _)| *f == s);
                if let Some((s, factor, constant)) = dim.linear()
                    && needed.contains(&s)
                    && !known(s)
                    && (!plain || (factor, constant) == (1, 0))
                {
                    found.push((s, i, axis));
                }
            }
        }
    }
    match needed.iter().find(|s| !found.iter().any(|(f, _, _)| f == *s)) {
        None => Ok(found),
        Some(s) => Err(Error::new(format!(
            "symbolic dimension `{}` cannot be read off the extents of any input, so its value cannot be known",
            s.name
        ))),
    }
}

/// One line for each slot in order of first use, then the totals.
fn memory_map(flat: &Flat, plan: &Plan) -> String {
    let mut text = String::new();
    for (slot, place) in plan.places.iter().enumerate() {
        let Some(place) = place else { continue };
        let ty = &flat.slots[slot].ty;
        let place = match place {
            Place::Input(i) => format!("input {i}"),
            Place::InOut(i) => format!("in place of input {i}"),
            Place::Result => "result".to_string(),
            Place::Constant(_) => "constant".to_string(),
            Place::Arena(offset) => {
                let (from, to) = plan.lifetimes[&slot];
                format!("arena at {offset}, launches {from} to {to}")
            }
        };
        writeln!(text, "slot {slot:3}  {:24} {:>12} bytes  {place}", ty.to_string(), ty.bytes().to_string())
            .expect("a string takes all text");
    }
    writeln!(text, "arena {} bytes", plan.arena).expect("a string takes all text");
    text
}
