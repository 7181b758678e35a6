//! What methods take: shapes, axes, and the other operand of an operation.

use super::Tensor;
use igneous_ir::types::normalize_axis;
use igneous_ir::{DType, Dim, Error, Literal, Result, Shape};
use std::borrow::Cow;

/// A number where a tensor is expected. It takes the element type of the tensor it meets, unless that cannot hold its
/// kind: a float beside integers makes `f32`, an integer beside bools makes `i64` (PyTorch's rule).
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Scalar {
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A real number.
    Float(f64),
    /// An extent, possibly known only at run time; it behaves as an integer.
    Dim(Dim),
}

impl Scalar {
    /// The element type of a tensor made from this number alone.
    pub fn dtype(self) -> DType {
        match self {
            Scalar::Bool(_) => DType::Bool,
            Scalar::Int(_) | Scalar::Dim(_) => DType::I64,
            Scalar::Float(_) => DType::F32,
        }
    }

    /// The number as a literal of an element type; `None` if it is known only at run time.
    pub(crate) fn literal(self, dtype: DType) -> Option<Literal> {
        match self {
            Scalar::Bool(b) => Some(Literal::int(dtype, b.into())),
            Scalar::Int(i) => Some(Literal::int(dtype, i)),
            Scalar::Float(x) => Some(Literal::float(dtype, x)),
            Scalar::Dim(d) => d.as_const().map(|n| Literal::int(dtype, n)),
        }
    }
}

macro_rules! scalar {
    ($($ty:ty => $variant:ident($target:ty)),*) => {$(
        impl From<$ty> for Scalar {
            fn from(value: $ty) -> Scalar {
                Scalar::$variant(value as $target)
            }
        }

        impl Operand for $ty {
            fn operand(&self) -> OperandRef<'_> {
                OperandRef::Scalar((*self).into())
            }
        }
    )*};
}

scalar!(bool => Bool(bool), i64 => Int(i64), i32 => Int(i64), usize => Int(i64), u8 => Int(i64), f64 => Float(f64), f32 => Float(f64));

impl From<Dim> for Scalar {
    fn from(dim: Dim) -> Scalar {
        Scalar::Dim(dim)
    }
}

/// A tensor or a number: the other side of an operation.
pub trait Operand {
    /// Which of the two it is.
    #[doc(hidden)]
    fn operand(&self) -> OperandRef<'_>;
}

/// A borrowed [`Operand`].
#[doc(hidden)]
#[derive(Clone, Copy)]
pub enum OperandRef<'a> {
    /// A tensor.
    Tensor(&'a Tensor),
    /// A number.
    Scalar(Scalar),
}

impl Operand for Tensor {
    fn operand(&self) -> OperandRef<'_> {
        OperandRef::Tensor(self)
    }
}

impl Operand for Dim {
    fn operand(&self) -> OperandRef<'_> {
        OperandRef::Scalar((*self).into())
    }
}

impl Operand for Scalar {
    fn operand(&self) -> OperandRef<'_> {
        OperandRef::Scalar(*self)
    }
}

impl<T: Operand> Operand for &T {
    fn operand(&self) -> OperandRef<'_> {
        (**self).operand()
    }
}

/// One extent of a shape: a number, a [`Dim`], or −1 where the others decide.
pub trait Extent: Copy {
    /// As a dimension; −1 stays −1.
    fn extent(self) -> Dim;
}

macro_rules! extent {
    ($($ty:ty),*) => {$(
        impl Extent for $ty {
            fn extent(self) -> Dim {
                Dim::constant(self as i64)
            }
        }
    )*};
}

extent!(usize, i64, i32);

impl Extent for Dim {
    fn extent(self) -> Dim {
        self
    }
}

impl<E: Extent> Extent for &E {
    fn extent(self) -> Dim {
        (*self).extent()
    }
}

/// A shape: `(b, 3, -1)`, `5`, `[2, 3]`, `&sizes`, `()` for no axes.
pub trait IntoShape {
    /// The extents.
    fn into_shape(self) -> Shape;
}

impl<E: Extent> IntoShape for E {
    fn into_shape(self) -> Shape {
        Shape::from_iter([self.extent()])
    }
}

impl<E: Extent, const N: usize> IntoShape for [E; N] {
    fn into_shape(self) -> Shape {
        self.into_iter().map(Extent::extent).collect()
    }
}

impl<E: Extent> IntoShape for &[E] {
    fn into_shape(self) -> Shape {
        self.iter().map(Extent::extent).collect()
    }
}

impl<E: Extent> IntoShape for Vec<E> {
    fn into_shape(self) -> Shape {
        self.into_iter().map(Extent::extent).collect()
    }
}

impl<E: Extent> IntoShape for &Vec<E> {
    fn into_shape(self) -> Shape {
        self.as_slice().into_shape()
    }
}

impl IntoShape for Shape {
    fn into_shape(self) -> Shape {
        self
    }
}

impl IntoShape for &Shape {
    fn into_shape(self) -> Shape {
        self.clone()
    }
}

impl IntoShape for () {
    fn into_shape(self) -> Shape {
        Shape::new()
    }
}

macro_rules! tuple_shape {
    ($($name:ident)+) => {
        impl<$($name: Extent),+> IntoShape for ($($name,)+) {
            #[allow(non_snake_case)]
            fn into_shape(self) -> Shape {
                let ($($name,)+) = self;
                Shape::from_iter([$($name.extent()),+])
            }
        }
    };
}

tuple_shape!(A);
tuple_shape!(A B);
tuple_shape!(A B C);
tuple_shape!(A B C D);
tuple_shape!(A B C D E);
tuple_shape!(A B C D E F);
tuple_shape!(A B C D E F G);
tuple_shape!(A B C D E F G H);

/// The shape, all of whose extents must be known to make sense.
///
/// # Errors
/// If one is negative or a dimension of an invalid tensor.
pub(crate) fn valid_shape(shape: &[Dim]) -> Result<()> {
    for d in shape {
        if d.is_invalid() {
            return Err(Error::new(
                "a shape has a dimension that was read from an invalid tensor, or from an axis that is not there",
            ));
        }
        if d.at_least(0) == Some(false) {
            return Err(Error::new(format!("a shape has the negative extent {d}")));
        }
    }
    Ok(())
}

/// One axis or several, counted from the end where negative: `-1`, `(0, 1)`, `[1, 2]`.
pub trait Axes {
    /// The axes as they were given.
    fn axes(&self) -> Cow<'_, [i64]>;
}

/// The axes as sorted indices below `rank`.
///
/// # Errors
/// If one is out of range or occurs twice.
pub(crate) fn normalize_axes(axes: impl Axes, rank: usize) -> Result<Vec<usize>> {
    let mut normal = axes.axes().iter().map(|&a| normalize_axis(a, rank)).collect::<Result<Vec<_>>>()?;
    normal.sort_unstable();
    if normal.windows(2).any(|w| w[0] == w[1]) {
        return Err(Error::new(format!("the axes {:?} name one axis twice", axes.axes())));
    }
    Ok(normal)
}

impl Axes for i64 {
    fn axes(&self) -> Cow<'_, [i64]> {
        vec![*self].into()
    }
}

impl Axes for i32 {
    fn axes(&self) -> Cow<'_, [i64]> {
        vec![i64::from(*self)].into()
    }
}

impl<const N: usize> Axes for [i64; N] {
    fn axes(&self) -> Cow<'_, [i64]> {
        self.as_slice().into()
    }
}

impl Axes for &[i64] {
    fn axes(&self) -> Cow<'_, [i64]> {
        (*self).into()
    }
}

impl Axes for &Vec<i64> {
    fn axes(&self) -> Cow<'_, [i64]> {
        self.as_slice().into()
    }
}

impl Axes for (i64, i64) {
    fn axes(&self) -> Cow<'_, [i64]> {
        vec![self.0, self.1].into()
    }
}

impl Axes for (i64, i64, i64) {
    fn axes(&self) -> Cow<'_, [i64]> {
        vec![self.0, self.1, self.2].into()
    }
}
