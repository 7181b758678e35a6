//! The Graph: a pure, typed SSA graph of tensor operators.
//!
//! Invariants: nodes are only appended, so their order is a topological order; every operand's type is
//! what the operator's type rule accepted; regions are closed (they see nothing but their inputs).
//! Passes build a new graph instead of changing one.

use crate::emit::Emit;
use crate::error::{Error, Loc, Result};
use crate::op::{Attr, Op, Types};
use crate::ops;
use crate::types::TensorType;
use petgraph::graph::{DiGraph, NodeIndex};
use smallvec::SmallVec;
use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A result of a node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value {
    /// The node's position in its graph.
    pub node: u32,
    /// Which of its results.
    pub result: u32,
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}.{}", self.node, self.result)
    }
}

/// A few values: the results of a node.
pub type Values = SmallVec<[Value; 2]>;

/// An operator applied to values.
#[derive(Clone, Debug)]
pub struct Node {
    /// The operator.
    pub op: Op,
    /// What it is applied to.
    pub operands: SmallVec<[Value; 3]>,
    /// The types of its results.
    pub results: Types,
    /// The line of user code that made it.
    pub loc: Option<Loc>,
    /// The innermost layer call that made it: an index into [`Graph::scopes`].
    pub scope: u32,
}

/// One call of a named layer while tracing. Two calls of one layer are two scopes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scope {
    /// The layer's name, for example `layers.3`; empty for the root.
    pub name: &'static str,
    /// The enclosing scope; the root is its own parent.
    pub parent: u32,
}

/// An edge from the node that makes a value to a node that uses it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Edge {
    /// Which result of the source.
    pub result: u32,
    /// Which operand of the target.
    pub operand: u32,
}

/// A graph with named inputs and outputs.
#[derive(Clone, Debug)]
pub struct Graph {
    /// The name in the text's header.
    pub name: String,
    nodes: DiGraph<Node, Edge>,
    inputs: Vec<(Value, String)>,
    outputs: Vec<(Value, String)>,
    scopes: Vec<Scope>,
    /// The line that nodes emitted from now on are attributed to.
    pub loc: Option<Loc>,
    /// The scope that nodes emitted from now on belong to.
    pub scope: u32,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: impl Into<String>) -> Graph {
        Graph {
            name: name.into(),
            nodes: DiGraph::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            scopes: vec![Scope { name: "", parent: 0 }],
            loc: None,
            scope: 0,
        }
    }

    /// Appends an input.
    pub fn input(&mut self, name: impl Into<String>, ty: TensorType) -> Value {
        let op = Op::new(&ops::structural::INPUT, [Attr::Int(self.inputs.len() as i64)]);
        let values = self.push(op, &[], Types::from_iter([ty]));
        self.inputs.push((values[0], name.into()));
        values[0]
    }

    /// Appends an output.
    pub fn output(&mut self, name: impl Into<String>, value: Value) {
        self.outputs.push((value, name.into()));
    }

    /// The same graph with other outputs.
    pub fn with_outputs(&self, outputs: impl IntoIterator<Item = (Value, String)>) -> Graph {
        Graph { outputs: outputs.into_iter().collect(), ..self.clone() }
    }

    /// Makes another value of the same type the output number `index`.
    pub fn set_output(&mut self, index: usize, value: Value) {
        debug_assert_eq!(self.ty(value), self.ty(self.outputs[index].0));
        self.outputs[index].0 = value;
    }

    /// Appends a node; its result types are inferred.
    ///
    /// # Errors
    /// If the operands' types do not fit the operator.
    pub fn add(&mut self, op: Op, operands: &[Value]) -> Result<Values> {
        let types: SmallVec<[TensorType; 4]> = operands.iter().map(|&v| self.ty(v).clone()).collect();
        let results = op.infer(&types).map_err(|e| match self.loc {
            Some(loc) => e.at(loc),
            None => e,
        })?;
        Ok(self.push(op, operands, results))
    }

    /// Appends a node whose result types are known to be `results`.
    pub fn push(&mut self, op: Op, operands: &[Value], results: Types) -> Values {
        let count = results.len() as u32;
        let node = Node { op, operands: operands.into(), results, loc: self.loc, scope: self.scope };
        let index = self.nodes.add_node(node);
        for (i, v) in operands.iter().enumerate() {
            self.nodes.add_edge(NodeIndex::new(v.node as usize), index, Edge { result: v.result, operand: i as u32 });
        }
        (0..count).map(|result| Value { node: index.index() as u32, result }).collect()
    }

    /// Opens a scope inside the current one and makes it current; returns the previous one, to be restored.
    pub fn push_scope(&mut self, name: &'static str) -> u32 {
        let previous = self.scope;
        self.scopes.push(Scope { name, parent: previous });
        self.scope = self.scopes.len() as u32 - 1;
        previous
    }

    /// All scopes; the first is the root.
    pub fn scopes(&self) -> &[Scope] {
        &self.scopes
    }

    /// Replaces the scopes: for a pass that copies nodes and keeps their scope numbers.
    pub fn set_scopes(&mut self, scopes: Vec<Scope>) {
        self.scopes = scopes;
    }

    /// The names of a scope and those around it, outermost first, joined by dots.
    pub fn scope_path(&self, scope: u32) -> String {
        let mut names = Vec::new();
        let mut at = scope;
        while at != 0 {
            names.push(self.scopes[at as usize].name);
            at = self.scopes[at as usize].parent;
        }
        names.reverse();
        names.join(".")
    }

    /// The number of nodes, inputs included.
    pub fn len(&self) -> usize {
        self.nodes.node_count()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The node at `index`.
    pub fn node(&self, index: u32) -> &Node {
        &self.nodes[NodeIndex::new(index as usize)]
    }

    /// The nodes with their positions, in order.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = (u32, &Node)> + Clone {
        (0..self.len() as u32).map(|i| (i, self.node(i)))
    }

    /// The results of a node.
    pub fn results(&self, node: u32) -> Values {
        (0..self.node(node).results.len() as u32).map(|result| Value { node, result }).collect()
    }

    /// The type of a value.
    pub fn ty(&self, value: Value) -> &TensorType {
        &self.node(value.node).results[value.result as usize]
    }

    /// The inputs with their names.
    pub fn inputs(&self) -> &[(Value, String)] {
        &self.inputs
    }

    /// The outputs with their names.
    pub fn outputs(&self) -> &[(Value, String)] {
        &self.outputs
    }

    /// The underlying petgraph, for its algorithms.
    pub fn petgraph(&self) -> &DiGraph<Node, Edge> {
        &self.nodes
    }

    /// For each node, the nodes and operand positions that use each of its results, and whether it is an output.
    pub fn use_counts(&self) -> Vec<SmallVec<[u32; 2]>> {
        let mut counts: Vec<SmallVec<[u32; 2]>> = self.nodes().map(|(_, n)| n.results.iter().map(|_| 0).collect()).collect();
        let operands = self.nodes().flat_map(|(_, n)| n.operands.iter().copied());
        for v in operands.chain(self.outputs.iter().map(|(v, _)| *v)) {
            counts[v.node as usize][v.result as usize] += 1;
        }
        counts
    }

    /// Which nodes some output depends on; inputs always count as live.
    pub fn live(&self) -> Vec<bool> {
        let mut live = vec![false; self.len()];
        for (v, _) in &self.outputs {
            live[v.node as usize] = true;
        }
        for (i, node) in self.nodes().rev() {
            if live[i as usize] || !node.op.removable() {
                live[i as usize] = true;
                for v in &node.operands {
                    live[v.node as usize] = true;
                }
            }
        }
        for (v, _) in &self.inputs {
            live[v.node as usize] = true;
        }
        live
    }

    /// A copy in which `change` decides what each live node becomes. It gets the new graph, the node and its
    /// operands in the new graph, and returns the values that stand for the node's results.
    /// Inputs are copied; names, scopes and lines are kept.
    ///
    /// # Errors
    /// The first error of `change`.
    pub fn rewrite(&self, mut change: impl FnMut(&mut Graph, u32, &Node, &[Value]) -> Result<Values>) -> Result<Graph> {
        let mut new = Graph::new(self.name.clone());
        new.set_scopes(self.scopes.clone());
        let live = self.live();
        let mut map: Vec<Values> = vec![Values::new(); self.len()];
        let mut input = 0;
        for (i, node) in self.nodes() {
            if !live[i as usize] {
                continue;
            }
            new.loc = node.loc;
            new.scope = node.scope;
            map[i as usize] = if node.op.is(&ops::structural::INPUT) {
                let name = self.inputs[input].1.clone();
                input += 1;
                Values::from_iter([new.input(name, node.results[0].clone())])
            } else {
                let operands: SmallVec<[Value; 4]> =
                    node.operands.iter().map(|v| map[v.node as usize][v.result as usize]).collect();
                change(&mut new, i, node, &operands)?
            };
        }
        for (v, name) in &self.outputs {
            new.output(name.clone(), map[v.node as usize][v.result as usize]);
        }
        (new.loc, new.scope) = (None, 0);
        Ok(new)
    }

    /// A copy without the nodes that no output depends on.
    pub fn without_dead_nodes(&self) -> Graph {
        self.rewrite(|g, _, node, operands| Ok(g.push(node.op.clone(), operands, node.results.clone())))
            .expect("copying a node cannot fail")
    }

    /// Appends a copy of `other`'s nodes with its inputs bound to `inputs`; returns the values of its outputs.
    ///
    /// # Errors
    /// If the number or types of the inputs differ.
    pub fn inline(&mut self, other: &Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        if inputs.len() != other.inputs.len() {
            let (want, got) = (other.inputs.len(), inputs.len());
            return Err(Error::new(format!("graph `{}` takes {want} inputs and was given {got}", other.name)));
        }
        for ((v, name), &given) in other.inputs.iter().zip(inputs) {
            if other.ty(*v) != self.ty(given) {
                return Err(Error::new(format!("input `{name}` of graph `{}` has another type than its argument", other.name))
                    .note("expected", other.ty(*v))
                    .note("given", self.ty(given)));
            }
        }
        let mut map: Vec<Values> = vec![Values::new(); other.len()];
        let mut next_input = inputs.iter();
        for (i, node) in other.nodes() {
            map[i as usize] = if node.op.is(&ops::structural::INPUT) {
                next_input.next().copied().into_iter().collect()
            } else {
                let operands: SmallVec<[Value; 4]> =
                    node.operands.iter().map(|v| map[v.node as usize][v.result as usize]).collect();
                let outer = self.loc;
                self.loc = node.loc.or(outer);
                let values = self.push(node.op.clone(), &operands, node.results.clone());
                self.loc = outer;
                values
            };
        }
        Ok(other.outputs.iter().map(|(v, _)| map[v.node as usize][v.result as usize]).collect())
    }

    /// A hash of what the graph computes: operators, types and connections, without names, lines and scopes.
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (_, node) in self.nodes() {
            node.op.hash(&mut hasher);
            node.operands.hash(&mut hasher);
            node.results.hash(&mut hasher);
        }
        for (v, _) in &self.outputs {
            v.hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Whether two graphs compute the same by the same operators; see [`Graph::digest`].
    pub fn same_structure(&self, other: &Graph) -> bool {
        self.len() == other.len()
            && self
                .nodes()
                .zip(other.nodes())
                .all(|((_, a), (_, b))| a.op == b.op && a.operands == b.operands && a.results == b.results)
            && self.outputs.len() == other.outputs.len()
            && self.outputs.iter().zip(&other.outputs).all(|(a, b)| a.0 == b.0)
    }
}

impl Emit for Graph {
    fn emit(&mut self, op: Op, operands: &[Value]) -> Result<Values> {
        self.add(op, operands)
    }

    fn type_of(&self, value: Value) -> TensorType {
        self.ty(value).clone()
    }

    fn attribute_to(&mut self, value: Value) {
        let node = self.node(value.node);
        (self.loc, self.scope) = (node.loc, node.scope);
    }
}

/// A nested graph as an attribute: shared, compared by structure.
#[derive(Clone)]
pub struct Region {
    graph: Arc<Graph>,
    digest: u64,
    contains_check: bool,
}

impl Region {
    /// Wraps a graph.
    pub fn new(graph: Graph) -> Region {
        let digest = graph.digest();
        let contains_check = graph.nodes().any(|(_, node)| !node.op.removable());
        Region { graph: Arc::new(graph), digest, contains_check }
    }

    /// Whether a node in it, or in a region in it, is a check.
    pub fn contains_check(&self) -> bool {
        self.contains_check
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The hash of its structure.
    pub fn digest(&self) -> u64 {
        self.digest
    }
}

impl PartialEq for Region {
    fn eq(&self, other: &Region) -> bool {
        self.digest == other.digest && (Arc::ptr_eq(&self.graph, &other.graph) || self.graph.same_structure(&other.graph))
    }
}

impl Eq for Region {}

impl Hash for Region {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl PartialOrd for Region {
    fn partial_cmp(&self, other: &Region) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Region {
    fn cmp(&self, other: &Region) -> std::cmp::Ordering {
        self.digest.cmp(&other.digest)
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Region({}, {:016x})", self.graph.name, self.digest)
    }
}
