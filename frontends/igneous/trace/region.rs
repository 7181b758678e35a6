//! Running a closure under a new trace.

use super::{
    Capture, CaptureSource, Handle, Kind, STACK, SlotState, Trace, Traced, VariableState, operand, slot_of, variable_in_trace,
    with_top,
};
use crate::bound;
use crate::slot::SlotKey;
use crate::tensor::{Repr, Tensor};
use crate::tracked::{Effect, Guard};
use igneous_ir::graph::{Graph, Value};
use igneous_ir::{Result, TensorType};
use std::sync::Arc;

/// A trace that has ended.
pub(crate) struct Finished {
    /// The arguments are the first inputs; the captures follow in order. It has no outputs yet.
    pub(crate) graph: Graph,
    pub(crate) captures: Vec<Capture>,
    pub(crate) variables: Vec<VariableState>,
    pub(crate) slots: Vec<SlotState>,
    pub(crate) guards: Vec<Box<dyn Guard>>,
    pub(crate) effects: Vec<Arc<dyn Effect>>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) ran_backward: bool,
}

/// What a traced closure returned.
pub(crate) enum Output {
    /// A value of the trace, and whether it is recorded for `backward`.
    Value { value: Value, tracked: bool },
    /// A variable or a tensor from outside, returned as it is.
    Outside(Tensor),
}

/// An argument of a traced closure.
pub(crate) struct Parameter {
    pub(crate) name: String,
    pub(crate) ty: TensorType,
    pub(crate) tracked: bool,
    pub(crate) slot: Option<SlotKey>,
}

impl Parameter {
    /// A parameter that stands for `argument`; the place among all arguments names its slot if it is a value that exists.
    pub(crate) fn standing_for(argument: &Tensor, place: usize, name: String) -> Result<Parameter> {
        let ty = argument.ty()?;
        let tracked = argument.requires_grad() && ty.dtype.is_float();
        let slot = match &argument.0 {
            Repr::Eager(value) => value.slot.as_ref().map(|_| SlotKey::Argument(place)),
            Repr::Variable(variable) if tracked => Some(SlotKey::Shared(variable.slot().clone())),
            Repr::Traced(traced) => slot_of(traced),
            _ => None,
        };
        Ok(Parameter { name, ty, tracked, slot })
    }
}

/// Traces `f` on parameters.
pub(crate) fn trace_region(
    kind: Kind,
    name: &str,
    parameters: Vec<Parameter>,
    f: impl FnOnce(Vec<Tensor>) -> Result<Vec<Tensor>>,
) -> Result<Finished> {
    let mut trace = Trace::new(kind, name);
    let mut arguments = Vec::new();
    for (place, parameter) in parameters.into_iter().enumerate() {
        let value = trace.graph.input(parameter.name, parameter.ty);
        if parameter.tracked {
            trace.needs.insert(value);
        }
        trace.leaves.extend(parameter.slot.map(|key| (value, key)));
        let argument = (!matches!(kind, Kind::Region(_))).then_some(place);
        arguments.push(Traced { argument, ..trace.handle(value, parameter.tracked, None) }.into());
    }
    let depth = STACK.with_borrow_mut(|stack| {
        stack.push(trace);
        stack.len()
    });
    let outputs = {
        let guard = PopOnUnwind(depth);
        let outputs = f(arguments).and_then(|outputs| outputs.iter().map(|t| output(kind, t)).collect::<Result<Vec<_>>>());
        std::mem::forget(guard);
        outputs
    };
    let mut trace = STACK.with_borrow_mut(Vec::pop).expect("it was pushed above");
    let outputs = outputs?;
    let mut guards = std::mem::take(&mut trace.guards);
    let guards = trace.guard_order.iter().filter_map(|id| guards.remove(id)).collect();
    trace.graph.loc = None;
    trace.graph.scope = 0;
    Ok(Finished {
        graph: std::mem::replace(&mut trace.graph, Graph::new("")),
        captures: std::mem::take(&mut trace.captures),
        variables: std::mem::take(&mut trace.variables),
        slots: std::mem::take(&mut trace.slots),
        guards,
        effects: std::mem::take(&mut trace.effects),
        outputs,
        ran_backward: trace.ran_backward,
    })
}

/// A closure that panics must not leave its trace behind.
struct PopOnUnwind(usize);

impl Drop for PopOnUnwind {
    fn drop(&mut self) {
        STACK.with_borrow_mut(|stack| stack.truncate(self.0 - 1));
    }
}

/// A result of the closure. What a region or a function to be transformed returns is computed in it, and detached in it;
/// anything else from outside is returned as it is.
fn output(kind: Kind, tensor: &Tensor) -> Result<Output> {
    let region = matches!(kind, Kind::Region(_) | Kind::Transform);
    match &tensor.0 {
        Repr::Traced(_) | Repr::Eager(_) | Repr::Variable(_) if region || tensor.0.as_traced().is_some() => {
            let Handle { value, tracked } = operand(&bound::resolve(tensor))?;
            let value = if region && !tracked { with_top(|trace| trace.stop(value))? } else { value };
            Ok(Output::Value { value, tracked })
        }
        Repr::Invalid(error) => Err(error.clone()),
        _ => Ok(Output::Outside(tensor.clone())),
    }
}

impl CaptureSource {
    /// The captured thing as an operand outside of the trace.
    pub(crate) fn tensor(&self) -> Tensor {
        match self {
            CaptureSource::Eager(value) => Tensor(Repr::Eager(value.clone())),
            CaptureSource::Variable(variable) => Tensor(Repr::Variable(variable.clone())),
            CaptureSource::Outer(traced) => Tensor(Repr::Traced(traced.clone())),
            CaptureSource::Slot(_, grad) => grad.clone(),
        }
    }

    /// The captured thing as it is now: a variable as its value.
    pub(crate) fn now(&self) -> Tensor {
        value_now(&self.tensor())
    }
}

/// A tensor as it is now: a variable as its value.
pub(crate) fn value_now(tensor: &Tensor) -> Tensor {
    let tensor = bound::resolve(tensor);
    match &tensor.0 {
        Repr::Variable(variable) => match variable_in_trace(variable) {
            Some(Ok(traced)) => traced.into(),
            Some(Err(error)) => error.into(),
            None => variable.read().into(),
        },
        _ => tensor.into_owned(),
    }
}

/// A handle of a value for messages.
pub(crate) fn described(traced: &Traced) -> String {
    match (traced.argument, traced.loc) {
        (Some(place), _) => format!("{}   argument {place} of `{}`", traced.ty, traced.life.name),
        (None, Some(loc)) => format!("{}   from {loc}", traced.ty),
        (None, None) => traced.ty.to_string(),
    }
}
