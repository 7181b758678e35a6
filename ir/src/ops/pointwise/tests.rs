//! Derivatives where they are a matter of convention. (Everything else about these operators is checked on their
//! samples, for all operators alike: see `tests/records.rs` and `tests/lowering.rs`.)

use super::*;
use crate::Value;
use crate::autodiff::expand_gradients;
use crate::graph::Graph;
use crate::interp::interpret;
use crate::types::Literal;

/// The cotangents of the operands where that of every element of the result is one.
fn gradient(op: Op, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
    let mut arrays: Vec<Array> = inputs.iter().map(|v| Array::floats(DType::F64, [v.len()], v.to_vec())).collect();
    arrays.push(Array::full(Literal::float(DType::F64, 1.0), [inputs[0].len()]));
    let mut graph = Graph::new("test");
    let values: Vec<Value> = arrays.iter().map(|a| graph.input("x", a.ty())).collect();
    let (seed, operands) = values.split_last().expect("the seed is there");
    let y = graph.add(op, operands).unwrap()[0];
    let of: Vec<Value> = [y, *seed].into_iter().chain(operands.iter().copied()).collect();
    for d in graph.add(crate::ops::grad(true), &of).unwrap() {
        graph.output("d", d);
    }
    let graph = expand_gradients(&graph).unwrap();
    interpret(&graph, &arrays).unwrap().iter().map(Array::to_f64).collect()
}

/// The expected values are PyTorch's.
#[test]
fn derivatives_at_kinks_and_ties_are_pytorchs() {
    let nan = f64::NAN;
    assert_eq!(gradient(relu(), &[&[nan, 0.0, 1.0]]), [[1.0, 0.0, 1.0]]);
    assert_eq!(gradient(abs(), &[&[nan, 0.0, -0.0, -2.0]]), [[0.0, 0.0, 0.0, -1.0]]);
    assert_eq!(gradient(maximum(), &[&[nan, 1.0, 2.0], &[1.0; 3]]), [[1.0, 0.5, 1.0], [1.0, 0.5, 0.0]]);
    assert_eq!(gradient(minimum(), &[&[nan, 1.0, 2.0], &[1.0; 3]]), [[1.0, 0.5, 0.0], [1.0, 0.5, 1.0]]);
    let power = gradient(pow(), &[&[0.0, 0.0, 2.0], &[0.0, 2.0, 3.0]]);
    assert_eq!(power[0], [0.0, 0.0, 12.0]);
    assert_eq!(power[1][..2], [0.0, 0.0]);
    assert!((power[1][2] - 8.0 * 2f64.ln()).abs() < 1e-12);
}
