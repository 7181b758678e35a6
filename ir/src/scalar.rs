//! Scalar expressions: what a kernel computes per element. One definition of an operator's
//! arithmetic serves the eager kernels, the Cranelift and CUDA back ends and the kernel interpreter.
//!
//! An [`Exprs`] is a hash-consed arena of typed nodes, folded and simplified on construction;
//! [`S`] is a handle into it with the usual operators, so that definitions read as mathematics.

use crate::dim::Dim;
use crate::simplify::{self, Range};
use crate::types::{DType, Literal};
use smallvec::SmallVec;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::ops;

/// Index of an expression in its [`Exprs`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExprId(pub u32);

impl fmt::Debug for ExprId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}", self.0)
    }
}

/// A function of real arguments that back ends expand by [`crate::math`] into arithmetic.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum MathFn {
    /// `e^x`
    Exp,
    /// Natural logarithm.
    Log,
    /// `log(1 + x)`
    Log1p,
    /// `e^x - 1`
    Expm1,
    /// Sine of radians.
    Sin,
    /// Cosine of radians.
    Cos,
    /// Hyperbolic tangent.
    Tanh,
    /// The error function.
    Erf,
    /// Inverse tangent, in radians.
    Atan,
    /// `1 / (1 + e^-x)`
    Sigmoid,
    /// `x^y`
    Pow,
}

impl MathFn {
    /// All functions.
    pub const ALL: [MathFn; 11] = [
        MathFn::Exp,
        MathFn::Log,
        MathFn::Log1p,
        MathFn::Expm1,
        MathFn::Sin,
        MathFn::Cos,
        MathFn::Tanh,
        MathFn::Erf,
        MathFn::Atan,
        MathFn::Sigmoid,
        MathFn::Pow,
    ];

    /// The name in kernel text.
    pub const fn name(self) -> &'static str {
        match self {
            MathFn::Exp => "exp",
            MathFn::Log => "log",
            MathFn::Log1p => "log1p",
            MathFn::Expm1 => "expm1",
            MathFn::Sin => "sin",
            MathFn::Cos => "cos",
            MathFn::Tanh => "tanh",
            MathFn::Erf => "erf",
            MathFn::Atan => "atan",
            MathFn::Sigmoid => "sigmoid",
            MathFn::Pow => "pow",
        }
    }
}

/// A comparison; its result is `bool`. With a NaN operand all but `Ne` are false.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Compare {
    /// `a = b`
    Eq,
    /// `a ≠ b`
    Ne,
    /// `a < b`
    Lt,
    /// `a ≤ b`
    Le,
    /// `a > b`
    Gt,
    /// `a ≥ b`
    Ge,
}

/// What an expression node computes from its arguments.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ScalarOp {
    /// A constant.
    Literal(Literal),
    /// The current index along an axis of the kernel (`i64`).
    Axis(u32),
    /// The run-time value of a dimension (`i64`); constants become literals.
    Extent(Dim),
    /// An element of a parameter; the arguments are its indices, one for each axis of the parameter.
    Load(u32),
    /// A value that an earlier stage made; the arguments are its indices, one for each axis of the local.
    Local(u32),
    /// A mathematical function of floats.
    Math(MathFn),
    /// `-x`; for bool it is not defined.
    Neg,
    /// Absolute value.
    Abs,
    /// Square root (floats).
    Sqrt,
    /// Largest integer not above (floats).
    Floor,
    /// Smallest integer not below (floats).
    Ceil,
    /// Nearest integer, ties to even (floats).
    Round,
    /// Integer part (floats).
    Trunc,
    /// Bitwise complement; logical for bool.
    Not,
    /// Sum, wrapping for integers.
    Add,
    /// Difference, wrapping for integers.
    Sub,
    /// Product, wrapping for integers.
    Mul,
    /// Quotient. Integers: rounded toward negative infinity; by zero gives 0.
    Div,
    /// Remainder. Integers and floats: with the sign of the divisor; integers modulo zero give 0.
    Rem,
    /// The smaller; NaN if either is NaN.
    Min,
    /// The larger; NaN if either is NaN.
    Max,
    /// Bitwise or logical and.
    And,
    /// Bitwise or logical or.
    Or,
    /// Bitwise or logical exclusive or.
    Xor,
    /// Shift left; the count must be below the width.
    Shl,
    /// Shift right (arithmetic if signed); the count must be below the width.
    Shr,
    /// The upper 32 bits of the product of two `u32`.
    MulHi,
    /// `a·b + c` with one rounding where the target has the instruction, else two.
    Fma,
    /// Comparison with a `bool` result.
    Compare(Compare),
    /// `if c { a } else { b }`; both sides are evaluated.
    Select,
    /// Conversion to the node's type. Float to integer truncates and saturates, NaN gives 0; to bool: `x ≠ 0`.
    Cast,
    /// The same bits read as the node's type, of equal width.
    Bitcast,
}

/// A node: operation, arguments and result type.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Expr {
    /// What is computed.
    pub op: ScalarOp,
    /// The arguments.
    pub args: SmallVec<[ExprId; 4]>,
    /// The type of the result.
    pub dtype: DType,
}

/// A hash-consed arena of expressions. Arguments always precede their users.
#[derive(Clone, Default, Debug)]
pub struct Exprs {
    nodes: Vec<Expr>,
    index: HashMap<Expr, ExprId>,
    /// What is known about the values of each node.
    ranges: Vec<Range>,
    /// The extent of each axis, for simplification of index arithmetic; missing axes have no known range.
    /// An axis' extent is set before the axis occurs in an expression, and stays.
    pub axes: Vec<Dim>,
}

impl Exprs {
    /// An empty arena for a section whose axes have these extents.
    pub fn with_axes(axes: Vec<Dim>) -> Exprs {
        Exprs { axes, ..Exprs::default() }
    }

    /// The node behind `id`.
    pub fn get(&self, id: ExprId) -> &Expr {
        &self.nodes[id.0 as usize]
    }

    /// The result type of `id`.
    pub fn dtype(&self, id: ExprId) -> DType {
        self.get(id).dtype
    }

    /// The number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// What is known about the values of `id`.
    pub(crate) fn range(&self, id: ExprId) -> Range {
        self.ranges[id.0 as usize]
    }

    /// The value if `id` is a literal.
    pub fn literal(&self, id: ExprId) -> Option<Literal> {
        match self.get(id).op {
            ScalarOp::Literal(l) => Some(l),
            _ => None,
        }
    }

    /// A constant.
    pub fn constant(&mut self, literal: Literal) -> ExprId {
        self.raw(ScalarOp::Literal(literal), &[], literal.dtype())
    }

    /// A dimension as an `i64` expression.
    pub fn extent(&mut self, dim: Dim) -> ExprId {
        match dim.as_const() {
            Some(n) => self.constant(Literal::int(DType::I64, n)),
            None => self.raw(ScalarOp::Extent(dim), &[], DType::I64),
        }
    }

    /// Adds a node as it is, sharing an equal one.
    pub fn raw(&mut self, op: ScalarOp, args: &[ExprId], dtype: DType) -> ExprId {
        let expr = Expr { op, args: args.into(), dtype };
        if let Some(&id) = self.index.get(&expr) {
            return id;
        }
        let id = ExprId(self.nodes.len() as u32);
        self.ranges.push(simplify::range_of(self, &expr));
        self.nodes.push(expr.clone());
        self.index.insert(expr, id);
        id
    }

    /// Adds a node, folded and simplified where that is exact.
    pub fn add(&mut self, op: ScalarOp, args: &[ExprId], dtype: DType) -> ExprId {
        match simplify::simplify(self, op, args, dtype) {
            Some(id) => id,
            None => self.raw(op, args, dtype),
        }
    }

    /// Every node reachable from `roots`, arguments first.
    pub fn reachable(&self, roots: &[ExprId]) -> Vec<ExprId> {
        let mut seen = vec![false; self.nodes.len()];
        for r in roots {
            seen[r.0 as usize] = true;
        }
        for i in (0..self.nodes.len()).rev() {
            if seen[i] {
                for a in &self.nodes[i].args {
                    seen[a.0 as usize] = true;
                }
            }
        }
        (0..self.nodes.len()).filter(|&i| seen[i]).map(|i| ExprId(i as u32)).collect()
    }
}

/// A handle to an expression, with arithmetic. Made by [`S::literal`], [`S::of`] and operations on others.
#[derive(Clone, Copy)]
pub struct S<'a> {
    /// The arena.
    pub exprs: &'a RefCell<Exprs>,
    /// The node.
    pub id: ExprId,
}

impl<'a> S<'a> {
    /// Wraps a node.
    pub fn of(exprs: &'a RefCell<Exprs>, id: ExprId) -> S<'a> {
        S { exprs, id }
    }

    /// A constant of type `dtype`.
    pub fn literal(exprs: &'a RefCell<Exprs>, dtype: DType, value: f64) -> S<'a> {
        let id = exprs.borrow_mut().constant(Literal::float(dtype, value));
        S { exprs, id }
    }

    /// An integer constant of type `dtype`.
    pub fn int(exprs: &'a RefCell<Exprs>, dtype: DType, value: i64) -> S<'a> {
        let id = exprs.borrow_mut().constant(Literal::int(dtype, value));
        S { exprs, id }
    }

    /// A dimension as an `i64`.
    pub fn extent(exprs: &'a RefCell<Exprs>, dim: Dim) -> S<'a> {
        let id = exprs.borrow_mut().extent(dim);
        S { exprs, id }
    }

    /// The result type.
    pub fn dtype(self) -> DType {
        self.exprs.borrow().dtype(self.id)
    }

    /// A constant of the same type.
    pub fn lit(self, value: f64) -> S<'a> {
        S::literal(self.exprs, self.dtype(), value)
    }

    /// An integer constant of the same type.
    pub fn lit_int(self, value: i64) -> S<'a> {
        S::int(self.exprs, self.dtype(), value)
    }

    fn make(self, op: ScalarOp, args: &[S<'a>], dtype: DType) -> S<'a> {
        let ids: SmallVec<[ExprId; 4]> = args.iter().map(|a| a.id).collect();
        S { exprs: self.exprs, id: self.exprs.borrow_mut().add(op, &ids, dtype) }
    }

    /// A unary operation with a result of the same type.
    pub fn unary(self, op: ScalarOp) -> S<'a> {
        self.make(op, &[self], self.dtype())
    }

    /// A binary operation on two values of one type.
    pub fn binary(self, op: ScalarOp, other: S<'a>) -> S<'a> {
        debug_assert_eq!(self.dtype(), other.dtype(), "operands of {op:?}");
        self.make(op, &[self, other], self.dtype())
    }

    /// A function call.
    pub fn math(self, f: MathFn) -> S<'a> {
        self.unary(ScalarOp::Math(f))
    }

    /// `e^self`
    pub fn exp(self) -> S<'a> {
        self.math(MathFn::Exp)
    }

    /// Natural logarithm.
    pub fn log(self) -> S<'a> {
        self.math(MathFn::Log)
    }

    /// Hyperbolic tangent.
    pub fn tanh(self) -> S<'a> {
        self.math(MathFn::Tanh)
    }

    /// Sine of radians.
    pub fn sin(self) -> S<'a> {
        self.math(MathFn::Sin)
    }

    /// Cosine of radians.
    pub fn cos(self) -> S<'a> {
        self.math(MathFn::Cos)
    }

    /// `log(1 + self)`
    pub fn log1p(self) -> S<'a> {
        self.math(MathFn::Log1p)
    }

    /// `e^self - 1`
    pub fn expm1(self) -> S<'a> {
        self.math(MathFn::Expm1)
    }

    /// The error function.
    pub fn erf(self) -> S<'a> {
        self.math(MathFn::Erf)
    }

    /// Inverse tangent, in radians.
    pub fn atan(self) -> S<'a> {
        self.math(MathFn::Atan)
    }

    /// `1 / (1 + e^-self)`
    pub fn sigmoid(self) -> S<'a> {
        self.math(MathFn::Sigmoid)
    }

    /// `self^exponent`
    pub fn pow(self, exponent: S<'a>) -> S<'a> {
        self.binary(ScalarOp::Math(MathFn::Pow), exponent)
    }

    /// Absolute value.
    pub fn abs(self) -> S<'a> {
        self.unary(ScalarOp::Abs)
    }

    /// Square root.
    pub fn sqrt(self) -> S<'a> {
        self.unary(ScalarOp::Sqrt)
    }

    /// Largest integer not above.
    pub fn floor(self) -> S<'a> {
        self.unary(ScalarOp::Floor)
    }

    /// Smallest integer not below.
    pub fn ceil(self) -> S<'a> {
        self.unary(ScalarOp::Ceil)
    }

    /// Nearest integer, ties to even.
    pub fn round(self) -> S<'a> {
        self.unary(ScalarOp::Round)
    }

    /// Integer part.
    pub fn trunc(self) -> S<'a> {
        self.unary(ScalarOp::Trunc)
    }

    /// The smaller; NaN if either is.
    pub fn min(self, other: S<'a>) -> S<'a> {
        self.binary(ScalarOp::Min, other)
    }

    /// The larger; NaN if either is.
    pub fn max(self, other: S<'a>) -> S<'a> {
        self.binary(ScalarOp::Max, other)
    }

    /// `self · factor + term`
    pub fn fma(self, factor: S<'a>, term: S<'a>) -> S<'a> {
        self.make(ScalarOp::Fma, &[self, factor, term], self.dtype())
    }

    /// A comparison.
    pub fn compare(self, how: Compare, other: S<'a>) -> S<'a> {
        debug_assert_eq!(self.dtype(), other.dtype(), "operands of {how:?}");
        self.make(ScalarOp::Compare(how), &[self, other], DType::Bool)
    }

    /// `self < other`
    pub fn lt(self, other: S<'a>) -> S<'a> {
        self.compare(Compare::Lt, other)
    }

    /// `self ≤ other`
    pub fn le(self, other: S<'a>) -> S<'a> {
        self.compare(Compare::Le, other)
    }

    /// `self ≥ other`
    pub fn ge(self, other: S<'a>) -> S<'a> {
        self.compare(Compare::Ge, other)
    }

    /// `self > other`
    pub fn gt(self, other: S<'a>) -> S<'a> {
        self.compare(Compare::Gt, other)
    }

    /// `self = other`
    pub fn equals(self, other: S<'a>) -> S<'a> {
        self.compare(Compare::Eq, other)
    }

    /// `self ≠ other`
    pub fn differs(self, other: S<'a>) -> S<'a> {
        self.compare(Compare::Ne, other)
    }

    /// `if self { then } else { otherwise }`; `self` is bool.
    pub fn select(self, then: S<'a>, otherwise: S<'a>) -> S<'a> {
        debug_assert_eq!(then.dtype(), otherwise.dtype(), "branches of select");
        self.make(ScalarOp::Select, &[self, then, otherwise], then.dtype())
    }

    /// Conversion.
    pub fn cast(self, dtype: DType) -> S<'a> {
        if dtype == self.dtype() { self } else { self.make(ScalarOp::Cast, &[self], dtype) }
    }

    /// The same bits as another type of the same width.
    pub fn bitcast(self, dtype: DType) -> S<'a> {
        if dtype == self.dtype() { self } else { self.make(ScalarOp::Bitcast, &[self], dtype) }
    }
}

macro_rules! operator {
    ($trait:ident $method:ident $op:ident) => {
        impl<'a> ops::$trait for S<'a> {
            type Output = S<'a>;
            fn $method(self, other: S<'a>) -> S<'a> {
                self.binary(ScalarOp::$op, other)
            }
        }
        impl<'a> ops::$trait<f64> for S<'a> {
            type Output = S<'a>;
            fn $method(self, other: f64) -> S<'a> {
                self.binary(ScalarOp::$op, self.lit(other))
            }
        }
        impl<'a> ops::$trait<S<'a>> for f64 {
            type Output = S<'a>;
            fn $method(self, other: S<'a>) -> S<'a> {
                other.lit(self).binary(ScalarOp::$op, other)
            }
        }
    };
}

operator!(Add add Add);
operator!(Sub sub Sub);
operator!(Mul mul Mul);
operator!(Div div Div);
operator!(Rem rem Rem);

impl<'a> ops::Neg for S<'a> {
    type Output = S<'a>;
    fn neg(self) -> S<'a> {
        self.unary(ScalarOp::Neg)
    }
}

impl<'a> ops::BitAnd for S<'a> {
    type Output = S<'a>;
    fn bitand(self, other: S<'a>) -> S<'a> {
        self.binary(ScalarOp::And, other)
    }
}

impl<'a> ops::BitOr for S<'a> {
    type Output = S<'a>;
    fn bitor(self, other: S<'a>) -> S<'a> {
        self.binary(ScalarOp::Or, other)
    }
}

impl<'a> ops::BitXor for S<'a> {
    type Output = S<'a>;
    fn bitxor(self, other: S<'a>) -> S<'a> {
        self.binary(ScalarOp::Xor, other)
    }
}

impl<'a> ops::Shl for S<'a> {
    type Output = S<'a>;
    fn shl(self, count: S<'a>) -> S<'a> {
        self.binary(ScalarOp::Shl, count)
    }
}

impl<'a> ops::Shr for S<'a> {
    type Output = S<'a>;
    fn shr(self, count: S<'a>) -> S<'a> {
        self.binary(ScalarOp::Shr, count)
    }
}

impl<'a> ops::Not for S<'a> {
    type Output = S<'a>;
    fn not(self) -> S<'a> {
        self.unary(ScalarOp::Not)
    }
}
