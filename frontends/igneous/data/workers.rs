//! Items that other threads make in advance, taken in order.

use igneous_ir::{Error, Result};
use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Threads that make the items of a range. They stop when this is dropped.
pub(super) struct Workers<T>(Arc<Shared<T>>);

struct Shared<T> {
    state: Mutex<State<T>>,
    /// The item that is taken next has been made, or never will be.
    ready: Condvar,
    /// Half of what may be made in advance is taken.
    room: Condvar,
}

struct State<T> {
    /// The items that were begun and not taken, in order.
    items: VecDeque<Option<T>>,
    /// The number of the first of them.
    first: usize,
    end: usize,
    /// How many of them there may be.
    most: usize,
    /// Nobody takes any more.
    left: bool,
    /// A worker panicked.
    broken: bool,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the item to make next; none when there is nothing more to do.
    fn begin(&self) -> Option<usize> {
        let mut state = self.lock();
        // Woken for each item, workers would take the processor from the one who takes them, again and again.
        if state.items.len() >= state.most {
            while !state.left && 2 * state.items.len() > state.most {
                state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        let next = state.first + state.items.len();
        if state.left || state.broken || next == state.end {
            return None;
        }
        state.items.push_back(None);
        Some(next)
    }

    fn finish(&self, number: usize, item: T) {
        let mut state = self.lock();
        let at = number - state.first;
        state.items[at] = Some(item);
        if at == 0 {
            self.ready.notify_one();
        }
    }
}

/// Tells the one who waits if the worker panics.
struct Alive<'s, T>(&'s Shared<T>);

impl<T> Drop for Alive<'_, T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().broken = true;
            self.0.ready.notify_one();
        }
    }
}

impl<T: Send + 'static> Workers<T> {
    /// `count` threads, which make the items of `range` by `make` up to `most` in advance.
    ///
    /// # Errors
    /// If the system has no more threads.
    pub fn start(
        count: usize,
        most: usize,
        range: Range<usize>,
        make: impl Fn(usize) -> T + Send + Sync + 'static,
    ) -> Result<Workers<T>> {
        let (items, most) = (VecDeque::new(), most.max(1));
        let state = State { items, first: range.start, end: range.end, most, left: false, broken: false };
        let shared = Shared { state: Mutex::new(state), ready: Condvar::new(), room: Condvar::new() };
        let workers = Workers(Arc::new(shared));
        let make = Arc::new(make);
        for _ in 0..count {
            let (shared, make) = (workers.0.clone(), make.clone());
            let work = move || {
                let _alive = Alive(&shared);
                while let Some(number) = shared.begin() {
                    shared.finish(number, make(number));
                }
            };
            std::thread::Builder::new().name("igneous-data".to_owned()).spawn(work).map_err(Error::other)?;
        }
        Ok(workers)
    }
}

impl<T> Workers<T> {
    /// The next item; none if a worker panicked before it was made.
    pub fn take(&mut self) -> Option<T> {
        let mut state = self.0.lock();
        while !matches!(state.items.front(), Some(Some(_))) {
            if state.broken {
                return None;
            }
            state = self.0.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let item = state.items.pop_front().flatten();
        state.first += 1;
        if 2 * state.items.len() <= state.most {
            self.0.room.notify_one();
        }
        item
    }
}

impl<T> Drop for Workers<T> {
    fn drop(&mut self) {
        self.0.lock().left = true;
        self.0.room.notify_all();
    }
}

impl<T> fmt::Debug for Workers<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[test]
    fn items_come_in_order_and_no_more_in_advance_than_allowed() {
        for (count, most) in [(1, 1), (2, 4), (5, 3), (20, 80)] {
            let begun = Arc::new(AtomicUsize::new(10));
            let other = begun.clone();
            let make = move |number: usize| {
                other.fetch_add(1, Ordering::SeqCst);
                if number.is_multiple_of(3) {
                    std::thread::sleep(Duration::from_micros(50));
                }
                number
            };
            let mut workers = Workers::start(count, most, 10..110, make).unwrap();
            for number in 10..110 {
                assert_eq!(workers.take(), Some(number));
                assert!(begun.load(Ordering::SeqCst) <= number + 1 + most);
            }
        }
    }

    #[test]
    fn a_panic_ends_the_waiting_after_what_was_made_before() {
        let mut workers = Workers::start(1, 4, 0..9, |number| {
            assert!(number != 3, "expected");
            number
        })
        .unwrap();
        assert_eq!([workers.take(), workers.take(), workers.take()], [Some(0), Some(1), Some(2)]);
        assert_eq!(workers.take(), None);
    }

    #[test]
    fn workers_end_when_nobody_takes_any_more() {
        let alive = Arc::new(());
        let other = alive.clone();
        let mut workers = Workers::start(3, 2, 0..1000, move |number| (other.clone(), number)).unwrap();
        assert_eq!(workers.take().map(|(_, number)| number), Some(0));
        drop(workers);
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while Arc::strong_count(&alive) > 1 {
            assert!(std::time::Instant::now() < deadline, "workers went on");
            std::thread::yield_now();
        }
    }
}
