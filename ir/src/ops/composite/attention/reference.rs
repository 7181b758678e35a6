//! What attention and its derivative are, written in loops.

use super::{AttentionOperands, ScoreFunction, Scores};
use crate::array::{Array, ravel, unravel};
use crate::emit::{Emit, Emitter};
use crate::graph::Graph;
use crate::interp::interpret_f64;
use crate::op::{Op, Reference};
use crate::ops::fold::total;
use crate::types::{DType, TensorType};

pub(super) fn reference_forward(r: &Reference) -> crate::Result<Vec<Array>> {
    let rows = Rows::new(r)?;
    let e = rows.e;
    let (mut ys, mut lses) = (Vec::with_capacity(rows.queries() * e), Vec::with_capacity(rows.queries()));
    for row in 0..rows.queries() {
        let scores: Vec<f64> = (0..rows.s).map(|j| rows.score(row, j)).collect();
        if scores.iter().all(|&s| s == f64::NEG_INFINITY) {
            ys.extend((0..e).map(|_| 0.0));
            lses.push(f64::INFINITY);
            continue;
        }
        let any_nan = scores.iter().any(|s| s.is_nan());
        let max = if any_nan { f64::NAN } else { scores.iter().copied().fold(f64::NEG_INFINITY, f64::max) };
        let sum = total(scores.iter().map(|s| (s - max).exp()));
        let value = |j: usize, c: usize| rows.v.f((rows.batch(row) * rows.s + j) * e + c);
        ys.extend((0..e).map(|c| total(scores.iter().enumerate().map(|(j, s)| (s - max).exp() / sum * value(j, c)))));
        lses.push(max + sum.ln());
    }
    let [y, lse] = [&r.results[0], &r.results[1]];
    Ok(vec![Array::from_fn_f64(y.dtype, shape_of(y), |i| ys[i]), Array::from_fn_f64(lse.dtype, shape_of(lse), |i| lses[i])])
}

pub(super) fn reference_backward(r: &Reference) -> crate::Result<Vec<Array>> {
    let rows = Rows::new(r)?;
    let first = r.inputs.len() - 3;
    let [lse, delta, dy] = [0, 1, 2].map(|i| r.inputs[first + i]);
    let (d, e, s, scores) = (rows.d, rows.e, rows.s, Scores::of(r.op));
    let (mut dq, mut dk, mut dv) = (vec![0.0; rows.q.len()], vec![0.0; rows.k.len()], vec![0.0; rows.v.len()]);
    for row in 0..rows.queries() {
        for j in 0..s {
            let key = rows.batch(row) * s + j;
            let p = match rows.hides(row, j) {
                true if scores.hidden.is_finite() && lse.f(row) < 0.5 * scores.hidden => 1.0 / s as f64,
                true if scores.hidden.is_finite() => 0.0,
                _ => (rows.score(row, j) - lse.f(row)).exp(),
            };
            let dp = total((0..e).map(|c| dy.f(row * e + c) * rows.v.f(key * e + c)));
            (0..e).for_each(|c| dv[key * e + c] += p * dy.f(row * e + c));
            if rows.hides(row, j) {
                continue;
            }
            let ds = p * (dp - delta.f(row)) * scores.scale * rows.slope(row, j);
            for c in 0..d {
                dq[row * d + c] += ds * rows.k.f(key * d + c);
                dk[key * d + c] += ds * rows.q.f(row * d + c);
            }
        }
    }
    let array = |k: usize, values: Vec<f64>| Array::from_fn_f64(r.results[k].dtype, shape_of(&r.results[k]), |i| values[i]);
    Ok(vec![array(0, dq), array(1, dk), array(2, dv)])
}

fn shape_of(ty: &TensorType) -> Vec<usize> {
    ty.shape.iter().map(|d| d.get().expect("the interpreter knows all extents")).collect()
}

/// The operands of a reference: queries are numbered through all batches.
struct Rows<'a> {
    op: &'a Op,
    q: &'a Array,
    k: &'a Array,
    v: &'a Array,
    mask: Option<&'a Array>,
    t: usize,
    s: usize,
    d: usize,
    e: usize,
    /// The results of a function of the scores, for each query and key.
    function: Option<Vec<Array>>,
}

impl<'a> Rows<'a> {
    fn new(r: &Reference<'a>) -> crate::Result<Rows<'a>> {
        let [q, k, v] = [0, 1, 2].map(|i| r.inputs[i]);
        let own = AttentionOperands::of(r.op, r.inputs.len()).expect("the caller is a record of attention");
        let mask = own.mask.map(|i| r.inputs[i]);
        let last = q.shape().len() - 1;
        let [t, s, d, e] = [q.shape()[last - 1], k.shape()[last - 1], q.shape()[last], v.shape()[last]];
        let mut rows = Rows { op: r.op, q, k, v, mask, t, s, d, e, function: None };
        if let Some(function) = ScoreFunction::of(r.op) {
            rows.function = Some(rows.evaluate(&function, &r.inputs[own.given])?);
        }
        Ok(rows)
    }

    /// The results of a function for each query and key.
    fn evaluate(&self, function: &ScoreFunction, given: &[&Array]) -> crate::Result<Vec<Array>> {
        let of = function.graph();
        let shape: Vec<usize> = self.q.shape()[..self.q.shape().len() - 1].iter().copied().chain([self.s]).collect();
        let mut graph = Graph::new("scores");
        let dtype = of.ty(of.inputs()[0].0).dtype;
        let products = Array::from_fn_f64(dtype, shape.clone(), |i| self.product(i / self.s, i % self.s));
        let arrays: Vec<Array> = std::iter::once(products).chain(given.iter().map(|&a| a.clone())).collect();
        let inputs: Vec<_> = arrays.iter().map(|a| graph.input("", a.ty())).collect();
        let full: Vec<_> = shape.iter().map(|&n| n.into()).collect();
        let results = {
            let emitter = Emitter::new(&mut graph as &mut dyn Emit);
            let inputs: Vec<_> = inputs.iter().map(|&v| emitter.value(v)).collect();
            let results: Vec<_> = super::elementwise(&emitter, of, &inputs, &full).iter().map(|x| x.value).collect();
            emitter.finish()?;
            results
        };
        results.into_iter().for_each(|v| graph.output("", v));
        Ok(interpret_f64(&graph, &arrays)?.into_iter().map(|oracle| oracle.exact).collect())
    }

    fn queries(&self) -> usize {
        self.q.shape()[..self.q.shape().len() - 1].iter().product()
    }

    fn batch(&self, row: usize) -> usize {
        row / self.t
    }

    /// The place of the mask for a query and a key.
    fn place(&self, mask: &Array, row: usize, j: usize) -> usize {
        let mut index = unravel(row, &self.q.shape()[..self.q.shape().len() - 1]);
        index.push(j);
        index.iter_mut().zip(mask.shape()).for_each(|(i, &n)| *i = if n == 1 { 0 } else { *i });
        ravel(&index, mask.shape())
    }

    /// Whether a mask of bools hides key `j` from a query.
    fn hides(&self, row: usize, j: usize) -> bool {
        self.mask.is_some_and(|m| m.dtype() == DType::Bool && m.i(self.place(m, row, j)) == 0)
    }

    /// The scaled product.
    fn product(&self, row: usize, j: usize) -> f64 {
        let (key, d) = ((self.batch(row) * self.s + j) * self.d, self.d);
        total((0..d).map(|c| self.q.f(row * d + c) * self.k.f(key + c))) * Scores::of(self.op).scale
    }

    fn score(&self, row: usize, j: usize) -> f64 {
        let Scores { causal, hidden, .. } = Scores::of(self.op);
        if causal && j > row % self.t {
            return f64::NEG_INFINITY;
        }
        if self.hides(row, j) {
            return hidden;
        }
        let score = match &self.function {
            Some(results) => results[0].f(row * self.s + j),
            None => self.product(row, j),
        };
        score + self.mask.filter(|m| m.dtype() != DType::Bool).map_or(0.0, |m| m.f(self.place(m, row, j)))
    }

    /// The derivative of the function by the score.
    fn slope(&self, row: usize, j: usize) -> f64 {
        self.function.as_ref().map_or(1.0, |results| results[1].f(row * self.s + j))
    }
}
