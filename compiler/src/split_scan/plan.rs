//! What of a body goes where.

use super::sum::Sum;
use crate::precision::{Licence, Licences};
use igneous_ir::dim::Dim;
use igneous_ir::graph::{Graph, Node, Value};
use igneous_ir::op::{Lowering, Op};
use igneous_ir::ops::structural::INPUT;
use std::collections::{BTreeMap, BTreeSet};

/// What a value of the body depends on, at most.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Class {
    /// No input.
    Literal,
    /// Constants of the loop.
    Constant,
    /// Elements of sequences, too.
    Sequence,
    /// The step before.
    Varying,
}

/// See the module.
pub(super) struct Plan<'a> {
    pub body: &'a Graph,
    pub constants: usize,
    pub carries: usize,
    pub reverse: bool,
    pub length: Dim,
    class: Vec<Class>,
    /// Values that the loop gets as constants.
    pub hoisted: BTreeSet<Value>,
    /// Values that the loop gets as sequences.
    pub before: BTreeSet<Value>,
    /// Which nodes are computed behind the loop.
    moved: Vec<bool>,
    /// Values that the loop returns for what is behind it.
    pub stacked: BTreeSet<Value>,
    /// Carries that are sums over the steps, and what is added up.
    pub sums: BTreeMap<usize, Sum>,
}

impl<'a> Plan<'a> {
    /// None if everything stays in the loop.
    pub fn new(op: &'a Op, licences: Licences) -> Option<Plan<'a>> {
        let body = op.region("body").graph();
        let mut plan = Plan {
            body,
            constants: op.int("constants") as usize,
            carries: op.int("carries") as usize,
            reverse: op.bool("reverse"),
            length: op.dim("length"),
            class: Vec::new(),
            hoisted: BTreeSet::new(),
            before: BTreeSet::new(),
            moved: vec![false; body.len()],
            stacked: BTreeSet::new(),
            sums: BTreeMap::new(),
        };
        let readers = Readers::new(body);
        let may_round = licences.grant(Licence::Reassociate);
        plan.class = plan.classes(may_round);
        let ahead = plan.ahead(&readers);
        plan.behind(&readers, may_round);
        plan.borders(&ahead);
        let leaves = !plan.hoisted.is_empty()
            || !plan.before.is_empty()
            || !plan.sums.is_empty()
            || plan.moved.contains(&true)
            || (0..plan.carries).any(|c| plan.is_fixed(c))
            || body.outputs()[plan.carries..].iter().any(|(v, _)| plan.class(*v) < Class::Varying);
        leaves.then_some(plan)
    }

    pub fn class(&self, v: Value) -> Class {
        self.class[v.node as usize]
    }

    pub fn is_moved(&self, v: Value) -> bool {
        self.moved[v.node as usize]
    }

    /// Whether each step returns the carry as it was.
    pub fn is_fixed(&self, carry: usize) -> bool {
        self.body.outputs()[carry].0 == self.body.inputs()[self.constants + carry].0
    }

    /// Whether the new loop has the carry.
    pub fn is_carried(&self, carry: usize) -> bool {
        !self.is_fixed(carry) && !self.sums.contains_key(&carry)
    }

    /// The stacked results of the body that are computed behind the loop, and are not a step's own.
    pub fn results_behind(&self) -> impl Iterator<Item = Value> {
        self.body.outputs()[self.carries..].iter().map(|(v, _)| *v).filter(|&v| self.is_moved(v))
    }

    /// The stacked results that the loop itself computes.
    pub fn results_inside(&self) -> impl Iterator<Item = Value> {
        let inside = |v: &Value| self.class(*v) == Class::Varying && !self.is_moved(*v);
        self.body.outputs()[self.carries..].iter().map(|(v, _)| *v).filter(inside)
    }

    /// The nodes that every step has to do, though nobody reads them.
    pub fn checks(&self) -> impl Iterator<Item = u32> {
        self.body.nodes().filter(|(_, n)| !n.op.removable()).map(|(i, _)| i)
    }

    fn classes(&self, may_round: bool) -> Vec<Class> {
        let mut class = vec![Class::Literal; self.body.len()];
        let first_sequence = self.constants + self.carries;
        for (k, (v, _)) in self.body.inputs().iter().enumerate() {
            class[v.node as usize] = match k {
                k if k < self.constants => Class::Constant,
                k if k < first_sequence && self.is_fixed(k - self.constants) => Class::Constant,
                k if k < first_sequence => Class::Varying,
                _ => Class::Sequence,
            };
        }
        for (i, node) in self.body.nodes().filter(|(_, n)| !n.op.is(&INPUT)) {
            let most = node.operands.iter().map(|v| class[v.node as usize]).max().unwrap_or(Class::Literal);
            let rounds = is_work(node) && most == Class::Sequence && !may_round;
            let stays = fails(node) || rounds || decides(node) && most == Class::Sequence;
            class[i as usize] = if stays { Class::Varying } else { most };
        }
        class
    }

    /// Which nodes are computed for all steps in front of the loop.
    fn ahead(&self, readers: &Readers) -> Vec<bool> {
        let mut ahead = vec![false; self.body.len()];
        for (i, node) in self.body.nodes() {
            let n = i as usize;
            if self.class[n] != Class::Sequence || node.op.is(&INPUT) {
                continue;
            }
            // What is done with such a result alone joins it, where that makes no more numbers of it.
            let bytes = self.bytes(Value { node: i, result: 0 });
            let joins = |v: &Value| {
                ahead[v.node as usize] && readers.of(v.node).len() == 1 && self.bytes(*v).at_least(bytes) == Some(true)
            };
            ahead[n] = is_work(node) || node.operands.iter().any(joins);
        }
        ahead
    }

    /// Decides what is computed behind the loop.
    fn behind(&mut self, readers: &Readers, may_round: bool) {
        let body = self.body;
        let mut sums: BTreeMap<usize, (u32, Value)> = BTreeMap::new();
        for carry in (0..self.carries).filter(|&c| !self.is_fixed(c)) {
            if let Some(sum) = self.sum(carry, readers)
                && (may_round || !body.ty(sum.1).dtype.is_float())
            {
                sums.insert(carry, sum);
            }
        }
        // What a later step depends on stays, and what may fail does so in its step.
        let mut stays = vec![false; body.len()];
        let roots = (0..self.carries).filter(|c| !sums.contains_key(c)).map(|c| body.outputs()[c].0.node);
        roots.for_each(|n| stays[n as usize] = true);
        for (i, node) in body.nodes().rev() {
            let n = i as usize;
            stays[n] |= fails(node) || decides(node);
            if stays[n] {
                node.operands.iter().for_each(|v| stays[v.node as usize] = true);
            }
        }
        let free = |n: u32| !stays[n as usize] && self.class[n as usize] == Class::Varying && !body.node(n).op.is(&INPUT);
        let adds: BTreeSet<u32> = sums.values().map(|(add, _)| *add).collect();
        let addends: BTreeSet<u32> = sums.values().map(|(_, v)| v.node).collect();
        let candidates: Vec<u32> = body
            .nodes()
            .filter(|&(i, node)| free(i) && !adds.contains(&i) && readers.is_live(i) && (is_work(node) || addends.contains(&i)))
            .map(|(i, _)| i)
            .collect();
        let behind_of = |n: u32| {
            let (mut open, mut found) = (vec![n], BTreeSet::new());
            while let Some(n) = open.pop() {
                if !adds.contains(&n) && found.insert(n) {
                    open.extend(readers.of(n));
                }
            }
            found
        };
        let exact = |n: u32| behind_of(n).iter().all(|&n| !is_work(body.node(n)));
        let candidates: Vec<u32> = candidates.into_iter().filter(|&n| may_round || exact(n)).collect();
        let mut available: BTreeSet<Value> = body.outputs()[self.carries..].iter().map(|(v, _)| *v).collect();
        loop {
            let next = candidates.iter().find(|&&n| !self.moved[n as usize] && self.pays(n, &available));
            let Some(&next) = next else { break };
            behind_of(next).into_iter().for_each(|n| self.moved[n as usize] = true);
            available.extend(self.wanted(&sums));
        }
        for (carry, (_, addend)) in sums {
            let known = self.is_moved(addend) || available.contains(&addend) || self.class(addend) == Class::Sequence;
            if known && self.class(addend) >= Class::Sequence {
                self.sums.insert(carry, Sum::of(self, addend));
            }
        }
        self.stacked = self.needed_behind().into_iter().filter(|v| self.class(*v) == Class::Varying).collect();
    }

    /// The node that adds to the carry, and what it adds, if that is all that happens to it.
    fn sum(&self, carry: usize, readers: &Readers) -> Option<(u32, Value)> {
        let (before, after) = (self.body.inputs()[self.constants + carry].0, self.body.outputs()[carry].0);
        let node = self.body.node(after.node);
        let once = readers.of(before.node) == [after.node] && readers.of(after.node).is_empty();
        let returned = |v: Value| self.body.outputs().iter().filter(|(o, _)| *o == v).count();
        if node.op.name() != "add" || !once || returned(after) != 1 || returned(before) != 0 {
            return None;
        }
        match node.operands[..] {
            [a, b] if a == before && b != before => Some((after.node, b)),
            [a, b] if b == before && a != before => Some((after.node, a)),
            _ => None,
        }
    }

    /// Whether a node behind the loop needs no more stacked than it would have written in each step.
    fn pays(&self, n: u32, available: &BTreeSet<Value>) -> bool {
        let node = self.body.node(n);
        let known = |v: &Value| self.class(*v) < Class::Varying || self.is_moved(*v) || available.contains(v);
        let mut missing: Vec<Value> = node.operands.iter().copied().filter(|v| !known(v)).collect();
        missing.sort_unstable();
        missing.dedup();
        if missing.is_empty() {
            return true;
        }
        let read: Dim = missing.iter().fold(Dim::ZERO, |sum, &v| sum + self.bytes(v));
        let written: Dim = node.results.iter().fold(Dim::ZERO, |sum, ty| sum + ty.bytes());
        is_work(node) && (written * 2usize).at_least(read) == Some(true)
    }

    fn bytes(&self, v: Value) -> Dim {
        self.body.ty(v).bytes()
    }

    /// The varying operands of what is computed behind the loop so far.
    fn wanted(&self, sums: &BTreeMap<usize, (u32, Value)>) -> Vec<Value> {
        let moved = self.body.nodes().filter(|(i, _)| self.moved[*i as usize]).flat_map(|(_, n)| n.operands.iter().copied());
        let added = sums.values().filter(|(add, _)| {
            let operands = &self.body.node(*add).operands;
            operands.iter().any(|v| self.is_moved(*v))
        });
        moved.chain(added.map(|(_, v)| *v)).filter(|v| self.class(*v) == Class::Varying && !self.is_moved(*v)).collect()
    }

    /// The values that are read behind the loop and not computed there.
    pub fn needed_behind(&self) -> BTreeSet<Value> {
        let moved = self.body.nodes().filter(|(i, _)| self.moved[*i as usize]).flat_map(|(_, n)| n.operands.iter().copied());
        let mut needed: BTreeSet<Value> = moved.collect();
        self.sums.values().for_each(|sum| sum.stacks(&mut needed));
        needed.retain(|v| !self.is_moved(*v) && self.class(*v) >= Class::Sequence);
        needed
    }

    /// The values at the border between what is in front of the loop and the loop.
    fn borders(&mut self, ahead: &[bool]) {
        let body = self.body;
        let mut pending: Vec<Value> = (0..self.carries).filter(|&c| self.is_carried(c)).map(|c| body.outputs()[c].0).collect();
        pending.extend(self.results_inside());
        pending.extend(&self.stacked);
        pending.extend(self.checks().flat_map(|n| body.node(n).operands.iter().copied()));
        let mut seen = BTreeSet::new();
        while let Some(v) = pending.pop() {
            let node = body.node(v.node);
            if node.op.is(&INPUT) || !seen.insert(v) {
                continue;
            }
            match self.class(v) {
                Class::Sequence if ahead[v.node as usize] => {
                    self.before.insert(v);
                }
                Class::Constant if !is_view(node) => {
                    self.hoisted.insert(v);
                }
                _ => pending.extend(node.operands.iter().copied()),
            }
        }
    }
}

/// Whether a node is more than a map: it has loops of its own.
pub(super) fn is_work(node: &Node) -> bool {
    !matches!(node.op.record().lowering, Lowering::Map(_)) && !node.op.is(&INPUT)
}

/// Whether a node may fail the run.
fn fails(node: &Node) -> bool {
    !node.op.removable() || matches!(node.op.record().lowering, Lowering::Library)
}

/// Whether a node does what its data say: over all steps at once, it would compute both branches, and the longest loop, for each.
fn decides(node: &Node) -> bool {
    matches!(node.op.name(), "cond" | "while")
}

/// Whether a value is cheaper to take from its operand again than to keep.
fn is_view(node: &Node) -> bool {
    matches!(node.op.name(), "broadcast" | "reshape" | "transpose" | "slice" | "flip" | "stop_gradient" | "constant" | "iota")
}

/// The live nodes that read each node.
struct Readers {
    readers: Vec<Vec<u32>>,
    live: Vec<bool>,
}

impl Readers {
    fn new(body: &Graph) -> Readers {
        let live = body.live();
        let mut readers = vec![Vec::new(); body.len()];
        for (i, node) in body.nodes().filter(|(i, _)| live[*i as usize]) {
            for v in &node.operands {
                let of: &mut Vec<u32> = &mut readers[v.node as usize];
                if of.last() != Some(&i) {
                    of.push(i);
                }
            }
        }
        Readers { readers, live }
    }

    fn of(&self, n: u32) -> &[u32] {
        &self.readers[n as usize]
    }

    fn is_live(&self, n: u32) -> bool {
        self.live[n as usize]
    }
}
