//! What is inside statements: attributes, types, dimensions and numbers.

use super::lex::Token;
use super::parse::{Parser, at};
use crate::array::Array;
use crate::dim::Dim;
use crate::error::Result;
use crate::op::{Attr, AttrKind, Float};
use crate::types::{DType, Literal, Shape, TensorType};
use std::sync::Arc;

/// How deep dimensions may be nested.
const MAX_DEPTH: usize = 64;

impl Parser<'_> {
    pub(super) fn attr(&mut self, kind: AttrKind) -> Result<Attr> {
        Ok(match kind {
            AttrKind::Int => Attr::Int(self.integer()?),
            AttrKind::Bool => Attr::Bool(self.boolean()?),
            AttrKind::Float => Attr::Float(Float::new(self.float(DType::F64)?)),
            AttrKind::DType => Attr::DType(self.dtype()?),
            AttrKind::Ints => {
                let mut ints = smallvec::SmallVec::new();
                self.list("[", "]", |p| {
                    ints.push(p.integer()?);
                    Ok(())
                })?;
                Attr::Ints(ints)
            }
            AttrKind::Dim => Attr::Dim(self.dim(0)?),
            AttrKind::Dims => Attr::Dims(self.dims()?),
            AttrKind::Name(names) => {
                let found = match self.peek() {
                    Token::Word(w) => names.iter().find(|n| *n == w),
                    _ => None,
                };
                let name = found.ok_or_else(|| self.expected(format_args!("one of {}", names.join(", "))))?;
                self.at += 1;
                Attr::Name(name)
            }
            AttrKind::Text => Attr::Text(self.optional_text().ok_or_else(|| self.expected("a text in quotes"))?.into()),
            AttrKind::Array => Attr::Array(Arc::new(self.array()?)),
            AttrKind::Region => {
                self.punctuation("@")?;
                let place = self.place();
                let name = self.name()?;
                let region = self.regions.get(&name);
                Attr::Region(
                    region.cloned().ok_or_else(|| place.error(format_args!("no graph before this one is called {name:?}")))?,
                )
            }
        })
    }

    fn array(&mut self) -> Result<Array> {
        let place = self.place();
        let ty = self.ty()?;
        let shape = ty.sizes().map_err(|e| at(place, e))?;
        let (mut floats, mut ints) = (Vec::new(), Vec::new());
        self.list("[", "]", |p| {
            match ty.dtype {
                DType::Bool => ints.push(i64::from(p.boolean()?)),
                d if d.is_float() => floats.push(p.float(d)?),
                d => {
                    let place = p.place();
                    let value = p.integer()?;
                    if d.wrap(value) != value {
                        return Err(place.error(format_args!("{value} is out of the range of {d}")));
                    }
                    ints.push(value);
                }
            }
            Ok(())
        })?;
        let given = floats.len() + ints.len();
        if shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)) != Some(given) {
            return Err(place.error(format_args!("{ty} is given with {given} elements")));
        }
        Ok(if ty.dtype.is_float() { Array::floats(ty.dtype, shape, floats) } else { Array::ints(ty.dtype, shape, ints) })
    }

    pub(super) fn ty(&mut self) -> Result<TensorType> {
        let dtype = self.dtype()?;
        Ok(TensorType { dtype, shape: self.dims()? })
    }

    fn dims(&mut self) -> Result<Shape> {
        let mut shape = Shape::new();
        self.list("[", "]", |p| {
            shape.push(p.dim(0)?);
            Ok(())
        })?;
        Ok(shape)
    }

    /// A sum of products of numbers, symbols and `div`, `rem`, `max`, `min` of two dimensions.
    fn dim(&mut self, depth: usize) -> Result<Dim> {
        let mut sum = Dim::ZERO;
        let mut negative = self.accept("-");
        loop {
            let mut product = self.factor(depth, negative)?;
            while self.accept("*") {
                product = product * self.factor(depth, false)?;
            }
            sum = sum + product;
            negative = match self.peek() {
                Token::Punctuation("+") => false,
                Token::Punctuation("-") => true,
                _ => return Ok(sum),
            };
            self.at += 1;
        }
    }

    fn factor(&mut self, depth: usize, negative: bool) -> Result<Dim> {
        let sign = if negative { -1 } else { 1 };
        let place = self.place();
        if depth > MAX_DEPTH {
            return Err(place.error("a dimension is nested too deeply"));
        }
        match *self.peek() {
            Token::Number(_) => Ok(Dim::constant(self.unsigned(negative)?)),
            Token::Word(word) => {
                self.at += 1;
                if !self.accept("(") {
                    let symbol = self.symbols.get(word).copied();
                    return symbol.map(|d| d * sign).ok_or_else(|| {
                        place
                            .error(format_args!("symbol `{word}` has no range: expected `where {word} in lo..=hi` in the header"))
                    });
                }
                let a = self.dim(depth + 1)?;
                self.punctuation(",")?;
                let b = self.dim(depth + 1)?;
                self.punctuation(")")?;
                let value = match word {
                    "div" => a.div_floor(b),
                    "rem" => a.rem(b),
                    "max" => a.max(b),
                    "min" => a.min(b),
                    _ => return Err(place.error(format_args!("expected div, rem, max or min, found `{word}`"))),
                };
                if value.is_invalid() {
                    return Err(place.error("a dimension is divided by zero"));
                }
                Ok(value * sign)
            }
            _ => Err(self.expected("a dimension")),
        }
    }

    fn dtype(&mut self) -> Result<DType> {
        let found = match self.peek() {
            Token::Word(w) => DType::from_name(w),
            _ => None,
        };
        let dtype = found.ok_or_else(|| self.expected("an element type"))?;
        self.at += 1;
        Ok(dtype)
    }

    pub(super) fn integer(&mut self) -> Result<i64> {
        let negative = self.accept("-");
        self.unsigned(negative)
    }

    fn unsigned(&mut self, negative: bool) -> Result<i64> {
        let Token::Number(digits) = *self.peek() else { return Err(self.expected("an integer")) };
        let sign = if negative { "-" } else { "" };
        let value = format!("{sign}{digits}").parse().map_err(|_| self.expected("an integer"))?;
        self.at += 1;
        Ok(value)
    }

    fn boolean(&mut self) -> Result<bool> {
        let value = match self.peek() {
            Token::Word("true") => true,
            Token::Word("false") => false,
            _ => return Err(self.expected("true or false")),
        };
        self.at += 1;
        Ok(value)
    }

    /// A number as the shortest text of `dtype`'s numbers is written; `NaN(0x…)` gives the bits.
    fn float(&mut self, dtype: DType) -> Result<f64> {
        let negative = self.accept("-");
        let sign = if negative { -1.0 } else { 1.0 };
        let value = match *self.peek() {
            Token::Word("inf") => f64::INFINITY,
            Token::Word("NaN") => {
                self.at += 1;
                if !self.accept("(") {
                    return Ok(f64::NAN);
                }
                let bits = match *self.peek() {
                    Token::Number(n) => n.strip_prefix("0x").and_then(|hex| u64::from_str_radix(hex, 16).ok()),
                    _ => None,
                };
                let value = bits.map(f64::from_bits).filter(|x| x.is_nan());
                let value = value.ok_or_else(|| self.expected("the bits of a NaN"))?;
                self.at += 1;
                self.punctuation(")")?;
                return Ok(value);
            }
            Token::Number(n) if dtype == DType::F64 => n.parse::<f64>().map_err(|_| self.expected("a number"))?,
            Token::Number(n) => n.parse::<f32>().map_err(|_| self.expected("a number"))?.into(),
            _ => return Err(self.expected("a number")),
        };
        self.at += 1;
        Ok(Literal::float(dtype, sign * value).as_f64())
    }
}
