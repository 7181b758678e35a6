//! `cond`, `while_loop` and `fori_loop`, eager and compiled.

use crate::{close, f64s, message, seeded, vec};
use igneous::nn::{Dropout, Forward, Linear, ModuleExt};
use igneous::testing::{assert_values, compare_with_eager, gradcheck};
use igneous::{DType, Error, Result, Tensor, compile, cond, enable_grad, fori_loop, grad, scan, while_loop, while_loop_bounded};

fn flag(value: bool) -> Tensor {
    Tensor::from_slice(&[value], ())
}

/// x² where p, else 3x + 1.
fn square_or_line(p: Tensor, x: Tensor) -> Result<Tensor> {
    cond(&p, x, |x: Tensor| x.square(), |x: Tensor| x * 3.0 + 1.0)
}

#[test]
fn one_branch_is_taken() {
    let compiled = compile(square_or_line);
    for f in [&square_or_line as &dyn Fn(Tensor, Tensor) -> Result<Tensor>, &|p, x| compiled.run((p, x))] {
        close(&f(flag(true), Tensor::new([2.0, -3.0])).unwrap(), &[4.0, 9.0]);
        close(&f(flag(false), Tensor::new([2.0, -3.0])).unwrap(), &[7.0, -8.0]);
    }
    assert_eq!(compiled.programs(), 1);
}

#[test]
fn gradients_flow_through_the_branch_that_was_taken() {
    let (w, unused) = (Tensor::parameter(Tensor::new(3.0)), Tensor::parameter(Tensor::new(5.0)));
    let loss = |p: Tensor| -> Result<Tensor> {
        let y = cond(&p, (), |()| &w * &w, |()| (&w * &unused).sin())?;
        y.backward()?;
        Ok(y)
    };
    let compiled = compile(loss);
    for f in [&loss as &dyn Fn(Tensor) -> Result<Tensor>, &|p| compiled.run(p)] {
        close(&f(flag(true)).unwrap(), &[9.0]);
        close(&w.take_grad().unwrap(), &[6.0]);
        close(&unused.take_grad().unwrap(), &[0.0]);
        close(&f(flag(false)).unwrap(), &[15f64.sin()]);
        close(&w.take_grad().unwrap(), &[5.0 * 15f64.cos()]);
        close(&unused.take_grad().unwrap(), &[3.0 * 15f64.cos()]);
    }
}

#[test]
fn derivatives_of_all_orders_through_decisions_and_loops() {
    let pick = |x: &Tensor| cond(&x.sum_all().gt(0.0), x.clone(), |x: Tensor| x.sin() * &x, |x: Tensor| x.exp());
    let grow = |x: &Tensor| -> Result<Tensor> {
        let counted = |(x, n): (Tensor, Tensor)| -> Result<(Tensor, Tensor)> { Ok(((&x * &x).tanh() + x, n + 1)) };
        Ok(while_loop_bounded(5, (x.clone(), Tensor::scalar(0)), |(_, n)| n.lt(3), counted)?.0)
    };
    for x in [[0.4, 0.3], [-0.5, 0.2]] {
        let x = [f64s(&x, 2)];
        gradcheck(|t| pick(&t[0]).unwrap_or_else(Tensor::from), &x).unwrap();
        gradcheck(|t| grow(&t[0]).unwrap_or_else(Tensor::from), &x).unwrap();
        let slope = |f: &dyn Fn(&Tensor) -> Result<Tensor>, x: &Tensor| -> Tensor {
            let x = x.requires_grad_();
            let gradient = enable_grad(|| Ok(grad(&f(&x)?.sum_all(), &[&x])?.remove(0)));
            gradient.unwrap_or_else(|e: Error| e.into())
        };
        gradcheck(|t| slope(&pick, &t[0]), &x).unwrap();
        gradcheck(|t| slope(&grow, &t[0]), &x).unwrap();
    }
}

#[test]
fn variables_assigned_in_one_branch_keep_their_value_in_the_other() {
    let (count, total) = (Tensor::variable(Tensor::new(0.0)), Tensor::variable(Tensor::new(10.0)));
    let f = |p: Tensor| {
        cond(
            &p,
            (),
            |()| -> Result<Tensor> {
                count.update(|c| c + 1.0)?;
                Ok(&count * 2.0)
            },
            |()| -> Result<Tensor> {
                total.update(|t| t - 1.0)?;
                Ok(count.detach())
            },
        )
    };
    close(&f(flag(true)).unwrap(), &[2.0]);
    close(&f(flag(false)).unwrap(), &[1.0]);
    let compiled = compile(f);
    close(&compiled.run(flag(true)).unwrap(), &[4.0]);
    close(&compiled.run(flag(false)).unwrap(), &[2.0]);
    close(&count, &[2.0]);
    close(&total, &[8.0]);
}

/// Newton's method for the square root, until it is within 1e-5: how many steps depends on the number.
fn root(x: Tensor) -> Result<(Tensor, Tensor)> {
    let start = (x.clone(), Tensor::scalar(0));
    while_loop(start, |(y, _)| (&y * &y - &x).abs().gt(1e-5), |(y, n)| ((&y + &x / &y) * 0.5, n + 1))
}

#[test]
fn a_loop_runs_until_its_condition_fails() {
    let compiled = compile(root);
    for f in [&root as &dyn Fn(Tensor) -> Result<(Tensor, Tensor)>, &|x| compiled.run(x)] {
        for x in [1.0, 2.0, 4.0, 100.0] {
            let (mut expected, mut steps) = (x, 0);
            while f64::abs(expected * expected - x) > 1e-5 {
                (expected, steps) = ((expected + x / expected) * 0.5, steps + 1);
            }
            let (y, n) = f(Tensor::new(x)).unwrap();
            assert_values(&y, &[expected], 1e-5);
            assert_eq!(vec::<i64>(&n), [steps], "√{x}");
        }
    }
    assert_eq!(compiled.programs(), 1);
}

#[test]
fn a_bound_ends_a_loop_and_gives_it_a_gradient() {
    // w·…·w·x, as often as n says but at most four times.
    let w = Tensor::parameter(Tensor::new(3.0));
    let f = |x: Tensor, n: Tensor| -> Result<Tensor> {
        let start = (x, Tensor::scalar(0));
        let y = while_loop_bounded(4, start, |(_, i)| i.lt(&n), |(y, i)| (y * &w, i + 1))?.0;
        y.backward()?;
        Ok(y)
    };
    let compiled = compile(f);
    for f in [&f as &dyn Fn(Tensor, Tensor) -> Result<Tensor>, &|x, n| compiled.run((x, n))] {
        for (n, steps) in [(0, 0), (1, 1), (3, 3), (4, 4), (9, 4)] {
            close(&f(Tensor::new(2.0), Tensor::scalar(n)).unwrap(), &[2.0 * 3f64.powi(steps)]);
            close(&w.take_grad().unwrap(), &[2.0 * f64::from(steps) * 3f64.powi(steps - 1)]);
        }
    }
}

#[test]
fn counted_loops_over_numbers_have_gradients_and_over_tensors_any_length() {
    let x = Tensor::new(1.5).requires_grad_();
    let y = fori_loop(2, 5, x.clone(), |i, y: Tensor| y * i).unwrap();
    y.backward().unwrap();
    close(&y, &[36.0]);
    close(&x.take_grad().unwrap(), &[24.0]);
    close(&fori_loop(3, 3, x.detach(), |_, y: Tensor| y * 2.0).unwrap(), &[1.5]);
    close(&fori_loop(3, 1, x.detach(), |_, y: Tensor| y * 2.0).unwrap(), &[1.5]);
    let sum = |n: Tensor| fori_loop(-1, n, Tensor::scalar(0), |i, s: Tensor| s + i);
    let compiled = compile(sum);
    for f in [&sum as &dyn Fn(Tensor) -> Result<Tensor>, &|n| compiled.run(n)] {
        for (n, expected) in [(4, 5), (0, -1), (-1, 0), (-5, 0), (1000, 499_499)] {
            assert_eq!(vec::<i64>(&f(Tensor::scalar(n)).unwrap()), [expected], "up to {n}");
        }
    }
    assert_eq!(compiled.programs(), 1);
}

/// The length of a symbolic dimension, by counting.
#[test]
fn a_counted_loop_over_a_symbolic_dimension() {
    let f =
        |x: Tensor| fori_loop(0, x.size(0), Tensor::scalar(0.0), |i, s: Tensor| s + x.index_select(0, &i.unsqueeze(0)).sum_all());
    let compiled = compile(f).input(0, "N");
    for n in [1usize, 2, 7] {
        close(&compiled.run(Tensor::arange(0, n).to_dtype(DType::F32)).unwrap(), &[(n * (n - 1) / 2) as f64]);
    }
    assert_eq!(compiled.programs(), 1);
}

/// The Collatz steps of every element of a sequence, whose even and odd cases are branches in a loop in a scan.
#[test]
fn decisions_in_loops_in_scans() {
    let steps = |xs: Tensor| -> Result<Tensor> {
        let count = |n: Tensor| -> Result<Tensor> {
            let next = |(n, k): (Tensor, Tensor)| -> Result<(Tensor, Tensor)> {
                let n = cond(&(&n % 2).equal(0), n.clone(), |n: Tensor| n.floor_divide(2), |n: Tensor| n * 3 + 1)?;
                Ok((n, k + 1))
            };
            Ok(while_loop((n, Tensor::scalar(0)), |(n, _)| n.gt(1), next)?.1)
        };
        Ok(scan((), xs, |(), n: Tensor| Ok::<_, Error>(((), count(n)?)))?.1)
    };
    let expected = [0i64, 1, 7, 2, 5, 8, 16, 111];
    let xs = Tensor::new([1, 2, 3, 4, 5, 6, 7, 27]);
    assert_eq!(vec::<i64>(&steps(xs.clone()).unwrap()), expected);
    assert_eq!(vec::<i64>(&compile(steps).run(xs).unwrap()), expected);
}

/// A training step that changes the parameters only where the loss is large: their update is in a branch, and random numbers
/// are drawn in it.
#[test]
fn a_training_step_in_a_branch() {
    let _seeded = seeded(3);
    let (net, dropout) = (Linear::new(3, 1), Dropout::new(0.5));
    let step = compile(|x: Tensor, limit: Tensor| {
        let loss = net.forward(&dropout.forward(&x)).square().mean_all();
        let parameters = net.parameters();
        let gradients = grad(&loss, &parameters.iter().collect::<Vec<_>>())?;
        let noise = cond(
            &loss.gt(&limit),
            gradients,
            |gradients: Vec<Tensor>| -> Result<Tensor> {
                for (p, g) in net.parameters().iter().zip(&gradients) {
                    p.update(|p| p - g * 0.1)?;
                }
                Ok(Tensor::rand(2))
            },
            |_| Tensor::zeros(2),
        )?;
        Ok((loss, noise))
    });
    let x = Tensor::randn((4, 3));
    for limit in [0.0, 1e9] {
        let before = net.parameters().iter().map(|p| p.to_f64_vec().unwrap()).collect::<Vec<_>>();
        assert!(compare_with_eager(&step, (x.clone(), Tensor::new(limit)), 1e-5).unwrap() <= 1e-5);
        let after = net.parameters().iter().map(|p| p.to_f64_vec().unwrap()).collect::<Vec<_>>();
        assert_eq!(before == after, limit > 0.0);
    }
}

#[test]
fn a_check_in_a_branch_fails_only_where_it_is_taken() {
    let f = |p: Tensor, x: Tensor, label: Tensor| cond(&p, x, |x: Tensor| x.cross_entropy(&label), |x: Tensor| x.sum_all());
    let compiled = compile(f);
    for f in [&f as &dyn Fn(Tensor, Tensor, Tensor) -> Result<Tensor>, &|p, x, l| compiled.run((p, x, l))] {
        let run = |p: bool, label: i64| f(flag(p), Tensor::zeros((1, 3)), Tensor::new([label]));
        close(&run(true, 2).unwrap(), &[3f64.ln()]);
        close(&run(false, 7).unwrap(), &[0.0]);
        assert!(message(run(true, 7)).contains("out of"), "{}", message(run(true, 7)));
    }
}

/// What is detached in a region has no gradient outside of it.
#[test]
fn results_detached_in_a_region_stay_so() {
    let x = Tensor::new(2.0).requires_grad_();
    let y = cond(&flag(true), x.clone(), |x: Tensor| (x.square(), x.square().detach()), |x: Tensor| (x.clone(), x)).unwrap();
    (y.0 + y.1).backward().unwrap();
    close(&x.take_grad().unwrap(), &[4.0]);
    let (last, ys) = scan(x.clone(), Tensor::new([1.0, 2.0]), |c: Tensor, s: Tensor| (&c * &s, (c * s).detach())).unwrap();
    (last + ys.sum_all()).backward().unwrap();
    close(&x.take_grad().unwrap(), &[2.0]);
}

/// Loops are not unrolled: the graph and the kernels do not depend on how often the body runs.
#[test]
fn a_program_does_not_depend_on_the_number_of_steps() {
    let w = Tensor::parameter(Tensor::new([[0.5, 0.1], [0.2, 0.4]]));
    let texts = [8usize, 8000].map(|steps| {
        let step = compile(|x: Tensor| {
            let y = fori_loop(0, steps, x, |_, h: Tensor| h.matmul(&w).tanh())?;
            let y = while_loop_bounded(steps as u32, y, |y: Tensor| y.sum_all().gt(0.0), |y: Tensor| y - 0.01)?;
            y.sum_all().backward()?;
            w.take_grad().ok_or_else(|| Error::new("no gradient"))
        });
        let lowered = step.lower(Tensor::ones((3, 2))).unwrap();
        // Extents of what is kept of every step are all that differs.
        let text = lowered.kernels_text().replace("8000", "8");
        assert!(text.contains("tanh"), "{text}");
        (text, lowered.launches())
    });
    assert_eq!(texts[0], texts[1]);
}
