//! Regions of mixed precision, against PyTorch's, of which `tests/parity/autocast.py` wrote types and losses.

use crate::{close, message, vec};
use igneous::nn::{ModuleExt, StateDict};
use igneous::optim::{Adam, GradScaler, GradScalerOptions, Optimizer, Sgd};
use igneous::testing::{assert_close, compare_with_eager};
use igneous::{Conv, DType, Tensor, autocast, compile, default, grad, no_autocast};
use std::sync::LazyLock;

static TORCH: LazyLock<StateDict> =
    LazyLock::new(|| StateDict::load(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/parity/autocast.safetensors")).unwrap());

#[track_caller]
fn torch(name: &str) -> Tensor {
    TORCH.get(name).unwrap_or_else(|| panic!("autocast.py writes no {name}")).clone()
}

/// A model of the parameters, the last thing that it shows being its loss.
type Model = fn(&Tensor, &Tensor, &[Tensor], &mut dyn FnMut(&Tensor)) -> Tensor;

const MODELS: [(&str, Model); 3] = [("mlp", mlp), ("cnn", cnn), ("transformer", transformer)];

fn shown(t: Tensor, see: &mut dyn FnMut(&Tensor)) -> Tensor {
    see(&t);
    t
}

fn mlp(x: &Tensor, labels: &Tensor, w: &[Tensor], see: &mut dyn FnMut(&Tensor)) -> Tensor {
    let h = shown(x.linear(&w[0], Some(&w[1])), see);
    let h = shown(h.gelu(), see);
    let h = shown(h.layer_norm(&w[2], &w[3], 1e-5), see);
    let h = shown(h.linear(&w[4], Some(&w[5])), see);
    let h = shown(&h + h.mean_keepdim(-1), see);
    let others = [h.softmax(-1), h.exp(), h.square(), h.pow(3.0), h.sum(-1), h.norm(-1), h.logsumexp(-1), h.sigmoid()];
    others.iter().for_each(&mut *see);
    see(&h.mse_loss(&h.zeros_like()));
    shown(h.cross_entropy(labels), see)
}

fn cnn(x: &Tensor, labels: &Tensor, w: &[Tensor], see: &mut dyn FnMut(&Tensor)) -> Tensor {
    let h = shown(x.conv2d(&w[0], Some(&w[1]), Conv { padding: 1.into(), ..default() }), see);
    let h = shown(h.relu(), see);
    let h = shown(h.max_pool2d(2), see);
    let h = shown(h.conv2d(&w[2], Some(&w[3]), Conv::default()), see);
    let h = shown(h.group_norm(2, Some(&w[4]), Some(&w[5]), 1e-5), see);
    let h = shown(h.relu(), see);
    let h = shown(h.mean((2, 3)), see);
    let h = shown(h.linear(&w[6], Some(&w[7])), see);
    shown(h.cross_entropy(labels), see)
}

fn transformer(x: &Tensor, labels: &Tensor, w: &[Tensor], see: &mut dyn FnMut(&Tensor)) -> Tensor {
    let h = shown(x.layer_norm(&w[0], &w[1], 1e-5), see);
    let qkv = shown(h.linear(&w[2], Some(&w[3])), see);
    let heads = |k: usize| qkv.narrow(-1, 16 * k, 16).reshape((2, 6, 2, 8)).transpose(1, 2);
    let scores = shown(heads(0).matmul(&heads(1).transpose(-1, -2)) * 8f64.powf(-0.5), see);
    let p = shown(scores.softmax(-1), see);
    let a = shown(p.matmul(&heads(2)).transpose(1, 2).reshape((2, 6, 16)), see);
    let x = shown(x + a.linear(&w[4], Some(&w[5])), see);
    let h = shown(x.layer_norm(&w[6], &w[7], 1e-5), see);
    let h = shown(h.linear(&w[8], Some(&w[9])).gelu(), see);
    let x = shown(x + h.linear(&w[10], Some(&w[11])), see);
    let h = shown(x.mean(1).linear(&w[12], Some(&w[13])), see);
    shown(h.cross_entropy(labels), see)
}

fn weights(name: &str) -> Vec<Tensor> {
    (0..).map_while(|i| TORCH.get(&format!("{name}/w{i}"))).map(|w| Tensor::parameter(w.clone())).collect()
}

#[test]
fn every_intermediate_result_has_pytorchs_type() {
    for (name, model) in MODELS {
        let (x, labels, w) = (torch(&format!("{name}/x")), torch(&format!("{name}/labels")), weights(name));
        let expected = vec::<i64>(&torch(&format!("{name}/types")));
        let mut found = Vec::new();
        let mut see = |t: &Tensor| found.push(i64::from(t.dtype() == DType::BF16));
        autocast(DType::BF16, || model(&x, &labels, &w, &mut see)).check().unwrap();
        assert_eq!(found, expected, "{name}");
    }
}

/// The losses of training, compiled or not.
fn losses(name: &str, model: Model, compiled: bool) -> Vec<f64> {
    let (x, labels, w) = (torch(&format!("{name}/x")), torch(&format!("{name}/labels")), weights(name));
    let sgd = Sgd::new(w.clone(), 0.05).unwrap();
    let step = move |x: Tensor, labels: Tensor| {
        let loss = autocast(DType::BF16, || model(&x, &labels, &w, &mut |_| {}));
        loss.backward()?;
        sgd.step()?;
        Ok(loss)
    };
    let steps = vec::<f64>(&torch(&format!("{name}/losses"))).len();
    let loss = |t: igneous::Result<Tensor>| t.and_then(|t| t.item()).unwrap_or_else(|e| panic!("{name}: {e}"));
    if compiled {
        let step = compile(step);
        return (0..steps).map(|_| loss(step.run((x.clone(), labels.clone())))).collect();
    }
    (0..steps).map(|_| loss(step(x.clone(), labels.clone()))).collect()
}

/// With 8 bits of digits a loss after twenty steps is within two hundredths of PyTorch's in autocast, and of that in single
/// precision.
#[test]
fn training_follows_pytorchs() {
    for (name, model) in MODELS {
        for compiled in [false, true] {
            let found = losses(name, model, compiled);
            for other in ["losses", "losses_f32"] {
                let expected = vec::<f64>(&torch(&format!("{name}/{other}")));
                assert!(expected[expected.len() - 1] < 0.9 * expected[0], "{name} learns");
                let near = found.iter().zip(&expected).all(|(f, e)| (f - e).abs() <= 0.02 * e.abs());
                assert!(near, "{name}, compiled {compiled}, {other}:\n{found:?}\n{expected:?}");
            }
        }
    }
}

#[test]
fn a_region_around_a_compiled_function_makes_another_program() {
    let w = Tensor::parameter(Tensor::ones((3, 3)));
    let function = compile(move |x: Tensor| Ok(x.matmul(&w)));
    let x = Tensor::ones((2, 3));
    let dtype = |t: igneous::Result<Tensor>| t.unwrap().dtype();
    assert_eq!(dtype(function.run(x.clone())), DType::F32);
    assert_eq!(autocast(DType::BF16, || dtype(function.run(x.clone()))), DType::BF16);
    assert_eq!(autocast(DType::F16, || dtype(function.run(x.clone()))), DType::F16);
    assert_eq!(autocast(DType::BF16, || dtype(function.run(x.clone()))), DType::BF16);
    assert_eq!(autocast(DType::BF16, || no_autocast(|| dtype(function.run(x.clone())))), DType::F32);
    assert_eq!(function.programs(), 3);
    assert!(function.explain_retraces().contains("the call was outside of autocast and is in autocast to bf16"));
}

#[test]
fn regions_inside_a_compiled_function_count_there() {
    let function = compile(|x: Tensor| {
        let half = autocast(DType::BF16, || (x.matmul(&x), no_autocast(|| x.matmul(&x)), x.exp()));
        Ok((half.0, half.1, half.2, x.matmul(&x)))
    });
    let x = Tensor::full((4, 4), 0.3);
    let (half, disabled, exp, outside) = function.run(x.clone()).unwrap();
    assert_eq!([half.dtype(), disabled.dtype(), exp.dtype(), outside.dtype()], [DType::BF16, DType::F32, DType::F32, DType::F32]);
    assert_close(&disabled, &outside, 0.0);
    compare_with_eager(&function, x, 1e-6).unwrap();
}

#[test]
fn a_number_over_a_half_tensor_is_computed_in_single_precision() {
    let x = Tensor::new([3.0, 7.0]).to_dtype(DType::BF16);
    let [inside, halved] = autocast(DType::BF16, || [1.0 / &x, &x / 3.0]);
    assert_eq!([inside.dtype(), halved.dtype(), (1.0 / &x).dtype()], [DType::F32, DType::BF16, DType::BF16]);
    assert_close(&inside, &Tensor::new([1.0f32 / 3.0, 1.0 / 7.0]), 1e-7);
}

#[test]
fn gradients_have_the_type_of_their_variables() {
    let (w, x) = (Tensor::parameter(Tensor::full((8, 8), 0.25)), Tensor::ones((4, 8)));
    let loss = autocast(DType::BF16, || x.matmul(&w).sum_all());
    assert_eq!(loss.dtype(), DType::F32);
    // In a region too, derivatives are computed in the types of what they are of.
    let gradient = autocast(DType::BF16, || grad(&loss, &[&w])).unwrap().remove(0);
    assert_eq!(gradient.dtype(), DType::F32);
    assert_close(&gradient, &Tensor::full((8, 8), 4.0), 0.0);
}

#[test]
fn double_precision_and_integers_stay() {
    let (x, i) = (Tensor::ones((2, 2)).to_dtype(DType::F64), Tensor::new([[1, 2], [3, 4]]));
    autocast(DType::F16, || {
        assert_eq!(x.matmul(&x).dtype(), DType::F64);
        assert_eq!(i.matmul(&i).dtype(), DType::I64);
        assert_eq!(x.exp().dtype(), DType::F64);
    });
}

#[test]
fn a_type_that_is_no_half_type_is_an_error() {
    let x = Tensor::ones((2, 2));
    let result = autocast(DType::I64, || x.matmul(&x));
    assert!(message(result.check()).contains("autocast takes f16 or bf16, not i64"));
}

/// Steps with gradients that are infinite where `scaler/bad` says so, against PyTorch's scales and weights.
#[test]
fn the_scale_follows_infinite_gradients_as_pytorchs() {
    let (bad, scales) = (torch("scaler/bad"), vec::<f64>(&torch("scaler/scales")));
    let weights = torch("scaler/weights");
    for compiled in [false, true] {
        let w = Tensor::parameter(Tensor::ones(2));
        let sgd = Sgd::with(vec![w.clone()], 0.125, default()).unwrap();
        let options = GradScalerOptions { init_scale: 1024.0, growth_factor: 3.0, backoff_factor: 0.25, growth_interval: 3 };
        let scaler = GradScaler::with(options).unwrap();
        let (model, own) = (w.clone(), scaler.clone());
        let step = move |factors: Tensor| {
            let loss = (&model * factors).sum_all();
            own.scale(&loss).backward()?;
            own.step(&sgd)?;
            own.update()?;
            Ok(loss)
        };
        let program = compile(step.clone());
        for (i, &expected) in scales.iter().enumerate() {
            let infinite = bad.i(i).item().unwrap() == 1.0;
            let factors = Tensor::new([1.0, if infinite { f32::INFINITY } else { 2.0 }]);
            if compiled {
                program.run(factors).unwrap()
            } else {
                step(factors).unwrap()
            };
            assert_eq!(scaler.get_scale().unwrap(), expected, "step {i}, compiled {compiled}");
            assert_close(&w, &weights.i(i), 0.0);
        }
        assert_eq!(scaler.state_dict().len(), 2);
        assert!(!compiled || program.programs() == 1);
    }
}

#[test]
fn a_skipped_step_leaves_the_optimizers_state() {
    let w = Tensor::parameter(Tensor::ones(3));
    let adam = Adam::new(vec![w.clone()], 0.1).unwrap();
    let scaler = GradScaler::new();
    let step = compile({
        let (w, adam, scaler) = (w.clone(), adam.clone(), scaler.clone());
        move |factor: Tensor| {
            scaler.scale(&(&w * factor).sum_all()).backward()?;
            scaler.unscale_(&adam)?;
            let gradient = w.grad().expect("backward made one");
            scaler.step(&adam)?;
            scaler.update()?;
            Ok(gradient)
        }
    });
    close(&step.run(Tensor::full((), 0.5)).unwrap(), &[0.5; 3]);
    let before: Vec<Vec<f64>> = adam.state_dict().iter().map(|(_, t)| t.to_f64_vec().unwrap()).collect();
    let weights = vec::<f32>(&w);
    step.run(Tensor::full((), f64::NAN)).unwrap();
    let after: Vec<Vec<f64>> = adam.state_dict().iter().map(|(_, t)| t.to_f64_vec().unwrap()).collect();
    assert_eq!((before, weights), (after, vec::<f32>(&w)));
    assert_eq!(scaler.get_scale().unwrap(), 32768.0);
}

#[test]
fn the_scaler_is_used_in_order() {
    let w = Tensor::parameter(Tensor::ones(3));
    let sgd = Sgd::new(vec![w.clone()], 0.1).unwrap();
    let scaler = GradScaler::new();
    assert!(message(scaler.update()).contains("update comes after a step"));
    scaler.scale(&w.sum_all()).backward().unwrap();
    scaler.unscale_(&sgd).unwrap();
    close(&w.grad().unwrap(), &[1.0; 3]);
    assert!(message(scaler.unscale_(&sgd)).contains("unscale_ was called"));
    scaler.step(&sgd).unwrap();
    assert!(message(scaler.step(&sgd)).contains("step was taken"));
    scaler.update().unwrap();
    let bad = GradScalerOptions { growth_factor: 1.0, ..default() };
    assert!(message(GradScaler::with(bad)).contains("growth_factor above 1"));
}
