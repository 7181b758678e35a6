//! Convolutions by 3×3 windows that are made from transformed tiles: which ones can be, and for which ones it pays.

use super::affine::Affine;
use super::dot::{DotAxes, DotPlan, DotSection};
use super::window::WindowLoad;
use igneous_ir::dim::Dim;
use igneous_ir::kernel::{Param, Section};
use igneous_ir::scalar::{Exprs, ScalarOp};
use igneous_ir::types::DType;
use igneous_runtime::program::{DotOut, Operand};

/// With fewer channels than this, transforming takes longer than the multiplications that are saved.
const CHANNELS: i64 = 16;
/// About how many tiles of 2×2 results a block has.
const TILES: i64 = 192;
/// Tiles are multiplied in vectors of about so many.
const LANES: i64 = 32;

/// The axes of a convolution.
struct Convolution {
    /// Places are the only columns.
    axes: DotAxes,
    outputs: i64,
    channels: i64,
    /// Rows and columns of places.
    places: [i64; 2],
}

impl Convolution {
    /// The product, if it is of 3×3 windows that move by one in both directions over all channels of an image.
    fn of(dot: &DotSection, params: &[Param], lhs: &WindowLoad, rhs: &WindowLoad) -> Option<Convolution> {
        let exprs = &dot.section.exprs;
        let mut axes = dot.axes().clone();
        let places = axes.n.split_off(axes.n.len().checked_sub(2)?);
        axes.batch.append(&mut axes.n);
        axes.n = places;
        let (&[p, q], &[c, r, s]) = (&axes.n[..], &axes.k[..]) else { return None };
        let constant = |axis: u32| dot.extent(axis).as_const();
        let outputs = axes.m.iter().map(|&a| dot.extent(a)).product::<Dim>().as_const()?;
        let (channels, places) = (constant(c)?, [constant(p)?, constant(q)?]);
        let [others @ .., row, column] = &rhs.index[..] else { return None };
        let whole = others.iter().zip(&params[rhs.param as usize].ty.shape).all(|(i, &extent)| is_whole(dot, i, extent));
        let fits = [constant(r)?, constant(s)?] == [3, 3]
            && rhs.steps.iter().chain(&lhs.steps).all(|&step| step == Dim::ONE)
            && sum_of(exprs, row, [p, r])
            && sum_of(exprs, column, [q, s])
            && others.iter().all(|i| [p, q, r, s].iter().all(|&axis| i.coefficient(exprs, axis) == Dim::ZERO))
            && whole;
        let convolution = Convolution { axes, outputs, channels, places };
        fits.then_some(convolution)
    }

    fn tiles(&self) -> [i64; 2] {
        self.places.map(|n| (n + 1) / 2)
    }

    /// Whether it takes less time than the products of all elements of the windows, in vectors of products for each pair of
    /// channels.
    fn pays(&self) -> bool {
        let tiles = self.tiles().iter().product::<i64>();
        let vectors = (tiles as u64).next_multiple_of(LANES as u64) as f64;
        let transforms = 64.0 / self.channels as f64 + 64.0 / self.outputs as f64;
        let direct = 9.0 * self.places.iter().product::<i64>() as f64;
        self.channels >= CHANNELS && self.outputs >= CHANNELS && vectors * (16.0 * 1.1 + transforms) < direct
    }
}

/// Whether an index is that of one axis over a whole axis of a parameter, or of its only element.
fn is_whole(dot: &DotSection, index: &Affine, extent: Dim) -> bool {
    match index.terms[..] {
        [] => index.constant == Dim::ZERO,
        [(atom, Dim::ONE)] => match dot.section.exprs.get(atom).op {
            ScalarOp::Axis(axis) => index.constant == Dim::ZERO && dot.extent(axis) == extent,
            _ => false,
        },
        _ => false,
    }
}

/// Whether an index is the sum of two axes and a number.
fn sum_of(exprs: &Exprs, index: &Affine, axes: [u32; 2]) -> bool {
    index.terms.len() == 2 && index.constant.as_const().is_some() && axes.iter().all(|&a| index.coefficient(exprs, a) == Dim::ONE)
}

/// Plans the convolution that a section begins with, if tiles can be transformed.
pub(super) fn plan_tiles(dot: &DotSection, params: &[Param], lhs: &WindowLoad, rhs: &WindowLoad) -> Option<DotPlan> {
    let convolution = Convolution::of(dot, params, lhs, rhs)?;
    let axes = &convolution.axes;
    let out = dot.plain_out(axes, params);
    if dot.scheduled_split(axes).is_some_and(|parts| parts > 1) || matches!(out, Some(DotOut::Param { n, .. }) if n != Dim::ONE) {
        return None;
    }
    let [rows, columns] = convolution.tiles();
    let blocks = ((rows * columns + TILES / 2) / TILES).clamp(1, rows.max(1));
    let lines = 2 * (rows as u64).div_ceil(blocks as u64) as i64;
    let [lhs, rhs] = [lhs.window(dot, params, axes, &axes.m), rhs.window(dot, params, axes, &axes.n)].map(Box::new);
    let [height, width] = convolution.places;
    Some(DotPlan {
        out,
        lhs: Some(Operand::Window(lhs)),
        rhs: Some(Operand::Winograd(rhs)),
        dtype: DType::F32,
        split_k: 1,
        block: (Dim::constant(convolution.outputs), Dim::constant(lines.min(height) * width)),
        axes: convolution.axes,
    })
}

/// Whether a section begins with a convolution that takes less time from transformed tiles.
pub fn winograd_pays(section: &Section, params: &[Param]) -> bool {
    let Some(dot) = DotSection::of(section).filter(|dot| dot.axes().k.len() == 3) else { return false };
    let Some([lhs, rhs]) = WindowLoad::operands(&dot, params) else { return false };
    Convolution::of(&dot, params, &lhs, &rhs).is_some_and(|c| c.pays()) && plan_tiles(&dot, params, &lhs, &rhs).is_some()
}
