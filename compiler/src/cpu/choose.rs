//! The choice of the axis along which innermost loops are vectorised.

use super::affine::Affine;
use igneous_ir::dim::Dim;
use igneous_ir::kernel::{AxisKind, Directive, Param, Section, Stage, Target};
use igneous_ir::scalar::ScalarOp;

/// How the innermost loops of a function run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// Along the innermost serial axis of each pass, one element at a time.
    Scalar,
    /// Along the innermost serial axis of each pass.
    Row,
    /// Along this parallel axis.
    Column(u32),
}

impl Form {
    /// The parallel axis that innermost loops run along.
    pub fn column(self) -> Option<u32> {
        match self {
            Form::Column(axis) => Some(axis),
            Form::Scalar | Form::Row => None,
        }
    }

    /// The form that the schedule of a section asks for; our own choice if there is no schedule.
    pub fn of(section: &Section, params: &[Param]) -> Form {
        let directive = section.schedule.iter().find_map(|d| match d {
            Directive::Vec(axis, lanes) => Some((*axis, *lanes)),
            _ => None,
        });
        let choice = if section.schedule.is_empty() { choose_vector_axis(section, params) } else { directive };
        match choice {
            Some((axis, lanes)) if lanes > 1 => match section.axes[axis as usize].kind {
                AxisKind::Parallel => Form::Column(axis),
                AxisKind::Serial => Form::Row,
            },
            _ => Form::Scalar,
        }
    }
}

/// Lanes of the vectorised loops: four 32-bit elements, unrolled four times.
const LANES: u32 = 16;

/// The axis along which the innermost loops of a section are vectorised and the number of lanes, for `vec(axis, lanes)`
/// in its schedule: an innermost serial axis (row form) or a parallel one (column form, for maps over points and for
/// reductions over a strided axis). None if the loops are too short.
pub fn choose_vector_axis(section: &Section, params: &[Param]) -> Option<(u32, u32)> {
    let long = |a: u32| section.axes[a as usize].extent.bounds().1.is_none_or(|hi| hi >= 4);
    let parallel: Vec<u32> = section.parallel().collect();
    // Where accesses say nothing, the later axis is better: results are row-major. Rows are better than columns,
    // because they need no scratch memory.
    let serial = section.stages.iter().filter_map(|s| s.axes().last().copied());
    let candidates = parallel.iter().copied().chain(serial).filter(|&a| long(a));
    let mut best: Option<(i64, u32)> = None;
    for axis in candidates {
        let score = score(section, params, axis);
        if best.is_none_or(|(s, _)| score >= s) {
            best = Some((score, axis));
        }
    }
    best.map(|(_, axis)| (axis, LANES))
}

/// How many more accesses walk through memory element by element along `axis` than do not.
fn score(section: &Section, params: &[Param], axis: u32) -> i64 {
    let exprs = &section.exprs;
    let deepest = section.stages.iter().map(|s| s.axes().len()).max().unwrap_or(0);
    let serial = section.axes[axis as usize].kind == AxisKind::Serial;
    let walk = |param: u32, index: &[igneous_ir::scalar::ExprId]| -> i64 {
        let position = Affine::position(exprs, index, &params[param as usize].ty.shape).through_clamps(exprs, axis);
        let stride = position.coefficient(exprs, axis);
        let scattered = position.terms.iter().any(|&(atom, _)| {
            exprs.get(atom).op != ScalarOp::Axis(axis)
                && exprs.reachable(&[atom]).iter().any(|&id| exprs.get(id).op == ScalarOp::Axis(axis))
        });
        match stride {
            _ if scattered => -2,
            Dim::ONE => 2,
            Dim::ZERO => 0,
            _ => -2,
        }
    };
    let mut total = 0;
    for stage in &section.stages {
        // A loop that does not contain the axis runs one element at a time.
        let weight = if stage.axes().len() == deepest { 4 } else { 1 };
        if serial && stage.axes().last() != Some(&axis) {
            total -= weight;
            continue;
        }
        let mut sum = 0;
        for id in exprs.reachable(&stage.roots()) {
            if let ScalarOp::Load(p) = exprs.get(id).op {
                sum += walk(p, &exprs.get(id).args);
            }
        }
        if let Stage::Map { stores, .. } = stage {
            for store in stores {
                if let Target::Param { param, index, .. } = &store.to {
                    sum += walk(*param, index);
                }
            }
        }
        total += weight * sum;
    }
    total
}
