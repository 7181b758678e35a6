//! Eager mode on a device, which is the emulator: operators run where their operands live.

use crate::resident::{between, stand_in};
use igneous::nn::{Forward, Linear, ModuleExt, Relu, Sequential};
use igneous::optim::{Optimizer, Sgd};
use igneous::{DType, Device, Dim, IntoShape, Result, Tensor};

/// Numbers of both signs that no other test disturbs.
fn waves(shape: impl IntoShape, phase: f64) -> Tensor {
    let shape = shape.into_shape();
    let count = shape.iter().copied().product::<Dim>();
    (Tensor::arange(0, count).to_dtype(DType::F32) * 1.7 + phase).sin().reshape(shape)
}

fn assert_same(there: &Tensor, here: &Tensor, device: Device, what: &str) -> Result<()> {
    assert_eq!((there.device(), here.device()), (device, Device::Cpu), "{what}");
    assert_eq!(there.ty()?, here.ty()?, "{what}");
    for (t, h) in there.to_f64_vec()?.into_iter().zip(here.to_f64_vec()?) {
        assert!((t - h).abs() <= 1e-6 * (1.0 + h.abs()), "{what}: {t} is not {h}");
    }
    Ok(())
}

type Computation = fn(&[Tensor; 3]) -> Tensor;

#[test]
fn operators_run_where_their_operands_live() -> Result<()> {
    let Some((device, emulator)) = stand_in(80) else { return Ok(()) };
    let (x, w, b) = (waves((4, 3), 0.0), waves((5, 3), 1.0), waves(5, 2.0));
    let all: [(&str, Computation); 10] = [
        ("numbers go along", |[x, ..]| (x * 2.0 + 1.0).exp()),
        ("a linear layer", |[x, w, b]| x.matmul(&w.t()) + b),
        ("a sum over rows of a transposed tensor", |[x, ..]| x.t().sum(0)),
        ("a part", |[x, ..]| x.i((1..3, -1))),
        ("views of views", |[x, ..]| x.t().unsqueeze(0).expand((2, 3, 4)).transpose(1, 2)),
        ("another shape", |[x, ..]| x.t().reshape((2, 6))),
        ("another type", |[x, ..]| x.gt(0.0).to_dtype(DType::I64)),
        ("what is made up goes along", |[x, ..]| x + Tensor::ones((4, 3)).to_dtype(DType::F32).tril(0)),
        ("where a mask is true", |[x, ..]| x.i(x.gt(-9.0))),
        ("what the host computes", |[x, w, _]| x.matmul(&w.t()).sort(1).0),
    ];
    let there = [&x, &w, &b].map(|t| t.to(device));
    let here = [x, w, b];
    for (what, f) in all {
        let before = emulator.counts().launches;
        assert_same(&f(&there), &f(&here), device, what)?;
        assert!(emulator.counts().launches > before, "{what}: nothing was launched");
    }
    // What is there already is not sent again, and nothing is fetched.
    let _ = &there[0] + &there[0];
    let before = emulator.counts();
    let sum = &there[0] + &there[0];
    let asked = between(before, emulator.counts());
    assert_eq!((asked.launches, asked.uploads, asked.downloads), (1, 0, 0), "{asked:?}");
    assert_eq!(format!("{sum}"), format!("{}", sum.to(Device::Cpu)));
    Ok(())
}

#[test]
fn operands_on_different_devices_are_an_error_that_names_both() {
    let Some((device, _emulator)) = stand_in(81) else { return };
    let (x, y) = (Tensor::new([1.0, 2.0, 3.0]).to(device), Tensor::new([4.0, 5.0, 6.0]));
    let error = (&x + &y).check().expect_err("they live on different devices").to_string();
    for part in ["the operands of add live on different devices", "on cuda:81", "on cpu", "x.to(device)", "tests/cuda/eager.rs"] {
        assert!(error.contains(part), "`{part}` is not in {error}");
    }
    let weight = Tensor::parameter(y);
    weight.set_name("weight");
    let error = (&x * &weight).check().expect_err("they live on different devices").to_string();
    assert!(error.contains("parameter `weight`   on cpu"), "{error}");
}

#[test]
fn training_operator_by_operator_goes_as_on_the_host() -> Result<()> {
    let Some((device, _emulator)) = stand_in(82) else { return Ok(()) };
    let train = |device: Device| {
        let net = Sequential::new().push(Linear::new(3, 4)).push(Relu).push(Linear::new(4, 2));
        for (k, parameter) in net.parameters().iter().enumerate() {
            parameter.assign(&(waves(parameter.shape(), k as f64) * 0.5))?;
        }
        net.to_device(device)?;
        let sgd = Sgd::new(net.parameters(), 0.1)?;
        let mut losses = Vec::new();
        for round in 0..3 {
            let x = waves((6, 3), f64::from(round));
            let y = x.i((.., 0)).gt(0.0).to_dtype(DType::I64);
            let loss = net.forward(&x.to(device)).cross_entropy(&y.to(device));
            loss.backward()?;
            let gradient = net.parameters()[0].grad().expect("there is one");
            assert_eq!((loss.device(), gradient.device()), (device, device));
            sgd.step()?;
            losses.push(loss.item()?);
        }
        Ok::<_, igneous::Error>((net, losses))
    };
    let ((there, losses), (here, expected)) = (train(device)?, train(Device::Cpu)?);
    for (loss, expected) in losses.iter().zip(expected) {
        assert!((loss - expected).abs() < 1e-6, "{loss} is not {expected}");
    }
    for (t, h) in there.parameters().iter().zip(here.parameters()) {
        assert_same(t, &h, device, "a parameter")?;
    }
    there.to_device(Device::Cpu)?;
    assert!(there.parameters().iter().all(|p| p.device() == Device::Cpu));
    Ok(())
}

#[test]
fn variables_and_gradients_stay_where_they_are() -> Result<()> {
    let Some((device, _emulator)) = stand_in(83) else { return Ok(()) };
    let w = Tensor::variable(Tensor::new([1.0, 2.0, 3.0]).to(device));
    w.add_(Tensor::ones(3))?;
    w.mul_(2.0)?;
    assert_eq!((w.device(), w.to_vec::<f32>()?), (device, vec![4.0, 6.0, 8.0]));
    assert_eq!(w.duplicate().device(), device);
    assert_eq!(w.zeros_like().device(), device);
    // The gradient of a leaf on the host, through its copy on the device and beside it.
    let leaf = Tensor::new([1.0, 2.0, 3.0]).requires_grad_();
    (leaf.to(device) * 3.0).sum_all().backward()?;
    (&leaf * 2.0).sum_all().backward()?;
    let gradient = leaf.grad().expect("there is one");
    assert_eq!((gradient.device(), gradient.to_vec::<f32>()?), (Device::Cpu, vec![5.0; 3]));
    // Random numbers go along.
    let dropped = Tensor::ones((8, 8)).to(device).dropout(0.5);
    assert_eq!(dropped.device(), device);
    let kept = dropped.to_vec::<f32>()?;
    assert!(kept.contains(&0.0) && kept.contains(&2.0) && kept.iter().all(|&x| x == 0.0 || x == 2.0), "{kept:?}");
    let noisy = Tensor::ones((8, 8)).to(device) + Tensor::rand((8, 8));
    assert_eq!(noisy.device(), device);
    noisy.check()
}
