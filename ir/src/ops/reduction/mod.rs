//! Reductions: over whole axes (reduce, arg_reduce, online_softmax, welford) and over windows.

mod arg_reduce;
mod cumulative;
mod online_softmax;
mod product;
mod reduce;
mod welford;
mod window;
mod window_grad;

use crate::array::Array;
use crate::dim::Dim;
use crate::emit::X;
use crate::error::Result;
use crate::op::{BatchArgs, Indexing, Record, ReduceKind, Reduction};
use crate::ops::type_rule::*;
use crate::ops::{extent, walk};
use smallvec::SmallVec;

pub use arg_reduce::*;
pub use cumulative::*;
pub use online_softmax::*;
pub use reduce::*;
pub use welford::*;
pub use window::*;
pub use window_grad::*;

/// The records of this family.
pub static REDUCTION: &[&Record] =
    &[&ARG_REDUCE, &CUMULATIVE, &ONLINE_SOFTMAX, &RECURRENCE, &REDUCE, &REDUCE_WINDOW, &REDUCE_WINDOW_GRAD, &WELFORD];

/// The reduced axes: at least one.
fn reduced_axes(rule: TypeRule, rank: usize) -> Result<SmallVec<[usize; 4]>> {
    let axes = rule.sorted_axes("axes", rank, "the operand")?;
    rule.ensure(!axes.is_empty(), || "needs at least one axis".into())?;
    Ok(axes)
}

/// Checks that no reduced axis is certainly empty: for kinds that have no value then.
fn not_empty(rule: TypeRule, axes: &[usize], what: &str) -> Result<()> {
    for &a in axes {
        let empty = rule.operands[0].shape[a] == Dim::ZERO;
        rule.ensure(!empty, || format!("has no {what} over axis {a}, which is empty"))?;
    }
    Ok(())
}

/// A reduction of operand 0 over attribute `axes`.
fn over_axes<'a>(at: &Indexing<'a>, kind: ReduceKind) -> Reduction<'a> {
    let at = *at;
    let axes = at.op.axes("axes");
    let shape = &at.operands[0].shape;
    Reduction {
        kind,
        extents: axes.iter().map(|&a| shape[a]).collect(),
        body: Box::new(move |reduced| {
            let (mut kept, mut reduced) = (at.index.iter(), reduced.iter());
            let next = |a: usize| *if axes.contains(&a) { reduced.next() } else { kept.next() }.expect("one index for each axis");
            at.load(0, &(0..at.operands[0].rank()).map(next).collect::<Vec<_>>())
        }),
    }
}

/// For each element of `x` in row-major order, the position in the result of reducing `x` over `axes`.
fn result_positions(x: &Array, axes: &[usize]) -> Vec<usize> {
    let mut kept = x.shape().to_vec();
    axes.iter().for_each(|&a| kept[a] = 1);
    let mut strides = walk::strides(&kept);
    axes.iter().for_each(|&a| strides[a] = 0);
    walk::positions(x.shape(), 0, &strides)
}

/// `y`, a result of reducing over `axes`, repeated along these axes of `like`.
fn spread<'b, 'e>(y: X<'b, 'e>, axes: &[usize], like: X<'b, 'e>) -> X<'b, 'e> {
    let kept: Vec<usize> = (0..like.rank()).filter(|a| !axes.contains(a)).collect();
    y.broadcast(like.shape(), &kept)
}

/// Which elements of `x` are the extremum `y` over `axes`, each divided by the number of them: as numbers.
fn share_of_extremum<'b, 'e>(x: X<'b, 'e>, y: X<'b, 'e>, axes: &[usize]) -> X<'b, 'e> {
    let hits = x.compare("eq", spread(y, axes, x)).cast(x.dtype());
    hits / spread(hits.sum(axes), axes, x)
}

/// The number of elements along `axes` of `x`, as a number of its element type.
fn count<'b, 'e>(x: X<'b, 'e>, axes: &[usize]) -> X<'b, 'e> {
    let n: Dim = axes.iter().map(|&a| x.shape()[a]).product();
    match n.as_const() {
        Some(n) => x.lit(n as f64),
        None => x.emitter.one(extent(n), &[]).cast(x.dtype()),
    }
}

/// The same reduction behind a batch axis.
fn batch_over_axes<'b, 'e>(b: &BatchArgs<'b, 'e>) -> Vec<X<'b, 'e>> {
    let axes = axes_attr(&behind_batch(&b.op.axes("axes")));
    b.emitter.apply(b.op.with_attr("axes", axes), &b.operands).to_vec()
}
