//! Products of bytes with sums in 32 bits, which wrap: exact on every CPU.
//!
//! Words of four bytes (or two, as 16-bit numbers) that follow each other along `k` are multiplied and added up by one instruction.
//! Vectors run along the columns of the result.

use crate::gemm::{Matrix, Sum};
use crate::scratch::with_scratch;
use igneous_ir::error::Result;
use std::num::Wrapping;
use std::sync::OnceLock;

impl Sum for Wrapping<i32> {
    type Factor = i8;

    unsafe fn multiply(
        shape: [usize; 3],
        out: Matrix<Wrapping<i32>>,
        accumulate: bool,
        lhs: Matrix<i8>,
        rhs: Matrix<i8>,
    ) -> Result<()> {
        // SAFETY: by the caller; the CPU has what the kernel needs.
        unsafe { multiply(best(), shape, out, accumulate, lhs, rhs) }
    }
}

/// Most elements of `k` at once: a strip of columns stays in the second-level cache.
const DEPTH: usize = 4096;
/// Up to so many rows, columns are not made words of: each is multiplied as it lies.
const FEW: usize = 4;
/// Most rows and columns of a tile.
const MOST: [usize; 2] = [6, 64];

/// Multiplies words of rows, `[M][steps]`, with words of columns, `[steps][columns of the tile]`, into `[M][columns of the tile]`.
type Tile = unsafe fn(rows: *const u32, columns: *const u32, steps: usize, out: *mut i32);

/// How one kind of CPU multiplies bytes.
struct Kernel {
    /// Bytes of a word that are multiplied: 4, or 2 where they are made 16-bit numbers.
    group: usize,
    /// Columns of a tile.
    columns: usize,
    /// A tile for each number of rows.
    tiles: &'static [Tile],
    /// Whether rows are taken as unsigned numbers, each 128 too large.
    shifted: bool,
    /// The sum of the products of two lines of so many bytes.
    line: unsafe fn(*const i8, *const i8, usize) -> i32,
}

/// # Safety
/// Both lines have so many bytes.
#[inline(always)]
unsafe fn line(row: *const i8, column: *const i8, count: usize) -> i32 {
    // SAFETY: by the caller.
    let (row, column) = unsafe { (std::slice::from_raw_parts(row, count), std::slice::from_raw_parts(column, count)) };
    row.iter().zip(column).fold(0i32, |sum, (&a, &b)| sum.wrapping_add(i32::from(a) * i32::from(b)))
}

/// `out (+)= lhs · rhs` for an `m × k` and a `k × n` matrix.
///
/// # Errors
/// If scratch memory is short.
///
/// # Safety
/// Every element of the matrices lies in live memory, `out` overlaps neither operand, and the CPU has what the kernel needs.
unsafe fn multiply(
    kernel: &Kernel,
    [m, n, k]: [usize; 3],
    out: Matrix<Wrapping<i32>>,
    accumulate: bool,
    lhs: Matrix<i8>,
    rhs: Matrix<i8>,
) -> Result<()> {
    if n < 16 && n < m {
        // Vectors run along the longer side.
        // SAFETY: by the caller.
        return unsafe { multiply(kernel, [n, m, k], out.transposed(), accumulate, rhs.transposed(), lhs.transposed()) };
    }
    if m <= FEW && k > 0 && lhs.columns == 1 && rhs.rows == 1 {
        for j in 0..n {
            for i in 0..m {
                // SAFETY: by the caller.
                unsafe {
                    let (row, column) = (lhs.start.offset(i as isize * lhs.rows), rhs.start.offset(j as isize * rhs.columns));
                    let value = Wrapping((kernel.line)(row, column, k));
                    let to = out.start.offset(i as isize * out.rows + j as isize * out.columns);
                    *to = if accumulate { *to + value } else { value };
                }
            }
        }
        return Ok(());
    }
    let depth = k.min(DEPTH);
    let (steps, width) = (depth.div_ceil(kernel.group), kernel.columns);
    with_scratch(4 * (steps * (m + width) + width), |scratch| {
        let rows = scratch.cast::<u32>();
        for from in (0..k.max(1)).step_by(DEPTH) {
            let part = (k - from).min(DEPTH);
            let steps = part.div_ceil(kernel.group);
            // SAFETY: by the caller; the scratch has room for the words of all rows, of a strip of columns, and for their sums.
            unsafe {
                let (columns, sums) = (rows.add(steps * m), rows.add(steps * (m + width)).cast::<i32>());
                let at = |matrix: Matrix<i8>, row: usize, column: usize| Matrix {
                    start: matrix.start.offset(row as isize * matrix.rows + column as isize * matrix.columns),
                    ..matrix
                };
                let flip = if kernel.shifted { 0x8080_8080 } else { 0 };
                for i in 0..m {
                    let line = at(lhs, i, from);
                    words(kernel.group, line.start, line.columns, part, |s, word| *rows.add(i * steps + s) = word ^ flip);
                }
                for first in (0..n).step_by(width) {
                    let count = width.min(n - first);
                    for j in 0..count {
                        let line = at(rhs, from, first + j);
                        let mut sum = 0i32;
                        words(kernel.group, line.start, line.rows, part, |s, word| {
                            *columns.add(s * width + j) = word;
                            sum += if kernel.shifted { word.to_le_bytes().map(|b| i32::from(b as i8)).iter().sum() } else { 0 };
                        });
                        *sums.add(j) = sum << 7;
                    }
                    for j in count..width {
                        (0..steps).for_each(|s| *columns.add(s * width + j) = 0);
                    }
                    let mut tile = [0i32; MOST[0] * MOST[1]];
                    for top in (0..m).step_by(kernel.tiles.len()) {
                        let height = kernel.tiles.len().min(m - top);
                        kernel.tiles[height - 1](rows.add(top * steps), columns, steps, tile.as_mut_ptr());
                        for (i, line) in tile.chunks_exact(width).take(height).enumerate() {
                            for (j, &value) in line.iter().take(count).enumerate() {
                                let row = (top + i) as isize * out.rows;
                                let to = out.start.offset(row + (first + j) as isize * out.columns);
                                let value = Wrapping(value) - Wrapping(*sums.add(j));
                                *to = if accumulate || from > 0 { *to + value } else { value };
                            }
                        }
                    }
                }
            }
        }
    })
}

/// The words of a line of `count` bytes, with zeros behind its end.
///
/// # Safety
/// There are so many bytes.
#[inline(always)]
unsafe fn words(group: usize, line: *const i8, stride: isize, count: usize, mut take: impl FnMut(usize, u32)) {
    // SAFETY: by the caller, for all indices below `count`.
    let byte = |k: usize| if k < count { unsafe { *line.offset(k as isize * stride) } } else { 0 };
    let steps = count.div_ceil(group);
    if group == 2 {
        for s in 0..steps {
            let pair = [byte(2 * s), byte(2 * s + 1)].map(|b| u32::from(i16::from(b) as u16));
            take(s, pair[0] | pair[1] << 16);
        }
        return;
    }
    let whole = if stride == 1 { count / 4 } else { 0 };
    for s in 0..whole {
        // SAFETY: by the caller, there are four bytes more.
        take(s, u32::from_le(unsafe { line.add(4 * s).cast::<u32>().read_unaligned() }));
    }
    for s in whole..steps {
        take(s, u32::from_le_bytes([0, 1, 2, 3].map(|b| byte(4 * s + b) as u8)));
    }
}

/// Vectors of 32-bit sums.
trait Vector: Copy {
    /// How many.
    const LANES: usize;
    /// Zeros.
    ///
    /// # Safety
    /// The CPU has these vectors; so for all that follow.
    unsafe fn zero() -> Self;
    /// # Safety
    /// There are as many words.
    unsafe fn load(words: *const u32) -> Self;
    /// # Safety
    /// As above.
    unsafe fn splat(word: u32) -> Self;
    /// The sums and the products of the numbers in two words.
    ///
    /// # Safety
    /// As above.
    unsafe fn add(self, row: Self, column: Self) -> Self;
    /// # Safety
    /// There is room.
    unsafe fn store(self, to: *mut i32);
}

/// # Safety
/// As [`Tile`], and the CPU has the vectors.
#[inline(always)]
unsafe fn tile<V: Vector, const M: usize, const N: usize>(rows: *const u32, columns: *const u32, steps: usize, out: *mut i32) {
    // SAFETY: by the caller.
    unsafe {
        let mut sums = [[V::zero(); N]; M];
        for s in 0..steps {
            let column: [V; N] = std::array::from_fn(|v| V::load(columns.add((s * N + v) * V::LANES)));
            for (i, line) in sums.iter_mut().enumerate() {
                let row = V::splat(*rows.add(i * steps + s));
                for (sum, &column) in line.iter_mut().zip(&column) {
                    *sum = sum.add(row, column);
                }
            }
        }
        for (i, line) in sums.iter().enumerate() {
            for (v, sum) in line.iter().enumerate() {
                sum.store(out.add((i * N + v) * V::LANES));
            }
        }
    }
}

impl Vector for i32 {
    const LANES: usize = 1;

    unsafe fn zero() -> i32 {
        0
    }

    unsafe fn load(words: *const u32) -> i32 {
        // SAFETY: by the caller.
        unsafe { *words as i32 }
    }

    unsafe fn splat(word: u32) -> i32 {
        word as i32
    }

    unsafe fn add(self, row: i32, column: i32) -> i32 {
        let low = (row as i16 as i32) * (column as i16 as i32);
        self.wrapping_add(low).wrapping_add((row >> 16) * (column >> 16))
    }

    unsafe fn store(self, to: *mut i32) {
        // SAFETY: by the caller.
        unsafe { *to = self };
    }
}

static PORTABLE: Kernel = Kernel { group: 2, columns: 4, tiles: &[tile::<i32, 1, 4>, tile::<i32, 2, 4>], shifted: false, line };

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Kernel, Vector, line, tile};
    use std::arch::x86_64::*;

    /// Pairs of 16-bit numbers.
    #[derive(Clone, Copy)]
    struct Pairs(__m256i);

    impl Vector for Pairs {
        const LANES: usize = 8;

        #[inline(always)]
        unsafe fn zero() -> Pairs {
            // SAFETY: by the caller; so below.
            Pairs(unsafe { _mm256_setzero_si256() })
        }

        #[inline(always)]
        unsafe fn load(words: *const u32) -> Pairs {
            // SAFETY: by the caller.
            Pairs(unsafe { _mm256_loadu_si256(words.cast()) })
        }

        #[inline(always)]
        unsafe fn splat(word: u32) -> Pairs {
            // SAFETY: by the caller.
            Pairs(unsafe { _mm256_set1_epi32(word as i32) })
        }

        #[inline(always)]
        unsafe fn add(self, row: Pairs, column: Pairs) -> Pairs {
            // SAFETY: by the caller.
            Pairs(unsafe { _mm256_add_epi32(self.0, _mm256_madd_epi16(row.0, column.0)) })
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut i32) {
            // SAFETY: by the caller.
            unsafe { _mm256_storeu_si256(to.cast(), self.0) };
        }
    }

    /// Fours of bytes, unsigned in rows, signed in columns.
    #[derive(Clone, Copy)]
    struct Fours(__m512i);

    impl Vector for Fours {
        const LANES: usize = 16;

        #[inline(always)]
        unsafe fn zero() -> Fours {
            // SAFETY: by the caller; so below.
            Fours(unsafe { _mm512_setzero_si512() })
        }

        #[inline(always)]
        unsafe fn load(words: *const u32) -> Fours {
            // SAFETY: by the caller.
            Fours(unsafe { _mm512_loadu_si512(words.cast()) })
        }

        #[inline(always)]
        unsafe fn splat(word: u32) -> Fours {
            // SAFETY: by the caller.
            Fours(unsafe { _mm512_set1_epi32(word as i32) })
        }

        #[inline(always)]
        unsafe fn add(self, row: Fours, column: Fours) -> Fours {
            // SAFETY: by the caller.
            Fours(unsafe { _mm512_dpbusd_epi32(self.0, row.0, column.0) })
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut i32) {
            // SAFETY: by the caller.
            unsafe { _mm512_storeu_si512(to.cast(), self.0) };
        }
    }

    /// # Safety
    /// As [`Tile`](super::Tile), and the CPU has AVX2.
    #[target_feature(enable = "avx2")]
    unsafe fn pairs<const M: usize>(rows: *const u32, columns: *const u32, steps: usize, out: *mut i32) {
        // SAFETY: by the caller.
        unsafe { tile::<Pairs, M, 2>(rows, columns, steps, out) }
    }

    /// # Safety
    /// As [`Tile`](super::Tile), and the CPU has AVX512_VNNI.
    #[target_feature(enable = "avx512f,avx512vnni")]
    unsafe fn fours<const M: usize>(rows: *const u32, columns: *const u32, steps: usize, out: *mut i32) {
        // SAFETY: by the caller.
        unsafe { tile::<Fours, M, 4>(rows, columns, steps, out) }
    }

    /// # Safety
    /// Both lines have so many bytes, and the CPU has AVX2.
    #[target_feature(enable = "avx2")]
    unsafe fn short_line(row: *const i8, column: *const i8, count: usize) -> i32 {
        // SAFETY: by the caller. The compiler makes vectors of it.
        unsafe { line(row, column, count) }
    }

    /// # Safety
    /// As above, and the CPU has AVX512BW.
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn long_line(row: *const i8, column: *const i8, count: usize) -> i32 {
        // SAFETY: by the caller. The compiler makes vectors of it.
        unsafe { line(row, column, count) }
    }

    pub(super) static AVX2: Kernel = Kernel {
        group: 2,
        columns: 16,
        tiles: &[pairs::<1>, pairs::<2>, pairs::<3>, pairs::<4>],
        shifted: false,
        line: short_line,
    };
    pub(super) static VNNI: Kernel = Kernel {
        group: 4,
        columns: 64,
        tiles: &[fours::<1>, fours::<2>, fours::<3>, fours::<4>, fours::<5>, fours::<6>],
        shifted: true,
        line: long_line,
    };
}

/// The kernels that the CPU can run, the fastest last.
fn available() -> Vec<&'static Kernel> {
    #[allow(unused_mut)] // where there is only one
    let mut all = vec![&PORTABLE];
    #[cfg(target_arch = "x86_64")]
    {
        if std::is_x86_feature_detected!("avx2") {
            all.push(&x86::AVX2);
        }
        let wide = std::is_x86_feature_detected!("avx512f") && std::is_x86_feature_detected!("avx512bw");
        if wide && std::is_x86_feature_detected!("avx512vnni") {
            all.push(&x86::VNNI);
        }
    }
    all
}

fn best() -> &'static Kernel {
    static BEST: OnceLock<&'static Kernel> = OnceLock::new();
    BEST.get_or_init(|| available().pop().expect("the portable one is there"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kernel on every layout, the extremes of bytes included, and added to what is there.
    #[test]
    fn products_of_bytes_are_exact() {
        let byte = |i: usize| (i.wrapping_mul(2654435761) >> 7) as i8;
        let most = available();
        for (at, shape) in
            [[1, 1, 1], [1, 70, 130], [70, 1, 9], [7, 65, 4], [13, 33, 5000], [3, 5, 0], [6, 64, 64]].iter().enumerate()
        {
            let [m, n, k] = *shape;
            let mut a: Vec<i8> = (0..m * k).map(byte).collect();
            let mut b: Vec<i8> = (0..k * n).map(|i| byte(i + 99)).collect();
            if at == 6 {
                a.fill(-128);
                b.fill(-128);
            }
            for (of_a, of_b, of_out) in (0..8).map(|turned| (turned & 1, turned >> 1 & 1, turned >> 2)) {
                let matrix = |start: *mut i8, [rows, columns]: [usize; 2], turned: usize| match turned {
                    0 => Matrix { start, rows: columns as isize, columns: 1 },
                    _ => Matrix { start, rows: 1, columns: rows as isize },
                };
                let (lhs, rhs) = (matrix(a.as_mut_ptr(), [m, k], of_a), matrix(b.as_mut_ptr(), [k, n], of_b));
                let (rows, columns) = if of_out == 0 { (n, 1) } else { (1, m) };
                let element = |x: Matrix<i8>, i: usize, j: usize| {
                    // SAFETY: an element of the matrix.
                    i32::from(unsafe { *x.start.offset(i as isize * x.rows + j as isize * x.columns) })
                };
                for (kernel, added) in most.iter().flat_map(|k| [(k, 0), (k, 7)]) {
                    let mut found = vec![Wrapping(added); m * n];
                    let out = Matrix { start: found.as_mut_ptr(), rows: rows as isize, columns: columns as isize };
                    // SAFETY: all matrices are live and apart.
                    unsafe { multiply(kernel, *shape, out, added != 0, lhs, rhs).unwrap() };
                    for i in 0..m {
                        for j in 0..n {
                            let sum: i32 = (0..k).map(|k| element(lhs, i, k) * element(rhs, k, j)).sum();
                            assert_eq!(
                                found[i * rows + j * columns].0,
                                sum + added,
                                "{shape:?} {of_a} {of_b} {of_out} at {i} {j}"
                            );
                        }
                    }
                }
            }
        }
    }
}
