//! Variables: tensors whose value is read at use and can be assigned.
//!
//! A value is written in place only by a compiled program and only if nobody else holds its buffer; whoever took the
//! value before (`detach`, a recorded operation) keeps the old elements.

use crate::bound;
use crate::device::{Device, Remote};
use crate::grad_mode::no_grad;
use crate::location::{entered, here};
use crate::slot::{Slot, next_id};
use crate::tensor::{Eager, Repr, Tensor, or_invalid};
use crate::trace;
use crate::tracked::Tracked;
use igneous_ir::{Error, Loc, Result, TensorType};
use igneous_runtime::Buffer;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What a variable is for; it decides how errors and summaries call it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum VariableKind {
    /// Trained: requires gradients when made.
    Parameter,
    /// Part of a module's state, but not trained.
    Buffer,
    /// Anything else: an optimizer's moments, a learning rate, a counter.
    State,
}

pub(crate) struct Variable {
    id: u64,
    kind: VariableKind,
    name: RwLock<Option<Arc<str>>>,
    value: RwLock<Contents>,
    /// Counts assignments.
    version: AtomicU64,
    requires_grad: Tracked<bool>,
    slot: Arc<Slot>,
    loc: Option<Loc>,
}

/// The value of a variable.
pub(crate) struct Contents {
    pub(crate) ty: TensorType,
    pub(crate) buffer: Buffer,
    /// As of [`Eager::remote`].
    pub(crate) remote: Option<Remote>,
}

impl Contents {
    pub(crate) fn of(value: &Eager) -> Contents {
        Contents { ty: value.ty.clone(), buffer: value.buffer.clone(), remote: value.remote.clone() }
    }

    /// The value, without a history.
    pub(crate) fn value(&self, loc: Option<Loc>) -> Eager {
        Eager { remote: self.remote.clone(), ..Eager::new(self.ty.clone(), self.buffer.clone(), loc) }
    }
}

impl Variable {
    pub(crate) fn new(kind: VariableKind, value: &Eager, loc: Option<Loc>) -> Variable {
        Variable {
            id: next_id(),
            kind,
            name: RwLock::new(None),
            value: RwLock::new(Contents::of(value)),
            version: AtomicU64::new(0),
            requires_grad: Tracked::new("requires_grad", kind == VariableKind::Parameter && value.ty.dtype.is_float()),
            slot: Slot::new(),
            loc,
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn ty(&self) -> TensorType {
        self.lock_shared().ty.clone()
    }

    pub(crate) fn requires_grad(&self) -> &Tracked<bool> {
        &self.requires_grad
    }

    pub(crate) fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub(crate) fn name(&self) -> Option<Arc<str>> {
        self.name.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn lock_shared(&self) -> RwLockReadGuard<'_, Contents> {
        self.value.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock(&self) -> RwLockWriteGuard<'_, Contents> {
        self.value.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that the contents have changed; the caller holds the lock.
    pub(crate) fn changed(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    /// The value now, as a leaf if the variable requires gradients.
    pub(crate) fn read(&self) -> Eager {
        let slot = self.requires_grad.get().then(|| self.slot.clone());
        Eager { slot, ..self.read_untracked() }
    }

    /// The value now, without a trace taking notice: for printing.
    pub(crate) fn read_untracked(&self) -> Eager {
        self.lock_shared().value(self.loc)
    }

    /// Where the value lives.
    pub(crate) fn device(&self) -> Device {
        self.lock_shared().remote.as_ref().map_or(Device::Cpu, |remote| remote.device)
    }

    /// Puts a value in, whatever its type.
    pub(crate) fn store(&self, value: &Eager) {
        let mut contents = self.lock();
        *contents = Contents::of(value);
        self.changed();
    }

    pub(crate) fn duplicate(&self) -> Result<Variable> {
        let copy = Variable::new(self.kind, &self.read_untracked().duplicate()?, self.loc);
        copy.requires_grad.set(self.requires_grad.get());
        *copy.name.write().unwrap_or_else(PoisonError::into_inner) = self.name();
        Ok(copy)
    }

    /// How messages call it: its name, or where it was made.
    pub(crate) fn label(&self) -> String {
        let kind = match self.kind {
            VariableKind::Parameter => "parameter",
            VariableKind::Buffer => "buffer",
            VariableKind::State => "variable",
        };
        match (self.name(), self.loc) {
            (Some(name), _) => format!("{kind} `{name}`"),
            (None, Some(loc)) => format!("{kind} from {loc}"),
            (None, None) => kind.to_owned(),
        }
    }

    pub(crate) fn describe(&self) -> String {
        format!("{}   {}", self.ty(), self.label())
    }
}

impl Tensor {
    /// A variable with this value: PyTorch's buffer or optimizer state. Its value is read at each use, and
    /// [`assign`](Tensor::assign) changes it.
    ///
    /// Under a trace no variable can be made: the result is invalid.
    #[track_caller]
    pub fn variable(value: Tensor) -> Tensor {
        Tensor::variable_of_kind(VariableKind::State, value)
    }

    /// A variable that is trained (PyTorch's `nn.Parameter`).
    #[track_caller]
    pub fn parameter(value: Tensor) -> Tensor {
        Tensor::variable_of_kind(VariableKind::Parameter, value)
    }

    /// A variable that belongs to a module's state but is not trained (PyTorch's `register_buffer`).
    #[track_caller]
    pub fn buffer(value: Tensor) -> Tensor {
        Tensor::variable_of_kind(VariableKind::Buffer, value)
    }

    /// A variable of the given kind.
    #[track_caller]
    pub fn variable_of_kind(kind: VariableKind, value: Tensor) -> Tensor {
        let loc = here();
        if trace::is_tracing() && value.error().is_none() {
            return trace::creation_error().at(loc).into();
        }
        let made = value.detach().placed_value("its elements");
        or_invalid(made.map(|value| Tensor(Repr::Variable(Arc::new(Variable::new(kind, &value, Some(loc)))))))
    }

    /// What kind of variable this is; `None` if it is no variable.
    pub fn variable_kind(&self) -> Option<VariableKind> {
        self.as_variable().map(|v| v.kind)
    }

    /// Whether this is a variable.
    pub fn is_variable(&self) -> bool {
        self.as_variable().is_some()
    }

    /// Whether both are handles of one variable or of one value.
    pub fn same(&self, other: &Tensor) -> bool {
        match (&self.0, &other.0) {
            (Repr::Variable(a), Repr::Variable(b)) => Arc::ptr_eq(a, b),
            (Repr::Eager(a), Repr::Eager(b)) => Arc::ptr_eq(a, b),
            (Repr::Traced(a), Repr::Traced(b)) => a.same(b),
            _ => false,
        }
    }

    /// The name of a variable, for example `fc2.weight`.
    pub fn name(&self) -> Option<Arc<str>> {
        self.as_variable().and_then(|v| v.name())
    }

    /// Names a variable. Modules do this for their parameters.
    pub fn set_name(&self, name: &str) {
        if let Some(variable) = self.as_variable() {
            *variable.name.write().unwrap_or_else(PoisonError::into_inner) = Some(name.into());
        }
    }

    /// Makes `value` the value of this variable. Whoever took the old value keeps it; no gradient flows through.
    /// Under a trace the new value becomes a result of the compiled program.
    ///
    /// # Errors
    /// If this is no variable, or the value is invalid or has another type.
    #[track_caller]
    pub fn assign(&self, value: &Tensor) -> Result<()> {
        let loc = here();
        let ty = value.ty()?;
        let variable = self.expect_variable("assign").map_err(|e| e.at(loc))?;
        if ty != variable.ty() {
            let error = Error::new("a variable can be assigned only a value of its own type");
            return Err(error.note("variable", variable.describe()).note("value", value.describe()).at(loc));
        }
        if trace::is_tracing() {
            return trace::assign(variable, value).map_err(|e| e.at(loc));
        }
        variable.store(&*value.placed_value("its elements")?);
        Ok(())
    }

    /// Like [`assign`](Tensor::assign), but the value may have another type: shape or element type of the variable
    /// change. The gradient slot is emptied.
    ///
    /// # Errors
    /// If this is no variable, the value is invalid, or a trace is active.
    #[track_caller]
    pub fn replace(&self, value: &Tensor) -> Result<()> {
        let loc = here();
        let variable = self.expect_variable("replace").map_err(|e| e.at(loc))?;
        if trace::is_tracing() {
            return Err(Error::new("the type of a variable cannot change under a trace")
                .note("variable", variable.describe())
                .at(loc));
        }
        variable.store(&*value.placed_value("its elements")?);
        *variable.slot.lock() = None;
        Ok(())
    }

    /// Computes a new value from the old one without recording gradients, and assigns it.
    ///
    /// # Errors
    /// As [`assign`](Tensor::assign).
    #[track_caller]
    pub fn update(&self, f: impl FnOnce(&Tensor) -> Tensor) -> Result<()> {
        let _user = entered();
        let value = no_grad(|| f(self));
        self.assign(&value)
    }

    /// How often the variable has been assigned.
    pub fn version(&self) -> u64 {
        self.as_variable().map_or(0, |v| v.version())
    }

    pub(crate) fn as_variable(&self) -> Option<&Arc<Variable>> {
        match &self.0 {
            Repr::Variable(variable) => Some(variable),
            _ => None,
        }
    }

    fn expect_variable(&self, what: &str) -> Result<&Arc<Variable>> {
        self.check()?;
        let error = || Error::new(format!("{what} needs a variable")).note("tensor", self.describe());
        let variable = self.as_variable().ok_or_else(error)?;
        if bound::stands_for(variable).is_some() {
            let error = Error::new("a variable cannot be changed while functional_call puts a tensor in its place");
            return Err(error.note("variable", variable.describe()));
        }
        Ok(variable)
    }
}
