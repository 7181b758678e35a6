//! A network whose depth and width depend on the data at run time.
//!
//!     cargo run --release --example adaptive
//!     cargo run --release --example adaptive -- --eager
//!     cargo run --release --example adaptive -- --check
//!
//! Points of a plane are turned by the same unknown angle several times, far points in steps twice as large. The network sees where
//! a point was, how often it was turned, and where it ended. It repeats its layer as often (depth) and chooses between a narrow and a
//! wide layer by the distance of the points (width). In eager mode that is a Rust loop and an `if`, which read values; compiled it is
//! a `while_loop_bounded` and a `cond`, so that one program serves all depths.

use clap::Parser;
use igneous::data::{Progress, SampleRandom};
use igneous::nn::{Forward, Linear, Module, ModuleExt, Sequential};
use igneous::optim::{Adam, Optimizer};
use igneous::{Error, Result, Tensor, compile, cond, manual_seed, no_grad, while_loop_bounded};
use igneous_models::mlp;
use std::sync::Arc;
use std::time::Instant;

/// Trains a network whose depth and width depend on its input.
#[derive(Parser)]
struct Arguments {
    /// Training steps.
    #[arg(long, default_value_t = 3000)]
    steps: usize,
    /// Points per step; all of one step are turned equally often.
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Seed of the weights and of the points.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Decide in Rust, and run operator by operator.
    #[arg(long)]
    eager: bool,
    /// Compare the losses of 50 steps that are decided in Rust and in a compiled program.
    #[arg(long)]
    check: bool,
}

/// How often a point is turned at most.
const DEEPEST: usize = 6;
const ANGLE: f64 = 0.4;

/// A layer that is repeated: narrow for points that are near, wide for others.
#[derive(Module)]
struct Net {
    near: Linear,
    far: Sequential,
}

impl Net {
    fn narrow(&self, x: &Tensor) -> Tensor {
        self.near.forward(x)
    }

    fn wide(&self, x: &Tensor) -> Tensor {
        x + self.far.forward(x)
    }

    /// Whether points count as far.
    fn is_far(x: &Tensor) -> Tensor {
        x.square().sum(-1).mean_all().gt(1.0)
    }

    /// Decided in Rust by values: an ordinary eager loop, with gradients.
    fn by_values(&self, x: &Tensor, depth: &Tensor) -> Result<Tensor> {
        let far = Net::is_far(x).item()? != 0.0;
        let mut x = x.clone();
        for _ in 0..depth.item()? as usize {
            x = if far { self.wide(&x) } else { self.narrow(&x) };
        }
        Ok(x)
    }

    /// The same decided inside of the program.
    fn by_program(&self, x: &Tensor, depth: &Tensor) -> Result<Tensor> {
        let far = Net::is_far(x);
        let layer = |x: Tensor| cond(&far, x, |x: Tensor| self.wide(&x), |x: Tensor| self.narrow(&x));
        let (x, _) = while_loop_bounded(
            DEEPEST as u32,
            (x.clone(), Tensor::scalar(0)),
            |(_, k): (Tensor, Tensor)| k.lt(depth),
            |(x, k)| Ok::<_, Error>((layer(x)?, k + 1)),
        )?;
        Ok(x)
    }
}

struct Training {
    net: Net,
    adam: Adam,
}

impl Training {
    fn new() -> Result<Training> {
        let net = Net { near: Linear::new(2, 2), far: mlp(&[2, 64, 2]) };
        Ok(Training { adam: Adam::new(net.parameters(), 0.003)?, net })
    }

    fn learn(&self, found: &Tensor, target: &Tensor) -> Result<Tensor> {
        let loss = found.mse_loss(target);
        loss.backward()?;
        self.adam.step()?;
        Ok(loss)
    }

    fn eager_step(&self, x: &Tensor, depth: &Tensor, target: &Tensor) -> Result<Tensor> {
        self.learn(&self.net.by_values(x, depth)?, target)
    }

    fn compiled_step(&self, x: &Tensor, depth: &Tensor, target: &Tensor) -> Result<Tensor> {
        self.learn(&self.net.by_program(x, depth)?, target)
    }
}

/// Points, how often they are turned, and where they end. Half of the batches are near, the others far.
fn points(count: usize, random: &mut SampleRandom) -> (Tensor, Tensor, Tensor) {
    let (depth, far) = (1 + random.below(DEEPEST), random.chance(0.5));
    let (nearest, furthest) = if far { (1.2, 2.0) } else { (0.2, 0.9) };
    let step = if far { 2.0 * ANGLE } else { ANGLE };
    let mut polar = || (random.uniform() * std::f64::consts::TAU, nearest + (furthest - nearest) * random.uniform());
    let places: Vec<(f64, f64)> = (0..count).map(|_| polar()).collect();
    let at = |turned: f64| {
        let flat: Vec<f32> = places
            .iter()
            .flat_map(|(angle, distance)| [distance * (angle + turned).cos(), distance * (angle + turned).sin()])
            .map(|x| x as f32)
            .collect();
        Tensor::from_vec(flat, (count, 2))
    };
    (at(0.0), Tensor::scalar(depth as i64), at(step * depth as f64))
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    manual_seed(arguments.seed);
    let training = Arc::new(Training::new()?);
    let own = training.clone();
    let step = compile(move |x: Tensor, depth: Tensor, target: Tensor| own.compiled_step(&x, &depth, &target)).name("step");
    let mut random = SampleRandom::of_sample(arguments.seed as usize);

    if arguments.check {
        let copy = Training::new()?;
        copy.net.load_state_dict(&training.net.state_dict())?;
        let mut largest = 0.0f64;
        for _ in 0..50 {
            let (x, depth, target) = points(arguments.batch, &mut random);
            let eager = copy.eager_step(&x, &depth, &target)?.item()?;
            let compiled = step.run((x, depth, target))?.item()?;
            largest = largest.max((eager - compiled).abs() / eager.abs());
        }
        if largest.is_nan() || largest > 1e-3 {
            return Err(Error::new(format!("deciding in Rust and in the program differ: relative difference {largest:.1e}")));
        }
        println!("eager and compiled agree: max relative difference {largest:.1e}, {} program", step.programs());
        return Ok(());
    }
    let start = Instant::now();
    let progress = Progress::new(0..arguments.steps, "training");
    let bar = progress.bar();
    for k in progress {
        let (x, depth, target) = points(arguments.batch, &mut random);
        let loss = if arguments.eager { training.eager_step(&x, &depth, &target)? } else { step.run((x, depth, target))? };
        if k % 100 == 0 {
            bar.set_message(format!("loss {:.5}", loss.item()?));
        }
    }
    println!("{} steps in {:.1} s\n", arguments.steps, start.elapsed().as_secs_f64());
    println!("depth  error near  error far");
    for depth in 1..=DEEPEST {
        let mut errors = [(0.0, 0u32); 2];
        while errors.iter().any(|(_, count)| *count == 0) {
            let (x, found, target) = points(256, &mut random);
            if found.item()? as usize == depth {
                let far = Net::is_far(&x).item()? as usize;
                let reached = no_grad(|| training.net.by_values(&x, &found))?;
                let error = (reached - target).square().sum(1).sqrt().mean_all().item()?;
                errors[far] = (error, 1);
            }
        }
        println!("{depth:5}  {:10.4}  {:9.4}", errors[0].0, errors[1].0);
    }
    let turned = training.net.near.weight.to_f64_vec()?;
    println!("\nthe narrow layer turns by {:.3}; the truth is {ANGLE}", (turned[2] - turned[1]).atan2(turned[0] + turned[3]));
    Ok(())
}
