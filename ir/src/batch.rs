//! Batching (vmap): a graph that does for every element of a batch what the original does for one.
//!
//! The batch axis is the first. What does not depend on a batched input is computed once.

mod control;

use crate::autodiff::expand_gradients;
use crate::dim::Dim;
use crate::emit::{Emit, Emitter};
use crate::error::{Error, Result};
use crate::graph::{Graph, Region, Value, Values};
use crate::op::{Batch, BatchArgs, Lowering, Op, ReduceKind};
use crate::ops;
use crate::ops::custom::{CUSTOM_VJP, CustomVjp};
use crate::ops::structural::{INPUT, stacked};
use crate::types::TensorType;
use smallvec::SmallVec;
use std::collections::HashMap;

/// The graph over a batch of `extent`: inputs that are `batched` get a new first axis, and all outputs have it.
///
/// # Errors
/// If `batched` has not one entry for each input, or an operator on a batched value has no batch rule.
pub fn batch(graph: &Graph, batched: &[bool], extent: Dim) -> Result<Graph> {
    check_inputs(graph, batched)?;
    let graph = expand_gradients(graph)?;
    let outputs = vec![true; graph.outputs().len()];
    batch_outputs(&graph, batched, &outputs, extent)
}

/// As [`batch`], but only those outputs have the axis that depend on a batched input. Says which.
///
/// # Errors
/// As [`batch`].
pub fn batch_dependent(graph: &Graph, batched: &[bool], extent: Dim) -> Result<(Graph, Vec<bool>)> {
    check_inputs(graph, batched)?;
    let graph = expand_gradients(graph)?;
    let outputs = batched_outputs(&graph, batched);
    Ok((batch_outputs(&graph, batched, &outputs, extent)?, outputs))
}

fn check_inputs(graph: &Graph, batched: &[bool]) -> Result<()> {
    let (name, inputs, given) = (&graph.name, graph.inputs().len(), batched.len());
    if given == inputs {
        return Ok(());
    }
    Err(Error::new(format!("graph `{name}` has {inputs} inputs, and {given} are said to be batched or not")))
}

/// As [`batch`], with the axis on those outputs only that depend on a batched input or are asked to have it.
fn batch_outputs(graph: &Graph, batched: &[bool], outputs: &[bool], extent: Dim) -> Result<Graph> {
    let mut new = Graph::new(graph.name.clone());
    new.set_scopes(graph.scopes().to_vec());
    let mut batcher = Batcher { lanes: Vec::new(), extent };
    let mut map: HashMap<Value, Value> = HashMap::new();
    for ((v, name), &batched) in graph.inputs().iter().zip(batched) {
        let ty = graph.ty(*v).clone();
        let value = new.input(name.clone(), if batched { stacked(&ty, extent) } else { ty.clone() });
        map.insert(*v, batcher.define(Lane { value, batched, ty }));
    }
    for (i, node) in graph.nodes().filter(|(_, n)| !n.op.is(&INPUT)) {
        (new.loc, new.scope) = (node.loc, node.scope);
        let operands: SmallVec<[Value; 4]> = node.operands.iter().map(|v| map[v]).collect();
        let results = Batching { batcher: &mut batcher, target: &mut new }.emit(node.op.clone(), &operands).map_err(|e| {
            match node.loc {
                Some(loc) => e.at(loc),
                None => e,
            }
        })?;
        map.extend(graph.results(i).into_iter().zip(results));
    }
    for ((v, name), &wanted) in graph.outputs().iter().zip(outputs) {
        let lane = batcher.lane(map[v]).clone();
        let value = if wanted { batcher.with_axis(&mut new, &lane)? } else { lane.value };
        new.output(name.clone(), value);
    }
    (new.loc, new.scope) = (None, 0);
    Ok(new)
}

/// A value of the original graph in the batched one.
#[derive(Clone)]
struct Lane {
    value: Value,
    batched: bool,
    /// The type without the batch axis.
    ty: TensorType,
}

struct Batcher {
    /// The values, numbered as they are made.
    lanes: Vec<Lane>,
    extent: Dim,
}

impl Batcher {
    fn define(&mut self, lane: Lane) -> Value {
        self.lanes.push(lane);
        Value { node: self.lanes.len() as u32 - 1, result: 0 }
    }

    fn lane(&self, value: Value) -> &Lane {
        &self.lanes[value.node as usize]
    }

    /// The value with the batch axis, broadcast if it had none.
    fn with_axis(&self, target: &mut dyn Emit, lane: &Lane) -> Result<Value> {
        if lane.batched {
            return Ok(lane.value);
        }
        let axes: Vec<usize> = (1..=lane.ty.rank()).collect();
        Ok(target.emit(ops::broadcast(stacked(&lane.ty, self.extent).shape, &axes), &[lane.value])?[0])
    }
}

/// Applies operators written for single elements to batches.
struct Batching<'a> {
    batcher: &'a mut Batcher,
    target: &'a mut dyn Emit,
}

impl Emit for Batching<'_> {
    fn emit(&mut self, op: Op, operands: &[Value]) -> Result<Values> {
        let lanes: Vec<Lane> = operands.iter().map(|&v| self.batcher.lane(v).clone()).collect();
        let types: SmallVec<[TensorType; 4]> = lanes.iter().map(|l| l.ty.clone()).collect();
        let results = op.infer(&types)?;
        if !lanes.iter().any(|l| l.batched) {
            let values: Vec<Value> = lanes.iter().map(|l| l.value).collect();
            let made = self.target.emit(op, &values)?;
            let define = |(value, ty)| self.batcher.define(Lane { value, batched: false, ty });
            return Ok(made.into_iter().zip(results).map(define).collect());
        }
        let made = match op.record().batch {
            Batch::Elementwise => {
                let values: Result<Vec<Value>> = lanes.iter().map(|l| self.batcher.with_axis(self.target, l)).collect();
                self.target.emit(op.clone(), &values?)?.into_iter().map(|v| (v, true)).collect()
            }
            Batch::Rule(_) => self.rule(&op, &lanes)?,
            Batch::Decomposition => return self.decomposition(&op, operands),
            Batch::Structural if op.name() == "call" => self.call(&op, &lanes)?,
            Batch::Structural if op.name() == "cond" => return self.cond(&op, &lanes, operands),
            Batch::Structural if op.name() == "scan" => self.scan(&op, &lanes)?,
            Batch::Structural if op.is(&CUSTOM_VJP) => self.custom_vjp(&op, &lanes)?,
            Batch::Structural if op.name() == "while" => return self.while_loop(&op, &lanes, operands),
            Batch::Structural | Batch::Unsupported => {
                return Err(Error::new(format!("{} has no batch rule: it cannot be mapped over a batch", op.name())));
            }
        };
        let mut values = Values::new();
        for ((value, batched), ty) in made.into_iter().zip(results) {
            let expected = if batched { stacked(&ty, self.batcher.extent) } else { ty.clone() };
            let found = self.target.type_of(value);
            if found != expected {
                return Err(Error::new(format!("the batch rule of {op} gives a result of another type"))
                    .note("expected", expected)
                    .note("found", found));
            }
            values.push(self.batcher.define(Lane { value, batched, ty }));
        }
        Ok(values)
    }

    fn type_of(&self, value: Value) -> TensorType {
        self.batcher.lane(value).ty.clone()
    }
}

/// Values of the batched graph, and whether they have the axis.
type Made = Vec<(Value, bool)>;

impl Batching<'_> {
    fn rule(&mut self, op: &Op, lanes: &[Lane]) -> Result<Made> {
        let Batch::Rule(rule) = op.record().batch else { return Ok(Made::new()) };
        let emitter = Emitter::new(self.target);
        let args = BatchArgs {
            emitter: &emitter,
            op,
            operands: lanes.iter().map(|l| emitter.value(l.value)).collect(),
            batched: lanes.iter().map(|l| l.batched).collect(),
            extent: self.batcher.extent,
        };
        let made = rule(&args).into_iter().map(|x| (x.value, true)).collect();
        emitter.finish().map_err(|e| e.context(format_args!("the batch rule of {op}")))?;
        Ok(made)
    }

    fn decomposition(&mut self, op: &Op, operands: &[Value]) -> Result<Values> {
        let Lowering::Composite(rule) = op.record().lowering else {
            return Err(Error::new(format!("{} has no decomposition", op.name())));
        };
        let emitter = Emitter::new(self);
        let operands: Vec<_> = operands.iter().map(|&v| emitter.value(v)).collect();
        let results = rule(&emitter, op, &operands).into_iter().map(|x| x.value).collect();
        emitter.finish()?;
        Ok(results)
    }

    fn call(&mut self, op: &Op, lanes: &[Lane]) -> Result<Made> {
        let body = op.region("body").graph();
        let batched: Vec<bool> = lanes.iter().map(|l| l.batched).collect();
        let outputs = batched_outputs(body, &batched);
        let new = batch_outputs(body, &batched, &outputs, self.batcher.extent)?;
        let values: Vec<Value> = lanes.iter().map(|l| l.value).collect();
        Ok(self.target.emit(ops::call(Region::new(new)), &values)?.into_iter().zip(outputs).collect())
    }

    /// The batch axis of sequences and stacked results lies behind the axis of the loop while it runs.
    fn scan(&mut self, op: &Op, lanes: &[Lane]) -> Result<Made> {
        let body = op.region("body").graph();
        let (constants, carries) = (op.int("constants") as usize, op.int("carries") as usize);
        let mut batched: Vec<bool> = lanes.iter().map(|l| l.batched).collect();
        let outputs = loop {
            let outputs = batched_outputs(body, &batched);
            let before = batched.clone();
            (0..carries).for_each(|i| batched[constants + i] |= outputs[i]);
            if batched == before {
                break outputs;
            }
        };
        // A carry that starts batched stays so, even if the body returns one that is not.
        let outputs: Vec<bool> =
            outputs.into_iter().enumerate().map(|(r, o)| o || (r < carries && batched[constants + r])).collect();
        let new = Region::new(batch_outputs(body, &batched, &outputs, self.batcher.extent)?);
        let mut values = Vec::new();
        for (k, lane) in lanes.iter().enumerate() {
            values.push(match k {
                k if k >= constants + carries && lane.batched => swap_first_axes(self.target, lane.value)?,
                k if batched[k] => self.batcher.with_axis(self.target, lane)?,
                _ => lane.value,
            });
        }
        let scan = ops::scan(new, constants, carries, op.bool("reverse"), op.dim("length"));
        let mut made = Made::new();
        for (r, (value, batched)) in self.target.emit(scan, &values)?.into_iter().zip(outputs).enumerate() {
            let value = if r >= carries && batched { swap_first_axes(self.target, value)? } else { value };
            made.push((value, batched));
        }
        Ok(made)
    }

    /// All results have the axis. An argument without it gets the sum of its cotangents over the batch.
    fn custom_vjp(&mut self, op: &Op, lanes: &[Lane]) -> Result<Made> {
        let parts = CustomVjp::of(op);
        let extent = self.batcher.extent;
        let own: Vec<bool> = lanes.iter().map(|l| l.batched).collect();
        let residuals = parts.forward.graph().outputs().len() - parts.outputs;
        let shared: Vec<bool> = own.iter().copied().chain(std::iter::repeat_n(true, residuals)).collect();
        let all = |graph: &Graph, batched: &[bool]| batch_outputs(graph, batched, &vec![true; graph.outputs().len()], extent);
        let arguments = parts.float_arguments();
        let backward = parts.backward.as_ref().map(|region| {
            let cotangents = parts.float_outputs().len();
            let batched: Vec<bool> = shared.iter().copied().chain(std::iter::repeat_n(true, cotangents)).collect();
            let mut new = all(region.graph(), &batched)?;
            for (at, _) in arguments.iter().enumerate().filter(|(_, k)| !own[**k]) {
                let sum = new.add(ops::reduce(ReduceKind::Sum, &[0]), &[new.outputs()[at].0])?[0];
                let outputs: Vec<(Value, String)> = new.outputs().to_vec();
                let replaced = outputs.into_iter().enumerate().map(|(k, (v, name))| (if k == at { sum } else { v }, name));
                new = new.with_outputs(replaced);
            }
            Ok::<_, Error>(Region::new(new))
        });
        let tangent = parts.tangent.as_ref().map(|region| {
            let batched: Vec<bool> = shared.iter().copied().chain(arguments.iter().map(|&k| own[k])).collect();
            Ok::<_, Error>(Region::new(all(region.graph(), &batched)?))
        });
        let forward = Region::new(all(parts.forward.graph(), &own)?);
        let new = CustomVjp { forward, backward: backward.transpose()?, tangent: tangent.transpose()?, ..parts };
        let values: Vec<Value> = lanes.iter().map(|l| l.value).collect();
        Ok(self.target.emit(ops::custom_vjp(new), &values)?.into_iter().map(|v| (v, true)).collect())
    }
}

fn swap_first_axes(target: &mut dyn Emit, value: Value) -> Result<Value> {
    let mut permutation: Vec<usize> = (0..target.type_of(value).rank()).collect();
    permutation.swap(0, 1);
    Ok(target.emit(ops::transpose(&permutation), &[value])?[0])
}

/// Which outputs depend on a batched input.
fn batched_outputs(body: &Graph, inputs: &[bool]) -> Vec<bool> {
    let mut batched = vec![false; body.len()];
    body.inputs().iter().zip(inputs).for_each(|((v, _), b)| batched[v.node as usize] = *b);
    for (i, node) in body.nodes().filter(|(_, n)| !n.op.is(&INPUT)) {
        batched[i as usize] = node.operands.iter().any(|v| batched[v.node as usize]);
    }
    body.outputs().iter().map(|(v, _)| batched[v.node as usize]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::Array;
    use crate::interp::interpret;
    use crate::types::DType;
    use crate::verify::verify;

    fn f64s(shape: &[usize], values: &[f64]) -> Array {
        Array::floats(DType::F64, shape, values.to_vec())
    }

    fn batch_of_2(text: &str, batched: &[bool]) -> Graph {
        let g = batch(&Graph::parse(text).unwrap(), batched, Dim::from(2usize)).unwrap();
        verify(&g).unwrap_or_else(|e| panic!("{e}\n{g}"));
        g
    }

    /// `h' = h·w + x` with `h'` stacked, and a carry that is never batched.
    const SCAN: &str = "graph step(%w: f64[], %h: f64[], %n: i64[], %x: f64[]) -> (f64[], i64[], f64[]) {
        %a = mul(%h, %w) %k = add(%a, %x) %m = add(%n, %n) return %k, %m, %k }
      graph g(%w: f64[], %h: f64[], %n: i64[], %x: f64[3]) -> (f64[], i64[], f64[3]) {
        %k, %m, %y = scan {body=@step, constants=1, carries=2, reverse=false, length=3}(%w, %h, %n, %x)
        return %k, %m, %y }";

    #[test]
    fn a_scan_over_batched_sequences() {
        let g = batch_of_2(SCAN, &[false, false, false, true]);
        let one = Array::ints(DType::I64, [], vec![1]);
        let x = f64s(&[2, 3], &[2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        let out = interpret(&g, &[f64s(&[], &[10.0]), f64s(&[], &[1.0]), one, x]).unwrap();
        assert_eq!(out[0], f64s(&[2], &[1234.0, 1567.0]));
        assert_eq!(out[1], Array::ints(DType::I64, [2], vec![8, 8]));
        assert_eq!(out[2], f64s(&[2, 3], &[12.0, 123.0, 1234.0, 15.0, 156.0, 1567.0]));
        assert!(g.to_string().contains("%2: i64[] \"n\""), "the counter is carried once:\n{g}");
    }

    #[test]
    fn a_scan_over_batched_constants() {
        let g = batch_of_2(SCAN, &[true, false, false, false]);
        let one = Array::ints(DType::I64, [], vec![1]);
        let out = interpret(&g, &[f64s(&[2], &[10.0, 0.0]), f64s(&[], &[1.0]), one, f64s(&[3], &[2.0, 3.0, 4.0])]).unwrap();
        assert_eq!(out[2], f64s(&[2, 3], &[12.0, 123.0, 1234.0, 2.0, 3.0, 4.0]));
    }

    #[test]
    fn a_gradient_is_batched_with_its_body() {
        // Per-sample gradients of (x·w)².
        let text = "graph f(%x: f64[], %w: f64[]) -> (f64[]) { %a = mul(%x, %w) %y = mul(%a, %a) return %y }
          graph g(%x: f64[], %w: f64[]) -> (f64[], f64[]) {
            %y = call {body=@f}(%x, %w) %d = grad {seeded=false}(%y, %w) return %y, %d }";
        let g = batch_of_2(text, &[true, false]);
        let out = interpret(&g, &[f64s(&[2], &[1.0, 3.0]), f64s(&[], &[2.0])]).unwrap();
        assert_eq!(out, [f64s(&[2], &[4.0, 36.0]), f64s(&[2], &[4.0, 36.0])]);
    }
}
