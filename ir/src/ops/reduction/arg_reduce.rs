//! `arg_reduce`: where the maximum or minimum is.

use super::{not_empty, reduced_axes};
use crate::op::*;
use crate::ops::type_rule::*;
use crate::types::DType;

/// The position (`i64`, row-major over `axes`, increasing) of the first extremum; a NaN counts as one.
/// `kind` is `ArgMax` or `ArgMin`.
pub fn arg_reduce(kind: ReduceKind, axes: &[usize]) -> Op {
    Op::new(&ARG_REDUCE, [Attr::Name(kind.name()), axes_attr(axes)])
}

/// See [`arg_reduce`].
pub static ARG_REDUCE: Record = Record {
    name: "arg_reduce",
    attrs: &[("kind", AttrKind::Name(&["argmax", "argmin"])), ("axes", AttrKind::Ints)],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [x] = rule.operands()?;
        rule.numbers(0)?;
        let axes = reduced_axes(rule, x.rank())?;
        not_empty(rule, &axes, "extremum")?;
        one(x.with_shape(without(&x.shape, &axes)).with_dtype(DType::I64))
    },
    ..PENDING
};
