//! Batches of a data set.

use super::{Collate, Dataset, Progress};
use crate::location::{called_from, here};
use igneous_ir::ops::random::philox4x32;
use igneous_ir::{Error, Loc, Result};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Reads a data set in batches (`torch.utils.data.DataLoader`).
///
/// ```
/// use igneous::data::{DataLoader, Dataset};
/// use igneous::{Result, Tensor};
///
/// /// The squares of the first numbers.
/// struct Squares;
///
/// impl Dataset for Squares {
///     type Sample = (f32, i64);
///
///     fn len(&self) -> usize {
///         10
///     }
///
///     fn get(&self, index: usize) -> Result<(f32, i64)> {
///         Ok((index as f32, (index * index) as i64))
///     }
/// }
///
/// let loader = DataLoader::new(Squares, 4).shuffle(7);
/// for batch in &loader {
///     let (x, y): (Tensor, Tensor) = batch?;
///     assert_eq!(x.square().to_dtype(y.dtype()).to_vec::<i64>()?, y.to_vec::<i64>()?);
/// }
/// assert_eq!(loader.len(), 3);
/// # Ok::<(), igneous::Error>(())
/// ```
///
/// The order of a shuffled epoch is a function of the seed and the epoch's number alone.
#[derive(Debug)]
pub struct DataLoader<D> {
    dataset: D,
    batch_size: usize,
    /// Where the loader was made.
    loc: Loc,
    shuffle: Option<u64>,
    drop_last: bool,
    epochs: AtomicUsize,
}

impl<D: Dataset> DataLoader<D> {
    /// Batches of `batch_size` samples in order; the last may be smaller. With a size of 0 the first batch is an error.
    #[track_caller]
    pub fn new(dataset: D, batch_size: usize) -> DataLoader<D> {
        DataLoader { dataset, batch_size, loc: here(), shuffle: None, drop_last: false, epochs: AtomicUsize::new(0) }
    }

    /// Another random order in each epoch.
    #[must_use]
    pub fn shuffle(mut self, seed: u64) -> Self {
        self.shuffle = Some(seed);
        self
    }

    /// Leaves out a last batch that would be smaller than the others.
    #[must_use]
    pub fn drop_last(mut self) -> Self {
        self.drop_last = true;
        self
    }

    /// The data set.
    pub fn dataset(&self) -> &D {
        &self.dataset
    }

    /// The number of batches in an epoch; the error of a loader without a batch size counts as one.
    pub fn len(&self) -> usize {
        if self.batch_size == 0 {
            return 1;
        }
        let n = self.dataset.len();
        if self.drop_last { n / self.batch_size } else { n.div_ceil(self.batch_size) }
    }

    /// Whether an epoch has no batch.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next epoch's batches.
    pub fn iter(&self) -> Epoch<'_, D> {
        self.epoch(self.epochs.fetch_add(1, Ordering::Relaxed))
    }

    /// The batches of epoch `number`.
    pub fn epoch(&self, number: usize) -> Epoch<'_, D> {
        let mut order: Vec<usize> = (0..self.dataset.len()).collect();
        if let Some(seed) = self.shuffle {
            shuffle(&mut order, seed, number as u64);
        }
        Epoch { loader: self, order, next: 0 }
    }
}

impl<'l, D: Dataset> IntoIterator for &'l DataLoader<D> {
    type Item = Result<<D::Sample as Collate>::Batch>;
    type IntoIter = Epoch<'l, D>;

    fn into_iter(self) -> Epoch<'l, D> {
        self.iter()
    }
}

/// The batches of one epoch.
#[derive(Debug)]
pub struct Epoch<'l, D> {
    loader: &'l DataLoader<D>,
    order: Vec<usize>,
    next: usize,
}

impl<D: Dataset> Epoch<'_, D> {
    /// With a progress bar on the terminal.
    pub fn progress(self, label: &str) -> Progress<Self> {
        Progress::new(self, label)
    }
}

impl<D: Dataset> Iterator for Epoch<'_, D> {
    type Item = Result<<D::Sample as Collate>::Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.loader.len() {
            return None;
        }
        if self.loader.batch_size == 0 {
            self.next = 1;
            return Some(Err(Error::new("a DataLoader needs a batch size of at least 1, not 0").at(self.loader.loc)));
        }
        let from = self.next * self.loader.batch_size;
        let to = (from + self.loader.batch_size).min(self.order.len());
        self.next += 1;
        let loc = self.loader.loc;
        Some(called_from(loc, || self.loader.dataset.batch(&self.order[from..to])).map_err(|e| e.at(loc)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.loader.len() - self.next;
        (left, Some(left))
    }
}

impl<D: Dataset> ExactSizeIterator for Epoch<'_, D> {}

/// Fisher and Yates' shuffle, with Philox numbers keyed by seed and epoch.
fn shuffle(order: &mut [usize], seed: u64, epoch: u64) {
    for i in (1..order.len()).rev() {
        let counter = [i as u32, (i as u64 >> 32) as u32, epoch as u32, (epoch >> 32) as u32];
        let word = philox4x32(counter, [seed as u32, (seed >> 32) as u32])[0];
        // The upper half of a product maps 32 random bits to 0..=i with a bias below 2⁻³².
        let j = (u64::from(word) * (i as u64 + 1)) >> 32;
        order.swap(i, j as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Numbers(usize);

    impl Dataset for Numbers {
        type Sample = i64;

        fn len(&self) -> usize {
            self.0
        }

        fn get(&self, index: usize) -> Result<i64> {
            Ok(index as i64)
        }
    }

    fn read(loader: &DataLoader<Numbers>, epoch: usize) -> Vec<i64> {
        loader.epoch(epoch).flat_map(|b| b.unwrap().to_vec::<i64>().unwrap()).collect()
    }

    #[test]
    fn every_sample_comes_once_in_an_order_of_seed_and_epoch() {
        let loader = DataLoader::new(Numbers(103), 10).shuffle(7);
        let (first, second) = (read(&loader, 0), read(&loader, 1));
        let mut sorted = first.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..103).collect::<Vec<_>>());
        assert_ne!(first, second);
        assert_eq!(first, read(&DataLoader::new(Numbers(103), 10).shuffle(7), 0));
        assert_ne!(first, read(&DataLoader::new(Numbers(103), 10).shuffle(8), 0));
        assert_eq!(loader.len(), 11);
        assert_eq!(DataLoader::new(Numbers(103), 10).drop_last().iter().count(), 10);
    }
}
