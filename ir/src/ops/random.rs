//! random
use crate::op::*;
/// stub
pub static RANDOM: &[&Record] = &[];
