//! Half types in strips: 16 bits in memory, the `f32` of the same value in registers.
//!
//! `bf16` is rounded by integer arithmetic: the instruction for it (AVX512_BF16) takes subnormal numbers for zeros, so it would
//! give other bits than machines without it.

use super::body::{Arg, Body, Class, Kind};
use super::encode::Op;
use super::table::*;
use igneous_ir::types::DType;

/// How a register of results is stored: the instruction, its operand, the bytes of that and an immediate.
pub(super) type Stored = (&'static Op, Arg, u8, Option<u8>);

/// The immediate of a conversion to `f16`: to nearest, ties to even.
const NEAREST: u8 = 0;

impl Body {
    /// The elements of a stream of a half type.
    pub fn load_half(&mut self, stream: u32, dtype: DType) -> Arg {
        if dtype == DType::F16 {
            return self.inst(&PS_OF_PH, Kind::Load(stream), Class::Word, &[]);
        }
        let bits = self.inst(&D_OF_W, Kind::Load(stream), Class::Word, &[]);
        self.shifted(&SHL_D_BY, 6, Class::Word, bits, 16)
    }

    /// Single-precision numbers rounded to a half type.
    pub fn rounded(&mut self, dtype: DType, x: Arg) -> Arg {
        let class = Class::Word;
        if dtype == DType::F16 {
            let bits = self.reversed(&PH_OF_PS, x, NEAREST);
            return self.plain(&PS_OF_PH, class, &[bits]);
        }
        let [one, most, digits, quiet] = [1, 0x7fff, 0xffff_0000, 0x0040_0000].map(|word| self.repeated(word, class));
        let odd = self.shifted(&SHR_D_BY, 2, class, x, 16);
        let odd = self.plain(&AND_PS, class, &[odd, one]);
        let up = self.plain(&ADD_D, class, &[x, most]);
        let up = self.plain(&ADD_D, class, &[up, odd]);
        let nan = self.compare_floats(3, class, x, x);
        let quiet = self.plain(&OR_PS, class, &[x, quiet]);
        let rounded = self.select(class, nan, quiet, up);
        self.plain(&AND_PS, class, &[rounded, digits])
    }

    /// How numbers of a half type are stored. Those of `f16` are rounded by that, if they are not.
    pub fn stored_half(&mut self, dtype: DType, x: Arg) -> Stored {
        let (class, bytes) = (Class::Word, self.bytes(Class::Word));
        if dtype == DType::F16 {
            return (&PH_OF_PS, x, bytes, Some(NEAREST));
        }
        let bits = self.shifted(&SHR_D_BY, 2, class, x, 16);
        if self.wide {
            return (&W_FROM_D, bits, bytes, None);
        }
        let upper = self.upper_half(bits);
        let packed = self.plain(&PACK_DW, class, &[bits, upper]);
        self.last().bytes = 16;
        (if self.lanes == 8 { &STORE_PS } else { &STORE_Q }, packed, 16, None)
    }

    /// The upper half of 32 bytes; 16 bytes as they are.
    pub fn upper_half(&mut self, x: Arg) -> Arg {
        if self.bytes(Class::Word) != 32 {
            return x;
        }
        self.reversed(&EXTRACT_128, x, 1)
    }

    fn reversed(&mut self, op: &'static Op, x: Arg, imm: u8) -> Arg {
        let to = self.inst(op, Kind::Reversed, Class::Word, &[x]);
        self.last().imm = Some(imm);
        to
    }
}
