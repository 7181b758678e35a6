//! Errors of tensors that are used where they have no meaning.

use super::Traced;
use igneous_ir::Error;
use std::sync::atomic::Ordering;

/// A traced tensor was asked for its value.
pub(crate) fn no_value_error(traced: &Traced, what: &str) -> Error {
    if !super::is_alive_here(&traced.life) {
        return stale_error(traced);
    }
    let message = format!("a traced tensor cannot be asked for {what}: it has none until the compiled function runs");
    let error = Error::new(message).note("tensor", super::described(traced)).note("traced in", format!("`{}`", traced.life.name));
    error.note("remedy", "return the tensor and look at the result, or decide inside the graph (where_, cond, while_loop, scan)")
}

/// A traced tensor is used after its trace or on another thread.
pub(crate) fn stale_error(traced: &Traced) -> Error {
    let message = if traced.life.ended.load(Ordering::Acquire) {
        "a traced tensor is used after its trace has ended"
    } else if traced.life.thread != std::thread::current().id() {
        "a traced tensor is used on another thread than its trace"
    } else {
        "a traced tensor is used outside of its trace"
    };
    Error::new(message)
        .note("tensor", super::described(traced))
        .note("traced in", format!("`{}`", traced.life.name))
        .note("remedy", "return it from the compiled function, or assign it to a variable")
}

/// A variable is made under a trace.
pub(crate) fn creation_error() -> Error {
    Error::new("a variable cannot be made under a trace: the compiled function would make it only once")
        .note("remedy", "make modules, optimizers and variables before compiling")
}
