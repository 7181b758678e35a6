//! Memory of a device.

use super::fetch::Fetch;
use super::outcome::Token;
use super::{Device, Mark};
use crate::Buffer;
use igneous_ir::error::{Error, Result};
use std::fmt;
use std::sync::Arc;

/// A block of a device's memory; clones are handles of the same block. What a run with checks has left there is read only if they held.
#[derive(Clone)]
pub struct DeviceBuffer {
    block: Arc<Block>,
    /// The runs whose checks the contents depend on.
    tokens: Vec<Token>,
    /// Behind what wrote the contents; without one they are there behind everything that was asked for until now.
    written: Option<Arc<Mark>>,
}

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
        let block = Arc::new(Block { device: device.clone(), address, bytes });
        Ok(DeviceBuffer { block, tokens: Vec::new(), written: None })
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
        (self.tokens, self.written) = (Vec::new(), None);
        // SAFETY: the block has this many bytes.
        unsafe { self.block.device.upload(self.address(), bytes) }
    }

    /// Replaces the contents, which nothing uses that was asked for behind a point.
    ///
    /// # Errors
    /// As [`set`](DeviceBuffer::set).
    pub(super) fn set_behind(&mut self, point: &Mark, bytes: &[u8]) -> Result<()> {
        self.check_set(bytes)?;
        (self.tokens, self.written) = (Vec::new(), None);
        // SAFETY: the block has this many bytes.
        unsafe { self.block.device.upload_behind(point, self.address(), bytes) }
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
    /// If a check failed in a run that they come from, or the device fails.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.len()];
        self.read(&mut bytes)?;
        Ok(bytes)
    }

    /// The contents, in a block of the host.
    ///
    /// # Errors
    /// If a check failed in a run that they come from, the device fails, or the host has not enough memory.
    pub fn to_host(&self) -> Result<Buffer> {
        let mut buffer = Buffer::new(self.len())?;
        self.read(buffer.bytes_mut()?)?;
        Ok(buffer)
    }

    /// Waits for what wrote the contents, not for what the device was asked for since.
    fn read(&self, to: &mut [u8]) -> Result<()> {
        self.settle()?;
        match &self.written {
            Some(_) => self.fetch()?.wait(to),
            // SAFETY: the block has this many bytes.
            None => unsafe { self.block.device.download(self.address(), to) },
        }
    }

    /// Asks for a copy of the contents, and returns at once. [`settle`](DeviceBuffer::settle) tells whether they mean something.
    ///
    /// # Errors
    /// If the device fails.
    pub fn fetch(&self) -> Result<Fetch> {
        Fetch::of(&self.block.device, self, self.written.as_deref())
    }

    /// Waits until it is known whether the contents mean something: whether the checks of the runs held that they come from.
    ///
    /// # Errors
    /// If one failed, or the device fails.
    pub fn settle(&self) -> Result<()> {
        self.tokens.iter().try_for_each(Token::settle)
    }

    /// Whether the contents mean something whatever the checks of runs come to: a run that fails leaves them as they were.
    pub fn is_kept(&self) -> bool {
        self.tokens.iter().all(Token::is_kept)
    }

    /// The runs whose checks the contents depend on.
    pub(super) fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// The block after a run that it depends on so, behind that.
    pub(super) fn written_by(self, tokens: Vec<Token>, written: Option<Arc<Mark>>) -> DeviceBuffer {
        DeviceBuffer { tokens, written, ..self }
    }

    /// Behind what wrote the contents, where that is known.
    pub(super) fn written(&self) -> Option<&Arc<Mark>> {
        self.written.as_ref()
    }

    /// A copy of the block under a handle of its own.
    ///
    /// # Errors
    /// If the device has not enough memory, or fails.
    pub fn duplicate(&self) -> Result<DeviceBuffer> {
        let copy = DeviceBuffer::new(&self.block.device, self.len())?;
        // SAFETY: both blocks have this many bytes, and the new one is nobody else's.
        unsafe { self.block.device.copy(self.address(), copy.address(), self.len())? };
        Ok(DeviceBuffer { tokens: self.tokens.clone(), ..copy })
    }

    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.block.bytes
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether nobody else holds the block.
    pub fn is_unique(&self) -> bool {
        Arc::strong_count(&self.block) == 1
    }

    /// Whether the block is memory of this device.
    pub(super) fn is_on(&self, device: &Arc<dyn Device>) -> bool {
        std::ptr::addr_eq(Arc::as_ptr(&self.block.device), Arc::as_ptr(device))
    }

    /// Where the block lies.
    pub(super) fn address(&self) -> u64 {
        self.block.address
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
