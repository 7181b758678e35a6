//! The schedule of a kernel: a pure function of its stages and shapes.

use crate::cpu;
use crate::precision::{Licence, Licences};
use igneous_ir::kernel::{AxisKind, Directive, Kernel, Param, Section, Stage};

/// Sets the schedule of every section.
pub fn schedule(kernel: &mut Kernel) {
    for section in &mut kernel.sections {
        section.schedule = match section.stages.first() {
            Some(Stage::Dot { .. }) => dot(section, &kernel.params),
            _ => loops(section, &kernel.params),
        };
    }
}

/// Adds what a schedule may ask for under these licences.
pub fn license(kernel: &mut Kernel, licences: Licences) {
    if !licences.grant(Licence::Reassociate) {
        return;
    }
    for section in &mut kernel.sections {
        if cpu::winograd_pays(section, &kernel.params) {
            section.schedule.push(Directive::Winograd(2));
        }
    }
}

fn loops(section: &Section, params: &[Param]) -> Vec<Directive> {
    let mut schedule: Vec<Directive> = section.parallel().map(Directive::Bind).collect();
    if let Some((axis, lanes)) = cpu::choose_vector_axis(section, params) {
        schedule.push(Directive::Vec(axis, lanes));
    }
    schedule
}

fn dot(section: &Section, params: &[Param]) -> Vec<Directive> {
    let Some(Stage::Dot { axes, .. }) = section.stages.first() else { return Vec::new() };
    let split = cpu::contracted_parts(section, params);
    let mut schedule: Vec<Directive> = (0..section.axes.len() as u32)
        .filter(|&a| section.axes[a as usize].kind == AxisKind::Parallel)
        .map(Directive::Bind)
        .collect();
    if let (Some(&outermost), true) = (axes.first(), split > 1) {
        schedule.push(Directive::Split(outermost, split as u32));
    }
    schedule
}
