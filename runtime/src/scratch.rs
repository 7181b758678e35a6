//! Scratch memory of the current thread: a stack in one block, which grows to the most that was ever used at once.

use crate::buffer::{ALIGNMENT, Buffer};
use igneous_ir::error::Result;
use std::cell::RefCell;

/// In debug builds, bytes behind the memory that show whether somebody wrote past its end.
const GUARD: usize = if cfg!(debug_assertions) { ALIGNMENT } else { 0 };
/// What these bytes hold.
const UNTOUCHED: u8 = 0xa5;

/// The block, how much of it is in use, and how much was wanted in use at most.
#[derive(Default)]
struct Stack {
    block: Option<Buffer>,
    used: usize,
    wanted: usize,
}

thread_local! {
    static STACK: RefCell<Stack> = RefCell::default();
}

/// Calls `work` with at least `bytes` bytes of 64-byte aligned memory that nobody else uses meanwhile.
///
/// # Errors
/// If the system has not enough memory; `work` was not called then.
pub(crate) fn with_scratch<R>(bytes: usize, work: impl FnOnce(*mut u8) -> R) -> Result<R> {
    if bytes == 0 {
        return Ok(work(std::ptr::without_provenance_mut(ALIGNMENT)));
    }
    let room = (bytes + GUARD).next_multiple_of(ALIGNMENT);
    let (place, extra) = STACK.with_borrow_mut(|stack| stack.push(room))?;
    // SAFETY: the place has that much room, and what lies behind `bytes` is nobody else's.
    let guard = || unsafe { std::slice::from_raw_parts_mut(place.add(bytes), GUARD) };
    guard().fill(UNTOUCHED);
    let result = work(place);
    debug_assert!(guard().iter().all(|&b| b == UNTOUCHED), "a kernel wrote behind its {bytes} bytes of scratch memory");
    drop(extra);
    STACK.with_borrow_mut(|stack| stack.used -= room);
    Ok(result)
}

impl Stack {
    /// Where the next `bytes` bytes are, and the block they are in if it is not the stack's.
    fn push(&mut self, bytes: usize) -> Result<(*mut u8, Option<Buffer>)> {
        let room = self.block.as_ref().map_or(0, Buffer::len);
        self.wanted = self.wanted.max(self.used + bytes);
        if self.used == 0 && room < self.wanted {
            self.block = Some(Buffer::new(self.wanted.next_power_of_two())?);
        }
        let place = match &self.block {
            Some(block) if self.used + bytes <= block.len() => {
                // SAFETY: the place lies in the block.
                (unsafe { block.ptr().add(self.used) }, None)
            }
            _ => {
                let extra = Buffer::new(bytes)?;
                (extra.ptr(), Some(extra))
            }
        };
        self.used += bytes;
        Ok(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_in_use_are_apart_and_the_stack_grows_once() {
        let use_two = || {
            with_scratch(100, |outer| {
                assert_eq!(outer as usize % ALIGNMENT, 0);
                let inner = with_scratch(1000, |inner| inner).unwrap();
                assert!(outer.wrapping_add(100) <= inner || inner.wrapping_add(1000) <= outer);
                [outer, inner]
            })
            .unwrap()
        };
        use_two();
        let grown = use_two();
        assert_eq!(grown[1] as usize - grown[0] as usize, (100 + GUARD).next_multiple_of(ALIGNMENT));
        assert_eq!(use_two(), grown);
    }
}
