//! `reduce_window`: pooling.

use super::window_grad::{extremum_places, reduce_window_grad, sum_cotangent};
use crate::array::Array;
use crate::dim::Dim;
use crate::error::Result;
use crate::op::*;
use crate::ops::fold::{Total, combine_f64, combine_i64, replaces};
use crate::ops::gather;
use crate::ops::inputs::*;
use crate::ops::type_rule::*;
use crate::scalar::{S, ScalarOp};
use crate::types::{DType, TensorType};

/// Combines the elements in each place of a window that moves over the last `window.len()` axes. `low` and `high` elements of
/// padding surround each of these axes; they count as the identity. `dilation` is the distance between elements of the
/// window. `kind` is `Sum`, `Max` or `Min`, or for floats `ArgMax` or `ArgMin`: the first extremum's row-major position
/// (`i64`) inside the window, which is never padding unless all is (then 0); a NaN counts as one.
pub fn reduce_window(kind: ReduceKind, window: &[i64], stride: &[i64], low: &[i64], high: &[i64], dilation: &[i64]) -> Op {
    Op::new(&REDUCE_WINDOW, window_attrs(kind, window, stride, low, high, dilation))
}

/// See [`reduce_window`].
pub static REDUCE_WINDOW: Record = Record {
    name: "reduce_window",
    attrs: &[
        ("kind", AttrKind::Name(&["sum", "max", "min", "argmax", "argmin"])),
        ("window", AttrKind::Ints),
        ("stride", AttrKind::Ints),
        ("low", AttrKind::Ints),
        ("high", AttrKind::Ints),
        ("dilation", AttrKind::Ints),
    ],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [x] = rule.operands()?;
        rule.numbers(0)?;
        let result = pooled(rule, x)?;
        if !is_place(kind(op)) {
            return one(result);
        }
        rule.float(0)?;
        one(result.with_dtype(DType::I64))
    },
    reference: |r| {
        let (x, shape, kind) = (r.inputs[0], r.results[0].sizes()?, kind(r.op));
        if is_place(kind) {
            let places = first_extrema(kind, r.op, x, &shape);
            return Ok(vec![Array::from_fn_i64(DType::I64, shape, |p| places[p].map_or(0, |(k, _)| k as i64))]);
        }
        let identity = kind.identity(x.dtype());
        Ok(vec![if x.dtype().is_float() && kind == ReduceKind::Sum {
            let mut y = vec![Total::default(); shape.iter().product()];
            for_each_in_windows(r.op, x.shape(), &shape, |p, _, e| y[p].add(x.f(e)));
            Array::floats(x.dtype(), shape, y.into_iter().map(Total::value).collect())
        } else if x.dtype().is_float() {
            let mut y = vec![identity.as_f64(); shape.iter().product()];
            for_each_in_windows(r.op, x.shape(), &shape, |p, _, e| y[p] = combine_f64(kind, y[p], x.f(e)));
            Array::floats(x.dtype(), shape, y)
        } else {
            let mut y = vec![identity.as_i64(); shape.iter().product()];
            for_each_in_windows(r.op, x.shape(), &shape, |p, _, e| y[p] = combine_i64(kind, y[p], x.i(e)));
            Array::ints(x.dtype(), shape, y)
        }])
    },
    lowering: Lowering::Reduction(|at| {
        let at = *at;
        Reduction {
            kind: kind(at.op),
            extents: at.op.ints("window").iter().map(|&w| Dim::constant(w)).collect(),
            body: Box::new(move |k| element(&at, k)),
        }
    }),
    vjp: Vjp::Rule(|v| {
        let (kind, op, x) = (kind(v.op), v.op, v.x(0));
        vec![match kind {
            ReduceKind::Sum => Some(sum_cotangent(op, x, v.dy(0))),
            ReduceKind::Max | ReduceKind::Min => {
                let ints = ["window", "stride", "low", "high", "dilation"].map(|name| op.ints(name));
                let [window, stride, low, high, dilation] = ints;
                let op = reduce_window_grad(kind, window, stride, low, high, dilation);
                Some(v.emitter.one(op, &[x, v.dy(0)]))
            }
            _ => None,
        }]
    }),
    jvp: Jvp::Rule(|j| {
        let Some(t) = j.tangents[0] else { return vec![None] };
        vec![match kind(j.op) {
            ReduceKind::Sum => Some(t.unary(j.op.clone())),
            ReduceKind::Max | ReduceKind::Min => {
                let (places, inside) = extremum_places(kind(j.op), j.op, j.operands[0]);
                let all: Vec<usize> = (0..t.rank()).collect();
                let found = j.emitter.one(gather(&all), &[&[t], &places[..]].concat());
                Some(inside.map_or(found, |inside| inside.select(found, t.lit(0.0))))
            }
            _ => None,
        }]
    }),
    batch: Batch::Elementwise,
    flops: |op, _, results| results[0].elements() * op.ints("window").iter().map(|&w| Dim::constant(w)).product::<Dim>(),
    samples: |s| {
        use ReduceKind::*;
        for kind in [Sum, Max, Min, ArgMax, ArgMin] {
            let x = |extents: &[usize]| distinct(DType::F64, extents.iter().copied());
            s.add(reduce_window(kind, &[2], &[2], &[0], &[0], &[1]), [x(&[6])]);
            s.add(reduce_window(kind, &[2, 2], &[2, 2], &[0, 0], &[0, 0], &[1, 1]), [x(&[2, 1, 5, 4])]);
            s.add(reduce_window(kind, &[3, 2], &[2, 1], &[1, 0], &[1, 1], &[1, 1]), [x(&[2, 6, 4])]);
            s.add(reduce_window(kind, &[2, 3], &[1, 2], &[1, 2], &[0, 1], &[2, 1]), [x(&[1, 5, 6])]);
            s.add(reduce_window(kind, &[2, 2, 2], &[2, 1, 2], &[1, 1, 0], &[1, 0, 0], &[1, 1, 2]), [x(&[2, 3, 2, 3])]);
            s.add(reduce_window(kind, &[3], &[3], &[1], &[2], &[1]), [x(&[2, 7])]);
            s.add(reduce_window(kind, &[1], &[1], &[0], &[0], &[1]), [x(&[1])]);
            s.add(reduce_window(kind, &[2], &[1], &[3], &[3], &[1]), [distinct(DType::F16, [2, 2])]);
            s.add(reduce_window(kind, &[2], &[2], &[0], &[0], &[1]), [distinct(DType::F32, [0, 4])]);
            s.add(reduce_window(kind, &[3], &[2], &[1], &[1], &[1]), [range(DType::F16, [2, 9], -1, 2)]);
            s.add(reduce_window(kind, &[3], &[2], &[1], &[1], &[1]), [specials(DType::F32, [2, 9])]);
        }
        for kind in [Sum, Max, Min] {
            s.add(reduce_window(kind, &[2, 2], &[1, 2], &[1, 0], &[0, 1], &[1, 1]), [range(DType::I64, [3, 4], -9, 9)]);
        }
    },
    error_samples: |s| {
        let x = normal(DType::F32, [2, 4]);
        let op = |kind, window: &[i64], stride: &[i64], low: &[i64], high: &[i64], dilation: &[i64]| {
            reduce_window(kind, window, stride, low, high, dilation)
        };
        let sum = ReduceKind::Sum;
        s.add(op(sum, &[2], &[1], &[0], &[0], &[1]), []);
        s.add(op(sum, &[2], &[1], &[0], &[0], &[1]), [range(DType::Bool, [4], 0, 2)]);
        s.add(op(ReduceKind::ArgMax, &[2], &[1], &[0], &[0], &[1]), [range(DType::I64, [4], 0, 9)]);
        s.add(op(sum, &[], &[], &[], &[], &[]), [x.clone()]);
        s.add(op(sum, &[1, 1, 1], &[1; 3], &[0; 3], &[0; 3], &[1; 3]), [x.clone()]);
        s.add(op(sum, &[0], &[1], &[0], &[0], &[1]), [x.clone()]);
        s.add(op(sum, &[2], &[0], &[0], &[0], &[1]), [x.clone()]);
        s.add(op(sum, &[2], &[1, 1], &[0], &[0], &[1]), [x.clone()]);
        s.add(op(sum, &[2], &[1], &[-1], &[0], &[1]), [x.clone()]);
        s.add(op(sum, &[2], &[1], &[0], &[-1], &[1]), [x.clone()]);
        s.add(op(sum, &[2], &[1], &[0], &[0], &[0]), [x.clone()]);
        s.add(op(sum, &[3], &[1], &[0], &[0], &[2]), [x]);
        let t = Dim::symbol("T", 1, 32);
        s.add(op(sum, &[2], &[1], &[0], &[0], &[1]), [symbolic(DType::F32, &[t])]);
    },
};

/// The attributes of `reduce_window` and `reduce_window_grad`.
pub(super) fn window_attrs(
    kind: ReduceKind,
    window: &[i64],
    stride: &[i64],
    low: &[i64],
    high: &[i64],
    dilation: &[i64],
) -> [Attr; 6] {
    let [window, stride, low, high, dilation] = [window, stride, low, high, dilation].map(ints_attr);
    [Attr::Name(kind.name()), window, stride, low, high, dilation]
}

/// The kind of `reduce_window` and `reduce_window_grad`.
pub(super) fn kind(op: &Op) -> ReduceKind {
    ReduceKind::from_name(op.choice("kind")).expect("the choices are names of kinds")
}

fn is_place(kind: ReduceKind) -> bool {
    matches!(kind, ReduceKind::ArgMax | ReduceKind::ArgMin)
}

/// The type of one result for each place of the window.
pub(super) fn pooled(rule: TypeRule, x: &TensorType) -> Result<TensorType> {
    let n = rule.op.ints("window").len();
    rule.ensure((1..=x.rank()).contains(&n), || format!("has a window of {}; the operand has {}", axes(n), x.rank()))?;
    let (window, stride) = (rule.ints("window", n, 1)?, rule.ints("stride", n, 1)?);
    let (low, high) = (rule.ints("low", n, 0)?, rule.ints("high", n, 0)?);
    let dilation = rule.ints("dilation", n, 1)?;
    let mut result = x.clone();
    for i in 0..n {
        let extent = &mut result.shape[x.rank() - n + i];
        let padded = *extent + Dim::constant(low[i]) + Dim::constant(high[i]);
        *extent = rule.places(i, padded, dilated(Dim::constant(window[i]), dilation[i]), stride[i])?;
    }
    Ok(result)
}

/// Calls `visit(place, k, element)` for each place of the window, and each element of `x` that the window covers there:
/// its position `k` inside the window, in increasing order for each place, and its row-major position in `x`.
fn for_each_in_windows(op: &Op, x: &[usize], result: &[usize], mut visit: impl FnMut(usize, usize, usize)) {
    let window = op.ints("window");
    let lead = x.len() - window.len();
    let (stride, low, dilation) = (op.ints("stride"), op.ints("low"), op.ints("dilation"));
    let images: usize = x[..lead].iter().product();
    let (places, elements): (usize, usize) = (result[lead..].iter().product(), x[lead..].iter().product());
    for k in 0..window.iter().product::<i64>() {
        // For each place the element, `None` for padding.
        let mut sources = vec![Some(0)];
        let mut inner: i64 = window.iter().product();
        for i in 0..window.len() {
            inner /= window[i];
            let (start, extent) = (k / inner % window[i] * dilation[i] - low[i], x[lead + i]);
            let along = |place: usize| usize::try_from(place as i64 * stride[i] + start).ok().filter(|&p| p < extent);
            let extend = |outer: Option<usize>| (0..result[lead + i]).map(move |o| Some(outer? * extent + along(o)?));
            sources = sources.into_iter().flat_map(extend).collect();
        }
        for image in 0..images {
            for (p, source) in sources.iter().enumerate() {
                if let Some(e) = source {
                    visit(image * places + p, k as usize, image * elements + e);
                }
            }
        }
    }
}

/// For each place of the window the first extremum: position inside the window and in `x`; `None` if all is padding.
pub(super) fn first_extrema(kind: ReduceKind, op: &Op, x: &Array, result: &[usize]) -> Vec<Option<(usize, usize)>> {
    let mut best: Vec<Option<(usize, usize)>> = vec![None; result.iter().product()];
    for_each_in_windows(op, x.shape(), result, |p, k, e| {
        if best[p].is_none_or(|(_, b)| replaces(kind, x.f(b), x.f(e))) {
            best[p] = Some((k, e));
        }
    });
    best
}

/// The element at index `k` of the window. What the attributes show to be no padding is neither tested nor clamped.
fn element<'a>(at: &Indexing<'a>, k: &[S<'a>]) -> S<'a> {
    let kind = kind(at.op);
    let (stride, low, high) = (at.op.ints("stride"), at.op.ints("low"), at.op.ints("high"));
    let dilation = at.op.ints("dilation");
    let shape = &at.operands[0].shape;
    let lead = shape.len() - k.len();
    let mut index = at.index.to_vec();
    let mut inside: Option<S<'a>> = None;
    let mut require = |condition: S<'a>| inside = Some(inside.map_or(condition, |i| i & condition));
    for i in 0..k.len() {
        let extent = at.extent(shape[lead + i]);
        let mut position = index[lead + i] * at.int(stride[i]) + k[i] * at.int(dilation[i]) - at.int(low[i]);
        if low[i] != 0 {
            require(position.ge(at.int(0)));
        }
        if high[i] != 0 {
            require(position.lt(extent));
            position = position.min(extent - at.int(1));
        }
        if low[i] != 0 {
            position = position.max(at.int(0));
        }
        index[lead + i] = position;
    }
    let element = at.load(0, &index);
    let Some(inside) = inside else { return element };
    if is_place(kind) {
        let (chosen, never) = if kind == ReduceKind::ArgMax { (i64::MAX, i64::MIN) } else { (i64::MIN, i64::MAX) };
        return inside.select(ordered_key(element, at.int(chosen)), at.int(never));
    }
    let identity = at.exprs.borrow_mut().constant(kind.identity(at.operands[0].dtype));
    inside.select(element, S::of(at.exprs, identity))
}

/// An `i64` that orders like the float `x`, with `nan` for NaN. No number is `i64::MIN` or `i64::MAX`, so one of these can
/// stand for padding, which must lose against infinities too.
fn ordered_key<'a>(x: S<'a>, nan: S<'a>) -> S<'a> {
    let x = if x.dtype() == DType::F64 { x } else { x.cast(DType::F32) };
    let integer = if x.dtype() == DType::F64 { DType::I64 } else { DType::I32 };
    let zero = x.lit(0.0);
    let bits = x.equals(zero).select(zero, x).bitcast(integer);
    // Negative floats have the sign bit and a magnitude that grows away from zero.
    let largest = bits.lit_int(if integer == DType::I64 { i64::MAX } else { i32::MAX.into() });
    let key = bits.lt(bits.lit_int(0)).select(bits.binary(ScalarOp::Xor, largest), bits);
    x.equals(x).select(key.cast(DType::I64), nan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{gradient, numbers, pattern, run};

    /// PyTorch's `max_pool2d(x, 3, stride=2, padding=1)` and its gradient.
    #[test]
    fn a_padded_maximum_as_in_pytorch() {
        let op = |kind| reduce_window(kind, &[3, 3], &[2, 2], &[1, 1], &[1, 1], &[1, 1]);
        let x = pattern(&[1, 1, 5, 5]);
        let y = run(&op(ReduceKind::Max), std::slice::from_ref(&x)).remove(0);
        assert_eq!(y.to_f64(), [5.0, 5.0, 4.0, 4.0, 5.0, 3.0, 4.0, 5.0, 5.0]);
        let seed = numbers([1, 1, 3, 3], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
        let dx = gradient(&op(ReduceKind::Max), &[x], seed).to_f64();
        let expected = [(1, 3.0), (4, 3.0), (12, 5.0), (15, 11.0), (18, 6.0), (23, 17.0)];
        for (i, d) in dx.into_iter().enumerate() {
            assert_eq!(d, expected.iter().find(|e| e.0 == i).map_or(0.0, |e| e.1), "at {i}");
        }
    }

    /// Padding counts as zero in a sum, and is never the place of an extremum.
    #[test]
    fn padding_is_the_identity() {
        let op = |kind| reduce_window(kind, &[2], &[1], &[1], &[1], &[1]);
        let x = numbers([2], [f64::NEG_INFINITY, -3.0]);
        assert_eq!(run(&op(ReduceKind::Max), std::slice::from_ref(&x))[0].to_f64(), [f64::NEG_INFINITY, -3.0, -3.0]);
        assert_eq!(run(&op(ReduceKind::ArgMax), &[x])[0].to_f64(), [1.0, 1.0, 0.0]);
        assert_eq!(run(&op(ReduceKind::Sum), &[numbers([2], [1.0, 2.0])])[0].to_f64(), [1.0, 3.0, 2.0]);
    }
}
