//! Fully connected layers.

use igneous::nn::{Linear, Relu, Sequential};

/// Fully connected layers of these widths with ReLU between them: a `torch.nn.Sequential`, whose parameters are `0.weight`,
/// `0.bias`, `2.weight` and so on.
///
/// ```
/// use igneous::nn::ModuleExt;
/// assert_eq!(igneous_models::mlp(&[784, 512, 10]).parameter_count(), 784 * 512 + 512 + 512 * 10 + 10);
/// ```
#[track_caller]
pub fn mlp(widths: &[usize]) -> Sequential {
    let last = widths.len().saturating_sub(2);
    widths.windows(2).enumerate().fold(Sequential::new(), |net, (k, pair)| {
        let net = net.push(Linear::new(pair[0], pair[1]));
        if k < last { net.push(Relu) } else { net }
    })
}
