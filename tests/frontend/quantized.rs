//! Products of bytes, and layers with weights of eight bits.

use crate::{message, seeded, vec};
use igneous::data::{DataLoader, Mnist};
use igneous::nn::{Activations, Flatten, Forward, Linear, ModuleExt, Relu, Sequential, StateDict};
use igneous::optim::{Adam, Optimizer};
use igneous::testing::assert_close;
use igneous::{DType, Result, Tensor, compile, no_grad};

/// All numbers of a byte, in a long and in a short product, against sums in 64 bits; with batches and vectors too.
#[test]
fn products_of_bytes() {
    let _one = seeded(1);
    let bytes = |shape: &[usize]| (Tensor::rand(shape.to_vec()) * 256.0 - 128.0).floor().to_dtype(DType::I8);
    for [left, right] in [
        [&[3usize, 5000][..], &[5000, 70][..]],
        [&[65, 33], &[33, 9]],
        [&[2, 3, 4, 40], &[2, 1, 40, 17]],
        [&[40], &[40, 17]],
        [&[2, 4, 40], &[40]],
        [&[1, 0], &[0, 2]],
    ] {
        let (a, b) = (bytes(left), bytes(right));
        let expected = a.to_dtype(DType::I64).matmul(&b.to_dtype(DType::I64));
        for found in [a.int_mm(&b), compile(|a: Tensor, b: Tensor| a.int_mm(&b)).run((a.clone(), b.clone())).unwrap()] {
            assert_eq!(found.dtype(), DType::I32);
            assert_eq!(found.to_i64_vec().unwrap(), vec::<i64>(&expected), "{left:?} {right:?}");
        }
    }
    let lowest = Tensor::full((4, 4096), -128).to_dtype(DType::I8);
    assert_eq!(vec::<i32>(&lowest.int_mm(&lowest.t())), [1 << 26; 16]);
}

#[test]
fn operands_that_are_no_bytes() {
    let (a, b) = (Tensor::zeros((2, 3)).to_dtype(DType::I8), Tensor::zeros((3, 2)));
    let error = message(a.int_mm(&b).to_i64_vec());
    assert!(error.contains("int_mm needs operands of type i8") && error.contains("f32[3, 2]"), "{error}");
    let error = message(a.int_mm(&a).to_i64_vec());
    assert!(error.contains("int_mm needs the last dimension of the left operand") && error.contains("i8[2, 3]"), "{error}");
}

/// The outputs lie as near to those of the layer as rounding allows: half a step of the weights for each input and, where inputs are
/// rounded too, half a step of those for each weight.
#[test]
fn quantized_layers_are_near() {
    let _one = seeded(2);
    let layer = Linear::new(300, 70);
    let x = Tensor::randn((33, 300)) * 3.0;
    let expected = layer.forward(&x);
    let step = layer.weight.detach().abs().max(1) * (0.5 / 127.0);
    for activations in [Activations::Float, Activations::Dynamic] {
        let small = layer.quantize(activations);
        assert_eq!(small.weight.dtype(), DType::I8);
        let found = small.forward(&x);
        let mut bound = x.abs().sum_keepdim(1) * &step + 1e-4;
        if activations == Activations::Dynamic {
            let of_rows = x.abs().max_keepdim(1) * (0.5 / 127.0);
            bound = bound + &of_rows * layer.weight.detach().abs().sum(1) + &of_rows * &step * 300.0;
        }
        let beyond = (&found - &expected).abs().gt(&bound);
        assert!(!vec::<bool>(&beyond).contains(&true), "{activations:?}");
        assert!((&found - &expected).abs().max_all().item().unwrap() > 0.0, "nothing was rounded");
        let (own, given) = (small.clone(), x.clone());
        let compiled = compile(move |x: Tensor| own.forward(&x)).run(given).unwrap();
        assert_close(&compiled, &found, 1e-5);
        for half in [DType::F16, DType::BF16] {
            let found = small.forward(&x.to_dtype(half));
            assert_eq!(found.dtype(), half);
            assert_close(&found.to_dtype(DType::F32), &small.forward(&x.to_dtype(half).to_dtype(DType::F32)), 0.02);
        }
    }
}

/// Rows of zeros, of NaN and of infinity give what a product of floats does.
#[test]
fn rows_without_a_scale() {
    let _one = seeded(3);
    let layer = Linear::new(4, 3);
    let x = Tensor::new([[0.0; 4], [f64::NAN, 1.0, 1.0, 1.0], [f64::INFINITY, 1.0, 1.0, 1.0]]);
    let found = layer.quantize(Activations::Dynamic).forward(&x).to_f64_vec().unwrap();
    assert_eq!(found[..3], layer.bias.as_ref().unwrap().to_f64_vec().unwrap()[..]);
    assert!(found[3..].iter().all(|y| !y.is_finite()), "{found:?}");
    let zero = Linear { weight: Tensor::parameter(Tensor::zeros((3, 4))), bias: None };
    assert_eq!(vec::<f32>(&zero.quantize(Activations::Float).forward(&Tensor::ones((1, 4)))), [0.0; 3]);
}

/// Layers of a network that have such a form are replaced, also inside; their state goes through a file.
#[test]
fn networks_and_their_state() {
    let _one = seeded(4);
    let inner = Sequential::new().push(Linear::new(6, 6)).push(Relu);
    let net = || Sequential::new().push(Flatten::new()).push(inner.clone()).push_named("head", Linear::new(6, 2).without_bias());
    let small = net().quantize(Activations::Dynamic);
    let names: Vec<String> = small.named_variables().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["1.0.weight", "1.0.weight_scale", "1.0.bias", "head.weight", "head.weight_scale"]);
    let path = std::env::temp_dir().join(format!("igneous-{}-quantized.safetensors", std::process::id()));
    small.state_dict().save(&path).unwrap();
    let state = StateDict::load(&path);
    std::fs::remove_file(&path).unwrap();
    let other = net().quantize(Activations::Dynamic);
    other.load_state_dict(&state.unwrap()).unwrap();
    let x = Tensor::randn((5, 2, 3));
    assert_close(&other.forward(&x), &small.forward(&x), 0.0);
}

/// Weights of a compiled layer are read as bytes: no program keeps a wider copy of them.
#[test]
fn weights_stay_bytes() {
    let _one = seeded(5);
    for activations in [Activations::Float, Activations::Dynamic] {
        let layer = Linear::new(256, 64).quantize(activations);
        let lowered = compile(move |x: Tensor| layer.forward(&x)).lower(Tensor::zeros((32, 256))).unwrap();
        let kernels: String = lowered.kernels().iter().map(|k| k.to_string()).collect();
        assert!(kernels.contains("i8[64, 256]") && !kernels.contains("f32[64, 256]"), "{activations:?}:\n{kernels}");
        assert!(!kernels.contains("i32[64, 256]") && !kernels.contains("i32[32, 64]"), "{activations:?}:\n{kernels}");
    }
}

/// A trained classifier of digits stays as good.
#[test]
fn digits() -> Result<()> {
    let _one = seeded(6);
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/mnist");
    if !std::path::Path::new(directory).exists() {
        println!("skipped: {directory} is not there");
        return Ok(());
    }
    let net = Sequential::new().push(Linear::new(784, 128)).push(Relu).push(Linear::new(128, 10));
    let adam = Adam::new(net.parameters(), 0.002)?;
    let step = {
        let net = net.clone();
        compile(move |x: Tensor, y: Tensor| {
            let loss = net.forward(&x.flatten(1, -1)).cross_entropy(&y);
            loss.backward()?;
            adam.step()?;
            Ok(loss)
        })
    };
    for batch in DataLoader::new(Mnist::train(directory)?, 128).shuffle(1).drop_last().epoch(0).take(400) {
        step.run(batch?)?;
    }
    let accuracy = |net: &Sequential| -> Result<f64> {
        let mut right = 0;
        for batch in DataLoader::new(Mnist::test(directory)?, 1000).epoch(0) {
            let (x, y) = batch?;
            let found = no_grad(|| net.forward(&x.flatten(1, -1)).argmax(-1));
            right += vec::<bool>(&found.equal(&y)).into_iter().filter(|same| *same).count();
        }
        Ok(right as f64 / 10_000.0)
    };
    let expected = accuracy(&net)?;
    assert!(expected > 0.93, "{expected}");
    for activations in [Activations::Float, Activations::Dynamic] {
        let found = accuracy(&net.quantize(activations))?;
        assert!((found - expected).abs() < 0.005, "{activations:?}: {found} instead of {expected}");
    }
    Ok(())
}
