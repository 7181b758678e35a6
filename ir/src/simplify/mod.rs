//! Folding and simplification of scalar expressions, on construction.
//!
//! Every rule is exact: the simpler expression has the same value for every value of its parts, bit for bit (the
//! payload of a NaN aside). So floats are never reassociated, and `x + 0` stays, because it is not `x` for -0; but `x + -0` is `x`.
//! Index arithmetic is brought to a linear normal form (see [`index`]), in which divisions, remainders, clamps and bounds checks that the
//! axes' extents decide disappear.
//!
//! Invariant: a rule looks at its arguments and a bounded number of nodes below them, so construction is linear.

mod index;
mod range;
#[cfg(test)]
mod tests;

use crate::scalar::{Compare, ExprId, Exprs, ScalarOp};
use crate::scalar_eval::eval_op;
use crate::types::{DType, Literal};
use smallvec::SmallVec;

pub(crate) use range::{Range, of as range_of};

/// An equal, simpler expression for `op(args)`, if there is one.
pub(crate) fn simplify(exprs: &mut Exprs, op: ScalarOp, args: &[ExprId], dtype: DType) -> Option<ExprId> {
    if let Some(value) = folded(exprs, op, args, dtype) {
        return Some(exprs.constant(value));
    }
    let canonical = in_canonical_order(exprs, op, args);
    let (op, args) = canonical.as_ref().map_or((op, args), |(op, args)| (*op, args.as_slice()));
    let simpler = match op {
        ScalarOp::Cast => cast(exprs, args[0], dtype),
        ScalarOp::Bitcast => bitcast(exprs, args[0], dtype),
        ScalarOp::Select => select(exprs, args),
        ScalarOp::Compare(how) => compare(exprs, how, args[0], args[1]),
        _ if dtype.is_float() => float(exprs, op, args, dtype),
        _ if dtype.is_int() => integer(exprs, op, args, dtype),
        _ => logical(exprs, op, args),
    };
    simpler.or_else(|| canonical.map(|(op, args)| exprs.raw(op, &args, dtype)))
}

/// The value if all arguments are constants.
fn folded(exprs: &Exprs, op: ScalarOp, args: &[ExprId], dtype: DType) -> Option<Literal> {
    // Whether `fma` rounds once or twice is the target's affair, and functions are made of it.
    let fused = matches!(op, ScalarOp::Math(_)) || (op == ScalarOp::Fma && dtype.is_float());
    if args.is_empty() || fused || matches!(op, ScalarOp::Load(_) | ScalarOp::Local(_)) {
        return None;
    }
    let values: Option<SmallVec<[Literal; 4]>> = args.iter().map(|&a| exprs.literal(a)).collect();
    Some(eval_op(op, &values?, dtype))
}

/// The same operation with the operands of a commutative one in order; `None` if they are. Constants are last; of
/// integers and bools the older is first, while floats stay as they are written.
fn in_canonical_order(exprs: &Exprs, op: ScalarOp, args: &[ExprId]) -> Option<(ScalarOp, SmallVec<[ExprId; 4]>)> {
    let swapped = match op {
        ScalarOp::Add
        | ScalarOp::Mul
        | ScalarOp::Min
        | ScalarOp::Max
        | ScalarOp::And
        | ScalarOp::Or
        | ScalarOp::Xor
        | ScalarOp::MulHi => op,
        ScalarOp::Compare(how) => ScalarOp::Compare(match how {
            Compare::Lt => Compare::Gt,
            Compare::Le => Compare::Ge,
            Compare::Gt => Compare::Lt,
            Compare::Ge => Compare::Le,
            other => other,
        }),
        _ => return None,
    };
    let ordered = !exprs.dtype(args[0]).is_float();
    let key = |a: ExprId| (exprs.literal(a).is_some(), ordered.then_some(a));
    // An inequality turns only to bring its constant to the right.
    let turns = match op {
        ScalarOp::Compare(Compare::Lt | Compare::Le | Compare::Gt | Compare::Ge) => key(args[0]).0 && !key(args[1]).0,
        _ => key(args[0]) > key(args[1]),
    };
    turns.then(|| {
        let mut args: SmallVec<[ExprId; 4]> = args.into();
        args.swap(0, 1);
        (swapped, args)
    })
}

/// Whether `id` is exactly this number (of any type; -0 is not 0).
fn is(exprs: &Exprs, id: ExprId, value: f64) -> bool {
    exprs.literal(id).is_some_and(|l| l.is(value))
}

fn float(exprs: &mut Exprs, op: ScalarOp, args: &[ExprId], dtype: DType) -> Option<ExprId> {
    let inner = |exprs: &Exprs, op: ScalarOp| {
        let node = exprs.get(args[0]);
        (node.op == op).then(|| node.args[0])
    };
    match op {
        ScalarOp::Add if is(exprs, args[1], -0.0) => Some(args[0]),
        ScalarOp::Sub if is(exprs, args[1], 0.0) => Some(args[0]),
        ScalarOp::Mul | ScalarOp::Div if is(exprs, args[1], 1.0) => Some(args[0]),
        ScalarOp::Mul | ScalarOp::Div if is(exprs, args[1], -1.0) => Some(exprs.add(ScalarOp::Neg, &args[..1], dtype)),
        ScalarOp::Div => {
            let reciprocal = exact_reciprocal(exprs.literal(args[1])?)?;
            let reciprocal = exprs.constant(reciprocal);
            Some(exprs.add(ScalarOp::Mul, &[args[0], reciprocal], dtype))
        }
        ScalarOp::Fma if is(exprs, args[1], 1.0) => Some(exprs.add(ScalarOp::Add, &[args[0], args[2]], dtype)),
        ScalarOp::Fma if is(exprs, args[2], -0.0) => Some(exprs.add(ScalarOp::Mul, &args[..2], dtype)),
        ScalarOp::Neg => inner(exprs, ScalarOp::Neg),
        ScalarOp::Abs => match inner(exprs, ScalarOp::Neg) {
            Some(x) => Some(exprs.add(ScalarOp::Abs, &[x], dtype)),
            None => inner(exprs, ScalarOp::Abs).map(|_| args[0]),
        },
        ScalarOp::Min | ScalarOp::Max if args[0] == args[1] => Some(args[0]),
        _ => None,
    }
}

/// `1 / x` if `x` is a power of two whose reciprocal is normal: then multiplying by it is dividing by `x`.
fn exact_reciprocal(x: Literal) -> Option<Literal> {
    let value = x.as_f64();
    let reciprocal = Literal::float(x.dtype(), 1.0 / value);
    let (fraction, exponents) = match x.dtype() {
        DType::F64 => (52, 2046),
        DType::F32 => (23, 254),
        DType::F16 => (10, 30),
        _ => (7, 254),
    };
    let normal = |l: Literal| {
        let bits = l.to_bits();
        bits & ((1 << fraction) - 1) == 0 && (1..=exponents).contains(&((bits >> fraction) & (exponents + 1)))
    };
    (normal(x) && normal(reciprocal)).then_some(reciprocal)
}

fn integer(exprs: &mut Exprs, op: ScalarOp, args: &[ExprId], dtype: DType) -> Option<ExprId> {
    if dtype == DType::I64
        && let Some(id) = index::simplify(exprs, op, args)
    {
        return Some(id);
    }
    let zero = |exprs: &mut Exprs| Some(exprs.constant(Literal::int(dtype, 0)));
    let same = args.len() > 1 && args[0] == args[1];
    match op {
        ScalarOp::Add | ScalarOp::Sub | ScalarOp::Or | ScalarOp::Xor | ScalarOp::Shl | ScalarOp::Shr
            if is(exprs, args[1], 0.0) =>
        {
            Some(args[0])
        }
        ScalarOp::Mul | ScalarOp::Div if is(exprs, args[1], 1.0) => Some(args[0]),
        ScalarOp::Rem if is(exprs, args[1], 1.0) => zero(exprs),
        ScalarOp::Mul | ScalarOp::And | ScalarOp::MulHi if is(exprs, args[1], 0.0) => zero(exprs),
        ScalarOp::Sub | ScalarOp::Xor | ScalarOp::Rem if same => zero(exprs),
        ScalarOp::And | ScalarOp::Or | ScalarOp::Min | ScalarOp::Max if same => Some(args[0]),
        ScalarOp::Min | ScalarOp::Max => {
            let ([a, b], smaller) = ([args[0], args[1]], op == ScalarOp::Min);
            match index::decide(exprs, Compare::Le, a, b) {
                Some(a_first) => Some(if a_first == smaller { a } else { b }),
                None => index::decide(exprs, Compare::Ge, a, b).map(|b_first| if b_first == smaller { b } else { a }),
            }
        }
        ScalarOp::Abs if exprs.range(args[0]).lo >= 0 => Some(args[0]),
        ScalarOp::Fma => {
            let product = exprs.add(ScalarOp::Mul, &args[..2], dtype);
            Some(exprs.add(ScalarOp::Add, &[product, args[2]], dtype))
        }
        ScalarOp::Neg | ScalarOp::Not => {
            let node = exprs.get(args[0]);
            (node.op == op).then(|| node.args[0])
        }
        _ => None,
    }
}

fn logical(exprs: &mut Exprs, op: ScalarOp, args: &[ExprId]) -> Option<ExprId> {
    let known = |k: usize| exprs.literal(args[k]).map(|l| l.as_i64() != 0);
    match (op, args.len()) {
        (ScalarOp::Not, _) => {
            let node = exprs.get(args[0]).clone();
            match node.op {
                ScalarOp::Not => Some(node.args[0]),
                ScalarOp::Compare(how) => {
                    let float = exprs.dtype(node.args[0]).is_float();
                    let opposite = match how {
                        Compare::Eq => Compare::Ne,
                        Compare::Ne => Compare::Eq,
                        // Not for floats: both are false of a NaN.
                        _ if float => return None,
                        Compare::Lt => Compare::Ge,
                        Compare::Le => Compare::Gt,
                        Compare::Gt => Compare::Le,
                        Compare::Ge => Compare::Lt,
                    };
                    Some(exprs.add(ScalarOp::Compare(opposite), &node.args, DType::Bool))
                }
                _ => None,
            }
        }
        (ScalarOp::And | ScalarOp::Or, 2) if args[0] == args[1] => Some(args[0]),
        // A constant is the second: it decides, or it does not count.
        (ScalarOp::And, 2) => known(1).map(|b| if b { args[0] } else { args[1] }),
        (ScalarOp::Or, 2) => known(1).map(|b| if b { args[1] } else { args[0] }),
        (ScalarOp::Xor, 2) => match known(1) {
            Some(false) => Some(args[0]),
            Some(true) => Some(exprs.add(ScalarOp::Not, &args[..1], DType::Bool)),
            None => (args[0] == args[1]).then(|| exprs.constant(Literal::int(DType::Bool, 0))),
        },
        _ => None,
    }
}

fn compare(exprs: &mut Exprs, how: Compare, a: ExprId, b: ExprId) -> Option<ExprId> {
    if exprs.dtype(a).is_float() {
        return None;
    }
    let known = index::decide(exprs, how, a, b)?;
    Some(exprs.constant(Literal::int(DType::Bool, known.into())))
}

fn select(exprs: &mut Exprs, args: &[ExprId]) -> Option<ExprId> {
    let [c, a, b] = [args[0], args[1], args[2]];
    if let Some(c) = exprs.literal(c) {
        return Some(if c.as_i64() != 0 { a } else { b });
    }
    if a == b {
        return Some(a);
    }
    let dtype = exprs.dtype(a);
    if dtype == DType::Bool
        && let (Some(x), Some(y)) = (exprs.literal(a), exprs.literal(b))
    {
        // The branches are two different constants.
        return Some(if x > y { c } else { exprs.add(ScalarOp::Not, &[c], DType::Bool) });
    }
    let condition = exprs.get(c);
    if condition.op == ScalarOp::Not {
        let c = condition.args[0];
        return Some(exprs.add(ScalarOp::Select, &[c, b, a], dtype));
    }
    None
}

fn cast(exprs: &mut Exprs, x: ExprId, to: DType) -> Option<ExprId> {
    let node = exprs.get(x);
    if node.dtype == to {
        return Some(x);
    }
    let inner = *node.args.first()?;
    let from = exprs.dtype(inner);
    // An integer becomes another by wrapping, but by way of a float by saturation.
    let saturates = from.is_int() && node.dtype.is_float() && to.is_int() && to != from && !is_lossless(from, to);
    if node.op != ScalarOp::Cast || !is_lossless(from, node.dtype) || saturates {
        return None;
    }
    Some(exprs.add(ScalarOp::Cast, &[inner], to))
}

/// Whether every number of type `from` is one of type `to`.
fn is_lossless(from: DType, to: DType) -> bool {
    use DType::*;
    match from {
        Bool => true,
        U8 => !matches!(to, Bool | I8),
        I8 => !matches!(to, Bool | U8 | U32),
        U32 | I32 => matches!(to, I64 | F64),
        F16 | BF16 => matches!(to, F32 | F64),
        F32 => to == F64,
        I64 | F64 => false,
    }
}

fn bitcast(exprs: &mut Exprs, x: ExprId, to: DType) -> Option<ExprId> {
    let node = exprs.get(x);
    if node.dtype == to {
        return Some(x);
    }
    match node.op {
        ScalarOp::Bitcast => {
            let inner = node.args[0];
            Some(exprs.add(ScalarOp::Bitcast, &[inner], to))
        }
        _ => None,
    }
}
