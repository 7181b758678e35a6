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

mod mode;

use clap::Parser;
use igneous::data::{Progress, SampleRandom};
use igneous::nn::{Forward, Linear, Module, ModuleExt, Sequential};
use igneous::optim::{Adam, Optimizer};
use igneous::{Error, Result, Tensor, compile, cond, manual_seed, no_grad, while_loop_bounded};
use igneous_models::mlp;
use mode::Mode;
use std::f64::consts::TAU;
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
    #[command(flatten)]
    mode: Mode,
}

/// How often a point is turned at most.
const DEEPEST: usize = 6;
/// By how much near points are turned each time.
const ANGLE: f64 = 0.4;

/// Where points are, and by how much they are turned each time.
struct Ring {
    nearest: f64,
    furthest: f64,
    angle: f64,
}

const NEAR: Ring = Ring { nearest: 0.2, furthest: 0.9, angle: ANGLE };
const FAR: Ring = Ring { nearest: 1.2, furthest: 2.0, angle: 2.0 * ANGLE };

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

/// Points, how often they are turned, and where they end.
fn points(count: usize, depth: usize, ring: &Ring, random: &mut SampleRandom) -> (Tensor, Tensor, Tensor) {
    let Ring { nearest, furthest, angle } = *ring;
    let polar: Vec<(f64, f64)> =
        (0..count).map(|_| (TAU * random.uniform(), nearest + (furthest - nearest) * random.uniform())).collect();
    let turned = |by: f64| {
        let places = polar.iter().flat_map(|(angle, distance)| [(angle + by).cos() * distance, (angle + by).sin() * distance]);
        Tensor::from_vec(places.map(|x| x as f32).collect(), (count, 2))
    };
    (turned(0.0), Tensor::scalar(depth as i64), turned(angle * depth as f64))
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mode = arguments.mode;
    manual_seed(mode.seed);
    let net = Net { near: Linear::new(2, 2), far: mlp(&[2, 64, 2]) };
    let adam = Adam::new(net.parameters(), 0.003)?;
    let learn = |found: Tensor, target: Tensor| -> Result<Tensor> {
        let loss = found.mse_loss(&target);
        loss.backward()?;
        adam.step()?;
        Ok(loss)
    };
    let step = compile(|x: Tensor, depth: Tensor, target: Tensor| learn(net.by_program(&x, &depth)?, target)).name("step");
    let mut random = SampleRandom::of_sample(mode.seed as usize);
    let mut draw = || {
        let (depth, ring) = (1 + random.below(DEEPEST), if random.chance(0.5) { NEAR } else { FAR });
        points(arguments.batch, depth, &ring, &mut random)
    };

    if mode.check {
        mode.compare(&step, (0..arguments.steps.min(50)).map(|_| Ok(draw())), 1e-4)?;
        let (x, depth, _) = draw();
        let difference = (net.by_values(&x, &depth)? - net.by_program(&x, &depth)?).abs().max_all().item()?;
        println!("decided in Rust and in the program: difference {difference:.1e}");
        return Ok(());
    }
    let start = Instant::now();
    let progress = Progress::new(0..arguments.steps, "training");
    let bar = progress.bar();
    for k in progress {
        let (x, depth, target) = draw();
        let loss = if mode.eager { learn(net.by_values(&x, &depth)?, target)? } else { mode.run(&step, (x, depth, target))? };
        if k % 100 == 0 {
            bar.set_message(format!("loss {:.5}", loss.item()?));
        }
    }
    println!("{} steps in {:.1} s, {} program(s)\n", arguments.steps, start.elapsed().as_secs_f64(), step.programs());
    println!("depth  error near  error far");
    for depth in 1..=DEEPEST {
        let errors = [NEAR, FAR].map(|ring| {
            let (x, depth, target) = points(256, depth, &ring, &mut SampleRandom::of_sample(0));
            let found = no_grad(|| net.by_values(&x, &depth))?;
            (found - target).square().sum(1).sqrt().mean_all().item()
        });
        let [near, far] = errors;
        println!("{depth:5}  {:10.4}  {:9.4}", near?, far?);
    }
    let [a, b, c, d] = net.near.weight.to_f64_vec()?[..] else {
        return Err(Error::new("a matrix of the plane has four elements"));
    };
    println!("\nthe narrow layer turns by {:.3}; the truth is {ANGLE}", (c - b).atan2(a + d));
    Ok(())
}
