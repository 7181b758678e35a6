//! A number times a power of two, as exponentials end: what takes eleven instructions is one of AVX-512.
//!
//! The exponential multiplies a number near 1 by `2^h` and by `2^(n-h)`, `h = n/2` rounded, since `2^n` itself may overflow
//! or be subnormal; each power is made from the bits of a sum. With the first product exact there is one rounding, which
//! is that of the instruction.

use igneous_ir::scalar::{Expr, ExprId, Exprs, ScalarOp};
use igneous_ir::types::{DType, Literal};

/// `x` and `n` if an expression is `x · 2^h · 2^(n-h)` in the form of [`igneous_ir::math`], with bounds that make it `x · 2^n`
/// rounded once.
pub(super) fn scaled(exprs: &Exprs, id: ExprId) -> Option<(ExprId, ExprId)> {
    let format = Format::of(exprs.dtype(id))?;
    let [first, other] = binary(exprs, id, ScalarOp::Mul)?;
    let [x, half] = binary(exprs, first, ScalarOp::Mul)?;
    let (half, other) = (format.exponent(exprs, half)?, format.exponent(exprs, other)?);
    // half = n · 0.5 + magic
    let halved = of(exprs, half, ScalarOp::Fma)?;
    let n = halved.args[0];
    let exact = is(exprs, halved.args[1], 0.5) && is(exprs, halved.args[2], format.magic());
    // other = n - (half - magic) + magic
    let difference = format.less_magic(exprs, other, ScalarOp::Add)?;
    let [minuend, subtrahend] = binary(exprs, difference, ScalarOp::Sub)?;
    let rest = minuend == n && format.less_magic(exprs, subtrahend, ScalarOp::Sub)? == half;
    // x is a sum with 1, so it is 0 or no smaller than the last place of 1; n is a rounded number within bounds: the first
    // product is exact, or both it and the result are infinite.
    let [_, one] = binary(exprs, x, ScalarOp::Add)?;
    (exact && rest && is(exprs, one, 1.0) && format.bounded(exprs, n)?).then_some((x, n))
}

fn of(exprs: &Exprs, id: ExprId, op: ScalarOp) -> Option<&Expr> {
    Some(exprs.get(id)).filter(|node| node.op == op)
}

fn binary(exprs: &Exprs, id: ExprId, op: ScalarOp) -> Option<[ExprId; 2]> {
    of(exprs, id, op)?.args[..].try_into().ok()
}

fn is(exprs: &Exprs, id: ExprId, value: f64) -> bool {
    exprs.literal(id).is_some_and(|l| l == Literal::float(l.dtype(), value) && l.dtype().is_float())
}

#[derive(Clone, Copy)]
struct Format {
    int: DType,
    fraction: i64,
    bias: i64,
    /// `n` of at most this size.
    most: f64,
}

impl Format {
    fn of(dtype: DType) -> Option<Format> {
        match dtype {
            DType::F32 => Some(Format { int: DType::I32, fraction: 23, bias: 127, most: 152.0 }),
            DType::F64 => Some(Format { int: DType::I64, fraction: 52, bias: 1023, most: 1080.0 }),
            _ => None,
        }
    }

    /// A number so large that units are its last place.
    fn magic(self) -> f64 {
        1.5 * 2f64.powi(self.fraction as i32)
    }

    /// `s` if an expression is the power of two made from the bits of `s`.
    fn exponent(self, exprs: &Exprs, power: ExprId) -> Option<ExprId> {
        let bits = of(exprs, power, ScalarOp::Bitcast)?.args[0];
        let [sum, count] = binary(exprs, bits, ScalarOp::Shl)?;
        let [number, bias] = binary(exprs, sum, ScalarOp::Add)?;
        let int = |id: ExprId, value: i64| exprs.literal(id) == Some(Literal::int(self.int, value));
        let shape = int(count, self.fraction) && int(bias, self.bias);
        of(exprs, number, ScalarOp::Bitcast).filter(|_| shape).map(|node| node.args[0])
    }

    /// What the magic number is added to, or taken from.
    fn less_magic(self, exprs: &Exprs, id: ExprId, op: ScalarOp) -> Option<ExprId> {
        let [x, magic] = binary(exprs, id, op)?;
        is(exprs, magic, self.magic()).then_some(x)
    }

    /// Whether `n` is a multiple of a clamped number, rounded to an integer, and within the bounds.
    fn bounded(self, exprs: &Exprs, n: ExprId) -> Option<bool> {
        let shifted = self.less_magic(exprs, n, ScalarOp::Sub)?;
        let product = of(exprs, shifted, ScalarOp::Fma)?;
        let factor = exprs.literal(product.args[1])?.as_f64();
        let [clamped, high] = binary(exprs, product.args[0], ScalarOp::Min)?;
        let [_, low] = binary(exprs, clamped, ScalarOp::Max)?;
        let limit = |id: ExprId| exprs.literal(id).map(|l| (l.as_f64() * factor).abs());
        let within = limit(low)?.max(limit(high)?) <= self.most;
        Some(within && is(exprs, product.args[2], self.magic()))
    }
}
