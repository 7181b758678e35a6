//! The values of scalar operations, with the rounding that generated code has: what folding, the kernel
//! interpreter and tests compute with.
//!
//! Each operation is done in its own type and rounded once. [`ScalarOp::Fma`] is fused, as on every target with the
//! instruction. A [`ScalarOp::Math`] is the value of its expansion in [`crate::math`], so its bits are the back ends'.

use crate::math;
use crate::scalar::{Compare, ScalarOp};
use crate::types::{DType, Literal};
use smallvec::SmallVec;

/// The value of `op` for these arguments; the result has type `dtype`.
///
/// `Axis`, `Extent`, `Load` and `Local` have no value of their own: the caller must know it.
pub fn eval_op(op: ScalarOp, args: &[Literal], dtype: DType) -> Literal {
    match op {
        ScalarOp::Literal(value) => value,
        ScalarOp::Axis(_) | ScalarOp::Extent(_) | ScalarOp::Load(_) | ScalarOp::Local(_) => {
            unreachable!("{op:?} has no value outside a kernel")
        }
        ScalarOp::Math(f) => math::eval(f, args),
        ScalarOp::Select => args[if args[0].as_i64() != 0 { 1 } else { 2 }],
        ScalarOp::Cast => cast(args[0], dtype),
        ScalarOp::Bitcast => Literal::from_bits(dtype, args[0].to_bits()),
        ScalarOp::Compare(how) => Literal::int(DType::Bool, compare(how, args[0], args[1]).into()),
        _ => match args[0].dtype() {
            DType::F64 => {
                let x: SmallVec<[f64; 4]> = args.iter().map(|a| a.as_f64()).collect();
                Literal::float(dtype, f64_op(op, &x))
            }
            DType::F32 | DType::F16 | DType::BF16 => {
                let x: SmallVec<[f32; 4]> = args.iter().map(|a| a.as_f64() as f32).collect();
                Literal::float(dtype, f32_op(op, &x).into())
            }
            _ => {
                let x: SmallVec<[i64; 4]> = args.iter().map(|a| a.as_i64()).collect();
                Literal::int(dtype, int_op(op, &x, dtype))
            }
        },
    }
}

fn compare(how: Compare, a: Literal, b: Literal) -> bool {
    fn decide<T: PartialOrd>(how: Compare, a: T, b: T) -> bool {
        match how {
            Compare::Eq => a == b,
            Compare::Ne => a != b,
            Compare::Lt => a < b,
            Compare::Le => a <= b,
            Compare::Gt => a > b,
            Compare::Ge => a >= b,
        }
    }
    if a.dtype().is_float() { decide(how, a.as_f64(), b.as_f64()) } else { decide(how, a.as_i64(), b.as_i64()) }
}

fn cast(x: Literal, to: DType) -> Literal {
    let from_float = x.dtype().is_float();
    match to {
        _ if from_float && to.is_float() => Literal::float(to, x.as_f64()),
        // One rounding, not two by way of f64.
        DType::F32 | DType::F16 | DType::BF16 => Literal::float(to, (x.as_i64() as f32).into()),
        DType::I32 if from_float => Literal::int(to, (x.as_f64() as i32).into()),
        DType::U32 if from_float => Literal::int(to, (x.as_f64() as u32).into()),
        DType::U8 if from_float => Literal::int(to, (x.as_f64() as u8).into()),
        DType::I8 if from_float => Literal::int(to, (x.as_f64() as i8).into()),
        DType::Bool if from_float => Literal::int(to, (x.as_f64() != 0.0).into()),
        _ => Literal::int(to, x.as_i64()),
    }
}

macro_rules! float_op {
    ($name:ident, $t:ty) => {
        fn $name(op: ScalarOp, x: &[$t]) -> $t {
            match op {
                ScalarOp::Neg => -x[0],
                ScalarOp::Abs => x[0].abs(),
                ScalarOp::Sqrt => x[0].sqrt(),
                ScalarOp::Floor => x[0].floor(),
                ScalarOp::Ceil => x[0].ceil(),
                ScalarOp::Round => x[0].round_ties_even(),
                ScalarOp::Trunc => x[0].trunc(),
                ScalarOp::Add => x[0] + x[1],
                ScalarOp::Sub => x[0] - x[1],
                ScalarOp::Mul => x[0] * x[1],
                ScalarOp::Div => x[0] / x[1],
                ScalarOp::Rem => {
                    let r = x[0] % x[1];
                    if r != 0.0 && (r < 0.0) != (x[1] < 0.0) { r + x[1] } else { r }
                }
                // −0 is below +0.
                ScalarOp::Min | ScalarOp::Max if x[0].is_nan() || x[1].is_nan() => <$t>::NAN,
                ScalarOp::Min => {
                    if x[0] < x[1] || (x[0] == x[1] && x[0].is_sign_negative()) {
                        x[0]
                    } else {
                        x[1]
                    }
                }
                ScalarOp::Max => {
                    if x[0] > x[1] || (x[0] == x[1] && x[0].is_sign_positive()) {
                        x[0]
                    } else {
                        x[1]
                    }
                }
                ScalarOp::Fma => x[0].mul_add(x[1], x[2]),
                _ => unreachable!("{op:?} is not defined for floating-point numbers"),
            }
        }
    };
}

float_op!(f64_op, f64);
float_op!(f32_op, f32);

/// Exact in `i64`, to be wrapped to `dtype`.
fn int_op(op: ScalarOp, x: &[i64], dtype: DType) -> i64 {
    match op {
        ScalarOp::Neg => x[0].wrapping_neg(),
        ScalarOp::Abs => x[0].wrapping_abs(),
        ScalarOp::Not if dtype == DType::Bool => 1 - x[0],
        ScalarOp::Not => !x[0],
        ScalarOp::Add => x[0].wrapping_add(x[1]),
        ScalarOp::Sub => x[0].wrapping_sub(x[1]),
        ScalarOp::Mul => x[0].wrapping_mul(x[1]),
        ScalarOp::Fma => x[0].wrapping_mul(x[1]).wrapping_add(x[2]),
        ScalarOp::Div => floor_div_rem(x[0], x[1]).0,
        ScalarOp::Rem => floor_div_rem(x[0], x[1]).1,
        ScalarOp::Min => x[0].min(x[1]),
        ScalarOp::Max => x[0].max(x[1]),
        ScalarOp::And => x[0] & x[1],
        ScalarOp::Or => x[0] | x[1],
        ScalarOp::Xor => x[0] ^ x[1],
        ScalarOp::Shl => x[0].wrapping_shl(x[1] as u32),
        ScalarOp::Shr => x[0].wrapping_shr(x[1] as u32),
        ScalarOp::MulHi => ((x[0] as u64 * x[1] as u64) >> 32) as i64,
        _ => unreachable!("{op:?} is not defined for integers"),
    }
}

/// Quotient rounded toward negative infinity and remainder with the sign of the divisor; both 0 for divisor 0.
pub(crate) fn floor_div_rem(a: i64, b: i64) -> (i64, i64) {
    if b == 0 {
        return (0, 0);
    }
    let (q, r) = (a.wrapping_div(b), a.wrapping_rem(b));
    if r != 0 && (r < 0) != (b < 0) { (q - 1, r + b) } else { (q, r) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn f32s(op: ScalarOp, args: &[f64]) -> f64 {
        let args: Vec<Literal> = args.iter().map(|&x| Literal::float(DType::F32, x)).collect();
        eval_op(op, &args, DType::F32).as_f64()
    }

    fn ints(op: ScalarOp, dtype: DType, args: &[i64]) -> i64 {
        let args: Vec<Literal> = args.iter().map(|&x| Literal::int(dtype, x)).collect();
        eval_op(op, &args, dtype).as_i64()
    }

    #[test]
    fn f32_arithmetic_rounds_to_f32() {
        assert_eq!(f32s(ScalarOp::Add, &[16777216.0, 1.0]), 16777216.0);
        let e = 2f64.powi(-13);
        assert_eq!(f32s(ScalarOp::Fma, &[1.0 + e, 1.0 - e, -1.0]), -e * e);
        assert!(f32s(ScalarOp::Max, &[1.0, f64::NAN]).is_nan());
        assert_eq!(f32s(ScalarOp::Min, &[0.0, -0.0]).to_bits(), (-0.0f64).to_bits());
    }

    #[test]
    fn integer_division_rounds_down_and_never_traps() {
        assert_eq!(ints(ScalarOp::Div, DType::I32, &[-7, 2]), -4);
        assert_eq!(ints(ScalarOp::Rem, DType::I32, &[-7, 2]), 1);
        assert_eq!(ints(ScalarOp::Rem, DType::I32, &[7, -2]), -1);
        assert_eq!(ints(ScalarOp::Div, DType::I64, &[i64::MIN, -1]), i64::MIN);
        assert_eq!(ints(ScalarOp::Div, DType::I64, &[5, 0]), 0);
        assert_eq!(ints(ScalarOp::Rem, DType::I64, &[5, 0]), 0);
        assert_eq!(ints(ScalarOp::Div, DType::I8, &[-128, -1]), -128);
        assert_eq!(ints(ScalarOp::Abs, DType::I8, &[-128]), -128);
        assert_eq!(ints(ScalarOp::Mul, DType::I8, &[100, 3]), 44);
    }

    #[test]
    fn unsigned_operations_keep_their_width() {
        assert_eq!(ints(ScalarOp::MulHi, DType::U32, &[0xffff_ffff, 0xffff_ffff]), 0xffff_fffe);
        assert_eq!(ints(ScalarOp::Shl, DType::U32, &[0xffff_ffff, 4]), 0xffff_fff0);
        assert_eq!(ints(ScalarOp::Shr, DType::U32, &[0x8000_0000, 31]), 1);
        assert_eq!(ints(ScalarOp::Shr, DType::I32, &[i32::MIN.into(), 31]), -1);
        assert_eq!(ints(ScalarOp::Not, DType::Bool, &[1]), 0);
    }

    #[test]
    fn casts_saturate_and_bits_survive() {
        let cast = |x: f64, to| eval_op(ScalarOp::Cast, &[Literal::float(DType::F32, x)], to).as_i64();
        assert_eq!(cast(3e9, DType::I32), i64::from(i32::MAX));
        assert_eq!(cast(-1.5, DType::U8), 0);
        assert_eq!(cast(-1.5, DType::I8), -1);
        assert_eq!(cast(200.0, DType::I8), 127);
        assert_eq!(cast(f64::NAN, DType::I64), 0);
        assert_eq!(cast(0.5, DType::Bool), 1);
        let bits = eval_op(ScalarOp::Bitcast, &[Literal::float(DType::F32, 1.0)], DType::I32);
        assert_eq!(bits.as_i64(), 0x3f80_0000);
        assert!(eval_op(ScalarOp::Bitcast, &[bits], DType::F32).is(1.0));
    }
}
