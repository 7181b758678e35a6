//! A case with symbols for some of its extents.

use super::generate::{Case, Random};
use igneous_ir::autodiff::expand_gradients;
use igneous_ir::dim::Dim;
use igneous_ir::graph::{Graph, Region, Value, Values};
use igneous_ir::interp::Bindings;
use igneous_ir::op::{Attr, Op};
use igneous_ir::ops;
use igneous_ir::types::{Shape, TensorType};

/// The graph of a case with a symbol for every axis of one of two extents, or of one. None where the type rules need
/// numbers, or other axes would get symbols as well.
pub fn generalised(case: &Case, seed: u64) -> Option<Graph> {
    let mut random = Random::new(seed);
    let mut extents: Vec<i64> = Vec::new();
    for (v, _) in case.graph.inputs() {
        extents.extend(case.graph.ty(*v).shape.iter().filter_map(|d| d.as_const()).filter(|&n| n > 1));
    }
    extents.sort_unstable();
    extents.dedup();
    let least = random.below(3) as i64;
    let first = extents.get(random.below(extents.len())).copied()?;
    let second = *random.pick(&extents);
    let given: Vec<TensorType> = case.inputs.iter().map(|x| x.ty()).collect();
    [vec![first, second], vec![first], vec![second]].into_iter().find_map(|chosen| {
        let graph = Symbols { chosen, least }.graph(&case.graph, None)?;
        let bindings = Bindings::of(&graph, &given).ok()?;
        let same = graph.outputs().iter().zip(case.graph.outputs()).all(|((v, _), (w, _))| {
            let ty = bindings.ty(graph.ty(*v)).ok();
            ty.as_ref() == Some(case.graph.ty(*w))
        });
        // Windows of derivatives need axes that are not empty.
        (same && (least > 0 || expand_gradients(&graph).is_ok())).then_some(graph)
    })
}

struct Symbols {
    chosen: Vec<i64>,
    least: i64,
}

impl Symbols {
    fn dim(&self, d: Dim) -> Dim {
        match d.as_const().filter(|n| self.chosen.contains(n)) {
            Some(n) => Dim::symbol(&format!("N{n}"), self.least, 1 << 20),
            None => d,
        }
    }

    fn ty(&self, ty: &TensorType) -> TensorType {
        ty.with_shape(ty.shape.iter().map(|&d| self.dim(d)))
    }

    /// The graph, whose inputs have the types that are given (in a region).
    fn graph(&self, old: &Graph, inputs: Option<&[TensorType]>) -> Option<Graph> {
        let mut new = Graph::new(old.name.clone());
        new.set_scopes(old.scopes().to_vec());
        let mut map: Vec<Values> = Vec::new();
        let mut input = 0;
        for (_, node) in old.nodes() {
            new.scope = node.scope;
            if node.op.is(&ops::structural::INPUT) {
                // A derivative that an operator brings with it takes more than its operands.
                let ty = match inputs {
                    Some(types) => types.get(input)?.clone(),
                    None => self.ty(&node.results[0]),
                };
                map.push(Values::from_iter([new.input(old.inputs()[input].1.clone(), ty)]));
                input += 1;
                continue;
            }
            let operands: Vec<Value> = node.operands.iter().map(|v| map[v.node as usize][v.result as usize]).collect();
            let types: Vec<TensorType> = operands.iter().map(|&v| new.ty(v).clone()).collect();
            let attrs = node.op.attrs().iter().map(|attr| {
                Some(match attr {
                    Attr::Dim(d) => Attr::Dim(self.dim(*d)),
                    Attr::Dims(dims) => Attr::Dims(dims.iter().map(|&d| self.dim(d)).collect::<Shape>()),
                    Attr::Region(region) => Attr::Region(Region::new(self.region(&node.op, region, &types)?)),
                    other => other.clone(),
                })
            });
            let op = Op::new(node.op.record(), attrs.collect::<Option<Vec<_>>>()?);
            map.push(new.add(op, &operands).ok()?);
        }
        for (v, name) in old.outputs() {
            new.output(name.clone(), map[v.node as usize][v.result as usize]);
        }
        new.scope = 0;
        Some(new)
    }

    fn region(&self, op: &Op, region: &Region, operands: &[TensorType]) -> Option<Graph> {
        let mut types = operands.to_vec();
        if op.name() == "cond" {
            types.remove(0);
        }
        if op.name() == "scan" {
            let first = (op.int("constants") + op.int("carries")) as usize;
            for ty in &mut types[first..] {
                *ty = ty.with_shape(ty.shape.iter().skip(1).copied().collect::<Vec<_>>());
            }
        }
        self.graph(region.graph(), Some(&types))
    }
}
