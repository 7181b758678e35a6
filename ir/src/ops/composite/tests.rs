//! Values of PyTorch 2 in double precision, and what dropout promises.

use super::*;
use crate::array::Array;
use crate::graph::Graph;
use crate::interp::interpret;
use crate::op::Op;
use crate::{Value, sample};

fn run(op: Op, inputs: &[Array]) -> Vec<Array> {
    let mut graph = Graph::new("test");
    let values: Vec<Value> = inputs.iter().map(|a| graph.input("x", a.ty())).collect();
    for y in graph.add(op, &values).unwrap() {
        graph.output("y", y);
    }
    interpret(&graph, inputs).unwrap()
}

fn floats<const N: usize>(shape: [usize; N], values: &[f64]) -> Array {
    Array::floats(DType::F64, shape, values.to_vec())
}

#[track_caller]
fn assert_near(got: &Array, want: &[f64]) {
    assert_eq!(got.len(), want.len());
    for (i, w) in want.iter().enumerate() {
        assert!((got.f(i) - w).abs() < 1e-14, "element {i} is {}, not {w}", got.f(i));
    }
}

fn x() -> Array {
    floats([2, 3], &[1.0, 2.0, 4.0, -1.0, 0.0, 0.5])
}

#[test]
fn softmax_is_pytorchs() {
    let rows =
        [0.042010066134066, 0.1141951993845945, 0.8437947344813395, 0.1219516523097288, 0.3314989604240915, 0.5465493872661796];
    assert_near(&run(softmax(1), &[x()])[0], &rows);
    let logs = [
        -0.1269280110429726,
        -0.1269280110429726,
        -0.0297504182726207,
        -2.1269280110429727,
        -2.1269280110429727,
        -3.5297504182726205,
    ];
    assert_near(&run(log_softmax(0), &[x()])[0], &logs);
}

#[test]
fn gelu_is_pytorchs() {
    let x = floats([4], &[-3.0, -0.5, 1.0, 2.5]);
    let exact = [-0.0040496940948903, -0.1542687693629934, 0.841344746068543, 2.4844758366855597];
    assert_near(&run(gelu("none"), std::slice::from_ref(&x))[0], &exact);
    let tanh = [-0.003637392081773, -0.1542859901748561, 0.8411919906082768, 2.484915733910001];
    assert_near(&run(gelu("tanh"), &[x])[0], &tanh);
}

#[test]
fn layer_norm_is_pytorchs() {
    let (weight, bias) = (floats([3], &[1.0, 2.0, -1.0]), floats([3], &[0.0, 1.0, 0.5]));
    let results = run(layer_norm(1, 1e-5), &[x(), weight, bias]);
    let y = [
        -1.0690415314502977,
        0.4654792342748509,
        -0.8363019143128718,
        -1.3362890288136267,
        1.5345156115254508,
        -0.5690312230509016,
    ];
    assert_near(&results[0], &y);
    assert_near(&results[1], &[2.3333333333333335, -0.1666666666666667]);
    assert_near(&results[2], &[0.801781148587723, 1.603546834576352]);
}

#[test]
fn cross_entropy_is_pytorchs() {
    let results = run(cross_entropy(), &[x(), Array::ints(DType::I64, [2], vec![2, 0])]);
    assert_near(&results[0], &[0.1698460195562857, 2.1041306053367284]);
    assert_near(&results[1], &[4.169846019556286, 1.1041306053367284]);
}

#[test]
fn dropout_keeps_the_fraction_and_the_mean_and_depends_on_the_state_alone() {
    let n = 20_000;
    let ones = || floats([n], &vec![1.0; n]);
    let drop = |seed: i64| run(dropout(0.3), &[ones(), Array::ints(DType::I64, [2], vec![seed, 7])]).remove(0);
    let y = drop(1).to_f64();
    assert!(y.iter().all(|&v| v == 0.0 || v == 1.0 / 0.7));
    let mean = y.iter().sum::<f64>() / n as f64;
    assert!((mean - 1.0).abs() < 0.02, "{mean}");
    assert_eq!(drop(1), drop(1));
    assert_ne!(drop(1), drop(2));
}

#[test]
fn large_logits_lose_nothing_to_the_maximum() {
    let ty = TensorType::new(DType::F32, [4, 3]);
    let spread = sample::array(&ty, Fill::Normal, 1, 0).unwrap();
    let shifted = Array::from_fn_f64(DType::F32, [4, 3], |i| (spread.f(i) * 64.0).round() / 64.0 + 4096.0);
    let plain = Array::from_fn_f64(DType::F32, [4, 3], |i| shifted.f(i) - 4096.0);
    let labels = || Array::ints(DType::I64, [4], vec![0, 1, 2, 1]);
    let loss = |logits: Array| {
        let inputs = [logits, labels()];
        let mut graph = Graph::new("test");
        let values: Vec<Value> = inputs.iter().map(|a| graph.input("x", a.ty())).collect();
        let crate::op::Lowering::Composite(decompose) = CROSS_ENTROPY.lowering else { panic!("is a composite") };
        let result = {
            let emitter = Emitter::new(&mut graph);
            let operands: Vec<X> = values.iter().map(|&v| emitter.value(v)).collect();
            let results = decompose(&emitter, &cross_entropy(), &operands);
            emitter.finish().unwrap();
            results[0].value
        };
        graph.output("loss", result);
        interpret(&graph, &inputs).unwrap().remove(0)
    };
    assert_eq!(loss(shifted), loss(plain));
}
