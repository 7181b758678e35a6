//! Algebra on pointwise operators, for graphs that are not differentiated any more.

use super::identities::is_float;
use crate::egraph::rule::Rule;
use crate::rule;

pub(super) fn rules() -> Vec<Rule> {
    vec![
        rule!("algebra/stop-gradient" [Exact]: stop_gradient(x) => x; on "x: f32[3]"),
        rule!("algebra/common-factor" [Reassociate]: x * y + x * z => x * (y + z); when is_float(x);
            on "x: f32[3], y: f32[3], z: f32[3]"),
        rule!("algebra/common-factor-of-difference" [Reassociate]: x * y - x * z => x * (y - z); when is_float(x);
            on "x: f32[3], y: f32[3], z: f32[3]"),
        rule!("algebra/common-divisor" [Reassociate]: x / z + y / z => (x + y) / z; when is_float(x);
            on "x: f32[3], y: f32[3], z: f32[3] in 1..2"),
        rule!("algebra/common-divisor-of-difference" [Reassociate]: x / z - y / z => (x - y) / z; when is_float(x);
            on "x: f32[3], y: f32[3], z: f32[3] in 1..2"),
        rule!("algebra/quotient-of-quotient" [Reassociate]: (x / y) / z => x / (y * z); when is_float(x);
            on "x: f32[3], y: f32[3] in 1..2, z: f32[3] in 1..2"),
        rule!("algebra/product-of-exp" [Reassociate]: exp(x) * exp(y) => exp(x + y); on "x: f32[3], y: f32[3]"),
        rule!("algebra/sum-with-self" [Exact]: x + x => x * 2.0; on "x: f32[3]", "x: i64[3]"),
        rule!("algebra/relu" [Reassociate]: maximum(x, 0.0) => relu(x); on "x: f32[5]"),
        rule!("algebra/relu-select" [Reassociate]: select(lt(0.0, x), x, 0.0) => relu(x); on "x: f32[5]"),
        rule!("algebra/abs-of-product" [Exact]: abs(x) * abs(y) => abs(x * y); when is_float(x); on "x: f32[5], y: f32[5]"),
        rule!("algebra/square-of-sqrt" [Approximate]: square(sqrt(x)) => x; on "x: f32[3] in 1..2"),
        rule!("algebra/sqrt-of-square" [Approximate]: sqrt(square(x)) => abs(x); on "x: f32[3]"),
        rule!("algebra/exp-of-log" [Approximate]: exp(log(x)) => x; on "x: f32[3] in 1..2"),
        rule!("algebra/log-of-exp" [Approximate]: log(exp(x)) => x; on "x: f32[3]"),
        rule!("algebra/pow-half" [Approximate]: pow(x, 0.5) => sqrt(x); on "x: f32[3] in 1..2"),
        rule!("algebra/pow-minus-half" [Approximate]: pow(x, -0.5) => rsqrt(x); on "x: f32[3] in 1..2"),
        rule!("algebra/divide-by-multiplying" [Approximate]: x / y => x * reciprocal(y); when is_float(x);
            on "x: f32[3], y: f32[3] in 1..2"),
        rule!("algebra/reciprocal-of-reciprocal" [Approximate]: reciprocal(reciprocal(x)) => x; on "x: f32[3] in 1..2"),
        rule!("algebra/product-over-factor" [Approximate]: (x * y) / y => x; when is_float(x); on "x: f32[3], y: f32[3] in 1..2"),
        rule!("algebra/quotient-by-divisor" [Approximate]: (x / y) * y => x; when is_float(x); on "x: f32[3], y: f32[3] in 1..2"),
    ]
}
