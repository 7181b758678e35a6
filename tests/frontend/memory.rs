//! Checkpoints, and programs that fit into a memory budget.

use crate::{close, message, seeded, vec};
use igneous::func::{checkpoint, grad, jvp, vmap};
use igneous::nn::{Dropout, Forward, Gelu, LayerNorm, Linear, ModuleExt, Sequential};
use igneous::optim::{Optimizer, Sgd};
use igneous::testing::compare_with_eager;
use igneous::{Dim, Precision, Tensor, compile, memory_stats, random_state};

fn block() -> Sequential {
    Sequential::new().push(Linear::new(16, 64)).push(Gelu).push(Dropout::new(0.5)).push(Linear::new(64, 16))
}

/// Losses, gradients and the state of the random numbers, with and without checkpoints, bit for bit.
#[test]
fn a_checkpoint_changes_nothing_but_memory() {
    let _random = seeded(3);
    let blocks: Vec<Sequential> = (0..3).map(|_| block()).collect();
    let parameters: Vec<Tensor> = blocks.iter().flat_map(|b| b.parameters()).collect();
    let x = Tensor::randn((8, 16));
    let plain = |x: &Tensor| blocks.iter().fold(x.clone(), |x, b| b.forward(&x)).square().mean_all();
    let checked = |x: &Tensor| {
        let y = blocks.iter().try_fold(x.clone(), |x, b| checkpoint(|x: Tensor| b.forward(&x), x));
        y.unwrap().square().mean_all()
    };
    let outcome = |loss: Tensor| {
        loss.backward().unwrap();
        let mut all: Vec<Vec<f32>> = parameters.iter().map(|p| vec(&p.take_grad().unwrap())).collect();
        all.push(vec(&loss));
        (all, vec::<i64>(&random_state().unwrap()))
    };
    igneous::manual_seed(4);
    let expected = outcome(plain(&x));
    igneous::manual_seed(4);
    assert!(outcome(checked(&x)) == expected);
    for (name, compiled) in [("plain", false), ("checked", true)] {
        igneous::manual_seed(4);
        let step = compile(|x: Tensor| {
            let loss = if compiled { checked(&x) } else { plain(&x) };
            loss.backward()?;
            Ok(loss)
        });
        let loss = step.precision(Precision::Strict).run(x.clone()).unwrap();
        let mut all: Vec<Vec<f32>> = parameters.iter().map(|p| vec(&p.take_grad().unwrap())).collect();
        all.push(vec(&loss));
        assert!((all, vec::<i64>(&random_state().unwrap())) == expected, "{name}");
    }
}

/// Eagerly, what a block computes is gone when the block has returned. Other tests allocate at the same time, much less than this.
#[test]
fn a_checkpoint_keeps_its_arguments_alone() {
    let n = 1 << 21;
    let x = Tensor::ones(n).requires_grad_();
    let chain = |x: Tensor| (0..20).fold(x, |x, _| x.sin());
    let kept = |run: &dyn Fn() -> Tensor| {
        let before = memory_stats().live;
        let y = run();
        let kept = memory_stats().live as f64 - before as f64;
        drop(y);
        kept / (4 * n) as f64
    };
    let (plain, checked) = (kept(&|| chain(x.clone())), kept(&|| checkpoint(chain, x.clone()).unwrap()));
    assert!(plain > 15.0 && checked < 5.0, "{plain:.1} and {checked:.1} arrays are kept");
}

#[test]
fn checkpoints_in_other_transforms() {
    let f = |x: Tensor| Ok(checkpoint(|x: Tensor| x.sin().exp(), x)?.sum_all());
    let plain = |x: Tensor| x.sin().exp().sum_all();
    let x = Tensor::new([0.3, 1.2]);
    let expected = grad(plain).run(x.clone()).unwrap().to_f64_vec().unwrap();
    close(&grad(f).run(x.clone()).unwrap(), &expected);
    close(&compile(grad(f)).run(x.clone()).unwrap(), &expected);
    close(&vmap(grad(f)).run(x.reshape((2, 1))).unwrap(), &expected);
    let (_, tangent) = jvp(f, x.clone(), x.ones_like()).unwrap();
    close(&tangent, &[expected.iter().sum()]);
    let second = |x: Tensor| Ok(jvp(grad(f), x.clone(), x.ones_like())?.1);
    let plain_second = jvp(grad(plain), x.clone(), x.ones_like()).unwrap().1.to_f64_vec().unwrap();
    close(&second(x.clone()).unwrap(), &plain_second);
    close(&compile(second).run(x).unwrap(), &plain_second);
}

/// A deep network, trained by one step: what a run changes.
fn deep(layers: usize) -> (Vec<Linear>, impl Fn(Tensor) -> igneous::Result<Tensor> + Send + Sync) {
    let layers: Vec<Linear> = (0..layers).map(|_| Linear::new(64, 64)).collect();
    let sgd = Sgd::new(layers.iter().flat_map(|l| l.parameters()).collect(), 0.1).unwrap();
    let own: Vec<Linear> = layers.clone();
    let step = move |x: Tensor| {
        let loss = own.iter().fold(x, |x, l| l.forward(&x).tanh()).square().mean_all();
        loss.backward()?;
        sgd.step()?;
        Ok(loss)
    };
    (layers, step)
}

#[test]
fn a_deep_network_fits_into_a_budget_with_equal_results() {
    let _random = seeded(8);
    let x = Tensor::randn((256, 64));
    let activation = 256 * 64 * 4;
    let run = |budget: Option<usize>| {
        igneous::manual_seed(21);
        let (layers, step) = deep(16);
        let mut step = compile(step).precision(Precision::Strict);
        if let Some(bytes) = budget {
            step = step.memory_budget(bytes);
        }
        let lowered = step.lower(x.clone()).unwrap();
        let loss: Vec<f32> = vec(&step.run(x.clone()).unwrap());
        let weights: Vec<Vec<f32>> = layers.iter().flat_map(|l| l.parameters()).map(|p| vec(&p)).collect();
        (lowered.arena_bytes().get().unwrap(), lowered.memory().to_string(), loss, weights)
    };
    let (all, _, loss, weights) = run(None);
    assert!(all >= 16 * activation, "{all}");
    for percent in [75, 60] {
        let budget = all * percent / 100;
        let (bytes, memory, same_loss, same_weights) = run(Some(budget));
        assert!(bytes <= budget, "{bytes} bytes for a budget of {budget}\n{memory}");
        assert!(memory.starts_with(&format!("memory budget {budget} bytes")) && memory.contains("again %"), "{memory}");
        assert!(same_loss == loss && same_weights == weights, "budget {budget}");
    }
    // What cannot be met is said.
    let (bytes, memory, same_loss, _) = run(Some(activation));
    assert!(memory.contains(&format!("exceeds the budget by {} bytes", bytes - activation)), "{memory}");
    assert!(same_loss == loss);
}

/// A stack of transformer blocks written out: attention, norms, a feed-forward part.
#[test]
fn a_transformer_fits_into_a_budget() {
    let _random = seeded(8);
    let (b, t, c) = (4, 32, 32);
    let layer = |_| [Linear::new(c, 3 * c), Linear::new(c, c), Linear::new(c, 4 * c), Linear::new(4 * c, c)];
    let layers: Vec<[Linear; 4]> = (0..6).map(layer).collect();
    let (before, between) = (LayerNorm::new(c), LayerNorm::new(c));
    let forward = |x: Tensor, [qkv, out, up, down]: &[Linear; 4]| {
        let parts = qkv.forward(&before.forward(&x)).chunk(3, -1).unwrap();
        let heads = |x: &Tensor| x.reshape((b, t, 4, c / 4)).transpose(1, 2);
        let attended = heads(&parts[0]).scaled_dot_product_attention(&heads(&parts[1]), &heads(&parts[2]), &igneous::default());
        let x = &x + out.forward(&attended.transpose(1, 2).reshape((b, t, c)));
        &x + down.forward(&up.forward(&between.forward(&x)).gelu())
    };
    let step = |x: Tensor| {
        let loss = layers.iter().fold(x, forward).square().mean_all();
        loss.backward()?;
        Ok(loss)
    };
    let x = Tensor::randn((b, t, c));
    let all = compile(step).lower(x.clone()).unwrap().arena_bytes().get().unwrap();
    let budget = all * 6 / 10;
    let small = compile(step).memory_budget(budget);
    let bytes = small.lower(x.clone()).unwrap().arena_bytes();
    assert!(bytes.get().unwrap() <= budget, "{bytes} of {all}: {}", small.lower(x.clone()).unwrap().memory());
    compare_with_eager(&small, x, 1e-4).unwrap();
}

#[test]
fn a_budget_for_symbolic_extents_counts_with_their_ranges() {
    let _random = seeded(8);
    let (_, step) = deep(8);
    let step = compile(step).input(0, ("B", 64)).range("B", 1..=256);
    let whole = |arena: Dim| arena.eval(&|_| Some(256)).unwrap() as usize;
    let all = whole(step.lower(Tensor::zeros((3, 64))).unwrap().arena_bytes());
    let (_, small) = deep(8);
    let small = compile(small).input(0, ("B", 64)).range("B", 1..=256).memory_budget(all * 8 / 10);
    let lowered = small.lower(Tensor::zeros((3, 64))).unwrap();
    assert!(whole(lowered.arena_bytes()) <= all * 8 / 10, "{}", lowered.memory());
    let (_, step) = deep(2);
    let open = compile(step).input(0, ("B", 64)).memory_budget(1);
    let told = message(open.lower(Tensor::zeros((3, 64))));
    assert!(told.contains("needs ranges for the extents"), "{told}");
}
