//! Tensors that stand for variables for a while: how a module runs with other parameters than its own.

use crate::tensor::{Repr, Tensor};
use crate::variable::Variable;
use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;

thread_local! {
    /// The variables that something stands for; of one that is listed twice, the last counts.
    static BOUND: RefCell<Vec<(Arc<Variable>, Tensor)>> = const { RefCell::new(Vec::new()) };
}

/// Whether anything stands for a variable on this thread.
pub(crate) fn is_active() -> bool {
    BOUND.with_borrow(|bound| !bound.is_empty())
}

/// What stands for a variable.
pub(crate) fn stands_for(variable: &Arc<Variable>) -> Option<Tensor> {
    BOUND.with_borrow(|bound| bound.iter().rfind(|(v, _)| Arc::ptr_eq(v, variable)).map(|(_, tensor)| tensor.clone()))
}

/// The tensor, or what stands for it.
pub(crate) fn resolve(tensor: &Tensor) -> Cow<'_, Tensor> {
    match &tensor.0 {
        Repr::Variable(variable) => stands_for(variable).map_or(Cow::Borrowed(tensor), Cow::Owned),
        _ => Cow::Borrowed(tensor),
    }
}

/// Runs `f` with tensors in the place of variables.
pub(crate) fn with<R>(pairs: Vec<(Arc<Variable>, Tensor)>, f: impl FnOnce() -> R) -> R {
    struct Restore(usize);
    impl Drop for Restore {
        fn drop(&mut self) {
            BOUND.with_borrow_mut(|bound| bound.truncate(self.0));
        }
    }
    let _restore = Restore(BOUND.with_borrow_mut(|bound| {
        let before = bound.len();
        bound.extend(pairs);
        before
    }));
    f()
}
