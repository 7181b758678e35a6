//! Elementwise mathematics, comparison and selection.

use super::arguments::{Operand, OperandRef, Scalar};
use super::promote::{common_shape, promote, same_dtype, unify};
use super::{Tensor, or_invalid};
use crate::apply::apply;
use crate::location::here;
use igneous_ir::{DType, Dim, Error, Result, ops};
use std::ops as std_ops;

/// A binary operator after promotion and broadcasting.
#[track_caller]
pub(super) fn binary(name: &'static str, a: OperandRef<'_>, b: OperandRef<'_>) -> Tensor {
    if let Some((x, wide)) = half_beside_number(name, a, b) {
        let (a, b) = if matches!(a, OperandRef::Tensor(_)) { (wide.operand(), b) } else { (a, wide.operand()) };
        return binary(name, a, b).rounded_as(x);
    }
    match unify(name, a, b) {
        Ok((a, b)) => a.apply_with(ops::pointwise(name), &b),
        Err(error) => Tensor::from(error.at(here())),
    }
}

/// The operand of a half type and the same as `f32`, if the other is a number for arithmetic that the half type has not: the
/// number is not rounded to it.
#[track_caller]
fn half_beside_number<'a>(name: &str, a: OperandRef<'a>, b: OperandRef<'a>) -> Option<(&'a Tensor, Tensor)> {
    let (x, n) = match (a, b) {
        (OperandRef::Tensor(x), OperandRef::Scalar(Scalar::Float(n))) => (x, n),
        (OperandRef::Scalar(Scalar::Float(n)), OperandRef::Tensor(x)) => (x, n),
        _ => return None,
    };
    let dtype = x.dtype();
    let half = dtype != dtype.compute() && x.error().is_none();
    let inexact = n.is_finite() && dtype.round(n) != n;
    (half && inexact && matches!(name, "add" | "sub" | "mul" | "div" | "pow")).then(|| (x, x.as_wide()))
}

/// The same, of two integers or bools after converting both to floats: what `/` means.
#[track_caller]
fn true_division(a: OperandRef<'_>, b: OperandRef<'_>) -> Tensor {
    // A number over a tensor is a reciprocal, which autocast computes in single precision.
    let wide;
    let b = match (a, b) {
        (OperandRef::Scalar(_), OperandRef::Tensor(x)) => {
            wide = x.in_autocast_single();
            wide.operand()
        }
        _ => b,
    };
    match same_dtype(a, b) {
        Ok((a, b)) => {
            let (a, b) = (a.as_float(), b.as_float());
            binary("div", a.operand(), b.operand())
        }
        Err(error) => Tensor::from(error.at(here())),
    }
}

macro_rules! float_unary {
    ($($(#[$doc:meta])* $method:ident $op:literal;)*) => {
        impl Tensor {
            $(
                $(#[$doc])*
                #[track_caller]
                pub fn $method(&self) -> Tensor {
                    self.as_float().apply(ops::pointwise($op))
                }
            )*
        }
    };
}

float_unary! {
    /// Square root. Of integers and bools, as of all functions with real values: `f32`.
    sqrt "sqrt";
    /// `1 / √self`
    rsqrt "rsqrt";
    /// `e^self`
    exp "exp";
    /// `e^self − 1`, exact near 0.
    expm1 "expm1";
    /// Natural logarithm.
    log "log";
    /// `log(1 + self)`, exact near 0.
    log1p "log1p";
    /// Sine.
    sin "sin";
    /// Cosine.
    cos "cos";
    /// Hyperbolic tangent.
    tanh "tanh";
    /// The error function.
    erf "erf";
    /// `1 / (1 + e^−self)`
    sigmoid "sigmoid";
    /// Sigmoid linear unit, `self · sigmoid(self)`.
    silu "silu";
    /// `log(1 + e^self)`
    softplus "softplus";
    /// `1 / self`
    reciprocal "reciprocal";
}

macro_rules! unary {
    ($($(#[$doc:meta])* $method:ident $op:literal;)*) => {
        impl Tensor {
            $(
                $(#[$doc])*
                #[track_caller]
                pub fn $method(&self) -> Tensor {
                    self.apply(ops::pointwise($op))
                }
            )*
        }
    };
}

unary! {
    /// The absolute value.
    abs "abs";
    /// −1, 0 or 1.
    sign "sign";
    /// The largest integer not above each element.
    floor "floor";
    /// The smallest integer not below each element.
    ceil "ceil";
    /// The nearest integer, halves to even.
    round "round";
    /// Each element without its fraction.
    trunc "trunc";
    /// `max(self, 0)`
    relu "relu";
    /// `self · self`
    square "square";
    /// Where elements are NaN.
    isnan "isnan";
    /// Where elements are neither NaN nor infinite.
    isfinite "isfinite";
    /// Bitwise complement; of bools, negation.
    bitwise_not "not";
}

macro_rules! comparison {
    ($($(#[$doc:meta])* $method:ident $op:literal;)*) => {
        impl Tensor {
            $(
                $(#[$doc])*
                #[track_caller]
                pub fn $method(&self, other: impl Operand) -> Tensor {
                    binary($op, self.operand(), other.operand())
                }
            )*
        }
    };
}

comparison! {
    /// Where elements equal those of `other` (PyTorch's `eq`).
    equal "eq";
    /// Where elements differ.
    ne "ne";
    /// Where elements are less.
    lt "lt";
    /// Where elements are less or equal.
    le "le";
    /// Where elements are greater.
    gt "gt";
    /// Where elements are greater or equal.
    ge "ge";
    /// The larger of two; NaN if either is NaN.
    maximum "maximum";
    /// The smaller of two; NaN if either is NaN.
    minimum "minimum";
    /// `self^exponent`, of floats.
    pow "pow";
    /// The remainder of division, with the sign of the divisor.
    remainder "rem";
}

impl Tensor {
    /// Floats as they are, integers and bools as `f32`.
    #[track_caller]
    pub(crate) fn as_float(&self) -> Tensor {
        if self.dtype().is_float() { self.clone() } else { self.to_dtype(DType::F32) }
    }

    /// What an operation of several steps computes in: `f64`, else `f32`.
    #[track_caller]
    pub(crate) fn as_wide(&self) -> Tensor {
        let x = self.as_float();
        x.to_dtype(x.dtype().compute())
    }

    /// What [`as_wide`](Tensor::as_wide) of `of` led to, rounded to the type of `of` if that is a half type.
    #[track_caller]
    pub(crate) fn rounded_as(&self, of: &Tensor) -> Tensor {
        let dtype = of.dtype();
        if dtype == dtype.compute() { self.clone() } else { self.to_dtype(dtype) }
    }

    /// The largest integer not above `self / divisor`, in the common type. An integer divided by 0 is 0.
    #[track_caller]
    pub fn floor_divide(&self, divisor: impl Operand) -> Tensor {
        let quotient = binary("div", self.operand(), divisor.operand());
        if quotient.dtype().is_float() { quotient.floor() } else { quotient }
    }

    /// Where elements are false (zero).
    #[track_caller]
    pub fn logical_not(&self) -> Tensor {
        self.as_bool().bitwise_not()
    }

    /// Where both are true (not zero).
    #[track_caller]
    pub fn logical_and(&self, other: &Tensor) -> Tensor {
        self.as_bool() & other.as_bool()
    }

    /// Where either is true (not zero).
    #[track_caller]
    pub fn logical_or(&self, other: &Tensor) -> Tensor {
        self.as_bool() | other.as_bool()
    }

    /// Where elements are not zero.
    #[track_caller]
    pub(super) fn as_bool(&self) -> Tensor {
        if self.dtype() == DType::Bool { self.clone() } else { self.to_dtype(DType::Bool) }
    }

    /// `self` where `condition` is true, elsewhere `other`; all three broadcast.
    #[track_caller]
    pub fn where_(&self, condition: &Tensor, other: impl Operand) -> Tensor {
        select(condition, self.operand(), other.operand())
    }

    /// `value` where `mask` is true, elsewhere `self`.
    #[track_caller]
    pub fn masked_fill(&self, mask: &Tensor, value: impl Into<Scalar>) -> Tensor {
        if let Err(error) = self.check() {
            return error.into();
        }
        let value = Tensor::number(value.into(), self.dtype());
        select(mask, value.operand(), self.operand())
    }
}

/// `then` where the condition is true, elsewhere `otherwise` (PyTorch's `torch.where`).
#[track_caller]
pub fn where_(condition: &Tensor, then: impl Operand, otherwise: impl Operand) -> Tensor {
    select(condition, then.operand(), otherwise.operand())
}

#[track_caller]
fn select(condition: &Tensor, then: OperandRef<'_>, otherwise: OperandRef<'_>) -> Tensor {
    let loc = here();
    or_invalid(select_operands(condition, then, otherwise).map_err(|e| e.at(loc)).map(|[c, a, b]| {
        // The line is that of this function's caller: see `loc`.
        crate::apply::try_apply(ops::pointwise("select"), &[&c, &a, &b], loc)
            .map(|mut r| r.remove(0))
            .unwrap_or_else(Tensor::from)
    }))
}

#[track_caller]
fn select_operands(condition: &Tensor, then: OperandRef<'_>, otherwise: OperandRef<'_>) -> Result<[Tensor; 3]> {
    condition.check()?;
    if condition.dtype() != DType::Bool {
        return Err(Error::new("where_ needs a condition of bools").note("condition", condition.describe()));
    }
    let (a, b) = same_dtype(then, otherwise)?;
    let shape = common_shape("where_", &[condition, &a, &b])?;
    Ok([condition.broadcast_to(&shape), a.broadcast_to(&shape), b.broadcast_to(&shape)])
}

macro_rules! operator {
    ($trait:ident $method:ident $assign_trait:ident $assign_method:ident $apply:expr) => {
        operator!(@pair $trait $method $apply, [] Tensor, [] Tensor);
        operator!(@pair $trait $method $apply, [] Tensor, ['a] &'a Tensor);
        operator!(@pair $trait $method $apply, ['a] &'a Tensor, [] Tensor);
        operator!(@pair $trait $method $apply, ['a 'b] &'a Tensor, ['b 'a] &'b Tensor);
        operator!(@number $trait $method $apply, f64);
        operator!(@number $trait $method $apply, i64);
        operator!(@number $trait $method $apply, Dim);

        impl<T: Operand> std_ops::$assign_trait<T> for Tensor {
            #[track_caller]
            fn $assign_method(&mut self, other: T) {
                *self = $apply(self.operand(), other.operand());
            }
        }
    };
    (@pair $trait:ident $method:ident $apply:expr, [$($a:lifetime)*] $left:ty, [] $right:ty) => {
        impl<$($a),*> std_ops::$trait<$right> for $left {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: $right) -> Tensor {
                $apply(self.operand(), other.operand())
            }
        }
    };
    (@pair $trait:ident $method:ident $apply:expr, [] $left:ty, [$b:lifetime] $right:ty) => {
        impl<$b> std_ops::$trait<$right> for $left {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: $right) -> Tensor {
                $apply(self.operand(), other.operand())
            }
        }
    };
    (@pair $trait:ident $method:ident $apply:expr, [$a:lifetime $b:lifetime] $left:ty, [$b2:lifetime $a2:lifetime] $right:ty) => {
        impl<$a, $b> std_ops::$trait<$right> for $left {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: $right) -> Tensor {
                $apply(self.operand(), other.operand())
            }
        }
    };
    (@number $trait:ident $method:ident $apply:expr, $number:ty) => {
        operator!(@pair $trait $method $apply, [] Tensor, [] $number);
        operator!(@pair $trait $method $apply, ['a] &'a Tensor, [] $number);
        operator!(@pair $trait $method $apply, [] $number, [] Tensor);
        operator!(@pair $trait $method $apply, [] $number, ['a] &'a Tensor);
    };
}

#[track_caller]
fn add(a: OperandRef<'_>, b: OperandRef<'_>) -> Tensor {
    binary("add", a, b)
}

#[track_caller]
fn sub(a: OperandRef<'_>, b: OperandRef<'_>) -> Tensor {
    binary("sub", a, b)
}

#[track_caller]
fn mul(a: OperandRef<'_>, b: OperandRef<'_>) -> Tensor {
    binary("mul", a, b)
}

#[track_caller]
fn rem(a: OperandRef<'_>, b: OperandRef<'_>) -> Tensor {
    binary("rem", a, b)
}

operator!(Add add AddAssign add_assign add);
operator!(Sub sub SubAssign sub_assign sub);
operator!(Mul mul MulAssign mul_assign mul);
operator!(Div div DivAssign div_assign true_division);
operator!(Rem rem RemAssign rem_assign rem);

macro_rules! bit_operator {
    ($trait:ident $method:ident $op:literal) => {
        bit_operator!(@pair $trait $method $op, Tensor, Tensor);
        bit_operator!(@pair $trait $method $op, Tensor, &Tensor);
        bit_operator!(@pair $trait $method $op, &Tensor, Tensor);
        bit_operator!(@pair $trait $method $op, &Tensor, &Tensor);
    };
    (@pair $trait:ident $method:ident $op:literal, $left:ty, $right:ty) => {
        impl std_ops::$trait<$right> for $left {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: $right) -> Tensor {
                binary($op, self.operand(), other.operand())
            }
        }
    };
}

bit_operator!(BitAnd bitand "and");
bit_operator!(BitOr bitor "or");
bit_operator!(BitXor bitxor "xor");
bit_operator!(Shl shl "shift_left");
bit_operator!(Shr shr "shift_right");

macro_rules! prefix_operator {
    ($trait:ident $method:ident $op:literal) => {
        impl std_ops::$trait for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self) -> Tensor {
                self.apply(ops::pointwise($op))
            }
        }

        impl std_ops::$trait for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self) -> Tensor {
                self.apply(ops::pointwise($op))
            }
        }
    };
}

prefix_operator!(Neg neg "neg");
prefix_operator!(Not not "not");

impl std::iter::Sum for Tensor {
    fn sum<I: Iterator<Item = Tensor>>(iter: I) -> Tensor {
        iter.reduce(|a, b| a + b).unwrap_or_else(|| Tensor::zeros(()))
    }
}

/// The tensors in their common element type, each broadcast to their common shape (PyTorch's `broadcast_tensors`).
#[track_caller]
pub fn broadcast_tensors(tensors: &[&Tensor]) -> Vec<Tensor> {
    match common_shape("broadcast_tensors", tensors) {
        Ok(shape) => {
            let mut all = Vec::new();
            for tensor in tensors {
                all.push(tensor.broadcast_to(&shape));
            }
            all
        }
        Err(error) => tensors.iter().map(|_| Tensor::from(error.clone())).collect(),
    }
}

/// The tensors in their common element type.
#[track_caller]
pub(super) fn with_common_dtype(tensors: &[&Tensor]) -> Vec<Tensor> {
    let Some(dtype) = tensors.iter().map(|t| t.dtype()).reduce(promote) else { return Vec::new() };
    let mut all = Vec::new();
    for tensor in tensors {
        all.push(tensor.to_dtype(dtype));
    }
    all
}

/// Applies an operator with one result to many tensors.
#[track_caller]
pub(super) fn apply_many(op: igneous_ir::Op, tensors: &[Tensor]) -> Tensor {
    let inputs: Vec<&Tensor> = tensors.iter().collect();
    let [result] = apply(op, &inputs);
    result
}
