//! Normalisation of channels by statistics of a batch or of each image, with running statistics for evaluation.

use super::Forward;
use super::mode::Mode;
use super::visit::{Module, Visitor};
use crate::grad_mode::no_grad;
use crate::location::{entered, here};
use crate::tensor::{Tensor, or_invalid};
use igneous_ir::{Dim, Error, Result};

/// Running mean and variance of each channel.
#[derive(Clone, Debug)]
pub struct RunningStatistics {
    /// The mean, `[C]`; zeros at first.
    pub running_mean: Tensor,
    /// The variance, `[C]`; ones at first.
    pub running_var: Tensor,
    /// How many batches have been seen.
    pub num_batches_tracked: Tensor,
}

impl RunningStatistics {
    #[track_caller]
    fn new(channels: usize) -> RunningStatistics {
        RunningStatistics {
            running_mean: Tensor::buffer(Tensor::zeros(channels)),
            running_var: Tensor::buffer(Tensor::ones(channels)),
            num_batches_tracked: Tensor::buffer(Tensor::scalar(0i64)),
        }
    }

    /// Takes a batch in: a share `momentum` of its statistics, or, without one, the share that makes them means of all batches.
    #[track_caller]
    fn update(&self, mean: &Tensor, variance: &Tensor, momentum: Option<f64>) -> Result<()> {
        no_grad(|| {
            let count = &self.num_batches_tracked + 1;
            let blend = |running: &Tensor, new: &Tensor| {
                let new = new.detach().to_dtype(running.dtype());
                match momentum {
                    Some(share) => running * (1.0 - share) + new * share,
                    None => {
                        let share = 1.0 / count.to_dtype(running.dtype());
                        running * (1.0 - &share) + new * share
                    }
                }
            };
            let (mean, variance) = (blend(&self.running_mean, mean), blend(&self.running_var, variance));
            mean.check()?;
            self.running_var.assign(&variance)?;
            self.running_mean.assign(&mean)?;
            self.num_batches_tracked.assign(&count)
        })
    }
}

impl Module for RunningStatistics {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("running_mean", &self.running_mean);
        visitor.child("running_var", &self.running_var);
        visitor.child("num_batches_tracked", &self.num_batches_tracked);
    }
}

/// Fails unless the tensor has one of these numbers of axes and as many channels, on the axis given, as the layer.
fn check_input(what: &str, x: &Tensor, ranks: &[usize], axis: i64, channels: usize) -> Result<()> {
    let shape = x.ty()?.shape;
    if !ranks.contains(&shape.len()) || x.size(axis) != Dim::from(channels) {
        let ranks: Vec<String> = ranks.iter().map(usize::to_string).collect();
        let message = format!("{what} needs a tensor with {} axes and {channels} channels", ranks.join(" or "));
        return Err(Error::new(message).note("tensor", x.describe()));
    }
    Ok(())
}

/// Options of batch normalisation, with PyTorch's defaults.
#[derive(Clone, Copy, Debug)]
pub struct BatchNormOptions {
    /// Added to the variance; 1e-5.
    pub eps: f64,
    /// The share of a new batch in the running statistics, 0.1; with `None` they are means over all batches.
    pub momentum: Option<f64>,
}

impl Default for BatchNormOptions {
    fn default() -> BatchNormOptions {
        BatchNormOptions { eps: 1e-5, momentum: Some(0.1) }
    }
}

macro_rules! batch_norms {
    ($($(#[$doc:meta])* $name:ident $ranks:expr;)*) => {$(
        $(#[$doc])*
        ///
        /// Training normalises by the batch's own mean and biased variance, and moves running statistics, with the unbiased
        /// variance, toward them; evaluation normalises by the running ones. Ioffe and Szegedy 2015, arXiv:1502.03167.
        #[derive(Clone, Debug)]
        pub struct $name {
            /// Scale, `[C]`; ones at first. None without affine part.
            pub weight: Option<Tensor>,
            /// Shift, `[C]`; zeros at first. None without affine part.
            pub bias: Option<Tensor>,
            /// What evaluation normalises by; without it, evaluation does as training.
            pub statistics: Option<RunningStatistics>,
            /// The options.
            pub options: BatchNormOptions,
            /// Training or evaluation.
            pub mode: Mode,
            channels: usize,
        }

        impl $name {
            /// For so many channels.
            #[track_caller]
            pub fn new(channels: usize) -> $name {
                $name::with(channels, BatchNormOptions::default())
            }

            /// With options.
            #[track_caller]
            pub fn with(channels: usize, options: BatchNormOptions) -> $name {
                $name {
                    weight: Some(Tensor::parameter(Tensor::ones(channels))),
                    bias: Some(Tensor::parameter(Tensor::zeros(channels))),
                    statistics: Some(RunningStatistics::new(channels)),
                    options,
                    mode: Mode::default(),
                    channels,
                }
            }

            /// The same without scale and shift (`affine=False`).
            #[must_use]
            pub fn without_affine(self) -> $name {
                $name { weight: None, bias: None, ..self }
            }

            /// The same without running statistics (`track_running_stats=False`).
            #[must_use]
            pub fn without_running_statistics(self) -> $name {
                $name { statistics: None, ..self }
            }
        }

        impl Module for $name {
            fn visit(&self, visitor: &mut dyn Visitor) {
                visitor.child("weight", &self.weight);
                visitor.child("bias", &self.bias);
                self.statistics.visit(visitor);
                visitor.child("mode", &self.mode);
            }
        }

        impl Forward for $name {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                let loc = here();
                let (weight, bias) = (self.weight.as_ref(), self.bias.as_ref());
                if let Err(error) = check_input(stringify!($name), x, &$ranks, 1, self.channels) {
                    return error.at(loc).into();
                }
                let eps = self.options.eps;
                match &self.statistics {
                    Some(s) if !self.mode.is_training() => {
                        x.batch_norm(&s.running_mean, &s.running_var, weight, bias, eps)
                    }
                    statistics => or_invalid(in_training(x, [weight, bias], statistics.as_ref(), self.options).map_err(|e| e.at(loc))),
                }
            }
        }
    )*};
}

/// Normalised by the batch's statistics, which the running ones take in.
#[track_caller]
fn in_training(
    x: &Tensor,
    [weight, bias]: [Option<&Tensor>; 2],
    statistics: Option<&RunningStatistics>,
    options: BatchNormOptions,
) -> Result<Tensor> {
    let _user = entered();
    let shape = x.ty()?.shape;
    let values: Dim = shape.iter().enumerate().filter(|(axis, _)| *axis != 1).map(|(_, d)| *d).product();
    if values == Dim::ONE {
        let error = Error::new("batch normalisation needs more than one value for each channel in training");
        return Err(error.note("tensor", x.describe()));
    }
    let (y, mean, variance) = x.batch_norm_train(weight, bias, options.eps);
    y.check()?;
    if let Some(statistics) = statistics {
        statistics.update(&mean, &variance, options.momentum)?;
    }
    Ok(y)
}

batch_norms! {
    /// Batch normalisation of features `[N, C]` or sequences `[N, C, L]` (`torch.nn.BatchNorm1d`).
    BatchNorm1d [2, 3];
    /// Batch normalisation of images `[N, C, H, W]` (`torch.nn.BatchNorm2d`).
    ///
    /// ```
    /// use igneous::nn::{BatchNorm2d, Forward, ModuleExt};
    /// use igneous::Tensor;
    ///
    /// let norm = BatchNorm2d::new(3);
    /// let x = Tensor::randn((8, 3, 4, 4)) * 2.0 + 1.0;
    /// let y = norm.forward(&x);
    /// igneous::testing::assert_close(&y.mean((0, 2, 3)), &Tensor::zeros(3), 1e-4);
    /// norm.eval();
    /// assert!(norm.forward(&x).mean_all().item()?.abs() > 0.1); // by statistics that have seen one batch
    /// # Ok::<(), igneous::Error>(())
    /// ```
    BatchNorm2d [4];
    /// Batch normalisation of volumes `[N, C, D, H, W]` (`torch.nn.BatchNorm3d`).
    BatchNorm3d [5];
}

/// Options of instance normalisation, with PyTorch's defaults.
#[derive(Clone, Copy, Debug)]
pub struct InstanceNormOptions {
    /// Added to the variance; 1e-5.
    pub eps: f64,
    /// The share of a new batch in the running statistics, if there are any; 0.1.
    pub momentum: f64,
}

impl Default for InstanceNormOptions {
    fn default() -> InstanceNormOptions {
        InstanceNormOptions { eps: 1e-5, momentum: 0.1 }
    }
}

macro_rules! instance_norms {
    ($($(#[$doc:meta])* $name:ident $n:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// The batch axis may be missing. Ulyanov et al. 2016, arXiv:1607.08022.
        #[derive(Clone, Debug)]
        pub struct $name {
            /// Scale, `[C]`; none by default.
            pub weight: Option<Tensor>,
            /// Shift, `[C]`; none by default.
            pub bias: Option<Tensor>,
            /// What evaluation normalises by; none by default: evaluation does as training.
            pub statistics: Option<RunningStatistics>,
            /// The options.
            pub options: InstanceNormOptions,
            /// Training or evaluation.
            pub mode: Mode,
            channels: usize,
        }

        impl $name {
            /// For so many channels, without scale and shift.
            pub fn new(channels: usize) -> $name {
                $name::with(channels, InstanceNormOptions::default())
            }

            /// With options.
            pub fn with(channels: usize, options: InstanceNormOptions) -> $name {
                $name { weight: None, bias: None, statistics: None, options, mode: Mode::default(), channels }
            }

            /// The same with scale and shift (`affine=True`).
            #[must_use]
            #[track_caller]
            pub fn with_affine(self) -> $name {
                let weight = Tensor::parameter(Tensor::ones(self.channels));
                $name { weight: Some(weight), bias: Some(Tensor::parameter(Tensor::zeros(self.channels))), ..self }
            }

            /// The same with running statistics for evaluation (`track_running_stats=True`).
            #[must_use]
            #[track_caller]
            pub fn with_running_statistics(self) -> $name {
                $name { statistics: Some(RunningStatistics::new(self.channels)), ..self }
            }
        }

        impl Module for $name {
            fn visit(&self, visitor: &mut dyn Visitor) {
                visitor.child("weight", &self.weight);
                visitor.child("bias", &self.bias);
                self.statistics.visit(visitor);
                visitor.child("mode", &self.mode);
            }
        }

        impl Forward for $name {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                let loc = here();
                let (weight, bias) = (self.weight.as_ref(), self.bias.as_ref());
                if let Err(error) = check_input(stringify!($name), x, &[$n + 1, $n + 2], -($n + 1), self.channels) {
                    return error.at(loc).into();
                }
                if x.rank() == $n + 1 {
                    return self.forward(&x.unsqueeze(0)).squeeze(0);
                }
                let eps = self.options.eps;
                let Some(statistics) = &self.statistics else { return x.instance_norm(weight, bias, eps) };
                if !self.mode.is_training() {
                    return x.batch_norm(&statistics.running_mean, &statistics.running_var, weight, bias, eps);
                }
                let axes: Vec<i64> = (2..2 + $n).collect();
                let (mean, variance) = no_grad(|| {
                    let x = x.detach().as_float();
                    (x.mean(&axes).mean(0), x.var(&axes).mean(0))
                });
                match statistics.update(&mean, &variance, Some(self.options.momentum)) {
                    Ok(()) => x.instance_norm(weight, bias, eps),
                    Err(error) => error.at(loc).into(),
                }
            }
        }
    )*};
}

instance_norms! {
    /// Normalises each sequence of each channel (`torch.nn.InstanceNorm1d`): input `[N, C, L]`.
    InstanceNorm1d 1;
    /// Normalises each image of each channel (`torch.nn.InstanceNorm2d`): input `[N, C, H, W]`.
    InstanceNorm2d 2;
    /// Normalises each volume of each channel (`torch.nn.InstanceNorm3d`): input `[N, C, D, H, W]`.
    InstanceNorm3d 3;
}
