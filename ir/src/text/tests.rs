use crate::array::Array;
use crate::dim::Dim;
use crate::emit::Emit;
use crate::error::Loc;
use crate::graph::{Graph, Region};
use crate::ops;
use crate::types::{DType, TensorType};
use crate::verify::verify;

/// The text parses, verifies, and prints as itself.
fn round_trip(text: &str) -> Graph {
    let graph = Graph::parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    verify(&graph).unwrap();
    assert_eq!(graph.to_string(), text);
    graph
}

fn error(text: &str) -> String {
    Graph::parse(text).expect_err("this text has an error").to_string()
}

#[test]
fn a_graph_with_symbols_lines_and_scopes() {
    let g = round_trip(
        r#"graph step(%0: f32[B, 3] "x", %1: f32[B, 3] "fc1.weight") -> (f32[B, 3] "y", i64[]) where B in 1..=64 {
  %2 = mul(%0, %1) : f32[B, 3]  // examples/mnist.rs:31 layers.3/fc1
  %3 = tanh(%2) : f32[B, 3]  // examples/mnist.rs:31 layers.3/fc1#2
  %4 = add(%3, %0) : f32[B, 3]  // layers.3
  %5 = extent {dim=3*B*B - div(B + 1, 2)}() : i64[]  // "my file.rs":7 layers.3/fc1
  return %4, %5
}"#,
    );
    assert_eq!(g.scopes().len(), 4);
    assert_eq!(g.node(2).loc, Some(Loc { file: "examples/mnist.rs", line: 31 }));
    assert_eq!(g.scope_path(g.node(2).scope), "layers.3.fc1");
    assert_ne!(g.node(2).scope, g.node(3).scope, "two calls of a layer are two scopes");
    assert_eq!(g.node(2).scope, g.node(5).scope);
    assert_eq!(g.inputs()[1].1, "fc1.weight");
}

#[test]
fn constants_keep_their_bits() {
    let values = [0.1, -0.0, f64::INFINITY, -f64::INFINITY, f64::NAN, f64::from_bits(0xfff8_0000_0000_0001), 5e-324, 1e300];
    let mut g = Graph::new("constants");
    for dtype in [DType::F64, DType::F32, DType::F16, DType::BF16] {
        let v = g.emit(ops::constant(Array::floats(dtype, [8], values.to_vec()).rounded()), &[]).unwrap()[0];
        g.output("", v);
    }
    let ints = Array::ints(DType::I64, [3], vec![i64::MAX, i64::MIN, 0]);
    let bools = Array::ints(DType::Bool, [2, 1], vec![0, 1]);
    let empty = Array::floats(DType::F32, [0, 3], vec![]);
    for array in [ints, bools, empty] {
        let v = g.emit(ops::constant(array), &[]).unwrap()[0];
        g.output("", v);
    }
    let parsed = round_trip(&g.to_string());
    for (a, b) in g.nodes().zip(parsed.nodes()) {
        assert_eq!(a.1.op.array("value"), b.1.op.array("value"));
    }
    assert!(g.to_string().contains("f64[8] [0.1, -0.0, inf, -inf, NaN, NaN(0xfff8000000000001), 5e-324, 1e300]"));
}

fn square(name: &str, n: usize) -> Region {
    let mut g = Graph::new(name);
    let x = g.input("x", TensorType::new(DType::F32, [n]));
    let y = g.emit(ops::pointwise("mul"), &[x, x]).unwrap()[0];
    g.output("y", y);
    Region::new(g)
}

#[test]
fn shared_regions_are_printed_once_and_names_do_not_clash() {
    let mut g = Graph::new("square");
    let (a, b) = (g.input("a", TensorType::new(DType::F32, [2])), g.input("b", TensorType::new(DType::F32, [3])));
    let a = g.emit(ops::call(square("square", 2)), &[a]).unwrap()[0];
    let a = g.emit(ops::call(square("other name", 2)), &[a]).unwrap()[0];
    let b = g.emit(ops::call(square("square", 3)), &[b]).unwrap()[0];
    g.output("a", a);
    g.output("b", b);
    let expected = r#"graph square_1(%0: f32[2] "x") -> (f32[2] "y") {
  %1 = mul(%0, %0) : f32[2]
  return %1
}

graph square_2(%0: f32[3] "x") -> (f32[3] "y") {
  %1 = mul(%0, %0) : f32[3]
  return %1
}

graph square(%0: f32[2] "a", %1: f32[3] "b") -> (f32[2] "a", f32[3] "b") {
  %2 = call {body=@square_1}(%0) : f32[2]
  %3 = call {body=@square_1}(%2) : f32[2]
  %4 = call {body=@square_2}(%1) : f32[3]
  return %3, %4
}"#;
    assert_eq!(g.to_string(), expected);
    round_trip(expected);
}

#[test]
fn wide_headers_have_one_line_for_each_input() {
    let mut g = Graph::new("model with spaces");
    for i in 0..8 {
        g.input(format!("layers.{i}.weight"), TensorType::new(DType::F32, [64, 64]));
    }
    let text = g.to_string();
    assert!(text.starts_with("graph \"model with spaces\"(\n  %0: f32[64, 64] \"layers.0.weight\",\n"));
    assert!(text.ends_with("\"layers.7.weight\"\n) -> () {\n  return\n}"));
    round_trip(&text);
}

#[test]
fn inputs_are_numbered_first() {
    let mut g = Graph::new("g");
    let a = g.input("a", TensorType::new(DType::F32, [2]));
    let y = g.emit(ops::pointwise("neg"), &[a]).unwrap()[0];
    let b = g.input("b", TensorType::new(DType::F32, [2]));
    let y = g.emit(ops::pointwise("add"), &[y, b]).unwrap()[0];
    g.output("y", y);
    let text = g.to_string();
    assert!(text.contains("%2 = neg(%0)") && text.contains("%3 = add(%2, %1)"), "{text}");
    round_trip(&text);
}

#[test]
fn hand_written_text_may_leave_things_out() {
    let g = Graph::parse(
        "// a remark\ngraph f(%x: f32[8, T], %w: f32[8, T]) -> (f32[8, T]) where T in 1..=9 {
           %h = mul(%x, %w) // a remark of several words
           %y = exp(%h)   // softmax
           return %y }",
    )
    .unwrap();
    assert_eq!(g.inputs()[0].1, "x");
    assert_eq!(*g.ty(g.outputs()[0].0), TensorType::new(DType::F32, [Dim::from(8usize), Dim::symbol("T", 1, 9)]));
    assert_eq!((g.node(2).scope, g.scope_path(g.node(3).scope).as_str()), (0, "softmax"));
    round_trip(&g.to_string());
}

#[test]
fn checks_have_no_results() {
    round_trip(
        "graph g(%0: bool[2] \"ok\", %1: i64[2] \"value\") -> () {
  check {message=\"\\\"quoted\\\" \\\\ \\u{1}\\n∅\"}(%0, %1)
  return
}",
    );
}

#[test]
fn errors_name_line_column_and_what_was_expected() {
    let g = |body: &str| error(&format!("graph g(%x: f32[2], %n: i64[2]) -> (f32[2]) {{\n  {body}\n}}"));
    assert_eq!(g("%y = neg %x"), "line 2, column 12: expected `(`, found `%`");
    assert_eq!(g("%y = frob(%x)"), "line 2, column 8: expected an operator, found `frob`");
    assert_eq!(g("%y = neg(%z)"), "line 2, column 12: no value before this is called %z");
    assert_eq!(g("%x = neg(%x)"), "line 2, column 4: a second value is called %x");
    assert_eq!(g("%y = cast(%x)"), "line 2, column 8: cast needs the attribute dtype");
    assert_eq!(g("%y = cast {kind=f32}(%x)"), "line 2, column 14: expected an attribute of cast (dtype), found `kind`");
    assert_eq!(g("%y = cast {dtype=f33}(%x)"), "line 2, column 20: expected an element type, found `f33`");
    assert_eq!(g("%y, %z = neg(%x)"), "line 2, column 12: neg has 1 results, and 2 are named");
    assert_eq!(g("%y = neg(%x) : f32[3]"), "line 2, column 23: expected the type f32[2] of neg, found f32[3]");
    assert_eq!(
        g("%y = neg(%x) : f32[T]"),
        "line 2, column 22: symbol `T` has no range: expected `where T in lo..=hi` in the header"
    );
    assert_eq!(g("return"), "line 2, column 3: the header declares 1 outputs, and 0 are returned");
    assert_eq!(g("return %n"), "line 2, column 11: expected f32[2] as the header declares, found i64[2]");
    assert_eq!(g("%y = call {body=@h}(%x)"), "line 2, column 20: no graph before this one is called \"h\"");
    assert_eq!(g("%y = constant {value=f32[2] [1.0]}()"), "line 2, column 24: f32[2] is given with 1 elements");
    assert_eq!(g("%y = neg(%x) ; 1"), "line 2, column 16: a graph has no ';'");
    assert_eq!(error("graph g(%x: f32[2]"), "line 1, column 19: expected `,` or `)`, found the end of the text");
    assert_eq!(error(""), "line 1, column 1: expected `graph`, found the end of the text");
    let mismatch = g("%y = add(%x, %n)");
    assert!(mismatch.starts_with("line 2, column 8: add "), "{mismatch}");
}

/// Texts with a piece removed, doubled or replaced give a graph or an error, never a panic.
#[test]
fn damaged_texts_never_panic() {
    let mut samples = crate::op::Samples::default();
    for record in ops::records() {
        (record.samples)(&mut samples);
    }
    let mut texts: std::collections::BTreeMap<&str, String> = Default::default();
    for sample in samples.0 {
        let mut g = Graph::new("g");
        let inputs: Vec<_> = sample.inputs.iter().map(|(ty, _)| g.input("x", ty.clone())).collect();
        g.add(sample.op.clone(), &inputs).unwrap();
        texts.entry(sample.op.name()).or_insert_with(|| g.to_string());
    }
    assert!(texts.len() > 40, "every operator has samples");
    let replacements = ["-1", "0", "9223372036854775807", "f16[]", "[7]", "", "%0", "%0, %0", "true", "{", "\"", "(", "T"];
    for text in texts.values() {
        let pieces: Vec<(usize, &str)> = text.match_indices(|c: char| !c.is_alphanumeric()).collect();
        for (k, window) in pieces.windows(2).enumerate() {
            let (from, to) = (window[0].0 + window[0].1.len(), window[1].0);
            let replacement = replacements[k % replacements.len()];
            for replacement in [replacement, replacements[(k / 3) % replacements.len()]] {
                let damaged = format!("{}{replacement}{}", &text[..from], &text[to..]);
                if let Ok(g) = Graph::parse(&damaged) {
                    let printed = g.to_string();
                    assert_eq!(Graph::parse(&printed).unwrap().to_string(), printed);
                }
            }
        }
    }
}
