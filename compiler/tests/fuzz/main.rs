//! Random graphs of 5 to 40 operators, compiled with and without rewriting, against the interpreter in f64.
//!
//! `IGNEOUS_FUZZ=n` tries n graphs instead of 300, `IGNEOUS_FUZZ_SEED=s` begins with the seed s. A graph that fails is
//! made smaller, and printed.

mod generate;
mod instance;
mod minimise;
#[path = "../programs/mod.rs"]
mod programs;

use generate::Case;
use igneous_compiler::Options;
use igneous_ir::array::Array;
use igneous_ir::error::{Error, Result};
use igneous_ir::graph::Graph;
use igneous_ir::interp::{Oracle, interpret_f64};
use igneous_ir::op::Fill;
use igneous_ir::sample;
use igneous_ir::types::DType;
use minimise::minimise;
use programs::{compiled, guarded, run, without_egraph};
use std::fmt;

/// At which stage a case fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Compile,
    Run,
    Compare,
}

struct Failure {
    stage: Stage,
    error: Error,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.stage, self.error)
    }
}

fn check(case: &Case, options: &Options) -> std::result::Result<(), Failure> {
    let at = |stage: Stage| move |error: Error| Failure { stage, error };
    // A case that the interpreter refuses shows nothing.
    let Ok(expected) = guarded(|| interpret_f64(&case.graph, &case.inputs)) else { return Ok(()) };
    let compiled = compiled(&case.graph, options).map_err(at(Stage::Compile))?;
    let found = run(&compiled.program, &case.inputs).map_err(at(Stage::Run))?;
    for (k, (oracle, found)) in expected.iter().zip(&found).enumerate() {
        if oracle.agrees(found).is_err() {
            let extra = noise(&case.graph, &case.inputs, k).map_err(at(Stage::Compare))?;
            oracle.agrees_up_to(found, 4.0 * extra).map_err(|e| at(Stage::Compare)(e.context(format_args!("output {k}"))))?;
        }
    }
    Ok(())
}

/// The error that rounding may cause in output `k`: the interpreter's own, and how far the output moves, when the inputs
/// move by one in their last digit.
fn noise(graph: &Graph, inputs: &[Array], k: usize) -> Result<f64> {
    let output = |inputs: &[Array]| -> Result<Oracle> { Ok(interpret_f64(graph, inputs)?.swap_remove(k)) };
    let still = output(inputs)?;
    let mut most: f64 = 0.0;
    for version in 0..6 {
        let moved = inputs.iter().enumerate().map(|(position, x)| {
            if !x.dtype().is_float() {
                return Ok(x.clone());
            }
            let noise = sample::array(&x.ty().with_dtype(DType::F64), Fill::Uniform(-1.0, 1.0), version, position)?;
            let step = x.dtype().epsilon();
            Ok(Array::from_fn_f64(x.dtype(), x.shape(), |i| x.dtype().round(x.f(i) * (1.0 + step * noise.f(i).signum()))))
        });
        let moved = output(&moved.collect::<Result<Vec<_>>>()?)?;
        most = most.max(moved.error_of(&moved.native) + still.error_of(&moved.exact));
    }
    Ok(most)
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn random_graphs_compute_what_the_interpreter_does() {
    let (count, first) = (number("IGNEOUS_FUZZ", 300), number("IGNEOUS_FUZZ_SEED", 1));
    let (mut nodes, mut failures) = (0, 0);
    for seed in first..first + count {
        let case = generate::case(seed);
        nodes += case.graph.len();
        for (name, options) in [("default", Options::default()), ("without e-graph", without_egraph())] {
            let Err(failure) = check(&case, &options) else { continue };
            failures += 1;
            let fails = |case: &Case| check(case, &options).is_err_and(|f| f.stage == failure.stage);
            let small = minimise(case.clone(), &fails);
            let error = check(&small, &options).err().map_or(String::new(), |f| f.to_string());
            println!("seed {seed}, {name}: {failure}\nsmaller: {error}\n{}", small.graph);
            for input in &small.inputs {
                println!("  {input:?}");
            }
            if let Ok(compiled) = compiled(&small.graph, &options) {
                println!("{}\n{}", compiled.graph(), compiled.kernels_text());
            }
            break;
        }
    }
    println!("fuzz: {count} graphs of {nodes} nodes, {failures} failures");
    assert_eq!(failures, 0);
    assert!(nodes as u64 > 8 * count, "the graphs are too small");
}
