//! Maps: operations of every type, walks through memory, stores.

use super::*;

fn pointwise(dtype: &str, result: &str, expr: &str, n: i64) -> String {
    format!(
        "kernel k(a: {dtype}[{n}], b: {dtype}[{n}], c: {dtype}[{n}]) -> (y: {result}[{n}])\n  axes i: par {n}\n  y[i] = {expr}\n"
    )
}

#[test]
fn pointwise_over_all_lengths() {
    for n in LENGTHS {
        check(&pointwise("f32", "f32", "a[i] * b[i] + c[i]", n), &[]);
        check(&pointwise("f64", "f64", "a[i] * b[i] + c[i]", n), &[]);
    }
}

#[test]
fn float_operations() {
    let exprs = [
        "-a[i]",
        "abs(a[i])",
        "sqrt(a[i])",
        "floor(a[i])",
        "ceil(a[i])",
        "round(a[i] * 3.0)",
        "trunc(a[i])",
        "a[i] + b[i]",
        "a[i] - b[i]",
        "a[i] * b[i]",
        "a[i] / b[i]",
        "a[i] % b[i]",
        "min(a[i], b[i])",
        "max(a[i], b[i])",
        "max(a[i], 0.0)",
        "min(a[i], 0.0)",
        "max(a[i], -0.0)",
        "min(a[i], -0.0)",
        "max(1.0, a[i])",
        "min(a[i], inf)",
        "max(a[i], -inf)",
        "select(a[i] < b[i], a[i], c[i])",
        "select((a[i] <= b[i]) & !(a[i] == c[i]), a[i], 1.0)",
        "select((a[i] != b[i]) | (a[i] >= c[i]) ^ (b[i] > c[i]), a[i], b[i])",
    ];
    for dtype in ["f32", "f64"] {
        for expr in exprs {
            check_special(&pointwise(dtype, dtype, expr, 333), &[]);
        }
        for expr in ["a[i] < b[i]", "a[i] == b[i]", "a[i] != a[i]", "!(a[i] >= b[i])"] {
            check_special(&pointwise(dtype, "bool", expr, 333), &[]);
        }
    }
}

#[test]
fn mathematical_functions() {
    let functions = ["exp", "log", "log1p", "expm1", "sin", "cos", "tanh", "erf", "sigmoid"];
    let calls = functions.iter().map(|f| format!("{f}(a[i] * 3.0)")).chain(["pow(a[i], b[i])".to_string()]);
    for call in calls {
        for dtype in ["f32", "f64"] {
            if Target::host().fma {
                check_with(&pointwise(dtype, dtype, &call, 333), &[], Fill::Special, &Target::widths());
            }
        }
    }
}

#[test]
fn fused_multiply_add_rounds_once() {
    for dtype in ["f32", "f64"] {
        let text = pointwise(dtype, dtype, "fma(a[i], b[i], c[i])", 333);
        if Target::host().fma {
            check_with(&text, &[], Fill::Special, &Target::widths());
        }
    }
}

#[test]
fn integer_operations() {
    let exprs = [
        "-a[i]",
        "abs(a[i])",
        "!a[i]",
        "a[i] + b[i]",
        "a[i] - b[i]",
        "a[i] * b[i]",
        "a[i] / b[i]",
        "a[i] % b[i]",
        "a[i] / 7",
        "a[i] % 12",
        "a[i] / 16",
        "min(a[i], b[i])",
        "max(a[i], b[i])",
        "a[i] & b[i]",
        "a[i] | b[i]",
        "a[i] ^ b[i]",
        "a[i] << 3",
        "a[i] >> 2",
        "a[i] << (b[i] & 3)",
        "a[i] >> (b[i] & 3)",
        "select(a[i] < b[i], a[i], c[i])",
        "select((a[i] >= b[i]) | (b[i] == c[i]), a[i] + 1, c[i])",
    ];
    for dtype in ["i64", "i32", "u8", "u32"] {
        for expr in exprs {
            if dtype.starts_with('u') && (expr == "-a[i]" || expr == "abs(a[i])") {
                continue;
            }
            check_special(&pointwise(dtype, dtype, expr, 333), &[]);
        }
    }
    check_special(&pointwise("u32", "u32", "mulhi(a[i], b[i])", 333), &[]);
    check_special(&pointwise("bool", "bool", "a[i] & b[i] | !c[i] ^ a[i]", 333), &[]);
    check_special(&pointwise("bool", "bool", "(a[i] == b[i]) | (a[i] < c[i])", 333), &[]);
}

#[test]
fn casts_between_all_types() {
    let types = ["f64", "f32", "i64", "i32", "u8", "u32", "bool"];
    for from in types {
        for to in types {
            check_special(&pointwise(from, to, &format!("{to}(a[i])"), 333), &[]);
        }
    }
    for (from, to) in [("f32", "i32"), ("i32", "f32"), ("f64", "i64"), ("i64", "f64"), ("f32", "u32"), ("u32", "i32")] {
        check_special(&pointwise(from, to, &format!("bitcast_{to}(a[i])"), 333), &[]);
    }
}

#[test]
fn strided_broadcast_and_gathering_walks() {
    let bodies = [
        "y[i, j] = x[j, i] + b[j] - s",
        "y[i, j] = x[36 - j, 28 - i] * b[i]",
        "y[i, j] = x[(i + j) % 37, (i * j) / 40] + b[0]",
        "y[i, j] = x[min(max(ids[i], 0), 36), min(max(ids[j], 0), 28)]",
        "y[i, j] = select(ids[i] < ids[j], x[j, i], f32(i * 37 + j))",
        "y[i, 36 - j] = x[j, i]",
    ];
    for body in bodies {
        for schedule in ["", "  schedule vec(i, 4)\n", "  schedule vec(j, 4)\n", "  schedule bind(i, core)\n"] {
            let text = format!(
                "kernel k(x: f32[37, 29], b: f32[37], s: f32[], ids: i64[37]) -> (y: f32[29, 37])\n  axes i: par 29, j: par 37\n  {body}\n{schedule}"
            );
            check(&text, &[]);
        }
    }
}

#[test]
fn symbolic_extents() {
    let text = "\
kernel k(x: f32[B, T, 5], w: f32[T + 1]) -> (y: f32[B*T, 5], z: i64[B])
  dims B: 0..=64, T: 0..=1024
  axes b: par B, t: par T, c: par 5
  y[b * dim(T) + t, c] = x[b, t, c] * w[t + 1] + f32(dim(B))
  z[b] = dim(div(T, 3)) + b
";
    let one = text.replace("  z[b] = dim(div(T, 3)) + b\n", "").replace(", z: i64[B]", "");
    for (b, t) in [(0, 3), (2, 0), (1, 1), (3, 17)] {
        check(&one, &[("B", b), ("T", t)]);
    }
}

#[test]
fn locals_between_maps() {
    let text = "\
kernel k(x: f32[19, N], b: f32[N]) -> (y: f32[19, N], z: f32[19])
  dims N: 1..=1000
  axes i: par 19, j: ser N
  map { s = b[0] * 2.0 }
  map j { h[j] = x[i, j] * s + b[j] }
  map j { y[i, j] = h[dim(N) - 1 - j] - h[j] }
  map { z[i] = s + h[0] }
";
    for n in [1, 5, 64, 131] {
        for schedule in ["", "  schedule vec(j, 4)\n", "  schedule vec(i, 4)\n", "  schedule bind(i, core)\n"] {
            check(&format!("{text}{schedule}"), &[("N", n)]);
        }
    }
}

#[test]
fn combining_stores_are_sequential() {
    let text = "\
kernel k(x: f32[M, 21], at: i64[M]) -> (y: f32[5, 21])
  dims M: 0..=1000
  axes j: par 21, m: ser M, q: ser 5
  map q { y[q, j] = 0.5 }
  map m { y[min(max(at[m] + 2, 0), 4), j] += x[m, j] }
  map m {
    y[min(max(at[m], 0), 4), j] *= x[m, j]
    y[min(max(at[m], 0), 4), j] max= 0.0
  }
";
    for m in [0, 1, 40] {
        for schedule in ["", "  schedule vec(j, 4)\n", "  schedule bind(j, core)\n"] {
            check(&format!("{text}{schedule}"), &[("M", m)]);
        }
    }
    let last_wins = "\
kernel k(x: f32[40], at: i64[40]) -> (y: f32[6])
  axes m: ser 40, q: ser 6
  map q { y[q] = 0.0 }
  map m { y[min(max(at[m], 0), 5)] = x[m] }
";
    check(last_wins, &[]);
    check(&format!("{last_wins}  schedule vec(m, 4)\n"), &[]);
}

#[test]
fn a_map_that_reads_what_an_earlier_one_wrote() {
    let text = "\
kernel k(x: f32[9, 33]) -> (y: f32[9, 33], z: f32[9, 33])
  axes i: par 9, j: ser 33
  map j { y[i, j] = x[i, j] * 2.0 }
  map j { z[i, j] = y[i, 32 - j] + 1.0 }
";
    check(text, &[]);
}

#[test]
fn checks_report_an_index_that_fails() {
    let text = "\
kernel k(ids: i64[50], limit: i64[]) -> (y: i64[50])
  axes i: par 50
  check 3 { ids[i] < limit } { ids[i] }
  y[i] = ids[i]
";
    check(text, &[]);
    let kernel = Kernel::parse(text).unwrap();
    let ids = Array::from_fn_i64(DType::I64, [50], |i| if i == 33 { 99 } else { 5 });
    for (limit, failed) in [(100, None), (99, Some((3, 99)))] {
        let limit = Array::from_fn_i64(DType::I64, [], |_| limit);
        let got = run_compiled(&kernel, &[ids.clone(), limit], &[], &Target::host(), Boxes::Whole);
        assert_eq!(got.failed, failed);
    }
    let serial = "\
kernel k(ids: i64[4, N]) -> (y: i64[4])
  dims N: 0..=100
  axes i: par 4, j: ser N
  check 0 j { ids[i, j] < 10 } { ids[i, j] }
  y[i] = i
";
    check(serial, &[("N", 0)]);
    check(serial, &[("N", 333)]);
}

#[test]
fn bounds_checks_and_clamps_along_the_vector_axis() {
    let bodies = [
        // Padding, with and without conditions on the other axis.
        "select((j - 3 >= 0) & (j - 3 < 29), x[i, max(min(j - 3, 28), 0)], 0.5)",
        "select((i - 2 >= 0) & (i - 2 < 31) & (j >= 3) & (j < 32), x[max(min(i - 2, 30), 0), max(min(j - 3, 28), 0)] * 2.0, f32(j))",
        // Two elements apart, from a place that depends on the row.
        "select((j * 2 - i >= 0) & (j * 2 - i < 29), x[i, max(min(j * 2 - i, 28), 0)], 0.0)",
        // Backwards.
        "select((20 - j >= 0) & (20 - j < 29), x[i, max(min(20 - j, 28), 0)], 0.0)",
        // Clamps alone, and a concatenation.
        "x[i, min(max(j - 4, 0), 28)]",
        "select(j < 29, x[i, min(j, 28)], x[min(i + 1, 30), max(j - 29, 0)])",
        // A condition that is no sum.
        "select((j % 3 == 0) & (j < 29), x[i, min(j, 28)], 1.0)",
        // A condition on what is loaded.
        "select(ids[j % 8] < j, x[i, min(j, 28)], 1.0)",
    ];
    for body in bodies {
        for schedule in ["", "  schedule vec(i, 4)\n", "  schedule vec(j, 4)\n", "  schedule bind(i, core)\n"] {
            for (i, n) in [(31, 37), (31, 3), (31, 29)] {
                let text = format!(
                    "kernel k(x: f32[31, 29], ids: i64[8]) -> (y: f32[{i}, {n}])\n  axes i: par {i}, j: par {n}\n  y[i, j] = {body}\n{schedule}"
                );
                check(&text, &[]);
            }
        }
    }
    let serial = "\
kernel k(x: f32[31, N]) -> (y: f32[31, N + 5], s: f32[31])
  dims N: 1..=1000
  axes i: par 31, j: ser N + 5
  map j { y[i, j] = select((j >= 2) & (j < dim(N + 2)), x[i, max(min(j - 2, dim(N - 1)), 0)], -1.0) }
  r = reduce sum j { select((j >= 2) & (j < dim(N + 2)), x[i, max(min(j - 2, dim(N - 1)), 0)], 0.25) }
  s[i] = r
";
    for n in [1, 2, 64, 100] {
        for schedule in ["", "  schedule vec(i, 4)\n", "  schedule vec(j, 4)\n"] {
            check(&format!("{serial}{schedule}"), &[("N", n)]);
        }
    }
}

/// A map of random expressions over `kinds` of values, all alive until the end.
fn random_map(noise: &mut Noise, steps: u64, n: i64) -> String {
    let mut floats: Vec<String> = ["a[i]", "b[i]", "1.5f32", "s[0]"].map(String::from).to_vec();
    let mut ints: Vec<String> = ["k[i]", "7i32"].map(String::from).to_vec();
    let mut bools: Vec<String> = vec!["q[i]".to_string()];
    let mut lets = String::new();
    let pick = |noise: &mut Noise, list: &[String]| list[noise.below(list.len() as u64) as usize].clone();
    for step in 0..steps {
        let (x, y, z) = (pick(noise, &floats), pick(noise, &floats), pick(noise, &floats));
        let (j, k) = (pick(noise, &ints), pick(noise, &ints));
        let (p, q) = (pick(noise, &bools), pick(noise, &bools));
        let choice = noise.below(16);
        let (value, list) = match choice {
            0 | 1 => (format!("{x} + {y}"), &mut floats),
            2 => (format!("{x} * {y}"), &mut floats),
            3 => (format!("{x} - {y}"), &mut floats),
            4 => (format!("max({x}, {y})"), &mut floats),
            5 => (format!("select({p}, {x}, {y})"), &mut floats),
            6 => (format!("f32({j})"), &mut floats),
            7 => (format!("abs({x})"), &mut floats),
            8 => (format!("{j} * {k}"), &mut ints),
            9 => (format!("{j} ^ {k}"), &mut ints),
            10 => (format!("max({j}, {k})"), &mut ints),
            11 => (format!("i32({x})"), &mut ints),
            12 => (format!("{x} < {y}"), &mut bools),
            13 => (format!("{j} >= {k}"), &mut bools),
            14 => (format!("{p} & !{q}"), &mut bools),
            _ => (format!("select({p}, {q}, {z} != {x})"), &mut bools),
        };
        lets.push_str(&format!("    let t{step} = {value}\n"));
        list.push(format!("t{step}"));
    }
    // All values are used at the end, so they are alive together.
    let sum = floats.iter().fold("0.0f32".to_string(), |sum, x| format!("({sum} + {x})"));
    let all = ints.iter().fold("0i32".to_string(), |sum, x| format!("({sum} ^ {x})"));
    let odd = bools.iter().fold("false".to_string(), |sum, x| format!("({sum} ^ {x})"));
    format!(
        "kernel k(a: f32[{n}], b: f32[{n}], k: i32[{n}], q: bool[{n}], s: f32[1]) -> (y: f32[{n}], w: i32[{n}], v: bool[{n}])
  axes i: par {n}
  map {{
{lets}    y[i] = {sum}
    w[i] = {all}
    v[i] = {odd}
  }}
"
    )
}

#[test]
fn many_values_alive_at_once() {
    for seed in 0..24 {
        let mut noise = Noise(seed);
        let steps = 5 + noise.below(if seed % 4 == 0 { 120 } else { 40 });
        let n = [15, 16, 33, 64, 77, 128, 200][noise.below(7) as usize];
        check_special(&random_map(&mut noise, steps, n), &[]);
    }
}

#[test]
fn doubles_with_many_values_alive_at_once() {
    for seed in 0..12 {
        let mut noise = Noise(seed);
        let steps = 5 + noise.below(50);
        let text = random_map(&mut noise, steps, 333).replace("f32", "f64").replace("i32", "i64");
        check_special(&text, &[]);
    }
}
