//! Loops over several axes as one number, row-major: what matrix products know of the axes of their operands.

use super::emitter::{Emitter, Num, block_args};
use super::nest::Plan;
use super::passes::Range;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};

impl<'p> Emitter<'p, '_> {
    /// The index along each of `axes` at a position.
    fn digits(&mut self, plan: &Plan, axes: &[u32], position: Num) -> Vec<Num> {
        let mut rest = position;
        let mut digits = vec![Num::Const(0); axes.len()];
        for (i, &axis) in axes.iter().enumerate().rev() {
            if i == 0 {
                digits[0] = rest;
                break;
            }
            let extent = self.dim(plan.low.axes[axis as usize].extent);
            let quotient = self.div(rest, extent);
            let whole = self.mul(quotient, extent);
            digits[i] = self.sub(rest, whole);
            rest = quotient;
        }
        digits
    }

    /// The digits of the next position, given that the last digit becomes `last`, which may be the extent.
    fn carry(&mut self, plan: &Plan, axes: &[u32], digits: &[Value], last: Value) -> Vec<Value> {
        let mut next = digits.to_vec();
        let mut raised = last;
        for (i, &axis) in axes.iter().enumerate().rev() {
            if i == 0 {
                next[0] = raised;
                break;
            }
            let extent = self.dim(plan.low.axes[axis as usize].extent);
            let extent = self.reg(extent);
            let full = self.b.ins().icmp(IntCC::Equal, raised, extent);
            let zero = self.int(0);
            next[i] = self.b.ins().select(full, zero, raised);
            let over = self.b.ins().uextend(types::I64, full);
            raised = self.b.ins().iadd(digits[i - 1], over);
        }
        next
    }

    /// Runs `body` for each position of `range`, with the indices of `axes` set, at the given depth.
    pub fn flat_loop(&mut self, plan: &'p Plan, axes: &[u32], range: Range, depth: u16, body: &mut dyn FnMut(&mut Self, Num)) {
        // One axis is its own position.
        let digits = if axes.len() > 1 { self.digits(plan, axes, range.lo) } else { Vec::new() };
        let carried: Vec<Value> = digits.into_iter().map(|d| self.reg(d)).collect();
        self.repeat(range.lo, range.hi, 1, &carried, |e, position, digits| {
            e.depth = depth;
            match axes {
                [axis] => e.set_axis(*axis, position),
                _ => axes.iter().zip(digits).for_each(|(&axis, &d)| e.set_axis(axis, Num::Reg(d))),
            }
            e.prepare_all(plan);
            body(e, position);
            match digits.split_last() {
                Some((&last, _)) => {
                    let raised = e.b.ins().iadd_imm_s(last, 1);
                    e.carry(plan, axes, digits, raised)
                }
                None => Vec::new(),
            }
        });
    }

    /// Cuts the positions of `range` into rows along the last axis: runs `body` with the position of a row's first element
    /// and the range of the last axis, the indices of the other axes being set, at the given depth. `range` is not empty.
    pub fn flat_rows(
        &mut self,
        plan: &'p Plan,
        axes: &[u32],
        range: Range,
        depth: u16,
        body: &mut dyn FnMut(&mut Self, Num, Range),
    ) {
        let (last, outer) = match axes.split_last() {
            Some((&last, outer)) if !outer.is_empty() => (last, outer),
            _ => {
                return self.scope(|e| {
                    e.depth = depth;
                    e.prepare_all(plan);
                    body(e, range.lo, range);
                });
            }
        };
        let extent = self.dim(plan.low.axes[last as usize].extent);
        let first = self.reg(range.lo);
        let digits = self.digits(plan, axes, range.lo);
        let entry: Vec<Value> = [first].into_iter().chain(digits.into_iter().map(|d| self.reg(d))).collect();
        let (rows, exit) = (self.b.create_block(), self.b.create_block());
        let state = self.block_params(rows, &entry);
        self.b.ins().jump(rows, &block_args(&entry));
        self.b.switch_to_block(rows);
        let (position, digits) = (Num::Reg(state[0]), &state[1..]);
        let (lo, others) = digits.split_last().expect("there is a last axis");
        let next = self.scope(|e| {
            let lo = Num::Reg(*lo);
            let rest = e.sub(range.hi, position);
            let end = e.add(lo, rest);
            let hi = e.min(extent, end);
            e.depth = depth;
            outer.iter().zip(others).for_each(|(&axis, &d)| e.set_axis(axis, Num::Reg(d)));
            e.prepare_all(plan);
            body(e, position, Range { lo, hi });
            let length = e.sub(hi, lo);
            let after = e.add(position, length);
            let after = e.reg(after);
            let filled = e.reg(extent);
            [after].into_iter().chain(e.carry(plan, axes, digits, filled)).collect::<Vec<_>>()
        });
        let limit = self.reg(range.hi);
        let more = self.b.ins().icmp(IntCC::SignedLessThan, next[0], limit);
        self.b.ins().brif(more, rows, &block_args(&next), exit, &[]);
        self.b.switch_to_block(exit);
    }
}
