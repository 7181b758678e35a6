//! From a graph of primitives to a flat list of steps over slots: fusion region by region, calls expanded.
//! Every distinct region is fused once; each call of it repeats its steps on other slots.

use crate::driver::Options;
use crate::fuse::{self, FusionLog, InParts, Names, Origin, Sideways, Step, in_parts, without_reshapes};
use igneous_ir::dim::Dim;
use igneous_ir::error::{Error, Loc, Result};
use igneous_ir::graph::{Graph, Region, Value};
use igneous_ir::kernel::{Access, Kernel, Stage};
use igneous_ir::op;
use igneous_ir::ops;
use igneous_ir::types::TensorType;
use igneous_runtime::program::LibraryWork;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// A piece of memory with one writer.
#[derive(Clone, Debug)]
pub struct Slot {
    /// What it holds.
    pub ty: TensorType,
    /// Its contents if it is a constant.
    pub constant: Option<Arc<[u8]>>,
}

/// One launch before memory is planned.
#[derive(Clone, Debug)]
pub struct FlatStep {
    /// What is launched.
    pub kind: StepKind,
    /// The slot behind each parameter.
    pub params: Vec<usize>,
    /// Which parameters are written.
    pub writes: Vec<bool>,
    /// Whether it may fail the run.
    pub checks: bool,
    /// Arithmetic operations.
    pub flops: Dim,
}

/// What a step launches.
#[derive(Clone, Debug)]
pub enum StepKind {
    /// A kernel, by its number in [`Lowered::kernels`].
    Kernel(usize),
    /// A loop over steps; the body is compiled apart.
    Scan(Box<ScanStep>),
    /// One of two regions, which are compiled apart.
    Cond(Box<[Region; 2]>),
    /// A loop that ends when its condition does; both regions are compiled apart.
    While(Box<WhileStep>),
    /// A function of the runtime over whole tensors.
    Library(Box<LibraryWork>),
    /// Copies the first parameter to the second.
    Copy,
}

/// A scan's body and how its parameters are grouped.
#[derive(Clone, Debug)]
pub struct ScanStep {
    /// The body.
    pub body: Region,
    /// Steps.
    pub length: Dim,
    /// Leading parameters that stay the same.
    pub constants: usize,
    /// Then those that each step replaces.
    pub carries: usize,
    /// From the last step to the first.
    pub reverse: bool,
}

/// A loop's regions and its limits.
#[derive(Clone, Debug)]
pub struct WhileStep {
    /// Whether to go on.
    pub condition: Region,
    /// The step.
    pub body: Region,
    /// Leading parameters that stay the same.
    pub constants: usize,
    /// The most steps.
    pub bound: Option<u32>,
}

impl StepKind {
    /// Whether it runs programs of their own, which read extents off the shapes of the parameters.
    fn reads_shapes(&self) -> bool {
        matches!(self, StepKind::Scan(_) | StepKind::Cond(_) | StepKind::While(_))
    }
}

/// Steps over slots.
#[derive(Clone, Debug, Default)]
pub struct Flat {
    /// All slots.
    pub slots: Vec<Slot>,
    /// The slot of each input.
    pub inputs: Vec<usize>,
    /// Slot and type of each output.
    pub outputs: Vec<(usize, TensorType)>,
    /// The steps in order.
    pub steps: Vec<FlatStep>,
}

/// Everything that lowering a graph makes.
#[derive(Debug, Default)]
pub struct Lowered {
    /// The whole program.
    pub flat: Flat,
    /// The distinct kernels.
    pub kernels: Vec<Kernel>,
    /// Message and line of each check, by its number.
    pub checks: Vec<(String, Option<Loc>)>,
    /// What fusion did.
    pub log: FusionLog,
    /// The number of distinct blocks that are called.
    pub blocks: usize,
}

/// Lowers a graph of primitives. `variable_outputs` are the positions of outputs that only update variables; `sideways` says
/// what unconnected kernels are merged, `options` what kernels are made for.
///
/// # Errors
/// If a node cannot be compiled.
pub fn lower(graph: &Graph, variable_outputs: &BTreeSet<usize>, sideways: Sideways, options: &Options) -> Result<Lowered> {
    let mut lowering =
        Lowering { lowered: Lowered::default(), names: Names::default(), blocks: HashMap::new(), sideways, options };
    lowering.lowered.flat = lowering.region(graph, variable_outputs)?;
    lowering.lowered.blocks = lowering.blocks.len();
    Ok(lowering.lowered)
}

struct Lowering<'o> {
    lowered: Lowered,
    names: Names,
    blocks: HashMap<Region, Arc<Flat>>,
    sideways: Sideways,
    options: &'o Options,
}

impl Lowering<'_> {
    fn region(&mut self, graph: &Graph, variable_outputs: &BTreeSet<usize>) -> Result<Flat> {
        let graph = &fuse::compute_twice(graph);
        let others: BTreeSet<Value> =
            graph.outputs().iter().enumerate().filter(|(i, _)| !variable_outputs.contains(i)).map(|(_, o)| o.0).collect();
        let updates = variable_outputs.iter().map(|&i| graph.outputs()[i].0).filter(|v| !others.contains(v)).collect();
        let first_check = self.lowered.checks.len() as u32;
        let fused = fuse::fuse(graph, first_check, &updates, (self.sideways, self.options), &mut self.names)?;
        for &n in &fused.checks {
            let node = graph.node(n);
            self.lowered.checks.push((node.op.text("message").to_string(), node.loc));
        }
        self.lowered.log.extend(&graph.name, fused.log);
        let mut flat = FlatBuilder { graph, flat: Flat::default(), slots: BTreeMap::new() };
        for (v, _) in graph.inputs() {
            let slot = flat.slot(*v);
            flat.flat.inputs.push(slot);
        }
        for step in fused.steps {
            match step {
                Step::Kernel { built, flops } => {
                    let params: Vec<usize> = built.values.iter().map(|&v| flat.slot(v)).collect();
                    for (kernel, params, flops) in flat.launches(built.kernel, params, flops) {
                        let checks = kernel.sections.iter().flat_map(|s| &s.stages).any(|s| matches!(s, Stage::Check { .. }));
                        let writes = kernel.params.iter().map(|p| p.access == Access::Write).collect();
                        let kind = StepKind::Kernel(self.lowered.kernels.len());
                        self.lowered.kernels.push(kernel);
                        flat.flat.steps.push(FlatStep { kind, params, writes, checks, flops });
                    }
                }
                Step::Node(n) => self.node(&mut flat, n)?,
            }
        }
        flat.outputs()
    }

    fn node(&mut self, flat: &mut FlatBuilder<'_>, n: u32) -> Result<()> {
        let node = flat.graph.node(n);
        let mut operands: Vec<usize> = node.operands.iter().map(|&v| flat.operand(v)).collect::<Result<_>>()?;
        match node.op.name() {
            "call" => {
                let block = self.block(node.op.region("body"))?;
                if block.steps.iter().any(|s| s.kind.reads_shapes()) {
                    flat.with_own_shapes(&node.operands, &mut operands);
                }
                let outputs = flat.expand(&block, &operands);
                for (v, slot) in flat.graph.results(n).into_iter().zip(outputs) {
                    flat.slots.insert(v, slot);
                }
                Ok(())
            }
            "scan" => {
                flat.nested(
                    n,
                    operands,
                    StepKind::Scan(Box::new(ScanStep {
                        body: node.op.region("body").clone(),
                        length: node.op.dim("length"),
                        constants: node.op.int("constants") as usize,
                        carries: node.op.int("carries") as usize,
                        reverse: node.op.bool("reverse"),
                    })),
                );
                Ok(())
            }
            "cond" => {
                let branches = ["then", "otherwise"].map(|branch| node.op.region(branch).clone());
                flat.nested(n, operands, StepKind::Cond(Box::new(branches)));
                Ok(())
            }
            "while" => {
                flat.nested(
                    n,
                    operands,
                    StepKind::While(Box::new(WhileStep {
                        condition: node.op.region("condition").clone(),
                        body: node.op.region("body").clone(),
                        constants: node.op.int("constants") as usize,
                        bound: ops::control::bound(&node.op),
                    })),
                );
                Ok(())
            }
            _ if matches!(node.op.record().lowering, op::Lowering::Library) => {
                let results: Vec<usize> = flat.graph.results(n).into_iter().map(|v| flat.slot(v)).collect();
                let work = LibraryWork {
                    op: node.op.clone(),
                    operands: node.operands.iter().map(|&v| flat.graph.ty(v).clone()).collect(),
                    results: node.results.to_vec(),
                    loc: node.loc,
                };
                let flops = (node.op.record().flops)(&node.op, &work.operands, &work.results);
                let writes = operands.iter().map(|_| false).chain(results.iter().map(|_| true)).collect();
                let params = operands.into_iter().chain(results).collect();
                let kind = StepKind::Library(Box::new(work));
                // It may refuse its operands' values.
                flat.flat.steps.push(FlatStep { kind, params, writes, checks: true, flops });
                Ok(())
            }
            _ => {
                let error = Error::new(format!("`{}` cannot be compiled for this device", node.op));
                Err(node.loc.map_or(error.clone(), |loc| error.at(loc)))
            }
        }
    }

    fn block(&mut self, body: &Region) -> Result<Arc<Flat>> {
        if let Some(block) = self.blocks.get(body) {
            return Ok(block.clone());
        }
        let block = Arc::new(self.region(body.graph(), &BTreeSet::new())?);
        self.blocks.insert(body.clone(), block.clone());
        Ok(block)
    }
}

struct FlatBuilder<'g> {
    graph: &'g Graph,
    flat: Flat,
    slots: BTreeMap<Value, usize>,
}

impl FlatBuilder<'_> {
    /// The slot of a stored value.
    fn slot(&mut self, value: Value) -> usize {
        if let Some(&slot) = self.slots.get(&value) {
            return slot;
        }
        let node = self.graph.node(value.node);
        let constant = node.op.is(&ops::structural::CONSTANT).then(|| node.op.array("value").to_bytes().into());
        let slot = self.new_slot(self.graph.ty(value).clone(), constant);
        self.slots.insert(value, slot);
        slot
    }

    fn new_slot(&mut self, ty: TensorType, constant: Option<Arc<[u8]>>) -> usize {
        self.flat.slots.push(Slot { ty, constant });
        self.flat.slots.len() - 1
    }

    /// The launches of a kernel on these slots: one, or two if it is done in parts.
    fn launches(&mut self, kernel: Kernel, params: Vec<usize>, flops: Dim) -> Vec<(Kernel, Vec<usize>, Dim)> {
        let Some(InParts { temporaries, kernels: [(parts, of_parts), (rest, of_rest)] }) = in_parts(&kernel) else {
            return vec![(kernel, params, flops)];
        };
        let temporaries: Vec<usize> = temporaries.into_iter().map(|ty| self.new_slot(ty, None)).collect();
        let slots = |origins: Vec<Origin>| {
            let slot = |origin| match origin {
                Origin::Param(p) => params[p],
                Origin::Temporary(t) => temporaries[t],
            };
            origins.into_iter().map(slot).collect()
        };
        vec![(parts, slots(of_parts), flops), (rest, slots(of_rest), Dim::ZERO)]
    }

    /// The slot of an operand of an opaque node: what it is a reshape of.
    fn operand(&mut self, value: Value) -> Result<usize> {
        Ok(self.slot(without_reshapes(self.graph, value)))
    }

    /// Copies operands that are reshapes of what their slots hold: a loop reads extents off the shapes of its operands.
    fn with_own_shapes(&mut self, values: &[Value], slots: &mut [usize]) {
        for (v, slot) in values.iter().zip(slots) {
            let ty = self.graph.ty(*v);
            if self.flat.slots[*slot].ty != *ty {
                let copy = self.new_slot(ty.clone(), None);
                self.copy(*slot, copy);
                *slot = copy;
            }
        }
    }

    /// A step that runs programs of their own, from the operands of node `n` to its results.
    fn nested(&mut self, n: u32, mut operands: Vec<usize>, kind: StepKind) {
        self.with_own_shapes(&self.graph.node(n).operands, &mut operands);
        let results: Vec<usize> = self.graph.results(n).into_iter().map(|v| self.slot(v)).collect();
        let writes = operands.iter().map(|_| false).chain(results.iter().map(|_| true)).collect();
        let params = operands.into_iter().chain(results).collect();
        self.flat.steps.push(FlatStep { kind, params, writes, checks: true, flops: Dim::ZERO });
    }

    fn copy(&mut self, from: usize, to: usize) {
        self.flat.steps.push(FlatStep {
            kind: StepKind::Copy,
            params: vec![from, to],
            writes: vec![false, true],
            checks: false,
            flops: Dim::ZERO,
        });
    }

    /// Repeats the steps of `block` on `inputs`; returns the slots of its outputs.
    fn expand(&mut self, block: &Flat, inputs: &[usize]) -> Vec<usize> {
        let mut map: Vec<Option<usize>> = vec![None; block.slots.len()];
        for (&own, &given) in block.inputs.iter().zip(inputs) {
            map[own] = Some(given);
        }
        let map: Vec<usize> = map
            .into_iter()
            .zip(&block.slots)
            .map(|(mapped, slot)| mapped.unwrap_or_else(|| self.new_slot(slot.ty.clone(), slot.constant.clone())))
            .collect();
        for step in &block.steps {
            self.flat.steps.push(FlatStep { params: step.params.iter().map(|&s| map[s]).collect(), ..step.clone() });
        }
        block.outputs.iter().map(|(slot, _)| map[*slot]).collect()
    }

    /// Fixes the outputs: constants are copied, because a caller owns its results.
    fn outputs(mut self) -> Result<Flat> {
        for (v, _) in self.graph.outputs() {
            let mut slot = self.slot(without_reshapes(self.graph, *v));
            if self.flat.slots[slot].constant.is_some() {
                let ty = self.flat.slots[slot].ty.clone();
                let copy = self.new_slot(ty, None);
                self.copy(slot, copy);
                slot = copy;
            }
            let ty = self.graph.ty(*v).clone();
            self.flat.outputs.push((slot, ty));
        }
        Ok(self.flat)
    }
}
