//! Eager mode: each operator is compiled alone by the same back end, and the program is kept for the next time.
//!
//! Transposes and broadcasts are not run: their results are views that the kernels reading them are compiled with, so
//! that a transposed operand of a product or a number beside a tensor is never written out.

use crate::anomaly;
use crate::apply::{Tensors, infer, operand_name};
use crate::backend::{Elements, Executable, Options, Precision, Sent, Variables};
use crate::device::{Device, Remote};
use crate::func::apply::apply_graph;
use crate::grad_mode::{is_grad_enabled, no_grad};
use crate::tape;
use crate::tensor::{Eager, Repr, Tensor};
use igneous_ir::dim::{Dim, Symbol};
use igneous_ir::graph::{Graph, Value};
use igneous_ir::op::{Attr, Types};
use igneous_ir::{Error, Loc, Op, Result, Shape, TensorType, ops};
use igneous_runtime::Buffer;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, LazyLock, OnceLock, PoisonError, RwLock};

/// What the elements of a buffer are looked at through.
pub(crate) struct View {
    /// The type of the buffer itself.
    base: TensorType,
    /// Transposes and broadcasts, applied in order.
    ops: SmallVec<[Op; 2]>,
    /// The elements written out, once somebody needed them so.
    dense: OnceLock<Arc<Eager>>,
}

/// A view of a view of a view is written out first.
const DEEPEST_VIEW: usize = 2;

impl Eager {
    /// The same tensor with its elements in row-major order in its own buffer, in the host's memory.
    ///
    /// # Errors
    /// If memory is short, or the device they are fetched from fails.
    pub(crate) fn dense(self: &Arc<Eager>) -> Result<Arc<Eager>> {
        let placed = self.placed()?;
        match &placed.remote {
            Some(remote) => Ok(Arc::new(Eager { buffer: remote.host()?, ..Eager::clone(&placed) })),
            None => Ok(placed),
        }
    }

    /// The same tensor with its elements in row-major order where they live.
    ///
    /// # Errors
    /// If memory is short, or the device fails.
    pub(crate) fn placed(self: &Arc<Eager>) -> Result<Arc<Eager>> {
        let Some(view) = &self.view else { return Ok(self.clone()) };
        if view.dense.get().is_none() {
            let written =
                compute(None, std::slice::from_ref(self), self.loc, || Ok(Types::from_iter([self.ty.clone()])))?.remove(0);
            // Another thread may have been faster; both have written the same elements.
            let _ = view.dense.set(Arc::new(written));
        }
        let dense = view.dense.get().expect("set above");
        Ok(Arc::new(Eager { buffer: dense.buffer.clone(), remote: dense.remote.clone(), view: None, ..Eager::clone(self) }))
    }
}

/// Runs `op` on tensors that exist.
pub(crate) fn run(op: Op, inputs: &[&Tensor], loc: Loc) -> Result<Tensors> {
    let operands: SmallVec<[Arc<Eager>; 4]> = inputs.iter().map(|t| value_of(t)).collect::<Result<_>>()?;
    let types = || operands.iter().map(|v| v.ty.clone()).collect::<SmallVec<[TensorType; 4]>>();
    if operands.iter().any(|v| v.remote.is_some()) {
        check_devices(&op, &operands, inputs).map_err(|e| e.at(loc))?;
    }
    let mut values: SmallVec<[Eager; 2]> = match operands.as_slice() {
        _ if op.is(&ops::structural::CHECK) => {
            infer(&op, &types(), inputs, loc)?;
            check(&op, &*operands[0].dense()?, &*operands[1].dense()?).map_err(|e| e.at(loc))?;
            SmallVec::new()
        }
        [] if op.is(&ops::structural::CONSTANT) => {
            let array = op.array("value");
            let constant = Eager::new(array.ty(), Buffer::from_slice(&array.to_bytes())?, Some(loc));
            SmallVec::from_iter([Eager { anywhere: true, ..constant }])
        }
        _ if op.is(&ops::custom::CUSTOM_VJP) => {
            infer(&op, &types(), inputs, loc)?;
            let operands: Vec<Tensor> = inputs.iter().map(|&t| t.clone()).collect();
            let made = no_grad(|| apply_graph(op.region("forward").graph().clone(), &operands, loc))?;
            // A result may be an operand, whose history is not the result's.
            let value = |t: &Tensor| Ok(Eager { source: None, slot: None, ..Eager::clone(&*value_of(t)?) });
            made.iter().map(value).collect::<Result<_>>()?
        }
        [x] if is_view(&op) => {
            let ty = infer(&op, &types(), inputs, loc)?.remove(0);
            SmallVec::from_iter([view(op.clone(), x, ty, loc)?])
        }
        [x, ..] if op.is(&ops::structural::BARRIER) => SmallVec::from_iter([Eager::like(x.ty.clone(), &*x.placed()?, Some(loc))]),
        [x] if matches!(op.name(), "reshape" | "stop_gradient") => {
            let ty = infer(&op, &types(), inputs, loc)?.remove(0);
            SmallVec::from_iter([Eager::like(ty, &*x.placed()?, Some(loc))])
        }
        _ => compute(Some(op.clone()), &operands, Some(loc), || infer(&op, &types(), inputs, loc)).map_err(|e| e.at(loc))?,
    };
    if anomaly::is_active() {
        anomaly::check(&op, inputs, &values, loc)?;
    }
    if is_grad_enabled() {
        tape::record(&op, &operands, &mut values);
    }
    Ok(values.into_iter().map(Tensor::from).collect())
}

fn value_of(tensor: &Tensor) -> Result<Arc<Eager>> {
    match &tensor.0 {
        Repr::Eager(value) => Ok(value.clone()),
        Repr::Variable(variable) => Ok(Arc::new(variable.read())),
        Repr::Traced(traced) => Err(crate::trace::stale_error(traced)),
        Repr::Invalid(error) => Err(error.clone()),
    }
}

fn is_view(op: &Op) -> bool {
    matches!(op.name(), "transpose" | "broadcast")
}

/// `x` seen through one more operator.
fn view(op: Op, x: &Arc<Eager>, ty: TensorType, loc: Loc) -> Result<Eager> {
    let deep = x.view.as_ref().is_some_and(|v| v.ops.len() >= DEEPEST_VIEW);
    let x = if deep { x.placed()? } else { x.clone() };
    let (base, mut ops) = match &x.view {
        Some(view) => (view.base.clone(), view.ops.clone()),
        None => (x.ty.clone(), SmallVec::new()),
    };
    ops.push(op);
    let view = Some(Arc::new(View { base, ops, dense: OnceLock::new() }));
    Ok(Eager { view, ..Eager::like(ty, &x, Some(loc)) })
}

/// An operand of several elements that come from data lives where those on a device do.
fn check_devices(op: &Op, operands: &[Arc<Eager>], inputs: &[&Tensor]) -> Result<()> {
    let bound: SmallVec<[usize; 4]> = (0..operands.len()).filter(|&k| !goes_along(&operands[k])).collect();
    let Some((&first, &other)) =
        bound.iter().zip(bound.iter().skip(1)).find(|(a, b)| operands[**a].device() != operands[**b].device())
    else {
        return Ok(());
    };
    let mut error = Error::new(format!("the operands of {} live on different devices", op.name()));
    for k in [first, other] {
        let name = operand_name(op, inputs.len(), k);
        error = error.note(name, format!("{}   on {}", inputs[k].describe(), operands[k].device()));
    }
    let remedy = "move one to the other's device, `x.to(device)`, or a module, `net.to_device(device)?`";
    Err(error.note("remedy", remedy))
}

/// Whether an operand on the host is sent to where others live.
fn goes_along(value: &Eager) -> bool {
    let base = value.view.as_ref().map_or(&value.ty, |view| &view.base);
    value.remote.is_none() && (value.anywhere || base.elements() == Dim::ONE)
}

/// Runs an operator, or writes an operand out, where the operands live.
fn compute(
    op: Option<Op>,
    operands: &[Arc<Eager>],
    loc: Option<Loc>,
    infer: impl FnOnce() -> Result<Types>,
) -> Result<SmallVec<[Eager; 2]>> {
    let device = operands.iter().map(|v| v.device()).find(|&d| d != Device::Cpu);
    let Some(device) = device else {
        let (call, buffers) = Call::new(op, operands);
        let (types, buffers) = call.run(&buffers, infer)?;
        let anywhere = operands.iter().all(|v| v.anywhere);
        let made = |(ty, buffer)| Eager { anywhere, ..Eager::new(ty, buffer, loc) };
        return Ok(types.into_iter().zip(buffers).map(made).collect());
    };
    let (given, elements): (_, Vec<Elements>) = operands.iter().map(|v| remote_operand(v)).unzip();
    let call = Call { op, operands: given, device };
    let (types, remotes) = call.run_on_device(elements, infer)?;
    types.into_iter().zip(remotes).map(|(ty, remote)| Eager::remote(ty, remote, loc)).collect()
}

fn check(op: &Op, ok: &Eager, value: &Eager) -> Result<()> {
    match ok.buffer.as_slice::<bool>()?.iter().position(|ok| !ok) {
        Some(at) => Err(Error::new(op.text("message")).note("value", value.buffer.as_slice::<i64>()?[at])),
        None => Ok(()),
    }
}

/// The type of an operand's buffer and what it is seen through.
type Operand = (TensorType, SmallVec<[Op; 2]>);

/// An operand and its buffer. A view that has been written out is read as that.
fn operand(value: &Eager) -> (Operand, Buffer) {
    match &value.view {
        Some(view) => match view.dense.get() {
            Some(dense) => ((value.ty.clone(), SmallVec::new()), dense.buffer.clone()),
            None => ((view.base.clone(), view.ops.clone()), value.buffer.clone()),
        },
        None => ((value.ty.clone(), SmallVec::new()), value.buffer.clone()),
    }
}

/// The same where another operand lives on a device.
fn remote_operand(value: &Eager) -> (Operand, Elements) {
    let (given, host) = operand(value);
    let dense = value.view.as_ref().and_then(|view| view.dense.get());
    let remote = dense.map_or(&value.remote, |dense| &dense.remote);
    (given, remote.as_ref().map_or(Elements::Host(host), |remote| Elements::Device(remote.block.clone())))
}

/// An operator with its operands' types, and where it runs; without an operator, the operand itself, written out.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Call {
    op: Option<Op>,
    operands: SmallVec<[Operand; 3]>,
    device: Device,
}

/// What is known of a call with numbers for extents.
#[derive(Clone)]
struct Kernel {
    executable: Arc<Executable>,
    results: Types,
}

type Kernels<T> = LazyLock<RwLock<HashMap<Call, T, BuildHasherDefault<Mix>>>>;

/// Programs by calls with symbols for extents.
static PROGRAMS: Kernels<Arc<Executable>> = LazyLock::new(Default::default);
/// Programs and result types by calls with numbers for extents: what a call looks up first.
static KERNELS: Kernels<Kernel> = LazyLock::new(Default::default);
/// So many calls are remembered; then all are forgotten, but not the programs.
const REMEMBERED: usize = 1 << 14;

impl Call {
    fn new(op: Option<Op>, values: &[Arc<Eager>]) -> (Call, SmallVec<[Buffer; 4]>) {
        let (operands, buffers) = values.iter().map(|v| operand(v)).unzip();
        (Call { op, operands, device: Device::Cpu }, buffers)
    }

    /// Runs the kernel, compiling it if this is the first time; the results with their types.
    fn run(&self, buffers: &[Buffer], infer: impl FnOnce() -> Result<Types>) -> Result<(Types, SmallVec<[Buffer; 2]>)> {
        let kernel = self.kernel(infer)?;
        let sizes: SmallVec<[SmallVec<[usize; 4]>; 4]> = self.operands.iter().map(|(ty, _)| sizes(ty)).collect();
        let shapes: SmallVec<[&[usize]; 4]> = sizes.iter().map(|s| s.as_slice()).collect();
        let outputs = kernel.executable.run_kernel(buffers, &shapes)?;
        Ok((kernel.results, outputs.into_iter().collect()))
    }

    /// As [`run`](Call::run), on a device.
    fn run_on_device(&self, elements: Vec<Elements>, infer: impl FnOnce() -> Result<Types>) -> Result<(Types, Vec<Remote>)> {
        let kernel = self.kernel(infer)?;
        let sent: Vec<Sent> = elements.into_iter().map(|elements| Sent { elements, version: None }).collect();
        let types: SmallVec<[&TensorType; 4]> = self.operands.iter().map(|(ty, _)| ty).collect();
        let outputs = kernel.executable.run_kernel_on_device(&sent, &types)?;
        Ok((kernel.results, outputs))
    }

    fn kernel(&self, infer: impl FnOnce() -> Result<Types>) -> Result<Kernel> {
        let known = KERNELS.read().unwrap_or_else(PoisonError::into_inner).get(self).cloned();
        known.map_or_else(|| self.remember(infer()?), Ok)
    }

    fn remember(&self, results: Types) -> Result<Kernel> {
        let general = self.generalised(&results);
        let key = general.unwrap_or_else(|| self.clone());
        let found = PROGRAMS.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let executable = match found {
            Some(executable) => executable,
            None => {
                let made = Arc::new(Executable::build(&key.graph()?, &Variables::default(), &OPTIONS, self.device)?);
                PROGRAMS.write().unwrap_or_else(PoisonError::into_inner).entry(key).or_insert(made).clone()
            }
        };
        let kernel = Kernel { executable, results };
        let mut kernels = KERNELS.write().unwrap_or_else(PoisonError::into_inner);
        if kernels.len() >= REMEMBERED {
            kernels.clear();
        }
        kernels.insert(self.clone(), kernel.clone());
        Ok(kernel)
    }

    /// A graph of the views and the operator.
    fn graph(&self) -> Result<Graph> {
        let mut graph = Graph::new(self.op.as_ref().map_or("copy", |op| op.name()));
        let inputs: SmallVec<[Value; 4]> =
            self.operands.iter().enumerate().map(|(k, (ty, _))| graph.input(format!("x{k}"), ty.clone())).collect();
        let mut operands: SmallVec<[Value; 4]> = SmallVec::new();
        for (&input, (_, views)) in inputs.iter().zip(&self.operands) {
            let seen = views.iter().try_fold(input, |value, view| Ok::<_, Error>(graph.add(view.clone(), &[value])?[0]));
            operands.push(seen?);
        }
        let results = match &self.op {
            Some(op) => graph.add(op.clone(), &operands)?,
            None => operands.into_iter().collect(),
        };
        for (k, value) in results.into_iter().enumerate() {
            graph.output(format!("y{k}"), value);
        }
        Ok(graph)
    }

    /// The call with equal extents above one as symbols, if the type rules accept it and give types that `results` are an
    /// instance of. Whatever is generalised is an instance of the general call by construction: replacing each symbol by
    /// its extent gives operator and operands back.
    fn generalised(&self, results: &Types) -> Option<Call> {
        let mut extents: SmallVec<[i64; 8]> = SmallVec::new();
        for n in self.operands.iter().flat_map(|(ty, _)| &ty.shape).filter_map(|d| d.as_const()) {
            if n > 1 && !extents.contains(&n) {
                extents.push(n);
            }
        }
        if extents.is_empty() || extents.len() > SYMBOLS.len() {
            return None;
        }
        let symbol = |d: Dim| d.as_const().and_then(|n| extents.iter().position(|&e| e == n)).map_or(d, |k| SYMBOLS[k].1);
        let ty = |ty: &TensorType| TensorType { dtype: ty.dtype, shape: ty.shape.iter().map(|&d| symbol(d)).collect() };
        let op = |op: &Op| {
            let attrs = op.attrs().iter().map(|attr| match attr {
                Attr::Dim(d) => Attr::Dim(symbol(*d)),
                Attr::Dims(dims) => Attr::Dims(dims.iter().map(|&d| symbol(d)).collect::<Shape>()),
                other => other.clone(),
            });
            Op::new(op.record(), attrs)
        };
        let operands = self.operands.iter().map(|(base, views)| (ty(base), views.iter().map(op).collect())).collect();
        let general = Call { op: self.op.as_ref().map(op), operands, device: self.device };
        let graph = general.graph().ok()?;
        let value = |s: Symbol| SYMBOLS.iter().position(|(own, _)| *own == s).map(|k| extents[k]);
        let concrete = |ty: &TensorType| -> Option<TensorType> {
            let shape = ty.shape.iter().map(|d| d.eval(&value).map(Dim::constant)).collect::<Option<Shape>>()?;
            Some(TensorType { dtype: ty.dtype, shape })
        };
        let outputs = graph.outputs();
        let same = outputs.len() == results.len()
            && outputs.iter().zip(results).all(|((v, _), b)| concrete(graph.ty(*v)).as_ref() == Some(b));
        same.then_some(general)
    }
}

fn sizes(ty: &TensorType) -> SmallVec<[usize; 4]> {
    ty.shape.iter().map(|d| d.get().expect("the extents of a tensor that exists are constant")).collect()
}

/// An operator alone leaves nothing to rewrite, and eager mode is what strict programs equal bit for bit.
static OPTIONS: LazyLock<Options> = LazyLock::new(|| Options {
    precision: Precision::Strict,
    egraph: false,
    recognise: false,
    outline: false,
    ..Options::default()
});

/// The symbols that stand for extents of eager kernels.
static SYMBOLS: LazyLock<[(Symbol, Dim); 8]> = LazyLock::new(|| {
    ["A", "B", "C", "D", "E", "F", "G", "H"].map(|name| {
        let (lo, hi) = (2, i64::from(i32::MAX));
        let mut symbols = Vec::new();
        let dim = Dim::symbol(name, lo, hi);
        dim.collect_symbols(&mut symbols);
        (symbols[0], dim)
    })
});

/// Mixes words as FxHash does: keys come from the program itself, not from an adversary.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, word: u8) {
        self.write_u64(word.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
