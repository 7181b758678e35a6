//! The order in which a loader takes samples, and parts of data sets.

use super::Dataset;
use super::random::SampleRandom;
use crate::location::here;
use igneous_ir::ops::random::philox4x32;
use igneous_ir::{Error, Result};
use std::fmt::Debug;
use std::sync::Arc;

/// Chooses the samples of each epoch (`torch.utils.data.Sampler`).
pub trait Sampler: Send + Sync + Debug {
    /// How many samples an epoch has.
    fn len(&self) -> usize;

    /// Whether an epoch has no sample.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Their numbers, in order: a function of the epoch's number alone.
    fn order(&self, epoch: usize) -> Vec<usize>;
}

/// All samples, in another random order in each epoch (`RandomSampler`).
#[derive(Clone, Copy, Debug)]
pub struct RandomSampler {
    len: usize,
    seed: u64,
}

impl RandomSampler {
    /// Of so many samples.
    pub fn new(len: usize, seed: u64) -> RandomSampler {
        RandomSampler { len, seed }
    }
}

impl Sampler for RandomSampler {
    fn len(&self) -> usize {
        self.len
    }

    fn order(&self, epoch: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.len).collect();
        shuffle(&mut order, self.seed, epoch as u64);
        order
    }
}

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

/// Samples drawn with probabilities proportional to weights, with replacement (`WeightedRandomSampler`): for classes of different
/// sizes.
#[derive(Clone, Debug)]
pub struct WeightedRandomSampler {
    /// The sums of the weights up to each sample.
    sums: Vec<f64>,
    count: usize,
    seed: u64,
}

impl WeightedRandomSampler {
    /// So many samples for each epoch, drawn by the weights of all.
    ///
    /// # Errors
    /// If a weight is negative or not finite, or none is above 0.
    #[track_caller]
    pub fn new(weights: &[f64], count: usize, seed: u64) -> Result<WeightedRandomSampler> {
        if let Some((i, weight)) = weights.iter().enumerate().find(|(_, w)| !(w.is_finite() && **w >= 0.0)) {
            let message = format!("a WeightedRandomSampler needs weights of at least 0, and weight {i} is {weight}");
            return Err(Error::new(message).at(here()));
        }
        let mut sum = 0.0;
        let sums: Vec<f64> = weights
            .iter()
            .map(|weight| {
                sum += weight;
                sum
            })
            .collect();
        if !(sum > 0.0 && sum.is_finite()) {
            return Err(Error::new("a WeightedRandomSampler needs a weight above 0, and a finite sum of them").at(here()));
        }
        Ok(WeightedRandomSampler { sums, count, seed })
    }
}

impl Sampler for WeightedRandomSampler {
    fn len(&self) -> usize {
        self.count
    }

    fn order(&self, epoch: usize) -> Vec<usize> {
        let mut random = SampleRandom::new(self.seed, epoch as u64, 0);
        let total = self.sums.last().copied().unwrap_or(0.0);
        // The first whose sum lies above what was drawn: one without weight never does.
        let draw = |_| {
            let drawn = random.uniform() * total;
            self.sums.partition_point(|&sum| sum <= drawn).min(self.sums.len() - 1)
        };
        (0..self.count).map(draw).collect()
    }
}

/// Some samples of a data set (`torch.utils.data.Subset`).
#[derive(Clone, Debug)]
pub struct Subset<D> {
    dataset: Arc<D>,
    indices: Vec<usize>,
}

impl<D: Dataset> Subset<D> {
    /// These samples.
    ///
    /// # Errors
    /// If one is not there.
    #[track_caller]
    pub fn new(dataset: D, indices: Vec<usize>) -> Result<Subset<D>> {
        let dataset = Arc::new(dataset);
        let len = dataset.len();
        match indices.iter().find(|&&i| i >= len) {
            Some(i) => Err(Error::new(format!("a data set of {len} samples has no sample {i}")).at(here())),
            None => Ok(Subset { dataset, indices }),
        }
    }

    /// The numbers of the samples in the whole data set.
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }
}

impl<D: Dataset> Dataset for Subset<D> {
    type Sample = D::Sample;

    fn len(&self) -> usize {
        self.indices.len()
    }

    fn get(&self, index: usize) -> Result<D::Sample> {
        let missing = || Error::new(format!("a subset of {} samples has no sample {index}", self.indices.len()));
        self.dataset.get(*self.indices.get(index).ok_or_else(missing)?)
    }
}

/// A data set in random parts with these shares of the samples (`torch.utils.data.random_split`); rounding gives the first ones a
/// sample more.
///
/// # Errors
/// If a share is negative, or they do not add up to 1.
#[track_caller]
pub fn random_split<D: Dataset>(dataset: D, shares: &[f64], seed: u64) -> Result<Vec<Subset<D>>> {
    let dataset = Arc::new(dataset);
    let sum: f64 = shares.iter().sum();
    if shares.iter().any(|share| *share < 0.0) || sum.is_nan() || (sum - 1.0).abs() > 1e-6 {
        return Err(Error::new(format!("random_split needs shares of at least 0 that add up to 1, not {shares:?}")).at(here()));
    }
    let len = dataset.len();
    let mut sizes: Vec<usize> = shares.iter().map(|share| (share * len as f64).floor() as usize).collect();
    let count = sizes.len();
    let rest = len.saturating_sub(sizes.iter().sum());
    (0..rest).for_each(|i| sizes[i % count] += 1);
    let order = RandomSampler::new(len, seed).order(0);
    let mut rest = &order[..];
    let mut parts = Vec::new();
    for size in sizes {
        let (part, others) = rest.split_at(size.min(rest.len()));
        parts.push(Subset { dataset: dataset.clone(), indices: part.to_vec() });
        rest = others;
    }
    Ok(parts)
}

/// Cross-validation: a data set `k` times as a part to train on and a part to validate with; each sample is in one of the latter.
///
/// # Errors
/// If `k` is below 2 or above the number of samples.
#[track_caller]
pub fn k_fold<D: Dataset>(dataset: D, k: usize, seed: u64) -> Result<Vec<(Subset<D>, Subset<D>)>> {
    let dataset = Arc::new(dataset);
    let len = dataset.len();
    if k < 2 || k > len {
        return Err(Error::new(format!("k_fold needs at least 2 parts and at most one a sample, not {k} of {len}")).at(here()));
    }
    let order = RandomSampler::new(len, seed).order(0);
    let bound = |i: usize| i * len / k;
    let part = |indices: Vec<usize>| Subset { dataset: dataset.clone(), indices };
    let fold = |i: usize| {
        let (from, to) = (bound(i), bound(i + 1));
        (part([&order[..from], &order[to..]].concat()), part(order[from..to].to_vec()))
    };
    Ok((0..k).map(fold).collect())
}
