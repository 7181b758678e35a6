//! Products with an operand under windows: convolutions and their gradients. Their elements are read in place, or from a copy
//! with zeros around it, instead of being packed for the library.

use super::affine::Affine;
use super::cost::typical;
use super::dot::{DotAxes, DotPlan, DotSection};
use super::winograd::plan_tiles;
use igneous_ir::dim::Dim;
use igneous_ir::kernel::{Access, Directive, Param};
use igneous_ir::scalar::{Compare, ExprId, Exprs, ScalarOp};
use igneous_ir::types::DType;
use igneous_runtime::program::{Operand, Window, WindowIndex};

/// Flops of a block that is part of an image: enough to pay for the copy of the rows that its neighbours copy, too.
const BLOCK_FLOPS: f64 = 16e6;
/// Flops of a block of several images.
const IMAGES_FLOPS: f64 = 2e6;
/// An image is a block of its own from this many flops.
const IMAGE_FLOPS: f64 = 5e5;
/// Flops of a part of the contracted axes, and the most parts there are.
const PART_FLOPS: f64 = 1e6;
const PARTS: f64 = 16.0;
/// Most rows of a block, and most elements of a block whose product is cut along the contracted axes.
const ROWS: i64 = 480;
const SUMS: f64 = 73728.0;

/// An element as it is in memory: of a half type or a byte, before it is converted to be computed with.
pub(crate) fn in_memory(exprs: &Exprs, id: ExprId) -> ExprId {
    let node = exprs.get(id);
    if node.op != ScalarOp::Cast {
        return id;
    }
    match (exprs.dtype(node.args[0]), node.dtype) {
        (DType::F16 | DType::BF16, DType::F32) | (DType::I8, DType::I32) => node.args[0],
        _ => id,
    }
}

/// An element of a parameter at sums of multiples of axes, zero outside of the parameter and between its elements.
pub(crate) struct WindowLoad {
    pub param: u32,
    /// The index along each axis of the parameter.
    pub index: Vec<Affine>,
    /// The distance between the indices of elements along each axis.
    pub steps: Vec<Dim>,
    /// Whether an index may lie outside.
    pub padded: bool,
}

impl WindowLoad {
    /// The operands of a product, if they are of windows; the left one lies inside of its parameter.
    pub(super) fn operands(dot: &DotSection, params: &[Param]) -> Option<[WindowLoad; 2]> {
        let exprs = &dot.section.exprs;
        let single = |load: &WindowLoad| params[load.param as usize].ty.dtype == DType::F32;
        let lhs = WindowLoad::of(exprs, dot.lhs, params).filter(|load| !load.padded).filter(single)?;
        Some([lhs, WindowLoad::of(exprs, dot.rhs, params).filter(single)?])
    }

    /// An element, which may be converted from a half type.
    pub fn of(exprs: &Exprs, root: ExprId, params: &[Param]) -> Option<WindowLoad> {
        let node = exprs.get(in_memory(exprs, root));
        let (load, conditions) = match node.op {
            ScalarOp::Select => {
                let ScalarOp::Literal(zero) = exprs.get(node.args[2]).op else { return None };
                if zero.as_f64().to_bits() != 0 {
                    return None;
                }
                (exprs.get(in_memory(exprs, node.args[1])), conjuncts(exprs, node.args[0]))
            }
            _ => (node, Vec::new()),
        };
        let ScalarOp::Load(param) = load.op else { return None };
        let Param { ty, access, .. } = &params[param as usize];
        if *access != Access::Read {
            return None;
        }
        let (even, limits): (Vec<_>, Vec<_>) =
            conditions.into_iter().map(|c| (multiple(exprs, c), c)).partition(|(m, _)| m.is_some());
        let mut even: Vec<(Affine, Dim)> = even.into_iter().filter_map(|(m, _)| m).collect();
        // What each condition says is not negative.
        let mut tests = limits.into_iter().map(|(_, c)| not_negative(exprs, c)).collect::<Option<Vec<Affine>>>()?;
        let (mut index, mut steps) = (Vec::new(), Vec::new());
        for (&id, &extent) in load.args.iter().zip(&ty.shape) {
            let (id, step) = quotient(exprs, id).unwrap_or((id, Dim::ONE));
            let extent = (extent - 1) * step + 1;
            let (inside, clamped) = through_bounds(exprs, id, extent);
            let position = Affine::of(exprs, inside);
            position.axes(exprs)?;
            let above = Affine::constant(extent - 1).plus(&position, Dim::constant(-1));
            let mut tested = [&position, &above].map(|limit| {
                let before = tests.len();
                tests.retain(|test| !same(test, limit));
                tests.len() < before
            });
            // A test that always holds may have been left out.
            tested[0] |= !clamped[0];
            tested[1] |= !clamped[1];
            if tested != [true; 2] {
                return None;
            }
            if step != Dim::ONE {
                let of_step = even.iter().position(|(of, divisor)| *divisor == step && same(of, &position))?;
                even.remove(of_step);
            }
            index.push(position);
            steps.push(step);
        }
        let padded = node.op == ScalarOp::Select;
        (tests.is_empty() && even.is_empty()).then_some(WindowLoad { param, index, steps, padded })
    }

    /// The elements as the runtime finds them; `outer` are the axes of m or n.
    pub(super) fn window(&self, dot: &DotSection, params: &[Param], axes: &DotAxes, outer: &[u32]) -> Window {
        let exprs = &dot.section.exprs;
        let extents = |axes: &[u32]| axes.iter().map(|&a| dot.extent(a)).collect();
        let shape = &params[self.param as usize].ty.shape;
        let index = self.index.iter().zip(&self.steps).zip(shape).map(|((position, &step), &extent)| {
            let along = |axes: &[u32]| axes.iter().map(|&a| position.coefficient(exprs, a)).collect();
            WindowIndex {
                extent,
                step,
                offset: position.constant,
                batch: along(&axes.batch),
                outer: along(outer),
                k: along(&axes.k),
            }
        });
        let index = index.collect();
        Window { param: self.param as usize, outer: extents(outer), k: extents(&axes.k), index }
    }
}

/// The conditions that `id` is the conjunction of.
fn conjuncts(exprs: &Exprs, id: ExprId) -> Vec<ExprId> {
    let node = exprs.get(id);
    if node.op != ScalarOp::And {
        return vec![id];
    }
    node.args.iter().flat_map(|&a| conjuncts(exprs, a)).collect()
}

/// A sum and a number above 1 that it is divided by.
fn quotient(exprs: &Exprs, id: ExprId) -> Option<(ExprId, Dim)> {
    let node = exprs.get(id);
    let divisor = (node.op == ScalarOp::Div).then(|| Affine::of(exprs, node.args[1]))?;
    let divisor = divisor.terms.is_empty().then_some(divisor.constant)?;
    divisor.as_const().filter(|&n| n > 1).map(|_| (node.args[0], divisor))
}

/// A sum and a number that divides it just if the comparison holds.
fn multiple(exprs: &Exprs, id: ExprId) -> Option<(Affine, Dim)> {
    let node = exprs.get(id);
    if node.op != ScalarOp::Compare(Compare::Eq) {
        return None;
    }
    let zero = same(&Affine::of(exprs, node.args[1]), &Affine::constant(Dim::ZERO));
    let remainder = exprs.get(node.args[0]);
    if !zero || remainder.op != ScalarOp::Rem || remainder.dtype != DType::I64 {
        return None;
    }
    let divisor = Affine::of(exprs, remainder.args[1]);
    divisor.terms.is_empty().then(|| (Affine::of(exprs, remainder.args[0]), divisor.constant))
}

/// A sum that is at least 0 just if the comparison holds.
fn not_negative(exprs: &Exprs, id: ExprId) -> Option<Affine> {
    let node = exprs.get(id);
    let ScalarOp::Compare(compare) = node.op else { return None };
    if exprs.dtype(node.args[0]) != DType::I64 {
        return None;
    }
    let [a, b] = [0, 1].map(|i| Affine::of(exprs, node.args[i]));
    let less = |a: Affine, b: &Affine, by: i64| a.plus(b, Dim::constant(-1)).plus(&Affine::constant(Dim::constant(by)), Dim::ONE);
    match compare {
        Compare::Ge => Some(less(a, &b, 0)),
        Compare::Gt => Some(less(a, &b, -1)),
        Compare::Le => Some(less(b, &a, 0)),
        Compare::Lt => Some(less(b, &a, -1)),
        _ => None,
    }
}

/// The index inside of a minimum with `extent - 1` and a maximum with 0, and whether there is a maximum and a minimum.
fn through_bounds(exprs: &Exprs, id: ExprId, extent: Dim) -> (ExprId, [bool; 2]) {
    let (mut id, mut clamped) = (id, [false; 2]);
    loop {
        let node = exprs.get(id);
        let (side, bound) = match node.op {
            ScalarOp::Max => (0, Dim::ZERO),
            ScalarOp::Min => (1, extent - 1),
            _ => return (id, clamped),
        };
        let bounds = |i: usize| same(&Affine::of(exprs, node.args[i]), &Affine::constant(bound));
        id = match (bounds(0), bounds(1)) {
            (_, true) => node.args[0],
            (true, _) => node.args[1],
            _ => return (id, clamped),
        };
        clamped[side] = true;
    }
}

fn same(a: &Affine, b: &Affine) -> bool {
    let difference = a.clone().plus(b, Dim::constant(-1));
    difference.constant == Dim::ZERO && difference.terms.is_empty()
}

/// Plans a product with windows, if it is one.
pub(super) fn plan_windows(dot: &DotSection, params: &[Param]) -> Option<DotPlan> {
    let exprs = &dot.section.exprs;
    let [lhs, rhs] = WindowLoad::operands(dot, params)?;
    if dot.section.schedule.contains(&Directive::Winograd(2))
        && let Some(plan) = plan_tiles(dot, params, &lhs, &rhs)
    {
        return Some(plan);
    }
    let mut axes = dot.axes().clone();
    let has = |position: &Affine, axis: u32| depends(exprs, position, &[axis]);
    let size = |axes: &[u32]| axes.iter().map(|&a| typical(dot.extent(a))).product::<f64>();
    // Indices that are the sum of a place and of an element of the window. The place has more values.
    let (mut places, mut elements, mut sums) = (1.0, 1.0, 0);
    for position in &rhs.index {
        let of = |axes: &[u32]| size(&axes.iter().copied().filter(|&a| has(position, a)).collect::<Vec<_>>());
        if depends(exprs, position, &axes.n) && depends(exprs, position, &axes.k) {
            sums += 1;
            places *= of(&axes.n);
            elements *= of(&axes.k);
        }
    }
    if sums == 0 {
        return None;
    }
    let flops = |axes: &DotAxes| 2.0 * size(&axes.m) * size(&axes.n) * size(&axes.k);
    let columns_are_places = places >= elements;
    if columns_are_places {
        while let [first, ..] = axes.n[..] {
            let mut rest = axes.clone();
            rest.batch.push(first);
            rest.n.remove(0);
            let shared = rhs.index.iter().any(|i| has(i, first) && depends(exprs, i, &axes.k));
            if shared || flops(&rest) < IMAGE_FLOPS {
                break;
            }
            axes = rest;
        }
    }
    let extents = |axes: &[u32]| axes.iter().map(|&a| dot.extent(a)).product::<Dim>();
    let (m, n) = (extents(&axes.m), extents(&axes.n));
    let inner = extents(axes.n.get(1..).unwrap_or_default());
    let (units, per_unit) = (size(axes.n.get(..1).unwrap_or_default()), typical(inner).max(1.0));
    // Columns are cut between rows, images or channels: where the outermost axis goes on.
    let first = axes.n.get(..1).unwrap_or_default();
    let several = !rhs.index.iter().any(|i| depends(exprs, i, first) && depends(exprs, i, &axes.k));
    let blocks = match columns_are_places {
        true => flops(&axes) / if several { IMAGES_FLOPS } else { BLOCK_FLOPS },
        false => size(&axes.m) * units * per_unit / SUMS,
    };
    let blocks = blocks.round().clamp(1.0, units.max(1.0));
    let columns = Dim::constant((units / blocks).ceil().max(1.0) as i64) * inner;
    let columns = if blocks > 1.0 { columns.min(n) } else { n };
    let boxes = blocks * size(&axes.batch);
    let parts = (flops(&axes) * size(&axes.batch) / PART_FLOPS).min(PARTS / boxes).max(1.0);
    let own = if columns_are_places { 1 } else { parts as usize };
    let split_k = dot.scheduled_split(&axes).unwrap_or(own);
    let windows = [lhs.window(dot, params, &axes, &axes.m), rhs.window(dot, params, &axes, &axes.n)];
    let [lhs, rhs] = windows.map(|window| Some(Operand::Window(Box::new(window))));
    let out = dot.plain_out(&axes, params);
    Some(DotPlan { out, lhs, rhs, dtype: DType::F32, split_k, block: (Dim::constant(ROWS).min(m), columns), axes })
}

/// Whether an index depends on one of the axes.
fn depends(exprs: &Exprs, position: &Affine, axes: &[u32]) -> bool {
    axes.iter().any(|&a| position.coefficient(exprs, a) != Dim::ZERO)
}
