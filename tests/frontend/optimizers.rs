//! Optimizers against PyTorch's, whose numbers `tests/parity/optimizers.py` wrote: ten steps, in f64 and f32, eager and
//! compiled; their states, groups, and the kernels they become.

use crate::{message, seeded};
use igneous::nn::{Linear, Module, ModuleExt, StateDict};
use igneous::optim::*;
use igneous::testing::{assert_close, assert_kernel_count, assert_values, compare_with_eager};
use igneous::{DType, Result, Tensor, compile, default};
use std::sync::LazyLock;

static TORCH: LazyLock<StateDict> =
    LazyLock::new(|| StateDict::load(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/parity/optimizers.safetensors")).unwrap());

#[track_caller]
fn torch(name: &str) -> Tensor {
    TORCH.get(name).unwrap_or_else(|| panic!("optimizers.py writes no {name}")).clone()
}

/// The two parameters.
fn parameters(dtype: DType) -> Vec<Tensor> {
    ["matrix", "vector"].map(|name| Tensor::parameter(torch(name).to_dtype(dtype))).to_vec()
}

/// Adds the gradients of the loss, times a number.
fn backward(parameters: &[Tensor], scale: &Tensor) -> Result<()> {
    let value = |name: &str| torch(name).to_dtype(parameters[0].dtype());
    let bias = parameters.get(1).cloned().unwrap_or_else(|| value("vector"));
    let loss = (value("x").matmul(&parameters[0]) + bias).tanh().mse_loss(&value("target"));
    loss.backward_with(scale)
}

/// One step; in every second one only the first parameter has a gradient.
fn step(parameters: &[Tensor], optimizer: &impl Optimizer, scale: &Tensor, odd: Odd) -> Result<()> {
    backward(parameters, scale)?;
    if odd == Odd::Yes {
        parameters.iter().skip(1).for_each(Tensor::zero_grad);
    }
    optimizer.step()
}

#[derive(Clone, Copy, PartialEq)]
enum Odd {
    Yes,
    No,
}

/// Ten steps as PyTorch does them; and the state after five of them, in a file, goes on as if nothing had been.
#[track_caller]
fn check<O: Optimizer + Module>(case: &str, make: impl Fn(Vec<Tensor>) -> Result<O>) {
    let count = if TORCH.get(&format!("{case}/0/vector")).is_some() { 2 } else { 1 };
    for (dtype, tolerance) in [(DType::F64, 1e-11), (DType::F32, 2e-5)] {
        for mode in ["eager", "compiled", "resumed"] {
            let mut parameters = parameters(dtype)[..count].to_vec();
            let mut optimizer = make(parameters.clone()).unwrap();
            let mut saved = None;
            for k in 0..10 {
                let scale = Tensor::from_vec(vec![0.75f64.powi(k)], ()).to_dtype(dtype);
                let odd = if k % 2 == 1 && count == 2 { Odd::Yes } else { Odd::No };
                match mode {
                    "compiled" => compile(|scale: Tensor| step(&parameters, &optimizer, &scale, odd)).run(scale).unwrap(),
                    _ => step(&parameters, &optimizer, &scale, odd).unwrap(),
                }
                assert!(parameters.iter().all(|p| p.grad().is_none()));
                if mode == "resumed" && k == 4 {
                    saved = Some((parameters, optimizer.state_dict()));
                    let (old, state) = saved.as_ref().unwrap();
                    parameters = old.iter().map(|p| Tensor::parameter(p.detach())).collect();
                    optimizer = make(parameters.clone()).unwrap();
                    optimizer.load_state_dict(state).unwrap();
                }
                println!("{case}, {mode}, {dtype}, step {k}");
                for (name, parameter) in ["matrix", "vector"].iter().zip(&parameters) {
                    if let Some(expected) = TORCH.get(&format!("{case}/{k}/{name}")) {
                        assert_close(parameter, expected, tolerance);
                    }
                }
            }
            assert_eq!(saved.is_some(), mode == "resumed");
        }
    }
}

#[test]
fn descent() {
    check("SGD", |p| Sgd::new(p, 0.5));
    let all = SgdOptions { momentum: 0.5, dampening: 0.25, weight_decay: 0.125, maximize: true, ..default() };
    check("SGD_all", |p| Sgd::with(p, 0.25, all));
    check("SGD_nesterov", |p| Sgd::with(p, 0.25, SgdOptions { momentum: 0.5, nesterov: true, ..default() }));
    check("Lion", |p| Lion::new(p, 0.0625));
    check("Lion_all", |p| Lion::with(p, 0.0625, LionOptions { betas: (0.75, 0.5), weight_decay: 0.25, ..default() }));
    check("Muon", |p| Muon::new(p, 0.1));
    let all = MuonOptions { weight_decay: 0.25, momentum: 0.5, nesterov: false, ns_steps: 3, ..default() };
    check("Muon_all", |p| Muon::with(p, 0.1, MuonOptions { adjust_lr: MuonAdjustment::MatchRmsAdamW, ..all }));
}

#[test]
fn moments() {
    let (betas, eps, weight_decay, maximize) = ((0.75, 0.5), 0.0625, 0.25, true);
    check("Adam", |p| Adam::new(p, 0.1));
    check("Adam_all", |p| Adam::with(p, 0.1, AdamOptions { betas, eps, weight_decay, amsgrad: true, maximize }));
    check("AdamW", |p| AdamW::new(p, 0.1));
    check("AdamW_all", |p| AdamW::with(p, 0.1, AdamWOptions { betas, eps, weight_decay, amsgrad: true, maximize }));
    check("Adamax", |p| Adamax::new(p, 0.1));
    check("Adamax_all", |p| Adamax::with(p, 0.1, AdamaxOptions { betas, eps, weight_decay, maximize }));
    check("NAdam", |p| NAdam::new(p, 0.1));
    let all = NAdamOptions { betas, eps, weight_decay, momentum_decay: 0.1, maximize, ..default() };
    check("NAdam_all", |p| NAdam::with(p, 0.1, all));
    let decoupled = NAdamOptions { weight_decay, decoupled_weight_decay: true, ..default() };
    check("NAdam_decoupled", |p| NAdam::with(p, 0.1, decoupled));
    check("RAdam", |p| RAdam::new(p, 0.1));
    let all = RAdamOptions { betas: (0.75, 0.9), eps, weight_decay, maximize, ..default() };
    check("RAdam_all", |p| RAdam::with(p, 0.1, all));
    let decoupled = RAdamOptions { weight_decay, decoupled_weight_decay: true, ..default() };
    check("RAdam_decoupled", |p| RAdam::with(p, 0.1, decoupled));
}

#[test]
fn adaptive() {
    let (eps, weight_decay, maximize) = (0.0625, 0.25, true);
    check("Adagrad", |p| Adagrad::new(p, 0.1));
    let all = AdagradOptions { lr_decay: 0.25, weight_decay: 0.125, initial_accumulator_value: 0.5, eps, maximize };
    check("Adagrad_all", |p| Adagrad::with(p, 0.1, all));
    check("Adadelta", |p| Adadelta::new(p, 1.0));
    check("Adadelta_all", |p| Adadelta::with(p, 0.5, AdadeltaOptions { rho: 0.75, eps, weight_decay, maximize }));
    check("RMSprop", |p| RmsProp::new(p, 0.1));
    let all = RmsPropOptions { alpha: 0.75, eps, weight_decay, momentum: 0.5, centered: true, maximize };
    check("RMSprop_all", |p| RmsProp::with(p, 0.1, all));
    check("Rprop", |p| Rprop::new(p, 0.1));
    let all = RpropOptions { etas: (0.25, 2.0), step_sizes: (0.01, 0.5), maximize };
    check("Rprop_all", |p| Rprop::with(p, 0.25, all));
    check("ASGD", |p| Asgd::new(p, 0.1));
    let all = AsgdOptions { lambd: 0.25, alpha: 0.5, t0: 4.0, weight_decay: 0.125, maximize };
    check("ASGD_all", |p| Asgd::with(p, 0.5, all));
}

#[test]
fn groups() {
    check("groups", |p| {
        let options = SgdOptions { momentum: 0.5, ..default() };
        let matrix = ParameterGroup::new(p[..1].to_vec(), 0.25, options);
        let vector = ParameterGroup::new(p[1..].to_vec(), 0.5, SgdOptions { weight_decay: 0.25, ..options });
        Sgd::with_groups(vec![matrix, vector])
    });
    let p = parameters(DType::F32);
    let twice = [ParameterGroup::new(p.clone(), 0.1, default()), ParameterGroup::new(p[1..].to_vec(), 0.1, default())];
    assert!(message(Adam::with_groups(twice.to_vec())).contains("one group of an optimizer only"));
}

/// Steps with and without a search along the line; the second half from a saved state.
#[test]
fn lbfgs() {
    let wolfe = LbfgsOptions { max_iter: 7, history_size: 3, line_search: LineSearch::StrongWolfe, ..default() };
    for (case, lr, options, steps) in [("LBFGS", 0.5, default(), 2), ("LBFGS_wolfe", 1.0, wolfe, 3)] {
        let p = parameters(DType::F64);
        let mut optimizer = Lbfgs::with(p.clone(), lr, options).unwrap();
        for k in 0..steps {
            if k == 1 {
                let state = optimizer.state_dict();
                optimizer = Lbfgs::with(p.clone(), lr, options).unwrap();
                optimizer.load_state_dict(&state).unwrap();
            }
            let loss = || {
                let value = |name: &str| torch(name);
                let loss = (value("x").matmul(&p[0]) + &p[1]).tanh().mse_loss(&value("target"));
                loss.backward()?;
                Ok(loss)
            };
            optimizer.step(loss).unwrap();
        }
        println!("{case}");
        for (name, parameter) in ["matrix", "vector"].iter().zip(&p) {
            assert_close(parameter, &torch(&format!("{case}/{name}")), 1e-9);
        }
    }
    let LbfgsOptions { max_iter, tolerance_grad, tolerance_change, history_size, .. } = default();
    let is = |name: &str, value: f64| assert_eq!(torch(&format!("default/LBFGS/{name}")).item().unwrap(), value, "{name}");
    is("max_iter", max_iter as f64);
    is("tolerance_grad", tolerance_grad);
    is("tolerance_change", tolerance_change);
    is("history_size", history_size as f64);
    let p = parameters(DType::F32);
    let optimizer = Lbfgs::new(p.clone(), 1.0).unwrap();
    assert!(message(optimizer.load_state_dict(&StateDict::new())).contains("no entry `n_iter`"));
    assert!(message(optimizer.step(|| Err(igneous::Error::new("the closure failed")))).contains("the closure failed"));
    assert!(message(Lbfgs::new(vec![], 1.0)).contains("at least one parameter"));
}

/// Updating all parameters, with all that is kept for them, is one kernel, which learning rate and momentum do not change.
#[test]
fn an_update_of_all_parameters_is_one_kernel() {
    fn check<O: Optimizer + Module>(name: &str, make: impl Fn(Vec<Tensor>) -> Result<O>) {
        check_count(name, 1, make);
    }
    fn check_count<O: Optimizer + Module>(name: &str, count: usize, make: impl Fn(Vec<Tensor>) -> Result<O>) {
        let p = parameters(DType::F32);
        let optimizer = make(p.clone()).unwrap();
        let update = compile(|gradients: Vec<Tensor>| {
            for (parameter, gradient) in p.iter().zip(gradients) {
                parameter.set_grad(Some(gradient))?;
            }
            optimizer.step()
        });
        let gradients: Vec<Tensor> = p.iter().map(|p| p.detach() * 0.5 + 0.125).collect();
        println!("{name}");
        assert_kernel_count!(update.lower(gradients.clone()).unwrap(), count);
        compare_with_eager(&update, gradients.clone(), 1e-5).unwrap();
        for group in optimizer.hyperparameters() {
            group.set_lr(0.03).unwrap();
            if group.momentum().unwrap().is_some() {
                group.set_momentum(0.7).unwrap();
            }
        }
        compare_with_eager(&update, gradients, 1e-5).unwrap();
        assert_eq!(update.programs(), 1, "{}", update.explain_retraces());
    }
    check("SGD", |p| Sgd::with(p, 0.1, SgdOptions { momentum: 0.9, dampening: 0.5, weight_decay: 0.1, ..default() }));
    check("Lion", |p| Lion::new(p, 0.1));
    check("Adam", |p| Adam::with(p, 0.1, AdamOptions { amsgrad: true, ..default() }));
    check("AdamW", |p| AdamW::new(p, 0.1));
    check("Adamax", |p| Adamax::new(p, 0.1));
    // One more for a few numbers of the step.
    check_count("NAdam", 2, |p| NAdam::new(p, 0.1));
    check_count("RAdam", 2, |p| RAdam::new(p, 0.1));
    check("Adagrad", |p| Adagrad::new(p, 0.1));
    check("Adadelta", |p| Adadelta::new(p, 0.1));
    check("RMSprop", |p| RmsProp::with(p, 0.1, RmsPropOptions { momentum: 0.9, centered: true, ..default() }));
    check("Rprop", |p| Rprop::new(p, 0.1));
    check("ASGD", |p| Asgd::new(p, 0.1));
}

#[test]
fn clipped_gradients() {
    let full = || {
        let p = parameters(DType::F64);
        p.iter().zip(["clip/matrix", "clip/vector"]).for_each(|(p, name)| p.set_grad(Some(torch(name))).unwrap());
        p
    };
    for (name, limit, p) in [("norm", 2.0, 2.0), ("one", 2.0, 1.0), ("infinity", 0.5, f64::INFINITY), ("wide", 100.0, 2.0)] {
        let parameters = full();
        let total = clip_grad_norm(&parameters, limit, p).unwrap();
        assert_close(&total, &torch(&format!("clip/{name}/total")), 1e-12);
        for (key, parameter) in ["matrix", "vector"].iter().zip(&parameters) {
            assert_close(&parameter.grad().unwrap(), &torch(&format!("clip/{name}/{key}")), 1e-12);
        }
    }
    let parameters = full();
    clip_grad_value(&parameters, 0.5).unwrap();
    for (parameter, name) in parameters.iter().zip(["clip/matrix", "clip/vector"]) {
        let expected: Vec<f64> = torch(name).to_f64_vec().unwrap().iter().map(|g| g.clamp(-0.5, 0.5)).collect();
        assert_values(&parameter.grad().unwrap(), &expected, 0.0);
    }
    let idle = Tensor::parameter(Tensor::ones(2));
    assert_eq!(clip_grad_norm(std::slice::from_ref(&idle), 1.0, 2.0).unwrap().item().unwrap(), 0.0, "no gradient, no norm");
    assert!(message(clip_grad_norm(std::slice::from_ref(&idle), f64::NAN, 2.0)).contains("max_norm"));
    assert!(message(clip_grad_value(&[idle], -1.0)).contains("limit"));
}

/// Clipping in a compiled step is that of eager mode.
#[test]
fn clipping_is_compiled() {
    let p = parameters(DType::F32);
    let sgd = Sgd::new(p.clone(), 0.1).unwrap();
    let step = compile(|scale: Tensor| {
        backward(&p, &scale)?;
        let norm = clip_grad_norm(&p, 0.25, 2.0)?;
        sgd.step()?;
        Ok(norm)
    });
    compare_with_eager(&step, Tensor::scalar(1.0), 1e-5).unwrap();
}

/// Gradients of parts of a batch add up to that of the batch.
#[test]
fn gradients_accumulate() {
    let _one = seeded(1);
    let (x, y) = (Tensor::randn((8, 3)), Tensor::randn((8, 2)));
    let whole = Linear::new(3, 2);
    let parts = Linear::new(3, 2);
    parts.load_state_dict(&whole.state_dict()).unwrap();
    let loss = |net: &Linear, rows: std::ops::Range<i64>| {
        use igneous::nn::Forward;
        net.forward(&x.i(rows.clone())).mse_loss(&y.i(rows))
    };
    loss(&whole, 0..8).backward().unwrap();
    Sgd::new(whole.parameters(), 0.1).unwrap().step().unwrap();
    for rows in [0..4, 4..8] {
        (loss(&parts, rows) / 2.0).backward().unwrap();
    }
    Sgd::new(parts.parameters(), 0.1).unwrap().step().unwrap();
    assert_close(&parts.weight.detach(), &whole.weight.detach(), 1e-6);
}

#[test]
fn averages_of_weights() {
    let w = Tensor::parameter(Tensor::new([1.0, 2.0]));
    let exponential = AveragedModel::new(vec![w.clone()], Averaging::Exponential(0.75)).unwrap();
    let equal = AveragedModel::new(vec![w.clone()], Averaging::Equal).unwrap();
    let update = compile(|x: Tensor| {
        w.assign(&x)?;
        exponential.update()?;
        equal.update()
    });
    for x in [[4.0, 0.0], [8.0, 4.0], [0.0, 2.0]] {
        update.run(Tensor::new(x)).unwrap();
    }
    let last = |a: f64, b: f64, c: f64| (a * 0.75 + b * 0.25) * 0.75 + c * 0.25;
    assert_values(&exponential.means()[0], &[last(4.0, 8.0, 0.0), last(0.0, 4.0, 2.0)], 1e-6);
    assert_values(&equal.means()[0], &[4.0, 2.0], 1e-6);
    equal.copy_to(std::slice::from_ref(&w)).unwrap();
    assert_values(&w, &[4.0, 2.0], 1e-6);
    assert!(equal.copy_to(&[]).is_err() && AveragedModel::new(vec![w], Averaging::Exponential(1.5)).is_err());
}

/// What the options are if nobody sets them.
#[test]
fn defaults() {
    let is = |name: &str, values: &[f64]| assert_eq!(torch(&format!("default/{name}")).to_f64_vec().unwrap(), values, "{name}");
    let AdamaxOptions { betas, eps, weight_decay, .. } = default();
    is("Adamax/betas", &[betas.0, betas.1]);
    is("Adamax/eps", &[eps]);
    is("Adamax/weight_decay", &[weight_decay]);
    let NAdamOptions { betas, eps, weight_decay, momentum_decay, .. } = default();
    is("NAdam/betas", &[betas.0, betas.1]);
    is("NAdam/eps", &[eps]);
    is("NAdam/weight_decay", &[weight_decay]);
    is("NAdam/momentum_decay", &[momentum_decay]);
    let RAdamOptions { betas, eps, weight_decay, .. } = default();
    is("RAdam/betas", &[betas.0, betas.1]);
    is("RAdam/eps", &[eps]);
    is("RAdam/weight_decay", &[weight_decay]);
    let AdagradOptions { lr_decay, weight_decay, initial_accumulator_value, eps, .. } = default();
    is("Adagrad/lr_decay", &[lr_decay]);
    is("Adagrad/weight_decay", &[weight_decay]);
    is("Adagrad/initial_accumulator_value", &[initial_accumulator_value]);
    is("Adagrad/eps", &[eps]);
    let AdadeltaOptions { rho, eps, weight_decay, .. } = default();
    is("Adadelta/rho", &[rho]);
    is("Adadelta/eps", &[eps]);
    is("Adadelta/weight_decay", &[weight_decay]);
    let RmsPropOptions { alpha, eps, weight_decay, momentum, .. } = default();
    is("RMSprop/alpha", &[alpha]);
    is("RMSprop/eps", &[eps]);
    is("RMSprop/weight_decay", &[weight_decay]);
    is("RMSprop/momentum", &[momentum]);
    let RpropOptions { etas, step_sizes, .. } = default();
    is("Rprop/etas", &[etas.0, etas.1]);
    is("Rprop/step_sizes", &[step_sizes.0, step_sizes.1]);
    let AsgdOptions { lambd, alpha, t0, weight_decay, .. } = default();
    is("ASGD/lambd", &[lambd]);
    is("ASGD/alpha", &[alpha]);
    is("ASGD/t0", &[t0]);
    is("ASGD/weight_decay", &[weight_decay]);
    let MuonOptions { weight_decay, momentum, nesterov, ns_coefficients: (a, b, c), eps, ns_steps, .. } = default();
    is("Muon/weight_decay", &[weight_decay]);
    is("Muon/momentum", &[momentum]);
    is("Muon/nesterov", &[if nesterov { 1.0 } else { 0.0 }]);
    is("Muon/ns_coefficients", &[a, b, c]);
    is("Muon/eps", &[eps]);
    is("Muon/ns_steps", &[ns_steps as f64]);
}

#[test]
fn wrong_options_are_told() {
    let p = || parameters(DType::F32);
    assert!(message(Sgd::new(p(), f64::NAN)).contains("learning rate"));
    assert!(message(Sgd::new(Vec::new(), 0.1)).contains("at least one parameter"));
    assert!(message(Sgd::new(vec![Tensor::ones(2)], 0.1)).contains("no variable"));
    assert!(message(Adamax::with(p(), 0.1, AdamaxOptions { betas: (1.0, 0.5), ..default() })).contains("Adamax needs betas"));
    assert!(message(Adadelta::with(p(), 0.1, AdadeltaOptions { rho: 2.0, ..default() })).contains("rho"));
    assert!(message(Rprop::with(p(), 0.1, RpropOptions { etas: (1.5, 2.0), ..default() })).contains("etas"));
    assert!(message(Muon::new(p(), 0.1)).contains("matrices only"));
    let sgd = Sgd::new(p(), 0.1).unwrap();
    assert!(message(sgd.hyperparameters()[0].set_momentum(0.5)).contains("no momentum"));
    assert!(message(sgd.set_lr(-1.0)).contains("learning rate"));
}
