//! `gelu`: the Gaussian error linear unit.

use super::{normal, wide};
use crate::array::Array;
use crate::emit::X;
use crate::op::*;
use crate::ops::type_rule::*;
use crate::types::{DType, TensorType};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI, FRAC_2_SQRT_PI};

/// `x · Φ(x)` with Φ the normal distribution function; if `approximate` is `tanh`, Φ is approximated by
/// `(1 + tanh(√(2/π)(x + 0.044715 x³))) / 2`, else it is `none`. Hendrycks and Gimpel 2016, arXiv:1606.08415.
pub fn gelu(approximate: &'static str) -> Op {
    Op::new(&GELU, [Attr::Name(approximate)])
}

/// See [`gelu()`].
pub static GELU: Record = Record {
    name: "gelu",
    attrs: &[("approximate", AttrKind::Name(&["none", "tanh"]))],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [x] = rule.operands()?;
        rule.float(0)?;
        one(x.clone())
    },
    reference: |r| {
        let exact = |x: f64| x * libm::erfc(-x * FRAC_1_SQRT_2) / 2.0;
        // (1 + tanh u) / 2 is the logistic function of 2u.
        let tanh = |x: f64| x / (1.0 + (-2.0 * FRAC_2_PI.sqrt() * (x + CUBIC * x.powi(3))).exp());
        let approximate = is_approximate(r.op);
        let x = r.inputs[0];
        let value = |i: usize| if approximate { tanh(x.f(i)) } else { exact(x.f(i)) };
        Ok(vec![Array::from_fn_f64(x.dtype(), x.shape(), value)])
    },
    lowering: Lowering::Composite(|_, op, operands| {
        let x = wide(operands[0]);
        let y = if is_approximate(op) { x * 0.5 * (tanh(x) + 1.0) } else { x * distribution(x) };
        vec![y.cast(operands[0].dtype())]
    }),
    vjp: Vjp::Rule(|a| {
        let (x, dy) = (wide(a.x(0)), wide(a.dy(0)));
        let slope = if is_approximate(a.op) {
            let t = tanh(x);
            let inner = (x * x * (3.0 * CUBIC) + 1.0) * (FRAC_2_PI.sqrt() * 0.5);
            (t + 1.0) * 0.5 + x * (1.0 - t * t) * inner
        } else {
            let density = (x * x * -0.5).exp() * (FRAC_2_SQRT_PI * FRAC_1_SQRT_2 * 0.5);
            distribution(x) + x * density
        };
        vec![Some((dy * slope).cast(a.x(0).dtype()))]
    }),
    jvp: Jvp::FromVjp,
    batch: Batch::Elementwise,
    flops: |_, _, results| results[0].elements() * 28,
    samples: |s| {
        for approximate in ["none", "tanh"] {
            for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
                s.add(gelu(approximate), [normal(dtype, [5, 9])]);
            }
            s.add(gelu(approximate), [(TensorType::new(DType::F32, [99]), Fill::Uniform(-12.0, 12.0))]);
            s.add(gelu(approximate), [normal(DType::F32, [0])]);
        }
    },
    error_samples: |s| {
        s.add(gelu("none"), [(TensorType::new(DType::I64, [3]), Fill::Range(0, 9))]);
        s.add(gelu("none"), []);
    },
};

const CUBIC: f64 = 0.044715;

fn is_approximate(op: &Op) -> bool {
    op.choice("approximate") == "tanh"
}

/// `tanh(√(2/π)(x + 0.044715 x³))`
fn tanh<'b, 'e>(x: X<'b, 'e>) -> X<'b, 'e> {
    (x * (x * x * CUBIC + 1.0) * FRAC_2_PI.sqrt()).pointwise("tanh")
}

/// The normal distribution function.
fn distribution<'b, 'e>(x: X<'b, 'e>) -> X<'b, 'e> {
    ((x * FRAC_1_SQRT_2).pointwise("erf") + 1.0) * 0.5
}
