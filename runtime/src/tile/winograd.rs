//! The transforms of Winograd's F(2×2, 3×3): 2×2 results of a 3×3 convolution from sixteen products instead of thirty-six.
//! Lavin and Gray 2016, arXiv:1509.09308.
//!
//! With `d` the 4×4 elements under the windows of a tile and `g` the weights of a channel, the results are
//! `Aᵀ [Σ (G g Gᵀ) ⊙ (Bᵀ d B)] A`, summed over channels. Vectors run along tiles that are neighbours in a row, so an element and
//! its neighbours on the same side of their tiles are apart from the others: rows are unzipped first, and results zipped.

use super::simd::Simd;
use std::ops::Range;

/// Tiles of an image, transformed: `to[16][channels][tiles]`.
pub(crate) struct Tiles {
    /// The image of the first channel, and what lies between channels.
    pub image: *const f32,
    pub channel: isize,
    pub channels: usize,
    /// Rows and columns of the image, which lie densely; zeros are around it.
    pub extents: [isize; 2],
    /// Where the first tile of all begins in the image.
    pub origin: [isize; 2],
    /// How many tiles are in a row, and which ones are wanted.
    pub columns: usize,
    pub tiles: Range<usize>,
    /// [`line_room`] elements that nobody else uses meanwhile.
    pub lines: *mut f32,
    pub to: *mut f32,
    /// What lies between the sixteen numbers of a tile, and between channels.
    pub plane: usize,
    pub pitch: usize,
}

/// Results of tiles, from `from[16][rows][tiles]`.
pub(crate) struct Results {
    pub from: *const f32,
    /// What lies between the sixteen numbers of a tile, and between rows.
    pub plane: usize,
    pub pitch: usize,
    /// How many rows there are: each is an image of its own.
    pub rows: usize,
    /// The first image, and what lies between images.
    pub out: *mut f32,
    pub row: isize,
    /// Rows and columns of an image, which lie densely.
    pub extents: [usize; 2],
    /// How many tiles are in a row of the image, and which ones there are.
    pub columns: usize,
    pub tiles: Range<usize>,
}

/// Elements of an unzipped line for so many tiles: vectors may be read from any of them, and from the one behind.
fn half(columns: usize, lanes: usize) -> usize {
    columns + 1 + lanes
}

fn lines_of(columns: usize, tiles: &Range<usize>) -> Range<usize> {
    2 * (tiles.start / columns)..2 * ((tiles.end - 1) / columns) + 4
}

/// How many elements [`Tiles::lines`] needs.
pub(crate) fn line_room(columns: usize, tiles: &Range<usize>, lanes: usize) -> usize {
    // Each line as it lies in the image, and unzipped.
    lines_of(columns, tiles).len() * 4 * half(columns, lanes).next_multiple_of(lanes)
}

/// The tiles from `at` on that are in one row of them: the row and the columns. (Loops call it, and it calls nothing: in a
/// closure that is not inlined, vectors would be done without the CPU's features.)
#[inline(always)]
fn stretch(columns: usize, tiles: &Range<usize>, at: usize) -> (usize, Range<usize>) {
    let (row, first) = (at / columns, at % columns);
    (row, first..columns.min(first + tiles.end - at))
}

/// # Safety
/// The CPU has the features of `S`; the memory is live, and `lines` and `to` are this call's to write.
#[inline(always)]
pub(super) unsafe fn tiles<S: Simd>(t: &Tiles) {
    let half = half(t.columns, S::LANES).next_multiple_of(S::LANES);
    let lines = lines_of(t.columns, &t.tiles);
    // SAFETY: by the caller.
    unsafe {
        let padded = t.lines;
        let unzipped = padded.add(2 * half * lines.len());
        padded.write_bytes(0, 2 * half * lines.len());
        // The columns of a line that are in the image, and the lines that are.
        let wanted = (2 * t.columns + 2) as isize;
        let inside = |n: isize, origin: isize, wanted: Range<isize>| {
            let (lo, hi) = ((-origin).max(wanted.start), (n - origin).min(wanted.end));
            lo..hi.max(lo)
        };
        let columns = inside(t.extents[1], t.origin[1], 0..wanted);
        let rows = inside(t.extents[0], t.origin[0], lines.start as isize..lines.end as isize);
        for channel in 0..t.channels {
            let image = t.image.wrapping_offset(channel as isize * t.channel);
            for row in rows.start..rows.end {
                let from = image.wrapping_offset((row + t.origin[0]) * t.extents[1] + columns.start + t.origin[1]);
                let to = padded.offset((row - lines.start as isize) * 2 * half as isize + columns.start);
                copy::<S>(from, to, columns.len());
            }
            let mut at = 0;
            while at < lines.len() * half {
                let (even, odd) = S::unzip(S::load(padded.add(2 * at)), S::load(padded.add(2 * at + S::LANES)));
                S::store(unzipped.add(at), even);
                S::store(unzipped.add(lines.len() * half + at), odd);
                at += S::LANES;
            }
            let to = t.to.add(channel * t.pitch);
            let mut at = t.tiles.start;
            while at < t.tiles.end {
                let (row, range) = stretch(t.columns, &t.tiles, at);
                let first = unzipped.add((2 * row - lines.start) * half);
                let mut column = range.start;
                while column < range.end {
                    let mut d = [[S::zero(); 4]; 4];
                    for (i, d) in d.iter_mut().enumerate() {
                        let even = first.add(i * half + column);
                        let odd = even.add(lines.len() * half);
                        *d = differences::<S>([S::load(even), S::load(odd), S::load(even.add(1)), S::load(odd.add(1))]);
                    }
                    let count = range.end - column;
                    let to = to.add(row * t.columns + column - t.tiles.start);
                    let mut j = 0;
                    while j < 4 {
                        let v = differences::<S>([d[0][j], d[1][j], d[2][j], d[3][j]]);
                        for (i, &v) in v.iter().enumerate() {
                            store::<S>(to.add((4 * i + j) * t.plane), v, count);
                        }
                        j += 1;
                    }
                    column += S::LANES;
                }
                at += range.len();
            }
        }
    }
}

/// `Bᵀ d`
#[inline(always)]
unsafe fn differences<S: Simd>(d: [S::V; 4]) -> [S::V; 4] {
    // SAFETY: by the caller, who has checked the features.
    unsafe { [S::sub(d[0], d[2]), S::add(d[1], d[2]), S::sub(d[2], d[1]), S::sub(d[1], d[3])] }
}

/// `Aᵀ m`
#[inline(always)]
unsafe fn sums<S: Simd>(m: [S::V; 4]) -> [S::V; 2] {
    // SAFETY: by the caller, who has checked the features.
    unsafe { [S::add(S::add(m[0], m[1]), m[2]), S::sub(S::sub(m[1], m[2]), m[3])] }
}

/// Stores the first `count` lanes.
#[inline(always)]
unsafe fn store<S: Simd>(to: *mut f32, v: S::V, count: usize) {
    // SAFETY: by the caller, there is memory for these lanes.
    unsafe {
        if count >= S::LANES {
            S::store(to, v);
        } else {
            S::store_masked(to, S::first(count), v);
        }
    }
}

#[inline(always)]
unsafe fn copy<S: Simd>(from: *const f32, to: *mut f32, length: usize) {
    // SAFETY: by the caller, there are so many elements.
    unsafe {
        let whole = length / S::LANES * S::LANES;
        let mut at = 0;
        while at < whole {
            S::store(to.add(at), S::load(from.add(at)));
            at += S::LANES;
        }
        if whole < length {
            let mask = S::first(length - whole);
            S::store_masked(to.add(whole), mask, S::load_masked(from.add(whole), mask));
        }
    }
}

/// # Safety
/// The CPU has the features of `S`; the memory is live, and the results are this call's to write.
#[inline(always)]
pub(super) unsafe fn results<S: Simd>(t: &Results) {
    // SAFETY: by the caller.
    unsafe {
        for row in 0..t.rows {
            let image = t.out.offset(row as isize * t.row);
            let from = t.from.add(row * t.pitch);
            let mut at = t.tiles.start;
            while at < t.tiles.end {
                let (line, range) = stretch(t.columns, &t.tiles, at);
                let lines = (t.extents[0] - 2 * line).min(2);
                let mut column = range.start;
                while column < range.end {
                    let mask = S::first(range.end - column);
                    let from = from.add(line * t.columns + column - t.tiles.start);
                    let mut m = [[S::zero(); 2]; 4];
                    for (i, m) in m.iter_mut().enumerate() {
                        let from = from.add(4 * i * t.plane);
                        let mut row = [S::zero(); 4];
                        for (j, number) in row.iter_mut().enumerate() {
                            *number = S::load_masked(from.add(j * t.plane), mask);
                        }
                        *m = sums::<S>(row);
                    }
                    let left = sums::<S>([m[0][0], m[1][0], m[2][0], m[3][0]]);
                    let right = sums::<S>([m[0][1], m[1][1], m[2][1], m[3][1]]);
                    // Of the last tile, one column may be none of the image's.
                    let count = (2 * range.end).min(t.extents[1]) - 2 * column;
                    for i in 0..lines {
                        let to = image.add((2 * line + i) * t.extents[1] + 2 * column);
                        let (low, high) = S::zip(left[i], right[i]);
                        store::<S>(to, low, count);
                        if count > S::LANES {
                            store::<S>(to.add(S::LANES), high, count - S::LANES);
                        }
                    }
                    column += S::LANES;
                }
                at += range.len();
            }
        }
    }
}

/// `G g Gᵀ` of eight weights at once.
pub(crate) fn transformed_weights(g: &[[[f32; 8]; 3]; 3]) -> [[[f32; 8]; 4]; 4] {
    let halves = |g: [&[f32; 8]; 3]| -> [[f32; 8]; 4] {
        let [a, b, c] = g;
        let outer: [f32; 8] = std::array::from_fn(|i| 0.5 * (a[i] + c[i]));
        [*a, std::array::from_fn(|i| outer[i] + 0.5 * b[i]), std::array::from_fn(|i| outer[i] - 0.5 * b[i]), *c]
    };
    let columns: [[[f32; 8]; 4]; 3] = std::array::from_fn(|j| halves([&g[0][j], &g[1][j], &g[2][j]]));
    std::array::from_fn(|i| halves([&columns[0][i], &columns[1][i], &columns[2][i]]))
}
