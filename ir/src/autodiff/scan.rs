//! The backward part of a `scan`: a loop that runs the other way, carries the cotangents of the carries, adds up the
//! gradients of the constants and stacks those of the sequences.

use super::block::{Block, Request, Saved, Source, copy_node, or_zeros};
use super::path::{Loop, Usage};
use super::{Engine, TapeEntry, full, sum};
use crate::emit::Emit;
use crate::error::Result;
use crate::graph::{Graph, Region, Value};
use crate::op::Op;
use crate::ops;
use crate::ops::structural::INPUT;
use std::collections::HashMap;

impl Engine {
    /// What of a scan's body to derive so that `usage` of the scan can be answered.
    pub(super) fn scan_request(&mut self, op: &Op, usage: &Usage) -> Request {
        let region = op.region("body");
        let wiring = Loop::of(op);
        let body = self.body_dependence(region.graph());
        let active = wiring.active_inputs(&body, &usage.wanted);
        let needed = wiring.needed_outputs(&body, &usage.present);
        let (inputs, outputs) = (0..active.len(), 0..needed.len());
        let wanted = inputs.clone().map(|k| active[k] && outputs.clone().any(|r| needed[r] && body[k][r])).collect();
        let present = outputs.clone().map(|r| needed[r] && inputs.clone().any(|k| active[k] && body[k][r])).collect();
        let is_carry = |k: usize| (wiring.constants..wiring.constants + wiring.carries).contains(&k);
        Request {
            region: region.clone(),
            usage: Usage { wanted, present },
            inputs_kept: inputs.clone().map(|k| !is_carry(k)).collect(),
            outputs_kept: outputs.map(|r| r >= wiring.carries).collect(),
            invariant: inputs.map(|k| k < wiring.constants).collect(),
        }
    }
}

/// How the backward part of a body is wired into a loop that runs the other way.
struct Reversed {
    /// Positions among the saved values: the same in every iteration, and one for each iteration.
    constant: Vec<usize>,
    element: Vec<usize>,
    /// The constants of the forward loop whose gradients are accumulated.
    accumulated: Vec<usize>,
    /// The carries of the forward loop whose cotangents are carried.
    carried: Vec<usize>,
    /// The stacked results of the body that have cotangents.
    stacked: Vec<usize>,
    /// The sequences of the forward loop, as body inputs, that have gradients.
    sequences: Vec<usize>,
}

impl Reversed {
    fn of(op: &Op, saved: &Saved) -> Reversed {
        let Loop { constants, carries, .. } = Loop::of(op);
        let block = &saved.block;
        let is_constant = |i: &usize| matches!(block.saved[*i], Source::Input(k) if k < constants);
        let (constant, element) = (0..block.saved.len()).partition(is_constant);
        let gradients = || block.gradients.iter().copied();
        let carried = |i: &usize| {
            let usage = &saved.usage;
            let input = constants + *i;
            block.cotangents.contains(i) || block.gradients.contains(&input) || (usage.present[*i] && usage.wanted[input])
        };
        Reversed {
            constant,
            element,
            accumulated: gradients().filter(|&k| k < constants).collect(),
            carried: (0..carries).filter(carried).collect(),
            stacked: block.cotangents.iter().copied().filter(|&r| r >= carries).collect(),
            sequences: gradients().filter(|&k| k >= constants + carries).collect(),
        }
    }

    /// The body of the reversed loop: (saved constants; accumulators, carried cotangents; saved elements, cotangents
    /// of stacked results) -> (accumulators, carried cotangents; gradients of sequence elements).
    fn body(&self, op: &Op, block: &Block) -> Result<Region> {
        let Loop { constants, carries, .. } = Loop::of(op);
        let backward = block.backward.graph();
        let forward = op.region("body").graph();
        let mut body = Graph::new(backward.name.clone());
        body.set_scopes(backward.scopes().to_vec());
        let mut map: HashMap<Value, Value> = HashMap::new();
        let copy_input = |body: &mut Graph, map: &mut HashMap<Value, Value>, i: usize| {
            let (v, name) = &backward.inputs()[i];
            let input = body.input(name.clone(), backward.ty(*v).clone());
            map.insert(*v, input);
            input
        };
        let cotangent_input = |r: usize| block.cotangents.iter().position(|&c| c == r).map(|i| block.saved.len() + i);

        self.constant.iter().for_each(|&i| {
            copy_input(&mut body, &mut map, i);
        });
        let mut sums = Vec::new();
        for &k in &self.accumulated {
            let (v, name) = &forward.inputs()[k];
            sums.push(body.input(format!("d_{name}"), forward.ty(*v).clone()));
        }
        for &i in &self.carried {
            match cotangent_input(i) {
                Some(input) => copy_input(&mut body, &mut map, input),
                None => body.input(format!("d_{}", forward.outputs()[i].1), forward.ty(forward.outputs()[i].0).clone()),
            };
        }
        self.element.iter().for_each(|&i| {
            copy_input(&mut body, &mut map, i);
        });
        for &r in &self.stacked {
            let input = cotangent_input(r).expect("stacked results are among the cotangents");
            copy_input(&mut body, &mut map, input);
        }
        for (i, node) in backward.nodes().filter(|(_, n)| !n.op.is(&INPUT)) {
            copy_node(&mut body, node, backward.results(i), &mut map);
        }
        (body.loc, body.scope) = (None, 0);
        let gradient = |k: usize| {
            let position = block.gradients.iter().position(|&g| g == k)?;
            Some(map[&backward.outputs()[position].0])
        };
        let output_name = |k: usize| format!("d_{}", forward.inputs()[k].1);
        for (&k, accumulator) in self.accumulated.iter().zip(sums) {
            let total = match gradient(k) {
                Some(gradient) => sum(&mut body, Some(accumulator), gradient)?,
                None => accumulator,
            };
            body.output(output_name(k), total);
        }
        for &i in &self.carried {
            let carry = forward.inputs()[constants + i].0;
            let next = match gradient(constants + i) {
                Some(gradient) => gradient,
                None => full(&mut body, forward.ty(carry), 0.0)?,
            };
            body.output(output_name(constants + i), next);
        }
        for &k in &self.sequences {
            debug_assert!(k >= constants + carries);
            let gradient = gradient(k).expect("sequences are among the gradients");
            body.output(output_name(k), gradient);
        }
        Ok(Region::new(body))
    }
}

/// The cotangents of the operands of a scan, by a scan the other way.
pub(super) fn scan_backward(
    emit: &mut dyn Emit,
    entry: &TapeEntry,
    saved: &Saved,
    cotangents: &[Option<Value>],
) -> Result<Vec<Option<Value>>> {
    let op = entry.op;
    let Loop { constants, .. } = Loop::of(op);
    let wiring = Reversed::of(op, saved);
    let body = wiring.body(op, &saved.block)?;

    let mut operands: Vec<Value> = wiring.constant.iter().map(|&i| saved.values[i]).collect();
    for &k in &wiring.accumulated {
        operands.push(or_zeros(emit, None, entry.operands[k])?);
    }
    for &i in &wiring.carried {
        operands.push(or_zeros(emit, cotangents[i], entry.results[i])?);
    }
    operands.extend(wiring.element.iter().map(|&i| saved.values[i]));
    for &r in &wiring.stacked {
        operands.push(or_zeros(emit, cotangents[r], entry.results[r])?);
    }
    let carries = wiring.accumulated.len() + wiring.carried.len();
    let reversed = ops::scan(body, wiring.constant.len(), carries, !op.bool("reverse"), op.dim("length"));
    let results = emit.emit(reversed, &operands)?;

    let carried = wiring.carried.iter().map(|i| constants + i);
    let places = wiring.accumulated.iter().copied().chain(carried).chain(wiring.sequences.iter().copied());
    let mut gradients = vec![None; entry.operands.len()];
    places.zip(results).for_each(|(k, v)| gradients[k] = Some(v));
    Ok(gradients)
}
