//! Symbolic dimensions and inputs that do not fit.

use super::*;
use igneous_ir::dim::Symbol;

// out[b, t] = a[b, t] + b[b], with the extents of the symbols B and T
kernel!(add_columns, c => {
    let t = *c.dims.add(1) as usize;
    for i in c.range(0) {
        for j in c.range(1) {
            *c.param::<f32>(2).add(i * t + j) = *c.param::<f32>(0).add(i * t + j) + *c.param::<f32>(1).add(i);
        }
    }
});

/// `2 (a[B, T] + b[B])`, the sum in the arena behind another buffer of symbolic size.
fn symbolic() -> Program {
    let (b, t) = (Dim::symbol("B", 1, 64), Dim::symbol("T", 0, 8));
    let mut p = program("symbolic");
    let symbol = |name, lo, hi| Symbol { name: igneous_ir::dim::intern(name), lo, hi };
    p.symbols = vec![(symbol("B", 1, 64), 0, 0), (symbol("T", 0, 8), 0, 1)];
    let (x, y) = (p.input(&f32s([b, t])), p.input(&f32s([b])));
    p.buffer(&f32s([b * 16]), Place::Arena(Dim::ZERO));
    let sum = p.buffer(&f32s([b, t]), Place::Arena(b * 64));
    let out = p.result(&f32s([b, t]));
    p.launch(&[x, y, sum], vec![cut_loop(add_columns, [b, t])]);
    p.launch(&[sum, out], vec![cut_loop(double, [b * t])]);
    p
}

#[test]
fn one_program_runs_on_many_shapes() {
    let p = symbolic();
    for (b, t) in [(1, 1), (3, 8), (64, 5), (3, 8), (7, 0)] {
        let x: Vec<f32> = (0..b * t).map(|i| i as f32).collect();
        let y: Vec<f32> = (0..b).map(|i| 100.0 * i as f32).collect();
        let expected: Vec<f32> = (0..b * t).map(|i| 2.0 * (x[i] + y[i / t])).collect();
        for threads in [1, 4] {
            let out = p.run_on(threads, &[buffer(&x), buffer(&y)], &[&[b, t], &[b]]).unwrap();
            assert_eq!(floats(&out[0]), expected);
        }
        let out = p.run_with_shapes(&[buffer(&x), buffer(&y)], &[&[b, t], &[b]]).unwrap();
        assert_eq!(floats(&out[0]), expected);
    }
}

#[test]
fn inputs_that_do_not_fit_are_errors() {
    let p = symbolic();
    let of = |n: usize| Buffer::zeroed(4 * n).unwrap();
    let check = |inputs: &[Buffer], shapes: &[&[usize]], expected: &str| {
        let error = p.run_with_shapes(inputs, shapes).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(&[of(65), of(65)], &[&[65, 1], &[65]], "dimension `B` is 65, outside its range 1..=64");
    check(&[of(6), of(4)], &[&[3, 2], &[4]], "input 1 of program `symbolic`: axis 0 has extent 4, not `B` = 3");
    check(&[of(6), of(3)], &[&[6], &[3]], "it has 2 axes, not 1");
    check(&[of(6), of(4)], &[&[3, 2], &[3]], "input 1 of program `symbolic` has 16 bytes, not 12");
    check(&[of(6)], &[&[3, 2], &[3]], "has 2 inputs, but 1 are given");
    check(&[of(6)], &[&[3, 2]], "has 2 inputs, but 1 shapes are given");
    assert!(p.run(&[of(6), of(3)]).unwrap_err().message().contains("depends on dimension `B`"));
}

#[test]
fn constant_programs_check_sizes_and_shapes() {
    let mut p = program("constant");
    let a = p.input(&f32s([2usize, 3]));
    p.output(a);
    let six = || buffer(&[0.0f32; 6]);
    assert!(p.run(&[six()]).is_ok());
    assert!(p.run_with_shapes(&[six()], &[&[2, 3]]).is_ok());
    assert!(p.run_with_shapes(&[six()], &[&[3, 2]]).unwrap_err().message().contains("extent 3, not 2"));
    assert!(p.run(&[buffer(&[0.0f32; 5])]).unwrap_err().message().contains("20 bytes, not 24"));
}

#[test]
fn programs_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Program>();
    shared::<Buffer>();
}
