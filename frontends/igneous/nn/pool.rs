//! Pooling layers.

use super::stateless::stateless_layers;
use crate::tensor::{Extents, PoolOptions};

macro_rules! pools {
    ($($(#[$doc:meta])* $name:ident $n:literal $method:ident;)*) => {
        stateless_layers! {$(
            $(#[$doc])*
            $name {
                /// The window and how it moves: side by side for a number or several; else as the [`PoolOptions`] say.
                pool: PoolOptions<$n> as impl Into<PoolOptions<$n>>,
            } (x) x.$method(pool);
        )*}
    };
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
    ($($(#[$doc:meta])* $name:ident $n:literal $method:ident;)*) => {
        stateless_layers! {$(
            $(#[$doc])*
            $name {
                /// The spatial extents of the result: one number for all axes, or one for each.
                size: Extents<$n> as impl Into<Extents<$n>>,
            } (x) x.$method(size);
        )*}
    };
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
    ($($(#[$doc:meta])* $name:ident $n:literal $method:ident;)*) => {
        stateless_layers! {$(
            $(#[$doc])*
            $name {
                /// The exponent of the norm.
                p: f64,
                /// The window and how it moves. Padding and dilation are not possible.
                pool: PoolOptions<$n> as impl Into<PoolOptions<$n>>,
            } (x) x.$method(p, pool);
        )*}
    };
}

power_pools! {
    /// The `p`-norm of each window, `(Σ xᵖ)^(1/p)` (`torch.nn.LPPool1d`): input `[N, C, L]`.
    LpPool1d 1 lp_pool1d;
    /// The `p`-norm of each window, `(Σ xᵖ)^(1/p)` (`torch.nn.LPPool2d`): input `[N, C, H, W]`.
    LpPool2d 2 lp_pool2d;
    /// The `p`-norm of each window, `(Σ xᵖ)^(1/p)` (`torch.nn.LPPool3d`): input `[N, C, D, H, W]`.
    LpPool3d 3 lp_pool3d;
}
