//! Convolution and pooling over images `[N, C, H, W]`.

use super::Tensor;
use super::matmul::expect_rank;
use super::promote::promote;
use crate::location::here;
use igneous_ir::op::ReduceKind;
use igneous_ir::{Dim, Error, Result, ops};
use std::fmt;

/// Two numbers, for height and width: `3`, `(3, 5)`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Pair(pub usize, pub usize);

impl From<usize> for Pair {
    fn from(n: usize) -> Pair {
        Pair(n, n)
    }
}

impl From<(usize, usize)> for Pair {
    fn from((height, width): (usize, usize)) -> Pair {
        Pair(height, width)
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}×{}", self.0, self.1)
    }
}

impl Pair {
    fn ints(self) -> [i64; 2] {
        [self.0, self.1].map(int)
    }

    fn has_zero(self) -> bool {
        self.0 == 0 || self.1 == 0
    }
}

/// As an attribute; what no image is as large as becomes the largest number that arithmetic on it can hold.
fn int(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX).min(i64::from(i32::MAX))
}

/// The zeros around an image.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Padding {
    /// So many on each side, by height and width.
    Each(Pair),
    /// As many as keep the image's size (`padding='same'`); where that is an odd number, one more behind than in front. Needs
    /// a stride of 1.
    Same,
}

impl<P: Into<Pair>> From<P> for Padding {
    fn from(each: P) -> Padding {
        Padding::Each(each.into())
    }
}

/// Options of a convolution, with PyTorch's defaults.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Conv {
    /// How far the kernel moves. Default 1.
    pub stride: Pair,
    /// Zeros around the image. Default 0.
    pub padding: Padding,
    /// The distance of the kernel's points. Default 1.
    pub dilation: Pair,
    /// Into how many groups the channels are divided. Default 1.
    pub groups: usize,
}

impl Default for Conv {
    fn default() -> Conv {
        Conv { stride: Pair(1, 1), padding: Padding::Each(Pair(0, 0)), dilation: Pair(1, 1), groups: 1 }
    }
}

impl Conv {
    /// What is wrong with the options whatever the image is.
    pub(crate) fn check(&self) -> Result<()> {
        let problem = if self.groups == 0 {
            "a convolution needs at least one group".to_owned()
        } else if self.stride.has_zero() {
            format!("a convolution needs a stride of at least 1, not {}", self.stride)
        } else if self.dilation.has_zero() {
            format!("a convolution needs a dilation of at least 1, not {}", self.dilation)
        } else if self.padding == Padding::Same && self.stride != Pair(1, 1) {
            format!("a convolution with padding `Same` needs a stride of 1, not {}", self.stride)
        } else {
            return Ok(());
        };
        Err(Error::new(problem))
    }

    /// The zeros in front and behind of each axis, for a kernel of these extents.
    fn zeros(&self, kernel: [Dim; 2]) -> Result<([i64; 2], [i64; 2])> {
        match self.padding {
            Padding::Each(each) => Ok((each.ints(), each.ints())),
            Padding::Same => {
                let dilation = self.dilation.ints();
                let reach = |i: usize| Ok::<_, Error>(dilation[i] * (kernel[i].get()? as i64 - 1));
                let total = [reach(0)?, reach(1)?];
                let low = total.map(|t| t / 2);
                Ok((low, [total[0] - low[0], total[1] - low[1]]))
            }
        }
    }
}

/// The window of a pooling operation and how it moves: `2`, `(2, 3)`, `Pool::new(3).stride(2).padding(1)`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Pool {
    /// The extent of the window.
    pub window: Pair,
    /// How far it moves; by default its own extent.
    pub stride: Option<Pair>,
    /// What is added on each side: never chosen by a maximum, zeros in an average. Default 0.
    pub padding: Pair,
    /// The distance of the window's points. Default 1.
    pub dilation: Pair,
    /// Whether a window that begins inside the image may reach over its end (PyTorch's `ceil_mode`). Default false.
    pub ceil: bool,
}

impl Pool {
    /// A window that moves by its own extent.
    pub fn new(window: impl Into<Pair>) -> Pool {
        Pool { window: window.into(), stride: None, padding: Pair(0, 0), dilation: Pair(1, 1), ceil: false }
    }

    /// The same, moving by `stride`.
    #[must_use]
    pub fn stride(self, stride: impl Into<Pair>) -> Pool {
        Pool { stride: Some(stride.into()), ..self }
    }

    /// The same, with padding on each side.
    #[must_use]
    pub fn padding(self, padding: impl Into<Pair>) -> Pool {
        Pool { padding: padding.into(), ..self }
    }

    /// The same, with points that are `dilation` apart.
    #[must_use]
    pub fn dilation(self, dilation: impl Into<Pair>) -> Pool {
        Pool { dilation: dilation.into(), ..self }
    }

    /// The same, with windows that reach over the end: the result's extent is rounded up, not down.
    #[must_use]
    pub fn ceil(self) -> Pool {
        Pool { ceil: true, ..self }
    }

    /// What is wrong with the options whatever the image is.
    fn check(&self) -> Result<()> {
        let reach = |window: usize, dilation: usize| (window - 1).saturating_mul(dilation).saturating_add(1);
        let stride = self.stride.unwrap_or(self.window);
        let problem = if self.window.has_zero() {
            format!("pooling needs a window of at least 1×1, not {}", self.window)
        } else if stride.has_zero() {
            format!("pooling needs a stride of at least 1, not {stride}")
        } else if self.dilation.has_zero() {
            format!("pooling needs a dilation of at least 1, not {}", self.dilation)
        } else if self.padding.0 > reach(self.window.0, self.dilation.0) / 2
            || self.padding.1 > reach(self.window.1, self.dilation.1) / 2
        {
            format!("pooling needs a padding of at most half the window, not {} around {}", self.padding, self.window)
        } else {
            return Ok(());
        };
        Err(Error::new(problem))
    }

    /// What must be added behind an axis of this extent so that the last window fits.
    fn overhang(&self, extent: Dim, axis: usize) -> Result<i64> {
        if !self.ceil {
            return Ok(0);
        }
        let undecided = |_| Error::new("pooling in ceil mode needs an image whose extents are known");
        let extent = extent.get().map_err(undecided)? as i64;
        let [window, stride, padding, dilation] =
            [self.window, self.stride.unwrap_or(self.window), self.padding, self.dilation].map(|p| p.ints()[axis]);
        let reach = dilation * (window - 1) + 1;
        let free = extent + 2 * padding - reach;
        // A window must begin in the image or in front of it: one that begins behind it is left out.
        let last = (free.max(0) + stride - 1) / stride;
        let last = if last * stride >= extent + padding { last - 1 } else { last };
        Ok((last * stride - free).max(0))
    }
}

impl From<usize> for Pool {
    fn from(n: usize) -> Pool {
        Pool::new(n)
    }
}

impl From<(usize, usize)> for Pool {
    fn from(window: (usize, usize)) -> Pool {
        Pool::new(window)
    }
}

impl Tensor {
    /// The convolution (cross-correlation) of images `[N, C, H, W]` with kernels `[O, C / groups, h, w]`, plus a bias for
    /// each of `O` output channels (`torch.nn.functional.conv2d`): `[N, O, H', W']` with
    /// `H' = ⌊(H + padding − dilation·(h−1) − 1) / stride⌋ + 1`, `padding` counting both sides.
    #[track_caller]
    pub fn conv2d(&self, weight: &Tensor, bias: Option<&Tensor>, options: Conv) -> Tensor {
        match conv_operands(self, weight, bias, options) {
            Ok(([x, weight, bias], op)) => {
                let result = x.apply_with(op, &weight);
                if bias.rank() == 1 { result + bias.reshape((-1, 1, 1)) } else { result }
            }
            Err(error) => Tensor::from(error.at(here())),
        }
    }

    /// The largest element in each window of images `[N, C, H, W]` (`torch.nn.functional.max_pool2d`): `[N, C, H', W']` with
    /// `H' = ⌊(H + 2·padding − dilation·(window−1) − 1) / stride⌋ + 1`, rounded up in ceil mode. A NaN counts as the largest.
    #[track_caller]
    pub fn max_pool2d(&self, pool: impl Into<Pool>) -> Tensor {
        self.pool2d(ReduceKind::Max, pool.into())
    }

    /// The mean of each window of images `[N, C, H, W]` (`torch.nn.functional.avg_pool2d`); padding counts as zeros. The
    /// window takes no dilation and no ceil mode.
    #[track_caller]
    pub fn avg_pool2d(&self, pool: impl Into<Pool>) -> Tensor {
        let pool = pool.into();
        if pool.ceil || pool.dilation != Pair(1, 1) {
            let error = Error::new("avg_pool2d takes no dilation and no ceil mode").note("tensor", self.describe());
            return error.at(here()).into();
        }
        self.as_float().pool2d(ReduceKind::Sum, pool) / (pool.window.0 as f64 * pool.window.1 as f64)
    }

    #[track_caller]
    fn pool2d(&self, kind: ReduceKind, pool: Pool) -> Tensor {
        if self.error().is_some() {
            return self.clone();
        }
        let op = pool.check().and_then(|()| {
            let rank = self.rank();
            if !(3..=4).contains(&rank) {
                return Err(Error::new("pooling needs images [N, C, H, W] or one image [C, H, W]"));
            }
            let shape = self.shape();
            let low = pool.padding.ints();
            let high = [low[0] + pool.overhang(shape[rank - 2], 0)?, low[1] + pool.overhang(shape[rank - 1], 1)?];
            let stride = pool.stride.unwrap_or(pool.window);
            Ok(ops::reduce_window(kind, &pool.window.ints(), &stride.ints(), &low, &high, &pool.dilation.ints()))
        });
        match op {
            Ok(op) => self.apply(op),
            Err(error) => error.note("tensor", self.describe()).at(here()).into(),
        }
    }
}

/// Operands of one element type (without a bias, the third has no axes), and the operator.
#[track_caller]
fn conv_operands(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, options: Conv) -> Result<([Tensor; 3], igneous_ir::Op)> {
    let channels = expect_rank(x, 4, "conv2d")?[1];
    let shape = expect_rank(weight, 4, "conv2d")?;
    let error = |message: String| {
        let error = Error::new(message).note("images", x.describe()).note("kernels", weight.describe());
        bias.into_iter().fold(error, |error, bias| error.note("bias", bias.describe()))
    };
    options.check().map_err(|e| error(e.message().to_owned()))?;
    if channels != shape[1] * options.groups || shape[0].rem(options.groups) != 0 {
        return Err(error(match options.groups {
            1 => "conv2d needs as many input channels as its kernels have".to_owned(),
            n => format!("conv2d in {n} groups needs {n} times the kernels' channels, and a multiple of {n} kernels"),
        }));
    }
    if let Some(bias) = bias {
        bias.check()?;
        if bias.shape().as_slice() != [shape[0]] {
            return Err(error("conv2d needs a bias with one element for each kernel".to_owned()));
        }
    }
    let (low, high) = options.zeros([shape[2], shape[3]])?;
    let dtype = promote(x.dtype(), weight.dtype());
    let (stride, dilation) = (options.stride.ints(), options.dilation.ints());
    let op = ops::convolution(&stride, &low, &high, &[1, 1], &dilation, int(options.groups));
    let bias = bias.cloned().unwrap_or_else(|| Tensor::scalar(0.0));
    Ok(([x.to_dtype(dtype), weight.to_dtype(dtype), bias], op))
}
