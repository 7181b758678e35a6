//! `dropout`: random zeros.

use super::{normal, wide};
use crate::array::Array;
use crate::op::*;
use crate::ops::random::check_state;
use crate::ops::type_rule::*;
use crate::ops::{RANDOM_BITS, random_bits};
use crate::types::{DType, Literal, Shape, TensorType};

/// Zero with probability `p`, else the element over `1 - p`. Operands: `x` and the state of [`random_bits`], `i64[2]`.
///
/// An element is kept where the upper 24 of its random bits, as a fraction in `[0, 1)`, are at least `p`. The derivative draws the same
/// bits again, so no mask is stored. Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting".
pub fn dropout(p: f64) -> Op {
    Op::new(&DROPOUT, [Attr::Float(Float::new(p))])
}

/// See [`dropout()`].
pub static DROPOUT: Record = Record {
    name: "dropout",
    attrs: &[("p", AttrKind::Float)],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [x, state] = rule.operands()?;
        let p = op.float("p");
        rule.float(0)?;
        rule.ensure((0.0..=1.0).contains(&p), || format!("needs a probability from 0 to 1, not {p}"))?;
        check_state(rule, 1, state)?;
        one(x.clone())
    },
    reference: |r| {
        let (x, p) = (r.inputs[0], r.op.float("p"));
        let bits_ty = r.results[0].with_dtype(DType::U32);
        let op = random_bits(bits_ty.shape.clone());
        let bits = (RANDOM_BITS.reference)(&Reference { op: &op, inputs: &r.inputs[1..], results: &[bits_ty] })?;
        let kept = |i: usize| (bits[0].i(i) >> 8) as f64 / f64::from(1 << 24) >= p;
        let value = |i: usize| if kept(i) { x.f(i) / (1.0 - p) } else { 0.0 };
        Ok(vec![Array::from_fn_f64(x.dtype(), x.shape(), value)])
    },
    lowering: Lowering::Composite(|emitter, op, operands| {
        let (x, state, p) = (wide(operands[0]), operands[1], op.float("p"));
        let bits = emitter.one(random_bits(x.shape()), &[state]);
        let number = |value: i64| emitter.scalar(Literal::int(DType::U32, value));
        let threshold = (p * f64::from(1 << 24)).ceil() as i64;
        let kept = bits.binary(crate::ops::shift_right(), number(8)).compare("ge", number(threshold));
        let scale = if p < 1.0 { 1.0 / (1.0 - p) } else { 0.0 };
        vec![kept.select(x * scale, x.lit(0.0)).cast(operands[0].dtype())]
    }),
    vjp: Vjp::Rule(|a| vec![Some(a.emitter.one(a.op.clone(), &[a.dy(0), a.x(1)])), None]),
    jvp: Jvp::Rule(|a| vec![a.tangents[0].map(|t| a.emitter.one(a.op.clone(), &[t, a.operands[1]]))]),
    batch: Batch::Decomposition,
    flops: |_, _, results| results[0].elements() * 25,
    samples: |s| {
        let state = || (TensorType::new(DType::I64, [2]), Fill::Range(0, 1 << 40));
        for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
            s.add(dropout(0.3), [normal(dtype, [5, 21]), state()]);
        }
        for p in [0.0, 1.0, 0.5] {
            s.add(dropout(p), [normal(DType::F32, [2, 3, 4]), state()]);
        }
        s.add(dropout(0.5), [normal(DType::F32, [0, 4]), state()]);
    },
    error_samples: |s| {
        let state = |n: usize| (TensorType::new(DType::I64, [n]), Fill::Range(0, 9));
        s.add(dropout(1.5), [normal(DType::F32, [4]), state(2)]);
        s.add(dropout(0.5), [normal(DType::F32, [4]), state(3)]);
        s.add(dropout(0.5), [normal(DType::F32, [4])]);
        s.add(dropout(0.5), [(TensorType { dtype: DType::I64, shape: Shape::new() }, Fill::Range(0, 9)), state(2)]);
    },
};
