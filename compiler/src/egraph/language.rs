//! The terms of the e-graph: an operator and the classes it is applied to.

use egg::{Id, Language};
use igneous_ir::op::Record;
use igneous_ir::{Op, ops};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::LazyLock;

/// Which operator, without attributes: what matching looks up first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Kind(u16);

impl Kind {
    /// Selects one result of an operator with several.
    pub const GET: Kind = Kind(0);
    /// Everything the graph must compute: outputs and checks.
    pub const ROOTS: Kind = Kind(1);
    /// A node that must stay as it is: no rule sees what it is, and no other node equals it.
    pub const OPAQUE: Kind = Kind(2);

    const RECORDS: u16 = 3;
    const COMMUTES: u16 = 1 << 15;
    const SYMMETRIC: u16 = 1 << 14;
    const POINTWISE: u16 = 1 << 13;
    const VIEW: u16 = 1 << 12;
    const NUMBER: u16 = Kind::VIEW - 1;

    /// The kind of an operator.
    pub fn of(op: &Op) -> Kind {
        Kind::named(op.name()).expect("every operator is among the records")
    }

    /// The kind of the operator called `name`.
    pub fn named(name: &str) -> Option<Kind> {
        KINDS.by_name.get(name).copied()
    }

    /// The record, unless this is one of the kinds that only the e-graph knows.
    pub fn record(self) -> Option<&'static Record> {
        KINDS.records.get((self.0 & Kind::NUMBER).checked_sub(Kind::RECORDS)? as usize).copied()
    }

    /// Whether swapping the two operands changes no bit of the result.
    pub fn commutes(self) -> bool {
        self.0 & Kind::COMMUTES != 0
    }

    /// Whether swapping the two operands changes nothing but perhaps the sign of a zero (maximum and minimum).
    pub fn is_symmetric(self) -> bool {
        self.0 & Kind::SYMMETRIC != 0
    }

    /// Whether the operator works element by element on operands of one shape.
    pub fn is_pointwise(self) -> bool {
        self.0 & Kind::POINTWISE != 0
    }

    /// Whether the operator only moves elements, or makes them of nothing.
    pub fn is_view(self) -> bool {
        self.0 & Kind::VIEW != 0
    }

    /// All pointwise kinds, in the order of their records.
    pub fn pointwise() -> &'static [Kind] {
        &KINDS.pointwise
    }
}

struct Kinds {
    records: Vec<&'static Record>,
    by_name: HashMap<&'static str, Kind>,
    pointwise: Vec<Kind>,
}

static KINDS: LazyLock<Kinds> = LazyLock::new(|| {
    let records: Vec<&'static Record> = ops::records().collect();
    let pointwise: Vec<&str> = ops::pointwise::POINTWISE.iter().copied().flatten().map(|r| r.name).collect();
    let kind = |(i, r): (usize, &&'static Record)| {
        let mut flags = match r.name {
            "add" | "mul" | "eq" | "ne" | "and" | "or" | "xor" => Kind::COMMUTES | Kind::SYMMETRIC,
            "maximum" | "minimum" => Kind::SYMMETRIC,
            "iota" | "constant" => Kind::VIEW,
            name if ops::shape::SHAPE.iter().any(|s| s.name == name) => Kind::VIEW,
            _ => 0,
        };
        if pointwise.contains(&r.name) {
            flags |= Kind::POINTWISE;
        }
        (r.name, Kind((i as u16 + Kind::RECORDS) | flags))
    };
    let by_name: HashMap<_, _> = records.iter().enumerate().map(kind).collect();
    let pointwise = pointwise.iter().map(|name| by_name[name]).collect();
    Kinds { records, by_name, pointwise }
});

/// An interned [`Op`]; for [`Kind::GET`] the number of the result.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct OpId(pub u32);

/// The operands of an e-node.
pub type Children = SmallVec<[Id; 3]>;

/// An operator applied to classes. The operands of a commutative operator are kept sorted, so that `a + b` and
/// `b + a` are one e-node and no rule for commutativity is needed.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ENode {
    /// Which operator.
    pub kind: Kind,
    /// The operator with its attributes.
    pub op: OpId,
    children: Children,
}

impl ENode {
    /// An e-node.
    pub fn new(kind: Kind, op: OpId, children: Children) -> ENode {
        let mut node = ENode { kind, op, children };
        node.sort();
        node
    }

    fn sort(&mut self) {
        if self.kind.commutes() {
            self.children.sort_unstable();
        }
    }
}

impl Language for ENode {
    type Discriminant = Kind;

    fn discriminant(&self) -> Kind {
        self.kind
    }

    fn matches(&self, other: &ENode) -> bool {
        self.kind == other.kind && self.op == other.op && self.children.len() == other.children.len()
    }

    fn children(&self) -> &[Id] {
        &self.children
    }

    fn children_mut(&mut self) -> &mut [Id] {
        &mut self.children
    }

    fn update_children<F: FnMut(Id) -> Id>(&mut self, mut f: F) {
        self.children.iter_mut().for_each(|id| *id = f(*id));
        self.sort();
    }
}
