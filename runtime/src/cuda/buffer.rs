//! Memory of a device.

use super::{Device, Mark};
use crate::Buffer;
use igneous_ir::error::{Error, Result};
use std::fmt;
use std::sync::Arc;

/// A block of a device's memory; clones are handles of the same block.
#[derive(Clone)]
pub struct DeviceBuffer(Arc<Block>);

struct Block {
    device: Arc<dyn Device>,
    address: u64,
    bytes: usize,
}

impl DeviceBuffer {
    /// A block with any contents.
    ///
    /// # Errors
    /// If the device has not enough memory, or may not use more.
    pub fn new(device: &Arc<dyn Device>, bytes: usize) -> Result<DeviceBuffer> {
        device.account().take(bytes)?;
        let address = device.allocate(bytes.max(1)).inspect_err(|_| device.account().give(bytes))?;
        Ok(DeviceBuffer(Arc::new(Block { device: device.clone(), address, bytes })))
    }

    /// A block with these contents.
    ///
    /// # Errors
    /// If the device has not enough memory, or fails.
    pub fn from_bytes(device: &Arc<dyn Device>, bytes: &[u8]) -> Result<DeviceBuffer> {
        let mut buffer = DeviceBuffer::new(device, bytes.len())?;
        buffer.set(bytes)?;
        Ok(buffer)
    }

    /// Replaces the contents.
    ///
    /// # Errors
    /// If there are more or fewer bytes, somebody else holds the block, or the device fails.
    pub fn set(&mut self, bytes: &[u8]) -> Result<()> {
        self.check_set(bytes)?;
        // SAFETY: the block has this many bytes.
        unsafe { self.0.device.upload(self.address(), bytes) }
    }

    /// Replaces the contents, which nothing uses that was asked for behind a point.
    ///
    /// # Errors
    /// As [`set`](DeviceBuffer::set).
    pub(super) fn set_behind(&mut self, point: &Mark, bytes: &[u8]) -> Result<()> {
        self.check_set(bytes)?;
        // SAFETY: the block has this many bytes.
        unsafe { self.0.device.upload_behind(point, self.address(), bytes) }
    }

    fn check_set(&self, bytes: &[u8]) -> Result<()> {
        if bytes.len() == self.len() && self.is_unique() {
            return Ok(());
        }
        let holds = if self.is_unique() { "" } else { ", and somebody else holds it" };
        Err(Error::new(format!("a block of {} bytes cannot take {}{holds}", self.len(), bytes.len())))
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

    /// The contents, in a block of the host.
    ///
    /// # Errors
    /// If the device fails, or the host has not enough memory.
    pub fn to_host(&self) -> Result<Buffer> {
        let mut buffer = Buffer::new(self.len())?;
        // SAFETY: the block has this many bytes.
        unsafe { self.0.device.download(self.address(), buffer.bytes_mut()?)? };
        Ok(buffer)
    }

    /// A copy of the block under a handle of its own.
    ///
    /// # Errors
    /// If the device has not enough memory, or fails.
    pub fn duplicate(&self) -> Result<DeviceBuffer> {
        let copy = DeviceBuffer::new(&self.0.device, self.len())?;
        // SAFETY: both blocks have this many bytes, and the new one is nobody else's.
        unsafe { self.0.device.copy(self.address(), copy.address(), self.len())? };
        Ok(copy)
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

    /// Whether the block is memory of this device.
    pub(super) fn is_on(&self, device: &Arc<dyn Device>) -> bool {
        std::ptr::addr_eq(Arc::as_ptr(&self.0.device), Arc::as_ptr(device))
    }

    /// Where the block lies.
    pub(super) fn address(&self) -> u64 {
        self.0.address
    }
}

impl fmt::Debug for DeviceBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceBuffer({} bytes)", self.len())
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: the address is of this size, and the last handle is gone. The device does what it was asked before first.
        unsafe { self.device.free(self.address, self.bytes.max(1)) };
        self.device.account().give(self.bytes);
    }
}
