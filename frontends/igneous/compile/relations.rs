//! Symbols that must be equal. Two extents with names of their own may turn out, while tracing, to be one: the sum of a `B`
//! and a `C` by 8 matrix has a type only if `C` is `B`. The function is then traced for that case, and every call is checked.
//!
//! Which symbols these are is found by trying: a trace that fails is repeated with some symbols taken as one, as few as it
//! takes.

use super::signature::Signature;
use crate::tensor::Tensor;
use igneous_ir::dim::Symbol;
use igneous_ir::{Dim, Error, Loc, Result, TensorType};

/// A symbol that is another one in every call.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Relation {
    symbol: Named,
    is: Named,
    /// The line that needs it.
    loc: Option<Loc>,
}

/// A symbol with the first argument and axis that it names.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Named {
    symbol: Symbol,
    argument: usize,
    axis: usize,
}

/// More symbols than this are not tried.
const MOST: usize = 6;

impl Relation {
    /// Whether the extents of the arguments fulfil it.
    ///
    /// # Errors
    /// If they do not.
    pub(super) fn check(&self, arguments: &[Tensor]) -> Result<()> {
        let extent = |named: Named| -> Result<Dim> { Ok(arguments[named.argument].ty()?.shape[named.axis]) };
        let (one, other) = (extent(self.is)?, extent(self.symbol)?);
        if one == other {
            return Ok(());
        }
        let mut error = Error::new(format!("`{}` and `{}` must be equal", self.is.symbol.name, self.symbol.symbol.name));
        for (named, extent) in [(self.is, one), (self.symbol, other)] {
            let label = format!("`{}` is {extent}", named.symbol.name);
            let described = arguments[named.argument].describe();
            error = error.note(label, format_args!("axis {} of argument {}, {described}", named.axis, named.argument));
        }
        Err(match self.loc {
            Some(loc) => error.note("needed at", loc),
            None => error,
        })
    }
}

/// The type with related symbols as one.
pub(super) fn related(ty: &TensorType, relations: &[Relation]) -> TensorType {
    let block = |s: Symbol| relations.iter().find(|r| r.symbol.symbol == s).map_or(s, |r| r.is.symbol);
    // The one symbol has the values that all of them may have.
    let joined = |s: Symbol| {
        let own = block(s);
        let others = relations.iter().filter(|r| r.is.symbol == own).map(|r| r.symbol.symbol);
        let (lo, hi) = others.fold((own.lo, own.hi), |(lo, hi), o| (lo.max(o.lo), hi.min(o.hi)));
        Dim::symbol(own.name, lo, hi)
    };
    ty.with_shape(ty.shape.iter().map(|d| d.substitute(&|s| Some(joined(s)))))
}

/// The fewest relations with which `trace` succeeds, and what it gives. `None` if no relation helps against the error that it
/// fails with without any.
pub(super) fn find<T>(
    signature: &Signature,
    failed: &Error,
    trace: impl Fn(&[Relation]) -> Result<T>,
) -> Option<(T, Vec<Relation>)> {
    let symbols = symbols(signature);
    let everything = relations_of(&vec![0; symbols.len()], &symbols);
    if symbols.len() < 2 || symbols.len() > MOST || everything.as_ref().is_some_and(|all| trace(all).is_err()) {
        return None;
    }
    for blocks in partitions(symbols.len()) {
        let Some(mut relations) = relations_of(&blocks, &symbols) else { continue };
        let Ok(traced) = trace(&relations) else { continue };
        for k in 0..relations.len() {
            let others: Vec<Relation> = relations.iter().enumerate().filter(|(i, _)| *i != k).map(|(_, r)| r.clone()).collect();
            relations[k].loc = if others.is_empty() { failed.loc() } else { trace(&others).err().and_then(|e| e.loc()) };
        }
        return Some((traced, relations));
    }
    None
}

/// The symbols that are extents of arguments, in the order they occur.
fn symbols(signature: &Signature) -> Vec<Named> {
    let mut found: Vec<Named> = Vec::new();
    for (argument, given) in signature.tensors.iter().enumerate() {
        for (axis, dim) in given.ty.shape.iter().enumerate() {
            if let Some((symbol, ..)) = dim.linear()
                && !found.iter().any(|n| n.symbol == symbol)
            {
                found.push(Named { symbol, argument, axis });
            }
        }
    }
    found
}

/// All ways but the first to group `n` symbols, those with more groups first: the group of each symbol, numbered by first
/// occurrence.
fn partitions(n: usize) -> Vec<Vec<usize>> {
    let mut all: Vec<Vec<usize>> = vec![Vec::new()];
    for _ in 0..n {
        let extended = |p: Vec<usize>| {
            let next = p.iter().max().map_or(0, |m| m + 1);
            (0..=next).map(move |block| p.iter().copied().chain([block]).collect())
        };
        all = all.into_iter().flat_map(extended).collect();
    }
    let blocks = |p: &Vec<usize>| p.iter().max().map_or(0, |m| m + 1);
    all.retain(|p| blocks(p) < n);
    all.sort_by_key(|p| std::cmp::Reverse(blocks(p)));
    all
}

/// The relations that make each group one symbol. `None` if the ranges of a group have nothing in common.
fn relations_of(blocks: &[usize], symbols: &[Named]) -> Option<Vec<Relation>> {
    let mut relations = Vec::new();
    for (k, &symbol) in symbols.iter().enumerate() {
        let first = blocks.iter().position(|b| *b == blocks[k])?;
        let members = || (0..symbols.len()).filter(|&i| blocks[i] == blocks[k]).map(|i| symbols[i].symbol);
        if members().map(|s| s.lo).max() > members().map(|s| s.hi).min() {
            return None;
        }
        if first != k {
            relations.push(Relation { symbol, is: symbols[first], loc: None });
        }
    }
    Some(relations)
}

#[cfg(test)]
mod tests {
    use super::partitions;

    #[test]
    fn partitions_are_all_and_begin_with_the_finest() {
        let counts: Vec<usize> = (1..=5).map(|n| partitions(n).len()).collect();
        assert_eq!(counts, [0, 1, 4, 14, 51], "Bell numbers less one");
        assert_eq!(partitions(3)[..3], [[0, 0, 1], [0, 1, 0], [0, 1, 1]]);
        assert_eq!(partitions(3)[3], [0, 0, 0]);
    }
}
