//! Derivatives of operators with regions: a body is split into a forward part that also returns what the backward part
//! reads, and the backward part. Equal bodies share both.

use super::control::{SavedBranches, as_scan, cond_backward};
use super::path::{Usage, entries};
use super::reverse::SavedAt;
use super::scan::scan_backward;
use super::{Engine, Entry, TapeEntry, full};
use crate::emit::Emit;
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, Region, Value, Values};
use crate::op::Op;
use crate::ops;
use crate::ops::structural::INPUT;
use smallvec::SmallVec;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

/// What is to be derived from a body.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Request {
    pub region: Region,
    /// Of the body: inputs whose gradients are wanted, outputs that get cotangents.
    pub usage: Usage,
    /// The inputs that the backward part can be given again for nothing.
    pub inputs_kept: Vec<bool>,
    /// The outputs that it can be given for nothing.
    pub outputs_kept: Vec<bool>,
    /// The inputs that are the same in every iteration: what depends on them alone is computed again, not saved.
    pub invariant: Vec<bool>,
}

/// Where the backward part gets a saved value from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Source {
    /// An input of the body.
    Input(usize),
    /// An output of the forward part.
    Output(usize),
}

/// The two parts of a body.
pub(super) struct Block {
    /// The body, returning residuals after its own outputs.
    pub forward: Region,
    /// From the saved values and the cotangents of `cotangents` to the gradients of `gradients`.
    pub backward: Region,
    pub saved: Vec<Source>,
    pub cotangents: Vec<usize>,
    pub gradients: Vec<usize>,
}

/// A body and its backward in one graph.
struct Joint {
    /// The body's nodes, then inputs for the cotangents, then the backward nodes. Its outputs are the body's own.
    graph: Graph,
    forward_nodes: u32,
    /// The gradients and the inputs they belong to.
    gradients: Vec<(usize, Value)>,
}

/// What an application of a forward part leaves for its backward part.
#[derive(Clone)]
pub(super) struct Saved {
    pub block: Rc<Block>,
    pub usage: Usage,
    pub values: Vec<Value>,
}

/// What is kept of an operator with regions until its cotangents are known.
#[derive(Clone)]
pub(super) enum Kept {
    /// Of `call` and `scan`, and of the scan that a `while` is: the operator, and what was saved.
    Body(Op, Saved),
    /// Of `cond`.
    Branches(SavedBranches),
}

impl Engine {
    /// Applies an operator with regions in the form that returns residuals. Gives the results of the operator itself and
    /// what was kept.
    pub fn block_forward(&mut self, emit: &mut dyn Emit, op: &Op, operands: &[Value], usage: &Usage) -> Result<(Values, Kept)> {
        let request = match op.name() {
            "cond" => {
                let (results, saved) = self.cond_forward(emit, op, operands, usage)?;
                return Ok((results, Kept::Branches(saved)));
            }
            "while" => return self.block_forward(emit, &as_scan(op)?, operands, usage),
            "call" => Request {
                region: op.region("body").clone(),
                usage: usage.clone(),
                inputs_kept: vec![true; operands.len()],
                outputs_kept: vec![true; usage.present.len()],
                invariant: vec![false; operands.len()],
            },
            "scan" => self.scan_request(op, usage),
            other => return Err(Error::new(format!("`{other}` nodes are expanded before they are differentiated"))),
        };
        let block = self.derive(request)?;
        let results = emit.emit(op.with_attr("body", crate::op::Attr::Region(block.forward.clone())), operands)?;
        let value = |source: &Source| match *source {
            Source::Input(k) => operands[k],
            Source::Output(k) => results[k],
        };
        let values = block.saved.iter().map(value).collect();
        let own = results.iter().take(usage.present.len()).copied().collect();
        Ok((own, Kept::Body(op.clone(), Saved { block, usage: usage.clone(), values })))
    }

    /// The cotangents of the operands of an operator with regions.
    pub fn block_backward(
        &mut self,
        emit: &mut dyn Emit,
        entry: &TapeEntry,
        kept: &Kept,
        cotangents: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        let (op, saved) = match kept {
            Kept::Branches(saved) => return cond_backward(emit, entry, saved, cotangents),
            Kept::Body(op, saved) => (op, saved),
        };
        if op.name() == "scan" {
            return scan_backward(emit, &TapeEntry { op, ..*entry }, saved, cotangents);
        }
        let mut operands = saved.values.clone();
        for &r in &saved.block.cotangents {
            operands.push(or_zeros(emit, cotangents[r], entry.results[r])?);
        }
        let mut gradients = vec![None; entry.operands.len()];
        if !saved.block.gradients.is_empty() {
            let results = emit.emit(ops::call(saved.block.backward.clone()), &operands)?;
            saved.block.gradients.iter().zip(results).for_each(|(&k, v)| gradients[k] = Some(v));
        }
        Ok(gradients)
    }

    /// The two parts of a body.
    pub fn derive(&mut self, request: Request) -> Result<Rc<Block>> {
        if let Some(known) = self.blocks.get(&request) {
            return Ok(known.clone());
        }
        let block = Rc::new(self.split(&request)?);
        self.blocks.insert(request, block.clone());
        Ok(block)
    }

    /// Builds forward and backward in one graph and cuts it where the backward begins.
    fn split(&mut self, request: &Request) -> Result<Block> {
        let expanded = self.expand_region(&request.region)?;
        let body = expanded.graph();
        let Joint { graph: joint, forward_nodes, gradients } = self.joint(body, &request.usage)?;
        let input_of = |k: usize| joint.inputs()[k].0;
        let own_inputs = &joint.inputs()[..body.inputs().len()];
        let cotangents: Vec<usize> = (0..body.outputs().len()).filter(|&r| request.usage.present[r]).collect();

        let cut = Cut::new(&joint, forward_nodes, request, joint.outputs());
        let (saved, in_backward) = cut.saved(gradients.iter().map(|(_, v)| *v));

        let mut outputs: Vec<(Value, String)> = joint.outputs().to_vec();
        let mut sources = Vec::new();
        for (i, &value) in saved.iter().enumerate() {
            let source = (0..own_inputs.len()).find(|&k| request.inputs_kept[k] && input_of(k) == value).map(Source::Input);
            let output = (0..body.outputs().len()).find(|&r| request.outputs_kept[r] && joint.outputs()[r].0 == value);
            sources.push(source.or(output.map(Source::Output)).unwrap_or_else(|| {
                outputs.push((value, format!("residual{i}")));
                Source::Output(outputs.len() - 1)
            }));
        }
        let forward = if outputs.len() == body.outputs().len() {
            expanded.clone()
        } else {
            let live = live_before(&joint, forward_nodes, &outputs);
            Region::new(part(&joint, format!("{}_forward", body.name), own_inputs, &outputs, &live))
        };

        let mut inputs: Vec<(Value, String)> = Vec::new();
        for (i, &v) in saved.iter().enumerate() {
            let named = joint.inputs().iter().chain(joint.outputs()).find(|(u, _)| *u == v);
            inputs.push((v, named.map_or_else(|| format!("residual{i}"), |(_, name)| name.clone())));
        }
        inputs.extend(joint.inputs()[own_inputs.len()..].iter().cloned());
        let gradient_name = |k: usize| format!("d_{}", body.inputs()[k].1);
        let outputs: Vec<(Value, String)> = gradients.iter().map(|&(k, v)| (v, gradient_name(k))).collect();
        let backward = Region::new(part(&joint, format!("{}_backward", body.name), &inputs, &outputs, &in_backward));
        let gradients = gradients.into_iter().map(|(k, _)| k).collect();
        Ok(Block { forward, backward, saved: sources, cotangents, gradients })
    }

    fn joint(&mut self, body: &Graph, usage: &Usage) -> Result<Joint> {
        let wrt: Vec<usize> = (0..body.inputs().len()).filter(|&k| usage.wanted[k]).collect();
        let roots: Vec<usize> = (0..body.outputs().len()).filter(|&r| usage.present[r]).collect();
        let tape = entries(body);
        let usages = self.paths(
            &|v| body.ty(v).dtype,
            &tape.iter().map(Entry::borrow).collect::<Vec<_>>(),
            &roots.iter().map(|&r| body.outputs()[r].0).collect::<Vec<_>>(),
            &wrt.iter().map(|&k| body.inputs()[k].0).collect::<Vec<_>>(),
        );
        let mut path = Vec::new();
        let mut saved = SavedAt::new();
        let mut joint = body.rewrite(|new, i, node, operands| {
            let usage = usages[i as usize].as_ref();
            let results = match usage.filter(|_| is_block(&node.op)) {
                Some(usage) => {
                    let (results, kept) = self.block_forward(new, &node.op, operands, usage)?;
                    saved.insert(results[0], kept);
                    results
                }
                None => new.push(node.op.clone(), operands, node.results.clone()),
            };
            if usage.is_some() {
                path.push(Entry { op: node.op.clone(), operands: operands.into(), results: results.clone() });
            }
            Ok(results)
        })?;
        let forward_nodes = joint.len() as u32;
        let mut seeds = Vec::new();
        for r in roots {
            let (value, name) = joint.outputs()[r].clone();
            let ty = joint.ty(value).clone();
            seeds.push((value, joint.input(format!("d_{name}"), ty)));
        }
        let inputs: Vec<Value> = wrt.iter().map(|&k| joint.inputs()[k].0).collect();
        let tape: Vec<TapeEntry> = path.iter().map(Entry::borrow).collect();
        let gradients = self.pull_back(&mut joint, &tape, &saved, &seeds, &inputs)?;
        let gradients = wrt.into_iter().zip(gradients).filter_map(|(k, g)| Some((k, g?))).collect();
        Ok(Joint { graph: joint, forward_nodes, gradients })
    }
}

/// Whether an operator's derivative is made of its body's.
pub(super) fn is_block(op: &Op) -> bool {
    matches!(op.name(), "call" | "cond" | "scan" | "while")
}

/// The value, or zeros like another.
pub(super) fn or_zeros(emit: &mut dyn Emit, value: Option<Value>, like: Value) -> Result<Value> {
    match value {
        Some(value) => Ok(value),
        None => {
            let ty = emit.type_of(like);
            full(emit, &ty, 0.0)
        }
    }
}

/// Decides what crosses from the forward to the backward part of a joint graph.
struct Cut<'a> {
    joint: &'a Graph,
    forward_nodes: u32,
    /// Values that the backward part is given for nothing.
    kept: BTreeSet<Value>,
    /// Nodes that depend on loop-invariant inputs alone.
    invariant: Vec<bool>,
}

impl<'a> Cut<'a> {
    fn new(joint: &'a Graph, forward_nodes: u32, request: &Request, outputs: &[(Value, String)]) -> Cut<'a> {
        let inputs = joint.inputs().iter().zip(&request.inputs_kept);
        let outputs = outputs.iter().zip(&request.outputs_kept);
        let kept = inputs.chain(outputs).filter(|(_, kept)| **kept).map(|((v, _), _)| *v).collect();
        let mut invariant = vec![false; joint.len()];
        for ((v, _), constant) in joint.inputs().iter().zip(&request.invariant) {
            invariant[v.node as usize] = *constant;
        }
        for (i, node) in joint.nodes().take(forward_nodes as usize) {
            if !node.op.is(&INPUT) {
                invariant[i as usize] = node.operands.iter().all(|v| invariant[v.node as usize]);
            }
        }
        Cut { joint, forward_nodes, kept, invariant }
    }

    /// The forward values that the backward part reads, in order, and which nodes are in the backward part: those
    /// after the cut and those before it that are cheaper to compute again than to keep.
    fn saved(&self, roots: impl Iterator<Item = Value>) -> (BTreeSet<Value>, Vec<bool>) {
        let mut saved = BTreeSet::new();
        let mut inside = vec![false; self.joint.len()];
        let mut pending: Vec<Value> = roots.collect();
        while let Some(value) = pending.pop() {
            let node = self.joint.node(value.node);
            if value.node < self.forward_nodes && (self.kept.contains(&value) || !self.computed_again(value.node, node)) {
                saved.insert(value);
            } else if !std::mem::replace(&mut inside[value.node as usize], true) {
                pending.extend(node.operands.iter().copied());
            }
        }
        (saved, inside)
    }

    fn computed_again(&self, i: u32, node: &Node) -> bool {
        let widens = || self.joint.ty(node.operands[0]).dtype.size() <= node.results[0].dtype.size();
        match node.op.name() {
            "input" => false,
            "broadcast" | "reshape" | "transpose" => true,
            "cast" => widens(),
            _ => node.operands.is_empty() || self.invariant[i as usize],
        }
    }
}

/// The nodes before the cut that the outputs or a check depend on.
fn live_before(joint: &Graph, forward_nodes: u32, outputs: &[(Value, String)]) -> Vec<bool> {
    let mut live = vec![false; joint.len()];
    outputs.iter().for_each(|(v, _)| live[v.node as usize] = true);
    for i in (0..forward_nodes).rev() {
        let node = joint.node(i);
        if live[i as usize] || !node.op.removable() {
            live[i as usize] = true;
            node.operands.iter().for_each(|v| live[v.node as usize] = true);
        }
    }
    live
}

/// The graph of the nodes `keep`, in which `inputs` are inputs.
fn part(joint: &Graph, name: String, inputs: &[(Value, String)], outputs: &[(Value, String)], keep: &[bool]) -> Graph {
    let mut new = Graph::new(name);
    new.set_scopes(joint.scopes().to_vec());
    let mut map: HashMap<Value, Value> = HashMap::new();
    for (v, name) in inputs {
        map.insert(*v, new.input(name.clone(), joint.ty(*v).clone()));
    }
    for (i, node) in joint.nodes().filter(|(i, n)| keep[*i as usize] && !n.op.is(&INPUT)) {
        copy_node(&mut new, node, joint.results(i), &mut map);
    }
    outputs.iter().for_each(|(v, name)| new.output(name.clone(), map[v]));
    (new.loc, new.scope) = (None, 0);
    new
}

/// Appends a node whose operands are in `map`, and adds its results.
pub(super) fn copy_node(new: &mut Graph, node: &Node, results: Values, map: &mut HashMap<Value, Value>) {
    (new.loc, new.scope) = (node.loc, node.scope);
    let operands: SmallVec<[Value; 4]> = node.operands.iter().map(|v| map[v]).collect();
    for (old, value) in results.into_iter().zip(new.push(node.op.clone(), &operands, node.results.clone())) {
        map.entry(old).or_insert(value);
    }
}
