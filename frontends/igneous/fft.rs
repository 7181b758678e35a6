//! Discrete Fourier transforms, by the names of `torch.fft`, with gradients, in eager and compiled mode, on the CPU.
//!
//! There are no complex element types: a complex tensor has real and imaginary part along a last axis of extent 2, as
//! `torch.view_as_real` gives them. Axes are counted without that one.
//!
//! ```
//! use igneous::{Tensor, fft, testing::assert_close};
//! let x = Tensor::new([1.0, 0.0, 0.0, 0.0]);
//! let spectrum = fft::rfft(&x, -1, fft::Norm::Backward);
//! assert_close(&spectrum, &Tensor::new([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]), 1e-6);
//! assert_close(&fft::irfft(&spectrum, 4, -1, fft::Norm::Backward), &x, 1e-6);
//! ```

use crate::location::{entered, here};
use crate::tensor::{Tensor, or_invalid};
use igneous_ir::types::normalize_axis;
use igneous_ir::{DType, Dim, Error, Result, ops};

/// Which of a transform and its inverse is divided by the number of elements (`norm`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Norm {
    /// The inverse.
    #[default]
    Backward,
    /// Both, by its root.
    Ortho,
    /// The transform.
    Forward,
}

impl Norm {
    /// The factor of the transform (or its inverse) of `n` elements.
    fn factor(self, n: usize, inverse: bool) -> f64 {
        let n = n.max(1) as f64;
        match (self, inverse) {
            (Norm::Ortho, _) => n.sqrt().recip(),
            (Norm::Backward, true) | (Norm::Forward, false) => n.recip(),
            _ => 1.0,
        }
    }
}

/// A complex tensor from its parts, of one shape.
#[track_caller]
pub fn complex(real: &Tensor, imaginary: &Tensor) -> Tensor {
    Tensor::stack(&[real, imaginary], -1)
}

/// The real part.
#[track_caller]
pub fn real(x: &Tensor) -> Tensor {
    x.select(-1, 0)
}

/// The imaginary part.
#[track_caller]
pub fn imag(x: &Tensor) -> Tensor {
    x.select(-1, 1)
}

/// The absolute values of a complex tensor.
#[track_caller]
pub fn magnitude(x: &Tensor) -> Tensor {
    x.square().sum(-1).sqrt()
}

/// Complex tensors in a type that transforms are computed in, and the axis among those that are not the parts'.
#[track_caller]
fn operand(x: &Tensor, axis: i64) -> Result<(Tensor, usize)> {
    let ty = x.ty()?;
    if ty.shape.last() != Some(&Dim::constant(2)) {
        let error = Error::new("a complex tensor has real and imaginary parts along a last axis of extent 2");
        return Err(error.note("tensor", x.describe()));
    }
    let axis = normalize_axis(axis, ty.rank() - 1).map_err(|e| e.note("tensor", x.describe()))?;
    Ok((if ty.dtype == DType::F64 { x.clone() } else { x.to_dtype(DType::F32) }, axis))
}

#[track_caller]
fn transform(x: &Tensor, axis: i64, inverse: bool, norm: Norm) -> Tensor {
    let user = entered();
    let loc = user.loc();
    let made = operand(x, axis).and_then(|(x, axis)| {
        let factor = norm.factor(x.shape()[axis].get()?, inverse);
        let y = x.apply(ops::fft(axis, inverse));
        Ok(if factor == 1.0 { y } else { y * factor })
    });
    or_invalid(made.map_err(|e| e.at(loc)))
}

/// The transform of a complex tensor along an axis.
#[track_caller]
pub fn fft(x: &Tensor, axis: i64, norm: Norm) -> Tensor {
    transform(x, axis, false, norm)
}

/// The inverse transform of a complex tensor along an axis.
#[track_caller]
pub fn ifft(x: &Tensor, axis: i64, norm: Norm) -> Tensor {
    transform(x, axis, true, norm)
}

/// The transform along several axes.
#[track_caller]
pub fn fftn(x: &Tensor, axes: &[i64], norm: Norm) -> Tensor {
    let mut y = x.clone();
    for &axis in axes {
        y = fft(&y, axis, norm);
    }
    y
}

/// The inverse transform along several axes.
#[track_caller]
pub fn ifftn(x: &Tensor, axes: &[i64], norm: Norm) -> Tensor {
    let mut y = x.clone();
    for &axis in axes {
        y = ifft(&y, axis, norm);
    }
    y
}

/// The transform along the last two axes.
#[track_caller]
pub fn fft2(x: &Tensor, norm: Norm) -> Tensor {
    fftn(x, &[-2, -1], norm)
}

/// The inverse transform along the last two axes.
#[track_caller]
pub fn ifft2(x: &Tensor, norm: Norm) -> Tensor {
    ifftn(x, &[-2, -1], norm)
}

/// The transform of a real tensor along an axis: the `n/2 + 1` complex numbers that determine the others.
#[track_caller]
pub fn rfft(x: &Tensor, axis: i64, norm: Norm) -> Tensor {
    let user = entered();
    let loc = user.loc();
    let made = x.ty().and_then(|ty| {
        let axis = normalize_axis(axis, ty.rank()).map_err(|e| e.note("tensor", x.describe()))?;
        let n = ty.shape[axis].get()?;
        if n == 0 {
            return Err(Error::new("a transform needs at least one element").note("tensor", x.describe()));
        }
        let y = fft(&complex(x, &x.zeros_like()), axis as i64, norm);
        Ok(y.narrow(axis as i64, 0, n / 2 + 1))
    });
    or_invalid(made.map_err(|e| e.at(loc)))
}

/// The real tensor of `n` elements along an axis whose transform [`rfft`] gives: the inverse.
#[track_caller]
pub fn irfft(x: &Tensor, n: usize, axis: i64, norm: Norm) -> Tensor {
    let user = entered();
    let loc = user.loc();
    let made = operand(x, axis).and_then(|(x, axis)| {
        if n == 0 {
            return Err(Error::new("a transform needs at least one element").note("tensor", x.describe()));
        }
        // As many as determine the result; missing ones are zero.
        let (given, needed) = (x.shape()[axis].get()?, n / 2 + 1);
        let mut widths = vec![(0, 0); x.rank()];
        widths[axis] = (0, needed as i64 - given as i64);
        let half = x.padded_with(&widths, 0.0);
        // Conjugates in reverse order complete them: all but the first and, of an even number, the middle one.
        let mirrored = half.narrow(axis as i64, 1, n - needed).flip(axis as i64);
        let conjugate = mirrored * Tensor::new([1.0, -1.0]).to_dtype(x.dtype()).to(x.device());
        let whole = Tensor::cat(&[half, conjugate], axis as i64);
        Ok(real(&ifft(&whole, axis as i64, norm)))
    });
    or_invalid(made.map_err(|e| e.at(loc)))
}

/// The transform of a real tensor along the last two axes, halved along the last.
#[track_caller]
pub fn rfft2(x: &Tensor, norm: Norm) -> Tensor {
    fft(&rfft(x, -1, norm), -2, norm)
}

/// The inverse of [`rfft2`], with `n` elements along the last axis.
#[track_caller]
pub fn irfft2(x: &Tensor, n: usize, norm: Norm) -> Tensor {
    irfft(&ifft(x, -2, norm), n, -1, norm)
}

/// The frequencies of a transform of `n` elements that are `spacing` apart.
#[track_caller]
pub fn fftfreq(n: usize, spacing: f64) -> Tensor {
    let (k, n) = (Tensor::arange(0, n), i64::try_from(n).unwrap_or(i64::MAX));
    let half = n / 2 + n % 2;
    let wrapped = (&k - n).where_(&k.ge(half), &k);
    wrapped.to_dtype(DType::F32) / (n as f64 * spacing)
}

/// The frequencies of [`rfft`].
#[track_caller]
pub fn rfftfreq(n: usize, spacing: f64) -> Tensor {
    Tensor::arange(0, n / 2 + 1).to_dtype(DType::F32) / (n as f64 * spacing)
}

/// The elements along an axis turned, so that frequency 0 is in the middle.
#[track_caller]
pub fn fftshift(x: &Tensor, axis: i64) -> Tensor {
    match x.size(axis).get() {
        Ok(n) => x.roll(&[n as i64 / 2], axis),
        Err(error) => x.error().cloned().unwrap_or_else(|| error.at(here())).into(),
    }
}

/// The inverse of [`fftshift`].
#[track_caller]
pub fn ifftshift(x: &Tensor, axis: i64) -> Tensor {
    match x.size(axis).get() {
        Ok(n) => x.roll(&[-(n as i64 / 2)], axis),
        Err(error) => x.error().cloned().unwrap_or_else(|| error.at(here())).into(),
    }
}
