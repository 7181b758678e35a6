//! Decisions and loops that depend on data. They stay what they are in the graph: both branches are traced, one of them
//! runs, and a loop is traced once, however often its body runs.

use crate::apply::try_apply;
use crate::compile::{Outputs, Tree};
use crate::location::here;
use crate::scan::scan;
use crate::tensor::{Operand, OperandRef, Tensor};
use crate::trace::{self, Finished, Input, Kind, Outside, Parameter, same_types, variable_operand};
use crate::variable::Variable;
use igneous_ir::{DType, Error, Loc, Result, TensorType, ops};
use std::sync::Arc;

/// `then(operands)` if the predicate, one bool without axes, is true, else `otherwise(operands)`. Both are traced, one of
/// them runs. They return the same structure of tensors of the same types.
///
/// Tensors and variables from outside may be used in the branches, and variables may be assigned; `backward` may not be
/// called in them. Gradients flow through the branch that ran. A check that fails in the other one is no error.
///
/// ```
/// # use igneous::{Tensor, compile, cond};
/// // The square root's line beyond 1, which has no infinite slope at 0.
/// let f = compile(|x: Tensor| cond(&x.gt(1.0), x, |x: Tensor| x.sqrt(), |x: Tensor| (x + 1.0) / 2.0));
/// assert_eq!(f.run(Tensor::scalar(4.0))?.item()?, 2.0);
/// assert_eq!(f.run(Tensor::scalar(0.0))?.item()?, 0.5);
/// # Ok::<(), igneous::Error>(())
/// ```
///
/// # Errors
/// If a tensor is invalid, the predicate is not one bool, a branch fails, or they return different types.
#[track_caller]
pub fn cond<O: Tree, Y: Tree, A, B>(
    predicate: &Tensor,
    operands: O,
    then: impl FnOnce(O) -> A,
    otherwise: impl FnOnce(O) -> B,
) -> Result<Y>
where
    A: Outputs<Value = Y>,
    B: Outputs<Value = Y>,
{
    let loc = here();
    let mut given = Vec::new();
    operands.flatten(&mut given, &mut Vec::new());
    let decided = one_bool(predicate, "cond needs a predicate that is one bool without axes").and_then(|()| {
        let then = Traced::new(BRANCH, "then", &given, |tensors| then(operands.rebuild(tensors)).into_result())?;
        let otherwise = Traced::new(BRANCH, "otherwise", &given, |tensors| otherwise(operands.rebuild(tensors)).into_result())?;
        decide(predicate, &given, then, otherwise, loc)
    });
    decided.map_err(|e| e.at(loc))
}

/// What messages call a branch.
const BRANCH: &str = "a branch of cond";

/// Applies the operator to traced branches.
fn decide<Y: Tree>(predicate: &Tensor, given: &[Tensor], then: Traced<Y>, otherwise: Traced<Y>, loc: Loc) -> Result<Y> {
    if then.structure != otherwise.structure || then.types.len() != otherwise.types.len() {
        let error = Error::new("the branches of cond return different structures of tensors");
        return Err(error.note("then", then.told.join(", ")).note("otherwise", otherwise.told.join(", ")));
    }
    if let Some(k) = (0..then.types.len()).find(|&k| then.types[k] != otherwise.types[k]) {
        let error = Error::new("the branches of cond return tensors of different types");
        return Err(error.note("then", &then.told[k]).note("otherwise", &otherwise.told[k]));
    }
    let mut assigned = then.finished.assigned();
    for variable in otherwise.finished.assigned() {
        if !assigned.iter().any(|v| Arc::ptr_eq(v, &variable)) {
            assigned.push(variable);
        }
    }
    let outside = Outside::of(&[&then.finished, &otherwise.finished], &assigned);
    let sources = outside.constants.iter().chain(&outside.variables);
    let inputs: Vec<Input<'_>> = (0..given.len()).map(Input::Argument).chain(sources.map(Input::Outside)).collect();
    let first = given.len() + outside.constants.len();
    let region = |branch: &Finished| {
        let updates = assigned.iter().enumerate().map(|(k, variable)| branch.value_of(variable, first + k));
        branch.close(&inputs, &branch.results()?.into_iter().chain(updates).collect::<Vec<_>>())
    };
    let op = ops::cond(region(&then.finished)?, region(&otherwise.finished)?);
    let (constants, variables) = outside.tensors();
    let operands: Vec<&Tensor> = std::iter::once(predicate).chain(given).chain(&constants).chain(&variables).collect();
    let mut results = try_apply(op, &operands, loc)?.into_iter();
    let value = then.returned.rebuild(&mut results);
    assign(&assigned, results)?;
    Ok(value)
}

/// `body(carry)` again and again as long as `condition(carry)`, one bool without axes, is true; returns the last carry.
///
/// Tensors and variables from outside may be used in both, and the body may assign variables; `backward` may not be called in
/// them. The loop has derivatives in forward mode only, because reverse mode would have to remember every step:
/// [`while_loop_bounded`] has both, and so has [`scan`].
///
/// ```
/// # use igneous::{Tensor, compile, while_loop};
/// let steps = compile(|x: Tensor| {
///     let (_, steps) = while_loop((x, Tensor::scalar(0)), |(x, _)| x.gt(1.0), |(x, n)| (x / 2.0, n + 1))?;
///     Ok(steps)
/// });
/// assert_eq!(steps.run(Tensor::scalar(1000.0))?.item()?, 10.0);
/// # Ok::<(), igneous::Error>(())
/// ```
///
/// # Errors
/// If a tensor is invalid, a closure fails, the condition is not one bool, or the body returns a carry of another type.
#[track_caller]
pub fn while_loop<C: Tree, P, R>(carry: C, condition: impl FnOnce(C) -> P, body: impl FnOnce(C) -> R) -> Result<C>
where
    P: Outputs<Value = Tensor>,
    R: Outputs<Value = C>,
{
    repeat(carry, condition, body, None, here())
}

/// [`while_loop`] that ends after `max_steps` steps although the condition holds. With that bound it has a derivative in
/// reverse mode, which keeps what it needs of `max_steps` steps.
///
/// # Errors
/// As `while_loop`.
#[track_caller]
pub fn while_loop_bounded<C: Tree, P, R>(
    max_steps: u32,
    carry: C,
    condition: impl FnOnce(C) -> P,
    body: impl FnOnce(C) -> R,
) -> Result<C>
where
    P: Outputs<Value = Tensor>,
    R: Outputs<Value = C>,
{
    repeat(carry, condition, body, Some(max_steps), here())
}

fn repeat<C: Tree, P, R>(
    carry: C,
    condition: impl FnOnce(C) -> P,
    body: impl FnOnce(C) -> R,
    bound: Option<u32>,
    loc: Loc,
) -> Result<C>
where
    P: Outputs<Value = Tensor>,
    R: Outputs<Value = C>,
{
    let (mut carries, mut structure) = (Vec::new(), Vec::new());
    carry.flatten(&mut carries, &mut structure);
    let traced = || {
        let body = Traced::new("the body of while_loop", "body", &carries, |tensors| {
            let next = body(carry.rebuild(tensors)).into_result()?;
            let (mut outputs, mut returned) = (Vec::new(), Vec::new());
            next.flatten(&mut outputs, &mut returned);
            if returned != structure || outputs.len() != carries.len() {
                return Err(Error::new("the body of while_loop returns another structure of carries than it is given"));
            }
            same_types("the body of while_loop", &carries, &outputs)?;
            Ok(next)
        })?;
        let condition = Traced::new("the condition of while_loop", "condition", &carries, |tensors| {
            condition(carry.rebuild(tensors)).into_result()
        })?;
        if condition.types != [TensorType::scalar(DType::Bool)] {
            return Err(not_one_bool("while_loop needs a condition that returns one bool without axes", &condition.told[0]));
        }
        if let Some(variable) = condition.finished.assigned().first() {
            let error = Error::new("the condition of while_loop cannot assign variables");
            return Err(error.note("variable", variable_operand(variable).describe()));
        }
        let results = loop_over(&carries, &condition.finished, &body.finished, bound, loc)?;
        Ok(body.returned.rebuild(&mut results.into_iter()))
    };
    traced().map_err(|e| e.at(loc))
}

/// Applies the operator to traced regions. Variables that the body assigns are carries behind its own.
fn loop_over(carries: &[Tensor], condition: &Finished, body: &Finished, bound: Option<u32>, loc: Loc) -> Result<Vec<Tensor>> {
    let assigned = body.assigned();
    let outside = Outside::of(&[condition, body], &assigned);
    let constants = outside.constants.len();
    let inputs: Vec<Input<'_>> = outside
        .constants
        .iter()
        .map(Input::Outside)
        .chain((0..carries.len()).map(Input::Argument))
        .chain(outside.variables.iter().map(Input::Outside))
        .collect();
    let first = constants + carries.len();
    let updates = assigned.iter().enumerate().map(|(k, variable)| body.value_of(variable, first + k));
    let next = body.close(&inputs, &body.results()?.into_iter().chain(updates).collect::<Vec<_>>())?;
    let holds = condition.close(&inputs, &condition.results()?)?;
    let (before, behind) = outside.tensors();
    let operands: Vec<&Tensor> = before.iter().chain(carries).chain(&behind).collect();
    let mut results = try_apply(ops::while_loop(holds, next, constants, bound), &operands, loc)?.into_iter();
    let last = results.by_ref().take(carries.len()).collect();
    assign(&assigned, results)?;
    Ok(last)
}

/// `body(i, carry)` for `i` from `lower` up to but without `upper`; returns the last carry. Where both are numbers or
/// dimensions, the loop is a [`scan`] and has all derivatives; where one is a tensor (one integer without axes), it is a
/// [`while_loop`].
///
/// ```
/// # use igneous::{Tensor, compile, fori_loop};
/// let power = compile(|x: Tensor, n: Tensor| fori_loop(0, n, Tensor::scalar(1.0), |_, y| y * &x));
/// assert_eq!(power.run((Tensor::scalar(2.0), Tensor::scalar(10)))?.item()?, 1024.0);
/// # Ok::<(), igneous::Error>(())
/// ```
///
/// # Errors
/// If a tensor is invalid, a bound is no integer, the body fails, or it returns a carry of another type.
#[track_caller]
pub fn fori_loop<C: Tree + Send + Sync + 'static, R>(
    lower: impl Operand,
    upper: impl Operand,
    carry: C,
    body: impl FnOnce(Tensor, C) -> R,
) -> Result<C>
where
    R: Outputs<Value = C>,
{
    let loc = here();
    if let (OperandRef::Scalar(lower), OperandRef::Scalar(upper)) = (lower.operand(), upper.operand()) {
        let numbers = Tensor::arange(lower, upper);
        if numbers.ty().is_ok_and(|ty| ty.dtype != DType::I64) {
            return Err(Error::new("fori_loop counts integers")
                .note("lower", format_args!("{lower:?}"))
                .note("upper", format_args!("{upper:?}"))
                .at(loc));
        }
        let (last, ()) = scan(carry, numbers, |carry, i| Ok::<_, Error>((body(i, carry).into_result()?, ())))?;
        return Ok(last);
    }
    let (lower, upper) = (whole(lower).map_err(|e| e.at(loc))?, whole(upper).map_err(|e| e.at(loc))?);
    let step = |(i, carry): (Tensor, C)| Ok::<_, Error>((&i + 1, body(i, carry).into_result()?));
    Ok(repeat((lower, carry), |(i, _)| i.lt(&upper), step, None, loc)?.1)
}

/// A bound as one `i64`.
#[track_caller]
fn whole(bound: impl Operand) -> Result<Tensor> {
    let bound = match bound.operand() {
        OperandRef::Tensor(tensor) => tensor.clone(),
        OperandRef::Scalar(number) => Tensor::scalar(number),
    };
    let ty = bound.ty()?;
    if ty.rank() != 0 || ty.dtype.is_float() || ty.dtype == DType::Bool {
        return Err(Error::new("fori_loop needs bounds that are integers without axes").note("bound", bound.describe()));
    }
    Ok(bound.to_dtype(DType::I64))
}

fn one_bool(tensor: &Tensor, message: &str) -> Result<()> {
    match tensor.ty()? {
        ty if ty == TensorType::scalar(DType::Bool) => Ok(()),
        _ => Err(not_one_bool(message, &tensor.describe())),
    }
}

fn not_one_bool(message: &str, told: &str) -> Error {
    let error = Error::new(message).note("tensor", told);
    error.note("remedy", "compare (x.gt(0.0)), and reduce over all axes with any or all; where_ decides element by element")
}

/// A closure traced on parameters that stand for some tensors.
struct Traced<Y> {
    finished: Finished,
    returned: Y,
    structure: Vec<usize>,
    types: Vec<TensorType>,
    /// The results in words.
    told: Vec<String>,
}

impl<Y: Tree> Traced<Y> {
    fn new(
        what: &'static str,
        name: &str,
        given: &[Tensor],
        f: impl FnOnce(&mut dyn Iterator<Item = Tensor>) -> Result<Y>,
    ) -> Result<Traced<Y>> {
        let parameter = |(k, tensor): (usize, &Tensor)| {
            let ty = tensor.ty()?;
            // What starts as a constant can depend on parameters after the first step of a loop.
            let tracked = ty.dtype.is_float();
            Ok(Parameter { name: format!("x{k}"), ty, tracked, slot: None })
        };
        let parameters = given.iter().enumerate().map(parameter).collect::<Result<Vec<_>>>()?;
        let mut told = Vec::new();
        let mut traced = None;
        let finished = trace::trace_region(Kind::Region(what), name, parameters, |tensors| {
            let returned = f(&mut tensors.into_iter())?;
            let (mut outputs, mut structure, mut types) = (Vec::new(), Vec::new(), Vec::new());
            returned.flatten(&mut outputs, &mut structure);
            for output in &outputs {
                types.push(output.ty()?);
                told.push(output.describe());
            }
            traced = Some((returned, structure, types));
            Ok(outputs)
        })?;
        if finished.slots.iter().any(|s| s.changed) {
            return Err(Error::new(format!("{what} cannot change gradients")));
        }
        let (returned, structure, types) = traced.ok_or_else(|| Error::new(format!("{what} returned nothing")))?;
        Ok(Traced { finished, returned, structure, types, told })
    }
}

fn assign(variables: &[Arc<Variable>], values: impl Iterator<Item = Tensor>) -> Result<()> {
    variables.iter().zip(values).try_for_each(|(variable, value)| variable_operand(variable).assign(&value))
}
