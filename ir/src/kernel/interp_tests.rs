//! Tests of the kernel interpreter.

use super::interp::{Order, Outcome, Run, interpret};
use super::tests::SOFTMAX;
use super::*;
use crate::array::Array;
use crate::error::Result;

const ORDERS: [Order; 3] = [Order::Forward, Order::Reverse, Order::Shuffled(7)];

fn f32s(shape: &[usize], f: impl FnMut(usize) -> f64) -> Array {
    Array::from_fn_f64(DType::F32, shape, f).rounded()
}

fn run(text: &str, inputs: &[&Array], order: Order) -> Result<Outcome> {
    let kernel = Kernel::parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    interpret(&kernel, inputs, &|_| Some(3), &Run { order, aliases: &[] })
}

fn error(text: &str, inputs: &[&Array]) -> String {
    run(text, inputs, Order::Forward).unwrap_err().message().to_owned()
}

#[test]
fn softmax_rows_sum_to_one_in_any_order_and_in_place() {
    let x = f32s(&[8, 32], |i| ((i * 37) % 101) as f64 / 10.0);
    let expected = run(SOFTMAX, &[&x], Order::Forward).unwrap();
    for row in 0..8 {
        let exps: Vec<f64> = (0..32).map(|j| x.f(row * 32 + j).exp()).collect();
        let sum: f64 = exps.iter().sum();
        for (j, e) in exps.iter().enumerate() {
            assert!((expected.outputs[0].f(row * 32 + j) - e / sum).abs() < 1e-6);
        }
    }
    for order in ORDERS {
        assert_eq!(run(SOFTMAX, &[&x], order).unwrap(), expected);
        let in_place = Run { order, aliases: &[(0, 1)] };
        assert_eq!(interpret(&Kernel::parse(SOFTMAX).unwrap(), &[&x], &|_| None, &in_place).unwrap(), expected);
    }
}

#[test]
fn sums_follow_the_tree() {
    let text = "kernel total(x: f32[33]) -> (y: f32[])\n axes j: ser 33\n s = reduce sum j { x[j] }\n y = s\n";
    // 2^24 swallows single ones, as it does the one of its own accumulator and the first it meets; the others meet
    // each other first.
    let x = f32s(&[33], |i| if i == 0 { 16777216.0 } else { 1.0 });
    assert_eq!(run(text, &[&x], Order::Forward).unwrap().outputs[0].f(0), 16777216.0 + 30.0);
    // A chunk ends after 4,096 elements: the last one is added to the first chunk's sum as a whole.
    let text = text.replace("33", "4097");
    let x = f32s(&[4097], |i| if i == 4096 { 16777216.0 } else { 1.0 / 8192.0 });
    assert_eq!(run(&text, &[&x], Order::Forward).unwrap().outputs[0].f(0), 16777216.0);
}

#[test]
fn reductions_of_every_kind() {
    let text = "\
kernel kinds(x: f32[B, 5], n: i64[B, 5]) -> (best: i64[B], mean: f32[B], m2: f32[B], p: i64[B], all: bool[B])
  dims B: 1..=8
  axes i: par B, j: ser 5
  at = reduce argmax j { x[i, j] }
  mu, q = reduce welford j { x[i, j] }
  product = reduce prod j { n[i, j] }
  every = reduce and j { n[i, j] > 0 }
  map {
    best[i] = at
    mean[i] = mu
    m2[i] = q
    p[i] = product
    all[i] = every
  }
";
    let x = f32s(&[3, 5], |i| [1.0, 2.0, 3.0, 4.0, 5.0, 3.0, 9.0, 9.0, 0.0, -1.0, 0.0, f64::NAN, 7.0, f64::NAN, 1.0][i]);
    let n = Array::from_fn_i64(DType::I64, [3, 5], |i| i as i64);
    let outputs = run(text, &[&x, &n], Order::Shuffled(1)).unwrap().outputs;
    assert_eq!((0..3).map(|i| outputs[0].i(i)).collect::<Vec<_>>(), [4, 1, 1]);
    assert_eq!((outputs[1].f(0), outputs[2].f(0)), (3.0, 10.0));
    assert_eq!((outputs[3].i(0), outputs[3].i(1), outputs[3].i(2)), (0, 5 * 6 * 7 * 8 * 9, 10 * 11 * 12 * 13 * 14));
    assert_eq!((outputs[4].i(0), outputs[4].i(1)), (0, 1));
}

#[test]
fn a_split_dot_adds_its_parts_in_order() {
    let text = "\
kernel dot(a: f32[2, 4], b: f32[4, 2]) -> (y: f32[2, 2])
  axes i: par 2, j: par 2, k: ser 4
  acc = dot k m(i) n(j) { a[i, k] } { b[k, j] }
  y[i, j] = acc
  schedule split(k, 2)
";
    let a = f32s(&[2, 4], |i| [16777216.0, 1.0, 1.0, 1.0, 1.0, 2.0, 3.0, 4.0][i]);
    let b = f32s(&[4, 2], |i| if i % 2 == 0 { 1.0 } else { i as f64 });
    let y = &run(text, &[&a, &b], Order::Forward).unwrap().outputs[0];
    assert_eq!(y.f(0), 16777218.0);
    assert_eq!(y.f(2), 10.0);
    assert_eq!(y.f(3), 1.0 + 6.0 + 15.0 + 28.0);
    let whole = text.replace("  schedule split(k, 2)\n", "");
    assert_eq!(run(&whole, &[&a, &b], Order::Forward).unwrap().outputs[0].f(0), 16777216.0);
}

#[test]
fn a_dot_into_a_local_has_a_sum_for_each_index() {
    let text = "\
kernel twice(a: f32[2, 3], b: f32[4, 3], c: f32[4]) -> (y: f32[2])
  axes i: par 2, j: ser 4, k: ser 3
  ab[j] = dot k m(i) n(j) { a[i, k] } { b[j, k] }
  abc = dot j m(i) { ab[j] } { c[j] }
  y[i] = abc
";
    let a = f32s(&[2, 3], |i| i as f64 + 1.0);
    let b = f32s(&[4, 3], |i| i as f64 - 5.0);
    let c = f32s(&[4], |i| 10f64.powi(i as i32));
    let y = &run(text, &[&a, &b, &c], Order::Reverse).unwrap().outputs[0];
    let expected = |i: i64| -> i64 {
        let product = |j: i64| (0..3).map(|k| (3 * i + k + 1) * (3 * j + k - 5)).sum::<i64>();
        (0..4).map(|j| product(j) * 10i64.pow(j as u32)).sum()
    };
    assert_eq!((y.f(0), y.f(1)), (expected(0) as f64, expected(1) as f64));
}

#[test]
fn scatters_combine_in_order_and_checks_report() {
    let text = "\
kernel scatter(x: f32[4], at: i64[3], u: f32[3]) -> (y: f32[4])
  axes i: ser 4, k: ser 3
  check 5 k { at[k] < 3 } { at[k] }
  map i { y[i] = x[i] }
  map k { y[min(at[k], 3)] += u[k] }
";
    let x = f32s(&[4], |i| i as f64);
    let at = Array::from_fn_i64(DType::I64, [3], |i| [1, 3, 1][i]);
    let u = f32s(&[3], |i| 10f64.powi(i as i32 + 1));
    let outcome = run(text, &[&x, &at, &u], Order::Forward).unwrap();
    assert_eq!(outcome.outputs[0].to_f64(), [0.0, 1011.0, 2.0, 103.0]);
    assert_eq!(outcome.failed, Some((5, 3)));
}

#[test]
fn wrong_kernels_are_found_out() {
    let x = f32s(&[4], |i| i as f64);
    let kernel = |body: &str| format!("kernel k(x: f32[4]) -> (y: f32[4])\n axes i: par 4, j: ser 4\n {body}\n");
    let at = |body: &str| error(&kernel(body), &[&x]);
    assert_eq!(at("y[i] = x[i + 1]"), "kernel k: x[4] is outside f32[4]");
    assert_eq!(at("y[i - 1] = x[i]"), "kernel k: y[-1] is outside f32[4]");
    assert_eq!(at("y[i / 2] = x[i]"), "kernel k: race: y[0] is written by two points");
    assert_eq!(at("y[i / 4] = x[i]"), "kernel k: race: y[0] is written by two points");
    assert_eq!(at("map j { y[j] = x[i] }"), "kernel k: race: y[0] is written by two points");
    assert_eq!(at("y[i] = x[i]\n y[i] = y[3 - i]"), "kernel k: y[3] is loaded before it is written");
    assert_eq!(at("y[i] += x[i]"), "kernel k: y[0] is combined with before it is written");
    let fewer = kernel("y[i] = x[i]").replace("par 4", "par 3");
    assert_eq!(error(&fewer, &[&x]), "y[3] is never written");
    assert!(error(&kernel("y[i] = x[i]"), &[&f32s(&[5], |_| 0.0)]).contains("x is f32[4], given f32[5]"));
}

#[test]
fn sharing_memory_wrongly_is_a_race() {
    let text = "kernel flip(x: f32[4]) -> (y: f32[4])\n axes i: par 4\n y[i] = x[3 - i]\n";
    let kernel = Kernel::parse(text).unwrap();
    assert!(!kernel.can_alias(0, 1));
    let x = f32s(&[4], |i| i as f64);
    let shared = Run { order: Order::Forward, aliases: &[(0, 1)] };
    let error = interpret(&kernel, &[&x], &|_| None, &shared).unwrap_err();
    assert!(error.message().contains("race: x"), "{error}");
}

#[test]
fn aliases_that_are_allowed_are_those_that_work() {
    // Bodies of kernels from x and z to y, and whether y may be written over x.
    let cases = [
        ("y[i, j] = x[i, j] + z[j]", true),
        ("y[i, j] = x[i, j] + z[j] * x[i, 0]", false),
        ("y[i, j] = x[j, i]", false),
        ("y[i, j] = z[j]\n y[i, j] = x[i, j]", false),
        ("y[i, j] = z[j] - x[i, j]\n y[i, j] = y[i, j] * 2.0", true),
    ];
    for (body, allowed) in cases {
        let text = format!("kernel k(x: f32[4, 4], z: f32[4]) -> (y: f32[4, 4])\n axes i: par 4, j: par 4\n {body}\n");
        let kernel = Kernel::parse(&text).unwrap();
        assert_eq!(kernel.can_alias(0, 2), allowed, "{body}");
        let (x, z) = (f32s(&[4, 4], |i| i as f64), f32s(&[4], |i| 2.0 - i as f64));
        let alone = interpret(&kernel, &[&x, &z], &|_| None, &Run::default()).unwrap();
        let works = ORDERS.into_iter().all(|order| {
            let shared = interpret(&kernel, &[&x, &z], &|_| None, &Run { order, aliases: &[(0, 2)] });
            shared.is_ok_and(|s| s == alone)
        });
        assert_eq!(works, allowed, "{body}");
    }
}

#[test]
fn a_serial_store_behind_a_load_is_no_alias() {
    let over = |body: &str| {
        let text = format!("kernel k(x: f32[4]) -> (y: f32[4])\n axes i: ser 4, j: ser 4\n {body}\n");
        Kernel::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}")).can_alias(0, 1)
    };
    assert!(over("map i { y[i] = x[i] }"));
    assert!(!over("map i j { y[i] = x[i] * 2.0 }"), "the second index of j would load what the first stored");
    assert!(!over("map i { y[i] = x[i] }\n map i { y[i] = x[i] }"));
    assert!(over("s = reduce sum i { x[i] }\n map i { y[i] = x[i] / s }"));
    assert!(!over("s = reduce sum j { x[j] }\n map i { y[i] = x[i] / s }"), "other index expressions are not compared");
}
