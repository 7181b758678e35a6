//! A strip as a function: what its loops keep in registers, the loop over several vectors at once, and the rest.
//!
//! It is called with the address of its table, the first index and the index behind the last one, by the System V
//! convention on every platform.

use super::allocate::{Allocator, Elements, Layout, POOL, Step, TAIL, TAIL_LONG, TAIL_WORD, values_of};
use super::body::{Arg, Body, Class, Kind};
use super::encode::{Code, Extra, Listing, Mem, RAX, RBP, RBX, RCX, RDI, RDX, RSI, RSP, Rm, Shown, When};
use super::table::*;
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
    let registers: u8 = match (body.wide, partial) {
        (true, _) => 32,
        (false, false) => 16,
        (false, true) => TAIL_LONG,
    };
    let (vectors, masks) = pressure(body);
    let fits = |n: u8| {
        n as usize * body.insts.len() <= TOGETHER
            && u32::from(n) * vectors + 2 <= registers.into()
            && u32::from(n) * masks < TAIL.into()
    };
    let together = [4, 2].into_iter().find(|&n| fits(n)).unwrap_or(1);
    let long = together == 1 && partial && body.insts.len() > LONG_BODY;
    let loops = Loops { vectors: if long { 0 } else { together }, together, rest: 1 };

    let used = u32::from(together) * vectors + 2;
    let spare = u32::from(registers).saturating_sub(used) as usize;
    let (layout, pinned) = layout(body, &loops, registers, spare, frame > 0);
    let mut code = Code::new(body.wide);
    let mut spills = 0;
    let saved: Vec<u8> = layout.streams.iter().flatten().copied().filter(|r| ![8, 9, 10].contains(r)).collect();
    prologue(&mut code, &saved, frame);
    for (stream, register) in body.streams.iter().zip(&layout.streams) {
        if let Some(register) = register {
            code.load(*register, Mem::at(RDI, 8 * stream.slot as i32));
        }
    }
    let pool = code.label();
    code.address(POOL, pool);
    for &(arg, register, class) in &pinned {
        pin(body, &layout, &mut code, arg, register, class);
    }
    let end = code.label();
    if loops.vectors > 0 {
        let step = i32::from(loops.vectors) * i32::from(body.lanes);
        let rest = code.label();
        code.add_number(RDX, -step);
        code.compare(RSI, RDX);
        code.jump_when(When::Above, rest);
        let turn = code.here();
        let mut allocator = Allocator::new(body, &layout, &mut code, Elements::All, loops.vectors);
        allocator.run(&interleaved(body, loops.vectors, loops.together));
        spills = spills.max(allocator.spills);
        code.add_number(RSI, step);
        code.compare(RSI, RDX);
        code.jump_when(When::AtMost, turn);
        code.place(rest);
        code.add_number(RDX, step);
    }
    let step = i32::from(loops.rest) * i32::from(body.lanes);
    let turn = code.here();
    code.copy(RAX, RDX);
    code.subtract(RAX, RSI);
    if partial {
        code.jump_when(When::AtMost, end);
        first_elements(body, &mut code, loops.vectors == 0);
    } else {
        code.compare_number(RAX, step);
        code.jump_when(When::Below, end);
    }
    for copy in 0..loops.rest {
        if partial {
            some_elements(body, &layout, &mut code, copy);
        }
        let elements = if partial { Elements::Some } else { Elements::All };
        let mut allocator = Allocator::new(body, &layout, &mut code, elements, loops.rest);
        let steps: Vec<Step> = (0..body.insts.len() as u32).map(|inst| Step { inst, copy }).collect();
        allocator.run(&steps);
        spills = spills.max(allocator.spills);
    }
    code.add_number(RSI, step);
    code.jump(turn);
    code.place(end);
    epilogue(&mut code, &saved, frame);
    write_pool(body, &layout, &mut code, pool);
    let (bytes, listing) = code.finish();
    let unit = if partial { 1 } else { step.into() };
    (Strip { bytes, listing, unit }, spills)
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
fn interleaved(body: &Body, vectors: u8, together: u8) -> Vec<Step> {
    let mut steps = Vec::with_capacity(body.insts.len() * vectors as usize);
    for first in (0..vectors).step_by(together as usize) {
        for inst in 0..body.insts.len() as u32 {
            steps.extend((first..first + together).map(|copy| Step { inst, copy }));
        }
    }
    steps
}

/// Where everything lies, and what is pinned: the constants and numbers that are used most.
fn layout(body: &Body, loops: &Loops, registers: u8, spare: usize, frame: bool) -> (Layout, Vec<(Arg, u8, Class)>) {
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
    let registers_of_streams = STREAMS.iter().copied().filter(|&r| !(frame && r == RBP));
    let streams = registers_of_streams.map(Some).chain(std::iter::repeat(None)).take(body.streams.len()).collect();
    let free = registers - pinned.len() as u8;
    let by_arg: HashMap<Arg, u8> = pinned.iter().map(|&(arg, register, _)| (arg, register)).collect();
    (Layout { pool, lanes, tails, pinned: by_arg, streams, accumulators: Vec::new(), free }, pinned)
}

fn pin(body: &Body, layout: &Layout, code: &mut Code, arg: Arg, register: u8, class: Class) {
    let from = match arg {
        Arg::Pool(i) => Mem::at(POOL, layout.pool[i as usize]),
        Arg::Slot(i) => Mem::at(RDI, 8 * i as i32),
        _ => unreachable!("only constants and numbers of the table are pinned"),
    };
    let element = if class == Class::Long { 8 } else { 4 };
    let bytes = body.bytes(class);
    Allocator::new(body, layout, code, Elements::All, 0).materialize(register, arg, element, bytes, from);
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
