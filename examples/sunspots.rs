//! The number of sunspots next month: an LSTM reads the three years before, and predicts what comes.
//!
//!     cargo run --release --example sunspots -- --plot sunspots.svg
//!     cargo run --release --example sunspots -- --check

use clap::Parser;
use igneous::data::{CsvOptions, DataLoader, Dataset, read_csv};
use igneous::nn::{Forward, Linear, Lstm, LstmOptions, Module, ModuleExt};
use igneous::optim::{Adam, CosineAnnealingLr, Optimizer, Scheduler};
use igneous::testing::compare_with_eager;
use igneous::{DType, Device, Error, Result, Tensor, compile, default, manual_seed, no_grad, spec};
use igneous_train::Plot;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// Predicts monthly numbers of sunspots.
#[derive(Parser)]
struct Arguments {
    /// Months that the network sees.
    #[arg(long, default_value_t = 36)]
    window: usize,
    /// Width of the state.
    #[arg(long, default_value_t = 32)]
    hidden: usize,
    /// Passes over the months to train with.
    #[arg(long, default_value_t = 40)]
    epochs: usize,
    /// Seed of the weights and of the order.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run operator by operator instead of compiling.
    #[arg(long)]
    eager: bool,
    /// Compare an epoch in eager and compiled mode.
    #[arg(long)]
    check: bool,
    /// Where to train.
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// Draw predictions beside what was counted: a file that ends in .svg or .png.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// The table with a column `Sunspots`.
    #[arg(long, value_name = "FILE")]
    #[arg(default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/timeseries/monthly-sunspots.csv.gz"))]
    data: PathBuf,
}

/// Windows of a series, and the number behind each.
struct Windows {
    series: Vec<f32>,
    width: usize,
}

impl Dataset for Windows {
    type Sample = (Tensor, f32);

    fn len(&self) -> usize {
        self.series.len().saturating_sub(self.width)
    }

    fn get(&self, index: usize) -> Result<(Tensor, f32)> {
        match self.series.get(index..index + self.width + 1) {
            Some([window @ .., next]) => Ok((Tensor::from_slice(window, (self.width, 1)), *next)),
            _ => Err(Error::new(format!("the series has no window {index}"))),
        }
    }
}

/// Reads a window, month by month, and predicts how far the next month is from the last.
#[derive(Module)]
struct Forecaster {
    lstm: Lstm,
    head: Linear,
}

impl Forecaster {
    fn forward(&self, windows: &Tensor) -> Tensor {
        let (_, (h, _)) = self.lstm.forward(windows, None);
        windows.i((.., -1, 0)) + self.head.forward(&h.i(-1)).squeeze(1)
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    manual_seed(arguments.seed);
    let table = read_csv(&arguments.data, CsvOptions::default())?;
    let counted = table.numbers(&["Sunspots"])?.to_vec::<f32>()?;
    // The last fifth is what the network has to predict. Square roots, because large numbers vary more than small ones.
    let cut = counted.len() * 4 / 5;
    let roots: Vec<f32> = counted.iter().map(|n| n.max(0.0).sqrt() / 10.0).collect();
    let width = arguments.window;
    let train = DataLoader::new(Windows { series: roots[..cut].to_vec(), width }, 32).shuffle(arguments.seed).drop_last();
    let test = DataLoader::new(Windows { series: roots[cut.saturating_sub(width)..].to_vec(), width }, usize::MAX);

    let lstm = Lstm::with(1, arguments.hidden, LstmOptions { batch_first: true, ..default() });
    let net = Arc::new(Forecaster { lstm, head: Linear::new(arguments.hidden, 1) });
    println!("{}", net.summary());
    let adam = Arc::new(Adam::new(net.parameters(), 0.005)?);
    let scheduler = Scheduler::new(&*adam, CosineAnnealingLr::new(arguments.epochs as u64))?;
    let step = {
        let (net, adam) = (net.clone(), adam.clone());
        move |windows: Tensor, next: Tensor| {
            let loss = net.forward(&windows).mse_loss(&next);
            loss.backward()?;
            adam.step()?;
            Ok(loss)
        }
    };
    let compiled = compile(step.clone()).name("step");
    if arguments.check {
        let mut largest = 0.0f64;
        for batch in &train {
            largest = largest.max(compare_with_eager(&compiled, batch?, 1e-5)?);
        }
        println!("eager and compiled agree: max relative difference {largest:.1e}");
        return Ok(());
    }
    let start = Instant::now();
    if !arguments.eager {
        let program = compiled.lower((spec(DType::F32, (32, width, 1)), spec(DType::F32, 32)))?;
        println!("compiled the step in {:.1} ms: {} launches", start.elapsed().as_secs_f64() * 1e3, program.launches());
    }
    for epoch in 0..arguments.epochs {
        let (mut sum, mut count) = (0.0, 0);
        for batch in train.epoch(epoch).progress(&format!("epoch {}", epoch + 1)) {
            let (windows, next) = batch?;
            let (windows, next) = (windows.to(arguments.device), next.to(arguments.device));
            let loss = if arguments.eager { step(windows, next)? } else { compiled.run((windows, next))? };
            sum += loss.item()?;
            count += 1;
        }
        scheduler.step()?;
        if (epoch + 1) % 10 == 0 || epoch + 1 == arguments.epochs {
            let seconds = start.elapsed().as_secs_f64();
            println!("epoch {}: loss {:.5}, {seconds:.1} s since the start", epoch + 1, sum / f64::from(count.max(1)));
        }
    }

    let mut predicted: Vec<f32> = Vec::new();
    for batch in &test {
        let (windows, _) = batch?;
        predicted.extend(no_grad(|| net.forward(&windows.to(arguments.device))).to_vec::<f32>()?);
    }
    let squared: Vec<f32> = predicted.iter().map(|p| (10.0 * p.max(0.0)).powi(2)).collect();
    let truth = &counted[cut..];
    let rmse = |guess: &dyn Fn(usize) -> f32| {
        let sum: f64 = truth.iter().enumerate().map(|(i, t)| f64::from(t - guess(i)).powi(2)).sum();
        (sum / truth.len() as f64).sqrt()
    };
    println!("\nroot of the mean squared error, {} months", truth.len());
    println!("  as in the month before   {:6.2}", rmse(&|i| counted[cut + i - 1]));
    println!("  mean of half a year      {:6.2}", rmse(&|i| counted[cut + i - 6..cut + i].iter().sum::<f32>() / 6.0));
    println!("  LSTM                     {:6.2}", rmse(&|i| squared[i]));
    if let Some(file) = &arguments.plot {
        let years = |i: usize| 1749.0 + (cut + i) as f64 / 12.0;
        let points = |values: &[f32]| values.iter().enumerate().map(|(i, &v)| (years(i), f64::from(v))).collect::<Vec<_>>();
        let plot = Plot::new("Monthly numbers of sunspots").axes("year", "sunspots");
        plot.line("counted", points(truth)).line("predicted a month before", points(&squared)).save(file)?;
        println!("drew them to {}", file.display());
    }
    Ok(())
}
