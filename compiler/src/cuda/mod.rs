//! CUDA C++ for kernels.
//!
//! The text needs no header and no template, so that NVRTC compiles it in tens of milliseconds. A map gives a thread a
//! few consecutive points and moves 16 bytes at once where elements are contiguous. A reduction gives a point 32 lanes,
//! which are the 32 accumulators of the documented tree, so that a GPU adds in the order in which a CPU does: the lanes
//! are a warp where the reduced axis is contiguous, else they lie across the points of a block. The sections of a
//! kernel share one launch: each has a range of blocks. A product is computed by blocks that pass through shared memory, of half types on
//! tensor cores; what is read across passes through it, too. What no other template takes, a thread does point by point. A product or a
//! convolution that a library of the device can do is launched by itself, with what the library is told of it.

mod attention;
mod convolution;
mod half;
mod library;
mod mma;
mod out;
mod plan;
mod prelude;
mod product;
mod range;
mod reduce;
mod scalar;
mod scatter;
mod section;
#[cfg(test)]
mod test_kernels;
#[cfg(test)]
mod tests;
mod tile;
mod transpose;
mod worth;

use crate::cpu::{attention_work, is_attention};
use crate::driver::Options;
use crate::precision::Precision;
use igneous_ir::Result;
use igneous_ir::dim::{Dim, Symbol};
use igneous_ir::kernel::{Access, Kernel, Param, Section};
use igneous_ir::math;
use igneous_ir::scalar::{Exprs, MathFn, S, ScalarOp};
use igneous_ir::types::DType;
use igneous_runtime::cuda::{Alternative, Choice, CudaWork, KernelText, Operation};
use igneous_runtime::program::{LibraryWork, Work};
use out::Out;
use scalar::Unit;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

pub(crate) use worth::saved_by_library;

/// Threads in each block of a kernel, unless it needs so many registers that there are fewer.
pub const THREADS: u32 = 256;

/// Every kernel of a program as CUDA C++; equal texts are one.
///
/// # Errors
/// If a kernel is ill-formed.
pub fn compile_kernels(kernels: &[Kernel], options: &Options) -> Result<Vec<Vec<Work>>> {
    let mut known: HashMap<String, Arc<KernelText>> = HashMap::new();
    let mut share = |mut work: CudaWork| {
        let text = known.entry(work.kernel.source.clone()).or_insert_with(|| work.kernel.clone());
        work.kernel = text.clone();
        Work::Cuda(Box::new(work))
    };
    kernels.iter().map(|kernel| Ok(emit(kernel, options)?.into_iter().map(&mut share).collect())).collect()
}

/// Writes `kernel` as CUDA C++: one launch, or a few that follow each other. Unless the precision is strict, sums over places that the
/// data decide are added up in any order, and libraries may compute products and convolutions.
///
/// # Errors
/// If the kernel is ill-formed.
pub fn emit(kernel: &Kernel, options: &Options) -> Result<Vec<CudaWork>> {
    kernel.verify()?;
    let kernel = &*half::widened_last(kernel);
    let known = is_attention(kernel).then(|| attention_work(kernel)).flatten();
    match known.and_then(|known| attention::emit(kernel, &known, options.precision)) {
        Some(works) => works,
        None if options.precision == Precision::Strict => Ok(vec![emit_sections(kernel)?]),
        None => scatter::split(kernel).iter().flat_map(|part| split_libraries(part, options)).map(Part::emit).collect(),
    }
}

/// Sections of a kernel that are launched together, and what a library may do in their place.
struct Part {
    kernel: Kernel,
    library: Option<Box<Alternative>>,
}

impl Part {
    fn emit(self) -> Result<CudaWork> {
        Ok(CudaWork { library: self.library, ..emit_sections(&self.kernel)? })
    }
}

/// The sections of a kernel that libraries may compute, each by itself, and what is left.
fn split_libraries(kernel: &Kernel, options: &Options) -> Vec<Part> {
    let (mut parts, mut rest) = (Vec::new(), Vec::new());
    for section in &kernel.sections {
        match alternative(kernel, section, options) {
            Some(alternative) => {
                let kernel = Kernel { sections: vec![section.clone()], ..kernel.clone() };
                parts.push(Part { kernel, library: Some(Box::new(alternative)) });
            }
            None => rest.push(section.clone()),
        }
    }
    if !rest.is_empty() {
        parts.push(Part { kernel: Kernel { sections: rest, ..kernel.clone() }, library: None });
    }
    for (k, part) in parts.iter_mut().enumerate().skip(1) {
        part.kernel.name = format!("{}_{k}", part.kernel.name);
    }
    parts
}

/// What a library can do in place of a section.
fn alternative(kernel: &Kernel, section: &Section, options: &Options) -> Option<Alternative> {
    let matmul = options.matmul.under(options.precision);
    let operation = product::of(kernel, section, matmul)
        .map(|product| Operation::Product(Box::new(product)))
        .or_else(|| convolution::of(kernel, section, matmul).map(Operation::Convolution))?;
    let known = operation.is_constant();
    let alternative = Alternative { operation, choices: options.choices.clone() };
    match alternative.choice() {
        // A launch of its own does not pay.
        Some(Choice::Kernel) if kernel.sections.len() > 1 => None,
        None if known => None,
        _ => Some(alternative),
    }
}

/// The sections of a kernel in one launch.
fn emit_sections(kernel: &Kernel) -> Result<CudaWork> {
    let mut taken = scalar::reserved();
    let name = scalar::identifier(&kernel.name, &mut taken);
    let params: Vec<String> = kernel.params.iter().map(|p| scalar::identifier(&p.name, &mut taken)).collect();
    let unit = RefCell::new(Unit::default());
    let plans: Vec<plan::Plan> = kernel.sections.iter().map(|section| plan::Plan::new(kernel, section)).collect();
    let scratch: Dim = kernel.sections.iter().zip(&plans).fold(Dim::ZERO, |sum, (s, p)| sum + p.scratch(s));
    let short_index = scratch == Dim::ZERO && plan::short_index(kernel);
    let mut out = Out::default();
    let (mut grid, mut shared, mut behind) = (Dim::ZERO, Dim::ZERO, Dim::ZERO);
    for (section, plan) in kernel.sections.iter().zip(&plans) {
        let emitter = section::Emitter::new(kernel, section, plan, &params, &unit, short_index, &taken);
        let emitter = section::Emitter { scratch: behind, ..emitter };
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
        behind = behind + plan.scratch(section);
    }
    let resident = if plans.iter().any(plan::Plan::is_product) { 1 } else { RESIDENT };
    assemble(Text { resident, ..Text::of(kernel, name, &params, unit, short_index, scratch) }, grid, shared, out)
}

/// An operator over whole tensors as a kernel, if it has one: else the host computes it.
pub fn library_work(work: &LibraryWork) -> Option<CudaWork> {
    library::emit(work)
}

/// What the text of a kernel is made of besides its body.
struct Text {
    name: String,
    /// The declarations of the parameters.
    arguments: Vec<String>,
    symbols: Vec<Symbol>,
    unit: RefCell<Unit>,
    short_index: bool,
    scratch: Dim,
    /// Threads in a block.
    threads: u32,
    /// Blocks that shall fit a multiprocessor at once, which bounds the registers of a thread: told nothing, the assembler gives
    /// most kernels 32, and stores others rather than run fewer blocks.
    resident: u32,
}

/// Blocks at once of kernels that wait for memory, with 80 registers for each thread.
const RESIDENT: u32 = 3;

impl Text {
    fn of(kernel: &Kernel, name: String, params: &[String], unit: RefCell<Unit>, short_index: bool, scratch: Dim) -> Text {
        let argument = |(param, name): (&Param, &String)| {
            let constant = if param.access == Access::Read { "const " } else { "" };
            format!("{constant}{}* {name}", scalar::storage(param.ty.dtype))
        };
        let arguments = kernel.params.iter().zip(params).map(argument).collect();
        Text { name, arguments, symbols: kernel.symbols(), unit, short_index, scratch, threads: THREADS, resident: RESIDENT }
    }
}

/// The whole text: helpers, mathematical functions, the kernel.
fn assemble(text: Text, grid: Dim, shared: Dim, body: Out) -> Result<CudaWork> {
    let Text { name, mut arguments, symbols, unit, short_index, scratch, threads, resident } = text;
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
    arguments.extend(symbols.iter().map(|s| format!("long long {}_", scalar::symbol(s.name))));
    arguments.extend(["unsigned long long* error".to_owned(), "unsigned long long run".to_owned()]);
    arguments.extend((scratch != Dim::ZERO).then(|| "unsigned char* scratch".to_owned()));
    out.open(format!(
        "extern \"C\" __global__ void __launch_bounds__({threads}, {resident}) {name}({}) {{",
        arguments.join(", ")
    ));
    for s in &symbols {
        out.line(format!("const idx {0} = (idx){0}_;", scalar::symbol(s.name)));
    }
    if unit.exchange > 0 {
        out.line(format!("__shared__ __align__(16) unsigned char exchange[{}];", unit.exchange));
    }
    out.line("if ((run & 1) && *error) return;");
    out.append(body);
    out.close();
    let kernel = Arc::new(KernelText { name, source: out.text, block: threads });
    Ok(CudaWork { kernel, grid, shared, scratch, symbols, library: None })
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
