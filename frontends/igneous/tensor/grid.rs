//! Images at the places of a grid.

use super::interpolation::{Corners, Interpolation, cubic};
use super::{Tensor, or_invalid};
use crate::location::entered;
use igneous_ir::{DType, Dim, Error, Result, Shape};

/// What lies outside of an image that is sampled (PyTorch's `padding_mode`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Outside {
    /// Zeros.
    #[default]
    Zeros,
    /// The elements at the border.
    Border,
    /// The image mirrored.
    Reflection,
}

impl Tensor {
    /// Images `[N, C, H, W]` at the places `[N, H', W', 2]` of a grid, as pairs (x, y) from −1 to 1: `[N, C, H', W']`; or volumes
    /// `[N, C, D, H, W]` at places `[N, D', H', W', 3]` (`torch.nn.functional.grid_sample`). Modes are `Nearest`, `Linear` and
    /// `Cubic`. Jaderberg et al. 2015, arXiv:1506.02025.
    #[track_caller]
    pub fn grid_sample(&self, grid: &Tensor, mode: Interpolation, outside: Outside, corners: Corners) -> Tensor {
        let user = entered();
        let loc = user.loc();
        or_invalid(self.sampled(grid, mode, outside, corners).map_err(|e| e.at(loc)))
    }

    #[track_caller]
    fn sampled(&self, grid: &Tensor, mode: Interpolation, outside: Outside, corners: Corners) -> Result<Tensor> {
        let (shape, places) = (self.ty()?.shape, grid.ty()?.shape);
        let error = |what: &str| Error::new(what).note("images", self.describe()).note("grid", grid.describe());
        let n = shape.len().saturating_sub(2);
        let fits = (2..=3).contains(&n) && places.len() == n + 2 && places[n + 1] == Dim::from(n) && places[0] == shape[0];
        if !fits {
            return Err(error(
                "grid_sample needs images [N, C, H, W] and a grid [N, H', W', 2], or volumes and a grid with triples",
            ));
        }
        let extents = shape[2..].iter().map(|d| Ok(d.get()? as f64)).collect::<Result<Vec<f64>>>()?;
        if extents.contains(&0.0) {
            return Err(error("grid_sample needs images with at least one element"));
        }
        let x = self.as_float();
        let grid = grid.to_dtype(x.dtype());
        let image = Image { flat: x.reshape((shape[0], shape[1], -1)), extents, outside, corners };
        // The grid's first number is a place along the last axis.
        let mut along = Vec::new();
        for axis in 0..n {
            along.push(image.place(grid.select(-1, (n - 1 - axis) as i64), axis));
        }
        match mode {
            Interpolation::Nearest | Interpolation::NearestExact => {
                let mut nearest = Vec::new();
                for (axis, place) in along.into_iter().enumerate() {
                    nearest.push(image.within(place, axis).detach().round());
                }
                Ok(image.at(&nearest))
            }
            Interpolation::Linear => Ok(image.linear(along)),
            Interpolation::Cubic => Ok(image.cubic(&along)),
            Interpolation::Area => Err(error("grid_sample has the modes Nearest, Linear and Cubic")),
        }
    }
}

/// Images with their pixels in one axis, and how they are sampled.
struct Image {
    flat: Tensor,
    extents: Vec<f64>,
    outside: Outside,
    corners: Corners,
}

impl Image {
    /// A number from −1 to 1 as a place along an axis.
    #[track_caller]
    fn place(&self, g: Tensor, axis: usize) -> Tensor {
        let extent = self.extents[axis];
        match self.corners {
            Corners::Aligned => (g + 1.0) * ((extent - 1.0) / 2.0),
            Corners::Apart => ((g + 1.0) * extent - 1.0) * 0.5,
        }
    }

    /// Moved into the image, if that is what outside of it means.
    #[track_caller]
    fn within(&self, place: Tensor, axis: usize) -> Tensor {
        let extent = self.extents[axis];
        match (self.outside, self.corners) {
            (Outside::Zeros, _) => place,
            (Outside::Border, _) => inside(&place, extent),
            (Outside::Reflection, Corners::Aligned) => inside(&reflected(&place, 0.0, extent - 1.0), extent),
            (Outside::Reflection, Corners::Apart) => inside(&reflected(&place, -0.5, extent), extent),
        }
    }

    /// The elements at whole places, one tensor `[N, …]` for each axis, for all channels: `[N, C, …]`.
    #[track_caller]
    fn at(&self, places: &[Tensor]) -> Tensor {
        let mut row_major: Option<Tensor> = None;
        let mut known: Option<Tensor> = None;
        for (place, &extent) in places.iter().zip(&self.extents) {
            // In a type that holds every place exactly; a NaN becomes place 0.
            let limited = place.clamp(0.0, extent - 1.0).to_dtype(DType::F64);
            row_major = Some(row_major.map_or_else(|| limited.clone(), |p| p * extent + &limited));
            let own = place.ge(0.0) & place.lt(extent);
            known = Some(known.map_or_else(|| own.clone(), |k| k & &own));
        }
        let (Some(place), Some(known)) = (row_major, known) else { return self.flat.clone() };
        let (shape, flat) = (place.shape(), self.flat.shape());
        let count: Dim = shape[1..].iter().copied().product();
        let index = place.to_dtype(DType::I64).reshape((shape[0], 1, count)).expand((flat[0], flat[1], count));
        let result: Shape = flat[..2].iter().chain(&shape[1..]).copied().collect();
        let found = self.flat.gather(2, &index).reshape_to(result);
        if self.outside != Outside::Zeros {
            return found;
        }
        let zeros = found.zeros_like();
        found.where_(&known.unsqueeze(1), zeros)
    }

    /// Between the corners of the cell around each place.
    #[track_caller]
    fn linear(&self, along: Vec<Tensor>) -> Tensor {
        let mut cells = Vec::new();
        for (axis, place) in along.into_iter().enumerate() {
            let place = self.within(place, axis);
            let low = place.detach().floor();
            let rest = &place - &low;
            cells.push(([1.0 - &rest, rest], [low.clone(), low + 1.0]));
        }
        let mut sum: Option<Tensor> = None;
        for corner in 0..1usize << cells.len() {
            let side = |axis: usize| (corner >> (cells.len() - 1 - axis)) & 1;
            let mut places = Vec::new();
            let mut weight: Option<Tensor> = None;
            for (axis, (weights, sides)) in cells.iter().enumerate() {
                places.push(sides[side(axis)].clone());
                let own = &weights[side(axis)];
                weight = Some(weight.map_or_else(|| own.clone(), |w| w * own));
            }
            let Some(weight) = weight else { continue };
            let term = self.at(&places) * weight.unsqueeze(1);
            sum = Some(sum.map_or_else(|| term.clone(), |s| s + &term));
        }
        sum.unwrap_or_else(|| self.flat.clone())
    }

    /// By cubic convolution: each neighbour is moved inside by itself.
    #[track_caller]
    fn cubic(&self, along: &[Tensor]) -> Tensor {
        let mut cells = Vec::new();
        for place in along {
            let low = place.detach().floor();
            cells.push(((place - &low).unsqueeze(1), low));
        }
        self.cubic_within(&cells, &[])
    }

    /// The neighbours whose places along the first axes are chosen, interpolated along the others.
    #[track_caller]
    fn cubic_within(&self, cells: &[(Tensor, Tensor)], chosen: &[Tensor]) -> Tensor {
        let axis = chosen.len();
        let Some((rest, low)) = cells.get(axis) else { return self.at(chosen) };
        let neighbour = |offset: f64| {
            let place = self.within(low + offset, axis).detach().round();
            self.cubic_within(cells, &[chosen, &[place]].concat())
        };
        cubic([neighbour(-1.0), neighbour(0.0), neighbour(1.0), neighbour(2.0)], rest)
    }
}

/// Limited to `0..extent − 1`; beyond there is no gradient.
#[track_caller]
fn inside(place: &Tensor, extent: f64) -> Tensor {
    let above = place.masked_fill(&place.le(0.0), 0.0);
    above.masked_fill(&place.ge(extent - 1.0), extent - 1.0)
}

/// Mirrored at `low` and `low + span` until it is between them.
#[track_caller]
fn reflected(place: &Tensor, low: f64, span: f64) -> Tensor {
    if span == 0.0 {
        return place * 0.0;
    }
    let distance = (place - low).abs();
    let flips = (&distance / span).detach().floor();
    let rest = &distance - &flips * span;
    let odd = (&flips % 2.0).equal(1.0);
    (span - &rest).where_(&odd, &rest) + low
}
