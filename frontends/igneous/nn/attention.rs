//! Attention with several heads.

use super::dropout::Dropout;
use super::linear::Linear;
use super::visit::{Module, Visitor};
use super::{Forward, init};
use crate::location::{entered, here};
use crate::tensor::{Attention, Tensor, where_};
use igneous_ir::{DType, Dim, Error, Result};

/// Which keys queries do not see, with PyTorch's meanings. By default they see all.
#[derive(Clone, Default, Debug)]
pub struct AttentionMask {
    /// `[L, S]` or `[N · heads, L, S]`: bools that are true where a query does **not** see a key, or what is added to the scores
    /// (`attn_mask`, `src_mask`, `tgt_mask`).
    pub positions: Option<Tensor>,
    /// `[N, S]`, or `[S]` without a batch: bools that are true where a key is padding, which no query sees, or what is added
    /// to the scores (`key_padding_mask`).
    pub padding: Option<Tensor>,
    /// Whether a query sees only the keys up to its own position (`is_causal`, with the mask of
    /// `generate_square_subsequent_mask`).
    pub causal: bool,
}

/// Options of [`MultiheadAttention`], with PyTorch's defaults.
#[derive(Clone, Copy, Debug, Default)]
pub struct MultiheadAttentionOptions {
    /// The probability with which a weight of a value is zeroed in training; 0.
    pub dropout: f64,
    /// The features of keys; as many as of queries by default.
    pub kdim: Option<usize>,
    /// The features of values; as many as of queries by default.
    pub vdim: Option<usize>,
    /// Whether inputs are `[N, L, E]`; by default they are `[L, N, E]`.
    pub batch_first: bool,
}

/// Attention of several heads (`torch.nn.MultiheadAttention`): queries `[L, N, E]`, keys `[S, N, kdim]` and values
/// `[S, N, vdim]`, or `[N, L, E]` and so on with `batch_first`, or without the batch axis. Vaswani et al. 2017,
/// arXiv:1706.03762.
///
/// ```
/// use igneous::nn::{AttentionMask, MultiheadAttention, MultiheadAttentionOptions};
/// use igneous::{Tensor, default};
///
/// let attention = MultiheadAttention::with(8, 2, MultiheadAttentionOptions { batch_first: true, ..default() });
/// let x = Tensor::randn((3, 5, 8));
/// let (y, weights) = attention.forward_with_weights(&x, &x, &x, &AttentionMask { causal: true, ..default() });
/// assert_eq!(y.shape(), x.shape());
/// assert_eq!(weights.i((0, 0)).to_vec::<f32>()?, [1.0, 0.0, 0.0, 0.0, 0.0]);
/// # Ok::<(), igneous::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MultiheadAttention {
    /// The matrices that queries, keys and values are multiplied by.
    pub projections: Projections,
    /// `[3 · E]`, zeros at first; none without bias.
    pub in_proj_bias: Option<Tensor>,
    /// What the heads' results pass through together.
    pub out_proj: Linear,
    /// Dropout of the weights.
    pub dropout: Dropout,
    /// How many heads there are.
    pub heads: usize,
    /// Whether inputs are `[N, L, E]`.
    pub batch_first: bool,
}

/// The matrices that queries, keys and values are multiplied by; uniform in `±√(6 / (in + out))` at first.
#[derive(Clone, Debug)]
pub enum Projections {
    /// One of `[3 · E, E]`, where all have as many features.
    Together(Tensor),
    /// `[E, E]`, `[E, kdim]` and `[E, vdim]`.
    Apart([Tensor; 3]),
}

impl MultiheadAttention {
    /// So many features in so many heads.
    #[track_caller]
    pub fn new(features: usize, heads: usize) -> MultiheadAttention {
        MultiheadAttention::with(features, heads, MultiheadAttentionOptions::default())
    }

    /// With options. If `heads` does not divide the features, all parameters are invalid.
    #[track_caller]
    pub fn with(features: usize, heads: usize, options: MultiheadAttentionOptions) -> MultiheadAttention {
        let MultiheadAttentionOptions { dropout, kdim, vdim, batch_first } = options;
        let dropout = Dropout::new(dropout);
        if heads == 0 || !features.is_multiple_of(heads) {
            let error = Error::new(format!("MultiheadAttention needs features that its heads divide, not {features} in {heads}"));
            let invalid = Tensor::from(error.at(here()));
            let out_proj = Linear { weight: invalid.clone(), bias: None };
            return MultiheadAttention {
                projections: Projections::Together(invalid),
                in_proj_bias: None,
                out_proj,
                dropout,
                heads,
                batch_first,
            };
        }
        let drawn = |rows: usize, columns: usize| Tensor::parameter(init::xavier_uniform(&[rows, columns]));
        let (keys, values) = (kdim.unwrap_or(features), vdim.unwrap_or(features));
        let projections = if keys == features && values == features {
            Projections::Together(drawn(features.saturating_mul(3), features))
        } else {
            Projections::Apart([drawn(features, features), drawn(features, keys), drawn(features, values)])
        };
        let zeros = |count: usize| Some(Tensor::parameter(Tensor::zeros(count)));
        let weight = Tensor::parameter(init::default_weight(&[features, features]));
        let out_proj = Linear { weight, bias: zeros(features) };
        let in_proj_bias = zeros(features.saturating_mul(3));
        MultiheadAttention { projections, in_proj_bias, out_proj, dropout, heads, batch_first }
    }

    /// The same without biases (`bias=False`).
    #[must_use]
    pub fn without_bias(self) -> MultiheadAttention {
        MultiheadAttention { in_proj_bias: None, out_proj: self.out_proj.without_bias(), ..self }
    }

    /// What each query gets from the values, without the weights (`need_weights=False`): nothing of the size `[L, S]` is stored.
    #[track_caller]
    pub fn forward(&self, query: &Tensor, key: &Tensor, value: &Tensor, mask: &AttentionMask) -> Tensor {
        let user = entered();
        let made = self.operands(query, key, value, mask).map(|operands| {
            let dropout = if self.dropout.mode.is_training() { self.dropout.p } else { 0.0 };
            let Operands { q, k, v, mask, .. } = &operands;
            let attention = Attention { mask: mask.clone(), causal: operands.causal, dropout, ..Attention::default() };
            self.joined(&operands, q.scaled_dot_product_attention(k, v, &attention))
        });
        made.unwrap_or_else(|error| error.at(user.loc()).into())
    }

    /// The same and the weights `[N, L, S]`, the means over the heads (`need_weights=True`).
    #[track_caller]
    pub fn forward_with_weights(&self, query: &Tensor, key: &Tensor, value: &Tensor, mask: &AttentionMask) -> (Tensor, Tensor) {
        let (y, weights) = self.forward_with_head_weights(query, key, value, mask);
        (y, weights.mean(-3))
    }

    /// The same and the weights of each head `[N, heads, L, S]` (`average_attn_weights=False`).
    #[track_caller]
    pub fn forward_with_head_weights(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        mask: &AttentionMask,
    ) -> (Tensor, Tensor) {
        let user = entered();
        let made = self.operands(query, key, value, mask).map(|operands| {
            let weights = self.dropout.forward(&operands.weights());
            let y = self.joined(&operands, weights.matmul(&operands.v));
            (y, if operands.single { weights.squeeze(0) } else { weights })
        });
        made.unwrap_or_else(|error| {
            let invalid = Tensor::from(error.at(user.loc()));
            (invalid.clone(), invalid)
        })
    }

    #[track_caller]
    fn operands(&self, query: &Tensor, key: &Tensor, value: &Tensor, mask: &AttentionMask) -> Result<Operands> {
        let error = |what: &str| {
            let error = Error::new(format!("MultiheadAttention {what}"));
            error.note("queries", query.describe()).note("keys", key.describe()).note("values", value.describe())
        };
        let ranks = [query.ty()?.rank(), key.ty()?.rank(), value.ty()?.rank()];
        let single = ranks == [2; 3];
        if !single && ranks != [3; 3] {
            return Err(error("needs queries, keys and values with three axes, or with two and no batch"));
        }
        let batched = |x: &Tensor| match (single, self.batch_first) {
            (true, _) => x.unsqueeze(0),
            (false, true) => x.clone(),
            (false, false) => x.transpose(0, 1),
        };
        let [query, key, value] = self.projected(query, key, value);
        let [q, k, v] = [batched(&query), batched(&key), batched(&value)];
        q.check()?;
        k.check()?;
        v.check()?;
        let [n, l, features] = q.dims();
        let s = k.size(1);
        if k.size(0) != n || v.size(0) != n || v.size(1) != s {
            return Err(error("needs one batch, and as many keys as values"));
        }
        let heads = Dim::from(self.heads);
        let width = features.div_floor(heads);
        let split = |x: &Tensor| x.reshape((x.size(0), x.size(1), heads, width)).transpose(1, 2);
        let (mask, causal) = self.mask(mask, [n, l, s], &q)?;
        Ok(Operands { q: split(&q), k: split(&k), v: split(&v), mask, causal, single })
    }

    /// Queries, keys and values times their matrices.
    #[track_caller]
    fn projected(&self, query: &Tensor, key: &Tensor, value: &Tensor) -> [Tensor; 3] {
        let features = self.out_proj.weight.size(0);
        let place = |i: usize| features * i;
        let bias = |i: usize| self.in_proj_bias.as_ref().map(|bias| bias.narrow(0, place(i), features));
        match &self.projections {
            Projections::Together(weight) if query.same(key) && key.same(value) => {
                let all = query.linear(weight, self.in_proj_bias.as_ref());
                [0, 1, 2].map(|i| all.narrow(-1, place(i), features))
            }
            Projections::Together(weight) => {
                let part = |i: usize, x: &Tensor| x.linear(&weight.narrow(0, place(i), features), bias(i).as_ref());
                [part(0, query), part(1, key), part(2, value)]
            }
            Projections::Apart([q, k, v]) => {
                [query.linear(q, bias(0).as_ref()), key.linear(k, bias(1).as_ref()), value.linear(v, bias(2).as_ref())]
            }
        }
    }

    /// The masks as one, `[N, heads, L, S]` or less: bools that are true where a query sees a key, or what is added to scores;
    /// and whether attention is causal without a mask.
    #[track_caller]
    fn mask(&self, given: &AttentionMask, [n, l, s]: [Dim; 3], q: &Tensor) -> Result<(Option<Tensor>, bool)> {
        let mut masks = Vec::new();
        if let Some(mask) = &given.positions {
            let shape = mask.ty()?.shape;
            let full = [n * self.heads, l, s];
            if shape[..] == [l, s] {
                masks.push(mask.clone());
            } else if shape[..] == full {
                masks.push(mask.reshape((n, Dim::from(self.heads), l, s)));
            } else {
                let error = Error::new("MultiheadAttention needs a mask of positions [L, S] or [N · heads, L, S]");
                return Err(error.note("mask", mask.describe()).note("queries", l).note("keys", s));
            }
        }
        if let Some(mask) = &given.padding {
            let shape = mask.ty()?.shape;
            let alone = shape[..] == [s] && n == Dim::ONE;
            if !alone && shape[..] != [n, s] {
                let error = Error::new("MultiheadAttention needs a mask of padding [N, S]");
                return Err(error.note("mask", mask.describe()).note("keys", s));
            }
            masks.push(mask.reshape((n, Dim::ONE, Dim::ONE, s)));
        }
        if masks.is_empty() {
            return Ok((None, given.causal));
        }
        if let Some(mask) = masks.iter().find(|mask| mask.dtype() != DType::Bool && !mask.dtype().is_float()) {
            return Err(Error::new("MultiheadAttention needs masks of bools or floats").note("mask", mask.describe()));
        }
        if given.causal {
            let rows = Tensor::arange(0, l).unsqueeze(1);
            masks.push(Tensor::arange(0, s).unsqueeze(0).gt(rows));
        }
        if masks.iter().all(|mask| mask.dtype() == DType::Bool) {
            let hidden = masks.into_iter().reduce(|a, b| a | b).expect("there is a mask");
            return Ok((Some(hidden.logical_not()), false));
        }
        let zero = Tensor::scalar(0.0).to_dtype(q.dtype());
        let added = |mask: Tensor| match mask.dtype() {
            DType::Bool => where_(&mask, f64::NEG_INFINITY, &zero),
            _ => mask.to_dtype(q.dtype()),
        };
        Ok((masks.into_iter().map(added).reduce(|a, b| a + b), false))
    }

    /// The heads' results `[N, heads, L, D]` side by side, through the last layer, laid out as the inputs.
    #[track_caller]
    fn joined(&self, operands: &Operands, y: Tensor) -> Tensor {
        let [n, heads, l, width] = y.dims();
        let y = self.out_proj.forward(&y.transpose(1, 2).reshape((n, l, heads * width)));
        match (operands.single, self.batch_first) {
            (true, _) => y.squeeze(0),
            (false, true) => y,
            (false, false) => y.transpose(0, 1),
        }
    }
}

/// Queries, keys and values of each head, `[N, heads, L, D]`.
struct Operands {
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Option<Tensor>,
    causal: bool,
    /// Whether the inputs came without a batch axis.
    single: bool,
}

impl Operands {
    /// How much each query takes of each value.
    #[track_caller]
    fn weights(&self) -> Tensor {
        let width = self.q.size(-1).get().unwrap_or(1).max(1);
        let mut scores = self.q.matmul(&self.k.transpose(-1, -2)) * (1.0 / (width as f64).sqrt());
        if self.causal {
            let seen = Tensor::ones((self.q.size(-2), self.k.size(-2))).tril(0).gt(0.0);
            scores = scores.where_(&seen, f64::NEG_INFINITY);
        }
        match &self.mask {
            Some(mask) if mask.dtype() == DType::Bool => scores.where_(mask, f64::NEG_INFINITY),
            Some(mask) => scores + mask,
            None => scores,
        }
        .softmax(-1)
    }
}

impl Module for MultiheadAttention {
    fn visit(&self, visitor: &mut dyn Visitor) {
        match &self.projections {
            Projections::Together(weight) => visitor.child("in_proj_weight", weight),
            Projections::Apart([q, k, v]) => {
                visitor.child("q_proj_weight", q);
                visitor.child("k_proj_weight", k);
                visitor.child("v_proj_weight", v);
            }
        }
        visitor.child("in_proj_bias", &self.in_proj_bias);
        visitor.child("out_proj", &self.out_proj);
        visitor.child("dropout", &self.dropout);
    }
}
