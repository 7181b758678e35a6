//! The reference interpreter: runs a graph by the reference implementations in the operators' records.
//!
//! It shares no code with the back ends and is what they are compared with. In native mode every result is rounded to
//! its type; [`interpret_f64`] runs a second time beside it without rounding, the oracle of what a program should
//! compute. What is discrete (integers, comparisons, rounding to integers) the second run takes from the first.

mod bind;
mod oracle;

pub use bind::Bindings;

use crate::array::{Array, Data};
use crate::autodiff::expand_gradients;
use crate::error::{Error, Result};
use crate::graph::{Graph, Node};
use crate::op::{Op, Reference};
use crate::ops;
use crate::types::TensorType;
use smallvec::SmallVec;
use std::sync::Arc;

/// A result of both runs.
#[derive(Clone, PartialEq, Debug)]
pub struct Oracle {
    /// With every intermediate result rounded to its type.
    pub native: Array,
    /// In f64 throughout.
    pub exact: Array,
}

/// The outputs for these inputs, every intermediate result rounded to its type.
///
/// # Errors
/// If the inputs do not fit the graph, a symbol is out of its range, or a check fails.
pub fn interpret(graph: &Graph, inputs: &[Array]) -> Result<Vec<Array>> {
    Ok(run(graph, inputs, Precision::Native)?.into_iter().map(|v| Arc::unwrap_or_clone(v.native)).collect())
}

/// The outputs for these inputs, computed twice: as [`interpret`] does and in f64 throughout. The inputs of the
/// second run are used as they are, those of the first are rounded.
///
/// # Errors
/// As for [`interpret`].
pub fn interpret_f64(graph: &Graph, inputs: &[Array]) -> Result<Vec<Oracle>> {
    let both = |v: Pair| Oracle { native: Array::clone(&v.native), exact: Array::clone(v.exact.as_ref().unwrap_or(&v.native)) };
    Ok(run(graph, inputs, Precision::Both)?.into_iter().map(both).collect())
}

/// Operators with floating-point results that are discrete.
const DISCRETE: [&str; 5] = ["ceil", "floor", "round", "sign", "trunc"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Precision {
    Native,
    Both,
}

/// A value in the native run and, where it differs, in the exact run.
#[derive(Clone)]
struct Pair {
    native: Arc<Array>,
    exact: Option<Arc<Array>>,
}

impl Pair {
    fn exact(&self) -> &Array {
        self.exact.as_ref().unwrap_or(&self.native)
    }

    /// Applies `f` to both runs' arrays of `values`.
    fn map(values: &[Pair], f: impl Fn(&[&Array]) -> Array) -> Pair {
        let native = Arc::new(f(&values.iter().map(|v| v.native.as_ref()).collect::<Vec<_>>()));
        let split = values.iter().any(|v| v.exact.is_some());
        let exact = split.then(|| Arc::new(f(&values.iter().map(Pair::exact).collect::<Vec<_>>())));
        Pair { native, exact }
    }
}

fn run(graph: &Graph, inputs: &[Array], precision: Precision) -> Result<Vec<Pair>> {
    let bindings = Bindings::of(graph, &inputs.iter().map(Array::ty).collect::<Vec<_>>())?;
    let expanded = expand_gradients(graph)?;
    let pair = |x: &Array| {
        let exact = (precision == Precision::Both && x.dtype().is_float()).then(|| Arc::new(x.clone()));
        Pair { native: Arc::new(x.clone().rounded()), exact }
    };
    let interpreter = Interpreter { bindings, precision };
    interpreter.graph(&expanded, inputs.iter().map(pair).collect())
}

struct Interpreter {
    bindings: Bindings,
    precision: Precision,
}

impl Interpreter {
    fn graph(&self, graph: &Graph, inputs: Vec<Pair>) -> Result<Vec<Pair>> {
        let mut uses = graph.use_counts();
        let mut values: Vec<SmallVec<[Option<Pair>; 2]>> = vec![SmallVec::new(); graph.len()];
        for ((v, _), given) in graph.inputs().iter().zip(inputs) {
            values[v.node as usize].push(Some(given));
        }
        for (i, node) in graph.nodes().filter(|(_, n)| !n.op.is(&ops::structural::INPUT)) {
            let mut operands = Vec::with_capacity(node.operands.len());
            for v in &node.operands {
                let left = &mut uses[v.node as usize][v.result as usize];
                *left -= 1;
                let slot = &mut values[v.node as usize][v.result as usize];
                let value = if *left == 0 { slot.take() } else { slot.clone() };
                operands.push(value.ok_or_else(|| Error::new(format!("{v:?} is used before it is computed")))?);
            }
            let results = self.node(node, operands).map_err(|e| match node.loc {
                Some(loc) => e.at(loc),
                None => e,
            })?;
            values[i as usize] = results.into_iter().map(Some).collect();
        }
        let value = |v: &crate::Value| values[v.node as usize][v.result as usize].clone();
        let missing = || Error::new("an output is not computed");
        graph.outputs().iter().map(|(v, _)| value(v).ok_or_else(missing)).collect()
    }

    fn node(&self, node: &Node, operands: Vec<Pair>) -> Result<Vec<Pair>> {
        match node.op.name() {
            "call" => self.graph(node.op.region("body").graph(), operands),
            "cond" => {
                let branch = if operands[0].native.i(0) != 0 { "then" } else { "otherwise" };
                self.graph(node.op.region(branch).graph(), operands[1..].to_vec())
            }
            "scan" => self.scan(&node.op, &operands),
            "custom_vjp" => self.graph(node.op.region("forward").graph(), operands),
            "while" => self.while_loop(&node.op, operands),
            _ => self.reference(node, &operands),
        }
    }

    fn reference(&self, node: &Node, operands: &[Pair]) -> Result<Vec<Pair>> {
        let op = self.bindings.op(&node.op)?;
        let types: Vec<TensorType> = node.results.iter().map(|t| self.bindings.ty(t)).collect::<Result<_>>()?;
        let apply = |inputs: &[&Array]| {
            let results = (op.record().reference)(&Reference { op: &op, inputs, results: &types })?;
            let given: Vec<TensorType> = results.iter().map(Array::ty).collect();
            if given == types {
                return Ok(results);
            }
            Err(Error::new(format!("the reference of {op} gives {given:?} where {types:?} is expected")))
        };
        let native = apply(&operands.iter().map(|v| v.native.as_ref()).collect::<Vec<_>>())?;
        let native: Vec<Array> = native.into_iter().map(Array::rounded).collect();
        if self.precision == Precision::Native {
            return Ok(native.into_iter().map(|x| Pair { native: Arc::new(x), exact: None }).collect());
        }
        let exact = apply(&operands.iter().map(Pair::exact).collect::<Vec<_>>())?;
        let discrete = DISCRETE.contains(&op.name());
        let pair = |(native, exact): (Array, Array)| {
            let exact = (native.dtype().is_float() && !discrete).then(|| Arc::new(exact));
            Pair { native: Arc::new(native), exact }
        };
        Ok(native.into_iter().zip(exact).map(pair).collect())
    }

    fn while_loop(&self, op: &Op, operands: Vec<Pair>) -> Result<Vec<Pair>> {
        let (condition, body) = (op.region("condition").graph(), op.region("body").graph());
        let (most, constants) = (ops::control::bound(op), op.int("constants") as usize);
        let mut values = operands;
        let mut steps = 0;
        while most.is_none_or(|most| steps < most) && self.graph(condition, values.clone())?[0].native.i(0) != 0 {
            let next = self.graph(body, values.clone())?;
            values.splice(constants.., next);
            steps = steps.saturating_add(1);
        }
        Ok(values.split_off(constants))
    }

    fn scan(&self, op: &Op, operands: &[Pair]) -> Result<Vec<Pair>> {
        let body = op.region("body").graph();
        let (constants, carries) = (op.int("constants") as usize, op.int("carries") as usize);
        let length = self.bindings.dim(op.dim("length"))?;
        let (constants, rest) = operands.split_at(constants);
        let mut carried = rest[..carries].to_vec();
        let sequences = &rest[carries..];
        let mut stacks: Vec<Vec<Pair>> = vec![Vec::with_capacity(length); body.outputs().len() - carries];
        for step in 0..length {
            let t = if op.bool("reverse") { length - 1 - step } else { step };
            let elements = sequences.iter().map(|s| Pair::map(std::slice::from_ref(s), |x| element(x[0], t, length)));
            let inputs = constants.iter().cloned().chain(carried).chain(elements).collect();
            carried = self.graph(body, inputs)?;
            let stacked = carried.split_off(carries);
            stacks.iter_mut().zip(stacked).for_each(|(stack, x)| stack.push(x));
        }
        for (mut stack, (v, _)) in stacks.into_iter().zip(&body.outputs()[carries..]) {
            if op.bool("reverse") {
                stack.reverse();
            }
            let ty = self.bindings.ty(body.ty(*v))?;
            let shape: Vec<usize> = std::iter::once(length).chain(ty.sizes()?).collect();
            carried.push(Pair::map(&stack, |elements| stacked(&ty, &shape, elements)));
        }
        Ok(carried)
    }
}

/// Element `t` of `length` along the first axis.
fn element(x: &Array, t: usize, length: usize) -> Array {
    let size = x.len() / length.max(1);
    x.gathered(&x.shape()[1..], |i| t * size + i)
}

fn stacked(element: &TensorType, shape: &[usize], elements: &[&Array]) -> Array {
    if element.dtype.is_float() {
        let all = elements.iter().flat_map(|x| match x.data() {
            Data::Float(v) => v.clone(),
            Data::Int(v) => v.iter().map(|&i| i as f64).collect(),
        });
        return Array::floats(element.dtype, shape, all.collect());
    }
    let all = elements.iter().flat_map(|x| (0..x.len()).map(|i| x.i(i)));
    Array::ints(element.dtype, shape, all.collect())
}

#[cfg(test)]
mod tests;
