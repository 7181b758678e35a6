//! Large graphs cut into windows, each rewritten by itself: the time is linear in the size of the graph.

use super::derivation::Derivation;
use igneous_ir::graph::{Graph, Node, Value};
use igneous_ir::{Result, ops};
use smallvec::SmallVec;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// A part of a graph as a graph.
pub(super) struct Window {
    /// The nodes; its inputs are values of the whole graph.
    pub graph: Graph,
    /// The value of the whole graph behind each input.
    pub inputs: Vec<Value>,
    /// The value of the whole graph that each output is.
    pub outputs: Vec<Value>,
    /// For each node, the node of the whole graph that it is a copy of (of an input, the node that makes it).
    pub nodes: Vec<u32>,
}

/// Rewrites a graph window by window. `rewrite` gets a window and returns its new graph with the same inputs and outputs.
///
/// # Errors
/// The first error of `rewrite`.
pub(super) fn in_windows(
    graph: &Graph,
    size: usize,
    mut rewrite: impl FnMut(&Window) -> Result<(Graph, Derivation)>,
) -> Result<(Graph, Derivation)> {
    let mut new = Graph::new(graph.name.clone());
    new.set_scopes(graph.scopes().to_vec());
    let mut made: HashMap<Value, Value> = HashMap::new();
    for (v, name) in graph.inputs() {
        let node = graph.node(v.node);
        (new.loc, new.scope) = (node.loc, node.scope);
        made.insert(*v, new.input(name.clone(), graph.ty(*v).clone()));
    }
    let mut derivation = Derivation::empty(&graph.name);
    let cutter = Cutter::new(graph);
    for range in cutter.ranges(size) {
        let window = cutter.window(range);
        let (rewritten, why) = rewrite(&window)?;
        derivation.push_window(why, &window.inputs);
        let outputs = append(&mut new, &rewritten, &window.inputs.iter().map(|v| made[v]).collect::<Vec<_>>());
        made.extend(window.outputs.iter().copied().zip(outputs));
    }
    for (v, name) in graph.outputs() {
        new.output(name.clone(), made[v]);
    }
    (new.loc, new.scope) = (None, 0);
    Ok((new, derivation))
}

/// Appends the nodes of `part` with its inputs bound; the values of its outputs.
fn append(new: &mut Graph, part: &Graph, inputs: &[Value]) -> Vec<Value> {
    let mut made: Vec<SmallVec<[Value; 2]>> = vec![SmallVec::new(); part.len()];
    for ((v, _), &given) in part.inputs().iter().zip(inputs) {
        made[v.node as usize].push(given);
    }
    for (i, node) in part.nodes().filter(|(_, n)| !n.op.is(&ops::structural::INPUT)) {
        let operands: SmallVec<[Value; 4]> = node.operands.iter().map(|v| made[v.node as usize][v.result as usize]).collect();
        (new.loc, new.scope) = (node.loc, node.scope);
        made[i as usize] = new.push(node.op.clone(), &operands, node.results.clone());
    }
    part.outputs().iter().map(|(v, _)| made[v.node as usize][v.result as usize]).collect()
}

struct Cutter<'g> {
    graph: &'g Graph,
    /// For each node, the last node that uses a result of it; the number of nodes for outputs.
    last_use: Vec<u32>,
}

impl<'g> Cutter<'g> {
    fn new(graph: &'g Graph) -> Cutter<'g> {
        let mut last_use: Vec<u32> = (0..graph.len() as u32).collect();
        for (i, node) in graph.nodes() {
            node.operands.iter().for_each(|v| last_use[v.node as usize] = i);
        }
        graph.outputs().iter().for_each(|(v, _)| last_use[v.node as usize] = graph.len() as u32);
        Cutter { graph, last_use }
    }

    /// Ranges of at most `size` nodes, cut in the second half of each where the fewest nodes are live.
    fn ranges(&self, size: usize) -> Vec<Range<u32>> {
        let end = self.graph.len();
        // How many nodes before each place are used at or after it.
        let mut steps = vec![0i64; end + 2];
        for (i, node) in self.graph.nodes().filter(|(_, n)| !is_copied(self.graph, n)) {
            debug_assert!(!node.results.is_empty() || self.last_use[i as usize] == i, "only results are used");
            steps[i as usize + 1] += 1;
            steps[self.last_use[i as usize] as usize + 1] -= 1;
        }
        let live: Vec<i64> = steps
            .iter()
            .scan(0, |sum, s| {
                *sum += s;
                Some(*sum)
            })
            .collect();
        let mut ranges = Vec::new();
        let mut start = 0;
        while end - start > size {
            let cut = (start + size / 2..=start + size).min_by_key(|&i| live[i]).expect("the range is not empty");
            ranges.push(start as u32..cut as u32);
            start = cut;
        }
        ranges.push(start as u32..end as u32);
        ranges
    }

    fn window(&self, range: Range<u32>) -> Window {
        let mut graph = Graph::new(self.graph.name.clone());
        graph.set_scopes(self.graph.scopes().to_vec());
        let mut builder = Builder {
            source: self.graph,
            window: Window { graph, inputs: Vec::new(), outputs: Vec::new(), nodes: Vec::new() },
            made: HashMap::new(),
        };
        let own = |i: u32| range.contains(&i) && !self.graph.node(i).op.is(&ops::structural::INPUT);
        let mut outside: HashSet<Value> = HashSet::new();
        for i in range.clone().filter(|&i| own(i)) {
            for &v in &self.graph.node(i).operands {
                if !own(v.node) && outside.insert(v) {
                    builder.import(v);
                }
            }
        }
        range.clone().filter(|&i| own(i)).for_each(|i| builder.copy(i));
        for i in range.clone().filter(|&i| own(i) && self.last_use[i as usize] >= range.end) {
            for v in self.graph.results(i) {
                let inner = builder.made[&v];
                builder.window.graph.output("", inner);
                builder.window.outputs.push(v);
            }
        }
        builder.window
    }
}

struct Builder<'g> {
    source: &'g Graph,
    window: Window,
    made: HashMap<Value, Value>,
}

impl Builder<'_> {
    /// Makes a value of another window known: as an input, or as a copy if it is a constant.
    fn import(&mut self, v: Value) {
        if self.made.contains_key(&v) {
            return;
        }
        let node = self.source.node(v.node);
        if is_copied(self.source, node) {
            node.operands.iter().for_each(|&o| self.import(o));
            self.copy(v.node);
            return;
        }
        let input = self.window.graph.input("", self.source.ty(v).clone());
        self.window.inputs.push(v);
        self.window.nodes.push(v.node);
        self.made.insert(v, input);
    }

    fn copy(&mut self, i: u32) {
        let node = self.source.node(i);
        let operands: SmallVec<[Value; 4]> = node.operands.iter().map(|v| self.made[v]).collect();
        (self.window.graph.loc, self.window.graph.scope) = (node.loc, node.scope);
        let results = self.window.graph.push(node.op.clone(), &operands, node.results.clone());
        self.window.nodes.push(i);
        self.made.extend(self.source.results(i).into_iter().zip(results));
    }
}

/// Whether a node is so cheap that each window that needs it has its own: then it is known to be constant there.
fn is_copied(graph: &Graph, node: &Node) -> bool {
    match node.op.name() {
        "constant" | "iota" | "extent" => true,
        "broadcast" => graph.node(node.operands[0].node).op.name() == "constant",
        _ => false,
    }
}
