//! Rewriting keeps what graphs compute: every operator's samples, and random compositions.

use super::*;
use crate::precision::Precision;
use igneous_ir::array::Array;
use igneous_ir::emit::{Emitter, X};
use igneous_ir::interp::{Oracle, interpret_f64};
use igneous_ir::op::{Fill, Lowering, ReduceKind, Samples};
use igneous_ir::types::Shape;
use igneous_ir::{DType, Dim, TensorType, ops, sample};
use std::collections::BTreeSet;

/// Rewrites a graph in all ways and compares with what it computes; the rules that were used.
fn check(graph: &Graph, inputs: &[Array], precision: Precision) -> std::result::Result<Vec<&'static str>, String> {
    let text = |e: igneous_ir::Error| format!("{e}\n{graph}");
    let before = interpret_f64(graph, inputs).map_err(text)?;
    let (recognised, first) = recognise(graph, precision.licences()).map_err(text)?;
    let (optimised, second) = optimise(&recognised, precision.licences(), &Limits::default(), Backend::Cpu).map_err(text)?;
    for graph in [&recognised, &optimised] {
        igneous_ir::verify::verify(graph).map_err(text)?;
    }
    first.verify(graph, inputs).map_err(text)?;
    second.verify(&recognised, inputs).map_err(text)?;
    let after = interpret_f64(&optimised, inputs).map_err(text)?;
    let exact = precision == Precision::Strict;
    match before.iter().zip(&after).all(|(a, b)| agree(a, b, exact)) {
        true => Ok([first.rules(), second.rules()].concat()),
        false => Err(format!("the results differ\n{graph}\n{optimised}\n{first}\n{second}")),
    }
}

/// Whether two results are near in f64, and the same numbers in their own type if `exact`.
fn agree(a: &Oracle, b: &Oracle, exact: bool) -> bool {
    let epsilon = a.native.dtype().epsilon().max(f64::from(f32::EPSILON));
    let scale = a.exact.to_f64().into_iter().filter(|x| x.is_finite()).fold(0.0, |m: f64, x| m.max(x.abs()));
    let near = |x: f64, y: f64| !(x.is_finite() && y.is_finite()) || (x - y).abs() <= 256.0 * epsilon * (scale + 1.0);
    let same = |x: f64, y: f64| x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan());
    a.native.ty() == b.native.ty()
        && (0..a.exact.len()).all(|i| near(a.exact.f(i), b.exact.f(i)) && (!exact || same(a.native.f(i), b.native.f(i))))
}

#[test]
fn samples_of_all_operators_survive() {
    let mut failures = Vec::new();
    let mut count = 0;
    for record in ops::records().filter(|r| !matches!(r.lowering, Lowering::Structural)) {
        let mut samples = Samples::default();
        (record.samples)(&mut samples);
        for sample in samples.0 {
            let mut graph = Graph::new(record.name);
            let operands: Vec<_> = sample.inputs.iter().map(|(ty, _)| graph.input("", ty.clone())).collect();
            let results = graph.add(sample.op.clone(), &operands).expect("samples are well typed");
            results.into_iter().for_each(|v| graph.output("", v));
            let inputs = sample::inputs(&sample).expect("samples have constant shapes");
            failures.extend(check(&graph, &inputs, Precision::Default).err());
            failures.extend(check(&graph, &inputs, Precision::Strict).err());
            count += 1;
        }
    }
    assert!(failures.is_empty() && count > 200, "{} of {count} failed\n{}", failures.len(), failures.join("\n\n"));
}

/// A linear congruential generator.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
}

/// A few operators on tensors of small shapes, biased to what rules are about.
fn random_graph(seed: u64) -> Graph {
    const SHAPES: [&[usize]; 4] = [&[2, 3], &[3], &[2, 1, 3], &[6]];
    let mut random = Random(seed);
    let mut graph = Graph::new("random");
    let inputs: Vec<_> = SHAPES.iter().map(|s| graph.input("", TensorType::new(DType::F32, s.iter().copied()))).collect();
    let outputs = {
        let emitter = Emitter::new(&mut graph);
        let mut values: Vec<X> = inputs.iter().map(|&v| emitter.value(v)).collect();
        for _ in 0..14 {
            let x = values[random.below(values.len())];
            values.push(step(&mut random, &values, x));
        }
        emitter.finish().expect("steps are well typed");
        [values.len() - 1, values.len() - 2, values.len() - 3].map(|i| values[i].value)
    };
    outputs.into_iter().for_each(|v| graph.output("", v));
    graph
}

fn step<'b, 'e>(random: &mut Random, values: &[X<'b, 'e>], x: X<'b, 'e>) -> X<'b, 'e> {
    let shape = x.shape();
    let axis = random.below(shape.len().max(1));
    match random.below(14) {
        0 => x.pointwise(random.pick(&["neg", "abs", "square", "exp", "tanh", "relu", "sigmoid", "erf"])),
        1 => random.pick(&[0.5, 2.0, 1.0, 0.0, -1.0, 3.0]) * x,
        2 => x + random.pick(&[0.5, 1.0, 0.0, -1.0]),
        3 => x / random.pick(&[2.0, 3.0, 8.0]),
        4 if shape.len() > 1 => x.transpose(&(0..shape.len()).rev().collect::<Vec<_>>()),
        5 => x.reshape([x.ty().elements()]),
        6 if !shape.is_empty() => x.reduce(random.pick(&[ReduceKind::Sum, ReduceKind::Max]), &[axis]),
        7 if !shape.is_empty() => x.sum_keepdim(&[axis]),
        8 if shape.len() < 4 => {
            let mut wide: Shape = shape.clone();
            wide.insert(0, Dim::from(2));
            x.broadcast(wide, &(1..=shape.len()).collect::<Vec<_>>())
        }
        9 if !shape.is_empty() && shape[axis] != Dim::ONE => {
            let (mut start, limit) = (shape.iter().map(|_| Dim::ZERO).collect::<Shape>(), shape.clone());
            start[axis] = Dim::ONE;
            x.unary(ops::slice(&start, &limit, &vec![1; shape.len()]))
        }
        10 if shape.len() == 2 => x.emitter.one(ops::dot_general(&[axis], &[axis], &[], &[]), &[x, x]),
        11 if !shape.is_empty() => x.emitter.one(ops::concat(axis), &[x, -x]),
        _ => {
            let fits = |y: &&X<'b, 'e>| ops::broadcast_shapes(&y.shape(), &shape).is_ok();
            let partners: Vec<X> = values.iter().filter(fits).copied().collect();
            let y = random.pick(&partners);
            x.binary(ops::pointwise(random.pick(&["add", "sub", "mul", "maximum"])), y)
        }
    }
}

#[test]
fn random_graphs_survive() {
    let mut failures = Vec::new();
    let mut rules = BTreeSet::new();
    for seed in 0..2000 {
        let graph = random_graph(seed);
        let input = |(i, (v, _)): (usize, &(_, String))| sample::array(graph.ty(*v), Fill::Uniform(-1.0, 1.0), seed, i);
        let inputs: Vec<Array> = graph.inputs().iter().enumerate().map(input).collect::<Result<_>>().expect("constant shapes");
        let precision = [Precision::Strict, Precision::Default, Precision::Fast][seed as usize % 3];
        match check(&graph, &inputs, precision) {
            Ok(used) => rules.extend(used),
            Err(e) => failures.push(format!("seed {seed}, {precision}: {e}")),
        }
    }
    assert!(failures.is_empty(), "{} failed\n{}", failures.len(), failures[..failures.len().min(3)].join("\n\n"));
    assert!(rules.len() > 40, "only {} rules were of use: {rules:?}", rules.len());
}
