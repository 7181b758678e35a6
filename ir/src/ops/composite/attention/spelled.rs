//! Functions of scores from operators on whole tensors of scores.

use super::ScoreFunction;
use super::score::is_pointwise;
use crate::array::Array;
use crate::emit::Emit;
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, Value};
use crate::ops;
use crate::types::{DType, Literal, TensorType};
use std::collections::{BTreeSet, HashMap};

/// A part of a graph that computes scores from others, element by element.
pub struct SpelledScore {
    /// The function. Half types are computed in `f32`.
    pub function: ScoreFunction,
    /// What it is given: values of the graph with the shape of the scores.
    pub given: Vec<Value>,
    /// The values between the scores it begins with and its result, which is one of them.
    pub between: BTreeSet<Value>,
}

impl SpelledScore {
    /// How `result` is computed from `scores`.
    ///
    /// # Errors
    /// If that is not done element by element.
    pub fn new(graph: &Graph, scores: Value, result: Value) -> Result<SpelledScore> {
        let between = between(graph, scores, result)?;
        let compute = graph.ty(scores).dtype.compute();
        let mut writer = Writer { graph, compute, function: Graph::new("score"), made: HashMap::new(), given: Vec::new() };
        let score = writer.function.input("score", TensorType::scalar(compute));
        writer.made.insert(scores, score);
        // Inputs come first.
        for &v in between.iter().chain([&result]) {
            let operands = if between.contains(&v) { &graph.node(v.node).operands[..] } else { &[v][..] };
            for operand in operands.iter().filter(|o| !between.contains(o)) {
                writer.take(*operand)?;
            }
        }
        between.iter().try_for_each(|&v| writer.apply(v))?;
        let value = writer.widened(writer.made[&result])?;
        writer.function.output("score", value);
        Ok(SpelledScore { function: ScoreFunction::new(writer.function.without_dead_nodes()), given: writer.given, between })
    }
}

/// What `result` is computed by from `scores`.
fn between(graph: &Graph, scores: Value, result: Value) -> Result<BTreeSet<Value>> {
    let mut depends = vec![false; graph.len()];
    depends[scores.node as usize] = true;
    for (i, node) in graph.nodes().filter(|(i, _)| *i > scores.node && *i <= result.node) {
        depends[i as usize] = node.operands.iter().any(|v| depends[v.node as usize]);
    }
    let shape = &graph.ty(scores).shape;
    let (mut found, mut open) = (BTreeSet::new(), vec![result]);
    while let Some(v) = open.pop() {
        if v == scores || !depends[v.node as usize] || !found.insert(v) {
            continue;
        }
        let node = graph.node(v.node);
        let full = |v: &Value| graph.ty(*v).shape == *shape;
        if !is_pointwise(&node.op) || node.results.len() != 1 || !full(&v) || !node.operands.iter().all(full) {
            let mut cause = node;
            while matches!(cause.op.name(), "broadcast" | "reshape") {
                cause = graph.node(cause.operands[0].node);
            }
            let error = Error::new(format!("a function of scores has to be pointwise, and {} is not", cause.op.name()));
            return Err(cause.loc.map_or(error.clone(), |loc| error.at(loc)));
        }
        open.extend(&node.operands);
    }
    Ok(found)
}

/// The number that a value is everywhere, as far as its own nodes tell.
pub fn uniform(graph: &Graph, v: Value) -> Option<Literal> {
    let node = graph.node(v.node);
    match node.op.name() {
        "constant" if node.op.array("value").len() == 1 => Some(node.op.array("value").literal(0)),
        "broadcast" | "reshape" => uniform(graph, node.operands[0]),
        _ => None,
    }
}

/// Writes operators on scores for numbers, in the type that scores are computed in.
struct Writer<'g> {
    graph: &'g Graph,
    compute: DType,
    function: Graph,
    made: HashMap<Value, Value>,
    given: Vec<Value>,
}

impl Writer<'_> {
    /// A constant or a new input for what does not depend on the scores.
    fn take(&mut self, v: Value) -> Result<()> {
        if self.made.contains_key(&v) {
            return Ok(());
        }
        let dtype = self.graph.ty(v).dtype;
        let own = match uniform(self.graph, v) {
            Some(l) => {
                let l = if dtype.is_float() { Literal::float(self.compute, l.as_f64()) } else { l };
                self.function.emit(ops::constant(Array::scalar(l)), &[])?[0]
            }
            None => {
                let input = self.function.input(format!("given{}", self.given.len()), TensorType::scalar(dtype));
                self.given.push(v);
                input
            }
        };
        self.made.insert(v, own);
        Ok(())
    }

    /// A float in the type of the computation.
    fn widened(&mut self, own: Value) -> Result<Value> {
        let dtype = self.function.ty(own).dtype;
        match dtype.is_float() && dtype != self.compute {
            true => Ok(self.function.emit(ops::cast(self.compute), &[own])?[0]),
            false => Ok(own),
        }
    }

    fn apply(&mut self, v: Value) -> Result<()> {
        let Node { op, operands, results, .. } = self.graph.node(v.node);
        let own = operands.iter().map(|operand| self.widened(self.made[operand])).collect::<Result<Vec<Value>>>()?;
        let made = match op.name() == "cast" && results[0].dtype.is_float() {
            true if self.function.ty(own[0]).dtype == self.compute => own[0],
            true => self.function.emit(ops::cast(self.compute), &own)?[0],
            false => self.function.emit(op.clone(), &own)?[0],
        };
        self.made.insert(v, made);
        Ok(())
    }
}
