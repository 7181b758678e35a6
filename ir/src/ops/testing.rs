//! What the tests of operators share.

use crate::array::Array;
use crate::graph::{Graph, Value};
use crate::interp::interpret;
use crate::kernel::{Access, Axis, AxisKind, Kernel, Param, Section, Stage, Store, Target};
use crate::op::{Indexing, Lowering, Op};
use crate::ops;
use crate::scalar::{ExprId, Exprs, S, ScalarOp};
use crate::types::{DType, TensorType};
use std::cell::RefCell;

/// An array of f64 numbers.
pub(crate) fn numbers<const N: usize>(shape: impl Into<Vec<usize>>, values: [f64; N]) -> Array {
    Array::floats(DType::F64, shape, values.to_vec())
}

/// An array of i64 numbers.
pub(crate) fn integers<const N: usize>(values: [i64; N]) -> Array {
    Array::ints(DType::I64, [N], values.to_vec())
}

/// Small whole numbers, `(7i + 3) mod 11 - 5`.
pub(crate) fn pattern(shape: &[usize]) -> Array {
    Array::from_fn_f64(DType::F64, shape, |i| ((i * 7 + 3) % 11) as f64 - 5.0)
}

/// The operator's results for these operands.
pub(crate) fn run(op: &Op, operands: &[Array]) -> Vec<Array> {
    let mut graph = Graph::new("g");
    let inputs: Vec<Value> = operands.iter().map(|x| graph.input("x", x.ty())).collect();
    let results = graph.add(op.clone(), &inputs).expect("the test's operands fit");
    results.into_iter().for_each(|v| graph.output("y", v));
    interpret(&graph, operands).expect("the test's operands can be computed with")
}

/// The cotangent of the first operand where that of the only result is `seed`.
pub(crate) fn gradient(op: &Op, operands: &[Array], seed: Array) -> Array {
    let mut graph = Graph::new("g");
    let inputs: Vec<Value> = operands.iter().chain([&seed]).map(|x| graph.input("x", x.ty())).collect();
    let y = graph.add(op.clone(), &inputs[..operands.len()]).expect("the test's operands fit")[0];
    let dx = graph.add(ops::grad(true), &[y, inputs[operands.len()], inputs[0]]).expect("the seed fits")[0];
    graph.output("dx", dx);
    interpret(&graph, &[operands, &[seed]].concat()).expect("the gradient can be computed").remove(0)
}

/// The expression of a `Map` lowering over axes `i`, `j`, `k`, … and operands `a`, `b`, …, as kernel text.
pub(crate) fn map_text(op: &Op, operands: &[TensorType]) -> String {
    let results = op.infer(operands).expect("the test's operands fit");
    let Lowering::Map(rule) = op.record().lowering else { panic!("{op} is no map") };
    let exprs = RefCell::new(Exprs::default());
    exprs.borrow_mut().axes = results[0].shape.to_vec();
    let raw = |op: ScalarOp, args: &[ExprId], dtype: DType| S::of(&exprs, exprs.borrow_mut().raw(op, args, dtype));
    let index: Vec<S> = (0..results[0].rank()).map(|i| raw(ScalarOp::Axis(i as u32), &[], DType::I64)).collect();
    let load =
        |k: usize, index: &[S]| raw(ScalarOp::Load(k as u32), &index.iter().map(|i| i.id).collect::<Vec<_>>(), operands[k].dtype);
    let value = rule(&Indexing { exprs: &exprs, op, operands, results: &results, result: 0, index: &index, load: &load }).id;
    let index: Vec<ExprId> = index.iter().map(|i| i.id).collect();
    let letter = |first: u8, i: usize| char::from(first + i as u8).to_string();
    let param = |name: String, ty: &TensorType, access| Param { name, ty: ty.clone(), access };
    let axis = |(i, &extent)| Axis { name: letter(b'i', i), extent, kind: AxisKind::Parallel };
    let to = Target::Param { param: operands.len() as u32, index, combine: None };
    let section = Section {
        axes: results[0].shape.iter().enumerate().map(axis).collect(),
        locals: Vec::new(),
        exprs: exprs.into_inner(),
        stages: vec![Stage::Map { axes: Vec::new(), stores: vec![Store { value, to }] }],
        schedule: Vec::new(),
    };
    let reads = operands.iter().enumerate().map(|(k, ty)| param(letter(b'a', k), ty, Access::Read));
    let params = reads.chain([param("y".into(), &results[0], Access::Write)]).collect();
    let text = Kernel { name: "k".into(), params, sections: vec![section], locs: Vec::new() }.to_string();
    let lines = text.lines().map(str::trim).filter(|l| !["kernel", "dims", "axes", "map", "}"].iter().any(|w| l.starts_with(w)));
    lines.collect::<Vec<_>>().join("; ")
}
