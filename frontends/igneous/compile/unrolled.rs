//! The warning of loops that were unrolled.

use igneous_ir::graph::Graph;
use igneous_ir::{Loc, TensorType};
use std::collections::{BTreeMap, HashMap};

/// So many steps of a loop may be written out.
const MANY: usize = 64;

/// A loop over time steps written in Rust becomes as many copies of its body: says so.
pub(super) fn warn(graph: &Graph) {
    for (loc, steps) in loops(graph) {
        eprintln!(
            "warning: graph `{}` has {steps} equal operations from {loc} one after the other: a loop was unrolled\n  \
             `igneous::scan` and `igneous::fori_loop` compile a loop once, whatever its length",
            graph.name
        );
    }
}

/// The lines of such loops with the number of steps: the copies come from one line in one layer's call, and each depends on
/// the one before.
fn loops(graph: &Graph) -> Vec<(Loc, usize)> {
    type Line<'a> = (u32, &'static str, &'a [TensorType]);
    let mut lines: BTreeMap<Loc, HashMap<Line<'_>, Vec<u32>>> = BTreeMap::new();
    for (n, node) in graph.nodes() {
        if let Some(loc) = node.loc
            && !matches!(node.op.name(), "constant" | "input" | "stop_gradient" | "broadcast" | "reshape")
        {
            lines.entry(loc).or_default().entry((node.scope, node.op.name(), &node.results)).or_default().push(n);
        }
    }
    let longest = |kinds: HashMap<Line<'_>, Vec<u32>>| {
        kinds.values().filter(|nodes| nodes.len() > MANY).map(|nodes| longest_chain(graph, nodes)).max().unwrap_or(0)
    };
    lines.into_iter().map(|(loc, kinds)| (loc, longest(kinds))).filter(|(_, steps)| *steps > MANY).collect()
}

/// The most nodes among `nodes`, in topological order, that lie on one path.
fn longest_chain(graph: &Graph, nodes: &[u32]) -> usize {
    let first = nodes[0];
    let mut counts = vec![0usize; graph.len() - first as usize];
    let mut counted = nodes.iter().peekable();
    for (n, node) in graph.nodes().skip(first as usize) {
        let before = node.operands.iter().filter_map(|v| v.node.checked_sub(first)).map(|v| counts[v as usize]).max();
        let own = counted.next_if(|&&c| c == n).is_some();
        counts[(n - first) as usize] = before.unwrap_or(0) + usize::from(own);
    }
    counts.into_iter().max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::loops;
    use igneous_ir::graph::Graph;
    use igneous_ir::{DType, Loc, TensorType, ops};

    /// `h ← tanh(h)` from one line, and as often `tanh(x)` from another, whose copies do not depend on each other.
    fn steps(count: usize) -> Graph {
        let mut g = Graph::new("steps");
        let x = g.input("x", TensorType::new(DType::F32, [3]));
        let mut h = x;
        for _ in 0..count {
            g.loc = Some(Loc { file: "model.rs", line: 7 });
            h = g.add(ops::pointwise("tanh"), &[h]).unwrap()[0];
            g.loc = Some(Loc { file: "model.rs", line: 8 });
            let y = g.add(ops::pointwise("tanh"), &[x]).unwrap()[0];
            g.output("y", y);
        }
        g.output("h", h);
        g
    }

    #[test]
    fn only_many_steps_that_depend_on_each_other_are_a_loop() {
        assert_eq!(loops(&steps(64)), []);
        assert_eq!(loops(&steps(65)), [(Loc { file: "model.rs", line: 7 }, 65)]);
    }
}
