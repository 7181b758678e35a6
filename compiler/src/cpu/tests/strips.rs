//! Strips: that they are used, their accuracy, operands that are the same for all elements.

use super::*;
use crate::cpu::Width;
use igneous_ir::math::trigonometric_limit;

/// The listing of a kernel's only function.
fn listing(text: &str, target: &Target) -> String {
    let kernel = Kernel::parse(text).unwrap();
    compile_kernels(std::slice::from_ref(&kernel), &[], target).unwrap().listings[0].to_string()
}

#[test]
fn contiguous_loops_become_strips_of_the_targets_width() {
    let texts = [
        "kernel k(x: f32[64]) -> (y: f32[64])\n  axes i: par 64\n  y[i] = exp(x[i]) + 1.0\n",
        "kernel k(x: f32[64, 64], b: f32[64]) -> (y: f32[64, 64])\n  axes i: par 64, j: par 64\n  y[i, j] = max(x[i, j] + b[j], 0.0)\n",
    ];
    for text in texts {
        for target in Target::widths() {
            let listing = listing(text, &target);
            assert_eq!(listing.contains("strip"), target.width != Width::Portable, "{listing}");
            assert_eq!(listing.contains("zmm"), target.width == Width::Avx512, "{listing}");
        }
    }
}

#[test]
fn elements_that_lie_anywhere_are_gathered() {
    for n in [1, 3, 8, 15, 16, 17, 40, 100] {
        let m = 3 * n;
        for dtype in ["f32", "f64", "i32", "u32", "i64"] {
            let steps = format!(
                "kernel k(x: {dtype}[{m}]) -> (y: {dtype}[{n}])\n  axes i: par {n}\n  y[i] = x[i * 3 + 1] - x[{} - i * 2]\n",
                m - 1
            );
            let rows = format!(
                "kernel k(x: {dtype}[{n}, 7], b: f32[{n}]) -> (y: {dtype}[7, {n}], z: f32[7, {n}])\n  axes i: par 7, j: par {n}\n  \
                 map {{\n    y[i, j] = x[j, i] * x[j, 6 - i]\n    z[i, j] = b[j]\n  }}\n"
            );
            let places = format!(
                "kernel k(x: {dtype}[{m}, 5], p: i64[{n}], q: i32[{n}]) -> (y: {dtype}[5, {n}])\n  axes i: par 5, j: par {n}\n  \
                 y[i, j] = x[min(max(p[j], 0), {last}), i] - x[min(max(i64(q[j]), 0) + j, {last}), 4 - i]\n",
                last = m - 1
            );
            [steps, rows, places].iter().for_each(|text| check_special(text, &[]));
        }
        let folds = format!(
            "kernel k(x: f32[{m}, 4], p: i64[{n}]) -> (y: f32[4], z: f32[4])\n  axes i: par 4, j: ser {n}\n  a = reduce sum j {{ \
             x[j * 2, i] }}\n  b = reduce max j {{ x[min(max(p[j], 0), {}), i] }}\n  y[i] = a\n  z[i] = b\n",
            m - 1
        );
        check(&folds, &[]);
    }
    let text =
        "kernel k(x: f32[192], p: i64[64]) -> (y: f32[64])\n  axes i: par 64\n  y[i] = x[i * 3] + x[min(max(p[i], 0), 191)]\n";
    for target in Target::widths() {
        let listing = listing(text, &target);
        for name in ["vgatherdps", "vgatherqps"] {
            assert_eq!(listing.contains(name), target.width == Width::Avx512, "{listing}");
        }
    }
}

#[test]
fn integers_are_divided_by_constants() {
    let largest = [("i32", i64::from(i32::MAX)), ("u32", u32::MAX.into()), ("u8", 255), ("i64", i64::MAX)];
    for (dtype, last) in largest {
        for by in [1, 2, 3, 7, 10, 100, last - 1, last] {
            let text = format!(
                "kernel k(x: {dtype}[300]) -> (q: {dtype}[300], r: {dtype}[300])\n  axes i: par 300\n  map {{\n    q[i] = x[i] / {by}\n    \
                 r[i] = x[i] % {by}\n  }}\n"
            );
            check_special(&text, &[]);
        }
    }
}

#[test]
fn pairs_of_elements_are_taken_apart_and_put_together() {
    for n in [1, 2, 5, 14, 16, 17, 33, 63, 64, 65, 200] {
        let m = 2 * n;
        for (dtype, expr) in [("f32", "0.5"), ("i32", "7"), ("u32", "7")] {
            let apart = format!(
                "kernel k(x: {dtype}[{m}]) -> (y: {dtype}[{n}])\n  axes i: par {n}\n  y[i] = x[i * 2] - x[i * 2 + 1] * {expr}\n"
            );
            let together = format!(
                "kernel k(x: {dtype}[{n}], b: {dtype}[1]) -> (y: {dtype}[{m}])\n  axes i: par {n}\n  map {{\n    y[i * 2] = x[i] + \
                 b[0]\n    y[i * 2 + 1] = b[0]\n  }}\n"
            );
            let both = format!(
                "kernel k(x: {dtype}[3, {m}], p: u8[{n}]) -> (y: {dtype}[3, {m}])\n  axes i: par 3, j: par {n}\n  map {{\n    \
                 y[i, j * 2] = select(p[j] == 1, x[i, j * 2], {expr})\n    y[i, j * 2 + 1] = x[i, j * 2 + 1] * x[i, j * 2]\n  }}\n"
            );
            // A mask among 64-bit lanes: half as many pairs in a vector.
            let long = format!(
                "kernel k(x: {dtype}[{m}], p: i64[{n}]) -> (y: {dtype}[{m}], z: i64[{n}])\n  axes i: par {n}\n  map {{\n    \
                 y[i * 2] = select(p[i] > 1, x[i * 2], {expr})\n    y[i * 2 + 1] = x[i * 2 + 1]\n    z[i] = p[i] + i\n  }}\n"
            );
            [apart, together, both, long].iter().for_each(|text| check_special(text, &[]));
        }
        // Only one element of each pair: nothing lies behind the last.
        let half = format!("kernel k(x: f32[{}]) -> (y: f32[{n}])\n  axes i: par {n}\n  y[i] = x[i * 2] + 1.0\n", m - 1);
        check_special(&half, &[]);
    }
    let text = "kernel k(x: f32[128]) -> (y: f32[64])\n  axes i: par 64\n  y[i] = x[i * 2] + x[i * 2 + 1]\n";
    for target in Target::widths() {
        assert_eq!(listing(text, &target).contains("vshufps"), target.width != Width::Portable);
    }
}

#[test]
fn large_results_are_stored_past_the_caches() {
    let targets: Vec<Target> = Target::widths().into_iter().map(|t| Target { caches: 0, ..t }).collect();
    for n in [1, 15, 64, 100, 333] {
        let texts = [
            format!("kernel k(x: f32[{n}]) -> (y: f32[{n}])\n  axes i: par {n}\n  y[i] = x[i] + 1.0\n"),
            format!("kernel k(x: f64[5, {n}]) -> (y: f64[5, {n}])\n  axes i: par 5, j: par {n}\n  y[i, j] = x[i, j] * 2.0\n"),
            format!(
                "kernel k(x: f32[3, {n}]) -> (y: f32[3, {n}], z: i64[3, {n}])\n  axes i: par 3, j: par {n}\n  map {{\n    \
                     y[i, j] = -x[i, j]\n    z[i, j] = i * j\n  }}\n"
            ),
        ];
        texts.iter().for_each(|text| check_with(text, &[], Fill::Ordinary, &targets));
    }
    let text = "kernel k(x: f32[640]) -> (y: f32[640])\n  axes i: par 640\n  y[i] = x[i] + 1.0\n";
    for target in targets {
        assert_eq!(listing(text, &target).contains("vmovntps"), target.width != Width::Portable);
        assert!(!listing(text, &Target { caches: 1 << 20, ..target }).contains("vmovntps"));
    }
}

#[test]
fn operands_that_are_the_same_for_all_elements() {
    let floats =
        ["a[i] + s[0]", "s[0] - a[i]", "s[0] / a[i]", "max(a[i], s[0])", "fma(s[0], a[i], s[1])", "fma(a[i], s[0], 2.0)"];
    let selects =
        ["select(a[i] < s[0], s[1], a[i])", "select(s[0] < s[1], a[i], s[0])", "select(a[i] < 0.0, s[0], s[1])", "s[1]"];
    for dtype in ["f32", "f64"] {
        for expr in floats.iter().chain(&selects) {
            if Target::host().fma {
                let text = format!(
                    "kernel k(a: {dtype}[333], s: {dtype}[2]) -> (y: {dtype}[333])\n  axes i: par 333\n  y[i] = {expr}\n"
                );
                check_with(&text, &[], Fill::Special, &Target::widths());
            }
        }
    }
    let ints = ["a[i] + s[0]", "s[0] - a[i]", "a[i] * s[0]", "s[0] * a[i]", "min(s[0], a[i])", "a[i] & s[0]", "-s[0] ^ a[i]"];
    let shifts = ["a[i] << (s[0] & 7)", "a[i] >> (s[0] & 7)", "s[0] << (a[i] & 7)", "s[0] >> (a[i] & 7)", "a[i] >> 3"];
    for dtype in ["i64", "i32", "u32", "u8"] {
        for expr in ints.iter().chain(&shifts).filter(|e| dtype.starts_with('i') || !e.starts_with('-')) {
            let text =
                format!("kernel k(a: {dtype}[333], s: {dtype}[2]) -> (y: {dtype}[333])\n  axes i: par 333\n  y[i] = {expr}\n");
            check_special(&text, &[]);
        }
    }
    for expr in ["mulhi(a[i], s[0])", "mulhi(s[0], a[i])", "mulhi(a[i], 3528531795)"] {
        let text = format!("kernel k(a: u32[333], s: u32[2]) -> (y: u32[333])\n  axes i: par 333\n  y[i] = {expr}\n");
        check_special(&text, &[]);
    }
}

#[test]
fn the_index_is_an_operand() {
    for expr in ["f32(i) * 0.5", "select(i < 13, x[i], 1.0)", "f32(u32(i) * 7)"] {
        let text = format!("kernel k(x: f32[200]) -> (y: f32[200])\n  axes i: par 200\n  y[i] = {expr}\n");
        check(&text, &[]);
    }
}

/// The distance from `got` to the real number `want`, in units of the last place of an `f32` there.
fn ulps(got: f32, want: f64) -> f64 {
    let nearest = want as f32;
    if got.is_nan() || want.is_nan() || nearest.is_infinite() || nearest == got {
        let same = got.is_nan() && want.is_nan() || got == nearest;
        return if same { 0.0 } else { f64::INFINITY };
    }
    let exponent = (want.abs().log2().floor() as i32).max(-126);
    (f64::from(got) - want).abs() / 2f64.powi(exponent - 23)
}

#[test]
fn mathematics_within_two_units_over_all_singles() {
    if !Target::host().fma {
        return;
    }
    let limit = trigonometric_limit(DType::F32);
    type Function = (&'static str, fn(f64) -> f64);
    let functions: [Function; 9] = [
        ("exp", f64::exp),
        ("log", f64::ln),
        ("log1p", f64::ln_1p),
        ("expm1", f64::exp_m1),
        ("sin", f64::sin),
        ("cos", f64::cos),
        ("tanh", f64::tanh),
        ("erf", libm::erf),
        ("sigmoid", |x| if x < -80.0 { x.exp() } else { 1.0 / (1.0 + (-x).exp()) }),
    ];
    // Every number whose bits are a multiple of an odd step, both signs.
    let step = 65_521u64;
    let n = (1u64 << 32).div_ceil(step) as usize;
    let xs: Vec<f64> = (0..n as u64).map(|i| f32::from_bits((i * step) as u32).into()).collect();
    let input = Array::from_fn_f64(DType::F32, [n], |i| xs[i]);
    for (name, real) in functions {
        let text = format!("kernel k(x: f32[{n}]) -> (y: f32[{n}])\n  axes i: par {n}\n  y[i] = {name}(x[i])\n");
        let kernel = Kernel::parse(&text).unwrap();
        for target in Target::widths() {
            let got = run_compiled(&kernel, std::slice::from_ref(&input), &[], &target, Boxes::Whole);
            for (i, &x) in xs.iter().enumerate().filter(|(_, x)| !matches!(name, "sin" | "cos") || x.abs() <= limit) {
                let y = got.outputs[0].f(i) as f32;
                assert!(ulps(y, real(x)) <= 2.0, "{name}({x:e}) = {y:e}, not {:e}; {target:?}", real(x));
            }
        }
    }
}
