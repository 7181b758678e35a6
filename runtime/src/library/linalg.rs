//! Linear algebra over the last two axes, in double precision, by `nalgebra`.
//!
//! Decompositions that are unique up to signs get them fixed, so that equal operands give equal results everywhere: R has
//! no negative diagonal, and the largest component of an eigenvector or left singular vector is positive.

use super::Arguments;
use igneous_ir::error::{Error, Result};
use nalgebra::DMatrix;

/// The matrices of operand `k`.
fn matrices(a: &Arguments, k: usize) -> Result<Vec<DMatrix<f64>>> {
    let [batch @ .., rows, columns] = &a.layout(k).shape[..] else { return Err(Error::new("a matrix has two axes")) };
    let (rows, columns, count) = (*rows, *columns, batch.iter().product());
    let numbers = a.floats(k)?;
    let size = rows * columns;
    Ok((0..count).map(|i| DMatrix::from_row_slice(rows, columns, &numbers[i * size..(i + 1) * size])).collect())
}

/// Stores matrices as result `k`.
fn store(a: &mut Arguments, k: usize, matrices: &[DMatrix<f64>]) -> Result<()> {
    let mut numbers = Vec::with_capacity(a.results[k].0.elements());
    for matrix in matrices {
        (0..matrix.nrows()).for_each(|i| numbers.extend(matrix.row(i).iter()));
    }
    a.set_floats(k, &numbers)
}

fn finite(matrix: &DMatrix<f64>, what: &str) -> Result<()> {
    match matrix.iter().all(|x| x.is_finite()) {
        true => Ok(()),
        false => Err(Error::new(format!("{what} of a matrix with an element that is not finite"))),
    }
}

/// `cholesky`: the lower factor.
pub(super) fn cholesky(a: &mut Arguments) -> Result<()> {
    let factor = |m: DMatrix<f64>| {
        if m.is_empty() {
            return Ok(m);
        }
        nalgebra::Cholesky::new(m).map(|c| c.l()).ok_or_else(|| Error::new("cholesky needs a positive definite matrix"))
    };
    let factors = matrices(a, 0)?.into_iter().map(factor).collect::<Result<Vec<_>>>()?;
    store(a, 0, &factors)
}

/// `triangular_solve`: X in A·X = B.
pub(super) fn triangular_solve(a: &mut Arguments) -> Result<()> {
    let (upper, transpose) = (a.op.bool("upper"), a.op.bool("transpose"));
    let solve = |(m, b): (DMatrix<f64>, DMatrix<f64>)| {
        if b.is_empty() {
            return Ok(b);
        }
        let solution = match (upper, transpose) {
            (true, false) => m.solve_upper_triangular(&b),
            (false, false) => m.solve_lower_triangular(&b),
            (true, true) => m.tr_solve_upper_triangular(&b),
            (false, true) => m.tr_solve_lower_triangular(&b),
        };
        solution.ok_or_else(|| Error::new("triangular_solve needs a matrix without a zero on its diagonal"))
    };
    let pairs = matrices(a, 0)?.into_iter().zip(matrices(a, 1)?);
    let solutions = pairs.map(solve).collect::<Result<Vec<_>>>()?;
    store(a, 0, &solutions)
}

/// `solve`: X in A·X = B.
pub(super) fn solve(a: &mut Arguments) -> Result<()> {
    let solve = |(m, b): (DMatrix<f64>, DMatrix<f64>)| {
        if b.is_empty() {
            return Ok(b);
        }
        m.lu().solve(&b).ok_or_else(|| Error::new("the matrix is singular, so the system has no unique solution"))
    };
    let pairs = matrices(a, 0)?.into_iter().zip(matrices(a, 1)?);
    let solutions = pairs.map(solve).collect::<Result<Vec<_>>>()?;
    store(a, 0, &solutions)
}

/// `slogdet`: the sign of the determinant and the logarithm of its absolute value.
pub(super) fn slogdet(a: &mut Arguments) -> Result<()> {
    let (mut signs, mut logarithms) = (Vec::new(), Vec::new());
    for m in matrices(a, 0)? {
        let (mut sign, mut logarithm) = (1.0, 0.0);
        if !m.is_empty() {
            let lu = m.lu();
            sign = lu.p().determinant::<f64>();
            for d in lu.u().diagonal().iter() {
                sign *= if *d == 0.0 { 0.0 } else { d.signum() };
                logarithm += d.abs().ln();
            }
        }
        signs.push(sign);
        logarithms.push(logarithm);
    }
    a.set_floats(0, &signs)?;
    a.set_floats(1, &logarithms)
}

/// `qr`: the reduced factors.
pub(super) fn qr(a: &mut Arguments) -> Result<()> {
    let (mut qs, mut rs) = (Vec::new(), Vec::new());
    for m in matrices(a, 0)? {
        let k = m.nrows().min(m.ncols());
        if m.is_empty() {
            qs.push(DMatrix::zeros(m.nrows(), k));
            rs.push(DMatrix::zeros(k, m.ncols()));
            continue;
        }
        let factors = m.qr();
        let (mut q, mut r) = (factors.q(), factors.r());
        for i in 0..k {
            if r[(i, i)] < 0.0 {
                q.column_mut(i).neg_mut();
                r.row_mut(i).neg_mut();
            }
        }
        qs.push(q);
        rs.push(r);
    }
    store(a, 0, &qs)?;
    store(a, 1, &rs)
}

/// Whether a vector's largest component is negative: the first of those that differ by rounding only.
fn points_down<'a>(vector: impl Iterator<Item = &'a f64> + Clone) -> bool {
    let largest = vector.clone().fold(0.0, |m: f64, x| m.max(x.abs()));
    vector.clone().find(|x| x.abs() >= largest * (1.0 - 1e-6)).is_some_and(|x| *x < 0.0)
}

/// `eigh`: the eigenvalues of a symmetric matrix in increasing order, and its eigenvectors as columns.
pub(super) fn eigh(a: &mut Arguments) -> Result<()> {
    let (mut values, mut vectors) = (Vec::new(), Vec::new());
    for m in matrices(a, 0)? {
        if m.is_empty() {
            vectors.push(m);
            continue;
        }
        finite(&m, "eigenvalues")?;
        let m = (&m + m.transpose()) * 0.5;
        let decomposed = nalgebra::SymmetricEigen::try_new(m, f64::EPSILON, 0)
            .ok_or_else(|| Error::new("the eigenvalues of a matrix were not found"))?;
        let mut order: Vec<usize> = (0..decomposed.eigenvalues.len()).collect();
        order.sort_by(|&i, &j| decomposed.eigenvalues[i].total_cmp(&decomposed.eigenvalues[j]));
        let mut sorted = DMatrix::zeros(order.len(), order.len());
        for (k, &i) in order.iter().enumerate() {
            values.push(decomposed.eigenvalues[i]);
            let column = decomposed.eigenvectors.column(i);
            let sign = if points_down(column.iter()) { -1.0 } else { 1.0 };
            sorted.set_column(k, &(column * sign));
        }
        vectors.push(sorted);
    }
    a.set_floats(0, &values)?;
    store(a, 1, &vectors)
}

/// `svd`: the reduced factors, singular values in decreasing order.
pub(super) fn svd(a: &mut Arguments) -> Result<()> {
    let (mut us, mut values, mut vts) = (Vec::new(), Vec::new(), Vec::new());
    for m in matrices(a, 0)? {
        let (rows, columns) = m.shape();
        let k = rows.min(columns);
        if m.is_empty() {
            us.push(DMatrix::zeros(rows, k));
            vts.push(DMatrix::zeros(k, columns));
            continue;
        }
        finite(&m, "singular values")?;
        let decomposed = nalgebra::SVD::try_new(m, true, true, f64::EPSILON, 0);
        let factors = decomposed.and_then(|d| Some((d.u?, d.singular_values, d.v_t?)));
        let (mut u, s, mut vt) = factors.ok_or_else(|| Error::new("the singular values of a matrix were not found"))?;
        for i in 0..k {
            if points_down(u.column(i).iter()) {
                u.column_mut(i).neg_mut();
                vt.row_mut(i).neg_mut();
            }
        }
        us.push(u);
        values.extend(s.iter());
        vts.push(vt);
    }
    store(a, 0, &us)?;
    a.set_floats(1, &values)?;
    store(a, 2, &vts)
}
