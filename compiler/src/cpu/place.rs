//! Where each expression is computed: at the depth of the innermost loop that it depends on.

use super::affine::Affine;
use super::lower::Lowered;
use igneous_ir::dim::Dim;
use igneous_ir::kernel::{Access as Use, Param, Store, Target};
use igneous_ir::scalar::{ExprId, ScalarOp};
use igneous_ir::types::DType;
use std::collections::HashMap;

/// What an access is relative to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Base {
    /// A parameter.
    Param(u32),
    /// An array in scratch memory, `offset` bytes in. A `per_point` array has one element for each point of the block
    /// along the vector axis, beginning with the block's first.
    Scratch { offset: Dim, per_point: bool },
    /// The values that the function is given: the address of the row is known around the passes.
    Given,
}

/// A place in memory as a function of the indices.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Access {
    pub base: Base,
    pub dtype: DType,
    /// Bytes per element.
    pub size: u32,
    /// In elements.
    pub position: Affine,
}

/// How a local is held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Holding {
    /// In a register, for one point at a time.
    Register,
    /// In scratch memory, with these strides for its axes.
    Memory { offset: Dim, strides: Vec<Dim>, per_point: bool },
    /// Behind an address that the function knows, one element for each index of the vector axis.
    Given,
}

/// Where the expressions of one pass are computed.
#[derive(Debug)]
pub(super) struct Placement {
    /// The depth of each expression; only those that are reachable mean something.
    depths: Vec<u16>,
    /// The expressions whose values are needed (those that only make up addresses are not), arguments first.
    pub needed: Vec<ExprId>,
    /// The accesses of loads and stores.
    pub accesses: Vec<u32>,
    /// The depth of the innermost loop's body.
    pub inner: u16,
}

impl Placement {
    /// The depth at which `id` is computed.
    pub fn depth(&self, id: ExprId) -> u16 {
        self.depths[id.0 as usize]
    }

    /// Whether `id` changes in the innermost loop.
    pub fn varies(&self, id: ExprId) -> bool {
        self.depth(id) >= self.inner
    }
}

/// All accesses of a function and which expressions they belong to.
pub(super) struct Accesses<'a> {
    low: &'a Lowered,
    params: &'a [Param],
    pub holdings: Vec<Holding>,
    /// The axis that per-point arrays run along.
    point_axis: Option<ExprId>,
    pub list: Vec<Access>,
    pub of_load: HashMap<ExprId, u32>,
}

impl<'a> Accesses<'a> {
    pub fn new(low: &'a Lowered, params: &'a [Param], holdings: Vec<Holding>, point_axis: Option<ExprId>) -> Accesses<'a> {
        Accesses { low, params, holdings, point_axis, list: Vec::new(), of_load: HashMap::new() }
    }

    fn add(&mut self, access: Access) -> u32 {
        if let Some(i) = self.list.iter().position(|a| *a == access) {
            return i as u32;
        }
        self.list.push(access);
        self.list.len() as u32 - 1
    }

    fn of_param(&mut self, param: u32, index: &[ExprId]) -> u32 {
        let ty = &self.params[param as usize].ty;
        let position = Affine::position(&self.low.exprs, index, &ty.shape);
        self.add(Access { base: Base::Param(param), dtype: ty.dtype, size: ty.dtype.size() as u32, position })
    }

    /// The access of a local at an index of its axes; none if it is in a register.
    pub fn local(&mut self, local: u32, index: &[ExprId]) -> Option<u32> {
        let exprs = &self.low.exprs;
        let (base, strides, per_point) = match self.holdings[local as usize].clone() {
            Holding::Register => return None,
            Holding::Memory { offset, strides, per_point } => (Base::Scratch { offset, per_point }, strides, per_point),
            Holding::Given => (Base::Given, Vec::new(), true),
        };
        let mut position = Affine::constant(Dim::ZERO);
        for (&i, stride) in index.iter().zip(strides) {
            position = position.plus(&Affine::of(exprs, i), stride);
        }
        if let Some(axis) = self.point_axis.filter(|_| per_point) {
            position = position.plus(&Affine::of(exprs, axis), Dim::ONE);
        }
        let dtype = self.low.locals[local as usize].dtype;
        Some(self.add(Access { base, dtype, size: dtype.size() as u32, position }))
    }

    /// The access of a load, if `id` is one (of a parameter, or of a local in memory).
    pub fn load(&mut self, id: ExprId) -> Option<u32> {
        if let Some(&found) = self.of_load.get(&id) {
            return Some(found);
        }
        let node = self.low.exprs.get(id);
        let access = match node.op {
            ScalarOp::Load(p) => self.of_param(p, &node.args),
            ScalarOp::Local(l) => self.local(l, &node.args)?,
            _ => return None,
        };
        self.of_load.insert(id, access);
        Some(access)
    }

    /// The access of a store of a map over `axes`; none for a local in a register. `axis` gives the index of an axis.
    pub fn store(&mut self, store: &Store, index_of: &[ExprId]) -> Option<u32> {
        match &store.to {
            Target::Param { param, index, .. } => Some(self.of_param(*param, index)),
            Target::Local(l) => self.local(*l, index_of),
        }
    }
}

/// The depths of loops in one pass.
#[derive(Clone, Debug)]
pub(super) struct Depths {
    /// The depth of the loop over each axis, if there is one in this pass.
    pub axes: Vec<Option<u16>>,
    /// The depth of the code of one pass at one point, outside of its loops.
    pub pass: u16,
    /// The depth of the innermost body.
    pub inner: u16,
    /// Whether a pass of this function may run over nothing, so that addresses need not be valid outside of its loops.
    pub may_be_empty: bool,
}

/// Places the expressions of `pass`, which stores to `stores`.
pub(super) fn place(accesses: &mut Accesses, roots: &[ExprId], stores: &[u32], depths: &Depths) -> Placement {
    let low = accesses.low;
    let exprs = &low.exprs;
    let mut all = roots.to_vec();
    for &s in stores {
        all.extend(accesses.list[s as usize].position.terms.iter().map(|(atom, _)| *atom));
    }
    let mut depth = vec![0u16; exprs.len()];
    let axis = |a: u32| depths.axes[a as usize].unwrap_or(depths.inner);
    for (i, d) in depth.iter_mut().enumerate() {
        if let ScalarOp::Axis(a) = exprs.get(ExprId(i as u32)).op {
            *d = axis(a);
        }
    }
    for id in exprs.reachable(&all) {
        let node = exprs.get(id);
        let of_args = node.args.iter().map(|a| depth[a.0 as usize]).max().unwrap_or(0);
        depth[id.0 as usize] = match node.op {
            ScalarOp::Axis(a) => axis(a),
            ScalarOp::Load(p) => {
                let access = accesses.load(id).expect("a load has an access");
                let terms = &accesses.list[access as usize].position.terms;
                let natural = terms.iter().map(|(atom, _)| depth[atom.0 as usize]).max().unwrap_or(0);
                match accesses.params[p as usize].access {
                    // What this kernel writes is loaded anew for every element.
                    Use::Write => depths.inner,
                    Use::Read if depths.may_be_empty => natural.max(depths.pass),
                    Use::Read => natural,
                }
            }
            ScalarOp::Local(l) => match &accesses.holdings[l as usize] {
                Holding::Register => depths.pass,
                Holding::Memory { per_point: true, .. } | Holding::Given => depths.inner,
                Holding::Memory { .. } => of_args.max(depths.pass),
            },
            _ => of_args,
        };
    }
    let (needed, used) = needed(accesses, roots, stores);
    Placement { depths: depth, needed, accesses: used, inner: depths.inner }
}

/// The expressions whose values are needed for `roots` and the addresses of `stores`, and all accesses made.
fn needed(accesses: &mut Accesses, roots: &[ExprId], stores: &[u32]) -> (Vec<ExprId>, Vec<u32>) {
    let low = accesses.low;
    let exprs = &low.exprs;
    let mut seen = vec![false; exprs.len()];
    let mut used: Vec<u32> = stores.to_vec();
    let mut open: Vec<ExprId> = roots.to_vec();
    let values_of = |access: &Access| -> Vec<ExprId> {
        let atoms = access.position.terms.iter().map(|(atom, _)| *atom);
        atoms.filter(|&a| !matches!(exprs.get(a).op, ScalarOp::Axis(_))).collect()
    };
    for &s in stores {
        open.extend(values_of(&accesses.list[s as usize]));
    }
    while let Some(id) = open.pop() {
        if std::mem::replace(&mut seen[id.0 as usize], true) {
            continue;
        }
        match accesses.load(id) {
            Some(access) => {
                used.push(access);
                open.extend(values_of(&accesses.list[access as usize]));
            }
            None => open.extend(&exprs.get(id).args),
        }
    }
    used.sort_unstable();
    used.dedup();
    let needed = (0..exprs.len()).filter(|&i| seen[i]).map(|i| ExprId(i as u32)).collect();
    (needed, used)
}
