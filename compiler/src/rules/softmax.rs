//! Softmax, its logarithm, and the cross-entropy, from their spellings.

use super::axes::complement;
use crate::egraph::rule::{Axes, Operand, Rule};
use crate::rule;
use igneous_ir::{DType, Dim};

pub(super) fn rules() -> Vec<Rule> {
    vec![
        rule!("softmax/exp-over-sum" [Reassociate]: exp(x) / broadcast[(s, p)](sum[k](exp(x))) => softmax[a](x);
            let a = one_axis(x, k, p);
            on "x: f32[4, 8], k = [1], s = [4, 8], p = [0]", "x: f64[2, 5, 3], k = [1], s = [2, 5, 3], p = [0, 2]"),
        rule!("softmax/shift" [Reassociate]: softmax[a](x - broadcast[(s, p)](m)) => softmax[a](x); when is_constant_along(p, a);
            on "x: f32[4, 8], m: f32[4], s = [4, 8], p = [0], a = 1"),
        rule!("softmax/exp-of-log" [Reassociate]: exp(log_softmax[a](x)) => softmax[a](x); on "x: f32[4, 8], a = 1"),
        rule!("log-softmax/log-of-softmax" [Reassociate]: log(softmax[a](x)) => log_softmax[a](x); on "x: f32[4, 8], a = 1"),
        rule!("log-softmax/minus-log-sum" [Reassociate]: x - broadcast[(s, p)](log(sum[k](exp(x)))) => log_softmax[a](x);
            let a = one_axis(x, k, p);
            on "x: f32[4, 8], k = [1], s = [4, 8], p = [0]"),
        rule!("log-softmax/minus-log-sum-exp" [Reassociate]:
            x - broadcast[(s, p)](log(sum[k](exp(x - broadcast[(s, p)](m)))) + m) => log_softmax[a](x);
            let a = one_axis(x, k, p);
            on "x: f32[4, 8], m: f32[4], k = [1], s = [4, 8], p = [0]"),
        rule!("log-softmax/shift" [Reassociate]: log_softmax[a](x - broadcast[(s, p)](m)) => log_softmax[a](x);
            when is_constant_along(p, a);
            on "x: f32[4, 8], m: f32[4], s = [4, 8], p = [0], a = 1"),
        rule!("log-softmax/log-of-picked" [Reassociate]: log(gather[g](softmax[a](x), i, j)) => gather[g](log_softmax[a](x), i, j);
            on "x: f32[4, 8], a = 1, g = [0, 1], i: i64[4] in 0..4, j: i64[4] in 0..8"),
        rule!("cross-entropy/picked" [Reassociate]:
            gather[[0, 1]](log_softmax[1](x), iota[(t, n, 0)], l) => -(cross_entropy(x, l).0);
            when are_labels(x, n, l);
            on "x: f32[4, 8], l: i64[4] in 0..8, t = i64, n = [4]"),
        rule!("cross-entropy/log-sum-minus-logit" [Reassociate]:
            log(sum[[1]](exp(x))) - gather[[0, 1]](x, iota[(t, n, 0)], l) => cross_entropy(x, l).0;
            when are_labels(x, n, l);
            on "x: f32[4, 8], l: i64[4] in 0..8, t = i64, n = [4]"),
        rule!("cross-entropy/log-sum-exp-minus-logit" [Reassociate]:
            log(sum[[1]](exp(x - broadcast[(s, [0])](m)))) + m - gather[[0, 1]](x, iota[(t, n, 0)], l) => cross_entropy(x, l).0;
            when are_labels(x, n, l);
            on "x: f32[4, 8], m: f32[4], l: i64[4] in 0..8, t = i64, n = [4], s = [4, 8]"),
    ]
}

/// The axis `k` if it is one and `p` are all others.
fn one_axis(x: Operand, k: Axes, p: Axes) -> Option<usize> {
    (k.len() == 1 && p == complement(&k, x.rank())).then(|| k[0])
}

/// Whether a broadcast at `p` repeats its operand along axis `a`.
fn is_constant_along(p: Axes, a: i64) -> bool {
    !p.contains(&(a as usize))
}

/// Whether `l` has one label for each row of the matrix `x`, and `n` counts the rows.
fn are_labels(x: Operand, n: &[Dim], l: Operand) -> bool {
    x.rank() == 2 && l.dtype() == DType::I64 && n == &x.shape()[..1] && l.shape() == n
}
