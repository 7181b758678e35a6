//! Encodings against another project's decoder.

use super::encode::{Code, Extra, Held, Line, Listing, Mem, Op, Rm, Shown};
use super::table;
use iced_x86::{Decoder, DecoderOptions, Instruction, OpKind, Register};

/// The text of a register in a listing.
fn named(register: Register) -> String {
    format!("{register:?}").to_lowercase()
}

fn shown_memory(i: &Instruction) -> Mem {
    let number = |r: Register| r.number() as u8;
    let index =
        (i.memory_index() != Register::None).then(|| (number(i.memory_index()), i.memory_index_scale().trailing_zeros() as u8));
    let gather = i.is_vsib().then(|| i.memory_index().size() as u8);
    Mem { base: number(i.memory_base()), index, disp: i.memory_displacement64() as i32, repeat: i.is_broadcast(), gather }
}

/// An operand as the decoder sees it, in the words of a listing.
fn decoded(i: &Instruction, operand: u32) -> String {
    match i.op_kind(operand) {
        OpKind::Register => named(i.op_register(operand)),
        OpKind::Memory if i.is_ip_rel_memory_operand() => Shown::Code(i.ip_rel_memory_address() as u32).to_string(),
        OpKind::Memory => Shown::Mem(shown_memory(i)).to_string(),
        OpKind::NearBranch64 => Shown::Code(i.near_branch64() as u32).to_string(),
        _ => Shown::Number(i.immediate(operand) as i64).to_string(),
    }
}

/// A line of a listing against the instruction that its bytes are.
fn check_line(line: &Line, i: &Instruction, bytes: &[u8]) {
    let context = || format!("{} decodes to {i:?}: {bytes:02x?}", Listing(vec![*line]));
    assert_eq!(line.name, format!("{:?}", i.mnemonic()).to_lowercase(), "{}", context());
    let mut operands: Vec<String> = (0..i.op_count()).map(|n| decoded(i, n)).collect();
    let shown: Vec<String> = line.operands.iter().filter(|o| **o != Shown::None).map(|o| o.to_string()).collect();
    let number = |text: &String| text.parse::<i64>().ok();
    for (a, b) in operands.iter_mut().zip(&shown) {
        // A short immediate is shown with its sign.
        if let (Some(x), Some(y)) = (number(a), number(b))
            && x as u32 == y as u32
        {
            a.clone_from(b);
        }
    }
    assert_eq!(operands, shown, "{}", context());
    let mask = if i.op_mask() == Register::None { 0 } else { i.op_mask().number() as u8 };
    assert_eq!((mask, i.zeroing_masking()), (line.mask, line.zeroing), "{}", context());
}

/// Every instruction of a strip decodes to what its listing says.
pub(super) fn check_listing(bytes: &[u8], listing: &Listing, _wide: bool) {
    let mut decoder = Decoder::new(64, bytes, DecoderOptions::NONE);
    for (n, line) in listing.0.iter().enumerate() {
        let i = decoder.decode();
        assert_eq!(i.ip(), u64::from(line.at), "instruction {n} of\n{listing}");
        check_line(line, &i, &bytes[line.at as usize..(line.at as usize + i.len()).min(bytes.len())]);
    }
}

/// An instruction with a vector or memory operand in each of its forms.
fn check_op(op: &Op, bytes: u8, evex: bool, rm: Rm, reg: u8, other: u8) {
    let mut code = Code::new(evex);
    code.vector(op, bytes, reg, other, rm, Extra { imm: Some(1), ..Extra::default() }, &[]);
    let i = Decoder::new(64, &code.bytes, DecoderOptions::NONE).decode();
    // Some instructions have no immediate, no second operand, no memory form: those are checked where strips use them.
    let name = if evex || op.vex_name.is_empty() { op.name } else { op.vex_name };
    if format!("{:?}", i.mnemonic()).to_lowercase() != name {
        return;
    }
    if let Rm::Mem(m) = rm
        && (0..i.op_count()).any(|n| i.op_kind(n) == OpKind::Memory)
    {
        assert_eq!(shown_memory(&i), m, "{op:?} {bytes}: {:02x?}", code.bytes);
    }
}

#[test]
fn memory_operands_decode_to_what_was_encoded() {
    for op in table::ALL {
        for bytes in [16, 32, 64] {
            for (base, index) in [(0, None), (4, None), (5, None), (12, Some((13, 2))), (13, Some((6, 3))), (7, Some((0, 0)))] {
                for disp in [0, 4, 64, 128, -64, 1000, 4096] {
                    for repeat in [false, op.element > 0] {
                        let mem = Mem { base, index, disp, repeat, gather: None };
                        let gathers = op.name.starts_with("vgather");
                        if !gathers && (bytes < 64 || !matches!(op.memory, Held::Bytes(_))) {
                            check_op(op, bytes, true, Rm::Mem(mem), 17, 0);
                        }
                        if bytes < 64 && !repeat && !gathers {
                            check_op(op, bytes, false, Rm::Mem(mem), 9, 0);
                        }
                    }
                }
            }
        }
    }
}
