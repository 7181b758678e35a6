//! The order of a kernel's parameters.

use super::build::Built;
use super::exprs::rebuild;
use igneous_ir::kernel::{Access, Kernel, Section, Stage, Target};
use igneous_ir::scalar::{Exprs, ScalarOp};

/// Parameters that are read come before those that are written.
pub fn reads_first(built: Built) -> Built {
    let count = built.kernel.params.len();
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|&p| (built.kernel.params[p].access == Access::Write, p));
    let mut map = vec![0; count];
    for (new, &old) in order.iter().enumerate() {
        map[old] = new as u32;
    }
    let Built { kernel, values } = built;
    let sections = kernel.sections.into_iter().map(|s| renumber(s, &map)).collect();
    let params = order.iter().map(|&p| kernel.params[p].clone()).collect();
    Built { kernel: Kernel { params, sections, ..kernel }, values: order.iter().map(|&p| values[p]).collect() }
}

/// The section with parameter `p` called `map[p]`.
pub fn renumber(section: Section, map: &[u32]) -> Section {
    let mut exprs = Exprs::with_axes(section.exprs.axes.clone());
    let mut stages = rebuild(&section, &mut exprs, |target, op, args, dtype| match op {
        ScalarOp::Load(param) => Some(target.raw(ScalarOp::Load(map[param as usize]), args, dtype)),
        _ => None,
    });
    for stage in &mut stages {
        if let Stage::Map { stores, .. } = stage {
            for store in stores {
                if let Target::Param { param, .. } = &mut store.to {
                    *param = map[*param as usize];
                }
            }
        }
    }
    Section { exprs, stages, ..section }
}
