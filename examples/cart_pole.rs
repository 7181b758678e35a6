//! Balancing a pole on a cart by trial and error: REINFORCE, where the environment is part of the compiled step.
//!
//!     cargo run --release --example cart_pole
//!     cargo run --release --example cart_pole -- --check
//!
//! One program plays many games at once, as a `scan` over time with random moves, and learns from them: its backward pass goes
//! through the scan.

mod mode;

use clap::Parser;
use igneous::data::Progress;
use igneous::nn::{Forward, ModuleExt};
use igneous::optim::{Adam, Optimizer};
use igneous::{DType, Result, Tensor, compile, manual_seed, scan};
use igneous_models::mlp;
use mode::Mode;
use std::time::Instant;

/// Learns to balance a pole.
#[derive(Parser)]
struct Arguments {
    /// Updates of the network.
    #[arg(long, default_value_t = 150)]
    updates: usize,
    /// Games per update.
    #[arg(long, default_value_t = 32)]
    games: usize,
    /// The length of the longest game.
    #[arg(long, default_value_t = 200)]
    longest: usize,
    #[command(flatten)]
    mode: Mode,
}

/// The next states `[games, 4]` (place and speed of the cart, angle and angular speed of the pole) when the cart is pushed to the
/// right where `right` is 1 and to the left where it is 0. Barto, Sutton and Anderson 1983, with the constants of Gym's CartPole.
fn physics(state: &Tensor, right: &Tensor) -> Tensor {
    const GRAVITY: f64 = 9.8;
    const CART: f64 = 1.0;
    const POLE: f64 = 0.1;
    const HALF_LENGTH: f64 = 0.5;
    const FORCE: f64 = 10.0;
    const SECONDS: f64 = 0.02;
    let [x, speed, angle, turn] = [0, 1, 2, 3].map(|i| state.i((.., i)));
    let force = right * (2.0 * FORCE) - FORCE;
    let (sin, cos) = (angle.sin(), angle.cos());
    let push = (force + turn.square() * &sin * (POLE * HALF_LENGTH)) / (CART + POLE);
    let turning = (&sin * GRAVITY - &cos * &push) / ((4.0 / 3.0 - cos.square() * (POLE / (CART + POLE))) * HALF_LENGTH);
    let pushing = push - &turning * &cos * (POLE * HALF_LENGTH / (CART + POLE));
    Tensor::stack(&[x + &speed * SECONDS, speed + pushing * SECONDS, angle + &turn * SECONDS, turn + turning * SECONDS], 1)
}

/// Whether the cart is on its track and the pole up, 1 or 0 for each game.
fn standing(state: &Tensor) -> Tensor {
    let (x, angle) = (state.i((.., 0)), state.i((.., 2)));
    x.abs().lt(2.4).logical_and(&angle.abs().lt(12f64.to_radians())).to_dtype(DType::F32)
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let (mode, games, longest) = (arguments.mode, arguments.games, arguments.longest);
    manual_seed(mode.seed);
    let net = mlp(&[4, 64, 2]);
    let adam = Adam::new(net.parameters(), 0.01)?;
    // Plays games from these states and learns from them. Returns the mean number of moves of a game.
    let learn = compile(|start: Tensor| {
        // For each move, [longest, games]: the logarithm of its probability, and whether the game went on.
        let alive = Tensor::ones(games);
        let (_, (chosen, played)) = scan((start, alive), Tensor::arange(0, longest), |(state, alive): (Tensor, Tensor), _| {
            let scores = net.forward(&state).log_softmax(1);
            let right = Tensor::rand(games).lt(scores.detach().i((.., 1)).exp()).to_dtype(DType::F32);
            let chosen = scores.i((.., 1)) * &right + scores.i((.., 0)) * (1.0 - &right);
            let next = physics(&state, &right).detach();
            let still = &alive * standing(&next);
            ((next, still), (chosen * &alive, alive))
        })?;
        // What each move was worth: the moves that followed. Better than the mean of its time is good.
        let worth = played.flip(0).cumsum(0).flip(0);
        let mean = worth.sum_keepdim(1) / played.sum_keepdim(1).clamp_min(1.0);
        let advantage = (worth - mean) * &played;
        let scale = (advantage.square().sum_all() / played.sum_all()).sqrt() + 1e-6;
        let loss = -(chosen * (advantage / scale).detach()).sum_all() / played.sum_all();
        loss.backward()?;
        adam.step()?;
        Ok(played.sum(0).mean_all())
    })
    .name("learn");
    let start = || Tensor::uniform(-0.05, 0.05, (games, 4));
    if mode.check {
        return mode.compare(&learn, (0..arguments.updates.min(5)).map(|_| Ok(start())), 1e-3);
    }

    let begun = Instant::now();
    let progress = Progress::new(0..arguments.updates, "playing");
    let bar = progress.bar();
    let mut moves = Vec::new();
    for _ in progress {
        let mean = mode.run(&learn, start())?.item()?;
        moves.push(mean);
        bar.set_message(format!("{mean:.0} moves"));
    }
    println!("{} games in {:.1} s\n", arguments.updates * games, begun.elapsed().as_secs_f64());
    println!("updates  moves before the pole falls (at most {longest})");
    for (k, part) in moves.chunks(15).enumerate() {
        let mean = part.iter().sum::<f64>() / part.len() as f64;
        println!("{:7}  {mean:6.1} {}", 15 * k + part.len(), "#".repeat((mean / 4.0) as usize));
    }
    Ok(())
}
