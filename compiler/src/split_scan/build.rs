//! The parts of a split loop as graphs, and how they are put together.

use super::plan::{Class, Plan};
use igneous_ir::batch::batch;
use igneous_ir::error::Result;
use igneous_ir::graph::{Graph, Region, Value, Values};
use igneous_ir::ops;
use igneous_ir::ops::structural::INPUT;
use std::collections::{BTreeMap, BTreeSet};

/// Nodes of a body as a graph, with the values of the body that its inputs and outputs are.
struct Part {
    graph: Graph,
    inputs: Vec<Value>,
    outputs: Vec<Value>,
}

/// The parts of a split loop.
pub(super) struct Parts {
    /// From the constants, to what is computed once.
    once: Part,
    /// From constants and sequences, over all steps.
    before: Part,
    /// None if every step is done elsewhere.
    inside: Option<Inside>,
    /// From constants and stacked values, over all steps.
    behind: Part,
}

/// What is left of the loop.
struct Inside {
    body: Region,
    constants: Vec<Value>,
    /// By their number in the whole loop.
    carries: Vec<usize>,
    sequences: Vec<Value>,
    stacked: Vec<Value>,
}

/// Values of the body in the graph around the loop.
struct Outer {
    constants: BTreeMap<Value, Value>,
    stacks: BTreeMap<Value, Value>,
}

impl Plan<'_> {
    /// The parts as graphs.
    ///
    /// # Errors
    /// If something that leaves the loop has no batch rule.
    pub fn parts(&self) -> Result<Parts> {
        let body = self.body;
        let own = |v: &Value| body.node(v.node).op.is(&INPUT);
        let mut once = self.hoisted.clone();
        self.sums.values().for_each(|sum| sum.constants(&mut once));
        once.retain(|v| !own(v));
        let once = self.part("once", once, &|_| false);

        let mut before = self.before.clone();
        let mut behind: BTreeSet<Value> = self.results_behind().collect();
        self.sums.values().for_each(|sum| sum.stacks(&mut behind));
        behind.retain(|v| self.is_moved(*v));
        before.extend(self.needed_behind().into_iter().filter(|v| self.class(*v) == Class::Sequence && !own(v)));
        let given = |v: &Value| own(v) && self.class(*v) == Class::Sequence;
        let results = body.outputs()[self.carries..].iter().map(|(v, _)| *v);
        before.extend(results.filter(|v| self.class(*v) < Class::Varying && !given(v)));
        let before = self.over_steps(self.part("before", before, &|_| false))?;
        let border = |v: Value| !self.is_moved(v) && self.class(v) >= Class::Sequence;
        let behind = self.over_steps(self.part("behind", behind, &border))?;
        Ok(Parts { once, before, inside: self.inside(), behind })
    }

    /// The nodes that `outputs` need, back to inputs and values that `stop` names.
    fn part(&self, name: &str, outputs: BTreeSet<Value>, stop: &dyn Fn(Value) -> bool) -> Part {
        let (nodes, inputs) = self.needed(outputs.iter().copied(), stop);
        let mut graph = Graph::new(format!("{}_{name}", self.body.name));
        let inputs: Vec<Value> = inputs.into_iter().collect();
        let mut map = BTreeMap::new();
        for &v in &inputs {
            map.insert(v, graph.input(self.name_of(v), self.body.ty(v).clone()));
        }
        self.copy(&mut graph, &nodes, &mut map);
        for &v in &outputs {
            graph.output(self.name_of(v), map[&v]);
        }
        Part { graph, inputs, outputs: outputs.into_iter().collect() }
    }

    /// The nodes that values need, and the inputs or stops they start from.
    fn needed(&self, values: impl Iterator<Item = Value>, stop: &dyn Fn(Value) -> bool) -> (BTreeSet<u32>, BTreeSet<Value>) {
        let (mut nodes, mut inputs) = (BTreeSet::new(), BTreeSet::new());
        let mut pending: Vec<Value> = values.collect();
        while let Some(v) = pending.pop() {
            let node = self.body.node(v.node);
            if stop(v) || node.op.is(&INPUT) {
                inputs.insert(v);
            } else if nodes.insert(v.node) {
                pending.extend(node.operands.iter().copied());
            }
        }
        (nodes, inputs)
    }

    fn copy(&self, graph: &mut Graph, nodes: &BTreeSet<u32>, map: &mut BTreeMap<Value, Value>) {
        graph.set_scopes(self.body.scopes().to_vec());
        for &n in nodes {
            let node = self.body.node(n);
            (graph.loc, graph.scope) = (node.loc, node.scope);
            let operands: Vec<Value> = node.operands.iter().map(|v| map[v]).collect();
            let results = graph.push(node.op.clone(), &operands, node.results.clone());
            for (old, new) in self.body.results(n).into_iter().zip(results) {
                map.entry(old).or_insert(new);
            }
        }
        (graph.loc, graph.scope) = (None, 0);
    }

    fn name_of(&self, v: Value) -> String {
        let named = self.body.inputs().iter().chain(self.body.outputs()).find(|(own, _)| *own == v);
        named.map_or_else(|| format!("{}{}", self.body.node(v.node).op.name(), v.node), |(_, name)| name.clone())
    }

    /// A part for all steps at once.
    fn over_steps(&self, part: Part) -> Result<Part> {
        let batched: Vec<bool> = part.inputs.iter().map(|v| self.class(*v) >= Class::Sequence).collect();
        Ok(Part { graph: batch(&part.graph, &batched, self.length)?, ..part })
    }

    /// What stays in the loop.
    fn inside(&self) -> Option<Inside> {
        let carries: Vec<usize> = (0..self.carries).filter(|&c| self.is_carried(c)).collect();
        let mut stacked: Vec<Value> = Vec::new();
        for v in self.results_inside().chain(self.stacked.iter().copied()) {
            if !stacked.contains(&v) {
                stacked.push(v);
            }
        }
        let checks: Vec<u32> = self.checks().collect();
        if carries.is_empty() && stacked.is_empty() && checks.is_empty() {
            return None;
        }
        let next: Vec<Value> = carries.iter().map(|&c| self.body.outputs()[c].0).collect();
        let stop = |v: Value| self.hoisted.contains(&v) || self.before.contains(&v);
        let of_checks = checks.iter().flat_map(|&n| self.body.node(n).operands.iter().copied());
        let (mut nodes, inputs) = self.needed(next.iter().chain(&stacked).copied().chain(of_checks), &stop);
        nodes.extend(&checks);
        let of = |class: Class| inputs.iter().copied().filter(move |v| self.class(*v) == class).collect::<Vec<_>>();
        let (constants, sequences) = (of(Class::Constant), of(Class::Sequence));
        let carried = carries.iter().map(|&c| self.body.inputs()[self.constants + c].0);
        let mut graph = Graph::new(self.body.name.clone());
        let mut map = BTreeMap::new();
        for v in constants.iter().copied().chain(carried).chain(sequences.iter().copied()) {
            map.insert(v, graph.input(self.name_of(v), self.body.ty(v).clone()));
        }
        self.copy(&mut graph, &nodes, &mut map);
        for (&c, v) in carries.iter().zip(&next) {
            graph.output(self.body.outputs()[c].1.clone(), map[v]);
        }
        for v in &stacked {
            graph.output(self.name_of(*v), map[v]);
        }
        Some(Inside { body: Region::new(graph), constants, carries, sequences, stacked })
    }
}

impl Parts {
    /// Puts the parts in place of the loop with these operands.
    pub fn emit(&self, plan: &Plan<'_>, graph: &mut Graph, operands: &[Value]) -> Result<Values> {
        let mut outer = Outer { constants: BTreeMap::new(), stacks: BTreeMap::new() };
        let initial = |c: usize| operands[plan.constants + c];
        for (k, (v, _)) in plan.body.inputs().iter().enumerate() {
            match plan.class(*v) {
                Class::Varying => {}
                Class::Sequence => _ = outer.stacks.insert(*v, operands[k]),
                _ => _ = outer.constants.insert(*v, operands[k]),
            }
        }
        let once = outer.inline(plan, graph, &self.once)?;
        outer.constants.extend(once);
        let before = outer.inline(plan, graph, &self.before)?;
        outer.stacks.extend(before);
        let mut last: BTreeMap<usize, Value> = BTreeMap::new();
        if let Some(inside) = &self.inside {
            let mut given: Vec<Value> = inside.constants.iter().map(|v| outer.constants[v]).collect();
            given.extend(inside.carries.iter().map(|&c| initial(c)));
            given.extend(inside.sequences.iter().map(|v| outer.stacks[v]));
            let (constants, carries) = (inside.constants.len(), inside.carries.len());
            let scan = ops::scan(inside.body.clone(), constants, carries, plan.reverse, plan.length);
            let mut results = graph.add(scan, &given)?.into_iter();
            last.extend(inside.carries.iter().copied().zip(results.by_ref()));
            outer.stacks.extend(inside.stacked.iter().copied().zip(results));
        }
        let behind = outer.inline(plan, graph, &self.behind)?;
        outer.stacks.extend(behind);
        let known: BTreeMap<Value, Value> = {
            let stacks = outer.stacks.iter().filter(|(v, _)| plan.class(**v) >= Class::Sequence);
            stacks.chain(&outer.constants).map(|(&v, &o)| (v, o)).collect()
        };
        for (&c, sum) in &plan.sums {
            let sum = sum.emit(graph, &known)?;
            last.insert(c, graph.add(ops::pointwise("add"), &[initial(c), sum])?[0]);
        }
        let carries = (0..plan.carries).map(|c| last.get(&c).copied().unwrap_or(initial(c)));
        let results = plan.body.outputs()[plan.carries..].iter().map(|(v, _)| outer.stacks[v]);
        Ok(carries.chain(results).collect())
    }
}

impl Outer {
    /// Appends a part; the values of the body that it computes.
    fn inline(&self, plan: &Plan<'_>, graph: &mut Graph, part: &Part) -> Result<Vec<(Value, Value)>> {
        let given = |v: &Value| if plan.class(*v) >= Class::Sequence { self.stacks[v] } else { self.constants[v] };
        let inputs: Vec<Value> = part.inputs.iter().map(given).collect();
        let outputs = graph.inline(&part.graph, &inputs)?;
        Ok(part.outputs.iter().copied().zip(outputs).collect())
    }
}
