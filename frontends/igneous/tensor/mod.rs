//! `Tensor`: an immutable value, a variable whose value is read at use, a value of a trace, or an error.

mod activation;
mod arguments;
mod arrange;
mod assign;
mod attention;
mod bytes;
mod convolution;
mod create;
mod cumulative;
mod diagonal;
mod display;
mod einsum;
mod element;
mod functions;
mod grid;
mod index;
mod interpolation;
pub(crate) mod loss;
mod matmul;
mod normalization;
mod order;
mod pad;
mod patches;
mod pointwise;
mod pooling;
mod products;
mod promote;
mod put;
mod reduce;
mod scatter;
mod score;
mod shape;
mod window;

pub(crate) use arguments::OperandRef;
pub(crate) use arguments::valid_shape;
pub use arguments::{Axes, Extent, IntoShape, Operand, Scalar};
pub use attention::Attention;
pub use create::Data;
pub use element::Element;
pub use grid::Outside;
pub(crate) use index::check_range;
pub use index::{Ellipsis, Index, IndexItem, NewAxis, Slice, Stepped};
pub use interpolation::{Corners, Interpolation};
pub use order::Side;
pub use pad::PadMode;
pub use pointwise::{broadcast_tensors, where_};
pub use promote::promote;
pub use scatter::{Initial, ScatterKind};
pub use score::{ScoreMod, ScorePlace};
pub use window::{
    Border, Conv, ConvOptions, ConvTranspose, ConvTransposeOptions, Extents, Padding, PaddingOptions, Pair, Pool, PoolOptions,
};

use crate::bound;
use crate::device::{Device, Remote};
use crate::eager::View;
use crate::location::here;
use crate::slot::{Slot, SlotKey};
use crate::tape;
use crate::trace::{self, Traced};
use crate::variable::Variable;
use igneous_ir::ops;
use igneous_ir::{DType, Dim, Error, Loc, Result, Shape, TensorType};
use igneous_runtime::Buffer;
use std::sync::Arc;

/// A tensor. `clone` shares it; it can be sent to and used from any thread.
///
/// ```
/// use igneous::{Ellipsis, Tensor};
///
/// let x = Tensor::new([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
/// let [rows, columns] = x.dims();
/// let y = (&x - x.mean_keepdim(-1)) / 2.0 + Tensor::arange(0, columns); // numpy's broadcasting
/// assert_eq!(y.shape(), x.shape());
/// assert_eq!(x.i((Ellipsis, 1..)).reshape((-1, rows)).to_vec::<f32>()?, [2.0, 3.0, 5.0, 6.0]);
/// assert_eq!(x.gt(2.0).sum_all().item()?, 4.0);
/// # Ok::<(), igneous::Error>(())
/// ```
///
/// A tensor is one of
/// - a value: its elements exist and never change;
/// - a *variable* ([`Tensor::variable`]): a value that is read at each use and can be assigned;
/// - a value of a trace, inside a function given to [`compile`](crate::compile());
/// - *invalid*: the result of an operation that failed. It carries the first error through all that follows, and the
///   first method that returns a `Result` ([`to_vec`](Tensor::to_vec), [`item`](Tensor::item),
///   [`backward`](Tensor::backward), [`check`](Tensor::check)) returns it.
///
/// # Errors
/// Methods that return a tensor return an invalid one if the operands' shapes or element types do not fit, an axis is not
/// there, or memory is short. What depends on elements (a label or an index out of range) is found in eager mode at once,
/// and in a compiled function when it runs: its `run` fails then and has changed no variable.
///
/// ```
/// let (x, w) = (igneous::Tensor::ones((2, 3)), igneous::Tensor::ones((4, 5)));
/// let loss = x.matmul(&w).relu().mean_all();
/// assert!(loss.backward().unwrap_err().to_string().starts_with("matmul needs the last dimension of the left operand"));
/// ```
///
/// # Names
/// Methods are called as in PyTorch, with these differences:
///
/// | PyTorch | here | |
/// |---|---|---|
/// | `torch.tensor(…)` | [`Tensor::new`] | [`from_vec`](Tensor::from_vec) keeps the Rust type |
/// | `x[1, ..., 2:5]` | `x.i((1, Ellipsis, 2..5))` | [`i`](Tensor::i) takes numbers, ranges, tensors, masks |
/// | `x.sum()`, `x.sum(1)`, `x.sum(1, keepdim=True)` | `x.sum_all()`, `x.sum(1)`, `x.sum_keepdim(1)` | and so all reductions |
/// | `x.amax(1)`, `x.max(1)` | `x.max(1)`, `x.max_with_index(1)` | and so `min` |
/// | `x.sort(1, descending=True)` | [`x.sort_descending(1)`](Tensor::sort_descending) | and so `argsort`, `topk` |
/// | `x[i, j] = y`, `x[i, j] += y` | [`x.index_put((i, j), y)`](Tensor::index_put), `x.index_put_add((i, j), y)` | on variables `index_put_` |
/// | `x.add_(y)`, `w.mul_(2)` | [`w.add_(&y)?`](Tensor::add_), on variables | values are immutable |
/// | `x == y`, `x.eq(y)` | [`equal`](Tensor::equal) | elementwise |
/// | `x.dim()`, `x.numel()` | [`rank`](Tensor::rank), [`elements`](Tensor::elements) | |
/// | `x.t()` | [`t`](Tensor::t) | exchanges the last two axes, whatever the rank |
/// | `F.scaled_dot_product_attention(q, k, v)` | `q.`[`scaled_dot_product_attention`](Tensor::scaled_dot_product_attention)`(&k, &v, &default())` | options are an [`Attention`] |
/// | `flex_attention(q, k, v, score_mod=f)` | `q.scaled_dot_product_attention(&k, &v, &Attention { score_mod: Some(`[`ScoreMod::new`]`(f)), ..default() })` | positions are tensors |
/// | `x.to(torch.float64)` | [`to_dtype`](Tensor::to_dtype) | [`to`](Tensor::to) takes a device |
/// | `x.tolist()` | [`to_vec`](Tensor::to_vec) | |
/// | `nn.Parameter(x)`, `register_buffer` | [`Tensor::parameter`], [`Tensor::buffer`] | |
/// | `x.requires_grad_()` | [`requires_grad_`](Tensor::requires_grad_) | returns the handle that has the gradient |
/// | `w.grad` after `step()` | [`grad`](Tensor::grad) before `step()` | `step` takes the gradients |
#[derive(Clone)]
pub struct Tensor(pub(crate) Repr);

#[derive(Clone)]
pub(crate) enum Repr {
    Eager(Arc<Eager>),
    Variable(Arc<Variable>),
    Traced(Arc<Traced>),
    Invalid(Error),
}

/// A tensor whose elements exist.
#[derive(Clone)]
pub(crate) struct Eager {
    pub(crate) ty: TensorType,
    /// The elements, row-major unless there is a view. Of elements on a device anything: [`Eager::dense`] fetches them.
    pub(crate) buffer: Buffer,
    /// The elements on a device, if that is where they live.
    pub(crate) remote: Option<Remote>,
    /// Whether it was made from no data (zeros, ranges, random numbers): it goes along to where other operands live.
    pub(crate) anywhere: bool,
    /// What the elements are seen through. [`Tensor::eager_value`] never returns one.
    pub(crate) view: Option<Arc<View>>,
    /// The recorded operation it is a result of, if `backward` can go on there.
    pub(crate) source: Option<tape::Source>,
    /// Where `backward` adds its gradient.
    pub(crate) slot: Option<Arc<Slot>>,
    /// The line of user code that made it.
    pub(crate) loc: Option<Loc>,
}

impl Eager {
    /// A value without a history.
    pub(crate) fn new(ty: TensorType, buffer: Buffer, loc: Option<Loc>) -> Eager {
        Eager { ty, buffer, remote: None, anywhere: false, view: None, source: None, slot: None, loc }
    }

    /// Elements on a device, without a history.
    pub(crate) fn remote(ty: TensorType, remote: Remote, loc: Option<Loc>) -> Result<Eager> {
        Ok(Eager { remote: Some(remote), ..Eager::new(ty, Buffer::new(0)?, loc) })
    }

    /// The elements of another tensor in row-major order, without a history.
    pub(crate) fn like(ty: TensorType, elements: &Eager, loc: Option<Loc>) -> Eager {
        Eager { remote: elements.remote.clone(), anywhere: elements.anywhere, ..Eager::new(ty, elements.buffer.clone(), loc) }
    }

    /// Row-major elements in memory of their own, where they live.
    pub(crate) fn duplicate(&self) -> Result<Eager> {
        let remote = self.remote.as_ref().map(Remote::duplicate).transpose()?;
        Ok(Eager { buffer: self.buffer.duplicate()?, remote, ..self.clone() })
    }

    /// Where the elements live.
    pub(crate) fn device(&self) -> Device {
        self.remote.as_ref().map_or(Device::Cpu, |remote| remote.device)
    }

    /// Whether `backward` has something to do here.
    pub(crate) fn tracked(&self) -> bool {
        self.source.is_some() || self.slot.is_some()
    }

    /// The extents.
    pub(crate) fn sizes(&self) -> Vec<usize> {
        self.ty.sizes().expect("the extents of a tensor that exists are constant")
    }
}

impl From<Eager> for Tensor {
    fn from(value: Eager) -> Tensor {
        Tensor(Repr::Eager(Arc::new(value)))
    }
}

impl From<Error> for Tensor {
    fn from(error: Error) -> Tensor {
        Tensor(Repr::Invalid(error))
    }
}

/// The tensor, or an invalid one that carries the error.
pub(crate) fn or_invalid(result: Result<Tensor>) -> Tensor {
    result.unwrap_or_else(Tensor::from)
}

impl Tensor {
    /// An invalid tensor: everything computed from it is invalid with the same error.
    #[track_caller]
    pub fn invalid(error: Error) -> Tensor {
        Tensor(Repr::Invalid(error.at(here())))
    }

    /// The error if this tensor is invalid.
    pub fn error(&self) -> Option<&Error> {
        match &self.0 {
            Repr::Invalid(error) => Some(error),
            _ => None,
        }
    }

    /// Whether the tensor is valid.
    ///
    /// # Errors
    /// If it is invalid: the first error of the computation it is a result of.
    pub fn check(&self) -> Result<()> {
        self.error().map_or(Ok(()), |e| Err(e.clone()))
    }

    /// Element type and shape.
    ///
    /// # Errors
    /// If the tensor is invalid.
    pub fn ty(&self) -> Result<TensorType> {
        match &self.0 {
            Repr::Eager(value) => Ok(value.ty.clone()),
            Repr::Variable(variable) => Ok(variable.ty()),
            Repr::Traced(traced) => Ok(traced.ty.clone()),
            Repr::Invalid(error) => Err(error.clone()),
        }
    }

    /// The type of the elements; of an invalid tensor, `f32`.
    pub fn dtype(&self) -> DType {
        match &self.0 {
            Repr::Eager(value) => value.ty.dtype,
            Repr::Traced(traced) => traced.ty.dtype,
            _ => self.ty().map_or(DType::F32, |ty| ty.dtype),
        }
    }

    /// The extents; of an invalid tensor, none.
    pub fn shape(&self) -> Shape {
        self.ty().map(|ty| ty.shape).unwrap_or_default()
    }

    /// The number of axes; of an invalid tensor, 0.
    pub fn rank(&self) -> usize {
        self.ty().map_or(0, |ty| ty.rank())
    }

    /// The extents of a tensor with `N` axes: `let [b, t, c] = x.dims();`. If it has another number of axes or is
    /// invalid, so are the dimensions, and every tensor whose shape they are used for.
    pub fn dims<const N: usize>(&self) -> [Dim; N] {
        self.shape().as_slice().try_into().unwrap_or([Dim::INVALID; N])
    }

    /// The extent of an axis, counted from the end if negative; invalid if there is no such axis.
    pub fn size(&self, axis: i64) -> Dim {
        let shape = self.shape();
        let index = if axis < 0 { axis + shape.len() as i64 } else { axis };
        usize::try_from(index).ok().and_then(|i| shape.get(i).copied()).unwrap_or(Dim::INVALID)
    }

    /// The number of elements (PyTorch's `numel`).
    pub fn elements(&self) -> Dim {
        self.ty().map_or(Dim::INVALID, |ty| ty.elements())
    }

    /// Where the tensor lives.
    pub fn device(&self) -> Device {
        match &self.0 {
            Repr::Eager(value) => value.device(),
            Repr::Variable(variable) => variable.device(),
            _ => Device::Cpu,
        }
    }

    /// The same value, and of a variable the one it has now, with its elements on `device`. Invalid if this machine has no such
    /// device. Under a trace nothing moves: a program runs in one place.
    #[track_caller]
    pub fn to(&self, device: Device) -> Tensor {
        let loc = here();
        if self.error().is_some() || trace::is_tracing() || self.device() == device {
            return self.clone();
        }
        let moved = || -> Result<Eager> {
            let value = self.eager_value("its elements")?;
            match device {
                Device::Cpu => Ok(Eager { remote: None, ..Eager::clone(&value) }),
                Device::Cuda(number) => {
                    let remote = Remote::upload(number, value.buffer.clone())?;
                    Ok(Eager {
                        slot: value.slot.clone(),
                        source: value.source.clone(),
                        ..Eager::remote(value.ty.clone(), remote, value.loc)?
                    })
                }
            }
        };
        match moved() {
            Ok(value) => value.into(),
            Err(error) => {
                let error = error.context(format!("device {device}"));
                error.note("tensor", self.describe()).at(loc).into()
            }
        }
    }

    /// Starts copying the elements to the host, where they live on a device, and returns at once: who reads them later waits less
    /// (PyTorch's `to("cpu", non_blocking=True)`). Reading without it waits for the run that made the elements and for the copy, not
    /// for later runs, which is enough for a loss; this is for results that take long to copy. A variable is copied before the next run
    /// that overwrites it.
    ///
    /// # Errors
    /// If the tensor is invalid or a value of a trace, or the device fails.
    #[track_caller]
    pub fn prefetch(&self) -> Result<()> {
        let loc = here();
        let value = self.placed_value("its elements").map_err(|e| e.at(loc))?;
        value.remote.as_ref().map_or(Ok(()), Remote::prefetch).map_err(|e| e.at(loc))
    }

    /// The elements in row-major order.
    ///
    /// # Errors
    /// If the tensor is invalid, has another element type, or is a value of a trace.
    #[track_caller]
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        let value = self.eager_value("its elements")?;
        if value.ty.dtype != T::DTYPE {
            let message = format!("the elements of a tensor of type {} were asked for as {}", value.ty.dtype, T::DTYPE);
            let name = if T::DTYPE == DType::Bool { "Bool".to_owned() } else { T::DTYPE.name().to_uppercase() };
            let remedy = format!("convert it first: `.to_dtype(DType::{name})`");
            return Err(Error::new(message).note("tensor", self.describe()).note("remedy", remedy).at(here()));
        }
        value.buffer.to_vec()
    }

    /// The elements in row-major order, as `f64`, whatever the element type.
    ///
    /// # Errors
    /// If the tensor is invalid or is a value of a trace.
    #[track_caller]
    pub fn to_f64_vec(&self) -> Result<Vec<f64>> {
        let value = self.eager_value("its elements")?;
        element::as_f64(value.ty.dtype, &value.buffer)
    }

    /// The elements in row-major order, as `i64`, of a tensor of integers or bools.
    ///
    /// # Errors
    /// If the tensor is invalid, holds floats, or is a value of a trace.
    #[track_caller]
    pub fn to_i64_vec(&self) -> Result<Vec<i64>> {
        let value = self.eager_value("its elements")?;
        element::as_i64(value.ty.dtype, &value.buffer).map_err(|e| e.note("tensor", self.describe()).at(here()))
    }

    /// The only element, as `f64`.
    ///
    /// # Errors
    /// If the tensor is invalid, has not exactly one element, or is a value of a trace.
    #[track_caller]
    pub fn item(&self) -> Result<f64> {
        let value = self.eager_value("its value")?;
        match element::as_f64(value.ty.dtype, &value.buffer)?.as_slice() {
            [x] => Ok(*x),
            all => {
                let message = format!("item() needs a tensor with one element; this one has {}", all.len());
                Err(Error::new(message).note("tensor", self.describe()).at(here()))
            }
        }
    }

    /// The elements that exist now, row-major; `what` was asked for.
    #[track_caller]
    pub(crate) fn eager_value(&self, what: &str) -> Result<Arc<Eager>> {
        self.placed_value(what)?.dense().map_err(|e| e.at(here()))
    }

    /// The elements that exist now, row-major, wherever they live.
    #[track_caller]
    pub(crate) fn placed_value(&self, what: &str) -> Result<Arc<Eager>> {
        let loc = here();
        match &bound::resolve(self).0 {
            Repr::Eager(value) => value.placed().map_err(|e| e.at(loc)),
            Repr::Variable(variable) => match trace::variable_in_trace(variable) {
                Some(traced) => Err(trace::no_value_error(&traced?, what).at(loc)),
                None => Ok(Arc::new(variable.read())),
            },
            Repr::Traced(traced) => Err(trace::no_value_error(traced, what).at(loc)),
            Repr::Invalid(error) => Err(error.clone()),
        }
    }

    /// Whether operations on this tensor are recorded for `backward`.
    pub fn requires_grad(&self) -> bool {
        match &self.0 {
            Repr::Eager(value) => value.tracked(),
            Repr::Variable(variable) => variable.requires_grad().get(),
            Repr::Traced(traced) => traced.tracked,
            Repr::Invalid(_) => false,
        }
    }

    /// The same tensor as a leaf with a gradient slot, so that `backward` computes its gradient. A variable is changed
    /// in place and returned; of a value, only the returned handle has the slot.
    #[track_caller]
    pub fn requires_grad_(&self) -> Tensor {
        let loc = here();
        if let Err(error) = self.check() {
            return error.into();
        }
        if !self.dtype().is_float() {
            let error = Error::new("only tensors of a floating-point type can require gradients");
            return error.note("tensor", self.describe()).at(loc).into();
        }
        match &self.0 {
            Repr::Eager(value) if value.slot.is_some() => self.clone(),
            Repr::Eager(value) => Eager { slot: Some(Slot::new()), ..Eager::clone(value) }.into(),
            Repr::Variable(variable) => {
                variable.requires_grad().set(true);
                self.clone()
            }
            Repr::Traced(traced) => or_invalid(trace::make_leaf(traced).map_err(|e| e.at(loc))),
            Repr::Invalid(_) => self.clone(),
        }
    }

    /// Stops a variable from requiring gradients (freezes a parameter). Values are immutable: see [`Tensor::detach`].
    pub fn freeze(&self) -> Tensor {
        if let Repr::Variable(variable) = &self.0 {
            variable.requires_grad().set(false);
        }
        self.clone()
    }

    /// Keeps the gradient of an intermediate result: PyTorch's `retain_grad`. The returned handle has the slot.
    #[track_caller]
    pub fn retain_grad(&self) -> Tensor {
        self.requires_grad_()
    }

    /// The value without its history: no gradient flows through it. Of a variable, the value it has now.
    #[track_caller]
    pub fn detach(&self) -> Tensor {
        let loc = here();
        match &bound::resolve(self).0 {
            Repr::Eager(value) if !value.tracked() => Tensor(Repr::Eager(value.clone())),
            Repr::Eager(value) => Eager { source: None, slot: None, ..Eager::clone(value) }.into(),
            Repr::Variable(variable) => match trace::variable_in_trace(variable) {
                Some(traced) => or_invalid(traced.map(|t| t.detached()).map_err(|e| e.at(loc))),
                None => Eager { slot: None, ..variable.read() }.into(),
            },
            Repr::Traced(traced) => traced.detached(),
            Repr::Invalid(_) => self.clone(),
        }
    }

    /// A copy with memory of its own. A duplicate of a variable is a new variable with the same value.
    #[track_caller]
    pub fn duplicate(&self) -> Tensor {
        let loc = here();
        match &self.0 {
            Repr::Eager(value) => or_invalid(value.placed().and_then(|value| Ok(value.duplicate()?.into()))),
            Repr::Variable(variable) => {
                if trace::is_tracing() {
                    return trace::creation_error().at(loc).into();
                }
                or_invalid(variable.duplicate().map(|v| Tensor(Repr::Variable(Arc::new(v)))))
            }
            _ => self.clone(),
        }
    }

    /// Adds the gradients of this scalar to the slots of all leaves it depends on.
    ///
    /// # Errors
    /// If the tensor is invalid, has axes, or depends on no tensor that requires gradients; or if a derivative cannot
    /// be computed. No slot has changed then.
    #[track_caller]
    pub fn backward(&self) -> Result<()> {
        tape::backward(self, None, here())
    }

    /// [`backward`](Tensor::backward) of a tensor of any shape, with its cotangent.
    ///
    /// # Errors
    /// As `backward`, and if the cotangent has another type.
    #[track_caller]
    pub fn backward_with(&self, cotangent: &Tensor) -> Result<()> {
        tape::backward(self, Some(cotangent), here())
    }

    /// The gradient that `backward` has added up for this leaf, if there is one.
    pub fn grad(&self) -> Option<Tensor> {
        let key = self.slot_key()?;
        Some(trace::slot_value(&key)?.to(self.device()))
    }

    /// Takes the gradient out of the slot.
    pub fn take_grad(&self) -> Option<Tensor> {
        let key = self.slot_key()?;
        let grad = trace::slot_value(&key)?;
        trace::set_slot(&key, None);
        Some(grad.to(self.device()))
    }

    /// Puts a gradient into the slot or, with `None`, empties it.
    ///
    /// # Errors
    /// If this tensor has no slot, or the gradient is invalid or has another type than the tensor.
    #[track_caller]
    pub fn set_grad(&self, grad: Option<Tensor>) -> Result<()> {
        let loc = here();
        let Some(key) = self.slot_key() else {
            return Err(Error::new("this tensor has no gradient slot").note("tensor", self.describe()).at(loc));
        };
        if let Some(grad) = &grad
            && grad.ty()? != self.ty()?
        {
            let error = Error::new("a gradient has the type of its tensor");
            return Err(error.note("tensor", self.describe()).note("gradient", grad.describe()).at(loc));
        }
        trace::set_slot(&key, grad);
        Ok(())
    }

    /// Empties the gradient slot.
    pub fn zero_grad(&self) {
        if let Some(key) = self.slot_key() {
            trace::set_slot(&key, None);
        }
    }

    fn slot_key(&self) -> Option<SlotKey> {
        match &self.0 {
            Repr::Eager(value) => value.slot.clone().map(SlotKey::Shared),
            Repr::Variable(variable) => Some(SlotKey::Shared(variable.slot().clone())),
            Repr::Traced(traced) => trace::slot_of(traced),
            Repr::Invalid(_) => None,
        }
    }

    /// Type and origin, for messages.
    pub(crate) fn describe(&self) -> String {
        let of = |ty: &TensorType, loc: Option<Loc>| match loc {
            Some(loc) => format!("{ty}   from {loc}"),
            None => ty.to_string(),
        };
        match &self.0 {
            Repr::Eager(value) => of(&value.ty, value.loc),
            Repr::Variable(variable) => variable.describe(),
            Repr::Traced(traced) => trace::described(traced),
            Repr::Invalid(_) => "invalid".to_owned(),
        }
    }

    /// Another element type; the same tensor if it has it already. Floats are truncated to integers.
    #[track_caller]
    pub fn to_dtype(&self, dtype: DType) -> Tensor {
        if self.error().is_some() || self.dtype() == dtype {
            return self.clone();
        }
        self.apply(ops::cast(dtype))
    }
}
