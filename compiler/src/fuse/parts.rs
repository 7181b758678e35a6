//! Reductions of very many elements to a few results, in two kernels: the first reduces each chunk of the tree as a point of its
//! own, so that all threads have work; the second combines the chunks in order.

use super::exprs::rebuild;
use super::name::label;
use super::params::renumber;
use crate::schedule::schedule;
use igneous_ir::dim::Dim;
use igneous_ir::kernel::{Access, Axis, AxisKind, CHUNK, Kernel, Local, Param, Section, Stage, Store, Target};
use igneous_ir::op::ReduceKind;
use igneous_ir::scalar::{ExprId, Exprs, ScalarOp};
use igneous_ir::types::{DType, Literal, Shape, TensorType};

/// Reductions of fewer elements stay whole.
const LONG: i64 = 16 * CHUNK as i64;
/// So do those with more results, which are work for the threads.
const FEW_POINTS: i64 = 8;

/// Two kernels that do the work of one.
pub struct InParts {
    /// What the first leaves for the second, and what the second keeps for itself.
    pub temporaries: Vec<TensorType>,
    /// Each with the origin of its parameters.
    pub kernels: [(Kernel, Vec<Origin>); 2],
}

/// Where a parameter comes from.
#[derive(Clone, Copy)]
pub enum Origin {
    /// A parameter of the whole kernel.
    Param(usize),
    /// One of the temporaries.
    Temporary(usize),
}

/// A reduction that is split.
struct Long {
    kind: ReduceKind,
    to: u32,
    dtype: DType,
}

/// The kernel in two, if it reduces long rows and has few of them.
pub fn in_parts(kernel: &Kernel) -> Option<InParts> {
    let [section] = &kernel.sections[..] else { return None };
    let (axis, reductions) = reductions(section)?;
    let points: Dim = section.parallel().map(|a| section.axes[a as usize].extent).product();
    let count = section.axes[axis as usize].extent.as_const()?;
    if count < LONG || points.as_const().is_none_or(|n| n > FEW_POINTS) {
        return None;
    }
    let split = Split { kernel, section, axis, reductions, count };
    let rows: Shape = section.parallel().map(|a| section.axes[a as usize].extent).collect();
    let chunked: Shape = rows.iter().copied().chain([Dim::constant(split.chunks())]).collect();
    let of_shape = |shape: &Shape| split.reductions.iter().map(|r| TensorType::new(r.dtype, shape.clone())).collect::<Vec<_>>();
    let temporaries = [of_shape(&chunked), of_shape(&rows)].concat();
    let kernels = [(format!("{}_parts", kernel.name), split.chunk_section()), (kernel.name.clone(), split.rest())];
    Some(InParts { kernels: kernels.map(|(name, section)| split.finished(name, section, &temporaries)), temporaries })
}

/// The leading reductions, all over one axis, if nothing behind them loops.
fn reductions(section: &Section) -> Option<(u32, Vec<Long>)> {
    let exprs = &section.exprs;
    let mut over = None;
    let mut found = Vec::new();
    for stage in &section.stages {
        let Stage::Reduce { kind, axes, body, to } = stage else { break };
        let &[axis] = &axes[..] else { return None };
        let simple = kind.results() == 1 && !matches!(kind, ReduceKind::ArgMax | ReduceKind::ArgMin);
        let apart = exprs.reachable(&[*body]).iter().all(|&id| !matches!(exprs.get(id).op, ScalarOp::Local(_)));
        if !simple || !apart || *over.get_or_insert(axis) != axis {
            return None;
        }
        found.push(Long { kind: *kind, to: to[0], dtype: exprs.dtype(*body) });
    }
    let loops = section.stages[found.len()..].iter().any(|s| !s.axes().is_empty());
    over.filter(|_| !loops).map(|axis| (axis, found))
}

struct Split<'a> {
    kernel: &'a Kernel,
    section: &'a Section,
    /// The axis that is reduced, and its extent.
    axis: u32,
    count: i64,
    reductions: Vec<Long>,
}

impl Split<'_> {
    /// Whole chunks.
    fn chunks(&self) -> i64 {
        self.count / CHUNK as i64
    }

    /// The number of the parameter that holds the chunks of a reduction.
    fn part(&self, reduction: usize) -> u32 {
        (self.kernel.params.len() + reduction) as u32
    }

    /// The number of the parameter that holds what a reduction has come to.
    fn total(&self, reduction: usize) -> u32 {
        (self.kernel.params.len() + self.reductions.len() + reduction) as u32
    }

    /// The axes with another one in place of the reduced one, and one more.
    fn axes(&self, instead: Axis, more: i64) -> Vec<Axis> {
        let mut axes = self.section.axes.clone();
        axes[self.axis as usize] = instead;
        axes.push(axis(AxisKind::Serial, more));
        axes
    }

    fn leading(&self) -> Section {
        let stages = self.section.stages[..self.reductions.len()].to_vec();
        Section { stages, ..self.section.clone() }
    }

    /// The indices of the parallel axes.
    fn point(&self, exprs: &mut Exprs) -> Vec<ExprId> {
        self.section.parallel().map(|a| exprs.raw(ScalarOp::Axis(a), &[], DType::I64)).collect()
    }

    /// The reductions over the last axis, whose index is `start` elements further along the reduced one.
    fn reductions_over_last(&self, exprs: &mut Exprs, start: impl Fn(&mut Exprs) -> ExprId) -> Vec<Stage> {
        let last = self.section.axes.len() as u32;
        let mut stages = rebuild(&self.leading(), exprs, |exprs, op, _, dtype| match op {
            ScalarOp::Axis(a) if a == self.axis => {
                let (inner, start) = (exprs.raw(ScalarOp::Axis(last), &[], dtype), start(exprs));
                Some(exprs.add(ScalarOp::Add, &[start, inner], dtype))
            }
            _ => None,
        });
        for stage in &mut stages {
            if let Stage::Reduce { axes, .. } = stage {
                *axes = vec![last];
            }
        }
        stages
    }

    /// Every whole chunk as a point.
    fn chunk_section(&self) -> Section {
        let axes = self.axes(axis(AxisKind::Parallel, self.chunks()), CHUNK as i64);
        let mut exprs = Exprs::with_axes(axes.iter().map(|a| a.extent).collect());
        let chunk = exprs.raw(ScalarOp::Axis(self.axis), &[], DType::I64);
        let mut stages = self.reductions_over_last(&mut exprs, |exprs| {
            let length = int(exprs, CHUNK as i64);
            exprs.add(ScalarOp::Mul, &[chunk, length], DType::I64)
        });
        let mut locals = Vec::new();
        let mut stores = Vec::new();
        // The chunk's axis stands where the reduced one did, but its index comes last.
        let index: Vec<ExprId> = self.point(&mut exprs).into_iter().chain([chunk]).collect();
        for (i, (stage, reduction)) in stages.iter_mut().zip(&self.reductions).enumerate() {
            if let Stage::Reduce { to, .. } = stage {
                *to = vec![i as u32];
            }
            locals.push(local(reduction.dtype));
            let value = exprs.raw(ScalarOp::Local(i as u32), &[], reduction.dtype);
            stores.push(Store { value, to: Target::Param { param: self.part(i), index: index.clone(), combine: None } });
        }
        stages.push(Stage::Map { axes: Vec::new(), stores });
        Section { axes, locals, exprs, stages, schedule: Vec::new() }
    }

    /// The chunks combined in order, the elements behind the last whole one, and what comes behind the reductions.
    fn rest(&self) -> Section {
        let behind = self.count % CHUNK as i64;
        let mut axes = self.axes(axis(AxisKind::Serial, self.chunks() - 1), behind);
        let mut locals = self.section.locals.clone();
        let mut exprs = Exprs::with_axes(axes.iter().map(|a| a.extent).collect());
        let point = self.point(&mut exprs);
        let part = |exprs: &mut Exprs, i: usize, chunk: ExprId| {
            let index: Vec<ExprId> = point.iter().copied().chain([chunk]).collect();
            exprs.raw(ScalarOp::Load(self.part(i)), &index, self.reductions[i].dtype)
        };
        let total = |i: usize, value: ExprId, combine: Option<ReduceKind>| Store {
            value,
            to: Target::Param { param: self.total(i), index: point.clone(), combine },
        };
        let (mut first, mut others, mut last, mut results) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let next = exprs.raw(ScalarOp::Axis(self.axis), &[], DType::I64);
        let [zero, one] = [0, 1].map(|n| int(&mut exprs, n));
        let next = exprs.add(ScalarOp::Add, &[next, one], DType::I64);
        let mut tail = match behind {
            0 => Vec::new(),
            _ => self.reductions_over_last(&mut exprs, |exprs| int(exprs, self.count - behind)),
        };
        for (i, reduction) in self.reductions.iter().enumerate() {
            let value = part(&mut exprs, i, zero);
            first.push(total(i, value, None));
            let value = part(&mut exprs, i, next);
            others.push(total(i, value, Some(reduction.kind)));
            if let Some(Stage::Reduce { to, .. }) = tail.get_mut(i) {
                locals.push(local(reduction.dtype));
                let made = locals.len() as u32 - 1;
                *to = vec![made];
                let value = exprs.raw(ScalarOp::Local(made), &[], reduction.dtype);
                last.push(total(i, value, Some(reduction.kind)));
            }
            let value = exprs.raw(ScalarOp::Load(self.total(i)), &point, reduction.dtype);
            results.push(Store { value, to: Target::Local(reduction.to) });
        }
        let once = |stores: Vec<Store>| Stage::Map { axes: Vec::new(), stores };
        let mut stages = vec![once(first), Stage::Map { axes: vec![self.axis], stores: others }];
        if behind == 0 {
            axes.pop();
            exprs.axes.pop();
        } else {
            stages.extend(tail);
            stages.push(once(last));
        }
        stages.push(once(results));
        let rest = self.section.stages[self.reductions.len()..].to_vec();
        stages.extend(rebuild(&Section { stages: rest, ..self.section.clone() }, &mut exprs, |_, _, _, _| None));
        Section { axes, locals, exprs, stages, schedule: Vec::new() }
    }

    /// The kernel of a section, with the parameters that it uses.
    fn finished(&self, name: String, section: Section, temporaries: &[TensorType]) -> (Kernel, Vec<Origin>) {
        let given = self.kernel.params.len();
        let stored = |p: u32| {
            let to = |s: &Store| matches!(s.to, Target::Param { param, .. } if param == p);
            section.stages.iter().any(|s| matches!(s, Stage::Map { stores, .. } if stores.iter().any(to)))
        };
        let access = |p: u32| if stored(p) { Access::Write } else { Access::Read };
        let mut used = section.params();
        used.sort_by_key(|&p| (access(p) == Access::Write, p));
        let mut map = vec![0; given + temporaries.len()];
        used.iter().enumerate().for_each(|(new, &old)| map[old as usize] = new as u32);
        let (mut params, mut origins) = (Vec::new(), Vec::new());
        for &p in &used {
            let temporary = (p as usize).checked_sub(given);
            let ty = temporary.map_or_else(|| self.kernel.params[p as usize].ty.clone(), |t| temporaries[t].clone());
            params.push(Param { name: String::new(), ty, access: access(p) });
            origins.push(temporary.map_or(Origin::Param(p as usize), Origin::Temporary));
        }
        let sections = vec![renumber(section, &map)];
        let mut kernel = Kernel { name, params, sections, locs: self.kernel.locs.clone() };
        label(&mut kernel);
        schedule(&mut kernel);
        (kernel, origins)
    }
}

fn axis(kind: AxisKind, extent: i64) -> Axis {
    Axis { name: String::new(), extent: Dim::constant(extent), kind }
}

fn local(dtype: DType) -> Local {
    Local { name: String::new(), dtype, axes: Vec::new() }
}

fn int(exprs: &mut Exprs, n: i64) -> ExprId {
    exprs.constant(Literal::int(DType::I64, n))
}
