//! Batches of a data set.

use super::random::in_epoch;
use super::workers::Workers;
use super::{Collate, Dataset, Progress, RandomSampler, Sampler};
use crate::location::{called_from, here};
use igneous_ir::{Error, Loc, Result};
use std::sync::Arc;
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
/// The order of a shuffled epoch, and what [`SampleRandom`](super::SampleRandom) draws for a sample, are functions of the seed and
/// the epoch's number alone, with or without workers: `loader.epoch(n).from(k)` goes on in the middle of an epoch.
#[derive(Debug)]
pub struct DataLoader<D: Dataset> {
    dataset: Arc<D>,
    batch_size: usize,
    /// Where the loader was made.
    loc: Loc,
    seed: u64,
    sampler: Option<Arc<dyn Sampler>>,
    drop_last: bool,
    ahead: Option<Ahead<D>>,
    epochs: AtomicUsize,
}

type Batch<D> = <<D as Dataset>::Sample as Collate>::Batch;

/// How batches are made by other threads.
#[derive(Debug)]
struct Ahead<D: Dataset> {
    workers: usize,
    prefetch: usize,
    start: Start<D>,
}

/// Starts workers on the rest of an epoch.
type Start<D> = fn(&Epoch<'_, D>, &Ahead<D>) -> Result<Workers<Result<Batch<D>>>>;

impl<D: Dataset> DataLoader<D> {
    /// Batches of `batch_size` samples in order; the last may be smaller. With a size of 0 the first batch is an error.
    #[track_caller]
    pub fn new(dataset: D, batch_size: usize) -> DataLoader<D> {
        DataLoader {
            dataset: Arc::new(dataset),
            batch_size,
            loc: here(),
            seed: 0,
            sampler: None,
            drop_last: false,
            ahead: None,
            epochs: AtomicUsize::new(0),
        }
    }

    /// Another random order in each epoch.
    #[must_use]
    pub fn shuffle(self, seed: u64) -> Self {
        let sampler = RandomSampler::new(self.dataset.len(), seed);
        DataLoader { seed, ..self.sampler(sampler) }
    }

    /// The samples that `sampler` chooses, in its order.
    #[must_use]
    pub fn sampler(mut self, sampler: impl Sampler + 'static) -> Self {
        self.sampler = Some(Arc::new(sampler));
        self
    }

    /// Leaves out a last batch that would be smaller than the others.
    #[must_use]
    pub fn drop_last(mut self) -> Self {
        self.drop_last = true;
        self
    }

    /// Makes batches on so many other threads, two in advance on each. They come in the same order with the same numbers as
    /// without workers.
    #[must_use]
    pub fn workers(self, count: usize) -> Self
    where
        D: 'static,
        Batch<D>: Send + 'static,
    {
        self.workers_with(count, 2)
    }

    /// The same with another number of batches in advance on each thread (`prefetch_factor`).
    #[must_use]
    pub fn workers_with(mut self, count: usize, prefetch: usize) -> Self
    where
        D: 'static,
        Batch<D>: Send + 'static,
    {
        self.ahead = (count > 0).then_some(Ahead { workers: count, prefetch, start: start::<D> });
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
        let n = self.sampler.as_ref().map_or_else(|| self.dataset.len(), |sampler| sampler.len());
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
        let order = match &self.sampler {
            Some(sampler) => sampler.order(number),
            None => (0..self.dataset.len()).collect(),
        };
        let order = order.into();
        Epoch { loader: self, number, len: self.len(), order, next: 0, running: None }
    }
}

fn start<D: Dataset + 'static>(epoch: &Epoch<'_, D>, ahead: &Ahead<D>) -> Result<Workers<Result<Batch<D>>>>
where
    Batch<D>: Send + 'static,
{
    let DataLoader { dataset, batch_size, seed, loc, .. } = epoch.loader;
    let (dataset, batch_size, seed, loc) = (dataset.clone(), *batch_size, *seed, *loc);
    let (number, order) = (epoch.number, epoch.order.clone());
    let make = move |batch| read(&*dataset, samples(&order, batch, batch_size), seed, number, loc);
    Workers::start(ahead.workers, ahead.workers * ahead.prefetch, epoch.next..epoch.len, make)
}

/// The samples of a batch.
fn samples(order: &[usize], batch: usize, batch_size: usize) -> &[usize] {
    let from = batch * batch_size;
    &order[from..(from + batch_size).min(order.len())]
}

/// One batch, with errors that name the loader's line.
fn read<D: Dataset>(dataset: &D, indices: &[usize], seed: u64, epoch: usize, loc: Loc) -> Result<Batch<D>> {
    called_from(loc, || in_epoch(seed, epoch, || dataset.batch(indices))).map_err(|e| e.at(loc))
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
pub struct Epoch<'l, D: Dataset> {
    loader: &'l DataLoader<D>,
    number: usize,
    len: usize,
    order: Arc<[usize]>,
    next: usize,
    /// The workers, once they run.
    running: Option<Workers<Result<Batch<D>>>>,
}

impl<D: Dataset> Epoch<'_, D> {
    /// Without the first batches: goes on where an epoch was left.
    #[must_use]
    pub fn from(mut self, batch: usize) -> Self {
        self.next = batch.min(self.len);
        self
    }

    /// With a progress bar on the terminal.
    pub fn progress(self, label: &str) -> Progress<Self> {
        Progress::new(self, label)
    }

    /// The next batch of the workers.
    fn receive(&mut self, ahead: &Ahead<D>) -> Result<Batch<D>> {
        if self.running.is_none() {
            self.running = Some((ahead.start)(self, ahead)?);
        }
        let made = self.running.as_mut().and_then(Workers::take);
        made.unwrap_or_else(|| Err(Error::new("a worker of the DataLoader ended before its work was done")))
    }
}

impl<D: Dataset> Iterator for Epoch<'_, D> {
    type Item = Result<Batch<D>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.len {
            return None;
        }
        let loader = self.loader;
        if loader.batch_size == 0 {
            self.next = 1;
            return Some(Err(Error::new("a DataLoader needs a batch size of at least 1, not 0").at(loader.loc)));
        }
        let batch = match &loader.ahead {
            Some(ahead) => self.receive(ahead).map_err(|e| e.at(loader.loc)),
            None => {
                let indices = samples(&self.order, self.next, loader.batch_size);
                read(&*loader.dataset, indices, loader.seed, self.number, loader.loc)
            }
        };
        self.next += 1;
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.len - self.next;
        (left, Some(left))
    }
}

impl<D: Dataset> ExactSizeIterator for Epoch<'_, D> {}

#[cfg(test)]
mod tests {
    use super::super::{SampleRandom, Subset, WeightedRandomSampler, k_fold, random_split};
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

    /// Workers change neither the batches nor their order, nor does beginning in the middle.
    #[test]
    fn workers_make_the_same_batches() {
        let expected = read(&DataLoader::new(Numbers(103), 10).shuffle(7), 3);
        for (workers, prefetch) in [(1, 0), (2, 1), (3, 2), (20, 4)] {
            let loader = DataLoader::new(Numbers(103), 10).shuffle(7).workers_with(workers, prefetch);
            assert_eq!(read(&loader, 3), expected, "{workers} workers");
            let rest: Vec<i64> = loader.epoch(3).from(4).flat_map(|b| b.unwrap().to_vec::<i64>().unwrap()).collect();
            assert_eq!(rest, expected[40..]);
            assert_eq!(loader.epoch(3).from(99).count(), 0);
            drop(loader.epoch(0).next());
        }
    }

    /// What a sample draws depends on seed, epoch and sample, and on nothing else.
    #[test]
    fn augmentations_are_the_same_with_workers() {
        struct Noise;
        impl Dataset for Noise {
            type Sample = f32;

            fn len(&self) -> usize {
                8
            }

            fn get(&self, index: usize) -> Result<f32> {
                Ok(SampleRandom::of_sample(index).uniform() as f32)
            }
        }
        let epoch = |loader: &DataLoader<Noise>, number: usize| -> Vec<f32> {
            loader.epoch(number).flat_map(|b| b.unwrap().to_vec::<f32>().unwrap()).collect()
        };
        let plain = DataLoader::new(Noise, 3).shuffle(1);
        let expected = epoch(&plain, 2);
        assert_eq!(epoch(&DataLoader::new(Noise, 3).shuffle(1).workers(2), 2), expected);
        assert_ne!(epoch(&plain, 1), expected);
        assert!(expected.iter().all(|x| (0.0..1.0).contains(x)));
        let mut sorted = expected.clone();
        sorted.sort_by(f32::total_cmp);
        assert!(sorted.windows(2).all(|pair| pair[0] < pair[1]), "each sample draws its own");
    }

    #[test]
    fn errors_of_workers_come_in_their_place() {
        struct Broken;
        impl Dataset for Broken {
            type Sample = i64;

            fn len(&self) -> usize {
                6
            }

            fn get(&self, index: usize) -> Result<i64> {
                match index {
                    3 => Err(Error::new("sample 3 cannot be read")),
                    5 => panic!("expected"),
                    _ => Ok(index as i64),
                }
            }
        }
        let loader = DataLoader::new(Broken, 1).workers(2);
        let read: Vec<Result<i64>> = loader.iter().map(|b| Ok(b?.item()? as i64)).collect();
        let told: Vec<String> = read.iter().map(|r| r.as_ref().map_or_else(|e| e.message().to_owned(), i64::to_string)).collect();
        assert_eq!(told[..5], ["0", "1", "2", "sample 3 cannot be read", "4"]);
        assert!(told[5].contains("a worker of the DataLoader ended"), "{}", told[5]);
    }

    #[test]
    fn samplers_and_parts() {
        let weighted = WeightedRandomSampler::new(&[0.0, 1.0, 3.0, 0.0], 4000, 1).unwrap();
        let drawn = read(&DataLoader::new(Numbers(4), 50).sampler(weighted.clone()), 0);
        let count = |n: i64| drawn.iter().filter(|&&i| i == n).count();
        assert_eq!((drawn.len(), count(0), count(3)), (4000, 0, 0));
        assert!((count(1) as f64 - 1000.0).abs() < 4.0 * (4000.0 * 0.25 * 0.75f64).sqrt(), "{}", count(1));
        assert_ne!(weighted.order(0), weighted.order(1));
        assert!(WeightedRandomSampler::new(&[0.0], 1, 1).is_err() && WeightedRandomSampler::new(&[f64::NAN], 1, 1).is_err());

        let parts = random_split(Numbers(11), &[0.5, 0.25, 0.25], 3).unwrap();
        assert_eq!(parts.iter().map(Dataset::len).collect::<Vec<_>>(), [6, 3, 2]);
        let all = |parts: &[&Subset<Numbers>]| {
            let mut all: Vec<usize> = parts.iter().flat_map(|part| part.indices()).copied().collect();
            all.sort_unstable();
            all
        };
        assert_eq!(all(&parts.iter().collect::<Vec<_>>()), (0..11).collect::<Vec<_>>());
        assert_eq!(parts[1].get(0).unwrap(), parts[1].indices()[0] as i64);
        assert!(parts[2].get(2).is_err() && Subset::new(Numbers(2), vec![2]).is_err());
        assert!(random_split(Numbers(3), &[0.5, 0.6], 1).is_err());

        let folds = k_fold(Numbers(10), 3, 5).unwrap();
        folds.iter().for_each(|(train, valid)| assert_eq!(all(&[train, valid]), (0..10).collect::<Vec<_>>()));
        assert_eq!(all(&folds.iter().map(|(_, valid)| valid).collect::<Vec<_>>()), (0..10).collect::<Vec<_>>());
        assert!(k_fold(Numbers(3), 4, 1).is_err() && k_fold(Numbers(3), 1, 1).is_err());
    }
}
