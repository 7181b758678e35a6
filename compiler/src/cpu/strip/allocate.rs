//! Registers for straight-line code: values take a free register, or that of the value whose next use is farthest away,
//! which then lives on the stack. Constants stay in memory unless an instruction wants a register or one is to spare.

mod memory;

use super::body::{Arg, Body, Class, Inst, Kind, Stream, V};
use super::encode::{Code, Extra, Held, Mem, Op, RDI, RSI, RSP, Rm, Shown};
use super::select::forms;
use super::table::*;
use smallvec::SmallVec;
use std::collections::HashMap;

/// The register that points to the constants.
pub(super) const POOL: u8 = 11;
/// The mask of the elements that a last, partial vector has.
pub(super) const TAIL: u8 = 7;
/// Those of the two halves of the pairs that it has.
pub(super) const TAIL_HALVES: [u8; 2] = [5, 6];
/// The same without mask registers: for 32-bit and for 64-bit lanes.
pub(super) const TAIL_WORD: u8 = 15;
pub(super) const TAIL_LONG: u8 = 14;
/// A general register for addresses.
const TEMPORARY: u8 = super::encode::RCX;
/// Another one, while all elements of a vector are done.
const BASE: u8 = super::encode::RAX;
/// Never used again.
const NEVER: u32 = u32::MAX;

/// Where things lie that all code of a strip uses.
pub(super) struct Layout {
    /// The offset of each constant from [`POOL`].
    pub pool: Vec<i32>,
    /// The offsets of the constants 0, 1, 2, … of each copy of the body.
    pub lanes: Vec<i32>,
    /// The same in 32 bits and in 64 bits, for the masks of partial vectors where there are no mask registers.
    pub tails: Vec<(i32, i32)>,
    /// What stays in a register throughout.
    pub pinned: HashMap<Arg, u8>,
    /// The register of each stream's address; none: it is loaded from the table each time.
    pub streams: Vec<Option<u8>>,
    /// The registers of the accumulators.
    pub accumulators: Vec<u8>,
    /// How many vector registers values may take, from 0 on, less the pinned ones.
    pub free: u8,
}

/// Which elements of a vector there are.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Elements {
    All,
    /// All, and what may be stored past the caches is: it is aligned, and nothing else.
    AllPast,
    /// Those of the mask [`TAIL`].
    Some,
}

#[derive(Clone, Copy, Default)]
struct Home {
    register: Option<u8>,
    /// Its place on the stack, if it was stored there.
    spilled: Option<u32>,
}

/// Emits a sequence of instructions.
pub(super) struct Allocator<'a> {
    body: &'a Body,
    insts: &'a [Inst],
    layout: &'a Layout,
    code: &'a mut Code,
    elements: Elements,
    /// Who is in each register; the second row is that of masks.
    holders: [[Option<V>; 32]; 2],
    homes: Vec<Home>,
    next: Vec<u32>,
    /// Registers that the current instruction uses.
    locked: [u32; 2],
    free_spills: Vec<u32>,
    /// The most values that were on the stack at once.
    pub spills: u32,
}

/// A step of a sequence: an instruction of the body, for one of the vectors that are computed together.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub inst: u32,
    pub copy: u8,
}

impl<'a> Allocator<'a> {
    /// For up to `copies` vectors at once. The steps are of `insts`.
    pub fn new(
        body: &'a Body,
        insts: &'a [Inst],
        layout: &'a Layout,
        code: &'a mut Code,
        elements: Elements,
        copies: u8,
    ) -> Allocator<'a> {
        let values = body.classes.len() * copies as usize;
        Allocator {
            body,
            insts,
            layout,
            code,
            elements,
            holders: [[None; 32]; 2],
            homes: vec![Home::default(); values],
            next: vec![NEVER; values],
            locked: [0; 2],
            free_spills: Vec::new(),
            spills: 0,
        }
    }

    /// Emits the steps.
    pub fn run(&mut self, steps: &[Step]) {
        let insts = self.insts;
        let mut uses: Vec<SmallVec<[u32; 4]>> = Vec::with_capacity(steps.len());
        for (position, step) in steps.iter().enumerate().rev() {
            let mut after = SmallVec::new();
            for v in values_of(&insts[step.inst as usize]) {
                let v = self.renamed(v, step.copy) as usize;
                after.push(std::mem::replace(&mut self.next[v], position as u32));
            }
            uses.push(after);
        }
        for (step, after) in steps.iter().zip(uses.iter().rev()) {
            let inst = &insts[step.inst as usize];
            // A value that is used twice here was asked twice before; the first answer is what comes after this step.
            let seen: SmallVec<[(V, u32); 4]> = values_of(inst).zip(after.iter().copied()).collect();
            for &(v, after) in seen.iter().rev() {
                let v = self.renamed(v, step.copy) as usize;
                self.next[v] = after;
            }
            self.step(inst, step.copy);
        }
    }

    fn renamed(&self, v: V, copy: u8) -> V {
        v + u32::from(copy) * self.body.classes.len() as u32
    }

    fn class(&self, v: V) -> Class {
        self.body.classes[v as usize % self.body.classes.len()]
    }

    /// The row of `holders` and `locked`.
    fn bank(&self, v: V) -> usize {
        usize::from(self.body.wide && self.class(v) == Class::Mask)
    }

    fn bytes(&self, v: V) -> u8 {
        self.body.bytes(self.class(v))
    }

    fn lock(&mut self, bank: usize, register: u8) {
        self.locked[bank] |= 1 << register;
    }

    /// A register that nothing needs now.
    fn take(&mut self, bank: usize) -> u8 {
        let range = if bank == 1 { 1..first_reserved(self.body) } else { 0..self.layout.free };
        let usable = |a: &Self, r: u8| a.locked[bank] & 1 << r == 0;
        let empty = range.clone().find(|&r| self.holders[bank][r as usize].is_none() && usable(self, r));
        let register = empty.unwrap_or_else(|| {
            let held = range.filter(|&r| usable(self, r));
            let farthest = held.max_by_key(|&r| self.holders[bank][r as usize].map_or(0, |v| self.next[v as usize]));
            let register = farthest.expect("an instruction uses few registers");
            self.evict(bank, register);
            register
        });
        self.lock(bank, register);
        register
    }

    fn free_spill(&mut self) -> u32 {
        self.free_spills.pop().unwrap_or_else(|| {
            self.spills += 1;
            self.spills - 1
        })
    }

    fn evict(&mut self, bank: usize, register: u8) {
        let Some(v) = self.holders[bank][register as usize].take() else { return };
        self.homes[v as usize].register = None;
        if self.homes[v as usize].spilled.is_none() {
            let slot = self.free_spill();
            self.homes[v as usize].spilled = Some(slot);
            let to = stack(slot);
            if bank == 1 {
                self.code.mask_store(register, to);
            } else {
                let bytes = self.bytes(v);
                let shown = [Shown::Mem(to), Shown::Vector(register, bytes)];
                self.code.vector(&STORE_PS, bytes, register, 0, Rm::Mem(to), Extra::default(), &shown);
            }
        }
    }

    /// The register of a value, loaded from the stack if it is there.
    fn fetch(&mut self, v: V) -> u8 {
        let bank = self.bank(v);
        if let Some(register) = self.homes[v as usize].register {
            self.lock(bank, register);
            return register;
        }
        let register = self.take(bank);
        let from = stack(self.homes[v as usize].spilled.expect("a value is in a register or on the stack"));
        if bank == 1 {
            self.code.mask_load(register, from);
        } else {
            let bytes = self.bytes(v);
            self.move_from(bytes, register, from);
        }
        self.hold(bank, register, v);
        register
    }

    fn move_from(&mut self, bytes: u8, register: u8, from: Mem) {
        let shown = [Shown::Vector(register, bytes), Shown::Mem(from)];
        self.code.vector(&LOAD_PS, bytes, register, 0, Rm::Mem(from), Extra::default(), &shown);
    }

    fn hold(&mut self, bank: usize, register: u8, v: V) {
        self.holders[bank][register as usize] = Some(v);
        self.homes[v as usize].register = Some(register);
    }

    /// Frees the registers of the values of an instruction that nothing needs any more; they stay locked.
    fn release(&mut self, inst: &Inst, copy: u8) {
        for v in values_of(inst) {
            let v = self.renamed(v, copy);
            if self.next[v as usize] != NEVER {
                continue;
            }
            let bank = self.bank(v);
            let home = std::mem::take(&mut self.homes[v as usize]);
            if let Some(register) = home.register {
                self.holders[bank][register as usize] = None;
            }
            self.free_spills.extend(home.spilled);
        }
    }

    /// A register for the result. It may be one of `dying`, which the instruction reads before it writes.
    fn result(&mut self, to: Arg, copy: u8, dying: &[u8]) -> u8 {
        match to {
            Arg::Accumulator(a) => self.accumulator(a, copy),
            Arg::Value(v) => {
                let v = self.renamed(v, copy);
                let bank = self.bank(v);
                let free = dying.iter().copied().find(|&r| bank == 0 && self.holders[0][r as usize].is_none());
                let register = free.unwrap_or_else(|| self.take(bank));
                self.hold(bank, register, v);
                register
            }
            _ => unreachable!("results are values or accumulators"),
        }
    }

    fn accumulator(&self, a: u8, copy: u8) -> u8 {
        let all = &self.layout.accumulators;
        all[(a + copy) as usize % all.len()]
    }

    /// An operand as it is: a register, or a place in memory.
    fn operand(&mut self, arg: Arg, op: &Op, copy: u8) -> Rm {
        match arg {
            Arg::Value(v) => Rm::Reg(self.fetch(self.renamed(v, copy))),
            Arg::Accumulator(a) => Rm::Reg(self.accumulator(a, copy)),
            _ if let Some(&register) = self.layout.pinned.get(&arg) => Rm::Reg(register),
            Arg::Pool(i) => {
                let repeat = self.body.wide && self.body.pool[i as usize].lanes.len() == 1 && op.element > 0;
                Rm::Mem(Mem { repeat, ..Mem::at(POOL, self.layout.pool[i as usize]) })
            }
            Arg::Slot(i) => Rm::Mem(Mem { repeat: op.element > 0, ..Mem::at(RDI, 8 * i as i32) }),
            Arg::Lanes => Rm::Mem(Mem::at(POOL, self.layout.lanes[copy as usize])),
        }
    }

    /// An operand that is in a register.
    fn register(&mut self, rm: Rm, arg: Arg, op: &Op, bytes: u8) -> u8 {
        let from = match rm {
            Rm::Reg(register) => return register,
            Rm::Mem(from) => Mem { repeat: false, ..from },
        };
        let register = self.take(0);
        // Nobody holds it, but it stays locked until the instruction is done.
        self.materialize(register, arg, op.element, bytes, from);
        register
    }

    /// Loads a constant or a number from the table into all lanes of a register.
    pub fn materialize(&mut self, register: u8, arg: Arg, element: u8, bytes: u8, from: Mem) {
        let (whole, element) = match arg {
            Arg::Pool(i) => {
                let constant = &self.body.pool[i as usize];
                (!self.body.wide || constant.lanes.len() > 1, constant.element)
            }
            _ => (arg == Arg::Lanes, element),
        };
        if whole {
            return self.move_from(bytes, register, from);
        }
        debug_assert!(element > 0, "nothing says how wide the lanes are");
        let op = match (element, bytes) {
            (8, 16) => &BROADCAST_Q,
            (8, _) => &BROADCAST_PD,
            _ => &BROADCAST_PS,
        };
        let shown = [Shown::Vector(register, bytes), Shown::Mem(from)];
        self.code.vector(op, bytes, register, 0, Rm::Mem(from), Extra::default(), &shown);
    }

    /// Whether an instruction can take this operand from memory.
    fn takes(&self, op: &Op, arg: Arg) -> bool {
        match arg {
            Arg::Pool(i) if self.body.wide => {
                self.body.pool[i as usize].lanes.len() > 1
                    || op.element == self.body.pool[i as usize].element
                    || matches!(op.memory, Held::Bytes(_))
            }
            Arg::Slot(_) => self.body.wide && op.element > 0 || matches!(op.memory, Held::Bytes(_)),
            _ => true,
        }
    }

    /// An operand that the instruction can take as its last one.
    fn last(&mut self, rm: Rm, arg: Arg, op: &Op, bytes: u8) -> Rm {
        match rm {
            Rm::Mem(_) if !self.takes(op, arg) => Rm::Reg(self.register(rm, arg, op, bytes)),
            rm => rm,
        }
    }

    fn mask(&mut self, inst: &Inst, copy: u8) -> u8 {
        inst.mask.map_or(0, |k| self.fetch(self.renamed(k, copy)))
    }

    fn step(&mut self, inst: &Inst, copy: u8) {
        self.locked = [0; 2];
        match inst.kind {
            Kind::Load(stream) => self.load(inst, copy, stream, 0),
            Kind::Store(stream) => self.store(inst, copy, stream, 0),
            Kind::LoadHalf(stream, half) => self.load(inst, copy, stream, half),
            Kind::StoreHalf(stream, half) => self.store(inst, copy, stream, half),
            Kind::Gather(origin) => self.gather(inst, copy, origin),
            Kind::Keep => self.keep(inst, copy),
            Kind::Result(slot) => self.first_lane(inst, copy, slot),
            Kind::Index => self.index(inst, copy),
            Kind::Masks(opcode, name) => self.masks(inst, copy, opcode, name),
            Kind::Fma => self.fma(inst, copy),
            Kind::Merge => self.merge(inst, copy),
            Kind::Plain | Kind::Shift(_) | Kind::Reversed | Kind::Pick => self.plain(inst, copy),
        }
    }

    fn plain(&mut self, inst: &Inst, copy: u8) {
        let (op, bytes) = (inst.op, inst.bytes);
        let mut args: SmallVec<[(Arg, Rm); 3]> = SmallVec::new();
        for &arg in &inst.args {
            let rm = self.operand(arg, op, copy);
            args.push((arg, rm));
        }
        let mask = self.mask(inst, copy);
        let in_memory = |rm: Rm| matches!(rm, Rm::Mem(_));
        if args.len() == 2 && op.commutes && in_memory(args[0].1) {
            args.swap(0, 1);
        }
        // The second operand of two, or the only one, may be in memory.
        let rm = usize::from(args.len() > 1);
        for i in 0..args.len() {
            let (arg, place) = args[i];
            let register = i != rm || matches!(inst.kind, Kind::Shift(_) | Kind::Reversed);
            args[i].1 = if register { Rm::Reg(self.register(place, arg, op, bytes)) } else { self.last(place, arg, op, bytes) };
        }
        self.release(inst, copy);
        let dying: SmallVec<[u8; 3]> =
            args.iter().filter_map(|(_, rm)| if let Rm::Reg(r) = rm { Some(*r) } else { None }).collect();
        let to = inst.to.expect("it has a result");
        let is_mask = self.body.wide && matches!(to, Arg::Value(v) if self.body.class(v) == Class::Mask);
        let dying = if is_mask { &[][..] } else { &self.own(&dying)[..] };
        let result = self.result(to, copy, dying);
        let (to_bytes, from_bytes) = op.sizes(bytes);
        let shown_result = if is_mask { Shown::Mask(result) } else { Shown::Vector(result, to_bytes) };
        let show = |rm: Rm, size: u8| match rm {
            Rm::Reg(r) => Shown::Vector(r, size),
            Rm::Mem(m) => Shown::Mem(m),
        };
        let reg = |rm: Rm| match rm {
            Rm::Reg(r) => r,
            Rm::Mem(_) => unreachable!("the first operand is in a register"),
        };
        // A blend takes its mask for what it picks; other results under a mask have zeros elsewhere.
        let zeroing = mask != 0 && !std::ptr::eq(op, &BLENDM_PS) && !std::ptr::eq(op, &BLENDM_PD);
        let mut extra = Extra { mask, zeroing, imm: inst.imm };
        let number = inst.imm.map(|n| Shown::Number(n.into()));
        let mut shown: SmallVec<[Shown; 4]> = SmallVec::new();
        match (inst.kind, args.as_slice()) {
            (Kind::Shift(digit), [(_, x)]) => {
                shown.extend([shown_result, show(*x, bytes)]);
                shown.extend(number);
                self.code.vector(op, bytes, digit, result, *x, extra, &shown);
            }
            (Kind::Reversed, [(_, x)]) => {
                shown.extend([Shown::Vector(result, from_bytes), show(*x, bytes)]);
                shown.extend(number);
                self.code.vector(op, bytes, reg(*x), 0, Rm::Reg(result), extra, &shown);
            }
            (Kind::Pick, [(_, x), (_, y), (_, mask)]) => {
                extra.imm = Some(reg(*mask) << 4);
                shown.extend([shown_result, show(*x, bytes), show(*y, bytes), show(*mask, bytes)]);
                self.code.vector(op, bytes, result, reg(*x), *y, extra, &shown);
            }
            (_, [(_, x)]) => {
                shown.extend([shown_result, show(*x, from_bytes)]);
                shown.extend(number);
                self.code.vector(op, bytes, result, 0, *x, extra, &shown);
            }
            (_, [(_, x), (_, y)]) => {
                shown.extend([shown_result, show(*x, bytes), show(*y, from_bytes)]);
                shown.extend(number);
                self.code.vector(op, bytes, result, reg(*x), *y, extra, &shown);
            }
            _ => unreachable!("an instruction has one to three operands"),
        }
    }

    /// Those of `registers` that values may take.
    fn own(&self, registers: &[u8]) -> SmallVec<[u8; 3]> {
        registers.iter().copied().filter(|&r| r < self.layout.free).collect()
    }

    fn copy_register(&mut self, bytes: u8, to: u8, from: u8) {
        if to != from {
            let shown = [Shown::Vector(to, bytes), Shown::Vector(from, bytes)];
            self.code.vector(&MOVE_PS, bytes, to, 0, Rm::Reg(from), Extra::default(), &shown);
        }
    }

    fn fma(&mut self, inst: &Inst, copy: u8) {
        let (op, bytes) = (inst.op, inst.bytes);
        let mut places = [Rm::Reg(0); 3];
        for (place, &arg) in places.iter_mut().zip(&inst.args) {
            *place = self.operand(arg, op, copy);
        }
        // At most one operand stays in memory: the last one that may.
        let mut memory = None;
        for i in (0..3).rev() {
            let arg = inst.args[i];
            match self.last(places[i], arg, op, bytes) {
                Rm::Mem(m) if memory.is_none() => {
                    memory = Some(i);
                    places[i] = Rm::Mem(m);
                }
                Rm::Mem(m) => places[i] = Rm::Reg(self.register(Rm::Mem(m), arg, op, bytes)),
                rm => places[i] = rm,
            }
        }
        self.release(inst, copy);
        let of = |i: usize| if let Rm::Reg(r) = places[i] { Some(r) } else { None };
        let to = inst.to.expect("it has a result");
        // The operand whose register the result takes: one that nobody needs, or a temporary.
        let free = |a: &Self, i: usize| of(i).filter(|&r| r < a.layout.free && a.holders[0][r as usize].is_none()).is_some();
        let target = match to {
            Arg::Accumulator(_) => inst.args.iter().position(|&a| a == to),
            _ => (0..3).find(|&i| free(self, i)),
        };
        let (result, tied) = match target {
            Some(i) => {
                let register = of(i).expect("it is in a register");
                (self.result(to, copy, &[register]), i)
            }
            None => {
                let tied = if memory == Some(0) { 1 } else { 0 };
                let result = self.result(to, copy, &[]);
                self.copy_register(bytes, result, of(tied).expect("only one operand is in memory"));
                (result, tied)
            }
        };
        let [f132, f213, f231] = forms(op);
        let others: SmallVec<[usize; 2]> = (0..3).filter(|&i| i != tied).collect();
        // What may be in memory comes last.
        let (second, last) = if memory == Some(others[0]) { (others[1], others[0]) } else { (others[0], others[1]) };
        let form = match (tied, last) {
            (2, _) => f231,
            (_, 2) => f213,
            _ => f132,
        };
        let second = of(second).expect("only one operand is in memory");
        let shown_last = match places[last] {
            Rm::Reg(r) => Shown::Vector(r, bytes),
            Rm::Mem(m) => Shown::Mem(m),
        };
        let shown = [Shown::Vector(result, bytes), Shown::Vector(second, bytes), shown_last];
        self.code.vector(form, bytes, result, second, places[last], Extra::default(), &shown);
    }

    fn merge(&mut self, inst: &Inst, copy: u8) {
        let (op, bytes) = (inst.op, inst.bytes);
        let mut args: SmallVec<[(Arg, Rm); 3]> = SmallVec::new();
        for &arg in &inst.args {
            let rm = self.operand(arg, op, copy);
            args.push((arg, rm));
        }
        let mask = self.mask(inst, copy);
        let last = args.len() - 1;
        for (i, (arg, place)) in args.iter_mut().enumerate() {
            *place = if i < last { Rm::Reg(self.register(*place, *arg, op, bytes)) } else { self.last(*place, *arg, op, bytes) };
        }
        self.release(inst, copy);
        let reg = |rm: Rm| match rm {
            Rm::Reg(r) => r,
            Rm::Mem(_) => unreachable!("only the last operand may be in memory"),
        };
        let old = reg(args[0].1);
        let shared = args[1..].iter().any(|(_, rm)| *rm == Rm::Reg(old));
        let free = old < self.layout.free && self.holders[0][old as usize].is_none() && !shared;
        let result = self.result(inst.to.expect("it has a result"), copy, &[old][..usize::from(free)]);
        self.copy_register(bytes, result, old);
        let (to_bytes, from_bytes) = op.sizes(bytes);
        let extra = Extra { mask, zeroing: false, imm: inst.imm };
        let show = |rm: Rm, size: u8| match rm {
            Rm::Reg(r) => Shown::Vector(r, size),
            Rm::Mem(m) => Shown::Mem(m),
        };
        let second = if last == 2 { reg(args[1].1) } else { 0 };
        let mut shown: SmallVec<[Shown; 4]> = SmallVec::from_slice(&[Shown::Vector(result, to_bytes)]);
        if last == 2 {
            shown.push(Shown::Vector(second, bytes));
        }
        shown.push(show(args[last].1, from_bytes));
        shown.extend(inst.imm.map(|n| Shown::Number(n.into())));
        self.code.vector(op, bytes, result, second, args[last].1, extra, &shown);
    }

    fn masks(&mut self, inst: &Inst, copy: u8, opcode: u8, name: &'static str) {
        let args: SmallVec<[u8; 2]> = inst
            .args
            .iter()
            .map(|&a| match a {
                Arg::Value(v) => v,
                _ => unreachable!("masks are values"),
            })
            .map(|v| self.fetch(self.renamed(v, copy)))
            .collect();
        self.release(inst, copy);
        let to = match inst.to.expect("it has a result") {
            Arg::Value(v) => self.renamed(v, copy),
            _ => unreachable!("masks are values"),
        };
        let free = args.iter().copied().find(|&k| self.holders[1][k as usize].is_none());
        let result = free.unwrap_or_else(|| self.take(1));
        self.hold(1, result, to);
        match args.as_slice() {
            [x, y] => self.code.masks(name, opcode, result, Some(*x), *y),
            _ => self.code.masks(name, opcode, result, None, args[0]),
        }
    }

    fn index(&mut self, inst: &Inst, copy: u8) {
        let result = self.result(inst.to.expect("it has a result"), copy, &[]);
        if self.body.wide {
            let shown = [Shown::Vector(result, inst.bytes), Shown::General(RSI, 8)];
            return self.code.vector(&BROADCAST_Q_OF, inst.bytes, result, 0, Rm::Reg(RSI), Extra::default(), &shown);
        }
        let shown = [Shown::Vector(result, 16), Shown::General(RSI, 8)];
        self.code.vector(&MOVE_Q_OF, 16, result, 0, Rm::Reg(RSI), Extra::default(), &shown);
        let shown = [Shown::Vector(result, inst.bytes), Shown::Vector(result, 16)];
        self.code.vector(&BROADCAST_Q, inst.bytes, result, 0, Rm::Reg(result), Extra::default(), &shown);
    }

    fn keep(&mut self, inst: &Inst, copy: u8) {
        let place = self.operand(inst.args[0], inst.op, copy);
        let from = self.register(place, inst.args[0], inst.op, inst.bytes);
        self.release(inst, copy);
        let to = self.result(Arg::Accumulator(0), copy, &[]);
        let vector = |r: u8| Shown::Vector(r, inst.bytes);
        match (self.elements, self.body.wide) {
            (Elements::All | Elements::AllPast, _) => self.copy_register(inst.bytes, to, from),
            (Elements::Some, true) => {
                let extra = Extra { mask: TAIL, ..Extra::default() };
                self.code.vector(inst.op, inst.bytes, to, 0, Rm::Reg(from), extra, &[vector(to), vector(from)]);
            }
            (Elements::Some, false) => {
                let (op, mask) = if inst.op.prefix == 0 { (&BLENDV_PS, TAIL_WORD) } else { (&BLENDV_PD, TAIL_LONG) };
                let extra = Extra { imm: Some(mask << 4), ..Extra::default() };
                let shown = [vector(to), vector(to), vector(from), vector(mask)];
                self.code.vector(op, inst.bytes, to, to, Rm::Reg(from), extra, &shown);
            }
        }
    }

    fn first_lane(&mut self, inst: &Inst, copy: u8, slot: u32) {
        let place = self.operand(inst.args[0], inst.op, copy);
        let from = self.register(place, inst.args[0], inst.op, inst.bytes);
        self.release(inst, copy);
        let to = Mem::at(RDI, 8 * slot as i32);
        let shown = [Shown::Mem(to), Shown::Vector(from, 16)];
        self.code.vector(inst.op, 16, from, 0, Rm::Mem(to), Extra::default(), &shown);
    }
}

/// The first mask register that values do not take.
pub(super) fn first_reserved(body: &Body) -> u8 {
    if body.has_pairs() { TAIL_HALVES[0] } else { TAIL }
}

/// A place on the stack.
fn stack(slot: u32) -> Mem {
    Mem::at(RSP, 64 * slot as i32)
}

/// The values that an instruction reads, mask included.
pub(super) fn values_of(inst: &Inst) -> impl Iterator<Item = V> + '_ {
    let value = |arg: &Arg| match arg {
        Arg::Value(v) => Some(*v),
        _ => None,
    };
    inst.args.iter().filter_map(value).chain(inst.mask)
}

/// Whether a partial vector of a stream can be loaded and stored.
pub(super) fn partial_vectors(wide: bool, stream: &Stream) -> bool {
    wide || stream.dtype.size() >= 4 && !stream.pair
}
