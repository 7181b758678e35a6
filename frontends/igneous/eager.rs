//! Eager mode: each operator is compiled alone by the same back end, and the program is kept for the next time.

use crate::apply::{Tensors, infer};
use crate::backend::{Executable, Options, Variables};
use crate::grad_mode::is_grad_enabled;
use crate::tape;
use crate::tensor::{Eager, Repr, Tensor};
use igneous_ir::dim::Dim;
use igneous_ir::graph::{Graph, Value};
use igneous_ir::op::{Attr, Types};
use igneous_ir::{Error, Loc, Op, Result, Shape, TensorType};
use igneous_runtime::Buffer;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

/// Runs `op` on tensors that exist.
pub(crate) fn run(op: Op, inputs: &[&Tensor], loc: Loc) -> Result<Tensors> {
    let operands: SmallVec<[Arc<Eager>; 4]> = inputs.iter().map(|t| value_of(t)).collect::<Result<_>>()?;
    let types: SmallVec<[TensorType; 4]> = operands.iter().map(|v| v.ty.clone()).collect();
    let results = infer(&op, &types, inputs, loc)?;
    let buffers = match without_kernel(&op, &operands, &results)? {
        Some(buffers) => buffers,
        None => {
            let buffers: SmallVec<[&Buffer; 4]> = operands.iter().map(|v| &v.buffer).collect();
            execute(&op, &types, &results, &buffers).map_err(|e| e.at(loc))?
        }
    };
    let mut values: SmallVec<[Eager; 2]> =
        results.into_iter().zip(buffers).map(|(ty, buffer)| Eager::new(ty, buffer, Some(loc))).collect();
    if is_grad_enabled() {
        tape::record(&op, &operands, &mut values, loc);
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

/// The results of operators that need no computation.
fn without_kernel(op: &Op, operands: &[Arc<Eager>], results: &Types) -> Result<Option<SmallVec<[Buffer; 2]>>> {
    let shared = |v: &Eager| Ok(Some(SmallVec::from_iter([v.buffer.clone()])));
    match op.name() {
        "reshape" | "stop_gradient" => shared(&operands[0]),
        "cast" | "broadcast" | "transpose" if operands[0].ty == results[0] && is_identity(op) => shared(&operands[0]),
        "constant" => Ok(Some(SmallVec::from_iter([Buffer::from_slice(&op.array("value").to_bytes())?]))),
        "check" => check(op, &operands[0], &operands[1]).map(|()| Some(SmallVec::new())),
        _ => Ok(None),
    }
}

fn is_identity(op: &Op) -> bool {
    let in_order = |name| op.ints(name).iter().enumerate().all(|(i, &a)| i as i64 == a);
    match op.name() {
        "cast" => true,
        "broadcast" => in_order("axes"),
        _ => in_order("permutation"),
    }
}

fn check(op: &Op, ok: &Eager, value: &Eager) -> Result<()> {
    match ok.buffer.as_slice::<bool>()?.iter().position(|ok| !ok) {
        Some(at) => Err(Error::new(op.text("message")).note("value", value.buffer.as_slice::<i64>()?[at])),
        None => Ok(()),
    }
}

/// What a compiled operator is kept by: the operator and the operands' types, equal extents above one replaced by symbols.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    op: Op,
    operands: SmallVec<[TensorType; 4]>,
}

static KERNELS: LazyLock<RwLock<HashMap<Key, Arc<Executable>>>> = LazyLock::new(Default::default);

/// Runs the operator's kernel, compiling it if this is the first time.
fn execute(op: &Op, types: &[TensorType], results: &Types, buffers: &[&Buffer]) -> Result<SmallVec<[Buffer; 2]>> {
    let kernel = kernel_for(op, types, results)?;
    let mut inputs: Vec<Buffer> = buffers.iter().map(|&b| b.clone()).collect();
    let types: SmallVec<[&TensorType; 4]> = types.iter().collect();
    Ok(kernel.run(&mut inputs, &types, |_| 0, None)?.into_iter().map(|(_, buffer)| buffer).collect())
}

fn kernel_for(op: &Op, types: &[TensorType], results: &Types) -> Result<Arc<Executable>> {
    let general = generalise(op, types, results);
    let key = general.unwrap_or_else(|| Key { op: op.clone(), operands: types.into() });
    if let Some(found) = KERNELS.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return Ok(found.clone());
    }
    let kernel = Arc::new(Executable::build(&graph_of(&key)?, &Variables::default(), &Options::default())?);
    let mut kernels = KERNELS.write().unwrap_or_else(PoisonError::into_inner);
    Ok(kernels.entry(key).or_insert(kernel).clone())
}

/// A graph of one operator.
fn graph_of(key: &Key) -> Result<Graph> {
    let mut graph = Graph::new(key.op.name());
    let operands: SmallVec<[Value; 4]> =
        key.operands.iter().enumerate().map(|(k, ty)| graph.input(format!("x{k}"), ty.clone())).collect();
    for (k, value) in graph.add(key.op.clone(), &operands)?.into_iter().enumerate() {
        graph.output(format!("y{k}"), value);
    }
    Ok(graph)
}

/// The key with extents as symbols, if the operator's type rule accepts it and gives types that these results are an
/// instance of. Whatever is generalised is an instance of its key by construction: replacing each symbol by its extent
/// gives operator and operands back.
fn generalise(op: &Op, types: &[TensorType], results: &Types) -> Option<Key> {
    let mut extents: SmallVec<[i64; 8]> = SmallVec::new();
    for n in types.iter().flat_map(|ty| &ty.shape).filter_map(|d| d.as_const()) {
        if n > 1 && !extents.contains(&n) {
            extents.push(n);
        }
    }
    if extents.is_empty() || extents.len() > SYMBOLS.len() {
        return None;
    }
    let symbol = |d: Dim| d.as_const().and_then(|n| extents.iter().position(|&e| e == n)).map_or(d, |k| SYMBOLS[k]);
    let general = |ty: &TensorType| TensorType { dtype: ty.dtype, shape: ty.shape.iter().map(|&d| symbol(d)).collect() };
    let operands: SmallVec<[TensorType; 4]> = types.iter().map(general).collect();
    let attrs = op.attrs().iter().map(|attr| match attr {
        Attr::Dim(d) => Attr::Dim(symbol(*d)),
        Attr::Dims(dims) => Attr::Dims(dims.iter().map(|&d| symbol(d)).collect::<Shape>()),
        other => other.clone(),
    });
    let op = Op::new(op.record(), attrs);
    let inferred = op.infer(&operands).ok()?;
    let value = |s: igneous_ir::dim::Symbol| SYMBOLS.iter().position(|d| d.to_string() == s.name).map(|k| extents[k]);
    let concrete = |ty: &TensorType| -> Option<TensorType> {
        let shape = ty.shape.iter().map(|d| d.eval(&value).map(Dim::constant)).collect::<Option<Shape>>()?;
        Some(TensorType { dtype: ty.dtype, shape })
    };
    let same = inferred.len() == results.len() && inferred.iter().zip(results).all(|(a, b)| concrete(a).as_ref() == Some(b));
    same.then_some(Key { op, operands })
}

/// The symbols that stand for extents of eager kernels.
static SYMBOLS: LazyLock<[Dim; 8]> =
    LazyLock::new(|| ["A", "B", "C", "D", "E", "F", "G", "H"].map(|name| Dim::symbol(name, 2, i64::from(i32::MAX))));
