//! Moving, repeating and taking apart.

use super::arguments::Axes;
use super::{Tensor, or_invalid};
use crate::location::{entered, here};
use crate::trace;
use igneous_ir::types::normalize_axis;
use igneous_ir::{DType, Dim, Error, Loc, Result, Shape};
use std::borrow::Borrow;

impl Tensor {
    /// Some axes moved to other places; the others keep their order (`torch.movedim`).
    #[track_caller]
    pub fn movedim(&self, from: impl Axes, to: impl Axes) -> Tensor {
        let user = entered();
        let loc = user.loc();
        let rank = self.rank();
        let order = self.check().and_then(|()| {
            let normal = |axes: &[i64]| axes.iter().map(|&a| normalize_axis(a, rank)).collect::<Result<Vec<usize>>>();
            let (from, to) = (normal(&from.axes())?, normal(&to.axes())?);
            let twice = |axes: &[usize]| (1..axes.len()).any(|i| axes[..i].contains(&axes[i]));
            if from.len() != to.len() || twice(&from) || twice(&to) {
                return Err(Error::new("movedim needs as many places as axes, and none twice"));
            }
            let mut rest = (0..rank).filter(|a| !from.contains(a));
            let source = |place: usize| match to.iter().position(|&t| t == place) {
                Some(k) => from[k],
                None => rest.next().expect("as many axes stay as places do"),
            };
            Ok((0..rank).map(source).collect::<Vec<usize>>())
        });
        match order {
            Ok(order) => self.permuted(&order),
            Err(error) if self.error().is_some() => error.into(),
            Err(error) => error.note("tensor", self.describe()).at(loc).into(),
        }
    }

    /// Two axes exchanged: [`transpose`](Tensor::transpose) by numpy's name.
    #[track_caller]
    pub fn swapaxes(&self, a: i64, b: i64) -> Tensor {
        self.transpose(a, b)
    }

    /// The elements moved along some axes, by `shifts[i]` along `axes[i]`; what leaves at the end comes in at the start.
    #[track_caller]
    pub fn roll(&self, shifts: &[i64], axes: impl Axes) -> Tensor {
        let axes = axes.axes().into_owned();
        if self.error().is_none() && axes.len() != shifts.len() {
            let error = Error::new(format!("roll needs a shift for each axis: {} for {}", shifts.len(), axes.len()));
            return error.note("tensor", self.describe()).at(here()).into();
        }
        let mut result = self.clone();
        for (&shift, &axis) in shifts.iter().zip(&axes) {
            let at = match result.axis(axis) {
                Ok(at) => at,
                Err(error) => return error.into(),
            };
            let extent = match result.shape()[at].get() {
                Ok(extent) => extent,
                Err(error) => return Tensor::from(error.at(here())),
            };
            let shift = if extent == 0 { 0 } else { shift.rem_euclid(extent as i64) as usize };
            if shift != 0 {
                let (front, back) = (result.narrow(axis, 0, extent - shift), result.narrow(axis, extent - shift, shift));
                result = Tensor::cat(&[back, front], axis);
            }
        }
        result
    }

    /// The elements in row-major order moved by `shift`, those that leave at the end come in at the start.
    #[track_caller]
    pub fn roll_all(&self, shift: i64) -> Tensor {
        let shape = self.shape();
        self.flatten_all().roll(&[shift], 0).reshape(shape)
    }

    /// Turned by `k` right angles in the plane of two axes, from the first towards the second.
    #[track_caller]
    pub fn rot90(&self, k: i64, a: i64, b: i64) -> Tensor {
        match k.rem_euclid(4) {
            0 => self.clone(),
            1 => self.flip(b).transpose(a, b),
            2 => self.flip(a).flip(b),
            _ => self.flip(a).transpose(a, b),
        }
    }

    /// The slices of `size` elements at every `step`-th place along an axis; their elements are a new last axis
    /// (`torch.Tensor.unfold`).
    #[track_caller]
    pub fn unfold(&self, axis: i64, size: usize, step: usize) -> Tensor {
        let user = entered();
        let loc = user.loc();
        if self.error().is_none() && self.rank() == 0 {
            return self
                .reshape_to(Shape::from_iter([Dim::ONE]))
                .unfold(axis, size, step)
                .reshape_to(Shape::from_iter([Dim::from(size)]));
        }
        let made = self.axis(axis).and_then(|at| {
            let extent = self.shape()[at].get()?;
            if step == 0 || size > extent {
                let message = format!("unfold needs a step of at least 1 and slices of at most {extent} elements");
                return Err(Error::new(message).note("size", size).note("step", step).note("tensor", self.describe()));
            }
            let count = (extent - size) / step + 1;
            let place = (Tensor::arange(0, count) * step as i64).unsqueeze(1) + Tensor::arange(0, size);
            Ok(self.chosen(at, &place).movedim(at as i64 + 1, -1))
        });
        or_invalid(made.map_err(|e| e.at(loc)))
    }

    /// One slice of an axis, which disappears (`torch.select`).
    #[track_caller]
    pub fn select(&self, axis: i64, index: i64) -> Tensor {
        let user = entered();
        let loc = user.loc();
        let part = self.axis(axis).and_then(|at| {
            let extent = self.shape()[at];
            let place = if index < 0 { extent + Dim::constant(index) } else { Dim::constant(index) };
            if place.at_least(0) != Some(true) || (extent - place).at_least(1) != Some(true) {
                let message = format!("index {index} is out of range for axis {at} of extent {extent}");
                return Err(Error::new(message).note("tensor", self.describe()));
            }
            let mut shape = self.shape();
            shape.remove(at);
            Ok(self.sliced(at, place, place + 1, 1).reshape_to(shape))
        });
        or_invalid(part.map_err(|e| e.at(loc)))
    }

    /// `length` elements along an axis from a place on that a tensor says (`torch.narrow` with a tensor as start): the result's
    /// shape does not depend on it. A negative place counts from the end.
    #[track_caller]
    pub fn narrow_at(&self, axis: i64, start: &Tensor, length: impl Into<Dim>) -> Tensor {
        let user = entered();
        let loc = user.loc();
        let length = length.into();
        let part = self.axis(axis).and_then(|at| {
            let (extent, start) = (self.shape()[at], start.to_dtype(DType::I64).reshape(()));
            start.check()?;
            super::index::check_range(
                &start,
                Dim::ZERO - extent,
                extent - length + 1,
                "narrow_at: the start is out of range",
                loc,
            )?;
            let from = (&start + extent).where_(&start.lt(0), &start);
            Ok(self.chosen(at, &(from + Tensor::arange(0, length))))
        });
        or_invalid(part.map_err(|e| e.at(loc)))
    }

    /// The slices along an axis, without it (`torch.unbind`).
    ///
    /// # Errors
    /// If the tensor is invalid, or the axis is not there or symbolic.
    #[track_caller]
    pub fn unbind(&self, axis: i64) -> Result<Vec<Tensor>> {
        let user = entered();
        let loc = user.loc();
        let at = self.axis(axis)?;
        let extent = self.shape()[at].get().map_err(|e| e.at(loc))?;
        let mut parts = Vec::new();
        for i in 0..extent {
            parts.push(self.select(axis, i as i64));
        }
        Ok(parts)
    }

    /// Parts of given sizes along an axis, which they fill (`torch.split` with a list).
    ///
    /// # Errors
    /// If the tensor is invalid, the axis is not there, or the sizes do not add up to its extent.
    #[track_caller]
    pub fn split_sizes(&self, sizes: &[usize], axis: i64) -> Result<Vec<Tensor>> {
        let user = entered();
        let loc = user.loc();
        let at = self.axis(axis)?;
        let total = sizes.iter().fold(Dim::ZERO, |sum, &size| sum + size);
        if self.shape()[at] != total {
            let message = format!("split_sizes needs parts that fill the axis: {sizes:?} are {total} elements");
            return Err(Error::new(message).note("tensor", self.describe()).at(loc));
        }
        let (mut parts, mut start) = (Vec::new(), 0);
        for &size in sizes {
            parts.push(self.sliced(at, Dim::from(start), Dim::from(start + size), 1));
            start += size;
        }
        Ok(parts)
    }

    /// The tensor `counts[i]` times along each axis `i`, counted from the last; axes in front are added or taken as they are
    /// (`torch.tile`).
    #[track_caller]
    pub fn tile(&self, counts: &[usize]) -> Tensor {
        let missing = self.rank().saturating_sub(counts.len());
        let all: Vec<usize> = std::iter::repeat_n(1, missing).chain(counts.iter().copied()).collect();
        self.repeat(&all)
    }

    /// Each element `count` times in a row along an axis.
    #[track_caller]
    pub fn repeat_interleave(&self, count: usize, axis: i64) -> Tensor {
        let at = match self.axis(axis) {
            Ok(at) => at,
            Err(error) => return error.into(),
        };
        let shape = self.shape();
        let mut wide = shape.clone();
        wide.insert(at + 1, Dim::from(count));
        let mut joined = shape;
        joined[at] = joined[at] * count;
        self.unsqueeze(at as i64 + 1).expand(wide).reshape_to(joined)
    }

    /// Each element along an axis as often in a row as `counts` says, one number for each (`torch.repeat_interleave` with a
    /// tensor). How many elements there are depends on the numbers, so this needs eager mode.
    #[track_caller]
    pub fn repeat_interleave_by(&self, counts: &Tensor, axis: i64) -> Tensor {
        let loc = here();
        or_invalid(self.repeated_by(counts, axis).map_err(|e| e.note("counts", counts.describe()).at(loc)))
    }

    #[track_caller]
    fn repeated_by(&self, counts: &Tensor, axis: i64) -> Result<Tensor> {
        let at = self.axis(axis)?;
        counts.check()?;
        if trace::is_tracing() {
            return Err(Error::new("repeat_interleave_by needs eager mode: the size of its result depends on the counts"));
        }
        let numbers = counts.to_i64_vec()?;
        let extent = self.shape()[at].get()?;
        if counts.rank() != 1 || numbers.len() != extent {
            return Err(Error::new(format!("repeat_interleave_by needs {extent} counts, one for each element of axis {at}")));
        }
        if let Some(negative) = numbers.iter().find(|n| **n < 0) {
            return Err(Error::new(format!("repeat_interleave_by cannot repeat an element {negative} times")));
        }
        let total = numbers.iter().fold(0i64, |a, &n| a.saturating_add(n));
        if total > i64::from(i32::MAX) {
            return Err(Error::new(format!("repeat_interleave_by cannot make {total} elements along an axis")));
        }
        let places = (0i64..).zip(&numbers).flat_map(|(k, &n)| std::iter::repeat_n(k, n as usize));
        let places: Vec<i64> = places.collect();
        let count = places.len();
        Ok(self.index_select(axis, &Tensor::from_vec(places, count)))
    }

    /// The tensors one after the other along the second axis, vectors along their only one.
    #[track_caller]
    pub fn hstack(tensors: &[impl Borrow<Tensor>]) -> Tensor {
        let mut raised = Vec::new();
        for tensor in tensors {
            let tensor = tensor.borrow();
            raised.push(if tensor.rank() == 0 { tensor.reshape(1) } else { tensor.clone() });
        }
        let axis = i64::from(raised.first().is_some_and(|t| t.rank() > 1));
        Tensor::cat(&raised, axis)
    }

    /// The tensors one after the other along the first axis, vectors as rows.
    #[track_caller]
    pub fn vstack(tensors: &[impl Borrow<Tensor>]) -> Tensor {
        let mut raised = Vec::new();
        for tensor in tensors {
            let tensor = tensor.borrow();
            raised.push(if tensor.rank() < 2 { tensor.reshape((1, -1)) } else { tensor.clone() });
        }
        Tensor::cat(&raised, 0)
    }

    /// The tensors one after the other along the third axis; matrices get one.
    #[track_caller]
    pub fn dstack(tensors: &[impl Borrow<Tensor>]) -> Tensor {
        let mut raised = Vec::new();
        for tensor in tensors {
            let tensor = tensor.borrow();
            raised.push(match tensor.rank() {
                0 | 1 => tensor.reshape((1, -1, 1)),
                2 => tensor.unsqueeze(2),
                _ => tensor.clone(),
            });
        }
        Tensor::cat(&raised, 2)
    }

    /// Vectors as the columns of a matrix, and matrices side by side.
    #[track_caller]
    pub fn column_stack(tensors: &[impl Borrow<Tensor>]) -> Tensor {
        let mut raised = Vec::new();
        for tensor in tensors {
            let tensor = tensor.borrow();
            raised.push(if tensor.rank() < 2 { tensor.reshape((-1, 1)) } else { tensor.clone() });
        }
        Tensor::cat(&raised, 1)
    }

    /// The coordinates of a grid: for vectors of lengths `[a, b, …]` as many tensors `[a, b, …]`, the `i`-th varying along axis
    /// `i` (`torch.meshgrid` with `indexing='ij'`).
    #[track_caller]
    pub fn meshgrid(vectors: &[impl Borrow<Tensor>]) -> Vec<Tensor> {
        let lengths: Shape = vectors.iter().map(|v| v.borrow().elements()).collect();
        let mut grids = Vec::new();
        for (i, vector) in vectors.iter().enumerate() {
            let shape: Vec<i64> = (0..vectors.len()).map(|k| if k == i { -1 } else { 1 }).collect();
            grids.push(vector.borrow().reshape(&shape).expand(lengths.clone()));
        }
        grids
    }

    /// Channels `[N, C·r², H, W]` as images `[N, C, H·r, W·r]` (`torch.nn.functional.pixel_shuffle`). Shi et al. 2016,
    /// arXiv:1609.05158.
    #[track_caller]
    pub fn pixel_shuffle(&self, factor: usize) -> Tensor {
        let user = entered();
        self.pixels(user.loc(), "pixel_shuffle", |lead, [c, h, w]| {
            let (r, n) = (Dim::from(factor), lead.len());
            if factor == 0 || c.rem(r * r) != Dim::ZERO {
                return Err(Error::new(format!("pixel_shuffle needs channels that {factor}² divides")));
            }
            let channels = c.div_floor(r * r);
            let split = self.reshape_to(joined(lead, &[channels, r, r, h, w]));
            let order: Vec<usize> = (0..n + 1).chain([n + 3, n + 1, n + 4, n + 2]).collect();
            Ok(split.permuted(&order).reshape_to(joined(lead, &[channels, h * r, w * r])))
        })
    }

    /// Images `[N, C, H·r, W·r]` as channels `[N, C·r², H, W]`: the inverse of [`pixel_shuffle`](Tensor::pixel_shuffle).
    #[track_caller]
    pub fn pixel_unshuffle(&self, factor: usize) -> Tensor {
        let user = entered();
        self.pixels(user.loc(), "pixel_unshuffle", |lead, [c, h, w]| {
            let (r, n) = (Dim::from(factor), lead.len());
            if factor == 0 || h.rem(r) != Dim::ZERO || w.rem(r) != Dim::ZERO {
                return Err(Error::new(format!("pixel_unshuffle needs a height and a width that {factor} divides")));
            }
            let (height, width) = (h.div_floor(r), w.div_floor(r));
            let split = self.reshape_to(joined(lead, &[c, height, r, width, r]));
            let order: Vec<usize> = (0..n + 1).chain([n + 2, n + 4, n + 1, n + 3]).collect();
            Ok(split.permuted(&order).reshape_to(joined(lead, &[c * r * r, height, width])))
        })
    }

    /// What `arrange` makes of images, given the axes in front and their channels, height and width.
    fn pixels(&self, loc: Loc, name: &str, arrange: impl Fn(&[Dim], [Dim; 3]) -> Result<Tensor>) -> Tensor {
        let arranged = self.ty().and_then(|ty| match &ty.shape[..] {
            [lead @ .., c, h, w] => arrange(lead, [*c, *h, *w]),
            _ => Err(Error::new(format!("{name} needs images [N, C, H, W]"))),
        });
        match arranged {
            Err(error) if self.error().is_some() => error.into(),
            arranged => or_invalid(arranged.map_err(|e| e.note("tensor", self.describe()).at(loc))),
        }
    }
}

fn joined(lead: &[Dim], last: &[Dim]) -> Shape {
    lead.iter().chain(last).copied().collect()
}
