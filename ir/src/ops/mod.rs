//! The operators. One file per family, one record per operator; see [`crate::op::Record`].
//!
//! The functions here make instances. They check nothing: the type rules do.

pub mod composite;
pub mod contraction;
pub mod control;
pub mod custom;
mod fold;
pub mod fourier;
pub mod host;
pub mod index;
mod inputs;
pub mod linalg;
pub mod pointwise;
pub mod random;
pub mod reduction;
pub mod shape;
pub mod structural;
#[cfg(test)]
mod testing;
mod type_rule;
mod walk;

use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::op::{Op, Record};
use crate::types::Shape;
use std::collections::HashMap;
use std::sync::LazyLock;

pub use composite::*;
pub use contraction::*;
pub use control::{cond, while_loop};
pub use custom::*;
pub use fourier::*;
pub use host::{HOST, host};
pub use index::*;
pub use linalg::*;
pub use pointwise::*;
pub use random::*;
pub use reduction::*;
pub use shape::*;
pub use structural::*;

/// The records of all operators, family by family.
pub fn records() -> impl Iterator<Item = &'static Record> {
    let families: [&'static [&'static Record]; 11] = [
        structural::STRUCTURAL,
        control::CONTROL,
        shape::SHAPE,
        index::INDEX,
        random::RANDOM,
        reduction::REDUCTION,
        contraction::CONTRACTION,
        composite::COMPOSITE,
        linalg::LINALG,
        fourier::FOURIER,
        custom::CUSTOM,
    ];
    families.into_iter().chain(pointwise::POINTWISE.iter().copied()).flatten().copied()
}

/// The record of the operator called `name`.
pub fn record(name: &str) -> Option<&'static Record> {
    static BY_NAME: LazyLock<HashMap<&'static str, &'static Record>> = LazyLock::new(|| records().map(|r| (r.name, r)).collect());
    BY_NAME.get(name).copied()
}

/// An instance of an operator without attributes, by name. The name must be an operator's.
pub fn pointwise(name: &str) -> Op {
    let record = record(name).unwrap_or_else(|| panic!("no operator is called `{name}`"));
    Op::new(record, [])
}

/// The shape that two shapes broadcast to by numpy's rule. A symbolic extent never stretches.
///
/// # Errors
/// If two extents differ and neither is one.
pub fn broadcast_shapes(a: &[Dim], b: &[Dim]) -> Result<Shape> {
    let rank = a.len().max(b.len());
    let at = |s: &[Dim], i: usize| (i + s.len()).checked_sub(rank).map_or(Dim::ONE, |i| s[i]);
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y => Ok(x),
            (Dim::ONE, y) => Ok(y),
            (x, Dim::ONE) => Ok(x),
            (x, y) => Err(Error::new(format!("extents {x} and {y} of axis {i} neither agree nor broadcast"))
                .note("left", format_args!("{a:?}"))
                .note("right", format_args!("{b:?}"))),
        })
        .collect()
}
