//! Symbols of loops: the body of a scan is a program of its own, which reads the values of its symbols off its operands.
//! Where none of them has a symbol as an extent, the loop gets one more constant, which has it: an input of the graph
//! around it that nothing but its shape is used of.

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

/// Whether a loop somewhere in the graph has a symbol that no operand of it has.
fn lacks(graph: &Graph) -> bool {
    regions(graph).any(|(op, body)| !lacking(op, body).is_empty() || lacks(body))
}

fn regions(graph: &Graph) -> impl Iterator<Item = (&Op, &Graph)> {
    graph.nodes().filter(|(_, n)| matches!(n.op.name(), "call" | "scan")).map(|(_, n)| (&n.op, n.op.region("body").graph()))
}

/// The symbols that the region of `op` needs and cannot read off its inputs.
fn lacking(op: &Op, body: &Graph) -> BTreeSet<Symbol> {
    let mut needed = BTreeSet::new();
    match op.name() {
        "scan" => used(body, &mut needed),
        _ => wanted(body, &mut needed),
    }
    let given = given(body);
    needed.retain(|s| !given.contains_key(s));
    needed
}

/// The symbols of the loops in a graph: what is not in a loop knows those of the whole program.
fn wanted(graph: &Graph, symbols: &mut BTreeSet<Symbol>) {
    for (op, body) in regions(graph) {
        symbols.extend(lacking(op, body));
    }
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
    done: HashMap<(Region, Vec<TensorType>), Region>,
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
            let op = match node.op.name() {
                "call" | "scan" => self.region(&new, &sources, &node.op, &mut operands),
                _ => node.op.clone(),
            };
            map.insert(n, new.push(op, &operands, node.results.clone()));
        }
        for (v, name) in old.outputs() {
            new.output(name.clone(), map[&v.node][v.result as usize]);
        }
        (new.loc, new.scope) = (None, 0);
        new
    }

    /// The operator with what its region lacks, as far as `sources` has it, among its operands.
    fn region(&mut self, graph: &Graph, sources: &BTreeMap<Symbol, Value>, op: &Op, operands: &mut Vec<Value>) -> Op {
        let region = op.region("body");
        let mut extra: Vec<Value> = lacking(op, region.graph()).iter().filter_map(|s| sources.get(s).copied()).collect();
        extra.sort_unstable();
        extra.dedup();
        let place = if op.name() == "scan" { op.int("constants") as usize } else { operands.len() };
        let types: Vec<TensorType> = extra.iter().map(|&v| graph.ty(v).clone()).collect();
        let key = (region.clone(), types);
        let body = match self.done.get(&key) {
            Some(body) => body.clone(),
            None => {
                let wider = with_inputs(region.graph(), place, &key.1);
                let body = Region::new(self.graph(&wider));
                self.done.insert(key, body.clone());
                body
            }
        };
        let count = extra.len();
        operands.splice(place..place, extra);
        if op.name() == "scan" {
            let length = op.dim("length");
            return ops::scan(body, place + count, op.int("carries") as usize, op.bool("reverse"), length);
        }
        ops::call(body)
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
