//! Whether operations are recorded for `backward`: a switch of the thread.

use std::cell::Cell;

thread_local! {
    static ENABLED: Cell<bool> = const { Cell::new(true) };
}

/// Whether operations on this thread are recorded for `backward`.
pub fn is_grad_enabled() -> bool {
    ENABLED.get()
}

/// Runs `f` without recording its operations for `backward` (PyTorch's `torch.no_grad`).
pub fn no_grad<R>(f: impl FnOnce() -> R) -> R {
    with_grad_mode(false, f)
}

/// Runs `f` recording its operations for `backward`, also inside [`no_grad`].
pub fn enable_grad<R>(f: impl FnOnce() -> R) -> R {
    with_grad_mode(true, f)
}

pub(crate) fn with_grad_mode<R>(enabled: bool, f: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            ENABLED.set(self.0);
        }
    }
    let _restore = Restore(ENABLED.replace(enabled));
    f()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_nest_and_are_restored_after_a_panic() {
        no_grad(|| {
            assert!(!is_grad_enabled());
            enable_grad(|| assert!(is_grad_enabled()));
            assert!(!is_grad_enabled());
        });
        let panicked = std::panic::catch_unwind(|| no_grad(|| panic!("expected")));
        assert!(panicked.is_err() && is_grad_enabled());
    }
}
