//! Bounds of integer expressions, kept with each node of an arena.

use crate::dim::Dim;
use crate::scalar::{Expr, Exprs, ScalarOp};
use crate::types::DType;

/// No tensor has more elements than this, so index arithmetic does not overflow.
const LARGEST: i64 = 1 << 48;

/// What is known about the values of an expression; all of `i64` where nothing is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Range {
    /// No value is below.
    pub lo: i64,
    /// No value is above.
    pub hi: i64,
    /// Whether it is an index or about as small, so that sums and products of such do not overflow.
    pub tame: bool,
}

impl Range {
    fn new(lo: i64, hi: i64) -> Range {
        Range { lo, hi, tame: lo >= -LARGEST && hi <= LARGEST }
    }

    /// All values of a type; all of `i64` for floats, for which it has no meaning.
    fn of_type(dtype: DType) -> Range {
        match dtype {
            DType::Bool | DType::U8 | DType::I8 | DType::U32 | DType::I32 => {
                let (lo, hi) = dtype.int_limits();
                Range::new(lo, hi)
            }
            _ => Range { lo: i64::MIN, hi: i64::MAX, tame: false },
        }
    }

    /// The values of a dimension.
    fn of_dim(dim: Dim) -> Range {
        let (lo, hi) = dim.bounds();
        let clamp = |x: i64| x.clamp(-LARGEST, LARGEST);
        Range { lo: clamp(lo), hi: hi.map_or(LARGEST, clamp), tame: true }
    }

    fn union(self, other: Range) -> Range {
        Range { lo: self.lo.min(other.lo), hi: self.hi.max(other.hi), tame: self.tame && other.tame }
    }
}

/// The range of a node whose arguments are in the arena.
pub(crate) fn of(exprs: &Exprs, expr: &Expr) -> Range {
    let all = Range::of_type(expr.dtype);
    if expr.dtype.is_float() {
        return all;
    }
    let arg = |k: usize| exprs.range(expr.args[k]);
    // Wrapping is impossible for indices, and otherwise leaves nothing known.
    let arithmetic = |lo: i128, hi: i128, tame: bool| {
        if lo >= i128::from(all.lo) && hi <= i128::from(all.hi) {
            Range::new(lo as i64, hi as i64)
        } else if tame && expr.dtype == DType::I64 {
            let clamp = |x: i128| x.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
            Range { lo: clamp(lo), hi: clamp(hi), tame: true }
        } else {
            all
        }
    };
    match expr.op {
        ScalarOp::Literal(l) => Range::new(l.as_i64(), l.as_i64()),
        ScalarOp::Axis(i) => {
            let hi = exprs.axes.get(i as usize).map_or(LARGEST, |&n| Range::of_dim(n).hi - 1);
            Range { lo: 0, hi: hi.max(0), tame: true }
        }
        ScalarOp::Extent(d) => Range::of_dim(d),
        ScalarOp::Add | ScalarOp::Sub | ScalarOp::Mul => {
            let (a, b) = (arg(0), arg(1));
            let [al, ah, bl, bh] = [a.lo, a.hi, b.lo, b.hi].map(i128::from);
            let (lo, hi) = match expr.op {
                ScalarOp::Add => (al + bl, ah + bh),
                ScalarOp::Sub => (al - bh, ah - bl),
                _ => {
                    let corners = [al * bl, al * bh, ah * bl, ah * bh];
                    corners.into_iter().fold((i128::MAX, i128::MIN), |(lo, hi), c| (lo.min(c), hi.max(c)))
                }
            };
            arithmetic(lo, hi, a.tame && b.tame)
        }
        ScalarOp::Neg => arithmetic(-i128::from(arg(0).hi), -i128::from(arg(0).lo), arg(0).tame),
        ScalarOp::Div if arg(1).lo > 0 => {
            let (a, b) = (arg(0), arg(1));
            let quotients = [a.lo.div_euclid(b.lo), a.lo.div_euclid(b.hi), a.hi.div_euclid(b.lo), a.hi.div_euclid(b.hi)];
            let (lo, hi) = quotients.into_iter().fold((i64::MAX, i64::MIN), |(lo, hi), q| (lo.min(q), hi.max(q)));
            Range { lo, hi, tame: a.tame || Range::new(lo, hi).tame }
        }
        ScalarOp::Rem if arg(1).lo > 0 => {
            let (a, b) = (arg(0), arg(1));
            let unchanged = a.lo >= 0 && a.hi < b.lo;
            if unchanged { a } else { Range { lo: 0, hi: b.hi - 1, tame: b.tame } }
        }
        ScalarOp::Min | ScalarOp::Max => {
            let (a, b) = (arg(0), arg(1));
            let (lo, hi) =
                if expr.op == ScalarOp::Min { (a.lo.min(b.lo), a.hi.min(b.hi)) } else { (a.lo.max(b.lo), a.hi.max(b.hi)) };
            Range { lo, hi, tame: (a.tame && b.tame) || Range::new(lo, hi).tame }
        }
        ScalarOp::And if arg(0).lo >= 0 && arg(1).lo >= 0 => Range::new(0, arg(0).hi.min(arg(1).hi)),
        ScalarOp::Select => arg(1).union(arg(2)),
        ScalarOp::Cast if !exprs.dtype(expr.args[0]).is_float() => {
            let a = arg(0);
            if a.lo >= all.lo && a.hi <= all.hi { a } else { all }
        }
        _ => all,
    }
}
