//! x86-64 instructions as bytes, and what was encoded as text.
//!
//! Vector instructions have a VEX or an EVEX prefix, as the form of the machine wants; of general instructions there are
//! the few that a loop needs.

use std::fmt;

/// A vector instruction: how it is encoded in each form.
#[derive(Debug)]
pub(super) struct Op {
    pub name: &'static str,
    /// The name in the VEX form if it is another one.
    pub vex_name: &'static str,
    /// The opcode map: 1 is `0F`, 2 `0F38`, 3 `0F3A`.
    pub map: u8,
    /// The mandatory prefix: none, `66`, `F3`, `F2`.
    pub prefix: u8,
    pub opcode: u8,
    /// The `W` bit of the EVEX and of the VEX form.
    pub w: (u8, u8),
    /// Bytes of an element that a memory operand may repeat in all lanes; 0: it may not.
    pub element: u8,
    /// What a memory operand holds.
    pub memory: Held,
    /// Whether its two operands may change places.
    pub commutes: bool,
    /// Whether the result has half the bytes of the operand.
    pub narrows: bool,
}

impl Op {
    /// Bytes of the registers that the two operand fields name, for vectors of `bytes`.
    pub fn sizes(&self, bytes: u8) -> (u8, u8) {
        let rm = match self.memory {
            Held::Vector(halved) => bytes >> halved,
            Held::Bytes(_) => 16,
        };
        (if self.narrows { bytes / 2 } else { bytes }.max(16), rm.max(16))
    }
}

/// The size of a memory operand.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Held {
    /// The vector's, halved this many times.
    Vector(u8),
    /// This many bytes.
    Bytes(u8),
}

/// A place in memory: `base + index · 2^scale + disp`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Mem {
    pub base: u8,
    pub index: Option<(u8, u8)>,
    pub disp: i32,
    /// One element in all lanes.
    pub repeat: bool,
    /// The index is a vector register of this many bytes.
    pub gather: Option<u8>,
}

impl Mem {
    pub fn at(base: u8, disp: i32) -> Mem {
        Mem { base, index: None, disp, repeat: false, gather: None }
    }
}

/// The operand that may be in memory.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Rm {
    Reg(u8),
    Mem(Mem),
}

/// An operand in a listing.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Shown {
    None,
    /// A vector register of this many bytes.
    Vector(u8, u8),
    Mask(u8),
    /// A general register of this many bytes.
    General(u8, u8),
    Mem(Mem),
    Number(i64),
    /// An offset in the code.
    Code(u32),
}

/// One instruction of a listing.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Line {
    pub at: u32,
    pub name: &'static str,
    pub operands: [Shown; 4],
    /// The mask that the result is written under; 0: none.
    pub mask: u8,
    pub zeroing: bool,
}

/// The instructions of a strip, to be displayed.
#[derive(Clone, Debug, Default)]
pub(in crate::cpu) struct Listing(pub(super) Vec<Line>);

pub(super) const RAX: u8 = 0;
pub(super) const RCX: u8 = 1;
pub(super) const RDX: u8 = 2;
pub(super) const RBX: u8 = 3;
pub(super) const RSP: u8 = 4;
pub(super) const RBP: u8 = 5;
pub(super) const RSI: u8 = 6;
pub(super) const RDI: u8 = 7;
const NAMES: [&str; 16] = ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di", "8", "9", "10", "11", "12", "13", "14", "15"];

/// Conditions of jumps and conditional moves.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum When {
    Equal = 0x4,
    Below = 0xc,
    AtMost = 0xe,
    Above = 0xf,
}

impl When {
    fn jump(self) -> &'static str {
        match self {
            When::Equal => "je",
            When::Below => "jl",
            When::AtMost => "jle",
            When::Above => "jg",
        }
    }
}

/// A place that a jump leads to.
#[derive(Clone, Copy)]
pub(super) struct Label(usize);

/// An operand field, a mask and an immediate of a vector instruction.
#[derive(Clone, Copy, Default)]
pub(super) struct Extra {
    pub mask: u8,
    pub zeroing: bool,
    pub imm: Option<u8>,
}

/// Code being written.
pub(super) struct Code {
    pub bytes: Vec<u8>,
    pub lines: Vec<Line>,
    /// EVEX prefixes; VEX else.
    pub evex: bool,
    labels: Vec<Option<usize>>,
    /// The end of each jump's offset, its line and where it leads.
    jumps: Vec<(usize, usize, Label)>,
}

impl Code {
    pub fn new(evex: bool) -> Code {
        Code { bytes: Vec::with_capacity(4096), lines: Vec::with_capacity(512), evex, labels: Vec::new(), jumps: Vec::new() }
    }

    fn line(&mut self, at: usize, name: &'static str, operands: &[Shown]) {
        let mut all = [Shown::None; 4];
        all[..operands.len()].copy_from_slice(operands);
        self.lines.push(Line { at: at as u32, name, operands: all, mask: 0, zeroing: false });
    }

    /// `reg` and `rm` of a vector instruction on `bytes` bytes, with `other` in the prefix's register field (0: unused).
    /// `shown` is the operands of the listing.
    #[allow(clippy::too_many_arguments)] // The fields of an encoding.
    pub fn vector(&mut self, op: &Op, bytes: u8, reg: u8, other: u8, rm: Rm, extra: Extra, shown: &[Shown]) {
        let at = self.bytes.len();
        if self.evex {
            self.evex(op, bytes, reg, other, rm, extra);
        } else {
            self.vex(op.map, op.prefix, op.w.1, u8::from(bytes == 32), op.opcode, reg, other, rm);
        }
        self.bytes.extend(extra.imm);
        self.line(at, if self.evex || op.vex_name.is_empty() { op.name } else { op.vex_name }, shown);
        if let Some(line) = self.lines.last_mut() {
            (line.mask, line.zeroing) = (extra.mask, extra.zeroing);
        }
    }

    fn evex(&mut self, op: &Op, bytes: u8, reg: u8, other: u8, rm: Rm, extra: Extra) {
        let flip = |bits: u8, n: u8| (!bits >> n) & 1;
        let (x, b, upper) = match rm {
            Rm::Reg(m) => (flip(m, 4), flip(m, 3), flip(other, 4)),
            Rm::Mem(m) => {
                let (index, _) = m.index.unwrap_or((0, 0));
                // The fifth bit of a vector of indices takes the place of that of the other register.
                let upper = if m.gather.is_some() { flip(index, 4) } else { flip(other, 4) };
                (flip(index, 3), flip(m.base, 3), upper)
            }
        };
        let length = match bytes {
            64 => 2,
            32 => 1,
            _ => 0,
        };
        let repeat = matches!(rm, Rm::Mem(Mem { repeat: true, .. }));
        let field = if matches!(rm, Rm::Mem(Mem { gather: Some(_), .. })) { 0 } else { other };
        self.bytes.extend([
            0x62,
            flip(reg, 3) << 7 | x << 6 | b << 5 | flip(reg, 4) << 4 | op.map,
            op.w.0 << 7 | (!field & 15) << 3 | 4 | op.prefix,
            u8::from(extra.zeroing) << 7 | length << 5 | u8::from(repeat) << 4 | upper << 3 | extra.mask,
            op.opcode,
        ]);
        let unit = match (repeat, op.memory) {
            (true, _) => op.element.into(),
            (_, Held::Vector(halved)) => i32::from(bytes) >> halved,
            (_, Held::Bytes(n)) => n.into(),
        };
        self.operand(reg, rm, unit);
    }

    #[allow(clippy::too_many_arguments)] // The fields of the prefix.
    fn vex(&mut self, map: u8, prefix: u8, w: u8, length: u8, opcode: u8, reg: u8, other: u8, rm: Rm) {
        let flip = |bits: u8| (!bits >> 3) & 1;
        let (x, b) = match rm {
            Rm::Reg(m) => (1, flip(m)),
            Rm::Mem(m) => (m.index.map_or(1, |(i, _)| flip(i)), flip(m.base)),
        };
        let last = (!other & 15) << 3 | length << 2 | prefix;
        if (x, b, w, map) == (1, 1, 0, 1) {
            self.bytes.extend([0xc5, flip(reg) << 7 | last, opcode]);
        } else {
            self.bytes.extend([0xc4, flip(reg) << 7 | x << 6 | b << 5 | map, w << 7 | last, opcode]);
        }
        self.operand(reg, rm, 1);
    }

    /// The bytes that name `reg` and `rm`; a short displacement counts in units.
    fn operand(&mut self, reg: u8, rm: Rm, unit: i32) {
        let reg = (reg & 7) << 3;
        let m = match rm {
            Rm::Reg(m) => return self.bytes.push(0xc0 | reg | m & 7),
            Rm::Mem(m) => m,
        };
        let short = i8::try_from(m.disp / unit).ok().filter(|&d| i32::from(d) * unit == m.disp);
        // A base whose low bits are those of rbp always has a displacement.
        let mode = match short {
            Some(0) if m.base & 7 != RBP => 0,
            Some(_) => 0x40,
            None => 0x80,
        };
        if m.index.is_none() && m.base & 7 != RSP {
            self.bytes.push(mode | reg | m.base & 7);
        } else {
            let (index, scale) = m.index.unwrap_or((RSP, 0));
            self.bytes.extend([mode | reg | 4, scale << 6 | (index & 7) << 3 | m.base & 7]);
        }
        match (mode, short) {
            (0x40, Some(d)) => self.bytes.push(d as u8),
            (0x80, _) => self.bytes.extend(m.disp.to_le_bytes()),
            _ => {}
        }
    }

    /// An instruction on mask registers, all VEX: `op k_reg, k_other, k_rm` on 16 bits.
    pub fn masks(&mut self, name: &'static str, opcode: u8, reg: u8, other: Option<u8>, rm: u8) {
        let at = self.bytes.len();
        self.vex(1, 0, 0, u8::from(other.is_some()), opcode, reg, other.unwrap_or(0), Rm::Reg(rm));
        match other {
            Some(k) => self.line(at, name, &[Shown::Mask(reg), Shown::Mask(k), Shown::Mask(rm)]),
            None => self.line(at, name, &[Shown::Mask(reg), Shown::Mask(rm)]),
        }
    }

    /// `kmovw`: the lower 16 bits of a general register to a mask.
    pub fn mask_from(&mut self, k: u8, general: u8) {
        let at = self.bytes.len();
        self.vex(1, 0, 0, 0, 0x92, k, 0, Rm::Reg(general));
        self.line(at, "kmovw", &[Shown::Mask(k), Shown::General(general, 4)]);
    }

    /// A mask to memory.
    pub fn mask_store(&mut self, k: u8, to: Mem) {
        let at = self.bytes.len();
        self.vex(1, 0, 0, 0, 0x91, k, 0, Rm::Mem(to));
        self.line(at, "kmovw", &[Shown::Mem(to), Shown::Mask(k)]);
    }

    /// A mask from memory.
    pub fn mask_load(&mut self, k: u8, from: Mem) {
        let at = self.bytes.len();
        self.vex(1, 0, 0, 0, 0x90, k, 0, Rm::Mem(from));
        self.line(at, "kmovw", &[Shown::Mask(k), Shown::Mem(from)]);
    }

    pub fn zero_upper(&mut self) {
        self.line(self.bytes.len(), "vzeroupper", &[]);
        self.bytes.extend([0xc5, 0xf8, 0x77]);
    }

    /// An instruction on general registers of 8 bytes, or of 4.
    fn general(&mut self, wide: bool, opcode: &[u8], reg: u8, rm: Rm) {
        let (x, b) = match rm {
            Rm::Reg(m) => (0, m >> 3),
            Rm::Mem(m) => (m.index.map_or(0, |(i, _)| i >> 3), m.base >> 3),
        };
        let rex = u8::from(wide) << 3 | (reg >> 3) << 2 | x << 1 | b;
        if rex != 0 {
            self.bytes.push(0x40 | rex);
        }
        self.bytes.extend(opcode);
        self.operand(reg, rm, 1);
    }

    pub fn load(&mut self, to: u8, from: Mem) {
        self.line(self.bytes.len(), "mov", &[Shown::General(to, 8), Shown::Mem(from)]);
        self.general(true, &[0x8b], to, Rm::Mem(from));
    }

    /// `to` = the address of a place.
    pub fn effective(&mut self, to: u8, of: Mem) {
        self.line(self.bytes.len(), "lea", &[Shown::General(to, 8), Shown::Mem(of)]);
        self.general(true, &[0x8d], to, Rm::Mem(of));
    }

    pub fn copy(&mut self, to: u8, from: u8) {
        self.line(self.bytes.len(), "mov", &[Shown::General(to, 8), Shown::General(from, 8)]);
        self.general(true, &[0x89], from, Rm::Reg(to));
    }

    /// `to = number`, zero-extended.
    pub fn number(&mut self, to: u8, number: i32) {
        self.line(self.bytes.len(), "mov", &[Shown::General(to, 4), Shown::Number(number.into())]);
        if to >= 8 {
            self.bytes.push(0x41);
        }
        self.bytes.push(0xb8 | to & 7);
        self.bytes.extend(number.to_le_bytes());
    }

    fn with_number(&mut self, name: &'static str, digit: u8, to: u8, number: i32) {
        self.line(self.bytes.len(), name, &[Shown::General(to, 8), Shown::Number(number.into())]);
        match i8::try_from(number) {
            Ok(short) => {
                self.general(true, &[0x83], digit, Rm::Reg(to));
                self.bytes.push(short as u8);
            }
            Err(_) => {
                self.general(true, &[0x81], digit, Rm::Reg(to));
                self.bytes.extend(number.to_le_bytes());
            }
        }
    }

    pub fn add_number(&mut self, to: u8, number: i32) {
        self.with_number("add", 0, to, number);
    }

    /// `to = x · number`
    pub fn times(&mut self, to: u8, x: u8, number: i32) {
        self.line(self.bytes.len(), "imul", &[Shown::General(to, 8), Shown::General(x, 8), Shown::Number(number.into())]);
        self.general(true, &[0x69], to, Rm::Reg(x));
        self.bytes.extend(number.to_le_bytes());
    }

    /// Adds a number in memory.
    pub fn add_from(&mut self, to: u8, from: Mem) {
        self.line(self.bytes.len(), "add", &[Shown::General(to, 8), Shown::Mem(from)]);
        self.general(true, &[0x03], to, Rm::Mem(from));
    }

    pub fn and_number(&mut self, to: u8, number: i32) {
        self.with_number("and", 4, to, number);
    }

    pub fn subtract(&mut self, to: u8, from: u8) {
        self.line(self.bytes.len(), "sub", &[Shown::General(to, 8), Shown::General(from, 8)]);
        self.general(true, &[0x29], from, Rm::Reg(to));
    }

    pub fn compare(&mut self, x: u8, y: u8) {
        self.line(self.bytes.len(), "cmp", &[Shown::General(x, 8), Shown::General(y, 8)]);
        self.general(true, &[0x39], y, Rm::Reg(x));
    }

    /// `to = from` if the comparison before says so.
    pub fn copy_when(&mut self, when: When, to: u8, from: u8) {
        let name = match when {
            When::Equal => "cmove",
            When::Below => "cmovl",
            When::AtMost => "cmovle",
            When::Above => "cmovg",
        };
        self.line(self.bytes.len(), name, &[Shown::General(to, 8), Shown::General(from, 8)]);
        self.general(true, &[0x0f, 0x40 | when as u8], to, Rm::Reg(from));
    }

    pub fn double(&mut self, x: u8) {
        self.line(self.bytes.len(), "add", &[Shown::General(x, 8), Shown::General(x, 8)]);
        self.general(true, &[0x01], x, Rm::Reg(x));
    }

    /// A logical shift of the lower 32 bits to the right.
    pub fn shift_right(&mut self, x: u8, count: u8) {
        self.line(self.bytes.len(), "shr", &[Shown::General(x, 4), Shown::Number(count.into())]);
        self.general(false, &[0xc1], 5, Rm::Reg(x));
        self.bytes.push(count);
    }

    /// `to` = the lower `count` bits of `x`, of 32; `count` is below 256.
    pub fn low_bits(&mut self, to: u8, x: u8, count: u8) {
        let at = self.bytes.len();
        self.vex(2, 0, 0, 0, 0xf5, to, count, Rm::Reg(x));
        self.line(at, "bzhi", &[Shown::General(to, 4), Shown::General(x, 4), Shown::General(count, 4)]);
    }

    pub fn push(&mut self, x: u8) {
        self.line(self.bytes.len(), "push", &[Shown::General(x, 8)]);
        if x >= 8 {
            self.bytes.push(0x41);
        }
        self.bytes.push(0x50 | x & 7);
    }

    pub fn pop(&mut self, x: u8) {
        self.line(self.bytes.len(), "pop", &[Shown::General(x, 8)]);
        if x >= 8 {
            self.bytes.push(0x41);
        }
        self.bytes.push(0x58 | x & 7);
    }

    pub fn ret(&mut self) {
        self.line(self.bytes.len(), "ret", &[]);
        self.bytes.push(0xc3);
    }

    /// A label that is placed later.
    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    pub fn place(&mut self, label: Label) {
        self.labels[label.0] = Some(self.bytes.len());
    }

    /// A label that is here.
    pub fn here(&mut self) -> Label {
        let label = self.label();
        self.place(label);
        label
    }

    pub fn jump(&mut self, to: Label) {
        self.line(self.bytes.len(), "jmp", &[Shown::Code(0)]);
        self.bytes.push(0xe9);
        self.target(to);
    }

    pub fn jump_when(&mut self, when: When, to: Label) {
        self.line(self.bytes.len(), when.jump(), &[Shown::Code(0)]);
        self.bytes.extend([0x0f, 0x80 | when as u8]);
        self.target(to);
    }

    /// `to` = the address of a label.
    pub fn address(&mut self, to: u8, of: Label) {
        self.line(self.bytes.len(), "lea", &[Shown::General(to, 8), Shown::Code(0)]);
        self.bytes.extend([0x48 | (to >> 3) << 2, 0x8d, (to & 7) << 3 | 5]);
        self.target(of);
    }

    fn target(&mut self, to: Label) {
        self.bytes.extend([0; 4]);
        self.jumps.push((self.bytes.len(), self.lines.len() - 1, to));
    }

    /// Fills with zeros up to a multiple of `alignment`.
    pub fn align(&mut self, alignment: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(alignment), 0);
    }

    /// The finished code: jumps lead to their labels.
    pub fn finish(mut self) -> (Vec<u8>, Listing) {
        for (end, line, label) in self.jumps {
            let to = self.labels[label.0].expect("labels that are used are placed");
            let distance = to as i64 - end as i64;
            self.bytes[end - 4..end].copy_from_slice(&(distance as i32).to_le_bytes());
            if let Some(shown) = self.lines[line].operands.iter_mut().find(|o| matches!(o, Shown::Code(_))) {
                *shown = Shown::Code(to as u32);
            }
        }
        (self.bytes, Listing(self.lines))
    }
}

fn general_name(f: &mut fmt::Formatter, register: u8, bytes: u8) -> fmt::Result {
    let name = NAMES[register as usize];
    match (register < 8, bytes) {
        (true, 8) => write!(f, "r{name}"),
        (true, _) => write!(f, "e{name}"),
        (false, 8) => write!(f, "r{name}"),
        (false, _) => write!(f, "r{name}d"),
    }
}

fn vector_name(f: &mut fmt::Formatter, register: u8, bytes: u8) -> fmt::Result {
    let kind = match bytes {
        64 => 'z',
        32 => 'y',
        _ => 'x',
    };
    write!(f, "{kind}mm{register}")
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match *self {
            Shown::None => Ok(()),
            Shown::Vector(r, bytes) => vector_name(f, r, bytes),
            Shown::Mask(k) => write!(f, "k{k}"),
            Shown::General(r, bytes) => general_name(f, r, bytes),
            Shown::Number(n) => write!(f, "{n}"),
            Shown::Code(at) => write!(f, "@{at:x}"),
            Shown::Mem(m) => {
                write!(f, "[")?;
                general_name(f, m.base, 8)?;
                if let Some((index, scale)) = m.index {
                    write!(f, " + ")?;
                    match m.gather {
                        Some(bytes) => vector_name(f, index, bytes)?,
                        None => general_name(f, index, 8)?,
                    }
                    write!(f, "*{}", 1 << scale)?;
                }
                if m.disp != 0 {
                    write!(f, " {} {}", if m.disp < 0 { '-' } else { '+' }, m.disp.unsigned_abs())?;
                }
                write!(f, "]{}", if m.repeat { "{1to}" } else { "" })
            }
        }
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for line in &self.0 {
            write!(f, "  {:5x}  {:12}", line.at, line.name)?;
            for (i, operand) in line.operands.iter().enumerate().take_while(|(_, o)| **o != Shown::None) {
                write!(f, "{}{operand}", if i == 0 { " " } else { ", " })?;
                if i == 0 && line.mask != 0 {
                    write!(f, "{{k{}}}{}", line.mask, if line.zeroing { "{z}" } else { "" })?;
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
