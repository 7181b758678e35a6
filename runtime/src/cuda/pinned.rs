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
struct Block {
    start: *mut u8,
    bytes: usize,
    free: Point,
}

/// Blocks that are used by turns.
#[derive(Default)]
pub(super) struct Pinned(Vec<Block>);

// SAFETY: the blocks are this owner's alone.
unsafe impl Send for Pinned {}

/// Sizes of blocks are multiples of this many bytes.
const GRAIN: usize = 64 << 10;
/// The most bytes of all blocks together: pinned memory is taken from everybody.
const MOST: usize = 256 << 20;

impl Pinned {
    /// Memory for so many bytes, and the point to set behind its use; none if there would be too much of it. The device is entered.
    pub fn take(&mut self, driver: &'static Driver, bytes: usize) -> Result<Option<(*mut u8, &Point)>> {
        let fits = |b: &Block| b.bytes >= bytes && b.bytes / 4 <= bytes.max(GRAIN) && b.free.is_passed();
        let found = match self.0.iter().position(fits) {
            Some(found) => found,
            None => {
                let size = bytes.next_multiple_of(GRAIN);
                if size > MOST {
                    return Ok(None);
                }
                while self.0.iter().map(|b| b.bytes).sum::<usize>() + size > MOST {
                    // A block that is not in use goes.
                    let Some(idle) = self.0.iter().position(|b| b.free.is_passed()) else { return Ok(None) };
                    self.0.remove(idle).release(driver);
                }
                let mut start: *mut c_void = null_mut();
                // SAFETY: the driver writes an address.
                driver.check("cuMemAllocHost", unsafe { (driver.allocate_host)(&mut start, size) })?;
                self.0.push(Block { start: start.cast(), bytes: size, free: Point::new(driver)? });
                self.0.len() - 1
            }
        };
        let Block { start, free, .. } = &self.0[found];
        Ok(Some((*start, free)))
    }

    /// Gives everything back; the device is done with it.
    pub fn release(&mut self, driver: &'static Driver) {
        self.0.drain(..).for_each(|block| block.release(driver));
    }
}

impl Block {
    fn release(self, driver: &'static Driver) {
        // SAFETY: nobody uses the block any more.
        unsafe { (driver.free_host)(self.start.cast()) };
    }
}
