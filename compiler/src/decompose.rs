//! The last passes on the graph before fusion: composites become primitives, equal nodes one node, dead nodes none.

use crate::attention::{Hoisted, hoist};
use crate::driver::Backend;
use igneous_ir::emit::Emitter;
use igneous_ir::error::Result;
use igneous_ir::graph::{Graph, Node, Region, Value, Values};
use igneous_ir::op::{Attr, Decompose, Lowering, Op};
use igneous_ir::ops::composite::AttentionOperands;
use igneous_ir::ops::structural::BARRIER;
use igneous_ir::types::DType;
use smallvec::SmallVec;
use std::collections::HashMap;

/// Replaces composites by their decompositions until none is left for which the back end has no kernel, and drops gradient barriers.
///
/// # Errors
/// If a decomposition is ill typed.
pub fn decompose(graph: &Graph, backend: Backend) -> Result<Graph> {
    let mut current = graph.clone();
    loop {
        let mut found = false;
        current = current.rewrite(|g, _, node, operands| {
            if let Some(values) = hoisted(node, g, operands, backend)? {
                found = true;
                return Ok(values);
            }
            match node.op.record().lowering {
                _ if wants_single(node, g, operands, backend) => {
                    let emitter = Emitter::new(g);
                    let wide: SmallVec<[_; 4]> =
                        operands.iter().map(|&v| emitter.value(v)).map(|x| x.cast(x.dtype().compute())).collect();
                    let results = emitter.apply(node.op.clone(), &wide);
                    let results = results.iter().zip(&node.results).map(|(x, ty)| x.cast(ty.dtype).value).collect();
                    emitter.finish()?;
                    Ok(results)
                }
                Lowering::Composite(decompose) if !is_kernel(node, g, operands, backend) => {
                    found = true;
                    composed(g, &node.op, operands, decompose)
                }
                _ if node.op.name() == "stop_gradient" => Ok(Values::from_iter([operands[0]])),
                _ => Ok(g.push(node.op.clone(), operands, node.results.clone())),
            }
        })?;
        if !found {
            return share(&current);
        }
    }
}

/// The decomposition of an operator.
fn composed(g: &mut Graph, op: &Op, operands: &[Value], decompose: Decompose) -> Result<Values> {
    let emitter = Emitter::new(g);
    let xs: SmallVec<[_; 4]> = operands.iter().map(|&v| emitter.value(v)).collect();
    let results: Values = decompose(&emitter, op, &xs).iter().map(|x| x.value).collect();
    emitter.finish()?;
    Ok(results)
}

/// On a CPU, whose kernels of attention compute functions of numbers of single precision only: attention with a function that is not one
/// as attention with one that is; or its decomposition.
fn hoisted(node: &Node, g: &mut Graph, operands: &[Value], backend: Backend) -> Result<Option<Values>> {
    let Lowering::Composite(decompose) = node.op.record().lowering else { return Ok(None) };
    if backend != Backend::Cpu || node.results[0].dtype == DType::F64 || !attends(node, g, operands) {
        return Ok(None);
    }
    Ok(match hoist(g, &node.op, operands)? {
        Hoisted::Already => None,
        Hoisted::Done(results) => Some(results),
        Hoisted::Never => Some(composed(g, &node.op, operands, decompose)?),
    })
}

/// Whether a node on a half type is done on its operands in single precision: a scatter, that elements are not rounded each
/// time another one is added or multiplied; convolutions and, on a CPU, attention, whose kernels are for that.
fn wants_single(node: &Node, graph: &Graph, operands: &[Value], backend: Backend) -> bool {
    if node.results.first().is_none_or(|ty| ty.dtype == ty.dtype.compute()) {
        return false;
    }
    match node.op.name() {
        "scatter" => matches!(node.op.choice("combine"), "sum" | "prod"),
        "convolution" => true,
        _ => backend == Backend::Cpu && attends(node, graph, operands),
    }
}

/// Whether a composite is a kernel of its own: attention on more than one query and key, in single precision or, where tensor cores are
/// for that, in a half type.
fn is_kernel(node: &Node, graph: &Graph, operands: &[Value], backend: Backend) -> bool {
    let known = match node.results[0].dtype {
        DType::F32 => true,
        DType::F16 | DType::BF16 => backend == Backend::Cuda,
        _ => false,
    };
    known && attends(node, graph, operands)
}

/// Whether it is attention of more than one query and key.
fn attends(node: &Node, graph: &Graph, operands: &[Value]) -> bool {
    let several = |k: usize| {
        let shape = &graph.ty(operands[k]).shape;
        shape[shape.len() - 2].as_const().is_none_or(|n| n > 1)
    };
    AttentionOperands::of(&node.op, operands.len()).is_some() && several(0) && several(1)
}

/// Equal nodes (same operator, same operands) become one, and so do reshapes in a row.
fn share(graph: &Graph) -> Result<Graph> {
    let mut known: HashMap<(Op, SmallVec<[Value; 4]>), Values> = HashMap::new();
    let shared = graph.rewrite(|g, _, node, operands| {
        if !node.op.removable() {
            return Ok(g.push(node.op.clone(), operands, node.results.clone()));
        }
        let mut operands: SmallVec<[Value; 4]> = SmallVec::from(operands);
        // From here on the order of the nodes keeps it where it is.
        if node.op.is(&BARRIER) {
            operands.truncate(1);
            return Ok(g.push(node.op.clone(), &operands, node.results.clone()));
        }
        // A reshape of a reshape is one of what that is a reshape of.
        if node.op.name() == "reshape" {
            let inner = g.node(operands[0].node);
            if inner.op.name() == "reshape" {
                operands[0] = inner.operands[0];
            }
        }
        let key = (node.op.clone(), operands.clone());
        if let Some(values) = known.get(&key) {
            return Ok(values.clone());
        }
        let values = g.push(node.op.clone(), &operands, node.results.clone());
        known.insert(key, values.clone());
        Ok(values)
    })?;
    Ok(shared.without_dead_nodes())
}

/// Applies a pass to every region of a graph, innermost first, then to the graph itself. Equal regions are passed once.
///
/// # Errors
/// The first error of the pass.
pub fn for_each_region(graph: &Graph, pass: &mut dyn FnMut(&Graph) -> Result<Graph>) -> Result<Graph> {
    fn inner(graph: &Graph, pass: &mut dyn FnMut(&Graph) -> Result<Graph>, done: &mut HashMap<Region, Region>) -> Result<Graph> {
        let nested = graph.nodes().any(|(_, n)| n.op.attrs().iter().any(|a| matches!(a, Attr::Region(_))));
        if !nested {
            return pass(graph);
        }
        let mapped = graph.rewrite(|g, _, node, operands| {
            let mut attrs: Vec<Attr> = node.op.attrs().to_vec();
            for attr in &mut attrs {
                if let Attr::Region(region) = attr {
                    let new = match done.get(region) {
                        Some(new) => new.clone(),
                        None => {
                            let new = Region::new(inner(region.graph(), pass, done)?);
                            done.insert(region.clone(), new.clone());
                            new
                        }
                    };
                    *attr = Attr::Region(new);
                }
            }
            Ok(g.push(Op::new(node.op.record(), attrs), operands, node.results.clone()))
        })?;
        pass(&mapped)
    }
    inner(graph, pass, &mut HashMap::new())
}
