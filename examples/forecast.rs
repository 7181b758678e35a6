//! What comes next: an LSTM reads the last values of a series, sunspots month by month or temperatures day by day, and predicts the
//! next one.
//!
//!     cargo run --release --example forecast -- --plot sunspots.svg
//!     cargo run --release --example forecast -- --series temperatures
//!     cargo run --release --example forecast -- --check

mod mode;

use clap::{Parser, ValueEnum};
use igneous::data::{CsvOptions, DataLoader, Dataset, read_csv};
use igneous::nn::{Forward, Linear, Lstm, LstmOptions, Module, ModuleExt};
use igneous::optim::{Adam, CosineAnnealingLr, Optimizer, Scheduler};
use igneous::{Error, Result, Tensor, compile, default, manual_seed, no_grad};
use igneous_train::Plot;
use mode::Mode;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Predicts the next value of a series.
#[derive(Parser)]
struct Arguments {
    /// The series.
    #[arg(long, value_enum, default_value = "sunspots")]
    series: Series,
    /// Values that the network sees.
    #[arg(long, default_value_t = 36)]
    window: usize,
    /// Width of the state.
    #[arg(long, default_value_t = 32)]
    hidden: usize,
    /// Passes over the values to train with.
    #[arg(long, default_value_t = 40)]
    epochs: usize,
    #[command(flatten)]
    mode: Mode,
    /// Draw predictions beside what was measured: a file that ends in .svg or .png.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Another table with the series, in a column `Sunspots` or `Temp`.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Series {
    /// Monthly numbers of sunspots, 1749 to 1983.
    Sunspots,
    /// The lowest temperature of each day in Melbourne, 1981 to 1990, in °C.
    Temperatures,
}

impl Series {
    fn read(self, file: Option<&Path>) -> Result<Vec<f32>> {
        let (name, column) = match self {
            Series::Sunspots => ("monthly-sunspots.csv.gz", "Sunspots"),
            Series::Temperatures => ("daily-min-temperatures.csv.gz", "Temp"),
        };
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/timeseries").join(name);
        read_csv(file.unwrap_or(&own), CsvOptions::default())?.numbers(&[column])?.to_vec()
    }

    /// A value as the network sees it, of order one. Of sunspots it sees square roots, because large numbers vary more than small
    /// ones.
    fn scaled(self, value: f32) -> f32 {
        match self {
            Series::Sunspots => value.max(0.0).sqrt() / 10.0,
            Series::Temperatures => value / 10.0 - 1.0,
        }
    }

    /// The value that the network sees so.
    fn unscaled(self, scaled: f32) -> f32 {
        match self {
            Series::Sunspots => (10.0 * scaled.max(0.0)).powi(2),
            Series::Temperatures => 10.0 * (scaled + 1.0),
        }
    }

    /// The time of a value, in years.
    fn year(self, index: usize) -> f64 {
        match self {
            Series::Sunspots => 1749.0 + index as f64 / 12.0,
            Series::Temperatures => 1981.0 + index as f64 / 365.0,
        }
    }
}

/// Windows of a series, and the value behind each.
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

/// Reads a window, value by value, and predicts how far the next one is from the last.
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
    let (mode, series, width) = (arguments.mode, arguments.series, arguments.window);
    manual_seed(mode.seed);
    let values = series.read(arguments.data.as_deref())?;
    // The last fifth is what the network has to predict.
    let cut = values.len() * 4 / 5;
    if width == 0 || width >= cut {
        return Err(Error::new(format!(
            "--window is {width}: it needs at least 1, and less than the {cut} values to train with"
        )));
    }
    let scaled: Vec<f32> = values.iter().map(|&value| series.scaled(value)).collect();
    let train = DataLoader::new(Windows { series: scaled[..cut].to_vec(), width }, 32).shuffle(mode.seed).drop_last();
    let test = DataLoader::new(Windows { series: scaled[cut - width..].to_vec(), width }, values.len());

    let lstm = Lstm::with(1, arguments.hidden, LstmOptions { batch_first: true, ..default() });
    let net = Forecaster { lstm, head: Linear::new(arguments.hidden, 1) };
    println!("{}", net.summary());
    let adam = Adam::new(net.parameters(), 0.005)?;
    let scheduler = Scheduler::new(&adam, CosineAnnealingLr::new(arguments.epochs as u64))?;
    let step = compile(|windows: Tensor, next: Tensor| {
        let loss = net.forward(&windows).mse_loss(&next);
        loss.backward()?;
        adam.step()?;
        Ok(loss)
    })
    .name("step");
    let predict = compile(|windows: Tensor| no_grad(|| net.forward(&windows))).name("predict");
    if mode.check {
        return mode.compare(&step, train.epoch(0), 1e-5);
    }
    let start = Instant::now();
    for epoch in 0..arguments.epochs {
        let (mut sum, mut count) = (0.0, 0);
        for batch in train.epoch(epoch).progress(&format!("epoch {}", epoch + 1)) {
            sum += mode.run(&step, batch?)?.item()?;
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
        let found = mode.run(&predict, batch?.0)?.to_vec::<f32>()?;
        predicted.extend(found.into_iter().map(|value| series.unscaled(value)));
    }
    let truth = &values[cut..];
    let rmse = |guess: &dyn Fn(usize) -> f32| {
        let sum: f64 = truth.iter().enumerate().map(|(i, t)| f64::from(t - guess(i)).powi(2)).sum();
        (sum / truth.len() as f64).sqrt()
    };
    println!("\nroot of the mean squared error, {} values", truth.len());
    println!("  as the value before      {:6.2}", rmse(&|i| values[cut + i - 1]));
    println!("  mean of those in sight   {:6.2}", rmse(&|i| values[cut + i - width..cut + i].iter().sum::<f32>() / width as f32));
    println!("  LSTM                     {:6.2}", rmse(&|i| predicted[i]));
    if let Some(file) = &arguments.plot {
        let points = |values: &[f32]| -> Vec<(f64, f64)> {
            values.iter().enumerate().map(|(i, &value)| (series.year(cut + i), f64::from(value))).collect()
        };
        let plot = Plot::new("What was measured, and predicted one step before").axes("year", "");
        plot.line("measured", points(truth)).line("predicted", points(&predicted)).save(file)?;
        println!("drew them to {}", file.display());
    }
    Ok(())
}
