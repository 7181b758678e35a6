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

/// Attention as whole tiles compute it.
pub(crate) struct Recognised<'k> {
    /// What is computed, but for a mask that is not in memory and a function of the scores.
    pub work: AttentionWork,
    /// That mask.
    pub mask: Option<ComputedMask<'k>>,
    /// That function, of products that are not scaled.
    pub function: Option<ComputedScore<'k>>,
}

/// Scores that are a function of the products of queries and keys.
#[derive(Clone, Copy)]
pub(crate) struct ComputedScore<'k> {
    /// Where the function is computed.
    pub place: ScorePlace<'k>,
    /// The local with the product.
    pub product: u32,
    /// The score.
    pub score: ExprId,
    /// What the cotangent of the score is multiplied with for that of the product, where that is needed.
    pub slope: Option<ExprId>,
}

impl ComputedScore<'_> {
    /// All that is computed.
    pub fn roots(&self) -> Vec<ExprId> {
        [self.score].into_iter().chain(self.slope).collect()
    }
}

/// What expressions about a query and a key belong to.
#[derive(Clone, Copy)]
pub(crate) struct ScorePlace<'k> {
    /// What the expressions and the axes belong to.
    pub section: &'k Section,
    /// The axes of the batch, of the queries and of the keys.
    pub batch: &'k [u32],
    pub query: u32,
    pub key: u32,
}

/// A mask that is computed from positions and what is loaded for them.
#[derive(Clone, Copy)]
pub(crate) struct ComputedMask<'k> {
    /// Where it is computed.
    pub place: ScorePlace<'k>,
    /// A number that is added to the score, or whether the query sees the key.
    pub expression: ExprId,
    /// The score of what is not seen.
    pub hidden: Option<f64>,
}

/// The work of all sections of such a kernel together, whose numbers may be of half types in memory; none if it is not of the form that
/// fusion builds.
pub(crate) fn attention_work(kernel: &Kernel) -> Option<Recognised<'_>> {
    let first = Products::of(&kernel.sections[0], &kernel.params)?;
    if matches!(first.section.stages.get(1)?, Stage::Reduce { .. }) {
        return first.forward();
    }
    let mut recognised = first.backward()?;
    for section in &kernel.sections[1..] {
        let AttentionPass::Backward { cotangents, .. } = Products::of(section, &kernel.params)?.backward()?.work.pass else {
            return None;
        };
        let AttentionPass::Backward { cotangents: all, .. } = &mut recognised.work.pass else { return None };
        for (all, more) in all.iter_mut().zip(*cotangents) {
            *all = all.take().or(more);
        }
    }
    Some(recognised)
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
    /// A function of the product.
    function: Option<ExprId>,
}

impl Score {
    fn masked(self, mask: ExprId, hidden: Option<f64>) -> Option<Score> {
        self.mask.is_none().then_some(Score { mask: Some((mask, hidden)), ..self })
    }
}

/// Elements of a parameter whose place is a sum of multiples of the axes of the batch, of rows and of columns.
pub(super) fn elements(
    exprs: &Exprs,
    params: &[Param],
    batch: &[u32],
    param: u32,
    index: &[ExprId],
    tail: [Option<u32>; 2],
) -> Option<Elements> {
    let place = Affine::position(exprs, index, &params[param as usize].ty.shape);
    let stride = |axis: u32| place.coefficient(exprs, axis);
    let known = |axis: &u32| batch.contains(axis) || tail.contains(&Some(*axis));
    let [row, column] = tail;
    place.axes(exprs)?.iter().all(known).then(|| Elements {
        param: param as usize,
        offset: place.constant,
        batch: batch.iter().map(|&a| stride(a)).collect(),
        row: row.map_or(Dim::ZERO, stride),
        column: column.map_or(Dim::ZERO, stride),
    })
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
        elements(self.exprs(), self.params, self.batch, param, index, [row, column])
    }

    fn extent(&self, axis: u32) -> Dim {
        self.section.axes[axis as usize].extent
    }

    /// Reads a score, from the outside in: what is no mask is a function of the product.
    fn score(&self, id: ExprId) -> Option<Score> {
        let node = self.exprs().get(id);
        let literal = |id: ExprId| self.exprs().literal(id).map(|l| l.as_f64());
        let is_product = |id: ExprId| self.exprs().get(id).op == ScalarOp::Local(self.product);
        let scaled = |scale: f64| Some(Score { scale, ..Score::default() });
        let known = match (node.op, &node.args[..]) {
            (ScalarOp::Local(_), _) if is_product(id) => scaled(1.0),
            (ScalarOp::Mul, &[a, b]) if is_product(a) => literal(b).and_then(scaled),
            (ScalarOp::Neg, &[a]) if is_product(a) => scaled(-1.0),
            (ScalarOp::Add, &[a, b]) => match [a, b].map(|x| self.has_product(x)) {
                [true, false] if literal(b).is_none() => self.score(a).and_then(|inner| inner.masked(b, None)),
                [false, true] if literal(a).is_none() => self.score(b).and_then(|inner| inner.masked(a, None)),
                _ => None,
            },
            (ScalarOp::Select, &[seen, then, otherwise]) if !self.has_product(seen) => {
                let hidden = literal(otherwise).filter(|&hidden| hidden <= -1e4);
                hidden.zip(self.score(then)).and_then(|(hidden, inner)| {
                    match self.is_causal(seen) && hidden == f64::NEG_INFINITY {
                        true => Some(Score { causal: true, ..inner }),
                        false => inner.masked(seen, Some(hidden)),
                    }
                })
            }
            _ => None,
        };
        let of_product = || Score { scale: 1.0, function: Some(id), ..Score::default() };
        known.or_else(|| self.has_product(id).then(of_product))
    }

    fn has_product(&self, id: ExprId) -> bool {
        self.exprs().reachable(&[id]).iter().any(|&e| self.exprs().get(e).op == ScalarOp::Local(self.product))
    }

    /// Whether a condition is that the key is not behind the query.
    fn is_causal(&self, id: ExprId) -> bool {
        let node = self.exprs().get(id);
        let axes: Vec<ScalarOp> = node.args.iter().map(|&a| self.exprs().get(a).op).collect();
        let (query, key) = (ScalarOp::Axis(self.query), ScalarOp::Axis(self.key));
        node.op == ScalarOp::Compare(Compare::Le) && axes == [key, query]
            || node.op == ScalarOp::Compare(Compare::Ge) && axes == [query, key]
    }

    fn place(&self) -> ScorePlace<'a> {
        let Products { section, batch, query, key, .. } = *self;
        ScorePlace { section, batch, query, key }
    }

    fn work(&self, score: Score, slope: Option<ExprId>, values: Dim, v: Elements, pass: AttentionPass) -> Option<Recognised<'a>> {
        let (mut mask, mut computed) = (None, None);
        if let Some((expression, hidden)) = score.mask {
            match (self.load(expression, Some(self.query), Some(self.key)), hidden) {
                (Some(elements), None) => mask = Some(AttentionMask::Added(elements)),
                (Some(elements), Some(hidden)) => mask = Some(AttentionMask::Seen(elements, hidden)),
                (None, _) => computed = Some(ComputedMask { place: self.place(), expression, hidden }),
            }
        }
        let q = self.load(self.q, Some(self.query), Some(self.feature))?;
        let k = self.load(self.k, Some(self.key), Some(self.feature))?;
        let work = AttentionWork {
            batch: self.batch.iter().map(|&a| self.extent(a)).collect(),
            queries: self.extent(self.query),
            keys: self.extent(self.key),
            features: self.extent(self.feature),
            values,
            scale: score.scale,
            causal: score.causal,
            operands: [q, k, v],
            mask,
            score: None,
            pass,
        };
        let function = |score: ExprId| ComputedScore { place: self.place(), product: self.product, score, slope };
        Some(Recognised { work, mask: computed, function: score.function.map(function) })
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

    fn forward(&self) -> Option<Recognised<'a>> {
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
        self.work(score, None, values, v, AttentionPass::Forward { y, lse })
    }

    /// Whether `p` is `exp(score - max) / sum`, but where nothing is seen.
    fn is_softmax(&self, p: ExprId, score: ExprId, to: &[u32]) -> bool {
        let exprs = self.exprs();
        let unless_nothing = |id: ExprId, local: u32| {
            let node = exprs.get(id);
            node.op == ScalarOp::Select && exprs.get(node.args[2]).op == ScalarOp::Local(local)
        };
        let node = exprs.get(p);
        let (ScalarOp::Div, &[power, sum], &[max, total]) = (node.op, &node.args[..], to) else { return false };
        let shifted = exprs.get(power).args.first().map(|&s| exprs.get(s));
        unless_nothing(sum, total)
            && shifted.is_some_and(|s| s.op == ScalarOp::Sub && s.args[0] == score && unless_nothing(s.args[1], max))
    }
}

impl<'a> Products<'a> {
    /// The derivative: of queries, or of keys and values.
    fn backward(&self) -> Option<Recognised<'a>> {
        let Stage::Dot { axes, lhs, rhs, to: dp, .. } = self.section.stages.get(1)? else { return None };
        let &[element] = &axes[..] else { return None };
        let (dy, v) = (self.load(*lhs, Some(self.query), Some(element))?, self.load(*rhs, Some(self.key), Some(element))?);
        let mut cotangents = [None, None, None];
        let (mut exponent, mut delta, mut slope) = (None, None, None);
        // What the cotangent of a score is.
        let of_score = |id: ExprId| {
            let node = self.exprs().get(id);
            let less = |&a: &ExprId| {
                let node = self.exprs().get(a);
                node.op == ScalarOp::Sub && self.exprs().get(node.args[0]).op == ScalarOp::Local(*dp)
            };
            node.op == ScalarOp::Mul && node.args.get(1).is_some_and(less)
        };
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
                    ScalarOp::Mul if of_score(node.args[0]) => slope = Some(node.args[1]),
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
        self.work(self.score(score)?, slope, self.extent(element), v, pass)
    }
}
