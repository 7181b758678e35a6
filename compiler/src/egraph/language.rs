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
    const COMMUTES: u16 = 1 << 15;
    /// Selects one result of an operator with several.
    pub const GET: Kind = Kind(0);
    /// Everything the graph must compute: outputs and checks.
    pub const ROOTS: Kind = Kind(1);
    /// A node that must stay as it is: no rule sees what it is, and no other node equals it.
    pub const OPAQUE: Kind = Kind(2);
    const RECORDS: u16 = 3;

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
        KINDS.records.get((self.0 & !Kind::COMMUTES).checked_sub(Kind::RECORDS)? as usize).copied()
    }

    /// Whether swapping the two operands changes no bit of the result. (Maximum and minimum may choose another zero.)
    pub fn commutes(self) -> bool {
        self.0 & Kind::COMMUTES != 0
    }

    /// Whether the operator works element by element on operands of one shape.
    pub fn is_pointwise(self) -> bool {
        KINDS.pointwise.contains(&self)
    }

    /// Whether the operator only moves elements, or makes them of nothing.
    pub fn is_view(self) -> bool {
        KINDS.views.contains(&self)
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
    views: Vec<Kind>,
}

static KINDS: LazyLock<Kinds> = LazyLock::new(|| {
    let records: Vec<&'static Record> = ops::records().collect();
    let kind = |(i, r): (usize, &&'static Record)| {
        let commutes = matches!(r.name, "add" | "mul" | "eq" | "ne" | "and" | "or" | "xor");
        (r.name, Kind((i as u16 + Kind::RECORDS) | if commutes { Kind::COMMUTES } else { 0 }))
    };
    let by_name: HashMap<_, _> = records.iter().enumerate().map(kind).collect();
    let pointwise = ops::pointwise::POINTWISE.iter().copied().flatten().map(|r| by_name[r.name]).collect();
    let views = ops::shape::SHAPE.iter().map(|r| r.name).chain(["iota", "constant"]).map(|n| by_name[n]).collect();
    Kinds { records, by_name, pointwise, views }
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
