//! From English to French: trains a network on pairs of short sentences, and translates sentences that it has not seen.
//!
//!     cargo run --release --example translate
//!     cargo run --release --example translate -- --model transformer
//!     cargo run --release --example translate -- --check
//!
//! `data.rs` reads the pairs, `model.rs` has the two networks, `search.rs` finds a probable translation, word by word.

mod data;
mod model;
mod search;

use clap::{Parser, ValueEnum};
use data::Pairs;
use igneous::data::DataLoader;
use igneous::metrics::bleu;
use igneous::nn::ModuleExt;
use igneous::optim::{Adam, Optimizer, clip_grad_norm};
use igneous::testing::compare_with_eager;
use igneous::{Device, Result, Tensor, compile, manual_seed, no_grad};
use model::{Attentive, Recurrent, Translator};
use search::{Continuations, translate};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// Trains a network that translates English into French.
#[derive(Parser)]
struct Arguments {
    /// The network.
    #[arg(long, value_enum, default_value = "gru")]
    model: Kind,
    /// Passes over the training pairs.
    #[arg(long, default_value_t = 15)]
    epochs: usize,
    /// Pairs per step.
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// End each epoch after so many steps.
    #[arg(long, default_value_t = usize::MAX, hide_default_value = true)]
    steps: usize,
    /// How many beginnings of a translation the wider search keeps.
    #[arg(long, default_value_t = 5)]
    beams: usize,
    /// Seed of the weights, of the split and of the order of the pairs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run operator by operator instead of compiling.
    #[arg(long)]
    eager: bool,
    /// Compare 20 steps, or `--steps`, in eager and compiled mode.
    #[arg(long)]
    check: bool,
    /// Where to train.
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// The file with the pairs.
    #[arg(long, value_name = "FILE")]
    #[arg(default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/eng-fra/eng-fra.txt.gz"))]
    data: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// Recurrent units with attention.
    Gru,
    /// Attention only.
    Transformer,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    manual_seed(arguments.seed);
    let pairs = Arc::new(Pairs::read(&arguments.data, arguments.seed)?);
    let (english, french) = (pairs.english.len(), pairs.french.len());
    println!("{} pairs to train with, {} sentences to translate", pairs.train.len(), pairs.test.len());
    println!("{english} English and {french} French words");
    let net: Arc<dyn Translator> = match arguments.model {
        Kind::Gru => Arc::new(Recurrent::new(english, french)),
        Kind::Transformer => Arc::new(Attentive::new(english, french)),
    };
    println!("{}", net.summary());
    let adam = Arc::new(Adam::new(net.parameters(), 0.001)?);
    let step = {
        let net = net.clone();
        move |source: Tensor, reads: Tensor, says: Tensor| {
            let loss = net.loss(&source, &reads, &says)?;
            loss.backward()?;
            clip_grad_norm(&net.parameters(), 1.0, 2.0)?;
            adam.step()?;
            Ok(loss)
        }
    };
    let compiled = compile(step.clone()).name("step");
    let train = DataLoader::new(pairs.clone(), arguments.batch).shuffle(arguments.seed).drop_last().workers(1);
    if arguments.check {
        let mut largest = 0.0f64;
        for batch in train.epoch(0).take(arguments.steps.min(20)) {
            largest = largest.max(compare_with_eager(&compiled, batch?, 1e-4)?);
        }
        println!("eager and compiled agree: max relative difference {largest:.1e}");
        return Ok(());
    }
    let start = Instant::now();
    for epoch in 0..arguments.epochs {
        let batches = train.epoch(epoch).progress(&format!("epoch {}", epoch + 1));
        let bar = batches.bar();
        let (mut sum, mut count) = (0.0, 0);
        for batch in batches.take(arguments.steps) {
            let (source, reads, says) = batch?;
            let device = arguments.device;
            let batch = (source.to(device), reads.to(device), says.to(device));
            let loss = if arguments.eager { step(batch.0, batch.1, batch.2)? } else { compiled.run(batch)? };
            sum += loss.item()?;
            count += 1;
            bar.set_message(format!("loss {:.3}", sum / f64::from(count)));
        }
        if (epoch + 1) % 5 == 0 || epoch + 1 == arguments.epochs {
            let seconds = start.elapsed().as_secs_f64();
            println!("epoch {}: loss {:.4}, {seconds:.1} s since the start", epoch + 1, sum / f64::from(count.max(1)));
        }
    }
    net.eval();
    evaluate(&net, &pairs, &arguments)
}

/// Translates all sentences of the test by both searches.
fn evaluate(net: &Arc<dyn Translator>, pairs: &Pairs, arguments: &Arguments) -> Result<()> {
    let sentences: Vec<&[i64]> = pairs.test.iter().map(|test| &test.source[..]).collect();
    let sources = pairs.sources(&sentences).to(arguments.device);
    let references: Vec<Vec<Vec<String>>> = pairs.test.iter().map(|test| test.references.clone()).collect();
    let mut translations = Vec::new();
    for (name, beams) in [("greedy search", 1), ("beam search", arguments.beams.max(1))] {
        let own = net.clone();
        // What the network would say after the token at a position.
        let next = move |source: Tensor, begun: Tensor, position: Tensor| {
            no_grad(|| {
                let state = own.states(&source, &begun)?.index_select(1, &position).squeeze(1);
                Ok(own.scores(&state).log_softmax(-1).topk(beams, -1))
            })
        };
        let compiled = compile(next.clone()).name("next");
        let start = Instant::now();
        let found = translate(&sources, beams, pairs.longest.1, |source, begun, position| {
            let inputs = (source.clone(), begun.clone(), Tensor::new([position as i64]));
            let (scores, tokens) = if arguments.eager { next(inputs.0, inputs.1, inputs.2)? } else { compiled.run(inputs)? };
            Ok(Continuations { scores, tokens })
        })?;
        let seconds = start.elapsed().as_secs_f64();
        let texts = found.iter().map(|numbers| Ok(pairs.french.decode(numbers)?.into_iter().map(str::to_owned).collect()));
        let texts: Vec<Vec<String>> = texts.collect::<Result<_>>()?;
        let known = texts.iter().zip(&references).filter(|(text, references)| references.contains(text)).count();
        let score = 100.0 * bleu(&texts, &references, 4)?;
        println!("{name}: BLEU {score:.1}, {known} of {} as a translator wrote, {seconds:.1} s", texts.len());
        translations.push(texts);
    }
    println!();
    for (i, test) in pairs.test.iter().enumerate().take(12) {
        let [greedy, beam] = [0, 1].map(|k| translations[k][i].join(" "));
        println!("{:<22} {greedy:<28} {beam:<28} {}", test.text, test.references[0].join(" "));
    }
    Ok(())
}
