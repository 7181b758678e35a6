//! Batches of decisions: where elements of a batch take different branches, both are computed and one is chosen for each;
//! a loop goes on until the last element is done, and what is done stays as it is.

use super::{Batching, Lane, Made, batch_outputs, batched_outputs};
use crate::emit::{Emit, Emitter};
use crate::error::Result;
use crate::graph::{Graph, Node, Region, Value, Values};
use crate::op::{Attr, Op, ReduceKind};
use crate::ops;
use crate::ops::structural::INPUT;
use crate::types::{DType, TensorType};
use std::collections::HashMap;

impl Batching<'_> {
    /// A `cond`: one branch for the whole batch if the predicate is the same for all of it.
    pub(super) fn cond(&mut self, op: &Op, lanes: &[Lane], operands: &[Value]) -> Result<Values> {
        let [then, otherwise] = ["then", "otherwise"].map(|branch| op.region(branch).graph());
        if lanes[0].batched {
            return self.inline(&chosen(then, otherwise)?, operands);
        }
        let batched: Vec<bool> = lanes[1..].iter().map(|l| l.batched).collect();
        let either = batched_outputs(then, &batched).into_iter().zip(batched_outputs(otherwise, &batched));
        let outputs: Vec<bool> = either.map(|(a, b)| a || b).collect();
        let branch = |graph: &Graph| batch_outputs(graph, &batched, &outputs, self.batcher.extent).map(Region::new);
        let (then, otherwise) = (branch(then)?, branch(otherwise)?);
        let values: Vec<Value> = lanes.iter().map(|l| l.value).collect();
        let made = self.target.emit(ops::cond(then, otherwise), &values)?.into_iter().zip(outputs).collect();
        self.define_all(made, op, lanes)
    }

    pub(super) fn while_loop(&mut self, op: &Op, lanes: &[Lane], operands: &[Value]) -> Result<Values> {
        let [condition, body] = ["condition", "body"].map(|region| op.region(region).graph());
        let constants = op.int("constants") as usize;
        let batched = carried_lanes(body, constants, lanes);
        if batched_outputs(condition, &batched)[0] {
            return self.until_all_are_done(op, lanes, operands);
        }
        let outputs = &batched[constants..];
        let extent = self.batcher.extent;
        let condition = Region::new(batch_outputs(condition, &batched, &[false], extent)?);
        let body = Region::new(batch_outputs(body, &batched, outputs, extent)?);
        let made = self.looped(ops::while_loop(condition, body, constants, ops::control::bound(op)), lanes, &batched)?;
        self.define_all(made, op, lanes)
    }

    /// A loop whose elements end at different steps. A carry more says which ones go on.
    fn until_all_are_done(&mut self, op: &Op, lanes: &[Lane], operands: &[Value]) -> Result<Values> {
        let [condition, body] = ["condition", "body"].map(|region| op.region(region).graph());
        let constants = op.int("constants") as usize;
        let active = self.inline(condition, operands)?[0];
        let lanes: Vec<Lane> = lanes.iter().cloned().chain([self.batcher.lane(active).clone()]).collect();
        let body = frozen(condition, body, constants)?;
        // Whether to go on is decided element by element, from the start or after some steps.
        let mut starts = lanes.clone();
        starts[body.inputs().len() - 1].batched = true;
        let batched = carried_lanes(&body, constants, &starts);
        let extent = self.batcher.extent;
        let new_body = batch_outputs(&body, &batched, &batched[constants..], extent)?;
        let mut any = Graph::new(condition.name.clone());
        let inputs: Vec<Value> =
            new_body.inputs().iter().map(|(v, name)| any.input(name.clone(), new_body.ty(*v).clone())).collect();
        let goes_on = any.emit(ops::reduce(ReduceKind::Or, &[0]), &[inputs[inputs.len() - 1]])?[0];
        any.output("active", goes_on);
        let (condition, new_body) = (Region::new(any), Region::new(new_body));
        let mut made = self.looped(ops::while_loop(condition, new_body, constants, ops::control::bound(op)), &lanes, &batched)?;
        made.pop();
        self.define_all(made, op, &lanes[..lanes.len() - 1])
    }

    /// Emits a loop whose inputs have the axis where `batched` says so.
    fn looped(&mut self, op: Op, lanes: &[Lane], batched: &[bool]) -> Result<Made> {
        let constants = op.int("constants") as usize;
        let mut values = Vec::new();
        for (lane, &batched) in lanes.iter().zip(batched) {
            values.push(if batched { self.batcher.with_axis(self.target, lane)? } else { lane.value });
        }
        Ok(self.target.emit(op, &values)?.into_iter().zip(batched[constants..].iter().copied()).collect())
    }

    /// Applies the nodes of a graph for single elements.
    fn inline(&mut self, graph: &Graph, operands: &[Value]) -> Result<Values> {
        let mut map: HashMap<Value, Value> = graph.inputs().iter().map(|(v, _)| *v).zip(operands.iter().copied()).collect();
        for (i, node) in graph.nodes().filter(|(_, n)| !n.op.is(&INPUT)) {
            let operands: Vec<Value> = node.operands.iter().map(|v| map[v]).collect();
            let results = self.emit(node.op.clone(), &operands)?;
            map.extend(graph.results(i).into_iter().zip(results));
        }
        Ok(graph.outputs().iter().map(|(v, _)| map[v]).collect())
    }

    fn define_all(&mut self, made: Made, op: &Op, lanes: &[Lane]) -> Result<Values> {
        let types: Vec<TensorType> = lanes.iter().map(|l| l.ty.clone()).collect();
        let define = |((value, batched), ty)| self.batcher.define(Lane { value, batched, ty });
        Ok(made.into_iter().zip(op.infer(&types)?).map(define).collect())
    }
}

/// Which inputs of a loop's body have the axis in some step.
fn carried_lanes(body: &Graph, constants: usize, lanes: &[Lane]) -> Vec<bool> {
    let mut batched: Vec<bool> = lanes.iter().map(|l| l.batched).collect();
    loop {
        let outputs = batched_outputs(body, &batched);
        let before = batched.clone();
        batched[constants..].iter_mut().zip(outputs).for_each(|(carry, output)| *carry |= output);
        if batched == before {
            return batched;
        }
    }
}

/// Both branches for one element, of which the predicate, the first input, chooses.
fn chosen(then: &Graph, otherwise: &Graph) -> Result<Graph> {
    let mut graph = Graph::new("chosen");
    let predicate = graph.input("predicate", TensorType::scalar(DType::Bool));
    let mut operands = vec![predicate];
    operands.extend(then.inputs().iter().map(|(v, name)| graph.input(name.clone(), then.ty(*v).clone())));
    let a = graph.inline(&guarded(then)?, &operands)?;
    operands[0] = graph.emit(ops::pointwise("not"), &[predicate])?[0];
    let b = graph.inline(&guarded(otherwise)?, &operands)?;
    for ((a, b), (_, name)) in a.into_iter().zip(b).zip(then.outputs()) {
        let value = select(&mut graph, predicate, a, b)?;
        graph.output(name.clone(), value);
    }
    Ok(graph)
}

/// A step of a loop for one element, which changes nothing once the condition does not hold; the last carry says whether it
/// does.
fn frozen(condition: &Graph, body: &Graph, constants: usize) -> Result<Graph> {
    let mut graph = Graph::new(body.name.clone());
    let mut inputs: Vec<Value> = body.inputs().iter().map(|(v, name)| graph.input(name.clone(), body.ty(*v).clone())).collect();
    let active = graph.input("active", TensorType::scalar(DType::Bool));
    inputs.insert(0, active);
    let next = graph.inline(&guarded(body)?, &inputs)?;
    for (k, v) in next.into_iter().enumerate() {
        let carry = &mut inputs[1 + constants + k];
        *carry = select(&mut graph, active, v, *carry)?;
    }
    for (&v, (_, name)) in inputs[1 + constants..].iter().zip(body.outputs()) {
        graph.output(name.clone(), v);
    }
    let holds = graph.inline(&guarded(condition)?, &inputs)?[0];
    let goes_on = graph.emit(ops::pointwise("and"), &[active, holds])?[0];
    graph.output("active", goes_on);
    Ok(graph)
}

fn select(graph: &mut Graph, predicate: Value, then: Value, otherwise: Value) -> Result<Value> {
    if then == otherwise {
        return Ok(then);
    }
    let emitter = Emitter::new(graph);
    let chosen = emitter.value(predicate).select(emitter.value(then), emitter.value(otherwise)).value;
    emitter.finish()?;
    Ok(chosen)
}

/// The graph with a bool as one more input, the first: where it is false no check fails, and no loop goes on that might not
/// end.
fn guarded(graph: &Graph) -> Result<Graph> {
    let mut new = Graph::new(graph.name.clone());
    new.set_scopes(graph.scopes().to_vec());
    let active = new.input("active", TensorType::scalar(DType::Bool));
    let mut map: HashMap<Value, Value> = HashMap::new();
    for (v, name) in graph.inputs() {
        map.insert(*v, new.input(name.clone(), graph.ty(*v).clone()));
    }
    for (i, node) in graph.nodes().filter(|(_, n)| !n.op.is(&INPUT)) {
        (new.loc, new.scope) = (node.loc, node.scope);
        let mut operands: Vec<Value> = node.operands.iter().map(|v| map[v]).collect();
        let op = guard(&mut new, active, node, &mut operands)?;
        map.extend(graph.results(i).into_iter().zip(new.push(op, &operands, node.results.clone())));
    }
    for (v, name) in graph.outputs() {
        new.output(name.clone(), map[v]);
    }
    (new.loc, new.scope) = (None, 0);
    Ok(new)
}

/// The operator of a node that does nothing where `active` is false, and its operands.
fn guard(graph: &mut Graph, active: Value, node: &Node, operands: &mut Vec<Value>) -> Result<Op> {
    let op = &node.op;
    if op.name() == "check" {
        let emitter = Emitter::new(graph);
        let ok = emitter.value(operands[0]);
        let passive = emitter.value(active).pointwise("not").broadcast_to(&ok.shape());
        operands[0] = ok.binary(ops::pointwise("or"), passive).value;
        emitter.finish()?;
        return Ok(op.clone());
    }
    if !needs_guard(op) {
        return Ok(op.clone());
    }
    operands.insert(usize::from(op.name() == "cond"), active);
    let regions: Vec<Region> = op
        .regions()
        .map(|(name, region)| {
            let mut new = guarded(region.graph())?;
            if (op.name(), name) == ("while", "condition") {
                let goes_on = new.emit(ops::pointwise("and"), &[new.inputs()[0].0, new.outputs()[0].0])?[0];
                new.set_output(0, goes_on);
            }
            Ok(Region::new(new))
        })
        .collect::<Result<_>>()?;
    let op = op.with_regions(regions);
    Ok(match op.name() {
        "scan" | "while" => op.with_attr("constants", Attr::Int(op.int("constants") + 1)),
        _ => op,
    })
}

/// Whether an operator is or has in it a check or a loop that might not end.
fn needs_guard(op: &Op) -> bool {
    matches!(op.name(), "check" | "while") || op.regions().any(|(_, r)| r.graph().nodes().any(|(_, n)| needs_guard(&n.op)))
}

#[cfg(test)]
mod tests {
    use crate::array::Array;
    use crate::batch::batch;
    use crate::dim::Dim;
    use crate::graph::Graph;
    use crate::interp::interpret;
    use crate::types::DType;
    use crate::verify::verify;

    fn batch_of_3(text: &str, batched: &[bool]) -> Graph {
        let g = batch(&Graph::parse(text).unwrap(), batched, Dim::from(3usize)).unwrap();
        verify(&g).unwrap_or_else(|e| panic!("{e}\n{g}"));
        g
    }

    fn ints(values: [i64; 3]) -> Array {
        Array::ints(DType::I64, [3], values.to_vec())
    }

    fn bools(values: [i64; 3]) -> Array {
        Array::ints(DType::Bool, [3], values.to_vec())
    }

    /// Where the predicate is true, a check that `x` is not negative, and a loop that counts it down to zero.
    const TEXT: &str = "graph not_zero(%x: i64[], %n: i64[]) -> (bool[]) {
        %z = constant {value=i64[] [0]}() %p = ne(%x, %z) return %p }
      graph down(%x: i64[], %n: i64[]) -> (i64[], i64[]) {
        %o = constant {value=i64[] [1]}() %y = sub(%x, %o) %m = add(%n, %o) return %y, %m }
      graph then(%x: i64[]) -> (i64[]) {
        %z = constant {value=i64[] [0]}() %p = ge(%x, %z) check {message=\"negative\"}(%p, %x)
        %y, %n = while {condition=@not_zero, body=@down, constants=0, bound=-1}(%x, %z) return %n }
      graph otherwise(%x: i64[]) -> (i64[]) { return %x }
      graph g(%p: bool[], %x: i64[]) -> (i64[]) {
        %y = cond {then=@then, otherwise=@otherwise}(%p, %x) return %y }";

    #[test]
    fn a_branch_that_an_element_does_not_take_neither_fails_nor_runs_for_ever() {
        let g = batch_of_3(TEXT, &[true, true]);
        let out = interpret(&g, &[bools([1, 0, 1]), ints([4, -7, 0])]).unwrap();
        assert_eq!(out, [ints([4, -7, 0])]);
        let told = interpret(&g, &[bools([1, 0, 1]), ints([4, -7, -2])]).unwrap_err();
        assert!(told.to_string().contains("negative\n  value  -2"), "{told}");
    }

    #[test]
    fn a_predicate_that_all_elements_share_chooses_one_branch() {
        let g = batch_of_3(TEXT, &[false, true]);
        assert!(g.to_string().contains("cond"), "{g}");
        let predicate = |p: i64| Array::ints(DType::Bool, [], vec![p]);
        assert_eq!(interpret(&g, &[predicate(1), ints([3, 0, 5])]).unwrap(), [ints([3, 0, 5])]);
        assert_eq!(interpret(&g, &[predicate(0), ints([-3, 0, 5])]).unwrap(), [ints([-3, 0, 5])]);
    }

    /// Every element doubles until it is large enough; the bound is that of the loop, not of an element.
    #[test]
    fn a_loop_goes_on_until_the_last_element_is_done() {
        let text = |bound: i64| {
            format!(
                "graph small(%limit: i64[], %x: i64[]) -> (bool[]) {{ %p = lt(%x, %limit) return %p }}
                 graph doubled(%limit: i64[], %x: i64[]) -> (i64[]) {{ %y = add(%x, %x) return %y }}
                 graph g(%limit: i64[], %x: i64[]) -> (i64[]) {{
                   %y = while {{condition=@small, body=@doubled, constants=1, bound={bound}}}(%limit, %x) return %y }}"
            )
        };
        let limit = Array::ints(DType::I64, [], vec![100]);
        for (bound, expected) in [(-1, [128, 192, 200]), (2, [4, 12, 200])] {
            let out = interpret(&batch_of_3(&text(bound), &[false, true]), &[limit.clone(), ints([1, 3, 200])]).unwrap();
            assert_eq!(out, [ints(expected)]);
        }
        let out = interpret(&batch_of_3(&text(-1), &[true, false]), &[ints([100, 1, 9]), Array::ints(DType::I64, [], vec![1])]);
        assert_eq!(out.unwrap(), [ints([128, 1, 16])]);
    }
}
