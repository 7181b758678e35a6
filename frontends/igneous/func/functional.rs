//! Running a module with other parameters than its own.

use crate::bound;
use crate::location::here;
use crate::nn::{Module, ModuleExt};
use crate::tensor::Tensor;
use crate::trace::value_now;
use igneous_ir::{Error, Result};

/// Calls `f` with tensors in the place of a module's parameters, in the order of
/// [`parameters`](crate::nn::ModuleExt::parameters) (`torch.func.functional_call`). So parameters can be the argument of a
/// function that is differentiated or mapped:
///
/// ```
/// use igneous::Tensor;
/// use igneous::func::{functional_call, grad, vmap};
/// use igneous::nn::{Forward, Linear, ModuleExt};
///
/// let net = Linear::new(3, 2);
/// let loss = |parameters: Vec<Tensor>, x: Tensor, label: Tensor| {
///     functional_call(&net, &parameters, || net.forward(&x.unsqueeze(0)).cross_entropy(&label.unsqueeze(0)))
/// };
/// // The gradient of each sample alone.
/// let each = vmap(grad(loss)).in_axes([None, Some(0), Some(0)]);
/// let gradients = each.run((net.parameters(), Tensor::randn((8, 3)), Tensor::zeros(8).to_dtype(igneous::DType::I64)))?;
/// assert_eq!(gradients[0].dims(), [8, 2, 3].map(igneous::Dim::from));
/// # Ok::<(), igneous::Error>(())
/// ```
///
/// Inside, the parameters cannot be assigned, and their gradient slots are those of the module.
///
/// # Errors
/// If there are more or fewer tensors than parameters, or one is invalid or has another type than its parameter.
#[track_caller]
pub fn functional_call<R>(module: &impl Module, parameters: &[Tensor], f: impl FnOnce() -> R) -> Result<R> {
    let loc = here();
    let own = module.named_parameters();
    if own.len() != parameters.len() {
        let message = format!("the module has {} parameters, and {} tensors are to stand for them", own.len(), parameters.len());
        return Err(Error::new(message).at(loc));
    }
    let mut pairs = Vec::new();
    for ((name, variable), tensor) in own.iter().zip(parameters) {
        let (expected, found) = (variable.ty()?, tensor.ty()?);
        if expected != found {
            let error = Error::new(format!("the tensor to stand for `{name}` has another type"));
            return Err(error.note("parameter", variable.describe()).note("tensor", tensor.describe()).at(loc));
        }
        let value = value_now(tensor);
        value.check()?;
        pairs.extend(variable.as_variable().map(|variable| (variable.clone(), value)));
    }
    Ok(bound::with(pairs, f))
}
