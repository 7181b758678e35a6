//! Linear algebra over the last two axes, by the names of `torch.linalg`; axes before them are a batch.
//!
//! Everything has gradients and runs in eager and compiled mode, on the CPU, in double precision inside. A matrix without a
//! result (a singular one to be inverted) fails the operation, in a compiled function the run.
//!
//! ```
//! use igneous::{Tensor, linalg, testing::assert_close};
//! let a = Tensor::new([[4.0, 2.0], [2.0, 5.0]]);
//! assert_close(&linalg::cholesky(&a), &Tensor::new([[2.0, 0.0], [1.0, 2.0]]), 1e-6);
//! assert_close(&linalg::inv(&a).matmul(&a), &Tensor::eye(2), 1e-6);
//! ```

use crate::apply::apply;
use crate::location::{entered, here};
use crate::tensor::{Tensor, or_invalid};
use igneous_ir::{DType, Dim, Error, Result, Shape, ops};

/// Floats of single or double precision.
#[track_caller]
fn operand(a: &Tensor) -> Tensor {
    if a.dtype().is_float() { a.clone() } else { a.to_dtype(DType::F32) }
}

/// The lower triangular L with L·Lᵀ = A, of symmetric positive definite matrices.
#[track_caller]
pub fn cholesky(a: &Tensor) -> Tensor {
    let [l] = apply(ops::cholesky(), &[&operand(a)]);
    l
}

/// Q with orthonormal columns and upper triangular R with Q·R = A: `[…, m, n]` to `[…, m, k]` and `[…, k, n]`, `k = min(m, n)`
/// (`mode='reduced'`). The diagonal of R is not negative.
#[track_caller]
pub fn qr(a: &Tensor) -> (Tensor, Tensor) {
    let [q, r] = apply(ops::qr(), &[&operand(a)]);
    (q, r)
}

/// Eigenvalues of symmetric matrices in increasing order, and eigenvectors as columns, the largest component of each
/// positive. The lower triangle is read (`UPLO='L'`).
#[track_caller]
pub fn eigh(a: &Tensor) -> (Tensor, Tensor) {
    let a = operand(a);
    if a.error().is_none() && a.rank() < 2 {
        let error = Error::new("eigh needs matrices").note("tensor", a.describe()).at(here());
        return (error.clone().into(), error.into());
    }
    // The elements are the lower triangle's; the gradient is that of a symmetric matrix.
    let (lower, mean) = (a.tril(0) + a.tril(-1).t(), (&a + a.t()) * 0.5);
    let symmetric = &mean + (lower - &mean).detach();
    let [values, vectors] = apply(ops::eigh(), &[&symmetric]);
    (values, vectors)
}

/// U, the singular values in decreasing order, and Vᵀ with U·diag(s)·Vᵀ = A (`full_matrices=False`).
#[track_caller]
pub fn svd(a: &Tensor) -> (Tensor, Tensor, Tensor) {
    let [u, s, vt] = apply(ops::svd(), &[&operand(a)]);
    (u, s, vt)
}

/// The singular values in decreasing order.
#[track_caller]
pub fn svdvals(a: &Tensor) -> Tensor {
    svd(a).1
}

/// The sum of the singular values (`torch.linalg.matrix_norm` with `"nuc"`).
#[track_caller]
pub fn nuclear_norm(a: &Tensor) -> Tensor {
    svdvals(a).sum(-1)
}

/// A and B with a common batch and element type; B as matrices.
#[track_caller]
fn system(a: &Tensor, b: &Tensor) -> Result<(Tensor, Tensor, bool)> {
    let dtype = crate::tensor::promote(operand(a).dtype(), operand(b).dtype());
    let (a, b) = (operand(a).to_dtype(dtype), operand(b).to_dtype(dtype));
    let (s, t) = (a.ty()?.shape, b.ty()?.shape);
    let error = |what: &str| Error::new(what).note("matrices", a.describe()).note("right side", b.describe());
    if s.len() < 2 {
        return Err(error("a system of equations needs square matrices"));
    }
    // As PyTorch: a right side with one axis less than the matrices, and their batch, is vectors.
    let vectors = t.len() == 1 || (t.len() + 1 == s.len() && t[..] == s[..s.len() - 1]);
    let columns = if vectors { b.unsqueeze(-1) } else { b.clone() };
    let t = columns.shape();
    let lead = |s: &Shape| Shape::from(&s[..s.len().saturating_sub(2)]);
    let batch = ops::broadcast_shapes(&lead(&s), &lead(&t)).map_err(|_| error("the batches of a system do not broadcast"))?;
    let full = |x: &Tensor| -> Shape {
        let shape = x.shape();
        batch.iter().copied().chain(shape[shape.len() - 2..].iter().copied()).collect()
    };
    Ok((a.expand(full(&a)), columns.expand(full(&columns)), vectors))
}

#[track_caller]
fn solved(op: igneous_ir::Op, a: &Tensor, b: &Tensor) -> Tensor {
    let user = entered();
    let loc = user.loc();
    let made = system(a, b).map(|(a, b, vectors)| {
        let [x] = apply(op, &[&a, &b]);
        if vectors { x.squeeze(-1) } else { x }
    });
    or_invalid(made.map_err(|e| e.at(loc)))
}

/// X in A·X = B, of square matrices; B is matrices or vectors.
#[track_caller]
pub fn solve(a: &Tensor, b: &Tensor) -> Tensor {
    solved(ops::solve(), a, b)
}

/// Which triangle of a matrix counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Triangle {
    /// The lower one.
    Lower,
    /// The upper one.
    Upper,
}

/// X in A·X = B, of triangular matrices; the other triangle is not read.
#[track_caller]
pub fn solve_triangular(a: &Tensor, b: &Tensor, triangle: Triangle) -> Tensor {
    solved(ops::triangular_solve(triangle == Triangle::Upper, false), a, b)
}

/// The inverse of square matrices.
#[track_caller]
pub fn inv(a: &Tensor) -> Tensor {
    let a = operand(a);
    match identity_of(&a) {
        Ok(identity) => solve(&a, &identity),
        Err(error) => Tensor::from(error.at(here())),
    }
}

/// The identity for the last two axes.
#[track_caller]
fn identity_of(a: &Tensor) -> Result<Tensor> {
    match a.ty()?.shape.as_slice() {
        [.., rows, columns] if rows == columns => Ok(Tensor::eye(*rows).to_dtype(a.dtype()).expand(a.shape())),
        _ => Err(Error::new("this needs square matrices").note("tensor", a.describe())),
    }
}

/// The sign of the determinants, and the logarithms of their absolute values.
#[track_caller]
pub fn slogdet(a: &Tensor) -> (Tensor, Tensor) {
    let [sign, logarithm] = apply(ops::slogdet(), &[&operand(a)]);
    (sign, logarithm)
}

/// The determinants. The gradient is that of matrices with an inverse.
#[track_caller]
pub fn det(a: &Tensor) -> Tensor {
    let (sign, logarithm) = slogdet(a);
    sign * logarithm.exp()
}

/// The pseudo-inverse (Moore and Penrose): singular values up to `rtol` times the largest count as zero.
#[track_caller]
pub fn pinv(a: &Tensor, rtol: f64) -> Tensor {
    if a.error().is_none() && a.rank() >= 2 && a.elements() == Dim::ZERO {
        return operand(a).t();
    }
    let (u, s, vt) = svd(a);
    let kept = s.gt(s.max_keepdim(-1) * rtol);
    let safe = s.where_(&kept, 1.0);
    let inverse = safe.reciprocal().masked_fill(&kept.logical_not(), 0.0);
    (vt.t() * inverse.unsqueeze(-2)).matmul(&u.t())
}

/// X for which ‖A·X − B‖ is least, of matrices with at least as many rows as columns and full rank.
#[track_caller]
pub fn lstsq(a: &Tensor, b: &Tensor) -> Tensor {
    let (q, r) = qr(a);
    let vector = b.error().is_none() && b.rank() + 1 == a.rank();
    let b = if vector { b.unsqueeze(-1) } else { b.clone() };
    let x = solve_triangular(&r, &q.t().matmul(&operand(&b)), Triangle::Upper);
    if vector { x.squeeze(-1) } else { x }
}

/// A power of square matrices; a negative one is one of the inverse.
#[track_caller]
pub fn matrix_power(a: &Tensor, n: i32) -> Tensor {
    let a = operand(a);
    let identity = match identity_of(&a) {
        Ok(identity) => identity,
        Err(error) => return Tensor::from(error.at(here())),
    };
    let mut power = if n < 0 { inv(&a) } else { a };
    let (mut rest, mut result) = (n.unsigned_abs(), identity);
    while rest > 0 {
        if rest & 1 == 1 {
            result = result.matmul(&power);
        }
        rest >>= 1;
        if rest > 0 {
            power = power.matmul(&power);
        }
    }
    result
}

/// The `p`-norm of vectors along an axis: see [`Tensor::norm_p`].
#[track_caller]
pub fn vector_norm(x: &Tensor, p: f64, axis: i64) -> Tensor {
    x.norm_p(p, axis)
}

/// The number of singular values above `rtol` times the largest, `i64`.
#[track_caller]
pub fn matrix_rank(a: &Tensor, rtol: f64) -> Tensor {
    let s = svdvals(a);
    if s.error().is_none() && s.size(-1) == Dim::ZERO {
        return s.sum(-1).to_dtype(DType::I64);
    }
    s.gt(s.max_keepdim(-1) * rtol).to_dtype(DType::I64).sum(-1)
}
