//! The verifier of graphs. Passes run it after themselves in debug builds.

use crate::array::Data;
use crate::dim::{Dim, Symbol};
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, Region, Value};
use crate::op::Attr;
use crate::ops::structural::INPUT;
use crate::text::statement;
use crate::types::TensorType;
use smallvec::SmallVec;
use std::collections::HashSet;

/// Checks that the graph is well formed: operands precede their users, result types are what the type rules infer,
/// inputs and outputs are in order, dimensions are valid, constants are numbers of their type, and so in all regions.
///
/// # Errors
/// The first violation; the message shows the node, what was expected and what was found.
pub fn verify(graph: &Graph) -> Result<()> {
    Verifier::default().graph(graph)
}

#[derive(Default)]
struct Verifier {
    done: HashSet<Region>,
    symbols: Vec<Symbol>,
}

impl Verifier {
    fn graph(&mut self, graph: &Graph) -> Result<()> {
        let in_graph = |e: Error| e.context(format_args!("graph `{}`", graph.name));
        self.inputs(graph).map_err(in_graph)?;
        scopes(graph).map_err(in_graph)?;
        for (i, node) in graph.nodes() {
            self.node(graph, i, node).map_err(|e| {
                let e = e.context(format_args!("`{}`", statement(graph, i)));
                in_graph(node.loc.map_or(e.clone(), |loc| e.at(loc)))
            })?;
        }
        for (v, name) in graph.outputs() {
            if !exists(graph, *v) {
                return Err(in_graph(Error::new(format!("output `{name}` is {v:?}, which does not exist"))));
            }
        }
        Ok(())
    }

    fn inputs(&self, graph: &Graph) -> Result<()> {
        let nodes: Vec<u32> = graph.nodes().filter(|(_, n)| n.op.is(&INPUT)).map(|(i, _)| i).collect();
        let declared: Vec<u32> = graph.inputs().iter().map(|(v, _)| v.node).collect();
        if nodes != declared {
            return Err(Error::new(format!("the input nodes are {nodes:?}, and {declared:?} are declared")));
        }
        match nodes.iter().enumerate().find(|(k, i)| graph.node(**i).op.int("index") != *k as i64) {
            Some((k, i)) => Err(Error::new(format!("input {k} has the index {}", graph.node(*i).op.int("index")))),
            None => Ok(()),
        }
    }

    fn node(&mut self, graph: &Graph, i: u32, node: &Node) -> Result<()> {
        if let Some((k, v)) = node.operands.iter().enumerate().find(|(_, v)| v.node >= i || !exists(graph, **v)) {
            return Err(Error::new(format!("operand {k} is {v:?}, which does not precede it")));
        }
        for ty in &node.results {
            self.shape(&ty.shape)?;
        }
        for attr in node.op.attrs() {
            match attr {
                Attr::Dim(d) => self.symbols_of(*d)?,
                Attr::Dims(dims) => dims.iter().try_for_each(|d| self.symbols_of(*d))?,
                Attr::Region(region) if self.done.insert(region.clone()) => self.graph(region.graph())?,
                Attr::Array(array) => {
                    if let Data::Float(values) = array.data()
                        && let Some(x) = values.iter().find(|x| array.dtype().round(**x) != **x && !x.is_nan())
                    {
                        return Err(Error::new(format!("{x:?} is not a number of {}", array.dtype())));
                    }
                }
                _ => {}
            }
        }
        if node.op.is(&INPUT) {
            return Ok(());
        }
        let operands: SmallVec<[TensorType; 4]> = node.operands.iter().map(|&v| graph.ty(v).clone()).collect();
        let expected = node.op.infer(&operands)?;
        if expected == node.results {
            return Ok(());
        }
        Err(Error::new("its results have other types than inferred")
            .note("expected", list(&expected))
            .note("found", list(&node.results)))
    }

    fn shape(&mut self, shape: &[Dim]) -> Result<()> {
        for &dim in shape {
            if dim.at_least(0) == Some(false) {
                return Err(Error::new(format!("the extent {dim} is negative")));
            }
            self.symbols_of(dim)?;
        }
        Ok(())
    }

    /// One name stands for one symbol in a graph and its regions.
    fn symbols_of(&mut self, dim: Dim) -> Result<()> {
        if dim.is_invalid() {
            return Err(Error::new("a dimension of an invalid tensor is used"));
        }
        let known = self.symbols.len();
        dim.collect_symbols(&mut self.symbols);
        for k in known..self.symbols.len() {
            let new = self.symbols[k];
            if let Some(old) = self.symbols[..k].iter().find(|s| s.name == new.name) {
                return Err(Error::new(format!("symbol `{}` has two ranges", new.name))
                    .note("one", format_args!("{}..={}", old.lo, old.hi))
                    .note("other", format_args!("{}..={}", new.lo, new.hi)));
            }
        }
        Ok(())
    }
}

fn exists(graph: &Graph, value: Value) -> bool {
    (value.node as usize) < graph.len() && (value.result as usize) < graph.node(value.node).results.len()
}

fn scopes(graph: &Graph) -> Result<()> {
    let scopes = graph.scopes();
    if let Some((k, s)) = scopes.iter().enumerate().find(|(k, s)| s.parent as usize >= (*k).max(1)) {
        return Err(Error::new(format!("scope {k} `{}` has the parent {}, which does not precede it", s.name, s.parent)));
    }
    match graph.nodes().find(|(_, n)| n.scope as usize >= scopes.len()) {
        Some((i, n)) => Err(Error::new(format!("node {i} has the scope {}, and there are {}", n.scope, scopes.len()))),
        None => Ok(()),
    }
}

fn list(types: &[TensorType]) -> String {
    types.iter().map(TensorType::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops;
    use crate::types::DType;

    fn two_inputs() -> (Graph, Value, Value) {
        let mut g = Graph::new("g");
        let a = g.input("a", TensorType::new(DType::F32, [2]));
        let b = g.input("b", TensorType::new(DType::F32, [3]));
        (g, a, b)
    }

    #[test]
    fn wrong_result_types_are_shown() {
        let (mut g, a, b) = two_inputs();
        let ty = g.ty(b).clone();
        g.loc = Some(crate::Loc { file: "model.rs", line: 7 });
        let v = g.push(ops::stop_gradient(), &[a], [ty].into_iter().collect())[0];
        g.output("y", v);
        let expected = "graph `g`: `%2 = stop_gradient(%0) : f32[3]`: its results have other types than inferred\n  \
                        expected  f32[2]\n  found     f32[3]\n  at model.rs:7";
        assert_eq!(verify(&g).unwrap_err().to_string(), expected);
    }

    #[test]
    fn outputs_and_operands_exist() {
        let (mut g, a, _) = two_inputs();
        g.output("y", Value { node: a.node, result: 1 });
        assert_eq!(verify(&g).unwrap_err().message(), "graph `g`: output `y` is %0.1, which does not exist");
        let (mut g, a, _) = two_inputs();
        let ty = g.ty(a).clone();
        g.push(ops::stop_gradient(), &[Value { node: 1, result: 2 }], [ty].into_iter().collect());
        assert!(verify(&g).unwrap_err().message().contains("operand 0 is %1.2, which does not precede it"));
    }

    #[test]
    fn a_symbol_has_one_range() {
        let mut g = Graph::new("g");
        g.input("a", TensorType::new(DType::F32, [Dim::symbol("B", 1, 4)]));
        g.input("b", TensorType::new(DType::F32, [Dim::symbol("B", 1, 8)]));
        assert!(verify(&g).unwrap_err().message().contains("symbol `B` has two ranges"));
    }

    #[test]
    fn regions_are_verified() {
        let (mut body, a, b) = two_inputs();
        let ty = body.ty(b).clone();
        let v = body.push(ops::stop_gradient(), &[a], [ty].into_iter().collect())[0];
        body.output("y", v);
        let (mut g, a, b) = two_inputs();
        let v = g.add(ops::call(Region::new(body)), &[a, b]).unwrap()[0];
        g.output("y", v);
        assert!(verify(&g).unwrap_err().message().contains("graph `g`: `%2 = stop_gradient(%0)"));
    }
}
