//! `attention`: scaled dot-product attention, and its derivative. The same with a function of the scores is in `flex`; what they have
//! in common lies in the files beside that.

mod flex;
mod reference;
mod rules;
mod score;
mod spelled;

pub use flex::*;
pub use score::{ScoreFunction, elementwise, is_pointwise};
pub use spelled::{SpelledScore, uniform};

use super::normal;
use crate::op::*;
use crate::types::{DType, TensorType};
use reference::{reference_backward, reference_forward};
use rules::*;
use std::ops::Range;

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

/// Where the operands of an attention are, or of its derivative, that not all of these have. The queries, keys and values are the first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttentionOperands {
    /// A mask.
    pub mask: Option<usize>,
    /// What a function of the scores is given besides them.
    pub given: Range<usize>,
    /// In the derivative: the logarithm of the sums, what is taken off the cotangents of the probabilities, and the cotangent of the
    /// result.
    pub behind: Range<usize>,
}

impl AttentionOperands {
    /// Those of an attention or its derivative with so many operands; none if `op` is neither.
    pub fn of(op: &Op, count: usize) -> Option<AttentionOperands> {
        let (flexible, behind) = match op.name() {
            "attention" => (false, 0),
            "flex_attention" => (true, 0),
            "attention_backward" => (false, 3),
            "flex_attention_backward" => (true, 3),
            _ => return None,
        };
        let given = if flexible { op.region("score").graph().inputs().len().saturating_sub(1) } else { 0 };
        let masked = count > 3 + given + behind;
        let first = 3 + usize::from(masked);
        Some(AttentionOperands {
            mask: masked.then_some(3),
            given: first..first + given,
            behind: first + given..first + given + behind,
        })
    }

    /// All that stretches to the scores.
    pub fn like_scores(&self) -> impl Iterator<Item = usize> {
        self.mask.into_iter().chain(self.given.clone())
    }
}

const ATTRS: &[(&str, AttrKind)] = &[("scale", AttrKind::Float), ("causal", AttrKind::Bool), ("hidden", AttrKind::Float)];

/// `softmax(scale · q kᵀ) v`. Operands: queries `[…, T, D]`, keys `[…, S, D]`, values `[…, S, E]` and, if wanted, a mask that is one
/// with or stretches to `[…, T, S]`: bools (whether a query sees a key), or numbers that are added to the scores. Results: `[…, T, E]`,
/// and the logarithm of the sum of the exponentials of the scores, `[…, T]` (in `f32` for half types), which the derivative uses.
/// A query that sees no key has zeros, and plus infinity for that logarithm, so that all its probabilities are zero.
/// Vaswani et al. 2017, arXiv:1706.03762; computed as in Dao et al. 2022, arXiv:2205.14135.
pub fn attention(scores: Scores) -> Op {
    Op::new(&ATTENTION, scores.attrs())
}

/// See [`attention()`].
pub static ATTENTION: Record = Record {
    name: "attention",
    attrs: ATTRS,
    infer: infer_forward,
    reference: reference_forward,
    lowering: Lowering::Composite(decompose_forward),
    vjp: Vjp::Rule(vjp_forward),
    jvp: Jvp::FromVjp,
    batch: Batch::Rule(batched),
    flops: flops_forward,
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
        // Some queries see nothing.
        s.add(attention(plain), with_mask(TensorType::new(DType::Bool, [2, 2, 3, 1]), Fill::Range(0, 2)));
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
    infer: infer_backward,
    reference: reference_backward,
    lowering: Lowering::Composite(decompose_backward),
    vjp: Vjp::Decomposition,
    jvp: Jvp::FromVjp,
    batch: Batch::Rule(batched),
    flops: flops_backward,
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
