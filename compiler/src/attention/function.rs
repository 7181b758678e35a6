//! Attention whose scores are a pointwise function of the products of queries and keys: `softmax(f(q kᵀ, …)) v`.

use igneous_ir::dim::Dim;
use igneous_ir::emit::{Emit, Emitter};
use igneous_ir::error::Result;
use igneous_ir::graph::{Graph, Node, Value, Values};
use igneous_ir::op::Op;
use igneous_ir::ops::{self, ScoreFunction, Scores, SpelledScore, is_pointwise, uniform};
use igneous_ir::types::Shape;
use smallvec::SmallVec;
use std::collections::{BTreeMap, HashMap};

/// The graph with such attention as one operator, as rules have it without a function. For a graph that rules have been applied to and
/// that is yet to be differentiated.
///
/// # Errors
/// If the graph is ill typed.
pub(crate) fn recognise(graph: &Graph) -> Result<Graph> {
    let uses = graph.use_counts();
    let found: BTreeMap<u32, Found> =
        graph.nodes().filter_map(|(i, node)| Some((i, Search { graph, uses: &uses }.attention(node)?))).collect();
    if found.is_empty() {
        return Ok(graph.clone());
    }
    let mut map: HashMap<u32, Values> = HashMap::new();
    let rewritten = graph.rewrite(|g, i, node, operands| {
        let values = match found.get(&i) {
            Some(found) => {
                let inputs = g.inputs().to_vec();
                let known = |v: Value| match graph.inputs().iter().position(|(own, _)| *own == v) {
                    Some(k) => inputs[k].0,
                    None => map[&v.node][v.result as usize],
                };
                Values::from_iter([found.emit(g, &known)?])
            }
            None => g.push(node.op.clone(), operands, node.results.clone()),
        };
        map.insert(i, values.clone());
        Ok(values)
    })?;
    Ok(rewritten.without_dead_nodes())
}

type Axes = SmallVec<[usize; 4]>;

/// The axes of a side of a product: batch, the one contracted, the one free.
struct Side {
    batch: Axes,
    contracted: usize,
    free: usize,
}

impl Side {
    /// None if there are several axes that are contracted or free.
    fn of(op: &Op, [contract, batch]: [&str; 2], rank: usize) -> Option<Side> {
        let batch = op.axes(batch);
        let &[contracted] = op.axes(contract).as_slice() else { return None };
        let mut free = (0..rank).filter(|a| *a != contracted && !batch.contains(a));
        let (first, second) = (free.next()?, free.next());
        second.is_none().then_some(Side { batch, contracted, free: first })
    }

    fn left(op: &Op, rank: usize) -> Option<Side> {
        Side::of(op, ["lhs_contract", "lhs_batch"], rank)
    }

    fn right(op: &Op, rank: usize) -> Option<Side> {
        Side::of(op, ["rhs_contract", "rhs_batch"], rank)
    }

    /// The transposition to batch, position, feature.
    fn order(&self) -> Axes {
        self.batch.iter().copied().chain([self.free, self.contracted]).collect()
    }
}

/// Attention in a graph.
struct Found {
    op: Op,
    /// Queries, keys and values with their transpositions.
    operands: [(Value, Axes); 3],
    mask: Option<Mask>,
    /// What the function is given besides the product.
    given: Vec<Value>,
    /// Whether scores have rows of queries.
    queries_first: bool,
    /// The transposition of the result.
    result: Axes,
}

struct Mask {
    value: Value,
    /// Whether it says what is hidden.
    hides: bool,
}

impl Found {
    fn emit(&self, g: &mut Graph, known: &dyn Fn(Value) -> Value) -> Result<Value> {
        let operands: Vec<Value> = self.operands.iter().map(|(v, _)| known(*v)).collect();
        let others: Vec<Value> = self.mask.iter().map(|mask| mask.value).chain(self.given.iter().copied()).collect();
        let others: Vec<Value> = others.into_iter().map(|v| stretching(g, known(v))).collect::<Result<_>>()?;
        let emitter = Emitter::new(g);
        let mut all: Vec<_> =
            operands.iter().zip(&self.operands).map(|(&v, (_, order))| emitter.value(v).transpose(order)).collect();
        for (k, &v) in others.iter().enumerate() {
            let mut x = emitter.value(v);
            if !self.queries_first {
                let mut order: Axes = (0..x.rank()).collect();
                order.swap(x.rank() - 2, x.rank() - 1);
                x = x.transpose(&order);
            }
            let inverted = k == 0 && self.mask.as_ref().is_some_and(|mask| mask.hides);
            all.push(if inverted { x.pointwise("not") } else { x });
        }
        let y = emitter.apply(self.op.clone(), &all)[0].transpose(&self.result).value;
        emitter.finish()?;
        Ok(y)
    }
}

/// What `value` is a broadcast of, with extents of one for the axes that are added.
fn stretching(g: &mut Graph, value: Value) -> Result<Value> {
    let Node { op, operands, results, .. } = g.node(value.node);
    if op.name() != "broadcast" {
        return Ok(value);
    }
    let (source, axes, full) = (operands[0], op.axes("axes"), results[0].shape.clone());
    if !axes.is_sorted() {
        return Ok(value);
    }
    let shape = (0..full.len()).map(|a| if axes.contains(&a) { full[a] } else { Dim::ONE });
    let reshaped = ops::reshape(shape.collect::<Shape>());
    Ok(g.emit(reshaped, &[source])?[0])
}

/// The largest function that is looked at.
const MOST: usize = 64;

struct Search<'g> {
    graph: &'g Graph,
    uses: &'g [SmallVec<[u32; 2]>],
}

impl Search<'_> {
    fn node(&self, v: Value) -> &Node {
        self.graph.node(v.node)
    }

    fn count(&self, v: Value) -> u32 {
        self.uses[v.node as usize][v.result as usize]
    }

    /// What `v` is, through a conversion between floats that nothing else reads.
    fn unconverted(&self, v: Value) -> Value {
        let node = self.node(v);
        let converts = node.op.name() == "cast" && self.count(v) == 1 && node.results[0].dtype.is_float();
        if converts && self.graph.ty(node.operands[0]).dtype.is_float() { node.operands[0] } else { v }
    }

    /// The attention that a product of weights and values is.
    fn attention(&self, node: &Node) -> Option<Found> {
        if node.op.name() != "dot_general" {
            return None;
        }
        [true, false].into_iter().find_map(|left| self.with_weights(node, left))
    }

    /// With the weights on the left side, or on the right one.
    fn with_weights(&self, node: &Node, left: bool) -> Option<Found> {
        let [weights, v] = if left { [0, 1] } else { [1, 0] }.map(|k| node.operands[k]);
        let rank = self.graph.ty(weights).rank();
        let softmax = self.unconverted(weights);
        if self.node(softmax).op.name() != "softmax" || self.count(softmax) != 1 || self.count(weights) != 1 {
            return None;
        }
        let axis = self.node(softmax).op.int("axis") as usize;
        let ranks = [0, 1].map(|k| self.graph.ty(node.operands[k]).rank());
        let (a, b) = (Side::left(&node.op, ranks[0])?, Side::right(&node.op, ranks[1])?);
        let (of_weights, of_values) = if left { (a, b) } else { (b, a) };
        let queries_first = axis + 1 == rank;
        if rank < 2 || axis + 2 < rank || of_weights.contracted != axis {
            return None;
        }
        let root = self.node(softmax).operands[0];
        let tree = Tree::new(self, root)?;
        let dot = self.node(tree.product);
        let ranks = [0, 1].map(|k| self.graph.ty(dot.operands[k]).rank());
        let sides = [Side::left(&dot.op, ranks[0])?, Side::right(&dot.op, ranks[1])?];
        let dtype = self.graph.ty(dot.operands[0]).dtype;
        if !dtype.is_float() || self.graph.ty(v).dtype != dtype || node.results[0].dtype != dtype || dot.results[0].dtype != dtype
        {
            return None;
        }
        let orders = sides.map(|side| side.order());
        let mut both = [(dot.operands[0], orders[0].clone()), (dot.operands[1], orders[1].clone())];
        if !queries_first {
            both.swap(0, 1);
        }
        let [q, k] = both;
        // Batch axes of the values in the order in which scores have them.
        let place = |axis: usize| of_weights.batch.iter().position(|&b| b == axis).map(|i| of_values.batch[i]);
        let mut order: Axes = (0..rank - 2).map(place).collect::<Option<_>>()?;
        order.extend([of_values.contracted, of_values.free]);
        let (first, second) = if left { (rank - 2, rank - 1) } else { (rank - 1, rank - 2) };
        let result = of_weights.batch.iter().copied().chain([first, second]).collect();
        let Tree { mask, hidden, function, given, .. } = tree;
        let plain = Scores { scale: 1.0, causal: false, hidden };
        let op = match scale_of(function.graph()) {
            Some(scale) if given.is_empty() => ops::attention(Scores { scale, ..plain }),
            _ => ops::flex_attention(plain, function),
        };
        Some(Found { op, operands: [q, k, (v, order)], mask, given, queries_first, result })
    }
}

/// The number that a function multiplies scores with, if it does nothing else.
fn scale_of(function: &Graph) -> Option<f64> {
    let (value, score) = (function.outputs()[0].0, function.inputs()[0].0);
    if value == score {
        return Some(1.0);
    }
    let node = function.node(value.node);
    let literal = |v: Value| {
        let node = function.node(v.node);
        node.op.is(&ops::structural::CONSTANT).then(|| node.op.array("value").literal(0).as_f64())
    };
    let scale = match (node.op.name(), &node.operands[..]) {
        ("mul", &[a, b]) if a == score => literal(b),
        ("mul", &[a, b]) if b == score => literal(a),
        ("div", &[a, b]) if a == score => literal(b).map(|c| 1.0 / c),
        _ => None,
    };
    scale.filter(|scale| scale.is_finite())
}

/// Scores as a function of one product.
struct Tree {
    product: Value,
    mask: Option<Mask>,
    hidden: f64,
    function: ScoreFunction,
    given: Vec<Value>,
}

impl Tree {
    fn new(search: &Search, mut root: Value) -> Option<Tree> {
        let graph = search.graph;
        let shape = &graph.ty(root).shape;
        let mut parts = Parts { search, shape, dependent: HashMap::new(), products: Vec::new() };
        if !parts.depends(root)? {
            return None;
        }
        let &[product] = &parts.products[..] else { return None };
        let (mut mask, mut hidden) = (None, f64::NEG_INFINITY);
        let node = search.node(root);
        if node.op.name() == "select" && search.count(root) == 1 && !parts.depends(node.operands[0])? {
            let [seen, then, otherwise] = [0, 1, 2].map(|k| node.operands[k]);
            let low = |v: Value| uniform(graph, v).map(|l| l.as_f64()).filter(|&l| l <= -1e4);
            match (low(then), low(otherwise)) {
                (None, Some(l)) => (root, mask, hidden) = (then, Some(Mask { value: seen, hides: false }), l),
                (Some(l), None) => (root, mask, hidden) = (otherwise, Some(Mask { value: seen, hides: true }), l),
                _ => {}
            }
        }
        let SpelledScore { function, given, between } = SpelledScore::new(graph, product, root).ok()?;
        // All that is in between is read by nothing else.
        let mut inner: HashMap<Value, u32> = HashMap::from([(root, 1)]);
        for v in &between {
            search.node(*v).operands.iter().for_each(|o| *inner.entry(*o).or_default() += 1);
        }
        let private = between.iter().chain([&product]).all(|v| inner.get(v) == Some(&search.count(*v)));
        private.then_some(Tree { product, mask, hidden, function, given })
    }
}

/// What depends on products of this shape through pointwise operators.
struct Parts<'s> {
    search: &'s Search<'s>,
    shape: &'s [Dim],
    dependent: HashMap<Value, bool>,
    products: Vec<Value>,
}

impl Parts<'_> {
    /// None if there is too much to look at.
    fn depends(&mut self, v: Value) -> Option<bool> {
        if let Some(&known) = self.dependent.get(&v) {
            return Some(known);
        }
        if self.dependent.len() > MOST {
            return None;
        }
        let node = self.search.node(v);
        let full = |v: Value| self.search.graph.ty(v).shape.as_slice() == self.shape;
        let mut depends = false;
        if node.op.name() == "dot_general" && full(v) {
            self.products.push(v);
            depends = true;
        } else if is_pointwise(&node.op) && node.results.len() == 1 && full(v) && node.operands.iter().all(|o| full(*o)) {
            for &operand in &node.operands {
                depends |= self.depends(operand)?;
            }
        }
        self.dependent.insert(v, depends);
        Some(depends)
    }
}
