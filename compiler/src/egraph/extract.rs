//! Choosing one e-node for each class so that the graph read back is cheap.
//!
//! The price of a choice is that of the graph it makes, shared parts counted once. Classes are settled greedily from
//! the leaves; a form that would contain itself is never taken.

use super::analysis::TensorGraph;
use super::cost::Roofline;
use super::language::{ENode, Kind};
use egg::{Id, Language};
use igneous_ir::TensorType;
use smallvec::SmallVec;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// A graph read back from an e-graph.
#[derive(Clone, Debug)]
pub struct Selection {
    /// The operators, operands first; the last is [`Kind::ROOTS`].
    pub terms: Vec<Selected>,
    /// The price by the model, in nanoseconds.
    pub cost: f64,
}

/// An operator of a [`Selection`].
#[derive(Clone, Debug)]
pub struct Selected {
    /// The e-node.
    pub node: ENode,
    /// Its class when it was selected.
    pub class: Id,
    /// Its operands: indices into [`Selection::terms`].
    pub operands: SmallVec<[usize; 3]>,
    /// The types of its results.
    pub types: Arc<[TensorType]>,
    /// The node of the original graph that it stands for.
    pub origin: u32,
}

/// The e-nodes as they were first added, for the root `root`: the original graph without its repetitions.
pub fn original(egraph: &TensorGraph, root: Id, roofline: &Roofline) -> Selection {
    let node_of = |id: Id| Some(&egraph.nodes()[usize::from(id)]);
    select(egraph, root, roofline, &node_of).expect("an e-node is added after its operands")
}

/// The cheapest graph found for the class of `root`; none if the choices should ever form a cycle.
pub fn extract(egraph: &TensorGraph, root: Id, roofline: &Roofline) -> Option<Selection> {
    let choices = Chooser::new(egraph, roofline).run();
    let root = egraph.find(root);
    select(egraph, root, roofline, &|id| choices.get(&egraph.find(id)).copied())
}

fn price(egraph: &TensorGraph, roofline: &Roofline, node: &ENode, types: &[TensorType]) -> f64 {
    if matches!(node.kind, Kind::GET | Kind::ROOTS) {
        return 0.0;
    }
    let operands: SmallVec<[TensorType; 4]> = node.children().iter().map(|&c| egraph[c].data.types[0].clone()).collect();
    roofline.price(egraph.analysis.op(node.op), &operands, types)
}

/// Reads back the graph below `root`, where `choose` gives the e-node for a class or an id.
fn select<'a>(
    egraph: &TensorGraph,
    root: Id,
    roofline: &Roofline,
    choose: &dyn Fn(Id) -> Option<&'a ENode>,
) -> Option<Selection> {
    enum Visit {
        Open,
        Done(usize),
    }
    let mut visits: HashMap<Id, Visit> = HashMap::new();
    let mut selection = Selection { terms: Vec::new(), cost: 0.0 };
    let mut stack = vec![(root, false)];
    while let Some((id, ready)) = stack.pop() {
        let node = choose(id)?;
        if ready {
            let operands = node.children().iter().map(|c| match visits.get(c) {
                Some(Visit::Done(i)) => Some(*i),
                _ => None,
            });
            let operands = operands.collect::<Option<_>>()?;
            let facts = &egraph[id].data;
            selection.cost += price(egraph, roofline, node, &facts.types);
            let (types, origin) = (facts.types.clone(), facts.origin);
            selection.terms.push(Selected { node: node.clone(), class: id, operands, types, origin });
            visits.insert(id, Visit::Done(selection.terms.len() - 1));
            continue;
        }
        match visits.get(&id) {
            Some(Visit::Done(_)) => continue,
            Some(Visit::Open) => return None,
            None => {}
        }
        visits.insert(id, Visit::Open);
        stack.push((id, true));
        for &child in node.children().iter().rev() {
            match visits.get(&child) {
                Some(Visit::Done(_)) => {}
                Some(Visit::Open) => return None,
                None => stack.push((child, false)),
            }
        }
    }
    Some(selection)
}

struct Chooser<'a> {
    /// All e-nodes, those of a class beside each other.
    nodes: Vec<Candidate<'a>>,
    /// For each class, where its e-nodes lie.
    ranges: Vec<(usize, usize)>,
    /// For each class, the e-nodes that use it.
    users: Vec<Vec<usize>>,
    chosen: Vec<Option<Choice>>,
    ids: Vec<Id>,
}

struct Candidate<'a> {
    node: &'a ENode,
    class: usize,
    children: SmallVec<[usize; 3]>,
    cost: f64,
}

struct Choice {
    cost: f64,
    node: usize,
    /// The e-nodes that are needed, as bits.
    needs: Vec<u64>,
}

impl<'a> Chooser<'a> {
    fn new(egraph: &'a TensorGraph, roofline: &Roofline) -> Chooser<'a> {
        let mut ids: Vec<Id> = egraph.classes().map(|c| c.id).collect();
        ids.sort_unstable();
        let index: HashMap<Id, usize> = ids.iter().enumerate().map(|(i, &id)| (id, i)).collect();
        let mut chooser = Chooser {
            nodes: Vec::new(),
            ranges: Vec::new(),
            users: vec![Vec::new(); ids.len()],
            chosen: Vec::new(),
            ids: Vec::new(),
        };
        for (class, &id) in ids.iter().enumerate() {
            let start = chooser.nodes.len();
            for node in &egraph[id].nodes {
                let children: SmallVec<[usize; 3]> = node.children().iter().map(|c| index[&egraph.find(*c)]).collect();
                for &child in &children {
                    chooser.users[child].push(chooser.nodes.len());
                }
                let cost = price(egraph, roofline, node, &egraph[id].data.types);
                chooser.nodes.push(Candidate { node, class, children, cost });
            }
            chooser.ranges.push((start, chooser.nodes.len()));
        }
        chooser.chosen.resize_with(ids.len(), || None);
        chooser.ids = ids;
        chooser
    }

    fn run(mut self) -> HashMap<Id, &'a ENode> {
        let mut queue: VecDeque<usize> = (0..self.nodes.len()).filter(|&n| self.nodes[n].children.is_empty()).collect();
        let mut queued = vec![false; self.nodes.len()];
        // Each e-node is looked at again when an operand's choice changes; the bound only guards against oscillation.
        let mut budget = 64 * self.nodes.len();
        while let Some(n) = queue.pop_front() {
            queued[n] = false;
            budget = budget.saturating_sub(1);
            let Some(choice) = self.evaluate(n) else { continue };
            let class = self.nodes[n].class;
            if !self.improves(&choice, class) || budget == 0 {
                continue;
            }
            self.chosen[class] = Some(choice);
            for &user in &self.users[class] {
                if !queued[user] {
                    queued[user] = true;
                    queue.push_back(user);
                }
            }
        }
        let chosen = self.ids.iter().zip(&self.chosen);
        chosen.filter_map(|(&id, c)| c.as_ref().map(|c| (id, self.nodes[c.node].node))).collect()
    }

    /// What choosing e-node `n` would need and cost, unless an operand is open or it would contain itself.
    fn evaluate(&self, n: usize) -> Option<Choice> {
        let candidate = &self.nodes[n];
        let mut needs = vec![0u64; self.nodes.len().div_ceil(64)];
        for &child in &candidate.children {
            let choice = self.chosen[child].as_ref()?;
            needs.iter_mut().zip(&choice.needs).for_each(|(a, b)| *a |= b);
        }
        let (start, end) = self.ranges[candidate.class];
        if (start..end).any(|i| needs[i / 64] >> (i % 64) & 1 != 0) {
            return None;
        }
        needs[n / 64] |= 1 << (n % 64);
        let mut cost = 0.0;
        for (word, &bits) in needs.iter().enumerate() {
            let mut bits = bits;
            while bits != 0 {
                cost += self.nodes[word * 64 + bits.trailing_zeros() as usize].cost;
                bits &= bits - 1;
            }
        }
        Some(Choice { cost, node: n, needs })
    }

    fn improves(&self, new: &Choice, class: usize) -> bool {
        let Some(old) = &self.chosen[class] else { return true };
        if old.node == new.node {
            return old.needs != new.needs;
        }
        let key = |n: usize| {
            let node = self.nodes[n].node;
            (node.op, node.kind, node.children())
        };
        let slack = 1e-9 * old.cost;
        new.cost < old.cost - slack || (new.cost <= old.cost + slack && key(new.node) < key(old.node))
    }
}
