//! Kernels that the tests of this folder share.

use super::*;
use crate::scalar::{MathFn, ScalarOp};
use crate::types::Literal;

/// A softmax over rows, built node by node.
pub(super) fn softmax() -> Kernel {
    let mut exprs = Exprs::default();
    let i = exprs.raw(ScalarOp::Axis(0), &[], DType::I64);
    let j = exprs.raw(ScalarOp::Axis(1), &[], DType::I64);
    let x = exprs.raw(ScalarOp::Load(0), &[i, j], DType::F32);
    let m = exprs.raw(ScalarOp::Local(0), &[], DType::F32);
    let s = exprs.raw(ScalarOp::Local(1), &[], DType::F32);
    let difference = exprs.raw(ScalarOp::Sub, &[x, m], DType::F32);
    let power = exprs.raw(ScalarOp::Math(MathFn::Exp), &[difference], DType::F32);
    let value = exprs.raw(ScalarOp::Div, &[power, s], DType::F32);
    let ty = TensorType::new(DType::F32, [8, 32]);
    let local = |name: &str| Local { name: name.into(), dtype: DType::F32, axes: vec![] };
    let store = Store { value, to: Target::Param { param: 1, index: vec![i, j], combine: None } };
    Kernel {
        name: "softmax".into(),
        params: vec![
            Param { name: "x".into(), ty: ty.clone(), access: Access::Read },
            Param { name: "y".into(), ty, access: Access::Write },
        ],
        sections: vec![Section {
            axes: vec![
                Axis { name: "i".into(), extent: Dim::from(8), kind: AxisKind::Parallel },
                Axis { name: "j".into(), extent: Dim::from(32), kind: AxisKind::Serial },
            ],
            locals: vec![local("m"), local("s")],
            exprs,
            stages: vec![
                Stage::Reduce { kind: ReduceKind::OnlineSoftmax, axes: vec![1], body: x, to: vec![0, 1] },
                Stage::Map { axes: vec![1], stores: vec![store] },
            ],
            schedule: vec![Directive::Bind(0), Directive::Vec(1, 4)],
        }],
        locs: vec![Loc { file: "examples/gpt.rs", line: 41 }],
    }
}

pub(super) const SOFTMAX: &str = "\
kernel softmax(x: f32[8, 32]) -> (y: f32[8, 32])  // examples/gpt.rs:41
  axes i: par 8, j: ser 32
  m, s = reduce online_softmax j { x[i, j] }
  map j { y[i, j] = exp(x[i, j] - m) / s }
  schedule bind(i, core) vec(j, 4)
";

#[test]
fn a_kernel_built_by_hand_prints_and_verifies() {
    let kernel = softmax();
    assert_eq!(kernel.to_string(), SOFTMAX);
    kernel.verify().unwrap();
}

#[test]
fn structure_has_no_names() {
    let mut other = softmax();
    other.name = "other".into();
    other.params[0].name = "logits".into();
    other.locs.clear();
    assert_eq!(other.structure(), softmax().structure());
    other.sections[0].stages.truncate(1);
    assert_ne!(other.structure(), softmax().structure());
}

#[test]
fn shared_and_long_subexpressions_become_lets() {
    let mut kernel = softmax();
    let exprs = &mut kernel.sections[0].exprs;
    let x = ExprId(2);
    let half = exprs.constant(Literal::float(DType::F32, 0.5));
    let product = exprs.raw(ScalarOp::Mul, &[x, half], DType::F32);
    let mut sum = exprs.raw(ScalarOp::Mul, &[product, product], DType::F32);
    for _ in 0..1000 {
        sum = exprs.raw(ScalarOp::Add, &[sum, x], DType::F32);
    }
    kernel.sections[0].stages[0] = Stage::Reduce { kind: ReduceKind::OnlineSoftmax, axes: vec![1], body: sum, to: vec![0, 1] };
    let text = kernel.to_string();
    assert!(text.contains("    let t1 = x[i, j] * 0.5\n    let t2 = t1 * t1 + x[i, j] + "), "{text}");
    assert!(text.lines().all(|l| l.len() < 500) && text.len() < 15_000, "{text}");
}

#[test]
fn a_softmax_can_be_written_over_its_input() {
    assert!(softmax().can_alias(0, 1));
    assert!(!softmax().can_alias(1, 0), "roles matter");
    let mut twice = softmax();
    twice.sections.push(twice.sections[0].clone());
    assert!(!twice.can_alias(0, 1), "another section may still load what this one has overwritten");
}

/// Text of every form: what parses must print the same bytes and verify.
const FORMS: [&str; 9] = [
    SOFTMAX,
    // Symbolic extents, a condition, integers, checks, a gather.
    "\
kernel embedding(ids: i64[B, T], table: f32[50257, 768]) -> (y: f32[B, T, 768])
  dims B: 1..=64, T: 1..=1024
  axes b: par B, t: par T, c: par 768
  check 3 { (ids[b, t] >= 0) & (ids[b, t] < 50257) } { ids[b, t] }
  y[b, t, c] = table[min(max(ids[b, t], 0), dim(B*T - 1)), c]
  schedule bind(b, core) vec(c, 2) unroll(4)
",
    // Types where nothing gives them; signs, infinities, nested operators.
    "\
kernel literals(x: f32[4], n: i32[4], b: bool[4]) -> (y: f32[4], z: bool[4])
  axes i: par 4
  map {
    let t1 = x[i] * 0.5 + 1e-7
    y[i] = select((t1 < -inf) | !b[i], -(1.5), -t1) - (x[i] - f32(2i32)) / -0.0
    z[i] = (3i64 == 4i64) ^ b[i] & (n[i] % 7 << 1 > n[i]) & true
  }
",
    // Conversions and functions.
    "\
kernel functions(x: f16[4], u: u32[4]) -> (y: f16[4], v: u32[4])
  axes i: par 4
  map {
    let t1 = f32(x[i])
    y[i] = f16(fma(exp(t1), pow(abs(t1), 2.0), bitcast_f32(u[i])))
  }
  v[i] = mulhi(u[i] >> 9 | 1065353216, 3528531795)
",
    // Locals with axes, combining stores, several results, scalar parameters.
    "\
kernel stages(x: f64[8, 16], scale: f64[]) -> (y: f64[8, 16], best: i64[8], total: f64[8])
  axes i: par 8, j: ser 16
  map j { h[j] = x[i, j] * scale }
  at = reduce argmax j { h[15 - j] }
  mean, m2 = reduce welford j { h[j] }
  best[i] = at
  total[i] = 0.0
  map j {
    y[i, j] = (h[j] - mean) / m2
    total[i] += h[j]
    total[i] max= 0.0
  }
",
    // A reduction of one element.
    "\
kernel one(x: f32[1]) -> (y: f32[])
  s = reduce sum { x[0] }
  y = s
",
    // A dot with all roles.
    "\
kernel linear(x: f32[4, 64, 784], w: f32[4, 784, 512], bias: f32[512]) -> (y: f32[4, 64, 512])
  axes b: par 4, i: par 64, j: par 512, k: ser 784
  acc = dot k batch(b) m(i) n(j) { x[b, i, k] } { w[b, k, j] }
  y[b, i, j] = max(acc + bias[j], 0.0)
  schedule tile(i, 32) tile(j, 64) split(k, 2) pack(rhs)
",
    // Dots for each index of a serial axis.
    "\
kernel attention(q: f32[4, 64, 32], k: f32[4, 80, 32], v: f32[4, 80, 48]) -> (y: f32[4, 64, 48])
  axes b: par 4, i: par 64, j: ser 80, d: ser 32, e: ser 48
  qk[j] = dot d batch(b) m(i) n(j) { q[b, i, d] } { k[b, j, d] }
  top, s = reduce online_softmax j { qk[j] * 0.125 }
  sum[e] = dot j batch(b) m(i) n(e) { exp(qk[j] * 0.125 - top) / s } { v[b, j, e] }
  map e { y[b, i, e] = sum[e] }
",
    // Several sections.
    "\
kernel sgd(w1: f32[8], g1: f32[8], w2: f32[3], g2: f32[3], lr: f32[]) -> (w1.new: f32[8], w2.new: f32[3])  // a.rs:1, b.rs:2
  section
    axes i: par 8
    w1.new[i] = w1[i] - lr * g1[i]
    schedule bind(i, core)
  section
    axes i: par 3
    map {
      let t1 = -g2[i] * lr
      w2.new[i] = w2[i] + t1 * t1
    }
",
];

#[test]
fn text_round_trips() {
    for text in FORMS {
        let kernel = Kernel::parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_eq!(kernel.to_string(), text);
        kernel.verify().unwrap_or_else(|e| panic!("{e}\n{text}"));
    }
}

#[test]
fn parsing_a_kernel_gives_what_was_built() {
    let parsed = Kernel::parse(SOFTMAX).unwrap();
    assert_eq!(parsed.structure(), softmax().structure());
    assert_eq!(parsed.locs, softmax().locs);
    assert_eq!(parsed.params, softmax().params);
}

#[test]
fn parse_errors_name_the_place() {
    let at = |old: &str, new: &str| Kernel::parse(&SOFTMAX.replace(old, new)).unwrap_err().message().to_owned();
    assert_eq!(at("y[i, j] = exp", "y[i, q] = exp"), "line 4, column 16: nothing is called q here");
    assert_eq!(at("par 8", "row 8"), "line 2, column 11: expected `par` or `ser`");
    assert_eq!(at("f32[8, 32])  //", "f33[8, 32])  //"), "line 1, column 38: f33 is not an element type");
    assert_eq!(at("{ x[i, j] }", "{ 0.5 }"), "line 3, column 36: the type of 0.5 is not known here: write 0.5f32");
    assert_eq!(at("x[i, j] - m", "x[i, j] - "), "line 4, column 35: expected an expression");
    assert_eq!(at("exp(x[i, j] - m)", "expo(m)"), "line 4, column 21: there is no function expo");
    let deep = at("exp(x[i, j] - m)", &format!("{}m{}", "(".repeat(100_000), ")".repeat(100_000)));
    assert!(deep.ends_with("the expression is nested too deeply"), "{deep}");
    let long = at("exp(x[i, j] - m)", &format!("m{}", " + m".repeat(100_000)));
    assert!(long.ends_with("give parts of it names with `let`"), "{long}");
}

#[test]
fn the_verifier_names_what_is_wrong() {
    let check = |base: &str, old: &str, new: &str, expected: &str| {
        let text = base.replacen(old, new, 1);
        assert_ne!(text, base, "{old}");
        let error = Kernel::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}")).verify();
        assert_eq!(error.unwrap_err().message().split_once(": ").unwrap().1, expected);
    };
    let softmax = |old: &str, new: &str, expected: &str| check(SOFTMAX, old, new, expected);
    softmax("{ x[i, j] }", "{ x[i] }", "stage 0: x has 2 axes, 1 indices are given");
    softmax("{ x[i, j] }", "{ y[i, j] }", "stage 0: parameter y is loaded before it is stored");
    softmax("{ x[i, j] }", "{ x[i, i32(j)] }", "stage 0: an index of x is not i64");
    softmax("map j {", "map {", "stage 1: axis j has no value here");
    softmax("map j {", "map i j {", "stage 1: axis i is parallel, it cannot be looped over");
    softmax("/ s", "/ f64(s)", "stage 1: Div of [f32, f64] is not defined");
    softmax("/ s", "/ s < s", "stage 1: bool is stored to y, which is f32");
    softmax("y[i, j] =", "x[i, j] =", "stage 1: parameter x is stored to but only read");
    softmax("y[i, j] =", "z[j] =", "parameter y is never written");
    softmax(
        "m, s = reduce online_softmax",
        "m, s, q = reduce online_softmax",
        "stage 0: online_softmax has 2 results, 3 are named",
    );
    softmax("x[i, j] }", "x[i, j] < 0.0 }", "stage 0: online_softmax of bool is not defined");
    softmax("bind(i,", "bind(j,", "schedule: bind(j): the axis is serial");
    softmax("vec(j, 4)", "pack(lhs)", "schedule: PackLhs without a dot");
    softmax("bind(i, core) vec(j, 4)", "vec(j, 4) bind(i, core)", "schedule: directives are sorted, each once");
    softmax("(y: f32[8, 32])", "(x: f32[8, 32], y: f32[8, 32])", "two things are called x");
    let dot = |old: &str, new: &str, expected: &str| check(FORMS[6], old, new, expected);
    dot("m(i) n(j)", "m(i)", "stage 0: each axis of the result has one role in a dot: batch, m or n");
    dot("{ w[b, k, j] }", "{ w[b, k, i] }", "stage 0: right side: axis i has no value here");
    dot("{ w[b, k, j] }", "{ 2i64 }", "stage 0: the sides of a dot are f32 and i64");
    dot("split(k, 2)", "split(j, 2)", "schedule: split(j): the axis is not contracted");
    dot("tile(j, 64)", "tile(j, 0)", "schedule: a count of zero for axis j");
    let nested = |old: &str, new: &str, expected: &str| check(FORMS[7], old, new, expected);
    nested("m(i) n(j)", "m(i)", "stage 0: each axis of the result has one role in a dot: batch, m or n");
    nested("qk[j] = dot d", "qk[d] = dot d", "stage 0: axis d is contracted and of the result");
    nested("qk[j] = dot d", "qk[i] = dot d", "local qk: axis i is parallel, it cannot be looped over");
    check(FORMS[4], "h[15 - j]", "h", "stage 1: h has 1 axes, 0 indices are given");
    check(FORMS[4], "mean, m2 =", "mean, m2, m2 =", "two things are called m2");
}
