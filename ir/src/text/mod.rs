//! The canonical text of a graph, and its parser.
//!
//! ```text
//! graph step(%0: f32[B, 784] "x", %1: f32[784, 10] "w") -> (f32[] "loss") where B in 1..=64 {
//!   %2 = dot_general {lhs_batch=[], lhs_contract=[1], rhs_batch=[], rhs_contract=[0]}(%0, %1) : f32[B, 10]  // mnist.rs:31 fc1
//!   %3 = reduce {axes=[0, 1], kind=sum}(%2) : f32[]
//!   return %3
//! }
//! ```
//!
//! Values are numbered in order, inputs first; attributes are sorted by name; regions are graphs of their own that
//! precede the graph that uses them, each printed once. The comment after a node is the user's source line and the
//! path of layer calls that made it (`#2` is the second call of a layer). Equal graphs print the same bytes, and
//! parsing what was printed and printing it again gives the same bytes. The parser also takes names for values
//! (`%x`), and infers result types that are left out.

mod items;
mod lex;
mod parse;
mod print;

use crate::error::{Error, Result};
use crate::graph::Graph;
use std::fmt;
use std::str::FromStr;

pub use print::statement;

impl Graph {
    /// Reads the text form; see [`crate::text`]. With several graphs in the text, the last is the result and may use
    /// the others as regions.
    ///
    /// # Errors
    /// If the text is not a well-typed graph; the message names line, column and what was expected.
    pub fn parse(text: &str) -> Result<Graph> {
        parse::parse(text)
    }
}

impl FromStr for Graph {
    type Err = Error;

    fn from_str(text: &str) -> Result<Graph> {
        Graph::parse(text)
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print::print(self, f)
    }
}

/// Whether `name` is written without quotes.
fn is_plain(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_') && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether a layer's name or a file's is written without quotes in the comment after a node.
fn is_plain_path(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| !c.is_whitespace() && !c.is_control() && !"\"#/:".contains(c))
}

#[cfg(test)]
mod tests;
