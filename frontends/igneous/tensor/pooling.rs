//! Pooling over one to three axes, with windows or to a given size.

use super::window::PoolOptions;
use super::{Extents, Tensor, or_invalid};
use crate::location::{entered, here};
use igneous_ir::op::ReduceKind;
use igneous_ir::{DType, Dim, Error, Op, Result, Shape, ops};

macro_rules! pools {
    ($($n:literal $axes:literal $max:ident $indexed:ident $avg:ident $power:ident $adaptive_max:ident $adaptive_indexed:ident $adaptive_avg:ident;)*) => {
        impl Tensor {
            $(
                #[doc = concat!("The largest element in each window of `", $axes, "` (`torch.nn.functional.", stringify!($max), "`): along each axis of extent `n`,")]
                /// `⌊(n + 2·padding − dilation·(window−1) − 1) / stride⌋ + 1` places, rounded up in ceil mode. A NaN counts as the
                /// largest. The batch axis may be missing.
                #[track_caller]
                pub fn $max(&self, pool: impl Into<PoolOptions<$n>>) -> Tensor {
                    self.pooled(ReduceKind::Max, pool.into())
                }

                #[doc = concat!("[`", stringify!($max), "`](Tensor::", stringify!($max), ") and for each window the place of its largest element in the image,")]
                /// row-major over the spatial axes (`return_indices=True`).
                #[track_caller]
                pub fn $indexed(&self, pool: impl Into<PoolOptions<$n>>) -> (Tensor, Tensor) {
                    let pool = pool.into();
                    (self.pooled(ReduceKind::Max, pool), self.place_of_maximum(pool))
                }

                #[doc = concat!("The mean of each window of `", $axes, "` (`torch.nn.functional.", stringify!($avg), "`); padding counts as zeros")]
                /// unless the options say otherwise. The window takes no dilation.
                #[track_caller]
                pub fn $avg(&self, pool: impl Into<PoolOptions<$n>>) -> Tensor {
                    self.averaged(stringify!($avg), pool.into())
                }

                #[doc = concat!("The `p`-norm `(Σ xᵖ)^(1/p)` of each window of `", $axes, "` (`torch.nn.functional.", stringify!($power), "`).")]
                /// A window that reaches over the end counts as if what is outside were like what is inside. The window takes no
                /// padding and no dilation.
                #[track_caller]
                pub fn $power(&self, p: f64, pool: impl Into<PoolOptions<$n>>) -> Tensor {
                    self.powers(stringify!($power), p, pool.into())
                }

                #[doc = concat!("The largest elements of `", $axes, "` in so many windows as give this size (`torch.nn.functional.", stringify!($adaptive_max), "`).")]
                #[track_caller]
                pub fn $adaptive_max(&self, size: impl Into<Extents<$n>>) -> Tensor {
                    self.adaptive(stringify!($adaptive_max), size.into(), Tensor::largest_in_parts)
                }

                #[doc = concat!("[`", stringify!($adaptive_max), "`](Tensor::", stringify!($adaptive_max), ") and for each window the place of its largest element in the image,")]
                /// row-major over the spatial axes (`return_indices=True`).
                #[track_caller]
                pub fn $adaptive_indexed(&self, size: impl Into<Extents<$n>>) -> (Tensor, Tensor) {
                    self.adaptive_with_places(stringify!($adaptive_indexed), size.into())
                }

                #[doc = concat!("The means of `", $axes, "` over so many windows as give this size (`torch.nn.functional.", stringify!($adaptive_avg), "`).")]
                #[track_caller]
                pub fn $adaptive_avg(&self, size: impl Into<Extents<$n>>) -> Tensor {
                    self.as_wide().adaptive(stringify!($adaptive_avg), size.into(), Tensor::means_of_parts).rounded_as(self)
                }
            )*
        }
    };
}

pools! {
    1 "[N, C, L]" max_pool1d max_pool1d_with_indices avg_pool1d lp_pool1d adaptive_max_pool1d adaptive_max_pool1d_with_indices adaptive_avg_pool1d;
    2 "[N, C, H, W]" max_pool2d max_pool2d_with_indices avg_pool2d lp_pool2d adaptive_max_pool2d adaptive_max_pool2d_with_indices adaptive_avg_pool2d;
    3 "[N, C, D, H, W]" max_pool3d max_pool3d_with_indices avg_pool3d lp_pool3d adaptive_max_pool3d adaptive_max_pool3d_with_indices adaptive_avg_pool3d;
}

impl Tensor {
    /// The spatial extents, after a check of the rank.
    fn spatial(&self, n: usize) -> Result<Vec<Dim>> {
        let shape = self.ty()?.shape;
        if shape.len() != n + 1 && shape.len() != n + 2 {
            let (many, one) = match n {
                1 => ("[N, C, L]", "one sequence [C, L]"),
                2 => ("[N, C, H, W]", "one image [C, H, W]"),
                _ => ("[N, C, D, H, W]", "one volume [C, D, H, W]"),
            };
            let things = ["sequences", "images", "volumes"][n - 1];
            return Err(Error::new(format!("pooling needs {things} {many} or {one}")));
        }
        Ok(shape[shape.len() - n..].to_vec())
    }

    /// The zeros in front and behind.
    fn around<const N: usize>(&self, pool: PoolOptions<N>) -> Result<([i64; N], [i64; N])> {
        pool.check()?;
        let spatial = self.spatial(N)?;
        let low = pool.padding.ints();
        let mut high = low;
        for (i, high) in high.iter_mut().enumerate() {
            *high += pool.overhang(spatial[i], i)?;
        }
        Ok((low, high))
    }

    fn window_op<const N: usize>(&self, kind: ReduceKind, pool: PoolOptions<N>) -> Result<Op> {
        let (low, high) = self.around(pool)?;
        Ok(ops::reduce_window(kind, &pool.window.ints(), &pool.step().ints(), &low, &high, &pool.dilation.ints()))
    }

    #[track_caller]
    fn pooled<const N: usize>(&self, kind: ReduceKind, pool: PoolOptions<N>) -> Tensor {
        if self.error().is_some() {
            return self.clone();
        }
        match self.window_op(kind, pool) {
            Ok(op) => self.apply(op),
            Err(error) => error.note("tensor", self.describe()).at(here()).into(),
        }
    }

    /// For each window the row-major place in the image of its first largest element.
    #[track_caller]
    fn place_of_maximum<const N: usize>(&self, pool: PoolOptions<N>) -> Tensor {
        let within = self.detach().as_float().pooled(ReduceKind::ArgMax, pool);
        let (Ok(ty), Ok(spatial)) = (within.ty(), self.spatial(N)) else { return within };
        let lead = ty.rank() - N;
        let (window, stride) = (pool.window.ints(), pool.step().ints());
        let (padding, dilation) = (pool.padding.ints(), pool.dilation.ints());
        let mut place = within.zeros_like();
        for i in 0..N {
            let inner: i64 = window[i + 1..].iter().product();
            let inside = within.floor_divide(inner) % window[i];
            let mut shape = vec![1i64; N];
            shape[i] = -1;
            let from = (Tensor::arange(0, ty.shape[lead + i]) * stride[i] - padding[i]).reshape(&shape);
            place = place * spatial[i] + from + inside * dilation[i];
        }
        place
    }

    #[track_caller]
    fn averaged<const N: usize>(&self, what: &str, pool: PoolOptions<N>) -> Tensor {
        let _user = entered();
        if self.error().is_some() {
            return self.clone();
        }
        if pool.dilation != 1.into() {
            let error = Error::new(format!("{what} takes no dilation")).note("tensor", self.describe());
            return error.at(here()).into();
        }
        let sums = self.as_wide().pooled(ReduceKind::Sum, pool);
        if let Some(divisor) = pool.divisor {
            return (sums / divisor).rounded_as(self);
        }
        let whole = pool.window.0.iter().map(|&n| n as f64).product::<f64>();
        if pool.count_padding && !pool.ceil {
            return (sums / whole).rounded_as(self);
        }
        let counts = self.spatial(N).and_then(|spatial| {
            // In ceil mode what lies behind the padding does not count, even where padding does.
            let padding = if pool.count_padding { pool.padding.ints() } else { [0; N] };
            let extents: Shape = (0..N).map(|i| spatial[i] + Dim::constant(2 * padding[i])).collect();
            let (low, high) = self.around(pool)?;
            let (low, high): (Vec<i64>, Vec<i64>) = (0..N).map(|i| (low[i] - padding[i], high[i] - padding[i])).unzip();
            let [window, stride] = [pool.window, pool.step()].map(|e| e.ints());
            let op = ops::reduce_window(ReduceKind::Sum, &window, &stride, &low, &high, &[1; N]);
            let ones = Tensor::filled(extents, 1.into(), sums.dtype());
            let mut lead = vec![1i64; sums.rank() - N];
            let counted = ones.apply(op);
            lead.extend(counted.shape().iter().map(|d| d.as_const().unwrap_or(-1)));
            Ok(counted.reshape(&lead))
        });
        match counts {
            Ok(counts) => (sums / counts).rounded_as(self),
            Err(error) => error.note("tensor", self.describe()).at(here()).into(),
        }
    }

    #[track_caller]
    fn powers<const N: usize>(&self, what: &str, p: f64, pool: PoolOptions<N>) -> Tensor {
        let user = entered();
        if self.error().is_none() && (p.is_nan() || p == 0.0 || pool.padding != 0.into()) {
            let error = Error::new(format!("{what} needs an exponent that is not 0, and no padding"));
            return error.note("exponent", p).note("tensor", self.describe()).at(user.loc()).into();
        }
        let elements: f64 = pool.window.0.iter().map(|&n| n as f64).product();
        (self.as_float().pow(p).averaged(what, pool) * elements).pow(1.0 / p)
    }

    /// One axis after the other in so many parts.
    #[track_caller]
    fn adaptive<const N: usize>(&self, what: &str, size: Extents<N>, part: fn(&Tensor, usize, usize, usize) -> Tensor) -> Tensor {
        let user = entered();
        let loc = user.loc();
        let spatial = self.spatial(N).map_err(|e| Error::new(e.message().replace("pooling", what)));
        let spatial = spatial.and_then(|s| s.iter().map(|d| d.get()).collect::<Result<Vec<usize>>>());
        let spatial = match (self.check(), spatial) {
            (Err(error), _) => return error.into(),
            (_, Ok(spatial)) => spatial,
            (_, Err(error)) => return error.note("tensor", self.describe()).at(loc).into(),
        };
        if spatial.contains(&0) {
            let error = Error::new(format!("{what} needs at least one element along each spatial axis"));
            return error.note("tensor", self.describe()).at(loc).into();
        }
        let mut result = self.clone();
        for (i, &extent) in spatial.iter().enumerate() {
            if extent != size.0[i] {
                result = part(&result, self.rank() - N + i, extent, size.0[i]);
            }
        }
        result
    }

    /// Bounds of part `k` of `count`: `⌊k·n/count⌋` to `⌈(k+1)·n/count⌉`, as `i64[count]` each.
    #[track_caller]
    fn parts(extent: usize, count: usize) -> (Tensor, Tensor) {
        let k = Tensor::arange(0, count);
        let (n, count) = (extent as i64, i64::try_from(count).unwrap_or(i64::MAX));
        ((&k * n).floor_divide(count), ((&k + 1) * n + (count - 1)).floor_divide(count))
    }

    /// The mean over each part of an axis: a product with a matrix of weights.
    #[track_caller]
    fn means_of_parts(&self, axis: usize, extent: usize, count: usize) -> Tensor {
        let (from, to) = Tensor::parts(extent, count);
        let place = Tensor::arange(0, extent).unsqueeze(0);
        let inside = place.ge(from.unsqueeze(1)) & place.lt(to.unsqueeze(1));
        let weights = inside.to_dtype(self.dtype()) / (to - from).unsqueeze(1).to_dtype(self.dtype());
        let last = -1;
        self.transpose(axis as i64, last).matmul(&weights.t()).transpose(axis as i64, last)
    }

    /// The largest elements of parts of the spatial axes, and their places.
    #[track_caller]
    fn adaptive_with_places<const N: usize>(&self, what: &str, size: Extents<N>) -> (Tensor, Tensor) {
        let user = entered();
        // Errors are those of the elements alone.
        let checked = self.detach().adaptive(what, size, Tensor::largest_in_parts);
        let Ok(spatial) = checked.check().and_then(|()| self.spatial(N)) else { return (checked.clone(), checked) };
        let lead = self.rank() - N;
        let joined = |x: &Tensor, axes: &[Dim]| {
            let mut shape: Shape = self.shape()[..lead].into();
            shape.push(axes.iter().copied().fold(Dim::ONE, |a, b| a * b));
            x.reshape(shape)
        };
        let image = spatial.iter().copied().fold(Dim::ONE, |a, b| a * b);
        let mut place = Tensor::arange(0, image).reshape(spatial.iter().copied().collect::<Shape>()).expand(self.shape());
        let mut value = self.detach();
        // The last axis first: of equal elements, the first in row-major order is chosen.
        for i in (0..N).rev() {
            let axis = lead + i;
            let extent = match spatial[i].get() {
                Ok(extent) => extent,
                Err(error) => return (error.clone().at(user.loc()).into(), error.at(user.loc()).into()),
            };
            let inside = Tensor::places_of_parts(extent, size.0[i]);
            let (values, places) = (value.chosen(axis, &inside), place.chosen(axis, &inside));
            let first = values.argmax_keepdim(axis as i64 + 1);
            value = values.gather(axis as i64 + 1, &first).squeeze(axis as i64 + 1);
            place = places.gather(axis as i64 + 1, &first).squeeze(axis as i64 + 1);
        }
        let sizes: Vec<Dim> = size.0.iter().map(|&n| Dim::from(n)).collect();
        let picked = joined(self, &spatial).gather(-1, &joined(&place, &sizes)).reshape(place.shape());
        (picked, place)
    }

    /// The places in each part of an axis: `i64[count, longest]`. Parts of different lengths repeat their last.
    #[track_caller]
    fn places_of_parts(extent: usize, count: usize) -> Tensor {
        let (from, to) = Tensor::parts(extent, count);
        let longest = extent.div_ceil(count.max(1)) + usize::from(!extent.is_multiple_of(count.max(1)));
        let place = (from.unsqueeze(1) + Tensor::arange(0, longest)).minimum((to - 1).unsqueeze(1));
        place.to_dtype(DType::I64)
    }

    /// The maximum over each part of an axis.
    #[track_caller]
    fn largest_in_parts(&self, axis: usize, extent: usize, count: usize) -> Tensor {
        self.chosen(axis, &Tensor::places_of_parts(extent, count)).max(axis as i64 + 1)
    }

    /// Elements along an axis at places that are known to be inside; the axes of `places` come instead of it.
    #[track_caller]
    pub(super) fn chosen(&self, axis: usize, places: &Tensor) -> Tensor {
        or_invalid(super::index::gather_together(self, vec![(axis, places.clone())], here()))
    }
}
