//! Random numbers for samples: a function of seed, epoch and sample alone, so that the number of workers changes nothing.

use igneous_ir::ops::random::philox4x32;
use std::cell::Cell;

thread_local! {
    /// Seed and epoch of the loader that reads samples on this thread.
    static EPOCH: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// Runs `f`, in which samples are read for an epoch.
pub(super) fn in_epoch<R>(seed: u64, epoch: usize, f: impl FnOnce() -> R) -> R {
    let before = EPOCH.replace((seed, epoch as u64));
    let result = f();
    EPOCH.set(before);
    result
}

/// Random numbers of one sample: for augmentations in [`Dataset::get`](super::Dataset::get). The same in each run, others in each
/// epoch.
///
/// ```
/// use igneous::data::SampleRandom;
/// let mut random = SampleRandom::of_sample(7);
/// let flipped = random.chance(0.5);
/// assert_eq!(SampleRandom::of_sample(7).chance(0.5), flipped);
/// ```
#[derive(Clone, Debug)]
pub struct SampleRandom {
    key: [u32; 2],
    counter: [u32; 4],
}

impl SampleRandom {
    pub(super) fn new(seed: u64, epoch: u64, sample: u64) -> SampleRandom {
        // A counter of 32 bits numbers the draws, the rest the sample; the epoch is mixed into the key.
        let [a, b, c, d] = philox4x32(
            [epoch as u32, (epoch >> 32) as u32, sample as u32, (sample >> 32) as u32],
            [seed as u32, (seed >> 32) as u32],
        );
        SampleRandom { key: [a, b], counter: [0, c, d, 0] }
    }

    /// Those of a sample, in the epoch that is being read.
    pub fn of_sample(index: usize) -> SampleRandom {
        let (seed, epoch) = EPOCH.get();
        SampleRandom::new(seed, epoch, index as u64 + 1)
    }

    fn next(&mut self) -> u32 {
        self.counter[0] = self.counter[0].wrapping_add(1);
        philox4x32(self.counter, self.key)[0]
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        f64::from(self.next()) * 2f64.powi(-32)
    }

    /// True with this probability.
    pub fn chance(&mut self, p: f64) -> bool {
        self.uniform() < p
    }

    /// An integer below `n`, and 0 for 0.
    pub fn below(&mut self, n: usize) -> usize {
        // The upper half of a product maps 32 random bits to 0..n with a bias below 2⁻³².
        ((u128::from(self.next()) * n as u128) >> 32) as usize
    }
}
