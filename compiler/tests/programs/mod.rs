//! Running compiled graphs and single kernels on arrays of the interpreter.

#![allow(dead_code)]

pub mod rounding;
pub mod stepwise;

use igneous_compiler::{Compiled, Options, Variables, compile, cpu};
use igneous_ir::array::Array;
use igneous_ir::dim::{Dim, Symbol};
use igneous_ir::error::{Error, Result};
use igneous_ir::graph::Graph;
use igneous_ir::kernel::interp::{Run, interpret};
use igneous_ir::kernel::{Access, Kernel, Stage};
use igneous_ir::op::{Attr, Fill, Op, Sample, Samples};
use igneous_ir::scalar::{ExprId, ScalarOp};
use igneous_ir::types::{DType, Shape, TensorType};
use igneous_ir::{ops, sample};
use igneous_runtime::Buffer;
use igneous_runtime::program::{BufferSpec, Launch, Output, Place, Program, Work};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// All samples of all operators; of one, with its name in `IGNEOUS_OPERATOR`.
pub fn samples() -> impl Iterator<Item = Sample> {
    let chosen = std::env::var("IGNEOUS_OPERATOR").ok();
    ops::records().filter(move |r| chosen.as_ref().is_none_or(|name| name == r.name)).flat_map(|record| {
        println!("{}", record.name);
        let mut samples = Samples::default();
        (record.samples)(&mut samples);
        samples.0
    })
}

/// Without rewriting.
pub fn without_egraph() -> Options {
    Options { egraph: false, ..Options::default() }
}

/// Compiles `graph`, which has no variables. A panic is an error.
pub fn compiled(graph: &Graph, options: &Options) -> Result<Compiled> {
    guarded(|| compile(graph, &Variables::default(), options))
}

/// What `work` gives; its panic as an error.
pub fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str).or(payload.downcast_ref::<&str>().copied());
        Err(Error::new(format!("panic: {}", text.unwrap_or("of unknown kind"))))
    })
}

/// Runs what was compiled on arrays, with what it prepares.
pub fn run_compiled(compiled: &Compiled, inputs: &[Array]) -> Result<Vec<Array>> {
    let Some(prepare) = &compiled.prepare else { return run(&compiled.program, inputs) };
    let given: Vec<Array> = prepare.inputs.iter().map(|&i| inputs[i].clone()).collect();
    let prepared = run(&prepare.program, &given)?;
    run(&compiled.program, &[inputs, &prepared].concat())
}

/// Runs a program on arrays. Only an input that is updated in place may change, and none does in a run that fails.
pub fn run(program: &Program, inputs: &[Array]) -> Result<Vec<Array>> {
    let buffers: Vec<Buffer> = inputs.iter().map(|a| Buffer::from_slice(&a.to_bytes())).collect::<Result<_>>()?;
    let shapes: Vec<&[usize]> = inputs.iter().map(Array::shape).collect();
    let outputs = guarded(|| program.run_with_shapes(&buffers, &shapes));
    let in_place = |i: usize| outputs.is_ok() && program.buffers.iter().any(|b| b.place == Place::InOut(i));
    let kept = |i: usize| in_place(i) || buffers[i].bytes() == inputs[i].to_bytes();
    if let Some(i) = (0..inputs.len()).find(|&i| !kept(i)) {
        return Err(Error::new(format!("the run changed input {i}")));
    }
    let outputs = outputs?;
    let value = |symbol: Symbol| {
        let &(_, input, axis) = program.symbols.iter().find(|(s, _, _)| *s == symbol)?;
        let (_, factor, constant) = program.inputs[input].shape[axis].linear()?;
        Some((inputs[input].shape()[axis] as i64 - constant) / factor)
    };
    let array =
        |(output, buffer): (&Output, &Buffer)| Array::from_bytes(output.ty.dtype, sizes(&output.ty, &value)?, buffer.bytes());
    program.outputs.iter().zip(&outputs).map(array).collect()
}

fn sizes(ty: &TensorType, value: &dyn Fn(Symbol) -> Option<i64>) -> Result<Vec<usize>> {
    let size = |d: &Dim| d.eval(value).map(|n| n as usize).ok_or_else(|| Error::new(format!("dimension {d} has no value")));
    ty.shape.iter().map(size).collect()
}

/// A sample with symbols for its extents above one (equal extents are one symbol), and the extents they stand for.
/// None where the type rule needs numbers.
pub fn generalised(sample: &Sample) -> Option<Sample> {
    let types: Vec<TensorType> = sample.inputs.iter().map(|(ty, _)| ty.clone()).collect();
    let results = sample.op.infer(&types).ok()?;
    let mut extents: Vec<i64> = types.iter().flat_map(|ty| &ty.shape).filter_map(|d| d.as_const()).filter(|&n| n > 1).collect();
    extents.sort_unstable();
    extents.dedup();
    if extents.is_empty() {
        return None;
    }
    let symbol = |d: Dim| match d.as_const().filter(|n| extents.contains(n)) {
        Some(n) => Dim::symbol(&format!("N{n}"), 2, i64::from(i32::MAX)),
        None => d,
    };
    let general = |ty: &TensorType| ty.with_shape(ty.shape.iter().map(|&d| symbol(d)));
    let attrs = sample.op.attrs().iter().map(|attr| match attr {
        Attr::Dim(d) => Attr::Dim(symbol(*d)),
        Attr::Dims(dims) => Attr::Dims(dims.iter().map(|&d| symbol(d)).collect::<Shape>()),
        other => other.clone(),
    });
    let op = Op::new(sample.op.record(), attrs);
    let inputs: Vec<(TensorType, Fill)> = sample.inputs.iter().map(|(ty, fill)| (general(ty), *fill)).collect();
    let inferred = op.infer(&inputs.iter().map(|(ty, _)| ty.clone()).collect::<Vec<_>>()).ok()?;
    let value = |s: Symbol| s.name[1..].parse().ok();
    let concrete = |ty: &TensorType| sizes(ty, &value).ok();
    let same = inferred.len() == results.len() && inferred.iter().zip(&results).all(|(a, b)| concrete(a) == b.sizes().ok());
    same.then_some(Sample { op, inputs })
}

/// A sample with a half type in place of single or double precision. None where there is none of those, or the type rule
/// does not allow it.
pub fn halved(sample: &Sample, half: DType) -> Option<Sample> {
    let narrow = |dtype: DType| if matches!(dtype, DType::F32 | DType::F64) { half } else { dtype };
    let attrs = sample.op.attrs().iter().map(|attr| match attr {
        Attr::DType(dtype) => Attr::DType(narrow(*dtype)),
        other => other.clone(),
    });
    let op = Op::new(sample.op.record(), attrs);
    let inputs: Vec<(TensorType, Fill)> =
        sample.inputs.iter().map(|(ty, fill)| (ty.with_dtype(narrow(ty.dtype)), *fill)).collect();
    op.infer(&inputs.iter().map(|(ty, _)| ty.clone()).collect::<Vec<_>>()).ok()?;
    let halved = Sample { op, inputs };
    (halved.inputs != sample.inputs || halved.op != sample.op).then_some(halved)
}

/// Whether two arrays are the same bits (all NaNs are one).
pub fn same_bits(a: &Array, b: &Array) -> bool {
    let same = |i: usize| a.literal(i) == b.literal(i) || a.dtype().is_float() && a.f(i).is_nan() && b.f(i).is_nan();
    a.ty() == b.ty() && (0..a.len()).all(same)
}

/// A program that launches `kernel` alone, as `work` with its code: its inputs are what the kernel reads, then one more for each
/// symbol.
pub fn program_of(kernel: &Kernel, symbols: &[Symbol], work: Vec<Work>, code: Arc<dyn Any + Send + Sync>) -> Program {
    let mut inputs: Vec<TensorType> = kernel.reads().map(|(_, p)| p.ty.clone()).collect();
    let first = inputs.len();
    inputs.extend(symbols.iter().map(|s| TensorType::new(DType::U8, [Dim::symbol(s.name, s.lo, s.hi)])));
    let mut read = 0..;
    let buffers = kernel.params.iter().map(|p| {
        let place = if p.access == Access::Read { Place::Input(read.next().expect("endless")) } else { Place::Result };
        BufferSpec { ty: p.ty.clone(), place }
    });
    Program {
        name: kernel.name.clone(),
        symbols: symbols.iter().enumerate().map(|(k, s)| (*s, first + k, 0)).collect(),
        inputs,
        outputs: kernel.writes().map(|(i, p)| Output { ty: p.ty.clone(), buffer: i, replaces: None }).collect(),
        buffers: buffers.collect(),
        constants: Vec::new(),
        launches: vec![Launch {
            name: kernel.name.clone(),
            params: (0..kernel.params.len()).collect(),
            work,
            flops: Dim::ZERO,
            bytes: Dim::ZERO,
            commits: false,
        }],
        checks: vec![(String::from("a check"), None); 64],
        code,
        plans: Default::default(),
    }
}

/// That program in machine code.
fn compiled_kernel(kernel: &Kernel, symbols: &[Symbol], target: &cpu::Target) -> Result<Program> {
    let code = cpu::compile_kernels(std::slice::from_ref(kernel), symbols, target)?;
    let [work] = <[_; 1]>::try_from(code.work).map_err(|_| Error::new("one kernel has one list of work"))?;
    Ok(program_of(kernel, symbols, work, code.memory))
}

/// The machine code of `kernel` for each width of this machine against its interpreter, bit for bit, on random and on special numbers. Dots have the
/// library's order of summation, and are left out. Gives whether there was something to compare.
pub fn check_kernel(kernel: &Kernel, value: &dyn Fn(Symbol) -> Option<i64>) -> Result<bool> {
    if kernel.dot().is_some() {
        return Ok(false);
    }
    // A shift by more than the width means nothing.
    let shifts = kernel.sections.iter().any(|s| {
        let roots: Vec<ExprId> = s.stages.iter().flat_map(Stage::roots).collect();
        s.exprs.reachable(&roots).into_iter().any(|id| matches!(s.exprs.get(id).op, ScalarOp::Shl | ScalarOp::Shr))
    });
    let symbols = kernel.symbols();
    let targets = cpu::Target::widths().into_iter();
    let programs = targets.map(|target| Ok((target.width, guarded(|| compiled_kernel(kernel, &symbols, &target))?)));
    let programs = programs.collect::<Result<Vec<_>>>()?;
    for special in [false, true] {
        let mut inputs = Vec::new();
        for (k, (_, param)) in kernel.reads().enumerate() {
            let ty = TensorType::new(param.ty.dtype, sizes(&param.ty, value)?);
            let fill = match ty.dtype {
                DType::Bool => Fill::Range(0, 2),
                dtype if dtype.is_int() && shifts => Fill::Range(0, 8),
                _ if special => Fill::Specials,
                dtype if dtype.is_float() => Fill::Normal,
                _ => Fill::Range(-3, 40),
            };
            inputs.push(sample::array(&ty, fill, 7, k)?);
        }
        let expected = interpret(kernel, &inputs.iter().collect::<Vec<_>>(), value, &Run::default())?;
        for s in &symbols {
            let n = value(*s).ok_or_else(|| Error::new(format!("{} has no value", s.name)))?;
            inputs.push(Array::ints(DType::U8, [n as usize], vec![0; n as usize]));
        }
        for (width, program) in &programs {
            match (run(program, &inputs), expected.failed) {
                (Err(_), Some(_)) => {}
                (Err(error), None) => return Err(error),
                (Ok(_), Some((code, _))) => return Err(Error::new(format!("check {code} fails in the interpreter alone"))),
                (Ok(found), None) => {
                    for (k, (f, e)) in found.iter().zip(&expected.outputs).enumerate() {
                        if !same_bits(f, e) {
                            let at =
                                (0..f.len()).find(|&i| f.literal(i) != e.literal(i) && !(f.f(i).is_nan() && e.f(i).is_nan()));
                            let at = at.unwrap_or(0);
                            return Err(Error::new(format!("kernel {}: output {k} differs at {at}", kernel.name))
                                .note("vectors", width.name())
                                .note("machine code", f.literal(at))
                                .note("interpreter", e.literal(at))
                                .note("numbers", if special { "special" } else { "random" })
                                .note("text", format_args!("\n{kernel}")));
                        }
                    }
                }
            }
        }
    }
    Ok(true)
}

/// Failures by operator, and a closing line with the number of what passed.
#[derive(Default)]
pub struct Report {
    passed: usize,
    failures: Vec<(&'static str, String)>,
}

impl Report {
    /// Counts a check of `operator`.
    pub fn note(&mut self, operator: &'static str, what: &str, result: Result<()>) {
        match result {
            Ok(()) => self.passed += 1,
            Err(error) => self.failures.push((operator, format!("{what}\n    {}", error.to_string().replace('\n', "\n    ")))),
        }
    }

    /// Prints everything; panics if something failed or next to nothing was checked.
    pub fn finish(mut self, name: &str, least: usize) {
        self.failures.sort_by_key(|(operator, _)| *operator);
        for group in self.failures.chunk_by(|a, b| a.0 == b.0) {
            println!("{}: {} failures", group[0].0, group.len());
            group.iter().for_each(|(_, text)| println!("  {text}"));
        }
        println!("{name}: {} passed", self.passed);
        assert!(self.failures.is_empty(), "{name}: {} of {} failed", self.failures.len(), self.failures.len() + self.passed);
        let least = if std::env::var("IGNEOUS_OPERATOR").is_ok() { 0 } else { least };
        assert!(self.passed >= least, "{name}: only {} checks", self.passed);
    }
}
