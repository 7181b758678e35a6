//! The parser of kernel text. It accepts what [`super::print`] writes, in any spacing within a line, and gives back a
//! kernel that prints the same bytes. It does not verify: an ill-typed kernel parses, and [`Kernel::verify`] says why it is one.

use super::expression::{Ast, Names};
use super::lex::{Kind, Token, lex};
use super::{Access, Axis, AxisKind, Directive, Kernel, Local, Param, Section, Stage, Store, Target};
use crate::dim::{Dim, Symbol, intern};
use crate::error::{Error, Loc, Result};
use crate::op::ReduceKind;
use crate::scalar::{ExprId, Exprs};
use crate::types::{DType, Shape, TensorType};
use std::collections::HashMap;

impl Kernel {
    /// Reads a kernel from its text.
    ///
    /// # Errors
    /// If the text is none; the message begins with line and column.
    pub fn parse(text: &str) -> Result<Kernel> {
        let tokens = lex(text)?;
        let symbols = Parser { tokens: &tokens, next: 0, symbols: HashMap::new() }.dims()?;
        Parser { tokens: &tokens, next: 0, symbols }.kernel()
    }
}

/// Nesting beyond this is refused rather than risking the stack.
pub(super) const DEPTH: u32 = 256;

pub(super) struct Parser<'t> {
    tokens: &'t [Token<'t>],
    next: usize,
    symbols: HashMap<&'t str, Symbol>,
}

impl<'t> Parser<'t> {
    pub fn peek(&self) -> Token<'t> {
        self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    pub fn take(&mut self) -> Token<'t> {
        let token = self.peek();
        self.next += 1;
        token
    }

    pub fn error(&self, message: impl std::fmt::Display) -> Error {
        self.peek().error(message)
    }

    /// Takes the symbol if it comes next.
    pub fn eat(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek().kind, Kind::Symbol(s) if s == symbol);
        self.next += found as usize;
        found
    }

    pub fn expect(&mut self, symbol: &str) -> Result<()> {
        if self.eat(symbol) { Ok(()) } else { Err(self.error(format!("expected `{symbol}`"))) }
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let found = self.peek().kind == Kind::Word(word);
        self.next += found as usize;
        found
    }

    pub fn word(&mut self) -> Result<&'t str> {
        match self.peek().kind {
            Kind::Word(w) => {
                self.next += 1;
                Ok(w)
            }
            _ => Err(self.error("expected a name")),
        }
    }

    fn number<T: std::str::FromStr>(&mut self) -> Result<T> {
        match self.peek().kind {
            Kind::Number(digits, "") => {
                let n = digits.parse().map_err(|_| self.error(format!("{digits} is not a number that fits here")))?;
                self.next += 1;
                Ok(n)
            }
            _ => Err(self.error("expected a number")),
        }
    }

    /// A number that may be negative.
    fn signed(&mut self) -> Result<i64> {
        let sign = if self.eat("-") { -1 } else { 1 };
        Ok(sign * self.number::<i64>()?)
    }

    /// Goes to the next line that has something on it; false at the end of the text.
    fn next_line(&mut self) -> bool {
        while matches!(self.peek().kind, Kind::Newline | Kind::Comment(_)) {
            self.next += 1;
        }
        self.peek().kind != Kind::End
    }

    fn end_of_line(&self) -> Result<()> {
        match self.peek().kind {
            Kind::Newline | Kind::Comment(_) | Kind::End => Ok(()),
            _ => Err(self.error("expected the end of the line")),
        }
    }

    /// Items separated by commas up to the closing symbol, which is taken.
    fn list<T>(&mut self, close: &str, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut items = Vec::new();
        if self.eat(close) {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if self.eat(close) {
                return Ok(items);
            }
            self.expect(",")?;
        }
    }

    /// The symbols' ranges: they stand after the header, which mentions the symbols.
    fn dims(mut self) -> Result<HashMap<&'t str, Symbol>> {
        let line = self.tokens.windows(2).position(|w| w[0].kind == Kind::Newline && w[1].kind == Kind::Word("dims"));
        let Some(line) = line else { return Ok(self.symbols) };
        self.next = line + 2;
        loop {
            let name = self.word()?;
            self.expect(":")?;
            let lo = self.signed()?;
            self.expect("..=")?;
            let hi = self.signed()?;
            self.symbols.insert(name, Symbol { name: intern(name), lo, hi });
            if !self.eat(",") {
                self.end_of_line()?;
                return Ok(self.symbols);
            }
        }
    }

    fn kernel(mut self) -> Result<Kernel> {
        self.next_line();
        if !self.eat_word("kernel") {
            return Err(self.error("expected `kernel`"));
        }
        let name = self.word()?.to_owned();
        self.expect("(")?;
        let mut params = self.list(")", |p| p.param(Access::Read))?;
        self.expect("->")?;
        self.expect("(")?;
        params.extend(self.list(")", |p| p.param(Access::Write))?);
        let locs = match self.peek().kind {
            Kind::Comment(text) => text.split(", ").filter_map(parse_loc).collect(),
            _ => Vec::new(),
        };
        self.end_of_line()?;
        if self.next_line() && self.eat_word("dims") {
            while self.end_of_line().is_err() {
                self.next += 1;
            }
        }
        let mut sections = Vec::new();
        while self.next_line() {
            if self.eat_word("section") {
                self.end_of_line()?;
            } else if !sections.is_empty() {
                return Err(self.error("expected `section`"));
            }
            sections.push(self.section(&params)?);
        }
        Ok(Kernel { name, params, sections, locs })
    }

    fn param(&mut self, access: Access) -> Result<Param> {
        let name = self.word()?.to_owned();
        self.expect(":")?;
        let dtype = self.dtype()?;
        self.expect("[")?;
        let shape: Shape = self.list("]", |p| p.dim(0))?.into();
        Ok(Param { name, ty: TensorType { dtype, shape }, access })
    }

    fn dtype(&mut self) -> Result<DType> {
        let token = self.peek();
        let name = self.word()?;
        DType::from_name(name).ok_or_else(|| token.error(format!("{name} is not an element type")))
    }

    /// A sum of products.
    pub fn dim(&mut self, depth: u32) -> Result<Dim> {
        let negative = self.eat("-");
        let mut sum = self.dim_product(depth)? * if negative { -1 } else { 1 };
        loop {
            if self.eat("+") {
                sum = sum + self.dim_product(depth)?;
            } else if self.eat("-") {
                sum = sum - self.dim_product(depth)?;
            } else {
                return Ok(sum);
            }
        }
    }

    fn dim_product(&mut self, depth: u32) -> Result<Dim> {
        let mut product = self.dim_atom(depth)?;
        while self.eat("*") {
            product = product * self.dim_atom(depth)?;
        }
        Ok(product)
    }

    fn dim_atom(&mut self, depth: u32) -> Result<Dim> {
        if depth > DEPTH {
            return Err(self.error("the dimension is nested too deeply"));
        }
        let token = self.peek();
        if let Kind::Number(..) = token.kind {
            return Ok(Dim::constant(self.number()?));
        }
        let name = self.word()?;
        let operation: Option<fn(Dim, Dim) -> Dim> = match name {
            "div" => Some(Dim::div_floor),
            "rem" => Some(Dim::rem),
            "max" => Some(Dim::max),
            "min" => Some(Dim::min),
            _ => None,
        };
        match operation {
            Some(operation) if self.eat("(") => {
                let a = self.dim(depth + 1)?;
                self.expect(",")?;
                let b = self.dim(depth + 1)?;
                self.expect(")")?;
                Ok(operation(a, b))
            }
            _ => match self.symbols.get(name) {
                Some(s) => Ok(Dim::symbol(s.name, s.lo, s.hi)),
                None => Err(token.error(format!("dimension {name} has no range in a `dims` line"))),
            },
        }
    }

    fn section(&mut self, params: &[Param]) -> Result<Section> {
        let mut axes = Vec::new();
        if self.next_line() && self.eat_word("axes") {
            loop {
                axes.push(self.axis()?);
                if !self.eat(",") {
                    break;
                }
            }
            self.end_of_line()?;
        }
        let mut exprs = Exprs::default();
        exprs.axes = axes.iter().map(|a: &Axis| a.extent).collect();
        let mut names = Names {
            params,
            section: Section { axes, locals: vec![], exprs, stages: vec![], schedule: vec![] },
            lets: HashMap::new(),
        };
        while self.next_line() && self.peek().kind != Kind::Word("section") {
            if self.eat_word("schedule") {
                names.section.schedule = self.schedule(&names)?;
            } else {
                let stage = self.stage(&mut names)?;
                names.section.stages.push(stage);
            }
            self.end_of_line()?;
        }
        Ok(names.section)
    }

    fn axis(&mut self) -> Result<Axis> {
        let name = self.word()?.to_owned();
        self.expect(":")?;
        let kind = match (self.eat_word("par"), self.eat_word("ser")) {
            (true, _) => AxisKind::Parallel,
            (_, true) => AxisKind::Serial,
            _ => return Err(self.error("expected `par` or `ser`")),
        };
        Ok(Axis { name, extent: self.dim(0)?, kind })
    }

    fn axis_name(&mut self, names: &Names) -> Result<u32> {
        let token = self.peek();
        let name = self.word()?;
        names.axis(name).ok_or_else(|| token.error(format!("there is no axis {name}")))
    }

    /// Axis names up to something else.
    fn axis_names(&mut self, names: &Names) -> Result<Vec<u32>> {
        let mut axes = Vec::new();
        while let Kind::Word(name) = self.peek().kind {
            if matches!(name, "batch" | "m" | "n") && self.tokens.get(self.next + 1).is_some_and(|t| t.kind == Kind::Symbol("("))
            {
                break;
            }
            axes.push(self.axis_name(names)?);
        }
        Ok(axes)
    }

    fn schedule(&mut self, names: &Names) -> Result<Vec<Directive>> {
        let mut schedule = Vec::new();
        while let Kind::Word(directive) = self.peek().kind {
            let token = self.take();
            self.expect("(")?;
            schedule.push(match directive {
                "bind" => {
                    let axis = self.axis_name(names)?;
                    self.expect(",")?;
                    if !self.eat_word("core") {
                        return Err(self.error("expected `core`"));
                    }
                    Directive::Bind(axis)
                }
                "unroll" => Directive::Unroll(self.number()?),
                "pack" => match self.word()? {
                    "lhs" => Directive::PackLhs,
                    "rhs" => Directive::PackRhs,
                    _ => return Err(token.error("expected `pack(lhs)` or `pack(rhs)`")),
                },
                "vec" | "tile" | "split" => {
                    let axis = self.axis_name(names)?;
                    self.expect(",")?;
                    let count = self.number()?;
                    match directive {
                        "vec" => Directive::Vec(axis, count),
                        "tile" => Directive::Tile(axis, count),
                        _ => Directive::Split(axis, count),
                    }
                }
                _ => return Err(token.error(format!("{directive} is not a directive"))),
            });
            self.expect(")")?;
        }
        Ok(schedule)
    }

    fn stage(&mut self, names: &mut Names) -> Result<Stage> {
        if self.eat_word("map") {
            let axes = self.axis_names(names)?;
            let stores = self.block(names, |p, names| p.store(names, &axes))?;
            return Ok(Stage::Map { stores: define(names, stores, &axes), axes });
        }
        if self.eat_word("check") {
            let code = self.number()?;
            let axes = self.axis_names(names)?;
            let ok = self.value(names, Some(DType::Bool))?;
            let value = self.value(names, Some(DType::I64))?;
            return Ok(Stage::Check { axes, ok, value, code });
        }
        // `a, b = reduce …` and `a = dot …`; else a store.
        let start = self.next;
        let mut results = vec![self.word()?];
        while self.eat(",") {
            results.push(self.word()?);
        }
        let mut own = Vec::new();
        if matches!(self.peek().kind, Kind::Symbol("[")) && names.param(results[0]).is_none() {
            self.expect("[")?;
            own = self.list("]", |p| p.axis_name(names))?;
        }
        if self.eat("=") {
            if own.is_empty() && self.eat_word("reduce") {
                return self.reduce(names, &results);
            }
            if self.eat_word("dot") {
                return self.dot(names, &results, &own);
            }
        }
        self.next = start;
        names.lets.clear();
        let store = self.store(names, &[])?;
        Ok(Stage::Map { axes: vec![], stores: define(names, vec![store], &[]) })
    }

    fn reduce(&mut self, names: &mut Names, results: &[&str]) -> Result<Stage> {
        let token = self.peek();
        let kind = self.word()?;
        let kind = ReduceKind::from_name(kind).ok_or_else(|| token.error(format!("{kind} is not a reduction")))?;
        let axes = self.axis_names(names)?;
        let body = self.value(names, None)?;
        let dtype = match kind {
            ReduceKind::ArgMax | ReduceKind::ArgMin => DType::I64,
            _ => names.section.exprs.dtype(body),
        };
        let to = results.iter().map(|r| names.define(r, dtype, &[])).collect();
        Ok(Stage::Reduce { kind, axes, body, to })
    }

    fn dot(&mut self, names: &mut Names, results: &[&str], own: &[u32]) -> Result<Stage> {
        let axes = self.axis_names(names)?;
        let role = |p: &mut Self, role| match p.eat_word(role) {
            true => p.expect("(").and_then(|()| p.list(")", |p| p.axis_name(names))),
            false => Ok(Vec::new()),
        };
        let (batch, m, n) = (role(self, "batch")?, role(self, "m")?, role(self, "n")?);
        let lhs = self.value(names, None)?;
        let rhs = self.value(names, None)?;
        let [result] = results else { return Err(self.error("a dot has one result")) };
        let to = names.define(result, names.section.exprs.dtype(lhs), own);
        Ok(Stage::Dot { batch, m, n, axes, lhs, rhs, to })
    }

    /// `{ value }`
    fn value(&mut self, names: &mut Names, expected: Option<DType>) -> Result<ExprId> {
        let token = self.peek();
        let values = self.block(names, |p, names| p.expression(names, expected))?;
        match values[..] {
            [value] => Ok(value),
            _ => Err(token.error("expected one value in braces")),
        }
    }

    /// Lets, then items, each on a line; or one item without a line of its own.
    fn block<T>(&mut self, names: &mut Names, mut item: impl FnMut(&mut Self, &mut Names) -> Result<T>) -> Result<Vec<T>> {
        self.expect("{")?;
        names.lets.clear();
        let mut items = Vec::new();
        loop {
            self.next_line();
            if self.eat("}") {
                return Ok(items);
            }
            if self.eat_word("let") {
                let name = self.word()?;
                self.expect("=")?;
                let value = self.expression(names, None)?;
                names.lets.insert(name.to_owned(), value);
            } else {
                items.push(item(self, names)?);
            }
            if self.peek().kind != Kind::Symbol("}") {
                self.end_of_line()?;
            }
        }
    }

    /// A store; a local that is stored to is defined later, by [`define`], and named by its place in the result.
    fn store(&mut self, names: &mut Names, axes: &[u32]) -> Result<(Store, Option<&'t str>)> {
        let token = self.peek();
        let name = self.word()?;
        let index = match self.eat("[") {
            true => self.list("]", |p| Ast::parse(p, 0, 0))?,
            false => Vec::new(),
        };
        let Some(param) = names.param(name) else {
            self.expect("=")?;
            let shown: Vec<Option<u32>> = index.iter().map(|i| i.name().and_then(|n| names.axis(n))).collect();
            if !shown.iter().copied().eq(axes.iter().copied().map(Some)) {
                return Err(token.error(format!("local {name} is indexed by the axes of its stage")));
            }
            let value = self.expression(names, None)?;
            return Ok((Store { value, to: Target::Local(u32::MAX) }, Some(name)));
        };
        let index = index.iter().map(|i| i.build(names, Some(DType::I64))).collect::<Result<Vec<ExprId>>>()?;
        let combine = match self.take().kind {
            Kind::Symbol("=") => None,
            Kind::Symbol("+=") => Some(ReduceKind::Sum),
            Kind::Symbol("*=") => Some(ReduceKind::Prod),
            Kind::Symbol("&=") => Some(ReduceKind::And),
            Kind::Symbol("|=") => Some(ReduceKind::Or),
            Kind::Symbol("max=") => Some(ReduceKind::Max),
            Kind::Symbol("min=") => Some(ReduceKind::Min),
            _ => return Err(token.error(format!("expected an assignment to {name}"))),
        };
        let value = self.expression(names, Some(names.params[param as usize].ty.dtype))?;
        Ok((Store { value, to: Target::Param { param, index, combine } }, None))
    }

    fn expression(&mut self, names: &mut Names, expected: Option<DType>) -> Result<ExprId> {
        Ast::parse(self, 0, 0)?.build(names, expected)
    }
}

/// Gives locals that a map sets their numbers, after all its values are built.
fn define(names: &mut Names, stores: Vec<(Store, Option<&str>)>, axes: &[u32]) -> Vec<Store> {
    let mut numbered = Vec::new();
    for (mut store, local) in stores {
        if let Some(name) = local {
            let dtype = names.section.exprs.dtype(store.value);
            store.to = Target::Local(names.define(name, dtype, axes));
        }
        numbered.push(store);
    }
    numbered
}

impl Names<'_> {
    fn define(&mut self, name: &str, dtype: DType, axes: &[u32]) -> u32 {
        let locals = &mut self.section.locals;
        locals.push(Local { name: name.to_owned(), dtype, axes: axes.to_vec() });
        locals.len() as u32 - 1
    }
}

fn parse_loc(text: &str) -> Option<Loc> {
    let (file, line) = text.rsplit_once(':')?;
    Some(Loc { file: intern(file), line: line.parse().ok()? })
}
