//! Textbook algorithms on small matrices, in double precision: what the references are written with.

use crate::array::Array;

/// A matrix, row by row.
pub(super) type Matrix = Vec<Vec<f64>>;

/// The matrices of an array.
pub(super) fn matrices(x: &Array) -> Vec<Matrix> {
    let [.., rows, columns] = *x.shape() else { unreachable!("the type rule saw matrices") };
    let count: usize = x.shape()[..x.shape().len() - 2].iter().product();
    let at = |m: usize, i: usize, j: usize| x.f((m * rows + i) * columns + j);
    (0..count).map(|m| (0..rows).map(|i| (0..columns).map(|j| at(m, i, j)).collect()).collect()).collect()
}

/// The elements of matrices in row-major order.
pub(super) fn elements(matrices: &[Matrix]) -> Vec<f64> {
    matrices.iter().flatten().flatten().copied().collect()
}

pub(super) fn transposed(a: &Matrix, columns: usize) -> Matrix {
    (0..columns).map(|j| a.iter().map(|row| row[j]).collect()).collect()
}

/// A·X = B by Gauss-Jordan elimination with the largest pivot; none if A is singular. Also the determinant.
pub(super) fn eliminate(mut a: Matrix, mut b: Matrix) -> (Option<Matrix>, f64) {
    let n = a.len();
    let mut determinant = 1.0;
    for k in 0..n {
        let pivot = (k..n).max_by(|&i, &j| a[i][k].abs().total_cmp(&a[j][k].abs())).unwrap_or(k);
        if a[pivot][k] == 0.0 {
            return (None, 0.0);
        }
        if pivot != k {
            a.swap(pivot, k);
            b.swap(pivot, k);
            determinant = -determinant;
        }
        determinant *= a[k][k];
        let scale = a[k][k].recip();
        a[k].iter_mut().chain(&mut b[k]).for_each(|x| *x *= scale);
        let (row, right) = (a[k].clone(), b[k].clone());
        for i in (0..n).filter(|&i| i != k) {
            let factor = a[i][k];
            a[i].iter_mut().zip(&row).for_each(|(x, y)| *x -= factor * y);
            b[i].iter_mut().zip(&right).for_each(|(x, y)| *x -= factor * y);
        }
    }
    (Some(b), determinant)
}

/// Orthonormal columns that span those of `a`, and the coefficients: Gram-Schmidt, each column twice.
pub(super) fn gram_schmidt(a: &Matrix, columns: usize) -> (Matrix, Matrix) {
    let (rows, k) = (a.len(), a.len().min(columns));
    let (mut q, mut r): (Matrix, Matrix) = (Vec::new(), vec![vec![0.0; columns]; k]);
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    for j in 0..columns {
        let mut v: Vec<f64> = a.iter().map(|row| row[j]).collect();
        for _ in 0..2 {
            for (i, direction) in q.iter().enumerate() {
                let part = dot(direction, &v);
                r[i][j] += part;
                v.iter_mut().zip(direction).for_each(|(x, d)| *x -= part * d);
            }
        }
        if j < k {
            let norm = dot(&v, &v).sqrt();
            r[j][j] = norm;
            q.push(v.iter().map(|x| x / norm).collect());
        }
    }
    (transposed(&q, rows), r)
}

/// Eigenvalues in increasing order, and eigenvectors as rows, of a symmetric matrix: Jacobi's rotations.
pub(super) fn jacobi(mut a: Matrix) -> (Vec<f64>, Matrix) {
    let n = a.len();
    let mut v: Matrix = (0..n).map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    for _ in 0..60 {
        for p in 0..n {
            for q in p + 1..n {
                if a[p][q] == 0.0 {
                    continue;
                }
                let theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
                let tangent = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
                let tangent = if theta == 0.0 { 1.0 } else { tangent };
                let cosine = (tangent * tangent + 1.0).sqrt().recip();
                let sine = tangent * cosine;
                for row in &mut a {
                    (row[p], row[q]) = (cosine * row[p] - sine * row[q], sine * row[p] + cosine * row[q]);
                }
                for matrix in [&mut a, &mut v] {
                    let (x, y) = (matrix[p].clone(), matrix[q].clone());
                    matrix[p] = x.iter().zip(&y).map(|(x, y)| cosine * x - sine * y).collect();
                    matrix[q] = x.iter().zip(&y).map(|(x, y)| sine * x + cosine * y).collect();
                }
            }
        }
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| a[i][i].total_cmp(&a[j][j]));
    (order.iter().map(|&i| a[i][i]).collect(), order.iter().map(|&i| v[i].clone()).collect())
}

/// 1 or -1, so that a vector times it has a positive largest component: the first of those that differ by rounding only.
pub(super) fn direction(vector: &[f64]) -> f64 {
    let largest = vector.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    match vector.iter().find(|x| x.abs() >= largest * (1.0 - 1e-6)) {
        Some(x) if *x < 0.0 => -1.0,
        _ => 1.0,
    }
}
