//! Every sample of every operator, lowered to kernels: they verify, their text reads back, the kernel interpreter gives the
//! same bits in any order of points and what the graph interpreter gives, and they have a CUDA text.

mod programs;

use igneous_compiler::decompose::decompose;
use igneous_compiler::fuse::Sideways;
use igneous_compiler::lower::lower;
use igneous_ir::autodiff::expand_gradients;
use igneous_ir::graph::Graph;
use igneous_ir::interp::interpret_f64;
use igneous_ir::kernel::Kernel;
use igneous_ir::op::{Sample, Samples};
use igneous_ir::{Result, ops, sample};
use programs::rounding::compare;
use programs::stepwise::stepwise;
use std::collections::BTreeSet;

/// The graph that applies the sample's operator to its inputs.
fn graph(sample: &Sample) -> Result<Graph> {
    let mut graph = Graph::new("sample");
    let inputs =
        sample.inputs.iter().enumerate().map(|(i, (ty, _))| graph.input(format!("x{i}"), ty.clone())).collect::<Vec<_>>();
    let results = graph.add(sample.op.clone(), &inputs)?;
    for (i, &value) in results.iter().enumerate() {
        graph.output(format!("y{i}"), value);
    }
    Ok(graph)
}

fn check_kernel(kernel: &Kernel) {
    kernel.verify().unwrap_or_else(|e| panic!("{e}\n{kernel}"));
    let text = kernel.to_string();
    let parsed = Kernel::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(parsed.to_string(), text);
    assert_eq!(parsed.structure(), kernel.structure());
    let cuda =
        igneous_compiler::cuda::emit(kernel, &igneous_compiler::Options::default()).unwrap_or_else(|e| panic!("{e}\n{kernel}"));
    assert!(!cuda.is_empty() && cuda.iter().all(|work| work.kernel.source.contains("__global__")), "{kernel}");
}

#[test]
fn kernels_of_every_operator() {
    let (mut ran, mut kernels) = (BTreeSet::new(), 0);
    for record in ops::records() {
        let mut samples = Samples::default();
        (record.samples)(&mut samples);
        for sample in samples.0 {
            let graph = graph(&sample).unwrap();
            let expanded = expand_gradients(&graph).unwrap();
            let primitives = decompose(&expanded, igneous_compiler::Backend::Cpu).unwrap();
            let lowered = lower(&primitives, &BTreeSet::new(), Sideways::Freely, &igneous_compiler::Options::default())
                .unwrap_or_else(|e| panic!("{e}\n{graph}"));
            lowered.kernels.iter().for_each(check_kernel);
            kernels += lowered.kernels.len();
            let inputs = sample::inputs(&sample).unwrap();
            let steps = stepwise(&primitives, &inputs).unwrap_or_else(|e| panic!("{e}\n{graph}"));
            let expected = interpret_f64(&graph, &inputs).unwrap();
            compare(&graph, &primitives, &inputs, &expected, &steps.outputs).unwrap_or_else(|e| panic!("{e}\n{graph}"));
            ran.insert(record.name);
        }
    }
    assert!(ran.len() > 60 && kernels > 100, "{} operators ran, as {kernels} kernels: {ran:?}", ran.len());
}
