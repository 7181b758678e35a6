//! Forward mode: tangents flow from the operands of each operator to its results.

use super::path::{Loop, entries};
use super::{Engine, Entry, Recorder, TapeEntry, decompose, full, sum};
use crate::emit::{Emit, Emitter};
use crate::error::{Error, Result};
use crate::graph::{Graph, Region, Value};
use crate::op::{Jvp, JvpArgs, Vjp};
use crate::ops;
use crate::ops::custom::CUSTOM_VJP;
use std::collections::HashMap;

pub(super) type Tangents = Vec<Option<Value>>;

impl Engine {
    /// See [`super::jvp`].
    pub fn push_forward(
        &mut self,
        emit: &mut dyn Emit,
        tape: &[TapeEntry],
        tangents: &[(Value, Value)],
        of: &[Value],
    ) -> Result<Tangents> {
        let mut known: HashMap<Value, Value> = tangents.iter().copied().collect();
        for entry in tape {
            let given: Tangents = entry.operands.iter().map(|v| known.get(v).copied()).collect();
            if given.iter().all(Option::is_none) || entry.results.is_empty() {
                continue;
            }
            emit.attribute_to(entry.results[0]);
            let results = match entry.op.record().jvp {
                Jvp::Zero => continue,
                Jvp::Linear => linear(emit, entry, &given)?,
                Jvp::Multilinear => multilinear(emit, entry, &given)?,
                Jvp::FromVjp => self.transposed_vjp(emit, entry, &given)?,
                Jvp::Rule(_) => apply_rule(emit, entry, &given)?,
                Jvp::Structural if entry.op.name() == "call" => self.call_jvp(emit, entry, &given)?,
                Jvp::Structural if entry.op.name() == "cond" => self.cond_jvp(emit, entry, &given)?,
                Jvp::Structural if matches!(entry.op.name(), "scan" | "while") => self.loop_jvp(emit, entry, &given)?,
                Jvp::Structural if entry.op.is(&CUSTOM_VJP) => self.custom_tangents(emit, entry, &given)?,
                Jvp::Structural => {
                    return Err(Error::new("`grad` nodes are expanded before they are differentiated"));
                }
            };
            for (&result, tangent) in entry.results.iter().zip(results) {
                let ty = emit.type_of(result);
                let Some(tangent) = tangent.filter(|_| ty.dtype.is_float()) else { continue };
                if emit.type_of(tangent) != ty {
                    return Err(Error::new(format!("the jvp of {} gives a tangent of another type than its result", entry.op))
                        .note("result", ty)
                        .note("tangent", emit.type_of(tangent)));
                }
                known.insert(result, tangent);
            }
        }
        Ok(of.iter().map(|v| known.get(v).copied()).collect())
    }

    /// The vjp is linear in the cotangent; its own vjp is the jvp. The cotangent's value does not matter.
    pub(super) fn transposed_vjp(&mut self, emit: &mut dyn Emit, entry: &TapeEntry, tangents: &Tangents) -> Result<Tangents> {
        if let Vjp::Decomposition = entry.op.record().vjp {
            let (entries, results) = decompose(emit, entry.op, entry.operands)?;
            let tape: Vec<TapeEntry> = entries.iter().map(Entry::borrow).collect();
            let given: Vec<(Value, Value)> = entry.operands.iter().zip(tangents).filter_map(|(v, t)| Some((*v, (*t)?))).collect();
            return self.push_forward(emit, &tape, &given, &results);
        }
        let mut cotangents = Vec::new();
        for &result in entry.results {
            let ty = emit.type_of(result);
            cotangents.push(if ty.dtype.is_float() { Some(full(emit, &ty, 0.0)?) } else { None });
        }
        let seeds: Vec<(Value, Value)> = entry.results.iter().zip(&cotangents).filter_map(|(v, c)| Some((*v, (*c)?))).collect();
        let mut given: Vec<(Value, Value)> = Vec::new();
        for (v, t) in entry.operands.iter().zip(tangents) {
            if let Some(t) = t
                && !given.iter().any(|(u, _)| u == v)
            {
                given.push((*v, *t));
            }
        }
        let wrt: Vec<Value> = given.iter().map(|(v, _)| *v).collect();
        let mut recorder = Recorder::new(emit);
        let pulled = self.pull_back(&mut recorder, &[*entry], &HashMap::new(), &seeds, &wrt)?;
        let entries = recorder.entries;
        let tape: Vec<TapeEntry> = entries.iter().map(Entry::borrow).collect();
        let seeds: Vec<(Value, Value)> = pulled.iter().zip(&given).filter_map(|(p, (_, t))| Some(((*p)?, *t))).collect();
        let wrt: Vec<Value> = cotangents.iter().flatten().copied().collect();
        let mut transposed = self.pull_back(emit, &tape, &HashMap::new(), &seeds, &wrt)?.into_iter();
        Ok(cotangents.iter().map(|c| c.and_then(|_| transposed.next().flatten())).collect())
    }

    fn call_jvp(&mut self, emit: &mut dyn Emit, entry: &TapeEntry, tangents: &Tangents) -> Result<Tangents> {
        let region = self.expand_region(entry.op.region("body"))?;
        let body = region.graph();
        let mut new = Graph::new(format!("{}_tangent", body.name));
        let inputs = copy_inputs(&mut new, body, 0..body.inputs().len());
        let active = (0..inputs.len()).filter(|&k| tangents[k].is_some());
        let tangent_inputs = tangent_inputs(&mut new, body, active);
        let (_, results) = self.body_tangents(&mut new, body, &inputs, &tangent_inputs)?;
        let reached: Vec<usize> = (0..results.len()).filter(|&r| results[r].is_some()).collect();
        for &r in &reached {
            new.output(format!("t_{}", body.outputs()[r].1), results[r].expect("reached"));
        }
        let mut out = vec![None; results.len()];
        if !reached.is_empty() {
            let operands: Vec<Value> = entry.operands.iter().copied().chain(tangents.iter().flatten().copied()).collect();
            let values = emit.emit(ops::call(Region::new(new)), &operands)?;
            reached.into_iter().zip(values).for_each(|(r, v)| out[r] = Some(v));
        }
        Ok(out)
    }

    fn cond_jvp(&mut self, emit: &mut dyn Emit, entry: &TapeEntry, tangents: &Tangents) -> Result<Tangents> {
        let active: Vec<usize> = (0..tangents.len() - 1).filter(|&k| tangents[1 + k].is_some()).collect();
        let mut pushed = Vec::new();
        for branch in ["then", "otherwise"] {
            let region = self.expand_region(entry.op.region(branch))?;
            let body = region.graph();
            let mut new = Graph::new(format!("{}_tangent", body.name));
            let inputs = copy_inputs(&mut new, body, 0..body.inputs().len());
            let tangent_inputs = tangent_inputs(&mut new, body, active.iter().copied());
            let (_, results) = self.body_tangents(&mut new, body, &inputs, &tangent_inputs)?;
            pushed.push((new, results));
        }
        let mut out = vec![None; entry.results.len()];
        let reached: Vec<usize> = (0..out.len()).filter(|&r| pushed.iter().any(|(_, results)| results[r].is_some())).collect();
        if reached.is_empty() {
            return Ok(out);
        }
        let mut regions = Vec::new();
        for (mut new, results) in pushed {
            for &r in &reached {
                let tangent = match results[r] {
                    Some(tangent) => tangent,
                    None => full(&mut new, &emit.type_of(entry.results[r]), 0.0)?,
                };
                new.output(format!("t_{r}"), tangent);
            }
            regions.push(Region::new(new));
        }
        let operands: Vec<Value> = entry.operands.iter().copied().chain(tangents.iter().flatten().copied()).collect();
        let values = emit.emit(entry.op.with_regions(regions), &operands)?;
        reached.into_iter().zip(values).for_each(|(r, v)| out[r] = Some(v));
        Ok(out)
    }

    fn loop_jvp(&mut self, emit: &mut dyn Emit, entry: &TapeEntry, tangents: &Tangents) -> Result<Tangents> {
        let op = entry.op;
        let region = self.expand_region(op.region("body"))?;
        let body = region.graph();
        let wiring = Loop::of(op);
        let given: Vec<bool> = tangents.iter().map(Option::is_some).collect();
        let active = wiring.active_inputs(&self.body_dependence(body), &given);
        let groups = [0..wiring.constants, wiring.constants..wiring.constants + wiring.carries];
        let sequences = groups[1].end..body.inputs().len();

        let mut new = Graph::new(format!("{}_tangent", body.name));
        let (mut inputs, mut tangent_of, mut operands) = (Vec::new(), Vec::new(), Vec::new());
        for group in [groups[0].clone(), groups[1].clone(), sequences] {
            inputs.extend(copy_inputs(&mut new, body, group.clone()));
            operands.extend(entry.operands[group.clone()].iter().copied());
            let active: Vec<usize> = group.filter(|&k| active[k]).collect();
            tangent_of.extend(tangent_inputs(&mut new, body, active.iter().copied()));
            for k in active {
                operands.push(match tangents[k] {
                    Some(tangent) => tangent,
                    None => {
                        let ty = emit.type_of(entry.operands[k]);
                        full(emit, &ty, 0.0)?
                    }
                });
            }
        }
        let (outputs, results) = self.body_tangents(&mut new, body, &inputs, &tangent_of)?;
        let active_carries: Vec<usize> = (0..wiring.carries).filter(|&i| active[wiring.constants + i]).collect();
        let stacked: Vec<usize> = (wiring.carries..results.len()).filter(|&r| results[r].is_some()).collect();
        for ((_, name), &value) in body.outputs().iter().zip(&outputs).take(wiring.carries) {
            new.output(name.clone(), value);
        }
        for &r in active_carries.iter().chain(&stacked) {
            let tangent = match results[r] {
                Some(tangent) => tangent,
                None => full(&mut new, body.ty(body.outputs()[r].0), 0.0)?,
            };
            new.output(format!("t_{}", body.outputs()[r].1), tangent);
        }
        let constants = wiring.constants + active[..wiring.constants].iter().filter(|a| **a).count();
        let carries = wiring.carries + active_carries.len();
        let pushed = match op.name() {
            "while" => {
                let condition = condition_with_tangents(op.region("condition").graph(), &new, &inputs)?;
                ops::while_loop(condition, Region::new(new), constants, ops::control::bound(op))
            }
            _ => ops::scan(Region::new(new), constants, carries, op.bool("reverse"), op.dim("length")),
        };
        let values = emit.emit(pushed, &operands)?;
        let mut out = vec![None; results.len()];
        active_carries.iter().chain(&stacked).zip(&values[wiring.carries..]).for_each(|(&r, &v)| out[r] = Some(v));
        Ok(out)
    }

    /// Copies the body into `new` and differentiates it: its outputs and their tangents.
    fn body_tangents(
        &mut self,
        new: &mut Graph,
        body: &Graph,
        inputs: &[Value],
        tangents: &[(usize, Value)],
    ) -> Result<(Vec<Value>, Tangents)> {
        let mut recorder = Recorder::new(new);
        let mut map: HashMap<Value, Value> = body.inputs().iter().map(|(v, _)| *v).zip(inputs.iter().copied()).collect();
        for entry in entries(body).into_iter().filter(|e| !e.op.is(&ops::structural::INPUT)) {
            let operands: Vec<Value> = entry.operands.iter().map(|v| map[v]).collect();
            let results = recorder.emit(entry.op, &operands)?;
            map.extend(entry.results.into_iter().zip(results));
        }
        let entries = recorder.entries;
        let tape: Vec<TapeEntry> = entries.iter().map(Entry::borrow).collect();
        let outputs: Vec<Value> = body.outputs().iter().map(|(v, _)| map[v]).collect();
        let given: Vec<(Value, Value)> = tangents.iter().map(|&(k, t)| (inputs[k], t)).collect();
        let tangents = self.push_forward(new, &tape, &given, &outputs)?;
        Ok((outputs, tangents))
    }
}

/// The condition of a loop whose body has inputs for tangents between its own, which are `inputs`.
fn condition_with_tangents(condition: &Graph, body: &Graph, inputs: &[Value]) -> Result<Region> {
    let mut new = Graph::new(condition.name.clone());
    let all = copy_inputs(&mut new, body, 0..body.inputs().len());
    let place = |v: &Value| body.inputs().iter().position(|(own, _)| own == v).expect("an input of the body");
    let own: Vec<Value> = inputs.iter().map(|v| all[place(v)]).collect();
    let goes_on = new.inline(condition, &own)?[0];
    new.output(condition.outputs()[0].1.clone(), goes_on);
    Ok(Region::new(new))
}

fn copy_inputs(new: &mut Graph, body: &Graph, which: std::ops::Range<usize>) -> Vec<Value> {
    body.inputs()[which].iter().map(|(v, name)| new.input(name.clone(), body.ty(*v).clone())).collect()
}

fn tangent_inputs(new: &mut Graph, body: &Graph, which: impl Iterator<Item = usize>) -> Vec<(usize, Value)> {
    let one = |k: usize| {
        let (v, name) = &body.inputs()[k];
        (k, new.input(format!("t_{name}"), body.ty(*v).clone()))
    };
    which.map(one).collect()
}

/// The operator applied to the tangents; operands that have no tangent by type stay.
fn linear(emit: &mut dyn Emit, entry: &TapeEntry, tangents: &Tangents) -> Result<Tangents> {
    let mut operands = Vec::new();
    for (&operand, tangent) in entry.operands.iter().zip(tangents) {
        let ty = emit.type_of(operand);
        operands.push(match tangent {
            Some(tangent) => *tangent,
            None if ty.dtype.is_float() => full(emit, &ty, 0.0)?,
            None => operand,
        });
    }
    Ok(emit.emit(entry.op.clone(), &operands)?.into_iter().map(Some).collect())
}

/// A sum over the operands, each in turn replaced by its tangent.
fn multilinear(emit: &mut dyn Emit, entry: &TapeEntry, tangents: &Tangents) -> Result<Tangents> {
    let mut totals: Tangents = vec![None; entry.results.len()];
    for (k, tangent) in tangents.iter().enumerate() {
        let Some(tangent) = *tangent else { continue };
        let mut operands = entry.operands.to_vec();
        operands[k] = tangent;
        let term = emit.emit(entry.op.clone(), &operands)?;
        for (total, term) in totals.iter_mut().zip(term) {
            *total = Some(sum(emit, *total, term)?);
        }
    }
    Ok(totals)
}

fn apply_rule(emit: &mut dyn Emit, entry: &TapeEntry, tangents: &Tangents) -> Result<Tangents> {
    let Jvp::Rule(rule) = entry.op.record().jvp else { return Ok(vec![None; entry.results.len()]) };
    let emitter = Emitter::new(emit);
    let args = JvpArgs {
        emitter: &emitter,
        op: entry.op,
        operands: entry.operands.iter().map(|&v| emitter.value(v)).collect(),
        results: entry.results.iter().map(|&v| emitter.value(v)).collect(),
        tangents: tangents.iter().map(|t| t.map(|v| emitter.value(v))).collect(),
    };
    let results = rule(&args).into_iter().map(|t| t.map(|x| x.value)).collect();
    emitter.finish().map_err(|e| e.context(format_args!("the jvp of {}", entry.op)))?;
    Ok(results)
}
