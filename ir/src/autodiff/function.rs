//! Derivatives of whole graphs, as graphs again: what function transforms are made of.

use super::block::{Request, Source};
use super::path::{Usage, entries};
use super::{Engine, Entry, TapeEntry, full, jvp};
use crate::error::Result;
use crate::graph::{Graph, Region, Value};

/// The graph with inputs for the tangents of the inputs `wrt` after its own, which gives the tangents of its outputs after
/// these: for each output, zeros if it is no floating-point value.
///
/// # Errors
/// If a derivative cannot be emitted.
pub fn jvp_graph(graph: &Graph, wrt: &[bool]) -> Result<Graph> {
    let mut new = Engine::default().expand(graph)?;
    let entries = entries(&new);
    let tape: Vec<TapeEntry> = entries.iter().map(Entry::borrow).collect();
    let inputs: Vec<(Value, String)> = new.inputs().to_vec();
    let mut tangents = Vec::new();
    for ((value, name), _) in inputs.iter().zip(wrt).filter(|(_, wanted)| **wanted) {
        let ty = new.ty(*value).clone();
        tangents.push((*value, new.input(format!("t_{name}"), ty)));
    }
    let outputs: Vec<(Value, String)> = new.outputs().to_vec();
    let of: Vec<Value> = outputs.iter().map(|(value, _)| *value).collect();
    let pushed = jvp(&mut new, &tape, &tangents, &of)?;
    for ((value, name), tangent) in outputs.iter().zip(pushed) {
        let tangent = match tangent {
            Some(tangent) => tangent,
            None => {
                let ty = new.ty(*value).clone();
                full(&mut new, &ty, 0.0)?
            }
        };
        new.output(format!("t_{name}"), tangent);
    }
    (new.loc, new.scope) = (None, 0);
    Ok(new)
}

/// A graph cut into what computes its outputs and what pulls cotangents of these back to its inputs.
#[derive(Clone, Debug)]
pub struct Pullback {
    /// The graph, with what the backward part reads as further outputs.
    pub forward: Graph,
    /// From the values of `saved`, then a cotangent for each output in `cotangents`, to the cotangents of the inputs in
    /// `gradients`; those of other inputs are zero.
    pub backward: Graph,
    /// Where the backward part's first inputs come from.
    pub saved: Vec<SavedValue>,
    /// The outputs of the graph, by position, whose cotangents the backward part takes: those of floating-point types.
    pub cotangents: Vec<usize>,
    /// The inputs of the graph, by position, whose cotangents it gives.
    pub gradients: Vec<usize>,
}

/// A value that the backward part of a [`Pullback`] reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SavedValue {
    /// An input of the graph.
    Input(usize),
    /// An output of the forward part.
    Output(usize),
}

/// Cuts the graph for reverse mode with respect to the inputs `wrt`.
///
/// # Errors
/// If a derivative cannot be emitted.
pub fn pullback(graph: &Graph, wrt: &[bool]) -> Result<Pullback> {
    let is_float = |v: Value| graph.ty(v).dtype.is_float();
    let usage = Usage { wanted: wrt.to_vec(), present: graph.outputs().iter().map(|(v, _)| is_float(*v)).collect() };
    let block = Engine::default().derive(Request {
        region: Region::new(graph.clone()),
        usage,
        inputs_kept: vec![true; graph.inputs().len()],
        outputs_kept: vec![true; graph.outputs().len()],
        invariant: vec![false; graph.inputs().len()],
    })?;
    let saved = |source: &Source| match *source {
        Source::Input(k) => SavedValue::Input(k),
        Source::Output(k) => SavedValue::Output(k),
    };
    Ok(Pullback {
        forward: block.forward.graph().clone(),
        backward: block.backward.graph().clone(),
        saved: block.saved.iter().map(saved).collect(),
        cotangents: block.cotangents.clone(),
        gradients: block.gradients.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::Array;
    use crate::interp::interpret;
    use crate::types::DType;
    use crate::verify::verify;

    /// `y = a²·b`, and `n + n` beside it.
    const TEXT: &str = "graph f(%a: f64[], %b: f64[], %n: i64[]) -> (f64[], i64[]) {
        %s = mul(%a, %a) %y = mul(%s, %b) %m = add(%n, %n) return %y, %m }";

    fn number(x: f64) -> Array {
        Array::floats(DType::F64, [], vec![x])
    }

    #[test]
    fn tangents_follow_the_outputs() {
        let g = jvp_graph(&Graph::parse(TEXT).unwrap(), &[true, false, false]).unwrap();
        verify(&g).unwrap_or_else(|e| panic!("{e}\n{g}"));
        let four = Array::ints(DType::I64, [], vec![4]);
        let out = interpret(&g, &[number(3.0), number(5.0), four, number(0.5)]).unwrap();
        assert_eq!((out[0].f(0), out[1].i(0), out[2].f(0), out[3].i(0)), (45.0, 8, 15.0, 0));
    }

    #[test]
    fn the_backward_part_takes_what_it_needs_and_cotangents() {
        let p = pullback(&Graph::parse(TEXT).unwrap(), &[true, true, false]).unwrap();
        verify(&p.forward).unwrap();
        verify(&p.backward).unwrap();
        assert_eq!((p.cotangents.as_slice(), p.gradients.as_slice()), (&[0][..], &[0, 1][..]));
        let inputs = [number(3.0), number(5.0), Array::ints(DType::I64, [], vec![4])];
        let made = interpret(&p.forward, &inputs).unwrap();
        let saved = p.saved.iter().map(|s| match *s {
            SavedValue::Input(k) => inputs[k].clone(),
            SavedValue::Output(k) => made[k].clone(),
        });
        let given: Vec<Array> = saved.chain([number(2.0)]).collect();
        let out = interpret(&p.backward, &given).unwrap();
        assert_eq!((out[0].f(0), out[1].f(0)), (60.0, 18.0));
    }
}
