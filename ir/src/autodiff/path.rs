//! Which operators lie on a differentiable path from some values to others.

use super::block::is_block;
use super::{Engine, Entry, TapeEntry};
use crate::graph::{Graph, Value};
use crate::op::{Op, Vjp};
use crate::types::DType;
use std::collections::HashSet;
use std::rc::Rc;

/// For each operand, which results depend on it.
pub(super) type Dependence = Vec<Vec<bool>>;

/// What of an operator lies on a path.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Usage {
    /// The operands whose cotangents are wanted.
    pub wanted: Vec<bool>,
    /// The results that may get a cotangent.
    pub present: Vec<bool>,
}

impl Usage {
    /// Adds what `other` needs.
    pub fn merge(&mut self, other: &Usage) {
        let or = |a: &mut [bool], b: &[bool]| a.iter_mut().zip(b).for_each(|(a, b)| *a |= b);
        or(&mut self.wanted, &other.wanted);
        or(&mut self.present, &other.present);
    }
}

impl Engine {
    /// For each entry on a path from `wrt` to `roots`, what of it is used.
    pub fn paths(
        &mut self,
        dtype: &dyn Fn(Value) -> DType,
        tape: &[TapeEntry],
        roots: &[Value],
        wrt: &[Value],
    ) -> Vec<Option<Usage>> {
        let active = self.reached(dtype, tape, wrt);
        let mut needed: HashSet<Value> = roots.iter().copied().filter(|v| active.contains(v)).collect();
        let mut usages: Vec<Option<Usage>> = vec![None; tape.len()];
        for (entry, usage) in tape.iter().zip(&mut usages).rev() {
            if !differentiable(entry.op) || !entry.results.iter().any(|v| needed.contains(v)) {
                continue;
            }
            let dependence = self.dependence(entry.op);
            let depends = |k: usize, r: usize| dependence.as_ref().is_none_or(|d| d[k][r]);
            let is_active = |k: usize| active.contains(&entry.operands[k]);
            let is_needed = |r: usize| needed.contains(&entry.results[r]);
            let (operands, results) = (0..entry.operands.len(), 0..entry.results.len());
            let wanted: Vec<bool> =
                operands.clone().map(|k| is_active(k) && results.clone().any(|r| is_needed(r) && depends(k, r))).collect();
            let present: Vec<bool> =
                results.clone().map(|r| is_needed(r) && operands.clone().any(|k| is_active(k) && depends(k, r))).collect();
            if wanted.contains(&true) {
                needed.extend(entry.operands.iter().zip(&wanted).filter(|(_, w)| **w).map(|(v, _)| *v));
                *usage = Some(Usage { wanted, present });
            }
        }
        usages
    }

    /// The values that depend differentiably on `from`, these included.
    fn reached(&mut self, dtype: &dyn Fn(Value) -> DType, tape: &[TapeEntry], from: &[Value]) -> HashSet<Value> {
        let mut active: HashSet<Value> = from.iter().copied().collect();
        for entry in tape {
            if !differentiable(entry.op) || !entry.operands.iter().any(|v| active.contains(v)) {
                continue;
            }
            let dependence = self.dependence(entry.op);
            for (r, &result) in entry.results.iter().enumerate() {
                let depends = |k: usize| dependence.as_ref().is_none_or(|d| d[k][r]);
                let reached = (0..entry.operands.len()).any(|k| active.contains(&entry.operands[k]) && depends(k));
                if reached && dtype(result).is_float() {
                    active.insert(result);
                }
            }
        }
        active
    }

    /// Which results of an operator with regions depend on which operands; for other operators nothing is known.
    fn dependence(&mut self, op: &Op) -> Option<Rc<Dependence>> {
        if !is_block(op) {
            return None;
        }
        if let Some(known) = self.dependence.get(op) {
            return Some(known.clone());
        }
        let dependence = Rc::new(match op.name() {
            "cond" => self.dependence_of_branches(op),
            "call" => self.body_dependence(op.region("body").graph()),
            _ => Loop::of(op).dependence(&self.body_dependence(op.region("body").graph())),
        });
        self.dependence.insert(op.clone(), dependence.clone());
        Some(dependence)
    }

    /// What depends on an operand in either branch. Nothing depends differentiably on the predicate.
    fn dependence_of_branches(&mut self, op: &Op) -> Dependence {
        let [then, otherwise] = ["then", "otherwise"].map(|branch| self.body_dependence(op.region(branch).graph()));
        let either = |(a, b): (Vec<bool>, Vec<bool>)| a.into_iter().zip(b).map(|(a, b)| a || b).collect();
        let predicate = vec![false; op.region("then").graph().outputs().len()];
        std::iter::once(predicate).chain(then.into_iter().zip(otherwise).map(either)).collect()
    }

    /// Which outputs of a body depend on which inputs.
    pub fn body_dependence(&mut self, body: &Graph) -> Dependence {
        let entries = entries(body);
        let tape: Vec<TapeEntry> = entries.iter().map(Entry::borrow).collect();
        let dtype = |v: Value| body.ty(v).dtype;
        let outputs = body.outputs();
        let row = |engine: &mut Engine, input: Value| {
            if !dtype(input).is_float() {
                return vec![false; outputs.len()];
            }
            let reached = engine.reached(&dtype, &tape, &[input]);
            outputs.iter().map(|(v, _)| reached.contains(v)).collect()
        };
        body.inputs().iter().map(|(v, _)| row(self, *v)).collect()
    }
}

/// The nodes of a graph as a tape.
pub(super) fn entries(graph: &Graph) -> Vec<Entry> {
    graph.nodes().map(|(i, n)| Entry { op: n.op.clone(), operands: n.operands.clone(), results: graph.results(i) }).collect()
}

fn differentiable(op: &Op) -> bool {
    !matches!(op.record().vjp, Vjp::Zero)
}

/// How the body of a `scan` or a `while` is wired.
pub(super) struct Loop {
    /// The number of constants.
    pub constants: usize,
    /// The number of carries.
    pub carries: usize,
    /// Whether the body may not run at all.
    may_be_empty: bool,
}

impl Loop {
    /// The loop of a `scan` or a `while`.
    pub fn of(op: &Op) -> Loop {
        if op.name() == "while" {
            let carries = op.region("body").graph().outputs().len();
            return Loop { constants: op.int("constants") as usize, carries, may_be_empty: true };
        }
        let may_be_empty = op.dim("length").at_least(1) != Some(true);
        Loop { constants: op.int("constants") as usize, carries: op.int("carries") as usize, may_be_empty }
    }

    /// The dependence of the loop from that of its body.
    fn dependence(&self, body: &Dependence) -> Dependence {
        let row = |k: usize| {
            let from: Vec<bool> = (0..body.len()).map(|j| j == k).collect();
            let active = self.active_inputs(body, &from);
            let mut row = outputs_of(body, &active);
            if self.may_be_empty && (self.constants..self.constants + self.carries).contains(&k) {
                row[k - self.constants] = true;
            }
            row
        };
        (0..body.len()).map(row).collect()
    }

    /// The body's inputs that depend on those of `from` in some iteration.
    pub fn active_inputs(&self, body: &Dependence, from: &[bool]) -> Vec<bool> {
        let mut active = from.to_vec();
        loop {
            let reached = outputs_of(body, &active);
            let before = active.clone();
            (0..self.carries).for_each(|i| active[self.constants + i] |= reached[i]);
            if active == before {
                return active;
            }
        }
    }

    /// The body's outputs that those of `to` depend on in some iteration.
    pub fn needed_outputs(&self, body: &Dependence, to: &[bool]) -> Vec<bool> {
        let mut needed = to.to_vec();
        loop {
            let before = needed.clone();
            for i in 0..self.carries {
                needed[i] |= body[self.constants + i].iter().zip(&before).any(|(d, n)| *d && *n);
            }
            if needed == before {
                return needed;
            }
        }
    }
}

fn outputs_of(body: &Dependence, inputs: &[bool]) -> Vec<bool> {
    let outputs = body.first().map_or(0, Vec::len);
    (0..outputs).map(|r| body.iter().zip(inputs).any(|(row, active)| *active && row[r])).collect()
}
