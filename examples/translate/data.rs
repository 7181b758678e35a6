//! Pairs of sentences, in English and in French.

use igneous::data::{Collate, Dataset, RandomSampler, Sampler, Vocabulary, read_lines, words};
use igneous::{Error, Result, Tensor};
use std::collections::BTreeMap;
use std::path::Path;

/// Fills sentences up to one length.
pub const PAD: i64 = 0;
/// Begins a translation.
pub const START: i64 = 1;
/// Ends one.
pub const END: i64 = 2;
const SPECIAL: [&str; 4] = ["<pad>", "<start>", "<end>", "<unknown>"];

/// English sentences with all their translations, and both vocabularies.
pub struct Pairs {
    pub train: Vec<(Vec<i64>, Vec<i64>)>,
    pub test: Vec<Test>,
    pub english: Vocabulary,
    pub french: Vocabulary,
    /// The most tokens of a sentence and of a translation.
    pub longest: (usize, usize),
}

/// A sentence for tests, and what translators made of it.
pub struct Test {
    pub text: String,
    pub source: Vec<i64>,
    pub references: Vec<Vec<String>>,
}

impl Pairs {
    /// Reads lines of English, tab, French. A tenth of the English sentences, with all their translations, is for tests.
    pub fn read(path: &Path, seed: u64) -> Result<Pairs> {
        let mut translations: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
        for (i, line) in read_lines(path)?.iter().enumerate() {
            let mut columns = line.split('\t');
            let (Some(english), Some(french)) = (columns.next(), columns.next()) else {
                return Err(Error::new(format!("{}, line {}: there is no translation", path.display(), i + 1)));
            };
            translations.entry(english.to_owned()).or_default().push(tokens(french));
        }
        let sentences: Vec<(String, Vec<Vec<String>>)> = translations.into_iter().collect();
        let english: Vec<Vec<String>> = sentences.iter().map(|(text, _)| tokens(text)).collect();
        let french: Vec<Vec<String>> = sentences.iter().flat_map(|(_, all)| all.clone()).collect();
        let longest = |texts: &[Vec<String>]| texts.iter().map(Vec::len).max().unwrap_or(0);
        // Behind the last word of a translation comes its end.
        let longest = (longest(&english), longest(&french) + 1);
        let order = RandomSampler::new(sentences.len(), seed).order(0);
        let (test, train) = order.split_at(sentences.len() / 10);
        let of_train = |texts: &dyn Fn(usize) -> Vec<Vec<String>>| train.iter().flat_map(|&i| texts(i)).collect::<Vec<_>>();
        let english_words = Vocabulary::new(&of_train(&|i| vec![english[i].clone()]), 1, &SPECIAL).unknown("<unknown>")?;
        let french_words = Vocabulary::new(&of_train(&|i| sentences[i].1.clone()), 1, &SPECIAL).unknown("<unknown>")?;
        let mut pairs = Vec::new();
        for &i in train {
            for translation in &sentences[i].1 {
                pairs.push((english_words.encode(&english[i])?, french_words.encode(translation)?));
            }
        }
        let test = test.iter().map(|&i| {
            let source = english_words.encode(&english[i])?;
            Ok(Test { text: sentences[i].0.clone(), source, references: sentences[i].1.clone() })
        });
        let test = test.collect::<Result<_>>()?;
        Ok(Pairs { train: pairs, test, english: english_words, french: french_words, longest })
    }

    /// A batch of sources, filled up: `i64[B, S]`.
    pub fn sources(&self, sentences: &[&[i64]]) -> Tensor {
        filled(sentences.iter().map(|sentence| sentence.to_vec()), self.longest.0)
    }
}

/// Words in lower case; what stands before an apostrophe is one, too.
fn tokens(text: &str) -> Vec<String> {
    words(&text.replace(['’', '\''], "' "))
}

/// Sequences of numbers as `i64[B, length]`.
pub fn filled(sequences: impl Iterator<Item = Vec<i64>>, length: usize) -> Tensor {
    let mut all = Vec::new();
    let mut count = 0;
    for mut sequence in sequences {
        sequence.resize(length, PAD);
        all.extend(sequence);
        count += 1;
    }
    Tensor::from_vec(all, (count, length))
}

/// A sentence and its translation with its end, both filled up to one length.
pub struct Pair {
    source: Vec<i64>,
    target: Vec<i64>,
}

/// The source `i64[B, S]`, what the decoder reads, `<start> …`, and what it has to say, `… <end>`, both `i64[B, T]`.
impl Collate for Pair {
    type Batch = (Tensor, Tensor, Tensor);

    fn collate(pairs: Vec<Pair>) -> Result<Self::Batch> {
        let (sources, targets) = pairs.first().map_or((0, 0), |pair| (pair.source.len(), pair.target.len()));
        let reads = pairs.iter().map(|pair| [&[START], &pair.target[..targets - 1]].concat());
        let reads = filled(reads, targets);
        let source = filled(pairs.iter().map(|pair| pair.source.clone()), sources);
        Ok((source, reads, filled(pairs.into_iter().map(|pair| pair.target), targets)))
    }
}

impl Dataset for Pairs {
    type Sample = Pair;

    fn len(&self) -> usize {
        self.train.len()
    }

    fn get(&self, index: usize) -> Result<Pair> {
        let (source, target) = self.train.get(index).ok_or_else(|| Error::new(format!("there is no pair {index}")))?;
        let (mut source, mut target) = (source.clone(), target.clone());
        target.push(END);
        // All batches have one shape, and need one program.
        source.resize(self.longest.0, PAD);
        target.resize(self.longest.1, PAD);
        Ok(Pair { source, target })
    }
}
