//! Is a film review positive? A transformer's encoder reads sentences of different lengths.
//!
//!     cargo run --release --example reviews
//!     cargo run --release --example reviews -- --check
//!
//! Sine waves tell where a word stands, and a mask hides the padding. One program serves all numbers and lengths of sentences.

use clap::Parser;
use igneous::data::{DataLoader, Dataset, Vocabulary, random_split, read_lines, words};
use igneous::nn::ModuleExt;
use igneous::optim::{Adam, Optimizer};
use igneous::testing::compare_with_eager;
use igneous::{DType, Error, Result, Tensor, compile, manual_seed, no_grad};
use igneous_models::{EncoderClassifier, EncoderClassifierOptions};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// Trains a transformer's encoder on film reviews.
#[derive(Parser)]
struct Arguments {
    /// Passes over the training sentences.
    #[arg(long, default_value_t = 4)]
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
    /// Compare 20 steps in eager and compiled mode.
    #[arg(long)]
    check: bool,
    /// The folder with the files of reviews.
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/movie_reviews"))]
    data: PathBuf,
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

/// A network and its optimizer.
struct Training {
    net: EncoderClassifier,
    adam: Adam,
}

impl Training {
    /// One training step: what is compiled, and what eager mode runs.
    fn step(&self, sentences: &Tensor, labels: &Tensor) -> Result<Tensor> {
        let loss = self.net.forward_padded(sentences, &sentences.equal(0)).cross_entropy(labels);
        loss.backward()?;
        self.adam.step()?;
        Ok(loss)
    }

    /// How many sentences the network gets right.
    fn correct(&self, sentences: &Tensor, labels: &Tensor) -> Tensor {
        let scores = no_grad(|| self.net.forward_padded(sentences, &sentences.equal(0)));
        scores.argmax(1).equal(labels).to_dtype(DType::F32).sum_all()
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    manual_seed(arguments.seed);
    let reviews = Arc::new(Reviews::read(&arguments.data)?);
    let mut parts = random_split(reviews.clone(), &[0.9, 0.1], arguments.seed)?.into_iter();
    let (Some(train), Some(test)) = (parts.next(), parts.next()) else { return Err(Error::new("there are two parts")) };
    let words = reviews.vocabulary.len();
    println!("{} sentences to train with, {} to test with, {words} words", train.len(), test.len());
    let train = DataLoader::new(train, arguments.batch).shuffle(arguments.seed);
    let test = DataLoader::new(test, 256);

    let net = EncoderClassifier::new(EncoderClassifierOptions { dropout: 0.3, ..EncoderClassifierOptions::new(words, 2) });
    println!("{}", net.summary());
    let adam = Adam::new(net.parameters(), 0.001)?;
    let training = Arc::new(Training { net, adam });
    let (own, other) = (training.clone(), training.clone());
    // B sentences of T words.
    let step = compile(move |x: Tensor, y: Tensor| own.step(&x, &y)).name("step");
    let step = step.input(0, ("B", "T")).input(1, "B").range("B", 1..=4096).range("T", 1..=512);
    let correct = compile(move |x: Tensor, y: Tensor| other.correct(&x, &y)).name("correct");
    let correct = correct.input(0, ("B", "T")).input(1, "B").range("B", 1..=4096).range("T", 1..=512);

    if arguments.check {
        let mut largest = 0.0f64;
        for batch in train.epoch(0).take(20) {
            let ((sentences, _), labels) = batch?;
            largest = largest.max(compare_with_eager(&step, (sentences, labels), 1e-3)?);
        }
        println!("eager and compiled agree: max relative difference {largest:.1e}, {} program", step.programs());
        return Ok(());
    }
    println!("epoch    loss  test accuracy    time");
    for epoch in 0..arguments.epochs {
        let start = Instant::now();
        training.net.train();
        let batches = train.epoch(epoch).progress(&format!("epoch {}", epoch + 1));
        let bar = batches.bar();
        let (mut sum, mut count) = (0.0, 0.0);
        for batch in batches.take(arguments.steps) {
            let ((x, _), y) = batch?;
            let loss = if arguments.eager { training.step(&x, &y)? } else { step.run((x, y))? };
            sum += loss.item()?;
            count += 1.0;
            bar.set_message(format!("loss {:.4}", sum / count));
        }
        let seconds = start.elapsed().as_secs_f64();
        training.net.eval();
        let mut right = 0.0;
        for batch in &test {
            let ((x, _), y) = batch?;
            right += if arguments.eager { training.correct(&x, &y).item()? } else { correct.run((x, y))?.item()? };
        }
        println!("{:5}  {:6.4}  {:13.3}  {seconds:4.1} s", epoch + 1, sum / count, right / test.dataset().len() as f64);
    }
    Ok(())
}
