//! Constants instead of what computes them.

use crate::egraph::analysis::{Content, Known};
use crate::egraph::language::ENode;
use crate::egraph::rule::{Constant, Operand, Rule};
use crate::rule;
use igneous_ir::Op;

pub(super) fn rules() -> Vec<Rule> {
    vec![
        rule!("fold/exact" [Exact]: x => c; let c = exact_constant(x); on "x: f32[3] = sqrt(2.0)", "x: i64[2] = square(3.0)"),
        rule!("fold/rounded" [Reassociate]: x => c; let c = rounded_constant(x); on "x: f32[3] = exp(2.0)"),
    ]
}

fn exact_constant(x: Operand) -> Option<Constant> {
    x.known().filter(|k| k.exact).and_then(|k| constant(x, k))
}

fn rounded_constant(x: Operand) -> Option<Constant> {
    x.known().filter(|k| !k.exact).and_then(|k| constant(x, k))
}

/// The constant that `x` is known to be, unless a form of it says so already.
fn constant(x: Operand, known: &Known) -> Option<Constant> {
    let plain = |name: &str| matches!(name, "constant" | "iota" | "extent");
    let said = |(node, op): (&ENode, Option<&Op>)| {
        op.is_some_and(|op| plain(op.name()) || (op.name() == "broadcast" && x.operand(node, 0).is("constant")))
    };
    if x.forms().any(said) {
        return None;
    }
    Some(match &known.content {
        Content::Uniform(literal) => Constant::Filled(x.ty().clone(), *literal),
        Content::Elements(array) => Constant::Elements((**array).clone()),
    })
}
