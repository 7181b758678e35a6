//! Type rules and derivatives with symbolic extents: what a graph with symbols computes is what the graph with
//! numbers in their place computes.

use igneous_ir::autodiff::expand_gradients;
use igneous_ir::interp::interpret;
use igneous_ir::op::{Fill, ReduceKind};
use igneous_ir::{Array, DType, Dim, Graph, Op, TensorType, Value, ops, sample};

/// The operator's results; the cotangents of its float operands where each result's is that result; and the cotangents of
/// the same operands where the cotangent of each of these is that itself.
fn graph(op: &Op, inputs: &[TensorType]) -> Graph {
    let mut graph = Graph::new("g");
    let operands: Vec<Value> = inputs.iter().enumerate().map(|(k, ty)| graph.input(format!("x{k}"), ty.clone())).collect();
    let wrt: Vec<Value> = operands.iter().copied().filter(|&v| graph.ty(v).dtype.is_float()).collect();
    let gradients = |graph: &mut Graph, of: &[Value]| -> Vec<Value> {
        let gradient =
            |&y: &Value| graph.add(ops::grad(true), &[&[y, y], &wrt[..]].concat()).unwrap_or_else(|e| panic!("{op}: {e}"));
        of.iter().flat_map(gradient).collect()
    };
    let results = graph.add(op.clone(), &operands).unwrap_or_else(|e| panic!("{e}"));
    let first = gradients(&mut graph, &results);
    let second = gradients(&mut graph, &first);
    for (k, v) in results.into_iter().chain(first).chain(second).enumerate() {
        graph.output(format!("y{k}"), v);
    }
    let expanded = expand_gradients(&graph).unwrap_or_else(|e| panic!("{op}: {e}"));
    igneous_ir::verify::verify(&expanded).unwrap_or_else(|e| panic!("{op}: {e}"));
    expanded
}

/// `make` gives an operator and its operands' types for the extent `n`.
fn check(numbers: impl IntoIterator<Item = usize>, make: impl Fn(Dim) -> (Op, Vec<TensorType>)) {
    let (op, types) = make(Dim::symbol("n", 4, 64));
    let with_symbols = graph(&op, &types);
    for n in numbers {
        let (op, types) = make(Dim::from(n));
        let fill = |ty: &TensorType| if ty.dtype.is_float() { Fill::Normal } else { Fill::Range(0, 4) };
        let arrays = types.iter().enumerate().map(|(k, ty)| sample::array(ty, fill(ty), 7, k));
        let arrays: Vec<Array> = arrays.collect::<Result<_, _>>().unwrap();
        let expected = interpret(&graph(&op, &types), &arrays).unwrap();
        assert!(expected[1..].iter().any(|a| (0..a.len()).any(|i| a.f(i) != 0.0)), "{op} has a cotangent");
        let found = interpret(&with_symbols, &arrays).unwrap_or_else(|e| panic!("{op}: {e}"));
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found.ty(), expected.ty(), "{op}");
            let near = (0..found.len()).all(|i| (found.f(i) - expected.f(i)).abs() < 1e-9 * (1.0 + expected.f(i).abs()));
            assert!(near, "{op} with n = {n}:\n{found:?}\n{expected:?}");
        }
    }
}

fn f64s(extents: &[Dim]) -> TensorType {
    TensorType::new(DType::F64, extents)
}

fn d(n: usize) -> Dim {
    Dim::from(n)
}

#[test]
fn views() {
    check([4, 7], |n| (ops::broadcast([d(2), n, d(3)].into_iter().collect(), &[1]), vec![f64s(&[n])]));
    check([4, 7], |n| (ops::reshape([n * 6].into_iter().collect()), vec![f64s(&[d(2), n, d(3)])]));
    check([4, 7], |n| (ops::transpose(&[1, 0]), vec![f64s(&[d(2), n])]));
    check([4, 7], |n| (ops::flip(&[0]), vec![f64s(&[n])]));
    check([4, 7], |n| (ops::concat(0), vec![f64s(&[n]), f64s(&[d(2)]), f64s(&[n * 2])]));
    for stride in 1..4 {
        check(4..10, |n| (ops::slice(&[d(1)], &[n - 1], &[stride]), vec![f64s(&[n])]));
        check(4..10, |n| (ops::slice(&[n - 3], &[n * 2], &[stride]), vec![f64s(&[n * 3])]));
        check(4..10, |n| (ops::pad(&[d(1)], &[n - 2], &[stride - 1]), vec![f64s(&[n]), f64s(&[])]));
    }
}

#[test]
fn indexing() {
    let index = |n| TensorType::new(DType::I64, [n]);
    check([4, 7], |n| (ops::gather(&[0]), vec![f64s(&[n, d(2)]), index(n + 1)]));
    for how in [None, Some(ReduceKind::Sum), Some(ReduceKind::Prod), Some(ReduceKind::Max)] {
        check([4, 7], |n| (ops::scatter(&[1], how), vec![f64s(&[d(2), n]), index(n + 1), f64s(&[n + 1, d(2)])]));
    }
}

#[test]
fn reductions() {
    for kind in [ReduceKind::Sum, ReduceKind::Prod, ReduceKind::Max] {
        check([4, 7], |n| (ops::reduce(kind, &[1]), vec![f64s(&[d(2), n])]));
        check([4, 7], |n| (ops::reduce(kind, &[0, 2]), vec![f64s(&[n, d(3), n])]));
    }
    check([4, 7], |n| (ops::welford(&[1]), vec![f64s(&[d(2), n])]));
    check([4, 7], |n| (ops::online_softmax(&[1]), vec![f64s(&[d(2), n])]));
}

#[test]
fn windows() {
    for kind in [ReduceKind::Sum, ReduceKind::Max] {
        for stride in 1..4 {
            let op = |window: i64, low: i64, high: i64, dilation: i64| {
                ops::reduce_window(kind, &[window], &[stride], &[low], &[high], &[dilation])
            };
            check(4..10, |n| (op(2, 0, 0, 1), vec![f64s(&[d(2), n])]));
            check(4..10, |n| (op(3, 1, 1, 1), vec![f64s(&[n])]));
            check(4..10, |n| (op(2, 0, 1, 3), vec![f64s(&[n])]));
        }
    }
}

#[test]
fn dots() {
    check([4, 7], |n| (ops::dot_general(&[2], &[0], &[0], &[1]), vec![f64s(&[n, d(2), n * 2]), f64s(&[n * 2, n, d(3)])]));
}

#[test]
fn convolutions() {
    for stride in 1..4 {
        for (lhs, rhs) in [(1, 1), (2, 1), (1, 2), (2, 3)] {
            for (low, high) in [(0, 0), (1, 2), (-1, 0), (2, -1)] {
                let op = ops::convolution(&[stride], &[low], &[high], &[lhs], &[rhs], 2);
                check(4..9, |n| (op.clone(), vec![f64s(&[n, d(2), n]), f64s(&[d(4), d(1), d(2)])]));
            }
        }
        // A window that is symbolic, as in the derivative by the weight.
        let op = ops::convolution(&[stride], &[1], &[0], &[1], &[1], 1);
        check(4..9, |n| (op.clone(), vec![f64s(&[d(2), n, n * 2]), f64s(&[d(3), n, n])]));
    }
}
