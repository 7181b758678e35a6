//! Structural operators: input, constant, stop_gradient, extent, check, call, grad, scan.
//!
//! `call` and `scan` hold regions and `grad` speaks about the graph around it, so the interpreter, autodiff,
//! batching and the compiler treat these three themselves.

use crate::array::Array;
use crate::dim::Dim;
use crate::emit::Emit;
use crate::error::{Error, Result};
use crate::graph::{Graph, Region};
use crate::op::*;
use crate::ops::type_rule::TypeRule;
use crate::scalar::S;
use crate::types::{DType, Literal, Shape, TensorType, contiguous_strides};
use smallvec::smallvec;
use std::sync::Arc;

/// The structural operators.
pub static STRUCTURAL: &[&Record] = &[&BARRIER, &CALL, &CHECK, &CONSTANT, &EXTENT, &GRAD, &INPUT, &SCAN, &STOP_GRADIENT];

/// A constant tensor.
pub fn constant(value: Array) -> Op {
    Op::new(&CONSTANT, [Attr::Array(Arc::new(value))])
}

/// See [`BARRIER`].
pub fn barrier() -> Op {
    Op::new(&BARRIER, [])
}

/// Identity without a gradient.
pub fn stop_gradient() -> Op {
    Op::new(&STOP_GRADIENT, [])
}

/// The run-time value of a dimension, an `i64` without axes.
pub fn extent(dim: impl Into<Dim>) -> Op {
    Op::new(&EXTENT, [Attr::Dim(dim.into())])
}

/// Fails the run with `message` where the first operand is false; the second is the value to report.
pub fn check(message: impl Into<Arc<str>>) -> Op {
    Op::new(&CHECK, [Attr::Text(message.into())])
}

/// The outputs of `body` for these inputs.
pub fn call(body: Region) -> Op {
    Op::new(&CALL, [Attr::Region(body)])
}

/// Gradients of the first operand with respect to all others; if `seeded`, the second is the first's cotangent.
pub fn grad(seeded: bool) -> Op {
    Op::new(&GRAD, [Attr::Bool(seeded)])
}

/// Runs `body` for each of `length` elements of the sequences, in order or backwards.
/// Operands: `constants` constants, `carries` initial carries, then sequences. See [`SCAN`].
pub fn scan(body: Region, constants: usize, carries: usize, reverse: bool, length: impl Into<Dim>) -> Op {
    let attrs = [
        Attr::Region(body),
        Attr::Int(constants as i64),
        Attr::Int(carries as i64),
        Attr::Bool(reverse),
        Attr::Dim(length.into()),
    ];
    Op::new(&SCAN, attrs)
}

fn no_samples(_: &mut Samples) {}

fn no_flops(_: &Op, _: &[TensorType], _: &[TensorType]) -> Dim {
    Dim::ZERO
}

pub(super) fn no_reference(r: &Reference) -> Result<Vec<Array>> {
    Err(Error::new(format!("{} has a meaning only inside a graph: it is computed by the interpreter itself", r.op.name())))
}

/// An input of the graph. Made by [`Graph::input`] only, which knows its type.
pub static INPUT: Record = Record {
    name: "input",
    attrs: &[("index", AttrKind::Int)],
    infer: |op, operands| Err(type_error(op, operands, "is declared in the graph's header")),
    reference: no_reference,
    lowering: Lowering::Structural,
    vjp: Vjp::Zero,
    jvp: Jvp::Zero,
    batch: Batch::Structural,
    flops: no_flops,
    samples: no_samples,
    error_samples: no_samples,
};

/// A constant tensor.
pub static CONSTANT: Record = Record {
    name: "constant",
    attrs: &[("value", AttrKind::Array)],
    infer: |op, operands| {
        TypeRule::new(op, operands).count(0)?;
        Ok(smallvec![op.array("value").ty()])
    },
    reference: |r| Ok(vec![r.op.array("value").as_ref().clone()]),
    lowering: Lowering::Map(constant_element),
    vjp: Vjp::Zero,
    jvp: Jvp::Zero,
    batch: Batch::Structural,
    flops: no_flops,
    samples: |s| {
        s.add(constant(Array::scalar(Literal::float(DType::F32, 0.1))), []);
        s.add(constant(Array::ints(DType::I64, [2, 3], vec![1, -2, 3, i64::MAX, i64::MIN, 0])), []);
        s.add(constant(Array::ints(DType::Bool, [2], vec![1, 0])), []);
        let specials = vec![f64::NAN, f64::INFINITY, -f64::INFINITY, -0.0, 5e-324];
        s.add(constant(Array::floats(DType::F64, [5], specials)), []);
        s.add(constant(Array::floats(DType::BF16, [0, 3], vec![])), []);
    },
    error_samples: |s| {
        s.add(constant(Array::scalar(Literal::float(DType::F32, 0.1))), [(TensorType::new(DType::F32, [2]), Fill::Normal)]);
    },
};

/// Decides by the row-major position, halving the range until one value is left.
fn constant_element<'a>(i: &Indexing<'a>) -> S<'a> {
    let array = i.op.array("value");
    let mut position = i.int(0);
    for (&index, stride) in i.index.iter().zip(contiguous_strides(&array.ty().shape)) {
        position = position + index * i.extent(stride);
    }
    element_in(i, array, position, 0, array.len().max(1))
}

fn element_in<'a>(i: &Indexing<'a>, array: &Array, position: S<'a>, start: usize, end: usize) -> S<'a> {
    if array.is_empty() {
        return S::literal(i.exprs, array.dtype(), 0.0);
    }
    let first = array.literal(start);
    if (start + 1..end).all(|k| array.literal(k) == first) {
        return S::of(i.exprs, i.exprs.borrow_mut().constant(first));
    }
    let middle = start.midpoint(end);
    let (low, high) = (element_in(i, array, position, start, middle), element_in(i, array, position, middle, end));
    position.lt(i.int(middle as i64)).select(low, high)
}

/// The first operand, computed with only after the others are there. What depends on it is not the same as what depends on the
/// operand itself: so that a value that is computed again later is not kept instead.
pub static BARRIER: Record = Record {
    name: "barrier",
    attrs: &[],
    infer: |op, operands| match operands.first() {
        Some(x) => Ok(smallvec![x.clone()]),
        None => Err(type_error(op, operands, "needs an operand")),
    },
    reference: |r| Ok(vec![r.inputs[0].clone()]),
    lowering: Lowering::Map(|i| i.load(0, i.index)),
    vjp: Vjp::Rule(|a| a.operands.iter().enumerate().map(|(k, _)| (k == 0).then(|| a.dy(0))).collect()),
    jvp: Jvp::Rule(|a| vec![a.tangents[0]]),
    batch: Batch::Rule(|b| {
        let mut operands = b.operands.clone();
        operands[0] = b.batched(0);
        vec![b.emitter.one(barrier(), &operands)]
    }),
    flops: no_flops,
    samples: |s| {
        s.add(barrier(), [normal([2, 3])]);
        s.add(barrier(), [normal([3]), (TensorType::new(DType::I64, [2]), Fill::Range(0, 9)), normal([])]);
    },
    error_samples: |s| s.add(barrier(), []),
};

/// Identity without a gradient.
pub static STOP_GRADIENT: Record = Record {
    name: "stop_gradient",
    attrs: &[],
    infer: |op, operands| {
        TypeRule::new(op, operands).count(1)?;
        Ok(smallvec![operands[0].clone()])
    },
    reference: |r| Ok(vec![r.inputs[0].clone()]),
    lowering: Lowering::Map(|i| i.load(0, i.index)),
    vjp: Vjp::Zero,
    jvp: Jvp::Zero,
    batch: Batch::Elementwise,
    flops: no_flops,
    samples: |s| {
        s.add(stop_gradient(), [(TensorType::new(DType::I64, [3]), Fill::Range(-9, 9))]);
        s.add(stop_gradient(), [(TensorType::new(DType::F32, [8]), Fill::Specials)]);
    },
    error_samples: |s| s.add(stop_gradient(), []),
};

/// The run-time value of a dimension.
pub static EXTENT: Record = Record {
    name: "extent",
    attrs: &[("dim", AttrKind::Dim)],
    infer: |op, operands| {
        TypeRule::new(op, operands).count(0)?;
        if op.dim("dim").is_invalid() {
            return Err(type_error(op, operands, "was given a dimension of an invalid tensor"));
        }
        Ok(smallvec![TensorType::scalar(DType::I64)])
    },
    reference: |r| {
        let dim = r.op.dim("dim");
        let value = dim.as_const().ok_or_else(|| Error::new(format!("dimension `{dim}` has no value here")))?;
        Ok(vec![Array::scalar(Literal::int(DType::I64, value))])
    },
    lowering: Lowering::Map(|i| i.extent(i.op.dim("dim"))),
    vjp: Vjp::Zero,
    jvp: Jvp::Zero,
    batch: Batch::Structural,
    flops: no_flops,
    samples: |s| s.add(extent(7), []),
    error_samples: |s| s.add(extent(Dim::INVALID), []),
};

/// Fails the run where `ok` is false, reporting the message, `value` there and the user's line. It has no results.
pub static CHECK: Record = Record {
    name: "check",
    attrs: &[("message", AttrKind::Text)],
    infer: |op, operands| {
        TypeRule::new(op, operands).count(2)?;
        if operands[0].dtype != DType::Bool {
            return Err(type_error(op, operands, "needs a bool condition"));
        }
        if operands[1] != operands[0].with_dtype(DType::I64) {
            return Err(type_error(op, operands, "needs an i64 value of the condition's shape"));
        }
        Ok(Types::new())
    },
    reference: |r| match (0..r.inputs[0].len()).find(|&k| r.inputs[0].i(k) == 0) {
        Some(k) => Err(Error::new(r.op.text("message")).note("value", r.inputs[1].i(k))),
        None => Ok(Vec::new()),
    },
    lowering: Lowering::Structural,
    vjp: Vjp::Zero,
    jvp: Jvp::Zero,
    batch: Batch::Elementwise,
    flops: no_flops,
    samples: |s| {
        let (ok, value) = (TensorType::new(DType::Bool, [2, 3]), TensorType::new(DType::I64, [2, 3]));
        s.add(check("a label is out of \"range\""), [(ok, Fill::Range(1, 2)), (value, Fill::Range(0, 9))]);
    },
    error_samples: |s| {
        let ty = |dtype, n: usize| (TensorType::new(dtype, [n]), Fill::Range(0, 2));
        s.add(check("m"), [ty(DType::Bool, 2)]);
        s.add(check("m"), [ty(DType::I64, 2), ty(DType::I64, 2)]);
        s.add(check("m"), [ty(DType::Bool, 2), ty(DType::I64, 3)]);
        s.add(check("m"), [ty(DType::Bool, 2), ty(DType::I32, 2)]);
    },
};

/// The outputs of `body` for these inputs: an outlined block. Equal bodies are compiled once.
pub static CALL: Record = Record {
    name: "call",
    attrs: &[("body", AttrKind::Region)],
    infer: |op, operands| {
        let body = op.region("body").graph();
        TypeRule::new(op, operands).count(body.inputs().len())?;
        for ((v, name), given) in body.inputs().iter().zip(operands) {
            if body.ty(*v) != given {
                let message = format!("needs {} for input `{name}` of `{}` and was given {given}", body.ty(*v), body.name);
                return Err(type_error(op, operands, message));
            }
        }
        Ok(body.outputs().iter().map(|(v, _)| body.ty(*v).clone()).collect())
    },
    reference: no_reference,
    lowering: Lowering::Structural,
    vjp: Vjp::Structural,
    jvp: Jvp::Structural,
    batch: Batch::Structural,
    flops: |op, _, _| body_flops(op.region("body").graph()),
    samples: |s| s.add(call(sample_body()), [normal([3]), normal([3])]),
    error_samples: |s| {
        s.add(call(sample_body()), [normal([3])]);
        s.add(call(sample_body()), [normal([3]), normal([4])]);
    },
};

/// Gradients of a loss with respect to values that precede it in the same graph:
/// `grad(loss, v1..vn)` or, seeded with the loss's cotangent, `grad(loss, seed, v1..vn)`.
/// A result has its value's type; it is zero where the loss does not depend on the value.
pub static GRAD: Record = Record {
    name: "grad",
    attrs: &[("seeded", AttrKind::Bool)],
    infer: |op, operands| {
        let seeded = op.bool("seeded");
        let first = 1 + usize::from(seeded);
        if operands.len() < first {
            return Err(type_error(op, operands, "needs a loss, its cotangent if seeded, and the values to differentiate by"));
        }
        if !operands[0].dtype.is_float() {
            return Err(type_error(op, operands, "needs a loss of a floating-point type"));
        }
        if !seeded && operands[0].rank() != 0 {
            return Err(type_error(op, operands, "needs a loss without axes, or a seed of the loss's type"));
        }
        if seeded && operands[1] != operands[0] {
            return Err(type_error(op, operands, "needs a seed of the loss's type"));
        }
        if let Some(other) = operands[first..].iter().find(|t| !t.dtype.is_float()) {
            return Err(type_error(op, operands, format_args!("cannot differentiate by {other}: not a floating-point type")));
        }
        Ok(operands[first..].iter().cloned().collect())
    },
    reference: no_reference,
    lowering: Lowering::Structural,
    vjp: Vjp::Structural,
    jvp: Jvp::Structural,
    batch: Batch::Structural,
    flops: no_flops,
    samples: |s| {
        s.add(grad(false), [normal([]), normal([2])]);
        s.add(grad(true), [normal([2]), normal([2]), normal([3])]);
    },
    error_samples: |s| {
        s.add(grad(false), []);
        s.add(grad(false), [normal([2]), normal([2])]);
        s.add(grad(true), [normal([2]), normal([3]), normal([2])]);
        s.add(grad(false), [(TensorType::scalar(DType::I64), Fill::Range(0, 9)), normal([2])]);
        s.add(grad(false), [normal([]), (TensorType::new(DType::I64, [2]), Fill::Range(0, 9))]);
    },
};

/// A loop over the elements of sequences: `scan(constants.., carries.., sequences..) -> (last carries.., stacked..)`.
/// The body maps constants, carries and one element of each sequence to the next carries and one element of each
/// stacked result. A sequence's elements lie along its first axis, of extent `length`; `reverse` visits the last first
/// (results keep their element's place).
pub static SCAN: Record = Record {
    name: "scan",
    attrs: &[
        ("body", AttrKind::Region),
        ("constants", AttrKind::Int),
        ("carries", AttrKind::Int),
        ("reverse", AttrKind::Bool),
        ("length", AttrKind::Dim),
    ],
    infer: infer_scan,
    reference: no_reference,
    lowering: Lowering::Structural,
    vjp: Vjp::Structural,
    jvp: Jvp::Structural,
    batch: Batch::Structural,
    flops: |op, _, _| body_flops(op.region("body").graph()) * op.dim("length"),
    samples: |s| {
        for reverse in [false, true] {
            s.add(scan(sample_step(), 1, 1, reverse, 4), [normal([3]), normal([3]), normal([4, 3])]);
        }
        s.add(scan(sample_step(), 1, 1, false, 0), [normal([3]), normal([3]), normal([0, 3])]);
    },
    error_samples: |s| {
        s.add(scan(sample_step(), 1, 1, false, 4), [normal([3]), normal([3])]);
        s.add(scan(sample_step(), 1, 1, false, 4), [normal([3]), normal([3]), normal([5, 3])]);
        s.add(scan(sample_step(), 1, 1, false, 4), [normal([2]), normal([3]), normal([4, 3])]);
        s.add(scan(sample_step(), 2, 2, false, 4), [normal([3]), normal([3]), normal([4, 3])]);
        let mut swapped = Graph::new("swapped");
        let (h, x) = (swapped.input("h", TensorType::new(DType::F32, [3])), swapped.input("x", TensorType::new(DType::F32, [2])));
        swapped.output("h", x);
        swapped.output("x", h);
        s.add(scan(Region::new(swapped), 0, 1, false, 4), [normal([3]), normal([4, 2])]);
    },
};

fn infer_scan(op: &Op, operands: &[TensorType]) -> Result<Types> {
    let body = op.region("body").graph();
    let (constants, carries, length) = (op.int("constants"), op.int("carries"), op.dim("length"));
    let (inputs, outputs) = (body.inputs().len(), body.outputs().len());
    if constants < 0 || carries < 0 || constants.saturating_add(carries) > inputs as i64 || carries > outputs as i64 {
        let message =
            format!("has {constants} constants and {carries} carries, but its body has {inputs} inputs and {outputs} outputs");
        return Err(type_error(op, operands, message));
    }
    if length.is_invalid() || length.at_least(0) == Some(false) {
        return Err(type_error(op, operands, format_args!("has the length {length}")));
    }
    let (constants, carries) = (constants as usize, carries as usize);
    TypeRule::new(op, operands).count(inputs)?;
    for (k, ((v, name), given)) in body.inputs().iter().zip(operands).enumerate() {
        let element = body.ty(*v);
        let expected = if k < constants + carries { element.clone() } else { stacked(element, length) };
        if expected != *given {
            let message = format!("needs {expected} for input `{name}` of `{}` and was given {given}", body.name);
            return Err(type_error(op, operands, message));
        }
    }
    for k in 0..carries {
        let (before, after) = (body.ty(body.inputs()[constants + k].0), body.ty(body.outputs()[k].0));
        if before != after {
            let message = format!("has a carry `{}` of type {before} that its body returns as {after}", body.outputs()[k].1);
            return Err(type_error(op, operands, message));
        }
    }
    let types = body.outputs().iter().map(|(v, _)| body.ty(*v)).enumerate();
    Ok(types.map(|(k, ty)| if k < carries { ty.clone() } else { stacked(ty, length) }).collect())
}

/// The type of `length` elements of type `element` along a new first axis.
pub fn stacked(element: &TensorType, length: Dim) -> TensorType {
    let mut shape: Shape = smallvec![length];
    shape.extend(element.shape.iter().copied());
    TensorType { dtype: element.dtype, shape }
}

pub(super) fn body_flops(body: &Graph) -> Dim {
    let mut sum = Dim::ZERO;
    for (_, node) in body.nodes() {
        let operands: Vec<TensorType> = node.operands.iter().map(|&v| body.ty(v).clone()).collect();
        sum = sum + (node.op.record().flops)(&node.op, &operands, &node.results);
    }
    sum
}

fn normal<const N: usize>(shape: [usize; N]) -> (TensorType, Fill) {
    (TensorType::new(DType::F32, shape), Fill::Normal)
}

/// `tanh(x · w)`, `x + w`
fn sample_body() -> Region {
    let mut g = Graph::new("block");
    let ty = TensorType::new(DType::F32, [3]);
    let (x, w) = (g.input("x", ty.clone()), g.input("w", ty));
    let product = g.emit(super::pointwise("mul"), &[x, w]).expect("equal types")[0];
    let y = g.emit(super::pointwise("tanh"), &[product]).expect("a float")[0];
    let z = g.emit(super::pointwise("add"), &[x, w]).expect("equal types")[0];
    g.output("y", y);
    g.output("z", z);
    Region::new(g)
}

/// `h' = tanh(h · w + x)`, with `h' · h` stacked.
fn sample_step() -> Region {
    let mut g = Graph::new("step");
    let ty = TensorType::new(DType::F32, [3]);
    let (w, h, x) = (g.input("w", ty.clone()), g.input("h", ty.clone()), g.input("x", ty));
    let scaled = g.emit(super::pointwise("mul"), &[h, w]).expect("equal types")[0];
    let sum = g.emit(super::pointwise("add"), &[scaled, x]).expect("equal types")[0];
    let next = g.emit(super::pointwise("tanh"), &[sum]).expect("a float")[0];
    let y = g.emit(super::pointwise("mul"), &[next, h]).expect("equal types")[0];
    g.output("h", next);
    g.output("y", y);
    Region::new(g)
}
