//! Dots against sums in f64.

use super::*;
use crate::program::{DotOut, DotWork, Operand};
use crate::tile;

/// Numbers that look random: small integers over 8, so that short sums are exact in f32.
pub(super) fn numbers(n: usize, seed: u32) -> Vec<f64> {
    let mut state = seed.wrapping_mul(2654435761) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        f64::from(state % 33) / 8.0 - 2.0
    };
    (0..n).map(|_| next()).collect()
}

#[derive(Clone, Copy, Debug)]
struct Case {
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
    /// Whether the operands and the result are stored with their last two axes exchanged.
    transposed: [bool; 3],
    split_k: usize,
    block: [usize; 2],
}

impl Case {
    fn plain(m: usize, n: usize, k: usize) -> Case {
        Case { batch: 1, m, n, k, transposed: [false; 3], split_k: 1, block: [m, n] }
    }

    fn lhs(&self, i: usize, k: usize) -> usize {
        if self.transposed[0] { k * self.m + i } else { i * self.k + k }
    }

    fn rhs(&self, k: usize, j: usize) -> usize {
        if self.transposed[1] { j * self.k + k } else { k * self.n + j }
    }

    fn out(&self, i: usize, j: usize) -> usize {
        if self.transposed[2] { j * self.m + i } else { i * self.n + j }
    }

    fn expected(&self, a: &[f64], b: &[f64]) -> Vec<f64> {
        let Case { batch, m, n, k, .. } = *self;
        let mut out = vec![0.0; batch * m * n];
        for s in 0..batch {
            for i in 0..m {
                for j in 0..n {
                    let element = |l| a[s * m * k + self.lhs(i, l)] * b[s * k * n + self.rhs(l, j)];
                    out[s * m * n + self.out(i, j)] = (0..k).map(element).sum();
                }
            }
        }
        out
    }

    fn work(&self, dtype: DType) -> DotWork {
        let dim = |n: usize| Dim::from(n);
        let strides = |flag: bool, rows: usize, columns: usize| {
            if flag { (Dim::ONE, dim(rows)) } else { (dim(columns), Dim::ONE) }
        };
        let Case { batch, m, n, k, transposed, split_k, block } = *self;
        let (lhs_outer, lhs_k) = strides(transposed[0], m, k);
        let (rhs_k, rhs_outer) = strides(transposed[1], k, n);
        let (out_m, out_n) = strides(transposed[2], m, n);
        let side =
            |param, size: usize, outer, k| Operand::Strided { param, dtype, offset: Dim::ZERO, batch: vec![dim(size)], outer, k };
        DotWork {
            dtype,
            batch: vec![dim(batch)],
            m: dim(m),
            n: dim(n),
            k: dim(k),
            lhs: side(0, m * k, lhs_outer, lhs_k),
            rhs: side(1, k * n, rhs_outer, rhs_k),
            split_k,
            out: DotOut::Param { param: 2, batch: vec![dim(m * n)], m: out_m, n: out_n },
            block: (dim(block[0]), dim(block[1])),
        }
    }

    /// Runs the work on these operands, with the same bits on one thread and on several.
    fn run<T: Element, R: Element + PartialEq>(&self, work: DotWork, a: &[T], b: &[T]) -> Vec<R> {
        let mut p = program("dot");
        let ty = |n: usize| TensorType::new(T::DTYPE, [n]);
        let (x, y) = (p.input(&ty(a.len())), p.input(&ty(b.len())));
        let out = p.result(&TensorType::new(R::DTYPE, [self.batch * self.m * self.n]));
        p.launch(&[x, y, out], vec![Work::Dot(Box::new(work))]);
        let run = |threads| {
            let out = p.run_on(threads, &[buffer(a), buffer(b)], &[&[a.len()], &[b.len()]]).unwrap();
            out[0].to_vec::<R>().unwrap()
        };
        let out = run(1);
        assert!(run(4) == out, "{self:?} differs between numbers of threads");
        out
    }

    /// Compares with the sum in f64; the elements are exact, so only the accumulation rounds.
    fn check(&self) {
        let Case { batch, m, n, k, .. } = *self;
        let (a, b) = (numbers(batch * m * k, 1), numbers(batch * k * n, 2));
        let expected = self.expected(&a, &b);
        let single = |v: &[f64]| v.iter().map(|&x| x as f32).collect::<Vec<f32>>();
        let near = |out: &[f32]| {
            for (x, y) in out.iter().zip(&expected) {
                assert!((f64::from(*x) - y).abs() <= 4.0 * k as f64 * f64::from(f32::EPSILON), "{self:?}: {x} for {y}");
            }
        };
        near(&self.run(self.work(DType::F32), &single(&a), &single(&b)));
        let half = |v: &[f64]| v.iter().map(|&x| half::f16::from_f64(x)).collect::<Vec<_>>();
        near(&self.run(self.of_half_operands(DType::F16), &half(&a), &half(&b)));
        let half = |v: &[f64]| v.iter().map(|&x| half::bf16::from_f64(x)).collect::<Vec<_>>();
        near(&self.run(self.of_half_operands(DType::BF16), &half(&a), &half(&b)));
        let out: Vec<f64> = self.run(self.work(DType::F64), &a, &b);
        assert_eq!(out, expected, "{self:?}: sums of multiples of 1/64 are exact in f64");
    }

    fn of_half_operands(&self, half: DType) -> DotWork {
        let mut work = self.work(DType::F32);
        for operand in [&mut work.lhs, &mut work.rhs] {
            if let Operand::Strided { dtype, .. } = operand {
                *dtype = half;
            }
        }
        work
    }
}

#[test]
fn shapes_transposes_and_batches() {
    let sizes = [
        (1, 1, 1),
        (1, 7, 5),
        (7, 1, 5),
        (1, 64, 300),
        (64, 1, 300),
        (5, 6, 1),
        (5, 6, 2),
        (16, 16, 16),
        (17, 33, 65),
        (64, 10, 130),
        (70, 130, 90),
    ];
    for (m, n, k) in sizes {
        for transposed in 0..8 {
            let transposed = [0, 1, 2].map(|bit| transposed >> bit & 1 == 1);
            Case { transposed, ..Case::plain(m, n, k) }.check();
            Case { transposed, batch: 3, block: [m.div_ceil(2), n.div_ceil(3)], ..Case::plain(m, n, k) }.check();
        }
    }
}

#[test]
fn k_in_parts_and_many_blocks() {
    for split_k in [2, 3, 8, 200] {
        Case { split_k, ..Case::plain(20, 30, 100) }.check();
        Case { split_k, batch: 2, block: [7, 16], transposed: [true, true, true], ..Case::plain(20, 30, 100) }.check();
    }
    Case { block: [16, 8], ..Case::plain(100, 100, 40) }.check();
    Case { block: [40, 24], transposed: [false, true, false], ..Case::plain(70, 50, 2500) }.check();
}

#[test]
fn sizes_of_zero() {
    Case::plain(0, 5, 3).check();
    Case::plain(5, 0, 3).check();
    Case { batch: 0, ..Case::plain(5, 4, 3) }.check();
    for split_k in [1, 4] {
        let case = Case { split_k, block: [2, 2], ..Case::plain(5, 4, 0) };
        assert_eq!(case.run::<f32, f32>(case.work(DType::F32), &[], &[]), [0.0; 20]);
    }
}

// The left operand, doubled: `[k][outer]` of params[0] as `[batch, M, K]`.
kernel!(pack_doubled_lhs<M, K>, c => {
    let mut to = c.scratch.cast::<f32>();
    for k in c.range(2) {
        for i in c.range(1) {
            *to = 2.0 * *c.param::<f32>(0).add((c.range(0).start * M + i) * K + k);
            to = to.add(1);
        }
    }
});

// The right operand plus one: `[k][outer]` of params[1] as `[batch, K, N]`.
kernel!(pack_rhs_plus_one<K, N>, c => {
    let mut to = c.scratch.cast::<f32>();
    for k in c.range(2) {
        for j in c.range(1) {
            *to = *c.param::<f32>(1).add((c.range(0).start * K + k) * N + j) + 1.0;
            to = to.add(1);
        }
    }
});

// Stores -block to params[2] as `[batch, M, N]`, by way of its own scratch behind the block.
kernel!(store_negated<M, N>, c => {
    let (rows, columns) = (c.range(1), c.range(2));
    let block = c.scratch.cast::<f32>();
    let own = c.scratch.add((4 * rows.len() * columns.len()).next_multiple_of(64)).cast::<f32>();
    for (i, row) in rows.enumerate() {
        for j in 0..columns.len() {
            *own.add(j) = -*block.add(i * columns.len() + j);
        }
        for (j, column) in columns.clone().enumerate() {
            *c.param::<f32>(2).add((c.range(0).start * M + row) * N + column) = *own.add(j);
        }
    }
});

#[test]
fn packed_operands_and_epilogues() {
    const M: usize = 33;
    const N: usize = 21;
    const K: usize = 1500;
    for (pack_lhs, pack_rhs, epilogue) in [(true, false, false), (false, true, true), (true, true, true), (false, false, true)] {
        for split_k in [1, 3] {
            let case = Case { batch: 2, block: [16, 21], split_k, ..Case::plain(M, N, K) };
            let mut work = case.work(DType::F32);
            let (mut a, mut b) = (numbers(2 * M * K, 3), numbers(2 * K * N, 4));
            let single = |v: &[f64]| v.iter().map(|&x| x as f32).collect::<Vec<f32>>();
            let (x, y) = (single(&a), single(&b));
            if pack_lhs {
                work.lhs = Operand::Packed { function: pack_doubled_lhs::<M, K> };
                a.iter_mut().for_each(|x| *x *= 2.0);
            }
            if pack_rhs {
                work.rhs = Operand::Packed { function: pack_rhs_plus_one::<K, N> };
                b.iter_mut().for_each(|x| *x += 1.0);
            }
            let mut sign = 1.0;
            if epilogue {
                work.out = DotOut::Epilogue { function: store_negated::<M, N>, scratch: Dim::from(4 * N) };
                sign = -1.0;
            }
            let out: Vec<f32> = case.run(work, &x, &y);
            for (x, y) in out.iter().zip(case.expected(&a, &b)) {
                assert!((f64::from(*x) - sign * y).abs() < 0.02, "{x} for {y}");
            }
        }
    }
}

#[test]
fn dots_of_other_types_are_errors() {
    for (dtype, expected) in [(DType::I64, "a dot of i64 cannot run"), (DType::I32, "a dot of i32 cannot read i32")] {
        let case = Case::plain(2, 2, 2);
        let mut p = program("dot");
        let ty = TensorType::new(dtype, [4usize]);
        let (x, y, out) = (p.input(&ty), p.input(&ty), p.result(&ty));
        p.launch(&[x, y, out], vec![Work::Dot(Box::new(case.work(dtype)))]);
        let buffer = || Buffer::zeroed(4 * dtype.size()).unwrap();
        let error = p.run(&[buffer(), buffer()]).unwrap_err();
        assert!(error.message().contains(expected), "{error}");
    }
}

/// A product whose operand `fixed` (0: the left one) is a constant of a loop of three steps over the other.
fn loop_over_products(case: &Case, fixed: usize) -> Program {
    let Case { m, n, k, .. } = *case;
    let elements = [m * k, k * n];
    let mut work = case.work(DType::F32);
    // The constant comes first.
    for (side, operand) in [&mut work.lhs, &mut work.rhs].into_iter().enumerate() {
        let Operand::Strided { param, batch, .. } = operand else { unreachable!("cases have matrices") };
        *param = usize::from(side != fixed);
        batch.clear();
    }
    let DotOut::Param { batch, .. } = &mut work.out else { unreachable!("cases store their product") };
    batch.clear();
    work.batch.clear();
    let mut body = program("body");
    let (w, x) = (body.input(&f32s([elements[fixed]])), body.input(&f32s([elements[1 - fixed]])));
    let out = body.result(&f32s([m * n]));
    body.launch(&[w, x, out], vec![Work::Dot(Box::new(work))]);
    let once = Plan::new(&body, bind_symbols(&body, &[&[elements[fixed]], &[elements[1 - fixed]]]).unwrap(), 2, 1).unwrap().once;
    assert_eq!(once.len(), 1, "{case:?}: the operand is packed in front of the loop");
    let mut p = program("loop");
    let (w, x) = (p.input(&f32s([elements[fixed]])), p.input(&f32s([3, elements[1 - fixed]])));
    let out = p.result(&f32s([3, m * n]));
    p.launch(&[w, x, out], vec![inner::scan(body, 3usize, 1, 0, 1, false)]);
    p
}

/// Sums of these numbers are exact, so that every element has to be.
#[test]
fn a_fixed_operand_of_a_loop_is_packed_once() {
    for kernels in tile::available() {
        tile::CHOSEN.set(Some(kernels));
        let sizes: [(usize, usize, usize); 7] =
            [(1, 64, 40), (5, 40, 33), (16, 32, 64), (33, 70, 90), (128, 48, 30), (40, 1, 40), (64, 31, 50)];
        for ((m, n, k), bits, fixed) in sizes.into_iter().flat_map(|s| (0..16).map(move |bits| (s, bits / 2, bits % 2))) {
            let transposed = [0, 1, 2].map(|bit| bits >> bit & 1 == 1);
            let (m, n) = if fixed == 1 { (m, n.max(32)) } else { (n.max(32), m) };
            for block in [[m, n], if fixed == 1 { [m.div_ceil(2), 32] } else { [32, n.div_ceil(2)] }] {
                let case = Case { transposed, block, ..Case::plain(m, n, k) };
                let p = loop_over_products(&case, fixed);
                let (w, x) = (numbers([m * k, k * n][fixed], 5), numbers(3 * [k * n, m * k][fixed], 6));
                let single = |v: &[f64]| v.iter().map(|&x| x as f32).collect::<Vec<f32>>();
                let run = |threads| {
                    let shapes: [&[usize]; 2] = [&[w.len()], &[3, x.len() / 3]];
                    floats(&p.run_on(threads, &[buffer(&single(&w)), buffer(&single(&x))], &shapes).unwrap()[0])
                };
                let expected: Vec<f64> = x
                    .chunks(x.len() / 3)
                    .flat_map(|x| if fixed == 0 { case.expected(&w, x) } else { case.expected(x, &w) })
                    .collect();
                for threads in [1, 4] {
                    assert_eq!(run(threads), single(&expected), "{case:?}, {threads} threads");
                }
            }
        }
        tile::CHOSEN.set(None);
    }
}
