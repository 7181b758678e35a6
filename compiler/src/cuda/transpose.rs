//! Maps that read along one axis what they write along another: 32×32 points at a time, whose elements pass through shared memory, so
//! that on both ways neighbours in memory are those of neighbouring threads.

use super::out::Out;
use super::plan;
use super::scalar::{self, Overrides, dim};
use super::section::Emitter;
use igneous_ir::dim::Dim;
use igneous_ir::kernel::{Access, Kernel, Section, Stage, Target};
use igneous_ir::scalar::{ExprId, ScalarOp};
use std::collections::HashMap;

/// Points along both sides of a block.
const SIDE: usize = 32;
/// Rows of points that the threads of a block have at once.
const ROWS: usize = 8;
/// The most operands that pass through shared memory; others are read where they lie.
const MOST: usize = 4;
/// Shorter axes are read in whole lines anyway.
const LEAST: usize = 16;

/// What a section reads across.
pub(super) struct Transposed {
    /// The axis that it writes along.
    inner: u32,
    /// The axis that the elements of `loads` are neighbours along.
    outer: u32,
    loads: Vec<ExprId>,
}

impl Transposed {
    pub fn of(kernel: &Kernel, section: &Section) -> Option<Transposed> {
        let inner = section.parallel().last()?;
        let straight = |s: &Stage| matches!(s, Stage::Map { .. } | Stage::Check { .. }) && s.axes().is_empty();
        let is = |id: ExprId, axis: u32| section.exprs.get(id).op == ScalarOp::Axis(axis);
        let mut along = false;
        for store in section.stages.iter().flat_map(|s| if let Stage::Map { stores, .. } = s { &stores[..] } else { &[] }) {
            let Target::Param { index, combine, .. } = &store.to else { continue };
            if combine.is_some() || !index.last().is_some_and(|&last| is(last, inner)) {
                return None;
            }
            along = true;
        }
        let large = |a: u32| section.axes[a as usize].extent.at_least(LEAST) != Some(false);
        if !along || !section.stages.iter().all(straight) || section.locals.iter().any(|l| !l.axes.is_empty()) || !large(inner) {
            return None;
        }
        let across = |id: ExprId| {
            let node = section.exprs.get(id);
            let ScalarOp::Load(p) = node.op else { return None };
            let (&last, rest) = node.args.split_last()?;
            let ScalarOp::Axis(outer) = section.exprs.get(last).op else { return None };
            let own = |&&arg: &&ExprId| !is(arg, inner);
            let others = rest.iter().filter(own).all(|&arg| plan::is_of_other_axes(section, arg, &[inner, outer]));
            let once = rest.iter().filter(|&&arg| is(arg, inner)).count() == 1;
            let fits = outer != inner && once && others && kernel.params[p as usize].access == Access::Read && large(outer);
            (fits && section.parallel().any(|a| a == outer)).then_some((outer, id))
        };
        let found: Vec<(u32, ExprId)> = section.exprs.depth_first(&plan::roots(section)).into_iter().filter_map(across).collect();
        let &(outer, _) = found.first()?;
        let loads = found.into_iter().filter(|f| f.0 == outer).map(|f| f.1).take(MOST).collect();
        Some(Transposed { inner, outer, loads })
    }

    /// Blocks of points.
    pub fn tiles(&self, section: &Section) -> Dim {
        let [rows, columns] = self.counts(section);
        plan::extent(section, &self.batch(section)) * rows * columns
    }

    /// Blocks along the outer and the inner axis.
    fn counts(&self, section: &Section) -> [Dim; 2] {
        [self.outer, self.inner].map(|a| section.axes[a as usize].extent.div_ceil(SIDE))
    }

    fn batch(&self, section: &Section) -> Vec<u32> {
        section.parallel().filter(|&a| a != self.inner && a != self.outer).collect()
    }
}

impl Emitter<'_> {
    /// Blocks of points, one after the other.
    pub fn transposed(&self, out: &mut Out) {
        let transposed = Transposed::of(self.kernel, self.section).expect("the plan saw loads across");
        let [rows, columns] = transposed.counts(self.section);
        let [outer, inner] = [transposed.outer, transposed.inner].map(|a| self.writer.axes[a as usize].as_str());
        out.line(format!("const int tx = threadIdx.x % {SIDE}, ty = threadIdx.x / {SIDE};"));
        let mut offset = 0;
        let mut stored = Vec::new();
        let mut read = Overrides::new();
        for (k, &id) in transposed.loads.iter().enumerate() {
            let node = self.section.exprs.get(id);
            let ty = scalar::storage(node.dtype);
            let row = SIDE + 1;
            out.line(format!("{ty} (*tile{k})[{row}] = ({ty} (*)[{row}])(exchange + {offset});"));
            offset += (SIDE * row * node.dtype.size()).next_multiple_of(16);
            let ScalarOp::Load(param) = node.op else { unreachable!("only loads are across") };
            stored.push((k, param, &node.args));
            read.insert(id, scalar::from_memory(self.writer.unit, node.dtype, format!("tile{k}[tx][e]")));
        }
        self.exchange(offset);
        out.open(format!("for (idx tile = block; tile < {}; tile += blocks) {{", dim(self.plan.points)));
        out.line(format!("const idx n0 = tile % {} * {SIDE};", dim(columns)));
        out.line(format!("const idx m0 = tile / {} % {} * {SIDE};", dim(columns), dim(rows)));
        self.indices(out, &transposed.batch(self.section), &format!("tile / {}", dim(rows * columns)));
        let each = |out: &mut Out, [slow, slow_first]: [&str; 2], [quick, quick_first]: [&str; 2]| {
            out.line("#pragma unroll");
            out.open(format!("for (int e = ty; e < {SIDE}; e += {ROWS}) {{"));
            out.line(format!("const idx {slow} = {slow_first} + e, {quick} = {quick_first} + tx;"));
            let [m, n] = [transposed.outer, transposed.inner].map(|a| dim(self.section.axes[a as usize].extent));
            out.open(format!("if ({outer} < {m} && {inner} < {n}) {{"));
        };
        each(out, [inner, "n0"], [outer, "m0"]);
        for (k, param, index) in stored {
            let shape = &self.kernel.params[param as usize].ty.shape;
            let place = self.writer.offset(index, shape, &Overrides::new());
            out.line(format!("tile{k}[e][tx] = {}[{place}];", self.writer.params[param as usize]));
        }
        out.close();
        out.close();
        out.line("__syncthreads();");
        each(out, [outer, "m0"], [inner, "n0"]);
        self.declare_locals(out);
        for stage in &self.section.stages {
            self.once(out, stage, &read, &HashMap::new(), None);
        }
        out.close();
        out.close();
        out.line("__syncthreads();");
        out.close();
    }
}
