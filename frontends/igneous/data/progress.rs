//! A progress bar around an iterator.

use indicatif::{ProgressBar, ProgressStyle};
use std::time::{Duration, Instant};

/// Shows how far an iterator is, how fast it goes, and a message; nothing where there is no terminal.
#[derive(Debug)]
pub struct Progress<I> {
    inner: I,
    bar: ProgressBar,
    waited: Duration,
}

impl<I: ExactSizeIterator> Progress<I> {
    /// A bar in front of which stands `label`.
    pub fn new(inner: I, label: &str) -> Progress<I> {
        let bar = ProgressBar::new(inner.len() as u64);
        let template = "{prefix} {bar:30} {pos}/{len} {per_sec} {msg}";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style);
        bar.set_prefix(label.to_owned());
        Progress { inner, bar, waited: Duration::ZERO }
    }

    /// A handle to the bar, for messages: `bar.set_message("loss 0.31")`.
    pub fn bar(&self) -> ProgressBar {
        self.bar.clone()
    }

    /// How long whoever takes the items has waited for them; of a loader, the time in which the training stood still.
    ///
    /// ```
    /// # use igneous::data::{DataLoader, Dataset};
    /// # struct Numbers;
    /// # impl Dataset for Numbers {
    /// #     type Sample = i64;
    /// #     fn len(&self) -> usize { 100 }
    /// #     fn get(&self, index: usize) -> igneous::Result<i64> { Ok(index as i64) }
    /// # }
    /// let loader = DataLoader::new(Numbers, 10).workers(2);
    /// let start = std::time::Instant::now();
    /// let mut batches = loader.epoch(0).progress("training");
    /// for batch in &mut batches {
    ///     // Here would be a step of training.
    ///     batch?.check()?;
    /// }
    /// assert!(batches.waited() <= start.elapsed());
    /// # Ok::<(), igneous::Error>(())
    /// ```
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

impl<I: Iterator> Iterator for Progress<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        let start = Instant::now();
        let item = self.inner.next();
        self.waited += start.elapsed();
        match item {
            Some(_) => self.bar.inc(1),
            None => self.bar.finish_and_clear(),
        }
        item
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inner.size_hint()
    }
}
