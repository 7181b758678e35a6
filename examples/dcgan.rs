//! Digits that nobody wrote: a generator learns to deceive a discriminator, which learns to tell its images from real ones.
//!
//!     cargo run --release --example dcgan
//!     cargo run --release --example dcgan -- --check
//!
//! Both steps, each with its optimizer, are one compiled program. Writes a grid of samples, digits.png.

mod mode;

use clap::Parser;
use igneous::data::{DataLoader, Mnist};
use igneous::nn::{Forward, ModuleExt};
use igneous::optim::{Adam, AdamOptions, Optimizer};
use igneous::{Result, Tensor, compile, default, manual_seed, no_grad};
use igneous_models::{DcganOptions, Discriminator, Generator};
use igneous_train::{image_grid, save_image};
use mode::Mode;
use std::path::PathBuf;
use std::time::Instant;

/// Trains a DCGAN on MNIST.
#[derive(Parser)]
struct Arguments {
    /// Passes over the training images.
    #[arg(long, default_value_t = 1)]
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
    #[command(flatten)]
    mode: Mode,
    /// Where the samples are written.
    #[arg(long, value_name = "FILE", default_value = "digits.png")]
    out: PathBuf,
    /// The folder with the four files of MNIST.
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/mnist"))]
    data: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mode = arguments.mode;
    manual_seed(mode.seed);
    let options = DcganOptions { width: arguments.width, ..DcganOptions::mnist() };
    let (generator, discriminator) = (Generator::new(options), Discriminator::new(options));
    let count = [generator.parameter_count(), discriminator.parameter_count()];
    println!("{} parameters in the generator, {} in the discriminator", count[0], count[1]);
    let adam = |parameters| Adam::with(parameters, 0.0002, AdamOptions { betas: (0.5, 0.999), ..default() });
    let (of_generator, of_discriminator) = (adam(generator.parameters())?, adam(discriminator.parameters())?);

    let against = |logits: &Tensor, target: f64| logits.binary_cross_entropy_with_logits(&logits.full_like(target));
    // A step of each network. Returns both losses, and how likely real and made images seem to be real.
    let step = compile(|images: Tensor| {
        let real = images * 2.0 - 1.0;
        let made = generator.forward(&Tensor::randn((real.size(0), options.noise, 1, 1)));

        let (of_real, of_made) = (discriminator.forward(&real), discriminator.forward(&made.detach()));
        let judging = against(&of_real, 1.0) + against(&of_made, 0.0);
        judging.backward()?;
        of_discriminator.step()?;

        let deceiving = against(&discriminator.forward(&made), 1.0);
        deceiving.backward()?;
        of_generator.step()?;
        // What deceiving would have changed in the discriminator.
        discriminator.zero_grad();
        let believed = |logits: &Tensor| logits.detach().sigmoid().mean_all();
        Ok([judging, deceiving, believed(&of_real), believed(&of_made)])
    })
    .name("step");
    let train = DataLoader::new(Mnist::train(&arguments.data)?, arguments.batch).shuffle(mode.seed).drop_last();
    let images_only = |batch: Result<(Tensor, Tensor)>| batch.map(|(images, _)| images);
    if mode.check {
        return mode.compare(&step, train.epoch(0).map(images_only).take(arguments.steps.min(20)), 1e-3);
    }

    println!("epoch  discriminator  generator  D(real)  D(made)     time");
    for epoch in 0..arguments.epochs {
        let start = Instant::now();
        let batches = train.epoch(epoch).progress(&format!("epoch {}", epoch + 1));
        let bar = batches.bar();
        let (mut sums, mut count) = ([0.0; 4], 0);
        for images in batches.map(images_only).take(arguments.steps) {
            let found = mode.run(&step, images?)?;
            for (sum, value) in sums.iter_mut().zip(&found) {
                *sum += value.item()?;
            }
            count += 1;
            bar.set_message(format!("losses {:.3} {:.3}", sums[0] / f64::from(count), sums[1] / f64::from(count)));
        }
        let seconds = start.elapsed().as_secs_f64();
        let [judging, deceiving, real, made] = sums.map(|sum| sum / f64::from(count.max(1)));
        println!("{:5}  {judging:13.3}  {deceiving:9.3}  {real:7.3}  {made:7.3}  {seconds:5.1} s", epoch + 1);
    }
    generator.eval();
    let samples = no_grad(|| generator.forward(&Tensor::randn((64, options.noise, 1, 1)))) * 0.5 + 0.5;
    save_image(&image_grid(&samples, 8, 2), &arguments.out)?;
    println!("wrote 64 samples to {}", arguments.out.display());
    Ok(())
}
