//! Gradients in eager mode.

use crate::{close, f64s, message, vec};
use igneous::{DType, Tensor, enable_grad, grad, no_grad};

#[test]
fn gradients_of_leaves_add_up_in_their_slots() {
    let x = Tensor::new([1.0, 2.0, 3.0]).requires_grad_();
    assert!(x.grad().is_none());
    (&x * &x).sum_all().backward().unwrap();
    close(&x.grad().unwrap(), &[2.0, 4.0, 6.0]);
    x.sum_all().backward().unwrap();
    close(&x.grad().unwrap(), &[3.0, 5.0, 7.0]);
    x.zero_grad();
    assert!(x.grad().is_none());
}

#[test]
fn broadcasting_sums_gradients_back() {
    let w = Tensor::new([1.0, 2.0]).requires_grad_();
    let b = Tensor::new(3.0).requires_grad_();
    let x = Tensor::new([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]);
    (&x * &w + &b).sum_all().backward().unwrap();
    close(&w.grad().unwrap(), &[9.0, 12.0]);
    close(&b.grad().unwrap(), &[6.0]);
}

/// d/dx Σ x³ = 3x², its gradient's sum differentiates to 6x.
#[test]
fn a_gradient_has_a_gradient() {
    let x = f64s(&[1.0, -2.0], 2).requires_grad_();
    let cubes = (&x * &x * &x).sum_all();
    let [first] = grad(&cubes, &[&x]).unwrap().try_into().unwrap();
    close(&first, &[3.0, 12.0]);
    first.sum_all().backward().unwrap();
    close(&x.grad().unwrap(), &[6.0, -12.0]);
    // The same through the slot.
    x.zero_grad();
    (&x * &x * &x).sum_all().backward().unwrap();
    let slot = x.take_grad().unwrap();
    slot.sum_all().backward().unwrap();
    close(&x.grad().unwrap(), &[6.0, -12.0]);
}

#[test]
fn no_grad_and_detach_cut() {
    let x = Tensor::new([1.0, 2.0]).requires_grad_();
    let y = no_grad(|| &x * 2.0);
    assert!(!y.requires_grad());
    assert!(no_grad(|| enable_grad(|| &x * 2.0)).requires_grad());
    assert!(!x.gt(1.0).requires_grad(), "comparisons have no gradient");
    assert!(!x.to_dtype(DType::I64).requires_grad());
    (x.detach() * &x).sum_all().backward().unwrap();
    close(&x.grad().unwrap(), &[1.0, 2.0]);
    let told = message(y.sum_all().backward());
    assert!(told.contains("depends on nothing that requires gradients"), "{told}");
}

#[test]
fn an_intermediate_result_can_keep_its_gradient() {
    let x = Tensor::new([3.0]).requires_grad_();
    let h = (&x * 2.0).retain_grad();
    (&h * &h).sum_all().backward().unwrap();
    close(&h.grad().unwrap(), &[12.0]);
    close(&x.grad().unwrap(), &[24.0]);
}

#[test]
fn what_the_loss_does_not_depend_on_has_a_zero_gradient() {
    let (x, y) = (Tensor::new([1.0]).requires_grad_(), Tensor::new([2.0, 3.0]).requires_grad_());
    let grads = grad(&x.sum_all(), &[&x, &y]).unwrap();
    close(&grads[0], &[1.0]);
    close(&grads[1], &[0.0, 0.0]);
    assert!(x.grad().is_none(), "grad() does not touch slots");
}

#[test]
fn a_cotangent_weighs_the_elements() {
    let x = Tensor::new([1.0, 2.0]).requires_grad_();
    x.square().backward_with(&Tensor::new([1.0, 10.0])).unwrap();
    close(&x.grad().unwrap(), &[2.0, 40.0]);
    let told = message(x.square().backward());
    assert!(told.contains("backward needs a scalar"), "{told}");
    // One element is a scalar, whatever its axes.
    Tensor::new([[2.0]]).requires_grad_().square().backward().unwrap();
}

/// Building, differentiating and dropping a long chain must not overflow the stack.
#[test]
fn a_chain_of_a_million_operations() {
    let x = Tensor::new([1.0]).requires_grad_();
    let mut y = x.clone();
    for _ in 0..1_000_000 {
        // A view costs nothing, so that the length alone is tested.
        y = if y.rank() == 1 { y.reshape((1, 1)) } else { y.reshape(1) };
    }
    drop(y);
    let mut y = x.clone();
    for _ in 0..2_000 {
        y += 1.0;
    }
    y.sum_all().backward().unwrap();
    close(&x.grad().unwrap(), &[1.0]);
}

/// A tensor whose gradient depends on itself must not keep itself alive; buffers tell.
#[test]
fn gradients_do_not_leak() {
    let bytes = |n: usize| Tensor::ones(n * (1 << 18)).requires_grad_();
    let run = || {
        let x = bytes(8);
        x.square().sum_all().backward().unwrap();
        assert_eq!(vec::<f32>(&x.grad().unwrap().i(0)), [2.0]);
    };
    run();
    let before = igneous::memory_stats().live;
    for _ in 0..8 {
        run();
    }
    let after = igneous::memory_stats().live;
    assert!(after < before + (32 << 20), "{before} bytes were live, and then {after}");
}

#[test]
fn tensors_are_used_from_many_threads() {
    let x = Tensor::new([1.0, 2.0]).requires_grad_();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let [g] = grad(&x.square().sum_all(), &[&x]).unwrap().try_into().unwrap();
                close(&g, &[2.0, 4.0]);
            });
        }
    });
}
