//! Horizontal fusion: independent kernels become sections of one. Those that only update variables run last, those that make
//! results of the graph before them, small ones that read nothing but inputs first.

use super::build::Built;
use super::params::renumber;
use super::units::Units;
use super::{FusionLog, Group};
use igneous_ir::graph::{Graph, Value};
use igneous_ir::kernel::Param;
use std::collections::BTreeSet;

/// Which kernels are merged although nothing connects them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sideways {
    /// All that can be: fewest launches.
    #[default]
    Freely,
    /// Not those that would keep large values until the last of them can run: least memory.
    KeepingNothing,
}

/// The most elements that a result of a small kernel has.
const SMALL: usize = 1024;

/// Merges, at the end, all groups without dots and scatters whose results are read by nobody: those that are new values of
/// variables, and the others; and at the beginning, what remains of those with small results that read only inputs and
/// constants.
pub fn merge(
    graph: &Graph,
    units: &Units,
    groups: Vec<Group>,
    variable_outputs: &BTreeSet<Value>,
    sideways: Sideways,
    log: &mut FusionLog,
) -> Vec<Group> {
    let read: BTreeSet<Value> = groups.iter().flat_map(|g| &g.reads).copied().collect();
    let plain = |group: &Group| {
        let role = |&n: &u32| matches!(units.role(n), super::Role::Map | super::Role::Reduction);
        group.members.iter().all(role) && !group.outputs.is_empty()
    };
    let is_leaf = |v: &Value| units.role(v.node) == super::Role::Leaf;
    let small = |v: &Value| graph.ty(*v).elements().as_const().is_some_and(|n| n <= SMALL as i64);
    let waits = |g: &Group| sideways == Sideways::Freely || g.reads.iter().all(|v| is_leaf(v) || small(v));
    let unread = |g: &Group| plain(g) && waits(g) && g.outputs.iter().all(|v| !read.contains(v));
    let updates = |g: &Group| unread(g) && g.outputs.iter().all(|v| variable_outputs.contains(v));
    // A result beside an update could keep it from being written in place, and so could one made from new values.
    let results = |g: &Group| unread(g) && g.outputs.union(&g.reads).all(|v| !variable_outputs.contains(v));
    let first = |g: &Group| plain(g) && !updates(g) && g.reads.iter().all(is_leaf) && g.outputs.iter().all(small);
    let (last, rest): (Vec<Group>, Vec<Group>) = groups.into_iter().partition(updates);
    let (results, rest): (Vec<Group>, Vec<Group>) = rest.into_iter().partition(results);
    let (first, rest): (Vec<Group>, Vec<Group>) = rest.into_iter().partition(first);
    let first = side_by_side(first, "small kernels of inputs", log);
    let results = side_by_side(results, "results", log);
    let last = side_by_side(last, "updates of variables", log);
    first.into_iter().chain(rest).chain(results).chain(last).collect()
}

fn side_by_side(merged: Vec<Group>, what: &str, log: &mut FusionLog) -> Option<Group> {
    if merged.len() > 1 {
        log.push(format!("fuse   {} {what} side by side", merged.len()));
    }
    let mut built: Option<Built> = None;
    let mut all = Group { members: BTreeSet::new(), reads: BTreeSet::new(), outputs: BTreeSet::new(), built: None };
    for group in merged {
        all.members.extend(&group.members);
        all.reads.extend(&group.reads);
        all.outputs.extend(&group.outputs);
        let mut part = group.built.expect("maps and reductions are kernels");
        super::collapse::collapse(&mut part.kernel);
        match &mut built {
            None => built = Some(part),
            Some(built) => append(built, part),
        }
    }
    all.built = Some(built?);
    Some(all)
}

fn append(into: &mut Built, part: Built) {
    let map: Vec<u32> = part
        .kernel
        .params
        .iter()
        .zip(&part.values)
        .map(|(param, &value)| {
            let same = |(p, v): (&Param, &Value)| *v == value && p.ty == param.ty && p.access == param.access;
            let found = into.kernel.params.iter().zip(&into.values).position(same);
            found.unwrap_or_else(|| {
                into.kernel.params.push(param.clone());
                into.values.push(value);
                into.kernel.params.len() - 1
            }) as u32
        })
        .collect();
    for section in part.kernel.sections {
        into.kernel.sections.push(renumber(section, &map));
    }
    for loc in part.kernel.locs {
        if !into.kernel.locs.contains(&loc) {
            into.kernel.locs.push(loc);
        }
    }
}
