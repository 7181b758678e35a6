//! From scalar operations to instructions on vectors.
//!
//! A `u8` is zero-extended to 32 bits, an `i8` sign-extended; a `bool` is a mask; a half type is an `f32`. Every operation gives the bits that
//! [`eval_op`](igneous_ir::scalar_eval::eval_op) gives, as the 128-bit form does.

use super::body::{Arg, Body, Class, Inst, Kind, V, class_of};
use super::encode::Op;
use super::half::Stored;
use super::table::*;
use crate::cpu::half::{is_half, rounds};
use crate::cpu::scalar::leaves_byte;
use igneous_ir::scalar::{Compare, ScalarOp};
use igneous_ir::types::{DType, Literal};
use smallvec::SmallVec;

/// The forms 132, 213 and 231 of a fused multiply-add.
pub(super) fn forms(op: &'static Op) -> [&'static Op; 3] {
    if op.element == 4 { [&FMA132_PS, &FMA213_PS, &FMA231_PS] } else { [&FMA132_PD, &FMA213_PD, &FMA231_PD] }
}

/// The bits of a literal as a lane of a register holds them.
pub(super) fn bits(literal: Literal) -> u64 {
    match literal.dtype() {
        DType::Bool => (-literal.as_i64()) as u64,
        DType::F64 => literal.as_f64().to_bits(),
        DType::F32 | DType::F16 | DType::BF16 => (literal.as_f64() as f32).to_bits().into(),
        _ => literal.as_i64() as u64,
    }
}

const ALL: u64 = u64::MAX;

impl Body {
    pub fn inst(&mut self, op: &'static Op, kind: Kind, class: Class, args: &[Arg]) -> Arg {
        let to = Arg::Value(self.value(class));
        let bytes = self.bytes(class);
        self.push(Inst { op, kind, bytes, to: Some(to), args: SmallVec::from_slice(args), mask: None, imm: None });
        to
    }

    pub fn last(&mut self) -> &mut Inst {
        self.insts.last_mut().expect("an instruction was just added")
    }

    /// `op(args)` on registers of a class.
    pub fn plain(&mut self, op: &'static Op, class: Class, args: &[Arg]) -> Arg {
        self.inst(op, Kind::Plain, class, args)
    }

    pub fn coded(&mut self, op: &'static Op, class: Class, args: &[Arg], imm: u8) -> Arg {
        let to = self.inst(op, Kind::Plain, class, args);
        self.last().imm = Some(imm);
        to
    }

    pub fn shifted(&mut self, op: &'static Op, digit: u8, class: Class, x: Arg, count: u8) -> Arg {
        let to = self.inst(op, Kind::Shift(digit), class, &[x]);
        self.last().imm = Some(count);
        to
    }

    /// A conversion; `wider` is the wider one of the two classes.
    pub fn converted(&mut self, op: &'static Op, to: Class, wider: Class, x: Arg) -> Arg {
        let bytes = self.bytes(wider);
        let to = self.inst(op, Kind::Plain, to, &[x]);
        self.last().bytes = bytes;
        to
    }

    /// `old` where `mask` is not set, `op(args)` where it is.
    fn merged(&mut self, op: &'static Op, class: Class, mask: V, old: Arg, args: &[Arg]) -> Arg {
        let all: SmallVec<[Arg; 3]> = [old].into_iter().chain(args.iter().copied()).collect();
        let to = self.inst(op, Kind::Merge, class, &all);
        self.last().mask = Some(mask);
        to
    }

    /// `op(args)` where `mask` is set, zeros else.
    fn zeroed(&mut self, op: &'static Op, class: Class, mask: V, args: &[Arg]) -> Arg {
        let to = self.inst(op, Kind::Plain, class, args);
        self.last().mask = Some(mask);
        to
    }

    /// An operation on two mask registers.
    fn masks(&mut self, opcode: u8, name: &'static str, args: &[Arg]) -> Arg {
        self.inst(&MOVE_PS, Kind::Masks(opcode, name), Class::Mask, args)
    }

    fn of(&self, class: Class, word: &'static Op, long: &'static Op) -> &'static Op {
        let long_lanes = class == Class::Long || class == Class::Mask && self.long();
        if long_lanes { long } else { word }
    }

    /// A constant in lanes of a class.
    pub fn repeated(&mut self, value: u64, class: Class) -> Arg {
        let long = class == Class::Long || class == Class::Mask && self.long();
        self.constant(value, if long { 8 } else { 4 })
    }

    fn float(&mut self, dtype: DType, value: f64) -> Arg {
        let element = dtype.compute().size() as u8;
        self.constant(bits(Literal::float(dtype, value)), element)
    }

    pub fn literal(&mut self, value: Literal) -> Arg {
        let class = class_of(value.dtype());
        let constant = self.repeated(bits(value), class);
        if class == Class::Mask { self.mask_of(constant) } else { constant }
    }

    /// A mask from lanes that are all ones or zero.
    pub fn mask_of(&mut self, lanes: Arg) -> Arg {
        if !self.wide {
            let op = self.of(Class::Mask, &OR_PS, &OR_PD);
            let zero = self.repeated(0, Class::Mask);
            return self.inst(op, Kind::Plain, Class::Mask, &[zero, lanes]);
        }
        let long = self.long();
        let class = if long { Class::Long } else { Class::Word };
        let ones = self.plain(self.of(class, &BROADCAST_PS, &BROADCAST_PD), class, &[lanes]);
        self.tested(class, ones)
    }

    /// The mask of lanes that are not zero.
    fn tested(&mut self, class: Class, x: Arg) -> Arg {
        let bytes = self.bytes(class);
        let to = self.plain(self.of(class, &TEST_D, &TEST_Q), Class::Mask, &[x, x]);
        self.last().bytes = bytes;
        to
    }

    fn mask_value(&self, mask: Arg) -> V {
        match mask {
            Arg::Value(v) => v,
            _ => unreachable!("masks are values"),
        }
    }

    /// `if mask { then } else { otherwise }` on lanes of a class.
    pub fn select(&mut self, class: Class, mask: Arg, then: Arg, otherwise: Arg) -> Arg {
        if self.wide {
            let mask = self.mask_value(mask);
            let to = self.plain(self.of(class, &BLENDM_PS, &BLENDM_PD), class, &[otherwise, then]);
            self.last().mask = Some(mask);
            return to;
        }
        let mask = self.lane_mask(mask, class);
        self.inst(self.of(class, &BLENDV_PS, &BLENDV_PD), Kind::Pick, class, &[otherwise, then, mask])
    }

    /// Without mask registers: a mask as lanes of a class.
    fn lane_mask(&mut self, mask: Arg, class: Class) -> Arg {
        if !self.long() || class != Class::Word { mask } else { self.halved(mask) }
    }

    /// The lower halves of 64-bit lanes in a register of 32 bytes.
    fn halved(&mut self, x: Arg) -> Arg {
        let upper = self.inst(&EXTRACT_128, Kind::Reversed, Class::Word, &[x]);
        (self.last().bytes, self.last().imm) = (32, Some(1));
        self.coded(&SHUFFLE_2D, Class::Word, &[x, upper], 0x88)
    }

    /// A mask from the result of a comparison, which without mask registers is in lanes of a class.
    fn mask_from(&mut self, lanes: Arg, class: Class) -> Arg {
        if !self.long() || class != Class::Word {
            return lanes;
        }
        self.converted(&Q_OF_D, Class::Mask, Class::Long, lanes)
    }

    /// A comparison instruction.
    fn compared(&mut self, op: &'static Op, class: Class, args: &[Arg], imm: Option<u8>) -> Arg {
        let bytes = self.bytes(class);
        if self.wide {
            let to = self.inst(op, Kind::Plain, Class::Mask, args);
            (self.last().bytes, self.last().imm) = (bytes, imm);
            return to;
        }
        let lanes = self.inst(op, Kind::Plain, class, args);
        (self.last().bytes, self.last().imm) = (bytes, imm);
        self.mask_from(lanes, class)
    }

    pub fn compare_floats(&mut self, code: u8, class: Class, x: Arg, y: Arg) -> Arg {
        self.compared(self.of(class, &CMP_PS, &CMP_PD), class, &[x, y], Some(code))
    }

    fn not_mask(&mut self, mask: Arg) -> Arg {
        if self.wide {
            return self.masks(0x44, "knotw", &[mask]);
        }
        let ones = self.repeated(ALL, Class::Mask);
        self.plain(self.of(Class::Mask, &XOR_PS, &XOR_PD), Class::Mask, &[mask, ones])
    }

    pub fn compare_ints(&mut self, how: Compare, dtype: DType, x: Arg, y: Arg) -> Arg {
        let class = class_of(dtype);
        if self.wide {
            let op = match dtype {
                DType::U32 => &CMP_UD,
                _ => self.of(class, &CMP_D, &CMP_Q),
            };
            let code = match how {
                Compare::Eq => 0,
                Compare::Lt => 1,
                Compare::Le => 2,
                Compare::Ne => 4,
                Compare::Ge => 5,
                Compare::Gt => 6,
            };
            return self.compared(op, class, &[x, y], Some(code));
        }
        let (x, y) = match (how, dtype) {
            (Compare::Eq | Compare::Ne, _) | (_, DType::I32 | DType::I64 | DType::U8 | DType::I8) => (x, y),
            // The order of unsigned numbers is that of signed ones with the upper bit turned.
            _ => {
                let sign = self.repeated(1 << 31, class);
                let turn = |b: &mut Body, v: Arg| b.plain(&XOR_PS, class, &[v, sign]);
                (turn(self, x), turn(self, y))
            }
        };
        let (equal, greater) = (self.of(class, &EQ_D, &EQ_Q), self.of(class, &GT_D, &GT_Q));
        match how {
            Compare::Eq => self.compared(equal, class, &[x, y], None),
            Compare::Gt => self.compared(greater, class, &[x, y], None),
            Compare::Lt => self.compared(greater, class, &[y, x], None),
            Compare::Ne | Compare::Le | Compare::Ge => {
                let opposite = match how {
                    Compare::Ne => self.compared(equal, class, &[x, y], None),
                    Compare::Le => self.compared(greater, class, &[x, y], None),
                    _ => self.compared(greater, class, &[y, x], None),
                };
                self.not_mask(opposite)
            }
        }
    }

    /// `op(args)`; `from` is the type of the first argument (of `then` for a selection), `dtype` that of the result.
    /// `count` is the count of a shift if it is a constant. None: the operation has no form here.
    pub fn apply(&mut self, op: ScalarOp, from: DType, dtype: DType, args: &[Arg], count: Option<u8>) -> Option<Arg> {
        let class = class_of(dtype);
        let result = match op {
            ScalarOp::Compare(how) if from == DType::Bool => return self.compare_masks(how, args),
            ScalarOp::Compare(how) if from.is_float() => self.compare_floats(float_code(how), class_of(from), args[0], args[1]),
            ScalarOp::Compare(how) => self.compare_ints(how, from, args[0], args[1]),
            ScalarOp::Cast => return self.cast(from, dtype, args[0]),
            ScalarOp::Bitcast if is_half(from) && from != dtype => return None,
            ScalarOp::Bitcast if dtype.size() == 1 => return self.cast(from, dtype, args[0]),
            ScalarOp::Bitcast => args[0],
            _ if dtype == DType::Bool => return self.logic(op, args),
            ScalarOp::Select => self.select(class, args[0], args[1], args[2]),
            _ if rounds(op, dtype) => {
                let exact = self.float_op(op, dtype, args)?;
                self.rounded(dtype, exact)
            }
            _ if dtype.is_float() => return self.float_op(op, dtype, args),
            _ => self.int_op(op, dtype, args, count)?,
        };
        Some(result)
    }

    fn float_op(&mut self, op: ScalarOp, dtype: DType, args: &[Arg]) -> Option<Arg> {
        let class = class_of(dtype);
        let of = |word, long| if class == Class::Long { long } else { word };
        let round = of(&ROUND_PS, &ROUND_PD);
        Some(match op {
            ScalarOp::Neg => {
                let sign = self.float(dtype, -0.0);
                self.plain(of(&XOR_PS, &XOR_PD), class, &[args[0], sign])
            }
            ScalarOp::Abs => {
                let magnitude = self.repeated(ALL >> if class == Class::Long { 1 } else { 33 }, class);
                self.plain(of(&AND_PS, &AND_PD), class, &[args[0], magnitude])
            }
            ScalarOp::Sqrt => self.plain(of(&SQRT_PS, &SQRT_PD), class, args),
            ScalarOp::Floor => self.coded(round, class, args, 9),
            ScalarOp::Ceil => self.coded(round, class, args, 10),
            ScalarOp::Round => self.coded(round, class, args, 8),
            ScalarOp::Trunc => self.coded(round, class, args, 11),
            ScalarOp::Add => self.plain(of(&ADD_PS, &ADD_PD), class, args),
            ScalarOp::Sub => self.plain(of(&SUB_PS, &SUB_PD), class, args),
            ScalarOp::Mul => self.plain(of(&MUL_PS, &MUL_PD), class, args),
            ScalarOp::Div => self.plain(of(&DIV_PS, &DIV_PD), class, args),
            ScalarOp::Fma => self.inst(of(&FMA213_PS, &FMA213_PD), Kind::Fma, class, args),
            ScalarOp::Min | ScalarOp::Max => self.extremum(op, class, args[0], args[1]),
            _ => return None,
        })
    }

    /// The smaller or larger of two; -0 is below 0, NaN if either is.
    fn extremum(&mut self, op: ScalarOp, class: Class, x: Arg, y: Arg) -> Arg {
        let of = |word, long| if class == Class::Long { long } else { word };
        let least = op == ScalarOp::Min;
        let unordered = |b: &mut Body| b.compare_floats(3, class, x, y);
        if self.wide {
            // The instruction knows the order of zeros, but of a NaN and a number it gives the number.
            let number = self.coded(of(&RANGE_PS, &RANGE_PD), class, &[x, y], if least { 4 } else { 5 });
            let nan = unordered(self);
            let nan = self.mask_value(nan);
            return self.merged(of(&ADD_PS, &ADD_PD), class, nan, number, &[x, y]);
        }
        // Of equal zeros and of NaN the instruction gives the second operand: both orders have all that is needed.
        let pick = if least { of(&MIN_PS, &MIN_PD) } else { of(&MAX_PS, &MAX_PD) };
        let (first, second) = (self.plain(pick, class, &[x, y]), self.plain(pick, class, &[y, x]));
        if least {
            return self.plain(of(&OR_PS, &OR_PD), class, &[first, second]);
        }
        let both = self.plain(of(&AND_PS, &AND_PD), class, &[first, second]);
        // A comparison of its own: as lanes, not as a mask.
        let nan = self.coded(of(&CMP_PS, &CMP_PD), class, &[x, y], 3);
        self.plain(of(&OR_PS, &OR_PD), class, &[both, nan])
    }

    /// The smaller or larger of `x` and a constant in one instruction or two; none if the constant does not allow that.
    pub fn extremum_with(&mut self, op: ScalarOp, constant: Literal, x: Arg) -> Option<Arg> {
        let class = class_of(constant.dtype());
        let of = |word, long| if class == Class::Long { long } else { word };
        let value = constant.as_f64();
        if value.is_nan() || op == ScalarOp::Min && constant.is(-0.0) {
            return None;
        }
        let c = self.literal(constant);
        let pick = if op == ScalarOp::Min { of(&MIN_PS, &MIN_PD) } else { of(&MAX_PS, &MAX_PD) };
        let result = self.plain(pick, class, &[c, x]);
        // Of two zeros the instruction gives `x`, and -0 + 0 is 0.
        let zero = op == ScalarOp::Max && constant.is(0.0);
        Some(if zero { self.plain(of(&ADD_PS, &ADD_PD), class, &[result, c]) } else { result })
    }

    fn int_op(&mut self, op: ScalarOp, dtype: DType, args: &[Arg], count: Option<u8>) -> Option<Arg> {
        let class = class_of(dtype);
        let of = |word, long| if class == Class::Long { long } else { word };
        let unsigned = matches!(dtype, DType::U32 | DType::U8);
        // What AVX2 lacks for 64-bit lanes.
        let lacks = !self.wide && class == Class::Long;
        let result = match op {
            ScalarOp::Neg => {
                let zero = self.repeated(0, class);
                self.plain(of(&SUB_D, &SUB_Q), class, &[zero, args[0]])
            }
            ScalarOp::Abs if unsigned => args[0],
            ScalarOp::Abs if lacks => {
                let zero = self.repeated(0, class);
                let negated = self.plain(&SUB_Q, class, &[zero, args[0]]);
                self.inst(&BLENDV_PD, Kind::Pick, class, &[args[0], negated, args[0]])
            }
            ScalarOp::Abs => self.plain(of(&ABS_D, &ABS_Q), class, args),
            ScalarOp::Not => {
                let ones = self.repeated(ALL, class);
                self.plain(of(&XOR_PS, &XOR_PD), class, &[args[0], ones])
            }
            ScalarOp::Add => self.plain(of(&ADD_D, &ADD_Q), class, args),
            ScalarOp::Sub => self.plain(of(&SUB_D, &SUB_Q), class, args),
            ScalarOp::Mul => self.product(class, args[0], args[1]),
            ScalarOp::Fma => {
                let product = self.product(class, args[0], args[1]);
                self.plain(of(&ADD_D, &ADD_Q), class, &[product, args[2]])
            }
            ScalarOp::Min | ScalarOp::Max if lacks => {
                let (x, y) = if op == ScalarOp::Min { (args[1], args[0]) } else { (args[0], args[1]) };
                let greater = self.plain(&GT_Q, class, &[x, y]);
                self.inst(&BLENDV_PD, Kind::Pick, class, &[args[1], args[0], greater])
            }
            ScalarOp::Min if unsigned => self.plain(&MIN_UD, class, args),
            ScalarOp::Max if unsigned => self.plain(&MAX_UD, class, args),
            ScalarOp::Min => self.plain(of(&MIN_SD, &MIN_SQ), class, args),
            ScalarOp::Max => self.plain(of(&MAX_SD, &MAX_SQ), class, args),
            ScalarOp::And => self.plain(of(&AND_PS, &AND_PD), class, args),
            ScalarOp::Or => self.plain(of(&OR_PS, &OR_PD), class, args),
            ScalarOp::Xor => self.plain(of(&XOR_PS, &XOR_PD), class, args),
            ScalarOp::Shl => match count {
                Some(n) => self.shifted(of(&SHL_D_BY, &SHL_Q_BY), 6, class, args[0], n),
                None => self.plain(of(&SHL_D, &SHL_Q), class, args),
            },
            ScalarOp::Shr if unsigned => match count {
                Some(n) => self.shifted(of(&SHR_D_BY, &SHR_Q_BY), 2, class, args[0], n),
                None => self.plain(of(&SHR_D, &SHR_Q), class, args),
            },
            ScalarOp::Shr if lacks => return None,
            ScalarOp::Shr => match count {
                Some(n) => self.shifted(of(&SAR_D_BY, &SAR_Q_BY), 4, class, args[0], n),
                None => self.plain(of(&SAR_D, &SAR_Q), class, args),
            },
            ScalarOp::MulHi => self.high_product(args[0], args[1]),
            _ => return None,
        };
        Some(if leaves_byte(op) { self.wrapped(dtype, result) } else { result })
    }

    /// The low bytes of 32-bit lanes as values of type `u8` or `i8`; of another type the lanes as they are.
    fn wrapped(&mut self, dtype: DType, x: Arg) -> Arg {
        match dtype {
            DType::U8 => self.low_byte(x),
            DType::I8 => {
                let upper = self.shifted(&SHL_D_BY, 6, Class::Word, x, 24);
                self.shifted(&SAR_D_BY, 4, Class::Word, upper, 24)
            }
            _ => x,
        }
    }

    fn low_byte(&mut self, x: Arg) -> Arg {
        let byte = self.repeated(0xff, Class::Word);
        self.plain(&AND_PS, Class::Word, &[x, byte])
    }

    fn product(&mut self, class: Class, x: Arg, y: Arg) -> Arg {
        if class == Class::Word {
            return self.plain(&MUL_D, class, &[x, y]);
        }
        if self.wide {
            return self.plain(&MUL_Q, class, &[x, y]);
        }
        // (xh·2³² + xl)(yh·2³² + yl) = xl·yl + (xh·yl + xl·yh)·2³², modulo 2⁶⁴.
        let xh = self.shifted(&SHR_Q_BY, 2, class, x, 32);
        let yh = self.shifted(&SHR_Q_BY, 2, class, y, 32);
        let (a, b) = (self.plain(&MULU_DQ, class, &[xh, y]), self.plain(&MULU_DQ, class, &[x, yh]));
        let upper = self.plain(&ADD_Q, class, &[a, b]);
        let upper = self.shifted(&SHL_Q_BY, 6, class, upper, 32);
        let lower = self.plain(&MULU_DQ, class, &[x, y]);
        self.plain(&ADD_Q, class, &[upper, lower])
    }

    /// A number that is the same for all elements as a value.
    pub fn spread(&mut self, class: Class, x: Arg) -> Arg {
        match x {
            Arg::Value(_) => x,
            same => self.plain(self.of(class, &BROADCAST_PS, &BROADCAST_PD), class, &[same]),
        }
    }

    /// The upper halves of the products of unsigned 32-bit lanes.
    fn high_product(&mut self, x: Arg, y: Arg) -> Arg {
        let class = Class::Word;
        let (x, y) = (self.spread(class, x), self.spread(class, y));
        let even = self.plain(&MULU_DQ, class, &[x, y]);
        let xo = self.shifted(&SHR_Q_BY, 2, class, x, 32);
        let yo = self.shifted(&SHR_Q_BY, 2, class, y, 32);
        let odd = self.plain(&MULU_DQ, class, &[xo, yo]);
        let even = self.shifted(&SHR_Q_BY, 2, class, even, 32);
        let upper = self.pairs(0xffff_ffff_0000_0000);
        let odd = self.plain(&AND_PS, class, &[odd, upper]);
        self.plain(&OR_PS, class, &[even, odd])
    }

    /// A constant of 64 bits repeated in a register of 32-bit lanes.
    fn pairs(&mut self, bits: u64) -> Arg {
        let ones = self.constant(bits, 8);
        let to = self.plain(&BROADCAST_PD, Class::Word, &[ones]);
        if self.last().bytes == 16 {
            self.last().op = &BROADCAST_Q;
        }
        to
    }

    fn compare_masks(&mut self, how: Compare, args: &[Arg]) -> Option<Arg> {
        let different = self.logic(ScalarOp::Xor, args)?;
        match how {
            Compare::Ne => Some(different),
            Compare::Eq => Some(self.not_mask(different)),
            _ => None,
        }
    }

    /// Operations on masks.
    fn logic(&mut self, op: ScalarOp, args: &[Arg]) -> Option<Arg> {
        let (wide, long) = (self.wide, self.long());
        let two = |b: &mut Body, opcode, name, ps, pd, args: &[Arg]| {
            if wide { b.masks(opcode, name, args) } else { b.plain(if long { pd } else { ps }, Class::Mask, args) }
        };
        Some(match op {
            ScalarOp::Not => self.not_mask(args[0]),
            ScalarOp::And | ScalarOp::Min | ScalarOp::Mul => two(self, 0x41, "kandw", &AND_PS, &AND_PD, args),
            ScalarOp::Or | ScalarOp::Max | ScalarOp::Add => two(self, 0x45, "korw", &OR_PS, &OR_PD, args),
            ScalarOp::Xor => two(self, 0x47, "kxorw", &XOR_PS, &XOR_PD, args),
            ScalarOp::Select => {
                let then = two(self, 0x41, "kandw", &AND_PS, &AND_PD, &[args[0], args[1]]);
                let otherwise = two(self, 0x42, "kandnw", &ANDN_PS, &ANDN_PD, &[args[0], args[2]]);
                two(self, 0x45, "korw", &OR_PS, &OR_PD, &[then, otherwise])
            }
            _ => return None,
        })
    }

    fn cast(&mut self, from: DType, to: DType, x: Arg) -> Option<Arg> {
        use DType::{BF16, Bool, F16, F32, F64, I8, I32, I64, U8, U32};
        let (word, long) = (Class::Word, Class::Long);
        Some(match (from, to) {
            _ if from == to => x,
            (F64, F16 | BF16) => return None,
            (_, F16 | BF16) => {
                let single = self.cast(from, F32, x)?;
                self.rounded(to, single)
            }
            (F16 | BF16, F32) => x,
            (F16 | BF16, _) => return self.cast(F32, to, x),
            (F32 | F64, Bool) => {
                let zero = self.float(from, 0.0);
                self.compare_floats(4, class_of(from), x, zero)
            }
            (_, Bool) => {
                let class = class_of(from);
                if self.wide {
                    return Some(self.tested(class, x));
                }
                let zero = self.repeated(0, class);
                let equal = self.compared(self.of(class, &EQ_D, &EQ_Q), class, &[x, zero], None);
                self.not_mask(equal)
            }
            (Bool, _) => {
                let class = class_of(to);
                let one = self.literal(Literal::float(to, 1.0));
                if self.wide {
                    let mask = self.mask_value(x);
                    return Some(self.zeroed(self.of(class, &BROADCAST_PS, &BROADCAST_PD), class, mask, &[one]));
                }
                let lanes = self.lane_mask(x, class);
                self.plain(self.of(class, &AND_PS, &AND_PD), class, &[lanes, one])
            }
            (F32, F64) => self.converted(&PD_OF_PS, long, long, x),
            (F64, F32) => self.converted(&PS_OF_PD, word, long, x),
            (I32 | U8 | I8, F32) => self.plain(&PS_OF_D, word, &[x]),
            (I32 | U8 | I8, F64) => self.converted(&PD_OF_D, long, long, x),
            (I32 | I8, I64) => self.converted(&Q_OF_D, long, long, x),
            (U32 | U8, I64) => self.converted(&Q_OF_UD, long, long, x),
            (I64, I32 | U32) => self.low_halves(x),
            (I64, U8 | I8) => {
                let low = self.low_halves(x);
                self.wrapped(to, low)
            }
            (I32 | U32 | U8 | I8, I32 | U32 | U8 | I8) => self.wrapped(to, x),
            (F32 | F64, U8 | I8) => {
                let (least, most) = to.int_limits();
                let (least, most) = (self.float(from, least as f64), self.float(from, most as f64));
                let class = class_of(from);
                let of = |word, long| if class == Class::Long { long } else { word };
                let x = if to == I8 {
                    let number = self.compare_floats(7, class, x, x);
                    let zero = self.float(from, 0.0);
                    self.select(class, number, x, zero)
                } else {
                    x
                };
                // Of NaN and 0 the instruction gives the second operand.
                let x = self.plain(of(&MAX_PS, &MAX_PD), class, &[x, least]);
                let x = self.plain(of(&MIN_PS, &MIN_PD), class, &[x, most]);
                match class {
                    Class::Long => self.converted(&D_OF_PD, word, long, x),
                    _ => self.plain(&D_OF_PS, word, &[x]),
                }
            }
            _ if !self.wide => return None,
            (U32, F32) => self.plain(&PS_OF_UD, word, &[x]),
            (U32, F64) => self.converted(&PD_OF_UD, long, long, x),
            (I64, F64) => self.plain(&PD_OF_Q, long, &[x]),
            (I64, F32) => self.converted(&PS_OF_Q, word, long, x),
            (F32 | F64, U32) => {
                let class = class_of(from);
                let zero = self.float(from, 0.0);
                let x = self.plain(self.of(class, &MAX_PS, &MAX_PD), class, &[x, zero]);
                match class {
                    Class::Long => self.converted(&UD_OF_PD, word, long, x),
                    _ => self.plain(&UD_OF_PS, word, &[x]),
                }
            }
            (F32 | F64, I32 | I64) => {
                let (source, result) = (class_of(from), class_of(to));
                let wider = if source == Class::Long || result == Class::Long { long } else { word };
                let op = match (from, to) {
                    (F32, I32) => &D_OF_PS,
                    (F64, I32) => &D_OF_PD,
                    (F32, _) => &Q_OF_PS,
                    _ => &Q_OF_PD,
                };
                // Where the number does not fit the instruction gives the smallest one; NaN is 0.
                let number = self.compare_floats(7, source, x, x);
                let number = self.mask_value(number);
                let bytes = self.bytes(wider);
                let small = self.zeroed(op, result, number, &[x]);
                self.last().bytes = bytes;
                let limit = self.float(from, if to == I32 { 2f64.powi(31) } else { 2f64.powi(63) });
                let above = self.compare_floats(0x1d, source, x, limit);
                let above = self.mask_value(above);
                let most = self.repeated(if to == I32 { i32::MAX as u64 } else { i64::MAX as u64 }, result);
                self.merged(self.of(result, &BROADCAST_PS, &BROADCAST_PD), result, above, small, &[most])
            }
            _ => return None,
        })
    }

    fn low_halves(&mut self, x: Arg) -> Arg {
        if !self.wide {
            return self.halved(x);
        }
        let bytes = self.bytes(Class::Long);
        let to = self.inst(&D_FROM_Q, Kind::Reversed, Class::Word, &[x]);
        self.last().bytes = bytes;
        to
    }

    /// The index of each element.
    pub fn index(&mut self) -> Arg {
        let start = self.inst(&BROADCAST_Q_OF, Kind::Index, Class::Long, &[]);
        self.plain(&ADD_Q, Class::Long, &[start, Arg::Lanes])
    }

    /// The elements of a stream.
    pub fn load(&mut self, stream: u32) -> Arg {
        let dtype = self.streams[stream as usize].dtype;
        if is_half(dtype) {
            return self.load_half(stream, dtype);
        }
        let class = class_of(dtype);
        let op = match dtype {
            DType::U8 | DType::Bool => &D_OF_B,
            DType::I8 => &D_OF_SB,
            _ => self.of(class, &LOAD_PS, &LOAD_PD),
        };
        if dtype != DType::Bool {
            return self.inst(op, Kind::Load(stream), class, &[]);
        }
        let bytes = self.inst(op, Kind::Load(stream), Class::Word, &[]);
        if self.wide {
            return self.tested(Class::Word, bytes);
        }
        let zero = self.repeated(0, Class::Word);
        let equal = self.compared(&EQ_D, Class::Word, &[bytes, zero], None);
        self.not_mask(equal)
    }

    /// Stores to a stream.
    pub fn store(&mut self, stream: u32, x: Arg) {
        let dtype = self.streams[stream as usize].dtype;
        let x = self.spread(class_of(dtype), x);
        let x = if dtype == DType::Bool { self.cast(DType::Bool, DType::U8, x).expect("0 and 1 are bytes") } else { x };
        let class = if dtype == DType::Bool { Class::Word } else { class_of(dtype) };
        let bytes = self.bytes(class);
        let (op, x, bytes, imm): Stored = match dtype {
            _ if is_half(dtype) => self.stored_half(dtype, x),
            DType::U8 | DType::I8 | DType::Bool if self.wide => (&B_FROM_D, x, bytes, None),
            DType::U8 | DType::I8 | DType::Bool => {
                // Narrowing keeps numbers from 0 to 255.
                let x = if dtype == DType::I8 { self.low_byte(x) } else { x };
                let upper = self.upper_half(x);
                let halves = self.plain(&PACK_DW, Class::Word, &[x, upper]);
                self.last().bytes = 16;
                let packed = self.plain(&PACK_WB, Class::Word, &[halves, halves]);
                self.last().bytes = 16;
                (if self.lanes == 8 { &STORE_Q } else { &STORE_D }, packed, 16, None)
            }
            _ => (self.of(class, &STORE_PS, &STORE_PD), x, bytes, None),
        };
        self.push(Inst { op, kind: Kind::Store(stream), bytes, to: None, args: SmallVec::from_slice(&[x]), mask: None, imm });
    }
}

/// The code of a comparison of floats: ordered but for `Ne`, quiet.
fn float_code(how: Compare) -> u8 {
    match how {
        Compare::Eq => 0,
        Compare::Ne => 4,
        Compare::Lt => 0x11,
        Compare::Le => 0x12,
        Compare::Gt => 0x1e,
        Compare::Ge => 0x1d,
    }
}
