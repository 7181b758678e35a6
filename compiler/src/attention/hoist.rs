//! What a function of scores computes without them, as operands of the attention: for a back end whose attention computes functions of
//! numbers of single precision only.

use igneous_ir::emit::{Emitter, X};
use igneous_ir::error::Result;
use igneous_ir::graph::{Graph, Value, Values};
use igneous_ir::op::Op;
use igneous_ir::ops::composite::{AttentionOperands, ScoreFunction, elementwise};
use igneous_ir::ops::structural::{CONSTANT, INPUT};
use igneous_ir::ops::{self};
use igneous_ir::types::{DType, TensorType};
use std::collections::{BTreeSet, HashMap};

/// What became of an attention's function.
pub(crate) enum Hoisted {
    /// There is none, or it computes nothing that does not depend on the score, and is given numbers of single precision and bools.
    Already,
    /// The results of another attention.
    Done(Values),
    /// It needs other numbers beside the score.
    Never,
}

/// Makes the function of an attention, or of its derivative, one of numbers of single precision and bools.
///
/// # Errors
/// If the graph is ill typed.
pub(crate) fn hoist(g: &mut Graph, op: &Op, operands: &[Value]) -> Result<Hoisted> {
    let (Some(function), Some(own)) = (ScoreFunction::of(op), AttentionOperands::of(op, operands.len())) else {
        return Ok(Hoisted::Already);
    };
    let graph = function.graph();
    let depends = dependent(graph);
    let boundary = boundary(graph, &depends);
    let fits = |v: &Value| matches!(graph.ty(*v).dtype, DType::F32 | DType::Bool);
    if !boundary.iter().all(fits) {
        return Ok(Hoisted::Never);
    }
    let inputs: Vec<Value> = graph.inputs()[1..].iter().map(|(v, _)| *v).collect();
    if boundary.iter().eq(&inputs) {
        return Ok(Hoisted::Already);
    }
    let rest = Region { graph, depends: &depends, boundary: &boundary }.of_score()?;
    let emitter = Emitter::new(g);
    let xs: Vec<X> = operands.iter().map(|&v| emitter.value(v)).collect();
    let mut all: Vec<X> = xs[..own.given.start].to_vec();
    for &value in &boundary {
        let part = graph.with_outputs([(value, String::new())]).without_dead_nodes();
        let read: Vec<usize> = read_inputs(graph, value);
        let mut shape = xs[own.given.start + read.first().copied().unwrap_or(1) - 1].shape();
        for k in &read {
            shape = ops::broadcast_shapes(&shape, &xs[own.given.start + k - 1].shape())?;
        }
        // Nothing reads the score.
        let score = emitter.full(DType::F32, 0.0, shape.clone());
        let unread = |k: usize| {
            if read.contains(&k) { xs[own.given.start + k - 1] } else { score.cast(graph.ty(graph.inputs()[k].0).dtype) }
        };
        let given: Vec<X> = (0..graph.inputs().len()).map(|k| if k == 0 { score } else { unread(k) }).collect();
        all.push(elementwise(&emitter, &part, &given, &shape)[0]);
    }
    all.extend(&xs[own.behind]);
    let op = op.with_attr("score", igneous_ir::op::Attr::Region(igneous_ir::graph::Region::new(rest)));
    let results = emitter.apply(op, &all).iter().map(|x| x.value).collect();
    emitter.finish()?;
    Ok(Hoisted::Done(results))
}

/// Which nodes depend on the score.
fn dependent(graph: &Graph) -> Vec<bool> {
    let mut depends = vec![false; graph.len()];
    depends[graph.inputs()[0].0.node as usize] = true;
    for (i, node) in graph.nodes() {
        depends[i as usize] |= node.operands.iter().any(|v| depends[v.node as usize]);
    }
    depends
}

/// The inputs that a value depends on, by number.
fn read_inputs(graph: &Graph, value: Value) -> Vec<usize> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![value]);
    while let Some(v) = open.pop() {
        if seen.insert(v) {
            open.extend(&graph.node(v.node).operands);
        }
    }
    (0..graph.inputs().len()).filter(|&k| seen.contains(&graph.inputs()[k].0)).collect()
}

/// What does not depend on the score, but on something, and is read by what does, or is a result.
fn boundary(graph: &Graph, depends: &[bool]) -> Vec<Value> {
    let read = graph.nodes().filter(|(i, _)| depends[*i as usize]).flat_map(|(_, node)| node.operands.iter().copied());
    let wanted: BTreeSet<Value> = read.chain(graph.outputs().iter().map(|(v, _)| *v)).collect();
    let of_something = |v: &Value| !depends[v.node as usize] && !read_inputs(graph, *v).is_empty();
    wanted.into_iter().filter(of_something).collect()
}

/// A function that is cut in two.
struct Region<'g> {
    graph: &'g Graph,
    depends: &'g [bool],
    boundary: &'g [Value],
}

impl Region<'_> {
    /// The part that depends on the score, given the boundary.
    fn of_score(&self) -> Result<Graph> {
        let mut new = Graph::new(self.graph.name.clone());
        let mut map: HashMap<Value, Value> = HashMap::new();
        let (score, name) = &self.graph.inputs()[0];
        map.insert(*score, new.input(name.clone(), self.graph.ty(*score).clone()));
        for (k, v) in self.boundary.iter().enumerate() {
            map.insert(*v, new.input(format!("given{k}"), TensorType::scalar(self.graph.ty(*v).dtype)));
        }
        for (i, node) in self.graph.nodes() {
            let constant = !self.depends[i as usize] && read_inputs(self.graph, Value { node: i, result: 0 }).is_empty();
            if node.op.is(&INPUT) || !(constant || self.depends[i as usize] || node.op.is(&CONSTANT)) {
                continue;
            }
            let operands: Vec<Value> = node.operands.iter().map(|v| map[v]).collect();
            let results = new.add(node.op.clone(), &operands)?;
            map.insert(Value { node: i, result: 0 }, results[0]);
        }
        for (v, name) in self.graph.outputs() {
            new.output(name.clone(), map[v]);
        }
        Ok(new.without_dead_nodes())
    }
}
