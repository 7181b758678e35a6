//! Copies to the host that were asked for, and that nobody waits for until their bytes are wanted.

use super::{Device, DeviceBuffer, Mark};
use igneous_ir::error::{Error, Result};
use std::sync::Arc;

/// A copy of a device's memory to the host that a device was asked for.
pub trait Fetched: Send + Sync {
    /// Whether it is done.
    fn is_done(&self) -> bool;

    /// Waits for it, and puts its bytes there.
    ///
    /// # Errors
    /// If the device fails, also in what it was asked before.
    fn wait(&self, to: &mut [u8]) -> Result<()>;
}

/// A copy that is done.
pub(super) struct Ready(pub Vec<u8>);

impl Fetched for Ready {
    fn is_done(&self) -> bool {
        true
    }

    fn wait(&self, to: &mut [u8]) -> Result<()> {
        if to.len() != self.0.len() {
            return Err(Error::new(format!("{} bytes were fetched, not {}", self.0.len(), to.len())));
        }
        to.copy_from_slice(&self.0);
        Ok(())
    }
}

/// A copy that is under way, and what must stay until it is done.
pub struct Fetch {
    copy: Box<dyn Fetched>,
    bytes: usize,
    block: Option<DeviceBuffer>,
    /// Keeps the memory that it goes through.
    _device: Arc<dyn Device>,
}

impl Fetch {
    /// Asks for the contents that are there behind everything that was asked for until now.
    ///
    /// # Safety
    /// There are as many bytes at the address.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) unsafe fn in_order(device: &Arc<dyn Device>, from: u64, bytes: usize) -> Result<Fetch> {
        // SAFETY: by the caller.
        let copy = unsafe { device.fetch(None, from, bytes)? };
        Ok(Fetch { copy, bytes, block: None, _device: device.clone() })
    }

    /// Asks for the contents of a block, which are there behind a point; without one, behind everything that was asked for until now.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn of(device: &Arc<dyn Device>, block: &DeviceBuffer, behind: Option<&Mark>) -> Result<Fetch> {
        // SAFETY: the block has this many bytes, and nobody overwrites what somebody else holds, as this does until it is done.
        let copy = unsafe { device.fetch(behind, block.address(), block.len())? };
        Ok(Fetch { copy, bytes: block.len(), block: Some(block.clone()), _device: device.clone() })
    }

    /// Whether it is done.
    pub fn is_done(&self) -> bool {
        self.copy.is_done()
    }

    /// Waits for it, and puts its bytes there.
    ///
    /// # Errors
    /// If there are more or fewer, or the device fails.
    pub fn wait(&self, to: &mut [u8]) -> Result<()> {
        self.copy.wait(to)
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        if self.block.is_some() && !self.copy.is_done() {
            // What is copied must stay until then; a failure of the device is found by who asks it for something.
            let _ = self.copy.wait(&mut vec![0; self.bytes]);
        }
    }
}
