//! Compiled functions on a device, which is the emulator: what stays there, what is sent and fetched, and when.

use crate::emulator::{Counts, Emulator, compiler};
use igneous::nn::{Forward, Linear, Module, ModuleExt, Relu, Sequential};
use igneous::optim::{Adam, Optimizer};
use igneous::{DType, Device, Result, Tensor, compile, manual_seed};
use igneous_runtime::cuda;
use std::cell::Cell;
use std::sync::Arc;

/// A stand-in for a device of its own number; none without a C++ compiler.
pub fn stand_in(number: usize) -> Option<(Device, Arc<Emulator>)> {
    let emulator = Arc::new(Emulator::new(compiler()?, &format!("device-{number}")));
    cuda::install(number, emulator.clone());
    Some((Device::cuda(number), emulator))
}

fn network() -> (Sequential, Adam) {
    manual_seed(5);
    let net = Sequential::new().push(Linear::new(6, 8)).push(Relu).push(Linear::new(8, 3));
    let adam = Adam::new(net.parameters(), 0.05).expect("there are parameters");
    (net, adam)
}

fn batch(seed: u64) -> (Tensor, Tensor) {
    manual_seed(seed);
    let x = Tensor::randn((10, 6));
    let labels = x.i((.., 0)).gt(0.0).to_dtype(DType::I64) + x.i((.., 1)).gt(0.0).to_dtype(DType::I64);
    (x, labels)
}

fn values(net: &impl Module) -> Vec<Vec<f32>> {
    net.parameters().iter().map(|p| p.to_vec().expect("parameters can be read")).collect()
}

fn assert_near(a: &[Vec<f32>], b: &[Vec<f32>]) {
    assert_eq!(a.len(), b.len());
    for (x, y) in a.iter().flatten().zip(b.iter().flatten()) {
        assert!((x - y).abs() <= 1e-5 * (1.0 + y.abs()), "{x} is not {y}");
    }
}

/// What was asked for between two counts.
pub fn between(before: Counts, after: Counts) -> Counts {
    Counts {
        launches: after.launches - before.launches,
        products: after.products - before.products,
        convolutions: after.convolutions - before.convolutions,
        uploads: after.uploads - before.uploads,
        beside: after.beside - before.beside,
        downloads: after.downloads - before.downloads,
        replays: after.replays - before.replays,
    }
}

/// Trains a network on the device and its twin on the host, and compares losses and parameters. `asked` is called with each round,
/// before its step and after it.
pub fn train_beside(device: Device, rounds: u64, asked: impl Fn(u64, Moment)) -> Result<()> {
    let train = |device: Device| {
        let (net, adam) = network();
        let parameters = net.clone();
        let step = compile(move |x: Tensor, y: Tensor| {
            let loss = net.forward(&x).cross_entropy(&y);
            loss.backward()?;
            adam.step()?;
            Ok(loss)
        });
        (step.device(device), parameters)
    };
    let ((here, ours), (there, theirs)) = (train(Device::Cpu), train(device));
    let mut last = None;
    for round in 0..rounds {
        let batch_there = batch(round);
        asked(round, Moment::Before);
        let loss = there.run(batch_there)?;
        asked(round, Moment::After);
        assert_eq!(loss.device(), device);
        let expected = here.run(batch(round))?.item()?;
        assert!((loss.item()? - expected).abs() < 1e-5, "round {round}");
        if round % 3 == 0 {
            // What is read between steps is what the last one left.
            assert_near(&values(&theirs), &values(&ours));
        }
        last = Some(expected);
    }
    assert!(last < Some(1.0), "the network learns: {last:?}");
    assert!(theirs.parameters().iter().all(|p| p.device() == device));
    assert_near(&values(&theirs), &values(&ours));
    Ok(())
}

/// A moment of a round of training.
#[derive(Clone, Copy, PartialEq)]
pub enum Moment {
    /// Before the step.
    Before,
    /// After it.
    After,
}

#[test]
fn training_stays_on_the_device() -> Result<()> {
    let Some((device, emulator)) = stand_in(70) else { return Ok(()) };
    let before = Cell::new(emulator.counts());
    train_beside(device, 8, |round, moment| {
        let asked = between(before.replace(emulator.counts()), emulator.counts());
        if moment == Moment::After && round >= 4 {
            // The two arguments, and whether a check failed: labels out of range are found on the device.
            assert_eq!((asked.uploads, asked.downloads, asked.replays), (2, 1, 1), "round {round}");
        }
    })
}

#[test]
fn the_next_input_is_sent_beside_the_run_before() -> Result<()> {
    let Some((device, emulator)) = stand_in(84) else { return Ok(()) };
    let double = compile(|x: Tensor| x * 2.0).device(device);
    let mut results = Vec::new();
    for round in 0..6 {
        let before = emulator.counts();
        results.push(double.run(Tensor::full(4, f64::from(round)))?);
        let asked = between(before, emulator.counts());
        // Both places are there from the third run on; then the copy waits for the run that used its place, not for the last one.
        assert!(asked.uploads == 1 || round == 0, "round {round}: {asked:?}");
        assert_eq!(asked.beside, usize::from(round >= 2), "round {round}: {asked:?}");
    }
    for (round, result) in results.iter().enumerate() {
        assert_eq!(result.to_vec::<f32>()?, [2.0 * round as f32; 4]);
    }
    assert_eq!(emulator.take_violations(), [""; 0]);
    Ok(())
}

#[test]
fn variables_are_seen_on_both_sides() -> Result<()> {
    let Some((device, emulator)) = stand_in(71) else { return Ok(()) };
    let w = Tensor::variable(Tensor::new([1.0, 2.0, 3.0]));
    let scale = Tensor::variable(Tensor::new(2.0));
    let double = {
        let (w, scale) = (w.clone(), scale.clone());
        compile(move || w.assign(&(&w * &scale))).device(device)
    };
    double.run(())?;
    let kept = w.detach();
    double.run(())?;
    // Whoever took the value before keeps it.
    assert_eq!(kept.to_vec::<f32>()?, [2.0, 4.0, 6.0]);
    assert_eq!(w.to_vec::<f32>()?, [4.0, 8.0, 12.0]);
    // Eager mode reads it on the host, and what is assigned there is used on the device.
    assert_eq!((&w + 1.0).to_vec::<f32>()?, [5.0, 9.0, 13.0]);
    w.assign(&Tensor::new([1.0, 1.0, 5.0]))?;
    double.run(())?;
    assert_eq!(w.to_vec::<f32>()?, [2.0, 2.0, 10.0]);
    scale.assign(&Tensor::new(-1.0))?;
    double.run(())?;
    assert_eq!(w.to_vec::<f32>()?, [-2.0, -2.0, -10.0]);
    // A variable that only the program reads is sent once.
    let before = emulator.counts();
    double.run(())?;
    assert_eq!(between(before, emulator.counts()).uploads, 0);
    // Programs of the host and of the device take turns.
    let here = {
        let w = w.clone();
        compile(move || w.assign(&(&w + 100.0)))
    };
    here.run(())?;
    assert_eq!(w.device(), Device::Cpu);
    double.run(())?;
    assert_eq!(w.to_vec::<f32>()?, [-102.0, -102.0, -110.0]);
    Ok(())
}

#[test]
fn a_function_runs_where_its_arguments_live() -> Result<()> {
    let Some((device, emulator)) = stand_in(72) else { return Ok(()) };
    let f = compile(|x: Tensor| (&x * 2.0).sum(1)).input(0, ("B", 3));
    let x = Tensor::new([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    assert_eq!(f.run(x.clone())?.device(), Device::Cpu);
    let there = x.to(device);
    f.run(there.clone())?;
    assert_eq!((there.device(), there.to(Device::Cpu).device()), (device, Device::Cpu));
    let before = emulator.counts();
    let y = f.run(there.clone())?;
    assert_eq!(between(before, emulator.counts()).uploads, 0);
    assert_eq!((y.device(), y.to_vec::<f32>()?), (device, vec![12.0, 30.0]));
    assert_eq!(f.run(Tensor::ones((4, 3)).to(device))?.to_vec::<f32>()?, [6.0; 4]);
    assert_eq!(f.programs(), 2);
    assert!(f.explain_retraces().contains("the program ran on cpu and runs on cuda:72"), "{}", f.explain_retraces());
    // The gradient reaches the leaf through its copy on the device.
    let leaf = Tensor::new([1.0, 2.0, 3.0]).requires_grad_();
    (&leaf.to(device) * 3.0).sum_all().backward()?;
    assert_eq!(leaf.grad().expect("there is a gradient").to_vec::<f32>()?, [3.0; 3]);
    Ok(())
}

#[test]
fn a_run_that_fails_leaves_variables_as_they_are() -> Result<()> {
    let Some((device, _emulator)) = stand_in(73) else { return Ok(()) };
    let (net, adam) = network();
    let parameters = net.clone();
    let step = compile(move |x: Tensor, y: Tensor| {
        let loss = net.forward(&x).cross_entropy(&y);
        loss.backward()?;
        adam.step()?;
        Ok(loss)
    })
    .device(device);
    for _ in 0..3 {
        step.run(batch(1))?;
    }
    let before = values(&parameters);
    let (x, labels) = batch(2);
    let error = step.run((x, &labels + 7)).map(|_| ()).expect_err("there are three classes");
    assert!(error.to_string().contains("value"), "{error}");
    assert_eq!(values(&parameters), before);
    step.run(batch(3))?;
    assert_ne!(values(&parameters), before);
    Ok(())
}

#[test]
fn a_device_that_is_not_there_is_an_error_on_use() {
    let nowhere = Device::cuda(4095);
    assert!(!nowhere.is_available());
    let error = nowhere.check().expect_err("no machine has so many").to_string();
    assert!(error.contains("device cuda:4095"), "{error}");
    let f = compile(|x: Tensor| x.exp()).device(nowhere);
    // It compiles without the device, and what it became can be seen.
    assert!(f.lower(Tensor::zeros(3)).expect("no device is needed").launch_list().to_string().contains("<<<"));
    for error in [
        f.run(Tensor::zeros(3)).expect_err("it cannot run"),
        Tensor::zeros(3).to(nowhere).check().expect_err("no tensor lives there"),
    ] {
        assert!(error.to_string().contains("cuda:4095"), "{error}");
    }
}

#[test]
fn memory_that_is_short_is_an_error_with_the_plan() {
    let Some((device, _emulator)) = stand_in(74) else { return };
    let f = compile(|x: Tensor| x.exp().expand((1 << 20, 1 << 10))).device(device);
    let error = f.run(Tensor::new([1.0])).expect_err("the device has 1 GiB").to_string();
    for part in ["there is no memory for 4294967296 bytes", "outputs", "4294967296 bytes: f32[1048576, 1024], output 0"] {
        assert!(error.contains(part), "`{part}` is not in {error}");
    }
}

#[test]
fn a_limit_of_memory_holds() -> Result<()> {
    let Some((device, _emulator)) = stand_in(90) else { return Ok(()) };
    let x = Tensor::ones(1000).to(device);
    x.check()?;
    assert_eq!(device.memory()?.live, 4000);
    let f = compile(|x: Tensor| x.expand((100, 1000)) + 1.0).device(device);
    device.set_memory_limit(100_000)?;
    let error = f.run(x.clone()).expect_err("the result has 400,000 bytes").to_string();
    for part in ["400000 bytes are more than the limit", "of the 100000 bytes that may be are in use", "f32[100, 1000], output 0"]
    {
        assert!(error.contains(part), "`{part}` is not in {error}");
    }
    device.set_memory_limit(usize::MAX)?;
    drop(f.run(x.clone())?);
    let memory = device.memory()?;
    assert!(memory.peak >= 404_000 && memory.live >= 4000 && memory.limit == usize::MAX, "{memory:?}");
    let error = Device::Cpu.set_memory_limit(1).expect_err("the system limits it").to_string();
    assert!(error.contains("device cpu"), "{error}");
    Ok(())
}
