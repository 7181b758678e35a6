//! Derivatives of `cond` and `while`. Each branch of a `cond` is split into a forward and a backward part, and the residuals
//! of the two share results of the forward `cond`: of the one that does not run, there are none. A `while` with a bound is
//! differentiated as a `scan`.

use super::block::{Block, Request, Source, or_zeros};
use super::path::Usage;
use super::{Engine, TapeEntry, full};
use crate::emit::Emit;
use crate::error::Result;
use crate::graph::{Graph, Region, Value, Values};
use crate::op::Op;
use crate::ops;
use crate::types::TensorType;
use std::rc::Rc;

/// The two parts of both branches.
pub(super) struct Branches {
    /// The branches, returning residuals after their own results.
    forward: [Region; 2],
    /// From the saved values and the cotangents to the gradients.
    backward: [Region; 2],
    /// Inputs of the branches and results of the forward `cond` that either branch reads.
    saved: Vec<Source>,
    /// The results that have cotangents.
    cotangents: Vec<usize>,
    /// The inputs of the branches that either branch has a gradient of.
    gradients: Vec<usize>,
}

/// What an application of a `cond` leaves for its backward part.
#[derive(Clone)]
pub(super) struct SavedBranches {
    branches: Rc<Branches>,
    values: Vec<Value>,
}

impl Engine {
    /// Applies a `cond` in the form that returns residuals. Gives its own results and what was saved.
    pub(super) fn cond_forward(
        &mut self,
        emit: &mut dyn Emit,
        op: &Op,
        operands: &[Value],
        usage: &Usage,
    ) -> Result<(Values, SavedBranches)> {
        let branches = self.branches(op, usage)?;
        let [then, otherwise] = branches.forward.clone();
        let results = emit.emit(ops::cond(then, otherwise), operands)?;
        let value = |source: &Source| match *source {
            Source::Input(k) => operands[1 + k],
            Source::Output(r) => results[r],
        };
        let values = branches.saved.iter().map(value).collect();
        let own = results.iter().take(usage.present.len()).copied().collect();
        Ok((own, SavedBranches { branches, values }))
    }

    fn branches(&mut self, op: &Op, usage: &Usage) -> Result<Rc<Branches>> {
        let key = (op.clone(), usage.clone());
        if let Some(known) = self.branches.get(&key) {
            return Ok(known.clone());
        }
        let mut block = |branch: &str| {
            self.derive(Request {
                region: op.region(branch).clone(),
                usage: Usage { wanted: usage.wanted[1..].to_vec(), present: usage.present.clone() },
                inputs_kept: vec![true; usage.wanted.len() - 1],
                outputs_kept: vec![true; usage.present.len()],
                invariant: vec![false; usage.wanted.len() - 1],
            })
        };
        let branches = Rc::new(Branches::of([block("then")?, block("otherwise")?], usage.present.len())?);
        self.branches.insert(key, branches.clone());
        Ok(branches)
    }
}

impl Branches {
    /// Joins the parts of two branches with `own` results each.
    fn of(blocks: [Rc<Block>; 2], own: usize) -> Result<Branches> {
        let residuals = Residuals::of(&blocks, own);
        let forward = [0, 1].map(|b| residuals.returned_by(b, blocks[b].forward.graph()));
        let mut saved: Vec<Source> = Vec::new();
        let mut gradients: Vec<usize> = Vec::new();
        for (b, block) in blocks.iter().enumerate() {
            let shared = block.saved.iter().map(|&source| residuals.shared(b, source));
            saved.extend(shared.filter(|s| !saved.contains(s)).collect::<Vec<_>>());
            gradients.extend(block.gradients.iter().filter(|k| !gradients.contains(k)).collect::<Vec<_>>());
        }
        gradients.sort_unstable();
        let cotangents = blocks[0].cotangents.clone();
        let [then, otherwise] = forward;
        let mut branches = Branches {
            forward: [then?, otherwise?],
            backward: blocks.each_ref().map(|b| b.backward.clone()),
            saved,
            cotangents,
            gradients,
        };
        branches.backward = [branches.backward_of(&blocks, &residuals, 0)?, branches.backward_of(&blocks, &residuals, 1)?];
        Ok(branches)
    }

    /// The backward part of branch `b` as a function of everything that is saved, with all gradients.
    fn backward_of(&self, blocks: &[Rc<Block>; 2], residuals: &Residuals, b: usize) -> Result<Region> {
        let (block, branch) = (&blocks[b], self.forward[b].graph());
        let mut graph = Graph::new(block.backward.graph().name.clone());
        let mut given: Vec<Value> = Vec::new();
        for (i, source) in self.saved.iter().enumerate() {
            let (v, name) = match *source {
                Source::Input(k) => &branch.inputs()[k],
                Source::Output(r) => &branch.outputs()[r],
            };
            let is_residual = matches!(source, Source::Output(r) if *r >= residuals.own);
            let name = if is_residual { format!("residual{i}") } else { name.clone() };
            given.push(graph.input(name, branch.ty(*v).clone()));
        }
        let place = |source| self.saved.iter().position(|s| *s == source).expect("everything that is saved was collected");
        let mut operands: Vec<Value> = block.saved.iter().map(|&s| given[place(residuals.shared(b, s))]).collect();
        for &r in &self.cotangents {
            let (v, name) = &branch.outputs()[r];
            operands.push(graph.input(format!("d_{name}"), branch.ty(*v).clone()));
        }
        let found = graph.inline(block.backward.graph(), &operands)?;
        for &k in &self.gradients {
            let (v, name) = &branch.inputs()[k];
            let gradient = match block.gradients.iter().position(|&g| g == k) {
                Some(i) => found[i],
                None => full(&mut graph, branch.ty(*v), 0.0)?,
            };
            graph.output(format!("d_{name}"), gradient);
        }
        Ok(Region::new(graph))
    }
}

/// Which results of the joint `cond` hold the residuals of either branch: those of one type are shared.
struct Residuals {
    /// How many results the branches themselves have.
    own: usize,
    /// The types of the results behind those.
    types: Vec<TensorType>,
    /// For each branch and residual, its place among these types.
    places: [Vec<usize>; 2],
}

impl Residuals {
    fn of(blocks: &[Rc<Block>; 2], own: usize) -> Residuals {
        let mut types: Vec<TensorType> = Vec::new();
        let places = [0, 1].map(|b| {
            let branch = blocks[b].forward.graph();
            let mut places: Vec<usize> = Vec::new();
            for (v, _) in &branch.outputs()[own..] {
                let ty = branch.ty(*v);
                let free = (0..types.len()).find(|k| types[*k] == *ty && !places.contains(k));
                places.push(free.unwrap_or_else(|| {
                    types.push(ty.clone());
                    types.len() - 1
                }));
            }
            places
        });
        Residuals { own, types, places }
    }

    /// A source of one branch as one of the joint `cond`.
    fn shared(&self, branch: usize, source: Source) -> Source {
        match source {
            Source::Output(r) if r >= self.own => Source::Output(self.own + self.places[branch][r - self.own]),
            source => source,
        }
    }

    /// The forward part of a branch, which returns all residuals: zeros for those that only the other one has.
    fn returned_by(&self, branch: usize, forward: &Graph) -> Result<Region> {
        let mut graph = Graph::new(forward.name.clone());
        let inputs: Vec<Value> =
            forward.inputs().iter().map(|(v, name)| graph.input(name.clone(), forward.ty(*v).clone())).collect();
        let results = graph.inline(forward, &inputs)?;
        for (&v, (_, name)) in results.iter().zip(&forward.outputs()[..self.own]) {
            graph.output(name.clone(), v);
        }
        for (k, ty) in self.types.iter().enumerate() {
            let value = match self.places[branch].iter().position(|&place| place == k) {
                Some(i) => results[self.own + i],
                None => full(&mut graph, ty, 0.0)?,
            };
            graph.output(format!("residual{k}"), value);
        }
        Ok(Region::new(graph))
    }
}

/// The cotangents of the operands of a `cond`.
pub(super) fn cond_backward(
    emit: &mut dyn Emit,
    entry: &TapeEntry,
    saved: &SavedBranches,
    cotangents: &[Option<Value>],
) -> Result<Vec<Option<Value>>> {
    let SavedBranches { branches, values } = saved;
    let mut gradients = vec![None; entry.operands.len()];
    if branches.gradients.is_empty() {
        return Ok(gradients);
    }
    let mut operands = vec![entry.operands[0]];
    operands.extend(values);
    for &r in &branches.cotangents {
        operands.push(or_zeros(emit, cotangents[r], entry.results[r])?);
    }
    let [then, otherwise] = branches.backward.clone();
    let results = emit.emit(ops::cond(then, otherwise), &operands)?;
    branches.gradients.iter().zip(results).for_each(|(&k, v)| gradients[1 + k] = Some(v));
    Ok(gradients)
}

/// The `scan` over its most steps that a `while` with a bound is: each step goes on as long as the condition holds, and
/// returns the carries as they are from then on.
pub(super) fn as_scan(op: &Op) -> Result<Op> {
    let Some(steps) = ops::control::bound(op) else {
        let error = crate::Error::new(
            "a while loop without a bound has no derivative in reverse mode: how much it would have to remember is not known",
        );
        return Err(error.note("remedy", "give the loop a bound (while_loop_bounded), or use scan or fori_loop over numbers"));
    };
    let [condition, body] = ["condition", "body"].map(|region| op.region(region).graph());
    let constants = op.int("constants") as usize;
    let (mut step, mut stop) = (Graph::new(body.name.clone()), Graph::new(format!("{}_stop", body.name)));
    let inputs_of = |graph: &mut Graph| -> Vec<Value> {
        body.inputs().iter().map(|(v, name)| graph.input(name.clone(), body.ty(*v).clone())).collect()
    };
    let (inputs, kept) = (inputs_of(&mut step), inputs_of(&mut stop));
    let goes_on = step.inline(condition, &inputs)?[0];
    for (&v, (_, name)) in kept[constants..].iter().zip(body.outputs()) {
        stop.output(name.clone(), v);
    }
    let operands: Vec<Value> = std::iter::once(goes_on).chain(inputs).collect();
    let next = step.emit(ops::cond(op.region("body").clone(), Region::new(stop)), &operands)?;
    for (v, (_, name)) in next.into_iter().zip(body.outputs()) {
        step.output(name.clone(), v);
    }
    Ok(ops::scan(Region::new(step), constants, body.outputs().len(), false, steps as usize))
}
