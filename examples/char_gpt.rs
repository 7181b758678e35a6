//! A small GPT reads Shakespeare character by character and writes on by itself.
//!
//!     cargo run --release --example char_gpt
//!     cargo run --release --example char_gpt -- --rotary --plot loss.svg
//!     cargo run --release --example char_gpt -- --check
//!
//! Sizes and schedule are those that nanoGPT recommends for a CPU.

mod mode;

use clap::Parser;
use igneous::data::{Progress, SampleRandom, read_lines};
use igneous::nn::{Forward, ModuleExt};
use igneous::optim::{AdamW, AdamWOptions, Optimizer, ParameterGroup, clip_grad_norm};
use igneous::{Error, Result, Tensor, compile, default, manual_seed, no_grad};
use igneous_models::{Gpt, GptOptions, GptPositions};
use igneous_train::Plot;
use mode::Mode;
use std::f64::consts::PI;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Trains a small GPT on Tiny Shakespeare and samples from it.
#[derive(Parser)]
struct Arguments {
    /// Rotary positions instead of learned ones.
    #[arg(long)]
    rotary: bool,
    /// Training steps.
    #[arg(long, default_value_t = 2000)]
    steps: usize,
    /// Texts per step.
    #[arg(long, default_value_t = 12)]
    batch: usize,
    /// Characters to write at the end.
    #[arg(long, default_value_t = 400)]
    sample: usize,
    /// Below 1, likely characters become likelier.
    #[arg(long, default_value_t = 0.8)]
    temperature: f64,
    #[command(flatten)]
    mode: Mode,
    /// Draw the losses over the steps: a file that ends in .svg or .png.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// The file with the text.
    #[arg(long, value_name = "FILE")]
    #[arg(default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/tinyshakespeare/input.txt.gz"))]
    data: PathBuf,
}

/// A text as numbers of characters.
struct Corpus {
    characters: Vec<char>,
    text: Vec<i64>,
}

impl Corpus {
    fn read(path: &Path) -> Result<Corpus> {
        let text: String = read_lines(path)?.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        let mut characters: Vec<char> = text.chars().collect();
        characters.sort_unstable();
        characters.dedup();
        let text = text.chars().filter_map(|c| characters.binary_search(&c).ok()).map(|i| i as i64).collect();
        Ok(Corpus { characters, text })
    }
}

/// Texts `[count, length]` from anywhere, and what follows each of their characters.
fn batch(text: &[i64], count: usize, length: usize, random: &mut SampleRandom) -> Result<(Tensor, Tensor)> {
    let places = text.len().checked_sub(length).filter(|&n| n > 0);
    let places = places.ok_or_else(|| Error::new(format!("a part of {} characters is too short for {length}", text.len())))?;
    let starts: Vec<usize> = (0..count).map(|_| random.below(places)).collect();
    let part = |shift: usize| {
        let numbers: Vec<i64> = starts.iter().flat_map(|&start| &text[start + shift..][..length]).copied().collect();
        Tensor::from_vec(numbers, (count, length))
    };
    Ok((part(0), part(1)))
}

/// AdamW, which makes matrices smaller and leaves vectors alone.
fn optimizer(net: &Gpt) -> Result<AdamW> {
    let group = |matrices: bool, weight_decay: f64| {
        let parameters = net.parameters().into_iter().filter(|p| (p.rank() > 1) == matrices).collect();
        ParameterGroup::new(parameters, 0.001, AdamWOptions { betas: (0.9, 0.99), weight_decay, ..default() })
    };
    AdamW::with_groups(vec![group(true, 0.1), group(false, 0.0)])
}

/// The learning rate: up in 100 steps, then down to a tenth along a cosine.
fn learning_rate(step: usize, steps: usize) -> f64 {
    const WARM_UP: usize = 100;
    if step < WARM_UP {
        return 0.001 * (step + 1) as f64 / (WARM_UP + 1) as f64;
    }
    let share = (step - WARM_UP) as f64 / steps.saturating_sub(WARM_UP).max(1) as f64;
    0.0001 + 0.0009 * 0.5 * (1.0 + (PI * share).cos())
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mode = arguments.mode;
    if arguments.temperature.is_nan() || arguments.temperature <= 0.0 {
        return Err(Error::new(format!("--temperature is {}: it has to be above 0", arguments.temperature)));
    }
    manual_seed(mode.seed);
    let corpus = Corpus::read(&arguments.data)?;
    let (train, validation) = corpus.text.split_at(corpus.text.len() * 9 / 10);
    let positions = if arguments.rotary { GptPositions::Rotary } else { GptPositions::Learned };
    let options = GptOptions { positions, ..GptOptions::characters(corpus.characters.len()) };
    let length = options.context;
    let net = Gpt::new(options);
    println!(
        "{} characters, {} different ones; {} parameters",
        corpus.text.len(),
        corpus.characters.len(),
        net.parameter_count()
    );
    let adam = optimizer(&net)?;
    let loss = |x: &Tensor, y: &Tensor| net.forward(x).flatten(0, 1).cross_entropy(&y.flatten_all());
    let step = compile(|x: Tensor, y: Tensor| {
        let loss = loss(&x, &y);
        loss.backward()?;
        clip_grad_norm(&net.parameters(), 1.0, 2.0)?;
        adam.step()?;
        Ok(loss)
    })
    .name("step");
    let evaluate = compile(|x: Tensor, y: Tensor| no_grad(|| loss(&x, &y))).name("evaluate");
    let mut random = SampleRandom::of_sample(mode.seed as usize);
    let mut next_batch = || batch(train, arguments.batch, length, &mut random);
    if mode.check {
        return mode.compare(&step, (0..arguments.steps.min(20)).map(|_| next_batch()), 1e-4);
    }

    let validate = || -> Result<f64> {
        const BATCHES: usize = 40;
        let mut random = SampleRandom::of_sample(0);
        let mut sum = 0.0;
        for _ in 0..BATCHES {
            sum += mode.run(&evaluate, batch(validation, arguments.batch, length, &mut random)?)?.item()?;
        }
        Ok(sum / BATCHES as f64)
    };
    let start = Instant::now();
    let progress = Progress::new(0..arguments.steps, "training");
    let bar = progress.bar();
    let (mut losses, mut validated) = (Vec::new(), Vec::new());
    println!(" step  validation loss     time");
    for k in progress {
        adam.set_lr(learning_rate(k, arguments.steps))?;
        let loss = mode.run(&step, next_batch()?)?;
        if k % 20 == 0 {
            losses.push((k as f64, loss.item()?));
            bar.set_message(format!("loss {:.3}", loss.item()?));
        }
        if (k + 1) % 500 == 0 || k + 1 == arguments.steps {
            validated.push(((k + 1) as f64, validate()?));
            let (_, loss) = validated[validated.len() - 1];
            bar.suspend(|| println!("{:5}  {loss:15.3}  {:5.1} s", k + 1, start.elapsed().as_secs_f64()));
        }
    }
    if let Some(file) = &arguments.plot {
        let plot = Plot::new("A GPT learns Shakespeare").axes("step", "loss of a character");
        plot.line("training", losses).line("validation", validated).save(file)?;
        println!("drew the losses to {}", file.display());
    }

    // One program for all positions: the texts have one length, and the place of the last character is an argument.
    let next = compile(|text: Tensor, last: Tensor| {
        no_grad(|| (net.next(&text, &last) / arguments.temperature).softmax(-1).multinomial(1))
    })
    .name("next");
    let newline = corpus.characters.binary_search(&'\n').unwrap_or(0) as i64;
    let mut written = vec![newline];
    for _ in 0..arguments.sample {
        let seen = &written[written.len().saturating_sub(length)..];
        let last = Tensor::scalar(seen.len() as i64 - 1);
        let mut text = seen.to_vec();
        text.resize(length, newline);
        written.push(mode.run(&next, (Tensor::from_vec(text, (1, length)), last))?.item()? as i64);
    }
    println!("{}", written.iter().filter_map(|&i| corpus.characters.get(i as usize)).collect::<String>());
    Ok(())
}
