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
#[cfg(test)]
mod fuzz;
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
mod window;

pub use cost::Roofline;
pub use derivation::Derivation;

use crate::driver::Backend;
use crate::precision::{Licence, Licences};
use crate::rules::{self, Phase};
use convert::{Imported, differentiated, export, import};
use derivation::Names;
use igneous_ir::{Graph, Result};
use runner::Runner;
use std::collections::HashSet;
use window::in_windows;

/// Where saturation stops, and what prices are based on. Never time: the result depends on the graph alone.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Rounds of each phase.
    pub iterations: usize,
    /// E-nodes, in one window of the graph.
    pub nodes: usize,
    /// Nodes of a graph that are rewritten together; larger graphs are cut into windows.
    pub window: usize,
    /// New matches of one rule in one round; a rule that has more rests before it is tried again.
    pub matches: usize,
    /// The machine that the graph is for.
    pub machine: Roofline,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { iterations: 10, nodes: 10_000, window: 500, matches: 256, machine: Roofline::default() }
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
pub fn optimise(graph: &Graph, licences: Licences, limits: &Limits, backend: Backend) -> Result<(Graph, Derivation)> {
    let algebra = match backend {
        Backend::Cpu => Phase::Algebra,
        Backend::Cuda => Phase::DeviceAlgebra,
    };
    rewrite(graph, licences, limits, &[algebra, Phase::Choose])
}

/// Rewrites a graph, in windows if it is large.
fn rewrite(graph: &Graph, licences: Licences, limits: &Limits, phases: &[Phase]) -> Result<(Graph, Derivation)> {
    let fixed = differentiated(graph);
    let numbers = derivation::numbers(graph);
    if graph.len() <= limits.window {
        return rewrite_window(&Job { graph, fixed, numbers, licences, limits, phases });
    }
    in_windows(graph, limits.window, |window| {
        let inner = window.graph.nodes();
        let fixed =
            inner.filter(|(i, n)| n.op.name() != "input" && fixed.contains(&window.nodes[*i as usize])).map(|(i, _)| i).collect();
        let mut own: Vec<usize> = window.nodes.iter().map(|&n| numbers[n as usize]).collect();
        for ((v, _), outer) in window.graph.inputs().iter().zip(&window.inputs) {
            own[v.node as usize] += outer.result as usize;
        }
        rewrite_window(&Job { graph: &window.graph, fixed, numbers: own, licences, limits, phases })
    })
}

/// A graph, or a window of one, to be rewritten.
struct Job<'a> {
    graph: &'a Graph,
    /// The nodes that must not be merged with others.
    fixed: HashSet<u32>,
    /// The number of each node's first result in the text of the whole graph.
    numbers: Vec<usize>,
    licences: Licences,
    limits: &'a Limits,
    phases: &'a [Phase],
}

/// Canonicalises, then runs further phases and keeps what they did if it is cheaper.
fn rewrite_window(job: &Job) -> Result<(Graph, Derivation)> {
    let Imported { egraph, root, values } = import(job.graph, &job.fixed, job.licences);
    let machine = &job.limits.machine;
    let mut best = extract::original(&egraph, root, machine);
    let mut runner = Runner::new(egraph);
    let mut rules = Vec::new();
    for &phase in [Phase::Canonicalise].iter().chain(job.phases) {
        rules.extend(rules::rules(phase));
        runner.run(&rules, job.licences, job.limits);
        if let Some(selection) = extract::extract(&runner.egraph, root, machine)
            && selection.cost < best.cost
        {
            best = selection;
        }
    }
    let Runner { egraph, log, .. } = runner;
    let names = Names { egraph: &egraph, values: &values, numbers: &job.numbers };
    let derivation = derivation::derive(job.graph, &names, root, &log, &best);
    Ok((export(&egraph, &best, job.graph)?, derivation))
}
