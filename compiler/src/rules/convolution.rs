//! Convolutions of images that are spread out, as the gradient of a strided convolution's images is: three of four
//! products would be with the zeros in between. Elements of the result that lie an even and an odd number of places away
//! see disjoint parts of the kernel and only elements of the image: each is a convolution of the image as it was. And
//! convolutions of images of one place that the whole kernel moves over: each tap sees the place once, so they are products.

use crate::egraph::rule::{Axes, Operand, Rule};
use crate::rule;
use igneous_ir::types::Shape;
use igneous_ir::{Dim, Op, ops};

pub(super) fn rules() -> Vec<Rule> {
    vec![rule!("convolution/of-points" [Reassociate]:
            convolution[c](x, w) => dot_general[d](reshape[s](x), flip[f](w)); let (d, s, f) = points(c, x, w);
            on "x: f32[2, 3, 1, 1], w: f32[4, 3, 3, 2],
                c = {stride=[1, 1], low=[2, 1], high=[2, 1], lhs_dilation=[2, 1], rhs_dilation=[1, 1], groups=1}",
               "x: f32[3, 2, 1], w: f32[1, 2, 5],
                c = {stride=[1], low=[4], high=[4], lhs_dilation=[1], rhs_dilation=[1], groups=1}")]
}

/// Those that do not pay where a library knows the gradient of a strided convolution as a whole.
pub(super) fn phased() -> Vec<Rule> {
    vec![rule!("convolution/phases" [Reassociate]:
            convolution[c](x, w) => reshape[s](concat[a](
                reshape[t](convolution[d](x, slice[u](w))), reshape[t](convolution[e](x, slice[v](w)))));
            let (d, e) = phases(c, x, w);
            let (u, v) = taps(c, x, w);
            let (s, t, a) = interleaved(c, x, w);
            on "x: f32[2, 3, 4], w: f32[2, 3, 3],
                c = {stride=[1], low=[1], high=[2], lhs_dilation=[2], rhs_dilation=[1], groups=1}",
               "x: f32[1, 4, 3, 5], w: f32[6, 2, 2, 4],
                c = {stride=[1, 2], low=[0, 1], high=[2, 2], lhs_dilation=[2, 1], rhs_dilation=[1, 2], groups=2}",
               "x: f32[1, 2, 4], w: f32[2, 2, 4],
                c = {stride=[1], low=[-1], high=[3], lhs_dilation=[2], rhs_dilation=[1], groups=1}")]
}

/// The product that a convolution of images of one place is, their shape without places, and the axes of the kernel's places.
fn points(c: &Op, x: Operand, w: Operand) -> Option<(Op, Shape, Axes)> {
    let places: Axes = (2..x.rank()).collect();
    let whole = |&axis: &usize| {
        let [stride, low, high, dilation] = ["stride", "low", "high", "rhs_dilation"].map(|name| c.ints(name)[axis - 2]);
        let around = w.shape()[axis].as_const().map(|kernel| kernel - 1);
        x.shape()[axis] == Dim::ONE && [stride, dilation] == [1, 1] && [Some(low), Some(high)] == [around; 2]
    };
    (c.int("groups") == 1 && places.iter().all(whole)).then(|| {
        let product = ops::dot_general(&[1], &[1], &[], &[]);
        (product, x.shape()[..2].iter().copied().collect(), places)
    })
}

/// The first spatial axis along which a convolution falls apart into two, with what they are.
struct Split {
    axis: usize,
    /// The first tap of the kernel that each takes.
    taps: [i64; 2],
    /// The padding of each.
    padding: [(i64, i64); 2],
    result: Shape,
}

impl Split {
    fn of(c: &Op, x: Operand, w: Operand) -> Option<Split> {
        let result = c.infer(&[x.ty().clone(), w.ty().clone()]).ok()?.into_iter().next()?.shape;
        let plain = |i: &usize| {
            let even = result[2 + i].as_const().is_some_and(|n| n > 0 && n % 2 == 0);
            c.ints("lhs_dilation")[*i] == 2 && c.ints("stride")[*i] == 1 && c.ints("rhs_dilation")[*i] == 1 && even
        };
        let i = (0..c.ints("stride").len()).find(plain)?;
        let (low, extent) = (c.ints("low")[i], x.shape()[2 + i].as_const()?);
        let (kernel, half) = (w.shape()[2 + i].as_const()?, result[2 + i].as_const()? / 2);
        let taps = [0, 1].map(|phase| (low - phase).rem_euclid(2));
        if kernel < 2 || extent < 1 {
            return None;
        }
        // Place 2·a + phase and tap + 2·t meet element a + t + (phase + tap - low) / 2.
        let padding = [0, 1].map(|phase: i64| {
            let tap = taps[phase as usize];
            let (low, own) = ((low - phase - tap) / 2, (kernel - tap + 1) / 2);
            (low, half - extent - low + own - 1)
        });
        Some(Split { axis: i, taps, padding, result })
    }
}

/// The convolutions of the two phases.
fn phases(c: &Op, x: Operand, w: Operand) -> Option<(Op, Op)> {
    let split = Split::of(c, x, w)?;
    let [even, odd] = split.padding.map(|padding| {
        let [stride, rhs] = ["stride", "rhs_dilation"].map(|name| c.ints(name).to_vec());
        let [mut low, mut high, mut lhs] = ["low", "high", "lhs_dilation"].map(|name| c.ints(name).to_vec());
        (low[split.axis], high[split.axis]) = padding;
        lhs[split.axis] = 1;
        ops::convolution(&stride, &low, &high, &lhs, &rhs, c.int("groups"))
    });
    Some((even, odd))
}

/// The taps of each phase.
fn taps(c: &Op, x: Operand, w: Operand) -> Option<(Op, Op)> {
    let split = Split::of(c, x, w)?;
    let [even, odd] = split.taps.map(|tap| {
        let mut start = vec![Dim::ZERO; w.rank()];
        let mut stride = vec![1; w.rank()];
        (start[2 + split.axis], stride[2 + split.axis]) = (Dim::constant(tap), 2);
        ops::slice(&start, w.shape(), &stride)
    });
    Some((even, odd))
}

/// The shape of the result, that of a phase with an axis for the phases, and that axis.
fn interleaved(c: &Op, x: Operand, w: Operand) -> Option<(Shape, Shape, usize)> {
    let Split { axis, result, .. } = Split::of(c, x, w)?;
    let mut phase = result.clone();
    phase[2 + axis] = result[2 + axis].div_floor(2);
    phase.insert(3 + axis, Dim::ONE);
    Some((result, phase, 3 + axis))
}
