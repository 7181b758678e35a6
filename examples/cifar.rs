//! Small photographs in ten classes: trains a convolutional network on CIFAR-10, with images that are cropped and mirrored at
//! random as they are read.
//!
//!     cargo run --release --example cifar
//!     cargo run --release --example cifar -- --data cifar-10-batches-bin --epochs 10 --plot cifar.svg
//!     cargo run --release --example cifar -- --batch 4 --check
//!
//! CIFAR-10 has no licence to pass it on: the folder of its binary version is named by `--data`. Without it the program makes
//! small images of patterns in the same format, and trains on these.

mod mode;

use clap::Parser;
use igneous::data::{
    Cifar, CifarKind, DataLoader, Dataset, Normalize, RandomCrop, RandomHorizontalFlip, SampleRandom, Transformed,
};
use igneous::metrics::ConfusionMatrix;
use igneous::nn::{Forward, ModuleExt};
use igneous::optim::{Adam, Optimizer};
use igneous::{Result, Tensor, compile, manual_seed, no_grad};
use igneous_models::LeNet;
use igneous_train::Plot;
use mode::Mode;
use std::f64::consts::PI;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Trains a convolutional network on CIFAR-10.
#[derive(Parser)]
struct Arguments {
    /// The folder with data_batch_1.bin to data_batch_5.bin and test_batch.bin.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Passes over the training images.
    #[arg(long, default_value_t = 5)]
    epochs: usize,
    /// Images per step.
    #[arg(long, default_value_t = 128)]
    batch: usize,
    /// End each epoch after so many steps.
    #[arg(long, default_value_t = usize::MAX, hide_default_value = true)]
    steps: usize,
    /// Threads that read images.
    #[arg(long, default_value_t = 2)]
    workers: usize,
    #[command(flatten)]
    mode: Mode,
    /// Draw losses and accuracy over the epochs: a file that ends in .svg or .png.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

const CLASSES: [&str; 10] = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mode = arguments.mode;
    manual_seed(mode.seed);
    let folder = match &arguments.data {
        Some(folder) => folder.clone(),
        None => patterns()?,
    };
    let (mean, std) = ([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]);
    let train = Cifar::read(CifarKind::Ten, (1..=5).map(|i| folder.join(format!("data_batch_{i}.bin"))))?;
    let train = Transformed::new(train)
        .then(RandomCrop { size: (32, 32), padding: 4 })
        .then(RandomHorizontalFlip::default())
        .then(Normalize::new(&mean, &std));
    let train = DataLoader::new(train, arguments.batch).shuffle(mode.seed).drop_last().workers(arguments.workers);
    let test = Cifar::read(CifarKind::Ten, [folder.join("test_batch.bin")])?;
    let test = DataLoader::new(Transformed::new(test).then(Normalize::new(&mean, &std)), 500).workers(arguments.workers);
    println!("{} images to train with, {} to test with", train.dataset().len(), test.dataset().len());

    let net = LeNet::new(3, 32, 10);
    println!("{}", net.layers(&Tensor::zeros((arguments.batch, 3, 32, 32)))?);
    let adam = Adam::new(net.parameters(), 0.001)?;
    let step = compile(|x: Tensor, y: Tensor| {
        let loss = net.forward(&x).cross_entropy(&y);
        loss.backward()?;
        adam.step()?;
        Ok(loss)
    })
    .name("step");
    let predict = compile(|x: Tensor| no_grad(|| net.forward(&x).argmax(1))).name("predict");
    if mode.check {
        return mode.compare(&step, train.epoch(0).take(arguments.steps.min(20)), 1e-5);
    }

    let (mut losses, mut accuracies) = (Vec::new(), Vec::new());
    let mut counts = ConfusionMatrix::new(10);
    for epoch in 0..arguments.epochs {
        let start = Instant::now();
        let mut batches = train.epoch(epoch).progress(&format!("epoch {}", epoch + 1));
        let bar = batches.bar();
        let (mut sum, mut count) = (0.0, 0);
        for batch in batches.by_ref().take(arguments.steps) {
            sum += mode.run(&step, batch?)?.item()?;
            count += 1;
            if count % 20 == 0 {
                bar.set_message(format!("loss {:.4}", sum / f64::from(count)));
            }
        }
        let (seconds, waited) = (start.elapsed().as_secs_f64(), batches.waited().as_secs_f64());
        drop(batches);
        counts = ConfusionMatrix::new(10);
        for batch in &test {
            let (x, y) = batch?;
            counts.update(&mode.run(&predict, x)?, &y)?;
        }
        let mean = sum / f64::from(count.max(1));
        losses.push(((epoch + 1) as f64, mean));
        accuracies.push(((epoch + 1) as f64, counts.accuracy()));
        let share = 100.0 * waited / seconds;
        print!("epoch {}: loss {mean:.4}, {seconds:.1} s, of which {share:.1} % waiting for images, ", epoch + 1);
        println!("test accuracy {:.4}", counts.accuracy());
    }
    println!("\n     class  precision  recall");
    for (class, name) in CLASSES.iter().enumerate() {
        println!("{name:>10}  {:9.3}  {:6.3}", counts.precision(class), counts.recall(class));
    }
    if let Some(file) = &arguments.plot {
        let plot = Plot::new("CIFAR-10").axes("epoch", "").line("training loss", losses);
        plot.line("test accuracy", accuracies).save(file)?;
        println!("drew losses and accuracy to {}", file.display());
    }
    Ok(())
}

/// Makes 5,000 images of patterns in the format of CIFAR-10: waves of a direction and a colour for each class, in noise.
fn patterns() -> Result<PathBuf> {
    let folder = std::env::temp_dir().join("igneous-patterns-in-cifar-format");
    println!("no folder is given (--data): the images are patterns, made in {}", folder.display());
    std::fs::create_dir_all(&folder)?;
    for (i, name) in (1..=5).map(|i| format!("data_batch_{i}.bin")).chain(["test_batch.bin".to_owned()]).enumerate() {
        write_patterns(&folder.join(name), 1000 * i..1000 * (i + 1))?;
    }
    Ok(folder)
}

fn write_patterns(path: &Path, numbers: std::ops::Range<usize>) -> Result<()> {
    let mut records = Vec::new();
    for number in numbers {
        let mut random = SampleRandom::of_sample(number);
        let class = random.below(10);
        let (sin, cos) = (class as f64 * PI / 20.0).sin_cos();
        let (phase, length) = (random.uniform() * 6.0, 4.0 + 2.0 * random.uniform());
        records.push(class as u8);
        for channel in 0..3 {
            // Every class has one of three colours.
            let strength = if class % 3 == channel { 70.0 } else { 25.0 };
            for place in 0..32 * 32 {
                let along = (place % 32) as f64 * cos + (place / 32) as f64 * sin;
                let wave = (2.0 * PI * along / length + phase).sin();
                records.push((128.0 + strength * wave + 120.0 * (random.uniform() - 0.5)) as u8);
            }
        }
    }
    Ok(std::fs::write(path, records)?)
}
