//! What attention with and without a function of the scores has in common: types, decompositions, derivatives.

use super::score::elementwise;
use super::{AttentionOperands, Scores, attention_backward, flex_attention_backward};
use crate::dim::Dim;
use crate::emit::{Emitter, X};
use crate::op::*;
use crate::ops::composite::{extent_as, wide};
use crate::ops::type_rule::*;
use crate::ops::{ScoreFunction, dot_general, iota, online_softmax};
use crate::types::{DType, Shape, TensorType};

/// Where the operands are. Only called for the four operators.
fn layout(op: &Op, count: usize) -> AttentionOperands {
    AttentionOperands::of(op, count).expect("one of the operators of attention")
}

pub(super) fn infer_forward(op: &Op, operands: &[TensorType]) -> crate::Result<Types> {
    let rule = TypeRule::new(op, operands);
    products(rule)?;
    let [q, v] = [&operands[0], &operands[2]];
    let mut y = q.clone();
    y.shape[q.rank() - 1] = v.shape[q.rank() - 1];
    Ok(Types::from_iter([y, per_query(q)]))
}

pub(super) fn infer_backward(op: &Op, operands: &[TensorType]) -> crate::Result<Types> {
    let rule = TypeRule::new(op, operands);
    products(rule)?;
    let [q, k, v] = [0, 1, 2].map(|i| operands[i].clone());
    let mut y = q.clone();
    y.shape[q.rank() - 1] = v.shape[q.rank() - 1];
    for (i, wanted) in layout(op, operands.len()).behind.zip([per_query(&q), per_query(&q), y]) {
        let fits = operands[i] == wanted;
        rule.ensure(fits, || format!("needs {wanted} in operand {i}, not {}", operands[i]))?;
    }
    Ok(Types::from_iter([q, k, v]))
}

/// Checks queries, keys, values, and what stretches to the scores.
fn products(rule: TypeRule<'_>) -> crate::Result<()> {
    let own = layout(rule.op, rule.operands.len());
    rule.count(own.behind.end)?;
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
    if let Some(mask) = own.mask.map(|i| &rule.operands[i]) {
        let fits = mask.dtype == DType::Bool || mask.dtype == q.dtype;
        rule.ensure(fits, || format!("needs a mask of bool or {}, not of {}", q.dtype, mask.dtype))?;
    }
    for i in own.like_scores() {
        rule.rank(i, q.rank())?;
        let what = if own.mask == Some(i) { "the mask".to_owned() } else { format!("operand {i}") };
        let scores = q.shape[..last].iter().copied().chain([k.shape[last - 1]]);
        for (axis, (n, &extent)) in scores.zip(&rule.operands[i].shape).enumerate() {
            if extent != Dim::ONE {
                rule.agree(&format!("extents of axis {axis}"), (what.as_str(), extent), ("the scores", n))?;
            }
        }
    }
    match ScoreFunction::of(rule.op) {
        Some(function) => {
            let given: Vec<DType> = own.given.map(|i| rule.operands[i].dtype).collect();
            let results = if own.behind.is_empty() { 1 } else { 2 };
            function.check(q.dtype.compute(), &given, results).or_else(|why| rule.ensure(false, || why))
        }
        None => Ok(()),
    }
}

/// The type of a number for each query.
fn per_query(q: &TensorType) -> TensorType {
    TensorType::new(q.dtype.compute(), q.shape[..q.rank() - 1].iter().copied())
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

/// Scores `[…, T, S]`.
struct Scored<'b, 'e> {
    /// With the masks.
    scores: X<'b, 'e>,
    /// The derivative of the function by the score, if there is a function and its derivative is there.
    slope: Option<X<'b, 'e>>,
    /// A mask of bools, of the same shape.
    seen: Option<X<'b, 'e>>,
}

impl<'b, 'e> Scored<'b, 'e> {
    fn new(emitter: &'b Emitter<'e>, op: &Op, operands: &[X<'b, 'e>]) -> Scored<'b, 'e> {
        let Scores { scale, causal, hidden } = Scores::of(op);
        let own = layout(op, operands.len());
        let last = operands[0].rank() - 1;
        let mut scores = product(wide(operands[0]), last, wide(operands[1]), last) * scale;
        let shape = scores.shape();
        let mut slope = None;
        if let Some(function) = ScoreFunction::of(op) {
            let inputs: Vec<X<'b, 'e>> = std::iter::once(scores).chain(operands[own.given].iter().copied()).collect();
            let results = elementwise(emitter, function.graph(), &inputs, &shape);
            scores = results[0];
            slope = results.get(1).copied();
        }
        let mask = own.mask.map(|i| operands[i]);
        let seen = mask.filter(|m| m.dtype() == DType::Bool).map(|m| m.broadcast_to(&shape));
        match (seen, mask) {
            (Some(seen), _) => scores = seen.select(scores, scores.lit(hidden)),
            (None, Some(mask)) => scores = scores + wide(mask),
            (None, None) => {}
        }
        if causal {
            let [row, column] = [last - 1, last].map(|axis| emitter.one(iota(DType::I64, shape.clone(), axis), &[]));
            scores = column.compare("le", row).select(scores, scores.lit(f64::NEG_INFINITY));
        }
        Scored { scores, slope, seen }
    }
}

pub(super) fn decompose_forward<'b, 'e>(emitter: &'b Emitter<'e>, op: &Op, operands: &[X<'b, 'e>]) -> Vec<X<'b, 'e>> {
    let last = operands[0].rank() - 1;
    let Scored { scores, .. } = Scored::new(emitter, op, operands);
    let reduced = emitter.apply(online_softmax(&[last]), &[scores]);
    let (max, sum) = (reduced[0], reduced[1]);
    // A query that sees nothing has infinity for the logarithm, and so no probabilities.
    let lse = max.compare("eq", max.lit(f64::NEG_INFINITY)).select(max.lit(f64::INFINITY), max + sum.log());
    let base = lse.compare("eq", lse.lit(f64::INFINITY)).select(lse, max);
    let sum = lse.compare("eq", lse.lit(f64::INFINITY)).select(max.lit(1.0), sum);
    let p = (scores - along_keys(base, scores)).exp() / along_keys(sum, scores);
    let y = product(p, last, wide(operands[2]), last - 1);
    vec![y.cast(operands[0].dtype()), lse]
}

pub(super) fn vjp_forward<'b, 'e>(a: &VjpArgs<'b, 'e>) -> Vec<Option<X<'b, 'e>>> {
    let own = layout(a.op, a.operands.len());
    let last = a.x(0).rank() - 1;
    let dy = a.dy(0);
    let mut delta = (wide(dy) * wide(a.y(0))).sum(&[last]);
    if let Some(dlse) = a.cotangents[1] {
        delta = delta - dlse;
    }
    let mut operands = a.operands.clone();
    operands.extend([a.y(1), delta, dy]);
    let function = ScoreFunction::of(a.op);
    let derived = |k: usize| {
        let function = function.as_ref()?;
        function.derivative(k).map_err(|error| a.emitter.fail(error)).ok()
    };
    let backward = match &function {
        None => attention_backward(Scores::of(a.op)),
        Some(_) => match derived(0) {
            Some(function) => flex_attention_backward(Scores::of(a.op), function),
            None => return vec![None; a.operands.len()],
        },
    };
    let mut cotangents: Vec<Option<X>> = a.emitter.apply(backward, &operands).iter().map(|&x| Some(x)).collect();
    let differentiable = |i: usize| a.wanted[i] && a.x(i).dtype().is_float();
    if !own.like_scores().any(differentiable) {
        cotangents.resize(a.operands.len(), None);
        return cotangents;
    }
    let Probabilities { p, dp, seen } = Probabilities::new(a.emitter, a.op, &operands[..], own.given.end..operands.len());
    let of_score = p * (dp - along_keys(delta, p));
    let of_score = seen.map_or(of_score, |seen| seen.select(of_score, of_score.lit(0.0)));
    let shape = of_score.shape();
    for i in own.like_scores() {
        cotangents.push(differentiable(i).then(|| {
            let x = a.x(i);
            let mut of_given = of_score;
            if own.mask != Some(i)
                && let Some(function) = derived(1 + i - own.given.start)
            {
                let product = product(wide(a.x(0)), last, wide(a.x(1)), last) * a.op.float("scale");
                let inputs: Vec<X> = std::iter::once(product).chain(a.operands[own.given.clone()].iter().copied()).collect();
                of_given = of_score * wide(elementwise(a.emitter, function.graph(), &inputs, &shape)[1]);
            }
            of_given.sum_to(&x.shape()).cast(x.dtype())
        }));
    }
    cotangents
}

/// The probabilities and their cotangents.
struct Probabilities<'b, 'e> {
    p: X<'b, 'e>,
    dp: X<'b, 'e>,
    seen: Option<X<'b, 'e>>,
}

impl<'b, 'e> Probabilities<'b, 'e> {
    /// From the operands of an attention, and those `behind` them of its derivative.
    fn new(emitter: &'b Emitter<'e>, op: &Op, operands: &[X<'b, 'e>], behind: std::ops::Range<usize>) -> Probabilities<'b, 'e> {
        let first = behind.start;
        let scored = Scored::new(emitter, op, if op.name().ends_with("backward") { operands } else { &operands[..first] });
        Probabilities::of(emitter, op, &scored, operands[2], &operands[behind])
    }

    fn of(
        emitter: &'b Emitter<'e>,
        op: &Op,
        scored: &Scored<'b, 'e>,
        v: X<'b, 'e>,
        behind: &[X<'b, 'e>],
    ) -> Probabilities<'b, 'e> {
        let Scored { scores, seen, .. } = *scored;
        let (lse, dy, last) = (behind[0], wide(behind[2]), scores.rank() - 1);
        let mut p = (scores - along_keys(lse, scores)).exp();
        let hidden = op.float("hidden");
        if let Some(seen) = seen.filter(|_| hidden.is_finite()) {
            // Near a number so large the logarithm of the sum has lost the count of the keys.
            let keys = extent_as(emitter, scores.shape()[last], scores.dtype());
            let unseen = lse.compare("lt", lse.lit(0.5 * hidden)).select(1.0 / keys, lse.lit(0.0));
            p = seen.select(p, along_keys(unseen, p));
        }
        Probabilities { p, dp: product(dy, last, wide(v), last), seen }
    }
}

pub(super) fn decompose_backward<'b, 'e>(emitter: &'b Emitter<'e>, op: &Op, operands: &[X<'b, 'e>]) -> Vec<X<'b, 'e>> {
    let own = layout(op, operands.len());
    let last = operands[0].rank() - 1;
    let [q, k] = [0, 1].map(|i| wide(operands[i]));
    let [delta, dy] = [operands[own.behind.start + 1], wide(operands[own.behind.start + 2])];
    let scored = Scored::new(emitter, op, operands);
    let Probabilities { p, dp, seen } = Probabilities::of(emitter, op, &scored, operands[2], &operands[own.behind]);
    let mut ds = p * (dp - along_keys(delta, p)) * op.float("scale");
    if let Some(slope) = scored.slope {
        ds = ds * slope;
    }
    if let Some(seen) = seen {
        ds = seen.select(ds, ds.lit(0.0));
    }
    let results = [product(ds, last, k, last - 1), product(ds, last - 1, q, last - 1), product(p, last - 1, dy, last - 1)];
    results.iter().enumerate().map(|(i, d)| d.cast(operands[i].dtype())).collect()
}

/// With a leading batch axis: on everything but what stretches to the scores of all examples.
pub(super) fn batched<'b, 'e>(a: &BatchArgs<'b, 'e>) -> Vec<X<'b, 'e>> {
    let stretches: Vec<usize> = layout(a.op, a.operands.len()).like_scores().collect();
    let operand = |k: usize| match stretches.contains(&k) && !a.batched[k] {
        true => a.operands[k].reshape(std::iter::once(Dim::ONE).chain(a.operands[k].shape()).collect::<Shape>()),
        false => a.batched(k),
    };
    let operands: Vec<X<'b, 'e>> = (0..a.operands.len()).map(operand).collect();
    a.emitter.apply(a.op.clone(), &operands).to_vec()
}

pub(super) fn flops_forward(op: &Op, operands: &[TensorType], results: &[TensorType]) -> Dim {
    flops(op, operands, results[0].elements() * operands[1].shape[operands[1].rank() - 2], 2)
}

pub(super) fn flops_backward(op: &Op, operands: &[TensorType], _: &[TensorType]) -> Dim {
    let rank = operands[0].rank();
    let dy = &operands[operands.len() - 1];
    flops(op, operands, dy.elements() * operands[1].shape[rank - 2], 5)
}

/// Operations of `products` of all queries with all keys, half of them alike in each width, of the exponentials, and of a function.
fn flops(op: &Op, operands: &[TensorType], wide: Dim, products: usize) -> Dim {
    let [q, k] = [&operands[0], &operands[1]];
    let keys = k.shape[k.rank() - 2];
    let narrow = q.elements() * keys;
    let of_function = ScoreFunction::of(op).map_or(0, |function| function.graph().len());
    let each = per_query(q).elements() * keys * (15 + of_function);
    let all = (narrow * products.div_ceil(2) + wide * (products / 2)) * 2usize + each;
    if op.bool("causal") { all.div_ceil(2) } else { all }
}
