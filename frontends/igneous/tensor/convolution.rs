//! Convolution over one to three axes, and its transpose.

use super::pad::PadMode;
use super::promote::promote;
use super::window::{Border, ConvOptions, ConvTransposeOptions, Extents, int};
use super::{Tensor, or_invalid};
use crate::location::entered;
use igneous_ir::{Dim, Error, Op, Result, Shape, ops};

impl Tensor {
    /// The convolution (cross-correlation) of sequences `[N, C, L]` with kernels `[O, C / groups, l]`, plus a bias for each of
    /// `O` output channels (`torch.nn.functional.conv1d`). A sequence may come without the batch axis.
    #[track_caller]
    pub fn conv1d(&self, weight: &Tensor, bias: Option<&Tensor>, options: ConvOptions<1>) -> Tensor {
        convolved("conv1d", self, weight, bias, options)
    }

    /// The convolution (cross-correlation) of images `[N, C, H, W]` with kernels `[O, C / groups, h, w]`, plus a bias for
    /// each of `O` output channels (`torch.nn.functional.conv2d`): `[N, O, H', W']` with
    /// `H' = ⌊(H + padding − dilation·(h−1) − 1) / stride⌋ + 1`, `padding` counting both sides. An image may come without the
    /// batch axis.
    #[track_caller]
    pub fn conv2d(&self, weight: &Tensor, bias: Option<&Tensor>, options: ConvOptions<2>) -> Tensor {
        convolved("conv2d", self, weight, bias, options)
    }

    /// The convolution of volumes `[N, C, D, H, W]` with kernels `[O, C / groups, d, h, w]`, plus a bias for each of `O` output
    /// channels (`torch.nn.functional.conv3d`). A volume may come without the batch axis.
    #[track_caller]
    pub fn conv3d(&self, weight: &Tensor, bias: Option<&Tensor>, options: ConvOptions<3>) -> Tensor {
        convolved("conv3d", self, weight, bias, options)
    }

    /// The transpose of [`conv1d`](Tensor::conv1d): sequences `[N, C, L]`, kernels `[C, O / groups, l]`
    /// (`torch.nn.functional.conv_transpose1d`).
    #[track_caller]
    pub fn conv_transpose1d(&self, weight: &Tensor, bias: Option<&Tensor>, options: ConvTransposeOptions<1>) -> Tensor {
        transposed("conv_transpose1d", self, weight, bias, options)
    }

    /// The transpose of [`conv2d`](Tensor::conv2d), for which PyTorch says deconvolution: images `[N, C, H, W]`, kernels
    /// `[C, O / groups, h, w]`, result `[N, O, H', W']` with
    /// `H' = (H − 1)·stride − 2·padding + dilation·(h − 1) + output_padding + 1` (`torch.nn.functional.conv_transpose2d`).
    #[track_caller]
    pub fn conv_transpose2d(&self, weight: &Tensor, bias: Option<&Tensor>, options: ConvTransposeOptions<2>) -> Tensor {
        transposed("conv_transpose2d", self, weight, bias, options)
    }

    /// The transpose of [`conv3d`](Tensor::conv3d): volumes `[N, C, D, H, W]`, kernels `[C, O / groups, d, h, w]`
    /// (`torch.nn.functional.conv_transpose3d`).
    #[track_caller]
    pub fn conv_transpose3d(&self, weight: &Tensor, bias: Option<&Tensor>, options: ConvTransposeOptions<3>) -> Tensor {
        transposed("conv_transpose3d", self, weight, bias, options)
    }
}

/// The operands of a convolution in one element type, the images with a batch axis.
struct Operands<'a> {
    what: &'static str,
    x: &'a Tensor,
    weight: &'a Tensor,
    bias: Option<&'a Tensor>,
}

impl Operands<'_> {
    fn error(&self, message: String) -> Error {
        let error = Error::new(message).note("images", self.x.describe()).note("kernels", self.weight.describe());
        self.bias.into_iter().fold(error, |error, bias| error.note("bias", bias.describe()))
    }

    /// The extents of images (with a batch axis) and kernels over `n` spatial axes.
    fn shapes(&self, n: usize) -> Result<(Shape, Shape)> {
        let (mut shape, kernels) = (self.x.ty()?.shape, self.weight.ty()?.shape);
        if shape.len() == n + 1 {
            shape.insert(0, Dim::ONE);
        }
        let wrong = if shape.len() != n + 2 { self.x } else { self.weight };
        if shape.len() != n + 2 || kernels.len() != n + 2 {
            let error = Error::new(format!("{} needs a tensor with {} axes", self.what, n + 2));
            return Err(error.note("tensor", wrong.describe()));
        }
        Ok((shape, kernels))
    }

    /// Checks that the bias has an element for each output channel.
    fn check_bias(&self, outputs: Dim) -> Result<()> {
        let Some(bias) = self.bias else { return Ok(()) };
        if bias.ty()?.shape.as_slice() != [outputs] {
            return Err(self.error(format!("{} needs a bias with one element for each kernel", self.what)));
        }
        Ok(())
    }

    /// Applies the operator and adds the bias.
    #[track_caller]
    fn run(&self, op: Op, weight: &Tensor, n: usize) -> Tensor {
        let single = self.x.rank() == n + 1;
        let x = if single { self.x.unsqueeze(0) } else { self.x.clone() };
        let dtype = promote(x.dtype(), weight.dtype());
        let result = x.to_dtype(dtype).apply_with(op, &weight.to_dtype(dtype));
        let result = if single { result.squeeze(0) } else { result };
        let Some(bias) = self.bias else { return result };
        let shape: Vec<i64> = std::iter::once(-1).chain((0..n).map(|_| 1)).collect();
        result + bias.in_autocast_half().reshape(&shape)
    }
}

#[track_caller]
fn convolved<const N: usize>(
    what: &'static str,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    options: ConvOptions<N>,
) -> Tensor {
    let user = entered();
    let bordered = match bordered(x, weight, options) {
        Ok(bordered) => bordered,
        Err(error) => return error.note("images", x.describe()).at(user.loc()).into(),
    };
    let (x, options) = match &bordered {
        Some(x) => (x, ConvOptions { padding: 0.into(), border: Border::Zeros, ..options }),
        None => (x, options),
    };
    let operands = Operands { what, x, weight, bias };
    match convolution(&operands, options) {
        Ok(op) => operands.run(op, weight, N),
        Err(error) => Tensor::from(error.at(user.loc())),
    }
}

/// The images with a border of their own elements, if the options ask for one.
#[track_caller]
fn bordered<const N: usize>(x: &Tensor, weight: &Tensor, options: ConvOptions<N>) -> Result<Option<Tensor>> {
    let mode = match options.border {
        Border::Zeros => return Ok(None),
        Border::Reflect => PadMode::Reflect,
        Border::Replicate => PadMode::Replicate,
        Border::Circular => PadMode::Circular,
    };
    options.check()?;
    let (low, high) = options.around(weight.shape().get(2..).filter(|kernel| kernel.len() == N).unwrap_or(&[Dim::ONE; N]))?;
    let widths: Vec<(i64, i64)> = low.into_iter().zip(high).rev().collect();
    let padded = x.pad_with(&widths, mode);
    padded.check().map(|()| Some(padded))
}

fn convolution<const N: usize>(operands: &Operands, options: ConvOptions<N>) -> Result<Op> {
    let (shape, kernels) = operands.shapes(N)?;
    let error = |message: String| operands.error(message);
    options.check().map_err(|e| error(e.message().to_owned()))?;
    let what = operands.what;
    if shape[1] != kernels[1] * options.groups || kernels[0].rem(options.groups) != 0 {
        return Err(error(match options.groups {
            1 => format!("{what} needs as many input channels as its kernels have"),
            n => format!("{what} in {n} groups needs {n} times the kernels' channels, and a multiple of {n} kernels"),
        }));
    }
    operands.check_bias(kernels[0])?;
    let (low, high) = options.around(&kernels[2..])?;
    let (stride, dilation) = (options.stride.ints(), options.dilation.ints());
    Ok(ops::convolution(&stride, &low, &high, &[1; N], &dilation, int(options.groups)))
}

#[track_caller]
fn transposed<const N: usize>(
    what: &'static str,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    options: ConvTransposeOptions<N>,
) -> Tensor {
    let user = entered();
    let operands = Operands { what, x, weight, bias };
    let made = transposition(&operands, options).map(|op| operands.run(op, &mirrored(weight, options.groups, N), N));
    or_invalid(made.map_err(|e| e.at(user.loc())))
}

/// The transpose of a convolution is a convolution of the image with holes, with mirrored kernels and exchanged channels.
fn transposition<const N: usize>(operands: &Operands, options: ConvTransposeOptions<N>) -> Result<Op> {
    let (shape, kernels) = operands.shapes(N)?;
    let error = |message: String| operands.error(message);
    options.check().map_err(|e| error(e.message().to_owned()))?;
    let what = operands.what;
    if shape[1] != kernels[0] || shape[1].rem(options.groups) != 0 {
        return Err(error(match options.groups {
            1 => format!("{what} needs as many input channels as there are kernels"),
            n => format!("{what} in {n} groups needs as many input channels as there are kernels, and a multiple of {n}"),
        }));
    }
    operands.check_bias(kernels[1] * options.groups)?;
    let Extents(padding) = options.padding;
    let (mut low, mut high) = ([0; N], [0; N]);
    for i in 0..N {
        let reach = int(options.dilation.0[i]) * (kernels[2 + i].get()? as i64 - 1);
        low[i] = reach - int(padding[i]);
        high[i] = low[i] + int(options.output_padding.0[i]);
    }
    Ok(ops::convolution(&[1; N], &low, &high, &options.stride.ints(), &options.dilation.ints(), int(options.groups)))
}

/// Kernels `[C, O / groups, …]` as `[O, C / groups, …]`, mirrored along the spatial axes.
#[track_caller]
fn mirrored(weight: &Tensor, groups: usize, n: usize) -> Tensor {
    let shape = weight.shape();
    let spatial: Vec<i64> = (2..2 + n as i64).collect();
    let flipped = weight.flip(&spatial);
    let (channels, outputs) = (shape[0].div_floor(Dim::from(groups)), shape[1]);
    let mut split = Shape::from_iter([Dim::from(groups), channels, outputs]);
    split.extend(shape[2..].iter().copied());
    let mut joined = Shape::from_iter([outputs * groups, channels]);
    joined.extend(shape[2..].iter().copied());
    flipped.reshape_to(split).transpose(1, 2).reshape_to(joined)
}
