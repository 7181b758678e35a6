//! Images under windows: where their elements lie, and copies with zeros around them.

use super::boxes::Bounds;
use super::layout::reach;
use super::scope::Scope;
use super::steps::Context;
use crate::program::Window;
use crate::scratch::with_scratch;
use igneous_ir::error::{Error, Result};
use smallvec::SmallVec;
use std::ops::Range;

type Strides = SmallVec<[isize; 4]>;

/// A [`Window`] in numbers.
pub(super) struct Image {
    param: usize,
    pub outer_extents: SmallVec<[usize; 4]>,
    pub k_extents: SmallVec<[usize; 4]>,
    axes: SmallVec<[Index; 5]>,
}

/// The index along an axis of the parameter.
pub(super) struct Index {
    extent: isize,
    /// The distance between the indices of elements.
    step: isize,
    /// The distance between elements along the axis.
    stride: isize,
    offset: isize,
    batch: SmallVec<[isize; 2]>,
    pub outer: Strides,
    pub k: Strides,
}

/// An image in memory: element `base + Σ outer·stride + Σ k·stride`.
pub(super) struct Located {
    pub base: *const f32,
    pub outer: Strides,
    pub k: Strides,
}

/// An image under 3×3 windows that move by one along its last two axes.
pub(super) struct Planes {
    pub param: usize,
    /// The strides of batch axes and of channels.
    pub batch: SmallVec<[isize; 2]>,
    pub channel: isize,
    /// Rows and columns, which lie densely.
    pub extents: [isize; 2],
    /// The place under the first element of the first window.
    pub origin: [isize; 2],
}

/// First and last index along an axis of the parameter.
type Limits = SmallVec<[(isize, isize); 5]>;

impl Image {
    pub fn new(window: &Window, batch: usize, scope: Scope) -> Result<Image> {
        let sizes = |dims: &[igneous_ir::Dim]| dims.iter().map(|&d| scope.size(d)).collect::<Result<SmallVec<[usize; 4]>>>();
        let (outer_extents, k_extents) = (sizes(&window.outer)?, sizes(&window.k)?);
        let mut axes: SmallVec<[Index; 5]> = SmallVec::new();
        for index in &window.index {
            if index.batch.len() != batch || index.outer.len() != outer_extents.len() || index.k.len() != k_extents.len() {
                return Err(Error::new("a window has not one coefficient for each axis of its product"));
            }
            let numbers = |dims: &[igneous_ir::Dim]| dims.iter().map(|&d| Ok(scope.eval(d)? as isize)).collect::<Result<_>>();
            axes.push(Index {
                extent: scope.size(index.extent)? as isize,
                step: scope.size(index.step)?.max(1) as isize,
                stride: 0,
                offset: scope.eval(index.offset)? as isize,
                batch: index.batch.iter().map(|&d| Ok(scope.eval(d)? as isize)).collect::<Result<_>>()?,
                outer: numbers(&index.outer)?,
                k: numbers(&index.k)?,
            });
        }
        let mut stride = 1;
        for index in axes.iter_mut().rev() {
            index.stride = stride;
            stride *= index.extent;
        }
        Ok(Image { param: window.param, outer_extents, k_extents, axes })
    }

    /// Whether every index is inside of the parameter.
    pub fn stays_inside(&self, batch: &[i64]) -> bool {
        self.axes.iter().all(|index| {
            let mut limits = (index.offset, index.offset);
            let batch = batch.iter().map(|&n| n as usize).zip(&index.batch);
            let outer = self.outer_extents.iter().copied().zip(&index.outer);
            let k = self.k_extents.iter().copied().zip(&index.k);
            batch.chain(outer).chain(k).for_each(|(extent, &c)| widen(&mut limits, c, 0, extent - 1));
            limits.0 >= 0 && limits.1 < index.extent && index.step == 1
        })
    }

    /// The first element in the parameter, and the strides of batch axes, outer axes and k.
    pub fn in_place(&self) -> (isize, SmallVec<[isize; 2]>, Strides, Strides) {
        let sum = |of: &dyn Fn(&Index) -> isize| self.axes.iter().map(|i| of(i) * i.stride).sum::<isize>();
        let batch = self.axes.first().map_or(0, |i| i.batch.len());
        (
            sum(&|i| i.offset),
            (0..batch).map(|a| sum(&|i| i.batch[a])).collect(),
            (0..self.outer_extents.len()).map(|a| sum(&|i| i.outer[a])).collect(),
            (0..self.k_extents.len()).map(|a| sum(&|i| i.k[a])).collect(),
        )
    }

    /// The image as planes, if windows are 3×3 and move by one, and reach out of it along the last two axes only.
    pub fn planes(&self, batch: &[i64]) -> Option<Planes> {
        let [others @ .., rows, columns] = &self.axes[..] else { return None };
        let (&[height, width], &[channels, 3, 3]) = (&self.outer_extents[..], &self.k_extents[..]) else { return None };
        let moves = |index: &Index, outer: [isize; 2], k: [isize; 3]| {
            index.outer[..] == outer && index.k[..] == k && index.step == 1 && index.batch.iter().all(|&c| c == 0)
        };
        let fixed = |index: &Index| {
            let mut limits = (index.offset, index.offset);
            batch.iter().zip(&index.batch).for_each(|(&n, &c)| widen(&mut limits, c, 0, (n as usize).saturating_sub(1)));
            widen(&mut limits, index.k[0], 0, channels.saturating_sub(1));
            let inside = limits.0 >= 0 && limits.1 < index.extent || height * width * channels == 0 || batch.contains(&0);
            inside && index.outer[..] == [0, 0] && index.k[1..] == [0, 0] && index.step == 1 && index.offset == 0
        };
        if !moves(rows, [1, 0], [0, 1, 0]) || !moves(columns, [0, 1], [0, 0, 1]) || !others.iter().all(fixed) {
            return None;
        }
        let (_, batch, _, k) = self.in_place();
        let [extents, origin] = [[rows.extent, columns.extent], [rows.offset, columns.offset]];
        Some(Planes { param: self.param, batch, channel: k[0], extents, origin })
    }

    /// Whether elements along the last of these axes, whose coefficients `of` gives, are neighbours.
    pub fn neighbours(&self, extents: &[usize], of: impl Fn(&Index) -> &Strides) -> bool {
        let Some(at) = extents.len().checked_sub(1) else { return false };
        let Some((last, others)) = self.axes.split_last() else { return false };
        of(last)[at] == 1 && others.iter().all(|index| of(index)[at] == 0)
    }

    /// Calls `work` with the place of the elements of a block: in the parameter itself if the windows stay inside of it, else in
    /// a copy of what is under them.
    ///
    /// # Errors
    /// If scratch memory is short; `work` was not called then.
    ///
    /// # Safety
    /// The parameters of the context are those the work was made for.
    pub unsafe fn locate<R>(
        &self,
        bounds: &Bounds,
        columns: Range<usize>,
        k: Range<usize>,
        context: &Context,
        work: impl FnOnce(Located) -> R,
    ) -> Result<R> {
        let first = |index: &Index| {
            let batch = index.batch.iter().enumerate().map(|(axis, &c)| c * bounds[2 * axis] as isize);
            index.offset + batch.sum::<isize>()
        };
        let mut limits: Limits = self.axes.iter().map(|index| (first(index), first(index))).collect();
        reach(&self.outer_extents, columns, |axis, lo, hi| {
            limits.iter_mut().zip(&self.axes).for_each(|(limits, index)| widen(limits, index.outer[axis], lo, hi));
        });
        reach(&self.k_extents, k, |axis, lo, hi| {
            limits.iter_mut().zip(&self.axes).for_each(|(limits, index)| widen(limits, index.k[axis], lo, hi));
        });
        // SAFETY: by the caller.
        let parameter = unsafe { (*context.params.add(self.param)).cast::<f32>().cast_const() };
        let inside = limits.iter().zip(&self.axes).all(|(&(lo, hi), index)| lo >= 0 && hi < index.extent && index.step == 1);
        let located = |start: *const f32, origin: &dyn Fn(usize) -> isize, pitch: &dyn Fn(usize) -> isize| {
            let sum = |of: &dyn Fn(usize, &Index) -> isize| {
                self.axes.iter().enumerate().map(|(d, index)| of(d, index) * pitch(d)).sum::<isize>()
            };
            Located {
                base: start.wrapping_offset(sum(&|d, index| first(index) - origin(d))),
                outer: (0..self.outer_extents.len()).map(|a| sum(&|_, index| index.outer[a])).collect(),
                k: (0..self.k_extents.len()).map(|a| sum(&|_, index| index.k[a])).collect(),
            }
        };
        if inside {
            return Ok(work(located(parameter, &|_| 0, &|d| self.axes[d].stride)));
        }
        let mut pitches: SmallVec<[isize; 5]> = SmallVec::from_elem(1, limits.len());
        let mut elements = 1;
        for (pitch, &(lo, hi)) in pitches.iter_mut().zip(&limits).rev() {
            *pitch = elements;
            elements *= hi - lo + 1;
        }
        with_scratch(elements as usize * size_of::<f32>(), |scratch| {
            let copy = scratch.cast::<f32>();
            // SAFETY: by the caller; the scratch has room for all elements between the limits.
            unsafe {
                copy.write_bytes(0, elements as usize);
                self.copy(parameter, &limits, &pitches, copy);
            }
            work(located(copy, &|d| limits[d].0, &|d| pitches[d]))
        })
    }

    /// Copies the elements between the limits that are inside of the parameter.
    ///
    /// # Safety
    /// `from` is the parameter, and `to` has room for all elements between the limits.
    unsafe fn copy(&self, from: *const f32, limits: &Limits, pitches: &[isize], to: *mut f32) {
        let elements = |(&(lo, hi), index): (&(isize, isize), &Index)| {
            let first = (lo.max(0) + index.step - 1) / index.step;
            (first, (hi.div_euclid(index.step) + 1).min(index.extent))
        };
        let inside: Limits = limits.iter().zip(&self.axes).map(elements).collect();
        if inside.iter().any(|(lo, hi)| lo >= hi) {
            return;
        }
        let Some((&(lo, hi), outer)) = inside.split_last() else { return };
        let last = inside.len() - 1;
        let mut at: SmallVec<[isize; 5]> = outer.iter().map(|&(lo, _)| lo).collect();
        loop {
            let place = |along: &dyn Fn(usize, isize) -> isize| {
                at.iter().chain([&lo]).enumerate().map(|(d, &i)| along(d, i)).sum::<isize>()
            };
            // SAFETY: both rows lie between the limits, and the one of `from` in the parameter.
            unsafe {
                let source = from.offset(place(&|d, i| i * self.axes[d].stride));
                let row = to.offset(place(&|d, i| (i * self.axes[d].step - limits[d].0) * pitches[d]));
                match self.axes[last].step {
                    1 => copy_row(source, row, (hi - lo) as usize),
                    step => (0..hi - lo).for_each(|i| *row.offset(i * step) = *source.offset(i)),
                }
            }
            let mut axis = last;
            loop {
                if axis == 0 {
                    return;
                }
                axis -= 1;
                at[axis] += 1;
                if at[axis] < outer[axis].1 {
                    break;
                }
                at[axis] = outer[axis].0;
            }
        }
    }
}

/// Widens limits by a multiple of an index.
fn widen(limits: &mut (isize, isize), coefficient: isize, lo: usize, hi: usize) {
    let (a, b) = (coefficient * lo as isize, coefficient * hi as isize);
    limits.0 += a.min(b);
    limits.1 += a.max(b);
}

/// Copies a short row; a call of a library function would take longer than the copy.
///
/// # Safety
/// The rows lie in live memory and do not overlap.
unsafe fn copy_row(from: *const f32, to: *mut f32, length: usize) {
    type Eight = [f32; 8];
    // SAFETY: by the caller; where the last eight elements overlap those before, they are copied twice.
    unsafe {
        let eight = |at: usize| to.add(at).cast::<Eight>().write_unaligned(from.add(at).cast::<Eight>().read_unaligned());
        if length >= 8 {
            (0..length - 7).step_by(8).for_each(eight);
            return eight(length - 8);
        }
        (0..length).for_each(|at| *to.add(at) = *from.add(at));
    }
}
