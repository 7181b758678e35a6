//! Further functions of real numbers, elementwise.

use super::arguments::{Operand, OperandRef};
use super::pointwise::binary;
use super::promote::{common_shape, same_dtype};
use super::{Tensor, or_invalid};
use crate::location::{entered, here};
use igneous_ir::{DType, Error, Result, ops};
use std::f64::consts::LN_2;

macro_rules! float_unary {
    ($($(#[$doc:meta])* $method:ident;)*) => {
        impl Tensor {
            $(
                $(#[$doc])*
                #[track_caller]
                pub fn $method(&self) -> Tensor {
                    self.as_float().apply(ops::pointwise(stringify!($method)))
                }
            )*
        }
    };
}

float_unary! {
    /// Tangent.
    tan;
    /// Inverse sine, in radians; NaN beyond ±1.
    asin;
    /// Inverse cosine, in radians; NaN beyond ±1.
    acos;
    /// Inverse tangent, in radians.
    atan;
    /// Hyperbolic sine.
    sinh;
    /// Hyperbolic cosine.
    cosh;
    /// Inverse hyperbolic sine.
    asinh;
    /// Inverse hyperbolic cosine; NaN below 1.
    acosh;
    /// Inverse hyperbolic tangent; NaN beyond ±1.
    atanh;
    /// `1 − erf(self)`, exact where that is small.
    erfc;
    /// `2^self`
    exp2;
    /// Logarithm to base 2.
    log2;
    /// Logarithm to base 10.
    log10;
}

/// Both operands as floats of one type and shape.
#[track_caller]
fn float_operands(what: &str, a: OperandRef<'_>, b: OperandRef<'_>) -> Result<(Tensor, Tensor)> {
    let (a, b) = same_dtype(a, b)?;
    let shape = common_shape(what, &[&a, &b])?;
    Ok((a.as_float().broadcast_to(&shape), b.as_float().broadcast_to(&shape)))
}

impl Tensor {
    #[track_caller]
    fn with_float(&self, what: &str, other: impl Operand, f: impl FnOnce(Tensor, Tensor) -> Tensor) -> Tensor {
        let user = entered();
        let loc = user.loc();
        or_invalid(float_operands(what, self.operand(), other.operand()).map(|(a, b)| f(a, b)).map_err(|e| e.at(loc)))
    }

    /// The inverse of [`erf`](Tensor::erf): infinite at ±1, NaN beyond. By the approximation of Giles 2010, made exact by Newton
    /// steps.
    #[track_caller]
    pub fn erfinv(&self) -> Tensor {
        // Coefficients of powers of w − 2.5 for w < 5, and of √w − 3 beyond, where w = −log(1 − x²).
        const CENTRE: [f64; 9] = [
            2.810_226_36e-8,
            3.432_739_39e-7,
            -3.523_387_7e-6,
            -4.391_506_54e-6,
            2.185_808_7e-4,
            -1.253_725_03e-3,
            -4.177_681_64e-3,
            0.246_640_727,
            1.501_409_41,
        ];
        const TAIL: [f64; 9] = [
            -2.002_142_57e-4,
            1.009_505_58e-4,
            1.349_343_22e-3,
            -3.673_428_44e-3,
            5.739_507_73e-3,
            -7.622_461_3e-3,
            9.438_870_47e-3,
            1.001_674_06,
            2.832_976_82,
        ];
        let x = self.as_float();
        let inside = x.abs().lt(1.0);
        // Newton's steps must not see what is at the ends.
        let safe = x.where_(&inside, 0.0);
        let w = -((1.0 - &safe).log() + safe.log1p());
        let polynomial = |coefficients: &[f64; 9], t: Tensor| {
            let first = t.full_like(coefficients[0]);
            coefficients[1..].iter().fold(first, |sum, c| sum * &t + *c)
        };
        let centre = polynomial(&CENTRE, &w - 2.5);
        let tail = polynomial(&TAIL, w.clamp_min(5.0).sqrt() - 3.0);
        let mut y = centre.where_(&w.lt(5.0), tail) * &safe;
        for _ in 0..2 {
            let slope = (-y.square()).exp() * std::f64::consts::FRAC_2_SQRT_PI;
            // Near ±1, 1 − |erf| has digits that erf has lost.
            let near = (1.0 - safe.abs() - y.abs().erfc()) * safe.sign();
            let error = near.where_(&safe.abs().gt(0.5), y.erf() - &safe);
            y -= error / slope;
        }
        let end = x.where_(&x.abs().equal(1.0), f64::NAN) * f64::INFINITY;
        y.where_(&inside, end)
    }

    /// The angle of the point `(other, self)`, in radians from −π to π.
    #[track_caller]
    pub fn atan2(&self, other: impl Operand) -> Tensor {
        let user = entered();
        let loc = user.loc();
        match float_operands("atan2", self.operand(), other.operand()) {
            Ok((a, b)) => a.apply_with(ops::pointwise("atan2"), &b),
            Err(error) => Tensor::from(error.at(loc)),
        }
    }

    /// `log(e^self + e^other)`, without overflow.
    #[track_caller]
    pub fn logaddexp(&self, other: impl Operand) -> Tensor {
        self.with_float("logaddexp", other, |a, b| {
            let largest = a.maximum(&b);
            // Of two equal infinities the difference is NaN, and the sum is that infinity.
            let both = a.equal(&b) & a.isinf();
            let distance = (&a - &b).abs();
            let sum = &largest + (-distance).exp().log1p();
            sum.where_(&both.logical_not(), &largest)
        })
    }

    /// `log2(2^self + 2^other)`, without overflow.
    #[track_caller]
    pub fn logaddexp2(&self, other: impl Operand) -> Tensor {
        self.with_float("logaddexp2", other, |a, b| (a * LN_2).logaddexp(b * LN_2) / LN_2)
    }

    /// `√(self² + other²)`, without overflow.
    #[track_caller]
    pub fn hypot(&self, other: impl Operand) -> Tensor {
        self.with_float("hypot", other, |a, b| a.apply_with(ops::pointwise("hypot"), &b))
    }

    /// `self · log(other)`, 0 where `self` is 0.
    #[track_caller]
    pub fn xlogy(&self, other: impl Operand) -> Tensor {
        self.with_float("xlogy", other, |a, b| {
            let product = &a * b.log();
            let zero = a.equal(0.0) & b.isnan().logical_not();
            product.masked_fill(&zero, 0.0)
        })
    }

    /// The remainder of a division that rounds toward zero: it has the sign of `self`. Integers modulo 0 give 0.
    #[track_caller]
    pub fn fmod(&self, other: impl Operand) -> Tensor {
        let user = entered();
        let loc = user.loc();
        let operands = super::promote::unify("fmod", self.operand(), other.operand());
        let (a, b) = match operands {
            Ok(operands) => operands,
            Err(error) => return Tensor::from(error.at(loc)),
        };
        let rest = binary("rem", a.abs().operand(), b.abs().operand());
        let negative = a.lt(0);
        let flipped = -&rest;
        flipped.where_(&negative, &rest)
    }

    /// The magnitude of `self` with the sign of `other`.
    #[track_caller]
    pub fn copysign(&self, other: impl Operand) -> Tensor {
        self.with_float("copysign", other, |a, b| {
            // The sign of a zero decides too, and `1 / −0` is negative.
            let negative = b.lt(0.0) | b.reciprocal().lt(0.0);
            let magnitude = a.abs();
            (-&magnitude).where_(&negative, &magnitude)
        })
    }

    /// Where elements are infinite.
    #[track_caller]
    pub fn isinf(&self) -> Tensor {
        if !self.dtype().is_float() && self.error().is_none() {
            return self.zeros_like().to_dtype(DType::Bool);
        }
        self.abs().equal(f64::INFINITY)
    }

    /// NaN replaced by `nan`, infinities by `posinf` and `neginf`: by default 0 and the largest and smallest finite numbers.
    #[track_caller]
    pub fn nan_to_num(&self, nan: f64, posinf: Option<f64>, neginf: Option<f64>) -> Tensor {
        if !self.dtype().is_float() {
            return self.clone();
        }
        let largest = match self.dtype() {
            DType::F64 => f64::MAX,
            DType::F32 => f64::from(f32::MAX),
            DType::F16 => half::f16::MAX.into(),
            _ => half::bf16::MAX.into(),
        };
        let known = self.masked_fill(&self.isnan(), nan);
        let below = known.masked_fill(&self.equal(f64::INFINITY), posinf.unwrap_or(largest));
        below.masked_fill(&self.equal(f64::NEG_INFINITY), neginf.unwrap_or(-largest))
    }

    /// The nearest multiple of `10^−decimals`, halves to even.
    #[track_caller]
    pub fn round_decimals(&self, decimals: i32) -> Tensor {
        let scale = 10f64.powi(decimals.abs());
        match decimals {
            0 => self.round(),
            1.. => (self * scale).round() / scale,
            _ => (self / scale).round() * scale,
        }
    }

    /// Each element less its integer part.
    #[track_caller]
    pub fn frac(&self) -> Tensor {
        self - self.trunc()
    }

    /// `log(self / (1 − self))`, with `self` limited to `eps..1 − eps` if there is an `eps`.
    #[track_caller]
    pub fn logit(&self, eps: Option<f64>) -> Tensor {
        let x = self.as_float();
        let x = match eps {
            Some(eps) => {
                // The lower bound wins where they have changed places.
                let above = x.clamp_max(1.0 - eps);
                above.masked_fill(&x.lt(eps), eps)
            }
            None => x,
        };
        x.log() - (1.0 - x).log()
    }

    /// `sin(π·self) / (π·self)`, 1 at 0.
    #[track_caller]
    pub fn sinc(&self) -> Tensor {
        let x = self.as_float() * std::f64::consts::PI;
        let zero = x.equal(0.0);
        let safe = x.masked_fill(&zero, 1.0);
        (safe.sin() / safe).masked_fill(&zero, 1.0)
    }

    /// `self + weight · (end − self)`.
    #[track_caller]
    pub fn lerp(&self, end: &Tensor, weight: impl Operand) -> Tensor {
        let distance = end - self;
        let moved = binary("mul", distance.operand(), weight.operand());
        self + moved
    }

    /// `self + value · a · b`.
    #[track_caller]
    pub fn addcmul(&self, a: &Tensor, b: &Tensor, value: f64) -> Tensor {
        self + a * b * value
    }

    /// `self + value · a / b`.
    #[track_caller]
    pub fn addcdiv(&self, a: &Tensor, b: &Tensor, value: f64) -> Tensor {
        self + a / b * value
    }

    /// Where exactly one is true (not zero).
    #[track_caller]
    pub fn logical_xor(&self, other: &Tensor) -> Tensor {
        self.as_bool() ^ other.as_bool()
    }

    /// Where elements differ by at most `atol + rtol · |other|`. NaN is close to nothing.
    #[track_caller]
    pub fn isclose(&self, other: &Tensor, rtol: f64, atol: f64) -> Tensor {
        let (a, b) = (self.as_float(), other.as_float());
        a.equal(&b) | ((&a - &b).abs().le(b.abs() * rtol + atol) & b.isfinite())
    }

    /// Whether all elements are close, as [`isclose`](Tensor::isclose) has it.
    ///
    /// # Errors
    /// If a tensor is invalid, the shapes do not broadcast, or a value belongs to a trace.
    #[track_caller]
    pub fn allclose(&self, other: &Tensor, rtol: f64, atol: f64) -> Result<bool> {
        Ok(self.isclose(other, rtol, atol).all_all().item()? != 0.0)
    }

    /// Elements limited to a range; `clamp(0.0, f64::INFINITY)` limits from below only. At a bound the gradient is the
    /// element's; a NaN stays.
    #[track_caller]
    pub fn clamp(&self, min: impl Operand, max: impl Operand) -> Tensor {
        self.clamp_min(min).clamp_max(max)
    }

    /// Elements not below `min`.
    #[track_caller]
    pub fn clamp_min(&self, min: impl Operand) -> Tensor {
        self.limited("clamp_min", min.operand(), Tensor::lt)
    }

    /// Elements not above `max`.
    #[track_caller]
    pub fn clamp_max(&self, max: impl Operand) -> Tensor {
        self.limited("clamp_max", max.operand(), Tensor::gt)
    }

    #[track_caller]
    fn limited(&self, what: &str, bound: OperandRef<'_>, beyond: fn(&Tensor, Tensor) -> Tensor) -> Tensor {
        let user = entered();
        let loc = user.loc();
        match super::promote::unify(what, self.operand(), bound) {
            Ok((x, bound)) => bound.where_(&beyond(&x, bound.clone()), &x),
            Err(error) => Tensor::from(error.at(loc)),
        }
    }

    /// `self^exponent` of an integer tensor and an exponent that is not negative, by repeated squaring.
    #[track_caller]
    pub fn integer_pow(&self, exponent: u32) -> Tensor {
        if self.dtype().is_float() || self.error().is_some() {
            let error = Error::new("integer_pow needs integers").note("tensor", self.describe());
            return if self.error().is_some() { self.clone() } else { error.at(here()).into() };
        }
        let (mut result, mut power, mut rest) = (self.ones_like(), self.clone(), exponent);
        while rest > 0 {
            if rest & 1 == 1 {
                result = &result * &power;
            }
            power = power.square();
            rest >>= 1;
        }
        result
    }
}
