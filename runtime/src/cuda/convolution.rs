//! Convolutions that a library of the device can do in place of a kernel, with their derivatives.

use super::product::Types;
use igneous_ir::dim::Dim;
use std::fmt;

/// `y[n, o, p…] = Σ x[n, c, p·stride + r·dilation - padding…] · w[o, c, r…]`, where `x` is zero outside of its extents, or one of its
/// derivatives. With groups each has as many of the `o`, and its own part of the channels of `x`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Convolution {
    /// Which of the three tensors is computed from the others.
    pub pass: Pass,
    /// The element types; operands are what is read.
    pub types: Types,
    /// `x`, `w` and `y`: kernel parameters, row-major, whole.
    pub tensors: [Whole; 3],
    /// Of channels.
    pub groups: usize,
    /// Numbers for each spatial axis.
    pub spatial: Vec<Spatial>,
}

/// A whole kernel parameter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Whole {
    /// The kernel parameter.
    pub param: usize,
    /// Its extents.
    pub shape: Vec<Dim>,
}

/// What is computed of a convolution.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Pass {
    /// `y`
    Forward,
    /// The cotangent of `x`.
    Images,
    /// The cotangent of `w`.
    Weights,
}

/// How windows lie along a spatial axis.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Spatial {
    /// From one window to the next.
    pub stride: usize,
    /// Zeros before the first element, and behind the last one.
    pub padding: usize,
    /// From one element of a window to the next.
    pub dilation: usize,
}

/// A convolution with numbers for everything, as the library is told of it: at least two spatial axes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Conv {
    /// Which of the three tensors is computed from the others.
    pub pass: Pass,
    /// The element types.
    pub types: Types,
    /// The extents of `x`, `w` and `y`.
    pub shapes: [Vec<usize>; 3],
    /// Of channels.
    pub groups: usize,
    /// Numbers for each spatial axis.
    pub spatial: Vec<Spatial>,
}

impl Conv {
    /// The convolution where `size` gives the value of a dimension that is not negative; none if the library cannot do it.
    pub(super) fn of(convolution: &Convolution, size: &dyn Fn(Dim) -> Option<usize>) -> Option<Conv> {
        let &Convolution { pass, types, ref tensors, groups, ref spatial } = convolution;
        let shape = |whole: &Whole| whole.shape.iter().map(|&d| size(d)).collect::<Option<Vec<usize>>>();
        let [x, w, y] = tensors;
        let mut conv = Conv { pass, types, shapes: [shape(x)?, shape(w)?, shape(y)?], groups, spatial: spatial.clone() };
        let narrow = |n: &usize| *n > 0 && i32::try_from(*n).is_ok();
        let places = spatial.iter().enumerate().all(|(i, s)| {
            let [x, w, y] = conv.shapes.each_ref().map(|shape| shape[2 + i]);
            let room = (x + 2 * s.padding).checked_sub((w - 1) * s.dilation + 1);
            room.is_some_and(|room| room / s.stride + 1 == y) && i32::try_from(s.padding).is_ok()
        });
        if !conv.shapes.iter().flatten().all(narrow) || !places {
            return None;
        }
        while conv.spatial.len() < 2 {
            conv.shapes.iter_mut().for_each(|shape| shape.insert(2, 1));
            conv.spatial.insert(0, Spatial { stride: 1, padding: 0, dilation: 1 });
        }
        Some(conv)
    }

    /// How many multiplications it takes.
    pub fn multiplications(&self) -> u64 {
        let [_, w, y] = &self.shapes;
        let all = y.iter().chain(&w[1..]);
        all.fold(1, |all: u64, &n| all.saturating_mul(n as u64))
    }
}

fn joined<T: fmt::Display>(numbers: impl IntoIterator<Item = T>) -> String {
    numbers.into_iter().map(|n| n.to_string()).collect::<Vec<_>>().join("×")
}

type What = (Pass, Types, usize);

fn write(f: &mut fmt::Formatter<'_>, (pass, types, groups): What, [x, w]: [String; 2], spatial: &[Spatial]) -> fmt::Result {
    let what = match pass {
        Pass::Forward => "",
        Pass::Images => "images of ",
        Pass::Weights => "weights of ",
    };
    write!(f, "{what}convolution {types} {x} by {w}")?;
    for (name, of, usual) in
        [("stride", (|s| s.stride) as fn(&Spatial) -> usize, 1), ("padding", |s| s.padding, 0), ("dilation", |s| s.dilation, 1)]
    {
        if spatial.iter().any(|s| of(s) != usual) {
            write!(f, " {name} {}", joined(spatial.iter().map(of)))?;
        }
    }
    if groups == 1 { Ok(()) } else { write!(f, " groups {groups}") }
}

impl fmt::Display for Conv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [x, w, _] = &self.shapes;
        write(f, (self.pass, self.types, self.groups), [x, w].map(joined), &self.spatial)
    }
}

impl fmt::Display for Convolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [x, w, _] = &self.tensors;
        write(f, (self.pass, self.types, self.groups), [x, w].map(|whole| joined(&whole.shape)), &self.spatial)
    }
}
