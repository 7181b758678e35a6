//! A strip as a function: what its loops keep in registers, the loop over several vectors at once, and the rest.
//!
//! It is called with the address of its table, the first index and the index behind the last one, by the System V
//! convention on every platform.

use super::allocate::{
    Allocator, Elements, Layout, POOL, Step, TAIL, TAIL_HALVES, TAIL_LONG, TAIL_WORD, first_reserved, values_of,
};
use super::body::{Arg, Body, Class, Fold, Inst, Kind, Stream};
use super::encode::{Code, Extra, Label, Listing, Mem, RAX, RBP, RBX, RCX, RDI, RDX, RSI, RSP, Rm, Shown, When};
use super::table::*;
use igneous_ir::kernel::{CHUNK, LANES};
use std::collections::HashMap;

/// A strip that is ready to be called.
#[derive(Clone, Debug)]
pub(in crate::cpu) struct Strip {
    pub bytes: Vec<u8>,
    pub listing: Listing,
    /// Elements are done in multiples of this; what is left is the caller's.
    pub unit: i64,
}

/// Registers for the addresses of streams: those that a callee may change, then those that it has to restore.
const STREAMS: [u8; 9] = [8, 9, 10, RBX, 12, 13, 14, 15, RBP];
/// At most this many instructions are computed together.
const TOGETHER: usize = 400;
/// Bodies of more instructions have one loop, which handles some elements like all.
const LONG_BODY: usize = 250;

/// How the loops of a strip are laid out.
struct Loops {
    /// Vectors in one turn of the main loop; 0: there is none.
    vectors: u8,
    /// How many of them are computed together.
    together: u8,
    /// Vectors in one turn of the loop over the rest.
    rest: u8,
    /// Vector registers for values and what is pinned.
    registers: u8,
    /// How many of them the values leave.
    spare: usize,
}

/// Assembles the strip of a body. `partial`: the elements after the last whole vector are done too.
pub(super) fn assemble(body: &Body, partial: bool) -> Strip {
    let mut frame = 0;
    loop {
        let (strip, spills) = attempt(body, partial, frame);
        if spills <= frame {
            #[cfg(test)]
            super::tests::check_listing(&strip.bytes, &strip.listing, body.wide);
            return strip;
        }
        frame = spills;
    }
}

fn attempt(body: &Body, partial: bool, frame: u32) -> (Strip, u32) {
    let loops = Loops::of(body, partial);
    let (layout, pinned) = layout(body, &loops, frame > 0);
    let mut writer = Writer { body, loops, layout, code: Code::new(body.wide), partial, spills: 0 };
    let saved: Vec<u8> = writer.used_streams().filter(|r| ![8, 9, 10].contains(r)).chain(writer.last_index()).collect();
    prologue(&mut writer.code, &saved, frame);
    for (stream, register) in body.streams.iter().zip(&writer.layout.streams) {
        if let Some(register) = register {
            writer.code.load(*register, Mem::at(RDI, 8 * stream.slot as i32));
        }
    }
    let pool = writer.code.label();
    writer.code.address(POOL, pool);
    for &(arg, register, class) in &pinned {
        writer.pin(arg, register, class);
    }
    match &body.fold {
        None => writer.range(),
        Some(fold) if fold.chunked => writer.chunks(fold),
        Some(fold) => writer.chunk(fold),
    }
    let Writer { layout, loops, mut code, spills, .. } = writer;
    epilogue(&mut code, &saved, frame);
    write_pool(body, &layout, &mut code, pool);
    let (bytes, listing) = code.finish();
    let unit = if partial { 1 } else { i64::from(loops.rest) * i64::from(body.lanes) };
    (Strip { bytes, listing, unit }, spills)
}

impl Loops {
    fn of(body: &Body, partial: bool) -> Loops {
        let accumulators = body.fold.as_ref().map_or(0, |f| f.registers);
        let registers = match (body.wide, partial) {
            (true, _) => 32,
            (false, false) => 16,
            (false, true) => TAIL_LONG,
        } - accumulators;
        let (vectors, masks) = pressure(body);
        // Vectors that share an accumulator take turns with it, unless one instruction does all of that.
        let apart = accumulators > 0 && body.whole().iter().filter(|i| i.args.contains(&Arg::Accumulator(0))).count() > 1;
        let cleared = u32::from(body.gathers());
        let fits = |n: u8| {
            !(apart && n > accumulators)
                && n as usize * body.insts.len() <= TOGETHER
                && u32::from(n) * vectors + 2 <= registers.into()
                && u32::from(n) * masks + cleared < first_reserved(body).into()
        };
        let together = [4, 2].into_iter().find(|&n| fits(n)).unwrap_or(1);
        let spare = u32::from(registers).saturating_sub(u32::from(together) * vectors + 2) as usize;
        let long = together == 1 && partial && body.insts.len() > LONG_BODY;
        match accumulators {
            0 => Loops { vectors: if long { 0 } else { together }, together, rest: 1, registers, spare },
            n => Loops { vectors: n.max(together), together, rest: n.min(LANES as u8 / body.lanes), registers, spare },
        }
    }
}

/// The register that holds the index behind the last chunk.
const LAST: u8 = 15;

/// Writes the loops of a strip.
struct Writer<'a> {
    body: &'a Body,
    loops: Loops,
    layout: Layout,
    code: Code,
    partial: bool,
    spills: u32,
}

impl Writer<'_> {
    fn used_streams(&self) -> impl Iterator<Item = u8> {
        self.layout.streams.clone().into_iter().flatten()
    }

    fn last_index(&self) -> Option<u8> {
        self.body.fold.as_ref().is_some_and(|f| f.chunked).then_some(LAST)
    }

    fn emit(&mut self, insts: &[Inst], elements: Elements, copies: u8, steps: &[Step]) {
        let mut allocator = Allocator::new(self.body, insts, &self.layout, &mut self.code, elements, copies);
        allocator.run(steps);
        self.spills = self.spills.max(allocator.spills);
    }

    /// For single instructions.
    fn allocator(&mut self) -> Allocator<'_> {
        Allocator::new(self.body, &[], &self.layout, &mut self.code, Elements::All, 0)
    }

    /// Loads what stays in a register throughout.
    fn pin(&mut self, arg: Arg, register: u8, class: Class) {
        let from = match arg {
            Arg::Pool(i) => Mem::at(POOL, self.layout.pool[i as usize]),
            Arg::Slot(i) => Mem::at(RDI, 8 * i as i32),
            _ => unreachable!("only constants and numbers of the table are pinned"),
        };
        let element = if class == Class::Long { 8 } else { 4 };
        let bytes = self.body.bytes(class);
        self.allocator().materialize(register, arg, element, bytes, from);
    }

    /// All chunks of a reduction: `RDX` is the end of the current one.
    fn chunks(&mut self, fold: &Fold) {
        self.code.copy(LAST, RDX);
        let turn = self.code.here();
        self.code.copy(RDX, RSI);
        self.code.add_number(RDX, CHUNK as i32);
        self.code.compare(RDX, LAST);
        self.code.copy_when(When::Above, RDX, LAST);
        self.chunk(fold);
        self.code.copy(RSI, RDX);
        self.code.compare(RSI, LAST);
        self.code.jump_when(When::Below, turn);
    }

    fn chunk(&mut self, fold: &Fold) {
        self.emit(&fold.start, Elements::All, 1, &in_order(fold.start.len(), 0));
        self.range();
        self.emit(&fold.finish, Elements::All, 1, &in_order(fold.finish.len(), 0));
    }

    /// The loops over the elements from `RSI` to `RDX`, which stays.
    fn range(&mut self) {
        let Loops { vectors, together, rest, .. } = self.loops;
        if vectors > 0 && self.body.streams.iter().any(|s| s.past) {
            let (near, done) = (self.code.label(), self.code.label());
            self.unless_near(near);
            self.whole_vectors(vectors, together, Elements::AllPast);
            self.code.jump(done);
            self.code.place(near);
            self.whole_vectors(vectors, together, Elements::All);
            self.code.place(done);
        } else if vectors > 0 {
            self.whole_vectors(vectors, together, Elements::All);
        }
        // Partial vectors are dear without mask registers or with elements from anywhere, so whole ones go first.
        if vectors > rest && (!self.body.wide || !self.partial || self.body.gathers()) {
            self.whole_vectors(rest, rest.min(together), Elements::All);
        }
        if self.partial {
            self.partial_vectors(vectors == 0);
        }
    }

    /// `to` = the address of the next element of a stream.
    fn effective(&mut self, stream: u32, to: u8) {
        let place = self.allocator().place(stream, 0, 0);
        self.code.effective(to, place);
    }

    /// Jumps to `near` where stores have to go through the caches: they are not aligned, or go where something was loaded.
    fn unless_near(&mut self, near: Label) {
        let streams: Vec<(u32, Stream)> = (0..).zip(self.body.streams.iter().copied()).collect();
        for &(stream, _) in streams.iter().filter(|(_, s)| s.past) {
            self.effective(stream, RAX);
            self.code.and_number(RAX, 63);
            self.code.jump_when(When::Above, near);
            for &(other, _) in streams.iter().filter(|(_, s)| !s.past) {
                self.effective(stream, RAX);
                self.effective(other, RCX);
                self.code.compare(RAX, RCX);
                self.code.jump_when(When::Equal, near);
            }
        }
    }

    /// The loop over `vectors` whole vectors at a time.
    fn whole_vectors(&mut self, vectors: u8, together: u8, elements: Elements) {
        let step = i32::from(vectors) * i32::from(self.body.lanes);
        let end = self.code.label();
        self.code.add_number(RDX, -step);
        self.code.compare(RSI, RDX);
        self.code.jump_when(When::Above, end);
        let turn = self.code.here();
        let whole = self.body.whole();
        self.emit(&whole, elements, vectors, &interleaved(whole.len(), vectors, together));
        self.code.add_number(RSI, step);
        self.code.compare(RSI, RDX);
        self.code.jump_when(When::AtMost, turn);
        self.code.place(end);
        self.code.add_number(RDX, step);
    }

    /// The loop over all vectors that are left as if they were partial; `many`: not only a few are.
    fn partial_vectors(&mut self, many: bool) {
        let body = self.body;
        let end = self.code.label();
        let turn = self.code.here();
        self.code.copy(RAX, RDX);
        self.code.subtract(RAX, RSI);
        self.code.jump_when(When::AtMost, end);
        if body.has_pairs() {
            first_pairs(body, &mut self.code, many);
        }
        first_elements(body, &mut self.code, many);
        for copy in 0..self.loops.rest {
            some_elements(body, &self.layout, &mut self.code, copy);
            self.emit(&body.insts, Elements::Some, self.loops.rest, &in_order(body.insts.len(), copy));
        }
        self.code.add_number(RSI, i32::from(self.loops.rest) * i32::from(body.lanes));
        self.code.jump(turn);
        self.code.place(end);
    }
}

/// The most vector registers and masks that one run of the body needs at once.
fn pressure(body: &Body) -> (u32, u32) {
    let mut last = vec![0; body.classes.len()];
    for (i, inst) in body.insts.iter().enumerate() {
        values_of(inst).for_each(|v| last[v as usize] = i);
    }
    let (mut live, mut most) = ([0u32; 2], [0u32; 2]);
    for (i, inst) in body.insts.iter().enumerate() {
        let bank = |v: u32| usize::from(body.wide && body.class(v) == Class::Mask);
        if let Some(Arg::Value(v)) = inst.to {
            live[bank(v)] += 1;
            most[bank(v)] = most[bank(v)].max(live[bank(v)]);
        }
        let mut ended: Vec<u32> = values_of(inst).filter(|&v| last[v as usize] == i).collect();
        ended.sort_unstable();
        ended.dedup();
        ended.into_iter().for_each(|v| live[bank(v)] -= 1);
    }
    (most[0], most[1])
}

/// The instructions for `vectors` vectors, `together` at a time in step.
fn interleaved(insts: usize, vectors: u8, together: u8) -> Vec<Step> {
    let mut steps = Vec::with_capacity(insts * vectors as usize);
    for first in (0..vectors).step_by(together as usize) {
        for inst in 0..insts as u32 {
            steps.extend((first..first + together).map(|copy| Step { inst, copy }));
        }
    }
    steps
}

/// The instructions for one vector.
fn in_order(insts: usize, copy: u8) -> Vec<Step> {
    (0..insts as u32).map(|inst| Step { inst, copy }).collect()
}

/// Where everything lies, and what is pinned: the constants and numbers that are used most.
fn layout(body: &Body, loops: &Loops, frame: bool) -> (Layout, Vec<(Arg, u8, Class)>) {
    let Loops { registers, spare, .. } = *loops;
    let mut uses: Vec<(Arg, Class, u32)> = Vec::new();
    for inst in &body.insts {
        let class = if inst.op.element == 8 { Class::Long } else { Class::Word };
        for (i, &arg) in inst.args.iter().enumerate() {
            let fits = match arg {
                Arg::Pool(c) => body.pool[c as usize].lanes.len() > 1 || body.pool[c as usize].element == inst.op.element,
                Arg::Slot(_) => inst.op.element > 0,
                _ => false,
            };
            if !fits {
                continue;
            }
            // An instruction of its own is saved where the operand cannot be in memory.
            let last = i + 1 == inst.args.len() || inst.op.commutes || inst.kind == Kind::Fma;
            let worth = if last && (body.wide || matches!(arg, Arg::Pool(_))) { 1 } else { 4 };
            match uses.iter_mut().find(|(a, c, _)| *a == arg && *c == class) {
                Some((_, _, n)) => *n += worth,
                None => uses.push((arg, class, worth)),
            }
        }
    }
    // What is used as both classes stays in memory: its register would have the lanes of one.
    let both: Vec<Arg> = uses.iter().filter(|(a, c, _)| uses.iter().any(|(b, d, _)| a == b && c != d)).map(|u| u.0).collect();
    uses.retain(|(a, _, _)| !both.contains(a));
    uses.sort_by_key(|&(_, _, n)| std::cmp::Reverse(n));
    uses.truncate(spare);
    let pinned: Vec<(Arg, u8, Class)> =
        uses.into_iter().enumerate().map(|(i, (arg, class, _))| (arg, registers - 1 - i as u8, class)).collect();
    let mut offset = 0;
    let mut take = |bytes: i32| {
        let at = offset;
        offset += bytes;
        at
    };
    let copies = loops.vectors.max(loops.rest);
    let iota = body.insts.iter().any(|i| i.args.contains(&Arg::Lanes));
    // Vectors first, so that all are aligned.
    let lanes = (0..if iota { copies } else { 0 }).map(|_| take(64)).collect();
    let tails = (0..if body.wide { 0 } else { loops.rest }).map(|_| (take(32), take(32))).collect();
    let mut pool = vec![0; body.pool.len()];
    for (at, constant) in pool.iter_mut().zip(&body.pool).filter(|(_, c)| !body.wide || c.lanes.len() > 1) {
        *at = take(if body.wide { 64 } else { 32 });
        debug_assert!(constant.element == 4 || constant.element == 8);
    }
    for element in [8, 4] {
        let scalars = pool.iter_mut().zip(&body.pool);
        for (at, _) in scalars.filter(|(_, c)| body.wide && c.lanes.len() == 1 && c.element == element) {
            *at = take(element.into());
        }
    }
    let chunked = body.fold.as_ref().is_some_and(|f| f.chunked);
    let registers_of_streams = STREAMS.iter().copied().filter(|&r| !(frame && r == RBP || chunked && r == LAST));
    let streams = registers_of_streams.map(Some).chain(std::iter::repeat(None)).take(body.streams.len()).collect();
    let free = registers - pinned.len() as u8;
    let accumulators = (registers..registers + body.fold.as_ref().map_or(0, |f| f.registers)).collect();
    let by_arg: HashMap<Arg, u8> = pinned.iter().map(|&(arg, register, _)| (arg, register)).collect();
    (Layout { pool, lanes, tails, pinned: by_arg, streams, accumulators, free }, pinned)
}

fn prologue(code: &mut Code, saved: &[u8], frame: u32) {
    saved.iter().for_each(|&r| code.push(r));
    if frame > 0 {
        code.push(RBP);
        code.copy(RBP, RSP);
        code.and_number(RSP, -64);
        code.add_number(RSP, -64 * frame as i32);
    }
}

fn epilogue(code: &mut Code, saved: &[u8], frame: u32) {
    code.zero_upper();
    if frame > 0 {
        code.copy(RSP, RBP);
        code.pop(RBP);
    }
    saved.iter().rev().for_each(|&r| code.pop(r));
    code.ret();
}

/// Prepares for a turn over some elements, of which `RAX` are left, more than 0. `many`: it may be any number.
fn first_elements(body: &Body, code: &mut Code, many: bool) {
    if many {
        code.number(RCX, 32);
        code.compare(RAX, RCX);
        code.copy_when(When::Above, RAX, RCX);
    }
    if body.wide {
        code.number(RCX, -1);
        code.low_bits(RAX, RCX, RAX);
    }
}

/// Sets the masks of the elements of the pairs that are left, `RAX` of them, more than 0, for a body with mask registers that
/// does one vector at a time.
fn first_pairs(body: &Body, code: &mut Code, many: bool) {
    code.double(RAX);
    if many {
        code.number(RCX, 32);
        code.compare(RAX, RCX);
        code.copy_when(When::Above, RAX, RCX);
    }
    code.number(RCX, -1);
    code.low_bits(RAX, RCX, RAX);
    code.mask_from(TAIL_HALVES[0], RAX);
    code.shift_right(RAX, body.lanes);
    code.mask_from(TAIL_HALVES[1], RAX);
    code.copy(RAX, RDX);
    code.subtract(RAX, RSI);
}

/// Sets the mask of the elements that the `copy`-th vector has. `RAX` is the mask of those that are left, or their number.
fn some_elements(body: &Body, layout: &Layout, code: &mut Code, copy: u8) {
    if body.wide {
        if copy > 0 {
            code.shift_right(RAX, body.lanes);
        }
        return code.mask_from(TAIL, RAX);
    }
    let xmm = |r: u8| Shown::Vector(r, 16);
    let (word, long) = layout.tails[copy as usize];
    let (word_bytes, long_bytes) = (body.bytes(Class::Word), body.bytes(Class::Long));
    let none = Extra::default();
    code.vector(&MOVE_Q_OF, 16, TAIL_WORD, 0, Rm::Reg(RAX), none, &[xmm(TAIL_WORD), Shown::General(RAX, 8)]);
    let mut less = |broadcast, compare, register: u8, bytes: u8, at: i32| {
        let whole = Shown::Vector(register, bytes);
        let lanes = Mem::at(POOL, at);
        code.vector(broadcast, bytes, register, 0, Rm::Reg(TAIL_WORD), none, &[whole, xmm(TAIL_WORD)]);
        code.vector(compare, bytes, register, register, Rm::Mem(lanes), none, &[whole, whole, Shown::Mem(lanes)]);
    };
    if body.long() {
        less(&BROADCAST_Q, &GT_Q, TAIL_LONG, long_bytes, long);
    }
    less(&BROADCAST_D, &GT_D, TAIL_WORD, word_bytes, word);
}

fn write_pool(body: &Body, layout: &Layout, code: &mut Code, pool: super::encode::Label) {
    code.align(64);
    code.place(pool);
    let start = code.bytes.len();
    let mut write = |at: i32, bytes: &[u8]| {
        let at = start + at as usize;
        if code.bytes.len() < at + bytes.len() {
            code.bytes.resize(at + bytes.len(), 0);
        }
        code.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    };
    for (copy, &at) in layout.lanes.iter().enumerate() {
        let first = copy as u64 * u64::from(body.lanes);
        for lane in 0..u64::from(body.lanes) {
            write(at + 8 * lane as i32, &(first + lane).to_le_bytes());
        }
    }
    for (copy, &(word, long)) in layout.tails.iter().enumerate() {
        for lane in 0..body.lanes {
            let index = copy as u32 * u32::from(body.lanes) + u32::from(lane);
            write(word + 4 * i32::from(lane), &index.to_le_bytes());
            if body.long() {
                write(long + 8 * i32::from(lane), &u64::from(index).to_le_bytes());
            }
        }
    }
    for (&at, constant) in layout.pool.iter().zip(&body.pool) {
        let element = usize::from(constant.element);
        let repeats = match (body.wide, constant.lanes.len()) {
            (true, _) => constant.lanes.len(),
            (false, _) => 32 / element,
        };
        for lane in 0..repeats {
            let bits = constant.lanes[lane % constant.lanes.len()];
            write(at + (lane * element) as i32, &bits.to_le_bytes()[..element]);
        }
    }
}
