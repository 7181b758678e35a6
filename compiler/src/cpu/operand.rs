//! Code around a matrix product: packing of operands that the library cannot read in place, and the epilogue.

use super::affine::Affine;
use super::choose::Form;
use super::dot::{DotAxes, DotSection};
use super::emitter::{Emitter, Num};
use super::evaluate::Four;
use super::lower::Lowering;
use super::nest::{Plan, Shape, plan};
use super::passes::{Range, Task};
use super::scalar;
use super::strip::{End, To};
use super::vector;
use igneous_ir::dim::Dim;
use igneous_ir::error::Result;
use igneous_ir::kernel::Param;
use igneous_ir::scalar::{ExprId, ScalarOp};

/// A function that packs an operand. Its bounds are those of the batch axes, of `outer` and of `k`.
pub(super) struct Pack {
    pub plan: Plan,
    batch: Vec<u32>,
    outer: Vec<u32>,
    k: Vec<u32>,
    /// Whether the innermost loop runs along `k`; it runs along `outer` else.
    along_k: bool,
}

/// A function that does what is left after a product. Its bounds are those of the batch axes, of `m` and of `n`.
pub(super) struct Epilogue {
    pub plan: Plan,
    batch: Vec<u32>,
    /// The axes of the rows and of the columns of the block.
    m: Vec<u32>,
    n: Vec<u32>,
    size: u32,
}

/// Plans the packing of an operand whose own axes are `outer`.
pub(super) fn pack(dot: &DotSection, axes: &DotAxes, outer: &[u32], root: ExprId, params: &[Param]) -> Result<Pack> {
    let along_k = runs_along_k(dot, axes, outer, root, params);
    let (slow, fast) = if along_k { (outer, axes.k.as_slice()) } else { (axes.k.as_slice(), outer) };
    let low = Lowering::new(dot.section).element(root);
    let (form, rows) = match fast.split_last() {
        Some((&v, rows)) => (Form::Column(v), rows),
        None => (Form::Row, &[][..]),
    };
    let shape = Shape { form, levels: vec![slow.to_vec(), rows.to_vec()], given: None };
    let plan = plan(low, params, shape);
    Ok(Pack { plan, batch: axes.batch.clone(), outer: outer.to_vec(), k: axes.k.clone(), along_k })
}

/// Whether elements lie next to each other along `k` rather than along `outer`.
fn runs_along_k(dot: &DotSection, axes: &DotAxes, outer: &[u32], root: ExprId, params: &[Param]) -> bool {
    let exprs = &dot.section.exprs;
    let (Some(&o), Some(&k)) = (outer.last(), axes.k.last()) else { return outer.is_empty() };
    let mut score = [0i64; 2];
    for id in exprs.reachable(&[root]) {
        let ScalarOp::Load(p) = exprs.get(id).op else { continue };
        let shape = &params[p as usize].ty.shape;
        let Some((&last, _)) = exprs.get(id).args.split_last() else { continue };
        let stride = Affine::position(exprs, &[last], &shape[shape.len() - 1..]);
        // Clamped indices still walk element by element inside of the padding.
        let walks = |axis: u32| stride.clone().through_clamps(exprs, axis).coefficient(exprs, axis) == Dim::ONE;
        score[0] += i64::from(walks(o));
        score[1] += i64::from(walks(k));
    }
    let length = |a: u32| super::cost::typical(dot.section.axes[a as usize].extent);
    match score[1].cmp(&score[0]) {
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Less => length(o) < 8.0 && score[1] > 0 && length(k) >= 8.0,
        std::cmp::Ordering::Equal => length(k) > 2.0 * length(o),
    }
}

/// Plans the epilogue of a product.
pub(super) fn epilogue(dot: &DotSection, axes: &DotAxes, params: &[Param]) -> Result<Epilogue> {
    let low = Lowering::new(dot.section).stages(dot.rest);
    // The elements of a row of the block are neighbours; a product with one column has neighbours along its rows.
    let (slow, fast) = if axes.n.is_empty() { (&axes.n, &axes.m) } else { (&axes.m, &axes.n) };
    let (form, rows) = match fast.split_last() {
        Some((&v, rows)) => (Form::Column(v), rows),
        None => (Form::Row, &[][..]),
    };
    let shape = Shape { form, levels: vec![slow.to_vec(), rows.to_vec()], given: Some(dot.to) };
    let size = dot.section.locals[dot.to as usize].dtype.size() as u32;
    Ok(Epilogue { plan: plan(low, params, shape), batch: axes.batch.clone(), m: axes.m.clone(), n: axes.n.clone(), size })
}

/// Places in scratch memory: `base + position · pitch` bytes.
#[derive(Clone, Copy)]
struct Line {
    base: Num,
    pitch: Num,
}

impl<'p> Emitter<'p, '_> {
    /// Sets the one index of each batch axis; gives the two ranges that follow.
    fn batch_bounds(&mut self, batch: &[u32]) -> (Range, Range) {
        for (i, &axis) in batch.iter().enumerate() {
            let range = self.bounds(i);
            self.set_axis(axis, range.lo);
        }
        (self.bounds(batch.len()), self.bounds(batch.len() + 1))
    }

    fn at(&mut self, line: Line, position: Num) -> Num {
        let step = self.mul(position, line.pitch);
        self.add(line.base, step)
    }

    /// The body of a packing function: element `(k, outer)` goes to `[k][outer]` in scratch.
    pub fn pack(&mut self, pack: &'p Pack) {
        let plan = &pack.plan;
        let (outer, k) = self.batch_bounds(&pack.batch);
        self.dimensions(plan);
        let size = plan.low.exprs.dtype(self.body_of(plan)).size() as i64;
        let occupied = self.occupied_ranges([outer, k]);
        self.when(occupied, &[], |e| {
            e.prepare_all(plan);
            let width = e.sub(outer.hi, outer.lo);
            let row = e.mul(width, Num::Const(size));
            let scratch = Num::Reg(e.scratch);
            let skipped = e.mul(k.lo, row);
            let rows = Line { base: e.sub(scratch, skipped), pitch: row };
            let skipped = e.mul(outer.lo, Num::Const(size));
            let (slow_axes, fast_axes) = if pack.along_k { (&pack.outer, &pack.k) } else { (&pack.k, &pack.outer) };
            let (slow, fast) = if pack.along_k { (outer, k) } else { (k, outer) };
            e.flat_loop(plan, slow_axes, slow, 1, &mut |e, position| {
                let line = if pack.along_k {
                    let base = e.sub(rows.base, skipped);
                    let base = e.at(Line { base, pitch: Num::Const(size) }, position);
                    Line { base, pitch: rows.pitch }
                } else {
                    let base = e.at(rows, position);
                    Line { base: e.sub(base, skipped), pitch: Num::Const(size) }
                };
                e.flat_rows(plan, fast_axes, fast, 2, &mut |e, first, range| {
                    let start = e.at(line, first);
                    let before = e.mul(range.lo, line.pitch);
                    let line = Line { base: e.sub(start, before), pitch: line.pitch };
                    e.pack_row(plan, line, range);
                });
            });
            Vec::new()
        });
    }

    fn body_of(&self, plan: &Plan) -> ExprId {
        plan.low.passes[0].roots()[0]
    }

    /// One row of the innermost axis; `line` gives the place of each of its indices.
    fn pack_row(&mut self, plan: &'p Plan, line: Line, range: Range) {
        let body = self.body_of(plan);
        let (pass, of) = (&plan.low.passes[0], &plan.passes[0]);
        let dtype = plan.low.exprs.dtype(body);
        let task = Task { plan, pass, of, piece: &of.pieces[0], column: Some(range), vector: of.vector };
        self.scope(|e| {
            e.depth = plan.pass_depth;
            e.prepare_pieces(of);
            if of.inner.is_none() {
                let value = e.element_value(task);
                let address = e.reg(line.base);
                return scalar::store(&mut e.b, dtype, value, address, 0);
            }
            let mut group = |e: &mut Self, task: Task<'p>, at: Four| {
                let values = e.group(task.roots()[0]);
                if line.pitch == Num::Const(dtype.size() as i64) {
                    let address = e.at(line, Num::Reg(at.index));
                    let address = e.reg(address);
                    return vector::store(&mut e.b, dtype, &values, address, (at.offset * dtype.size() as i64) as i32);
                }
                let first = e.add(Num::Reg(at.index), Num::Const(at.offset));
                let mut address = e.at(line, first);
                for i in 0..vector::LANES {
                    let value = vector::lane(&mut e.b, dtype, &values, i);
                    let to = e.reg(address);
                    scalar::store(&mut e.b, dtype, value, to, 0);
                    address = e.add(Num::Reg(to), line.pitch);
                }
            };
            let mut element = |e: &mut Self, task: Task<'p>, index: Num| {
                let value = e.element_value(task);
                let address = e.at(line, index);
                let address = e.reg(address);
                scalar::store(&mut e.b, dtype, value, address, 0);
            };
            let ends = |task: Task<'p>| {
                let end = End { root: task.roots()[0], to: To::Address(line.base), dtype, combine: None };
                if line.pitch == Num::Const(dtype.size() as i64) { vec![end] } else { Vec::new() }
            };
            e.sweep(task, range, &ends, &mut group, &mut element);
        });
    }

    /// The body of an epilogue: the block lies at the beginning of scratch, the function's own scratch behind it.
    pub fn epilogue(&mut self, epilogue: &'p Epilogue) {
        let plan = &epilogue.plan;
        self.block_depth = 3;
        let (m, n) = self.batch_bounds(&epilogue.batch);
        self.dimensions(plan);
        let size = Num::Const(epilogue.size.into());
        let occupied = self.occupied_ranges([m, n]);
        self.when(occupied, &[], |e| {
            let block = Num::Reg(e.scratch);
            let (height, width) = (e.sub(m.hi, m.lo), e.sub(n.hi, n.lo));
            let elements = e.mul(height, width);
            let bytes = e.mul(elements, size);
            let bytes = e.add(bytes, Num::Const(63));
            let bytes = e.round_down(bytes, 64);
            let own = e.add(block, bytes);
            e.scratch = e.reg(own);
            e.prepare_all(plan);
            let pitch = e.mul(width, size);
            let skipped_rows = e.mul(m.lo, pitch);
            let skipped = e.mul(n.lo, size);
            let base = e.sub(block, skipped_rows);
            let base = e.sub(base, skipped);
            let (rows, columns) = (Line { base, pitch }, size);
            // With one column, the rows are walked through like columns.
            let by_rows = !epilogue.n.is_empty();
            let (slow_axes, fast_axes) = if by_rows { (&epilogue.m, &epilogue.n) } else { (&epilogue.n, &epilogue.m) };
            let (slow, fast) = if by_rows { (m, n) } else { (n, m) };
            e.flat_loop(plan, slow_axes, slow, 1, &mut |e, position| {
                let line = if by_rows {
                    Line { base: e.at(rows, position), pitch: columns }
                } else {
                    Line { base: e.at(Line { base: rows.base, pitch: columns }, position), pitch: rows.pitch }
                };
                e.flat_rows(plan, fast_axes, fast, 2, &mut |e, first, range| {
                    let start = e.at(line, first);
                    if plan.form.column().is_none() {
                        let start = e.reg(start);
                        e.give(start);
                        return e.passes(plan, None);
                    }
                    let before = e.mul(range.lo, size);
                    let start = e.sub(start, before);
                    let start = e.reg(start);
                    e.give(start);
                    e.blocks(plan, range);
                });
            });
            Vec::new()
        });
    }
}
