//! A compiled function called under a trace: a `call` of the graph being traced.

use super::entry::{Origin, Returned, SlotExit, Traced};
use super::tree::{Function, Tree};
use super::{Compiled, Value};
use crate::apply::try_apply;
use crate::tensor::Tensor;
use crate::trace::{self, Kind, Parameter};
use igneous_ir::graph::Region;
use igneous_ir::{Loc, Result, ops};

impl<F: Function<Args>, Args: Tree> Compiled<F, Args> {
    pub(super) fn inline(&self, arguments: &Args, loc: Loc) -> Result<Value<F, Args>> {
        let mut tensors = Vec::new();
        arguments.flatten(&mut tensors, &mut Vec::new());
        let mut parameters = Vec::new();
        for (place, tensor) in tensors.iter().enumerate() {
            parameters.push(Parameter::standing_for(tensor, place, format!("x{place}"))?);
        }
        let (finished, template) = self.trace_region(Kind::Call, arguments, parameters)?;
        let mut traced = Traced::new(finished, template, tensors.len())?;
        traced.graph.name = self.name.clone();
        // What the inputs are now: the effects below must not change what a result refers to.
        let inputs: Vec<Tensor> = tensors.iter().cloned().chain(traced.captures.iter().map(|c| c.source.now())).collect();
        let results = if traced.graph.outputs().is_empty() && traced.graph.nodes().all(|(_, n)| n.op.removable()) {
            Default::default()
        } else {
            let operands: Vec<&Tensor> = inputs.iter().collect();
            try_apply(ops::call(Region::new(traced.graph)), &operands, loc)?
        };
        let result = |origin: Origin| match origin {
            Origin::Output(k) => results[k].clone(),
            Origin::Input(k) => inputs[k].clone(),
        };
        for (variable, origin) in &traced.assigned {
            trace::assign(variable, &result(*origin))?;
        }
        for slot in &traced.slots {
            match slot.exit {
                SlotExit::Unchanged => {}
                SlotExit::Empty => trace::set_slot(&slot.key, None),
                SlotExit::Full(origin) => trace::set_slot(&slot.key, Some(result(origin))),
            }
        }
        let mut returned = traced.returned.iter().map(|returned| match returned {
            Returned::Outside(tensor) => tensor.clone(),
            Returned::Value { origin, tracked: true } => result(*origin),
            Returned::Value { origin, tracked: false } => result(*origin).detach(),
        });
        Ok(traced.template.rebuild(&mut returned))
    }
}
