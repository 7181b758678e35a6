//! What each of PyTorch's operators is called here, and how its arguments are given.

mod functional;
mod images;
mod indexing;
mod losses;
mod matrices;
mod pointwise;
mod reductions;
mod shapes;

use crate::call::{Call, Outputs, Problem};
use igneous::Tensor;

/// Runs a call.
pub type Operator = fn(&Call) -> Outputs;

/// The operator with this name. Variants differ in their arguments alone.
pub fn find(name: &str, _variant: &str) -> Option<Operator> {
    let short = name.strip_prefix("nn.functional.");
    match short {
        Some(name) => functional::find(name).or_else(|| images::find(name)).or_else(|| losses::find(name)),
        None => [pointwise::find, reductions::find, shapes::find, indexing::find, matrices::find].iter().find_map(|f| f(name)),
    }
    // `torch.relu` and `nn.functional.relu` are the same.
    .or_else(|| functional::find(name))
    .or_else(|| short.and_then(pointwise::find))
}

/// Whether the sizes of the results depend on the elements, so that the operator has none under a trace.
pub fn needs_eager_mode(name: &str) -> bool {
    matches!(name, "argwhere" | "masked_select" | "nonzero" | "unique")
}

/// One output.
fn one(tensor: Tensor) -> Outputs {
    Ok(vec![tensor])
}

/// Two outputs.
fn two((a, b): (Tensor, Tensor)) -> Outputs {
    Ok(vec![a, b])
}

/// A shape or other list of lengths.
fn lengths(ints: &[i64]) -> Result<Vec<usize>, Problem> {
    ints.iter().map(|&n| usize::try_from(n).map_err(|_| Problem::Unsupported(format!("{n} is no length")))).collect()
}
