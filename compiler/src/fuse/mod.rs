//! Fusion: which nodes of a graph become one kernel.
//!
//! A deterministic cost queue: of all pairs of groups that are connected or read the same values, take the pair whose
//! fusion saves most, build its kernel, and keep it if it can be built; else log why not. Then independent groups that
//! only update variables become sections of one kernel.

mod build;
mod collapse;
mod exprs;
mod horizontal;
mod name;
mod params;
mod parts;
mod split;
mod twice;
mod units;

use crate::cuda;
use crate::driver::{Backend, Options};
use crate::schedule::schedule;
use build::{Refusal, build};
use igneous_ir::dim::Dim;
use igneous_ir::error::{Error, Result};
use igneous_ir::graph::{Graph, Value};
use igneous_ir::types::TensorType;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fmt;

pub use build::Built;
pub use horizontal::Sideways;
pub use name::Names;
pub use params::renumber;
pub use parts::{InParts, Origin, in_parts};
pub use twice::compute_twice;
pub use units::{Role, Units, without_reshapes};

/// What fusion did and refused, in order.
#[derive(Clone, Debug, Default)]
pub struct FusionLog(Vec<String>);

impl fmt::Display for FusionLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl FusionLog {
    fn push(&mut self, line: String) {
        self.0.push(line);
    }

    /// Appends the log of the graph called `name`.
    pub fn extend(&mut self, name: &str, other: FusionLog) {
        self.0.push(format!("graph {name}"));
        self.0.extend(other.0);
    }

    /// The lines.
    pub fn lines(&self) -> &[String] {
        &self.0
    }
}

/// One step of the program that fusion makes.
#[derive(Clone, Debug)]
pub enum Step {
    /// A kernel.
    Kernel {
        /// It and its parameters.
        built: Box<Built>,
        /// Its arithmetic operations.
        flops: Dim,
    },
    /// A node that is not a kernel: `call` or `scan`.
    Node(u32),
}

/// The result of fusion.
#[derive(Debug)]
pub struct Fused {
    /// The steps in an order that respects their dependences.
    pub steps: Vec<Step>,
    /// The check nodes, in order of the numbers their kernels report.
    pub checks: Vec<u32>,
    /// What was done and why not more.
    pub log: FusionLog,
}

/// A launch costs as much as moving this many bytes.
const LAUNCH_BYTES: f64 = 100_000.0;
/// A group holds at most this many units.
const MAX_UNITS: usize = 96;

/// Fuses a graph of primitives. `first_check` numbers its checks; `variable_outputs` are values that only update
/// variables; `names` keeps kernel names unique within the program; `sideways` says what unconnected kernels are merged, `options` what
/// kernels are made for.
///
/// # Errors
/// If a node cannot be made a kernel at all.
pub fn fuse(
    graph: &Graph,
    first_check: u32,
    variable_outputs: &BTreeSet<Value>,
    (sideways, options): (Sideways, &Options),
    names: &mut Names,
) -> Result<Fused> {
    let units = Units::new(graph, first_check, options.backend);
    let mut fusion = Fusion::new(graph, &units, options)?;
    fusion.run();
    let groups = fusion.ordered();
    let mut log = fusion.log;
    let groups = horizontal::merge(graph, &units, groups, variable_outputs, (sideways, options.backend), &mut log);
    let steps = groups
        .into_iter()
        .map(|group| match group.built {
            None => Step::Node(*group.members.first().expect("an opaque group is one node")),
            Some(built) => {
                let mut built = params::reads_first(built);
                collapse::collapse(&mut built.kernel);
                split::split(&mut built.kernel);
                name::label(&mut built.kernel);
                built.kernel.name = names.unique(graph, &units, &group.members);
                schedule(&mut built.kernel);
                let flops = flops(graph, &units, &group.members);
                Step::Kernel { built: Box::new(built), flops }
            }
        })
        .collect();
    Ok(Fused { steps, checks: units.checks().collect(), log })
}

/// Units that are one kernel.
#[derive(Clone, Debug)]
struct Group {
    members: BTreeSet<u32>,
    /// The stored values it reads, made by others.
    reads: BTreeSet<Value>,
    /// Its values that others read or that are outputs.
    outputs: BTreeSet<Value>,
    /// The kernel; none for an opaque node.
    built: Option<Built>,
    /// If a library can do what the kernel does: what that saves, as bytes that are moved in the same time.
    by_library: Option<f64>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    /// Bytes saved; the largest first.
    gain: u64,
    /// The older pair first among equals.
    pair: std::cmp::Reverse<(u32, u32)>,
}

struct Fusion<'g> {
    graph: &'g Graph,
    units: &'g Units,
    options: &'g Options,
    groups: BTreeMap<u32, Group>,
    group_of: BTreeMap<u32, u32>,
    /// For each stored value, the groups that read it.
    readers: BTreeMap<Value, BTreeSet<u32>>,
    /// A group's place in an order in which none depends on a later one.
    ranks: BTreeMap<u32, usize>,
    /// The groups in that order, with gaps.
    line: Vec<Option<u32>>,
    graph_outputs: BTreeSet<Value>,
    queue: BinaryHeap<Candidate>,
    tried: BTreeSet<(u32, u32)>,
    next: u32,
    log: FusionLog,
}

impl<'g> Fusion<'g> {
    fn new(graph: &'g Graph, units: &'g Units, options: &'g Options) -> Result<Fusion<'g>> {
        let mut fusion = Fusion {
            graph,
            units,
            options,
            groups: BTreeMap::new(),
            group_of: BTreeMap::new(),
            readers: BTreeMap::new(),
            ranks: BTreeMap::new(),
            line: Vec::new(),
            graph_outputs: graph.outputs().iter().map(|(v, _)| without_reshapes(graph, *v)).collect(),
            queue: BinaryHeap::new(),
            tried: BTreeSet::new(),
            next: 0,
            log: FusionLog::default(),
        };
        let live = graph.live();
        let unit_nodes: Vec<u32> = graph.nodes().map(|(i, _)| i).filter(|&i| live[i as usize] && units.is_unit(i)).collect();
        for &n in &unit_nodes {
            let reads = units.reads(graph, n);
            for &v in &reads {
                fusion.readers.entry(v).or_default().insert(n);
            }
            let members = BTreeSet::from([n]);
            let group = Group { members, reads, outputs: BTreeSet::new(), built: None, by_library: None };
            fusion.groups.insert(n, group);
            fusion.group_of.insert(n, n);
            fusion.ranks.insert(n, fusion.line.len());
            fusion.line.push(Some(n));
        }
        fusion.next = graph.len() as u32;
        for &n in &unit_nodes {
            let outputs = fusion.outputs_of(&BTreeSet::from([n]));
            let built = if units.role(n) == Role::Opaque {
                None
            } else {
                let built = build(graph, units, &BTreeSet::from([n]), &outputs);
                Some(built.map_err(|Refusal(reason)| {
                    let error = Error::new(format!("{} cannot be compiled: {reason}", graph.node(n).op));
                    graph.node(n).loc.map_or(error.clone(), |loc| error.at(loc))
                })?)
            };
            let by_library = built.as_ref().and_then(|built| fusion.by_library(&BTreeSet::from([n]), built));
            let group = fusion.groups.get_mut(&n).expect("inserted above");
            (group.outputs, group.built, group.by_library) = (outputs, built, by_library);
        }
        for n in unit_nodes {
            fusion.offer(n);
        }
        Ok(fusion)
    }

    /// The values of `members` that are read elsewhere or are outputs of the graph.
    fn outputs_of(&self, members: &BTreeSet<u32>) -> BTreeSet<Value> {
        let outside =
            |v: &Value| self.readers.get(v).is_some_and(|r| r.iter().any(|g| !self.groups[g].members.is_subset(members)));
        let results = members.iter().flat_map(|&n| self.graph.results(n));
        results.filter(|v| self.graph_outputs.contains(v) || outside(v)).collect()
    }

    /// Queues every pair of group `id` with a group it is connected to or shares a read with: the nearest of them where a
    /// value has many readers, and not those that share only scalars, so that the work is linear in the number of groups.
    fn offer(&mut self, id: u32) {
        const NEAREST: usize = 8;
        let group = &self.groups[&id];
        let mut others: BTreeSet<u32> = BTreeSet::new();
        for v in &group.reads {
            others.extend(self.group_of.get(&v.node));
            if self.graph.ty(*v).elements() != Dim::ONE {
                let readers = &self.readers[v];
                others.extend(readers.range(..id).rev().take(NEAREST));
                others.extend(readers.range(id..).take(NEAREST + 1));
            }
        }
        for v in &group.outputs {
            others.extend(self.readers.get(v).into_iter().flatten());
        }
        others.remove(&id);
        for other in others {
            let pair = (id.min(other), id.max(other));
            if let Some(gain) = self.gain(pair.0, pair.1) {
                self.queue.push(Candidate { gain, pair: std::cmp::Reverse(pair) });
            }
        }
    }

    /// Bytes that fusing two groups saves; none if it is pointless.
    fn gain(&self, a: u32, b: u32) -> Option<u64> {
        let (a, b) = (&self.groups[&a], &self.groups[&b]);
        a.built.as_ref()?;
        b.built.as_ref()?;
        let mut saved = 0.0;
        for (from, to) in [(a, b), (b, a)] {
            for v in from.outputs.intersection(&to.reads) {
                let only = self.readers[v].len() == 1 && !self.graph_outputs.contains(v);
                saved += bytes(self.graph.ty(*v)) * if only { 2.0 } else { 1.0 };
            }
        }
        saved += a.reads.intersection(&b.reads).map(|v| bytes(self.graph.ty(*v))).sum::<f64>();
        (saved > 0.0).then_some((saved + LAUNCH_BYTES) as u64)
    }

    fn run(&mut self) {
        while let Some(Candidate { pair: std::cmp::Reverse((a, b)), gain }) = self.queue.pop() {
            if !self.groups.contains_key(&a) || !self.groups.contains_key(&b) || !self.tried.insert((a, b)) {
                continue;
            }
            match self.merged(a, b, gain as f64) {
                Ok(group) => {
                    let line = format!("fuse   {} + {}  saves {gain} bytes", self.describe(a), self.describe(b));
                    self.log.push(line);
                    self.replace(a, b, group);
                }
                Err(Refusal(reason)) => {
                    let line = format!("refuse {} + {}: {reason}", self.describe(a), self.describe(b));
                    self.log.push(line);
                }
            }
        }
    }

    fn merged(&self, a: u32, b: u32, gain: f64) -> std::result::Result<Group, Refusal> {
        if self.path_outside(a, b) {
            return Err(Refusal("one depends on the other through a third".into()));
        }
        let (ga, gb) = (&self.groups[&a], &self.groups[&b]);
        let members: BTreeSet<u32> = ga.members.union(&gb.members).copied().collect();
        if !self.connected(ga, gb) && self.phase(ga) != self.phase(gb) {
            return Err(Refusal("one computes again, behind a barrier".into()));
        }
        if members.len() > MAX_UNITS {
            return Err(Refusal(format!("more than {MAX_UNITS} units")));
        }
        self.keeps_parallelism(&members)?;
        let outputs = self.outputs_of(&members);
        let reads = ga.reads.union(&gb.reads).filter(|v| !members.contains(&v.node)).copied().collect();
        let built = build(self.graph, self.units, &members, &outputs)?;
        let by_library = self.by_library(&members, &built);
        let lost: f64 = [ga, gb].iter().filter_map(|g| g.by_library).sum();
        if by_library.is_none() && lost > gain {
            return Err(Refusal(format!("a library can do the one alone, which is worth {lost:.0} bytes")));
        }
        Ok(Group { members, reads, outputs, built: Some(built), by_library })
    }

    /// What it saves to have a library do what a kernel does, as bytes that are moved in the same time; none if it cannot.
    fn by_library(&self, members: &BTreeSet<u32>, built: &Built) -> Option<f64> {
        let product = members.iter().any(|&n| self.units.role(n) == Role::Contraction);
        if self.options.backend != Backend::Cuda || !product {
            return None;
        }
        let mut kernel = built.kernel.clone();
        collapse::collapse(&mut kernel);
        cuda::saved_by_library(&kernel, estimate(flops(self.graph, self.units, members)), self.options)
    }

    /// Whether one of two groups reads what the other makes.
    fn connected(&self, a: &Group, b: &Group) -> bool {
        !a.outputs.is_disjoint(&b.reads) || !b.outputs.is_disjoint(&a.reads)
    }

    fn phase(&self, group: &Group) -> u32 {
        group.members.iter().map(|&n| self.units.phase(n)).max().unwrap_or(0)
    }

    /// A reduction that keeps few elements must not make a large map beside it serial: more than some microseconds a row.
    fn keeps_parallelism(&self, members: &BTreeSet<u32>) -> std::result::Result<(), Refusal> {
        let kept = members.iter().filter(|&&n| self.units.role(n) == Role::Reduction);
        let Some(kept) = kept.map(|&n| elements(&self.graph.node(n).results[0])).reduce(f64::min) else { return Ok(()) };
        let maps = members.iter().filter(|&&n| self.units.role(n) == Role::Map);
        let largest = maps.map(|&n| elements(&self.graph.node(n).results[0])).fold(0.0, f64::max);
        if kept < 16.0 && largest / kept > 4096.0 {
            return Err(Refusal("the reduction would leave the map with too few parallel points".into()));
        }
        Ok(())
    }

    /// Whether one of two groups depends on the other through a third.
    fn path_outside(&self, a: u32, b: u32) -> bool {
        let (from, to) = self.in_order(a, b);
        self.between(from, to).iter().any(|&g| self.successors(g).contains(&to))
    }

    fn in_order(&self, a: u32, b: u32) -> (u32, u32) {
        if self.ranks[&a] < self.ranks[&b] { (a, b) } else { (b, a) }
    }

    /// The groups before `to` that depend on `from`.
    fn between(&self, from: u32, to: u32) -> BTreeSet<u32> {
        let end = self.ranks[&to];
        let mut open = vec![from];
        let mut seen = BTreeSet::new();
        while let Some(g) = open.pop() {
            open.extend(self.successors(g).into_iter().filter(|next| self.ranks[next] < end && seen.insert(*next)));
        }
        seen
    }

    fn successors(&self, id: u32) -> BTreeSet<u32> {
        let readers = self.groups[&id].outputs.iter().flat_map(|v| self.readers.get(v).into_iter().flatten());
        readers.copied().filter(|&g| g != id).collect()
    }

    fn replace(&mut self, a: u32, b: u32, group: Group) {
        let id = self.next;
        self.next += 1;
        self.rank(a, b, id);
        for old in [a, b] {
            let old_group = self.groups.remove(&old).expect("both were there");
            for v in &old_group.reads {
                let readers = self.readers.get_mut(v).expect("every read is registered");
                readers.remove(&old);
            }
        }
        for v in &group.reads {
            self.readers.entry(*v).or_default().insert(id);
        }
        for &n in &group.members {
            self.group_of.insert(n, id);
        }
        self.groups.insert(id, group);
        self.offer(id);
    }

    /// Gives the place of `a` and `b` to their fusion `id`: what depends on the first of them comes behind it.
    fn rank(&mut self, a: u32, b: u32, id: u32) {
        let (from, to) = self.in_order(a, b);
        let behind = self.between(from, to);
        let (start, end) = (self.ranks[&from], self.ranks[&to]);
        let inside: Vec<u32> = self.line[start + 1..end].iter().flatten().copied().collect();
        let (after, before): (Vec<u32>, Vec<u32>) = inside.into_iter().partition(|g| behind.contains(g));
        self.line[start..=end].fill(None);
        for (g, place) in before.into_iter().chain([id]).chain(after).zip(start..) {
            self.line[place] = Some(g);
            self.ranks.insert(g, place);
        }
        self.ranks.remove(&a);
        self.ranks.remove(&b);
    }

    fn describe(&self, id: u32) -> String {
        let members = &self.groups[&id].members;
        let names: Vec<String> = members.iter().take(4).map(|&n| format!("%{n} {}", self.graph.node(n).op.name())).collect();
        let rest = members.len().saturating_sub(4);
        if rest > 0 { format!("{{{}, and {rest} more}}", names.join(", ")) } else { format!("{{{}}}", names.join(", ")) }
    }

    /// The groups in an order that respects their dependences; earliest node first among the free ones.
    fn ordered(&self) -> Vec<Group> {
        let mut waiting: BTreeMap<u32, usize> = BTreeMap::new();
        for (&id, group) in &self.groups {
            let made_by: BTreeSet<u32> = group.reads.iter().filter_map(|v| self.group_of.get(&v.node)).copied().collect();
            waiting.insert(id, made_by.len());
        }
        let first = |id: &u32| (*self.groups[id].members.first().expect("a group has members"), *id);
        let mut free: BTreeSet<(u32, u32)> = waiting.iter().filter(|(_, n)| **n == 0).map(|(id, _)| first(id)).collect();
        let mut order = Vec::new();
        while let Some((_, id)) = free.pop_first() {
            for next in self.successors(id) {
                let left = waiting.get_mut(&next).expect("every group waits");
                *left -= 1;
                if *left == 0 {
                    free.insert(first(&next));
                }
            }
            order.push(self.groups[&id].clone());
        }
        assert_eq!(order.len(), self.groups.len(), "groups depend on each other in a circle");
        order
    }
}

/// The arithmetic operations of a group: of its units and of all they inline.
fn flops(graph: &Graph, units: &Units, members: &BTreeSet<u32>) -> Dim {
    let mut counted = members.clone();
    let mut open: Vec<u32> = members.iter().copied().collect();
    let mut sum = Dim::ZERO;
    while let Some(n) = open.pop() {
        let node = graph.node(n);
        let operands: Vec<TensorType> = node.operands.iter().map(|&v| graph.ty(v).clone()).collect();
        sum = sum + (node.op.record().flops)(&node.op, &operands, &node.results);
        open.extend(node.operands.iter().map(|v| v.node).filter(|&o| units.role(o) == Role::Inline && counted.insert(o)));
    }
    sum
}

/// The number of elements; symbolic extents count as 64, within their range.
fn elements(ty: &TensorType) -> f64 {
    estimate(ty.elements())
}

fn bytes(ty: &TensorType) -> f64 {
    elements(ty) * ty.dtype.size() as f64
}

/// A dimension as a number for cost estimates.
pub fn estimate(dim: Dim) -> f64 {
    dim.eval(&|s| Some(64.clamp(s.lo, s.hi))).unwrap_or(1) as f64
}
