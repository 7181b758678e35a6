//! Views: broadcast, concat, flip, pad, reshape, slice, transpose. They move elements and compute nothing.

mod broadcast;
mod concat;
mod flip;
mod pad;
mod reshape;
mod slice;
mod transpose;

use crate::op::Record;

pub use broadcast::*;
pub use concat::*;
pub use flip::*;
pub use pad::*;
pub use reshape::*;
pub use slice::*;
pub use transpose::*;

pub(crate) use pad::{pad_or_crop, split_sign};
pub(crate) use transpose::inverse;

/// The records of this family.
pub static SHAPE: &[&Record] = &[&BROADCAST, &CONCAT, &FLIP, &PAD, &RESHAPE, &SLICE, &TRANSPOSE];
