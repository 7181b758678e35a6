//! Building one kernel from a group of graph nodes.
//!
//! Everything that is not stored is computed where it is read: an expression is built on demand at the index it is
//! wanted at, through views, pointwise operators, gathers. Reductions and dots of the group become stages; what reads
//! them must do so at the group's own parallel index, else the group is refused.

mod attention;

use super::units::{Role, Units};
use igneous_ir::dim::Dim;
use igneous_ir::graph::{Graph, Value};
use igneous_ir::kernel::{Access, Axis, AxisKind, Kernel, Local, Param, Section, Stage, Store, Target};
use igneous_ir::op::{Contraction, Indexing, Lowering, ReduceKind, Role as ContractionRole};
use igneous_ir::scalar::{ExprId, Exprs, S, ScalarOp};
use igneous_ir::types::{DType, TensorType};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};

/// Why two groups cannot be one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub String);

fn refuse<T>(reason: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal(reason.into()))
}

/// A kernel and the graph values behind its parameters.
#[derive(Clone, Debug)]
pub struct Built {
    /// The kernel; its schedule is still empty.
    pub kernel: Kernel,
    /// The value behind each parameter. A parameter's type may differ from its value's in shape (a reshape costs nothing).
    pub values: Vec<Value>,
}

/// Values nested deeper than this make a kernel that takes too much stack to build.
const MAX_DEPTH: u32 = 160;
/// More expression nodes than this make a kernel too large to compile quickly and to keep in registers.
const MAX_EXPRS: usize = 6000;

/// Builds the kernel of the group `members` (units, in graph order), whose `outputs` are wanted outside of it.
///
/// # Errors
/// The reason why these units do not fit into one kernel.
pub fn build(graph: &Graph, units: &Units, members: &BTreeSet<u32>, outputs: &BTreeSet<Value>) -> Result<Built, Refusal> {
    if let Some(&hero) = members.iter().find(|&&n| units.role(n) == Role::Attention) {
        if members.len() > 1 {
            return refuse("attention is a kernel of its own");
        }
        return attention::build(graph, units, hero, outputs);
    }
    let heroes: Vec<u32> = members.iter().copied().filter(|&n| units.role(n) == Role::Contraction).collect();
    let scatters = members.iter().filter(|&&n| units.role(n) == Role::Scatter).count();
    let exprs = RefCell::new(Exprs::default());
    let builder = Builder::new(graph, units, members, &exprs);
    match (heroes.as_slice(), scatters) {
        ([], 0) => builder.loops(outputs)?,
        ([], 1) if members.len() == 1 => builder.scatter(*members.first().expect("one member"))?,
        ([hero], 0) => builder.dot(*hero, outputs)?,
        (_, 0) => return refuse("two dots or convolutions in one kernel"),
        _ => return refuse("a scatter is a kernel of its own"),
    }
    builder.finish()
}

/// The same expressions with the lifetime of a lowering's context.
fn within<'a>(cx: &Indexing<'a>, index: &[S<'_>]) -> Vec<S<'a>> {
    index.iter().map(|s| S::of(cx.exprs, s.id)).collect()
}

/// `x` in the type its arithmetic is done in.
fn wide(x: S<'_>) -> S<'_> {
    x.cast(x.dtype().compute())
}

/// A reduction or contraction of the group: where its results are known, and their locals.
struct Anchor {
    index: Vec<ExprId>,
    locals: Vec<u32>,
}

struct Builder<'g, 'x> {
    graph: &'g Graph,
    units: &'g Units,
    members: &'g BTreeSet<u32>,
    exprs: &'x RefCell<Exprs>,
    axes: RefCell<Vec<Axis>>,
    locals: RefCell<Vec<Local>>,
    params: RefCell<Vec<(Value, Param)>>,
    stages: RefCell<Vec<Stage>>,
    memo: RefCell<HashMap<(Value, Vec<ExprId>), ExprId>>,
    /// The index at which the results of each reduction or contraction of the group are known, and their locals.
    anchors: RefCell<HashMap<u32, Anchor>>,
    /// While probing: the first index at which an anchor was wanted.
    probe: RefCell<Option<(u32, Vec<ExprId>)>>,
    probing: Cell<bool>,
    /// How many values are being built, each for the one before.
    depth: Cell<u32>,
    refusal: RefCell<Option<Refusal>>,
}

impl<'g, 'x> Builder<'g, 'x> {
    fn new(graph: &'g Graph, units: &'g Units, members: &'g BTreeSet<u32>, exprs: &'x RefCell<Exprs>) -> Self {
        Builder {
            graph,
            units,
            members,
            exprs,
            axes: RefCell::default(),
            locals: RefCell::default(),
            params: RefCell::default(),
            stages: RefCell::default(),
            memo: RefCell::default(),
            anchors: RefCell::default(),
            probe: RefCell::default(),
            probing: Cell::new(false),
            depth: Cell::new(0),
            refusal: RefCell::default(),
        }
    }

    fn finish(self) -> Result<Built, Refusal> {
        let mut locs = Vec::new();
        for &n in self.members {
            if let Some(loc) = self.graph.node(n).loc
                && !locs.contains(&loc)
            {
                locs.push(loc);
            }
        }
        let (params, section) = self.section()?;
        let (values, params) = params.into_iter().unzip();
        Ok(Built { kernel: Kernel { name: String::new(), params, sections: vec![section], locs }, values })
    }

    /// The section, and the parameters with their values.
    fn section(self) -> Result<(Vec<(Value, Param)>, Section), Refusal> {
        if let Some(refusal) = self.refusal.into_inner() {
            return Err(refusal);
        }
        let exprs = self.exprs.replace(Exprs::default());
        if exprs.len() > MAX_EXPRS {
            return refuse(format!("the kernel would have {} expressions, more than {MAX_EXPRS}", exprs.len()));
        }
        let section = Section {
            axes: self.axes.into_inner(),
            locals: self.locals.into_inner(),
            exprs,
            stages: self.stages.into_inner(),
            schedule: Vec::new(),
        };
        Ok((self.params.into_inner(), section))
    }

    fn axis(&self, extent: Dim, kind: AxisKind) -> S<'x> {
        let mut axes = self.axes.borrow_mut();
        let index = axes.len() as u32;
        axes.push(Axis { name: String::new(), extent, kind });
        let mut exprs = self.exprs.borrow_mut();
        exprs.axes.push(extent);
        let id = exprs.raw(ScalarOp::Axis(index), &[], DType::I64);
        drop(exprs);
        S::of(self.exprs, id)
    }

    fn zero(&self) -> S<'x> {
        S::int(self.exprs, DType::I64, 0)
    }

    /// One index for each extent: a new parallel axis, or 0 where the extent is one.
    fn parallel(&self, shape: &[Dim]) -> Vec<S<'x>> {
        shape.iter().map(|&d| if d == Dim::ONE { self.zero() } else { self.axis(d, AxisKind::Parallel) }).collect()
    }

    /// One index for each extent: serial axes are shared between stages that loop over the same extents.
    fn serial(&self, extents: &[Dim]) -> Vec<S<'x>> {
        let mut used: Vec<u32> = Vec::new();
        extents
            .iter()
            .map(|&d| {
                if d == Dim::ONE {
                    return self.zero();
                }
                let found =
                    self.axes.borrow().iter().enumerate().position(|(i, a)| {
                        a.kind == AxisKind::Serial && a.extent == d && used.last().is_none_or(|&u| u < i as u32)
                    });
                let s = match found {
                    Some(i) => S::of(self.exprs, self.exprs.borrow_mut().raw(ScalarOp::Axis(i as u32), &[], DType::I64)),
                    None => self.axis(d, AxisKind::Serial),
                };
                used.push(self.axis_of(s).expect("just made"));
                s
            })
            .collect()
    }

    /// Index and axes of a reduction or contraction, which has at least one axis: where all extents are one (or there are
    /// none), one of extent one.
    fn folded(&self, extents: &[Dim]) -> (Vec<S<'x>>, Vec<u32>) {
        let index = self.serial(extents);
        let mut axes = self.serial_axes(&index);
        if axes.is_empty() {
            axes.extend(self.axis_of(self.axis(Dim::ONE, AxisKind::Serial)));
        }
        (index, axes)
    }

    fn axis_of(&self, s: S<'x>) -> Option<u32> {
        match self.exprs.borrow().get(s.id).op {
            ScalarOp::Axis(a) => Some(a),
            _ => None,
        }
    }

    fn serial_axes(&self, index: &[S<'x>]) -> Vec<u32> {
        let axes = self.axes.borrow();
        index.iter().filter_map(|&s| self.axis_of(s)).filter(|&a| axes[a as usize].kind == AxisKind::Serial).collect()
    }

    fn local(&self, dtype: DType) -> u32 {
        let mut locals = self.locals.borrow_mut();
        locals.push(Local { name: String::new(), dtype, axes: Vec::new() });
        locals.len() as u32 - 1
    }

    fn read_local(&self, local: u32) -> S<'x> {
        let dtype = self.locals.borrow()[local as usize].dtype;
        let id = self.exprs.borrow_mut().raw(ScalarOp::Local(local), &[], dtype);
        S::of(self.exprs, id)
    }

    fn fail(&self, reason: impl Into<String>) {
        self.refusal.borrow_mut().get_or_insert_with(|| Refusal(reason.into()));
    }

    fn param(&self, value: Value, ty: &TensorType, access: Access) -> u32 {
        let mut params = self.params.borrow_mut();
        let found = params.iter().position(|(v, p)| *v == value && p.ty == *ty && p.access == access);
        found.unwrap_or_else(|| {
            params.push((value, Param { name: String::new(), ty: ty.clone(), access }));
            params.len() - 1
        }) as u32
    }

    fn load(&self, value: Value, ty: &TensorType, index: &[S<'x>]) -> S<'x> {
        let param = self.param(value, ty, Access::Read);
        let ids: Vec<ExprId> = index.iter().map(|s| s.id).collect();
        let id = self.exprs.borrow_mut().raw(ScalarOp::Load(param), &ids, ty.dtype);
        S::of(self.exprs, id)
    }

    /// The element of `value` at `index`.
    fn at(&self, value: Value, index: &[S<'x>]) -> S<'x> {
        let ids: Vec<ExprId> = index.iter().map(|s| s.id).collect();
        if let Some(&id) = self.memo.borrow().get(&(value, ids.clone())) {
            return S::of(self.exprs, id);
        }
        self.depth.set(self.depth.get() + 1);
        let made = self.at_uncached(value, index, &ids);
        self.depth.set(self.depth.get() - 1);
        self.memo.borrow_mut().insert((value, ids), made.id);
        made
    }

    fn at_uncached(&self, value: Value, index: &[S<'x>], ids: &[ExprId]) -> S<'x> {
        let node = self.graph.node(value.node);
        let ty = self.graph.ty(value);
        let unknown = || S::literal(self.exprs, ty.dtype, 0.0);
        if self.exprs.borrow().len() > MAX_EXPRS {
            self.fail(format!("the kernel would have more than {MAX_EXPRS} expressions"));
            return unknown();
        }
        if self.depth.get() > MAX_DEPTH {
            self.fail(format!("values would be nested more than {MAX_DEPTH} deep"));
            return unknown();
        }
        if let Some(literal) = self.units.literal(self.graph, value) {
            let id = self.exprs.borrow_mut().constant(literal);
            return S::of(self.exprs, id);
        }
        if let Some(source) = self.units.stored_source(self.graph, value, self.members) {
            return self.load(source, ty, index);
        }
        match self.units.role(value.node) {
            Role::Reduction | Role::Contraction => {
                if self.probing.get() {
                    self.probe.borrow_mut().get_or_insert_with(|| (value.node, ids.to_vec()));
                    return unknown();
                }
                match self.anchors.borrow().get(&value.node) {
                    Some(anchor) if anchor.index == ids => {
                        return self.read_local(anchor.locals[value.result as usize]).cast(ty.dtype);
                    }
                    Some(_) => self.fail(format!("{} is read at another index than it is made at", node.op.name())),
                    None => self.fail(format!("{} is read before it is made", node.op.name())),
                }
                unknown()
            }
            _ => {
                let Lowering::Map(lower) = node.op.record().lowering else {
                    self.fail(format!("{} cannot be computed inside another kernel", node.op.name()));
                    return unknown();
                };
                let id = self.lowered(value.node, value.result as usize, index, |cx| lower(cx).id);
                S::of(self.exprs, id)
            }
        }
    }

    /// Runs a record's lowering of `node` at `index` and gives its result to the caller as node numbers.
    fn lowered<T>(&self, node: u32, result: usize, index: &[S<'x>], lower: impl FnOnce(&Indexing<'_>) -> T) -> T {
        let node = self.graph.node(node);
        let operands: Vec<TensorType> = node.operands.iter().map(|&v| self.graph.ty(v).clone()).collect();
        let load = |k: usize, index: &[S<'_>]| {
            let own: Vec<S<'x>> = index.iter().map(|s| S::of(self.exprs, s.id)).collect();
            self.at(node.operands[k], &own)
        };
        lower(&Indexing {
            exprs: self.exprs,
            op: &node.op,
            operands: &operands,
            results: &node.results,
            result,
            index,
            load: &load,
        })
    }

    fn add_map(&self, axes: Vec<u32>, store: Store) {
        let mut stages = self.stages.borrow_mut();
        if let Some(Stage::Map { axes: last, stores }) = stages.last_mut()
            && *last == axes
        {
            stores.push(store);
            return;
        }
        stages.push(Stage::Map { axes, stores: vec![store] });
    }

    fn store(&self, value: Value, index: &[S<'x>], element: S<'x>, combine: Option<ReduceKind>) {
        let param = self.param(value, self.graph.ty(value), Access::Write);
        let to = Target::Param { param, index: index.iter().map(|s| s.id).collect(), combine };
        self.add_map(self.serial_axes(index), Store { value: element.id, to });
    }

    /// A kernel of maps, reductions and checks over one set of parallel axes.
    fn loops(&self, outputs: &BTreeSet<Value>) -> Result<(), Refusal> {
        let of = |role: Role| self.members.iter().copied().filter(move |&n| self.units.role(n) == role);
        let reductions: Vec<u32> = of(Role::Reduction).collect();
        let shape = self.parallel_shape(&reductions)?;
        let point = self.parallel(&shape);
        for &n in &reductions {
            self.reduction(n, &point);
        }
        for &n in &reductions {
            for v in self.graph.results(n).into_iter().filter(|v| outputs.contains(v)) {
                let element = self.at(v, &point);
                self.store(v, &point, element, None);
            }
        }
        for n in of(Role::Check) {
            let operands = &self.graph.node(n).operands;
            let index = self.bind(operands[0], &shape, &point, !reductions.is_empty())?;
            let (ok, value) = (self.at(operands[0], &index).id, self.at(operands[1], &index).id);
            let check = Stage::Check { axes: self.serial_axes(&index), ok, value, code: self.units.check_code(n) };
            self.stages.borrow_mut().push(check);
        }
        for n in of(Role::Map) {
            for v in self.graph.results(n).into_iter().filter(|v| outputs.contains(v)) {
                let index = self.bind(v, &shape, &point, !reductions.is_empty())?;
                let element = self.at(v, &index);
                self.store(v, &index, element, None);
            }
        }
        Ok(())
    }

    fn parallel_shape(&self, reductions: &[u32]) -> Result<Vec<Dim>, Refusal> {
        if let Some((&first, rest)) = reductions.split_first() {
            let shape = self.graph.node(first).results[0].shape.to_vec();
            if rest.iter().any(|&n| self.graph.node(n).results[0].shape.as_slice() != shape) {
                return refuse("the reductions keep different axes");
            }
            return Ok(shape);
        }
        let shapes: Vec<&[Dim]> = self
            .members
            .iter()
            .map(|&n| {
                let node = self.graph.node(n);
                let ty = if self.units.role(n) == Role::Check { self.graph.ty(node.operands[0]) } else { &node.results[0] };
                ty.shape.as_slice()
            })
            .collect();
        if shapes.iter().any(|s| *s != shapes[0]) {
            return refuse("the maps have different shapes");
        }
        Ok(shapes[0].to_vec())
    }

    fn reduction(&self, n: u32, point: &[S<'x>]) {
        let Lowering::Reduction(lower) = self.graph.node(n).op.record().lowering else {
            unreachable!("the role of a node follows from its lowering");
        };
        let (kind, axes, body) = self.lowered(n, 0, point, |cx| {
            let reduction = lower(cx);
            let (index, axes) = self.folded(&reduction.extents);
            let body = (reduction.body)(&within(cx, &index));
            (reduction.kind, axes, wide(body).id)
        });
        // Half types are accumulated in single precision.
        let to: Vec<u32> = self.graph.node(n).results.iter().map(|ty| self.local(ty.dtype.compute())).collect();
        self.stages.borrow_mut().push(Stage::Reduce { kind, axes, body, to: to.clone() });
        self.anchors.borrow_mut().insert(n, Anchor { index: point.iter().map(|s| s.id).collect(), locals: to });
    }

    /// The index at which `value` is computed by the kernel: its axes that are the kernel's parallel axes, and
    /// serial axes for the others.
    fn bind(&self, value: Value, shape: &[Dim], point: &[S<'x>], anchored: bool) -> Result<Vec<S<'x>>, Refusal> {
        let own = &self.graph.ty(value).shape;
        if !anchored {
            return Ok(point.to_vec());
        }
        let places: Vec<usize> = match self.probe_anchor(value, own)? {
            Some(places) => places,
            None if own.len() >= shape.len() && own[..shape.len()] == *shape => (0..shape.len()).collect(),
            None => return refuse("a map does not have the parallel axes of the reduction beside it"),
        };
        let mut index: Vec<Option<S<'x>>> = vec![None; own.len()];
        for (k, &place) in places.iter().enumerate() {
            if shape[k] == Dim::ONE {
                continue;
            }
            if place >= own.len() || own[place] != shape[k] || index[place].is_some() {
                return refuse("a map reads a reduction along other axes than the kernel's");
            }
            index[place] = Some(point[k]);
        }
        let free: Vec<Dim> = own.iter().zip(&index).filter(|(_, i)| i.is_none()).map(|(&d, _)| d).collect();
        let mut serial = self.serial(&free).into_iter();
        Ok(index.into_iter().map(|i| i.unwrap_or_else(|| serial.next().expect("one for each free axis"))).collect())
    }

    /// Which axis of `value` each axis of an anchor (a reduction or contraction of the group) is read along;
    /// `usize::MAX` for axes of extent one. None if it reads no anchor.
    fn probe_anchor(&self, value: Value, shape: &[Dim]) -> Result<Option<Vec<usize>>, Refusal> {
        let exprs = RefCell::new(Exprs::default());
        let probe = Builder::new(self.graph, self.units, self.members, &exprs);
        probe.probing.set(true);
        let mut place_of = Vec::new();
        let index: Vec<S<'_>> = shape
            .iter()
            .enumerate()
            .map(|(i, &d)| {
                if d == Dim::ONE {
                    return probe.zero();
                }
                place_of.push(i);
                probe.axis(d, AxisKind::Parallel)
            })
            .collect();
        probe.at(value, &index);
        if let Some(refusal) = probe.refusal.into_inner() {
            return Err(refusal);
        }
        let Some((_, ids)) = probe.probe.into_inner() else { return Ok(None) };
        let exprs = exprs.borrow();
        let places = ids.iter().map(|&id| match exprs.get(id).op {
            ScalarOp::Axis(a) => Ok(place_of[a as usize]),
            ScalarOp::Literal(l) if l.as_i64() == 0 => Ok(usize::MAX),
            _ => refuse("a map reads a reduction or dot at a computed index"),
        });
        places.collect::<Result<Vec<usize>, Refusal>>().map(Some)
    }

    /// A kernel around a dot or convolution: what follows it elementwise is its epilogue.
    fn dot(&self, hero: u32, outputs: &BTreeSet<Value>) -> Result<(), Refusal> {
        if let Some(&other) = self.members.iter().find(|&&n| n != hero && self.units.role(n) != Role::Map) {
            return refuse(format!("{} beside a dot", self.graph.node(other).op.name()));
        }
        let Lowering::Contraction(lower) = self.graph.node(hero).op.record().lowering else {
            unreachable!("the role of a node follows from its lowering");
        };
        let ty = &self.graph.node(hero).results[0];
        let (place, dot) = self.lowered(hero, 0, &[], |cx| {
            let Contraction { axes, extents, place, lhs, rhs } = lower(cx);
            let dims: Vec<Dim> = axes.iter().map(|a| a.0).collect();
            let point = self.parallel(&dims);
            let (inner, contracted) = self.folded(&extents);
            let with_role = |role: ContractionRole| -> Vec<u32> {
                point.iter().zip(&axes).filter(|(_, a)| a.1 == role).filter_map(|(&s, _)| self.axis_of(s)).collect()
            };
            let dot = Stage::Dot {
                batch: with_role(ContractionRole::Batch),
                m: with_role(ContractionRole::M),
                n: with_role(ContractionRole::N),
                axes: contracted,
                lhs: wide(lhs(&within(cx, &point), &within(cx, &inner))).id,
                rhs: wide(rhs(&within(cx, &point), &within(cx, &inner))).id,
                to: self.local(ty.dtype.compute()),
            };
            let place: Vec<ExprId> = place(&within(cx, &point)).iter().map(|s| s.id).collect();
            (place, dot)
        });
        let Stage::Dot { to, .. } = &dot else { unreachable!("made above") };
        self.anchors.borrow_mut().insert(hero, Anchor { index: place.clone(), locals: vec![*to] });
        self.stages.borrow_mut().push(dot);
        let place: Vec<S<'x>> = place.into_iter().map(|id| S::of(self.exprs, id)).collect();
        let result = Value { node: hero, result: 0 };
        if outputs.contains(&result) {
            let element = self.at(result, &place);
            self.store(result, &place, element, None);
        }
        for &n in self.members.iter().filter(|&&n| n != hero) {
            for v in self.graph.results(n).into_iter().filter(|v| outputs.contains(v)) {
                let own = self.graph.ty(v).shape.clone();
                let Some(places) = self.probe_anchor(v, &own)? else {
                    return refuse("a map that does not read the dot");
                };
                let mut index = vec![self.zero(); own.len()];
                let mut covered = 0;
                for (k, &p) in places.iter().enumerate().filter(|(_, p)| **p != usize::MAX) {
                    if own[p] != ty.shape[k] {
                        return refuse("a map reads a part of the dot");
                    }
                    index[p] = place[k];
                    covered += 1;
                }
                if covered != own.iter().filter(|d| **d != Dim::ONE).count() {
                    return refuse("a map has more axes than the dot it reads");
                }
                let element = self.at(v, &index);
                self.store(v, &index, element, None);
            }
        }
        Ok(())
    }

    fn scatter(&self, n: u32) -> Result<(), Refusal> {
        let node = self.graph.node(n);
        let Lowering::Scatter(lower) = node.op.record().lowering else {
            unreachable!("the role of a node follows from its lowering");
        };
        let shape = &node.results[0].shape;
        // Which result axes an update fixes is known only from the lowering, so it runs twice: once to see.
        let parallel = self.lowered(n, 0, &vec![self.zero(); shape.len()], |cx| lower(cx).parallel);
        let bound: BTreeSet<usize> = parallel.iter().flatten().copied().collect();
        let point: Vec<S<'x>> =
            (0..shape.len())
                .map(|a| {
                    if bound.contains(&a) && shape[a] != Dim::ONE { self.axis(shape[a], AxisKind::Parallel) } else { self.zero() }
                })
                .collect();
        let free: Vec<usize> = (0..shape.len()).filter(|a| !bound.contains(a)).collect();
        let mut index = point.clone();
        for (&a, s) in free.iter().zip(self.serial(&free.iter().map(|&a| shape[a]).collect::<Vec<_>>())) {
            index[a] = s;
        }
        let (initial, update, place, value, combine) = self.lowered(n, 0, &index, |cx| {
            let scatter = lower(cx);
            let open: Vec<usize> = (0..parallel.len()).filter(|&u| parallel[u].is_none()).collect();
            let mut update: Vec<S<'x>> = parallel.iter().map(|r| r.map_or(self.zero(), |r| point[r])).collect();
            for (&u, s) in open.iter().zip(self.serial(&open.iter().map(|&u| scatter.extents[u]).collect::<Vec<_>>())) {
                update[u] = s;
            }
            let place: Vec<ExprId> = (scatter.place)(&within(cx, &update)).iter().map(|s| s.id).collect();
            (scatter.initial.id, update.clone(), place, (scatter.value)(&within(cx, &update)).id, scatter.combine)
        });
        let result = Value { node: n, result: 0 };
        self.store(result, &index, S::of(self.exprs, initial), None);
        let param = self.param(result, &node.results[0], Access::Write);
        let store = Store { value, to: Target::Param { param, index: place, combine } };
        self.stages.borrow_mut().push(Stage::Map { axes: self.serial_axes(&update), stores: vec![store] });
        Ok(())
    }
}
