//! Scratch memory of the current thread: one block that grows to the largest size asked for.

use crate::buffer::{ALIGNMENT, Buffer};
use igneous_ir::error::Result;
use std::cell::Cell;

thread_local! {
    static BLOCK: Cell<Option<Buffer>> = const { Cell::new(None) };
}

/// Calls `work` with at least `bytes` bytes of 64-byte aligned memory that nobody else uses meanwhile.
///
/// # Errors
/// If the system has not enough memory; `work` was not called then.
pub(crate) fn with_scratch<R>(bytes: usize, work: impl FnOnce(*mut u8) -> R) -> Result<R> {
    if bytes == 0 {
        return Ok(work(std::ptr::without_provenance_mut(ALIGNMENT)));
    }
    // Taken out while it is used: a nested call gets a block of its own.
    let block = match BLOCK.take() {
        Some(block) if block.len() >= bytes => block,
        _ => Buffer::new(bytes.next_power_of_two())?,
    };
    let result = work(block.ptr());
    BLOCK.set(Some(block));
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_blocks_are_apart_and_a_block_is_kept() {
        let address = with_scratch(100, |outer| {
            assert_eq!(outer as usize % ALIGNMENT, 0);
            with_scratch(100, |inner| assert_ne!(inner, outer)).unwrap();
            outer
        });
        let _ = address;
        let kept = with_scratch(64, |block| block).unwrap();
        assert_eq!(with_scratch(50, |block| block).unwrap(), kept);
    }
}
