//! Mapping a function over a batch, as one computation.

use super::apply::apply_graph;
use super::closed::{Closed, tensors_of, trace};
use super::{arguments_of, transform};
use crate::apply::apply;
use crate::compile::{ArgumentList, Arguments, Function, Tree, Value};
use crate::location::entered;
use crate::random::{advance, random_state};
use crate::tensor::Tensor;
use crate::variable::Variable;
use igneous_ir::batch::batch_dependent;
use igneous_ir::{DType, Dim, Error, Loc, Result, Shape, TensorType, ops};
use std::marker::PhantomData;
use std::sync::Arc;

/// What random numbers the elements of a batch draw inside [`vmap`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Randomness {
    /// Each element its own, from a seed drawn for it: the state of the random numbers moves on by one.
    #[default]
    Different,
    /// All the same, those that the function would draw outside of `vmap`.
    Same,
    /// Drawing is an error.
    Error,
}

/// A function mapped over a batch; made by [`vmap`].
pub struct Vmap<F, Args> {
    function: F,
    in_axes: Option<Vec<Option<i64>>>,
    out_axis: i64,
    randomness: Randomness,
    arguments: PhantomData<fn(Args)>,
}

/// `function` applied to each element along the first axis of all tensors in its arguments, its results stacked along a new
/// first axis. Nothing is looped over: operators are replaced by those over a batch. What does not depend on a mapped
/// argument is computed once.
///
/// ```
/// # use igneous::{Tensor, func::vmap};
/// let dot = |a: Tensor, b: Tensor| (a * b).sum_all();
/// let (a, b) = (Tensor::new([[1.0, 2.0], [3.0, 4.0]]), Tensor::new([10.0, 100.0]));
/// assert_eq!(vmap(dot).in_axes([Some(0), None]).run((a, b))?.to_vec::<f32>()?, [210.0, 430.0]);
/// # Ok::<(), igneous::Error>(())
/// ```
pub fn vmap<F: Function<Args>, Args: ArgumentList>(function: F) -> Vmap<F, Args> {
    Vmap { function, in_axes: None, out_axis: 0, randomness: Randomness::default(), arguments: PhantomData }
}

impl<F: Function<Args>, Args: ArgumentList> Vmap<F, Args> {
    /// For each argument, the axis of its tensors to map over, counted from the end if negative; none if all elements get
    /// the whole argument.
    pub fn in_axes(mut self, axes: impl IntoIterator<Item = Option<i64>>) -> Self {
        self.in_axes = Some(axes.into_iter().collect());
        self
    }

    /// The axis of the results along which they are stacked, by default 0; counted from the end if negative.
    pub fn out_axis(mut self, axis: i64) -> Self {
        self.out_axis = axis;
        self
    }

    /// What random numbers the elements draw.
    pub fn randomness(mut self, randomness: Randomness) -> Self {
        self.randomness = randomness;
        self
    }

    fn apply(&self, arguments: &Args, loc: Loc) -> Result<Value<F, Args>> {
        let mut tensors = tensors_of(arguments)?;
        let axes = self.axes(arguments)?;
        let mut types = Vec::new();
        let mut extent: Option<(Dim, Tensor)> = None;
        for (tensor, axis) in tensors.iter_mut().zip(&axes) {
            let mut ty = tensor.ty()?;
            if let Some(axis) = *axis {
                let at = position(axis, ty.rank()).ok_or_else(|| {
                    Error::new(format!("vmap maps over axis {axis}, which a tensor does not have"))
                        .note("tensor", tensor.describe())
                })?;
                let found = ty.shape.remove(at);
                let (expected, first) = extent.get_or_insert_with(|| (found, tensor.clone()));
                if *expected != found {
                    let error = Error::new("vmap maps over axes of one extent").note("first", first.describe());
                    return Err(error.note("other", tensor.describe()));
                }
                *tensor = tensor.movedim(at as i64, 0);
            }
            types.push(ty);
        }
        let Some((extent, _)) = extent else { return Err(Error::new("vmap needs at least one tensor to map over")) };
        let mut closed = trace("vmap", &self.function, arguments, tensors, types)?;
        let mut batched: Vec<bool> = axes.iter().map(Option::is_some).collect();
        batched.resize(closed.inputs.len(), false);
        let states = self.states(&mut closed, &mut batched, extent)?;
        let (graph, dependent) = batch_dependent(&closed.graph, &batched, extent)?;
        let mut results = apply_graph(graph, &closed.inputs, loc)?;
        let mut assigned = results.split_off(closed.returned);
        for (k, variable) in closed.assigned.iter().enumerate() {
            if states.as_ref().is_some_and(|(random, _)| Arc::ptr_eq(random, variable)) {
                // Each element had a state of its own; the one they were drawn from has moved on already.
                assigned[k] = states.as_ref().expect("just found").1.clone();
            } else if dependent[closed.returned + k] {
                let error =
                    Error::new("a function mapped over a batch assigns a value to a variable that depends on the element");
                return Err(error.note("variable", variable.describe()));
            }
        }
        closed.commit(&assigned)?;
        let stacked =
            results.iter().zip(&dependent).map(|(t, batched)| self.stacked(t, *batched, extent)).collect::<Result<_>>()?;
        Ok(closed.rebuild(stacked))
    }

    /// For each tensor of the arguments, the axis to map over.
    fn axes(&self, arguments: &Args) -> Result<Vec<Option<i64>>> {
        let counts = arguments.tensors_of_each();
        let Some(axes) = &self.in_axes else { return Ok(vec![Some(0); counts.iter().sum()]) };
        if axes.len() != counts.len() {
            let message = format!("in_axes has {} entries, and the function takes {} arguments", axes.len(), counts.len());
            return Err(Error::new(message));
        }
        Ok(axes.iter().zip(counts).flat_map(|(axis, count)| std::iter::repeat_n(*axis, count)).collect())
    }

    /// If the function draws random numbers, gives each element its own state; the variable and what it is afterwards.
    fn states<R: Tree>(
        &self,
        closed: &mut Closed<R>,
        batched: &mut [bool],
        extent: Dim,
    ) -> Result<Option<(Arc<Variable>, Tensor)>> {
        let random = random_state()?;
        let random = random.as_variable().expect("the state of random numbers is a variable");
        if self.randomness == Randomness::Same || !closed.assigned.iter().any(|v| Arc::ptr_eq(v, random)) {
            return Ok(None);
        }
        let Some(input) = closed.input_of(random) else { return Ok(None) };
        if self.randomness == Randomness::Error {
            let error = Error::new("a function mapped over a batch draws random numbers");
            return Err(error.note("remedy", "say which: `.randomness(Randomness::Different)` or `Same`"));
        }
        closed.inputs[input] = split(&advance()?, extent);
        batched[input] = true;
        let after = random_state()?.detach();
        Ok(Some((random.clone(), after)))
    }

    /// A result with the axis of the batch where it was asked for.
    fn stacked(&self, tensor: &Tensor, batched: bool, extent: Dim) -> Result<Tensor> {
        let TensorType { shape, .. } = tensor.ty()?;
        let rank = shape.len() + usize::from(!batched);
        let at = position(self.out_axis, rank).ok_or_else(|| {
            let error = Error::new(format!("vmap stacks results along axis {}, which they do not have", self.out_axis));
            error.note("result", tensor.describe())
        })? as i64;
        if batched {
            return Ok(tensor.movedim(0, at));
        }
        let mut all: Shape = shape;
        all.insert(at as usize, extent);
        Ok(tensor.unsqueeze(at).expand(all))
    }
}

/// An axis counted from the end if negative.
fn position(axis: i64, rank: usize) -> Option<usize> {
    let at = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(at).ok().filter(|&at| at < rank)
}

/// `count` states of random numbers drawn from one: seeds of 64 random bits, counters at 0.
fn split(state: &Tensor, count: Dim) -> Tensor {
    let [bits] = apply(ops::random_bits(Shape::from_iter([count, Dim::from(2usize)])), &[state]);
    let words = bits.to_dtype(DType::I64);
    let seeds = words.narrow(1, 0, 1) + words.narrow(1, 1, 1) * (1i64 << 32);
    Tensor::cat(&[seeds.clone(), seeds.zeros_like()], 1)
}

transform!(Vmap -> Value<F, Args>);
