//! The plan of a function: which loops there are, which one is vectorised, where locals and accumulators lie.
//!
//! Each point of the parallel axes is one run of all passes. In *row form* the innermost serial axis of a pass is its
//! innermost loop. In *column form* the innermost loop of every pass runs over a block of points along one parallel
//! axis, so that reductions over strided axes read whole rows; what belongs to one point is then an array in scratch.

use super::affine::Affine;
use super::choose::Form;
use super::lower::{Lowered, Pass};
use super::place::{Access, Accesses, Base, Depths, Holding, Placement, place};
use super::split::{Piece, pieces};
use igneous_ir::dim::Dim;
use igneous_ir::kernel::{Access as Use, AxisKind, LANES, Param, Store, Target};
use igneous_ir::scalar::{ExprId, ScalarOp};
use igneous_ir::types::{DType, contiguous_strides};
use std::collections::HashMap;

/// Everything about a function but its code.
pub(super) struct Plan {
    pub low: Lowered,
    pub form: Form,
    /// The axes of each loop around the passes, outermost first; a loop may run over several axes as one number.
    pub levels: Vec<Vec<u32>>,
    /// Points along the vector axis that one run of the passes handles at once in column form; none: all.
    pub block: Option<i64>,
    /// The last level runs for this many points of the vector axis at a time: what it loads lies next to each other along
    /// that level, not along the vector axis.
    pub tile: Option<i64>,
    pub passes: Vec<PassPlan>,
    /// The depth of a pass outside of its loops.
    pub pass_depth: u16,
    pub accesses: Vec<Access>,
    pub access_of_load: HashMap<ExprId, u32>,
    /// Scratch bytes.
    pub scratch: Dim,
    /// Where the accumulators of a reduction lie in scratch.
    pub accumulators: Dim,
    /// Where the running total over chunks lies in scratch, in column form.
    pub totals: Dim,
    /// The parameters that are used, their bytes, and what for.
    pub footprint: Vec<(u32, usize, Use)>,
}

/// What is known about one pass besides its meaning.
pub(super) struct PassPlan {
    /// The innermost loop is one after the other of these; at least one.
    pub pieces: Vec<PiecePlan>,
    /// The access of each store of a map, or of the result and of kept elements; none for a local in a register.
    pub stores: Vec<Option<u32>>,
    /// The serial axes looped over outside of the innermost loop.
    pub loops: Vec<u32>,
    /// The axis of the innermost loop, if there is one besides `loops`.
    pub inner: Option<u32>,
    /// Whether the innermost loop takes four elements at a time.
    pub vector: bool,
}

/// A range of the innermost loop.
pub(super) struct PiecePlan {
    pub place: Placement,
    pub piece: Piece,
}

/// Points of the vector axis that share a loop over the level that memory is contiguous along: a cache line of `f32`.
const TILE: i64 = 16;

/// Points in a block in column form. The 32 accumulators of each stay in the second-level cache while whole rows stream by;
/// without them, what is made for a point stays in the first.
fn block_points(size: usize, folds: bool) -> i64 {
    let bytes = if folds { 256 * 1024 } else { 16 * 1024 };
    bytes / (LANES * size) as i64
}

/// Hands out scratch memory, 64-byte aligned.
#[derive(Default)]
struct Scratch {
    used: Option<Dim>,
}

impl Scratch {
    fn used(&self) -> Dim {
        self.used.unwrap_or(Dim::ZERO)
    }

    fn take(&mut self, bytes: Dim) -> Dim {
        let offset = self.used();
        self.used = Some(offset + bytes.div_ceil(64) * Dim::constant(64));
        offset
    }
}

/// What a function looks like from outside of its passes.
pub(super) struct Shape {
    pub form: Form,
    /// See [`Plan::levels`]. Other parallel axes have one index in each call.
    pub levels: Vec<Vec<u32>>,
    /// A local that the function is given: in column form a row of its values, else one.
    pub given: Option<u32>,
}

/// Plans a function that runs the passes of `low` for each point of its parallel axes.
pub(super) fn plan(mut low: Lowered, params: &[Param], shape: Shape) -> Plan {
    let axis_exprs: Vec<ExprId> = (0..low.axes.len() as u32).map(|a| low.exprs.raw(ScalarOp::Axis(a), &[], DType::I64)).collect();
    let Shape { form, mut levels, given } = shape;
    let column = form.column();
    let tile = match column {
        Some(axis) if given.is_none() => turned_level(&low, params, &levels, axis),
        _ => None,
    };
    if let Some(level) = tile {
        let last = levels.remove(level);
        levels.push(last);
    }
    let tile = tile.map(|_| TILE);

    let mut scratch = Scratch::default();
    let folds = low.passes.iter().any(|p| matches!(p, Pass::Fold { .. }));
    let made = made_locals(&low);
    let widest = low.locals.iter().map(|l| l.dtype.size().max(4)).max().unwrap_or(4);
    let block = (column.is_some() && made.contains(&true)).then(|| block_points(widest, folds));
    let points = Dim::constant(block.unwrap_or(1));
    let lane = Dim::constant(widest as i64);
    let accumulators = if folds { scratch.take(lane * points * Dim::from(LANES)) } else { Dim::ZERO };
    let totals = if folds && column.is_some() { scratch.take(lane * points) } else { Dim::ZERO };
    let mut holdings = hold(&low, &made, column.is_some(), points, &mut scratch);
    if let Some(local) = given {
        holdings[local as usize] = Holding::Given;
    }

    let cut: Vec<Vec<Piece>> = (0..low.passes.len()).map(|i| cut(&mut low, params, i, column)).collect();
    let pass_depth = levels.len() as u16 + u16::from(block.is_some()) + 1;
    let may_be_empty = low.axes.iter().any(|a| a.kind == AxisKind::Serial && a.extent.at_least(1) != Some(true));
    let mut accesses = Accesses::new(&low, params, holdings, column.map(|a| axis_exprs[a as usize]));
    let mut passes = Vec::new();
    for (pass, cut) in low.passes.iter().zip(cut) {
        let serial = pass.axes();
        let (loops, inner) = match column {
            Some(v) => (serial, Some(v)),
            None => serial.split_last().map_or((serial, None), |(&last, outer)| (outer, Some(last))),
        };
        let mut axes = vec![Some(0); low.axes.len()];
        for (i, level) in levels.iter().enumerate() {
            level.iter().for_each(|&a| axes[a as usize] = Some(i as u16 + 1));
        }
        loops.iter().enumerate().for_each(|(i, &a)| axes[a as usize] = Some(pass_depth + 1 + i as u16));
        let inner_depth = pass_depth + loops.len() as u16 + u16::from(inner.is_some());
        inner.into_iter().for_each(|a| axes[a as usize] = Some(inner_depth));
        let index: Vec<ExprId> = serial.iter().map(|&a| axis_exprs[a as usize]).collect();
        let stores: Vec<Option<u32>> = match pass {
            Pass::Map { stores, .. } => stores.iter().map(|s| accesses.store(s, &index)).collect(),
            Pass::Fold { to, keep, .. } => {
                let kept = keep.map(|l| accesses.local(l, &index));
                [accesses.local(*to, &[])].into_iter().chain(kept).collect()
            }
            Pass::Find { to, .. } => vec![accesses.local(*to, &[])],
            Pass::Check { .. } | Pass::Element { .. } => Vec::new(),
        };
        let targets: Vec<u32> = stores.iter().flatten().copied().collect();
        let depths = Depths { axes, pass: pass_depth, inner: inner_depth, may_be_empty };
        let pieces = cut.into_iter().map(|piece| {
            let roots: Vec<ExprId> = piece.roots.iter().copied().chain(piece.lo).chain(piece.hi).collect();
            PiecePlan { place: place(&mut accesses, &roots, &targets, &depths), piece }
        });
        let pieces = pieces.collect();
        let vector = form != Form::Scalar && inner.is_some() && vectorises(pass, &low, column.is_some());
        passes.push(PassPlan { pieces, stores, loops: loops.to_vec(), inner, vector });
    }
    let (accesses, access_of_load) = (accesses.list, accesses.of_load);
    let scratch = scratch.used();
    let footprint = footprint(&accesses, params);
    Plan {
        low,
        form,
        levels,
        block,
        tile,
        passes,
        pass_depth,
        accesses,
        access_of_load,
        scratch,
        accumulators,
        totals,
        footprint,
    }
}

/// The bytes of each parameter that is used, and whether it is written; symbolic ones count as none.
fn footprint(accesses: &[Access], params: &[Param]) -> Vec<(u32, usize, Use)> {
    let mut used: Vec<u32> = accesses.iter().filter_map(|a| if let Base::Param(p) = a.base { Some(p) } else { None }).collect();
    used.sort_unstable();
    used.dedup();
    let bytes = |p: &Param| p.ty.bytes().as_const().map_or(0, |n| n as usize);
    used.into_iter().map(|p| (p, bytes(&params[p as usize]), params[p as usize].access)).collect()
}

/// The ranges that the innermost loop of a pass is cut into.
fn cut(low: &mut Lowered, params: &[Param], pass: usize, column: Option<u32>) -> Vec<Piece> {
    let roots = low.passes[pass].roots();
    let axis = match (&low.passes[pass], column) {
        (Pass::Map { .. } | Pass::Fold { .. } | Pass::Element { .. }, Some(axis)) => Some(axis),
        (Pass::Map { axes, .. }, None) => axes.last().copied(),
        // A reduction along its own axis has an order.
        _ => None,
    };
    match axis {
        Some(axis) => pieces(low, params, &roots, axis),
        None => vec![Piece { lo: None, hi: None, roots }],
    }
}

/// The level along which most of what is loaded or stored in steps along `axis` lies next to each other.
fn turned_level(low: &Lowered, params: &[Param], levels: &[Vec<u32>], axis: u32) -> Option<usize> {
    let exprs = &low.exprs;
    if low.passes.iter().any(|p| !p.axes().is_empty()) || low.passes.iter().any(|p| matches!(p, Pass::Element { .. })) {
        return None;
    }
    let mut turned = vec![0; levels.len()];
    let mut see = |param: u32, index: &[ExprId]| {
        let position = Affine::position(exprs, index, &params[param as usize].ty.shape);
        let stride = |a: u32| position.coefficient(exprs, a);
        if matches!(stride(axis), Dim::ZERO | Dim::ONE) {
            return;
        }
        let along = levels.iter().position(|l| l.len() == 1 && stride(l[0]) == Dim::ONE);
        along.into_iter().for_each(|l| turned[l] += 1);
    };
    for pass in &low.passes {
        for id in exprs.reachable(&pass.roots()) {
            if let ScalarOp::Load(p) = exprs.get(id).op {
                see(p, &exprs.get(id).args);
            }
        }
        if let Pass::Map { stores, .. } = pass {
            stores.iter().for_each(|s| {
                if let Target::Param { param, index, .. } = &s.to {
                    see(*param, index);
                }
            });
        }
    }
    let best = (0..levels.len()).max_by_key(|&l| turned[l])?;
    (turned[best] > 0).then_some(best)
}

/// Which locals some pass sets.
fn made_locals(low: &Lowered) -> Vec<bool> {
    let mut made = vec![false; low.locals.len()];
    for pass in &low.passes {
        match pass {
            Pass::Map { stores, .. } => stores.iter().for_each(|s| {
                if let Target::Local(l) = s.to {
                    made[l as usize] = true;
                }
            }),
            Pass::Fold { to, keep, .. } => [Some(*to), *keep].into_iter().flatten().for_each(|l| made[l as usize] = true),
            Pass::Find { to, .. } => made[*to as usize] = true,
            Pass::Check { .. } | Pass::Element { .. } => {}
        }
    }
    made
}

fn hold(low: &Lowered, made: &[bool], column: bool, points: Dim, scratch: &mut Scratch) -> Vec<Holding> {
    let each = low.locals.iter().zip(made).map(|(local, &made)| {
        if !made || local.axes.is_empty() && !column {
            return Holding::Register;
        }
        let extents: Vec<Dim> = local.axes.iter().map(|&a| low.axes[a as usize].extent).collect();
        let strides = contiguous_strides(&extents).iter().map(|&s| s * points).collect();
        let size: Dim = extents.into_iter().product();
        let offset = scratch.take(size * points * Dim::from(local.dtype.size()));
        Holding::Memory { offset, strides, per_point: column }
    });
    each.collect()
}

/// Whether the innermost loop of a pass may take four elements at a time.
fn vectorises(pass: &Pass, low: &Lowered, column: bool) -> bool {
    match pass {
        Pass::Fold { .. } | Pass::Element { .. } => true,
        Pass::Find { .. } | Pass::Check { .. } => false,
        // Points are independent, but indices of serial axes come one after the other.
        Pass::Map { stores, .. } => column || !in_sequence(pass, stores, low),
    }
}

/// Whether an index of the serial axes may see what an earlier one stored.
fn in_sequence(pass: &Pass, stores: &[Store], low: &Lowered) -> bool {
    let loads: Vec<u32> = low
        .exprs
        .reachable(&pass.roots())
        .into_iter()
        .filter_map(|id| match low.exprs.get(id).op {
            ScalarOp::Load(p) => Some(p),
            _ => None,
        })
        .collect();
    stores.iter().any(|s| match &s.to {
        Target::Param { combine: Some(_), .. } => true,
        Target::Param { param, .. } => loads.contains(param),
        Target::Local(_) => false,
    })
}
