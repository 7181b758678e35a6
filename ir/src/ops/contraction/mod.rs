//! Sums of products: `dot_general`, for bytes `dot_general_i32`, and `convolution`. They are never decomposed, and the derivatives of
//! the first and the last are these two again.

mod convolution;
mod convolution_derivative;
mod dot;

use crate::op::Record;

pub use convolution::*;
pub use dot::*;

/// The records of this family.
pub static CONTRACTION: &[&Record] = &[&CONVOLUTION, &DOT_GENERAL, &DOT_GENERAL_I32];
