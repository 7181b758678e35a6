//! Checks that fail while the host is ahead of the device, and copies to the host that it does not wait for; on a stand-in that is late with
//! what it was asked for.

use crate::emulator::Emulator;
use crate::resident::{between, stand_in};
use igneous::nn::{Forward, Linear, ModuleExt};
use igneous::optim::{Adam, Optimizer};
use igneous::{DType, Device, Result, Tensor, compile, manual_seed};
use std::sync::Arc;

/// A step of training that returns its loss, and what it trains.
struct Training {
    device: Device,
    emulator: Arc<Emulator>,
    /// With labels from this one on; there are three classes.
    run: Box<dyn Fn(i64) -> Result<Tensor>>,
    net: Linear,
}

impl Training {
    /// After a few steps, with a device that is late from here on; none without a C++ compiler.
    fn on(number: usize) -> Result<Option<Training>> {
        let Some((device, emulator)) = stand_in(number) else { return Ok(None) };
        manual_seed(11);
        let net = Linear::new(4, 3);
        let adam = Adam::new(net.parameters(), 0.1)?;
        let trained = net.clone();
        let step = compile(move |x: Tensor, y: Tensor| {
            let loss = trained.forward(&x).cross_entropy(&y);
            loss.backward()?;
            adam.step()?;
            Ok(loss)
        });
        let step = step.device(device);
        let run = move |first| {
            let x = Tensor::arange(0.0, 20.0).reshape((5, 4)).sin();
            step.run((x, Tensor::new([0, 1, 1, 0, 1]) + first))
        };
        let training = Training { device, emulator, run: Box::new(run), net };
        for _ in 0..3 {
            training.run(0)?;
        }
        training.emulator.fall_behind(true);
        Ok(Some(training))
    }

    fn run(&self, first: i64) -> Result<Tensor> {
        (self.run)(first)
    }

    fn weights(&self) -> Result<Vec<f32>> {
        self.net.weight.to_vec()
    }
}

/// That an error is the check of the labels.
fn assert_names_the_check(result: Result<impl Sized>) {
    let error = result.map(drop).expect_err("a label is out of range").to_string();
    assert!(error.contains("a label is out of range") && error.contains("value"), "{error}");
}

#[test]
fn nobody_waits_for_checks() -> Result<()> {
    let Some(training) = Training::on(100)? else { return Ok(()) };
    let before = training.emulator.counts();
    let losses = (0..8).map(|_| training.run(0)).collect::<Result<Vec<Tensor>>>()?;
    assert_eq!(between(before, training.emulator.counts()).waits, 0);
    let losses = losses.iter().map(Tensor::item).collect::<Result<Vec<f64>>>()?;
    assert!(losses.windows(2).all(|pair| pair[1] < pair[0]), "{losses:?}");
    Ok(())
}

#[test]
fn a_failure_is_found_with_the_results_and_changes_nothing() -> Result<()> {
    let Some(training) = Training::on(101)? else { return Ok(()) };
    let before = training.weights()?;
    let failed = training.run(7)?;
    // Not known yet; this run must not overwrite anything either.
    let later = training.run(0)?;
    assert_names_the_check(failed.item());
    assert_names_the_check(failed.item());
    assert_names_the_check(later.item());
    assert_eq!(training.weights()?, before);
    // What was reported is over.
    training.run(0)?.item()?;
    assert_ne!(training.weights()?, before);
    Ok(())
}

#[test]
fn a_failure_is_reported_by_whoever_comes_first() -> Result<()> {
    let Some(training) = Training::on(102)? else { return Ok(()) };
    let before = training.weights()?;
    // Somebody who waits for the device.
    drop(training.run(7)?);
    assert_names_the_check(training.device.synchronize());
    training.device.synchronize()?;
    // Somebody who reads what should have been overwritten, and still is as it was.
    drop(training.run(7)?);
    assert_names_the_check(training.weights());
    assert_eq!(training.weights()?, before);
    // The next run, once the device has caught up.
    drop(training.run(7)?);
    training.emulator.fall_behind(false);
    let found = training.run(0);
    assert!(found.as_ref().is_err_and(|error| error.to_string().contains("an earlier run")), "{found:?}");
    assert_names_the_check(found);
    assert_eq!(training.weights()?, before);
    training.run(0)?;
    assert_ne!(training.weights()?, before);
    Ok(())
}

#[test]
fn a_failure_goes_along_with_what_is_computed_from_it() -> Result<()> {
    let Some(training) = Training::on(103)? else { return Ok(()) };
    let failed = training.run(7)?;
    let twice = compile(|x: Tensor| x * 2.0).device(training.device).run(failed.clone())?;
    let sum = &twice + 1.0;
    let kept = Tensor::variable(Tensor::new(3.0f32)).to(training.device);
    let kept = Tensor::variable(kept);
    let keep = {
        let kept = kept.clone();
        compile(move |x: Tensor| kept.assign(&(&kept + &x))).device(training.device)
    };
    assert_names_the_check(sum.item());
    assert_names_the_check(twice.item());
    assert_names_the_check(keep.run(failed));
    assert_eq!(kept.item()?, 3.0);
    Ok(())
}

#[test]
fn a_copy_to_the_host_is_begun_early() -> Result<()> {
    let Some((device, emulator)) = stand_in(104) else { return Ok(()) };
    let w = Tensor::variable(Tensor::new([1.0, 2.0, 3.0]));
    let grow = {
        let w = w.clone();
        compile(move || {
            w.assign(&(&w * 2.0))?;
            Ok(&w + 1.0)
        })
        .device(device)
    };
    grow.run(())?;
    emulator.fall_behind(true);
    let before = emulator.counts();
    let result = grow.run(())?;
    result.prefetch()?;
    w.prefetch()?;
    let old = w.detach();
    assert_eq!(between(before, emulator.counts()).waits, 0);
    grow.run(())?;
    let downloads = emulator.counts().downloads;
    assert_eq!((result.to_vec::<f32>()?, old.to_vec::<f32>()?), (vec![5.0, 9.0, 13.0], vec![4.0, 8.0, 12.0]));
    assert_eq!(emulator.counts().downloads, downloads, "both were on their way");
    assert_eq!(w.to_vec::<f32>()?, [8.0, 16.0, 24.0]);
    assert_eq!(w.to(Device::Cpu).to_dtype(DType::F64).to_vec::<f64>()?, [8.0, 16.0, 24.0]);
    Ok(())
}
