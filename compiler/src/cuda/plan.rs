//! How a section is spread over threads, and what is accessed as vectors.

use super::mma;
use super::range::ranges;
use super::tile::{Product, SIDE, Tile};
use super::transpose::Transposed;
use igneous_ir::dim::Dim;
use igneous_ir::kernel::{Access, AxisKind, CHUNK, Kernel, LANES, Local, Section, Stage, Store, Target};
use igneous_ir::scalar::{ExprId, ScalarOp};

/// What the threads of a block do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Team {
    /// A thread works on whole points, on so many consecutive ones at once.
    Thread {
        /// Points at once.
        vector: u32,
        /// Elements are accessed at the point's number; points past the last vector are done one by one.
        flat: bool,
    },
    /// So many warps work on a point together.
    Warps(u32),
    /// The 32 threads of a column work on a point together.
    Column,
    /// The threads of a block compute a block of a product together.
    Tile(Tile),
    /// The same for operands of a half type or of bytes, on tensor cores.
    NarrowTile(Tile),
    /// The threads of a block do 32×32 points, and read across what they write along.
    Transposed,
    /// A thread does everything at a point, in order; large locals lie in scratch memory. What every section can be done by.
    Alone,
}

/// The way a section is emitted.
#[derive(Debug)]
pub(super) struct Plan {
    pub team: Team,
    /// The number of points, or of blocks of a product.
    pub points: Dim,
}

/// The largest number of elements that one thread reduces by itself or keeps of a local.
pub(super) const FEW: i64 = LANES as i64;

/// The largest number of blocks of a section; more points are looped over.
const BLOCKS: i64 = 4096;

/// Of products.
pub(super) const TILES: i64 = 1 << 20;

/// With scratch memory, of which each point at work has its own.
const BLOCKS_WITH_SCRATCH: i64 = 64;

/// Shared memory that every device has.
const SHARED: i64 = 48 << 10;

impl Plan {
    pub fn new(kernel: &Kernel, section: &Section) -> Plan {
        let points = section.parallel().map(|a| section.axes[a as usize].extent).product();
        if let Some(product) = Product::of(section) {
            let tensor_cores = product.narrow(&section.exprs).is_some();
            let tile = product.tile(section, if tensor_cores { mma::LEAST } else { SIDE });
            let [rows, columns] = tile.counts(section, &product);
            let team = if tensor_cores { Team::NarrowTile(tile) } else { Team::Tile(tile) };
            return Plan { team, points: extent(section, product.batch) * rows * columns };
        }
        if section.stages.iter().any(|s| in_order(section, s)) {
            return Plan { team: Team::Alone, points };
        }
        let reduced = section.stages.iter().filter(|s| matches!(s, Stage::Reduce { .. })).map(|s| extent(section, s.axes()));
        if let Some(transposed) = Transposed::of(kernel, section) {
            return Plan { team: Team::Transposed, points: transposed.tiles(section) };
        }
        let large_local = section.locals.iter().any(|l| !few(extent(section, &l.axes)));
        if !large_local && reduced.clone().all(few) {
            let (vector, flat) = vectorize(kernel, section);
            return Plan { team: Team::Thread { vector, flat }, points };
        }
        if !section.stages.iter().all(|s| spreads(section, s)) {
            return Plan { team: Team::Alone, points };
        }
        let team = if prefers_columns(section) {
            Team::Column
        } else {
            let longest = reduced.fold(Dim::ONE, Dim::max);
            let long = longest.bounds().1.is_none_or(|hi| hi > CHUNK as i64);
            let few_points = points.bounds().1.is_some_and(|hi| hi <= 4096);
            Team::Warps(if long && few_points { 8 } else { 1 })
        };
        let plan = Plan { team, points };
        match plan.shared(section).bounds().1 {
            Some(hi) if hi <= SHARED => plan,
            _ => Plan { team: Team::Alone, points },
        }
    }

    /// Whether threads keep blocks of a product in registers.
    pub fn is_product(&self) -> bool {
        matches!(self.team, Team::Tile(_) | Team::NarrowTile(_))
    }

    /// The number of blocks.
    pub fn blocks(&self, section: &Section) -> Dim {
        let most = match self.team {
            Team::Tile(_) | Team::NarrowTile(_) | Team::Transposed => TILES,
            _ if self.scratch_locals(section).next().is_some() => BLOCKS_WITH_SCRATCH,
            _ => BLOCKS,
        };
        self.points.div_ceil(Dim::constant(self.points_per_block())).min(Dim::constant(most)).max(1)
    }

    /// The locals that lie in scratch memory.
    pub fn scratch_locals<'s>(&self, section: &'s Section) -> impl Iterator<Item = (usize, &'s Local)> {
        let alone = self.team == Team::Alone;
        let large = move |l: &Local| alone && !few(extent(section, &l.axes));
        section.locals.iter().enumerate().filter(move |(_, l)| large(l))
    }

    /// Bytes of scratch memory.
    pub fn scratch(&self, section: &Section) -> Dim {
        let points = self.scratch_points(section);
        self.scratch_locals(section).fold(Dim::ZERO, |sum, (_, l)| sum + points * scratch_bytes(section, l))
    }

    /// The number of points that are worked on at once.
    pub fn scratch_points(&self, section: &Section) -> Dim {
        self.points.min(self.blocks(section) * Dim::constant(i64::from(super::THREADS)))
    }

    /// Points that a block works on at once.
    pub fn points_per_block(&self) -> i64 {
        match self.team {
            Team::Thread { vector, .. } => i64::from(super::THREADS * vector),
            Team::Warps(warps) => i64::from(8 / warps),
            Team::Column => 8,
            Team::Tile(_) | Team::NarrowTile(_) | Team::Transposed => 1,
            Team::Alone => i64::from(super::THREADS),
        }
    }

    /// Bytes of shared memory for the locals of the points of a block.
    pub fn shared(&self, section: &Section) -> Dim {
        match self.team {
            Team::Thread { .. } | Team::Alone | Team::Transposed => Dim::ZERO,
            Team::NarrowTile(tile) => Dim::constant(mma::shared_bytes(tile)),
            Team::Tile(tile) => {
                let largest = section.locals.iter().map(|l| super::scalar::held_size(l.dtype)).max().unwrap_or(8);
                Dim::constant(tile.shared_elements() * largest as i64)
            }
            _ => section.locals.iter().fold(Dim::ZERO, |sum, l| sum + self.local_bytes(section, l)),
        }
    }

    /// Shared bytes of one local, a multiple of 16.
    pub fn local_bytes(&self, section: &Section, local: &igneous_ir::kernel::Local) -> Dim {
        if local.axes.is_empty() {
            return Dim::ZERO;
        }
        let bytes = extent(section, &local.axes) * super::scalar::held_size(local.dtype);
        (bytes * Dim::constant(self.points_per_block())).div_ceil(16) * 16
    }
}

/// Whether an extent is known and small.
pub(super) fn few(extent: Dim) -> bool {
    extent.as_const().is_some_and(|n| n <= FEW)
}

/// Scratch bytes of a local of one point, a multiple of 16.
pub(super) fn scratch_bytes(section: &Section, local: &Local) -> Dim {
    (extent(section, &local.axes) * super::scalar::held_size(local.dtype)).div_ceil(16) * 16
}

fn combines(store: &Store) -> bool {
    matches!(store.to, Target::Param { combine: Some(_), .. })
}

/// Whether the indices of a stage are taken one after the other, or it has a product for each of several.
fn in_order(section: &Section, stage: &Stage) -> bool {
    match stage {
        Stage::Dot { .. } => true,
        // A stage by itself is at each of its points once.
        Stage::Map { axes, stores } => {
            let alone = axes.is_empty() && section.stages.len() == 1;
            !alone && stores.iter().any(combines)
        }
        Stage::Reduce { .. } | Stage::Check { .. } => false,
    }
}

/// All expressions that the stages evaluate.
pub(super) fn roots(section: &Section) -> Vec<ExprId> {
    section.stages.iter().flat_map(Stage::roots).collect()
}

/// The number of elements over some axes.
pub(super) fn extent(section: &Section, axes: &[u32]) -> Dim {
    axes.iter().map(|&a| section.axes[a as usize].extent).product()
}

/// Whether all index arithmetic and all addresses fit into 32 bits.
pub(super) fn short_index(kernel: &Kernel) -> bool {
    let fits = |d: Dim| d.bounds().1.is_some_and(|hi| hi <= 1 << 30);
    let sections = kernel.sections.iter().all(|section| {
        let indices = ranges(section, &roots(section))
            .into_iter()
            .flatten()
            .all(|(lo, hi)| i32::try_from(lo).is_ok() && i32::try_from(hi).is_ok());
        let count = |kind: AxisKind| section.axes.iter().filter(|a| a.kind == kind).map(|a| a.extent).product();
        // Points are counted by one number, and what is done at each of them by another.
        indices && fits(count(AxisKind::Parallel)) && fits(count(AxisKind::Serial))
    });
    sections && kernel.params.iter().all(|p| fits(p.ty.elements()))
}

/// Whether the indices of a stage can be spread over lanes: no two of them store to one element.
fn spreads(section: &Section, stage: &Stage) -> bool {
    let Stage::Map { axes, stores } = stage else { return true };
    let mut stores = stores.iter().filter_map(|s| match &s.to {
        Target::Param { index, .. } => Some(index),
        Target::Local(_) => None,
    });
    stores.all(|index| axes.iter().all(|&a| index.iter().any(|&i| section.exprs.get(i).op == ScalarOp::Axis(a))))
}

/// Whether neighbours in memory are neighbouring points rather than neighbouring elements of a reduction.
fn prefers_columns(section: &Section) -> bool {
    let Some(innermost) = section.parallel().last() else { return false };
    let (mut rows, mut columns) = (0, 0);
    for stage in section.stages.iter().filter(|s| matches!(s, Stage::Reduce { .. })) {
        for id in section.exprs.reachable(&stage.roots()) {
            let node = section.exprs.get(id);
            if let (ScalarOp::Load(_), Some(&last)) = (node.op, node.args.last()) {
                columns += depends(section, last, innermost) as u32;
                rows += stage.axes().last().is_some_and(|&a| depends(section, last, a)) as u32;
            }
        }
    }
    columns > rows
}

fn depends(section: &Section, id: ExprId, axis: u32) -> bool {
    section.exprs.reachable(&[id]).iter().any(|&e| section.exprs.get(e).op == ScalarOp::Axis(axis))
}

/// The most lanes of a vector access.
const LONGEST: usize = 8;

/// Lanes of a vector of which the largest element takes part in 16 bytes.
pub(super) fn vector_length(kernel: &Kernel, params: impl Iterator<Item = u32>) -> u32 {
    let largest = params.map(|p| kernel.params[p as usize].ty.dtype.size()).max();
    largest.map_or(1, |bytes| (16 / bytes).min(LONGEST) as u32)
}

/// How many points a thread works on at once, and whether elements are accessed at the number of the point.
fn vectorize(kernel: &Kernel, section: &Section) -> (u32, bool) {
    let single = (1, false);
    let parallel: Vec<u32> = section.parallel().collect();
    let Some(&innermost) = parallel.last() else { return single };
    let straight = |s: &Stage| matches!(s, Stage::Map { .. } | Stage::Check { .. }) && s.axes().is_empty();
    let accesses = accesses(section, &section.stages);
    let reads_back = accesses.iter().any(|&(p, _, store)| !store && kernel.params[p as usize].access == Access::Write);
    let combine = section.stages.iter().any(|s| matches!(s, Stage::Map { stores, .. } if stores.iter().any(combines)));
    if !section.stages.iter().all(straight) || reads_back || combine {
        return single;
    }
    let whole = |p: u32, index: &[ExprId]| is_whole(kernel, section, p, index);
    let constant = |index: &[ExprId]| !index.iter().any(|&i| parallel.iter().any(|&a| depends(section, i, a)));
    let flat = accesses.iter().all(|&(p, index, _)| whole(p, index) || constant(index));
    if flat && accesses.iter().any(|&(p, index, _)| whole(p, index)) && (parallel.len() == 1 || !uses_axes(kernel, section)) {
        return (vector_length(kernel, accesses.iter().filter(|a| whole(a.0, a.1)).map(|a| a.0)), true);
    }
    let along = accesses.iter().filter(|a| a.1.last().is_some_and(|&l| section.exprs.get(l).op == ScalarOp::Axis(innermost)));
    let vector = vector_length(kernel, along.map(|a| a.0));
    let whole_vectors = section.axes[innermost as usize].extent.rem(i64_dim(vector)) == Dim::ZERO;
    let contiguous = |a: &(u32, &[ExprId], bool)| {
        lanes(section, a.1, &kernel.params[a.0 as usize].ty.shape, innermost, vector) == Lanes::Contiguous
    };
    if whole_vectors && accesses.iter().any(contiguous) { (vector, false) } else { single }
}

/// Whether an access is at the number of the point: the parameter has the shape of the points and is indexed by them in order.
pub(super) fn is_whole(kernel: &Kernel, section: &Section, param: u32, index: &[ExprId]) -> bool {
    let shape = &kernel.params[param as usize].ty.shape;
    let parallel: Vec<u32> = section.parallel().collect();
    let same = |((&i, &a), &n): ((&ExprId, &u32), &Dim)| {
        section.exprs.get(i).op == ScalarOp::Axis(a) && section.axes[a as usize].extent == n
    };
    index.len() == parallel.len() && index.iter().zip(&parallel).zip(shape).all(same)
}

/// Whether the index of a point is needed other than for whole accesses.
fn uses_axes(kernel: &Kernel, section: &Section) -> bool {
    let mut pending = Vec::new();
    for stage in &section.stages {
        match stage {
            Stage::Map { stores, .. } => pending.extend(stores.iter().map(|s| s.value)),
            _ => pending.extend(stage.roots()),
        }
    }
    let mut seen = std::collections::HashSet::new();
    while let Some(id) = pending.pop() {
        let node = section.exprs.get(id);
        match node.op {
            ScalarOp::Axis(_) => return true,
            ScalarOp::Load(p) if is_whole(kernel, section, p, &node.args) => {}
            _ => pending.extend(node.args.iter().copied().filter(|&a| seen.insert(a))),
        }
    }
    false
}

/// How elements at an index are accessed by lanes along an axis.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lanes {
    /// Lanes are neighbours in memory, aligned to whole vectors of the given length.
    Contiguous,
    /// Each lane by itself.
    Single,
}

/// How lanes along `axis` access an element. The position of the vector is known before its lanes are computed with.
pub(super) fn lanes(section: &Section, index: &[ExprId], shape: &[Dim], axis: u32, vector: u32) -> Lanes {
    let Some((&last, outer)) = index.split_last() else { return Lanes::Single };
    let aligned = shape[shape.len() - 1].rem(i64_dim(vector)) == Dim::ZERO;
    let pure = |&id: &ExprId| is_of_other_axes(section, id, &[axis]);
    let contiguous = section.exprs.get(last).op == ScalarOp::Axis(axis) && aligned && outer.iter().all(pure);
    if contiguous { Lanes::Contiguous } else { Lanes::Single }
}

/// Whether an index is made of other axes than these, and of nothing that is loaded or computed before.
pub(super) fn is_of_other_axes(section: &Section, id: ExprId, axes: &[u32]) -> bool {
    section.exprs.reachable(&[id]).iter().all(|&e| match section.exprs.get(e).op {
        ScalarOp::Load(_) | ScalarOp::Local(_) => false,
        ScalarOp::Axis(a) => !axes.contains(&a),
        _ => true,
    })
}

pub(super) fn i64_dim(n: u32) -> Dim {
    Dim::constant(i64::from(n))
}

/// An access of a stage: the parameter, the index, and whether it is a store.
pub(super) fn accesses<'a>(section: &'a Section, stages: &'a [Stage]) -> Vec<(u32, &'a [ExprId], bool)> {
    let mut found = Vec::new();
    for stage in stages {
        for id in section.exprs.depth_first(&stage.roots()) {
            let node = section.exprs.get(id);
            if let ScalarOp::Load(p) = node.op {
                found.push((p, node.args.as_slice(), false));
            }
        }
        if let Stage::Map { stores, .. } = stage {
            for store in stores {
                if let Target::Param { param, index, .. } = &store.to {
                    found.push((*param, index.as_slice(), true));
                }
            }
        }
    }
    found
}
