//! Reductions by the tree of `igneous_ir::kernel`: 32 accumulators for each chunk of 4,096 elements, combined by halves.
//!
//! An accumulator starts with a neutral number instead of its first element; combining a neutral number with any other
//! gives that to the bit, so nobody sees the difference. Row form holds the accumulators of one point in registers or in
//! scratch memory; column form holds those of a block of points in scratch, one row of points for each accumulator.

use super::emitter::{Condition, Emitter, Num, block_args};
use super::evaluate::Four;
use super::lower::{combiner, identity, neutral};
use super::passes::{Range, Task};
use super::scalar;
use super::vector::{self, Group};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value};
use igneous_ir::dim::Dim;
use igneous_ir::kernel::{CHUNK, LANES};
use igneous_ir::op::ReduceKind;
use igneous_ir::scalar::{ExprId, ScalarOp};
use igneous_ir::types::DType;

/// Bodies of at most this many operations are unrolled over all accumulators, which then stay in registers.
const REGISTER_BODY: usize = 20;
/// Groups of accumulators.
const GROUPS: usize = LANES / vector::LANES;

/// How a fold combines.
#[derive(Clone, Copy)]
pub(super) struct Fold {
    pub kind: ReduceKind,
    pub op: ScalarOp,
    pub dtype: DType,
}

impl<'p> Emitter<'p, '_> {
    /// Code of a reduction: the result if it is held in a register, else it is stored.
    pub fn fold(&mut self, task: Task<'p>, kind: ReduceKind, body: ExprId) -> Option<Value> {
        let fold = Fold { kind, op: combiner(kind), dtype: self.exprs.dtype(body) };
        match task.column {
            None => Some(self.fold_row(task, fold)),
            Some(range) => {
                self.fold_column(task, fold, range);
                None
            }
        }
    }

    pub fn combine(&mut self, fold: Fold, x: Value, y: Value) -> Value {
        scalar::apply(&mut self.b, &self.target, fold.op, fold.dtype, fold.dtype, &[x, y])
    }

    pub fn combine_groups(&mut self, fold: Fold, x: &Group, y: &Group) -> Group {
        vector::apply(&mut self.b, &self.target, fold.op, fold.dtype, fold.dtype, &[x, y], None)
    }

    /// What the pass computes for the current indices.
    pub fn element_value(&mut self, task: Task<'p>) -> Value {
        self.scope(|e| {
            e.depth = task.place().inner;
            e.prepare(task.place());
            e.scalar(task.place(), task.roots()[0])
        })
    }

    /// The element for the current indices, which is kept if later passes need it.
    fn fold_element(&mut self, task: Task<'p>) -> Value {
        let x = self.element_value(task);
        if let Some(&Some(kept)) = task.of.stores.get(1) {
            let address = self.address(task.place(), kept);
            let dtype = self.accesses[kept as usize].dtype;
            scalar::store(&mut self.b, dtype, x, address, 0);
        }
        x
    }

    /// Four elements that are computed already; they are kept if later passes need them.
    fn fold_group(&mut self, task: Task<'p>, at: Four) -> Group {
        let group = self.group(task.roots()[0]);
        if let Some(&Some(kept)) = task.of.stores.get(1) {
            self.store_group(task.place(), kept, at, &group, None);
        }
        group
    }

    fn fold_row(&mut self, task: Task<'p>, fold: Fold) -> Value {
        if task.of.inner.is_none() {
            return self.element_value(task);
        }
        let nothing = scalar::literal(&mut self.b, identity(fold.kind, fold.dtype));
        let occupied = self.occupied(task);
        let result = self.when(occupied, &[nothing], |e| {
            e.prepare(task.place());
            vec![if task.of.loops.is_empty() { e.fold_axis(task, fold) } else { e.fold_axes(task, fold) }]
        });
        result[0]
    }

    /// A reduction over one axis.
    fn fold_axis(&mut self, task: Task<'p>, fold: Fold) -> Value {
        let (_, range) = self.innermost(task).expect("it reduces over an axis");
        let kept = task.of.stores.get(1).copied().flatten();
        if let Some(result) = self.scope(|e| e.fold_strip(task, range, fold, kept)) {
            return result;
        }
        let chunk = CHUNK as i64;
        if range.hi.known().is_some_and(|n| n <= chunk) {
            return self.fold_chunk(task, fold, range);
        }
        let start = scalar::literal(&mut self.b, neutral(fold.kind, fold.dtype));
        let total = self.repeat(range.lo, range.hi, chunk, &[start], |e, lo, total| {
            let end = e.add(lo, Num::Const(chunk));
            let hi = e.min(end, range.hi);
            let part = e.fold_chunk(task, fold, Range { lo, hi });
            vec![e.combine(fold, total[0], part)]
        });
        total[0]
    }

    /// One chunk of a reduction over one axis; its first element belongs to the first accumulator.
    fn fold_chunk(&mut self, task: Task<'p>, fold: Fold, range: Range) -> Value {
        let place = task.place();
        let small = place.needed.iter().filter(|&&id| place.varies(id)).count() <= REGISTER_BODY;
        let n = self.sub(range.hi, range.lo);
        if !task.vector || !small || n.known().is_some_and(|n| n < LANES as i64) {
            self.reset(task, fold);
            self.accumulate(task, fold, range, Num::Const(0));
            return self.collect(task, fold);
        }
        let start = vector::literal(&mut self.b, neutral(fold.kind, fold.dtype));
        let registers: Vec<Value> = (0..GROUPS).flat_map(|_| start.iter().copied()).collect();
        let covered = self.round_down(n, LANES as i64);
        let middle = self.add(range.lo, covered);
        let accumulators = self.scope(|e| e.accumulate_blocks(task, fold, Range { lo: range.lo, hi: middle }, &registers));
        let groups: Vec<Group> = accumulators.chunks(start.len()).map(Group::from_slice).collect();
        // Chunks but the last are whole, and the last one is if the extent says so.
        let extent = task.of.inner.map(|a| task.plan.low.axes[a as usize].extent);
        if extent.is_some_and(|d| d.rem(LANES) == Dim::ZERO) {
            return self.collect_groups(fold, groups);
        }
        let base = self.accumulators(task);
        for (g, group) in groups.iter().enumerate() {
            vector::spill(&mut self.b, group, base, g as i32 * vector::spill_size(fold.dtype));
        }
        self.accumulate(task, fold, Range { lo: middle, hi: range.hi }, Num::Const(0));
        self.collect(task, fold)
    }

    /// Whole blocks of 32 elements, with the accumulators in registers.
    fn accumulate_blocks(&mut self, task: Task<'p>, fold: Fold, range: Range, registers: &[Value]) -> Vec<Value> {
        let axis = task.of.inner.expect("it reduces over an axis");
        let per_group = registers.len() / GROUPS;
        self.prepare_groups(task.place(), task.roots());
        self.repeat(range.lo, range.hi, LANES as i64, registers, |e, i, carried| {
            let index = e.reg(i);
            let mut next = Vec::with_capacity(carried.len());
            for (g, accumulator) in carried.chunks(per_group).enumerate() {
                let at = Four { axis, index, offset: (g * vector::LANES) as i64 };
                e.compute_group(task.place(), at);
                let element = e.fold_group(task, at);
                next.extend(e.combine_groups(fold, &Group::from_slice(accumulator), &element));
            }
            next
        })
    }

    /// The address of the accumulators.
    fn accumulators(&mut self, task: Task<'p>) -> Value {
        let offset = self.dim(task.plan.accumulators);
        let address = self.add(Num::Reg(self.scratch), offset);
        self.reg(address)
    }

    /// How many groups of accumulators have elements.
    fn used_groups(&self, task: Task<'p>) -> usize {
        let count: Dim = task.pass.axes().iter().map(|&a| task.plan.low.axes[a as usize].extent).product();
        let needed = count.as_const().map(|n| (n as usize).div_ceil(vector::LANES));
        needed.map_or(GROUPS, |n| n.clamp(1, GROUPS))
    }

    /// Sets all accumulators in scratch to the neutral number.
    fn reset(&mut self, task: Task<'p>, fold: Fold) {
        let base = self.accumulators(task);
        let start = vector::literal(&mut self.b, neutral(fold.kind, fold.dtype));
        for g in 0..self.used_groups(task) as i32 {
            vector::spill(&mut self.b, &start, base, g * vector::spill_size(fold.dtype));
        }
    }

    /// Combines elements into the accumulators in scratch; that of index `i` is `(i + shift) mod 32`.
    fn accumulate(&mut self, task: Task<'p>, fold: Fold, range: Range, shift: Num) {
        let base = self.accumulators(task);
        let size = vector::lane_size(fold.dtype);
        let slot = |e: &mut Self, index: Num| {
            let position = e.add(index, shift);
            let lane = match position {
                Num::Const(p) => Num::Const(p & (LANES as i64 - 1)),
                Num::Reg(p) => Num::Reg(e.b.ins().band_imm_u(p, LANES as i64 - 1)),
            };
            let step = e.mul(lane, Num::Const(size));
            let address = e.add(Num::Reg(base), step);
            e.reg(address)
        };
        let mut group = |e: &mut Self, task: Task<'p>, at: Four| {
            let index = e.add(Num::Reg(at.index), Num::Const(at.offset));
            let address = slot(e, index);
            let old = vector::reload(&mut e.b, fold.dtype, address, 0);
            let element = e.fold_group(task, at);
            let new = e.combine_groups(fold, &old, &element);
            vector::spill(&mut e.b, &new, address, 0);
        };
        let mut element = |e: &mut Self, task: Task<'p>, index: Num| {
            let x = e.fold_element(task);
            let address = slot(e, index);
            let old = vector::reload_lane(&mut e.b, fold.dtype, address);
            let new = e.combine(fold, old, x);
            vector::spill_lane(&mut e.b, fold.dtype, new, address);
        };
        self.sweep(task, range, &|_| Vec::new(), &mut group, &mut element);
    }

    /// The result of the accumulators in scratch.
    fn collect(&mut self, task: Task<'p>, fold: Fold) -> Value {
        let base = self.accumulators(task);
        let size = vector::spill_size(fold.dtype);
        let used = self.used_groups(task) as i32;
        let groups = (0..used).map(|g| vector::reload(&mut self.b, fold.dtype, base, g * size)).collect();
        self.collect_groups(fold, groups)
    }

    fn collect_groups(&mut self, fold: Fold, mut groups: Vec<Group>) -> Value {
        let mut half = GROUPS / 2;
        while half > 0 {
            let upper = groups.split_off(half.min(groups.len()));
            for (low, high) in groups.iter_mut().zip(&upper) {
                *low = self.combine_groups(fold, low, high);
            }
            half /= 2;
        }
        let (low, high) = vector::halves(&mut self.b, &groups[0]);
        let pair = self.combine_groups(fold, &low, &high);
        let (x, y) = (vector::lane(&mut self.b, fold.dtype, &pair, 0), vector::lane(&mut self.b, fold.dtype, &pair, 1));
        self.combine(fold, x, y)
    }

    /// A reduction over several axes: rows follow each other in the numbering of elements, so a row may begin at any
    /// accumulator, and a chunk may end inside a row.
    fn fold_axes(&mut self, task: Task<'p>, fold: Fold) -> Value {
        let start = scalar::literal(&mut self.b, neutral(fold.kind, fold.dtype));
        let position = self.int(0);
        self.reset(task, fold);
        let end = self.fold_rows(task, fold, 0, &[position, start]);
        let rest = self.less(Num::Const(0), Num::Reg(end[0]));
        let total = self.when(rest, &[end[1]], |e| {
            let part = e.collect(task, fold);
            vec![e.combine(fold, end[1], part)]
        });
        total[0]
    }

    /// Loops over the outer axes; carried are the position within the chunk and the total of the chunks before.
    fn fold_rows(&mut self, task: Task<'p>, fold: Fold, number: usize, carried: &[Value]) -> Vec<Value> {
        let Some(&axis) = task.of.loops.get(number) else { return self.fold_row_of_many(task, fold, carried) };
        let range = self.whole(task.plan, axis);
        self.repeat(range.lo, range.hi, 1, carried, |e, i, carried| {
            e.enter(task, number, axis, i);
            e.fold_rows(task, fold, number + 1, carried)
        })
    }

    fn fold_row_of_many(&mut self, task: Task<'p>, fold: Fold, carried: &[Value]) -> Vec<Value> {
        let (_, range) = self.innermost(task).expect("it reduces over axes");
        let chunk = Num::Const(CHUNK as i64);
        let first = self.reg(range.lo);
        let (pieces, exit) = (self.b.create_block(), self.b.create_block());
        let entry = [first, carried[0], carried[1]];
        let state = self.block_params(pieces, &entry);
        let result = self.block_params(exit, carried);
        self.b.ins().jump(pieces, &block_args(&entry));
        self.b.switch_to_block(pieces);
        let (lo, position, total) = (Num::Reg(state[0]), Num::Reg(state[1]), state[2]);
        let next = self.scope(|e| {
            let room = e.sub(chunk, position);
            let end = e.add(lo, room);
            let hi = e.min(range.hi, end);
            let shift = e.sub(position, lo);
            e.accumulate_unaligned(task, fold, Range { lo, hi }, shift);
            let after = e.add(hi, shift);
            let after = e.reg(after);
            let (zero, full) = (e.int(0), e.reg(chunk));
            let done = e.b.ins().icmp(IntCC::Equal, after, full);
            let flushed = e.when(Condition::Reg(done), &[after, total], |e| {
                let part = e.collect(task, fold);
                let total = e.combine(fold, total, part);
                e.reset(task, fold);
                vec![zero, total]
            });
            vec![e.reg(hi), flushed[0], flushed[1]]
        });
        let limit = self.reg(range.hi);
        let more = self.b.ins().icmp(IntCC::SignedLessThan, next[0], limit);
        let (again, leave) = (block_args(&next), block_args(&next[1..]));
        self.b.ins().brif(more, pieces, &again, exit, &leave);
        self.b.switch_to_block(exit);
        result
    }

    /// Like [`accumulate`](Self::accumulate) where the first element may not begin a group of accumulators: elements
    /// before the next group go one by one.
    fn accumulate_unaligned(&mut self, task: Task<'p>, fold: Fold, range: Range, shift: Num) {
        let group = vector::LANES as i64;
        let extent = task.of.inner.map(|a| task.plan.low.axes[a as usize].extent);
        let aligned = extent.is_some_and(|d| d.rem(group as usize) == Dim::ZERO);
        let mut start = range.lo;
        if task.vector && !aligned {
            let position = self.add(range.lo, shift);
            let up = self.add(position, Num::Const(group - 1));
            let boundary = self.round_down(up, group);
            let begin = self.sub(boundary, shift);
            start = self.min(begin, range.hi);
            self.accumulate(Task { vector: false, ..task }, fold, Range { lo: range.lo, hi: start }, shift);
        }
        self.accumulate(task, fold, Range { lo: start, hi: range.hi }, shift);
    }
}
