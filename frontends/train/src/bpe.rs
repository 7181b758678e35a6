//! Byte-pair encoding: words in pieces that occur often, by the library `tokenizers`.

use igneous::{Error, Loc, Result, files};
use std::fmt::{Debug, Display, Formatter};
use std::path::Path;
use std::sync::Arc;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::models::{ModelWrapper, TrainerWrapper};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer};

/// A tokeniser by byte-pair encoding on bytes, as that of GPT-2: every text has tokens, and they give the text back. Sennrich et
/// al. 2016, arXiv:1508.07909; Radford et al. 2019.
///
/// ```
/// use igneous_train::Bpe;
/// let texts = ["low lower lowest", "new newer newest", "wide wider widest"];
/// let bpe = Bpe::train(texts, 280, &["<pad>"])?;
/// let tokens = bpe.encode("newest wide — zoë")?;
/// assert!(tokens.len() < "newest wide — zoë".len());
/// assert_eq!(bpe.decode(&tokens)?, "newest wide — zoë");
/// assert_eq!(bpe.number("<pad>"), Some(0));
/// # Ok::<(), igneous::Error>(())
/// ```
#[derive(Clone)]
pub struct Bpe(Arc<Tokenizer>);

impl Debug for Bpe {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bpe").field("tokens", &self.len()).finish_non_exhaustive()
    }
}

impl Bpe {
    /// A vocabulary of about so many tokens from texts: the special ones, then the 256 bytes, then the most frequent pairs of
    /// tokens that are there already, again and again.
    ///
    /// # Errors
    /// If the library cannot; it has no reason to.
    #[track_caller]
    pub fn train<T: AsRef<str> + Send>(
        texts: impl IntoIterator<Item = T, IntoIter: Send>,
        tokens: usize,
        special: &[&str],
    ) -> Result<Bpe> {
        let loc = Loc::caller();
        let trainer = BpeTrainer::builder()
            .vocab_size(tokens)
            .show_progress(false)
            .special_tokens(special.iter().map(|token| AddedToken::from(*token, true)).collect())
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        let mut tokenizer = byte_level(BPE::default());
        let trained = tokenizer.train(&mut TrainerWrapper::from(trainer), texts.into_iter()).map(|_| ());
        trained.map_err(|e| Error::other(e).context("cannot train a tokeniser").at(loc))?;
        Ok(Bpe(Arc::new(tokenizer)))
    }

    /// Reads the tokeniser of a `tokenizer.json`, such as [`save`](Bpe::save) writes and models are published with.
    ///
    /// # Errors
    /// If the file is missing or damaged, or its tokeniser is no byte-pair encoding; the message names it.
    #[track_caller]
    pub fn load(path: impl AsRef<Path>) -> Result<Bpe> {
        let (loc, path) = (Loc::caller(), path.as_ref());
        let bytes = std::fs::read(path).map_err(|e| unreadable(path, e).at(loc))?;
        let tokenizer = Tokenizer::from_bytes(bytes).map_err(|e| unreadable(path, e).at(loc))?;
        match tokenizer.get_model() {
            ModelWrapper::BPE(_) => Ok(Bpe(Arc::new(tokenizer))),
            _ => Err(unreadable(path, "its tokeniser is no byte-pair encoding").at(loc)),
        }
    }

    /// Reads the two files of GPT-2 and its like: tokens with their numbers (`vocab.json`), and pairs in the order in which they
    /// are put together (`merges.txt`).
    ///
    /// # Errors
    /// If a file is missing or damaged, or they do not fit together; the message names them.
    #[track_caller]
    pub fn from_files(vocabulary: impl AsRef<Path>, merges: impl AsRef<Path>) -> Result<Bpe> {
        let (loc, vocabulary, merges) = (Loc::caller(), vocabulary.as_ref(), merges.as_ref());
        // Asked here, because the library does not say which of the two is missing.
        for path in [vocabulary, merges] {
            std::fs::metadata(path).map_err(|e| unreadable(path, e).at(loc))?;
        }
        let read = BPE::from_file(&vocabulary.to_string_lossy(), &merges.to_string_lossy()).build();
        let both = |e| unreadable(vocabulary, e).note("merges", merges.display()).at(loc);
        Ok(Bpe(Arc::new(byte_level(read.map_err(both)?))))
    }

    /// Writes a `tokenizer.json`. The file is complete or as it was.
    ///
    /// # Errors
    /// If it cannot be written; the message names it.
    #[track_caller]
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let (loc, path) = (Loc::caller(), path.as_ref());
        let text = self.0.to_string(false).map_err(|e| Error::other(e).context(format_args!("cannot write {}", path.display())));
        text.and_then(|text| files::write(path, text.as_bytes())).map_err(|e| e.at(loc))
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.0.get_vocab_size(true)
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of a token.
    pub fn number(&self, token: &str) -> Option<i64> {
        self.0.token_to_id(token).map(i64::from)
    }

    /// The numbers of a text's tokens.
    ///
    /// # Errors
    /// If the text has what the vocabulary does not.
    #[track_caller]
    pub fn encode(&self, text: &str) -> Result<Vec<i64>> {
        let encoded =
            self.0.encode(text, false).map_err(|e| Error::other(e).context("cannot encode a text").at(Loc::caller()))?;
        Ok(encoded.get_ids().iter().map(|&id| i64::from(id)).collect())
    }

    /// The text of tokens; special ones are left out. Bytes that are no UTF-8 become `�`.
    ///
    /// # Errors
    /// If there is no such number; the message names it and its place.
    #[track_caller]
    pub fn decode(&self, numbers: &[i64]) -> Result<String> {
        let loc = Loc::caller();
        let known = |(place, &number): (usize, &i64)| {
            let id = u32::try_from(number).ok().filter(|&id| self.0.id_to_token(id).is_some());
            let none = || Error::new(format!("the tokeniser has {} tokens and no number {number}", self.len()));
            id.ok_or_else(|| none().note("place", place).at(loc))
        };
        let ids = numbers.iter().enumerate().map(known).collect::<Result<Vec<u32>>>()?;
        self.0.decode(&ids, true).map_err(|e| Error::other(e).at(loc))
    }
}

/// A tokeniser that takes texts as bytes, split into words with the space before them.
fn byte_level(model: BPE) -> Tokenizer {
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true))).with_decoder(Some(ByteLevel::default()));
    tokenizer
}

fn unreadable(path: &Path, problem: impl Display) -> Error {
    Error::other(problem).context(format_args!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("igneous-{}-{name}", std::process::id()))
    }

    /// The example of the paper: of these words the pairs `es`, `est`, `lo`, `low` come first.
    #[test]
    fn frequent_pairs_become_tokens() {
        let words = [("low", 5), ("lower", 2), ("newest", 6), ("widest", 3)];
        let texts: Vec<&str> = words.iter().flat_map(|&(word, count)| std::iter::repeat_n(word, count)).collect();
        let bpe = Bpe::train(&texts, 256 + 4, &[]).unwrap();
        assert_eq!(bpe.len(), 260);
        for token in ["es", "est", "lo", "low"] {
            assert!(bpe.number(token).is_some(), "{token}");
        }
        assert_eq!(bpe.encode("lowest").unwrap(), [bpe.number("low").unwrap(), bpe.number("est").unwrap()]);
        assert!(bpe.encode("").unwrap().is_empty());
    }

    #[test]
    fn files_give_the_same_tokens() {
        let bpe = Bpe::train(["aaab aaac", "aaab ü"], 262, &["<s>"]).unwrap();
        let path = file("tokenizer.json");
        bpe.save(&path).unwrap();
        let again = Bpe::load(&path).unwrap();
        let text = "<s>aaab üaa\n\u{1F600}";
        assert_eq!(again.encode(text).unwrap(), bpe.encode(text).unwrap());
        assert_eq!(again.decode(&again.encode(text).unwrap()).unwrap(), &text[3..]);
        std::fs::write(&path, r#"{"model": "broken"}"#).unwrap();
        assert!(Bpe::load(&path).unwrap_err().to_string().contains("tokenizer.json"));
        std::fs::remove_file(&path).unwrap();
        assert!(Bpe::load(&path).unwrap_err().to_string().contains("tokenizer.json"));
        let told = again.decode(&[1, 9999]).unwrap_err().to_string();
        assert!(told.contains("no number 9999") && told.contains('1'), "{told}");
        assert!(again.decode(&[-1]).is_err());
    }

    #[test]
    fn vocabularies_of_two_files() {
        let (vocabulary, merges) = (file("vocab.json"), file("merges.txt"));
        std::fs::write(&vocabulary, r#"{"a": 0, "b": 1, "ab": 2, "Ġ": 3}"#).unwrap();
        assert!(Bpe::from_files(&vocabulary, &merges).unwrap_err().to_string().contains("merges.txt"));
        std::fs::write(&merges, "#version: 0.2\na b\n").unwrap();
        let bpe = Bpe::from_files(&vocabulary, &merges).unwrap();
        assert_eq!(bpe.encode("ab a").unwrap(), [2, 3, 0]);
        assert_eq!(bpe.decode(&[2, 3, 0]).unwrap(), "ab a");
        std::fs::write(&merges, "a c\n").unwrap();
        assert!(Bpe::from_files(&vocabulary, &merges).unwrap_err().to_string().contains("vocab.json"));
        std::fs::remove_file(&vocabulary).unwrap();
        std::fs::remove_file(&merges).unwrap();
    }
}
