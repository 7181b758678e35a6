//! Random graphs of 5 to 40 operators, compiled with and without rewriting, against the interpreter in f64.
//!
//! `IGNEOUS_FUZZ=n` tries n graphs instead of 300, `IGNEOUS_FUZZ_SEED=s` begins with the seed s. A graph that fails is
//! made smaller, and printed.

mod generate;
mod instance;
mod minimise;
#[path = "../programs/mod.rs"]
mod programs;

use generate::{Case, Random, is_exact};
use igneous_compiler::Options;
use igneous_ir::array::Array;
use igneous_ir::autodiff::expand_gradients;
use igneous_ir::error::{Error, Result};
use igneous_ir::graph::{Graph, Region, Value};
use igneous_ir::interp::interpret_f64;
use igneous_ir::op::{Attr, Op};
use igneous_ir::ops;
use igneous_ir::types::Literal;
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

/// The error that rounding may cause in output `k`: the interpreter's own, and how far the output moves in f64 when every
/// input and every result that is rounded moves by one in its last digit.
fn noise(graph: &Graph, inputs: &[Array], k: usize) -> Result<f64> {
    let still = interpret_f64(graph, inputs)?.swap_remove(k);
    let expanded = expand_gradients(graph)?;
    let mut most: f64 = 0.0;
    for version in 0..4 {
        let mut random = Random::new(version);
        let moved: Vec<Array> =
            inputs.iter().map(|x| if x.dtype().is_float() { jolted(x, &mut random) } else { x.clone() }).collect();
        let moved = interpret_f64(&disturbed(&expanded, &mut random)?, &moved)?.swap_remove(k);
        most = most.max(still.error_of(&moved.exact));
    }
    Ok(most + still.error_of(&still.native))
}

fn jolted(x: &Array, random: &mut Random) -> Array {
    let step = x.dtype().epsilon();
    let factor = |random: &mut Random| if random.once_in(2) { 1.0 + step } else { 1.0 - step };
    Array::from_fn_f64(x.dtype(), x.shape(), |i| x.f(i) * factor(random))
}

/// The graph with each rounded result multiplied by numbers next to one.
fn disturbed(graph: &Graph, random: &mut Random) -> Result<Graph> {
    graph.rewrite(|g, _, node, operands| {
        let attrs = node.op.attrs().iter().map(|attr| {
            Ok(match attr {
                Attr::Region(region) => Attr::Region(Region::new(disturbed(region.graph(), random)?)),
                other => other.clone(),
            })
        });
        let op = Op::new(node.op.record(), attrs.collect::<Result<Vec<_>>>()?);
        let results = g.push(op, operands, node.results.clone());
        if is_exact(&node.op) {
            return Ok(results);
        }
        let jolt = |v: Value| {
            let ty = g.ty(v).clone();
            if !ty.dtype.is_float() {
                return Ok(v);
            }
            let ones = Array::full(Literal::float(ty.dtype, 1.0), ty.sizes()?);
            let factors = g.add(ops::constant(jolted(&ones, random)), &[])?[0];
            Ok(g.add(ops::pointwise("mul"), &[v, factors])?[0])
        };
        results.into_iter().map(jolt).collect()
    })
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
