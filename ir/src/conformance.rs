//! What every operator has to fulfil, checked on the samples in its record: the text form round-trips, the derivative
//! rules agree with finite differences and with each other, derivatives too, the batch rule with computing each element alone, and a decomposition with
//! the reference. Tests of several crates use it.

mod transposed;

use crate::array::Array;
use crate::autodiff::{TapeEntry, jvp, vjp};
use crate::batch::batch;
use crate::dim::Dim;
use crate::emit::Emitter;
use crate::error::{Error, Result};
use crate::graph::{Graph, Value};
use crate::interp::{interpret, interpret_f64};
use crate::op::{Batch, Fill, Lowering, Op, Sample};
use crate::ops;
use crate::sample;
use crate::types::{DType, TensorType};
use crate::verify::verify;

/// Checks one property of a sample.
pub type Aspect = fn(&Sample) -> Result<()>;

/// The properties that [`check`] checks, with their names.
pub const ASPECTS: [(&str, Aspect); 8] = [
    ("text", text),
    ("reference", reference),
    ("vjp", gradient),
    ("jvp", tangent),
    ("adjoint", transposed::adjoint),
    ("second derivative", transposed::second),
    ("batch", batched),
    ("decomposition", decomposition),
];

/// Checks all properties of a sample; gives those that fail.
pub fn check(sample: &Sample) -> Vec<(&'static str, Error)> {
    ASPECTS.iter().filter_map(|(name, aspect)| Some((*name, aspect(sample).err()?))).collect()
}

/// The graph of the operator alone, with its operands as inputs and its results as outputs.
///
/// # Errors
/// If the sample is ill-typed.
pub fn graph_of(sample: &Sample) -> Result<Graph> {
    let mut graph = Graph::new(sample.op.name());
    let inputs: Vec<Value> =
        sample.inputs.iter().enumerate().map(|(k, (ty, _))| graph.input(format!("x{k}"), ty.clone())).collect();
    for (k, v) in graph.add(sample.op.clone(), &inputs)?.into_iter().enumerate() {
        graph.output(format!("y{k}"), v);
    }
    verify(&graph)?;
    Ok(graph)
}

/// Parsing the printed graph and printing it gives the same bytes.
fn text(sample: &Sample) -> Result<()> {
    let graph = graph_of(sample)?;
    let printed = graph.to_string();
    let again = Graph::parse(&printed)?;
    verify(&again)?;
    if again.to_string() != printed {
        return Err(Error::new("parsed and printed again, the text is another").note("first", printed).note("second", again));
    }
    if !again.same_structure(&graph) {
        return Err(Error::new("parsing gives another graph").note("text", printed));
    }
    Ok(())
}

/// The reference gives results of the inferred types, in both precisions.
fn reference(sample: &Sample) -> Result<()> {
    interpret_f64(&graph_of(sample)?, &arrays(sample, 0)?).map(|_| ())
}

/// Whether derivatives of the operator can be compared with finite differences at this sample.
pub fn is_smooth(sample: &Sample) -> bool {
    // Numbers out of a range are whole: maxima have ties.
    let continuous = |fill: &Fill| !matches!(fill, Fill::Specials | Fill::Range(..));
    let smooth = |(ty, fill): &(TensorType, Fill)| {
        !ty.dtype.is_float() || (matches!(ty.dtype, DType::F32 | DType::F64) && continuous(fill))
    };
    let endless = || sample.op.name() == "while" && ops::control::bound(&sample.op).is_none();
    sample.inputs.iter().all(smooth) && float_inputs(sample).next().is_some() && sample.op.name() != "grad" && !endless()
}

fn float_inputs(sample: &Sample) -> impl Iterator<Item = usize> {
    sample.inputs.iter().enumerate().filter(|(_, (ty, _))| ty.dtype.is_float()).map(|(k, _)| k)
}

/// The graph of the derivative of the operator by its float operands: of the sum of all elements of its float results, each
/// weighted by an element of a further input. It is one `grad` node, as a traced program has it.
///
/// # Errors
/// If the sample is ill-typed or no operand or result is a float.
pub fn gradient_graph_of(sample: &Sample) -> Result<Graph> {
    let mut graph = Graph::new(format!("{}_gradient", sample.op.name()));
    let operands: Vec<Value> =
        sample.inputs.iter().enumerate().map(|(k, (ty, _))| graph.input(format!("x{k}"), ty.clone())).collect();
    let results = graph.add(sample.op.clone(), &operands)?;
    let is_float = |graph: &Graph, v: Value| graph.ty(v).dtype.is_float();
    let mut weighted = Vec::new();
    for &y in results.iter().filter(|&&y| is_float(&graph, y)).collect::<Vec<_>>() {
        let ty = graph.ty(y).clone();
        weighted.push((y, graph.input(format!("dy{}", y.result), ty)));
    }
    let wide = if sample.inputs.iter().any(|(ty, _)| ty.dtype == DType::F64) { DType::F64 } else { DType::F32 };
    let emitter = Emitter::new(&mut graph);
    let sums = weighted.iter().map(|&(y, dy)| {
        let product = (emitter.value(y) * emitter.value(dy)).cast(wide);
        product.sum(&(0..product.rank()).collect::<Vec<_>>())
    });
    let loss = sums.reduce(|a, b| a + b).map(|x| x.value);
    emitter.finish()?;
    let of: Vec<Value> = operands.into_iter().filter(|&x| is_float(&graph, x)).collect();
    let loss = loss.filter(|_| !of.is_empty()).ok_or_else(|| Error::new(format!("{} has no derivative", sample.op)))?;
    let operands: Vec<Value> = std::iter::once(loss).chain(of).collect();
    for (k, v) in graph.add(ops::grad(false), &operands)?.into_iter().enumerate() {
        graph.output(format!("d{k}"), v);
    }
    verify(&graph)?;
    Ok(graph)
}

/// The graph with inputs for cotangents after its own, and the cotangents of its float inputs as outputs.
fn vjp_graph(sample: &Sample) -> Result<Graph> {
    derivative_graph(sample, |graph, tape, operands, results| {
        let is_float = |graph: &Graph, v: Value| graph.ty(v).dtype.is_float();
        let mut cotangents = Vec::new();
        for &y in results.iter().filter(|&&y| is_float(graph, y)).collect::<Vec<_>>() {
            let ty = graph.ty(y).clone();
            cotangents.push((y, graph.input("dy", ty)));
        }
        let wrt: Vec<Value> = operands.iter().copied().filter(|&x| is_float(graph, x)).collect();
        Ok((vjp(graph, tape, &cotangents, &wrt)?, wrt))
    })
}

/// The graph with inputs for tangents after its own, and the tangents of its float outputs as outputs.
fn jvp_graph(sample: &Sample) -> Result<Graph> {
    derivative_graph(sample, |graph, tape, operands, results| {
        let mut tangents = Vec::new();
        for &x in operands {
            let ty = graph.ty(x).clone();
            if ty.dtype.is_float() {
                tangents.push((x, graph.input("dx", ty)));
            }
        }
        let of: Vec<Value> = results.iter().copied().filter(|&y| graph.ty(y).dtype.is_float()).collect();
        Ok((jvp(graph, tape, &tangents, &of)?, of))
    })
}

/// Emits derivatives after the operator: those given, for each of some values; zeros where there is none.
fn derivative_graph(
    sample: &Sample,
    derive: impl FnOnce(&mut Graph, &[TapeEntry], &[Value], &[Value]) -> Result<(Vec<Option<Value>>, Vec<Value>)>,
) -> Result<Graph> {
    let mut graph = Graph::new("derivative");
    let operands: Vec<Value> = sample.inputs.iter().map(|(ty, _)| graph.input("x", ty.clone())).collect();
    let results = graph.add(sample.op.clone(), &operands)?;
    let tape = [TapeEntry { op: &sample.op, operands: &operands, results: &results }];
    let (derivatives, of) = derive(&mut graph, &tape, &operands, &results)?;
    for (derivative, v) in derivatives.into_iter().zip(of) {
        let value = match derivative {
            Some(value) => value,
            None => {
                let emitter = Emitter::new(&mut graph);
                let zeros = emitter.value(v).zeros_like().value;
                emitter.finish()?;
                zeros
            }
        };
        graph.output("d", value);
    }
    verify(&graph)?;
    Ok(graph)
}

/// The results in f64.
fn exact(graph: &Graph, inputs: &[Array]) -> Result<Vec<Array>> {
    Ok(interpret_f64(graph, inputs)?.into_iter().map(|o| o.exact).collect())
}

/// Standard normal numbers, a function of `seed` alone.
fn normal(ty: &TensorType, seed: u64) -> Result<Array> {
    sample::array(ty, Fill::Normal, seed, 0)
}

/// The inputs of a sample: those of [`sample::inputs`] for version 0, others of the same kind else.
fn arrays(of: &Sample, version: u64) -> Result<Vec<Array>> {
    let seed = sample::seed(&of.op.to_string()) ^ (version << 32);
    of.inputs.iter().enumerate().map(|(k, (ty, fill))| sample::array(ty, *fill, seed, k)).collect()
}

const STEP: f64 = 1e-5;
const TOLERANCE: f64 = 2e-5;

/// `<dy, f(x + step·t) - f(x - step·t)> / 2·step` where `t` is one at one place. Where that is infinite or NaN, nothing
/// is expected.
fn gradient(sample: &Sample) -> Result<()> {
    if !is_smooth(sample) {
        return Ok(());
    }
    let forward = graph_of(sample)?;
    let backward = vjp_graph(sample)?;
    let inputs = arrays(sample, 0)?;
    let cotangents: Result<Vec<Array>> =
        backward.inputs()[inputs.len()..].iter().enumerate().map(|(k, (v, _))| normal(backward.ty(*v), 100 + k as u64)).collect();
    let cotangents = cotangents?;
    let given: Vec<Array> = inputs.iter().chain(&cotangents).cloned().collect();
    let gradients = exact(&backward, &given)?;
    let objective = |inputs: &[Array]| -> Result<f64> {
        let results = exact(&forward, inputs)?;
        let floats = results.iter().filter(|y| y.dtype().is_float()).zip(&cotangents);
        Ok(floats.map(|(y, c)| (0..y.len()).map(|i| y.f(i) * c.f(i)).sum::<f64>()).sum())
    };
    for (gradient, k) in gradients.iter().zip(float_inputs(sample)) {
        let stride = (inputs[k].len() / 12).max(1);
        for i in (0..inputs[k].len()).step_by(stride) {
            let at = |step: f64| {
                let mut moved = inputs.clone();
                moved[k] = with_element(&moved[k], i, inputs[k].f(i) + step);
                objective(&moved)
            };
            let expected = (at(STEP)? - at(-STEP)?) / (2.0 * STEP);
            if !expected.is_finite() {
                continue;
            }
            compare(gradient.f(i), expected, TOLERANCE).map_err(|e| e.context(format_args!("gradient of operand {k} at {i}")))?;
        }
    }
    Ok(())
}

/// `(f(x + step·t) - f(x - step·t)) / 2·step` for a random `t`.
fn tangent(sample: &Sample) -> Result<()> {
    if !is_smooth(sample) {
        return Ok(());
    }
    let forward = graph_of(sample)?;
    let pushed = jvp_graph(sample)?;
    let inputs = arrays(sample, 0)?;
    let directions: Result<Vec<Array>> = float_inputs(sample).map(|k| normal(&inputs[k].ty(), 200 + k as u64)).collect();
    let directions = directions?;
    let given: Vec<Array> = inputs.iter().chain(&directions).cloned().collect();
    let tangents = exact(&pushed, &given)?;
    let at = |step: f64| {
        let mut moved = inputs.clone();
        for (k, t) in float_inputs(sample).zip(&directions) {
            let x = &inputs[k];
            moved[k] = Array::from_fn_f64(x.dtype(), x.shape(), |i| x.f(i) + step * t.f(i));
        }
        exact(&forward, &moved)
    };
    let (above, below) = (at(STEP)?, at(-STEP)?);
    let differences = above.iter().zip(&below).filter(|(y, _)| y.dtype().is_float());
    for ((above, below), tangent) in differences.zip(&tangents) {
        for i in 0..tangent.len() {
            let expected = (above.f(i) - below.f(i)) / (2.0 * STEP);
            if !expected.is_finite() {
                continue;
            }
            compare(tangent.f(i), expected, TOLERANCE).map_err(|e| e.context(format_args!("tangent at {i}")))?;
        }
    }
    Ok(())
}

fn with_element(x: &Array, place: usize, value: f64) -> Array {
    Array::from_fn_f64(x.dtype(), x.shape(), |i| if i == place { value } else { x.f(i) })
}

fn compare(found: f64, expected: f64, tolerance: f64) -> Result<()> {
    let same = found == expected || (found.is_nan() && expected.is_nan());
    if same || (found - expected).abs() <= tolerance * (1.0 + found.abs().max(expected.abs())) {
        return Ok(());
    }
    Err(Error::new(format!("{found:?} is found where {expected:?} is expected")))
}

/// The batch rule, for every operand batched alone and for all together, against each element computed alone.
fn batched(sample: &Sample) -> Result<()> {
    const EXTENT: usize = 3;
    let count = sample.inputs.len();
    if count == 0 || matches!(sample.op.record().batch, Batch::Unsupported) {
        return Ok(());
    }
    let graph = graph_of(sample)?;
    // A decomposition's constants are rounded to the element type, a reference's are not.
    let decomposed = matches!(sample.op.record().batch, Batch::Decomposition);
    let tolerance = if decomposed { rounding(sample) } else { 1e-9 };
    let alone = (0..count).map(|k| (0..count).map(|j| j == k).collect::<Vec<bool>>());
    for mask in alone.chain([vec![true; count]]) {
        let in_mask = |e: Error| e.context(format_args!("batched operands {mask:?}"));
        let new = batch(&graph, &mask, Dim::from(EXTENT)).and_then(|g| verify(&g).map(|()| g)).map_err(in_mask)?;
        let elements: Result<Vec<Vec<Array>>> = (0..EXTENT as u64).map(|s| arrays(sample, s)).collect();
        let elements = elements?;
        let pick = |s: usize| -> Vec<Array> { (0..count).map(|k| elements[if mask[k] { s } else { 0 }][k].clone()).collect() };
        let inputs: Vec<Array> = (0..count)
            .map(|k| if mask[k] { stack(&elements.iter().map(|e| &e[k]).collect::<Vec<_>>()) } else { elements[0][k].clone() })
            .collect();
        let found = exact(&new, &inputs).map_err(in_mask)?;
        for s in 0..EXTENT {
            for (r, expected) in exact(&graph, &pick(s))?.iter().enumerate() {
                for i in 0..expected.len() {
                    compare(found[r].f(s * expected.len() + i), expected.f(i), tolerance)
                        .map_err(|e| in_mask(e.context(format_args!("result {r} of element {s} at {i}"))))?;
                }
            }
        }
    }
    Ok(())
}

fn stack(arrays: &[&Array]) -> Array {
    let first = arrays[0];
    let shape: Vec<usize> = std::iter::once(arrays.len()).chain(first.shape().iter().copied()).collect();
    let element = |i: usize| (arrays[i / first.len().max(1)], i % first.len().max(1));
    if first.dtype().is_float() {
        return Array::from_fn_f64(first.dtype(), shape, |i| element(i).0.f(element(i).1));
    }
    Array::from_fn_i64(first.dtype(), shape, |i| element(i).0.i(element(i).1))
}

/// The coarsest rounding among the operands.
fn rounding(sample: &Sample) -> f64 {
    sample.inputs.iter().map(|(ty, _)| ty.dtype.epsilon()).fold(1e-7, f64::max)
}

/// A composite's decomposition against its reference, in f64.
fn decomposition(sample: &Sample) -> Result<()> {
    let Lowering::Composite(rule) = sample.op.record().lowering else { return Ok(()) };
    let expected_graph = graph_of(sample)?;
    let mut graph = Graph::new("decomposition");
    let inputs: Vec<Value> = sample.inputs.iter().map(|(ty, _)| graph.input("x", ty.clone())).collect();
    let results: Vec<Value> = {
        let op: &Op = &sample.op;
        let emitter = Emitter::new(&mut graph);
        let inputs: Vec<_> = inputs.iter().map(|&v| emitter.value(v)).collect();
        let results = rule(&emitter, op, &inputs).into_iter().map(|x| x.value).collect();
        emitter.finish()?;
        results
    };
    results.iter().for_each(|&v| graph.output("y", v));
    verify(&graph)?;
    let given = arrays(sample, 0)?;
    let (expected, found) = (exact(&expected_graph, &given)?, exact(&graph, &given)?);
    let tolerance = rounding(sample);
    for (r, (found, expected)) in found.iter().zip(&expected).enumerate() {
        if found.ty() != expected.ty() {
            return Err(Error::new(format!("result {r} is {} where {} is expected", found.ty(), expected.ty())));
        }
        for i in 0..expected.len() {
            compare(found.f(i), expected.f(i), tolerance).map_err(|e| e.context(format_args!("result {r} at {i}")))?;
        }
    }
    // Also with every result rounded, as it will run.
    interpret(&graph, &given).map(|_| ())
}
