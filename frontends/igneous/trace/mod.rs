//! Tracing: while a trace is active on a thread, operations append nodes to its graph instead of running.
//!
//! Traces nest as a stack (the body of a `scan`, a compiled function called inside another). A trace sees what is
//! outside of it by *capturing*: an eager tensor, a variable, or a value of a trace around it becomes an input of its
//! graph. What it does to variables and gradient slots is kept in the trace, and whoever began the trace carries it out.
//!
//! Gradients: `needs` are the values that depend differentiably on something that requires gradients, whatever the
//! grad mode was. Whether *this handle* of a value is recorded is [`Traced::tracked`]; where an untracked handle of a
//! value in `needs` meets a tracked one, a `stop_gradient` goes in between.

mod backward;
mod closed;
mod errors;
mod region;
mod slots;
mod variables;

pub(crate) use backward::{backward, grad, make_leaf};
pub(crate) use closed::{Input, Outside, Yielded, same_types, variable_operand};
pub(crate) use errors::{creation_error, no_value_error, stale_error};
pub(crate) use region::{Finished, Output, Parameter, described, trace_region, value_now};
pub(crate) use slots::{SlotState, set_slot, slot_of, slot_value};
pub(crate) use variables::{VariableState, assign, variable_in_trace};

use crate::apply::{Tensors, infer};
use crate::grad_mode::is_grad_enabled;
use crate::slot::SlotKey;
use crate::tensor::{Eager, Repr, Tensor};
use crate::tracked::{Effect, Guard};
use crate::variable::Variable;
use igneous_ir::graph::{Graph, Value};
use igneous_ir::op::Vjp;
use igneous_ir::{Loc, Op, Result, TensorType, ops};
use smallvec::SmallVec;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ThreadId;

thread_local! {
    static STACK: RefCell<Vec<Trace>> = const { RefCell::new(Vec::new()) };
}

/// A tensor of a trace.
pub(crate) struct Traced {
    /// Which trace.
    pub(crate) life: Arc<Life>,
    pub(crate) value: Value,
    pub(crate) ty: TensorType,
    /// Whether operations on this handle are recorded for `backward`.
    pub(crate) tracked: bool,
    pub(crate) loc: Option<Loc>,
    /// Which argument of the traced function it is.
    argument: Option<usize>,
}

impl Traced {
    pub(crate) fn same(&self, other: &Traced) -> bool {
        Arc::ptr_eq(&self.life, &other.life) && self.value == other.value
    }

    /// Another handle of the value, without its history.
    pub(crate) fn detached(&self) -> Tensor {
        let Traced { life, value, ty, loc, argument, .. } = self;
        let (life, ty) = (life.clone(), ty.clone());
        Traced { life, value: *value, ty, tracked: false, loc: *loc, argument: *argument }.into()
    }
}

impl From<Traced> for Tensor {
    fn from(traced: Traced) -> Tensor {
        Tensor(Repr::Traced(Arc::new(traced)))
    }
}

/// What a trace's tensors know of it: its identity, its thread, and whether it goes on.
pub(crate) struct Life {
    thread: ThreadId,
    ended: AtomicBool,
    name: String,
}

/// What a trace is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A compiled function, traced to become a program.
    Program,
    /// A compiled function called inside another trace.
    Call,
    /// A region of an operator, such as the body of a loop; how messages call it.
    Region(&'static str),
    /// A function to be differentiated or mapped.
    Transform,
}

/// A graph being traced.
pub(crate) struct Trace {
    life: Arc<Life>,
    kind: Kind,
    graph: Graph,
    needs: HashSet<Value>,
    /// Values with a slot.
    leaves: Vec<(Value, SlotKey)>,
    /// The `stop_gradient` of a value, once there is one.
    stopped: HashMap<Value, Value>,
    captures: Vec<Capture>,
    variables: Vec<VariableState>,
    slots: Vec<SlotState>,
    guards: HashMap<usize, Box<dyn Guard>>,
    guard_order: Vec<usize>,
    pub(crate) effects: Vec<Arc<dyn Effect>>,
    /// Whether `backward` was called.
    ran_backward: bool,
}

/// Something outside of a trace that became an input of its graph.
pub(crate) struct Capture {
    pub(crate) source: CaptureSource,
    pub(crate) value: Value,
    /// Whether the handle in the trace is recorded.
    tracked: bool,
}

/// What was captured.
#[derive(Clone)]
pub(crate) enum CaptureSource {
    /// A tensor that exists.
    Eager(Arc<Eager>),
    /// A variable's value when the run begins.
    Variable(Arc<Variable>),
    /// A value of a trace around this one.
    Outer(Arc<Traced>),
    /// The gradient a slot holds when the run begins.
    Slot(SlotKey, Tensor),
}

/// A value in the trace as an operand.
#[derive(Clone, Copy)]
struct Handle {
    value: Value,
    tracked: bool,
}

impl Capture {
    /// An input of a graph that was not traced here.
    pub(crate) fn new(source: CaptureSource, value: Value) -> Capture {
        Capture { source, value, tracked: false }
    }
}

impl Trace {
    fn new(kind: Kind, name: &str) -> Trace {
        let life = Life { thread: std::thread::current().id(), ended: AtomicBool::new(false), name: name.to_owned() };
        Trace {
            life: Arc::new(life),
            kind,
            graph: Graph::new(name),
            needs: HashSet::new(),
            leaves: Vec::new(),
            stopped: HashMap::new(),
            captures: Vec::new(),
            variables: Vec::new(),
            slots: Vec::new(),
            guards: HashMap::new(),
            guard_order: Vec::new(),
            effects: Vec::new(),
            ran_backward: false,
        }
    }

    /// Remembers that the trace depends on host state.
    pub(crate) fn guard(&mut self, id: usize, guard: impl FnOnce() -> Box<dyn Guard>) {
        if let std::collections::hash_map::Entry::Vacant(entry) = self.guards.entry(id) {
            entry.insert(guard());
            self.guard_order.push(id);
        }
    }

    fn handle(&self, value: Value, tracked: bool, loc: Option<Loc>) -> Traced {
        Traced { life: self.life.clone(), value, ty: self.graph.ty(value).clone(), tracked, loc, argument: None }
    }

    fn leaf(&self, value: Value) -> Option<&SlotKey> {
        self.leaves.iter().find(|(v, _)| *v == value).map(|(_, key)| key)
    }

    /// Appends a node without recording lines or gradients of its own.
    fn push(&mut self, op: Op, operands: &[Value]) -> Result<SmallVec<[Value; 2]>> {
        let depends = !matches!(op.record().vjp, Vjp::Zero) && operands.iter().any(|v| self.needs.contains(v));
        let results = self.graph.add(op, operands)?;
        if depends {
            let graph = &self.graph;
            self.needs.extend(results.iter().copied().filter(|&v| graph.ty(v).dtype.is_float()));
        }
        Ok(results)
    }

    /// The value cut off from what it was computed from.
    fn stop(&mut self, value: Value) -> Result<Value> {
        if !self.needs.contains(&value) {
            return Ok(value);
        }
        if let Some(&stopped) = self.stopped.get(&value) {
            return Ok(stopped);
        }
        let stopped = self.push(ops::stop_gradient(), &[value])?[0];
        self.stopped.insert(value, stopped);
        Ok(stopped)
    }

    fn add_capture(
        &mut self,
        source: CaptureSource,
        name: String,
        ty: TensorType,
        tracked: bool,
        slot: Option<SlotKey>,
    ) -> Handle {
        let value = self.graph.input(name, ty);
        if tracked {
            self.needs.insert(value);
        }
        if let Some(key) = slot {
            self.leaves.push((value, key));
        }
        self.captures.push(Capture { source, value, tracked });
        Handle { value, tracked }
    }

    fn capture_eager(&mut self, value: &Arc<Eager>) -> Handle {
        let found = self.captures.iter().find(|c| matches!(&c.source, CaptureSource::Eager(e) if Arc::ptr_eq(e, value)));
        if let Some(capture) = found {
            return Handle { value: capture.value, tracked: capture.tracked };
        }
        let name = format!("captured{}", self.captures.len());
        let slot = value.slot.clone().map(SlotKey::Shared);
        self.add_capture(CaptureSource::Eager(value.clone()), name, value.ty.clone(), value.tracked(), slot)
    }
}

/// Whether a trace is active on this thread.
pub(crate) fn is_tracing() -> bool {
    STACK.with_borrow(|stack| !stack.is_empty())
}

/// Calls `f` with the outermost trace of this thread.
pub(crate) fn with_root<R>(f: impl FnOnce(&mut Trace) -> R) -> Option<R> {
    STACK.with_borrow_mut(|stack| stack.first_mut().map(f))
}

/// Calls `f` with the innermost trace of this thread. There must be one.
fn with_top<R>(f: impl FnOnce(&mut Trace) -> R) -> R {
    STACK.with_borrow_mut(|stack| f(stack.last_mut().expect("a trace is active")))
}

/// Runs `f` as if the innermost trace were not there.
fn below_top<R>(f: impl FnOnce() -> R) -> R {
    struct Restore(Option<Trace>);
    impl Drop for Restore {
        fn drop(&mut self) {
            STACK.with_borrow_mut(|stack| stack.extend(self.0.take()));
        }
    }
    let _restore = Restore(STACK.with_borrow_mut(Vec::pop));
    f()
}

/// The tensor as an operand of the innermost trace.
fn operand(tensor: &Tensor) -> Result<Handle> {
    match &tensor.0 {
        Repr::Invalid(error) => Err(error.clone()),
        Repr::Eager(value) => Ok(with_top(|trace| trace.capture_eager(value))),
        Repr::Variable(variable) => variables::read(variable),
        Repr::Traced(traced) => traced_operand(traced),
    }
}

fn traced_operand(traced: &Arc<Traced>) -> Result<Handle> {
    STACK.with_borrow_mut(|stack| {
        let Some(owner) = stack.iter().position(|t| Arc::ptr_eq(&t.life, &traced.life)) else {
            return Err(stale_error(traced));
        };
        let (last, below) = stack.split_last_mut().expect("a trace is active");
        if owner == below.len() {
            return Ok(Handle { value: traced.value, tracked: traced.tracked });
        }
        let same = |c: &&Capture| matches!(&c.source, CaptureSource::Outer(t) if t.same(traced) && t.tracked == traced.tracked);
        if let Some(capture) = last.captures.iter().find(same) {
            return Ok(Handle { value: capture.value, tracked: capture.tracked });
        }
        let slot = below[owner].leaf(traced.value).cloned();
        let name = format!("outer{}", last.captures.len());
        Ok(last.add_capture(CaptureSource::Outer(traced.clone()), name, traced.ty.clone(), traced.tracked, slot))
    })
}

/// Appends `op` to the innermost trace.
pub(crate) fn append(op: Op, inputs: &[&Tensor], loc: Loc) -> Result<Tensors> {
    let handles: SmallVec<[Handle; 4]> = inputs.iter().map(|t| operand(t)).collect::<Result<_>>()?;
    with_top(|trace| {
        let types: SmallVec<[TensorType; 4]> = handles.iter().map(|h| trace.graph.ty(h.value).clone()).collect();
        infer(&op, &types, inputs, loc)?;
        trace.graph.loc = Some(loc);
        let tracked = is_grad_enabled() && handles.iter().any(|h| h.tracked && trace.needs.contains(&h.value));
        let mut operands: SmallVec<[Value; 4]> = SmallVec::new();
        for h in &handles {
            operands.push(if tracked && !h.tracked { trace.stop(h.value)? } else { h.value });
        }
        let results = trace.push(op, &operands)?;
        let handle = |v: Value| trace.handle(v, tracked && trace.needs.contains(&v), Some(loc)).into();
        Ok(results.into_iter().map(handle).collect())
    })
}

/// Runs `f` inside a named scope: nodes traced by it carry the name, for example that of a layer. Without a trace, `f`
/// just runs.
pub fn scope<R>(name: &str, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<(Arc<Life>, u32)>);
    impl Drop for Restore {
        fn drop(&mut self) {
            if let Some((life, previous)) = &self.0 {
                STACK.with_borrow_mut(|stack| {
                    if let Some(trace) = stack.iter_mut().rfind(|t| Arc::ptr_eq(&t.life, life)) {
                        trace.graph.scope = *previous;
                    }
                });
            }
        }
    }
    let pushed = STACK.with_borrow_mut(|stack| {
        let trace = stack.last_mut()?;
        Some((trace.life.clone(), trace.graph.push_scope(igneous_ir::dim::intern(name))))
    });
    let _restore = Restore(pushed);
    f()
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.life.ended.store(true, Ordering::Release);
    }
}

/// Whether the trace is active on this thread.
fn is_alive_here(life: &Arc<Life>) -> bool {
    STACK.with_borrow(|stack| stack.iter().any(|t| Arc::ptr_eq(&t.life, life)))
}
