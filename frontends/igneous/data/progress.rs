//! A progress bar around an iterator.

use indicatif::{ProgressBar, ProgressStyle};

/// Shows how far an iterator is, how fast it goes, and a message; nothing where there is no terminal.
#[derive(Debug)]
pub struct Progress<I> {
    inner: I,
    bar: ProgressBar,
}

impl<I: ExactSizeIterator> Progress<I> {
    /// A bar in front of which stands `label`.
    pub fn new(inner: I, label: &str) -> Progress<I> {
        let bar = ProgressBar::new(inner.len() as u64);
        let template = "{prefix} {bar:30} {pos}/{len} {per_sec} {msg}";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style);
        bar.set_prefix(label.to_owned());
        Progress { inner, bar }
    }

    /// A handle to the bar, for messages: `bar.set_message("loss 0.31")`.
    pub fn bar(&self) -> ProgressBar {
        self.bar.clone()
    }
}

impl<I: Iterator> Iterator for Progress<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        let item = self.inner.next();
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
