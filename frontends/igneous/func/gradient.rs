//! Gradients of functions that return a number.

use super::apply::apply_graph;
use super::closed::{Closed, tensors_of, trace};
use super::{arguments_of, transform};
use crate::compile::{ArgumentList, Arguments, Function, Tree, Value};
use crate::location::entered;
use crate::tensor::Tensor;
use igneous_ir::graph::{Graph, Value as Place};
use igneous_ir::{Dim, Error, Loc, Result, Shape, ops};
use std::marker::PhantomData;

/// The gradient of a function; made by [`grad`].
pub struct Grad<F, Args>(ValueAndGrad<F, Args>);

/// The value and the gradient of a function; made by [`value_and_grad`].
pub struct ValueAndGrad<F, Args> {
    function: F,
    arguments: PhantomData<fn(Args)>,
}

/// The gradient of `function` with respect to its first argument, as a function of the same arguments. The first tensor that
/// `function` returns is the loss: one number; see [`value_and_grad`] for the others.
///
/// ```
/// # use igneous::{Tensor, func::grad};
/// let loss = |(w, b): (Tensor, Tensor), x: Tensor| (w * x + b).square().sum_all();
/// let (dw, db) = grad(loss).run(((Tensor::new(2.0), Tensor::new(1.0)), Tensor::new([1.0, 3.0])))?;
/// assert_eq!((dw.item()?, db.item()?), (48.0, 20.0));
/// # Ok::<(), igneous::Error>(())
/// ```
///
/// It is not [`igneous::grad`](crate::grad()), which differentiates a tensor by others that it was computed from.
pub fn grad<F: Function<Args>, Args: ArgumentList>(function: F) -> Grad<F, Args> {
    Grad(value_and_grad(function))
}

/// What `function` returns, and its gradient with respect to its first argument. The first tensor that it returns is the
/// loss: one number; others are passed on.
///
/// ```
/// # use igneous::{Tensor, func::value_and_grad};
/// let f = |x: Tensor| (x.square().sum_all(), x.mean_all());
/// let ((loss, mean), dx) = value_and_grad(f).run(Tensor::new([1.0, 3.0]))?;
/// assert_eq!((loss.item()?, mean.item()?, dx.to_vec::<f32>()?), (10.0, 2.0, vec![2.0, 6.0]));
/// # Ok::<(), igneous::Error>(())
/// ```
pub fn value_and_grad<F: Function<Args>, Args: ArgumentList>(function: F) -> ValueAndGrad<F, Args> {
    ValueAndGrad { function, arguments: PhantomData }
}

impl<F: Function<Args>, Args: ArgumentList> ValueAndGrad<F, Args> {
    fn apply(&self, arguments: &Args, loc: Loc) -> Result<(Value<F, Args>, Args::First)> {
        let tensors = tensors_of(arguments)?;
        let types = tensors.iter().map(Tensor::ty).collect::<Result<_>>()?;
        let first = arguments.tensors_of_each()[0];
        if let Some(other) = tensors[..first].iter().find(|t| !t.dtype().is_float()) {
            let error = Error::new("grad differentiates by floating-point tensors");
            return Err(error.note("tensor of the first argument", other.describe()));
        }
        let mut closed = trace("grad", &self.function, arguments, tensors, types)?;
        add_gradients(&mut closed, first)?;
        let mut results = apply_graph(std::mem::replace(&mut closed.graph, Graph::new("")), &closed.inputs, loc)?;
        let gradients = results.split_off(results.len() - first);
        let assigned = results.split_off(closed.returned);
        closed.commit(&assigned)?;
        Ok((closed.rebuild(results), arguments.first().rebuild(&mut gradients.into_iter())))
    }
}

/// Appends the gradients of the first output by the first `count` inputs to the outputs.
fn add_gradients<R>(closed: &mut Closed<R>, count: usize) -> Result<()> {
    let graph = &mut closed.graph;
    let loss = graph.outputs().first().filter(|_| closed.returned > 0).map(|(v, _)| *v);
    let Some(mut loss) = loss else { return Err(Error::new("grad needs a function that returns its loss first")) };
    let ty = graph.ty(loss).clone();
    if !ty.dtype.is_float() || ty.elements() != Dim::ONE {
        let error = Error::new("grad needs a function whose first result is the loss: one floating-point number");
        return Err(error.note("first result", ty).note("remedy", "reduce it, or use vjp or jacrev"));
    }
    if ty.rank() > 0 {
        loss = graph.add(ops::reshape(Shape::new()), &[loss])?[0];
    }
    let by: Vec<Place> = graph.inputs()[..count].iter().map(|(v, _)| *v).collect();
    let operands: Vec<Place> = std::iter::once(loss).chain(by).collect();
    for (k, gradient) in graph.add(ops::grad(false), &operands)?.into_iter().enumerate() {
        graph.output(format!("d{k}"), gradient);
    }
    Ok(())
}

impl<F: Function<Args>, Args: ArgumentList> Grad<F, Args> {
    fn apply(&self, arguments: &Args, loc: Loc) -> Result<Args::First> {
        Ok(self.0.apply(arguments, loc)?.1)
    }
}

transform!(Grad -> Args::First);
transform!(ValueAndGrad -> (Value<F, Args>, Args::First));
