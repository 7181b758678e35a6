//! `flex_attention`: attention with a function of the scores, and its derivative.

use super::rules::*;
use super::{ATTRS, ScoreFunction, Scores, inputs, reference_backward, reference_forward};
use crate::graph::Graph;
use crate::op::*;
use crate::ops::composite::normal;
use crate::types::{DType, TensorType};

const FLEX_ATTRS: &[(&str, AttrKind)] = &[ATTRS[0], ATTRS[1], ATTRS[2], ("score", AttrKind::Region)];

/// `softmax(f(scale · q kᵀ, …)) v` with a pointwise function `f` of the scores, as PyTorch's `flex_attention` has it. Operands: those of
/// [`attention()`](super::attention()), then what the function is given besides a score, each one with or stretching to `[…, T, S]`.
/// Masks are applied behind the function. Results as there. Dong et al. 2024, arXiv:2412.05496.
pub fn flex_attention(scores: Scores, function: ScoreFunction) -> Op {
    Op::new(&FLEX_ATTENTION, scores.attrs().into_iter().chain([function.attr()]))
}

/// See [`flex_attention()`].
pub static FLEX_ATTENTION: Record = Record {
    name: "flex_attention",
    attrs: FLEX_ATTRS,
    infer: infer_forward,
    reference: reference_forward,
    lowering: Lowering::Composite(decompose_forward),
    vjp: Vjp::Rule(vjp_forward),
    jvp: Jvp::FromVjp,
    batch: Batch::Rule(batched),
    flops: flops_forward,
    samples: |s| {
        let plain = Scores { scale: 0.5, causal: false, hidden: f64::NEG_INFINITY };
        for dtype in [DType::F32, DType::BF16, DType::F64] {
            let function = sample(SOFT_CAPPED, dtype);
            s.add(flex_attention(plain, function.clone()), inputs(dtype, &[2, 2], [3, 5, 4, 2]));
            s.add(flex_attention(Scores { causal: true, ..plain }, function), inputs(dtype, &[], [17, 40, 9, 10]));
        }
        let given = |mask: Option<(TensorType, Fill)>| {
            let operands = inputs(DType::F32, &[2, 2], [3, 5, 4, 2]).into_iter().chain(mask);
            operands.chain([normal(DType::F32, [1, 2, 1, 1]), (TensorType::new(DType::I64, [2, 1, 3, 5]), Fill::Range(0, 4))])
        };
        let seen = (TensorType::new(DType::Bool, [2, 1, 3, 5]), Fill::Range(0, 2));
        s.add(flex_attention(plain, sample(SLOPES, DType::F32)), given(None));
        s.add(flex_attention(Scores { hidden: -1e4, ..plain }, sample(SLOPES, DType::F32)), given(Some(seen)));
        s.add(flex_attention(plain, sample(SLOPES, DType::F32)), given(Some(normal(DType::F32, [1, 1, 3, 1]))));
    },
    error_samples: |s| {
        let plain = Scores { scale: 0.5, causal: false, hidden: f64::NEG_INFINITY };
        let qkv = || inputs(DType::F32, &[2], [3, 5, 4, 2]).into_iter();
        s.add(flex_attention(plain, sample(SOFT_CAPPED, DType::F64)), qkv());
        s.add(flex_attention(plain, sample(SLOPES, DType::F32)), qkv());
        let wide = [normal(DType::F32, [2, 3, 4]), (TensorType::new(DType::I64, [2, 1, 1]), Fill::Range(0, 4))];
        s.add(flex_attention(plain, sample(SLOPES, DType::F32)), qkv().chain(wide));
        let two = "graph two(%s: f32[]) -> (f32[], f32[]) { return %s, %s }";
        s.add(flex_attention(plain, sample(two, DType::F32)), qkv());
        let shaped = "graph shaped(%s: f32[]) -> (f32[]) { %r = reshape {shape=[]}(%s) return %r }";
        s.add(flex_attention(plain, sample(shaped, DType::F32)), qkv());
    },
};

/// The derivative of [`flex_attention()`]; the function gives the score, then its slope by the scaled product. Operands and results as
/// those of [`attention_backward()`](super::attention_backward()), with what the function is given behind the mask.
pub fn flex_attention_backward(scores: Scores, function: ScoreFunction) -> Op {
    Op::new(&FLEX_ATTENTION_BACKWARD, scores.attrs().into_iter().chain([function.attr()]))
}

/// See [`flex_attention_backward()`].
pub static FLEX_ATTENTION_BACKWARD: Record = Record {
    name: "flex_attention_backward",
    attrs: FLEX_ATTRS,
    infer: infer_backward,
    reference: reference_backward,
    lowering: Lowering::Composite(decompose_backward),
    vjp: Vjp::Decomposition,
    jvp: Jvp::FromVjp,
    batch: Batch::Rule(batched),
    flops: flops_backward,
    samples: |s| {
        let plain = Scores { scale: 0.5, causal: false, hidden: f64::NEG_INFINITY };
        for dtype in [DType::F32, DType::F16, DType::F64] {
            let function = sample(SOFT_CAPPED, dtype).derivative(0).expect("it has a derivative");
            let of = |dtype: DType, shape: &[usize]| (TensorType::new(dtype, shape.iter().copied()), Fill::Uniform(1.0, 2.0));
            let behind = [of(dtype.compute(), &[2, 3]), of(dtype.compute(), &[2, 3]), of(dtype, &[2, 3, 2])];
            let operands = inputs(dtype, &[2], [3, 5, 4, 2]).into_iter().chain(behind);
            s.add(flex_attention_backward(Scores { causal: true, ..plain }, function), operands);
        }
    },
    error_samples: |s| {
        let plain = Scores { scale: 0.5, causal: false, hidden: f64::NEG_INFINITY };
        let behind = [normal(DType::F32, [2, 3]), normal(DType::F32, [2, 3]), normal(DType::F32, [2, 3, 2])];
        let operands = inputs(DType::F32, &[2], [3, 5, 4, 2]).into_iter().chain(behind);
        s.add(flex_attention_backward(plain, sample(SOFT_CAPPED, DType::F32)), operands);
    },
};

/// `3 tanh(s / 3)`, as Gemma 2 bounds scores. Gemma Team 2024, arXiv:2408.00118.
const SOFT_CAPPED: &str = "graph soft_capped(%s: f32[]) -> (f32[]) {
    %c = constant {value=f32[] [3]}() %a = div(%s, %c) %b = tanh(%a) %d = mul(%b, %c) return %d }";

/// `s · sigmoid(s · m) + n`, with numbers from outside.
const SLOPES: &str = "graph slopes(%s: f32[], %m: f32[], %n: i64[]) -> (f32[]) {
    %a = mul(%s, %m) %b = sigmoid(%a) %c = mul(%b, %s) %d = cast {dtype=f32}(%n) %e = add(%c, %d) return %e }";

/// The function of a text for `f32`, for scores of what a type is computed in.
fn sample(text: &str, dtype: DType) -> ScoreFunction {
    let text = text.replace("f32", &dtype.compute().to_string());
    ScoreFunction::new(Graph::parse(&text).expect("a sample can be read"))
}
