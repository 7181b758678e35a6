//! How back ends compute operators: the forms that fusion understands.

use super::Op;
use crate::dim::Dim;
use crate::emit::{Emitter, X};
use crate::scalar::{Exprs, S};
use crate::types::{DType, Literal, TensorType};
use std::cell::RefCell;

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
        let (smallest, largest) = dtype.int_limits();
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
