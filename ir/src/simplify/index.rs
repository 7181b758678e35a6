//! Index arithmetic: `i64` expressions as linear combinations of axes and other terms.
//!
//! The coefficients are dimensions, so symbolic extents take part. A sum is rebuilt from its normal form: terms
//! in the order of their first construction, each once. In that form `(i·c + j) / c` is `i` and its remainder `j` where the
//! extents say `0 ≤ j < c`; and a position that was taken apart by quotients and remainders is put together again.

use crate::dim::Dim;
use crate::scalar::{Compare, ExprId, Exprs, ScalarOp};
use crate::types::DType;
use smallvec::SmallVec;
use std::cmp::Ordering;

/// `Σ coefficient · term + constant`
#[derive(Clone, Debug)]
struct Linear {
    /// No two with the same term, no coefficient zero.
    terms: SmallVec<[(ExprId, Dim); 4]>,
    constant: Dim,
}

/// Numbers beyond this are data, not indices; their arithmetic is left as it is, because [`Dim`]'s saturates.
const LARGE: i64 = 1 << 31;

/// Sums of more parts are left as they are.
const MOST_PARTS: u32 = 24;

/// How deep the search for symbolic bounds and for divisors goes.
const DEPTH: u32 = 3;

impl Linear {
    fn constant(value: Dim) -> Linear {
        Linear { terms: SmallVec::new(), constant: value }
    }

    fn term(term: ExprId) -> Linear {
        Linear { terms: SmallVec::from_iter([(term, Dim::ONE)]), constant: Dim::ZERO }
    }

    fn of(exprs: &Exprs, id: ExprId) -> Linear {
        Linear::collect(exprs, id, &mut { MOST_PARTS })
    }

    fn collect(exprs: &Exprs, id: ExprId, budget: &mut u32) -> Linear {
        let node = exprs.get(id);
        if *budget == 0 {
            return Linear::term(id);
        }
        *budget -= 1;
        match node.op {
            ScalarOp::Literal(l) if (-LARGE..=LARGE).contains(&l.as_i64()) => Linear::constant(Dim::constant(l.as_i64())),
            ScalarOp::Extent(d) if !d.is_invalid() => Linear::constant(d),
            ScalarOp::Neg => Linear::collect(exprs, node.args[0], budget).times(Dim::constant(-1)),
            ScalarOp::Add | ScalarOp::Sub => {
                let (a, b) = (Linear::collect(exprs, node.args[0], budget), Linear::collect(exprs, node.args[1], budget));
                a.plus(b.times(Dim::constant(if node.op == ScalarOp::Add { 1 } else { -1 })))
            }
            ScalarOp::Mul => {
                let (a, b) = (Linear::collect(exprs, node.args[0], budget), Linear::collect(exprs, node.args[1], budget));
                match (a.as_constant(), b.as_constant()) {
                    (_, Some(c)) => a.times(c),
                    (Some(c), _) => b.times(c),
                    _ => Linear::term(id),
                }
            }
            _ => Linear::term(id),
        }
    }

    fn as_constant(&self) -> Option<Dim> {
        self.terms.is_empty().then_some(self.constant)
    }

    /// The term if this is one with coefficient 1 and nothing else.
    fn as_term(&self) -> Option<ExprId> {
        match self.terms.as_slice() {
            [(term, Dim::ONE)] if self.constant == Dim::ZERO => Some(*term),
            _ => None,
        }
    }

    fn plus(mut self, other: Linear) -> Linear {
        for (term, c) in other.terms {
            match self.terms.iter().position(|(t, _)| *t == term) {
                Some(i) => self.terms[i].1 = self.terms[i].1 + c,
                None => self.terms.push((term, c)),
            }
        }
        self.terms.retain(|(_, c)| *c != Dim::ZERO);
        self.constant = self.constant + other.constant;
        self
    }

    fn times(mut self, factor: Dim) -> Linear {
        if factor == Dim::ZERO {
            return Linear::constant(Dim::ZERO);
        }
        self.terms.iter_mut().for_each(|(_, c)| *c = *c * factor);
        self.constant = self.constant * factor;
        self
    }

    /// Whether every number is small enough that none was cut off, and the next operation cuts none off.
    fn is_exact(&self) -> bool {
        let mut numbers = self.terms.iter().map(|(_, c)| *c).chain([self.constant]);
        numbers.all(|d| d.as_const().is_none_or(|n| n.unsigned_abs() < 1 << 60))
    }

    /// The smallest and the largest value as dimensions, where the terms have bounds. Only for values that did not wrap.
    fn bounds(&self, exprs: &Exprs, depth: u32) -> Option<(Dim, Dim)> {
        let (mut lo, mut hi) = (self.constant, self.constant);
        for &(term, c) in &self.terms {
            let (l, h) = term_bounds(exprs, term, depth)?;
            let (l, h) = match c.at_least(Dim::ZERO) {
                Some(true) => (l, h),
                Some(false) => (h, l),
                None => return None,
            };
            (lo, hi) = (lo + c * l, hi + c * h);
        }
        Some((lo, hi))
    }

    /// Whether `0 ≤ self < end`.
    fn is_below(&self, exprs: &Exprs, end: Dim) -> bool {
        let within = |(lo, hi): (Dim, Dim)| lo.at_least(Dim::ZERO) == Some(true) && end.at_least(hi + 1) == Some(true);
        self.bounds(exprs, DEPTH).is_some_and(within)
    }

    /// The expression of this normal form.
    fn build(mut self, exprs: &mut Exprs) -> ExprId {
        self.join_divisions(exprs);
        self.terms.sort_by_key(|(term, _)| *term);
        let constant = self.constant;
        let negative = |d: Dim| d.as_const().is_some_and(|n| n < 0);
        let (subtracted, added): (Vec<_>, Vec<_>) = self.terms.into_iter().partition(|(_, c)| negative(*c));
        let mut sum: Option<ExprId> = None;
        for (term, c) in added {
            let product = scaled(exprs, term, c);
            sum = Some(sum.map_or(product, |s| exprs.raw(ScalarOp::Add, &[s, product], DType::I64)));
        }
        // A constant opens a sum that would otherwise begin with a minus.
        let mut pending = constant != Dim::ZERO;
        for (term, c) in subtracted {
            let product = scaled(exprs, term, c * -1);
            sum = Some(match sum {
                Some(s) => exprs.raw(ScalarOp::Sub, &[s, product], DType::I64),
                None if pending && !negative(constant) => {
                    pending = false;
                    let first = exprs.extent(constant);
                    exprs.raw(ScalarOp::Sub, &[first, product], DType::I64)
                }
                None => exprs.raw(ScalarOp::Neg, &[product], DType::I64),
            });
        }
        match sum {
            None => exprs.extent(constant),
            Some(s) if !pending => s,
            Some(s) if negative(constant) => {
                let magnitude = exprs.extent(constant * -1);
                exprs.raw(ScalarOp::Sub, &[s, magnitude], DType::I64)
            }
            Some(s) => {
                let constant = exprs.extent(constant);
                exprs.raw(ScalarOp::Add, &[s, constant], DType::I64)
            }
        }
    }

    /// `c·b·(x / b) + c·(x mod b)` is `c·x`, and `c·b·((x / b) mod n) + c·(x mod b)` is `c·(x mod b·n)`.
    fn join_divisions(&mut self, exprs: &mut Exprs) {
        for _ in 0..MOST_PARTS {
            let Some((quotient, remainder, joined)) = self.find_division(exprs) else { return };
            let c = self.terms[remainder].1;
            let rest = self.terms.iter().enumerate().filter(|(i, _)| *i != quotient && *i != remainder).map(|(_, t)| *t);
            let rest = Linear { terms: rest.collect(), constant: self.constant };
            *self = rest.plus(joined.times(c));
        }
    }

    fn find_division(&self, exprs: &mut Exprs) -> Option<(usize, usize, Linear)> {
        for (r, &(term, c)) in self.terms.iter().enumerate() {
            let Some((ScalarOp::Rem, x, b)) = division(exprs, term) else { continue };
            for (q, &(other, other_c)) in self.terms.iter().enumerate() {
                if other_c != c * b {
                    continue;
                }
                match division(exprs, other) {
                    Some((ScalarOp::Div, y, d)) if y == x && d == b => return Some((q, r, Linear::of(exprs, x))),
                    Some((ScalarOp::Rem, y, n)) => {
                        // What `x / b` is may have been simplified: build it and compare.
                        let quotient = Linear::of(exprs, x).divided(exprs, b, DEPTH).map(|l| l.build(exprs));
                        if quotient == Some(y) && exprs.range(x).tame {
                            let joined = Linear::of(exprs, x).modulo(exprs, b * n, DEPTH)?;
                            return Some((q, r, joined));
                        }
                    }
                    _ => {}
                }
            }
        }
        None
    }

    /// `⌊self / b⌋` for `b ≥ 1`. The value must not have wrapped.
    fn divided(&self, exprs: &mut Exprs, b: Dim, depth: u32) -> Option<Linear> {
        if b == Dim::ONE {
            return Some(self.clone());
        }
        let (quotient, rest) = self.split(exprs, b);
        if rest.is_below(exprs, b) {
            return Some(quotient);
        }
        if let Some(d) = rest.as_constant() {
            return Some(quotient.plus(Linear::constant(d.div_floor(b))));
        }
        if let Some((g, outer, _)) = rest.common_divisor(exprs, b).filter(|_| depth > 0) {
            let inner = outer.divided(exprs, b.div_exact(g)?, depth - 1)?;
            return Some(quotient.plus(inner));
        }
        // Division twice is division by the product.
        if let Some((ScalarOp::Div, x, c)) = rest.as_term().and_then(|t| division(exprs, t)).filter(|_| depth > 0) {
            let inner = Linear::of(exprs, x).divided(exprs, b * c, depth - 1)?;
            return Some(quotient.plus(inner));
        }
        Some(quotient.plus(rest.node(exprs, ScalarOp::Div, b)))
    }

    /// `self mod b` for `b ≥ 1`. The value must not have wrapped.
    fn modulo(&self, exprs: &mut Exprs, b: Dim, depth: u32) -> Option<Linear> {
        if b == Dim::ONE {
            return Some(Linear::constant(Dim::ZERO));
        }
        let (_, rest) = self.split(exprs, b);
        if rest.is_below(exprs, b) {
            return Some(rest);
        }
        if let Some(d) = rest.as_constant() {
            return Some(Linear::constant(d.rem(b)));
        }
        if let Some((g, outer, inner)) = rest.common_divisor(exprs, b).filter(|_| depth > 0) {
            return Some(outer.modulo(exprs, b.div_exact(g)?, depth - 1)?.times(g).plus(inner));
        }
        if let Some((ScalarOp::Rem, x, c)) = rest.as_term().and_then(|t| division(exprs, t)).filter(|_| depth > 0)
            && quotient_of(c, b).is_some()
        {
            return Linear::of(exprs, x).modulo(exprs, b, depth - 1);
        }
        Some(rest.node(exprs, ScalarOp::Rem, b))
    }

    /// `(q, r)` with `self = q · b + r`: what `b` divides, and the rest, whose constant is smaller than `b`.
    fn split(&self, exprs: &Exprs, b: Dim) -> (Linear, Linear) {
        let (mut quotient, mut rest) = (Linear::constant(Dim::ZERO), Linear::constant(Dim::ZERO));
        for &(term, c) in &self.terms {
            match quotient_of(c, b) {
                Some(q) => quotient.terms.push((term, q)),
                None => rest.terms.push((term, c)),
            }
        }
        rest.constant = self.constant;
        if rest.constant != Dim::ZERO && !rest.is_below(exprs, b) {
            let whole = match (rest.constant.as_const(), b.as_const()) {
                // A negative one stays where there are terms: (i - 1) / 4 is no simpler as (i + 3) / 4 - 1.
                (Some(k), Some(b)) if rest.terms.is_empty() || k > 0 => Dim::constant(k.div_euclid(b)),
                (Some(k), Some(b)) => Dim::constant(k / b),
                _ => quotient_of(rest.constant, b).unwrap_or(Dim::ZERO),
            };
            quotient.constant = whole;
            rest.constant = rest.constant - whole * b;
        }
        (quotient, rest)
    }

    /// `(g, p, s)` with `self = p · g + s`, `0 ≤ s < g`, and `g` a divisor of `b`: then `self / b` is `p / (b / g)`.
    fn common_divisor(&self, exprs: &Exprs, b: Dim) -> Option<(Dim, Linear, Linear)> {
        let divisors = self.terms.iter().filter_map(|&(_, c)| match (c.as_const(), b.as_const()) {
            (Some(c), Some(b)) => Some(Dim::constant(greatest_common_divisor(c, b))),
            _ => quotient_of(b, c).map(|_| c),
        });
        for g in divisors.filter(|&g| g != Dim::ONE && g != b) {
            if g.at_least(Dim::ONE) != Some(true) {
                continue;
            }
            let (p, s) = self.split(exprs, g);
            if !p.terms.is_empty() && s.is_below(exprs, g) {
                return Some((g, p, s));
            }
        }
        None
    }

    /// The division or remainder that stays.
    fn node(self, exprs: &mut Exprs, op: ScalarOp, b: Dim) -> Linear {
        let (x, b) = (self.build(exprs), exprs.extent(b));
        Linear::term(exprs.raw(op, &[x, b], DType::I64))
    }
}

/// `a / b` if the normal forms show that it is whole; `b` is at least 1.
fn quotient_of(a: Dim, b: Dim) -> Option<Dim> {
    match (a.as_const(), b.as_const()) {
        (Some(x), Some(y)) => (x % y == 0).then(|| Dim::constant(x / y)),
        _ if a == b => Some(Dim::ONE),
        _ => a.div_exact(b),
    }
}

fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a as i64
}

fn scaled(exprs: &mut Exprs, term: ExprId, c: Dim) -> ExprId {
    if c == Dim::ONE {
        return term;
    }
    let c = exprs.extent(c);
    exprs.raw(ScalarOp::Mul, &[term, c], DType::I64)
}

/// The dividend and the divisor of a quotient or remainder by a dimension.
fn division(exprs: &Exprs, id: ExprId) -> Option<(ScalarOp, ExprId, Dim)> {
    let node = exprs.get(id);
    match node.op {
        ScalarOp::Div | ScalarOp::Rem => {
            let divisor = Linear::of(exprs, node.args[1]).as_constant()?;
            (divisor.at_least(Dim::ONE) == Some(true)).then_some((node.op, node.args[0], divisor))
        }
        _ => None,
    }
}

/// The smallest and the largest value of a term.
fn term_bounds(exprs: &Exprs, term: ExprId, depth: u32) -> Option<(Dim, Dim)> {
    let range = exprs.range(term);
    let node = exprs.get(term);
    let symbolic = match node.op {
        ScalarOp::Axis(i) => exprs.axes.get(i as usize).filter(|n| n.is_symbolic()).map(|&n| (Dim::ZERO, n - 1)),
        ScalarOp::Rem | ScalarOp::Div if depth > 0 => division(exprs, term).and_then(|(op, x, b)| {
            if op == ScalarOp::Rem {
                return b.is_symbolic().then(|| (Dim::ZERO, b - 1));
            }
            let (lo, hi) = Linear::of(exprs, x).bounds(exprs, depth - 1)?;
            (lo.at_least(Dim::ZERO) == Some(true) && hi.is_symbolic()).then(|| (Dim::ZERO, hi.div_floor(b)))
        }),
        _ => None,
    };
    symbolic.or_else(|| range.tame.then(|| (Dim::constant(range.lo), Dim::constant(range.hi))))
}

/// A simpler form of `op(args)`, `i64`s, if it is a matter of sums, quotients and remainders.
pub(super) fn simplify(exprs: &mut Exprs, op: ScalarOp, args: &[ExprId]) -> Option<ExprId> {
    let linear = |k: usize| Linear::of(exprs, args[k]);
    let result = match op {
        ScalarOp::Add => linear(0).plus(linear(1)),
        ScalarOp::Sub => linear(0).plus(linear(1).times(Dim::constant(-1))),
        ScalarOp::Neg => linear(0).times(Dim::constant(-1)),
        ScalarOp::Mul => {
            let (a, b) = (linear(0), linear(1));
            match (a.as_constant(), b.as_constant()) {
                (_, Some(c)) => a.times(c),
                (Some(c), _) => b.times(c),
                _ => return None,
            }
        }
        ScalarOp::Div | ScalarOp::Rem if exprs.range(args[0]).tame => {
            let (a, b) = (linear(0), linear(1).as_constant()?);
            if b.at_least(Dim::ONE) != Some(true) {
                return None;
            }
            if op == ScalarOp::Div { a.divided(exprs, b, DEPTH)? } else { a.modulo(exprs, b, DEPTH)? }
        }
        _ => return None,
    };
    result.is_exact().then(|| result.build(exprs))
}

/// What a comparison of two integers gives, if their ranges decide it.
pub(super) fn decide(exprs: &Exprs, how: Compare, a: ExprId, b: ExprId) -> Option<bool> {
    let holds = |order: Ordering| match how {
        Compare::Eq => order.is_eq(),
        Compare::Ne => order.is_ne(),
        Compare::Lt => order.is_lt(),
        Compare::Le => order.is_le(),
        Compare::Gt => order.is_gt(),
        Compare::Ge => order.is_ge(),
    };
    let mut answers = orders(exprs, a, b).into_iter().map(holds);
    let first = answers.next()?;
    answers.all(|other| other == first).then_some(first)
}

/// The ways in which `a` may compare with `b`.
fn orders(exprs: &Exprs, a: ExprId, b: ExprId) -> SmallVec<[Ordering; 3]> {
    if a == b {
        return SmallVec::from_iter([Ordering::Equal]);
    }
    let (x, y) = (exprs.range(a), exprs.range(b));
    let [mut less, mut equal, mut greater] = [x.lo < y.hi, x.lo <= y.hi && y.lo <= x.hi, x.hi > y.lo];
    let undecided = less as u8 + equal as u8 + greater as u8 > 1;
    if undecided && exprs.dtype(a) == DType::I64 && x.tame && y.tame {
        let difference = Linear::of(exprs, a).plus(Linear::of(exprs, b).times(Dim::constant(-1)));
        if let Some((lo, hi)) = difference.bounds(exprs, DEPTH).filter(|_| difference.is_exact()) {
            let (lo, hi) = (lo.bounds().0, hi.bounds().1.unwrap_or(i64::MAX));
            less &= lo < 0;
            equal &= lo <= 0 && hi >= 0;
            greater &= hi > 0;
        }
    }
    let all = [(less, Ordering::Less), (equal, Ordering::Equal), (greater, Ordering::Greater)];
    all.into_iter().filter_map(|(possible, order)| possible.then_some(order)).collect()
}
