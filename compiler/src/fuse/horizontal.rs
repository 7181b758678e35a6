//! Horizontal fusion: independent kernels become sections of one. Those that only update variables run last, those that make
//! results of the graph before them, small ones that read nothing but inputs first.

use super::build::Built;
use super::params::renumber;
use super::units::Units;
use super::{FusionLog, Group, Role};
use crate::driver::Backend;
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
/// The most parameters of a kernel of a device: older drivers take 4096 bytes of them.
const MOST_PARAMS: usize = 448;

/// Merges, at the end, all groups without dots and scatters whose results are read by nobody: those that are new values of
/// variables, and the others; and at the beginning, what remains of those with small results that read only inputs and
/// constants. On a device, where each launch costs more, also conversions of inputs whose results products read.
pub fn merge(
    graph: &Graph,
    units: &Units,
    groups: Vec<Group>,
    variable_outputs: &BTreeSet<Value>,
    (sideways, backend): (Sideways, Backend),
    log: &mut FusionLog,
) -> Vec<Group> {
    let read: BTreeSet<Value> = groups.iter().flat_map(|g| &g.reads).copied().collect();
    let plain = |group: &Group| {
        let role = |&n: &u32| matches!(units.role(n), Role::Map | Role::Reduction);
        group.members.iter().all(role) && !group.outputs.is_empty()
    };
    let is_leaf = |v: &Value| units.role(v.node) == Role::Leaf;
    let small = |v: &Value| graph.ty(*v).elements().as_const().is_some_and(|n| n <= SMALL as i64);
    let waits = |g: &Group| sideways == Sideways::Freely || g.reads.iter().all(|v| is_leaf(v) || small(v));
    let unread = |g: &Group| plain(g) && waits(g) && g.outputs.iter().all(|v| !read.contains(v));
    let updates = |g: &Group| unread(g) && g.outputs.iter().all(|v| variable_outputs.contains(v));
    // A result beside an update could keep it from being written in place, and so could one made from new values.
    let results = |g: &Group| unread(g) && g.outputs.union(&g.reads).all(|v| !variable_outputs.contains(v));
    let converts = |g: &Group| {
        let cast = |&n: &u32| graph.node(n).op.name() == "cast";
        backend == Backend::Cuda && sideways == Sideways::Freely && g.members.iter().all(cast)
    };
    let early = |g: &Group| g.outputs.iter().all(small) || converts(g);
    let first = |g: &Group| plain(g) && !updates(g) && g.reads.iter().all(is_leaf) && early(g);
    let (last, rest): (Vec<Group>, Vec<Group>) = groups.into_iter().partition(updates);
    let (results, rest): (Vec<Group>, Vec<Group>) = rest.into_iter().partition(results);
    let (first, rest): (Vec<Group>, Vec<Group>) = rest.into_iter().partition(first);
    let most = if backend == Backend::Cuda { MOST_PARAMS } else { usize::MAX };
    let mut merged = |groups, what| side_by_side(groups, most, what, log);
    let first = merged(first, "small kernels of inputs");
    let results = merged(results, "results");
    let last = merged(last, "updates of variables");
    first.into_iter().chain(rest).chain(results).chain(last).collect()
}

fn side_by_side(merged: Vec<Group>, most: usize, what: &str, log: &mut FusionLog) -> Vec<Group> {
    if merged.len() > 1 {
        log.push(format!("fuse   {} {what} side by side", merged.len()));
    }
    let mut all: Vec<Group> = Vec::new();
    for group in merged {
        let mut part = group.built.expect("maps and reductions are kernels");
        super::collapse::collapse(&mut part.kernel);
        let params = part.kernel.params.len();
        let into = all.last_mut().filter(|into| into.built.as_ref().is_some_and(|b| b.kernel.params.len() + params <= most));
        match into {
            Some(into) => {
                into.members.extend(&group.members);
                into.reads.extend(&group.reads);
                into.outputs.extend(&group.outputs);
                append(into.built.as_mut().expect("it was looked at above"), part);
            }
            None => all.push(Group { built: Some(part), by_library: None, ..group }),
        }
    }
    all
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
