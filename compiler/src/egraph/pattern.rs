//! Patterns: both sides of a rule, read from text written as mathematics.
//!
//! ```text
//! exp(x) / broadcast[(s, p)](sum[k](exp(x)))
//! ```
//! - A name is a value; used twice, it is the same value. `f(x)` applies an operator; `sum`, `prod`, `max`, `min`,
//!   `all` and `any` are kinds of `reduce`; `+ - * /` are arithmetic; `.0` takes one result of several.
//! - Attributes stand in brackets: all of them, `dot_general[d](a, b)`, or one by one in the order they are declared,
//!   `broadcast[(s, p)](x)`; each is a name to bind, a constant, or `_`.
//! - `unary[f](x)`, `binary[f](x, y)` and `ternary[f](x, y, z)` are any pointwise operator.
//! - An operator without operands has no parentheses: `iota[(t, s, a)]`.
//! - A number is a value filled with that number. `concat[a](xs..)` takes any number of operands.
//! - `(a, b)` at the top is several values at once, each to be replaced.
//!
//! Equal subterms are one term: the pattern is a graph, and what it matches must be one too.

use super::language::Kind;
use igneous_ir::op::{Attr, AttrKind, Float};
use igneous_ir::{DType, Dim, dim, ops};
use smallvec::SmallVec;

/// A name in a rule: an index into its table of names.
pub type Slot = usize;

/// A subterm: an index into the pattern's terms.
pub type TermId = usize;

/// One side of a rule.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// The subterms, operands before what uses them.
    pub terms: Vec<Term>,
    /// What is matched or built.
    pub roots: Vec<TermId>,
    /// The number of steps from a root to its farthest subterm.
    pub depth: usize,
}

/// A subterm of a pattern.
#[derive(Clone, PartialEq, Debug)]
pub enum Term {
    /// Any value.
    Value(Slot),
    /// All remaining operands.
    Rest(Slot),
    /// A value filled with one number.
    Number(Float),
    /// An operator applied to values.
    Apply(Head, SmallVec<[TermId; 3]>),
    /// One result of an operator with several.
    Get(TermId, u32),
}

/// The operator of a subterm.
#[derive(Clone, PartialEq, Debug)]
pub enum Head {
    /// This one.
    Operator(Kind, Attrs),
    /// Any pointwise one.
    Pointwise(Slot),
}

/// The attributes of a subterm's operator.
#[derive(Clone, PartialEq, Debug)]
pub enum Attrs {
    /// Whatever they are; none on a right side.
    Any,
    /// All of them under one name.
    All(Slot),
    /// One by one.
    Each(Vec<AttrTerm>),
}

/// One attribute of a subterm's operator.
#[derive(Clone, PartialEq, Debug)]
pub enum AttrTerm {
    /// Whatever it is.
    Any,
    /// Bound to a name.
    Bind(Slot),
    /// This value.
    Is(Attr),
}

/// Parses both sides of a rule and the table of names that they share.
///
/// # Errors
/// A sentence that says what is wrong with the text.
pub fn parse(left: &str, right: &str) -> Result<(Pattern, Pattern, Vec<&'static str>), String> {
    let mut names = Vec::new();
    let left = parse_side(left, &mut names)?;
    let right = parse_side(right, &mut names)?;
    Ok((left, right, names))
}

fn parse_side(text: &str, names: &mut Vec<&'static str>) -> Result<Pattern, String> {
    let tokens = tokenize(text)?;
    let mut parser = Parser { tokens, at: 0, names, terms: Vec::new() };
    let roots = parser.roots()?;
    if parser.at != parser.tokens.len() {
        return Err(format!("`{text}` goes on after its end, at `{:?}`", parser.tokens[parser.at]));
    }
    let terms = parser.terms;
    let mut depths: Vec<usize> = Vec::with_capacity(terms.len());
    for term in &terms {
        depths.push(match term {
            Term::Apply(_, args) => args.iter().map(|&a| depths[a] + 1).max().unwrap_or(0),
            Term::Get(tuple, _) => depths[*tuple] + 1,
            _ => 0,
        });
    }
    let depth = roots.iter().map(|&r| depths[r]).max().unwrap_or(0);
    Ok(Pattern { terms, roots, depth })
}

/// The slot of `name`.
pub fn slot(names: &mut Vec<&'static str>, name: &str) -> Slot {
    names.iter().position(|n| *n == name).unwrap_or_else(|| {
        names.push(dim::intern(name));
        names.len() - 1
    })
}

#[derive(Clone, PartialEq, Debug)]
enum Token {
    Name(String),
    Number(f64),
    Rest,
    Sign(char),
}

fn tokenize(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(c) = rest.chars().next() {
        let length = if c.is_ascii_alphabetic() || c == '_' {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            tokens.push(Token::Name(rest[..end].to_owned()));
            end
        } else if c.is_ascii_digit() {
            let end = number_end(rest);
            tokens.push(Token::Number(rest[..end].parse().map_err(|e| format!("{e} in `{text}`"))?));
            end
        } else if rest.starts_with("..") {
            tokens.push(Token::Rest);
            2
        } else if "()[],+-*/.".contains(c) {
            tokens.push(Token::Sign(c));
            1
        } else {
            return Err(format!("`{c}` has no meaning in a pattern"));
        };
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// Where a number ends: digits, a fraction, an exponent.
fn number_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits = |mut i: usize| {
        while bytes.get(i).is_some_and(u8::is_ascii_digit) {
            i += 1;
        }
        i
    };
    let mut end = digits(0);
    if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
        end = digits(end + 1);
    }
    if bytes.get(end) == Some(&b'e') {
        let sign = usize::from(bytes.get(end + 1) == Some(&b'-'));
        end = digits(end + 1 + sign);
    }
    end
}

struct Parser<'a> {
    tokens: Vec<Token>,
    at: usize,
    names: &'a mut Vec<&'static str>,
    terms: Vec<Term>,
}

impl Parser<'_> {
    fn peek(&self, sign: char) -> bool {
        self.tokens.get(self.at) == Some(&Token::Sign(sign))
    }

    fn take(&mut self, sign: char) -> bool {
        let found = self.peek(sign);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: char) -> Result<(), String> {
        if self.take(sign) { Ok(()) } else { Err(format!("`{sign}` expected, {:?} found", self.tokens.get(self.at))) }
    }

    fn next(&mut self) -> Result<Token, String> {
        self.at += 1;
        self.tokens.get(self.at - 1).cloned().ok_or_else(|| "the pattern ends too early".to_owned())
    }

    fn term(&mut self, term: Term) -> TermId {
        self.terms.iter().position(|t| *t == term).unwrap_or_else(|| {
            self.terms.push(term);
            self.terms.len() - 1
        })
    }

    fn roots(&mut self) -> Result<Vec<TermId>, String> {
        let start = self.at;
        if self.take('(') {
            let mut roots = vec![self.sum()?];
            while self.take(',') {
                roots.push(self.sum()?);
            }
            if roots.len() > 1 {
                self.expect(')')?;
                return Ok(roots);
            }
            self.at = start;
        }
        Ok(vec![self.sum()?])
    }

    fn apply(&mut self, name: &str, args: &[TermId]) -> Result<TermId, String> {
        let kind = Kind::named(name).ok_or_else(|| format!("no operator is called `{name}`"))?;
        Ok(self.term(Term::Apply(Head::Operator(kind, Attrs::Any), args.into())))
    }

    fn sum(&mut self) -> Result<TermId, String> {
        let mut left = self.product()?;
        loop {
            let name = match () {
                _ if self.take('+') => "add",
                _ if self.take('-') => "sub",
                _ => return Ok(left),
            };
            let right = self.product()?;
            left = self.apply(name, &[left, right])?;
        }
    }

    fn product(&mut self) -> Result<TermId, String> {
        let mut left = self.factor()?;
        loop {
            let name = match () {
                _ if self.take('*') => "mul",
                _ if self.take('/') => "div",
                _ => return Ok(left),
            };
            let right = self.factor()?;
            left = self.apply(name, &[left, right])?;
        }
    }

    fn factor(&mut self) -> Result<TermId, String> {
        if !self.take('-') {
            return self.postfix();
        }
        if let Some(Token::Number(x)) = self.tokens.get(self.at) {
            let term = Term::Number(Float::new(-x));
            self.at += 1;
            return Ok(self.term(term));
        }
        let operand = self.factor()?;
        self.apply("neg", &[operand])
    }

    fn postfix(&mut self) -> Result<TermId, String> {
        let mut term = self.primary()?;
        while self.take('.') {
            match self.next()? {
                Token::Number(i) => term = self.term(Term::Get(term, i as u32)),
                other => return Err(format!("the number of a result expected after `.`, {other:?} found")),
            }
        }
        Ok(term)
    }

    fn primary(&mut self) -> Result<TermId, String> {
        match self.next()? {
            Token::Number(x) => Ok(self.term(Term::Number(Float::new(x)))),
            Token::Sign('(') => {
                let inner = self.sum()?;
                self.expect(')')?;
                Ok(inner)
            }
            Token::Name(name) if self.peek('[') || self.peek('(') => self.application(&name),
            Token::Name(name) => {
                let slot = slot(self.names, &name);
                Ok(self.term(Term::Value(slot)))
            }
            other => Err(format!("a value expected, {other:?} found")),
        }
    }

    fn application(&mut self, name: &str) -> Result<TermId, String> {
        let head = self.head(name)?;
        let mut args = SmallVec::new();
        let operands = self.take('(');
        while operands && !self.take(')') {
            let arg = self.sum()?;
            if self.tokens.get(self.at) == Some(&Token::Rest) {
                self.at += 1;
                let Term::Value(slot) = self.terms[arg] else { return Err("`..` follows a name".to_owned()) };
                args.push(self.term(Term::Rest(slot)));
            } else {
                args.push(arg);
            }
            if !self.take(',') && !self.peek(')') {
                return Err(format!("`,` or `)` expected, {:?} found", self.tokens.get(self.at)));
            }
        }
        Ok(self.term(Term::Apply(head, args)))
    }

    fn head(&mut self, name: &str) -> Result<Head, String> {
        let reduction = ["sum", "prod", "max", "min", "all", "any"].contains(&name);
        let (operator, kind) = match name {
            "all" => ("reduce", Some("and")),
            "any" => ("reduce", Some("or")),
            _ if reduction => ("reduce", ops::record("reduce").map(|_| dim::intern(name))),
            _ => (name, None),
        };
        if matches!(name, "unary" | "binary" | "ternary") {
            let [AttrTerm::Bind(slot)] = self.attrs(&[AttrKind::Text])?[..] else {
                return Err(format!("`{name}` needs one name in brackets, for the operator"));
            };
            return Ok(Head::Pointwise(slot));
        }
        let record = ops::record(operator).ok_or_else(|| format!("no operator is called `{operator}`"))?;
        let own = Kind::named(operator).ok_or_else(|| format!("no operator is called `{operator}`"))?;
        let kinds: Vec<AttrKind> = record.attrs.iter().map(|(_, k)| *k).skip(usize::from(kind.is_some())).collect();
        let mut attrs = if self.peek('[') {
            match (&self.tokens.get(self.at + 1), self.tokens.get(self.at + 2)) {
                (Some(Token::Name(all)), Some(Token::Sign(']'))) if kinds.len() != 1 && all != "_" => {
                    let slot = slot(self.names, &all.clone());
                    self.at += 3;
                    return Ok(Head::Operator(own, Attrs::All(slot)));
                }
                _ => self.attrs(&kinds)?,
            }
        } else if kind.is_some() {
            vec![AttrTerm::Any; kinds.len()]
        } else {
            return Ok(Head::Operator(own, Attrs::Any));
        };
        if let Some(kind) = kind {
            attrs.insert(0, AttrTerm::Is(Attr::Name(kind)));
        }
        Ok(Head::Operator(own, Attrs::Each(attrs)))
    }

    fn attrs(&mut self, kinds: &[AttrKind]) -> Result<Vec<AttrTerm>, String> {
        self.expect('[')?;
        let listed = kinds.len() != 1 && self.take('(');
        let mut attrs = Vec::new();
        for (i, kind) in kinds.iter().enumerate() {
            if i > 0 {
                self.expect(',')?;
            }
            attrs.push(self.attr(*kind)?);
        }
        if listed {
            self.take(',');
            self.expect(')')?;
        }
        self.expect(']')?;
        Ok(attrs)
    }

    fn attr(&mut self, kind: AttrKind) -> Result<AttrTerm, String> {
        let negative = self.take('-');
        Ok(match (self.next()?, kind) {
            (Token::Name(n), _) if n == "_" => AttrTerm::Any,
            (Token::Name(n), AttrKind::Bool) if n == "true" || n == "false" => AttrTerm::Is(Attr::Bool(n == "true")),
            (Token::Name(n), AttrKind::DType) if DType::from_name(&n).is_some() => {
                AttrTerm::Is(Attr::DType(DType::from_name(&n).expect("it was just found")))
            }
            (Token::Name(n), AttrKind::Name(choices)) if choices.contains(&n.as_str()) => {
                AttrTerm::Is(Attr::Name(dim::intern(&n)))
            }
            (Token::Name(n), _) => AttrTerm::Bind(slot(self.names, &n)),
            (Token::Number(x), AttrKind::Float) => AttrTerm::Is(Attr::Float(Float::new(if negative { -x } else { x }))),
            (Token::Number(x), AttrKind::Int) => AttrTerm::Is(Attr::Int(if negative { -x } else { x } as i64)),
            (Token::Sign('['), AttrKind::Ints | AttrKind::Dims) => {
                let mut ints = SmallVec::<[i64; 4]>::new();
                while !self.take(']') {
                    match self.next()? {
                        Token::Number(x) => ints.push(x as i64),
                        other => return Err(format!("an integer expected, {other:?} found")),
                    }
                    self.take(',');
                }
                AttrTerm::Is(match kind {
                    AttrKind::Ints => Attr::Ints(ints),
                    _ => Attr::Dims(ints.into_iter().map(Dim::constant).collect()),
                })
            }
            (other, _) => return Err(format!("an attribute of type {kind:?} expected, {other:?} found")),
        })
    }
}
