//! Graphs that were lowered, run step by step by the kernel interpreter.

use igneous_compiler::fuse::Sideways;
use igneous_compiler::lower::{Flat, Lowered, ScanStep, Slot, StepKind, WhileStep, lower};
use igneous_ir::array::Array;
use igneous_ir::dim::{Dim, Symbol};
use igneous_ir::error::{Error, Result};
use igneous_ir::graph::{Graph, Region};
use igneous_ir::interp::Bindings;
use igneous_ir::kernel::interp::{Order, Run, interpret};
use igneous_ir::kernel::{Kernel, Param};
use igneous_ir::op::Reference;
use igneous_ir::types::TensorType;
use igneous_runtime::program::LibraryWork;
use std::collections::BTreeSet;

/// What a run gave.
pub struct Stepwise {
    /// The outputs.
    pub outputs: Vec<Array>,
    /// Whether machine code gives the same bits: there is no dot, whose sum has the library's order, and no
    /// operator of a library.
    pub reproducible: bool,
}

/// Lowers a graph of primitives and runs it. Each kernel runs with its points in several orders, and over the memory of what
/// it reads where it may; that changes nothing.
///
/// # Errors
/// If a kernel does what it must not do, or a check fails.
pub fn stepwise(graph: &Graph, inputs: &[Array]) -> Result<Stepwise> {
    let bindings = Bindings::of(graph, &inputs.iter().map(Array::ty).collect::<Vec<_>>())?;
    run_graph(graph, inputs, &bindings)
}

fn run_graph(graph: &Graph, inputs: &[Array], bindings: &Bindings) -> Result<Stepwise> {
    let Lowered { flat, kernels, .. } = lower(graph, &BTreeSet::new(), Sideways::Freely, &igneous_compiler::Options::default())?;
    let mut machine = Machine { flat: &flat, kernels: &kernels, bindings, values: Vec::new(), reproducible: true };
    machine.run(inputs)?;
    let outputs = flat.outputs.iter().map(|(slot, ty)| machine.value(*slot, ty)).collect::<Result<_>>()?;
    Ok(Stepwise { outputs, reproducible: machine.reproducible })
}

struct Machine<'a> {
    flat: &'a Flat,
    kernels: &'a [Kernel],
    bindings: &'a Bindings,
    values: Vec<Option<Array>>,
    reproducible: bool,
}

impl Machine<'_> {
    fn run(&mut self, inputs: &[Array]) -> Result<()> {
        let constant = |slot: &Slot| {
            let bytes = slot.constant.as_ref()?;
            Array::from_bytes(slot.ty.dtype, slot.ty.sizes().ok()?, bytes).ok()
        };
        self.values = self.flat.slots.iter().map(constant).collect();
        for (&slot, input) in self.flat.inputs.iter().zip(inputs) {
            self.values[slot] = Some(input.clone());
        }
        for step in &self.flat.steps {
            match &step.kind {
                StepKind::Kernel(k) => self.kernel(&self.kernels[*k], &step.params)?,
                StepKind::Copy => self.values[step.params[1]] = self.values[step.params[0]].clone(),
                StepKind::Scan(scan) => self.scan(scan, &step.params)?,
                StepKind::Cond(branches) => self.cond(branches, &step.params)?,
                StepKind::While(repeated) => self.while_loop(repeated, &step.params)?,
                StepKind::Library(library) => self.library(library, &step.params)?,
            }
        }
        Ok(())
    }

    fn library(&mut self, work: &LibraryWork, params: &[usize]) -> Result<()> {
        // The reference is another algorithm.
        self.reproducible = false;
        let results: Vec<TensorType> = work.results.iter().map(|ty| self.bindings.ty(ty)).collect::<Result<_>>()?;
        let inputs: Vec<Array> = work.operands.iter().zip(params).map(|(ty, &s)| self.value(s, ty)).collect::<Result<_>>()?;
        let inputs: Vec<&Array> = inputs.iter().collect();
        let outcome = (work.op.record().reference)(&Reference { op: &work.op, inputs: &inputs, results: &results })?;
        for (&slot, array) in params[inputs.len()..].iter().zip(outcome) {
            self.values[slot] = Some(array.rounded());
        }
        Ok(())
    }

    /// The contents of a slot, seen as this type.
    fn value(&self, slot: usize, ty: &TensorType) -> Result<Array> {
        let value = self.values[slot].clone().ok_or_else(|| Error::new("a slot is read before it is written"))?;
        Ok(value.reshaped(self.bindings.ty(ty)?.sizes()?))
    }

    fn kernel(&mut self, kernel: &Kernel, params: &[usize]) -> Result<()> {
        let symbol = |s: Symbol| self.bindings.get(s);
        let read = |(i, p): (usize, &Param)| self.value(params[i], &p.ty);
        let reads: Vec<Array> = kernel.reads().map(read).collect::<Result<_>>()?;
        let reads: Vec<&Array> = reads.iter().collect();
        let context = |e: Error| e.note("kernel", format_args!("\n{kernel}"));
        let outcome = interpret(kernel, &reads, &symbol, &Run::default()).map_err(context)?;
        let aliases = aliases(kernel);
        for run in [Run { order: Order::Shuffled(7), aliases: &[] }, Run { order: Order::Reverse, aliases: &aliases }] {
            let again = interpret(kernel, &reads, &symbol, &run).map_err(context)?;
            let same = outcome.outputs.iter().zip(&again.outputs).all(|(a, b)| super::same_bits(a, b));
            if outcome.failed.is_some() != again.failed.is_some() || outcome.failed.is_none() && !same {
                return Err(context(Error::new(format!("{run:?} changes a result"))));
            }
        }
        if let Some((code, value)) = outcome.failed {
            return Err(Error::new(format!("check {code} fails")).note("value", value));
        }
        for ((i, _), output) in kernel.writes().zip(outcome.outputs) {
            self.values[params[i]] = Some(output);
        }
        self.reproducible &= kernel.dot().is_none();
        Ok(())
    }

    /// The contents of slots as the inputs of a graph.
    fn inputs(&self, graph: &Graph, slots: &[usize]) -> Result<Vec<Array>> {
        graph.inputs().iter().zip(slots).map(|((v, _), &slot)| self.value(slot, graph.ty(*v))).collect()
    }

    fn nested(&mut self, graph: &Graph, inputs: &[Array]) -> Result<Vec<Array>> {
        let done = run_graph(graph, inputs, self.bindings)?;
        self.reproducible &= done.reproducible;
        Ok(done.outputs)
    }

    fn write(&mut self, slots: &[usize], values: Vec<Array>) {
        slots.iter().zip(values).for_each(|(&slot, value)| self.values[slot] = Some(value));
    }

    fn cond(&mut self, [then, otherwise]: &[Region; 2], params: &[usize]) -> Result<()> {
        let predicate = self.value(params[0], &TensorType::scalar(igneous_ir::DType::Bool))?.i(0) != 0;
        let graph = if predicate { then.graph() } else { otherwise.graph() };
        let (given, results) = params[1..].split_at(graph.inputs().len());
        let outputs = self.nested(graph, &self.inputs(graph, given)?)?;
        self.write(results, outputs);
        Ok(())
    }

    fn while_loop(&mut self, repeated: &WhileStep, params: &[usize]) -> Result<()> {
        let (condition, body) = (repeated.condition.graph(), repeated.body.graph());
        let (given, results) = params.split_at(body.inputs().len());
        let mut values = self.inputs(body, given)?;
        let mut steps = 0;
        while repeated.bound.is_none_or(|bound| steps < bound) && self.nested(condition, &values)?[0].i(0) != 0 {
            let next = self.nested(body, &values)?;
            values.splice(repeated.constants.., next);
            steps += 1;
        }
        self.write(results, values.split_off(repeated.constants));
        Ok(())
    }

    fn scan(&mut self, scan: &ScanStep, params: &[usize]) -> Result<()> {
        let body = scan.body.graph();
        let (given, results) = params.split_at(body.inputs().len());
        let length = self.bindings.dim(scan.length)?;
        let operand = |(&slot, (v, _)): (&usize, &(igneous_ir::Value, String)), stacked: bool| {
            let ty = body.ty(*v);
            let shape = stacked.then_some(Dim::from(length)).into_iter().chain(ty.shape.iter().copied());
            self.value(slot, &TensorType { dtype: ty.dtype, shape: shape.collect() })
        };
        let first = scan.constants + scan.carries;
        let numbered = given.iter().zip(body.inputs()).enumerate();
        let mut operands = numbered.map(|(i, pair)| operand(pair, i >= first)).collect::<Result<Vec<_>>>()?;
        let sequences = operands.split_off(first);
        let mut stacks: Vec<Vec<Array>> = vec![Vec::new(); results.len() - scan.carries];
        for step in 0..length {
            let t = if scan.reverse { length - 1 - step } else { step };
            let element = |x: &Array| {
                let size = x.len() / length;
                x.gathered(&x.shape()[1..], |i| t * size + i)
            };
            let inputs: Vec<Array> = operands.iter().cloned().chain(sequences.iter().map(element)).collect();
            let mut done = run_graph(body, &inputs, self.bindings)?;
            self.reproducible &= done.reproducible;
            let stacked = done.outputs.split_off(scan.carries);
            operands.splice(scan.constants.., done.outputs);
            stacks.iter_mut().zip(stacked).for_each(|(stack, x)| stack.push(x));
        }
        for (&slot, carried) in results.iter().zip(operands.into_iter().skip(scan.constants)) {
            self.values[slot] = Some(carried);
        }
        for (&slot, mut stack) in results[scan.carries..].iter().zip(stacks) {
            if scan.reverse {
                stack.reverse();
            }
            let ty = self.bindings.ty(&self.flat.slots[slot].ty)?;
            let bytes: Vec<u8> = stack.iter().flat_map(Array::to_bytes).collect();
            self.values[slot] = Some(Array::from_bytes(ty.dtype, ty.sizes()?, &bytes)?);
        }
        Ok(())
    }
}

/// Each result with an operand that it may be written over.
fn aliases(kernel: &Kernel) -> Vec<(usize, usize)> {
    let mut pairs: Vec<(usize, usize)> = Vec::new();
    for (write, _) in kernel.writes() {
        let free = |read: &usize| pairs.iter().all(|(r, _)| r != read) && kernel.can_alias(*read, write);
        let read = kernel.reads().map(|(i, _)| i).find(free);
        pairs.extend(read.map(|r| (r, write)));
    }
    pairs
}
