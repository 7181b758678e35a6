//! Attention of some queries to all keys, online: what is of the size of the scores exists for a block of keys at a time.
//!
//! Vectors run along queries: the products of a block are `[keys][queries]`, so that maxima, sums and corrections are
//! elementwise, and the elements of keys and values are read one by one wherever they lie, without being packed.
//! Milakov and Gimelshein 2018, arXiv:1805.02867; Dao et al. 2022, arXiv:2205.14135.

use super::exp::exp;
use super::score::{Block, Lanes, Score, score_scratch};
use super::simd::Simd;
use crate::transpose::transpose;
use std::ops::Range;

/// Keys of a block.
const BLOCK: usize = 128;

/// Numbers in memory: element `(i, j)` is `i · row + j · column` behind the start.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub start: *mut f32,
    pub row: isize,
    pub column: isize,
}

impl Place {
    /// Where element `(i, j)` is.
    pub fn at(self, i: usize, j: usize) -> *mut f32 {
        self.start.wrapping_offset(i as isize * self.row + j as isize * self.column)
    }

    /// Rows as columns.
    pub fn transposed(self) -> Place {
        Place { start: self.start, row: self.column, column: self.row }
    }

    /// The same elements from row `i` on.
    pub fn rows_from(self, i: usize) -> Place {
        Place { start: self.at(i, 0), ..self }
    }
}

/// What a query may see besides what comes before it.
#[derive(Clone, Copy)]
pub(crate) enum Mask {
    /// Everything.
    None,
    /// Numbers that are added to the scores.
    Added(Place),
    /// Bytes that are not zero where a query sees a key, and the score of what it does not see.
    Seen { start: *const u8, row: isize, column: isize, hidden: f32 },
}

/// The work of one call; the places begin at the batch's first query and key.
pub(crate) struct Attention {
    pub q: Place,
    pub k: Place,
    pub v: Place,
    pub mask: Mask,
    pub score: Option<Score>,
    pub scale: f32,
    pub causal: bool,
    /// How many queries and keys there are, and how many numbers a key and a value have.
    pub queries: usize,
    pub keys: usize,
    pub features: usize,
    pub values: usize,
    /// The queries, or for the cotangents of keys and values the keys, that the call is about: as many as there are lanes at most.
    pub tile: Range<usize>,
    /// Memory for as many numbers as the call needs.
    pub scratch: *mut f32,
}

/// [`Attention`] and where its results go.
pub(crate) struct Forward {
    pub attention: Attention,
    pub y: Option<Place>,
    /// The logarithms of the sums, one for each query.
    pub lse: Option<Place>,
}

/// How many numbers of scratch memory a call for at most `lanes` queries needs. A function of the scores is given so many operands, and
/// its code needs so many bytes.
pub(crate) fn forward_scratch(
    features: usize,
    values: usize,
    lanes: usize,
    masked: bool,
    score: Option<(usize, usize)>,
) -> usize {
    let mask = if masked { 2 * BLOCK } else { 0 };
    (features + values + BLOCK + mask + 3) * lanes + score_scratch(score, BLOCK, lanes)
}

/// How sums of products begin.
#[derive(Clone, Copy)]
pub(super) enum Start {
    Zero,
    /// What is there, each lane times a number.
    Scaled(*const f32),
    /// What is there.
    There,
}

/// `out[p][…] = start + Σ_k panel[k][…] · x(p, k)` for `rows` rows of `V` vectors; `tops` are raised to the maxima of the results
/// where wanted.
pub(super) struct Products {
    /// Rows of `V` vectors, this many elements apart.
    pub panel: *const f32,
    pub panel_row: usize,
    pub k: usize,
    pub x: Place,
    pub rows: usize,
    pub out: *mut f32,
    pub out_row: usize,
}

/// # Safety
/// The CPU has the features of `S`; the memory is live, and `out` and `tops` are this call's to write.
#[inline(always)]
pub(super) unsafe fn products<S: Simd, const P: usize, const V: usize, const TOPS: bool>(
    t: &Products,
    start: Start,
    tops: &mut [S::V; V],
) {
    // SAFETY: by the caller.
    unsafe {
        let mut row = 0;
        while row + P <= t.rows {
            products_of::<S, P, V, TOPS>(t, row, start, tops);
            row += P;
        }
        while row < t.rows {
            match t.rows - row {
                4.. => {
                    products_of::<S, 4, V, TOPS>(t, row, start, tops);
                    row += 4;
                }
                2.. => {
                    products_of::<S, 2, V, TOPS>(t, row, start, tops);
                    row += 2;
                }
                _ => {
                    products_of::<S, 1, V, TOPS>(t, row, start, tops);
                    row += 1;
                }
            }
        }
    }
}

/// # Safety
/// As [`products`].
#[inline(always)]
unsafe fn products_of<S: Simd, const P: usize, const V: usize, const TOPS: bool>(
    t: &Products,
    first: usize,
    start: Start,
    tops: &mut [S::V; V],
) {
    // SAFETY: by the caller.
    unsafe {
        let out = t.out.add(first * t.out_row);
        let mut sums = [[S::zero(); V]; P];
        match start {
            Start::Zero => {}
            Start::There => {
                for (p, row) in sums.iter_mut().enumerate() {
                    *row = std::array::from_fn(|v| S::load(out.add(p * t.out_row + v * S::LANES)));
                }
            }
            Start::Scaled(by) => {
                let by: [S::V; V] = std::array::from_fn(|v| S::load(by.add(v * S::LANES)));
                for (p, row) in sums.iter_mut().enumerate() {
                    *row = std::array::from_fn(|v| S::mul(by[v], S::load(out.add(p * t.out_row + v * S::LANES))));
                }
            }
        }
        let x: [*const f32; P] = std::array::from_fn(|p| t.x.at(first + p, 0).cast_const());
        let (mut panel, mut offset) = (t.panel, 0);
        for _ in 0..t.k {
            let w: [S::V; V] = std::array::from_fn(|v| S::load(panel.add(v * S::LANES)));
            for (row, x) in sums.iter_mut().zip(&x) {
                let x = S::splat(x.wrapping_offset(offset));
                for (sum, &w) in row.iter_mut().zip(&w) {
                    *sum = S::fma(w, x, *sum);
                }
            }
            panel = panel.add(t.panel_row);
            offset += t.x.column;
        }
        for (p, row) in sums.iter().enumerate() {
            for (v, &sum) in row.iter().enumerate() {
                S::store(out.add(p * t.out_row + v * S::LANES), sum);
                if TOPS {
                    tops[v] = S::max(sum, tops[v]);
                }
            }
        }
    }
}

/// Writes `to[j][i] = factor · from(i, j)` for `rows` rows `i`, zeros for further lanes up to `lanes`.
///
/// # Safety
/// The memory is live, and `to` is this call's to write.
pub(super) unsafe fn pack(from: Place, [rows, columns]: [usize; 2], factor: f32, lanes: usize, to: *mut f32) {
    // SAFETY: by the caller.
    unsafe {
        if from.column == 1 {
            transpose([rows, columns], from.start.cast_const(), from.row, to, lanes as isize);
        } else {
            for j in 0..columns {
                (0..rows).for_each(|i| *to.add(j * lanes + i) = *from.at(i, j));
            }
        }
        for j in 0..columns {
            let row = std::slice::from_raw_parts_mut(to.add(j * lanes), lanes);
            if factor != 1.0 {
                row[..rows].iter_mut().for_each(|x| *x *= factor);
            }
            row[rows..].fill(0.0);
        }
    }
}

impl Mask {
    pub(super) fn is_none(self) -> bool {
        matches!(self, Mask::None)
    }

    /// Writes the mask of the given queries and keys to `to[key][query]`, as numbers that are added or flags; `room` is for as many
    /// numbers.
    ///
    /// # Safety
    /// As [`pack`].
    pub(super) unsafe fn pack(self, queries: Range<usize>, keys: Range<usize>, lanes: usize, to: *mut f32, room: *mut f32) {
        let counts = [queries.len(), keys.len()];
        // SAFETY: by the caller.
        unsafe {
            match self {
                Mask::None => {}
                Mask::Added(place) => pack(Place { start: place.at(queries.start, keys.start), ..place }, counts, 1.0, lanes, to),
                Mask::Seen { start, row, column, .. } => {
                    for (i, query) in queries.enumerate() {
                        let from = start.wrapping_offset(query as isize * row + keys.start as isize * column);
                        let to = std::slice::from_raw_parts_mut(room.add(i * keys.len()), keys.len());
                        let flag = |seen: u8| f32::from(u8::from(seen != 0));
                        if column == 1 {
                            let from = std::slice::from_raw_parts(from, keys.len());
                            to.iter_mut().zip(from).for_each(|(to, &seen)| *to = flag(seen));
                        } else {
                            let from = |j: usize| from.wrapping_offset(j as isize * column);
                            to.iter_mut().enumerate().for_each(|(j, to)| *to = flag(*from(j)));
                        }
                    }
                    pack(Place { start: room, row: keys.len() as isize, column: 1 }, counts, 1.0, lanes, to);
                }
            }
        }
    }

    /// The mask with queries and keys exchanged.
    pub(super) fn transposed(self) -> Mask {
        match self {
            Mask::None => Mask::None,
            Mask::Added(p) => Mask::Added(p.transposed()),
            Mask::Seen { start, row, column, hidden } => Mask::Seen { start, row: column, column: row, hidden },
        }
    }

    /// Applies packed flags or numbers to scores.
    ///
    /// # Safety
    /// The CPU has the features of `S`.
    #[inline(always)]
    pub(super) unsafe fn apply<S: Simd>(self, score: S::V, packed: S::V) -> S::V {
        // SAFETY: by the caller.
        unsafe {
            match self {
                Mask::None => score,
                Mask::Added(_) => S::add(score, packed),
                Mask::Seen { hidden, .. } => S::choose(packed, score, S::set(hidden)),
            }
        }
    }
}

/// Attention of at most `V` vectors of queries.
///
/// # Safety
/// The CPU has the features of `S`; the places hold what the task says, and the results' are this call's to write.
#[inline(always)]
pub(super) unsafe fn forward<S: Simd, const P: usize, const V: usize>(t: &Forward) {
    // SAFETY: by the caller.
    unsafe {
        let a = &t.attention;
        let lanes = V * S::LANES;
        let panel = a.scratch;
        let sums = panel.add(a.features * lanes);
        let products_of_block = sums.add(a.values * lanes);
        let corrections = products_of_block.add(BLOCK * lanes);
        let mask = corrections.add(3 * lanes);
        let room = mask.add(if a.mask.is_none() { 0 } else { 2 * BLOCK * lanes });
        pack(a.q.rows_from(a.tile.start), [a.tile.len(), a.features], a.scale, lanes, panel);
        let mut top = [S::set(f32::NEG_INFINITY); V];
        let mut total = [S::zero(); V];
        let end = if a.causal { a.keys.min(a.tile.end) } else { a.keys };
        for from in (0..end).step_by(BLOCK) {
            let keys = BLOCK.min(end - from);
            let product = Products {
                panel,
                panel_row: lanes,
                k: a.features,
                x: a.k.rows_from(from),
                rows: keys,
                out: products_of_block,
                out_row: lanes,
            };
            let mut scores = products_of_block;
            let before = top;
            let crosses = a.causal && from + keys > a.tile.start + 1;
            if a.mask.is_none() && a.score.is_none() && !crosses {
                products::<S, P, V, true>(&product, Start::Zero, &mut top);
            } else {
                products::<S, P, V, false>(&product, Start::Zero, &mut top);
                if let Some(score) = &a.score {
                    let (along, others) = (Lanes::Queries, from..from + keys);
                    [scores, _] = score.apply(Block { products: scores, along, tile: &a.tile, others, lanes, most: BLOCK, room });
                }
                a.mask.pack(a.tile.clone(), from..from + keys, lanes, mask, mask.add(BLOCK * lanes));
                hide::<S, V>(a, from, keys, scores, mask, &mut top);
            }
            // Without a finite score so far everything is zero, not the exponential of infinity less infinity.
            let base: [S::V; V] = std::array::from_fn(|v| S::max(S::set(f32::MIN), top[v]));
            for v in 0..V {
                let correction = exp::<S>(S::sub(before[v], base[v]));
                total[v] = S::mul(total[v], correction);
                S::store(corrections.add(v * S::LANES), correction);
            }
            for j in 0..keys {
                for v in 0..V {
                    let at = scores.add(j * lanes + v * S::LANES);
                    let p = exp::<S>(S::sub(S::load(at), base[v]));
                    total[v] = S::add(total[v], p);
                    S::store(at, p);
                }
            }
            let product = Products {
                panel: scores,
                panel_row: lanes,
                k: keys,
                x: a.v.rows_from(from).transposed(),
                rows: a.values,
                out: sums,
                out_row: lanes,
            };
            let start = if from == 0 { Start::Zero } else { Start::Scaled(corrections) };
            products::<S, P, V, false>(&product, start, &mut top);
        }
        let (tops, totals) = (corrections.add(lanes), corrections.add(2 * lanes));
        for v in 0..V {
            S::store(tops.add(v * S::LANES), top[v]);
            S::store(totals.add(v * S::LANES), total[v]);
        }
        if let Some(y) = t.y {
            finish(a, y.rows_from(a.tile.start), sums, totals, lanes, end);
        }
        if let Some(lse) = t.lse {
            for i in 0..a.tile.len() {
                let (top, total) = (*tops.add(i), *totals.add(i));
                // A query that sees nothing has no probabilities in the derivative.
                *lse.at(a.tile.start + i, 0) = if total == 0.0 { f32::INFINITY } else { top + total.ln() };
            }
        }
    }
}

/// Writes the quotients of `sums[value][query]` and the totals, transposed.
///
/// # Safety
/// As [`forward`].
unsafe fn finish(a: &Attention, y: Place, sums: *mut f32, totals: *const f32, lanes: usize, end: usize) {
    // SAFETY: by the caller.
    unsafe {
        let totals = std::slice::from_raw_parts(totals, lanes);
        for c in 0..a.values {
            let row = std::slice::from_raw_parts_mut(sums.add(c * lanes), lanes);
            if end == 0 {
                row.fill(0.0);
            } else {
                row.iter_mut().zip(totals).for_each(|(x, &total)| *x = if total == 0.0 { 0.0 } else { *x / total });
            }
        }
        unpack(sums, lanes, [a.tile.len(), a.values], y);
    }
}

/// Writes `to(i, j) = from[j][i]`.
///
/// # Safety
/// As [`pack`].
pub(super) unsafe fn unpack(from: *const f32, lanes: usize, [rows, columns]: [usize; 2], to: Place) {
    // SAFETY: by the caller.
    unsafe {
        if to.column == 1 {
            return transpose([columns, rows], from, lanes as isize, to.start, to.row);
        }
        for j in 0..columns {
            (0..rows).for_each(|i| *to.at(i, j) = *from.add(j * lanes + i));
        }
    }
}

/// Applies the masks to the scores of a block of keys and raises `top` to their maxima.
///
/// # Safety
/// As [`forward`].
#[inline(always)]
unsafe fn hide<S: Simd, const V: usize>(
    a: &Attention,
    from: usize,
    keys: usize,
    scores: *mut f32,
    mask: *const f32,
    top: &mut [S::V; V],
) {
    // SAFETY: by the caller.
    unsafe {
        for j in 0..keys {
            for (v, top) in top.iter_mut().enumerate() {
                let offset = (j * V + v) * S::LANES;
                let mut score = S::load(scores.add(offset));
                if !a.mask.is_none() {
                    score = a.mask.apply::<S>(score, S::load(mask.add(offset)));
                }
                let first = a.tile.start + v * S::LANES;
                if a.causal && from + j > first {
                    // The lanes of queries before the key.
                    score = S::blend(S::first(from + j - first), S::set(f32::NEG_INFINITY), score);
                }
                *top = S::max(score, *top);
                S::store(scores.add(offset), score);
            }
        }
    }
}
