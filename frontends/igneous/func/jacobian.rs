//! Jacobians and Hessians.

use super::apply::apply_graph;
use super::closed::{Closed, tensors_of, trace};
use super::tangent::Reverse;
use super::{arguments_of, transform};
use crate::compile::{ArgumentList, Arguments, Function, Outputs, Tree, Value};
use crate::location::entered;
use crate::tensor::Tensor;
use igneous_ir::autodiff::jvp_graph;
use igneous_ir::batch::batch;
use igneous_ir::{Error, Loc, Result, Shape, TensorType};
use std::marker::PhantomData;

/// The Jacobian of a function by reverse mode; made by [`jacrev`].
pub struct JacRev<F, Args> {
    function: F,
    arguments: PhantomData<fn(Args)>,
}

/// The Jacobian of a function by forward mode; made by [`jacfwd`].
pub struct JacFwd<F, Args> {
    function: F,
    arguments: PhantomData<fn(Args)>,
}

/// The Hessian of a function; made by [`hessian`].
pub struct Hessian<F, Args>(JacFwd<JacRev<F, Args>, Args>);

/// The Jacobian of `function`, which returns a tensor, with respect to its first argument: for each tensor in that, a tensor
/// with the axes of the result and then those of the argument. One backward pass over a batch of all unit vectors: best
/// where the result has fewer elements than the argument.
///
/// ```
/// # use igneous::{Tensor, func::jacrev};
/// let a = Tensor::new([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]);
/// let jacobian = jacrev(|x: Tensor| a.matmul(&x)).run(Tensor::new([1.0, 1.0]))?;
/// assert_eq!(jacobian.to_vec::<f32>()?, a.to_vec::<f32>()?);
/// # Ok::<(), igneous::Error>(())
/// ```
pub fn jacrev<F: Function<Args>, Args: ArgumentList>(function: F) -> JacRev<F, Args>
where
    F::Outputs: Outputs<Value = Tensor>,
{
    JacRev { function, arguments: PhantomData }
}

/// As [`jacrev`], by forward mode: best where the argument has fewer elements than the result.
pub fn jacfwd<F: Function<Args>, Args: ArgumentList>(function: F) -> JacFwd<F, Args>
where
    F::Outputs: Outputs<Value = Tensor>,
{
    JacFwd { function, arguments: PhantomData }
}

/// The second derivatives of `function` with respect to its first argument, a tensor: `jacfwd(jacrev(function))`, with the
/// axes of the result, then twice those of the argument.
pub fn hessian<F: Function<Args>, Args: ArgumentList<First = Tensor>>(function: F) -> Hessian<F, Args>
where
    F::Outputs: Outputs<Value = Tensor>,
{
    Hessian(jacfwd(jacrev(function)))
}

/// The function traced, and how many of its inputs are tensors of the first argument, which must be floats.
fn traced<F: Function<Args>, Args: ArgumentList>(
    name: &str,
    function: &F,
    arguments: &Args,
) -> Result<(Closed<Value<F, Args>>, usize)> {
    let tensors = tensors_of(arguments)?;
    let types = tensors.iter().map(Tensor::ty).collect::<Result<_>>()?;
    let first = arguments.tensors_of_each()[0];
    if let Some(other) = tensors[..first].iter().find(|t| !t.dtype().is_float()) {
        let error = Error::new("Jacobians are those by floating-point tensors");
        return Err(error.note("tensor of the first argument", other.describe()));
    }
    let closed = trace(name, function, arguments, tensors, types)?;
    let ty = result_type(&closed);
    if !ty.dtype.is_float() {
        return Err(Error::new("a Jacobian is that of a floating-point result").note("result", ty));
    }
    Ok((closed, first))
}

/// The type of the only result.
fn result_type<R>(closed: &Closed<R>) -> TensorType {
    closed.graph.ty(closed.graph.outputs()[0].0).clone()
}

/// All unit vectors of a type, along a first axis.
fn unit_vectors(ty: &TensorType) -> Tensor {
    let count = ty.elements();
    let shape: Shape = std::iter::once(count).chain(ty.shape.iter().copied()).collect();
    Tensor::eye(count).to_dtype(ty.dtype).reshape(shape)
}

impl<F: Function<Args>, Args: ArgumentList> JacRev<F, Args>
where
    F::Outputs: Outputs<Value = Tensor>,
{
    fn apply(&self, arguments: &Args, loc: Loc) -> Result<Args::First> {
        let (closed, first) = traced("jacrev", &self.function, arguments)?;
        let ty = result_type(&closed);
        let (outputs, reverse) = Reverse::of(&closed, &closed.floats_among(first), loc)?;
        closed.commit(&outputs[closed.returned..])?;
        let (graph, saved, cotangents, gradients) = reverse.parts();
        let mut mask = vec![false; saved.len()];
        let mut inputs = saved.to_vec();
        for (k, &output) in cotangents.iter().enumerate() {
            let ty = graph.ty(graph.inputs()[saved.len() + k].0);
            mask.push(output == 0);
            inputs.push(if output == 0 { unit_vectors(ty) } else { Tensor::zeros(ty.shape.clone()).to_dtype(ty.dtype) });
        }
        let rows = apply_graph(batch(graph, &mask, ty.elements())?, &inputs, loc)?;
        let jacobian = |k: usize| {
            let shape: Shape = ty.shape.iter().copied().chain(closed.inputs[k].shape()).collect();
            match gradients.iter().position(|&g| g == k) {
                Some(at) => rows[at].reshape(shape),
                None => Tensor::zeros(shape).to_dtype(closed.inputs[k].dtype()),
            }
        };
        Ok(arguments.first().rebuild(&mut (0..first).map(jacobian)))
    }
}

impl<F: Function<Args>, Args: ArgumentList> JacFwd<F, Args>
where
    F::Outputs: Outputs<Value = Tensor>,
{
    fn apply(&self, arguments: &Args, loc: Loc) -> Result<Args::First> {
        let (closed, first) = traced("jacfwd", &self.function, arguments)?;
        let ty = result_type(&closed);
        let mut jacobians = Vec::new();
        for k in 0..first {
            let wrt: Vec<bool> = (0..closed.inputs.len()).map(|input| input == k).collect();
            let pushed = jvp_graph(&closed.graph, &wrt)?;
            let tangent = pushed.outputs()[closed.graph.outputs().len()].clone();
            let columns = pushed.with_outputs([tangent]);
            let of = closed.inputs[k].ty()?;
            let mut mask = vec![false; closed.inputs.len()];
            mask.push(true);
            let inputs: Vec<Tensor> = closed.inputs.iter().cloned().chain([unit_vectors(&of)]).collect();
            let columns = apply_graph(batch(&columns, &mask, of.elements())?, &inputs, loc)?.remove(0);
            let last = ty.rank() as i64;
            let shape: Shape = ty.shape.iter().chain(&of.shape).copied().collect();
            jacobians.push(columns.movedim(0, last).reshape(shape));
        }
        if !closed.assigned.is_empty() {
            let assigned = closed.graph.with_outputs(closed.graph.outputs()[closed.returned..].iter().cloned());
            closed.commit(&apply_graph(assigned, &closed.inputs, loc)?)?;
        }
        Ok(arguments.first().rebuild(&mut jacobians.into_iter()))
    }
}

impl<F: Function<Args>, Args: ArgumentList<First = Tensor>> Hessian<F, Args>
where
    F::Outputs: Outputs<Value = Tensor>,
{
    fn apply(&self, arguments: &Args, loc: Loc) -> Result<Tensor> {
        self.0.apply(arguments, loc)
    }
}

transform!(JacRev -> Args::First where F::Outputs: Outputs<Value = Tensor>);
transform!(JacFwd -> Args::First where F::Outputs: Outputs<Value = Tensor>);
transform!(Hessian -> Tensor where Args: ArgumentList<First = Tensor>, F::Outputs: Outputs<Value = Tensor>);
