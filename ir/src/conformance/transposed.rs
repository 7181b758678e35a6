//! Forward mode and reverse mode against each other, and derivatives of derivatives.

use super::{arrays, compare, exact, graph_of, is_smooth, normal, vjp_graph};
use crate::array::Array;
use crate::autodiff::{SavedValue, jvp_graph, pullback};
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::op::Sample;
use crate::verify::verify;

/// `⟨dy, J·dx⟩ = ⟨Jᵀ·dy, dx⟩`: the jvp and the vjp are each other's transpose, to rounding.
pub(super) fn adjoint(sample: &Sample) -> Result<()> {
    if !is_smooth(sample) {
        return Ok(());
    }
    products_agree(&graph_of(sample)?, &arrays(sample, 0)?)
}

/// The vjp is itself differentiable, forward (against finite differences) and backward (against forward).
pub(super) fn second(sample: &Sample) -> Result<()> {
    if !is_smooth(sample) {
        return Ok(());
    }
    let graph = vjp_graph(sample)?;
    let mut inputs = arrays(sample, 0)?;
    for (k, (v, _)) in graph.inputs().iter().enumerate().skip(inputs.len()) {
        inputs.push(normal(graph.ty(*v), 100 + k as u64)?);
    }
    tangents_agree(&graph, &inputs)?;
    products_agree(&graph, &inputs)
}

fn float_inputs(graph: &Graph) -> Vec<bool> {
    graph.inputs().iter().map(|(v, _)| graph.ty(*v).dtype.is_float()).collect()
}

/// Random directions for the inputs that have any.
fn directions(graph: &Graph) -> Result<Vec<Array>> {
    let wanted = float_inputs(graph);
    let inputs = graph.inputs().iter().enumerate().filter(|(k, _)| wanted[*k]);
    inputs.map(|(k, (v, _))| normal(graph.ty(*v), 200 + k as u64)).collect()
}

/// The tangents of the outputs along directions.
fn pushed(graph: &Graph, inputs: &[Array], directions: &[Array]) -> Result<Vec<Array>> {
    let tangents = jvp_graph(graph, &float_inputs(graph))?;
    verify(&tangents).map_err(|e| e.context("the jvp"))?;
    let given: Vec<Array> = inputs.iter().chain(directions).cloned().collect();
    Ok(exact(&tangents, &given)?.split_off(graph.outputs().len()))
}

/// The jvp of a graph against `(f(x + step·t) - f(x - step·t)) / 2·step`, where that is finite.
fn tangents_agree(graph: &Graph, inputs: &[Array]) -> Result<()> {
    const STEP: f64 = 1e-5;
    let directions = directions(graph)?;
    let found = pushed(graph, inputs, &directions)?;
    let at = |step: f64| {
        let mut along = directions.iter();
        let mut moved = inputs.to_vec();
        for (x, _) in moved.iter_mut().zip(float_inputs(graph)).filter(|(_, float)| *float) {
            let t = along.next().expect("a direction for each floating-point input");
            *x = Array::from_fn_f64(x.dtype(), x.shape(), |i| x.f(i) + step * t.f(i));
        }
        exact(graph, &moved)
    };
    let (above, below) = (at(STEP)?, at(-STEP)?);
    for (r, ((above, below), found)) in above.iter().zip(&below).zip(&found).enumerate() {
        let largest = (0..found.len()).map(|i| found.f(i).abs()).fold(0.0, f64::max);
        for i in (0..found.len()).filter(|_| found.dtype().is_float()) {
            let expected = (above.f(i) - below.f(i)) / (2.0 * STEP);
            if expected.is_finite() {
                let in_second = |e: Error| e.context(format_args!("the tangent of gradient {r} at {i}"));
                compare(found.f(i), expected, 5e-5 * (1.0 + largest)).map_err(in_second)?;
            }
        }
    }
    Ok(())
}

/// Both products of the Jacobian with a pair of vectors.
fn products_agree(graph: &Graph, inputs: &[Array]) -> Result<()> {
    let directions = directions(graph)?;
    let tangents = pushed(graph, inputs, &directions)?;
    let cut = pullback(graph, &float_inputs(graph))?;
    verify(&cut.forward).map_err(|e| e.context("the forward part of the vjp"))?;
    verify(&cut.backward).map_err(|e| e.context("the backward part of the vjp"))?;
    let made = exact(&cut.forward, inputs)?;
    let mut given: Vec<Array> = Vec::new();
    for source in &cut.saved {
        given.push(match *source {
            SavedValue::Input(k) => inputs[k].clone(),
            SavedValue::Output(k) => made[k].clone(),
        });
    }
    let mut forward = Products::default();
    for &r in &cut.cotangents {
        let cotangent = normal(graph.ty(graph.outputs()[r].0), 300 + r as u64)?;
        forward.add(&cotangent, &tangents[r]);
        given.push(cotangent);
    }
    let pulled = exact(&cut.backward, &given)?;
    let mut reverse = Products::default();
    let places: Vec<usize> = (0..inputs.len()).filter(|&k| float_inputs(graph)[k]).collect();
    for (gradient, k) in pulled.iter().zip(&cut.gradients) {
        let at = places.iter().position(|p| p == k).expect("gradients are those of floating-point inputs");
        reverse.add(gradient, &directions[at]);
    }
    // Where a derivative is infinite or NaN there is nothing to compare.
    if !forward.sum.is_finite() || !reverse.sum.is_finite() {
        return Ok(());
    }
    let size = 1.0 + forward.size.max(reverse.size);
    compare(forward.sum / size, reverse.sum / size, 1e-8).map_err(|e| e.context("⟨dy, jvp(dx)⟩ and ⟨vjp(dy), dx⟩"))
}

/// A sum of products and the sum of their sizes.
#[derive(Default)]
struct Products {
    sum: f64,
    size: f64,
}

impl Products {
    fn add(&mut self, a: &Array, b: &Array) {
        for product in (0..a.len()).map(|i| a.f(i) * b.f(i)) {
            self.sum += product;
            self.size += product.abs();
        }
    }
}
