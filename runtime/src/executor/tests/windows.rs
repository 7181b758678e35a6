//! Products of windows against sums in f64: convolutions and their gradients, on every width that the CPU has.

use super::dots::numbers;
use super::*;
use crate::program::{DotOut, DotWork, Operand, Window, WindowIndex};
use crate::tile;

/// A convolution of square images; `x` is `[images, groups·channels, size, size + 1]`.
#[derive(Clone, Copy, Debug)]
struct Case {
    images: usize,
    groups: usize,
    channels: usize,
    outputs: usize,
    size: usize,
    window: [usize; 2],
    stride: usize,
    dilation: usize,
    pad: usize,
    /// Columns of a block, 0 for all.
    block: usize,
    split_k: usize,
    /// Whether the channels of the result are innermost.
    channels_last: bool,
}

const PLAIN: Case = Case {
    images: 2,
    groups: 1,
    channels: 3,
    outputs: 6,
    size: 12,
    window: [3, 3],
    stride: 1,
    dilation: 1,
    pad: 0,
    block: 0,
    split_k: 1,
    channels_last: false,
};

fn dims<const N: usize>(numbers: [usize; N]) -> Vec<Dim> {
    numbers.map(Dim::from).to_vec()
}

fn index(extent: usize, offset: i64, batch: &[usize], outer: &[usize], k: &[usize]) -> WindowIndex {
    let dims = |v: &[usize]| v.iter().map(|&c| Dim::from(c)).collect();
    let offset = Dim::constant(offset);
    WindowIndex { extent: Dim::from(extent), step: Dim::ONE, offset, batch: dims(batch), outer: dims(outer), k: dims(k) }
}

impl Case {
    fn x(&self) -> [usize; 4] {
        [self.images, self.groups * self.channels, self.size, self.size + 1]
    }

    fn w(&self) -> [usize; 4] {
        [self.groups * self.outputs, self.channels, self.window[0], self.window[1]]
    }

    fn y(&self) -> [usize; 4] {
        let places = |n: usize, k: usize| (n + 2 * self.pad - (k - 1) * self.dilation - 1) / self.stride + 1;
        let [_, _, height, width] = self.x();
        [self.images, self.groups * self.outputs, places(height, self.window[0]), places(width, self.window[1])]
    }

    /// Calls `visit(x, w, y)` with the positions of each product.
    fn products(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let ([_, _, height, width], [images, _, rows, columns]) = (self.x(), self.y());
        let flat = |i: [usize; 4], n: [usize; 4]| ((i[0] * n[1] + i[1]) * n[2] + i[2]) * n[3] + i[3];
        for y in 0..images * self.groups * self.outputs * rows * columns {
            let (q, p) = (y % columns, y / columns % rows);
            let (o, g) = (y / columns / rows % (self.groups * self.outputs), y / columns / rows / (self.groups * self.outputs));
            for c in 0..self.channels {
                for r in 0..self.window[0] {
                    for s in 0..self.window[1] {
                        let (i, j) = (p * self.stride + r * self.dilation, q * self.stride + s * self.dilation);
                        let inside = |i: usize, n: usize| i >= self.pad && i < n + self.pad;
                        if inside(i, height) && inside(j, width) {
                            let channel = o / self.outputs * self.channels + c;
                            visit(flat([g, channel, i - self.pad, j - self.pad], self.x()), flat([o, c, r, s], self.w()), y);
                        }
                    }
                }
            }
        }
    }

    /// The image under the windows, with the coefficients of batch, outer and k for image, group, channel, place and window
    /// element in this order: group, image; then `outer` and `k`.
    fn image(&self, outer: &[&[usize]; 4], k: &[&[usize]; 4], batch: &[&[usize]; 4], extents: [Vec<Dim>; 2]) -> Operand {
        let [images, channels, height, width] = self.x();
        let pad = -(self.pad as i64);
        let [outer_extents, k_extents] = extents;
        let axis = |d: usize, extent: usize, offset: i64| index(extent, offset, batch[d], outer[d], k[d]);
        let index = vec![axis(0, images, 0), axis(1, channels, 0), axis(2, height, pad), axis(3, width, pad)];
        Operand::Window(Box::new(Window { param: 0, outer: outer_extents, k: k_extents, index }))
    }

    fn forward(&self) -> DotWork {
        let ([_, _, rows, columns], [stride, dilation]) = (self.y(), [self.stride, self.dilation]);
        let (all, places) = (self.groups * self.outputs, rows * columns);
        let window = dims([self.channels, self.window[0], self.window[1]]);
        // Batch: group, image. Columns: place. k: channel, row and column of the window.
        let rhs = self.image(
            &[&[0, 0], &[0, 0], &[stride, 0], &[0, stride]],
            &[&[0, 0, 0], &[1, 0, 0], &[0, dilation, 0], &[0, 0, dilation]],
            &[&[0, 1], &[self.channels, 0], &[0, 0], &[0, 0]],
            [dims([rows, columns]), window.clone()],
        );
        let weight = vec![
            index(all, 0, &[self.outputs, 0], &[1], &[0, 0, 0]),
            index(self.channels, 0, &[0, 0], &[0], &[1, 0, 0]),
            index(self.window[0], 0, &[0, 0], &[0], &[0, 1, 0]),
            index(self.window[1], 0, &[0, 0], &[0], &[0, 0, 1]),
        ];
        let lhs = Operand::Window(Box::new(Window { param: 1, outer: dims([self.outputs]), k: window, index: weight }));
        let out = if self.channels_last {
            DotOut::Param { param: 2, batch: dims([self.outputs, places * all]), m: Dim::ONE, n: Dim::from(all) }
        } else {
            DotOut::Param { param: 2, batch: dims([self.outputs * places, all * places]), m: Dim::from(places), n: Dim::ONE }
        };
        DotWork {
            dtype: DType::F32,
            batch: dims([self.groups, self.images]),
            m: Dim::from(self.outputs),
            n: Dim::from(places),
            k: Dim::from(self.channels * self.window[0] * self.window[1]),
            lhs,
            rhs,
            split_k: self.split_k,
            out,
            block: (Dim::from(self.outputs), Dim::from(if self.block == 0 { places } else { self.block })),
        }
    }

    /// The same from transformed tiles; blocks are of whole rows.
    fn transformed(&self) -> DotWork {
        let [_, _, _, columns] = self.y();
        let mut work = Case { block: self.block * columns, ..*self }.forward();
        let Operand::Window(image) = work.rhs else { unreachable!("the image of a convolution is under windows") };
        work.rhs = Operand::Winograd(image);
        work
    }

    /// Compares the result from transformed tiles with sums in f64.
    fn check_transformed(&self) {
        let elements = |shape: [usize; 4]| shape.iter().product::<usize>();
        let [x, w, y] = [self.x(), self.w(), self.y()].map(elements);
        let (image, weight, mut forward) = (numbers(x, 1), numbers(w, 2), vec![0.0; y]);
        self.products(|i, j, k| forward[k] += image[i] * weight[j]);
        for kernels in tile::available() {
            tile::CHOSEN.set(Some(kernels));
            self.compare(self.transformed(), &image, &weight, &forward, kernels.lanes);
        }
        tile::CHOSEN.set(None);
    }

    /// The gradient of the weight; parameter 1 is the gradient of the result.
    fn weight_gradient(&self) -> DotWork {
        let ([images, all, rows, columns], [stride, dilation]) = (self.y(), [self.stride, self.dilation]);
        let elements = self.channels * self.window[0] * self.window[1];
        // Batch: group. Columns: channel, row and column of the window. k: image, place.
        let rhs = self.image(
            &[&[0, 0, 0], &[1, 0, 0], &[0, dilation, 0], &[0, 0, dilation]],
            &[&[1, 0, 0], &[0, 0, 0], &[0, stride, 0], &[0, 0, stride]],
            &[&[0], &[self.channels], &[0], &[0]],
            [dims([self.channels, self.window[0], self.window[1]]), dims([images, rows, columns])],
        );
        let gradient = vec![
            index(images, 0, &[0], &[0], &[1, 0, 0]),
            index(all, 0, &[self.outputs], &[1], &[0, 0, 0]),
            index(rows, 0, &[0], &[0], &[0, 1, 0]),
            index(columns, 0, &[0], &[0], &[0, 0, 1]),
        ];
        let k = dims([images, rows, columns]);
        let lhs = Operand::Window(Box::new(Window { param: 1, outer: dims([self.outputs]), k, index: gradient }));
        DotWork {
            dtype: DType::F32,
            batch: dims([self.groups]),
            m: Dim::from(self.outputs),
            n: Dim::from(elements),
            k: Dim::from(images * rows * columns),
            lhs,
            rhs,
            split_k: self.split_k,
            out: DotOut::Param { param: 2, batch: dims([self.outputs * elements]), m: Dim::from(elements), n: Dim::ONE },
            block: (Dim::from(self.outputs), Dim::from(if self.block == 0 { elements } else { self.block })),
        }
    }

    /// Compares both with sums in f64: the elements are exact, so only the accumulation rounds.
    fn check(&self) {
        let elements = |shape: [usize; 4]| shape.iter().product::<usize>();
        let [x, w, y] = [self.x(), self.w(), self.y()].map(elements);
        let (image, weight, gradient) = (numbers(x, 1), numbers(w, 2), numbers(y, 3));
        let (mut forward, mut backward) = (vec![0.0; y], vec![0.0; w]);
        self.products(|i, j, k| {
            forward[k] += image[i] * weight[j];
            backward[j] += image[i] * gradient[k];
        });
        if self.channels_last {
            let [_, all, rows, columns] = self.y();
            let place = |i: usize| (i / all / (rows * columns) * all + i % all) * rows * columns + i / all % (rows * columns);
            forward = (0..y).map(|i| forward[place(i)]).collect();
        }
        for kernels in tile::available() {
            tile::CHOSEN.set(Some(kernels));
            self.compare(self.forward(), &image, &weight, &forward, kernels.lanes);
            self.compare(self.weight_gradient(), &image, &gradient, &backward, kernels.lanes);
        }
        tile::CHOSEN.set(None);
    }

    fn compare(&self, work: DotWork, a: &[f64], b: &[f64], expected: &[f64], lanes: usize) {
        let mut p = program("window");
        let ty = |n: usize| TensorType::new(DType::F32, [n]);
        let (x, y) = (p.input(&ty(a.len())), p.input(&ty(b.len())));
        let out = p.result(&ty(expected.len()));
        let k = work.k.as_const().unwrap() as f64;
        p.launch(&[x, y, out], vec![Work::Dot(Box::new(work))]);
        let single = |v: &[f64]| v.iter().map(|&x| x as f32).collect::<Vec<f32>>();
        let inputs = [buffer(&single(a)), buffer(&single(b))];
        let run = |threads| {
            let out = p.run_on(threads, &inputs, &[&[a.len()], &[b.len()]]).unwrap();
            out[0].to_vec::<f32>().unwrap()
        };
        let out = run(1);
        for threads in [2, 3, 4] {
            assert!(run(threads) == out, "{self:?} differs between numbers of threads");
        }
        for (i, (x, y)) in out.iter().zip(expected).enumerate() {
            let error = (f64::from(*x) - y).abs();
            assert!(error <= 4.0 * k * f64::from(f32::EPSILON), "{self:?} with {lanes} lanes: {x} for {y} at {i}");
        }
    }
}

#[test]
fn channels_windows_and_sizes() {
    for (channels, outputs, size, window) in [
        (1, 1, 3, [3, 3]),
        (3, 6, 32, [5, 5]),
        (6, 16, 14, [5, 5]),
        (16, 6, 14, [5, 5]),
        (5, 33, 9, [3, 2]),
        (2, 70, 8, [1, 3]),
        (40, 20, 7, [3, 3]),
        (3, 7, 40, [1, 1]),
        (4, 5, 17, [7, 1]),
        (2, 3, 6, [6, 7]),
    ] {
        for pad in [0, 1, 2] {
            Case { channels, outputs, size, window, pad, ..PLAIN }.check();
        }
    }
}

#[test]
fn strides_dilations_and_groups() {
    for stride in [1, 2, 3] {
        for dilation in [1, 2] {
            for (groups, channels, outputs) in [(1, 3, 6), (2, 2, 17), (5, 1, 1), (3, 4, 2)] {
                for pad in [0, 2] {
                    Case { groups, channels, outputs, stride, dilation, pad, ..PLAIN }.check();
                }
            }
        }
    }
}

#[test]
fn blocks_and_parts_of_k() {
    for (channels, outputs) in [(3, 6), (10, 20)] {
        for (block, split_k) in [(7, 1), (0, 3), (50, 2), (1, 1), (16, 40)] {
            for pad in [0, 1] {
                Case { channels, outputs, block, split_k, pad, ..PLAIN }.check();
            }
        }
    }
}

#[test]
fn channels_innermost_in_the_result() {
    for (outputs, groups) in [(6, 1), (16, 1), (33, 2)] {
        Case { outputs, groups, pad: 1, channels_last: true, ..PLAIN }.check();
    }
}

/// Steps of a window over an image with a zero behind each element, as a dilated weight over the image itself.
#[test]
fn zeros_between_elements() {
    for kernels in tile::available() {
        tile::CHOSEN.set(Some(kernels));
        for pad in [0, 1] {
            // Places p with window elements r: element (p + r - pad) / 2 of 6, where that is whole.
            let (size, window, places) = (6, 3, 9 + 2 * pad);
            let (image, weight) = (numbers(2 * size, 1), numbers(4 * 2 * window, 2));
            let mut work = Case { ..PLAIN }.forward();
            let k = dims([2, window]);
            let along = |step: usize| WindowIndex { step: Dim::from(step), ..index(size, -(pad as i64), &[], &[1], &[0, 1]) };
            let rhs = vec![index(2, 0, &[], &[0], &[1, 0]), along(2)];
            let lhs =
                vec![index(4, 0, &[], &[1], &[0, 0]), index(2, 0, &[], &[0], &[1, 0]), index(window, 0, &[], &[0], &[0, 1])];
            work.rhs = Operand::Window(Box::new(Window { param: 0, outer: dims([places]), k: k.clone(), index: rhs }));
            work.lhs = Operand::Window(Box::new(Window { param: 1, outer: dims([4]), k, index: lhs }));
            (work.batch, work.m, work.n, work.k) = (vec![], Dim::from(4), Dim::from(places), Dim::from(2 * window));
            work.out = DotOut::Param { param: 2, batch: vec![], m: Dim::from(places), n: Dim::ONE };
            work.block = (Dim::from(4), Dim::from(places));
            let mut expected = vec![0.0; 4 * places];
            for (i, sum) in expected.iter_mut().enumerate() {
                for (c, r) in (0..2).flat_map(|c| (0..window).map(move |r| (c, r))) {
                    let at = (i % places + r) as i64 - pad as i64;
                    if at >= 0 && at % 2 == 0 && at / 2 < size as i64 {
                        *sum += image[c * size + at as usize / 2] * weight[(i / places * 2 + c) * window + r];
                    }
                }
            }
            PLAIN.compare(work, &image, &weight, &expected, kernels.lanes);
        }
    }
    tile::CHOSEN.set(None);
}

#[test]
fn nothing_to_sum_and_windows_outside() {
    Case { channels: 0, ..PLAIN }.check();
    Case { images: 0, ..PLAIN }.check();
    Case { outputs: 0, ..PLAIN }.check();
    Case { size: 2, pad: 6, stride: 4, window: [2, 2], ..PLAIN }.check();
}

#[test]
fn a_window_beside_a_matrix_is_refused() {
    let mut work = Case { ..PLAIN }.forward();
    work.lhs =
        Operand::Strided { param: 1, dtype: DType::F32, offset: Dim::ZERO, batch: dims([0, 0]), outer: Dim::ONE, k: Dim::ONE };
    let mut p = program("window");
    let ty = TensorType::new(DType::F32, [2000]);
    let (x, y, out) = (p.input(&ty), p.input(&ty), p.result(&ty));
    p.launch(&[x, y, out], vec![Work::Dot(Box::new(work))]);
    let input = || buffer(&[0f32; 2000]);
    let error = p.run_on(1, &[input(), input()], &[&[2000], &[2000]]).err().unwrap();
    assert!(error.to_string().contains("takes windows of f32 on both sides or none"), "{error}");
}

#[test]
fn transformed_tiles() {
    for (images, channels, outputs, size) in [
        (1, 1, 1, 3),
        (2, 3, 6, 12),
        (3, 16, 17, 7),
        (1, 20, 33, 14),
        (2, 5, 70, 9),
        (1, 2, 3, 40),
        (1, 150, 2, 6),
        (1, 70, 3, 33),
    ] {
        for pad in [0, 1, 2] {
            for block in [0, 1, 2, 5] {
                Case { images, channels, outputs, size, pad, block, ..PLAIN }.check_transformed();
            }
        }
    }
    Case { groups: 3, channels: 4, outputs: 5, pad: 1, ..PLAIN }.check_transformed();
}

/// Work that only another compiler than ours would ask for.
#[test]
fn transformed_tiles_are_not_of_other_windows() {
    let refused = |case: Case| {
        let mut p = program("window");
        let ty = |shape: [usize; 4]| TensorType::new(DType::F32, [shape.iter().product::<usize>()]);
        let (x, y) = (p.input(&ty(case.x())), p.input(&ty(case.w())));
        let out = p.result(&ty(case.y()));
        p.launch(&[x, y, out], vec![Work::Dot(Box::new(case.transformed()))]);
        let [x, w] = [case.x(), case.w()].map(|shape| vec![0f32; shape.iter().product::<usize>()]);
        p.run_on(1, &[buffer(&x), buffer(&w)], &[&[x.len()], &[w.len()]]).is_err()
    };
    assert!(!refused(PLAIN));
    assert!(refused(Case { window: [3, 2], ..PLAIN }));
    assert!(refused(Case { stride: 2, ..PLAIN }));
    assert!(refused(Case { dilation: 2, ..PLAIN }));
    assert!(refused(Case { split_k: 3, ..PLAIN }));
    assert!(refused(Case { channels_last: true, ..PLAIN }));
}
