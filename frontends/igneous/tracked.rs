//! Host state that a trace depends on, such as a module's mode.
//!
//! A compiled function is only as good as the state it was traced under, so that state lives in cells: reading one
//! under a trace adds a guard to the compiled program, and a program is used only while all its guards hold.

use crate::trace;
use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// What a tracked cell may hold.
pub trait State: Copy + PartialEq + fmt::Debug + Send + Sync + 'static {}

impl<T: Copy + PartialEq + fmt::Debug + Send + Sync + 'static> State for T {}

/// A shared cell whose readers under a trace are remembered. `clone` shares it.
///
/// Setting one under a trace takes effect for the rest of the trace, and for the cell itself after each run that succeeds.
#[derive(Clone)]
pub struct Tracked<T: State>(Arc<Cell<T>>);

struct Cell<T> {
    name: &'static str,
    value: Mutex<T>,
}

impl<T: State> Cell<T> {
    fn load(&self) -> T {
        *self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self, value: T) {
        *self.value.lock().unwrap_or_else(PoisonError::into_inner) = value;
    }
}

impl<T: State> Tracked<T> {
    /// A cell with a name for messages, for example `mode`.
    pub fn new(name: &'static str, value: T) -> Tracked<T> {
        Tracked(Arc::new(Cell { name, value: Mutex::new(value) }))
    }

    /// The value; under a trace the compiled program will depend on it.
    pub fn get(&self) -> T {
        let id = self.id();
        let seen = trace::with_root(|root| {
            if let Some(effect) = root.effects.iter().find(|e| e.cell_id() == id) {
                return *effect.value().downcast_ref::<T>().expect("a cell has one type");
            }
            let expected = self.0.load();
            root.guard(id, || Box::new(CellGuard { cell: self.0.clone(), expected }));
            expected
        });
        seen.unwrap_or_else(|| self.0.load())
    }

    /// Changes the value.
    pub fn set(&self, value: T) {
        let id = self.id();
        let traced = trace::with_root(|root| {
            root.effects.retain(|e| e.cell_id() != id);
            root.effects.push(Arc::new(CellEffect { cell: self.0.clone(), value }));
        });
        if traced.is_none() {
            self.0.store(value);
        }
    }

    fn id(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }
}

impl<T: State> fmt::Debug for Tracked<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.0.name, self.0.load())
    }
}

/// Something that must be as it was while tracing for a compiled program to be used.
pub(crate) trait Guard: Send + Sync {
    /// Whether it is.
    fn holds(&self) -> bool;

    /// What it was and what it is now.
    fn describe(&self) -> String;
}

struct CellGuard<T> {
    cell: Arc<Cell<T>>,
    expected: T,
}

impl<T: State> Guard for CellGuard<T> {
    fn holds(&self) -> bool {
        self.cell.load() == self.expected
    }

    fn describe(&self) -> String {
        format!("{} was {:?} and is {:?}", self.cell.name, self.expected, self.cell.load())
    }
}

/// A cell set under a trace.
pub(crate) trait Effect: Send + Sync {
    /// Which cell.
    fn cell_id(&self) -> usize;

    /// The new value.
    fn value(&self) -> &dyn Any;

    /// Makes the change.
    fn commit(&self);
}

struct CellEffect<T> {
    cell: Arc<Cell<T>>,
    value: T,
}

impl<T: State> Effect for CellEffect<T> {
    fn cell_id(&self) -> usize {
        Arc::as_ptr(&self.cell) as usize
    }

    fn value(&self) -> &dyn Any {
        &self.value
    }

    fn commit(&self) {
        self.cell.store(self.value);
    }
}
