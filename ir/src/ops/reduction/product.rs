//! The derivative of a product, without a division: zero factors are nothing special, also in second derivatives.

use crate::dim::Dim;
use crate::emit::X;
use crate::ops::{flip, inverse, pad, slice};

/// For each element of `x`, the product of the other elements along `axes`.
pub(super) fn product_of_others<'b, 'e>(x: X<'b, 'e>, axes: &[usize]) -> X<'b, 'e> {
    // The reduced axes last and as one.
    let kept: Vec<usize> = (0..x.rank()).filter(|a| !axes.contains(a)).collect();
    let order = [&kept, axes].concat();
    let moved = x.transpose(&order);
    let extent: Dim = axes.iter().map(|&a| x.shape()[a]).product();
    let rows = moved.reshape(kept.iter().map(|&a| x.shape()[a]).chain([extent]));
    let axis = [kept.len()];
    let before = product_of_earlier(rows);
    let after = product_of_earlier(rows.unary(flip(&axis))).unary(flip(&axis));
    (before * after).reshape(moved.shape()).transpose(&inverse(&order))
}

/// For each element of `x`, the product of those before it along the last axis, in `log2` of the extent steps.
/// Hillis and Steele 1986, "Data parallel algorithms".
fn product_of_earlier<'b, 'e>(x: X<'b, 'e>) -> X<'b, 'e> {
    let largest = x.shape()[x.rank() - 1].bounds().1.unwrap_or(i64::MAX);
    let mut product = delayed(x, 1);
    let mut covered = 1;
    while covered < largest - 1 {
        product = product * delayed(product, covered);
        covered = covered.saturating_mul(2);
    }
    product
}

/// `x` moved `by` places to the right along the last axis, filled up with ones.
fn delayed<'b, 'e>(x: X<'b, 'e>, by: i64) -> X<'b, 'e> {
    let (shape, last) = (x.shape(), x.rank() - 1);
    let none = vec![Dim::ZERO; shape.len()];
    let mut low = none.clone();
    low[last] = Dim::constant(by);
    let padded = x.emitter.one(pad(&low, &none, &vec![0; shape.len()]), &[x, x.lit(1.0)]);
    padded.unary(slice(&none, &shape, &vec![1; shape.len()]))
}
