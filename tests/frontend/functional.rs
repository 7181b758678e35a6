//! Function transforms, in eager mode and inside compiled functions.

use crate::{close, f64s, message, seeded, vec};
use igneous::func::{
    Randomness, custom_jvp, custom_vjp, functional_call, grad, hessian, jacfwd, jacrev, jvp, value_and_grad, vjp, vmap,
};
use igneous::nn::{Dropout, Forward, Gelu, Linear, ModuleExt, Sequential};
use igneous::{ArgumentList, Arguments, DType, Dim, Function, Outputs, Tensor, Tree, compile, default, random_state};

/// What a function gives, eagerly and compiled, which must agree.
#[track_caller]
fn both<F, Args>(f: F, arguments: impl Arguments<Args>) -> <F::Outputs as Outputs>::Value
where
    F: Function<Args>,
    Args: ArgumentList,
{
    let arguments = arguments.arguments();
    let mut tensors = Vec::new();
    arguments.flatten(&mut tensors, &mut Vec::new());
    let copy = || arguments.rebuild(&mut tensors.clone().into_iter());
    let flat = |value: &<F::Outputs as Outputs>::Value| {
        let mut tensors = Vec::new();
        value.flatten(&mut tensors, &mut Vec::new());
        tensors
    };
    let eager = f.call(copy()).into_result().unwrap_or_else(|e| panic!("eager: {e}"));
    struct Packed<A>(A);
    impl<A> Arguments<A> for Packed<A> {
        fn arguments(self) -> A {
            self.0
        }
    }
    let compiled = compile(f).run(Packed(copy())).unwrap_or_else(|e| panic!("compiled: {e}"));
    for (a, b) in flat(&eager).iter().zip(&flat(&compiled)) {
        assert_eq!(a.ty().unwrap(), b.ty().unwrap());
        close(a, &b.to_f64_vec().unwrap());
    }
    eager
}

fn matrix() -> Tensor {
    f64s(&[0.5, -1.0, 2.0, 1.5, 0.25, -0.75], (3, 2))
}

/// Σ v·tanh(W·x) has the Hessian Wᵀ·diag(−2·v·t·(1 − t²))·W with t = tanh(W·x).
#[test]
fn the_hessian_of_a_network_is_its_closed_form() {
    let (w, v, x) = (matrix(), f64s(&[1.0, -2.0, 0.5], 3), f64s(&[0.3, -0.4], 2));
    let t = w.matmul(&x).tanh();
    let middle = &v * &t * (t.square() - 1.0) * 2.0;
    let expected = w.t().matmul(&(middle.unsqueeze(1) * &w)).to_f64_vec().unwrap();
    let f = move |x: Tensor| (&v * w.matmul(&x).tanh()).sum_all();
    close(&both(hessian(f.clone()), x.clone()), &expected);
    close(&both(jacrev(jacfwd(f.clone())), x.clone()), &expected);
    close(&both(jacrev(jacrev(f.clone())), x.clone()), &expected);
    close(&both(jacfwd(jacfwd(f.clone())), x.clone()), &expected);
    close(&both(jacrev(grad(f)), x), &expected);
}

/// d/dx of the directional derivative ⟨∇f, t⟩ is H·t: forward over reverse and reverse over forward agree with it.
#[test]
fn products_with_the_hessian_by_both_orders() {
    // f = x₀²·x₁ + sin(x₁): H = [2x₁, 2x₀; 2x₀, −sin x₁].
    let f = |x: Tensor| x.i(0).square() * x.i(1) + x.i(1).sin();
    let (x, t) = (f64s(&[1.5, 0.5], 2), f64s(&[1.0, -2.0], 2));
    let expected = [1.0 - 6.0, 3.0 + 2.0 * 0.5f64.sin()];
    let forward_over_reverse = move |x: Tensor, t: Tensor| Ok(jvp(grad(f), x, t)?.1);
    close(&both(forward_over_reverse, (x.clone(), t.clone())), &expected);
    let reverse_over_forward = move |x: Tensor, t: Tensor| {
        let (y, pullback) = vjp(|x: Tensor| Ok(jvp(f, x, t.clone())?.1), x)?;
        pullback.run(y.ones_like())
    };
    close(&both(reverse_over_forward, (x.clone(), t.clone())), &expected);
    let forward_over_pullback = move |x: Tensor, t: Tensor| {
        let gradient = |x: Tensor| {
            let (y, pullback) = vjp(f, x)?;
            pullback.run(y.ones_like())
        };
        Ok(jvp(gradient, x, t)?.1)
    };
    close(&both(forward_over_pullback, (x, t)), &expected);
}

#[test]
fn gradients_of_each_sample_equal_those_of_a_loop() {
    let _random = seeded(7);
    let net = Sequential::new().push(Linear::new(3, 5)).push(Gelu).push(Linear::new(5, 4));
    let (x, labels) = (Tensor::randn((6, 3)), Tensor::new([0i64, 3, 1, 2, 3, 0]));
    let loss = |parameters: Vec<Tensor>, x: Tensor, label: Tensor| {
        functional_call(&net, &parameters, || net.forward(&x.unsqueeze(0)).cross_entropy(&label.unsqueeze(0)))
    };
    let each = vmap(grad(loss)).in_axes([None, Some(0), Some(0)]);
    let found = both(each, (net.parameters(), x.clone(), labels.clone()));
    for sample in 0..6i64 {
        net.forward(&x.i(sample..sample + 1)).cross_entropy(&labels.i(sample..sample + 1)).backward().unwrap();
        for (all, parameter) in found.iter().zip(net.parameters()) {
            close(&all.i(sample), &parameter.take_grad().unwrap().to_f64_vec().unwrap());
        }
    }
}

#[test]
fn the_first_argument_is_differentiated_by_and_other_results_are_passed_on() {
    let f = |(w, b): (Tensor, Vec<Tensor>), n: Tensor| {
        let y = &w * &n.to_dtype(DType::F64) + &b[0];
        (y.square().sum_all(), (y, n))
    };
    let ((loss, (y, n)), (dw, db)) = both(value_and_grad(f), ((f64s(&[2.0], 1), vec![f64s(&[1.0], 1)]), Tensor::new([1i64, 3])));
    close(&loss, &[58.0]);
    close(&y, &[3.0, 7.0]);
    close(&n, &[1.0, 3.0]);
    close(&dw, &[48.0]);
    close(&db[0], &[20.0]);
}

/// d/dx (x · d/dy (x·y)) = 2x: the inner derivative must not see how `x` depends on itself outside.
#[test]
fn nested_derivatives_do_not_mix() {
    let f = |x: Tensor| {
        let inner = grad(|y: Tensor| &x * y).run(x.clone())?;
        Ok(&x * inner)
    };
    close(&both(grad(f), f64s(&[3.0], ())), &[6.0]);
    let f = |x: Tensor| {
        let (_, inner) = jvp(|y: Tensor| &x * y, x.clone(), x.ones_like())?;
        Ok(&x * inner)
    };
    close(&both(grad(f), f64s(&[3.0], ())), &[6.0]);
    let f = |x: Tensor| Ok(&x * jvp(|y: Tensor| &x * y, x.clone(), x.ones_like())?.1);
    let tangent = |x: Tensor| Ok(jvp(f, x.clone(), x.ones_like())?.1);
    close(&both(tangent, f64s(&[3.0], ())), &[6.0]);
}

/// The result of a transform is on the tape: Σ (dx³/dx)² = 9x⁴ has the gradient 36x³; and of what was captured.
#[test]
fn results_are_differentiated_by_backward() {
    let x = f64s(&[1.0, 2.0], 2).requires_grad_();
    let w = f64s(&[2.0, 3.0], 2).requires_grad_();
    let d = grad(|x: Tensor| (&w * &x * &x * &x).sum_all()).run(x.clone()).unwrap();
    d.square().sum_all().backward().unwrap();
    close(&x.grad().unwrap(), &[36.0 * 4.0, 36.0 * 9.0 * 8.0]);
    close(&w.grad().unwrap(), &[18.0 * 2.0, 18.0 * 16.0 * 3.0]);
    let frozen = igneous::no_grad(|| grad(|x: Tensor| x.square().sum_all()).run(x.clone())).unwrap();
    close(&frozen, &[2.0, 4.0]);
    assert!(!frozen.requires_grad());
}

#[test]
fn detached_values_are_constants() {
    let f = |x: Tensor| (x.detach() * &x).sum_all();
    close(&both(grad(f), f64s(&[3.0, 4.0], 2)), &[3.0, 4.0]);
    close(&both(grad(|x: Tensor| x.detach().sum_all()), f64s(&[3.0], 1)), &[0.0]);
    let f = |x: Tensor| igneous::no_grad(|| x.square().sum_all());
    close(&both(grad(f), f64s(&[3.0], 1)), &[0.0]);
    let f = |x: Tensor| Ok(jvp(|x: Tensor| x.detach().exp(), x.clone(), x)?.1);
    close(&both(f, f64s(&[3.0], 1)), &[0.0]);
}

#[test]
fn axes_of_arguments_and_results_are_chosen() {
    let (a, b) = (Tensor::new([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), Tensor::new([10.0, 100.0]));
    let f = |a: Tensor, b: Tensor| (&a + &b, b.sum_all(), a);
    let (sums, total, columns) = both(vmap(f).in_axes([Some(-1), None]).out_axis(0), (a.clone(), b.clone()));
    close(&sums, &[11.0, 104.0, 12.0, 105.0, 13.0, 106.0]);
    close(&total, &[110.0; 3]);
    assert_eq!(columns.dims(), [3, 2].map(Dim::from));
    let f = |a: Tensor, b: Tensor| &a + &b;
    let sums = both(vmap(f).in_axes([Some(1), None]).out_axis(-1), (a.clone(), b.clone()));
    close(&sums, &[11.0, 12.0, 13.0, 104.0, 105.0, 106.0]);
    // Mapped twice: an outer sum.
    let outer = vmap(vmap(|a: Tensor, b: Tensor| a + b).in_axes([None, Some(0)])).in_axes([Some(0), None]);
    close(&both(outer, (b.clone(), b)), &[20.0, 110.0, 110.0, 200.0]);
    let none = both(vmap(|a: Tensor| a.sum_all()), Tensor::zeros((0, 3)));
    assert_eq!(none.dims(), [Dim::ZERO]);
}

#[test]
fn jacobians_have_the_axes_of_results_and_arguments() {
    let w = matrix();
    let f = |(x, y): (Tensor, Tensor)| w.matmul(&x).unsqueeze(0) * y;
    let arguments = (f64s(&[1.0, 2.0], 2), f64s(&[1.0, 10.0], (2, 1)));
    let ((dx, dy), (fx, fy)) = (both(jacrev(f), (arguments.clone(),)), both(jacfwd(f), (arguments,)));
    assert_eq!((dx.dims(), dy.dims()), ([2, 3, 2].map(Dim::from), [2, 3, 2, 1].map(Dim::from)));
    let m = matrix().to_f64_vec().unwrap();
    close(&dx, &m.iter().copied().chain(m.iter().map(|x| x * 10.0)).collect::<Vec<_>>());
    close(&fx, &dx.to_f64_vec().unwrap());
    close(&fy, &dy.to_f64_vec().unwrap());
}

#[test]
fn a_pullback_is_used_more_than_once_and_mapped() {
    let (y, pullback) = vjp(|x: Tensor| x.square(), f64s(&[1.0, 2.0], 2)).unwrap();
    close(&y, &[1.0, 4.0]);
    close(&pullback.run(f64s(&[1.0, 1.0], 2)).unwrap(), &[2.0, 4.0]);
    let rows = vmap(&pullback).run(f64s(&[1.0, 0.0, 0.0, 1.0, 1.0, 1.0], (3, 2))).unwrap();
    close(&rows, &[2.0, 0.0, 0.0, 4.0, 2.0, 4.0]);
}

/// Operators that keep their own structure under a batch: convolution, attention-like softmax, gather, scan.
#[test]
fn mapped_functions_equal_loops() {
    let _random = seeded(3);
    let images = Tensor::randn((4, 2, 3, 6, 6));
    let kernels = Tensor::randn((5, 3, 3, 3));
    let indices = Tensor::new([[0i64, 2], [1, 1], [4, 0], [3, 3]]);
    let f = |x: Tensor, at: Tensor| {
        let y = x.conv2d(&kernels, None, default()).max_pool2d(2);
        let picked = y.softmax(1).i((.., at, 0, 0));
        let (last, _) = igneous::scan(Tensor::zeros(2), picked.t(), |sum, x| (sum * 0.5 + &x, x))?;
        Ok(last)
    };
    let mapped = both(vmap(f), (images.clone(), indices.clone()));
    for k in 0..4i64 {
        close(&mapped.i(k), &f(images.i(k), indices.i(k)).unwrap().to_f64_vec().unwrap());
    }
}

#[test]
fn elements_draw_their_own_random_numbers_or_the_same() {
    let _random = seeded(5);
    let draw = |x: Tensor| &x + Tensor::rand(3).to_dtype(DType::F64);
    let x = f64s(&[0.0; 6], (2, 3));
    let before = vec::<i64>(&random_state().unwrap());
    let different = vec::<f64>(&vmap(draw).run(x.clone()).unwrap());
    assert_ne!(different[..3], different[3..]);
    assert_eq!(vec::<i64>(&random_state().unwrap())[1], before[1] + 1);
    let same = vec::<f64>(&vmap(draw).randomness(Randomness::Same).run(x.clone()).unwrap());
    assert_eq!(same[..3], same[3..]);
    assert_ne!(same[..3], different[..3]);
    let told = message(vmap(draw).randomness(Randomness::Error).run(x.clone()));
    assert!(told.contains("draws random numbers"), "{told}");
    // Compiled, the same numbers.
    igneous::manual_seed(5);
    let compiled = vec::<f64>(&compile(vmap(draw)).run(x).unwrap());
    assert_eq!(compiled, different);
}

/// Dropout inside a mapped gradient: what is dropped forward is dropped backward.
#[test]
fn dropout_in_a_mapped_gradient() {
    let _random = seeded(11);
    let dropout = Dropout::new(0.5);
    let f = |x: Tensor| {
        let y = dropout.forward(&x);
        (y.sum_all(), y)
    };
    let ((_, y), dx) = vmap(value_and_grad(f)).run(Tensor::ones((4, 16))).unwrap();
    assert_eq!(vec::<f32>(&y), vec::<f32>(&dx));
    let rows: Vec<Vec<f32>> = (0..4i64).map(|k| vec(&y.i(k))).collect();
    assert!(rows.windows(2).any(|w| w[0] != w[1]));
}

#[test]
fn variables_are_assigned_once() {
    let count = Tensor::variable(Tensor::new(0.0));
    let f = |x: Tensor| {
        count.assign(&(&count + 1.0))?;
        Ok((&x * &count).sum_all())
    };
    close(&grad(&f).run(Tensor::new([1.0])).unwrap(), &[1.0]);
    close(&count, &[1.0]);
    vmap(&f).run(Tensor::new([[1.0], [2.0]])).unwrap();
    close(&count, &[2.0]);
    jacfwd(&f).run(Tensor::new([1.0])).unwrap();
    close(&count, &[3.0]);
    compile(hessian(f)).run(Tensor::new([1.0])).unwrap();
    close(&count, &[4.0]);
    let told = message(vmap(|x: Tensor| count.assign(&x).map(|()| x)).run(Tensor::new([1.0, 2.0])));
    assert!(told.contains("assigns a value to a variable that depends on the element"), "{told}");
    close(&count, &[4.0]);
}

#[test]
fn a_module_runs_with_other_parameters() {
    let _random = seeded(1);
    let net = Linear::new(2, 1);
    let other = [Tensor::new([[2.0, 3.0]]), Tensor::new([1.0])];
    let x = Tensor::new([[1.0, 10.0]]);
    close(&functional_call(&net, &other, || net.forward(&x)).unwrap(), &[33.0]);
    // A compiled function inside reads what stands for the parameters, too.
    let compiled = compile(|x: Tensor| net.forward(&x));
    compiled.run(x.clone()).unwrap();
    close(&functional_call(&net, &other, || compiled.run(x.clone())).unwrap().unwrap(), &[33.0]);
    let told = message(functional_call(&net, &other[..1], || ()));
    assert!(told.contains("has 2 parameters, and 1 tensors"), "{told}");
    let told = message(functional_call(&net, &[x.clone(), x.clone()], || ()));
    assert!(told.contains("`bias` has another type"), "{told}");
    let told = message(functional_call(&net, &other, || net.parameters()[0].assign(&other[0])).unwrap());
    assert!(told.contains("cannot be changed while"), "{told}");
}

#[test]
fn errors_name_the_cause_and_the_line() {
    let x = Tensor::new([1.0, 2.0]);
    let told = message(grad(|x: Tensor| x * 2.0).run(x.clone()));
    assert!(told.contains("one floating-point number") && told.contains("functional.rs"), "{told}");
    let told = message(grad(|x: Tensor| x.sum_all()).run(Tensor::new([1i64])));
    assert!(told.contains("floating-point tensors"), "{told}");
    let told = message(grad(|x: Tensor| x.sum_all().item().map(|_| x)).run(x.clone()));
    assert!(told.contains("its value"), "{told}");
    let told = message(grad(|x: Tensor| x.requires_grad_().sum_all().backward().map(|()| x)).run(x.clone()));
    assert!(told.contains("backward cannot be called"), "{told}");
    let told = message(vmap(|a: Tensor, b: Tensor| a + b).run((x.clone(), Tensor::zeros(3))));
    assert!(told.contains("axes of one extent"), "{told}");
    let told = message(vmap(|a: Tensor| a).in_axes([Some(1)]).run(x.clone()));
    assert!(told.contains("maps over axis 1"), "{told}");
    let told = message(vmap(|a: Tensor| a).in_axes([None]).run(x.clone()));
    assert!(told.contains("at least one tensor to map over"), "{told}");
    let told = message(vmap(|a: Tensor| a).in_axes([None, None]).run(x.clone()));
    assert!(told.contains("2 entries"), "{told}");
    let told = message(vmap(|a: Tensor| a).out_axis(3).run(x.clone()));
    assert!(told.contains("stacks results along axis 3"), "{told}");
    let told = message(jvp(|x: Tensor| x, x.clone(), Tensor::zeros(3)));
    assert!(told.contains("a tangent has the type of its primal"), "{told}");
    let told = message(vjp(|x: Tensor| x, x.clone()).unwrap().1.run(Tensor::zeros(3)));
    assert!(told.contains("a cotangent has the type of its result"), "{told}");
}

/// sin with a derivative of twice what it should be, so that it shows whose derivative is used; a tuple of arguments, of
/// which one is an integer.
#[test]
fn a_function_has_the_derivative_it_brings() {
    let scale = f64s(&[2.0], 1);
    let f = custom_vjp(
        |x: Tensor, n: Tensor| (x.sin() * n.to_dtype(DType::F64), (x, n)),
        |(x, n): (Tensor, Tensor), dy: Tensor| (dy * x.cos() * n.to_dtype(DType::F64) * &scale, n),
    );
    let (x, n) = (f64s(&[0.5, 1.0], 2), Tensor::new([1i64, 3]));
    let cos = [0.5f64.cos(), 1.0f64.cos()];
    let loss = |x: Tensor, n: Tensor| Ok(f.run((x, n))?.sum_all());
    let (value, d) = both(value_and_grad(loss), (x.clone(), n.clone()));
    close(&value, &[0.5f64.sin() + 3.0 * 1.0f64.sin()]);
    close(&d, &[2.0 * cos[0], 6.0 * cos[1]]);
    // By the tape, the same.
    let leaf = x.requires_grad_();
    f.run((leaf.clone(), n.clone())).unwrap().sum_all().backward().unwrap();
    close(&leaf.grad().unwrap(), &[2.0 * cos[0], 6.0 * cos[1]]);
    // Forward mode transposes it; a second derivative is that of the backward part.
    let tangent = |x: Tensor, n: Tensor| Ok(jvp(|x: Tensor| f.run((x, n.clone())), x.clone(), x.ones_like())?.1);
    close(&both(tangent, (x.clone(), n.clone())), &[2.0 * cos[0], 6.0 * cos[1]]);
    let second = both(hessian(loss), (x.clone(), n.clone()));
    close(&second, &[-2.0 * 0.5f64.sin(), 0.0, 0.0, -6.0 * 1.0f64.sin()]);
    // Mapped before and after it is differentiated.
    let rows = Tensor::stack(&[x.clone(), &x * 2.0], 0);
    let expected = [2.0 * cos[0], 6.0 * cos[1], 2.0 * 1.0f64.cos(), 6.0 * 2.0f64.cos()];
    close(&both(vmap(grad(loss)).in_axes([Some(0), None]), (rows.clone(), n.clone())), &expected);
    let whole = |rows: Tensor, n: Tensor| Ok(vmap(|x, n| f.run((x, n))).in_axes([Some(0), None]).run((rows, n))?.sum_all());
    close(&both(grad(whole), (rows, n)), &expected);
}

#[test]
fn a_function_has_the_tangent_it_brings() {
    let f =
        custom_jvp(|x: Tensor, y: Tensor| &x * y, |(x, y): (Tensor, Tensor), (tx, ty): (Tensor, Tensor)| tx * y + ty * x * 10.0);
    let (x, y) = (f64s(&[2.0], ()), f64s(&[3.0], ()));
    let g = |x: Tensor, y: Tensor| f.run((x, y));
    let (value, tangent) = jvp(g, (x.clone(), y.clone()), (x.ones_like(), y.ones_like())).unwrap();
    close(&value, &[6.0]);
    close(&tangent, &[3.0 + 20.0]);
    let (_, pullback) = vjp(g, (x.clone(), y.clone())).unwrap();
    let (dx, dy) = pullback.run(x.ones_like()).unwrap();
    close(&dx, &[3.0]);
    close(&dy, &[20.0]);
    close(
        &both(vmap(grad(|x: Tensor, y: Tensor| f.run((x, y)))).in_axes([Some(0), None]), (f64s(&[1.0, 2.0], 2), y)),
        &[3.0, 3.0],
    );
}

/// A random mask drawn forward and used backward, in a loop: the state of the random numbers moves on as it should.
#[test]
fn a_function_with_its_own_derivative_draws_random_numbers_in_a_loop() {
    let _random = seeded(9);
    let f = custom_vjp(
        |x: Tensor| {
            let mask = Tensor::rand(4).ge(0.5).to_dtype(DType::F64);
            (&x * &mask, mask)
        },
        |mask: Tensor, dy: Tensor| dy * mask,
    );
    let run = |x: Tensor| {
        let (last, all) = igneous::scan(x, Tensor::arange(0, 3), |x, _| {
            let y = f.run(x);
            match y {
                Ok(y) => (&y * 2.0, y),
                Err(error) => (error.clone().into(), error.into()),
            }
        })?;
        Ok((last.sum_all(), all))
    };
    let x = Tensor::ones(4).to_dtype(DType::F64);
    igneous::manual_seed(9);
    let ((_, all), d) = value_and_grad(run).run(x.clone()).unwrap();
    assert_eq!(vec::<i64>(&random_state().unwrap())[1], 3);
    let kept: Vec<f64> = vec(&all.i(-1)).iter().map(|y: &f64| if *y > 0.0 { 8.0 } else { 0.0 }).collect();
    close(&d, &kept);
    igneous::manual_seed(9);
    close(&compile(grad(run)).run(x).unwrap(), &kept);
}

#[test]
fn errors_of_functions_with_their_own_derivatives() {
    let x = f64s(&[1.0, 2.0], 2);
    let wrong = custom_vjp(|x: Tensor| (x.sum_all(), x), |x: Tensor, _: Tensor| x.sum_all());
    let told = message(wrong.run(x.clone()));
    assert!(told.contains("backward part of a function returns a cotangent of another type"), "{told}");
    let w = Tensor::parameter(f64s(&[3.0], 1));
    let captures = custom_vjp(|x: Tensor| (&x * &w, ()), |(): (), dy: Tensor| dy);
    let told = message(captures.run(x.clone()));
    assert!(told.contains("requires gradients and is no argument") && told.contains("pass it as an argument"), "{told}");
    let fails = custom_vjp(|x: Tensor| (x, ()), |(): (), dy: Tensor| dy.reshape(7));
    let told = message(fails.run(x));
    assert!(told.contains("reshape"), "{told}");
}

/// Of a function of each family, so that what the operators' records promise also holds on the tape.
#[test]
fn gradients_of_gradients() {
    let x = |n: usize, shape: &[usize]| {
        let data: Vec<f64> = (0..n).map(|i| ((i * 37 + 11) % 23) as f64 / 11.0 - 0.9).collect();
        f64s(&data, shape)
    };
    type F = fn(&[Tensor]) -> Tensor;
    let cases: [(&str, F, Vec<Tensor>); 11] = [
        ("softmax", |t| t[0].softmax(-1), vec![x(6, &[2, 3])]),
        ("layer_norm", |t| t[0].layer_norm(&t[1], &t[2], 1e-5), vec![x(6, &[2, 3]), x(3, &[3]), x(3, &[3])]),
        ("gelu", |t| t[0].gelu(), vec![x(5, &[5])]),
        ("matmul", |t| t[0].matmul(&t[1]).tanh(), vec![x(6, &[2, 3]), x(6, &[3, 2])]),
        ("conv2d", |t| t[0].conv2d(&t[1], None, default()).sin(), vec![x(32, &[1, 2, 4, 4]), x(18, &[1, 2, 3, 3])]),
        ("max_pool2d", |t| t[0].square().max_pool2d(2), vec![x(16, &[1, 1, 4, 4])]),
        (
            "attention",
            |t| t[0].scaled_dot_product_attention(&t[1], &t[2], &default()),
            vec![x(6, &[1, 3, 2]), x(6, &[1, 3, 2]), x(6, &[1, 3, 2])],
        ),
        ("logcumsumexp", |t| t[0].logcumsumexp(-1), vec![x(4, &[4])]),
        ("prod", |t| t[0].prod(-1), vec![x(4, &[4])]),
        ("solve", |t| igneous::linalg::solve(&t[0], &t[1]), vec![x(4, &[2, 2]), x(2, &[2])]),
        ("sort", |t| t[0].sort(-1).0 * t[0].sin(), vec![x(5, &[5])]),
    ];
    for (name, f, arguments) in cases {
        igneous::testing::gradgradcheck(f, &arguments).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}
