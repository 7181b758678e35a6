//! Control flow: cond, while. (`scan` is a structural operator.)
//!
//! Both hold regions, so the interpreter, autodiff, batching and the compiler treat them themselves.

use crate::array::Array;
use crate::dim::Dim;
use crate::emit::Emit;
use crate::error::Result;
use crate::graph::{Graph, Region, Value};
use crate::op::*;
use crate::ops::structural::{body_flops, no_reference};
use crate::ops::type_rule::TypeRule;
use crate::types::{DType, Literal, TensorType};

/// The control flow operators.
pub static CONTROL: &[&Record] = &[&COND, &WHILE];

/// `then` of the operands behind the first if that is true, else `otherwise` of them. See [`COND`].
pub fn cond(then: Region, otherwise: Region) -> Op {
    Op::new(&COND, [Attr::Region(then), Attr::Region(otherwise)])
}

/// Repeats `body` as long as `condition` holds, at most `bound` times if there is a bound.
/// Operands: `constants` constants, then initial carries. See [`WHILE`].
pub fn while_loop(condition: Region, body: Region, constants: usize, bound: Option<u32>) -> Op {
    let bound = bound.map_or(UNBOUNDED, i64::from);
    Op::new(&WHILE, [Attr::Region(condition), Attr::Region(body), Attr::Int(constants as i64), Attr::Int(bound)])
}

/// The bound of a loop without one.
const UNBOUNDED: i64 = -1;

/// The most steps of a `while`, if they are bounded.
pub fn bound(op: &Op) -> Option<u32> {
    u32::try_from(op.int("bound")).ok()
}

/// Runs one of two regions: `cond(predicate, operands..) -> results..`. Both take the operands and give results of the same
/// types; only the one that the predicate chooses is computed.
pub static COND: Record = Record {
    name: "cond",
    attrs: &[("then", AttrKind::Region), ("otherwise", AttrKind::Region)],
    infer: infer_cond,
    reference: no_reference,
    lowering: Lowering::Structural,
    vjp: Vjp::Structural,
    jvp: Jvp::Structural,
    batch: Batch::Structural,
    flops: |op, _, _| {
        // Which one runs is not known: the larger, if they can be compared.
        let [then, otherwise] = ["then", "otherwise"].map(|branch| body_flops(op.region(branch).graph()));
        match (then.as_const(), otherwise.as_const()) {
            (Some(a), Some(b)) => Dim::constant(a.max(b)),
            _ => then + otherwise,
        }
    },
    samples: |s| {
        for predicate in [Fill::Range(0, 1), Fill::Range(1, 2), Fill::Range(0, 2)] {
            let operands = [(TensorType::scalar(DType::Bool), predicate), normal([3]), normal([3])];
            s.add(cond(branch("tanh"), branch("exp")), operands);
        }
    },
    error_samples: |s| {
        let predicate = || (TensorType::scalar(DType::Bool), Fill::Range(0, 2));
        s.add(cond(branch("tanh"), branch("exp")), []);
        s.add(
            cond(branch("tanh"), branch("exp")),
            [(TensorType::new(DType::Bool, [3]), Fill::Range(0, 2)), normal([3]), normal([3])],
        );
        s.add(cond(branch("tanh"), branch("exp")), [normal([]), normal([3]), normal([3])]);
        s.add(cond(branch("tanh"), branch("exp")), [predicate(), normal([3])]);
        s.add(cond(branch("tanh"), branch("exp")), [predicate(), normal([3]), normal([4])]);
        s.add(cond(branch("tanh"), both()), [predicate(), normal([3]), normal([3])]);
        s.add(cond(branch("tanh"), comparison("lt")), [predicate(), normal([3]), normal([3])]);
    },
};

fn infer_cond(op: &Op, operands: &[TensorType]) -> Result<Types> {
    let Some((predicate, given)) = operands.split_first() else {
        return Err(type_error(op, operands, "takes a predicate before the operands of its branches"));
    };
    if *predicate != TensorType::scalar(DType::Bool) {
        return Err(type_error(op, operands, format_args!("needs one bool without axes to choose by and was given {predicate}")));
    }
    let [then, otherwise] = ["then", "otherwise"].map(|branch| op.region(branch).graph());
    for branch in [then, otherwise] {
        inputs_fit(op, operands, branch, given)?;
    }
    let results = |branch: &Graph| -> Types { branch.outputs().iter().map(|(v, _)| branch.ty(*v).clone()).collect() };
    let (of_then, of_otherwise) = (results(then), results(otherwise));
    if of_then.len() != of_otherwise.len() {
        let message = format!("has branches with {} and {} results", of_then.len(), of_otherwise.len());
        return Err(type_error(op, operands, message));
    }
    if let Some(k) = (0..of_then.len()).find(|&k| of_then[k] != of_otherwise[k]) {
        let message = format!("has a result {k} that is {} in one branch and {} in the other", of_then[k], of_otherwise[k]);
        return Err(type_error(op, operands, message));
    }
    Ok(of_then)
}

/// Checks that a region takes these operands.
fn inputs_fit(op: &Op, operands: &[TensorType], region: &Graph, given: &[TensorType]) -> Result<()> {
    let before = operands.len() - given.len();
    TypeRule::new(op, operands).count(before + region.inputs().len())?;
    for ((v, name), given) in region.inputs().iter().zip(given) {
        if region.ty(*v) != given {
            let message = format!("needs {} for input `{name}` of `{}` and was given {given}", region.ty(*v), region.name);
            return Err(type_error(op, operands, message));
        }
    }
    Ok(())
}

/// A loop with an end that the data decide: `while(constants.., carries..) -> last carries..`. Both regions take constants
/// and carries; as long as the condition gives true, the body makes the next carries. A `bound` that is not negative is the
/// most steps: the loop then ends although the condition holds, and has a derivative in reverse mode.
pub static WHILE: Record = Record {
    name: "while",
    attrs: &[("condition", AttrKind::Region), ("body", AttrKind::Region), ("constants", AttrKind::Int), ("bound", AttrKind::Int)],
    infer: infer_while,
    reference: no_reference,
    lowering: Lowering::Structural,
    vjp: Vjp::Structural,
    jvp: Jvp::Structural,
    batch: Batch::Structural,
    // Of one step: how many there are is not known.
    flops: |op, _, _| body_flops(op.region("condition").graph()) + body_flops(op.region("body").graph()),
    samples: |s| {
        let integer = |hi: i64| (TensorType::scalar(DType::I64), Fill::Range(0, hi));
        // The greatest common divisor: how long it takes depends on the numbers.
        s.add(while_loop(not_zero(), remainder(), 0, None), [integer(40), integer(40)]);
        s.add(while_loop(not_zero(), remainder(), 0, Some(2)), [integer(40), integer(40)]);
        for bound in [0, 3, 6] {
            let operands = [integer(6), normal([3]), integer(2), normal([3])];
            s.add(while_loop(below_limit(), sample_step(), 2, Some(bound)), operands);
        }
    },
    error_samples: |s| {
        let integer = || (TensorType::scalar(DType::I64), Fill::Range(0, 40));
        s.add(while_loop(not_zero(), remainder(), 0, None), [integer()]);
        s.add(while_loop(not_zero(), remainder(), 0, None), [integer(), normal([])]);
        s.add(while_loop(not_zero(), remainder(), 3, None), [integer(), integer()]);
        s.add(while_loop(not_zero(), remainder(), 1, None), [integer(), integer()]);
        s.add(while_loop(remainder(), remainder(), 0, None), [integer(), integer()]);
        s.add(while_loop(comparison("lt"), both(), 0, None), [normal([3]), normal([3])]);
        s.add(while_loop(not_zero(), converted(), 1, None), [integer(), integer()]);
    },
};

fn infer_while(op: &Op, operands: &[TensorType]) -> Result<Types> {
    let [condition, body] = ["condition", "body"].map(|region| op.region(region).graph());
    let (inputs, carries) = (body.inputs().len(), body.outputs().len());
    if op.int("constants") != inputs as i64 - carries as i64 {
        let constants = op.int("constants");
        let message = format!("has {constants} constants, but its body has {inputs} inputs and {carries} outputs");
        return Err(type_error(op, operands, message));
    }
    inputs_fit(op, operands, body, operands)?;
    inputs_fit(op, operands, condition, operands)?;
    let decided: Vec<String> = condition.outputs().iter().map(|(v, _)| condition.ty(*v).to_string()).collect();
    if decided != [TensorType::scalar(DType::Bool).to_string()] {
        let message = format!("needs a condition that gives one bool without axes; this one gives {}", decided.join(", "));
        return Err(type_error(op, operands, message));
    }
    let constants = inputs - carries;
    for (k, (v, _)) in body.outputs().iter().enumerate() {
        let (before, after) = (&operands[constants + k], body.ty(*v));
        if before != after {
            let name = &body.inputs()[constants + k].1;
            let message = format!("has a carry `{name}` of type {before} that its body returns as {after}");
            return Err(type_error(op, operands, message));
        }
    }
    Ok(operands[constants..].iter().cloned().collect())
}

fn normal<const N: usize>(shape: [usize; N]) -> (TensorType, Fill) {
    (TensorType::new(DType::F32, shape), Fill::Normal)
}

/// The region that `build` makes of inputs of these names and types.
fn region<const N: usize>(
    name: &str,
    inputs: [(&str, &TensorType); N],
    build: impl Fn(&mut Graph, [Value; N]) -> Vec<Value>,
) -> Region {
    let mut g = Graph::new(name);
    let inputs = inputs.map(|(name, ty)| g.input(name, ty.clone()));
    build(&mut g, inputs).into_iter().for_each(|v| g.output("", v));
    Region::new(g)
}

/// A region of two inputs of type `f32[3]`.
fn of_rows(name: &str, build: impl Fn(&mut Graph, [Value; 2]) -> Vec<Value>) -> Region {
    let row = normal([3]).0;
    region(name, [("a", &row), ("b", &row)], build)
}

/// A region of two inputs of type `i64[]`.
fn of_integers(name: &str, build: impl Fn(&mut Graph, [Value; 2]) -> Vec<Value>) -> Region {
    let whole = TensorType::scalar(DType::I64);
    region(name, [("a", &whole), ("b", &whole)], build)
}

fn emit(g: &mut Graph, name: &str, operands: &[Value]) -> Value {
    g.emit(super::pointwise(name), operands).expect("the sample is well typed")[0]
}

fn integer(g: &mut Graph, value: i64) -> Value {
    g.emit(super::constant(Array::scalar(Literal::int(DType::I64, value))), &[]).expect("a constant")[0]
}

/// `f(a) · b`
fn branch(function: &'static str) -> Region {
    of_rows(function, |g, [a, b]| {
        let y = emit(g, function, &[a]);
        vec![emit(g, "mul", &[y, b])]
    })
}

/// Gives its inputs.
fn both() -> Region {
    of_rows("both", |_, [a, b]| vec![a, b])
}

fn comparison(name: &'static str) -> Region {
    of_rows(name, |g, [a, b]| vec![emit(g, name, &[a, b])])
}

/// `b ≠ 0`
fn not_zero() -> Region {
    of_integers("not_zero", |g, [_, b]| {
        let zero = integer(g, 0);
        vec![emit(g, "ne", &[b, zero])]
    })
}

/// `b, a mod b`
fn remainder() -> Region {
    of_integers("remainder", |g, [a, b]| vec![b, emit(g, "rem", &[a, b])])
}

/// `a` as a float.
fn converted() -> Region {
    of_integers("converted", |g, [a, _]| vec![g.emit(super::cast(DType::F32), &[a]).expect("a number")[0]])
}

fn counted(name: &str, build: impl Fn(&mut Graph, [Value; 4]) -> Vec<Value>) -> Region {
    let (whole, row) = (TensorType::scalar(DType::I64), normal([3]).0);
    region(name, [("limit", &whole), ("w", &row), ("i", &whole), ("x", &row)], build)
}

/// `i < limit`
fn below_limit() -> Region {
    counted("below_limit", |g, [limit, _, i, _]| vec![emit(g, "lt", &[i, limit])])
}

/// `i + 1, tanh(x · w + x)`
fn sample_step() -> Region {
    counted("step", |g, [_, w, i, x]| {
        let one = integer(g, 1);
        let next = emit(g, "add", &[i, one]);
        let scaled = emit(g, "mul", &[x, w]);
        let sum = emit(g, "add", &[scaled, x]);
        vec![next, emit(g, "tanh", &[sum])]
    })
}
