//! `reduce_window`: pooling.

use crate::dim::Dim;
use crate::op::*;
use crate::ops::type_rule::*;
use crate::types::{DType, TensorType};

/// Combines the elements in each place of a window that moves over the last `window.len()` axes. `low` and `high` elements of
/// padding surround each of these axes; they count as the identity. `dilation` is the distance between elements of the
/// window. `kind` is `Sum`, `Max`, `Min`, or `ArgMax` or `ArgMin`: the first extremum's row-major position (`i64`) inside
/// the window, which is never padding unless all is (then 0).
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
        let index = matches!(op.choice("kind"), "argmax" | "argmin");
        one(if index { result.with_dtype(DType::I64) } else { result })
    },
    ..PENDING
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
    let ints = [window, stride, low, high, dilation].map(ints_attr);
    let [window, stride, low, high, dilation] = ints;
    [Attr::Name(kind.name()), window, stride, low, high, dilation]
}

/// The type of one result for each place of the window.
pub(super) fn pooled(rule: TypeRule, x: &TensorType) -> crate::Result<TensorType> {
    let n = rule.op.ints("window").len();
    rule.ensure((1..=x.rank()).contains(&n), || format!("has a window of {n} axes; the operand has {}", x.rank()))?;
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
