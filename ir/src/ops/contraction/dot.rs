//! `dot_general`: matrix products over any axes, with batch axes.

use crate::op::*;
use crate::ops::type_rule::*;
use crate::types::Shape;

/// `Σ a · b` over pairs of contracted axes, for each index of pairs of batch axes. The result's axes are the batch axes in
/// the order given, the left operand's other axes, the right operand's other axes.
pub fn dot_general(lhs_contract: &[usize], rhs_contract: &[usize], lhs_batch: &[usize], rhs_batch: &[usize]) -> Op {
    Op::new(&DOT_GENERAL, [lhs_contract, rhs_contract, lhs_batch, rhs_batch].map(axes_attr))
}

/// See [`dot_general`].
pub static DOT_GENERAL: Record = Record {
    name: "dot_general",
    attrs: &[
        ("lhs_contract", AttrKind::Ints),
        ("rhs_contract", AttrKind::Ints),
        ("lhs_batch", AttrKind::Ints),
        ("rhs_batch", AttrKind::Ints),
    ],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [a, b] = rule.operands()?;
        rule.numbers(0)?;
        rule.same_dtype(0, 1)?;
        let mut free = Vec::new();
        for (x, side, contract, batch) in [(a, "lhs", "lhs_contract", "lhs_batch"), (b, "rhs", "rhs_contract", "rhs_batch")] {
            let mut bound = rule.distinct_axes(contract, x.rank(), side)?;
            let batch = rule.distinct_axes(batch, x.rank(), side)?;
            if let Some(both) = batch.iter().find(|b| bound.contains(b)) {
                return Err(rule.error(format_args!("has {side} axis {both} both contracted and as a batch axis")));
            }
            bound.extend(batch);
            free.extend(without(&x.shape, &bound));
        }
        let mut shape = Shape::new();
        for (what, lhs, rhs) in [("contracted", "lhs_contract", "rhs_contract"), ("batch", "lhs_batch", "rhs_batch")] {
            let (lhs, rhs) = (op.axes(lhs), op.axes(rhs));
            rule.ensure(lhs.len() == rhs.len(), || {
                format!("needs as many {what} axes on both sides: lhs has {}, rhs has {}", lhs.len(), rhs.len())
            })?;
            for (&i, &j) in lhs.iter().zip(&rhs) {
                let (left, right) = (format_args!("lhs axis {i}"), format_args!("rhs axis {j}"));
                rule.agree(&format!("{what} extents"), (left, a.shape[i]), (right, b.shape[j]))?;
                if what == "batch" {
                    shape.push(a.shape[i]);
                }
            }
        }
        shape.extend(free);
        one(a.with_shape(shape))
    },
    ..PENDING
};
