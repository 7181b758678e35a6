//! Writing operators as mathematics: what vjp, jvp and batch rules and decompositions are written with.
//!
//! The target is anything that can apply an operator: a graph under construction, or eager mode.

use crate::array::Array;
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::graph::{Value, Values};
use crate::op::{Op, Types};
use crate::ops;
use crate::types::{DType, Literal, Shape, TensorType};
use smallvec::SmallVec;
use std::cell::RefCell;
use std::ops as std_ops;

/// Something operators can be applied in.
pub trait Emit {
    /// Applies `op`. Every call returns values that were not there before.
    ///
    /// # Errors
    /// If the operands do not fit, or the operator cannot be run.
    fn emit(&mut self, op: Op, operands: &[Value]) -> Result<Values>;

    /// The type of a value that `emit` returned or that the target knows otherwise.
    fn type_of(&self, value: Value) -> TensorType;

    /// What is emitted from now on derives from the operator that made `value`: a graph gives it the same source line
    /// and scope.
    fn attribute_to(&mut self, _value: Value) {}
}

/// Applies operators to a target and keeps the first error, so that rules read as mathematics.
/// After an error, values have the right types and no contents.
pub struct Emitter<'e> {
    target: RefCell<&'e mut dyn Emit>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    error: Option<Error>,
    /// Types of the values made after an error; they count down from `u32::MAX`.
    phantoms: Vec<TensorType>,
}

impl<'e> Emitter<'e> {
    /// Emits into `target`.
    pub fn new(target: &'e mut dyn Emit) -> Emitter<'e> {
        Emitter { target: RefCell::new(target), state: RefCell::default() }
    }

    /// Wraps a value of the target.
    pub fn value<'b>(&'b self, value: Value) -> X<'b, 'e> {
        X { emitter: self, value }
    }

    /// The first error, if there was one.
    ///
    /// # Errors
    /// That error.
    pub fn finish(&self) -> Result<()> {
        self.state.borrow_mut().error.take().map_or(Ok(()), Err)
    }

    /// Reports an error of a rule itself.
    pub fn fail(&self, error: Error) {
        self.state.borrow_mut().error.get_or_insert(error);
    }

    /// Applies `op`; one handle for each result.
    pub fn apply<'b>(&'b self, op: Op, operands: &[X<'b, 'e>]) -> SmallVec<[X<'b, 'e>; 2]> {
        let values: SmallVec<[Value; 4]> = operands.iter().map(|x| x.value).collect();
        if self.state.borrow().error.is_none() {
            let emitted = self.target.borrow_mut().emit(op.clone(), &values);
            match emitted {
                Ok(values) => return values.into_iter().map(|v| self.value(v)).collect(),
                Err(error) => self.fail(error),
            }
        }
        let types: SmallVec<[TensorType; 4]> = operands.iter().map(|x| x.ty()).collect();
        let fallback = || Types::from_iter([types.first().cloned().unwrap_or(TensorType::scalar(DType::F32))]);
        let results = op.infer(&types).unwrap_or_else(|_| fallback());
        results.into_iter().map(|ty| self.phantom(ty)).collect()
    }

    fn phantom<'b>(&'b self, ty: TensorType) -> X<'b, 'e> {
        let phantoms = &mut self.state.borrow_mut().phantoms;
        phantoms.push(ty);
        self.value(Value { node: u32::MAX - (phantoms.len() as u32 - 1), result: 0 })
    }

    /// Applies an operator with one result.
    pub fn one<'b>(&'b self, op: Op, operands: &[X<'b, 'e>]) -> X<'b, 'e> {
        self.apply(op, operands)[0]
    }

    /// A constant without axes.
    pub fn scalar<'b>(&'b self, literal: Literal) -> X<'b, 'e> {
        self.one(ops::constant(Array::scalar(literal)), &[])
    }

    /// A tensor filled with one value.
    pub fn full<'b>(&'b self, dtype: DType, value: f64, shape: impl IntoIterator<Item = impl Into<Dim>>) -> X<'b, 'e> {
        let shape: Shape = shape.into_iter().map(Into::into).collect();
        let scalar = self.scalar(Literal::float(dtype, value));
        if shape.is_empty() { scalar } else { scalar.broadcast(shape, &[]) }
    }

    fn type_of(&self, value: Value) -> TensorType {
        let state = self.state.borrow();
        match state.phantoms.get((u32::MAX - value.node) as usize) {
            Some(ty) => ty.clone(),
            None => self.target.borrow().type_of(value),
        }
    }
}

/// A value being computed with. Arithmetic broadcasts as numpy does and emits the broadcasts.
#[derive(Clone, Copy)]
pub struct X<'b, 'e> {
    /// Where operators are emitted.
    pub emitter: &'b Emitter<'e>,
    /// The value in the emitter's target.
    pub value: Value,
}

impl<'b, 'e> X<'b, 'e> {
    /// The type.
    pub fn ty(self) -> TensorType {
        self.emitter.type_of(self.value)
    }

    /// The element type.
    pub fn dtype(self) -> DType {
        self.ty().dtype
    }

    /// The shape.
    pub fn shape(self) -> Shape {
        self.ty().shape
    }

    /// The number of axes.
    pub fn rank(self) -> usize {
        self.ty().rank()
    }

    /// A constant without axes of this element type.
    pub fn lit(self, value: f64) -> X<'b, 'e> {
        self.emitter.scalar(Literal::float(self.dtype(), value))
    }

    /// Zeros of this type.
    pub fn zeros_like(self) -> X<'b, 'e> {
        let ty = self.ty();
        self.emitter.full(ty.dtype, 0.0, ty.shape)
    }

    /// Applies a pointwise operator to this value.
    pub fn unary(self, op: Op) -> X<'b, 'e> {
        self.emitter.one(op, &[self])
    }

    /// Applies a pointwise operator to this value and another, broadcasting both to a common shape.
    pub fn binary(self, op: Op, other: X<'b, 'e>) -> X<'b, 'e> {
        let (a, b) = self.broadcast_with(other);
        self.emitter.one(op, &[a, b])
    }

    /// This value and another, broadcast to their common shape by numpy's rule.
    pub fn broadcast_with(self, other: X<'b, 'e>) -> (X<'b, 'e>, X<'b, 'e>) {
        let (a, b) = (self.shape(), other.shape());
        if a == b {
            return (self, other);
        }
        match ops::broadcast_shapes(&a, &b) {
            Ok(shape) => (self.broadcast_to(&shape), other.broadcast_to(&shape)),
            Err(error) => {
                self.emitter.fail(error);
                (self, other)
            }
        }
    }

    /// Broadcast to `shape` by numpy's rule: axes align at the end, extents of one stretch.
    pub fn broadcast_to(self, shape: &[Dim]) -> X<'b, 'e> {
        let own = self.shape();
        if own.as_slice() == shape {
            return self;
        }
        let offset = shape.len().saturating_sub(own.len());
        let kept: Vec<usize> = (0..own.len()).filter(|&i| own[i] != Dim::ONE || shape[offset + i] == Dim::ONE).collect();
        let source = if kept.len() == own.len() { self } else { self.reshape(kept.iter().map(|&i| own[i]).collect::<Shape>()) };
        let axes: Vec<usize> = kept.iter().map(|&i| offset + i).collect();
        source.broadcast(Shape::from(shape), &axes)
    }

    /// Broadcast to `shape`; axis `i` of this value becomes axis `axes[i]`, of equal extent.
    pub fn broadcast(self, shape: Shape, axes: &[usize]) -> X<'b, 'e> {
        if axes.len() == shape.len() && axes.iter().enumerate().all(|(i, &a)| i == a) && self.shape() == shape {
            return self;
        }
        self.unary(ops::broadcast(shape, axes))
    }

    /// The same elements in row-major order with another shape.
    pub fn reshape(self, shape: impl IntoIterator<Item = impl Into<Dim>>) -> X<'b, 'e> {
        let shape: Shape = shape.into_iter().map(Into::into).collect();
        if shape == self.shape() { self } else { self.unary(ops::reshape(shape)) }
    }

    /// Axes in another order: axis `i` of the result is axis `permutation[i]` of this value.
    pub fn transpose(self, permutation: &[usize]) -> X<'b, 'e> {
        if permutation.iter().enumerate().all(|(i, &p)| i == p) { self } else { self.unary(ops::transpose(permutation)) }
    }

    /// Converted to another element type.
    pub fn cast(self, dtype: DType) -> X<'b, 'e> {
        if dtype == self.dtype() { self } else { self.unary(ops::cast(dtype)) }
    }

    /// Reduced over `axes`, which disappear.
    pub fn reduce(self, kind: crate::op::ReduceKind, axes: &[usize]) -> X<'b, 'e> {
        if axes.is_empty() { self } else { self.unary(ops::reduce(kind, axes)) }
    }

    /// Sum over `axes`, which disappear.
    pub fn sum(self, axes: &[usize]) -> X<'b, 'e> {
        self.reduce(crate::op::ReduceKind::Sum, axes)
    }

    /// Sum over `axes`, which stay with extent one.
    pub fn sum_keepdim(self, axes: &[usize]) -> X<'b, 'e> {
        let mut shape = self.shape();
        axes.iter().for_each(|&a| shape[a] = Dim::ONE);
        self.sum(axes).reshape(shape)
    }

    /// Summed down to `shape`, which this value's shape is a numpy broadcast of: the transpose of `broadcast_to`.
    pub fn sum_to(self, shape: &[Dim]) -> X<'b, 'e> {
        let own = self.shape();
        let offset = own.len() - shape.len();
        let axes: Vec<usize> =
            (0..own.len()).filter(|&i| i < offset || (shape[i - offset] == Dim::ONE && own[i] != Dim::ONE)).collect();
        self.sum(&axes).reshape(Shape::from(shape))
    }

    /// `e^self`
    pub fn exp(self) -> X<'b, 'e> {
        self.unary(ops::pointwise("exp"))
    }

    /// Natural logarithm.
    pub fn log(self) -> X<'b, 'e> {
        self.unary(ops::pointwise("log"))
    }

    /// Square root.
    pub fn sqrt(self) -> X<'b, 'e> {
        self.unary(ops::pointwise("sqrt"))
    }

    /// `1 / √self`
    pub fn rsqrt(self) -> X<'b, 'e> {
        self.unary(ops::pointwise("rsqrt"))
    }

    /// Any pointwise operator without attributes by name: `tanh`, `sin`, `erf`, ….
    pub fn pointwise(self, name: &'static str) -> X<'b, 'e> {
        self.unary(ops::pointwise(name))
    }

    /// `self^exponent`
    pub fn pow(self, exponent: X<'b, 'e>) -> X<'b, 'e> {
        self.binary(ops::pointwise("pow"), exponent)
    }

    /// The larger; NaN if either is.
    pub fn max(self, other: X<'b, 'e>) -> X<'b, 'e> {
        self.binary(ops::pointwise("maximum"), other)
    }

    /// The smaller; NaN if either is.
    pub fn min(self, other: X<'b, 'e>) -> X<'b, 'e> {
        self.binary(ops::pointwise("minimum"), other)
    }

    /// A comparison by name: `eq ne lt le gt ge`; the result is bool.
    pub fn compare(self, name: &'static str, other: X<'b, 'e>) -> X<'b, 'e> {
        self.binary(ops::pointwise(name), other)
    }

    /// `if self { then } else { otherwise }`, all broadcast to one shape; `self` is bool.
    pub fn select(self, then: X<'b, 'e>, otherwise: X<'b, 'e>) -> X<'b, 'e> {
        let (then, otherwise) = then.broadcast_with(otherwise);
        let (c, then) = self.broadcast_with(then);
        let otherwise = otherwise.broadcast_to(&c.shape());
        self.emitter.one(ops::pointwise("select"), &[c, then, otherwise])
    }

    /// This value without a path for gradients.
    pub fn stop_gradient(self) -> X<'b, 'e> {
        self.unary(ops::stop_gradient())
    }
}

macro_rules! operator {
    ($trait:ident $method:ident $name:literal) => {
        impl<'b, 'e> std_ops::$trait for X<'b, 'e> {
            type Output = X<'b, 'e>;
            fn $method(self, other: X<'b, 'e>) -> X<'b, 'e> {
                self.binary(ops::pointwise($name), other)
            }
        }
        impl<'b, 'e> std_ops::$trait<f64> for X<'b, 'e> {
            type Output = X<'b, 'e>;
            fn $method(self, other: f64) -> X<'b, 'e> {
                self.binary(ops::pointwise($name), self.lit(other))
            }
        }
        impl<'b, 'e> std_ops::$trait<X<'b, 'e>> for f64 {
            type Output = X<'b, 'e>;
            fn $method(self, other: X<'b, 'e>) -> X<'b, 'e> {
                other.lit(self).binary(ops::pointwise($name), other)
            }
        }
    };
}

operator!(Add add "add");
operator!(Sub sub "sub");
operator!(Mul mul "mul");
operator!(Div div "div");

impl<'b, 'e> std_ops::Neg for X<'b, 'e> {
    type Output = X<'b, 'e>;
    fn neg(self) -> X<'b, 'e> {
        self.unary(ops::pointwise("neg"))
    }
}
