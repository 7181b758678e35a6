//! Decisions and loops that end when the data say so.

use super::*;
use crate::program::{CondWork, WhileWork};

// out[0] = a[0] < 10
kernel!(below_ten, c => {
    for i in c.range(0) {
        *c.param::<bool>(1).add(i) = *c.param::<f32>(0).add(i) < 10.0;
    }
});

fn flag() -> TensorType {
    TensorType::new(DType::Bool, [1usize])
}

/// `2 a`, after a check that `a` is not negative.
fn doubled() -> Program {
    let mut p = program("doubled");
    let (a, out) = (p.input(&f32s([1usize])), p.result(&f32s([1usize])));
    p.checks.push(("negative".to_owned(), None));
    p.launch(&[a], vec![cut_loop(check_not_negative::<0>, [1usize])]);
    p.launch(&[a, out], vec![cut_loop(double, [1usize])]);
    p
}

/// Its input.
fn identity() -> Program {
    let mut p = program("identity");
    let a = p.input(&f32s([1usize]));
    p.output(a);
    p
}

#[test]
fn only_the_chosen_program_runs() {
    let mut p = program("outer");
    let (predicate, a) = (p.input(&flag()), p.input(&f32s([1usize])));
    let out = p.result(&f32s([1usize]));
    let cond = CondWork { then: Arc::new(doubled()), otherwise: Arc::new(identity()) };
    p.launch(&[predicate, a, out], vec![Work::Cond(Box::new(cond))]);
    let run = |predicate: bool, a: f32| p.run(&[buffer(&[predicate]), buffer(&[a])]);
    assert_eq!(floats(&run(true, 3.0).unwrap()[0]), [6.0]);
    assert_eq!(floats(&run(false, 3.0).unwrap()[0]), [3.0]);
    // The check is in the branch that is not taken.
    assert_eq!(floats(&run(false, -3.0).unwrap()[0]), [-3.0]);
    assert_eq!(run(true, -3.0).unwrap_err().to_string(), "negative\n  value  0");
}

/// Carries (a, b, u) with the constant k: a doubles while it is below ten, b becomes the a before plus k, u stays.
fn doubling(bound: Option<u32>) -> Program {
    let ty = f32s([1usize]);
    let mut condition = program("below_ten");
    let inputs = [0; 4].map(|_| condition.input(&ty));
    let holds = condition.result(&flag());
    condition.launch(&[inputs[1], holds], vec![cut_loop(below_ten, [1usize])]);
    let mut body = program("doubling");
    let [k, a, _, u] = [0; 4].map(|_| body.input(&ty));
    let (next, sum) = (body.result(&ty), body.result(&ty));
    body.output(u);
    body.launch(&[a, next], vec![cut_loop(double, [1usize])]);
    body.launch(&[a, k, sum], vec![cut_loop(add, [1usize])]);
    let mut p = program("outer");
    let given = [0; 4].map(|_| p.input(&ty));
    let last = [0; 3].map(|_| p.result(&ty));
    let params: Vec<usize> = given.into_iter().chain(last).collect();
    let work = WhileWork { condition: Arc::new(condition), body: Arc::new(body), constants: 1, bound };
    p.launch(&params, vec![Work::While(Box::new(work))]);
    p
}

#[test]
fn a_loop_ends_when_its_condition_does_or_at_its_bound() {
    let bounds = [None, Some(0), Some(1), Some(2), Some(3), Some(9)];
    for (bound, start) in bounds.into_iter().flat_map(|b| [1.0f32, 3.0, 12.0].map(|s| (b, s))) {
        let p = doubling(bound);
        let (mut a, mut b, mut steps) = (start, -1.0, 0);
        while a < 10.0 && bound.is_none_or(|bound| steps < bound) {
            (a, b, steps) = (2.0 * a, a + 100.0, steps + 1);
        }
        let inputs = [100.0f32, start, -1.0, 7.0].map(|x| buffer(&[x]));
        for _ in 0..2 {
            let out = p.run(&inputs).unwrap();
            assert_eq!([0, 1, 2].map(|k| floats(&out[k])[0]), [a, b, 7.0], "from {start} with bound {bound:?}");
        }
        assert_eq!(floats(&inputs[1]), [start]);
    }
}

#[test]
fn misfits_are_errors() {
    let mut p = program("outer");
    let (predicate, a) = (p.input(&flag()), p.input(&f32s([1usize])));
    let out = p.result(&f32s([2usize]));
    let cond = CondWork { then: Arc::new(doubled()), otherwise: Arc::new(identity()) };
    p.launch(&[predicate, a, out], vec![Work::Cond(Box::new(cond))]);
    let told = p.run(&[buffer(&[true]), buffer(&[1.0f32])]).unwrap_err();
    assert!(told.message().contains("outputs of other sizes"), "{told}");
    let mut p = program("outer");
    let (a, out) = (p.input(&f32s([1usize])), p.result(&f32s([1usize])));
    let work = WhileWork { condition: Arc::new(identity()), body: Arc::new(doubled()), constants: 0, bound: None };
    p.launch(&[a, out], vec![Work::While(Box::new(work))]);
    let told = p.run(&[buffer(&[1.0f32])]).unwrap_err();
    assert!(told.message().contains("one bool"), "{told}");
}
