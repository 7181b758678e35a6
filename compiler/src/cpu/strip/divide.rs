//! Integers divided by a constant, in double precision. For machines with mask registers.

use super::body::{Arg, Body, Class};
use super::table::*;
use igneous_ir::scalar::{Compare, Expr, Exprs, ScalarOp};
use igneous_ir::types::DType;

/// The constant, 2 or more, that a quotient or a remainder of integers divides by.
pub(super) fn divisor(exprs: &Exprs, node: &Expr) -> Option<i64> {
    let divides = matches!(node.op, ScalarOp::Div | ScalarOp::Rem) && !node.dtype.is_float();
    let constant = exprs.literal(*node.args.get(1)?)?;
    (divides && constant.as_i64() >= 2).then(|| constant.as_i64())
}

impl Body {
    /// The quotient by a constant of 2 or more, rounded down, or the remainder.
    pub fn divided(&mut self, op: ScalarOp, dtype: DType, x: Arg, by: i64) -> Arg {
        let quotient = if dtype == DType::I64 { self.long_quotient(x, by) } else { self.word_quotient(dtype, x, by) };
        match (op, dtype) {
            (ScalarOp::Div, _) => quotient,
            (_, DType::I64) => {
                let product = self.times(quotient, by);
                self.plain(&SUB_Q, Class::Long, &[x, product])
            }
            _ => {
                let by = self.repeated(by as u64, Class::Word);
                let product = self.plain(&MUL_D, Class::Word, &[quotient, by]);
                self.plain(&SUB_D, Class::Word, &[x, product])
            }
        }
    }

    /// Numbers of at most 32 bits have quotients that are farther from the next whole number than rounding goes.
    fn word_quotient(&mut self, dtype: DType, x: Arg, by: i64) -> Arg {
        let unsigned = dtype == DType::U32;
        let (widen, narrow) = if unsigned { (&PD_OF_UD, &UD_OF_PD) } else { (&PD_OF_D, &D_OF_PD) };
        let by = self.constant((by as f64).to_bits(), 8);
        let x = self.converted(widen, Class::Long, Class::Long, x);
        let quotient = self.plain(&DIV_PD, Class::Long, &[x, by]);
        let below = self.coded(&ROUND_PD, Class::Long, &[quotient], 9);
        self.converted(narrow, Class::Word, Class::Long, below)
    }

    /// The quotient of what a first guess leaves corrects it, up to a remainder of either sign.
    fn long_quotient(&mut self, x: Arg, by: i64) -> Arg {
        let divisor = self.constant((by as f64).to_bits(), 8);
        let guess = |b: &mut Body, x: Arg| {
            let float = b.plain(&PD_OF_Q, Class::Long, &[x]);
            let quotient = b.plain(&DIV_PD, Class::Long, &[float, divisor]);
            let quotient = b.plain(&Q_OF_PD, Class::Long, &[quotient]);
            let product = b.times(quotient, by);
            (quotient, b.plain(&SUB_Q, Class::Long, &[x, product]))
        };
        let (first, rest) = guess(self, x);
        let (second, rest) = guess(self, rest);
        let sum = self.plain(&ADD_Q, Class::Long, &[first, second]);
        let [zero, one] = [0, 1].map(|n| self.repeated(n, Class::Long));
        let negative = self.compare_ints(Compare::Lt, DType::I64, rest, zero);
        let less = self.plain(&SUB_Q, Class::Long, &[sum, one]);
        self.select(Class::Long, negative, less, sum)
    }
}
