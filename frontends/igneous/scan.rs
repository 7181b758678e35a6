//! Loops that stay loops: a `scan` is traced, differentiated and compiled once, whatever its length.

use crate::apply::try_apply;
use crate::compile::{Outputs, Tree};
use crate::location::here;
use crate::tensor::Tensor;
use crate::trace::{self, Finished, Input, Kind, Outside, Parameter, same_types};
use crate::variable::Variable;
use igneous_ir::graph::Region;
use igneous_ir::{Dim, Error, Loc, Result, TensorType, ops};
use std::sync::Arc;

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
    let finished = trace::trace_region(Kind::Region("the body of a scan"), "body", parameters, |tensors| {
        let mut tensors = tensors.into_iter();
        let (c, s) = (carry.rebuild(&mut tensors), sequences.rebuild(&mut tensors));
        let (next, results) = body(c, s).into_result()?;
        let mut outputs = Vec::new();
        next.flatten(&mut outputs, &mut Vec::new());
        if outputs.len() != carries.len() {
            return Err(Error::new("the body of a scan returns another structure of carries than it is given"));
        }
        same_types("the body of a scan", &carries, &outputs)?;
        results.flatten(&mut outputs, &mut Vec::new());
        returned = Some((next, results));
        Ok(outputs)
    });
    let finished = finished.map_err(|e| e.at(loc))?;
    if finished.slots.iter().any(|s| s.changed) {
        return Err(Error::new("the body of a scan cannot change gradients").at(loc));
    }
    let assigned = finished.assigned();
    let outside = Outside::of(&[&finished], &assigned);
    let (constants, variables) = outside.tensors();
    let body = step(&finished, &outside, &assigned, carries.len(), stacks.len())?;
    let operands: Vec<&Tensor> = constants.iter().chain(&carries).chain(&variables).chain(&stacks).collect();
    let carried = carries.len() + variables.len();
    let op = ops::scan(body, constants.len(), carried, direction == Direction::Reverse, length);
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
fn step(finished: &Finished, outside: &Outside, assigned: &[Arc<Variable>], carries: usize, elements: usize) -> Result<Region> {
    let constants = outside.constants.iter().map(Input::Outside);
    let variables = outside.variables.iter().map(Input::Outside);
    let arguments = |range: std::ops::Range<usize>| range.map(Input::Argument);
    let inputs: Vec<Input<'_>> =
        constants.chain(arguments(0..carries)).chain(variables).chain(arguments(carries..carries + elements)).collect();
    let first = outside.constants.len() + carries;
    let mut outputs = finished.results()?;
    let results = outputs.split_off(carries);
    outputs.extend(assigned.iter().enumerate().map(|(k, variable)| finished.value_of(variable, first + k)));
    outputs.extend(results);
    finished.close(&inputs, &outputs)
}
