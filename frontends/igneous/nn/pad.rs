//! Padding layers.

use super::stateless::stateless_layers;
use crate::location::here;
use crate::tensor::{PadMode, Tensor};
use igneous_ir::Error;

/// Widths of padding in front and behind of each of `N` axes, the last axis first, as PyTorch counts: `1` for all of them,
/// `[(1, 2)]`, `[(left, right), (top, bottom)]`. Negative widths cut off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PadWidths<const N: usize>(pub [(i64, i64); N]);

impl<const N: usize> From<i64> for PadWidths<N> {
    fn from(width: i64) -> PadWidths<N> {
        PadWidths([(width, width); N])
    }
}

impl<const N: usize> From<[(i64, i64); N]> for PadWidths<N> {
    fn from(widths: [(i64, i64); N]) -> PadWidths<N> {
        PadWidths(widths)
    }
}

#[track_caller]
fn padded<const N: usize>(what: &str, x: &Tensor, widths: PadWidths<N>, mode: PadMode) -> Tensor {
    let constant = matches!(mode, PadMode::Constant(_));
    if x.error().is_none() && !constant && x.rank() != N + 1 && x.rank() != N + 2 {
        let error = Error::new(format!("{what} needs a tensor with {} or {} axes", N + 1, N + 2));
        return error.note("tensor", x.describe()).at(here()).into();
    }
    x.pad_with(&widths.0, mode)
}

macro_rules! pads {
    ($($(#[$doc:meta])* $name:ident $n:literal $mode:expr;)*) => {
        stateless_layers! {$(
            $(#[$doc])*
            $name {
                /// The widths, the last axis first.
                widths: PadWidths<$n> as impl Into<PadWidths<$n>>,
            } (x) padded(stringify!($name), x, widths, $mode);
        )*}
    };
}

pads! {
    /// Zeros around sequences (`torch.nn.ZeroPad1d`).
    ZeroPad1d 1 PadMode::Constant(0.0);
    /// Zeros around images (`torch.nn.ZeroPad2d`).
    ZeroPad2d 2 PadMode::Constant(0.0);
    /// Zeros around volumes (`torch.nn.ZeroPad3d`).
    ZeroPad3d 3 PadMode::Constant(0.0);
    /// Sequences mirrored at their ends (`torch.nn.ReflectionPad1d`).
    ReflectionPad1d 1 PadMode::Reflect;
    /// Images mirrored at their borders (`torch.nn.ReflectionPad2d`).
    ReflectionPad2d 2 PadMode::Reflect;
    /// Volumes mirrored at their borders (`torch.nn.ReflectionPad3d`).
    ReflectionPad3d 3 PadMode::Reflect;
    /// The elements at the ends of sequences repeated (`torch.nn.ReplicationPad1d`).
    ReplicationPad1d 1 PadMode::Replicate;
    /// The elements at the borders of images repeated (`torch.nn.ReplicationPad2d`).
    ReplicationPad2d 2 PadMode::Replicate;
    /// The elements at the borders of volumes repeated (`torch.nn.ReplicationPad3d`).
    ReplicationPad3d 3 PadMode::Replicate;
    /// Sequences continued from their other end (`torch.nn.CircularPad1d`).
    CircularPad1d 1 PadMode::Circular;
    /// Images continued from their other border (`torch.nn.CircularPad2d`).
    CircularPad2d 2 PadMode::Circular;
    /// Volumes continued from their other border (`torch.nn.CircularPad3d`).
    CircularPad3d 3 PadMode::Circular;
}

macro_rules! constant_pads {
    ($($(#[$doc:meta])* $name:ident $n:literal;)*) => {
        stateless_layers! {$(
            $(#[$doc])*
            $name {
                /// The widths, the last axis first.
                widths: PadWidths<$n> as impl Into<PadWidths<$n>>,
                /// What stands there.
                value: f64,
            } (x) padded(stringify!($name), x, widths, PadMode::Constant(value));
        )*}
    };
}

constant_pads! {
    /// A number around sequences (`torch.nn.ConstantPad1d`).
    ConstantPad1d 1;
    /// A number around images (`torch.nn.ConstantPad2d`).
    ConstantPad2d 2;
    /// A number around volumes (`torch.nn.ConstantPad3d`).
    ConstantPad3d 3;
}
