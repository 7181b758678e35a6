//! Is a film review positive? Recurrent networks and a transformer's encoder read sentences of different lengths.
//!
//!     cargo run --release --example sentiment
//!     cargo run --release --example sentiment -- --model lstm --layers 2
//!     cargo run --release --example sentiment -- --model transformer --epochs 4
//!     cargo run --release --example sentiment -- --check
//!
//! One program serves all numbers and lengths of sentences: both are symbols of the compiled step.

mod mode;

use clap::{Parser, ValueEnum};
use igneous::data::{DataLoader, Dataset, Subset, Vocabulary, read_lines, words};
use igneous::metrics::ConfusionMatrix;
use igneous::nn::{Dropout, Embedding, Forward, Gru, GruOptions, Linear, Lstm, LstmOptions, Module, ModuleExt, Rnn, RnnOptions};
use igneous::optim::{Adam, Optimizer, clip_grad_norm};
use igneous::{Error, Result, Tensor, compile, default, manual_seed, no_grad};
use igneous_models::{EncoderClassifier, EncoderClassifierOptions};
use mode::Mode;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Trains a network on film reviews.
#[derive(Parser)]
struct Arguments {
    /// What reads the words of a sentence.
    #[arg(long, value_enum, default_value = "gru")]
    model: Kind,
    /// Recurrent layers over each other; a transformer has two.
    #[arg(long, default_value_t = 1)]
    layers: usize,
    /// Read forwards only; else recurrent layers read in both directions.
    #[arg(long)]
    forward_only: bool,
    /// Passes over the training sentences.
    #[arg(long, default_value_t = 10)]
    epochs: usize,
    /// Sentences per step.
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// End each epoch after so many steps.
    #[arg(long, default_value_t = usize::MAX, hide_default_value = true)]
    steps: usize,
    #[command(flatten)]
    mode: Mode,
    /// The folder with the files of reviews.
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/movie_reviews"))]
    data: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Rnn,
    Lstm,
    Gru,
    Transformer,
}

/// Fills sentences up in a batch.
const PAD: i64 = 0;

/// Sentences as numbers of words, and 1 for those that are positive.
struct Reviews {
    sentences: Vec<Vec<i64>>,
    vocabulary: Vocabulary,
    positive: usize,
}

impl Reviews {
    fn read(folder: &Path) -> Result<Reviews> {
        let positive = read_lines(folder.join("rt-polarity.pos.gz"))?;
        let others = read_lines(folder.join("rt-polarity.neg.gz"))?;
        let texts: Vec<Vec<String>> = positive.iter().chain(&others).map(|line| words(line)).collect();
        let vocabulary = Vocabulary::new(&texts, 2, &["<pad>", "<unknown>"]).unknown("<unknown>")?;
        let sentences = texts.iter().map(|words| vocabulary.encode(words)).collect::<Result<_>>()?;
        Ok(Reviews { sentences, vocabulary, positive: positive.len() })
    }
}

impl Dataset for Reviews {
    type Sample = (Vec<i64>, i64);

    fn len(&self) -> usize {
        self.sentences.len()
    }

    fn get(&self, index: usize) -> Result<(Vec<i64>, i64)> {
        let sentence = self.sentences.get(index).ok_or_else(|| Error::new(format!("there is no review {index}")))?;
        Ok((sentence.clone(), i64::from(index < self.positive)))
    }
}

#[derive(Module)]
enum Net {
    Recurrent(Recurrent),
    Transformer(EncoderClassifier),
}

impl Net {
    fn new(vocabulary: usize, arguments: &Arguments) -> Net {
        if let Kind::Transformer = arguments.model {
            let options = EncoderClassifierOptions { dropout: 0.3, ..EncoderClassifierOptions::new(vocabulary, 2) };
            return Net::Transformer(EncoderClassifier::new(options));
        }
        Net::Recurrent(Recurrent::new(vocabulary, arguments))
    }

    /// Scores `[B, 2]` of sentences `[B, T]` of these lengths `[B]`.
    fn forward(&self, sentences: &Tensor, lengths: &Tensor) -> Tensor {
        match self {
            Net::Recurrent(net) => net.forward(sentences, lengths),
            Net::Transformer(net) => net.forward_padded(sentences, &sentences.equal(PAD)),
        }
    }
}

/// Words as vectors, recurrent layers over them, and two scores from their last states.
#[derive(Module)]
struct Recurrent {
    words: Embedding,
    layers: Layers,
    dropout: Dropout,
    head: Linear,
}

#[derive(Module)]
enum Layers {
    Rnn(Rnn),
    Lstm(Lstm),
    Gru(Gru),
}

impl Recurrent {
    fn new(vocabulary: usize, arguments: &Arguments) -> Recurrent {
        let (width, hidden) = (64, 64);
        let (num_layers, bidirectional, batch_first) = (arguments.layers, !arguments.forward_only, true);
        let layers = match arguments.model {
            Kind::Rnn => {
                Layers::Rnn(Rnn::with(width, hidden, RnnOptions { num_layers, bidirectional, batch_first, ..default() }))
            }
            Kind::Lstm => {
                Layers::Lstm(Lstm::with(width, hidden, LstmOptions { num_layers, bidirectional, batch_first, ..default() }))
            }
            _ => Layers::Gru(Gru::with(width, hidden, GruOptions { num_layers, bidirectional, batch_first, ..default() })),
        };
        let directions = if bidirectional { 2 } else { 1 };
        Recurrent {
            words: Embedding::new(vocabulary, width),
            layers,
            dropout: Dropout::new(0.5),
            head: Linear::new(hidden * directions, 2),
        }
    }

    fn forward(&self, sentences: &Tensor, lengths: &Tensor) -> Tensor {
        let x = self.dropout.forward(&self.words.forward(sentences));
        let last = match &self.layers {
            Layers::Rnn(rnn) => rnn.forward_padded(&x, lengths, None).1,
            Layers::Lstm(lstm) => lstm.forward_padded(&x, lengths, None).1.0,
            Layers::Gru(gru) => gru.forward_padded(&x, lengths, None).1,
        };
        // The states of the last layer, [directions, B, hidden], side by side.
        let directions = self.head.weight.size(1).div_floor(last.size(-1));
        let top = last.narrow(0, last.size(0) - directions, directions).transpose(0, 1).flatten(1, 2);
        self.head.forward(&self.dropout.forward(&top))
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mode = arguments.mode;
    manual_seed(mode.seed);
    let reviews = Arc::new(Reviews::read(&arguments.data)?);
    let vocabulary = &reviews.vocabulary;
    // Every tenth sentence, so that all networks are tested with the same.
    let (test, train): (Vec<usize>, Vec<usize>) = (0..reviews.len()).partition(|i| i % 10 == 9);
    let (train, test) = (Subset::new(reviews.clone(), train)?, Subset::new(reviews.clone(), test)?);
    println!("{} sentences to train with, {} to test with, {} words", train.len(), test.len(), vocabulary.len());
    let train = DataLoader::new(train, arguments.batch).shuffle(mode.seed).workers(1);
    let test = DataLoader::new(test, 256);

    let net = Net::new(vocabulary.len(), &arguments);
    println!("{}", net.summary());
    let adam = Adam::new(net.parameters(), 0.001)?;
    // B sentences of T words; of words there is one at least.
    let step = compile(|(sentences, lengths): (Tensor, Tensor), labels: Tensor| {
        let loss = net.forward(&sentences, &lengths).cross_entropy(&labels);
        loss.backward()?;
        clip_grad_norm(&net.parameters(), 1.0, 2.0)?;
        adam.step()?;
        Ok(loss)
    })
    .name("step");
    let step = step.input(0, ("B", "T")).input(1, "B").input(2, "B").range("B", 1..=4096).range("T", 1..=256);
    let scores = compile(|(sentences, lengths): (Tensor, Tensor)| no_grad(|| net.forward(&sentences, &lengths))).name("scores");
    let scores = scores.input(0, ("B", "T")).input(1, "B").range("B", 1..=4096).range("T", 1..=256);
    if mode.check {
        return mode.compare(&step, train.epoch(0).take(arguments.steps.min(20)), 1e-4);
    }

    for epoch in 0..arguments.epochs {
        let start = Instant::now();
        net.train();
        let batches = train.epoch(epoch).progress(&format!("epoch {}", epoch + 1));
        let bar = batches.bar();
        let (mut sum, mut count) = (0.0, 0);
        for batch in batches.take(arguments.steps) {
            sum += mode.run(&step, batch?)?.item()?;
            count += 1;
            bar.set_message(format!("loss {:.4}", sum / f64::from(count)));
        }
        let seconds = start.elapsed().as_secs_f64();
        net.eval();
        let mut counts = ConfusionMatrix::new(2);
        for batch in &test {
            let (x, y) = batch?;
            counts.update(&mode.run(&scores, x)?.argmax(1), &y)?;
        }
        let mean = sum / f64::from(count.max(1));
        println!("epoch {}: loss {mean:.4}, {seconds:.1} s, test accuracy {:.4}", epoch + 1, counts.accuracy());
        if epoch + 1 == arguments.epochs {
            println!("\n          precision  recall");
            for (class, name) in ["negative", "positive"].iter().enumerate() {
                println!("{name:>10}  {:8.3}  {:6.3}", counts.precision(class), counts.recall(class));
            }
        }
    }
    // What the network says about sentences of our own.
    println!();
    for text in ["a moving and funny film", "the plot is dull and far too long", "one of the best performances of the year"] {
        let numbers = vocabulary.encode(&words(text))?;
        let sentence = Tensor::from_slice(&numbers, (1, numbers.len()));
        let found = mode.run(&scores, (sentence, Tensor::new([numbers.len() as i64])))?;
        println!("{:3.0} % positive: {text}", 100.0 * found.softmax(1).i((0, 1)).item()?);
    }
    Ok(())
}
