//! The state of code generation for one function: the Cranelift builder, integer arithmetic that folds constants,
//! loops, and what has been computed so far at which loop depth.

use super::passes::Range;
use super::place::{Access, Base, Placement};
use super::scalar;
use super::strip::Strip;
use super::target::Target;
use super::vector::Group;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{AbiParam, Block, BlockArg, InstBuilder, Signature, Value, types};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::FunctionBuilder;
use igneous_ir::dim::{Atom, Dim, Symbol};
use igneous_ir::error::{Error, Result};
use igneous_ir::scalar::{ExprId, Exprs};
use std::collections::HashMap;

/// An integer that is known now or when the code runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Num {
    Const(i64),
    Reg(Value),
}

impl Num {
    pub fn known(self) -> Option<i64> {
        match self {
            Num::Const(n) => Some(n),
            Num::Reg(_) => None,
        }
    }
}

impl From<i64> for Num {
    fn from(n: i64) -> Num {
        Num::Const(n)
    }
}

/// A condition that is known now or when the code runs (not 0).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Condition {
    Known(bool),
    Reg(Value),
}

/// The arguments of a [`KernelFn`](igneous_runtime::program::KernelFn).
#[derive(Clone, Copy)]
pub(super) struct Arguments {
    pub params: Value,
    pub dims: Value,
    pub bounds: Value,
    pub scratch: Value,
    pub error: Value,
}

/// A change to what is known, undone when the code it was made in ends.
enum Undo {
    Value(ExprId),
    Splat(ExprId),
    Pointer(u32, Option<(Value, u16)>),
    Address(u32, Value),
    Axis(u32, Option<Num>),
}

/// Generates the body of one function.
pub(super) struct Emitter<'p, 'f> {
    pub b: FunctionBuilder<'f>,
    pub target: Target,
    pub exprs: &'p Exprs,
    pub accesses: &'p [Access],
    pub arguments: Arguments,
    /// The current index along each axis.
    pub axes: Vec<Option<Num>>,
    /// The function's own scratch memory.
    pub scratch: Value,
    /// Locals that are one number per point and live in a register.
    pub locals: HashMap<u32, Value>,
    /// Where rebased scratch arrays begin: the index of the first point of the block.
    pub block_start: Num,
    /// The planned depth of the code being emitted.
    pub depth: u16,
    /// The depth of the loop over blocks of points, which per-point arrays are relative to.
    pub block_depth: u16,
    pub access_of_load: &'p HashMap<ExprId, u32>,
    /// Scalars computed so far, by expression.
    pub values: Vec<Option<Value>>,
    /// Groups that are the same for every iteration of the innermost loop.
    pub splats: Vec<Option<Group>>,
    /// Groups of the iteration being emitted.
    pub groups: Vec<Option<Group>>,
    /// The address of each access without what varies deeper than the depth that is given with it.
    pub pointers: Vec<Option<(Value, u16)>>,
    /// The address of each contiguous access at an index of the innermost loop.
    addresses: HashMap<(u32, Value), Value>,
    /// The strips that the function calls, by the index of their names.
    pub strips: Vec<Strip>,
    /// Whether a strip stores past the caches.
    pub past: bool,
    symbols: &'p [Symbol],
    dims: HashMap<Dim, Num>,
    undo: Vec<Undo>,
    /// How many scopes are open.
    nesting: u32,
}

/// The signature of a kernel function.
pub(super) fn signature(convention: CallConv) -> Signature {
    let mut signature = Signature::new(convention);
    signature.params = vec![AbiParam::new(types::I64); 5];
    signature
}

impl<'p, 'f> Emitter<'p, 'f> {
    pub fn new(
        mut b: FunctionBuilder<'f>,
        target: Target,
        exprs: &'p Exprs,
        accesses: &'p [Access],
        access_of_load: &'p HashMap<ExprId, u32>,
        symbols: &'p [Symbol],
    ) -> Emitter<'p, 'f> {
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        let p = b.block_params(entry);
        let arguments = Arguments { params: p[0], dims: p[1], bounds: p[2], scratch: p[3], error: p[4] };
        Emitter {
            b,
            target,
            exprs,
            accesses,
            arguments,
            scratch: arguments.scratch,
            axes: vec![None; exprs.axes.len()],
            locals: HashMap::new(),
            block_start: Num::Const(0),
            depth: 0,
            block_depth: 0,
            access_of_load,
            values: vec![None; exprs.len()],
            splats: vec![None; exprs.len()],
            groups: vec![None; exprs.len()],
            pointers: vec![None; accesses.len()],
            addresses: HashMap::new(),
            strips: Vec::new(),
            past: false,
            symbols,
            dims: HashMap::new(),
            undo: Vec::new(),
            nesting: 0,
        }
    }

    /// Ends the function; gives the strips that it calls.
    pub fn finish(mut self, config: cranelift_codegen::isa::TargetFrontendConfig) -> Vec<Strip> {
        if self.past {
            // What was stored past the caches is seen by other threads only behind this.
            self.b.ins().fence();
        }
        self.b.ins().return_(&[]);
        self.b.seal_all_blocks();
        self.b.finalize(config);
        self.strips
    }

    /// The value in a register.
    pub fn reg(&mut self, n: Num) -> Value {
        match n {
            Num::Const(n) => self.b.ins().iconst(types::I64, n),
            Num::Reg(v) => v,
        }
    }

    pub fn add(&mut self, x: Num, y: Num) -> Num {
        match (x, y) {
            (Num::Const(x), Num::Const(y)) => Num::Const(x.wrapping_add(y)),
            (Num::Const(0), n) | (n, Num::Const(0)) => n,
            (Num::Const(c), Num::Reg(v)) | (Num::Reg(v), Num::Const(c)) => Num::Reg(self.b.ins().iadd_imm_s(v, c)),
            (Num::Reg(x), Num::Reg(y)) => Num::Reg(self.b.ins().iadd(x, y)),
        }
    }

    pub fn sub(&mut self, x: Num, y: Num) -> Num {
        match (x, y) {
            (n, Num::Const(c)) => self.add(n, Num::Const(c.wrapping_neg())),
            (x, Num::Reg(y)) => {
                let x = self.reg(x);
                Num::Reg(self.b.ins().isub(x, y))
            }
        }
    }

    pub fn mul(&mut self, x: Num, y: Num) -> Num {
        match (x, y) {
            (Num::Const(x), Num::Const(y)) => Num::Const(x.wrapping_mul(y)),
            (Num::Const(0), _) | (_, Num::Const(0)) => Num::Const(0),
            (Num::Const(1), n) | (n, Num::Const(1)) => n,
            (Num::Const(c), Num::Reg(v)) | (Num::Reg(v), Num::Const(c)) if c > 0 && c & (c - 1) == 0 => {
                Num::Reg(self.b.ins().ishl_imm_u(v, i64::from(c.trailing_zeros())))
            }
            (Num::Const(c), Num::Reg(v)) | (Num::Reg(v), Num::Const(c)) => Num::Reg(self.b.ins().imul_imm_s(v, c)),
            (Num::Reg(x), Num::Reg(y)) => Num::Reg(self.b.ins().imul(x, y)),
        }
    }

    /// The largest multiple of a power of two that is not above `x`.
    pub fn round_down(&mut self, x: Num, power: i64) -> Num {
        match x {
            Num::Const(x) => Num::Const(x & -power),
            Num::Reg(x) if power > 1 => Num::Reg(self.b.ins().band_imm_s(x, -power)),
            x => x,
        }
    }

    pub fn min(&mut self, x: Num, y: Num) -> Num {
        self.pick(x, y, i64::min, IntCC::SignedLessThan)
    }

    pub fn max(&mut self, x: Num, y: Num) -> Num {
        self.pick(x, y, i64::max, IntCC::SignedGreaterThan)
    }

    fn pick(&mut self, x: Num, y: Num, known: fn(i64, i64) -> i64, condition: IntCC) -> Num {
        if let (Num::Const(x), Num::Const(y)) = (x, y) {
            return Num::Const(known(x, y));
        }
        let (x, y) = (self.reg(x), self.reg(y));
        let c = self.b.ins().icmp(condition, x, y);
        Num::Reg(self.b.ins().select(c, x, y))
    }

    /// `⌊x / y⌋` for `y > 0`; any number for other `y`, but no trap.
    pub fn div(&mut self, x: Num, y: Num) -> Num {
        match (x, y) {
            (Num::Const(x), Num::Const(y)) => Num::Const(x.checked_div_euclid(y).unwrap_or(0)),
            (n, Num::Const(1)) => n,
            (Num::Reg(x), Num::Const(d)) if d > 0 => Num::Reg(scalar::quotient_by(&mut self.b, x, d)),
            (x, y) => {
                let (x, y) = (self.reg(x), self.reg(y));
                Num::Reg(scalar::quotient(&mut self.b, false, x, y))
            }
        }
    }

    /// Whether `x < y`.
    pub fn less(&mut self, x: Num, y: Num) -> Condition {
        if let (Num::Const(x), Num::Const(y)) = (x, y) {
            return Condition::Known(x < y);
        }
        let (x, y) = (self.reg(x), self.reg(y));
        Condition::Reg(self.b.ins().icmp(IntCC::SignedLessThan, x, y))
    }

    /// The value of a dimension.
    pub fn dim(&mut self, d: Dim) -> Num {
        if let Some(n) = d.as_const() {
            return Num::Const(n);
        }
        if let Some(&n) = self.dims.get(&d) {
            return n;
        }
        let mut sum = Num::Const(0);
        for term in d.terms() {
            let mut product = Num::Const(term.coefficient);
            for atom in term.atoms {
                let value = match atom {
                    Atom::Symbol(s) => match self.symbols.iter().position(|&t| t == s) {
                        Some(i) => Num::Reg(self.b.ins().load(types::I64, scalar::memory(), self.arguments.dims, 8 * i as i32)),
                        // `check_symbols` refuses such kernels before any code is emitted.
                        None => Num::Const(0),
                    },
                    Atom::FloorDiv(x, y) => {
                        let (x, y) = (self.dim(x), self.dim(y));
                        self.div(x, y)
                    }
                    Atom::Rem(x, y) => {
                        let (x, y) = (self.dim(x), self.dim(y));
                        let q = self.div(x, y);
                        let p = self.mul(q, y);
                        self.sub(x, p)
                    }
                    Atom::Max(x, y) => {
                        let (x, y) = (self.dim(x), self.dim(y));
                        self.max(x, y)
                    }
                    Atom::Min(x, y) => {
                        let (x, y) = (self.dim(x), self.dim(y));
                        self.min(x, y)
                    }
                };
                product = self.mul(product, value);
            }
            sum = self.add(sum, product);
        }
        // Only what the entry block computes is there everywhere.
        if self.nesting == 0 {
            self.dims.insert(d, sum);
        }
        sum
    }

    /// The range of the `n`-th axis of the box.
    pub fn bounds(&mut self, n: usize) -> Range {
        let mut at = |i: usize| Num::Reg(self.b.ins().load(types::I64, scalar::memory(), self.arguments.bounds, 8 * i as i32));
        Range { lo: at(2 * n), hi: at(2 * n + 1) }
    }

    /// Runs `body`; what it computes is forgotten after, and the depth is what it was.
    pub fn scope<R>(&mut self, body: impl FnOnce(&mut Self) -> R) -> R {
        let (mark, depth) = (self.undo.len(), self.depth);
        self.nesting += 1;
        let result = body(self);
        self.nesting -= 1;
        self.depth = depth;
        while self.undo.len() > mark {
            match self.undo.pop().expect("longer than the mark") {
                Undo::Value(id) => self.values[id.0 as usize] = None,
                Undo::Splat(id) => self.splats[id.0 as usize] = None,
                Undo::Pointer(i, old) => self.pointers[i as usize] = old,
                Undo::Address(access, index) => {
                    self.addresses.remove(&(access, index));
                }
                Undo::Axis(a, old) => self.axes[a as usize] = old,
            }
        }
        result
    }

    /// Remembers the value of an expression until the scope ends.
    pub fn know(&mut self, id: ExprId, value: Value) {
        self.values[id.0 as usize] = Some(value);
        self.undo.push(Undo::Value(id));
    }

    /// Remembers a group until the scope ends.
    pub fn know_splat(&mut self, id: ExprId, group: Group) {
        self.splats[id.0 as usize] = Some(group);
        self.undo.push(Undo::Splat(id));
    }

    /// Sets the address of what the function is given, less what index 0 of the vector axis would lie before it.
    pub fn give(&mut self, row: Value) {
        let given = (0..self.accesses.len() as u32).filter(|&i| self.accesses[i as usize].base == Base::Given);
        given.collect::<Vec<_>>().into_iter().for_each(|i| self.know_pointer(i, row));
    }

    fn know_pointer(&mut self, access: u32, pointer: Value) {
        let old = self.pointers[access as usize].replace((pointer, self.depth));
        self.undo.push(Undo::Pointer(access, old));
    }

    /// Sets the index along an axis until the scope ends.
    pub fn set_axis(&mut self, axis: u32, index: Num) {
        let old = self.axes[axis as usize].replace(index);
        self.undo.push(Undo::Axis(axis, old));
    }

    /// Jumps to code that `body` emits if `condition` holds, and goes on behind it with the values it returns, or with
    /// `otherwise` if it did not run.
    pub fn when(&mut self, condition: Condition, otherwise: &[Value], body: impl FnOnce(&mut Self) -> Vec<Value>) -> Vec<Value> {
        let condition = match condition {
            Condition::Known(true) => return body(self),
            Condition::Known(false) => return otherwise.to_vec(),
            Condition::Reg(condition) => condition,
        };
        let (then, exit) = (self.b.create_block(), self.b.create_block());
        let results = self.block_params(exit, otherwise);
        self.b.ins().brif(condition, then, &[], exit, &block_args(otherwise));
        self.b.switch_to_block(then);
        let made = self.scope(body);
        self.b.ins().jump(exit, &block_args(&made));
        self.b.switch_to_block(exit);
        results
    }

    /// Runs `body` for `lo, lo + step, …` below `hi`, passing the values it returns on to its next turn; gives the last.
    pub fn repeat(
        &mut self,
        lo: Num,
        hi: Num,
        step: i64,
        carried: &[Value],
        body: impl FnOnce(&mut Self, Num, &[Value]) -> Vec<Value>,
    ) -> Vec<Value> {
        let enters = self.less(lo, hi);
        if enters == Condition::Known(false) {
            return carried.to_vec();
        }
        if let (Some(l), Some(h)) = (lo.known(), hi.known())
            && h <= l + step
        {
            return self.scope(|e| body(e, lo, carried));
        }
        let (inside, exit) = (self.b.create_block(), self.b.create_block());
        let results = self.block_params(exit, carried);
        let index = self.b.append_block_param(inside, types::I64);
        let turned = self.block_params(inside, carried);
        let first = self.reg(lo);
        let start: Vec<Value> = [first].into_iter().chain(carried.iter().copied()).collect();
        match enters {
            Condition::Reg(condition) => self.b.ins().brif(condition, inside, &block_args(&start), exit, &block_args(carried)),
            Condition::Known(_) => self.b.ins().jump(inside, &block_args(&start)),
        };
        self.b.switch_to_block(inside);
        let next_carried = self.scope(|e| body(e, Num::Reg(index), &turned));
        let next = self.b.ins().iadd_imm_s(index, step);
        let limit = self.reg(hi);
        let again = self.b.ins().icmp(IntCC::SignedLessThan, next, limit);
        let turn: Vec<Value> = [next].into_iter().chain(next_carried.iter().copied()).collect();
        self.b.ins().brif(again, inside, &block_args(&turn), exit, &block_args(&next_carried));
        self.b.switch_to_block(exit);
        results
    }

    /// Parameters of a block of the types of these values.
    pub fn block_params(&mut self, block: Block, like: &[Value]) -> Vec<Value> {
        let types: Vec<_> = like.iter().map(|&v| self.b.func.dfg.value_type(v)).collect();
        types.into_iter().map(|ty| self.b.append_block_param(block, ty)).collect()
    }

    /// Computes all that `place` needs and the current depth allows.
    pub fn prepare(&mut self, place: &Placement) {
        for &id in &place.needed {
            let ready = place.depth(id) <= self.depth && self.values[id.0 as usize].is_none();
            if ready && !self.is_free(id) {
                self.scalar(place, id);
            }
        }
        for &access in &place.accesses {
            self.advance_pointer(place, access);
        }
    }

    /// Adds to the address of an access what has become known since it was last touched.
    pub fn advance_pointer(&mut self, place: &Placement, access: u32) {
        let description = &self.accesses[access as usize];
        let waits = match description.base {
            Base::Scratch { per_point, .. } => per_point && self.depth < self.block_depth,
            Base::Given => true,
            Base::Param(_) => false,
        };
        if waits {
            return;
        }
        let (mut address, done) = match self.pointers[access as usize] {
            Some((pointer, done)) => (Num::Reg(pointer), Some(done)),
            None => (self.base(description), None),
        };
        let mut changed = done.is_none();
        for &(atom, coefficient) in &description.position.terms {
            let depth = place.depth(atom);
            // The innermost loop adds its own terms to each address.
            if depth > self.depth || depth >= place.inner || done.is_some_and(|d| depth <= d) {
                continue;
            }
            changed = true;
            let step = self.term(place, atom, coefficient, description.size);
            address = self.add(address, step);
        }
        if changed {
            let pointer = self.reg(address);
            self.know_pointer(access, pointer);
        }
    }

    /// The address of element `index` of an access whose element 0 is at `start`, the same value for the same index.
    pub fn contiguous(&mut self, access: u32, start: Num, index: Value, size: i64) -> Value {
        if let Some(&address) = self.addresses.get(&(access, index)) {
            return address;
        }
        let step = self.mul(Num::Reg(index), Num::Const(size));
        let address = self.add(start, step);
        let address = self.reg(address);
        self.addresses.insert((access, index), address);
        self.undo.push(Undo::Address(access, index));
        address
    }

    /// `atom · coefficient · size` in bytes.
    pub fn term(&mut self, place: &Placement, atom: ExprId, coefficient: Dim, size: u32) -> Num {
        let index = self.index(place, atom);
        let stride = self.dim(coefficient * Dim::constant(size.into()));
        self.mul(index, stride)
    }

    fn base(&mut self, access: &Access) -> Num {
        let size = Dim::constant(access.size.into());
        let (base, constant) = match access.base {
            Base::Param(p) => {
                let pointer = self.b.ins().load(types::I64, scalar::memory(), self.arguments.params, 8 * p as i32);
                (Num::Reg(pointer), access.position.constant * size)
            }
            Base::Scratch { offset, .. } => (Num::Reg(self.scratch), offset + access.position.constant * size),
            Base::Given => unreachable!("its address is set by `give`"),
        };
        let constant = self.dim(constant);
        let base = self.add(base, constant);
        match access.base {
            Base::Scratch { per_point: true, .. } => {
                let start = self.mul(self.block_start, Num::Const(access.size.into()));
                self.sub(base, start)
            }
            _ => base,
        }
    }
}

/// The arguments of a jump.
pub(super) fn block_args(values: &[Value]) -> Vec<BlockArg> {
    values.iter().map(|&v| v.into()).collect()
}

/// Checks that every symbol that `dims` mention has a value at run time.
pub(super) fn check_symbols(dims: impl IntoIterator<Item = Dim>, symbols: &[Symbol]) -> Result<()> {
    let mut used = Vec::new();
    for d in dims {
        if d.is_invalid() {
            return Err(Error::new("a kernel has an invalid dimension"));
        }
        d.collect_symbols(&mut used);
    }
    match used.iter().find(|s| !symbols.contains(s)) {
        Some(s) => Err(Error::new(format!("a kernel uses the dimension `{}`, which no input gives", s.name))),
        None => Ok(()),
    }
}
