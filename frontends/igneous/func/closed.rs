//! A function traced for a transform: a graph, what its inputs stand for, and what else calling it does.

use crate::compile::{Function, Outputs, Tree, Value};
use crate::grad_mode::enable_grad;
use crate::tensor::{Repr, Tensor};
use crate::trace::{self, CaptureSource, Kind, Output, Parameter, value_now};
use crate::tracked::Effect;
use crate::variable::Variable;
use igneous_ir::graph::Graph;
use igneous_ir::{Error, Result, TensorType};
use std::sync::Arc;

/// A traced function.
pub(crate) struct Closed<R> {
    /// Its first inputs are the tensors of the arguments. Its outputs are the tensors that the function returns, then the
    /// new values of the variables that it assigns.
    pub(crate) graph: Graph,
    /// What stands at the inputs: the arguments as they were given, then what the function uses of its surroundings.
    pub(crate) inputs: Vec<Tensor>,
    /// How many inputs are arguments.
    pub(crate) arguments: usize,
    /// How many outputs are returned.
    pub(crate) returned: usize,
    template: R,
    /// For each input after the arguments, the variable that it is the value of.
    variables: Vec<Option<Arc<Variable>>>,
    /// The variables that the last outputs are for.
    pub(crate) assigned: Vec<Arc<Variable>>,
    effects: Vec<Arc<dyn Effect>>,
}

/// The tensors of a structure, variables as their values.
pub(crate) fn tensors_of(tree: &impl Tree) -> Result<Vec<Tensor>> {
    let mut tensors = Vec::new();
    tree.flatten(&mut tensors, &mut Vec::new());
    let tensors: Vec<Tensor> = tensors.iter().map(value_now).collect();
    tensors.iter().try_for_each(Tensor::check)?;
    Ok(tensors)
}

/// Traces `function` on arguments of the given types and of the structure of `arguments`; `tensors` stand at the inputs.
pub(crate) fn trace<F: Function<Args>, Args: Tree>(
    name: &str,
    function: &F,
    arguments: &Args,
    tensors: Vec<Tensor>,
    types: Vec<TensorType>,
) -> Result<Closed<Value<F, Args>>> {
    close(name, tensors, types, |given| function.call(arguments.rebuild(&mut given.into_iter())).into_result())
}

/// Traces a closure on parameters of the given types; `tensors` stand for them.
pub(crate) fn close<R: Tree>(
    name: &str,
    tensors: Vec<Tensor>,
    types: Vec<TensorType>,
    f: impl FnOnce(Vec<Tensor>) -> Result<R>,
) -> Result<Closed<R>> {
    let parameter = |(k, ty): (usize, TensorType)| {
        let tracked = ty.dtype.is_float();
        Parameter { name: format!("x{k}"), ty, tracked, slot: None }
    };
    let parameters = types.into_iter().enumerate().map(parameter).collect();
    let mut template = None;
    let mut finished = trace::trace_region(Kind::Transform, name, parameters, |given| {
        let returned = enable_grad(|| f(given))?;
        let mut outputs = Vec::new();
        returned.flatten(&mut outputs, &mut Vec::new());
        template = Some(returned);
        Ok(outputs)
    })?;
    if finished.slots.iter().any(|s| s.changed) {
        return Err(Error::new("a function that is being differentiated or mapped cannot change gradients"));
    }
    let mut graph = finished.graph;
    let returned = finished.outputs.len();
    for (k, output) in finished.outputs.iter().enumerate() {
        match output {
            Output::Value { value, .. } => graph.output(format!("y{k}"), *value),
            Output::Outside(_) => return Err(Error::new("a result is outside of the function's trace")),
        }
    }
    finished.variables.retain(|state| state.assigned);
    for state in &finished.variables {
        graph.output(state.variable.name().map_or_else(|| "variable".to_owned(), |n| n.to_string()), state.current);
    }
    let arguments = tensors.len();
    let variable = |source: &CaptureSource| match source {
        CaptureSource::Variable(variable) => Some(variable.clone()),
        _ => None,
    };
    Ok(Closed {
        variables: finished.captures.iter().map(|c| variable(&c.source)).collect(),
        graph,
        inputs: tensors.into_iter().chain(finished.captures.iter().map(|c| c.source.now())).collect(),
        arguments,
        returned,
        template: template.ok_or_else(|| Error::new("the function returned nothing"))?,
        assigned: finished.variables.into_iter().map(|state| state.variable).collect(),
        effects: finished.effects,
    })
}

impl<R: Tree> Closed<R> {
    /// What the function returned while it was traced: only its structure and types mean something.
    pub(crate) fn template(&self) -> &R {
        &self.template
    }

    /// The types of the arguments.
    pub(crate) fn argument_types(&self) -> Vec<TensorType> {
        let count = self.graph.inputs().len() - self.variables.len();
        self.graph.inputs()[..count].iter().map(|(v, _)| self.graph.ty(*v).clone()).collect()
    }

    /// The types of some outputs.
    pub(crate) fn output_types(&self, which: std::ops::Range<usize>) -> Vec<TensorType> {
        self.graph.outputs()[which].iter().map(|(v, _)| self.graph.ty(*v).clone()).collect()
    }

    /// What the function returns, made of these tensors.
    pub(crate) fn rebuild(&self, tensors: Vec<Tensor>) -> R {
        self.template.rebuild(&mut tensors.into_iter())
    }

    /// Does what calling the function does besides returning: `values` are those of the assigned variables.
    pub(crate) fn commit(&self, values: &[Tensor]) -> Result<()> {
        for (variable, value) in self.assigned.iter().zip(values) {
            Tensor(Repr::Variable(variable.clone())).assign(value)?;
        }
        self.effects.iter().for_each(|effect| effect.commit());
        Ok(())
    }

    /// The input that is the value of a variable.
    pub(crate) fn input_of(&self, variable: &Arc<Variable>) -> Option<usize> {
        let own = |v: &Option<Arc<Variable>>| v.as_ref().is_some_and(|v| Arc::ptr_eq(v, variable));
        self.variables.iter().position(own).map(|k| self.arguments + k)
    }

    /// Which inputs are tensors of the first `count` that can be differentiated by.
    pub(crate) fn floats_among(&self, count: usize) -> Vec<bool> {
        let inputs = self.graph.inputs().iter().enumerate();
        inputs.map(|(k, (v, _))| k < count && self.graph.ty(*v).dtype.is_float()).collect()
    }
}
