//! Splitting axes whose index is taken apart: a map that reads `x[k / 2]` and compares with `k % 2` becomes one over half as
//! many points which does both elements, without divisions and with one load of what they share.

use super::exprs::rebuild;
use igneous_ir::dim::Dim;
use igneous_ir::kernel::{AxisKind, Kernel, Section, Stage, Target};
use igneous_ir::scalar::{ExprId, Exprs, ScalarOp};
use igneous_ir::types::{DType, Literal};

/// Axes are split by at most this.
const MOST: i64 = 4;
/// A point does at most this many of the former points.
const MOST_COPIES: i64 = 16;
/// The expressions of a point stay below this number.
const MOST_EXPRESSIONS: usize = 600;

/// Splits the axes of each section that is one map.
pub fn split(kernel: &mut Kernel) {
    for section in &mut kernel.sections {
        let Some(factors) = factors(section) else { continue };
        let copies: i64 = factors.iter().product();
        let size = section.exprs.reachable(&roots(section)).len();
        if copies > 1 && copies <= MOST_COPIES && size * copies as usize <= MOST_EXPRESSIONS {
            split_section(section, &factors);
        }
    }
}

fn roots(section: &Section) -> Vec<ExprId> {
    section.stages.iter().flat_map(Stage::roots).collect()
}

/// By what each axis is to be split; 1 for those that stay. None: the section is no map that overwrites.
fn factors(section: &Section) -> Option<Vec<i64>> {
    let [Stage::Map { axes, stores }] = section.stages.as_slice() else { return None };
    let overwrites = |to: &Target| matches!(to, Target::Param { combine: None, .. });
    if !axes.is_empty() || !stores.iter().all(|s| overwrites(&s.to)) {
        return None;
    }
    let exprs = &section.exprs;
    let mut factors = vec![1; section.axes.len()];
    for id in exprs.reachable(&roots(section)) {
        let node = exprs.get(id);
        if !matches!(node.op, ScalarOp::Div | ScalarOp::Rem) || node.dtype != DType::I64 {
            continue;
        }
        let (ScalarOp::Axis(a), Some(by)) = (exprs.get(node.args[0]).op, exprs.literal(node.args[1])) else { continue };
        let (axis, factor, by) = (&section.axes[a as usize], &mut factors[a as usize], by.as_i64());
        let divides = axis.extent.as_const().is_some_and(|n| n > 0 && n % by.max(1) == 0);
        // Two different divisors leave an axis as it is.
        let fits = axis.kind == AxisKind::Parallel && divides && (2..=MOST).contains(&by) && (*factor == 1 || *factor == by);
        *factor = if fits { by } else { 0 };
    }
    factors.iter_mut().filter(|f| **f == 0).for_each(|f| *f = 1);
    Some(factors)
}

/// Makes each axis shorter by its factor, and the map do what all former points of a point did.
fn split_section(section: &mut Section, factors: &[i64]) {
    for (axis, &factor) in section.axes.iter_mut().zip(factors) {
        axis.extent = axis.extent.div_floor(Dim::constant(factor));
    }
    let mut exprs = Exprs::with_axes(section.axes.iter().map(|a| a.extent).collect());
    let mut all = Vec::new();
    for copy in 0..factors.iter().product() {
        let offsets = digits(copy, factors);
        let stages = rebuild(section, &mut exprs, |exprs, op, args, dtype| match op {
            ScalarOp::Axis(a) if factors[a as usize] > 1 => {
                let (factor, offset) = (factors[a as usize], offsets[a as usize]);
                let index = exprs.raw(op, args, dtype);
                let [factor, offset] = [factor, offset].map(|n| exprs.constant(Literal::int(DType::I64, n)));
                let first = exprs.add(ScalarOp::Mul, &[index, factor], dtype);
                Some(exprs.add(ScalarOp::Add, &[first, offset], dtype))
            }
            _ => None,
        });
        for stage in stages {
            match stage {
                Stage::Map { stores, .. } => all.extend(stores),
                _ => unreachable!("the section is one map"),
            }
        }
    }
    section.exprs = exprs;
    section.stages = vec![Stage::Map { axes: Vec::new(), stores: all }];
}

/// The offset along each axis of the `copy`-th former point, the last axis fastest.
fn digits(mut copy: i64, factors: &[i64]) -> Vec<i64> {
    let mut digits = vec![0; factors.len()];
    for (digit, &factor) in digits.iter_mut().zip(factors).rev() {
        *digit = copy % factor;
        copy /= factor;
    }
    digits
}
