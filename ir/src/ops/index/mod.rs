//! Operators that make or use indices: gather, iota, scatter.

mod gather;
mod iota;
mod scatter;

use crate::op::Record;

pub use gather::*;
pub use iota::*;
pub use scatter::*;

/// The records of this family.
pub static INDEX: &[&Record] = &[&GATHER, &IOTA, &SCATTER];
