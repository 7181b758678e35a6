//! Sums over places that the data decide, in any order: first the initial elements, then all updates at once, by atomic additions. Where
//! the order is part of what a kernel means, and for types without such an instruction, a thread does the updates of its points in order.

use igneous_ir::kernel::{AxisKind, Kernel, Section, Stage, Store, Target};
use igneous_ir::op::ReduceKind;
use igneous_ir::types::DType;

/// Whether an update is one instruction.
pub(super) fn is_atomic(kind: ReduceKind, dtype: DType) -> bool {
    kind == ReduceKind::Sum && matches!(dtype, DType::F32 | DType::F64 | DType::I32 | DType::I64 | DType::U32)
}

/// Kernels that compute the same one after the other; the one at hand, if nothing in it is a sum over places.
pub(super) fn split(kernel: &Kernel) -> Vec<Kernel> {
    let scatters: Vec<bool> = kernel.sections.iter().map(|s| splits(kernel, s)).collect();
    let most = kernel.sections.iter().zip(&scatters).filter(|s| *s.1).map(|s| s.0.stages.len()).max();
    let Some(most) = most else { return vec![kernel.clone()] };
    let part = |k: usize| {
        let sections = kernel.sections.iter().zip(&scatters).filter_map(|(section, &scatters)| match scatters {
            true => section.stages.get(k).map(|stage| alone(section, stage)),
            false => (k == 0).then(|| section.clone()),
        });
        let name = if k == 0 { kernel.name.clone() } else { format!("{}_{k}", kernel.name) };
        Kernel { name, sections: sections.collect(), ..kernel.clone() }
    };
    (0..most).map(part).collect()
}

/// Whether the stages of a section can be carried out one after the other, each at all of its indices at once.
fn splits(kernel: &Kernel, section: &Section) -> bool {
    let dtype = |param: u32| kernel.params[param as usize].ty.dtype;
    let stores = |s: &Stage| if let Stage::Map { stores, .. } = s { stores.clone() } else { Vec::new() };
    let all: Vec<Store> = section.stages.iter().flat_map(stores).collect();
    let sums = all.iter().any(|s| matches!(&s.to, Target::Param { combine: Some(_), .. }));
    let independent = |stage: &Stage| match stage {
        Stage::Map { axes, stores } => stores.iter().all(|s| match &s.to {
            Target::Param { param, combine: Some(kind), .. } => is_atomic(*kind, dtype(*param)),
            // Each index has an element of its own.
            Target::Param { index, .. } => {
                axes.iter().all(|&a| index.iter().any(|&i| section.exprs.get(i).op == igneous_ir::scalar::ScalarOp::Axis(a)))
            }
            Target::Local(_) => false,
        }),
        _ => false,
    };
    sums && section.locals.is_empty() && section.stages.iter().all(independent)
}

/// A section of one stage, at all of its indices at once.
fn alone(section: &Section, stage: &Stage) -> Section {
    let mut section = section.clone();
    for &axis in stage.axes() {
        section.axes[axis as usize].kind = AxisKind::Parallel;
    }
    let mut stage = stage.clone();
    if let Stage::Map { axes, .. } = &mut stage {
        axes.clear();
    }
    section.stages = vec![stage];
    section.schedule = Vec::new();
    section
}
