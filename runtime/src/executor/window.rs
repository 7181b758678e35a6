//! Products of a plain operand and windows of an image, by the register tiles of [`crate::tile`].
//!
//! The place of an element of the image is the sum of a part that columns decide and one that `k` decides, so nothing is
//! packed: vectors run along columns or along `k` where these are neighbours in memory, and single elements are spread over
//! packed rows of the plain operand where they are not. Only an image that windows reach out of is copied first, with zeros around it.

use super::boxes::Bounds;
use super::image::{Image, Located};
use super::layout::{for_each_row, merged, places};
use super::scope::Scope;
use super::steps::Context;
use crate::buffer::ALIGNMENT;
use crate::gemm::Matrix;
use crate::program::Window;
use crate::scratch::with_scratch;
use crate::tile::{self, Broadcast, Kernel, Kernels, MOST, Reduce, Run, Stream};
use crate::transpose::transpose;
use igneous_ir::error::{Error, Result};
use smallvec::SmallVec;
use std::ops::Range;

/// About how many indices of `k` are done at once where sums are continued.
const PIECE: usize = 1024;
/// Blocks of some rows begin at multiples of this many: of the rows of every tile.
pub(super) const ROWS: usize = 480;
/// How many tiles of columns are made before they are turned into rows: they stay in the first-level cache.
const GROUP: usize = 4;

/// A product in numbers.
pub(super) struct PlannedWindow {
    kernels: &'static Kernels,
    form: Form,
    m: usize,
    k: usize,
    lhs: Plain,
    image: Image,
    /// How much of `k` is done at once.
    piece: usize,
    prepared: Option<Prepared>,
}

/// Which way vectors run.
enum Form {
    /// Along columns; rows of a tile.
    Stream(usize),
    /// Along packed rows; rows of a tile.
    Broadcast(usize),
    /// Along `k`.
    Reduce(&'static Kernel<Reduce>),
}

/// The left operand.
struct Plain {
    param: usize,
    offset: isize,
    batch: SmallVec<[isize; 2]>,
    m_extents: SmallVec<[usize; 4]>,
    m: SmallVec<[isize; 4]>,
    k_extents: SmallVec<[usize; 4]>,
    k: SmallVec<[isize; 4]>,
}

/// Packed panels of the left operand that all blocks share.
struct Prepared {
    /// In the frame's memory, in bytes.
    offset: usize,
    /// For each batch axis, its extent if the left operand depends on it, else 1.
    batch: SmallVec<[usize; 2]>,
}

fn aligned(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT)
}

impl PlannedWindow {
    /// `blocks` is how many blocks the columns are cut into.
    pub fn new(
        [lhs, rhs]: [&Window; 2],
        batch: &[i64],
        [m, n, k]: [usize; 3],
        blocks: usize,
        params: usize,
        scope: Scope,
    ) -> Result<PlannedWindow> {
        if lhs.param >= params || rhs.param >= params {
            return Err(Error::new("a window names a parameter that is not there"));
        }
        let left = Image::new(lhs, batch.len(), scope)?;
        let image = Image::new(rhs, batch.len(), scope)?;
        if left.k_extents != image.k_extents
            || [&left.outer_extents, &image.outer_extents, &image.k_extents].map(|e| e.iter().product::<usize>()) != [m, n, k]
        {
            return Err(Error::new("windows have other extents than their product"));
        }
        if m * n * k > 0 && batch.iter().all(|&n| n > 0) && !left.stays_inside(batch) {
            return Err(Error::new("the left operand of a product of windows reaches out of its parameter"));
        }
        let kernels = tile::best();
        let (offset, batch_strides, m_strides, k_strides) = left.in_place();
        let form = choose(kernels, k_strides.last() == Some(&1), &image, [m, n, k]);
        let (k_extents, k_strides) = match form {
            // Its rows are those of the image.
            Form::Reduce(_) => (left.k_extents, k_strides),
            _ => merged(&left.k_extents, &k_strides),
        };
        let m_extents = left.outer_extents;
        let lhs = Plain { param: lhs.param, offset, batch: batch_strides, m_extents, m: m_strides, k_extents, k: k_strides };
        let inner = image.k_extents.get(1..).map_or(1, |e| e.iter().product::<usize>()).max(1);
        let piece = (PIECE / inner).max(1) * inner;
        let shared: SmallVec<[usize; 2]> =
            batch.iter().zip(&lhs.batch).map(|(&n, &stride)| if stride == 0 { 1 } else { n.max(0) as usize }).collect();
        let all = blocks * batch.iter().map(|&n| n.max(0) as usize).product::<usize>();
        let several = !matches!(form, Form::Reduce(_)) && all > shared.iter().product();
        let prepared = several.then_some(Prepared { offset: 0, batch: shared });
        Ok(PlannedWindow { kernels, form, m, k, lhs, image, piece, prepared })
    }

    /// Rows of a panel.
    fn panel_rows(&self) -> usize {
        match self.form {
            Form::Stream(rows) | Form::Broadcast(rows) => rows,
            Form::Reduce(_) => 0,
        }
    }

    fn panel_bytes(&self, k: usize) -> usize {
        aligned(self.panel_rows() * k * size_of::<f32>())
    }

    /// How many panels are prepared, and the estimated nanoseconds of each.
    pub fn preparations(&self) -> (usize, f64) {
        let Some(prepared) = &self.prepared else { return (0, 0.0) };
        let panels = prepared.batch.iter().product::<usize>() * self.m.div_ceil(self.panel_rows());
        (panels, 50.0 + 0.3 * (self.k * self.panel_rows()) as f64)
    }

    /// Says where prepared panels lie; returns how many bytes they take.
    pub fn place_prepared(&mut self, offset: usize) -> usize {
        let bytes = self.preparations().0 * self.panel_bytes(self.k);
        if let Some(prepared) = &mut self.prepared {
            prepared.offset = offset;
        }
        bytes
    }

    /// Packs one panel.
    ///
    /// # Safety
    /// The parameters of the context are those the work was made for, and no other thread writes what this call does.
    pub unsafe fn prepare(&self, index: usize, context: &Context) {
        let Some(prepared) = &self.prepared else { return };
        let each = self.m.div_ceil(self.panel_rows());
        let (mut batch, panel) = (index / each, index % each);
        let mut start = self.lhs.offset;
        for (&extent, &stride) in prepared.batch.iter().zip(&self.lhs.batch).rev() {
            start += (batch % extent) as isize * stride;
            batch /= extent;
        }
        // SAFETY: by the caller; the frame's memory has room for all panels.
        unsafe {
            let from = (*context.params.add(self.lhs.param)).cast::<f32>().cast_const().wrapping_offset(start);
            let to = context.memory.add(prepared.offset + index * self.panel_bytes(self.k)).cast();
            self.pack(from, panel, 0..self.k, to);
        }
    }

    /// Writes `[k][rows of a panel]` for the rows of panel `panel`, zeros for those that are not there.
    ///
    /// # Safety
    /// `from` is the left operand at the indices of the batch; `to` has room.
    unsafe fn pack(&self, from: *const f32, panel: usize, range: Range<usize>, to: *mut f32) {
        let width = self.panel_rows();
        let first = panel * width;
        let rows = width.min(self.m - first);
        let mut at = [0; MOST];
        places(&self.lhs.m_extents, &self.lhs.m, first..first + rows, &mut at[..rows]);
        let step = if rows > 1 { at[1] - at[0] } else { 0 };
        let even = at[..rows].windows(2).all(|w| w[1] - w[0] == step);
        let (inner, mut next) = (self.lhs.k.last().copied().unwrap_or(0), 0);
        // SAFETY: by the caller; every place is one of an element.
        unsafe {
            if rows < width {
                to.write_bytes(0, width * range.len());
            }
            for_each_row(&self.lhs.k_extents, [&self.lhs.k], range, |[place], length| {
                let from = from.wrapping_offset(place);
                if even && inner == 1 && rows > 1 && length > 1 {
                    transpose([rows, length], from.wrapping_offset(at[0]), step, to.add(next * width), width as isize);
                } else {
                    for k in 0..length {
                        for (i, &row) in at[..rows].iter().enumerate() {
                            *to.add((next + k) * width + i) = *from.wrapping_offset(row + k as isize * inner);
                        }
                    }
                }
                next += length;
            });
        }
    }

    /// Computes a block of the product over a range of k.
    ///
    /// # Safety
    /// The parameters of the context are those the work was made for, panels are prepared, and the block of `out` is this call's
    /// to write.
    pub unsafe fn multiply(&self, bounds: &Bounds, range: Range<usize>, out: Matrix<f32>, context: &Context) -> Result<()> {
        let at = bounds.len() - 4;
        let [rows, columns] = [at, at + 2].map(|i| bounds[i] as usize..bounds[i + 1] as usize);
        let start = bounds[..at].iter().step_by(2).zip(&self.lhs.batch).map(|(&i, &s)| i as isize * s).sum::<isize>();
        // SAFETY: by the caller; the offset is only used for elements that exist.
        let lhs =
            unsafe { (*context.params.add(self.lhs.param)).cast::<f32>().cast_const() }.wrapping_offset(self.lhs.offset + start);
        let block = Block { bounds, rows, columns, range, lhs, context };
        if block.range.is_empty() {
            for i in 0..block.rows.len() as isize {
                for j in 0..block.columns.len() as isize {
                    // SAFETY: an element of the block.
                    unsafe { *out.start.offset(i * out.rows + j * out.columns) = 0.0 };
                }
            }
            return Ok(());
        }
        // SAFETY: by the caller.
        unsafe {
            match self.form {
                Form::Stream(height) if out.columns == 1 => self.stream(&block, height, out),
                Form::Stream(height) => with_scratch(block.rows.len() * block.columns.len() * size_of::<f32>(), |scratch| {
                    let columns = block.columns.len() as isize;
                    let dense = Matrix { start: scratch.cast::<f32>(), rows: columns, columns: 1 };
                    self.stream(&block, height, dense)?;
                    for i in 0..block.rows.len() as isize {
                        for j in 0..columns {
                            *out.start.offset(i * out.rows + j * out.columns) = *dense.start.offset(i * columns + j);
                        }
                    }
                    Ok(())
                })?,
                Form::Broadcast(rows) => self.broadcast(&block, rows, out),
                Form::Reduce(kernel) => self.reduce(&block, kernel, out),
            }
        }
    }

    /// The prepared panel of rows `panel·panel_rows…`, at the first k of the block.
    fn prepared_panel(&self, prepared: &Prepared, block: &Block, panel: usize) -> *const f32 {
        let batch = block.bounds[..block.bounds.len() - 4].iter().step_by(2);
        let own = batch.zip(&prepared.batch).fold(0, |at, (&i, &n)| if n == 1 { at } else { at * n + i as usize });
        let index = own * self.m.div_ceil(self.panel_rows()) + panel;
        let start = prepared.offset + index * self.panel_bytes(self.k);
        block.context.memory.wrapping_add(start + block.range.start * self.panel_rows() * size_of::<f32>()).cast()
    }

    /// # Safety
    /// As `multiply`; columns of `out` are neighbours.
    unsafe fn stream(&self, block: &Block, height: usize, out: Matrix<f32>) -> Result<()> {
        let (lanes, k, columns) = (self.kernels.lanes, block.range.len(), block.columns.len());
        let panels = block.rows.start / height..block.rows.end.div_ceil(height);
        let own = if self.prepared.is_some() { 0 } else { self.panel_bytes(k) * panels.len() };
        let tables = aligned(k * size_of::<isize>());
        let strips_bytes = aligned(columns * size_of::<Strip>());
        // SAFETY: by the caller; the scratch has room for the tables, the strips and the panels.
        let work = |image: Located| unsafe {
            with_scratch(tables + strips_bytes + own, |scratch| {
                let offsets = std::slice::from_raw_parts_mut(scratch.cast::<isize>(), k);
                places(&self.image.k_extents, &image.k, block.range.clone(), offsets);
                let strips = scratch.add(tables).cast::<Strip>();
                let strips = std::slice::from_raw_parts_mut(strips, self.strips(block, &image, lanes, strips));
                let packed = scratch.add(tables + strips_bytes);
                if self.prepared.is_none() {
                    for (i, panel) in panels.clone().enumerate() {
                        self.pack(block.lhs, panel, block.range.clone(), packed.add(i * self.panel_bytes(k)).cast());
                    }
                }
                let mut rest: &[Strip] = strips;
                while !rest.is_empty() {
                    let kernel = stream_kernel(self.kernels, height, rest.len());
                    let (now, later) = rest.split_at(kernel.width.min(rest.len()));
                    rest = later;
                    for (i, panel) in panels.clone().enumerate() {
                        let weights = match &self.prepared {
                            Some(prepared) => self.prepared_panel(prepared, block, panel),
                            None => packed.add(i * self.panel_bytes(k)).cast_const().cast(),
                        };
                        let row = out.start.wrapping_offset((i * height) as isize * out.rows);
                        let strip = |j: usize| now.get(j).unwrap_or(&now[0]);
                        (kernel.run)(&Stream {
                            weights,
                            offsets: offsets.as_ptr(),
                            k,
                            x: std::array::from_fn(|j| image.base.wrapping_offset(strip(j).place)),
                            lanes: std::array::from_fn(|j| if j < now.len() { strip(j).lanes } else { 0 }),
                            out: std::array::from_fn(|j| row.wrapping_add(strip(j).column)),
                            row: out.rows,
                            rows: height.min(self.m - panel * height),
                        });
                    }
                }
            })
        };
        // SAFETY: by the caller.
        unsafe { self.image.locate(block.bounds, block.columns.clone(), block.range.clone(), block.context, work)? }
    }

    /// Cuts the columns of a block into vectors.
    ///
    /// # Safety
    /// `to` has room for one strip for each column.
    unsafe fn strips(&self, block: &Block, image: &Located, lanes: usize, to: *mut Strip) -> usize {
        let (mut count, mut column) = (0, 0);
        let mut run: (isize, usize) = (0, 0);
        let mut cut = |(place, length): (isize, usize)| {
            for at in (0..length).step_by(lanes) {
                let strip = Strip { place: place + at as isize, lanes: lanes.min(length - at), column };
                // SAFETY: by the caller, every strip has a column.
                unsafe { to.add(count).write(strip) };
                count += 1;
                column += strip.lanes;
            }
        };
        for_each_row(&self.image.outer_extents, [&image.outer], block.columns.clone(), |[place], length| {
            if place == run.0 + run.1 as isize {
                run.1 += length;
            } else {
                cut(run);
                run = (place, length);
            }
        });
        cut(run);
        count
    }

    /// # Safety
    /// As `multiply`.
    unsafe fn broadcast(&self, block: &Block, rows: usize, out: Matrix<f32>) -> Result<()> {
        let columns = block.columns.len();
        let panels = block.rows.start / rows..block.rows.end.div_ceil(rows);
        let (tiles, kernel) = column_tiles(self.kernels, rows, columns);
        let piece = if self.prepared.is_some() { block.range.end } else { self.piece };
        let longest = piece.min(block.range.len());
        let table = aligned(longest * size_of::<isize>());
        let column_table = aligned(tiles * kernel.height * size_of::<isize>());
        let sums_of = |tiles: usize| aligned(tiles * kernel.height * rows * size_of::<f32>());
        let sums_bytes = if self.prepared.is_some() { sums_of(GROUP) } else { sums_of(tiles) * panels.len() };
        let own = if self.prepared.is_some() { 0 } else { self.panel_bytes(longest) };
        with_scratch(table + column_table + sums_bytes + own, |scratch| {
            // SAFETY: by the caller; the scratch has room for the tables, the sums and a panel.
            unsafe {
                let columns_at = scratch.add(table).cast::<isize>();
                let sums = scratch.add(table + column_table);
                let packed = sums.add(sums_bytes).cast::<f32>();
                for range in pieces(block.range.clone(), piece) {
                    let work = |image: Located| {
                        let offsets = std::slice::from_raw_parts_mut(scratch.cast::<isize>(), range.len());
                        places(&self.image.k_extents, &image.k, range.clone(), offsets);
                        let at = std::slice::from_raw_parts_mut(columns_at, tiles * kernel.height);
                        places(&self.image.outer_extents, &image.outer, block.columns.clone(), &mut at[..columns]);
                        let last = at[columns - 1];
                        at[columns..].fill(last);
                        let tile = |panel: *const f32, number: usize, to: *mut f32| {
                            (kernel.run)(&Broadcast {
                                panel,
                                offsets: offsets.as_ptr(),
                                k: range.len(),
                                x: image.base,
                                columns: at[number * kernel.height..].as_ptr(),
                                out: to,
                                add: range.start > block.range.start,
                            });
                        };
                        let Some(prepared) = &self.prepared else {
                            for (i, panel) in panels.clone().enumerate() {
                                self.pack(block.lhs, panel, range.clone(), packed);
                                let sums = sums.add(i * sums_of(tiles)).cast::<f32>();
                                (0..tiles).for_each(|n| tile(packed, n, sums.add(n * kernel.height * rows)));
                            }
                            return;
                        };
                        for group in (0..tiles).step_by(GROUP) {
                            for (i, panel) in panels.clone().enumerate() {
                                let panel = self.prepared_panel(prepared, block, panel);
                                let now = group..(group + GROUP).min(tiles);
                                let sums = sums.cast::<f32>();
                                now.clone().for_each(|n| tile(panel, n, sums.add((n - group) * kernel.height * rows)));
                                let done = group * kernel.height..(now.end * kernel.height).min(columns);
                                self.turn(block, i, done, sums, out);
                            }
                        }
                    };
                    self.image.locate(block.bounds, block.columns.clone(), range.clone(), block.context, work)?;
                }
                if self.prepared.is_none() {
                    for i in 0..panels.len() {
                        self.turn(block, i, 0..columns, sums.add(i * sums_of(tiles)).cast(), out);
                    }
                }
            }
            Ok(())
        })?
    }

    /// Writes the sums `[columns][rows of a panel]` to the rows of the `number`-th panel of a block.
    ///
    /// # Safety
    /// The sums are there; the block of `out` is this call's to write.
    unsafe fn turn(&self, block: &Block, number: usize, columns: Range<usize>, sums: *const f32, out: Matrix<f32>) {
        let width = self.panel_rows();
        let rows = width.min(block.rows.len() - number * width);
        // SAFETY: by the caller.
        unsafe {
            let to = out.start.offset((number * width) as isize * out.rows + columns.start as isize * out.columns);
            if out.columns == 1 {
                return transpose([columns.len(), rows], sums, width as isize, to, out.rows);
            }
            for j in 0..columns.len() {
                for i in 0..rows {
                    *to.offset(i as isize * out.rows + j as isize * out.columns) = *sums.add(j * width + i);
                }
            }
        }
    }

    /// # Safety
    /// As `multiply`.
    unsafe fn reduce(&self, block: &Block, kernel: &Kernel<Reduce>, out: Matrix<f32>) -> Result<()> {
        let (rows, columns) = (block.rows.len(), block.columns.len());
        let (piece, longest) = (self.piece, self.piece.min(block.range.len()));
        let row_table = aligned(rows * size_of::<isize>());
        let column_table = aligned(columns * size_of::<isize>());
        with_scratch(row_table + column_table + longest * size_of::<Run>(), |scratch| {
            // SAFETY: by the caller; the scratch has room for the tables and the runs.
            unsafe {
                let rows_at = std::slice::from_raw_parts_mut(scratch.cast::<isize>(), rows);
                places(&self.lhs.m_extents, &self.lhs.m, block.rows.clone(), rows_at);
                let columns_at = std::slice::from_raw_parts_mut(scratch.add(row_table).cast::<isize>(), columns);
                let runs = scratch.add(row_table + column_table).cast::<Run>();
                for range in pieces(block.range.clone(), piece) {
                    let work = |image: Located| {
                        places(&self.image.outer_extents, &image.outer, block.columns.clone(), columns_at);
                        let count = self.runs(&image, range.clone(), runs);
                        let mut sums = [0f32; 64];
                        for i in (0..rows).step_by(kernel.height) {
                            for j in (0..columns).step_by(kernel.width) {
                                let row = |r: usize| block.lhs.wrapping_offset(rows_at[(i + r).min(rows - 1)]);
                                let column = |c: usize| image.base.wrapping_offset(columns_at[(j + c).min(columns - 1)]);
                                (kernel.run)(&Reduce {
                                    rows: std::array::from_fn(row),
                                    columns: std::array::from_fn(column),
                                    runs,
                                    count,
                                    out: sums.as_mut_ptr(),
                                });
                                for r in 0..kernel.height.min(rows - i) {
                                    for c in 0..kernel.width.min(columns - j) {
                                        let place = (i + r) as isize * out.rows + (j + c) as isize * out.columns;
                                        let sum = sums[r * kernel.width + c];
                                        let to = out.start.offset(place);
                                        *to = if range.start == block.range.start { sum } else { *to + sum };
                                    }
                                }
                            }
                        }
                    };
                    self.image.locate(block.bounds, block.columns.clone(), range.clone(), block.context, work)?;
                }
            }
            Ok(())
        })?
    }

    /// Writes the stretches of `k` that are neighbours in both operands; returns how many there are.
    ///
    /// # Safety
    /// `to` has room for one run for each `k`.
    unsafe fn runs(&self, image: &Located, range: Range<usize>, to: *mut Run) -> usize {
        let mut count = 0;
        let mut last: Option<Run> = None;
        let mut push = |run: Option<Run>| {
            if let Some(run) = run {
                // SAFETY: by the caller.
                unsafe { to.add(count).write(run) };
                count += 1;
            }
        };
        for_each_row(&self.image.k_extents, [&self.lhs.k, &image.k], range, |[lhs, rhs], length| match &mut last {
            Some(run) if lhs == run.lhs + run.length as isize && rhs == run.rhs + run.length as isize => run.length += length,
            _ => push(last.replace(Run { lhs, rhs, length })),
        });
        push(last);
        count
    }
}

/// A block of a product, over a range of k.
struct Block<'a> {
    bounds: &'a Bounds,
    rows: Range<usize>,
    columns: Range<usize>,
    range: Range<usize>,
    /// The left operand at the indices of the batch.
    lhs: *const f32,
    context: &'a Context,
}

/// Columns of one vector.
#[derive(Clone, Copy)]
struct Strip {
    /// The first element in the image, for the first k.
    place: isize,
    lanes: usize,
    /// The first column in the block.
    column: usize,
}

/// Cuts a range at multiples of `piece`.
fn pieces(range: Range<usize>, piece: usize) -> impl Iterator<Item = Range<usize>> {
    let end_of = move |from: usize| ((from / piece + 1) * piece).min(range.end);
    let first = Some(range.start).filter(|&from| from < range.end);
    std::iter::successors(first, move |&from| Some(end_of(from)).filter(|&next| next < range.end))
        .map(move |from| from..end_of(from))
}

/// The kernel for tiles of this height that wastes least on this many vectors.
pub(super) fn stream_kernel(kernels: &Kernels, height: usize, vectors: usize) -> &Kernel<Stream> {
    let fitting = kernels.stream.iter().filter(|k| k.height == height);
    fitting.min_by_key(|k| (vectors.div_ceil(k.width) * k.width, usize::MAX - k.width)).expect("the height is a kernel's")
}

/// Into how many tiles columns are cut, and the kernel for all of them.
pub(super) fn column_tiles(kernels: &Kernels, rows: usize, columns: usize) -> (usize, &Kernel<Broadcast>) {
    let fitting = || kernels.broadcast.iter().filter(|k| k.width == rows);
    let most = fitting().map(|k| k.height).max().expect("the width is a kernel's");
    let each = columns.div_ceil(columns.div_ceil(most));
    let kernel = fitting().filter(|k| k.height >= each).min_by_key(|k| k.height).expect("the largest is large enough");
    (columns.div_ceil(kernel.height), kernel)
}

/// What part of the arithmetic of tiles is of use, for `n` of them in steps of `step`.
pub(super) fn used(n: usize, step: usize) -> f64 {
    n as f64 / n.next_multiple_of(step) as f64
}

/// What part of its time a tile multiplies, with so many loads: they run beside the arithmetic, but not for nothing.
pub(super) fn busy(height: usize, width: usize, loads: f64) -> f64 {
    let products = (height * width) as f64;
    products / (products.max(loads) + 0.2 * loads + 1.0)
}

/// The form of the least estimated cost.
fn choose(kernels: &'static Kernels, rows_along_k: bool, image: &Image, [m, n, k]: [usize; 3]) -> Form {
    let (m, n, k) = (m.max(1), n.max(1), k.max(1));
    let lanes = kernels.lanes;
    // The larger of equally good tiles loads less.
    let mut best = (0.0, Form::Broadcast(0));
    for kernel in kernels.broadcast {
        let rate = 0.85 * used(m, kernel.width);
        if rate > best.0 || rate == best.0 && matches!(best.1, Form::Broadcast(rows) if rows < kernel.width) {
            best = (rate, Form::Broadcast(kernel.width));
        }
    }
    if image.neighbours(&image.outer_extents, |index| &index.outer) {
        let row = image.outer_extents.last().copied().unwrap_or(1);
        for kernel in kernels.stream {
            let loads = kernel.width as f64 + 0.5 * kernel.height as f64;
            let strips = n.div_ceil(row) * row.div_ceil(lanes);
            let rate = used(m, kernel.height)
                * used(row, lanes)
                * used(strips, kernel.width).max(0.8)
                * busy(kernel.height, kernel.width, loads);
            if rate > best.0 {
                best = (rate, Form::Stream(kernel.height));
            }
        }
    }
    if rows_along_k && image.neighbours(&image.k_extents, |index| &index.k) {
        let row = image.k_extents.last().copied().unwrap_or(1);
        for kernel in kernels.reduce {
            let loads = (kernel.height + kernel.width) as f64;
            let rate = used(m, kernel.height)
                * used(n, kernel.width)
                * used(row, lanes)
                * (k as f64 / (k + 2 * lanes) as f64)
                * busy(kernel.height, kernel.width, loads);
            if rate > best.0 {
                best = (rate, Form::Reduce(kernel));
            }
        }
    }
    best.1
}
