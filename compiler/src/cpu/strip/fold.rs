//! Reductions of a row: the accumulators in registers, and the tree over them behind each chunk.

use super::body::{Arg, Body, Class, Fold, Inst, Kind, class_of};
use super::table::*;
use crate::cpu::lower::{combiner, neutral};
use igneous_ir::kernel::LANES;
use igneous_ir::op::ReduceKind;
use igneous_ir::scalar::ScalarOp;
use igneous_ir::types::DType;
use smallvec::SmallVec;

impl Body {
    /// Makes the body a reduction of `x` whose result goes to a slot of the table, which begins with the neutral number.
    /// None: the elements have no form here.
    pub fn reduce(&mut self, kind: ReduceKind, dtype: DType, x: Arg, slot: u32, chunked: bool) -> Option<()> {
        let class = class_of(dtype);
        if class == Class::Mask {
            return None;
        }
        let op = combiner(kind);
        // An extremum is the same in any order; twice the accumulators wait half as long for each other.
        let extremum = matches!(op, ScalarOp::Max | ScalarOp::Min);
        let registers = LANES as u8 / self.lanes * if self.wide && extremum { 2 } else { 1 };
        let next = self.apply(op, dtype, dtype, &[Arg::Accumulator(0), x], None)?;
        self.keep(class, next);
        let body = std::mem::take(&mut self.insts);

        let first = self.literal(neutral(kind, dtype));
        let broadcast = if class == Class::Long { &BROADCAST_PD } else { &BROADCAST_PS };
        let bytes = self.bytes(class);
        for a in 0..registers {
            let args = SmallVec::from_slice(&[first]);
            let to = Some(Arg::Accumulator(a));
            self.push(Inst { op: broadcast, kind: Kind::Plain, bytes, to, args, mask: None, imm: None });
        }
        let start = std::mem::take(&mut self.insts);

        let mut level: SmallVec<[Arg; 8]> = (0..registers).map(Arg::Accumulator).collect();
        while level.len() > 1 {
            let upper: SmallVec<[Arg; 4]> = level.drain(level.len() / 2..).collect();
            for (low, high) in level.iter_mut().zip(upper) {
                *low = self.apply(op, dtype, dtype, &[*low, high], None)?;
            }
        }
        let mut result = level[0];
        for (shuffle, imm) in self.swaps(class) {
            let swapped = self.coded(shuffle.0, class, &[result, result][..shuffle.1], imm);
            result = self.apply(op, dtype, dtype, &[result, swapped], None)?;
        }
        if chunked {
            result = self.apply(op, dtype, dtype, &[Arg::Slot(slot), result], None)?;
        }
        let store = if class == Class::Long { &STORE_Q } else { &STORE_D };
        let args = SmallVec::from_slice(&[result]);
        self.push(Inst { op: store, kind: Kind::Result(slot), bytes: 16, to: None, args, mask: None, imm: None });
        let finish = std::mem::replace(&mut self.insts, body);
        self.fold = Some(Fold { registers, start, finish, chunked });
        Some(())
    }

    /// Sets the accumulator.
    fn keep(&mut self, class: Class, value: Arg) {
        let op = if class == Class::Long { &MOVE_PD } else { &MOVE_PS };
        let bytes = self.bytes(class);
        let args = SmallVec::from_slice(&[value]);
        self.push(Inst { op, kind: Kind::Keep, bytes, to: None, args, mask: None, imm: None });
    }

    /// The instructions that exchange the halves of a register, then the quarters of each half, down to single lanes, and
    /// how many operands they have.
    fn swaps(&self, class: Class) -> Vec<((&'static super::encode::Op, usize), u8)> {
        let bytes = self.bytes(class);
        let mut swaps = Vec::new();
        match (bytes, self.wide) {
            (64, _) => swaps.extend([((&SHUFFLE_128, 2), 0x4e), ((&SHUFFLE_128, 2), 0xb1)]),
            (32, true) => swaps.push(((&SHUFFLE_128, 2), 0x01)),
            (32, false) => swaps.push(((&PERMUTE_128, 2), 0x01)),
            _ => {}
        }
        match class {
            Class::Long => swaps.push(((&SHUFFLE_PD, 2), 0x55)),
            _ => swaps.extend([((&SHUFFLE_D, 1), 0x4e), ((&SHUFFLE_D, 1), 0xb1)]),
        }
        swaps
    }

    /// The instructions for vectors that are whole: the accumulator is written by what makes its value, where that reads
    /// the accumulator no later than it writes.
    pub fn whole(&self) -> Vec<Inst> {
        let mut insts = self.insts.clone();
        if let [.., last, keep] = insts.as_mut_slice()
            && keep.kind == Kind::Keep
            && last.kind == Kind::Plain
            && last.to == Some(keep.args[0])
        {
            last.to = Some(Arg::Accumulator(0));
            insts.pop();
        }
        insts
    }
}
