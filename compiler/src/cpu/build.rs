//! From kernels to callable work: functions that are equal are compiled once, several at a time.

use super::attention::{attention_work, is_attention, is_single};
use super::cost::point_ns;
use super::dot::{DotPlan, DotSection};
use super::emitter::{Emitter, check_symbols, signature};
use super::lower::Pass;
use super::memory::{CodeMemory, MachineCode};
use super::nest::Plan;
use super::operand::{Epilogue, Pack, epilogue, pack};
use super::score::score_loop;
use super::section::{bindings, loop_function};
use super::strip::{self, Strip};
use super::target::Target;
use crate::fuse::renumber;
use crate::schedule::schedule;
use cranelift_codegen::binemit::Reloc;
use cranelift_codegen::isa::TargetIsa;
use cranelift_codegen::{Context, FinalizedMachReloc, FinalizedRelocTarget, ir};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use igneous_ir::dim::{Dim, Symbol};
use igneous_ir::error::{Error, Result};
use igneous_ir::kernel::{Kernel, Param, Section, Stage};
use igneous_ir::types::DType;
use igneous_runtime::program::{AttentionWork, DotOut, DotWork, KernelFn, LoopWork, Operand, ScoreOperand, ScoreWork, Work};
use std::any::Any;
use std::collections::HashMap;
use std::fmt::{self, Write};
use std::sync::Arc;

/// Compiled kernels.
pub struct CpuCode {
    /// For each kernel, the work of each of its sections.
    pub work: Vec<Vec<Work>>,
    /// The code of each function, in order.
    pub listings: Vec<Listing>,
    /// Keeps the machine code alive: hold it as long as any function of `work` may be called.
    pub memory: Arc<dyn Any + Send + Sync>,
}

/// A function as Cranelift was given it and its strips as machine code; printed only when somebody asks.
#[derive(Debug)]
pub struct Listing {
    /// The kernel's name, with the number of the section or the part of a dot.
    pub name: String,
    text: Text,
}

#[derive(Debug)]
struct Text {
    function: ir::Function,
    /// What it calls, by the index of its name.
    strips: Vec<strip::Listing>,
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "; {}\n{}", self.name, self.text.function)?;
        self.text.strips.iter().enumerate().try_for_each(|(i, strip)| writeln!(f, "strip u0:{i}\n{strip}"))
    }
}

/// What a section becomes; functions are named by their number.
#[derive(Clone)]
enum Pending {
    Loop {
        function: usize,
        extents: Vec<Dim>,
        bind: Vec<usize>,
        point_ns: f64,
        rows: bool,
        scratch: Dim,
        params: Option<Vec<usize>>,
    },
    Dot(Box<PendingDot>),
    Attention(Box<AttentionWork>, Option<PendingScore>),
}

/// A function of scores.
#[derive(Clone)]
struct PendingScore {
    function: usize,
    scratch: Dim,
    given: Vec<ScoreOperand>,
}

#[derive(Clone)]
struct PendingDot {
    dtype: DType,
    batch: Vec<Dim>,
    m: Dim,
    n: Dim,
    k: Dim,
    lhs: Side,
    rhs: Side,
    out: Out,
    split_k: usize,
    block: (Dim, Dim),
}

#[derive(Clone)]
enum Side {
    Plain(Operand),
    Packed(usize),
}

#[derive(Clone)]
enum Out {
    Plain(DotOut),
    Epilogue { function: usize, scratch: Dim },
}

/// A function and what it is called in listings.
struct Unit {
    name: String,
    function: Function,
}

/// A function to be compiled.
enum Function {
    Section(Plan),
    Pack(Pack),
    Epilogue(Epilogue),
}

impl Function {
    fn plan(&self) -> &Plan {
        match self {
            Function::Section(plan) => plan,
            Function::Pack(pack) => &pack.plan,
            Function::Epilogue(epilogue) => &epilogue.plan,
        }
    }
}

/// Collects functions; equal sections share theirs.
#[derive(Default)]
struct Units {
    list: Vec<Unit>,
    known: HashMap<String, Pending>,
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
        if is_attention(kernel) {
            let of = |why: &str| Error::new(format!("kernel {} {why}", kernel.name));
            check_symbols(kernel.params.iter().flat_map(|p| p.ty.shape.iter().copied()), symbols)?;
            let pass = units.attention(kernel).transpose().unwrap_or_else(|| {
                Err(of("has products for each index of a serial axis, but is no attention in single precision"))
            })?;
            pending.push(vec![pass]);
            continue;
        }
        for (number, section) in kernel.sections.iter().enumerate() {
            let done = if kernel.sections.len() == 1 {
                units.section(&kernel.name, section, &kernel.params, symbols)
            } else {
                units.one_of_many(&format!("{}.{number}", kernel.name), section, &kernel.params, symbols)
            };
            sections.push(done.map_err(|e| e.context(format!("kernel {}", kernel.name)))?);
        }
        pending.push(sections);
    }
    let isa = target.isa()?;
    let compiled = compile_all(&units.list, symbols, target, &*isa)?;
    let (machine, functions): (Vec<MachineCode>, Vec<Text>) = compiled.into_iter().unzip();
    let (memory, entries) = CodeMemory::map(isa, &machine)?;
    let listing = |(unit, text): (Unit, Text)| Listing { name: unit.name, text };
    let listings = units.list.into_iter().zip(functions).map(listing).collect();
    let work = pending.into_iter().map(|sections| sections.into_iter().map(|p| p.resolve(&entries)).collect()).collect();
    Ok(CpuCode { work, listings, memory: Arc::new(memory) })
}

impl Units {
    fn add(&mut self, name: String, function: Function) -> usize {
        self.list.push(Unit { name, function });
        self.list.len() - 1
    }

    /// Attention in single precision; none if a kernel is something else.
    fn attention(&mut self, kernel: &Kernel) -> Result<Option<Pending>> {
        let Some(known) = attention_work(kernel).filter(|known| is_single(kernel) && known.mask.is_none()) else {
            return Ok(None);
        };
        let Some(function) = known.function else {
            return Ok(Some(Pending::Attention(Box::new(known.work), None)));
        };
        let Some((section, params, given)) = score_loop(&function, &kernel.params) else { return Ok(None) };
        let mut kernel = Kernel { name: format!("{}.score", kernel.name), params, sections: vec![section], locs: Vec::new() };
        schedule(&mut kernel);
        let plan = loop_function(&kernel.sections[0], &kernel.params)?;
        let scratch = plan.scratch;
        let function = self.add(kernel.name, Function::Section(plan));
        Ok(Some(Pending::Attention(Box::new(known.work), Some(PendingScore { function, scratch, given }))))
    }

    /// A section of a kernel that has several: loops take only the parameters they use, so that equal ones share code.
    fn one_of_many(&mut self, name: &str, section: &Section, params: &[Param], symbols: &[Symbol]) -> Result<Pending> {
        if section.stages.iter().any(|s| matches!(s, Stage::Dot { .. })) {
            return self.section(name, section, params, symbols);
        }
        let used = section.params();
        let mut map = vec![0; params.len()];
        used.iter().enumerate().for_each(|(new, &old)| map[old as usize] = new as u32);
        let own: Vec<Param> = used.iter().map(|&p| params[p as usize].clone()).collect();
        let mut pending = self.section(name, &renumber(section.clone(), &map), &own, symbols)?;
        if let Pending::Loop { params, .. } = &mut pending {
            *params = Some(used.iter().map(|&p| p as usize).collect());
        }
        Ok(pending)
    }

    fn section(&mut self, name: &str, section: &Section, params: &[Param], symbols: &[Symbol]) -> Result<Pending> {
        let dims = section.axes.iter().map(|a| a.extent).chain(params.iter().flat_map(|p| p.ty.shape.iter().copied()));
        check_symbols(dims, symbols)?;
        let key = structure(section, params);
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let pending = match DotSection::of(section) {
            Some(dot) => self.dot(name, &dot, params)?,
            None => {
                let plan = loop_function(section, params)?;
                Pending::Loop {
                    extents: section.parallel().map(|a| section.axes[a as usize].extent).collect(),
                    bind: bindings(section),
                    point_ns: point_ns(&plan),
                    rows: plan.form.column().is_some() && plan.low.passes.iter().any(|p| matches!(p, Pass::Fold { .. })),
                    scratch: plan.scratch,
                    params: None,
                    function: self.add(name.to_string(), Function::Section(plan)),
                }
            }
        };
        self.known.insert(key, pending.clone());
        Ok(pending)
    }

    fn dot(&mut self, name: &str, dot: &DotSection, params: &[Param]) -> Result<Pending> {
        let DotPlan { axes, dtype, lhs, rhs, out, split_k, block } = dot.plan(params);
        let mut side = |operand: Option<Operand>, outer: &[u32], root, what: &str| {
            Ok::<_, Error>(match operand {
                Some(plain) => Side::Plain(plain),
                None => {
                    let pack = pack(dot, &axes, outer, root, params)?;
                    Side::Packed(self.add(format!("{name}.{what}"), Function::Pack(pack)))
                }
            })
        };
        let lhs = side(lhs, &axes.m, dot.lhs, "lhs")?;
        let rhs = side(rhs, &axes.n, dot.rhs, "rhs")?;
        let out = match out {
            Some(plain) => Out::Plain(plain),
            None => {
                let epilogue = epilogue(dot, &axes, params)?;
                let scratch = epilogue.plan.scratch;
                Out::Epilogue { function: self.add(format!("{name}.epilogue"), Function::Epilogue(epilogue)), scratch }
            }
        };
        let size = |axes: &[u32]| axes.iter().map(|&a| dot.section.axes[a as usize].extent).product();
        let batch = axes.batch.iter().map(|&a| dot.section.axes[a as usize].extent).collect();
        let (m, n, k) = (size(&axes.m), size(&axes.n), size(&axes.k));
        Ok(Pending::Dot(Box::new(PendingDot { dtype, batch, m, n, k, lhs, rhs, out, split_k, block })))
    }
}

impl Pending {
    fn resolve(self, functions: &[KernelFn]) -> Work {
        let side = |side| match side {
            Side::Plain(operand) => operand,
            Side::Packed(function) => Operand::Packed { function: functions[function] },
        };
        match self {
            Pending::Loop { function, extents, bind, point_ns, rows, scratch, params } => {
                Work::Loop(LoopWork { function: functions[function], extents, bind, point_ns, rows, scratch, params })
            }
            Pending::Attention(work, score) => {
                let score = score.map(|PendingScore { function, scratch, given }| ScoreWork {
                    function: functions[function],
                    scratch,
                    given,
                });
                Work::Attention(Box::new(AttentionWork { score, ..*work }))
            }
            Pending::Dot(dot) => {
                let PendingDot { dtype, batch, m, n, k, lhs, rhs, out, split_k, block } = *dot;
                let out = match out {
                    Out::Plain(out) => out,
                    Out::Epilogue { function, scratch } => DotOut::Epilogue { function: functions[function], scratch },
                };
                Work::Dot(Box::new(DotWork { dtype, batch, m, n, k, lhs: side(lhs), rhs: side(rhs), split_k, out, block }))
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
fn compile_all(units: &[Unit], symbols: &[Symbol], target: &Target, isa: &dyn TargetIsa) -> Result<Vec<(MachineCode, Text)>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8).min(units.len() / 2);
    if threads < 2 {
        let mut compiler = Compiler::new(symbols, target, isa);
        return units.iter().map(|u| compiler.compile(u)).collect();
    }
    // Interleaved: neighbouring kernels tend to be alike in size.
    let shares: Vec<Result<Vec<(MachineCode, Text)>>> = std::thread::scope(|scope| {
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

    fn compile(&mut self, unit: &Unit) -> Result<(MachineCode, Text)> {
        self.context.clear();
        self.context.func.signature = signature(self.isa.default_call_conv());
        let plan = unit.function.plan();
        let b = FunctionBuilder::new(&mut self.context.func, &mut self.builder);
        let mut emitter = Emitter::new(b, *self.target, &plan.low.exprs, &plan.accesses, &plan.access_of_load, self.symbols);
        match &unit.function {
            Function::Section(plan) => emitter.section(plan),
            Function::Pack(pack) => emitter.pack(pack),
            Function::Epilogue(epilogue) => emitter.epilogue(epilogue),
        }
        let strips = emitter.finish(self.isa.frontend_config());
        let clif = self.context.func.clone();
        let failed = |e: &dyn std::fmt::Debug| Error::new(format!("Cranelift refuses the code of {}: {e:?}", unit.name));
        let code = self.context.compile(self.isa, &mut Default::default()).map_err(|e| failed(&e.inner))?;
        let (bytes, relocs) = (code.code_buffer().to_vec(), code.buffer.relocs().to_vec());
        let alignment = u64::from(code.buffer.alignment).max(if strips.is_empty() { 1 } else { STRIP_ALIGNMENT as u64 });
        let bytes = link(bytes, &relocs, &strips, &clif).ok_or_else(|| failed(&"it refers to something outside"))?;
        let strips = strips.into_iter().map(|s| s.listing).collect();
        Ok((MachineCode { bytes, alignment }, Text { function: clif, strips }))
    }
}

/// Strips and their constants begin at multiples of this.
const STRIP_ALIGNMENT: usize = 64;

/// The code of a function with its strips behind it; none if it refers to anything else.
fn link(mut bytes: Vec<u8>, relocs: &[FinalizedMachReloc], strips: &[Strip], function: &ir::Function) -> Option<Vec<u8>> {
    let starts: Vec<usize> = strips
        .iter()
        .map(|strip| {
            bytes.resize(bytes.len().next_multiple_of(STRIP_ALIGNMENT), 0);
            bytes.extend(&strip.bytes);
            bytes.len() - strip.bytes.len()
        })
        .collect();
    for reloc in relocs {
        let FinalizedRelocTarget::ExternalName(ir::ExternalName::User(name)) = reloc.target else { return None };
        let start = *starts.get(function.params.user_named_funcs().get(name)?.index as usize)?;
        let at = reloc.offset as usize;
        let distance = start as i64 + reloc.addend - at as i64;
        if !matches!(reloc.kind, Reloc::X86CallPCRel4 | Reloc::X86PCRel4) {
            return None;
        }
        bytes.get_mut(at..at + 4)?.copy_from_slice(&i32::try_from(distance).ok()?.to_le_bytes());
    }
    Some(bytes)
}
