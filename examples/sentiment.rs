//! Is a film review positive? Recurrent networks read sentences of different lengths, word by word.
//!
//!     cargo run --release --example sentiment
//!     cargo run --release --example sentiment -- --model lstm --layers 2
//!     cargo run --release --example sentiment -- --check
//!
//! One program serves all numbers and lengths of sentences: both are symbols of the compiled step.

use clap::{Parser, ValueEnum};
use igneous::data::{DataLoader, Dataset, Subset, Vocabulary, random_split, read_lines, words};
use igneous::metrics::ConfusionMatrix;
use igneous::nn::{Dropout, Embedding, Forward, Gru, GruOptions, Linear, Lstm, LstmOptions, Module, ModuleExt, Rnn, RnnOptions};
use igneous::optim::{Adam, Optimizer, clip_grad_norm};
use igneous::testing::compare_with_eager;
use igneous::{Device, Error, Result, Tensor, compile, default, manual_seed, no_grad};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// Trains a recurrent network on film reviews.
#[derive(Parser)]
struct Arguments {
    /// What is repeated along a sentence.
    #[arg(long, value_enum, default_value = "gru")]
    model: Kind,
    /// Recurrent layers over each other.
    #[arg(long, default_value_t = 1)]
    layers: usize,
    /// Read forwards only; else in both directions.
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
    /// Seed of the weights, of the split and of the order of the sentences.
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
    /// The folder with the files of reviews.
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/movie_reviews"))]
    data: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Rnn,
    Lstm,
    Gru,
}

/// Sentences as numbers of words, and 1 for those that are positive.
struct Reviews {
    sentences: Vec<Vec<i64>>,
    vocabulary: Vocabulary,
    positive: usize,
}

impl Reviews {
    fn read(folder: &std::path::Path) -> Result<Reviews> {
        let positive = read_lines(folder.join("rt-polarity.pos.gz"))?;
        let others = read_lines(folder.join("rt-polarity.neg.gz"))?;
        let texts: Vec<Vec<String>> = positive.iter().chain(&others).map(|line| words(line)).collect();
        // The number 0 fills sentences up in a batch.
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

/// Words as vectors, a recurrent layer over them, and two scores from its last states.
#[derive(Module)]
struct Classifier {
    words: Embedding,
    recurrent: Recurrent,
    dropout: Dropout,
    head: Linear,
}

#[derive(Module)]
enum Recurrent {
    Rnn(Rnn),
    Lstm(Lstm),
    Gru(Gru),
}

impl Classifier {
    fn new(vocabulary: usize, arguments: &Arguments) -> Classifier {
        let (width, hidden, num_layers) = (64, 64, arguments.layers);
        let bidirectional = !arguments.forward_only;
        let recurrent = match arguments.model {
            Kind::Rnn => {
                Recurrent::Rnn(Rnn::with(width, hidden, RnnOptions { num_layers, bidirectional, batch_first: true, ..default() }))
            }
            Kind::Lstm => Recurrent::Lstm(Lstm::with(
                width,
                hidden,
                LstmOptions { num_layers, bidirectional, batch_first: true, ..default() },
            )),
            Kind::Gru => {
                Recurrent::Gru(Gru::with(width, hidden, GruOptions { num_layers, bidirectional, batch_first: true, ..default() }))
            }
        };
        let directions = if bidirectional { 2 } else { 1 };
        Classifier {
            words: Embedding::new(vocabulary, width),
            recurrent,
            dropout: Dropout::new(0.5),
            head: Linear::new(hidden * directions, 2),
        }
    }

    /// Scores `[B, 2]` of sentences `[B, T]` of these lengths `[B]`.
    fn forward(&self, sentences: &Tensor, lengths: &Tensor) -> Tensor {
        let x = self.dropout.forward(&self.words.forward(sentences));
        let last = match &self.recurrent {
            Recurrent::Rnn(rnn) => rnn.forward_padded(&x, lengths, None).1,
            Recurrent::Lstm(lstm) => lstm.forward_padded(&x, lengths, None).1.0,
            Recurrent::Gru(gru) => gru.forward_padded(&x, lengths, None).1,
        };
        // The states of the last layer, [directions, B, hidden], side by side.
        let directions = self.head.weight.size(1).div_floor(last.size(-1));
        let top = last.narrow(0, last.size(0) - directions, directions).transpose(0, 1).flatten(1, 2);
        self.head.forward(&self.dropout.forward(&top))
    }
}

type Batch = ((Tensor, Tensor), Tensor);

/// A network and its optimizer.
struct Training {
    net: Classifier,
    adam: Adam,
}

impl Training {
    /// One training step: what is compiled, and what eager mode runs.
    fn step(&self, (sentences, lengths): (Tensor, Tensor), labels: Tensor) -> Result<Tensor> {
        let loss = self.net.forward(&sentences, &lengths).cross_entropy(&labels);
        loss.backward()?;
        clip_grad_norm(&self.net.parameters(), 1.0, 2.0)?;
        self.adam.step()?;
        Ok(loss)
    }

    fn predict(&self, sentences: &Tensor, lengths: &Tensor) -> Tensor {
        no_grad(|| self.net.forward(sentences, lengths).argmax(1))
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    manual_seed(arguments.seed);
    let reviews = Arc::new(Reviews::read(&arguments.data)?);
    let words = reviews.vocabulary.len();
    let parts: [Subset<_>; 2] =
        random_split(reviews.clone(), &[0.9, 0.1], arguments.seed)?.try_into().map_err(|_| Error::new("there are two parts"))?;
    let [train, test] = parts;
    println!("{} sentences to train with, {} to test with, {words} words", train.len(), test.len());
    let train = DataLoader::new(train, arguments.batch).shuffle(arguments.seed).workers(1);
    let test = DataLoader::new(test, 256);

    let net = Classifier::new(words, &arguments);
    println!("{}", net.summary());
    let adam = Adam::new(net.parameters(), 0.001)?;
    let training = Arc::new(Training { net, adam });
    let (own, other) = (training.clone(), training.clone());
    // B sentences of T words; of words there is one at least.
    let step = compile(move |x: (Tensor, Tensor), y: Tensor| own.step(x, y)).name("step");
    let step = step.input(0, ("B", "T")).input(1, "B").input(2, "B").range("B", 1..=4096).range("T", 1..=256);
    let predict = compile(move |x: Tensor, lengths: Tensor| other.predict(&x, &lengths)).name("predict");
    let predict = predict.input(0, ("B", "T")).input(1, "B").range("B", 1..=4096).range("T", 1..=256);
    let moved = |((x, lengths), y): Batch| {
        let device = arguments.device;
        ((x.to(device), lengths.to(device)), y.to(device))
    };

    if arguments.check {
        let mut largest = 0.0f64;
        for batch in train.epoch(0).take(arguments.steps.min(20)) {
            largest = largest.max(compare_with_eager(&step, moved(batch?), 1e-4)?);
        }
        println!("eager and compiled agree: max relative difference {largest:.1e}, {} program", step.programs());
        return Ok(());
    }
    for epoch in 0..arguments.epochs {
        let start = Instant::now();
        training.net.train();
        let batches = train.epoch(epoch).progress(&format!("epoch {}", epoch + 1));
        let bar = batches.bar();
        let (mut sum, mut count) = (0.0, 0);
        for batch in batches.take(arguments.steps) {
            let (x, y) = moved(batch?);
            let loss = if arguments.eager { training.step(x, y)? } else { step.run((x, y))? };
            sum += loss.item()?;
            count += 1;
            bar.set_message(format!("loss {:.4}", sum / f64::from(count)));
        }
        let seconds = start.elapsed().as_secs_f64();
        training.net.eval();
        let mut counts = ConfusionMatrix::new(2);
        for batch in &test {
            let ((x, lengths), y) = moved(batch?);
            let found = if arguments.eager { training.predict(&x, &lengths) } else { predict.run((x, lengths))? };
            counts.update(&found, &y)?;
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
    show(&training, &reviews.vocabulary)
}

/// What the network says about sentences of our own.
fn show(training: &Training, vocabulary: &Vocabulary) -> Result<()> {
    println!();
    for text in ["a moving and funny film", "the plot is dull and far too long", "one of the best performances of the year"] {
        let numbers = vocabulary.encode(&words(text))?;
        let (count, sentence) = (numbers.len(), Tensor::from_slice(&numbers, (1, numbers.len())));
        let scores = no_grad(|| training.net.forward(&sentence, &Tensor::new([count as i64])));
        println!("{:3.0} % positive: {text}", 100.0 * scores.softmax(1).i((0, 1)).item()?);
    }
    Ok(())
}
