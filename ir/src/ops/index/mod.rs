//! Operators that make or use indices: gather, iota, scatter.

mod along;
mod gather;
mod iota;
mod scatter;
mod scatter_derivative;
mod sort;
mod topk;

use crate::array::Array;
use crate::dim::Dim;
use crate::error::Result;
use crate::op::{Indexing, Record};
use crate::ops::type_rule::*;
use crate::ops::walk;
use crate::scalar::S;
use crate::types::{DType, Shape, TensorType};
use smallvec::SmallVec;

pub use gather::*;
pub use iota::*;
pub use scatter::*;
pub use sort::*;
pub use topk::*;

/// The records of this family.
pub static INDEX: &[&Record] = &[&GATHER, &IOTA, &SCATTER, &SORT, &TOPK];

/// Checks `indices` into the axes of `x` that the operator names; returns the axes and the indices' shape.
fn indexed_axes(rule: TypeRule, x: &TensorType, indices: &[TensorType]) -> Result<(SmallVec<[usize; 4]>, Shape)> {
    let axes = rule.distinct_axes("axes", x.rank(), "operand 0")?;
    rule.ensure(!axes.is_empty(), || "needs at least one axis to index".into())?;
    rule.ensure(axes.len() == indices.len(), || {
        format!("needs an index tensor for each entry of `axes`, {}, and was given {}", axes.len(), indices.len())
    })?;
    let shape = indices[0].shape.clone();
    for (k, index) in indices.iter().enumerate() {
        let (k, dtype) = (k + 1, index.dtype);
        let integer = matches!(dtype, DType::I64 | DType::I32);
        rule.ensure(integer, || format!("needs indices of type i64 or i32, not {dtype}, in operand {k}"))?;
        rule.ensure(index.rank() == shape.len(), || {
            format!(
                "needs indices of one shape: the rank of operand 1 is {}, that of operand {k} is {}",
                shape.len(),
                index.rank()
            )
        })?;
        for a in 0..shape.len() {
            let names = (format!("axis {a} of operand 1"), format!("axis {a} of operand {k}"));
            rule.agree("extents of the indices", (names.0, shape[a]), (names.1, index.shape[a]))?;
        }
    }
    let nothing = indices[0].elements() == Dim::ZERO;
    for &a in &axes {
        rule.ensure(nothing || x.shape[a] != Dim::ZERO, || format!("has indices into axis {a}, which is empty"))?;
    }
    Ok((axes, shape))
}

/// The index into a tensor: element `places` of each index operand (the operands after the first), clamped into range,
/// along `axes`, and `others` along the other axes in order.
fn indexed_place<'a>(at: &Indexing<'a>, places: &[S<'a>], others: &[S<'a>]) -> Vec<S<'a>> {
    let (axes, shape) = (at.op.axes("axes"), &at.operands[0].shape);
    let mut others = others.iter().copied();
    let along = |a: usize| match axes.iter().position(|&x| x == a) {
        Some(k) => at.load(k + 1, places).cast(DType::I64).min(at.extent(shape[a] - 1)).max(at.int(0)),
        None => others.next().expect("there is one index for each other axis"),
    };
    (0..shape.len()).map(along).collect()
}

/// For each element of `I ++ remaining axes`, its row-major position in a tensor of shape `shape` whose axes `axes` are
/// indexed by `indices`, all of shape `I`.
fn indexed_positions(shape: &[usize], axes: &[usize], indices: &[&Array]) -> Vec<usize> {
    let strides = walk::strides(shape);
    let others: Vec<usize> = (0..shape.len()).filter(|a| !axes.contains(a)).collect();
    let extents: Vec<usize> = others.iter().map(|&a| shape[a]).collect();
    let inner = walk::positions(&extents, 0, &others.iter().map(|&a| strides[a]).collect::<Vec<_>>());
    let mut positions = Vec::with_capacity(indices[0].len() * inner.len());
    for i in 0..indices[0].len() {
        let along =
            |(&a, index): (&usize, &&Array)| index.i(i).clamp(0, (shape[a] as i64 - 1).max(0)) as usize * strides[a] as usize;
        let start: usize = axes.iter().zip(indices).map(along).sum();
        positions.extend(inner.iter().map(|p| start + p));
    }
    positions
}
