//! Numbers and shapes at the edges: what has no answer in mathematics has a defined one here, the same in both modes, and
//! nothing traps.

use crate::{close, message, seeded, vec};
use igneous::{DType, Dim, Tensor, compile, default};

/// The result of `f`, which must be the same in both modes.
fn both(f: impl Fn(Vec<Tensor>) -> Tensor + Send + Sync, arguments: &[Tensor]) -> Tensor {
    let (eager, compiled) = (f(arguments.to_vec()), compile(&f).run(arguments.to_vec()).unwrap_or_else(|e| panic!("{e}")));
    assert_eq!(eager.ty().unwrap(), compiled.ty().unwrap());
    close(&compiled, &eager.to_f64_vec().unwrap());
    compiled
}

/// Division by zero gives 0, and the smallest integer has no counterpart.
#[test]
fn integers() {
    let (a, b) = (Tensor::new([7i64, -7, i64::MIN, 0, 5]), Tensor::new([0i64, 0, -1, 0, -2]));
    let pair = [a.clone(), b.clone()];
    assert_eq!(vec::<i64>(&both(|t| t[0].floor_divide(&t[1]), &pair)), [0, 0, i64::MIN, 0, -3]);
    assert_eq!(vec::<i64>(&both(|t| &t[0] % &t[1], &pair)), [0, 0, 0, 0, -1]);
    close(&both(|t| &t[0] / &t[1], &pair), &[f64::INFINITY, f64::NEG_INFINITY, 9.223372e18, f64::NAN, -2.5]);
    assert_eq!(vec::<i64>(&both(|t| -&t[0], &pair)), [-7, 7, i64::MIN, 0, -5]);
    assert_eq!(vec::<i64>(&both(|t| t[0].abs(), &pair)), [7, 7, i64::MIN, 0, 5]);
    for dtype in [DType::I32, DType::U8] {
        let small = [Tensor::new([7i64, 200]).to_dtype(dtype), Tensor::new([0i64, 3]).to_dtype(dtype)];
        assert_eq!(both(|t| t[0].floor_divide(&t[1]), &small).to_i64_vec().unwrap(), [0, 66]);
    }
    bytes();
    let shifts = [a, Tensor::new([0i64, 63, 64, -1, 1000])];
    assert_eq!(vec::<i64>(&both(|t| &t[0] << &t[1], &shifts)), [7, i64::MIN, 0, 0, 0]);
    assert_eq!(vec::<i64>(&both(|t| &t[0] >> &t[1], &shifts)), [7, -1, -1, 0, 0]);
}

/// Arithmetic on `i8` wraps, on enough elements for vectors; the expected numbers are Rust's.
fn bytes() {
    let (a, b): (Vec<i8>, Vec<i8>) = (0..80i64).map(|i| ((i * 37) as i8, (i * 101 - 50) as i8)).chain([(-128, -1)]).unzip();
    let pair = [Tensor::from_vec(a.clone(), 81), Tensor::from_vec(b.clone(), 81)];
    let holds = |f: fn(&[Tensor]) -> Tensor, of: fn(i8, i8) -> i8| {
        let expected: Vec<i8> = a.iter().zip(&b).map(|(&a, &b)| of(a, b)).collect();
        assert_eq!(vec::<i8>(&both(move |t| f(&t), &pair)), expected);
    };
    holds(|t| &t[0] + &t[1], i8::wrapping_add);
    holds(|t| &t[0] - &t[1], i8::wrapping_sub);
    holds(|t| &t[0] * &t[1], i8::wrapping_mul);
    holds(|t| -&t[0], |a, _| a.wrapping_neg());
    holds(|t| t[0].abs(), |a, _| a.wrapping_abs());
    holds(|t| t[0].maximum(&t[1]), i8::max);
    holds(|t| t[0].minimum(&t[1]), i8::min);
    holds(|t| t[0].floor_divide(&t[1]), |a, b| if b == 0 { 0 } else { (f64::from(a) / f64::from(b)).floor() as i64 as i8 });
    holds(|t| t[0].bitwise_not(), |a, _| !a);
}

/// Casts to integers stop at the ends of their range, and NaN becomes 0.
#[test]
fn casts() {
    let x = [Tensor::new([f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e30, -1e30, 300.5, -0.5])];
    let cast = |dtype: DType| both(move |t| t[0].to_dtype(dtype), &x).to_i64_vec().unwrap();
    assert_eq!(cast(DType::I64), [0, i64::MAX, i64::MIN, i64::MAX, i64::MIN, 300, 0]);
    let (low, high) = (i64::from(i32::MIN), i64::from(i32::MAX));
    assert_eq!(cast(DType::I32), [0, high, low, high, low, 300, 0]);
    assert_eq!(cast(DType::U8), [0, 255, 0, 255, 0, 255, 0]);
    assert_eq!(cast(DType::I8), [0, 127, -128, 127, -128, 127, 0]);
    assert_eq!(cast(DType::Bool), [1; 7]);
}

/// Tensors without elements, through every kind of kernel.
#[test]
fn nothing() {
    let _one = seeded(1);
    let nan = f64::NAN;
    let (rows, columns) = ([Tensor::zeros((0, 3))], [Tensor::zeros((3, 0))]);
    close(&both(|t| t[0].sum(0), &rows), &[0.0; 3]);
    close(&both(|t| t[0].prod(1), &columns), &[1.0; 3]);
    close(&both(|t| t[0].mean(0), &rows), &[nan; 3]);
    close(&both(|t| t[0].matmul(&t[0].t()), &columns), &[0.0; 9]);
    close(&both(|t| t[0].cross_entropy(&Tensor::zeros(0).to_dtype(DType::I64)), &rows), &[nan]);
    close(&both(|t| t[0].var(0), &[Tensor::ones((1, 3))]), &[nan; 3]);
    let empty: [fn(&Tensor) -> Tensor; 8] = [
        |x| x.exp() + 1.0,
        |x| x.softmax(1),
        |x| x.max(1),
        |x| x.argmax(1),
        |x| Tensor::cat(&[x, x], 0),
        |x| x.layer_norm(&Tensor::ones(3), &Tensor::zeros(3), 1e-5),
        |x| x.matmul(&Tensor::ones((3, 2))),
        |x| x.dropout(0.5),
    ];
    for f in empty {
        assert_eq!(both(|t| f(&t[0]), &rows).size(0), Dim::ZERO);
    }
    let images = [Tensor::zeros((0, 1, 4, 4))];
    assert_eq!(both(|t| t[0].max_pool2d(2), &images).shape()[..], [0, 1, 2, 2].map(Dim::from));
    let convolved = both(|t| t[0].conv2d(&Tensor::ones((2, 1, 3, 3)), None, default()), &images);
    assert_eq!(convolved.shape()[..], [0, 2, 2, 2].map(Dim::from));
    assert!(message(rows[0].max(0).check()).contains("no extremum"));
    assert!(message(rows[0].argmax(0).check()).contains("empty"));
}
