//! A program with numbers for its dimensions: what every run of those shapes needs, made once.

use super::attention::PlannedAttention;
use super::boxes::{Bounds, Grid, group, tasks_for};
use super::control::{PlannedCond, PlannedWhile};
use super::dot::PlannedDot;
use super::frame::Frame;
use super::inner::{Param, PlannedCall, PlannedScan};
use super::library::PlannedLibrary;
use super::panels::PlannedPanels;
use super::scope::{Scope, Values};
use super::steps::{Action, Boxes, Piece, PieceWork, Step};
use crate::buffer::ALIGNMENT;
use crate::program::{BufferSpec, Launch, LoopWork, Place, Program, Work};
use igneous_ir::error::{Error, Result};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Frames of at most this many bytes keep their memory whatever their program's shapes.
const SMALL: usize = 4096;

/// See the module.
pub(super) struct Plan {
    /// The number of threads the work is cut for.
    pub threads: usize,
    /// The values of the symbols.
    pub dims: Values,
    /// Bytes of each input.
    pub inputs: Vec<usize>,
    /// The buffer of each output, and its bytes.
    pub outputs: Vec<(usize, usize)>,
    /// Where each buffer lies.
    pub places: Vec<PlannedPlace>,
    /// Bytes of the memory of a frame: the arena, then what steps need besides.
    pub memory: usize,
    /// The buffer behind each entry of the pointer table.
    pub table: Vec<usize>,
    /// The entries whose buffer has another address in every run.
    pub moving: Vec<usize>,
    /// What is done once for many runs with the same fixed inputs: the entry of the pointer table where parameters start, and the
    /// work.
    pub once: Vec<(usize, Boxes)>,
    /// The work.
    pub steps: Vec<Step>,
    /// Whether frames keep their memory between runs: only programs of one shape do, and small ones.
    pub keep_memory: bool,
    /// The frames that no run uses at the moment.
    pub frames: Mutex<Vec<Frame>>,
}

/// [`Place`] in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PlannedPlace {
    /// An input's memory.
    Input(usize),
    /// The memory of this output, which starts out with the contents of an input.
    InOut { input: usize, output: usize },
    /// The memory of this output.
    Output(usize),
    /// In the frame's memory.
    Memory(usize),
    /// A constant of the program.
    Constant(usize),
}

impl Plan {
    /// The first `fixed` inputs are the same in many runs.
    pub fn new(program: &Program, dims: Values, threads: usize, fixed: usize) -> Result<Plan> {
        Plan::resolve(program, dims, threads, fixed).map_err(|e| e.context(format!("program `{}`", program.name)))
    }

    fn resolve(program: &Program, dims: Values, threads: usize, fixed: usize) -> Result<Plan> {
        let scope = Scope { symbols: &program.symbols, values: &dims };
        let inputs = program.inputs.iter().map(|ty| scope.bytes(ty)).collect::<Result<Vec<_>>>()?;
        let bytes = program.buffers.iter().map(|b| scope.bytes(&b.ty)).collect::<Result<Vec<_>>>()?;
        let mut outputs = Vec::new();
        for output in &program.outputs {
            let held = bytes.get(output.buffer).copied();
            if held != Some(scope.bytes(&output.ty)?) {
                return Err(Error::new("an output's buffer is missing or of another size"));
            }
            outputs.push((output.buffer, scope.bytes(&output.ty)?));
        }
        let mut memory = 0;
        let mut places = Vec::new();
        for (buffer, spec) in program.buffers.iter().enumerate() {
            let output = program.outputs.iter().position(|o| o.buffer == buffer);
            let output = output.ok_or_else(|| Error::new(format!("buffer {buffer} is returned, but is no output")));
            let place = match spec.place {
                Place::Input(input) => PlannedPlace::Input(input),
                Place::InOut(input) => PlannedPlace::InOut { input, output: output? },
                Place::Result => PlannedPlace::Output(output?),
                Place::Constant(constant) => PlannedPlace::Constant(constant),
                Place::Arena(offset) => {
                    let offset = scope.size(offset)?;
                    if !offset.is_multiple_of(ALIGNMENT) {
                        return Err(Error::new(format!("buffer {buffer} lies at {offset}, no multiple of {ALIGNMENT}")));
                    }
                    memory = memory.max(offset + bytes[buffer]);
                    PlannedPlace::Memory(offset)
                }
            };
            let room = match place {
                PlannedPlace::Input(input) | PlannedPlace::InOut { input, .. } => inputs.get(input).copied(),
                PlannedPlace::Constant(constant) => program.constants.get(constant).map(|c| c.len()),
                _ => Some(bytes[buffer]),
            };
            if room != Some(bytes[buffer]) {
                return Err(Error::new(format!("buffer {buffer} does not fit {:?}", spec.place)));
            }
            places.push(place);
        }

        // What lasts for many runs lies before what steps need one after the other.
        let (panels, arena) = panels(program, scope, threads, fixed, memory.next_multiple_of(ALIGNMENT))?;
        let mut planner = Planner {
            program,
            scope,
            threads,
            arena,
            memory: arena,
            once: Vec::new(),
            steps: Vec::new(),
            table: Vec::new(),
            bytes: &bytes,
            panels,
        };
        for (index, launch) in program.launches.iter().enumerate() {
            planner.launch(index, launch).map_err(|e| e.context(format!("launch {index} (`{}`)", launch.name)))?;
        }
        let Planner { memory, once, steps, table, .. } = planner;
        let settled = |b: usize| matches!(places[b], PlannedPlace::Memory(_) | PlannedPlace::Constant(_));
        let moving = (0..table.len()).filter(|&entry| !settled(table[entry])).collect();
        let keep_memory = program.symbols.is_empty() || memory <= SMALL;
        let frames = Mutex::new(Vec::new());
        Ok(Plan { threads, dims, inputs, outputs, places, memory, table, moving, once, steps, keep_memory, frames })
    }
}

/// The panels of each dot that has some, by launch and section.
type Panels = BTreeMap<(usize, usize), PlannedPanels>;

/// Builds the steps.
struct Planner<'a> {
    program: &'a Program,
    scope: Scope<'a>,
    threads: usize,
    /// Where the memory that steps need besides the arena starts; all steps use the same.
    arena: usize,
    memory: usize,
    once: Vec<(usize, Boxes)>,
    steps: Vec<Step>,
    table: Vec<usize>,
    bytes: &'a [usize],
    panels: Panels,
}

impl Planner<'_> {
    fn launch(&mut self, index: usize, launch: &Launch) -> Result<()> {
        if launch.params.iter().any(|&p| p >= self.program.buffers.len()) {
            return Err(Error::new("a parameter names a buffer that is not there"));
        }
        let params = self.table.len();
        self.table.extend(&launch.params);
        let mut actions = Vec::new();
        let mut behind = self.arena;
        let (mut once, mut preparations, mut work, mut sums) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let cost: f64 = launch.work.iter().map(|w| loop_cost(w, self.scope)).sum::<Result<f64>>()?;
        let tasks = tasks_for(cost, self.threads);
        for (number, section) in launch.work.iter().enumerate() {
            match section {
                Work::Loop(section) => {
                    let most = if section.rows { tasks.min(self.threads) } else { tasks };
                    let wanted = (most as f64 * section_cost(section, self.scope)? / cost.max(1e-9)).round() as usize;
                    let own = match &section.params {
                        None => 0,
                        Some(chosen) => {
                            let behind = self.table.len() - params;
                            for &p in chosen {
                                let buffer = launch.params.get(p);
                                self.table.push(*buffer.ok_or_else(|| Error::new("a loop names a parameter that is not there"))?);
                            }
                            behind
                        }
                    };
                    work.push(plan_loop(section, own, wanted, self.scope)?);
                }
                Work::Dot(section) => {
                    let panels = self.panels.remove(&(index, number));
                    let lasts = panels.is_some();
                    let mut dot = PlannedDot::new(section, launch.params.len(), self.scope, panels)?;
                    behind += dot.place_memory(behind);
                    let dot = Arc::new(dot);
                    if dot.preparations().0 > 0 {
                        let phase = if lasts { &mut once } else { &mut preparations };
                        phase.push((dot.preparations(), PieceWork::Prepare(dot.clone())));
                    }
                    work.push((dot.products(), PieceWork::Product(dot.clone())));
                    if dot.sums().0 > 0 {
                        sums.push((dot.sums(), PieceWork::Sum(dot)));
                    }
                }
                Work::Attention(section) => {
                    let attention = PlannedAttention::new(section, launch.params.len(), self.scope)?;
                    work.push((attention.boxes(), PieceWork::Attention(Box::new(attention))));
                }
                Work::Copy => {
                    let &[from, to] = &launch.params[..] else { return Err(Error::new("a copy has two parameters")) };
                    if self.bytes[from] != self.bytes[to] {
                        return Err(Error::new("a copy has parameters of different sizes"));
                    }
                    let grid = Grid::of_chunks([self.bytes[from] as i64], [1 << 18]);
                    work.push(((grid.boxes(), (1 << 18) as f64 / 10.0), PieceWork::Copy(grid)));
                }
                Work::Library(library) => {
                    let bytes: Vec<usize> = launch.params.iter().map(|&p| self.bytes[p]).collect();
                    actions.push(Action::Library(PlannedLibrary::new(library, &bytes, self.scope)?));
                }
                Work::Cuda(_) => return Err(Error::new("the program was compiled for a CUDA device")),
                Work::Call(body) => {
                    actions.push(Action::Call(PlannedCall::new(body, &self.shapes(launch)?, self.threads)?));
                }
                Work::Scan(scan) => {
                    let scan = PlannedScan::new(scan, &self.shapes(launch)?, self.scope, self.threads, behind)?;
                    behind += scan.memory;
                    actions.push(Action::Scan(scan));
                }
                Work::Cond(cond) => {
                    actions.push(Action::Cond(PlannedCond::new(cond, &self.shapes(launch)?, self.threads)?));
                }
                Work::While(repeated) => {
                    let repeated = PlannedWhile::new(repeated, &self.shapes(launch)?, self.threads, behind)?;
                    behind += repeated.memory;
                    actions.push(Action::While(repeated));
                }
            }
        }
        self.once.extend(boxes(once, self.threads).map(|boxes| (params, boxes)));
        for phase in [preparations, work, sums] {
            if let Some(boxes) = boxes(phase, self.threads) {
                actions.push(Action::Boxes(boxes));
            }
        }
        self.memory = self.memory.max(behind);
        self.steps.extend(actions.into_iter().map(|action| Step { launch: index, params, commits: launch.commits, action }));
        Ok(())
    }

    /// The extents of each parameter.
    fn shapes(&self, launch: &Launch) -> Result<Vec<Param>> {
        let param = |&p: &usize| {
            let sizes = self.scope.sizes(&self.program.buffers[p].ty)?.to_vec();
            Ok(Param { sizes, bytes: self.bytes[p] })
        };
        launch.params.iter().map(param).collect()
    }
}

/// The panels of the dots with an operand among the first `fixed` inputs, placed in memory from `offset` on, and where that
/// ends.
fn panels(program: &Program, scope: Scope, threads: usize, fixed: usize, mut offset: usize) -> Result<(Panels, usize)> {
    let mut panels = Panels::new();
    for (index, launch) in program.launches.iter().enumerate() {
        let is_fixed = |param: usize| {
            let buffer = launch.params.get(param).and_then(|&buffer| program.buffers.get(buffer));
            matches!(buffer, Some(BufferSpec { place: Place::Input(input), .. }) if *input < fixed)
        };
        for (number, work) in launch.work.iter().enumerate() {
            if let Work::Dot(dot) = work
                && let Some(mut made) = PlannedDot::panels(dot, &is_fixed, scope, threads)?
            {
                offset += made.place(offset).next_multiple_of(ALIGNMENT);
                panels.insert((index, number), made);
            }
        }
    }
    Ok((panels, offset))
}

/// The estimated nanoseconds of a loop, 0 for other work.
fn loop_cost(work: &Work, scope: Scope) -> Result<f64> {
    if let Work::Loop(section) = work { section_cost(section, scope) } else { Ok(0.0) }
}

fn section_cost(section: &LoopWork, scope: Scope) -> Result<f64> {
    let mut points = 1.0;
    for &extent in &section.extents {
        points *= scope.size(extent)? as f64;
    }
    Ok(points * section.point_ns)
}

fn plan_loop(section: &LoopWork, params: usize, wanted: usize, scope: Scope) -> Result<((usize, f64), PieceWork)> {
    let extents = section.extents.iter().map(|&e| Ok(scope.size(e)? as i64)).collect::<Result<Vec<i64>>>()?;
    if section.bind.iter().any(|&axis| axis >= extents.len()) {
        return Err(Error::new("a loop is cut along an axis that is not there"));
    }
    let grid = Grid::cut(extents, &section.bind, wanted);
    let ns = section_cost(section, scope)? / grid.boxes().max(1) as f64;
    let scratch = scope.size(section.scratch)?;
    let whole = if grid.boxes() == 1 { grid.bounds(0) } else { Bounds::new() };
    Ok(((grid.boxes(), ns), PieceWork::Loop { function: section.function, params, scratch, whole, grid }))
}

fn boxes(work: Vec<((usize, f64), PieceWork)>, threads: usize) -> Option<Boxes> {
    let costs: Vec<(usize, f64)> = work.iter().map(|w| w.0).collect();
    let mut first = 0;
    let mut pieces = Vec::new();
    for ((boxes, _), work) in work {
        if boxes > 0 {
            pieces.push(Piece { first, boxes, work });
            first += boxes;
        }
    }
    (first > 0).then(|| Boxes { pieces, tasks: group(&costs, threads) })
}
