//! `cumulative` and `recurrence`: results that depend on all elements before them along an axis.

use crate::array::{Array, unravel};
use crate::dim::Dim;
use crate::emit::X;
use crate::error::Result;
use crate::op::*;
use crate::ops::fold::Total;
use crate::ops::inputs::*;
use crate::ops::type_rule::*;
use crate::ops::{pad, slice};
use crate::types::DType;

/// For each element, what `kind` makes of it and those before it along `axis` (behind it, if `reverse`): `"sum"`, `"prod"`,
/// `"logsumexp"` of floats, or the place (`i64`) of the last extremum, `"argmax"` or `"argmin"`; a NaN counts as one.
pub fn cumulative(kind: &'static str, axis: usize, reverse: bool) -> Op {
    Op::new(&CUMULATIVE, [Attr::Name(kind), Attr::Int(axis as i64), Attr::Bool(reverse)])
}

/// See [`cumulative`].
pub static CUMULATIVE: Record = Record {
    name: "cumulative",
    attrs: &[
        ("kind", AttrKind::Name(&["sum", "prod", "logsumexp", "argmax", "argmin"])),
        ("axis", AttrKind::Int),
        ("reverse", AttrKind::Bool),
    ],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [x] = rule.operands()?;
        rule.axis("axis", x.rank())?;
        rule.numbers(0)?;
        rule.ensure(x.dtype != DType::U32, || "is not computed for u32".into())?;
        match op.choice("kind") {
            "logsumexp" => rule.float(0)?,
            "argmax" | "argmin" => return one(x.with_dtype(DType::I64)),
            _ => {}
        }
        one(x.clone())
    },
    reference,
    lowering: Lowering::Library,
    vjp: Vjp::Rule(|v| {
        let (axis, reverse) = (v.op.int("axis") as usize, v.op.bool("reverse"));
        let (x, dy) = (v.x(0), v.dy(0));
        vec![match v.op.choice("kind") {
            "sum" => Some(dy.unary(cumulative("sum", axis, !reverse))),
            "prod" => {
                // Without a division: what comes before, times what a change here does to all that follows.
                let before = shifted(v.y(0), axis, reverse, 1.0);
                let next = shifted(x, axis, !reverse, 0.0);
                Some(before * v.emitter.one(recurrence(axis, !reverse), &[next, dy]))
            }
            // The recurrence of the tangents, transposed.
            "logsumexp" => {
                let (kept, own) = weights(v.op, x, v.y(0));
                let next = shifted(kept, axis, !reverse, 0.0);
                Some(own * v.emitter.one(recurrence(axis, !reverse), &[next, dy]))
            }
            _ => None,
        }]
    }),
    jvp: Jvp::Rule(|j| {
        let (axis, reverse) = (j.op.int("axis") as usize, j.op.bool("reverse"));
        let (x, Some(t)) = (j.operands[0], j.tangents[0]) else { return vec![None] };
        vec![match j.op.choice("kind") {
            "sum" => Some(t.unary(j.op.clone())),
            // y' = x · y'before + x' · y before
            "prod" => {
                let before = shifted(j.results[0], axis, reverse, 1.0);
                Some(j.emitter.one(recurrence(axis, reverse), &[x, t * before]))
            }
            // y' = weight of what came before · y'before + weight of x · x'
            "logsumexp" => {
                let (kept, own) = weights(j.op, x, j.results[0]);
                Some(j.emitter.one(recurrence(axis, reverse), &[kept, own * t]))
            }
            _ => None,
        }]
    }),
    batch: Batch::Rule(|b| {
        let axis = b.op.int("axis") + 1;
        vec![b.emitter.one(b.op.with_attr("axis", Attr::Int(axis)), &[b.batched(0)])]
    }),
    flops: |_, operands, _| operands[0].elements(),
    samples: |s| {
        for reverse in [false, true] {
            for kind in ["sum", "prod", "logsumexp", "argmax", "argmin"] {
                s.add(cumulative(kind, 0, reverse), [distinct(DType::F64, [6])]);
                s.add(cumulative(kind, 1, reverse), [distinct(DType::F64, [2, 4, 3])]);
                s.add(cumulative(kind, 1, reverse), [normal(DType::F32, [3, 9])]);
                s.add(cumulative(kind, 0, reverse), [range(DType::F16, [8], -2, 3)]);
                s.add(cumulative(kind, 1, reverse), [normal(DType::F32, [3, 0])]);
                s.add(cumulative(kind, 0, reverse), [normal(DType::F32, [1, 2])]);
            }
            for kind in ["sum", "prod", "argmax", "argmin"] {
                s.add(cumulative(kind, 0, reverse), [range(DType::I64, [7], -3, 4)]);
                s.add(cumulative(kind, 1, reverse), [range(DType::U8, [2, 5], 0, 9)]);
                s.add(cumulative(kind, 1, reverse), [range(DType::I8, [2, 5], -90, 90)]);
            }
            for kind in ["argmax", "argmin"] {
                s.add(cumulative(kind, 0, reverse), [specials(DType::F32, [24])]);
            }
        }
    },
    error_samples: |s| {
        s.add(cumulative("sum", 1, false), [normal(DType::F32, [3])]);
        s.add(cumulative("sum", 0, false), [normal(DType::F32, [])]);
        s.add(cumulative("sum", 0, false), [range(DType::Bool, [3], 0, 2)]);
        s.add(cumulative("logsumexp", 0, false), [range(DType::I64, [3], 0, 2)]);
        s.add(cumulative("sum", 0, false), []);
    },
};

/// `h[k] = b[k] + a[k] · h[k-1]` along `axis`, from `h = 0` before the first element on (behind the last, if `reverse`):
/// operands `a` and `b`. The factor of the first step is not used.
pub fn recurrence(axis: usize, reverse: bool) -> Op {
    Op::new(&RECURRENCE, [Attr::Int(axis as i64), Attr::Bool(reverse)])
}

/// See [`recurrence`].
pub static RECURRENCE: Record = Record {
    name: "recurrence",
    attrs: &[("axis", AttrKind::Int), ("reverse", AttrKind::Bool)],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [a, _] = rule.operands()?;
        rule.axis("axis", a.rank())?;
        rule.float(0)?;
        rule.same_dtype(0, 1)?;
        rule.same_shape(0, 1)?;
        one(a.clone())
    },
    reference: |r| {
        let (a, b, shape) = (r.inputs[0], r.inputs[1], r.results[0].sizes()?);
        let mut h = vec![0.0; a.len()];
        for (i, before) in in_order(r.op, &shape) {
            h[i] = b.f(i) + before.map_or(0.0, |p| a.f(i) * h[p]);
        }
        Ok(vec![Array::floats(a.dtype(), shape, h)])
    },
    lowering: Lowering::Library,
    vjp: Vjp::Rule(|v| {
        let (axis, reverse) = (v.op.int("axis") as usize, v.op.bool("reverse"));
        let next = shifted(v.x(0), axis, !reverse, 0.0);
        let db = v.emitter.one(recurrence(axis, !reverse), &[next, v.dy(0)]);
        let before = shifted(v.y(0), axis, reverse, 0.0);
        vec![Some(db * before), Some(db)]
    }),
    jvp: Jvp::Rule(|j| {
        let (axis, reverse) = (j.op.int("axis") as usize, j.op.bool("reverse"));
        let before = shifted(j.results[0], axis, reverse, 0.0);
        let terms = [j.tangents[0].map(|t| t * before), j.tangents[1]];
        let drive = terms.into_iter().flatten().reduce(|a, b| a + b);
        vec![drive.map(|drive| j.emitter.one(j.op.clone(), &[j.operands[0], drive]))]
    }),
    batch: Batch::Rule(|b| {
        let axis = b.op.int("axis") + 1;
        vec![b.emitter.one(b.op.with_attr("axis", Attr::Int(axis)), &[b.batched(0), b.batched(1)])]
    }),
    flops: |_, operands, _| operands[0].elements() * Dim::constant(2),
    samples: |s| {
        for reverse in [false, true] {
            s.add(recurrence(0, reverse), [normal(DType::F64, [5]), normal(DType::F64, [5])]);
            s.add(recurrence(1, reverse), [normal(DType::F64, [2, 4, 3]), normal(DType::F64, [2, 4, 3])]);
            s.add(recurrence(1, reverse), [normal(DType::F32, [3, 7]), normal(DType::F32, [3, 7])]);
            s.add(recurrence(0, reverse), [normal(DType::BF16, [6]), normal(DType::BF16, [6])]);
            s.add(recurrence(0, reverse), [normal(DType::F32, [0, 2]), normal(DType::F32, [0, 2])]);
        }
    },
    error_samples: |s| {
        let x = normal(DType::F32, [3, 2]);
        s.add(recurrence(2, false), [x.clone(), x.clone()]);
        s.add(recurrence(0, false), [x.clone()]);
        s.add(recurrence(0, false), [x.clone(), normal(DType::F64, [3, 2])]);
        s.add(recurrence(0, false), [x, normal(DType::F32, [3, 1])]);
        s.add(recurrence(0, false), [range(DType::I64, [3], 0, 2), range(DType::I64, [3], 0, 2)]);
    },
};

/// The weights of what came before and of `x` itself in the logarithm `y` of a sum of exponentials; 0 where the sum is 0.
/// They add up to 1: the exponential of a difference of two logarithms of sums would keep the rounding of both, in each of
/// the steps.
fn weights<'b, 'e>(op: &Op, x: X<'b, 'e>, y: X<'b, 'e>) -> (X<'b, 'e>, X<'b, 'e>) {
    let before = shifted(y, op.int("axis") as usize, op.bool("reverse"), f64::NEG_INFINITY);
    let (none, zero) = (y.compare("eq", y.lit(f64::NEG_INFINITY)), y.lit(0.0));
    let gap = none.select(zero, x) - none.select(zero, before);
    let weight = |gap: X<'b, 'e>| none.select(zero, gap.pointwise("sigmoid"));
    (weight(-gap), weight(gap))
}

/// `x` moved by one place along `axis`, away from where the direction begins; `fill` is what comes in.
fn shifted<'b, 'e>(x: X<'b, 'e>, axis: usize, reverse: bool, fill: f64) -> X<'b, 'e> {
    let shape = x.shape();
    let none = vec![Dim::ZERO; shape.len()];
    let (mut low, mut high, mut start, mut limit) = (none.clone(), none.clone(), none.clone(), shape.to_vec());
    if reverse {
        high[axis] = Dim::ONE;
        start[axis] = Dim::ONE;
        limit[axis] = limit[axis] + 1;
    } else {
        low[axis] = Dim::ONE;
    }
    let padded = x.emitter.one(pad(&low, &high, &vec![0; shape.len()]), &[x, x.lit(fill)]);
    padded.unary(slice(&start, &limit, &vec![1; shape.len()]))
}

/// All positions, each after the one before it along the operator's axis, which comes with it.
fn in_order(op: &Op, shape: &[usize]) -> Vec<(usize, Option<usize>)> {
    let (axis, reverse) = (op.int("axis") as usize, op.bool("reverse"));
    let (count, stride): (usize, usize) = (shape.iter().product(), shape[axis + 1..].iter().product());
    let pair = |i: usize| {
        let k = unravel(i, shape)[axis];
        let before = if reverse { (k + 1 < shape[axis]).then(|| i + stride) } else { (k > 0).then(|| i - stride) };
        (i, before)
    };
    let pairs = (0..count).map(pair);
    if reverse { pairs.rev().collect() } else { pairs.collect() }
}

fn reference(r: &Reference) -> Result<Vec<Array>> {
    let (x, shape, kind) = (r.inputs[0], r.results[0].sizes()?, r.op.choice("kind"));
    let order = in_order(r.op, &shape);
    if matches!(kind, "argmax" | "argmin") {
        let axis = r.op.int("axis") as usize;
        let mut best: Vec<usize> = vec![0; x.len()];
        let number = |i: usize| if x.dtype().is_float() { x.f(i) } else { x.i(i) as f64 };
        for (i, before) in order {
            let replaced = |b: usize| {
                let (old, new) = (number(b), number(i));
                new.is_nan() || !old.is_nan() && if kind == "argmax" { new >= old } else { new <= old }
            };
            best[i] = before.map(|p| best[p]).filter(|&b| !replaced(b)).unwrap_or(i);
        }
        return Ok(vec![Array::from_fn_i64(DType::I64, shape.clone(), |i| unravel(best[i], &shape)[axis] as i64)]);
    }
    if !x.dtype().is_float() {
        let mut y = vec![0i64; x.len()];
        for (i, before) in order {
            y[i] = match (before, kind) {
                (None, _) => x.i(i),
                (Some(p), "sum") => y[p].wrapping_add(x.i(i)),
                (Some(p), _) => y[p].wrapping_mul(x.i(i)),
            };
        }
        return Ok(vec![Array::ints(x.dtype(), shape, y)]);
    }
    let mut y = vec![0.0; x.len()];
    let mut totals = vec![Total::default(); x.len()];
    for (i, before) in order {
        totals[i] = before.map_or(Total::default(), |p| totals[p]);
        totals[i].add(x.f(i));
        y[i] = match (before, kind) {
            (_, "sum") => totals[i].value(),
            (None, _) => x.f(i),
            (Some(p), "prod") => y[p] * x.f(i),
            (Some(p), _) => {
                let largest = f64::max(y[p], x.f(i));
                match largest {
                    m if m.is_infinite() && !y[p].is_nan() && !x.f(i).is_nan() => m,
                    m => m + ((y[p] - m).exp() + (x.f(i) - m).exp()).ln(),
                }
            }
        };
    }
    Ok(vec![Array::floats(x.dtype(), shape, y)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{gradient, numbers, run};

    /// PyTorch's `cumprod` has these gradients, where a quotient would be 0 / 0.
    #[test]
    fn products_with_a_zero_have_gradients() {
        let x = numbers([4], [2.0, 0.0, 3.0, 4.0]);
        let op = cumulative("prod", 0, false);
        assert_eq!(run(&op, std::slice::from_ref(&x))[0].to_f64(), [2.0, 0.0, 0.0, 0.0]);
        let dx = gradient(&op, &[x], numbers([4], [1.0; 4]));
        assert_eq!(dx.to_f64(), [1.0, 2.0 + 6.0 + 24.0, 0.0, 0.0]);
    }

    #[test]
    fn extrema_are_the_last_of_equal_ones() {
        let x = numbers([5], [1.0, 3.0, 3.0, f64::NAN, 2.0]);
        assert_eq!(run(&cumulative("argmax", 0, false), &[x])[0].to_f64(), [0.0, 1.0, 2.0, 3.0, 3.0]);
    }

    /// Numbers whose powers overflow.
    #[test]
    fn sums_of_powers_do_not_overflow() {
        let x = numbers([3], [1000.0, 1000.0, f64::NEG_INFINITY]);
        let y = run(&cumulative("logsumexp", 0, false), std::slice::from_ref(&x))[0].to_f64();
        assert_eq!(y, [1000.0, 1000.0 + 2f64.ln(), 1000.0 + 2f64.ln()]);
        let dx = gradient(&cumulative("logsumexp", 0, false), &[x], numbers([3], [1.0, -1.0, 2.0]));
        let expected = [1.0 - 0.5 + 1.0, -0.5 + 1.0, 0.0];
        assert!(dx.to_f64().iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{:?}", dx.to_f64());
    }
}
