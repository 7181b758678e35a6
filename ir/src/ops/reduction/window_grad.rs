//! `reduce_window_grad`: where the cotangent of a maximum over windows goes.

use super::window::{first_extrema, kind, pooled, reduce_window, window_attrs};
use crate::array::Array;
use crate::dim::Dim;
use crate::emit::{Emitter, X};
use crate::op::*;
use crate::ops::inputs::*;
use crate::ops::type_rule::*;
use crate::ops::{iota, pad_or_crop, pointwise, scatter};
use crate::types::{DType, Shape};

/// The cotangent of `x` from that of `reduce_window(x)` with the same attributes, for `kind` `Max` or `Min`: each
/// element of the second operand is added at the first extremum of its window.
pub fn reduce_window_grad(kind: ReduceKind, window: &[i64], stride: &[i64], low: &[i64], high: &[i64], dilation: &[i64]) -> Op {
    Op::new(&REDUCE_WINDOW_GRAD, window_attrs(kind, window, stride, low, high, dilation))
}

/// See [`reduce_window_grad`].
pub static REDUCE_WINDOW_GRAD: Record = Record {
    name: "reduce_window_grad",
    attrs: &[
        ("kind", AttrKind::Name(&["max", "min"])),
        ("window", AttrKind::Ints),
        ("stride", AttrKind::Ints),
        ("low", AttrKind::Ints),
        ("high", AttrKind::Ints),
        ("dilation", AttrKind::Ints),
    ],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [x, dy] = rule.operands()?;
        rule.float(0)?;
        rule.same_dtype(0, 1)?;
        let want = pooled(rule, x)?;
        rule.rank(1, want.rank())?;
        for (a, (&got, &want)) in dy.shape.iter().zip(&want.shape).enumerate() {
            rule.agree("extents of operand 1", (format_args!("axis {a}"), got), ("the number of places", want))?;
        }
        one(x.clone())
    },
    reference: |r| {
        let [x, dy] = r.inputs else { unreachable!("the type rule saw two operands") };
        let mut dx = vec![0.0; x.len()];
        for (p, extremum) in first_extrema(place_kind(kind(r.op)), r.op, x, dy.shape()).into_iter().enumerate() {
            if let Some((_, e)) = extremum {
                dx[e] += dy.f(p);
            }
        }
        Ok(vec![Array::floats(x.dtype(), x.shape(), dx)])
    },
    lowering: Lowering::Composite(|_, op, operands| {
        let (x, dy) = (operands[0], operands[1]);
        let apart = op.ints("window") == op.ints("stride") && op.ints("dilation").iter().all(|&d| d == 1);
        vec![if apart { without_overlap(op, x, dy) } else { with_overlap(op, x, dy) }]
    }),
    vjp: Vjp::Decomposition,
    jvp: Jvp::FromVjp,
    batch: Batch::Elementwise,
    flops: |op, operands, _| operands[1].elements() * op.ints("window").iter().map(|&w| Dim::constant(w)).product::<Dim>(),
    samples: |s| {
        for kind in [ReduceKind::Max, ReduceKind::Min] {
            let add = |s: &mut Samples, op: Op, x: &[usize], dtype: DType, fill: Fill| {
                let x = (crate::TensorType::new(dtype, x.iter().copied()), fill);
                let dy = pooled(TypeRule::new(&op, std::slice::from_ref(&x.0)), &x.0).expect("samples are well typed");
                s.add(op, [x, (dy, Fill::Normal)]);
            };
            let op = |window: &[i64], stride: &[i64], low: &[i64], high: &[i64], dilation: &[i64]| {
                reduce_window_grad(kind, window, stride, low, high, dilation)
            };
            add(s, op(&[2], &[2], &[0], &[0], &[1]), &[6], DType::F64, Fill::Distinct);
            add(s, op(&[2, 2], &[2, 2], &[0, 0], &[0, 0], &[1, 1]), &[2, 1, 5, 4], DType::F64, Fill::Distinct);
            add(s, op(&[3, 2], &[3, 2], &[1, 0], &[2, 1], &[1, 1]), &[2, 7, 5], DType::F64, Fill::Distinct);
            add(s, op(&[3, 2], &[2, 1], &[1, 0], &[1, 1], &[1, 1]), &[2, 6, 4], DType::F64, Fill::Distinct);
            add(s, op(&[2, 3], &[1, 2], &[1, 2], &[0, 1], &[2, 1]), &[1, 5, 6], DType::F64, Fill::Distinct);
            add(s, op(&[2], &[1], &[3], &[3], &[1]), &[2, 2], DType::F64, Fill::Distinct);
            add(s, op(&[2], &[2], &[4], &[4], &[1]), &[2, 2], DType::F64, Fill::Distinct);
            add(s, op(&[2], &[2], &[0], &[0], &[1]), &[0, 4], DType::F32, Fill::Distinct);
            add(s, op(&[3], &[2], &[1], &[1], &[1]), &[2, 9], DType::F16, Fill::Range(-1, 2));
            add(s, op(&[2], &[2], &[0], &[0], &[1]), &[2, 8], DType::F16, Fill::Range(0, 2));
        }
    },
    error_samples: |s| {
        let op = reduce_window_grad(ReduceKind::Max, &[2], &[2], &[0], &[0], &[1]);
        let x = normal(DType::F32, [2, 4]);
        s.add(op.clone(), [x.clone()]);
        s.add(op.clone(), [range(DType::I64, [2, 4], 0, 9), range(DType::I64, [2, 2], 0, 9)]);
        s.add(op.clone(), [x.clone(), normal(DType::F64, [2, 2])]);
        s.add(op.clone(), [x.clone(), normal(DType::F32, [2])]);
        s.add(op, [x, normal(DType::F32, [2, 3])]);
    },
};

/// The kind that gives the place of an extremum.
fn place_kind(kind: ReduceKind) -> ReduceKind {
    if kind == ReduceKind::Max { ReduceKind::ArgMax } else { ReduceKind::ArgMin }
}

/// The position inside the window of each window's first extremum.
fn positions<'b, 'e>(kind: ReduceKind, op: &Op, x: X<'b, 'e>) -> X<'b, 'e> {
    let ints = ["window", "stride", "low", "high", "dilation"].map(|name| op.ints(name));
    let [window, stride, low, high, dilation] = ints;
    x.unary(reduce_window(place_kind(kind), window, stride, low, high, dilation))
}

/// The index in `x` of each window's first extremum, one tensor for each axis of `x`; and where it is not padding,
/// unless every window has an element of `x`.
pub(super) fn extremum_places<'b, 'e>(kind: ReduceKind, op: &Op, x: X<'b, 'e>) -> (Vec<X<'b, 'e>>, Option<X<'b, 'e>>) {
    let (emitter, shape) = (x.emitter, x.shape());
    let positions = positions(kind, op, x);
    let places = positions.shape();
    let own = |axis: usize| emitter.one(iota(DType::I64, places.clone(), axis), &[]);
    let (window, stride, low, dilation) = (op.ints("window"), op.ints("stride"), op.ints("low"), op.ints("dilation"));
    let lead = shape.len() - window.len();
    let mut index: Vec<X> = (0..lead).map(own).collect();
    let mut inside: Option<X> = None;
    let mut inner: i64 = window.iter().product();
    for i in 0..window.len() {
        inner /= window[i];
        let (inner, extent) = (positions.lit(inner as f64), positions.lit(window[i] as f64));
        let within = (positions / inner).binary(pointwise("rem"), extent);
        let place = own(lead + i) * stride[i] as f64 + within * dilation[i] as f64 - low[i] as f64;
        if !always_has_an_element(op, i, shape[lead + i], places[lead + i]) {
            let extent = emitter.one(crate::ops::extent(shape[lead + i]), &[]);
            let both = place.compare("ge", place.lit(0.0)).binary(pointwise("and"), place.compare("lt", extent));
            inside = Some(inside.map_or(both, |i| i.binary(pointwise("and"), both)));
        }
        index.push(place);
    }
    (index, inside)
}

/// Whether every place of the window has an element that is not padding along its axis `i`.
fn always_has_an_element(op: &Op, i: usize, extent: Dim, places: Dim) -> bool {
    let (low, dilation) = (op.ints("low")[i], op.ints("dilation")[i]);
    let last_start = (places - 1) * Dim::constant(op.ints("stride")[i]) - Dim::constant(low);
    (op.ints("window")[i] - 1) * dilation >= low
        && extent.at_least(Dim::constant(dilation)) == Some(true)
        && (extent - 1).at_least(last_start) == Some(true)
}

/// Windows that overlap: cotangents are added at the places of the extrema.
fn with_overlap<'b, 'e>(op: &Op, x: X<'b, 'e>, dy: X<'b, 'e>) -> X<'b, 'e> {
    let (places, inside) = extremum_places(kind(op), op, x);
    let updates = inside.map_or(dy, |inside| inside.select(dy, dy.lit(0.0)));
    let all: Vec<usize> = (0..x.rank()).collect();
    x.emitter.one(scatter(&all, Some(ReduceKind::Sum)), &[&[x.zeros_like()], &places[..], &[updates]].concat())
}

/// Windows side by side: each element of `x` is in one, and knows its position there.
fn without_overlap<'b, 'e>(op: &Op, x: X<'b, 'e>, dy: X<'b, 'e>) -> X<'b, 'e> {
    let (window, emitter) = (op.ints("window"), x.emitter);
    // A byte has room for the positions in all but huge windows.
    let narrow = if window.iter().product::<i64>() <= 256 { DType::U8 } else { DType::I64 };
    let positions = positions(kind(op), op, x).cast(narrow);
    let (places, extents) = (positions.shape(), x.shape());
    let lead = places.len() - window.len();
    // [lead…, place, position in the window, place, position in the window, …]
    let (mut split, mut joined) = (Shape::from(&places[..lead]), Shape::from(&places[..lead]));
    for (i, &w) in window.iter().enumerate() {
        split.extend([places[lead + i], Dim::constant(w)]);
        joined.push(places[lead + i] * Dim::constant(w));
    }
    let axes: Vec<usize> = (0..lead).chain((0..window.len()).map(|i| lead + 2 * i)).collect();
    let own = own_positions(emitter, window, lead, &split).cast(narrow);
    let hit = positions.broadcast(split.clone(), &axes).compare("eq", own);
    let dx = hit.select(dy.broadcast(split, &axes), dy.lit(0.0)).reshape(joined.clone());
    let (low, mut starts, mut ends) = (op.ints("low"), vec![Dim::ZERO; lead], vec![Dim::ZERO; lead]);
    for i in 0..window.len() {
        starts.push(Dim::constant(-low[i]));
        ends.push(extents[lead + i] + Dim::constant(low[i]) - joined[lead + i]);
    }
    pad_or_crop(dx, &starts, &ends, &vec![0; places.len()])
}

/// For each index of `split`, whose axes behind `lead` alternate between places and positions inside the window, the
/// row-major position inside the window.
fn own_positions<'b, 'e>(emitter: &'b Emitter<'e>, window: &[i64], lead: usize, split: &Shape) -> X<'b, 'e> {
    let extents: Shape = window.iter().map(|&w| Dim::constant(w)).collect();
    let count: Dim = extents.iter().copied().product();
    let numbers = emitter.one(iota(DType::I64, Shape::from_iter([count]), 0), &[]).reshape(extents);
    let axes: Vec<usize> = (0..window.len()).map(|i| lead + 2 * i + 1).collect();
    numbers.broadcast(split.clone(), &axes)
}

/// The cotangent of `x` from that of its windows' sums: the sums of the windows that an element is in, which is again
/// a sum over windows, of `dy` with `stride - 1` zeros between elements.
pub(super) fn sum_cotangent<'b, 'e>(op: &Op, x: X<'b, 'e>, dy: X<'b, 'e>) -> X<'b, 'e> {
    let [window, stride, low, high, dilation] = ["window", "stride", "low", "high", "dilation"].map(|name| op.ints(name));
    let (n, rank) = (window.len(), x.rank());
    let (mut starts, mut ends) = (vec![Dim::ZERO; rank - n], vec![Dim::ZERO; rank - n]);
    let mut interior = vec![0; rank - n];
    for i in 0..n {
        let reach = (window[i] - 1) * dilation[i];
        let room = x.shape()[rank - n + i] + Dim::constant(low[i] + high[i] - reach - 1);
        starts.push(Dim::constant(reach - low[i]));
        ends.push(room.rem(Dim::constant(stride[i])) + Dim::constant(reach - high[i]));
        interior.push(stride[i] - 1);
    }
    let (ones, zeros) = (vec![1; n], vec![0; n]);
    pad_or_crop(dy, &starts, &ends, &interior).unary(reduce_window(ReduceKind::Sum, window, &ones, &zeros, &zeros, dilation))
}
