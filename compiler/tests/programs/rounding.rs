//! How far from the result in f64 rounding may lead.

use igneous_compiler::decompose::{decompose, for_each_region};
use igneous_ir::array::Array;
use igneous_ir::autodiff::expand_gradients;
use igneous_ir::error::Result;
use igneous_ir::graph::{Graph, Region, Value};
use igneous_ir::interp::{Bindings, Oracle, interpret_f64};
use igneous_ir::op::{Attr, Lowering, Op};
use igneous_ir::ops;
use igneous_ir::types::Literal;

/// Compares what was computed for `graph` with the oracle. `rewritten` is the graph of primitives that was compiled.
///
/// # Errors
/// What differs, and by how much.
pub fn compare(graph: &Graph, rewritten: &Graph, inputs: &[Array], expected: &[Oracle], found: &[Array]) -> Result<()> {
    for (k, (oracle, found)) in expected.iter().zip(found).enumerate() {
        if oracle.agrees(found).is_ok() {
            continue;
        }
        let primitives = for_each_region(&expand_gradients(graph)?, &mut |g| decompose(g))?;
        let own = oracle.error_of(&oracle.native) + noise(&primitives, inputs, k)?;
        // Rewriting may make another formula of it, but none that computes with much larger numbers than there were.
        let other = noise(rewritten, inputs, k)?;
        let most = 64.0 * found.dtype().epsilon() * largest(&primitives, inputs)?;
        let extra = own.max(other.min(most));
        oracle.agrees_up_to(found, 4.0 * extra).map_err(|e| e.context(format_args!("output {k}")))?;
    }
    Ok(())
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
/// result that is rounded, and every element of a sum moves by one in its last digit.
fn noise(graph: &Graph, inputs: &[Array], k: usize) -> Result<f64> {
    let still = interpret_f64(graph, inputs)?.swap_remove(k);
    let bindings = Bindings::of(graph, &inputs.iter().map(Array::ty).collect::<Vec<_>>())?;
    let mut most: f64 = 0.0;
    for version in 0..6 {
        let mut signs = Signs { state: version, together: version % 2 == 1 };
        let moved: Vec<Array> =
            inputs.iter().map(|x| if x.dtype().is_float() { jolted(x, &mut signs) } else { x.clone() }).collect();
        let moved = interpret_f64(&disturbed(graph, &bindings, &mut signs)?, &moved)?.swap_remove(k);
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

/// The graph with each rounded result, and each element of a sum, multiplied by a number next to one.
fn disturbed(graph: &Graph, bindings: &Bindings, signs: &mut Signs) -> Result<Graph> {
    graph.rewrite(|g, _, node, operands| {
        let attrs = node.op.attrs().iter().map(|attr| {
            Ok(match attr {
                Attr::Region(region) => Attr::Region(Region::new(disturbed(region.graph(), bindings, signs)?)),
                other => other.clone(),
            })
        });
        let op = Op::new(node.op.record(), attrs.collect::<Result<Vec<_>>>()?);
        if is_exact(&op) {
            return Ok(g.push(op, operands, node.results.clone()));
        }
        let mut jolt = |g: &mut Graph, v: Value| {
            let ty = g.ty(v).clone();
            if !ty.dtype.is_float() {
                return Ok(v);
            }
            let ones = Array::full(Literal::float(ty.dtype, 1.0), bindings.ty(&ty)?.sizes()?);
            let factors = g.add(ops::constant(jolted(&ones, signs)), &[])?[0];
            Ok(g.push(ops::pointwise("mul"), &[v, factors], [ty].into_iter().collect())[0])
        };
        let operands = match op.record().lowering {
            Lowering::Reduction(_) | Lowering::Contraction(_) | Lowering::Scatter(_) => {
                operands.iter().map(|&v| jolt(g, v)).collect::<Result<Vec<_>>>()?
            }
            _ => operands.to_vec(),
        };
        g.push(op, &operands, node.results.clone()).into_iter().map(|v| jolt(g, v)).collect()
    })
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
