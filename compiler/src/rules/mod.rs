//! The rewrite rules, as data. How they are applied is in [`crate::egraph`].
//!
//! A rule is written as mathematics, for example
//!
//! ```text
//! rule!("softmax/exp-sum" [Reassociate]:
//!     exp(x) / broadcast[(s, p)](sum[k](exp(x))) => softmax[a](x);
//!     let a = normalised_axis(x, k, p);
//!     on "x: f32[4, 8], k = [1], s = [4, 8], p = [0]")
//! ```
//!
//! See [`crate::egraph::pattern`] for the notation. Clauses call plain functions on types and attributes. Each example
//! says what the names of the left side stand for; the tests instantiate it, check that the rule fires there, and
//! compare values and gradients of both sides.
//!
//! Rules are directed: a right side is nearer to the form that other rules expect, or cheaper. There is no rule for
//! commutativity (operands are sorted) and none for associativity.

mod activations;
mod algebra;
mod attention;
pub(crate) mod axes;
mod contraction;
mod convolution;
mod factors;
mod fold;
mod identities;
mod index;
mod merge;
mod movement;
mod normalisation;
mod reductions;
mod softmax;
#[cfg(test)]
mod tests;
mod views;

use crate::egraph::rule::Rule;
use std::sync::LazyLock;

/// When a rule is tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Always, and first: every result is simpler than what it replaces.
    Canonicalise,
    /// Before differentiation: composites from their spellings.
    Recognise,
    /// After differentiation: algebra, and views moved to where they cost nothing.
    Algebra,
    /// The same for a device, whose libraries know more operators.
    DeviceAlgebra,
    /// Last: forms that only the price can decide on.
    Choose,
}

/// All rules with the phases they take part in. Rules are tried in this order.
static RULES: LazyLock<Vec<(Rule, &'static [Phase])>> = LazyLock::new(|| {
    use Phase::*;
    let themes: [(Vec<Rule>, &[Phase]); 17] = [
        (fold::rules(), &[Canonicalise]),
        (identities::rules(), &[Canonicalise]),
        (views::rules(), &[Canonicalise]),
        (reductions::rules(), &[Canonicalise]),
        (index::rules(), &[Canonicalise]),
        // Before the graph grows: the parts of a convolution may have phases along another axis.
        (convolution::rules(), &[Algebra, DeviceAlgebra]),
        (convolution::phased(), &[Algebra]),
        (movement::rules(), &[Recognise, Algebra, DeviceAlgebra]),
        (factors::rules(), &[Recognise, Algebra, DeviceAlgebra]),
        (softmax::rules(), &[Recognise]),
        (normalisation::rules(), &[Recognise]),
        (activations::rules(), &[Recognise]),
        (contraction::factors(), &[Recognise, Algebra, DeviceAlgebra]),
        (attention::rules(), &[Recognise]),
        (algebra::rules(), &[Algebra, DeviceAlgebra]),
        (contraction::rules(), &[Algebra, DeviceAlgebra]),
        (merge::rules(), &[Choose]),
    ];
    themes.into_iter().flat_map(|(rules, phases)| rules.into_iter().map(move |r| (r, phases))).collect()
});

/// The rules of a phase.
pub fn rules(phase: Phase) -> Vec<&'static Rule> {
    RULES.iter().filter(|(_, phases)| phases.contains(&phase)).map(|(rule, _)| rule).collect()
}
