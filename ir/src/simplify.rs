//! Folding and simplification of scalar expressions, on construction and exact: the result has the same bits for every
//! value of the arguments.
//!
//! Index arithmetic (`i64`) is simplified with the ranges of its parts, which start from the extents of the axes: that is
//! what removes the divisions of reshapes, the clamps of gathers and the bounds checks of padding wherever they cannot matter.

use crate::dim::Dim;
use crate::scalar::{Compare, ExprId, Exprs, ScalarOp};
use crate::scalar_eval::eval_op;
use crate::types::{DType, Literal};

/// The smallest and the largest value an `i64` expression can have; either may be symbolic.
pub(crate) type Range = Option<(Dim, Dim)>;

/// The range of `op(args)`, whose type is `i64`, from those of its arguments.
pub(crate) fn range(exprs: &Exprs, op: ScalarOp, args: &[ExprId]) -> Range {
    let of = |k: usize| exprs.range(args[k]);
    let both = || Some((of(0)?, of(1)?));
    match op {
        ScalarOp::Literal(l) => Some((Dim::constant(l.as_i64()), Dim::constant(l.as_i64()))),
        ScalarOp::Axis(a) => {
            let extent = *exprs.axes.get(a as usize)?;
            Some((Dim::ZERO, extent - 1))
        }
        ScalarOp::Extent(d) => Some((d, d)),
        ScalarOp::Add => both().map(|((al, ah), (bl, bh))| (al + bl, ah + bh)),
        ScalarOp::Sub => both().map(|((al, ah), (bl, bh))| (al - bh, ah - bl)),
        ScalarOp::Mul => {
            let ((al, ah), (bl, bh)) = both()?;
            let nonnegative = al.at_least(0) == Some(true) && bl.at_least(0) == Some(true);
            nonnegative.then(|| (al * bl, ah * bh))
        }
        ScalarOp::Div => {
            let ((al, ah), (bl, bh)) = both()?;
            let positive = bl.at_least(1) == Some(true) && bl == bh && al.at_least(0) == Some(true);
            positive.then(|| (al.div_floor(bl), ah.div_floor(bl)))
        }
        ScalarOp::Rem => {
            let (bl, bh) = of(1)?;
            (bl.at_least(1) == Some(true)).then(|| (Dim::ZERO, bh - 1))
        }
        // A bound that is not known by range stays an expression only where it is a constant.
        ScalarOp::Min => both().and_then(|((al, ah), (bl, bh))| Some((lesser(al, bl)?, lesser(ah, bh)?))),
        ScalarOp::Max => both().and_then(|((al, ah), (bl, bh))| Some((greater(al, bl)?, greater(ah, bh)?))),
        ScalarOp::Select => {
            let ((al, ah), (bl, bh)) = (of(1)?, of(2)?);
            Some((lesser(al, bl)?, greater(ah, bh)?))
        }
        _ => None,
    }
}

fn lesser(a: Dim, b: Dim) -> Option<Dim> {
    match a.at_least(b) {
        Some(true) => Some(b),
        _ if b.at_least(a) == Some(true) => Some(a),
        _ => None,
    }
}

fn greater(a: Dim, b: Dim) -> Option<Dim> {
    match a.at_least(b) {
        Some(true) => Some(a),
        _ if b.at_least(a) == Some(true) => Some(b),
        _ => None,
    }
}

/// An equal, simpler expression for `op(args)`, if there is one.
pub(crate) fn simplify(exprs: &mut Exprs, op: ScalarOp, args: &[ExprId], dtype: DType) -> Option<ExprId> {
    if let Some(folded) = fold(exprs, op, args, dtype) {
        return Some(folded);
    }
    match op {
        ScalarOp::Select => select(exprs, args, dtype),
        ScalarOp::Not | ScalarOp::Neg => {
            let inner = exprs.get(args[0]);
            (inner.op == op).then(|| inner.args[0])
        }
        ScalarOp::And | ScalarOp::Or | ScalarOp::Min | ScalarOp::Max if args[0] == args[1] => Some(args[0]),
        ScalarOp::And | ScalarOp::Or if dtype == DType::Bool => logic(exprs, op, args),
        ScalarOp::Compare(how) if exprs.dtype(args[0]) == DType::I64 => compare(exprs, how, args),
        _ if dtype.is_float() => float(exprs, op, args),
        _ if dtype.is_int() => integer(exprs, op, args, dtype),
        _ => None,
    }
}

/// The value if all arguments are constants. Functions and fused multiply-adds depend on the target, so they stay.
fn fold(exprs: &mut Exprs, op: ScalarOp, args: &[ExprId], dtype: DType) -> Option<ExprId> {
    let computes = !matches!(
        op,
        ScalarOp::Literal(_)
            | ScalarOp::Axis(_)
            | ScalarOp::Extent(_)
            | ScalarOp::Load(_)
            | ScalarOp::Local(_)
            | ScalarOp::Math(_)
            | ScalarOp::Fma
    );
    if !computes {
        return None;
    }
    let literals: Vec<Literal> = args.iter().map(|&a| exprs.literal(a)).collect::<Option<_>>()?;
    let value = eval_op(op, &literals, dtype);
    Some(exprs.constant(value))
}

fn select(exprs: &mut Exprs, args: &[ExprId], dtype: DType) -> Option<ExprId> {
    let [condition, then, otherwise] = *args else { return None };
    if then == otherwise {
        return Some(then);
    }
    if let Some(c) = exprs.literal(condition) {
        return Some(if c.as_i64() != 0 { then } else { otherwise });
    }
    let node = exprs.get(condition);
    (node.op == ScalarOp::Not).then(|| node.args[0]).map(|inner| exprs.add(ScalarOp::Select, &[inner, otherwise, then], dtype))
}

fn logic(exprs: &Exprs, op: ScalarOp, args: &[ExprId]) -> Option<ExprId> {
    for (own, other) in [(0, 1), (1, 0)] {
        if let Some(l) = exprs.literal(args[own]) {
            let keeps = (l.as_i64() != 0) == (op == ScalarOp::And);
            return Some(if keeps { args[other] } else { args[own] });
        }
    }
    None
}

fn float(exprs: &Exprs, op: ScalarOp, args: &[ExprId]) -> Option<ExprId> {
    let [a, b] = *args else { return None };
    let is = |id: ExprId, value: f64| exprs.literal(id).is_some_and(|l| l.is(value));
    match op {
        ScalarOp::Mul if is(b, 1.0) => Some(a),
        ScalarOp::Mul if is(a, 1.0) => Some(b),
        ScalarOp::Div if is(b, 1.0) => Some(a),
        ScalarOp::Sub if is(b, 0.0) => Some(a),
        ScalarOp::Add if is(b, -0.0) => Some(a),
        ScalarOp::Add if is(a, -0.0) => Some(b),
        _ => None,
    }
}

fn integer(exprs: &mut Exprs, op: ScalarOp, args: &[ExprId], dtype: DType) -> Option<ExprId> {
    let [a, b] = *args else { return None };
    let commutative = matches!(
        op,
        ScalarOp::Add | ScalarOp::Mul | ScalarOp::Min | ScalarOp::Max | ScalarOp::And | ScalarOp::Or | ScalarOp::Xor
    );
    let (la, lb) = (exprs.literal(a), exprs.literal(b));
    // Constants last, else the older operand first, so that equal sums are one node.
    if commutative && (la.is_some() || lb.is_none() && b < a) {
        return Some(exprs.add(op, &[b, a], dtype));
    }
    match (op, lb.map(Literal::as_i64)) {
        (ScalarOp::Add | ScalarOp::Sub | ScalarOp::Or | ScalarOp::Xor | ScalarOp::Shl | ScalarOp::Shr, Some(0)) => Some(a),
        (ScalarOp::Mul | ScalarOp::Div, Some(1)) => Some(a),
        (ScalarOp::Mul, Some(0)) => Some(b),
        (ScalarOp::Rem, Some(1)) => Some(exprs.constant(Literal::int(dtype, 0))),
        (ScalarOp::Sub, _) if a == b => Some(exprs.constant(Literal::int(dtype, 0))),
        (ScalarOp::Sub, Some(c)) => {
            let negated = exprs.constant(Literal::int(dtype, c.wrapping_neg()));
            Some(exprs.add(ScalarOp::Add, &[a, negated], dtype))
        }
        (ScalarOp::Add, Some(c)) => add_constant(exprs, a, c, dtype),
        (ScalarOp::Mul, Some(c)) => {
            let inner = exprs.get(a).clone();
            let k = (inner.op == ScalarOp::Mul).then(|| exprs.literal(inner.args[1])).flatten()?;
            let product = exprs.constant(Literal::int(dtype, k.as_i64().wrapping_mul(c)));
            Some(exprs.add(ScalarOp::Mul, &[inner.args[0], product], dtype))
        }
        (ScalarOp::Add, None) if dtype == DType::I64 => lift_constant(exprs, a, b),
        (ScalarOp::Min | ScalarOp::Max, _) if dtype == DType::I64 => clamp(exprs, op, a, b),
        (ScalarOp::Div | ScalarOp::Rem, _) if dtype == DType::I64 => divide(exprs, op, a, b),
        _ => None,
    }
}

fn add_constant(exprs: &mut Exprs, a: ExprId, c: i64, dtype: DType) -> Option<ExprId> {
    let inner = exprs.get(a).clone();
    match inner.op {
        ScalarOp::Extent(d) => Some(exprs.extent(d + Dim::constant(c))),
        ScalarOp::Add => {
            let k = exprs.literal(inner.args[1])?;
            let sum = exprs.constant(Literal::int(dtype, k.as_i64().wrapping_add(c)));
            Some(exprs.add(ScalarOp::Add, &[inner.args[0], sum], dtype))
        }
        _ => None,
    }
}

/// `(x + c) + y = (x + y) + c`: constants go outside, where they meet others.
fn lift_constant(exprs: &mut Exprs, a: ExprId, b: ExprId) -> Option<ExprId> {
    for (own, other) in [(a, b), (b, a)] {
        let node = exprs.get(own).clone();
        if node.op == ScalarOp::Add && exprs.literal(node.args[1]).is_some() {
            let sum = exprs.add(ScalarOp::Add, &[node.args[0], other], DType::I64);
            return Some(exprs.add(ScalarOp::Add, &[sum, node.args[1]], DType::I64));
        }
    }
    None
}

/// A minimum or maximum that ranges decide.
fn clamp(exprs: &Exprs, op: ScalarOp, a: ExprId, b: ExprId) -> Option<ExprId> {
    let ((al, ah), (bl, bh)) = (exprs.range(a)?, exprs.range(b)?);
    let (smaller, larger) = if bl.at_least(ah) == Some(true) {
        (a, b)
    } else if al.at_least(bh) == Some(true) {
        (b, a)
    } else {
        return None;
    };
    Some(if op == ScalarOp::Min { smaller } else { larger })
}

fn compare(exprs: &mut Exprs, how: Compare, args: &[ExprId]) -> Option<ExprId> {
    let ((al, ah), (bl, bh)) = (exprs.range(args[0])?, exprs.range(args[1])?);
    let holds = |larger: Dim, smaller: Dim| larger.at_least(smaller) == Some(true);
    let (less, less_or_equal) = (holds(bl, ah + 1), holds(bl, ah));
    let (greater, greater_or_equal) = (holds(al, bh + 1), holds(al, bh));
    let decided = match how {
        Compare::Lt if less => true,
        Compare::Lt if greater_or_equal => false,
        Compare::Le if less_or_equal => true,
        Compare::Le if greater => false,
        Compare::Gt if greater => true,
        Compare::Gt if less_or_equal => false,
        Compare::Ge if greater_or_equal => true,
        Compare::Ge if less => false,
        Compare::Eq if args[0] == args[1] => true,
        Compare::Eq if less || greater => false,
        Compare::Ne if args[0] == args[1] => false,
        Compare::Ne if less || greater => true,
        _ => return None,
    };
    Some(exprs.constant(Literal::int(DType::Bool, decided.into())))
}

/// `(q·d + r) / d = q` and `(q·d + r) mod d = r` where `0 ≤ r < d`; a division of a division.
fn divide(exprs: &mut Exprs, op: ScalarOp, a: ExprId, b: ExprId) -> Option<ExprId> {
    let (dl, dh) = exprs.range(b)?;
    if dl != dh || dl.at_least(1) != Some(true) {
        return None;
    }
    let d = dl;
    let (quotient, rest) = split(exprs, a, d);
    let inside = rest.is_none_or(|r| in_range(exprs, r, d));
    if inside {
        let zero = exprs.constant(Literal::int(DType::I64, 0));
        return Some(if op == ScalarOp::Div { quotient.unwrap_or(zero) } else { rest.unwrap_or(zero) });
    }
    // (q·c + r) / (c·e) = q / e, and its remainder is (q mod e)·c + r, where 0 ≤ r < c.
    if let Some((c, e)) = common_factor(exprs, a, d) {
        let (quotient, rest) = split(exprs, a, c);
        if let Some(q) = quotient.filter(|_| rest.is_none_or(|r| in_range(exprs, r, c))) {
            let (e, c) = (exprs.extent(e), exprs.extent(c));
            let outer = exprs.add(op, &[q, e], DType::I64);
            if op == ScalarOp::Div {
                return Some(outer);
            }
            let scaled = exprs.add(ScalarOp::Mul, &[outer, c], DType::I64);
            return Some(rest.map_or(scaled, |r| exprs.add(ScalarOp::Add, &[scaled, r], DType::I64)));
        }
    }
    let node = exprs.get(a).clone();
    if op == ScalarOp::Div
        && node.op == ScalarOp::Div
        && let Some((el, eh)) = exprs.range(node.args[1])
        && el == eh
        && el.at_least(1) == Some(true)
    {
        let product = exprs.extent(d * el);
        return Some(exprs.add(ScalarOp::Div, &[node.args[0], product], DType::I64));
    }
    // What the divisor divides leaves a remainder's argument.
    (op == ScalarOp::Rem && quotient.is_some()).then_some(rest).flatten().map(|r| exprs.add(ScalarOp::Rem, &[r, b], DType::I64))
}

/// A factor of some term of `id` that divides `d`, and the quotient.
fn common_factor(exprs: &Exprs, id: ExprId, d: Dim) -> Option<(Dim, Dim)> {
    let node = exprs.get(id);
    match node.op {
        ScalarOp::Add => node.args.iter().find_map(|&a| common_factor(exprs, a, d)),
        ScalarOp::Mul => node.args.iter().find_map(|&a| {
            let (lo, hi) = exprs.range(a)?;
            let quotient = (lo == hi && lo != Dim::ONE).then(|| d.div_exact(lo)).flatten()?;
            (quotient != Dim::ONE).then_some((lo, quotient))
        }),
        _ => None,
    }
}

fn in_range(exprs: &Exprs, id: ExprId, extent: Dim) -> bool {
    exprs.range(id).is_some_and(|(lo, hi)| lo.at_least(0) == Some(true) && extent.at_least(hi + 1) == Some(true))
}

/// `id = quotient · d + rest`, term by term; a missing part is zero.
fn split(exprs: &mut Exprs, id: ExprId, d: Dim) -> (Option<ExprId>, Option<ExprId>) {
    let node = exprs.get(id).clone();
    match node.op {
        ScalarOp::Add => {
            let (qa, ra) = split(exprs, node.args[0], d);
            let (qb, rb) = split(exprs, node.args[1], d);
            let mut sum = |a: Option<ExprId>, b: Option<ExprId>| match (a, b) {
                (Some(a), Some(b)) => Some(exprs.add(ScalarOp::Add, &[a, b], DType::I64)),
                (a, b) => a.or(b),
            };
            (sum(qa, qb), sum(ra, rb))
        }
        ScalarOp::Mul => {
            for (factor, other) in [(node.args[1], node.args[0]), (node.args[0], node.args[1])] {
                if let Some((lo, hi)) = exprs.range(factor)
                    && lo == hi
                    && let Some(quotient) = lo.div_exact(d)
                {
                    let quotient = exprs.extent(quotient);
                    return (Some(exprs.add(ScalarOp::Mul, &[other, quotient], DType::I64)), None);
                }
            }
            (None, Some(id))
        }
        ScalarOp::Literal(_) | ScalarOp::Extent(_) => {
            let Some((value, _)) = exprs.range(id) else { return (None, Some(id)) };
            match value.div_exact(d) {
                Some(quotient) => (Some(exprs.extent(quotient)), None),
                None => (None, Some(id)),
            }
        }
        _ => (None, Some(id)),
    }
}

#[cfg(test)]
mod tests {
    use crate::dim::Dim;
    use crate::scalar::{Compare, ExprId, Exprs, S, ScalarOp};
    use crate::types::DType;
    use std::cell::RefCell;

    struct Index {
        exprs: RefCell<Exprs>,
    }

    impl Index {
        fn new(extents: &[Dim]) -> Index {
            Index { exprs: RefCell::new(Exprs::with_axes(extents.to_vec())) }
        }

        fn axis(&self, a: u32) -> S<'_> {
            let id: ExprId = self.exprs.borrow_mut().raw(ScalarOp::Axis(a), &[], DType::I64);
            S::of(&self.exprs, id)
        }

        fn int(&self, n: i64) -> S<'_> {
            S::int(&self.exprs, DType::I64, n)
        }
    }

    #[test]
    fn division_takes_a_flattened_index_apart() {
        let x = Index::new(&[Dim::from(64usize), Dim::from(28usize), Dim::from(28usize)]);
        let (i, j, k) = (x.axis(0), x.axis(1), x.axis(2));
        let flat = (i * x.int(28) + j) * x.int(28) + k;
        assert_eq!((flat / x.int(28)).id, (i * x.int(28) + j).id);
        assert_eq!(flat.binary(ScalarOp::Rem, x.int(28)).id, k.id);
        assert_eq!((flat / x.int(784)).id, i.id);
        assert_eq!(flat.binary(ScalarOp::Rem, x.int(784)).id, (j * x.int(28) + k).id);
        assert_eq!((k / x.int(28)).id, x.int(0).id);
        let other = k / x.int(5);
        assert_eq!(other.exprs.borrow().get(other.id).op, ScalarOp::Div);
    }

    #[test]
    fn symbolic_extents_too() {
        let (b, t) = (Dim::symbol("B", 1, 64), Dim::symbol("T", 1, 4096));
        let x = Index::new(&[b, t]);
        let (i, j) = (x.axis(0), x.axis(1));
        let extent = S::extent(&x.exprs, t);
        let flat = i * extent + j;
        assert_eq!((flat / extent).id, i.id);
        assert_eq!(flat.binary(ScalarOp::Rem, extent).id, j.id);
        assert_eq!(j.min(extent - x.int(1)).id, j.id);
    }

    #[test]
    fn ranges_decide_clamps_and_comparisons() {
        let x = Index::new(&[Dim::from(10usize)]);
        let i = x.axis(0);
        assert_eq!(i.min(x.int(9)).id, i.id);
        assert_ne!(i.min(x.int(8)).id, i.id);
        assert_eq!(i.max(x.int(0)).id, i.id);
        let truth = |s: S<'_>| x.exprs.borrow().literal(s.id).map(|l| l.as_i64() != 0);
        assert_eq!(truth(i.lt(x.int(10))), Some(true));
        assert_eq!(truth(i.lt(x.int(9))), None);
        assert_eq!(truth(i.ge(x.int(10))), Some(false));
        assert_eq!(truth(i.compare(Compare::Eq, x.int(12))), Some(false));
        assert_eq!(truth((i - x.int(1)).ge(x.int(0))), None);
    }

    #[test]
    fn float_identities_are_exact_ones_only() {
        let exprs = RefCell::new(Exprs::default());
        let load = exprs.borrow_mut().raw(ScalarOp::Load(0), &[], DType::F32);
        let x = S::of(&exprs, load);
        assert_eq!((x * 1.0).id, x.id);
        assert_eq!((x - 0.0).id, x.id);
        assert_ne!((x + 0.0).id, x.id, "-0 + 0 is 0");
        assert_ne!((x * 0.0).id, x.lit(0.0).id, "inf · 0 is NaN");
        assert_eq!((x.lit(2.0) * 3.0).id, x.lit(6.0).id);
        assert_eq!((-(-x)).id, x.id);
    }
}
