//! Functions of the scores of attention, by compiled code.

use super::attention::Mask;
use crate::program::{ErrorWord, KernelFn};
use smallvec::SmallVec;
use std::ops::Range;

/// A function of the products of a block; see [`ScoreWork`](crate::program::ScoreWork).
pub(crate) struct Score {
    pub code: KernelFn,
    /// Scratch bytes of the code.
    pub scratch: usize,
    /// What the function is given, as masks lie.
    pub given: Vec<Mask>,
    pub dims: *const i64,
    pub error: *mut ErrorWord,
}

/// What a function of so many operands, whose code needs so many bytes, takes of scratch memory for blocks of `block` rows with `lanes`
/// numbers each.
pub(super) fn score_scratch(needs: Option<(usize, usize)>, block: usize, lanes: usize) -> usize {
    needs.map_or(0, |(given, bytes)| (given + 3) * block * lanes + bytes.div_ceil(size_of::<f32>()) + ALIGNED)
}

/// So many numbers are 64 bytes.
const ALIGNED: usize = 64 / size_of::<f32>();

/// What lanes are along.
#[derive(Clone, Copy)]
pub(super) enum Lanes {
    Queries,
    Keys,
}

/// A block of products: rows about the others, with lanes along the tile.
pub(super) struct Block<'t> {
    pub products: *mut f32,
    pub along: Lanes,
    pub tile: &'t Range<usize>,
    pub others: Range<usize>,
    pub lanes: usize,
    /// The most rows, and scratch memory of the size that [`score_scratch`] gives for them.
    pub most: usize,
    pub room: *mut f32,
}

impl Score {
    /// The scores of a block and, in the derivative, their slopes: where these are, in its room.
    ///
    /// # Safety
    /// The memory is live, and the room is this call's to write.
    pub(super) unsafe fn apply(&self, block: Block) -> [*mut f32; 2] {
        let Block { products, along, tile, others, lanes, most, room } = block;
        let count = others.len() * lanes;
        // SAFETY: by the caller; the parts of the room are as large as `score_scratch` has them.
        unsafe {
            let part = |k: usize| room.add(k * most * lanes);
            let given = self.given.len();
            let [scores, slopes, rest, behind] = [0, 1, 2, 3].map(|k| part(given + k));
            let mut params: SmallVec<[*mut u8; 8]> = SmallVec::from_slice(&[products.cast()]);
            for (k, mask) in self.given.iter().enumerate() {
                let mask = match along {
                    Lanes::Queries => *mask,
                    Lanes::Keys => mask.transposed(),
                };
                mask.pack(tile.clone(), others.clone(), lanes, part(k), rest);
                params.push(part(k).cast());
            }
            params.extend([scores.cast(), slopes.cast()]);
            let scratch = behind.cast::<u8>();
            let scratch = scratch.add(scratch.align_offset(64));
            (self.code)(params.as_ptr(), self.dims, [0, count as i64].as_ptr(), scratch, self.error);
            [scores, slopes]
        }
    }
}
