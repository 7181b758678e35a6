//! Innermost loops cut into ranges in which bounds checks and clamps are decided.
//!
//! A padded load is `select(0 ≤ f & f < n, x[clamp(f)], 0)`, a concatenation `select(i < n, x[clamp(i)], y[clamp(i - n)])`.
//! Where such a condition compares sums with a constant multiple of the innermost axis, it holds up to some index of the axis
//! and not beyond, or the other way round. On either side the loads walk through memory like any other.

use super::affine::Affine;
use super::lower::Lowered;
use igneous_ir::dim::Dim;
use igneous_ir::kernel::{Access, AxisKind, Param};
use igneous_ir::scalar::{Compare, ExprId, Exprs, ScalarOp};
use igneous_ir::types::{DType, Literal};
use smallvec::SmallVec;

/// What the expressions of a pass become in a range of an axis.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    /// `i64` expressions that do not depend on the axis, between which the range lies; none for the axis' own bounds.
    pub lo: Option<ExprId>,
    pub hi: Option<ExprId>,
    /// In the order of the pass's roots.
    pub roots: Vec<ExprId>,
}

/// More pieces than this are too much code.
const MAX_PIECES: usize = 6;

/// A range with more conditions than this is left as it is.
const MAX_FACTS: usize = 8;

/// `sum ≥ 0`, where `sum` has a constant multiple of the axis.
#[derive(Clone)]
struct Fact {
    sum: Affine,
    factor: i64,
}

struct Splitter<'a> {
    exprs: &'a mut Exprs,
    along: Along<'a>,
    pieces: Vec<(Vec<Fact>, Vec<ExprId>)>,
}

/// The axis of a loop, and what else may change from one of its indices to the next.
#[derive(Clone, Copy)]
struct Along<'a> {
    axis: ExprId,
    /// Whether its indices are points, each of which has locals of its own.
    points: bool,
    params: &'a [Param],
}

/// Cuts the loop over `axis` that computes `roots`: into one piece if all loads walk through memory already, or if there
/// would be too many.
pub(super) fn pieces(low: &mut Lowered, params: &[Param], roots: &[ExprId], axis: u32) -> Vec<Piece> {
    let points = low.axes[axis as usize].kind == AxisKind::Parallel;
    let exprs = &mut low.exprs;
    let axis = exprs.raw(ScalarOp::Axis(axis), &[], DType::I64);
    let along = Along { axis, points, params };
    let whole = vec![Piece { lo: None, hi: None, roots: roots.to_vec() }];
    if !along.gathers(exprs, roots) {
        return whole;
    }
    let mut splitter = Splitter { exprs, along, pieces: Vec::new() };
    splitter.split(roots.to_vec(), Vec::new());
    let cut = splitter.pieces;
    if !(2..=MAX_PIECES).contains(&cut.len()) {
        return whole;
    }
    cut.into_iter()
        .map(|(facts, roots)| {
            let (lo, hi) = range(exprs, &facts, axis);
            Piece { lo, hi, roots }
        })
        .collect()
}

impl Along<'_> {
    /// Which expressions change along the axis.
    fn varying(&self, exprs: &Exprs, reachable: &[ExprId]) -> Vec<bool> {
        let mut varies = vec![false; exprs.len()];
        for &id in reachable {
            let node = exprs.get(id);
            varies[id.0 as usize] = match node.op {
                ScalarOp::Local(_) if self.points => true,
                ScalarOp::Load(p) if self.params[p as usize].access == Access::Write => true,
                _ => id == self.axis || node.args.iter().any(|a| varies[a.0 as usize]),
            };
        }
        varies
    }

    /// Whether a load has an index in which the axis is part of more than a sum.
    fn gathers(&self, exprs: &Exprs, roots: &[ExprId]) -> bool {
        let reachable = exprs.reachable(roots);
        let varies = self.varying(exprs, &reachable);
        let hidden = |index: ExprId| Affine::of(exprs, index).terms.iter().any(|(a, _)| *a != self.axis && varies[a.0 as usize]);
        reachable.iter().any(|&id| matches!(exprs.get(id).op, ScalarOp::Load(_)) && exprs.get(id).args.iter().any(|&a| hidden(a)))
    }
}

impl Splitter<'_> {
    fn split(&mut self, roots: Vec<ExprId>, facts: Vec<Fact>) {
        if self.pieces.len() > MAX_PIECES || impossible(&facts) {
            return;
        }
        let condition = match self.undecided(&roots) {
            Some(condition) if facts.len() < MAX_FACTS => condition,
            _ => return self.pieces.push((facts, roots)),
        };
        for fact in [condition.clone(), opposite(condition)] {
            let mut facts = facts.clone();
            facts.push(fact);
            let roots = self.rewritten(&roots, &facts);
            self.split(roots, facts);
        }
    }

    /// The first condition that the axis decides.
    fn undecided(&self, roots: &[ExprId]) -> Option<Fact> {
        let reachable = self.exprs.reachable(roots);
        let varies = self.along.varying(self.exprs, &reachable);
        reachable.iter().filter(|id| varies[id.0 as usize]).find_map(|&id| {
            let node = self.exprs.get(id);
            if node.args.len() != 2 || self.exprs.dtype(node.args[0]) != DType::I64 {
                return None;
            }
            let difference = |x: ExprId, y: ExprId| Affine::of(self.exprs, x).plus(&Affine::of(self.exprs, y), Dim::constant(-1));
            let (a, b) = (node.args[0], node.args[1]);
            let sum = match node.op {
                ScalarOp::Compare(Compare::Ge | Compare::Lt) | ScalarOp::Max => difference(a, b),
                ScalarOp::Compare(Compare::Le | Compare::Gt) | ScalarOp::Min => difference(b, a),
                _ => return None,
            };
            let factor = sum.terms.iter().find(|(atom, _)| *atom == self.along.axis)?.1.as_const()?;
            let apart = sum.terms.iter().all(|(atom, _)| *atom == self.along.axis || !varies[atom.0 as usize]);
            apart.then_some(Fact { sum, factor })
        })
    }

    /// What `roots` are where all facts hold.
    fn rewritten(&mut self, roots: &[ExprId], facts: &[Fact]) -> Vec<ExprId> {
        let reachable = self.exprs.reachable(roots);
        let mut map: Vec<Option<ExprId>> = vec![None; self.exprs.len()];
        for &id in &reachable {
            let node = self.exprs.get(id).clone();
            let args = node.args.iter().map(|a| map[a.0 as usize].expect("arguments come first"));
            let args: SmallVec<[ExprId; 4]> = args.collect();
            let known = decide(self.exprs, node.op, &args, facts);
            map[id.0 as usize] = Some(known.unwrap_or_else(|| match node.op {
                ScalarOp::Local(_) | ScalarOp::Load(_) => self.exprs.raw(node.op, &args, node.dtype),
                op => self.exprs.add(op, &args, node.dtype),
            }));
        }
        roots.iter().map(|r| map[r.0 as usize].expect("roots are reachable")).collect()
    }
}

/// The value of a comparison or clamp that the facts decide.
fn decide(exprs: &mut Exprs, op: ScalarOp, args: &[ExprId], facts: &[Fact]) -> Option<ExprId> {
    let &[a, b] = args else { return None };
    if exprs.dtype(a) != DType::I64 {
        return None;
    }
    // `x - y ≥ least` if a fact says that it is something plus a constant.
    let proven = |x: ExprId, y: ExprId, least: i32| {
        let sum = Affine::of(exprs, x).plus(&Affine::of(exprs, y), Dim::constant(-1));
        facts.iter().any(|f| {
            let rest = sum.clone().plus(&f.sum, Dim::constant(-1));
            rest.terms.is_empty() && rest.constant.at_least(least) == Some(true)
        })
    };
    let holds = match op {
        ScalarOp::Compare(Compare::Ge) if proven(a, b, 0) => true,
        ScalarOp::Compare(Compare::Ge) if proven(b, a, 1) => false,
        ScalarOp::Compare(Compare::Gt) if proven(a, b, 1) => true,
        ScalarOp::Compare(Compare::Gt) if proven(b, a, 0) => false,
        ScalarOp::Compare(Compare::Le) if proven(b, a, 0) => true,
        ScalarOp::Compare(Compare::Le) if proven(a, b, 1) => false,
        ScalarOp::Compare(Compare::Lt) if proven(b, a, 1) => true,
        ScalarOp::Compare(Compare::Lt) if proven(a, b, 0) => false,
        ScalarOp::Min if proven(b, a, 0) => return Some(a),
        ScalarOp::Min if proven(a, b, 0) => return Some(b),
        ScalarOp::Max if proven(a, b, 0) => return Some(a),
        ScalarOp::Max if proven(b, a, 0) => return Some(b),
        _ => return None,
    };
    Some(exprs.constant(Literal::int(DType::Bool, holds.into())))
}

/// `-sum - 1 ≥ 0`: not `sum ≥ 0`.
fn opposite(fact: Fact) -> Fact {
    let sum = Affine::constant(Dim::constant(-1)).plus(&fact.sum, Dim::constant(-1));
    Fact { sum, factor: -fact.factor }
}

/// Whether two of the facts exclude each other.
fn impossible(facts: &[Fact]) -> bool {
    let below_zero = |a: &Fact, b: &Fact| {
        let sum = a.sum.clone().plus(&b.sum, Dim::ONE);
        sum.terms.is_empty() && sum.constant.at_least(0) == Some(false)
    };
    facts.iter().enumerate().any(|(i, a)| facts[..i].iter().any(|b| below_zero(a, b)))
}

/// The indices at which all facts hold.
fn range(exprs: &mut Exprs, facts: &[Fact], axis: ExprId) -> (Option<ExprId>, Option<ExprId>) {
    let (mut lo, mut hi) = (None, None);
    let both = |exprs: &mut Exprs, op, old: Option<ExprId>, new| match old {
        Some(old) => exprs.add(op, &[old, new], DType::I64),
        None => new,
    };
    for fact in facts {
        // `factor · i + rest ≥ 0`: `i ≥ ⌈-rest / factor⌉`, or `i < ⌊rest / -factor⌋ + 1`.
        let rises = fact.factor > 0;
        let step = fact.factor.abs();
        let sign = Dim::constant(if rises { -1 } else { 1 });
        let mut sum = exprs.extent(fact.sum.constant * sign + Dim::constant(if rises { step - 1 } else { 0 }));
        for &(atom, coefficient) in fact.sum.terms.iter().filter(|(atom, _)| *atom != axis) {
            let coefficient = exprs.extent(coefficient * sign);
            let product = exprs.add(ScalarOp::Mul, &[atom, coefficient], DType::I64);
            sum = exprs.add(ScalarOp::Add, &[sum, product], DType::I64);
        }
        let step = exprs.constant(Literal::int(DType::I64, step));
        let bound = exprs.add(ScalarOp::Div, &[sum, step], DType::I64);
        if rises {
            lo = Some(both(exprs, ScalarOp::Max, lo, bound));
        } else {
            let one = exprs.constant(Literal::int(DType::I64, 1));
            let end = exprs.add(ScalarOp::Add, &[bound, one], DType::I64);
            hi = Some(both(exprs, ScalarOp::Min, hi, end));
        }
    }
    (lo, hi)
}
