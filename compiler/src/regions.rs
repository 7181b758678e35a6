//! What is known of decisions and loops before they run: a branch that a constant chooses takes the place of the decision,
//! a carry that the body returns as it was is a constant of the loop, and what nobody reads is neither passed nor computed.

use igneous_ir::array::Array;
use igneous_ir::error::Result;
use igneous_ir::graph::{Graph, Node, Region, Value, Values};
use igneous_ir::op::{Attr, Op};
use igneous_ir::ops;
use igneous_ir::types::{Literal, TensorType};
use smallvec::SmallVec;
use std::collections::HashMap;

/// Simplifies the decisions and loops of a graph, whose regions are simplified.
///
/// # Errors
/// If the graph is ill typed.
pub fn simplify(graph: &Graph) -> Result<Graph> {
    let graph = graph.without_dead_nodes();
    let uses = graph.use_counts();
    graph.rewrite(|g, n, node, operands| {
        let used: Vec<bool> = uses[n as usize].iter().map(|&count| count > 0).collect();
        match node.op.name() {
            "cond" => cond(g, node, operands, &used),
            "scan" | "while" => Loop::of(&node.op).simplified(g, node, operands, &used),
            _ => Ok(g.push(node.op.clone(), operands, node.results.clone())),
        }
    })
}

/// The number that a value is everywhere, as far as its own node tells.
fn constant(graph: &Graph, value: Value) -> Option<Literal> {
    let node = graph.node(value.node);
    match node.op.name() {
        "constant" if node.op.array("value").len() == 1 => Some(node.op.array("value").literal(0)),
        "stop_gradient" | "reshape" | "broadcast" => constant(graph, node.operands[0]),
        _ => None,
    }
}

fn cond(g: &mut Graph, node: &Node, operands: &[Value], used: &[bool]) -> Result<Values> {
    let [then, otherwise] = ["then", "otherwise"].map(|branch| node.op.region(branch));
    let chosen = match constant(g, operands[0]) {
        Some(predicate) if predicate.as_i64() != 0 => Some(then),
        Some(_) => Some(otherwise),
        None => (then == otherwise).then_some(then),
    };
    if let Some(branch) = chosen {
        return Ok(g.inline(branch.graph(), &operands[1..])?.into());
    }
    let branches = [then.graph(), otherwise.graph()];
    // A result that is the same operand in both branches is that operand.
    let passed = |r: usize| {
        let [a, b] = branches.map(|branch| input_at(branch, branch.outputs()[r].0));
        a.filter(|_| a == b)
    };
    let kept: Vec<usize> = (0..used.len()).filter(|&r| used[r] && passed(r).is_none()).collect();
    let outputs = branches.map(|branch| kept.iter().map(|&r| branch.outputs()[r].0).collect::<Vec<_>>());
    let [a, b] = [0, 1].map(|k| reads(branches[k], &outputs[k]));
    let inputs: Vec<usize> = (0..a.len()).filter(|&k| a[k] || b[k]).collect();
    let regions = [0, 1].map(|k| Region::new(restricted(branches[k], &inputs, &outputs[k])));
    let given: Vec<Value> = std::iter::once(operands[0]).chain(inputs.iter().map(|&k| operands[1 + k])).collect();
    let types = kept.iter().map(|&r| node.results[r].clone()).collect();
    let made = g.push(node.op.with_regions(regions), &given, types);
    // What nobody uses has no value: any of its type will do.
    (0..used.len())
        .map(|r| match (kept.iter().position(|&k| k == r), passed(r)) {
            (Some(k), _) => Ok(made[k]),
            (None, Some(k)) => Ok(operands[1 + k]),
            (None, None) => zeros(g, &node.results[r]),
        })
        .collect()
}

/// How the operands and results of a loop are grouped.
struct Loop {
    constants: usize,
    carries: usize,
}

impl Loop {
    fn of(op: &Op) -> Loop {
        let carries = match op.name() {
            "scan" => op.int("carries") as usize,
            _ => op.region("body").graph().outputs().len(),
        };
        Loop { constants: op.int("constants") as usize, carries }
    }

    fn simplified(&self, g: &mut Graph, node: &Node, operands: &[Value], used: &[bool]) -> Result<Values> {
        let &Loop { constants, carries } = self;
        let body = node.op.region("body").graph();
        if never_runs(&node.op) {
            let carried = operands[constants..constants + carries].iter().map(|&v| Ok(v));
            return carried.chain(node.results[carries..].iter().map(|ty| zeros(g, ty))).collect();
        }
        let unchanged: Vec<bool> = (0..carries).map(|i| input_at(body, body.outputs()[i].0) == Some(constants + i)).collect();
        let (outputs, inputs) = self.needed(&node.op, &unchanged, used);
        let kept = |range: std::ops::Range<usize>| range.filter(|&k| inputs[k]);
        let is_carry = |k: usize| (constants..constants + carries).contains(&k) && !unchanged[k - constants];
        let fixed: Vec<usize> = kept(0..constants + carries).filter(|&k| !is_carry(k)).collect();
        let carried: Vec<usize> = (constants..constants + carries).filter(|&k| is_carry(k) && outputs[k - constants]).collect();
        let all: Vec<usize> = fixed.iter().chain(&carried).copied().chain(kept(constants + carries..inputs.len())).collect();
        let stacked = (carries..outputs.len()).filter(|&r| outputs[r]);
        let results: Vec<usize> = carried.iter().map(|k| k - constants).chain(stacked).collect();

        let values: Vec<Value> = results.iter().map(|&r| body.outputs()[r].0).collect();
        let regions: Vec<Region> = (node.op.regions())
            .map(|(name, region)| {
                let decided: Vec<Value> = region.graph().outputs().iter().map(|(v, _)| *v).collect();
                let values = if name == "body" { &values } else { &decided };
                Region::new(restricted(region.graph(), &all, values))
            })
            .collect();
        let mut op = node.op.with_regions(regions).with_attr("constants", Attr::Int(fixed.len() as i64));
        if op.name() == "scan" {
            op = op.with_attr("carries", Attr::Int(carried.len() as i64));
        }
        let given: Vec<Value> = all.iter().map(|&k| operands[k]).collect();
        let types = results.iter().map(|&r| node.results[r].clone()).collect();
        let made = g.push(op, &given, types);
        (0..used.len())
            .map(|r| match results.iter().position(|&k| k == r) {
                Some(k) => Ok(made[k]),
                None if r < carries && unchanged[r] => Ok(operands[constants + r]),
                None => zeros(g, &node.results[r]),
            })
            .collect()
    }

    /// Which outputs of the body are needed in some step, and which of its inputs are read for them or for the condition.
    fn needed(&self, op: &Op, unchanged: &[bool], used: &[bool]) -> (Vec<bool>, Vec<bool>) {
        let body = op.region("body").graph();
        let mut outputs: Vec<bool> = (0..used.len()).map(|r| used[r] && !unchanged.get(r).copied().unwrap_or(false)).collect();
        let decides = op.regions().filter(|(name, _)| *name == "condition").map(|(_, region)| {
            let condition = region.graph();
            reads(condition, &[condition.outputs()[0].0])
        });
        let decides = decides.last().unwrap_or_else(|| vec![false; body.inputs().len()]);
        loop {
            let values: Vec<Value> = (0..outputs.len()).filter(|&r| outputs[r]).map(|r| body.outputs()[r].0).collect();
            let inputs: Vec<bool> = reads(body, &values).into_iter().zip(&decides).map(|(a, b)| a || *b).collect();
            let before = outputs.clone();
            for i in 0..self.carries {
                outputs[i] |= inputs[self.constants + i] && !unchanged[i];
            }
            if outputs == before {
                return (outputs, inputs);
            }
        }
    }
}

fn never_runs(op: &Op) -> bool {
    match op.name() {
        "scan" => op.dim("length").as_const() == Some(0),
        _ => {
            let condition = op.region("condition").graph();
            let never = constant(condition, condition.outputs()[0].0).is_some_and(|holds| holds.as_i64() == 0);
            ops::control::bound(op) == Some(0) || (never && !op.region("condition").contains_check())
        }
    }
}

/// Which input a value is.
fn input_at(graph: &Graph, value: Value) -> Option<usize> {
    graph.inputs().iter().position(|(v, _)| *v == value)
}

/// The nodes that these values or a check depend on.
fn live(graph: &Graph, values: &[Value]) -> Vec<bool> {
    let mut live = vec![false; graph.len()];
    values.iter().for_each(|v| live[v.node as usize] = true);
    for (i, node) in graph.nodes().rev() {
        if live[i as usize] || !node.op.removable() {
            live[i as usize] = true;
            node.operands.iter().for_each(|v| live[v.node as usize] = true);
        }
    }
    live
}

/// Which inputs these values or a check depend on.
fn reads(graph: &Graph, values: &[Value]) -> Vec<bool> {
    let live = live(graph, values);
    graph.inputs().iter().map(|(v, _)| live[v.node as usize]).collect()
}

/// The part of a graph that computes these values from the inputs at these positions.
fn restricted(old: &Graph, inputs: &[usize], outputs: &[Value]) -> Graph {
    let mut new = Graph::new(old.name.clone());
    new.set_scopes(old.scopes().to_vec());
    let mut map: HashMap<Value, Value> = HashMap::new();
    for &k in inputs {
        let (v, name) = &old.inputs()[k];
        map.insert(*v, new.input(name.clone(), old.ty(*v).clone()));
    }
    let live = live(old, outputs);
    for (i, node) in old.nodes().filter(|(i, n)| live[*i as usize] && !n.op.is(&ops::structural::INPUT)) {
        (new.loc, new.scope) = (node.loc, node.scope);
        let operands: SmallVec<[Value; 4]> = node.operands.iter().map(|v| map[v]).collect();
        let results = new.push(node.op.clone(), &operands, node.results.clone());
        map.extend(old.results(i).into_iter().zip(results));
    }
    for v in outputs {
        let name = old.outputs().iter().find(|(o, _)| o == v).map_or_else(String::new, |(_, name)| name.clone());
        new.output(name, map[v]);
    }
    (new.loc, new.scope) = (None, 0);
    new
}

fn zeros(g: &mut Graph, ty: &TensorType) -> Result<Value> {
    let zero = g.add(ops::constant(Array::scalar(Literal::int(ty.dtype, 0))), &[])?[0];
    Ok(if ty.rank() == 0 { zero } else { g.add(ops::broadcast(ty.shape.clone(), &[]), &[zero])?[0] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decompose::for_each_region;
    use igneous_ir::interp::interpret;
    use igneous_ir::verify::verify;

    /// Simplifies the last graph of the text, which must compute the same; gives its text.
    fn simplified(text: &str, inputs: &[Array]) -> String {
        let graph = Graph::parse(text).unwrap_or_else(|e| panic!("{e}"));
        let new = for_each_region(&graph, &mut simplify).and_then(|g| simplify(&g)).unwrap().without_dead_nodes();
        verify(&new).unwrap_or_else(|e| panic!("{e}\n{new}"));
        assert_eq!(interpret(&new, inputs).unwrap(), interpret(&graph, inputs).unwrap(), "{new}");
        new.to_string()
    }

    fn f32s(values: &[f64]) -> Array {
        Array::floats(igneous_ir::DType::F32, [values.len()], values.to_vec())
    }

    fn int(value: i64) -> Array {
        Array::scalar(Literal::int(igneous_ir::DType::I64, value))
    }

    const BRANCHES: &str = "graph then(%x: f32[2], %y: f32[2]) -> (f32[2], f32[2], f32[2]) {
        %a = exp(%x) %b = mul(%a, %a) return %b, %y, %a }
      graph otherwise(%x: f32[2], %y: f32[2]) -> (f32[2], f32[2], f32[2]) {
        %b = neg(%x) %c = log(%y) return %b, %y, %c }";

    #[test]
    fn a_constant_predicate_leaves_one_branch() {
        let text = format!(
            "{BRANCHES} graph g(%x: f32[2], %y: f32[2]) -> (f32[2]) {{
              %p = constant {{value=bool[] [false]}}() %a, %b, %c = cond {{then=@then, otherwise=@otherwise}}(%p, %x, %y)
              return %a }}"
        );
        let new = simplified(&text, &[f32s(&[1.0, 2.0]), f32s(&[3.0, 4.0])]);
        assert!(!new.contains("cond") && !new.contains("exp") && !new.contains("log") && new.contains("neg"), "{new}");
    }

    #[test]
    fn results_that_nobody_reads_or_that_are_operands_are_not_computed() {
        let text = format!(
            "{BRANCHES} graph g(%p: bool[], %x: f32[2], %y: f32[2]) -> (f32[2], f32[2]) {{
              %a, %b, %c = cond {{then=@then, otherwise=@otherwise}}(%p, %x, %y) return %a, %b }}"
        );
        let inputs = [Array::ints(igneous_ir::DType::Bool, [], vec![1]), f32s(&[1.0, 2.0]), f32s(&[3.0, 4.0])];
        let new = simplified(&text, &inputs);
        assert!(!new.contains("log"), "{new}");
        assert!(new.contains("cond {otherwise=@otherwise, then=@then}(%0, %1) : f32[2]\n  return %3, %2"), "{new}");
    }

    /// The carry `k` stays, `u` is read by nobody but itself, and `i` decides.
    const LOOP: &str = "graph more(%w: f32[2], %n: i64[], %i: i64[], %k: f32[2], %u: f32[2], %x: f32[2]) -> (bool[]) {
        %p = lt(%i, %n) return %p }
      graph body(%w: f32[2], %n: i64[], %i: i64[], %k: f32[2], %u: f32[2], %x: f32[2])
          -> (i64[], f32[2], f32[2], f32[2]) {
        %o = constant {value=i64[] [1]}() %j = add(%i, %o) %v = exp(%u) %y = add(%x, %k) return %j, %k, %v, %y }";

    #[test]
    fn carries_that_stay_are_constants_and_dead_ones_go() {
        let text = format!(
            "{LOOP} graph g(%w: f32[2], %n: i64[], %i: i64[], %k: f32[2], %u: f32[2], %x: f32[2]) -> (f32[2], f32[2]) {{
              %j, %l, %v, %y = while {{condition=@more, body=@body, constants=2, bound=-1}}(%w, %n, %i, %k, %u, %x)
              return %l, %y }}"
        );
        let row = || f32s(&[0.5, 0.25]);
        let new = simplified(&text, &[row(), int(3), int(0), row(), row(), row()]);
        assert!(!new.contains("exp"), "{new}");
        assert!(new.contains("constants=2}(%1, %3, %2, %5) : i64[], f32[2]\n  return %3, %7"), "{new}");
    }

    #[test]
    fn loops_that_never_run_are_not_there() {
        let text = format!(
            "{LOOP} graph g(%w: f32[2], %n: i64[], %i: i64[], %k: f32[2], %u: f32[2], %x: f32[2]) -> (f32[2], f32[2]) {{
              %j, %l, %v, %y = while {{condition=@more, body=@body, constants=2, bound=0}}(%w, %n, %i, %k, %u, %x)
              return %v, %y }}"
        );
        let row = || f32s(&[0.5, 0.25]);
        let new = simplified(&text, &[row(), int(3), int(0), row(), row(), row()]);
        assert!(!new.contains("while") && new.ends_with("return %4, %5\n}"), "{new}");
        let text = "graph step(%h: f32[], %x: f32[]) -> (f32[], f32[]) { %k = add(%h, %x) return %k, %k }
          graph g(%h: f32[], %x: f32[0]) -> (f32[], f32[0]) {
            %k, %y = scan {body=@step, constants=0, carries=1, reverse=false, length=0}(%h, %x) return %k, %y }";
        let new = simplified(text, &[Array::floats(igneous_ir::DType::F32, [], vec![1.5]), f32s(&[])]);
        assert!(!new.contains("scan"), "{new}");
    }

    #[test]
    fn checks_stay_in_branches_without_results() {
        let text = "graph then(%x: i64[]) -> (i64[]) {
            %z = constant {value=i64[] [0]}() %p = gt(%x, %z) check {message=\"no\"}(%p, %x) return %x }
          graph otherwise(%x: i64[]) -> (i64[]) { return %x }
          graph g(%p: bool[], %x: i64[]) -> (i64[]) {
            %y = cond {then=@then, otherwise=@otherwise}(%p, %x) return %y }";
        let new = simplified(text, &[Array::ints(igneous_ir::DType::Bool, [], vec![0]), int(-1)]);
        assert!(new.contains("check") && new.contains("cond") && new.ends_with("return %1\n}"), "{new}");
    }
}
