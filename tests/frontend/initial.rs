//! Initialisers: their distributions and structures.

use crate::seeded;
use igneous::Tensor;
use igneous::nn::init::{self, Activation, FanMode, Kaiming};
use igneous::testing::{assert_close, assert_values, gradcheck};

/// Mean and standard deviation of many numbers, and the largest of them.
fn statistics(tensor: &Tensor) -> (f64, f64, f64) {
    let values = tensor.to_f64_vec().unwrap();
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    (mean, variance.sqrt(), values.iter().fold(0.0, |a: f64, x| a.max(x.abs())))
}

/// A distribution of mean 0 with this deviation: four standard errors of both are allowed. Uniform numbers have a bound.
#[track_caller]
fn check(tensor: &Tensor, deviation: f64, bound: Option<f64>) {
    let (mean, found, largest) = statistics(tensor);
    let n = tensor.elements().get().unwrap() as f64;
    assert!(mean.abs() < 4.0 * deviation / n.sqrt(), "mean {mean}");
    assert!((found / deviation - 1.0).abs() < 4.0 / (2.0 * n).sqrt(), "deviation {found} instead of {deviation}");
    if let Some(bound) = bound {
        assert!(largest <= bound && largest > 0.99 * bound, "{largest} of {bound}");
    }
}

#[test]
fn sizes_by_fans() {
    let _one = seeded(1);
    let shape = [60, 30, 3, 2];
    let (inputs, outputs): (f64, f64) = (30.0 * 6.0, 60.0 * 6.0);
    assert_eq!(init::fans(&shape), (180, 360));
    let third = 3f64.sqrt();
    let xavier = (2.0 / (inputs + outputs)).sqrt();
    check(&init::xavier_uniform(&shape), xavier, Some(third * xavier));
    check(&init::xavier_normal_with(&shape, 2.0), 2.0 * xavier, None);
    let he = (2.0 / inputs).sqrt();
    check(&init::kaiming_uniform(&shape), he, Some(third * he));
    check(&init::kaiming_normal(&shape), he, None);
    let options = Kaiming { mode: FanMode::Out, activation: Activation::Tanh };
    check(&init::kaiming_normal_with(&shape, options), 5.0 / 3.0 / outputs.sqrt(), None);
    assert_eq!(init::calculate_gain(Activation::LeakyRelu(1.0)), 1.0);
    assert_eq!(init::calculate_gain(Activation::Relu), 2f64.sqrt());
    assert_eq!(init::calculate_gain(Activation::Selu), 0.75);
}

/// The variance of a normal distribution cut at ±1 deviation is 0.2911 of the whole one.
#[test]
fn truncated_numbers() {
    let _one = seeded(2);
    let x = init::trunc_normal(40_000, 0.0, 2.0, -2.0, 2.0);
    check(&x, 2.0 * 0.291_125_f64.sqrt(), Some(2.0));
    let tail = init::trunc_normal(1000, 0.0, 1.0, 4.0, 5.0).to_f64_vec().unwrap();
    assert!(tail.iter().all(|x| (4.0..=5.0).contains(x)) && tail.iter().any(|&x| x > 4.5), "far from the mean, too");
    assert!(init::trunc_normal(3, 0.0, 1.0, 2.0, 1.0).error().is_some());
}

#[test]
fn orthogonal_matrices() {
    let _one = seeded(3);
    for shape in [&[7, 4][..], &[4, 7], &[5, 5], &[6, 2, 3]] {
        let w = init::orthogonal(shape, 2.0).reshape((shape[0], -1));
        let product = if w.size(0).get().unwrap() > w.size(1).get().unwrap() { w.t().matmul(&w) } else { w.matmul(&w.t()) };
        assert_close(&product, &(Tensor::eye(product.size(0)) * 4.0), 1e-5);
    }
    assert!(init::orthogonal(&[3], 1.0).error().is_some());
    assert_eq!(init::orthogonal(&[0, 3], 1.0).elements().get().unwrap(), 0);
}

#[test]
fn structures() {
    let _one = seeded(4);
    let zeros = init::sparse(10, 30, 0.25, 0.5).equal(0.0).to_dtype(igneous::DType::I64).sum(0);
    assert_eq!(zeros.to_vec::<i64>().unwrap(), [3; 30], "a quarter of ten, rounded up");
    assert_values(&init::eye(2, 3), &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0], 0.0);
    let x = Tensor::randn((2, 3, 5, 4));
    let passed = |groups: usize| {
        let weight = init::dirac(&[6, 3 / groups, 3, 3], groups);
        let options = igneous::Conv { padding: 1.into(), groups, ..igneous::default() };
        x.conv2d(&weight, None, options)
    };
    assert_close(&passed(1).i((.., ..3)), &x, 0.0);
    assert_close(&passed(1).i((.., 3..)), &Tensor::zeros((2, 3, 5, 4)), 0.0);
    assert_close(&passed(3).i((.., Tensor::new([0, 2, 4]))), &x, 0.0);
    assert!(init::dirac(&[2, 2], 1).error().is_some() && init::dirac(&[3, 1, 2], 2).error().is_some());
}

/// The inverse of the error function, near 0, in the middle and at the ends.
#[test]
fn inverse_error_function() {
    let x: Vec<f64> = vec![-0.999_999, -0.9, -0.5, -1e-9, 0.0, 0.1, 0.6, 0.95, 0.999_999_999];
    let y = Tensor::from_slice(&x, x.len()).erfinv();
    assert_values(&y.erf(), &x, 1e-14);
    // Values of scipy.special.erfinv.
    assert_values(&y.i(1..4), &[-1.163_087_153_676_674, -0.476_936_276_204_469_9, -8.862_269_254_527_58e-10], 1e-14);
    let ends = Tensor::new([1.0, -1.0, 1.5]).erfinv().to_f64_vec().unwrap();
    assert!(ends[0] == f64::INFINITY && ends[1] == f64::NEG_INFINITY && ends[2].is_nan());
    gradcheck(|t| t[0].erfinv(), &[Tensor::from_vec(vec![-0.7f64, 0.01, 0.5], 3)]).unwrap();
}
