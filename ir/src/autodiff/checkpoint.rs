//! Computing a function again in its backward part instead of keeping what it computed.

use super::{SavedValue, full, jvp_graph, pullback};
use crate::error::Result;
use crate::graph::{Graph, Region, Value};
use crate::ops;
use crate::ops::custom::CustomVjp;
use crate::types::TensorType;

/// The function of a graph as an operator that keeps nothing but its operands for the derivatives by them: its backward part
/// first computes it again. None if no output or no input is a floating-point value.
///
/// # Errors
/// If a derivative cannot be emitted.
pub fn checkpointed(graph: &Graph) -> Result<Option<CustomVjp>> {
    let types = |values: &[(Value, String)]| values.iter().map(|(v, _)| graph.ty(*v).clone()).collect::<Vec<TensorType>>();
    let (inputs, outputs) = (types(graph.inputs()), types(graph.outputs()));
    let is_float = |types: &[TensorType]| types.iter().map(|ty| ty.dtype.is_float()).collect::<Vec<bool>>();
    let (by, of) = (is_float(&inputs), is_float(&outputs));
    if !by.contains(&true) || !of.contains(&true) {
        return Ok(None);
    }
    Ok(Some(CustomVjp {
        forward: Region::new(graph.clone()),
        backward: Some(Region::new(backward(graph, &inputs, &outputs, &by)?)),
        tangent: Some(Region::new(tangent(graph, &by, &of)?)),
        arguments: inputs.len(),
        outputs: outputs.len(),
    }))
}

/// From the inputs and cotangents of the outputs to cotangents of the inputs.
fn backward(graph: &Graph, inputs: &[TensorType], outputs: &[TensorType], by: &[bool]) -> Result<Graph> {
    let cut = pullback(graph, by)?;
    let mut new = Graph::new(format!("{}_backward", graph.name));
    let input = |new: &mut Graph, name: String, ty: &TensorType| new.input(name, ty.clone());
    let operands: Vec<Value> = inputs.iter().enumerate().map(|(k, ty)| input(&mut new, format!("x{k}"), ty)).collect();
    let cotangents: Vec<Value> = cut.cotangents.iter().map(|&r| input(&mut new, format!("dy{r}"), &outputs[r])).collect();
    // Only then are the operands there once more.
    let mut again = Vec::new();
    for &operand in &operands {
        let all: Vec<Value> = std::iter::once(operand).chain(cotangents.iter().copied()).collect();
        again.push(new.add(ops::barrier(), &all)?[0]);
    }
    let made = new.inline(&cut.forward, &again)?;
    let saved = cut.saved.iter().map(|source| match *source {
        SavedValue::Input(k) => again[k],
        SavedValue::Output(k) => made[k],
    });
    let given: Vec<Value> = saved.chain(cotangents.iter().copied()).collect();
    let found = new.inline(&cut.backward, &given)?;
    for k in (0..inputs.len()).filter(|&k| by[k]) {
        let gradient = match cut.gradients.iter().position(|&g| g == k) {
            Some(at) => found[at],
            None => full(&mut new, &inputs[k], 0.0)?,
        };
        new.output(format!("dx{k}"), gradient);
    }
    Ok(new)
}

/// From the inputs and their tangents to tangents of the outputs.
fn tangent(graph: &Graph, by: &[bool], of: &[bool]) -> Result<Graph> {
    let pushed = jvp_graph(graph, by)?;
    let tangents = pushed.outputs()[of.len()..].iter().zip(of).filter(|(_, float)| **float).map(|(output, _)| output.clone());
    Ok(pushed.with_outputs(tangents).without_dead_nodes())
}
