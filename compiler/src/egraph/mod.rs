//! Rewriting by equality saturation.
//!
//! A graph becomes an e-graph, rules add equal forms to it, and the cheapest forms are read back as a graph.
//! What the rules are is in [`crate::rules`]; this module is the engine.
//!
//! Invariants: e-nodes united have equal types; every union is in the log or follows from the log by congruence;
//! the result depends on the graph, the licences and the limits alone, never on time, addresses or hash order.

pub(crate) mod analysis;
mod build;
mod convert;
mod cost;
mod derivation;
mod extract;
pub(crate) mod language;
mod matcher;
pub mod pattern;
mod proof;
pub(crate) mod rule;
mod runner;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use cost::Roofline;
pub use derivation::Derivation;

use crate::precision::{Licence, Licences};
use crate::rules::{self, Phase};
use convert::{export, import};
use igneous_ir::{Graph, Result};
use runner::Runner;

/// Where saturation stops, and what prices are based on. Never time: the result depends on the graph alone.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Rounds of each phase.
    pub iterations: usize,
    /// E-nodes.
    pub nodes: usize,
    /// New matches of one rule in one round; a rule that has more rests before it is tried again.
    pub matches: usize,
    /// The machine that the graph is for.
    pub machine: Roofline,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { iterations: 10, nodes: 10_000, matches: 256, machine: Roofline::default() }
    }
}

/// Replaces spelled-out softmax, layer norm, GELU, cross-entropy and their like by the composite operators.
/// For a graph that is yet to be differentiated, so that the composites' fused derivatives are used.
/// Without a licence beyond [`Licence::Exact`] the graph is returned as it is.
///
/// # Errors
/// If the graph is ill typed.
pub fn recognise(graph: &Graph, licences: Licences) -> Result<(Graph, Derivation)> {
    if !licences.grant(Licence::Reassociate) {
        return Ok((graph.clone(), Derivation::empty(&graph.name)));
    }
    rewrite(graph, licences, &Limits::default(), &[Phase::Recognise])
}

/// Replaces the graph by an equal one that costs least by the roofline model, and never by a dearer one.
/// For a graph without `grad` nodes.
///
/// # Errors
/// If the graph is ill typed.
pub fn optimise(graph: &Graph, licences: Licences, limits: &Limits) -> Result<(Graph, Derivation)> {
    rewrite(graph, licences, limits, &[Phase::Algebra, Phase::Choose])
}

/// Canonicalises, then runs further phases and keeps what they did if it is cheaper.
fn rewrite(graph: &Graph, licences: Licences, limits: &Limits, phases: &[Phase]) -> Result<(Graph, Derivation)> {
    let imported = import(graph, licences);
    let root = imported.root;
    let mut best = extract::original(&imported.egraph, root, &limits.machine);
    let mut runner = Runner::new(imported.egraph);
    let mut rules = Vec::new();
    for &phase in [Phase::Canonicalise].iter().chain(phases) {
        rules.extend(rules::rules(phase));
        runner.run(&rules, licences, limits);
        if let Some(selection) = extract::extract(&runner.egraph, root, &limits.machine)
            && selection.cost < best.cost
        {
            best = selection;
        }
    }
    let egraph = runner.egraph;
    let derivation = derivation::derive(graph, &egraph, &imported.values, root, &runner.log, &best);
    Ok((export(&egraph, &best, graph)?, derivation))
}
