use super::{TapeEntry, backward, expand_gradients, jvp};
use crate::array::Array;
use crate::graph::{Graph, Value};
use crate::interp::{interpret, interpret_f64};
use crate::ops;
use crate::types::DType;
use crate::verify::verify;

fn f64s<const N: usize>(values: [f64; N]) -> Array {
    Array::floats(DType::F64, [N], values.to_vec())
}

fn scalar(value: f64) -> Array {
    Array::floats(DType::F64, [], vec![value])
}

fn expand(text: &str) -> Graph {
    let graph = Graph::parse(text).unwrap_or_else(|e| panic!("{e}"));
    let expanded = expand_gradients(&graph).unwrap_or_else(|e| panic!("{e}"));
    verify(&expanded).unwrap_or_else(|e| panic!("{e}\n{expanded}"));
    assert!(!expanded.to_string().contains("grad {"), "all gradients are expanded:\n{expanded}");
    expanded
}

/// The outputs are a loss and its gradient with respect to each input, compared with finite differences of the loss.
fn check_gradients(text: &str, inputs: &[Array]) {
    let graph = expand(text);
    let run = |inputs: &[Array]| interpret(&graph, inputs).unwrap_or_else(|e| panic!("{e}\n{graph}"));
    let found = run(inputs);
    assert_eq!(found.len(), inputs.len() + 1, "a loss and all gradients");
    for (k, input) in inputs.iter().enumerate() {
        for i in 0..input.len() {
            let at = |step: f64| {
                let mut moved = inputs.to_vec();
                moved[k] = Array::from_fn_f64(DType::F64, input.shape(), |j| input.f(j) + if i == j { step } else { 0.0 });
                run(&moved)[0].f(0)
            };
            let expected = (at(1e-5) - at(-1e-5)) / 2e-5;
            let gradient = found[k + 1].f(i);
            assert!((gradient - expected).abs() < 1e-6 * (1.0 + expected.abs()), "d{k}[{i}]: {gradient} {expected}\n{graph}");
        }
    }
}

#[test]
fn cotangents_of_all_uses_add_up() {
    // x³ as x·x·x, and twice the same value to differentiate by.
    let text = "graph g(%x: f64[2], %s: f64[2]) -> (f64[2], f64[2]) {
      %a = mul(%x, %x) %y = mul(%a, %x)
      %d, %e = grad {seeded=true}(%y, %s, %x, %x)
      return %d, %e }";
    let out = interpret(&expand(text), &[f64s([2.0, 3.0]), f64s([1.0, 10.0])]).unwrap();
    assert_eq!(out, [f64s([12.0, 270.0]), f64s([12.0, 270.0])]);
}

#[test]
fn gradients_of_gradients() {
    // x⁴: 4x³, 12x², 24x.
    let text = "graph g(%x: f64[]) -> (f64[], f64[], f64[]) {
      %a = mul(%x, %x) %y = mul(%a, %a)
      %d = grad {seeded=false}(%y, %x)
      %e = grad {seeded=false}(%d, %x)
      %f = grad {seeded=false}(%e, %x)
      return %d, %e, %f }";
    let out = interpret(&expand(text), &[scalar(2.0)]).unwrap();
    assert_eq!(out, [scalar(32.0), scalar(48.0), scalar(48.0)]);
}

#[test]
fn a_gradient_with_respect_to_an_intermediate_value() {
    let text = "graph g(%x: f64[]) -> (f64[], f64[], f64[]) {
      %a = mul(%x, %x) %y = mul(%a, %a)
      %d, %e, %f = grad {seeded=false}(%y, %a, %x, %y)
      return %d, %e, %f }";
    assert_eq!(interpret(&expand(text), &[scalar(3.0)]).unwrap(), [scalar(18.0), scalar(108.0), scalar(1.0)]);
}

#[test]
fn what_the_loss_does_not_depend_on_has_the_gradient_zero() {
    let text = "graph g(%x: f64[], %y: f64[], %z: f64[2]) -> (f64[], f64[], f64[2]) {
      %s = stop_gradient(%x) %p = mul(%s, %y)
      %i = cast {dtype=i64}(%x) %j = cast {dtype=f64}(%i) %q = mul(%p, %j)
      %d, %e, %f = grad {seeded=false}(%q, %x, %y, %z)
      return %d, %e, %f }";
    let out = interpret(&expand(text), &[scalar(2.5), scalar(7.0), f64s([1.0, 1.0])]).unwrap();
    assert_eq!(out, [scalar(0.0), scalar(5.0), f64s([0.0, 0.0])]);
}

#[test]
fn emitted_nodes_keep_line_and_scope() {
    let text = "graph g(%x: f64[]) -> (f64[]) {
      %y = tanh(%x)  // model.rs:3 act
      %d = grad {seeded=false}(%y, %x)  // train.rs:9
      return %d }";
    let g = expand(text);
    for (_, node) in g.nodes().filter(|(_, n)| n.op.name() == "mul") {
        assert_eq!((node.loc.unwrap().to_string(), g.scope_path(node.scope)), ("model.rs:3".into(), "act".into()));
    }
    assert!(g.to_string().contains("mul("), "{g}");
}

const LAYER: &str = "graph layer(%x: f64[], %w: f64[]) -> (f64[]) {
  %p = mul(%x, %w) %t = tanh(%p) %y = mul(%t, %x) return %y }
";

#[test]
fn equal_layers_share_one_forward_and_one_backward_region() {
    let text = format!(
        "{LAYER}graph g(%x: f64[], %u: f64[], %v: f64[]) -> (f64[], f64[], f64[], f64[]) {{
           %a = call {{body=@layer}}(%x, %u)  // model.rs:5 layers.0
           %b = call {{body=@layer}}(%a, %v)  // model.rs:5 layers.1
           %d, %e, %f = grad {{seeded=false}}(%b, %x, %u, %v)
           return %b, %d, %e, %f }}"
    );
    let g = expand(&text);
    let expected = r#"graph layer_forward(%0: f64[] "x", %1: f64[] "w") -> (f64[], f64[] "residual1") {
  %2 = mul(%0, %1) : f64[]
  %3 = tanh(%2) : f64[]
  %4 = mul(%3, %0) : f64[]
  return %4, %3
}

graph layer_backward(%0: f64[] "x", %1: f64[] "w", %2: f64[] "residual2", %3: f64[] "d_") -> (f64[] "d_x", f64[] "d_w") {"#;
    let text = g.to_string();
    assert_eq!(text.matches("graph ").count(), 3, "forward, backward and the graph itself:\n{text}");
    assert_eq!(text.matches("call {body=@layer_forward}").count(), 2, "{text}");
    assert_eq!(text.matches("call {body=@layer_backward}").count(), 2, "{text}");
    assert!(text.starts_with(&expected.replace("residual1", "residual2")), "{text}");
    assert!(text.contains(": f64[], f64[]  // model.rs:5 layers.1\n"), "{text}");
}

#[test]
fn gradients_through_calls() {
    let text = format!(
        "{LAYER}graph two(%x: f64[], %w: f64[]) -> (f64[], f64[]) {{
           %a = call {{body=@layer}}(%x, %w) %b = call {{body=@layer}}(%a, %w) %c = exp(%a) return %b, %c }}
         graph g(%x: f64[], %u: f64[], %v: f64[]) -> (f64[], f64[], f64[], f64[]) {{
           %a, %n = call {{body=@two}}(%x, %u) %b, %m = call {{body=@two}}(%a, %v) %k = mul(%m, %b) %l = add(%k, %n)
           %d, %e, %f = grad {{seeded=false}}(%l, %x, %u, %v)
           return %l, %d, %e, %f }}"
    );
    check_gradients(&text, &[scalar(0.7), scalar(-0.4), scalar(0.9)]);
}

#[test]
fn second_gradients_through_calls() {
    let text = format!(
        "{LAYER}graph g(%x: f64[], %w: f64[]) -> (f64[], f64[], f64[]) {{
           %a = call {{body=@layer}}(%x, %w) %b = call {{body=@layer}}(%a, %w)
           %d, %e = grad {{seeded=false}}(%b, %x, %w) %l = mul(%d, %e)
           %f, %g = grad {{seeded=false}}(%l, %x, %w)
           return %l, %f, %g }}"
    );
    check_gradients(&text, &[scalar(0.7), scalar(-0.4)]);
}

/// `h' = tanh(h·w + x·b)`, stacking `h'·x`; `n` counts, and `b = softplus(v)` does not change from step to step.
fn recurrence(reverse: bool, rest: &str) -> String {
    format!(
        "graph step(%w: f64[], %v: f64[], %h: f64[], %n: i64[], %x: f64[]) -> (f64[], i64[], f64[]) {{
           %b = softplus(%v) %xb = mul(%x, %b) %hw = mul(%h, %w) %s = add(%hw, %xb) %k = tanh(%s) %y = mul(%k, %x)
           %one = constant {{value=i64[] [1]}}() %m = add(%n, %one)
           return %k, %m, %y }}
         graph g(%w: f64[], %v: f64[], %h: f64[], %x: f64[T]) -> (f64[], f64[], f64[], f64[], f64[T]) where T in 0..=9 {{
           %zero = constant {{value=i64[] [0]}}()
           %k, %n, %y = scan {{body=@step, constants=2, carries=2, reverse={reverse}, length=T}}(%w, %v, %h, %zero, %x)
           %yy = mul(%y, %y)
           %p = reduce {{axes=[0], kind=sum}}(%yy) %q = mul(%k, %k) %l = add(%p, %q)
           {rest} }}"
    )
}

#[test]
fn gradients_through_scans() {
    let rest = "%a, %b, %c, %d = grad {seeded=false}(%l, %w, %v, %h, %x) return %l, %a, %b, %c, %d";
    for reverse in [false, true] {
        let inputs = [scalar(0.8), scalar(0.3), scalar(-0.5), f64s([0.2, -1.0, 0.6, 1.5])];
        check_gradients(&recurrence(reverse, rest), &inputs);
    }
    let empty = [scalar(0.8), scalar(0.3), scalar(-0.5), f64s([])];
    check_gradients(&recurrence(false, rest), &empty);
}

#[test]
fn second_gradients_through_scans() {
    let rest = "%a, %d = grad {seeded=false}(%l, %w, %x) %dd = mul(%d, %d) %e = reduce {axes=[0], kind=sum}(%dd) %f = mul(%e, %a)
                %p2, %q2, %r, %s = grad {seeded=false}(%f, %w, %v, %h, %x) return %f, %p2, %q2, %r, %s";
    let inputs = [scalar(0.8), scalar(0.3), scalar(-0.5), f64s([0.2, -1.0, 0.6])];
    check_gradients(&recurrence(true, rest), &inputs);
}

#[test]
fn a_scan_saves_only_what_changes() {
    let rest = "%a, %b, %c, %d = grad {seeded=false}(%l, %w, %v, %h, %x) return %l, %a, %b, %c, %d";
    let text = expand(&recurrence(false, rest)).to_string();
    let forward = text.lines().find(|l| l.starts_with("graph step_forward")).expect("the scan saves something");
    assert_eq!(forward.matches("residual").count(), 2, "h and k, not softplus(v) or the counter: {forward}");
}

#[test]
fn gradients_inside_a_body() {
    // A step of gradient descent on (x - t)⁴, twice, differentiated with respect to where it starts.
    let text = "graph step(%t: f64[], %x: f64[]) -> (f64[]) {
        %e = sub(%x, %t) %s = mul(%e, %e) %l = mul(%s, %s) %d = grad {seeded=false}(%l, %x)
        %r = constant {value=f64[] [0.05]}() %m = mul(%d, %r) %y = sub(%x, %m) return %y }
      graph g(%t: f64[], %x: f64[]) -> (f64[], f64[], f64[]) {
        %y = scan {body=@step, constants=1, carries=1, reverse=false, length=2}(%t, %x)
        %a, %b = grad {seeded=false}(%y, %t, %x) return %y, %a, %b }";
    check_gradients(text, &[scalar(0.3), scalar(1.1)]);
}

/// Eager mode: the tape's operators are applied as they are, with no residual-returning form beside them.
#[test]
fn backward_over_a_tape() {
    let text = recurrence(false, "return %l, %w, %v, %h, %x");
    let mut graph = Graph::parse(&text).unwrap();
    let nodes: Vec<(crate::Op, Vec<Value>, Vec<Value>)> =
        graph.nodes().map(|(i, n)| (n.op.clone(), n.operands.to_vec(), graph.results(i).to_vec())).collect();
    let tape: Vec<TapeEntry> = nodes
        .iter()
        .filter(|(op, ..)| !op.is(&ops::structural::INPUT))
        .map(|(op, operands, results)| TapeEntry { op, operands, results })
        .collect();
    let loss = graph.outputs()[0].0;
    let inputs: Vec<Value> = graph.inputs().iter().map(|(v, _)| *v).collect();
    let gradients = backward(&mut graph, &tape, loss, None, &inputs).unwrap();
    gradients.iter().for_each(|&v| graph.output("d", v));
    verify(&graph).unwrap();
    let rest = "%a, %b, %c, %d = grad {seeded=false}(%l, %w, %v, %h, %x) return %l, %a, %b, %c, %d";
    let given = [scalar(0.8), scalar(0.3), scalar(-0.5), f64s([0.2, -1.0, 0.6, 1.5])];
    let expected = interpret(&expand(&recurrence(false, rest)), &given).unwrap();
    assert_eq!(interpret(&graph, &given).unwrap()[5..], expected[1..]);
}

#[test]
fn tangents_through_calls_and_scans() {
    let text = format!("{LAYER}{}", recurrence(true, "%z = call {body=@layer}(%l, %v) return %z, %w, %v, %h, %x"));
    let forward = Graph::parse(&text).unwrap();
    let mut graph = forward.clone();
    let nodes: Vec<(crate::Op, Vec<Value>, Vec<Value>)> =
        graph.nodes().map(|(i, n)| (n.op.clone(), n.operands.to_vec(), graph.results(i).to_vec())).collect();
    let tape: Vec<TapeEntry> = nodes.iter().map(|(op, operands, results)| TapeEntry { op, operands, results }).collect();
    let z = graph.outputs()[0].0;
    let inputs: Vec<Value> = graph.inputs().iter().map(|(v, _)| *v).collect();
    let mut given = Vec::new();
    for &v in &inputs {
        let ty = graph.ty(v).clone();
        given.push((v, graph.input("t", ty)));
    }
    let tangent = jvp(&mut graph, &tape, &given, &[z]).unwrap()[0].expect("the output depends on the inputs");
    graph.output("t", tangent);
    verify(&graph).unwrap();
    let x = [scalar(0.8), scalar(0.3), scalar(-0.5), f64s([0.2, -1.0, 0.6])];
    let t = [scalar(1.1), scalar(-0.7), scalar(0.4), f64s([0.3, 0.9, -2.0])];
    let moved = |step: f64| -> Vec<Array> {
        x.iter().zip(&t).map(|(x, t)| Array::from_fn_f64(DType::F64, x.shape(), |i| x.f(i) + step * t.f(i))).collect()
    };
    let at = |step: f64| interpret(&forward, &moved(step)).unwrap()[0].f(0);
    let expected = (at(1e-5) - at(-1e-5)) / 2e-5;
    let found = interpret_f64(&graph, &x.iter().chain(&t).cloned().collect::<Vec<_>>()).unwrap()[5].exact.f(0);
    assert!((found - expected).abs() < 1e-7 * (1.0 + expected.abs()), "{found} {expected}");
}

#[test]
fn what_cannot_be_differentiated_is_an_error() {
    let mut g = Graph::new("g");
    let x = g.input("x", crate::TensorType::new(DType::F32, [2]));
    let i = g.input("i", crate::TensorType::scalar(DType::I64));
    let loss = g.input("l", crate::TensorType::scalar(DType::F32));
    let message = |r: crate::Result<Vec<Value>>| r.unwrap_err().message().to_owned();
    let expected = "the gradient of f32[2] is not defined: a loss is one floating-point number";
    assert_eq!(message(backward(&mut g, &[], x, None, &[x])), expected);
    let expected = "cannot differentiate with respect to i64[]: not a floating-point type";
    assert_eq!(message(backward(&mut g, &[], loss, None, &[i])), expected);
}
