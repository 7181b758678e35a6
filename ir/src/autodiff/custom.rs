//! Derivatives of functions that bring their own.

use super::forward::Tangents;
use super::{Engine, Entry, Recorder, TapeEntry, decompose, full, sum};
use crate::emit::{Emit, Emitter};
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::ops::custom::{CustomVjp, inlined};
use std::collections::HashMap;

impl Engine {
    /// The cotangents of the operands: by the backward part, or the tangent part transposed; and of what the residuals
    /// depend on, if they have cotangents (in a derivative of a derivative), by the derivatives of what computes them.
    pub(super) fn custom_backward(
        &mut self,
        emit: &mut dyn Emit,
        entry: &TapeEntry,
        cotangents: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        let parts = CustomVjp::of(entry.op);
        let (arguments, outputs) = (parts.float_arguments(), parts.float_outputs());
        let mut gradients: Vec<Option<Value>> = vec![None; entry.operands.len()];
        if cotangents[..parts.outputs].iter().any(Option::is_some) {
            let mut given = shared(&parts, entry);
            let mut seeds = Vec::new();
            for &r in &outputs {
                seeds.push(super::block::or_zeros(emit, cotangents[r], entry.results[r])?);
            }
            let found: Vec<Option<Value>> = match (&parts.backward, &parts.tangent) {
                (Some(backward), _) => {
                    given.extend(seeds);
                    inline(emit, backward.graph(), &given)?.into_iter().map(Some).collect()
                }
                (None, Some(tangent)) => {
                    // Linear in the tangents, whose values do not matter.
                    let mut tangents = Vec::new();
                    for &k in &arguments {
                        let ty = emit.type_of(entry.operands[k]);
                        tangents.push(full(emit, &ty, 0.0)?);
                    }
                    given.extend(&tangents);
                    let mut recorder = Recorder::new(emit);
                    let pushed = inline(&mut recorder, tangent.graph(), &given)?;
                    let entries = recorder.entries;
                    let tape: Vec<TapeEntry> = entries.iter().map(Entry::borrow).collect();
                    let seeds: Vec<(Value, Value)> = pushed.into_iter().zip(seeds).collect();
                    self.pull_back(emit, &tape, &HashMap::new(), &seeds, &tangents)?
                }
                (None, None) => Vec::new(),
            };
            arguments.iter().zip(found).for_each(|(&k, gradient)| gradients[k] = gradient);
        }
        if cotangents[parts.outputs..].iter().any(Option::is_some) {
            let residual = |(r, c): (usize, &Option<Value>)| c.filter(|_| r >= parts.outputs);
            let only: Vec<Option<Value>> = cotangents.iter().enumerate().map(residual).collect();
            let more = self.through_decomposition(emit, entry, &only)?;
            for (total, more) in gradients.iter_mut().zip(more) {
                if let Some(more) = more {
                    *total = Some(sum(emit, *total, more)?);
                }
            }
        }
        Ok(gradients)
    }

    /// The tangents of the results: by the tangent part, or the backward part transposed; of the residuals by those of what
    /// computes them.
    pub(super) fn custom_tangents(&mut self, emit: &mut dyn Emit, entry: &TapeEntry, tangents: &Tangents) -> Result<Tangents> {
        let parts = CustomVjp::of(entry.op);
        let Some(tangent) = &parts.tangent else { return self.transposed_vjp(emit, entry, tangents) };
        let mut given = shared(&parts, entry);
        for &k in &parts.float_arguments() {
            given.push(super::block::or_zeros(emit, tangents[k], entry.operands[k])?);
        }
        let mut results: Tangents = vec![None; entry.results.len()];
        let found = inline(emit, tangent.graph(), &given)?;
        parts.float_outputs().into_iter().zip(found).for_each(|(r, t)| results[r] = Some(t));
        if parts.outputs < entry.results.len() {
            let (entries, made) = decompose(emit, entry.op, entry.operands)?;
            let tape: Vec<TapeEntry> = entries.iter().map(Entry::borrow).collect();
            let given: Vec<(Value, Value)> = entry.operands.iter().zip(tangents).filter_map(|(v, t)| Some((*v, (*t)?))).collect();
            let pushed = self.push_forward(emit, &tape, &given, &made[parts.outputs..])?;
            results[parts.outputs..].copy_from_slice(&pushed);
        }
        Ok(results)
    }
}

/// What both derivatives are given first: the operands and the residuals.
fn shared(parts: &CustomVjp, entry: &TapeEntry) -> Vec<Value> {
    entry.operands.iter().chain(&entry.results[parts.outputs..]).copied().collect()
}

/// Applies the operators of a graph.
fn inline(emit: &mut dyn Emit, graph: &Graph, inputs: &[Value]) -> Result<Vec<Value>> {
    let emitter = Emitter::new(emit);
    let inputs: Vec<_> = inputs.iter().map(|&v| emitter.value(v)).collect();
    let outputs = inlined(&emitter, graph, &inputs).into_iter().map(|x| x.value).collect();
    emitter.finish()?;
    Ok(outputs)
}
