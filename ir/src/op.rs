//! Operators: attributes, the record that declares everything about one, and instances of it.

use crate::array::Array;
use crate::dim::Dim;
use crate::emit::{Emitter, X};
use crate::error::{Error, Result};
use crate::graph::Region;
use crate::scalar::{Exprs, S};
use crate::types::{DType, Literal, Shape, TensorType};
use smallvec::SmallVec;
use std::cell::RefCell;
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

/// Everything about one operator. See `ir/src/ops/` for the records.
pub struct Record {
    /// The name, unique among operators.
    pub name: &'static str,
    /// Names and types of the attributes.
    pub attrs: &'static [(&'static str, AttrKind)],
    /// The type rule.
    pub infer: fn(&Op, &[TensorType]) -> Result<Types>,
    /// What the operator computes, in the interpreter's own code, independent of `lowering`.
    pub reference: fn(&Reference) -> Result<Vec<Array>>,
    /// How a back end computes it.
    pub lowering: Lowering,
    /// The reverse-mode derivative.
    pub vjp: Vjp,
    /// The forward-mode derivative.
    pub jvp: Jvp,
    /// What the operator does with a leading batch axis on some operands.
    pub batch: Batch,
    /// Arithmetic operations for the given operand and result types (memory traffic follows from the types).
    pub flops: fn(&Op, &[TensorType], &[TensorType]) -> Dim,
    /// Well-typed instances with inputs: they drive conformance, gradient and round-trip tests, and fuzzing.
    pub samples: fn(&mut Samples),
    /// Ill-typed instances; their messages are snapshots.
    pub error_samples: fn(&mut Samples),
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({})", self.name)
    }
}

/// The arguments of an operator's reference implementation.
pub struct Reference<'a> {
    /// The operator.
    pub op: &'a Op,
    /// The operands. Floats are held as f64, in native mode already rounded to their type.
    pub inputs: &'a [&'a Array],
    /// The result types, all dimensions constant.
    pub results: &'a [TensorType],
}

/// How a back end computes an operator. All but `Composite`, `Library` and `Structural` are forms that fusion understands.
#[derive(Clone, Copy)]
pub enum Lowering {
    /// One element of the result from elements of the operands at any index: pointwise operators,
    /// views, gather, iota, random bits. Can be inlined into whatever reads it.
    Map(for<'a> fn(&Indexing<'a>) -> S<'a>),
    /// A reduction over extra axes at each index of the results.
    Reduction(for<'a> fn(&Indexing<'a>) -> Reduction<'a>),
    /// A sum of products of two operands: `dot_general` and convolution.
    Contraction(for<'a> fn(&Indexing<'a>) -> Contraction<'a>),
    /// Elements added into (or replacing) elements at computed places.
    Scatter(for<'a> fn(&Indexing<'a>) -> Scatter<'a>),
    /// Replaced by other operators just before fusion.
    Composite(Decompose),
    /// Computed by a function of the runtime over whole tensors; not fused with anything.
    Library,
    /// Handled by name in the compiler: `input`, `call`, `grad`, `scan`, `cond`, `while`, `check`.
    Structural,
}

/// Builds the same results from other operators.
pub type Decompose = for<'b, 'e> fn(&'b Emitter<'e>, &Op, &[X<'b, 'e>]) -> Vec<X<'b, 'e>>;

/// The context in which a lowering writes scalar expressions.
#[derive(Clone, Copy)]
pub struct Indexing<'a> {
    /// The arena to build in.
    pub exprs: &'a RefCell<Exprs>,
    /// The operator.
    pub op: &'a Op,
    /// The operand types.
    pub operands: &'a [TensorType],
    /// The result types.
    pub results: &'a [TensorType],
    /// Which result a `Map` is asked for.
    pub result: usize,
    /// The index at which the result is wanted, one `i64` expression for each axis.
    pub index: &'a [S<'a>],
    /// Gives the element of an operand at an index.
    pub load: &'a dyn Fn(usize, &[S<'a>]) -> S<'a>,
}

impl<'a> Indexing<'a> {
    /// The element of operand `k` at `index`.
    pub fn load(&self, k: usize, index: &[S<'a>]) -> S<'a> {
        debug_assert_eq!(index.len(), self.operands[k].rank(), "index of operand {k} of {}", self.op);
        (self.load)(k, index)
    }

    /// An `i64` constant.
    pub fn int(&self, value: i64) -> S<'a> {
        S::int(self.exprs, DType::I64, value)
    }

    /// A dimension as an `i64`.
    pub fn extent(&self, dim: Dim) -> S<'a> {
        S::extent(self.exprs, dim)
    }
}

/// How a reduction combines elements.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum ReduceKind {
    /// Sum. One element, one result.
    Sum,
    /// Product. One element, one result.
    Prod,
    /// Maximum, NaN if any is.
    Max,
    /// Minimum, NaN if any is.
    Min,
    /// Logical or bitwise and.
    And,
    /// Logical or bitwise or.
    Or,
    /// Index (`i64`, row-major over the reduced axes) of the first maximum; the first NaN wins.
    ArgMax,
    /// Index of the first minimum; the first NaN wins.
    ArgMin,
    /// Two results: the maximum `m` and `Σ exp(x - m)`.
    OnlineSoftmax,
    /// Two results: the mean and the sum of squared differences from it.
    Welford,
}

impl ReduceKind {
    /// All kinds.
    pub const ALL: [ReduceKind; 10] = [
        ReduceKind::Sum,
        ReduceKind::Prod,
        ReduceKind::Max,
        ReduceKind::Min,
        ReduceKind::And,
        ReduceKind::Or,
        ReduceKind::ArgMax,
        ReduceKind::ArgMin,
        ReduceKind::OnlineSoftmax,
        ReduceKind::Welford,
    ];

    /// The name in text.
    pub const fn name(self) -> &'static str {
        match self {
            ReduceKind::Sum => "sum",
            ReduceKind::Prod => "prod",
            ReduceKind::Max => "max",
            ReduceKind::Min => "min",
            ReduceKind::And => "and",
            ReduceKind::Or => "or",
            ReduceKind::ArgMax => "argmax",
            ReduceKind::ArgMin => "argmin",
            ReduceKind::OnlineSoftmax => "online_softmax",
            ReduceKind::Welford => "welford",
        }
    }

    /// The kind with this name.
    pub fn from_name(name: &str) -> Option<ReduceKind> {
        ReduceKind::ALL.into_iter().find(|k| k.name() == name)
    }

    /// What a reduction over no elements gives, for kinds that are not `ArgMax`, `ArgMin` or `Welford`
    /// (`OnlineSoftmax`: its maximum).
    pub fn identity(self, dtype: DType) -> Literal {
        let (smallest, largest) = match dtype {
            DType::I64 => (i64::MIN, i64::MAX),
            DType::I32 => (i32::MIN.into(), i32::MAX.into()),
            DType::U8 => (0, u8::MAX.into()),
            DType::U32 => (0, u32::MAX.into()),
            _ => (0, 1),
        };
        match self {
            ReduceKind::Prod => Literal::int(dtype, 1),
            ReduceKind::Max | ReduceKind::OnlineSoftmax if dtype.is_float() => Literal::float(dtype, f64::NEG_INFINITY),
            ReduceKind::Min if dtype.is_float() => Literal::float(dtype, f64::INFINITY),
            ReduceKind::Max => Literal::int(dtype, smallest),
            ReduceKind::Min => Literal::int(dtype, largest),
            ReduceKind::And if dtype == DType::Bool => Literal::int(dtype, 1),
            ReduceKind::And => Literal::int(dtype, -1),
            _ => Literal::int(dtype, 0),
        }
    }

    /// The number of results.
    pub const fn results(self) -> usize {
        match self {
            ReduceKind::OnlineSoftmax | ReduceKind::Welford => 2,
            _ => 1,
        }
    }
}

/// The element of an operand inside a reduction: `at(reduction index)`.
pub type Body<'a> = Box<dyn Fn(&[S<'a>]) -> S<'a> + 'a>;

/// A reduction at one index of the results.
pub struct Reduction<'a> {
    /// How elements are combined.
    pub kind: ReduceKind,
    /// The extents of the reduced axes, outermost first.
    pub extents: Vec<Dim>,
    /// The element at an index of the reduced axes.
    pub body: Body<'a>,
}

/// Which operands of a contraction depend on an axis of its points.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// In both operands.
    Batch,
    /// In the left operand only.
    M,
    /// In the right operand only.
    N,
}

/// An operand of a contraction: `at(point, contracted index)`.
pub type ContractionBody<'a> = Box<dyn Fn(&[S<'a>], &[S<'a>]) -> S<'a> + 'a>;

/// A place in a result: `at(point)` or `at(update index)`.
pub type Place<'a> = Box<dyn Fn(&[S<'a>]) -> Vec<S<'a>> + 'a>;

/// `result[place(point)] = Σ_k lhs(point, k) · rhs(point, k)` over its own axes, which cover the result exactly.
/// ([`Indexing::index`] is empty for this lowering.)
pub struct Contraction<'a> {
    /// The axes of a point: their extents and which operands depend on them. For a convolution the left operand
    /// is the weight: output channels are `M`, groups are `Batch`, images and places are `N`.
    pub axes: Vec<(Dim, Role)>,
    /// The extents of the contracted axes.
    pub extents: Vec<Dim>,
    /// The result index of a point.
    pub place: Place<'a>,
    /// The left element.
    pub lhs: ContractionBody<'a>,
    /// The right element.
    pub rhs: ContractionBody<'a>,
}

/// `result = initial; for each u in updates: result[place(u)] += value(u)`, sequential over the updates.
pub struct Scatter<'a> {
    /// The initial value at the index of the result.
    pub initial: S<'a>,
    /// The extents of the updates' index.
    pub extents: Vec<Dim>,
    /// For each update axis: the result axis that it equals (then the work can be split over it), or none.
    pub parallel: Vec<Option<usize>>,
    /// The place in the result of an update.
    pub place: Place<'a>,
    /// The value of an update.
    pub value: Body<'a>,
    /// `Sum` adds, `Max`, `Min`, `Prod` combine; none replaces.
    pub combine: Option<ReduceKind>,
}

/// The reverse-mode derivative of an operator.
#[derive(Clone, Copy)]
pub enum Vjp {
    /// No result depends differentiably on an operand.
    Zero,
    /// Cotangents of the operands from those of the results.
    Rule(for<'b, 'e> fn(&VjpArgs<'b, 'e>) -> Vec<Option<X<'b, 'e>>>),
    /// Differentiate the decomposition.
    Decomposition,
    /// Handled by the autodiff pass: `call`, `grad`, `scan`, `cond`, `while`.
    Structural,
}

/// The arguments of a vjp rule.
pub struct VjpArgs<'b, 'e> {
    /// Emits the operators of the rule.
    pub emitter: &'b Emitter<'e>,
    /// The operator.
    pub op: &'b Op,
    /// Its operands.
    pub operands: Vec<X<'b, 'e>>,
    /// Its results.
    pub results: Vec<X<'b, 'e>>,
    /// The cotangent of each result; none is zero. At least one is there.
    pub cotangents: Vec<Option<X<'b, 'e>>>,
    /// For each operand, whether its cotangent is needed; rules may ignore it where nothing is saved.
    pub wanted: Vec<bool>,
}

impl<'b, 'e> VjpArgs<'b, 'e> {
    /// Operand `k`.
    pub fn x(&self, k: usize) -> X<'b, 'e> {
        self.operands[k]
    }

    /// Result `k`.
    pub fn y(&self, k: usize) -> X<'b, 'e> {
        self.results[k]
    }

    /// The cotangent of result `k`, zeros if there is none.
    pub fn dy(&self, k: usize) -> X<'b, 'e> {
        self.cotangents[k].unwrap_or_else(|| self.results[k].zeros_like())
    }
}

/// The forward-mode derivative of an operator.
#[derive(Clone, Copy)]
pub enum Jvp {
    /// Tangents of the results are zero.
    Zero,
    /// Linear in all differentiable operands together: apply the operator to the tangents.
    Linear,
    /// Linear in each differentiable operand alone: a sum over operands of the operator with that one replaced by its tangent.
    Multilinear,
    /// From the vjp, transposed: differentiate `cotangent ↦ vjp(cotangent)` with respect to the cotangent.
    FromVjp,
    /// Tangents of the results from those of the operands.
    Rule(for<'b, 'e> fn(&JvpArgs<'b, 'e>) -> Vec<Option<X<'b, 'e>>>),
    /// Handled by [`crate::autodiff`]: `call`, `scan`, `cond`, `while`.
    Structural,
}

/// The arguments of a jvp rule.
pub struct JvpArgs<'b, 'e> {
    /// Emits the operators of the rule.
    pub emitter: &'b Emitter<'e>,
    /// The operator.
    pub op: &'b Op,
    /// Its operands.
    pub operands: Vec<X<'b, 'e>>,
    /// Its results.
    pub results: Vec<X<'b, 'e>>,
    /// The tangent of each operand; none is zero.
    pub tangents: Vec<Option<X<'b, 'e>>>,
}

/// What an operator does when some operands carry a leading batch axis of one common extent.
/// The results carry it too, in front.
#[derive(Clone, Copy)]
pub enum Batch {
    /// Operands without the axis are broadcast; the operator itself is unchanged.
    Elementwise,
    /// Builds the batched results.
    Rule(for<'b, 'e> fn(&BatchArgs<'b, 'e>) -> Vec<X<'b, 'e>>),
    /// Batch the decomposition.
    Decomposition,
    /// Has no operands, or is handled by [`crate::batch`]: `call`, `scan`, `cond`, `while`.
    Structural,
    /// Not defined; `vmap` over it is an error that names the operator.
    Unsupported,
}

/// The arguments of a batch rule.
pub struct BatchArgs<'b, 'e> {
    /// Emits the operators of the rule.
    pub emitter: &'b Emitter<'e>,
    /// The operator.
    pub op: &'b Op,
    /// The operands.
    pub operands: Vec<X<'b, 'e>>,
    /// Which operands carry the batch axis (axis 0).
    pub batched: Vec<bool>,
    /// The extent of the batch axis.
    pub extent: Dim,
}

impl<'b, 'e> BatchArgs<'b, 'e> {
    /// Operand `k` with the batch axis, broadcast if it had none.
    pub fn batched(&self, k: usize) -> X<'b, 'e> {
        let x = self.operands[k];
        if self.batched[k] {
            return x;
        }
        let mut shape: Shape = x.ty().shape;
        let axes: Vec<usize> = (1..=shape.len()).collect();
        shape.insert(0, self.extent);
        x.broadcast(shape, &axes)
    }
}

/// How the values of a sample's input are made. Every choice is a function of sample and position only.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Fill {
    /// Standard normal.
    Normal,
    /// Uniform in a range.
    Uniform(f64, f64),
    /// Integers in `lo..hi`.
    Range(i64, i64),
    /// ±0, ±1, ±inf, NaN, tiny and huge numbers in turn. Never used for gradients.
    Specials,
    /// Distinct numbers in random order: no ties for max, min and sorting.
    Distinct,
}

/// One instance of an operator with inputs.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The operator.
    pub op: Op,
    /// Types and contents of the operands.
    pub inputs: Vec<(TensorType, Fill)>,
}

/// Collects samples.
#[derive(Default, Debug)]
pub struct Samples(pub Vec<Sample>);

impl Samples {
    /// Adds a sample.
    pub fn add(&mut self, op: Op, inputs: impl IntoIterator<Item = (TensorType, Fill)>) {
        self.0.push(Sample { op, inputs: inputs.into_iter().collect() });
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
