//! Calls and scans.

use super::*;
use crate::program::ScanWork;

/// `(c + x, c + x)` for scalars-in-arrays of `n`: a running sum whose steps are also results.
fn running_sum(n: usize, in_place: bool) -> Program {
    let mut p = program("running_sum");
    let ty = f32s([n]);
    p.inputs = vec![ty.clone(), ty.clone()];
    let x = p.buffer(&ty, Place::Input(1));
    if in_place {
        let c = p.buffer(&ty, Place::InOut(0));
        p.output(c);
        p.output(c);
        p.launch(&[c, x], vec![cut_loop(add_to, [n])]);
    } else {
        let c = p.buffer(&ty, Place::Input(0));
        let sum = p.result(&ty);
        p.output(sum);
        p.launch(&[c, x, sum], vec![cut_loop(add, [n])]);
    }
    p
}

pub(super) fn scan(
    body: Program,
    steps: impl Into<Dim>,
    constants: usize,
    carries: usize,
    sequences: usize,
    reverse: bool,
) -> Work {
    Work::Scan(Box::new(ScanWork { body: Arc::new(body), steps: steps.into(), constants, carries, sequences, reverse }))
}

fn running_sums(steps: usize, n: usize, in_place: bool, reverse: bool) -> Program {
    let mut p = program("running_sums");
    let (c, x) = (p.input(&f32s([n])), p.input(&f32s([steps, n])));
    let (last, all) = (p.result(&f32s([n])), p.result(&f32s([steps, n])));
    p.launch(&[c, x, last, all], vec![scan(running_sum(n, in_place), steps, 0, 1, 1, reverse)]);
    p
}

#[test]
fn scans_carry_and_stack() {
    let n = 3;
    for steps in [0, 1, 2, 5] {
        for (in_place, reverse) in [(false, false), (true, false), (false, true), (true, true)] {
            let p = running_sums(steps, n, in_place, reverse);
            let x: Vec<f32> = (0..steps * n).map(|i| (i * i) as f32).collect();
            let initial = buffer(&[100.0f32, 200.0, 300.0]);
            let mut carry = floats(&initial);
            let mut all = vec![0.0; steps * n];
            for step in 0..steps {
                let t = if reverse { steps - 1 - step } else { step };
                for i in 0..n {
                    carry[i] += x[t * n + i];
                    all[t * n + i] = carry[i];
                }
            }
            for _ in 0..2 {
                let out = p.run(&[initial.clone(), buffer(&x)]).unwrap();
                assert_eq!(floats(&out[0]), carry, "{steps} steps, in place {in_place}, reverse {reverse}");
                assert_eq!(floats(&out[1]), all);
            }
            assert_eq!(floats(&initial), [100.0, 200.0, 300.0]);
        }
    }
}

#[test]
fn a_final_carry_may_lie_where_the_initial_one_does() {
    for steps in [1usize, 2, 3] {
        for in_place in [false, true] {
            let mut p = program("update");
            let (v, x) = (p.variable(&f32s([2usize])), p.input(&f32s([steps, 2])));
            let all = p.buffer(&f32s([steps, 2]), Place::Arena(Dim::ZERO));
            p.launch(&[v, x, v, all], vec![scan(running_sum(2, in_place), steps, 0, 1, 1, false)]).commits = true;
            let out = p.run(&[buffer(&[1.0f32, 2.0]), buffer(&vec![1.0f32; 2 * steps])]).unwrap();
            assert_eq!(floats(&out[0]), [1.0 + steps as f32, 2.0 + steps as f32]);
        }
    }
}

#[test]
fn constants_and_unchanged_carries() {
    // constant k, carries (u, v): u stays, v becomes u + k, and the old v is the result.
    let mut body = program("body");
    let ty = f32s([1usize]);
    let (k, u, v) = (body.input(&ty), body.input(&ty), body.input(&ty));
    body.output(u);
    let sum = body.result(&ty);
    body.output(v);
    body.launch(&[u, k, sum], vec![cut_loop(add, [1usize])]);
    let mut p = program("outer");
    let (k, u, v) = (p.input(&ty), p.input(&ty), p.input(&ty));
    let (last_u, last_v, olds) = (p.result(&ty), p.result(&ty), p.result(&f32s([3usize, 1])));
    p.launch(&[k, u, v, last_u, last_v, olds], vec![scan(body, 3usize, 1, 2, 0, false)]);
    let out = p.run(&[buffer(&[1.0f32]), buffer(&[10.0f32]), buffer(&[5.0f32])]).unwrap();
    assert_eq!([floats(&out[0]), floats(&out[1])], [[10.0], [11.0]]);
    assert_eq!(floats(&out[2]), [5.0, 11.0, 11.0]);
}

#[test]
fn carries_may_be_exchanged() {
    // Fibonacci: (a, b) -> (b, a + b)
    let mut body = program("fibonacci");
    let ty = f32s([1usize]);
    let (a, b) = (body.input(&ty), body.input(&ty));
    body.output(b);
    let sum = body.result(&ty);
    body.launch(&[a, b, sum], vec![cut_loop(add, [1usize])]);
    let mut p = program("outer");
    let (a, b) = (p.input(&ty), p.input(&ty));
    let (x, y) = (p.result(&ty), p.result(&ty));
    let steps = Dim::from(10usize);
    p.launch(&[a, b, x, y], vec![scan(body, steps, 0, 2, 0, false)]);
    let out = p.run(&[buffer(&[0.0f32]), buffer(&[1.0f32])]).unwrap();
    assert_eq!([floats(&out[0]), floats(&out[1])], [[55.0], [89.0]]);
}

/// `2 (a + b)` of symbolic length `n`, failing where `a` is negative.
fn block() -> Program {
    let n = Dim::symbol("n", 1, 1000);
    let mut p = program("block");
    let ty = f32s([n]);
    p.symbols = vec![(igneous_ir::dim::Symbol { name: igneous_ir::dim::intern("n"), lo: 1, hi: 1000 }, 0, 0)];
    let (a, b) = (p.input(&ty), p.input(&ty));
    let sum = p.buffer(&ty, Place::Arena(Dim::ZERO));
    let out = p.result(&ty);
    p.checks.push(("negative".to_owned(), None));
    p.launch(&[a], vec![cut_loop(check_not_negative::<0>, [n])]);
    p.launch(&[a, b, sum], vec![cut_loop(add, [n])]);
    p.launch(&[sum, out], vec![cut_loop(double, [n])]);
    p
}

#[test]
fn calls_pass_pointers_and_sizes() {
    let block = Arc::new(block());
    let mut p = program("outer");
    let ty = f32s([20usize]);
    let (a, b) = (p.input(&ty), p.input(&ty));
    let between = p.buffer(&ty, Place::Arena(Dim::ZERO));
    let out = p.result(&ty);
    p.checks.push(("a check of the outer program".to_owned(), None));
    p.launch(&[a, b, between], vec![Work::Call(block.clone())]);
    p.launch(&[between, a, out], vec![Work::Call(block)]);
    let out = p.run(&[buffer(&[1.0f32; 20]), buffer(&[2.0f32; 20])]).unwrap();
    assert_eq!(floats(&out[0]), [14.0; 20]);
    let mut bad = [1.0f32; 20];
    bad[3] = -1.0;
    let error = p.run(&[buffer(&bad), buffer(&bad)]).unwrap_err();
    assert_eq!(error.to_string(), "negative\n  value  3");
}

#[test]
fn inner_outputs_that_are_inputs_are_copied() {
    let ty = f32s([2usize]);
    let mut block = program("identity_and_update");
    let a = block.input(&ty);
    block.output(a);
    let v = block.variable(&ty);
    block.launch(&[v, a], vec![cut_loop(add_to, [2usize])]);
    let mut p = program("outer");
    let (a, v) = (p.input(&ty), p.input(&ty));
    let (x, y) = (p.result(&ty), p.result(&ty));
    p.launch(&[a, v, x, y], vec![Work::Call(Arc::new(block))]);
    let inputs = [buffer(&[1.0f32, 2.0]), buffer(&[10.0f32, 20.0])];
    let out = p.run(&inputs).unwrap();
    assert_eq!(floats(&out[0]), [1.0, 2.0]);
    assert_eq!(floats(&out[1]), [11.0, 22.0]);
    assert_eq!(floats(&inputs[1]), [10.0, 20.0]);
}

#[test]
fn misfits_are_errors() {
    let body = running_sum(2, false);
    let mut p = program("outer");
    let (c, x) = (p.input(&f32s([2usize])), p.input(&f32s([4usize, 2])));
    let (last, all) = (p.result(&f32s([2usize])), p.result(&f32s([3usize, 2])));
    p.launch(&[c, x, last, all], vec![scan(body, 3usize, 0, 1, 1, false)]);
    let error = p.run(&[Buffer::zeroed(8).unwrap(), Buffer::zeroed(32).unwrap()]).unwrap_err();
    assert!(error.message().contains("not one element for each step"), "{error}");

    let mut p = program("outer");
    let a = p.input(&f32s([2usize]));
    let out = p.result(&f32s([2usize]));
    p.launch(&[a, out], vec![Work::Call(Arc::new(block()))]);
    assert!(p.run(&[Buffer::zeroed(8).unwrap()]).unwrap_err().message().contains("parameters of its block"));
}
