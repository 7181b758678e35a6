//! Arithmetic on axes that several themes share.

use crate::egraph::rule::Axes;
use igneous_ir::Dim;

/// Whether an extent is known to be one.
pub(super) fn is_unit(d: Dim) -> bool {
    d == Dim::ONE
}

/// The axes whose extent is not known to be one.
pub(super) fn split_units(shape: &[Dim]) -> Axes {
    (0..shape.len()).filter(|&i| !is_unit(shape[i])).collect()
}

/// The axes below `rank` that are not in `axes`.
pub(super) fn complement(axes: &[usize], rank: usize) -> Axes {
    (0..rank).filter(|i| !axes.contains(i)).collect()
}

/// The inverse permutation.
pub(super) fn inverse(permutation: &[usize]) -> Axes {
    let mut inverse: Axes = permutation.iter().copied().collect();
    permutation.iter().enumerate().for_each(|(i, &p)| inverse[p] = i);
    inverse
}

/// Whether `axes` are the last ones below `rank`.
pub(super) fn are_trailing(axes: &[usize], rank: usize) -> bool {
    !axes.is_empty() && axes.len() <= rank && axes.iter().enumerate().all(|(i, &a)| a == rank - axes.len() + i)
}

/// The product of the extents of some axes.
pub(super) fn extent_of(shape: &[Dim], axes: &[usize]) -> Dim {
    axes.iter().map(|&a| shape[a]).product()
}

/// A reshape as pairs of groups of adjacent axes with equal products, as small as the extents allow: row-major order
/// inside a group is the same before and after. Axes of extent one join the group before them.
pub(crate) fn reshape_groups(from: &[Dim], to: &[Dim]) -> Option<Vec<(Axes, Axes)>> {
    let mut groups: Vec<(Axes, Axes)> = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < from.len() || j < to.len() {
        let (mut left, mut right) = (Axes::new(), Axes::new());
        let (mut a, mut b) = (Dim::ONE, Dim::ONE);
        loop {
            if !left.is_empty() && !right.is_empty() && a == b {
                break;
            }
            let smaller = b.at_least(a) == Some(true) || b.div_exact(a).is_some();
            if (smaller || j == to.len()) && i < from.len() {
                a = a * from[i];
                left.push(i);
                i += 1;
            } else if j < to.len() {
                b = b * to[j];
                right.push(j);
                j += 1;
            } else {
                break;
            }
        }
        if a != b {
            return None;
        }
        while i < from.len() && is_unit(from[i]) {
            left.push(i);
            i += 1;
        }
        while j < to.len() && is_unit(to[j]) {
            right.push(j);
            j += 1;
        }
        groups.push((left, right));
    }
    Some(groups)
}
