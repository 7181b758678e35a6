//! CUDA C++ for map and reduce kernels.
//!
//! The text needs no header and no template, so that NVRTC compiles it in tens of milliseconds. A map gives a thread a
//! few consecutive points and moves 16 bytes at once where elements are contiguous. A reduction gives a point 32 lanes,
//! which are the 32 accumulators of the documented tree, so that a GPU adds in the order in which a CPU does: the lanes
//! are a warp where the reduced axis is contiguous, else they lie across the points of a block. The sections of a
//! kernel share one launch: each has a range of blocks.

#[cfg(test)]
mod emulate_tests;
mod out;
mod plan;
mod prelude;
mod range;
mod reduce;
mod scalar;
mod section;
#[cfg(test)]
mod tests;

use igneous_ir::dim::{Dim, Symbol};
use igneous_ir::kernel::{Access, Kernel, Stage, Store, Target};
use igneous_ir::math;
use igneous_ir::scalar::{Exprs, MathFn, S, ScalarOp};
use igneous_ir::types::DType;
use igneous_ir::{Error, Result};
use out::Out;
use scalar::Unit;
use std::cell::RefCell;
use std::collections::BTreeSet;

/// Threads in each block of every kernel.
pub const THREADS: u32 = 256;

/// Options that the text must be compiled with: contraction to FMA would change results.
pub const OPTIONS: [&str; 1] = ["--fmad=false"];

/// The text of a kernel and how it is launched.
#[derive(Clone, Debug)]
pub struct CudaKernel {
    /// The name of the `extern "C"` function.
    pub name: String,
    /// CUDA C++.
    pub source: String,
    /// The number of blocks; zero never occurs.
    pub grid: Dim,
    /// Threads in a block.
    pub block: u32,
    /// Bytes of dynamic shared memory.
    pub shared: Dim,
    /// The arguments are a pointer for each kernel parameter, a 64-bit integer for each of these symbols, and, if
    /// `reports` is set, a pointer to the run's error word (code, then value).
    pub symbols: Vec<Symbol>,
    /// Whether the kernel has checks.
    pub reports: bool,
}

/// Writes `kernel` as CUDA C++.
///
/// # Errors
/// If the kernel is ill-formed, or if it has a dot or a scatter: those are not realised by these templates.
pub fn emit(kernel: &Kernel) -> Result<CudaKernel> {
    kernel.verify()?;
    let fail = |e: Error| e.context(format!("kernel {}", kernel.name));
    kernel.sections.iter().flat_map(|s| &s.stages).try_for_each(realisable).map_err(fail)?;
    let mut taken = scalar::reserved();
    let name = scalar::identifier(&kernel.name, &mut taken);
    let params: Vec<String> = kernel.params.iter().map(|p| scalar::identifier(&p.name, &mut taken)).collect();
    let unit = RefCell::new(Unit::default());
    let mut plans = Vec::new();
    for section in &kernel.sections {
        plans.push(plan::Plan::new(kernel, section).map_err(fail)?);
    }
    let short_index = plan::short_index(kernel);
    let mut out = Out::default();
    let (mut grid, mut shared) = (Dim::ZERO, Dim::ZERO);
    for (section, plan) in kernel.sections.iter().zip(&plans) {
        let emitter = section::Emitter::new(kernel, section, plan, &params, &unit, short_index, &taken);
        let blocks = emitter.blocks();
        match kernel.sections.len() {
            1 => emitter.write(&mut out, "blockIdx.x".into(), "gridDim.x".into()),
            _ => {
                out.open(format!("if (blockIdx.x < {}) {{", scalar::dim(grid + blocks)));
                let first = if grid == Dim::ZERO { String::new() } else { format!(" - {}", scalar::dim(grid)) };
                emitter.write(&mut out, format!("blockIdx.x{first}"), scalar::dim(blocks));
                out.line("return;");
                out.close();
            }
        }
        grid = grid + blocks;
        shared = shared.max(emitter.shared());
    }
    let reports = kernel.sections.iter().flat_map(|s| &s.stages).any(|s| matches!(s, Stage::Check { .. }));
    let symbols = kernel.symbols();
    let source = assemble(kernel, &name, &params, unit, short_index, &symbols, reports, out)?;
    Ok(CudaKernel { name, source, grid, block: THREADS, shared, symbols, reports })
}

fn realisable(stage: &Stage) -> Result<()> {
    match stage {
        Stage::Dot { .. } => {
            Err(Error::new("a dot is realised by the library or a matrix template, not by the map and reduce templates"))
        }
        Stage::Map { axes: _, stores } => match stores.iter().find(|s| is_combining(s)) {
            Some(_) => Err(Error::new("a scatter is realised by its own template, not by the map and reduce templates")),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

fn is_combining(store: &Store) -> bool {
    matches!(store.to, Target::Param { combine: Some(_), .. })
}

/// The whole text: helpers, mathematical functions, the kernel.
#[allow(clippy::too_many_arguments)]
fn assemble(
    kernel: &Kernel,
    name: &str,
    params: &[String],
    unit: RefCell<Unit>,
    short_index: bool,
    symbols: &[Symbol],
    reports: bool,
    body: Out,
) -> Result<String> {
    let functions = math_functions(&unit)?;
    let unit = unit.into_inner();
    let mut out = Out::default();
    out.line(format!("typedef {} idx;", if short_index { "int" } else { "long long" }));
    for &(dtype, lanes) in &unit.vectors {
        let bytes = dtype.size() as u32 * lanes;
        let element = scalar::storage(dtype);
        out.line(format!("struct __align__({bytes}) {} {{ {element} v[{lanes}]; }};", scalar::vector(dtype, lanes)));
    }
    out.text.push_str(&prelude::text(&unit.helpers));
    out.text.push_str(&functions);
    let mut arguments = Vec::new();
    for (param, name) in kernel.params.iter().zip(params) {
        let constant = if param.access == Access::Read { "const " } else { "" };
        arguments.push(format!("{constant}{}* {name}", scalar::storage(param.ty.dtype)));
    }
    arguments.extend(symbols.iter().map(|s| format!("long long {}_", scalar::symbol(s.name))));
    arguments.extend(reports.then(|| "unsigned long long* error".to_owned()));
    out.open(format!("extern \"C\" __global__ void __launch_bounds__({THREADS}) {name}({}) {{", arguments.join(", ")));
    for s in symbols {
        out.line(format!("const idx {0} = (idx){0}_;", scalar::symbol(s.name)));
    }
    out.append(body);
    out.close();
    Ok(out.text)
}

/// Definitions of the mathematical functions that are used, those that others call first.
fn math_functions(unit: &RefCell<Unit>) -> Result<String> {
    let mut texts: Vec<String> = Vec::new();
    let mut done: BTreeSet<(MathFn, DType)> = BTreeSet::new();
    loop {
        let next = unit.borrow().math.iter().rev().find(|f| !done.contains(f)).copied();
        let Some((f, dtype)) = next else { break };
        done.insert((f, dtype));
        texts.push(math_function(unit, f, dtype));
    }
    texts.reverse();
    Ok(texts.concat())
}

fn math_function(unit: &RefCell<Unit>, f: MathFn, dtype: DType) -> String {
    let exprs = RefCell::new(Exprs::default());
    let names = if f == MathFn::Pow { &["x", "y"][..] } else { &["x"][..] };
    let args: Vec<_> = (0..names.len() as u32).map(|i| exprs.borrow_mut().raw(ScalarOp::Local(i), &[], dtype)).collect();
    let args: Vec<S> = args.into_iter().map(|id| S::of(&exprs, id)).collect();
    let result = math::define(f, &args).id;
    let exprs = exprs.into_inner();
    let (lines, values) = section::straight_line(exprs, names, dtype, result, unit);
    let c = scalar::ctype(dtype);
    let arguments = names.iter().map(|n| format!("{c} {n}")).collect::<Vec<_>>().join(", ");
    let mut out = Out::default();
    out.open(format!("__device__ inline {c} {}_{dtype}({arguments}) {{", f.name()));
    lines.into_iter().for_each(|l| out.line(l));
    out.line(format!("return {values};"));
    out.close();
    out.text
}
