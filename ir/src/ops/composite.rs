//! composite
use crate::op::*;
/// stub
pub static COMPOSITE: &[&Record] = &[];
