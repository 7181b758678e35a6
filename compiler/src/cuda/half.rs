//! Products of half types whose operands are zero in some places: chosen between before they are widened, so that tensor cores take them.

use igneous_ir::kernel::{Kernel, Section, Stage};
use igneous_ir::scalar::{ExprId, Exprs, ScalarOp};
use igneous_ir::types::{DType, Literal};
use std::borrow::Cow;

/// The kernel with `f32(c ? x : 0)` for `c ? f32(x) : 0` in operands of products.
pub(super) fn widened_last(kernel: &Kernel) -> Cow<'_, Kernel> {
    let mut changed = Cow::Borrowed(kernel);
    for (k, section) in kernel.sections.iter().enumerate() {
        let Some(Stage::Dot { lhs, rhs, .. }) = section.stages.first() else { continue };
        if [*lhs, *rhs].iter().any(|&side| choice(&section.exprs, side).is_some()) {
            rewrite(&mut changed.to_mut().sections[k]);
        }
    }
    changed
}

fn rewrite(section: &mut Section) {
    let Some(Stage::Dot { lhs, rhs, .. }) = section.stages.first_mut() else { return };
    for side in [lhs, rhs] {
        if let Some((condition, x, half)) = choice(&section.exprs, *side) {
            let exprs = &mut section.exprs;
            let zero = exprs.constant(Literal::float(half, 0.0));
            let chosen = exprs.raw(ScalarOp::Select, &[condition, x, zero], half);
            *side = exprs.raw(ScalarOp::Cast, &[chosen], DType::F32);
        }
    }
}

/// The condition, the element and its type of an element of a half type that is widened where a condition holds, and zero elsewhere.
fn choice(exprs: &Exprs, side: ExprId) -> Option<(ExprId, ExprId, DType)> {
    let node = exprs.get(side);
    if node.op != ScalarOp::Select || node.dtype != DType::F32 {
        return None;
    }
    let wide = exprs.get(node.args[1]);
    let half = (wide.op == ScalarOp::Cast).then(|| exprs.dtype(wide.args[0]))?;
    let zero = exprs.literal(node.args[2]).is_some_and(|l| l.as_f64().to_bits() == 0);
    (zero && matches!(half, DType::F16 | DType::BF16)).then_some((node.args[0], wide.args[0], half))
}
