//! The trace check: host state of the user cannot be seen, so now and then the function is traced again, and a graph that
//! is not the same is an error.

use super::entry::{Entry, Traced};
use super::tree::{Function, Tree};
use super::{Compiled, Value};
use crate::tensor::Tensor;
use crate::trace::CaptureSource;
use igneous_ir::graph::Node;
use igneous_ir::{Error, Result};
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::Ordering;

/// `IGNEOUS_CHECK_TRACE`: check every n-th run; 0 never.
static EVERY: LazyLock<Option<u64>> =
    LazyLock::new(|| std::env::var("IGNEOUS_CHECK_TRACE").ok().and_then(|text| text.trim().parse().ok()));

/// Whether the run after `runs` others is checked: the second in debug builds, and every n-th on demand.
fn is_due(runs: u64, every: Option<u64>) -> bool {
    match every {
        Some(0) => false,
        Some(n) => runs > 0 && runs.is_multiple_of(n),
        None => cfg!(debug_assertions) && runs == 1,
    }
}

impl<F: Function<Args>, Args: Tree> Compiled<F, Args> {
    /// Traces again if it is time to.
    pub(super) fn check_trace(&self, entry: &Arc<Entry<Value<F, Args>>>, arguments: &Args, tensors: &[Tensor]) -> Result<()> {
        if !is_due(entry.runs.load(Ordering::Relaxed), *EVERY) {
            return Ok(());
        }
        let again = self.trace(arguments, tensors, &entry.signature)?;
        compare(&entry.traced, &again).map_err(|e| e.context(format!("`{}` depends on host state that changed", self.name)))
    }
}

fn compare<R>(before: &Traced<R>, now: &Traced<R>) -> Result<()> {
    let nodes = before.graph.nodes().zip(now.graph.nodes());
    for ((_, a), (_, b)) in nodes {
        if a.op != b.op || a.operands != b.operands || a.results != b.results {
            return Err(difference(a, b));
        }
    }
    let (a, b) = (before.graph.len(), now.graph.len());
    let last = |t: &Traced<R>| t.graph.nodes().next_back().and_then(|(_, n)| n.loc);
    let remedy = ("remedy", "make it an argument or a variable");
    if a != b {
        let longer = if a > b { last(before) } else { last(now) };
        let error = Error::new(format!("the first trace has {a} nodes and this one {b}")).note(remedy.0, remedy.1);
        return Err(longer.map_or(error.clone(), |loc| error.at(loc)));
    }
    if !before.graph.same_structure(&now.graph) || before.captures.len() != now.captures.len() {
        return Err(Error::new("the function returns or assigns other values than in the first trace").note(remedy.0, remedy.1));
    }
    for (a, b) in before.captures.iter().zip(&now.captures) {
        if !same_source(&a.source, &b.source) {
            let error = Error::new("a tensor from outside of the function has been replaced by another");
            let error = error.note("was", a.source.tensor().describe()).note("is", b.source.tensor().describe());
            return Err(error.note(remedy.0, remedy.1));
        }
    }
    Ok(())
}

fn difference(a: &Node, b: &Node) -> Error {
    let constants = a.op.name() == "constant" && b.op.name() == "constant";
    let error = if constants {
        let value = |n: &Node| {
            let array = n.op.array("value");
            if array.len() == 1 { array.literal(0).to_string() } else { format!("{array:?}") }
        };
        Error::new(format!("constant {} became {}", value(a), value(b)))
    } else {
        Error::new("another operation was traced").note("was", &a.op).note("is", &b.op)
    };
    let error = error.note("remedy", "make it an argument or a variable");
    match b.loc.or(a.loc) {
        Some(loc) => error.at(loc),
        None => error,
    }
}

fn same_source(a: &CaptureSource, b: &CaptureSource) -> bool {
    match (a, b) {
        (CaptureSource::Eager(a), CaptureSource::Eager(b)) => match (a.dense(), b.dense()) {
            (Ok(a), Ok(b)) => a.buffer.same(&b.buffer) || (a.ty == b.ty && a.buffer.bytes() == b.buffer.bytes()),
            _ => false,
        },
        (CaptureSource::Variable(a), CaptureSource::Variable(b)) => Arc::ptr_eq(a, b),
        (CaptureSource::Slot(a, _), CaptureSource::Slot(b, _)) => a == b,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_due;

    #[test]
    fn checks_are_due_on_the_second_run_or_every_nth() {
        assert_eq!([0, 1, 2].map(|runs| is_due(runs, None)), [false, cfg!(debug_assertions), false]);
        assert_eq!([0, 1, 2, 3, 4].map(|runs| is_due(runs, Some(2))), [false, false, true, false, true]);
        assert!(!is_due(1, Some(0)));
    }
}
