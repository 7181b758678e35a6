//! A variational autoencoder learns what digits are made of.
//!
//!     cargo run --release --example vae
//!     cargo run --release --example vae -- --check
//!
//! Writes vae.png: test digits, what became of them through twenty numbers, and digits from numbers drawn at random.

mod mode;

use clap::Parser;
use igneous::data::{DataLoader, Dataset, Mnist};
use igneous::nn::ModuleExt;
use igneous::optim::{Adam, Optimizer};
use igneous::{Result, Tensor, compile, manual_seed, no_grad};
use igneous_models::Vae;
use igneous_train::{image_grid, save_image};
use mode::Mode;
use std::path::PathBuf;
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
    #[command(flatten)]
    mode: Mode,
    /// Where the picture is written.
    #[arg(long, value_name = "FILE", default_value = "vae.png")]
    out: PathBuf,
    /// The folder with the four files of MNIST.
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/mnist"))]
    data: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mode = arguments.mode;
    manual_seed(mode.seed);
    let net = Vae::new(28 * 28, 400, arguments.code);
    println!("{}", net.summary());
    let adam = Adam::new(net.parameters(), 0.001)?;
    let step = compile(|images: Tensor| {
        let loss = net.loss(&images.flatten(1, -1));
        loss.backward()?;
        adam.step()?;
        Ok(loss)
    })
    .name("step");
    let loss = compile(|images: Tensor| no_grad(|| net.loss(&images.flatten(1, -1)))).name("loss");
    let train = DataLoader::new(Mnist::train(&arguments.data)?, arguments.batch).shuffle(mode.seed).drop_last();
    let test = DataLoader::new(Mnist::test(&arguments.data)?, 1000);
    let images_only = |batch: Result<(Tensor, Tensor)>| batch.map(|(images, _)| images);
    if mode.check {
        return mode.compare(&step, train.epoch(0).map(images_only).take(arguments.steps.min(20)), 1e-4);
    }

    for epoch in 0..arguments.epochs {
        let start = Instant::now();
        let batches = train.epoch(epoch).progress(&format!("epoch {}", epoch + 1));
        let bar = batches.bar();
        let (mut sum, mut count) = (0.0, 0);
        for images in batches.map(images_only).take(arguments.steps) {
            sum += mode.run(&step, images?)?.item()?;
            count += 1;
            bar.set_message(format!("loss {:.1}", sum / f64::from(count)));
        }
        let seconds = start.elapsed().as_secs_f64();
        let mut tested = 0.0;
        for images in test.iter().map(images_only) {
            tested += mode.run(&loss, images?)?.item()?;
        }
        let (mean, tested) = (sum / f64::from(count.max(1)), tested / test.len() as f64);
        println!("epoch {}: loss {mean:.2}, test loss {tested:.2}, {seconds:.1} s", epoch + 1);
    }
    let digits = test.dataset().batch(&(0..16).collect::<Vec<_>>())?.0;
    let picture = no_grad(|| {
        let through = net.decode(&net.encode(&digits.flatten(1, -1)).0);
        let drawn = net.decode(&Tensor::randn((32, arguments.code)));
        Tensor::cat(&[digits, Tensor::cat(&[through, drawn], 0).sigmoid().reshape((48, 1, 28, 28))], 0)
    });
    save_image(&image_grid(&picture, 16, 2), &arguments.out)?;
    println!("wrote digits, what became of them, and two rows of new ones to {}", arguments.out.display());
    Ok(())
}
