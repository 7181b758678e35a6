//! Estimates: how long a point takes, and how a matrix product is cut into tasks. They decide about speed only.

use super::lower::Pass;
use super::nest::{PassPlan, Plan};
use igneous_ir::dim::Dim;
use igneous_ir::scalar::ScalarOp;
use igneous_ir::types::DType;

/// Nanoseconds of an operation on a 128-bit register: two to three of them begin in each cycle of a few GHz.
const OPERATION_NS: f64 = 0.12;
/// Nanoseconds of a load or store, from the cache that is likely.
const ACCESS_NS: f64 = 0.25;
/// Bytes a nanosecond that a core reads, from the cache that is likely.
const BYTES_PER_NS: f64 = 80.0;
/// The least nanoseconds of a matrix product that are worth a task.
const TASK_NS: f64 = 5000.0;
/// Nanoseconds to begin a pass over one point.
const PASS_NS: f64 = 2.0;

/// A number to calculate with for an extent that is known only at run time.
pub(super) fn typical(d: Dim) -> f64 {
    match (d.as_const(), d.bounds()) {
        (Some(n), _) => n as f64,
        (None, (lo, hi)) => {
            let lo = lo.max(1) as f64;
            let hi = hi.map_or(4096.0, |h| h as f64).clamp(lo, 4096f64.max(lo));
            (lo * hi).sqrt()
        }
    }
}

/// Estimated nanoseconds for one point of the parallel axes.
pub(super) fn point_ns(plan: &Plan) -> f64 {
    let column = plan.form.column().is_some();
    plan.low.passes.iter().zip(&plan.passes).map(|(pass, of)| pass_ns(plan, pass, of, column)).sum()
}

fn pass_ns(plan: &Plan, pass: &Pass, of: &PassPlan, column: bool) -> f64 {
    let exprs = &plan.low.exprs;
    let elements: f64 = pass.axes().iter().map(|&a| typical(plan.low.axes[a as usize].extent)).product();
    // The piece that computes most is the one that most elements are in.
    let place = of.pieces.iter().map(|p| &p.place).max_by_key(|p| p.needed.len()).expect("a pass has a piece");
    let mut ns = place.accesses.len() as f64 * ACCESS_NS;
    for &id in place.needed.iter().filter(|&&id| place.varies(id)) {
        let node = exprs.get(id);
        ns += match node.op {
            ScalarOp::Load(_) | ScalarOp::Local(_) => 0.0,
            ScalarOp::Div | ScalarOp::Rem | ScalarOp::Sqrt => 6.0 * OPERATION_NS,
            _ => OPERATION_NS,
        };
        if matches!(node.dtype, DType::F64 | DType::I64) {
            ns += OPERATION_NS;
        }
    }
    if matches!(pass, Pass::Fold { .. }) {
        ns += OPERATION_NS;
    }
    let per_element = if of.vector { ns / 4.0 } else { ns };
    elements * per_element + if column { 0.0 } else { PASS_NS }
}

/// Rows and columns per task, and the number of parts the contracted axis is cut into, of a matrix product of these
/// extents. Independent of the number of threads.
pub(super) fn dot_blocking(m: Dim, n: Dim, k: Dim, dtype: DType) -> (Dim, Dim, usize) {
    let (rows, columns, depth) = (typical(m), typical(n), typical(k));
    // Some 50 GFLOP/s of one core (half of that for f64), and what it reads from its caches: a product with a vector is
    // bound by reading the matrix.
    let flops_per_ns = if dtype == DType::F64 { 25.0 } else { 50.0 };
    let bytes = dtype.size() as f64 * (rows * columns + (rows + columns) * depth);
    let ns = (2.0 * rows * columns * depth / flops_per_ns).max(bytes / BYTES_PER_NS);
    let parts = (ns / TASK_NS).clamp(1.0, 8.0).floor();
    // A product with few results and much to sum is cut along k.
    let vector = rows.min(columns) == 1.0 && rows.max(columns) >= 64.0;
    let small = rows * columns <= 64.0 * 64.0 && !vector;
    if small {
        let split = if depth >= 8.0 * rows.max(columns).max(128.0) { parts as usize } else { 1 };
        return (m, n, split);
    }
    if parts < 2.0 {
        return (m, n, 1);
    }
    // Cut the longer side first; blocks are multiples of what the micro-kernels take.
    let block = |extent: Dim, length: f64, cuts: f64, unit: f64| -> Dim {
        let size = ((length / cuts / unit).ceil() * unit).max(unit);
        Dim::constant(size as i64).min(extent)
    };
    if rows >= columns {
        let cuts = parts.min((rows / 64.0).max(1.0)).floor();
        let rest = (parts / cuts).min((columns / 64.0).max(1.0)).floor();
        (block(m, rows, cuts, 16.0), block(n, columns, rest, 32.0), 1)
    } else {
        let cuts = parts.min((columns / 64.0).max(1.0)).floor();
        let rest = (parts / cuts).min((rows / 64.0).max(1.0)).floor();
        (block(m, rows, rest, 16.0), block(n, columns, cuts, 32.0), 1)
    }
}
