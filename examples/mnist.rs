//! Handwritten digits: trains a network on MNIST, in eager mode or compiled, and prints its accuracy.
//!
//!     cargo run --release --example mnist
//!     cargo run --release --example mnist -- --cnn
//!     cargo run --release --example mnist -- --hidden 128,64 --optimizer adam
//!     cargo run --release --example mnist -- --check
//!
//! Two other threads read the images; the last line of an epoch tells what share of the time the training waited for them.

use clap::{Parser, ValueEnum};
use igneous::data::{DataLoader, Dataset, Mnist};
use igneous::nn::{Conv2d, Flatten, Forward, Linear, MaxPool2d, ModuleExt, Relu, Sequential};
use igneous::optim::{Adam, Optimizer, Sgd};
use igneous::testing::compare_with_eager;
use igneous::{DType, Device, Error, Result, Tensor, compile, manual_seed, no_grad, spec};
use igneous_train::Plot;
use std::path::PathBuf;
use std::sync::Arc;
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
    /// Seed of the weights and of the order of the images.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads that read images.
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Batches that each of these threads reads in advance.
    #[arg(long, default_value_t = 8)]
    prefetch: usize,
    /// Where to train.
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// Run operator by operator instead of compiling.
    #[arg(long)]
    eager: bool,
    /// Compare 200 steps in eager and compiled mode.
    #[arg(long)]
    check: bool,
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
    manual_seed(arguments.seed);
    let training = Training::new(&arguments)?;
    if arguments.check { training.check(&arguments) } else { training.run(&arguments) }
}

/// A network and its optimizer; clones share both.
#[derive(Clone)]
struct Training {
    net: Sequential,
    algorithm: Algorithm,
    optimizer: Arc<dyn Optimizer>,
}

impl Training {
    fn new(arguments: &Arguments) -> Result<Training> {
        let net = if arguments.cnn { lenet() } else { mlp(&arguments.hidden) };
        let (sgd_lr, adam_lr) = (0.01, if arguments.cnn { 0.002 } else { 0.001 });
        let default = if arguments.cnn { Algorithm::Adam } else { Algorithm::Sgd };
        let algorithm = arguments.optimizer.unwrap_or(default);
        let optimizer: Arc<dyn Optimizer> = match algorithm {
            Algorithm::Sgd => Arc::new(Sgd::new(net.parameters(), arguments.lr.unwrap_or(sgd_lr))?),
            Algorithm::Adam => Arc::new(Adam::new(net.parameters(), arguments.lr.unwrap_or(adam_lr))?),
        };
        Ok(Training { net, algorithm, optimizer })
    }

    /// One training step: what is compiled, and what eager mode runs.
    fn step(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        let loss = self.net.forward(x).cross_entropy(y);
        loss.backward()?;
        self.optimizer.step()?;
        Ok(loss)
    }

    /// The number of images that the network gets right.
    fn correct(&self, x: &Tensor, y: &Tensor) -> Tensor {
        no_grad(|| self.net.forward(x).argmax(1).equal(y).to_dtype(DType::F32).sum_all())
    }

    fn run(&self, arguments: &Arguments) -> Result<()> {
        let train = DataLoader::new(Mnist::train(&arguments.data)?, arguments.batch).shuffle(arguments.seed);
        let train = train.workers_with(arguments.workers, arguments.prefetch);
        let test = DataLoader::new(Mnist::test(&arguments.data)?, 1000);
        println!("{}", self.net.summary());
        let (own, other) = (self.clone(), self.clone());
        let step = compile(move |x: Tensor, y: Tensor| own.step(&x, &y)).name("step");
        let correct = compile(move |x: Tensor, y: Tensor| other.correct(&x, &y)).name("correct");
        if !arguments.eager {
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
                let (x, y) = batch?;
                let (x, y) = (x.to(arguments.device), y.to(arguments.device));
                let loss = if arguments.eager { self.step(&x, &y)? } else { step.run((x, y))? };
                sum += loss.item()?;
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
        let mut right = 0.0;
        for batch in &test {
            let (x, y) = batch?;
            let (x, y) = (x.to(arguments.device), y.to(arguments.device));
            right += if arguments.eager { self.correct(&x, &y).item()? } else { correct.run((x, y))?.item()? };
        }
        if let Some(file) = &arguments.save {
            self.net.state_dict().save(file)?;
            println!("saved the weights to {}", file.display());
        }
        println!("test accuracy: {:.4}", right / test.dataset().len() as f64);
        Ok(())
    }

    /// Compares the modes over the first 200 steps: with SGD the losses of two runs from equal weights, with Adam everything
    /// that each step changes, from equal states. For Adam divides a gradient near zero by its own size, so that whole runs
    /// drift apart by rounding alone.
    fn check(&self, arguments: &Arguments) -> Result<()> {
        const TOLERANCE: f64 = 1e-5;
        let copy = Training::new(arguments)?;
        copy.net.load_state_dict(&self.net.state_dict())?;
        let own = self.clone();
        let step = compile(move |x: Tensor, y: Tensor| own.step(&x, &y)).name("step");
        let train = DataLoader::new(Mnist::train(&arguments.data)?, arguments.batch).shuffle(arguments.seed);
        let mut largest = 0.0f64;
        for batch in train.epoch(0).take(200) {
            let (x, y) = batch?;
            let difference = match self.algorithm {
                Algorithm::Sgd => {
                    let eager = copy.step(&x, &y)?.item()?;
                    let compiled = step.run((x, y))?.item()?;
                    (eager - compiled).abs() / eager.abs()
                }
                Algorithm::Adam => compare_with_eager(&step, (x, y), TOLERANCE)?,
            };
            if difference.is_nan() || difference > TOLERANCE {
                return Err(Error::new(format!("eager and compiled differ: relative difference {difference:.1e}")));
            }
            largest = largest.max(difference);
        }
        println!("eager and compiled agree: max relative difference {largest:.1e}");
        Ok(())
    }
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
