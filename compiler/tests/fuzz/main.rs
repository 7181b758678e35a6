//! Random graphs, compiled in several ways and run in eager mode, against the interpreter in f64; machine code and the
//! interpreter of kernels against each other; one compilation against another; one thread against several.
//!
//! `IGNEOUS_FUZZ=n` tries n graphs instead of 200, `IGNEOUS_FUZZ_SEED=s` begins with the seed s. A graph that fails is
//! made smaller, and printed.

mod eager;
mod generate;
mod instance;
mod minimise;
#[path = "../programs/mod.rs"]
mod programs;
mod symbolic;

use eager::Eager;
use generate::{Case, Random};
use igneous_compiler::cpu::Target;
use igneous_compiler::{Compiled, Options, Precision, Variables};
use igneous_ir::array::Array;
use igneous_ir::error::{Error, Result};
use igneous_ir::graph::{Graph, Value};
use igneous_ir::interp::{interpret, interpret_f64};
use igneous_ir::ops;
use igneous_ir::types::Literal;
use igneous_runtime::set_num_threads;
use minimise::minimise;
use programs::rounding::{compare, primitives};
use programs::stepwise::stepwise;
use programs::{compiled, guarded, run_compiled, same_bits, without_egraph};
use std::cell::RefCell;
use std::fmt;

/// At which stage a case fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Compile,
    Run,
    Compare,
    Threads,
    Kernels,
    Texts,
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

/// A way to compile.
struct Mode {
    name: &'static str,
    options: Options,
    /// With symbols for extents, which this seed chooses; where the type rules do not allow it, nothing is tried.
    symbols: Option<u64>,
    /// With variables among the inputs, which this seed chooses.
    variables: Option<u64>,
    /// Compiled twice, and run by the interpreter of kernels too.
    thorough: bool,
    /// Not compiled as a whole: run operator by operator.
    eager: bool,
}

/// The ways to compile the graph of this seed.
fn modes(seed: u64) -> Vec<Mode> {
    let mode = |name, options| Mode { name, options, symbols: None, variables: None, thorough: false, eager: false };
    let default = Options::default;
    let rare = match seed % 4 {
        0 => mode("strict", Options { precision: Precision::Strict, ..default() }),
        1 => mode("fast", Options { precision: Precision::Fast, ..default() }),
        2 => mode("for the baseline processor", Options { target: Target::baseline(), ..default() }),
        _ => mode("neither recognised nor outlined", Options { recognise: false, outline: false, ..default() }),
    };
    vec![
        Mode { thorough: true, ..mode("default", default()) },
        mode("without e-graph", without_egraph()),
        rare,
        Mode { symbols: Some(seed), thorough: seed.is_multiple_of(4), ..mode("with symbols", default()) },
        Mode { variables: Some(seed), ..mode("with variables", default()) },
        Mode { eager: true, ..mode("eager", default()) },
    ]
}

thread_local! {
    static EAGER: RefCell<Eager> = RefCell::default();
}

fn check(case: &Case, mode: &Mode) -> std::result::Result<(), Failure> {
    let at = |stage: Stage| move |error: Error| Failure { stage, error };
    // A case that the interpreter refuses shows nothing.
    let Ok(expected) = guarded(|| interpret_f64(&case.graph, &case.inputs)) else { return Ok(()) };
    if mode.eager {
        set_num_threads(1);
        let found = EAGER.with_borrow_mut(|eager| eager.run(&case.graph, &case.inputs)).map_err(at(Stage::Run))?;
        let own = primitives(&case.graph).map_err(at(Stage::Compile))?;
        return compare(&case.graph, &own, &case.inputs, &expected, &found).map_err(at(Stage::Compare));
    }
    let symbolic = mode.symbols.map(|seed| symbolic::generalised(case, seed));
    let graph = match &symbolic {
        Some(Some(graph)) => graph,
        Some(None) => return Ok(()),
        None => &case.graph,
    };
    let variables = mode.variables.map_or(Variables::default(), |seed| variables(graph, seed));
    let compile = || guarded(|| igneous_compiler::compile(graph, &variables, &mode.options)).map_err(at(Stage::Compile));
    let program = compile()?;
    let found = run_with(&program, &case.inputs, 1).map_err(at(Stage::Run))?;
    // What is prepared is not in the graph that was compiled last.
    let rewritten = if program.prepare.is_some() { &case.graph } else { program.graph() };
    compare(&case.graph, rewritten, &case.inputs, &expected, &found).map_err(at(Stage::Compare))?;
    for threads in [2, 3] {
        let again = run_with(&program, &case.inputs, threads).map_err(at(Stage::Run))?;
        same(&found, &again).map_err(|e| at(Stage::Threads)(e.note("threads", threads)))?;
    }
    if mode.thorough {
        let again = compile()?;
        equal_texts(&program, &again).map_err(at(Stage::Texts))?;
        let small = case.inputs.iter().chain(&found).all(|x| x.len() <= SMALL);
        if small {
            check_kernels(case, &program, &found).map_err(at(Stage::Kernels))?;
        }
    }
    Ok(())
}

/// The interpreter of kernels is slow: it gets tensors of at most this many elements.
const SMALL: usize = 4000;

fn run_with(program: &Compiled, inputs: &[Array], threads: usize) -> Result<Vec<Array>> {
    set_num_threads(threads);
    run_compiled(program, inputs)
}

/// Some inputs as variables that do not change, some as variables whose new value is an output.
fn variables(graph: &Graph, seed: u64) -> Variables {
    let mut random = Random::new(seed);
    let mut variables = Variables::default();
    for (i, (v, _)) in graph.inputs().iter().enumerate() {
        let taken = |k: usize| variables.assigned.iter().any(|&(_, output)| output == k);
        let output = graph.outputs().iter().enumerate().find(|(k, (w, _))| !taken(*k) && graph.ty(*w) == graph.ty(*v));
        match output {
            Some((k, _)) if !random.once_in(3) => variables.assigned.push((i, k)),
            _ if random.once_in(2) => variables.stable.push(i),
            _ => {}
        }
    }
    variables
}

fn same(first: &[Array], second: &[Array]) -> Result<()> {
    let Some((k, (a, b))) = first.iter().zip(second).enumerate().find(|(_, (a, b))| !same_bits(a, b)) else { return Ok(()) };
    let differs = |i: &usize| a.literal(*i) != b.literal(*i) && !(a.f(*i).is_nan() && b.f(*i).is_nan());
    let at = (0..a.len()).find(differs).unwrap_or(0);
    Err(Error::new(format!("output {k} differs at {at}")).note("first", a.literal(at)).note("then", b.literal(at)))
}

/// The kernels compute the same by the interpreter of kernels.
fn check_kernels(case: &Case, program: &Compiled, found: &[Array]) -> Result<()> {
    let steps = guarded(|| stepwise(program.graph(), &case.inputs))?;
    if steps.reproducible {
        return same(&steps.outputs, found);
    }
    let expected = interpret_f64(&case.graph, &case.inputs)?;
    compare(&case.graph, program.graph(), &case.inputs, &expected, &steps.outputs)
}

/// Everything that can be seen of two compilations is the same.
fn equal_texts(first: &Compiled, second: &Compiled) -> Result<()> {
    let texts = |c: &Compiled| {
        let stages: String = c.stages().iter().map(|(name, graph)| format!("{name}\n{graph}\n")).collect();
        let rest = [c.derivation().to_string(), c.fusion_log().to_string(), c.kernels_text(), c.code().to_string()];
        [[stages].as_slice(), &rest, &[c.cuda().to_string(), c.memory().to_string(), c.cost().to_string()]].concat()
    };
    match texts(first).into_iter().zip(texts(second)).find(|(a, b)| a != b) {
        Some((a, b)) => Err(Error::new("two compilations differ").note("first", a).note("then", b)),
        None => Ok(()),
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The graph that `mode` compiles.
fn graph_of(case: &Case, mode: &Mode) -> Option<Graph> {
    match mode.symbols {
        Some(seed) => symbolic::generalised(case, seed),
        None => Some(case.graph.clone()),
    }
}

#[test]
fn random_graphs_compute_what_the_interpreter_does() {
    let (count, first) = (number("IGNEOUS_FUZZ", 200), number("IGNEOUS_FUZZ_SEED", 1));
    let (mut nodes, mut symbolic, mut failures) = (0, 0, 0);
    for seed in first..first + count {
        let case = generate::case(seed);
        nodes += case.graph.len();
        for mode in modes(seed) {
            symbolic += usize::from(mode.symbols.is_some() && graph_of(&case, &mode).is_some());
            let Err(failure) = check(&case, &mode) else { continue };
            failures += 1;
            println!("seed {seed}, {}: {failure}", mode.name);
            let fails = |case: &Case| check(case, &mode).is_err_and(|f| f.stage == failure.stage);
            let small = minimise(case.clone(), &fails);
            let error = check(&small, &mode).err().map_or(String::new(), |f| f.to_string());
            let graph = graph_of(&small, &mode).unwrap_or_else(|| small.graph.clone());
            println!("smaller: {error}\n{graph}");
            for input in &small.inputs {
                println!("  {input:?}");
            }
            if let Ok(compiled) = compiled(&graph, &mode.options) {
                println!("{}\n{}", compiled.graph(), compiled.kernels_text());
            }
            break;
        }
    }
    println!("fuzz: {count} graphs of {nodes} nodes, {symbolic} with symbols, {failures} failures");
    assert_eq!(failures, 0);
    assert!(nodes as u64 > 8 * count, "the graphs are too small");
    assert!(symbolic as u64 >= count / 8, "too few graphs have symbols");
}

/// The graph with the results of one node, which are floats, a thousandth larger.
fn with_error(case: &Case, node: u32) -> Result<Graph> {
    case.graph.rewrite(|g, n, old, operands| {
        let results = g.push(old.op.clone(), operands, old.results.clone());
        if n != node {
            return Ok(results);
        }
        let enlarge = |v: Value| {
            let ty = g.ty(v).clone();
            let factors = Array::full(Literal::float(ty.dtype, 1.001), ty.sizes()?);
            let factors = g.add(ops::constant(factors), &[])?[0];
            Ok(g.add(ops::pointwise("mul"), &[v, factors])?[0])
        };
        results.into_iter().map(enlarge).collect()
    })
}

#[test]
fn the_bound_on_rounding_errors_catches_a_factor_that_is_off_by_a_thousandth() {
    let (mut caught, mut tried) = (0, 0);
    for seed in 1..=120 {
        let case = generate::case(seed);
        let small = case.inputs.iter().all(|x| x.len() <= SMALL);
        let Ok(expected) = guarded(|| interpret_f64(&case.graph, &case.inputs)) else { continue };
        let floats = case.graph.nodes().filter(|(_, n)| n.results.iter().all(|ty| ty.dtype.is_float()) && !n.operands.is_empty());
        let Some((node, _)) = floats.min_by_key(|(n, _)| (*n as u64 * 7919 + seed) % 101).filter(|_| small) else { continue };
        let live = case.graph.live()[node as usize];
        let Ok(found) = with_error(&case, node).and_then(|graph| guarded(|| interpret(&graph, &case.inputs))) else { continue };
        // Some errors have no consequences.
        let visible = expected.iter().zip(&found).any(|(oracle, found)| oracle.error_of(found) > 1e-5 * oracle.magnitude());
        if live && visible {
            tried += 1;
            caught += usize::from(compare(&case.graph, &case.graph, &case.inputs, &expected, &found).is_err());
        }
    }
    println!("{caught} of {tried} errors are caught");
    assert!(tried >= 40, "{tried} graphs show the error");
    assert!(100 * caught >= 95 * tried, "{caught} of {tried} errors are caught");
}
