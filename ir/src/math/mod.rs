//! Mathematical functions as expressions: range reduction and a polynomial, in arithmetic that every target has.
//!
//! A definition uses sums, products, quotients, `fma`, comparisons, selections, and integer sums, shifts and masks of
//! the float's own width: never a conversion between floats and integers, a call, or another width, so it becomes
//! straight-line vector code. Rounding to an integer is adding and subtracting a number so large that the units are
//! its last bit. There is one definition for each of `f32` and `f64`; half types go through `f32`.
//!
//! **Accuracy.** At most 2 units in the last place for `f32` and 4 for `f64`, subnormal numbers included, where `fma` is
//! fused; the tests measure it. Where it is not (x86-64 before Haswell), `sin` and `cos` lose digits
//! beyond `|x| = 10⁴`, and `pow` everywhere.
//! **Range.** `sin` and `cos` give NaN beyond [`trigonometric_limit`]; all else covers all numbers.

// Coefficients are written with the digits they were computed with.
#![allow(clippy::approx_constant, clippy::excessive_precision)]

mod erf;
mod exponential;
mod format;
mod inverse;
mod logarithm;
mod power;
#[cfg(test)]
mod tests;
mod trigonometric;

use crate::scalar::{ExprId, Exprs, MathFn, S, ScalarOp};
use crate::scalar_eval::eval_op;
use crate::types::{DType, Literal};
use smallvec::SmallVec;
use std::cell::RefCell;
use std::sync::LazyLock;

pub(crate) use erf::erfc;
pub use exponential::{EXP_SINGLE, LN_2_SINGLE};
pub use trigonometric::trigonometric_limit;

/// The arithmetic that computes `f` of floating-point arguments.
pub fn define<'a>(f: MathFn, args: &[S<'a>]) -> S<'a> {
    let dtype = args[0].dtype();
    let [x, y] = [args[0], args[args.len() - 1]].map(|a| a.cast(dtype.compute()));
    let result = match f {
        MathFn::Exp => exponential::exp(x),
        MathFn::Expm1 => exponential::expm1(x),
        MathFn::Sigmoid => exponential::sigmoid(x),
        MathFn::Tanh => exponential::tanh(x),
        MathFn::Log => logarithm::log(x),
        MathFn::Log1p => logarithm::log1p(x),
        MathFn::Sin => trigonometric::sin(x),
        MathFn::Cos => trigonometric::cos(x),
        MathFn::Erf => erf::erf(x),
        MathFn::Atan => inverse::atan(x),
        MathFn::Pow => power::pow(x, y),
    };
    result.cast(dtype)
}

/// The expressions reachable from `roots` with every function replaced by its definition, and what became of `roots`.
pub fn expand(exprs: &Exprs, roots: &[ExprId]) -> (Exprs, Vec<ExprId>) {
    let new = RefCell::new(Exprs::with_axes(exprs.axes.clone()));
    let mut map = vec![ExprId(u32::MAX); exprs.len()];
    for id in exprs.reachable(roots) {
        let node = exprs.get(id);
        let args: SmallVec<[ExprId; 4]> = node.args.iter().map(|a| map[a.0 as usize]).collect();
        map[id.0 as usize] = match node.op {
            ScalarOp::Math(f) => {
                let args: SmallVec<[S; 2]> = args.iter().map(|&a| S::of(&new, a)).collect();
                define(f, &args).id
            }
            op => new.borrow_mut().add(op, &args, node.dtype),
        };
    }
    let roots = roots.iter().map(|r| map[r.0 as usize]).collect();
    (new.into_inner(), roots)
}

/// The value of a function: that of its definition, bit for bit.
pub fn eval(f: MathFn, args: &[Literal]) -> Literal {
    let dtype = args[0].dtype();
    match dtype.compute() {
        wide if wide != dtype => {
            let args: SmallVec<[Literal; 2]> = args.iter().map(|a| Literal::float(wide, a.as_f64())).collect();
            Literal::float(dtype, eval(f, &args).as_f64())
        }
        DType::F64 => PROGRAMS[f as usize].f64.run(args),
        _ => PROGRAMS[f as usize].f32.run(args),
    }
}

/// The definitions of each function, in the order of [`MathFn::ALL`].
static PROGRAMS: LazyLock<Vec<Programs>> = LazyLock::new(|| {
    let of = |f| Programs { f32: Program::new(f, DType::F32), f64: Program::new(f, DType::F64) };
    MathFn::ALL.into_iter().map(of).collect()
});

struct Programs {
    f32: Program,
    f64: Program,
}

/// A definition whose arguments are the locals 0 and 1.
struct Program {
    exprs: Exprs,
    root: ExprId,
}

impl Program {
    fn new(f: MathFn, dtype: DType) -> Program {
        let exprs = RefCell::new(Exprs::default());
        let arg = |k: u32| {
            let id = exprs.borrow_mut().raw(ScalarOp::Local(k), &[], dtype);
            S::of(&exprs, id)
        };
        let args: &[S] = if f == MathFn::Pow { &[arg(0), arg(1)] } else { &[arg(0)] };
        let root = define(f, args).id;
        Program { exprs: exprs.into_inner(), root }
    }

    fn run(&self, args: &[Literal]) -> Literal {
        let mut values: SmallVec<[Literal; 128]> = SmallVec::new();
        for i in 0..=self.root.0 {
            let node = self.exprs.get(ExprId(i));
            let operands: SmallVec<[Literal; 4]> = node.args.iter().map(|a| values[a.0 as usize]).collect();
            values.push(match node.op {
                ScalarOp::Local(k) => args[k as usize],
                op => eval_op(op, &operands, node.dtype),
            });
        }
        values[self.root.0 as usize]
    }
}
