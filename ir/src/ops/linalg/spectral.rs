//! Eigenvalues and singular values.

use super::reference::{Matrix, direction, elements, jacobi, matrices, transposed};
use super::*;
use crate::array::Array;
use crate::op::*;
use smallvec::smallvec;

/// The eigenvalues of symmetric matrices in increasing order, and the eigenvectors as columns, the largest component of each
/// positive. Both triangles of a matrix are read.
pub fn eigh() -> Op {
    Op::new(&EIGH, [])
}

/// See [`eigh`].
pub static EIGH: Record = Record {
    name: "eigh",
    attrs: &[],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [a] = rule.operands()?;
        let n = square(rule, 0)?;
        Ok(smallvec![with_last(a, 2, &[n]), a.clone()])
    },
    reference: |r| {
        let (mut values, mut vectors) = (Vec::new(), Vec::new());
        for a in matrices(r.inputs[0]) {
            let n = a.len();
            let both = transposed(&a, n);
            let mean = |(x, y): (&Vec<f64>, &Vec<f64>)| x.iter().zip(y).map(|(x, y)| (x + y) / 2.0).collect();
            let (own, mut rows) = jacobi(a.iter().zip(&both).map(mean).collect());
            for row in &mut rows {
                let sign = direction(row);
                row.iter_mut().for_each(|x| *x *= sign);
            }
            values.extend(own);
            vectors.push(transposed(&rows, n));
        }
        let dtype = r.inputs[0].dtype();
        Ok(vec![
            Array::floats(dtype, r.results[0].sizes()?, values),
            Array::floats(dtype, r.results[1].sizes()?, elements(&vectors)),
        ])
    },
    lowering: Lowering::Library,
    vjp: Vjp::Rule(|v| {
        let (w, q) = (v.y(0), v.y(1));
        let inner = dot(t(q), v.dy(1)) * reciprocal_differences(w);
        let diagonal = where_rows(as_row(v.dy(0)) + v.y(1).zeros_like(), "eq");
        vec![Some(symmetric(dot(dot(q, inner + diagonal), t(q))))]
    }),
    jvp: Jvp::FromVjp,
    batch: Batch::Elementwise,
    flops: |_, operands, _| operands[0].elements() * operands[0].shape[operands[0].rank() - 1] * 9,
    samples: |s| {
        s.add(eigh(), [normal(DType::F64, [3, 3])]);
        s.add(eigh(), [normal(DType::F64, [2, 4, 4])]);
        s.add(eigh(), [normal(DType::F32, [3, 3])]);
        s.add(eigh(), [normal(DType::F32, [1, 1])]);
        s.add(eigh(), [normal(DType::F32, [0, 0])]);
    },
    error_samples: |s| {
        s.add(eigh(), [normal(DType::F32, [3, 2])]);
        s.add(eigh(), [normal(DType::F32, [3])]);
    },
};

/// `1 / (w[j] - w[i])`, 0 on the diagonal.
fn reciprocal_differences<'b, 'e>(w: X<'b, 'e>) -> X<'b, 'e> {
    let differences = as_row(w) - as_column(w);
    let (row, column) = places(differences);
    let diagonal = row.compare("eq", column);
    // Not one over zero where the result is not used: its own derivative would be NaN.
    let safe = diagonal.select(w.lit(1.0), differences);
    diagonal.select(w.lit(0.0), 1.0 / safe)
}

/// U, the singular values in decreasing order, and Vᵀ with U·diag(s)·Vᵀ = A. Of matrices with `m` rows and `n` columns there are
/// `min(m, n)` columns of U and rows of Vᵀ; the largest component of each column of U is positive.
pub fn svd() -> Op {
    Op::new(&SVD, [])
}

/// See [`svd`].
pub static SVD: Record = Record {
    name: "svd",
    attrs: &[],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [a] = rule.operands()?;
        let (rows, columns) = matrix(rule, 0)?;
        let k = rows.min(columns);
        Ok(smallvec![with_last(a, 2, &[rows, k]), with_last(a, 2, &[k]), with_last(a, 2, &[k, columns])])
    },
    reference: |r| {
        let columns = r.inputs[0].shape()[r.inputs[0].shape().len() - 1];
        let (mut us, mut values, mut vts) = (Vec::new(), Vec::new(), Vec::new());
        for a in matrices(r.inputs[0]) {
            let (u, s, vt) = by_eigenvectors(&a, columns);
            us.push(transposed(&u, a.len()));
            values.extend(s);
            vts.push(vt);
        }
        let dtype = r.inputs[0].dtype();
        Ok(vec![
            Array::floats(dtype, r.results[0].sizes()?, elements(&us)),
            Array::floats(dtype, r.results[1].sizes()?, values),
            Array::floats(dtype, r.results[2].sizes()?, elements(&vts)),
        ])
    },
    lowering: Lowering::Library,
    // Townsend 2016, "Differentiating the singular value decomposition".
    vjp: Vjp::Rule(|v| {
        let (u, s, vt) = (v.y(0), v.y(1), v.y(2));
        let (du, ds, dvt) = (v.dy(0), v.dy(1), v.dy(2));
        let squares = reciprocal_differences(s * s);
        let antisymmetric = |x: X<'_, '_>| (x - t(x)).value;
        let left = squares * v.emitter.value(antisymmetric(dot(t(u), du)));
        let right = squares * v.emitter.value(antisymmetric(dot(vt, t(dvt))));
        let diagonal = where_rows(as_row(ds) + left.zeros_like(), "eq");
        let core = left * as_row(s) + as_column(s) * right + diagonal;
        let mut da = dot(dot(u, core), vt);
        let [.., rows, columns] = v.x(0).shape()[..] else { unreachable!("the type rule saw matrices") };
        let over = 1.0 / s;
        if rows != s.shape()[s.rank() - 1] {
            // What of the columns' change leaves their span.
            let scaled = du * as_row(over);
            da = da + dot(scaled - dot(u, dot(t(u), scaled)), vt);
        }
        if columns != s.shape()[s.rank() - 1] {
            let scaled = as_column(over) * dvt;
            da = da + dot(u, scaled - dot(dot(scaled, t(vt)), vt));
        }
        vec![Some(da)]
    }),
    jvp: Jvp::FromVjp,
    batch: Batch::Elementwise,
    flops: |_, operands, _| operands[0].elements() * operands[0].shape[operands[0].rank() - 1] * 20,
    samples: |s| {
        s.add(svd(), [normal(DType::F64, [3, 3])]);
        s.add(svd(), [normal(DType::F64, [2, 4, 2])]);
        s.add(svd(), [normal(DType::F64, [2, 3])]);
        s.add(svd(), [normal(DType::F32, [3, 2])]);
        s.add(svd(), [normal(DType::F32, [0, 2])]);
    },
    error_samples: |s| {
        s.add(svd(), [normal(DType::F32, [3])]);
        s.add(svd(), []);
    },
};

/// The columns of U as rows, the singular values, and Vᵀ: from the eigenvectors of the smaller of A·Aᵀ and Aᵀ·A.
fn by_eigenvectors(a: &Matrix, columns: usize) -> (Matrix, Vec<f64>, Matrix) {
    let at = transposed(a, columns);
    if a.len() > columns {
        let (mut vt, s, mut u) = by_eigenvectors(&at, a.len());
        for (u, v) in u.iter_mut().zip(&mut vt) {
            let sign = direction(u);
            u.iter_mut().chain(v).for_each(|x| *x *= sign);
        }
        return (u, s, vt);
    }
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let gram: Matrix = a.iter().map(|x| a.iter().map(|y| dot(x, y)).collect()).collect();
    let (values, vectors) = jacobi(gram);
    let s: Vec<f64> = values.iter().rev().map(|w| w.max(0.0).sqrt()).collect();
    let mut u: Matrix = vectors.into_iter().rev().collect();
    for row in &mut u {
        let sign = direction(row);
        row.iter_mut().for_each(|x| *x *= sign);
    }
    let vt = u.iter().zip(&s).map(|(u, s)| at.iter().map(|column| dot(column, u) / s).collect()).collect();
    (u, s, vt)
}
