//! Images of other sizes.

use super::{Tensor, or_invalid};
use crate::location::entered;
use igneous_ir::{DType, Error, Result};

/// How elements between those of an image are made (PyTorch's `mode`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interpolation {
    /// The element in front (`nearest`).
    Nearest,
    /// The element whose centre is nearest (`nearest-exact`).
    NearestExact,
    /// Between neighbours along each axis: linear, bilinear, trilinear.
    Linear,
    /// By cubic convolution along each axis. Keys 1981, with the constant −0.75.
    Cubic,
    /// The mean of what an element covers.
    Area,
}

/// What the ends of an axis mean for sampling (PyTorch's `align_corners`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Corners {
    /// The centres of the first and the last element.
    Aligned,
    /// The outer borders of the first and the last element.
    #[default]
    Apart,
}

/// The constant of Keys' cubic convolution that PyTorch uses.
const KEYS: f64 = -0.75;

/// Between the second and the third of four neighbours, at `t` behind the second. The weights' sum is 1, so that differences
/// from the second do: where all are equal, nothing is left to rounding.
#[track_caller]
pub(super) fn cubic([a, b, c, d]: [Tensor; 4], t: &Tensor) -> Tensor {
    let near = |x: &Tensor| ((x * (KEYS + 2.0) - (KEYS + 3.0)) * x * x) + 1.0;
    let far = |x: &Tensor| ((x * KEYS - 5.0 * KEYS) * x + 8.0 * KEYS) * x - 4.0 * KEYS;
    (a - &b) * far(&(t + 1.0)) + (c - &b) * near(&(1.0 - t)) + (d - &b) * far(&(2.0 - t)) + b
}

/// 1 at 0, falling to 0 at ±1.
fn triangle(x: f64) -> f64 {
    (1.0 - x.abs()).max(0.0)
}

/// Keys' cubic convolution with the constant −0.5.
fn cubic_weight(x: f64) -> f64 {
    const A: f64 = -0.5;
    match x.abs() {
        x if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        x if x < 2.0 => ((x - 5.0) * x + 8.0) * x * A - 4.0 * A,
        _ => 0.0,
    }
}

/// For each of `to` elements the weights of the `extent` elements that it covers, `[to, extent]`: a window of the given radius,
/// widened where elements become fewer. The weights' sum is 1.
fn covering(extent: usize, to: usize, radius: f64, weight: fn(f64) -> f64) -> Vec<f64> {
    let scale = extent as f64 / to as f64;
    let widened = scale.max(1.0);
    let mut all = vec![0.0; to * extent];
    for (k, row) in all.chunks_mut(extent).enumerate() {
        let centre = scale * (k as f64 + 0.5);
        let from = ((centre - radius * widened + 0.5).max(0.0) as usize).min(extent);
        let until = ((centre + radius * widened + 0.5).max(0.0) as usize).min(extent);
        for (i, x) in row.iter_mut().enumerate().take(until).skip(from) {
            *x = weight((i as f64 - centre + 0.5) / widened);
        }
        let sum: f64 = row.iter().sum();
        row.iter_mut().for_each(|x| *x /= sum);
    }
    all
}

impl Tensor {
    /// Images `[N, C, …]` of another size (`torch.nn.functional.interpolate` with `size`): one to three spatial axes.
    #[track_caller]
    pub fn interpolate(&self, size: &[usize], mode: Interpolation, corners: Corners) -> Tensor {
        let user = entered();
        let loc = user.loc();
        let scales = vec![None; size.len()];
        or_invalid(self.resized(size, &scales, mode, corners).map_err(|e| e.note("tensor", self.describe()).at(loc)))
    }

    /// Images `[N, C, …]` larger by factors (`torch.nn.functional.interpolate` with `scale_factor`): one to three spatial axes.
    #[track_caller]
    pub fn interpolate_by(&self, factors: &[f64], mode: Interpolation, corners: Corners) -> Tensor {
        let user = entered();
        let loc = user.loc();
        let made = self.ty().and_then(|ty| {
            let spatial = ty.shape.get(2..).unwrap_or_default();
            if spatial.len() != factors.len() || factors.iter().any(|f| !(f.is_finite() && *f > 0.0)) {
                return Err(Error::new("interpolate needs a positive factor for each spatial axis"));
            }
            let size = spatial.iter().zip(factors).map(|(d, f)| Ok((d.get()? as f64 * f).floor() as usize));
            let scales: Vec<Option<f64>> = factors.iter().map(|f| Some(1.0 / f)).collect();
            self.resized(&size.collect::<Result<Vec<_>>>()?, &scales, mode, corners)
        });
        or_invalid(made.map_err(|e| e.note("tensor", self.describe()).at(loc)))
    }

    /// Images `[N, C, …]` of another size, each element a mean over what it covers when images become smaller
    /// (`torch.nn.functional.interpolate` with `antialias=True`): by triangles ([`Interpolation::Linear`]) or by cubic
    /// convolution with the constant −0.5 ([`Interpolation::Cubic`]).
    #[track_caller]
    pub fn interpolate_antialiased(&self, size: &[usize], mode: Interpolation) -> Tensor {
        let user = entered();
        let made = self.antialiased(size, mode);
        or_invalid(made.map_err(|e| e.note("tensor", self.describe()).at(user.loc())))
    }

    #[track_caller]
    fn antialiased(&self, size: &[usize], mode: Interpolation) -> Result<Tensor> {
        let (radius, weight): (f64, fn(f64) -> f64) = match mode {
            Interpolation::Linear => (1.0, triangle),
            Interpolation::Cubic => (2.0, cubic_weight),
            other => return Err(Error::new(format!("antialiasing goes with Linear or Cubic interpolation, not {other:?}"))),
        };
        let extents = self.spatial_extents(size)?;
        let mut result = self.as_float();
        for (i, (&extent, &to)) in extents.iter().zip(size).enumerate() {
            if extent == to {
                continue;
            }
            let weights = Tensor::from_vec(covering(extent, to, radius, weight), (to, extent)).to_dtype(result.dtype());
            let axis = 2 + i as i64;
            result = result.transpose(axis, -1).matmul(&weights.t()).transpose(axis, -1);
        }
        Ok(result)
    }

    /// The extents of the spatial axes, which there must be as many of as there are in `size`.
    fn spatial_extents(&self, size: &[usize]) -> Result<Vec<usize>> {
        let shape = self.ty()?.shape;
        if shape.len() != size.len() + 2 || !(1..=3).contains(&size.len()) {
            return Err(Error::new("interpolate needs images [N, C, …] with one to three spatial axes, and a size for each"));
        }
        let extents = shape[2..].iter().map(|d| d.get()).collect::<Result<Vec<usize>>>()?;
        if extents.contains(&0) || size.contains(&0) {
            return Err(Error::new("interpolate needs at least one element along each spatial axis"));
        }
        Ok(extents)
    }

    #[track_caller]
    fn resized(&self, size: &[usize], scales: &[Option<f64>], mode: Interpolation, corners: Corners) -> Result<Tensor> {
        let extents = self.spatial_extents(size)?;
        if mode == Interpolation::Area {
            return Ok(match size {
                [a] => self.adaptive_avg_pool1d([*a]),
                [a, b] => self.adaptive_avg_pool2d([*a, *b]),
                [a, b, c] => self.adaptive_avg_pool3d([*a, *b, *c]),
                _ => unreachable!("the number of axes was checked"),
            });
        }
        let mut result = self.clone();
        for (i, (&extent, &to)) in extents.iter().zip(size).enumerate() {
            let scale = scales[i].unwrap_or(extent as f64 / to as f64);
            result = result.resized_axis(2 + i, extent, to, scale, mode, corners);
        }
        Ok(result)
    }

    /// One axis of a constant extent resized.
    #[track_caller]
    fn resized_axis(&self, axis: usize, extent: usize, to: usize, scale: f64, mode: Interpolation, corners: Corners) -> Tensor {
        let place = Tensor::arange(0, to).to_dtype(DType::F64);
        let last = extent as i64 - 1;
        match mode {
            Interpolation::Nearest => return self.chosen(axis, &(place * scale).floor().to_dtype(DType::I64).minimum(last)),
            Interpolation::NearestExact => {
                return self.chosen(axis, &((place + 0.5) * scale).floor().to_dtype(DType::I64).minimum(last));
            }
            _ => {}
        }
        let place = match corners {
            Corners::Aligned if to > 1 => place * (last as f64 / (to - 1) as f64),
            Corners::Aligned => place * 0.0,
            Corners::Apart => (place + 0.5) * scale - 0.5,
        };
        let place = if mode == Interpolation::Linear { place.maximum(0.0) } else { place };
        let floor = place.floor();
        let shape: Vec<i64> = (0..self.rank()).map(|a| if a == axis { -1 } else { 1 }).collect();
        let x = self.as_float();
        let rest = (place - &floor).to_dtype(x.dtype()).reshape(&shape);
        let first = floor.to_dtype(DType::I64);
        let at = |offset: i64| x.chosen(axis, &(&first + offset).maximum(0).minimum(last));
        if mode == Interpolation::Linear {
            let (low, high) = (at(0), at(1));
            return &low * (1.0 - &rest) + high * rest;
        }
        cubic([at(-1), at(0), at(1), at(2)], &rest)
    }
}
