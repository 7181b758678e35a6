//! Accuracy against double precision, over all exponents.

use super::*;

/// The distance of `got` from `exact` in units of the last place that `dtype` has at `exact`.
fn ulps(dtype: DType, got: f64, exact: f64) -> f64 {
    let rounded = dtype.round(exact);
    if got == rounded || (got.is_nan() && exact.is_nan()) {
        return 0.0;
    }
    let (fraction, least) = if dtype == DType::F64 { (52, -1022) } else { (23, -126) };
    let exponent = libm::ilogb(exact).max(least);
    let unit = libm::ldexp(1.0, exponent - fraction);
    // An infinity counts as the next number after the largest.
    let finite = |x: f64| if x.is_infinite() { x.signum() * libm::ldexp(1.0, -2 * (least - 1) / 2 + 1) } else { x };
    let error = if dtype == DType::F64 { got - exact } else { finite(got) - finite(rounded) + (rounded - exact) };
    (error / unit).abs()
}

/// The largest error over `points`, and where it is.
fn worst(f: MathFn, dtype: DType, exact: impl Fn(f64) -> f64, points: &[f64]) -> (f64, f64) {
    let error = |x: f64| ulps(dtype, eval(f, &[Literal::float(dtype, x)]).as_f64(), exact(x));
    let errors = points.iter().map(|&x| (error(x), x));
    // A NaN where none belongs counts as infinitely wrong.
    errors.map(|(e, x)| (if e.is_nan() { f64::INFINITY } else { e }, x)).fold((0.0, 0.0), |a, b| if b.0 > a.0 { b } else { a })
}

/// Numbers with every exponent of the type and both signs, `per_exponent` evenly and oddly spaced mantissas each.
fn all_exponents(dtype: DType, per_exponent: u64) -> Vec<f64> {
    let (fraction, exponents) = if dtype == DType::F64 { (52, 2047) } else { (23, 255) };
    let mut bits: Vec<u64> = Vec::new();
    for e in 0..exponents {
        for k in 0..per_exponent {
            let mantissa = (1u64 << fraction) * k / per_exponent + k * k * 977 % 61;
            bits.push((e << fraction) + mantissa.min((1 << fraction) - 1));
        }
        bits.push(((e + 1) << fraction) - 1);
    }
    let values = bits.into_iter().map(|b| Literal::from_bits(dtype, b).as_f64());
    values.flat_map(|x| [x, -x]).collect()
}

/// A dense set where the functions vary most.
fn dense(dtype: DType, lo: f64, hi: f64, n: usize) -> Vec<f64> {
    (0..=n).map(|i| dtype.round(lo + (hi - lo) * i as f64 / n as f64)).collect()
}

fn reference(f: MathFn) -> fn(f64) -> f64 {
    match f {
        MathFn::Exp => libm::exp,
        MathFn::Log => libm::log,
        MathFn::Log1p => libm::log1p,
        MathFn::Expm1 => libm::expm1,
        MathFn::Sin => libm::sin,
        MathFn::Cos => libm::cos,
        MathFn::Tanh => libm::tanh,
        MathFn::Erf => libm::erf,
        MathFn::Atan => libm::atan,
        MathFn::Sigmoid => |x| if x < 0.0 { libm::exp(x) / (1.0 + libm::exp(x)) } else { 1.0 / (1.0 + libm::exp(-x)) },
        MathFn::Pow => unreachable!("has two arguments"),
    }
}

fn check_unary(dtype: DType, bound: f64, per_exponent: u64, n: usize) {
    for f in MathFn::ALL.into_iter().filter(|&f| f != MathFn::Pow) {
        let mut points = all_exponents(dtype, per_exponent);
        points.extend(dense(dtype, -20.0, 20.0, n));
        points.extend(dense(dtype, -110.0, 110.0, n));
        points.extend(dense(dtype, -1.5, 1.5, n));
        points.extend(dense(dtype, -1e4, 1e4, n));
        points.extend(dense(dtype, -760.0, 760.0, n));
        if matches!(f, MathFn::Sin | MathFn::Cos) {
            points.retain(|x| x.abs() <= trigonometric_limit(dtype));
        }
        let (error, x) = worst(f, dtype, reference(f), &points);
        assert!(error <= bound, "{} of {dtype} {x:e} is {error} units wrong", f.name());
    }
}

#[test]
fn single_precision_is_within_two_units() {
    check_unary(DType::F32, 2.0, 23, 5_000);
}

#[test]
fn double_precision_is_within_four_units() {
    check_unary(DType::F64, 4.0, 3, 3_000);
}

#[test]
fn special_arguments() {
    let inf = f64::INFINITY;
    for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
        let at = |f, x| eval(f, &[Literal::float(dtype, x)]).as_f64();
        for f in MathFn::ALL.into_iter().filter(|&f| f != MathFn::Pow) {
            assert!(at(f, f64::NAN).is_nan(), "{f:?} of NaN");
            let (got, want) = (at(f, -0.0), reference(f)(-0.0));
            assert_eq!(got.to_bits(), want.to_bits(), "{f:?} of -0 is {got}");
            for x in [inf, -inf] {
                let (got, want) = (at(f, x), dtype.round(reference(f)(x)));
                assert!(got == want || (got.is_nan() && want.is_nan()), "{f:?} of {x} is {got}");
            }
        }
        assert_eq!(at(MathFn::Log, 0.0), -inf);
        assert_eq!(at(MathFn::Log1p, -1.0), -inf);
        assert!(at(MathFn::Log, -1.0).is_nan() && at(MathFn::Log1p, -1.5).is_nan());
    }
    let beyond = Literal::float(DType::F32, 2.0 * trigonometric_limit(DType::F32));
    assert!(eval(MathFn::Sin, &[beyond]).as_f64().is_nan());
}

fn pow(dtype: DType, x: f64, y: f64) -> f64 {
    eval(MathFn::Pow, &[Literal::float(dtype, x), Literal::float(dtype, y)]).as_f64()
}

fn check_pow(dtype: DType, bound: f64, bases: &[f64], exponents: &[f64]) {
    let mut worst = (0.0, 0.0, 0.0);
    for &x in bases {
        for &y in exponents {
            let (x, y) = (dtype.round(x), dtype.round(y));
            let error = ulps(dtype, pow(dtype, x, y), libm::pow(x, y));
            if error > worst.0 || error.is_nan() {
                worst = (error, x, y);
            }
        }
    }
    assert!(worst.0 <= bound, "pow of {dtype}: {worst:?}");
}

#[test]
fn powers() {
    let mut exponents = dense(DType::F64, -12.0, 12.0, 31);
    exponents.extend([0.1, 1.0 / 3.0, 1e-3, 1e-30, 40.5, -80.0, 1000.3, -3e4, 1e10]);
    let near_one = dense(DType::F64, 0.5, 2.0, 100);
    let mut singles: Vec<f64> = all_exponents(DType::F32, 3).into_iter().filter(|x| *x > 0.0).collect();
    singles.extend(&near_one);
    check_pow(DType::F32, 2.0, &singles, &exponents);
    let mut doubles: Vec<f64> = all_exponents(DType::F64, 1).into_iter().filter(|x| *x > 0.0).collect();
    doubles.extend(&near_one);
    check_pow(DType::F64, 4.0, &doubles, &exponents);
}

#[test]
fn powers_of_special_arguments() {
    let inf = f64::INFINITY;
    let numbers = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, 2.5, -2.5, 1e30, -1e30, inf, -inf, f64::NAN];
    for dtype in [DType::F32, DType::F64] {
        for x in numbers {
            for y in numbers {
                let (got, want) = (pow(dtype, x, y), dtype.round(libm::pow(x, y)));
                let close = (got - want).abs() <= want.abs() * 1e-6;
                let same = got == want && got.is_sign_negative() == want.is_sign_negative();
                assert!(same || close || (got.is_nan() && want.is_nan()), "{x}^{y} in {dtype} is {got}, not {want}");
            }
        }
    }
}

#[test]
fn expansion_leaves_no_function() {
    let mut exprs = Exprs::default();
    let x = exprs.raw(ScalarOp::Local(0), &[], DType::BF16);
    let e = exprs.raw(ScalarOp::Math(MathFn::Exp), &[x], DType::BF16);
    let y = exprs.raw(ScalarOp::Math(MathFn::Pow), &[e, x], DType::BF16);
    let (expanded, roots) = expand(&exprs, &[y]);
    assert_eq!(expanded.dtype(roots[0]), DType::BF16);
    for id in expanded.reachable(&roots) {
        assert!(!matches!(expanded.get(id).op, ScalarOp::Math(_)));
    }
}
