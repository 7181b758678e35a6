//! Graphs at the edge of what is valid: nothing in them, nothing to do, empty axes, no axes, very many axes, values that are
//! returned as they came. They compile in every way and compute what the interpreter does.

mod programs;

use igneous_compiler::{Options, Precision};
use igneous_ir::array::Array;
use igneous_ir::dim::Symbol;
use igneous_ir::error::{Error, Result};
use igneous_ir::graph::Graph;
use igneous_ir::interp::interpret_f64;
use igneous_ir::op::Fill;
use igneous_ir::sample;
use igneous_ir::types::TensorType;
use igneous_ir::verify::verify;
use programs::rounding::compare;
use programs::stepwise::stepwise;
use programs::{compiled, guarded, run, without_egraph};

fn parse(text: &str) -> Graph {
    let graph = Graph::parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    verify(&graph).unwrap_or_else(|e| panic!("{e}\n{text}"));
    graph
}

/// Inputs of the graph, whose symbols all have this value. Integers are 0, 1 or 2.
fn inputs(graph: &Graph, symbols: i64) -> Vec<Array> {
    let array = |(position, (v, _)): (usize, &(igneous_ir::Value, String))| {
        let ty = graph.ty(*v);
        let value = |_: Symbol| Some(symbols);
        let shape: Vec<usize> = ty.shape.iter().map(|d| d.eval(&value).expect("symbols have values") as usize).collect();
        let fill = if ty.dtype.is_float() { Fill::Normal } else { Fill::Range(0, 3) };
        sample::array(&TensorType::new(ty.dtype, shape), fill, 5, position).unwrap()
    };
    graph.inputs().iter().enumerate().map(array).collect()
}

fn check_with(graph: &Graph, inputs: &[Array]) -> Result<()> {
    let expected = interpret_f64(graph, inputs);
    for options in [Options::default(), without_egraph(), Options { precision: Precision::Strict, ..Options::default() }] {
        let compiled = compiled(graph, &options)?;
        let texts = |e: Error| e.note("kernels", format_args!("\n{}\n{}", compiled.kernels_text(), compiled.memory()));
        let found = run(&compiled.program, inputs);
        let steps = guarded(|| stepwise(compiled.graph(), inputs));
        let (Ok(expected), Ok(found)) = (&expected, &found) else {
            // A check fails in all of them.
            let all = expected.is_err() && found.is_err() && steps.is_err();
            return if all {
                Ok(())
            } else {
                Err(found.err().or(steps.err()).unwrap_or(Error::new("only the interpreter fails")))
            };
        };
        compare(graph, compiled.graph(), inputs, expected, found).map_err(texts)?;
        compare(graph, compiled.graph(), inputs, expected, &steps?.outputs).map_err(texts)?;
    }
    Ok(())
}

/// Checks the graph of this text; its symbols, if it has any, with each of these values.
fn check(text: &str, symbols: &[i64]) {
    let graph = parse(text);
    let values = if symbols.is_empty() { &[1] } else { symbols };
    for &value in values {
        check_with(&graph, &inputs(&graph, value)).unwrap_or_else(|e| panic!("{e}\nsymbols are {value} in\n{graph}"));
    }
}

/// Checks the graph of one operator: results, operands and the operator.
fn check_each(graphs: &[(&str, &str)], symbols: &[i64]) {
    for (header, body) in graphs {
        check(&format!("graph f({header}) where N in 0..=100 {{ {body} }}"), symbols);
    }
}

#[test]
fn graphs_without_nodes() {
    check("graph f() -> () { return }", &[]);
    check("graph f(%x: f32[3]) -> () { return }", &[]);
    check("graph f(%x: f32[]) -> (f32[]) { return %x }", &[]);
    check("graph f(%x: f32[0, 3], %y: i64[2]) -> (i64[2], f32[0, 3], i64[2]) { return %y, %x, %y }", &[]);
}

#[test]
fn constants_are_returned() {
    check("graph f() -> (f32[]) { %c = constant {value=f32[] [2.5]}() return %c }", &[]);
    check("graph f() -> (i64[3], i64[3]) { %c = constant {value=i64[3] [1, -2, 3]}() return %c, %c }", &[]);
    check("graph f() -> (f32[0]) { %c = constant {value=f32[0] []}() return %c }", &[]);
    check(
        "graph f() -> (f32[2, 2], f32[4], f32[2, 3]) {
           %c = constant {value=f32[4] [1.0, 2.0, 3.0, 4.0]}()
           %r = reshape {shape=[2, 2]}(%c)
           %d = constant {value=f32[] [7.0]}()
           %b = broadcast {axes=[], shape=[2, 3]}(%d)
           return %r, %c, %b
         }",
        &[],
    );
}

#[test]
fn values_are_returned_twice_and_in_other_shapes() {
    check(
        "graph f(%x: f32[2, 3], %unused: f64[7]) -> (f32[6], f32[2, 3], f32[6], f32[2, 3], f32[3, 2], f32[2, 3]) {
           %r = reshape {shape=[6]}(%x)
           %y = neg(%x)
           %s = reshape {shape=[6]}(%y)
           %t = reshape {shape=[3, 2]}(%y)
           return %r, %x, %s, %y, %t, %y
         }",
        &[],
    );
    check(
        "graph f(%x: f32[N, 3]) -> (f32[3*N], f32[N, 3], f32[N, 3], f32[N, 1, 3]) where N in 0..=9 {
           %r = reshape {shape=[3*N]}(%x)
           %y = neg(%x)
           %s = reshape {shape=[N, 1, 3]}(%y)
           return %r, %x, %y, %s
         }",
        &[0, 1, 4],
    );
}

#[test]
fn nodes_that_no_output_needs() {
    check(
        "graph f(%x: f32[4], %y: f32[4]) -> (f32[4]) {
           %a = exp(%y)
           %b = dot_general {lhs_batch=[], lhs_contract=[0], rhs_batch=[], rhs_contract=[0]}(%a, %x)
           %m, %s = online_softmax {axes=[0]}(%x)
           %z = neg(%x)
           return %z
         }",
        &[],
    );
}

#[test]
fn pointwise_operators_without_axes() {
    check(
        "graph f(%x: f32[], %y: f32[], %i: i64[], %b: bool[]) -> (f32[], f32[], bool[], f32[], i64[], f64[], f32[]) {
           %s = add(%x, %y)
           %e = exp(%s)
           %c = lt(%x, %y)
           %d = select(%b, %x, %e)
           %j = mul(%i, %i)
           %w = cast {dtype=f64}(%d)
           %t = dot_general {lhs_batch=[], lhs_contract=[], rhs_batch=[], rhs_contract=[]}(%x, %y)
           return %s, %e, %c, %d, %j, %w, %t
         }",
        &[],
    );
}

#[test]
fn reductions_and_views_without_axes() {
    check(
        "graph f(%x: f32[], %one: f32[1, 1]) -> (f32[], f32[], f32[1], f32[1, 1, 1], f32[], f32[]) {
           %m = reduce {axes=[0, 1], kind=max}(%one)
           %r = reshape {shape=[]}(%one)
           %b = broadcast {axes=[], shape=[1]}(%r)
           %c = broadcast {axes=[0, 2], shape=[1, 1, 1]}(%one)
           %t = transpose {permutation=[]}(%x)
           %l = slice {limit=[], start=[], stride=[]}(%x)
           return %m, %r, %b, %c, %t, %l
         }",
        &[],
    );
    check(
        "graph f(%x: f32[1, 1], %w: f32[1], %b: f32[1]) -> (f32[1, 1], f32[1, 1], f32[1], f32[1]) {
           %s = softmax {axis=1}(%x)
           %n, %m, %r = layer_norm {axes=1, eps=0.001}(%x, %w, %b)
           return %s, %n, %m, %r
         }",
        &[],
    );
}

#[test]
fn empty_axes_of_pointwise_operators_and_views() {
    check_each(
        &[
            ("%x: f32[N, 3]) -> (f32[N, 3]", "%y = exp(%x) return %y"),
            ("%x: f32[3, N]) -> (f32[N, 3]", "%y = transpose {permutation=[1, 0]}(%x) return %y"),
            ("%x: f32[N], %y: f32[4]) -> (f32[N + 4]", "%z = concat {axis=0}(%x, %y) return %z"),
            ("%x: f32[N], %y: f32[N]) -> (f32[2*N]", "%z = concat {axis=0}(%x, %y) return %z"),
            ("%x: f32[3], %n: f32[N]) -> (f32[N, 3]", "%z = broadcast {axes=[1], shape=[N, 3]}(%x) return %z"),
            ("%x: f32[N]) -> (f32[N, 0]", "%z = broadcast {axes=[0], shape=[N, 0]}(%x) return %z"),
            (
                "%x: f32[N, 2], %v: f32[]) -> (f32[N + 3, 2]",
                "%z = pad {high=[1, 0], interior=[0, 0], low=[2, 0]}(%x, %v) return %z",
            ),
            ("%x: f32[N, 2]) -> (f32[N, 0]", "%z = slice {limit=[N, 1], start=[0, 1], stride=[1, 1]}(%x) return %z"),
            ("%x: f32[N, 2]) -> (f32[N, 2]", "%z = flip {axes=[0]}(%x) return %z"),
            ("%x: f32[N, 2]) -> (f32[2*N]", "%z = reshape {shape=[2*N]}(%x) return %z"),
            ("%x: f32[N]) -> (i64[N], i64[]", "%z = iota {axis=0, dtype=i64, shape=[N]}() %n = extent {dim=N}() return %z, %n"),
            ("%x: f32[N], %s: i64[2]) -> (u32[N]", "%z = random_bits {shape=[N]}(%s) return %z"),
        ],
        &[0, 1, 5],
    );
}

#[test]
fn empty_axes_of_reductions() {
    let mut graphs = Vec::new();
    for kind in ["sum", "prod", "max", "min"] {
        for axes in ["0", "1", "0, 1"] {
            let shape = if axes == "0" {
                "3"
            } else if axes == "1" {
                "N"
            } else {
                ""
            };
            graphs.push((
                format!("%x: f32[N, 3]) -> (f32[{shape}]"),
                format!("%y = reduce {{axes=[{axes}], kind={kind}}}(%x) return %y"),
            ));
        }
    }
    for (kind, dtype) in [("sum", "i64"), ("max", "i32"), ("min", "u8"), ("and", "bool"), ("or", "bool")] {
        graphs
            .push((format!("%x: {dtype}[2, N]) -> ({dtype}[2]"), format!("%y = reduce {{axes=[1], kind={kind}}}(%x) return %y")));
    }
    let graphs: Vec<(&str, &str)> = graphs.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    check_each(&graphs, &[0, 1, 5]);
    check_each(
        &[
            ("%x: f32[N, 3]) -> (f32[N], f32[N]", "%y, %z = online_softmax {axes=[1]}(%x) return %y, %z"),
            ("%x: f32[N, 3]) -> (f32[3], f32[3]", "%y, %z = welford {axes=[0]}(%x) return %y, %z"),
            ("%x: f32[N, 3]) -> (i64[N]", "%y = arg_reduce {axes=[1], kind=argmax}(%x) return %y"),
            ("%x: f32[N, 3]) -> (f32[N, 3]", "%y = softmax {axis=1}(%x) return %y"),
            ("%x: f32[N, 3]) -> (f32[N, 3]", "%y = softmax {axis=0}(%x) return %y"),
            ("%x: f32[N, 3]) -> (f32[N, 3]", "%y = log_softmax {axis=0}(%x) return %y"),
        ],
        &[0, 1, 5],
    );
}

#[test]
fn empty_axes_of_dots() {
    let dot = "dot_general {lhs_batch=[], lhs_contract=[1], rhs_batch=[], rhs_contract=[0]}";
    let batched = "dot_general {lhs_batch=[0], lhs_contract=[2], rhs_batch=[0], rhs_contract=[1]}";
    let graphs = [
        ("%a: f32[N, 4], %b: f32[4, 3]) -> (f32[N, 3]", format!("%y = {dot}(%a, %b) return %y")),
        ("%a: f32[2, 4], %b: f32[4, N]) -> (f32[2, N]", format!("%y = {dot}(%a, %b) return %y")),
        ("%a: f32[2, N], %b: f32[N, 3]) -> (f32[2, 3]", format!("%y = {dot}(%a, %b) return %y")),
        ("%a: i64[2, N], %b: i64[N, 3]) -> (i64[2, 3]", format!("%y = {dot}(%a, %b) return %y")),
        ("%a: f32[N, N], %b: f32[N, N]) -> (f32[N, N]", format!("%y = {dot}(%a, %b) return %y")),
        ("%a: f32[N, 2, 4], %b: f32[N, 4, 3]) -> (f32[N, 2, 3]", format!("%y = {batched}(%a, %b) return %y")),
        ("%a: f32[3, 2, N], %b: f32[3, N, 3]) -> (f32[3, 2, 3]", format!("%y = {batched}(%a, %b) return %y")),
        (
            "%a: f32[2, N], %b: f32[N, 3], %c: f32[3]) -> (f32[2, 3]",
            format!("%y = {dot}(%a, %b) %d = broadcast {{axes=[1], shape=[2, 3]}}(%c) %z = add(%y, %d) %r = exp(%z) return %r"),
        ),
        (
            "%a: f32[2, N], %b: f32[N, 3]) -> (f32[2, 3]",
            format!("%e = exp(%a) %t = neg(%b) %y = {dot}(%e, %t) %r = exp(%y) return %r"),
        ),
    ];
    let graphs: Vec<(&str, &str)> = graphs.iter().map(|(a, b)| (*a, b.as_str())).collect();
    check_each(&graphs, &[0, 1, 5, 40]);
}

#[test]
fn empty_axes_of_gathers_and_scatters() {
    check_each(
        &[
            ("%x: f32[4, 3], %i: i64[N]) -> (f32[N, 3]", "%y = gather {axes=[0]}(%x, %i) return %y"),
            ("%x: f32[4, N], %i: i64[2]) -> (f32[2, N]", "%y = gather {axes=[0]}(%x, %i) return %y"),
            (
                "%x: f32[4, 3], %i: i64[N], %u: f32[N, 3]) -> (f32[4, 3]",
                "%y = scatter {axes=[0], combine=sum}(%x, %i, %u) return %y",
            ),
            (
                "%x: f32[4, N], %i: i64[2], %u: f32[2, N]) -> (f32[4, N]",
                "%y = scatter {axes=[0], combine=none}(%x, %i, %u) return %y",
            ),
        ],
        &[0, 1, 5],
    );
}

#[test]
fn empty_axes_of_windows_and_convolutions() {
    check_each(
        &[
            (
                "%x: f32[N, 8]) -> (f32[N, 4]",
                "%y = reduce_window {dilation=[1], high=[0], kind=max, low=[0], stride=[2], window=[2]}(%x) return %y",
            ),
            (
                "%x: f32[N, 2, 5, 5], %w: f32[3, 2, 3, 3]) -> (f32[N, 3, 5, 5]",
                "%y = convolution {groups=1, high=[1, 1], lhs_dilation=[1, 1], low=[1, 1], rhs_dilation=[1, 1], stride=[1, 1]}(%x, %w) return %y",
            ),
        ],
        &[0, 1, 3],
    );
}

#[test]
fn gradients_with_empty_axes() {
    check_each(
        &[
            (
                "%x: f32[N, 3], %w: f32[3, 2]) -> (f32[N, 3], f32[3, 2]",
                "%h = dot_general {lhs_batch=[], lhs_contract=[1], rhs_batch=[], rhs_contract=[0]}(%x, %w)
                 %t = tanh(%h) %l = reduce {axes=[0, 1], kind=sum}(%t)
                 %dx, %dw = grad {seeded=false}(%l, %x, %w) return %dx, %dw",
            ),
            (
                "%x: f32[N, 3]) -> (f32[N, 3]",
                "%s = softmax {axis=1}(%x) %t = mul(%s, %s) %l = reduce {axes=[0, 1], kind=sum}(%t)
                 %dx = grad {seeded=false}(%l, %x) return %dx",
            ),
        ],
        &[0, 1, 5],
    );
}

#[test]
fn very_many_axes() {
    for rank in [9, 24, 300] {
        let shape = |n: usize| vec![if n == 0 { "2" } else { "1" }; 1].into_iter().chain(vec!["1"; rank - 2]).chain(["3"]);
        let list = |items: &mut dyn Iterator<Item = String>| items.collect::<Vec<_>>().join(", ");
        let own = list(&mut shape(0).map(String::from));
        let turned = list(&mut shape(0).map(String::from).collect::<Vec<_>>().into_iter().rev());
        let permutation = list(&mut (0..rank).rev().map(|a| a.to_string()));
        let axes = list(&mut (0..rank - 1).map(|a| a.to_string()));
        check(
            &format!(
                "graph f(%x: f32[{own}], %y: f32[{own}]) -> (f32[{own}], f32[{turned}], f32[3], f32[{own}]) {{
                   %s = add(%x, %y)
                   %t = transpose {{permutation=[{permutation}]}}(%s)
                   %r = reduce {{axes=[{axes}], kind=sum}}(%x)
                   %m = softmax {{axis={last}}}(%y)
                   return %s, %t, %r, %m
                 }}",
                last = rank - 1
            ),
            &[],
        );
    }
    let (many, axes) = (vec!["N"; 40].join(", "), (0..40).rev().map(|a| a.to_string()).collect::<Vec<_>>().join(", "));
    check(
        &format!(
            "graph f(%x: f32[{many}]) -> (f32[{many}]) where N in 0..=2 {{
               %t = transpose {{permutation=[{axes}]}}(%x) return %t }}"
        ),
        &[0, 1],
    );
    // Twelve axes of two.
    check(
        "graph f(%x: f32[2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]) -> (f32[2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2], f32[2, 2, 2, 2, 2, 2]) {
           %t = transpose {permutation=[11, 3, 7, 1, 0, 2, 10, 4, 9, 5, 8, 6]}(%x)
           %e = mul(%t, %x)
           %s = reduce {axes=[1, 3, 5, 7, 9, 11], kind=sum}(%e)
           return %t, %s
         }",
        &[],
    );
}

#[test]
fn regions_that_do_nothing() {
    let body = "graph same(%a: f32[3], %b: f32[3]) -> (f32[3], f32[3], f32[3]) { return %b, %a, %b }";
    check(
        &format!(
            "{body} graph f(%x: f32[3], %y: f32[3]) -> (f32[3], f32[3], f32[3]) {{ %p, %q, %r = call {{body=@same}}(%x, %y) return %p, %q, %r }}"
        ),
        &[],
    );
    check(
        &format!(
            "{body} graph f(%x: f32[3]) -> (f32[3], f32[3]) {{ %p, %q, %r = call {{body=@same}}(%x, %x) %z = add(%p, %q) return %r, %z }}"
        ),
        &[],
    );
    let body =
        "graph number(%a: f32[3]) -> (f32[2], f32[3]) { %c = constant {value=f32[2] [1.0, 2.0]}() %d = neg(%a) return %c, %d }";
    check(
        &format!(
            "{body} graph f(%x: f32[3]) -> (f32[2], f32[3], f32[2]) {{ %p, %q = call {{body=@number}}(%x) %r, %s = call {{body=@number}}(%q) return %p, %s, %r }}"
        ),
        &[],
    );
    let body = "graph none(%a: f32[3]) -> () { return }";
    check(&format!("{body} graph f(%x: f32[3]) -> (f32[3]) {{ call {{body=@none}}(%x) return %x }}"), &[]);
}

#[test]
fn scans_that_do_little() {
    let scan = |body: &str, header: &str, call: &str| {
        for (reverse, symbols) in [("false", &[0, 1, 4]), ("true", &[0, 1, 4])] {
            let call = call.replace("REVERSE", reverse);
            check(&format!("graph step({body} graph f({header}) where N in 0..=100 {{ {call} }}"), symbols);
        }
    };
    scan(
        "%c: f32[2], %x: f32[2]) -> (f32[2]) { return %c }",
        "%c: f32[2], %x: f32[N, 2]) -> (f32[2]",
        "%y = scan {body=@step, constants=0, carries=1, reverse=REVERSE, length=N}(%c, %x) return %y",
    );
    scan(
        "%c: f32[2], %x: f32[2]) -> (f32[2], f32[2], f32[2]) { return %x, %c, %x }",
        "%c: f32[2], %x: f32[N, 2]) -> (f32[2], f32[N, 2], f32[N, 2]",
        "%y, %z, %w = scan {body=@step, constants=0, carries=1, reverse=REVERSE, length=N}(%c, %x) return %y, %z, %w",
    );
    scan(
        "%k: f32[2], %a: f32[2], %b: f32[2], %x: f32[2]) -> (f32[2], f32[2], f32[2]) { %s = add(%a, %x) return %b, %s, %k }",
        "%k: f32[2], %a: f32[2], %x: f32[N, 2]) -> (f32[2], f32[2], f32[N, 2]",
        "%y, %z, %w = scan {body=@step, constants=1, carries=2, reverse=REVERSE, length=N}(%k, %a, %a, %x) return %y, %z, %w",
    );
    scan(
        "%x: f32[2]) -> (f32[2], f32[]) { %c = constant {value=f32[] [1.0]}() %e = exp(%x) return %e, %c }",
        "%x: f32[N, 2]) -> (f32[N, 2], f32[N]",
        "%y, %z = scan {body=@step, constants=0, carries=0, reverse=REVERSE, length=N}(%x) return %y, %z",
    );
    scan(
        "%c: f32[]) -> (f32[]) { %d = add(%c, %c) return %d }",
        "%c: f32[], %x: f32[N]) -> (f32[]",
        "%y = scan {body=@step, constants=0, carries=1, reverse=REVERSE, length=N}(%c) return %y",
    );
    scan(
        "%c: f32[0], %x: f32[0]) -> (f32[0], f32[0]) { %d = add(%c, %x) return %d, %c }",
        "%c: f32[0], %x: f32[N, 0]) -> (f32[0], f32[N, 0]",
        "%y, %z = scan {body=@step, constants=0, carries=1, reverse=REVERSE, length=N}(%c, %x) return %y, %z",
    );
}

#[test]
fn checks_anywhere() {
    for value in [0, 5] {
        let number = format!("%n = constant {{value=i64[] [{value}]}}() %m = constant {{value=i64[] [3]}}() %ok = lt(%n, %m)");
        check(&format!("graph f() -> () {{ {number} check {{message=\"too large\"}}(%ok, %n) return }}"), &[]);
        let body =
            format!("graph block(%x: f32[2]) -> (f32[2]) {{ {number} check {{message=\"too large\"}}(%ok, %n) return %x }}");
        check(&format!("{body} graph f(%x: f32[2]) -> (f32[2]) {{ %y = call {{body=@block}}(%x) return %y }}"), &[]);
        check(
            &format!(
                "{body} graph f(%x: f32[N, 2]) -> (f32[N, 2]) where N in 1..=9 {{
                   %y = scan {{body=@block, constants=0, carries=0, reverse=false, length=N}}(%x) return %y }}"
            ),
            &[1, 3],
        );
    }
    check(
        "graph f(%i: i64[N]) -> () where N in 0..=9 {
           %c = constant {value=i64[] [-1]}() %b = broadcast {axes=[], shape=[N]}(%c)
           %ok = lt(%i, %b) check {message=\"not negative\"}(%ok, %i) return }",
        &[0, 3],
    );
}

#[test]
fn symbols_that_only_parts_of_extents_show() {
    check(
        "graph f(%x: f32[2*N + 1], %y: f32[3*M]) -> (f32[2*N + 1], f32[2*N + 3*M + 1], i64[N]) where N in 0..=9, M in 0..=9 {
           %e = exp(%x) %c = concat {axis=0}(%y, %x) %i = iota {axis=0, dtype=i64, shape=[N]}() return %e, %c, %i }",
        &[0, 1, 4],
    );
}

#[test]
fn symbols_that_no_operand_of_a_loop_shows() {
    let body = "graph step(%c: f32[], %x: f32[2]) -> (f32[], f32[N]) where N in 0..=9 {
                  %t = reduce {axes=[0], kind=sum}(%x) %b = broadcast {axes=[], shape=[N]}(%t)
                  %s = reduce {axes=[0], kind=sum}(%b) %d = add(%c, %s) return %d, %b }";
    let scan = "scan {body=@step, constants=0, carries=1, reverse=false, length=3}";
    let text = format!(
        "{body} graph f(%c: f32[], %x: f32[3, 2], %n: f32[N]) -> (f32[], f32[3, N], f32[N]) where N in 0..=9 {{
                          %y, %z = {scan}(%c, %x) return %y, %z, %n }}"
    );
    check(&text, &[0, 1, 4]);
    // In a block, and in a loop in a loop.
    let block = format!(
        "{body} graph block(%c: f32[], %x: f32[3, 2]) -> (f32[], f32[3, N]) where N in 0..=9 {{
                           %y, %z = {scan}(%c, %x) return %y, %z }}"
    );
    let head = "graph f(%c: f32[], %x: f32[3, 2], %n: f32[4, N]) -> (f32[], f32[3, N], f32[4, N]) where N in 0..=9";
    check(
        &format!(
            "{block} {head} {{ %y, %z = call {{body=@block}}(%c, %x) %w, %v = call {{body=@block}}(%y, %x) return %w, %v, %n }}"
        ),
        &[0, 1, 4],
    );
    let head = "graph f(%c: f32[], %x: f32[5, 3, 2], %n: f32[4, N]) -> (f32[], f32[5, 3, N], f32[4, N]) where N in 0..=9";
    let outer = "scan {body=@block, constants=0, carries=1, reverse=true, length=5}";
    check(&format!("{block} {head} {{ %y, %z = {outer}(%c, %x) return %y, %z, %n }}"), &[0, 1, 4]);
}

/// A graph of `count` nodes, each of the last one, written by `node` from the numbers of operand and result.
fn chain(count: usize, header: &str, node: impl Fn(usize, usize) -> String) -> String {
    let nodes: String = (0..count).map(|i| format!("{}\n", node(i, i + 1))).collect();
    format!("graph f({header} {{ {nodes} return %v{count} }}")
}

#[test]
fn very_long_chains() {
    check(&chain(5000, "%v0: f32[3]) -> (f32[3])", |x, y| format!("%v{y} = neg(%v{x})")), &[]);
    check(&chain(5000, "%v0: f32[4]) -> (f32[4])", |x, y| format!("%v{y} = flip {{axes=[0]}}(%v{x})")), &[]);
    let transposed = |x, y| format!("%v{y} = transpose {{permutation=[1, 0]}}(%v{x})");
    check(&chain(1000, "%v0: f32[2, 2]) -> (f32[2, 2])", transposed), &[]);
    let reshaped = |x, y| format!("%v{y} = reshape {{shape=[{}]}}(%v{x})", if y % 2 == 0 { "2, 2" } else { "4" });
    check(&chain(1000, "%v0: f32[2, 2]) -> (f32[2, 2])", reshaped), &[]);
    check(&chain(1000, "%v0: f32[3]) -> (f32[3])", |x, y| format!("%v{y} = tanh(%v{x})")), &[]);
    let alternating = |x, y| format!("%v{y} = {}(%v{x}, %w)", if y % 2 == 0 { "add" } else { "sub" });
    check(&chain(1000, "%v0: f32[3], %w: f32[3]) -> (f32[3])", alternating), &[]);
    let padded = chain(300, "%v0: f32[3]) -> (f32[303])", |x, y| {
        format!("%c{y} = constant {{value=f32[] [0.5]}}() %v{y} = pad {{high=[1], interior=[0], low=[0]}}(%v{x}, %c{y})")
    });
    check(&padded, &[]);
    let nodes: String = (0..1000).map(|x| format!("%v{} = sin(%v{x})\n", x + 1)).collect();
    check(&format!("graph f(%v0: f32[]) -> (f32[]) {{ {nodes} %d = grad {{seeded=false}}(%v1000, %v0) return %d }}"), &[]);
}

/// The derivative of attention by each operand alone, where the cotangent is the same number everywhere.
#[test]
fn attention_by_one_operand() {
    for wanted in 0..3 {
        let shape = ["17, 9", "40, 9", "40, 10"][wanted];
        check(
            &format!(
                "graph g(%0: f32[17, 9] \"q\", %1: f32[40, 9] \"k\", %2: f32[40, 10] \"v\") -> (f32[{shape}]) {{
                   %3, %4 = attention {{causal=true, hidden=-inf, scale=0.3}}(%0, %1, %2) : f32[17, 10], f32[17]
                   %5 = reduce {{axes=[0, 1], kind=sum}}(%3) : f32[]
                   %6 = grad {{seeded=false}}(%5, %{wanted}) : f32[{shape}]
                   return %6
                 }}"
            ),
            &[],
        );
    }
}
