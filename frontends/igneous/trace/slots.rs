//! Gradient slots under a trace: what they held at the start and what they hold now.

use super::{CaptureSource, Trace, Traced, below_top, is_tracing, operand, with_top};
use crate::slot::SlotKey;
use crate::tensor::{Repr, Tensor};

/// What a trace knows of a slot.
pub(crate) struct SlotState {
    pub(crate) key: SlotKey,
    /// The gradient at the start.
    pub(crate) entry: Option<Traced>,
    /// The gradient now.
    pub(crate) current: Option<Tensor>,
    pub(crate) changed: bool,
}

/// The gradient in a slot: of the innermost trace, or without one of the slot itself.
pub(crate) fn slot_value(key: &SlotKey) -> Option<Tensor> {
    if is_tracing() {
        let at = touch(key);
        return with_top(|trace| trace.slots[at].current.clone());
    }
    match key {
        SlotKey::Shared(slot) => slot.lock().clone(),
        _ => None,
    }
}

/// Puts a gradient into a slot or empties it.
pub(crate) fn set_slot(key: &SlotKey, grad: Option<Tensor>) {
    if is_tracing() {
        let at = touch(key);
        // An eager gradient becomes a value of the trace now: later it could not be told from one of another trace.
        let grad = grad.map(|g| match operand(&g) {
            Ok(handle) => with_top(|trace| trace.handle(handle.value, handle.tracked, None)).into(),
            Err(error) => error.into(),
        });
        with_top(|trace| {
            let state = &mut trace.slots[at];
            state.changed |= grad.is_some() || state.current.is_some();
            state.current = grad;
        });
    } else if let SlotKey::Shared(slot) = key {
        *slot.lock() = grad;
    }
}

/// The place of the slot among those the innermost trace knows; the first time, what it holds outside is captured.
fn touch(key: &SlotKey) -> usize {
    if let Some(at) = with_top(|trace: &mut Trace| trace.slots.iter().position(|s| s.key == *key)) {
        return at;
    }
    let outside = below_top(|| slot_value(key));
    with_top(|trace| {
        let entry = outside.map(|grad| {
            let ty = grad.ty().expect("a slot holds no invalid gradient");
            let name = format!("grad{}", trace.slots.len());
            let tracked = grad.requires_grad();
            let handle = trace.add_capture(CaptureSource::Slot(key.clone(), grad), name, ty, tracked, None);
            trace.handle(handle.value, handle.tracked, None)
        });
        let current = entry.as_ref().map(|e| trace.handle(e.value, e.tracked, None).into());
        trace.slots.push(SlotState { key: key.clone(), entry, current, changed: false });
        trace.slots.len() - 1
    })
}

/// The slot of a traced tensor, if it has one.
pub(crate) fn slot_of(traced: &Traced) -> Option<SlotKey> {
    if !is_tracing() {
        return None;
    }
    with_top(|trace| if std::sync::Arc::ptr_eq(&trace.life, &traced.life) { trace.leaf(traced.value).cloned() } else { None })
}

impl Repr {
    /// The traced value, if it is one.
    pub(crate) fn as_traced(&self) -> Option<&Traced> {
        match self {
            Repr::Traced(traced) => Some(traced),
            _ => None,
        }
    }
}
