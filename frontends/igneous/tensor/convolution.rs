//! Convolution and pooling over images `[N, C, H, W]`.

use super::Tensor;
use super::matmul::expect_rank;
use super::promote::promote;
use igneous_ir::op::ReduceKind;
use igneous_ir::{Error, Loc, Result, ops};

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

impl Pair {
    fn ints(self) -> [i64; 2] {
        [self.0 as i64, self.1 as i64]
    }
}

/// Options of a convolution, with PyTorch's defaults.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Conv {
    /// How far the kernel moves. Default 1.
    pub stride: Pair,
    /// Zeros added on each side. Default 0.
    pub padding: Pair,
    /// The distance of the kernel's points. Default 1.
    pub dilation: Pair,
    /// Into how many groups the channels are divided. Default 1.
    pub groups: usize,
}

impl Default for Conv {
    fn default() -> Conv {
        Conv { stride: Pair(1, 1), padding: Pair(0, 0), dilation: Pair(1, 1), groups: 1 }
    }
}

/// The window of a pooling operation and how it moves.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Pool {
    /// The extent of the window.
    pub window: Pair,
    /// How far it moves; by default its own extent.
    pub stride: Option<Pair>,
    /// What is added on each side: never chosen by a maximum, zeros in an average. Default 0.
    pub padding: Pair,
}

impl Pool {
    /// A window that moves by its own extent.
    pub fn new(window: impl Into<Pair>) -> Pool {
        Pool { window: window.into(), stride: None, padding: Pair(0, 0) }
    }

    /// The same, moving by `stride`.
    pub fn stride(self, stride: impl Into<Pair>) -> Pool {
        Pool { stride: Some(stride.into()), ..self }
    }

    /// The same, with padding on each side.
    pub fn padding(self, padding: impl Into<Pair>) -> Pool {
        Pool { padding: padding.into(), ..self }
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
    /// each of `O` output channels.
    #[track_caller]
    pub fn conv2d(&self, weight: &Tensor, bias: Option<&Tensor>, options: Conv) -> Tensor {
        if let Err(error) = conv_operands(self, weight, options) {
            return Tensor::from(error.at(Loc::caller()));
        }
        let dtype = promote(self.dtype(), weight.dtype());
        let padding = options.padding.ints();
        let (stride, dilation) = (options.stride.ints(), options.dilation.ints());
        let op = ops::convolution(&stride, &padding, &padding, &[1, 1], &dilation, options.groups as i64);
        let result = self.to_dtype(dtype).apply_with(op, &weight.to_dtype(dtype));
        match bias {
            Some(bias) => result + bias.reshape((-1, 1, 1)),
            None => result,
        }
    }

    /// The largest element in each window of images `[N, C, H, W]`.
    #[track_caller]
    pub fn max_pool2d(&self, pool: impl Into<Pool>) -> Tensor {
        self.pool2d(ReduceKind::Max, pool.into())
    }

    /// The mean of each window of images `[N, C, H, W]`; padding counts as zeros.
    #[track_caller]
    pub fn avg_pool2d(&self, pool: impl Into<Pool>) -> Tensor {
        let pool = pool.into();
        self.pool2d(ReduceKind::Sum, pool) / (pool.window.0 * pool.window.1) as f64
    }

    #[track_caller]
    fn pool2d(&self, kind: ReduceKind, pool: Pool) -> Tensor {
        let Pool { window, padding, .. } = pool;
        let problem = if self.error().is_none() && self.rank() < 2 {
            Some("pooling needs a tensor with at least two axes")
        } else if padding.0 * 2 > window.0 || padding.1 * 2 > window.1 {
            Some("pooling needs a padding of at most half the window")
        } else {
            None
        };
        if let Some(problem) = problem {
            return Error::new(problem).note("tensor", self.describe()).at(Loc::caller()).into();
        }
        let (stride, padding) = (pool.stride.unwrap_or(window).ints(), padding.ints());
        self.apply(ops::reduce_window(kind, &window.ints(), &stride, &padding, &padding, &[1, 1]))
    }
}

#[track_caller]
fn conv_operands(x: &Tensor, weight: &Tensor, options: Conv) -> Result<()> {
    let channels = expect_rank(x, 4, "conv2d")?[1];
    let shape = expect_rank(weight, 4, "conv2d")?;
    if options.groups == 0 || channels != shape[1] * options.groups || shape[0].rem(options.groups) != 0 {
        let message = match options.groups {
            1 => "conv2d needs as many input channels as its kernels have".to_owned(),
            n => format!("conv2d in {n} groups needs {n} times the kernels' channels, and a multiple of {n} kernels"),
        };
        return Err(Error::new(message).note("images", x.describe()).note("kernels", weight.describe()));
    }
    Ok(())
}
