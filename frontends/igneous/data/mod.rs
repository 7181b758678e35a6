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
mod color;
mod idx;
mod image_folder;
mod loader;
mod mnist;
mod pixel;
mod progress;
mod random;
mod sampler;
mod table;
mod text;
mod transform;
mod workers;

pub use cifar::{Cifar, CifarKind};
pub use collate::Collate;
pub use color::ColorJitter;
pub use idx::{Images, read_images, read_labels};
pub use image_folder::{ImageFolder, read_image};
pub use loader::{DataLoader, Epoch};
pub use mnist::Mnist;
pub use progress::Progress;
pub use random::SampleRandom;
pub use sampler::{RandomSampler, Sampler, Subset, WeightedRandomSampler, k_fold, random_split};
pub use table::{CsvOptions, Table, read_csv};
pub use text::{ENGLISH_STOP_WORDS, Vocabulary, characters, pad_sequences, read_lines, without_stop_words, words};
pub use transform::{
    CenterCrop, ImageTransform, Normalize, RandomCrop, RandomHorizontalFlip, RandomRotation, RandomVerticalFlip, Resize,
    Transformed,
};

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
