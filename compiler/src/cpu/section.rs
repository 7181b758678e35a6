//! The function of a section that runs by compiled code alone.

use super::choose::Form;
use super::emitter::{Condition, Emitter, Num};
use super::lower::Lowering;
use super::nest::{Plan, Shape, plan};
use super::passes::Range;
use super::share::share;
use super::unroll::unrolled;
use cranelift_codegen::ir::InstBuilder;
use igneous_ir::dim::Dim;
use igneous_ir::error::Result;
use igneous_ir::kernel::{AxisKind, Directive, Param, Section};

/// Plans the function of a section.
pub(super) fn loop_function(section: &Section, params: &[Param]) -> Result<Plan> {
    let form = Form::of(section, params);
    let unrolled = form.column().and_then(|_| unrolled(section));
    let section = unrolled.as_ref().unwrap_or(section);
    let mut low = Lowering::new(section).stages(&section.stages);
    // In column form the elements of a whole block of points would have to be kept.
    if form.column().is_none() {
        share(&mut low);
    }
    let levels = section.parallel().filter(|&a| Some(a) != form.column()).map(|a| vec![a]).collect();
    Ok(plan(low, params, Shape { form, levels, given: None }))
}

impl<'p> Emitter<'p, '_> {
    /// The body of the function of a section; its bounds are those of the parallel axes.
    pub fn section(&mut self, plan: &'p Plan) {
        self.block_depth = plan.levels.len() as u16 + 1;
        let axes = &plan.low.axes;
        let parallel = (0..axes.len() as u32).filter(|&a| axes[a as usize].kind == AxisKind::Parallel);
        let bounds: Vec<(u32, Range)> = parallel.enumerate().map(|(n, a)| (a, self.bounds(n))).collect();
        self.dimensions(plan);
        let all = self.occupied_ranges(bounds.iter().map(|(_, r)| *r));
        self.when(all, &[], |e| {
            e.prepare_all(plan);
            e.levels(plan, &bounds, 0);
            Vec::new()
        });
    }

    /// Computes the dimensions that the function uses where all of its code sees them.
    pub fn dimensions(&mut self, plan: &Plan) {
        for access in &plan.accesses {
            for (_, coefficient) in &access.position.terms {
                self.dim(*coefficient * Dim::constant(access.size.into()));
            }
        }
        plan.low.axes.iter().for_each(|axis| {
            self.dim(axis.extent);
        });
    }

    /// Whether none of the ranges is empty.
    pub fn occupied_ranges(&mut self, ranges: impl IntoIterator<Item = Range>) -> Condition {
        let mut all = Condition::Known(true);
        for range in ranges {
            all = match (all, self.less(range.lo, range.hi)) {
                (Condition::Reg(a), Condition::Reg(b)) => Condition::Reg(self.b.ins().band(a, b)),
                (Condition::Known(true), c) => c,
                (c, _) => c,
            };
        }
        all
    }

    fn levels(&mut self, plan: &'p Plan, bounds: &[(u32, Range)], number: usize) {
        let range_of = |axis: u32| bounds.iter().find(|(a, _)| *a == axis).map(|(_, r)| *r).expect("a parallel axis has bounds");
        let Some(level) = plan.levels.get(number) else {
            return match plan.form.column() {
                Some(axis) => self.blocks(plan, range_of(axis)),
                None => self.passes(plan, None),
            };
        };
        let column = plan.form.column().filter(|_| plan.tile.is_some() && number + 1 == plan.levels.len());
        let Some((column, tile)) = column.zip(plan.tile) else { return self.level(plan, bounds, number, range_of(level[0])) };
        // Tiles of the vector axis around the last level.
        let whole = range_of(column);
        self.repeat(whole.lo, whole.hi, tile, &[], |e, lo, _| {
            let end = e.add(lo, Num::Const(tile));
            let hi = e.min(end, whole.hi);
            let mut bounds = bounds.to_vec();
            bounds.iter_mut().filter(|(a, _)| *a == column).for_each(|(_, r)| *r = Range { lo, hi });
            e.level(plan, &bounds, number, range_of(level[0]));
            Vec::new()
        });
    }

    fn level(&mut self, plan: &'p Plan, bounds: &[(u32, Range)], number: usize, range: Range) {
        let axis = plan.levels[number][0];
        self.repeat(range.lo, range.hi, 1, &[], |e, i, _| {
            e.depth = number as u16 + 1;
            e.set_axis(axis, i);
            e.prepare_all(plan);
            e.levels(plan, bounds, number + 1);
            Vec::new()
        });
    }
}

/// Which parallel axes may be cut, best first: those that the schedule binds, all if it binds none.
pub(super) fn bindings(section: &Section) -> Vec<usize> {
    let parallel: Vec<u32> = section.parallel().collect();
    let bound = section.schedule.iter().filter_map(|d| match d {
        Directive::Bind(axis) => parallel.iter().position(|a| a == axis),
        _ => None,
    });
    let bound: Vec<usize> = bound.collect();
    if bound.is_empty() { (0..parallel.len()).collect() } else { bound }
}
