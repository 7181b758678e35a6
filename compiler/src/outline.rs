//! Outlining: equal layer calls become calls of one block, which is differentiated, rewritten, fused and compiled once.

use igneous_ir::error::Result;
use igneous_ir::graph::{Edge, Graph, Region, Value, Values};
use igneous_ir::op::{Attr, Lowering, Op};
use igneous_ir::ops;
use petgraph::graph::{EdgeReference, NodeIndex};
use petgraph::visit::EdgeRef;
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// A layer call with fewer operators than this is not worth a block of its own: fusion across its border is worth more.
const MIN_NODES: usize = 6;

/// One layer call that can be a block.
struct Instance {
    nodes: BTreeSet<u32>,
    inputs: Vec<Value>,
    outputs: Vec<Value>,
    region: Region,
}

/// Replaces every layer call that occurs more than once, with equal structure, by a call of a shared block.
/// Returns the number of distinct blocks too.
///
/// # Errors
/// If the graph is ill typed.
pub fn outline(graph: &Graph) -> Result<(Graph, usize)> {
    let mut chosen: Vec<Instance> = Vec::new();
    let mut blocks = 0;
    let whole = Whole::new(graph);
    let mut level: Vec<u32> = whole.children[0].clone();
    let mut members = scope_members(graph, &whole.live);
    while !level.is_empty() {
        let mut classes: HashMap<Region, Vec<(u32, Instance)>> = HashMap::new();
        let mut order: Vec<Region> = Vec::new();
        let mut deeper: Vec<u32> = Vec::new();
        for scope in level {
            match whole.instance(members.remove(&scope).unwrap_or_default()) {
                Some(found) => {
                    let class = classes.entry(found.region.clone()).or_default();
                    if class.is_empty() {
                        order.push(found.region.clone());
                    }
                    class.push((scope, found));
                }
                None => deeper.extend(&whole.children[scope as usize]),
            }
        }
        for region in order {
            let class = classes.remove(&region).expect("listed in order");
            if class.len() > 1 {
                blocks += 1;
                chosen.extend(class.into_iter().map(|(_, instance)| instance));
            } else {
                deeper.extend(class.into_iter().flat_map(|(scope, _)| &whole.children[scope as usize]));
            }
        }
        deeper.sort_unstable();
        level = deeper;
    }
    if chosen.is_empty() {
        return Ok((graph.clone(), 0));
    }
    Ok(match replace(graph, &chosen) {
        Some(outlined) => (outlined, blocks),
        None => (graph.clone(), 0),
    })
}

/// The live nodes of each scope and the scopes inside it. Inputs belong to none.
fn scope_members(graph: &Graph, live: &[bool]) -> BTreeMap<u32, BTreeSet<u32>> {
    let mut members: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for (i, node) in graph.nodes() {
        if !live[i as usize] || node.op.is(&ops::structural::INPUT) {
            continue;
        }
        let mut scope = node.scope;
        while scope != 0 {
            members.entry(scope).or_default().insert(i);
            scope = graph.scopes()[scope as usize].parent;
        }
    }
    members
}

/// A graph and what every layer call in it asks of the whole.
struct Whole<'g> {
    graph: &'g Graph,
    live: Vec<bool>,
    outputs: HashSet<Value>,
    /// For each scope those directly in it.
    children: Vec<Vec<u32>>,
}

impl Whole<'_> {
    fn new(graph: &Graph) -> Whole<'_> {
        let mut children = vec![Vec::new(); graph.scopes().len()];
        for (scope, own) in graph.scopes().iter().enumerate().skip(1) {
            children[own.parent as usize].push(scope as u32);
        }
        Whole { graph, live: graph.live(), outputs: graph.outputs().iter().map(|(v, _)| *v).collect(), children }
    }

    /// The nodes as a region, if they can be one: convex, pure, and large enough.
    fn instance(&self, nodes: BTreeSet<u32>) -> Option<Instance> {
        let graph = self.graph;
        let pure = |n: &u32| !matches!(graph.node(*n).op.name(), "check" | "grad");
        let hero = |n: &u32| matches!(graph.node(*n).op.record().lowering, Lowering::Contraction(_));
        let counted = nodes.iter().filter(|&&n| graph.node(n).op.name() != "constant").count();
        if counted < MIN_NODES || !nodes.iter().all(pure) || !nodes.iter().any(hero) || !convex(graph, &nodes) {
            return None;
        }
        let mut inputs: Vec<Value> = Vec::new();
        let mut region = Graph::new("block");
        let mut map: BTreeMap<Value, Value> = BTreeMap::new();
        for &n in &nodes {
            for v in &graph.node(n).operands {
                if !nodes.contains(&v.node) && !map.contains_key(v) {
                    map.insert(*v, region.input(format!("x{}", inputs.len()), graph.ty(*v).clone()));
                    inputs.push(*v);
                }
            }
        }
        for &n in &nodes {
            let node = graph.node(n);
            let operands: SmallVec<[Value; 4]> = node.operands.iter().map(|v| map[v]).collect();
            region.loc = node.loc;
            let results = region.push(node.op.clone(), &operands, node.results.clone());
            map.extend(graph.results(n).into_iter().zip(results));
        }
        region.loc = None;
        let outputs: Vec<Value> = self.used_outside(&nodes);
        for (i, v) in outputs.iter().enumerate() {
            region.output(format!("y{i}"), map[v]);
        }
        Some(Instance { nodes, inputs, outputs, region: Region::new(region) })
    }

    /// The values of these nodes that other live nodes use, or that are outputs.
    fn used_outside(&self, nodes: &BTreeSet<u32>) -> Vec<Value> {
        let outside = |edge: &EdgeReference<'_, Edge>| {
            let user = edge.target().index() as u32;
            self.live[user as usize] && !nodes.contains(&user)
        };
        let mut used = Vec::new();
        for &n in nodes {
            let mut results: SmallVec<[bool; 4]> = self.graph.results(n).iter().map(|v| self.outputs.contains(v)).collect();
            for edge in self.graph.petgraph().edges(NodeIndex::new(n as usize)).filter(outside) {
                results[edge.weight().result as usize] = true;
            }
            used.extend(self.graph.results(n).into_iter().zip(results).filter(|(_, used)| *used).map(|(v, _)| v));
        }
        used
    }
}

/// Whether no path leaves the set and comes back.
fn convex(graph: &Graph, nodes: &BTreeSet<u32>) -> bool {
    let (Some(&first), Some(&last)) = (nodes.first(), nodes.last()) else { return false };
    let mut tainted: BTreeSet<u32> = BTreeSet::new();
    for n in first..=last {
        let depends = |set: &BTreeSet<u32>| graph.node(n).operands.iter().any(|v| set.contains(&v.node));
        if nodes.contains(&n) {
            if depends(&tainted) {
                return false;
            }
        } else if depends(nodes) || depends(&tainted) {
            tainted.insert(n);
        }
    }
    true
}

/// The graph with the instances replaced by calls; none if two instances depend on each other in a circle.
fn replace(graph: &Graph, instances: &[Instance]) -> Option<Graph> {
    let mut new = Graph::new(graph.name.clone());
    new.set_scopes(graph.scopes().to_vec());
    let mut emitter = Replacer {
        graph,
        instances,
        instance_of: instances.iter().enumerate().flat_map(|(k, i)| i.nodes.iter().map(move |&n| (n, k))).collect(),
        map: vec![None; graph.len()],
        busy: vec![false; instances.len()],
        new,
    };
    // Inputs first: a graph's inputs keep their order.
    for (v, name) in graph.inputs() {
        let value = emitter.new.input(name.clone(), graph.ty(*v).clone());
        emitter.map[v.node as usize] = Some(Values::from_iter([value]));
    }
    let live = graph.live();
    for (i, _) in graph.nodes().filter(|(i, _)| live[*i as usize]) {
        emitter.emit(i)?;
    }
    for (v, name) in graph.outputs() {
        let value = emitter.value(*v)?;
        emitter.new.output(name.clone(), value);
    }
    (emitter.new.loc, emitter.new.scope) = (None, 0);
    Some(emitter.new)
}

struct Replacer<'g> {
    graph: &'g Graph,
    instances: &'g [Instance],
    instance_of: BTreeMap<u32, usize>,
    /// The values that stand for a node's results. Results of an instance that nobody outside uses are missing.
    map: Vec<Option<Values>>,
    busy: Vec<bool>,
    new: Graph,
}

impl Replacer<'_> {
    fn value(&mut self, v: Value) -> Option<Value> {
        self.emit(v.node)?;
        self.map[v.node as usize].as_ref().map(|values| values[v.result as usize])
    }

    fn emit(&mut self, n: u32) -> Option<()> {
        if self.map[n as usize].is_some() {
            return Some(());
        }
        let node = self.graph.node(n);
        let Some(&k) = self.instance_of.get(&n) else {
            let operands: Option<SmallVec<[Value; 4]>> = node.operands.iter().map(|&v| self.value(v)).collect();
            (self.new.loc, self.new.scope) = (node.loc, node.scope);
            self.map[n as usize] = Some(self.new.push(node.op.clone(), &operands?, node.results.clone()));
            return Some(());
        };
        if std::mem::replace(&mut self.busy[k], true) {
            return None;
        }
        let instance = &self.instances[k];
        let inputs: Option<Vec<Value>> = instance.inputs.iter().map(|&v| self.value(v)).collect();
        let types = instance.outputs.iter().map(|&v| self.graph.ty(v).clone()).collect();
        let first = self.graph.node(*instance.nodes.first().expect("an instance has nodes"));
        (self.new.loc, self.new.scope) = (first.loc, first.scope);
        let call = Op::new(&ops::structural::CALL, [Attr::Region(instance.region.clone())]);
        let results = self.new.push(call, &inputs?, types);
        for &member in &instance.nodes {
            // A placeholder for results that only the block itself uses.
            let hidden = Value { node: u32::MAX, result: 0 };
            self.map[member as usize] = Some(self.graph.node(member).results.iter().map(|_| hidden).collect());
        }
        for (v, result) in instance.outputs.iter().zip(results) {
            self.map[v.node as usize].as_mut().expect("set above")[v.result as usize] = result;
        }
        Some(())
    }
}
