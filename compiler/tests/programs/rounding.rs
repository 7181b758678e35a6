//! How far from the result in f64 rounding may lead.

use igneous_compiler::Backend;
use igneous_compiler::decompose::{decompose, for_each_region};
use igneous_ir::array::Array;
use igneous_ir::autodiff::expand_gradients;
use igneous_ir::emit::Emitter;
use igneous_ir::error::{Error, Result};
use igneous_ir::graph::{Graph, Region, Value};
use igneous_ir::interp::{Bindings, Oracle, interpret, interpret_f64};
use igneous_ir::op::{Attr, Lowering, Op};
use igneous_ir::ops;
use igneous_ir::types::{DType, Literal};
use std::collections::HashMap;

/// Compares what was computed for `graph` with the oracle. `rewritten` is the graph of primitives that was compiled.
///
/// # Errors
/// What differs, and by how much.
pub fn compare(graph: &Graph, rewritten: &Graph, inputs: &[Array], expected: &[Oracle], found: &[Array]) -> Result<()> {
    for (k, (oracle, found)) in expected.iter().zip(found).enumerate() {
        if oracle.agrees(found).is_ok() {
            continue;
        }
        let primitives = primitives(graph)?;
        let own = oracle.error_of(&oracle.native) + noise(&primitives, inputs, k)?;
        // Rewriting may make another formula of it, but none that computes with much larger numbers than there were.
        let other = noise(&for_each_region(rewritten, &mut written_out)?, inputs, k)?;
        let most = 64.0 * found.dtype().epsilon() * largest(&primitives, inputs)?;
        let extra = own.max(other.min(most));
        // The variance of equal numbers is nothing but the square of the error of their mean, which grows with their count.
        let squared = primitives.nodes().any(|(_, n)| n.op.name() == "welford") && oracle.magnitude() <= extra;
        let slack = if squared { 64.0 } else { 4.0 };
        oracle.agrees_up_to(found, slack * extra).map_err(|e| e.context(format_args!("output {k}")))?;
    }
    Ok(())
}

/// Compares element by element, because numbers of all magnitudes stand side by side.
///
/// # Errors
/// What differs.
pub fn near(found: &Array, native: &Array) -> Result<()> {
    let epsilon = native.dtype().epsilon();
    let smallest = match native.dtype() {
        DType::F64 => 5e-324,
        DType::F32 => 1.4e-45,
        DType::F16 => 6e-8,
        _ => 9.2e-41,
    };
    for i in 0..found.len() {
        let (f, n) = (found.f(i), native.f(i));
        if n.is_finite() && (f - n).abs() > 4.0 * (epsilon * n.abs() + smallest) {
            return Err(Error::new(format!("element {i} is {f:e} where {n:e} is expected")));
        }
    }
    Ok(())
}

/// The graph of primitives that computes the same without rewriting.
///
/// # Errors
/// If a derivative or a decomposition is ill typed.
pub fn primitives(graph: &Graph) -> Result<Graph> {
    for_each_region(&expand_gradients(graph)?, &mut written_out)
}

/// The graph without calls and composites, those that are kernels of their own included.
fn written_out(graph: &Graph) -> Result<Graph> {
    let inlined = graph.rewrite(|g, _, node, operands| match node.op.name() {
        "call" => Ok(g.inline(node.op.region("body").graph(), operands)?.into()),
        _ => Ok(g.push(node.op.clone(), operands, node.results.clone())),
    })?;
    let mut current = decompose(&inlined, Backend::Cpu)?;
    while current.nodes().any(|(_, n)| matches!(n.op.record().lowering, Lowering::Composite(_))) {
        let simpler = current.rewrite(|g, _, node, operands| {
            let Lowering::Composite(rule) = node.op.record().lowering else {
                return Ok(g.push(node.op.clone(), operands, node.results.clone()));
            };
            let emitter = Emitter::new(g);
            let operands: Vec<_> = operands.iter().map(|&v| emitter.value(v)).collect();
            let results = rule(&emitter, &node.op, &operands).into_iter().map(|x| x.value).collect();
            emitter.finish()?;
            Ok(results)
        })?;
        current = decompose(&simpler, Backend::Cpu)?;
    }
    Ok(current)
}

/// The signs of disturbances, by SplitMix64.
struct Signs {
    state: u64,
    /// Whether all elements of a value move together, as they do where they are equal.
    together: bool,
}

impl Signs {
    fn next(&mut self) -> bool {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) & 1 == 1
    }
}

/// The error that rounding may cause in output `k` of a graph of primitives: how far it moves in f64 when every input, every
/// result that is rounded, and every element of a sum moves by one in its last digit, and every product by what is lost when
/// its terms are added one after the other.
fn noise(graph: &Graph, inputs: &[Array], k: usize) -> Result<f64> {
    let still = interpret_f64(graph, inputs)?.swap_remove(k);
    let lost = lost_in_products(graph, inputs)?;
    let bindings = Bindings::of(graph, &inputs.iter().map(Array::ty).collect::<Vec<_>>())?;
    let mut most: f64 = 0.0;
    for version in 0..6 {
        let mut signs = Signs { state: version, together: version % 2 == 1 };
        let moved: Vec<Array> =
            inputs.iter().map(|x| if x.dtype().is_float() { jolted(x, &mut signs) } else { x.clone() }).collect();
        let moved = interpret_f64(&disturbed(graph, &bindings, &mut signs, &lost)?, &moved)?.swap_remove(k);
        most = most.max(still.error_of(&moved.exact));
    }
    Ok(most)
}

/// The largest root mean square of a result outside of regions.
fn largest(graph: &Graph, inputs: &[Array]) -> Result<f64> {
    let mut all = graph.clone();
    for n in 0..graph.len() as u32 {
        graph.results(n).into_iter().filter(|&v| graph.ty(v).dtype.is_float()).for_each(|v| all.output("value", v));
    }
    Ok(interpret_f64(&all, inputs)?.iter().map(Oracle::magnitude).fold(0.0, f64::max))
}

fn jolted(x: &Array, signs: &mut Signs) -> Array {
    let step = x.dtype().epsilon();
    let first = signs.next();
    let mut up = |i: usize| if i == 0 || signs.together { first } else { signs.next() };
    Array::from_fn_f64(x.dtype(), x.shape(), |i| x.f(i) * if up(i) { 1.0 + step } else { 1.0 - step })
}

/// For each product outside of regions, the error of its sums taken in order with every step rounded. Where terms are equal
/// it grows with their number: each addition loses the same.
fn lost_in_products(graph: &Graph, inputs: &[Array]) -> Result<HashMap<u32, Array>> {
    let products: Vec<u32> =
        graph.nodes().filter(|(_, n)| n.op.name() == "dot_general" && n.results[0].dtype.is_float()).map(|(n, _)| n).collect();
    let mut all = graph.clone();
    for node in products.iter().map(|&n| graph.node(n)) {
        node.operands.iter().for_each(|&v| all.output("operand", v));
    }
    let before = graph.outputs().len();
    let mut operands = if products.is_empty() { Vec::new() } else { interpret(&all, inputs)? }.into_iter().skip(before);
    let mut lost = HashMap::new();
    for n in products {
        let given: Vec<Array> = operands.by_ref().take(2).collect();
        let [exact, ordered] = [false, true].map(|ordered| product(&graph.node(n).op, &given, ordered));
        let (exact, ordered) = (exact?, ordered?);
        lost.insert(n, Array::from_fn_f64(exact.dtype(), exact.shape(), |i| ordered.f(i) - exact.f(i)));
    }
    Ok(lost)
}

/// A product of two arrays in f64, or with its terms added in order and rounded.
fn product(op: &Op, given: &[Array], ordered: bool) -> Result<Array> {
    let mut graph = Graph::new("product");
    let inputs: Vec<Value> = given.iter().map(|x| graph.input("x", x.ty())).collect();
    if !ordered {
        let y = graph.add(op.clone(), &inputs)?[0];
        graph.output("y", y);
        return Ok(interpret_f64(&graph, given)?.swap_remove(0).exact);
    }
    let emitter = Emitter::new(&mut graph);
    let mut terms = Vec::new();
    let mut shape = Vec::new();
    // Both operands over all axes of the result, behind one axis of terms.
    let groups = [("lhs_contract", "lhs_batch"), ("rhs_contract", "rhs_batch")].map(|(c, b)| (op.axes(c), op.axes(b)));
    let free = [0, 1].map(|k| {
        let (contracted, batch) = &groups[k];
        (0..given[k].shape().len()).filter(|a| !contracted.contains(a) && !batch.contains(a)).collect::<Vec<usize>>()
    });
    let extents = |k: usize, axes: &[usize]| axes.iter().map(|&a| given[k].shape()[a]).collect::<Vec<usize>>();
    let count: usize = extents(0, &groups[0].0).iter().product();
    shape.push(count);
    shape.extend(extents(0, &groups[0].1));
    let batch = groups[0].1.len();
    shape.extend(extents(0, &free[0]));
    shape.extend(extents(1, &free[1]));
    for k in 0..2 {
        let order: Vec<usize> = groups[k].0.iter().chain(&groups[k].1).chain(&free[k]).copied().collect();
        let first = if k == 0 { 1 + batch } else { 1 + batch + free[0].len() };
        let axes: Vec<usize> = (0..1 + batch).chain(first..first + free[k].len()).collect();
        let dense: Vec<usize> = axes.iter().map(|&a| shape[a]).collect();
        let x = emitter.value(inputs[k]).transpose(&order).reshape(dense);
        terms.push(x.broadcast(shape.iter().map(|&n| n.into()).collect(), &axes).value);
    }
    emitter.finish()?;
    let element = graph.ty(terms[0]).with_shape(shape[1..].iter().copied());
    let mut step = Graph::new("step");
    let [sum, a, b] = ["sum", "a", "b"].map(|name| step.input(name, element.clone()));
    let term = step.add(ops::pointwise("mul"), &[a, b])?[0];
    let next = step.add(ops::pointwise("add"), &[sum, term])?[0];
    step.output("sum", next);
    let zero = graph.add(ops::constant(Array::full(Literal::float(element.dtype, 0.0), &shape[1..])), &[])?[0];
    let total = graph.add(ops::scan(Region::new(step), 0, 1, false, count), &[zero, terms[0], terms[1]])?[0];
    graph.output("y", total);
    Ok(interpret(&graph, given)?.swap_remove(0))
}

/// The graph with each rounded result, and each element of a sum, multiplied by a number next to one, and with what is lost
/// in products.
fn disturbed(graph: &Graph, bindings: &Bindings, signs: &mut Signs, lost: &HashMap<u32, Array>) -> Result<Graph> {
    graph.rewrite(|g, n, node, operands| {
        let attrs = node.op.attrs().iter().map(|attr| {
            Ok(match attr {
                Attr::Region(region) => Attr::Region(Region::new(disturbed(region.graph(), bindings, signs, &HashMap::new())?)),
                other => other.clone(),
            })
        });
        let op = Op::new(node.op.record(), attrs.collect::<Result<Vec<_>>>()?);
        if is_exact(&op) {
            return Ok(g.push(op, operands, node.results.clone()));
        }
        let operands = match op.record().lowering {
            Lowering::Reduction(_) | Lowering::Contraction(_) | Lowering::Scatter(_) => {
                operands.iter().map(|&v| jolted_value(g, v, bindings, signs)).collect::<Result<Vec<_>>>()?
            }
            _ => operands.to_vec(),
        };
        let mut results = g.push(op, &operands, node.results.clone());
        if let Some(lost) = lost.get(&n) {
            let lost = g.add(ops::constant(lost.clone()), &[])?[0];
            let up = if signs.next() { "add" } else { "sub" };
            let types = node.results.clone();
            results = g.push(ops::pointwise(up), &[results[0], lost], types);
        }
        results.into_iter().map(|v| jolted_value(g, v, bindings, signs)).collect()
    })
}

/// The value with each element multiplied by a number next to one.
fn jolted_value(g: &mut Graph, v: Value, bindings: &Bindings, signs: &mut Signs) -> Result<Value> {
    let ty = g.ty(v).clone();
    if !ty.dtype.is_float() {
        return Ok(v);
    }
    let ones = Array::full(Literal::float(ty.dtype, 1.0), bindings.ty(&ty)?.sizes()?);
    let factors = g.add(ops::constant(jolted(&ones, signs)), &[])?[0];
    Ok(g.push(ops::pointwise("mul"), &[v, factors], [ty].into_iter().collect())[0])
}

/// Whether the result is exact where the operands are: nothing is rounded, or in one way only.
pub fn is_exact(op: &Op) -> bool {
    match op.name() {
        "neg" | "abs" | "relu" | "maximum" | "minimum" | "select" | "cast" | "bitcast" | "constant" | "iota"
        | "stop_gradient" | "floor" | "ceil" | "round" | "trunc" | "sign" => true,
        "reshape" | "transpose" | "slice" | "pad" | "concat" | "flip" | "broadcast" | "gather" => true,
        "scatter" => matches!(op.choice("combine"), "none" | "max" | "min"),
        "reduce" | "reduce_window" => matches!(op.choice("kind"), "max" | "min"),
        _ => false,
    }
}
