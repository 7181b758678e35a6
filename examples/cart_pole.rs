//! Balancing a pole on a cart by trial and error: REINFORCE, where the environment is part of the compiled step.
//!
//!     cargo run --release --example cart_pole
//!     cargo run --release --example cart_pole -- --check
//!
//! One program plays many games at once, as a `scan` over time with random moves, and learns from them: its backward pass goes
//! through the scan.

use clap::Parser;
use igneous::data::Progress;
use igneous::nn::{Forward, ModuleExt, Sequential};
use igneous::optim::{Adam, Optimizer};
use igneous::testing::compare_with_eager;
use igneous::{DType, Error, Result, Tensor, compile, manual_seed, scan};
use igneous_models::mlp;
use std::sync::Arc;
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
    /// Seed of the weights and of the games.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run operator by operator instead of compiling.
    #[arg(long)]
    eager: bool,
    /// Compare 5 updates in eager and compiled mode.
    #[arg(long)]
    check: bool,
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

/// A network and its optimizer.
struct Player {
    net: Sequential,
    adam: Adam,
}

impl Player {
    /// Plays games from these states and learns from them: what is compiled, and what eager mode runs. Returns the mean number
    /// of moves of a game.
    fn learn(&self, start: &Tensor, longest: usize) -> Result<Tensor> {
        let alive = Tensor::ones(start.size(0));
        // For each move, [longest, games]: the logarithm of its probability, and whether the game went on.
        let (_, (chosen, played)) = scan((start.clone(), alive), Tensor::arange(0, longest), |(state, alive), _| {
            let scores = self.net.forward(&state).log_softmax(1);
            let likely = scores.detach().exp();
            let right = Tensor::rand(start.size(0)).lt(likely.i((.., 1))).to_dtype(DType::F32);
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
        self.adam.step()?;
        Ok(played.sum_all() / Tensor::full((), start.size(0)).to_dtype(DType::F32))
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    manual_seed(arguments.seed);
    let net = mlp(&[4, 64, 2]);
    let adam = Adam::new(net.parameters(), 0.01)?;
    let player = Arc::new(Player { net, adam });
    let (own, longest) = (player.clone(), arguments.longest);
    let learn = compile(move |start: Tensor| own.learn(&start, longest)).name("learn");
    let start = || Tensor::uniform(-0.05, 0.05, (arguments.games, 4));

    if arguments.check {
        let mut largest = 0.0f64;
        for _ in 0..5 {
            largest = largest.max(compare_with_eager(&learn, start(), 1e-3)?);
        }
        println!("eager and compiled agree: max relative difference {largest:.1e}");
        return Ok(());
    }
    let begun = Instant::now();
    let progress = Progress::new(0..arguments.updates, "playing");
    let bar = progress.bar();
    let (mut recent, mut shown) = (Vec::new(), Vec::new());
    for update in progress {
        let moves = if arguments.eager { player.learn(&start(), longest)? } else { learn.run(start())? }.item()?;
        recent.push(moves);
        bar.set_message(format!("{moves:.0} moves"));
        if (update + 1) % 15 == 0 || update + 1 == arguments.updates {
            shown.push((update + 1, recent.iter().sum::<f64>() / recent.len() as f64));
            recent.clear();
        }
    }
    println!("{} games in {:.1} s\n", arguments.updates * arguments.games, begun.elapsed().as_secs_f64());
    println!("updates  moves before the pole falls (at most {longest})");
    for (updates, moves) in &shown {
        let bar = "#".repeat((moves / longest as f64 * 50.0) as usize);
        println!("{updates:7}  {moves:6.1} {bar}");
    }
    shown.last().map(|_| ()).ok_or_else(|| Error::new("nothing was played: --updates is 0"))
}
