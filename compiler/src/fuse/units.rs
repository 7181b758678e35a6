//! Which nodes are stored and which are computed where they are read.
//!
//! A *unit* is a node whose results are stored unless fusion keeps them inside a kernel. Views and cheap or
//! once-used pointwise nodes are not units: they become part of whatever reads them.

use crate::driver::Backend;
use crate::prepare::of_bytes;
use crate::rules::axes::reshape_groups;
use igneous_ir::dim::Dim;
use igneous_ir::graph::{Graph, Node, Value};
use igneous_ir::op::Lowering;
use igneous_ir::ops;
use igneous_ir::ops::composite::AttentionOperands;
use igneous_ir::types::{DType, Literal, TensorType};
use std::collections::{BTreeMap, BTreeSet};

/// What a node is to fusion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// An input or a constant with many elements.
    Leaf,
    /// Computed where it is read.
    Inline,
    /// A unit computed element by element.
    Map,
    /// A unit that reduces.
    Reduction,
    /// A unit that multiplies and sums: a dot or convolution.
    Contraction,
    /// A unit of products around a softmax: attention and its derivative.
    Attention,
    /// A unit that scatters.
    Scatter,
    /// A unit without results that may fail the run.
    Check,
    /// A unit that is not a kernel: a call or a scan.
    Opaque,
}

/// The role of each node of a graph, and what follows from it.
#[derive(Debug)]
pub struct Units {
    roles: Vec<Role>,
    /// For each node, the last barrier that it depends on: its position, or 0.
    phases: Vec<u32>,
    check_codes: BTreeMap<u32, u32>,
}

/// An inlined expression may cost this many operations per element and be computed by several readers.
const CHEAP: u32 = 2;
/// An expression that costs more operations than this per element is stored once.
const LARGE: u32 = 250;
/// A value that is nested deeper than this in others is stored.
const DEEP: u32 = 48;

impl Units {
    /// Decides the roles. `first_check` numbers the graph's checks.
    pub fn new(graph: &Graph, first_check: u32, backend: Backend) -> Units {
        let uses = Uses::new(graph, backend);
        let mut roles = vec![Role::Leaf; graph.len()];
        let mut cost = vec![0u32; graph.len()];
        let mut depth = vec![0u32; graph.len()];
        let mut math = vec![false; graph.len()];
        let mut near_dot = vec![false; graph.len()];
        let mut near_reduction = vec![false; graph.len()];
        let mut check_codes = BTreeMap::new();
        let masks = if backend == Backend::Cuda { computed_masks(graph) } else { BTreeSet::new() };
        let mut operands: BTreeSet<u32> = attention_operands(graph, &masks).union(&scattered_operands(graph)).copied().collect();
        if backend == Backend::Cuda {
            operands.extend(written_by_products(graph));
            operands.extend(merged_operands(graph));
        }
        // What leaves the graph, or enters a call or loop, is stored. Constants have a place of their own there.
        let opaque = graph.nodes().filter(|(_, n)| is_opaque(n)).flat_map(|(_, n)| &n.operands);
        let entering = opaque.map(|v| without_reshapes(graph, *v)).filter(|v| graph.node(v.node).op.name() != "constant");
        let stored_outputs: BTreeSet<Value> =
            graph.outputs().iter().map(|(v, _)| without_reshapes(graph, *v)).chain(entering).collect();
        for (i, node) in graph.nodes() {
            let n = i as usize;
            let inlined = |roles: &[Role], v: &Value| roles[v.node as usize] == Role::Inline;
            for v in &node.operands {
                if inlined(&roles, v) {
                    cost[n] = cost[n].saturating_add(cost[v.node as usize]);
                    depth[n] = depth[n].max(depth[v.node as usize]);
                    math[n] |= math[v.node as usize];
                    near_dot[n] |= near_dot[v.node as usize];
                    near_reduction[n] |= near_reduction[v.node as usize];
                }
                near_dot[n] |= roles[v.node as usize] == Role::Contraction;
                near_reduction[n] |= roles[v.node as usize] == Role::Reduction;
            }
            roles[n] = match node.op.record().lowering {
                Lowering::Structural if node.op.is(&ops::structural::INPUT) => Role::Leaf,
                // Its elements are stored in the program; a scalar is a literal wherever it is read.
                _ if node.op.is(&ops::structural::CONSTANT) => Role::Leaf,
                Lowering::Structural if node.op.name() == "check" => {
                    check_codes.insert(i, first_check + check_codes.len() as u32);
                    Role::Check
                }
                Lowering::Composite(_) => Role::Attention,
                Lowering::Structural | Lowering::Library => Role::Opaque,
                Lowering::Reduction(_) => Role::Reduction,
                Lowering::Contraction(_) => Role::Contraction,
                Lowering::Scatter(_) => Role::Scatter,
                Lowering::Map(_) => {
                    let (own, own_math) = weight(node);
                    depth[n] += u32::from(node.op.name() != "reshape");
                    cost[n] = cost[n].saturating_add(own);
                    math[n] |= own_math;
                    let output = (0..node.results.len() as u32).any(|result| stored_outputs.contains(&Value { node: i, result }));
                    let view = is_view(node) || is_widened(graph, node, backend);
                    let worth = !view
                        && (uses.contraction[n] && !of_bytes(graph, node)
                            || uses.reduction[n] && near_reduction[n]
                            || uses.count[n] > 1 && (cost[n] > CHEAP || near_dot[n])
                            || uses.expanded[n] && (math[n] || cost[n] > CHEAP));
                    let stored = operands.contains(&i)
                        || output && !matches!(node.op.name(), "reshape" | "barrier")
                        || worth && !masks.contains(&i)
                        || cost[n] > LARGE
                        || depth[n] > DEEP;
                    if stored { Role::Map } else { Role::Inline }
                }
            };
        }
        let mut phases = vec![0; graph.len()];
        for (i, node) in graph.nodes() {
            let last = node.operands.iter().map(|v| phases[v.node as usize]).max().unwrap_or(0);
            phases[i as usize] = if node.op.is(&ops::structural::BARRIER) { i } else { last };
        }
        Units { roles, phases, check_codes }
    }

    /// The last barrier that a node depends on: its position, or 0. What computes something again has another one than what
    /// computes it first.
    pub fn phase(&self, node: u32) -> u32 {
        self.phases[node as usize]
    }

    /// The role of a node.
    pub fn role(&self, node: u32) -> Role {
        self.roles[node as usize]
    }

    /// Whether a node is a unit.
    pub fn is_unit(&self, node: u32) -> bool {
        !matches!(self.role(node), Role::Leaf | Role::Inline)
    }

    /// The number of a check node.
    pub fn check_code(&self, node: u32) -> u32 {
        self.check_codes[&node]
    }

    /// The check nodes in order of their numbers.
    pub fn checks(&self) -> impl Iterator<Item = u32> + '_ {
        self.check_codes.keys().copied()
    }

    /// The value of a constant with one element.
    pub fn literal(&self, graph: &Graph, value: Value) -> Option<Literal> {
        let node = graph.node(value.node);
        (node.op.name() == "constant" && node.op.array("value").len() == 1).then(|| node.op.array("value").literal(0))
    }

    /// Where `value` can be loaded from by a kernel of `members`: itself or what it is a reshape of, if that is stored
    /// by something outside of the kernel.
    pub fn stored_source(&self, graph: &Graph, value: Value, members: &BTreeSet<u32>) -> Option<Value> {
        let source = without_reshapes(graph, value);
        (self.role(source.node) != Role::Inline && !members.contains(&source.node) && self.literal(graph, source).is_none())
            .then_some(source)
    }

    /// The stored values that `unit` reads, through everything inlined.
    pub fn reads(&self, graph: &Graph, unit: u32) -> BTreeSet<Value> {
        let mut reads = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut open: Vec<Value> = graph.node(unit).operands.to_vec();
        while let Some(v) = open.pop() {
            if !seen.insert(v) {
                continue;
            }
            if self.role(v.node) != Role::Inline {
                if self.literal(graph, v).is_none() {
                    reads.insert(v);
                }
            } else {
                open.extend(graph.node(v.node).operands.iter().copied());
            }
        }
        reads
    }
}

/// What `value` is a reshape of, through any number of them and of barriers.
pub fn without_reshapes(graph: &Graph, mut value: Value) -> Value {
    while matches!(graph.node(value.node).op.name(), "reshape" | "barrier") {
        value = graph.node(value.node).operands[0];
    }
    value
}

/// Whether a node runs by itself, and its operands are in memory.
fn is_opaque(node: &Node) -> bool {
    match node.op.record().lowering {
        Lowering::Composite(_) => false,
        Lowering::Library => true,
        _ => node.op.regions().next().is_some(),
    }
}

/// The mask of an attention, and what a function of its scores is given.
fn masks_of(node: &Node) -> impl Iterator<Item = Value> {
    let own = AttentionOperands::of(&node.op, node.operands.len());
    own.into_iter().flat_map(|own| own.like_scores().map(|k| node.operands[k]).collect::<Vec<_>>())
}

/// So much less than a mask are the elements that it is computed from by kernels.
const LESS: f64 = 8.0;

/// What masks are computed with where attention needs them, element by element: comparisons and sums of positions and of few elements,
/// like windows, slopes and borders of documents.
fn computed_masks(graph: &Graph) -> BTreeSet<u32> {
    let mut computed = BTreeSet::new();
    for mask in graph.nodes().flat_map(|(_, node)| masks_of(node)) {
        let most = typical(graph.ty(mask).shape.iter()) / LESS;
        let (mut tree, mut open) = (BTreeSet::new(), vec![mask]);
        let mut cheap = true;
        while let Some(value) = open.pop() {
            let node = graph.node(value.node);
            if is_view(node) || is_of_positions(node) {
                if tree.insert(value.node) {
                    open.extend(&node.operands);
                }
            } else {
                cheap &= typical(graph.ty(value).shape.iter()) <= most;
            }
        }
        // Views of something are read in place.
        if cheap && tree.iter().any(|&n| is_of_positions(graph.node(n))) {
            computed.extend(tree);
        }
    }
    computed
}

/// Whether a node is arithmetic as it is done with positions.
fn is_of_positions(node: &Node) -> bool {
    matches!(
        node.op.name(),
        "add" | "sub" | "mul" | "neg" | "abs" | "minimum" | "maximum" | "eq" | "ne" | "lt" | "le" | "gt" | "ge"
    ) || matches!(node.op.name(), "and" | "or" | "xor" | "not" | "select" | "cast")
}

/// What has to be stored so that attention reads its operands at sums of multiples of their indices: what lies under views.
fn attention_operands(graph: &Graph, computed: &BTreeSet<u32>) -> BTreeSet<u32> {
    let mut stored = BTreeSet::new();
    for (_, node) in graph.nodes().filter(|(_, n)| matches!(n.op.record().lowering, Lowering::Composite(_))) {
        let masks: Vec<Value> = masks_of(node).filter(|mask| computed.contains(&mask.node)).collect();
        for &operand in node.operands.iter().filter(|operand| !masks.contains(operand)) {
            let mut value = operand;
            loop {
                let node = graph.node(value.node);
                match node.op.name() {
                    "broadcast" | "transpose" | "slice" | "flip" | "barrier" => value = node.operands[0],
                    "reshape" if splits(graph.ty(node.operands[0]), &node.results[0]) => value = node.operands[0],
                    "reshape" => break value = without_reshapes(graph, value),
                    _ => break,
                }
            }
            let source = graph.node(value.node);
            // A scalar constant has no place of its own.
            let literal = source.op.is(&ops::structural::CONSTANT) && source.op.array("value").len() == 1;
            stored.insert(if literal { operand.node } else { value.node });
        }
    }
    stored
}

/// A product with at least so many rows or columns for each element of an operand is worth a copy of it.
const WORTH_A_COPY: f64 = 64.0;

/// Transposes that leave a product without one stride for all rows or for all that it sums over: written out once, they are read in
/// place, while a product would gather them for each of its blocks.
fn scattered_operands(graph: &Graph) -> BTreeSet<u32> {
    let mut stored = BTreeSet::new();
    for (_, node) in graph.nodes().filter(|(_, n)| matches!(n.op.name(), "dot_general" | "dot_general_i32")) {
        let sides = [["lhs_contract", "lhs_batch"], ["rhs_contract", "rhs_batch"]];
        for (side, [contract, batch]) in sides.into_iter().enumerate() {
            let operand = graph.node(node.operands[side].node);
            let shape = &graph.ty(node.operands[side]).shape;
            let (contract, batch) = (node.op.axes(contract), node.op.axes(batch));
            let own = typical(shape.iter().enumerate().filter(|(a, _)| !contract.contains(a)).map(|(_, d)| d));
            let uses = typical(node.results[0].shape.iter()) / own.max(1.0);
            if operand.op.name() != "transpose" || uses < WORTH_A_COPY {
                continue;
            }
            let source = operand.op.axes("permutation");
            let wide = |a: &usize| shape[*a] != Dim::ONE;
            let free: Vec<usize> =
                (0..shape.len()).filter(|a| !contract.contains(a) && !batch.contains(a)).filter(wide).collect();
            let summed: Vec<usize> = contract.iter().copied().filter(wide).collect();
            // Axes of extent one may lie between neighbours, which is rare.
            let together = |axes: &[usize]| axes.windows(2).all(|w| source[w[1]] == source[w[0]] + 1);
            if !together(&free) || !together(&summed) {
                stored.insert(node.operands[side].node);
            }
        }
    }
    stored
}

/// A product with at least so many rows or columns for each element of an operand is worth a copy of it that lets a library compute it.
fn worth_a_library(dtype: DType) -> f64 {
    // Of half types it computes so much faster that the copy weighs more.
    if matches!(dtype, DType::F16 | DType::BF16) { 512.0 } else { 64.0 }
}

/// Transposes under operands of products whose axes do not lie side by side although the product takes them as one, as the heads of
/// attention and the elements of a head: written out, libraries can read them.
fn merged_operands(graph: &Graph) -> BTreeSet<u32> {
    let mut stored = BTreeSet::new();
    for (_, node) in graph.nodes().filter(|(_, n)| n.op.name() == "dot_general") {
        for (operand, contract) in node.operands.iter().zip(["lhs_contract", "rhs_contract"]) {
            let merged = graph.node(operand.node);
            let ty = graph.ty(*operand);
            let contract = node.op.axes(contract);
            let own = typical(ty.shape.iter().enumerate().filter(|(a, _)| !contract.contains(a)).map(|(_, d)| d));
            let uses = typical(node.results[0].shape.iter()) / own.max(1.0);
            if merged.op.name() != "reshape" || uses < worth_a_library(ty.dtype) {
                continue;
            }
            let moved = graph.node(merged.operands[0].node);
            let from = &graph.ty(merged.operands[0]).shape;
            if moved.op.name() != "transpose" {
                continue;
            }
            let source = moved.op.axes("permutation");
            let apart = |axes: &[usize]| {
                let wide: Vec<usize> = axes.iter().copied().filter(|&a| from[a] != Dim::ONE).collect();
                wide.windows(2).any(|w| source[w[1]] != source[w[0]] + 1)
            };
            if reshape_groups(from, &ty.shape).is_some_and(|groups| groups.iter().any(|(from, _)| apart(from))) {
                stored.insert(merged.operands[0].node);
            }
        }
    }
    stored
}

/// What a product writes instead of its sums: the same elements, rounded or with axes in another order, if nobody reads them before. A
/// library can do that, and knows nothing of what follows.
fn written_by_products(graph: &Graph) -> BTreeSet<u32> {
    let mut readers: BTreeMap<Value, Vec<u32>> = BTreeMap::new();
    for (i, node) in graph.nodes() {
        node.operands.iter().for_each(|&v| readers.entry(v).or_default().push(i));
    }
    let outputs: BTreeSet<Value> = graph.outputs().iter().map(|(v, _)| *v).collect();
    let narrows = |node: &Node| {
        let half = matches!(node.results[0].dtype, DType::F16 | DType::BF16);
        node.op.name() == "cast" && half && graph.ty(node.operands[0]).dtype == DType::F32
    };
    let follows = |value: Value| {
        let [reader] = readers.get(&value)?[..] else { return None };
        let node = graph.node(reader);
        let written = node.op.name() == "transpose" || narrows(node);
        (written && !outputs.contains(&value)).then_some(Value { node: reader, result: 0 })
    };
    let products = graph.nodes().filter(|(_, n)| matches!(n.op.record().lowering, Lowering::Contraction(_)));
    let last = |(i, _): (u32, &Node)| {
        let sums = Value { node: i, result: 0 };
        std::iter::successors(Some(sums), |&v| follows(v)).last().filter(|&v| v != sums)
    };
    products.filter_map(last).map(|v| v.node).collect()
}

/// The product of extents, symbolic ones taken for ordinary.
fn typical<'a>(extents: impl Iterator<Item = &'a Dim>) -> f64 {
    extents.map(|d| d.as_const().map_or(64.0, |n| n as f64)).product()
}

/// Whether a reshape only splits axes.
fn splits(from: &TensorType, to: &TensorType) -> bool {
    let several = |axes: &[usize]| axes.iter().filter(|&&a| from.shape[a] != Dim::ONE).count() > 1;
    reshape_groups(&from.shape, &to.shape).is_some_and(|groups| !groups.iter().any(|(from, _)| several(from)))
}

/// A view costs address arithmetic only.
fn is_view(node: &Node) -> bool {
    matches!(
        node.op.name(),
        "broadcast" | "reshape" | "transpose" | "slice" | "flip" | "iota" | "extent" | "stop_gradient" | "barrier"
    )
}

/// Whether a node converts elements of a half type: a device moves fewer bytes where they are converted by who reads them, and products
/// read them as they are.
fn is_widened(graph: &Graph, node: &Node, backend: Backend) -> bool {
    let half = |v: Value| matches!(graph.ty(v).dtype, DType::F16 | DType::BF16);
    backend == Backend::Cuda && node.op.name() == "cast" && node.results[0].dtype == DType::F32 && half(node.operands[0])
}

/// Operations per element, and whether one of them is a mathematical function.
fn weight(node: &Node) -> (u32, bool) {
    match node.op.name() {
        _ if is_view(node) => (0, false),
        "random_bits" => (60, true),
        "exp" | "log" | "log1p" | "expm1" | "sin" | "cos" | "tanh" | "erf" | "sigmoid" | "silu" | "softplus" | "pow" => {
            (15, true)
        }
        "div" | "sqrt" | "rsqrt" | "reciprocal" | "rem" => (4, false),
        "gather" | "pad" | "concat" => (3, false),
        _ => (1, false),
    }
}

/// How each node's results are used, looking through views.
struct Uses {
    count: Vec<u32>,
    contraction: Vec<bool>,
    reduction: Vec<bool>,
    expanded: Vec<bool>,
}

impl Uses {
    fn new(graph: &Graph, backend: Backend) -> Uses {
        let n = graph.len();
        let mut uses =
            Uses { count: vec![0; n], contraction: vec![false; n], reduction: vec![false; n], expanded: vec![false; n] };
        for (v, _) in graph.outputs() {
            uses.count[v.node as usize] += 1;
        }
        for (i, node) in graph.nodes().rev() {
            let view = is_view(node) || is_widened(graph, node, backend);
            let hero = matches!(node.op.record().lowering, Lowering::Contraction(_) | Lowering::Composite(_));
            let reduces = matches!(node.op.record().lowering, Lowering::Reduction(_));
            let expands = node.op.name() == "broadcast" && graph.ty(node.operands[0]).elements() != node.results[0].elements();
            let window = node.op.name() == "reduce_window";
            for v in &node.operands {
                let at = v.node as usize;
                uses.count[at] += if view { uses.count[i as usize] } else { 1 };
                uses.contraction[at] |= hero || view && uses.contraction[i as usize];
                uses.reduction[at] |= reduces || view && uses.reduction[i as usize];
                let one = graph.ty(*v).elements() == Dim::ONE;
                uses.expanded[at] |= !one && (expands || window || view && uses.expanded[i as usize]);
            }
        }
        uses
    }
}
