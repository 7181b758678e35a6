//! Dropout.

use super::Forward;
use super::mode::Mode;
use super::visit::{Module, Visitor};
use crate::location::here;
use crate::tensor::Tensor;
use crate::tensor::loss::probability;
use igneous_ir::{Dim, Error, Shape};

macro_rules! dropouts {
    ($($(#[$doc:meta])* $name:ident($x:ident, $p:ident) $training:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            /// The probability of dropping.
            pub p: f64,
            /// Training or evaluation.
            pub mode: Mode,
        }

        impl Default for $name {
            /// `p = 0.5`.
            fn default() -> $name {
                $name::new(0.5)
            }
        }

        impl $name {
            /// A layer that drops with probability `p`. Outside of `0..=1` it makes all its outputs invalid, in evaluation too.
            pub fn new(p: f64) -> $name {
                $name { p, mode: Mode::default() }
            }
        }

        impl Module for $name {
            fn visit(&self, visitor: &mut dyn Visitor) {
                visitor.child("mode", &self.mode);
            }
        }

        impl Forward for $name {
            #[track_caller]
            fn forward(&self, $x: &Tensor) -> Tensor {
                let $p = self.p;
                match probability($p) {
                    Ok(()) if !self.mode.is_training() => $x.clone(),
                    _ => $training,
                }
            }
        }
    )*};
}

dropouts! {
    /// In training, zeroes each element with probability `p` and scales the others by `1/(1-p)`; in evaluation, passes its
    /// input on (`torch.nn.Dropout`). Hinton et al. 2012, arXiv:1207.0580.
    Dropout(x, p) x.dropout(p);
    /// [`Dropout`] of whole channels of sequences `[N, C, L]` or `[C, L]` (`torch.nn.Dropout1d`). Tompson et al. 2014,
    /// arXiv:1411.4280.
    Dropout1d(x, p) channels_dropped(x, p, 1);
    /// [`Dropout`] of whole channels of images `[N, C, H, W]` or `[C, H, W]` (`torch.nn.Dropout2d`).
    Dropout2d(x, p) channels_dropped(x, p, 2);
    /// [`Dropout`] of whole channels of volumes `[N, C, D, H, W]` or `[C, D, H, W]` (`torch.nn.Dropout3d`).
    Dropout3d(x, p) channels_dropped(x, p, 3);
    /// Dropout that keeps mean and variance of what [`Selu`](super::Selu) makes: a dropped element gets the value at which that
    /// saturates, then all are scaled and shifted (`torch.nn.AlphaDropout`). Klambauer et al. 2017, arXiv:1706.02515.
    AlphaDropout(x, p) saturated(x, p);
}

#[track_caller]
fn channels_dropped(x: &Tensor, p: f64, spatial: usize) -> Tensor {
    let shape = x.shape();
    if x.error().is_some() {
        return x.clone();
    }
    if shape.len() != spatial + 1 && shape.len() != spatial + 2 {
        let message = format!("Dropout{spatial}d needs a tensor with {} or {} axes", spatial + 1, spatial + 2);
        return Error::new(message).note("tensor", x.describe()).at(here()).into();
    }
    let lead = shape.len() - spatial;
    let mask: Shape = shape.iter().enumerate().map(|(axis, &d)| if axis < lead { d } else { Dim::ONE }).collect();
    let x = x.as_float();
    &x * Tensor::ones(mask).to_dtype(x.dtype()).dropout(p)
}

/// What the scaled exponential unit tends to at −∞.
const SATURATION: f64 = -1.758_099_340_847_376_6;

#[track_caller]
fn saturated(x: &Tensor, p: f64) -> Tensor {
    if let Err(error) = x.check().and_then(|()| probability(p)) {
        return error.at(here()).into();
    }
    let x = x.as_float();
    if p == 1.0 {
        return &x * 0.0;
    }
    let scale = ((1.0 - p) * (1.0 + p * SATURATION * SATURATION)).sqrt().recip();
    let kept = x.rand_like().ge(p);
    x.where_(&kept, SATURATION) * scale - scale * SATURATION * p
}
