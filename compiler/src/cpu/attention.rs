//! Attention: sections that fusion built for it, as kernels for whole tiles take them.

use super::affine::Affine;
use igneous_ir::dim::Dim;
use igneous_ir::kernel::{Kernel, Param, Section, Stage, Store, Target};
use igneous_ir::scalar::{Compare, ExprId, Exprs, MathFn, ScalarOp};
use igneous_ir::types::DType;
use igneous_runtime::program::{AttentionMask, AttentionPass, AttentionWork, Elements};

/// Whether a kernel has products for each index of serial axes, which only attention has.
pub(crate) fn is_attention(kernel: &Kernel) -> bool {
    let nested = |s: &Section| {
        s.stages.iter().any(|stage| matches!(stage, Stage::Dot { to, .. } if !s.locals[*to as usize].axes.is_empty()))
    };
    kernel.sections.iter().any(nested)
}

/// Whether a kernel has numbers of single precision only.
pub(super) fn is_single(kernel: &Kernel) -> bool {
    kernel.params.iter().all(|p| matches!(p.ty.dtype, DType::F32 | DType::Bool))
}

/// The work of all sections of such a kernel together, whose numbers may be of half types in memory; none if it is not of the form that
/// fusion builds.
pub(crate) fn attention_work(kernel: &Kernel) -> Option<AttentionWork> {
    let known = |p: &Param| matches!(p.ty.dtype, DType::F32 | DType::F16 | DType::BF16 | DType::Bool);
    if !kernel.params.iter().all(known) {
        return None;
    }
    let first = Products::of(&kernel.sections[0], &kernel.params)?;
    if matches!(first.section.stages.get(1)?, Stage::Reduce { .. }) {
        return first.forward();
    }
    let mut work = first.backward()?;
    for section in &kernel.sections[1..] {
        let AttentionPass::Backward { cotangents, .. } = Products::of(section, &kernel.params)?.backward()?.pass else {
            return None;
        };
        let AttentionPass::Backward { cotangents: all, .. } = &mut work.pass else { return None };
        for (all, more) in all.iter_mut().zip(*cotangents) {
            *all = all.take().or(more);
        }
    }
    Some(work)
}

/// A section that begins with the products of queries and keys.
struct Products<'a> {
    section: &'a Section,
    params: &'a [Param],
    batch: &'a [u32],
    query: u32,
    key: u32,
    feature: u32,
    q: ExprId,
    k: ExprId,
    product: u32,
}

/// What a score is made of besides the product.
#[derive(Default)]
struct Score {
    scale: f64,
    causal: bool,
    /// A mask and the score of what it hides.
    mask: Option<(ExprId, Option<f64>)>,
}

impl<'a> Products<'a> {
    fn of(section: &'a Section, params: &'a [Param]) -> Option<Products<'a>> {
        let Stage::Dot { batch, m, n, axes, lhs, rhs, to } = section.stages.first()? else { return None };
        let (&[query], &[key], &[feature]) = (&m[..], &n[..], &axes[..]) else { return None };
        Some(Products { section, params, batch, query, key, feature, q: *lhs, k: *rhs, product: *to })
    }

    fn exprs(&self) -> &'a Exprs {
        &self.section.exprs
    }

    /// What is converted, or the expression itself.
    fn unconverted(&self, id: ExprId) -> ExprId {
        let node = self.exprs().get(id);
        if node.op == ScalarOp::Cast { node.args[0] } else { id }
    }

    /// A load, converted if need be, whose place is a sum of multiples of axes.
    fn load(&self, id: ExprId, row: Option<u32>, column: Option<u32>) -> Option<Elements> {
        let node = self.exprs().get(self.unconverted(id));
        let ScalarOp::Load(param) = node.op else { return None };
        self.elements(param, &node.args, row, column)
    }

    fn elements(&self, param: u32, index: &[ExprId], row: Option<u32>, column: Option<u32>) -> Option<Elements> {
        let place = Affine::position(self.exprs(), index, &self.params[param as usize].ty.shape);
        let stride = |axis: u32| place.coefficient(self.exprs(), axis);
        let known = |axis: &u32| self.batch.contains(axis) || Some(*axis) == row || Some(*axis) == column;
        place.axes(self.exprs())?.iter().all(known).then(|| Elements {
            param: param as usize,
            offset: place.constant,
            batch: self.batch.iter().map(|&a| stride(a)).collect(),
            row: row.map_or(Dim::ZERO, stride),
            column: column.map_or(Dim::ZERO, stride),
        })
    }

    fn extent(&self, axis: u32) -> Dim {
        self.section.axes[axis as usize].extent
    }

    /// Reads a score, from the outside in.
    fn score(&self, id: ExprId) -> Option<Score> {
        let node = self.exprs().get(id);
        let literal = |id: ExprId| self.exprs().literal(id).map(|l| l.as_f64());
        let is_product = |id: ExprId| self.exprs().get(id).op == ScalarOp::Local(self.product);
        match (node.op, &node.args[..]) {
            (ScalarOp::Local(_), _) if is_product(id) => Some(Score { scale: 1.0, ..Score::default() }),
            (ScalarOp::Mul, &[a, b]) if is_product(a) => Some(Score { scale: literal(b)?, ..Score::default() }),
            (ScalarOp::Neg, &[a]) if is_product(a) => Some(Score { scale: -1.0, ..Score::default() }),
            (ScalarOp::Add, &[a, b]) => {
                let (inner, mask) = if self.is_load(a) { (b, a) } else { (a, b) };
                Some(Score { mask: Some((mask, None)), ..self.score(inner)? })
            }
            (ScalarOp::Select, &[seen, then, otherwise]) if self.is_load(seen) => {
                Some(Score { mask: Some((seen, Some(literal(otherwise)?))), ..self.score(then)? })
            }
            (ScalarOp::Select, &[before, then, otherwise]) => {
                let causal = self.is_causal(before) && literal(otherwise)? == f64::NEG_INFINITY;
                let inner = self.score(then)?;
                causal.then_some(Score { causal, ..inner })
            }
            _ => None,
        }
    }

    fn is_load(&self, id: ExprId) -> bool {
        matches!(self.exprs().get(self.unconverted(id)).op, ScalarOp::Load(_))
    }

    /// Whether a condition is that the key is not behind the query.
    fn is_causal(&self, id: ExprId) -> bool {
        let node = self.exprs().get(id);
        let axes: Vec<ScalarOp> = node.args.iter().map(|&a| self.exprs().get(a).op).collect();
        let (query, key) = (ScalarOp::Axis(self.query), ScalarOp::Axis(self.key));
        node.op == ScalarOp::Compare(Compare::Le) && axes == [key, query]
            || node.op == ScalarOp::Compare(Compare::Ge) && axes == [query, key]
    }

    fn work(&self, score: Score, values: Dim, v: Elements, pass: AttentionPass) -> Option<AttentionWork> {
        let mask = match score.mask {
            None => None,
            Some((mask, hidden)) => {
                let elements = self.load(mask, Some(self.query), Some(self.key))?;
                Some(hidden.map_or_else(|| AttentionMask::Added(elements.clone()), |h| AttentionMask::Seen(elements.clone(), h)))
            }
        };
        let q = self.load(self.q, Some(self.query), Some(self.feature))?;
        let k = self.load(self.k, Some(self.key), Some(self.feature))?;
        Some(AttentionWork {
            batch: self.batch.iter().map(|&a| self.extent(a)).collect(),
            queries: self.extent(self.query),
            keys: self.extent(self.key),
            features: self.extent(self.feature),
            values,
            scale: score.scale,
            causal: score.causal,
            operands: [q, k, v],
            mask,
            pass,
        })
    }

    /// The stores behind the products.
    fn stores(&self) -> impl Iterator<Item = &'a Store> {
        self.section.stages.iter().flat_map(|s| match s {
            Stage::Map { stores, .. } => &stores[..],
            _ => &[],
        })
    }

    /// The products that end in local `to`: their contracted axis, that of their right side only, and the sides.
    fn dot(&self, to: u32) -> Option<([u32; 2], [ExprId; 2])> {
        self.section.stages.iter().find_map(|s| match s {
            Stage::Dot { n, axes, lhs, rhs, to: own, .. } if *own == to => Some(([*axes.first()?, *n.first()?], [*lhs, *rhs])),
            _ => None,
        })
    }

    fn forward(&self) -> Option<AttentionWork> {
        let Stage::Reduce { body, to, .. } = &self.section.stages[1] else { return None };
        let score = self.score(*body)?;
        let (mut y, mut lse, mut values) = (None, None, None);
        for store in self.stores() {
            let Target::Param { param, index, combine: None } = &store.to else { return None };
            match self.exprs().get(self.unconverted(store.value)).op {
                ScalarOp::Local(local) => {
                    let ([key, element], [p, v]) = self.dot(local)?;
                    if key != self.key || !self.is_softmax(p, *body, to) {
                        return None;
                    }
                    values = Some((self.extent(element), self.load(v, Some(key), Some(element))?));
                    y = Some(self.elements(*param, index, Some(self.query), Some(element))?);
                }
                _ => lse = Some(self.elements(*param, index, Some(self.query), None)?),
            }
        }
        // Without values, anything that is there stands for them.
        let (values, v) = match values {
            Some(values) => values,
            None => (Dim::ZERO, self.load(self.k, Some(self.key), Some(self.feature))?),
        };
        self.work(score, values, v, AttentionPass::Forward { y, lse })
    }

    /// Whether `p` is `exp(score - max) / sum`.
    fn is_softmax(&self, p: ExprId, score: ExprId, to: &[u32]) -> bool {
        let exprs = self.exprs();
        let is = |id: ExprId, local: u32| exprs.get(id).op == ScalarOp::Local(local);
        let node = exprs.get(p);
        let (ScalarOp::Div, &[power, sum], &[max, total]) = (node.op, &node.args[..], to) else { return false };
        let shifted = exprs.get(power).args.first().map(|&s| exprs.get(s));
        is(sum, total) && shifted.is_some_and(|s| s.op == ScalarOp::Sub && s.args[0] == score && is(s.args[1], max))
    }
}

impl Products<'_> {
    /// The derivative: of queries, or of keys and values.
    fn backward(&self) -> Option<AttentionWork> {
        let Stage::Dot { axes, lhs, rhs, to: dp, .. } = self.section.stages.get(1)? else { return None };
        let &[element] = &axes[..] else { return None };
        let (dy, v) = (self.load(*lhs, Some(self.query), Some(element))?, self.load(*rhs, Some(self.key), Some(element))?);
        let mut cotangents = [None, None, None];
        let (mut exponent, mut delta) = (None, None);
        for store in self.stores() {
            let Target::Param { param, index, combine: None } = &store.to else { return None };
            let ScalarOp::Local(local) = self.exprs().get(self.unconverted(store.value)).op else { return None };
            let ([contracted, column], [weight, _]) = self.dot(local)?;
            let (row, which) = match (contracted == self.key, column == self.feature) {
                (true, true) => (self.query, 0),
                (false, true) => (self.key, 1),
                (false, false) => (self.key, 2),
                (true, false) => return None,
            };
            cotangents[which] = Some(self.elements(*param, index, Some(row), Some(column))?);
            for id in self.exprs().reachable(&[weight]) {
                let node = self.exprs().get(id);
                match node.op {
                    ScalarOp::Math(MathFn::Exp) => exponent = Some(node.args[0]),
                    ScalarOp::Sub if self.exprs().get(node.args[0]).op == ScalarOp::Local(*dp) => delta = Some(node.args[1]),
                    _ => {}
                }
            }
        }
        let difference = self.exprs().get(exponent?);
        let (ScalarOp::Sub, &[score, lse]) = (difference.op, &difference.args[..]) else { return None };
        let lse = self.load(lse, Some(self.query), None)?;
        // Only the cotangents of products need it.
        let delta = delta.map_or(Some(lse.clone()), |d| self.load(d, Some(self.query), None))?;
        let pass = AttentionPass::Backward { lse, delta, dy, cotangents: Box::new(cotangents) };
        self.work(self.score(score)?, self.extent(element), v, pass)
    }
}
