//! Merging neighbouring axes that every access walks through together: a map over `[64, 512]` dense elements becomes
//! one over `[32768]`, which vectorises without tails.

use super::exprs::rebuild;
use igneous_ir::dim::Dim;
use igneous_ir::kernel::{AxisKind, Kernel, Param, Section, Stage, Target};
use igneous_ir::scalar::{ExprId, Exprs, ScalarOp};
use igneous_ir::types::DType;

/// Merges all axes of `kernel` that can be. Kernels with several sections or a dot are left alone.
pub fn collapse(kernel: &mut Kernel) {
    if kernel.sections.len() != 1 || kernel.dot().is_some() {
        return;
    }
    drop_unused_axes(&mut kernel.sections[0]);
    while let Some((p, q)) = mergeable_pair(kernel) {
        merge(kernel, p, q);
    }
}

/// A pair of axes `(p, q)`, `q` inside `p`, that every access uses as neighbouring indices of full extent.
fn mergeable_pair(kernel: &Kernel) -> Option<(u32, u32)> {
    let section = &kernel.sections[0];
    let n = section.axes.len() as u32;
    for p in 0..n {
        for q in 0..n {
            if p != q
                && section.axes[p as usize].kind == section.axes[q as usize].kind
                && can_merge(&kernel.params, section, p, q)
            {
                return Some((p, q));
            }
        }
    }
    None
}

fn can_merge(params: &[Param], section: &Section, p: u32, q: u32) -> bool {
    let exprs = &section.exprs;
    if section.axes[p as usize].kind == AxisKind::Serial {
        let together = |axes: &[u32]| match axes.iter().position(|&a| a == p) {
            Some(i) => axes.get(i + 1) == Some(&q),
            None => !axes.contains(&q),
        };
        if !section.stages.iter().all(|s| together(s.axes())) {
            return false;
        }
    }
    let axis = |id: ExprId| match exprs.get(id).op {
        ScalarOp::Axis(a) => Some(a),
        _ => None,
    };
    // Each access must use p and q side by side on axes of the same extents, or neither of them.
    let fits = |param: u32, index: &[ExprId]| {
        let shape = &params[param as usize].ty.shape;
        let at = |a: u32| index.iter().position(|&id| axis(id) == Some(a));
        match (at(p), at(q)) {
            (None, None) => true,
            (Some(i), Some(j)) => {
                j == i + 1 && shape[i] == section.axes[p as usize].extent && shape[j] == section.axes[q as usize].extent
            }
            _ => false,
        }
    };
    let roots: Vec<ExprId> = section.stages.iter().flat_map(Stage::roots).collect();
    let mut accesses: Vec<(u32, Vec<ExprId>)> = Vec::new();
    for stage in &section.stages {
        if let Stage::Map { stores, .. } = stage {
            for store in stores {
                match &store.to {
                    Target::Param { param, index, .. } => accesses.push((*param, index.clone())),
                    Target::Local(_) => return false,
                }
            }
        }
    }
    for id in exprs.reachable(&roots) {
        let node = exprs.get(id);
        match node.op {
            ScalarOp::Load(param) => accesses.push((param, node.args.to_vec())),
            // An axis used in arithmetic, or to index a local, has to stay.
            _ if node.args.iter().any(|&a| matches!(axis(a), Some(x) if x == p || x == q)) => return false,
            _ => {}
        }
        // A stored or reduced value that is an axis itself.
        if matches!(axis(id), Some(x) if x == p || x == q) && is_value_root(section, id) {
            return false;
        }
    }
    // All accesses to one parameter must agree, because its type changes.
    let uses = |param: u32, index: &[ExprId]| index.iter().any(|&id| axis(id) == Some(p)) && fits(param, index);
    accesses.iter().all(|(param, index)| fits(*param, index))
        && accesses.iter().all(|(param, index)| {
            !uses(*param, index)
                || accesses.iter().filter(|(other, _)| other == param).all(|(_, other)| same_places(index, other, &axis, p))
        })
}

fn same_places(a: &[ExprId], b: &[ExprId], axis: &dyn Fn(ExprId) -> Option<u32>, p: u32) -> bool {
    let place = |index: &[ExprId]| index.iter().position(|&id| axis(id) == Some(p));
    place(a) == place(b)
}

fn is_value_root(section: &Section, id: ExprId) -> bool {
    section.stages.iter().any(|s| match s {
        Stage::Map { stores, .. } => stores.iter().any(|s| s.value == id),
        Stage::Reduce { body, .. } => *body == id,
        Stage::Dot { lhs, rhs, .. } => *lhs == id || *rhs == id,
        Stage::Check { ok, value, .. } => *ok == id || *value == id,
    })
}

/// Replaces axes `p` and `q` by one of the product of their extents, in place of `p`.
fn merge(kernel: &mut Kernel, p: u32, q: u32) {
    let section = &kernel.sections[0];
    let extent: Dim = section.axes[p as usize].extent * section.axes[q as usize].extent;
    let mut merged_params = kernel.params.clone();
    let place_of = |index: &[ExprId]| index.iter().position(|&id| section.exprs.get(id).op == ScalarOp::Axis(p));
    let note = |params: &mut [Param], param: u32, index: &[ExprId]| {
        if let Some(i) = place_of(index) {
            let shape = &kernel.params[param as usize].ty.shape;
            let mut new = shape.clone();
            new[i] = extent;
            new.remove(i + 1);
            params[param as usize].ty.shape = new;
        }
    };
    let roots: Vec<ExprId> = section.stages.iter().flat_map(Stage::roots).collect();
    for id in section.exprs.reachable(&roots) {
        if let ScalarOp::Load(param) = section.exprs.get(id).op {
            note(&mut merged_params, param, &section.exprs.get(id).args);
        }
    }
    for store in section.stages.iter().flat_map(stores) {
        if let Target::Param { param, index, .. } = &store.to {
            note(&mut merged_params, *param, index);
        }
    }
    // `q` goes; axes behind it move up.
    let renumber = |a: u32| if a > q { a - 1 } else { a };
    let mut axes = section.axes.clone();
    axes[p as usize].extent = extent;
    axes.remove(q as usize);
    let mut exprs = Exprs::with_axes(axes.iter().map(|a| a.extent).collect());
    let gone = exprs.raw(ScalarOp::Axis(u32::MAX), &[], DType::I64);
    let mut stages = rebuild(section, &mut exprs, |target, op, args, dtype| match op {
        ScalarOp::Axis(a) if a == q => Some(gone),
        ScalarOp::Axis(a) => Some(target.raw(ScalarOp::Axis(renumber(a)), &[], DType::I64)),
        ScalarOp::Load(_) => {
            let kept: Vec<ExprId> = args.iter().copied().filter(|&a| a != gone).collect();
            Some(target.raw(op, &kept, dtype))
        }
        _ => None,
    });
    for stage in &mut stages {
        let map_axes = |axes: &mut Vec<u32>| {
            axes.retain(|&a| a != q);
            axes.iter_mut().for_each(|a| *a = renumber(*a));
        };
        match stage {
            Stage::Map { axes, stores } => {
                map_axes(axes);
                for store in stores {
                    if let Target::Param { index, .. } = &mut store.to {
                        index.retain(|&id| id != gone);
                    }
                }
            }
            Stage::Reduce { axes, .. } | Stage::Check { axes, .. } | Stage::Dot { axes, .. } => map_axes(axes),
        }
    }
    let section = &mut kernel.sections[0];
    (section.axes, section.exprs, section.stages) = (axes, exprs, stages);
    kernel.params = merged_params;
}

fn stores(stage: &Stage) -> &[igneous_ir::kernel::Store] {
    match stage {
        Stage::Map { stores, .. } => stores,
        _ => &[],
    }
}

/// Serial axes that no stage loops over any more disappear.
fn drop_unused_axes(section: &mut Section) {
    let used =
        |a: u32| section.axes[a as usize].kind == AxisKind::Parallel || section.stages.iter().any(|s| s.axes().contains(&a));
    let keep: Vec<bool> = (0..section.axes.len() as u32).map(used).collect();
    if keep.iter().all(|k| *k) {
        return;
    }
    let number: Vec<u32> = keep.iter().scan(0, |n, &k| Some(std::mem::replace(n, *n + u32::from(k)))).collect();
    let axes: Vec<_> = section.axes.iter().zip(&keep).filter(|(_, k)| **k).map(|(a, _)| a.clone()).collect();
    let mut exprs = Exprs::with_axes(axes.iter().map(|a| a.extent).collect());
    let mut stages = rebuild(section, &mut exprs, |target, op, _, _| match op {
        ScalarOp::Axis(a) => Some(target.raw(ScalarOp::Axis(number[a as usize]), &[], DType::I64)),
        _ => None,
    });
    for stage in &mut stages {
        match stage {
            Stage::Map { axes, .. } | Stage::Reduce { axes, .. } | Stage::Check { axes, .. } | Stage::Dot { axes, .. } => {
                axes.iter_mut().for_each(|a| *a = number[*a as usize]);
            }
        }
    }
    (section.axes, section.exprs, section.stages) = (axes, exprs, stages);
}
