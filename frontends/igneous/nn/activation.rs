//! Activations as layers.

use super::Forward;
use super::visit::{Module, Visitor};
use crate::tensor::Tensor;

macro_rules! activation {
    ($(#[$doc:meta])* $name:ident($x:ident) $body:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $name;

        impl Module for $name {
            fn visit(&self, _: &mut dyn Visitor) {}
        }

        impl Forward for $name {
            #[track_caller]
            fn forward(&self, $x: &Tensor) -> Tensor {
                $body
            }
        }
    };
}

activation! {
    /// `max(x, 0)` (`torch.nn.ReLU`).
    Relu(x) x.relu()
}

activation! {
    /// `x · Φ(x)` with the error function (`torch.nn.GELU`). Hendrycks and Gimpel 2016, arXiv:1606.08415.
    Gelu(x) x.gelu()
}

activation! {
    /// The approximation of [`Gelu`] by the hyperbolic tangent (`torch.nn.GELU(approximate='tanh')`).
    GeluTanh(x) x.gelu_tanh()
}
