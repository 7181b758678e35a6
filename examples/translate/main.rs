//! From English to French: trains a network on pairs of short sentences, and translates sentences that it has not seen.
//!
//!     cargo run --release --example translate
//!     cargo run --release --example translate -- --model transformer
//!     cargo run --release --example translate -- --check
//!
//! `data.rs` reads the pairs, `model.rs` has the two networks, `search.rs` finds a probable translation, word by word.

mod data;
#[path = "../mode/mod.rs"]
mod mode;
mod model;
mod search;

use clap::{Parser, ValueEnum};
use data::Pairs;
use igneous::data::DataLoader;
use igneous::metrics::bleu;
use igneous::nn::ModuleExt;
use igneous::optim::{Adam, Optimizer, clip_grad_norm};
use igneous::{Result, Tensor, compile, manual_seed, no_grad};
use mode::Mode;
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
    #[command(flatten)]
    mode: Mode,
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
    let mode = arguments.mode;
    manual_seed(mode.seed);
    let pairs = Arc::new(Pairs::read(&arguments.data, mode.seed)?);
    let (english, french) = (pairs.english.len(), pairs.french.len());
    println!("{} pairs to train with, {} sentences to translate", pairs.train.len(), pairs.test.len());
    println!("{english} English and {french} French words");
    let net: Box<dyn Translator> = match arguments.model {
        Kind::Gru => Box::new(Recurrent::new(english, french)),
        Kind::Transformer => Box::new(Attentive::new(english, french)),
    };
    println!("{}", net.summary());
    let adam = Adam::new(net.parameters(), 0.001)?;
    let step = compile(|source: Tensor, reads: Tensor, says: Tensor| {
        let loss = net.loss(&source, &reads, &says)?;
        loss.backward()?;
        clip_grad_norm(&net.parameters(), 1.0, 2.0)?;
        adam.step()?;
        Ok(loss)
    })
    .name("step");
    let train = DataLoader::new(pairs.clone(), arguments.batch).shuffle(mode.seed).drop_last().workers(1);
    if mode.check {
        return mode.compare(&step, train.epoch(0).take(arguments.steps.min(20)), 1e-4);
    }
    let start = Instant::now();
    for epoch in 0..arguments.epochs {
        let batches = train.epoch(epoch).progress(&format!("epoch {}", epoch + 1));
        let bar = batches.bar();
        let (mut sum, mut count) = (0.0, 0);
        for batch in batches.take(arguments.steps) {
            sum += mode.run(&step, batch?)?.item()?;
            count += 1;
            bar.set_message(format!("loss {:.3}", sum / f64::from(count)));
        }
        if (epoch + 1) % 5 == 0 || epoch + 1 == arguments.epochs {
            let seconds = start.elapsed().as_secs_f64();
            println!("epoch {}: loss {:.4}, {seconds:.1} s since the start", epoch + 1, sum / f64::from(count.max(1)));
        }
    }
    net.eval();
    evaluate(&*net, &pairs, &arguments)
}

/// Translates all sentences of the test by both searches.
fn evaluate(net: &dyn Translator, pairs: &Pairs, arguments: &Arguments) -> Result<()> {
    let sentences: Vec<&[i64]> = pairs.test.iter().map(|test| &test.source[..]).collect();
    let sources = pairs.sources(&sentences);
    let references: Vec<Vec<Vec<String>>> = pairs.test.iter().map(|test| test.references.clone()).collect();
    let mut translations = Vec::new();
    for (name, beams) in [("greedy search", 1), ("beam search", arguments.beams.max(1))] {
        // What the network would say after the token at a position.
        let next = compile(|source: Tensor, begun: Tensor, position: Tensor| {
            no_grad(|| {
                let state = net.states(&source, &begun)?.index_select(1, &position).squeeze(1);
                Ok(net.scores(&state).log_softmax(-1).topk(beams, -1))
            })
        })
        .name("next");
        let start = Instant::now();
        let found = translate(&sources, beams, pairs.longest.1, |source, begun, position| {
            let position = Tensor::new([position as i64]);
            let (scores, tokens) = arguments.mode.run(&next, (source.clone(), begun.clone(), position))?;
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
