//! How good a model is: accuracy and what belongs to it, errors of numbers, ranking, perplexity, BLEU.
//!
//! What returns a [`Tensor`] can be part of a compiled function. What counts over many batches, [`ConfusionMatrix`], or looks at
//! all samples at once, [`roc_auc`] and [`bleu`], runs beside.

use crate::location::{entered, here};
use crate::tensor::{Tensor, or_invalid};
use igneous_ir::{DType, Dim, Error, Result};
use std::collections::HashMap;
use std::hash::Hash;

/// The share of samples whose largest score, along axis 1, is that of their class: scores `[N, C]` or `[N, C, …]`, classes `[N]` or
/// `[N, …]`. `f32`.
///
/// ```
/// use igneous::{Tensor, metrics::accuracy};
/// let scores = Tensor::new([[2.0, 1.0], [0.0, 3.0], [5.0, 4.0], [0.0, 1.0]]);
/// assert_eq!(accuracy(&scores, &Tensor::new([0, 1, 1, 1])).item()?, 0.75);
/// # Ok::<(), igneous::Error>(())
/// ```
#[track_caller]
pub fn accuracy(scores: &Tensor, classes: &Tensor) -> Tensor {
    let user = entered();
    let made = classified("accuracy", scores, classes);
    or_invalid(made.map(|()| scores.argmax(1).equal(classes).to_dtype(DType::F32).mean_all()).map_err(|e| e.at(user.loc())))
}

/// The share of samples whose class is among the `k` largest scores along axis 1. `f32`.
#[track_caller]
pub fn top_k_accuracy(scores: &Tensor, classes: &Tensor, k: usize) -> Tensor {
    let user = entered();
    let made = classified("top_k_accuracy", scores, classes).map(|()| {
        let (_, best) = scores.topk(k, 1);
        best.equal(classes.to_dtype(DType::I64).unsqueeze(1)).any(1).to_dtype(DType::F32).mean_all()
    });
    or_invalid(made.map_err(|e| e.at(user.loc())))
}

fn classified(what: &str, scores: &Tensor, classes: &Tensor) -> Result<()> {
    let (shape, given) = (scores.ty()?.shape, classes.ty()?);
    let without: Vec<Dim> = shape.iter().enumerate().filter(|(axis, _)| *axis != 1).map(|(_, d)| *d).collect();
    if shape.len() < 2 || without[..] != given.shape[..] || !given.dtype.is_int() {
        let error = Error::new(format!("{what} needs scores [N, C, …] and one class for each sample: [N, …]"));
        return Err(error.note("scores", scores.describe()).note("classes", classes.describe()));
    }
    Ok(())
}

/// `e` to the mean cross-entropy of logits `[N, C, …]` and classes: how many equally probable classes would be as hard.
#[track_caller]
pub fn perplexity(logits: &Tensor, classes: &Tensor) -> Tensor {
    logits.cross_entropy(classes).exp()
}

/// The mean of squared differences.
#[track_caller]
pub fn mean_squared_error(prediction: &Tensor, target: &Tensor) -> Tensor {
    prediction.mse_loss(target)
}

/// The mean of absolute differences.
#[track_caller]
pub fn mean_absolute_error(prediction: &Tensor, target: &Tensor) -> Tensor {
    crate::nn::L1Loss::new().forward(prediction, target)
}

/// The share of the targets' variance that predictions explain, `1 − Σ(y − ŷ)² / Σ(y − mean)²`: 1 at best, 0 for the mean.
#[track_caller]
pub fn r2_score(prediction: &Tensor, target: &Tensor) -> Tensor {
    let rest = prediction.mse_loss(target);
    let spread = (target - target.mean_all()).square().mean_all();
    1.0 - rest / spread
}

/// How measures of classes become one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Average {
    /// The mean over the classes.
    #[default]
    Macro,
    /// From the counts of all classes together.
    Micro,
    /// The mean over the classes, weighted by how many samples each has.
    Weighted,
}

/// How often samples of each class were taken for each.
///
/// ```
/// use igneous::Tensor;
/// use igneous::metrics::{Average, ConfusionMatrix};
/// let mut counts = ConfusionMatrix::new(2);
/// counts.update(&Tensor::new([0, 1, 1, 1]), &Tensor::new([0, 0, 1, 1]))?;
/// assert_eq!(counts.matrix().to_vec::<i64>()?, [1, 1, 0, 2]);
/// assert_eq!((counts.accuracy(), counts.precision(1), counts.recall(0)), (0.75, 2.0 / 3.0, 0.5));
/// # Ok::<(), igneous::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ConfusionMatrix {
    classes: usize,
    /// `[class, predicted]`, row-major.
    counts: Vec<u64>,
}

impl ConfusionMatrix {
    /// No samples of so many classes.
    pub fn new(classes: usize) -> ConfusionMatrix {
        ConfusionMatrix { classes, counts: vec![0; classes.saturating_mul(classes)] }
    }

    /// Counts samples: predicted classes and their true ones, of one shape.
    ///
    /// # Errors
    /// If the shapes differ, they are no integers, or a class is out of range; nothing was counted then.
    #[track_caller]
    pub fn update(&mut self, predicted: &Tensor, classes: &Tensor) -> Result<()> {
        let loc = here();
        let error = |message: String| {
            let error = Error::new(message).note("predicted", predicted.describe());
            Err(error.note("classes", classes.describe()).at(loc))
        };
        if predicted.ty()?.shape != classes.ty()?.shape {
            return error("a confusion matrix needs one true class for each predicted one".to_owned());
        }
        let (predicted_numbers, numbers) = (predicted.to_i64_vec()?, classes.to_i64_vec()?);
        let known = 0..self.classes as i64;
        if let Some(out) = predicted_numbers.iter().chain(&numbers).find(|class| !known.contains(class)) {
            return error(format!("a confusion matrix of {} classes has no class {out}", self.classes));
        }
        for (p, c) in predicted_numbers.iter().zip(&numbers) {
            self.counts[*c as usize * self.classes + *p as usize] += 1;
        }
        Ok(())
    }

    /// The counts, `i64[class, predicted]`.
    #[track_caller]
    pub fn matrix(&self) -> Tensor {
        Tensor::from_vec(self.counts.iter().map(|&n| n as i64).collect(), (self.classes, self.classes))
    }

    fn count(&self, class: usize, predicted: usize) -> u64 {
        if class < self.classes && predicted < self.classes { self.counts[class * self.classes + predicted] } else { 0 }
    }

    /// Samples of a class, samples taken for it, and those that are both.
    fn of(&self, class: usize) -> (u64, u64, u64) {
        let samples = (0..self.classes).map(|p| self.count(class, p)).sum();
        let taken = (0..self.classes).map(|c| self.count(c, class)).sum();
        (samples, taken, self.count(class, class))
    }

    /// The share of samples taken for what they are.
    pub fn accuracy(&self) -> f64 {
        ratio((0..self.classes).map(|class| self.count(class, class)).sum(), self.counts.iter().sum())
    }

    /// Of what was taken for a class, the share that is of it; 0 if nothing was.
    pub fn precision(&self, class: usize) -> f64 {
        let (_, taken, both) = self.of(class);
        ratio(both, taken)
    }

    /// Of the samples of a class, the share that was taken for it; 0 if there are none.
    pub fn recall(&self, class: usize) -> f64 {
        let (samples, _, both) = self.of(class);
        ratio(both, samples)
    }

    /// The harmonic mean of precision and recall of a class.
    pub fn f1(&self, class: usize) -> f64 {
        let (samples, taken, both) = self.of(class);
        ratio(2 * both, samples + taken)
    }

    /// The precision of all classes.
    pub fn mean_precision(&self, average: Average) -> f64 {
        self.averaged(average, ConfusionMatrix::precision)
    }

    /// The recall of all classes.
    pub fn mean_recall(&self, average: Average) -> f64 {
        self.averaged(average, ConfusionMatrix::recall)
    }

    /// The harmonic mean of precision and recall of all classes.
    pub fn mean_f1(&self, average: Average) -> f64 {
        self.averaged(average, ConfusionMatrix::f1)
    }

    fn averaged(&self, average: Average, measure: fn(&ConfusionMatrix, usize) -> f64) -> f64 {
        let classes = 0..self.classes;
        match average {
            // Each sample is one of some class, and one taken for some class: all three measures are the accuracy.
            Average::Micro => self.accuracy(),
            Average::Macro => classes.map(|class| measure(self, class)).sum::<f64>() / self.classes.max(1) as f64,
            Average::Weighted => {
                let total: u64 = self.counts.iter().sum();
                classes.map(|class| measure(self, class) * self.of(class).0 as f64).sum::<f64>() / total.max(1) as f64
            }
        }
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// The area under the receiver operating characteristic: how probably a sample that is true has a higher score than one that is
/// not, where equal scores count half. Scores and truths (not zero) of one shape.
///
/// # Errors
/// If the shapes differ, a score is NaN, there are only true or only false samples, or a trace is active.
#[track_caller]
pub fn roc_auc(scores: &Tensor, truths: &Tensor) -> Result<f64> {
    let loc = here();
    let error = |message: &str| Error::new(message).note("scores", scores.describe()).note("truths", truths.describe()).at(loc);
    if scores.ty()?.shape != truths.ty()?.shape {
        return Err(error("roc_auc needs one truth for each score"));
    }
    let (scores_found, truths_found) = (scores.to_f64_vec()?, truths.to_f64_vec()?);
    if scores_found.iter().any(|score| score.is_nan()) {
        return Err(error("roc_auc needs scores that are numbers, and one is NaN"));
    }
    let mut samples: Vec<(f64, bool)> = scores_found.into_iter().zip(truths_found.iter().map(|&t| t != 0.0)).collect();
    samples.sort_by(|a, b| a.0.total_cmp(&b.0));
    let positive = samples.iter().filter(|(_, truth)| *truth).count() as f64;
    let negative = samples.len() as f64 - positive;
    if positive == 0.0 || negative == 0.0 {
        return Err(error("roc_auc needs true and false samples"));
    }
    // Mann and Whitney's statistic: for each true sample the false ones below it.
    let (mut below, mut sum) = (0.0, 0.0);
    for equal in samples.chunk_by(|a, b| a.0 == b.0) {
        let truths = equal.iter().filter(|(_, truth)| *truth).count() as f64;
        let falses = equal.len() as f64 - truths;
        sum += truths * (below + falses / 2.0);
        below += falses;
    }
    Ok(sum / (positive * negative))
}

/// How alike translations are to references, from 0 to 1: the geometric mean of the shares of runs of 1 to `longest` words (mostly 4)
/// that occur in a reference, times a penalty for what is too short. Each candidate has one reference or more. Papineni et al.
/// 2002.
///
/// ```
/// use igneous::metrics::bleu;
/// let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
/// let reference = vec![words("the cat is on the mat")];
/// assert_eq!(bleu(&[words("the cat is on the mat")], &[reference.clone()], 4)?, 1.0);
/// assert_eq!(bleu(&[words("a dog")], &[reference], 4)?, 0.0);
/// # Ok::<(), igneous::Error>(())
/// ```
///
/// # Errors
/// If there is not one list of references for each candidate, a list is empty, or `longest` is 0.
#[track_caller]
pub fn bleu<W: Eq + Hash>(candidates: &[Vec<W>], references: &[Vec<Vec<W>>], longest: usize) -> Result<f64> {
    if candidates.len() != references.len() || references.iter().any(Vec::is_empty) || longest == 0 {
        let error = Error::new("bleu needs a list of references for each candidate, and runs of at least one word");
        let error = error.note("candidates", candidates.len()).note("lists of references", references.len());
        return Err(error.note("longest", longest).at(here()));
    }
    let (mut length, mut closest) = (0, 0);
    for (candidate, references) in candidates.iter().zip(references) {
        length += candidate.len();
        let nearest = references.iter().map(Vec::len).min_by_key(|&n| (n.abs_diff(candidate.len()), n));
        closest += nearest.unwrap_or(0);
    }
    let mut logarithms = 0.0;
    for n in 1..=longest {
        let (mut found, mut all) = (0, 0);
        for (candidate, references) in candidates.iter().zip(references) {
            let largest = |run: &[W]| references.iter().map(|reference| occurrences(reference, run)).max().unwrap_or(0);
            for (run, count) in runs(candidate, n) {
                all += count;
                found += count.min(largest(run));
            }
        }
        if found == 0 {
            return Ok(0.0);
        }
        logarithms += (found as f64 / all as f64).ln();
    }
    let penalty = if length > closest { 1.0 } else { (1.0 - closest as f64 / length as f64).exp() };
    Ok(penalty * (logarithms / longest as f64).exp())
}

/// The runs of `n` words, with how often each occurs.
fn runs<W: Eq + Hash>(words: &[W], n: usize) -> HashMap<&[W], usize> {
    let mut counts = HashMap::new();
    for run in words.windows(n) {
        *counts.entry(run).or_insert(0) += 1;
    }
    counts
}

fn occurrences<W: Eq>(words: &[W], run: &[W]) -> usize {
    words.windows(run.len()).filter(|own| *own == run).count()
}
