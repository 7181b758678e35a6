//! Sums of products: `dot_general` and `convolution`. They are never decomposed, and their derivatives are the same two again.

mod convolution;
mod convolution_derivative;
mod dot;

use crate::op::Record;

pub use convolution::*;
pub use dot::*;

/// The records of this family.
pub static CONTRACTION: &[&Record] = &[&CONVOLUTION, &DOT_GENERAL];
