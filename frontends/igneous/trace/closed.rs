//! A traced closure as a region: what it captured becomes inputs beside its arguments, in the order its operator wants.

use super::{CaptureSource, Finished, Output};
use crate::tensor::{Repr, Tensor};
use crate::variable::Variable;
use igneous_ir::graph::{Graph, Region, Value};
use igneous_ir::{Error, Result};
use std::sync::Arc;

/// An input of a region.
pub(crate) enum Input<'a> {
    /// An argument of the closure.
    Argument(usize),
    /// Something from outside, whether this closure captured it or not.
    Outside(&'a CaptureSource),
}

/// An output of a region.
#[derive(Clone, Copy)]
pub(crate) enum Yielded {
    /// A value of the closure's trace.
    Value(Value),
    /// An input of the region.
    Input(usize),
}

impl CaptureSource {
    /// Whether both are the same thing to capture.
    pub(crate) fn same(&self, other: &CaptureSource) -> bool {
        match (self, other) {
            (CaptureSource::Eager(a), CaptureSource::Eager(b)) => Arc::ptr_eq(a, b),
            (CaptureSource::Variable(a), CaptureSource::Variable(b)) => Arc::ptr_eq(a, b),
            (CaptureSource::Outer(a), CaptureSource::Outer(b)) => a.same(b) && a.tracked == b.tracked,
            (CaptureSource::Slot(a, _), CaptureSource::Slot(b, _)) => a == b,
            _ => false,
        }
    }
}

impl Finished {
    /// The region with these inputs and outputs. All arguments are among the inputs, and all captures.
    pub(crate) fn close(&self, inputs: &[Input<'_>], outputs: &[Yielded]) -> Result<Region> {
        let traced = &self.graph;
        let mut graph = Graph::new(traced.name.clone());
        let mut given: Vec<Option<Value>> = vec![None; traced.inputs().len()];
        let mut values = Vec::new();
        for (k, input) in inputs.iter().enumerate() {
            let place = match input {
                Input::Argument(argument) => Some(*argument),
                Input::Outside(source) => self.place_of(source),
            };
            let (name, ty) = match (place, input) {
                (Some(place), _) => (traced.inputs()[place].1.clone(), traced.ty(traced.inputs()[place].0).clone()),
                (None, Input::Outside(source)) => (format!("unused{k}"), source.tensor().ty()?),
                (None, Input::Argument(_)) => return Err(Error::new("a region takes an argument that there is not")),
            };
            values.push(graph.input(name, ty));
            if let Some(place) = place {
                given[place] = values.last().copied();
            }
        }
        let mut with_outputs = traced.clone();
        for yielded in outputs {
            if let Yielded::Value(v) = yielded {
                with_outputs.output("", *v);
            }
        }
        let missing = || Error::new("a region has an input that its operator does not give");
        let given = given.into_iter().map(|v| v.ok_or_else(missing)).collect::<Result<Vec<Value>>>()?;
        let mut computed = graph.inline(&with_outputs, &given)?.into_iter();
        for (k, yielded) in outputs.iter().enumerate() {
            let value = match yielded {
                Yielded::Input(input) => values[*input],
                Yielded::Value(_) => computed.next().ok_or_else(|| Error::new("a region has too few outputs"))?,
            };
            graph.output(format!("y{k}"), value);
        }
        Ok(Region::new(graph))
    }

    /// The place among the inputs of the trace of something captured.
    fn place_of(&self, source: &CaptureSource) -> Option<usize> {
        let captured = self.captures.iter().find(|c| c.source.same(source))?;
        self.graph.inputs().iter().position(|(v, _)| *v == captured.value)
    }

    /// The values that the closure returned.
    pub(crate) fn results(&self) -> Result<Vec<Yielded>> {
        let value = |output: &Output| match output {
            Output::Value { value, .. } => Ok(Yielded::Value(*value)),
            Output::Outside(_) => Err(Error::new("a result of a region is outside of it")),
        };
        self.outputs.iter().map(value).collect()
    }

    /// The variables that the closure assigned.
    pub(crate) fn assigned(&self) -> Vec<Arc<Variable>> {
        self.variables.iter().filter(|s| s.assigned).map(|s| s.variable.clone()).collect()
    }

    /// The value of a variable at the end: what the region is given, at `input`, if the closure does not know it.
    pub(crate) fn value_of(&self, variable: &Arc<Variable>, input: usize) -> Yielded {
        let known = self.variables.iter().find(|s| Arc::ptr_eq(&s.variable, variable));
        known.map_or(Yielded::Input(input), |s| Yielded::Value(s.current))
    }
}

/// What some regions of one operator use from outside.
pub(crate) struct Outside {
    /// What none of them assigns.
    pub(crate) constants: Vec<CaptureSource>,
    /// The variables that one of them assigns.
    pub(crate) variables: Vec<CaptureSource>,
}

impl Outside {
    pub(crate) fn of(regions: &[&Finished], assigned: &[Arc<Variable>]) -> Outside {
        let variables: Vec<CaptureSource> = assigned.iter().map(|v| CaptureSource::Variable(v.clone())).collect();
        let mut constants: Vec<CaptureSource> = Vec::new();
        for capture in regions.iter().flat_map(|region| &region.captures) {
            if !constants.iter().chain(&variables).any(|known| known.same(&capture.source)) {
                constants.push(capture.source.clone());
            }
        }
        Outside { constants, variables }
    }

    /// The constants and the variables as operands.
    pub(crate) fn tensors(&self) -> (Vec<Tensor>, Vec<Tensor>) {
        let tensors = |sources: &[CaptureSource]| sources.iter().map(CaptureSource::tensor).collect();
        (tensors(&self.constants), tensors(&self.variables))
    }
}

/// A variable as an operand.
pub(crate) fn variable_operand(variable: &Arc<Variable>) -> Tensor {
    Tensor(Repr::Variable(variable.clone()))
}

/// Checks that the body of a loop returns carries of the types it is given.
///
/// # Errors
/// If one has another type.
pub(crate) fn same_types(what: &str, given: &[Tensor], returned: &[Tensor]) -> Result<()> {
    for (before, after) in given.iter().zip(returned) {
        if before.ty()? != after.ty()? {
            let error = Error::new(format!("{what} returns a carry of another type than it is given"));
            return Err(error.note("given", before.describe()).note("returned", after.describe()));
        }
    }
    Ok(())
}
