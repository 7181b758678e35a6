//! Schedules of learning rates against PyTorch's, whose numbers `tests/parity/schedulers.py` wrote.

use crate::message;
use igneous::nn::{ModuleExt, StateDict};
use igneous::optim::*;
use igneous::testing::assert_close;
use igneous::{Result, Tensor, compile, default};
use std::sync::LazyLock;

static TORCH: LazyLock<StateDict> =
    LazyLock::new(|| StateDict::load(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/parity/schedulers.safetensors")).unwrap());

fn sgd() -> Sgd {
    let group = |lr| {
        let parameter = Tensor::parameter(Tensor::zeros(1));
        ParameterGroup::new(vec![parameter], lr, SgdOptions { momentum: 0.9, ..default() })
    };
    Sgd::with_groups(vec![group(0.5), group(0.125)]).unwrap()
}

/// Rates and momenta of both groups.
fn now(sgd: &Sgd) -> (Vec<f64>, Vec<f64>) {
    let groups = sgd.hyperparameters();
    let rates = groups.iter().map(|group| group.lr().unwrap()).collect();
    (rates, groups.iter().map(|group| group.momentum().unwrap().unwrap()).collect())
}

#[track_caller]
fn compare(case: &str, rows: Vec<(Vec<f64>, Vec<f64>)>) {
    println!("{case}");
    let expected = TORCH.get(&format!("{case}/lr")).unwrap_or_else(|| panic!("schedulers.py writes no {case}"));
    let (rates, momenta): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    let tensor = |rows: Vec<Vec<f64>>| Tensor::from_vec(rows.concat(), (rows.len(), 2));
    assert_close(&tensor(rates), expected, 1e-12);
    let unchanged = expected.full_like(0.9);
    assert_close(&tensor(momenta), TORCH.get(&format!("{case}/momentum")).unwrap_or(&unchanged), 1e-12);
}

/// Forty steps; in the middle, optimizer and scheduler are saved and loaded into new ones.
#[track_caller]
fn check<S: Schedule + 'static>(case: &str, schedule: impl Fn() -> S) {
    let mut optimizer = sgd();
    let mut scheduler = Scheduler::new(&optimizer, schedule()).unwrap();
    let mut rows = vec![now(&optimizer)];
    for step in 0..40 {
        if step == 17 {
            let (of_optimizer, of_scheduler) = (optimizer.state_dict(), scheduler.state_dict());
            optimizer = sgd();
            scheduler = Scheduler::new(&optimizer, schedule()).unwrap();
            optimizer.load_state_dict(&of_optimizer).unwrap();
            scheduler.load_state_dict(&of_scheduler).unwrap();
        }
        scheduler.step().unwrap();
        rows.push(now(&optimizer));
    }
    compare(case, rows);
}

#[test]
fn factors() {
    check("StepLR", || StepLr::new(7));
    check("MultiStepLR", || MultiStepLr { gamma: 0.5, ..MultiStepLr::new([3, 11, 11, 30]) });
    check("ExponentialLR", || ExponentialLr::new(0.9));
    check("ConstantLR", || ConstantLr::new(0.25, 10));
    check("LinearLR", || LinearLr::new(0.25, 0.75, 12));
    check("PolynomialLR", || PolynomialLr { power: 2.0, ..PolynomialLr::new(20) });
    check("LambdaLR", || LambdaLr::new(|step| 1.0 / (1 + step) as f64));
    check("MultiplicativeLR", || MultiplicativeLr::new(|step| if step % 3 > 0 { 0.95 } else { 1.01 }));
}

#[test]
fn waves() {
    check("CosineAnnealingLR", || CosineAnnealingLr { eta_min: 0.01, ..CosineAnnealingLr::new(9) });
    let restarts = CosineAnnealingWarmRestarts::new(5);
    check("CosineAnnealingWarmRestarts", || CosineAnnealingWarmRestarts { t_mult: 2, eta_min: 0.01, ..restarts.clone() });
    check("CosineAnnealingWarmRestarts_equal", || CosineAnnealingWarmRestarts::new(6));
}

#[test]
fn cycles() {
    check("OneCycleLR", || OneCycleLr::new(1.0, 41));
    check("OneCycleLR_all", || OneCycleLr {
        pct_start: 0.4,
        anneal: Anneal::Linear,
        base_momentum: 0.7,
        max_momentum: 0.9,
        div_factor: 10.0,
        final_div_factor: 100.0,
        three_phase: true,
        ..OneCycleLr::new(1.0, 45)
    });
    check("OneCycleLR_plain", || OneCycleLr { cycle_momentum: false, ..OneCycleLr::new(1.0, 60) });
    let cyclic = CyclicLr::new(0.1, 1.0);
    check("CyclicLR", || CyclicLr { step_size_up: 6, ..cyclic });
    let (up, down) = (4, Some(8));
    let halved = CyclicLr { step_size_up: up, step_size_down: down, mode: CycleMode::Halved, ..cyclic };
    check("CyclicLR_halved", || CyclicLr { cycle_momentum: false, ..halved });
    let exponential = CyclicLr { step_size_up: 5, step_size_down: Some(3), base_momentum: 0.5, max_momentum: 0.75, ..cyclic };
    check("CyclicLR_exponential", || CyclicLr { mode: CycleMode::Exponential { gamma: 0.95 }, ..exponential });
}

#[test]
fn several_schedules() {
    let three = || {
        let warm = SequentialLr::new(LinearLr::new(0.2, 1.0, 5));
        warm.then(5, CosineAnnealingLr::new(15)).then(20, StepLr::new(4))
    };
    check("SequentialLR", three);
    let chained = || ChainedLr::new().and(ConstantLr::new(0.5, 8)).and(ExponentialLr::new(0.9));
    check("ChainedScheduler", || chained().and(StepLr { gamma: 0.5, ..StepLr::new(10) }));
}

#[test]
fn plateaus() {
    let measures = TORCH.get("measures").unwrap().to_f64_vec().unwrap();
    let threshold = Threshold::Absolute(0.05);
    let all = PlateauOptions { goal: Goal::Rise, factor: 0.75, patience: 1, threshold, cooldown: 2, min_lr: 0.05, eps: 0.001 };
    let halving = PlateauOptions { patience: 2, factor: 0.5, ..default() };
    for (case, options) in [("ReduceLROnPlateau", halving), ("ReduceLROnPlateau_all", all)] {
        let mut optimizer = sgd();
        let mut plateau = ReduceLrOnPlateau::with(&optimizer, options).unwrap();
        let mut rows = vec![now(&optimizer)];
        for (step, &measure) in measures.iter().enumerate() {
            if step == 9 {
                let (of_optimizer, of_plateau) = (optimizer.state_dict(), plateau.state_dict());
                optimizer = sgd();
                plateau = ReduceLrOnPlateau::with(&optimizer, options).unwrap();
                optimizer.load_state_dict(&of_optimizer).unwrap();
                plateau.load_state_dict(&of_plateau).unwrap();
            }
            plateau.step(measure).unwrap();
            rows.push(now(&optimizer));
        }
        assert!(rows[40].0[0] < 0.5, "{case}: something happens");
        compare(case, rows);
    }
}

/// A compiled step follows the schedule and is compiled once; in it, a schedule cannot go on.
#[test]
fn compiled_steps_follow() {
    let w = Tensor::parameter(Tensor::zeros(1));
    let sgd = Sgd::new(vec![w.clone()], 1.0).unwrap();
    let scheduler = Scheduler::new(&sgd, ExponentialLr::new(0.5)).unwrap();
    let step = compile(|x: Tensor| {
        (&w * x).sum_all().backward()?;
        sgd.step()
    });
    for _ in 0..4 {
        step.run(Tensor::ones(1)).unwrap();
        scheduler.step().unwrap();
    }
    igneous::testing::assert_values(&w, &[-1.875], 0.0);
    assert_eq!(step.programs(), 1, "{}", step.explain_retraces());
    let inside = compile(|x: Tensor| {
        scheduler.step()?;
        Ok::<_, igneous::Error>(x)
    });
    assert!(inside.run(Tensor::ones(1)).is_err());
}

#[test]
fn wrong_numbers_are_told() {
    fn told<S: Schedule + 'static>(schedule: S, part: &str) {
        let made: Result<Scheduler> = Scheduler::new(&sgd(), schedule);
        let message = message(made);
        assert!(message.contains(part), "{message}");
    }
    told(StepLr::new(0), "step_size");
    told(ExponentialLr::new(f64::NAN), "gamma");
    told(ConstantLr::new(0.0, 3), "factor");
    told(LinearLr::new(0.5, 2.0, 3), "end_factor");
    told(PolynomialLr::new(0), "total_iters");
    told(CosineAnnealingLr::new(0), "t_max");
    told(CosineAnnealingWarmRestarts { t_mult: 0, ..CosineAnnealingWarmRestarts::new(2) }, "t_mult");
    told(OneCycleLr::new(1.0, 0), "OneCycleLr");
    told(CyclicLr { step_size_down: Some(0), ..CyclicLr::new(0.1, 1.0) }, "CyclicLr");
    told(SequentialLr::new(StepLr::new(1)).then(3, StepLr::new(1)).then(3, StepLr::new(1)), "milestones");
    told(ChainedLr::new().and(StepLr::new(0)), "step_size");
    told(LambdaLr::new(|_| -1.0), "learning rate");
    let plain = Sgd::new(vec![Tensor::parameter(Tensor::zeros(1))], 0.1).unwrap();
    assert!(message(Scheduler::new(&plain, OneCycleLr::new(1.0, 9))).contains("cycle_momentum"));
    assert!(message(ReduceLrOnPlateau::with(&plain, PlateauOptions { factor: 1.0, ..default() })).contains("factor"));
}
