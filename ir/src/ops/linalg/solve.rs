//! Systems of linear equations, and determinants.

use super::reference::{Matrix, elements, eliminate, matrices};
use super::*;
use crate::array::Array;
use crate::error::Error;
use crate::op::*;
use smallvec::smallvec;

/// X in A·X = B, of square matrices A and matrices B with as many rows.
pub fn solve() -> Op {
    Op::new(&SOLVE, [])
}

/// See [`solve`].
pub static SOLVE: Record = Record {
    name: "solve",
    attrs: &[],
    infer: system,
    reference: |r| {
        let solve = |(a, b): (Matrix, Matrix)| eliminate(a, b).0.ok_or_else(|| Error::new("the matrix is singular"));
        let solutions: Vec<Matrix> =
            matrices(r.inputs[0]).into_iter().zip(matrices(r.inputs[1])).map(solve).collect::<Result<_>>()?;
        Ok(vec![Array::floats(r.inputs[1].dtype(), r.results[0].sizes()?, elements(&solutions))])
    },
    lowering: Lowering::Library,
    vjp: Vjp::Rule(|v| {
        let db = v.emitter.one(solve(), &[t(v.x(0)), v.dy(0)]);
        vec![Some(-dot(db, t(v.y(0)))), Some(db)]
    }),
    jvp: Jvp::FromVjp,
    batch: Batch::Elementwise,
    flops: cubic,
    samples: |s| {
        s.add(solve(), [normal(DType::F64, [3, 3]), normal(DType::F64, [3, 2])]);
        s.add(solve(), [normal(DType::F64, [2, 4, 4]), normal(DType::F64, [2, 4, 1])]);
        s.add(solve(), [normal(DType::F32, [3, 3]), normal(DType::F32, [3, 3])]);
        s.add(solve(), [normal(DType::F32, [1, 1]), normal(DType::F32, [1, 4])]);
        s.add(solve(), [normal(DType::F32, [0, 0]), normal(DType::F32, [0, 2])]);
        s.add(solve(), [normal(DType::F32, [0, 2, 2]), normal(DType::F32, [0, 2, 1])]);
    },
    error_samples: system_errors,
};

/// X in A·X = B, or AᵀX = B if `transpose`, of lower (or upper) triangular matrices A. The other triangle is not read.
pub fn triangular_solve(upper: bool, transpose: bool) -> Op {
    Op::new(&TRIANGULAR_SOLVE, [Attr::Bool(upper), Attr::Bool(transpose)])
}

/// See [`triangular_solve`].
pub static TRIANGULAR_SOLVE: Record = Record {
    name: "triangular_solve",
    attrs: &[("upper", AttrKind::Bool), ("transpose", AttrKind::Bool)],
    infer: system,
    reference: |r| {
        let (upper, transpose) = (r.op.bool("upper"), r.op.bool("transpose"));
        let solve = |(a, b): (Matrix, Matrix)| {
            let n = a.len();
            let inside = |i: usize, j: usize| if upper { i <= j } else { i >= j };
            let at = |i: usize, j: usize| if transpose { (j, i) } else { (i, j) };
            let element = |i: usize, j: usize| {
                let (i, j) = at(i, j);
                if inside(i, j) { a[i][j] } else { 0.0 }
            };
            let a: Matrix = (0..n).map(|i| (0..n).map(|j| element(i, j)).collect()).collect();
            eliminate(a, b).0.ok_or_else(|| Error::new("a number on the diagonal is zero"))
        };
        let solutions: Vec<Matrix> =
            matrices(r.inputs[0]).into_iter().zip(matrices(r.inputs[1])).map(solve).collect::<Result<_>>()?;
        Ok(vec![Array::floats(r.inputs[1].dtype(), r.results[0].sizes()?, elements(&solutions))])
    },
    lowering: Lowering::Library,
    vjp: Vjp::Rule(|v| {
        let (upper, transpose) = (v.op.bool("upper"), v.op.bool("transpose"));
        let db = v.emitter.one(triangular_solve(upper, !transpose), &[v.x(0), v.dy(0)]);
        let da = if transpose { dot(v.y(0), t(db)) } else { dot(db, t(v.y(0))) };
        vec![Some(where_rows(-da, if upper { "le" } else { "ge" })), Some(db)]
    }),
    jvp: Jvp::FromVjp,
    batch: Batch::Elementwise,
    flops: cubic,
    samples: |s| {
        // Far from zero on the diagonal.
        let a = |dtype, shape: [usize; 3]| (TensorType::new(dtype, shape), Fill::Uniform(0.5, 2.0));
        for (upper, transpose) in [(false, false), (true, false), (false, true), (true, true)] {
            let op = triangular_solve(upper, transpose);
            s.add(op.clone(), [a(DType::F64, [2, 3, 3]), normal(DType::F64, [2, 3, 2])]);
            s.add(op.clone(), [a(DType::F32, [1, 4, 4]), normal(DType::F32, [1, 4, 1])]);
            s.add(op, [a(DType::F32, [1, 0, 0]), normal(DType::F32, [1, 0, 2])]);
        }
    },
    error_samples: system_errors,
};

fn system(op: &Op, operands: &[TensorType]) -> Result<Types> {
    let rule = TypeRule::new(op, operands);
    let [a, b] = rule.operands()?;
    let n = square(rule, 0)?;
    let (rows, columns) = matrix(rule, 1)?;
    rule.same_dtype(0, 1)?;
    rule.agree("the rows", ("operand 0's number", n), ("operand 1's", rows))?;
    rule.ensure(a.rank() == b.rank(), || format!("needs operands with as many axes: {} and {}", a.rank(), b.rank()))?;
    for (axis, (&x, &y)) in a.shape[..a.rank() - 2].iter().zip(&b.shape).enumerate() {
        rule.agree(&format!("extents of axis {axis}"), ("operand 0", x), ("operand 1", y))?;
    }
    one(with_last(b, 1, &[columns]))
}

fn system_errors(s: &mut Samples) {
    let op = solve();
    s.add(op.clone(), [normal(DType::F32, [3, 3])]);
    s.add(op.clone(), [normal(DType::F32, [3, 2]), normal(DType::F32, [3, 2])]);
    s.add(op.clone(), [normal(DType::F32, [3, 3]), normal(DType::F32, [2, 2])]);
    s.add(op.clone(), [normal(DType::F32, [3, 3]), normal(DType::F32, [3])]);
    s.add(op.clone(), [normal(DType::F32, [3, 3]), normal(DType::F64, [3, 1])]);
    s.add(op, [normal(DType::F32, [2, 3, 3]), normal(DType::F32, [4, 3, 1])]);
}

fn cubic(_: &Op, operands: &[TensorType], results: &[TensorType]) -> Dim {
    results[0].elements() * operands[0].shape[operands[0].rank() - 1]
}

/// The sign of the determinants of square matrices (0 where they are singular), and the logarithms of their absolute values.
pub fn slogdet() -> Op {
    Op::new(&SLOGDET, [])
}

/// See [`slogdet`].
pub static SLOGDET: Record = Record {
    name: "slogdet",
    attrs: &[],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [a] = rule.operands()?;
        square(rule, 0)?;
        let result = with_last(a, 2, &[]);
        Ok(smallvec![result.clone(), result])
    },
    reference: |r| {
        let determinant = |a: Matrix| {
            let n = a.len();
            eliminate(a, vec![Vec::new(); n]).1
        };
        let determinants: Vec<f64> = matrices(r.inputs[0]).into_iter().map(determinant).collect();
        let shape = r.results[0].sizes()?;
        let of =
            |f: fn(f64) -> f64| Array::floats(r.inputs[0].dtype(), shape.clone(), determinants.iter().map(|&d| f(d)).collect());
        Ok(vec![of(|d| if d == 0.0 { 0.0 } else { d.signum() }), of(|d| d.abs().ln())])
    },
    lowering: Lowering::Library,
    vjp: Vjp::Rule(|v| {
        let a = v.x(0);
        let inverse = v.emitter.one(solve(), &[t(a), identity(a)]);
        vec![Some(as_column(as_column(v.dy(1))) * inverse)]
    }),
    jvp: Jvp::FromVjp,
    batch: Batch::Elementwise,
    flops: |_, operands, _| operands[0].elements() * operands[0].shape[operands[0].rank() - 1],
    samples: |s| {
        s.add(slogdet(), [normal(DType::F64, [3, 3])]);
        s.add(slogdet(), [normal(DType::F64, [2, 4, 4])]);
        s.add(slogdet(), [normal(DType::F32, [5, 2, 2])]);
        s.add(slogdet(), [normal(DType::F32, [1, 1])]);
        s.add(slogdet(), [normal(DType::F32, [0, 0])]);
    },
    error_samples: |s| {
        s.add(slogdet(), [normal(DType::F32, [3, 2])]);
        s.add(slogdet(), [normal(DType::F32, [3])]);
        s.add(slogdet(), [(TensorType::new(DType::I64, [2, 2]), Fill::Range(0, 3))]);
    },
};
