//! The half types in Cranelift: held as the `f32` of the same value, 16 bits in memory.
//!
//! Everything is integer arithmetic on lanes of 32 bits, the same for a scalar and for a vector, so that it exists on every
//! machine and gives the bits that [`DType::round`] gives.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::immediates::V128Imm;
use cranelift_codegen::ir::{Endianness, InstBuilder, MemFlagsData, Type, Value, types};
use cranelift_frontend::FunctionBuilder;
use igneous_ir::scalar::ScalarOp;
use igneous_ir::types::DType;

/// The exponent of the smallest normal `f16`, 2⁻¹⁴, in an `f32`.
const NORMAL: u32 = 0x3880_0000;
/// Beyond the largest `f16`: 2¹⁶.
const BEYOND: u32 = 0x4780_0000;
/// 0.5: the last digit of a sum of it and less than 2⁻¹⁴ is that of a subnormal `f16`.
const ONE_HALF: u32 = 0x3f00_0000;
/// What the exponents of an `f32` and of an `f16` differ by.
const BIAS: u32 = 112 << 23;
const INFINITY: u32 = 0x7f80_0000;
const QUIET: u32 = 0x0040_0000;

/// Whether this is a half type.
pub(super) const fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
}

/// Whether the result of an operation on numbers of a half type may be none.
pub(super) fn rounds(op: ScalarOp, dtype: DType) -> bool {
    let inexact = matches!(
        op,
        ScalarOp::Add | ScalarOp::Sub | ScalarOp::Mul | ScalarOp::Div | ScalarOp::Rem | ScalarOp::Sqrt | ScalarOp::Fma
    );
    inexact && is_half(dtype)
}

/// The nearest number of a half type to an `f32`, ties to even, as an `f32`.
pub(super) fn round(b: &mut FunctionBuilder, dtype: DType, x: Value) -> Value {
    let mut w = Words::of(b, x);
    let u = w.bits(x);
    let (last, most) = if dtype == DType::BF16 { (16, 0x7fff) } else { (13, 0x0fff) };
    let digits = !((1u32 << last) - 1);
    // Adding half of the last digit, less one where that is even, carries where the number has to go up.
    let odd = w.shifted_right(u, last);
    let odd = w.and(odd, 1);
    let up = w.plus(u, most);
    let up = w.b.ins().iadd(up, odd);
    let rounded = w.and(up, digits);
    let rounded = if dtype == DType::BF16 { rounded } else { w.in_range_of_f16(u, rounded) };
    let quiet = w.or(u, QUIET);
    let quiet = w.and(quiet, digits);
    let nan = w.b.ins().fcmp(FloatCC::Unordered, x, x);
    let rounded = w.choose(nan, quiet, rounded);
    w.float(rounded)
}

/// The bits of a number of a half type, in the lower half of each lane.
pub(super) fn pack(b: &mut FunctionBuilder, dtype: DType, x: Value) -> Value {
    let mut w = Words::of(b, x);
    let u = w.bits(x);
    let upper = w.shifted_right(u, 16);
    if dtype == DType::BF16 {
        return upper;
    }
    let sign = w.and(upper, 0x8000);
    let magnitude = w.and(u, !0x8000_0000);
    let shifted = w.plus(magnitude, BIAS.wrapping_neg());
    let normal = w.shifted_right(shifted, 13);
    let special = w.shifted_right(magnitude, 13);
    let special = w.and(special, 0x7fff);
    let small = w.added_to_one_half(magnitude);
    let small = w.plus(small, ONE_HALF.wrapping_neg());
    let is_special = w.at_least(magnitude, INFINITY);
    let is_normal = w.at_least(magnitude, NORMAL);
    let finite = w.choose(is_normal, normal, small);
    let bits = w.choose(is_special, special, finite);
    w.b.ins().bor(bits, sign)
}

/// The number whose bits are in the lower half of each lane; the upper half is zero.
pub(super) fn unpack(b: &mut FunctionBuilder, dtype: DType, bits: Value) -> Value {
    let mut w = Words::of(b, bits);
    if dtype == DType::BF16 {
        let u = w.shifted_left(bits, 16);
        return w.float(u);
    }
    let sign = w.and(bits, 0x8000);
    let sign = w.shifted_left(sign, 16);
    let magnitude = w.and(bits, 0x7fff);
    let shifted = w.shifted_left(magnitude, 13);
    let normal = w.plus(shifted, BIAS);
    let special = w.plus(shifted, 2 * BIAS);
    let count = w.b.ins().fcvt_from_sint(w.float, magnitude);
    let digit = w.constant((127 - 24) << 23);
    let digit = w.float(digit);
    let small = w.b.ins().fmul(count, digit);
    let small = w.bits(small);
    let is_special = w.at_least(magnitude, 0x7c00);
    let is_normal = w.at_least(magnitude, 0x0400);
    let finite = w.choose(is_normal, normal, small);
    let u = w.choose(is_special, special, finite);
    let u = w.b.ins().bor(u, sign);
    w.float(u)
}

/// An `f64` as an `f32` such that rounding that to a half type rounds the `f64` once: where it is not exact, the last
/// digit is odd, which no half number has. Boldo and Melquiond 2008, "Emulation of FMA and correctly rounded sums".
pub(super) fn rounded_to_odd(b: &mut FunctionBuilder, x: Value) -> Value {
    let nearest = b.ins().fdemote(types::F32, x);
    let back = b.ins().fpromote(types::F64, nearest);
    let bits = b.ins().bitcast(types::I32, MemFlagsData::new(), nearest);
    let (magnitude, exact) = (b.ins().fabs(back), b.ins().fabs(x));
    let above = b.ins().fcmp(FloatCC::GreaterThan, magnitude, exact);
    let above = b.ins().uextend(types::I32, above);
    let toward_zero = b.ins().isub(bits, above);
    let inexact = b.ins().fcmp(FloatCC::OrderedNotEqual, back, x);
    let inexact = b.ins().uextend(types::I32, inexact);
    let odd = b.ins().bor(toward_zero, inexact);
    b.ins().bitcast(types::F32, MemFlagsData::new(), odd)
}

/// Operations on lanes of 32 bits: of a scalar, or of a vector.
struct Words<'b, 'f> {
    b: &'b mut FunctionBuilder<'f>,
    int: Type,
    float: Type,
}

impl<'b, 'f> Words<'b, 'f> {
    fn of(b: &'b mut FunctionBuilder<'f>, x: Value) -> Words<'b, 'f> {
        let vector = b.func.dfg.value_type(x).is_vector();
        let (int, float) = if vector { (types::I32X4, types::F32X4) } else { (types::I32, types::F32) };
        Words { b, int, float }
    }

    fn constant(&mut self, word: u32) -> Value {
        if !self.int.is_vector() {
            return self.b.ins().iconst(self.int, i64::from(word));
        }
        let bytes: Vec<u8> = (0..4).flat_map(|_| word.to_le_bytes()).collect();
        let bytes = V128Imm(bytes.try_into().expect("four times four bytes"));
        let handle = self.b.func.dfg.constants.insert(bytes.as_slice().into());
        self.b.ins().vconst(self.int, handle)
    }

    fn read_as(&mut self, ty: Type, x: Value) -> Value {
        if self.b.func.dfg.value_type(x) == ty {
            return x;
        }
        self.b.ins().bitcast(ty, MemFlagsData::new().with_endianness(Endianness::Little), x)
    }

    fn bits(&mut self, x: Value) -> Value {
        self.read_as(self.int, x)
    }

    fn float(&mut self, bits: Value) -> Value {
        self.read_as(self.float, bits)
    }

    fn plus(&mut self, x: Value, word: u32) -> Value {
        let word = self.constant(word);
        self.b.ins().iadd(x, word)
    }

    fn and(&mut self, x: Value, word: u32) -> Value {
        let word = self.constant(word);
        self.b.ins().band(x, word)
    }

    fn or(&mut self, x: Value, word: u32) -> Value {
        let word = self.constant(word);
        self.b.ins().bor(x, word)
    }

    fn shifted_right(&mut self, x: Value, count: i64) -> Value {
        let count = self.b.ins().iconst(types::I32, count);
        self.b.ins().ushr(x, count)
    }

    fn shifted_left(&mut self, x: Value, count: i64) -> Value {
        let count = self.b.ins().iconst(types::I32, count);
        self.b.ins().ishl(x, count)
    }

    /// Whether `x` is not below `word`; neither has the upper bit.
    fn at_least(&mut self, x: Value, word: u32) -> Value {
        let word = self.constant(word - 1);
        self.b.ins().icmp(IntCC::SignedGreaterThan, x, word)
    }

    fn choose(&mut self, condition: Value, then: Value, otherwise: Value) -> Value {
        if self.int.is_vector() {
            let mask = self.bits(condition);
            return self.b.ins().bitselect(mask, then, otherwise);
        }
        self.b.ins().select(condition, then, otherwise)
    }

    /// The bits of 0.5 and a number that is not negative.
    fn added_to_one_half(&mut self, magnitude: Value) -> Value {
        let one_half = self.constant(ONE_HALF);
        let (x, one_half) = (self.float(magnitude), self.float(one_half));
        let sum = self.b.ins().fadd(x, one_half);
        self.bits(sum)
    }

    /// What a number with the bits `u` becomes that is `rounded` to the digits of a normal `f16`.
    fn in_range_of_f16(&mut self, u: Value, rounded: Value) -> Value {
        let sign = self.and(u, 0x8000_0000);
        let magnitude = self.and(u, !0x8000_0000);
        let sum = self.added_to_one_half(magnitude);
        let (sum, one_half) = (self.float(sum), self.constant(ONE_HALF));
        let one_half = self.float(one_half);
        let small = self.b.ins().fsub(sum, one_half);
        let small = self.bits(small);
        let normal = self.and(rounded, !0x8000_0000);
        let infinity = self.constant(INFINITY);
        let is_beyond = self.at_least(normal, BEYOND);
        let large = self.choose(is_beyond, infinity, normal);
        let is_normal = self.at_least(magnitude, NORMAL);
        let result = self.choose(is_normal, large, small);
        self.b.ins().bor(result, sign)
    }
}
