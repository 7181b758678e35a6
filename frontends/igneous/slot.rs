//! Gradient slots: where `backward` adds the gradient of a variable or of another leaf.

use crate::hooks::{GradientHook, Hooks};
use crate::tensor::Tensor;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Holds at most one gradient.
pub(crate) struct Slot {
    id: u64,
    grad: Mutex<Option<Tensor>>,
    /// See [`Tensor::register_hook`].
    pub(crate) hooks: Hooks<GradientHook>,
}

/// Numbers variables and slots: the order in which a run locks them.
pub(crate) fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Slot {
    pub(crate) fn new() -> Arc<Slot> {
        Arc::new(Slot { id: next_id(), grad: Mutex::new(None), hooks: Hooks::default() })
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Option<Tensor>> {
        self.grad.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names a slot inside a trace.
#[derive(Clone)]
pub(crate) enum SlotKey {
    /// A slot that exists outside of the trace.
    Shared(Arc<Slot>),
    /// The slot of an argument of a compiled function, by its place among the tensors of all arguments.
    Argument(usize),
    /// A slot of a tensor made under the trace; it ends with the trace.
    Local(u64),
}

impl PartialEq for SlotKey {
    fn eq(&self, other: &SlotKey) -> bool {
        match (self, other) {
            (SlotKey::Shared(a), SlotKey::Shared(b)) => Arc::ptr_eq(a, b),
            (SlotKey::Argument(a), SlotKey::Argument(b)) => a == b,
            (SlotKey::Local(a), SlotKey::Local(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for SlotKey {}
