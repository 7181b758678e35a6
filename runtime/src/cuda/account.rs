//! How much of a device's memory programs and tensors hold, and how much they may.

use igneous_ir::error::{Error, Result};
use std::sync::{Mutex, PoisonError};

/// What is held of a device's memory, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeviceMemory {
    /// In blocks that have a handle.
    pub live: usize,
    /// The most that was ever live.
    pub peak: usize,
    /// The most that may be live.
    pub limit: usize,
}

/// Keeps the account of a device's memory.
pub struct Account(Mutex<DeviceMemory>);

impl Default for Account {
    fn default() -> Account {
        Account(Mutex::new(DeviceMemory { live: 0, peak: 0, limit: usize::MAX }))
    }
}

impl Account {
    /// The present state.
    pub fn state(&self) -> DeviceMemory {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks that are live stay so, also beyond the limit.
    pub fn set_limit(&self, bytes: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).limit = bytes;
    }

    /// Counts a new block.
    ///
    /// # Errors
    /// If that would be beyond the limit; then nothing is counted.
    pub(super) fn take(&self, bytes: usize) -> Result<()> {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let live = memory.live.saturating_add(bytes);
        if live > memory.limit {
            return Err(Error::new(format!("{bytes} bytes are more than the limit of the device's memory leaves"))
                .note("memory", format!("{} of the {} bytes that may be are in use", memory.live, memory.limit)));
        }
        memory.live = live;
        memory.peak = memory.peak.max(live);
        Ok(())
    }

    /// A block is gone.
    pub(super) fn give(&self, bytes: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).live -= bytes;
    }
}
