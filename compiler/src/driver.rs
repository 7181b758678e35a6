//! From a traced graph to a program: the order of the passes, and everything that can be seen of them.

use crate::attention;
use crate::codegen;
use crate::cpu;
use crate::decompose::{decompose, for_each_region};
use crate::egraph::{self, Derivation, Limits};
use crate::fuse::{FusionLog, Sideways};
use crate::inline::inline_single_calls;
use crate::lower::{Lowered, lower};
use crate::outline::outline;
use crate::precision::{MatmulPrecision, Precision};
use crate::prepare;
use crate::regions;
use crate::rematerialise::{self, rematerialise};
use crate::report;
use crate::split_scan::{SplitLog, last_steps, split};
use crate::symbols;
use igneous_ir::autodiff::expand_gradients;
use igneous_ir::dim::Dim;
use igneous_ir::error::{Error, Result};
use igneous_ir::graph::Graph;
use igneous_ir::kernel::Kernel;
use igneous_ir::op::Op;
use igneous_ir::verify::verify;
use igneous_runtime::cuda::Choices;
use igneous_runtime::program::Program;
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the compiler may do, and for which machine.
#[derive(Clone, Debug)]
pub struct Options {
    /// How much freedom with numerics.
    pub precision: Precision,
    /// Rewrite with e-graphs; without it a graph is only differentiated, decomposed and fused: a differential oracle.
    pub egraph: bool,
    /// Recognise composites in their spellings (never under `Precision::Strict`).
    pub recognise: bool,
    /// Outline repeated blocks.
    pub outline: bool,
    /// Split loops into what has to be done step by step and what is done for all steps at once.
    pub split: bool,
    /// Where saturation stops.
    pub limits: Limits,
    /// The bytes that temporaries may take: beyond that, values are computed again instead of kept.
    pub memory_budget: Option<usize>,
    /// What the code is for.
    pub backend: Backend,
    /// The processor, where it is for one.
    pub target: cpu::Target,
    /// How products of single precision multiply on a device.
    pub matmul: MatmulPrecision,
    /// What a device's libraries compute, and what kernels.
    pub choices: Arc<Choices>,
}

/// What code is made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Backend {
    /// Machine code for [`Options::target`].
    #[default]
    Cpu,
    /// Text for CUDA devices; no device is needed to compile.
    Cuda,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            precision: Precision::default(),
            egraph: true,
            recognise: true,
            outline: true,
            split: true,
            limits: Limits::default(),
            memory_budget: None,
            backend: Backend::default(),
            target: cpu::Target::host(),
            matmul: MatmulPrecision::default(),
            choices: Arc::default(),
        }
    }
}

/// Which inputs of a graph are variables.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    /// Pairs of an input and the output that is its new value: written in place where that is possible
    /// (then the program's buffer for that output has `Place::InOut`).
    pub assigned: Vec<(usize, usize)>,
    /// Inputs that are variables which the graph does not assign: what depends on them alone is prepared once.
    pub stable: Vec<usize>,
}

/// A program that makes inputs of another from variables, to be run again only when one of them has changed.
#[derive(Clone)]
pub struct Prepare {
    /// The program.
    pub program: Arc<Program>,
    /// The inputs of the whole graph that it takes, in order. Its outputs are further inputs of the main program,
    /// behind those of the graph.
    pub inputs: Vec<usize>,
}

/// A compiled graph and everything that can be seen of its compilation. All texts are the same in every process.
pub struct Compiled {
    /// The program.
    pub program: Arc<Program>,
    /// What is made from unassigned variables beforehand.
    pub prepare: Option<Prepare>,
    stages: Vec<(&'static str, Graph)>,
    times: Vec<(&'static str, Duration)>,
    derivations: Vec<(&'static str, Derivation)>,
    splits: SplitLog,
    fusion: FusionLog,
    kernels: Vec<Kernel>,
    listings: Vec<cpu::Listing>,
    lifetimes: String,
    arena: Dim,
    rematerialised: Option<rematerialise::Report>,
    options: Options,
    blocks: usize,
}

/// Compiles a traced graph.
///
/// # Errors
/// If the graph is ill formed or contains what the device does not support.
pub fn compile(graph: &Graph, variables: &Variables, options: &Options) -> Result<Compiled> {
    let mut passes = Passes { stages: Vec::new(), times: Vec::new(), last: Instant::now() };
    passes.add("traced", graph.clone())?;
    let (mut current, blocks) = if options.outline { outline(graph)? } else { (graph.clone(), 0) };
    if blocks > 0 {
        current = passes.add("outlined", current)?;
    }
    if has_control_flow(&current) {
        current = passes.add("simplified", for_each_region(&current, &mut regions::simplify)?)?;
    }
    let mut derivations = Vec::new();
    let licences = options.precision.licences();
    let mut splits = SplitLog::default();
    if options.split && options.precision != Precision::Strict {
        current = for_each_region(&current, &mut |g| last_steps(g, &mut splits))?;
    }
    if options.recognise && options.egraph && options.precision != Precision::Strict {
        current = for_each_region(&current, &mut |g| {
            let (new, derivation) = egraph::recognise(g, licences)?;
            derivations.push(("recognise", derivation));
            attention::recognise(&new)
        })?;
        current = passes.add("recognised", current)?;
    }
    current = passes.add("differentiated", expand_gradients(&current)?)?;
    let mut inlined = false;
    let without_single_calls = for_each_region(&current, &mut |g| {
        Ok(match inline_single_calls(g)? {
            Some(new) => {
                inlined = true;
                new
            }
            None => g.clone(),
        })
    })?;
    if inlined {
        current = passes.add("inlined", without_single_calls)?;
    }
    if options.split {
        let split = for_each_region(&current, &mut |g| split(g, licences, &mut splits))?;
        if !splits.lines().is_empty() {
            current = passes.add("split", split)?;
        }
    }
    if options.egraph {
        current = for_each_region(&current, &mut |g| {
            let (new, derivation) = egraph::optimise(g, licences, &options.limits, options.backend)?;
            derivations.push(("optimise", derivation));
            attention::split_groups(&new)
        })?;
        current = passes.add("optimised", current)?;
    }
    current = passes.add("decomposed", for_each_region(&current, &mut |g| decompose(g, options.backend))?)?;
    if has_control_flow(&current) {
        // More is known now, and what takes the place of an operator may repeat what is there.
        let mut simplify = |g: &Graph| decompose(&regions::simplify(g)?, options.backend);
        current = passes.add("simplified", for_each_region(&current, &mut simplify)?)?;
    }
    if let Some(completed) = symbols::complete(&current) {
        current = passes.add("completed", completed)?;
    }
    let mut prepared = None;
    if let Some(split) = prepare::split(&current, &variables.stable.iter().copied().collect())? {
        let made = passes.add("prepare", split.prepare)?;
        current = passes.add("main", split.main)?;
        let lowered = lower(&made, &BTreeSet::new(), Sideways::Freely, options)?;
        let built = codegen::build(&made.name, lowered, &[], options)?;
        prepared = Some((Prepare { program: Arc::new(built.program), inputs: split.inputs }, built.kernels, built.listings));
    }
    let updates = variables.assigned.iter().map(|&(_, output)| output).collect();
    let (mut rematerialised, mut sideways) = (None, Sideways::Freely);
    if let Some(budget) = options.memory_budget {
        let arena =
            |graph: &Graph, sideways| codegen::arena(lower(graph, &updates, sideways, options)?, &variables.assigned, options);
        let whole = arena(&current, Sideways::Freely)?;
        let (new, report) = rematerialise(&current, budget, whole, &|graph| arena(graph, Sideways::KeepingNothing))?;
        if report.after < whole {
            sideways = Sideways::KeepingNothing;
            current = passes.add("rematerialised", new)?;
        }
        rematerialised = Some(report);
    }
    let lowered: Lowered = lower(&current, &updates, sideways, options)?;
    passes.took("fusion");
    let built = codegen::build(&current.name, lowered, &variables.assigned, options)?;
    passes.took("code");
    let (prepare, mut kernels, mut listings) = match prepared {
        Some((prepare, kernels, listings)) => (Some(prepare), kernels, listings),
        None => (None, Vec::new(), Vec::new()),
    };
    kernels.extend(built.kernels);
    listings.extend(built.listings);
    Ok(Compiled {
        program: Arc::new(built.program),
        prepare,
        stages: passes.stages,
        times: passes.times,
        derivations,
        splits,
        fusion: built.log,
        kernels,
        listings,
        lifetimes: match &rematerialised {
            Some(report) => format!("{report}{}", built.memory),
            None => built.memory,
        },
        arena: built.arena,
        rematerialised,
        options: options.clone(),
        blocks,
    })
}

/// Whether there is a decision or a loop.
fn has_control_flow(graph: &Graph) -> bool {
    let nested = |op: &Op| op.name() != "call" || op.regions().any(|(_, region)| has_control_flow(region.graph()));
    graph.nodes().any(|(_, node)| node.op.regions().next().is_some() && nested(&node.op))
}

struct Passes {
    stages: Vec<(&'static str, Graph)>,
    times: Vec<(&'static str, Duration)>,
    last: Instant,
}

impl Passes {
    /// Notes the graph after a pass; verifies it in debug builds.
    fn add(&mut self, name: &'static str, graph: Graph) -> Result<Graph> {
        if cfg!(debug_assertions) {
            verify(&graph).map_err(|e| e.context(format_args!("the graph is wrong after the pass `{name}`")))?;
        }
        self.stages.push((name, graph.clone()));
        self.took(name);
        Ok(graph)
    }

    /// Notes that `name` took the time since the last one.
    fn took(&mut self, name: &'static str) {
        let now = Instant::now();
        self.times.push((name, now - self.last));
        self.last = now;
    }
}

impl Compiled {
    /// The graph that was fused.
    pub fn graph(&self) -> &Graph {
        &self.stages.last().expect("there is at least the traced graph").1
    }

    /// The graph after each pass, with the pass's name.
    pub fn stages(&self) -> &[(&'static str, Graph)] {
        &self.stages
    }

    /// How long each pass took, in order; the only thing here that differs from one compilation to the next.
    pub fn pass_times(&self) -> &[(&'static str, Duration)] {
        &self.times
    }

    /// What left which loop, and the rewrites behind the optimised graph, region by region.
    pub fn derivation(&self) -> impl fmt::Display + '_ {
        report::from_fn(|f| {
            writeln!(f, "precision {}", self.options.precision)?;
            if !self.splits.lines().is_empty() {
                writeln!(f, "split\n{}", self.splits)?;
            }
            self.derivations.iter().try_for_each(|(pass, d)| writeln!(f, "{pass}\n{d}"))
        })
    }

    /// What left which loop.
    pub fn splits(&self) -> &SplitLog {
        &self.splits
    }

    /// The derivations themselves, for `Derivation::verify`.
    pub fn derivations(&self) -> &[(&'static str, Derivation)] {
        &self.derivations
    }

    /// What fusion did, and why not more.
    pub fn fusion_log(&self) -> &FusionLog {
        &self.fusion
    }

    /// The kernels.
    pub fn kernels(&self) -> &[Kernel] {
        &self.kernels
    }

    /// The kernels as text.
    pub fn kernels_text(&self) -> String {
        self.kernels.iter().map(|k| format!("{k}\n")).collect()
    }

    /// The number of distinct blocks that repeated layers were outlined into.
    pub fn distinct_blocks(&self) -> usize {
        self.blocks
    }

    /// The number of launches of one run.
    pub fn launches(&self) -> usize {
        self.program.launches.len()
    }

    /// The Cranelift IR of every function.
    pub fn code(&self) -> impl fmt::Display + '_ {
        report::from_fn(|f| self.listings.iter().try_for_each(|listing| write!(f, "{listing}")))
    }

    /// The CUDA C++ text of every kernel.
    pub fn cuda(&self) -> impl fmt::Display + '_ {
        report::from_fn(|f| {
            self.kernels.iter().try_for_each(|kernel| match crate::cuda::emit(kernel, &self.options) {
                Ok(works) => works.iter().try_for_each(|work| writeln!(f, "{}", work.kernel.source)),
                Err(error) => writeln!(f, "// {}: {error}", kernel.name),
            })
        })
    }

    /// Compiled with [`Backend::Cuda`], what a run asks of the device, in order.
    pub fn launch_list(&self) -> impl fmt::Display + '_ {
        igneous_runtime::cuda::launch_list(&self.program)
    }

    /// Where every buffer lies and how long it lives.
    pub fn memory(&self) -> impl fmt::Display + '_ {
        &self.lifetimes
    }

    /// The bytes that the temporaries of a run take.
    pub fn arena_bytes(&self) -> Dim {
        self.arena
    }

    /// With a memory budget, what was computed again to meet it; also the first lines of [`memory`](Compiled::memory).
    pub fn rematerialised(&self) -> Option<&rematerialise::Report> {
        self.rematerialised.as_ref()
    }

    /// Bytes, operations and the least time of every launch.
    pub fn cost(&self) -> impl fmt::Display + '_ {
        report::cost(&self.program)
    }

    /// The same as numbers.
    pub fn launch_costs(&self) -> Vec<report::LaunchCost> {
        report::launch_costs(&self.program)
    }

    /// Writes every stage into numbered files of `dir`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn dump(&self, dir: &Path) -> Result<()> {
        std::fs::create_dir_all(dir).map_err(|e| Error::other(e).context(dir.display()))?;
        let mut files: Vec<(String, String)> =
            self.stages.iter().map(|(name, graph)| (format!("{name}.graph"), graph.to_string())).collect();
        files.push(("rewrites.txt".into(), self.derivation().to_string()));
        files.push(("fusion.txt".into(), self.fusion.to_string()));
        files.push(("kernels.txt".into(), self.kernels_text()));
        files.push(("code.clif".into(), self.code().to_string()));
        files.push(("code.cu".into(), self.cuda().to_string()));
        files.push(("memory.txt".into(), self.memory().to_string()));
        files.push(("cost.txt".into(), self.cost().to_string()));
        for (i, (name, text)) in files.iter().enumerate() {
            let path = dir.join(format!("{i:02}_{name}"));
            std::fs::write(&path, text).map_err(|e| Error::other(e).context(path.display()))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Compiled({}, {} kernels, {} launches)", self.program.name, self.kernels.len(), self.launches())
    }
}
