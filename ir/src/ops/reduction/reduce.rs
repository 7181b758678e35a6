//! `reduce`: sum, product, maximum, minimum, and, or over axes.

use super::{not_empty, reduced_axes};
use crate::op::*;
use crate::ops::type_rule::*;
use crate::types::DType;

/// Combines the elements along `axes` (increasing), which disappear. `kind` is `Sum`, `Prod`, `Max`, `Min`, `And` or `Or`.
pub fn reduce(kind: ReduceKind, axes: &[usize]) -> Op {
    Op::new(&REDUCE, [Attr::Name(kind.name()), axes_attr(axes)])
}

/// See [`reduce`].
pub static REDUCE: Record = Record {
    name: "reduce",
    attrs: &[("kind", AttrKind::Name(&["sum", "prod", "max", "min", "and", "or"])), ("axes", AttrKind::Ints)],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [x] = rule.operands()?;
        let axes = reduced_axes(rule, x.rank())?;
        match kind(op) {
            ReduceKind::And | ReduceKind::Or => {
                rule.ensure(!x.dtype.is_float(), || format!("needs bool or integers for `and` and `or`, not {}", x.dtype))?;
            }
            ReduceKind::Max => not_empty(rule, &axes, "maximum")?,
            ReduceKind::Min => not_empty(rule, &axes, "minimum")?,
            _ => {}
        }
        let logical = matches!(kind(op), ReduceKind::And | ReduceKind::Or);
        rule.ensure(logical || x.dtype != DType::Bool, || format!("needs numbers, not bool, for `{}`", kind(op).name()))?;
        one(x.with_shape(without(&x.shape, &axes)))
    },
    ..PENDING
};

fn kind(op: &Op) -> ReduceKind {
    ReduceKind::from_name(op.choice("kind")).expect("the choices are names of kinds")
}
