//! Variables under a trace: read once at the start, assigned at the end.

use super::{CaptureSource, Handle, Trace, Traced, operand, with_root, with_top};
use crate::slot::SlotKey;
use crate::tensor::Tensor;
use crate::tracked::Guard;
use crate::variable::Variable;
use igneous_ir::graph::Value;
use igneous_ir::{Result, TensorType, ops};
use std::sync::Arc;

/// What a trace knows of a variable.
pub(crate) struct VariableState {
    pub(crate) variable: Arc<Variable>,
    /// The value now.
    pub(crate) current: Value,
    /// Whether `current` is the leaf that `backward` computes a gradient for.
    leaf: bool,
    pub(crate) assigned: bool,
}

struct TypeGuard {
    variable: Arc<Variable>,
    expected: TensorType,
}

impl Guard for TypeGuard {
    fn holds(&self) -> bool {
        self.variable.lock_shared().ty == self.expected
    }

    fn describe(&self) -> String {
        format!("the type of {} was {} and is {}", self.variable.label(), self.expected, self.variable.ty())
    }
}

/// The variable's value in the innermost trace.
pub(super) fn read(variable: &Arc<Variable>) -> Result<Handle> {
    let ty = guarded_type(variable);
    let tracked = variable.requires_grad().get() && ty.dtype.is_float();
    with_top(|trace| {
        let slot = || SlotKey::Shared(variable.slot().clone());
        let Some(at) = trace.variables.iter().position(|s| Arc::ptr_eq(&s.variable, variable)) else {
            let name = variable.name().map_or_else(|| format!("variable{}", trace.variables.len()), |n| n.to_string());
            let source = CaptureSource::Variable(variable.clone());
            let handle = trace.add_capture(source, name, ty, tracked, tracked.then(slot));
            trace.variables.push(VariableState {
                variable: variable.clone(),
                current: handle.value,
                leaf: tracked,
                assigned: false,
            });
            return Ok(handle);
        };
        if tracked && !trace.variables[at].leaf {
            let leaf = trace.push(ops::stop_gradient(), &[trace.variables[at].current])?[0];
            trace.needs.insert(leaf);
            trace.leaves.push((leaf, slot()));
            trace.variables[at].current = leaf;
            trace.variables[at].leaf = true;
        }
        Ok(Handle { value: trace.variables[at].current, tracked })
    })
}

fn guarded_type(variable: &Arc<Variable>) -> TensorType {
    let ty = variable.ty();
    let id = Arc::as_ptr(variable) as usize;
    with_root(|root| root.guard(id, || Box::new(TypeGuard { variable: variable.clone(), expected: ty.clone() })));
    ty
}

/// Makes `value` the variable's value for the rest of the innermost trace.
pub(crate) fn assign(variable: &Arc<Variable>, value: &Tensor) -> Result<()> {
    guarded_type(variable);
    let handle = operand(value)?;
    with_top(|trace| match trace.variables.iter_mut().find(|s| Arc::ptr_eq(&s.variable, variable)) {
        Some(state) => (state.current, state.leaf, state.assigned) = (handle.value, false, true),
        None => {
            let variable = variable.clone();
            trace.variables.push(VariableState { variable, current: handle.value, leaf: false, assigned: true });
        }
    });
    Ok(())
}

/// The value a variable has in the innermost trace, if one is active; this reads the variable.
pub(crate) fn variable_in_trace(variable: &Arc<Variable>) -> Option<Result<Traced>> {
    if !super::is_tracing() {
        return None;
    }
    Some(read(variable).map(|handle| with_top(|trace: &mut Trace| trace.handle(handle.value, handle.tracked, None))))
}
