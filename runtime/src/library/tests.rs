//! Operators over many lines, which several threads share.

use super::{Arguments, Layout, find};
use crate::buffer::Element;
use igneous_ir::op::Op;
use igneous_ir::ops::{index, reduction};
use igneous_ir::types::DType;

/// The results of an operator of one operand, whose types are given.
fn run<T: Element, U: Element + Default>(op: &Op, x: &[T], shape: &[usize], results: &[usize]) -> (Vec<U>, Vec<i64>) {
    let bytes = |dtype: DType, n: usize| vec![0u64; (n * dtype.size()).div_ceil(8)];
    let layout = |dtype, shape: &[usize]| Layout { dtype, shape: shape.to_vec() };
    let (operand, first, second) = (layout(T::DTYPE, shape), layout(U::DTYPE, results), layout(DType::I64, results));
    let (mut y, mut places) = (bytes(U::DTYPE, first.elements()), bytes(DType::I64, second.elements()));
    // SAFETY: plain numbers as bytes.
    unsafe fn view<A, B: Copy>(all: &mut [A], n: usize) -> &mut [B] {
        unsafe { std::slice::from_raw_parts_mut(all.as_mut_ptr().cast(), n) }
    }
    let mut x = x.to_vec();
    // SAFETY: the vectors have that many bytes, and are aligned for numbers of 64 bits.
    unsafe {
        let operand = (&operand, &*view::<T, u8>(&mut x, operand.bytes()));
        let results = vec![(&first, view::<u64, u8>(&mut y, first.bytes())), (&second, view(&mut places, second.bytes()))];
        let mut arguments = Arguments { op, operands: vec![operand], results };
        if op.name() == "cumulative" {
            arguments.results.pop();
        }
        find(op.name()).unwrap()(&mut arguments).unwrap();
        (view::<u64, U>(&mut y, first.elements()).to_vec(), view::<u64, i64>(&mut places, second.elements()).to_vec())
    }
}

/// Numbers with many equal ones, both zeros, infinities and NaN.
fn numbers(n: usize) -> Vec<f32> {
    let specials = [0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -f32::NAN, 1e-45];
    let mut state = 1u64;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let r = (state >> 33) as usize;
            if r.is_multiple_of(9) { specials[r / 9 % specials.len()] } else { (r % 1000) as f32 - 500.0 }
        })
        .collect()
}

/// The lines of a tensor `[a, n, b]` along its second axis.
fn lines(x: &[f32], [a, n, b]: [usize; 3]) -> impl Iterator<Item = Vec<f32>> {
    (0..a * b).map(move |l| (0..n).map(|k| x[(l / b * n + k) * b + l % b]).collect())
}

/// NaN is above all numbers, zeros are equal.
fn order(a: &f32, b: &f32) -> std::cmp::Ordering {
    a.partial_cmp(b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

#[test]
fn lines_are_ordered_stably() {
    for shape in [[600, 70, 1], [3, 70, 301], [1, 5000, 9], [40, 1, 1], [2, 0, 3]] {
        let x = numbers(shape.iter().product());
        for descending in [false, true] {
            for k in [0, 1, 5, 32, 33, 69, shape[1]] {
                if k > shape[1] {
                    continue;
                }
                let op = if k == shape[1] { index::sort(1, descending) } else { index::topk(k, 1, descending) };
                let results = [shape[0], k, shape[2]];
                let (values, places) = run::<f32, f32>(&op, &x, &shape, &results);
                let places: Vec<f32> = places.into_iter().map(|p| p as f32).collect();
                for ((line, value), place) in lines(&x, shape).zip(lines(&values, results)).zip(lines(&places, results)) {
                    let mut expected: Vec<usize> = (0..line.len()).collect();
                    expected.sort_by(|&i, &j| if descending { order(&line[j], &line[i]) } else { order(&line[i], &line[j]) });
                    for (i, (value, place)) in value.into_iter().zip(place).enumerate() {
                        assert_eq!(place as usize, expected[i], "{k} of {shape:?}, descending {descending}");
                        assert_eq!(value.to_bits(), line[expected[i]].to_bits());
                    }
                }
            }
        }
    }
}

#[test]
fn sums_go_along_lines_in_both_directions() {
    for shape in [[600, 70, 1], [3, 70, 301], [1, 5000, 9], [40, 1, 1], [2, 0, 3]] {
        let x: Vec<f32> = numbers(shape.iter().product()).into_iter().map(|x| if x.is_finite() { x } else { 0.5 }).collect();
        for reverse in [false, true] {
            let (y, _) = run::<f32, f32>(&reduction::cumulative("sum", 1, reverse), &x, &shape, &shape);
            for (line, sums) in lines(&x, shape).zip(lines(&y, shape)) {
                let mut sum = 0.0f64;
                let mut expected: Vec<f32> = Vec::new();
                let mut add = |x: &f32| {
                    sum += f64::from(*x);
                    expected.push(sum as f32);
                };
                if reverse {
                    line.iter().rev().for_each(&mut add)
                } else {
                    line.iter().for_each(&mut add)
                }
                if reverse {
                    expected.reverse();
                }
                assert_eq!(sums, expected, "{shape:?}, reverse {reverse}");
            }
        }
    }
}
