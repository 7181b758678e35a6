//! `backward` under a trace: one `grad` node for the leaves that reach the loss.

use super::{Capture, CaptureSource, Handle, Kind, Trace, Traced, operand, set_slot, slot_value, with_top};
use crate::apply::apply;
use crate::location::here;
use crate::slot::{SlotKey, next_id};
use crate::tensor::Tensor;
use igneous_ir::graph::Value;
use igneous_ir::op::Vjp;
use igneous_ir::{Error, Result, TensorType, ops};
use smallvec::SmallVec;
use std::sync::Arc;

/// Adds the gradients of `loss` to the slots of the leaves it depends on.
pub(crate) fn backward(loss: &Tensor, cotangent: Option<&Tensor>) -> Result<()> {
    let at = operand(loss)?;
    let leaves = with_top(|trace| trace.leaves_of(at.value))?;
    let values: Vec<Value> = leaves.iter().map(|(value, _)| *value).collect();
    let grads = append_grad(at, cotangent, &values)?;
    with_top(|trace| trace.ran_backward = true);
    for ((_, key), mut grad) in leaves.iter().zip(grads) {
        if let SlotKey::Shared(slot) = key {
            grad = slot.hooks.call(grad, here())?;
        }
        let sum = match slot_value(key) {
            Some(before) => {
                let [sum] = apply(ops::pointwise("add"), &[&before, &grad]);
                sum.check()?;
                sum
            }
            None => grad,
        };
        set_slot(key, Some(sum));
    }
    Ok(())
}

/// The gradients of `loss` with respect to `inputs`.
pub(crate) fn grad(loss: &Tensor, cotangent: Option<&Tensor>, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
    let at = operand(loss)?;
    let mut values = Vec::new();
    for input in inputs {
        let handle = operand(input)?;
        if !handle.tracked {
            return Err(Error::new("grad: this tensor does not require gradients").note("tensor", input.describe()));
        }
        values.push(handle.value);
    }
    append_grad(at, cotangent, &values)
}

fn append_grad(loss: Handle, cotangent: Option<&Tensor>, values: &[Value]) -> Result<Vec<Tensor>> {
    let mut operands: SmallVec<[Value; 8]> = SmallVec::from_iter([loss.value]);
    if let Some(cotangent) = cotangent {
        operands.push(operand(cotangent)?.value);
    }
    operands.extend_from_slice(values);
    with_top(|trace| {
        let results = trace.push(ops::grad(cotangent.is_some()), &operands)?;
        Ok(results.into_iter().map(|v| trace.handle(v, trace.needs.contains(&v), None).into()).collect())
    })
}

/// The traced value as a leaf.
pub(crate) fn make_leaf(traced: &Arc<Traced>) -> Result<Tensor> {
    let handle = super::traced_operand(traced)?;
    with_top(|trace| {
        // A value of its own, so that uses of the tensor before this are not differentiated by.
        let own = handle.tracked || trace.leaf(handle.value).is_some();
        let value = if own { handle.value } else { trace.push(ops::stop_gradient(), &[handle.value])?[0] };
        trace.needs.insert(value);
        if trace.leaf(value).is_none() {
            trace.leaves.push((value, SlotKey::Local(next_id())));
        }
        Ok(trace.handle(value, true, traced.loc).into())
    })
}

impl Trace {
    /// The leaves that `loss` depends on differentiably, in the order of their values.
    fn leaves_of(&self, loss: Value) -> Result<Vec<(Value, SlotKey)>> {
        if let Kind::Region(what) = self.kind {
            let error = Error::new(format!("backward cannot be called in {what}"));
            return Err(error.note("remedy", "return the loss, or use grad(loss, …) and return the gradients"));
        }
        if self.kind == Kind::Transform {
            let error = Error::new("backward cannot be called in a function that is being differentiated or mapped");
            return Err(error.note("remedy", "use func::grad, or grad(loss, …), and return the gradients"));
        }
        let mut leaves = Vec::new();
        let mut seen = std::collections::HashSet::new();
        let mut open = vec![loss];
        while let Some(value) = open.pop() {
            if !self.needs.contains(&value) || !seen.insert(value) {
                continue;
            }
            let leaf = self.leaf(value);
            leaves.extend(leaf.map(|key| (value, key.clone())));
            let node = self.graph.node(value.node);
            if leaf.is_none() && node.op.is(&ops::structural::INPUT) {
                return Err(outside_error(self.captures.iter().find(|c| c.value == value), self.graph.ty(value)));
            }
            if !matches!(node.op.record().vjp, Vjp::Zero) {
                open.extend_from_slice(&node.operands);
            }
        }
        leaves.sort_by_key(|(value, _)| *value);
        Ok(leaves)
    }
}

fn outside_error(capture: Option<&Capture>, ty: &TensorType) -> Error {
    let described = capture.map_or_else(
        || format!("{ty}   an argument"),
        |capture| match &capture.source {
            CaptureSource::Eager(value) => Tensor::from(value.as_ref().clone()).describe(),
            CaptureSource::Outer(traced) => super::described(traced),
            CaptureSource::Variable(variable) => variable.describe(),
            CaptureSource::Slot(_, grad) => grad.describe(),
        },
    );
    Error::new("backward under a trace reaches a tensor that was computed outside of the trace and requires gradients")
        .note("tensor", described)
        .note("remedy", "compute it inside, or detach it")
}
