//! Memory: vectors of streams loaded and stored, whole or in part, and elements gathered into vectors.

use super::{Allocator, BASE, Elements, TAIL, TAIL_HALVES, TAIL_LONG, TAIL_WORD, TEMPORARY, stack};
use crate::cpu::strip::body::{Inst, Origin};
use crate::cpu::strip::encode::{Extra, Held, Mem, Op, RDI, RSI, Rm, Shown};
use crate::cpu::strip::table::*;
use smallvec::SmallVec;

impl Allocator<'_> {
    /// The place of the elements of a stream, or of the second half of pairs.
    pub fn place(&mut self, stream: u32, copy: u8, half: u8) -> Mem {
        let (size, step) = (self.body.streams[stream as usize].dtype.size(), self.body.streams[stream as usize].step());
        let base = self.layout.streams[stream as usize].unwrap_or_else(|| {
            let slot = self.body.streams[stream as usize].slot;
            self.code.load(TEMPORARY, Mem::at(RDI, 8 * slot as i32));
            TEMPORARY
        });
        let vectors = i32::from(copy) * step as i32 + i32::from(half);
        let disp = vectors * i32::from(self.body.lanes) * size as i32;
        Mem { index: Some((RSI, (size * step).trailing_zeros() as u8)), disp, ..Mem::at(base, 0) }
    }

    /// The mask of the elements of a stream that a partial vector has.
    fn tail(&self, stream: u32, half: u8) -> u8 {
        if self.body.streams[stream as usize].pair { TAIL_HALVES[half as usize] } else { TAIL }
    }

    pub(super) fn load(&mut self, inst: &Inst, copy: u8, stream: u32, half: u8) {
        let result = self.result(inst.to.expect("it has a result"), copy, &[]);
        let from = self.place(stream, copy, half);
        let (op, bytes) = (inst.op, inst.bytes);
        let partial = self.elements == Elements::Some;
        if partial && !self.body.wide {
            let (op, mask) = self.partial(op, &MASKED_LOAD_PS, &MASKED_LOAD_PD);
            let shown = [Shown::Vector(result, bytes), Shown::Vector(mask, bytes), Shown::Mem(from)];
            return self.code.vector(op, bytes, result, mask, Rm::Mem(from), Extra::default(), &shown);
        }
        let mask = self.tail(stream, half);
        let extra = if partial { Extra { mask, zeroing: true, imm: None } } else { Extra::default() };
        self.code.vector(op, bytes, result, 0, Rm::Mem(from), extra, &[Shown::Vector(result, bytes), Shown::Mem(from)]);
    }

    pub(super) fn gather(&mut self, inst: &Inst, copy: u8, origin: Origin) {
        if self.elements == Elements::Some {
            return self.gather_some(inst, copy, origin);
        }
        let at = match origin.step {
            0 => Some(self.distances_in_memory(inst, copy, origin)),
            _ => None,
        };
        let result = self.result(inst.to.expect("it has a result"), copy, &[]);
        self.release(inst, copy);
        let place = self.origin(origin, BASE);
        let Held::Bytes(size) = inst.op.memory else { unreachable!("a gather holds single elements") };
        let first = i32::from(copy) * i32::from(self.body.lanes);
        // One element after the other into the lanes of 16 bytes, which is faster than the instruction for all.
        let of = 16 / size;
        for lane in 0..self.body.lanes {
            let from = match at {
                Some(distances) => {
                    self.code.load(TEMPORARY, Mem { disp: distances.disp + 8 * i32::from(lane), ..distances });
                    Mem { index: Some((TEMPORARY, size.trailing_zeros() as u8)), ..place }
                }
                None => Mem { disp: (first + i32::from(lane)) * origin.step, ..place },
            };
            let to = if lane < of { result } else { self.part(result) };
            self.insert(to, from, size, lane % of);
            if to != result && lane % of == of - 1 {
                let (whole, imm) = (Shown::Vector(result, inst.bytes), lane / of);
                let extra = Extra { imm: Some(imm), ..Extra::default() };
                let shown = [whole, whole, Shown::Vector(to, 16), Shown::Number(imm.into())];
                self.code.vector(&INSERT_128, inst.bytes, result, result, Rm::Reg(to), extra, &shown);
            }
        }
        if let Some(distances) = at {
            self.free_spills.push(distances.disp as u32 / 64);
        }
    }

    /// Stores the distances of a gather on the stack.
    fn distances_in_memory(&mut self, inst: &Inst, copy: u8, origin: Origin) -> Mem {
        let place = self.operand(inst.args[0], inst.op, copy);
        let distances = self.register(place, inst.args[0], inst.op, origin.distances);
        let to = stack(self.free_spill());
        let shown = [Shown::Mem(to), Shown::Vector(distances, origin.distances)];
        self.code.vector(&STORE_PS, origin.distances, distances, 0, Rm::Mem(to), Extra::default(), &shown);
        to
    }

    /// A register for a part of a result, the same each time within an instruction.
    fn part(&mut self, result: u8) -> u8 {
        let free = (0..self.layout.free).rev().find(|&r| r != result && self.holders[0][r as usize].is_none());
        free.unwrap_or_else(|| self.take(0))
    }

    /// Loads one element into a lane of 16 bytes; the first one makes zeros of the others.
    fn insert(&mut self, to: u8, from: Mem, size: u8, lane: u8) {
        let part = Shown::Vector(to, 16);
        let (op, imm) = match (size, lane) {
            (4, 0) => (&LOAD_SS, None),
            (4, lane) => (&INSERT_PS, Some(lane << 4)),
            (_, 0) => (&LOAD_SD, None),
            _ => (&LOAD_HIGH_PD, None),
        };
        let mut shown: SmallVec<[Shown; 4]> = SmallVec::from_slice(&[part]);
        if lane > 0 {
            shown.push(part);
        }
        shown.push(Shown::Mem(from));
        shown.extend(imm.map(|n| Shown::Number(n.into())));
        let extra = Extra { imm, ..Extra::default() };
        self.code.vector(op, 16, to, if lane > 0 { to } else { 0 }, Rm::Mem(from), extra, &shown);
    }

    /// Where the elements of a gather are counted from, in a register.
    fn origin(&mut self, origin: Origin, register: u8) -> Mem {
        let base = Mem::at(RDI, 8 * origin.slot as i32);
        match origin.step {
            0 => self.code.load(register, base),
            step => {
                self.code.times(register, RSI, step);
                self.code.add_from(register, base);
            }
        }
        Mem::at(register, 0)
    }

    /// Gathers the elements that there are.
    fn gather_some(&mut self, inst: &Inst, copy: u8, origin: Origin) {
        let place = self.operand(inst.args[0], inst.op, copy);
        let distances = self.register(place, inst.args[0], inst.op, origin.distances);
        // The instruction clears its mask, and its result may not be in the register of the distances.
        let mask = self.take(1);
        let result = self.result(inst.to.expect("it has a result"), copy, &[]);
        self.release(inst, copy);
        self.code.masks("kmovw", 0x90, mask, None, TAIL);
        let whole = Shown::Vector(result, inst.bytes);
        self.code.vector(&XOR_PS, inst.bytes, result, result, Rm::Reg(result), Extra::default(), &[whole; 3]);
        let Held::Bytes(size) = inst.op.memory else { unreachable!("a gather holds single elements") };
        let from = Mem {
            index: Some((distances, size.trailing_zeros() as u8)),
            disp: i32::from(copy) * i32::from(self.body.lanes) * origin.step,
            gather: Some(origin.distances),
            ..self.origin(origin, TEMPORARY)
        };
        let extra = Extra { mask, ..Extra::default() };
        let bytes = inst.bytes.max(origin.distances);
        self.code.vector(inst.op, bytes, result, 0, Rm::Mem(from), extra, &[whole, Shown::Mem(from)]);
    }

    /// The instruction and mask for some elements where there are no mask registers.
    fn partial(&self, op: &Op, word: &'static Op, long: &'static Op) -> (&'static Op, u8) {
        if op.prefix == 0 { (word, TAIL_WORD) } else { (long, TAIL_LONG) }
    }

    pub(super) fn store(&mut self, inst: &Inst, copy: u8, stream: u32, half: u8) {
        let place = self.operand(inst.args[0], inst.op, copy);
        let (op, bytes) = (inst.op, inst.bytes);
        let register = self.register(place, inst.args[0], op, bytes);
        let to = self.place(stream, copy, half);
        let partial = self.elements == Elements::Some;
        self.release(inst, copy);
        let past = self.elements == Elements::AllPast && self.body.streams[stream as usize].past;
        let op = match past {
            true if op.prefix == 0 => &STREAM_PS,
            true => &STREAM_PD,
            false => op,
        };
        let mut shown: SmallVec<[Shown; 4]> = SmallVec::from_slice(&[Shown::Mem(to), Shown::Vector(register, bytes)]);
        if partial && !self.body.wide {
            let (op, mask) = self.partial(op, &MASKED_STORE_PS, &MASKED_STORE_PD);
            let shown = [shown[0], Shown::Vector(mask, bytes), shown[1]];
            return self.code.vector(op, bytes, register, mask, Rm::Mem(to), Extra::default(), &shown);
        }
        let mask = self.tail(stream, half);
        shown.extend(inst.imm.map(|n| Shown::Number(n.into())));
        let extra = Extra { mask: if partial { mask } else { 0 }, zeroing: false, imm: inst.imm };
        self.code.vector(op, bytes, register, 0, Rm::Mem(to), extra, &shown);
    }
}
