//! Updates that happen only if a condition holds, which is known when the step runs.

use crate::tensor::{Tensor, where_};
use std::cell::RefCell;

thread_local! {
    static CONDITION: RefCell<Option<Tensor>> = const { RefCell::new(None) };
}

/// Runs `f`; the variables that optimizers update in it keep their values where `condition`, a bool without axes, is false.
pub(super) fn when<R>(condition: &Tensor, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<Tensor>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CONDITION.replace(self.0.take());
        }
    }
    let _restore = Restore(CONDITION.replace(Some(condition.clone())));
    f()
}

/// The new values of variables, as the condition that holds has them.
pub(super) fn conditioned(updates: Vec<(Tensor, Tensor)>) -> Vec<(Tensor, Tensor)> {
    let Some(condition) = CONDITION.with_borrow(Option::clone) else { return updates };
    let chosen = |variable: &Tensor, value: Tensor| where_(&condition, &value, variable.detach());
    updates.into_iter().map(|(variable, value)| (variable.clone(), chosen(&variable, value))).collect()
}
