//! `convolution`: sums of products over windows, in groups of channels.

use super::convolution_derivative::{image_cotangent, weight_cotangent};
use crate::array::{Array, Data};
use crate::dim::Dim;
use crate::error::Error;
use crate::op::*;
use crate::ops::fold::Total;
use crate::ops::inputs::*;
use crate::ops::type_rule::*;
use crate::scalar::{S, ScalarOp};
use crate::types::{DType, Shape};

/// Cross-correlation of an image `x[N, C, s…]` with a weight `w[O, C / groups, k…]` over one to three spatial axes; the
/// result is `[N, O, out…]`. Along each spatial axis the image gets `lhs_dilation - 1` zeros between elements and `low` and
/// `high` zeros around it (negative numbers remove elements); the weight's elements are `rhs_dilation` apart, and places are
/// `stride` apart. Input channels `g·C/groups…` reach output channels `g·O/groups…` only.
pub fn convolution(stride: &[i64], low: &[i64], high: &[i64], lhs_dilation: &[i64], rhs_dilation: &[i64], groups: i64) -> Op {
    let [stride, low, high, lhs_dilation, rhs_dilation] = [stride, low, high, lhs_dilation, rhs_dilation].map(ints_attr);
    Op::new(&CONVOLUTION, [stride, low, high, lhs_dilation, rhs_dilation, Attr::Int(groups)])
}

/// See [`convolution`].
pub static CONVOLUTION: Record = Record {
    name: "convolution",
    attrs: &[
        ("stride", AttrKind::Ints),
        ("low", AttrKind::Ints),
        ("high", AttrKind::Ints),
        ("lhs_dilation", AttrKind::Ints),
        ("rhs_dilation", AttrKind::Ints),
        ("groups", AttrKind::Int),
    ],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [x, w] = rule.operands()?;
        rule.numbers(0)?;
        rule.same_dtype(0, 1)?;
        rule.ensure((3..=5).contains(&x.rank()), || {
            format!("needs batch, channels and 1 to 3 spatial axes in operand 0, which has {}", axes(x.rank()))
        })?;
        rule.rank(1, x.rank())?;
        let n = x.rank() - 2;
        let (stride, rhs_dilation) = (rule.ints("stride", n, 1)?, rule.ints("rhs_dilation", n, 1)?);
        let lhs_dilation = rule.ints("lhs_dilation", n, 1)?;
        let (low, high) = (rule.ints("low", n, i64::MIN)?, rule.ints("high", n, i64::MIN)?);
        let groups = op.int("groups");
        rule.ensure(groups >= 1, || format!("needs at least one group and was given {groups}"))?;
        let groups = Dim::constant(groups);
        let (channels, outputs) = (x.shape[1], w.shape[0]);
        for (what, extent) in [("input", channels), ("output", outputs)] {
            let divides = extent.rem(groups) == Dim::ZERO;
            rule.ensure(divides, || format!("needs {what} channels divisible by {groups} groups; there are {extent}"))?;
        }
        let names = ("operand 0's number", "operand 1's times the groups");
        rule.agree("input channels", (names.0, channels), (names.1, w.shape[1] * groups))?;
        let mut shape = Shape::from_iter([x.shape[0], outputs]);
        for i in 0..n {
            let padded = dilated(x.shape[2 + i], lhs_dilation[i]) + Dim::constant(low[i]) + Dim::constant(high[i]);
            rule.at_least(format_args!("the weight's extent of spatial axis {i}"), w.shape[2 + i], "", Dim::ONE)?;
            shape.push(rule.places(i, padded, dilated(w.shape[2 + i], rhs_dilation[i]), stride[i])?);
        }
        one(x.with_shape(shape))
    },
    reference: |r| {
        let [x, w] = r.inputs else { unreachable!("the type rule saw two operands") };
        let shape = r.results[0].sizes()?;
        Ok(vec![match (x.data(), w.data()) {
            (Data::Float(xs), Data::Float(ws)) => {
                let mut y = vec![Total::default(); shape.iter().product()];
                for_each_product(r.op, [x.shape(), w.shape(), &shape], |p, i, j| y[p].add(xs[i] * ws[j]));
                Array::floats(x.dtype(), shape, y.into_iter().map(Total::value).collect())
            }
            (Data::Int(xs), Data::Int(ws)) => {
                let mut y = vec![0i64; shape.iter().product()];
                for_each_product(r.op, [x.shape(), w.shape(), &shape], |p, i, j| {
                    y[p] = y[p].wrapping_add(xs[i].wrapping_mul(ws[j]));
                });
                Array::ints(x.dtype(), shape, y)
            }
            _ => unreachable!("the type rule requires equal element types"),
        }])
    },
    lowering: Lowering::Contraction(lowered),
    vjp: Vjp::Rule(|v| {
        let (x, w, dy) = (v.x(0), v.x(1), v.dy(0));
        vec![v.wanted[0].then(|| image_cotangent(v.op, x, w, dy)), v.wanted[1].then(|| weight_cotangent(v.op, x, w, dy))]
    }),
    jvp: Jvp::Multilinear,
    batch: Batch::Rule(batched),
    flops: |_, operands, results| {
        let products: Dim = operands[1].shape[1..].iter().copied().product();
        results[0].elements() * products * 2usize
    },
    samples: |s| {
        let add = |s: &mut Samples, op: Op, x: &[usize], w: &[usize], dtype: DType| {
            s.add(op, [normal(dtype, x.iter().copied()), normal(dtype, w.iter().copied())]);
        };
        let f64 = DType::F64;
        add(s, convolution(&[1], &[0], &[0], &[1], &[1], 1), &[2, 3, 5], &[2, 3, 3], f64);
        add(s, convolution(&[2], &[1], &[2], &[1], &[1], 1), &[1, 2, 6], &[3, 2, 3], f64);
        add(s, convolution(&[3], &[0], &[1], &[1], &[2], 2), &[2, 4, 9], &[6, 2, 2], f64);
        add(s, convolution(&[2], &[-1], &[2], &[3], &[2], 1), &[1, 2, 4], &[2, 2, 3], f64);
        add(s, convolution(&[1], &[2], &[-1], &[1], &[1], 3), &[2, 3, 4], &[6, 1, 2], f64);
        add(s, convolution(&[1, 1], &[1, 1], &[1, 1], &[1, 1], &[1, 1], 1), &[2, 2, 4, 3], &[2, 2, 3, 3], f64);
        add(s, convolution(&[2, 1], &[0, 2], &[1, 0], &[1, 2], &[2, 1], 2), &[1, 2, 5, 3], &[4, 1, 2, 3], f64);
        add(s, convolution(&[1, 1], &[0, 0], &[0, 0], &[1, 1], &[1, 1], 1), &[2, 3, 2, 2], &[4, 3, 1, 1], f64);
        add(s, convolution(&[2, 3], &[-1, 0], &[-1, 0], &[1, 1], &[1, 1], 1), &[1, 1, 6, 7], &[1, 1, 2, 2], f64);
        let volume = convolution(&[1, 2, 1], &[1, 0, 0], &[0, 1, 0], &[1, 1, 2], &[1, 1, 1], 1);
        add(s, volume, &[1, 2, 2, 3, 2], &[2, 2, 2, 2, 2], f64);
        add(s, convolution(&[1], &[0], &[0], &[1], &[1], 1), &[1, 1, 1], &[1, 1, 1], f64);
        add(s, convolution(&[1], &[3], &[3], &[1], &[1], 1), &[1, 2, 1], &[2, 2, 2], f64);
        add(s, convolution(&[1, 1], &[1, 1], &[1, 1], &[1, 1], &[1, 1], 1), &[2, 3, 8, 8], &[4, 3, 3, 3], DType::F32);
        add(s, convolution(&[1], &[1], &[1], &[1], &[1], 1), &[0, 2, 4], &[3, 2, 3], DType::F32);
        add(s, convolution(&[1], &[1], &[1], &[1], &[1], 1), &[2, 0, 4], &[3, 0, 3], DType::F32);
        add(s, convolution(&[1], &[2], &[1], &[1], &[1], 1), &[1, 2, 0], &[3, 2, 3], DType::F32);
        let integers = [range(DType::I64, [1, 2, 5], -9, 9), range(DType::I64, [2, 2, 3], -9, 9)];
        s.add(convolution(&[1], &[1], &[1], &[1], &[1], 1), integers);
    },
    error_samples: |s| {
        let (x, w) = (normal(DType::F32, [1, 4, 8]), normal(DType::F32, [6, 4, 3]));
        let plain = convolution(&[1], &[0], &[0], &[1], &[1], 1);
        s.add(plain.clone(), [x.clone()]);
        s.add(plain.clone(), [range(DType::Bool, [1, 4, 8], 0, 2), range(DType::Bool, [6, 4, 3], 0, 2)]);
        s.add(plain.clone(), [x.clone(), normal(DType::F64, [6, 4, 3])]);
        s.add(plain.clone(), [normal(DType::F32, [1, 4]), w.clone()]);
        s.add(plain.clone(), [x.clone(), normal(DType::F32, [6, 4])]);
        s.add(convolution(&[1, 1], &[0], &[0], &[1], &[1], 1), [x.clone(), w.clone()]);
        s.add(convolution(&[0], &[0], &[0], &[1], &[1], 1), [x.clone(), w.clone()]);
        s.add(convolution(&[1], &[0], &[0], &[0], &[1], 1), [x.clone(), w.clone()]);
        s.add(convolution(&[1], &[0], &[0], &[1], &[0], 1), [x.clone(), w.clone()]);
        s.add(convolution(&[1], &[0, 0], &[0], &[1], &[1], 1), [x.clone(), w.clone()]);
        s.add(convolution(&[1], &[0], &[0], &[1], &[1], 0), [x.clone(), w.clone()]);
        s.add(convolution(&[1], &[0], &[0], &[1], &[1], 3), [x.clone(), w.clone()]);
        s.add(convolution(&[1], &[0], &[0], &[1], &[1], 4), [x.clone(), w.clone()]);
        s.add(convolution(&[1], &[0], &[0], &[1], &[1], 2), [x.clone(), w.clone()]);
        s.add(plain.clone(), [x.clone(), normal(DType::F32, [6, 4, 0])]);
        s.add(plain.clone(), [x.clone(), normal(DType::F32, [6, 4, 9])]);
        s.add(convolution(&[1], &[-3], &[-3], &[1], &[1], 1), [x, w.clone()]);
        let t = Dim::symbol("T", 1, 32);
        s.add(plain, [symbolic(DType::F32, &[Dim::ONE, Dim::from(4), t]), w]);
    },
};

/// Calls `visit(result, image, weight)` with the positions of each product and where it is added.
fn for_each_product(op: &Op, [x, w, y]: [&[usize]; 3], mut visit: impl FnMut(usize, usize, usize)) {
    let n = x.len() - 2;
    let [stride, low] = [op.ints("stride"), op.ints("low")];
    let [lhs_dilation, rhs_dilation] = [op.ints("lhs_dilation"), op.ints("rhs_dilation")];
    let groups = op.int("groups") as usize;
    let [x_size, w_size, y_size]: [usize; 3] = [x, w, y].map(|s| s[2..].iter().product());
    let outputs = y[1] / groups;
    for k in 0..w_size {
        // The pairs of places in the result and elements of the image that this element of the weight joins.
        let mut pairs = vec![(0, 0)];
        let mut inner = w_size;
        for i in 0..n {
            inner /= w[2 + i];
            let offset = (k / inner % w[2 + i]) as i64 * rhs_dilation[i] - low[i];
            let (places, extent) = (y[2 + i], x[2 + i]);
            let along = |&(o, e): &(usize, usize)| {
                (0..places).filter_map(move |p| {
                    let position = p as i64 * stride[i] + offset;
                    let hit = position >= 0 && position % lhs_dilation[i] == 0 && position / lhs_dilation[i] < extent as i64;
                    hit.then(|| (o * places + p, e * extent + (position / lhs_dilation[i]) as usize))
                })
            };
            pairs = pairs.iter().flat_map(along).collect();
        }
        for image in 0..y[0] {
            for output in 0..y[1] {
                for channel in 0..w[1] {
                    let (to, from) = (image * y[1] + output, image * x[1] + output / outputs * w[1] + channel);
                    let weight = (output * w[1] + channel) * w_size + k;
                    for (o, e) in &pairs {
                        visit(to * y_size + o, from * x_size + e, weight);
                    }
                }
            }
        }
    }
}

/// The left operand is the weight. Points are `[group], output channel of the group, image, place…`, the contracted
/// axes `input channel of the group, element of the window…`; the axis of groups is left out if there is one group.
fn lowered<'a>(at: &Indexing<'a>) -> Contraction<'a> {
    let at = *at;
    let (w, y) = (&at.operands[1].shape, &at.results[0].shape);
    let groups = at.op.int("groups");
    let outputs = y[1].div_floor(Dim::constant(groups));
    let mut axes = Vec::new();
    if groups != 1 {
        axes.push((Dim::constant(groups), Role::Batch));
    }
    axes.extend([(outputs, Role::M), (y[0], Role::N)]);
    axes.extend(y[2..].iter().map(|&n| (n, Role::N)));
    let split = move |point: &[S<'a>]| {
        let (group, rest) = if groups == 1 { (at.int(0), point) } else { (point[0], &point[1..]) };
        let output = if groups == 1 { rest[0] } else { group * at.extent(outputs) + rest[0] };
        (group, output, rest[1], rest[2..].to_vec())
    };
    let channels = w[1];
    Contraction {
        axes,
        extents: w[1..].to_vec(),
        place: Box::new(move |point| {
            let (_, output, image, place) = split(point);
            [&[image, output], &place[..]].concat()
        }),
        lhs: Box::new(move |point, k| {
            let (_, output, _, _) = split(point);
            at.load(1, &[&[output], k].concat())
        }),
        rhs: Box::new(move |point, k| {
            let (group, _, image, place) = split(point);
            let channel = if groups == 1 { k[0] } else { group * at.extent(channels) + k[0] };
            image_element(&at, image, channel, &place, &k[1..])
        }),
    }
}

/// The element of the dilated and padded image under element `k` of the window at `place`. It is read at a clamped index,
/// and tested only for padding that there is.
fn image_element<'a>(at: &Indexing<'a>, image: S<'a>, channel: S<'a>, place: &[S<'a>], k: &[S<'a>]) -> S<'a> {
    let (op, shape) = (at.op, &at.operands[0].shape);
    let zero = S::literal(at.exprs, at.operands[0].dtype, 0.0);
    if shape[2..].contains(&Dim::ZERO) {
        return zero;
    }
    let mut index = vec![image, channel];
    let mut inside: Option<S<'a>> = None;
    let mut require = |condition: S<'a>| inside = Some(inside.map_or(condition, |i| i & condition));
    for i in 0..k.len() {
        let [stride, low, high] = ["stride", "low", "high"].map(|name| op.ints(name)[i]);
        let (step, spread) = (op.ints("lhs_dilation")[i], op.ints("rhs_dilation")[i]);
        let extent = dilated(shape[2 + i], step);
        let mut position = place[i] * at.int(stride) + k[i] * at.int(spread) - at.int(low);
        if low > 0 {
            require(position.ge(at.int(0)));
        }
        if high > 0 {
            require(position.lt(at.extent(extent)));
        }
        if step != 1 {
            require(position.binary(ScalarOp::Rem, at.int(step)).equals(at.int(0)));
        }
        if high > 0 {
            position = position.min(at.extent(extent - 1));
        }
        if low > 0 {
            position = position.max(at.int(0));
        }
        index.push(if step == 1 { position } else { position / at.int(step) });
    }
    let element = at.load(0, &index);
    inside.map_or(element, |inside| inside.select(element, zero))
}

/// Images of a batch merge into the images; weights of a batch into the output channels; both into the groups.
fn batched<'b, 'e>(b: &BatchArgs<'b, 'e>) -> Vec<crate::emit::X<'b, 'e>> {
    let (x, w, extent) = (b.operands[0], b.operands[1], b.extent);
    let (x_shape, w_shape) = (x.shape(), w.shape());
    let merged = |shape: &[Dim], first: usize| {
        let pair = [shape[first] * shape[first + 1]];
        [&shape[..first], &pair, &shape[first + 2..]].concat()
    };
    match (b.batched[0], b.batched[1]) {
        (true, false) => {
            let y = b.emitter.one(b.op.clone(), &[x.reshape(merged(&x_shape, 0)), w]);
            let shape = [&x_shape[..2], &y.shape()[1..]].concat();
            vec![y.reshape(shape)]
        }
        (false, _) => {
            // Each group has the outputs of all weights: [groups, batch, outputs of the group, …].
            let groups = Dim::constant(b.op.int("groups"));
            let outputs = w_shape[1].div_floor(groups);
            let split = w.reshape([&[extent, groups, outputs], &w_shape[2..]].concat());
            let swapped = |rank: usize, axis: usize| {
                let mut order: Vec<usize> = (0..rank).collect();
                order.swap(axis, axis + 1);
                order
            };
            let joined = split.transpose(&swapped(split.rank(), 0)).reshape([&[extent * w_shape[1]], &w_shape[2..]].concat());
            let y = b.emitter.one(b.op.clone(), &[x, joined]);
            let (images, places) = (y.shape()[0], Shape::from(&y.shape()[2..]));
            // [images, groups, batch, outputs of the group, …] to [batch, images, groups, outputs of the group, …].
            let apart = y.reshape([&[images, groups, extent, outputs], &places[..]].concat());
            let order: Vec<usize> = [2, 0, 1, 3].into_iter().chain(4..apart.rank()).collect();
            vec![apart.transpose(&order).reshape([&[extent, images, w_shape[1]], &places[..]].concat())]
        }
        (true, true) => {
            let Some(count) = extent.as_const().filter(|&n| n > 0) else {
                if extent != Dim::ZERO {
                    let message = "convolution cannot be batched over a symbolic extent in image and weight";
                    b.emitter.fail(Error::new(format!("{message}: {extent}")));
                }
                let one = [x, w].map(|v| crate::types::TensorType::new(v.dtype(), &v.shape()[1..]));
                let result = b.op.infer(&one).map_or_else(|_| one[0].clone(), |mut types| types.remove(0));
                return vec![b.emitter.full(result.dtype, 0.0, [&[extent], &result.shape[..]].concat())];
            };
            let order: Vec<usize> = [1, 0].into_iter().chain(2..x.rank()).collect();
            let turned = x.transpose(&order);
            let images = turned.reshape(merged(&turned.shape(), 1));
            let op = b.op.with_attr("groups", Attr::Int(b.op.int("groups") * count));
            let y = b.emitter.one(op, &[images, w.reshape(merged(&w_shape, 0))]);
            let (images, places) = (y.shape()[0], Shape::from(&y.shape()[2..]));
            let apart = y.reshape([&[images, extent, w_shape[1]], &places[..]].concat());
            vec![apart.transpose(&[1, 0].into_iter().chain(2..apart.rank()).collect::<Vec<_>>())]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::unravel;
    use crate::ops::dot_general;
    use crate::ops::testing::{pattern, run};

    /// `conv2d(x, w, stride=(2, 1), padding=(1, 2), dilation=(2, 1), groups=2)` in PyTorch.
    #[test]
    fn groups_strides_padding_and_dilation_as_in_pytorch() {
        let op = convolution(&[2, 1], &[1, 2], &[1, 2], &[1, 1], &[2, 1], 2);
        let y = run(&op, &[pattern(&[1, 2, 5, 4]), pattern(&[4, 1, 2, 3])]).remove(0);
        let expected = [
            0, 16, -12, -16, 24, -9, 4, 40, -23, -32, 48, -18, 5, 26, -8, -13, 26, -8, -8, 8, -12, -14, 26, -15, -14, 20, -29,
            -34, 48, -32, -5, 14, -14, -17, 24, -16, -4, 12, -12, -12, 16, 0, -11, 18, -22, -23, 40, 4, -6, 8, -7, -8, 26, 5, 5,
            -17, 28, -14, 8, 0, 5, 0, 19, -22, 20, 2, -10, 8, -17, -16, 14, 3,
        ];
        assert_eq!(y.shape(), [1, 4, 3, 6]);
        assert_eq!(y.to_f64(), expected.map(f64::from));
    }

    /// `conv_transpose1d(x, w, stride=2, padding=1, output_padding=1)` in PyTorch is the convolution of the dilated image
    /// with the flipped weight, its channels exchanged; padding is `k - 1 - 1` before and one more after.
    #[test]
    fn a_dilated_image_as_in_pytorch() {
        let (x, w) = (pattern(&[1, 2, 4]), pattern(&[2, 3, 3]));
        let turned = Array::from_fn_f64(DType::F64, [3, 2, 3], |p| {
            let [o, c, k] = unravel(p, &[3, 2, 3])[..] else { unreachable!() };
            w.f((c * 3 + o) * 3 + 2 - k)
        });
        let y = run(&convolution(&[1], &[1], &[2], &[2], &[1], 1), &[x, turned]).remove(0);
        let expected = [-2, -20, 25, 23, -3, 0, -9, -9, -4, -27, 20, -23, 0, 36, -9, -9, -6, -34, 15, -25, 3, 39, -9, -9];
        assert_eq!(y.to_f64(), expected.map(f64::from));
    }

    /// A convolution is the product of the weight and the explicit patches.
    #[test]
    fn patches_times_weight() {
        let (x, w) = (pattern(&[2, 3, 7]), pattern(&[4, 3, 2]));
        // Places at 0, 3, 6 of the image with one zero before and one after: pairs (-1, 1), (2, 4), (5, 7).
        let patches = Array::from_fn_f64(DType::F64, [2, 3, 2, 3], |p| {
            let [n, c, k, o] = unravel(p, &[2, 3, 2, 3])[..] else { unreachable!() };
            (3 * o + 2 * k).checked_sub(1).filter(|&i| i < 7).map_or(0.0, |i| x.f((n * 3 + c) * 7 + i))
        });
        let y = run(&convolution(&[3], &[1], &[1], &[1], &[2], 1), &[x, w.clone()]).remove(0);
        // [4, 2, 3] from dot_general, [2, 4, 3] from the convolution.
        let product = run(&dot_general(&[1, 2], &[1, 2], &[], &[]), &[w, patches]).remove(0);
        for p in 0..y.len() {
            let [n, o, i] = unravel(p, y.shape())[..] else { unreachable!() };
            assert_eq!(y.f(p), product.f((o * 2 + n) * 3 + i));
        }
    }

    /// A negative padding removes elements.
    #[test]
    fn negative_padding_crops() {
        let x = pattern(&[1, 1, 6]);
        let one = Array::floats(DType::F64, [1, 1, 1], vec![1.0]);
        let y = run(&convolution(&[1], &[-1], &[-2], &[1], &[1], 1), &[x.clone(), one]).remove(0);
        assert_eq!(y.to_f64(), x.to_f64()[1..4]);
    }
}
