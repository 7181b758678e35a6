use super::{interpret, interpret_f64};
use crate::array::Array;
use crate::graph::Graph;
use crate::types::DType;

fn f32s<const N: usize>(values: [f64; N]) -> Array {
    Array::floats(DType::F32, [N], values.to_vec())
}

#[test]
fn native_results_are_rounded_and_exact_ones_are_not() {
    let g = Graph::parse("graph g(%x: f16[1], %y: f16[1]) -> (f16[1]) { %z = add(%x, %y) return %z }").unwrap();
    let half = |x: f64| Array::floats(DType::F16, [1], vec![x]);
    let z = &interpret_f64(&g, &[half(2048.0), half(1.0)]).unwrap()[0];
    assert_eq!((z.native.f(0), z.exact.f(0)), (2048.0, 2049.0));
}

#[test]
fn comparisons_are_taken_from_the_native_run() {
    let text = "graph g(%x: f16[1], %one: f16[1]) -> (bool[1]) { %y = add(%x, %one) %c = gt(%y, %x) return %c }";
    let half = |x: f64| Array::floats(DType::F16, [1], vec![x]);
    let c = &interpret_f64(&Graph::parse(text).unwrap(), &[half(2048.0), half(1.0)]).unwrap()[0];
    assert_eq!((c.native.i(0), c.exact.i(0)), (0, 0));
}

#[test]
fn a_scan_runs_in_order_and_backwards() {
    // h' = h·w + x, and y = h'.
    let scan = |reverse: bool| {
        let text = format!(
            "graph step(%w: f32[], %h: f32[], %x: f32[]) -> (f32[], f32[]) {{ %a = mul(%h, %w) %n = add(%a, %x) return %n, %n }}
             graph g(%w: f32[], %h: f32[], %x: f32[T]) -> (f32[], f32[T]) where T in 0..=9 {{
               %h1, %y = scan {{body=@step, constants=1, carries=1, reverse={reverse}, length=T}}(%w, %h, %x)
               return %h1, %y }}"
        );
        Graph::parse(&text).unwrap()
    };
    let scalar = |x: f64| Array::floats(DType::F32, [], vec![x]);
    let inputs = [scalar(10.0), scalar(1.0), f32s([2.0, 3.0, 4.0])];
    let run = |reverse: bool| interpret(&scan(reverse), &inputs).unwrap();
    assert_eq!(run(false), [scalar(1234.0), f32s([12.0, 123.0, 1234.0])]);
    assert_eq!(run(true), [scalar(1432.0), f32s([1432.0, 143.0, 14.0])]);
    let empty = [scalar(10.0), scalar(1.0), f32s([])];
    assert_eq!(interpret(&scan(false), &empty).unwrap(), [scalar(1.0), f32s([])]);
}

#[test]
fn symbols_are_bound_by_the_inputs() {
    let text = "graph g(%x: f32[2*B + 1], %y: f32[B]) -> (i64[]) where B in 1..=4 { %b = extent {dim=3*B}() return %b }";
    let g = Graph::parse(text).unwrap();
    let b = interpret(&g, &[f32s([0.0; 5]), f32s([0.0; 2])]).unwrap();
    assert_eq!(b[0].i(0), 6);
    let message = |x: Array, y: Array| interpret(&g, &[x, y]).unwrap_err().message().to_owned();
    assert_eq!(message(f32s([0.0; 11]), f32s([0.0; 5])), "symbol `B` is 5, outside of its range 1..=4");
    assert_eq!(message(f32s([0.0; 5]), f32s([0.0; 3])), "axis 0 of input `y` has the extent 3, and `B` is 2");
    assert_eq!(message(f32s([0.0; 4]), f32s([0.0; 2])), "axis 0 of input `x` has the extent 4, and `2*B + 1` is 5");
    assert!(message(f32s([0.0; 5]).reshaped([1, 5]), f32s([0.0; 2])).starts_with("input `x` of graph `g` has another type"));
}

#[test]
fn a_failing_check_reports_message_value_and_line() {
    let text = "graph g(%ok: bool[3], %v: i64[3]) -> () {
      check {message=\"a label is out of range\"}(%ok, %v)  // train.rs:12 loss
      return }";
    let g = Graph::parse(text).unwrap();
    let values = Array::ints(DType::I64, [3], vec![4, 5, 6]);
    assert!(interpret(&g, &[Array::ints(DType::Bool, [3], vec![1, 1, 1]), values.clone()]).is_ok());
    let error = interpret(&g, &[Array::ints(DType::Bool, [3], vec![1, 0, 1]), values]).unwrap_err();
    assert_eq!(error.to_string(), "a label is out of range\n  value  5\n  at train.rs:12");
}
