//! The micro-kernels: register tiles of sums of products.
//!
//! Each exists in several tile sizes. The sum of an element is made in the order of `k` whatever the tile, so that how
//! a block is cut into tiles does not show in results.

use super::simd::Simd;

/// Most rows and columns (in vectors or elements) of any tile.
pub(crate) const MOST: usize = 32;

/// A tile whose vectors run along columns that are neighbours in memory: `out[i][j…] = Σ_k weights[k][i] · x[j… + offsets[k]]`.
pub(crate) struct Stream {
    /// `[k][rows of the tile]`, dense.
    pub weights: *const f32,
    /// What each `k` adds to the addresses of columns, in elements.
    pub offsets: *const isize,
    pub k: usize,
    /// The first element of each vector, and how many of its lanes there are.
    pub x: [*const f32; 8],
    pub lanes: [usize; 8],
    /// Where the vectors of the first row go, and the distance between rows in elements.
    pub out: [*mut f32; 8],
    pub row: isize,
    /// The rows that there are: the first ones of the tile.
    pub rows: usize,
}

/// A tile whose vectors run along packed rows: `out[j][i…] (+)= Σ_k panel[k][i…] · x[columns[j] + offsets[k]]`.
pub(crate) struct Broadcast {
    /// `[k][vectors of the tile · lanes]`, dense.
    pub panel: *const f32,
    pub offsets: *const isize,
    pub k: usize,
    pub x: *const f32,
    /// The offset of each column of the tile.
    pub columns: *const isize,
    /// `[columns][vectors · lanes]`, dense.
    pub out: *mut f32,
    /// Whether the sums are added to what is in `out`.
    pub add: bool,
}

/// Elements that are neighbours along `k` in both operands.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    pub lhs: isize,
    pub rhs: isize,
    pub length: usize,
}

/// A tile whose vectors run along `k`: `out[i][j] = Σ_k lhs[rows[i] + k] · rhs[columns[j] + k]`, over runs.
pub(crate) struct Reduce {
    pub rows: [*const f32; 8],
    pub columns: [*const f32; 8],
    pub runs: *const Run,
    pub count: usize,
    /// `[rows of the tile][columns of the tile]`
    pub out: *mut f32,
}

/// # Safety
/// The CPU has the features of `S`; the tile's memory is live, and `out` is this call's to write.
#[inline(always)]
pub(super) unsafe fn stream<S: Simd, const M: usize, const N: usize>(t: &Stream) {
    // SAFETY: by the caller.
    unsafe {
        let masks: [S::Mask; N] = std::array::from_fn(|j| S::first(t.lanes[j]));
        let mut sums = [[S::zero(); N]; M];
        let mut weights = t.weights;
        for k in 0..t.k {
            let offset = *t.offsets.add(k);
            let x: [S::V; N] = std::array::from_fn(|j| S::load_masked(t.x[j].wrapping_offset(offset), masks[j]));
            for (i, row) in sums.iter_mut().enumerate() {
                let w = S::splat(weights.add(i));
                for (sum, &x) in row.iter_mut().zip(&x) {
                    *sum = S::fma(w, x, *sum);
                }
            }
            weights = weights.add(M);
        }
        for (i, row) in sums.iter().enumerate() {
            if i >= t.rows {
                break;
            }
            for (j, &sum) in row.iter().enumerate() {
                S::store_masked(t.out[j].wrapping_offset(i as isize * t.row), masks[j], sum);
            }
        }
    }
}

/// # Safety
/// As [`stream`].
#[inline(always)]
pub(super) unsafe fn broadcast<S: Simd, const P: usize, const V: usize>(t: &Broadcast) {
    // SAFETY: by the caller.
    unsafe {
        let x: [*const f32; P] = std::array::from_fn(|j| t.x.wrapping_offset(*t.columns.add(j)));
        let mut sums = [[S::zero(); V]; P];
        if t.add {
            for (j, row) in sums.iter_mut().enumerate() {
                *row = std::array::from_fn(|v| S::load(t.out.add((j * V + v) * S::LANES)));
            }
        }
        let mut panel = t.panel;
        for k in 0..t.k {
            let offset = *t.offsets.add(k);
            let w: [S::V; V] = std::array::from_fn(|v| S::load(panel.add(v * S::LANES)));
            for (row, x) in sums.iter_mut().zip(&x) {
                let x = S::splat(x.wrapping_offset(offset));
                for (sum, &w) in row.iter_mut().zip(&w) {
                    *sum = S::fma(w, x, *sum);
                }
            }
            panel = panel.add(V * S::LANES);
        }
        for (j, row) in sums.iter().enumerate() {
            for (v, &sum) in row.iter().enumerate() {
                S::store(t.out.add((j * V + v) * S::LANES), sum);
            }
        }
    }
}

/// # Safety
/// As [`stream`].
#[inline(always)]
pub(super) unsafe fn reduce<S: Simd, const M: usize, const N: usize>(t: &Reduce) {
    // SAFETY: by the caller.
    unsafe {
        let rows: [*const f32; M] = std::array::from_fn(|i| t.rows[i]);
        let columns: [*const f32; N] = std::array::from_fn(|j| t.columns[j]);
        let mut sums = [[S::zero(); N]; M];
        for run in std::slice::from_raw_parts(t.runs, t.count) {
            let whole = run.length / S::LANES * S::LANES;
            for at in (0..whole).step_by(S::LANES) {
                let (lhs, rhs) = (run.lhs + at as isize, run.rhs + at as isize);
                let x: [S::V; N] = std::array::from_fn(|j| S::load(columns[j].wrapping_offset(rhs)));
                for (row, y) in sums.iter_mut().zip(&rows) {
                    let y = S::load(y.wrapping_offset(lhs));
                    for (sum, &x) in row.iter_mut().zip(&x) {
                        *sum = S::fma(y, x, *sum);
                    }
                }
            }
            if whole < run.length {
                let mask = S::first(run.length - whole);
                let (lhs, rhs) = (run.lhs + whole as isize, run.rhs + whole as isize);
                let x: [S::V; N] = std::array::from_fn(|j| S::load_masked(columns[j].wrapping_offset(rhs), mask));
                for (row, y) in sums.iter_mut().zip(&rows) {
                    let y = S::load_masked(y.wrapping_offset(lhs), mask);
                    for (sum, &x) in row.iter_mut().zip(&x) {
                        *sum = S::fma(y, x, *sum);
                    }
                }
            }
        }
        for (i, row) in sums.iter().enumerate() {
            for (j, &sum) in row.iter().enumerate() {
                *t.out.add(i * N + j) = S::sum(sum);
            }
        }
    }
}
