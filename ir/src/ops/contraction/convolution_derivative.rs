//! The cotangents of `convolution`'s operands: convolutions again.
//!
//! Along one spatial axis write `D` for the dilated image's extent, `K` for the dilated weight's, `P` for the number of
//! places. Result place `p` and window element `k` meet the dilated image at `p·stride + k·rhs_dilation - low`, and
//! `D + low + high - K = (P - 1)·stride + unused`, where the last `unused < stride` positions are under no window.

use super::convolution::convolution;
use crate::dim::Dim;
use crate::emit::X;
use crate::op::Op;
use crate::ops::type_rule::dilated;
use crate::ops::{flip, pad_or_crop, split_sign};

/// One spatial axis of a convolution.
struct Axis {
    stride: i64,
    low: i64,
    high: i64,
    lhs_dilation: i64,
    rhs_dilation: i64,
    /// The dilated weight's extent.
    window: Dim,
    /// The positions of the padded image behind the last window.
    unused: Dim,
}

fn axes(op: &Op, x: X, w: X) -> Vec<Axis> {
    let axis = |i: usize| {
        let [stride, low, high, lhs_dilation, rhs_dilation] =
            ["stride", "low", "high", "lhs_dilation", "rhs_dilation"].map(|name| op.ints(name)[i]);
        let window = dilated(w.shape()[2 + i], rhs_dilation);
        let room = dilated(x.shape()[2 + i], lhs_dilation) + Dim::constant(low) + Dim::constant(high) - window;
        Axis { stride, low, high, lhs_dilation, rhs_dilation, window, unused: room.rem(Dim::constant(stride)) }
    };
    (0..x.rank() - 2).map(axis).collect()
}

/// `dx`: `dy`, dilated by the stride, under the flipped weight with its channels exchanged.
pub(super) fn image_cotangent<'b, 'e>(op: &Op, x: X<'b, 'e>, w: X<'b, 'e>, dy: X<'b, 'e>) -> X<'b, 'e> {
    if x.shape()[2..].contains(&Dim::ZERO) {
        return x.zeros_like();
    }
    let axes = axes(op, x, w);
    let spatial: Vec<usize> = (2..x.rank()).collect();
    let weight = exchange(w, op.int("groups"), 0).unary(flip(&spatial));
    let padding = axes.iter().map(|a| {
        let reach = a.window - 1;
        (reach - Dim::constant(a.low), reach - Dim::constant(a.high) + a.unused)
    });
    let steps = axes.iter().map(|a| Steps { stride: a.lhs_dilation, lhs_dilation: a.stride, rhs_dilation: a.rhs_dilation });
    padded_convolution(dy, weight, &padding.collect::<Vec<_>>(), &steps.collect::<Vec<_>>(), op.int("groups"))
}

/// `dw`: the image under `dy`, where images are what is summed over; `dy`'s elements are `stride` apart, and places are
/// `rhs_dilation` apart.
pub(super) fn weight_cotangent<'b, 'e>(op: &Op, x: X<'b, 'e>, w: X<'b, 'e>, dy: X<'b, 'e>) -> X<'b, 'e> {
    let axes = axes(op, x, w);
    let swapped: Vec<usize> = [1, 0].into_iter().chain(2..x.rank()).collect();
    let padding = axes.iter().map(|a| (Dim::constant(a.low), Dim::constant(a.high) - a.unused));
    let steps = axes.iter().map(|a| Steps { stride: a.rhs_dilation, lhs_dilation: a.lhs_dilation, rhs_dilation: a.stride });
    let images = exchange(x, op.int("groups"), 1);
    let (padding, steps): (Vec<_>, Vec<_>) = (padding.collect(), steps.collect());
    padded_convolution(images, dy.transpose(&swapped), &padding, &steps, op.int("groups")).transpose(&swapped)
}

/// Exchanges the two leading axes, except that the groups, which are the outer part of axis `grouped` (0 or 1), stay in the
/// axis of that number: `[groups·a, b, …]` to `[groups·b, a, …]`, or `[a, groups·b, …]` to `[b, groups·a, …]`.
fn exchange<'b, 'e>(x: X<'b, 'e>, groups: i64, grouped: usize) -> X<'b, 'e> {
    let shape = x.shape();
    let groups = Dim::constant(groups);
    let each = shape[grouped].div_floor(groups);
    let rest = &shape[2..];
    // Axis 0: [groups, each, other] to [groups, other, each]. Axis 1: [other, groups, each] to [each, groups, other].
    let (split, order, joined) = match grouped {
        0 => ([groups, each, shape[1]], [0, 2, 1], [groups * shape[1], each]),
        _ => ([shape[0], groups, each], [2, 1, 0], [each, groups * shape[0]]),
    };
    let order: Vec<usize> = order.into_iter().chain(3..rest.len() + 3).collect();
    x.reshape([&split, rest].concat()).transpose(&order).reshape([&joined, rest].concat())
}

/// The steps of a convolution along one spatial axis.
struct Steps {
    stride: i64,
    lhs_dilation: i64,
    rhs_dilation: i64,
}

/// A convolution whose padding (low and high, for each spatial axis) may be symbolic: then a `pad` goes before.
fn padded_convolution<'b, 'e>(x: X<'b, 'e>, w: X<'b, 'e>, padding: &[(Dim, Dim)], steps: &[Steps], groups: i64) -> X<'b, 'e> {
    let (mut before, mut after, mut interior) = (vec![Dim::ZERO; 2], vec![Dim::ZERO; 2], vec![0; 2]);
    let (mut low, mut high, mut lhs_dilation) = (Vec::new(), Vec::new(), Vec::new());
    for (&(l, h), step) in padding.iter().zip(steps) {
        // What the pad does (amounts before and after, holes), then what the convolution does.
        let (pad, own) = match (l.as_const(), h.as_const()) {
            (Some(l), Some(h)) => ((Dim::ZERO, Dim::ZERO, 0), (l, h, step.lhs_dilation)),
            _ => {
                let ((add_low, crop_low), (add_high, crop_high)) = (split_sign(l), split_sign(h));
                ((add_low, add_high, step.lhs_dilation - 1), (-crop_low, -crop_high, 1))
            }
        };
        before.push(pad.0);
        after.push(pad.1);
        interior.push(pad.2);
        low.push(own.0);
        high.push(own.1);
        lhs_dilation.push(own.2);
    }
    let stride: Vec<i64> = steps.iter().map(|s| s.stride).collect();
    let rhs_dilation: Vec<i64> = steps.iter().map(|s| s.rhs_dilation).collect();
    let x = pad_or_crop(x, &before, &after, &interior);
    x.emitter.one(convolution(&stride, &low, &high, &lhs_dilation, &rhs_dilation, groups), &[x, w])
}
