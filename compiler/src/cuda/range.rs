//! Intervals of index arithmetic: what is proven not to overflow is written with plain operators, in 32 bits if it fits.

use igneous_ir::kernel::Section;
use igneous_ir::scalar::{ExprId, Exprs, ScalarOp};

/// The smallest and the largest value.
pub(super) type Range = (i64, i64);

/// The interval of each `i64` expression below `roots` that is made of axes, extents and constants alone; none for others.
pub(super) fn ranges(section: &Section, roots: &[ExprId]) -> Vec<Option<Range>> {
    let mut ranges: Vec<Option<Range>> = vec![None; section.exprs.len()];
    for id in section.exprs.reachable(roots) {
        ranges[id.0 as usize] = range(section, &section.exprs, id, &ranges);
    }
    ranges
}

fn range(section: &Section, exprs: &Exprs, id: ExprId, known: &[Option<Range>]) -> Option<Range> {
    let node = exprs.get(id);
    if node.dtype != igneous_ir::DType::I64 {
        return None;
    }
    let arg = |k: usize| known[node.args[k].0 as usize];
    let hull = |candidates: [Option<i64>; 4]| {
        let values = candidates.into_iter().collect::<Option<Vec<i64>>>()?;
        Some((*values.iter().min()?, *values.iter().max()?))
    };
    match node.op {
        ScalarOp::Literal(l) => Some((l.as_i64(), l.as_i64())),
        ScalarOp::Axis(a) => section.axes[a as usize].extent.bounds().1.map(|hi| (0, (hi - 1).max(0))),
        ScalarOp::Extent(d) => d.bounds().1.map(|hi| (d.bounds().0, hi)),
        ScalarOp::Neg => arg(0).and_then(|(lo, hi)| Some((hi.checked_neg()?, lo.checked_neg()?))),
        ScalarOp::Add => arg(0).zip(arg(1)).and_then(|(a, b)| Some((a.0.checked_add(b.0)?, a.1.checked_add(b.1)?))),
        ScalarOp::Sub => arg(0).zip(arg(1)).and_then(|(a, b)| Some((a.0.checked_sub(b.1)?, a.1.checked_sub(b.0)?))),
        ScalarOp::Mul => arg(0)
            .zip(arg(1))
            .and_then(|(a, b)| hull([a.0.checked_mul(b.0), a.0.checked_mul(b.1), a.1.checked_mul(b.0), a.1.checked_mul(b.1)])),
        ScalarOp::Div => arg(0).zip(arg(1)).filter(|(_, b)| b.0 > 0).and_then(|(a, b)| {
            let quotient = |x: i64, y: i64| Some(x.div_euclid(y));
            hull([quotient(a.0, b.0), quotient(a.0, b.1), quotient(a.1, b.0), quotient(a.1, b.1)])
        }),
        ScalarOp::Rem => arg(0).zip(arg(1)).filter(|(_, b)| b.0 > 0).map(|(_, b)| (0, b.1 - 1)),
        ScalarOp::Min => arg(0).zip(arg(1)).map(|(a, b)| (a.0.min(b.0), a.1.min(b.1))),
        ScalarOp::Max => arg(0).zip(arg(1)).map(|(a, b)| (a.0.max(b.0), a.1.max(b.1))),
        ScalarOp::Select => arg(1).zip(arg(2)).map(|(a, b)| (a.0.min(b.0), a.1.max(b.1))),
        _ => None,
    }
}
