//! Half types: conversions, and arithmetic that rounds each result.

use super::*;
use crate::cpu::Width;
use igneous_ir::types::Literal;

const HALVES: [&str; 2] = ["f16", "bf16"];

fn dtype(name: &str) -> DType {
    DType::from_name(name).unwrap()
}

/// Runs a map over one input on a target.
fn run(text: &str, input: &Array, target: &Target) -> Array {
    let kernel = Kernel::parse(text).unwrap();
    run_compiled(&kernel, std::slice::from_ref(input), &[], target, Boxes::Whole).outputs.swap_remove(0)
}

/// The number halfway from a half number to the next one away from zero, exact in single precision.
fn midpoint(name: &str, bits: u16) -> f64 {
    let at = |bits: u16| Literal::from_bits(dtype(name), bits.into()).as_f64();
    (at(bits) + at(bits.wrapping_add(1))) / 2.0
}

/// Whether all numbers are those expected of these inputs, with the signs of zeros.
fn expect_numbers(input: &Array, found: &Array, expected: &Array, target: &Target) {
    let differs =
        |&i: &usize| found.f(i).to_bits() != expected.f(i).to_bits() && !(found.f(i).is_nan() && expected.f(i).is_nan());
    let wrong = (0..found.len()).find(differs).map(|i| (input.f(i), found.f(i), expected.f(i)));
    assert_eq!(wrong, None, "input, found, expected: {} {target:?}", expected.dtype());
}

#[test]
fn every_number_of_a_half_type_is_loaded_and_stored() {
    for name in HALVES {
        let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let all = Array::from_bytes(dtype(name), [1 << 16], &bytes).unwrap();
        let wide = format!("kernel k(x: {name}[65536]) -> (y: f32[65536])\n  axes i: par 65536\n  y[i] = f32(x[i])\n");
        let copy = format!("kernel k(x: {name}[65536]) -> (y: {name}[65536])\n  axes i: par 65536\n  y[i] = x[i]\n");
        for target in targets() {
            let single = run(&wide, &all, &target);
            assert!(
                (0..all.len()).all(|i| single.f(i).to_bits() == all.f(i).to_bits() || single.f(i).is_nan() && all.f(i).is_nan())
            );
            assert!(same(&run(&copy, &all, &target), &all), "{name} {target:?}");
        }
    }
}

#[test]
fn singles_are_rounded_to_the_nearest_half_number_ties_to_even() {
    for name in HALVES {
        let mut xs: Vec<f64> = Vec::new();
        for bits in (0..=u16::MAX).step_by(3) {
            let x = midpoint(name, bits) as f32;
            xs.extend(
                [x, f32::from_bits(x.to_bits().wrapping_add(1)), f32::from_bits(x.to_bits().wrapping_sub(1))].map(f64::from),
            );
        }
        // The ends of the range, and what lies behind them.
        xs.extend([
            65519.99,
            65520.0,
            -65520.0,
            65536.0,
            3.39e38,
            3.4e38,
            -3.4028e38,
            1e-45,
            -1e-45,
            2.98e-8,
            2.9802322e-8,
            2.99e-8,
        ]);
        xs.extend([f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 0.0, -0.0]);
        let n = xs.len();
        let input = Array::from_fn_f64(DType::F32, [n], |i| f64::from(xs[i] as f32));
        let expected = Array::from_fn_f64(dtype(name), [n], |i| dtype(name).round(input.f(i)));
        let stored = format!("kernel k(x: f32[{n}]) -> (y: {name}[{n}])\n  axes i: par {n}\n  y[i] = {name}(x[i])\n");
        let kept = format!("kernel k(x: f32[{n}]) -> (y: f32[{n}])\n  axes i: par {n}\n  y[i] = f32({name}(x[i]))\n");
        for target in targets() {
            expect_numbers(&input, &run(&stored, &input, &target), &expected, &target);
            expect_numbers(&input, &run(&kept, &input, &target), &expected, &target);
        }
    }
}

#[test]
fn doubles_are_rounded_once() {
    for name in HALVES {
        // A digit behind those of an f32 decides these.
        let near = [1.0 + 2f64.powi(-40), 1.0 - 2f64.powi(-40), 1.0];
        let ties = (1..2000u16).map(|k| midpoint(name, k.wrapping_mul(31))).filter(|x| x.is_finite());
        let xs: Vec<f64> =
            ties.flat_map(|x| near.map(|f| x * f)).chain([1e300, -1e300, f64::NAN, 1e-300, f64::INFINITY]).collect();
        let n = xs.len();
        let input = Array::from_fn_f64(DType::F64, [n], |i| xs[i]);
        let expected = Array::from_fn_f64(dtype(name), [n], |i| dtype(name).round(xs[i]));
        let text = format!("kernel k(x: f64[{n}]) -> (y: {name}[{n}])\n  axes i: par {n}\n  y[i] = {name}(x[i])\n");
        targets().iter().for_each(|target| expect_numbers(&input, &run(&text, &input, target), &expected, target));
    }
}

#[test]
fn operations_round_each_result() {
    let exprs = [
        "x[i] + y[i]",
        "x[i] - y[i]",
        "x[i] * y[i]",
        "x[i] / y[i]",
        "x[i] % y[i]",
        "-x[i]",
        "abs(x[i])",
        "sqrt(x[i])",
        "floor(x[i])",
        "min(x[i], y[i])",
        "max(x[i], 0.0)",
        "select(x[i] < y[i], x[i], 2.5)",
        "x[i] * y[i] + x[i] * x[i] - y[i]",
    ];
    for name in HALVES {
        for n in [1, 7, 16, 35, 128, 333] {
            for expr in exprs {
                let text =
                    format!("kernel k(x: {name}[{n}], y: {name}[{n}]) -> (z: {name}[{n}])\n  axes i: par {n}\n  z[i] = {expr}\n");
                check_special(&text, &[]);
            }
        }
    }
}

#[test]
fn conversions_to_and_from_every_type() {
    for name in HALVES {
        for other in DType::ALL.map(DType::name) {
            for (from, to) in [(name, other), (other, name)] {
                let text = format!("kernel k(x: {from}[203]) -> (y: {to}[203])\n  axes i: par 203\n  y[i] = {to}(x[i])\n");
                let trivial = format!("kernel k(x: {from}[203]) -> (y: {to}[203])\n  axes i: par 203\n  y[i] = x[i]\n");
                check_special(if from == to { &trivial } else { &text }, &[]);
            }
        }
    }
}

#[test]
fn rows_with_strides_broadcasts_and_wider_types() {
    for name in HALVES {
        let texts = [
            format!(
                "kernel k(x: {name}[9, 40], b: {name}[40]) -> (y: {name}[40, 9])\n  axes i: par 9, j: par 40\n  y[j, i] = x[i, j] + b[j]\n"
            ),
            format!(
                "kernel k(x: {name}[9, 40], b: {name}[9]) -> (y: {name}[9, 40])\n  axes i: par 9, j: par 40\n  y[i, j] = x[i, j] * b[i]\n"
            ),
            format!(
                "kernel k(x: {name}[77], p: i64[77]) -> (y: {name}[77], z: i64[77])\n  axes i: par 77\n  map {{\n    y[i] = select(p[i] > 1, x[i], 0.5)\n    z[i] = p[i] + i\n  }}\n"
            ),
            format!("kernel k(x: {name}[80]) -> (y: {name}[40])\n  axes i: par 40\n  y[i] = x[i * 2] - x[i * 2 + 1]\n"),
            format!(
                "kernel k(x: {name}[80], p: i64[40]) -> (y: {name}[40])\n  axes i: par 40\n  y[i] = x[min(max(p[i], 0), 79)]\n"
            ),
        ];
        texts.iter().for_each(|text| check_special(text, &[]));
    }
}

#[test]
fn sums_of_halves_are_made_of_singles() {
    for name in HALVES {
        for n in LENGTHS {
            let text = format!(
                "kernel k(x: {name}[5, {n}]) -> (y: {name}[5])\n  axes i: par 5, k: ser {n}\n  s = reduce sum k {{ f32(x[i, k]) }}\n  \
                 y[i] = {name}(s)\n"
            );
            check(&text, &[]);
        }
    }
}

#[test]
fn maps_of_halves_become_strips() {
    for name in HALVES {
        let text = format!("kernel k(x: {name}[640]) -> (y: {name}[640])\n  axes i: par 640\n  y[i] = {name}(exp(f32(x[i])))\n");
        for target in Target::widths() {
            let kernel = Kernel::parse(&text).unwrap();
            let listing = compile_kernels(std::slice::from_ref(&kernel), &[], &target).unwrap().listings[0].to_string();
            assert_eq!(listing.contains("strip"), target.width != Width::Portable, "{listing}");
        }
    }
}
