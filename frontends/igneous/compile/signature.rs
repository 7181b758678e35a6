//! The types a program is compiled for: those of the arguments, with symbols where extents were given names.

use crate::autocast::autocast_dtype;
use crate::device::Device;
use crate::grad_mode::is_grad_enabled;
use crate::tensor::{Repr, Tensor};
use igneous_ir::{DType, Dim, Error, Result, TensorType};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// An extent of an argument: a name, or a number for one that is always the same.
#[derive(Clone, Debug)]
pub enum NamedExtent {
    /// Known when the program runs.
    Symbol(String),
    /// Always this.
    Constant(usize),
    /// What it is in the arguments at hand: another extent is another program.
    Given,
}

impl From<&str> for NamedExtent {
    fn from(name: &str) -> NamedExtent {
        NamedExtent::Symbol(name.to_owned())
    }
}

impl From<usize> for NamedExtent {
    fn from(extent: usize) -> NamedExtent {
        NamedExtent::Constant(extent)
    }
}

impl From<std::ops::RangeFull> for NamedExtent {
    fn from(_: std::ops::RangeFull) -> NamedExtent {
        NamedExtent::Given
    }
}

/// The extents of an argument: `("B", "T")`, `("B", 784)`, `("B", ..)`.
pub trait NamedShape {
    /// One for each axis.
    fn named(self) -> Vec<NamedExtent>;
}

impl NamedShape for &str {
    fn named(self) -> Vec<NamedExtent> {
        vec![self.into()]
    }
}

impl<T: Into<NamedExtent>, const N: usize> NamedShape for [T; N] {
    fn named(self) -> Vec<NamedExtent> {
        self.into_iter().map(Into::into).collect()
    }
}

impl<T: Into<NamedExtent>> NamedShape for Vec<T> {
    fn named(self) -> Vec<NamedExtent> {
        self.into_iter().map(Into::into).collect()
    }
}

macro_rules! named_tuple {
    ($($name:ident)+) => {
        impl<$($name: Into<NamedExtent>),+> NamedShape for ($($name,)+) {
            #[allow(non_snake_case)]
            fn named(self) -> Vec<NamedExtent> {
                let ($($name,)+) = self;
                vec![$($name.into()),+]
            }
        }
    };
}

named_tuple!(A);
named_tuple!(A B);
named_tuple!(A B C);
named_tuple!(A B C D);
named_tuple!(A B C D E);

/// What the user has said about the extents of arguments.
#[derive(Clone, Default)]
pub(super) struct Shapes {
    inputs: BTreeMap<usize, Vec<NamedExtent>>,
    ranges: BTreeMap<String, (i64, i64)>,
}

/// What a program depends on of its arguments.
#[derive(Clone, PartialEq)]
pub(super) struct Signature {
    pub(super) tensors: Vec<Argument>,
    /// Lengths of vectors, presence of options.
    pub(super) structure: Vec<usize>,
    pub(super) modes: Modes,
    /// Where the program runs.
    pub(super) device: Device,
}

/// The switches of the thread that a trace depends on.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Modes {
    pub(super) grad_enabled: bool,
    pub(super) autocast: Option<DType>,
}

impl Modes {
    /// Those of this thread.
    pub(super) fn current() -> Modes {
        Modes { grad_enabled: is_grad_enabled(), autocast: autocast_dtype() }
    }

    /// How this differs from others, in words.
    fn difference(self, other: Modes) -> Option<String> {
        if self.grad_enabled != other.grad_enabled {
            let word = |on: bool| if on { "recorded" } else { "not recorded" };
            return Some(format!("gradients were {} and are {}", word(other.grad_enabled), word(self.grad_enabled)));
        }
        let word =
            |dtype: Option<DType>| dtype.map_or_else(|| "outside of autocast".to_owned(), |d| format!("in autocast to {d}"));
        (self.autocast != other.autocast).then(|| format!("the call was {} and is {}", word(other.autocast), word(self.autocast)))
    }
}

/// One tensor among the arguments.
#[derive(Clone, PartialEq)]
pub(super) struct Argument {
    pub(super) ty: TensorType,
    pub(super) gradient: Gradient,
}

/// What `backward` does with an argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Gradient {
    None,
    /// It has a slot.
    Leaf,
    /// It is a result of recorded operations.
    Result,
}

impl Shapes {
    pub(super) fn name(&mut self, argument: usize, shape: Vec<NamedExtent>) {
        self.inputs.insert(argument, shape);
    }

    pub(super) fn range(&mut self, symbol: &str, range: RangeInclusive<usize>) {
        let bound = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.ranges.insert(symbol.to_owned(), (bound(*range.start()), bound(*range.end())));
    }

    /// The types of the arguments, with symbols, and the device: the given one, else that of the first argument which is not on the
    /// host.
    pub(super) fn signature(
        &self,
        tensors: &[Tensor],
        structure: Vec<usize>,
        modes: Modes,
        device: Option<Device>,
    ) -> Result<Signature> {
        let mut values: BTreeMap<&str, (i64, usize, usize)> = BTreeMap::new();
        let arguments = tensors.iter().enumerate().map(|(place, tensor)| {
            let ty = tensor.ty()?;
            let ty = match self.inputs.get(&place) {
                Some(names) => self.named(place, names, &ty, &mut values).map_err(|e| e.note("argument", tensor.describe()))?,
                None => ty,
            };
            let gradient = match &tensor.0 {
                Repr::Eager(value) if value.slot.is_some() => Gradient::Leaf,
                Repr::Eager(value) if value.source.is_some() => Gradient::Result,
                _ => Gradient::None,
            };
            Ok(Argument { ty, gradient })
        });
        let of_arguments = || tensors.iter().map(Tensor::device).find(|&d| d != Device::Cpu).unwrap_or_default();
        let device = device.unwrap_or_else(of_arguments);
        let signature = Signature { tensors: arguments.collect::<Result<_>>()?, structure, modes, device };
        match self.inputs.keys().find(|&&place| place >= tensors.len()) {
            Some(place) => {
                Err(Error::new(format!("extents were named for argument {place}, but there are {} tensors", tensors.len())))
            }
            None => Ok(signature),
        }
    }

    fn named<'a>(
        &'a self,
        place: usize,
        names: &'a [NamedExtent],
        ty: &TensorType,
        values: &mut BTreeMap<&'a str, (i64, usize, usize)>,
    ) -> Result<TensorType> {
        if names.len() != ty.rank() {
            return Err(Error::new(format!("argument {place} has {} axes; {} were named", ty.rank(), names.len())));
        }
        let mut shape = ty.shape.clone();
        for (axis, (name, dim)) in names.iter().zip(&mut shape).enumerate() {
            let extent = dim.as_const().unwrap_or(-1);
            match name {
                NamedExtent::Given => {}
                NamedExtent::Constant(n) if *n as i64 == extent => {}
                NamedExtent::Constant(n) => {
                    return Err(Error::new(format!("axis {axis} of argument {place} has the extent {extent}, not {n}")));
                }
                NamedExtent::Symbol(name) => {
                    let (lo, hi) = self.ranges.get(name).copied().unwrap_or((1, i64::from(i32::MAX)));
                    if extent < lo || extent > hi {
                        let message = format!("`{name}` is {extent} in argument {place}, outside of its range {lo}..={hi}");
                        return Err(Error::new(message));
                    }
                    let (first, at, along) = *values.entry(name).or_insert((extent, place, axis));
                    if first != extent {
                        let message = format!(
                            "`{name}` is {first} on axis {along} of argument {at} and {extent} on axis {axis} of argument {place}"
                        );
                        return Err(Error::new(message));
                    }
                    *dim = Dim::symbol(name, lo, hi);
                }
            }
        }
        Ok(TensorType { dtype: ty.dtype, shape })
    }
}

impl Signature {
    /// How this differs from another, in words.
    pub(super) fn difference(&self, other: &Signature) -> Option<String> {
        if self.structure != other.structure || self.tensors.len() != other.tensors.len() {
            return Some("the arguments have another structure".to_owned());
        }
        for (place, (a, b)) in self.tensors.iter().zip(&other.tensors).enumerate() {
            if a.ty != b.ty {
                return Some(format!("argument {place} was {} and is {}", b.ty, a.ty));
            }
            if a.gradient != b.gradient {
                let word = |g: Gradient| match g {
                    Gradient::None => "no gradient",
                    Gradient::Leaf => "a gradient as a leaf",
                    Gradient::Result => "a gradient as a result",
                };
                return Some(format!("argument {place} needed {} and needs {}", word(b.gradient), word(a.gradient)));
            }
        }
        if self.device != other.device {
            return Some(format!("the program ran on {} and runs on {}", other.device, self.device));
        }
        self.modes.difference(other.modes)
    }
}
