//! Random numbers. The expected moments are those of the distributions.

use crate::{seeded, vec};
use igneous::{Tensor, compile, manual_seed};

#[test]
fn moments_and_ranges() {
    let _one = seeded(1);
    let u = vec::<f32>(&Tensor::rand(20_000));
    assert!(u.iter().all(|x| (0.0..1.0).contains(x)));
    let mean = u.iter().sum::<f32>() / 20_000.0;
    assert!((mean - 0.5).abs() < 0.01, "{mean}");
    let n = Tensor::randn(20_000);
    assert!(n.mean_all().item().unwrap().abs() < 0.03);
    assert!((n.var_all().item().unwrap() - 1.0).abs() < 0.05);
    assert!(vec::<f32>(&n).iter().all(|x| x.is_finite()));
    let i = vec::<i64>(&Tensor::randint(-2, 3, 2_000));
    assert_eq!((-2..3).filter(|k| i.contains(k)).count(), 5);
    assert!(i.iter().all(|x| (-2..3).contains(x)));
    let kept = Tensor::full(20_000, 0.25).bernoulli().sum_all().item().unwrap();
    assert!((kept - 5_000.0).abs() < 300.0, "{kept}");
}

#[test]
fn a_seed_repeats_and_the_counter_moves_on() {
    let _one = seeded(7);
    let (a, b) = (vec::<f32>(&Tensor::rand(8)), vec::<f32>(&Tensor::rand(8)));
    assert_ne!(a, b);
    manual_seed(7);
    assert_eq!(vec::<f32>(&Tensor::rand(8)), a);
    manual_seed(8);
    assert_ne!(vec::<f32>(&Tensor::rand(8)), a);
}

/// Compiled functions draw the numbers that eager code draws, run after run.
#[test]
fn compiled_and_eager_draw_the_same_numbers() {
    let _one = seeded(3);
    let f = |x: Tensor| (x.dropout(0.5), Tensor::rand(4));
    let x = Tensor::ones(64);
    let eager: Vec<_> = (0..3).map(|_| f(x.clone())).map(|(a, b)| (vec::<f32>(&a), vec::<f32>(&b))).collect();
    manual_seed(3);
    let program = compile(f);
    let compiled: Vec<_> =
        (0..3).map(|_| program.run(x.clone()).unwrap()).map(|(a, b)| (vec::<f32>(&a), vec::<f32>(&b))).collect();
    assert_eq!(eager, compiled);
    assert_ne!(eager[0], eager[1]);
    assert_eq!(program.programs(), 1);
    assert!(eager[0].0.iter().all(|&x| x == 0.0 || x == 2.0));
}
