//! `convolution`: sums of products over windows, in groups of channels.

use crate::dim::Dim;
use crate::op::*;
use crate::ops::type_rule::*;
use crate::types::Shape;

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
            format!("needs an operand 0 of batch, channels and 1 to 3 spatial axes; it has {} axes", x.rank())
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
        let names = ("those of the operand", "those of the weight times the groups");
        rule.agree("input channels", (names.0, channels), (names.1, w.shape[1] * groups))?;
        let mut shape = Shape::from_iter([x.shape[0], outputs]);
        for i in 0..n {
            let padded = dilated(x.shape[2 + i], lhs_dilation[i]) + Dim::constant(low[i]) + Dim::constant(high[i]);
            rule.at_least(w.shape[2 + i], Dim::ONE, || (format!("the weight's extent of spatial axis {i}"), "one".into()))?;
            shape.push(rule.places(i, padded, dilated(w.shape[2 + i], rhs_dilation[i]), stride[i])?);
        }
        one(x.with_shape(shape))
    },
    ..PENDING
};
