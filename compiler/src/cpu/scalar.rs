//! One scalar operation as Cranelift instructions.
//!
//! A value of type `u8` is held zero-extended in an `i32`, one of type `i8` sign-extended, a `bool` as 0 or 1 in an `i8`, a half type as an `f32`. No
//! operation traps and none becomes a library call.

use super::half::{self, is_half};
use super::target::Target;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Type, Value, types};
use cranelift_frontend::FunctionBuilder;
use igneous_ir::scalar::{Compare, ScalarOp};
use igneous_ir::types::{DType, Literal};

/// The register type of one element.
pub(super) fn register(dtype: DType) -> Type {
    match dtype {
        DType::F64 => types::F64,
        DType::F32 | DType::F16 | DType::BF16 => types::F32,
        DType::I64 => types::I64,
        DType::I32 | DType::U32 | DType::U8 | DType::I8 => types::I32,
        DType::Bool => types::I8,
    }
}

/// A constant.
pub(super) fn literal(b: &mut FunctionBuilder, value: Literal) -> Value {
    match register(value.dtype()) {
        types::F64 => b.ins().f64const(value.as_f64()),
        types::F32 => b.ins().f32const(value.as_f64() as f32),
        ty => b.ins().iconst(ty, truncated(value.as_i64(), ty)),
    }
}

/// The low bits of `value` as Cranelift wants an immediate of type `ty`: zero-extended.
pub(super) fn truncated(value: i64, ty: Type) -> i64 {
    match ty.lane_bits() {
        64 => value,
        bits => value & ((1 << bits) - 1),
    }
}

/// Loads one element from `address + offset` bytes.
pub(super) fn load(b: &mut FunctionBuilder, dtype: DType, address: Value, offset: i32) -> Value {
    let flags = memory();
    match dtype {
        DType::U8 => {
            let byte = b.ins().load(types::I8, flags, address, offset);
            b.ins().uextend(types::I32, byte)
        }
        DType::I8 => {
            let byte = b.ins().load(types::I8, flags, address, offset);
            b.ins().sextend(types::I32, byte)
        }
        DType::F16 | DType::BF16 => {
            let bits = b.ins().load(types::I16, flags, address, offset);
            let bits = b.ins().uextend(types::I32, bits);
            half::unpack(b, dtype, bits)
        }
        _ => b.ins().load(register(dtype), flags, address, offset),
    }
}

/// Stores one element to `address + offset` bytes.
pub(super) fn store(b: &mut FunctionBuilder, dtype: DType, value: Value, address: Value, offset: i32) {
    let flags = memory();
    let value = match dtype {
        DType::U8 | DType::I8 => b.ins().ireduce(types::I8, value),
        DType::F16 | DType::BF16 => {
            let bits = half::pack(b, dtype, value);
            b.ins().ireduce(types::I16, bits)
        }
        _ => value,
    };
    b.ins().store(flags, value, address, offset);
}

/// Flags of every access: addresses are valid by construction, of unknown alignment.
pub(super) fn memory() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

/// `op(args)`; `from` is the type of the first argument and `dtype` that of the result.
pub(super) fn apply(b: &mut FunctionBuilder, target: &Target, op: ScalarOp, from: DType, dtype: DType, args: &[Value]) -> Value {
    let float = dtype.is_float();
    let unsigned = matches!(dtype, DType::U32 | DType::U8 | DType::Bool);
    let x = args[0];
    let value = match op {
        ScalarOp::Neg if float => b.ins().fneg(x),
        ScalarOp::Neg => b.ins().ineg(x),
        ScalarOp::Abs if float => b.ins().fabs(x),
        ScalarOp::Abs if unsigned => x,
        ScalarOp::Abs => b.ins().iabs(x),
        ScalarOp::Sqrt => b.ins().sqrt(x),
        ScalarOp::Floor | ScalarOp::Ceil | ScalarOp::Round | ScalarOp::Trunc if target.sse41 => match op {
            ScalarOp::Floor => b.ins().floor(x),
            ScalarOp::Ceil => b.ins().ceil(x),
            ScalarOp::Round => b.ins().nearest(x),
            _ => b.ins().trunc(x),
        },
        ScalarOp::Floor | ScalarOp::Ceil | ScalarOp::Round | ScalarOp::Trunc => round(b, op, dtype.compute(), x),
        ScalarOp::Not if dtype == DType::Bool => b.ins().bxor_imm_u(x, 1),
        ScalarOp::Not => b.ins().bnot(x),
        ScalarOp::Add if float => b.ins().fadd(x, args[1]),
        ScalarOp::Add => b.ins().iadd(x, args[1]),
        ScalarOp::Sub if float => b.ins().fsub(x, args[1]),
        ScalarOp::Sub => b.ins().isub(x, args[1]),
        ScalarOp::Mul if float => b.ins().fmul(x, args[1]),
        ScalarOp::Mul => b.ins().imul(x, args[1]),
        ScalarOp::Div if float => b.ins().fdiv(x, args[1]),
        ScalarOp::Div => quotient(b, unsigned, x, args[1]),
        ScalarOp::Rem if float => remainder(b, dtype.compute(), x, args[1]),
        ScalarOp::Rem => {
            let q = quotient(b, unsigned, x, args[1]);
            let p = b.ins().imul(q, args[1]);
            let r = b.ins().isub(x, p);
            let zero = b.ins().icmp_imm_u(IntCC::Equal, args[1], 0);
            let none = b.ins().iconst(register(dtype), 0);
            b.ins().select(zero, none, r)
        }
        ScalarOp::Min if float => b.ins().fmin(x, args[1]),
        ScalarOp::Max if float => b.ins().fmax(x, args[1]),
        ScalarOp::Min if unsigned => b.ins().umin(x, args[1]),
        ScalarOp::Max if unsigned => b.ins().umax(x, args[1]),
        ScalarOp::Min => b.ins().smin(x, args[1]),
        ScalarOp::Max => b.ins().smax(x, args[1]),
        ScalarOp::And => b.ins().band(x, args[1]),
        ScalarOp::Or => b.ins().bor(x, args[1]),
        ScalarOp::Xor => b.ins().bxor(x, args[1]),
        ScalarOp::Shl => b.ins().ishl(x, args[1]),
        ScalarOp::Shr if unsigned => b.ins().ushr(x, args[1]),
        ScalarOp::Shr => b.ins().sshr(x, args[1]),
        ScalarOp::MulHi => b.ins().umulhi(x, args[1]),
        ScalarOp::Fma if !float => {
            let p = b.ins().imul(x, args[1]);
            b.ins().iadd(p, args[2])
        }
        ScalarOp::Fma if target.fma => b.ins().fma(x, args[1], args[2]),
        ScalarOp::Fma => {
            let p = b.ins().fmul(x, args[1]);
            b.ins().fadd(p, args[2])
        }
        ScalarOp::Compare(how) if from.is_float() => b.ins().fcmp(float_condition(how), x, args[1]),
        ScalarOp::Compare(how) => b.ins().icmp(int_condition(how, from), x, args[1]),
        ScalarOp::Select => b.ins().select(x, args[1], args[2]),
        ScalarOp::Cast => cast(b, from, dtype, x),
        ScalarOp::Bitcast if from == dtype => x,
        ScalarOp::Bitcast if is_half(from) => {
            let bits = half::pack(b, from, x);
            half::unpack(b, dtype, bits)
        }
        ScalarOp::Bitcast if dtype.size() == 1 => cast(b, from, dtype, x),
        ScalarOp::Bitcast if register(from) == register(dtype) => x,
        ScalarOp::Bitcast => b.ins().bitcast(register(dtype), MemFlagsData::new(), x),
        ScalarOp::Literal(_)
        | ScalarOp::Axis(_)
        | ScalarOp::Extent(_)
        | ScalarOp::Load(_)
        | ScalarOp::Local(_)
        | ScalarOp::Math(_) => {
            unreachable!("{op:?} is not an operation on values")
        }
    };
    if half::rounds(op, dtype) {
        return half::round(b, dtype, value);
    }
    // Arithmetic on bytes is done in 32 bits and wrapped.
    if leaves_byte(op) { wrapped(b, dtype, value) } else { value }
}

/// Whether `op` on bytes in 32 bits may give what is no byte.
pub(super) fn leaves_byte(op: ScalarOp) -> bool {
    use ScalarOp::{Abs, Add, Div, Fma, Mul, Neg, Not, Shl, Sub};
    matches!(op, Neg | Abs | Not | Add | Sub | Mul | Div | Fma | Shl)
}

/// The low byte of an `i32` as a value of type `u8` or `i8`; of another type the value as it is.
fn wrapped(b: &mut FunctionBuilder, dtype: DType, x: Value) -> Value {
    match dtype {
        DType::U8 => b.ins().band_imm_u(x, 0xff),
        DType::I8 => {
            let byte = b.ins().ireduce(types::I8, x);
            b.ins().sextend(types::I32, byte)
        }
        _ => x,
    }
}

/// The condition of a comparison of floats.
pub(super) fn float_condition(how: Compare) -> FloatCC {
    match how {
        Compare::Eq => FloatCC::Equal,
        Compare::Ne => FloatCC::NotEqual,
        Compare::Lt => FloatCC::LessThan,
        Compare::Le => FloatCC::LessThanOrEqual,
        Compare::Gt => FloatCC::GreaterThan,
        Compare::Ge => FloatCC::GreaterThanOrEqual,
    }
}

/// The condition of a comparison of integers or bools.
pub(super) fn int_condition(how: Compare, dtype: DType) -> IntCC {
    let signed = match how {
        Compare::Eq => IntCC::Equal,
        Compare::Ne => IntCC::NotEqual,
        Compare::Lt => IntCC::SignedLessThan,
        Compare::Le => IntCC::SignedLessThanOrEqual,
        Compare::Gt => IntCC::SignedGreaterThan,
        Compare::Ge => IntCC::SignedGreaterThanOrEqual,
    };
    if dtype.is_signed_int() { signed } else { signed.unsigned() }
}

/// `⌊x / y⌋`, 0 if `y` is 0; wraps where the quotient does not fit.
pub(super) fn quotient(b: &mut FunctionBuilder, unsigned: bool, x: Value, y: Value) -> Value {
    let ty = b.func.dfg.value_type(x);
    let one = b.ins().iconst(ty, 1);
    let none = b.ins().iconst(ty, 0);
    let by_zero = b.ins().icmp_imm_u(IntCC::Equal, y, 0);
    if unsigned {
        let divisor = b.ins().select(by_zero, one, y);
        let q = b.ins().udiv(x, divisor);
        return b.ins().select(by_zero, none, q);
    }
    // Dividing by -1 would trap for the smallest number: it is a negation.
    let minus_one = b.ins().iconst(ty, truncated(-1, ty));
    let by_minus_one = b.ins().icmp(IntCC::Equal, y, minus_one);
    let special = b.ins().bor(by_zero, by_minus_one);
    let divisor = b.ins().select(special, one, y);
    let q = b.ins().sdiv(x, divisor);
    let p = b.ins().imul(q, divisor);
    let r = b.ins().isub(x, p);
    let inexact = b.ins().icmp_imm_u(IntCC::NotEqual, r, 0);
    let signs = b.ins().bxor(r, divisor);
    let opposite = b.ins().icmp_imm_u(IntCC::SignedLessThan, signs, 0);
    let adjust = b.ins().band(inexact, opposite);
    let lower = b.ins().isub(q, one);
    let floor = b.ins().select(adjust, lower, q);
    let negated = b.ins().ineg(x);
    let q = b.ins().select(by_minus_one, negated, floor);
    b.ins().select(by_zero, none, q)
}

/// `⌊x / d⌋` of an `i64` by a positive constant, without a division.
///
/// For `0 ≤ u < 2^63`: `⌊u / d⌋ = ⌊u·m / 2^(64+s)⌋` with `s = ⌈log2 d⌉ - 1` and `m = ⌈2^(64+s) / d⌉ < 2^64` (Granlund and
/// Montgomery 1994). A negative `x` goes through its complement: `⌊x / d⌋ = ~⌊~x / d⌋`.
pub(super) fn quotient_by(b: &mut FunctionBuilder, x: Value, d: i64) -> Value {
    if d & (d - 1) == 0 {
        return b.ins().sshr_imm_u(x, i64::from(d.trailing_zeros()));
    }
    let s = 63 - (d - 1).leading_zeros();
    let m = ((1u128 << (64 + s)).div_ceil(d as u128)) as u64;
    let m = b.ins().iconst(types::I64, m as i64);
    let sign = b.ins().sshr_imm_u(x, 63);
    let u = b.ins().bxor(x, sign);
    let high = b.ins().umulhi(u, m);
    let q = b.ins().ushr_imm_u(high, i64::from(s));
    b.ins().bxor(q, sign)
}

/// Rounding to an integer where there is no instruction for it: adding and subtracting `2^mantissa` rounds to nearest.
fn round(b: &mut FunctionBuilder, op: ScalarOp, dtype: DType, x: Value) -> Value {
    let constant = |b: &mut FunctionBuilder, v: f64| literal(b, Literal::float(dtype, v));
    let limit = constant(b, if dtype == DType::F64 { 2f64.powi(52) } else { 2f64.powi(23) });
    let one = constant(b, 1.0);
    let zero = constant(b, 0.0);
    let magnitude = b.ins().fabs(x);
    let nearest = |b: &mut FunctionBuilder, x: Value| {
        let magnitude = b.ins().fabs(x);
        let up = b.ins().fadd(magnitude, limit);
        let n = b.ins().fsub(up, limit);
        b.ins().fcopysign(n, x)
    };
    let rounded = match op {
        ScalarOp::Round => nearest(b, x),
        ScalarOp::Ceil => {
            let n = nearest(b, x);
            let below = b.ins().fcmp(FloatCC::LessThan, n, x);
            let step = b.ins().select(below, one, zero);
            b.ins().fadd(n, step)
        }
        _ => {
            let x = if op == ScalarOp::Trunc { magnitude } else { x };
            let n = nearest(b, x);
            let above = b.ins().fcmp(FloatCC::GreaterThan, n, x);
            let step = b.ins().select(above, one, zero);
            b.ins().fsub(n, step)
        }
    };
    let signed = b.ins().fcopysign(rounded, x);
    let small = b.ins().fcmp(FloatCC::LessThan, magnitude, limit);
    b.ins().select(small, signed, x)
}

/// The remainder with the sign of the divisor, exact: multiples of the divisor by powers of two are taken away, the
/// largest first. In `f64`, where every `f32` is normal.
fn remainder(b: &mut FunctionBuilder, dtype: DType, x: Value, y: Value) -> Value {
    let [wide_x, wide_y] = [x, y].map(|v| if dtype == DType::F64 { v } else { b.ins().fpromote(types::F64, v) });
    let (magnitude, divisor) = (b.ins().fabs(wide_x), b.ins().fabs(wide_y));
    let [zero, infinity, nan] = [0.0, f64::INFINITY, f64::NAN].map(|v| b.ins().f64const(v));
    let finite = b.ins().fcmp(FloatCC::LessThan, magnitude, infinity);
    let proper = b.ins().fcmp(FloatCC::GreaterThan, divisor, zero);
    let defined = b.ins().band(finite, proper);
    let start = b.ins().select(defined, magnitude, nan);
    let rest = match dtype {
        DType::F64 => {
            // The exponent of a subnormal divisor says nothing, so all is scaled; the largest numbers would overflow, so
            // the remainder by the scaled divisor, which is a multiple of it, comes first.
            let [normal, one, up, down] = [f64::MIN_POSITIVE, 1.0, EXACT, 1.0 / EXACT].map(|v| b.ins().f64const(v));
            let tiny = b.ins().fcmp(FloatCC::LessThan, divisor, normal);
            let (scale, back) = (b.ins().select(tiny, up, one), b.ins().select(tiny, down, one));
            let divisor = b.ins().fmul(divisor, scale);
            let rest = positive_remainder(b, start, divisor);
            let rest = b.ins().fmul(rest, scale);
            let rest = positive_remainder(b, rest, divisor);
            b.ins().fmul(rest, back)
        }
        _ => positive_remainder(b, start, divisor),
    };
    let signed = b.ins().fcopysign(rest, wide_x);
    let r = if dtype == DType::F64 { signed } else { b.ins().fdemote(types::F32, signed) };
    let zero = literal(b, Literal::float(dtype, 0.0));
    let (r_negative, y_negative) = (b.ins().fcmp(FloatCC::LessThan, r, zero), b.ins().fcmp(FloatCC::LessThan, y, zero));
    let opposite = b.ins().bxor(r_negative, y_negative);
    let inexact = b.ins().fcmp(FloatCC::NotEqual, r, zero);
    let adjust = b.ins().band(opposite, inexact);
    let moved = b.ins().fadd(r, y);
    b.ins().select(adjust, moved, r)
}

/// A power of two that makes every subnormal `f64` normal.
const EXACT: f64 = (1u64 << 54) as f64;

/// The remainder of `rest`, NaN or not negative, by `divisor`, which is normal, infinite or NaN.
fn positive_remainder(b: &mut FunctionBuilder, rest: Value, divisor: Value) -> Value {
    let (head, body, exit) = (b.create_block(), b.create_block(), b.create_block());
    let start = rest;
    let rest = b.append_block_param(head, types::F64);
    b.ins().jump(head, &[start.into()]);
    b.switch_to_block(head);
    let again = b.ins().fcmp(FloatCC::GreaterThanOrEqual, rest, divisor);
    b.ins().brif(again, body, &[], exit, &[]);
    b.switch_to_block(body);
    // The divisor with its exponent raised to that of the rest, or one less if it would exceed the rest.
    let (rest_bits, divisor_bits) = (bits(b, rest), bits(b, divisor));
    let distance = b.ins().isub(rest_bits, divisor_bits);
    let exponent = b.ins().band_imm_u(distance, 0x7ff0_0000_0000_0000);
    let multiple = b.ins().iadd(divisor_bits, exponent);
    let multiple = b.ins().bitcast(types::F64, MemFlagsData::new(), multiple);
    let next = b.ins().fsub(rest, multiple);
    b.ins().jump(head, &[next.into()]);
    b.switch_to_block(exit);
    rest
}

fn bits(b: &mut FunctionBuilder, x: Value) -> Value {
    b.ins().bitcast(types::I64, MemFlagsData::new(), x)
}

fn cast(b: &mut FunctionBuilder, from: DType, to: DType, x: Value) -> Value {
    if is_half(to) && from != to {
        let x = if from == DType::F64 { half::rounded_to_odd(b, x) } else { cast(b, from, DType::F32, x) };
        return half::round(b, to, x);
    }
    let (source, result) = (register(from), register(to));
    match (from.is_float(), to.is_float()) {
        (true, true) => match (source, result) {
            (types::F32, types::F64) => b.ins().fpromote(types::F64, x),
            (types::F64, types::F32) => b.ins().fdemote(types::F32, x),
            _ => x,
        },
        (false, true) => match from {
            DType::U32 => b.ins().fcvt_from_uint(result, x),
            DType::Bool => {
                let wide = b.ins().uextend(types::I32, x);
                b.ins().fcvt_from_sint(result, wide)
            }
            _ => b.ins().fcvt_from_sint(result, x),
        },
        (true, false) => match to {
            DType::Bool => {
                let zero = literal(b, Literal::float(from, 0.0));
                b.ins().fcmp(FloatCC::NotEqual, x, zero)
            }
            DType::U32 => b.ins().fcvt_to_uint_sat(types::I32, x),
            DType::U8 | DType::I8 => {
                let wide = b.ins().fcvt_to_sint_sat(types::I32, x);
                let (low, high) = to.int_limits();
                let (low, high) = (literal(b, Literal::int(to, low)), literal(b, Literal::int(to, high)));
                let wide = b.ins().smax(wide, low);
                b.ins().smin(wide, high)
            }
            _ => b.ins().fcvt_to_sint_sat(result, x),
        },
        (false, false) => {
            if to == DType::Bool {
                return if from == DType::Bool { x } else { b.ins().icmp_imm_u(IntCC::NotEqual, x, 0) };
            }
            let x = match (source.bits(), result.bits()) {
                (s, r) if s > r => b.ins().ireduce(result, x),
                (s, r) if s < r && from.is_signed_int() => b.ins().sextend(result, x),
                (s, r) if s < r => b.ins().uextend(result, x),
                _ => x,
            };
            wrapped(b, to, x)
        }
    }
}
