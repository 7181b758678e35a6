//! `scatter`: elements put, added or otherwise combined at computed places.

use super::gather::index_operands;
use crate::op::*;
use crate::ops::type_rule::*;
use crate::types::{DType, Shape};

/// The first operand with elements combined at computed places: operands `x, i1…ik, updates`. The indices (`i64` or
/// `i32`, all of one shape `I`) select along `axes[0]…axes[k-1]` of `x`; `updates` has shape `I` followed by the other axes
/// of `x`. Updates are applied in row-major order of `I`; without `combine` (`Sum`, `Prod`, `Max`, `Min`) they replace,
/// so the last one stays. An index is clamped into range.
pub fn scatter(axes: &[usize], combine: Option<ReduceKind>) -> Op {
    Op::new(&SCATTER, [axes_attr(axes), Attr::Name(combine.map_or("none", ReduceKind::name))])
}

/// See [`scatter`].
pub static SCATTER: Record = Record {
    name: "scatter",
    attrs: &[("axes", AttrKind::Ints), ("combine", AttrKind::Name(&["none", "sum", "prod", "max", "min"]))],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [x, indices @ .., updates] = operands else {
            return Err(rule.error(format_args!("takes a tensor, indices and updates and was given {} operands", operands.len())));
        };
        let (axes, shape) = index_operands(rule, x, indices)?;
        let last = operands.len() - 1;
        rule.same_dtype(0, last)?;
        rule.ensure(op.choice("combine") == "none" || x.dtype != DType::Bool, || "combines numbers, not bool".into())?;
        let want: Shape = shape.into_iter().chain(without(&x.shape, &axes)).collect();
        rule.rank(last, want.len())?;
        for (a, (&got, &want)) in updates.shape.iter().zip(&want).enumerate() {
            rule.agree("extents of the updates", (format_args!("axis {a}"), got), ("that of indices and remaining axes", want))?;
        }
        one(x.clone())
    },
    ..PENDING
};

/// How elements are combined; `None` replaces.
pub(super) fn combine(op: &Op) -> Option<ReduceKind> {
    ReduceKind::from_name(op.choice("combine"))
}
