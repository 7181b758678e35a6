//! contraction
use crate::op::*;
/// stub
pub static CONTRACTION: &[&Record] = &[];
