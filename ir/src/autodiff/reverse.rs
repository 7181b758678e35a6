//! Reverse mode: cotangents flow from the results of each operator on the path to its operands.

use super::block::Kept;
use super::{Engine, Entry, TapeEntry, decompose, full, sum};
use crate::emit::{Emit, Emitter};
use crate::error::{Error, Result};
use crate::graph::Value;
use crate::op::{Op, Vjp, VjpArgs};
use crate::ops::custom::CUSTOM_VJP;
use crate::types::TensorType;
use std::collections::HashMap;

/// For the first result of each operator with regions that was emitted in its residual-returning form: what was kept.
pub(super) type SavedAt = HashMap<Value, Kept>;

impl Engine {
    /// See [`super::backward`].
    pub fn gradients(
        &mut self,
        emit: &mut dyn Emit,
        tape: &[TapeEntry],
        saved: &SavedAt,
        loss: Value,
        seed: Option<Value>,
        wrt: &[Value],
    ) -> Result<Vec<Value>> {
        let ty = emit.type_of(loss);
        if !ty.dtype.is_float() || (seed.is_none() && ty.rank() != 0) {
            return Err(Error::new(format!("the gradient of {ty} is not defined: a loss is one floating-point number")));
        }
        if let Some(seed) = seed
            && emit.type_of(seed) != ty
        {
            return Err(Error::new("the seed of a gradient has the loss's type")
                .note("loss", ty)
                .note("seed", emit.type_of(seed)));
        }
        if let Some(other) = wrt.iter().map(|&v| emit.type_of(v)).find(|t| !t.dtype.is_float()) {
            return Err(Error::new(format!("cannot differentiate with respect to {other}: not a floating-point type")));
        }
        let seed = match seed {
            Some(seed) => seed,
            None => full(emit, &ty, 1.0)?,
        };
        let gradients = self.pull_back(emit, tape, saved, &[(loss, seed)], wrt)?;
        let zeros = |emit: &mut dyn Emit, v: Value| {
            let ty = emit.type_of(v);
            full(emit, &ty, 0.0)
        };
        wrt.iter().zip(gradients).map(|(&v, g)| g.map_or_else(|| zeros(emit, v), Ok)).collect()
    }

    /// The cotangents of `wrt` from those of other values: pairs (value, cotangent). `None` is zero.
    pub fn pull_back(
        &mut self,
        emit: &mut dyn Emit,
        tape: &[TapeEntry],
        saved: &SavedAt,
        seeds: &[(Value, Value)],
        wrt: &[Value],
    ) -> Result<Vec<Option<Value>>> {
        let mut cotangents: HashMap<Value, Value> = HashMap::new();
        for &(value, seed) in seeds {
            let total = sum(emit, cotangents.get(&value).copied(), seed)?;
            cotangents.insert(value, total);
        }
        let roots: Vec<Value> = seeds.iter().map(|(v, _)| *v).collect();
        let usages = self.paths(&|v| emit.type_of(v).dtype, tape, &roots, wrt);
        for (entry, usage) in tape.iter().zip(&usages).rev() {
            let Some(usage) = usage else { continue };
            let present: Vec<Option<Value>> =
                entry.results.iter().zip(&usage.present).map(|(v, p)| cotangents.get(v).copied().filter(|_| *p)).collect();
            if present.iter().all(Option::is_none) {
                continue;
            }
            emit.attribute_to(entry.results[0]);
            let operands = match entry.op.record().vjp {
                Vjp::Zero => continue,
                Vjp::Rule(rule) => apply_rule(emit, rule, entry, &usage.wanted, &present)?,
                Vjp::Decomposition => self.through_decomposition(emit, entry, &present)?,
                Vjp::Structural if entry.op.is(&CUSTOM_VJP) => self.custom_backward(emit, entry, &present)?,
                Vjp::Structural => match saved.get(&entry.results[0]) {
                    Some(saved) => self.block_backward(emit, entry, saved, &present)?,
                    None => {
                        let (_, saved) = self.block_forward(emit, entry.op, entry.operands, usage)?;
                        self.block_backward(emit, entry, &saved, &present)?
                    }
                },
            };
            for ((&operand, cotangent), wanted) in entry.operands.iter().zip(operands).zip(&usage.wanted) {
                let Some(cotangent) = cotangent.filter(|_| *wanted) else { continue };
                expect_type(entry.op, &emit.type_of(operand), &emit.type_of(cotangent))?;
                let total = sum(emit, cotangents.get(&operand).copied(), cotangent)?;
                cotangents.insert(operand, total);
            }
        }
        Ok(wrt.iter().map(|v| cotangents.get(v).copied()).collect())
    }

    /// Differentiates what the operator decomposes into.
    pub(super) fn through_decomposition(
        &mut self,
        emit: &mut dyn Emit,
        entry: &TapeEntry,
        cotangents: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        let (entries, results) = decompose(emit, entry.op, entry.operands)?;
        let tape: Vec<TapeEntry> = entries.iter().map(Entry::borrow).collect();
        let seeds: Vec<(Value, Value)> = results.iter().zip(cotangents).filter_map(|(v, c)| Some((*v, (*c)?))).collect();
        let mut gradients = self.pull_back(emit, &tape, &HashMap::new(), &seeds, entry.operands)?;
        only_first_of_equals(entry.operands, &mut gradients);
        Ok(gradients)
    }
}

/// An operand given twice has one cotangent in all, not one for each place.
pub(super) fn only_first_of_equals(operands: &[Value], cotangents: &mut [Option<Value>]) {
    for k in 1..operands.len() {
        if operands[..k].contains(&operands[k]) {
            cotangents[k] = None;
        }
    }
}

fn apply_rule(
    emit: &mut dyn Emit,
    rule: for<'b, 'e> fn(&VjpArgs<'b, 'e>) -> Vec<Option<crate::emit::X<'b, 'e>>>,
    entry: &TapeEntry,
    wanted: &[bool],
    cotangents: &[Option<Value>],
) -> Result<Vec<Option<Value>>> {
    let emitter = Emitter::new(emit);
    let args = VjpArgs {
        emitter: &emitter,
        op: entry.op,
        operands: entry.operands.iter().map(|&v| emitter.value(v)).collect(),
        results: entry.results.iter().map(|&v| emitter.value(v)).collect(),
        cotangents: cotangents.iter().map(|c| c.map(|v| emitter.value(v))).collect(),
        wanted: wanted.to_vec(),
    };
    let cotangents: Vec<Option<Value>> = rule(&args).into_iter().map(|c| c.map(|x| x.value)).collect();
    emitter.finish().map_err(|e| e.context(format_args!("the vjp of {}", entry.op)))?;
    if cotangents.len() != entry.operands.len() {
        let (got, want) = (cotangents.len(), entry.operands.len());
        return Err(Error::new(format!("the vjp of {} gives {got} cotangents for {want} operands", entry.op)));
    }
    Ok(cotangents)
}

fn expect_type(op: &Op, operand: &TensorType, cotangent: &TensorType) -> Result<()> {
    if operand == cotangent {
        return Ok(());
    }
    Err(Error::new(format!("the vjp of {op} gives a cotangent of another type than its operand"))
        .note("operand", operand)
        .note("cotangent", cotangent))
}
