//! Data sets and how they are read in batches: PyTorch's `torch.utils.data`.
//!
//! ```no_run
//! use igneous::data::{DataLoader, Mnist};
//!
//! let train = DataLoader::new(Mnist::train("examples/data/mnist")?, 64).shuffle(1);
//! for epoch in 0..5 {
//!     for batch in train.epoch(epoch).progress(&format!("epoch {epoch}")) {
//!         let (images, labels) = batch?; // f32[64, 1, 28, 28] and i64[64]
//!     }
//! }
//! # Ok::<(), igneous::Error>(())
//! ```

mod cifar;
mod collate;
mod idx;
mod loader;
mod mnist;
mod progress;
mod random;
mod sampler;
mod text;
mod transform;

pub use cifar::{Cifar, CifarKind};
pub use collate::Collate;
pub use idx::{Images, read_images, read_labels};
pub use loader::{DataLoader, Epoch};
pub use mnist::Mnist;
pub use progress::Progress;
pub use random::SampleRandom;
pub use sampler::{RandomSampler, Sampler, Subset, WeightedRandomSampler, k_fold, random_split};
pub use text::{Vocabulary, characters, pad_sequences, read_lines, words};
pub use transform::{CenterCrop, ImageTransform, Normalize, RandomCrop, RandomHorizontalFlip, Resize, Transformed};

use igneous_ir::Result;
use std::sync::Arc;

/// Samples by number.
pub trait Dataset: Send + Sync {
    /// One sample.
    type Sample: Collate;

    /// The number of samples.
    fn len(&self) -> usize;

    /// Whether there is no sample.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sample `index`.
    ///
    /// # Errors
    /// If there is no such sample or it cannot be read; the message names it.
    fn get(&self, index: usize) -> Result<Self::Sample>;

    /// Samples as one batch; override it where a batch can be made faster than sample by sample.
    ///
    /// # Errors
    /// As `get`, and if the samples do not fit together.
    fn batch(&self, indices: &[usize]) -> Result<<Self::Sample as Collate>::Batch> {
        Self::Sample::collate(indices.iter().map(|&i| self.get(i)).collect::<Result<_>>()?)
    }
}

impl<D: Dataset + ?Sized> Dataset for Arc<D> {
    type Sample = D::Sample;

    fn len(&self) -> usize {
        (**self).len()
    }

    fn get(&self, index: usize) -> Result<D::Sample> {
        (**self).get(index)
    }

    fn batch(&self, indices: &[usize]) -> Result<<D::Sample as Collate>::Batch> {
        (**self).batch(indices)
    }
}
