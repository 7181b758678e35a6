//! Places of elements whose position is a sum of multiples of several axes.

use smallvec::SmallVec;
use std::ops::Range;

/// Calls `visit` for each stretch of flattened indices in `range` that stays on the innermost axis: with the places of its
/// first element, one for each list of strides, and its length.
pub(super) fn for_each_row<const S: usize>(
    extents: &[usize],
    strides: [&[isize]; S],
    range: Range<usize>,
    mut visit: impl FnMut([isize; S], usize),
) {
    let Some((&inner, outer)) = extents.split_last() else {
        return if !range.is_empty() {
            visit([0; S], 1)
        };
    };
    let mut at = range.start;
    while at < range.end {
        let column = at % inner;
        let length = (inner - column).min(range.end - at);
        let mut places = strides.map(|s| column as isize * s[outer.len()]);
        let mut rest = at / inner;
        for (axis, &extent) in outer.iter().enumerate().rev() {
            let index = (rest % extent) as isize;
            rest /= extent;
            places.iter_mut().zip(strides).for_each(|(place, s)| *place += index * s[axis]);
        }
        visit(places, length);
        at += length;
    }
}

/// Axes that walk through memory as one made one.
pub(super) fn merged(extents: &[usize], strides: &[isize]) -> (SmallVec<[usize; 4]>, SmallVec<[isize; 4]>) {
    let (mut sizes, mut steps) = (SmallVec::<[usize; 4]>::new(), SmallVec::<[isize; 4]>::new());
    for (&extent, &stride) in extents.iter().zip(strides) {
        match (sizes.last_mut(), steps.last_mut()) {
            (Some(size), Some(step)) if *step == stride * extent as isize => {
                *size *= extent;
                *step = stride;
            }
            _ => {
                sizes.push(extent);
                steps.push(stride);
            }
        }
    }
    (sizes, steps)
}

/// Fills `to` with the places of the flattened indices in `range`.
pub(super) fn places(extents: &[usize], strides: &[isize], range: Range<usize>, to: &mut [isize]) {
    let step = strides.last().copied().unwrap_or(0);
    let mut next = 0;
    for_each_row(extents, [strides], range, |[first], length| {
        for (i, place) in to[next..next + length].iter_mut().enumerate() {
            *place = first + i as isize * step;
        }
        next += length;
    });
}

/// The first and the last index along each axis that flattened indices in a range that is not empty may have.
pub(super) fn reach(extents: &[usize], range: Range<usize>, mut visit: impl FnMut(usize, usize, usize)) {
    let (mut first, mut last) = (range.start, range.end - 1);
    for (axis, &extent) in extents.iter().enumerate().rev() {
        let (next_first, next_last) = (first / extent, last / extent);
        if next_first == next_last {
            visit(axis, first % extent, last % extent);
        } else {
            visit(axis, 0, extent - 1);
        }
        (first, last) = (next_first, next_last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_cover_a_range_in_order() {
        let extents = [3, 4, 5];
        let strides: [isize; 3] = [100, -7, 2];
        let place = |i: usize| (i / 20) as isize * 100 - (i / 5 % 4) as isize * 7 + (i % 5) as isize * 2;
        for range in [0..60, 3..4, 7..33, 59..60, 5..5] {
            let mut got = vec![0; range.len()];
            places(&extents, &strides, range.clone(), &mut got);
            assert_eq!(got, range.map(place).collect::<Vec<_>>());
        }
        let mut one = [9];
        places(&[], &[], 0..1, &mut one);
        assert_eq!(one, [0]);
    }

    #[test]
    fn merged_axes_have_the_same_places() {
        let (extents, strides) = merged(&[3, 4, 5, 2], &[200, 10, 2, 1]);
        assert_eq!((&extents[..], &strides[..]), (&[3, 40][..], &[200, 1][..]));
        let mut got = [0; 120];
        places(&extents, &strides, 0..120, &mut got);
        let mut expected = [0; 120];
        places(&[3, 4, 5, 2], &[200, 10, 2, 1], 0..120, &mut expected);
        assert_eq!(got, expected);
    }

    #[test]
    fn the_reach_of_a_range_holds_all_its_indices() {
        let extents = [3, 4, 5];
        for range in [0..60, 3..4, 7..33, 21..24, 25..29] {
            let mut limits = [[0; 2]; 3];
            reach(&extents, range.clone(), |axis, first, last| limits[axis] = [first, last]);
            for i in range {
                for (index, [first, last]) in [i / 20, i / 5 % 4, i % 5].into_iter().zip(limits) {
                    assert!((first..=last).contains(&index), "{i} {limits:?}");
                }
            }
        }
    }
}
