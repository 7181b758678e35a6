//! Pointwise operators: each element of the result from the elements of the operands at the same index.
//!
//! An operator is one entry of a `pointwise!` table: its mathematics four times (the kernel expression on [`S`],
//! the reference in `f64` and `i64`, and the derivative on [`X`]) and nothing else. Everything a
//! [`Record`] needs besides follows from the class of its operands.

mod arithmetic;
mod bits;
mod compare;
mod convert;
mod math;
#[cfg(test)]
mod tests;

pub use arithmetic::*;
pub use bits::*;
pub use compare::*;
pub use convert::*;
pub use math::*;

use super::type_rule::*;
use crate::array::{Array, Data};
use crate::dim::Dim;
use crate::emit::X;
use crate::error::Result;
use crate::op::*;
use crate::scalar::S;
use crate::types::{DType, TensorType};

/// The records of this family.
pub static POINTWISE: &[&[&Record]] = &[ARITHMETIC, BITS, COMPARISONS, CONVERSIONS, MATH];

/// Declares a table of operators without attributes whose operands have one type.
///
/// An entry names the operator, its operands and their class, and the result's element type if it is not the
/// operands'. Then, as expressions of the operands:
/// - `kernel` on [`S`] (half types arrive as `f32`),
/// - `float` on `f64` and `int` on `i64`: the reference, written independently of the kernel,
/// - `limit`, a function of the element type: the magnitude beyond which the result is NaN;
/// - `vjp: y, dy => [..]` on [`X`]: the cotangent of each operand from the result and its cotangent. It must be linear in `dy`,
///   element by element, so it is also the tangent of the result from that of the operand;
/// - `domain`, what samples fill each operand with if not with normal numbers; `flops` if not 1.
macro_rules! pointwise {
    ($list:ident; $(
        $(#[$doc:meta])*
        $RECORD:ident $name:ident($($x:ident),+) $class:ident $(-> $result:ident)? {
            kernel: $kernel:expr,
            $(float: $float:expr,)?
            $(int: $int:expr,)?
            $(limit: $limit:expr,)?
            $(vjp: $y:ident, $dy:ident => [$($dx:expr),+],)?
            $(domain: [$($fill:expr),+],)?
            $(flops: $flops:literal,)?
        }
    )+) => {
        /// The records of this table.
        pub static $list: &[&Record] = &[$(&$RECORD),+];
        $(
            $(#[$doc])*
            pub fn $name() -> Op {
                Op::new(&$RECORD, [])
            }

            #[doc = concat!("See [`", stringify!($name), "()`].")]
            pub static $RECORD: Record = Record {
                name: stringify!($name),
                attrs: &[],
                infer: |op, operands| {
                    Class::$class.infer(op, operands, [$(stringify!($x)),+].len(), pointwise!(@result $($result)?))
                },
                reference: |r| {
                    let limit: Option<fn(DType) -> f64> = pointwise!(@limit $($limit)?);
                    Ok(vec![reference(r, limit, pointwise!(@rule [$($x),+] $($float)?), pointwise!(@rule [$($x),+] $($int)?))])
                },
                lowering: Lowering::Map(|i| element(i, |[$($x),+]| $kernel)),
                vjp: pointwise!(@vjp [$($x),+] $($y, $dy => [$($dx),+])?),
                jvp: pointwise!(@jvp [$($x),+] $($y, $dy => [$($dx),+])?),
                batch: Batch::Elementwise,
                flops: |_, _, results| results[0].elements() * (1 $(- 1 + $flops)?),
                samples: |s| Class::$class.samples(s, $name(), &[$(stringify!($x)),+], &[$($($fill),+)?]),
                error_samples: |s| Class::$class.error_samples(s, $name(), [$(stringify!($x)),+].len()),
            };
        )+
    };
    (@result) => { None };
    (@result bool) => { Some(DType::Bool) };
    (@limit) => { None };
    (@limit $limit:expr) => { Some($limit) };
    (@rule [$($x:ident),+]) => { None };
    (@rule [$($x:ident),+] $value:expr) => { Some(|[$($x),+]| Number::from($value)) };
    (@vjp [$($x:ident),+]) => { Vjp::Zero };
    (@vjp [$($x:ident),+] $y:ident, $dy:ident => [$($dx:expr),+]) => {
        Vjp::Rule(|a| {
            #[allow(unused_variables)]
            let ([$($x),+], $y, $dy) = (operands(&a.operands), a.y(0), a.dy(0));
            cotangents(a, [$(&|| $dx),+])
        })
    };
    (@jvp [$($x:ident),+]) => { Jvp::Zero };
    (@jvp [$($x:ident),+] $y:ident, $dy:ident => [$($dx:expr),+]) => {
        Jvp::Rule(|a| {
            #[allow(unused_variables)]
            let ([$($x),+], $y) = (operands(&a.operands), a.results[0]);
            tangent(a, [$(&|$dy| $dx),+])
        })
    };
}
use pointwise;

/// Which element types an operator takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(non_camel_case_types)]
enum Class {
    /// Floating-point types.
    float,
    /// Floating-point and integer types.
    number,
    /// Integer types.
    int,
    /// Integer types and bool.
    bits,
    /// All types.
    any,
}

impl Class {
    fn accepts(self, dtype: DType) -> bool {
        match self {
            Class::float => dtype.is_float(),
            Class::number => dtype != DType::Bool,
            Class::int => dtype.is_int(),
            Class::bits => !dtype.is_float(),
            Class::any => true,
        }
    }

    /// The class in an error message.
    fn describe(self) -> &'static str {
        match self {
            Class::float => "floating-point elements",
            Class::number => "numbers",
            Class::int => "integers",
            Class::bits => "integers or bool",
            Class::any => "elements",
        }
    }

    fn infer(self, op: &Op, operands: &[TensorType], count: usize, result: Option<DType>) -> Result<Types> {
        let rule = TypeRule::new(op, operands);
        rule.count(count)?;
        for (k, ty) in operands.iter().enumerate() {
            rule.ensure(self.accepts(ty.dtype), || format!("needs {} in operand {k}, not {}", self.describe(), ty.dtype))?;
            rule.same_dtype(0, k)?;
            rule.same_shape(0, k)?;
        }
        one(operands[0].with_dtype(result.unwrap_or(operands[0].dtype)))
    }

    /// Instances in several types and shapes, operand `k` filled by `domain[k]` where the special numbers do not go.
    fn samples(self, s: &mut Samples, op: Op, operands: &[&str], domain: &[Fill]) {
        let mut add = |dtype: DType, shape: &[usize], specials: bool| {
            let lo = if matches!(dtype, DType::U8 | DType::U32 | DType::Bool) { 0 } else { -5 };
            let fill = |k: usize| match domain.get(k) {
                _ if specials => Fill::Specials,
                Some(&fill) if dtype.is_float() != matches!(fill, Fill::Range(..)) => fill,
                _ if dtype.is_float() => Fill::Normal,
                _ => Fill::Range(lo, if dtype == DType::Bool { 2 } else { 6 }),
            };
            let ty = TensorType::new(dtype, shape.iter().copied());
            s.add(op.clone(), (0..operands.len()).map(|k| (ty.clone(), fill(k))));
        };
        for dtype in DType::ALL.into_iter().filter(|&d| self.accepts(d)) {
            add(dtype, &[4, 9], false);
            if dtype.is_float() {
                // All pairs for binary operators.
                add(dtype, if operands.len() == 1 { &[16] } else { &[16, 16] }, true);
            }
        }
        let dtype = if self.accepts(DType::F32) { DType::F32 } else { DType::I64 };
        for shape in [&[][..], &[0, 3], &[67]] {
            add(dtype, shape, false);
        }
    }

    fn error_samples(self, s: &mut Samples, op: Op, count: usize) {
        let dtype = if self.accepts(DType::F32) { DType::F32 } else { DType::I64 };
        let ty = |dtype: DType, shape: [usize; 2]| (TensorType::new(dtype, shape), Fill::Range(0, 2));
        s.add(op.clone(), vec![ty(dtype, [2, 3]); count + 1]);
        if let Some(other) = DType::ALL.into_iter().find(|&d| !self.accepts(d)) {
            s.add(op.clone(), vec![ty(other, [2, 3]); count]);
        }
        if count > 1 {
            let other = if dtype == DType::F32 { DType::F64 } else { DType::I32 };
            s.add(op.clone(), [ty(dtype, [2, 3]), ty(other, [2, 3])]);
            s.add(op.clone(), [ty(dtype, [2, 3]), ty(dtype, [2, 1])]);
        }
    }
}

/// What a reference computes per element.
enum Number {
    Float(f64),
    Int(i64),
}

impl From<f64> for Number {
    fn from(x: f64) -> Number {
        Number::Float(x)
    }
}

impl From<i64> for Number {
    fn from(x: i64) -> Number {
        Number::Int(x)
    }
}

impl From<bool> for Number {
    fn from(x: bool) -> Number {
        Number::Int(x.into())
    }
}

/// Applies the rule for the operands' type to each element.
fn reference<const N: usize>(
    r: &Reference,
    limit: Option<fn(DType) -> f64>,
    float: Option<fn([f64; N]) -> Number>,
    int: Option<fn([i64; N]) -> Number>,
) -> Array {
    let limit = limit.map_or(f64::INFINITY, |of| of(r.inputs[0].dtype()));
    let value = |i: usize| match (r.inputs[0].data(), float, int) {
        (Data::Float(v), ..) if v[i].abs() > limit => Number::Float(f64::NAN),
        (Data::Float(_), Some(rule), _) => rule(std::array::from_fn(|k| r.inputs[k].f(i))),
        (Data::Int(_), _, Some(rule)) => rule(std::array::from_fn(|k| r.inputs[k].i(i))),
        _ => unreachable!("{} has a reference for every class it accepts", r.op.name()),
    };
    collect(r, value)
}

/// The result whose element at row-major position `i` is `value(i)`.
fn collect(r: &Reference, value: impl Fn(usize) -> Number) -> Array {
    let (dtype, shape) = (r.results[0].dtype, r.inputs[0].shape());
    let bools = dtype == DType::Bool && r.inputs[0].dtype() == DType::Bool;
    if dtype.is_float() {
        Array::from_fn_f64(dtype, shape, |i| match value(i) {
            Number::Float(x) => x,
            Number::Int(x) => x as f64,
        })
    } else {
        Array::from_fn_i64(dtype, shape, |i| match value(i) {
            Number::Float(x) => x as i64,
            // A bool is one bit: the complement of 1 is 0, not the nonzero -2.
            Number::Int(x) if bools => x & 1,
            Number::Int(x) => x,
        })
    }
}

/// The element of the result from those of the operands. Arithmetic on half types is done in `f32`, and rounded once.
fn element<'a, const N: usize>(i: &Indexing<'a>, rule: impl Fn([S<'a>; N]) -> S<'a>) -> S<'a> {
    let load = |k: usize| i.load(k, i.index).cast(i.operands[k].dtype.compute());
    rule(std::array::from_fn(load)).cast(i.results[0].dtype)
}

fn operands<'b, 'e, const N: usize>(operands: &[X<'b, 'e>]) -> [X<'b, 'e>; N] {
    std::array::from_fn(|k| operands[k])
}

fn cotangents<'b, 'e, const N: usize>(a: &VjpArgs<'b, 'e>, rules: [&dyn Fn() -> X<'b, 'e>; N]) -> Vec<Option<X<'b, 'e>>> {
    let wanted = |k: usize| a.wanted[k] && a.x(k).dtype().is_float();
    rules.iter().enumerate().map(|(k, rule)| wanted(k).then(rule)).collect()
}

/// A function of a cotangent or a tangent.
type Linear<'r, 'b, 'e> = &'r dyn Fn(X<'b, 'e>) -> X<'b, 'e>;

/// The Jacobian of a pointwise operator is diagonal, so the rules of the vjp applied to tangents give the jvp.
fn tangent<'b, 'e, const N: usize>(a: &JvpArgs<'b, 'e>, rules: [Linear<'_, 'b, 'e>; N]) -> Vec<Option<X<'b, 'e>>> {
    let terms = rules.iter().zip(&a.tangents).filter_map(|(rule, t)| t.map(rule));
    let result = if a.results[0].dtype().is_float() { terms.reduce(|sum, term| sum + term) } else { None };
    vec![result]
}
