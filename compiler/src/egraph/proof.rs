//! Both sides of every rewrite as a graph, so that they can be run and compared.

use super::analysis::TensorGraph;
use super::language::Kind;
use egg::{Id, Language};
use igneous_ir::graph::{Graph, Value, Values};
use igneous_ir::interp::interpret_f64;
use igneous_ir::{Array, Error, Result};
use std::collections::HashMap;

/// A graph whose outputs `2 i` and `2 i + 1` must have one value.
#[derive(Clone, Debug)]
pub(crate) struct Proof {
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

impl Proof {
    /// Runs both sides of every pair on these inputs, in f64, and compares. `describe` names a pair in the error.
    pub(super) fn check(&self, inputs: &[Array], describe: &dyn Fn(usize) -> String) -> Result<()> {
        if self.exact.is_empty() {
            return Ok(());
        }
        let values = interpret_f64(&self.graph, inputs)?;
        // What cancels to nothing is as good as the largest values are.
        let slack = 1e-13 * values.iter().map(|v| rms(&v.exact)).fold(0.0, f64::max);
        for (i, (pair, &exact)) in values.chunks(2).zip(&self.exact).enumerate() {
            let (left, right) = (&pair[0].exact, &pair[1].exact);
            if let Some(place) = first_difference(left, right, tolerance(&self.graph), slack, exact) {
                return Err(Error::new(format!("the two sides of a rewrite differ at element {place}"))
                    .note("rewrite", describe(i))
                    .note("before", left.literal(place))
                    .note("after", right.literal(place)));
            }
        }
        Ok(())
    }
}

/// How far two sides may be apart, relative to the size of the values: constants are rounded to their types.
fn tolerance(graph: &Graph) -> f64 {
    let types = graph.nodes().flat_map(|(_, n)| n.results.iter().map(|t| t.dtype.epsilon()));
    64.0 * types.fold(f64::EPSILON, f64::max)
}

/// The root of the mean square of the finite elements.
fn rms(x: &Array) -> f64 {
    let finite: Vec<f64> = x.to_f64().into_iter().filter(|x| x.is_finite()).collect();
    (finite.iter().map(|x| x * x).sum::<f64>() / finite.len().max(1) as f64).sqrt()
}

/// The first element at which two arrays differ. Where a value is infinite or NaN they need only agree if `exact`.
fn first_difference(left: &Array, right: &Array, tolerance: f64, slack: f64, exact: bool) -> Option<usize> {
    let scale = rms(left).max(rms(right));
    (0..left.len()).find(|&i| {
        let (a, b) = (left.f(i), right.f(i));
        match a.is_finite() && b.is_finite() {
            true => (a - b).abs() > tolerance * scale.max(a.abs()) + slack,
            false => exact && a.to_bits() != b.to_bits() && !(a.is_nan() && b.is_nan()),
        }
    })
}

#[cfg(test)]
impl Proof {
    /// Whether both sides of every pair have one value.
    pub(crate) fn compare_values(&self, inputs: &[Array]) -> Result<()> {
        self.check(inputs, &|_| self.graph.to_string())
    }

    /// Whether both sides of every pair have the same bits in the types of the graph.
    pub(crate) fn compare_bits(&self, inputs: &[Array]) -> Result<()> {
        let values = igneous_ir::interp::interpret(&self.graph, inputs)?;
        for pair in values.chunks(2) {
            let same = |i: &usize| {
                let (a, b) = (pair[0].f(*i), pair[1].f(*i));
                a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
            };
            if let Some(i) = (0..pair[0].len()).find(|i| !same(i)) {
                return Err(Error::new(format!("not the same bits at element {i}"))
                    .note("before", pair[0].literal(i))
                    .note("after", pair[1].literal(i))
                    .note("graph", &self.graph));
            }
        }
        Ok(())
    }

    /// Whether both sides of every pair have the same gradients with respect to all floating-point inputs.
    pub(crate) fn compare_gradients(&self, inputs: &[Array]) -> Result<()> {
        use igneous_ir::op::{Attr, Op};
        let grad = igneous_ir::ops::record("grad").expect("an operator");
        let mut graph = self.graph.clone();
        let mut inputs = inputs.to_vec();
        let wrt: Vec<Value> = graph.inputs().iter().map(|(v, _)| *v).filter(|v| graph.ty(*v).dtype.is_float()).collect();
        for pair in self.graph.outputs().chunks(2) {
            let ty = graph.ty(pair[0].0).clone();
            if !ty.dtype.is_float() || wrt.is_empty() {
                continue;
            }
            let seed = graph.input("seed", ty.clone());
            inputs.push(igneous_ir::sample::array(&ty, igneous_ir::op::Fill::Normal, 11, inputs.len())?);
            let gradients = pair.iter().map(|(side, _)| {
                let operands: Vec<Value> = [*side, seed].into_iter().chain(wrt.iter().copied()).collect();
                graph.add(Op::new(grad, [Attr::Bool(true)]), &operands)
            });
            let [left, right] = gradients.collect::<Result<Vec<_>>>()?.try_into().expect("a pair");
            for (l, r) in left.into_iter().zip(right) {
                graph.output("", l);
                graph.output("", r);
            }
        }
        let exact = vec![false; graph.outputs().len() / 2];
        Proof { graph, exact }.check(&inputs, &|_| format!("a gradient of\n{}", self.graph))
    }
}
