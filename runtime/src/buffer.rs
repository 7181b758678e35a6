//! Memory of tensors: shared, 64-byte aligned blocks, recycled through a free list of size classes, so that a
//! steady training step asks the system for nothing.

use half::{bf16, f16};
use igneous_ir::error::{Error, Result};
use igneous_ir::types::DType;
use std::alloc::Layout;
use std::fmt;
use std::mem::size_of;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The alignment of every buffer, in bytes.
pub const ALIGNMENT: usize = 64;

/// A handle of a block of memory; `clone` shares the block, the last handle recycles it.
///
/// The bytes are always initialised: fresh memory is zero, recycled memory holds what was last written there.
/// A buffer is written through `as_mut_slice` (which needs the only handle) or by a [`Program`](crate::program::Program)
/// that was given it as a [`Place::InOut`](crate::program::Place::InOut) input (which needs the only handle, too).
pub struct Buffer(NonNull<Header>);

/// Stands right before the bytes of its block.
#[repr(C, align(64))]
struct Header {
    /// The number of handles.
    handles: AtomicUsize,
    /// The bytes in use.
    len: usize,
    /// The size class: how many bytes there are.
    class: usize,
    /// What the system gave.
    base: NonNull<u8>,
    /// The next free block of this class while this one is free.
    next: Option<NonNull<Header>>,
}

// SAFETY: a block is only read through shared handles, its count is atomic, and writing needs the only handle.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

/// Number of size classes: four for each power of two from 64 bytes up to 2^48, more than any address space has.
const CLASSES: usize = 4 * 42 + 1;
/// How much more than the most that was ever in use may be kept from the system.
const SLACK: usize = 64 << 20;

/// The smallest class with at least this many bytes.
fn class_of(bytes: usize) -> usize {
    if bytes <= 64 {
        return 0;
    }
    let last = bytes - 1;
    let octave = last.ilog2() as usize;
    (octave - 6) * 4 + ((last >> (octave - 2)) & 3) + 1
}

/// The bytes of a block of this class: 64, 80, 96, 112, 128, 160, 192, …
fn capacity(class: usize) -> usize {
    (4 + class % 4) << (4 + class / 4)
}

/// The memory asked of the system for a block: alignment is made by hand because only then are large zeroed
/// blocks given without touching them.
fn layout(class: usize) -> Option<Layout> {
    Layout::from_size_align(capacity(class).checked_add(size_of::<Header>() + ALIGNMENT)?, 16).ok()
}

struct Pool {
    free: [Option<NonNull<Header>>; CLASSES],
    stats: MemoryStats,
}

// SAFETY: the pool owns its free blocks.
unsafe impl Send for Pool {}

static POOL: Mutex<Pool> =
    Mutex::new(Pool { free: [None; CLASSES], stats: MemoryStats { live: 0, cached: 0, peak: 0, system_allocations: 0 } });

/// What the free list holds and has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryStats {
    /// Bytes in blocks that have a handle.
    pub live: usize,
    /// Bytes in free blocks.
    pub cached: usize,
    /// The most bytes that were ever live.
    pub peak: usize,
    /// How often memory was asked of the system.
    pub system_allocations: u64,
}

/// The state of the free list that all buffers share.
pub fn memory_stats() -> MemoryStats {
    pool().stats
}

/// Gives all free blocks back to the system.
pub fn release_free_memory() {
    pool().shrink(0);
}

fn pool() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// Gives free blocks back, the largest first, until at most `bytes` are kept.
    fn shrink(&mut self, bytes: usize) {
        for class in (0..CLASSES).rev() {
            while self.stats.cached > bytes {
                let Some(block) = self.free[class] else { break };
                // SAFETY: a block in the free list is a live allocation of this class that nobody else refers to.
                unsafe {
                    self.free[class] = block.as_ref().next;
                    let base = block.as_ref().base;
                    std::alloc::dealloc(base.as_ptr(), layout(class).expect("it was allocated with this layout"));
                }
                self.stats.cached -= capacity(class);
            }
        }
    }

    fn taken(&mut self, class: usize) {
        self.stats.live += capacity(class);
        self.stats.peak = self.stats.peak.max(self.stats.live);
    }
}

/// Lets the system back a large block by pages of 2 MiB, so that walking through it does not wait for address translations.
/// It is a hint: nothing depends on it.
fn ask_for_huge_pages(base: NonNull<u8>, bytes: usize) {
    const HUGE: usize = 2 << 20;
    #[cfg(target_os = "linux")]
    {
        let first = base.as_ptr().align_offset(HUGE);
        let whole = bytes.saturating_sub(first) / HUGE * HUGE;
        if whole >= 2 * HUGE {
            // SAFETY: the range lies inside the allocation, which nobody uses yet; the advice changes no contents.
            unsafe { libc::madvise(base.as_ptr().add(first).cast(), whole, libc::MADV_HUGEPAGE) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (base, bytes, HUGE);
}

/// A block and whether its bytes are known to be zero.
fn allocate(bytes: usize) -> Result<(Buffer, bool)> {
    let too_large = || Error::new(format!("cannot allocate {bytes} bytes"));
    let class = class_of(bytes);
    if class >= CLASSES {
        return Err(too_large());
    }
    let mut pool = pool();
    if let Some(mut block) = pool.free[class] {
        // SAFETY: a block in the free list is a live allocation that nobody else refers to; taking it out under the
        // lock makes this its only user.
        unsafe {
            let header = block.as_mut();
            pool.free[class] = header.next.take();
            header.len = bytes;
            header.handles.store(1, Ordering::Relaxed);
        }
        pool.stats.cached -= capacity(class);
        pool.taken(class);
        return Ok((Buffer(block), false));
    }
    let room = (pool.stats.peak + SLACK).saturating_sub(pool.stats.live + capacity(class));
    pool.shrink(room);
    let layout = layout(class).ok_or_else(too_large)?;
    // SAFETY: the layout has a size above zero.
    let system = || NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) });
    let base = match system() {
        Some(base) => base,
        None => {
            pool.shrink(0);
            system().ok_or_else(too_large)?
        }
    };
    ask_for_huge_pages(base, layout.size());
    let block = {
        // SAFETY: the layout has room for the alignment, the header and the capacity; the header is written before
        // anybody can read it.
        unsafe {
            let block = base.add(base.align_offset(ALIGNMENT)).cast::<Header>();
            block.write(Header { handles: AtomicUsize::new(1), len: bytes, class, base, next: None });
            block
        }
    };
    pool.stats.system_allocations += 1;
    pool.taken(class);
    Ok((Buffer(block), true))
}

impl Buffer {
    /// A block of `bytes` bytes with unspecified contents.
    ///
    /// # Errors
    /// If the system has not enough memory.
    pub fn new(bytes: usize) -> Result<Buffer> {
        Ok(allocate(bytes)?.0)
    }

    /// A block of zeros.
    ///
    /// # Errors
    /// If the system has not enough memory.
    pub fn zeroed(bytes: usize) -> Result<Buffer> {
        let (buffer, zero) = allocate(bytes)?;
        if !zero {
            // SAFETY: this is the only handle, and the block has that many bytes.
            unsafe { buffer.ptr().write_bytes(0, bytes) };
        }
        Ok(buffer)
    }

    /// A block that holds a copy of `data`.
    ///
    /// # Errors
    /// If the system has not enough memory.
    pub fn from_slice<T: Element>(data: &[T]) -> Result<Buffer> {
        let buffer = Buffer::new(size_of_val(data))?;
        // SAFETY: the block is new, so it cannot overlap `data`, and as large as `data`.
        unsafe { buffer.ptr().copy_from_nonoverlapping(data.as_ptr().cast(), size_of_val(data)) };
        Ok(buffer)
    }

    fn header(&self) -> &Header {
        // SAFETY: the header lives as long as there is a handle, and is written only while there is none.
        unsafe { self.0.as_ref() }
    }

    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.header().len
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this is the only handle of the block.
    pub fn is_unique(&self) -> bool {
        self.header().handles.load(Ordering::Acquire) == 1
    }

    /// Whether both handles are of one block.
    pub fn same(&self, other: &Buffer) -> bool {
        self.0 == other.0
    }

    /// The address of the first byte, 64-byte aligned.
    pub fn ptr(&self) -> *mut u8 {
        // SAFETY: the bytes follow the header in the same allocation.
        unsafe { self.0.add(1).cast().as_ptr() }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the block has that many initialised bytes and is not written while there is a borrowed handle: see
        // the rule of `Program::run` about inputs that are updated in place.
        unsafe { std::slice::from_raw_parts(self.ptr(), self.len()) }
    }

    /// The bytes, to be written.
    ///
    /// # Errors
    /// If this is not the only handle.
    pub fn bytes_mut(&mut self) -> Result<&mut [u8]> {
        if !self.is_unique() {
            return Err(Error::new("a buffer that is shared cannot be written"));
        }
        // SAFETY: the block has that many initialised bytes, and this is its only handle, exclusively borrowed.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.ptr(), self.len()) })
    }

    /// The elements.
    ///
    /// # Errors
    /// If the bytes are not a whole number of valid elements.
    pub fn as_slice<T: Element>(&self) -> Result<&[T]> {
        let bytes = self.bytes();
        check_elements::<T>(bytes)?;
        // SAFETY: the address has the largest alignment there is, and the bytes are a whole number of valid elements.
        Ok(unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<T>()) })
    }

    /// The elements, to be written.
    ///
    /// # Errors
    /// If this is not the only handle, or the bytes are not a whole number of valid elements.
    pub fn as_mut_slice<T: Element>(&mut self) -> Result<&mut [T]> {
        let bytes = self.bytes_mut()?;
        check_elements::<T>(bytes)?;
        // SAFETY: as in `as_slice`, and `bytes_mut` lends the block exclusively.
        Ok(unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len() / size_of::<T>()) })
    }

    /// A copy of the elements.
    ///
    /// # Errors
    /// If the bytes are not a whole number of valid elements.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        Ok(self.as_slice()?.to_vec())
    }

    /// A copy of the block under a handle of its own.
    ///
    /// # Errors
    /// If the system has not enough memory.
    pub fn duplicate(&self) -> Result<Buffer> {
        Buffer::from_slice(self.bytes())
    }
}

fn check_elements<T: Element>(bytes: &[u8]) -> Result<()> {
    if !bytes.len().is_multiple_of(size_of::<T>()) {
        return Err(Error::new(format!("{} bytes are not a whole number of {} elements", bytes.len(), T::DTYPE)));
    }
    if T::DTYPE == DType::Bool && bytes.iter().fold(0, |all, b| all | b) > 1 {
        return Err(Error::new("a byte that is neither 0 nor 1 is no bool"));
    }
    Ok(())
}

impl Clone for Buffer {
    fn clone(&self) -> Buffer {
        self.header().handles.fetch_add(1, Ordering::Relaxed);
        Buffer(self.0)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.header().handles.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        fence(Ordering::Acquire);
        let mut pool = pool();
        let class = self.header().class;
        // SAFETY: the last handle is gone, so the block belongs to the pool alone.
        unsafe { self.0.as_mut().next = pool.free[class].replace(self.0) };
        pool.stats.live -= capacity(class);
        pool.stats.cached += capacity(class);
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.len())
    }
}

/// A Rust type with the layout of an element type.
///
/// # Safety
/// The type has the size of `DTYPE`, no padding, an alignment of at most 64, and every bit pattern is valid, except for
/// `bool`, whose bytes are checked.
pub unsafe trait Element: Copy + Send + Sync + 'static {
    /// The element type.
    const DTYPE: DType;
}

macro_rules! elements {
    ($($type:ty => $dtype:ident),*) => {$(
        // SAFETY: a plain number of that size.
        unsafe impl Element for $type {
            const DTYPE: DType = DType::$dtype;
        }
    )*};
}

elements!(f64 => F64, f32 => F32, f16 => F16, bf16 => BF16, i64 => I64, i32 => I32, u8 => U8, i8 => I8, u32 => U32, bool => Bool);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_hold_what_they_are_chosen_for() {
        for bytes in (0..5000).chain([1 << 20, (1 << 20) + 1, 3 << 30, usize::MAX >> 16]) {
            let class = class_of(bytes);
            assert!(capacity(class) >= bytes);
            assert!(class == 0 || capacity(class - 1) < bytes, "{bytes} bytes in a class of {}", capacity(class));
        }
    }

    #[test]
    fn elements_round_trip_and_wrong_views_are_errors() {
        let buffer = Buffer::from_slice(&[1.5f32, -2.0, 3.0]).unwrap();
        assert_eq!(buffer.len(), 12);
        assert_eq!(buffer.to_vec::<f32>().unwrap(), [1.5, -2.0, 3.0]);
        assert_eq!(buffer.ptr() as usize % ALIGNMENT, 0);
        assert!(buffer.as_slice::<f64>().unwrap_err().message().contains("whole number"));
        assert!(buffer.as_slice::<bool>().unwrap_err().message().contains("bool"));
        assert_eq!(Buffer::from_slice(&[true, false]).unwrap().as_slice::<bool>().unwrap(), [true, false]);
        assert!(Buffer::zeroed(0).unwrap().as_slice::<i64>().unwrap().is_empty());
    }

    #[test]
    fn only_the_only_handle_writes() {
        let mut buffer = Buffer::zeroed(8).unwrap();
        let other = buffer.clone();
        assert!(!buffer.is_unique() && buffer.same(&other));
        assert!(buffer.as_mut_slice::<i32>().is_err());
        drop(other);
        buffer.as_mut_slice::<i32>().unwrap()[1] = 7;
        assert_eq!(buffer.as_slice::<i32>().unwrap(), [0, 7]);
        assert!(!buffer.duplicate().unwrap().same(&buffer));
    }

    #[test]
    fn memory_is_recycled_and_zeroed_again() {
        // A class of its own, so that tests on other threads do not disturb it.
        let bytes = 12_345_678;
        let mut first = Buffer::new(bytes).unwrap();
        let address = first.ptr();
        first.bytes_mut().unwrap().fill(9);
        drop(first);
        let again = Buffer::zeroed(bytes - 5).unwrap();
        assert_eq!(again.ptr(), address);
        assert!(again.bytes().iter().all(|&b| b == 0));
    }

    #[test]
    fn impossible_sizes_are_errors() {
        assert!(Buffer::new(usize::MAX).is_err());
        assert!(Buffer::new(1 << 60).is_err());
    }

    #[test]
    fn handles_on_many_threads() {
        let buffer = Buffer::from_slice(&[1i64; 100]).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let shared = buffer.clone();
                scope.spawn(move || {
                    for n in 0..1000 {
                        let copy = shared.clone();
                        let fresh = Buffer::from_slice(&vec![n as i64; n % 100]).unwrap();
                        assert_eq!(copy.as_slice::<i64>().unwrap().iter().sum::<i64>(), 100);
                        assert_eq!(fresh.as_slice::<i64>().unwrap().iter().sum::<i64>(), (n * (n % 100)) as i64);
                    }
                });
            }
        });
        assert!(buffer.is_unique());
    }
}
