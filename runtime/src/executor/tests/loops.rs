//! Loops, the arena, checks, variables.

use super::*;
use igneous_ir::error::Loc;

kernel!(count_visits<M, N>, c => {
    for i in c.range(0) {
        for j in c.range(1) {
            for k in c.range(2) {
                *c.param::<i32>(0).add((i * M + j) * N + k) += 1;
            }
        }
    }
});

// out[i] = scratch address modulo 64, after filling the scratch
kernel!(use_scratch, c => {
    std::slice::from_raw_parts_mut(c.scratch, 1000).fill(c.range(0).start as u8);
    for i in c.range(0) {
        let mine = std::slice::from_raw_parts(c.scratch, 1000).iter().all(|&b| b == c.range(0).start as u8);
        *c.param::<i64>(0).add(i) = (c.scratch as i64 % 64) + i64::from(!mine);
    }
});

/// `(a + b, 2 (a + b))` with the sum also kept in the arena.
fn doubled_sum(n: usize) -> Program {
    let mut p = program("doubled_sum");
    let ty = f32s([n]);
    let (a, b) = (p.input(&ty), p.input(&ty));
    let unused = p.buffer(&ty, Place::Arena(Dim::ZERO));
    let sum = p.buffer(&ty, Place::Arena(Dim::from((4 * n).next_multiple_of(64))));
    let out = p.result(&ty);
    p.launch(&[a, b, sum], vec![cut_loop(add, [n])]);
    p.launch(&[a, unused], vec![cut_loop(double, [n])]);
    p.launch(&[sum, out], vec![cut_loop(double, [n])]);
    p
}

#[test]
fn launches_run_in_order_through_the_arena() {
    let p = doubled_sum(100);
    let a: Vec<f32> = (0..100).map(|i| i as f32).collect();
    let expected: Vec<f32> = (0..100).map(|i| 4.0 * i as f32).collect();
    let inputs = [buffer(&a), buffer(&a)];
    for _ in 0..3 {
        let out = p.run(&inputs).unwrap();
        assert_eq!(floats(&out[0]), expected);
    }
    assert_eq!(floats(&p.run_on(4, &inputs, &[&[100], &[100]]).unwrap()[0]), expected);
}

#[test]
fn many_threads_run_one_program_at_once() {
    let p = doubled_sum(1000);
    std::thread::scope(|scope| {
        for t in 0..4 {
            let p = &p;
            scope.spawn(move || {
                let (a, b) = (vec![t as f32; 1000], vec![1.0f32; 1000]);
                for _ in 0..50 {
                    let out = p.run(&[buffer(&a), buffer(&b)]).unwrap();
                    assert!(floats(&out[0]).iter().all(|&x| x == 2.0 * (t as f32 + 1.0)));
                }
            });
        }
    });
}

#[test]
fn boxes_visit_every_point_once() {
    let mut p = program("visits");
    let v = p.variable(&TensorType::new(DType::I32, [7usize, 5, 30]));
    p.launch(&[v], vec![cut_loop(count_visits::<5, 30>, [7usize, 5, 30])]);
    for threads in [1, 2, 3, 64] {
        let inputs = [Buffer::zeroed(4 * 1050).unwrap()];
        let out = p.run_on(threads, &inputs, &[&[7, 5, 30]]).unwrap();
        assert!(out[0].to_vec::<i32>().unwrap().iter().all(|&n| n == 1), "{threads} threads");
    }
}

// out[START + i] = START + i
kernel!(fill_from<START>, c => {
    for i in c.range(0) {
        *c.param::<i64>(0).add(START + i) = (START + i) as i64;
    }
});

#[test]
fn sections_of_a_launch_all_run() {
    let mut p = program("sections");
    let out = p.result(&TensorType::new(DType::I64, [1000usize]));
    let sections = [(fill_from::<0> as KernelFn, 40), (fill_from::<40>, 0), (fill_from::<40>, 1), (fill_from::<41>, 959)];
    p.launch(&[out], sections.map(|(function, n)| cut_loop(function, [n])).into());
    for threads in [1, 2, 4] {
        let out = p.run_on(threads, &[], &[]).unwrap();
        assert_eq!(out[0].to_vec::<i64>().unwrap(), (0..1000).collect::<Vec<i64>>());
    }
}

#[test]
fn scratch_is_aligned_and_not_shared() {
    let mut p = program("scratch");
    let out = p.result(&TensorType::new(DType::I64, [64usize]));
    let Work::Loop(work) = cut_loop(use_scratch, [64usize]) else { unreachable!() };
    p.launch(&[out], vec![Work::Loop(LoopWork { scratch: Dim::from(1000usize), ..work })]);
    let out = p.run_on(4, &[], &[]).unwrap();
    assert_eq!(out[0].to_vec::<i64>().unwrap(), [0; 64]);
}

/// Adds `a` to the variable, after a check that no element of `a` is negative.
fn checked_update(n: usize) -> Program {
    let mut p = program("update");
    let ty = f32s([n]);
    let (v, a) = (p.variable(&ty), p.input(&ty));
    p.checks =
        vec![("never fails".to_owned(), None), ("an amount is negative".to_owned(), Some(Loc { file: "train.rs", line: 7 }))];
    p.launch(&[a], vec![cut_loop(check_not_negative::<1>, [n])]);
    p.launch(&[v, a], vec![cut_loop(add_to, [n])]).commits = true;
    p
}

#[test]
fn variables_are_updated_in_place() {
    let p = checked_update(3);
    let inputs = [buffer(&[1.0f32, 2.0, 3.0]), buffer(&[10.0f32, 20.0, 30.0])];
    let out = p.run(&inputs).unwrap();
    assert!(out[0].same(&inputs[0]));
    assert_eq!(floats(&out[0]), [11.0, 22.0, 33.0]);
    let shared = p.run(&inputs).unwrap_err();
    assert!(shared.message().contains("somebody else holds it"), "{shared}");
    drop(out);
    assert_eq!(floats(&p.run(&inputs).unwrap()[0]), [21.0, 42.0, 63.0]);
}

#[test]
fn a_failed_check_is_an_error_and_changes_nothing() {
    let p = checked_update(3);
    let inputs = [buffer(&[1.0f32, 2.0, 3.0]), buffer(&[1.0f32, 0.0, -1.0])];
    let error = p.run(&inputs).unwrap_err();
    assert_eq!(error.to_string(), "an amount is negative\n  value  2\n  at train.rs:7");
    assert_eq!(floats(&inputs[0]), [1.0, 2.0, 3.0]);
    let good = [inputs[0].clone(), buffer(&[1.0f32; 3])];
    drop(inputs);
    assert_eq!(floats(&p.run(&good).unwrap()[0]), [2.0, 3.0, 4.0]);
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "failed after an input was written in place")]
fn a_check_behind_an_update_is_a_mistake_of_the_compiler() {
    let mut p = checked_update(3);
    p.launches.reverse();
    let _ = p.run(&[buffer(&[1.0f32; 3]), buffer(&[-1.0f32; 3])]);
}

#[test]
fn outputs_may_be_inputs_constants_and_arena_buffers() {
    let mut p = program("aliases");
    let ty = f32s([2usize]);
    let a = p.input(&ty);
    p.output(a);
    p.constants.push(bytes(&[5.0, 6.0]));
    let constant = p.buffer(&ty, Place::Constant(0));
    p.output(constant);
    let kept = p.buffer(&ty, Place::Arena(Dim::ZERO));
    p.output(kept);
    let result = p.result(&ty);
    p.output(result);
    p.launch(&[a, kept], vec![cut_loop(double, [2usize])]);
    p.launch(&[kept, result], vec![Work::Copy]);
    let inputs = [buffer(&[1.0f32, 2.0])];
    let out = p.run(&inputs).unwrap();
    assert!(out[0].same(&inputs[0]) && out[3].same(&out[4]));
    assert_eq!(floats(&out[1]), [5.0, 6.0]);
    assert_eq!(floats(&out[2]), [2.0, 4.0]);
    assert_eq!(floats(&out[3]), [2.0, 4.0]);
}

fn bytes(data: &[f32]) -> Arc<[u8]> {
    data.iter().flat_map(|x| x.to_ne_bytes()).collect()
}

#[test]
fn large_copies_are_cut() {
    let n = 300_000;
    let mut p = program("copy");
    let ty = f32s([n]);
    let (a, out) = (p.input(&ty), p.result(&ty));
    p.launch(&[a, out], vec![Work::Copy]);
    let data: Vec<f32> = (0..n).map(|i| i as f32).collect();
    assert_eq!(floats(&p.run_on(4, &[buffer(&data)], &[&[n]]).unwrap()[0]), data);
}

#[test]
fn broken_programs_are_errors() {
    let ty = f32s([2usize]);
    let mut p = program("no_output");
    p.buffer(&ty, Place::Result);
    assert!(p.run(&[]).unwrap_err().message().contains("is no output"));

    let mut p = program("wild_parameter");
    p.launch(&[3], vec![Work::Copy]);
    assert!(p.run(&[]).unwrap_err().message().contains("names a buffer that is not there"));

    let mut p = program("misaligned");
    p.buffer(&ty, Place::Arena(Dim::from(8usize)));
    assert!(p.run(&[]).unwrap_err().message().contains("no multiple of 64"));

    let mut p = program("wrong_size");
    p.input(&ty);
    p.buffer(&f32s([3usize]), Place::Input(0));
    assert!(p.run(&[buffer(&[0.0f32; 2])]).unwrap_err().message().contains("does not fit"));
}

#[test]
fn profiles_name_every_launch() {
    let p = doubled_sum(10);
    let inputs = [buffer(&[1.0f32; 10]), buffer(&[1.0f32; 10])];
    let (out, times) = p.run_profiled(&inputs, &[&[10], &[10]]).unwrap();
    assert_eq!(floats(&out[0]), [4.0; 10]);
    assert_eq!(times.iter().map(|t| &t.name[..]).collect::<Vec<_>>(), ["kernel0", "kernel1", "kernel2"]);
}
