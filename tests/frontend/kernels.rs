//! How many launches frontend code becomes, and what its kernels look like.

use crate::seeded;
use igneous::nn::{Forward, Gelu, LayerNorm, Linear, ModuleExt, Relu, Sequential};
use igneous::optim::{Adam, Optimizer, Sgd};
use igneous::testing::{assert_close, assert_kernel_count, assert_kernels_snapshot, compare_with_eager};
use igneous::{DType, Error, Lowered, Result, Tensor, compile, spec};

/// However it is spelled and whichever axis it is along.
#[test]
fn softmax_is_one_kernel() {
    let x = Tensor::new([[1.0, -2.0, 0.5], [1000.0, 1001.0, 999.0]]);
    let method = compile(|x: Tensor| x.softmax(-1));
    assert_kernel_count!(method.lower(x.clone()).unwrap(), 1);
    let columns = compile(|x: Tensor| x.softmax(0));
    assert_kernel_count!(columns.lower(x.clone()).unwrap(), 1);
    let by_hand = compile(|x: Tensor| {
        let e = (&x - x.max_keepdim(-1)).exp();
        &e / e.sum_keepdim(-1)
    });
    assert_kernel_count!(by_hand.lower(x.clone()).unwrap(), 1);
    assert_close(&by_hand.run(x.clone()).unwrap(), &method.run(x).unwrap(), 1e-6);
}

/// The kernel of softmax, whole: the names, axes and schedule that a user sees.
#[test]
fn the_text_of_the_softmax_kernel() {
    let softmax = compile(|x: Tensor| x.softmax(-1)).input(0, ("rows", 64));
    assert_kernels_snapshot!(softmax.lower(spec(DType::F32, (8, 64))).unwrap(), @r"
    kernel softmax_mul(in0: f32[rows, 64]) -> (out0: f32[rows, 64])
      dims rows: 1..=2147483647
      axes i: par rows, j: ser 64
      m, s = reduce online_softmax j { in0[i, j] }
      map j { out0[i, j] = exp(in0[i, j] - m) * (1.0 / s) }
      schedule bind(i, core) vec(j, 16)
    ");
}

#[test]
fn layer_norm_is_one_kernel_and_its_backward_at_most_two() {
    let norm = LayerNorm::new(64);
    let (x, dy) =
        (Tensor::linspace(-1.0, 2.0, 32 * 64).reshape((32, 64)), Tensor::linspace(3.0, -1.0, 32 * 64).reshape((32, 64)));
    let forward = compile(|x: Tensor| norm.forward(&x));
    assert_kernel_count!(forward.lower(x.clone()).unwrap(), 1);
    let gradients = |x: &Tensor, dy: &Tensor| {
        let x = x.detach().requires_grad_();
        let y = norm.forward(&x);
        y.backward_with(dy)?;
        let leaves = [vec![x], norm.parameters()].concat();
        let taken = leaves.iter().map(Tensor::take_grad);
        Ok::<_, Error>((y, taken.flatten().collect::<Vec<_>>()))
    };
    let backward = compile(|x: Tensor, dy: Tensor| gradients(&x, &dy).map(|(_, gradients)| gradients));
    assert_kernel_count!(backward.lower((x.clone(), dy.clone())).unwrap(), 2);
    assert_eq!(backward.run((x.clone(), dy.clone())).unwrap().len(), 3);
    compare_with_eager(&backward, (x.clone(), dy.clone()), 1e-5).unwrap();
    let both = compile(|x: Tensor, dy: Tensor| gradients(&x, &dy));
    assert_kernel_count!(both.lower((x.clone(), dy.clone())).unwrap(), 2);
    compare_with_eager(&both, (x, dy), 1e-5).unwrap();
}

/// Bias and activation belong to the kernel of the product before them.
#[test]
fn an_mlp_block_is_two_kernels() {
    let _one = seeded(1);
    let x = Tensor::randn((32, 64));
    for activation in ["relu", "gelu", "gelu by hand"] {
        let net = match activation {
            "relu" => Sequential::new().push(Linear::new(64, 128)).push(Relu),
            "gelu" => Sequential::new().push(Linear::new(64, 128)).push(Gelu),
            _ => Sequential::new().push(Linear::new(64, 128)),
        };
        let last = Linear::new(128, 64);
        let block = compile(|x: Tensor| {
            let h = net.forward(&x);
            let by_hand = |h: Tensor| &h * 0.5 * ((&h / 2f64.sqrt()).erf() + 1.0);
            last.forward(&if activation == "gelu by hand" { by_hand(h) } else { h })
        });
        assert_kernel_count!(block.lower(x.clone()).unwrap(), 2);
        compare_with_eager(&block, x.clone(), 1e-5).unwrap();
    }
}

/// All parameters, both moments and the step numbers.
#[test]
fn adam_over_all_parameters_is_one_kernel() {
    let _one = seeded(2);
    let net = Sequential::new().push(Linear::new(64, 128)).push(Gelu).push(LayerNorm::new(128)).push(Linear::new(128, 10));
    let adam = Adam::new(net.parameters(), 0.001).unwrap();
    let step = compile(|gradients: Vec<Tensor>| {
        for (parameter, gradient) in net.parameters().iter().zip(gradients) {
            parameter.set_grad(Some(gradient))?;
        }
        adam.step()
    });
    let gradients: Vec<Tensor> = net.parameters().iter().map(Tensor::randn_like).collect();
    assert_eq!(gradients.len(), 6);
    assert_kernel_count!(step.lower(gradients.clone()).unwrap(), 1);
    for _ in 0..3 {
        compare_with_eager(&step, gradients.clone(), 1e-5).unwrap();
    }
}

/// The step of the `mnist` example: forward, backward and update.
fn mnist_step(optimizer: impl Fn(Vec<Tensor>) -> Result<Box<dyn Optimizer>>) -> Result<Lowered> {
    let net = Sequential::new().push(Linear::new(784, 512)).push(Relu).push(Linear::new(512, 10));
    let optimizer = optimizer(net.parameters())?;
    let step = compile(|x: Tensor, y: Tensor| {
        let loss = net.forward(&x).cross_entropy(&y);
        loss.backward()?;
        optimizer.step()?;
        Ok(loss)
    });
    let arguments = (spec(DType::F32, (64, 784)), spec(DType::I64, 64));
    let program = step.lower(arguments.clone())?;
    compare_with_eager(&step, arguments, 1e-5)?;
    Ok(program)
}

#[test]
fn the_mlp_training_step_is_at_most_twelve_launches() {
    let _one = seeded(3);
    let sgd = mnist_step(|parameters| Ok(Box::new(Sgd::new(parameters, 0.01)?))).unwrap();
    assert!((1..=12).contains(&sgd.launches()), "{}", sgd.kernels_text());
    let adam = mnist_step(|parameters| Ok(Box::new(Adam::new(parameters, 0.001)?))).unwrap();
    assert!((1..=12).contains(&adam.launches()), "{}", adam.kernels_text());
}

/// The macro fails where the count differs, and shows the kernels.
#[test]
#[should_panic(expected = "1 launches instead of 2:\nkernel")]
fn a_wrong_count_is_told() {
    assert_kernel_count!(compile(|x: Tensor| x.exp()).lower(spec(DType::F32, 4)).unwrap(), 2);
}
