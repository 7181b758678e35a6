//! Handwritten digits: trains a network on MNIST, in eager mode or compiled, and prints its accuracy.
//!
//!     cargo run --release --example mnist
//!     cargo run --release --example mnist -- --cnn
//!     cargo run --release --example mnist -- --hidden 128,64 --optimizer adam
//!     cargo run --release --example mnist -- --check
//!
//! Two other threads read the images; the last line of an epoch tells what share of the time the training waited for them.

mod mode;

use clap::{Parser, ValueEnum};
use igneous::data::{DataLoader, Dataset, Mnist};
use igneous::nn::{Conv2d, Flatten, Forward, Linear, MaxPool2d, ModuleExt, Relu, Sequential};
use igneous::optim::{Adam, Optimizer, Sgd};
use igneous::{DType, Result, Tensor, compile, manual_seed, no_grad, spec};
use igneous_train::Plot;
use mode::Mode;
use std::path::PathBuf;
use std::time::Instant;

/// Trains a network on MNIST.
#[derive(Parser)]
struct Arguments {
    /// A convolutional network (LeNet) instead of fully connected layers.
    #[arg(long)]
    cnn: bool,
    /// Widths of the hidden layers.
    #[arg(long, value_delimiter = ',', default_value = "512", conflicts_with = "cnn")]
    hidden: Vec<usize>,
    /// The optimizer: sgd, or adam with --cnn.
    #[arg(long, value_enum)]
    optimizer: Option<Algorithm>,
    /// The learning rate: 0.01 for sgd, 0.001 for adam, 0.002 with --cnn.
    #[arg(long)]
    lr: Option<f64>,
    /// Passes over the training images.
    #[arg(long, default_value_t = 5)]
    epochs: usize,
    /// Images per step.
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Threads that read images.
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Batches that each of these threads reads in advance.
    #[arg(long, default_value_t = 8)]
    prefetch: usize,
    #[command(flatten)]
    mode: Mode,
    /// Write every stage of the compilation into this folder.
    #[arg(long, value_name = "DIR")]
    dump: Option<PathBuf>,
    /// Save the trained weights as a safetensors file.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Draw the loss over the steps: a file that ends in .svg or .png.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// The folder with the four files of MNIST.
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/mnist"))]
    data: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Algorithm {
    Sgd,
    Adam,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mode = arguments.mode;
    manual_seed(mode.seed);
    let train = DataLoader::new(Mnist::train(&arguments.data)?, arguments.batch).shuffle(mode.seed);
    let train = train.workers_with(arguments.workers, arguments.prefetch);
    let test = DataLoader::new(Mnist::test(&arguments.data)?, 1000);
    let net = if arguments.cnn { lenet() } else { mlp(&arguments.hidden) };
    println!("{}", net.summary());
    let optimizer = optimizer(&net, &arguments)?;
    // One training step: what is compiled, and what eager mode runs.
    let step = compile(|x: Tensor, y: Tensor| {
        let loss = net.forward(&x).cross_entropy(&y);
        loss.backward()?;
        optimizer.step()?;
        Ok(loss)
    })
    .name("step");
    // The number of images that the network gets right.
    let correct = compile(|x: Tensor, y: Tensor| no_grad(|| net.forward(&x).argmax(1).equal(&y).to_dtype(DType::F32).sum_all()))
        .name("correct");
    if mode.check {
        return mode.compare(&step, train.epoch(0).take(200), 1e-5);
    }
    if !mode.eager {
        let start = Instant::now();
        let program = step.lower((spec(DType::F32, (arguments.batch, 1, 28, 28)), spec(DType::I64, arguments.batch)))?;
        println!("compiled the step in {:.1} ms: {} launches", start.elapsed().as_secs_f64() * 1e3, program.launches());
        if let Some(dir) = &arguments.dump {
            program.dump(dir)?;
            println!("wrote its stages to {}", dir.display());
        }
    }

    let mut losses = Vec::new();
    for epoch in 0..arguments.epochs {
        let start = Instant::now();
        let mut batches = train.epoch(epoch).progress(&format!("epoch {}", epoch + 1));
        let bar = batches.bar();
        let (mut sum, mut count) = (0.0, 0);
        for batch in &mut batches {
            sum += mode.run(&step, batch?)?.item()?;
            count += 1;
            if count % 50 == 0 {
                let mean = sum / f64::from(count);
                bar.set_message(format!("loss {mean:.4}"));
                losses.push((epoch as f64 + f64::from(count) / train.len() as f64, mean));
            }
        }
        let (seconds, waited) = (start.elapsed().as_secs_f64(), batches.waited().as_secs_f64());
        let share = 100.0 * waited / seconds;
        let mean = sum / f64::from(count.max(1));
        println!("epoch {}: loss {mean:.4}, {seconds:.2} s, of which {share:.1} % waiting for images", epoch + 1);
    }
    if let Some(file) = &arguments.plot {
        Plot::new("MNIST").axes("epoch", "loss since the beginning of the epoch").line("loss", losses).save(file)?;
        println!("drew the loss to {}", file.display());
    }
    if let Some(file) = &arguments.save {
        net.state_dict().save(file)?;
        println!("saved the weights to {}", file.display());
    }
    let mut right = 0.0;
    for batch in &test {
        right += mode.run(&correct, batch?)?.item()?;
    }
    println!("test accuracy: {:.4}", right / test.dataset().len() as f64);
    Ok(())
}

/// Fully connected layers with ReLU between them: 784, the hidden widths, 10.
fn mlp(hidden: &[usize]) -> Sequential {
    let mut net = Sequential::new().push(Flatten::new());
    let mut width = 28 * 28;
    for &next in hidden {
        net = net.push(Linear::new(width, next)).push(Relu);
        width = next;
    }
    net.push(Linear::new(width, 10))
}

/// LeNet-5 with ReLU and max-pooling. LeCun et al. 1998.
fn lenet() -> Sequential {
    Sequential::new()
        .push(Conv2d::new(1, 6, 5))
        .push(Relu)
        .push(MaxPool2d::new(2))
        .push(Conv2d::new(6, 16, 5))
        .push(Relu)
        .push(MaxPool2d::new(2))
        .push(Flatten::new())
        .push(Linear::new(16 * 4 * 4, 120))
        .push(Relu)
        .push(Linear::new(120, 84))
        .push(Relu)
        .push(Linear::new(84, 10))
}

fn optimizer(net: &Sequential, arguments: &Arguments) -> Result<Box<dyn Optimizer>> {
    let algorithm = arguments.optimizer.unwrap_or(if arguments.cnn { Algorithm::Adam } else { Algorithm::Sgd });
    Ok(match algorithm {
        Algorithm::Sgd => Box::new(Sgd::new(net.parameters(), arguments.lr.unwrap_or(0.01))?),
        Algorithm::Adam => {
            Box::new(Adam::new(net.parameters(), arguments.lr.unwrap_or(if arguments.cnn { 0.002 } else { 0.001 }))?)
        }
    })
}
