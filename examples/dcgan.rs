//! Digits that nobody wrote: a generator learns to deceive a discriminator, which learns to tell its images from real ones.
//!
//!     cargo run --release --example dcgan
//!     cargo run --release --example dcgan -- --check
//!
//! Both steps, each with its optimizer, are one compiled program. Writes a grid of samples, digits.png.

use clap::Parser;
use igneous::data::{DataLoader, Mnist};
use igneous::nn::{Forward, ModuleExt};
use igneous::optim::{Adam, AdamOptions, Optimizer};
use igneous::testing::compare_with_eager;
use igneous::{Result, Tensor, compile, default, manual_seed, no_grad};
use igneous_models::{DcganOptions, Discriminator, Generator};
use igneous_train::{image_grid, save_image};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// Trains a DCGAN on MNIST.
#[derive(Parser)]
struct Arguments {
    /// Passes over the training images.
    #[arg(long, default_value_t = 3)]
    epochs: usize,
    /// Images per step.
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// End each epoch after so many steps.
    #[arg(long, default_value_t = usize::MAX, hide_default_value = true)]
    steps: usize,
    /// Channels of the largest hidden layers.
    #[arg(long, default_value_t = 32)]
    width: usize,
    /// Seed of the weights, of the noise and of the order of the images.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run operator by operator instead of compiling.
    #[arg(long)]
    eager: bool,
    /// Compare 20 steps in eager and compiled mode.
    #[arg(long)]
    check: bool,
    /// Where the samples are written.
    #[arg(long, value_name = "FILE", default_value = "digits.png")]
    out: PathBuf,
    /// The folder with the four files of MNIST.
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/mnist"))]
    data: PathBuf,
}

/// Two networks and their optimizers.
struct Training {
    generator: Generator,
    discriminator: Discriminator,
    of_generator: Adam,
    of_discriminator: Adam,
    noise: usize,
}

impl Training {
    fn new(options: DcganOptions) -> Result<Training> {
        let (generator, discriminator) = (Generator::new(options), Discriminator::new(options));
        let adam = |parameters| Adam::with(parameters, 0.0002, AdamOptions { betas: (0.5, 0.999), ..default() });
        let (of_generator, of_discriminator) = (adam(generator.parameters())?, adam(discriminator.parameters())?);
        Ok(Training { generator, discriminator, of_generator, of_discriminator, noise: options.noise })
    }

    /// A step of each network: what is compiled, and what eager mode runs. Returns both losses, and how likely real and made images
    /// seem to be real.
    fn step(&self, images: &Tensor) -> Result<[Tensor; 4]> {
        let real = images * 2.0 - 1.0;
        let fake = self.generator.forward(&Tensor::randn((images.size(0), self.noise, 1, 1)));
        let against = |logits: &Tensor, target: f64| logits.binary_cross_entropy_with_logits(&logits.full_like(target));

        let (of_real, of_fake) = (self.discriminator.forward(&real), self.discriminator.forward(&fake.detach()));
        let judging = against(&of_real, 1.0) + against(&of_fake, 0.0);
        judging.backward()?;
        self.of_discriminator.step()?;

        let deceiving = against(&self.discriminator.forward(&fake), 1.0);
        deceiving.backward()?;
        self.of_generator.step()?;
        // What deceiving would have changed in the discriminator.
        self.discriminator.zero_grad();
        let believed = |logits: &Tensor| logits.detach().sigmoid().mean_all();
        Ok([judging, deceiving, believed(&of_real), believed(&of_fake)])
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    manual_seed(arguments.seed);
    let options = DcganOptions { width: arguments.width, ..DcganOptions::mnist() };
    let training = Arc::new(Training::new(options)?);
    let count = [training.generator.parameter_count(), training.discriminator.parameter_count()];
    println!("{} parameters in the generator, {} in the discriminator", count[0], count[1]);
    let train = DataLoader::new(Mnist::train(&arguments.data)?, arguments.batch).shuffle(arguments.seed).drop_last();
    let own = training.clone();
    let step = compile(move |images: Tensor| own.step(&images)).name("step");

    if arguments.check {
        let mut largest = 0.0f64;
        for batch in train.epoch(0).take(20) {
            largest = largest.max(compare_with_eager(&step, batch?.0, 1e-3)?);
        }
        println!("eager and compiled agree: max relative difference {largest:.1e}");
        return Ok(());
    }
    let noise = Tensor::randn((64, options.noise, 1, 1));
    println!("epoch  discriminator  generator  D(real)  D(made)     time");
    for epoch in 0..arguments.epochs {
        let start = Instant::now();
        let batches = train.epoch(epoch).progress(&format!("epoch {}", epoch + 1));
        let bar = batches.bar();
        let (mut sums, mut count) = ([0.0; 4], 0.0);
        for batch in batches.take(arguments.steps) {
            let images = batch?.0;
            let found = if arguments.eager { training.step(&images)? } else { step.run(images)? };
            for (sum, value) in sums.iter_mut().zip(&found) {
                *sum += value.item()?;
            }
            count += 1.0;
            bar.set_message(format!("losses {:.3} {:.3}", sums[0] / count, sums[1] / count));
        }
        let seconds = start.elapsed().as_secs_f64();
        let [judging, deceiving, real, made] = sums.map(|sum| sum / count);
        println!("{:5}  {judging:13.3}  {deceiving:9.3}  {real:7.3}  {made:7.3}  {seconds:5.1} s", epoch + 1);
    }
    training.generator.eval();
    let samples = no_grad(|| training.generator.forward(&noise)) * 0.5 + 0.5;
    save_image(&image_grid(&samples, 8, 2), &arguments.out)?;
    println!("wrote 64 samples to {}", arguments.out.display());
    Ok(())
}
