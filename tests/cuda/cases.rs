//! Graphs that are compiled for CUDA: all samples of all operators, with their gradients, in several types, and random graphs.

use crate::generate;
use crate::programs::{generalised, guarded, halved, samples};
use crate::steps::Step;
use igneous_compiler::{Backend, Options, Variables, compile};
use igneous_ir::array::Array;
use igneous_ir::conformance::{gradient_graph_of, graph_of, is_smooth};
use igneous_ir::error::Result;
use igneous_ir::graph::Graph;
use igneous_ir::op::{Fill, Sample, Vjp};
use igneous_ir::sample;
use igneous_ir::types::{DType, TensorType};
use igneous_runtime::Program;
use igneous_runtime::cuda::Choices;
use igneous_runtime::program::Work;
use std::sync::Arc;

/// A graph with inputs, compiled.
pub struct Case {
    /// What it is, for messages.
    pub name: String,
    /// As it was given.
    pub graph: Graph,
    /// As it was rewritten.
    pub rewritten: Graph,
    /// Its inputs.
    pub inputs: Vec<Array>,
    /// Whether numbers of all magnitudes stand side by side.
    pub special: bool,
    /// What is run beforehand, and on which inputs.
    pub prepare: Option<(Arc<Program>, Vec<usize>)>,
    /// What is run.
    pub program: Arc<Program>,
    /// The same with every product that a library can do left to it, if there is one.
    pub library: Option<Arc<Program>>,
}

/// How much is tried.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Each operator, its gradient, products in all types, and some random graphs.
    Some,
    /// All types, symbolic extents, and hundreds of random graphs.
    All,
}

/// Compiled cases, and those that do not compile with the reason.
#[derive(Default)]
pub struct Cases {
    /// Those that compile.
    pub compiled: Vec<Case>,
    /// Name and reason.
    pub refused: Vec<(String, String)>,
}

/// Compiles for CUDA.
pub fn for_cuda() -> Options {
    Options { backend: Backend::Cuda, ..Options::default() }
}

/// The graph compiled so that libraries compute all products that they can, if there is one.
fn with_library(graph: &Graph, variables: &Variables) -> Option<Arc<Program>> {
    graph
        .nodes()
        .any(|(_, node)| matches!(node.op.name(), "dot_general" | "dot_general_i32" | "convolution" | "grad"))
        .then_some(())?;
    let options = Options { choices: Arc::new(Choices::from(0)), ..for_cuda() };
    let program = guarded(|| compile(graph, variables, &options)).ok()?.program;
    let mut found = false;
    program.visit(&mut |program| {
        let mut works = program.launches.iter().flat_map(|launch| &launch.work);
        found |= works.any(|work| matches!(work, Work::Cuda(work) if work.library.is_some()));
    });
    found.then_some(program)
}

impl Cases {
    /// Compiles a graph; what the CPU cannot be given either is left out.
    pub fn add(&mut self, name: String, graph: Graph, inputs: Vec<Array>, special: bool, variables: &Variables) {
        match guarded(|| compile(&graph, variables, &for_cuda())) {
            Ok(compiled) => self.compiled.push(Case {
                name,
                rewritten: if compiled.prepare.is_some() { graph.clone() } else { compiled.graph().clone() },
                library: with_library(&graph, variables),
                graph,
                inputs,
                special,
                prepare: compiled.prepare.map(|p| (p.program, p.inputs)),
                program: compiled.program,
            }),
            Err(error) if guarded(|| compile(&graph, variables, &Options::default())).is_ok() => {
                self.refused.push((name, error.to_string()));
            }
            Err(_) => {}
        }
    }

    fn sample(&mut self, sample: &Sample, chosen: &Sample) -> Result<()> {
        let special = sample.inputs.iter().any(|(_, fill)| *fill == Fill::Specials);
        self.add(describe(chosen), graph_of(chosen)?, sample::inputs(sample)?, special, &Variables::default());
        Ok(())
    }

    fn gradient(&mut self, sample: &Sample) -> Result<()> {
        let graph = gradient_graph_of(sample)?;
        let mut inputs = sample::inputs(sample)?;
        for (k, (v, _)) in graph.inputs().iter().enumerate().skip(inputs.len()) {
            inputs.push(sample::array(graph.ty(*v), Fill::Normal, 11, k)?);
        }
        self.add(format!("gradient of {}", describe(sample)), graph, inputs, false, &Variables::default());
        Ok(())
    }

    /// The samples of the operators.
    pub fn samples(&mut self, extent: Extent) {
        let must = |result: Result<()>| result.unwrap_or_else(|e| panic!("a sample is ill formed: {e}"));
        for sample in samples() {
            must(self.sample(&sample, &sample));
            let differentiable = is_differentiable(&sample);
            if differentiable {
                must(self.gradient(&sample));
            }
            // Products of half types have kernels of their own.
            if extent == Extent::Some && !matches!(sample.op.name(), "dot_general" | "convolution") {
                continue;
            }
            if let Some(symbolic) = generalised(&sample) {
                must(self.sample(&sample, &symbolic));
            }
            for halved in [DType::F16, DType::BF16].iter().filter_map(|&half| halved(&sample, half)) {
                must(self.sample(&halved, &halved));
                if differentiable {
                    must(self.gradient(&halved));
                }
            }
        }
    }

    /// Random graphs, by turns with variables.
    pub fn random(&mut self, seeds: std::ops::Range<u64>) {
        for seed in seeds {
            let case = generate::case(seed);
            let variables = if seed % 3 == 0 { variables(&case.graph) } else { Variables::default() };
            self.add(format!("random graph {seed}"), case.graph, case.inputs, false, &variables);
        }
    }

    /// A graph whose inputs are variables where an output may be their new value.
    pub fn step(&mut self, (name, graph, inputs): Step) {
        let variables = variables(&graph);
        self.add(format!("step of {name}"), graph, inputs, false, &variables);
    }
}

/// Inputs and outputs of equal types in turn as variables and their new values.
fn variables(graph: &Graph) -> Variables {
    let mut variables = Variables::default();
    for (i, (v, _)) in graph.inputs().iter().enumerate() {
        let taken = |k: usize| variables.assigned.iter().any(|&(_, output)| output == k);
        let output = (0..graph.outputs().len()).find(|&k| !taken(k) && graph.ty(graph.outputs()[k].0) == graph.ty(*v));
        match output {
            Some(k) => variables.assigned.push((i, k)),
            None if i % 2 == 0 => variables.stable.push(i),
            None => {}
        }
    }
    variables
}

fn is_differentiable(sample: &Sample) -> bool {
    let types: Vec<TensorType> = sample.inputs.iter().map(|(ty, _)| ty.clone()).collect();
    let float_result = sample.op.infer(&types).is_ok_and(|results| results.iter().any(|ty| ty.dtype.is_float()));
    is_smooth(sample) && float_result && !matches!(sample.op.record().vjp, Vjp::Zero)
}

fn describe(sample: &Sample) -> String {
    format!("{} of {:?}", sample.op, sample.inputs)
}
