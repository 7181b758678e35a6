//! The function of a section that runs by compiled code alone.

use super::choose::Form;
use super::cost::point_ns;
use super::emitter::{Condition, Emitter, Num};
use super::lower::Lowering;
use super::nest::{Plan, plan};
use super::passes::Range;
use igneous_ir::error::Result;
use igneous_ir::kernel::{Directive, Param, Section};

/// A function to be compiled.
pub(super) struct Function {
    pub plan: Plan,
    pub kind: Kind,
}

/// What a function's bounds mean.
pub(super) enum Kind {
    /// The ranges of the parallel axes.
    Section,
}

/// Plans the function of a section.
pub(super) fn loop_function(section: &Section, params: &[Param]) -> Result<Function> {
    let low = Lowering::new(section).stages(&section.stages)?;
    Ok(Function { plan: plan(low, params, Form::of(section, params)), kind: Kind::Section })
}

impl<'p> Emitter<'p, '_> {
    /// The body of the function of a section.
    pub fn section(&mut self, plan: &'p Plan) {
        self.block_depth = plan.outer.len() as u8 + 1;
        let count = plan.outer.len() + usize::from(plan.form.column().is_some());
        let bounds: Vec<Range> = (0..count)
            .map(|n| {
                let (lo, hi) = self.bounds(n);
                Range { lo, hi }
            })
            .collect();
        let mut all = Condition::Known(true);
        for range in &bounds {
            all = match (all, self.less(range.lo, range.hi)) {
                (Condition::Reg(a), Condition::Reg(b)) => {
                    Condition::Reg(cranelift_codegen::ir::InstBuilder::band(self.b.ins(), a, b))
                }
                (_, c) => c,
            };
        }
        // Dimensions are computed where they are there for all loops.
        for access in plan.accesses.iter() {
            for (_, coefficient) in &access.position.terms {
                self.dim(*coefficient * igneous_ir::dim::Dim::constant(access.size.into()));
            }
        }
        for axis in &plan.low.axes {
            self.dim(axis.extent);
        }
        self.when(all, &[], |e| {
            e.prepare_all(plan);
            e.outer_loops(plan, &bounds, 0);
            Vec::new()
        });
    }

    fn prepare_all(&mut self, plan: &'p Plan) {
        for pass in &plan.passes {
            self.prepare(&pass.place);
        }
    }

    fn outer_loops(&mut self, plan: &'p Plan, bounds: &[Range], number: usize) {
        let Some(&(axis, bound)) = plan.outer.get(number) else { return self.points(plan, bounds) };
        let range = bounds[bound];
        self.repeat(range.lo, range.hi, 1, &[], |e, i, _| {
            e.depth = number as u8 + 1;
            e.set_axis(axis, i);
            e.prepare_all(plan);
            e.outer_loops(plan, bounds, number + 1);
            Vec::new()
        });
    }

    /// The passes for one index of the outer axes.
    fn points(&mut self, plan: &'p Plan, bounds: &[Range]) {
        let Some(column) = plan.form.column() else { return self.passes(plan, None) };
        let number = (0..bounds.len()).find(|n| plan.outer.iter().all(|(_, bound)| bound != n));
        let _ = column;
        let range = bounds[number.expect("the vector axis is the one that is no outer loop")];
        let Some(points) = plan.block else { return self.passes(plan, Some(range)) };
        self.repeat(range.lo, range.hi, points, &[], |e, lo, _| {
            let end = e.add(lo, Num::Const(points));
            let hi = e.min(end, range.hi);
            e.depth += 1;
            e.block_start = lo;
            e.prepare_all(plan);
            e.passes(plan, Some(Range { lo, hi }));
            Vec::new()
        });
    }
}

/// Which parallel axes may be cut, best first: those that the schedule binds, all if it binds none.
pub(super) fn bindings(section: &Section) -> Vec<usize> {
    let parallel: Vec<u32> = section.parallel().collect();
    let number = |axis: u32| parallel.iter().position(|&a| a == axis);
    let bound: Vec<usize> = section
        .schedule
        .iter()
        .filter_map(|d| match d {
            Directive::Bind(axis) => number(*axis),
            _ => None,
        })
        .collect();
    if bound.is_empty() { (0..parallel.len()).collect() } else { bound }
}

/// Estimated nanoseconds for each point of a function.
pub(super) fn estimate(plan: &Plan) -> f64 {
    point_ns(plan)
}
