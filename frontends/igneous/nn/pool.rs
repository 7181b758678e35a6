//! Pooling layers.

use super::Forward;
use super::visit::{Module, Visitor};
use crate::tensor::{Extents, PoolOptions, Tensor};

macro_rules! pools {
    ($($(#[$doc:meta])* $name:ident $n:literal $method:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name {
            /// The window and how it moves.
            pub pool: PoolOptions<$n>,
        }

        impl $name {
            /// Windows side by side for a number or several; else as the [`PoolOptions`] say.
            pub fn new(pool: impl Into<PoolOptions<$n>>) -> $name {
                $name { pool: pool.into() }
            }
        }

        impl Module for $name {
            fn visit(&self, _: &mut dyn Visitor) {}
        }

        impl Forward for $name {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                x.$method(self.pool)
            }
        }
    )*};
}

pools! {
    /// The maximum of each window (`torch.nn.MaxPool1d`): input `[N, C, L]`.
    MaxPool1d 1 max_pool1d;
    /// The maximum of each window (`torch.nn.MaxPool2d`): input `[N, C, H, W]`.
    MaxPool2d 2 max_pool2d;
    /// The maximum of each window (`torch.nn.MaxPool3d`): input `[N, C, D, H, W]`.
    MaxPool3d 3 max_pool3d;
    /// The mean of each window (`torch.nn.AvgPool1d`): input `[N, C, L]`.
    AvgPool1d 1 avg_pool1d;
    /// The mean of each window (`torch.nn.AvgPool2d`): input `[N, C, H, W]`.
    AvgPool2d 2 avg_pool2d;
    /// The mean of each window (`torch.nn.AvgPool3d`): input `[N, C, D, H, W]`.
    AvgPool3d 3 avg_pool3d;
}

macro_rules! adaptive_pools {
    ($($(#[$doc:meta])* $name:ident $n:literal $method:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name {
            /// The spatial extents of the result.
            pub size: Extents<$n>,
        }

        impl $name {
            /// Pooling to this size: one number for all spatial axes, or one for each.
            pub fn new(size: impl Into<Extents<$n>>) -> $name {
                $name { size: size.into() }
            }
        }

        impl Module for $name {
            fn visit(&self, _: &mut dyn Visitor) {}
        }

        impl Forward for $name {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                x.$method(self.size)
            }
        }
    )*};
}

adaptive_pools! {
    /// The maxima of as many windows as give this size (`torch.nn.AdaptiveMaxPool1d`): input `[N, C, L]`.
    AdaptiveMaxPool1d 1 adaptive_max_pool1d;
    /// The maxima of as many windows as give this size (`torch.nn.AdaptiveMaxPool2d`): input `[N, C, H, W]`.
    AdaptiveMaxPool2d 2 adaptive_max_pool2d;
    /// The maxima of as many windows as give this size (`torch.nn.AdaptiveMaxPool3d`): input `[N, C, D, H, W]`.
    AdaptiveMaxPool3d 3 adaptive_max_pool3d;
    /// The means of as many windows as give this size (`torch.nn.AdaptiveAvgPool1d`): input `[N, C, L]`.
    AdaptiveAvgPool1d 1 adaptive_avg_pool1d;
    /// The means of as many windows as give this size (`torch.nn.AdaptiveAvgPool2d`): input `[N, C, H, W]`.
    AdaptiveAvgPool2d 2 adaptive_avg_pool2d;
    /// The means of as many windows as give this size (`torch.nn.AdaptiveAvgPool3d`): input `[N, C, D, H, W]`.
    AdaptiveAvgPool3d 3 adaptive_avg_pool3d;
}

macro_rules! power_pools {
    ($($(#[$doc:meta])* $name:ident $n:literal $method:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name {
            /// The exponent of the norm.
            pub p: f64,
            /// The window and how it moves. Padding and dilation are not possible.
            pub pool: PoolOptions<$n>,
        }

        impl $name {
            /// The `p`-norm of windows.
            pub fn new(p: f64, pool: impl Into<PoolOptions<$n>>) -> $name {
                $name { p, pool: pool.into() }
            }
        }

        impl Module for $name {
            fn visit(&self, _: &mut dyn Visitor) {}
        }

        impl Forward for $name {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                x.$method(self.p, self.pool)
            }
        }
    )*};
}

power_pools! {
    /// The `p`-norm of each window, `(Σ xᵖ)^(1/p)` (`torch.nn.LPPool1d`): input `[N, C, L]`.
    LpPool1d 1 lp_pool1d;
    /// The `p`-norm of each window, `(Σ xᵖ)^(1/p)` (`torch.nn.LPPool2d`): input `[N, C, H, W]`.
    LpPool2d 2 lp_pool2d;
    /// The `p`-norm of each window, `(Σ xᵖ)^(1/p)` (`torch.nn.LPPool3d`): input `[N, C, D, H, W]`.
    LpPool3d 3 lp_pool3d;
}
