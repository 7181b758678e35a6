//! Activation functions from their spellings.

use crate::egraph::rule::Rule;
use crate::rule;

pub(super) fn rules() -> Vec<Rule> {
    vec![
        rule!("sigmoid/reciprocal" [Reassociate]: reciprocal(exp(-x) + 1.0) => sigmoid(x); on "x: f32[5]"),
        rule!("sigmoid/quotient" [Reassociate]: y / (exp(-x) + 1.0) => y * sigmoid(x); on "x: f32[5], y: f32[5]"),
        rule!("sigmoid/exp-quotient" [Reassociate]: exp(x) / (exp(x) + 1.0) => sigmoid(x); on "x: f32[5]"),
        rule!("sigmoid/tanh" [Reassociate]: (tanh(x * 0.5) + 1.0) * 0.5 => sigmoid(x); on "x: f32[5]"),
        rule!("silu/product" [Reassociate]: x * sigmoid(x) => silu(x); on "x: f32[5]"),
        rule!("softplus/log1p-exp" [Reassociate]: log1p(exp(x)) => softplus(x); on "x: f32[5]"),
        rule!("softplus/stable" [Reassociate]: maximum(x, 0.0) + softplus(-abs(x)) => softplus(x); on "x: f32[5]"),
        rule!("softplus/stable-relu" [Reassociate]: relu(x) + softplus(-abs(x)) => softplus(x); on "x: f32[5]"),
        rule!("softplus/logistic-loss" [Reassociate]: (maximum(x, 0.0) - y) + softplus(-abs(x)) => softplus(x) - y;
            on "x: f32[5], y: f32[5]"),
        rule!("softplus/logistic-loss-relu" [Reassociate]: (relu(x) - y) + softplus(-abs(x)) => softplus(x) - y;
            on "x: f32[5], y: f32[5]"),
        rule!("softplus/log-sigmoid" [Reassociate]: log(sigmoid(x)) => -softplus(-x); on "x: f32[5]"),
        rule!("gelu/erf" [Reassociate]: (x * (erf(x * 0.7071067811865476) + 1.0)) * 0.5 => gelu[none](x); on "x: f32[5]", "x: f64[5]"),
        rule!("gelu/tanh" [Reassociate]:
            (x * (tanh((x + (square(x) * x) * 0.044715) * 0.7978845608028654) + 1.0)) * 0.5 => gelu[tanh](x);
            on "x: f32[5]", "x: f64[5]"),
        rule!("gelu/tanh-factored" [Reassociate]:
            (x * (tanh((x * (square(x) * 0.044715 + 1.0)) * 0.7978845608028654) + 1.0)) * 0.5 => gelu[tanh](x);
            on "x: f32[5]"),
    ]
}
