//! Variables in eager mode.

use crate::{close, message, vec};
use igneous::{Tensor, VariableKind};

#[test]
fn a_variable_is_read_at_each_use() {
    let v = Tensor::variable(Tensor::new([1.0, 2.0]));
    let before = &v * 10.0;
    let old = v.detach();
    v.assign(&Tensor::new([5.0, 6.0])).unwrap();
    close(&(&v * 10.0), &[50.0, 60.0]);
    close(&before, &[10.0, 20.0]);
    close(&old, &[1.0, 2.0]);
    assert_eq!(v.version(), 1);
    assert_eq!(vec::<f32>(&v), [5.0, 6.0]);
}

#[test]
fn clones_share_and_duplicates_do_not() {
    let v = Tensor::parameter(Tensor::new([1.0]));
    v.set_name("w");
    let (shared, copy) = (v.clone(), v.duplicate());
    v.update(|v| v + 1.0).unwrap();
    close(&shared, &[2.0]);
    close(&copy, &[1.0]);
    assert!(v.same(&shared) && !v.same(&copy));
    assert_eq!(copy.name().as_deref(), Some("w"));
    assert_eq!(copy.variable_kind(), Some(VariableKind::Parameter));
    assert!(copy.requires_grad());
}

#[test]
fn an_assigned_value_has_the_type_of_the_variable() {
    let v = Tensor::variable(Tensor::zeros((2, 3)));
    v.set_name("gain");
    let told = message(v.assign(&Tensor::zeros(3)));
    assert!(told.contains("a value of its own type") && told.contains("variable `gain`"), "{told}");
    let bad = Tensor::zeros(2) + Tensor::zeros(3);
    assert!(message(v.assign(&bad)).contains("broadcast"));
    v.replace(&Tensor::new([1, 2])).unwrap();
    assert_eq!(vec::<i64>(&v), [1, 2]);
}

#[test]
fn parameters_require_gradients_until_frozen() {
    let w = Tensor::parameter(Tensor::new([2.0]));
    assert!(!Tensor::variable(Tensor::new([2.0])).requires_grad());
    assert!(!Tensor::parameter(Tensor::new([2])).requires_grad(), "integers have no gradient");
    w.square().sum_all().backward().unwrap();
    close(&w.grad().unwrap(), &[4.0]);
    close(&w.take_grad().unwrap(), &[4.0]);
    assert!(w.grad().is_none());
    w.freeze();
    assert!(message(w.square().sum_all().backward()).contains("nothing that requires gradients"));
    w.requires_grad_();
    w.set_grad(Some(Tensor::new([1.0]))).unwrap();
    w.square().sum_all().backward().unwrap();
    close(&w.grad().unwrap(), &[5.0]);
    assert!(message(w.set_grad(Some(Tensor::new([1.0, 2.0])))).contains("the type of its tensor"));
}

/// The gradient of an old value goes to the variable, whatever it was assigned since.
#[test]
fn a_recorded_operation_keeps_the_value_it_read() {
    let w = Tensor::parameter(Tensor::new([3.0]));
    let loss = w.square().sum_all();
    w.assign(&Tensor::new([100.0])).unwrap();
    loss.backward().unwrap();
    close(&w.grad().unwrap(), &[6.0]);
}
