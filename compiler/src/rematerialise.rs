//! Computing values again instead of keeping them, so that a program's temporaries fit into a budget.
//!
//! The pass works on the graph that is about to be fused: what is stored is known there. A model of the program's memory,
//! in which every unit of fusion is one step, says what is alive where most is; of the values that are kept across that
//! step, the one that costs least time for the bytes it frees is computed again before its later uses. Behind that, the
//! memory plan itself says whether the budget is met.

use crate::driver::Backend;
use crate::fuse::{Role, Units};
use crate::report::machine;
use igneous_ir::dim::Dim;
use igneous_ir::error::Result;
use igneous_ir::graph::{Graph, Node, Value, Values};
use igneous_ir::ops;
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

/// What was computed again, and what that did to the memory for temporaries. Bytes.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was allowed.
    pub budget: i64,
    /// The arena without recomputation.
    pub before: i64,
    /// The arena with it.
    pub after: i64,
    /// The nodes that are computed again, as text.
    again: Vec<String>,
}

impl Report {
    /// By how many bytes the budget is exceeded.
    pub fn excess(&self) -> i64 {
        (self.after - self.budget).max(0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { budget, before, after, again } = self;
        writeln!(f, "memory budget {budget} bytes: the arena has {after} bytes, {before} if nothing were computed again")?;
        if self.excess() > 0 {
            writeln!(f, "exceeds the budget by {} bytes: there is nothing more to compute again", self.excess())?;
        }
        again.iter().try_for_each(|line| writeln!(f, "again {line}"))
    }
}

/// A graph with less alive at a time, such that `measure` (the bytes of the arena) is at most `budget` if that can be; the graph
/// itself if `whole`, its arena where memory does not matter, is so already.
///
/// # Errors
/// Those of `measure`.
pub fn rematerialise(
    graph: &Graph,
    budget: usize,
    whole: i64,
    measure: &dyn Fn(&Graph) -> Result<i64>,
) -> Result<(Graph, Report)> {
    const ROUNDS: usize = 16;
    let budget = i64::try_from(budget).unwrap_or(i64::MAX);
    let mut report = Report { budget, before: whole, after: whole, again: Vec::new() };
    let mut best = graph.clone();
    if whole <= budget {
        return Ok((best, report));
    }
    let mut measured = measure(graph)?;
    report.after = measured.min(whole);
    let mut model = Model::new(graph);
    for _ in 0..ROUNDS {
        if measured <= budget {
            break;
        }
        // The model counts what fusion does not store: only differences mean something.
        let target = model.peak().0 - (measured - budget);
        if !model.reduce(target) {
            break;
        }
        let candidate = model.graph()?;
        measured = measure(&candidate)?;
        if measured < report.after {
            report.after = measured;
            report.again = model.again();
            best = candidate;
        }
    }
    Ok((best, report))
}

/// When a step runs: clones run before the node that they were made for.
type Time = (u32, u8, u32);

/// A unit of the graph, or a copy of it that runs later.
#[derive(Clone)]
struct Step {
    node: u32,
    time: Time,
    /// Where the stored values that it reads come from: which step makes them.
    reads: BTreeMap<Value, usize>,
}

struct Model<'g> {
    graph: &'g Graph,
    units: Units,
    /// The units in order, then their copies.
    steps: Vec<Step>,
    /// The step of each unit.
    step_of: HashMap<u32, usize>,
    /// The copy of each unit.
    copy_of: BTreeMap<u32, usize>,
    /// The copies that run before each unit, in order.
    before: BTreeMap<u32, Vec<usize>>,
    outputs: BTreeSet<u32>,
}

/// The time in which a step's results are alive.
#[derive(Clone, Copy)]
struct Life {
    from: Time,
    to: Time,
    bytes: i64,
}

impl<'g> Model<'g> {
    fn new(graph: &'g Graph) -> Model<'g> {
        let units = Units::new(graph, 0, Backend::Cpu);
        let live = graph.live();
        let mut model = Model {
            graph,
            steps: Vec::new(),
            step_of: HashMap::new(),
            copy_of: BTreeMap::new(),
            before: BTreeMap::new(),
            outputs: graph.outputs().iter().map(|(v, _)| crate::fuse::without_reshapes(graph, *v).node).collect(),
            units,
        };
        for (i, _) in graph.nodes().filter(|(i, _)| live[*i as usize]) {
            if !model.units.is_unit(i) {
                continue;
            }
            let made = |v: &Value| model.step_of.get(&v.node).map(|&step| (*v, step));
            let reads = model.units.reads(graph, i).iter().filter_map(made).collect();
            model.step_of.insert(i, model.steps.len());
            model.steps.push(Step { node: i, time: (i, 1, 0), reads });
        }
        model
    }

    /// The steps that read each step's results.
    fn readers(&self) -> Vec<Vec<usize>> {
        let mut readers = vec![Vec::new(); self.steps.len()];
        for (k, step) in self.steps.iter().enumerate() {
            let from: BTreeSet<usize> = step.reads.values().copied().collect();
            from.into_iter().for_each(|s| readers[s].push(k));
        }
        readers
    }

    fn bytes(&self, node: u32) -> i64 {
        self.graph.node(node).results.iter().map(|ty| largest(ty.bytes())).sum()
    }

    /// How long each step's results are kept. A map that one other map reads is taken to be computed there.
    fn lives(&self, readers: &[Vec<usize>]) -> Vec<Life> {
        let mut order: Vec<usize> = (0..self.steps.len()).collect();
        order.sort_by_key(|&k| self.steps[k].time);
        let mut at: Vec<Time> = self.steps.iter().map(|s| s.time).collect();
        let mut lives = vec![Life { from: (0, 0, 0), to: (0, 0, 0), bytes: 0 }; self.steps.len()];
        for &k in order.iter().rev() {
            let step = &self.steps[k];
            let to = readers[k].iter().map(|&r| at[r]).max().unwrap_or(step.time);
            let role = self.units.role(step.node);
            let fused = match readers[k].as_slice() {
                [reader] => role == Role::Map && matches!(self.units.role(self.steps[*reader].node), Role::Map | Role::Reduction),
                _ => false,
            };
            if fused {
                at[k] = to;
            }
            let stored = !fused && !self.outputs.contains(&step.node) && !readers[k].is_empty();
            lives[k] = Life { from: at[k], to, bytes: if stored { self.bytes(step.node) } else { 0 } };
        }
        lives
    }

    /// The most bytes that are alive at a time, and when that is first so.
    fn peak(&self) -> (i64, Time) {
        peak(&self.lives(&self.readers()))
    }

    /// Computes more values again until no more than `target` bytes are alive; false if nothing was changed.
    fn reduce(&mut self, target: i64) -> bool {
        let mut changed = false;
        for _ in 0..4 * self.graph.len() {
            let readers = self.readers();
            let lives = self.lives(&readers);
            let (most, at) = peak(&lives);
            if most <= target {
                break;
            }
            let candidates = (0..self.steps.len()).filter_map(|k| {
                let score = self.score(k, at, &readers, &lives)?;
                Some((score, k))
            });
            let Some((_, chosen)) = candidates.min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))) else { break };
            self.again_before_late_uses(chosen, at, &readers, &lives);
            changed = true;
        }
        changed
    }

    /// Nanoseconds for each byte that computing step `k` again frees at a time; none if that is not possible.
    fn score(&self, k: usize, at: Time, readers: &[Vec<usize>], lives: &[Life]) -> Option<f64> {
        let step = &self.steps[k];
        if lives[k].bytes == 0 || step.time >= at || lives[k].to <= at || self.copy_of.contains_key(&step.node) {
            return None;
        }
        if !self.can_repeat(step.node) || readers[k].iter().any(|&r| self.steps[r].time == at) {
            return None;
        }
        let first_late = readers[k].iter().map(|&r| self.steps[r].time).filter(|&t| t > at).min()?;
        let mut plan = Needs { nodes: BTreeSet::new(), kept: BTreeSet::new() };
        self.needs(k, first_late, lives, &mut plan);
        // What has to be kept longer for it and was not alive then.
        let kept: i64 = plan.kept.iter().filter(|&&s| lives[s].to < at).map(|&s| self.bytes(self.steps[s].node)).sum();
        let freed = lives[k].bytes - kept;
        let time: f64 = plan.nodes.iter().map(|&n| self.time(n)).sum();
        (freed > 0).then(|| time / freed as f64)
    }

    fn can_repeat(&self, node: u32) -> bool {
        !matches!(self.units.role(node), Role::Check)
            && self.graph.node(node).op.removable()
            && !matches!(self.graph.node(node).op.name(), "cond" | "scan" | "while")
    }

    /// What it takes to compute step `k` again at a time.
    fn needs(&self, k: usize, time: Time, lives: &[Life], plan: &mut Needs) {
        if !plan.nodes.insert(self.steps[k].node) {
            return;
        }
        for &source in self.steps[k].reads.values() {
            match self.at_hand(source, time, lives) {
                Some(_) => {}
                None if self.repeats(source, plan) => self.needs(source, time, lives, plan),
                None => {
                    plan.kept.insert(source);
                }
            }
        }
    }

    /// Whether a value that is gone is computed again with what needs it, and not kept.
    fn repeats(&self, step: usize, plan: &Needs) -> bool {
        const LONGEST: usize = 24;
        plan.nodes.len() < LONGEST && self.can_repeat(self.steps[step].node)
    }

    /// The step among a unit's two whose results are alive at a time.
    fn at_hand(&self, step: usize, time: Time, lives: &[Life]) -> Option<usize> {
        let node = self.steps[step].node;
        if self.outputs.contains(&node) {
            return Some(self.step_of[&node]);
        }
        let both = [self.copy_of.get(&node), self.step_of.get(&node)].into_iter().flatten().copied();
        both.into_iter().find(|&s| self.steps[s].time < time && lives.get(s).is_some_and(|l| l.bytes > 0 && l.to >= time))
    }

    /// A node's time on one core.
    fn time(&self, node: u32) -> f64 {
        let Node { op, operands, results, .. } = self.graph.node(node);
        let types: SmallVec<[_; 4]> = operands.iter().map(|&v| self.graph.ty(v).clone()).collect();
        let flops = largest((op.record().flops)(op, &types, results)) as f64;
        let bytes: f64 = types.iter().chain(results).map(|ty| largest(ty.bytes()) as f64).sum();
        (flops / machine::FLOPS_PER_NS).max(bytes / machine::BYTES_PER_NS) + machine::LAUNCH_NS
    }

    /// Makes a copy of step `k` that runs before those of its uses that come after `at`, and reads for these.
    fn again_before_late_uses(&mut self, k: usize, at: Time, readers: &[Vec<usize>], lives: &[Life]) {
        let late: Vec<usize> = readers[k].iter().copied().filter(|&r| self.steps[r].time > at).collect();
        let first = late.iter().copied().min_by_key(|&r| self.steps[r].time).expect("a candidate has late uses");
        let copy = self.copy(k, first, lives, &mut BTreeSet::new());
        for reader in late {
            self.steps[reader].reads.values_mut().filter(|s| **s == k).for_each(|s| *s = copy);
        }
    }

    /// A copy of the unit of step `k` that runs before step `reader`, with copies of what it needs and is gone.
    fn copy(&mut self, k: usize, reader: usize, lives: &[Life], made: &mut BTreeSet<u32>) -> usize {
        let node = self.steps[k].node;
        made.insert(node);
        let mut reads = self.steps[self.step_of[&node]].reads.clone();
        for source in reads.values_mut() {
            let time = self.steps[reader].time;
            let there = self.at_hand(*source, time, lives);
            let plan = Needs { nodes: made.clone(), kept: BTreeSet::new() };
            let known = self.copy_of.get(&self.steps[*source].node).copied().filter(|&s| self.steps[s].time < time);
            *source = match (there, known) {
                (Some(step), _) | (None, Some(step)) => step,
                (None, None) if self.repeats(*source, &plan) => self.copy(*source, reader, lives, made),
                (None, None) => *source,
            };
        }
        let copy = match self.copy_of.get(&node).copied() {
            // It runs earlier than it did, for all that read it.
            Some(copy) => {
                let beside = self.before.get_mut(&self.steps[copy].time.0).expect("a copy runs before some unit");
                beside.retain(|&s| s != copy);
                self.steps[copy].reads = reads;
                copy
            }
            None => {
                self.copy_of.insert(node, self.steps.len());
                self.steps.push(Step { node, time: (0, 0, 0), reads });
                self.steps.len() - 1
            }
        };
        let anchor = self.steps[reader].time.0;
        let beside = self.before.entry(anchor).or_default();
        let place = beside.iter().position(|&s| s == reader).unwrap_or(beside.len());
        beside.insert(place, copy);
        for (number, &step) in beside.iter().enumerate() {
            self.steps[step].time = (anchor, 0, number as u32);
        }
        copy
    }

    /// The nodes that are computed again, as text.
    fn again(&self) -> Vec<String> {
        let line = |&n: &u32| {
            let node = self.graph.node(n);
            let types: Vec<String> = node.results.iter().map(ToString::to_string).collect();
            let from = node.loc.map_or_else(String::new, |loc| format!("  // {loc}"));
            format!("%{n} = {} : {}{from}", node.op, types.join(", "))
        };
        self.copy_of.keys().map(line).collect()
    }

    /// The graph of all steps. Copies read through barriers.
    fn graph(&self) -> Result<Graph> {
        let mut writer = Writer {
            model: self,
            new: Graph::new(self.graph.name.clone()),
            originals: vec![Values::new(); self.graph.len()],
            made: vec![Values::new(); self.steps.len()],
        };
        writer.new.set_scopes(self.graph.scopes().to_vec());
        let live = self.graph.live();
        for (i, node) in self.graph.nodes().filter(|(i, _)| live[*i as usize]) {
            for &k in self.before.get(&i).into_iter().flatten() {
                writer.made[k] = writer.step(k)?;
            }
            writer.node(i, node)?;
        }
        let Writer { mut new, originals, .. } = writer;
        for (v, name) in self.graph.outputs() {
            new.output(name.clone(), originals[v.node as usize][v.result as usize]);
        }
        (new.loc, new.scope) = (None, 0);
        Ok(new.without_dead_nodes())
    }
}

/// A dimension with symbols at the ends of their ranges, as the arena is measured.
fn largest(dim: Dim) -> i64 {
    dim.eval(&|s| Some(s.hi)).unwrap_or(i64::from(i32::MAX))
}

/// What computing a step again takes.
struct Needs {
    /// The nodes that run again.
    nodes: BTreeSet<u32>,
    /// The steps whose results are kept longer.
    kept: BTreeSet<usize>,
}

fn peak(lives: &[Life]) -> (i64, Time) {
    let mut changes: BTreeMap<Time, (i64, i64)> = BTreeMap::new();
    for life in lives.iter().filter(|l| l.bytes > 0) {
        changes.entry(life.from).or_default().0 += life.bytes;
        changes.entry(life.to).or_default().1 += life.bytes;
    }
    let (mut alive, mut most) = (0, (0, (0, 0, 0)));
    for (time, (born, dead)) in changes {
        alive += born;
        if alive > most.0 {
            most = (alive, time);
        }
        alive -= dead;
    }
    most
}

/// Writes the graph of a model.
struct Writer<'m, 'g> {
    model: &'m Model<'g>,
    new: Graph,
    /// The values of the graph's own nodes.
    originals: Vec<Values>,
    /// The results of the steps.
    made: Vec<Values>,
}

impl Writer<'_, '_> {
    /// A node of the graph: a unit whose sources are copies reads those.
    fn node(&mut self, i: u32, node: &Node) -> Result<()> {
        (self.new.loc, self.new.scope) = (node.loc, node.scope);
        let step = self.model.step_of.get(&i).copied();
        let own = |s: &usize| self.model.steps[*s].time.1 == 1;
        let values = match step {
            _ if node.op.is(&ops::structural::INPUT) => {
                let name = self.model.graph.inputs()[node.op.int("index") as usize].1.clone();
                Values::from_iter([self.new.input(name, node.results[0].clone())])
            }
            Some(step) if !self.model.steps[step].reads.values().all(own) => self.step(step)?,
            _ => {
                let original = |v: &Value| self.originals[v.node as usize][v.result as usize];
                let operands: SmallVec<[Value; 4]> = node.operands.iter().map(original).collect();
                self.new.push(node.op.clone(), &operands, node.results.clone())
            }
        };
        if let Some(step) = step {
            self.made[step] = values.clone();
        }
        self.originals[i as usize] = values;
        Ok(())
    }

    /// The unit of a step, with all that is computed where it is read.
    fn step(&mut self, k: usize) -> Result<Values> {
        let node = self.model.graph.node(self.model.steps[k].node);
        let mut known = HashMap::new();
        let operands: SmallVec<[Value; 4]> =
            node.operands.iter().map(|&v| self.operand(k, v, &mut known)).collect::<Result<_>>()?;
        (self.new.loc, self.new.scope) = (node.loc, node.scope);
        Ok(self.new.push(node.op.clone(), &operands, node.results.clone()))
    }

    fn operand(&mut self, k: usize, v: Value, known: &mut HashMap<Value, Value>) -> Result<Value> {
        if let Some(&value) = known.get(&v) {
            return Ok(value);
        }
        let Model { graph, units, steps, .. } = self.model;
        let node = graph.node(v.node);
        let value = if units.role(v.node) == Role::Inline {
            let operands: SmallVec<[Value; 4]> =
                node.operands.iter().map(|&v| self.operand(k, v, known)).collect::<Result<_>>()?;
            (self.new.loc, self.new.scope) = (node.loc, node.scope);
            self.new.push(node.op.clone(), &operands, node.results.clone())[v.result as usize]
        } else {
            let source = steps[k].reads.get(&v);
            let value = source.map_or(self.originals[v.node as usize][v.result as usize], |&s| self.made[s][v.result as usize]);
            let copy = steps[k].time.1 == 0;
            if copy && units.literal(graph, v).is_none() { self.new.add(ops::barrier(), &[value])?[0] } else { value }
        };
        known.insert(v, value);
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decompose::decompose;
    use igneous_ir::autodiff::expand_gradients;
    use igneous_ir::op::Fill;
    use igneous_ir::sample;
    use igneous_ir::verify::verify;

    /// The gradient of a chain of dense layers with tanh.
    fn deep(layers: usize) -> Graph {
        use std::fmt::Write;
        let mut text = String::from("graph deep(%x: f32[64, 32]");
        (0..layers).for_each(|k| write!(text, ", %w{k}: f32[32, 32]").unwrap());
        text.push_str(") -> (");
        (0..layers).for_each(|k| write!(text, "{}f32[32, 32]", if k > 0 { ", " } else { "" }).unwrap());
        text.push_str(") {\n");
        let mut last = String::from("x");
        for k in 0..layers {
            let dot = "dot_general {lhs_batch=[], lhs_contract=[1], rhs_batch=[], rhs_contract=[0]}";
            writeln!(text, "%d{k} = {dot}(%{last}, %w{k}) %h{k} = tanh(%d{k})").unwrap();
            last = format!("h{k}");
        }
        writeln!(text, "%l = reduce {{axes=[0, 1], kind=sum}}(%{last})").unwrap();
        let list = |prefix: &str| (0..layers).map(|k| format!("%{prefix}{k}")).collect::<Vec<_>>().join(", ");
        writeln!(text, "{} = grad {{seeded=false}}(%l, {}) return {} }}", list("g"), list("w"), list("g")).unwrap();
        let graph = Graph::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        decompose(&expand_gradients(&graph).unwrap(), Backend::Cpu).unwrap()
    }

    fn measured(graph: &Graph) -> Result<i64> {
        let lowered =
            crate::lower::lower(graph, &BTreeSet::new(), crate::fuse::Sideways::KeepingNothing, &crate::Options::default())?;
        crate::codegen::arena(lowered, &[], &crate::Options::default())
    }

    #[test]
    fn less_is_kept_and_the_results_are_the_same() {
        let graph = deep(12);
        let whole = measured(&graph).unwrap();
        assert!(whole >= 11 * 64 * 32 * 4, "{whole}");
        for percent in [80, 65] {
            let budget = whole * percent / 100;
            let (new, report) = rematerialise(&graph, budget as usize, whole, &measured).unwrap();
            verify(&new).unwrap_or_else(|e| panic!("{e}\n{new}"));
            assert!(report.after <= budget && report.excess() == 0, "{report}");
            let inputs: Vec<_> =
                (0..13).map(|k| sample::array(graph.ty(graph.inputs()[k].0), Fill::Uniform(-0.5, 0.5), 1, k).unwrap()).collect();
            let (a, b) = (igneous_ir::interp::interpret(&graph, &inputs), igneous_ir::interp::interpret(&new, &inputs));
            assert_eq!(a.unwrap(), b.unwrap());
        }
    }

    /// The plan itself, on the whole way to a program.
    #[test]
    fn programs_fit_into_budgets() {
        let graph = deep(16);
        let arena = |budget: Option<usize>| {
            let options = crate::Options { memory_budget: budget, ..crate::Options::default() };
            let compiled = crate::compile(&graph, &crate::Variables::default(), &options).unwrap();
            (compiled.arena_bytes().as_const().unwrap(), compiled.memory().to_string())
        };
        let (all, _) = arena(None);
        for percent in [75, 60] {
            let budget = all * percent / 100;
            let (bytes, memory) = arena(Some(budget as usize));
            assert!(bytes <= budget, "{percent} %: {bytes} bytes of {all} for a budget of {budget}\n{memory}");
        }
    }

    #[test]
    fn a_budget_that_is_met_changes_nothing_and_one_that_cannot_be_says_so() {
        let graph = deep(3);
        let whole = measured(&graph).unwrap();
        let (new, report) = rematerialise(&graph, 1 << 30, whole, &measured).unwrap();
        assert!(new.same_structure(&graph) && report.again.is_empty());
        let (_, report) = rematerialise(&graph, 0, whole, &measured).unwrap();
        assert!(report.excess() > 0 && report.to_string().contains(&format!("exceeds the budget by {}", report.after)));
    }
}
