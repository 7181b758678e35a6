//! The frontend: tensors, gradients, variables, compiled functions and their errors.

mod attention;
mod autocast;
mod autograd;
mod compiled;
mod control;
mod convolutions;
mod custom;
mod data;
mod dumps;
mod edges;
mod errors;
mod extremes;
mod files;
mod functional;
mod halves;
mod initial;
mod kernels;
mod layers;
mod loops;
mod losses;
mod memory;
mod metrics;
mod modules;
mod operators;
mod optimizers;
mod parity;
mod quantized;
mod random;
mod readme;
mod recurrent;
mod resume;
mod saved;
mod schedulers;
mod score_mod;
mod scratch;
mod symbolic;
mod tensors;
mod training;
mod variables;

use igneous::{Element, Result, Tensor, manual_seed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The elements of a tensor that must be valid.
#[track_caller]
fn vec<T: Element>(tensor: &Tensor) -> Vec<T> {
    tensor.to_vec().unwrap_or_else(|e| panic!("{e}"))
}

/// A tensor of `f64` data.
fn f64s(data: &[f64], shape: impl igneous::IntoShape) -> Tensor {
    Tensor::from_slice(data, shape)
}

#[track_caller]
fn close(tensor: &Tensor, expected: &[f64]) {
    let found = tensor.to_f64_vec().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(found.len(), expected.len(), "{tensor}");
    for (a, b) in found.iter().zip(expected) {
        assert!(
            (a - b).abs() <= 1e-5 * b.abs().max(1.0) || a == b || (a.is_nan() && b.is_nan()),
            "{found:?} is not {expected:?}"
        );
    }
}

/// The message of the error a result must be.
#[track_caller]
fn message<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => panic!("an error was expected"),
        Err(error) => error.to_string(),
    }
}

/// Starts the random numbers at `seed`. They are one stream of the process: a test that depends on them holds this, and so
/// does every test that draws any, such as one that makes a layer.
fn seeded(seed: u64) -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    let guard = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    manual_seed(seed);
    guard
}
