//! Code for the passes of one point, or of one block of points in column form.

use super::emitter::{Condition, Emitter, Num, block_args};
use super::evaluate::Four;
use super::lower::{Pass, combiner};
use super::nest::{PassPlan, PiecePlan, Plan};
use super::place::Placement;
use super::scalar;
use super::strip::{End, To};
use super::vector::LANES;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Value, types};
use igneous_ir::kernel::{Store, Target};
use igneous_ir::scalar::{ExprId, ScalarOp};
use igneous_ir::types::DType;

/// Bodies of fewer operations than this are unrolled four times: their loops would cost as much as they do.
const SMALL_BODY: usize = 24;

/// A range of the innermost axis.
#[derive(Clone, Copy)]
pub(super) struct Range {
    pub lo: Num,
    pub hi: Num,
}

/// One pass and its plan.
#[derive(Clone, Copy)]
pub(super) struct Task<'p> {
    pub plan: &'p Plan,
    pub pass: &'p Pass,
    pub of: &'p PassPlan,
    pub piece: &'p PiecePlan,
    /// The range of the vector axis in column form.
    pub column: Option<Range>,
    /// Whether the innermost loop takes four elements at a time.
    pub vector: bool,
}

impl<'p> Task<'p> {
    pub fn place(&self) -> &'p Placement {
        &self.piece.place
    }

    /// What the pass computes in its current piece.
    pub fn roots(&self) -> &'p [ExprId] {
        &self.piece.piece.roots
    }
}

impl<'p> Emitter<'p, '_> {
    /// Runs all passes; their code is emitted at the current depth plus one.
    pub fn passes(&mut self, plan: &'p Plan, column: Option<Range>) {
        for (pass, of) in plan.low.passes.iter().zip(&plan.passes) {
            let task = Task { plan, pass, of, piece: &of.pieces[0], column, vector: of.vector };
            self.scope(|e| {
                e.depth = plan.pass_depth;
                match pass {
                    Pass::Map { stores, .. } => e.map(task, stores),
                    Pass::Check { ok, value, code, .. } => e.check(task, *ok, *value, *code),
                    Pass::Fold { kind, body, to, .. } => {
                        let result = e.fold(task, *kind, *body);
                        e.locals.extend(result.map(|r| (*to, r)));
                    }
                    Pass::Find { body, extremum, to, .. } => {
                        let result = e.find(task, *body, *extremum);
                        e.locals.extend(result.map(|r| (*to, r)));
                    }
                    Pass::Element { .. } => unreachable!("the function around it computes it"),
                }
            });
        }
    }

    /// Computes what the current depth allows, for all passes.
    pub fn prepare_all(&mut self, plan: &'p Plan) {
        plan.passes.iter().for_each(|pass| self.prepare_pieces(pass));
    }

    /// Computes what the current depth allows, for all pieces of a pass.
    pub fn prepare_pieces(&mut self, pass: &'p PassPlan) {
        pass.pieces.iter().for_each(|piece| self.prepare(&piece.place));
    }

    /// Runs the passes for a range of the vector axis, in blocks if per-point arrays need them.
    pub fn blocks(&mut self, plan: &'p Plan, range: Range) {
        let Some(points) = plan.block else { return self.passes(plan, Some(range)) };
        self.repeat(range.lo, range.hi, points, &[], |e, lo, _| {
            let end = e.add(lo, Num::Const(points));
            let hi = e.min(end, range.hi);
            e.depth += 1;
            e.block_start = lo;
            e.prepare_all(plan);
            e.passes(plan, Some(Range { lo, hi }));
            Vec::new()
        });
    }

    /// The range of an axis that is looped over whole.
    pub fn whole(&mut self, plan: &Plan, axis: u32) -> Range {
        Range { lo: Num::Const(0), hi: self.dim(plan.low.axes[axis as usize].extent) }
    }

    /// Whether all serial axes of a pass have indices.
    pub fn occupied(&mut self, task: Task) -> Condition {
        let mut all = Condition::Known(true);
        for &a in task.pass.axes() {
            let extent = task.plan.low.axes[a as usize].extent;
            if extent.at_least(1) == Some(true) {
                continue;
            }
            let n = self.dim(extent);
            all = match (all, self.less(Num::Const(0), n)) {
                (Condition::Known(true), c) => c,
                (_, Condition::Known(false)) => Condition::Known(false),
                (c, Condition::Known(true)) => c,
                (Condition::Known(false), _) => Condition::Known(false),
                (Condition::Reg(a), Condition::Reg(b)) => Condition::Reg(self.b.ins().band(a, b)),
            };
        }
        all
    }

    /// The innermost axis and its range.
    pub fn innermost(&mut self, task: Task) -> Option<(u32, Range)> {
        let axis = task.of.inner?;
        Some((axis, task.column.unwrap_or_else(|| self.whole(task.plan, axis))))
    }

    /// Runs `body` for each index of the serial axes that surround the innermost loop.
    pub fn loops(&mut self, task: Task<'p>, number: usize, body: &mut dyn FnMut(&mut Self)) {
        let Some(&axis) = task.of.loops.get(number) else { return body(self) };
        let range = self.whole(task.plan, axis);
        self.repeat(range.lo, range.hi, 1, &[], |e, i, _| {
            e.enter(task, number, axis, i);
            e.loops(task, number + 1, body);
            Vec::new()
        });
    }

    /// Begins the body of the loop over the `number`-th serial axis.
    pub fn enter(&mut self, task: Task<'p>, number: usize, axis: u32, index: Num) {
        self.depth = task.plan.pass_depth + 1 + number as u16;
        self.set_axis(axis, index);
        self.prepare_pieces(task.of);
    }

    fn map(&mut self, task: Task<'p>, stores: &'p [Store]) {
        let occupied = self.occupied(task);
        self.when(occupied, &[], |e| {
            e.prepare_pieces(task.of);
            let inner = e.innermost(task);
            e.loops(task, 0, &mut |e| match inner {
                None => e.map_element(task, stores),
                Some((_, range)) => e.map_sweep(task, stores, range),
            });
            Vec::new()
        });
    }

    /// The innermost loop over `range`, piece by piece: `group` handles four elements, `element` one whose index is set; both
    /// are given the pass with its piece. `ends` says what they do with the roots, for a strip that does the same; none: a
    /// strip cannot.
    pub fn sweep(
        &mut self,
        task: Task<'p>,
        range: Range,
        ends: &dyn Fn(Task<'p>) -> Vec<End>,
        group: &mut dyn FnMut(&mut Self, Task<'p>, Four),
        element: &mut dyn FnMut(&mut Self, Task<'p>, Num),
    ) {
        for piece in &task.of.pieces {
            self.scope(|e| {
                let mut part = range;
                if let Some(lo) = piece.piece.lo {
                    let lo = e.index(&piece.place, lo);
                    part.lo = e.max(part.lo, lo);
                }
                if let Some(hi) = piece.piece.hi {
                    let hi = e.index(&piece.place, hi);
                    let hi = e.min(part.hi, hi);
                    part.hi = e.max(part.lo, hi);
                }
                if piece.piece.lo.is_some() {
                    part.hi = e.max(part.lo, part.hi);
                }
                let task = Task { piece, ..task };
                e.sweep_piece(task, part, &ends(task), group, element);
            });
        }
    }

    fn sweep_piece(
        &mut self,
        task: Task<'p>,
        range: Range,
        ends: &[End],
        group: &mut dyn FnMut(&mut Self, Task<'p>, Four),
        element: &mut dyn FnMut(&mut Self, Task<'p>, Num),
    ) {
        let place = task.place();
        let axis = task.of.inner.expect("the innermost loop has an axis");
        let mut start = range.lo;
        let strip = if task.vector { self.scope(|e| e.strip(task, range, ends)) } else { None };
        if let Some(end) = strip {
            start = end;
        } else if task.vector {
            self.scope(|e| {
                e.prepare_groups(place, task.roots());
                let n = e.sub(range.hi, range.lo);
                let unrolls: &[i64] = if place.needed.len() < SMALL_BODY { &[4, 1] } else { &[1] };
                for &unroll in unrolls {
                    let step = unroll * LANES as i64;
                    let covered = e.round_down(n, step);
                    let end = e.add(range.lo, covered);
                    e.repeat(start, end, step, &[], |e, i, _| {
                        let index = e.reg(i);
                        for g in 0..unroll {
                            let at = Four { axis, index, offset: g * LANES as i64 };
                            e.compute_group(place, at);
                            group(e, task, at);
                        }
                        Vec::new()
                    });
                    start = end;
                }
            });
        }
        if start == range.hi {
            return;
        }
        self.repeat(start, range.hi, 1, &[], |e, i, _| {
            e.set_axis(axis, i);
            element(e, task, i);
            Vec::new()
        });
    }

    /// The innermost loop of a map.
    fn map_sweep(&mut self, task: Task<'p>, stores: &'p [Store], range: Range) {
        let mut group = |e: &mut Self, task: Task<'p>, at: Four| {
            for ((store, access), &root) in stores.iter().zip(&task.of.stores).zip(task.roots()) {
                let access = access.expect("locals are in memory where there is an innermost loop");
                let group = e.group(root);
                e.store_group(task.place(), access, at, &group, combining(store));
            }
        };
        let exprs = &task.plan.low.exprs;
        let ends = |task: Task<'p>| {
            let each = stores.iter().zip(&task.of.stores).zip(task.roots());
            let end = |((store, access), &root): ((&Store, &Option<u32>), &ExprId)| End {
                root,
                to: To::Access(access.expect("locals are in memory where there is an innermost loop")),
                dtype: exprs.dtype(root),
                combine: combining(store),
            };
            each.map(end).collect()
        };
        self.sweep(task, range, &ends, &mut group, &mut |e, task, _| e.map_element(task, stores));
    }

    /// Computes and stores one element; the index of the innermost axis is set.
    fn map_element(&mut self, task: Task<'p>, stores: &'p [Store]) {
        let place = task.place();
        let mut kept = Vec::new();
        self.scope(|e| {
            e.depth = place.inner;
            e.prepare(place);
            let values: Vec<Value> = task.roots().iter().map(|&root| e.scalar(place, root)).collect();
            for ((store, access), value) in stores.iter().zip(&task.of.stores).zip(values) {
                match (access, &store.to) {
                    (Some(access), _) => {
                        let address = e.address(place, *access);
                        let dtype = e.accesses[*access as usize].dtype;
                        e.store_scalar(dtype, value, address, 0, combining(store));
                    }
                    (None, Target::Local(l)) => kept.push((*l, value)),
                    (None, Target::Param { .. }) => unreachable!("a store to a parameter has an access"),
                }
            }
        });
        self.locals.extend(kept);
    }

    fn check(&mut self, task: Task<'p>, ok: ExprId, value: ExprId, code: u32) {
        let occupied = self.occupied(task);
        self.when(occupied, &[], |e| {
            e.prepare_pieces(task.of);
            let inner = e.innermost(task);
            e.loops(task, 0, &mut |e| match inner {
                None => e.check_element(task, ok, value, code),
                Some((axis, range)) => {
                    e.repeat(range.lo, range.hi, 1, &[], |e, i, _| {
                        e.set_axis(axis, i);
                        e.check_element(task, ok, value, code);
                        Vec::new()
                    });
                }
            });
            Vec::new()
        });
    }

    fn check_element(&mut self, task: Task<'p>, ok: ExprId, value: ExprId, code: u32) {
        let place = task.place();
        self.scope(|e| {
            e.depth = place.inner;
            e.prepare(place);
            let (ok, value) = (e.scalar(place, ok), e.scalar(place, value));
            let failed = e.b.ins().icmp_imm_u(IntCC::Equal, ok, 0);
            e.when(Condition::Reg(failed), &[], |e| {
                let (empty, code) = (e.int(0), e.int(i64::from(code) + 1));
                let old = e.b.ins().atomic_cas(scalar::memory().with_aligned(), e.arguments.error, empty, code);
                let first = e.b.ins().icmp_imm_u(IntCC::Equal, old, 0);
                e.when(Condition::Reg(first), &[], |e| {
                    e.b.ins().store(scalar::memory(), value, e.arguments.error, 8);
                    Vec::new()
                });
                Vec::new()
            });
        });
    }

    /// The position of the first element that equals the extremum or is NaN like it: the result if it is held in a
    /// register, else it is stored.
    fn find(&mut self, task: Task<'p>, body: ExprId, extremum: ExprId) -> Option<Value> {
        match task.column {
            None => Some(self.search(task, body, extremum)),
            Some(range) => {
                let axis = task.of.inner.expect("column form has an innermost axis");
                self.prepare(task.place());
                self.repeat(range.lo, range.hi, 1, &[], |e, i, _| {
                    e.set_axis(axis, i);
                    let found = e.search(task, body, extremum);
                    let access = task.of.stores[0].expect("locals are in memory in column form");
                    let address = e.address(task.place(), access);
                    scalar::store(&mut e.b, DType::I64, found, address, 0);
                    Vec::new()
                });
                None
            }
        }
    }

    /// A search over all serial axes that ends at the first hit.
    fn search(&mut self, task: Task<'p>, body: ExprId, extremum: ExprId) -> Value {
        let none = self.int(0);
        let occupied = self.occupied(task);
        let found = self.when(occupied, &[none], |e| {
            let exit = e.b.create_block();
            let result = e.b.append_block_param(exit, types::I64);
            e.prepare(task.place());
            let count = e.int(0);
            e.search_loops(task, 0, count, &mut |e, position| e.search_element(task, body, extremum, position, exit));
            let none = e.int(0);
            e.b.ins().jump(exit, &block_args(&[none]));
            e.b.switch_to_block(exit);
            vec![result]
        });
        found[0]
    }

    /// Loops over all serial axes with a running position.
    fn search_loops(&mut self, task: Task<'p>, number: usize, position: Value, body: &mut dyn FnMut(&mut Self, Value)) -> Value {
        let axes = task.pass.axes();
        let Some(&axis) = axes.get(number) else {
            body(self, position);
            return self.b.ins().iadd_imm_s(position, 1);
        };
        let range = self.whole(task.plan, axis);
        let next = self.repeat(range.lo, range.hi, 1, &[position], |e, i, carried| {
            if number < task.of.loops.len() {
                e.enter(task, number, axis, i);
            } else {
                e.set_axis(axis, i);
            }
            vec![e.search_loops(task, number + 1, carried[0], body)]
        });
        next[0]
    }

    fn search_element(
        &mut self,
        task: Task<'p>,
        body: ExprId,
        extremum: ExprId,
        position: Value,
        exit: cranelift_codegen::ir::Block,
    ) {
        let place = task.place();
        let hit = self.scope(|e| {
            e.depth = place.inner;
            e.prepare(place);
            let (x, m) = (e.scalar(place, body), e.scalar(place, extremum));
            if !e.exprs.dtype(body).is_float() {
                return e.b.ins().icmp(IntCC::Equal, x, m);
            }
            let equal = e.b.ins().fcmp(FloatCC::Equal, x, m);
            let nan = e.b.ins().fcmp(FloatCC::Unordered, x, x);
            e.b.ins().bor(equal, nan)
        });
        let next = self.b.create_block();
        self.b.ins().brif(hit, exit, &block_args(&[position]), next, &[]);
        self.b.switch_to_block(next);
    }
}

fn combining(store: &Store) -> Option<ScalarOp> {
    match store.to {
        Target::Param { combine, .. } => combine.map(combiner),
        Target::Local(_) => None,
    }
}
