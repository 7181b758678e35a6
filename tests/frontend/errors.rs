//! Errors: what is told, and that nothing panics.

use crate::message;
use igneous::{DType, Ellipsis, Error, Tensor, compile, default};

/// The line is that of the failing call, and the message names both operands with where they come from.
#[test]
fn a_wrong_shape_names_its_operands_and_line() {
    let line = line!() + 1;
    let (x, w) = (Tensor::zeros((64, 784)), Tensor::zeros((512, 10)));
    let product = x.matmul(&w);
    let told = message(product.to_vec::<f32>());
    let file = file!();
    let expected = format!(
        "matmul needs the last dimension of the left operand to equal the second-to-last of the right one\n  \
         left   f32[64, 784]   from {file}:{line}\n  right  f32[512, 10]   from {file}:{line}\n  at {file}:{}",
        line + 1
    );
    assert_eq!(told, expected);
}

#[test]
fn a_parameter_is_named() {
    let w = Tensor::parameter(Tensor::zeros((512, 10)));
    w.set_name("fc2.weight");
    let told = message(Tensor::zeros((64, 784)).matmul(&w).check());
    assert!(told.contains("right  f32[512, 10]   parameter `fc2.weight`"), "{told}");
}

/// The first error stays, whatever is computed from it, and no result has a shape.
#[test]
fn an_invalid_tensor_carries_its_first_error() {
    let line = line!() + 1;
    let bad = Tensor::zeros((2, 3)) + Tensor::zeros((4, 5));
    let [a, b] = bad.dims();
    assert!(a.is_invalid() && b.is_invalid());
    let after = (bad.relu().sum_all() * 2.0 + Tensor::ones((a, b)).sum_all()).exp();
    let error = after.to_vec::<f32>().unwrap_err();
    assert_eq!(error.loc().map(|l| l.line), Some(line));
    assert!(error.message().contains("neither agree nor broadcast"), "{error}");
    for told in [message(after.item()), message(after.backward()), message(after.check())] {
        assert_eq!(told, error.to_string());
    }
    assert!(after.to_string().starts_with("invalid: "));
    let told = message(Tensor::ones((a, 2)).check());
    assert!(told.contains("read from an invalid tensor"), "{told}");
}

/// What a user can get wrong, each told at once and none a panic.
#[test]
fn messages() {
    let x = Tensor::zeros((2, 3));
    let cases: Vec<(Tensor, &str)> = vec![
        (x.reshape((4, 2)), "reshape"),
        (x.reshape((-1, -1)), "one -1"),
        (x.reshape((5, -1)), "do not fit the shape"),
        (x.transpose(0, 5), "axis 5 is out of range"),
        (x.permute([0, 0]), "permute needs each of 2 axes once"),
        (x.sum(7), "axis 7 is out of range"),
        (x.i(2), "index 2 is out of range for axis 0 of extent 2"),
        (x.i((0, 0, 0)), "an index of 3 axes"),
        (x.i((Ellipsis, Ellipsis)), "one Ellipsis"),
        (x.i(Tensor::new([5])), "an index is out of range"),
        (x.i(Tensor::new([0.5])), "an index needs integers"),
        (x.cross_entropy(&Tensor::new([0, 3])), "a label is out of range: it must be at least 0 and less than 3"),
        (x.cross_entropy(&Tensor::new([0.0, 1.0])), "needs integer labels"),
        (x.cross_entropy(&Tensor::new([0])), "one label for each example"),
        (x.conv2d(&x, None, default()), "conv2d needs a tensor with 4 axes"),
        (Tensor::zeros((1, 3, 8, 8)).conv2d(&Tensor::zeros((4, 2, 3, 3)), None, default()), "input channels"),
        (x.where_(&x, 0.0), "condition of bools"),
        (Tensor::cat(&[x.clone(), Tensor::zeros((2, 3, 1))], 0), "concat"),
        (Tensor::new([1, 2]).mean(0), "mean needs a tensor of a floating-point type"),
        (Tensor::new([1]).requires_grad_(), "floating-point type can require gradients"),
        (Tensor::from_vec(vec![1.0f32; 5], (2, 3)), "elements"),
        (Tensor::new(vec![vec![1.0], vec![1.0, 2.0]]), "rows of nested data"),
        (x.dropout(1.5), "dropout needs a probability"),
        (x.expand((3, 3)), "expand"),
        (x.layer_norm(&Tensor::ones(4), &Tensor::zeros(4), 1e-5), "layer_norm needs weight and bias"),
        (Tensor::arange_step(0, 5, 0), "step that is not zero"),
        (Tensor::randint(5, 5, 3), "randint needs a range"),
        (Tensor::zeros((-2, 3)), "negative extent"),
    ];
    for (tensor, expected) in cases {
        let error = tensor.check().expect_err(expected);
        assert!(error.message().contains(expected), "{error}\ndoes not say: {expected}");
        assert_eq!(error.loc().map(|l| l.file), Some(file!()), "{error}");
    }
    assert!(message(x.to_vec::<i64>()).contains("to_dtype(DType::I64)"));
    assert!(message(x.item()).contains("one element; this one has 6"));
    assert!(message(x.assign(&x)).contains("assign needs a variable"));
    assert!(message(x.split(0, 0)).contains("at least one element"));
}

#[test]
fn a_traced_tensor_has_no_value() {
    let line = line!() + 1;
    let f = compile(|x: Tensor| if x.sum_all().item()? > 0.0 { Ok(x) } else { Err(Error::new("never")) });
    let told = message(f.run(Tensor::ones(2)));
    assert!(told.contains("its value of a traced tensor cannot be asked for"), "{told}");
    assert!(told.contains("remedy") && told.contains(&format!("{}:{line}", file!())), "{told}");
}

#[test]
fn a_traced_tensor_ends_with_its_trace() {
    let kept = std::sync::Mutex::new(None);
    let f = compile(|x: Tensor| {
        *kept.lock().unwrap() = Some(x.clone());
        x * 2.0
    });
    f.run(Tensor::ones(2)).unwrap();
    let stale = kept.lock().unwrap().take().unwrap();
    let told = message((&stale + 1.0).check());
    assert!(told.contains("after its trace has ended"), "{told}");
    assert!(message(stale.to_vec::<f32>()).contains("after its trace has ended"));
    assert_eq!(stale.to_string(), "traced f32[2]");
    // Also inside another trace.
    let told = message(compile(|x: Tensor| x + &stale).run(Tensor::ones(2)));
    assert!(told.contains("after its trace has ended"), "{told}");
}

#[test]
fn a_traced_tensor_stays_on_its_thread() {
    let f = compile(|x: Tensor| {
        let told = std::thread::scope(|s| s.spawn(|| message((&x + 1.0).check())).join().unwrap());
        assert!(told.contains("on another thread"), "{told}");
        x
    });
    f.run(Tensor::ones(2)).unwrap();
}

#[test]
fn a_variable_cannot_be_made_under_a_trace() {
    let f = compile(|x: Tensor| Tensor::variable(x));
    let told = message(f.run(Tensor::ones(2)));
    assert!(told.contains("a variable cannot be made under a trace"), "{told}");
}

/// An out-of-range label in a compiled function: the check of the graph reports the value and the line.
#[test]
fn a_check_fails_in_a_compiled_function() {
    let line = line!() + 1;
    let f = compile(|x: Tensor, labels: Tensor| x.cross_entropy(&labels));
    let x = Tensor::zeros((2, 3));
    f.run((x.clone(), Tensor::new([0, 2]))).unwrap();
    let told = message(f.run((x, Tensor::new([0, 7]))));
    assert!(told.contains("a label is out of range") && told.contains('7'), "{told}");
    assert!(told.contains(&format!("{}:{line}", file!())), "{told}");
}

#[test]
fn nan_is_not_an_error() {
    let x = Tensor::new([[f64::NAN, 1.0]]);
    assert!(x.cross_entropy(&Tensor::new([0])).item().unwrap().is_nan());
    assert_eq!(x.argmax(-1).to_vec::<i64>().unwrap(), [0]);
    assert_eq!(x.to_dtype(DType::Bool).to_vec::<bool>().unwrap(), [true, true]);
}
