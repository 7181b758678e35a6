//! Reductions in column form: the innermost loop runs over points, so every row of points has its own accumulators.

use super::emitter::{Condition, Emitter, Num};
use super::evaluate::Four;
use super::fold::Fold;
use super::lower::{identity, neutral};
use super::passes::{Range, Task};
use super::scalar;
use super::strip::{End, To, Turns};
use super::vector::{self, Group};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value};
use igneous_ir::dim::Dim;
use igneous_ir::kernel::{CHUNK, LANES};
use igneous_ir::types::Literal;

/// Elements of a point that are combined into one accumulator at once.
const TURNS: u8 = 4;
/// So many elements of a point are done in one turn over its accumulators.
const TOGETHER: i64 = LANES as i64 * TURNS as i64;

/// Where the accumulators of a block lie: row `r` has those of lane `r`, one for each point.
#[derive(Clone, Copy)]
struct Rows {
    /// The address of row 0, less what index 0 of the vector axis would lie before it.
    base: Num,
    /// Bytes per row.
    pitch: i64,
    /// Bytes per point.
    size: i64,
    /// How many rows have elements.
    used: usize,
}

impl<'p> Emitter<'p, '_> {
    /// A reduction for each point of `range`, stored to the pass's local.
    pub fn fold_column(&mut self, task: Task<'p>, fold: Fold, range: Range) {
        let count: Dim = task.pass.axes().iter().map(|&a| task.plan.low.axes[a as usize].extent).product();
        if count.at_least(1) != Some(true) {
            self.fill_result(task, range, identity(fold.kind, fold.dtype));
        }
        let rows = self.rows(task, fold, count);
        let chunks = count.as_const().is_none_or(|n| n > CHUNK as i64);
        let occupied = self.occupied(task);
        self.when(occupied, &[], |e| {
            e.prepare_pieces(task.of);
            e.reset_rows(fold, rows, range);
            let totals = chunks.then(|| e.totals(task, fold));
            if let Some(totals) = totals {
                e.reset_rows(fold, totals, range);
            }
            let mut advance = |e: &mut Self, position: Value, elements: i64| {
                let next = e.b.ins().iadd_imm_s(position, elements);
                let Some(totals) = totals else { return next };
                let full = e.int(CHUNK as i64);
                let done = e.b.ins().icmp(IntCC::Equal, next, full);
                let flushed = e.when(Condition::Reg(done), &[next], |e| {
                    e.flush(fold, rows, totals, range);
                    e.reset_rows(fold, rows, range);
                    vec![e.int(0)]
                });
                flushed[0]
            };
            let (first, position) = e.fold_turns(task, fold, rows, range, &mut advance);
            let position = e.column_loops(task, 0, first, position, &mut |e, position| {
                let lane = Num::Reg(e.b.ins().band_imm_u(position, LANES as i64 - 1));
                e.fold_points(task, fold, rows, lane, range);
                advance(e, position, 1)
            });
            if let Some(totals) = totals {
                let rest = e.less(Num::Const(0), Num::Reg(position));
                e.when(rest, &[], |e| {
                    e.flush(fold, rows, totals, range);
                    Vec::new()
                });
                e.store_results(task, fold, totals, range);
            } else {
                e.store_results(task, fold, rows, range);
            }
            Vec::new()
        });
    }

    fn rows(&mut self, task: Task<'p>, fold: Fold, count: Dim) -> Rows {
        let used = count.as_const().map_or(LANES, |n| (n as usize).min(LANES));
        self.rows_at(task, fold, task.plan.accumulators, used)
    }

    fn totals(&mut self, task: Task<'p>, fold: Fold) -> Rows {
        self.rows_at(task, fold, task.plan.totals, 1)
    }

    fn rows_at(&mut self, task: Task<'p>, fold: Fold, offset: Dim, used: usize) -> Rows {
        let size = vector::lane_size(fold.dtype);
        let points = task.plan.block.expect("reductions in column form run over blocks");
        let offset = self.dim(offset);
        let start = self.mul(self.block_start, Num::Const(size));
        let address = self.add(Num::Reg(self.scratch), offset);
        let base = self.sub(address, start);
        Rows { base, pitch: points * size, size, used }
    }

    /// The address of the accumulator of a point.
    fn accumulator(&mut self, rows: Rows, row: Num, point: Num) -> Value {
        let along = self.mul(point, Num::Const(rows.size));
        let down = self.mul(row, Num::Const(rows.pitch));
        let address = self.add(rows.base, down);
        let address = self.add(address, along);
        self.reg(address)
    }

    /// Runs `body` over whole groups of the points of `range`; the last may reach beyond it, inside of the block's memory.
    fn groups(&mut self, range: Range, body: &mut dyn FnMut(&mut Self, Num)) {
        self.repeat(range.lo, range.hi, vector::LANES as i64, &[], |e, i, _| {
            body(e, i);
            Vec::new()
        });
    }

    fn reset_rows(&mut self, fold: Fold, rows: Rows, range: Range) {
        let start = vector::literal(&mut self.b, neutral(fold.kind, fold.dtype));
        self.repeat(Num::Const(0), Num::Const(rows.used as i64), 1, &[], |e, row, _| {
            e.groups(range, &mut |e, i| {
                let address = e.accumulator(rows, row, i);
                vector::spill(&mut e.b, &start, address, 0);
            });
            Vec::new()
        });
    }

    /// Loops over all serial axes with a running position within the chunk; `first` is where the outermost one begins.
    fn column_loops(
        &mut self,
        task: Task<'p>,
        number: usize,
        first: Num,
        position: Value,
        body: &mut dyn FnMut(&mut Self, Value) -> Value,
    ) -> Value {
        let Some(&axis) = task.of.loops.get(number) else { return body(self, position) };
        let range = self.whole(task.plan, axis);
        let next = self.repeat(first, range.hi, 1, &[position], |e, i, carried| {
            e.enter(task, number, axis, i);
            vec![e.column_loops(task, number + 1, Num::Const(0), carried[0], body)]
        });
        next[0]
    }

    /// Combines as many elements as it can, several that share accumulators at a time, so that those are loaded and stored
    /// less often. Gives the index of the next element and its position within the chunk.
    fn fold_turns(
        &mut self,
        task: Task<'p>,
        fold: Fold,
        rows: Rows,
        range: Range,
        advance: &mut dyn FnMut(&mut Self, Value, i64) -> Value,
    ) -> (Num, Value) {
        let zero = self.int(0);
        let nothing = (Num::Const(0), zero);
        let ([axis], [piece]) = (&task.of.loops[..], &task.of.pieces[..]) else { return nothing };
        let count = self.whole(task.plan, *axis).hi;
        let alike = rows.size == fold.dtype.size() as i64;
        let few = count.known().is_some_and(|n| n < TOGETHER);
        if few || !alike || !task.vector || piece.piece.lo.is_some() || piece.piece.hi.is_some() {
            return nothing;
        }
        let root = task.roots()[0];
        let end = |base| End { root, to: To::Address(base), dtype: fold.dtype, combine: Some(fold.op) };
        if !self.has_strip_of_turns(task, end(rows.base), TURNS) {
            return nothing;
        }
        let covered = self.round_down(count, TOGETHER);
        let position = self.repeat(Num::Const(0), covered, TOGETHER, &[zero], |e, start, carried| {
            e.repeat(Num::Const(0), Num::Const(LANES as i64), 1, &[], |e, lane, _| {
                let down = e.mul(lane, Num::Const(rows.pitch));
                let base = e.add(rows.base, down);
                let first = e.add(start, lane);
                let turns = Turns { axis: *axis, first, count: TURNS, step: LANES as i64 };
                e.strip_of_turns(task, range, end(base), turns);
                Vec::new()
            });
            vec![advance(e, carried[0], TOGETHER)]
        });
        (covered, position[0])
    }

    /// Combines one element of each point into the accumulators of a row.
    fn fold_points(&mut self, task: Task<'p>, fold: Fold, rows: Rows, row: Num, range: Range) {
        let down = self.mul(row, Num::Const(rows.pitch));
        let base = self.add(rows.base, down);
        let rows = Rows { base, ..rows };
        let first = Num::Const(0);
        let mut group = |e: &mut Self, task: Task<'p>, at: Four| {
            let address = e.accumulator(rows, first, Num::Reg(at.index));
            let offset = (at.offset * rows.size) as i32;
            let old = vector::reload(&mut e.b, fold.dtype, address, offset);
            let element = e.group(task.roots()[0]);
            let new = e.combine_groups(fold, &old, &element);
            vector::spill(&mut e.b, &new, address, offset);
        };
        let mut element = |e: &mut Self, task: Task<'p>, index: Num| {
            let x = e.element_value(task);
            let address = e.accumulator(rows, first, index);
            let old = vector::reload_lane(&mut e.b, fold.dtype, address);
            let new = e.combine(fold, old, x);
            vector::spill_lane(&mut e.b, fold.dtype, new, address);
        };
        // Accumulators of narrower types do not lie one after the other as elements do.
        let alike = rows.size == fold.dtype.size() as i64;
        let ends = |task: Task<'p>| {
            let end = End { root: task.roots()[0], to: To::Address(rows.base), dtype: fold.dtype, combine: Some(fold.op) };
            if alike { vec![end] } else { Vec::new() }
        };
        self.sweep(task, range, &ends, &mut group, &mut element);
    }

    /// The tree over the rows for four points: what lane `row` holds when the lanes are combined down to `width`.
    fn tree(&mut self, fold: Fold, rows: Rows, address: Value, row: usize, width: usize) -> Option<Group> {
        if row >= rows.used {
            return None;
        }
        if width == LANES {
            return Some(vector::reload(&mut self.b, fold.dtype, address, (row as i64 * rows.pitch) as i32));
        }
        let low = self.tree(fold, rows, address, row, 2 * width)?;
        Some(match self.tree(fold, rows, address, row + width, 2 * width) {
            Some(high) => self.combine_groups(fold, &low, &high),
            None => low,
        })
    }

    /// Combines the finished chunk into the totals.
    fn flush(&mut self, fold: Fold, rows: Rows, totals: Rows, range: Range) {
        self.groups(range, &mut |e, i| {
            let address = e.accumulator(rows, Num::Const(0), i);
            let chunk = e.tree(fold, rows, address, 0, 1).expect("the first lane is used");
            let address = e.accumulator(totals, Num::Const(0), i);
            let old = vector::reload(&mut e.b, fold.dtype, address, 0);
            let new = e.combine_groups(fold, &old, &chunk);
            vector::spill(&mut e.b, &new, address, 0);
        });
    }

    /// Stores the results of the points, which end the trees over `rows`.
    fn store_results(&mut self, task: Task<'p>, fold: Fold, rows: Rows, range: Range) {
        let access = task.of.stores[0].expect("locals are in memory in column form");
        let axis = task.of.inner.expect("column form has an innermost axis");
        self.groups(range, &mut |e, i| {
            let address = e.accumulator(rows, Num::Const(0), i);
            let result = e.tree(fold, rows, address, 0, 1).expect("the first lane is used");
            let index = e.reg(i);
            e.store_group(task.place(), access, Four { axis, index, offset: 0 }, &result, None);
        });
    }

    fn fill_result(&mut self, task: Task<'p>, range: Range, value: Literal) {
        let access = task.of.stores[0].expect("locals are in memory in column form");
        self.prepare(task.place());
        let nothing = scalar::literal(&mut self.b, value);
        self.repeat(range.lo, range.hi, 1, &[], |e, i, _| {
            e.set_axis(task.of.inner.expect("column form has an innermost axis"), i);
            let address = e.address(task.place(), access);
            scalar::store(&mut e.b, value.dtype(), nothing, address, 0);
            Vec::new()
        });
    }
}
