//! `scan`, eager and compiled.

use crate::{close, message};
use igneous::{Tensor, compile, grad, scan, scan_reverse};

fn cumulative(xs: Tensor) -> igneous::Result<(Tensor, Tensor)> {
    scan(Tensor::zeros(()), xs, |sum, x| {
        let sum = sum + x;
        (sum.clone(), sum * 10.0)
    })
}

#[test]
fn carries_and_results() {
    let xs = Tensor::new([1.0, 2.0, 3.0]);
    for (last, all) in [cumulative(xs.clone()).unwrap(), compile(cumulative).run(xs.clone()).unwrap()] {
        close(&last, &[6.0]);
        close(&all, &[10.0, 30.0, 60.0]);
    }
    let (last, all) = scan_reverse(Tensor::zeros(()), xs, |sum, x| (&sum * 2.0 + &x, sum)).unwrap();
    close(&last, &[17.0]);
    close(&all, &[8.0, 3.0, 0.0]);
}

/// h ← w·h + x over x = 1, 2, 3 from 0: h = w² + 2w + 3, dh/dw = 2w + 2, dh/dx = w², w, 1.
#[test]
fn gradients_flow_through_captured_parameters_and_sequences() {
    let w = Tensor::parameter(Tensor::new(3.0));
    let xs = Tensor::new([1.0, 2.0, 3.0]).requires_grad_();
    let f = |xs: Tensor| -> igneous::Result<Tensor> {
        Ok(scan(Tensor::zeros(()), xs, |h: Tensor, x: Tensor| {
            let h = &w * h + x;
            (h.clone(), h)
        })?
        .0)
    };
    let eager = f(xs.clone()).unwrap();
    close(&eager, &[18.0]);
    eager.backward().unwrap();
    close(&w.take_grad().unwrap(), &[8.0]);
    close(&xs.take_grad().unwrap(), &[9.0, 3.0, 1.0]);
    let step = compile(|xs: Tensor| {
        let h = f(xs)?;
        h.backward()?;
        Ok(h)
    });
    close(&step.run(xs.detach()).unwrap(), &[18.0]);
    close(&w.take_grad().unwrap(), &[8.0]);
}

#[test]
fn variables_assigned_in_a_loop_are_carried() {
    let count = Tensor::variable(Tensor::new(0.0));
    let scale = Tensor::variable(Tensor::new(2.0));
    let f = |xs: Tensor| {
        scan((), xs, |(), x: Tensor| {
            count.update(|c| c + 1.0)?;
            Ok(((), x * &count * &scale))
        })
    };
    let ((), all) = f(Tensor::new([1.0, 1.0, 1.0])).unwrap();
    close(&all, &[2.0, 4.0, 6.0]);
    close(&count, &[3.0]);
    let ((), all) = compile(f).run(Tensor::new([1.0, 1.0])).unwrap();
    close(&all, &[8.0, 10.0]);
    close(&count, &[5.0]);
}

#[test]
fn errors_of_loops() {
    let xs = Tensor::new([1.0, 2.0]);
    let told = message(scan(Tensor::zeros(()), xs.clone(), |c: Tensor, x: Tensor| (c.unsqueeze(0), x)));
    assert!(told.contains("carry"), "{told}");
    let told = message(scan((), (xs.clone(), Tensor::zeros(3)), |(), (x, y): (Tensor, Tensor)| ((), x + y)));
    assert!(told.contains("whose first axes"), "{told}");
    let w = Tensor::parameter(Tensor::new(1.0));
    let told = message(scan((), xs, |(), x: Tensor| {
        (x * &w).backward()?;
        Ok(((), w.clone()))
    }));
    assert!(told.contains("backward cannot be called in the body of a scan"), "{told}");
    assert!(w.grad().is_none());
}

#[test]
fn a_loop_in_a_gradient_in_a_gradient() {
    // y = x⁴ by repeated squaring in a scan of two steps: y' = 4x³, y'' = 12x².
    let x = Tensor::from_vec(vec![1.5f64], ()).requires_grad_();
    let (y, ()) = scan(x.clone(), Tensor::arange(0, 2), |h: Tensor, _: Tensor| (&h * &h, ())).unwrap();
    let first = grad(&y, &[&x]).unwrap().remove(0);
    close(&first, &[4.0 * 1.5f64.powi(3)]);
    let second = grad(&first, &[&x]).unwrap().remove(0);
    close(&second, &[12.0 * 1.5f64.powi(2)]);
}
