//! What is computed by a library of the device, and what by a kernel of the program.

use igneous_ir::error::{Error, Result};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// Who computes something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    /// A library of the device, if there is one.
    Library,
    /// A kernel of the program.
    Kernel,
}

/// Who computes which products and convolutions: a table of those that have been tried, and a rule for others. As text, a line each:
///
/// ```text
/// from 1048576 multiplications on: library
/// bf16 1×4096×768×768 nt bias: library
/// f32 1×64×10×512 nn: kernel
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Choices {
    /// What is not in the table is computed by the library if it takes at least so many multiplications.
    pub least: u64,
    known: BTreeMap<String, Choice>,
}

impl Default for Choices {
    /// An empty table, and large ones by the library: a launch of a small one takes as long either way, and kernels of the program fuse
    /// with what is around them.
    fn default() -> Choices {
        Choices::from(1 << 20)
    }
}

impl Choices {
    /// An empty table, and the library for what takes at least so many multiplications.
    pub fn from(least: u64) -> Choices {
        Choices { least, known: BTreeMap::new() }
    }

    /// Who computes what is called so and takes that many multiplications.
    pub fn of(&self, name: &str, multiplications: u64) -> Choice {
        let rule = || if multiplications >= self.least { Choice::Library } else { Choice::Kernel };
        self.known.get(name).copied().unwrap_or_else(rule)
    }

    /// Enters a choice.
    pub fn set(&mut self, name: String, choice: Choice) {
        self.known.insert(name, choice);
    }

    /// The table, in the order of the names.
    pub fn table(&self) -> impl Iterator<Item = (&str, Choice)> {
        self.known.iter().map(|(name, choice)| (name.as_str(), *choice))
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, or a line is none of a table.
    pub fn load(path: impl AsRef<Path>) -> Result<Choices> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(Error::other);
        text.and_then(|text| text.parse()).map_err(|e| e.context(path.display()))
    }

    /// Writes a file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        std::fs::write(path, self.to_string()).map_err(|e| Error::other(e).context(path.display()))
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Choice::Library => "library",
            Choice::Kernel => "kernel",
        })
    }
}

impl fmt::Display for Choices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "from {} multiplications on: library", self.least)?;
        self.table().try_for_each(|(name, choice)| writeln!(f, "{name}: {choice}"))
    }
}

impl FromStr for Choices {
    type Err = Error;

    fn from_str(text: &str) -> Result<Choices, Error> {
        let mut choices = Choices::default();
        for (number, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = || {
                Error::new(format!("line {} names no choice: `{line}`", number + 1))
                    .note("lines look like", "`f32 1×64×10×512 nn: kernel` or `from 1048576 multiplications on: library`")
            };
            let (name, choice) = line.rsplit_once(": ").ok_or_else(wrong)?;
            let choice = match choice {
                "library" => Choice::Library,
                "kernel" => Choice::Kernel,
                _ => return Err(wrong()),
            };
            match name.strip_prefix("from ").and_then(|rest| rest.strip_suffix(" multiplications on")) {
                Some(least) if choice == Choice::Library => choices.least = least.parse().map_err(|_| wrong())?,
                Some(_) => return Err(wrong()),
                None => choices.set(name.to_owned(), choice),
            }
        }
        Ok(choices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let mut choices = Choices::from(1000);
        choices.set("f32 1×2×3×4 nn relu".into(), Choice::Kernel);
        choices.set("bf16 1×64×64×64 nt".into(), Choice::Library);
        let text = choices.to_string();
        assert_eq!(text.parse::<Choices>().unwrap(), choices, "{text}");
        assert_eq!(choices.of("f32 1×2×3×4 nn relu", 5000), Choice::Kernel);
        assert_eq!(choices.of("bf16 1×64×64×64 nt", 5), Choice::Library);
        assert_eq!([999, 1000].map(|n| choices.of("another", n)), [Choice::Kernel, Choice::Library]);
    }

    #[test]
    fn a_line_that_is_none_is_an_error_with_its_number() {
        for text in ["# fine\n\nf32 1×2×3×4 nn", "\n\nx: perhaps", "\n\nfrom many multiplications on: library"] {
            let error = text.parse::<Choices>().unwrap_err().to_string();
            assert!(error.contains("line 3 names no choice"), "{error}");
        }
    }
}
