//! Hooks: functions that see gradients and what goes through layers, and may replace them.

use crate::func::custom_vjp;
use crate::location::here;
use crate::nn::{Forward, Module, Visitor};
use crate::slot::next_id;
use crate::tape;
use crate::tensor::{Repr, Tensor};
use crate::trace;
use crate::tracked::Tracked;
use igneous_ir::{Error, Loc, Result};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// Sees a gradient and may replace it.
pub(crate) type GradientHook = Arc<dyn Fn(&Tensor) -> Option<Tensor> + Send + Sync>;

/// Counts changes of hooks: compiled functions that saw any are traced again after one.
static CHANGES: LazyLock<Tracked<u64>> = LazyLock::new(|| Tracked::new("hooks", 0));

fn changed() {
    // What a trace does to hooks belongs to the trace.
    if !trace::is_tracing() {
        CHANGES.set(CHANGES.get() + 1);
    }
}

/// Hooks by number, in the order they were registered.
pub(crate) struct Hooks<H>(Mutex<Vec<(u64, H)>>);

impl<H> Default for Hooks<H> {
    fn default() -> Hooks<H> {
        Hooks(Mutex::new(Vec::new()))
    }
}

impl<H: Clone> Hooks<H> {
    fn add(&self, hook: H) -> u64 {
        let id = next_id();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((id, hook));
        changed();
        id
    }

    fn remove(&self, id: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(own, _)| *own != id);
        changed();
    }

    /// Those that there are now; a trace depends on it.
    fn all(&self) -> Vec<H> {
        CHANGES.get();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(_, hook)| hook.clone()).collect()
    }
}

/// A registered hook. Dropping it leaves the hook where it is.
pub struct HookHandle(Box<dyn FnOnce() + Send + Sync>);

impl HookHandle {
    /// Takes the hook away.
    pub fn remove(self) {
        (self.0)();
    }
}

impl Tensor {
    /// Has `hook` called with the gradient of this tensor each time `backward` computes it; what it returns, if anything,
    /// takes the gradient's place (PyTorch's `Tensor.register_hook`). Returns the tensor that has the hook: a variable or
    /// another leaf itself, of a result of operations a handle that is to be used instead of this one.
    ///
    /// ```
    /// # use igneous::Tensor;
    /// let w = Tensor::parameter(Tensor::new([1.0, 2.0]));
    /// let (w, hook) = w.register_hook(|grad| Some(grad.clamp(-1.0, 1.0)))?;
    /// (&w * &w).sum_all().backward()?;
    /// assert_eq!(w.take_grad().unwrap().to_vec::<f32>()?, [1.0, 1.0]);
    /// hook.remove();
    /// (&w * &w).sum_all().backward()?;
    /// assert_eq!(w.take_grad().unwrap().to_vec::<f32>()?, [2.0, 4.0]);
    /// # Ok::<(), igneous::Error>(())
    /// ```
    ///
    /// In a function that is traced the hook is traced with it. The hook of a leaf sees the whole gradient of one
    /// `backward`, before it is added to the slot; [`grad`](crate::grad()) does not call it.
    ///
    /// # Errors
    /// If the tensor is invalid or does not require gradients, or a variable is given a hook under a trace.
    #[track_caller]
    pub fn register_hook(
        &self,
        hook: impl Fn(&Tensor) -> Option<Tensor> + Send + Sync + 'static,
    ) -> Result<(Tensor, HookHandle)> {
        let loc = here();
        self.check()?;
        if !self.requires_grad() {
            let error = Error::new("register_hook: this tensor does not require gradients");
            return Err(error.note("tensor", self.describe()).at(loc));
        }
        let hook: GradientHook = Arc::new(hook);
        let slot = match &self.0 {
            Repr::Variable(variable) if trace::is_tracing() => {
                let error = Error::new("a variable cannot be given a hook under a trace");
                return Err(error.note("variable", variable.describe()).at(loc));
            }
            Repr::Variable(variable) => Some(variable.slot().clone()),
            Repr::Eager(value) if value.source.is_none() => value.slot.clone(),
            _ => None,
        };
        if let Some(slot) = slot {
            let id = slot.hooks.add(hook);
            let remove = move || slot.hooks.remove(id);
            return Ok((self.clone(), HookHandle(Box::new(remove))));
        }
        let hooks: Arc<Hooks<GradientHook>> = Arc::default();
        let id = hooks.add(hook);
        let tensor = if trace::is_tracing() {
            let own = hooks.clone();
            let pass = custom_vjp(|x: Tensor| (x, ()), move |(): (), dy: Tensor| call(&own.all(), dy, loc));
            pass.run(self.clone())?
        } else {
            tape::hooked(self, hooks.clone())?
        };
        Ok((tensor, HookHandle(Box::new(move || hooks.remove(id)))))
    }
}

/// The gradient after the hooks have seen it.
pub(crate) fn call(hooks: &[GradientHook], mut gradient: Tensor, loc: Loc) -> Result<Tensor> {
    for hook in hooks {
        let Some(replaced) = hook(&gradient) else { continue };
        if replaced.ty()? != gradient.ty()? {
            let error = Error::new("a hook replaces a gradient by a tensor of another type");
            return Err(error.note("gradient", gradient.describe()).note("replaced by", replaced.describe()).at(loc));
        }
        gradient = replaced;
    }
    Ok(gradient)
}

impl Hooks<GradientHook> {
    /// The gradient after these hooks have seen it.
    pub(crate) fn call(&self, gradient: Tensor, loc: Loc) -> Result<Tensor> {
        call(&self.all(), gradient, loc)
    }
}

type BeforeHook = Arc<dyn Fn(&Tensor) -> Option<Tensor> + Send + Sync>;
type AfterHook = Arc<dyn Fn(&Tensor, &Tensor) -> Option<Tensor> + Send + Sync>;

/// A layer with hooks before and after it (PyTorch's `register_forward_pre_hook` and `register_forward_hook`). `clone` shares
/// layer and hooks; parameters have the names they have without it.
///
/// ```
/// use igneous::nn::{Forward, Hooked, Linear, Relu, Sequential};
/// use igneous::Tensor;
/// use std::sync::{Arc, Mutex};
///
/// let layer = Hooked::new(Linear::new(3, 2));
/// let seen = Arc::new(Mutex::new(Vec::new()));
/// let sink = seen.clone();
/// let hook = layer.register_forward_hook(move |_, y| {
///     sink.lock().unwrap().push(y.clone());
///     None
/// });
/// let net = Sequential::new().push(layer.clone()).push(Relu);
/// net.forward(&Tensor::ones((4, 3)));
/// hook.remove();
/// net.forward(&Tensor::ones((4, 3)));
/// assert_eq!(seen.lock().unwrap().len(), 1);
/// ```
///
/// In a compiled function hooks are called while it is traced; after one is registered or removed it is traced again.
pub struct Hooked<M> {
    layer: Arc<M>,
    before: Arc<Hooks<BeforeHook>>,
    after: Arc<Hooks<AfterHook>>,
}

impl<M> Clone for Hooked<M> {
    fn clone(&self) -> Hooked<M> {
        Hooked { layer: self.layer.clone(), before: self.before.clone(), after: self.after.clone() }
    }
}

impl<M> Hooked<M> {
    /// A layer without hooks.
    pub fn new(layer: M) -> Hooked<M> {
        Hooked { layer: Arc::new(layer), before: Arc::default(), after: Arc::default() }
    }

    /// The layer.
    pub fn layer(&self) -> &M {
        &self.layer
    }

    /// Has `hook` called with the argument before the layer is; what it returns, if anything, takes the argument's place.
    pub fn register_forward_pre_hook(&self, hook: impl Fn(&Tensor) -> Option<Tensor> + Send + Sync + 'static) -> HookHandle {
        let (hooks, id) = (self.before.clone(), self.before.add(Arc::new(hook)));
        HookHandle(Box::new(move || hooks.remove(id)))
    }

    /// Has `hook` called with argument and result after the layer is; what it returns, if anything, takes the result's place.
    pub fn register_forward_hook(&self, hook: impl Fn(&Tensor, &Tensor) -> Option<Tensor> + Send + Sync + 'static) -> HookHandle {
        let (hooks, id) = (self.after.clone(), self.after.add(Arc::new(hook)));
        HookHandle(Box::new(move || hooks.remove(id)))
    }
}

impl<M: Module> Module for Hooked<M> {
    fn visit(&self, visitor: &mut dyn Visitor) {
        self.layer.visit(visitor);
    }
}

impl<M: Forward> Forward for Hooked<M> {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let x = self.before.all().iter().fold(x.clone(), |x, hook| hook(&x).unwrap_or(x));
        let y = self.layer.forward(&x);
        self.after.all().iter().fold(y, |y, hook| hook(&x, &y).unwrap_or(y))
    }
}
