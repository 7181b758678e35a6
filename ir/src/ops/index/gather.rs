//! `gather`: elements at computed places.

use crate::op::*;
use crate::ops::type_rule::*;
use crate::types::{Shape, TensorType};

/// Elements at computed places: operands `x, i1…ik`, where the indices (`i64` or `i32`, all of one shape `I`) select
/// along `axes[0]…axes[k-1]` of `x`. The result has shape `I` followed by the other axes of `x`.
/// An index is clamped into range.
pub fn gather(axes: &[usize]) -> Op {
    Op::new(&GATHER, [axes_attr(axes)])
}

/// See [`gather`].
pub static GATHER: Record = Record {
    name: "gather",
    attrs: &[("axes", AttrKind::Ints)],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [x, indices @ ..] = operands else {
            return Err(rule.error("takes a tensor and indices and was given nothing"));
        };
        let (axes, shape) = index_operands(rule, x, indices)?;
        one(x.with_shape(shape.into_iter().chain(without(&x.shape, &axes))))
    },
    ..PENDING
};

/// Checks `indices` into `axes` of `x`; returns the axes and the indices' shape.
pub(super) fn index_operands(
    rule: TypeRule,
    x: &TensorType,
    indices: &[TensorType],
) -> crate::Result<(smallvec::SmallVec<[usize; 4]>, Shape)> {
    let axes = rule.distinct_axes("axes", x.rank(), "the operand")?;
    rule.ensure(!axes.is_empty(), || "needs at least one axis to index".into())?;
    rule.ensure(axes.len() == indices.len(), || {
        format!("needs one index tensor for each of {} axes and was given {}", axes.len(), indices.len())
    })?;
    let shape = indices[0].shape.clone();
    for (k, index) in indices.iter().enumerate() {
        let dtype = index.dtype;
        rule.ensure(matches!(dtype, crate::DType::I64 | crate::DType::I32), || {
            format!("needs indices of type i64 or i32, not {dtype}, in operand {}", k + 1)
        })?;
        rule.ensure(index.rank() == shape.len(), || {
            format!("needs indices of one shape: operand 1 has {} axes, operand {} has {}", shape.len(), k + 1, index.rank())
        })?;
        for a in 0..shape.len() {
            let names = (format!("axis {a} of operand 1"), format!("of operand {}", k + 1));
            rule.agree("extents of the indices", (names.0, shape[a]), (names.1, index.shape[a]))?;
        }
    }
    let empty = axes.iter().find(|&&a| x.shape[a] == crate::Dim::ZERO);
    if let Some(a) = empty {
        let some = indices[0].elements() != crate::Dim::ZERO;
        rule.ensure(!some, || format!("has indices into axis {a}, which is empty"))?;
    }
    Ok((axes, shape))
}
