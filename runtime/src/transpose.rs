//! Transposing copies, tile by tile, so that every cache line is read and written whole.

/// Rows and columns of a tile.
const TILE: usize = 16;

/// Writes `to[j, i] = from[i, j]` for an `rows × columns` matrix; the strides are those between rows of `from` and of `to`, in
/// elements.
///
/// # Safety
/// Every element of both matrices lies in live memory, and they do not overlap.
pub(crate) unsafe fn transpose<T: Copy + 'static>(
    [rows, columns]: [usize; 2],
    from: *const T,
    from_stride: isize,
    to: *mut T,
    to_stride: isize,
) {
    // SAFETY: by the caller, the elements of each tile are elements of the matrices.
    unsafe {
        let element = |i: usize, j: usize| {
            *to.offset(j as isize * to_stride + i as isize) = *from.offset(i as isize * from_stride + j as isize);
        };
        let wide = tile_of::<T>();
        for i in (0..rows).step_by(TILE) {
            for j in (0..columns).step_by(TILE) {
                let (last_i, last_j) = ((i + TILE).min(rows), (j + TILE).min(columns));
                if let Some(tile) = wide.filter(|_| last_i - i == TILE && last_j - j == TILE) {
                    let from = from.offset(i as isize * from_stride + j as isize);
                    let to = to.offset(j as isize * to_stride + i as isize);
                    tile(from.cast(), from_stride, to.cast(), to_stride);
                } else {
                    (j..last_j).for_each(|j| (i..last_i).for_each(|i| element(i, j)));
                }
            }
        }
    }
}

/// Transposes a tile of 32-bit elements.
type Tile = unsafe fn(*const f32, isize, *mut f32, isize);

/// The vector code for tiles of `T`, where there is some.
fn tile_of<T: 'static>() -> Option<Tile> {
    #[cfg(target_arch = "x86_64")]
    if std::any::TypeId::of::<T>() == std::any::TypeId::of::<f32>() && std::is_x86_feature_detected!("avx") {
        return Some(avx::tile);
    }
    None
}

#[cfg(target_arch = "x86_64")]
mod avx {
    use std::arch::x86_64::*;

    /// Transposes a 16×16 tile as four 8×8 ones.
    ///
    /// # Safety
    /// The CPU has AVX; the tile lies in both matrices, which do not overlap.
    #[target_feature(enable = "avx")]
    pub(super) unsafe fn tile(from: *const f32, from_stride: isize, to: *mut f32, to_stride: isize) {
        for (i, j) in [(0, 0), (0, 8), (8, 0), (8, 8)] {
            // SAFETY: by the caller.
            unsafe {
                quarter(from.offset(i * from_stride + j), from_stride, to.offset(j * to_stride + i), to_stride);
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx")]
    unsafe fn quarter(from: *const f32, from_stride: isize, to: *mut f32, to_stride: isize) {
        // SAFETY: by the caller of `tile`, eight elements of each of eight rows may be read and written.
        unsafe {
            let row = |i: isize| _mm256_loadu_ps(from.offset(i * from_stride));
            let rows = [row(0), row(1), row(2), row(3), row(4), row(5), row(6), row(7)];
            // Pairs of rows interleaved, then fours of rows, within 128-bit halves; then the halves are exchanged.
            let low = |i: usize| _mm256_unpacklo_ps(rows[i], rows[i + 1]);
            let high = |i: usize| _mm256_unpackhi_ps(rows[i], rows[i + 1]);
            let (l0, l2, l4, l6) = (low(0), low(2), low(4), low(6));
            let (h0, h2, h4, h6) = (high(0), high(2), high(4), high(6));
            const EVEN: i32 = 0b01_00_01_00;
            const ODD: i32 = 0b11_10_11_10;
            let top = [
                _mm256_shuffle_ps::<EVEN>(l0, l2),
                _mm256_shuffle_ps::<ODD>(l0, l2),
                _mm256_shuffle_ps::<EVEN>(h0, h2),
                _mm256_shuffle_ps::<ODD>(h0, h2),
            ];
            let bottom = [
                _mm256_shuffle_ps::<EVEN>(l4, l6),
                _mm256_shuffle_ps::<ODD>(l4, l6),
                _mm256_shuffle_ps::<EVEN>(h4, h6),
                _mm256_shuffle_ps::<ODD>(h4, h6),
            ];
            for (j, (&t, &b)) in top.iter().zip(&bottom).enumerate() {
                let j = j as isize;
                _mm256_storeu_ps(to.offset(j * to_stride), _mm256_permute2f128_ps::<0x20>(t, b));
                _mm256_storeu_ps(to.offset((j + 4) * to_stride), _mm256_permute2f128_ps::<0x31>(t, b));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Copy + Default + PartialEq + std::fmt::Debug + 'static>(rows: usize, columns: usize, number: fn(usize) -> T) {
        let (from_stride, to_stride) = (columns + 3, rows + 5);
        let from: Vec<T> = (0..rows * from_stride).map(number).collect();
        let mut to = vec![T::default(); columns * to_stride];
        // SAFETY: both matrices lie in their vectors.
        unsafe { transpose([rows, columns], from.as_ptr(), from_stride as isize, to.as_mut_ptr(), to_stride as isize) };
        for j in 0..columns {
            for i in 0..to_stride {
                let expected = if i < rows { from[i * from_stride + j] } else { T::default() };
                assert_eq!(to[j * to_stride + i], expected, "({j}, {i}) of {rows}×{columns}");
            }
        }
    }

    #[test]
    fn every_element_moves_and_nothing_else_is_written() {
        for (rows, columns) in [(0, 5), (5, 0), (1, 1), (16, 16), (33, 47), (64, 32), (7, 100)] {
            check(rows, columns, |i| i as f32 + 1.0);
            check(rows, columns, |i| i as f64 + 1.0);
        }
    }
}
