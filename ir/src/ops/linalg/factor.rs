//! Factors of matrices: Cholesky and QR.

use super::reference::{Matrix, elements, gram_schmidt, matrices};
use super::*;
use crate::array::Array;
use crate::error::Error;
use crate::op::*;
use smallvec::smallvec;

/// The lower triangular L with L·Lᵀ = A, of symmetric positive definite matrices. The upper triangle of A is not read.
pub fn cholesky() -> Op {
    Op::new(&CHOLESKY, [])
}

/// See [`cholesky`].
pub static CHOLESKY: Record = Record {
    name: "cholesky",
    attrs: &[],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [a] = rule.operands()?;
        square(rule, 0)?;
        one(a.clone())
    },
    reference: |r| {
        let factor = |a: Matrix| {
            let n = a.len();
            let mut l = vec![vec![0.0; n]; n];
            for i in 0..n {
                for j in 0..=i {
                    let rest = a[i][j] - (0..j).map(|k| l[i][k] * l[j][k]).sum::<f64>();
                    l[i][j] = if i == j { rest.sqrt() } else { rest / l[j][j] };
                    if i == j && (rest <= 0.0 || rest.is_nan()) {
                        return Err(Error::new("the matrix is not positive definite"));
                    }
                }
            }
            Ok(l)
        };
        let factors: Vec<Matrix> = matrices(r.inputs[0]).into_iter().map(factor).collect::<Result<_>>()?;
        Ok(vec![Array::floats(r.inputs[0].dtype(), r.results[0].sizes()?, elements(&factors))])
    },
    lowering: Lowering::Library,
    // Murray 2016, arXiv:1602.07527.
    vjp: Vjp::Rule(|v| {
        let l = v.y(0);
        let product = dot(t(l), v.dy(0));
        let half = where_rows(product, "gt") + where_rows(product, "eq") * 0.5;
        let left = v.emitter.one(triangular_solve(false, true), &[l, half]);
        let both = t(v.emitter.one(triangular_solve(false, true), &[l, t(left)]));
        vec![Some(symmetric(both))]
    }),
    jvp: Jvp::FromVjp,
    batch: Batch::Elementwise,
    flops: |_, operands, _| operands[0].elements() * operands[0].shape[operands[0].rank() - 1],
    // A random matrix is not positive definite: what samples would show is shown where the operator is used.
    samples: |s| s.add(cholesky(), [(TensorType::new(DType::F64, [2, 1, 1]), Fill::Uniform(0.5, 2.0))]),
    error_samples: |s| {
        s.add(cholesky(), [normal(DType::F32, [3, 2])]);
        s.add(cholesky(), [normal(DType::F32, [3])]);
    },
};

/// Q with orthonormal columns and upper triangular R with Q·R = A. Of matrices with `m` rows and `n` columns, Q has
/// `min(m, n)` columns. The diagonal of R is not negative.
pub fn qr() -> Op {
    Op::new(&QR, [])
}

/// See [`qr`].
pub static QR: Record = Record {
    name: "qr",
    attrs: &[],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [a] = rule.operands()?;
        let (rows, columns) = matrix(rule, 0)?;
        let k = rows.min(columns);
        Ok(smallvec![with_last(a, 2, &[rows, k]), with_last(a, 2, &[k, columns])])
    },
    reference: |r| {
        let columns = r.inputs[0].shape()[r.inputs[0].shape().len() - 1];
        let (qs, rs): (Vec<Matrix>, Vec<Matrix>) = matrices(r.inputs[0]).iter().map(|a| gram_schmidt(a, columns)).unzip();
        let dtype = r.inputs[0].dtype();
        Ok(vec![
            Array::floats(dtype, r.results[0].sizes()?, elements(&qs)),
            Array::floats(dtype, r.results[1].sizes()?, elements(&rs)),
        ])
    },
    lowering: Lowering::Library,
    vjp: Vjp::Rule(|v| {
        let (a, q, r) = (v.x(0), v.y(0), v.y(1));
        let [.., rows, columns] = a.shape()[..] else { unreachable!("the type rule saw matrices") };
        if rows.at_least(columns) == Some(true) {
            return vec![Some(tall_cotangent(q, r, v.dy(0), v.dy(1)))];
        }
        if columns.at_least(rows) != Some(true) {
            let extents = format!("the derivative of qr needs to know whether {rows} rows or {columns} columns are more");
            v.emitter.fail(Error::new(extents));
            return vec![None];
        }
        // A = [X Y] = Q·[U V], where X = Q·U is square and V = Qᵀ·Y.
        let (du, dv) = (columns_of(v.dy(1), Dim::ZERO, rows), columns_of(v.dy(1), rows, columns));
        let dq = v.dy(0) + dot(columns_of(a, rows, columns), t(dv));
        let dx = tall_cotangent(q, columns_of(r, Dim::ZERO, rows), dq, du);
        vec![Some(v.emitter.one(concat(a.rank() - 1), &[dx, dot(q, dv)]))]
    }),
    jvp: Jvp::FromVjp,
    batch: Batch::Elementwise,
    flops: |_, operands, _| operands[0].elements() * operands[0].shape[operands[0].rank() - 1] * 2,
    samples: |s| {
        s.add(qr(), [normal(DType::F64, [3, 3])]);
        s.add(qr(), [normal(DType::F64, [2, 4, 2])]);
        s.add(qr(), [normal(DType::F64, [2, 4])]);
        s.add(qr(), [normal(DType::F32, [2, 2, 3])]);
        s.add(qr(), [normal(DType::F32, [3, 3])]);
        s.add(qr(), [normal(DType::F32, [2, 0])]);
    },
    error_samples: |s| {
        s.add(qr(), [normal(DType::F32, [3])]);
        s.add(qr(), []);
    },
};

/// The cotangent of matrices with at least as many rows as columns. Walter, Lehmann & Lamour 2012, "On evaluating higher-order
/// derivatives of the QR decomposition".
fn tall_cotangent<'b, 'e>(q: X<'b, 'e>, r: X<'b, 'e>, dq: X<'b, 'e>, dr: X<'b, 'e>) -> X<'b, 'e> {
    let m = dot(r, t(dr)) - dot(t(dq), q);
    let lower = where_rows(m, "gt");
    let copied = lower + t(lower) + where_rows(m, "eq");
    let cotangent = dq + dot(q, copied);
    // X·Rᵀ = Y is R·Xᵀ = Yᵀ.
    t(q.emitter.one(triangular_solve(true, false), &[r, t(cotangent)]))
}

/// Columns `from..to` of matrices.
fn columns_of<'b, 'e>(x: X<'b, 'e>, from: Dim, to: Dim) -> X<'b, 'e> {
    let last = x.rank() - 1;
    let (mut start, mut limit) = (vec![Dim::ZERO; last + 1], x.shape().to_vec());
    (start[last], limit[last]) = (from, to);
    x.unary(slice(&start, &limit, &vec![1; last + 1]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{gradient, numbers, run};

    /// L of `[[4, 2], [2, 5]]` is `[[2, 0], [1, 2]]`; the derivatives of its elements by hand.
    #[test]
    fn the_factor_of_a_small_matrix() {
        let a = numbers([2, 2], [4.0, 2.0, 2.0, 5.0]);
        assert_eq!(run(&cholesky(), std::slice::from_ref(&a))[0].to_f64(), [2.0, 0.0, 1.0, 2.0]);
        // l11 = √a11: 1/4. l21 = a21/√a11: -1/8 by a11 and 1/2 by a21 together.
        let by = |seed: [f64; 4]| gradient(&cholesky(), std::slice::from_ref(&a), numbers([2, 2], seed)).to_f64();
        assert_eq!(by([1.0, 0.0, 0.0, 0.0]), [0.25, 0.0, 0.0, 0.0]);
        assert_eq!(by([0.0, 0.0, 1.0, 0.0]), [-0.125, 0.25, 0.25, 0.0]);
    }

    #[test]
    fn what_is_not_positive_definite_has_no_factor() {
        let graph = crate::conformance::graph_of(&Sample {
            op: cholesky(),
            inputs: vec![(TensorType::new(DType::F64, [2, 2]), Fill::Normal)],
        });
        let a = numbers([2, 2], [1.0, 2.0, 2.0, 1.0]);
        assert!(crate::interp::interpret(&graph.unwrap(), &[a]).unwrap_err().to_string().contains("positive definite"));
    }
}
