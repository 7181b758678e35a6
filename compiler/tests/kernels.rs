//! Every sample of every operator, lowered to kernels: they verify, their text reads back, the kernel interpreter gives the
//! same bits in any order of points and what the graph interpreter gives, and the CUDA templates cover what they should.

use igneous_compiler::decompose::decompose;
use igneous_compiler::lower::{Lowered, StepKind, lower};
use igneous_ir::array::Array;
use igneous_ir::autodiff::expand_gradients;
use igneous_ir::graph::Graph;
use igneous_ir::kernel::interp::{Order, Outcome, Run, interpret};
use igneous_ir::kernel::{Kernel, Param, Stage, Store, Target};
use igneous_ir::op::{Sample, Samples};
use igneous_ir::types::DType;
use igneous_ir::{Result, ops, sample};
use std::collections::BTreeSet;

/// The graph that applies the sample's operator to its inputs.
fn graph(sample: &Sample) -> Result<Graph> {
    let mut graph = Graph::new("sample");
    let inputs =
        sample.inputs.iter().enumerate().map(|(i, (ty, _))| graph.input(format!("x{i}"), ty.clone())).collect::<Vec<_>>();
    let results = graph.add(sample.op.clone(), &inputs)?;
    for (i, &value) in results.iter().enumerate() {
        graph.output(format!("y{i}"), value);
    }
    Ok(graph)
}

/// The result of a kernel, the same in three orders.
fn run_kernel(kernel: &Kernel, inputs: &[&Array]) -> Outcome {
    let in_order =
        |order| interpret(kernel, inputs, &|_| None, &Run { order, aliases: &[] }).unwrap_or_else(|e| panic!("{e}\n{kernel}"));
    let outcome = in_order(Order::Forward);
    for order in [Order::Reverse, Order::Shuffled(3)] {
        assert_eq!(in_order(order).outputs, outcome.outputs, "{order:?}\n{kernel}");
    }
    outcome
}

/// Runs all steps; none if there is one that is no kernel.
fn run(lowered: &Lowered, inputs: &[Array]) -> Option<Vec<Array>> {
    let flat = &lowered.flat;
    let constant = |slot: &igneous_compiler::lower::Slot| {
        let bytes = slot.constant.as_ref()?;
        Some(Array::from_bytes(slot.ty.dtype, slot.ty.sizes().unwrap(), bytes).unwrap())
    };
    let mut values: Vec<Option<Array>> = flat.slots.iter().map(constant).collect();
    for (&slot, input) in flat.inputs.iter().zip(inputs) {
        values[slot] = Some(input.clone());
    }
    for step in &flat.steps {
        match step.kind {
            StepKind::Kernel(k) => {
                let kernel = &lowered.kernels[k];
                // Fusion may see a buffer with axes merged.
                let read = |(i, p): (usize, &Param)| {
                    let value = values[step.params[i]].clone().expect("a slot is written before it is read");
                    value.reshaped(p.ty.sizes().unwrap())
                };
                let reads: Vec<Array> = kernel.reads().map(read).collect();
                let outputs = run_kernel(kernel, &reads.iter().collect::<Vec<_>>()).outputs;
                for ((i, _), output) in kernel.writes().zip(outputs) {
                    values[step.params[i]] = Some(output);
                }
            }
            StepKind::Copy => values[step.params[1]] = values[step.params[0]].clone(),
            StepKind::Scan(_) => return None,
        }
    }
    let output = |(slot, ty): &(usize, igneous_ir::TensorType)| values[*slot].clone().unwrap().reshaped(ty.sizes().unwrap());
    Some(flat.outputs.iter().map(output).collect())
}

fn is_scatter(stage: &Stage) -> bool {
    let combining = |s: &Store| matches!(s.to, Target::Param { combine: Some(_), .. });
    matches!(stage, Stage::Map { stores, .. } if stores.iter().any(combining))
}

fn check_kernel(kernel: &Kernel) {
    kernel.verify().unwrap_or_else(|e| panic!("{e}\n{kernel}"));
    let text = kernel.to_string();
    let parsed = Kernel::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(parsed.to_string(), text);
    assert_eq!(parsed.structure(), kernel.structure());
    let stages = || kernel.sections.iter().flat_map(|s| &s.stages);
    let covered = !stages().any(|s| matches!(s, Stage::Dot { .. }) || is_scatter(s));
    match igneous_compiler::cuda::emit(kernel) {
        Ok(cuda) => assert!(covered && !cuda.source.is_empty(), "{kernel}"),
        Err(e) => assert!(!covered || e.message().contains("a scatter is realised"), "{e}\n{kernel}"),
    }
}

/// The error that a kernel may have, relative to the largest number in play.
fn tolerance(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 1e-11,
        DType::F32 => 2e-5,
        _ => 8.0 * dtype.epsilon(),
    }
}

#[test]
fn kernels_of_every_operator() {
    let (mut ran, mut kernels) = (BTreeSet::new(), 0);
    for record in ops::records() {
        let mut samples = Samples::default();
        (record.samples)(&mut samples);
        for sample in samples.0 {
            let graph = graph(&sample).unwrap();
            let expanded = expand_gradients(&graph).unwrap();
            let lowered = lower(&decompose(&expanded).unwrap(), &BTreeSet::new()).unwrap_or_else(|e| panic!("{e}\n{graph}"));
            lowered.kernels.iter().for_each(check_kernel);
            kernels += lowered.kernels.len();
            let inputs = sample::inputs(&sample).unwrap();
            let Some(found) = run(&lowered, &inputs) else { continue };
            let expected = igneous_ir::interp::interpret_f64(&graph, &inputs).unwrap();
            for (found, oracle) in found.iter().zip(&expected) {
                let scale = oracle.exact.to_f64().into_iter().filter(|x| x.is_finite()).fold(1.0, |a, x| x.abs().max(a));
                for e in 0..found.len() {
                    let (f, native, exact) = (found.f(e), oracle.native.f(e), oracle.exact.f(e));
                    let near = (f - exact).abs() <= tolerance(found.dtype()) * scale.min(1.0 + exact.abs() * 10.0);
                    let same = f == native || f.is_nan() && native.is_nan() || found.dtype().is_float() && near;
                    let text: String = lowered.kernels.iter().map(|k| k.to_string()).collect();
                    assert!(same, "{}: element {e} is {f}, not {native} (exactly {exact})\n{text}", sample.op);
                }
            }
            ran.insert(record.name);
        }
    }
    assert!(ran.len() > 60 && kernels > 100, "{} operators ran, as {kernels} kernels: {ran:?}", ran.len());
}
