//! The values of symbols, from the shapes of inputs.

use crate::dim::{Dim, Symbol};
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::op::{Attr, Op};
use crate::types::TensorType;
use std::collections::HashMap;

/// What each symbol of a graph is in one run.
#[derive(Clone, Default, Debug)]
pub struct Bindings(HashMap<Symbol, i64>);

impl Bindings {
    /// The values of the symbols for inputs of these types, which are constant.
    ///
    /// # Errors
    /// If the number, element types or shapes do not fit, a symbol is out of its range, or a shape does not determine
    /// its symbols. The message names input, axis and symbol.
    pub fn of(graph: &Graph, given: &[TensorType]) -> Result<Bindings> {
        let inputs = graph.inputs();
        if inputs.len() != given.len() {
            return Err(Error::new(format!(
                "graph `{}` takes {} inputs and was given {}",
                graph.name,
                inputs.len(),
                given.len()
            )));
        }
        let mut equations = Vec::new();
        for ((v, name), given) in inputs.iter().zip(given) {
            let expected = graph.ty(*v);
            if expected.dtype != given.dtype || expected.rank() != given.rank() {
                return Err(Error::new(format!("input `{name}` of graph `{}` has another type", graph.name))
                    .note("expected", expected)
                    .note("given", given));
            }
            for (axis, (&dim, extent)) in expected.shape.iter().zip(given.sizes()?).enumerate() {
                equations.push(Equation { dim, value: extent as i64, name, axis });
            }
        }
        let mut bindings = Bindings::default();
        while equations.iter().any(|e| bindings.solve(e)) {}
        for e in &equations {
            let value = e.dim.eval(&|s| bindings.0.get(&s).copied());
            let found = || format!("axis {} of input `{}` has the extent {}", e.axis, e.name, e.value);
            match value {
                Some(value) if value == e.value => {}
                Some(value) if !e.dim.is_symbolic() => {
                    return Err(Error::new(format!("{}, and {value} is expected", found())));
                }
                Some(value) => return Err(Error::new(format!("{}, and `{}` is {value}", found(), e.dim))),
                None => {
                    return Err(Error::new(format!("{}, which does not determine the symbols of `{}`", found(), e.dim)));
                }
            }
        }
        let mut symbols: Vec<(&Symbol, &i64)> = bindings.0.iter().collect();
        symbols.sort();
        if let Some((s, value)) = symbols.into_iter().find(|(s, v)| **v < s.lo || **v > s.hi) {
            return Err(Error::new(format!("symbol `{}` is {value}, outside of its range {}..={}", s.name, s.lo, s.hi)));
        }
        Ok(bindings)
    }

    /// Learns a symbol from an equation that is linear in it and has no other unknown.
    fn solve(&mut self, e: &Equation) -> bool {
        let dim = e.dim.substitute(&|s| self.0.get(&s).map(|&v| Dim::constant(v)));
        let Some((symbol, factor, constant)) = dim.linear() else { return false };
        let rest = e.value.saturating_sub(constant);
        rest.checked_rem(factor) == Some(0) && self.0.insert(symbol, rest / factor).is_none()
    }

    /// The value of a symbol.
    pub fn get(&self, symbol: Symbol) -> Option<i64> {
        self.0.get(&symbol).copied()
    }

    /// The value of a dimension.
    ///
    /// # Errors
    /// If it depends on a symbol without a value, or is negative.
    pub fn dim(&self, dim: Dim) -> Result<usize> {
        let value = dim.eval(&|s| self.get(s)).ok_or_else(|| Error::new(format!("dimension `{dim}` has no value")))?;
        usize::try_from(value).map_err(|_| Error::new(format!("dimension `{dim}` is negative: {value}")))
    }

    /// The type with numbers for dimensions.
    ///
    /// # Errors
    /// As for [`Bindings::dim`].
    pub fn ty(&self, ty: &TensorType) -> Result<TensorType> {
        let shape: Result<Vec<usize>> = ty.shape.iter().map(|&d| self.dim(d)).collect();
        Ok(TensorType::new(ty.dtype, shape?))
    }

    /// The operator with numbers for dimensions in its attributes (regions stay as they are).
    ///
    /// # Errors
    /// As for [`Bindings::dim`].
    pub fn op(&self, op: &Op) -> Result<Op> {
        let symbolic = |a: &Attr| match a {
            Attr::Dim(d) => d.is_symbolic(),
            Attr::Dims(d) => d.iter().any(|d| d.is_symbolic()),
            _ => false,
        };
        if !op.attrs().iter().any(symbolic) {
            return Ok(op.clone());
        }
        let value = |d: &Dim| self.dim(*d).map(Dim::from);
        let attr = |a: &Attr| {
            Ok(match a {
                Attr::Dim(d) => Attr::Dim(value(d)?),
                Attr::Dims(d) => Attr::Dims(d.iter().map(value).collect::<Result<_>>()?),
                other => other.clone(),
            })
        };
        Ok(Op::new(op.record(), op.attrs().iter().map(attr).collect::<Result<Vec<_>>>()?))
    }
}

struct Equation<'a> {
    dim: Dim,
    value: i64,
    name: &'a str,
    axis: usize,
}
