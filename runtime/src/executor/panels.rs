//! Products, in a loop, with a matrix that is the same in every step: it is packed into panels once, before the first step.
//!
//! Each element is a sum in the order of `k`, however the product is cut. The other operand is packed for each box: read in place,
//! rows that are a large power of two apart would share few places of the cache.

use super::boxes::Bounds;
use super::steps::Context;
use super::window::column_tiles;
use crate::gemm::Matrix;
use crate::scratch::with_scratch;
use crate::tile::{Broadcast, Kernels, best};
use crate::transpose::transpose;
use igneous_ir::error::Result;
use std::ops::Range;

/// A product whose other operand has more rows than this is the library's.
const MOST_ROWS: usize = 256;
/// Panels are not worth their preparation below so many elements.
const FEWEST: usize = 1 << 10;

/// A matrix operand `[outer, k]` of a launch, by its strides in elements.
#[derive(Clone, Copy)]
pub(super) struct Strided {
    pub param: usize,
    pub offset: i64,
    pub outer: i64,
    pub k: i64,
}

/// See the module.
pub(super) struct PlannedPanels {
    fixed: Strided,
    other: Strided,
    /// Whether the fixed operand is the left one.
    left: bool,
    /// The rows of the fixed operand, and its columns.
    rows: usize,
    k: usize,
    /// The rows of a box.
    cut: usize,
    kernels: &'static Kernels,
    /// The size of the tile that the other operand is packed for, and what each `k` and each of its columns add to addresses in it.
    height: usize,
    offsets: Vec<isize>,
    columns: Vec<isize>,
    /// Where the panels lie in the memory of the frame.
    memory: usize,
}

impl PlannedPanels {
    /// A product of `[m, n, k]` of whose operands one is `fixed`, the left one if `left`. None if panels are not for it.
    pub fn new(fixed: Strided, other: Strided, left: bool, [m, n, k]: [usize; 3], threads: usize) -> Option<PlannedPanels> {
        let kernels = best();
        let (rows, columns) = if left { (m, n) } else { (n, m) };
        if !(1..=MOST_ROWS).contains(&columns) || rows < kernels.lanes || rows * k < FEWEST {
            return None;
        }
        let cut = rows.div_ceil(threads.max(1)).next_multiple_of(kernels.lanes).min(rows);
        let height = column_tiles(kernels, kernels.lanes, columns).1.height;
        let offsets = (0..k).map(|k| (k * height) as isize).collect();
        let columns = (0..height as isize).collect();
        Some(PlannedPanels { fixed, other, left, rows, k, cut, kernels, height, offsets, columns, memory: 0 })
    }

    /// The rows and columns of a box of the product: as few boxes as keep all threads busy, because each packs the other operand.
    pub fn block(&self, [m, n]: [usize; 2]) -> [usize; 2] {
        if self.left { [self.cut, n] } else { [m, self.cut] }
    }

    /// Says where the panels lie in the frame's memory; returns how many bytes they take.
    pub fn place(&mut self, offset: usize) -> usize {
        self.memory = offset;
        self.count() * self.panel() * size_of::<f32>()
    }

    fn count(&self) -> usize {
        self.rows.div_ceil(self.kernels.lanes)
    }

    /// The elements of a panel.
    fn panel(&self) -> usize {
        self.kernels.lanes * self.k
    }

    /// How many boxes the packing is, and the estimated nanoseconds of each.
    pub fn preparations(&self) -> (usize, f64) {
        (self.count(), 20.0 + 0.3 * self.panel() as f64)
    }

    /// Packs a panel: `[k][lanes]`, zeros behind the last row.
    ///
    /// # Safety
    /// The parameters of the context are those the work was made for, and no other thread writes this panel.
    pub unsafe fn prepare(&self, index: usize, context: &Context) {
        let lanes = self.kernels.lanes;
        let first = index * lanes;
        let rows = lanes.min(self.rows - first);
        let Strided { param, offset, outer, k: stride } = self.fixed;
        // SAFETY: by the caller; the memory has room for all panels, and the elements of the operand exist.
        unsafe {
            let to = context.memory.add(self.memory).cast::<f32>().add(index * self.panel());
            let from = (*context.params.add(param)).cast::<f32>().offset((offset + first as i64 * outer) as isize);
            if rows < lanes {
                to.write_bytes(0, self.panel());
            }
            if stride == 1 {
                return transpose([rows, self.k], from, outer as isize, to, lanes as isize);
            }
            for k in 0..self.k {
                let from = from.offset(k as isize * stride as isize);
                for i in 0..rows {
                    *to.add(k * lanes + i) = *from.offset(i as isize * outer as isize);
                }
            }
        }
    }

    /// Computes a block of the product.
    ///
    /// # Errors
    /// If scratch memory is short.
    ///
    /// # Safety
    /// The parameters of the context are those the work was made for; all panels are packed; `out` is this call's to write.
    pub unsafe fn multiply(&self, bounds: &Bounds, out: Matrix<f32>, context: &Context) -> Result<()> {
        let lanes = self.kernels.lanes;
        let at = bounds.len() - 4;
        let range = |axis: usize| bounds[at + 2 * axis] as usize..bounds[at + 2 * axis + 1] as usize;
        let (rows, columns) = if self.left { (range(0), range(1)) } else { (range(1), range(0)) };
        if rows.is_empty() || columns.is_empty() {
            return Ok(());
        }
        // Element `(row, column)` of the block, where rows are those of the fixed operand.
        let out = if self.left { out } else { out.transposed() };
        let kernels = self.kernels.broadcast;
        let kernel = kernels.iter().find(|kernel| kernel.width == lanes && kernel.height == self.height);
        let kernel = kernel.expect("the height is that of a kernel");
        let tiles = columns.len().div_ceil(self.height);
        let tile_elements = self.height * self.k;
        with_scratch((tiles * tile_elements + self.height * lanes) * size_of::<f32>(), |scratch| {
            let packed = scratch.cast::<f32>();
            // SAFETY: by the caller; the scratch has room for the other operand and the sums of a tile, behind it.
            unsafe {
                let sums = packed.add(tiles * tile_elements);
                for tile in 0..tiles {
                    let first = columns.start + tile * self.height;
                    self.pack(first..(first + self.height).min(columns.end), packed.add(tile * tile_elements), context);
                }
                let panels = context.memory.add(self.memory).cast::<f32>();
                for row in rows.clone().step_by(lanes) {
                    let panel = panels.add(row / lanes * self.panel());
                    let present = lanes.min(rows.end - row);
                    let first = out.start.offset((row - rows.start) as isize * out.rows);
                    for tile in 0..tiles {
                        (kernel.run)(&Broadcast {
                            panel,
                            offsets: self.offsets.as_ptr(),
                            k: self.k,
                            x: packed.add(tile * tile_elements),
                            columns: self.columns.as_ptr(),
                            out: sums,
                            add: false,
                        });
                        for j in 0..self.height.min(columns.len() - tile * self.height) {
                            let to = first.offset((tile * self.height + j) as isize * out.columns);
                            let from = sums.add(j * lanes);
                            // Rows are short: a call for each would take longer than the copy.
                            match out.rows {
                                1 if present == 16 => to.cast::<[f32; 16]>().write_unaligned(from.cast::<[f32; 16]>().read()),
                                1 if present == 8 => to.cast::<[f32; 8]>().write_unaligned(from.cast::<[f32; 8]>().read()),
                                step => (0..present).for_each(|i| *to.offset(i as isize * step) = *from.add(i)),
                            }
                        }
                    }
                }
            }
        })
    }

    /// Packs columns of the product, rows of the other operand, as `[k][height]`: zeros behind the last one.
    ///
    /// # Safety
    /// As `multiply`; `to` has room for a tile.
    unsafe fn pack(&self, columns: Range<usize>, to: *mut f32, context: &Context) {
        let Strided { param, offset, outer, k } = self.other;
        let count = columns.len();
        // SAFETY: by the caller; the elements of the operand exist.
        unsafe {
            if count < self.height {
                to.write_bytes(0, self.height * self.k);
            }
            let from = (*context.params.add(param)).cast::<f32>().offset((offset + columns.start as i64 * outer) as isize);
            if k == 1 {
                return transpose([count, self.k], from, outer as isize, to, self.height as isize);
            }
            for i in 0..self.k {
                let from = from.offset(i as isize * k as isize);
                (0..count).for_each(|j| *to.add(i * self.height + j) = *from.offset(j as isize * outer as isize));
            }
        }
    }
}
