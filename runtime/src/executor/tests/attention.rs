//! Attention and its derivative against sums in f64, on every width that the CPU has.

use super::*;
use crate::program::{AttentionMask, AttentionPass, AttentionWork, Elements};
use crate::tile;

#[derive(Clone, Copy, Debug)]
struct Case {
    batches: usize,
    queries: usize,
    keys: usize,
    features: usize,
    values: usize,
    causal: bool,
    mask: Hides,
    /// Whether queries, keys and values have their features outermost.
    turned: bool,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Hides {
    Nothing,
    /// Numbers that are added, the same for all batches.
    Added,
    /// Every third key, by the score of what is hidden.
    Thirds(f64),
    /// Everything from the second query.
    AllFromOne(f64),
}

const PLAIN: Case =
    Case { batches: 2, queries: 7, keys: 9, features: 5, values: 3, causal: false, mask: Hides::Nothing, turned: false };

/// What a case computes, and the logarithms of the sums.
struct Expected {
    y: Vec<f64>,
    lse: Vec<f64>,
    cotangents: [Vec<f64>; 3],
}

fn numbers(n: usize, seed: u32) -> Vec<f32> {
    super::dots::numbers(n, seed).into_iter().map(|x| x as f32 / 2.0).collect()
}

impl Case {
    fn shapes(&self) -> [[usize; 3]; 3] {
        let Case { batches, queries, keys, features, values, .. } = *self;
        [[batches, queries, features], [batches, keys, features], [batches, keys, values]]
    }

    /// A dense parameter `[batch, row, column]`, or `[batch, column, row]` if turned.
    fn elements(&self, param: usize, [_, rows, columns]: [usize; 3], turned: bool) -> Elements {
        let (row, column) = if turned { (1, rows) } else { (columns, 1) };
        let [row, column, batch] = [row, column, rows * columns].map(Dim::from);
        Elements { param, offset: Dim::ZERO, batch: vec![batch], row, column }
    }

    fn at(&self, [_, rows, columns]: [usize; 3], [b, i, j]: [usize; 3]) -> usize {
        if self.turned { (b * columns + j) * rows + i } else { (b * rows + i) * columns + j }
    }

    fn scores(&self) -> [usize; 3] {
        [self.batches, self.queries, self.keys]
    }

    fn mask_bytes(&self) -> Vec<u8> {
        let sees = |i: usize, j: usize| match self.mask {
            Hides::Thirds(_) => !(i + j).is_multiple_of(3),
            _ => i == 0,
        };
        (0..self.queries * self.keys).map(|e| sees(e / self.keys, e % self.keys).into()).collect()
    }

    fn added(&self) -> Vec<f32> {
        numbers(self.queries * self.keys, 5)
    }

    fn inputs(&self) -> Vec<Vec<f32>> {
        let sizes = self.shapes().map(|s| s.iter().product());
        sizes.iter().enumerate().map(|(i, &n)| numbers(n, i as u32)).collect()
    }

    fn dy(&self) -> Vec<f32> {
        numbers(self.batches * self.queries * self.values, 9)
    }

    fn expected(&self) -> Expected {
        let [q, k, v] = &self.inputs()[..] else { unreachable!() };
        let (dy, added, seen) = (self.dy(), self.added(), self.mask_bytes());
        let [q_shape, k_shape, v_shape] = self.shapes();
        let of = |x: &[f32], shape, index| f64::from(x[self.at(shape, index)]);
        let (mut y, mut lses) = (Vec::new(), Vec::new());
        let mut cotangents = self.shapes().map(|s| vec![0.0; s.iter().product()]);
        for b in 0..self.batches {
            for i in 0..self.queries {
                let mut hidden = vec![false; self.keys];
                let scores: Vec<f64> = (0..self.keys)
                    .map(|j| {
                        let product: f64 =
                            (0..self.features).map(|c| of(q, q_shape, [b, i, c]) * of(k, k_shape, [b, j, c])).sum();
                        let place = i * self.keys + j;
                        let score = match self.mask {
                            Hides::Added => 0.5 * product + f64::from(added[place]),
                            Hides::Thirds(h) | Hides::AllFromOne(h) if seen[place] == 0 => {
                                hidden[j] = true;
                                h
                            }
                            _ => 0.5 * product,
                        };
                        if self.causal && j > i { f64::NEG_INFINITY } else { score }
                    })
                    .collect();
                let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = scores.iter().map(|s| (s - top).exp()).sum();
                let nothing = top == f64::NEG_INFINITY;
                let p: Vec<f64> = scores.iter().map(|s| if nothing { 0.0 } else { (s - top).exp() / sum }).collect();
                lses.push(if nothing { f64::INFINITY } else { top + sum.ln() });
                let row: Vec<f64> =
                    (0..self.values).map(|c| (0..self.keys).map(|j| p[j] * of(v, v_shape, [b, j, c])).sum()).collect();
                let dy_at = |c: usize| f64::from(dy[(b * self.queries + i) * self.values + c]);
                let delta: f64 = (0..self.values).map(|c| dy_at(c) * row[c]).sum();
                y.extend(row);
                for j in 0..self.keys {
                    let dp: f64 = (0..self.values).map(|c| dy_at(c) * of(v, v_shape, [b, j, c])).sum();
                    (0..self.values).for_each(|c| cotangents[2][(b * self.keys + j) * self.values + c] += p[j] * dy_at(c));
                    if hidden[j] {
                        continue;
                    }
                    let ds = p[j] * (dp - delta) * 0.5;
                    for c in 0..self.features {
                        cotangents[0][(b * self.queries + i) * self.features + c] += ds * of(k, k_shape, [b, j, c]);
                        cotangents[1][(b * self.keys + j) * self.features + c] += ds * of(q, q_shape, [b, i, c]);
                    }
                }
            }
        }
        Expected { y, lse: lses, cotangents }
    }

    fn work(&self, mask: usize, pass: AttentionPass) -> Work {
        let whole = |param| Elements { batch: vec![Dim::ZERO], ..self.elements(param, self.scores(), false) };
        let mask = match self.mask {
            Hides::Nothing => None,
            Hides::Added => Some(AttentionMask::Added(whole(mask))),
            Hides::Thirds(hidden) | Hides::AllFromOne(hidden) => Some(AttentionMask::Seen(whole(mask), hidden)),
        };
        let [q, k, v] = self.shapes();
        Work::Attention(Box::new(AttentionWork {
            batch: vec![Dim::from(self.batches)],
            queries: Dim::from(self.queries),
            keys: Dim::from(self.keys),
            features: Dim::from(self.features),
            values: Dim::from(self.values),
            scale: 0.5,
            causal: self.causal,
            operands: [self.elements(0, q, self.turned), self.elements(1, k, self.turned), self.elements(2, v, self.turned)],
            mask,
            score: None,
            pass,
        }))
    }

    /// Forward, then backward, on so many threads: `y`, `lse` and the cotangents that `wanted` names.
    fn run(&self, threads: usize, wanted: [bool; 3]) -> Vec<Buffer> {
        let mut p = program("attention");
        let mut inputs: Vec<Buffer> = self.inputs().iter().map(|x| buffer(x)).collect();
        let mut params: Vec<usize> = self.shapes().iter().map(|s| p.input(&f32s(*s))).collect();
        let mask_ty = TensorType::new(if self.mask == Hides::Added { DType::F32 } else { DType::U8 }, [self.queries, self.keys]);
        params.push(p.input(&mask_ty));
        inputs.push(if self.mask == Hides::Added { buffer(&self.added()) } else { buffer(&self.mask_bytes()) });
        let [queries, keys, values] = self.shapes();
        let y_shape = [self.batches, self.queries, self.values];
        let (dy, delta) = (p.input(&f32s(y_shape)), p.input(&f32s([self.batches, self.queries])));
        let expected = self.expected();
        let deltas: Vec<f32> = (0..self.batches * self.queries)
            .map(|i| {
                (0..self.values).map(|c| f64::from(self.dy()[i * self.values + c]) * expected.y[i * self.values + c]).sum::<f64>()
                    as f32
            })
            .collect();
        inputs.extend([buffer(&self.dy()), buffer(&deltas)]);
        let (y, lse) = (p.result(&f32s(y_shape)), p.result(&f32s([self.batches, self.queries])));
        let per_query =
            |param| Elements { param, offset: Dim::ZERO, batch: vec![Dim::from(self.queries)], row: Dim::ONE, column: Dim::ZERO };
        let forward = AttentionPass::Forward { y: Some(self.elements(4, y_shape, false)), lse: Some(per_query(5)) };
        let work = self.work(3, forward);
        p.launch(&[&params[..], &[y, lse]].concat(), vec![work]);
        let mut all = [&params[..], &[lse, delta, dy]].concat();
        let mut cotangents = [None, None, None];
        for (i, shape) in [queries, keys, values].into_iter().enumerate().filter(|(i, _)| wanted[*i]) {
            cotangents[i] = Some(self.elements(all.len(), shape, false));
            all.push(p.result(&f32s(shape)));
        }
        let backward = AttentionPass::Backward {
            lse: per_query(4),
            delta: per_query(5),
            dy: self.elements(6, y_shape, false),
            cotangents: Box::new(cotangents),
        };
        let work = self.work(3, backward);
        p.launch(&all, vec![work]);
        let shapes: Vec<Vec<usize>> = p.inputs.iter().map(|ty| ty.shape.iter().map(|d| d.get().unwrap()).collect()).collect();
        let shapes: Vec<&[usize]> = shapes.iter().map(|s| &s[..]).collect();
        p.run_on(threads, &inputs, &shapes).unwrap()
    }

    fn check(&self) {
        let expected = self.expected();
        for kernels in tile::available() {
            tile::CHOSEN.set(Some(kernels));
            let found = self.run(1, [true; 3]);
            let names = ["y", "lse", "dq", "dk", "dv"];
            let [dq, dk, dv] = &expected.cotangents;
            for (i, wanted) in [&expected.y, &expected.lse, dq, dk, dv].into_iter().enumerate() {
                let largest = wanted.iter().filter(|x| x.is_finite()).fold(1.0f64, |m, x| m.max(x.abs()));
                for (j, (f, w)) in floats(&found[i]).iter().zip(wanted).enumerate() {
                    let near = (f64::from(*f) - w).abs() <= 2e-5 * largest || f64::from(*f) == *w || f.is_nan() && w.is_nan();
                    assert!(near, "{self:?}, {} lanes: {}[{j}] is {f}, not {w}", kernels.lanes, names[i]);
                }
            }
            for threads in [2, 3] {
                for (a, b) in found.iter().zip(self.run(threads, [true; 3])) {
                    let bits = |x: &Buffer| floats(x).iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                    assert_eq!(bits(a), bits(&b), "{self:?} on {threads} threads");
                }
            }
            tile::CHOSEN.set(None);
        }
    }
}

#[test]
fn tiles_and_blocks_of_all_sizes() {
    for (queries, keys) in [(1, 1), (2, 130), (48, 64), (49, 129), (100, 33), (17, 257)] {
        for causal in [false, true] {
            Case { queries, keys, causal, features: 20, values: 17, ..PLAIN }.check();
        }
    }
    for features in [1, 2, 7, 8, 15, 64] {
        Case { features, values: 72 - features, queries: 20, keys: 30, ..PLAIN }.check();
    }
}

#[test]
fn masks() {
    for mask in [Hides::Added, Hides::Thirds(f64::NEG_INFINITY), Hides::Thirds(-1e9), Hides::AllFromOne(-1e9)] {
        for (queries, keys) in [(5, 9), (60, 140)] {
            Case { mask, queries, keys, ..PLAIN }.check();
            Case { mask, queries, keys, turned: true, ..PLAIN }.check();
        }
    }
    Case { mask: Hides::Added, causal: true, queries: 70, keys: 70, ..PLAIN }.check();
}

#[test]
fn a_query_that_sees_nothing_has_zeros_and_no_derivative() {
    let case = Case { mask: Hides::AllFromOne(f64::NEG_INFINITY), ..PLAIN };
    case.check();
    let results = case.run(1, [true; 3]);
    let (y, dq) = (floats(&results[0]), floats(&results[2]));
    assert!(y[..PLAIN.values].iter().all(|&y| y != 0.0) && y[PLAIN.values..7 * PLAIN.values].iter().all(|&y| y == 0.0));
    assert!(dq[PLAIN.features..7 * PLAIN.features].iter().all(|&d| d == 0.0));
}

#[test]
fn keys_and_queries_without_elements() {
    for (queries, keys) in [(3, 0), (0, 3), (0, 0)] {
        Case { queries, keys, ..PLAIN }.check();
    }
}

#[test]
fn any_layout_and_the_pass_over_keys_alone() {
    Case { turned: true, queries: 50, keys: 70, ..PLAIN }.check();
    // From eight batches on one pass computes all three.
    Case { batches: 8, queries: 50, keys: 70, features: 19, ..PLAIN }.check();
    Case { batches: 9, queries: 70, keys: 50, causal: true, turned: true, ..PLAIN }.check();
}

#[test]
fn only_the_cotangents_that_are_wanted() {
    for batches in [2, 8] {
        let case = Case { batches, queries: 20, keys: 70, ..PLAIN };
        let all = case.run(2, [true; 3]);
        for wanted in 0..8usize {
            let wanted = [0, 1, 2].map(|i| wanted >> i & 1 == 1);
            let some = case.run(2, wanted);
            let names = (0..3).filter(|&i| wanted[i]);
            for (found, i) in some[2..].iter().zip(names) {
                for (a, b) in floats(found).iter().zip(floats(&all[2 + i])) {
                    assert!((a - b).abs() <= 1e-5, "{wanted:?}: cotangent {i}");
                }
            }
        }
    }
}
