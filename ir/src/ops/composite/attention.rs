//! `attention`: scaled dot-product attention, and its derivative.

use super::{extent_as, normal, wide};
use crate::array::{Array, ravel, unravel};
use crate::dim::Dim;
use crate::emit::{Emitter, X};
use crate::op::*;
use crate::ops::fold::total;
use crate::ops::type_rule::*;
use crate::ops::{dot_general, iota, online_softmax};
use crate::types::{DType, Shape, TensorType};

/// What attention does with its scores.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Scores {
    /// Queries times keys are multiplied with this.
    pub scale: f64,
    /// Whether a query sees only the keys up to its own position.
    pub causal: bool,
    /// The score of a key that a mask of bools hides: minus infinity, or a number so far below all scores (at most -10⁴) that hidden
    /// keys count only for queries that see none at all.
    pub hidden: f64,
}

impl Scores {
    /// What the attributes of `attention` or `attention_backward` say.
    pub fn of(op: &Op) -> Scores {
        Scores { scale: op.float("scale"), causal: op.bool("causal"), hidden: op.float("hidden") }
    }

    fn attrs(self) -> [Attr; 3] {
        [Attr::Float(Float::new(self.scale)), Attr::Bool(self.causal), Attr::Float(Float::new(self.hidden))]
    }
}

const ATTRS: &[(&str, AttrKind)] = &[("scale", AttrKind::Float), ("causal", AttrKind::Bool), ("hidden", AttrKind::Float)];

/// `softmax(scale · q kᵀ) v`. Operands: queries `[…, T, D]`, keys `[…, S, D]`, values `[…, S, E]` and, if wanted, a mask that is one
/// with or stretches to `[…, T, S]`: bools (whether a query sees a key), or numbers that are added to the scores. Results: `[…, T, E]`,
/// and the logarithm of the sum of the exponentials of the scores, `[…, T]` (in `f32` for half types), which the derivative uses.
/// A query that sees no key has NaN. Vaswani et al. 2017, arXiv:1706.03762; computed as in Dao et al. 2022, arXiv:2205.14135.
pub fn attention(scores: Scores) -> Op {
    Op::new(&ATTENTION, scores.attrs())
}

/// See [`attention()`].
pub static ATTENTION: Record = Record {
    name: "attention",
    attrs: ATTRS,
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let masked = operands.len() == 4;
        rule.count(if masked { 4 } else { 3 })?;
        let [q, v] = [&operands[0], &operands[2]];
        products(rule, masked)?;
        let mut y = q.clone();
        y.shape[q.rank() - 1] = v.shape[q.rank() - 1];
        Ok(Types::from_iter([y, per_query(q)]))
    },
    reference: |r| {
        let rows = Rows::new(r);
        let (d, e) = (rows.d, rows.e);
        let (mut ys, mut lses) = (Vec::with_capacity(rows.queries() * e), Vec::with_capacity(rows.queries()));
        for row in 0..rows.queries() {
            let scores: Vec<f64> = (0..rows.s).map(|j| rows.score(row, j, d)).collect();
            let any_nan = scores.iter().any(|s| s.is_nan());
            let max = if any_nan { f64::NAN } else { scores.iter().copied().fold(f64::NEG_INFINITY, f64::max) };
            let sum = total(scores.iter().map(|s| (s - max).exp()));
            let value = |j: usize, c: usize| rows.v.f((rows.batch(row) * rows.s + j) * e + c);
            ys.extend((0..e).map(|c| total(scores.iter().enumerate().map(|(j, s)| (s - max).exp() / sum * value(j, c)))));
            lses.push(max + sum.ln());
        }
        let [y, lse] = [&r.results[0], &r.results[1]];
        Ok(vec![Array::from_fn_f64(y.dtype, shape_of(y), |i| ys[i]), Array::from_fn_f64(lse.dtype, shape_of(lse), |i| lses[i])])
    },
    lowering: Lowering::Composite(|emitter, op, operands| {
        let last = operands[0].rank() - 1;
        let scores = scores(emitter, op, operands);
        let reduced = emitter.apply(online_softmax(&[last]), &[scores]);
        let (max, sum) = (reduced[0], reduced[1]);
        let p = (scores - along_keys(max, scores)).exp() / along_keys(sum, scores);
        let y = product(p, last, wide(operands[2]), last - 1);
        vec![y.cast(operands[0].dtype()), max + sum.log()]
    }),
    vjp: Vjp::Rule(|a| {
        let last = a.x(0).rank() - 1;
        let dy = a.dy(0);
        let mut delta = (wide(dy) * wide(a.y(0))).sum(&[last]);
        if let Some(dlse) = a.cotangents[1] {
            delta = delta - dlse;
        }
        let mut operands = a.operands.clone();
        operands.extend([a.y(1), delta, dy]);
        let mut cotangents: Vec<Option<X>> =
            a.emitter.apply(attention_backward(Scores::of(a.op)), &operands).iter().map(|&x| Some(x)).collect();
        if let Some(&mask) = a.operands.get(3) {
            cotangents.push((mask.dtype() != DType::Bool && a.wanted[3]).then(|| {
                let (p, dp) = probabilities(a.emitter, a.op, &operands);
                (p * (dp - along_keys(delta, p))).sum_to(&mask.shape()).cast(mask.dtype())
            }));
        }
        cotangents
    }),
    jvp: Jvp::FromVjp,
    batch: Batch::Rule(batched),
    flops: |op, operands, results| flops(op, operands, results[0].elements() * operands[1].shape[operands[1].rank() - 2], 2),
    samples: |s| {
        let plain = Scores { scale: 0.5, causal: false, hidden: f64::NEG_INFINITY };
        let causal = Scores { causal: true, ..plain };
        let far = Scores { hidden: -1e4, ..plain };
        for (dtype, batch, [t, n, d, e]) in CASES {
            s.add(attention(plain), inputs(dtype, batch, [t, n, d, e]));
            s.add(attention(causal), inputs(dtype, batch, [t, n, d, e]));
        }
        let with_mask = |mask: TensorType, fill: Fill| {
            let [q, k, v] = inputs(DType::F32, &[2, 2], [3, 5, 4, 2]);
            [q, k, v, (mask, fill)]
        };
        s.add(attention(far), with_mask(TensorType::new(DType::Bool, [2, 2, 3, 5]), Fill::Range(0, 2)));
        s.add(attention(far), with_mask(TensorType::new(DType::Bool, [2, 1, 1, 5]), Fill::Range(0, 2)));
        s.add(attention(causal), with_mask(TensorType::new(DType::F32, [1, 2, 3, 5]), Fill::Normal));
        s.add(attention(plain), with_mask(TensorType::new(DType::F32, [1, 1, 3, 1]), Fill::Normal));
    },
    error_samples: |s| {
        let plain = Scores { scale: 0.5, causal: false, hidden: f64::NEG_INFINITY };
        let [q, k, v] = inputs(DType::F32, &[2], [3, 5, 4, 2]);
        let mask = |dtype: DType, shape: &[usize]| (TensorType::new(dtype, shape.iter().copied()), Fill::Range(0, 2));
        let with = |q: &(TensorType, Fill), k: &(TensorType, Fill), v: &(TensorType, Fill)| [q.clone(), k.clone(), v.clone()];
        s.add(attention(plain), [q.clone(), k.clone()]);
        s.add(attention(plain), with(&normal(DType::F32, [4]), &k, &v));
        s.add(attention(plain), with(&q, &normal(DType::F64, [2, 5, 4]), &v));
        s.add(attention(plain), with(&q, &normal(DType::F32, [2, 5, 3]), &v));
        s.add(attention(plain), with(&q, &k, &normal(DType::F32, [2, 4, 2])));
        s.add(attention(plain), with(&q, &normal(DType::F32, [3, 5, 4]), &v));
        s.add(attention(Scores { hidden: -5.0, ..plain }), with(&q, &k, &v));
        s.add(attention(plain), [q.clone(), k.clone(), v.clone(), mask(DType::I64, &[2, 3, 5])]);
        s.add(attention(plain), [q.clone(), k.clone(), v.clone(), mask(DType::Bool, &[3, 5])]);
        s.add(attention(plain), [q, k, v, mask(DType::Bool, &[2, 3, 4])]);
    },
};

/// The derivative of [`attention()`]. Operands: those of `attention`, its second result, `Σ y · dy` less the cotangent of the second
/// result (`[…, T]`), and the cotangent `dy` of the first. Results: the cotangents of queries, keys and values.
/// The probabilities are computed again, so that nothing of the size of the scores is stored.
pub fn attention_backward(scores: Scores) -> Op {
    Op::new(&ATTENTION_BACKWARD, scores.attrs())
}

/// See [`attention_backward()`].
pub static ATTENTION_BACKWARD: Record = Record {
    name: "attention_backward",
    attrs: ATTRS,
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let masked = operands.len() == 7;
        rule.count(if masked { 7 } else { 6 })?;
        products(rule, masked)?;
        let [q, k, v] = [0, 1, 2].map(|i| operands[i].clone());
        let first = operands.len() - 3;
        let mut y = q.clone();
        y.shape[q.rank() - 1] = v.shape[q.rank() - 1];
        for (i, wanted) in [(first, per_query(&q)), (first + 1, per_query(&q)), (first + 2, y)] {
            let fits = operands[i] == wanted;
            rule.ensure(fits, || format!("needs {wanted} in operand {i}, not {}", operands[i]))?;
        }
        Ok(Types::from_iter([q, k, v]))
    },
    reference: |r| {
        let rows = Rows::new(r);
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
                    _ => (rows.score(row, j, d) - lse.f(row)).exp(),
                };
                let dp = total((0..e).map(|c| dy.f(row * e + c) * rows.v.f(key * e + c)));
                (0..e).for_each(|c| dv[key * e + c] += p * dy.f(row * e + c));
                if rows.hides(row, j) {
                    continue;
                }
                let ds = p * (dp - delta.f(row)) * scores.scale;
                for c in 0..d {
                    dq[row * d + c] += ds * rows.k.f(key * d + c);
                    dk[key * d + c] += ds * rows.q.f(row * d + c);
                }
            }
        }
        let array = |k: usize, values: Vec<f64>| Array::from_fn_f64(r.results[k].dtype, shape_of(&r.results[k]), |i| values[i]);
        Ok(vec![array(0, dq), array(1, dk), array(2, dv)])
    },
    lowering: Lowering::Composite(|emitter, op, operands| {
        let last = operands[0].rank() - 1;
        let [q, k] = [0, 1].map(|i| wide(operands[i]));
        let [delta, dy] = [operands[operands.len() - 2], wide(operands[operands.len() - 1])];
        let (p, dp) = probabilities(emitter, op, operands);
        let mut ds = p * (dp - along_keys(delta, p)) * op.float("scale");
        if let Some(mask) = mask_of(operands).filter(|m| m.dtype() == DType::Bool) {
            ds = mask.broadcast_to(&ds.shape()).select(ds, ds.lit(0.0));
        }
        let results = [product(ds, last, k, last - 1), product(ds, last - 1, q, last - 1), product(p, last - 1, dy, last - 1)];
        results.iter().enumerate().map(|(i, d)| d.cast(operands[i].dtype())).collect()
    }),
    vjp: Vjp::Decomposition,
    jvp: Jvp::FromVjp,
    batch: Batch::Rule(batched),
    flops: |op, operands, _| {
        let rank = operands[0].rank();
        let dy = &operands[operands.len() - 1];
        flops(op, operands, dy.elements() * operands[1].shape[rank - 2], 5)
    },
    samples: |s| {
        let plain = Scores { scale: 0.5, causal: false, hidden: f64::NEG_INFINITY };
        let rest = |dtype: DType, batch: &[usize], t: usize, e: usize| {
            let of = |dtype: DType, tail: &[usize]| {
                (TensorType::new(dtype, batch.iter().chain(tail).copied()), Fill::Uniform(1.0, 2.0))
            };
            [of(dtype.compute(), &[t]), of(dtype.compute(), &[t]), of(dtype, &[t, e])]
        };
        for (dtype, batch, [t, n, d, e]) in CASES {
            for causal in [false, true] {
                let operands = inputs(dtype, batch, [t, n, d, e]).into_iter().chain(rest(dtype, batch, t, e));
                s.add(attention_backward(Scores { causal, ..plain }), operands);
            }
        }
        for (mask, fill) in [(DType::Bool, Fill::Range(0, 2)), (DType::F32, Fill::Normal)] {
            let mask = (TensorType::new(mask, [1, 3, 5]), fill);
            let operands = inputs(DType::F32, &[2], [3, 5, 4, 2]).into_iter().chain([mask]);
            let operands = operands.chain(rest(DType::F32, &[2], 3, 2));
            s.add(attention_backward(Scores { hidden: -1e4, ..plain }), operands);
        }
    },
    error_samples: |s| {
        let plain = Scores { scale: 0.5, causal: false, hidden: f64::NEG_INFINITY };
        let [q, k, v] = inputs(DType::F32, &[2], [3, 5, 4, 2]);
        let (row, dy) = (normal(DType::F32, [2, 3]), normal(DType::F32, [2, 3, 2]));
        s.add(attention_backward(plain), [q.clone(), k.clone(), v.clone(), row.clone(), dy.clone()]);
        s.add(attention_backward(plain), [q.clone(), k.clone(), v.clone(), row.clone(), dy.clone(), dy]);
        s.add(attention_backward(plain), [q.clone(), k, v, row.clone(), row, q]);
    },
};

/// Element types, batches and `[T, S, D, E]` of samples.
const CASES: [(DType, &[usize], [usize; 4]); 8] = [
    (DType::F32, &[2, 2], [3, 5, 4, 2]),
    (DType::F32, &[], [17, 40, 9, 10]),
    (DType::F64, &[3], [4, 3, 2, 3]),
    (DType::F16, &[2], [3, 6, 8, 4]),
    (DType::BF16, &[2], [5, 4, 8, 8]),
    (DType::F32, &[2], [0, 3, 4, 4]),
    (DType::F32, &[2], [1, 1, 1, 1]),
    (DType::F32, &[2], [3, 0, 4, 2]),
];

fn inputs(dtype: DType, batch: &[usize], [t, s, d, e]: [usize; 4]) -> [(TensorType, Fill); 3] {
    [[t, d], [s, d], [s, e]].map(|tail| (TensorType::new(dtype, batch.iter().chain(&tail).copied()), Fill::Normal))
}

/// Checks queries, keys, values and mask.
fn products(rule: TypeRule<'_>, masked: bool) -> crate::Result<()> {
    let [q, k, v] = [0, 1, 2].map(|i| &rule.operands[i]);
    rule.float(0)?;
    rule.ensure(q.rank() >= 2, || format!("needs at least 2 axes, for positions and features; operand 0 has {}", q.rank()))?;
    for i in [1, 2] {
        rule.same_dtype(0, i)?;
        rule.rank(i, q.rank())?;
        for axis in 0..q.rank() - 2 {
            let (a, b) = (format_args!("operand 0").to_string(), format_args!("operand {i}").to_string());
            rule.agree(&format!("extents of batch axis {axis}"), (a, q.shape[axis]), (b, rule.operands[i].shape[axis]))?;
        }
    }
    let last = q.rank() - 1;
    rule.agree("features", ("axis -1 of the queries", q.shape[last]), ("axis -1 of the keys", k.shape[last]))?;
    rule.agree("positions", ("axis -2 of the keys", k.shape[last - 1]), ("axis -2 of the values", v.shape[last - 1]))?;
    let hidden = rule.op.float("hidden");
    rule.ensure(hidden <= -1e4, || format!("needs hidden keys to score at most -10000, not {hidden}"))?;
    if masked {
        let mask = &rule.operands[3];
        let fits = mask.dtype == DType::Bool || mask.dtype == q.dtype;
        rule.ensure(fits, || format!("needs a mask of bool or {}, not of {}", q.dtype, mask.dtype))?;
        rule.rank(3, q.rank())?;
        let scores = q.shape[..last].iter().copied().chain([k.shape[last - 1]]);
        for (axis, (n, &own)) in scores.zip(&mask.shape).enumerate() {
            if own != Dim::ONE {
                rule.agree(&format!("extents of axis {axis}"), ("the mask", own), ("the scores", n))?;
            }
        }
    }
    Ok(())
}

/// The type of a number for each query.
fn per_query(q: &TensorType) -> TensorType {
    TensorType::new(q.dtype.compute(), q.shape[..q.rank() - 1].iter().copied())
}

fn mask_of<'b, 'e>(operands: &[X<'b, 'e>]) -> Option<X<'b, 'e>> {
    matches!(operands.len(), 4 | 7).then(|| operands[3])
}

/// `Σ a · b` over an axis of each, which are their last but for leading batch axes.
fn product<'b, 'e>(a: X<'b, 'e>, a_axis: usize, b: X<'b, 'e>, b_axis: usize) -> X<'b, 'e> {
    let batch: Vec<usize> = (0..a.rank() - 2).collect();
    a.emitter.one(dot_general(&[a_axis], &[b_axis], &batch, &batch), &[a, b])
}

/// A number for each query, repeated along the keys.
fn along_keys<'b, 'e>(x: X<'b, 'e>, scores: X<'b, 'e>) -> X<'b, 'e> {
    x.broadcast(scores.shape(), &(0..x.rank()).collect::<Vec<_>>())
}

/// The scores `[…, T, S]` with the masks.
fn scores<'b, 'e>(emitter: &'b Emitter<'e>, op: &Op, operands: &[X<'b, 'e>]) -> X<'b, 'e> {
    let Scores { scale, causal, hidden } = Scores::of(op);
    let last = operands[0].rank() - 1;
    let mut scores = product(wide(operands[0]), last, wide(operands[1]), last) * scale;
    match mask_of(operands) {
        Some(mask) if mask.dtype() == DType::Bool => {
            scores = mask.broadcast_to(&scores.shape()).select(scores, scores.lit(hidden));
        }
        Some(mask) => scores = scores + wide(mask),
        None => {}
    }
    if causal {
        let [row, column] = [last - 1, last].map(|axis| emitter.one(iota(DType::I64, scores.shape(), axis), &[]));
        scores = column.compare("le", row).select(scores, scores.lit(f64::NEG_INFINITY));
    }
    scores
}

/// The probabilities and their cotangents, from the operands of `attention_backward`.
fn probabilities<'b, 'e>(emitter: &'b Emitter<'e>, op: &Op, operands: &[X<'b, 'e>]) -> (X<'b, 'e>, X<'b, 'e>) {
    let first = operands.len() - 3;
    let (lse, dy, last) = (operands[first], wide(operands[first + 2]), operands[0].rank() - 1);
    let scores = scores(emitter, op, operands);
    let mut p = (scores - along_keys(lse, scores)).exp();
    let hidden = op.float("hidden");
    if let Some(mask) = mask_of(operands).filter(|m| m.dtype() == DType::Bool && hidden.is_finite()) {
        // Near a number so large the logarithm of the sum has lost the count of the keys.
        let keys = extent_as(emitter, scores.shape()[last], scores.dtype());
        let unseen = lse.compare("lt", lse.lit(0.5 * hidden)).select(1.0 / keys, lse.lit(0.0));
        p = mask.broadcast_to(&p.shape()).select(p, along_keys(unseen, p));
    }
    (p, product(dy, last, wide(operands[2]), last))
}

/// With a leading batch axis: on everything but a mask that all examples share.
fn batched<'b, 'e>(a: &BatchArgs<'b, 'e>) -> Vec<X<'b, 'e>> {
    let masked = mask_of(&a.operands).is_some();
    let operand = |k: usize| match masked && k == 3 && !a.batched[k] {
        true => a.operands[k].reshape(std::iter::once(Dim::ONE).chain(a.operands[k].shape()).collect::<Shape>()),
        false => a.batched(k),
    };
    let operands: Vec<X<'b, 'e>> = (0..a.operands.len()).map(operand).collect();
    a.emitter.apply(a.op.clone(), &operands).to_vec()
}

/// Operations of `products` of all queries with all keys, half of them alike in each width, and of the exponentials.
fn flops(op: &Op, operands: &[TensorType], wide: Dim, products: usize) -> Dim {
    let [q, k] = [&operands[0], &operands[1]];
    let keys = k.shape[k.rank() - 2];
    let narrow = q.elements() * keys;
    let exponentials = per_query(q).elements() * keys * 15usize;
    let all = (narrow * products.div_ceil(2) + wide * (products / 2)) * 2usize + exponentials;
    if op.bool("causal") { all.div_ceil(2) } else { all }
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
}

impl<'a> Rows<'a> {
    fn new(r: &Reference<'a>) -> Rows<'a> {
        let [q, k, v] = [0, 1, 2].map(|i| r.inputs[i]);
        let mask = matches!(r.inputs.len(), 4 | 7).then(|| r.inputs[3]);
        let last = q.shape().len() - 1;
        let [t, s, d, e] = [q.shape()[last - 1], k.shape()[last - 1], q.shape()[last], v.shape()[last]];
        Rows { op: r.op, q, k, v, mask, t, s, d, e }
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

    fn score(&self, row: usize, j: usize, d: usize) -> f64 {
        let Scores { scale, causal, hidden } = Scores::of(self.op);
        if causal && j > row % self.t {
            return f64::NEG_INFINITY;
        }
        if self.hides(row, j) {
            return hidden;
        }
        let key = (self.batch(row) * self.s + j) * d;
        let score = total((0..d).map(|c| self.q.f(row * d + c) * self.k.f(key + c))) * scale;
        score + self.mask.filter(|m| m.dtype() != DType::Bool).map_or(0.0, |m| m.f(self.place(m, row, j)))
    }
}
