//! Mathematical functions.

use crate::scalar::MathFn;
use crate::types::Literal;

/// The value of a function.
pub fn eval(f: MathFn, args: &[Literal]) -> Literal {
    let x = args[0].as_f64();
    let y = match f {
        MathFn::Exp => x.exp(),
        MathFn::Log => x.ln(),
        MathFn::Log1p => libm::log1p(x),
        MathFn::Expm1 => libm::expm1(x),
        MathFn::Sin => x.sin(),
        MathFn::Cos => x.cos(),
        MathFn::Tanh => x.tanh(),
        MathFn::Erf => libm::erf(x),
        MathFn::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        MathFn::Pow => x.powf(args[1].as_f64()),
    };
    Literal::float(args[0].dtype(), y)
}
