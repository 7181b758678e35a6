//! Making tensors.
//!
//! Under a trace, tensors made from a number are nodes of the graph; tensors made from data are constants of it.

use super::arguments::{IntoShape, Scalar, valid_shape};
use super::{Eager, Element, Tensor, or_invalid};
use crate::apply::apply;
use crate::location::here;
use crate::trace;
use igneous_ir::{Array, DType, Dim, Error, Literal, Loc, Result, Shape, TensorType, ops};
use igneous_runtime::Buffer;

/// Data in nested arrays: a number, `[1.0, 2.0]`, `[[1, 2], [3, 4]]`, a `Vec`, a slice.
pub trait Data {
    /// The type of the numbers.
    type Element: Element;

    /// The extents.
    ///
    /// # Errors
    /// If rows have different lengths.
    fn shape(&self) -> Result<Vec<usize>>;

    /// Appends the numbers, row-major.
    fn collect(&self, into: &mut Vec<Self::Element>);
}

macro_rules! number {
    ($($ty:ty),*) => {$(
        impl Data for $ty {
            type Element = $ty;

            fn shape(&self) -> Result<Vec<usize>> {
                Ok(Vec::new())
            }

            fn collect(&self, into: &mut Vec<$ty>) {
                into.push(*self);
            }
        }
    )*};
}

number!(f64, f32, i64, i32, u8, bool, half::f16, half::bf16);

macro_rules! nested {
    ($([$($generics:tt)*] $ty:ty),*) => {$(
        impl<T: Data, $($generics)*> Data for $ty {
            type Element = T::Element;

            fn shape(&self) -> Result<Vec<usize>> {
                let mut inner = self.first().map_or(Ok(Vec::new()), Data::shape)?;
                for row in self.iter() {
                    if row.shape()? != inner {
                        return Err(Error::new("the rows of nested data have different lengths"));
                    }
                }
                inner.insert(0, self.len());
                Ok(inner)
            }

            fn collect(&self, into: &mut Vec<T::Element>) {
                self.iter().for_each(|row| row.collect(into));
            }
        }
    )*};
}

nested!([const N: usize] [T; N], [] &[T], [] Vec<T>);

/// A tensor of host data.
fn from_elements<T: Element>(data: &[T], shape: &[usize], loc: Loc) -> Result<Tensor> {
    let expected = shape.iter().try_fold(1, |n: usize, &extent| n.checked_mul(extent));
    if expected != Some(data.len()) {
        let expected = expected.map_or_else(|| "more than there can be".to_owned(), |n| n.to_string());
        let message = format!("{} elements do not fill the shape {shape:?}, which has {expected}", data.len());
        return Err(Error::new(message));
    }
    let ty = TensorType::new(T::DTYPE, shape.iter().copied());
    Ok(Eager::new(ty, Buffer::from_slice(data)?, Some(loc)).into())
}

/// Host data that is part of the program: small enough, under a trace, to be written into the graph.
#[track_caller]
fn literal_data(tensor: Tensor) -> Tensor {
    const LARGEST: usize = 1024;
    if !trace::is_tracing() {
        return tensor;
    }
    let super::Repr::Eager(value) = &tensor.0 else { return tensor };
    if value.buffer.len() > LARGEST {
        return tensor;
    }
    match Array::from_bytes(value.ty.dtype, value.sizes(), value.buffer.bytes()) {
        Ok(array) => {
            let [constant] = apply(ops::constant(array), &[]);
            constant
        }
        Err(error) => error.into(),
    }
}

impl Tensor {
    /// A tensor from nested data (PyTorch's `torch.tensor`): floats become `f32`, integers `i64`.
    /// [`from_vec`](Tensor::from_vec) keeps the Rust type.
    ///
    /// ```
    /// # use igneous::Tensor;
    /// let x = Tensor::new([[1.0, 2.0], [3.0, 4.0]]);
    /// assert_eq!(x.to_vec::<f32>().unwrap(), [1.0, 2.0, 3.0, 4.0]);
    /// ```
    #[track_caller]
    pub fn new(data: impl Data) -> Tensor {
        let loc = here();
        let mut elements = Vec::new();
        data.collect(&mut elements);
        let made = data.shape().and_then(|shape| default_dtype(&elements, &shape, loc));
        literal_data(or_invalid(made.map_err(|e| e.at(loc))))
    }

    /// A tensor from elements in row-major order, of their Rust type; one extent may be −1.
    ///
    /// ```
    /// # use igneous::{DType, Tensor};
    /// let x = Tensor::from_vec(vec![1.0f64, 2.0, 3.0, 4.0], (2, -1));
    /// assert_eq!(x.dtype(), DType::F64);
    /// ```
    #[track_caller]
    pub fn from_vec<T: Element>(data: Vec<T>, shape: impl IntoShape) -> Tensor {
        Tensor::from_slice(&data, shape)
    }

    /// A tensor from elements in row-major order; one extent may be −1.
    #[track_caller]
    pub fn from_slice<T: Element>(data: &[T], shape: impl IntoShape) -> Tensor {
        let loc = here();
        let made = super::shape::infer_extent(&shape.into_shape(), Dim::from(data.len()))
            .and_then(|shape| shape.iter().map(|d| d.get()).collect::<Result<Vec<_>>>())
            .and_then(|shape| from_elements(data, &shape, loc));
        literal_data(or_invalid(made.map_err(|e| e.at(loc))))
    }

    /// A tensor without axes.
    #[track_caller]
    pub fn scalar(value: impl Into<Scalar>) -> Tensor {
        let value = value.into();
        Tensor::number(value, value.dtype())
    }

    /// A tensor without axes of the given type.
    #[track_caller]
    pub(crate) fn number(value: Scalar, dtype: DType) -> Tensor {
        match (value.literal(dtype), value) {
            (Some(literal), _) => {
                let [constant] = apply(ops::constant(Array::scalar(literal)), &[]);
                constant
            }
            (None, Scalar::Dim(dim)) => {
                let [extent] = apply::<1>(ops::extent(dim), &[]);
                extent.to_dtype(dtype)
            }
            (None, _) => unreachable!("only dimensions are not literals"),
        }
    }

    /// A tensor filled with one value: `f32` for floats, `i64` for integers, `bool`.
    #[track_caller]
    pub fn full(shape: impl IntoShape, value: impl Into<Scalar>) -> Tensor {
        let value = value.into();
        Tensor::filled(shape.into_shape(), value, value.dtype())
    }

    /// A tensor of the given type filled with one value.
    #[track_caller]
    pub(crate) fn filled(shape: Shape, value: Scalar, dtype: DType) -> Tensor {
        let loc = here();
        if let Err(error) = valid_shape(&shape) {
            return Tensor::from(error.at(loc));
        }
        match value.literal(dtype) {
            Some(literal) if !trace::is_tracing() => or_invalid(eager_full(shape, literal, loc).map_err(|e| e.at(loc))),
            _ => {
                let number = Tensor::number(value, dtype);
                if shape.is_empty() { number } else { number.apply(ops::broadcast(shape, &[])) }
            }
        }
    }

    /// Zeros, `f32`.
    #[track_caller]
    pub fn zeros(shape: impl IntoShape) -> Tensor {
        Tensor::filled(shape.into_shape(), Scalar::Int(0), DType::F32)
    }

    /// Ones, `f32`.
    #[track_caller]
    pub fn ones(shape: impl IntoShape) -> Tensor {
        Tensor::filled(shape.into_shape(), Scalar::Int(1), DType::F32)
    }

    /// Zeros of this tensor's type.
    #[track_caller]
    pub fn zeros_like(&self) -> Tensor {
        self.full_like(0)
    }

    /// Ones of this tensor's type.
    #[track_caller]
    pub fn ones_like(&self) -> Tensor {
        self.full_like(1)
    }

    /// A tensor of this tensor's type filled with one value.
    #[track_caller]
    pub fn full_like(&self, value: impl Into<Scalar>) -> Tensor {
        match self.ty() {
            Ok(ty) => Tensor::filled(ty.shape, value.into(), ty.dtype).to(self.device()),
            Err(error) => error.into(),
        }
    }

    /// `start, start + 1, …` up to but without `end`: `i64` if both are integers, else `f32`.
    #[track_caller]
    pub fn arange(start: impl Into<Scalar>, end: impl Into<Scalar>) -> Tensor {
        Tensor::arange_step(start, end, 1)
    }

    /// `start, start + step, …` up to but without `end`: `i64` if all are integers, else `f32`.
    #[track_caller]
    pub fn arange_step(start: impl Into<Scalar>, end: impl Into<Scalar>, step: impl Into<Scalar>) -> Tensor {
        let loc = here();
        let (start, end, step) = (start.into(), end.into(), step.into());
        let real = |s: Scalar| s.literal(DType::F64).map(|l| l.as_f64());
        let float = [start, end, step].iter().any(|s| matches!(s, Scalar::Float(_)));
        let length = match (start, end, step, real(start), real(end), real(step)) {
            (.., Some(0.0)) => return Tensor::from(Error::new("arange needs a step that is not zero").at(loc)),
            (.., Some(from), Some(to), Some(step)) => Dim::constant(((to - from) / step).ceil().max(0.0) as i64),
            (from, Scalar::Dim(to), Scalar::Int(step), ..) if step > 0 => match from {
                Scalar::Int(from) => (to - Dim::constant(from)).div_ceil(Dim::constant(step)).max(0),
                Scalar::Dim(from) => (to - from).div_ceil(Dim::constant(step)).max(0),
                _ => Dim::INVALID,
            },
            _ => Dim::INVALID,
        };
        if length.is_invalid() {
            return Tensor::from(Error::new("arange over a symbolic dimension needs integers and a positive step").at(loc));
        }
        let dtype = if float { DType::F64 } else { DType::I64 };
        let [positions] = apply::<1>(ops::iota(dtype, Shape::from_iter([length]), 0), &[]);
        let values = positions * Tensor::number(step, dtype) + Tensor::number(start, dtype);
        if float { values.to_dtype(DType::F32) } else { values }
    }

    /// `steps` numbers from `start` to `end`, both included, `f32`.
    #[track_caller]
    pub fn linspace(start: f64, end: f64, steps: usize) -> Tensor {
        let [positions] = apply::<1>(ops::iota(DType::F64, Shape::from_iter([Dim::from(steps)]), 0), &[]);
        let step = if steps > 1 { (end - start) / (steps - 1) as f64 } else { 0.0 };
        (positions * step + start).to_dtype(DType::F32)
    }

    /// The identity matrix, `f32`.
    #[track_caller]
    pub fn eye(n: impl Into<Dim>) -> Tensor {
        let n = n.into();
        let shape = Shape::from_iter([n, n]);
        let [rows] = apply::<1>(ops::iota(DType::I64, shape.clone(), 0), &[]);
        let [columns] = apply::<1>(ops::iota(DType::I64, shape, 1), &[]);
        rows.equal(&columns).to_dtype(DType::F32)
    }
}

/// The data with floats as `f32` and integers as `i64`.
fn default_dtype<T: Element>(elements: &[T], shape: &[usize], loc: Loc) -> Result<Tensor> {
    let buffer = Buffer::from_slice(elements)?;
    match T::DTYPE {
        DType::F64 => {
            let rounded: Vec<f32> = buffer.as_slice::<f64>()?.iter().map(|&x| x as f32).collect();
            from_elements(&rounded, shape, loc)
        }
        DType::I32 => {
            let wide: Vec<i64> = buffer.as_slice::<i32>()?.iter().map(|&x| x.into()).collect();
            from_elements(&wide, shape, loc)
        }
        _ => from_elements(elements, shape, loc),
    }
}

fn eager_full(shape: Shape, literal: Literal, loc: Loc) -> Result<Tensor> {
    let ty = TensorType { dtype: literal.dtype(), shape };
    let too_large = |e: Error| e.context(format_args!("a tensor of type {ty}"));
    let mut buffer = ty.bytes().get().and_then(Buffer::zeroed).map_err(too_large)?;
    if !literal.is(0.0) {
        let element = Array::scalar(literal).to_bytes();
        buffer.bytes_mut()?.chunks_exact_mut(element.len()).for_each(|chunk| chunk.copy_from_slice(&element));
    }
    Ok(Eager { anywhere: true, ..Eager::new(ty, buffer, Some(loc)) }.into())
}
