//! Whole graphs: what is recognised, what is left, and that it is explained and equal.

use super::*;
use crate::precision::Precision;
use igneous_ir::array::Array;
use igneous_ir::emit::{Emitter, X};
use igneous_ir::interp::interpret_f64;
use igneous_ir::op::{Fill, ReduceKind};
use igneous_ir::{DType, TensorType, ops, sample};

/// A way to write a value of the inputs.
type Spelling = for<'b, 'e> fn(&'b Emitter<'e>, &[X<'b, 'e>]) -> X<'b, 'e>;

/// A graph with these inputs whose outputs are written.
fn graph(inputs: &[TensorType], outputs: &[Spelling]) -> Graph {
    let mut graph = Graph::new("test");
    let values: Vec<_> = inputs.iter().enumerate().map(|(i, ty)| graph.input(format!("x{i}"), ty.clone())).collect();
    let emitter = Emitter::new(&mut graph);
    let operands: Vec<X> = values.iter().map(|&v| emitter.value(v)).collect();
    let outputs: Vec<_> = outputs.iter().map(|write| write(&emitter, &operands).value).collect();
    emitter.finish().expect("the test's graph is well typed");
    outputs.into_iter().enumerate().for_each(|(i, v)| graph.output(format!("y{i}"), v));
    graph
}

fn f32(shape: &[usize]) -> TensorType {
    TensorType::new(DType::F32, shape.iter().copied())
}

fn inputs(graph: &Graph) -> Vec<Array> {
    let fill = |ty: &TensorType| if ty.dtype.is_float() { Fill::Uniform(-0.15, 0.15) } else { Fill::Range(0, 8) };
    let input =
        |(i, (v, _)): (usize, &(_, String))| sample::array(graph.ty(*v), fill(graph.ty(*v)), 3, i).expect("constant shapes");
    graph.inputs().iter().enumerate().map(input).collect()
}

/// Checks that two graphs compute the same and that the derivation holds; the names of the second one's operators.
fn checked(before: &Graph, (after, derivation): (Graph, Derivation)) -> Vec<&'static str> {
    igneous_ir::verify::verify(&after).expect("the result is well formed");
    let inputs = inputs(before);
    derivation.verify(before, &inputs).expect("every rewrite holds");
    let (old, new) = (interpret_f64(before, &inputs).expect("runs"), interpret_f64(&after, &inputs).expect("runs"));
    assert_eq!(old.len(), new.len());
    for (a, b) in old.iter().zip(&new) {
        for i in 0..a.exact.len() {
            let (x, y) = (a.exact.f(i), b.exact.f(i));
            assert!((x - y).abs() <= 1e-5 * x.abs().max(1.0) || (x.is_nan() && y.is_nan()), "{x} became {y}\n{before}\n{after}");
        }
    }
    after.nodes().map(|(_, n)| n.op.name()).filter(|n| !matches!(*n, "input" | "constant" | "broadcast")).collect()
}

fn recognised(before: &Graph) -> Vec<&'static str> {
    checked(before, recognise(before, Precision::Default.licences()).expect("recognises"))
}

fn optimised(before: &Graph) -> Vec<&'static str> {
    checked(before, optimise(before, Precision::Default.licences(), &Limits::default(), Backend::Cpu).expect("optimises"))
}

/// `x` reduced over its last axis, which stays with extent one.
fn keepdim<'b, 'e>(x: X<'b, 'e>, kind: ReduceKind) -> X<'b, 'e> {
    let mut shape = x.shape();
    let last = shape.len() - 1;
    shape[last] = igneous_ir::Dim::ONE;
    x.reduce(kind, &[last]).reshape(shape)
}

fn max<'b, 'e>(x: X<'b, 'e>) -> X<'b, 'e> {
    keepdim(x, ReduceKind::Max)
}

fn sum<'b, 'e>(x: X<'b, 'e>) -> X<'b, 'e> {
    keepdim(x, ReduceKind::Sum)
}

fn mean<'b, 'e>(x: X<'b, 'e>) -> X<'b, 'e> {
    sum(x) / x.shape()[x.rank() - 1].get().expect("constant") as f64
}

/// Checks that each spelling is recognised as one operator.
fn all_become(name: &str, inputs: &[TensorType], spellings: &[(&str, Spelling)]) {
    for (how, spelling) in spellings {
        let g = graph(inputs, &[*spelling]);
        assert_eq!(recognised(&g), [name], "{how}\n{g}");
    }
}

#[test]
fn softmax_in_its_spellings() {
    let spellings: [(&str, Spelling); 7] = [
        ("max subtracted", |_, x| (x[0] - max(x[0])).exp() / sum((x[0] - max(x[0])).exp())),
        ("max without gradient", |_, x| {
            let e = (x[0] - max(x[0]).stop_gradient()).exp();
            e / sum(e)
        }),
        ("nothing subtracted", |_, x| x[0].exp() / sum(x[0].exp())),
        ("times the reciprocal", |_, x| x[0].exp() * sum(x[0].exp()).pointwise("reciprocal")),
        ("times one over", |_, x| x[0].exp() * (1.0 / sum(x[0].exp()))),
        ("exp of log-softmax", |_, x| (x[0] - sum(x[0].exp()).log()).exp()),
        ("scaled twice", |_, x| x[0].exp() * 2.0 / sum(x[0].exp()) * 0.5),
    ];
    all_become("softmax", &[f32(&[4, 8])], &spellings);
    all_become("softmax", &[f32(&[2, 3, 8])], &spellings);
}

#[test]
fn log_softmax_in_its_spellings() {
    let spellings: [(&str, Spelling); 4] = [
        ("shifted", |_, x| (x[0] - max(x[0])) - sum((x[0] - max(x[0])).exp()).log()),
        ("log-sum-exp", |_, x| x[0] - (max(x[0]) + sum((x[0] - max(x[0])).exp()).log())),
        ("log of the quotient", |_, x| (x[0].exp() / sum(x[0].exp())).log()),
        ("unshifted", |_, x| x[0] - sum(x[0].exp()).log()),
    ];
    all_become("log_softmax", &[f32(&[4, 8])], &spellings);
    assert_eq!(recognised(&graph(&[f32(&[4, 8])], &spellings.map(|(_, s)| s))), ["log_softmax"]);
}

#[test]
fn layer_norm_in_its_spellings() {
    let spellings: [(&str, Spelling); 6] = [
        ("division by the square root", |_, x| {
            let c = x[0] - mean(x[0]);
            c / (mean(c * c) + 1e-5).sqrt() * x[1] + x[2]
        }),
        ("times the inverse square root", |_, x| {
            let c = x[0] - mean(x[0]);
            c * (mean(c.pow(c.lit(2.0))) + 1e-5).rsqrt() * x[1] + x[2]
        }),
        ("mean of squares", |_, x| {
            let variance = mean(x[0] * x[0]) - mean(x[0]) * mean(x[0]);
            (x[0] - mean(x[0])) * (variance + 1e-5).rsqrt() * x[1] + x[2]
        }),
        ("times one over the square root", |_, x| {
            let c = x[0] - mean(x[0]);
            c * (1.0 / (mean(c * c) + 1e-5).sqrt()) * x[1] + x[2]
        }),
        ("scaled first", |_, x| {
            let c = x[0] - mean(x[0]);
            x[1] * c / (mean(c * c) + 1e-5).sqrt() + x[2]
        }),
        ("without keeping the axis", |_, x| {
            let last = x[0].rank() - 1;
            let rows: Vec<usize> = (0..last).collect();
            let spread = |v: X<'_, '_>| x[0].emitter.value(v.broadcast(x[0].shape(), &rows).value);
            let c = x[0] - spread(x[0].sum(&[last]) / 8.0);
            c * spread((c.pointwise("square").sum(&[last]) / 8.0 + 1e-5).rsqrt()) * x[1] + x[2]
        }),
    ];
    for shape in [&[4, 8][..], &[2, 3, 8]] {
        let inputs = [f32(shape), f32(&[8]), f32(&[8])];
        all_become("layer_norm", &inputs, &spellings);
        let (after, _) = recognise(&graph(&inputs, &[spellings[0].1]), Precision::Default.licences()).expect("recognises");
        let node = after.nodes().find(|(_, n)| n.op.name() == "layer_norm").expect("it was just seen").1;
        assert_eq!(node.op.float("eps"), 1e-5);
        assert_eq!(node.operands.as_slice(), after.inputs().iter().map(|(v, _)| *v).collect::<Vec<_>>());
    }
}

#[test]
fn activations_in_their_spellings() {
    const HALF: f64 = std::f64::consts::FRAC_1_SQRT_2;
    const ROOT: f64 = 0.797_884_560_802_865_4;
    let x = [f32(&[4, 8])];
    let gelu: [(&str, Spelling); 7] = [
        ("erf, factor inside", |_, x| 0.5 * x[0] * (1.0 + (x[0] * HALF).pointwise("erf"))),
        ("erf, divided", |_, x| x[0] * 0.5 * (1.0 + (x[0] / 2f64.sqrt()).pointwise("erf"))),
        ("erf, distribution function", |_, x| x[0] * (0.5 * (1.0 + (x[0] / 2f64.sqrt()).pointwise("erf")))),
        ("erf, halved", |_, x| x[0] * ((1.0 + (x[0] / 2f64.sqrt()).pointwise("erf")) / 2.0)),
        ("tanh, power", |_, x| 0.5 * x[0] * (1.0 + (ROOT * (x[0] + 0.044715 * x[0].pow(x[0].lit(3.0)))).pointwise("tanh"))),
        ("tanh, products", |_, x| 0.5 * x[0] * (1.0 + (ROOT * (x[0] + 0.044715 * x[0] * x[0] * x[0])).pointwise("tanh"))),
        ("tanh, factored", |_, x| 0.5 * x[0] * (1.0 + (x[0] * ROOT * (1.0 + 0.044715 * x[0] * x[0])).pointwise("tanh"))),
    ];
    all_become("gelu", &x, &gelu);
    all_become(
        "sigmoid",
        &x,
        &[("one over", |_, x| 1.0 / (1.0 + (-x[0]).exp())), ("exp over", |_, x| x[0].exp() / (x[0].exp() + 1.0))],
    );
    all_become(
        "silu",
        &x,
        &[("sigmoid", |_, x| x[0] * x[0].pointwise("sigmoid")), ("quotient", |_, x| x[0] / (1.0 + (-x[0]).exp()))],
    );
    let softplus: [(&str, Spelling); 3] = [
        ("log", |_, x| (1.0 + x[0].exp()).log()),
        ("log1p", |_, x| x[0].exp().pointwise("log1p")),
        ("stable", |_, x| x[0].max(x[0].lit(0.0)) + (1.0 + (-x[0].pointwise("abs")).exp()).log()),
    ];
    all_become("softplus", &x, &softplus);
}

/// For each row of the matrix `x`, the element that its label names.
fn picked<'b, 'e>(x: X<'b, 'e>, labels: X<'b, 'e>) -> X<'b, 'e> {
    let row = x.emitter.one(ops::iota(DType::I64, labels.shape(), 0), &[]);
    x.emitter.one(ops::gather(&[0, 1]), &[x, row, labels])
}

fn one_hot<'b, 'e>(labels: X<'b, 'e>, like: X<'b, 'e>) -> X<'b, 'e> {
    let class = like.emitter.one(ops::iota(DType::I64, like.shape(), 1), &[]);
    labels.broadcast(like.shape(), &[0]).compare("eq", class).cast(DType::I64).cast(DType::F32)
}

#[test]
fn cross_entropy_in_its_spellings() {
    let spellings: [(&str, Spelling); 6] = [
        ("negated mean of the picked", |_, x| -(picked(x[0].unary(ops::log_softmax(1)), x[1]).sum(&[0]) / 4.0)),
        ("mean of the negated picked", |_, x| (-picked(x[0].unary(ops::log_softmax(1)), x[1])).sum(&[0]) / 4.0),
        ("logarithm of the picked", |_, x| (-picked(x[0].unary(ops::softmax(1)), x[1]).log()).sum(&[0]) / 4.0),
        ("picked as a column", |_, x| {
            let column = x[1].reshape([4, 1]);
            (-picked(x[0].unary(ops::log_softmax(1)), column).reshape([4])).sum(&[0]) / 4.0
        }),
        ("product with one-hot", |_, x| (-(x[0].unary(ops::log_softmax(1)) * one_hot(x[1], x[0])).sum(&[1])).sum(&[0]) / 4.0),
        ("log-sum-exp", |_, x| (x[0].exp().sum(&[1]).log() - picked(x[0], x[1])).sum(&[0]) / 4.0),
    ];
    let inputs = [f32(&[4, 8]), TensorType::new(DType::I64, [4])];
    for (how, spelling) in spellings {
        let g = graph(&inputs, &[spelling]);
        let found = recognised(&g);
        assert_eq!(found.iter().filter(|n| **n == "cross_entropy").count(), 1, "{how}: {found:?}");
        assert!(!found.contains(&"gather") && !found.contains(&"exp"), "{how}: {found:?}");
    }
}

#[test]
fn strict_recognises_nothing_and_changes_no_bit() {
    let g = graph(&[f32(&[4, 8])], &[|_, x| x[0].exp() / sum(x[0].exp()) * 1.0]);
    let (same, _) = recognise(&g, Precision::Strict.licences()).expect("recognises");
    assert!(same.same_structure(&g));
    let (after, derivation) = optimise(&g, Precision::Strict.licences(), &Limits::default(), Backend::Cpu).expect("optimises");
    let licences: Vec<Licence> = derivation.licences().into_iter().collect();
    assert_eq!(licences, [Licence::Exact], "{derivation}");
    let run = |g: &Graph| igneous_ir::interp::interpret(g, &inputs(g)).expect("runs");
    assert_eq!(run(&g), run(&after));
}

#[test]
fn sums_of_products_and_transposes_become_one_dot() {
    let product: Spelling = |_, x| {
        let (a, b) = (x[0].transpose(&[1, 0]), x[1].transpose(&[1, 0]));
        let shape = TensorType::new(DType::F32, [2, 3, 5]).shape;
        (a.broadcast(shape.clone(), &[0, 1]) * b.broadcast(shape, &[1, 2])).sum(&[1])
    };
    let g = graph(&[f32(&[3, 2]), f32(&[5, 3])], &[product]);
    assert_eq!(optimised(&g), ["dot_general"]);
}

#[test]
fn symbolic_extents_are_no_obstacle() {
    let batch = igneous_ir::Dim::symbol("B", 1, 4096);
    let x = TensorType::new(DType::F32, [batch, igneous_ir::Dim::from(8)]);
    let softmax: Spelling = |_, x| (x[0] - max(x[0])).exp() / sum((x[0] - max(x[0])).exp());
    let norm: Spelling = |_, x| norm(x[0], x[1], x[2]);
    let g = graph(&[x, f32(&[8]), f32(&[8])], &[softmax, norm]);
    let (after, _) = recognise(&g, Precision::Default.licences()).expect("recognises");
    let names: Vec<&str> = after.nodes().map(|(_, n)| n.op.name()).filter(|n| *n != "input").collect();
    assert_eq!(names, ["softmax", "layer_norm"], "{after}");
    let (after, _) = optimise(&g, Precision::Default.licences(), &Limits::default(), Backend::Cpu).expect("optimises");
    igneous_ir::verify::verify(&after).expect("well formed");
}

#[test]
fn constants_are_folded_and_factors_gathered() {
    let g = graph(&[f32(&[3])], &[|_, x| x[0] * 2.0 * 3.0 + (x[0].lit(4.0).sqrt() - 2.0)]);
    assert_eq!(optimised(&g), ["mul"]);
}

#[test]
fn a_differentiated_value_is_not_merged_with_an_equal_one() {
    let mut g = Graph::new("test");
    let x = g.input("x", f32(&[3]));
    let square = ops::pointwise("square");
    let [a, b] = [0, 1].map(|_| g.add(square.clone(), &[x]).expect("typed")[0]);
    let product = g.add(ops::pointwise("mul"), &[a, b]).expect("typed")[0];
    let loss = g.add(ops::reduce(ReduceKind::Sum, &[0]), &[product]).expect("typed")[0];
    let grad = igneous_ir::op::Op::new(ops::record("grad").expect("an operator"), [igneous_ir::op::Attr::Bool(false)]);
    let da = g.add(grad, &[loss, a]).expect("typed")[0];
    g.output("da", da);
    let (after, _) = recognise(&g, Precision::Default.licences()).expect("recognises");
    let run = |g: &Graph| interpret_f64(g, &inputs(g)).expect("runs")[0].exact.to_f64();
    assert_eq!(run(&g), run(&after));
}

#[test]
fn lines_and_scopes_survive() {
    let mut g = Graph::new("test");
    let x = g.input("x", f32(&[4, 8]));
    g.push_scope("attention");
    g.loc = Some(igneous_ir::Loc { file: "model.rs", line: 12 });
    let e = g.add(ops::pointwise("exp"), &[x]).expect("typed")[0];
    let s = g.add(ops::reduce(ReduceKind::Sum, &[1]), &[e]).expect("typed")[0];
    let s = g.add(ops::broadcast(g.ty(x).shape.clone(), &[0]), &[s]).expect("typed")[0];
    g.loc = Some(igneous_ir::Loc { file: "model.rs", line: 13 });
    let y = g.add(ops::pointwise("div"), &[e, s]).expect("typed")[0];
    g.output("y", y);
    let (after, derivation) = recognise(&g, Precision::Default.licences()).expect("recognises");
    let node = after.nodes().last().expect("nodes").1;
    assert_eq!((node.op.name(), node.loc.map(|l| l.line)), ("softmax", Some(13)));
    assert_eq!(after.scope_path(node.scope), "attention");
    assert_eq!(
        derivation.to_string(),
        "derivation of test: 1 rewrite, licences Reassociate\n  \
         %4 = softmax {axis=1}(%0)  by softmax/exp-over-sum [Reassociate] from %1 %2 %3 (model.rs:13)"
    );
}

fn norm<'b, 'e>(x: X<'b, 'e>, g: X<'b, 'e>, b: X<'b, 'e>) -> X<'b, 'e> {
    let c = x - mean(x);
    c / (mean(c * c) + 1e-5).sqrt() * g + b
}

/// A product of the last axis of `x: [2, 16, n]` with a weight `[n, m]`, and a bias.
fn linear<'b, 'e>(x: X<'b, 'e>, w: X<'b, 'e>, b: X<'b, 'e>) -> X<'b, 'e> {
    let flat = x.reshape([igneous_ir::Dim::from(32), x.shape()[2]]);
    let y = x.emitter.one(ops::dot_general(&[1], &[0], &[], &[]), &[flat, w]);
    y.reshape([igneous_ir::Dim::from(2), igneous_ir::Dim::from(16), w.shape()[1]]) + b
}

/// A transformer layer with everything spelled out, and the gradients of all its parameters.
fn transformer_layer() -> Graph {
    const SHAPES: [&[usize]; 17] = [
        &[2, 16, 128],
        &[128],
        &[128],
        &[128, 128],
        &[128, 128],
        &[128, 128],
        &[128],
        &[128],
        &[128],
        &[128, 128],
        &[128],
        &[128],
        &[128],
        &[128, 512],
        &[512],
        &[512, 128],
        &[128],
    ];
    let mut graph = Graph::new("layer");
    let values: Vec<_> = SHAPES.iter().enumerate().map(|(i, s)| graph.input(format!("p{i}"), f32(s))).collect();
    let loss = {
        let e = Emitter::new(&mut graph);
        let p: Vec<X> = values.iter().map(|&v| e.value(v)).collect();
        let h = norm(p[0], p[1], p[2]);
        let heads = |k: usize| linear(h, p[3 + k], p[6 + k]).reshape([2, 16, 4, 32]).transpose(&[0, 2, 1, 3]);
        let (q, k, v) = (heads(0), heads(1), heads(2));
        let scores = e.one(ops::dot_general(&[3], &[3], &[0, 1], &[0, 1]), &[q, k]) / 32f64.sqrt();
        let weights = (scores - max(scores)).exp();
        let weights = weights / sum(weights);
        let mixed = e.one(ops::dot_general(&[3], &[2], &[0, 1], &[0, 1]), &[weights, v]);
        let x = p[0] + linear(mixed.transpose(&[0, 2, 1, 3]).reshape([2, 16, 128]), p[9], p[10]);
        let h = linear(norm(x, p[11], p[12]), p[13], p[14]);
        let h = 0.5 * h * (1.0 + (h / 2f64.sqrt()).pointwise("erf"));
        let y = x + linear(h, p[15], p[16]);
        let loss = (y * y).sum(&[0, 1, 2]).value;
        e.finish().expect("well typed");
        loss
    };
    let grad = igneous_ir::op::Op::new(ops::record("grad").expect("an operator"), [igneous_ir::op::Attr::Bool(false)]);
    let operands: Vec<_> = std::iter::once(loss).chain(values).collect();
    let gradients = graph.add(grad, &operands).expect("typed");
    graph.output("loss", loss);
    gradients.into_iter().enumerate().for_each(|(i, v)| graph.output(format!("d{i}"), v));
    graph
}

#[test]
fn a_transformer_layer_is_recognised_and_differentiated() {
    let layer = transformer_layer();
    let licences = Precision::Default.licences();
    let names = checked(&layer, recognise(&layer, licences).expect("recognises"));
    let count = |names: &[&str], name: &str| names.iter().filter(|n| **n == name).count();
    assert_eq!(["attention", "layer_norm", "gelu"].map(|n| count(&names, n)), [1, 2, 1], "{names:?}");
    let (forward, _) = recognise(&layer, licences).expect("recognises");
    let differentiated = igneous_ir::autodiff::expand_gradients(&forward).expect("differentiates");
    let names =
        checked(&differentiated, optimise(&differentiated, licences, &Limits::default(), Backend::Cpu).expect("optimises"));
    assert!(names.len() < differentiated.len(), "{names:?}");
    assert!(count(&names, "dot_general") <= 24, "{names:?}");
}

#[test]
fn windows_give_an_equal_graph() {
    let layer = igneous_ir::autodiff::expand_gradients(&transformer_layer()).expect("differentiates");
    let limits = Limits { window: 60, ..Limits::default() };
    let names = checked(&layer, optimise(&layer, Precision::Default.licences(), &limits, Backend::Cpu).expect("optimises"));
    assert!(names.len() < layer.len(), "{names:?}");
    let recognised = transformer_layer();
    let (after, derivation) =
        rewrite(&recognised, Precision::Default.licences(), &limits, &[Phase::Recognise]).expect("recognises");
    assert!(checked(&recognised, (after, derivation)).contains(&"gelu"));
}

#[test]
fn compiling_twice_gives_the_same_bytes() {
    let run = || {
        let (forward, first) = recognise(&transformer_layer(), Precision::Default.licences()).expect("recognises");
        let differentiated = igneous_ir::autodiff::expand_gradients(&forward).expect("differentiates");
        let (after, second) =
            optimise(&differentiated, Precision::Fast.licences(), &Limits::default(), Backend::Cpu).expect("optimises");
        format!("{first}\n{second}\n{after}")
    };
    // In another thread the standard hash maps have other seeds.
    assert_eq!(run(), std::thread::spawn(run).join().expect("no panic"));
}

#[test]
#[ignore = "a measurement: run in release"]
fn time_of_a_transformer_layer() {
    let layer = transformer_layer();
    let (forward, _) = recognise(&layer, Precision::Default.licences()).expect("recognises");
    let plain = igneous_ir::autodiff::expand_gradients(&layer).expect("differentiates");
    let differentiated = igneous_ir::autodiff::expand_gradients(&forward).expect("differentiates");
    let time = |name: &str, graph: &Graph, run: &dyn Fn(&Graph) -> Graph| {
        let best = (0..50)
            .map(|_| {
                let start = std::time::Instant::now();
                let after = run(graph);
                (start.elapsed(), after.len())
            })
            .min()
            .expect("some runs");
        println!("{name}: {} nodes to {} in {:.1} ms", graph.len(), best.1, best.0.as_secs_f64() * 1e3);
    };
    let licences = Precision::Default.licences();
    time("recognise", &layer, &|g| recognise(g, licences).expect("recognises").0);
    time("optimise", &differentiated, &|g| optimise(g, licences, &Limits::default(), Backend::Cpu).expect("optimises").0);
    time("optimise, nothing recognised", &plain, &|g| {
        optimise(g, licences, &Limits::default(), Backend::Cpu).expect("optimises").0
    });
}
