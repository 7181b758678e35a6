//! Training steps of modules and optimizers: what eager code means, the compiled step must mean too, whatever is changed
//! between its runs.

use crate::{message, seeded, vec};
use igneous::ir::{Array, Graph, interp::interpret, verify::verify};
use igneous::nn::{Dropout, Forward, Gelu, LayerNorm, Linear, Module, ModuleExt, Relu, Sequential};
use igneous::optim::{Adam, Optimizer, Sgd};
use igneous::testing::{assert_close, compare_with_eager};
use igneous::{Compiled, Error, Result, Tensor, compile, manual_seed, no_grad};
use std::sync::Mutex;

/// Compares two lists of variables, element by element.
#[track_caller]
fn assert_same_state(compiled: &[(String, Tensor)], eager: &[(String, Tensor)], tolerance: f64) {
    assert_eq!(compiled.len(), eager.len());
    for ((name, a), (_, b)) in compiled.iter().zip(eager) {
        assert!(a.to_f64_vec().unwrap().iter().all(|x| x.is_finite()), "{name}");
        assert_close(a, b, tolerance);
    }
}

#[derive(Module)]
struct Gan {
    generator: Sequential,
    critic: Sequential,
    generator_adam: Adam,
    critic_sgd: Sgd,
}

impl Gan {
    fn new() -> Gan {
        let generator = Sequential::new().push(Linear::new(4, 16)).push(Relu).push(Dropout::new(0.25)).push(Linear::new(16, 3));
        let critic = Sequential::new().push(Linear::new(3, 16)).push(Gelu).push(Dropout::new(0.5)).push(Linear::new(16, 1));
        let generator_adam = Adam::new(generator.parameters(), 0.01).unwrap();
        let critic_sgd = Sgd::new(critic.parameters(), 0.1).unwrap();
        Gan { generator, critic, generator_adam, critic_sgd }
    }

    /// The critic trains on what an evaluated generator makes, then the generator on what an evaluated critic says.
    fn step(&self, real: &Tensor) -> Result<(Tensor, Tensor)> {
        let noise = Tensor::randn((real.size(0), 4));
        self.critic.train();
        self.generator.eval();
        let fake = self.generator.forward(&noise).detach();
        let critic_loss = (self.critic.forward(real) - 1.0).square().mean_all() + self.critic.forward(&fake).square().mean_all();
        critic_loss.backward()?;
        self.critic_sgd.step()?;
        self.critic.eval();
        self.generator.train();
        let generator_loss = (self.critic.forward(&self.generator.forward(&noise)) - 1.0).square().mean_all();
        generator_loss.backward()?;
        self.generator_adam.step()?;
        self.critic.zero_grad();
        Ok((critic_loss, generator_loss))
    }
}

/// Two models, two optimizers and two modes in one compiled step. That its dropouts draw the eager masks shows that each
/// forward saw the modes of its line.
#[test]
fn a_gan_step_with_two_optimizers_and_two_modes() {
    let _one = seeded(11);
    let real = Tensor::randn((8, 3));
    let (eager, traced) = (Gan::new(), Gan::new());
    traced.load_state_dict(&eager.state_dict()).unwrap();
    let step = compile(|real: Tensor| traced.step(&real));
    let start = igneous::random_state().unwrap().duplicate();
    let run = |step: &dyn Fn() -> Result<(Tensor, Tensor)>| -> Vec<f64> {
        igneous::random_state().unwrap().assign(&start).unwrap();
        let losses: Vec<_> = (0..6).map(|_| step().unwrap()).collect();
        losses.iter().flat_map(|(c, g)| [c.item().unwrap(), g.item().unwrap()]).collect()
    };
    let expected = run(&|| eager.step(&real));
    let found = run(&|| step.run(real.clone()));
    assert_close(&Tensor::new(found), &Tensor::new(expected.clone()), 1e-5);
    assert_same_state(&traced.named_variables(), &eager.named_variables(), 1e-5);
    assert_eq!(step.programs(), 1, "{}", step.explain_retraces());
    assert!(expected[0] != expected[2] && expected[1] != expected[3], "it trains: {expected:?}");
    assert!(traced.critic.parameters().iter().all(|p| p.grad().is_none()));
}

#[derive(Module)]
struct Classifier {
    net: Sequential,
    adam: Adam,
}

impl Classifier {
    fn new() -> Classifier {
        let net = Sequential::new().push(Linear::new(6, 16)).push(Relu).push(Dropout::new(0.5)).push(Linear::new(16, 3));
        let adam = Adam::new(net.parameters(), 0.02).unwrap();
        Classifier { net, adam }
    }

    fn step(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        let loss = self.net.forward(x).cross_entropy(y);
        loss.backward()?;
        self.adam.step()?;
        Ok(loss)
    }
}

/// What is done to the model from outside takes effect in the compiled functions as it does in eager mode.
#[test]
fn eval_load_state_dict_and_set_lr_after_compiling() {
    let _one = seeded(5);
    let (x, y) = (Tensor::randn((12, 6)), Tensor::arange(0, 12) % 3);
    let (eager, traced) = (Classifier::new(), Classifier::new());
    traced.load_state_dict(&eager.state_dict()).unwrap();
    let step = compile(|x: Tensor, y: Tensor| traced.step(&x, &y));
    let predict = compile(|x: Tensor| no_grad(|| traced.net.forward(&x)));
    let saved = eager.state_dict();
    let mut seed = 0;
    let mut both = |what: &str, eager_run: &dyn Fn() -> Tensor, compiled_run: &dyn Fn() -> Tensor| {
        seed += 1;
        manual_seed(seed);
        let expected = eager_run();
        manual_seed(seed);
        let found = compiled_run();
        println!("{what}");
        assert_close(&found, &expected, 1e-5);
        expected
    };
    let train = |c: &Classifier| c.step(&x, &y).unwrap();
    let infer = |c: &Classifier| no_grad(|| c.net.forward(&x));
    let mut train_both = |what: &str| both(what, &|| train(&eager), &|| step.run((x.clone(), y.clone())).unwrap());
    let first = train_both("first step").item().unwrap();
    train_both("second step");
    // The learning rate.
    eager.adam.set_lr(0.0).unwrap();
    traced.adam.set_lr(0.0).unwrap();
    let weights = vec::<f32>(&traced.net.parameters()[0]);
    train_both("learning rate 0");
    assert_eq!(vec::<f32>(&traced.net.parameters()[0]), weights, "no step at learning rate 0");
    eager.adam.set_lr(0.5).unwrap();
    traced.adam.set_lr(0.5).unwrap();
    train_both("learning rate 0.5");
    assert_ne!(vec::<f32>(&traced.net.parameters()[0]), weights);
    assert_eq!(step.programs(), 1, "a learning rate is a variable: {}", step.explain_retraces());
    // Modes.
    let noisy = both("dropout on", &|| infer(&eager), &|| predict.run(x.clone()).unwrap());
    for net in [&eager.net, &traced.net] {
        net.eval();
    }
    let quiet = both("dropout off", &|| infer(&eager), &|| predict.run(x.clone()).unwrap());
    assert_ne!(vec::<f32>(&noisy), vec::<f32>(&quiet));
    assert_eq!(vec::<f32>(&quiet), vec::<f32>(&infer(&eager)), "no random numbers in evaluation");
    for net in [&eager.net, &traced.net] {
        net.train();
    }
    both("dropout on again", &|| infer(&eager), &|| predict.run(x.clone()).unwrap());
    assert_eq!(predict.programs(), 2, "{}", predict.explain_retraces());
    // Weights and moments.
    eager.load_state_dict(&saved).unwrap();
    traced.load_state_dict(&saved).unwrap();
    let mut again = |what: &str| both(what, &|| train(&eager), &|| step.run((x.clone(), y.clone())).unwrap());
    again("after load_state_dict");
    again("and once more");
    assert_eq!(step.programs(), 1, "{}", step.explain_retraces());
    assert_same_state(&traced.named_variables(), &eager.named_variables(), 1e-5);
    traced.load_state_dict(&saved).unwrap();
    manual_seed(1);
    let restarted = step.run((x.clone(), y.clone())).unwrap().item().unwrap();
    assert!((restarted - first).abs() <= 1e-5 * first, "{restarted} instead of {first}");
    // Inference after further training: what was prepared from the weights is made anew.
    for net in [&eager.net, &traced.net] {
        net.eval();
    }
    assert_close(&predict.run(x.clone()).unwrap(), &infer(&traced), 1e-5);
    step.run((x.clone(), y.clone())).unwrap();
    assert_close(&predict.run(x.clone()).unwrap(), &infer(&traced), 1e-5);
}

/// A label out of range fails the step, eager and compiled, and neither weights, moments, step counts nor slots change.
#[test]
fn a_step_that_fails_in_the_middle_changes_nothing() {
    let _one = seeded(6);
    let model = Classifier::new();
    let x = Tensor::randn((12, 6));
    let good = Tensor::arange(0, 12) % 3;
    let bad = Tensor::new((0..12).map(|i| if i == 7 { 3 } else { i % 3 }).collect::<Vec<i64>>());
    let compiled = compile(|x: Tensor, y: Tensor| model.step(&x, &y));
    let run = |mode: &str, y: &Tensor| match mode {
        "compiled" => compiled.run((x.clone(), y.clone())),
        _ => model.step(&x, y),
    };
    let elements = |m: &Classifier| -> Vec<(String, Vec<f64>)> {
        m.named_variables().iter().map(|(n, t)| (n.clone(), t.to_f64_vec().unwrap())).collect()
    };
    for mode in ["eager", "compiled"] {
        run(mode, &good).unwrap();
        let (before, random) = (elements(&model), vec::<i64>(&igneous::random_state().unwrap()));
        for _ in 0..2 {
            let told = message(run(mode, &bad));
            assert!(told.contains("a label is out of range: it must be at least 0 and less than 3"), "{mode}: {told}");
            assert!(told.contains('3') && told.contains(file!()), "{mode}: {told}");
            assert_eq!(elements(&model), before, "{mode}");
            assert!(model.net.parameters().iter().all(|p| p.grad().is_none()), "{mode}");
        }
        if mode == "compiled" {
            assert_eq!(vec::<i64>(&igneous::random_state().unwrap()), random, "the counter is a variable too");
        }
        run(mode, &good).unwrap();
        assert!(elements(&model) != before, "{mode}: it goes on");
    }
}

/// A warm-up that the user computes from the epoch, in Rust: at the second trace the constant differs, and the message
/// names its line.
#[test]
#[cfg(debug_assertions)]
fn a_constant_that_depends_on_the_epoch_is_found() {
    let _one = seeded(7);
    let net = Linear::new(3, 2);
    let sgd = Sgd::new(net.parameters(), 0.1).unwrap();
    let epoch = Mutex::new(0);
    let step = compile(|x: Tensor, y: Tensor| {
        let warmup = (*epoch.lock().unwrap() + 1) as f64 / 8.0;
        let loss = net.forward(&x).cross_entropy(&y);
        (&loss * warmup).backward()?;
        sgd.step()?;
        Ok(loss)
    });
    let line = line!() - 4;
    let run = || step.run((Tensor::ones((2, 3)), Tensor::new([0, 1])));
    run().unwrap();
    let before = vec::<f32>(&net.weight);
    *epoch.lock().unwrap() = 1;
    let told = message(run());
    assert!(told.contains("constant 0.125 became 0.25") && told.contains("make it an argument or a variable"), "{told}");
    assert!(told.contains(&format!("{}:{line}", file!())), "{told}");
    assert_eq!(vec::<f32>(&net.weight), before);
}

/// Dropout draws one mask per call, the same one in both modes, and its gradient has the mask of its forward.
#[test]
fn dropout_is_equal_in_eager_and_compiled() {
    let _one = seeded(8);
    let layer = Dropout::new(0.3);
    let f = |x: Tensor| {
        let x = x.detach().requires_grad_();
        let y = layer.forward(&x);
        (&y * 2.0).sum_all().backward()?;
        let gradient = x.grad().ok_or_else(|| Error::new("no gradient"))?;
        Ok::<_, Error>((y, gradient))
    };
    let x = Tensor::full((16, 33), 3.0);
    let run = |f: &dyn Fn() -> Result<(Tensor, Tensor)>| -> Vec<(Vec<f32>, Vec<f32>)> {
        manual_seed(8);
        (0..3).map(|_| f().unwrap()).map(|(y, g)| (vec(&y), vec(&g))).collect()
    };
    let eager = run(&|| f(x.clone()));
    let program = compile(f);
    assert_eq!(run(&|| program.run(x.clone())), eager);
    let scale = 1.0 / 0.7f32;
    for (y, gradient) in &eager {
        let dropped = y.iter().filter(|&&y| y == 0.0).count() as f64 / y.len() as f64;
        assert!((dropped - 0.3).abs() < 0.08, "{dropped}");
        assert!(y.iter().zip(gradient).all(|(&y, &g)| (y == 0.0 && g == 0.0) || (y - 3.0 * scale).abs() < 1e-5 && g > 2.0));
    }
    assert_ne!(eager[0], eager[1]);
}

#[derive(Module)]
struct Block {
    norm: LayerNorm,
    up: Linear,
    down: Linear,
    dropout: Dropout,
}

impl Block {
    fn new(width: usize) -> Block {
        let (up, down) = (Linear::new(width, 2 * width), Linear::new(2 * width, width));
        Block { norm: LayerNorm::new(width), up, down, dropout: Dropout::new(0.5) }
    }
}

impl Forward for Block {
    fn forward(&self, x: &Tensor) -> Tensor {
        let hidden = self.up.forward(&self.norm.forward(x)).gelu();
        x + self.dropout.forward(&self.down.forward(&hidden))
    }
}

fn blocks(depth: usize) -> Sequential {
    (0..depth).fold(Sequential::new(), |net, _| net.push(Block::new(8)))
}

/// Equal layers become one block although each draws its own dropout mask; forward, gradients and the random counter
/// are those of eager mode.
#[test]
fn two_equal_layers_with_dropout_are_one_block() {
    let _one = seeded(9);
    let net = blocks(2);
    let sgd = Sgd::new(net.parameters(), 0.1).unwrap();
    let x = Tensor::randn((4, 8));
    let step = compile(|x: Tensor| {
        let y = net.forward(&x);
        y.square().mean_all().backward()?;
        sgd.step()?;
        Ok(y)
    });
    let program = step.lower(x.clone()).unwrap();
    assert_eq!(program.distinct_blocks(), 1);
    compare_with_eager(&step, x.clone(), 1e-5).unwrap();
    // With zero weights and ones as the last bias a block adds 2 where it keeps and 0 where it drops.
    let masks = blocks(2);
    for (name, parameter) in masks.named_parameters() {
        let last = name.ends_with("down.bias");
        parameter.assign(&if last { parameter.ones_like() } else { parameter.zeros_like() }).unwrap();
    }
    let forward = compile(|x: Tensor| no_grad(|| masks.forward(&x)));
    assert_eq!(forward.lower(Tensor::zeros((64, 8))).unwrap().distinct_blocks(), 1);
    let sums = vec::<f32>(&forward.run(Tensor::zeros((64, 8))).unwrap());
    let share = |sum: f32| sums.iter().filter(|&&s| s == sum).count() as f64 / sums.len() as f64;
    // Independent masks: 0, 2 and 4 in the proportion 1:2:1. One mask for both layers would leave no 2.
    assert!((share(2.0) - 0.5).abs() < 0.1 && (share(0.0) - 0.25).abs() < 0.1, "{} {}", share(0.0), share(2.0));
    assert_eq!(share(0.0) + share(2.0) + share(4.0), 1.0);
}

/// The number of distinct blocks does not grow with the depth.
#[test]
fn depth_does_not_add_blocks() {
    let _one = seeded(10);
    for depth in [3, 6] {
        let net = blocks(depth);
        let forward = compile(|x: Tensor| net.forward(&x));
        assert_eq!(forward.lower(Tensor::zeros((4, 8))).unwrap().distinct_blocks(), 1, "depth {depth}");
    }
}

/// A training step with a symbolic batch: traced, verified, and interpreted at two extents against eager mode.
#[test]
fn a_symbolic_batch_is_traced_verified_and_interpreted() {
    let _one = seeded(12);
    let net = Sequential::new().push(LayerNorm::new(6)).push(Linear::new(6, 8)).push(Gelu).push(Linear::new(8, 3));
    net.name_variables();
    let loss = |x: &Tensor, y: &Tensor| net.forward(x).cross_entropy(y);
    let f: Compiled<_, (Tensor, Tensor)> = compile(|x: Tensor, y: Tensor| {
        let loss = loss(&x, &y);
        loss.backward()?;
        let gradient = net.named_parameters()[2].1.take_grad().ok_or_else(|| Error::new("no gradient"))?;
        net.zero_grad();
        Ok((loss, gradient))
    });
    let f = f.input(0, ("B", 6)).input(1, "B").range("B", 1..=64);
    let batch = |n: usize| (Tensor::randn((n, 6)), Tensor::arange(0, n) % 3);
    let program = f.lower(batch(4)).unwrap();
    let graph = program.traced();
    assert!(graph.to_string().contains("f32[B, 6]"), "{graph}");
    verify(graph).unwrap();
    let parsed: Graph = graph.to_string().parse().unwrap();
    assert_eq!(parsed.to_string(), graph.to_string());
    for n in [1, 5] {
        let (x, y) = batch(n);
        let mut inputs = vec![array(&x), array(&y)];
        for (_, name) in &graph.inputs()[2..] {
            let parameter = net.named_variables().into_iter().find(|(path, _)| path == name);
            inputs.push(array(&parameter.unwrap_or_else(|| panic!("no parameter {name}")).1));
        }
        let interpreted = interpret(graph, &inputs).unwrap();
        let expected = loss(&x, &y);
        expected.backward().unwrap();
        let gradient = net.named_parameters()[2].1.take_grad().unwrap();
        net.zero_grad();
        let compiled = f.run((x, y)).unwrap();
        for (k, eager) in [expected, gradient].iter().enumerate() {
            let values: Vec<f64> = (0..interpreted[k].len()).map(|i| interpreted[k].f(i)).collect();
            assert_close(&Tensor::from_vec(values, eager.shape()), &eager.to_dtype(igneous::DType::F64), 1e-5);
            assert_close([&compiled.0, &compiled.1][k], eager, 1e-5);
        }
    }
    assert_eq!(f.programs(), 1, "{}", f.explain_retraces());
}

/// A tensor as the interpreter takes it.
fn array(tensor: &Tensor) -> Array {
    let sizes = tensor.ty().unwrap().sizes().unwrap();
    Array::from_bytes(tensor.dtype(), sizes, &tensor.to_le_bytes().unwrap()).unwrap()
}
