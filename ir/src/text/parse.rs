//! Text to graph.

use super::lex::{Place, Token, lex, quoted};
use crate::dim::{Dim, intern};
use crate::error::{Error, Loc, Result};
use crate::graph::{Graph, Region, Value, Values};
use crate::op::{Attr, Op};
use crate::ops;
use crate::types::TensorType;
use std::collections::HashMap;
use std::fmt;

pub(super) fn parse(text: &str) -> Result<Graph> {
    let mut parser = Parser { tokens: lex(text)?, at: 0, regions: HashMap::new(), symbols: HashMap::new() };
    loop {
        parser.skip_comments();
        let place = parser.place();
        let graph = parser.graph()?;
        parser.skip_comments();
        if *parser.peek() == Token::End {
            return Ok(graph);
        }
        let name = graph.name.clone();
        if parser.regions.insert(name.clone(), Region::new(graph)).is_some() {
            return Err(place.error(format_args!("a second graph is called {name:?}")));
        }
    }
}

pub(super) struct Parser<'a> {
    tokens: Vec<(Token<'a>, Place)>,
    pub(super) at: usize,
    pub(super) regions: HashMap<String, Region>,
    /// The symbols of the graph being read.
    pub(super) symbols: HashMap<&'a str, Dim>,
}

/// What is known of the graph being read.
struct State<'a> {
    graph: Graph,
    values: HashMap<&'a str, Value>,
    /// Scopes by enclosing scope, name and which call of it.
    scopes: HashMap<(u32, String, usize), u32>,
}

impl<'a> Parser<'a> {
    fn graph(&mut self) -> Result<Graph> {
        self.word("graph")?;
        let name = self.name()?;
        self.read_symbols()?;
        let mut state = State { graph: Graph::new(name), values: HashMap::new(), scopes: HashMap::new() };
        self.list("(", ")", |p| p.input(&mut state))?;
        self.punctuation("->")?;
        let mut outputs = Vec::new();
        self.list("(", ")", |p| {
            outputs.push((p.ty()?, p.optional_text().unwrap_or_default()));
            Ok(())
        })?;
        self.skip_symbols();
        self.punctuation("{")?;
        loop {
            self.skip_comments();
            if *self.peek() == Token::Word("return") {
                break;
            }
            self.statement(&mut state)?;
        }
        self.returned(&mut state, outputs)?;
        self.skip_comments();
        self.punctuation("}")?;
        (state.graph.loc, state.graph.scope) = (None, 0);
        Ok(state.graph)
    }

    /// Reads the ranges behind `where`, which the types before it need.
    fn read_symbols(&mut self) -> Result<()> {
        self.symbols.clear();
        let header = self.at;
        while !matches!(self.peek(), Token::Punctuation("{") | Token::Word("where") | Token::End) {
            self.at += 1;
        }
        if *self.peek() == Token::Word("where") {
            self.at += 1;
            loop {
                let place = self.place();
                let Token::Word(name) = *self.peek() else { return Err(self.expected("the name of a symbol")) };
                self.at += 1;
                self.word("in")?;
                let lo = self.integer()?;
                self.punctuation("..=")?;
                let hi = self.integer()?;
                if lo > hi {
                    return Err(place.error(format_args!("the range {lo}..={hi} of `{name}` is empty")));
                }
                if self.symbols.insert(name, Dim::symbol(name, lo, hi)).is_some() {
                    return Err(place.error(format_args!("symbol `{name}` has two ranges")));
                }
                if !self.accept(",") {
                    break;
                }
            }
        }
        self.at = header;
        Ok(())
    }

    fn skip_symbols(&mut self) {
        if *self.peek() == Token::Word("where") {
            while !matches!(self.peek(), Token::Punctuation("{") | Token::End) {
                self.at += 1;
            }
        }
    }

    fn input(&mut self, state: &mut State<'a>) -> Result<()> {
        let place = self.place();
        let name = self.value_name()?;
        self.punctuation(":")?;
        let ty = self.ty()?;
        let is_number = name.bytes().all(|b| b.is_ascii_digit());
        let label = self.optional_text().unwrap_or_else(|| if is_number { String::new() } else { name.to_owned() });
        let value = state.graph.input(label, ty);
        define(state, name, value, place)
    }

    fn statement(&mut self, state: &mut State<'a>) -> Result<()> {
        let start = self.at;
        let mut names = Vec::new();
        if matches!(self.peek(), Token::Punctuation("%")) {
            loop {
                names.push((self.value_name()?, self.place_before()));
                if !self.accept(",") {
                    break;
                }
            }
            self.punctuation("=")?;
        }
        let place = self.place();
        let op = self.op()?;
        let mut operands = Values::new();
        self.list("(", ")", |p| {
            operands.push(p.value(state)?);
            Ok(())
        })?;
        let mut types = Vec::new();
        if self.accept(":") {
            loop {
                types.push((self.ty()?, self.place_before()));
                if !self.accept(",") {
                    break;
                }
            }
        }
        self.origin(start, state);
        let results = state.graph.add(op.clone(), &operands).map_err(|e| at(place, e))?;
        if results.len() != names.len() {
            return Err(place.error(format_args!("{} has {} results, and {} are named", op.name(), results.len(), names.len())));
        }
        if !types.is_empty() && types.len() != results.len() {
            return Err(place.error(format_args!(
                "{} has {} results, and {} types are given",
                op.name(),
                results.len(),
                types.len()
            )));
        }
        for (&result, (given, place)) in results.iter().zip(&types) {
            let inferred = state.graph.ty(result);
            if inferred != given {
                return Err(place.error(format_args!("expected the type {inferred} of {}, found {given}", op.name())));
            }
        }
        names.into_iter().zip(results).try_for_each(|((name, place), value)| define(state, name, value, place))
    }

    fn op(&mut self) -> Result<Op> {
        let place = self.place();
        let Token::Word(name) = *self.peek() else { return Err(self.expected("an operator")) };
        let record = ops::record(name).filter(|r| r.name != "input").ok_or_else(|| self.expected("an operator"))?;
        self.at += 1;
        let mut attrs: Vec<Option<Attr>> = record.attrs.iter().map(|_| None).collect();
        if matches!(self.peek(), Token::Punctuation("{")) {
            self.list("{", "}", |p| {
                let place = p.place();
                let known = match p.peek() {
                    Token::Word(w) => record.attrs.iter().position(|(n, _)| n == w),
                    _ => None,
                };
                let Some(k) = known else {
                    let names: Vec<&str> = record.attrs.iter().map(|(n, _)| *n).collect();
                    return Err(p.expected(format_args!("an attribute of {name} ({})", names.join(", "))));
                };
                p.at += 1;
                p.punctuation("=")?;
                let value = p.attr(record.attrs[k].1)?;
                match attrs[k].replace(value) {
                    Some(_) => Err(place.error(format_args!("attribute {} is given twice", record.attrs[k].0))),
                    None => Ok(()),
                }
            })?;
        }
        let missing = |n: &str| place.error(format_args!("{name} needs the attribute {n}"));
        let attrs: Result<Vec<Attr>> =
            attrs.into_iter().zip(record.attrs).map(|(a, (n, _))| a.ok_or_else(|| missing(n))).collect();
        Ok(Op::new(record, attrs?))
    }

    fn returned(&mut self, state: &mut State<'a>, outputs: Vec<(TensorType, String)>) -> Result<()> {
        let place = self.place();
        self.word("return")?;
        let mut values = Vec::new();
        while matches!(self.peek(), Token::Punctuation("%")) {
            values.push((self.value(state)?, self.place_before()));
            if !self.accept(",") {
                break;
            }
        }
        if values.len() != outputs.len() {
            return Err(place.error(format_args!(
                "the header declares {} outputs, and {} are returned",
                outputs.len(),
                values.len()
            )));
        }
        for ((value, place), (ty, name)) in values.into_iter().zip(outputs) {
            if *state.graph.ty(value) != ty {
                return Err(place.error(format_args!("expected {ty} as the header declares, found {}", state.graph.ty(value))));
            }
            state.graph.output(name, value);
        }
        Ok(())
    }

    /// Takes the source line and scope of the statement that began at token `start` from the comment on its last
    /// line. Any other comment is a remark.
    fn origin(&mut self, start: usize, state: &mut State<'a>) {
        (state.graph.loc, state.graph.scope) = (None, 0);
        let line = self.tokens[self.at - 1].1.line;
        if let (Token::Comment(comment), place) = self.tokens[self.at]
            && place.line == line
            && self.at > start
            && let Some((loc, scopes)) = read_origin(comment)
        {
            state.graph.loc = loc;
            for (name, number) in scopes {
                let key = (state.graph.scope, name, number);
                match state.scopes.get(&key) {
                    Some(&scope) => state.graph.scope = scope,
                    None => {
                        state.graph.push_scope(intern(&key.1));
                        state.scopes.insert(key, state.graph.scope);
                    }
                }
            }
        }
    }

    fn value(&mut self, state: &State<'a>) -> Result<Value> {
        let place = self.place();
        let name = self.value_name()?;
        state.values.get(name).copied().ok_or_else(|| place.error(format_args!("no value before this is called %{name}")))
    }

    fn value_name(&mut self) -> Result<&'a str> {
        self.punctuation("%")?;
        match *self.peek() {
            Token::Word(name) | Token::Number(name) => {
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.expected("the name of a value")),
        }
    }

    pub(super) fn name(&mut self) -> Result<String> {
        let name = match self.peek() {
            Token::Word(w) => (*w).to_owned(),
            Token::Text(t) => t.clone(),
            _ => return Err(self.expected("the name of a graph")),
        };
        self.at += 1;
        Ok(name)
    }

    pub(super) fn optional_text(&mut self) -> Option<String> {
        let Token::Text(text) = self.peek().clone() else { return None };
        self.at += 1;
        Some(text)
    }

    /// Items between `open` and `close`, separated by commas.
    pub(super) fn list(
        &mut self,
        open: &'static str,
        close: &'static str,
        mut item: impl FnMut(&mut Self) -> Result<()>,
    ) -> Result<()> {
        self.punctuation(open)?;
        if self.accept(close) {
            return Ok(());
        }
        loop {
            item(self)?;
            if self.accept(close) {
                return Ok(());
            }
            if !self.accept(",") {
                return Err(self.expected(format_args!("`,` or `{close}`")));
            }
        }
    }

    fn word(&mut self, word: &'static str) -> Result<()> {
        if *self.peek() != Token::Word(word) {
            return Err(self.expected(format_args!("`{word}`")));
        }
        self.at += 1;
        Ok(())
    }

    pub(super) fn punctuation(&mut self, symbol: &'static str) -> Result<()> {
        if self.accept(symbol) { Ok(()) } else { Err(self.expected(format_args!("`{symbol}`"))) }
    }

    pub(super) fn accept(&mut self, symbol: &'static str) -> bool {
        let found = *self.peek() == Token::Punctuation(symbol);
        self.at += usize::from(found);
        found
    }

    fn skip_comments(&mut self) {
        while let Token::Comment(_) = self.peek() {
            self.at += 1;
        }
    }

    pub(super) fn peek(&self) -> &Token<'a> {
        &self.tokens[self.at].0
    }

    pub(super) fn place(&self) -> Place {
        self.tokens[self.at].1
    }

    fn place_before(&self) -> Place {
        self.tokens[self.at.saturating_sub(1)].1
    }

    pub(super) fn expected(&self, what: impl fmt::Display) -> Error {
        self.place().error(format_args!("expected {what}, found {}", self.peek()))
    }
}

fn define<'a>(state: &mut State<'a>, name: &'a str, value: Value, place: Place) -> Result<()> {
    match state.values.insert(name, value) {
        Some(_) => Err(place.error(format_args!("a second value is called %{name}"))),
        None => Ok(()),
    }
}

/// Says where in the text an error is.
pub(super) fn at(place: Place, error: Error) -> Error {
    error.context(format_args!("line {}, column {}", place.line, place.column))
}

/// Source line and scopes, outermost first, each with which call of the layer it is.
type Origin = (Option<Loc>, Vec<(String, usize)>);

/// Reads `file:line scope/scope#2`; none if the comment is something else.
fn read_origin(comment: &str) -> Option<Origin> {
    let (file, rest) = read_name(comment, "\":")?;
    let loc = rest.strip_prefix(':').and_then(|rest| {
        let length = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let after = &rest[length..];
        let ends = after.is_empty() || after.starts_with(' ');
        let line = rest[..length].parse().ok().filter(|_| ends)?;
        Some((Loc { file: intern(&file), line }, after.trim_start()))
    });
    let (loc, rest) = match loc {
        Some((loc, rest)) => (Some(loc), rest),
        None => (None, comment),
    };
    let mut scopes = Vec::new();
    let mut rest = rest;
    while !rest.is_empty() {
        let (name, after) = read_name(rest, "\"#/:")?;
        rest = after;
        let mut number = 1;
        if let Some(after) = rest.strip_prefix('#') {
            let length = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
            number = after[..length].parse().ok()?;
            rest = &after[length..];
        }
        scopes.push((name, number));
        rest = match rest.strip_prefix('/') {
            Some(after) if !after.is_empty() => after,
            _ if rest.is_empty() => rest,
            _ => return None,
        };
    }
    Some((loc, scopes))
}

/// A quoted text or the characters up to white space or one of `end`.
fn read_name<'a>(text: &'a str, end: &str) -> Option<(String, &'a str)> {
    if text.starts_with('"') {
        let (name, length) = quoted(text).ok()?;
        return Some((name, &text[length..]));
    }
    let length = text.find(|c: char| c.is_whitespace() || end.contains(c)).unwrap_or(text.len());
    (length > 0).then(|| (text[..length].to_owned(), &text[length..]))
}
