//! Operators: attributes and instances, and in the modules below the record that declares everything about one.

mod lowering;
mod record;
mod samples;

pub use lowering::{
    Body, Contraction, ContractionBody, Decompose, Indexing, Lowering, Place, ReduceKind, Reduction, Role, Scatter,
};
pub use record::{Batch, BatchArgs, Jvp, JvpArgs, Record, Reference, Vjp, VjpArgs};
pub use samples::{Fill, Sample, Samples};

use crate::array::Array;
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::graph::Region;
use crate::types::{DType, Shape, TensorType};
use smallvec::SmallVec;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The types of an operator's results.
pub type Types = SmallVec<[TensorType; 2]>;

/// The value of an attribute: what distinguishes two instances of an operator besides their operands.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Attr {
    /// An integer.
    Int(i64),
    /// A switch.
    Bool(bool),
    /// A real number.
    Float(Float),
    /// An element type.
    DType(DType),
    /// Integers: axes, permutations, strides.
    Ints(SmallVec<[i64; 4]>),
    /// One extent.
    Dim(Dim),
    /// Extents.
    Dims(Shape),
    /// One of a fixed set of names: a kind, a comparison.
    Name(&'static str),
    /// Text: the message of a check.
    Text(Arc<str>),
    /// A small constant tensor.
    Array(Arc<Array>),
    /// A nested graph.
    Region(Region),
}

/// An `f64` compared by its bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Float(u64);

impl Float {
    /// From a number.
    pub fn new(value: f64) -> Float {
        Float(value.to_bits())
    }

    /// The number.
    pub fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

impl fmt::Debug for Float {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.get())
    }
}

/// The type of an attribute; directs the parser.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttrKind {
    /// [`Attr::Int`]
    Int,
    /// [`Attr::Bool`]
    Bool,
    /// [`Attr::Float`]
    Float,
    /// [`Attr::DType`]
    DType,
    /// [`Attr::Ints`]
    Ints,
    /// [`Attr::Dim`]
    Dim,
    /// [`Attr::Dims`]
    Dims,
    /// [`Attr::Name`], one of these.
    Name(&'static [&'static str]),
    /// [`Attr::Text`]
    Text,
    /// [`Attr::Array`]
    Array,
    /// [`Attr::Region`]
    Region,
}

/// An operator with its attributes. Cheap to clone; the payload of graph nodes and of e-nodes.
#[derive(Clone)]
pub struct Op {
    record: &'static Record,
    attrs: Arc<[Attr]>,
}

impl Op {
    /// An instance of `record`; `attrs` in the order of `record.attrs`.
    pub fn new(record: &'static Record, attrs: impl IntoIterator<Item = Attr>) -> Op {
        let attrs: Arc<[Attr]> = attrs.into_iter().collect();
        debug_assert_eq!(attrs.len(), record.attrs.len(), "attributes of {}", record.name);
        Op { record, attrs }
    }

    /// The record.
    pub fn record(&self) -> &'static Record {
        self.record
    }

    /// The operator's name.
    pub fn name(&self) -> &'static str {
        self.record.name
    }

    /// Whether this is an instance of `record`.
    pub fn is(&self, record: &'static Record) -> bool {
        std::ptr::eq(self.record, record)
    }

    /// The attributes in declaration order.
    pub fn attrs(&self) -> &[Attr] {
        &self.attrs
    }

    /// The attribute called `name`. It must be one that the record declares.
    pub fn attr(&self, name: &str) -> &Attr {
        let i = self.record.attrs.iter().position(|(n, _)| *n == name);
        &self.attrs[i.unwrap_or_else(|| panic!("operator {} declares no attribute {name}", self.name()))]
    }

    /// A copy with one attribute replaced.
    pub fn with_attr(&self, name: &str, value: Attr) -> Op {
        let attrs = self.record.attrs.iter().zip(self.attrs.iter());
        Op::new(self.record, attrs.map(|((n, _), old)| if *n == name { value.clone() } else { old.clone() }))
    }

    /// An integer attribute.
    pub fn int(&self, name: &str) -> i64 {
        match self.attr(name) {
            Attr::Int(i) => *i,
            other => unreachable!("attribute {name} of {} is {other:?}", self.name()),
        }
    }

    /// A switch.
    pub fn bool(&self, name: &str) -> bool {
        match self.attr(name) {
            Attr::Bool(b) => *b,
            other => unreachable!("attribute {name} of {} is {other:?}", self.name()),
        }
    }

    /// A real attribute.
    pub fn float(&self, name: &str) -> f64 {
        match self.attr(name) {
            Attr::Float(x) => x.get(),
            other => unreachable!("attribute {name} of {} is {other:?}", self.name()),
        }
    }

    /// An element type attribute.
    pub fn dtype(&self, name: &str) -> DType {
        match self.attr(name) {
            Attr::DType(d) => *d,
            other => unreachable!("attribute {name} of {} is {other:?}", self.name()),
        }
    }

    /// A list of integers.
    pub fn ints(&self, name: &str) -> &[i64] {
        match self.attr(name) {
            Attr::Ints(v) => v,
            other => unreachable!("attribute {name} of {} is {other:?}", self.name()),
        }
    }

    /// A list of axes, as indices.
    pub fn axes(&self, name: &str) -> SmallVec<[usize; 4]> {
        self.ints(name).iter().map(|&a| a as usize).collect()
    }

    /// An extent.
    pub fn dim(&self, name: &str) -> Dim {
        match self.attr(name) {
            Attr::Dim(d) => *d,
            other => unreachable!("attribute {name} of {} is {other:?}", self.name()),
        }
    }

    /// A list of extents.
    pub fn dims(&self, name: &str) -> &[Dim] {
        match self.attr(name) {
            Attr::Dims(d) => d,
            other => unreachable!("attribute {name} of {} is {other:?}", self.name()),
        }
    }

    /// A name out of a fixed set.
    pub fn choice(&self, name: &str) -> &'static str {
        match self.attr(name) {
            Attr::Name(n) => n,
            other => unreachable!("attribute {name} of {} is {other:?}", self.name()),
        }
    }

    /// A text.
    pub fn text(&self, name: &str) -> &str {
        match self.attr(name) {
            Attr::Text(t) => t,
            other => unreachable!("attribute {name} of {} is {other:?}", self.name()),
        }
    }

    /// A constant tensor.
    pub fn array(&self, name: &str) -> &Arc<Array> {
        match self.attr(name) {
            Attr::Array(a) => a,
            other => unreachable!("attribute {name} of {} is {other:?}", self.name()),
        }
    }

    /// A nested graph.
    pub fn region(&self, name: &str) -> &Region {
        match self.attr(name) {
            Attr::Region(r) => r,
            other => unreachable!("attribute {name} of {} is {other:?}", self.name()),
        }
    }

    /// The nested graphs, with the names of their attributes.
    pub fn regions(&self) -> impl Iterator<Item = (&'static str, &Region)> {
        self.record.attrs.iter().zip(self.attrs.iter()).filter_map(|((name, _), attr)| match attr {
            Attr::Region(region) => Some((*name, region)),
            _ => None,
        })
    }

    /// A copy with other nested graphs, in the order of [`Op::regions`].
    pub fn with_regions(&self, regions: impl IntoIterator<Item = Region>) -> Op {
        let mut regions = regions.into_iter();
        let attr = |attr: &Attr| match attr {
            Attr::Region(old) => Attr::Region(regions.next().unwrap_or_else(|| old.clone())),
            other => other.clone(),
        };
        Op::new(self.record, self.attrs.iter().map(attr).collect::<Vec<_>>())
    }

    /// Whether a node may be dropped when nobody uses its results: not if it is or contains a check.
    pub fn removable(&self) -> bool {
        let contains_check = |a: &Attr| matches!(a, Attr::Region(r) if r.contains_check());
        self.record.name != "check" && !self.attrs.iter().any(contains_check)
    }

    /// The types of the results for operands of these types.
    ///
    /// # Errors
    /// If the operands do not fit, or a result would be larger than any memory; the message names the operator and lists
    /// the operands' types.
    pub fn infer(&self, operands: &[TensorType]) -> Result<Types> {
        let results = (self.record.infer)(self, operands)?;
        match results.iter().find(|ty| !ty.is_addressable()) {
            Some(ty) => Err(type_error(self, operands, format!("makes {ty}, which no memory can hold"))),
            None => Ok(results),
        }
    }
}

impl PartialEq for Op {
    fn eq(&self, other: &Op) -> bool {
        self.record.name == other.record.name && (Arc::ptr_eq(&self.attrs, &other.attrs) || self.attrs == other.attrs)
    }
}

impl Eq for Op {}

impl Hash for Op {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.record.name.hash(state);
        self.attrs.hash(state);
    }
}

impl PartialOrd for Op {
    fn partial_cmp(&self, other: &Op) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Op {
    fn cmp(&self, other: &Op) -> std::cmp::Ordering {
        self.record.name.cmp(other.record.name).then_with(|| self.attrs.cmp(&other.attrs))
    }
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The canonical text: the name, then the attributes sorted by name: `reduce {axes=[1], kind=sum}`.
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        let mut attrs: Vec<(&str, &Attr)> = self.record.attrs.iter().map(|(n, _)| *n).zip(self.attrs.iter()).collect();
        attrs.sort_by_key(|(n, _)| *n);
        for (i, (name, value)) in attrs.iter().enumerate() {
            write!(f, "{}{name}={value}", if i == 0 { " {" } else { ", " })?;
        }
        f.write_str(if attrs.is_empty() { "" } else { "}" })
    }
}

impl fmt::Display for Attr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[T]) -> fmt::Result {
            f.write_str("[")?;
            for (i, item) in items.iter().enumerate() {
                write!(f, "{}{item}", if i > 0 { ", " } else { "" })?;
            }
            f.write_str("]")
        }
        match self {
            Attr::Int(i) => write!(f, "{i}"),
            Attr::Bool(b) => write!(f, "{b}"),
            Attr::Float(x) => write!(f, "{x:?}"),
            Attr::DType(d) => write!(f, "{d}"),
            Attr::Ints(v) => list(f, v),
            Attr::Dim(d) => write!(f, "{d}"),
            Attr::Dims(d) => list(f, d),
            Attr::Name(n) => f.write_str(n),
            Attr::Text(t) => write!(f, "{t:?}"),
            Attr::Array(a) => {
                write!(f, "{} ", a.ty())?;
                list(f, &(0..a.len()).map(|i| a.literal(i)).collect::<Vec<_>>())
            }
            Attr::Region(r) => write!(f, "@{}", r.graph().name),
        }
    }
}

/// An error of a type rule: what is wrong, then the operands.
pub fn type_error(op: &Op, operands: &[TensorType], message: impl fmt::Display) -> Error {
    let mut error = Error::new(format!("{} {message}", op.name()));
    for (i, ty) in operands.iter().enumerate() {
        error = error.note(format!("operand {i}"), ty);
    }
    error
}
