//! Applying rules until nothing new comes of it, and keeping a log.

use super::Limits;
use super::analysis::{TensorGraph, unite};
use super::build::{Stage, build};
use super::language::ENode;
use super::matcher::{Found, View, search};
use super::rule::{Binding, Rule, class};
use crate::precision::Licences;
use egg::{Id, Language};
use igneous_ir::TensorType;
use igneous_ir::emit::Emit;
use smallvec::SmallVec;
use std::collections::{HashMap, HashSet};

/// One application of a rule.
#[derive(Clone, Debug)]
pub struct Rewrite {
    /// The rule.
    pub rule: &'static Rule,
    /// The e-node that stands for what was replaced.
    pub left: Id,
    /// The e-node that it was found equal to.
    pub right: Id,
    /// The e-nodes that the left side matched, with their classes at that time.
    pub matched: SmallVec<[(Id, ENode); 8]>,
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Applies rules to an e-graph.
pub struct Runner {
    /// The e-graph, rebuilt.
    pub egraph: TensorGraph,
    /// Every rewrite, in order; unions refer to it by position.
    pub log: Vec<Rewrite>,
    /// Matches that were applied already.
    seen: HashSet<(&'static str, Vec<u32>)>,
    /// The classes that changed before each round, in all runs.
    changes: Vec<Vec<Id>>,
    /// For each rule, the number of rounds when it was last tried.
    tried: HashMap<&'static str, usize>,
}

/// How long a rule that had too many matches rests.
#[derive(Clone, Copy, Default)]
struct Rest {
    until: usize,
    times: u32,
}

impl Runner {
    /// A runner for an e-graph.
    pub fn new(egraph: TensorGraph) -> Runner {
        Runner { egraph, log: Vec::new(), seen: HashSet::new(), changes: Vec::new(), tried: HashMap::new() }
    }

    /// Applies those of `rules` that are licensed, in order, round after round, until a round changes nothing or a
    /// limit is reached.
    pub fn run(&mut self, rules: &[&'static Rule], licences: Licences, limits: &Limits) {
        let rules: Vec<&'static Rule> = rules.iter().copied().filter(|r| licences.grant(r.licence)).collect();
        let mut rests = vec![Rest::default(); rules.len()];
        self.egraph.rebuild();
        for round in 0..limits.iterations {
            let touched = self.egraph.analysis.take_touched();
            self.changes.push(touched);
            let now = self.changes.len();
            let mut matches = Vec::new();
            let mut resting = false;
            let view = View::new(&self.egraph);
            let mut distances: HashMap<usize, Vec<u8>> = HashMap::new();
            for (rule, rest) in rules.iter().copied().zip(&mut rests) {
                if rest.until > round {
                    resting = true;
                    continue;
                }
                let since = self.tried.insert(rule.name, now).unwrap_or(0);
                let near =
                    distances.entry(since).or_insert_with(|| view.distances(self.changes[since..].iter().flatten().copied()));
                let seen = &mut self.seen;
                let found = search(&view, rule, near, limits.matches, &mut |found| seen.insert((rule.name, key(found))));
                if found.len() >= limits.matches {
                    // Some places were not reached; they must not count as tried.
                    self.tried.insert(rule.name, since);
                    rest.until = round + 1 + (1 << rest.times);
                    rest.times += 1;
                }
                matches.push((rule, found));
            }
            let mut changed = false;
            for (rule, found) in matches {
                for found in found {
                    changed |= self.apply(rule, found);
                    if self.egraph.nodes().len() >= limits.nodes {
                        self.egraph.rebuild();
                        return;
                    }
                }
            }
            self.egraph.rebuild();
            if !changed && !resting {
                return;
            }
        }
    }

    /// Builds the right side if it has the type of the left, and unites both. Returns whether something changed.
    fn apply(&mut self, rule: &'static Rule, found: Found) -> bool {
        let types: Vec<TensorType> = found.roots.iter().map(|&r| self.egraph[r].data.types[0].clone()).collect();
        let origin = found.roots.iter().map(|&r| self.egraph[r].data.origin).min().unwrap_or_default();
        let mut stage = Stage::new(&self.egraph);
        let Ok(built) = build(&mut stage, &rule.right, &found.bindings, &types) else { return false };
        if built.iter().zip(&types).any(|(&v, ty)| stage.type_of(v) != *ty) {
            return false;
        }
        let before = self.egraph.nodes().len();
        let ids = stage.finish().commit(&mut self.egraph, &built, origin);
        let mut changed = self.egraph.nodes().len() != before;
        for (&left, &right) in found.roots.iter().zip(&ids) {
            if self.egraph.find(left) == self.egraph.find(right) {
                continue;
            }
            let entry = self.log.len() as u32;
            let first = |id: Id| self.egraph[id].data.first;
            let matched = found.matched.iter().map(|(id, node)| (first(*id), node.clone())).collect();
            self.log.push(Rewrite { rule, left: first(left), right, matched });
            changed |= unite(&mut self.egraph, left, right, entry);
        }
        changed
    }
}

/// What distinguishes a match of a rule from others: its e-nodes and what its names stand for.
fn key(found: &Found) -> Vec<u32> {
    let id = |id: Id| usize::from(id) as u32;
    let mut key: Vec<u32> = found.roots.iter().copied().map(id).collect();
    for (class, node) in &found.matched {
        key.extend([id(*class), node.op.0]);
        key.extend(node.children().iter().copied().map(id));
    }
    for binding in found.bindings.iter().flatten() {
        if let Binding::Value(v) = binding {
            key.push(id(class(*v)));
        }
    }
    key
}
