//! Limiting gradients before a step.

use super::group::{commit_gradients, not_negative, undisturbed};
use crate::location::{called_from, here};
use crate::tensor::Tensor;
use igneous_ir::{Error, Result};

/// Scales all gradients so that their `p`-norm together is at most `max_norm`, and returns what it was
/// (`torch.nn.utils.clip_grad_norm_`, whose default `p` is 2; infinity is the largest element).
///
/// ```
/// use igneous::{Tensor, optim::clip_grad_norm};
/// let w = Tensor::parameter(Tensor::new([3.0, 4.0]));
/// (w.square().sum_all() / 2.0).backward()?;
/// assert_eq!(clip_grad_norm(&[w.clone()], 1.0, 2.0)?.item()?, 5.0);
/// igneous::testing::assert_values(&w.grad().unwrap(), &[0.6, 0.8], 1e-6);
/// # Ok::<(), igneous::Error>(())
/// ```
///
/// # Errors
/// If a gradient is invalid, or `max_norm` is negative or NaN. No gradient has changed then.
#[track_caller]
pub fn clip_grad_norm(parameters: &[Tensor], max_norm: f64, p: f64) -> Result<Tensor> {
    let loc = here();
    not_negative("max_norm", max_norm).map_err(|e| e.at(loc))?;
    called_from(loc, || {
        undisturbed(|| {
            let gradients = gradients(parameters);
            let norms: Vec<Tensor> = gradients.iter().map(|(_, g)| g.flatten_all().norm_p(p, 0)).collect();
            if norms.is_empty() {
                return Ok(Tensor::scalar(0.0));
            }
            let dtype = norms.iter().map(Tensor::dtype).reduce(crate::tensor::promote).expect("there is a gradient");
            let norms: Vec<Tensor> = norms.iter().map(|norm| norm.to_dtype(dtype)).collect();
            let total = Tensor::stack(&norms, 0).norm_p(p, 0);
            total.check()?;
            let scale = (max_norm / (&total + 1e-6)).clamp_max(1.0);
            commit_gradients(gradients.into_iter().map(|(parameter, g)| (parameter, &g * scale.to_dtype(g.dtype()))))?;
            Ok(total)
        })
    })
    .map_err(|e: Error| e.at(loc))
}

/// Limits each element of all gradients to `−limit..limit` (`torch.nn.utils.clip_grad_value_`).
///
/// # Errors
/// If a gradient is invalid, or `limit` is negative or NaN. No gradient has changed then.
#[track_caller]
pub fn clip_grad_value(parameters: &[Tensor], limit: f64) -> Result<()> {
    let loc = here();
    not_negative("limit", limit).map_err(|e| e.at(loc))?;
    called_from(loc, || {
        undisturbed(|| {
            commit_gradients(gradients(parameters).into_iter().map(|(parameter, g)| (parameter, g.clamp(-limit, limit))))
        })
    })
    .map_err(|e| e.at(loc))
}

/// The parameters that have gradients, and these; each once.
fn gradients(parameters: &[Tensor]) -> Vec<(Tensor, Tensor)> {
    let mut found: Vec<(Tensor, Tensor)> = Vec::new();
    for parameter in parameters {
        if let Some(gradient) = parameter.grad()
            && !found.iter().any(|(other, _)| other.same(parameter))
        {
            found.push((parameter.clone(), gradient));
        }
    }
    found
}
