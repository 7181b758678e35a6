//! Horizontal fusion: independent kernels that only update variables become sections of one.

use super::build::Built;
use super::params::renumber;
use super::units::Units;
use super::{FusionLog, Group};
use igneous_ir::graph::Value;
use igneous_ir::kernel::Param;
use std::collections::BTreeSet;

/// Merges, into the place of the last of them, all groups without dots and scatters whose results are new values of
/// variables and are read by nobody else.
pub fn merge(units: &Units, groups: Vec<Group>, variable_outputs: &BTreeSet<Value>, log: &mut FusionLog) -> Vec<Group> {
    let read: BTreeSet<Value> = groups.iter().flat_map(|g| &g.reads).copied().collect();
    let updates = |group: &Group| {
        let plain = group.members.iter().all(|&n| matches!(units.role(n), super::Role::Map | super::Role::Reduction));
        plain && !group.outputs.is_empty() && group.outputs.iter().all(|v| variable_outputs.contains(v) && !read.contains(v))
    };
    if groups.iter().filter(|g| updates(g)).count() < 2 {
        return groups;
    }
    let (merged, mut rest): (Vec<Group>, Vec<Group>) = groups.into_iter().partition(updates);
    log.push(format!("fuse   {} updates of variables side by side", merged.len()));
    let mut built: Option<Built> = None;
    let mut all = Group { members: BTreeSet::new(), reads: BTreeSet::new(), outputs: BTreeSet::new(), built: None };
    for group in merged {
        all.members.extend(&group.members);
        all.reads.extend(&group.reads);
        all.outputs.extend(&group.outputs);
        let mut part = group.built.expect("updates are kernels");
        super::collapse::collapse(&mut part.kernel);
        match &mut built {
            None => built = Some(part),
            Some(built) => append(built, part),
        }
    }
    all.built = built;
    // Nothing reads their results, so the end is a place that respects all dependences.
    rest.push(all);
    rest
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
