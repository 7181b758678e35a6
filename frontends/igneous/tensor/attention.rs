//! Attention.

use super::Tensor;
use super::loss::probability;
use super::promote::promote;
use super::score::ScoreMod;
use crate::apply::try_apply;
use crate::location::here;
use igneous_ir::ops::{ScoreFunction, Scores};
use igneous_ir::{DType, Dim, Error, Loc, Result, Shape, TensorType, ops};

/// Options of [`scaled_dot_product_attention`](Tensor::scaled_dot_product_attention), with PyTorch's defaults.
#[derive(Clone, Default, Debug)]
pub struct Attention {
    /// Which keys a query sees, as bools, or what is added to the scores; broadcast to `[…, T, S]`. Default: all.
    pub mask: Option<Tensor>,
    /// Whether a query sees only the keys up to its own position, counted from the first. Not together with a mask. Default: no.
    pub causal: bool,
    /// What products of queries and keys are multiplied with. Default `1 / √D`.
    pub scale: Option<f64>,
    /// What becomes of the scaled products of queries and keys, before masks are applied. Default: the scores.
    pub score_mod: Option<ScoreMod>,
    /// The probability with which a weight of a value is zeroed. Default 0.
    pub dropout: f64,
    /// Whether several heads of queries, next to each other on axis -3, share one of keys and values (`enable_gqa`). Default: no.
    pub grouped: bool,
}

impl Tensor {
    /// `softmax(scale · query keyᵀ) value` (`torch.nn.functional.scaled_dot_product_attention`), where `self` are the queries
    /// `[…, T, D]`, `key` is `[…, S, D]` and `value` `[…, S, E]`; leading axes broadcast. The result is `[…, T, E]`. Without dropout
    /// nothing of the size `[T, S]` is stored, in the derivative neither. A query that sees no key has zeros.
    ///
    /// ```
    /// use igneous::{Attention, Tensor, default};
    /// let (q, k, v) = (Tensor::ones((2, 4, 8)), Tensor::ones((2, 4, 8)), Tensor::arange(0, 4).reshape((4, 1)).expand((2, 4, 1)));
    /// let y = q.scaled_dot_product_attention(&k, &v, &Attention { causal: true, ..default() });
    /// assert_eq!(y.i(0).to_f64_vec()?, [0.0, 0.5, 1.0, 1.5]);
    /// # Ok::<(), igneous::Error>(())
    /// ```
    #[track_caller]
    pub fn scaled_dot_product_attention(&self, key: &Tensor, value: &Tensor, options: &Attention) -> Tensor {
        let loc = here();
        let operands = match Operands::new([self, key, value], options, loc) {
            Ok(operands) => operands,
            Err(error) => return error.at(loc).into(),
        };
        let heads = operands.heads;
        let result = if options.dropout > 0.0 {
            operands.with_dropout(options.dropout)
        } else {
            operands.fused(loc).unwrap_or_else(|error| error.at(loc).into())
        };
        match heads {
            None => result,
            Some(heads) => {
                let shape = result.shape();
                let Some(lead) = shape.len().checked_sub(4) else { return result };
                let shape: Shape =
                    shape[..lead].iter().copied().chain([heads]).chain(shape[lead + 2..].iter().copied()).collect();
                result.reshape(&shape[..])
            }
        }
    }
}

/// Queries, keys and values with equal leading axes, and a mask with as many axes.
struct Operands {
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Option<Tensor>,
    scores: Scores,
    /// A function of the scores, and what it is given, with as many axes.
    function: Option<(ScoreFunction, Vec<Tensor>)>,
    score_mod: Option<ScoreMod>,
    /// The heads that the result has on the axes -4 and -3 together.
    heads: Option<Dim>,
}

impl Operands {
    #[track_caller]
    fn new([q, k, v]: [&Tensor; 3], options: &Attention, loc: Loc) -> Result<Operands> {
        let error = |message: &str| {
            let error = Error::new(format!("attention {message}"));
            let error = error.note("queries", q.describe()).note("keys", k.describe()).note("values", v.describe());
            options.mask.iter().fold(error, |error, mask| error.note("mask", mask.describe()))
        };
        probability(options.dropout)?;
        let mut shapes = Vec::new();
        for x in [q, k, v] {
            shapes.push(x.ty()?.shape);
        }
        if shapes.iter().any(|s| s.len() < 2) {
            return Err(error("needs queries, keys and values with at least 2 axes"));
        }
        if options.causal && options.mask.is_some() {
            return Err(error("takes a mask or is causal, not both"));
        }
        if options.scale.is_some_and(|s| !s.is_finite()) {
            return Err(error("needs a scale that is a finite number"));
        }
        let dtype = promote(promote(q.dtype(), k.dtype()), v.dtype());
        let dtype = if dtype.is_float() { dtype } else { DType::F32 };
        let [mut q, mut k, mut v] = [q, k, v].map(|x| x.to_dtype(dtype));
        let mut mask = options.mask.clone();
        if let Some(m) = &mask {
            let shape = m.ty()?.shape;
            if shape.len() > shapes[0].len() {
                return Err(error("needs a mask with no more axes than the queries"));
            }
            if m.dtype() != DType::Bool && !m.dtype().is_float() {
                return Err(error("needs a mask of bools or floats"));
            }
            let units = std::iter::repeat_n(Dim::ONE, shapes[0].len() - shape.len());
            let full: Shape = units.chain(shape).collect();
            let m = m.reshape(&full[..]);
            mask = Some(if m.dtype() == DType::Bool { m } else { m.to_dtype(dtype) });
        }
        let mut heads = None;
        let mut function = None;
        if let Some(score_mod) = options.score_mod.as_ref().filter(|_| options.dropout == 0.0) {
            let tail = if options.grouped { 3 } else { 2 };
            let lead = |s: &Shape| Shape::from(&s[..s.len().saturating_sub(tail)]);
            let batch = ops::broadcast_shapes(&lead(&shapes[0]), &lead(&shapes[1]))
                .and_then(|batch| ops::broadcast_shapes(&batch, &lead(&shapes[2])));
            let batch = batch.map_err(|_| error("needs leading axes that broadcast"))?;
            let heads = shapes[0].iter().rev().skip(2).take(tail - 2).copied();
            let positions = [0, 1].map(|k| shapes[k][shapes[k].len() - 2]);
            let shape = batch.into_iter().chain(heads).chain(positions).collect();
            function = Some(score_mod.traced(TensorType { dtype: dtype.compute(), shape }, loc)?);
        }
        if options.grouped {
            let head = |s: &Shape| s.len().checked_sub(3).map(|axis| s[axis]);
            let (Some(of_q), Some(of_k)) = (head(&shapes[0]), head(&shapes[1])) else {
                return Err(error("in groups needs heads on axis -3"));
            };
            let (of_q, of_k) = (of_q.get()?, of_k.get()?);
            if of_k == 0 || of_q % of_k != 0 {
                return Err(error("in groups needs a multiple of the keys' heads as heads of the queries"));
            }
            let group = of_q / of_k;
            heads = Some(Dim::from(of_q));
            q = split_heads(&q, of_k, group);
            (k, v) = (k.unsqueeze(-3), v.unsqueeze(-3));
            let split = |m: Tensor| if m.size(-3) == Dim::ONE { m.unsqueeze(-3) } else { split_heads(&m, of_k, group) };
            mask = mask.map(split);
            function = function.map(|(function, given)| (function, given.into_iter().map(split).collect()));
        }
        let shape = |x: &Tensor| x.ty().map(|ty| ty.shape);
        let lead = |s: &Shape| Shape::from(&s[..s.len() - 2]);
        let (s, t, u) = (shape(&q)?, shape(&k)?, shape(&v)?);
        let batch = ops::broadcast_shapes(&lead(&s), &lead(&t)).and_then(|b| ops::broadcast_shapes(&b, &lead(&u)));
        let batch = batch.map_err(|_| error("needs leading axes that broadcast"))?;
        let full = |s: &Shape| batch.iter().copied().chain(s[s.len() - 2..].iter().copied()).collect::<Shape>();
        let features = s[s.len() - 1];
        let scale = match (options.scale, features.as_const()) {
            (Some(scale), _) => scale,
            (None, Some(n)) => 1.0 / (n.max(1) as f64).sqrt(),
            (None, None) => {
                q = &q / Tensor::full(1, features).to_dtype(dtype).sqrt();
                1.0
            }
        };
        let [q, k, v] = [(&q, &s), (&k, &t), (&v, &u)].map(|(x, s)| x.broadcast_to(&full(s)[..]));
        let raised = |m: Tensor| {
            let missing = q.rank().saturating_sub(m.rank());
            let shape: Shape = std::iter::repeat_n(Dim::ONE, missing).chain(m.shape()).collect();
            m.reshape(&shape[..])
        };
        let mask = mask.map(raised);
        let function = function.map(|(function, given)| (function, given.into_iter().map(raised).collect()));
        let scores = Scores { scale, causal: options.causal, hidden: f64::NEG_INFINITY };
        Ok(Operands { q, k, v, mask, scores, function, score_mod: options.score_mod.clone(), heads })
    }

    /// Attention as one operator.
    fn fused(&self, loc: Loc) -> Result<Tensor> {
        let Operands { q, k, v, mask, scores, function, .. } = self;
        let inputs = [q, k, v].into_iter().chain(mask);
        let mut results = match function {
            None => try_apply(ops::attention(*scores), &inputs.collect::<Vec<_>>(), loc)?,
            Some((function, given)) => {
                try_apply(ops::flex_attention(*scores, function.clone()), &inputs.chain(given).collect::<Vec<_>>(), loc)?
            }
        };
        Ok(results.remove(0))
    }

    /// A function of scores whose heads may be on two axes.
    #[track_caller]
    fn modified(&self, score_mod: &ScoreMod, scores: &Tensor) -> Tensor {
        let own = scores.shape();
        let together = match (self.heads, own.len().checked_sub(4)) {
            (Some(heads), Some(axis)) => {
                own[..axis].iter().copied().chain([heads]).chain(own[axis + 2..].iter().copied()).collect()
            }
            _ => own.clone(),
        };
        let wide = scores.reshape(&together[..]).to_dtype(scores.dtype().compute());
        score_mod.apply(&wide).to_dtype(scores.dtype()).reshape(&own[..])
    }

    /// Attention of which some weights are dropped, operator by operator.
    #[track_caller]
    fn with_dropout(&self, p: f64) -> Tensor {
        let mut scores = self.q.matmul(&self.k.transpose(-1, -2)) * self.scores.scale;
        if let Some(score_mod) = &self.score_mod {
            scores = self.modified(score_mod, &scores);
        }
        if let Some(mask) = &self.mask {
            scores = match mask.dtype() {
                DType::Bool => scores.where_(mask, f64::NEG_INFINITY),
                _ => scores + mask,
            };
        }
        if self.scores.causal {
            let seen = Tensor::ones((self.q.size(-2), self.k.size(-2))).tril(0).gt(0.0);
            scores = scores.where_(&seen, f64::NEG_INFINITY);
        }
        scores.softmax(-1).dropout(p).matmul(&self.v)
    }
}

/// `[…, h·g, a, b]` as `[…, h, g, a, b]`.
#[track_caller]
fn split_heads(x: &Tensor, heads: usize, group: usize) -> Tensor {
    let shape = x.shape();
    let axis = shape.len().saturating_sub(3);
    let split = [Dim::from(heads), Dim::from(group)];
    let shape: Shape = shape[..axis].iter().copied().chain(split).chain(shape[axis + 1..].iter().copied()).collect();
    x.reshape(&shape[..])
}
