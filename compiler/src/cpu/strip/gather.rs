//! Elements that lie anywhere: at a constant distance from each other, or where indices say. For machines with mask registers.

use super::body::{Arg, Body, Class, Constant, Inst, Kind, Origin, class_of};
use super::table::*;
use igneous_ir::types::DType;
use smallvec::SmallVec;

/// No more vectors than this are computed together.
const COPIES: i64 = 4;

impl Body {
    /// Elements of a type, `step` elements from one index to the next. None: the distances are too long.
    pub fn gather_steps(&mut self, dtype: DType, slot: u32, step: i64) -> Option<Arg> {
        let size = dtype.size() as i64;
        let lanes = i64::from(self.lanes);
        step.checked_mul(size * lanes * COPIES).and_then(|bytes| i32::try_from(bytes).ok())?;
        let lanes = (0..lanes).map(|lane| u64::from((lane * step) as u32)).collect();
        let distances = self.pooled(Constant { lanes, element: 4 });
        let origin = Origin { slot, step: (step * size) as i32, distances: self.bytes(Class::Word) };
        Some(self.gather(dtype, origin, distances))
    }

    /// Elements of a type at 64-bit distances.
    pub fn gather_at(&mut self, dtype: DType, slot: u32, distances: Arg) -> Arg {
        let origin = Origin { slot, step: 0, distances: self.bytes(Class::Long) };
        self.gather(dtype, origin, distances)
    }

    fn gather(&mut self, dtype: DType, origin: Origin, distances: Arg) -> Arg {
        let class = class_of(dtype);
        let op = match (class, origin.distances == self.bytes(Class::Long)) {
            (Class::Long, false) => &GATHER_DPD,
            (Class::Long, true) => &GATHER_QPD,
            (_, false) => &GATHER_DPS,
            (_, true) => &GATHER_QPS,
        };
        let to = Arg::Value(self.value(class));
        let args = SmallVec::from_slice(&[distances]);
        self.push(Inst { op, kind: Kind::Gather(origin), bytes: self.bytes(class), to: Some(to), args, mask: None, imm: None });
        to
    }

    /// `x · factor` of 64-bit numbers.
    pub fn times(&mut self, x: Arg, factor: i64) -> Arg {
        match factor {
            1 => x,
            _ if factor > 0 && factor.count_ones() == 1 => {
                self.shifted(&SHL_Q_BY, 6, Class::Long, x, factor.trailing_zeros() as u8)
            }
            _ => {
                let factor = self.repeated(factor as u64, Class::Long);
                self.plain(&MUL_Q, Class::Long, &[x, factor])
            }
        }
    }
}
