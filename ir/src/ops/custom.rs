//! Functions with derivatives of their own: `custom_vjp`. (`host` has a file beside this one.)

use super::inputs::{normal, shape};
use super::structural::{body_flops, no_reference};
use super::type_rule::TypeRule;
use crate::emit::{Emit, Emitter, X};
use crate::error::{Error, Result};
use crate::graph::{Graph, Region, Value};
use crate::op::*;
use crate::types::{DType, TensorType};

/// The records of this family.
pub static CUSTOM: &[&Record] = &[&CUSTOM_VJP, &super::host::HOST];

/// The regions of [`custom_vjp`].
#[derive(Clone, Debug)]
pub struct CustomVjp {
    /// From the operands to the outputs, then what the derivatives need besides the operands (residuals).
    pub forward: Region,
    /// From the operands, the residuals and a cotangent for each floating-point output to a cotangent for each
    /// floating-point argument.
    pub backward: Option<Region>,
    /// From the operands, the residuals and a tangent for each floating-point argument to a tangent for each floating-point
    /// output.
    pub tangent: Option<Region>,
    /// So many operands are arguments; those after them are constant for the derivatives.
    pub arguments: usize,
    /// So many results are outputs; those after them are residuals.
    pub outputs: usize,
}

/// The results of `forward`, whose outputs have the derivatives that are given: one of them, from which the other follows by
/// transposition, or both. Residuals have the derivatives of what computes them.
pub fn custom_vjp(regions: CustomVjp) -> Op {
    let none = || Region::new(Graph::new("none"));
    Op::new(
        &CUSTOM_VJP,
        [
            Attr::Region(regions.forward),
            Attr::Region(regions.backward.unwrap_or_else(none)),
            Attr::Region(regions.tangent.unwrap_or_else(none)),
            Attr::Int(regions.arguments as i64),
            Attr::Int(regions.outputs as i64),
        ],
    )
}

impl CustomVjp {
    /// Those of an instance of [`custom_vjp`].
    pub fn of(op: &Op) -> CustomVjp {
        let given = |name: &str| Some(op.region(name).clone()).filter(|r| !r.graph().is_empty());
        CustomVjp {
            forward: op.region("forward").clone(),
            backward: given("backward"),
            tangent: given("tangent"),
            arguments: op.int("arguments") as usize,
            outputs: op.int("outputs") as usize,
        }
    }

    /// The arguments that have derivatives, by position.
    pub fn float_arguments(&self) -> Vec<usize> {
        let graph = self.forward.graph();
        (0..self.arguments).filter(|&k| graph.ty(graph.inputs()[k].0).dtype.is_float()).collect()
    }

    /// The outputs that have derivatives, by position.
    pub fn float_outputs(&self) -> Vec<usize> {
        let graph = self.forward.graph();
        (0..self.outputs).filter(|&r| graph.ty(graph.outputs()[r].0).dtype.is_float()).collect()
    }

    fn argument_type(&self, k: usize) -> TensorType {
        let graph = self.forward.graph();
        graph.ty(graph.inputs()[k].0).clone()
    }

    fn output_type(&self, r: usize) -> TensorType {
        let graph = self.forward.graph();
        graph.ty(graph.outputs()[r].0).clone()
    }

    /// Whether the regions fit each other.
    fn check(&self) -> Result<()> {
        let graph = self.forward.graph();
        if self.arguments > graph.inputs().len() || self.outputs > graph.outputs().len() {
            return Err(Error::new(format!(
                "custom_vjp has {} arguments and {} outputs, but its forward part has {} inputs and {} outputs",
                self.arguments,
                self.outputs,
                graph.inputs().len(),
                graph.outputs().len()
            )));
        }
        if self.backward.is_none() && self.tangent.is_none() {
            return Err(Error::new("custom_vjp needs a backward or a tangent part"));
        }
        let shared: Vec<TensorType> = (0..graph.inputs().len())
            .map(|k| self.argument_type(k))
            .chain((self.outputs..graph.outputs().len()).map(|r| self.output_type(r)))
            .collect();
        let arguments: Vec<TensorType> = self.float_arguments().into_iter().map(|k| self.argument_type(k)).collect();
        let outputs: Vec<TensorType> = self.float_outputs().into_iter().map(|r| self.output_type(r)).collect();
        let parts = [("backward", &self.backward, &outputs, &arguments), ("tangent", &self.tangent, &arguments, &outputs)];
        for (name, region, given, found) in parts {
            let Some(region) = region else { continue };
            let part = region.graph();
            let inputs = part.inputs().iter().map(|(v, _)| part.ty(*v));
            let results = part.outputs().iter().map(|(v, _)| part.ty(*v));
            if !inputs.eq(shared.iter().chain(given)) || !results.eq(found) {
                let list = |types: &mut dyn Iterator<Item = &TensorType>| {
                    types.map(TensorType::to_string).collect::<Vec<_>>().join(", ")
                };
                return Err(Error::new(format!("the {name} part of custom_vjp does not fit the forward part"))
                    .note("expected", format!("({}) -> ({})", list(&mut shared.iter().chain(given)), list(&mut found.iter())))
                    .note(
                        "found",
                        format!(
                            "({}) -> ({})",
                            list(&mut part.inputs().iter().map(|(v, _)| part.ty(*v))),
                            list(&mut part.outputs().iter().map(|(v, _)| part.ty(*v)))
                        ),
                    ));
            }
        }
        Ok(())
    }
}

/// See [`custom_vjp()`].
pub static CUSTOM_VJP: Record = Record {
    name: "custom_vjp",
    attrs: &[
        ("forward", AttrKind::Region),
        ("backward", AttrKind::Region),
        ("tangent", AttrKind::Region),
        ("arguments", AttrKind::Int),
        ("outputs", AttrKind::Int),
    ],
    infer: |op, operands| {
        if op.int("arguments") < 0 || op.int("outputs") < 0 {
            return Err(type_error(op, operands, "has a negative number of arguments or outputs"));
        }
        CustomVjp::of(op).check()?;
        let forward = op.region("forward").graph();
        TypeRule::new(op, operands).count(forward.inputs().len())?;
        for ((v, name), given) in forward.inputs().iter().zip(operands) {
            if forward.ty(*v) != given {
                let message = format!("needs {} for input `{name}` and was given {given}", forward.ty(*v));
                return Err(type_error(op, operands, message));
            }
        }
        Ok(forward.outputs().iter().map(|(v, _)| forward.ty(*v).clone()).collect())
    },
    reference: no_reference,
    lowering: Lowering::Composite(|emitter, op, operands| inlined(emitter, op.region("forward").graph(), operands)),
    vjp: Vjp::Structural,
    jvp: Jvp::Structural,
    batch: Batch::Structural,
    flops: |op, _, _| body_flops(op.region("forward").graph()),
    samples: |s| {
        let sample = |backward: bool, tangent: bool| {
            let regions = sample_regions();
            let backward = regions.backward.filter(|_| backward);
            custom_vjp(CustomVjp { backward, tangent: regions.tangent.filter(|_| tangent), ..regions })
        };
        for (backward, tangent) in [(true, true), (true, false), (false, true)] {
            let inputs =
                [normal(DType::F32, [3]), normal(DType::F32, [3]), (TensorType::new(DType::I64, [3]), Fill::Range(0, 9))];
            s.add(sample(backward, tangent), inputs);
        }
    },
    error_samples: |s| {
        let vector = || normal(DType::F32, [3]);
        let index = || (TensorType::new(DType::I64, [3]), Fill::Range(0, 9));
        s.add(custom_vjp(sample_regions()), [vector(), vector()]);
        s.add(custom_vjp(sample_regions()), [vector(), normal(DType::F32, [4]), index()]);
        s.add(custom_vjp(CustomVjp { outputs: 2, ..sample_regions() }), [vector(), vector(), index()]);
        s.add(custom_vjp(CustomVjp { backward: None, tangent: None, ..sample_regions() }), [vector(), vector(), index()]);
        s.add(custom_vjp(CustomVjp { arguments: 9, ..sample_regions() }), [vector(), vector(), index()]);
    },
};

/// Applies a graph to values that rules work with.
pub fn inlined<'b, 'e>(emitter: &'b Emitter<'e>, graph: &Graph, inputs: &[X<'b, 'e>]) -> Vec<X<'b, 'e>> {
    let mut values: Vec<Vec<X<'b, 'e>>> = Vec::with_capacity(graph.len());
    let mut given = inputs.iter();
    for (_, node) in graph.nodes() {
        let operands: Vec<X<'b, 'e>> = node.operands.iter().map(|v| values[v.node as usize][v.result as usize]).collect();
        values.push(match node.op.is(&super::structural::INPUT) {
            true => given.next().copied().into_iter().collect(),
            false => emitter.apply(node.op.clone(), &operands).into_vec(),
        });
    }
    graph.outputs().iter().map(|(v, _)| values[v.node as usize][v.result as usize]).collect()
}

/// `y = sin(x · w)`, with `x · w` as residual and an integer operand that counts for nothing.
fn sample_regions() -> CustomVjp {
    let ty = TensorType::new(DType::F32, shape([3]));
    let start = |name: &str| {
        let mut g = Graph::new(name);
        let (x, w) = (g.input("x", ty.clone()), g.input("w", ty.clone()));
        g.input("n", TensorType::new(DType::I64, shape([3])));
        (g, x, w)
    };
    let apply =
        |g: &mut Graph, name: &'static str, operands: &[Value]| g.emit(super::pointwise(name), operands).expect("well typed")[0];
    let (mut forward, x, w) = start("forward");
    let product = apply(&mut forward, "mul", &[x, w]);
    let y = apply(&mut forward, "sin", &[product]);
    forward.output("y", y);
    forward.output("product", product);

    let (mut backward, x, w) = start("backward");
    let (product, dy) = (backward.input("product", ty.clone()), backward.input("dy", ty.clone()));
    let cosine = apply(&mut backward, "cos", &[product]);
    let d = apply(&mut backward, "mul", &[cosine, dy]);
    for (name, other) in [("dx", w), ("dw", x)] {
        let gradient = apply(&mut backward, "mul", &[d, other]);
        backward.output(name, gradient);
    }

    let (mut tangent, x, w) = start("tangent");
    let product = tangent.input("product", ty.clone());
    let (tx, tw) = (tangent.input("tx", ty.clone()), tangent.input("tw", ty.clone()));
    let cosine = apply(&mut tangent, "cos", &[product]);
    let (a, b) = (apply(&mut tangent, "mul", &[tx, w]), apply(&mut tangent, "mul", &[tw, x]));
    let sum = apply(&mut tangent, "add", &[a, b]);
    let ty = apply(&mut tangent, "mul", &[cosine, sum]);
    tangent.output("ty", ty);
    CustomVjp {
        forward: Region::new(forward),
        backward: Some(Region::new(backward)),
        tangent: Some(Region::new(tangent)),
        arguments: 3,
        outputs: 1,
    }
}
