//! The derivative of attention. The probabilities are computed again from the logarithms of their sums, a block at a time.
//!
//! What is about queries has vectors along queries, what is about keys and values has vectors along keys. Both need the
//! probabilities, so where all three are wanted and there are enough batches to go round, one pass over the keys of a batch
//! adds up the cotangents of the queries on its way.

use super::attention::{Attention, Mask, Place, Products, Start, pack, products, unpack};
use super::exp::exp;
use super::score::{Block, Lanes, score_scratch};
use super::simd::Simd;
use std::ops::Range;

/// Keys or queries of a block.
const BLOCK: usize = 64;

/// [`Attention`] and what its derivative is made of and goes to.
pub(crate) struct Backward {
    pub attention: Attention,
    /// The logarithms of the sums, and what is taken off the cotangents of the probabilities.
    pub lse: Place,
    pub delta: Place,
    pub dy: Place,
    /// The cotangents of queries (or those of keys and values) that are wanted.
    pub results: [Option<Place>; 2],
    /// Where a pass over keys adds the cotangents of the queries: rows of [`padded`] features.
    pub sums: Option<*mut f32>,
}

/// How many numbers of scratch memory a call for at most `lanes` queries or keys needs; the rest as for
/// [`forward_scratch`](super::forward_scratch).
pub(crate) fn backward_scratch(
    features: usize,
    values: usize,
    lanes: usize,
    padded: usize,
    masked: bool,
    score: Option<(usize, usize)>,
) -> usize {
    let mask = if masked { 2 * BLOCK } else { 0 };
    (2 * (features + values) + 2 * BLOCK + mask + 2 + padded) * lanes + score_scratch(score, BLOCK, lanes)
}

/// The arrays `[…][lanes]` of a call.
struct Scratch {
    /// The operands that the lanes are about.
    left: *mut f32,
    right: *mut f32,
    /// The results.
    of_left: *mut f32,
    of_right: *mut f32,
    /// Probabilities and cotangents of products.
    p: *mut f32,
    ds: *mut f32,
    mask: *mut f32,
    room: *mut f32,
    /// Two numbers for each lane.
    rows: *mut f32,
    /// What a function of the scores needs.
    score: *mut f32,
    /// Keys with [`padded`] features each.
    keys: *mut f32,
}

impl Scratch {
    /// # Safety
    /// The scratch memory is as large as [`backward_scratch`] says.
    unsafe fn new(a: &Attention, lanes: usize) -> Scratch {
        let mut next = a.scratch;
        let mut take = |rows: usize| {
            let taken = next;
            // SAFETY: by the caller.
            next = unsafe { next.add(rows * lanes) };
            taken
        };
        let [left, of_left] = [0; 2].map(|_| take(a.features));
        let [right, of_right] = [0; 2].map(|_| take(a.values));
        let [p, ds] = [0; 2].map(|_| take(BLOCK));
        let rows = take(2);
        let [mask, room] = [0; 2].map(|_| take(if a.mask.is_none() { 0 } else { BLOCK }));
        let score = take(0);
        let needs = a.score.as_ref().map(|score| (score.given.len(), score.scratch));
        // SAFETY: by the caller.
        let keys = unsafe { score.add(score_scratch(needs, BLOCK, lanes)) };
        Scratch { left, right, of_left, of_right, p, ds, mask, room, rows, score, keys }
    }
}

impl Scratch {
    /// The scores and their slopes of a block whose products are in `p`, if they are a function of these.
    ///
    /// # Safety
    /// As [`Score::apply`](super::score::Score::apply).
    unsafe fn scored(&self, a: &Attention, along: Lanes, others: Range<usize>, lanes: usize) -> Option<[*mut f32; 2]> {
        let block = Block { products: self.p, along, tile: &a.tile, others, lanes, most: BLOCK, room: self.score };
        // SAFETY: by the caller.
        a.score.as_ref().map(|score| unsafe { score.apply(block) })
    }
}

/// The cotangents of at most `V` vectors of queries.
///
/// # Safety
/// As [`super::attention::forward`].
#[inline(always)]
pub(super) unsafe fn of_queries<S: Simd, const P: usize, const V: usize>(t: &Backward) {
    // SAFETY: by the caller.
    unsafe {
        let a = &t.attention;
        let (lanes, count, first) = (V * S::LANES, a.tile.len(), a.tile.start);
        let room = Scratch::new(a, lanes);
        pack(a.q.rows_from(first), [count, a.features], a.scale, lanes, room.left);
        pack(t.dy.rows_from(first), [count, a.values], 1.0, lanes, room.right);
        pack(t.lse.rows_from(first), [count, 1], 1.0, lanes, room.rows);
        pack(t.delta.rows_from(first), [count, 1], 1.0, lanes, room.rows.add(lanes));
        let end = if a.causal { a.keys.min(a.tile.end) } else { a.keys };
        for from in (0..end).step_by(BLOCK) {
            let keys = BLOCK.min(end - from);
            let operands = [(room.left, a.k.rows_from(from), a.features), (room.right, a.v.rows_from(from), a.values)];
            both::<S, P, V>(operands, keys, &room, lanes);
            let scored = room.scored(a, Lanes::Queries, from..from + keys, lanes);
            a.mask.pack(a.tile.clone(), from..from + keys, lanes, room.mask, room.room);
            let lse: [S::V; V] = std::array::from_fn(|v| S::load(room.rows.add(v * S::LANES)));
            let delta: [S::V; V] = std::array::from_fn(|v| S::load(room.rows.add(lanes + v * S::LANES)));
            for j in 0..keys {
                for v in 0..V {
                    // The lanes of queries before the key do not see it.
                    let before = (from + j).saturating_sub(first + v * S::LANES);
                    let unseen = (a.causal && before > 0).then(|| (S::first(before), true));
                    weights::<S>(a, &room, scored, (j * V + v) * S::LANES, [lse[v], delta[v]], unseen);
                }
            }
            accumulate::<S, P, V>(room.ds, keys, a.k.rows_from(from), a.features, room.of_left, lanes, from > 0);
        }
        if let [Some(dq), _] = t.results {
            write(room.of_left, lanes, [count, a.features], a.scale, end == 0, dq.rows_from(first));
        }
    }
}

/// The cotangents of at most `V` vectors of keys and values.
///
/// # Safety
/// As [`super::attention::forward`].
#[inline(always)]
pub(super) unsafe fn of_keys<S: Simd, const P: usize, const V: usize>(t: &Backward) {
    // SAFETY: by the caller.
    unsafe {
        let a = &t.attention;
        let (lanes, count, first) = (V * S::LANES, a.tile.len(), a.tile.start);
        let room = Scratch::new(a, lanes);
        pack(a.k.rows_from(first), [count, a.features], a.scale, lanes, room.left);
        pack(a.v.rows_from(first), [count, a.values], 1.0, lanes, room.right);
        let width = padded(a.features, S::LANES);
        if t.sums.is_some() {
            for j in 0..count {
                let row = std::slice::from_raw_parts_mut(room.keys.add(j * width), width);
                row[..a.features].iter_mut().enumerate().for_each(|(c, x)| *x = *a.k.at(first + j, c) * a.scale);
                row[a.features..].fill(0.0);
            }
        }
        let [dk, dv] = t.results;
        let start = if a.causal { first } else { 0 };
        for from in (start..a.queries).step_by(BLOCK) {
            let queries = BLOCK.min(a.queries - from);
            let operands = [(room.left, a.q.rows_from(from), a.features), (room.right, t.dy.rows_from(from), a.values)];
            both::<S, P, V>(operands, queries, &room, lanes);
            let scored = room.scored(a, Lanes::Keys, from..from + queries, lanes);
            a.mask.transposed().pack(a.tile.clone(), from..from + queries, lanes, room.mask, room.room);
            for i in 0..queries {
                let lse = S::splat(t.lse.at(from + i, 0));
                let delta = S::splat(t.delta.at(from + i, 0));
                for v in 0..V {
                    // The lanes of keys behind the query are not seen.
                    let upto = (from + i + 1).saturating_sub(first + v * S::LANES);
                    let unseen = (a.causal && upto < S::LANES).then(|| (S::first(upto), false));
                    weights::<S>(a, &room, scored, (i * V + v) * S::LANES, [lse, delta], unseen);
                }
            }
            if dv.is_some() {
                accumulate::<S, P, V>(room.p, queries, t.dy.rows_from(from), a.values, room.of_right, lanes, from > start);
            }
            if dk.is_some() {
                accumulate::<S, P, V>(room.ds, queries, a.q.rows_from(from), a.features, room.of_left, lanes, from > start);
            }
            if let Some(sums) = t.sums {
                let x = Place { start: room.ds, row: lanes as isize, column: 1 };
                add_rows::<S, P>(room.keys, width, count, x, queries, sums.add(from * width));
            }
        }
        let none = start >= a.queries;
        if let Some(dk) = dk {
            write(room.of_left, lanes, [count, a.features], a.scale, none, dk.rows_from(first));
        }
        if let Some(dv) = dv {
            write(room.of_right, lanes, [count, a.values], 1.0, none, dv.rows_from(first));
        }
    }
}

/// A number of features that is whole vectors.
pub(crate) fn padded(features: usize, lanes: usize) -> usize {
    features.next_multiple_of(lanes)
}

/// The products of a block with both packed operands, to `p` and `ds`.
///
/// # Safety
/// As [`products`].
#[inline(always)]
unsafe fn both<S: Simd, const P: usize, const V: usize>(
    operands: [(*mut f32, Place, usize); 2],
    rows: usize,
    room: &Scratch,
    lanes: usize,
) {
    for ((panel, x, k), out) in operands.into_iter().zip([room.p, room.ds]) {
        let product = Products { panel, panel_row: lanes, k, x, rows, out, out_row: lanes };
        // SAFETY: by the caller.
        unsafe { products::<S, P, V, false>(&product, Start::Zero, &mut [S::zero(); V]) };
    }
}

/// `out[c][…] (+)= Σ_i panel[i][…] · x(i, c)` for `columns` columns `c`.
///
/// # Safety
/// As [`products`].
#[inline(always)]
unsafe fn accumulate<S: Simd, const P: usize, const V: usize>(
    panel: *const f32,
    k: usize,
    x: Place,
    columns: usize,
    out: *mut f32,
    lanes: usize,
    add: bool,
) {
    let product = Products { panel, panel_row: lanes, k, x: x.transposed(), rows: columns, out, out_row: lanes };
    let start = if add { Start::There } else { Start::Zero };
    // SAFETY: by the caller.
    unsafe { products::<S, P, V, false>(&product, start, &mut [S::zero(); V]) };
}

/// `out[i][…] += Σ_j panel[j][…] · x(i, j)` for rows of `width` elements, whole vectors.
///
/// # Safety
/// As [`products`].
#[inline(always)]
unsafe fn add_rows<S: Simd, const P: usize>(panel: *const f32, width: usize, k: usize, x: Place, rows: usize, out: *mut f32) {
    let mut at = 0;
    while at < width {
        // SAFETY: by the caller.
        unsafe {
            let product = Products { panel: panel.add(at), panel_row: width, k, x, rows, out: out.add(at), out_row: width };
            if width - at >= 2 * S::LANES {
                products::<S, P, 2, false>(&product, Start::There, &mut [S::zero(); 2]);
                at += 2 * S::LANES;
            } else {
                products::<S, P, 1, false>(&product, Start::There, &mut [S::zero(); 1]);
                at += S::LANES;
            }
        }
    }
}

/// From a vector of products, or what is `scored` from them, and one of cotangents of probabilities: the probabilities and the cotangents
/// of the products, in their places. `unseen` are the first lanes of a mask, or all others, that see nothing.
///
/// # Safety
/// The CPU has the features of `S`; the offset is inside of the block.
#[inline(always)]
unsafe fn weights<S: Simd>(
    a: &Attention,
    room: &Scratch,
    scored: Option<[*mut f32; 2]>,
    offset: usize,
    [lse, delta]: [S::V; 2],
    unseen: Option<(S::Mask, bool)>,
) {
    // SAFETY: by the caller.
    unsafe {
        let (p_at, ds_at) = (room.p.add(offset), room.ds.add(offset));
        let mut score = S::load(scored.map_or(p_at, |[scores, _]| scores.add(offset)));
        let packed = if a.mask.is_none() { S::zero() } else { S::load(room.mask.add(offset)) };
        score = a.mask.apply::<S>(score, packed);
        if let Some((lanes, first)) = unseen {
            let nothing = S::set(f32::NEG_INFINITY);
            score = if first { S::blend(lanes, nothing, score) } else { S::blend(lanes, score, nothing) };
        }
        let mut p = exp::<S>(S::sub(score, lse));
        let mut ds = S::mul(p, S::sub(S::load(ds_at), delta));
        if let Some([_, slopes]) = scored {
            ds = S::mul(ds, S::load(slopes.add(offset)));
            // A slope may be infinite where nothing is seen.
            if let Some((lanes, first)) = unseen {
                ds = if first { S::blend(lanes, S::zero(), ds) } else { S::blend(lanes, ds, S::zero()) };
            }
        }
        if let Mask::Seen { hidden, .. } = a.mask {
            if hidden.is_finite() {
                let seldom = S::below(lse, S::set(0.5 * hidden), S::set(1.0 / a.keys as f32), S::zero());
                p = S::choose(packed, p, seldom);
            }
            ds = S::choose(packed, ds, S::zero());
        }
        S::store(p_at, p);
        S::store(ds_at, ds);
    }
}

/// Writes the sums times a number, transposed; zeros if nothing was added.
///
/// # Safety
/// As [`unpack`].
unsafe fn write(sums: *mut f32, lanes: usize, [rows, columns]: [usize; 2], factor: f32, none: bool, to: Place) {
    // SAFETY: by the caller.
    unsafe {
        let all = std::slice::from_raw_parts_mut(sums, columns * lanes);
        if none {
            all.fill(0.0);
        } else if factor != 1.0 {
            all.iter_mut().for_each(|x| *x *= factor);
        }
        unpack(sums, lanes, [rows, columns], to);
    }
}
