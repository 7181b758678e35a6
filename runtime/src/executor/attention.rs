//! Attention and its derivative: tiles of queries or keys of a batch at a time.
//!
//! What a tile is and in what order sums are made does not depend on the number of threads.

use super::scope::Scope;
use super::steps::Context;
use crate::program::{AttentionMask, AttentionPass, AttentionWork, Elements, KernelFn, ScoreOperand};
use crate::scratch::with_scratch;
use crate::tile::{self, Attention, Backward, Forward, Kernels, Mask, Place, Score};
use igneous_ir::error::{Error, Result};
use smallvec::SmallVec;
use std::ops::Range;

/// From so many batches on, the derivative of one is a box: it computes the probabilities once.
const WHOLE: usize = 8;

/// An [`AttentionWork`] with numbers for its dimensions.
pub(super) struct PlannedAttention {
    kernels: &'static Kernels,
    batch: SmallVec<[usize; 4]>,
    queries: usize,
    keys: usize,
    features: usize,
    values: usize,
    scale: f32,
    causal: bool,
    operands: [Strided; 3],
    mask: Option<(Strided, Option<f32>)>,
    score: Option<PlannedScore>,
    pass: Pass,
}

/// A function of the scores.
struct PlannedScore {
    code: KernelFn,
    /// Scratch bytes of the code.
    scratch: usize,
    /// What it is given, and whether those are bools.
    given: Vec<(Strided, bool)>,
}

enum Pass {
    Forward { y: Option<Strided>, lse: Option<Strided> },
    Backward { rows: [Strided; 3], cotangents: Box<[Option<Strided>; 3]> },
}

/// The boxes of a batch.
#[derive(Clone, Copy)]
struct Boxes {
    /// Tiles of queries, then tiles of keys.
    queries: usize,
    keys: usize,
    /// One box for all of them instead.
    whole: bool,
}

/// [`Elements`] in numbers.
struct Strided {
    param: usize,
    offset: isize,
    batch: SmallVec<[isize; 4]>,
    row: isize,
    column: isize,
}

impl Strided {
    /// The elements of a batch.
    ///
    /// # Safety
    /// The context is that of the launch that the elements' parameter belongs to.
    unsafe fn of_batch(&self, index: &[usize], context: &Context) -> Place {
        // SAFETY: by the caller, there is such a parameter.
        let start = unsafe { *context.params.add(self.param) }.cast::<f32>();
        Place { start: start.wrapping_offset(self.place(index)), row: self.row, column: self.column }
    }

    fn place(&self, index: &[usize]) -> isize {
        index.iter().zip(&self.batch).fold(self.offset, |place, (&i, stride)| place + i as isize * stride)
    }
}

impl PlannedAttention {
    pub fn new(work: &AttentionWork, params: usize, scope: Scope) -> Result<PlannedAttention> {
        let batch: SmallVec<[usize; 4]> = work.batch.iter().map(|&d| scope.size(d)).collect::<Result<_>>()?;
        let stride = |d| scope.eval(d).map(|s| s as isize);
        let strided = |e: &Elements| -> Result<Strided> {
            if e.param >= params || e.batch.len() != batch.len() {
                return Err(Error::new(
                    "attention names a parameter that is not there, or has not one stride for each batch axis",
                ));
            }
            let strides = e.batch.iter().map(|&d| stride(d)).collect::<Result<_>>()?;
            Ok(Strided {
                param: e.param,
                offset: stride(e.offset)?,
                batch: strides,
                row: stride(e.row)?,
                column: stride(e.column)?,
            })
        };
        let optional = |e: &Option<Elements>| e.as_ref().map(&strided).transpose();
        let three = |[a, b, c]: [&Elements; 3]| -> Result<[Strided; 3]> { Ok([strided(a)?, strided(b)?, strided(c)?]) };
        let [q, k, v] = &work.operands;
        let mask = match &work.mask {
            None => None,
            Some(AttentionMask::Added(elements)) => Some((strided(elements)?, None)),
            Some(AttentionMask::Seen(elements, hidden)) => Some((strided(elements)?, Some(*hidden as f32))),
        };
        let given = |operand: &ScoreOperand| match operand {
            ScoreOperand::Numbers(elements) => Ok::<_, Error>((strided(elements)?, false)),
            ScoreOperand::Bools(elements) => Ok((strided(elements)?, true)),
        };
        let score = match &work.score {
            None => None,
            Some(score) => Some(PlannedScore {
                code: score.function,
                scratch: scope.size(score.scratch)?,
                given: score.given.iter().map(given).collect::<Result<_>>()?,
            }),
        };
        let pass = match &work.pass {
            AttentionPass::Forward { y, lse } => Pass::Forward { y: optional(y)?, lse: optional(lse)? },
            AttentionPass::Backward { lse, delta, dy, cotangents } => {
                let [dq, dk, dv] = &**cotangents;
                let cotangents = Box::new([optional(dq)?, optional(dk)?, optional(dv)?]);
                Pass::Backward { rows: three([lse, delta, dy])?, cotangents }
            }
        };
        Ok(PlannedAttention {
            kernels: tile::best(),
            queries: scope.size(work.queries)?,
            keys: scope.size(work.keys)?,
            features: scope.size(work.features)?,
            values: scope.size(work.values)?,
            scale: work.scale as f32,
            causal: work.causal,
            operands: three([q, k, v])?,
            mask,
            score,
            pass,
            batch,
        })
    }

    /// How many queries or keys are a tile.
    fn tile(&self) -> usize {
        self.kernels.attention.len() * self.kernels.lanes
    }

    fn batches(&self) -> usize {
        self.batch.iter().product()
    }

    fn boxes_of_batch(&self) -> Boxes {
        let (queries, keys) = (self.queries.div_ceil(self.tile()), self.keys.div_ceil(self.tile()));
        match &self.pass {
            Pass::Forward { .. } => Boxes { queries, keys: 0, whole: false },
            Pass::Backward { cotangents, .. } => {
                let [dq, dk, dv] = &**cotangents;
                let (of_queries, of_keys) = (dq.is_some(), dk.is_some() || dv.is_some());
                let whole = of_queries && of_keys && self.batches() >= WHOLE;
                Boxes { queries: if of_queries { queries } else { 0 }, keys: if of_keys { keys } else { 0 }, whole }
            }
        }
    }

    /// How many boxes the work is, and the estimated nanoseconds of each.
    pub fn boxes(&self) -> (usize, f64) {
        let Boxes { queries, keys, whole } = self.boxes_of_batch();
        let seen = if self.causal { 0.5 } else { 1.0 };
        let pairs = (self.queries * self.keys * (self.features + self.values)) as f64 * seen / 50.0;
        let boxes = if whole { 1 } else { queries + keys };
        let ns = match self.pass {
            Pass::Forward { .. } => pairs,
            Pass::Backward { .. } => pairs * if whole { 2.5 } else { 3.5 },
        };
        (self.batches() * boxes, 200.0 + ns / boxes.max(1) as f64)
    }

    /// Computes a box.
    ///
    /// # Safety
    /// The context is that of the launch this was planned for, and no other thread computes the box.
    pub unsafe fn run(&self, index: usize, context: &Context) -> Result<()> {
        let boxes = self.boxes_of_batch();
        // SAFETY: by the caller.
        unsafe {
            if boxes.whole {
                return self.derivative_of_batch(index, context);
            }
            let (batch, number) = (index / (boxes.queries + boxes.keys), index % (boxes.queries + boxes.keys));
            match (&self.pass, number.checked_sub(boxes.queries)) {
                // The last queries see most keys, the first keys are seen by most queries: what takes longest is begun first.
                (Pass::Forward { y, lse }, _) => {
                    self.forward(batch, self.range(boxes.queries - 1 - number, self.queries), [y, lse], context)
                }
                (Pass::Backward { .. }, None) => {
                    self.of_queries(batch, self.range(boxes.queries - 1 - number, self.queries), context)
                }
                (Pass::Backward { .. }, Some(tile)) => self.of_keys(batch, self.range(tile, self.keys), None, context),
            }
        }
    }

    fn range(&self, tile: usize, all: usize) -> Range<usize> {
        tile * self.tile()..((tile + 1) * self.tile()).min(all)
    }

    /// How many vectors and lanes a tile takes.
    fn vectors(&self, tile: &Range<usize>) -> (usize, usize) {
        let vectors = tile.len().div_ceil(self.kernels.lanes);
        (vectors, vectors * self.kernels.lanes)
    }

    /// # Safety
    /// As [`PlannedAttention::run`].
    unsafe fn forward(&self, batch: usize, tile: Range<usize>, results: [&Option<Strided>; 2], context: &Context) -> Result<()> {
        let (vectors, lanes) = self.vectors(&tile);
        let scratch = tile::forward_scratch(self.features, self.values, lanes, self.mask.is_some(), self.score_needs());
        // SAFETY: by the caller; the scratch memory is as large as the tile needs.
        with_scratch(scratch * size_of::<f32>(), |scratch| unsafe {
            let index = self.index(batch);
            let [y, lse] = results.map(|e| e.as_ref().map(|e| e.of_batch(&index, context)));
            let attention = self.attention(&index, tile, scratch.cast(), context);
            (self.kernels.attention[vectors - 1].forward)(&Forward { attention, y, lse });
        })
    }

    /// # Safety
    /// As [`PlannedAttention::run`].
    unsafe fn of_queries(&self, batch: usize, tile: Range<usize>, context: &Context) -> Result<()> {
        // SAFETY: by the caller.
        unsafe { self.backward(batch, tile, [0, 3], None, context, |kernels| kernels.of_queries) }
    }

    /// # Safety
    /// As [`PlannedAttention::run`].
    unsafe fn of_keys(&self, batch: usize, tile: Range<usize>, sums: Option<*mut f32>, context: &Context) -> Result<()> {
        // SAFETY: by the caller.
        unsafe { self.backward(batch, tile, [1, 2], sums, context, |kernels| kernels.of_keys) }
    }

    /// The cotangents with these numbers, as far as there are such and they are wanted.
    ///
    /// # Safety
    /// As [`PlannedAttention::run`].
    unsafe fn backward(
        &self,
        batch: usize,
        tile: Range<usize>,
        wanted: [usize; 2],
        sums: Option<*mut f32>,
        context: &Context,
        kernel: impl Fn(&tile::AttentionKernels) -> unsafe fn(&Backward),
    ) -> Result<()> {
        let Pass::Backward { rows, cotangents } = &self.pass else { return Ok(()) };
        let (vectors, lanes) = self.vectors(&tile);
        let padded = if sums.is_some() { tile::padded(self.features, self.kernels.lanes) } else { 0 };
        let scratch = tile::backward_scratch(self.features, self.values, lanes, padded, self.mask.is_some(), self.score_needs());
        // SAFETY: by the caller; the scratch memory is as large as the tile needs.
        with_scratch(scratch * size_of::<f32>(), |scratch| unsafe {
            let index = self.index(batch);
            let [lse, delta, dy] = [0, 1, 2].map(|i| rows[i].of_batch(&index, context));
            let results = wanted.map(|i| cotangents.get(i)?.as_ref().map(|e| e.of_batch(&index, context)));
            let attention = self.attention(&index, tile, scratch.cast(), context);
            kernel(&self.kernels.attention[vectors - 1])(&Backward { attention, lse, delta, dy, results, sums });
        })
    }

    /// All cotangents of a batch.
    ///
    /// # Safety
    /// As [`PlannedAttention::run`].
    unsafe fn derivative_of_batch(&self, batch: usize, context: &Context) -> Result<()> {
        let Pass::Backward { cotangents, .. } = &self.pass else { return Ok(()) };
        let Some(dq) = &cotangents[0] else { return Ok(()) };
        let width = tile::padded(self.features, self.kernels.lanes);
        // SAFETY: by the caller; the sums have a row for each query.
        with_scratch(self.queries * width * size_of::<f32>(), |sums| unsafe {
            let sums = sums.cast::<f32>();
            sums.write_bytes(0, self.queries * width);
            for tile in 0..self.keys.div_ceil(self.tile()) {
                self.of_keys(batch, self.range(tile, self.keys), Some(sums), context)?;
            }
            let dq = dq.of_batch(&self.index(batch), context);
            for i in 0..self.queries {
                (0..self.features).for_each(|c| *dq.at(i, c) = *sums.add(i * width + c));
            }
            Ok(())
        })?
    }

    /// # Safety
    /// As [`Strided::of_batch`].
    unsafe fn attention(&self, index: &[usize], tile: Range<usize>, scratch: *mut f32, context: &Context) -> Attention {
        // SAFETY: by the caller.
        let [q, k, v] = [0, 1, 2].map(|i| unsafe { self.operands[i].of_batch(index, context) });
        Attention {
            q,
            k,
            v,
            // SAFETY: by the caller.
            mask: unsafe { self.mask(index, context) },
            // SAFETY: by the caller.
            score: unsafe { self.score(index, context) },
            scale: self.scale,
            causal: self.causal,
            queries: self.queries,
            keys: self.keys,
            features: self.features,
            values: self.values,
            tile,
            scratch,
        }
    }

    /// How many operands a function of the scores is given, and the scratch bytes of its code.
    fn score_needs(&self) -> Option<(usize, usize)> {
        self.score.as_ref().map(|score| (score.given.len(), score.scratch))
    }

    /// # Safety
    /// As [`Strided::of_batch`].
    unsafe fn score(&self, index: &[usize], context: &Context) -> Option<Score> {
        let PlannedScore { code, scratch, given } = self.score.as_ref()?;
        // SAFETY: by the caller.
        let given = given.iter().map(|(elements, bools)| unsafe {
            match bools {
                true => seen(elements, 0.0, index, context),
                false => Mask::Added(elements.of_batch(index, context)),
            }
        });
        Some(Score { code: *code, scratch: *scratch, given: given.collect(), dims: context.dims, error: context.error })
    }

    /// # Safety
    /// As [`Strided::of_batch`].
    unsafe fn mask(&self, index: &[usize], context: &Context) -> Mask {
        // SAFETY: by the caller.
        unsafe {
            match &self.mask {
                None => Mask::None,
                Some((elements, None)) => Mask::Added(elements.of_batch(index, context)),
                Some((elements, Some(hidden))) => seen(elements, *hidden, index, context),
            }
        }
    }

    /// The index along each batch axis of a batch.
    fn index(&self, mut batch: usize) -> SmallVec<[usize; 4]> {
        let mut index = SmallVec::from_elem(0, self.batch.len());
        for (i, &extent) in index.iter_mut().zip(&self.batch).rev() {
            *i = batch % extent;
            batch /= extent;
        }
        index
    }
}

/// A mask of bools.
///
/// # Safety
/// As [`Strided::of_batch`].
unsafe fn seen(elements: &Strided, hidden: f32, index: &[usize], context: &Context) -> Mask {
    // SAFETY: by the caller, there is such a parameter.
    let start = unsafe { *context.params.add(elements.param) }.cast_const();
    let start = start.wrapping_offset(elements.place(index));
    Mask::Seen { start, row: elements.row, column: elements.column, hidden }
}
