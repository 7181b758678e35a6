//! Expressions in kernel text: parsed into a tree first, because a literal may get its type from what follows it.

use super::lex::{Kind, Token};
use super::parse::{DEPTH, Parser};
use super::print::{FUNCTIONS, INFIX, UNARY};
use super::{Param, Section};
use crate::dim::Dim;
use crate::error::Result;
use crate::scalar::{ExprId, MathFn, ScalarOp};
use crate::types::{DType, Literal};
use std::collections::HashMap;

/// The names that an expression may use, and the section it is built in.
pub(super) struct Names<'a> {
    pub params: &'a [Param],
    pub section: Section,
    pub lets: HashMap<String, ExprId>,
}

impl Names<'_> {
    pub fn param(&self, name: &str) -> Option<u32> {
        self.params.iter().position(|p| p.name == name).map(|i| i as u32)
    }

    pub fn axis(&self, name: &str) -> Option<u32> {
        self.section.axes.iter().position(|a| a.name == name).map(|i| i as u32)
    }

    fn local(&self, name: &str) -> Option<u32> {
        self.section.locals.iter().rposition(|l| l.name == name).map(|i| i as u32)
    }
}

/// A parsed expression.
pub(super) struct Ast<'t> {
    token: Token<'t>,
    node: Node<'t>,
    args: Vec<Ast<'t>>,
    depth: u32,
}

enum Node<'t> {
    /// Sign, digits or word, type.
    Number(bool, &'t str, Option<DType>),
    Bool(bool),
    Extent(Dim),
    /// A let, axis, local or parameter.
    Name(&'t str),
    Op(ScalarOp),
    /// A cast or bitcast to this type.
    Convert(ScalarOp, DType),
}

impl<'t> Ast<'t> {
    /// Parses an expression whose operators bind at least as tightly as `tightness`.
    pub fn parse(p: &mut Parser<'t>, tightness: u8, depth: u32) -> Result<Ast<'t>> {
        let mut left = Ast::unary(p, depth)?;
        loop {
            let token = p.peek();
            let Kind::Symbol(symbol) = token.kind else { return Ok(left) };
            let Some(&(op, _, level)) = INFIX.iter().find(|(_, s, _)| *s == symbol) else { return Ok(left) };
            if level < tightness {
                return Ok(left);
            }
            p.take();
            let right = Ast::parse(p, level + 1, depth + 1)?;
            left = Ast::new(token, Node::Op(op), vec![left, right])?;
        }
    }

    fn new(token: Token<'t>, node: Node<'t>, args: Vec<Ast<'t>>) -> Result<Ast<'t>> {
        let depth = 1 + args.iter().map(|a| a.depth).max().unwrap_or(0);
        if depth > DEPTH {
            return Err(token.error("the expression is too long: give parts of it names with `let`"));
        }
        Ok(Ast { token, node, args, depth })
    }

    fn unary(p: &mut Parser<'t>, depth: u32) -> Result<Ast<'t>> {
        if depth > DEPTH {
            return Err(p.error("the expression is nested too deeply"));
        }
        let token = p.peek();
        if p.eat("-") {
            return match Ast::literal(p, true)? {
                Some(literal) => Ok(literal),
                None => Ast::new(token, Node::Op(ScalarOp::Neg), vec![Ast::parse(p, UNARY, depth + 1)?]),
            };
        }
        if p.eat("!") {
            return Ast::new(token, Node::Op(ScalarOp::Not), vec![Ast::parse(p, UNARY, depth + 1)?]);
        }
        if p.eat("(") {
            let inner = Ast::parse(p, 0, depth + 1)?;
            p.expect(")")?;
            return Ok(inner);
        }
        if let Some(literal) = Ast::literal(p, false)? {
            return Ok(literal);
        }
        let name = p.word().map_err(|_| token.error("expected an expression"))?;
        if p.eat("(") {
            if name == "dim" {
                let dim = p.dim(0)?;
                p.expect(")")?;
                return Ast::new(token, Node::Extent(dim), vec![]);
            }
            let args = Ast::list(p, ")", depth)?;
            return Ast::call(token, name, args);
        }
        let index = if p.eat("[") { Ast::list(p, "]", depth)? } else { Vec::new() };
        Ast::new(token, Node::Name(name), index)
    }

    fn list(p: &mut Parser<'t>, close: &str, depth: u32) -> Result<Vec<Ast<'t>>> {
        let mut items = vec![Ast::parse(p, 0, depth + 1)?];
        while !p.eat(close) {
            p.expect(",")?;
            items.push(Ast::parse(p, 0, depth + 1)?);
        }
        Ok(items)
    }

    fn literal(p: &mut Parser<'t>, negative: bool) -> Result<Option<Ast<'t>>> {
        let token = p.peek();
        let (text, suffix) = match token.kind {
            Kind::Number(digits, suffix) => (digits, suffix),
            Kind::Word("true" | "false") if !negative => {
                p.take();
                return Ast::new(token, Node::Bool(token.kind == Kind::Word("true")), vec![]).map(Some);
            }
            Kind::Word(w) if w.starts_with("inf") || w.starts_with("NaN") => {
                let (text, suffix) = w.split_at(3);
                if !suffix.is_empty() && DType::from_name(suffix).is_none() {
                    return Ok(None);
                }
                (text, suffix)
            }
            _ => return Ok(None),
        };
        p.take();
        let dtype = match suffix {
            "" => None,
            s => Some(DType::from_name(s).ok_or_else(|| token.error(format!("{s} is not an element type")))?),
        };
        Ast::new(token, Node::Number(negative, text, dtype), vec![]).map(Some)
    }

    fn call(token: Token<'t>, name: &str, args: Vec<Ast<'t>>) -> Result<Ast<'t>> {
        let math = MathFn::ALL.into_iter().find(|f| f.name() == name);
        let math = math.map(|f| (Node::Op(ScalarOp::Math(f)), if f == MathFn::Pow { 2 } else { 1 }));
        let function = || FUNCTIONS.iter().find(|(_, n, _)| *n == name).map(|&(op, _, n)| (Node::Op(op), n));
        let cast = || DType::from_name(name).map(|d| (Node::Convert(ScalarOp::Cast, d), 1));
        let bits = || name.strip_prefix("bitcast_").and_then(DType::from_name).map(|d| (Node::Convert(ScalarOp::Bitcast, d), 1));
        let found = math.or_else(function).or_else(cast).or_else(bits);
        let (node, arity) = found.ok_or_else(|| token.error(format!("there is no function {name}")))?;
        if args.len() != arity {
            return Err(token.error(format!("{name} has {arity} arguments, {} are given", args.len())));
        }
        Ast::new(token, node, args)
    }

    /// The name, if the expression is just that.
    pub fn name(&self) -> Option<&'t str> {
        match self.node {
            Node::Name(name) if self.args.is_empty() => Some(name),
            _ => None,
        }
    }

    /// The type, if the expression shows it without help from its place.
    fn shown_type(&self, names: &Names) -> Option<DType> {
        match self.node {
            Node::Number(_, _, dtype) => dtype,
            Node::Bool(_) | Node::Op(ScalarOp::Compare(_)) => Some(DType::Bool),
            Node::Extent(_) => Some(DType::I64),
            Node::Convert(_, dtype) => Some(dtype),
            Node::Op(ScalarOp::Select) => self.args[1..].iter().find_map(|a| a.shown_type(names)),
            Node::Op(_) => self.args.iter().find_map(|a| a.shown_type(names)),
            Node::Name(name) => {
                let section = &names.section;
                let bound = names.lets.get(name).map(|&e| section.exprs.dtype(e));
                let axis = || names.axis(name).map(|_| DType::I64);
                let local = || names.local(name).map(|l| section.locals[l as usize].dtype);
                let param = || names.param(name).map(|p| names.params[p as usize].ty.dtype);
                bound.or_else(axis).or_else(local).or_else(param)
            }
        }
    }

    /// Adds the expression to the section. `expected` is the type if the place gives it.
    pub fn build(&self, names: &mut Names, expected: Option<DType>) -> Result<ExprId> {
        match self.node {
            Node::Number(negative, text, dtype) => {
                let literal = self.number(negative, text, dtype.or(expected))?;
                Ok(names.section.exprs.constant(literal))
            }
            Node::Bool(value) => Ok(names.section.exprs.constant(Literal::int(DType::Bool, value as i64))),
            Node::Extent(dim) => Ok(names.section.exprs.extent(dim)),
            Node::Convert(op, dtype) => {
                let arg = self.args[0].build(names, None)?;
                Ok(names.section.exprs.raw(op, &[arg], dtype))
            }
            Node::Op(op) => {
                let outer = if matches!(op, ScalarOp::Compare(_)) { None } else { expected };
                let operands = if op == ScalarOp::Select { &self.args[1..] } else { &self.args[..] };
                let common = outer.or_else(|| operands.iter().find_map(|a| a.shown_type(names)));
                let mut args = Vec::new();
                for (i, arg) in self.args.iter().enumerate() {
                    let condition = op == ScalarOp::Select && i == 0;
                    args.push(arg.build(names, if condition { Some(DType::Bool) } else { common })?);
                }
                let exprs = &mut names.section.exprs;
                let dtype = match op {
                    ScalarOp::Compare(_) => DType::Bool,
                    ScalarOp::Select => exprs.dtype(args[1]),
                    _ => exprs.dtype(args[0]),
                };
                Ok(exprs.raw(op, &args, dtype))
            }
            Node::Name(name) => self.named(names, name),
        }
    }

    fn named(&self, names: &mut Names, name: &str) -> Result<ExprId> {
        if let Some(&value) = names.lets.get(name) {
            return if self.args.is_empty() { Ok(value) } else { Err(self.token.error(format!("{name} has no axes"))) };
        }
        let index = self.args.iter().map(|a| a.build(names, Some(DType::I64))).collect::<Result<Vec<_>>>()?;
        let (op, dtype) = if let Some(a) = names.axis(name) {
            if !index.is_empty() {
                return Err(self.token.error(format!("{name} is an axis, it has no elements")));
            }
            (ScalarOp::Axis(a), DType::I64)
        } else if let Some(l) = names.local(name) {
            (ScalarOp::Local(l), names.section.locals[l as usize].dtype)
        } else if let Some(p) = names.param(name) {
            (ScalarOp::Load(p), names.params[p as usize].ty.dtype)
        } else {
            return Err(self.token.error(format!("nothing is called {name} here")));
        };
        Ok(names.section.exprs.raw(op, &index, dtype))
    }

    fn number(&self, negative: bool, text: &str, dtype: Option<DType>) -> Result<Literal> {
        let dtype = dtype.ok_or_else(|| self.token.error(format!("the type of {text} is not known here: write {text}f32")))?;
        let signed = format!("{}{text}", if negative { "-" } else { "" });
        let wrong = |_| self.token.error(format!("{signed} is not a number of type {dtype}"));
        if dtype.is_float() {
            let value = signed.parse::<f64>().map_err(|e| wrong(e.to_string()))?;
            // An f32 is read as one: rounding by way of f64 could differ in the last place.
            let value =
                if dtype == DType::F64 { value } else { f64::from(signed.parse::<f32>().map_err(|e| wrong(e.to_string()))?) };
            return Ok(Literal::float(dtype, value));
        }
        let value = signed.parse::<i64>().map_err(|e| wrong(e.to_string()))?;
        if dtype == DType::Bool || dtype.wrap(value) != value {
            return Err(wrong(String::new()));
        }
        Ok(Literal::int(dtype, value))
    }
}
