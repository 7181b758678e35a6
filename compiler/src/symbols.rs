//! Symbols of loops and branches: their regions are programs of their own, which read the values of their symbols off their
//! operands. Where none of them has a symbol as an extent, the operator gets one more operand, which has it: an input of the
//! graph around it that nothing but its shape is used of.

use igneous_ir::dim::{Dim, Symbol};
use igneous_ir::graph::{Graph, Region, Value, Values};
use igneous_ir::op::{Attr, Op};
use igneous_ir::ops;
use igneous_ir::types::TensorType;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Gives every loop operands for its symbols, as far as the graph's own inputs have them. None if that changes nothing.
pub fn complete(graph: &Graph) -> Option<Graph> {
    let symbolic = graph.inputs().iter().any(|(v, _)| graph.ty(*v).shape.iter().any(|d| d.is_symbolic()));
    (symbolic && lacks(graph)).then(|| Completion::default().graph(graph))
}

/// Whether an operator somewhere in the graph has regions with a symbol that no operand of it has.
fn lacks(graph: &Graph) -> bool {
    let mut ops = graph.nodes().map(|(_, n)| &n.op);
    ops.any(|op| !lacking(op).is_empty() || op.regions().any(|(_, region)| lacks(region.graph())))
}

/// The symbols that the regions of `op` need and cannot read off their inputs.
fn lacking(op: &Op) -> BTreeSet<Symbol> {
    let mut all = BTreeSet::new();
    for (_, region) in op.regions() {
        let mut needed = BTreeSet::new();
        match op.name() {
            "call" => wanted(region.graph(), &mut needed),
            _ => used(region.graph(), &mut needed),
        }
        let given = given(region.graph());
        all.extend(needed.into_iter().filter(|s| !given.contains_key(s)));
    }
    all
}

/// The symbols of the loops and branches in a graph: what is not in one knows those of the whole program.
fn wanted(graph: &Graph, symbols: &mut BTreeSet<Symbol>) {
    graph.nodes().for_each(|(_, node)| symbols.extend(lacking(&node.op)));
}

/// All symbols in a graph and its regions.
fn used(graph: &Graph, symbols: &mut BTreeSet<Symbol>) {
    let mut found = Vec::new();
    for (_, node) in graph.nodes() {
        node.results.iter().flat_map(|ty| &ty.shape).for_each(|d| d.collect_symbols(&mut found));
        for attr in node.op.attrs() {
            match attr {
                Attr::Dim(d) => d.collect_symbols(&mut found),
                Attr::Dims(dims) => dims.iter().for_each(|d| d.collect_symbols(&mut found)),
                Attr::Region(region) => used(region.graph(), symbols),
                _ => {}
            }
        }
    }
    symbols.extend(found);
}

/// The symbols that are extents of inputs, each with the first such input.
fn given(graph: &Graph) -> BTreeMap<Symbol, Value> {
    let mut given = BTreeMap::new();
    for (v, _) in graph.inputs() {
        for symbol in graph.ty(*v).shape.iter().filter_map(symbol) {
            given.entry(symbol).or_insert(*v);
        }
    }
    given
}

fn symbol(dim: &Dim) -> Option<Symbol> {
    dim.linear().filter(|&(_, factor, constant)| (factor, constant) == (1, 0)).map(|(symbol, ..)| symbol)
}

#[derive(Default)]
struct Completion {
    done: HashMap<(Region, usize, Vec<TensorType>), Region>,
}

impl Completion {
    fn graph(&mut self, old: &Graph) -> Graph {
        let mut new = Graph::new(old.name.clone());
        new.set_scopes(old.scopes().to_vec());
        let mut map: BTreeMap<u32, Values> = BTreeMap::new();
        // All inputs come first: any of them may be an operand of any loop.
        for (v, name) in old.inputs() {
            map.insert(v.node, Values::from_iter([new.input(name.clone(), old.ty(*v).clone())]));
        }
        let sources = given(&new);
        for (n, node) in old.nodes().filter(|(_, n)| !n.op.is(&ops::structural::INPUT)) {
            (new.loc, new.scope) = (node.loc, node.scope);
            let mut operands: Vec<Value> = node.operands.iter().map(|v| map[&v.node][v.result as usize]).collect();
            let op = match node.op.regions().next() {
                Some(_) => self.completed(&new, &sources, &node.op, &mut operands),
                None => node.op.clone(),
            };
            map.insert(n, new.push(op, &operands, node.results.clone()));
        }
        for (v, name) in old.outputs() {
            new.output(name.clone(), map[&v.node][v.result as usize]);
        }
        (new.loc, new.scope) = (None, 0);
        new
    }

    /// The operator with what its regions lack, as far as `sources` has it, among its operands.
    fn completed(&mut self, graph: &Graph, sources: &BTreeMap<Symbol, Value>, op: &Op, operands: &mut Vec<Value>) -> Op {
        let mut extra: Vec<Value> = lacking(op).iter().filter_map(|s| sources.get(s).copied()).collect();
        extra.sort_unstable();
        extra.dedup();
        let constants = matches!(op.name(), "scan" | "while").then(|| op.int("constants") as usize);
        let place = constants.unwrap_or(operands.len());
        // The predicate of a `cond` is no input of its branches.
        let inner_place = place - usize::from(op.name() == "cond");
        let types: Vec<TensorType> = extra.iter().map(|&v| graph.ty(v).clone()).collect();
        let regions: Vec<Region> = op.regions().map(|(_, region)| self.region(region, inner_place, &types)).collect();
        let count = extra.len();
        operands.splice(place..place, extra);
        let op = op.with_regions(regions);
        match constants {
            Some(constants) => op.with_attr("constants", Attr::Int((constants + count) as i64)),
            None => op,
        }
    }

    fn region(&mut self, region: &Region, place: usize, types: &[TensorType]) -> Region {
        let key = (region.clone(), place, types.to_vec());
        if let Some(known) = self.done.get(&key) {
            return known.clone();
        }
        let wider = with_inputs(region.graph(), place, types);
        let region = Region::new(self.graph(&wider));
        self.done.insert(key, region.clone());
        region
    }
}

/// The graph with inputs of these types before its input `place`.
fn with_inputs(old: &Graph, place: usize, types: &[TensorType]) -> Graph {
    let mut new = Graph::new(old.name.clone());
    let (before, after) = old.inputs().split_at(place);
    let mut inputs: Vec<Value> = before.iter().map(|(v, name)| new.input(name.clone(), old.ty(*v).clone())).collect();
    for (k, ty) in types.iter().enumerate() {
        new.input(format!("extents{k}"), ty.clone());
    }
    inputs.extend(after.iter().map(|(v, name)| new.input(name.clone(), old.ty(*v).clone())));
    let outputs = new.inline(old, &inputs).expect("the inputs are copies of those of the graph");
    for (v, (_, name)) in outputs.into_iter().zip(old.outputs()) {
        new.output(name.clone(), v);
    }
    new
}
