//! From a pass to its strip and the call of it.

use super::allocate::partial_vectors;
use super::assemble::{Strip, assemble};
use super::body::{Arg, Body, Class, Stream, class_of};
use super::divide::divisor;
use super::scale::scaled;
use super::table::{ADD_Q, SCALEF_PD, SCALEF_PS};
use crate::cpu::emitter::{Emitter, Num};
use crate::cpu::evaluate::Walk;
use crate::cpu::fold::Fold;
use crate::cpu::lower::neutral;
use crate::cpu::passes::{Range, Task};
use crate::cpu::place::{Access, Base, Placement};
use crate::cpu::scalar;
use crate::cpu::target::Width;
use cranelift_codegen::ir::{
    AbiParam, ExtFuncData, ExternalName, InstBuilder, Signature, StackSlot, StackSlotData, StackSlotKind, UserExternalName,
    Value, types,
};
use cranelift_codegen::isa::CallConv;
use igneous_ir::dim::Dim;
use igneous_ir::kernel::{Access as Use, CHUNK};
use igneous_ir::scalar::{ExprId, ScalarOp};
use igneous_ir::types::{DType, Literal};
use smallvec::SmallVec;

/// Less work than this, in elements times instructions, is not worth a call: without mask registers, with them.
const LITTLE: [i64; 2] = [256, 128];

/// Where the elements of a row go.
#[derive(Clone, Copy)]
pub(in crate::cpu) enum To {
    Access(u32),
    /// The address of the element at index 0.
    Address(Num),
}

/// What is done with a value in the innermost loop.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct End {
    pub root: ExprId,
    pub to: To,
    pub dtype: DType,
    /// What combines it with what is there.
    pub combine: Option<ScalarOp>,
}

/// What a slot of the table holds.
#[derive(Clone, Copy, PartialEq)]
enum Slot {
    /// The address of element 0 of an access.
    Access(u32),
    Address(Num),
    /// A number that is the same for all elements.
    Number(ExprId),
    Constant(Literal),
}

/// Several turns of the loop around the innermost one that a strip does at once, for one address that all combine into.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Turns {
    pub axis: u32,
    /// The index of the first.
    pub first: Num,
    pub count: u8,
    /// From one to the next.
    pub step: i64,
}

/// Builds the body of a strip.
struct Builder<'e, 'p, 'f> {
    emitter: &'e Emitter<'p, 'f>,
    task: Task<'p>,
    axis: u32,
    body: Body,
    /// What the table holds, and for which turn.
    slots: Vec<(Slot, u8)>,
    turn: u8,
    /// What each expression became, of those that vary.
    values: Vec<Option<Arg>>,
    /// The elements of the pairs that were loaded, by the access to the first ones.
    pairs: Vec<(u32, [Arg; 2])>,
    partial: bool,
}

impl<'p> Emitter<'p, '_> {
    /// Does a range of the innermost loop by a strip, if the machine has wide vectors and the pass is fit for it: gives the
    /// index behind the last element that is done.
    pub fn strip(&mut self, task: Task<'p>, range: Range, ends: &[End]) -> Option<Num> {
        let wide = self.wide()?;
        let length = self.sub(range.hi, range.lo);
        if ends.is_empty() {
            return None;
        }
        let mut builder = Builder::new(self, task, wide, ends.iter().map(|e| e.dtype))?;
        let roots = builder.roots(ends)?;
        builder.stores(ends, &[roots])?;
        if little(task, length, &builder.body) {
            return None;
        }
        let Builder { body, slots, partial, .. } = builder;
        self.past |= body.streams.iter().any(|s| s.past);
        let strip = assemble(&body, partial);
        let end = match strip.unit {
            1 => range.hi,
            unit => {
                let covered = self.round_down(length, unit);
                self.add(range.lo, covered)
            }
        };
        let table = self.table(task, &slots, None);
        self.call_strip(strip, table, Range { lo: range.lo, hi: end });
        Some(end)
    }

    /// Whether a strip can combine several turns of the loop around the innermost one into the same elements.
    pub fn has_strip_of_turns(&self, task: Task<'p>, end: End, count: u8) -> bool {
        self.body_of_turns(task, end, count).is_some()
    }

    /// Combines several turns of the loop around the innermost one into the same elements; for what
    /// [`has_strip_of_turns`](Self::has_strip_of_turns).
    pub fn strip_of_turns(&mut self, task: Task<'p>, range: Range, end: End, turns: Turns) {
        let Some((body, slots)) = self.body_of_turns(task, end, turns.count) else { return };
        let strip = assemble(&body, true);
        let table = self.table(task, &slots, Some(turns));
        self.call_strip(strip, table, range);
    }

    fn body_of_turns(&self, task: Task<'p>, end: End, count: u8) -> Option<(Body, Vec<(Slot, u8)>)> {
        let mut builder = Builder::new(self, task, self.wide()?, [end.dtype].into_iter())?;
        let mut roots = Vec::new();
        for turn in 0..count {
            builder.begin(turn);
            roots.push(builder.roots(&[end])?);
        }
        builder.stores(&[end], &roots)?;
        builder.partial.then_some((builder.body, builder.slots))
    }

    /// Reduces a range of the innermost loop by a strip, which also stores the elements if they are kept.
    pub fn fold_strip(&mut self, task: Task<'p>, range: Range, fold: Fold, kept: Option<u32>) -> Option<Value> {
        let wide = self.wide()?;
        let length = self.sub(range.hi, range.lo);
        if !task.vector {
            return None;
        }
        let root = task.roots()[0];
        let mut builder = Builder::new(self, task, wide, [fold.dtype].into_iter())?;
        builder.values([root].into_iter())?;
        if let Some(access) = kept {
            let end = End { root, to: To::Access(access), dtype: fold.dtype, combine: None };
            let x = builder.arg(root);
            builder.stores(&[end], &[vec![x]])?;
        }
        let slot = builder.slot(Slot::Constant(neutral(fold.kind, fold.dtype)));
        let x = builder.arg(root);
        let chunked = length.known().is_none_or(|n| n > CHUNK as i64);
        builder.body.reduce(fold.kind, fold.dtype, x, slot, chunked)?;
        let Builder { body, slots, partial, .. } = builder;
        // Some elements of a vector would be left, and their accumulators are in registers.
        if !partial || body.has_pairs() || little(task, length, &body) {
            return None;
        }
        let strip = assemble(&body, partial);
        let table = self.table(task, &slots, None);
        self.call_strip(strip, table, range);
        Some(self.b.ins().stack_load(types::I64, scalar::register(fold.dtype), table, 8 * slot as i32))
    }

    /// Whether strips are of AVX-512; none if there are none.
    fn wide(&self) -> Option<bool> {
        match self.target.width {
            Width::Portable => None,
            Width::Avx2 => Some(false),
            Width::Avx512 => Some(true),
        }
    }

    /// Makes the table of a strip.
    fn table(&mut self, task: Task<'p>, slots: &[(Slot, u8)], turns: Option<Turns>) -> StackSlot {
        let size = 8 * slots.len().max(1) as u32;
        let table = self.b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, size, 3));
        for turn in 0..turns.map_or(1, |t| t.count) {
            self.scope(|e| {
                if let Some(turns) = turns {
                    let index = e.add(turns.first, Num::Const(i64::from(turn) * turns.step));
                    e.enter(task, 0, turns.axis, index);
                }
                for (i, &(slot, _)) in slots.iter().enumerate().filter(|(_, (_, of))| *of == turn) {
                    let value = e.slot_value(task.place(), slot);
                    e.b.ins().stack_store(types::I64, value, table, 8 * i as i32);
                }
            });
        }
        table
    }

    fn slot_value(&mut self, place: &Placement, slot: Slot) -> Value {
        match slot {
            Slot::Access(access) => self.start(place, access),
            Slot::Address(address) => self.reg(address),
            Slot::Constant(literal) => scalar::literal(&mut self.b, literal),
            Slot::Number(id) => {
                let x = self.scalar(place, id);
                match self.exprs.dtype(id) {
                    DType::Bool => {
                        let wide = self.b.ins().uextend(types::I64, x);
                        self.b.ins().ineg(wide)
                    }
                    _ => x,
                }
            }
        }
    }

    /// The address of the element at index 0 of the innermost loop.
    fn start(&mut self, place: &Placement, access: u32) -> Value {
        self.advance_pointer(place, access);
        self.pointers[access as usize].expect("it was just made").0
    }

    fn call_strip(&mut self, strip: Strip, table: StackSlot, range: Range) {
        // A callee that is not one of the platform's own: Cranelift saves what it may change.
        let mut signature = Signature::new(CallConv::SystemV);
        signature.params = vec![AbiParam::new(types::I64); 3];
        let signature = self.b.import_signature(signature);
        let index = self.strips.len() as u32;
        let name = self.b.func.declare_imported_user_function(UserExternalName { namespace: 0, index });
        let data = ExtFuncData { name: ExternalName::user(name), signature, colocated: true, patchable: false };
        let function = self.b.import_function(data);
        let (lo, hi) = (self.reg(range.lo), self.reg(range.hi));
        let table = self.b.ins().stack_addr(types::I64, table, 0);
        self.b.ins().call(function, &[table, lo, hi]);
        self.strips.push(strip);
    }
}

/// Whether there is too little to do for a call.
fn little(task: Task, length: Num, body: &Body) -> bool {
    let plan = task.plan;
    // A range of a parallel axis is mostly the whole of it.
    let extent = task.of.inner.and_then(|a| plan.low.axes[a as usize].extent.as_const());
    let block = plan.block.filter(|_| task.column.is_some());
    let elements = [length.known(), extent, block, plan.tile].into_iter().flatten().min();
    elements.is_some_and(|n| n * (body.insts.len() as i64) < LITTLE[usize::from(body.wide)])
}

impl<'e, 'p, 'f> Builder<'e, 'p, 'f> {
    /// `dtypes` are those of the results.
    fn new(
        emitter: &'e Emitter<'p, 'f>,
        task: Task<'p>,
        wide: bool,
        dtypes: impl Iterator<Item = DType>,
    ) -> Option<Builder<'e, 'p, 'f>> {
        let place = task.place();
        let exprs = emitter.exprs;
        let varying = || place.needed.iter().filter(|&&id| place.varies(id));
        let quotients = wide && varying().any(|&id| divisor(exprs, exprs.get(id)).is_some());
        let long = quotients || varying().map(|&id| exprs.dtype(id)).chain(dtypes).any(|d| class_of(d) == Class::Long);
        let lanes = match (wide, long) {
            (true, false) => 16,
            (true, true) | (false, false) => 8,
            (false, true) => 4,
        };
        let values = vec![None; exprs.len()];
        let axis = task.of.inner?;
        let body = Body::new(wide, lanes);
        Some(Builder { emitter, task, axis, body, slots: Vec::new(), turn: 0, values, pairs: Vec::new(), partial: true })
    }

    /// Computes all values, before anything is stored: what a store writes may be what a value is loaded from.
    fn values(&mut self, roots: impl DoubleEndedIterator<Item = ExprId>) -> Option<()> {
        for id in self.order(roots) {
            let arg = self.value(id)?;
            self.values[id.0 as usize] = Some(arg);
        }
        Some(())
    }

    /// Computes what goes to `ends` in the current turn.
    fn roots(&mut self, ends: &[End]) -> Option<Vec<Arg>> {
        let roots: Vec<ExprId> = ends.iter().map(|e| self.unrounded(e)).collect();
        self.values(roots.iter().copied())?;
        Some(roots.into_iter().map(|root| self.arg(root)).collect())
    }

    /// What is stored to an end, before it is rounded if storing does that.
    fn unrounded(&self, end: &End) -> ExprId {
        let exprs = self.emitter.exprs;
        let node = exprs.get(end.root);
        let rounds = node.op == ScalarOp::Cast && (node.dtype, end.dtype) == (DType::F16, DType::F16) && end.combine.is_none();
        if rounds && exprs.dtype(node.args[0]) == DType::F32 { node.args[0] } else { end.root }
    }

    /// Goes on to another turn, of which nothing is computed yet.
    fn begin(&mut self, turn: u8) {
        self.turn = turn;
        self.values.fill(None);
        self.pairs.clear();
    }

    /// Stores to each end what its root was in the first turn, combined with those of the others in order.
    fn stores(&mut self, ends: &[End], turns: &[Vec<Arg>]) -> Option<()> {
        self.turn = 0;
        for (i, end) in ends.iter().enumerate() {
            let slot = match end.to {
                To::Access(access) if self.walks(access, Dim::ONE) => Slot::Access(access),
                To::Access(access) => {
                    self.store_in_pair(ends, &turns[0], access)?;
                    continue;
                }
                To::Address(address) => Slot::Address(address),
            };
            let stream = self.stream(slot, end.dtype, false);
            let x = match end.combine {
                None => turns[0][i],
                Some(op) => {
                    let mut sum = self.body.load(stream);
                    for roots in turns {
                        sum = self.body.apply(op, end.dtype, end.dtype, &[sum, roots[i]], None)?;
                    }
                    sum
                }
            };
            self.body.store(stream, x);
            if let (To::Access(access), None) = (end.to, end.combine) {
                self.past(stream, access);
            }
        }
        Some(())
    }

    /// Stores the pairs whose first elements an access goes to; those of the second elements are stored with them.
    fn store_in_pair(&mut self, ends: &[End], roots: &[Arg], access: u32) -> Option<()> {
        let others = ends.iter().filter_map(|e| if let To::Access(a) = e.to { Some(a) } else { None });
        let pair = self.pair_of(access, others)?;
        let stored = |a: u32| {
            let to = |e: &End| e.combine.is_none() && matches!(e.to, To::Access(b) if a == b);
            ends.iter().position(to).map(|i| roots[i])
        };
        let values = [stored(pair[0])?, stored(pair[1])?];
        if access == pair[0] {
            let stream = self.pair_stream(access);
            self.body.store_pair(stream, values);
            self.past(stream, access);
        }
        Some(())
    }

    /// The expressions that vary, each after its arguments, those that need more registers first.
    fn order(&self, roots: impl DoubleEndedIterator<Item = ExprId>) -> Vec<ExprId> {
        let (exprs, place) = (self.emitter.exprs, self.task.place());
        let mut need = vec![0u32; exprs.len()];
        for &id in place.needed.iter().filter(|&&id| place.varies(id)) {
            let mut of_args: SmallVec<[u32; 3]> = self.args(id).iter().map(|a| need[a.0 as usize]).collect();
            of_args.sort_unstable_by(|a, b| b.cmp(a));
            need[id.0 as usize] = of_args.iter().enumerate().map(|(i, n)| n + i as u32).max().unwrap_or(0).max(1);
        }
        let mut order = Vec::new();
        let mut state = vec![0u8; exprs.len()];
        let mut open: Vec<ExprId> = roots.rev().filter(|&r| place.varies(r)).collect();
        while let Some(&id) = open.last() {
            match std::mem::replace(&mut state[id.0 as usize], 2) {
                0 => {
                    state[id.0 as usize] = 1;
                    let mut args = self.args(id);
                    args.retain(|a| place.varies(*a) && state[a.0 as usize] == 0);
                    args.sort_by_key(|a| need[a.0 as usize]);
                    open.extend(args);
                }
                1 => {
                    order.push(id);
                    open.pop();
                }
                _ => {
                    open.pop();
                }
            }
        }
        order
    }

    /// The expressions that the value of one is made from; of an element in memory, those that say where it is.
    fn args(&self, id: ExprId) -> SmallVec<[ExprId; 3]> {
        if let Some(access) = self.emitter.access_of(id) {
            let terms = &self.emitter.accesses[access as usize].position.terms;
            let atoms = terms.iter().map(|(atom, _)| *atom);
            return atoms.filter(|&a| !matches!(self.emitter.exprs.get(a).op, ScalarOp::Axis(_))).collect();
        }
        match self.scaled(id) {
            Some((x, n)) => SmallVec::from_slice(&[x, n]),
            None => self.emitter.exprs.get(id).args.iter().copied().collect(),
        }
    }

    fn scaled(&self, id: ExprId) -> Option<(ExprId, ExprId)> {
        if self.body.wide { scaled(self.emitter.exprs, id) } else { None }
    }

    /// A value that varies, or that is the same for all elements.
    fn arg(&mut self, id: ExprId) -> Arg {
        if let Some(arg) = self.values[id.0 as usize] {
            return arg;
        }
        let exprs = self.emitter.exprs;
        if let Some(literal) = exprs.literal(id) {
            return self.body.literal(literal);
        }
        let slot = Arg::Slot(self.slot(Slot::Number(id)));
        if exprs.dtype(id) == DType::Bool { self.body.mask_of(slot) } else { slot }
    }

    fn slot(&mut self, slot: Slot) -> u32 {
        let turn = if matches!(slot, Slot::Access(_) | Slot::Number(_)) { self.turn } else { 0 };
        let found = self.slots.iter().position(|s| *s == (slot, turn));
        found.unwrap_or_else(|| {
            self.slots.push((slot, turn));
            self.slots.len() - 1
        }) as u32
    }

    fn stream(&mut self, slot: Slot, dtype: DType, pair: bool) -> u32 {
        let stream = Stream { slot: self.slot(slot), dtype, pair, past: false };
        self.partial &= partial_vectors(self.body.wide, &stream);
        let streams = &mut self.body.streams;
        let found = streams.iter().position(|s| *s == stream);
        found.unwrap_or_else(|| {
            streams.push(stream);
            streams.len() - 1
        }) as u32
    }

    /// Lets what is stored to a stream go past the caches if it would be of no use there.
    fn past(&mut self, stream: u32, access: u32) {
        let Access { base: Base::Param(param), size: 4.., .. } = self.emitter.accesses[access as usize] else { return };
        let (footprint, caches) = (&self.task.plan.footprint, self.emitter.target.caches);
        let large = |&(p, bytes, used): &(u32, usize, Use)| p == param && used == Use::Write && bytes > caches / 8;
        let all: usize = footprint.iter().map(|(_, bytes, _)| bytes).sum();
        self.body.streams[stream as usize].past = all > caches && footprint.iter().any(large);
    }

    fn pair_stream(&mut self, first: u32) -> u32 {
        self.stream(Slot::Access(first), self.emitter.accesses[first as usize].dtype, true)
    }

    /// Whether an access goes through memory by steps of so many elements.
    fn walks(&self, access: u32, step: Dim) -> bool {
        let (place, exprs) = (self.task.place(), self.emitter.exprs);
        let terms = &self.emitter.accesses[access as usize].position.terms;
        let others = terms.iter().any(|&(atom, _)| exprs.get(atom).op != ScalarOp::Axis(self.axis) && place.varies(atom));
        let steps = match self.emitter.walk(place, access, self.axis) {
            Walk::Contiguous => step == Dim::ONE,
            Walk::Strided(stride) => step == stride,
            Walk::Scattered => false,
        };
        steps && !others
    }

    /// The accesses to the first and second elements of pairs, if this is one of them and the other is in `others`.
    fn pair_of(&self, access: u32, mut others: impl Iterator<Item = u32>) -> Option<[u32; 2]> {
        let all = &self.emitter.accesses;
        let own = &all[access as usize];
        if own.size != 4 || !self.walks(access, Dim::constant(2)) {
            return None;
        }
        others.find_map(|other| {
            let (base, dtype) = (&all[other as usize].base, all[other as usize].dtype);
            let ahead = all[other as usize].position.clone().plus(&own.position, Dim::constant(-1));
            match ahead.constant.as_const() {
                Some(1) if *base == own.base && dtype == own.dtype && ahead.terms.is_empty() => Some([access, other]),
                Some(-1) if *base == own.base && dtype == own.dtype && ahead.terms.is_empty() => Some([other, access]),
                _ => None,
            }
        })
    }

    /// The elements of an access. None: they have no form here.
    fn loaded(&mut self, access: u32) -> Option<Arg> {
        if self.walks(access, Dim::ONE) {
            let stream = self.stream(Slot::Access(access), self.emitter.accesses[access as usize].dtype, false);
            return Some(self.body.load(stream));
        }
        let place = self.task.place();
        let others = place.needed.iter().filter(|&&id| place.varies(id)).filter_map(|&id| self.emitter.access_of(id));
        let Some([first, _]) = self.pair_of(access, others) else { return self.gathered(access) };
        let known = self.pairs.iter().find(|(a, _)| *a == first).map(|(_, pair)| *pair);
        let pair = known.unwrap_or_else(|| {
            let stream = self.pair_stream(first);
            let pair = self.body.load_pair(stream);
            self.pairs.push((first, pair));
            pair
        });
        Some(pair[usize::from(access != first)])
    }

    /// The elements of an access that lie anywhere.
    fn gathered(&mut self, access: u32) -> Option<Arg> {
        let (place, exprs) = (self.task.place(), self.emitter.exprs);
        let Access { dtype, size, ref position, .. } = self.emitter.accesses[access as usize];
        if !self.body.wide || !matches!(size, 4 | 8) {
            return None;
        }
        let (mut step, mut indices) = (0, SmallVec::<[(ExprId, i64); 2]>::new());
        for &(atom, coefficient) in position.terms.iter().filter(|(atom, _)| place.varies(*atom)) {
            let coefficient = coefficient.as_const()?;
            match exprs.get(atom).op {
                ScalarOp::Axis(a) if a == self.axis => step = coefficient,
                ScalarOp::Axis(_) => return None,
                _ if exprs.dtype(atom) == DType::I64 => indices.push((atom, coefficient)),
                _ => return None,
            }
        }
        let slot = self.slot(Slot::Access(access));
        if indices.is_empty() {
            return self.body.gather_steps(dtype, slot, step);
        }
        let mut distances = None;
        let own = (step != 0).then(|| (self.body.index(), step));
        let others: SmallVec<[(Arg, i64); 2]> = indices.iter().map(|&(atom, factor)| (self.arg(atom), factor)).collect();
        for (x, factor) in others.into_iter().chain(own) {
            let part = self.body.times(x, factor);
            distances = Some(match distances {
                None => part,
                Some(sum) => self.body.plain(&ADD_Q, Class::Long, &[sum, part]),
            });
        }
        Some(self.body.gather_at(dtype, slot, distances?))
    }

    fn value(&mut self, id: ExprId) -> Option<Arg> {
        let exprs = self.emitter.exprs;
        let node = exprs.get(id);
        if let Some(access) = self.emitter.access_of(id) {
            return self.loaded(access);
        }
        match node.op {
            ScalarOp::Axis(a) if a == self.axis => return Some(self.body.index()),
            ScalarOp::Axis(_) | ScalarOp::Load(_) | ScalarOp::Local(_) | ScalarOp::Literal(_) => return None,
            _ => {}
        }
        if let Some((x, n)) = self.scaled(id) {
            let (x, n) = (self.arg(x), self.arg(n));
            let (op, class) = match node.dtype {
                DType::F64 => (&SCALEF_PD, Class::Long),
                _ => (&SCALEF_PS, Class::Word),
            };
            return Some(self.body.plain(op, class, &[x, n]));
        }
        if matches!(node.op, ScalarOp::Min | ScalarOp::Max)
            && node.dtype.is_float()
            && let Some((i, literal)) = (0..2).find_map(|i| exprs.literal(node.args[i]).map(|l| (i, l)))
        {
            let x = self.arg(node.args[1 - i]);
            if let Some(result) = self.body.extremum_with(node.op, literal, x) {
                return Some(result);
            }
        }
        if let Some(by) = divisor(exprs, node).filter(|_| self.body.wide) {
            let x = self.arg(node.args[0]);
            return Some(self.body.divided(node.op, node.dtype, x, by));
        }
        let count = match node.op {
            ScalarOp::Shl | ScalarOp::Shr => exprs.literal(node.args[1]).and_then(|l| u8::try_from(l.as_i64()).ok()),
            _ => None,
        };
        let used = if count.is_some() { 1 } else { node.args.len() };
        let args: SmallVec<[Arg; 3]> = node.args[..used].iter().map(|&a| self.arg(a)).collect();
        let first = if node.op == ScalarOp::Select { node.args[1] } else { node.args[0] };
        self.body.apply(node.op, exprs.dtype(first), node.dtype, &args, count)
    }
}
