//! index
use crate::op::*;
/// stub
pub static INDEX: &[&Record] = &[];
