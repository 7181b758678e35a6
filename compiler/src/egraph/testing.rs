//! Rules tried alone.

use super::Limits;
use super::build::build;
use super::convert::{Imported, import};
use super::pattern::Pattern;
use super::proof::{Proof, Prover};
use super::rule::{Binding, Rule};
use super::runner::Runner;
use crate::precision::{Licence, Precision};
use igneous_ir::graph::{Graph, Value};
use igneous_ir::{Error, Result, TensorType};

/// Adds an instance of a pattern to a graph, its roots as outputs.
pub fn instantiate(graph: &mut Graph, pattern: &Pattern, bindings: &[Option<Binding>]) -> Result<()> {
    for value in build(graph, pattern, bindings, &[])? {
        graph.output("", value);
    }
    Ok(())
}

/// Adds a term without names to a graph, its numbers of type `ty`.
pub fn build_like(graph: &mut Graph, pattern: &Pattern, ty: &TensorType) -> Result<Vec<Value>> {
    build(graph, pattern, &[], std::slice::from_ref(ty))
}

/// Applies one rule to a graph, once everywhere; both sides of every application.
///
/// # Errors
/// If the rule does not apply anywhere.
pub fn apply_alone(graph: &Graph, rule: &'static Rule) -> Result<Proof> {
    let Imported { egraph, .. } = import(graph, &Default::default(), Precision::Fast.licences());
    let mut runner = Runner::new(egraph);
    runner.run(&[rule], Precision::Fast.licences(), &Limits { iterations: 1, ..Limits::default() });
    if runner.log.is_empty() {
        return Err(Error::new("the rule does not fire").note("graph", graph));
    }
    let mut prover = Prover::new(&runner.egraph, graph);
    for rewrite in &runner.log {
        prover.compare(rewrite.left, rewrite.right, rewrite.rule.licence == Licence::Exact);
    }
    Ok(prover.finish())
}
