//! Dots: blocks of a matrix product, by the library, on strided or packed operands, with an epilogue.

use super::boxes::{Bounds, Grid};
use super::panels::{PlannedPanels, Strided};
use super::scope::Scope;
use super::steps::Context;
use super::window::{PlannedWindow, ROWS};
use super::winograd::PlannedWinograd;
use crate::buffer::ALIGNMENT;
use crate::gemm::{Matrix, Sum};
use crate::program::{DotOut, DotWork, KernelFn, Operand};
use crate::scratch::with_scratch;
use crate::tile::{Widen, widening};
use igneous_ir::error::{Error, Result};
use igneous_ir::types::DType;
use smallvec::SmallVec;
use std::num::Wrapping;
use std::ops::Range;

/// How many bytes of packed operands are made at once: they stay in the second-level cache.
const PACKED_BYTES: usize = 384 << 10;

/// A [`DotWork`] with numbers for its dimensions.
pub(super) struct PlannedDot {
    dtype: DType,
    /// Blocks of the batch axes, m and n.
    blocks: Grid,
    /// The extent of k, how much of it one part has, and how many parts there are.
    k: usize,
    part: usize,
    parts: usize,
    /// The largest block.
    block: [usize; 2],
    operands: Operands,
    out: Out,
    /// Bytes per element.
    size: usize,
    /// The byte offset of the partial products in the frame's memory, when there are several parts.
    partials: usize,
}

enum Operands {
    /// Matrices for the library; how much of k is done at once when one is packed.
    Matrices {
        lhs: Side,
        rhs: Side,
        k_chunk: usize,
    },
    Panels(Box<PlannedPanels>),
    Windows(Box<PlannedWindow>),
    Winograd(Box<PlannedWinograd>),
}

enum Side {
    Strided {
        param: usize,
        offset: i64,
        batch: SmallVec<[i64; 2]>,
        outer: i64,
        k: i64,
    },
    /// As `Strided`, of a half type or bytes.
    Converted {
        widen: Widen,
        param: usize,
        offset: i64,
        batch: SmallVec<[i64; 2]>,
        outer: i64,
        k: i64,
    },
    Packed(KernelFn),
}

/// What the lines of a converted operand are longer than their elements: lines that are a large power of two apart would share
/// few places of the cache.
const LINE_END: usize = 16;

enum Out {
    Param { param: usize, batch: SmallVec<[i64; 2]>, m: i64, n: i64 },
    Epilogue { function: KernelFn, scratch: usize },
}

fn aligned(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT)
}

impl PlannedDot {
    /// The panels for a dot with an operand that is the same in many runs, where that pays.
    pub fn panels(
        work: &DotWork,
        is_fixed: &dyn Fn(usize) -> bool,
        scope: Scope,
        threads: usize,
    ) -> Result<Option<PlannedPanels>> {
        let strided = |operand: &Operand| -> Result<Option<Strided>> {
            let Operand::Strided { param, offset, outer, k, .. } = operand else { return Ok(None) };
            let (offset, outer, k) = (scope.eval(*offset)?, scope.eval(*outer)?, scope.eval(*k)?);
            Ok(Some(Strided { param: *param, offset, outer, k }))
        };
        let (Some(lhs), Some(rhs)) = (strided(&work.lhs)?, strided(&work.rhs)?) else { return Ok(None) };
        if work.dtype != DType::F32 || !work.batch.is_empty() || work.split_k > 1 {
            return Ok(None);
        }
        let shape = [scope.size(work.m)?, scope.size(work.n)?, scope.size(work.k)?];
        Ok(match (is_fixed(lhs.param), is_fixed(rhs.param)) {
            (false, true) => PlannedPanels::new(rhs, lhs, false, shape, threads),
            (true, false) => PlannedPanels::new(lhs, rhs, true, shape, threads),
            _ => None,
        })
    }

    /// `panels` is what [`PlannedDot::panels`] has made of the work.
    pub fn new(work: &DotWork, params: usize, scope: Scope, panels: Option<PlannedPanels>) -> Result<PlannedDot> {
        let broken = |what: &str| Error::new(format!("a dot {what}"));
        if !matches!(work.dtype, DType::F32 | DType::F64 | DType::I32) {
            return Err(broken(&format!("of {} cannot run: it takes f32, f64 or i32", work.dtype)));
        }
        let (m, n, k) = (scope.size(work.m)?, scope.size(work.n)?, scope.size(work.k)?);
        let windows = match (&work.lhs, &work.rhs) {
            (Operand::Window(lhs), Operand::Window(rhs) | Operand::Winograd(rhs)) if work.dtype == DType::F32 => {
                Some([&**lhs, &**rhs])
            }
            (Operand::Window(_) | Operand::Winograd(_), _) | (_, Operand::Window(_) | Operand::Winograd(_)) => {
                return Err(broken("takes windows of f32 on both sides or none"));
            }
            _ => None,
        };
        let mut rows = scope.size(work.block.0)?;
        if windows.is_some() {
            rows = rows.next_multiple_of(ROWS);
        }
        let mut block = [rows.clamp(1, m.max(1)), scope.size(work.block.1)?.clamp(1, n.max(1))];
        if let Some(panels) = &panels {
            block = panels.block([m, n]);
        }
        let batch: Vec<i64> = work.batch.iter().map(|&b| scope.eval(b)).collect::<Result<_>>()?;
        let extents = batch.iter().copied().chain([m as i64, n as i64]);
        let blocks = Grid::of_chunks(extents, batch.iter().map(|_| 1).chain(block.map(|b| b as i64)));

        let named = |param: usize| if param < params { Ok(param) } else { Err(broken("names a parameter that is not there")) };
        let strides = |dims: &[igneous_ir::Dim]| {
            if dims.len() != batch.len() {
                return Err(broken("has not one stride for each batch axis"));
            }
            dims.iter().map(|&d| scope.eval(d)).collect::<Result<SmallVec<[i64; 2]>>>()
        };
        let side = |operand: &Operand| -> Result<Side> {
            match operand {
                Operand::Strided { param, dtype, offset, batch, outer, k } => {
                    let param = named(*param)?;
                    let (offset, batch) = (scope.eval(*offset)?, strides(batch)?);
                    let (outer, k) = (scope.eval(*outer)?, scope.eval(*k)?);
                    match (work.dtype, dtype) {
                        (DType::F32, DType::F16 | DType::BF16 | DType::I8) => {
                            Ok(Side::Converted { widen: widening(*dtype), param, offset, batch, outer, k })
                        }
                        (DType::I32, DType::I8) => Ok(Side::Strided { param, offset, batch, outer, k }),
                        (dot, own) if dot == *own && dot != DType::I32 => Ok(Side::Strided { param, offset, batch, outer, k }),
                        _ => Err(broken(&format!("of {} cannot read {dtype}", work.dtype))),
                    }
                }
                Operand::Packed { function } => Ok(Side::Packed(*function)),
                Operand::Window(_) | Operand::Winograd(_) => Err(broken("has a window as a matrix")),
            }
        };
        let out = match &work.out {
            DotOut::Param { param, batch, m, n } => {
                Out::Param { param: named(*param)?, batch: strides(batch)?, m: scope.eval(*m)?, n: scope.eval(*n)? }
            }
            DotOut::Epilogue { function, scratch } => Out::Epilogue { function: *function, scratch: scope.size(*scratch)? },
        };
        let size = work.dtype.size();
        let k_chunk = ((PACKED_BYTES / (size * (block[0] + block[1]))) & !15).clamp(32, 1024).min(k.max(1));
        let part = k.div_ceil(work.split_k.max(1)).max(1);
        let parts = k.div_ceil(part).max(1);
        let operands = match windows {
            Some(windows) if matches!(work.rhs, Operand::Winograd(_)) => {
                if parts > 1 || matches!(out, Out::Param { n, .. } if n != 1) {
                    return Err(broken("of transformed tiles is in parts, or has columns that are no neighbours"));
                }
                let winograd = PlannedWinograd::new(windows, &batch, [m, n, k], block[1], params, scope)?;
                Operands::Winograd(Box::new(winograd))
            }
            Some(windows) => {
                let window = PlannedWindow::new(windows, &batch, [m, n, k], n.div_ceil(block[1]), params, scope)?;
                Operands::Windows(Box::new(window))
            }
            None => {
                let matrices = Operands::Matrices { lhs: side(&work.lhs)?, rhs: side(&work.rhs)?, k_chunk };
                panels.map_or(matrices, |panels| Operands::Panels(Box::new(panels)))
            }
        };
        Ok(PlannedDot { dtype: work.dtype, blocks, k, part, parts, block, operands, out, size, partials: 0 })
    }

    /// How many boxes the products are, and the estimated nanoseconds of each.
    pub fn products(&self) -> (usize, f64) {
        let flops = 2.0 * self.block[0] as f64 * self.block[1] as f64 * self.part as f64;
        let per_ns = match (&self.operands, self.dtype) {
            (Operands::Windows(_) | Operands::Panels(_), _) => 80.0,
            (Operands::Winograd(_), _) => 150.0,
            (_, DType::F64) => 25.0,
            (_, DType::I32) => 100.0,
            _ => 50.0,
        };
        (self.blocks.boxes() * self.parts, 100.0 + flops / per_ns)
    }

    /// How many boxes the sums of partial products are (none if k is in one part), and the estimated nanoseconds of each.
    pub fn sums(&self) -> (usize, f64) {
        if self.parts == 1 {
            return (0, 0.0);
        }
        (self.blocks.boxes(), 50.0 + 0.2 * (self.block[0] * self.block[1] * self.parts) as f64)
    }

    /// How many boxes the preparation of an operand that all blocks share is, and the estimated nanoseconds of each.
    pub fn preparations(&self) -> (usize, f64) {
        match &self.operands {
            Operands::Windows(window) => window.preparations(),
            Operands::Winograd(winograd) => winograd.preparations(),
            Operands::Panels(panels) => panels.preparations(),
            Operands::Matrices { .. } => (0, 0.0),
        }
    }

    /// Prepares a part of an operand.
    ///
    /// # Safety
    /// As [`PlannedWindow::prepare`], [`PlannedWinograd::prepare`] and [`PlannedPanels::prepare`].
    pub unsafe fn prepare(&self, index: usize, context: &Context) {
        // SAFETY: by the caller.
        unsafe {
            match &self.operands {
                Operands::Windows(window) => window.prepare(index, context),
                Operands::Winograd(winograd) => winograd.prepare(index, context),
                Operands::Panels(panels) => panels.prepare(index, context),
                Operands::Matrices { .. } => {}
            }
        }
    }

    /// Says where partial products and prepared operands lie, in memory of the frame that starts at `offset`; returns how many
    /// bytes they take.
    pub fn place_memory(&mut self, offset: usize) -> usize {
        self.partials = offset;
        let partials = if self.parts == 1 { 0 } else { aligned(self.blocks.boxes() * self.parts * self.partial_bytes()) };
        match &mut self.operands {
            Operands::Windows(window) => partials + window.place_prepared(offset + partials),
            Operands::Winograd(winograd) => partials + winograd.place_prepared(offset + partials),
            // Panels have a place already.
            Operands::Panels(_) | Operands::Matrices { .. } => partials,
        }
    }

    fn partial_bytes(&self) -> usize {
        aligned(self.block[0] * self.block[1] * self.size)
    }

    /// # Safety
    /// As [`PlannedDot::product_of`].
    pub unsafe fn product(&self, index: usize, context: &Context) -> Result<()> {
        // SAFETY: by the caller.
        unsafe {
            match self.dtype {
                DType::F64 => self.product_of::<f64>(index, context),
                DType::I32 => self.product_of::<Wrapping<i32>>(index, context),
                _ => self.product_of::<f32>(index, context),
            }
        }
    }

    /// # Safety
    /// As [`PlannedDot::sum_of`].
    pub unsafe fn sum(&self, index: usize, context: &Context) -> Result<()> {
        // SAFETY: by the caller.
        unsafe {
            match self.dtype {
                DType::F64 => self.sum_of::<f64>(index, context),
                DType::I32 => self.sum_of::<Wrapping<i32>>(index, context),
                _ => self.sum_of::<f32>(index, context),
            }
        }
    }

    /// Computes one part of one block.
    ///
    /// # Safety
    /// The parameters of the context are those the work was made for, and no other thread writes what this box does.
    unsafe fn product_of<T: Sum>(&self, index: usize, context: &Context) -> Result<()> {
        let (index, part) = (index / self.parts, index % self.parts);
        let bounds = self.blocks.bounds(index);
        let from = part * self.part;
        let to = (from + self.part).min(self.k);
        let [m, n] = extents(&bounds);
        let dense = |start: *mut u8| Matrix { start: start.cast::<T>(), rows: n as isize, columns: 1 };
        let block = match &self.out {
            Out::Epilogue { .. } if self.parts == 1 => aligned(m * n * self.size),
            _ => 0,
        };
        // The epilogue's own scratch may lie where the packed operands were.
        let behind = match &self.out {
            Out::Epilogue { scratch, .. } if self.parts == 1 => *scratch,
            _ => 0,
        };
        with_scratch(block + behind.max(self.packed_room(m, n).iter().sum()), |scratch| {
            // SAFETY: by the caller; the scratch has room for the block and what follows it, the frame's memory for the
            // partial products of all boxes.
            unsafe {
                let packed = scratch.add(block);
                match &self.out {
                    _ if self.parts > 1 => {
                        let offset = self.partials + (index * self.parts + part) * self.partial_bytes();
                        self.accumulate(&bounds, from..to, dense(context.memory.add(offset)), packed, context)
                    }
                    Out::Param { .. } => self.accumulate::<T>(&bounds, from..to, self.target(&bounds, context), packed, context),
                    Out::Epilogue { function, .. } => {
                        self.accumulate(&bounds, from..to, dense(scratch), packed, context)?;
                        function(context.params, context.dims, bounds.as_ptr(), scratch, context.error);
                        Ok(())
                    }
                }
            }
        })?
    }

    /// Adds the parts of one block, in order.
    ///
    /// # Safety
    /// As `product_of`, and all parts of this block are computed.
    unsafe fn sum_of<T: Sum>(&self, index: usize, context: &Context) -> Result<()> {
        let bounds = self.blocks.bounds(index);
        let [m, n] = extents(&bounds);
        let parts = |part: usize| {
            // SAFETY: each part is a block of `m · n` elements in the frame's memory, written before.
            unsafe {
                let start = context.memory.add(self.partials + (index * self.parts + part) * self.partial_bytes());
                std::slice::from_raw_parts(start.cast::<T>(), m * n)
            }
        };
        let room = aligned(m * n * self.size) + if let Out::Epilogue { scratch, .. } = &self.out { *scratch } else { 0 };
        with_scratch(room, |block| {
            // SAFETY: the scratch has room for the block, and recycled memory is initialised.
            let total = unsafe { std::slice::from_raw_parts_mut(block.cast::<T>(), m * n) };
            total.copy_from_slice(parts(0));
            for part in 1..self.parts {
                total.iter_mut().zip(parts(part)).for_each(|(sum, &x)| *sum += x);
            }
            match &self.out {
                Out::Epilogue { function, .. } => {
                    // SAFETY: by the caller.
                    unsafe { function(context.params, context.dims, bounds.as_ptr(), block, context.error) }
                }
                Out::Param { .. } => {
                    // SAFETY: by the caller.
                    let out: Matrix<T> = unsafe { self.target(&bounds, context) };
                    for (i, row) in total.chunks_exact(n).enumerate() {
                        for (j, &x) in row.iter().enumerate() {
                            // SAFETY: an element of the block of the output.
                            unsafe { *out.start.offset(i as isize * out.rows + j as isize * out.columns) = x };
                        }
                    }
                }
            }
        })
    }

    /// Where a block of the output parameter lies.
    ///
    /// # Safety
    /// The parameters of the context are those the work was made for.
    unsafe fn target<T>(&self, bounds: &Bounds, context: &Context) -> Matrix<T> {
        let Out::Param { param, batch, m, n } = &self.out else { unreachable!("only asked of a plain output") };
        let axes = batch.len();
        let first = offset(batch, bounds) + bounds[2 * axes] * m + bounds[2 * axes + 2] * n;
        // SAFETY: the parameter is there, and the block lies in it.
        let start = unsafe { (*context.params.add(*param)).cast::<T>().offset(first as isize) };
        Matrix { start, rows: *m as isize, columns: *n as isize }
    }

    /// The bytes of the packed left and right operand of a block, for as much of k as is done at once.
    fn packed_room(&self, m: usize, n: usize) -> [usize; 2] {
        let Operands::Matrices { lhs, rhs, k_chunk } = &self.operands else { return [0, 0] };
        [(lhs, m), (rhs, n)].map(|(side, outer)| match side {
            Side::Packed(_) => aligned(outer * k_chunk * self.size),
            Side::Converted { .. } => aligned((outer + LINE_END) * (k_chunk + LINE_END) * self.size),
            Side::Strided { .. } => 0,
        })
    }

    /// Computes a block of the product over a range of k.
    ///
    /// # Safety
    /// As `product_of`; the block fits `out`; `scratch` has `packed_room` for the block.
    unsafe fn accumulate<T: Sum>(
        &self,
        bounds: &Bounds,
        range: Range<usize>,
        out: Matrix<T>,
        scratch: *mut u8,
        context: &Context,
    ) -> Result<()> {
        let [m, n] = extents(bounds);
        let (lhs, rhs, k_chunk) = match &self.operands {
            Operands::Matrices { lhs, rhs, k_chunk } => (lhs, rhs, *k_chunk),
            Operands::Panels(panels) => {
                let out = Matrix { start: out.start.cast::<f32>(), rows: out.rows, columns: out.columns };
                // SAFETY: by the caller; panels are of `f32`, which `T` is then, and of all of k.
                return unsafe { panels.multiply(bounds, out, context) };
            }
            Operands::Windows(window) => {
                let out = Matrix { start: out.start.cast::<f32>(), rows: out.rows, columns: out.columns };
                // SAFETY: by the caller; windows are of `f32`, which `T` is then.
                return unsafe { window.multiply(bounds, range, out, context) };
            }
            Operands::Winograd(winograd) => {
                let out = Matrix { start: out.start.cast::<f32>(), rows: out.rows, columns: out.columns };
                // SAFETY: as above; it was checked that there is one part and that columns are neighbours.
                return unsafe { winograd.multiply(bounds, out, context) };
            }
        };
        let room = self.packed_room(m, n);
        let chunk = if room == [0, 0] { range.len().max(1) } else { k_chunk };
        let axes = bounds.len() / 2 - 2;
        let mut k = range.start;
        loop {
            let next = (k + chunk).min(range.end);
            // SAFETY: by the caller.
            unsafe {
                let lhs: Matrix<T::Factor> = lhs.load(bounds, axes, k..next, scratch, context);
                let rhs: Matrix<T::Factor> = rhs.load(bounds, axes + 1, k..next, scratch.add(room[0]), context);
                T::multiply([m, n, next - k], out, k != range.start, lhs, rhs.transposed())?;
            }
            if next == range.end {
                return Ok(());
            }
            k = next;
        }
    }
}

impl Side {
    /// The operand's matrix `[outer, k]` for the outer range of `bounds[axis]` and this range of k.
    ///
    /// # Safety
    /// The parameters of the context are those the work was made for; `scratch` has room for a packed matrix.
    unsafe fn load<T>(&self, bounds: &Bounds, axis: usize, k: Range<usize>, scratch: *mut u8, context: &Context) -> Matrix<T> {
        let outer = [bounds[2 * axis], bounds[2 * axis + 1]];
        match self {
            Side::Strided { param, offset: base, batch, outer: outer_stride, k: k_stride } => {
                let first = base + offset(batch, bounds) + outer[0] * outer_stride + k.start as i64 * k_stride;
                // SAFETY: the parameter is there; the offset is only used for elements that exist.
                let start = unsafe { (*context.params.add(*param)).cast::<T>().wrapping_offset(first as isize) };
                Matrix { start, rows: *outer_stride as isize, columns: *k_stride as isize }
            }
            Side::Converted { widen, param, offset: base, batch, outer: outer_stride, k: k_stride } => {
                let first = base + offset(batch, bounds) + outer[0] * outer_stride + k.start as i64 * k_stride;
                // SAFETY: as above.
                let start = unsafe { (*context.params.add(*param)).wrapping_offset(first as isize * widen.size) };
                let (rows, columns) = ((outer[1] - outer[0]) as usize, k.len());
                // Lines run along the axis whose elements are neighbours.
                let along_k = *k_stride == 1 || *outer_stride != 1;
                let (lines, length) = if along_k { (rows, columns) } else { (columns, rows) };
                let (between, within) = if along_k { (*outer_stride, *k_stride) } else { (*k_stride, *outer_stride) };
                let pitch = length + LINE_END;
                for line in 0..lines {
                    let from = start.wrapping_offset(line as isize * between as isize * widen.size);
                    let to = scratch.cast::<f32>().wrapping_add(line * pitch);
                    // SAFETY: the elements of a line exist, and the scratch has room for all lines.
                    unsafe {
                        if within == 1 {
                            (widen.run)(from, to, length);
                        } else {
                            let at = |i: usize| from.offset(i as isize * within as isize * widen.size);
                            (0..length).for_each(|i| (widen.run)(at(i), to.add(i), 1));
                        }
                    }
                }
                let (rows, columns) = if along_k { (pitch as isize, 1) } else { (1, pitch as isize) };
                Matrix { start: scratch.cast(), rows, columns }
            }
            Side::Packed(function) => {
                let batch = bounds.len() - 4;
                let mut at = Bounds::from_slice(&bounds[..batch]);
                at.extend([outer[0], outer[1], k.start as i64, k.end as i64]);
                // SAFETY: by the caller.
                unsafe { function(context.params, context.dims, at.as_ptr(), scratch, context.error) };
                Matrix { start: scratch.cast(), rows: 1, columns: (outer[1] - outer[0]) as isize }
            }
        }
    }
}

/// The sum of `index · stride` over the batch axes, which come first in `bounds`.
fn offset(strides: &[i64], bounds: &Bounds) -> i64 {
    strides.iter().enumerate().map(|(axis, stride)| bounds[2 * axis] * stride).sum()
}

/// The extents of the last two axes.
fn extents(bounds: &Bounds) -> [usize; 2] {
    let at = bounds.len() - 4;
    [(bounds[at + 1] - bounds[at]) as usize, (bounds[at + 3] - bounds[at + 2]) as usize]
}
