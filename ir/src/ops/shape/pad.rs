//! `pad`: a border, and holes between elements.

use crate::array::Array;
use crate::dim::Dim;
use crate::emit::X;
use crate::op::*;
use crate::ops::inputs::*;
use crate::ops::type_rule::*;
use crate::ops::{slice, walk};
use crate::scalar::{S, ScalarOp};
use crate::types::{DType, Literal, Shape};

/// Puts `low[i]` elements before, `high[i]` after and `interior[i]` between any two elements along axis `i`;
/// they have the value of the second operand, a scalar.
pub fn pad(low: &[Dim], high: &[Dim], interior: &[i64]) -> Op {
    Op::new(&PAD, [Attr::Dims(low.into()), Attr::Dims(high.into()), ints_attr(interior)])
}

/// See [`pad`].
pub static PAD: Record = Record {
    name: "pad",
    attrs: &[("low", AttrKind::Dims), ("high", AttrKind::Dims), ("interior", AttrKind::Ints)],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [x, _] = rule.operands()?;
        rule.same_dtype(0, 1)?;
        rule.rank(1, 0)?;
        let (low, high) = (rule.extents("low", x.rank())?, rule.extents("high", x.rank())?);
        let interior = rule.ints("interior", x.rank(), 0)?;
        let shape: Shape = (0..x.rank()).map(|i| low[i] + dilated(x.shape[i], interior[i] + 1) + high[i]).collect();
        one(x.with_shape(shape))
    },
    reference: |r| {
        let (x, shape) = (r.inputs[0], r.results[0].sizes()?);
        let (mut first, mut strides) = (0, walk::strides(&shape));
        for (i, stride) in strides.iter_mut().enumerate() {
            first += *stride * r.op.dims("low")[i].get()? as isize;
            *stride *= r.op.ints("interior")[i] as isize + 1;
        }
        // One past the end of the operand stands for the padding.
        let mut source = vec![x.len(); shape.iter().product()];
        for (i, p) in walk::positions(x.shape(), first, &strides).into_iter().enumerate() {
            source[p] = i;
        }
        Ok(vec![Array::joined(r.inputs).gathered(shape, |i| source[i])])
    },
    lowering: Lowering::Map(element),
    vjp: Vjp::Rule(|v| {
        let dx = inside(v.op, v.dy(0), &v.x(0).shape());
        let dvalue = v.wanted[1].then(|| {
            let dy = v.dy(0);
            let axes: Vec<usize> = (0..dy.rank()).collect();
            is_inside(v.emitter, v.op, &v.x(0).shape()).select(dy.lit(0.0), dy).sum(&axes)
        });
        vec![Some(dx), dvalue]
    }),
    jvp: Jvp::Linear,
    batch: Batch::Rule(|b| {
        let (low, high) = (b.op.dims("low"), b.op.dims("high"));
        let (low, high) = ([&[Dim::ZERO], low].concat(), [&[Dim::ZERO], high].concat());
        let op = pad(&low, &high, &[&[0], b.op.ints("interior")].concat());
        if !b.batched[1] {
            return vec![b.emitter.one(op, &b.operands)];
        }
        let (x, value) = (b.batched(0), b.operands[1]);
        let zero = b.emitter.scalar(Literal::float(x.dtype(), 0.0));
        let padded = b.emitter.one(op.clone(), &[x, zero]);
        let values = value.broadcast(padded.shape(), &[0]);
        vec![is_inside(b.emitter, &op, &x.shape()).select(padded, values)]
    }),
    flops: no_flops,
    samples: |s| {
        s.add(pad(&[], &[], &[]), [normal(DType::F64, []), normal(DType::F64, [])]);
        s.add(pad(&dims([1]), &dims([2]), &[0]), [normal(DType::F64, [3]), normal(DType::F64, [])]);
        s.add(pad(&dims([0, 2]), &dims([1, 0]), &[0, 0]), [normal(DType::F64, [2, 3]), normal(DType::F64, [])]);
        s.add(pad(&dims([0, 2]), &dims([1, 0]), &[2, 1]), [normal(DType::F64, [4, 3]), normal(DType::F64, [])]);
        s.add(pad(&dims([0, 1]), &dims([0, 1]), &[3, 1]), [normal(DType::F32, [1, 3]), normal(DType::F32, [])]);
        s.add(pad(&dims([0, 0]), &dims([0, 0]), &[0, 0]), [normal(DType::F32, [2, 3]), normal(DType::F32, [])]);
        s.add(pad(&dims([2, 0]), &dims([1, 0]), &[1, 0]), [normal(DType::F64, [0, 2]), normal(DType::F64, [])]);
        s.add(pad(&dims([1]), &dims([1]), &[0]), [range(DType::I64, [4], -9, 9), range(DType::I64, [], -9, 9)]);
        s.add(pad(&dims([1]), &dims([1]), &[1]), [range(DType::Bool, [4], 0, 2), range(DType::Bool, [], 0, 2)]);
    },
    error_samples: |s| {
        let (x, zero) = (normal(DType::F32, [2]), normal(DType::F32, []));
        let b = Dim::symbol("B", 1, 8);
        s.add(pad(&dims([1]), &dims([1]), &[0]), [x.clone()]);
        s.add(pad(&dims([1]), &dims([1]), &[0]), [x.clone(), normal(DType::F64, [])]);
        s.add(pad(&dims([1]), &dims([1]), &[0]), [x.clone(), normal(DType::F32, [1])]);
        s.add(pad(&dims([]), &dims([1]), &[0]), [x.clone(), zero.clone()]);
        s.add(pad(&dims([1]), &dims([1, 1]), &[0]), [x.clone(), zero.clone()]);
        s.add(pad(&dims([1]), &dims([1]), &[]), [x.clone(), zero.clone()]);
        s.add(pad(&dims([1]), &dims([1]), &[-1]), [x.clone(), zero.clone()]);
        s.add(pad(&[Dim::constant(-1)], &dims([1]), &[0]), [x.clone(), zero.clone()]);
        s.add(pad(&dims([1]), &[b - 4], &[0]), [x, zero]);
    },
};

/// `x` padded with zeros by amounts that may be negative: then elements are removed. Where a symbolic amount may be either,
/// enough is added and then a constant number of elements removed.
pub(crate) fn pad_or_crop<'b, 'e>(x: X<'b, 'e>, low: &[Dim], high: &[Dim], interior: &[i64]) -> X<'b, 'e> {
    let (low, high): (Vec<_>, Vec<_>) = low.iter().zip(high).map(|(&l, &h)| (split_sign(l), split_sign(h))).unzip();
    let added = |amounts: &[(Dim, i64)]| amounts.iter().map(|a| a.0).collect::<Vec<_>>();
    let none = |amounts: &[Dim]| amounts.iter().all(|&a| a == Dim::ZERO);
    let (before, after) = (added(&low), added(&high));
    let padded = match none(&before) && none(&after) && interior.iter().all(|&i| i == 0) {
        true => x,
        false => x.emitter.one(pad(&before, &after, interior), &[x, x.lit(0.0)]),
    };
    if low.iter().chain(&high).all(|a| a.1 == 0) {
        return padded;
    }
    let start: Vec<Dim> = low.iter().map(|a| Dim::constant(a.1)).collect();
    let limit: Vec<Dim> = padded.shape().iter().zip(&high).map(|(&n, a)| n - Dim::constant(a.1)).collect();
    padded.unary(slice(&start, &limit, &vec![1; start.len()]))
}

/// `amount` as `(add, remove)` with `add - remove = amount`, both not negative.
pub(crate) fn split_sign(amount: Dim) -> (Dim, i64) {
    let remove = amount.bounds().0.saturating_neg().max(0);
    (amount + Dim::constant(remove), remove)
}

/// The part of `y`, a padded tensor, that the operand of shape `shape` went to.
fn inside<'b, 'e>(op: &Op, y: X<'b, 'e>, shape: &[Dim]) -> X<'b, 'e> {
    let (low, interior) = (op.dims("low"), op.ints("interior"));
    let limit: Vec<Dim> = (0..shape.len()).map(|i| low[i] + dilated(shape[i], interior[i] + 1)).collect();
    let stride: Vec<i64> = interior.iter().map(|i| i + 1).collect();
    y.unary(slice(low, &limit, &stride))
}

/// Where the result of padding an operand of shape `shape` has its elements, not padding.
fn is_inside<'b, 'e>(emitter: &'b crate::emit::Emitter<'e>, op: &Op, shape: &[Dim]) -> X<'b, 'e> {
    let (yes, no) = (emitter.full(DType::Bool, 1.0, shape), emitter.scalar(Literal::int(DType::Bool, 0)));
    emitter.one(op.clone(), &[yes, no])
}

/// An element of the operand, or of the padding. The index is clamped so that the operand is read inside its bounds
/// always; what the attributes show to be inside is neither clamped nor tested.
fn element<'a>(at: &Indexing<'a>) -> S<'a> {
    let (low, high, interior) = (at.op.dims("low"), at.op.dims("high"), at.op.ints("interior"));
    let padding = at.load(1, &[]);
    let shape = &at.operands[0].shape;
    if shape.contains(&Dim::ZERO) {
        return padding;
    }
    let mut inside: Option<S<'a>> = None;
    let mut require = |condition: S<'a>| inside = Some(inside.map_or(condition, |i| i & condition));
    let mut index = Vec::with_capacity(shape.len());
    for i in 0..shape.len() {
        let (step, extent) = (interior[i] + 1, dilated(shape[i], interior[i] + 1));
        if low[i] != Dim::ZERO {
            require(at.index[i].ge(at.extent(low[i])));
        }
        if high[i] != Dim::ZERO {
            require(at.index[i].lt(at.extent(low[i] + extent)));
        }
        let mut position = at.index[i] - at.extent(low[i]);
        if step != 1 {
            require(position.binary(ScalarOp::Rem, at.int(step)).equals(at.int(0)));
        }
        if high[i] != Dim::ZERO {
            position = position.min(at.extent(extent - 1));
        }
        if low[i] != Dim::ZERO {
            position = position.max(at.int(0));
        }
        index.push(if step == 1 { position } else { position / at.int(step) });
    }
    let element = at.load(0, &index);
    inside.map_or(element, |inside| inside.select(element, padding))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::map_text;
    use crate::types::TensorType;

    #[test]
    fn only_padding_that_there_is_is_tested_for() {
        let text = |low: usize, high: usize, interior: i64| {
            let scalar = TensorType::scalar(DType::F32);
            map_text(&pad(&dims([low]), &dims([high]), &[interior]), &[TensorType::new(DType::F32, [8usize]), scalar])
        };
        assert_eq!(text(0, 0, 0), "y[i] = a[i]");
        assert_eq!(text(0, 2, 0), "y[i] = select(i < 8, a[min(i, 7)], b)");
        assert_eq!(text(2, 0, 0), "y[i] = select(i >= 2, a[max(i - 2, 0)], b)");
        let holes = "let t1 = i - 1; y[i] = select((i >= 1) & (i < 16) & (t1 % 2 == 0), a[max(min(t1, 14), 0) / 2], b)";
        assert_eq!(text(1, 1, 1), holes);
    }

    #[test]
    fn amounts_of_either_sign_are_split() {
        let n = Dim::symbol("N", 1, 9);
        assert_eq!(split_sign(Dim::constant(-2)), (Dim::ZERO, 2));
        assert_eq!(split_sign(n), (n, 0));
        assert_eq!(split_sign(n - 4), (n - 1, 3));
        assert_eq!(split_sign(n.rem(3) - 1), (n.rem(3), 1));
    }
}
