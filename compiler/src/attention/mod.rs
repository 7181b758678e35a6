//! What is done about attention that no rewrite rule can say: functions of scores of any form, heads that share keys and values, and what
//! functions are given on a back end that computes nothing else beside them.

mod function;
mod grouped;
mod hoist;

use igneous_ir::error::Result;
use igneous_ir::graph::Graph;

pub(crate) use hoist::{Hoisted, hoist};

/// Recognises attention with functions of its scores in its spellings, as rules recognise it without, and heads whose keys and values were
/// copied from fewer. For a graph that rules have been applied to and that is yet to be differentiated.
///
/// # Errors
/// If the graph is ill typed.
pub(crate) fn recognise(graph: &Graph) -> Result<Graph> {
    grouped::recognise(&function::recognise(graph)?)
}
