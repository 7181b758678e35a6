//! Memory of a device.

use super::Device;
use igneous_ir::error::Result;
use std::fmt;
use std::sync::Arc;

/// A block of a device's memory; clones are handles of the same block.
pub struct DeviceBuffer<D: Device>(Arc<Block<D>>);

struct Block<D: Device> {
    device: Arc<D>,
    address: u64,
    bytes: usize,
}

impl<D: Device> DeviceBuffer<D> {
    /// A block with any contents.
    ///
    /// # Errors
    /// If the device has not enough memory.
    pub fn new(device: &Arc<D>, bytes: usize) -> Result<DeviceBuffer<D>> {
        let address = device.allocate(bytes.max(1))?;
        Ok(DeviceBuffer(Arc::new(Block { device: device.clone(), address, bytes })))
    }

    /// A block with these contents.
    ///
    /// # Errors
    /// If the device has not enough memory, or fails.
    pub fn from_bytes(device: &Arc<D>, bytes: &[u8]) -> Result<DeviceBuffer<D>> {
        let buffer = DeviceBuffer::new(device, bytes.len())?;
        // SAFETY: the block has this many bytes.
        unsafe { device.upload(buffer.address(), bytes)? };
        Ok(buffer)
    }

    /// The contents.
    ///
    /// # Errors
    /// If the device fails.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.len()];
        // SAFETY: the block has this many bytes.
        unsafe { self.0.device.download(self.address(), &mut bytes)? };
        Ok(bytes)
    }

    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.0.bytes
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether nobody else holds the block.
    pub fn is_unique(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// Where the block lies.
    pub(super) fn address(&self) -> u64 {
        self.0.address
    }
}

impl<D: Device> Clone for DeviceBuffer<D> {
    fn clone(&self) -> Self {
        DeviceBuffer(self.0.clone())
    }
}

impl<D: Device> fmt::Debug for DeviceBuffer<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceBuffer({} bytes)", self.len())
    }
}

impl<D: Device> Drop for Block<D> {
    fn drop(&mut self) {
        // SAFETY: the address is of this size, and the last handle is gone. The device does what it was asked before first.
        unsafe { self.device.free(self.address, self.bytes.max(1)) };
    }
}
