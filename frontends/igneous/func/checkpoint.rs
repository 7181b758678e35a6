//! Trading time for memory: what a function computes is computed again for its derivative.

use super::apply::apply_graph;
use super::closed::{tensors_of, trace};
use crate::apply::try_apply;
use crate::compile::{ArgumentList, Arguments, Function, Value};
use crate::location::entered;
use crate::tensor::Tensor;
use igneous_ir::autodiff::checkpointed;
use igneous_ir::{Loc, Result, ops};

/// Calls `function` so that its derivative keeps nothing of what it computes but the arguments and what it uses of its
/// surroundings (parameters too): it is computed again when the derivative is (`torch.utils.checkpoint`). Results are the same,
/// random numbers included; so are gradients, of parameters too.
///
/// ```
/// use igneous::func::checkpoint;
/// use igneous::nn::{Dropout, Forward, Gelu, Linear, ModuleExt, Sequential};
/// use igneous::Tensor;
///
/// let block = Sequential::new().push(Linear::new(8, 32)).push(Gelu).push(Dropout::new(0.1)).push(Linear::new(32, 8));
/// let x = Tensor::randn((4, 8));
/// let y = checkpoint(|x: Tensor| block.forward(&x), x)?;
/// y.sum_all().backward()?;
/// assert!(block.parameters().iter().all(|p| p.grad().is_some()));
/// # Ok::<(), igneous::Error>(())
/// ```
///
/// # Errors
/// If an argument is invalid, or the function fails or cannot be differentiated.
#[track_caller]
pub fn checkpoint<F: Function<Args>, Args: ArgumentList>(function: F, arguments: impl Arguments<Args>) -> Result<Value<F, Args>> {
    let user = entered();
    apply(&function, &arguments.arguments(), user.loc()).map_err(|e| e.at(user.loc()))
}

fn apply<F: Function<Args>, Args: ArgumentList>(function: &F, arguments: &Args, loc: Loc) -> Result<Value<F, Args>> {
    let tensors = tensors_of(arguments)?;
    let types = tensors.iter().map(Tensor::ty).collect::<Result<_>>()?;
    let closed = trace("checkpoint", function, arguments, tensors, types)?;
    let mut results = match checkpointed(&closed.graph)? {
        Some(regions) => {
            let operands: Vec<&Tensor> = closed.inputs.iter().collect();
            try_apply(ops::custom_vjp(regions), &operands, loc)?.into_vec()
        }
        None => apply_graph(closed.graph.clone(), &closed.inputs, loc)?,
    };
    let assigned = results.split_off(closed.returned);
    closed.commit(&assigned)?;
    Ok(closed.rebuild(results))
}
