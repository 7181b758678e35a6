//! What type rules have in common: counting operands, checking axes, comparing extents.

use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::op::{Attr, Op, Types, type_error};
use crate::types::{DType, Shape, TensorType};
use smallvec::SmallVec;
use std::cmp::Ordering;
use std::fmt;

/// A type rule at work on one operator and its operands.
#[derive(Clone, Copy)]
pub(crate) struct TypeRule<'a> {
    pub op: &'a Op,
    pub operands: &'a [TensorType],
}

/// The types of an operator with one result.
pub(crate) fn one(ty: TensorType) -> Result<Types> {
    Ok(Types::from_iter([ty]))
}

impl<'a> TypeRule<'a> {
    pub fn new(op: &'a Op, operands: &'a [TensorType]) -> TypeRule<'a> {
        TypeRule { op, operands }
    }

    /// The error that says `message`.
    pub fn error(self, message: impl fmt::Display) -> Error {
        type_error(self.op, self.operands, message)
    }

    /// Fails with `message` unless `ok`.
    pub fn ensure(self, ok: bool, message: impl FnOnce() -> String) -> Result<()> {
        if ok { Ok(()) } else { Err(self.error(message())) }
    }

    /// The operands, which must be `N`.
    pub fn operands<const N: usize>(self) -> Result<&'a [TensorType; N]> {
        self.count(N)?;
        Ok(self.operands.try_into().expect("the number was checked"))
    }

    /// Checks that there are `n` operands.
    pub fn count(self, n: usize) -> Result<()> {
        self.ensure(self.operands.len() == n, || format!("takes {} and was given {}", operands(n), self.operands.len()))
    }

    /// The axis in attribute `name`, below `rank`.
    pub fn axis(self, name: &str, rank: usize) -> Result<usize> {
        let axis = self.op.int(name);
        self.ensure((0..rank as i64).contains(&axis), || format!("has axis {axis}; the shape has {}", axes(rank)))?;
        Ok(axis as usize)
    }

    /// The axes in attribute `name`: below `rank`, that of `of`, without repetition, in any order.
    pub fn distinct_axes(self, name: &str, rank: usize, of: &str) -> Result<SmallVec<[usize; 4]>> {
        let given = self.op.ints(name);
        for (i, &a) in given.iter().enumerate() {
            self.ensure((0..rank as i64).contains(&a), || format!("has axis {a} in `{name}`; {of} has {}", axes(rank)))?;
            self.ensure(!given[..i].contains(&a), || format!("has axis {a} twice in `{name}`"))?;
        }
        Ok(self.op.axes(name))
    }

    /// The axes in attribute `name`: below `rank`, that of `of`, and strictly increasing.
    pub fn sorted_axes(self, name: &str, rank: usize, of: &str) -> Result<SmallVec<[usize; 4]>> {
        let axes = self.distinct_axes(name, rank, of)?;
        self.ensure(axes.is_sorted(), || format!("needs `{name}` in increasing order: {:?}", self.op.ints(name)))?;
        Ok(axes)
    }

    /// The integers in attribute `name`: `count` of them, none below `least`.
    pub fn ints(self, name: &str, count: usize, least: i64) -> Result<&'a [i64]> {
        let ints = self.op.ints(name);
        self.ensure(ints.len() == count, || format!("needs {} in `{name}` and was given {}", numbers(count), ints.len()))?;
        for &i in ints {
            self.ensure(i >= least, || format!("needs numbers of at least {least} in `{name}`: one is {i}"))?;
        }
        Ok(ints)
    }

    /// The extents in attribute `name`: `count` of them, none invalid or negative.
    pub fn extents(self, name: &str, count: usize) -> Result<&'a [Dim]> {
        let dims = self.all_extents(name)?;
        self.ensure(dims.len() == count, || format!("needs {} in `{name}` and was given {}", numbers(count), dims.len()))?;
        Ok(dims)
    }

    /// The extents in attribute `name`, none invalid or negative.
    pub fn all_extents(self, name: &str) -> Result<&'a [Dim]> {
        let dims = self.op.dims(name);
        for &d in dims {
            self.at_least(format_args!("an extent in `{name}`"), d, "", Dim::ZERO)?;
        }
        Ok(dims)
    }

    /// Checks that the extent `a`, which `left` names, is valid and at least `b` for every value of the symbols; `right`
    /// names `b`, unless that is a constant that speaks for itself.
    pub fn at_least(self, left: impl fmt::Display, a: Dim, right: &str, b: Dim) -> Result<()> {
        if a.is_invalid() || b.is_invalid() {
            return Err(self.error(format_args!("has a dimension of an invalid tensor as {left}")));
        }
        let undecided = match a.at_least(b) {
            Some(true) => return Ok(()),
            Some(false) => "",
            None => ", which the ranges do not decide",
        };
        if right.is_empty() {
            return Err(self.error(format_args!("needs {left} to be at least {b}{undecided}: it is {a}")));
        }
        Err(self.error(format_args!("needs {left} to be at least {right}{undecided}: they are {a} and {b}")))
    }

    /// Checks that two extents are equal; `what` names both together, `a` and `b` are their names and values.
    pub fn agree(self, what: &str, a: (impl fmt::Display, Dim), b: (impl fmt::Display, Dim)) -> Result<()> {
        let undecided = match a.1.compare(b.1) {
            Some(Ordering::Equal) => return Ok(()),
            Some(_) => "",
            None if a.1.is_invalid() || b.1.is_invalid() => ", and one is a dimension of an invalid tensor",
            None => ", which the ranges do not decide",
        };
        Err(self.error(format_args!("needs {what} to agree{undecided}: {} is {}, {} is {}", a.0, a.1, b.0, b.1)))
    }

    /// Checks that operand `k` has element type `dtype`.
    pub fn dtype(self, k: usize, dtype: DType) -> Result<()> {
        let got = self.operands[k].dtype;
        self.ensure(got == dtype, || format!("needs {dtype} elements in operand {k}, not {got}"))
    }

    /// Checks that operands `a` and `b` have one element type.
    pub fn same_dtype(self, a: usize, b: usize) -> Result<()> {
        let (x, y) = (self.operands[a].dtype, self.operands[b].dtype);
        self.ensure(x == y, || format!("needs operands of one element type: operand {a} is {x}, operand {b} is {y}"))
    }

    /// Checks that operands `a` and `b` have one shape.
    pub fn same_shape(self, a: usize, b: usize) -> Result<()> {
        let (x, y) = (&self.operands[a].shape, &self.operands[b].shape);
        if x == y {
            return Ok(());
        }
        self.ensure(x.len() == y.len(), || {
            format!("needs operands of one shape: operand {a} has {}, operand {b} has {}", axes(x.len()), y.len())
        })?;
        for (axis, (&p, &q)) in x.iter().zip(y).enumerate() {
            self.agree(&format!("extents of axis {axis}"), (format_args!("operand {a}"), p), (format_args!("operand {b}"), q))?;
        }
        Ok(())
    }

    /// Checks that operand `k` has numbers as elements.
    pub fn numbers(self, k: usize) -> Result<()> {
        let dtype = self.operands[k].dtype;
        self.ensure(dtype != DType::Bool, || format!("needs numbers, not bool, in operand {k}"))
    }

    /// Checks that operand `k` has floating-point elements.
    pub fn float(self, k: usize) -> Result<()> {
        let dtype = self.operands[k].dtype;
        self.ensure(dtype.is_float(), || format!("needs floating-point elements in operand {k}, not {dtype}"))
    }

    /// Checks that operand `k` has `rank` axes.
    pub fn rank(self, k: usize, rank: usize) -> Result<()> {
        let got = self.operands[k].rank();
        self.ensure(got == rank, || format!("needs {} in operand {k}, which has {got}", axes(rank)))
    }

    /// The extents that a window of extent `window` leaves of `padded` when moved by `stride`; at least one place.
    pub fn places(self, axis: usize, padded: Dim, window: Dim, stride: i64) -> Result<Dim> {
        self.at_least(format_args!("the padded extent of spatial axis {axis}"), padded, "the window's", window)?;
        Ok((padded - window).div_floor(Dim::constant(stride)) + 1)
    }
}

/// `n` axes in words.
pub(crate) fn axes(n: usize) -> String {
    counted(n, "axis", "axes")
}

fn operands(n: usize) -> String {
    counted(n, "operand", "operands")
}

fn numbers(n: usize) -> String {
    counted(n, "number", "numbers")
}

fn counted(n: usize, singular: &str, plural: &str) -> String {
    match n {
        0 => format!("no {plural}"),
        1 => format!("1 {singular}"),
        _ => format!("{n} {plural}"),
    }
}

/// `shape` without `axes`.
pub(crate) fn without(shape: &[Dim], axes: &[usize]) -> Shape {
    (0..shape.len()).filter(|i| !axes.contains(i)).map(|i| shape[i]).collect()
}

/// The extent of an axis after `dilation - 1` holes between any two neighbours.
pub(crate) fn dilated(extent: Dim, dilation: i64) -> Dim {
    match dilation {
        1 => extent,
        _ => ((extent - 1) * Dim::constant(dilation) + 1).max(Dim::ZERO),
    }
}

/// `axes` of a tensor, counted in one that has a batch axis in front.
pub(crate) fn behind_batch(axes: &[usize]) -> Vec<usize> {
    axes.iter().map(|a| a + 1).collect()
}

/// What an operator costs that only moves elements.
pub(crate) fn no_flops(_: &Op, _: &[TensorType], _: &[TensorType]) -> Dim {
    Dim::ZERO
}

/// Axes as an attribute.
pub(crate) fn axes_attr(axes: &[usize]) -> Attr {
    Attr::Ints(axes.iter().map(|&a| a as i64).collect())
}

/// Integers as an attribute.
pub(crate) fn ints_attr(ints: &[i64]) -> Attr {
    Attr::Ints(ints.into())
}
