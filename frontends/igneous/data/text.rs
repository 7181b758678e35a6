//! Text: lines, tokens, vocabularies, and sequences of different lengths in one tensor.

use crate::files;
use crate::location::{called_from, here};
use crate::tensor::Tensor;
use igneous_ir::{DType, Error, Result};
use std::collections::HashMap;
use std::path::Path;

/// The lines of a file, without their ends. A file that ends in `.gz` is unpacked.
///
/// # Errors
/// If the file is missing or is no UTF-8; the message names it.
#[track_caller]
pub fn read_lines(path: impl AsRef<Path>) -> Result<Vec<String>> {
    let (loc, path) = (here(), path.as_ref());
    let text = files::read_unpacked(path).and_then(|bytes| String::from_utf8(bytes).map_err(|e| files::cannot_read(path, e)));
    Ok(text.map_err(|e| e.at(loc))?.lines().map(str::to_owned).collect())
}

/// The characters of a text.
pub fn characters(text: &str) -> Vec<String> {
    text.chars().map(String::from).collect()
}

/// The words of a text in lower case; marks of punctuation are words, too.
///
/// ```
/// assert_eq!(igneous::data::words("Don't stop, Zoë!"), ["don't", "stop", ",", "zoë", "!"]);
/// ```
pub fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let lower = text.to_lowercase();
    let mut rest = lower.chars().peekable();
    let mut before = None;
    while let Some(c) = rest.next() {
        let inside = c == '\'' && before.is_some_and(char::is_alphanumeric) && rest.peek().is_some_and(|c| c.is_alphanumeric());
        if c.is_alphanumeric() || inside {
            word.push(c);
        } else {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            if !c.is_whitespace() {
                words.push(c.to_string());
            }
        }
        before = Some(c);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// English words that say little about what a text is about: articles, pronouns, prepositions, conjunctions, auxiliary verbs.
pub const ENGLISH_STOP_WORDS: &[&str] = &[
    "a",
    "about",
    "above",
    "after",
    "again",
    "against",
    "all",
    "am",
    "an",
    "and",
    "any",
    "are",
    "as",
    "at",
    "be",
    "because",
    "been",
    "before",
    "being",
    "below",
    "between",
    "both",
    "but",
    "by",
    "can",
    "could",
    "did",
    "do",
    "does",
    "doing",
    "down",
    "during",
    "each",
    "few",
    "for",
    "from",
    "further",
    "had",
    "has",
    "have",
    "having",
    "he",
    "her",
    "here",
    "hers",
    "herself",
    "him",
    "himself",
    "his",
    "how",
    "i",
    "if",
    "in",
    "into",
    "is",
    "it",
    "its",
    "itself",
    "just",
    "me",
    "more",
    "most",
    "my",
    "myself",
    "no",
    "nor",
    "not",
    "now",
    "of",
    "off",
    "on",
    "once",
    "only",
    "or",
    "other",
    "our",
    "ours",
    "ourselves",
    "out",
    "over",
    "own",
    "same",
    "she",
    "should",
    "so",
    "some",
    "such",
    "than",
    "that",
    "the",
    "their",
    "theirs",
    "them",
    "themselves",
    "then",
    "there",
    "these",
    "they",
    "this",
    "those",
    "through",
    "to",
    "too",
    "under",
    "until",
    "up",
    "very",
    "was",
    "we",
    "were",
    "what",
    "when",
    "where",
    "which",
    "while",
    "who",
    "whom",
    "why",
    "will",
    "with",
    "would",
    "you",
    "your",
    "yours",
    "yourself",
    "yourselves",
];

/// The tokens that are not in a list of stop words.
///
/// ```
/// use igneous::data::{ENGLISH_STOP_WORDS, without_stop_words, words};
/// assert_eq!(without_stop_words(words("the cat and the dog"), ENGLISH_STOP_WORDS), ["cat", "dog"]);
/// ```
pub fn without_stop_words(tokens: Vec<String>, stop_words: &[&str]) -> Vec<String> {
    tokens.into_iter().filter(|token| !stop_words.contains(&token.as_str())).collect()
}

/// Tokens and their numbers: special ones first, then the others, the most frequent first.
///
/// ```
/// use igneous::data::{Vocabulary, words};
/// let texts = ["the cat", "the dog"].map(words);
/// let vocabulary = Vocabulary::new(&texts, 1, &["<pad>", "<unk>"]).unknown("<unk>")?;
/// assert_eq!(vocabulary.encode(&words("the bird"))?, [2, 1]);
/// assert_eq!(vocabulary.decode(&[2, 3])?, ["the", "cat"]);
/// # Ok::<(), igneous::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Vocabulary {
    tokens: Vec<String>,
    numbers: HashMap<String, i64>,
    unknown: Option<i64>,
}

impl Vocabulary {
    /// The tokens that occur at least `least` times in texts, behind special ones. Equally frequent ones are in alphabetic order.
    pub fn new(texts: &[Vec<String>], least: usize, special: &[&str]) -> Vocabulary {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for token in texts.iter().flatten() {
            *counts.entry(token).or_default() += 1;
        }
        let mut frequent: Vec<(&str, usize)> =
            counts.into_iter().filter(|(token, count)| *count >= least && !special.contains(token)).collect();
        frequent.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        let mut vocabulary = Vocabulary { tokens: Vec::new(), numbers: HashMap::new(), unknown: None };
        for token in special.iter().copied().chain(frequent.into_iter().map(|(token, _)| token)) {
            if !vocabulary.numbers.contains_key(token) {
                vocabulary.numbers.insert(token.to_owned(), vocabulary.tokens.len() as i64);
                vocabulary.tokens.push(token.to_owned());
            }
        }
        vocabulary
    }

    /// The same, where one of its tokens stands for all that it does not have.
    ///
    /// # Errors
    /// If there is no such token.
    #[track_caller]
    pub fn unknown(self, token: &str) -> Result<Vocabulary> {
        match self.number(token) {
            Some(number) => Ok(Vocabulary { unknown: Some(number), ..self }),
            None => Err(Error::new(format!("the vocabulary has no token `{token}`")).at(here())),
        }
    }

    /// Writes a file with one token a line, in the order of their numbers. The file is complete or as it was.
    ///
    /// # Errors
    /// If a token has a line's end inside, or the file cannot be written; the message names it.
    #[track_caller]
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let (loc, path) = (here(), path.as_ref());
        if let Some(token) = self.tokens.iter().find(|token| token.contains(['\n', '\r'])) {
            let error = Error::new(format!("the token {token:?} does not fit into one line of a vocabulary's file"));
            return Err(error.note("file", path.display()).at(loc));
        }
        let text: String = self.tokens.iter().flat_map(|token| [token, "\n"]).collect();
        files::write(path, text.as_bytes()).map_err(|e| e.at(loc))
    }

    /// Reads a file with one token a line, such as [`save`](Vocabulary::save) writes. Without a token for the unknown.
    ///
    /// # Errors
    /// If the file is missing, is no UTF-8, or has a token twice; the message names file and line.
    #[track_caller]
    pub fn load(path: impl AsRef<Path>) -> Result<Vocabulary> {
        let (loc, path) = (here(), path.as_ref());
        let tokens = called_from(loc, || read_lines(path))?;
        let mut numbers = HashMap::new();
        for (number, token) in tokens.iter().enumerate() {
            if let Some(before) = numbers.insert(token.clone(), number as i64) {
                let message = format!("line {} has the token `{token}` of line {} again", number + 1, before + 1);
                return Err(files::cannot_read(path, Error::new(message)).at(loc));
            }
        }
        Ok(Vocabulary { tokens, numbers, unknown: None })
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The number of a token.
    pub fn number(&self, token: &str) -> Option<i64> {
        self.numbers.get(token).copied()
    }

    /// The token of a number.
    pub fn token(&self, number: i64) -> Option<&str> {
        usize::try_from(number).ok().and_then(|i| self.tokens.get(i)).map(String::as_str)
    }

    /// The numbers of tokens.
    ///
    /// # Errors
    /// If one is not in the vocabulary, and there is none for the unknown; the message names it and its place.
    #[track_caller]
    pub fn encode(&self, tokens: &[String]) -> Result<Vec<i64>> {
        let loc = here();
        let number = |(place, token): (usize, &String)| {
            let unknown = || Error::new(format!("the vocabulary has no token `{token}`")).note("place", place).at(loc);
            self.number(token).or(self.unknown).ok_or_else(unknown)
        };
        tokens.iter().enumerate().map(number).collect()
    }

    /// The tokens of numbers.
    ///
    /// # Errors
    /// If there is no such number; the message names it and its place.
    #[track_caller]
    pub fn decode(&self, numbers: &[i64]) -> Result<Vec<&str>> {
        let loc = here();
        let token = |(place, &number): (usize, &i64)| {
            let none = || Error::new(format!("the vocabulary has {} tokens and no number {number}", self.len()));
            self.token(number).ok_or_else(|| none().note("place", place).at(loc))
        };
        numbers.iter().enumerate().map(token).collect()
    }
}

/// Sequences of different lengths as `i64[N, longest]`, filled up behind, and their lengths `i64[N]`
/// (`torch.nn.utils.rnn.pad_sequence`).
///
/// ```
/// let (padded, lengths) = igneous::data::pad_sequences(&[vec![1, 2, 3], vec![4]], 0);
/// assert_eq!(padded.to_vec::<i64>()?, [1, 2, 3, 4, 0, 0]);
/// assert_eq!(lengths.to_vec::<i64>()?, [3, 1]);
/// # Ok::<(), igneous::Error>(())
/// ```
#[track_caller]
pub fn pad_sequences(sequences: &[Vec<i64>], padding: i64) -> (Tensor, Tensor) {
    let longest = sequences.iter().map(Vec::len).max().unwrap_or(0);
    let mut padded = Vec::with_capacity(sequences.len() * longest);
    for sequence in sequences {
        padded.extend(sequence);
        padded.extend(std::iter::repeat_n(padding, longest - sequence.len()));
    }
    let lengths: Vec<i64> = sequences.iter().map(|sequence| sequence.len() as i64).collect();
    let shape = (sequences.len(), longest);
    let padded = if padded.is_empty() { Tensor::zeros(shape).to_dtype(DType::I64) } else { Tensor::from_vec(padded, shape) };
    (padded, Tensor::from_vec(lengths, sequences.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_numbers_and_back() {
        let texts = ["b a b c", "a b d"].map(words);
        let vocabulary = Vocabulary::new(&texts, 1, &["<pad>"]);
        assert_eq!((0..5).map(|i| vocabulary.token(i).unwrap()).collect::<Vec<_>>(), ["<pad>", "b", "a", "c", "d"]);
        assert_eq!(Vocabulary::new(&texts, 2, &[]).len(), 2);
        let told = vocabulary.encode(&words("a x")).unwrap_err().to_string();
        assert!(told.contains("no token `x`") && told.contains('1'), "{told}");
        assert!(vocabulary.decode(&[1, 9]).unwrap_err().to_string().contains("no number 9"));
        assert!(vocabulary.decode(&[-1]).is_err() && vocabulary.clone().unknown("?").is_err());
        assert_eq!(vocabulary.clone().unknown("<pad>").unwrap().encode(&words("x d")).unwrap(), [0, 4]);
        assert_eq!(characters("aé\n"), ["a", "é", "\n"]);
        assert_eq!(words("  'tis' rock'n'roll "), ["'", "tis", "'", "rock'n'roll"]);
        let path = std::env::temp_dir().join(format!("igneous-{}-vocabulary.txt", std::process::id()));
        vocabulary.save(&path).unwrap();
        assert_eq!(Vocabulary::load(&path).unwrap().encode(&words("d a")).unwrap(), [4, 2]);
        std::fs::write(&path, "a\nb\na\n").unwrap();
        let told = Vocabulary::load(&path).unwrap_err().to_string();
        assert!(told.contains("vocabulary.txt") && told.contains("line 3 has the token `a` of line 1 again"), "{told}");
        std::fs::remove_file(&path).unwrap();
        let breaks = Vocabulary::new(&[characters("a\n")], 1, &[]);
        assert!(breaks.save(&path).unwrap_err().to_string().contains("vocabulary.txt") && !path.exists());
        let (padded, lengths) = pad_sequences(&[], 0);
        assert_eq!((padded.elements().get().unwrap(), lengths.elements().get().unwrap()), (0, 0));
    }

    #[test]
    fn lines_of_files() {
        let path = std::env::temp_dir().join(format!("igneous-{}-lines.txt", std::process::id()));
        std::fs::write(&path, "one\r\ntwo\n\nthree").unwrap();
        assert_eq!(read_lines(&path).unwrap(), ["one", "two", "", "three"]);
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(read_lines(&path).unwrap_err().to_string().contains("lines.txt"));
        std::fs::remove_file(&path).unwrap();
        assert!(read_lines(&path).is_err());
    }
}
