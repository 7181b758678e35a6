//! Normalisation, by the names of `torch.nn.functional`.

use super::window::int;
use super::{Tensor, or_invalid};
use crate::apply::apply;
use crate::location::entered;
use igneous_ir::op::ReduceKind;
use igneous_ir::{Dim, Error, Result, Shape, ops};

impl Tensor {
    /// Normalised over the last axes (as many as `weight` has) to mean 0 and variance 1, then scaled and shifted
    /// (`torch.nn.functional.layer_norm`). `weight` and `bias` have the shape of those axes. Ba, Kiros & Hinton 2016,
    /// arXiv:1607.06450.
    #[track_caller]
    pub fn layer_norm(&self, weight: &Tensor, bias: &Tensor, eps: f64) -> Tensor {
        let user = entered();
        let loc = user.loc();
        let check = self.check().and_then(|()| weight.check()).and_then(|()| bias.check());
        if let Err(error) = check {
            return error.into();
        }
        let (shape, inner) = (self.shape(), weight.shape());
        if !shape.ends_with(&inner) || inner.is_empty() || bias.shape() != inner {
            let error = Error::new("layer_norm needs weight and bias with the shape of the tensor's last axes");
            let error = error.note("tensor", self.describe()).note("weight", weight.describe()).note("bias", bias.describe());
            return error.at(loc).into();
        }
        let x = self.as_float().in_autocast_single();
        let (weight, bias) = (weight.to_dtype(x.dtype()), bias.to_dtype(x.dtype()));
        let [y, _, _] = apply(ops::layer_norm(inner.len(), eps), &[&x, &weight, &bias]);
        y
    }

    /// Divided by the root of the mean square over the last axes, as many as `axes` says, plus `eps`, then scaled
    /// (`torch.nn.functional.rms_norm`). `weight` has the shape of those axes. Zhang & Sennrich 2019, arXiv:1910.07467.
    #[track_caller]
    pub fn rms_norm(&self, axes: usize, weight: Option<&Tensor>, eps: f64) -> Tensor {
        let user = entered();
        let this = &self.in_autocast_single();
        let loc = user.loc();
        let shape = self.shape();
        let inner = shape.len().checked_sub(axes).map(|n| Shape::from(&shape[n..]));
        let fits = inner.as_ref().is_some_and(|inner| axes > 0 && weight.is_none_or(|w| w.shape() == *inner));
        if let Err(error) = self.check().and_then(|()| weight.map_or(Ok(()), Tensor::check)) {
            return error.into();
        }
        if !fits {
            let error = Error::new(format!("rms_norm needs a tensor with at least {axes} axes, and a weight of their shape"));
            let error = error.note("tensor", self.describe());
            return weight.into_iter().fold(error, |e, w| e.note("weight", w.describe())).at(loc).into();
        }
        let x = this.as_wide();
        let last: Vec<i64> = (1..=axes as i64).map(|a| -a).collect();
        let scaled = &x * (x.square().mean_keepdim(&last) + eps).rsqrt();
        match weight {
            Some(weight) => (scaled * weight.to_dtype(x.dtype())).rounded_as(this),
            None => scaled.rounded_as(this),
        }
    }

    /// The vectors along an axis divided by their `p`-norm, or by `eps` if that is larger (`torch.nn.functional.normalize`).
    #[track_caller]
    pub fn normalize(&self, p: f64, axis: i64, eps: f64) -> Tensor {
        let this = &self.in_autocast_single();
        let x = this.as_wide();
        let norm = x.norm_p_keepdim(p, axis).clamp_min(eps);
        (x / norm).rounded_as(this)
    }

    /// A number for each channel (axis 1), so that it broadcasts against this tensor.
    #[track_caller]
    fn per_channel(&self, what: &str, name: &str, value: &Tensor) -> Result<Tensor> {
        let channels = if self.rank() < 2 { Dim::INVALID } else { self.size(1) };
        if value.ty()?.shape[..] != [channels] {
            let error = Error::new(format!("{what} needs one number for each channel as {name}"));
            return Err(error.note("tensor", self.describe()).note(name, value.describe()));
        }
        let shape: Vec<i64> = (0..self.rank()).map(|axis| if axis == 1 { -1 } else { 1 }).collect();
        Ok(value.to_dtype(self.dtype()).reshape(&shape))
    }

    /// Scaled and shifted for each channel.
    #[track_caller]
    fn affine(&self, what: &str, weight: Option<&Tensor>, bias: Option<&Tensor>) -> Result<Tensor> {
        let mut y = self.clone();
        if let Some(weight) = weight {
            y = &y * self.per_channel(what, "weight", weight)?;
        }
        if let Some(bias) = bias {
            y = &y + self.per_channel(what, "bias", bias)?;
        }
        Ok(y)
    }

    /// Normalised over some axes to mean 0 and variance 1; also mean and variance (of the population), axes kept.
    #[track_caller]
    fn standardized(&self, axes: &[i64], eps: f64) -> (Tensor, Tensor, Tensor) {
        let x = self.as_float();
        let mean = x.mean_keepdim(axes);
        let centred = &x - &mean;
        let variance = centred.square().mean_keepdim(axes);
        (centred * (&variance + eps).rsqrt(), mean, variance)
    }

    /// Normalised by given statistics of each channel (axis 1), then scaled and shifted: `torch.nn.functional.batch_norm` in
    /// evaluation. Ioffe & Szegedy 2015, arXiv:1502.03167.
    #[track_caller]
    pub fn batch_norm(
        &self,
        mean: &Tensor,
        variance: &Tensor,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
    ) -> Tensor {
        let user = entered();
        let (loc, x) = (user.loc(), self.as_wide());
        let made = x.check().and_then(|()| {
            let mean = x.per_channel("batch_norm", "mean", mean)?;
            let variance = x.per_channel("batch_norm", "variance", variance)?;
            ((&x - mean) * (variance + eps).rsqrt()).affine("batch_norm", weight, bias)
        });
        or_invalid(made.map_err(|e| e.at(loc))).rounded_as(self)
    }

    /// Normalised by the batch's own statistics of each channel (axis 1), then scaled and shifted:
    /// `torch.nn.functional.batch_norm` in training. Also the mean and the variance (divided by the count less one) of each
    /// channel, of which running statistics are made: in `f32` for half types.
    #[track_caller]
    pub fn batch_norm_train(&self, weight: Option<&Tensor>, bias: Option<&Tensor>, eps: f64) -> (Tensor, Tensor, Tensor) {
        let user = entered();
        let (loc, x) = (user.loc(), self.as_wide());
        if x.error().is_none() && x.rank() < 2 {
            let error = Error::new("batch_norm needs a tensor [N, C, …]").note("tensor", self.describe()).at(loc);
            return (error.clone().into(), error.clone().into(), error.into());
        }
        let axes: Vec<i64> = (0..x.rank() as i64).filter(|&a| a != 1).collect();
        let (y, mean, variance) = x.standardized(&axes, eps);
        let count: Dim = x.shape().iter().enumerate().filter(|(a, _)| *a != 1).map(|(_, d)| *d).product();
        let count = Tensor::number(count.into(), x.dtype());
        let unbiased = variance.flatten_all() * (&count / (&count - 1.0));
        let y = or_invalid(y.affine("batch_norm", weight, bias).map_err(|e| e.at(loc))).rounded_as(self);
        (y, mean.flatten_all(), unbiased)
    }

    /// Normalised over each image of each channel, then scaled and shifted for each channel
    /// (`torch.nn.functional.instance_norm`). Ulyanov et al. 2016, arXiv:1607.08022.
    #[track_caller]
    pub fn instance_norm(&self, weight: Option<&Tensor>, bias: Option<&Tensor>, eps: f64) -> Tensor {
        let user = entered();
        let (loc, x) = (user.loc(), self.as_wide());
        let made = x.check().and_then(|()| {
            if x.rank() < 3 {
                return Err(Error::new("instance_norm needs a tensor [N, C, …]").note("tensor", self.describe()));
            }
            let axes: Vec<i64> = (2..x.rank() as i64).collect();
            x.standardized(&axes, eps).0.affine("instance_norm", weight, bias)
        });
        or_invalid(made.map_err(|e| e.at(loc))).rounded_as(self)
    }

    /// Normalised over each image and each of `groups` groups of channels, then scaled and shifted for each channel
    /// (`torch.nn.functional.group_norm`). Wu & He 2018, arXiv:1803.08494.
    #[track_caller]
    pub fn group_norm(&self, groups: usize, weight: Option<&Tensor>, bias: Option<&Tensor>, eps: f64) -> Tensor {
        let user = entered();
        let this = &self.in_autocast_single();
        let (loc, x) = (user.loc(), this.as_wide());
        let made = x.check().and_then(|()| {
            let shape = x.shape();
            if shape.len() < 2 || groups == 0 || shape[1].rem(groups) != 0 {
                let error = Error::new(format!("group_norm needs a tensor [N, C, …] whose channels {groups} divides"));
                return Err(error.note("tensor", self.describe()));
            }
            let inner: Dim = shape[2..].iter().copied().product();
            let split = Shape::from_iter([shape[0], Dim::from(groups), shape[1].div_floor(Dim::from(groups)) * inner]);
            let y = x.reshape_to(split).standardized(&[2], eps).0.reshape_to(shape);
            y.affine("group_norm", weight, bias)
        });
        or_invalid(made.map_err(|e| e.at(loc))).rounded_as(this)
    }

    /// Divided by `(k + alpha · mean of squares)^beta` over `size` neighbouring channels (axis 1), which padding with zeros
    /// completes (`torch.nn.functional.local_response_norm`). Krizhevsky et al. 2012.
    #[track_caller]
    pub fn local_response_norm(&self, size: usize, alpha: f64, beta: f64, k: f64) -> Tensor {
        let user = entered();
        let (loc, x) = (user.loc(), self.as_wide());
        if x.error().is_none() && (x.rank() < 3 || size == 0) {
            let error =
                Error::new("local_response_norm needs a tensor [N, C, …] with at least three axes, and a size of at least 1");
            return error.note("tensor", self.describe()).at(loc).into();
        }
        if x.elements() == Dim::ZERO {
            return self.as_float();
        }
        // No window reaches further than from one end of the channels to the other.
        let reach = |n: usize| x.shape()[1].as_const().map_or(int(n), |channels| int(n).min(channels));
        let (low, high) = (reach(size / 2), reach((size - 1) / 2));
        let window = ops::reduce_window(ReduceKind::Sum, &[low + 1 + high], &[1], &[low], &[high], &[1]);
        let sums = x.square().transpose(1, -1).apply(window).transpose(1, -1);
        let scale = (sums * (alpha / size as f64) + k).pow(beta);
        (x / scale).rounded_as(self)
    }
}
