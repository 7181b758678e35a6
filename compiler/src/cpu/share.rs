//! Elements of a reduction that later passes over the same axes need again: they are kept in scratch memory where
//! computing them is dearer than loading them. A softmax computes each exponential once, not twice.

use super::lower::{Lowered, Pass};
use igneous_ir::kernel::Local;
use igneous_ir::scalar::{ExprId, Exprs, ScalarOp};
use igneous_ir::types::DType;
use smallvec::SmallVec;

/// At least this many operations make an element worth keeping.
const WORTH: usize = 10;
/// At most this many elements are kept: they stay in the second-level cache.
const MAX_ELEMENTS: i64 = 1 << 16;

/// Makes reductions keep elements that later passes of the same point compute again.
pub(super) fn share(low: &mut Lowered) {
    for first in 0..low.passes.len() {
        let Pass::Fold { axes, body, keep: None, .. } = &low.passes[first] else { continue };
        let (axes, body) = (axes.clone(), *body);
        let few = axes.iter().try_fold(1i64, |n, &a| n.checked_mul(low.axes[a as usize].extent.bounds().1?));
        if axes.is_empty() || few.is_none_or(|n| n > MAX_ELEMENTS) || work(&low.exprs, body) < WORTH {
            continue;
        }
        let again = |pass: &Pass| pass.axes() == axes && low.exprs.reachable(&pass.roots()).contains(&body);
        let users: Vec<usize> = (first + 1..low.passes.len()).filter(|&i| again(&low.passes[i])).collect();
        if users.is_empty() {
            continue;
        }
        let dtype = low.exprs.dtype(body);
        let kept = low.locals.len() as u32;
        low.locals.push(Local { name: String::new(), dtype, axes: axes.clone() });
        let index: Vec<ExprId> = axes.iter().map(|&a| low.exprs.raw(ScalarOp::Axis(a), &[], DType::I64)).collect();
        let element = low.exprs.raw(ScalarOp::Local(kept), &index, dtype);
        for user in users {
            replace(&mut low.exprs, &mut low.passes[user], body, element);
        }
        if let Pass::Fold { keep, .. } = &mut low.passes[first] {
            *keep = Some(kept);
        }
    }
}

/// How many operations an expression takes, loads aside; long ones count more.
fn work(exprs: &Exprs, root: ExprId) -> usize {
    let cost = |op: ScalarOp| match op {
        ScalarOp::Literal(_) | ScalarOp::Axis(_) | ScalarOp::Extent(_) | ScalarOp::Load(_) | ScalarOp::Local(_) => 0,
        ScalarOp::Div | ScalarOp::Rem | ScalarOp::Sqrt => 5,
        _ => 1,
    };
    exprs.reachable(&[root]).iter().filter(|&&id| exprs.dtype(id) != DType::I64).map(|&id| cost(exprs.get(id).op)).sum()
}

/// Replaces an expression in the roots of a pass.
fn replace(exprs: &mut Exprs, pass: &mut Pass, old: ExprId, new: ExprId) {
    let mut map: Vec<Option<ExprId>> = vec![None; exprs.len()];
    for id in exprs.reachable(&pass.roots()) {
        let node = exprs.get(id).clone();
        let args: SmallVec<[ExprId; 4]> =
            node.args.iter().map(|a| map[a.0 as usize].expect("arguments come before their users")).collect();
        map[id.0 as usize] = Some(match id {
            _ if id == old => new,
            _ if args == node.args => id,
            _ => exprs.raw(node.op, &args, node.dtype),
        });
    }
    let renew = |id: &mut ExprId| *id = map[id.0 as usize].expect("a root is reachable");
    match pass {
        Pass::Map { stores, .. } => stores.iter_mut().for_each(|s| renew(&mut s.value)),
        Pass::Fold { body, .. } | Pass::Element { body } => renew(body),
        Pass::Find { body, extremum, .. } => {
            renew(body);
            renew(extremum);
        }
        Pass::Check { ok, value, .. } => {
            renew(ok);
            renew(value);
        }
    }
}
