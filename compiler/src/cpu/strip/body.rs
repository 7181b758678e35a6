//! The straight-line body of a strip, before registers are chosen: what is done for one vector of elements.

use super::encode::Op;
use igneous_ir::types::DType;
use smallvec::SmallVec;

/// A value of the body, made once.
pub(super) type V = u32;

/// What a register holds for each element.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    /// 32 bits.
    Word,
    /// 64 bits.
    Long,
    /// A bit, in a mask register.
    Mask,
}

/// An operand.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Arg {
    Value(V),
    /// A constant.
    Pool(u32),
    /// A number from the strip's table, the same for all elements.
    Slot(u32),
    /// The constants 0, 1, 2, … of the vector that is being computed.
    Lanes,
    /// An accumulator of a reduction: of the vectors computed together, each has the next one.
    Accumulator(u8),
}

/// How the operands of an instruction are laid out.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Kind {
    /// `to = op(a)` or `to = op(a, b)`.
    Plain,
    /// `to = a · b + c`; `op` is the form 213, and [`forms`](super::select::forms) gives the others.
    Fma,
    /// `to = a` where the mask is not set, `op(b)` or `op(b, c)` where it is.
    Merge,
    /// `to = op(a)` by an immediate; the number is part of the opcode.
    Shift(u8),
    /// `to = op(a)`, with the operand fields exchanged.
    Reversed,
    /// Picks from `b` where the sign of `c` is set, from `a` else.
    Pick,
    /// The index of the first element, in all lanes.
    Index,
    /// From a stream.
    Load(u32),
    /// `a` to a stream.
    Store(u32),
    /// The first or second half of the elements in memory, from a stream of pairs.
    LoadHalf(u32, u8),
    /// The same to a stream.
    StoreHalf(u32, u8),
    /// From anywhere: `a` is the distance in elements of each lane from where this says.
    Gather(Origin),
    /// `a` to the accumulator, of the elements that there are.
    Keep,
    /// The first lane of `a` to a slot of the table.
    Result(u32),
    /// On masks: the opcode; `op` is not used.
    Masks(u8, &'static str),
}

/// An instruction on values.
#[derive(Clone, Debug)]
pub(super) struct Inst {
    pub op: &'static Op,
    pub kind: Kind,
    /// Bytes of the vectors it works on.
    pub bytes: u8,
    pub to: Option<Arg>,
    pub args: SmallVec<[Arg; 3]>,
    pub mask: Option<V>,
    pub imm: Option<u8>,
}

/// A constant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Constant {
    /// The bits of each lane; one if all are equal.
    pub lanes: SmallVec<[u64; 1]>,
    /// Bytes of a lane.
    pub element: u8,
}

/// Where the elements of a gather are counted from.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Origin {
    /// The slot of the table that has the address for index 0.
    pub slot: u32,
    /// In bytes, from one index to the next.
    pub step: i32,
    /// Bytes of the vector of distances.
    pub distances: u8,
}

/// A row of elements in memory, one for each index, or two that lie side by side.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Stream {
    /// The slot of the table that has the address of element 0.
    pub slot: u32,
    pub dtype: DType,
    pub pair: bool,
    /// Whether it is stored past the caches where that is possible.
    pub past: bool,
}

/// What makes a body a reduction: it goes on with 32 accumulators, in as many registers as they take.
#[derive(Clone, Debug)]
pub(super) struct Fold {
    /// Registers of accumulators.
    pub registers: u8,
    /// What gives them their first values, for each chunk.
    pub start: Vec<Inst>,
    /// What is done with them behind a chunk.
    pub finish: Vec<Inst>,
    /// Whether there may be more than one chunk.
    pub chunked: bool,
}

/// What is done for one vector of elements.
#[derive(Clone, Debug)]
pub(super) struct Body {
    /// AVX-512; AVX2 else.
    pub wide: bool,
    /// Elements of a vector. The widest elements fill a register.
    pub lanes: u8,
    pub classes: Vec<Class>,
    pub insts: Vec<Inst>,
    pub fold: Option<Fold>,
    pub pool: Vec<Constant>,
    pub streams: Vec<Stream>,
}

impl Body {
    pub fn new(wide: bool, lanes: u8) -> Body {
        Body { wide, lanes, classes: Vec::new(), insts: Vec::new(), fold: None, pool: Vec::new(), streams: Vec::new() }
    }

    /// Bytes of a register of a class. Without mask registers, a mask has lanes of the widest elements.
    pub fn bytes(&self, class: Class) -> u8 {
        match class {
            Class::Word => 4 * self.lanes,
            Class::Long => 8 * self.lanes,
            Class::Mask => 32,
        }
    }

    /// Whether elements are gathered.
    pub fn gathers(&self) -> bool {
        self.insts.iter().any(|i| matches!(i.kind, Kind::Gather(_)))
    }

    /// Whether values of 64 bits fill a register.
    pub fn long(&self) -> bool {
        8 * u32::from(self.lanes) == if self.wide { 64 } else { 32 }
    }

    pub fn value(&mut self, class: Class) -> V {
        self.classes.push(class);
        self.classes.len() as V - 1
    }

    pub fn class(&self, v: V) -> Class {
        self.classes[v as usize]
    }

    /// A constant that is the same in each lane.
    pub fn constant(&mut self, bits: u64, element: u8) -> Arg {
        let bits = if element == 4 { bits & 0xffff_ffff } else { bits };
        self.pooled(Constant { lanes: SmallVec::from_slice(&[bits]), element })
    }

    pub fn pooled(&mut self, constant: Constant) -> Arg {
        let found = self.pool.iter().position(|c| *c == constant);
        Arg::Pool(found.unwrap_or_else(|| {
            self.pool.push(constant);
            self.pool.len() - 1
        }) as u32)
    }

    pub fn push(&mut self, inst: Inst) {
        self.insts.push(inst);
    }
}

/// The register class of a type.
pub(super) fn class_of(dtype: DType) -> Class {
    match dtype {
        DType::F64 | DType::I64 => Class::Long,
        DType::Bool => Class::Mask,
        _ => Class::Word,
    }
}
