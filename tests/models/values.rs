//! Weights and inputs from the formulas of `tests/parity/zoo.py`.

use igneous::nn::{Module, ModuleExt};
use igneous::{DType, Tensor};

/// FNV-1a, 64 bits.
fn fnv(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// Numbers in [0, 1), multiples of 2⁻²⁴: splitmix64 of the name's hash.
fn uniform(name: &str, count: usize) -> Vec<f64> {
    let seed = fnv(name);
    let number = |i: u64| {
        let mut z = seed.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f64 / (1u64 << 24) as f64
    };
    (1..=count as u64).map(number).collect()
}

/// `f64` numbers in ±1 that `f32` holds.
pub fn values(name: &str, shape: &[usize]) -> Tensor {
    let numbers: Vec<f64> = uniform(name, shape.iter().product()).iter().map(|u| u * 2.0 - 1.0).collect();
    Tensor::from_vec(numbers, shape)
}

/// Integers below a count.
pub fn integers(name: &str, shape: &[usize], count: usize) -> Tensor {
    let numbers: Vec<i64> = uniform(name, shape.iter().product()).iter().map(|u| (u * count as f64).floor() as i64).collect();
    Tensor::from_vec(numbers, shape)
}

/// Gives parameters and running statistics values by their names.
pub fn fill(module: &impl Module) {
    for (name, tensor) in module.named_variables() {
        let shape = tensor.ty().and_then(|ty| ty.sizes()).unwrap_or_else(|e| panic!("{name}: {e}"));
        if !tensor.dtype().is_float() || name.ends_with("pe") {
            continue;
        }
        let fan: usize = shape.iter().skip(1).product();
        let value = |u: f64| match shape.len() {
            _ if name.ends_with("running_var") => 0.5 + u,
            2.. => (u - 0.5) * (2.0 * (3.0 / fan as f64).sqrt()),
            _ if name.ends_with("weight") => 1.0 + (u - 0.5) * 0.5,
            _ => (u - 0.5) * 0.5,
        };
        let numbers: Vec<f32> = uniform(&name, shape.iter().product()).into_iter().map(|u| value(u) as f32).collect();
        tensor.assign(&Tensor::from_vec(numbers, &shape).to_dtype(tensor.dtype())).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

/// A module with these values in this type of elements.
pub fn filled<M: Module>(module: M, dtype: DType) -> M {
    fill(&module);
    module.to_dtype(dtype).unwrap_or_else(|e| panic!("{e}"));
    module
}
