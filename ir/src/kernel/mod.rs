//! The Kernel: stages over named axes. One form for both back ends.
//!
//! Meaning: for every point of a section's parallel axes, its stages run in order; a stage loops over its
//! serial axes. Points are independent, so they may run in any order and at once; sections are independent too.
//! The schedule says how a back end does that; it may reorder points, never what a reduction's tree is.
//!
//! **Reduction tree.** The reduced elements are numbered row-major over the reduced axes. Within a chunk of 4,096
//! consecutive elements, element `e` goes to accumulator `e mod 32` (an accumulator starts with its first
//! element); the accumulators that have a value are combined by halves (`a[i] ∘ a[i+16]`, then 8, 4, 2, 1); chunk
//! results are combined in order. This holds for every vector width, thread count and fusion. `Welford` and
//! `OnlineSoftmax` mean a sum (a maximum) by that tree, then a second sum by that tree of `(x-mean)²` (`exp(x-m)`);
//! the mean is the sum divided by the number of elements. Without elements the result is the identity of the kind.
//! `ArgMax`/`ArgMin` give the first extremum and need no tree. `Dot` sums have the library's order.

mod alias;
mod expression;
pub mod interp;
#[cfg(test)]
mod interp_tests;
mod lex;
mod parse;
mod print;
mod share;
#[cfg(test)]
mod tests;
mod verify;

use crate::dim::Dim;
use crate::error::Loc;
use crate::op::ReduceKind;
use crate::scalar::{ExprId, Exprs, ScalarOp};
use crate::types::{DType, TensorType};
pub use alias::Aliases;

/// Elements per chunk of a reduction's tree.
pub const CHUNK: usize = 4096;
/// Logical accumulators per chunk.
pub const LANES: usize = 32;

/// A kernel: what one launch does.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Deterministic, from what it computes; unique within a program.
    pub name: String,
    /// The buffers it reads, then those it writes.
    pub params: Vec<Param>,
    /// Independent pieces of work; usually one. Several are a horizontal fusion (a multi-tensor optimizer).
    pub sections: Vec<Section>,
    /// The lines of user code it came from.
    pub locs: Vec<Loc>,
}

/// A buffer, row-major and dense. A load from one without elements gives some number, whatever the index: there is no index
/// to clamp one to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Param {
    /// The name in text.
    pub name: String,
    /// Its type; the extents may be symbolic.
    pub ty: TensorType,
    /// Whether it is read or written.
    pub access: Access,
}

/// How a kernel uses a buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Read only.
    Read,
    /// Every element is written; reads see only what the kernel wrote. May be the same memory as a `Read` parameter
    /// if [`Kernel::can_alias`] allows it.
    Write,
}

/// Stages over one set of axes.
#[derive(Clone, Debug)]
pub struct Section {
    /// The axes; `ScalarOp::Axis(i)` is the index along `axes[i]`.
    pub axes: Vec<Axis>,
    /// Values between stages; `ScalarOp::Local(i)` is `locals[i]`.
    pub locals: Vec<Local>,
    /// The expressions of the stages.
    pub exprs: Exprs,
    /// What is done at each point of the parallel axes.
    pub stages: Vec<Stage>,
    /// How a back end runs it; canonical order.
    pub schedule: Vec<Directive>,
}

/// A loop dimension.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Axis {
    /// The name in text.
    pub name: String,
    /// Its extent.
    pub extent: Dim,
    /// Whether points along it are independent or it is looped over inside a stage.
    pub kind: AxisKind,
}

/// What an axis is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AxisKind {
    /// Points are independent.
    Parallel,
    /// Looped over inside a stage.
    Serial,
}

/// A value that a stage makes and later stages of the same point read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Local {
    /// The name in text.
    pub name: String,
    /// The element type.
    pub dtype: DType,
    /// The serial axes it is indexed by; none means one number per point.
    pub axes: Vec<u32>,
}

/// A step of the work at one point.
#[derive(Clone, Debug)]
pub enum Stage {
    /// Computes values and stores them, for each index of the serial axes `axes` (none: once per point).
    Map {
        /// The serial axes looped over, outermost first.
        axes: Vec<u32>,
        /// What is stored where.
        stores: Vec<Store>,
    },
    /// Combines `body` over the serial axes `axes` into locals; without axes there is one element.
    Reduce {
        /// How.
        kind: ReduceKind,
        /// The reduced axes, outermost first.
        axes: Vec<u32>,
        /// The element.
        body: ExprId,
        /// The locals, `kind.results()` of them.
        to: Vec<u32>,
    },
    /// `Σ lhs · rhs` over the serial axes `axes` into a local: the hero of a dot or convolution kernel. The parallel axes of the
    /// section and the serial axes of the local, for each index of which there is a sum, are its batch, m and n axes.
    Dot {
        /// Batch axes: both sides depend on them.
        batch: Vec<u32>,
        /// Axes that only the left side depends on.
        m: Vec<u32>,
        /// Axes that only the right side depends on.
        n: Vec<u32>,
        /// The contracted axes.
        axes: Vec<u32>,
        /// The left element.
        lhs: ExprId,
        /// The right element.
        rhs: ExprId,
        /// The local.
        to: u32,
    },
    /// Fails the run if `ok` is false for any index of the serial axes: sets the error word.
    Check {
        /// The serial axes looped over.
        axes: Vec<u32>,
        /// The condition, bool.
        ok: ExprId,
        /// The number that is reported, `i64`.
        value: ExprId,
        /// Which check of the program this is.
        code: u32,
    },
}

/// One store of a map stage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Store {
    /// The value.
    pub value: ExprId,
    /// Where it goes.
    pub to: Target,
}

/// Where a value is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// An element of a written parameter. With `combine`, the element is combined with what is there, one index of
    /// the serial axes after the other in order; the schedule never splits those between threads.
    Param {
        /// Which parameter.
        param: u32,
        /// One index for each of its axes.
        index: Vec<ExprId>,
        /// `None` replaces.
        combine: Option<ReduceKind>,
    },
    /// The element of a local at the current serial index (the local's axes are the stage's).
    Local(u32),
}

/// A choice of the schedule.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Directive {
    /// `bind(i, core)`: points along this axis are spread over threads.
    Bind(u32),
    /// `vec(j, 4)`: this axis is vectorised with that many lanes, as a multiple of the target's width.
    Vec(u32, u32),
    /// `unroll(4)`: the vectorised loop handles that many vectors at once.
    Unroll(u32),
    /// `tile(i, 64)`: a dot computes blocks of that extent along this axis.
    Tile(u32, u32),
    /// `split(k, 8)`: a dot's contracted axis is cut into that many parts, summed in order.
    Split(u32, u32),
    /// `pack(lhs)`: the left side of a dot is computed into scratch memory before the library is called.
    PackLhs,
    /// `pack(rhs)`: the right side.
    PackRhs,
    /// `winograd(2)`: a convolution by 3×3 windows computes squares of that many results a side from transformed operands, with
    /// other rounding. Lavin and Gray 2016, arXiv:1509.09308.
    Winograd(u32),
}

impl Kernel {
    /// The parameters that are read.
    pub fn reads(&self) -> impl Iterator<Item = (usize, &Param)> {
        self.params.iter().enumerate().filter(|(_, p)| p.access == Access::Read)
    }

    /// The parameters that are written.
    pub fn writes(&self) -> impl Iterator<Item = (usize, &Param)> {
        self.params.iter().enumerate().filter(|(_, p)| p.access == Access::Write)
    }

    /// The dot stage, if this is a dot kernel.
    pub fn dot(&self) -> Option<&Stage> {
        self.sections.iter().flat_map(|s| &s.stages).find(|s| matches!(s, Stage::Dot { .. }))
    }
}

impl Section {
    /// The indices of the parallel axes.
    pub fn parallel(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.axes.len() as u32).filter(|&a| self.axes[a as usize].kind == AxisKind::Parallel)
    }

    /// The parameters it loads from or stores to, each once.
    pub fn params(&self) -> Vec<u32> {
        let loads = (0..self.exprs.len() as u32).filter_map(|e| match self.exprs.get(ExprId(e)).op {
            ScalarOp::Load(param) => Some(param),
            _ => None,
        });
        let stores = self.stages.iter().flat_map(|stage| match stage {
            Stage::Map { stores, .. } => &stores[..],
            _ => &[],
        });
        let stores = stores.filter_map(|s| match &s.to {
            Target::Param { param, .. } => Some(*param),
            Target::Local(_) => None,
        });
        let mut seen = Vec::new();
        loads.chain(stores).for_each(|p| {
            if !seen.contains(&p) {
                seen.push(p);
            }
        });
        seen
    }
}

impl Stage {
    /// The expressions the stage evaluates, including store indices.
    pub fn roots(&self) -> Vec<ExprId> {
        match self {
            Stage::Map { stores, .. } => stores
                .iter()
                .flat_map(|s| {
                    let index: &[ExprId] = match &s.to {
                        Target::Param { index, .. } => index,
                        Target::Local(_) => &[],
                    };
                    index.iter().copied().chain([s.value])
                })
                .collect(),
            Stage::Reduce { body, .. } => vec![*body],
            Stage::Dot { lhs, rhs, .. } => vec![*lhs, *rhs],
            Stage::Check { ok, value, .. } => vec![*ok, *value],
        }
    }

    /// The serial axes it loops over.
    pub fn axes(&self) -> &[u32] {
        match self {
            Stage::Map { axes, .. } | Stage::Reduce { axes, .. } | Stage::Dot { axes, .. } | Stage::Check { axes, .. } => axes,
        }
    }
}
