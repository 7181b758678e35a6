//! Memory of the host that the device reads and writes by itself, while the host and the device do other things.

use super::driver::{Driver, Event, Stream, UNTIMED};
use igneous_ir::error::Result;
use std::ffi::c_void;
use std::ptr::null_mut;

/// A point in the work of a stream.
pub(super) struct Point {
    driver: &'static Driver,
    event: Event,
}

// SAFETY: events may be used by any thread whose context is their device's.
unsafe impl Send for Point {}
// SAFETY: as above.
unsafe impl Sync for Point {}

impl Point {
    /// A point that has been passed. The device is entered.
    pub fn new(driver: &'static Driver) -> Result<Point> {
        let mut event = null_mut();
        // SAFETY: the driver writes an event.
        driver.check("cuEventCreate", unsafe { (driver.create_event)(&mut event, UNTIMED) })?;
        Ok(Point { driver, event })
    }

    /// Moves the point behind what the stream was asked for until now.
    pub fn set(&self, stream: Stream) -> Result<()> {
        // SAFETY: both are the device's.
        self.driver.check("cuEventRecord", unsafe { (self.driver.record_event)(self.event, stream) })
    }

    /// Makes what the stream is asked for from here on wait for the point.
    pub fn hold(&self, stream: Stream) -> Result<()> {
        // SAFETY: both are the device's.
        self.driver.check("cuStreamWaitEvent", unsafe { (self.driver.wait_event)(stream, self.event, 0) })
    }

    /// Makes the host wait for the point.
    pub fn wait(&self) -> Result<()> {
        // SAFETY: the event is the device's.
        self.driver.check("cuEventSynchronize", unsafe { (self.driver.await_event)(self.event) })
    }

    /// Whether the point has been passed.
    pub fn is_passed(&self) -> bool {
        // SAFETY: the event is the device's.
        unsafe { (self.driver.query_event)(self.event) == 0 }
    }
}

impl Drop for Point {
    fn drop(&mut self) {
        // SAFETY: nobody uses the event from here on; the driver keeps what streams still wait for.
        unsafe { (self.driver.destroy_event)(self.event) };
    }
}

/// A block of such memory, and when the device is done with it.
pub(super) struct Block {
    start: *mut u8,
    bytes: usize,
    free: Point,
}

// SAFETY: the memory is any thread's; who has the block has it alone.
unsafe impl Send for Block {}
// SAFETY: the block itself only says where the memory is.
unsafe impl Sync for Block {}

impl Block {
    /// Where it begins.
    pub fn start(&self) -> *mut u8 {
        self.start
    }

    /// The point to set behind its use.
    pub fn free(&self) -> &Point {
        &self.free
    }
}

/// Blocks that are used by turns.
#[derive(Default)]
pub(super) struct Pinned {
    blocks: Vec<Block>,
    /// Bytes of those that somebody has.
    lent: usize,
}

/// Sizes of blocks are multiples of this many bytes.
const GRAIN: usize = 64 << 10;
/// The most bytes of all blocks together: pinned memory is taken from everybody.
const MOST: usize = 256 << 20;

impl Pinned {
    /// Memory for so many bytes, whose point is to be set behind its use; none if there would be too much of it. The device is entered.
    pub fn take(&mut self, driver: &'static Driver, bytes: usize) -> Result<Option<&Block>> {
        let found = self.find(driver, bytes)?;
        Ok(found.map(|found| &self.blocks[found]))
    }

    /// The same, which is to be [given back](Pinned::give_back) when its point is set.
    pub fn lend(&mut self, driver: &'static Driver, bytes: usize) -> Result<Option<Block>> {
        let found = self.find(driver, bytes)?.map(|found| self.blocks.swap_remove(found));
        self.lent += found.as_ref().map_or(0, |block| block.bytes);
        Ok(found)
    }

    /// Takes a block back.
    pub fn give_back(&mut self, block: Block) {
        self.lent -= block.bytes;
        self.blocks.push(block);
    }

    fn find(&mut self, driver: &'static Driver, bytes: usize) -> Result<Option<usize>> {
        let fits = |b: &Block| b.bytes >= bytes && b.bytes / 4 <= bytes.max(GRAIN) && b.free.is_passed();
        if let Some(found) = self.blocks.iter().position(fits) {
            return Ok(Some(found));
        }
        let size = bytes.next_multiple_of(GRAIN);
        if size > MOST {
            return Ok(None);
        }
        while self.lent + self.blocks.iter().map(|b| b.bytes).sum::<usize>() + size > MOST {
            // A block that is not in use goes.
            let Some(idle) = self.blocks.iter().position(|b| b.free.is_passed()) else { return Ok(None) };
            self.blocks.remove(idle).release(driver);
        }
        let mut start: *mut c_void = null_mut();
        // SAFETY: the driver writes an address.
        driver.check("cuMemAllocHost", unsafe { (driver.allocate_host)(&mut start, size) })?;
        self.blocks.push(Block { start: start.cast(), bytes: size, free: Point::new(driver)? });
        Ok(Some(self.blocks.len() - 1))
    }

    /// Gives everything back; the device is done with it.
    pub fn release(&mut self, driver: &'static Driver) {
        self.blocks.drain(..).for_each(|block| block.release(driver));
    }
}

impl Block {
    fn release(self, driver: &'static Driver) {
        // SAFETY: nobody uses the block any more.
        unsafe { (driver.free_host)(self.start.cast()) };
    }
}
