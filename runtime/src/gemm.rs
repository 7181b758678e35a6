//! Matrix products by the library, one thread, on operands of any strides.

use crate::scratch::with_scratch;
use crate::transpose::transpose;
use gemm_common::Parallelism;
use igneous_ir::error::Result;

/// A matrix in memory: element `(i, j)` lies at `start + i·rows + j·columns` (strides in elements).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix<T> {
    pub start: *mut T,
    pub rows: isize,
    pub columns: isize,
}

impl<T> Matrix<T> {
    /// Rows as columns.
    pub fn transposed(self) -> Matrix<T> {
        Matrix { start: self.start, rows: self.columns, columns: self.rows }
    }
}

/// The types in which dots add up.
pub(crate) trait Sum: Copy + Default + std::ops::AddAssign + Send + Sync + 'static {
    /// The type of what is multiplied.
    type Factor;

    /// `out (+)= lhs · rhs` for an `m × k` and a `k × n` matrix.
    ///
    /// # Errors
    /// If scratch memory is short.
    ///
    /// # Safety
    /// Every element of the matrices lies in live memory, and `out` overlaps neither operand.
    unsafe fn multiply(
        shape: [usize; 3],
        out: Matrix<Self>,
        accumulate: bool,
        lhs: Matrix<Self::Factor>,
        rhs: Matrix<Self::Factor>,
    ) -> Result<()>;
}

/// The types of products that the library makes.
pub(crate) trait Real: Sum<Factor = Self> {
    /// `out (+)= lhs · rhs` for an `m × k` and a `k × n` matrix.
    ///
    /// # Safety
    /// Every element of the matrices lies in live memory, and `out` overlaps neither operand.
    unsafe fn library(shape: [usize; 3], out: Matrix<Self>, accumulate: bool, lhs: Matrix<Self>, rhs: Matrix<Self>);
}

macro_rules! real {
    ($type:ident, $get:expr) => {
        impl Sum for $type {
            type Factor = $type;

            unsafe fn multiply(
                shape: [usize; 3],
                out: Matrix<$type>,
                accumulate: bool,
                lhs: Matrix<$type>,
                rhs: Matrix<$type>,
            ) -> Result<()> {
                // SAFETY: by the caller.
                unsafe { multiply(shape, out, accumulate, lhs, rhs) }
            }
        }

        impl Real for $type {
            #[inline]
            unsafe fn library(
                [m, n, k]: [usize; 3],
                out: Matrix<$type>,
                accumulate: bool,
                lhs: Matrix<$type>,
                rhs: Matrix<$type>,
            ) {
                // SAFETY: by the caller; the library reads and writes just the elements of the matrices.
                unsafe {
                    ($get)()(
                        m,
                        n,
                        k,
                        out.start,
                        out.columns,
                        out.rows,
                        accumulate,
                        lhs.start,
                        lhs.columns,
                        lhs.rows,
                        rhs.start,
                        rhs.columns,
                        rhs.rows,
                        1.0,
                        1.0,
                        false,
                        false,
                        false,
                        Parallelism::None,
                    )
                }
            }
        }
    };
}

real!(f32, gemm_f32::gemm::f32::get_gemm_fn);
real!(f64, gemm_f64::gemm::f64::get_gemm_fn);

/// The estimated nanoseconds to copy an element while transposing, and to multiply and add one pair of elements.
const COPY_NS: f64 = 0.13;
const MULTIPLY_NS: f64 = 0.02;
/// How many bytes of a transposed operand are made at once: they stay in the second-level cache.
const COPIED_BYTES: usize = 384 << 10;

/// `out (+)= lhs · rhs` for an `m × k` and a `k × n` matrix.
///
/// The library wants the rows of `out` and of its left operand next to each other. It is given the transposed product where
/// that makes it so; else a transposed copy of the operand, or a transposed result, is made here, whichever is less work. Which one
/// depends on extents and strides alone.
///
/// # Errors
/// If scratch memory is short.
///
/// # Safety
/// Every element of the matrices lies in live memory, and `out` overlaps neither operand.
pub(crate) unsafe fn multiply<T: Real>(
    [m, n, k]: [usize; 3],
    out: Matrix<T>,
    accumulate: bool,
    lhs: Matrix<T>,
    rhs: Matrix<T>,
) -> Result<()> {
    if m == 1 || (n != 1 && out.columns.abs() < out.rows.abs()) {
        // SAFETY: by the caller.
        unsafe { multiply_rows([n, m, k], out.transposed(), accumulate, rhs.transposed(), lhs.transposed()) }
    } else {
        // SAFETY: by the caller.
        unsafe { multiply_rows([m, n, k], out, accumulate, lhs, rhs) }
    }
}

/// Like [`multiply`], where the rows of `out` should be next to each other.
///
/// # Safety
/// As `multiply`.
unsafe fn multiply_rows<T: Real>(
    [m, n, k]: [usize; 3],
    out: Matrix<T>,
    accumulate: bool,
    lhs: Matrix<T>,
    rhs: Matrix<T>,
) -> Result<()> {
    let straight = estimate([m, n, k], lhs);
    let turned = estimate([n, m, k], rhs.transposed()) + COPY_NS * (m * n) as f64;
    let slow = wants_copy([m, n, k], lhs) || (2..16).contains(&m) && n > 1;
    if accumulate || out.rows != 1 || !slow || straight <= turned {
        // SAFETY: by the caller.
        return unsafe { multiply_copied([m, n, k], out, accumulate, lhs, rhs) };
    }
    with_scratch(m * n * size_of::<T>(), |scratch| {
        let result = Matrix { start: scratch.cast::<T>(), rows: 1, columns: n as isize };
        // SAFETY: by the caller; the scratch has room for the result.
        unsafe {
            multiply_copied([n, m, k], result, false, rhs.transposed(), lhs.transposed())?;
            transpose([m, n], result.start, n as isize, out.start, out.columns);
        }
        Ok(())
    })?
}

/// The estimated nanoseconds of [`multiply_copied`]. The library's kernels fill vectors of 16 along m, and reach their peak at 64.
fn estimate<T>([m, n, k]: [usize; 3], lhs: Matrix<T>) -> f64 {
    let rows = m.next_multiple_of(16);
    let copy = if wants_copy([m, n, k], lhs) { COPY_NS * (m * k) as f64 } else { 0.0 };
    copy + MULTIPLY_NS * (rows * n * k) as f64 * (1.0 + 8.0 / rows.min(64) as f64)
}

/// Whether the library would be slow on this left operand, and a transposed copy can be made fast.
fn wants_copy<T>([m, n, k]: [usize; 3], lhs: Matrix<T>) -> bool {
    lhs.rows != 1 && lhs.columns == 1 && m >= 8 && n >= 2 && k >= 8
}

/// Like [`multiply_rows`], with a transposed copy of the left operand if that is better.
///
/// # Safety
/// As `multiply`.
unsafe fn multiply_copied<T: Real>(
    [m, n, k]: [usize; 3],
    out: Matrix<T>,
    accumulate: bool,
    lhs: Matrix<T>,
    rhs: Matrix<T>,
) -> Result<()> {
    if !wants_copy([m, n, k], lhs) {
        // SAFETY: by the caller.
        unsafe { T::library([m, n, k], out, accumulate, lhs, rhs) };
        return Ok(());
    }
    // Rows of the copy that are a large power of two apart would share few places of the cache.
    let stride = m.next_multiple_of(16) + if m.next_multiple_of(16).is_multiple_of(256) { 16 } else { 0 };
    let chunk = ((COPIED_BYTES / (stride * size_of::<T>())) & !15).clamp(64, 512).min(k);
    with_scratch(stride * chunk * size_of::<T>(), |scratch| {
        let copy = Matrix { start: scratch.cast::<T>(), rows: 1, columns: stride as isize };
        for from in (0..k).step_by(chunk) {
            let part = chunk.min(k - from);
            // SAFETY: by the caller; the scratch has room for the copy.
            unsafe {
                transpose([m, part], lhs.start.add(from), lhs.rows, copy.start, copy.columns);
                let rhs = Matrix { start: rhs.start.offset(from as isize * rhs.rows), ..rhs };
                T::library([m, n, part], out, accumulate || from > 0, copy, rhs);
            }
        }
    })
}
