//! Calls that share their body with no other are replaced by it, so that fusion sees across their border.

use igneous_ir::error::Result;
use igneous_ir::graph::{Graph, Region};
use std::collections::HashMap;

/// The graph without calls of bodies that are called once; none if there is no such call.
///
/// # Errors
/// If the graph is ill typed.
pub fn inline_single_calls(graph: &Graph) -> Result<Option<Graph>> {
    let mut current: Option<Graph> = None;
    loop {
        let graph = current.as_ref().unwrap_or(graph);
        let mut calls: HashMap<&Region, usize> = HashMap::new();
        for (_, node) in graph.nodes().filter(|(_, n)| n.op.name() == "call") {
            *calls.entry(node.op.region("body")).or_default() += 1;
        }
        if !calls.values().any(|&count| count == 1) {
            return Ok(current);
        }
        let inlined = graph.rewrite(|new, _, node, operands| {
            if node.op.name() == "call" && calls[node.op.region("body")] == 1 {
                return Ok(new.inline(node.op.region("body").graph(), operands)?.into());
            }
            Ok(new.push(node.op.clone(), operands, node.results.clone()))
        })?;
        current = Some(inlined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_called_once_is_inlined_and_one_called_twice_is_not() {
        let text = "graph once(%x: f32[2]) -> (f32[2]) { %y = exp(%x) return %y }
          graph twice(%x: f32[2]) -> (f32[2]) { %a = call {body=@once}(%x) %y = neg(%a) return %y }
          graph g(%x: f32[2]) -> (f32[2]) {
            %a = call {body=@twice}(%x) %b = call {body=@twice}(%a) %c = call {body=@once}(%b) return %c }";
        let inlined = inline_single_calls(&Graph::parse(text).unwrap()).unwrap().expect("one call is alone");
        let names: Vec<&str> = inlined.nodes().map(|(_, n)| n.op.name()).collect();
        assert_eq!(names, ["input", "call", "call", "exp"]);
        assert!(inline_single_calls(&inlined).unwrap().is_none());
    }
}
