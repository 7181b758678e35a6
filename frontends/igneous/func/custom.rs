//! Functions with derivatives of their own.

use super::arguments_of;
use super::closed::{Closed, close, tensors_of, trace};
use crate::apply::try_apply;
use crate::compile::{ArgumentList, Arguments, Function, Outputs, Tree, Value};
use crate::location::entered;
use crate::tensor::Tensor;
use igneous_ir::graph::{Graph, Region, Value as Place};
use igneous_ir::ops::{CustomVjp as Regions, custom_vjp as operator};
use igneous_ir::{Error, Loc, Result, TensorType};
use std::marker::PhantomData;

/// A function with a backward part of its own; made by [`custom_vjp`].
pub struct CustomVjp<F, B, Y, S, Args> {
    forward: F,
    backward: B,
    types: PhantomData<fn(Y, S, Args)>,
}

/// A function with a tangent of its own; made by [`custom_jvp`].
pub struct CustomJvp<F, T, Args> {
    function: F,
    tangent: T,
    types: PhantomData<fn(Args)>,
}

/// A function with a derivative of its own for reverse mode (`torch.autograd.Function`, `jax.custom_vjp`). `forward` returns
/// its results and what `backward` needs; `backward` is called with that and with the cotangents of the results, and returns
/// the cotangents of the arguments: of one argument itself, of more as a tuple. Those of integers and bools do not count.
///
/// ```
/// use igneous::func::custom_vjp;
/// use igneous::{Tensor, grad};
///
/// // log(1 + eˣ), whose derivative as it follows from the formula is inf / inf for large numbers.
/// let softplus = custom_vjp(
///     |x: Tensor| (x.exp().log1p(), x),
///     |x: Tensor, dy: Tensor| dy * (1.0 - 1.0 / (x.exp() + 1.0)),
/// );
/// let x = Tensor::new(100.0).requires_grad_();
/// let y = softplus.run(x.clone())?;
/// assert_eq!(grad(&y, &[&x])?[0].item()?, 1.0);
/// # Ok::<(), igneous::Error>(())
/// ```
///
/// Both parts are traced each time the function is called, and become part of a compiled function around it. In forward mode
/// the backward part is transposed. Derivatives of derivatives are those of `backward`, and of `forward` as far as what it
/// leaves for `backward` goes. What the parts use of their surroundings must not require gradients: pass it as an argument.
pub fn custom_vjp<F, B, R, Y, S, Args>(forward: F, backward: B) -> CustomVjp<F, B, Y, S, Args>
where
    F: Function<Args>,
    F::Outputs: Outputs<Value = (Y, S)>,
    B: Fn(S, Y) -> R + Send + Sync,
    R: Outputs<Value = Args::Unpacked>,
    Y: Tree + Send + Sync + 'static,
    S: Tree + Send + Sync + 'static,
    Args: ArgumentList,
{
    CustomVjp { forward, backward, types: PhantomData }
}

/// A function with a derivative of its own for forward mode (`jax.custom_jvp`). `tangent` is called with the arguments and with
/// their tangents, each as one value (several as a tuple), and returns the tangents of the results. It is linear in the
/// tangents; in reverse mode it is transposed. Tangents of integers and bools are zero.
///
/// ```
/// use igneous::func::{custom_jvp, grad};
/// use igneous::{Tensor, where_};
///
/// // |x| with the derivative 1 at 0.
/// let abs = custom_jvp(|x: Tensor| x.abs(), |x: Tensor, t: Tensor| where_(&x.ge(0.0), &t, &-&t));
/// let slope = grad(|x: Tensor| Ok(abs.run(x)?.sum_all()));
/// assert_eq!(slope.run(Tensor::new([-2.0, 0.0]))?.to_vec::<f32>()?, [-1.0, 1.0]);
/// # Ok::<(), igneous::Error>(())
/// ```
///
/// Both parts are traced as those of [`custom_vjp`] are.
pub fn custom_jvp<F, T, R, Args>(function: F, tangent: T) -> CustomJvp<F, T, Args>
where
    F: Function<Args>,
    T: Fn(Args::Unpacked, Args::Unpacked) -> R + Send + Sync,
    R: Outputs<Value = Value<F, Args>>,
    Args: ArgumentList,
{
    CustomJvp { function, tangent, types: PhantomData }
}

impl<F, B, R, Y, S, Args> CustomVjp<F, B, Y, S, Args>
where
    F: Function<Args>,
    F::Outputs: Outputs<Value = (Y, S)>,
    B: Fn(S, Y) -> R + Send + Sync,
    R: Outputs<Value = Args::Unpacked>,
    Y: Tree + Send + Sync + 'static,
    S: Tree + Send + Sync + 'static,
    Args: ArgumentList,
{
    /// Calls the function.
    ///
    /// # Errors
    /// If an argument is invalid, a part fails, the backward part returns other types than those of the arguments, or a part
    /// uses what requires gradients and is no argument.
    #[track_caller]
    pub fn run(&self, arguments: impl Arguments<Args>) -> Result<Y> {
        let user = entered();
        self.apply(&arguments.arguments(), user.loc()).map_err(|e| e.at(user.loc()))
    }

    fn apply(&self, arguments: &Args, loc: Loc) -> Result<Y> {
        let forward = trace_on("custom_vjp", &self.forward, arguments)?;
        let (y, residuals) = forward.template();
        let results = forward.output_types(0..count(y));
        let left = forward.output_types(count(y)..forward.returned);
        let given = left.iter().chain(floats(&results)).cloned().collect();
        let backward = close("backward", Vec::new(), given, |mut given| {
            let cotangents = with_zeros(&results, given.split_off(left.len()));
            let residuals = residuals.rebuild(&mut given.into_iter());
            let found = (self.backward)(residuals, y.rebuild(&mut cotangents.into_iter())).into_result()?;
            floats_like(&found, &forward.argument_types(), "backward part", "cotangent")
        })?;
        let made = apply_parts(&forward, results.len(), Some(&backward), None, loc)?;
        Ok(y.rebuild(&mut made.into_iter()))
    }
}

impl<F, T, R, Args> CustomJvp<F, T, Args>
where
    F: Function<Args>,
    T: Fn(Args::Unpacked, Args::Unpacked) -> R + Send + Sync,
    R: Outputs<Value = Value<F, Args>>,
    Args: ArgumentList,
{
    /// Calls the function.
    ///
    /// # Errors
    /// If an argument is invalid, a part fails, the tangent part returns other types than those of the results, or a part
    /// uses what requires gradients and is no argument.
    #[track_caller]
    pub fn run(&self, arguments: impl Arguments<Args>) -> Result<Value<F, Args>> {
        let user = entered();
        self.apply(&arguments.arguments(), user.loc()).map_err(|e| e.at(user.loc()))
    }

    fn apply(&self, arguments: &Args, loc: Loc) -> Result<Value<F, Args>> {
        let function = trace_on("custom_jvp", &self.function, arguments)?;
        let own = function.argument_types();
        let given = own.iter().chain(floats(&own)).cloned().collect();
        let tangent = close("tangent", Vec::new(), given, |mut given| {
            let tangents = with_zeros(&own, given.split_off(own.len()));
            let values = arguments.rebuild(&mut given.into_iter()).unpacked();
            let tangents = arguments.rebuild(&mut tangents.into_iter()).unpacked();
            let found = (self.tangent)(values, tangents).into_result()?;
            floats_like(&found, &function.output_types(0..function.returned), "tangent part", "tangent")
        })?;
        let made = apply_parts(&function, function.returned, None, Some(&tangent), loc)?;
        Ok(function.rebuild(made))
    }
}

impl<F, B, R, Y, S, Args> Function<Args> for CustomVjp<F, B, Y, S, Args>
where
    F: Function<Args>,
    F::Outputs: Outputs<Value = (Y, S)>,
    B: Fn(S, Y) -> R + Send + Sync,
    R: Outputs<Value = Args::Unpacked>,
    Y: Tree + Send + Sync + 'static,
    S: Tree + Send + Sync + 'static,
    Args: ArgumentList,
{
    type Outputs = Result<Y>;

    fn call(&self, arguments: Args) -> Result<Y> {
        self.run(arguments_of(arguments))
    }
}

impl<F, T, R, Args> Function<Args> for CustomJvp<F, T, Args>
where
    F: Function<Args>,
    T: Fn(Args::Unpacked, Args::Unpacked) -> R + Send + Sync,
    R: Outputs<Value = Value<F, Args>>,
    Args: ArgumentList,
{
    type Outputs = Result<Value<F, Args>>;

    fn call(&self, arguments: Args) -> Self::Outputs {
        self.run(arguments_of(arguments))
    }
}

fn trace_on<F: Function<Args>, Args: Tree>(name: &str, function: &F, arguments: &Args) -> Result<Closed<Value<F, Args>>> {
    let tensors = tensors_of(arguments)?;
    let types = tensors.iter().map(Tensor::ty).collect::<Result<_>>()?;
    trace(name, function, arguments, tensors, types)
}

fn count(tree: &impl Tree) -> usize {
    let mut tensors = Vec::new();
    tree.flatten(&mut tensors, &mut Vec::new());
    tensors.len()
}

fn floats(types: &[TensorType]) -> impl Iterator<Item = &TensorType> {
    types.iter().filter(|ty| ty.dtype.is_float())
}

/// The tensors of those types that are floats, and zeros for the others.
fn with_zeros(types: &[TensorType], given: Vec<Tensor>) -> Vec<Tensor> {
    let mut given = given.into_iter();
    let missing = || Tensor::from(Error::new("a tensor of a function's derivative is missing"));
    let tensor = |ty: &TensorType| match ty.dtype.is_float() {
        true => given.next().unwrap_or_else(missing),
        false => Tensor::zeros(ty.shape.clone()).to_dtype(ty.dtype),
    };
    types.iter().map(tensor).collect()
}

/// The tensors that a part returned for those types that are floats.
fn floats_like(found: &impl Tree, types: &[TensorType], part: &str, what: &str) -> Result<Vec<Tensor>> {
    let found = tensors_of(found)?;
    if found.len() != types.len() {
        let message = format!("the {part} of a function returns {} {what}s where {} are expected", found.len(), types.len());
        return Err(Error::new(message));
    }
    let mut kept = Vec::new();
    for (tensor, ty) in found.into_iter().zip(types).filter(|(_, ty)| ty.dtype.is_float()) {
        if tensor.ty()? != *ty {
            let error = Error::new(format!("the {part} of a function returns a {what} of another type"));
            return Err(error.note("expected", ty).note("found", tensor.describe()));
        }
        kept.push(tensor);
    }
    Ok(kept)
}

/// Applies the operator of these parts; gives its first `results` results.
fn apply_parts<R: Tree>(
    forward: &Closed<R>,
    results: usize,
    backward: Option<&Closed<Vec<Tensor>>>,
    tangent: Option<&Closed<Vec<Tensor>>>,
    loc: Loc,
) -> Result<Vec<Tensor>> {
    let mut operands = forward.inputs.clone();
    let mut captured = |part: Option<&Closed<Vec<Tensor>>>| {
        let start = operands.len();
        operands.extend(part.iter().flat_map(|p| p.inputs.iter().cloned()));
        start..operands.len()
    };
    let (of_backward, of_tangent) = (captured(backward), captured(tangent));
    let assigned = [backward, tangent].into_iter().flatten().flat_map(|part| &part.assigned).next();
    if let Some(variable) = assigned {
        let error = Error::new("the derivative of a function cannot assign variables");
        return Err(error.note("variable", variable.describe()));
    }
    if let Some(other) = operands[forward.arguments..].iter().find(|t| t.requires_grad()) {
        let error =
            Error::new("a function with a derivative of its own uses a tensor that requires gradients and is no argument");
        return Err(error.note("tensor", other.describe()).note("remedy", "pass it as an argument, or detach it"));
    }
    let types: Vec<TensorType> = operands.iter().map(Tensor::ty).collect::<Result<_>>()?;
    let arguments = forward.arguments;
    let residuals = forward.output_types(results..forward.graph.outputs().len());
    // The values of assigned variables are residuals that the backward part does not see.
    let left = forward.returned - results;
    let backward = backward.map(|part| {
        let cotangents = part.argument_types().split_off(left);
        let extra: Vec<TensorType> = residuals.iter().cloned().chain(cotangents).collect();
        part_of("backward", &types, &extra, &part.graph, |operands, extra| {
            [&extra[..left], &extra[residuals.len()..], &operands[of_backward.clone()]].concat()
        })
    });
    let tangent = tangent.map(|part| {
        let tangents = part.argument_types().split_off(arguments);
        let extra: Vec<TensorType> = residuals.iter().cloned().chain(tangents).collect();
        part_of("tangent", &types, &extra, &part.graph, |operands, extra| {
            [&operands[..arguments], &extra[residuals.len()..], &operands[of_tangent.clone()]].concat()
        })
    });
    let regions = Regions {
        forward: part_of("forward", &types, &[], &forward.graph, |operands, _| operands[..forward.inputs.len()].to_vec())?,
        backward: backward.transpose()?,
        tangent: tangent.transpose()?,
        arguments,
        outputs: results,
    };
    let operands: Vec<&Tensor> = operands.iter().collect();
    let mut made = try_apply(operator(regions), &operands, loc)?.into_vec();
    let assigned = made.split_off(forward.returned);
    forward.commit(&assigned)?;
    made.truncate(results);
    Ok(made)
}

/// A traced graph as a region from the operands of the operator and further inputs; `given` picks its inputs among them.
fn part_of(
    name: &str,
    operands: &[TensorType],
    extra: &[TensorType],
    traced: &Graph,
    given: impl FnOnce(&[Place], &[Place]) -> Vec<Place>,
) -> Result<Region> {
    let mut graph = Graph::new(name);
    let operands: Vec<Place> = operands.iter().enumerate().map(|(k, ty)| graph.input(format!("x{k}"), ty.clone())).collect();
    let extra: Vec<Place> = extra.iter().enumerate().map(|(k, ty)| graph.input(format!("r{k}"), ty.clone())).collect();
    for (k, value) in graph.inline(traced, &given(&operands, &extra))?.into_iter().enumerate() {
        graph.output(format!("y{k}"), value);
    }
    Ok(Region::new(graph))
}
