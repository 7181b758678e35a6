//! Straight-line code on four consecutive elements at a time, in 128-bit registers.
//!
//! A [`Group`] holds four elements: one register of 32-bit lanes, or two of 64-bit lanes. A `bool` is a mask of 32-bit
//! lanes (0 or -1), a `u8` is zero-extended to 32 bits, an `i8` sign-extended, a half type is the `f32` of the same value. What has no vector instruction is done lane by lane, so every
//! operation exists. This is the portable form; where [`strip`](super::strip)
//! knows wider vectors, what is left for it is what does not lie one after the other.

use super::half::{self, is_half};
use super::scalar::{self, float_condition, int_condition, leaves_byte, memory};
use super::target::Target;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::immediates::V128Imm;
use cranelift_codegen::ir::{Endianness, InstBuilder, MemFlagsData, Type, Value, types};
use cranelift_frontend::FunctionBuilder;
use igneous_ir::scalar::ScalarOp;
use igneous_ir::types::{DType, Literal};
use smallvec::{SmallVec, smallvec};

/// Elements in a group.
pub(super) const LANES: usize = 4;

/// Four consecutive elements.
pub(super) type Group = SmallVec<[Value; 2]>;

/// The type of one register and how many hold a group.
pub(super) fn registers(dtype: DType) -> (Type, usize) {
    match dtype {
        DType::F64 => (types::F64X2, 2),
        DType::I64 => (types::I64X2, 2),
        DType::F32 | DType::F16 | DType::BF16 => (types::F32X4, 1),
        DType::I32 | DType::U32 | DType::U8 | DType::I8 | DType::Bool => (types::I32X4, 1),
    }
}

/// Bytes between the groups of a type where they are stored by [`spill`].
pub(super) fn spill_size(dtype: DType) -> i32 {
    16 * registers(dtype).1 as i32
}

/// A register with given lanes.
fn constant(b: &mut FunctionBuilder, ty: Type, lanes: &[u64]) -> Value {
    let width = ty.lane_type().bytes() as usize;
    let bytes: Vec<u8> = lanes.iter().flat_map(|l| l.to_le_bytes()[..width].to_vec()).collect();
    let handle = b.func.dfg.constants.insert(V128Imm(bytes.try_into().expect("16 bytes")).as_slice().into());
    b.ins().vconst(ty, handle)
}

/// The same constant in each lane.
pub(super) fn literal(b: &mut FunctionBuilder, value: Literal) -> Group {
    let (ty, count) = registers(value.dtype());
    let bits = match (value.dtype(), ty) {
        (DType::Bool, _) => (-value.as_i64()) as u64,
        (_, types::F64X2) => value.as_f64().to_bits(),
        (_, types::F32X4) => u64::from((value.as_f64() as f32).to_bits()),
        _ => value.as_i64() as u64,
    };
    let lanes = vec![bits; ty.lane_count() as usize];
    let register = constant(b, ty, &lanes);
    smallvec![register; count]
}

/// A scalar in each lane.
pub(super) fn splat(b: &mut FunctionBuilder, dtype: DType, x: Value) -> Group {
    let (ty, count) = registers(dtype);
    let x = if dtype == DType::Bool { mask_lane(b, x) } else { x };
    let register = b.ins().splat(ty, x);
    smallvec![register; count]
}

/// `start + 0, 1, 2, 3` as `i64`.
pub(super) fn iota(b: &mut FunctionBuilder, start: Value) -> Group {
    let start = b.ins().splat(types::I64X2, start);
    let (low, high) = (constant(b, types::I64X2, &[0, 1]), constant(b, types::I64X2, &[2, 3]));
    smallvec![b.ins().iadd(start, low), b.ins().iadd(start, high)]
}

/// 0 or 1 in an `i8` as 0 or -1 in an `i32`.
fn mask_lane(b: &mut FunctionBuilder, x: Value) -> Value {
    let wide = b.ins().uextend(types::I32, x);
    b.ins().ineg(wide)
}

/// 0 or -1 in an `i32` as 0 or 1 in an `i8`.
fn bit_of(b: &mut FunctionBuilder, x: Value) -> Value {
    let bit = b.ins().band_imm_u(x, 1);
    b.ins().ireduce(types::I8, bit)
}

fn as_type(b: &mut FunctionBuilder, ty: Type, x: Value) -> Value {
    if b.func.dfg.value_type(x) == ty {
        return x;
    }
    b.ins().bitcast(ty, MemFlagsData::new().with_endianness(Endianness::Little), x)
}

/// Four elements that lie one after the other at `address + offset` bytes.
pub(super) fn load(b: &mut FunctionBuilder, target: &Target, dtype: DType, address: Value, offset: i32) -> Group {
    let (ty, count) = registers(dtype);
    let at = |i: i32| offset + 16 * i;
    match dtype {
        DType::U8 | DType::I8 | DType::Bool => {
            let bytes = b.ins().load(types::I32, memory(), address, offset);
            let vector = b.ins().scalar_to_vector(types::I32X4, bytes);
            let bytes = as_type(b, types::I8X16, vector);
            if dtype == DType::I8 {
                let halves = b.ins().swiden_low(bytes);
                return smallvec![b.ins().swiden_low(halves)];
            }
            let halves = b.ins().uwiden_low(bytes);
            let words = b.ins().uwiden_low(halves);
            if dtype == DType::U8 {
                return smallvec![words];
            }
            let zero = constant(b, types::I32X4, &[0; 4]);
            smallvec![b.ins().icmp(IntCC::NotEqual, words, zero)]
        }
        DType::F16 | DType::BF16 => {
            let bits = b.ins().load(types::I64, memory(), address, offset);
            let vector = b.ins().scalar_to_vector(types::I64X2, bits);
            let halves = as_type(b, types::I16X8, vector);
            let words = b.ins().uwiden_low(halves);
            smallvec![half::unpack(b, dtype, words)]
        }
        // Cranelift 0.135 makes an unaligned load the operand of a comparison, which without AVX wants it aligned. A load of
        // integers whose bits are then read as floats stays a load of its own.
        _ if !target.avx && dtype.is_float() => {
            let integers = (0..count as i32).map(|i| b.ins().load(ty.as_truthy_pedantic(), memory(), address, at(i)));
            let integers: Group = integers.collect();
            integers.into_iter().map(|x| as_type(b, ty, x)).collect()
        }
        _ => (0..count as i32).map(|i| b.ins().load(ty, memory(), address, at(i))).collect(),
    }
}

/// Stores four elements one after the other at `address + offset` bytes.
pub(super) fn store(b: &mut FunctionBuilder, dtype: DType, group: &Group, address: Value, offset: i32) {
    match dtype {
        DType::U8 | DType::I8 | DType::Bool => {
            let one = constant(b, types::I32X4, &[if dtype == DType::Bool { 1 } else { 0xff }; 4]);
            let words = b.ins().band(group[0], one);
            let halves = b.ins().snarrow(words, words);
            let bytes = b.ins().unarrow(halves, halves);
            let bytes = as_type(b, types::I32X4, bytes);
            let word = b.ins().extractlane(bytes, 0);
            b.ins().store(memory(), word, address, offset);
        }
        DType::F16 | DType::BF16 => {
            let words = half::pack(b, dtype, group[0]);
            // With the sign of its lower half a lane is in the range that narrowing keeps.
            let count = b.ins().iconst(types::I32, 16);
            let words = b.ins().ishl(words, count);
            let words = b.ins().sshr(words, count);
            let halves = b.ins().snarrow(words, words);
            let halves = as_type(b, types::I64X2, halves);
            let both = b.ins().extractlane(halves, 0);
            b.ins().store(memory(), both, address, offset);
        }
        _ => {
            for (i, &register) in group.iter().enumerate() {
                b.ins().store(memory(), register, address, offset + 16 * i as i32);
            }
        }
    }
}

/// Stores the registers of a group as they are, [`spill_size`] bytes.
pub(super) fn spill(b: &mut FunctionBuilder, group: &Group, address: Value, offset: i32) {
    for (i, &register) in group.iter().enumerate() {
        b.ins().store(memory(), register, address, offset + 16 * i as i32);
    }
}

/// Loads what [`spill`] stored.
pub(super) fn reload(b: &mut FunctionBuilder, dtype: DType, address: Value, offset: i32) -> Group {
    let (ty, count) = registers(dtype);
    (0..count as i32).map(|i| b.ins().load(ty, memory(), address, offset + 16 * i)).collect()
}

/// Bytes of one element in the layout of [`spill`].
pub(super) fn lane_size(dtype: DType) -> i64 {
    i64::from(spill_size(dtype)) / LANES as i64
}

/// Stores a scalar into the layout of [`spill`].
pub(super) fn spill_lane(b: &mut FunctionBuilder, dtype: DType, x: Value, address: Value) {
    let x = if dtype == DType::Bool { mask_lane(b, x) } else { x };
    b.ins().store(memory(), x, address, 0);
}

/// Loads a scalar from the layout of [`spill`].
pub(super) fn reload_lane(b: &mut FunctionBuilder, dtype: DType, address: Value) -> Value {
    let x = b.ins().load(registers(dtype).0.lane_type(), memory(), address, 0);
    if dtype == DType::Bool { bit_of(b, x) } else { x }
}

/// The first two elements and the last two, each pair twice.
pub(super) fn halves(b: &mut FunctionBuilder, group: &Group) -> (Group, Group) {
    match group.as_slice() {
        [low, high] => (smallvec![*low, *low], smallvec![*high, *high]),
        _ => {
            let ty = b.func.dfg.value_type(group[0]);
            let upper = shuffle_words(b, group[0], group[0], [2, 3, 2, 3]);
            (group.clone(), smallvec![as_type(b, ty, upper)])
        }
    }
}

/// One element of a group as a scalar.
pub(super) fn lane(b: &mut FunctionBuilder, dtype: DType, group: &Group, lane: usize) -> Value {
    let per_register = LANES / group.len();
    let x = b.ins().extractlane(group[lane / per_register], (lane % per_register) as u8);
    if dtype == DType::Bool { bit_of(b, x) } else { x }
}

/// A group of four scalars.
pub(super) fn gather(b: &mut FunctionBuilder, dtype: DType, lanes: &[Value; LANES]) -> Group {
    let (ty, count) = registers(dtype);
    let per_register = LANES / count;
    let mut group = Group::new();
    for chunk in lanes.chunks(per_register) {
        let mut register = None;
        for (i, &x) in chunk.iter().enumerate() {
            let x = if dtype == DType::Bool { mask_lane(b, x) } else { x };
            register = Some(match register {
                None if ty == types::I64X2 => b.ins().splat(ty, x),
                None => b.ins().scalar_to_vector(ty, x),
                Some(r) => b.ins().insertlane(r, x, i as u8),
            });
        }
        group.extend(register);
    }
    group
}

/// `op(args)` on each lane; `from` is the type of the first argument (of `then` for a selection), `dtype` that of the
/// result. `count` is the scalar shift count of a shift if it is the same for all lanes.
pub(super) fn apply(
    b: &mut FunctionBuilder,
    target: &Target,
    op: ScalarOp,
    from: DType,
    dtype: DType,
    args: &[&Group],
    count: Option<Value>,
) -> Group {
    let float = dtype.is_float();
    let unsigned = matches!(dtype, DType::U32 | DType::U8 | DType::Bool);
    let each = |b: &mut FunctionBuilder, f: &dyn Fn(&mut FunctionBuilder, &[Value]) -> Value| -> Group {
        (0..args[0].len()).map(|i| f(b, &args.iter().map(|a| a[i]).collect::<SmallVec<[Value; 3]>>())).collect()
    };
    let group = match op {
        ScalarOp::Neg if float => each(b, &|b, x| b.ins().fneg(x[0])),
        ScalarOp::Neg => each(b, &|b, x| b.ins().ineg(x[0])),
        ScalarOp::Abs if float => each(b, &|b, x| b.ins().fabs(x[0])),
        ScalarOp::Abs if unsigned => args[0].clone(),
        ScalarOp::Abs => each(b, &|b, x| b.ins().iabs(x[0])),
        ScalarOp::Sqrt => each(b, &|b, x| b.ins().sqrt(x[0])),
        ScalarOp::Floor if target.sse41 => each(b, &|b, x| b.ins().floor(x[0])),
        ScalarOp::Ceil if target.sse41 => each(b, &|b, x| b.ins().ceil(x[0])),
        ScalarOp::Round if target.sse41 => each(b, &|b, x| b.ins().nearest(x[0])),
        ScalarOp::Trunc if target.sse41 => each(b, &|b, x| b.ins().trunc(x[0])),
        ScalarOp::Not => each(b, &|b, x| b.ins().bnot(x[0])),
        ScalarOp::Add if float => each(b, &|b, x| b.ins().fadd(x[0], x[1])),
        ScalarOp::Add => each(b, &|b, x| b.ins().iadd(x[0], x[1])),
        ScalarOp::Sub if float => each(b, &|b, x| b.ins().fsub(x[0], x[1])),
        ScalarOp::Sub => each(b, &|b, x| b.ins().isub(x[0], x[1])),
        ScalarOp::Mul if float => each(b, &|b, x| b.ins().fmul(x[0], x[1])),
        ScalarOp::Mul => each(b, &|b, x| b.ins().imul(x[0], x[1])),
        ScalarOp::Div if float => each(b, &|b, x| b.ins().fdiv(x[0], x[1])),
        ScalarOp::Min | ScalarOp::Max if float => each(b, &|b, x| float_extremum(b, op, x[0], x[1])),
        // There is no instruction that compares 64-bit lanes by magnitude and picks one.
        ScalarOp::Min | ScalarOp::Max if dtype == DType::I64 => {
            let less = if op == ScalarOp::Min { IntCC::SignedLessThan } else { IntCC::SignedGreaterThan };
            each(b, &|b, x| {
                let better = b.ins().icmp(less, x[0], x[1]);
                b.ins().bitselect(better, x[0], x[1])
            })
        }
        ScalarOp::Min if unsigned => each(b, &|b, x| b.ins().umin(x[0], x[1])),
        ScalarOp::Max if unsigned => each(b, &|b, x| b.ins().umax(x[0], x[1])),
        ScalarOp::Min => each(b, &|b, x| b.ins().smin(x[0], x[1])),
        ScalarOp::Max => each(b, &|b, x| b.ins().smax(x[0], x[1])),
        ScalarOp::And => each(b, &|b, x| b.ins().band(x[0], x[1])),
        ScalarOp::Or => each(b, &|b, x| b.ins().bor(x[0], x[1])),
        ScalarOp::Xor => each(b, &|b, x| b.ins().bxor(x[0], x[1])),
        ScalarOp::Shl | ScalarOp::Shr if let Some(count) = count => each(b, &|b, x| match op {
            ScalarOp::Shl => b.ins().ishl(x[0], count),
            _ if unsigned => b.ins().ushr(x[0], count),
            _ => b.ins().sshr(x[0], count),
        }),
        ScalarOp::MulHi => each(b, &|b, x| multiply_high(b, x[0], x[1])),
        ScalarOp::Fma if !float => each(b, &|b, x| {
            let p = b.ins().imul(x[0], x[1]);
            b.ins().iadd(p, x[2])
        }),
        ScalarOp::Fma if target.fma => each(b, &|b, x| b.ins().fma(x[0], x[1], x[2])),
        ScalarOp::Fma => each(b, &|b, x| {
            let p = b.ins().fmul(x[0], x[1]);
            b.ins().fadd(p, x[2])
        }),
        ScalarOp::Compare(how) => {
            let mask = each(b, &|b, x| match from.is_float() {
                true => b.ins().fcmp(float_condition(how), x[0], x[1]),
                false => b.ins().icmp(int_condition(how, from), x[0], x[1]),
            });
            narrow_mask(b, mask)
        }
        ScalarOp::Select => {
            let masks = widen_mask(b, args[0][0], args[1].len());
            let ty = registers(dtype).0;
            let pairs = args[1].iter().zip(args[2]).zip(masks);
            pairs.map(|((&then, &otherwise), mask)| choose(b, target, ty, mask, then, otherwise)).collect()
        }
        ScalarOp::Cast => return cast(b, target, from, dtype, args[0]),
        ScalarOp::Bitcast if is_half(from) && from != dtype => each(b, &|b, x| {
            let bits = half::pack(b, from, x[0]);
            half::unpack(b, dtype, bits)
        }),
        ScalarOp::Bitcast if dtype.size() == 1 => return cast(b, target, from, dtype, args[0]),
        ScalarOp::Bitcast => {
            let ty = registers(dtype).0;
            each(b, &|b, x| as_type(b, ty, x[0]))
        }
        _ => return by_lanes(b, target, op, from, dtype, args),
    };
    if half::rounds(op, dtype) {
        return smallvec![half::round(b, dtype, group[0])];
    }
    if leaves_byte(op) { wrapped(b, dtype, group) } else { group }
}

/// The low bytes of 32-bit lanes as values of type `u8` or `i8`; of another type the lanes as they are.
fn wrapped(b: &mut FunctionBuilder, dtype: DType, x: Group) -> Group {
    match dtype {
        DType::U8 => {
            let byte = constant(b, types::I32X4, &[0xff; 4]);
            smallvec![b.ins().band(x[0], byte)]
        }
        DType::I8 => {
            let count = b.ins().iconst(types::I32, 24);
            let upper = b.ins().ishl(x[0], count);
            smallvec![b.ins().sshr(upper, count)]
        }
        _ => x,
    }
}

/// An operation done on each lane as on a scalar.
fn by_lanes(b: &mut FunctionBuilder, target: &Target, op: ScalarOp, from: DType, dtype: DType, args: &[&Group]) -> Group {
    let mut results = Vec::with_capacity(LANES);
    for i in 0..LANES {
        let xs: SmallVec<[Value; 3]> = args.iter().map(|a| lane(b, from, a, i)).collect();
        results.push(scalar::apply(b, target, op, from, dtype, &xs));
    }
    gather(b, dtype, &results.try_into().expect("one result for each lane"))
}

/// The smaller or larger of two; -0 is below 0, NaN if either is. A comparison gives the second operand for equal zeros
/// and for NaN, so both orders are taken and their bits united.
fn float_extremum(b: &mut FunctionBuilder, op: ScalarOp, x: Value, y: Value) -> Value {
    let ty = b.func.dfg.value_type(x);
    let (first, second) = (better(b, op, x, y), better(b, op, y, x));
    if op == ScalarOp::Min {
        return b.ins().bor(first, second);
    }
    let both = b.ins().band(first, second);
    let nan = b.ins().fcmp(FloatCC::Unordered, x, y);
    let nan = as_type(b, ty, nan);
    b.ins().bor(both, nan)
}

/// `x` if it is strictly smaller (larger) than `y`, else `y`.
fn better(b: &mut FunctionBuilder, op: ScalarOp, x: Value, y: Value) -> Value {
    let ty = b.func.dfg.value_type(x);
    let (lesser, greater) = if op == ScalarOp::Min { (x, y) } else { (y, x) };
    let mask = b.ins().fcmp(FloatCC::LessThan, lesser, greater);
    let mask = as_type(b, ty, mask);
    b.ins().bitselect(mask, x, y)
}

/// The smaller or larger of `x` and a constant, which `c` holds, in fewer instructions than two variables take; none if
/// the constant does not allow that.
pub(super) fn extremum_with(b: &mut FunctionBuilder, op: ScalarOp, constant: Literal, c: &Group, x: &Group) -> Option<Group> {
    let value = constant.as_f64();
    if value.is_nan() || op == ScalarOp::Min && constant.is(-0.0) {
        return None;
    }
    let results = c.iter().zip(x).map(|(&c, &x)| {
        let result = better(b, op, c, x);
        // Of two zeros the comparison gives `x`, and -0 + 0 is 0.
        if op == ScalarOp::Max && constant.is(0.0) { b.ins().fadd(result, c) } else { result }
    });
    Some(results.collect())
}

/// `then` where `mask` is -1, else `otherwise`.
fn choose(b: &mut FunctionBuilder, target: &Target, ty: Type, mask: Value, then: Value, otherwise: Value) -> Value {
    if target.sse41 && cfg!(target_arch = "x86_64") {
        let int = ty.as_truthy_pedantic();
        let [mask, then, otherwise] = [mask, then, otherwise].map(|x| as_type(b, int, x));
        let chosen = b.ins().blendv(mask, then, otherwise);
        return as_type(b, ty, chosen);
    }
    let mask = as_type(b, ty, mask);
    b.ins().bitselect(mask, then, otherwise)
}

/// Masks of 64-bit lanes as one of 32-bit lanes; masks of 32-bit lanes as they are.
fn narrow_mask(b: &mut FunctionBuilder, masks: Group) -> Group {
    match masks.as_slice() {
        [low, high] => smallvec![shuffle_words(b, *low, *high, [0, 2, 4, 6])],
        _ => masks,
    }
}

/// A mask of 32-bit lanes for values that take `registers` registers.
fn widen_mask(b: &mut FunctionBuilder, mask: Value, registers: usize) -> Group {
    match registers {
        1 => smallvec![mask],
        _ => {
            let low = b.ins().swiden_low(mask);
            let high = b.ins().swiden_high(mask);
            smallvec![low, high]
        }
    }
}

/// Four 32-bit words of two registers: 0 to 3 are those of `x`, 4 to 7 those of `y`. The result is an `i32x4`.
fn shuffle_words(b: &mut FunctionBuilder, x: Value, y: Value, words: [u8; 4]) -> Value {
    let (x, y) = (as_type(b, types::I8X16, x), as_type(b, types::I8X16, y));
    let bytes: Vec<u8> = words.iter().flat_map(|w| (0..4).map(move |i| w * 4 + i)).collect();
    let mask = b.func.dfg.immediates.push(bytes.as_slice().into());
    let shuffled = b.ins().shuffle(x, y, mask);
    as_type(b, types::I32X4, shuffled)
}

/// The upper halves of the products of unsigned 32-bit lanes.
fn multiply_high(b: &mut FunctionBuilder, x: Value, y: Value) -> Value {
    let (xl, yl) = (b.ins().uwiden_low(x), b.ins().uwiden_low(y));
    let (xh, yh) = (b.ins().uwiden_high(x), b.ins().uwiden_high(y));
    let (low, high) = (b.ins().imul(xl, yl), b.ins().imul(xh, yh));
    shuffle_words(b, low, high, [1, 3, 5, 7])
}

fn cast(b: &mut FunctionBuilder, target: &Target, from: DType, to: DType, x: &Group) -> Group {
    let word = |d: DType| matches!(d, DType::I32 | DType::U32 | DType::U8 | DType::I8);
    let ones = |b: &mut FunctionBuilder, d: DType| literal(b, Literal::int(d, 1));
    match (from, to) {
        _ if from == to => x.clone(),
        (DType::F64, to) if is_half(to) => by_lanes(b, target, ScalarOp::Cast, from, to, &[x]),
        (_, to) if is_half(to) => {
            let single = cast(b, target, from, DType::F32, x);
            smallvec![half::round(b, to, single[0])]
        }
        (half, DType::F32) if is_half(half) => x.clone(),
        (half, to) if is_half(half) => cast(b, target, DType::F32, to, x),
        (DType::F32, DType::F64) => {
            let upper = shuffle_words(b, x[0], x[0], [2, 3, 2, 3]);
            let upper = as_type(b, types::F32X4, upper);
            smallvec![b.ins().fvpromote_low(x[0]), b.ins().fvpromote_low(upper)]
        }
        (DType::F64, DType::F32) => {
            let (low, high) = (b.ins().fvdemote(x[0]), b.ins().fvdemote(x[1]));
            let both = shuffle_words(b, low, high, [0, 1, 4, 5]);
            smallvec![as_type(b, types::F32X4, both)]
        }
        (DType::F32, DType::I32) => smallvec![b.ins().fcvt_to_sint_sat(types::I32X4, x[0])],
        (DType::I32 | DType::U8 | DType::I8, DType::F32) => smallvec![b.ins().fcvt_from_sint(types::F32X4, x[0])],
        (DType::I32 | DType::U8 | DType::I8, DType::F64) => {
            let (low, high) = (b.ins().swiden_low(x[0]), b.ins().swiden_high(x[0]));
            smallvec![b.ins().fcvt_from_sint(types::F64X2, low), b.ins().fcvt_from_sint(types::F64X2, high)]
        }
        (DType::U32, DType::F32) => smallvec![b.ins().fcvt_from_uint(types::F32X4, x[0])],
        (DType::I64, DType::F64) => x.iter().map(|&r| b.ins().fcvt_from_sint(types::F64X2, r)).collect(),
        (_, DType::Bool) => {
            let zero = literal(b, Literal::float(from, 0.0));
            let how = ScalarOp::Compare(igneous_ir::scalar::Compare::Ne);
            apply(b, target, how, from, DType::Bool, &[x, &zero], None)
        }
        (DType::Bool, _) => {
            let one = ones(b, to);
            let masks = widen_mask(b, x[0], one.len());
            let ty = registers(to).0;
            let lanes = one.iter().zip(masks);
            lanes
                .map(|(&one, mask)| {
                    let mask = as_type(b, ty, mask);
                    b.ins().band(one, mask)
                })
                .collect()
        }
        (f, t) if word(f) && word(t) => wrapped(b, t, x.clone()),
        (DType::I32 | DType::I8, DType::I64) => smallvec![b.ins().swiden_low(x[0]), b.ins().swiden_high(x[0])],
        (DType::U32 | DType::U8, DType::I64) => smallvec![b.ins().uwiden_low(x[0]), b.ins().uwiden_high(x[0])],
        (DType::I64, t) if word(t) => {
            let words = shuffle_words(b, x[0], x[1], [0, 2, 4, 6]);
            cast(b, target, DType::U32, t, &smallvec![words])
        }
        _ => by_lanes(b, target, ScalarOp::Cast, from, to, &[x]),
    }
}
