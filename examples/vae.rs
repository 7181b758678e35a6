//! A variational autoencoder learns what digits are made of.
//!
//!     cargo run --release --example vae
//!     cargo run --release --example vae -- --check
//!
//! Writes digits.png: test digits, what became of them through twenty numbers, and digits from numbers drawn at random.

use clap::Parser;
use igneous::data::{DataLoader, Dataset, Mnist};
use igneous::nn::ModuleExt;
use igneous::optim::{Adam, Optimizer};
use igneous::testing::compare_with_eager;
use igneous::{Result, Tensor, compile, manual_seed, no_grad};
use igneous_models::Vae;
use igneous_train::{image_grid, save_image};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// Trains a variational autoencoder on MNIST.
#[derive(Parser)]
struct Arguments {
    /// Passes over the training images.
    #[arg(long, default_value_t = 5)]
    epochs: usize,
    /// Images per step.
    #[arg(long, default_value_t = 128)]
    batch: usize,
    /// End each epoch after so many steps.
    #[arg(long, default_value_t = usize::MAX, hide_default_value = true)]
    steps: usize,
    /// Numbers that a digit becomes.
    #[arg(long, default_value_t = 20)]
    code: usize,
    /// Seed of the weights, of the noise and of the order of the images.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run operator by operator instead of compiling.
    #[arg(long)]
    eager: bool,
    /// Compare 20 steps in eager and compiled mode.
    #[arg(long)]
    check: bool,
    /// Where the picture is written.
    #[arg(long, value_name = "FILE", default_value = "digits.png")]
    out: PathBuf,
    /// The folder with the four files of MNIST.
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/mnist"))]
    data: PathBuf,
}

/// A network and its optimizer.
struct Training {
    net: Vae,
    adam: Adam,
}

impl Training {
    /// One training step: what is compiled, and what eager mode runs.
    fn step(&self, images: &Tensor) -> Result<Tensor> {
        let loss = self.net.loss(&images.flatten(1, -1));
        loss.backward()?;
        self.adam.step()?;
        Ok(loss)
    }

    fn loss(&self, images: &Tensor) -> Tensor {
        no_grad(|| self.net.loss(&images.flatten(1, -1)))
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    manual_seed(arguments.seed);
    let net = Vae::new(28 * 28, 400, arguments.code);
    println!("{}", net.summary());
    let adam = Adam::new(net.parameters(), 0.001)?;
    let training = Arc::new(Training { net, adam });
    let train = DataLoader::new(Mnist::train(&arguments.data)?, arguments.batch).shuffle(arguments.seed).drop_last();
    let test = DataLoader::new(Mnist::test(&arguments.data)?, 1000);
    let (own, other) = (training.clone(), training.clone());
    let step = compile(move |images: Tensor| own.step(&images)).name("step");
    let loss = compile(move |images: Tensor| other.loss(&images)).name("loss");

    if arguments.check {
        let mut largest = 0.0f64;
        for batch in train.epoch(0).take(20) {
            largest = largest.max(compare_with_eager(&step, batch?.0, 1e-4)?);
        }
        println!("eager and compiled agree: max relative difference {largest:.1e}");
        return Ok(());
    }
    for epoch in 0..arguments.epochs {
        let start = Instant::now();
        let batches = train.epoch(epoch).progress(&format!("epoch {}", epoch + 1));
        let bar = batches.bar();
        let (mut sum, mut count) = (0.0, 0.0);
        for batch in batches.take(arguments.steps) {
            let images = batch?.0;
            let loss = if arguments.eager { training.step(&images)? } else { step.run(images)? };
            sum += loss.item()?;
            count += 1.0;
            bar.set_message(format!("loss {:.1}", sum / count));
        }
        let seconds = start.elapsed().as_secs_f64();
        let (mut tested, mut batches) = (0.0, 0.0);
        for batch in &test {
            let images = batch?.0;
            tested += if arguments.eager { training.loss(&images).item()? } else { loss.run(images)?.item()? };
            batches += 1.0;
        }
        println!("epoch {}: loss {:.2}, test loss {:.2}, {seconds:.1} s", epoch + 1, sum / count, tested / batches);
    }
    let digits = test.dataset().batch(&(0..16).collect::<Vec<_>>())?.0;
    let picture = no_grad(|| {
        let through = training.net.decode(&training.net.encode(&digits.flatten(1, -1)).0);
        let drawn = training.net.decode(&Tensor::randn((32, arguments.code)));
        Tensor::cat(&[digits, Tensor::cat(&[through, drawn], 0).sigmoid().reshape((48, 1, 28, 28))], 0)
    });
    save_image(&image_grid(&picture, 16, 2), &arguments.out)?;
    println!("wrote digits, what became of them, and two rows of new ones to {}", arguments.out.display());
    Ok(())
}
