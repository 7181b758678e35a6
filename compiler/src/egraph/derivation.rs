//! Why an optimised graph equals the graph it came from.

use super::analysis::{TensorGraph, Why};
use super::extract::Selection;
use super::language::{ENode, Kind};
use super::proof::{Proof, Prover};
use super::runner::Rewrite;
use crate::precision::Licence;
use egg::{Id, Language};
use igneous_ir::error::Loc;
use igneous_ir::graph::Value;
use igneous_ir::interp::interpret_f64;
use igneous_ir::{Array, Graph, Result};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::{self, Write};

/// The rewrites that lead from one graph to another.
#[derive(Clone, Debug, Default)]
pub struct Derivation {
    name: String,
    parts: Vec<Part>,
}

/// The derivation of one window of a graph.
#[derive(Clone, Debug)]
struct Part {
    /// The values of the whole graph that are the window's inputs.
    inputs: Vec<Value>,
    steps: Vec<Step>,
    proof: Proof,
}

/// One application of a rule.
#[derive(Clone, Debug)]
struct Step {
    rule: &'static str,
    licence: Licence,
    left: String,
    right: String,
    from: Vec<usize>,
    loc: Option<Loc>,
}

impl Derivation {
    /// A derivation with no step.
    pub fn empty(name: &str) -> Derivation {
        Derivation { name: name.to_owned(), parts: Vec::new() }
    }

    /// The number of rewrites.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|p| p.steps.len()).sum()
    }

    /// Whether nothing was rewritten.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The licences that the rewrites needed.
    pub fn licences(&self) -> BTreeSet<Licence> {
        self.steps().map(|s| s.licence).collect()
    }

    /// The names of the rules that were used, each once, in order of first use.
    pub fn rules(&self) -> Vec<&'static str> {
        let mut rules = Vec::new();
        self.steps().for_each(|s| {
            if !rules.contains(&s.rule) {
                rules.push(s.rule)
            }
        });
        rules
    }

    fn steps(&self) -> impl Iterator<Item = &Step> {
        self.parts.iter().flat_map(|p| &p.steps)
    }

    /// Adds what `other` did to a window, whose inputs are these values of the whole graph.
    pub(super) fn push_window(&mut self, other: Derivation, inputs: &[Value]) {
        self.parts.extend(other.parts.into_iter().map(|p| Part { inputs: inputs.to_vec(), ..p }));
    }

    /// Runs every rewrite of the derivation on real inputs, in f64, and compares both sides.
    ///
    /// # Errors
    /// Names the first rewrite whose sides differ, or why `before` could not be run.
    pub fn verify(&self, before: &Graph, inputs: &[Array]) -> Result<()> {
        for part in &self.parts {
            let values = values(before, &part.inputs, inputs)?;
            part.proof.check(&values, &|i| part.steps[i].to_string())?;
        }
        Ok(())
    }
}

/// Some values of a graph for these inputs.
fn values(graph: &Graph, wanted: &[Value], inputs: &[Array]) -> Result<Vec<Array>> {
    if wanted.iter().eq(graph.inputs().iter().map(|(v, _)| v)) {
        return Ok(inputs.to_vec());
    }
    let (mut graph, own) = (graph.clone(), graph.outputs().len());
    wanted.iter().for_each(|&v| graph.output("", v));
    Ok(interpret_f64(&graph, inputs)?.into_iter().skip(own).map(|v| v.exact).collect())
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}  by {} [{}]", self.left, self.right, self.rule, self.licence)?;
        for (i, n) in self.from.iter().enumerate() {
            write!(f, "{}%{n}", if i == 0 { " from " } else { " " })?;
        }
        self.loc.map_or(Ok(()), |loc| write!(f, " ({loc})"))
    }
}

/// ```text
/// derivation of step: 2 rewrites, licences Exact Reassociate
///   %7 = softmax {axis=1}(%0)  by softmax/exp-sum [Reassociate] from %4 %6 (examples/gpt.rs:12)
/// ```
impl fmt::Display for Derivation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "derivation of {}: {} rewrite{}", self.name, self.len(), if self.len() == 1 { "" } else { "s" })?;
        for (i, licence) in self.licences().into_iter().enumerate() {
            write!(f, "{}{licence}", if i == 0 { ", licences " } else { " " })?;
        }
        self.steps().try_for_each(|step| write!(f, "\n  {step}"))
    }
}

/// The derivation of a selection: the rewrites that its e-nodes are there for.
pub(super) fn derive(before: &Graph, names: &Names, root: Id, log: &[Rewrite], selection: &Selection) -> Derivation {
    let egraph = names.egraph;
    let mut explainer = Explainer::new(egraph, log);
    let chosen: Vec<Id> = selection.terms.iter().map(|t| explainer.creation(&t.node).unwrap_or(t.class)).collect();
    for (term, &id) in selection.terms.iter().zip(&chosen) {
        let children = egraph.nodes()[usize::from(id)].children().iter().copied();
        let mut operands: Vec<Id> = term.operands.iter().map(|&o| chosen[o]).collect();
        if term.node.kind.commutes() {
            explainer.pair_up(&mut operands, egraph.nodes()[usize::from(id)].children());
        }
        children.zip(operands).for_each(|(a, b)| explainer.explain(a, b));
    }
    if let Some(&last) = chosen.last() {
        explainer.explain(root, last);
    }
    let used: BTreeSet<u32> = std::mem::take(&mut explainer.used).into_iter().collect();
    let mut prover = Prover::new(egraph, before);
    let mut steps = Vec::new();
    for entry in used {
        let rewrite = &log[entry as usize];
        let origin = before.node(egraph[rewrite.left].data.origin.min(before.len() as u32 - 1));
        let from: BTreeSet<usize> = rewrite.matched.iter().filter_map(|(id, _)| names.number(*id)).collect();
        let own = names.number(rewrite.left);
        steps.push(Step {
            rule: rewrite.rule.name,
            licence: rewrite.rule.licence,
            left: names.text(rewrite.left, 3),
            right: names.text(rewrite.right, 3),
            from: from.into_iter().filter(|n| Some(*n) != own).collect(),
            loc: origin.loc,
        });
        prover.compare(rewrite.left, rewrite.right, rewrite.rule.licence == Licence::Exact);
    }
    let inputs = before.inputs().iter().map(|(v, _)| *v).collect();
    Derivation { name: before.name.clone(), parts: vec![Part { inputs, steps, proof: prover.finish() }] }
}

/// Finds which rewrites made two e-nodes equal.
struct Explainer<'a> {
    egraph: &'a TensorGraph,
    log: &'a [Rewrite],
    /// The unions that joined two classes: a forest over the e-nodes.
    edges: HashMap<Id, Vec<(Id, Why)>>,
    /// For each canonical e-node, the first e-node that became it.
    creations: HashMap<ENode, Id>,
    explained: HashSet<(Id, Id)>,
    used: HashSet<u32>,
}

impl<'a> Explainer<'a> {
    fn new(egraph: &'a TensorGraph, log: &'a [Rewrite]) -> Explainer<'a> {
        let mut edges: HashMap<Id, Vec<(Id, Why)>> = HashMap::new();
        for (a, b, why) in egraph.analysis.unions() {
            edges.entry(a).or_default().push((b, why));
            edges.entry(b).or_default().push((a, why));
        }
        let mut creations = HashMap::new();
        for (i, node) in egraph.nodes().iter().enumerate() {
            creations.entry(node.clone().map_children(|c| egraph.find(c))).or_insert(Id::from(i));
        }
        Explainer { egraph, log, edges, creations, explained: HashSet::new(), used: HashSet::new() }
    }

    fn creation(&self, node: &ENode) -> Option<Id> {
        self.creations.get(&node.clone().map_children(|c| self.egraph.find(c))).copied()
    }

    /// Puts operands of a commutative operator in the order of equal ones.
    fn pair_up(&self, operands: &mut [Id], children: &[Id]) {
        if let ([a, b], [x, _]) = (operands, children)
            && self.egraph.find(*a) != self.egraph.find(*x)
        {
            std::mem::swap(a, b);
        }
    }

    /// Adds the rewrites that make `a` equal `b` to those used.
    fn explain(&mut self, a: Id, b: Id) {
        let mut open = vec![(a, b)];
        while let Some((a, b)) = open.pop() {
            if a == b || !self.explained.insert((a.min(b), a.max(b))) {
                continue;
            }
            for (x, y, why) in self.path(a, b) {
                match why {
                    Why::Congruence => {
                        let (x, y) = (&self.egraph.nodes()[usize::from(x)], &self.egraph.nodes()[usize::from(y)]);
                        let mut others = y.children().to_vec();
                        if x.kind.commutes() {
                            self.pair_up(&mut others, x.children());
                        }
                        open.extend(x.children().iter().copied().zip(others));
                    }
                    Why::Rewrite(entry) if self.used.insert(entry) => {
                        for (id, node) in &self.log[entry as usize].matched {
                            open.extend(self.creation(node).map(|made| (*id, made)));
                        }
                    }
                    Why::Rewrite(_) => {}
                }
            }
        }
    }

    /// The unions between two e-nodes of one class.
    fn path(&self, from: Id, to: Id) -> Vec<(Id, Id, Why)> {
        let mut previous: HashMap<Id, (Id, Why)> = HashMap::new();
        let mut open = vec![from];
        while let Some(at) = open.pop() {
            if at == to {
                let mut path = Vec::new();
                let mut end = to;
                while end != from {
                    let (start, why) = previous[&end];
                    path.push((start, end, why));
                    end = start;
                }
                return path;
            }
            for &(next, why) in self.edges.get(&at).into_iter().flatten() {
                if next != from && !previous.contains_key(&next) {
                    previous.insert(next, (at, why));
                    open.push(next);
                }
            }
        }
        Vec::new()
    }
}

/// How e-nodes are written in a derivation.
pub(super) struct Names<'a> {
    /// The e-graph.
    pub egraph: &'a TensorGraph,
    /// The values of the graph that are e-nodes.
    pub values: &'a HashMap<Id, Value>,
    /// The number of each node's first result.
    pub numbers: &'a [usize],
}

/// The number of each node's first result in the graph's text: inputs first, then the others in order.
pub(super) fn numbers(graph: &Graph) -> Vec<usize> {
    let mut first = vec![0; graph.len()];
    graph.inputs().iter().enumerate().for_each(|(i, (v, _))| first[v.node as usize] = i);
    let mut next = graph.inputs().len();
    for (i, node) in graph.nodes().filter(|(_, n)| n.op.name() != "input") {
        first[i as usize] = next;
        next += node.results.len();
    }
    first
}

impl Names<'_> {
    /// The number of an e-node that is a value of the original graph.
    fn number(&self, id: Id) -> Option<usize> {
        self.values.get(&id).map(|v| self.numbers[v.node as usize] + v.result as usize)
    }

    fn text(&self, id: Id, depth: usize) -> String {
        if let Some(n) = self.number(id) {
            return format!("%{n}");
        }
        let node = &self.egraph.nodes()[usize::from(id)];
        let operand = |c: Id| if depth == 0 { "…".to_owned() } else { self.text(c, depth - 1) };
        if node.kind == Kind::GET {
            return format!("{}.{}", self.text(node.children()[0], depth), node.op.0);
        }
        let op = self.egraph.analysis.op(node.op);
        if op.name() == "constant" && op.array("value").shape().is_empty() {
            return op.array("value").literal(0).to_string();
        }
        if op.name() == "broadcast" && op.ints("axes").is_empty() {
            return self.text(node.children()[0], depth);
        }
        let mut text = op.to_string();
        let operands: Vec<String> = node.children().iter().map(|&c| operand(c)).collect();
        write!(text, "({})", operands.join(", ")).expect("writing to a string cannot fail");
        text
    }
}
