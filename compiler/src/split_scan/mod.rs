//! Splitting loops. Of the body of a `scan`,
//! - what depends on constants alone is computed once, in front of the loop;
//! - what depends on constants and sequences alone and is no mere map is computed for all steps at once, in front of it, by
//!   its batch rule: the product of a sequence with a weight is one product over steps and batch;
//! - what no later step depends on is computed for all steps at once behind the loop, where the values it needs can be stacked
//!   with no more traffic than it causes in the loop. A sum over the steps, `sum += a · b`, the gradient of a weight, becomes
//!   one product that is contracted over the steps too.
//!
//! Products may differ in rounding with the number of their rows, and sums with their order: where that licence is not
//! granted, only what depends on constants leaves the loop, and maps.

mod build;
mod last;
mod plan;
mod sum;

pub use last::last_steps;

use crate::precision::Licences;
use igneous_ir::error::Result;
use igneous_ir::graph::{Graph, Value};
use plan::Plan;
use std::fmt;

/// What left which loop.
#[derive(Clone, Debug, Default)]
pub struct SplitLog(Vec<String>);

impl SplitLog {
    /// The lines.
    pub fn lines(&self) -> &[String] {
        &self.0
    }

    fn note(&mut self, plan: &Plan<'_>) {
        let body = plan.body;
        self.0.push(format!("scan {}", body.name));
        let mut line = |what: &str, v: Value| {
            let node = body.node(v.node);
            let at = node.loc.map_or(String::new(), |loc| format!("  // {loc}"));
            self.0.push(format!("  {what}: {} : {}{at}", node.op.name(), body.ty(v)));
        };
        plan.hoisted.iter().for_each(|&v| line("once in front of the loop", v));
        plan.before.iter().for_each(|&v| line("for all steps in front of the loop", v));
        for sum in plan.sums.values() {
            line("added up behind the loop", sum.value());
        }
        for v in plan.results_behind() {
            line("for all steps behind the loop", v);
        }
    }
}

impl fmt::Display for SplitLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// Splits the loops of one graph, not of its regions.
///
/// # Errors
/// If a node is ill typed.
pub fn split(graph: &Graph, licences: Licences, log: &mut SplitLog) -> Result<Graph> {
    if !graph.nodes().any(|(_, n)| n.op.name() == "scan") {
        return Ok(graph.clone());
    }
    graph.rewrite(|g, _, node, operands| {
        if node.op.name() == "scan"
            && let Some(plan) = Plan::new(&node.op, licences)
            // What has no batch rule stays in the loop, and all else with it.
            && let Ok(parts) = plan.parts()
        {
            log.note(&plan);
            return parts.emit(&plan, g, operands);
        }
        Ok(g.push(node.op.clone(), operands, node.results.clone()))
    })
}

#[cfg(test)]
mod tests;
