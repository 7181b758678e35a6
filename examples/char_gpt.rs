//! A small GPT reads Shakespeare character by character and writes on by itself.
//!
//!     cargo run --release --example char_gpt
//!     cargo run --release --example char_gpt -- --rotary
//!     cargo run --release --example char_gpt -- --check
//!
//! Sizes and schedule are those that nanoGPT recommends for a CPU.

use clap::Parser;
use igneous::data::{Progress, SampleRandom, read_lines};
use igneous::nn::{Forward, ModuleExt};
use igneous::optim::{AdamW, AdamWOptions, Optimizer, ParameterGroup, clip_grad_norm};
use igneous::testing::compare_with_eager;
use igneous::{Error, Result, Tensor, compile, default, manual_seed, no_grad};
use igneous_models::{Gpt, GptOptions, GptPositions};
use std::path::PathBuf;
use std::sync::Arc;
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
    /// Seed of the weights, of the texts and of the sample.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run operator by operator instead of compiling.
    #[arg(long)]
    eager: bool,
    /// Compare 20 steps in eager and compiled mode.
    #[arg(long)]
    check: bool,
    /// The file with the text.
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/tinyshakespeare/input.txt.gz"))]
    data: PathBuf,
}

/// A text as numbers of characters.
struct Corpus {
    characters: Vec<char>,
    text: Vec<i64>,
}

impl Corpus {
    fn read(path: &std::path::Path) -> Result<Corpus> {
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
    let starts = text.len().checked_sub(length).filter(|&n| n > 0).ok_or_else(|| Error::new("the text is too short"))?;
    let starts: Vec<usize> = (0..count).map(|_| random.below(starts)).collect();
    let part = |shift: usize| {
        let numbers: Vec<i64> = starts.iter().flat_map(|&start| &text[start + shift..][..length]).copied().collect();
        Tensor::from_vec(numbers, (count, length))
    };
    Ok((part(0), part(1)))
}

/// A network and its optimizer.
struct Training {
    net: Gpt,
    adam: AdamW,
}

impl Training {
    fn new(options: GptOptions) -> Result<Training> {
        let net = Gpt::new(options);
        let betas = (0.9, 0.99);
        let group = |matrices: bool, weight_decay: f64| {
            let parameters = net.parameters().into_iter().filter(|p| (p.rank() > 1) == matrices).collect();
            ParameterGroup::new(parameters, 0.001, AdamWOptions { betas, weight_decay, ..default() })
        };
        let adam = AdamW::with_groups(vec![group(true, 0.1), group(false, 0.0)])?;
        Ok(Training { net, adam })
    }

    fn loss(&self, x: &Tensor, y: &Tensor) -> Tensor {
        self.net.forward(x).flatten(0, 1).cross_entropy(&y.flatten_all())
    }

    /// One training step: what is compiled, and what eager mode runs.
    fn step(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        let loss = self.loss(x, y);
        loss.backward()?;
        clip_grad_norm(&self.net.parameters(), 1.0, 2.0)?;
        self.adam.step()?;
        Ok(loss)
    }
}

/// The learning rate: up in 100 steps, then down to a tenth along a cosine.
fn learning_rate(step: usize, steps: usize) -> f64 {
    const WARM_UP: usize = 100;
    if step < WARM_UP {
        return 0.001 * (step + 1) as f64 / (WARM_UP + 1) as f64;
    }
    let share = (step - WARM_UP) as f64 / steps.saturating_sub(WARM_UP).max(1) as f64;
    0.0001 + 0.0009 * 0.5 * (1.0 + (std::f64::consts::PI * share.min(1.0)).cos())
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    manual_seed(arguments.seed);
    let corpus = Corpus::read(&arguments.data)?;
    let (train, validation) = corpus.text.split_at(corpus.text.len() * 9 / 10);
    let positions = if arguments.rotary { GptPositions::Rotary } else { GptPositions::Learned };
    let options = GptOptions { positions, ..GptOptions::characters(corpus.characters.len()) };
    let length = options.context;
    let training = Arc::new(Training::new(options)?);
    println!(
        "{} characters, {} different ones; {} parameters",
        corpus.text.len(),
        corpus.characters.len(),
        training.net.parameter_count()
    );
    let (own, other) = (training.clone(), training.clone());
    let step = compile(move |x: Tensor, y: Tensor| own.step(&x, &y)).name("step");
    let loss = compile(move |x: Tensor, y: Tensor| no_grad(|| other.loss(&x, &y))).name("loss");
    let mut random = SampleRandom::of_sample(arguments.seed as usize);

    if arguments.check {
        let mut largest = 0.0f64;
        for _ in 0..20 {
            largest = largest.max(compare_with_eager(&step, batch(train, arguments.batch, length, &mut random)?, 1e-4)?);
        }
        println!("eager and compiled agree: max relative difference {largest:.1e}");
        return Ok(());
    }

    let evaluate = || -> Result<f64> {
        let (mut sum, mut random) = (0.0, SampleRandom::of_sample(0));
        for _ in 0..40 {
            let (x, y) = batch(validation, arguments.batch, length, &mut random)?;
            sum += if arguments.eager { no_grad(|| training.loss(&x, &y)).item()? } else { loss.run((x, y))?.item()? };
        }
        Ok(sum / 40.0)
    };
    let start = Instant::now();
    let progress = Progress::new(0..arguments.steps, "training");
    let bar = progress.bar();
    for k in progress {
        training.adam.set_lr(learning_rate(k, arguments.steps))?;
        let (x, y) = batch(train, arguments.batch, length, &mut random)?;
        let loss = if arguments.eager { training.step(&x, &y)? } else { step.run((x, y))? };
        if k % 20 == 0 {
            bar.set_message(format!("loss {:.3}", loss.item()?));
        }
        if (k + 1) % 500 == 0 {
            let validated = evaluate()?;
            bar.suspend(|| println!("step {:5}: validation loss {validated:.3}", k + 1));
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{} steps in {seconds:.1} s; validation loss {:.3}\n", arguments.steps, evaluate()?);
    println!("{}", sample(&training, &corpus, &arguments, length, &mut random)?);
    Ok(())
}

/// What the network writes.
fn sample(
    training: &Arc<Training>,
    corpus: &Corpus,
    arguments: &Arguments,
    length: usize,
    random: &mut SampleRandom,
) -> Result<String> {
    let own = training.clone();
    // One program for all positions: the texts have one length, and the place of the last character is an argument.
    let next = compile(move |text: Tensor, last: Tensor| no_grad(|| own.net.next(&text, &last))).name("next");
    let newline = corpus.characters.binary_search(&'\n').unwrap_or(0) as i64;
    let mut written = vec![newline];
    for _ in 0..arguments.sample {
        let seen = &written[written.len().saturating_sub(length)..];
        let mut window = seen.to_vec();
        window.resize(length, newline);
        let (text, last) = (Tensor::from_vec(window, (1, length)), Tensor::scalar(seen.len() as i64 - 1));
        let scores = if arguments.eager { no_grad(|| training.net.next(&text, &last)) } else { next.run((text, last))? };
        let likely = (scores / arguments.temperature).softmax(-1).to_f64_vec()?;
        let mut left = random.uniform();
        let chosen = likely.iter().position(|p| {
            left -= p;
            left < 0.0
        });
        written.push(chosen.unwrap_or(likely.len() - 1) as i64);
    }
    Ok(written.iter().filter_map(|&i| corpus.characters.get(i as usize)).collect())
}
