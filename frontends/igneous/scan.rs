//! Loops that stay loops: a `scan` is traced, differentiated and compiled once, whatever its length.

use crate::apply::try_apply;
use crate::compile::{Outputs, Tree};
use crate::location::here;
use crate::tensor::Tensor;
use crate::trace::{self, Capture, CaptureSource, Finished, Kind, Output, Parameter};
use igneous_ir::graph::{Graph, Region, Value};
use igneous_ir::{Dim, Error, Loc, Result, TensorType, ops};

/// Calls `body(carry, element)` for each element along the first axis of the sequences, in order; it returns the next
/// carry and one element of each result. Returns the last carry and the results, stacked along a new first axis.
///
/// Tensors and variables from outside may be used in the body, and variables may be assigned; `backward` may not be called
/// in it. A loop over numbers is a scan over `Tensor::arange(0, n)`.
///
/// ```
/// # use igneous::{Tensor, scan};
/// let (last, sums) = scan(Tensor::zeros(()), Tensor::new([1.0, 2.0, 3.0]), |sum, x| {
///     let sum = sum + x;
///     (sum.clone(), sum)
/// })?;
/// assert_eq!(sums.to_vec::<f32>()?, [1.0, 3.0, 6.0]);
/// assert_eq!(last.item()?, 6.0);
/// # Ok::<(), igneous::Error>(())
/// ```
///
/// # Errors
/// If a tensor is invalid, the sequences have different lengths, the body fails, or it returns a carry of another type.
#[track_caller]
pub fn scan<C: Tree, S: Tree, Y: Tree, R>(carry: C, sequences: S, body: impl FnOnce(C, S) -> R) -> Result<(C, Y)>
where
    R: Outputs<Value = (C, Y)>,
{
    run(carry, sequences, body, Direction::Forward, here())
}

/// [`scan`] from the last element to the first; results keep their element's place.
///
/// # Errors
/// As `scan`.
#[track_caller]
pub fn scan_reverse<C: Tree, S: Tree, Y: Tree, R>(carry: C, sequences: S, body: impl FnOnce(C, S) -> R) -> Result<(C, Y)>
where
    R: Outputs<Value = (C, Y)>,
{
    run(carry, sequences, body, Direction::Reverse, here())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forward,
    Reverse,
}

fn run<C: Tree, S: Tree, Y: Tree, R>(
    carry: C,
    sequences: S,
    body: impl FnOnce(C, S) -> R,
    direction: Direction,
    loc: Loc,
) -> Result<(C, Y)>
where
    R: Outputs<Value = (C, Y)>,
{
    let (mut carries, mut stacks) = (Vec::new(), Vec::new());
    carry.flatten(&mut carries, &mut Vec::new());
    sequences.flatten(&mut stacks, &mut Vec::new());
    let length = common_length(&stacks).map_err(|e| e.at(loc))?;
    let parameters = parameters(&carries, &stacks)?;
    let mut returned = None;
    let finished = trace::trace_region(Kind::Loop, "body", parameters, |tensors| {
        let mut tensors = tensors.into_iter();
        let (c, s) = (carry.rebuild(&mut tensors), sequences.rebuild(&mut tensors));
        let (next, results) = body(c, s).into_result()?;
        let mut outputs = Vec::new();
        next.flatten(&mut outputs, &mut Vec::new());
        if outputs.len() != carries.len() {
            return Err(Error::new("the body of a scan returns another structure of carries than it is given"));
        }
        results.flatten(&mut outputs, &mut Vec::new());
        returned = Some((next, results));
        Ok(outputs)
    });
    let finished = finished.map_err(|e| e.at(loc))?;
    if finished.slots.iter().any(|s| s.changed) {
        return Err(Error::new("the body of a scan cannot change gradients").at(loc));
    }
    let step = Step::new(&finished, carries.len(), stacks.len())?;
    let constants: Vec<Tensor> = step.constants.iter().map(|c| c.source.tensor()).collect();
    let variables: Vec<Tensor> = step.assigned.iter().map(|v| CaptureSource::Variable((*v).clone()).tensor()).collect();
    let operands: Vec<&Tensor> = constants.iter().chain(&carries).chain(&variables).chain(&stacks).collect();
    let carried = carries.len() + variables.len();
    let op = ops::scan(Region::new(step.graph), constants.len(), carried, direction == Direction::Reverse, length);
    let mut results = try_apply(op, &operands, loc)?.into_iter();
    let last: Vec<Tensor> = results.by_ref().take(carries.len()).collect();
    for (variable, value) in variables.iter().zip(results.by_ref()) {
        variable.assign(&value)?;
    }
    let (next, stacked) = returned.ok_or_else(|| Error::new("the body of a scan returned nothing"))?;
    Ok((next.rebuild(&mut last.into_iter()), stacked.rebuild(&mut results)))
}

/// The extent of the first axis of all sequences.
fn common_length(stacks: &[Tensor]) -> Result<Dim> {
    let Some(first) = stacks.first() else { return Err(Error::new("scan needs at least one sequence")) };
    for stack in stacks {
        let ty = stack.ty()?;
        if ty.rank() == 0 || ty.shape[0] != first.size(0) {
            let error = Error::new("scan needs sequences whose first axes, the steps, have one extent");
            return Err(error.note("first", first.describe()).note("other", stack.describe()));
        }
    }
    Ok(first.size(0))
}

fn parameters(carries: &[Tensor], stacks: &[Tensor]) -> Result<Vec<Parameter>> {
    let carry = |(k, tensor): (usize, &Tensor)| {
        let ty = tensor.ty()?;
        // A carry that starts as a constant can depend on parameters after the first step.
        let tracked = ty.dtype.is_float();
        Ok(Parameter { name: format!("carry{k}"), ty, tracked, slot: None })
    };
    let element = |(k, tensor): (usize, &Tensor)| {
        let ty = tensor.ty()?;
        let element = TensorType { dtype: ty.dtype, shape: ty.shape[1..].into() };
        let tracked = tensor.requires_grad() && ty.dtype.is_float();
        Ok(Parameter { name: format!("x{k}"), ty: element, tracked, slot: None })
    };
    carries.iter().enumerate().map(carry).chain(stacks.iter().enumerate().map(element)).collect()
}

/// The body in the form the operator wants: constants, carries (assigned variables last), elements.
struct Step<'a> {
    graph: Graph,
    constants: Vec<&'a Capture>,
    assigned: Vec<&'a std::sync::Arc<crate::variable::Variable>>,
}

impl<'a> Step<'a> {
    fn new(finished: &'a Finished, carries: usize, elements: usize) -> Result<Step<'a>> {
        let traced = &finished.graph;
        let inputs: Vec<Value> = traced.inputs().iter().map(|(v, _)| *v).collect();
        let assigned: Vec<_> = finished.variables.iter().filter(|s| s.assigned).collect();
        let is = |c: &Capture, k: usize| matches!(&c.source, CaptureSource::Variable(v) if std::sync::Arc::ptr_eq(v, &assigned[k].variable));
        let is_assigned = |c: &Capture| (0..assigned.len()).any(|k| is(c, k));
        let constants: Vec<&Capture> = finished.captures.iter().filter(|c| !is_assigned(c)).collect();
        let mut graph = Graph::new("body");
        let mut given: Vec<Option<Value>> = vec![None; inputs.len()];
        let place = |value: Value| inputs.iter().position(|&v| v == value).expect("a capture is an input");
        for capture in &constants {
            let at = place(capture.value);
            given[at] = Some(graph.input(traced.inputs()[at].1.clone(), traced.ty(capture.value).clone()));
        }
        for at in 0..carries {
            given[at] = Some(graph.input(traced.inputs()[at].1.clone(), traced.ty(inputs[at]).clone()));
        }
        for (k, state) in assigned.iter().enumerate() {
            let name = state.variable.name().map_or_else(|| format!("variable{k}"), |n| n.to_string());
            let value = graph.input(name, state.variable.ty());
            if let Some(capture) = finished.captures.iter().find(|c| is(c, k)) {
                given[place(capture.value)] = Some(value);
            }
        }
        for at in carries..carries + elements {
            given[at] = Some(graph.input(traced.inputs()[at].1.clone(), traced.ty(inputs[at]).clone()));
        }
        let mut outputs = Vec::new();
        for output in &finished.outputs {
            let Output::Value { value, .. } = output else { return Err(Error::new("a result of a scan is outside of it")) };
            outputs.push(*value);
        }
        let results = outputs.split_off(carries);
        let updates = assigned.iter().map(|s| s.current);
        let mut with_outputs = traced.clone();
        for (k, value) in outputs.into_iter().chain(updates).chain(results).enumerate() {
            with_outputs.output(format!("y{k}"), value);
        }
        let given: Vec<Value> = given.into_iter().map(|v| v.expect("every input is a constant, carry or element")).collect();
        for (k, value) in graph.inline(&with_outputs, &given)?.into_iter().enumerate() {
            graph.output(format!("y{k}"), value);
        }
        Ok(Step { graph, constants, assigned: assigned.iter().map(|s| &s.variable).collect() })
    }
}
