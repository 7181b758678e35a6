//! From kernels to callable work: functions that are equal are compiled once, several at a time.

use super::emitter::{Emitter, check_symbols, signature};
use super::memory::{CodeMemory, MachineCode};
use super::nest::Plan;
use super::section::{Function, bindings, estimate, loop_function};
use super::target::Target;
use cranelift_codegen::Context;
use cranelift_codegen::isa::TargetIsa;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use igneous_ir::dim::{Dim, Symbol};
use igneous_ir::error::{Error, Result};
use igneous_ir::kernel::{Kernel, Param, Section};
use igneous_runtime::program::{KernelFn, LoopWork, Work};
use std::any::Any;
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

/// Compiled kernels.
pub struct CpuCode {
    /// For each kernel, the work of each of its sections.
    pub work: Vec<Vec<Work>>,
    /// Name and Cranelift IR of each function, in order.
    pub clif: Vec<(String, String)>,
    /// Keeps the machine code alive: hold it as long as any function of `work` may be called.
    pub memory: Arc<dyn Any + Send + Sync>,
}

/// What a section becomes; functions are named by their number.
enum Pending {
    Loop { function: usize, extents: Vec<Dim>, bind: Vec<usize>, point_ns: f64, scratch: Dim },
}

/// A function and what it is called in listings.
struct Unit {
    name: String,
    function: Function,
}

/// Collects functions; those of equal sections once.
#[derive(Default)]
struct Units {
    list: Vec<Unit>,
    known: HashMap<String, usize>,
}

/// Compiles kernels into one piece of executable memory. `symbols` gives the order of the `dims` argument.
/// Sections that differ in names only share code.
///
/// # Errors
/// If a kernel uses an element type or a form that the back end does not support, or memory cannot be had.
pub fn compile_kernels(kernels: &[Kernel], symbols: &[Symbol], target: &Target) -> Result<CpuCode> {
    let mut units = Units::default();
    let mut pending: Vec<Vec<Pending>> = Vec::new();
    for kernel in kernels {
        let mut sections = Vec::new();
        for (number, section) in kernel.sections.iter().enumerate() {
            let name = if kernel.sections.len() == 1 { kernel.name.clone() } else { format!("{}.{number}", kernel.name) };
            let done = section_work(&mut units, &name, section, &kernel.params, symbols);
            sections.push(done.map_err(|e| e.context(format!("kernel {}", kernel.name)))?);
        }
        pending.push(sections);
    }
    let isa = target.isa()?;
    let compiled = compile_all(&units.list, symbols, target, &*isa)?;
    let (machine, clif): (Vec<MachineCode>, Vec<String>) = compiled.into_iter().unzip();
    let (memory, functions) = CodeMemory::map(isa, &machine)?;
    let clif = units.list.into_iter().map(|u| u.name).zip(clif).collect();
    let work = pending.into_iter().map(|sections| sections.into_iter().map(|p| p.resolve(&functions)).collect()).collect();
    Ok(CpuCode { work, clif, memory: Arc::new(memory) })
}

fn section_work(units: &mut Units, name: &str, section: &Section, params: &[Param], symbols: &[Symbol]) -> Result<Pending> {
    let dims = section.axes.iter().map(|a| a.extent).chain(params.iter().flat_map(|p| p.ty.shape.iter().copied()));
    check_symbols(dims, symbols)?;
    let key = structure(section, params);
    let function = match units.known.get(&key) {
        Some(&known) => known,
        None => {
            let function = loop_function(section, params)?;
            units.list.push(Unit { name: name.to_string(), function });
            units.known.insert(key, units.list.len() - 1);
            units.list.len() - 1
        }
    };
    let plan = &units.list[function].function.plan;
    Ok(Pending::Loop {
        function,
        extents: section.parallel().map(|a| section.axes[a as usize].extent).collect(),
        bind: bindings(section),
        point_ns: estimate(plan),
        scratch: plan.scratch,
    })
}

impl Pending {
    fn resolve(self, functions: &[KernelFn]) -> Work {
        match self {
            Pending::Loop { function, extents, bind, point_ns, scratch } => {
                Work::Loop(LoopWork { function: functions[function], extents, bind, point_ns, scratch })
            }
        }
    }
}

/// A text that two sections share only if their code may be shared.
fn structure(section: &Section, params: &[Param]) -> String {
    let mut text = String::new();
    for p in params {
        let _ = write!(text, "{}{:?};", p.ty, p.access);
    }
    for a in &section.axes {
        let _ = write!(text, "{}{:?};", a.extent, a.kind);
    }
    for l in &section.locals {
        let _ = write!(text, "{}{:?};", l.dtype, l.axes);
    }
    for i in 0..section.exprs.len() {
        let node = section.exprs.get(igneous_ir::scalar::ExprId(i as u32));
        let _ = write!(text, "{:?}{:?}{};", node.op, node.args, node.dtype);
    }
    let _ = write!(text, "{:?}{:?}", section.stages, section.schedule);
    text
}

/// Machine code and Cranelift IR of each unit.
fn compile_all(units: &[Unit], symbols: &[Symbol], target: &Target, isa: &dyn TargetIsa) -> Result<Vec<(MachineCode, String)>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8).min(units.len() / 2);
    if threads < 2 {
        let mut compiler = Compiler::new(symbols, target, isa);
        return units.iter().map(|u| compiler.compile(u)).collect();
    }
    // Interleaved: neighbouring kernels tend to be alike in size.
    let shares: Vec<Result<Vec<(MachineCode, String)>>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|first| {
                scope.spawn(move || {
                    let mut compiler = Compiler::new(symbols, target, isa);
                    units.iter().skip(first).step_by(threads).map(|u| compiler.compile(u)).collect()
                })
            })
            .collect();
        let panicked = |_| Err(Error::new("a thread of the code generator panicked"));
        workers.into_iter().map(|w| w.join().unwrap_or_else(panicked)).collect()
    });
    let mut shares = shares.into_iter().map(|s| s.map(Vec::into_iter)).collect::<Result<Vec<_>>>()?;
    Ok((0..units.len()).map(|i| shares[i % threads].next().expect("each worker returns its share")).collect())
}

/// Cranelift's working memory, reused from function to function.
struct Compiler<'a> {
    context: Context,
    builder: FunctionBuilderContext,
    symbols: &'a [Symbol],
    target: &'a Target,
    isa: &'a dyn TargetIsa,
}

impl<'a> Compiler<'a> {
    fn new(symbols: &'a [Symbol], target: &'a Target, isa: &'a dyn TargetIsa) -> Compiler<'a> {
        Compiler { context: Context::new(), builder: FunctionBuilderContext::new(), symbols, target, isa }
    }

    fn compile(&mut self, unit: &Unit) -> Result<(MachineCode, String)> {
        self.context.clear();
        self.context.func.signature = signature(self.isa.default_call_conv());
        let plan: &Plan = &unit.function.plan;
        let b = FunctionBuilder::new(&mut self.context.func, &mut self.builder);
        let mut emitter = Emitter::new(b, *self.target, &plan.low.exprs, &plan.accesses, &plan.access_of_load, self.symbols);
        emitter.section(plan);
        emitter.finish(self.isa.frontend_config());
        let clif = self.context.func.display().to_string();
        let failed = |e: &dyn std::fmt::Debug| Error::new(format!("Cranelift refuses the code of {}: {e:?}", unit.name));
        let code = self.context.compile(self.isa, &mut Default::default()).map_err(|e| failed(&e.inner))?;
        if !code.buffer.relocs().is_empty() {
            return Err(failed(&"it refers to something outside"));
        }
        let machine = MachineCode { bytes: code.code_buffer().to_vec(), alignment: code.buffer.alignment.into() };
        Ok((machine, clif))
    }
}
