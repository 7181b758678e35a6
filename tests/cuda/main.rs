//! The CUDA back end without a GPU: every graph that compiles for a CPU compiles for CUDA, its launch list run by a host that
//! executes the very text of the kernels computes what the interpreter does, and NVRTC makes machine code of every kernel.
//!
//! An optimised build (`cargo test --release --test cuda -- --nocapture`) tries all samples of all operators, in all types,
//! hundreds of random graphs, and the kernels of whole models; others, a part of that, unless `IGNEOUS_EXTENT=all`. `IGNEOUS_OPERATOR=name` chooses one operator. Running needs a C++ compiler.
//!
//! With a GPU, `cargo test --release --features gpu-tests --test cuda -- gpu` runs all of it there. The test's binary needs nothing
//! of this repository: it can be carried to a machine with a GPU, libnvrtc and no cargo.

mod attention;
mod cases;
mod eager;
mod emulator;
mod exact;
#[path = "../../compiler/tests/fuzz/generate.rs"]
mod generate;
#[cfg(feature = "gpu-tests")]
mod gpu;
#[path = "../../compiler/tests/fuzz/instance.rs"]
mod instance;
#[path = "../../compiler/src/cuda/test_kernels.rs"]
mod kernels;
mod libraries;
mod machine_code;
mod models;
mod products;
#[path = "../../compiler/tests/programs/mod.rs"]
mod programs;
mod races;
mod resident;
mod steps;

use cases::{Case, Cases, Extent};
use emulator::{Counts, Emulator, compiler};
use igneous_ir::array::Array;
use igneous_ir::dim::Symbol;
use igneous_ir::error::{Error, Result};
use igneous_ir::interp::interpret_f64;
use igneous_runtime::Program;
use igneous_runtime::cuda::{self, Device, DeviceBuffer, Executable, Gpu, KernelText, Nvrtc};
use igneous_runtime::program::{Output, Place, Work};
use programs::rounding::{compare, near};
use programs::{guarded, same_bits};
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Instant;

/// What machine code is made for.
const ARCHITECTURES: [&str; 3] = ["sm_80", "sm_90a", "sm_100"];

/// Bytes of shared memory that a kernel may declare.
const MOST_STATIC: u32 = 48 << 10;

/// Bytes of shared memory that a launch may ask for: what a block of `sm_80` can have, less what kernels declare themselves.
const MOST_DYNAMIC: i64 = (163 - 12) << 10;

/// How much this build tries.
fn extent() -> Extent {
    let asked = std::env::var("IGNEOUS_EXTENT").is_ok_and(|extent| extent == "all");
    if cfg!(debug_assertions) && !asked { Extent::Some } else { Extent::All }
}

/// What is tried.
fn cases() -> Cases {
    let mut cases = Cases::default();
    let extent = extent();
    cases.samples(extent);
    if std::env::var("IGNEOUS_OPERATOR").is_err() {
        steps::steps().expect("the steps can be traced").into_iter().for_each(|step| cases.step(step));
        cases.random(1..if extent == Extent::All { 400 } else { 40 });
    }
    cases
}

/// The distinct kernels of all cases.
fn distinct<'c>(cases: impl Iterator<Item = &'c Case>) -> Vec<Arc<KernelText>> {
    let mut seen = HashSet::new();
    let programs = cases.flat_map(|c| c.prepare.iter().map(|p| &p.0).chain([&c.program]).chain(&c.library));
    programs.flat_map(|p| cuda::kernels(p)).filter(|k| seen.insert(k.clone())).collect()
}

/// Runs a program on a device; the launch list is all that is asked of it.
fn run(device: &Arc<dyn Device>, program: &Arc<Program>, inputs: &[Array]) -> Result<Vec<Array>> {
    let buffers = upload(device, inputs)?;
    let shapes: Vec<&[usize]> = inputs.iter().map(Array::shape).collect();
    let outputs = Executable::new(device, program)?.run(&buffers.iter().collect::<Vec<_>>(), &shapes)?;
    arrays(program, inputs, &outputs)
}

/// Arrays as blocks of a device.
fn upload(device: &Arc<dyn Device>, arrays: &[Array]) -> Result<Vec<DeviceBuffer>> {
    arrays.iter().map(|a| DeviceBuffer::from_bytes(device, &a.to_bytes())).collect()
}

/// The outputs of a run on these inputs.
fn arrays(program: &Program, inputs: &[Array], outputs: &[DeviceBuffer]) -> Result<Vec<Array>> {
    let value = |symbol: Symbol| {
        let &(_, input, axis) = program.symbols.iter().find(|(s, _, _)| *s == symbol)?;
        let (_, factor, constant) = program.inputs[input].shape[axis].linear()?;
        Some((inputs[input].shape()[axis] as i64 - constant) / factor)
    };
    let array = |(output, buffer): (&Output, &DeviceBuffer)| {
        let extents: Option<Vec<usize>> = output.ty.shape.iter().map(|d| d.eval(&value).map(|n| n as usize)).collect();
        let extents = extents.ok_or_else(|| Error::new("an extent has no value"))?;
        Array::from_bytes(output.ty.dtype, extents, &buffer.to_bytes()?)
    };
    program.outputs.iter().zip(outputs).map(array).collect()
}

/// Runs what is prepared, then the program.
fn run_case(device: &Arc<dyn Device>, case: &Case, program: &Arc<Program>) -> Result<Vec<Array>> {
    guarded(|| match &case.prepare {
        None => run(device, program, &case.inputs),
        Some((prepare, chosen)) => {
            let given: Vec<Array> = chosen.iter().map(|&i| case.inputs[i].clone()).collect();
            let prepared = run(device, prepare, &given)?;
            run(device, program, &[&case.inputs[..], &prepared].concat())
        }
    })
}

/// Compares what was found with the interpreter.
fn compare_case(case: &Case, found: &Result<Vec<Array>>) -> Result<()> {
    let (expected, found) = match (guarded(|| interpret_f64(&case.graph, &case.inputs)), found) {
        (Err(_), Err(_)) => return Ok(()),
        (Err(_), Ok(_)) => return Err(Error::new("a check fails in the interpreter alone")),
        (Ok(_), Err(error)) => return Err(error.clone()),
        (Ok(expected), Ok(found)) => (expected, found),
    };
    compare(&case.graph, &case.rewritten, &case.inputs, &expected, found)?;
    if case.special {
        expected.iter().zip(found).try_for_each(|(oracle, found)| near(found, &oracle.native))?;
    }
    Ok(())
}

/// Runs a case with threads in both orders, and compares it with the interpreter.
fn check(emulator: &Arc<Emulator>, case: &Case) -> Result<()> {
    let device: Arc<dyn Device> = emulator.clone();
    let in_order = |backwards| {
        emulator.run_backwards(backwards);
        let found = run_case(&device, case, &case.program);
        match &emulator.take_violations()[..] {
            [] => found,
            all => Err(Error::new(all.join(", "))),
        }
    };
    let found = in_order(false);
    compare_case(case, &found)?;
    if let Some(program) = &case.library {
        compare_case(case, &run_case(&device, case, program)).map_err(|e| e.context("products by a library"))?;
    }
    let again = in_order(true);
    // What is added up in any order has no bits of its own.
    if cuda::kernels(&case.program).iter().any(|k| k.source.contains("atomicAdd(")) {
        return compare_case(case, &again);
    }
    if let (Ok(found), Ok(again)) = (&found, again)
        && let Some(k) = found.iter().zip(&again).position(|(a, b)| !same_bits(a, b))
    {
        return Err(Error::new(format!("output {k} depends on the order of the threads")));
    }
    Ok(())
}

/// Runs a program again and again on the same memory: from the third time on, what was recorded.
fn check_repeated(emulator: &Arc<Emulator>, case: &Case) -> Result<()> {
    let device: Arc<dyn Device> = emulator.clone();
    emulator.run_backwards(false);
    let buffers = upload(&device, &case.inputs)?;
    let buffers: Vec<&DeviceBuffer> = buffers.iter().collect();
    let shapes: Vec<&[usize]> = case.inputs.iter().map(Array::shape).collect();
    let executable = Executable::new(&device, &case.program)?;
    let before = emulator.counts().replays;
    let mut first: Option<Vec<Array>> = None;
    for _ in 0..5 {
        let found = arrays(&case.program, &case.inputs, &executable.run(&buffers, &shapes)?)?;
        match &first {
            Some(first) if !first.iter().zip(&found).all(|(a, b)| same_bits(a, b)) => {
                return Err(Error::new("another run gives other results"));
            }
            _ => first = Some(found),
        }
    }
    match emulator.counts().replays - before {
        3.. => Ok(()),
        n => Err(Error::new(format!("of five runs {n} were replayed"))),
    }
}

#[test]
fn without_a_gpu_the_error_says_so() {
    if let Err(error) = Gpu::new(Gpu::count()) {
        let text = error.to_string();
        assert!(text.contains("there is no CUDA driver on this machine") || text.contains("there is no device cuda:"), "{text}");
    }
}

#[test]
fn launch_lists_compute_what_the_interpreter_does() {
    let start = Instant::now();
    let took = |what: &str| println!("{what} after {:.1} s", start.elapsed().as_secs_f64());
    let cases = cases();
    let mut all = distinct(cases.compiled.iter());
    let exact = exact::kernels();
    let known: HashSet<Arc<KernelText>> = all.iter().cloned().collect();
    all.extend(exact.iter().flat_map(|e| cuda::kernels(&e.program)).filter(|k| !known.contains(k)));
    took(&format!("{} graphs compiled", cases.compiled.len()));
    let mut failures: Vec<String> = cases.refused.iter().map(|(name, why)| format!("{name}: not compiled: {why}")).collect();
    let mut executed = 0;
    if let Some(compiler) = compiler() {
        let device = Arc::new(Emulator::new(compiler, "suite"));
        device.prepare(&all).expect("the kernels compile");
        took("kernels compiled for the host");
        for case in &cases.compiled {
            match check(&device, case) {
                Ok(()) => executed += 1,
                Err(error) => {
                    let list = igneous_runtime::cuda::launch_list(&case.program);
                    failures.push(format!("{}: {error}\n{list}", case.name));
                }
            }
        }
        let counts = device.counts();
        let Counts { launches, products, convolutions, .. } = counts;
        took(&format!("{launches} launches, {products} products and {convolutions} convolutions of a library run"));
        assert!(
            products > 0 && convolutions > 0 || std::env::var("IGNEOUS_OPERATOR").is_ok(),
            "the library was not asked for anything"
        );
        for backwards in [false, true] {
            device.run_backwards(backwards);
            let anywhere: Arc<dyn Device> = device.clone();
            failures.extend(exact.iter().filter_map(|e| e.check(&anywhere, backwards).err()).map(|error| error.to_string()));
        }
        let repeatable = |c: &&Case| c.prepare.is_none() && c.program.buffers.iter().all(|b| !matches!(b.place, Place::InOut(_)));
        for case in cases.compiled.iter().filter(|c| c.name.starts_with("softmax")).filter(repeatable) {
            let result = check_repeated(&device, case);
            failures.extend(result.err().map(|error| format!("{}, repeated: {error}", case.name)));
        }
        assert!(device.counts().replays > 0 || std::env::var("IGNEOUS_OPERATOR").is_ok(), "nothing was recorded");
    } else {
        println!("execution is skipped: there is no C++ compiler");
    }
    let (mut operators, mut dynamic) = (BTreeSet::new(), 0);
    for case in &cases.compiled {
        case.program.visit(&mut |program| {
            for work in program.launches.iter().flat_map(|launch| &launch.work) {
                match work {
                    Work::Library(work) => _ = operators.insert(work.op.name()),
                    Work::Cuda(work) => dynamic = dynamic.max(work.shared.bounds().1.unwrap_or(i64::MAX)),
                    _ => {}
                }
            }
        });
    }
    println!("at most {dynamic} bytes of dynamic shared memory");
    assert!(dynamic <= MOST_DYNAMIC, "no device has {dynamic} bytes of shared memory");
    let mut compiled = 0;
    match Nvrtc::get() {
        Err(error) => println!("machine code is skipped: {error}"),
        Ok(nvrtc) => {
            let (architectures, one_in) =
                if extent() == Extent::Some { (&ARCHITECTURES[1..2], 8) } else { (&ARCHITECTURES[..], 1) };
            let chosen: Vec<Arc<KernelText>> = all.iter().step_by(one_in).cloned().collect();
            match machine_code::compile(nvrtc, &chosen, architectures) {
                Ok(resources) => {
                    compiled = resources.len() / architectures.len();
                    let spills = |r: &&machine_code::Resources| r.spilled > 0;
                    let too_large = |r: &&machine_code::Resources| r.shared > MOST_STATIC;
                    failures.extend(resources.iter().filter(too_large).map(|r| format!("too much shared memory: {r}")));
                    println!("{} results spill:", resources.iter().filter(spills).count());
                    resources.iter().filter(spills).take(20).for_each(|r| println!("  {r}"));
                    let most = |of: fn(&machine_code::Resources) -> u32| resources.iter().map(of).max().unwrap_or(0);
                    println!(
                        "at most {} registers, {} bytes of stack, {} bytes of static shared memory",
                        most(|r| r.registers),
                        most(|r| r.stack),
                        most(|r| r.shared)
                    );
                }
                Err(error) => failures.push(error),
            }
            took(&format!("{compiled} kernels compiled for {}", architectures.join(", ")));
        }
    }
    println!("on the host: {}", operators.into_iter().collect::<Vec<_>>().join(", "));
    println!("cuda: {} generated, {compiled} compiled, {executed} graphs executed", all.len());
    for failure in failures.iter().take(40) {
        println!("{failure}");
    }
    assert!(failures.is_empty(), "{} of {} graphs fail", failures.len(), cases.compiled.len() + cases.refused.len());
}
