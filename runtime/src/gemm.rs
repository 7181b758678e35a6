//! Matrix products by the library, one thread, on operands of any strides.

use gemm_common::Parallelism;

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

/// The element types of dots.
pub(crate) trait Real: Copy + Default + std::ops::AddAssign + Send + Sync + 'static {
    /// `out (+)= lhs · rhs` for an `m × k` and a `k × n` matrix.
    ///
    /// # Safety
    /// Every element of the matrices lies in live memory, and `out` overlaps neither operand.
    unsafe fn library(shape: [usize; 3], out: Matrix<Self>, accumulate: bool, lhs: Matrix<Self>, rhs: Matrix<Self>);
}

macro_rules! real {
    ($type:ident, $get:expr) => {
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

/// `out (+)= lhs · rhs` for an `m × k` and a `k × n` matrix.
///
/// # Safety
/// Every element of the matrices lies in live memory, and `out` overlaps neither operand.
pub(crate) unsafe fn multiply<T: Real>([m, n, k]: [usize; 3], out: Matrix<T>, accumulate: bool, lhs: Matrix<T>, rhs: Matrix<T>) {
    // The library's inner loops run along the rows of `out`, so it wants those next to each other.
    let transpose = m == 1 || (n != 1 && out.columns.abs() < out.rows.abs());
    // SAFETY: by the caller.
    unsafe {
        if transpose {
            T::library([n, m, k], out.transposed(), accumulate, rhs.transposed(), lhs.transposed());
        } else {
            T::library([m, n, k], out, accumulate, lhs, rhs);
        }
    }
}
