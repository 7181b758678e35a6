//! Functions of the host as operators, hooks, and the search for the first NaN.

use crate::{close, f64s, message, seeded};
use igneous::func::{HostFunction, Mapped, custom_vjp, grad, vmap};
use igneous::nn::{Forward, Hooked, Linear, ModuleExt, Relu, Sequential};
use igneous::optim::{Optimizer, Sgd};
use igneous::{Anomaly, Error, Result, Tensor, TensorType, compile, detect_anomaly, detect_anomaly_of};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

fn same(types: &[TensorType]) -> Result<Vec<TensorType>> {
    match types {
        [ty] => Ok(vec![ty.clone()]),
        _ => Err(Error::new(format!("takes one operand, not {}", types.len()))),
    }
}

/// `x³` and its derivative, as functions of the host, made one differentiable function.
fn cubed(mapped: Mapped) -> impl Fn(Tensor) -> Result<Tensor> + Send + Sync + Clone {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let host = |name: String, f: fn(f64) -> f64| {
        HostFunction::new(&name, mapped, same, move |operands, results| {
            let x = operands[0].slice::<f64>()?;
            results[0].slice::<f64>()?.iter_mut().zip(x).for_each(|(y, &x)| *y = f(x));
            Ok(())
        })
        .unwrap()
    };
    let (value, slope) = (host(format!("cube{number}"), |x| x * x * x), host(format!("slope{number}"), |x| 3.0 * x * x));
    let one = |f: &HostFunction, x: &Tensor| f.run(&[x]).map_or_else(Tensor::from, |mut r| r.remove(0));
    move |x: Tensor| {
        let (value, slope) = (value.clone(), slope.clone());
        custom_vjp(move |x: Tensor| (one(&value, &x), x), move |x: Tensor, dy: Tensor| dy * one(&slope, &x)).run(x)
    }
}

#[test]
fn a_function_of_the_host_runs_eagerly_compiled_mapped_and_in_loops() {
    for mapped in [Mapped::Elements, Mapped::LeadingAxis] {
        let cube = cubed(mapped);
        let x = f64s(&[1.0, -2.0, 3.0], 3);
        close(&cube(x.clone()).unwrap(), &[1.0, -8.0, 27.0]);
        let leaf = x.requires_grad_();
        cube(leaf.clone()).unwrap().sum_all().backward().unwrap();
        close(&leaf.grad().unwrap(), &[3.0, 12.0, 27.0]);

        let own = cube.clone();
        let loss = move |x: Tensor| Ok(own(x)?.sum_all());
        close(&grad(loss.clone()).run(x.clone()).unwrap(), &[3.0, 12.0, 27.0]);
        let compiled = compile(grad(loss.clone()));
        close(&compiled.run(x.clone()).unwrap(), &[3.0, 12.0, 27.0]);
        let graph = compiled.lower(x.clone()).unwrap().graph().to_string();
        assert!(graph.contains("host {name=\"slope"), "{graph}");
        close(&vmap(grad(loss.clone())).run(x.reshape((3, 1))).unwrap(), &[3.0, 12.0, 27.0]);
        close(&compile(vmap(loss)).run(x.reshape((3, 1))).unwrap(), &[1.0, -8.0, 27.0]);

        let own = cube.clone();
        let fold = move |x: Tensor| {
            let (sum, _) = igneous::scan(Tensor::zeros(()).to_dtype(igneous::DType::F64), x, |sum, x| {
                let cube = own(x).unwrap_or_else(Tensor::from);
                (sum + &cube, cube)
            })?;
            Ok(sum)
        };
        close(&fold(x.clone()).unwrap(), &[20.0]);
        close(&compile(grad(fold)).run(x).unwrap(), &[3.0, 12.0, 27.0]);
    }
}

#[test]
fn errors_and_panics_of_the_host_are_those_of_the_run() {
    let fails = HostFunction::new("custom.fails", Mapped::Elements, same, |operands, _| match operands[0].slice::<f64>()?[0] {
        x if x < 0.0 => Err(Error::new(format!("{x} has no root"))),
        _ => panic!("on purpose"),
    })
    .unwrap();
    let told = message(HostFunction::new("custom.fails", Mapped::Elements, same, |_, _| Ok(())));
    assert!(told.contains("there is a host function called `custom.fails` already"), "{told}");
    let told = message(fails.run(&[&f64s(&[-1.0], 1)]));
    assert!(told.contains("custom.fails") && told.contains("-1 has no root") && told.contains("custom.rs"), "{told}");
    let own = fails.clone();
    let compiled = compile(move |x: Tensor| own.run(&[&x]));
    let told = message(compiled.run(f64s(&[-1.0], 1)));
    assert!(told.contains("-1 has no root") && told.contains("custom.rs"), "{told}");
    let told = message(compiled.run(f64s(&[1.0], 1)));
    assert!(told.contains("panicked: on purpose"), "{told}");
    let x = f64s(&[1.0], 1);
    let told = message(fails.run(&[&x, &x]));
    assert!(told.contains("takes one operand, not 2"), "{told}");
    let step = compile(move |x: Tensor| {
        fails.run(&[&x])?[0].sum_all().backward()?;
        Ok(x)
    });
    let told = message(step.run(x.requires_grad_()));
    assert!(told.contains("`custom.fails` has no derivative"), "{told}");
}

#[test]
fn hooks_see_and_replace_gradients() {
    let x = f64s(&[1.0, 2.0], 2).requires_grad_();
    let seen: Arc<Mutex<Vec<Vec<f64>>>> = Arc::default();
    let sink = seen.clone();
    let (h, hook) = (&x * 3.0)
        .register_hook(move |g| {
            sink.lock().unwrap().push(g.to_f64_vec().unwrap());
            Some(g * 10.0)
        })
        .unwrap();
    // Both uses at once: 2h + 1.
    (h.square().sum_all() + h.sum_all()).backward().unwrap();
    assert_eq!(*seen.lock().unwrap(), [[7.0, 13.0]]);
    close(&x.take_grad().unwrap(), &[210.0, 390.0]);
    hook.remove();
    (h.square().sum_all() + h.sum_all()).backward().unwrap();
    close(&x.take_grad().unwrap(), &[21.0, 39.0]);

    let (leaf, hook) = x.register_hook(|g| Some(-g)).unwrap();
    leaf.square().sum_all().backward().unwrap();
    close(&x.take_grad().unwrap(), &[-2.0, -4.0]);
    hook.remove();
    leaf.square().sum_all().backward().unwrap();
    close(&x.take_grad().unwrap(), &[2.0, 4.0]);
    let told = message(x.detach().register_hook(|_| None).map(|_| ()));
    assert!(told.contains("does not require gradients"), "{told}");
    let (bad, _hook) = x.register_hook(|_| Some(Tensor::zeros(7))).unwrap();
    let told = message(bad.sum_all().backward());
    assert!(told.contains("replaces a gradient by a tensor of another type"), "{told}");
}

/// Hooks of parameters and of results inside a compiled step; taken away, the step is traced again.
#[test]
fn hooks_in_compiled_steps() {
    let w = Tensor::parameter(f64s(&[1.0, 2.0], 2));
    let (_, outer) = w.register_hook(|g| Some(g.clamp(-1.0, 1.0))).unwrap();
    let own = w.clone();
    let step = compile(move |x: Tensor| {
        let (y, _hook) = (&own * &x).register_hook(|g| Some(g * 2.0))?;
        let loss = y.square().sum_all();
        loss.backward()?;
        Ok(loss)
    });
    let x = f64s(&[0.125, 1.0], 2);
    step.run(x.clone()).unwrap();
    close(&w.take_grad().unwrap(), &[4.0 * 0.125 * 0.125, 1.0]);
    outer.remove();
    for _ in 0..3 {
        step.run(x.clone()).unwrap();
        close(&w.take_grad().unwrap(), &[4.0 * 0.125 * 0.125, 8.0]);
    }
    assert_eq!(step.programs(), 2);
    assert!(step.explain_retraces().contains("hooks"), "{}", step.explain_retraces());
}

#[test]
fn hooks_of_layers() {
    let _random = seeded(2);
    let layer = Hooked::new(Linear::new(2, 2));
    assert_eq!(layer.named_parameters()[0].0, "weight");
    let net = Sequential::new().push(layer.clone()).push(Relu);
    let own = net.clone();
    let compiled = compile(move |x: Tensor| own.forward(&x));
    let x = Tensor::new([[1.0, 2.0]]);
    let plain = net.forward(&x).to_f64_vec().unwrap();
    close(&compiled.run(x.clone()).unwrap(), &plain);
    let before = layer.register_forward_pre_hook(|x| Some(x * 0.0));
    let after = layer.register_forward_hook(|x, y| Some(y * 0.0 + x.sum_all() + 5.0));
    close(&net.forward(&x), &[5.0, 5.0]);
    close(&compiled.run(x.clone()).unwrap(), &[5.0, 5.0]);
    before.remove();
    close(&compiled.run(x.clone()).unwrap(), &[8.0, 8.0]);
    after.remove();
    close(&compiled.run(x.clone()).unwrap(), &plain);
    close(&net.forward(&x), &plain);
}

#[test]
fn the_first_nan_is_named() {
    let x = Tensor::new([1.0, -1.0]);
    let told = message(detect_anomaly(|| (x.log() + 1.0).sum_all().item()));
    assert!(told.contains("`log` is NaN at [1]") && told.contains("custom.rs") && told.contains("f32[2]"), "{told}");
    // An infinity is none, unless it is looked for.
    let zeros = Tensor::new([0.0, 1.0]);
    detect_anomaly(|| zeros.log().check()).unwrap();
    let told = message(detect_anomaly_of(Anomaly::NonFinite, || zeros.log().check()));
    assert!(told.contains("`log` is -inf at [0]"), "{told}");
    // In the derivative, the line of the operation that it is of.
    let leaf = zeros.requires_grad_();
    let line = line!() + 2;
    let told = message(detect_anomaly(|| {
        let root = leaf.sqrt();
        (root * 0.0).sum_all().backward()
    }));
    assert!(told.contains("the vjp of sqrt") && told.contains(&format!("custom.rs:{line}")), "{told}");
    assert!(x.log().check().is_ok(), "outside, nothing is looked at");
}

#[test]
fn the_first_nan_of_a_compiled_step_is_named() {
    let w = Tensor::parameter(Tensor::new([1.0, -1.0]));
    let sgd = Sgd::new(vec![w.clone()], 0.1).unwrap();
    let own = w.clone();
    let step = compile(move |x: Tensor| {
        let loss = (&own * x).sqrt().sum_all();
        loss.backward()?;
        sgd.step()?;
        Ok(loss)
    });
    let x = Tensor::new([1.0, 2.0]);
    assert!(step.run(x.clone()).unwrap().item().unwrap().is_nan());
    w.assign(&Tensor::new([1.0, -1.0])).unwrap();
    let told = message(detect_anomaly(|| step.run(x)));
    assert!(told.contains("`sqrt` is NaN at [1]") && told.contains("custom.rs"), "{told}");
}
