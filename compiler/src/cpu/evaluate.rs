//! The values of expressions: scalars at any depth, groups of four elements in the innermost loop.

use super::emitter::{Emitter, Num};
use super::place::Placement;
use super::scalar;
use super::vector::{self, Group, LANES};
use cranelift_codegen::ir::{InstBuilder, Value, types};
use igneous_ir::dim::Dim;
use igneous_ir::scalar::{ExprId, ScalarOp};
use igneous_ir::types::DType;
use smallvec::SmallVec;

/// How the elements of a group lie in memory.
pub(super) enum Walk {
    /// One after the other.
    Contiguous,
    /// At a constant distance, in elements.
    Strided(Dim),
    /// Anywhere.
    Scattered,
}

/// Four consecutive elements along an axis: the first is at `index + offset`.
#[derive(Clone, Copy)]
pub(super) struct Four {
    pub axis: u32,
    pub index: Value,
    pub offset: i64,
}

impl Emitter<'_, '_> {
    /// Whether computing `id` costs nothing worth keeping.
    pub fn is_free(&self, id: ExprId) -> bool {
        matches!(self.exprs.get(id).op, ScalarOp::Literal(_) | ScalarOp::Axis(_))
    }

    /// An `i64` expression as an integer that may be known.
    pub fn index(&mut self, place: &Placement, id: ExprId) -> Num {
        match self.exprs.get(id).op {
            ScalarOp::Axis(a) => self.axes[a as usize].expect("the loop over an axis surrounds its uses"),
            ScalarOp::Literal(l) => Num::Const(l.as_i64()),
            ScalarOp::Extent(d) => self.dim(d),
            _ => Num::Reg(self.scalar(place, id)),
        }
    }

    /// The value of `id` at the current indices.
    pub fn scalar(&mut self, place: &Placement, id: ExprId) -> Value {
        if let Some(value) = self.values[id.0 as usize] {
            return value;
        }
        let exprs = self.exprs;
        let node = exprs.get(id);
        let value = match node.op {
            ScalarOp::Literal(l) => return scalar::literal(&mut self.b, l),
            ScalarOp::Axis(_) | ScalarOp::Extent(_) => {
                let n = self.index(place, id);
                return self.reg(n);
            }
            ScalarOp::Load(_) | ScalarOp::Local(_) => match self.access_of(id) {
                Some(access) => {
                    let address = self.address(place, access);
                    let dtype = self.accesses[access as usize].dtype;
                    scalar::load(&mut self.b, dtype, address, 0)
                }
                None => match node.op {
                    ScalarOp::Local(l) => return self.locals[&l],
                    _ => unreachable!("a load has an access"),
                },
            },
            op => {
                let args: SmallVec<[Value; 3]> = node.args.iter().map(|&a| self.scalar(place, a)).collect();
                self.operation(op, node.args[0], id, &args)
            }
        };
        self.know(id, value);
        value
    }

    fn operation(&mut self, op: ScalarOp, first: ExprId, id: ExprId, args: &[Value]) -> Value {
        let exprs = self.exprs;
        let (from, dtype) = (exprs.dtype(first), exprs.dtype(id));
        // Index arithmetic of reshapes divides by constants.
        if dtype == DType::I64
            && matches!(op, ScalarOp::Div | ScalarOp::Rem)
            && let Some(d) = exprs.literal(exprs.get(id).args[1]).map(|l| l.as_i64()).filter(|&d| d > 0)
        {
            let q = scalar::quotient_by(&mut self.b, args[0], d);
            if op == ScalarOp::Div {
                return q;
            }
            let p = self.b.ins().imul_imm_s(q, d);
            return self.b.ins().isub(args[0], p);
        }
        scalar::apply(&mut self.b, &self.target, op, from, dtype, args)
    }

    pub fn access_of(&self, id: ExprId) -> Option<u32> {
        self.access_of_load.get(&id).copied()
    }

    /// The address of an access at the current indices.
    pub fn address(&mut self, place: &Placement, access: u32) -> Value {
        self.advance_pointer(place, access);
        let (pointer, done) = self.pointers[access as usize].expect("prepared before the loop");
        let description = &self.accesses[access as usize];
        let mut address = Num::Reg(pointer);
        for &(atom, coefficient) in &description.position.terms {
            if place.depth(atom) > done {
                let step = self.term(place, atom, coefficient, description.size);
                address = self.add(address, step);
            }
        }
        self.reg(address)
    }

    /// Makes groups of what is the same for all iterations of the innermost loop; emitted just before it.
    pub fn prepare_groups(&mut self, place: &Placement, roots: &[ExprId]) {
        let exprs = self.exprs;
        let mut uniform: Vec<ExprId> = roots.iter().copied().filter(|&r| !place.varies(r)).collect();
        for &id in place.needed.iter().filter(|&&id| place.varies(id)) {
            let node = exprs.get(id);
            if self.access_of(id).is_none() {
                uniform.extend(node.args.iter().copied().filter(|&a| !place.varies(a)));
            }
        }
        for id in uniform {
            if self.splats[id.0 as usize].is_none() {
                let group = match exprs.literal(id) {
                    Some(l) => vector::literal(&mut self.b, l),
                    None => {
                        let x = self.scalar(place, id);
                        vector::splat(&mut self.b, exprs.dtype(id), x)
                    }
                };
                self.know_splat(id, group);
            }
        }
    }

    /// Computes everything that varies in the innermost loop for four elements.
    pub fn compute_group(&mut self, place: &Placement, at: Four) {
        let exprs = self.exprs;
        for &id in place.needed.iter().filter(|&&id| place.varies(id)) {
            let node = exprs.get(id);
            let group = match node.op {
                ScalarOp::Axis(a) if a == at.axis => {
                    let start = self.add(Num::Reg(at.index), Num::Const(at.offset));
                    let start = self.reg(start);
                    vector::iota(&mut self.b, start)
                }
                op => match self.access_of(id) {
                    Some(access) => self.load_group(place, access, at),
                    None => {
                        let args: SmallVec<[Group; 3]> = node.args.iter().map(|&a| self.group(a)).collect();
                        let args: SmallVec<[&Group; 3]> = args.iter().collect();
                        let count = match op {
                            ScalarOp::Shl | ScalarOp::Shr if !place.varies(node.args[1]) => {
                                Some(self.scalar(place, node.args[1]))
                            }
                            _ => None,
                        };
                        let from = exprs.dtype(node.args[0]);
                        let constant = match op {
                            ScalarOp::Min | ScalarOp::Max if node.dtype.is_float() => {
                                (0..2).find_map(|i| exprs.literal(node.args[i]).map(|l| (l, i)))
                            }
                            _ => None,
                        };
                        let short = constant.and_then(|(l, i)| vector::extremum_with(&mut self.b, op, l, args[i], args[1 - i]));
                        match short {
                            Some(group) => group,
                            None => vector::apply(&mut self.b, &self.target, op, from, node.dtype, &args, count),
                        }
                    }
                },
            };
            self.groups[id.0 as usize] = Some(group);
        }
    }

    /// The group of an expression that [`compute_group`](Self::compute_group) or
    /// [`prepare_groups`](Self::prepare_groups) made.
    pub fn group(&self, id: ExprId) -> Group {
        let found = self.splats[id.0 as usize].as_ref().or(self.groups[id.0 as usize].as_ref());
        found.cloned().expect("groups are made before they are used")
    }

    pub fn walk(&self, place: &Placement, access: u32, axis: u32) -> Walk {
        let mut stride = Dim::ZERO;
        for &(atom, coefficient) in &self.accesses[access as usize].position.terms {
            match self.exprs.get(atom).op {
                ScalarOp::Axis(a) if a == axis => stride = coefficient,
                ScalarOp::Axis(_) => {}
                _ if place.varies(atom) => return Walk::Scattered,
                _ => {}
            }
        }
        if stride == Dim::ONE { Walk::Contiguous } else { Walk::Strided(stride) }
    }

    /// The addresses of the four elements and byte offsets to add to them.
    fn addresses(&mut self, place: &Placement, access: u32, at: Four) -> [(Value, i32); LANES] {
        let description = &self.accesses[access as usize];
        let (pointer, _) = self.pointers[access as usize].expect("prepared before the loop");
        let size = i64::from(description.size);
        let start = Num::Reg(pointer);
        match self.walk(place, access, at.axis) {
            Walk::Contiguous => {
                let address = self.contiguous(access, start, at.index, size);
                std::array::from_fn(|i| (address, ((at.offset + i as i64) * size) as i32))
            }
            Walk::Strided(stride) => {
                let stride = self.dim(stride * Dim::constant(size));
                let first = self.add(Num::Reg(at.index), Num::Const(if stride.known().is_some() { 0 } else { at.offset }));
                let step = self.mul(first, stride);
                let mut address = self.add(start, step);
                match stride {
                    Num::Const(s) if i32::try_from(s * (at.offset + 3)).is_ok() => {
                        let address = self.reg(address);
                        std::array::from_fn(|i| (address, ((at.offset + i as i64) * s) as i32))
                    }
                    _ => {
                        if let Num::Const(s) = stride {
                            address = self.add(address, Num::Const(s * at.offset));
                        }
                        std::array::from_fn(|_| {
                            let this = self.reg(address);
                            address = self.add(Num::Reg(this), stride);
                            (this, 0)
                        })
                    }
                }
            }
            Walk::Scattered => {
                let mut steps: [Num; LANES] = [Num::Const(0); LANES];
                for &(atom, coefficient) in &description.position.terms {
                    let axis = match self.exprs.get(atom).op {
                        ScalarOp::Axis(a) => Some(a),
                        _ => None,
                    };
                    if !place.varies(atom) || axis.is_some_and(|a| a != at.axis) {
                        continue;
                    }
                    let stride = self.dim(coefficient * Dim::constant(size));
                    let group = axis.is_none().then(|| self.group(atom));
                    for (i, step) in steps.iter_mut().enumerate() {
                        let index = match &group {
                            Some(group) => Num::Reg(vector::lane(&mut self.b, DType::I64, group, i)),
                            None => self.add(Num::Reg(at.index), Num::Const(at.offset + i as i64)),
                        };
                        let part = self.mul(index, stride);
                        *step = self.add(*step, part);
                    }
                }
                steps.map(|step| {
                    let address = self.add(start, step);
                    (self.reg(address), 0)
                })
            }
        }
    }

    fn load_group(&mut self, place: &Placement, access: u32, at: Four) -> Group {
        let dtype = self.accesses[access as usize].dtype;
        let places = self.addresses(place, access, at);
        if let Walk::Contiguous = self.walk(place, access, at.axis) {
            let (address, offset) = places[0];
            return vector::load(&mut self.b, &self.target, dtype, address, offset);
        }
        let lanes = places.map(|(address, offset)| scalar::load(&mut self.b, dtype, address, offset));
        vector::gather(&mut self.b, dtype, &lanes)
    }

    /// Stores a group. With `combine`, each element is combined with what is there, the first one first.
    pub fn store_group(&mut self, place: &Placement, access: u32, at: Four, group: &Group, combine: Option<ScalarOp>) {
        let dtype = self.accesses[access as usize].dtype;
        let places = self.addresses(place, access, at);
        if let Walk::Contiguous = self.walk(place, access, at.axis) {
            let (address, offset) = places[0];
            let result = match combine {
                None => group.clone(),
                Some(op) => {
                    let old = vector::load(&mut self.b, &self.target, dtype, address, offset);
                    vector::apply(&mut self.b, &self.target, op, dtype, dtype, &[&old, group], None)
                }
            };
            return vector::store(&mut self.b, dtype, &result, address, offset);
        }
        for (i, (address, offset)) in places.into_iter().enumerate() {
            let value = vector::lane(&mut self.b, dtype, group, i);
            self.store_scalar(dtype, value, address, offset, combine);
        }
    }

    /// Stores one element, combined with what is there.
    pub fn store_scalar(&mut self, dtype: DType, value: Value, address: Value, offset: i32, combine: Option<ScalarOp>) {
        let result = match combine {
            None => value,
            Some(op) => {
                let old = scalar::load(&mut self.b, dtype, address, offset);
                scalar::apply(&mut self.b, &self.target, op, dtype, dtype, &[old, value])
            }
        };
        scalar::store(&mut self.b, dtype, result, address, offset);
    }

    /// A constant `i64`.
    pub fn int(&mut self, n: i64) -> Value {
        self.b.ins().iconst(types::I64, n)
    }
}
