//! `compile`: what it keeps, when it traces again, and that eager code means the same under it.

use crate::{close, message, vec};
use igneous::{Tensor, Tracked, compile, grad, no_grad};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Gradient descent by hand: `w ← w − lr · grad`, slots emptied.
fn descend(parameters: &[&Tensor], lr: f64) -> igneous::Result<()> {
    no_grad(|| {
        for w in parameters {
            if let Some(g) = w.take_grad() {
                w.assign(&(*w - g * lr))?;
            }
        }
        Ok(())
    })
}

#[test]
fn the_training_step_of_eager_code() {
    let (x, y) = (Tensor::new([[1.0, 2.0], [3.0, -1.0]]), Tensor::new([[1.0], [0.0]]));
    let made = || (Tensor::parameter(Tensor::new([[0.5], [0.25]])), Tensor::parameter(Tensor::new([0.1])));
    let step = |w: &Tensor, b: &Tensor, x: &Tensor, y: &Tensor| {
        let loss = (x.matmul(w) + b).tanh().mse_loss(y);
        loss.backward()?;
        descend(&[w, b], 0.1)?;
        Ok::<_, igneous::Error>(loss)
    };
    let (w, b) = made();
    let eager: Vec<f64> = (0..20).map(|_| step(&w, &b, &x, &y).unwrap().item().unwrap()).collect();
    let (v, c) = made();
    let program = compile(|x: Tensor, y: Tensor| step(&v, &c, &x, &y));
    let compiled: Vec<f64> = (0..20).map(|_| program.run((x.clone(), y.clone())).unwrap().item().unwrap()).collect();
    for (a, b) in eager.iter().zip(&compiled) {
        assert!((a - b).abs() <= 1e-5 * a.abs(), "{eager:?}\n{compiled:?}");
    }
    assert!(eager[19] < 0.5 * eager[0]);
    close(&v, &w.to_f64_vec().unwrap());
    assert_eq!(program.programs(), 1);
    assert!(v.grad().is_none() && c.grad().is_none());
}

/// Each returned loss owns its value.
#[test]
fn a_hundred_results_are_a_hundred_values() {
    let w = Tensor::parameter(Tensor::new(0.0));
    let f = compile(|| {
        w.update(|w| w + 1.0)?;
        Ok(&w * 1.0)
    });
    let all: Vec<Tensor> = (0..100).map(|_| f.run(()).unwrap()).collect();
    let values: Vec<f64> = all.iter().map(|t| t.item().unwrap()).collect();
    assert_eq!(values, (1..=100).map(f64::from).collect::<Vec<_>>());
}

#[test]
fn a_detached_value_stays_while_training_goes_on() {
    let w = Tensor::parameter(Tensor::new([1.0, 2.0]));
    let f = compile(|| w.update(|w| w * 2.0));
    let old = w.detach();
    let recorded = &w * 10.0;
    for _ in 0..3 {
        f.run(()).unwrap();
    }
    close(&old, &[1.0, 2.0]);
    close(&recorded, &[10.0, 20.0]);
    close(&w, &[8.0, 16.0]);
    recorded.sum_all().backward().unwrap();
    close(&w.grad().unwrap(), &[10.0, 10.0]);
}

/// The old value can be returned by the very run that assigns a new one.
#[test]
fn old_and_new_value_of_one_run() {
    let w = Tensor::variable(Tensor::new([1.0]));
    let f = compile(|| {
        let old = w.detach();
        w.assign(&(&w + 1.0))?;
        Ok((old, w.detach()))
    });
    for k in 1..4 {
        let (old, new) = f.run(()).unwrap();
        close(&old, &[f64::from(k)]);
        close(&new, &[f64::from(k) + 1.0]);
    }
}

#[test]
fn two_backwards_and_a_step_are_one_backward_of_the_sum() {
    let x = Tensor::new([1.0, 2.0, 3.0]);
    let run = |twice: bool| {
        let w = Tensor::parameter(Tensor::new([0.1, 0.2, 0.3]));
        let f = compile(|x: Tensor| {
            let (a, b) = ((&x * &w).square().sum_all(), (&w * &w).sum_all());
            if twice {
                a.backward()?;
                b.backward()?;
            } else {
                (a + b).backward()?;
            }
            descend(&[&w], 0.1)
        });
        f.run(x.clone()).unwrap();
        w.to_f64_vec().unwrap()
    };
    close(&Tensor::new(run(true)), &run(false));
}

/// Gradients accumulate over several runs: the slot is full at the second, which is another program.
#[test]
fn slots_fill_and_the_program_follows() {
    let w = Tensor::parameter(Tensor::new([2.0]));
    let f = compile(|x: Tensor| (&x * &w).sum_all().backward());
    for k in 1..=3 {
        f.run(Tensor::new([10.0])).unwrap();
        close(&w.grad().unwrap(), &[10.0 * f64::from(k)]);
    }
    assert_eq!(f.programs(), 2);
    assert!(f.explain_retraces().contains("gradient slot was empty and is full"), "{}", f.explain_retraces());
    w.zero_grad();
    f.run(Tensor::new([1.0])).unwrap();
    close(&w.grad().unwrap(), &[1.0]);
    assert_eq!(f.programs(), 2);
}

#[test]
fn a_gradient_of_a_gradient() {
    let x = Tensor::parameter(Tensor::from_vec(vec![1.0f64, -2.0], 2));
    let f = compile(|| {
        let first = grad(&(&x * &x * &x).sum_all(), &[&x])?.remove(0);
        first.square().sum_all().backward()?;
        Ok(first)
    });
    close(&f.run(()).unwrap(), &[3.0, 12.0]);
    // d/dx (3x²)² = 36x³
    close(&x.grad().unwrap(), &[36.0, -288.0]);
}

/// What backward and no_grad mean does not depend on the mode: eager and compiled agree on a mixture of both.
#[test]
fn no_grad_and_detach_cut_under_a_trace() {
    let run = |compiled: bool| {
        let w = Tensor::parameter(Tensor::new([3.0]));
        let f = || {
            let a = no_grad(|| &w * 2.0);
            let loss = (&a * &w + w.detach() * &w + (&w * 5.0).detach()).sum_all();
            loss.backward()?;
            // The assigned value is a leaf of its own.
            w.assign(&(&w * 2.0))?;
            (&w * 7.0).sum_all().backward()
        };
        if compiled {
            compile(f).run(()).unwrap()
        } else {
            f().unwrap()
        }
        w.grad().unwrap().item().unwrap()
    };
    assert_eq!(run(false), 6.0 + 3.0 + 7.0);
    assert_eq!(run(true), run(false));
}

/// A GAN's step: two models in alternation, one detached from the other, in one program.
#[test]
fn two_models_and_two_updates_in_one_step() {
    let run = |compiled: bool| {
        let (g, d) = (Tensor::parameter(Tensor::new([0.5])), Tensor::parameter(Tensor::new([-0.5])));
        let mode = Tracked::new("mode", true);
        let step = |x: Tensor| {
            let fake = &x * &g;
            let d_loss = ((&x * &d).square() + (fake.detach() * &d + 1.0).square()).sum_all();
            d_loss.backward()?;
            assert!(g.grad().is_none(), "the generator is cut off");
            descend(&[&d], 0.1)?;
            mode.set(false);
            let g_loss = (&fake * &d - 1.0).square().sum_all();
            g_loss.backward()?;
            descend(&[&g], 0.1)?;
            d.zero_grad();
            mode.set(true);
            Ok::<_, igneous::Error>((d_loss, g_loss))
        };
        let program = compile(step);
        let x = Tensor::new([2.0]);
        let mut losses = Vec::new();
        for _ in 0..5 {
            let (a, b) = if compiled { program.run(x.clone()).unwrap() } else { step(x.clone()).unwrap() };
            losses.extend([a.item().unwrap(), b.item().unwrap()]);
        }
        assert!(program.programs() <= 1, "{}", program.explain_retraces());
        losses.extend([g.item().unwrap(), d.item().unwrap()]);
        losses
    };
    close(&Tensor::new(run(true)), &run(false));
}

/// The label is out of range in the middle of the step: no variable, slot or mode has changed.
#[test]
fn a_failed_run_changes_nothing() {
    let w = Tensor::parameter(Tensor::new([[1.0, 2.0, 3.0]]));
    let count = Tensor::variable(Tensor::new(0));
    let mode = Tracked::new("mode", 1);
    let f = compile(|x: Tensor, labels: Tensor| {
        count.update(|c| c + 1)?;
        mode.set(2);
        let loss = x.matmul(&w).cross_entropy(&labels);
        loss.backward()?;
        w.update(|v| v - w.grad().unwrap_or_else(|| v.zeros_like()))?;
        Ok(loss)
    });
    let x = Tensor::new([[1.0], [2.0]]);
    let told = message(f.run((x.clone(), Tensor::new([0, 3]))));
    assert!(told.contains("a label is out of range"), "{told}");
    assert_eq!((vec::<f32>(&w), vec::<i64>(&count), mode.get()), (vec![1.0, 2.0, 3.0], vec![0], 1));
    assert!(w.grad().is_none() && w.version() == 0);
    f.run((x, Tensor::new([0, 2]))).unwrap();
    assert_eq!((vec::<i64>(&count), mode.get(), w.version()), (vec![1], 2, 1));
    assert!(w.grad().is_some());
}

#[test]
fn tracked_cells_are_part_of_the_key() {
    let mode = Tracked::new("mode", "train");
    let traced = AtomicUsize::new(0);
    let f = compile(|x: Tensor| {
        traced.fetch_add(1, Ordering::Relaxed);
        if mode.get() == "train" { x * 2.0 } else { x }
    });
    let x = Tensor::new([1.0]);
    close(&f.run(x.clone()).unwrap(), &[2.0]);
    mode.set("eval");
    close(&f.run(x.clone()).unwrap(), &[1.0]);
    mode.set("train");
    close(&f.run(x.clone()).unwrap(), &[2.0]);
    assert_eq!(f.programs(), 2);
    assert!(f.explain_retraces().contains("mode was \"train\" and is \"eval\""), "{}", f.explain_retraces());
    f.run(Tensor::new([1.0, 2.0])).unwrap();
    assert!(f.explain_retraces().contains("argument 0 was f32[1] and is f32[2]"), "{}", f.explain_retraces());
}

#[test]
fn freezing_a_parameter_is_part_of_the_key() {
    let (w, b) = (Tensor::parameter(Tensor::new([2.0])), Tensor::parameter(Tensor::new([0.0])));
    let f = compile(|x: Tensor| {
        (&x * &w + &b).sum_all().backward()?;
        b.zero_grad();
        let seen = w.take_grad().is_some();
        Ok(if seen { Tensor::new(1) } else { Tensor::new(0) })
    });
    let x = Tensor::new([1.0]);
    assert_eq!(f.run(x.clone()).unwrap().item().unwrap(), 1.0);
    w.freeze();
    assert_eq!(f.run(x.clone()).unwrap().item().unwrap(), 0.0);
    w.requires_grad_();
    assert_eq!(f.run(x).unwrap().item().unwrap(), 1.0);
    assert_eq!(f.programs(), 2);
}

/// A constant of the user's that changes is found by tracing again, and the message names it and its line.
#[test]
#[cfg(debug_assertions)]
fn a_changed_host_constant_is_found() {
    let lr = Mutex::new(0.1);
    let mut line = 0;
    let f = compile(|x: Tensor| {
        let lr = *lr.lock().unwrap();
        x * lr
    });
    line += line!() - 2;
    f.run(Tensor::new([1.0])).unwrap();
    *lr.lock().unwrap() = 0.09;
    let told = message(f.run(Tensor::new([1.0])));
    assert!(told.contains("constant 0.1 became 0.09") && told.contains("make it an argument or a variable"), "{told}");
    assert!(told.contains(&format!("{}:{line}", file!())), "{told}");
}

#[test]
#[cfg(debug_assertions)]
fn another_graph_is_found() {
    let runs = AtomicUsize::new(0);
    let f = compile(|x: Tensor| if runs.fetch_add(1, Ordering::Relaxed) == 0 { x.exp() } else { x.sin() });
    f.run(Tensor::new([1.0])).unwrap();
    let told = message(f.run(Tensor::new([1.0])));
    assert!(told.contains("another operation was traced") && told.contains("exp") && told.contains("sin"), "{told}");
    let kept = Mutex::new(Tensor::ones(300));
    let g = compile(|x: Tensor| x + &*kept.lock().unwrap());
    g.run(Tensor::new([1.0])).unwrap();
    *kept.lock().unwrap() = Tensor::zeros(300);
    let told = message(g.run(Tensor::new([1.0])));
    assert!(told.contains("has been replaced by another"), "{told}");
}

/// Captured tensors are inputs by reference, whatever their size; tensors made from small data are constants.
#[test]
fn captured_tensors_are_inputs() {
    let table = Tensor::arange(0, 1000);
    let f = compile(|i: Tensor| table.i(&i) + Tensor::new([1, 2]));
    assert_eq!(vec::<i64>(&f.run(Tensor::new([3, -1])).unwrap()), [4, 1001]);
    let lowered = f.lower(Tensor::new([3, -1])).unwrap();
    assert_eq!(lowered.traced().inputs().len(), 2);
    let largest =
        lowered.traced().nodes().filter(|(_, n)| n.op.name() == "constant").map(|(_, n)| n.op.array("value").len()).max();
    assert_eq!(largest, Some(2));
}

#[test]
fn structures_of_tensors() {
    let f = compile(|(a, b): (Tensor, Option<Tensor>), rest: Vec<Tensor>| {
        let sum = rest.iter().fold(a, |sum, t| sum + t);
        (
            match &b {
                Some(b) => &sum * b,
                None => sum.clone(),
            },
            vec![sum; 2],
        )
    });
    let t = |x: f64| Tensor::new([x]);
    let (y, all) = f.run(((t(1.0), None), vec![t(2.0), t(3.0)])).unwrap();
    close(&y, &[6.0]);
    assert_eq!(all.len(), 2);
    close(&f.run(((t(1.0), Some(t(10.0))), vec![])).unwrap().0, &[10.0]);
    assert_eq!(f.programs(), 2);
    assert!(f.explain_retraces().contains("another structure"));
    close(&compile(|| Tensor::ones(2)).run(()).unwrap(), &[1.0, 1.0]);
}

/// Called eagerly on an input that needs gradients, a compiled function is one operation of the tape.
#[test]
fn a_compiled_function_on_the_tape() {
    let w = Tensor::parameter(Tensor::new([2.0, 3.0]));
    let f = compile(|x: Tensor| (&x * &w).square());
    let x = Tensor::new([1.0, 2.0]).requires_grad_();
    let y = f.run(x.clone()).unwrap();
    (y * 10.0).sum_all().backward().unwrap();
    // d/dx 10(xw)² = 20xw², d/dw = 20x²w
    close(&x.grad().unwrap(), &[80.0, 360.0]);
    close(&w.grad().unwrap(), &[40.0, 240.0]);
    assert!(!no_grad(|| f.run(x.clone())).unwrap().requires_grad());
}

#[test]
fn backward_inside_reaches_an_argument() {
    let f = compile(|x: Tensor| {
        x.square().sum_all().backward()?;
        Ok(x.grad())
    });
    let x = Tensor::new([3.0]).requires_grad_();
    close(&f.run(x.clone()).unwrap().unwrap(), &[6.0]);
    close(&x.grad().unwrap(), &[6.0]);
    f.run(x.clone()).unwrap();
    close(&x.grad().unwrap(), &[12.0]);
    let h = x.detach().requires_grad_() * 2.0;
    let told = message(f.run(h));
    assert!(told.contains("computed outside of the trace"), "{told}");
}

#[test]
fn one_compiled_function_inside_another() {
    let w = Tensor::parameter(Tensor::new([2.0]));
    let count = Tensor::variable(Tensor::new(0.0));
    let inner = compile(|x: Tensor| {
        count.update(|c| c + 1.0)?;
        Ok((&x * &w, x.detach()))
    });
    let outer = compile(|x: Tensor| {
        let (a, cut) = inner.run(&x * 3.0)?;
        let (b, _) = inner.run(a)?;
        let loss = (b * cut).sum_all();
        loss.backward()?;
        Ok(loss)
    });
    // loss = (3x·w²)·detach(3x); d/dw = 9x²·2w
    close(&outer.run(Tensor::new([1.0])).unwrap(), &[36.0]);
    close(&w.take_grad().unwrap(), &[36.0]);
    close(&count, &[2.0]);
    let lowered = outer.lower(Tensor::new([1.0])).unwrap();
    assert_eq!(lowered.traced().nodes().filter(|(_, n)| n.op.name() == "call").count(), 2);
    // A step inside a step.
    let step = compile(|x: Tensor| {
        let (y, _) = inner.run(x)?;
        y.sum_all().backward()?;
        descend(&[&w], 0.5)
    });
    let twice = compile(|x: Tensor| {
        step.run(x.clone())?;
        step.run(x)
    });
    twice.run(Tensor::new([1.0])).unwrap();
    close(&w, &[1.0]);
    close(&count, &[4.0]);
}

#[test]
fn inference_after_training_is_not_stale() {
    let w = Tensor::parameter(Tensor::new([[1.0, 2.0], [3.0, 4.0]]));
    let predict = compile(|x: Tensor| x.matmul(&w.square().t()));
    let train = compile(|| w.update(|w| w + 1.0));
    let x = Tensor::new([[1.0, 0.0]]);
    assert!(predict.lower(x.clone()).unwrap().prepare.is_some(), "the square is kept between runs");
    close(&predict.run(x.clone()).unwrap(), &[1.0, 9.0]);
    close(&predict.run(x.clone()).unwrap(), &[1.0, 9.0]);
    train.run(()).unwrap();
    close(&predict.run(x.clone()).unwrap(), &[4.0, 16.0]);
    w.assign(&Tensor::zeros((2, 2))).unwrap();
    close(&predict.run(x).unwrap(), &[0.0, 0.0]);
}

#[test]
fn a_symbolic_batch_is_one_program() {
    let w = Tensor::parameter(Tensor::new([[1.0, 2.0], [3.0, 4.0]]));
    let f = compile(|x: Tensor| {
        let [b, _] = x.dims();
        x.matmul(&w).reshape((b, 1, -1)).sum((1, 2)) / b
    })
    .input(0, ("B", 2))
    .range("B", 1..=8);
    close(&f.run(Tensor::new([[1.0, 0.0], [0.0, 1.0]])).unwrap(), &[1.5, 3.5]);
    close(&f.run(Tensor::new([[1.0, 1.0]])).unwrap(), &[10.0]);
    close(&f.run(Tensor::ones((5, 2))).unwrap(), &[2.0; 5]);
    assert_eq!(f.programs(), 1);
    assert!(message(f.run(Tensor::ones((9, 2)))).contains("outside of its range 1..=8"));
    assert!(message(f.run(Tensor::ones((3, 3)))).contains("not 2"));
    let text = f.lower(Tensor::ones((3, 2))).unwrap().traced().to_string();
    assert!(text.contains("f32[B, 2]"), "{text}");
}

#[test]
fn two_arguments_share_a_symbol() {
    let f = compile(|x: Tensor, y: Tensor| x + y).input(0, "N").input(1, "N");
    close(&f.run((Tensor::ones(3), Tensor::ones(3))).unwrap(), &[2.0; 3]);
    let told = message(f.run((Tensor::ones(3), Tensor::ones(1))));
    assert!(told.contains("`N` is 3 on axis 0 of argument 0 and 1 on axis 0 of argument 1"), "{told}");
}

/// A run locks what it reads and assigns: counts from many threads add up.
#[test]
fn runs_on_many_threads() {
    let count = Tensor::variable(Tensor::new(0));
    let f = compile(|| count.update(|c| c + 1));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..25).for_each(|_| f.run(()).unwrap()));
        }
    });
    assert_eq!(count.item().unwrap(), 100.0);
}

#[test]
fn a_panic_in_a_closure_leaves_no_trace_behind() {
    let f = compile(|_: Tensor| -> Tensor { panic!("expected") });
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| f.run(Tensor::ones(1))));
    assert!(panicked.is_err());
    close(&(Tensor::ones(2) + 1.0), &[2.0, 2.0]);
}
