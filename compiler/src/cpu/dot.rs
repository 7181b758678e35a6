//! Matrix products: which operands the library reads in place, which ones code has to pack, and where the result goes.
//!
//! The library knows rows, columns and a contracted range; a section has any number of axes for each. Axes that walk
//! through memory as one (their strides are products of the inner extents) are one for the library. Where the leading
//! axes of the rows or columns do not, they can be batch axes instead, which are kept apart.

use super::affine::Affine;
use super::cost::{dot_blocking, typical};
use super::half::is_half;
use super::window::plan_windows;
use igneous_ir::dim::Dim;
use igneous_ir::kernel::{Access, Directive, Param, Section, Stage, Target};
use igneous_ir::scalar::{ExprId, Exprs, ScalarOp};
use igneous_ir::types::DType;
use igneous_runtime::program::{DotOut, Operand};

/// A block with an epilogue has at most about so many elements: they stay in the second-level cache.
const EPILOGUE_ELEMENTS: f64 = 65536.0;

/// The axes of a matrix product as the library sees them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct DotAxes {
    /// Kept apart; one index in each call of a packing function or epilogue.
    pub batch: Vec<u32>,
    pub m: Vec<u32>,
    pub n: Vec<u32>,
    pub k: Vec<u32>,
}

/// What the library and the code around it do for a section.
pub(super) struct DotPlan {
    pub axes: DotAxes,
    pub dtype: DType,
    /// `None`: packed by code.
    pub lhs: Option<Operand>,
    pub rhs: Option<Operand>,
    /// `None`: an epilogue.
    pub out: Option<DotOut>,
    pub split_k: usize,
    pub block: (Dim, Dim),
}

/// The parts of a section that begins with a matrix product the library can do.
pub(super) struct DotSection<'a> {
    pub section: &'a Section,
    pub lhs: ExprId,
    pub rhs: ExprId,
    pub to: u32,
    /// The stages after the product.
    pub rest: &'a [Stage],
    axes: DotAxes,
    /// Of the sums.
    dtype: DType,
    /// Of the operands.
    factors: DType,
}

impl<'a> DotSection<'a> {
    /// The section's product, if it is one of `f32`, of `f64` or of bytes that comes first and alone.
    pub fn of(section: &'a Section) -> Option<DotSection<'a>> {
        let (Stage::Dot { batch, m, n, axes, lhs, rhs, to }, rest) = section.stages.split_first()? else { return None };
        let dtype = section.exprs.dtype(*lhs);
        let bytes = |side: ExprId| {
            let node = section.exprs.get(side);
            (node.op == ScalarOp::Cast).then(|| node.args[0]).filter(|&inner| section.exprs.dtype(inner) == DType::I8)
        };
        let (lhs, rhs) = match dtype {
            DType::F32 | DType::F64 => (*lhs, *rhs),
            DType::I32 => (bytes(*lhs)?, bytes(*rhs)?),
            _ => return None,
        };
        if rest.iter().any(|s| matches!(s, Stage::Dot { .. })) {
            return None;
        }
        // An axis without a role does not matter to the product, so one product for each of its points is right.
        let idle = section.parallel().filter(|a| ![batch, m, n].iter().any(|role| role.contains(a)));
        let batch: Vec<u32> = batch.iter().copied().chain(idle).collect();
        let axes = DotAxes { batch, m: m.clone(), n: n.clone(), k: axes.clone() };
        Some(DotSection { section, lhs, rhs, to: *to, rest, axes, dtype, factors: section.exprs.dtype(lhs) })
    }

    fn size(&self, axes: &[u32]) -> Dim {
        axes.iter().map(|&a| self.extent(a)).product()
    }

    /// Decides what the library reads and writes in place: the cheapest way to give leading axes to the batch.
    pub fn plan(&self, params: &[Param]) -> DotPlan {
        let mut best: Option<(f64, DotPlan)> = None;
        for moved_m in 0..=self.axes.m.len() {
            for moved_n in 0..=self.axes.n.len() {
                let mut axes = self.axes.clone();
                axes.batch.extend(axes.m.drain(..moved_m));
                axes.batch.extend(axes.n.drain(..moved_n));
                let plan = self.with_axes(axes, params);
                let cost = self.cost(&plan);
                if best.as_ref().is_none_or(|(c, _)| cost < *c) {
                    best = Some((cost, plan));
                }
            }
        }
        let plan = best.expect("moving nothing is a choice").1;
        if plan.dtype == DType::F32 && (plan.lhs.is_none() || plan.rhs.is_none()) {
            return plan_windows(self, params).unwrap_or(plan);
        }
        plan
    }

    /// The axes as the section has them.
    pub fn axes(&self) -> &DotAxes {
        &self.axes
    }

    /// The extent of an axis.
    pub fn extent(&self, axis: u32) -> Dim {
        self.section.axes[axis as usize].extent
    }

    fn with_axes(&self, axes: DotAxes, params: &[Param]) -> DotPlan {
        let (m, n, k) = (self.size(&axes.m), self.size(&axes.n), self.size(&axes.k));
        let operand = |root: ExprId, outer: &[u32]| {
            let (param, dtype, position) = plain_load(&self.section.exprs, root, params, self.factors)?;
            Some(Operand::Strided {
                param: param as usize,
                dtype,
                offset: position.constant,
                batch: self.strides(&position, &axes.batch),
                outer: self.flat(&position, outer)?,
                k: self.flat(&position, &axes.k)?,
            })
        };
        let (lhs, rhs) = (operand(self.lhs, &axes.m), operand(self.rhs, &axes.n));
        let out = self.plain_out(&axes, params);
        let (rows, mut columns, split) = dot_blocking(m, n, k, self.dtype);
        // An epilogue reads the block again.
        if out.is_none() && split == 1 {
            let most = (EPILOGUE_ELEMENTS / typical(rows).max(1.0)) as i64 / 32 * 32;
            columns = columns.min(Dim::constant(most.max(64)));
        }
        let split_k = self.scheduled_split(&axes).unwrap_or(split);
        let block = (self.tile(&axes.m).unwrap_or(rows), self.tile(&axes.n).unwrap_or(columns));
        DotPlan { axes, dtype: self.dtype, lhs, rhs, out, split_k, block }
    }

    /// Into how many parts the schedule cuts the contracted axes, if there is a schedule.
    pub fn scheduled_split(&self, axes: &DotAxes) -> Option<usize> {
        let split = self.section.schedule.iter().find_map(|d| match d {
            Directive::Split(a, parts) if axes.k.contains(a) => Some(*parts as usize),
            _ => None,
        });
        (!self.section.schedule.is_empty()).then(|| split.unwrap_or(1).max(1))
    }

    /// The block along flattened axes that `tile` asks for.
    fn tile(&self, axes: &[u32]) -> Option<Dim> {
        let (at, tile) = self.section.schedule.iter().find_map(|d| match d {
            Directive::Tile(a, tile) => axes.iter().position(|x| x == a).map(|at| (at, *tile)),
            _ => None,
        })?;
        Some(Dim::constant(tile.into()) * self.size(&axes[at + 1..]))
    }

    fn strides(&self, position: &Affine, axes: &[u32]) -> Vec<Dim> {
        axes.iter().map(|&a| position.coefficient(&self.section.exprs, a)).collect()
    }

    /// The stride of several axes as one number, if there is one.
    fn flat(&self, position: &Affine, axes: &[u32]) -> Option<Dim> {
        let mut flat: Option<(Dim, Dim)> = None;
        for &axis in axes.iter().rev().filter(|&&a| self.extent(a) != Dim::ONE) {
            let stride = position.coefficient(&self.section.exprs, axis);
            match &mut flat {
                None => flat = Some((stride, stride * self.extent(axis))),
                Some((_, next)) if *next == stride => *next = stride * self.extent(axis),
                Some(_) => return None,
            }
        }
        Some(flat.map_or(Dim::ONE, |(stride, _)| stride))
    }

    /// Where the product goes without an epilogue, if storing it at regular places is all that is left to do.
    pub fn plain_out(&self, axes: &DotAxes, params: &[Param]) -> Option<DotOut> {
        let (param, position) = self.plain_store(params)?;
        let (m, n) = (self.flat(&position, &axes.m)?, self.flat(&position, &axes.n)?);
        // Elements that are not `offset + Σ index · stride` cannot be told to the library.
        let batch = self.strides(&position, &axes.batch);
        (position.constant == Dim::ZERO).then_some(DotOut::Param { param: param as usize, batch, m, n })
    }

    /// The place of the result, if storing it is all that is left to do.
    fn plain_store(&self, params: &[Param]) -> Option<(u32, Affine)> {
        let [Stage::Map { axes, stores }] = self.rest else { return None };
        let [store] = stores.as_slice() else { return None };
        let Target::Param { param, index, combine: None } = &store.to else { return None };
        let ty = &params[*param as usize].ty;
        let exprs = &self.section.exprs;
        let plain = axes.is_empty() && exprs.get(store.value).op == ScalarOp::Local(self.to) && ty.dtype == self.dtype;
        let position = Affine::position(exprs, index, &ty.shape);
        (plain && position.axes(exprs).is_some()).then_some((*param, position))
    }

    /// Estimated nanoseconds of the whole product.
    fn cost(&self, plan: &DotPlan) -> f64 {
        // What is typical of a product is not the product of what is typical of its factors.
        let size = |axes: &[u32]| axes.iter().map(|&a| typical(self.extent(a))).product::<f64>();
        let (batch, m, n, k) = (size(&plan.axes.batch), size(&plan.axes.m), size(&plan.axes.n), size(&plan.axes.k));
        // Narrow products leave lanes of the library's kernels idle.
        let multiply = 0.02 * (m + 2.0) * (n + 2.0) * k + 100.0;
        let (rows, columns) = (typical(plan.block.0).max(1.0), typical(plan.block.1).max(1.0));
        let pack_ns = |operand: &Option<Operand>| match operand {
            None => 0.5,
            Some(Operand::Strided { dtype, .. }) if *dtype != self.factors => 0.1,
            Some(_) => 0.0,
        };
        let pack_lhs = pack_ns(&plan.lhs) * m * k * (n / columns).ceil();
        let pack_rhs = pack_ns(&plan.rhs) * n * k * (m / rows).ceil();
        let store = if plan.out.is_none() { 0.3 * m * n } else { 0.0 };
        batch * (multiply + pack_lhs + pack_rhs + store)
    }
}

/// Into how many parts to cut the contracted axes of the product that a section without a schedule begins with: partial sums are
/// added in order. Independent of the number of threads.
pub fn contracted_parts(section: &Section, params: &[Param]) -> usize {
    let section = Section { schedule: Vec::new(), ..section.clone() };
    DotSection::of(&section).map_or(1, |dot| dot.plan(params).split_k)
}

/// The parameter, its type and the place of an operand that is an element of a parameter at a place that only axes decide; of a
/// half type or `i8`, which the runtime converts to `f32`, too.
fn plain_load(exprs: &Exprs, root: ExprId, params: &[Param], dtype: DType) -> Option<(u32, DType, Affine)> {
    let root = exprs.get(root);
    let narrow = |dtype: DType| is_half(dtype) || dtype == DType::I8;
    let converted = root.op == ScalarOp::Cast && dtype == DType::F32 && narrow(exprs.dtype(root.args[0]));
    let node = if converted { exprs.get(root.args[0]) } else { root };
    let ScalarOp::Load(param) = node.op else { return None };
    let Param { ty, access, .. } = &params[param as usize];
    let position = Affine::position(exprs, &node.args, &ty.shape);
    let plain = *access == Access::Read && (converted || ty.dtype == dtype) && position.axes(exprs).is_some();
    plain.then_some((param, ty.dtype, position))
}
