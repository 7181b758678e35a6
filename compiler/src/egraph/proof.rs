//! Both sides of every rewrite as a graph, so that they can be run and compared.

use super::analysis::TensorGraph;
use super::language::Kind;
use egg::{Id, Language};
use igneous_ir::graph::{Graph, Value, Values};
use std::collections::HashMap;

/// A graph whose outputs `2 i` and `2 i + 1` must have one value.
#[derive(Clone, Debug)]
pub(super) struct Proof {
    graph: Graph,
    /// For each pair, whether infinities and NaNs must agree too.
    exact: Vec<bool>,
}

/// Builds a [`Proof`].
pub(super) struct Prover<'a> {
    egraph: &'a TensorGraph,
    proof: Proof,
    inputs: usize,
    made: HashMap<Id, Values>,
}

impl<'a> Prover<'a> {
    /// Nothing to prove, with the inputs of `before`.
    pub(super) fn new(egraph: &'a TensorGraph, before: &Graph) -> Prover<'a> {
        let mut graph = Graph::new(before.name.clone());
        for (v, name) in before.inputs() {
            graph.input(name.clone(), before.ty(*v).clone());
        }
        Prover { egraph, proof: Proof { graph, exact: Vec::new() }, inputs: before.inputs().len(), made: HashMap::new() }
    }

    /// Adds the claim that two e-nodes have one value.
    pub(super) fn compare(&mut self, left: Id, right: Id, exact: bool) {
        for id in [left, right] {
            let value = self.value(id);
            self.proof.graph.output("", value);
        }
        self.proof.exact.push(exact);
    }

    /// The proof.
    pub(super) fn finish(self) -> Proof {
        self.proof
    }

    /// The value of an e-node as it was added; its operands were added before it.
    fn value(&mut self, id: Id) -> Value {
        let mut open = vec![id];
        while let Some(&at) = open.last() {
            let node = &self.egraph.nodes()[usize::from(at)];
            let missing = node.children().iter().copied().filter(|c| !self.made.contains_key(c));
            let before = open.len();
            open.extend(missing);
            if open.len() > before {
                continue;
            }
            open.pop();
            if !self.made.contains_key(&at) {
                let values = self.node(at);
                self.made.insert(at, values);
            }
        }
        self.made[&id][0]
    }

    fn node(&mut self, id: Id) -> Values {
        let node = &self.egraph.nodes()[usize::from(id)];
        if node.kind == Kind::GET {
            return Values::from_slice(&[self.made[&node.children()[0]][node.op.0 as usize]]);
        }
        let op = self.egraph.analysis.op(node.op);
        if op.name() == "input" {
            let i = op.int("index") as usize;
            debug_assert!(i < self.inputs, "inputs are numbered");
            return Values::from_slice(&[self.proof.graph.inputs()[i].0]);
        }
        let operands: Vec<Value> = node.children().iter().map(|c| self.made[c][0]).collect();
        let types = self.egraph[id].data.types.iter().cloned().collect();
        self.proof.graph.push(op.clone(), &operands, types)
    }
}
