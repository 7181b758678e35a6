//! The memory plan: which slot lies where, which variables are updated in place, and the final order of the steps.

use crate::lower::{Flat, FlatStep, StepKind};
use igneous_ir::dim::Dim;
use igneous_ir::kernel::{Aliases, Kernel};
use igneous_runtime::program::Place;
use std::collections::{BTreeMap, BTreeSet};

/// Where everything lies, and the order of the steps.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The steps, each by its position in [`Flat::steps`].
    pub order: Vec<usize>,
    /// The place of each slot; none for slots that nothing uses.
    pub places: Vec<Option<Place>>,
    /// For each slot in the arena, the first and the last launch that uses it.
    pub lifetimes: BTreeMap<usize, (usize, usize)>,
    /// The size of the arena in bytes.
    pub arena: Dim,
}

const ALIGNMENT: i64 = 64;

/// Plans the memory of a program. `variables` pairs the position of a variable's input with that of the output that is
/// its new value.
pub fn plan(flat: &Flat, kernels: &[Kernel], variables: &[(usize, usize)]) -> Plan {
    let kernels: Vec<Aliases<'_>> = kernels.iter().map(Aliases::of).collect();
    let mut order = Order::new(flat);
    let mut places: Vec<Option<Place>> = vec![None; flat.slots.len()];
    for (i, slot) in flat.slots.iter().enumerate() {
        if slot.constant.is_some() {
            places[i] = Some(Place::Constant(i));
        }
    }
    for (i, &slot) in flat.inputs.iter().enumerate() {
        places[slot] = Some(Place::Input(i));
    }
    for &(slot, _) in &flat.outputs {
        places[slot].get_or_insert(Place::Result);
    }
    for &(input, output) in variables {
        let (old, new) = (flat.inputs[input], flat.outputs[output].0);
        if places[new] == Some(Place::Result) && order.allows_in_place(flat, &kernels, old, new) {
            places[new] = Some(Place::InOut(input));
        }
    }
    let order = order.sorted();
    let mut plan = Plan { order, places, lifetimes: BTreeMap::new(), arena: Dim::ZERO };
    plan.arena(flat, &kernels);
    plan
}

/// The dependences between steps, to which updates in place add some.
struct Order {
    /// For each step, the steps that must come after it.
    after: Vec<BTreeSet<usize>>,
    writer: BTreeMap<usize, usize>,
    readers: BTreeMap<usize, BTreeSet<usize>>,
    checks: Vec<usize>,
}

impl Order {
    fn new(flat: &Flat) -> Order {
        let mut order = Order {
            after: vec![BTreeSet::new(); flat.steps.len()],
            writer: BTreeMap::new(),
            readers: BTreeMap::new(),
            checks: Vec::new(),
        };
        for (i, step) in flat.steps.iter().enumerate() {
            for (&slot, &writes) in step.params.iter().zip(&step.writes) {
                if writes {
                    order.writer.insert(slot, i);
                } else {
                    order.readers.entry(slot).or_default().insert(i);
                }
            }
            if step.checks {
                order.checks.push(i);
            }
        }
        for (slot, readers) in &order.readers {
            if let Some(&writer) = order.writer.get(slot) {
                order.after[writer].extend(readers);
            }
        }
        order
    }

    fn reaches(&self, from: usize, to: usize) -> bool {
        let mut open = vec![from];
        let mut seen = BTreeSet::new();
        while let Some(s) = open.pop() {
            if s == to {
                return true;
            }
            open.extend(self.after[s].iter().filter(|&&n| seen.insert(n)));
        }
        false
    }

    /// Whether the step that makes `new` may write it over `old`; if so, its readers and all checks are ordered before it.
    fn allows_in_place(&mut self, flat: &Flat, kernels: &[Aliases<'_>], old: usize, new: usize) -> bool {
        if flat.slots[old].ty != flat.slots[new].ty || flat.outputs.iter().any(|(slot, _)| *slot == old) {
            return false;
        }
        let Some(&writer) = self.writer.get(&new) else { return false };
        let step = &flat.steps[writer];
        if step.checks || !reads_allow(step, kernels, old, new) {
            return false;
        }
        let readers = self.readers.get(&old).into_iter().flatten();
        let before: Vec<usize> = readers.chain(&self.checks).copied().filter(|&s| s != writer).collect();
        if before.iter().any(|&s| self.reaches(writer, s)) {
            return false;
        }
        for s in before {
            self.after[s].insert(writer);
        }
        true
    }

    /// A topological order, earliest step first among the free ones.
    fn sorted(&self) -> Vec<usize> {
        let mut waiting = vec![0usize; self.after.len()];
        self.after.iter().flatten().for_each(|&s| waiting[s] += 1);
        let mut free: BTreeSet<usize> = (0..waiting.len()).filter(|&s| waiting[s] == 0).collect();
        let mut order = Vec::with_capacity(waiting.len());
        while let Some(s) = free.pop_first() {
            order.push(s);
            for &next in &self.after[s] {
                waiting[next] -= 1;
                if waiting[next] == 0 {
                    free.insert(next);
                }
            }
        }
        assert_eq!(order.len(), waiting.len(), "in-place updates are only allowed where they leave the order acyclic");
        order
    }
}

/// Whether a step may write `new` over `old` as far as its own reads go.
fn reads_allow(step: &FlatStep, kernels: &[Aliases<'_>], old: usize, new: usize) -> bool {
    let StepKind::Kernel(k) = step.kind else { return false };
    let write = (0..step.params.len()).find(|&p| step.writes[p] && step.params[p] == new);
    let reads: Vec<usize> = (0..step.params.len()).filter(|&p| !step.writes[p] && step.params[p] == old).collect();
    match (write, reads.as_slice()) {
        (None, _) => false,
        (Some(_), []) => true,
        (Some(write), [read]) => kernels[k].allow(*read, write),
        _ => false,
    }
}

impl Plan {
    /// Places every slot that is neither input, output nor constant.
    fn arena(&mut self, flat: &Flat, kernels: &[Aliases<'_>]) {
        let mut lifetimes: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
        for (at, &s) in self.order.iter().enumerate() {
            for &slot in &flat.steps[s].params {
                if self.places[slot].is_none() {
                    lifetimes.entry(slot).and_modify(|l| l.1 = at).or_insert((at, at));
                }
            }
        }
        let shared = self.take_over(flat, kernels, &lifetimes);
        // Slots that share memory are placed as one that lives from the first's birth to the last's death.
        let mut blocks: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
        for (&slot, &(from, to)) in &lifetimes {
            let block = blocks.entry(shared[&slot]).or_insert((from, to));
            *block = (block.0.min(from), block.1.max(to));
        }
        let size = |slot: usize| flat.slots[slot].ty.bytes();
        let mut fixed: Vec<(i64, usize)> = blocks.keys().filter_map(|&b| Some((align(size(b).as_const()?), b))).collect();
        fixed.sort_by_key(|&(bytes, b)| (std::cmp::Reverse(bytes), blocks[&b].0, b));
        // By offset.
        let mut placed: Vec<(i64, i64, (usize, usize))> = Vec::new();
        let mut offsets: BTreeMap<usize, Dim> = BTreeMap::new();
        let mut end = 0;
        for (bytes, b) in fixed {
            let life = blocks[&b];
            let busy = placed.iter().filter(|(_, _, other)| other.0 <= life.1 && life.0 <= other.1);
            let (mut offset, mut candidate) = (None::<(i64, i64)>, 0);
            // Best fit: the smallest gap that is large enough, else behind everything that is alive.
            for &(o, s, _) in busy {
                let gap = o - candidate;
                if gap >= bytes && offset.is_none_or(|(g, _)| gap < g) {
                    offset = Some((gap, candidate));
                }
                candidate = candidate.max(o + s);
            }
            let offset = offset.map_or(candidate, |(_, o)| o);
            placed.insert(placed.partition_point(|&(o, s, _)| (o, s) <= (offset, bytes)), (offset, bytes, life));
            offsets.insert(b, Dim::constant(offset));
            end = end.max(offset + bytes);
        }
        let mut symbolic_end = Dim::constant(end);
        let mut symbolic: Vec<(Dim, Dim, (usize, usize))> = Vec::new();
        for (&b, &life) in blocks.iter().filter(|(b, _)| !offsets.contains_key(b)).collect::<Vec<_>>() {
            let bytes = size(b);
            let free = |&(_, s, other): &(Dim, Dim, (usize, usize))| s == bytes && (other.1 < life.0 || life.1 < other.0);
            let reusable =
                symbolic.iter().find(|block| free(block) && symbolic.iter().filter(|other| other.0 == block.0).all(free));
            let offset = reusable.map_or(symbolic_end, |r| r.0);
            if offset == symbolic_end {
                symbolic_end = symbolic_end + bytes.div_ceil(ALIGNMENT as usize) * ALIGNMENT as usize;
            }
            symbolic.push((offset, bytes, life));
            offsets.insert(b, offset);
        }
        for &slot in lifetimes.keys() {
            self.places[slot] = Some(Place::Arena(offsets[&shared[&slot]]));
        }
        self.lifetimes = lifetimes;
        self.arena = symbolic_end;
    }

    /// For each slot, the first slot of the chain whose memory it takes over: where the last reader is the writer.
    fn take_over(
        &self,
        flat: &Flat,
        kernels: &[Aliases<'_>],
        lifetimes: &BTreeMap<usize, (usize, usize)>,
    ) -> BTreeMap<usize, usize> {
        let mut first: BTreeMap<usize, usize> = lifetimes.keys().map(|&s| (s, s)).collect();
        let mut taken: BTreeSet<usize> = BTreeSet::new();
        for (at, &s) in self.order.iter().enumerate() {
            let step = &flat.steps[s];
            let written = step.params.iter().zip(&step.writes).filter(|(_, w)| **w).map(|(&slot, _)| slot);
            for new in written.filter(|slot| lifetimes.contains_key(slot)) {
                let dying = step.params.iter().zip(&step.writes).filter(|(_, w)| !**w).map(|(&slot, _)| slot).find(|old| {
                    lifetimes.get(old).is_some_and(|l| l.1 == at)
                        && !taken.contains(old)
                        && flat.slots[*old].ty.bytes() == flat.slots[new].ty.bytes()
                        && reads_allow(step, kernels, *old, new)
                });
                if let Some(old) = dying {
                    taken.insert(old);
                    let root = first[&old];
                    first.insert(new, root);
                }
            }
        }
        first
    }
}

fn align(bytes: i64) -> i64 {
    (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT
}
