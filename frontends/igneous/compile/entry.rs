//! One traced and compiled signature of a function.

use super::relations::{self, Relation, related};
use super::signature::Signature;
use super::tree::{Function, Outputs, Tree};
use super::{Compiled, Value, unrolled};
use crate::backend::{Executable, Options, Variables};
use crate::slot::SlotKey;
use crate::tensor::{Repr, Tensor};
use crate::testing::StateOf;
use crate::trace::{self, Capture, CaptureSource, Finished, Kind, Output, Parameter};
use crate::tracked::{Effect, Guard};
use crate::variable::Variable;
use igneous_ir::{Error, Graph, Result, TensorType};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Where a result of a run comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Origin {
    /// An output of the program.
    Output(usize),
    /// An input, unchanged.
    Input(usize),
}

/// What the function returned in one place.
pub(super) enum Returned {
    /// A value, and whether it is recorded for `backward`.
    Value { origin: Origin, tracked: bool },
    /// A tensor from outside: returned as it is.
    Outside(Tensor),
}

/// What a run does with a gradient slot.
pub(super) struct SlotEffect {
    pub(super) key: SlotKey,
    /// The type of the gradient it must hold when the run begins.
    pub(super) entry: Option<TensorType>,
    /// What it holds when the run ends.
    pub(super) exit: SlotExit,
}

pub(super) enum SlotExit {
    Unchanged,
    Empty,
    Full(Origin),
}

/// A traced function with its effects.
pub(super) struct Traced<R> {
    pub(super) graph: Graph,
    pub(super) captures: Vec<Capture>,
    /// How many inputs are arguments; those of the captures follow.
    pub(super) arguments: usize,
    pub(super) returned: Vec<Returned>,
    pub(super) template: R,
    pub(super) assigned: Vec<(Arc<Variable>, Origin)>,
    pub(super) slots: Vec<SlotEffect>,
    pub(super) guards: Vec<Box<dyn Guard>>,
    pub(super) effects: Vec<Arc<dyn Effect>>,
    pub(super) ran_backward: bool,
    /// Symbols of the arguments that are one in the graph.
    pub(super) relations: Vec<Relation>,
}

/// A program with all that a run needs to know.
pub(super) struct Entry<R> {
    pub(super) traced: Traced<R>,
    pub(super) signature: Signature,
    pub(super) executable: Executable,
    pub(super) options: Options,
    pub(super) runs: AtomicU64,
    reason: Option<String>,
}

impl<F: Function<Args>, Args: Tree> Compiled<F, Args> {
    /// Traces the function on arguments of these types; where that needs symbols to be equal, on those.
    pub(super) fn trace(&self, arguments: &Args, tensors: &[Tensor], signature: &Signature) -> Result<Traced<Value<F, Args>>> {
        let trace = |relations: &[Relation]| self.trace_with(arguments, tensors, signature, relations);
        let traced = match trace(&[]) {
            Ok(traced) => traced,
            Err(error) => {
                let (traced, relations) = relations::find(signature, &error, trace).ok_or(error)?;
                Traced { relations, ..traced }
            }
        };
        unrolled::warn(&traced.graph);
        Ok(traced)
    }

    fn trace_with(
        &self,
        arguments: &Args,
        tensors: &[Tensor],
        signature: &Signature,
        relations: &[Relation],
    ) -> Result<Traced<Value<F, Args>>> {
        let mut parameters = Vec::new();
        for (place, (tensor, argument)) in tensors.iter().zip(&signature.tensors).enumerate() {
            let mut parameter = Parameter::standing_for(tensor, place, format!("x{place}"))?;
            parameter.ty = related(&argument.ty, relations);
            parameters.push(parameter);
        }
        let (finished, template) = self.trace_region(Kind::Program, arguments, parameters)?;
        let mut traced = Traced::new(finished, template, tensors.len())?;
        traced.graph.name = self.name.clone();
        Ok(traced)
    }

    /// Traces the function; the second result has the structure of what it returned.
    pub(super) fn trace_region(
        &self,
        kind: Kind,
        arguments: &Args,
        parameters: Vec<Parameter>,
    ) -> Result<(Finished, Value<F, Args>)> {
        let mut template = None;
        let finished = trace::trace_region(kind, &self.name, parameters, |tensors| {
            let returned = self.function.call(arguments.rebuild(&mut tensors.into_iter())).into_result()?;
            let mut outputs = Vec::new();
            returned.flatten(&mut outputs, &mut Vec::new());
            template = Some(returned);
            Ok(outputs)
        })?;
        template.map(|t| (finished, t)).ok_or_else(|| Error::new("the function returned nothing"))
    }
}

impl<R> Traced<R> {
    pub(super) fn new(mut finished: Finished, template: R, arguments: usize) -> Result<Traced<R>> {
        let mut graph = std::mem::replace(&mut finished.graph, Graph::new(""));
        let inputs: Vec<_> = graph.inputs().iter().map(|(v, _)| *v).collect();
        let origin = |graph: &mut Graph, value, name: String| match inputs.iter().position(|&v| v == value) {
            Some(input) => Origin::Input(input),
            None => {
                graph.output(name, value);
                Origin::Output(graph.outputs().len() - 1)
            }
        };
        let mut returned = Vec::new();
        for (k, output) in finished.outputs.into_iter().enumerate() {
            returned.push(match output {
                Output::Value { value, tracked } => {
                    Returned::Value { origin: origin(&mut graph, value, format!("y{k}")), tracked }
                }
                Output::Outside(tensor) => Returned::Outside(tensor),
            });
        }
        let mut assigned = Vec::new();
        for state in finished.variables.iter().filter(|s| s.assigned) {
            let name = state.variable.name().map_or_else(|| format!("variable{}", assigned.len()), |n| n.to_string());
            assigned.push((state.variable.clone(), origin(&mut graph, state.current, name)));
        }
        let mut slots = Vec::new();
        for state in finished.slots {
            let exit = match &state.current {
                _ if !state.changed => SlotExit::Unchanged,
                None => SlotExit::Empty,
                Some(grad) => {
                    grad.check()?;
                    let value =
                        grad.0.as_traced().map(|t| t.value).ok_or_else(|| Error::new("a gradient is outside of its trace"))?;
                    SlotExit::Full(origin(&mut graph, value, format!("grad{}", slots.len())))
                }
            };
            slots.push(SlotEffect { key: state.key, entry: state.entry.map(|e| e.ty.clone()), exit });
        }
        Ok(Traced {
            graph,
            captures: finished.captures,
            arguments,
            returned,
            template,
            assigned,
            slots,
            guards: finished.guards,
            effects: finished.effects,
            ran_backward: finished.ran_backward,
            relations: Vec::new(),
        })
    }

    /// The input that holds a variable's value, if the graph reads it.
    pub(super) fn input_of(&self, variable: &Arc<Variable>) -> Option<usize> {
        let is = |c: &Capture| matches!(&c.source, CaptureSource::Variable(v) if Arc::ptr_eq(v, variable));
        self.captures.iter().position(is).map(|k| self.arguments + k)
    }

    fn is_assigned(&self, variable: &Arc<Variable>) -> bool {
        self.assigned.iter().any(|(v, _)| Arc::ptr_eq(v, variable))
    }

    /// What the compiler needs to know of variables.
    fn variables(&self) -> Variables {
        let pair = |(variable, origin): &(Arc<Variable>, Origin)| match origin {
            Origin::Output(output) => self.input_of(variable).map(|input| (input, *output)),
            Origin::Input(_) => None,
        };
        let stable = |(k, c): (usize, &Capture)| match &c.source {
            CaptureSource::Variable(v) if !self.is_assigned(v) => Some(self.arguments + k),
            CaptureSource::Eager(_) => Some(self.arguments + k),
            _ => None,
        };
        Variables {
            assigned: self.assigned.iter().filter_map(pair).collect(),
            stable: self.captures.iter().enumerate().filter_map(stable).collect(),
        }
    }
}

impl<R> Entry<R> {
    pub(super) fn compile(
        traced: Traced<R>,
        signature: Signature,
        options: &Options,
        reason: Option<String>,
    ) -> Result<Entry<R>> {
        let executable = Executable::build_and_dump(&traced.graph, &traced.variables(), options, signature.device)?;
        if let Some(report) = executable.stages().rematerialised().filter(|r| r.excess() > 0) {
            let (name, excess) = (&traced.graph.name, report.excess());
            eprintln!("warning: the temporaries of `{name}` exceed the memory budget of {} bytes by {excess}", report.budget);
        }
        Ok(Entry { traced, signature, executable, options: options.clone(), runs: AtomicU64::new(0), reason })
    }

    /// Whether the program may be used for arguments of this signature now.
    pub(super) fn fits(&self, signature: &Signature) -> bool {
        self.signature == *signature
            && self.traced.guards.iter().all(|g| g.holds())
            && self.traced.slots.iter().all(|s| s.fits(&trace::slot_value(&s.key)))
    }

    /// Why the program may not be used.
    pub(super) fn why_not(&self, signature: &Signature) -> Option<String> {
        let guard = || self.traced.guards.iter().find(|g| !g.holds()).map(|g| g.describe());
        let slot = || self.traced.slots.iter().find_map(|s| s.why_not(&trace::slot_value(&s.key)));
        signature.difference(&self.signature).or_else(guard).or_else(slot)
    }

    /// What a run changes.
    pub(super) fn state(&self) -> StateOf {
        StateOf {
            variables: self.traced.assigned.iter().map(|(v, _)| Tensor(Repr::Variable(v.clone()))).collect(),
            slots: self.traced.slots.iter().filter(|s| !matches!(s.exit, SlotExit::Unchanged)).map(|s| s.key.clone()).collect(),
        }
    }

    pub(super) fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }
}

impl SlotEffect {
    /// Whether the slot holds what it held while tracing.
    pub(super) fn fits(&self, now: &Option<Tensor>) -> bool {
        now.as_ref().and_then(|t| t.ty().ok()) == self.entry
    }

    fn why_not(&self, now: &Option<Tensor>) -> Option<String> {
        let word = |full: bool| if full { "full" } else { "empty" };
        let (was, is) = (self.entry.is_some(), now.is_some());
        (!self.fits(now)).then(|| format!("a gradient slot was {} and is {}", word(was), word(is)))
    }
}
