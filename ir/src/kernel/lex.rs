//! Tokens of kernel text, with their places.

use crate::error::{Error, Result};

/// A token and where it begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'t> {
    pub kind: Kind<'t>,
    pub line: u32,
    pub column: u32,
}

/// What a token is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind<'t> {
    /// A word, or several joined by dots.
    Word(&'t str),
    /// Digits, fraction and exponent; then the type that is written behind them, perhaps empty.
    Number(&'t str, &'t str),
    /// An operator or bracket.
    Symbol(&'static str),
    /// The text after `//`.
    Comment(&'t str),
    /// The end of a line.
    Newline,
    /// The end of the text.
    End,
}

/// Symbols, longer ones before their beginnings.
const SYMBOLS: [&str; 36] = [
    "max=", "min=", "..=", "->", "==", "!=", "<=", ">=", "<<", ">>", "+=", "-=", "*=", "/=", "&=", "|=", "(", ")", "[", "]", "{",
    "}", ",", ":", "=", "<", ">", "+", "-", "*", "/", "%", "&", "|", "^", "!",
];

impl Token<'_> {
    /// An error at this place.
    pub fn error(&self, message: impl std::fmt::Display) -> Error {
        Error::new(format!("line {}, column {}: {message}", self.line, self.column))
    }
}

/// Splits `text` into tokens; the last is [`Kind::End`].
pub(super) fn lex(text: &str) -> Result<Vec<Token<'_>>> {
    let mut tokens = Vec::new();
    let mut line = 0;
    for source in text.lines() {
        line += 1;
        let mut rest = source;
        let mut column = 1;
        loop {
            let trimmed = rest.trim_start();
            column += rest[..rest.len() - trimmed.len()].chars().count() as u32;
            rest = trimmed;
            if rest.is_empty() {
                tokens.push(Token { kind: Kind::Newline, line, column });
                break;
            }
            let at = |kind| Token { kind, line, column };
            let (kind, length) = match token(rest) {
                Some(found) => found,
                None => return Err(at(Kind::End).error(format!("unexpected character {:?}", &rest[..char_length(rest)]))),
            };
            tokens.push(at(kind));
            column += rest[..length].chars().count() as u32;
            rest = &rest[length..];
        }
    }
    tokens.push(Token { kind: Kind::End, line: line + 1, column: 1 });
    Ok(tokens)
}

fn char_length(text: &str) -> usize {
    text.chars().next().map_or(0, char::len_utf8)
}

fn token(rest: &str) -> Option<(Kind<'_>, usize)> {
    if let Some(comment) = rest.strip_prefix("//") {
        return Some((Kind::Comment(comment.trim()), rest.len()));
    }
    if let Some(symbol) = SYMBOLS.into_iter().find(|s| rest.starts_with(s)) {
        return Some((Kind::Symbol(symbol), symbol.len()));
    }
    let bytes = rest.as_bytes();
    let digits = |from: usize| from + bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let word = |from: usize| from + bytes[from..].iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
    let digit_at = |i: usize| bytes.get(i).is_some_and(u8::is_ascii_digit);
    if digit_at(0) {
        let mut end = digits(0);
        if bytes.get(end) == Some(&b'.') && digit_at(end + 1) {
            end = digits(end + 1);
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let sign = matches!(bytes.get(end + 1), Some(b'+' | b'-')) as usize;
            if digit_at(end + 1 + sign) {
                end = digits(end + 1 + sign);
            }
        }
        let suffix = word(end);
        return Some((Kind::Number(&rest[..end], &rest[end..suffix]), suffix));
    }
    let mut end = word(0);
    while end > 0 && bytes.get(end) == Some(&b'.') && word(end + 1) > end + 1 {
        end = word(end + 1);
    }
    (end > 0).then(|| (Kind::Word(&rest[..end]), end))
}
