use super::*;
use crate::decompose::for_each_region;
use crate::precision::Precision;
use igneous_ir::autodiff::expand_gradients;
use igneous_ir::interp::interpret;
use igneous_ir::verify::verify;
use igneous_ir::{Array, DType, TensorType};

/// Every input filled with numbers of its own.
fn inputs(graph: &Graph, symbol: usize) -> Vec<Array> {
    let size = |d: &igneous_ir::Dim| d.as_const().map_or(symbol, |n| n as usize);
    let fill = |(k, (v, _)): (usize, &(Value, String))| {
        let TensorType { dtype, shape } = graph.ty(*v);
        let shape: Vec<usize> = shape.iter().map(size).collect();
        match dtype.is_float() {
            true => Array::from_fn_f64(*dtype, &shape[..], |i| (((i + 3) * (k + 5) * 7919) % 101) as f64 / 100.0 - 0.5),
            false => Array::from_fn_i64(*dtype, &shape[..], |i| ((i + k) % 3) as i64),
        }
    };
    graph.inputs().iter().enumerate().map(fill).collect()
}

fn split_with(graph: &Graph, precision: Precision) -> (Graph, SplitLog) {
    let mut log = SplitLog::default();
    let split = for_each_region(graph, &mut |g| split(g, precision.licences(), &mut log)).unwrap();
    verify(&split).unwrap_or_else(|e| panic!("{e}\n{split}"));
    (split, log)
}

/// Splits the loops of a graph after differentiation, under both precisions; the results stay, to the bit where nothing may
/// round. Returns the graph of the freer one.
#[track_caller]
fn check(text: &str, symbol: usize) -> (Graph, SplitLog) {
    let graph = expand_gradients(&Graph::parse(text).unwrap()).unwrap();
    let inputs = inputs(&graph, symbol);
    let expected = interpret(&graph, &inputs).unwrap();
    let exact = split_with(&graph, Precision::Strict).0;
    assert_eq!(interpret(&exact, &inputs).unwrap(), expected, "{exact}");
    let (split, log) = split_with(&graph, Precision::Default);
    let found = interpret(&split, &inputs).unwrap();
    for (a, b) in found.iter().zip(&expected) {
        assert_eq!(a.ty(), b.ty());
        assert!((0..a.len()).all(|i| (a.f(i) - b.f(i)).abs() <= 1e-11 * b.f(i).abs().max(1.0)), "{a:?}\n{b:?}\n{split}");
    }
    (split, log)
}

/// How many nodes of an operator the bodies of the loops in a graph have.
fn inside(graph: &Graph, name: &str) -> usize {
    let bodies = graph.nodes().filter(|(_, n)| n.op.name() == "scan").map(|(_, n)| n.op.region("body").graph());
    bodies.map(|body| body.nodes().filter(|(_, n)| n.op.name() == name).count() + inside(body, name)).sum()
}

/// `h' = tanh(x·w + b + h·u)`, with `h'·v` stacked; all gradients of its weighted sum.
fn rnn(length: &str, reverse: bool) -> String {
    let symbols = if length == "T" { " where T in 0..=100" } else { "" };
    format!(
        "graph step(%w: f64[4, 3], %u: f64[3, 3], %b: f64[3], %v: f64[3, 2], %h: f64[5, 3], %x: f64[5, 4])
           -> (f64[5, 3], f64[5, 2]) {{
           %a = dot_general {{lhs_batch=[], lhs_contract=[1], rhs_batch=[], rhs_contract=[0]}}(%x, %w)
           %c = broadcast {{axes=[1], shape=[5, 3]}}(%b)
           %d = add(%a, %c)
           %e = dot_general {{lhs_batch=[], lhs_contract=[1], rhs_batch=[], rhs_contract=[0]}}(%h, %u)
           %f = add(%d, %e)
           %g = tanh(%f)
           %y = dot_general {{lhs_batch=[], lhs_contract=[1], rhs_batch=[], rhs_contract=[0]}}(%g, %v)
           return %g, %y }}
         graph main(%w: f64[4, 3], %u: f64[3, 3], %b: f64[3], %v: f64[3, 2], %h: f64[5, 3], %x: f64[{length}, 5, 4],
           %s: f64[{length}, 5, 2])
           -> (f64[5, 3], f64[{length}, 5, 2], f64[4, 3], f64[3, 3], f64[3], f64[3, 2], f64[5, 3], f64[{length}, 5, 4]){symbols} {{
           %last, %ys = scan {{body=@step, carries=1, constants=4, length={length}, reverse={reverse}}}(%w, %u, %b, %v, %h, %x)
           %p = mul(%ys, %s)
           %q = reduce {{axes=[0, 1, 2], kind=sum}}(%p)
           %r = reduce {{axes=[0, 1], kind=sum}}(%last)
           %t = add(%q, %r)
           %dw, %du, %db, %dv, %dh, %dx = grad {{seeded=false}}(%t, %w, %u, %b, %v, %h, %x)
           return %last, %ys, %dw, %du, %db, %dv, %dh, %dx }}"
    )
}

#[test]
fn a_recurrence_keeps_one_product_each_way() {
    for reverse in [false, true] {
        let (split, log) = check(&rnn("6", reverse), 6);
        assert_eq!(inside(&split, "dot_general"), 2, "{log}\n{split}");
        assert_eq!(inside(&split, "reduce"), 0, "{log}\n{split}");
    }
}

#[test]
fn loops_of_one_step_and_of_none() {
    for length in ["1", "0"] {
        check(&rnn(length, false), 0);
    }
}

#[test]
fn loops_of_any_length() {
    for length in [0, 1, 7] {
        let (split, log) = check(&rnn("T", false), length);
        assert_eq!(inside(&split, "dot_general"), 2, "{log}\n{split}");
    }
}

#[test]
fn what_left_the_loop_of_a_recurrence() {
    let (_, log) = check(&rnn("6", false), 6);
    insta::assert_snapshot!(log, @r"
    scan step_forward
      for all steps in front of the loop: add : f64[5, 3]
      for all steps behind the loop: dot_general : f64[5, 2]
    scan step_backward
      for all steps in front of the loop: dot_general : f64[5, 3]
      added up behind the loop: dot_general : f64[4, 3]
      added up behind the loop: dot_general : f64[3, 3]
      added up behind the loop: reduce : f64[3]
      added up behind the loop: dot_general : f64[3, 2]
      for all steps behind the loop: dot_general : f64[5, 4]
    ");
}

/// Two carries that need each other, one that is added to, one that stays, one that counts; sequences and constants as
/// results.
#[test]
fn several_carries() {
    let text = "graph step(%k: f64[3], %a: f64[3], %b: f64[3], %sum: f64[3], %same: f64[3], %n: i64[], %x: f64[3])
        -> (f64[3], f64[3], f64[3], f64[3], i64[], f64[3], f64[3], f64[3], f64[3]) {
        %e = exp(%k) %c = mul(%a, %e) %d = add(%c, %b) %p = mul(%a, %same) %q = sub(%p, %x)
        %z = mul(%x, %e) %s = add(%z, %sum)
        %one = constant {value=i64[] [1]}() %m = add(%n, %one)
        return %d, %q, %s, %same, %m, %z, %e, %x, %b }
      graph main(%k: f64[3], %a: f64[3], %b: f64[3], %sum: f64[3], %same: f64[3], %n: i64[], %x: f64[4, 3])
        -> (f64[3], f64[3], f64[3], f64[3], i64[], f64[4, 3], f64[4, 3], f64[4, 3], f64[4, 3]) {
        %d, %q, %s, %o, %m, %z, %e, %y, %v = scan {body=@step, carries=5, constants=1, length=4, reverse=false}(
          %k, %a, %b, %sum, %same, %n, %x)
        return %d, %q, %s, %o, %m, %z, %e, %y, %v }";
    let (split, log) = check(text, 4);
    assert_eq!(inside(&split, "exp"), 0, "{log}\n{split}");
    let scan = split.nodes().find(|(_, n)| n.op.name() == "scan").unwrap().1;
    assert_eq!(scan.results.len(), 4, "two carries, the counter and the stacked `b` stay:\n{log}\n{split}");
}

/// A loop that carries nothing is done for all steps at once, unless something in it may fail.
#[test]
fn a_loop_without_carries_is_no_loop() {
    let text = "graph step(%w: f64[3, 3], %x: f64[2, 3]) -> (f64[2, 3]) {
        %a = dot_general {lhs_batch=[], lhs_contract=[1], rhs_batch=[], rhs_contract=[0]}(%x, %w) %b = exp(%a) return %b }
      graph main(%w: f64[3, 3], %x: f64[4, 2, 3]) -> (f64[4, 2, 3]) {
        %y = scan {body=@step, carries=0, constants=1, length=4, reverse=true}(%w, %x) return %y }";
    let (split, _) = check(text, 4);
    assert!(!split.to_string().contains("scan"), "{split}");
}

#[test]
fn checks_stay_in_their_step() {
    let text = "graph step(%h: f64[], %x: i64[]) -> (f64[]) {
        %zero = constant {value=i64[] [0]}() %ok = ge(%x, %zero) check {message=\"negative\"}(%ok, %x)
        %f = cast {dtype=f64}(%x) %s = add(%h, %f) return %s }
      graph main(%h: f64[], %x: i64[3]) -> (f64[]) {
        %s = scan {body=@step, carries=1, constants=0, length=3, reverse=false}(%h, %x) return %s }";
    let (split, _) = check(text, 3);
    assert_eq!(inside(&split, "check"), 1, "{split}");
    let bad = [Array::floats(DType::F64, [], vec![0.0]), Array::ints(DType::I64, [3], vec![1, -1, 2])];
    assert!(interpret(&split, &bad).unwrap_err().to_string().contains("negative"));
}

/// A loop in a loop: the inner one over a sequence of the outer, whose result each outer step reads, with a product in it that
/// depends on the outer sequence alone.
#[test]
fn nested_loops() {
    let text = "graph inner(%w: f64[8, 8], %h: f64[2, 8], %x: f64[2, 8]) -> (f64[2, 8], f64[2, 8]) {
        %a = dot_general {lhs_batch=[], lhs_contract=[1], rhs_batch=[], rhs_contract=[0]}(%x, %w)
        %b = add(%a, %h) %c = tanh(%b) return %c, %c }
      graph outer(%w: f64[8, 8], %h: f64[2, 8], %x: f64[4, 2, 8]) -> (f64[2, 8], f64[4, 2, 8]) {
        %a, %b = scan {body=@inner, carries=1, constants=1, length=4, reverse=true}(%w, %h, %x) return %a, %b }
      graph main(%w: f64[8, 8], %h: f64[2, 8], %x: f64[5, 4, 2, 8]) -> (f64[2, 8], f64[5, 4, 2, 8], f64[8, 8], f64[2, 8]) {
        %a, %b = scan {body=@outer, carries=1, constants=1, length=5, reverse=false}(%w, %h, %x)
        %s = reduce {axes=[0, 1, 2, 3], kind=sum}(%b) %dw, %dh = grad {seeded=false}(%s, %w, %h)
        return %a, %b, %dw, %dh }";
    let (split, log) = check(text, 5);
    assert_eq!(inside(&split, "dot_general"), 0, "{log}\n{split}");
}

/// The mean cross-entropy of a classifier on every step, whose products and losses need no later step.
#[test]
fn a_head_on_every_step_is_behind_the_loop() {
    let text = "graph step(%u: f64[8, 8], %v: f64[8, 9], %h: f64[2, 8], %x: f64[2, 8], %t: i64[2])
        -> (f64[2, 8], f64[2]) {
        %e = dot_general {lhs_batch=[], lhs_contract=[1], rhs_batch=[], rhs_contract=[0]}(%h, %u)
        %f = add(%x, %e) %g = tanh(%f)
        %y = dot_general {lhs_batch=[], lhs_contract=[1], rhs_batch=[], rhs_contract=[0]}(%g, %v)
        %l, %s = cross_entropy(%y, %t)
        return %g, %l }
      graph main(%u: f64[8, 8], %v: f64[8, 9], %h: f64[2, 8], %x: f64[6, 2, 8], %t: i64[6, 2])
        -> (f64[6, 2], f64[8, 8], f64[8, 9], f64[6, 2, 8]) {
        %last, %ys = scan {body=@step, carries=1, constants=2, length=6, reverse=false}(%u, %v, %h, %x, %t)
        %q = reduce {axes=[0, 1], kind=sum}(%ys)
        %du, %dv, %dx = grad {seeded=false}(%q, %u, %v, %x)
        return %ys, %du, %dv, %dx }";
    let (split, log) = check(text, 6);
    assert_eq!(inside(&split, "cross_entropy"), 0, "{log}\n{split}");
}

/// `[batch, step]` of the stacked carries at the step that is done last, from either end.
#[test]
fn the_last_step_of_a_stack_is_the_carry() {
    for (reverse, at) in [(false, 3), (true, 0)] {
        let text = format!(
            "graph step(%w: f64[3], %h: f64[2, 3], %x: f64[2, 3]) -> (f64[2, 3], f64[2, 3]) {{
               %v = broadcast {{axes=[1], shape=[2, 3]}}(%w) %a = mul(%h, %v) %b = add(%a, %x) %c = tanh(%b) return %c, %c }}
             graph main(%w: f64[3], %h: f64[2, 3], %x: f64[4, 2, 3]) -> (f64[2, 1, 3], f64[3], f64[4, 2, 3]) {{
               %last, %ys = scan {{body=@step, carries=1, constants=1, length=4, reverse={reverse}}}(%w, %h, %x)
               %t = transpose {{permutation=[1, 0, 2]}}(%ys)
               %y = slice {{limit=[2, {}, 3], start=[0, {at}, 0], stride=[1, 1, 1]}}(%t)
               %q = mul(%y, %y) %s = reduce {{axes=[0, 1, 2], kind=sum}}(%q)
               %dw, %dx = grad {{seeded=false}}(%s, %w, %x)
               return %y, %dw, %dx }}",
            at + 1
        );
        let graph = Graph::parse(&text).unwrap();
        let mut log = SplitLog::default();
        let found = last_steps(&graph, &mut log).unwrap();
        verify(&found).unwrap();
        assert_eq!(log.lines(), ["the last step of a loop is its carry : f64[2, 1, 3]"]);
        let inputs = inputs(&graph, 4);
        let run = |g: &Graph| interpret(&expand_gradients(g).unwrap(), &inputs).unwrap();
        assert_eq!(run(&found), run(&graph));
        // Any other step is no carry that the loop returns.
        let other = Graph::parse(
            &text
                .replace(&format!("start=[0, {at}, 0]"), "start=[0, 1, 0]")
                .replace(&format!("limit=[2, {}, 3]", at + 1), "limit=[2, 2, 3]"),
        );
        let mut log = SplitLog::default();
        last_steps(&other.unwrap(), &mut log).unwrap();
        assert!(log.lines().is_empty());
    }
}
