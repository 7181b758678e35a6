//! Text to tokens.

use crate::error::{Error, Result};
use std::fmt;

/// A place in the text, from 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub line: usize,
    pub column: usize,
}

impl Place {
    /// An error about this place.
    pub fn error(self, message: impl fmt::Display) -> Error {
        Error::new(format!("line {}, column {}: {message}", self.line, self.column))
    }
}

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Token<'a> {
    /// A word.
    Word(&'a str),
    /// A number without its sign, as written.
    Number(&'a str),
    /// A quoted text, its escapes resolved.
    Text(String),
    /// Punctuation: one character, or `->` or `..=`.
    Punctuation(&'a str),
    /// What follows `//` up to the end of the line.
    Comment(&'a str),
    /// The end of the text.
    End,
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::Word(w) => write!(f, "`{w}`"),
            Token::Number(n) => write!(f, "`{n}`"),
            Token::Text(t) => write!(f, "{t:?}"),
            Token::Punctuation(p) => write!(f, "`{p}`"),
            Token::Comment(_) => f.write_str("a comment"),
            Token::End => f.write_str("the end of the text"),
        }
    }
}

/// All tokens with their places; the last is [`Token::End`].
pub(super) fn lex(text: &str) -> Result<Vec<(Token<'_>, Place)>> {
    let mut lexer = Lexer { rest: text, place: Place { line: 1, column: 1 } };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_while(char::is_whitespace);
        let place = lexer.place;
        let token = lexer.next()?;
        let end = token == Token::End;
        tokens.push((token, place));
        if end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    rest: &'a str,
    place: Place,
}

impl<'a> Lexer<'a> {
    fn next(&mut self) -> Result<Token<'a>> {
        let Some(first) = self.rest.chars().next() else { return Ok(Token::End) };
        if let Some(comment) = self.rest.strip_prefix("//") {
            let length = comment.find('\n').unwrap_or(comment.len());
            return Ok(Token::Comment(self.take(2 + length)[2..].trim()));
        }
        if let Some(symbol) = ["->", "..="].into_iter().find(|s| self.rest.starts_with(s)) {
            return Ok(Token::Punctuation(self.take(symbol.len())));
        }
        match first {
            '"' => {
                let (text, length) = quoted(self.rest).map_err(|m| self.place.error(m))?;
                self.take(length);
                Ok(Token::Text(text))
            }
            '0'..='9' => Ok(Token::Number(self.take(number_length(self.rest)))),
            c if c.is_alphabetic() || c == '_' => {
                let length = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest.len());
                Ok(Token::Word(self.take(length)))
            }
            '(' | ')' | '{' | '}' | '[' | ']' | ',' | ':' | '=' | '%' | '@' | '+' | '-' | '*' => {
                Ok(Token::Punctuation(self.take(1)))
            }
            other => Err(self.place.error(format_args!("a graph has no {other:?}"))),
        }
    }

    fn skip_while(&mut self, accept: impl Fn(char) -> bool) {
        let length = self.rest.find(|c| !accept(c)).unwrap_or(self.rest.len());
        self.take(length);
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        for c in taken.chars() {
            match c {
                '\n' => self.place = Place { line: self.place.line + 1, column: 1 },
                _ => self.place.column += 1,
            }
        }
        self.rest = rest;
        taken
    }
}

/// `12`, `1.5`, `2e-7`, `0x7ff8`: a dot belongs to the number only before a digit, so that `1..=9` is three tokens.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from.min(bytes.len())..].iter().take_while(|b| b.is_ascii_digit()).count();
    if text.starts_with("0x") {
        return 2 + bytes[2..].iter().take_while(|b| b.is_ascii_hexdigit()).count();
    }
    let mut length = digits(0);
    if bytes.get(length) == Some(&b'.') && digits(length + 1) > 0 {
        length += 1 + digits(length + 1);
    }
    if matches!(bytes.get(length), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(length + 1), Some(b'-' | b'+')));
        let exponent = digits(length + 1 + sign);
        length += if exponent > 0 { 1 + sign + exponent } else { 0 };
    }
    length
}

/// The quoted text that `text` begins with, and its length with the quotes.
pub(super) fn quoted(text: &str) -> Result<(String, usize), String> {
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((i, c)) = chars.next() {
        match c {
            '"' => return Ok((out, i + 1)),
            '\n' => break,
            '\\' => match chars.next().map(|(_, c)| c) {
                Some('n') => out.push('\n'),
                Some('r') => out.push('\r'),
                Some('t') => out.push('\t'),
                Some('0') => out.push('\0'),
                Some(c @ ('"' | '\\' | '\'')) => out.push(c),
                Some('u') => {
                    let digits: String =
                        chars.by_ref().map(|(_, c)| c).skip_while(|c| *c == '{').take_while(|c| *c != '}').collect();
                    let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                    out.push(code.ok_or_else(|| format!("`\\u{{{digits}}}` is no character"))?);
                }
                _ => return Err("a text has an unknown escape after `\\`".into()),
            },
            c => out.push(c),
        }
    }
    Err("a text is not closed by `\"` on its line".into())
}
