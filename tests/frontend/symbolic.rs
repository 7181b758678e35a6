//! Programs with symbolic dimensions: one serves all sizes, and computes what a program of each size does.

use crate::{close, message, seeded, vec};
use igneous::nn::{Conv2d, Forward, LayerNorm, Linear, Module, ModuleExt};
use igneous::optim::{Optimizer, Sgd};
use igneous::testing::assert_close;
use igneous::{Attention, Conv, DType, NamedExtent, Precision, Result, Tensor, compile, default, scan};

/// How a program of one size and one of all sizes may differ.
#[derive(Clone, Copy, PartialEq)]
enum Equal {
    /// Not at all.
    Bits,
    /// In rounding: where a sum is cut into parts for threads, or the kernel of attention into tiles, depends on the sizes that a
    /// program is made for.
    Closely,
}

/// Trains two equal models, one by a program with symbols, the other by a program for each size, on the same batches: losses,
/// gradients and variables stay equal.
#[track_caller]
fn trains_alike<M: Module + Send + Sync + 'static>(
    new: impl Fn() -> M,
    loss: fn(&M, &Tensor, &Tensor) -> Tensor,
    names: [&[&str]; 2],
    batches: &[(Tensor, Tensor)],
    equal: Equal,
) {
    let models = [new(), new()];
    let variables = || models[0].named_variables().into_iter().zip(models[1].named_variables()).map(|((_, a), (_, b))| (a, b));
    variables().for_each(|(a, b)| b.assign(&a).unwrap());
    let [symbolic, fixed] = models.each_ref().map(|model| {
        let sgd = Sgd::new(model.parameters(), 0.05).unwrap();
        let step = compile(move |x: Tensor, y: Tensor| {
            let mut results = vec![loss(model, &x, &y)];
            results[0].backward()?;
            results.extend(model.parameters().iter().filter_map(Tensor::grad));
            sgd.step()?;
            Ok(results)
        });
        step.precision(if equal == Equal::Bits { Precision::Strict } else { Precision::Default })
    });
    let extents = |k: usize| {
        names[k].iter().map(|n| n.parse::<usize>().map_or_else(|_| (*n).into(), Into::into)).collect::<Vec<NamedExtent>>()
    };
    let symbolic = symbolic.input(0, extents(0)).input(1, extents(1)).range("B", 1..=4096).range("T", 1..=4096);
    for (x, y) in batches {
        let [a, b] = [symbolic.run((x.clone(), y.clone())).unwrap(), fixed.run((x.clone(), y.clone())).unwrap()];
        assert_eq!(a.len(), 1 + models[0].parameters().len());
        for (a, b) in a.into_iter().zip(b).chain(variables()) {
            match equal {
                Equal::Bits => assert_eq!(a.to_le_bytes().unwrap(), b.to_le_bytes().unwrap()),
                Equal::Closely => assert_close(&a, &b, 2e-5),
            }
        }
    }
    assert_eq!(symbolic.programs(), 1, "{}", symbolic.explain_retraces());
    assert_eq!(fixed.programs(), batches.len());
}

fn labels(n: usize) -> Tensor {
    Tensor::arange(0, n) % 5
}

#[derive(Module)]
struct Mlp {
    hidden: Linear,
    out: Linear,
}

#[test]
fn a_perceptron_with_a_symbolic_batch() {
    let _one = seeded(21);
    let new = || Mlp { hidden: Linear::new(20, 32), out: Linear::new(32, 5) };
    let loss = |m: &Mlp, x: &Tensor, y: &Tensor| m.out.forward(&m.hidden.forward(x).gelu()).cross_entropy(y);
    let batches: Vec<_> = [1, 7, 64, 1000].map(|n| (Tensor::randn((n, 20)), labels(n))).into();
    trains_alike(new, loss, [&["B", "20"], &["B"]], &batches, Equal::Bits);
    trains_alike(new, loss, [&["B", "20"], &["B"]], &batches, Equal::Closely);
}

#[derive(Module)]
struct Cnn {
    first: Conv2d,
    gain: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    second: Conv2d,
    out: Linear,
}

#[test]
fn a_convolutional_network_with_a_symbolic_batch() {
    let _one = seeded(22);
    let new = || Cnn {
        first: Conv2d::with(3, 8, 3, Conv { padding: 1.into(), ..default() }),
        gain: Tensor::parameter(Tensor::ones(8)),
        bias: Tensor::parameter(Tensor::zeros(8)),
        running_mean: Tensor::buffer(Tensor::zeros(8)),
        second: Conv2d::with(8, 6, 3, Conv { stride: 2.into(), ..default() }),
        out: Linear::new(6, 5),
    };
    let loss = |m: &Cnn, x: &Tensor, y: &Tensor| {
        let (x, mean, _) = m.first.forward(x).batch_norm_train(Some(&m.gain), Some(&m.bias), 1e-5);
        if let Err(error) = m.running_mean.assign(&(&m.running_mean * 0.9 + mean.detach() * 0.1)) {
            return error.into();
        }
        let x = x.relu().max_pool2d(2);
        m.out.forward(&m.second.forward(&x).relu().mean((2, 3))).cross_entropy(y)
    };
    let batches: Vec<_> = [1, 7, 64, 1000].map(|n| (Tensor::randn((n, 3, 10, 10)), labels(n))).into();
    trains_alike(new, loss, [&["B", "3", "10", "10"], &["B"]], &batches, Equal::Closely);
}

#[derive(Module)]
struct Block {
    norm: LayerNorm,
    qkv: Linear,
    merge: Linear,
    up: Linear,
    down: Linear,
    head: Linear,
}

#[test]
fn a_transformer_block_with_symbolic_batch_and_length() {
    let _one = seeded(23);
    let new = || Block {
        norm: LayerNorm::new(16),
        qkv: Linear::new(16, 48),
        merge: Linear::new(16, 16),
        up: Linear::new(16, 32),
        down: Linear::new(32, 16),
        head: Linear::new(16, 5),
    };
    let loss = |m: &Block, x: &Tensor, y: &Tensor| {
        let [b, t, _] = x.dims();
        let qkv = m.qkv.forward(&m.norm.forward(x)).reshape((b, t, 3, 2, 8)).permute([2, 0, 3, 1, 4]);
        let causal = Attention { causal: true, ..default() };
        let seen = qkv.i(0).scaled_dot_product_attention(&qkv.i(1), &qkv.i(2), &causal);
        let x = x + m.merge.forward(&seen.transpose(1, 2).reshape((b, t, 16)));
        let x = &x + m.down.forward(&m.up.forward(&m.norm.forward(&x)).gelu());
        m.head.forward(&x).reshape((-1, 5)).cross_entropy(&y.reshape(-1))
    };
    let batch = |b: usize, t: usize| (Tensor::randn((b, t, 16)), labels(b * t).reshape((b, t)));
    let batches: Vec<_> = [(1, 1), (7, 5), (64, 3), (1000, 2), (2, 33), (1, 1000)].map(|(b, t)| batch(b, t)).into();
    trains_alike(new, loss, [&["B", "T", "16"], &["B", "T"]], &batches, Equal::Closely);
}

#[derive(Module)]
struct Rnn {
    input: Linear,
    state: Linear,
    out: Linear,
}

#[test]
fn a_recurrent_network_with_symbolic_length_and_batch() {
    let _one = seeded(24);
    let new = || Rnn { input: Linear::new(4, 8), state: Linear::new(8, 8), out: Linear::new(8, 5) };
    let loss = |m: &Rnn, x: &Tensor, y: &Tensor| {
        let [b, _, _] = x.dims();
        let step = |h: Tensor, x: Tensor| ((m.input.forward(&x) + m.state.forward(&h)).tanh(), ());
        match scan(Tensor::zeros((b, 8)), x.transpose(0, 1), step) {
            Ok((last, ())) => m.out.forward(&last).cross_entropy(y),
            Err(error) => error.into(),
        }
    };
    let batch = |b: usize, t: usize| (Tensor::randn((b, t, 4)), labels(b));
    let batches: Vec<_> = [(1, 1), (7, 5), (64, 3), (1000, 2), (2, 64), (3, 1000)].map(|(b, t)| batch(b, t)).into();
    trains_alike(new, loss, [&["B", "T", "4"], &["B"]], &batches, Equal::Closely);
}

#[test]
fn shapes_and_ranges_from_symbolic_dimensions() {
    let f = |x: Tensor| -> Result<Vec<Tensor>> {
        let [b, t] = x.dims();
        let positions = Tensor::arange(0, t).to_dtype(DType::F32);
        Ok(vec![
            x.reshape((b, -1)).mean(-1),
            x.reshape(-1).mean_all(),
            x.var(0).sum_all(),
            (&x + &positions).i((.., -1)),
            x.i((.., ..(t + 1).div_floor(2))).sum(-1),
            x.i((b.div_floor(2).., 0)),
            x.flip(1).cumsum(1).i((0, ..)),
            Tensor::cat(&[&x, &x], 1).reshape((b, 2, t)).sum(1),
            Tensor::ones((t, b)).matmul(&x).i(0),
            x.unsqueeze(1).expand((b, 3, t)).sum((1, 2)),
            x.pad(&[(1, 2)], 0.5).sum(-1),
            x.argmax(-1),
            x.sort(-1).0,
            x.softmax(0).t().reshape((t, b)),
            Tensor::full((), b) + t,
        ])
    };
    let symbolic = compile(f).input(0, ("B", "T"));
    for (b, t) in [(1, 1), (1, 5), (7, 2), (64, 33), (2, 1000)] {
        let x = (Tensor::arange(0, b * t).to_dtype(DType::F32) * 0.7).sin().reshape((b, t));
        let expected = f(x.clone()).unwrap();
        for (k, (a, b)) in symbolic.run(x).unwrap().iter().zip(&expected).enumerate() {
            assert_eq!(a.shape(), b.shape(), "result {k}");
            assert_close(a, b, 1e-5);
        }
    }
    assert_eq!(symbolic.programs(), 1);
}

#[test]
fn symbols_that_must_be_equal_are_checked_at_the_call() {
    let line = line!() + 1;
    let f = compile(|x: Tensor, y: Tensor, z: Tensor| (x + y, z.sum(0))).input(0, "B").input(1, "C").input(2, ("D", 2));
    let run = |b: usize, c: usize, d: usize| f.run((Tensor::ones(b), Tensor::ones(c), Tensor::ones((d, 2))));
    for n in [3, 1, 5] {
        let (sum, total) = run(n, n, 4).unwrap();
        close(&sum, &vec![2.0; n]);
        close(&total, &[4.0, 4.0]);
    }
    let told = message(run(3, 4, 4));
    let expected = format!(
        "`B` and `C` must be equal\n  `B` is 3   axis 0 of argument 0, f32[3]   from {file}:{made}\n  `C` is 4   axis 0 of argument 1, \
         f32[4]   from {file}:{made}\n  needed at  {file}:{line}\n  at {file}:{made}",
        file = file!(),
        made = line + 1,
    );
    assert_eq!(told, expected);
    assert_eq!(f.programs(), 1);
    // The first call may be the wrong one, and ranges are joined.
    let f = compile(|x: Tensor, y: Tensor| x.matmul(&y))
        .input(0, ("A", "B"))
        .input(1, ("C", "D"))
        .range("B", 1..=8)
        .range("C", 4..=9);
    assert!(message(f.run((Tensor::ones((2, 5)), Tensor::ones((6, 3))))).contains("`B` and `C` must be equal"));
    close(&f.run((Tensor::ones((2, 5)), Tensor::ones((5, 3)))).unwrap(), &[5.0; 6]);
    // Several relations, each with its own line; symbols that are not related stay apart.
    let line = line!() + 2;
    let f = compile(|x: Tensor, y: Tensor, z: Tensor| {
        let sum = &x + &y;
        sum.sum_all() + (z.i(0) * &z.i(0)).sum_all() + (y.unsqueeze(0) * &z).sum_all()
    });
    let f = f.input(0, "A").input(1, "B").input(2, ("C", "D"));
    let run = |a: usize, b: usize, c: usize, d: usize| f.run((Tensor::ones(a), Tensor::ones(b), Tensor::ones((c, d))));
    close(&run(3, 3, 2, 3).unwrap(), &[15.0]);
    let told = message(run(3, 3, 2, 4));
    assert!(
        told.contains("`A` and `D` must be equal") && told.contains(&format!("needed at  {}:{}", file!(), line + 1)),
        "{told}"
    );
    let told = message(run(4, 3, 2, 4));
    assert!(told.contains("`A` and `B` must be equal") && told.contains(&format!("needed at  {}:{line}", file!())), "{told}");
    // What no relation helps against is told as it is.
    let f = compile(|x: Tensor, y: Tensor| x.reshape((2, 3)) + y).input(0, "A").input(1, "B");
    assert!(message(f.run((Tensor::ones(6), Tensor::ones(6)))).contains("reshape"));
}

#[test]
fn a_size_outside_of_its_range_names_symbol_size_and_range() {
    let f = compile(|x: Tensor| x * 2.0).input(0, ("B", "T")).range("B", 2..=8);
    let told = message(f.run(Tensor::ones((9, 1))));
    assert!(told.contains("`B` is 9 in argument 0, outside of its range 2..=8"), "{told}");
    assert!(message(f.run(Tensor::ones((1, 1)))).contains("outside of its range 2..=8"));
    assert_eq!(vec::<f32>(&f.run(Tensor::ones((2, 1))).unwrap()), [2.0, 2.0]);
    assert!(message(f.run(Tensor::ones((2, 0)))).contains("`T` is 0"));
    let f = compile(|x: Tensor| (x.sum(0), x)).input(0, "N").range("N", 0..=3);
    close(&f.run(Tensor::ones(0)).unwrap().0, &[0.0]);
}
