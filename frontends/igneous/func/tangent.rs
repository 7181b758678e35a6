//! Products of Jacobians with vectors, from the right ([`jvp`]) and from the left ([`vjp`]).

use super::apply::apply_graph;
use super::closed::{Closed, tensors_of, trace};
use crate::compile::{ArgumentList, Arguments, Function, Tree, Value};
use crate::location::entered;
use crate::tensor::Tensor;
use igneous_ir::autodiff::{self, SavedValue, jvp_graph, pullback};
use igneous_ir::graph::Graph;
use igneous_ir::{Error, Loc, Result};
use std::marker::PhantomData;

/// What `function` returns for `primals`, and how that changes when these move along `tangents`: forward mode. The tangents
/// have the types of the primals; those of integers and bools do not count. Integer results have the tangent zero.
///
/// ```
/// # use igneous::{Tensor, func::jvp};
/// let (y, dy) = jvp(|x: Tensor, y: Tensor| x * y, (Tensor::new(2.0), Tensor::new(3.0)), (Tensor::new(1.0), Tensor::new(10.0)))?;
/// assert_eq!((y.item()?, dy.item()?), (6.0, 23.0));
/// # Ok::<(), igneous::Error>(())
/// ```
///
/// # Errors
/// If a tensor is invalid, a tangent has another type than its primal, or the function fails or cannot be differentiated.
#[track_caller]
pub fn jvp<F: Function<Args>, Args: ArgumentList>(
    function: F,
    primals: impl Arguments<Args>,
    tangents: impl Arguments<Args>,
) -> Result<(Value<F, Args>, Value<F, Args>)> {
    let user = entered();
    push(&function, &primals.arguments(), &tangents.arguments(), user.loc()).map_err(|e| e.at(user.loc()))
}

fn push<F: Function<Args>, Args: ArgumentList>(
    function: &F,
    primals: &Args,
    tangents: &Args,
    loc: Loc,
) -> Result<(Value<F, Args>, Value<F, Args>)> {
    let (tensors, directions) = (tensors_of(primals)?, tensors_of(tangents)?);
    expect_types("tangent", "primal", &directions, &tensors)?;
    let types = tensors.iter().map(Tensor::ty).collect::<Result<_>>()?;
    let closed = trace("jvp", function, primals, tensors, types)?;
    let wrt = closed.floats_among(closed.arguments);
    let graph = jvp_graph(&closed.graph, &wrt)?;
    let directions = directions.into_iter().zip(&wrt).filter(|(_, wanted)| **wanted).map(|(t, _)| t);
    let inputs: Vec<Tensor> = closed.inputs.iter().cloned().chain(directions).collect();
    let mut results = apply_graph(graph, &inputs, loc)?;
    let mut pushed = results.split_off(closed.graph.outputs().len());
    let assigned = results.split_off(closed.returned);
    pushed.truncate(closed.returned);
    closed.commit(&assigned)?;
    Ok((closed.rebuild(results), closed.rebuild(pushed)))
}

/// As many tensors, of the same types.
fn expect_types(what: &str, of: &str, found: &[Tensor], expected: &[Tensor]) -> Result<()> {
    if found.len() != expected.len() {
        let message = format!("there are {} tensors among the {of}s and {} among the {what}s", expected.len(), found.len());
        return Err(Error::new(message));
    }
    for (found, expected) in found.iter().zip(expected) {
        if found.ty()? != expected.ty()? {
            let error = Error::new(format!("a {what} has the type of its {of}"));
            return Err(error.note(of, expected.describe()).note(what, found.describe()));
        }
    }
    Ok(())
}

/// What `function` returns for `primals`, and a function from cotangents of that to cotangents of `primals`: reverse mode.
/// The function is computed once, however often cotangents are pulled back.
///
/// ```
/// # use igneous::{Tensor, func::vjp};
/// let (y, pullback) = vjp(|x: Tensor| x.sin(), Tensor::new([0.0, 1.0]))?;
/// assert_eq!(pullback.run(Tensor::new([2.0, 0.0]))?.to_vec::<f32>()?, [2.0, 0.0]);
/// # assert_eq!(y.rank(), 1);
/// # Ok::<(), igneous::Error>(())
/// ```
///
/// # Errors
/// If a tensor is invalid, or the function fails or cannot be differentiated.
#[track_caller]
pub fn vjp<F: Function<Args>, Args: ArgumentList>(function: F, primals: impl Arguments<Args>) -> Result<WithPullback<F, Args>> {
    let user = entered();
    pull(&function, primals.arguments(), user.loc()).map_err(|e| e.at(user.loc()))
}

/// What a function returns, and how cotangents of it are pulled back.
type WithPullback<F, Args> = (Value<F, Args>, Pullback<Value<F, Args>, Args>);

/// Pulls cotangents of a function's results back to its arguments; made by [`vjp`].
pub struct Pullback<Y, Args> {
    primals: Args,
    outputs: Vec<Tensor>,
    backward: Reverse,
    result: PhantomData<fn(Y)>,
}

/// The backward part of a function at some place.
pub(super) struct Reverse {
    graph: Graph,
    saved: Vec<Tensor>,
    /// The outputs whose cotangents it takes, and the inputs whose cotangents it gives.
    cotangents: Vec<usize>,
    gradients: Vec<usize>,
}

impl Reverse {
    /// Computes the function's outputs, and its backward part with respect to the inputs `wrt`.
    pub(super) fn of<R>(closed: &Closed<R>, wrt: &[bool], loc: Loc) -> Result<(Vec<Tensor>, Reverse)> {
        let autodiff::Pullback { forward, backward, saved, cotangents, gradients } = pullback(&closed.graph, wrt)?;
        let mut made = apply_graph(forward, &closed.inputs, loc)?;
        let tensor = |source: &SavedValue| match *source {
            SavedValue::Input(k) => closed.inputs[k].clone(),
            SavedValue::Output(k) => made[k].clone(),
        };
        let reverse = Reverse { graph: backward, saved: saved.iter().map(tensor).collect(), cotangents, gradients };
        made.truncate(closed.graph.outputs().len());
        Ok((made, reverse))
    }

    /// The graph, the values it has saved, and how many cotangents it takes after them.
    pub(super) fn parts(&self) -> (&Graph, &[Tensor], &[usize], &[usize]) {
        (&self.graph, &self.saved, &self.cotangents, &self.gradients)
    }
}

fn pull<F: Function<Args>, Args: ArgumentList>(function: &F, primals: Args, loc: Loc) -> Result<WithPullback<F, Args>> {
    let tensors = tensors_of(&primals)?;
    let types = tensors.iter().map(Tensor::ty).collect::<Result<_>>()?;
    let closed = trace("vjp", function, &primals, tensors.clone(), types)?;
    let (mut outputs, backward) = Reverse::of(&closed, &closed.floats_among(closed.arguments), loc)?;
    let assigned = outputs.split_off(closed.returned);
    closed.commit(&assigned)?;
    let value = closed.rebuild(outputs.clone());
    let primals = primals.rebuild(&mut tensors.into_iter());
    Ok((value, Pullback { primals, outputs, backward, result: PhantomData }))
}

impl<Y: Tree, Args: ArgumentList> Pullback<Y, Args> {
    /// The cotangents of the arguments (of one argument itself, of more as a tuple) from those of the results. Cotangents of
    /// integers and bools do not count, and are zero.
    ///
    /// # Errors
    /// If a cotangent is invalid or has another type than its result.
    #[track_caller]
    pub fn run(&self, cotangents: Y) -> Result<Args::Unpacked> {
        let user = entered();
        self.apply(&cotangents, user.loc()).map_err(|e| e.at(user.loc()))
    }

    fn apply(&self, cotangents: &Y, loc: Loc) -> Result<Args::Unpacked> {
        let cotangents = tensors_of(cotangents)?;
        expect_types("cotangent", "result", &cotangents, &self.outputs)?;
        let Reverse { graph, saved, cotangents: taken, gradients } = &self.backward;
        // What a function assigns has no cotangent.
        let zeros = |k: usize| graph.ty(graph.inputs()[saved.len() + k].0).clone();
        let taken = taken.iter().enumerate().map(|(k, &r)| match cotangents.get(r) {
            Some(cotangent) => cotangent.clone(),
            None => Tensor::zeros(zeros(k).shape).to_dtype(zeros(k).dtype),
        });
        let inputs: Vec<Tensor> = saved.iter().cloned().chain(taken).collect();
        let found = apply_graph(graph.clone(), &inputs, loc)?;
        let mut primals = Vec::new();
        self.primals.flatten(&mut primals, &mut Vec::new());
        let gradient = |(k, primal): (usize, &Tensor)| match gradients.iter().position(|&g| g == k) {
            Some(at) => found[at].clone(),
            None => primal.zeros_like(),
        };
        let gradients: Vec<Tensor> = primals.iter().enumerate().map(gradient).collect();
        Ok(self.primals.rebuild(&mut gradients.into_iter()).unpacked())
    }
}

impl<Y: Tree + Send + Sync + 'static, Args: ArgumentList> Function<(Y,)> for Pullback<Y, Args> {
    type Outputs = Result<Args::Unpacked>;

    fn call(&self, (cotangents,): (Y,)) -> Result<Args::Unpacked> {
        self.run(cotangents)
    }
}

/// A borrowed function is a function, so that a pullback can be mapped and still be used.
impl<Y: Tree + Send + Sync + 'static, Args: ArgumentList> Function<(Y,)> for &Pullback<Y, Args> {
    type Outputs = Result<Args::Unpacked>;

    fn call(&self, (cotangents,): (Y,)) -> Result<Args::Unpacked> {
        self.run(cotangents)
    }
}
