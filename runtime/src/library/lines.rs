//! A tensor as lines along one axis, which several threads share.

use crate::threads::parallel_for;
use std::marker::PhantomData;
use std::ops::Range;

/// A task has about so many elements, and a whole number of groups of lines.
const TASK: usize = 1 << 14;
/// Lines that are worked on together.
pub(super) const GROUP: usize = 16;

/// A tensor as lines along one axis.
#[derive(Clone, Copy)]
pub(super) struct Lines {
    /// Elements of a line.
    pub length: usize,
    /// The distance of neighbours in a line.
    pub stride: usize,
    pub count: usize,
}

impl Lines {
    pub fn new(shape: &[usize], axis: usize) -> Lines {
        let (length, stride) = (shape[axis], shape[axis + 1..].iter().product());
        let outer: usize = shape[..axis].iter().product();
        Lines { length, stride, count: outer * stride }
    }

    /// The position of the first element of a line.
    pub fn first(self, line: usize) -> usize {
        line / self.stride * self.length * self.stride + line % self.stride
    }

    /// The positions of the elements of a line, first to last.
    pub fn places(self, line: usize) -> impl DoubleEndedIterator<Item = usize> + Clone {
        let first = self.first(line);
        (0..self.length).map(move |k| first + k * self.stride)
    }

    /// Calls `work` with ranges of lines, by several threads if there is much to do; each line is in one range.
    pub fn share(self, work: impl Fn(Range<usize>) + Sync) {
        let lines = (TASK / self.length.max(1)).max(1).next_multiple_of(GROUP);
        parallel_for(self.count.div_ceil(lines), &|t| work(t * lines..(t * lines + lines).min(self.count)));
    }
}

/// Elements that are written line by line.
pub(super) struct Written<'a, T> {
    first: *mut T,
    length: usize,
    of: PhantomData<&'a mut [T]>,
}

// SAFETY: it is only written to, and by its own condition no two threads write the same element.
unsafe impl<T: Send> Sync for Written<'_, T> {}

impl<'a, T: Copy> Written<'a, T> {
    pub fn new(elements: &'a mut [T]) -> Written<'a, T> {
        Written { first: elements.as_mut_ptr(), length: elements.len(), of: PhantomData }
    }

    /// Writes one element.
    ///
    /// # Safety
    /// No other thread writes that element.
    pub unsafe fn set(&self, position: usize, value: T) {
        assert!(position < self.length);
        // SAFETY: it is one of the elements, and by the caller nobody else's.
        unsafe { self.first.add(position).write(value) }
    }
}
