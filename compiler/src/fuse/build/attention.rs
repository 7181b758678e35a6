//! Kernels of attention: products around an online softmax, of which nothing as large as the scores is stored.

use super::{Builder, Built, Refusal, refuse, wide};
use crate::fuse::units::Units;
use igneous_ir::dim::Dim;
use igneous_ir::graph::{Graph, Value};
use igneous_ir::kernel::{AxisKind, Kernel, Local, Stage};
use igneous_ir::op::{Indexing, Lowering, ReduceKind};
use igneous_ir::ops::composite::{AttentionOperands, ScoreFunction, Scores};
use igneous_ir::ops::structural::{CONSTANT, INPUT};
use igneous_ir::scalar::{Exprs, S, ScalarOp};
use igneous_ir::types::{DType, TensorType};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// Builds the kernel of the node `hero`, which is an attention or its derivative.
pub(super) fn build(graph: &Graph, units: &Units, hero: u32, outputs: &BTreeSet<Value>) -> Result<Built, Refusal> {
    let members = BTreeSet::from([hero]);
    let wanted = |result: u32| outputs.contains(&Value { node: hero, result });
    if matches!(graph.node(hero).op.name(), "attention" | "flex_attention") {
        let exprs = RefCell::new(Exprs::default());
        let builder = Builder::new(graph, units, &members, &exprs);
        Pass::over_queries(&builder, hero).forward(wanted);
        return builder.finish();
    }
    let mut sections = Vec::new();
    let mut params = Vec::new();
    for (of_queries, needed) in [(true, wanted(0)), (false, wanted(1) || wanted(2))] {
        if !needed {
            continue;
        }
        let exprs = RefCell::new(Exprs::default());
        let builder = Builder::new(graph, units, &members, &exprs);
        builder.params.replace(params);
        if of_queries {
            Pass::over_queries(&builder, hero).cotangent_of_queries();
        } else {
            Pass::over_keys(&builder, hero).cotangents_of_keys(wanted);
        }
        let (all, section) = builder.section()?;
        params = all;
        sections.push(section);
    }
    if sections.is_empty() {
        return refuse("nobody reads it");
    }
    let (values, params) = params.into_iter().unzip();
    let locs = graph.node(hero).loc.into_iter().collect();
    Ok(Built { kernel: Kernel { name: String::new(), params, sections, locs }, values })
}

/// A section about every query, or about every key, of every batch.
struct Pass<'b, 'g, 'x> {
    builder: &'b Builder<'g, 'x>,
    node: u32,
    scores: Scores,
    batch: Vec<S<'x>>,
    /// The indices of query, key, feature and element of a value.
    query: S<'x>,
    key: S<'x>,
    feature: S<'x>,
    element: S<'x>,
}

impl<'b, 'g, 'x> Pass<'b, 'g, 'x> {
    fn over_queries(builder: &'b Builder<'g, 'x>, node: u32) -> Pass<'b, 'g, 'x> {
        Pass::new(builder, node, [AxisKind::Parallel, AxisKind::Serial])
    }

    fn over_keys(builder: &'b Builder<'g, 'x>, node: u32) -> Pass<'b, 'g, 'x> {
        Pass::new(builder, node, [AxisKind::Serial, AxisKind::Parallel])
    }

    fn new(builder: &'b Builder<'g, 'x>, node: u32, [queries, keys]: [AxisKind; 2]) -> Pass<'b, 'g, 'x> {
        let operands = &builder.graph.node(node).operands;
        let shape = |k: usize| &builder.graph.ty(operands[k]).shape;
        let last = shape(0).len() - 1;
        let batch = builder.parallel(&shape(0)[..last - 1]);
        // Each loop has an axis of its own, also where extents are equal: they are nested.
        let query = builder.axis(shape(0)[last - 1], queries);
        let key = builder.axis(shape(1)[last - 1], keys);
        let feature = builder.axis(shape(0)[last], AxisKind::Serial);
        let element = builder.axis(shape(2)[last], AxisKind::Serial);
        let scores = Scores::of(&builder.graph.node(node).op);
        Pass { builder, node, scores, batch, query, key, feature, element }
    }

    /// An element of an operand, in single precision.
    fn operand(&self, k: usize, tail: &[S<'x>]) -> S<'x> {
        let index: Vec<S<'x>> = self.batch.iter().chain(tail).copied().collect();
        wide(self.builder.at(self.builder.graph.node(self.node).operands[k], &index))
    }

    /// The operand behind the mask: the first is the logarithm of the sums.
    fn behind(&self, k: usize, tail: &[S<'x>]) -> S<'x> {
        self.operand(self.builder.graph.node(self.node).operands.len() - 3 + k, tail)
    }

    fn axis(&self, index: S<'x>) -> u32 {
        self.builder.axis_of(index).expect("the indices of a pass are axes")
    }

    /// A dot into a local with the axis `n`, unless that is parallel; its value at that index.
    fn dot(&self, [m, n, k]: [S<'x>; 3], lhs: S<'x>, rhs: S<'x>) -> S<'x> {
        let [m, n, k] = [m, n, k].map(|s| self.axis(s));
        let serial = [m, n].into_iter().find(|&a| self.builder.axes.borrow()[a as usize].kind == AxisKind::Serial);
        let own: Vec<u32> = serial.into_iter().collect();
        let index: Vec<S<'x>> = own.iter().map(|&a| if a == m { self.at_axis(m) } else { self.at_axis(n) }).collect();
        let to = self.local(own);
        let batch = self.batch.iter().filter_map(|&s| self.builder.axis_of(s)).collect();
        let dot = Stage::Dot { batch, m: vec![m], n: vec![n], axes: vec![k], lhs: lhs.id, rhs: rhs.id, to };
        self.builder.stages.borrow_mut().push(dot);
        self.read(to, &index)
    }

    fn at_axis(&self, axis: u32) -> S<'x> {
        let all = [self.query, self.key, self.feature, self.element];
        all.into_iter().find(|&s| self.axis(s) == axis).expect("it is one of these")
    }

    fn local(&self, axes: Vec<u32>) -> u32 {
        let mut locals = self.builder.locals.borrow_mut();
        locals.push(Local { name: String::new(), dtype: DType::F32, axes });
        locals.len() as u32 - 1
    }

    fn read(&self, local: u32, index: &[S<'x>]) -> S<'x> {
        let index: Vec<_> = index.iter().map(|s| s.id).collect();
        let id = self.builder.exprs.borrow_mut().raw(ScalarOp::Local(local), &index, DType::F32);
        S::of(self.builder.exprs, id)
    }

    fn layout(&self) -> AttentionOperands {
        let node = self.builder.graph.node(self.node);
        AttentionOperands::of(&node.op, node.operands.len()).expect("the units' role says that it is attention")
    }

    /// The element of an operand that stretches to the scores.
    fn like_scores(&self, k: usize) -> S<'x> {
        let value = self.builder.graph.node(self.node).operands[k];
        let shape = &self.builder.graph.ty(value).shape;
        let index = self.batch.iter().chain([&self.query, &self.key]);
        let index: Vec<S<'x>> = index.zip(shape).map(|(&s, &d)| if d == Dim::ONE { self.builder.zero() } else { s }).collect();
        self.builder.at(value, &index)
    }

    /// The element of the mask.
    fn mask(&self) -> Option<S<'x>> {
        self.layout().mask.map(|k| self.like_scores(k))
    }

    /// The results of the function of the scores for a scaled product, if there is one.
    fn function(&self, product: S<'x>) -> Option<Vec<S<'x>>> {
        let function = ScoreFunction::of(&self.builder.graph.node(self.node).op)?;
        let graph = function.graph();
        let mut given = std::iter::once(product).chain(self.layout().given.map(|k| self.like_scores(k)));
        let mut values: Vec<S<'x>> = Vec::with_capacity(graph.len());
        for (_, node) in graph.nodes() {
            let value = match node.op.record().lowering {
                _ if node.op.is(&INPUT) => given.next().expect("an operand for each input was checked"),
                _ if node.op.is(&CONSTANT) => {
                    let id = self.builder.exprs.borrow_mut().constant(node.op.array("value").literal(0));
                    S::of(self.builder.exprs, id)
                }
                Lowering::Map(lower) => {
                    let operands: Vec<TensorType> = node.operands.iter().map(|&v| graph.ty(v).clone()).collect();
                    let load = |k: usize, _: &[S<'_>]| S::of(self.builder.exprs, values[node.operands[k].node as usize].id);
                    let (op, results) = (&node.op, &node.results);
                    let (operands, exprs) = (&operands[..], self.builder.exprs);
                    let id = lower(&Indexing { exprs, op, operands, results, result: 0, index: &[], load: &load }).id;
                    S::of(self.builder.exprs, id)
                }
                _ => unreachable!("functions of scores are pointwise"),
            };
            values.push(value);
        }
        Some(graph.outputs().iter().map(|(v, _)| values[v.node as usize]).collect())
    }

    /// The score from a product of query and key, and what its cotangent is multiplied with for that of the product.
    fn score(&self, product: S<'x>) -> (S<'x>, S<'x>) {
        let Scores { scale, causal, hidden } = self.scores;
        let mut slope = product.lit(scale);
        let mut score = product * slope;
        if let Some(results) = self.function(score) {
            score = results[0];
            if let Some(&by_score) = results.get(1) {
                // As it is, so that it can be told from the rest.
                let exprs = self.builder.exprs;
                slope = S::of(exprs, exprs.borrow_mut().raw(ScalarOp::Mul, &[by_score.id, slope.id], DType::F32));
            }
        }
        match self.mask() {
            Some(mask) if mask.dtype() == DType::Bool => score = mask.select(score, score.lit(hidden)),
            Some(mask) => score = score + wide(mask),
            None => {}
        }
        if causal {
            score = self.key.le(self.query).select(score, score.lit(f64::NEG_INFINITY));
        }
        (score, slope)
    }

    fn product(&self) -> S<'x> {
        let (q, k) = (self.operand(0, &[self.query, self.feature]), self.operand(1, &[self.key, self.feature]));
        self.dot([self.query, self.key, self.feature], q, k)
    }

    fn forward(&self, wanted: impl Fn(u32) -> bool) {
        let (score, _) = self.score(self.product());
        let to = [self.local(Vec::new()), self.local(Vec::new())];
        let reduce =
            Stage::Reduce { kind: ReduceKind::OnlineSoftmax, axes: vec![self.axis(self.key)], body: score.id, to: to.to_vec() };
        self.builder.stages.borrow_mut().push(reduce);
        let [max, sum] = to.map(|local| self.read(local, &[]));
        // A query that sees nothing has zeros, and no probabilities in the derivative.
        let nothing = max.equals(max.lit(f64::NEG_INFINITY));
        if wanted(0) {
            let (shift, total) = (nothing.select(max.lit(0.0), max), nothing.select(sum.lit(1.0), sum));
            let v = self.operand(2, &[self.key, self.element]);
            let y = self.dot([self.query, self.element, self.key], (score - shift).exp() / total, v);
            self.store(0, &[self.query, self.element], y);
        }
        if wanted(1) {
            self.store(1, &[self.query], nothing.select(max.lit(f64::INFINITY), max + sum.log()));
        }
    }

    fn store(&self, result: u32, tail: &[S<'x>], element: S<'x>) {
        let index: Vec<S<'x>> = self.batch.iter().chain(tail).copied().collect();
        let result = Value { node: self.node, result };
        self.builder.store(result, &index, element.cast(self.builder.graph.ty(result).dtype), None);
    }

    /// The probability of the key, and the cotangent of the product of query and key.
    fn cotangent_of_product(&self) -> (S<'x>, S<'x>) {
        let (score, slope) = self.score(self.product());
        let dy = self.behind(2, &[self.query, self.element]);
        let dp = self.dot([self.query, self.key, self.element], dy, self.operand(2, &[self.key, self.element]));
        let (lse, delta) = (self.behind(0, &[self.query]), self.behind(1, &[self.query]));
        let mut p = (score - lse).exp();
        let seen = self.mask().filter(|m| m.dtype() == DType::Bool);
        if let Some(seen) = seen
            && self.scores.hidden.is_finite()
        {
            let keys = self.builder.axes.borrow()[self.axis(self.key) as usize].extent;
            let each = p.lit(1.0) / S::extent(self.builder.exprs, keys).cast(DType::F32);
            p = seen.select(p, lse.lt(p.lit(0.5 * self.scores.hidden)).select(each, p.lit(0.0)));
        }
        let ds = p * (dp - delta) * slope;
        (p, seen.map_or(ds, |seen| seen.select(ds, ds.lit(0.0))))
    }

    fn cotangent_of_queries(&self) {
        let (_, ds) = self.cotangent_of_product();
        let k = self.operand(1, &[self.key, self.feature]);
        let dq = self.dot([self.query, self.feature, self.key], ds, k);
        self.store(0, &[self.query, self.feature], dq);
    }

    fn cotangents_of_keys(&self, wanted: impl Fn(u32) -> bool) {
        let (p, ds) = self.cotangent_of_product();
        if wanted(1) {
            let q = self.operand(0, &[self.query, self.feature]);
            let dk = self.dot([self.key, self.feature, self.query], ds, q);
            self.store(1, &[self.key, self.feature], dk);
        }
        if wanted(2) {
            let dy = self.behind(2, &[self.query, self.element]);
            let dv = self.dot([self.key, self.element, self.query], p, dy);
            self.store(2, &[self.key, self.element], dv);
        }
    }
}
