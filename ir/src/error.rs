//! The one error type: a sentence, the operands it is about, and the user's source line.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

/// Result with igneous's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, with the operands involved and the line of user code it happened at.
/// Cheap to clone: an invalid tensor carries its error through all that follows.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone, Default)]
struct Inner {
    message: String,
    notes: Vec<(String, String)>,
    loc: Option<Loc>,
}

/// A line of user code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Loc {
    /// The file as the compiler names it.
    pub file: &'static str,
    /// The line, from 1.
    pub line: u32,
}

impl Loc {
    /// The line of the caller (through `#[track_caller]`).
    #[track_caller]
    pub fn caller() -> Loc {
        Location::caller().into()
    }
}

impl From<&'static Location<'static>> for Loc {
    fn from(l: &'static Location<'static>) -> Loc {
        Loc { file: l.file(), line: l.line() }
    }
}

impl fmt::Display for Loc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl fmt::Debug for Loc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error {
    /// An error that says `message`.
    pub fn new(message: impl Into<String>) -> Error {
        Error(Arc::new(Inner { message: message.into(), ..Inner::default() }))
    }

    /// Wraps an error of another library.
    pub fn other(error: impl fmt::Display) -> Error {
        Error::new(error.to_string())
    }

    fn change(mut self, change: impl FnOnce(&mut Inner)) -> Error {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// Adds a line `label  text`, for example an operand and its type.
    pub fn note(self, label: impl Into<String>, text: impl fmt::Display) -> Error {
        self.change(|e| e.notes.push((label.into(), text.to_string())))
    }

    /// Puts `context: ` before the message.
    pub fn context(self, context: impl fmt::Display) -> Error {
        self.change(|e| e.message = format!("{context}: {}", e.message))
    }

    /// Records the line of user code, unless one is recorded already.
    pub fn at(self, loc: Loc) -> Error {
        if self.0.loc.is_some() {
            return self;
        }
        self.change(|e| e.loc = Some(loc))
    }

    /// The sentence alone.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The line of user code, where it is known.
    pub fn loc(&self) -> Option<Loc> {
        self.0.loc
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        let width = self.0.notes.iter().map(|(l, _)| l.len()).max().unwrap_or(0);
        for (label, text) in &self.0.notes {
            write!(f, "\n  {label:width$}  {text}")?;
        }
        if let Some(loc) = self.0.loc {
            write!(f, "\n  at {loc}")?;
        }
        Ok(())
    }
}

/// The same as `Display`, so that `fn main() -> Result<()>` prints a readable report.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Error {
        Error::other(e)
    }
}
