//! Cutting work into boxes, and boxes into tasks.

use smallvec::SmallVec;

/// Below this many estimated nanoseconds a launch runs on the caller alone.
const FORK_NS: f64 = 5000.0;
/// No task is made smaller than this many estimated nanoseconds.
const TASK_NS: f64 = 2500.0;
/// Tasks per thread, so that a late thread costs little.
const TASKS_PER_THREAD: usize = 4;

/// How many tasks work of this estimated cost is worth.
pub(super) fn tasks_for(ns: f64, threads: usize) -> usize {
    if threads <= 1 || ns < FORK_NS {
        return 1;
    }
    ((ns / TASK_NS) as usize).clamp(1, threads * TASKS_PER_THREAD)
}

/// A box-shaped region cut into boxes along some of its axes.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    extents: SmallVec<[i64; 4]>,
    chunks: SmallVec<[i64; 4]>,
    counts: SmallVec<[usize; 4]>,
    boxes: usize,
}

/// First index and one past the last, for each axis.
pub(super) type Bounds = SmallVec<[i64; 16]>;

impl Grid {
    /// Boxes of the given extents (the last along each axis may be smaller).
    pub fn of_chunks(extents: impl IntoIterator<Item = i64>, chunks: impl IntoIterator<Item = i64>) -> Grid {
        let extents: SmallVec<[i64; 4]> = extents.into_iter().collect();
        let chunks: SmallVec<[i64; 4]> = chunks.into_iter().map(|c| c.max(1)).collect();
        let counts: SmallVec<[usize; 4]> =
            extents.iter().zip(&chunks).map(|(&e, &c)| (e.max(0) as usize).div_ceil(c as usize)).collect();
        let boxes = counts.iter().product();
        Grid { extents, chunks, counts, boxes }
    }

    /// About `wanted` boxes of nearly equal size, cut along the axes `bind`, the first of them first.
    pub fn cut(extents: impl IntoIterator<Item = i64>, bind: &[usize], wanted: usize) -> Grid {
        let extents: SmallVec<[i64; 4]> = extents.into_iter().collect();
        let mut chunks = extents.clone();
        let mut wanted = wanted as i64;
        for &axis in bind {
            let extent = extents[axis];
            if wanted <= 1 {
                break;
            }
            if extent <= 1 {
                continue;
            }
            let mut chunk = (extent as u64).div_ceil(wanted.min(extent) as u64) as i64;
            if chunk >= 256 {
                chunk = (chunk + 63) & !63;
            }
            chunks[axis] = chunk;
            let count = (extent as u64).div_ceil(chunk as u64);
            wanted = (wanted as u64).div_ceil(count) as i64;
        }
        Grid::of_chunks(extents, chunks)
    }

    /// The number of boxes; 0 if an extent is 0.
    pub fn boxes(&self) -> usize {
        self.boxes
    }

    /// The bounds of box `index`: boxes are numbered row-major.
    #[inline]
    pub fn bounds(&self, mut index: usize) -> Bounds {
        let mut bounds: Bounds = SmallVec::from_elem(0, 2 * self.extents.len());
        for axis in (0..self.extents.len()).rev() {
            let at = (index % self.counts[axis]) as i64;
            index /= self.counts[axis];
            bounds[2 * axis] = at * self.chunks[axis];
            bounds[2 * axis + 1] = (bounds[2 * axis] + self.chunks[axis]).min(self.extents[axis]);
        }
        bounds
    }
}

/// Groups boxes, given as (how many, estimated nanoseconds of each) in order, into about equally long tasks: ranges of box
/// numbers.
pub(super) fn group(pieces: &[(usize, f64)], threads: usize) -> Vec<(usize, usize)> {
    let boxes: usize = pieces.iter().map(|p| p.0).sum();
    let total: f64 = pieces.iter().map(|&(n, ns)| n as f64 * ns).sum();
    let tasks = tasks_for(total, threads);
    if tasks <= 1 || boxes <= 1 {
        return vec![(0, boxes)];
    }
    let task_ns = total / tasks as f64;
    let (mut groups, mut first, mut next, mut ns) = (Vec::with_capacity(tasks + 1), 0, 0, 0.0);
    for &(count, box_ns) in pieces {
        let mut left = count;
        while left > 0 {
            let take = (((task_ns - ns) / box_ns.max(1e-3)).round() as usize).clamp(1, left);
            left -= take;
            next += take;
            ns += take as f64 * box_ns;
            if ns >= 0.75 * task_ns {
                groups.push((first, next));
                (first, ns) = (next, 0.0);
            }
        }
    }
    if first < next {
        groups.push((first, next));
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(grid: &Grid, extents: &[i64]) {
        let points: i64 = extents.iter().product();
        let mut seen = vec![0; points as usize];
        for index in 0..grid.boxes() {
            let bounds = grid.bounds(index);
            let mut at: Vec<i64> = (0..extents.len()).map(|a| bounds[2 * a]).collect();
            'points: loop {
                seen[at.iter().zip(extents).fold(0, |flat, (i, e)| flat * e + i) as usize] += 1;
                for axis in (0..extents.len()).rev() {
                    at[axis] += 1;
                    if at[axis] < bounds[2 * axis + 1] {
                        continue 'points;
                    }
                    at[axis] = bounds[2 * axis];
                }
                break;
            }
        }
        assert!(seen.iter().all(|&n| n == 1), "{grid:?}");
    }

    #[test]
    fn boxes_cover_every_point_once() {
        for extents in [&[7, 5, 3][..], &[1000], &[1, 1], &[], &[2, 300]] {
            let bind: Vec<usize> = (0..extents.len()).collect();
            for wanted in [1, 2, 3, 8, 64] {
                let grid = Grid::cut(extents.iter().copied(), &bind, wanted);
                covers(&grid, extents);
                assert!(grid.boxes() <= 2 * wanted);
            }
        }
        assert!(Grid::cut([1000], &[0], 8).boxes() >= 4);
        assert_eq!(Grid::cut([1000, 3], &[1], 8).boxes(), 3);
        assert_eq!(Grid::cut([0, 3], &[0, 1], 8).boxes(), 0);
        covers(&Grid::of_chunks([10, 7], [4, 7]), &[10, 7]);
    }

    #[test]
    fn tasks_cover_every_box_in_order() {
        for pieces in [&[(100, 1000.0), (1, 50_000.0), (7, 0.0)][..], &[(1, 1.0)], &[(3, 9000.0); 20], &[(0, 0.0)]] {
            for threads in [1, 2, 16] {
                let groups = group(pieces, threads);
                let boxes: usize = pieces.iter().map(|p| p.0).sum();
                assert_eq!(groups.first().unwrap().0, 0);
                assert_eq!(groups.last().unwrap().1, boxes);
                assert!(groups.windows(2).all(|w| w[0].1 == w[1].0));
                assert!(threads > 1 || groups.len() == 1);
            }
        }
        assert_eq!(group(&[(1000, 100.0)], 2).len(), 8);
        assert_eq!(group(&[(10, 100.0)], 2).len(), 1);
    }
}
