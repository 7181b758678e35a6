//! Reductions of every kind in both forms.

use super::*;

const KINDS: [&str; 6] = ["sum", "prod", "max", "min", "argmax", "argmin"];

/// Reduces `x[i, j]` over `j`: rows if `j` is the last axis of `x`, columns if the first.
fn reduction(dtype: &str, kind: &str, rows: &str, n: &str, transposed: bool, schedule: &str) -> String {
    let (shape, element) = if transposed { (format!("{n}, {rows}"), "x[j, i]") } else { (format!("{rows}, {n}"), "x[i, j]") };
    let result = if kind.starts_with("arg") { "i64" } else { dtype };
    format!(
        "kernel k(x: {dtype}[{shape}]) -> (y: {result}[{rows}])\n  dims N: 0..=10000\n  axes i: par {rows}, j: ser {n}\n  r = reduce {kind} j {{ {element} }}\n  y[i] = r\n{schedule}"
    )
}

fn fixed(text: &str) -> String {
    text.replace("  dims N: 0..=10000\n", "")
}

#[test]
fn sums_over_all_lengths() {
    for dtype in ["f32", "f64"] {
        for n in LENGTHS {
            for transposed in [false, true] {
                check(&fixed(&reduction(dtype, "sum", "3", &n.to_string(), transposed, "")), &[]);
                check(&reduction(dtype, "sum", "3", "N", transposed, ""), &[("N", n)]);
            }
        }
    }
}

#[test]
fn every_kind_of_floats() {
    for dtype in ["f32", "f64"] {
        for kind in KINDS {
            for n in [0, 1, 5, 37, 100] {
                for transposed in [false, true] {
                    for schedule in ["", "  schedule vec(i, 4)\n", "  schedule vec(j, 4)\n", "  schedule bind(i, core)\n"] {
                        check_special(&fixed(&reduction(dtype, kind, "7", &n.to_string(), transposed, schedule)), &[]);
                    }
                    check(&reduction(dtype, kind, "130", "N", transposed, ""), &[("N", n)]);
                }
            }
        }
    }
}

#[test]
fn every_kind_of_integers_and_bools() {
    for dtype in ["i64", "i32", "u8", "u32"] {
        for kind in KINDS {
            for transposed in [false, true] {
                check_special(&fixed(&reduction(dtype, kind, "7", "45", transposed, "")), &[]);
            }
        }
    }
    for dtype in ["i64", "i32", "u8", "bool"] {
        for kind in ["and", "or"] {
            for transposed in [false, true] {
                check(&fixed(&reduction(dtype, kind, "7", "45", transposed, "")), &[]);
            }
        }
    }
}

#[test]
fn welford_and_online_softmax() {
    for (dtype, kind) in [("f32", "welford"), ("f64", "welford"), ("f32", "online_softmax"), ("f64", "online_softmax")] {
        for n in [1, 3, 33, 100, 4100] {
            for transposed in [false, true] {
                let element = if transposed { "x[j, i]" } else { "x[i, j]" };
                let shape = if transposed { "N, 5" } else { "5, N" };
                let text = format!(
                    "kernel k(x: {dtype}[{shape}], b: {dtype}[N]) -> (mean: {dtype}[5], m2: {dtype}[5])
  dims N: 0..=10000
  axes i: par 5, j: ser N
  m, s = reduce {kind} j {{ {element} + b[j] }}
  mean[i] = m
  m2[i] = s
"
                );
                // The exponential uses fused multiply-add where the machine has it, and the interpreter always.
                match kind {
                    "welford" => check(&text, &[("N", n)]),
                    _ if Target::host().fma => check_with(&text, &[("N", n)], Fill::Ordinary, &Target::widths()),
                    _ => {}
                }
            }
        }
    }
}

#[test]
fn several_reductions_and_maps_at_one_point() {
    let text = "\
kernel k(x: f32[6, N], w: f32[N]) -> (y: f32[6, N], s: f32[6])
  dims N: 1..=10000
  axes i: par 6, j: ser N
  a = reduce sum j { x[i, j] * w[j] }
  b = reduce max j { x[i, j] - a }
  map j { y[i, j] = (x[i, j] - a) / b }
  s[i] = a + b
";
    for n in [1, 7, 64, 777] {
        for schedule in ["", "  schedule vec(j, 4)\n", "  schedule vec(i, 4)\n"] {
            check(&format!("{text}{schedule}"), &[("N", n)]);
        }
    }
}

#[test]
fn reductions_over_several_axes() {
    let sizes = [[1, 1], [3, 5], [7, 9], [4, 32], [5, 49], [3, 784], [130, 33], [2, 4096], [9, 1030]];
    for [p, q] in sizes {
        for body in ["x[p, i, q]", "x[q % 2, i, p % 3]", "x[p, i, q] * w[q]"] {
            if body.contains('%') && (p < 2 || q < 3) {
                continue;
            }
            for kind in ["sum", "max", "argmin"] {
                let result = if kind == "argmin" { "i64" } else { "f32" };
                let text = format!(
                    "kernel k(x: f32[{p}, 3, {q}], w: f32[{q}]) -> (y: {result}[3])
  axes i: par 3, p: ser {p}, q: ser {q}
  r = reduce {kind} p q {{ {body} }}
  y[i] = r
"
                );
                check(&text, &[]);
                check(&format!("{text}  schedule vec(i, 4)\n"), &[]);
            }
        }
    }
}

#[test]
fn a_reduction_to_one_number() {
    let text =
        "kernel k(x: f32[N]) -> (y: f32[])\n  dims N: 0..=100000\n  axes j: ser N\n  r = reduce sum j { x[j] }\n  y[] = r\n";
    for n in [0, 1, 100, 5000, 20000] {
        check(text, &[("N", n)]);
    }
}

#[test]
fn elements_that_are_kept_for_later_passes() {
    let text = "\
kernel softmax(x: f32[5, N], b: f32[N]) -> (y: f32[5, N], at: i64[5])
  dims N: 1..=10000
  axes i: par 5, j: ser N
  m, s = reduce online_softmax j { x[i, j] / (abs(b[j]) + 1.0) / (x[i, j] * x[i, j] + 2.0) }
  map j { y[i, j] = exp(x[i, j] / (abs(b[j]) + 1.0) / (x[i, j] * x[i, j] + 2.0) - m) / s }
  a = reduce argmax j { x[i, j] / (abs(b[j]) + 1.0) / (x[i, j] * x[i, j] + 2.0) }
  at[i] = a
";
    for n in [1, 3, 10, 64, 1000, 5000] {
        if Target::host().fma {
            check_with(text, &[("N", n)], Fill::Ordinary, &Target::widths());
            check_with(
                &text.replace("  dims N: 1..=10000\n", "").replace('N', &n.to_string()),
                &[],
                Fill::Ordinary,
                &Target::widths(),
            );
        }
    }
}

#[test]
fn pooling_windows() {
    for (window, stride, pad) in [(2, 2, 0), (3, 2, 1), (3, 1, 1)] {
        let out = (28 + 2 * pad - window) / stride + 1;
        let inside = |o: &str, k: &str| format!("({o} * {stride} + {k} - {pad} >= 0) & ({o} * {stride} + {k} - {pad} < 28)");
        let clamped = |o: &str, k: &str| format!("max(min({o} * {stride} + {k} - {pad}, 27), 0)");
        let element = match pad {
            0 => format!("x[n, p * {stride} + r, q * {stride} + s]"),
            _ => format!(
                "select({} & {}, x[n, {}, {}], -inf)",
                inside("p", "r"),
                inside("q", "s"),
                clamped("p", "r"),
                clamped("q", "s")
            ),
        };
        for kind in ["max", "sum", "argmax"] {
            let result = if kind == "argmax" { "i64" } else { "f32" };
            let text = format!(
                "kernel k(x: f32[3, 28, 28]) -> (y: {result}[3, {out}, {out}])
  axes n: par 3, p: par {out}, q: par {out}, r: ser {window}, s: ser {window}
  m = reduce {kind} r s {{ {element} }}
  y[n, p, q] = m
"
            );
            check(&text, &[]);
        }
    }
}

#[test]
fn few_elements_are_reduced_without_a_loop() {
    for kind in ["sum", "prod", "max", "min"] {
        for (window, axes) in [(1, 1), (2, 2), (3, 3), (4, 4), (1, 16), (2, 8)] {
            let (h, w) = (3 * window, 37 * axes);
            let text = format!(
                "kernel k(x: f32[{h}, {w}]) -> (y: f32[3, 37])\n  axes i: par 3, j: par 37, p: ser {window}, q: ser {axes}\n  \
                 r = reduce {kind} p q {{ x[i * {window} + p, j * {axes} + q] }}\n  y[i, j] = r * 2.0\n"
            );
            check_special(&text, &[]);
        }
    }
    for kind in ["welford", "online_softmax"] {
        let text = format!(
            "kernel k(x: f32[6, 111]) -> (y: f32[3, 37], z: f32[3, 37])\n  axes i: par 3, j: par 37, p: ser 2, q: ser 3\n  \
             a, b = reduce {kind} p q {{ x[i * 2 + p, j * 3 + q] }}\n  map {{\n    y[i, j] = a\n    z[i, j] = b\n  }}\n"
        );
        check_special(&text, &[]);
    }
    for kind in ["argmax", "argmin"] {
        for dtype in ["f32", "f64", "i32"] {
            let text = format!(
                "kernel k(x: {dtype}[6, 74]) -> (y: i64[3, 37], z: u8[3, 37])\n  axes i: par 3, j: par 37, p: ser 2, q: ser 2\n  \
                 r = reduce {kind} p q {{ x[i * 2 + p, j * 2 + q] }}\n  map {{\n    y[i, j] = r\n    z[i, j] = u8(r)\n  }}\n"
            );
            check_special(&text, &[]);
        }
    }
}
