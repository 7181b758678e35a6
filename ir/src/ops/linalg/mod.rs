//! Linear algebra over the last two axes; axes before them are a batch.

mod factor;
mod reference;
mod solve;
mod spectral;

use crate::dim::Dim;
use crate::emit::X;
use crate::error::Result;
use crate::op::{Fill, Record};
use crate::ops::type_rule::*;
use crate::ops::{concat, dot_general, iota, slice};
use crate::types::{DType, TensorType};

pub use factor::*;
pub use solve::*;
pub use spectral::*;

/// The records of this family.
pub static LINALG: &[&Record] = &[&CHOLESKY, &EIGH, &QR, &SLOGDET, &SOLVE, &SVD, &TRIANGULAR_SOLVE];

/// Rows and columns of operand `k`, which must be matrices of floats.
fn matrix(rule: TypeRule, k: usize) -> Result<(Dim, Dim)> {
    rule.float(k)?;
    match rule.operands[k].shape.as_slice() {
        [.., rows, columns] => Ok((*rows, *columns)),
        shape => Err(rule.error(format_args!("needs matrices in operand {k}, which has {}", axes(shape.len())))),
    }
}

/// The extent of operand `k`, which must be square matrices of floats.
fn square(rule: TypeRule, k: usize) -> Result<Dim> {
    let (rows, columns) = matrix(rule, k)?;
    rule.agree("the extents of a square matrix", (format_args!("rows of operand {k}"), rows), ("its columns", columns))?;
    Ok(rows)
}

/// A type with other last axes.
fn with_last(ty: &TensorType, removed: usize, last: &[Dim]) -> TensorType {
    let kept = ty.rank() - removed;
    ty.with_shape(ty.shape[..kept].iter().chain(last).copied())
}

/// Matrices with rows and columns exchanged.
fn t<'b, 'e>(x: X<'b, 'e>) -> X<'b, 'e> {
    let n = x.rank();
    let order: Vec<usize> = (0..n - 2).chain([n - 1, n - 2]).collect();
    x.transpose(&order)
}

/// The products of matrices.
fn dot<'b, 'e>(a: X<'b, 'e>, b: X<'b, 'e>) -> X<'b, 'e> {
    let n = a.rank();
    let batch: Vec<usize> = (0..n - 2).collect();
    a.emitter.one(dot_general(&[n - 1], &[n - 2], &batch, &batch), &[a, b])
}

/// Row and column of each element of matrices like `x`.
fn places<'b, 'e>(x: X<'b, 'e>) -> (X<'b, 'e>, X<'b, 'e>) {
    let n = x.rank();
    let along = |axis: usize| x.emitter.one(iota(DType::I64, x.shape(), axis), &[]);
    (along(n - 2), along(n - 1))
}

/// The elements of `x` where the comparison `how` of row with column holds, elsewhere 0.
fn where_rows<'b, 'e>(x: X<'b, 'e>, how: &'static str) -> X<'b, 'e> {
    let (row, column) = places(x);
    row.compare(how, column).select(x, x.lit(0.0))
}

/// `(x + xᵀ) / 2`
fn symmetric<'b, 'e>(x: X<'b, 'e>) -> X<'b, 'e> {
    (x + t(x)) * 0.5
}

/// A vector for each matrix as a row: `[…, n] → […, 1, n]`.
fn as_row<'b, 'e>(x: X<'b, 'e>) -> X<'b, 'e> {
    let mut shape = x.shape();
    shape.insert(shape.len() - 1, Dim::ONE);
    x.reshape(shape)
}

/// A vector for each matrix as a column: `[…, n] → […, n, 1]`.
fn as_column<'b, 'e>(x: X<'b, 'e>) -> X<'b, 'e> {
    let mut shape = x.shape();
    shape.push(Dim::ONE);
    x.reshape(shape)
}

/// The identity matrix for each matrix of `x`.
fn identity<'b, 'e>(x: X<'b, 'e>) -> X<'b, 'e> {
    let (row, column) = places(x);
    row.compare("eq", column).cast(x.dtype())
}

fn normal<const N: usize>(dtype: DType, shape: [usize; N]) -> (TensorType, Fill) {
    (TensorType::new(dtype, shape), Fill::Normal)
}
