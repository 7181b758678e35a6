//! Every operator compiled alone, on every sample of its record, against the interpreter in f64; its gradient too; and
//! the machine code of every kernel that comes out against the kernel interpreter.

mod programs;

use igneous_compiler::Options;
use igneous_compiler::cpu::Target;
use igneous_ir::array::Array;
use igneous_ir::conformance::{gradient_graph_of, graph_of, is_smooth};
use igneous_ir::dim::Symbol;
use igneous_ir::error::{Error, Result};
use igneous_ir::graph::Graph;
use igneous_ir::interp::interpret_f64;
use igneous_ir::op::{Fill, Sample, Vjp};
use igneous_ir::sample;
use igneous_ir::types::{DType, TensorType};
use programs::rounding::{compare, near};
use programs::{Report, check_kernel, compiled, generalised, halved, run, samples, without_egraph};

/// Compiles `graph` and compares what it computes on `inputs` with the oracle.
fn check(graph: &Graph, inputs: &[Array], options: &Options, special: bool) -> Result<()> {
    let expected = interpret_f64(graph, inputs);
    let compiled = compiled(graph, options)?;
    let found = run(&compiled.program, inputs);
    let in_kernels = |e: Error| e.note("kernels", format_args!("\n{}", compiled.kernels_text()));
    let (expected, found) = match (expected, found) {
        (Err(_), Err(_)) => return Ok(()),
        (Err(_), Ok(_)) => return Err(Error::new("a check fails in the interpreter alone")),
        (Ok(_), Err(error)) => return Err(error),
        (Ok(expected), Ok(found)) => (expected, found),
    };
    compare(graph, compiled.graph(), inputs, &expected, &found).map_err(in_kernels)?;
    if special {
        for (k, (oracle, found)) in expected.iter().zip(&found).enumerate() {
            near(found, &oracle.native).map_err(|e| in_kernels(e.context(format_args!("result {k}"))))?;
        }
    }
    Ok(())
}

fn is_special(sample: &Sample) -> bool {
    sample.inputs.iter().any(|(_, fill)| *fill == Fill::Specials)
}

fn describe(sample: &Sample) -> String {
    format!("{} of {:?}", sample.op, sample.inputs)
}

/// Checks each sample, compiled as what `choose` makes of it.
fn check_all(
    name: &str,
    options: &Options,
    samples: impl Iterator<Item = Sample>,
    choose: impl Fn(&Sample) -> Option<Sample>,
    least: usize,
) {
    let mut report = Report::default();
    for sample in samples {
        let Some(chosen) = choose(&sample) else { continue };
        let result = graph_of(&chosen).and_then(|graph| check(&graph, &sample::inputs(&sample)?, options, is_special(&sample)));
        report.note(sample.op.name(), &describe(&chosen), result);
    }
    report.finish(name, least);
}

#[test]
fn operators_compiled_alone() {
    for target in Target::widths() {
        let name = format!("conformance with {} vectors", target.width.name());
        check_all(&name, &Options { target, ..Options::default() }, samples(), |s| Some(s.clone()), 500);
    }
}

#[test]
fn operators_compiled_in_half_types() {
    for half in [DType::F16, DType::BF16] {
        for target in Target::widths() {
            let name = format!("conformance in {half} with {} vectors", target.width.name());
            check_all(
                &name,
                &Options { target, ..Options::default() },
                samples().filter_map(|s| halved(&s, half)),
                |s| Some(s.clone()),
                500,
            );
        }
    }
}

#[test]
fn operators_compiled_without_rewriting() {
    check_all("conformance without e-graph", &without_egraph(), samples(), |s| Some(s.clone()), 500);
}

#[test]
fn operators_compiled_for_symbolic_extents() {
    check_all("conformance of symbolic extents", &Options::default(), samples(), generalised, 200);
}

fn is_differentiable(sample: &Sample) -> bool {
    let types: Vec<TensorType> = sample.inputs.iter().map(|(ty, _)| ty.clone()).collect();
    let float_result = sample.op.infer(&types).is_ok_and(|results| results.iter().any(|ty| ty.dtype.is_float()));
    is_smooth(sample) && float_result && !matches!(sample.op.record().vjp, Vjp::Zero)
}

/// The gradient by every operand of the sum of the results, each element weighted by an input of its own.
fn check_gradient(sample: &Sample, options: &Options) -> Result<()> {
    let graph = gradient_graph_of(sample)?;
    let mut inputs = sample::inputs(sample)?;
    for (k, (v, _)) in graph.inputs().iter().enumerate().skip(inputs.len()) {
        inputs.push(sample::array(graph.ty(*v), Fill::Normal, 11, k)?);
    }
    check(&graph, &inputs, options, false)
}

#[test]
fn gradients_compiled() {
    let mut report = Report::default();
    for sample in samples().filter(is_differentiable) {
        for options in [Options::default(), without_egraph()] {
            report.note(sample.op.name(), &describe(&sample), check_gradient(&sample, &options));
        }
    }
    report.finish("conformance of gradients", 200);
}

#[test]
fn gradients_compiled_in_half_types() {
    let mut report = Report::default();
    for sample in samples().filter(is_differentiable) {
        for halved in [DType::F16, DType::BF16].iter().filter_map(|&half| halved(&sample, half)) {
            report.note(sample.op.name(), &describe(&halved), check_gradient(&halved, &Options::default()));
        }
    }
    report.finish("conformance of gradients in half types", 200);
}

#[test]
fn machine_code_and_kernel_interpreter_give_the_same_bits() {
    let mut report = Report::default();
    for sample in samples() {
        let chosen = [Some(sample.clone()), generalised(&sample), halved(&sample, DType::F16), halved(&sample, DType::BF16)];
        for chosen in chosen.into_iter().flatten() {
            let graphs = [graph_of(&chosen).ok(), gradient_graph_of(&chosen).ok().filter(|_| is_differentiable(&sample))];
            for graph in graphs.into_iter().flatten() {
                let Ok(compiled) = compiled(&graph, &Options::default()) else { continue };
                for kernel in compiled.kernels() {
                    match check_kernel(kernel, &|s: Symbol| s.name[1..].parse().ok()) {
                        Ok(false) => {}
                        result => report.note(sample.op.name(), &describe(&chosen), result.map(|_| ())),
                    }
                }
            }
        }
    }
    report.finish("conformance of kernels", 500);
}
