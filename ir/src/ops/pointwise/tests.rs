//! Every pointwise operator: its lowering against its reference, its derivatives against differences of the reference.

use super::*;
use crate::emit::Emitter;
use crate::graph::{Graph, Value};
use crate::sample;
use crate::scalar::{ExprId, Exprs, ScalarOp};
use crate::scalar_eval::eval_op;
use crate::types::Literal;
use std::cell::RefCell;

fn records() -> impl Iterator<Item = &'static Record> {
    POINTWISE.iter().copied().flatten().copied()
}

fn samples(record: &Record) -> Vec<Sample> {
    let mut samples = Samples::default();
    (record.samples)(&mut samples);
    samples.0
}

fn types(sample: &Sample) -> Vec<TensorType> {
    sample.inputs.iter().map(|(ty, _)| ty.clone()).collect()
}

/// The element that the lowering gives where operand `k` has element `elements[k]`.
fn lowered(op: &Op, operands: &[TensorType], elements: &[Literal]) -> Literal {
    let Lowering::Map(lower) = op.record().lowering else { panic!("{op} is no map") };
    let exprs = RefCell::new(Exprs::default());
    let results = op.infer(operands).unwrap();
    let load = |k: usize, _: &[S]| S::of(&exprs, exprs.borrow_mut().raw(ScalarOp::Load(k as u32), &[], operands[k].dtype));
    let index: Vec<S> = operands[0].shape.iter().map(|_| S::int(&exprs, DType::I64, 0)).collect();
    let indexing = Indexing { exprs: &exprs, op, operands, results: &results, result: 0, index: &index, load: &load };
    let root = lower(&indexing).id;
    let exprs = exprs.borrow();
    let mut values: Vec<Literal> = Vec::new();
    for i in 0..=root.0 {
        let node = exprs.get(ExprId(i));
        let args: Vec<Literal> = node.args.iter().map(|a| values[a.0 as usize]).collect();
        values.push(match node.op {
            ScalarOp::Load(k) => elements[k as usize],
            op => eval_op(op, &args, node.dtype),
        });
    }
    values[root.0 as usize]
}

fn reference_of(op: &Op, inputs: &[&Array]) -> Array {
    let operands: Vec<TensorType> = inputs.iter().map(|a| a.ty()).collect();
    let results = op.infer(&operands).unwrap();
    (op.record().reference)(&Reference { op, inputs, results: &results }).unwrap().remove(0)
}

#[test]
fn kernels_compute_what_references_do() {
    for record in records() {
        for sample in samples(record) {
            let inputs = sample::inputs(&sample).unwrap();
            let want = reference_of(&sample.op, &inputs.iter().collect::<Vec<_>>()).rounded();
            let (operands, dtype) = (types(&sample), want.dtype());
            for i in 0..want.len() {
                let elements: Vec<Literal> = inputs.iter().map(|a| a.literal(i)).collect();
                let (got, want) = (lowered(&sample.op, &operands, &elements).as_f64(), want.f(i));
                let tolerance = if want.is_finite() { 4.0 * want.abs() * dtype.epsilon() + smallest(dtype) } else { 0.0 };
                let close = got == want || (got - want).abs() <= tolerance || (got.is_nan() && want.is_nan());
                assert!(close, "{} of {elements:?} is {got}, not {want}", sample.op);
            }
        }
    }
}

/// A few of the smallest subnormal numbers: what may be lost at zero.
fn smallest(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 2e-323,
        DType::F32 => 6e-45,
        DType::F16 => 6e-8,
        DType::BF16 => 1e-40,
        _ => 0.0,
    }
}

/// Evaluates a graph of pointwise operators by their references.
fn run(graph: &Graph, inputs: &[Array], result: Value) -> Array {
    let mut values: Vec<Array> = Vec::new();
    for (i, node) in graph.nodes() {
        let operands: Vec<&Array> = node.operands.iter().map(|v| &values[v.node as usize]).collect();
        let results: Vec<TensorType> = node.results.to_vec();
        values.push(match inputs.get(i as usize) {
            Some(x) => x.clone(),
            None => {
                (node.op.record().reference)(&Reference { op: &node.op, inputs: &operands, results: &results }).unwrap().remove(0)
            }
        });
    }
    values.swap_remove(result.node as usize)
}

/// Cotangents of the operands, or the tangent of the result: `seeds` are the cotangent or the tangents.
fn derivative(sample: &Sample, inputs: &[Array], seeds: &[Array], reverse: bool) -> Vec<Option<Array>> {
    let mut graph = Graph::new("derivative");
    let values: Vec<Value> = inputs.iter().chain(seeds).map(|a| graph.input("x", a.ty())).collect();
    let record = sample.op.record();
    let derived: Vec<Option<Value>> = {
        let emitter = Emitter::new(&mut graph);
        let x: Vec<X> = values.iter().map(|&v| emitter.value(v)).collect();
        let (operands, seeds) = x.split_at(inputs.len());
        let results = emitter.apply(sample.op.clone(), operands).to_vec();
        let (emitter_ref, op, operands) = (&emitter, &sample.op, operands.to_vec());
        let derived = match (reverse, record.vjp, record.jvp) {
            (true, Vjp::Rule(rule), _) => {
                let (cotangents, wanted) = (vec![Some(seeds[0])], vec![true; operands.len()]);
                rule(&VjpArgs { emitter: emitter_ref, op, operands, results, cotangents, wanted })
            }
            (false, _, Jvp::Rule(rule)) => {
                let tangent = |(x, t): (&X<'_, '_>, &X<'_, '_>)| x.dtype().is_float().then(|| emitter.value(t.value));
                let tangents = operands.iter().zip(seeds).map(tangent).collect();
                rule(&JvpArgs { emitter: emitter_ref, op, operands, results, tangents })
            }
            _ => Vec::new(),
        };
        emitter.finish().unwrap();
        derived.iter().map(|x| x.map(|x| x.value)).collect()
    };
    let all: Vec<Array> = inputs.iter().chain(seeds).cloned().collect();
    derived.into_iter().map(|v| v.map(|v| run(&graph, &all, v))).collect()
}

/// The samples that derivatives can be checked on: ordinary numbers in `f64`.
fn smooth_samples(record: &Record) -> Vec<Sample> {
    let smooth = |(ty, fill): &(TensorType, Fill)| ty.dtype == DType::Bool || (ty.dtype == DType::F64 && *fill != Fill::Specials);
    samples(record).into_iter().filter(|s| s.inputs.iter().all(smooth)).collect()
}

#[test]
fn derivatives_agree_with_differences_of_the_reference() {
    let mut checked = 0;
    for record in records() {
        for sample in smooth_samples(record) {
            let inputs = sample::inputs(&sample).unwrap();
            let y = reference_of(&sample.op, &inputs.iter().collect::<Vec<_>>());
            if y.dtype() != DType::F64 {
                continue;
            }
            let ones = |a: &Array| Array::full(Literal::float(DType::F64, 1.0), a.shape());
            let cotangents = derivative(&sample, &inputs, &[ones(&y)], true);
            let tangents: Vec<Array> = inputs.iter().map(|a| ones(a)).collect();
            let tangent = derivative(&sample, &inputs, &tangents, false);
            let mut total = vec![0.0; y.len()];
            for k in (0..inputs.len()).filter(|&k| inputs[k].dtype() == DType::F64) {
                let step = 1e-6;
                let shifted = |by: f64| {
                    let mut moved = inputs.clone();
                    moved[k] = Array::from_fn_f64(DType::F64, moved[k].shape(), |i| inputs[k].f(i) + by);
                    reference_of(&sample.op, &moved.iter().collect::<Vec<_>>())
                };
                let (up, down) = (shifted(step), shifted(-step));
                for i in 0..y.len() {
                    let want = (up.f(i) - down.f(i)) / (2.0 * step);
                    let got = cotangents.get(k).and_then(|d| d.as_ref()).map_or(0.0, |d| d.f(i));
                    assert!((got - want).abs() <= 1e-5 * (1.0 + want.abs()), "d{k} of {} is {got}, not {want}", sample.op);
                    total[i] += got;
                }
                checked += 1;
            }
            if let [Some(t)] = tangent.as_slice() {
                for i in 0..y.len() {
                    assert!((t.f(i) - total[i]).abs() <= 1e-9 * (1.0 + total[i].abs()), "tangent of {}", sample.op);
                }
            }
        }
    }
    assert!(checked > 40, "only {checked} operands were checked");
}

fn gradient(name: &str, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
    let arrays: Vec<Array> = inputs.iter().map(|v| Array::floats(DType::F64, [v.len()], v.to_vec())).collect();
    let sample = Sample { op: super::super::pointwise(name), inputs: arrays.iter().map(|a| (a.ty(), Fill::Normal)).collect() };
    let ones = Array::full(Literal::float(DType::F64, 1.0), arrays[0].shape());
    derivative(&sample, &arrays, &[ones], true).into_iter().map(|d| d.unwrap().to_f64()).collect()
}

/// Expected values are PyTorch's.
#[test]
fn derivatives_at_kinks_and_ties_are_pytorchs() {
    let nan = f64::NAN;
    assert_eq!(gradient("relu", &[&[nan, 0.0, 1.0]]), [[1.0, 0.0, 1.0]]);
    assert_eq!(gradient("abs", &[&[nan, 0.0, -0.0, -2.0]]), [[0.0, 0.0, 0.0, -1.0]]);
    assert_eq!(gradient("maximum", &[&[nan, 1.0, 2.0], &[1.0; 3]]), [[1.0, 0.5, 1.0], [1.0, 0.5, 0.0]]);
    assert_eq!(gradient("minimum", &[&[nan, 1.0, 2.0], &[1.0; 3]]), [[1.0, 0.5, 0.0], [1.0, 0.5, 1.0]]);
    let power = gradient("pow", &[&[0.0, 0.0, 2.0], &[0.0, 2.0, 3.0]]);
    assert_eq!((power[0].as_slice(), &power[1][..2]), (&[0.0, 0.0, 12.0][..], &[0.0, 0.0][..]));
    assert!((power[1][2] - 8.0 * 2f64.ln()).abs() < 1e-12);
}

#[test]
fn ill_typed_samples_are_errors_that_list_the_operands() {
    for record in records() {
        let mut samples = Samples::default();
        (record.error_samples)(&mut samples);
        assert!(!samples.0.is_empty(), "{} has no error samples", record.name);
        for sample in samples.0 {
            let error = sample.op.infer(&types(&sample)).expect_err("the sample is ill-typed").to_string();
            let lists = sample.inputs.iter().all(|(ty, _)| error.contains(&ty.to_string()));
            assert!(error.starts_with(record.name) && lists, "{error}");
        }
    }
}
