//! The inputs of operator samples: numbers that depend on nothing but the sample.

use crate::array::Array;
use crate::error::Result;
use crate::op::{Fill, Sample};
use crate::types::{DType, TensorType};
use std::f64::consts::TAU;

/// The inputs of a sample, rounded to their types. They depend on the operator's text and each operand's position only.
///
/// # Errors
/// If a dimension is symbolic: substitute it first.
pub fn inputs(sample: &Sample) -> Result<Vec<Array>> {
    let text = sample.op.to_string();
    let arrays = sample.inputs.iter().enumerate();
    arrays.map(|(k, (ty, fill))| array(ty, *fill, seed(&text), k)).collect()
}

/// The array of type `ty` for operand `position`; equal arguments give equal arrays.
///
/// # Errors
/// If a dimension is symbolic.
pub fn array(ty: &TensorType, fill: Fill, seed: u64, position: usize) -> Result<Array> {
    let (dtype, shape) = (ty.dtype, ty.sizes()?);
    let n: usize = shape.iter().product();
    let mut random = Random(seed ^ (position as u64 + 1).wrapping_mul(GOLDEN));
    Ok(match fill {
        Fill::Normal => floats(dtype, shape, n, |_| random.normal()),
        Fill::Uniform(lo, hi) => floats(dtype, shape, n, |_| lo + (hi - lo) * random.unit()),
        Fill::Range(lo, hi) => ints(dtype, shape, n, |_| lo + random.below(hi.abs_diff(lo).max(1)) as i64),
        Fill::Specials => {
            // A later operand stays longer at each number, so that two operands meet in all pairs.
            let place = |i: usize| i / SPECIALS.pow(position as u32) % SPECIALS;
            if dtype.is_float() {
                let numbers = special_floats(dtype);
                floats(dtype, shape, n, |i| numbers[place(i)])
            } else {
                ints(dtype, shape, n, |i| special_ints(dtype)[place(i)])
            }
        }
        Fill::Distinct => {
            let mut order: Vec<i64> = (0..n as i64).map(|k| k - if dtype == DType::U8 { 0 } else { n as i64 / 2 }).collect();
            for i in (1..n).rev() {
                order.swap(i, random.below(i as u64 + 1) as usize);
            }
            // Quarters, so that not all are integers: exact in half types too.
            if dtype.is_float() { floats(dtype, shape, n, |i| order[i] as f64 / 4.0) } else { Array::ints(dtype, shape, order) }
        }
    })
}

/// Rounded to `dtype`; to the nearest integer if it is no float.
fn floats(dtype: DType, shape: Vec<usize>, n: usize, value: impl FnMut(usize) -> f64) -> Array {
    let values = (0..n).map(value);
    if dtype.is_float() {
        Array::floats(dtype, shape, values.map(|x| dtype.round(x)).collect())
    } else {
        Array::ints(dtype, shape, values.map(|x| x.round() as i64).collect())
    }
}

fn ints(dtype: DType, shape: Vec<usize>, n: usize, mut value: impl FnMut(usize) -> i64) -> Array {
    if dtype.is_float() {
        floats(dtype, shape, n, |i| value(i) as f64)
    } else {
        Array::ints(dtype, shape, (0..n).map(value).collect())
    }
}

/// How many special numbers a type has.
pub const SPECIALS: usize = 16;

/// Zeros, infinities, NaN, and numbers near the ends of the range of a floating-point type.
fn special_floats(dtype: DType) -> [f64; SPECIALS] {
    let (digits, top) = match dtype {
        DType::F64 => (52, 1023),
        DType::F32 => (23, 127),
        DType::F16 => (10, 15),
        _ => (7, 127),
    };
    let power = |e: i32| 2f64.powi(e);
    let largest = (2.0 - power(-digits)) * power(top);
    let (normal, subnormal) = (power(1 - top), power(1 - top) * power(-digits));
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    [0.0, -0.0, 1.0, -1.0, inf, -inf, nan, 0.5, -2.5, 3.0, normal, -normal, 3.0 * subnormal, -subnormal, largest, -largest]
}

/// Small numbers and the ends of the range of an integer type.
fn special_ints(dtype: DType) -> [i64; SPECIALS] {
    let (lo, hi) = dtype.int_limits();
    [0, 1, -1, 2, -2, 3, -3, 7, -8, 100, lo, hi, lo.wrapping_add(1), hi - 1, lo / 2, hi / 2]
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// FNV-1a of a text.
pub fn seed(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

/// SplitMix64. Steele et al. 2014, "Fast splittable pseudorandom number generators".
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `[0, 1)`.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `0..n`, but for a bias below `n / 2^64`.
    fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    /// Box and Muller's; the functions are Rust's own, so equal on every platform.
    fn normal(&mut self) -> f64 {
        let (u, v) = (1.0 - self.unit(), self.unit());
        (-2.0 * libm::log(u)).sqrt() * libm::cos(TAU * v)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(dtype: DType, n: usize, fill: Fill, position: usize) -> Array {
        array(&TensorType::new(dtype, [n]), fill, seed("test"), position).unwrap()
    }

    #[test]
    fn normal_numbers_have_mean_zero_and_variance_one() {
        let x = make(DType::F64, 20_000, Fill::Normal, 0).to_f64();
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        let variance = x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    }

    #[test]
    fn equal_arguments_give_equal_arrays_and_operands_differ() {
        assert_eq!(make(DType::F32, 50, Fill::Normal, 0), make(DType::F32, 50, Fill::Normal, 0));
        assert_ne!(make(DType::F32, 50, Fill::Normal, 0), make(DType::F32, 50, Fill::Normal, 1));
    }

    #[test]
    fn ranges_are_kept_and_reached() {
        let x = make(DType::I64, 500, Fill::Range(-2, 3), 0).to_f64();
        for v in -2..3 {
            assert!(x.contains(&f64::from(v)), "{v} is missing");
        }
        assert!(x.iter().all(|&v| (-2.0..3.0).contains(&v)));
        let u = make(DType::F64, 500, Fill::Uniform(0.5, 2.0), 0).to_f64();
        assert!(u.iter().all(|&v| (0.5..2.0).contains(&v)));
    }

    #[test]
    fn distinct_numbers_have_no_ties_and_are_out_of_order() {
        for dtype in [DType::F32, DType::BF16, DType::I64, DType::U8, DType::I8] {
            let x = make(dtype, 200, Fill::Distinct, 0).to_f64();
            let mut sorted = x.clone();
            sorted.sort_by(f64::total_cmp);
            sorted.dedup();
            assert_eq!(sorted.len(), 200, "{dtype}");
            assert_ne!(x, sorted, "{dtype}");
        }
    }

    #[test]
    fn special_numbers_meet_in_all_pairs() {
        let [a, b] = [0, 1].map(|k| make(DType::F16, 256, Fill::Specials, k));
        let mut pairs: Vec<[u64; 2]> = (0..256).map(|i| [a.f(i).to_bits(), b.f(i).to_bits()]).collect();
        pairs.sort();
        pairs.dedup();
        assert_eq!(pairs.len(), 256);
        assert!(a.to_f64().contains(&65504.0) && a.to_f64().contains(&(3.0 * 2f64.powi(-24))));
    }
}
