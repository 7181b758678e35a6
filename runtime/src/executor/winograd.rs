//! Convolutions by 3×3 windows from sixteen products of transformed tiles ([`crate::tile`]): less than half of the
//! multiplications, with other rounding.
//!
//! Weights are transformed once for each run, tiles and sums a few vectors at a time, so that they stay in the second-level
//! cache. The sum of a result is made in the order of channels whatever the blocks are.

use super::boxes::Bounds;
use super::image::{Image, Planes};
use super::layout::places;
use super::scope::Scope;
use super::steps::Context;
use super::window::{busy, stream_kernel, used};
use crate::buffer::ALIGNMENT;
use crate::gemm::Matrix;
use crate::program::Window;
use crate::scratch::with_scratch;
use crate::tile::{self, Kernels, MOST, Results, Stream, Tiles, line_room, transformed_weights};
use igneous_ir::error::{Error, Result};
use smallvec::SmallVec;
use std::ops::Range;

/// The numbers of a tile.
const NUMBERS: usize = 16;
/// How many bytes the transformed tiles of all channels take at most, if they are more than one kernel's vectors; and the sums.
const BYTES: usize = 256 << 10;

/// A convolution in numbers.
pub(super) struct PlannedWinograd {
    kernels: &'static Kernels,
    /// Rows of a panel of weights.
    height: usize,
    m: usize,
    channels: usize,
    weights: Weights,
    planes: Planes,
    /// Columns of the result.
    columns: usize,
    /// Where the transformed weights lie in the frame's memory, in bytes: for each of the batch, panels of `[16][channels][height]`.
    prepared: usize,
    /// For each batch axis, its extent if the weights depend on it, else 1.
    shared: SmallVec<[usize; 2]>,
}

struct Weights {
    param: usize,
    offset: isize,
    batch: SmallVec<[isize; 2]>,
    m_extents: SmallVec<[usize; 4]>,
    m: SmallVec<[isize; 4]>,
    channel: isize,
    window: [isize; 2],
}

fn aligned(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT)
}

impl PlannedWinograd {
    /// `block` is how many columns a block has.
    pub fn new(
        [lhs, rhs]: [&Window; 2],
        batch: &[i64],
        [m, n, k]: [usize; 3],
        block: usize,
        params: usize,
        scope: Scope,
    ) -> Result<PlannedWinograd> {
        let broken = |what: &str| Error::new(format!("a convolution by transformed tiles {what}"));
        if lhs.param >= params || rhs.param >= params {
            return Err(broken("names a parameter that is not there"));
        }
        let left = Image::new(lhs, batch.len(), scope)?;
        let image = Image::new(rhs, batch.len(), scope)?;
        let planes = image.planes(batch).ok_or_else(|| broken("has other windows than 3×3 that move by one"))?;
        let (&[rows, columns], &[channels, ..]) = (&image.outer_extents[..], &image.k_extents[..]) else {
            return Err(broken("has other axes than its image"));
        };
        if left.k_extents != image.k_extents || [left.outer_extents.iter().product(), rows * columns, channels * 9] != [m, n, k] {
            return Err(broken("has other extents than its product"));
        }
        if m * n * k > 0 && batch.iter().all(|&n| n > 0) && !left.stays_inside(batch) {
            return Err(broken("has weights that reach out of their parameter"));
        }
        if block < n && !block.is_multiple_of(columns) {
            return Err(broken("has blocks of parts of rows"));
        }
        let (offset, batch_strides, m_strides, k_strides) = left.in_place();
        let &[channel, row, column] = &k_strides[..] else { return Err(broken("has other axes than its weights")) };
        let kernels = tile::best();
        let rate = |height: usize, width: usize| used(m.max(1), height) * busy(height, width, width as f64 + 0.5 * height as f64);
        let best = kernels.stream.iter().max_by(|a, b| rate(a.height, a.width).total_cmp(&rate(b.height, b.width)));
        let height = best.map_or(1, |kernel| kernel.height);
        let shared = batch.iter().zip(&batch_strides).map(|(&n, &stride)| if stride == 0 { 1 } else { n.max(0) as usize });
        let shared = shared.collect();
        let (m_extents, window) = (left.outer_extents, [row, column]);
        let weights = Weights { param: lhs.param, offset, batch: batch_strides, m_extents, m: m_strides, channel, window };
        Ok(PlannedWinograd { kernels, height, m, channels, weights, planes, columns, prepared: 0, shared })
    }

    fn panels(&self) -> usize {
        self.m.div_ceil(self.height)
    }

    fn panel_bytes(&self) -> usize {
        aligned(NUMBERS * self.channels * self.height * size_of::<f32>())
    }

    /// How many panels of weights are transformed, and the estimated nanoseconds of each.
    pub fn preparations(&self) -> (usize, f64) {
        let panels = self.shared.iter().product::<usize>() * self.panels();
        (panels, 50.0 + 40.0 * self.channels as f64)
    }

    /// Says where transformed weights lie; returns how many bytes they take.
    pub fn place_prepared(&mut self, offset: usize) -> usize {
        self.prepared = offset;
        self.preparations().0 * self.panel_bytes()
    }

    /// Transforms one panel of weights.
    ///
    /// # Safety
    /// The parameters of the context are those the work was made for, and no other thread writes what this call does.
    pub unsafe fn prepare(&self, index: usize, context: &Context) {
        let (mut batch, panel) = (index / self.panels(), index % self.panels());
        let weights = &self.weights;
        let mut start = weights.offset;
        for (&extent, &stride) in self.shared.iter().zip(&weights.batch).rev() {
            start += (batch % extent) as isize * stride;
            batch /= extent;
        }
        let first = panel * self.height;
        let rows = self.height.min(self.m - first);
        let mut at = [0; MOST];
        places(&weights.m_extents, &weights.m, first..first + rows, &mut at[..rows]);
        // SAFETY: by the caller; the frame's memory has room for all panels, and every place is one of a weight.
        unsafe {
            let from = (*context.params.add(weights.param)).cast::<f32>().cast_const().wrapping_offset(start);
            let to = context.memory.add(self.prepared + index * self.panel_bytes()).cast::<f32>();
            for channel in 0..self.channels {
                let mut g = [[[0f32; 8]; 3]; 3];
                for (lane, &row) in at[..rows].iter().enumerate() {
                    let from = from.wrapping_offset(row + channel as isize * weights.channel);
                    for (r, line) in g.iter_mut().enumerate() {
                        for (s, g) in line.iter_mut().enumerate() {
                            g[lane] = *from.wrapping_offset(r as isize * weights.window[0] + s as isize * weights.window[1]);
                        }
                    }
                }
                let u = transformed_weights(&g);
                for (number, u) in u.iter().flatten().enumerate() {
                    let to = to.add((number * self.channels + channel) * self.height);
                    (0..self.height).for_each(|lane| *to.add(lane) = u[lane]);
                }
            }
        }
    }

    /// The transformed weights of a panel.
    fn prepared_panel(&self, bounds: &Bounds, panel: usize, context: &Context) -> *const f32 {
        let batch = bounds[..bounds.len() - 4].iter().step_by(2);
        let own = batch.zip(&self.shared).fold(0, |at, (&i, &n)| if n == 1 { at } else { at * n + i as usize });
        context.memory.wrapping_add(self.prepared + (own * self.panels() + panel) * self.panel_bytes()).cast()
    }

    /// Computes a block of the product.
    ///
    /// # Safety
    /// The parameters of the context are those the work was made for, weights are prepared, the block has whole rows of the
    /// image, `out` has columns that are neighbours and is this call's to write.
    pub unsafe fn multiply(&self, bounds: &Bounds, out: Matrix<f32>, context: &Context) -> Result<()> {
        let at = bounds.len() - 4;
        let [rows, places] = [at, at + 2].map(|i| bounds[i] as usize..bounds[i + 1] as usize);
        let start = bounds[..at].iter().step_by(2).zip(&self.planes.batch).map(|(&i, &s)| i as isize * s).sum::<isize>();
        // SAFETY: by the caller; the offset is only used for elements that exist.
        let image = unsafe { (*context.params.add(self.planes.param)).cast::<f32>().cast_const() }.wrapping_offset(start);
        let lines = places.len() / self.columns;
        let first = (places.start / self.columns) as isize;
        let columns = self.columns.div_ceil(2);
        let tiles = lines.div_ceil(2) * columns;

        let lanes = self.kernels.lanes;
        let widest = self.kernels.stream.iter().filter(|k| k.height == self.height).map(|k| k.width).max().unwrap_or(1);
        let vectors = tiles.div_ceil(lanes);
        let most = (BYTES / (NUMBERS * self.channels.max(1) * lanes * size_of::<f32>())).clamp(widest, vectors.max(widest));
        let parts = vectors.div_ceil(most);
        let part = |i: usize| vectors * i / parts * lanes..(vectors * (i + 1) / parts * lanes).min(tiles);
        let pitch = vectors.div_ceil(parts.max(1)) * lanes;
        // Planes that begin at the same place of a page would push each other out of the first-level cache.
        let plane_of = |rows: usize| rows * pitch + lanes;
        let all = rows.start / self.height..rows.end.div_ceil(self.height);
        let group = (BYTES / (NUMBERS * self.height * pitch * size_of::<f32>()).max(1)).clamp(1, all.len().max(1));
        let (tiles_plane, sums_plane) = (plane_of(self.channels), plane_of(group * self.height));
        let room = (0..parts).map(|i| line_room(columns, &part(i), lanes)).max().unwrap_or(0);

        let table = aligned(self.channels * size_of::<isize>());
        let [tiles_bytes, sums_bytes, line_bytes] =
            [NUMBERS * tiles_plane, NUMBERS * sums_plane, room].map(|n| aligned(n * size_of::<f32>()));
        with_scratch(table + tiles_bytes + sums_bytes + line_bytes, |scratch| {
            // SAFETY: by the caller; the scratch has room for the table, the tiles, the sums and the lines.
            unsafe {
                let offsets = std::slice::from_raw_parts_mut(scratch.cast::<isize>(), self.channels);
                offsets.iter_mut().enumerate().for_each(|(channel, offset)| *offset = (channel * pitch) as isize);
                let to = scratch.add(table).cast::<f32>();
                let sums = scratch.add(table + tiles_bytes).cast::<f32>();
                let line = scratch.add(table + tiles_bytes + sums_bytes).cast::<f32>();
                for i in 0..parts {
                    let tiles = part(i);
                    (self.kernels.tiles)(&Tiles {
                        image,
                        channel: self.planes.channel,
                        channels: self.channels,
                        extents: self.planes.extents,
                        origin: [self.planes.origin[0] + first, self.planes.origin[1]],
                        columns,
                        tiles: tiles.clone(),
                        lines: line,
                        to,
                        plane: tiles_plane,
                        pitch,
                    });
                    for from in all.clone().step_by(group) {
                        let panels = from..(from + group).min(all.end);
                        let weights = |panel: usize| self.prepared_panel(bounds, panel, context);
                        let operands = Transformed { tiles: to, plane: tiles_plane, pitch, count: tiles.len() };
                        self.products(panels.clone(), &weights, offsets, &operands, sums, sums_plane);
                        (self.kernels.results)(&Results {
                            from: sums,
                            plane: sums_plane,
                            pitch,
                            rows: (panels.end * self.height).min(rows.end) - panels.start * self.height,
                            out: out.start.offset((panels.start * self.height - rows.start) as isize * out.rows),
                            row: out.rows,
                            extents: [lines, self.columns],
                            columns,
                            tiles: tiles.clone(),
                        });
                    }
                }
            }
        })
    }

    /// The sixteen products of some panels of weights and transformed tiles.
    ///
    /// # Safety
    /// All are there, and there is room for the sums.
    unsafe fn products(
        &self,
        panels: Range<usize>,
        weights: &dyn Fn(usize) -> *const f32,
        offsets: &[isize],
        operands: &Transformed,
        sums: *mut f32,
        plane: usize,
    ) {
        let lanes = self.kernels.lanes;
        let vectors = operands.count.div_ceil(lanes);
        for number in 0..NUMBERS {
            let (tiles, sums) = (operands.tiles.wrapping_add(number * operands.plane), sums.wrapping_add(number * plane));
            let mut at = 0;
            while at < vectors {
                let kernel = stream_kernel(self.kernels, self.height, vectors - at);
                let now = at..(at + kernel.width).min(vectors);
                let lanes_of = |vector: usize| lanes.min(operands.count - vector * lanes);
                for (i, panel) in panels.clone().enumerate() {
                    let row = sums.wrapping_add(i * self.height * operands.pitch);
                    let vector = |j: usize| if j < now.len() { now.start + j } else { now.start };
                    // SAFETY: by the caller.
                    unsafe {
                        (kernel.run)(&Stream {
                            weights: weights(panel).wrapping_add(number * self.channels * self.height),
                            offsets: offsets.as_ptr(),
                            k: self.channels,
                            x: std::array::from_fn(|j| tiles.wrapping_add(vector(j) * lanes).cast_const()),
                            lanes: std::array::from_fn(|j| if j < now.len() { lanes_of(vector(j)) } else { 0 }),
                            out: std::array::from_fn(|j| row.wrapping_add(vector(j) * lanes)),
                            row: operands.pitch as isize,
                            rows: self.height.min(self.m - panel * self.height),
                        });
                    }
                }
                at = now.end;
            }
        }
    }
}

/// Transformed tiles `[16][channels][tiles]`.
struct Transformed {
    tiles: *mut f32,
    plane: usize,
    pitch: usize,
    count: usize,
}
