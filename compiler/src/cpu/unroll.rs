//! Reductions over a few elements, written out: the windows of a pooling, beside which a loop would cost more than the work.

use super::lower::combiner;
use igneous_ir::kernel::{AxisKind, LANES, Section, Stage, Store, Target};
use igneous_ir::op::ReduceKind;
use igneous_ir::scalar::{Compare, ExprId, Exprs, MathFn, ScalarOp};
use igneous_ir::types::{DType, Literal};
use std::collections::HashMap;

/// Reductions of more elements stay loops.
const MOST: i64 = 16;
/// So do those of more expressions.
const MOST_EXPRESSIONS: usize = 800;

/// The section with small reductions written out as expressions; none if it has none.
pub(super) fn unrolled(section: &Section) -> Option<Section> {
    let mut new = section.clone();
    let mut changed = false;
    for stage in &mut new.stages {
        let Stage::Reduce { kind, axes, body, to } = stage else { continue };
        let Some(elements) = elements(section, &mut new.exprs, axes, *body) else { continue };
        let values = results(&mut new.exprs, *kind, &elements);
        let stores = values.into_iter().zip(to).map(|(value, &mut to)| Store { value, to: Target::Local(to) });
        *stage = Stage::Map { axes: Vec::new(), stores: stores.collect() };
        changed = true;
    }
    changed.then_some(new)
}

/// The elements in order, if they are few.
fn elements(section: &Section, exprs: &mut Exprs, axes: &[u32], body: ExprId) -> Option<Vec<ExprId>> {
    let extents: Vec<i64> = axes.iter().map(|&a| section.axes[a as usize].extent.as_const()).collect::<Option<_>>()?;
    debug_assert!(axes.iter().all(|&a| section.axes[a as usize].kind == AxisKind::Serial));
    let count = extents.iter().try_fold(1i64, |n, &e| n.checked_mul(e)).filter(|n| (1..=MOST).contains(n))?;
    let inside = exprs.reachable(&[body]);
    let per_index = |id: &ExprId| matches!(exprs.get(*id).op, ScalarOp::Local(_)) && !exprs.get(*id).args.is_empty();
    if inside.len() * count as usize > MOST_EXPRESSIONS || inside.iter().any(per_index) {
        return None;
    }
    let element = |mut at: i64| {
        let mut index = vec![0; axes.len()];
        for (i, &extent) in index.iter_mut().zip(&extents).rev() {
            *i = at % extent;
            at /= extent;
        }
        let known: HashMap<u32, i64> = axes.iter().copied().zip(index).collect();
        at_index(exprs, &inside, &known)
    };
    Some((0..count).map(element).collect())
}

/// The last of `inside`, which are in order, where some axes have known indices.
fn at_index(exprs: &mut Exprs, inside: &[ExprId], known: &HashMap<u32, i64>) -> ExprId {
    let mut new: HashMap<ExprId, ExprId> = HashMap::new();
    for &id in inside {
        let node = exprs.get(id).clone();
        let args: Vec<ExprId> = node.args.iter().map(|a| new[a]).collect();
        let value = match node.op {
            ScalarOp::Axis(a) if let Some(&index) = known.get(&a) => exprs.constant(Literal::int(DType::I64, index)),
            _ if args[..] == node.args[..] => id,
            op => exprs.add(op, &args, node.dtype),
        };
        new.insert(id, value);
    }
    new[inside.last().expect("the body is among them")]
}

/// The results of a reduction of a few elements.
fn results(exprs: &mut Exprs, kind: ReduceKind, elements: &[ExprId]) -> Vec<ExprId> {
    let dtype = exprs.dtype(elements[0]);
    let extremum = |exprs: &mut Exprs| tree(exprs, combiner(kind), elements);
    match kind {
        ReduceKind::ArgMax | ReduceKind::ArgMin => {
            let extremum = extremum(exprs);
            vec![place(exprs, elements, extremum)]
        }
        ReduceKind::OnlineSoftmax => {
            let most = extremum(exprs);
            let powers: Vec<ExprId> = elements
                .iter()
                .map(|&x| {
                    let difference = exprs.add(ScalarOp::Sub, &[x, most], dtype);
                    exprs.add(ScalarOp::Math(MathFn::Exp), &[difference], dtype)
                })
                .collect();
            vec![most, tree(exprs, ScalarOp::Add, &powers)]
        }
        ReduceKind::Welford => {
            let total = tree(exprs, ScalarOp::Add, elements);
            let count = exprs.constant(Literal::int(dtype, elements.len() as i64));
            let mean = exprs.raw(ScalarOp::Div, &[total, count], dtype);
            let squares: Vec<ExprId> = elements
                .iter()
                .map(|&x| {
                    let difference = exprs.add(ScalarOp::Sub, &[x, mean], dtype);
                    exprs.raw(ScalarOp::Mul, &[difference, difference], dtype)
                })
                .collect();
            vec![mean, tree(exprs, ScalarOp::Add, &squares)]
        }
        _ => vec![tree(exprs, combiner(kind), elements)],
    }
}

/// A few elements combined by the tree of reductions.
fn tree(exprs: &mut Exprs, op: ScalarOp, elements: &[ExprId]) -> ExprId {
    debug_assert!(elements.len() <= LANES);
    let dtype = exprs.dtype(elements[0]);
    let mut level = elements.to_vec();
    let mut half = LANES / 2;
    while half > 0 {
        for upper in half..level.len() {
            level[upper - half] = exprs.add(op, &[level[upper - half], level[upper]], dtype);
        }
        level.truncate(half);
        half /= 2;
    }
    level[0]
}

/// The position of the first element that equals the extremum, or is NaN if that is.
fn place(exprs: &mut Exprs, elements: &[ExprId], extremum: ExprId) -> ExprId {
    let number = |exprs: &mut Exprs, n: usize| exprs.constant(Literal::int(DType::I32, n as i64));
    let mut place = number(exprs, elements.len() - 1);
    for (i, &x) in elements.iter().enumerate().rev().skip(1) {
        let mut hit = exprs.add(ScalarOp::Compare(Compare::Eq), &[x, extremum], DType::Bool);
        if exprs.dtype(x).is_float() {
            let nan = exprs.add(ScalarOp::Compare(Compare::Ne), &[x, x], DType::Bool);
            hit = exprs.add(ScalarOp::Or, &[hit, nan], DType::Bool);
        }
        let here = number(exprs, i);
        place = exprs.add(ScalarOp::Select, &[hit, here, place], DType::I32);
    }
    exprs.add(ScalarOp::Cast, &[place], DType::I64)
}
